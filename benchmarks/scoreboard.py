"""The runs of the scoreboard, stored: the same tiny model with another mixer in each lecture.

    python benchmarks/scoreboard.py             # the lectures that are not stored yet
    python benchmarks/scoreboard.py 02 05       # these, anew
    python benchmarks/scoreboard.py --seeds 05  # the stored runs of 05 with two more seeds: their bits per byte alone
    python benchmarks/scoreboard.py --bias      # with all seeds, three models that tell the position bias from relu^2

A run, but for those of --bias, is made by the lecture's own cells: they are executed up to the one that trains, and
every loss is stored in flash_course/bench/results/scoreboard.json. The lectures compare their first losses with these.
Some 15 seconds a run.
"""

import argparse
import json
import os
import sys
import tempfile
from functools import partial
from pathlib import Path
from unittest import mock

import jupytext

from flash_course.bench.clock import machine
from flash_course.variants import flash, gau
from flash_tutorial.config import ModelConfig
from flash_tutorial.gau import GatedUnit
from flash_tutorial.layers import ToeplitzBias
from flash_tutorial.training import TrainConfig, train

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "flash_course" / "bench" / "results" / "scoreboard.json"
LECTURES = ("00", "01", "02", "03", "04", "05", "06", "12")
SEEDS = (0, 1, 2)  # the first is that of the lectures
SETTINGS = dict(steps=300, batch=16, length=64, learning_rate=3e-3, warmup=20, eval_bytes=20_000)  # the lectures'


class LinearWithBias(GatedUnit):
    """The linear unit of lecture 04 with the GAU's position bias, tril(q k^T + b) v, which needs the matrix."""

    heads = 2

    def __init__(self, dim, *, causal, qk_dim):
        super().__init__(dim, expansion=2, qk_dim=qk_dim, causal=causal, norm="layer")
        self.bias = ToeplitzBias(SETTINGS["length"])
        self.reset_parameters()

    def mix(self, heads, v, mask, segment_ids):
        q, k = heads
        return (q @ k.mT + self.bias(v.shape[1])).tril() @ v


BIAS = {  # no lecture trains these: linear attention has no position bias, and what 04 and 05 compare it with has one
    "04 GAU, no bias": gau(bias=None, max_length=64),
    "04 linear attention, bias": ModelConfig(
        LinearWithBias, dim=64, depth=4, max_length=64, norm="layer", unit_options={"qk_dim": 32}
    ),
    "05 FLASH, local only, no bias": flash(bias=None, max_length=64, chunk_size=16, global_=False),
}


def runs_of(lecture, seed=SEEDS[0]):
    """{mixer: what ``train`` returned}: the lecture's variable ``runs``, its trainings begun from another seed."""
    from flash_tutorial import training

    with mock.patch.object(training, "TrainConfig", partial(training.TrainConfig, seed=seed)):
        return _runs_of(lecture)


def _runs_of(lecture):
    (source,) = (ROOT / "notebooks").glob(f"{lecture}_*.py")
    names = {"__name__": "__main__"}
    for cell in jupytext.read(source, fmt="py:percent").cells:
        if cell.cell_type == "code":
            exec(compile(cell.source, source.name, "exec"), names)
            if names.get("runs"):
                return names["runs"]
    sys.exit(f"{source.name} has no cell that makes `runs`")


def load():
    return json.loads(OUT.read_text(encoding="utf-8")) if OUT.exists() else {"runs": {}, "seeds": {}}


def store(lecture, runs):
    """A lecture's runs in place of those that are stored. Their other seeds go: they were of the old ones."""

    def other(name):
        return name in BIAS or not name.startswith(lecture)

    stored = {kind: {k: v for k, v in load()[kind].items() if other(k)} for kind in ("runs", "seeds")}
    stored["runs"] |= {f"{lecture} {name}": row_of(run) for name, run in runs.items()}
    write(stored)


def store_seeds(lecture, by_seed):
    """Bits per byte of each run for all ``SEEDS``; ``by_seed`` holds the runs of all but the first, which is stored."""
    stored = load()
    for name in by_seed[0]:
        first = stored["runs"][f"{lecture} {name}"]["bits_per_byte"]
        stored["seeds"][f"{lecture} {name}"] = [first, *(bits_of(runs[name]) for runs in by_seed)]
    write(stored)


def store_bias():
    """The runs of ``BIAS``, with all seeds."""
    stored = load()
    for name, config in BIAS.items():
        by_seed = [train(config, TrainConfig(**SETTINGS, seed=seed), progress=False) for seed in SEEDS]
        stored["runs"][name], stored["seeds"][name] = row_of(by_seed[0]), [bits_of(run) for run in by_seed]
        print(f"stored: {name}, {stored['seeds'][name]}", flush=True)
    write(stored)


def row_of(run):
    return dict(bits_per_byte=bits_of(run), machine=machine(), losses=[round(row["loss"], 4) for row in run.log])


def bits_of(run):
    return round(run.evaluation.bits_per_byte, 3)


def write(stored):
    """One line for each run and each list of seeds, sorted, so that a new one is one changed line."""
    from flash_tutorial.files import write_text

    parts = [f'"command": {json.dumps("python benchmarks/scoreboard.py")}']
    for kind in ("runs", "seeds"):
        lines = ",\n  ".join(f"{json.dumps(name)}: {json.dumps(stored[kind][name])}" for name in sorted(stored[kind]))
        parts.append(f'"{kind}": {{\n  {lines}\n}}')
    write_text(OUT, "{" + ", ".join(parts) + "}\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("lectures", nargs="*", metavar="NN", help=", ".join(LECTURES))
    parser.add_argument("--seeds", action="store_true", help=f"seeds {SEEDS[1:]} of runs that are stored")
    parser.add_argument("--bias", action="store_true", help=f"all seeds of {', '.join(BIAS)}")
    arguments = parser.parse_args()
    if arguments.bias:
        return store_bias()
    asked = arguments.lectures
    there = {name[:2] for name in load()["runs"]}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FLASH_TUTORIAL_PROGRESS"] = str(Path(folder, "progress.json"))  # nobody's guesses and scores
        os.environ["MPLBACKEND"] = "Agg"
        os.chdir(folder)
        for lecture in asked or [name for name in LECTURES if name not in there]:
            if arguments.seeds:
                store_seeds(lecture, by_seed := [runs_of(lecture, seed) for seed in SEEDS[1:]])
                runs = by_seed[0]
            else:
                store(lecture, runs := runs_of(lecture))
            print(f"stored: lecture {lecture}, {', '.join(runs)}", flush=True)


if __name__ == "__main__":
    main()
