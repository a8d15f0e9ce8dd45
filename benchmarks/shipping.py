"""Train the two models that come with the package, each at its own best rate, and say what was tried.

    python benchmarks/shipping.py run MODEL --models runs/shipping
    python benchmarks/shipping.py run MODEL --dropout 0.2       # the long run alone, with another dropout
    python benchmarks/shipping.py run transformer++ --dropout 0.05
    python benchmarks/shipping.py go_on MODEL                   # from its better long run, at a lower rate
    python benchmarks/shipping.py seeds MODEL                   # short runs with two more seeds: the spread
    python benchmarks/shipping.py table

MODEL is flash or transformer++; one core each.
First the rate, by short runs; then the long run at the best rate; then, by runs of middle length, whether another
dropout or weight decay would have been better. Long and middle runs go on where they were stopped. All in
flash_course/bench/results/shipping.json, beside the number format that was the faster one on its machine;
``benchmarks/ship_model.py`` puts the long run's model into the package. The guess that was written down before is in
docs/predictions.md.
"""

import argparse
from pathlib import Path

import torch
from stored_runs import StoredRuns, say_if_at_edge

from flash_tutorial import LanguageModel, ModelConfig, count_parameters
from flash_tutorial.corpora import load_corpus
from flash_tutorial.training import TrainConfig, evaluate, first_bytes, train
from flash_tutorial.training.devices import pick_dtype

RUNS = StoredRuns("shipping", __doc__)
MODELS = {
    "flash": dict(dim=192, depth=8, max_length=1024, chunk_size=256),
    "transformer++": dict(dim=192, depth=4, max_length=1024, heads=3, ff_dim=560),
}
RATES = {"flash": [2.5e-3, 5e-3, 1e-2, 2e-2], "transformer++": [5e-4, 1e-3, 2e-3, 4e-3]}
# each begins with the value of the long runs; a second value is what lies beyond an end, tried if the end is the best
DROPOUT = {0.1: None, 0.05: 0.0, 0.2: 0.4}
DECAY = {0.1: None, 0.03: 0.01, 0.3: 1.0}
SHORT, MIDDLE, LONG = 600, 2000, 7000
MORE, LOWER = 4000, 0.4  # updates after the long run, from this part of its rate down to nothing once more
BYTES = 400_000  # of Persuasion, by which all choices are made


def one_run(name, steps, rate, dropout, decay, models=None, after=None, seed=0):
    """Train once, unless the run is stored already, from the start or ``after`` so many updates of the long run.

    All but the short runs lie in ``models``, and go on there where they were stopped.
    """
    key = dict(model=name, steps=steps, learning_rate=rate, dropout=dropout, weight_decay=decay, seed=seed)
    key |= {"after": after, "seed": 1} if after else {}  # other windows than before
    first = f"{name}-dropout-{dropout:g}"
    folder = {LONG: first, MORE: f"{first}-went-on", MIDDLE: f"{first}-decay-{decay:g}-{MIDDLE}"}.get(steps)
    out = models / folder if folder else None
    on_the_way = steps in (LONG, MORE)

    def make():
        model = LanguageModel(ModelConfig(name, dropout=dropout, **MODELS[name]))
        number_format, _ = pick_dtype("cpu", "auto", count_parameters(model))
        dtype = str(number_format).removeprefix("torch.")
        config = TrainConfig(
            steps=steps, batch=4, length=1024, learning_rate=rate, weight_decay=decay, dtype=dtype,
            seed=key["seed"], start_from=str(models / first) if after else None,
            eval_bytes=100_000 if on_the_way else 0, eval_every=500 if on_the_way else None,
        )  # fmt: skip
        done = train(model.config, config, out=out, resume=bool(out), progress=False)
        split = first_bytes(load_corpus("austen").validation, BYTES)
        scored = [row for row in done.log if "validation_bits_per_byte" in row]
        return {
            "dtype": dtype,
            "parameters": count_parameters(done.model),
            "bits_per_byte": round(evaluate(done.model, split, 1024).bits_per_byte, 4),
            "training_bits_per_byte": round(sum(row["bits_per_byte"] for row in done.log[-100:]) / 100, 4),
            "on_the_way": [[row["step"], round(row["validation_bits_per_byte"], 4)] for row in scored],
        }

    return RUNS.find_or_make(key, make)


def search(grid, run_at):
    """Run at each value of a grid, and at what lies beyond its better end if that end is the best."""
    best = min(grid, key=lambda value: run_at(value)["bits_per_byte"])
    if grid[best] is not None:
        run_at(grid[best])


def run(name, models, dropout=None):
    for rate in RATES[name]:
        one_run(name, SHORT, rate, 0.1, 0.1)
    best = RUNS.best(model=name, steps=SHORT, seed=0)["learning_rate"]
    say_if_at_edge(f"{name}, rate", best, RATES[name])
    if dropout is not None:
        return one_run(name, LONG, best, dropout, 0.1, models)
    one_run(name, LONG, best, 0.1, 0.1, models)
    search(DROPOUT, lambda dropout: one_run(name, MIDDLE, best, dropout, 0.1, models))
    search(DECAY, lambda decay: one_run(name, MIDDLE, best, 0.1, decay, models))


def go_on(name, models):
    best = RUNS.best(model=name, steps=LONG)
    one_run(name, MORE, LOWER * best["learning_rate"], best["dropout"], 0.1, models, after=LONG)


def seeds(name):
    best = RUNS.best(model=name, steps=SHORT, seed=0)["learning_rate"]
    for seed in (0, 1, 2):
        one_run(name, SHORT, best, 0.1, 0.1, seed=seed)


def table():
    for name in MODELS:
        for row in RUNS.where(model=name):
            settings = "rate {learning_rate:g}, dropout {dropout:g}, decay {weight_decay:g}, seed {seed}".format(**row)
            scores = "{bits_per_byte:.4f} (training {training_bits_per_byte:.4f})".format(**row)
            after = f" after {row['after']}" if "after" in row else ""
            print(f"{name:14} {row['steps']:5} updates{after}, {settings}: {scores}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    what = parser.add_subparsers(dest="what", required=True)
    for command in ("run", "go_on", "seeds"):
        one = what.add_parser(command)
        one.add_argument("model", choices=MODELS)
        if command != "seeds":  # its short runs are kept nowhere
            one.add_argument("--models", type=Path, default=Path("runs/shipping"))
    what.choices["run"].add_argument("--dropout", type=float, help="the long run alone, with this dropout")
    what.add_parser("table")
    args = parser.parse_args()
    if args.what == "run":
        run(args.model, args.models, args.dropout)
    elif args.what == "table":
        table()
    elif args.what == "go_on":
        go_on(args.model, args.models)
    else:
        seeds(args.model)
