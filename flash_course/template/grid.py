"""All runs of the project, and its table.

python grid.py          choose the rates, run every model with every seed; stopped, it goes on where it was
python grid.py table    write the table of the finished runs into README.md; nothing is trained
"""

import inspect
import os
import sys
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path

from settings import MODELS, RATES, SEEDS, TRAIN, TUNING_STEPS

from flash_course.bench.counts import count_multiply_adds
from flash_tutorial import LanguageModel, count_parameters, load_corpus
from flash_tutorial.config import TrainConfig
from flash_tutorial.experiments import Arm, Compare, Experiment, Search, StoredRows, run
from flash_tutorial.experiments.comparisons import compared, reported
from flash_tutorial.experiments.tables import cells, markdown
from flash_tutorial.files import write_text

HERE = Path(__file__).parent
RESULTS = HERE / "results"
BLANK = "(write here)"
START, END = "<!-- table: python grid.py table -->", "<!-- end of table -->"


# ---------------------------------------------------------------- the declaration
@cache
def corpus():
    """The text of all runs."""
    return load_corpus(TRAIN.corpus)


def settings_of(steps, budget=None):
    """TRAIN for so many updates; a shorter run warms up for the same share of it."""
    values = asdict(replace(TRAIN, steps=steps, warmup=TRAIN.warmup * steps // TRAIN.steps))
    return {
        name: value
        for name, value in values.items()
        if name not in ("steps", "seed", "learning_rate")
    }


def declaration():
    """What is asked: the first model is the one that the others are compared with."""
    first, *others = MODELS
    score = "bits_per_byte" if corpus().validation.n_bytes else "bits_per_token"
    return Experiment(
        "project",
        "What does the layer change?",
        arms=tuple(
            Arm(name, config, tuple(RATES[name]), corpus=corpus) for name, config in MODELS.items()
        ),
        train=settings_of,
        steps=(TRAIN.steps,),
        seeds=tuple(SEEDS),
        search=Search(
            steps=TUNING_STEPS, seeds=(0,), score=score_of, most=max(map(len, RATES.values()))
        ),
        score=score,
        compare=tuple(Compare(name, first) for name in others),
        anew=True,
    )


def score_of(row):
    """Bits per byte, or per token of a text whose bytes nobody knows."""
    return row["measures"].get("bits_per_byte", row["measures"].get("bits_per_token"))


def finished():
    """The finished runs of today's layers, settings and text."""
    return StoredRows(declaration(), RESULTS).load()


# ---------------------------------------------------------------- what is refused
def refuse_without_prediction():
    """A guess that is written after the result is none."""
    left = (HERE / "PREDICTION.md").read_text(encoding="utf-8").count(BLANK)
    if left:
        raise ValueError(
            f"PREDICTION.md still has {left} blanks {BLANK}: fill them in before the first run"
        )


def check_settings():
    """Refuse settings that would have no effect, or that lack a part."""
    for name in ("learning_rate", "seed"):
        if getattr(TRAIN, name) != getattr(TrainConfig(), name):
            given = f"TRAIN has {name}={getattr(TRAIN, name)!r} in settings.py"
            raise ValueError(f"{given}: RATES and SEEDS say it, leave it out")
    if TRAIN.eval_bytes == 0:
        raise ValueError(
            "TRAIN has eval_bytes=0 in settings.py, so no run would have a score: give some bytes"
        )
    for name, config in MODELS.items():
        layer = config.architecture
        if (
            not isinstance(layer, str)
            and not inspect.isclass(layer)
            and not inspect.isfunction(layer)
        ):
            given = f"MODELS in settings.py has {layer!r:.60} for {name!r}"
            given += ", whose code and options no run would be known by"
            raise ValueError(f"{given}: give the class, and its options in unit_options")
    if set(RATES) != set(MODELS) or not all(RATES.values()):
        raise ValueError(
            f"RATES in settings.py has {sorted(RATES)}: expected rates for each of {sorted(MODELS)}"
        )
    if not SEEDS or len(set(SEEDS)) < len(SEEDS):
        raise ValueError(
            f"SEEDS in settings.py is {SEEDS}: expected one seed or more, all different"
        )
    for name in MODELS:
        for rate in RATES[name]:
            TrainConfig(
                **settings_of(TRAIN.steps), learning_rate=rate, steps=TRAIN.steps, seed=min(SEEDS)
            )
    replace(TRAIN, steps=TUNING_STEPS, warmup=0)


# ---------------------------------------------------------------- the table
def table(experiment, rows):
    """Markdown: a row for each model, and its difference from the first."""
    unit = experiment.score.removeprefix("bits_per_")
    head = [
        "model",
        "parameters",
        "multiply-adds a token",
        "rate",
        f"bits per {unit}",
        "mean",
        "minus the first",
    ]
    lines, missing = [], []
    for arm in experiment.arms:
        runs = [
            (rate, found)
            for (name, _, _, rate), found in reported(experiment, rows).items()
            if name == arm.label
        ]
        if not runs or len(runs[0][1]) < len(SEEDS):
            missing.append(arm.name)
            continue
        rate, by_seed = runs[0]
        scores = cells(experiment, [by_seed[seed]["measures"] for seed in SEEDS])
        counts = [f"{parameters(arm.model):,}", cost(arm.model)]
        lines.append([arm.name, *counts, f"{rate:g}", *scores, difference(experiment, rows, arm)])
    if missing:
        raise ValueError(f"missing: runs of {', '.join(missing)}: `python grid.py` makes them")
    seeds = f"{len(SEEDS)} seeds; ± is half of a 95% interval (Welch)"
    if len(SEEDS) == 1:
        seeds = "1 seed, no interval"
    return markdown(head, lines) + f"\n{TRAIN.steps} updates, {seeds}."


def difference(experiment, rows, arm):
    """Of an arm from the first, with its interval."""
    for compare in experiment.compare:
        if compare.arm != arm.label:
            continue
        if found := compared(experiment, rows, compare):
            return f"{found.welch}" if found.welch.is_settled else f"{found.welch} (not settled)"
    return "-"


def parameters(config):
    """How many numbers a model learns."""
    return count_parameters(LanguageModel(config))


def cost(config):
    """Counted, where the package knows the layer; a layer of your own you count yourself."""
    try:
        return f"{count_multiply_adds(config, TRAIN.length) // TRAIN.length:,}"
    except (TypeError, ValueError, NotImplementedError):
        return "count it"


def write_table(experiment):
    """Put the table between the two marks of README.md."""
    made = table(experiment, finished())
    path = HERE / "README.md"
    text = path.read_text(encoding="utf-8")
    if not 0 <= text.find(START) < text.find(END):
        raise ValueError(
            f"README.md has lost the marks of the table, {START} and {END}: put them back"
        )
    before = text.split(START)[0]
    after = text.split(END)[-1]
    write_text(path, f"{before}{START}\n{made}\n{END}{after}")
    print("the table is in README.md")


# ---------------------------------------------------------------- the command
def main():
    """The command of this file."""
    if sys.argv[1:] not in ([], ["table"]):
        sys.exit(__doc__)
    check_settings()
    refuse_without_prediction()
    os.chdir(HERE)
    experiment = declaration()
    stored = StoredRows(experiment, RESULTS)
    if others := len(stored.whole()["runs"]) - len(stored.load()):
        print(
            f"{others} stored runs are not used, since they were made by other code, settings or text"
        )
    if sys.argv[1:] == ["table"]:
        write_table(experiment)
        return
    for name, config in MODELS.items():
        print(f"{name}: {parameters(config):,} parameters", flush=True)
    run(experiment, RESULTS)


def in_one_line(program):
    """Run a program; what it refuses, and Ctrl-C, end it in one line."""
    try:
        program()
    except (ValueError, OSError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        print("stopped: the same command goes on from here", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    in_one_line(main)
