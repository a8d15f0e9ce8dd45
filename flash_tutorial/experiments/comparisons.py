"""The runs that are reported, and the comparisons of their scores."""

from dataclasses import dataclass, replace

from .intervals import Interval, paired, welch
from .rates import is_trial, rates_of


def reported(experiment, rows):
    """{(arm, updates, budget, rate): its rows by seed} in declared order, without runs that only
    chose a rate.
    """
    found = {}
    for arm in experiment.arms:
        taken = rates_of(experiment, arm, rows)
        for row in rows:
            key = (arm.label, row["steps"], row["settings"].get("budget"), row["rate"])
            if arm.owns(row) and not is_trial(experiment, arm, row, taken):
                found.setdefault(key, {})[row["seed"]] = row
    return found


@dataclass(frozen=True)
class Compared:
    """The interval of a difference, and the one seed by seed where that is declared."""

    welch: Interval
    by_seed: Interval | None = None


def compared(experiment, rows, compare):
    """``Compared``, or None where runs are missing."""
    rates = compare.rates or (None, None)
    if compare.steps is None and not compare.equal_time:
        compare = replace(compare, steps=shared_length(experiment, rows, compare, rates))
    ours = scores_of(experiment, rows, compare, compare.arm, rates[0], compare.equal_time)
    theirs = scores_of(experiment, rows, compare, compare.other, rates[1])
    if not ours or not theirs:
        return None
    whole = welch(list(ours.values()), list(theirs.values()))
    seeds = sorted(ours.keys() & theirs)
    if not compare.paired or not seeds:
        return Compared(whole)
    return Compared(whole, paired([ours[seed] for seed in seeds], [theirs[seed] for seed in seeds]))


def missing(experiment, rows, compare):
    """Which length is compared that a side never ran, in words; None while runs are only not made yet."""
    for label in (compare.arm, compare.other):
        lengths = {
            (steps, budget) for of, steps, budget, _ in reported(experiment, rows) if of == label
        }
        budgets = {budget for _, budget in lengths}
        updates = {steps for steps, budget in lengths if budget == compare.budget}
        if lengths and compare.budget not in budgets:
            there = ", ".join(sorted({length_in_words(*each) for each in lengths}))
            return f"no run of {label} has {length_in_words(None, compare.budget)}: it has {there}"
        if updates and compare.steps not in {None, *updates}:
            there = ", ".join(length_in_words(steps) for steps in sorted(updates))
            return f"no run of {label} has {length_in_words(compare.steps)}: it has {there}"
    return None


def length_in_words(steps, budget=None):
    """A run's length: its seconds where it had a budget, else its updates."""
    if budget is not None:
        return f"{budget:g} s"
    return "a length in updates" if steps is None else f"{steps:,} updates"


def shared_length(experiment, rows, compare, rates):
    """The first length that both sides were run for; None where they have none in common, and each has its own."""
    of_side = []
    for label, rate in zip((compare.arm, compare.other), rates, strict=True):
        if rate is None:
            rate = rates_of(experiment, experiment.arm(label), rows)[0]
        runs = reported(experiment, rows)
        found = [
            steps
            for of, steps, budget, at in runs
            if (of, budget, at) == (label, compare.budget, rate)
        ]
        of_side.append(found)
    return min(set(of_side[0]) & set(of_side[1]), key=of_side[0].index, default=None)


def scores_of(experiment, rows, compare, label, rate, in_equal_time=False):
    """{seed: score} of one side: at its rate, and at the length that is compared."""
    measure = compare.measure or experiment.score
    if rate is None:
        rate = rates_of(experiment, experiment.arm(label), rows)[0]
    for (of, steps, budget, at), by_seed in reported(experiment, rows).items():
        is_length = compare.steps in (None, steps) and compare.budget == budget
        if in_equal_time:
            is_length = steps not in experiment.steps
        if (of, at) == (label, rate) and is_length:
            scores = {seed: row["measures"].get(measure) for seed, row in by_seed.items()}
            if None not in scores.values():  # else one of them diverged
                return scores
            return {}
    return {}
