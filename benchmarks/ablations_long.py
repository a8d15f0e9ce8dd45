"""Four ablations with ten seeds and ten times the updates of benchmarks/ablations.py, paired, with intervals.

    python benchmarks/ablations_long.py run                # or: ... run "GAU" "GAU, softmax", some models alone
    python benchmarks/ablations_long.py table

The same small models: T = 256, C = 32, D = 64, four units. Every rate is chosen by the mean of two whole runs with
seeds that the comparison does not use: one seed at a quarter of the length chose rates at which units of GAU died in a
longer run. Every finished run is stored at once in flash_course/bench/results/ablations_long.json; one that is there is
not made again. The guess that was written down before is in docs/predictions.md.
"""

import argparse
import math
import statistics

import torch
from ablations import VARIANTS
from stored_runs import StoredRuns, say_if_at_edge

from flash_tutorial import count_parameters
from flash_tutorial.data import load_corpus
from flash_tutorial.training import TrainConfig, draw_batch, train

RUNS = StoredRuns("ablations_long", "python benchmarks/ablations_long.py run")
PAIRS = [("GAU, softmax", "GAU"), ("GAU, 4 heads", "GAU"), ("FLASH", "GAU"), ("FLASH, local only", "FLASH")]
MODELS = ("GAU", "FLASH", "FLASH, local only", "GAU, softmax", "GAU, 4 heads")
RATES, STEPS = [2.5e-3, 5e-3, 1e-2, 2e-2, 4e-2], 2000
SEEDS, TUNING_SEEDS = range(10), (100, 101)
T_95 = 2.262  # Student's t, nine degrees of freedom


def one_run(name, rate, seed):
    """Train once, unless the run is stored already."""

    def make():
        config = TrainConfig(steps=STEPS, batch=4, length=256, learning_rate=rate, seed=seed, eval_bytes=100_000)
        done = train(VARIANTS[name][1], config, corpus=load_corpus("austen"), progress=False)
        return {
            "parameters": count_parameters(done.model),
            "bits_per_byte": round(done.evaluation.bits_per_byte, 4),
            "dead_units": dead_units(done.model, config),
            "seconds": round(done.log[-1]["seconds"], 1),
        }

    return RUNS.find_or_make(dict(model=name, learning_rate=rate, seed=seed), make)


@torch.no_grad()
def dead_units(model, config):
    """How many units add the same to every position: whatever they read, nothing of it comes out."""
    dead = []

    def look(unit, given, out):
        branch = out - given[0]
        dead.append(bool((branch - branch[:1, :1]).abs().max() < 1e-6 * given[0].abs().max()))

    hooks = [unit.register_forward_hook(look) for unit in model.stack.units]
    model(torch.from_numpy(draw_batch(load_corpus("austen").validation, config, 0, True)[0]))
    for hook in hooks:
        hook.remove()
    return sum(dead)


def run(names):
    torch.set_num_threads(1)
    for name in names:
        choose_rate(name)
    for seed in SEEDS:
        for name in names:
            one_run(name, best_rate(name), seed)


def choose_rate(name):
    """Try the middle of the grid, and further ones on the side of the best until it has one on either side."""
    tried = RATES[1:-1]
    while True:
        for rate in tried:
            for seed in TUNING_SEEDS:
                one_run(name, rate, seed)
        i = RATES.index(best_rate(name))
        wanted = sorted({*tried, *RATES[max(0, i - 1) : i + 2]})
        if wanted == tried:
            return say_if_at_edge(name, best_rate(name), tried)
        tried = wanted


def tuning(name):
    """The mean of the two runs that were made to choose a rate, by rate."""
    found = {}
    for row in RUNS.where(model=name):
        if row["seed"] in TUNING_SEEDS:
            found.setdefault(row["learning_rate"], []).append(row["bits_per_byte"])
    return {rate: statistics.mean(values) for rate, values in sorted(found.items())}


def best_rate(name):
    means = tuning(name)
    return min(means, key=means.get)


def bits(name):
    """Bits per byte at the model's rate, by seed."""
    rows = RUNS.where(model=name, learning_rate=best_rate(name))
    return {row["seed"]: row["bits_per_byte"] for row in rows if row["seed"] in SEEDS}


def table():
    for name in MODELS:
        values = list(bits(name).values())
        print(f"{name:18} tried { ({rate: round(mean, 4) for rate, mean in tuning(name).items()}) }")
        said = f"{statistics.mean(values):.4f}, spread {statistics.stdev(values):.4f}, {len(values)} seeds"
        dead = sum(row["dead_units"] for row in RUNS.where(model=name, learning_rate=best_rate(name)))
        print(f"{name:18} rate {best_rate(name):g}: {said}; dead units of all its runs at this rate: {dead}")
    for name, other in PAIRS:
        here, there = bits(name), bits(other)
        gaps = [here[seed] - there[seed] for seed in SEEDS]
        half = T_95 * statistics.stdev(gaps) / math.sqrt(len(gaps))
        print(f"{name:18} against {other}: {statistics.mean(gaps):+.4f} +- {half:.4f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["run", "table"])
    parser.add_argument("names", nargs="*", default=MODELS, help="models (default: all)")
    given = parser.parse_args()
    run(given.names) if given.what == "run" else table()
