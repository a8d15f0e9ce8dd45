"""All runs of the project, and its table.

python grid.py          choose the rates, run every model with every seed; stopped, it goes on where it was
python grid.py table    write the table of the finished runs into README.md; nothing is trained
"""

import os
import sys
from dataclasses import asdict, replace
from functools import cache
from itertools import chain
from pathlib import Path
from statistics import mean

import settings
from settings import BUDGET, MODELS, RATES, SEEDS, TRAIN, TUNING, WARMUP

from flash_course.project_settings import check_settings
from flash_tutorial import count_parameters, load_corpus
from flash_tutorial.experiments import (
    Arm,
    Experiment,
    Search,
    StoredRows,
    Trained,
    flops_of_update,
    run,
    welch,
)
from flash_tutorial.experiments.comparisons import reported
from flash_tutorial.experiments.rates import rates_of, trials
from flash_tutorial.experiments.runner import built
from flash_tutorial.experiments.tables import cells, edges, markdown
from flash_tutorial.files import write_text

HERE = Path(__file__).parent
RESULTS = HERE / "results"
BLANK = "(write here)"
PLACE = ("cpu", "threads", "card")  # what a machine's seconds belong to
START, END = "<!-- table: python grid.py table -->", "<!-- end of table -->"


# ---------------------------------------------------------------- the models
@cache
def corpus():
    """The text of all runs."""
    return load_corpus(TRAIN.corpus)


@cache
def model_of(name):
    """What a model is built from: its configuration, or trained weights."""
    given = MODELS[name]
    return Trained(given) if isinstance(given, str | Path) else given


def at_start(name):
    """A model before its first update."""
    return built(Arm(name, model_of(name)), seed=0)


@cache
def counts(name):
    """The parameters of a model, and the FLOPs of one of its updates."""
    model = at_start(name)
    return count_parameters(model), flops_of_update(model, TRAIN)


# ---------------------------------------------------------------- the declaration
def updates(name, share=1):
    """How many updates of a model a share of a budget of updates or FLOPs holds."""
    if "updates" in BUDGET:
        held = int(BUDGET["updates"] * share)
    else:
        held = int(BUDGET["flops"] * share / counts(name)[1])
    if held < 1:
        said = f"{share:.2g} of {BUDGET}" if share < 1 else f"{BUDGET}"
        raise ValueError(f"BUDGET in settings.py: {said} holds no update of {name}, give more")
    return held


def arm_of(name):
    """A model with its rates, and the length of its runs where the budget is not of seconds."""
    arm = Arm(name, model_of(name), tuple(RATES[name]), corpus=corpus)
    search = Search(seeds=(100,), score=score_of, most=max(map(len, RATES.values())))
    if "seconds" in BUDGET:
        return replace(arm, search=replace(search, seconds=BUDGET["seconds"] * TUNING))
    return replace(arm, steps=(updates(name),), search=replace(search, steps=updates(name, TUNING)))


def settings_of(steps, budget=None):
    """TRAIN for so many updates; each run warms up for the same share of it."""
    values = asdict(replace(TRAIN, steps=steps, warmup=int(steps * WARMUP)))
    return {
        name: value
        for name, value in values.items()
        if name not in ("steps", "seed", "learning_rate")
    }


def declaration():
    """What is asked."""
    seconds = BUDGET.get("seconds")
    return Experiment(
        "project",
        "What does the layer change?",
        arms=tuple(arm_of(name) for name in MODELS),
        train=settings_of,
        seconds=(seconds,) if seconds else (),
        seeds=tuple(SEEDS),
        score="bits_per_byte" if corpus().validation.n_bytes else "bits_per_token",
        anew=True,
    )


def score_of(row):
    """Bits per byte, or per token of a text whose bytes nobody knows."""
    return row["measures"].get("bits_per_byte", row["measures"].get("bits_per_token"))


def finished():
    """The finished runs of today's layers, settings and text."""
    return [row for row in StoredRows(declaration(), RESULTS).load() if row["arm"]]


def full(experiment, rows):
    """{model: its runs of the whole budget at its chosen rate, by seed}."""
    found = {}
    for (name, steps, budget, rate), by_seed in reported(experiment, rows).items():
        arm = experiment.arm(name)
        is_whole = budget == BUDGET.get("seconds") and steps in (arm.steps or (steps,))
        if is_whole and rate in rates_of(experiment, arm, rows):
            found[name] = by_seed
    return found


