"""The paper's ablations in miniature: one part exchanged or left out, the rest equal, three seeds, paired.

    python benchmarks/ablations.py rates        # the rates of every variant, seed 0
    python benchmarks/ablations.py seeds        # seeds 1 and 2 at each variant's best rate
    python benchmarks/ablations.py table        # prints what is stored, with paired intervals

Every finished run is stored at once in flash_course/bench/results/ablations.json; a run that is there is not made
again, so a stopped command goes on where it was. About a quarter of an hour on one core in all.

The rate of each variant is chosen in the same way: the best of a small grid at seed 0. Where the best one ends the
grid, the next rate beyond that end is tried, until the best one lies inside.
"""

import argparse
import json
from pathlib import Path

import torch

from flash_course.bench.clock import machine
from flash_course.bench.paired import interval
from flash_course.variants import VARIANTS, C
from flash_tutorial import count_parameters
from flash_tutorial.corpora import load_corpus
from flash_tutorial.files import write_text
from flash_tutorial.training import TrainConfig, train

RESULTS = Path(__file__).parent.parent / "flash_course" / "bench" / "results" / "ablations.json"
RATES = [4e-3, 1e-2, 2.5e-2]
BEYOND = {4e-3: 1.6e-3, 1.6e-3: 6.4e-4, 2.5e-2: 6e-2, 6e-2: 1.5e-1}  # an end of the grid: the rate tried beyond it
SEEDS = [0, 1, 2]
SETTINGS = dict(steps=200, batch=4, length=256, warmup=20, eval_bytes=50_000)

# ---------------------------------------------------------------- runs


def load():
    return json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {"runs": []}


def one_run(name, rate, seed):
    """Train once, unless the run is stored already."""
    for run in load()["runs"]:
        if (run["variant"], run["learning_rate"], run["seed"]) == (name, rate, seed):
            return run
    done = train(
        VARIANTS[name][1], TrainConfig(learning_rate=rate, seed=seed, **SETTINGS), corpus=CORPUS, progress=False
    )
    run = dict(
        variant=name,
        learning_rate=rate,
        seed=seed,
        bits_per_byte=round(done.evaluation.bits_per_byte, 4),
        parameters=count_parameters(done.model),
        seconds=round(done.log[-1]["seconds"], 1),
        cpu=machine()["cpu"],
        first_losses=[round(row["loss"], 4) for row in done.log[:40]],
    )
    stored = load()
    runs = [*stored["runs"], run]
    facts = {"command": "python benchmarks/ablations.py rates; python benchmarks/ablations.py seeds",
             "settings": SETTINGS, "chunk_size": C, "rates": RATES,
             "beyond": sorted(BEYOND.values()), "seeds": SEEDS, "machine": machine()}  # fmt: skip
    write(facts | {"best_rates": stored.get("best_rates", {}), "runs": runs})
    print({k: v for k, v in run.items() if k != "first_losses"}, flush=True)
    return run


def write(values):
    """JSON with a line for each run."""
    runs = ",\n  ".join(json.dumps(run) for run in values["runs"])
    rest = json.dumps({k: v for k, v in values.items() if k != "runs"}, indent=1)
    write_text(RESULTS, rest[:-2] + f',\n "runs": [\n  {runs}\n ]\n}}\n')


def tune(name):
    """The best rate at seed 0: of the grid, and of rates beyond its ends as long as the best one ends it."""
    bits = {rate: one_run(name, rate, 0)["bits_per_byte"] for rate in RATES}
    while (further := BEYOND.get(best := min(bits, key=bits.get))) and further not in bits:
        bits[further] = one_run(name, further, 0)["bits_per_byte"]
    stored = load()
    write(stored | {"best_rates": stored["best_rates"] | {name: best}})
    return best


def table():
    stored = load()
    for name, (other, _) in VARIANTS.items():
        rate = stored["best_rates"].get(name)
        bits = scores(stored, name)
        text = f"{name:20s} rate {rate:<7g}" + " ".join(f"{b:.3f}" for b in bits)
        if other and len(bits) == len(SEEDS):
            mean, half = interval([a - b for a, b in zip(bits, scores(stored, other), strict=True)])
            text += f"   against {other}: {mean:+.3f} +- {half:.3f}"
        print(text)


def scores(stored, name):
    """Bits per byte of the seeds, in order, at the variant's rate."""
    rate = stored["best_rates"].get(name)
    runs = {r["seed"]: r for r in stored["runs"] if (r["variant"], r["learning_rate"]) == (name, rate)}
    return [runs[seed]["bits_per_byte"] for seed in SEEDS if seed in runs]


def main():
    global CORPUS
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["rates", "seeds", "table"])
    parser.add_argument("--only", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    args = parser.parse_args()
    if args.what == "table":
        return table()
    torch.set_num_threads(1)
    CORPUS = load_corpus("austen")
    for name in args.only:
        best = tune(name)
        for seed in SEEDS[1:] if args.what == "seeds" else ():
            one_run(name, best, seed)


if __name__ == "__main__":
    main()
