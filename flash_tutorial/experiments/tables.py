"""Tables of an experiment's rows as Markdown: all runs by arm, the rates that were tried, and the
comparisons.
"""

import statistics
from typing import Any

from .comparisons import compared, missing, reported
from .declaration import Experiment
from .rates import trials

MANY = 5  # seeds that are shown one by one


def markdown(head, rows):
    """A table, all cells as texts; nothing where there are no rows."""
    if not rows:
        return ""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)


def report(experiment: Experiment, rows: list[dict[str, Any]]) -> str:
    """All that can be said of the rows so far: tables, rates tried, comparisons, and which code
    made them.

    >>> from flash_tutorial import ModelConfig
    >>> from flash_tutorial.experiments import Arm, Experiment, StoredRows, report, run
    >>> config = ModelConfig(dim=16, depth=1, qk_dim=8, chunk_size=8)
    >>> experiment = Experiment(
    ...     "mine",
    ...     "Does it learn?",
    ...     arms=(Arm("flash", config, rates=(0.01,)),),
    ...     steps=(2,),
    ...     seeds=(0,),
    ...     train={"batch": 2, "length": 16, "eval_bytes": 100},
    ... )
    >>> run(experiment, "results", say=lambda *line, **how: None)
    >>> page = report(experiment, StoredRows(experiment, "results").load())
    >>> print(page.splitlines()[0])
    | arm | rate | updates | bits per byte by seed | mean |
    """
    if not rows:
        return "Nothing is stored yet.\n"
    if experiment.tables:
        shown = experiment.tables(rows)
    else:
        shown = runs_table(experiment, rows)
    parts = [
        shown,
        rates_table(experiment, rows),
        comparisons_table(experiment, rows),
        made_by(rows),
    ]
    return "\n".join(part for part in parts if part)


def runs_table(experiment, rows):
    """A line for each arm, length and rate, with the scores of its seeds."""
    lines = []
    runs = reported(experiment, rows)
    for (label, steps, budget, rate), by_seed in runs.items():
        measures = [by_seed[seed]["measures"] for seed in sorted(by_seed, key=str)]
        if all(experiment.score in found or "diverged_at_step" in found for found in measures):
            length = f"{steps:,}" if budget is None else f"{steps:,} ({budget:g} s)"
            said = "" if rate is None else f"{rate:g}"
            lines.append([label, said, length, *cells(experiment, measures)])
    if runs and not lines:
        return no_measure(experiment.score, runs.values())
    head = ["arm", "rate", "updates", f"{words(experiment.score)} by seed", "mean"]
    return markdown(head, lines)


def no_measure(name, runs):
    """The sentence on a measure that no run has, and those that they have."""
    rows = [row for by_seed in runs for row in by_seed.values()]
    values = [each for row in rows for each in row["measures"].items()]
    known = {name for name, value in values if isinstance(value, int | float)}
    return f"No run has {name!r}: they have {', '.join(sorted(known))}.\n"


def cells(experiment, measures):
    """The scores one by one, or how many there are and their spread; and the mean, if no run diverged."""
    scores = [found[experiment.score] for found in measures if experiment.score in found]
    if len(scores) < len(measures):
        each = ", ".join(said_of(experiment, found) for found in measures)
        return [each, ""]
    if len(scores) > MANY:
        each = f"{len(scores)} seeds, standard deviation {statistics.stdev(scores):.3f}"
    else:
        each = ", ".join(f"{score:.3f}" for score in scores)
    return [each, f"{statistics.mean(scores):.3f}"]


def said_of(experiment, measures):
    """A run's score, or the update at which it diverged."""
    if experiment.score in measures:
        return f"{measures[experiment.score]:.3f}"
    return f"diverged at step {measures['diverged_at_step']}"


def words(score):
    return str(score).replace("_", " ")


def rates_table(experiment, rows):
    """The rates that were tried to choose one."""
    lines = []
    for arm in experiment.arms:
        if experiment.search_of(arm) and (found := trials(experiment, arm, rows)):
            best = min(found, key=found.get)
            shown = ", ".join(f"{rate:g}: {score:.3f}" for rate, score in found.items())
            taken = f"{best:g} (at the edge)" if best in edges(found) else f"{best:g}"
            lines.append([arm.label, shown, taken])
    return markdown(["arm", "rates tried: score", "taken"], lines)


def edges(found):
    """The ends of a grid; one rate alone has none."""
    return (min(found), max(found)) if len(found) > 1 else ()


def made_by(rows):
    """Which code made the rows, and on which processors."""
    codes = sorted({row["code"] for row in rows if row["code"]})
    machines = sorted({row["machine"]["cpu"] for row in rows if "cpu" in row["machine"]})
    dates = sorted({row["machine"]["date"] for row in rows})
    when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    what = "1 row" if len(rows) == 1 else f"{len(rows)} rows"
    return f"{what} by code {', '.join(codes)}, on {', '.join(machines)}, {when}.\n"


def comparisons_table(experiment, rows):
    """Differences with their intervals."""
    lines = []
    for compare in experiment.compare:
        found = compared(experiment, rows, compare)
        if found:
            settled = "yes" if found.welch.is_settled else "no"
            lines.append([in_words(compare), found.welch, settled, beside(found.by_seed)])
        elif compare.measure and not any(compare.measure in row["measures"] for row in rows):
            lines.append([in_words(compare), f"no run has {compare.measure!r}", "", ""])
        elif lacks := missing(experiment, rows, compare):
            lines.append([in_words(compare), lacks, "", ""])
    head = ["difference", "95%, Welch", "settled", "seed by seed, and correlation"]
    if not any(line[-1] for line in lines):  # none was declared
        head.pop()
        lines = [line[:-1] for line in lines]
    return markdown(head, lines)


def beside(by_seed):
    """The paired interval with the correlation on which it rests."""
    if by_seed is None or by_seed.half is None:
        return ""
    together = "" if by_seed.correlation is None else f" (r = {by_seed.correlation:.2f})"
    return f"± {by_seed.half:.3f}{together}"


def in_words(compare):
    """What is compared, and what tells it from another comparison of the same arms."""
    said = []
    rates = [f"{rate:g}" for rate in compare.rates or () if rate is not None]
    if rates:
        said.append("at " + " and ".join(rates))
    if compare.steps:
        said.append(f"{compare.steps:,} updates")
    if compare.equal_time:
        said.append("in equal time")
    if compare.budget:
        said.append(f"{compare.budget:g} s")
    if compare.measure:
        said.append(words(compare.measure))
    difference = f"{compare.arm} minus {compare.other}"
    if said:
        difference += f" ({', '.join(said)})"
    return difference


def numbers(experiment, rows):
    """Texts by name, for pages: the named comparisons, and what the declaration adds."""
    found = {}
    for compare in experiment.compare:
        if compare.name and (both := compared(experiment, rows, compare)):
            found[compare.name] = str(both.welch)
            found[f"{compare.name}.size"] = f"{abs(both.welch.mean):.3f}"
            if both.by_seed:
                found[f"{compare.name}.by_seed"] = str(both.by_seed)
    if experiment.numbers and rows:
        found |= experiment.numbers(rows)
    return {f"{experiment.name}.{name}": text for name, text in found.items()}
