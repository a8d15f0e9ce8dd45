"""The runs of the scoreboard, stored: the same tiny model with another mixer in each lecture.

Where a lecture trains its mixer, the run is made by its own cells: they are executed up to the one
that trains. Of the first seed, which is the lectures', every loss is stored, and the lectures
compare their first losses with these.
"""

import os
import tempfile
from functools import cache, partial
from pathlib import Path
from unittest import mock

from flash_course.bench.stored import RESULTS
from flash_course.variants import blocks, flash, gau
from flash_tutorial import training
from flash_tutorial.config import ModelConfig
from flash_tutorial.experiments import Arm, Compare, Experiment, command
from flash_tutorial.gau import GatedUnit
from flash_tutorial.layers import ToeplitzBias

ROOT = Path(__file__).resolve().parent.parent
LECTURES = {
    "00": ("transformer++",),
    "02": ("GAU, relu^2",),
    "03": ("my GAU, Toeplitz bias",),
    "04": ("linear attention",),
    "12": ("FLASH", "mean so far"),
}
# the lectures'
SETTINGS = dict(steps=300, batch=16, length=64, learning_rate=3e-3, warmup=20, eval_bytes=20_000)


class LinearWithBias(GatedUnit):
    """The linear unit of lecture 04 with the GAU's position bias, tril(q k^T + b) v, which needs
    the matrix.
    """

    heads = 2

    def __init__(self, dim, *, causal, qk_dim):
        super().__init__(dim, expansion=2, qk_dim=qk_dim, causal=causal, norm="layer")
        self.bias = ToeplitzBias(SETTINGS["length"])
        self.reset_parameters()

    def mix(self, heads, v, mask, segment_ids):
        q, k = heads
        return (q @ k.mT + self.bias(v.shape[1])).tril() @ v


CONFIGS = {  # no lecture's `runs` have these
    "00 transformer": blocks("transformer", max_length=64),
    "01 learned positions": blocks("transformer", max_length=64),
    "01 ScaledSin": blocks("transformer", positions="scaled_sin", max_length=64),
    "01 ScaledSin + RoPE": blocks(max_length=64),
    "03 GAU, rotary bias": gau(bias="rotary", max_length=64),
    "05 FLASH, C = 16": flash(max_length=64, chunk_size=16),
    "05 FLASH, local only": flash(max_length=64, chunk_size=16, global_=False),
    "06 FLASH, mean": flash(max_length=64, chunk_size=16),
    "06 FLASH, bare sum": flash(max_length=64, chunk_size=16, combine="sum"),
    "04 GAU, no bias": gau(bias=None, max_length=64),
    "04 linear attention, bias": ModelConfig(
        LinearWithBias,
        dim=64,
        depth=4,
        max_length=64,
        norm="layer",
        unit_options={"qk_dim": 32},
        start="paper",
    ),
    "05 FLASH, local only, no bias": flash(bias=None, max_length=64, chunk_size=16, global_=False),
}


@cache
def runs_of(lecture, seed):
    """{mixer: what ``train`` returned}: the lecture's variable ``runs``, its trainings begun from
    another seed.
    """
    import jupytext

    (source,) = (ROOT / "notebooks").glob(f"{lecture}_*.py")
    names = {"__name__": "__main__"}
    there = os.getcwd()
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.object(training, "TrainConfig", partial(training.TrainConfig, seed=seed)),
        mock.patch.dict(
            os.environ, FLASH_TUTORIAL_PROGRESS=f"{folder}/progress.json", MPLBACKEND="Agg"
        ),
    ):
        os.chdir(folder)
        try:
            for cell in jupytext.read(source, fmt="py:percent").cells:
                if cell.cell_type == "code" and not names.get("runs"):
                    exec(compile(cell.source, source.name, "exec"), names)
        finally:
            os.chdir(there)
    if not names.get("runs"):
        raise ValueError(f"{source.name} has no cell that makes `runs`")
    return names["runs"]


def make(arm, rate, seed, steps):
    """Bits per byte, and of the first seed every loss."""
    if arm.name in CONFIGS:
        run = training.train(
            CONFIGS[arm.name], training.TrainConfig(**SETTINGS, seed=seed), progress=False
        )
    else:
        run = runs_of(arm.name[:2], seed)[arm.name[3:]]
    found = {"bits_per_byte": round(run.evaluation.bits_per_byte, 3)}
    if seed == 0:
        found["losses"] = [round(row["loss"], 4) for row in run.log]
    return found


def names():
    """The lectures' runs, "04 linear attention" and so on, and the others."""
    for lecture, runs in LECTURES.items():
        yield from (f"{lecture} {run}" for run in runs)
    yield from CONFIGS


EXPERIMENT = Experiment(
    "scoreboard",
    "How good is the same tiny model with another mixer in each lecture?",
    arms=tuple(Arm(name, rates=(SETTINGS["learning_rate"],)) for name in names()),
    steps=(SETTINGS["steps"],),
    make=make,
    same_code=("c2c4b36",),
    compare=(Compare("04 linear attention, bias", "03 my GAU, Toeplitz bias", "linear_minus_gau"),),
    setting="D = 64, T = 64, 300 updates of 16 windows, three seeds; bits per byte of 20,000 "
    "bytes of *Persuasion*; from the paper's start. Made on an Intel Xeon and on AMD EPYC.",
    meaning="With the position bias linear attention minus GAU is {linear_minus_gau}; without its bias relu² hardly "
    "begins to learn. What relu² adds beside the bias three seeds cannot say.",
    not_tried="A rate for each mixer; longer runs.",
)

if __name__ == "__main__":
    command(EXPERIMENT, RESULTS)
