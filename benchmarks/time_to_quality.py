"""The paper's own measure of speed: quality against training time, and the time to reach the baseline's final quality.

    python benchmarks/time_to_quality.py seconds     # an update of each, in turn, with nothing else running
    python benchmarks/time_to_quality.py run         # rates by short runs, then three seeds for ten minutes each
    python benchmarks/time_to_quality.py run --seconds 300      # five minutes; --lengths 2048: one length
    python benchmarks/time_to_quality.py neighbours --lengths 512    # Transformer++ at half and at twice its rate
    python benchmarks/time_to_quality.py neighbours --lengths 8192
    python benchmarks/time_to_quality.py neighbours --lengths 2048 --seconds 300
    python benchmarks/time_to_quality.py table

FLASH, FLASH-Quad and Transformer++ at T = 512, 2048 and 8192 on Austen, 8192 bytes an update, one core, bfloat16
(Figure 1 and Table 3 of the paper). A run has as many updates as fit into its time at the stored time of an update, so
that runs may share the machine; every half minute it is scored. Each finished run is stored in
flash_course/bench/results/time_to_quality.json. The guesses that were written down before are in docs/predictions.md.
"""

import argparse
import itertools
import statistics

import torch
from stored_runs import StoredRuns

from flash_course.bench.clock import time_in_turn, time_to_reach
from flash_course.bench.stored import timed_runs
from flash_tutorial import LanguageModel, ModelConfig, count_parameters
from flash_tutorial.corpora import load_corpus
from flash_tutorial.training import TrainConfig, new_optimizer, parts, train, train_step
from flash_tutorial.training.devices import Engine, keep_freed_memory

RUNS = StoredRuns("time_to_quality", __doc__)
LENGTHS, BYTES, SEEDS, EVERY = (512, 2048, 8192), 8192, (0, 1, 2), 30  # seconds from one score to the next
# where the search for a rate begins; it goes on by factors of two until the best lies inside
RATES = {"flash": 1e-2, "flash_quad": 1e-2, "transformer++": 5e-3}
# seconds; a longer sequence has fewer updates in the same time, and needs more of it to tell one rate from another
TUNING = {512: 75, 2048: 75, 8192: 150}
UPDATE = "seconds of an update, in turn"


def config_of(T, steps, rate=1e-2, seed=0, **more):
    settings = dict(batch=BYTES // T, length=T, learning_rate=rate, seed=seed, dtype="bfloat16", warmup=steps // 10)
    return TrainConfig(steps=steps, **settings, **more)


def seconds(lengths, _, rounds=9):
    """The median over rounds of an update of all models at each length; each call stores a row of its own.

    Updates are counted by the first row, whatever machine makes the runs.
    """
    split = load_corpus("austen").train

    def update_of(name, T):
        config, model = config_of(T, 1000), LanguageModel(ModelConfig(name, max_length=T))
        engine, optimizer = Engine(model, "bfloat16"), new_optimizer(model, config)
        batch = list(parts(split, config, 0, True, engine.device))
        return lambda: train_step(model, optimizer, batch, 0, config, engine)

    def measure():
        updates = {f"{name} {T}": update_of(name, T) for T in lengths for name in RATES}
        times = time_in_turn(updates, rounds, warmup=2)
        return {"seconds": {name: round(statistics.median(taken), 4) for name, taken in times.items()}}

    number = len(RUNS.where(what=UPDATE))
    RUNS.find_or_make({"what": UPDATE, "rounds": rounds, "timing": number}, measure)


def updates_in(name, T, budget):
    timed = (row["seconds"] for row in RUNS.where(what=UPDATE))
    return round(budget / next(seconds[f"{name} {T}"] for seconds in timed if f"{name} {T}" in seconds))


def one_run(name, T, rate, seed, budget):
    """Train once for ``budget`` seconds, unless the run is stored already."""

    def make():
        steps = updates_in(name, T, budget)
        every = {"eval_every": -(-steps * EVERY // budget)} if budget > TUNING[T] else {}
        config = config_of(T, steps, rate, seed, eval_bytes=100_000, **every)
        done = train(ModelConfig(name, max_length=T), config, progress=False)
        scored = [row for row in done.log if "validation_bits_per_byte" in row]
        return {
            "updates": steps, "parameters": count_parameters(done.model),
            "bits_per_byte": round(done.evaluation.bits_per_byte, 4),
            "on_the_way": [[round(row["step"] / steps * budget), round(row["validation_bits_per_byte"], 4)]
                           for row in scored],
        }  # fmt: skip

    return RUNS.find_or_make(dict(model=name, T=T, learning_rate=rate, seed=seed, budget=budget), make)


def rate_of(name, T):
    """The best rate of short runs with seed 0: of neighbours a factor of two apart, until the best lies inside."""
    grid = [RATES[name] / 2, RATES[name], RATES[name] * 2]
    while True:
        score = {rate: one_run(name, T, rate, 0, TUNING[T])["bits_per_byte"] for rate in grid}
        best = min(score, key=score.get)
        if best == grid[0]:
            grid = [best / 2, *grid]
        elif best == grid[-1]:
            grid = [*grid, best * 2]
        else:
            return best


def run(lengths, budget):
    rates = {(T, name): rate_of(name, T) for T, name in itertools.product(lengths, RATES)}
    for names in (("flash", "transformer++"), ("flash_quad",)):
        for seed, T, name in itertools.product(SEEDS, lengths, names):
            one_run(name, T, rates[T, name], seed, budget)


def neighbours(lengths, budget):
    """Transformer++ at half and at twice its rate for the full time, seed 0: does the rate of short runs suit it?

    Where another is better, that one gets all seeds, and ``timed_runs`` takes it.
    """
    for T in lengths:
        rate = RUNS.best(model="transformer++", T=T, budget=TUNING[T])["learning_rate"]
        runs = [one_run("transformer++", T, other, 0, budget) for other in (rate / 2, rate, rate * 2)]
        best = min(runs, key=lambda run: run["bits_per_byte"])["learning_rate"]
        for seed in SEEDS:
            one_run("transformer++", T, best, seed, budget)


def table(lengths, budget):
    for T in lengths:
        runs = {name: rows for name, rows in timed_runs(T, budget).items() if rows}
        if "transformer++" not in runs:
            print(f"T = {T:4} Transformer++ has no run of {budget} seconds yet")
            continue
        for name, rows in runs.items():
            values = [row["bits_per_byte"] for row in rows]
            goals = [base["bits_per_byte"] for base in runs["transformer++"]]
            times = [time_to_reach(goal, *zip(*row["on_the_way"])) for row, goal in zip(rows, goals)]
            ratios = [f"{budget / t:.2f}" if t else "never" for t in times]
            said = f"{rows[0]['updates']} updates, {statistics.mean(values):.4f} {values}"
            print(f"T = {T:4} {name:13} {said}; as good as Transformer++ sooner by {', '.join(ratios)}")


if __name__ == "__main__":
    keep_freed_memory()
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = {"seconds": seconds, "run": run, "neighbours": neighbours, "table": table}
    parser.add_argument("what", choices=commands)
    parser.add_argument("--lengths", type=int, nargs="+", choices=LENGTHS, default=LENGTHS)
    parser.add_argument("--seconds", type=int, default=600, help="of training, for each run (default: %(default)s)")
    arguments = parser.parse_args()
    if arguments.what == "seconds" and arguments.seconds != 600:
        parser.error("--seconds is the time of a training run: `seconds` times single updates, so leave it out there")
    commands[arguments.what](arguments.lengths, arguments.seconds)
