"""What bfloat16 costs and saves on a CPU: the default run in both formats. Nothing else should
run.
"""

from flash_course.bench.stored import RESULTS
from flash_tutorial import ModelConfig
from flash_tutorial.experiments import Arm, Compare, Experiment, command
from flash_tutorial.training import TrainConfig

DEFAULT = TrainConfig()

EXPERIMENT = Experiment(
    "number_formats",
    "What does bfloat16 cost and save on a CPU?",
    arms=tuple(
        Arm(
            "default",
            ModelConfig(start="paper"),
            (DEFAULT.learning_rate,),
            settings={"dtype": dtype},
            train={"dtype": dtype},
        )
        for dtype in ("bfloat16", "float32")
    ),
    steps=(DEFAULT.steps,),
    threads=2,
    compare=(
        Compare("default bfloat16", "default float32", steps=1700),
        Compare("default bfloat16", "default float32", measure="processor_seconds", steps=1700),
    ),
    same_code=("0491122",),
    setting="What was the default run of `flash-tutorial train` then, by AdamW, three seeds on two threads; an "
    "earlier default had 1,300 updates (on one thread).",
    meaning="Between the formats no difference is seen beside that of the seeds; bfloat16 saves "
    "half of the processor's time on a CPU that has units for it.",
    not_tried="A CPU without such units, where an update in bfloat16 takes twelve times as long; float16.",
)

if __name__ == "__main__":
    command(EXPERIMENT, RESULTS)
