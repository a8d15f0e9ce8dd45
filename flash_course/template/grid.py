"""All runs of the project, and its table.

python grid.py          tune the rates, run every model with every seed; stopped, it goes on where it was
python grid.py table    write the table of the finished runs into README.md
"""

import statistics
import sys
from pathlib import Path

from settings import MODELS, RATES, SEEDS, TRAIN, TUNING_STEPS
from train import run

from flash_course.bench.counts import count_multiply_adds
from flash_tutorial import LanguageModel, count_parameters

HERE = Path(__file__).parent
BLANK = "(write here)"
START, END = "<!-- table: python grid.py table -->", "<!-- end of table -->"
# Student's t at 97.5%, by degrees of freedom: with three seeds 4.30, not 1.96
T_975 = {1: 12.71, 2: 4.30, 3: 3.18, 4: 2.78, 5: 2.57, 6: 2.45, 7: 2.36, 8: 2.31, 9: 2.26}


def refuse_without_prediction():
    """A guess that is written after the result is none."""
    left = (HERE / "PREDICTION.md").read_text(encoding="utf-8").count(BLANK)
    if left:
        sys.exit(f"PREDICTION.md still has {left} blanks {BLANK}: fill them in before the first run")


def best_rate(name):
    """The rate of the best short run with seed 0."""
    scores = {rate: run(name, rate, 0, TUNING_STEPS)["validation_bits_per_byte"] for rate in RATES[name]}
    best = min(scores, key=scores.get)
    if len(scores) > 2 and best in (min(scores), max(scores)):
        print(f"{name}: the best rate, {best:g}, is at the edge of its grid: widen RATES in settings.py", flush=True)
    return best


def scores():
    """Bits per byte of every model, in the order of the seeds."""
    rates = {name: best_rate(name) for name in MODELS}
    return {name: [run(name, rates[name], seed)["validation_bits_per_byte"] for seed in SEEDS] for name in MODELS}


def interval(values):
    """Mean and half the width of its 95% interval."""
    n = len(values)
    if n < 2 or n - 1 not in T_975:
        raise ValueError(f"{n} seeds: expected 2 to 10 of them for an interval")
    return statistics.mean(values), T_975[n - 1] * statistics.stdev(values) / n**0.5


def table():
    """Markdown: a row for each model, and the paired difference of each from the first."""
    rows = ["| model | parameters | multiply-adds a token | bits per byte | minus the first, seed by seed |"]
    rows += ["| --- | --- | --- | --- | --- |"]
    all_scores = scores()
    first = all_scores[next(iter(MODELS))]
    for name, config in MODELS.items():
        mean, half = interval(all_scores[name])
        difference = "-"
        if all_scores[name] is not first:
            gap, wide = interval([a - b for a, b in zip(all_scores[name], first, strict=True)])
            difference = f"{gap:+.3f} ± {wide:.3f}" + (" (not settled)" if abs(gap) < wide else "")
        rows.append(f"| {name} | {parameters(name):,} | {cost(config)} | {mean:.3f} ± {half:.3f} | {difference} |")
    return "\n".join([*rows, "", f"{len(SEEDS)} seeds, {TRAIN.steps} updates; ± is half of a 95% interval."])


def parameters(name):
    """How many numbers a model learns."""
    return count_parameters(LanguageModel(MODELS[name]))


def cost(config):
    """Counted, where the package knows the layer; a layer of your own you count yourself."""
    try:
        return f"{count_multiply_adds(config, TRAIN.length) // TRAIN.length:,}"
    except (TypeError, ValueError, NotImplementedError):
        return "count it"


def write_table():
    """Put the table between the two marks of README.md."""
    path = HERE / "README.md"
    before, rest = path.read_text(encoding="utf-8").split(START)
    after = rest.split(END)[1]
    path.write_text(f"{before}{START}\n{table()}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:] not in ([], ["table"]):
        sys.exit(__doc__)
    refuse_without_prediction()
    for each in MODELS:
        print(f"{each}: {parameters(each):,} parameters", flush=True)
    if sys.argv[1:] == ["table"]:
        write_table()
        print("the table is in README.md")
    else:
        for each, values in scores().items():
            print(f"{each}: " + ", ".join(f"{value:.3f}" for value in values) + " bits per byte")
