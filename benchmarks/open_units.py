"""FLASH-Quad at T = 512: which position bias, and which start, keeps its units reading; three seeds of each.

    python benchmarks/open_units.py run
    python benchmarks/open_units.py table

Code 4 can be read either way at a length of exactly 512: the table by distance, or the rotary form. A relu^2 map whose
scores are all below zero gives nothing and gets no gradient: the unit is dead. Each finished run is stored in
flash_course/bench/results/open_units.json. The guess that was written down before is in docs/predictions.md.
"""

import argparse
import statistics

import torch
from stored_runs import StoredRuns, say_if_at_edge

from flash_tutorial import LanguageModel, ModelConfig
from flash_tutorial.corpora import load_corpus
from flash_tutorial.layers import ToeplitzBias, cos_sin
from flash_tutorial.training import TrainConfig, draw_batch, evaluate, first_bytes, train

RUNS = StoredRuns("open_units", __doc__)
T, SEEDS, BYTES = 512, (0, 1, 2), 400_000
RATES, TUNING, STEPS = [5e-3, 1e-2, 2e-2, 4e-2], 300, 1000
STARTS = ("paper", "long warm-up", "open")


def build(bias, start, seed):
    """A model at its start; an open one has a bias above zero, at every distance or at the near ones."""
    torch.manual_seed(seed)
    model = LanguageModel(ModelConfig("flash_quad", max_length=T, bias=bias))
    if start == "open":
        with torch.no_grad():
            for unit in model.stack.units:
                if isinstance(unit.bias, ToeplitzBias):
                    unit.bias.weights.abs_()
                else:
                    unit.bias.b.copy_(unit.bias.a)  # a product with itself is positive, and falls with the distance
    return model


@torch.no_grad()
def open_shares(model, ids):
    """For each unit, the share of causal pairs with a weight above zero."""
    shares, pairs = [], torch.ones(T, T, dtype=torch.bool).tril()

    def look(unit, given):
        x = given[0]
        q, k = unit.read_heads(unit.project(x)[2], *cos_sin(T, unit.qk_dim, x))
        shares.append(round(float(((q @ k.mT / T + unit.bias(T))[:, pairs] > 0).double().mean()), 5))

    hooks = [unit.register_forward_pre_hook(look) for unit in model.stack.units]
    model(ids)
    for hook in hooks:
        hook.remove()
    return shares


def one_run(bias, start, rate, steps, seed):
    """Train once, unless the run is stored already."""

    def make():
        corpus, model = load_corpus("austen"), build(bias, start, seed)
        config = TrainConfig(
            steps=steps, batch=8, length=T, learning_rate=rate, seed=seed, dtype="bfloat16", eval_bytes=0,
            warmup=300 if start == "long warm-up" else None,
        )  # fmt: skip
        ids = torch.from_numpy(draw_batch(corpus.validation, config, 0, True)[0])
        before = open_shares(model, ids)
        train(model, config, corpus=corpus, progress=False)
        score = evaluate(model, first_bytes(corpus.validation, BYTES), T).bits_per_byte
        return {"bits_per_byte": round(score, 4), "open_before": before, "open_after": open_shares(model, ids)}

    return RUNS.find_or_make(dict(bias=bias, start=start, learning_rate=rate, steps=steps, seed=seed), make)


def run():
    torch.set_num_threads(1)
    for bias in ("rotary", "toeplitz"):
        for rate in RATES:
            one_run(bias, "paper", rate, TUNING, 0)
        best = RUNS.best(bias=bias, steps=TUNING)["learning_rate"]
        say_if_at_edge(bias, best, RATES)
        for seed in SEEDS:
            for start in STARTS:
                one_run(bias, start, best, STEPS, seed)


def table():
    for bias in ("rotary", "toeplitz"):
        for start in STARTS:
            rows = RUNS.where(bias=bias, start=start, steps=STEPS)
            values = [row["bits_per_byte"] for row in rows]
            dead = [sum(share == 0 for share in row["open_after"]) for row in rows]
            print(f"{bias:9} {start:13} {statistics.mean(values):.4f} {values}, dead units of 4: {dead}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("run", "table"))
    run() if parser.parse_args().what == "run" else table()
