"""Four ablations with ten seeds and ten times the updates of benchmarks/ablations.py, paired, with intervals.

    python benchmarks/ablations_long.py run
    python benchmarks/ablations_long.py table

The same small models: T = 256, C = 32, D = 64, four units. Every rate is chosen by runs of a quarter of the length with
a seed that the comparison does not use. Every finished run is stored at once in flash_course/bench/results/
ablations_long.json; one that is there is not made again. The guess that was written down before is in
docs/predictions.md.
"""

import argparse
import math
import statistics

import torch
from ablations import VARIANTS
from stored_runs import StoredRuns, say_if_at_edge

from flash_tutorial import count_parameters
from flash_tutorial.data import load_corpus
from flash_tutorial.training import TrainConfig, train

RUNS = StoredRuns("ablations_long", "python benchmarks/ablations_long.py run")
PAIRS = [("GAU, softmax", "GAU"), ("GAU, 4 heads", "GAU"), ("FLASH", "GAU"), ("FLASH, local only", "FLASH")]
MODELS = ("GAU", "FLASH", "FLASH, local only", "GAU, softmax", "GAU, 4 heads")
RATES, TUNING, STEPS = [5e-3, 1e-2, 2e-2, 4e-2, 8e-2], 500, 2000
SEEDS, TUNING_SEED = range(10), 100
T_95 = 2.262  # Student's t, nine degrees of freedom


def one_run(name, rate, steps, seed):
    """Train once, unless the run is stored already."""

    def make():
        config = TrainConfig(steps=steps, batch=4, length=256, learning_rate=rate, seed=seed, eval_bytes=100_000)
        done = train(VARIANTS[name][1], config, corpus=load_corpus("austen"), progress=False)
        return {
            "parameters": count_parameters(done.model),
            "bits_per_byte": round(done.evaluation.bits_per_byte, 4),
            "seconds": round(done.log[-1]["seconds"], 1),
        }

    return RUNS.find_or_make(dict(model=name, learning_rate=rate, steps=steps, seed=seed), make)


def run():
    torch.set_num_threads(1)
    for name in MODELS:
        for rate in RATES:
            one_run(name, rate, TUNING, TUNING_SEED)
        say_if_at_edge(name, best_rate(name), RATES)
    for seed in SEEDS:
        for name in MODELS:
            one_run(name, best_rate(name), STEPS, seed)


def best_rate(name):
    return RUNS.best(model=name, steps=TUNING)["learning_rate"]


def bits(name):
    """Bits per byte of the seeds that are there, by seed."""
    return {row["seed"]: row["bits_per_byte"] for row in RUNS.where(model=name, steps=STEPS)}


def table():
    for name in MODELS:
        values = list(bits(name).values())
        said = f"{statistics.mean(values):.4f}, spread {statistics.stdev(values):.4f}, {len(values)} seeds"
        print(f"{name:18} rate {best_rate(name):g}: {said}")
    for name, other in PAIRS:
        here, there = bits(name), bits(other)
        gaps = [here[seed] - there[seed] for seed in SEEDS]
        half = T_95 * statistics.stdev(gaps) / math.sqrt(len(gaps))
        print(f"{name:18} against {other}: {statistics.mean(gaps):+.4f} +- {half:.4f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["run", "table"])
    run() if parser.parse_args().what == "run" else table()
