"""Which rate an arm runs at: that of the best trial runs."""

import statistics


def rates_of(experiment, arm, stored):
    """The chosen rate of an arm, and of those whose rates it shares."""
    arms = [experiment.arm(label) for label in arm.rates_of]
    if arm.rates:
        arms.insert(0, arm)
    chosen = [best_rate(experiment, each, stored) for each in arms]
    return list(dict.fromkeys([*chosen, *arm.also])) or [None]


def best_rate(experiment, arm, stored):
    """The rate with the best mean of its trial runs; without a search the one that there is."""
    if experiment.search_of(arm) is None:
        return arm.rates[0] if arm.rates else None
    scores = trials(experiment, arm, stored)
    return min(scores, key=scores.get) if scores else None


def trials(experiment, arm, stored):
    """{rate: mean score of the runs that choose a rate}, by rate."""
    search = experiment.search_of(arm)
    scores = {}
    for row in stored:
        counts = (
            arm.owns(row)
            and row["settings"].get("budget") == search.seconds
            and row["seed"] in search.seeds
        )
        if counts and (search.steps is None or row["steps"] == search.steps):
            scores.setdefault(row["rate"], []).append(search.of_row(row))
    return {rate: statistics.mean(found) for rate, found in sorted(scores.items())}


def is_trial(experiment, arm, row, taken=()):
    """Whether a run was made to choose a rate and is not reported: where trials are as long as the
    reported runs, those at the rates that were taken are.
    """
    if row["seed"] not in experiment.seeds_of(arm):
        return True
    search = experiment.search_of(arm)
    if search is None or row["seed"] not in search.seeds:
        return False
    if search.seconds is None:
        length, of_trials, reported = row["steps"], search.steps, arm.steps or experiment.steps
    else:
        length, of_trials = row["settings"].get("budget"), search.seconds
        reported = experiment.seconds
    if length != of_trials:
        return False
    return of_trials not in reported or row["rate"] not in taken
