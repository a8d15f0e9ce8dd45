"""Trained at 1024 bytes, scored at 512 to 16384; then a little training at 4096, and scored again. Three seeds.

    python benchmarks/longer.py run
    python benchmarks/longer.py table

FLASH with the mean and with the sum over chunks, and Transformer++. Each finished run is stored in
flash_course/bench/results/longer.json, with the bits at sixteen places of the window. The guess that was written down
before is in docs/predictions.md.
"""

import argparse
import statistics

import torch
from stored_runs import StoredRuns

from flash_tutorial import ModelConfig
from flash_tutorial.corpora import load_corpus
from flash_tutorial.training import TrainConfig, evaluate, first_bytes, train

RUNS = StoredRuns("longer", __doc__)
MODELS = {
    "FLASH, mean": (ModelConfig("flash", max_length=1024), 1e-2),
    "FLASH, sum": (ModelConfig("flash", max_length=1024, combine="sum"), 1e-2),
    "Transformer++": (ModelConfig("transformer++", max_length=1024), 2.5e-3),
}
LENGTHS, SEEDS, BYTES = (512, 1024, 2048, 4096, 8192, 16384), (0, 1, 2), 400_000


def scores(model, split):
    """Bits per byte in windows of each length: over all, and at sixteen places of the window."""
    found = {}
    for T in LENGTHS:
        score = evaluate(model, split, T, batch=max(1, 8192 // T))
        places = score.by_position.reshape(16, -1).mean(1).round(3).tolist()
        found[str(T)] = [round(score.bits_per_byte, 4), places]
    return found


def one_run(name, seed):
    """Train at 1024, score, train on at 4096, score; unless the run is stored already."""

    def make():
        corpus = load_corpus("austen")
        split = first_bytes(corpus.validation, BYTES)
        config, rate = MODELS[name]
        settings = dict(seed=seed, dtype="bfloat16", eval_bytes=0)
        first = TrainConfig(steps=1000, batch=4, length=1024, learning_rate=rate, **settings)
        done = train(config, first, corpus=corpus, progress=False)
        trained = scores(done.model, split)
        more = TrainConfig(steps=200, batch=1, length=4096, learning_rate=rate / 4, warmup=20, **settings)
        done = train(done.model, more, corpus=corpus, progress=False)
        return {"learning_rate": rate, "trained_at_1024": trained, "tuned_at_4096": scores(done.model, split)}

    return RUNS.find_or_make(dict(model=name, seed=seed), make)


def run():
    torch.set_num_threads(1)
    for seed in SEEDS:
        for name in MODELS:
            one_run(name, seed)


def table():
    for name in MODELS:
        runs = RUNS.where(model=name)
        for stage in ("trained_at_1024", "tuned_at_4096") if runs else ():
            means = {T: round(statistics.mean(run[stage][str(T)][0] for run in runs), 3) for T in LENGTHS}
            print(f"{name:14} {stage}, {len(runs)} seeds: {means}")
            last = [[round(bits, 2) for bits in run[stage][str(LENGTHS[-1])][1]] for run in runs]
            print(f"{'':14} in sixteenths of {LENGTHS[-1]}, seed by seed: {last}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("run", "table"))
    run() if parser.parse_args().what == "run" else table()
