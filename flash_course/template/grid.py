"""All runs of the project, and its table.

python grid.py          tune the rates, run every model with every seed; stopped, it goes on where it was
python grid.py table    write the table of the finished runs into README.md; nothing is trained
"""

import math
import statistics
import sys

from settings import MODELS, RATES, SEEDS, TRAIN, TUNING_STEPS
from train import HERE, RUNS, find, folder_of, in_one_line, run

from flash_course.bench.counts import count_multiply_adds
from flash_tutorial import LanguageModel, count_parameters
from flash_tutorial.files import write_text

BLANK = "(write here)"
START, END = "<!-- table: python grid.py table -->", "<!-- end of table -->"
# Student's t at 97.5%, by degrees of freedom: with three seeds 4.30, not 1.96
T_975 = {1: 12.71, 2: 4.30, 3: 3.18, 4: 2.78, 5: 2.57, 6: 2.45, 7: 2.36, 8: 2.31, 9: 2.26}


# ---------------------------------------------------------------- the runs
def refuse_without_prediction():
    """A guess that is written after the result is none."""
    left = (HERE / "PREDICTION.md").read_text(encoding="utf-8").count(BLANK)
    if left:
        raise ValueError(f"PREDICTION.md still has {left} blanks {BLANK}: fill them in before the first run")


def results(get, ask=False):
    """{model: results in the order of the seeds}, at the rate whose short run with seed 0 was best; ``get`` is ``run``,
    or ``find``, which trains nothing. A model whose runs are not there, or all diverged, has those in their place."""
    every = {}
    for name in MODELS:
        short = {rate: get(name, rate, 0, TUNING_STEPS) for rate in RATES[name]}
        scores = {rate: score(result) for rate, result in short.items()}
        best = min(scores, key=scores.get)
        if None in short.values() or scores[best] == math.inf:
            every[name] = list(short.values())
            continue
        if ask and len(scores) > 2 and best in (min(scores), max(scores)):
            print(
                f"{name}: the best rate, {best:g}, is at the edge of its grid: widen RATES in settings.py", flush=True
            )
        every[name] = [get(name, best, seed) for seed in SEEDS]
    return every


def score(result):
    """Bits per byte, or per token (``unit_of``); infinite for a run that diverged or is not there."""
    found = (result or {}).get("validation_bits_per_byte", math.inf)
    return result["validation_bits_per_token"] if found is None else found


def unit_of(found):
    """What the scores of these results are bits of: bytes, or the tokens of a text whose bytes nobody knows."""
    by_token = any(result and result.get("validation_bits_per_byte", 0) is None for result in found)
    return "token" if by_token else "byte"


def in_the_grid():
    """The folders of all runs that the settings ask for, at whatever rate."""
    tuning = {folder_of(name, rate, 0, TUNING_STEPS) for name in MODELS for rate in RATES[name]}
    return tuning | {folder_of(name, rate, seed) for name in MODELS for rate in RATES[name] for seed in SEEDS}


def name_the_others():
    """Say which folders are not used."""
    others = sorted(path.name for path in RUNS.glob("*") if path.is_dir() and path not in in_the_grid())
    if others:
        print(f"not used, since made by other code, settings or text, or at another rate: {', '.join(others)}")


# ---------------------------------------------------------------- the table
def interval(values):
    """Mean and half the width of its 95% interval, None with one value. Beyond ten the t of ten, a little wide."""
    if len(values) < 2:
        return statistics.mean(values), None
    t = T_975[min(len(values) - 1, max(T_975))]
    return statistics.mean(values), t * statistics.stdev(values) / len(values) ** 0.5


def with_interval(values, sign=""):
    """``2.031 ± 0.012``, and for one value the number alone."""
    mean, half = interval(values)
    return f"{mean:{sign}.3f}" + ("" if half is None else f" ± {half:.3f}")


def table(every):
    """Markdown: a row for each model, and the paired difference of each from the first."""
    unit = unit_of(result for found in every.values() for result in found)
    rows = [f"| model | parameters | multiply-adds a token | bits per {unit} | minus the first, seed by seed |"]
    rows += ["| --- | --- | --- | --- | --- |"]
    first = [score(result) for result in next(iter(every.values()))]
    for name, config in MODELS.items():
        scores, difference = [score(result) for result in every[name]], "-"
        if math.inf in scores:
            steps = [str(result["diverged_at_step"]) for result in every[name] if score(result) == math.inf]
            cell = f"diverged at step {', '.join(steps)} ({len(steps)} of {len(scores)} runs)"
        else:
            cell = with_interval(scores)
            if name != next(iter(MODELS)) and math.inf not in first:
                gaps = [a - b for a, b in zip(scores, first, strict=True)]
                mean, half = interval(gaps)
                settled = half is not None and abs(mean) >= half
                difference = with_interval(gaps, "+") + ("" if settled else " (not settled)")
        rows.append(f"| {name} | {parameters(name):,} | {cost(config)} | {cell} | {difference} |")
    seeds = "1 seed, no interval" if len(SEEDS) == 1 else f"{len(SEEDS)} seeds; ± is half of a 95% interval"
    return "\n".join([*rows, "", f"{TRAIN.steps} updates, {seeds}."])


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
    """Put the table between the two marks of README.md; without all its runs, say which are missing."""
    missing = []

    def get(*key):
        if (result := find(*key)) is None:
            missing.append(folder_of(*key).name)
        return result

    every, path = results(get), HERE / "README.md"
    if missing:
        raise ValueError(f"missing: {', '.join(missing)}: `python grid.py` makes them, and what follows from them")
    text = path.read_text(encoding="utf-8")
    if not 0 <= text.find(START) < text.find(END):
        raise ValueError(f"README.md has lost the marks of the table, {START} and {END}: put them back")
    before, after = text.split(START)[0], text.split(END)[-1]
    write_text(path, f"{before}{START}\n{table(every)}\n{END}{after}")
    print("the table is in README.md")


def main():
    """The command of this file."""
    if sys.argv[1:] not in ([], ["table"]):
        sys.exit(__doc__)
    refuse_without_prediction()
    name_the_others()
    if sys.argv[1:] == ["table"]:
        write_table()
        return
    for each in MODELS:
        print(f"{each}: {parameters(each):,} parameters", flush=True)
    for each, found in results(run, ask=True).items():
        cells = [f"{score(result):.3f}" if score(result) < math.inf else "diverged" for result in found]
        print(f"{each}: {', '.join(cells)} bits per {unit_of(found)}")


if __name__ == "__main__":
    in_one_line(main)
