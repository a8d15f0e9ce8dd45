"""C alone: FLASH trained anew at each chunk length, with the scale of its scores held."""

from flash_course.bench.stored import RESULTS
from flash_tutorial import FLASH, ModelConfig
from flash_tutorial.experiments import Arm, Compare, Experiment, command
from flash_tutorial.training import first_bytes
from flash_tutorial.training.measures import bits_of, by_place

T, SCALE, LENGTHS, BYTES = 1024, 128, (32, 64, 128, 256, 512, 1024), 400_000


class HeldScale(FLASH):
    """FLASH whose local scores are divided by 128 whatever C is, by torch, since the kernels divide
    by C.
    """

    prefill = step = (
        None  # token by token the row is read again at each step: FLASH's own step divides by C
    )

    def __init__(self, dim, **options):
        super().__init__(dim, backend="torch", **options)

    def mix(self, heads, v, mask, segment_ids):
        quad_q, *others = heads
        return super().mix((quad_q * (self.chunk_size / SCALE), *others), v, mask, segment_ids)


def model_of(C):
    """At every C with the Toeplitz bias, so that C alone differs."""
    options = dict(chunk_size=C, qk_dim=64, bias="toeplitz")
    return ModelConfig(HeldScale, max_length=T, unit_options=options, start="paper")


def measure(model, corpus):
    """Bits per byte, and by the place in the chunk."""
    bits, valid, _ = bits_of(model, first_bytes(corpus.validation, BYTES), T)
    C = model.stack.units[0].chunk_size
    places = by_place(bits, valid, C) if C < T else None
    return {"bits_per_byte": round(float(bits[valid].mean()), 4), "by_place": places}


SHORT = Compare("FLASH 32", "FLASH 128", "short")

EXPERIMENT = Experiment(
    "chunk_length",
    "What does the chunk length do, with the scale of the scores held?",
    arms=tuple(Arm("FLASH", model_of(C), (1e-2,), settings={"chunk_size": C}) for C in LENGTHS),
    train=dict(batch=4, length=T, dtype="bfloat16", eval_bytes=0),
    steps=(1000,),
    measure=measure,
    compare=(
        SHORT,
        *(Compare(f"FLASH {C}", "FLASH 32") for C in LENGTHS if C not in (32, 128)),
        *(Compare(f"FLASH {C}", "FLASH 128") for C in LENGTHS if C not in (32, 128)),
    ),
    same_code=("5093a89",),
    setting="The local part divides its scores by C, so that another C is another scale as "
    "well: here they are divided by 128 at every C. Austen, T = 1,024, 1,000 updates of 4,096 "
    "bytes at 0.01, the rate of C = 128.",
    meaning="By Welch's interval chunks of 32 bytes are worse than 128, and nothing else is settled. It is one "
    "difference of nine, barely settled, at the rate of 128; if all nine are to hold together, it is not.",
    not_tried="A rate for each C; longer sequences; more seeds.",
)

if __name__ == "__main__":
    command(EXPERIMENT, RESULTS)
