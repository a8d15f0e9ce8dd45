"""The paper's own measure of speed: quality against training time, and the time to reach the
baseline's final quality.

FLASH, FLASH-Quad and Transformer++ at two lengths (Figure 1 and Table 3 of the paper). A run has
as many updates as fit into its time at the stored time of an update, so that runs may share the
machine; every half minute it is scored.
"""

import itertools
import statistics

from flash_course.bench.stored import RESULTS, timed_runs, times_sooner, update_ratios
from flash_tutorial import ModelConfig
from flash_tutorial.experiments import Arm, Compare, Experiment, Search, command
from flash_tutorial.experiments.tables import markdown

LENGTHS, BYTES, EVERY = (512, 2048), 8192, 30  # seconds from one score to the next
BUDGETS = (600, 300)
RATES = {"flash": 1e-2, "flash_quad": 1e-2, "transformer++": 5e-3}  # where the search begins
TUNING = 75  # seconds
PAPER = {512: "1.2", 2048: "1.6"}


def settings(steps, budget):
    """Scores on the way in the long runs alone."""
    every = {"eval_every": -(-steps * EVERY // budget)} if budget in BUDGETS else {}
    return dict(dtype="bfloat16", warmup=steps // 10, eval_bytes=100_000) | every


def in_words(times):
    """By what factor a model is sooner, if it ever is."""
    return f"{times:.2f}" if times else "never"


def arm(name, T):
    """A model at a length."""
    middle = RATES[name]
    return Arm(
        name,
        ModelConfig(name, max_length=T, start="paper"),
        (middle / 2, middle, middle * 2),
        settings={"T": T},
        train=dict(batch=BYTES // T, length=T),
        search=Search(seconds=TUNING, seeds=(0,), most=7),
    )


def tables(rows):
    """Where models end after ten minutes, and how soon others are where Transformer++ ends."""
    head = [
        "T",
        "FLASH",
        "FLASH-Quad",
        "Transformer++",
        "FLASH gets as far sooner by (seeds 0, 1, 2)",
        "FLASH-Quad sooner by",
        "FLASH sooner by, after five minutes",
        "FLASH in the paper's Figure 1",
        "an update of Transformer++ / of FLASH, two CPUs",
    ]
    lines = []
    for T in LENGTHS:
        ends = {model: [run["bits_per_byte"] for run in of] for model, of in timed_runs(T).items()}
        means = [f"{statistics.mean(ends[model]):.3f}" for model in RATES]
        factors = (times_sooner(T), times_sooner(T, model="flash_quad"), times_sooner(T, 300))
        said = (", ".join(map(in_words, of)) for of in factors)
        steps = " or ".join(f"{ratio:.2f}" for ratio in update_ratios(T))
        lines.append([f"{T:,}", *means, *said, PAPER[T], steps])
    return markdown(head, lines)


EXPERIMENT = Experiment(
    "time_to_quality",
    "How good is each model after the same time, and how much sooner is FLASH as good as Transformer++ at the end?",
    arms=tuple(arm(name, T) for name, T in itertools.product(RATES, LENGTHS)),
    train=settings,
    seconds=BUDGETS,
    compare=(
        *(
            Compare(
                f"flash {T}",
                f"transformer++ {T}",
                f"flash_minus_transformer_{T}",
                budget=600,
            )
            for T in LENGTHS
        ),
        Compare("flash 2048", "transformer++ 512", "long_minus_short", budget=600),
    ),
    same_code=("4d83881",),
    setting="Ten minutes of one core, 0.46 million parameters (D = 128, S = 64, C = 128), 8,192 bytes an update, "
    "bfloat16, three seeds; rates by runs of 75 seconds with seed 0. Updates are counted by the time of one that "
    "was measured in turn on a quiet machine, an AMD EPYC. On another of the same maker, whose bfloat16 products "
    "are faster, Transformer++ would have made fewer for each of FLASH's, and on an Intel Xeon 1.4 times FLASH's "
    "at 512 and 1.1 times at 2,048 (`compiling`). FLASH-Quad has the Toeplitz bias at 512 and the rotary one "
    "above.",
    meaning="By this machine's clock FLASH is ahead at T = 2,048, at 512 by a little. These are the factors of a short "
    "race on one machine, by AdamW from the paper's start, with which small models do worse on average "
    "(`starts`), and on a text that pays these models next to nothing for more than 512 bytes of context: FLASH "
    "at 2,048 is not settled ahead of Transformer++ at 512 ({long_minus_short}). With equal updates in place of "
    "equal time the lead at 2,048 is not settled (`parts`).",
    not_tried="Other starts. Neighbouring rates of Transformer++ were tried for the whole time with "
    "seed 0 alone: at 512, and at 2,048 for five minutes. T = 8,192 was run and is withdrawn: in ten "
    "minutes Transformer++ makes 311 updates there, which judge no model. What makes FLASH-Quad fall "
    "behind above 512, dear updates or dead units, was not separated.",
    tables=tables,
)

if __name__ == "__main__":
    command(EXPERIMENT, RESULTS)
