"""C alone: FLASH trained anew at each chunk length, with the scale of its scores held; three seeds.

    python benchmarks/chunk_length.py run
    python benchmarks/chunk_length.py table

The local part divides its scores by C, so that another C is another scale as well. Here they are divided by 128 at
every C. Austen, T = 1024. Each finished run is stored in flash_course/bench/results/chunk_length.json. The guess that
was written down before is in docs/predictions.md.
"""

import argparse
import statistics

import torch
from stored_runs import StoredRuns
from text_losses import bits_of, by_place

from flash_course.bench.paired import interval
from flash_tutorial import FLASH, ModelConfig, count_parameters
from flash_tutorial.corpora import load_corpus
from flash_tutorial.training import TrainConfig, first_bytes, train

RUNS = StoredRuns("chunk_length", __doc__)
T, SCALE, LENGTHS, SEEDS, BYTES = 1024, 128, (32, 64, 128, 256, 512, 1024), (0, 1, 2), 400_000
STEPS, RATE = 1000, 1e-2


class HeldScale(FLASH):
    """FLASH whose local scores are divided by 128 whatever C is, by torch, since the kernels divide by C."""

    prefill = step = None  # token by token the row is read again at each step: FLASH's own step divides by C

    def __init__(self, dim, **options):
        super().__init__(dim, backend="torch", **options)

    def mix(self, heads, v, mask, segment_ids):
        quad_q, *others = heads
        return super().mix((quad_q * (self.chunk_size / SCALE), *others), v, mask, segment_ids)


def one_run(C, seed):
    """Train once, unless the run is stored already."""

    def make():
        corpus = load_corpus("austen")
        options = dict(chunk_size=C, qk_dim=64, bias="toeplitz")  # at every C, so that C alone differs
        config = TrainConfig(
            steps=STEPS, batch=4, length=T, learning_rate=RATE, seed=seed, dtype="bfloat16", eval_bytes=0
        )
        done = train(ModelConfig(HeldScale, max_length=T, unit_options=options), config, corpus=corpus, progress=False)
        bits, valid, _ = bits_of(done.model, first_bytes(corpus.validation, BYTES), T)
        score = round(float(bits[valid].mean()), 4)
        places = by_place(bits, valid, C) if C < T else None
        return {"parameters": count_parameters(done.model), "bits_per_byte": score, "by_place": places}

    return RUNS.find_or_make(dict(chunk_size=C, seed=seed, learning_rate=RATE, steps=STEPS), make)


def run():
    torch.set_num_threads(1)
    for seed in SEEDS:
        for C in LENGTHS:
            one_run(C, seed)


def table():
    """Each C: its seeds, and their paired differences from those of the shortest chunks and of 128."""
    scores = {C: {row["seed"]: row["bits_per_byte"] for row in RUNS.where(chunk_size=C)} for C in LENGTHS}
    for C, of in scores.items():
        print(f"C = {C:4} {statistics.mean(of.values()):.4f} {list(of.values())}", end="")
        for other in sorted({min(LENGTHS), 128} - {C}):
            mean, half = interval([bits - scores[other][seed] for seed, bits in of.items()])
            print(f", minus C = {other}: {mean:+.3f} +- {half:.3f}", end="")
        print()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("run", "table"))
    run() if parser.parse_args().what == "run" else table()
