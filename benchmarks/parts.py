"""Does the global part help on text? FLASH against its halves and Transformer++ at T = 2048, paired by seed.

    python benchmarks/parts.py run austen                  # rates by short runs, then three seeds at the best of them
    python benchmarks/parts.py run_at_one_rate austen      # FLASH and its local part at each other's rates as well
    python tools/code_corpus.py runs/code.txt              # a corpus of program text ...
    python benchmarks/parts.py run runs/code.txt
    python benchmarks/parts.py table

Every finished run is stored at once in flash_course/bench/results/parts.json; a run that is there is not made again.
The guess that was written down before is in docs/predictions.md.
"""

import argparse
import statistics

import torch
from stored_runs import StoredRuns, say_if_at_edge
from text_losses import bits_of, by_mention, by_place, worth_of_mentions

from flash_course.bench.paired import interval
from flash_tutorial import ModelConfig, count_parameters
from flash_tutorial.corpora import load_corpus
from flash_tutorial.training import TrainConfig, first_bytes, train

RUNS = StoredRuns("parts", __doc__)
T, SEEDS, BYTES = 2048, (0, 1, 2), 400_000
RATES = {"FLASH": [2.5e-3, 5e-3, 1e-2, 2e-2, 4e-2], "local only": [2.5e-3, 5e-3, 1e-2, 2e-2, 4e-2],
         "global only": [5e-3, 1e-2, 2e-2, 4e-2], "Transformer++": [1.25e-3, 2.5e-3, 5e-3, 1e-2]}  # fmt: skip
PAIR = {"FLASH": "local only", "local only": "FLASH"}
TUNING, STEPS = 500, 2000
# bytes since the last mention of a name; a chunk has 128
DISTANCES = (0, 128, 512, T)


def model_of(name):
    """Models of one size; D = 128, S = 64, C = 128."""
    if name == "Transformer++":
        return ModelConfig("transformer++", max_length=T)
    switch = {"local only": {"global_": False}, "global only": {"local": False}}.get(name, {})
    return ModelConfig("flash", max_length=T, **switch)


def one_run(corpus, name, rate, steps, seed):
    """Train once, unless the run is stored already."""

    kind = kind_of(corpus)

    def make():
        config = TrainConfig(
            steps=steps, batch=2, length=T, learning_rate=rate, seed=seed, dtype="bfloat16", eval_bytes=0
        )
        done = train(model_of(name), config, corpus=corpus, progress=False)
        losses = [round(row["loss"], 4) for row in done.log][:: max(1, steps // 100)]
        text = first_bytes(corpus.validation, BYTES)
        found = scores(done.model, text, kind)
        if steps == STEPS:
            found["saved_by_mention"] = worth_of_mentions(done.model, text, T, DISTANCES, kind)
        return {"parameters": count_parameters(done.model), **found, "losses": losses}

    return RUNS.find_or_make(dict(corpus=kind, model=name, learning_rate=rate, steps=steps, seed=seed), make)


def kind_of(corpus):
    return "austen" if corpus.name == "austen" else "code"


def scores(model, text, kind):
    """Bits per byte of a split, by the place in the chunk, and of names by the distance to their last mention."""
    bits, valid, targets = bits_of(model, text, T)
    return {
        "bits_per_byte": round(float(bits[valid].mean()), 4),
        "by_place": by_place(bits, valid, 128),
        "bits_per_name": by_mention(bits, valid, targets, DISTANCES, kind),
    }


def run(corpus):
    torch.set_num_threads(1)
    for name, rates in RATES.items():
        for rate in rates:
            one_run(corpus, name, rate, TUNING, 0)
        say_if_at_edge(name, best_rate(corpus, name), rates)
    for seed in SEEDS:
        for name in RATES:
            one_run(corpus, name, best_rate(corpus, name), STEPS, seed)


def run_at_one_rate(corpus):
    """FLASH and its local part each at the other's rate too: what 500 updates chose may be too high for 2000."""
    torch.set_num_threads(1)
    for seed in SEEDS:
        for name, other in PAIR.items():
            one_run(corpus, name, best_rate(corpus, other), STEPS, seed)


def best_rate(corpus, name):
    return RUNS.best(corpus=kind_of(corpus), model=name, steps=TUNING)["learning_rate"]


def table():
    """Of each model and rate the three seeds, paired differences from FLASH at each of its rates, and names."""
    for kind in sorted({row["corpus"] for row in RUNS.where(steps=STEPS)}):
        of = {}
        for row in RUNS.where(corpus=kind, steps=STEPS):
            of.setdefault((row["model"], row["learning_rate"]), {})[row["seed"]] = row
        for (name, rate), rows in sorted(of.items()):
            values = [row["bits_per_byte"] for row in rows.values()]
            print(f"{kind:6} {name:14} {rate:g}: {statistics.mean(values):.4f} {values}")
            for other, flash in sorted(of.items()):
                if other[0] == "FLASH" != name:
                    gaps = [row["bits_per_byte"] - flash[seed]["bits_per_byte"] for seed, row in rows.items()]
                    said = ", ".join(f"{gap:+.4f}" for gap in gaps)
                    mean = "mean {:+.4f} +- {:.4f}".format(*interval(gaps))
                    print(f"{'':7}minus FLASH at {other[1]:g}: {said}, {mean}")
            first, *_ = rows.values()
            bits = {d: statistics.mean(r["bits_per_name"][d][0] for r in rows.values()) for d in first["bits_per_name"]}
            print(f"{'':7}bits of a name, by bytes since its last mention:", {d: round(b, 2) for d, b in bits.items()})
            if saved := [r["saved_by_mention"] for r in rows.values() if "saved_by_mention" in r]:
                by_seed = {d: [s[d][0] for s in saved] for d in saved[0]}
                print(f"{'':7}bits saved by the mention, seed by seed:", by_seed)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    what = parser.add_subparsers(dest="what", required=True)
    commands = {"run": run, "run_at_one_rate": run_at_one_rate}
    for name in commands:
        what.add_parser(name).add_argument("corpus", help="austen, or the path of a text")
    what.add_parser("table")
    args = parser.parse_args()
    table() if args.what == "table" else commands[args.what](load_corpus(args.corpus))
