"""Four ablations with ten seeds and ten times the updates of benchmarks/ablations.py, paired, with intervals.

    python benchmarks/ablations_long.py run                # or: ... run "GAU" "GAU, softmax", some models alone
    python benchmarks/ablations_long.py table

The same small models: T = 256, C = 32, D = 64, four units. Every rate is chosen by the mean of two whole runs with
seeds that the comparison does not use: one seed at a quarter of the length chose a rate at which a whole run of GAU
ended at 2.90 bits per byte. Every finished run is stored at once in flash_course/bench/results/ablations_long.json; one
that is there is not made again. The guess that was written down before is in docs/predictions.md.
"""

import argparse
import statistics

import torch
from ablations import VARIANTS
from stored_runs import StoredRuns, say_if_at_edge

from flash_course.bench.paired import FOUR, TRIALS, best_rate, difference, interval, scores, trials
from flash_tutorial import count_parameters
from flash_tutorial.corpora import load_corpus
from flash_tutorial.training import TrainConfig, draw_batch, train

RUNS = StoredRuns("ablations_long", __doc__)
PAIRS = [("GAU, softmax", "GAU"), ("GAU, 4 heads", "GAU"), ("FLASH", "GAU"), ("FLASH, local only", "FLASH")]
MODELS = ("GAU", "FLASH", "FLASH, local only", "GAU, softmax", "GAU, 4 heads")
RATES, STEPS = [6.25e-4, 1.25e-3, 2.5e-3, 5e-3, 1e-2, 2e-2, 4e-2], 2000
SEEDS = range(10)


def one_run(name, rate, seed):
    """Train once, unless the run is stored already."""

    def make():
        config = TrainConfig(steps=STEPS, batch=4, length=256, learning_rate=rate, seed=seed, eval_bytes=100_000)
        done = train(VARIANTS[name][1], config, corpus=load_corpus("austen"), progress=False)
        return {
            "parameters": count_parameters(done.model),
            "bits_per_byte": round(done.evaluation.bits_per_byte, 4),
            "dead_units": dead_units(done.model, config),
        }

    return RUNS.find_or_make(dict(model=name, learning_rate=rate, seed=seed), make)


@torch.no_grad()
def dead_units(model, config):
    """How many units add the same to every position: whatever they read, nothing of it comes out."""
    dead = []

    def look(unit, given, out):
        branch = out - given[0]
        dead.append(bool((branch - branch[:1, :1]).abs().max() < 1e-6 * out.abs().max()))  # but for rounding

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
            one_run(name, best_rate(RUNS.load(), name), seed)


def choose_rate(name):
    """Try the middle of the grid, and further ones on the side of the best until it has one on either side."""
    tried = [5e-3, 1e-2, 2e-2]
    while True:
        for rate in tried:
            for seed in TRIALS:
                one_run(name, rate, seed)
        i = RATES.index(best_rate(RUNS.load(), name))
        wanted = sorted({*tried, *RATES[max(0, i - 1) : i + 2]})
        if wanted == tried:
            return say_if_at_edge(name, RATES[i], tried)
        tried = wanted


def table():
    runs = RUNS.load()
    for name in MODELS:
        values, dead = list(scores(runs, name).values()), [row["dead_units"] for row in RUNS.where(model=name)]
        tried = ", ".join(f"{rate:g}: {mean:.3f}" for rate, mean in trials(runs, name).items())
        print(f"{name}, rate {best_rate(runs, name):g} (trials {tried})")
        print(
            f"    {len(values)} seeds: {statistics.mean(values):.4f}, standard deviation {statistics.stdev(values):.4f}"
        )
        print(f"    runs with a dead unit, at any rate: {sum(map(bool, dead))} of {len(dead)}")
    for name, other in PAIRS:
        mean, half, gaps = difference(runs, name, other)
        print(
            f"{name} against {other}: {mean:+.4f} +- {half:.4f}, and +- {FOUR * half:.4f} for all four together;",
            end=" ",
        )
        print(f"worse with {sum(gap > 0 for gap in gaps)} of {len(gaps)} seeds")
        alive = [gap for gap, seed in zip(gaps, SEEDS, strict=True) if not has_dead_unit(name, seed)]
        if len(alive) < len(gaps):
            print("    without the {} runs of {} that have a dead unit: {:+.4f} +- {:.4f}".format(
                len(gaps) - len(alive), name, *interval(alive)))  # fmt: skip


def has_dead_unit(name, seed):
    (run,) = RUNS.where(model=name, seed=seed, learning_rate=best_rate(RUNS.load(), name))
    return run["dead_units"] > 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["run", "table"])
    parser.add_argument("names", nargs="*", default=MODELS, help="models (default: all)")
    given = parser.parse_args()
    run(given.names) if given.what == "run" else table()