# ---------------------------------------------------------------- what is refused
def refuse_without_prediction():
    """A guess that is written after the result is none."""
    left = (HERE / "PREDICTION.md").read_text(encoding="utf-8").count(BLANK)
    if left:
        raise ValueError(
            f"PREDICTION.md still has {left} blanks {BLANK}: fill them in before the first run"
        )


# ---------------------------------------------------------------- the table
def table(experiment, rows):
    """Markdown: a row for each model, and its difference from the first."""
    runs = full(experiment, rows)
    missing = [name for name in MODELS if not {*SEEDS} <= runs.get(name, {}).keys()]
    if missing:
        raise ValueError(f"missing: runs of {', '.join(missing)}: `python grid.py` makes them")
    runs = {name: [runs[name][seed] for seed in SEEDS] for name in MODELS}
    first, *_ = runs.values()
    unit = experiment.score.removeprefix("bits_per_")
    head = ["model", "parameters", "rate", "updates", "seconds", "FLOPs"]
    head += [f"bits per {unit}", "mean", "minus the first"]
    lines = []
    for name, of_model in runs.items():
        cost = [rate_of(experiment, name, rows), *cost_of(name, of_model)]
        scores = cells(experiment, [row["measures"] for row in of_model])
        compared = "-" if of_model is first else difference(of_model, first)
        lines.append([name, f"{counts(name)[0]:,}", *cost, *scores, compared])
    return markdown(head, lines) + "\n" + footnote(chain.from_iterable(runs.values()))


def rate_of(experiment, name, rows):
    """The chosen rate, and whether a better one may lie beyond those that were tried."""
    arm = experiment.arm(name)
    rate = rates_of(experiment, arm, rows)[0]
    if experiment.search_of(arm) is None:
        return f"{rate:g}, not tuned"
    if rate in edges(trials(experiment, arm, rows)):
        return f"{rate:g}, at the edge: widen RATES"
    return f"{rate:g}"


def cost_of(name, runs):
    """Of a run the updates, the mean of the seconds, and the counted FLOPs."""
    steps = runs[0]["steps"]
    seconds = [row["measures"]["seconds"] for row in runs if "seconds" in row["measures"]]
    taken = f"{mean(seconds):,.1f}" if seconds else "-"
    return f"{steps:,}", taken, in_powers(steps * counts(name)[1])


def in_powers(flops):
    """A large number, as 1.50e9."""
    digits, power = f"{flops:.2e}".split("e")
    return f"{digits}e{int(power)}"


def difference(runs, others):
    """Of the scores, with its interval; none where a run diverged."""
    ours = [score_of(row) for row in runs]
    theirs = [score_of(row) for row in others]
    if None in ours or None in theirs:
        return "-"
    found = welch(ours, theirs)
    return f"{found}" if found.is_settled else f"{found} (not settled)"


def footnote(runs):
    """What the numbers of the table belong to."""
    ((kind, amount),) = BUDGET.items()
    budget = f"{in_powers(amount)} FLOPs" if kind == "flops" else f"{amount:,} {kind}"
    seeds = f"{len(SEEDS)} seeds; ± is half of a 95% interval (Welch)"
    if len(SEEDS) == 1:
        seeds = "1 seed, no interval"
    said = f"Budget of a run: {budget}; {seeds}."
    places = {tuple(row["machine"].get(part) for part in PLACE) for row in runs}
    if len(places) > 1:
        said += f" The runs were made on {len(places)} machines, whose seconds do not compare."
    return said


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
    os.chdir(HERE)
    check_settings(settings)
    refuse_without_prediction()
    experiment = declaration()
    stored = StoredRows(experiment, RESULTS)
    if others := len(stored.whole()["runs"]) - len(stored.load()):
        print(
            f"{others} stored runs are not used, since they were made by other code, settings or text"
        )
    if sys.argv[1:] == ["table"]:
        write_table(experiment)
        return
    for name in MODELS:
        parameters, flops = counts(name)
        print(f"{name}: {parameters:,} parameters, {in_powers(flops)} FLOPs an update", flush=True)
    run(experiment, RESULTS)
    print("all runs are finished; `python grid.py table` writes them into README.md")


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
