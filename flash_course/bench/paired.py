"""Paired differences of stored runs: each model at the rate that its own trial runs chose, seed by seed."""

import statistics

from .stored import load_stored

TRIALS = (100, 101)  # seeds of runs that chose a rate, and are not scored
T_975 = {3: 4.303, 8: 2.365, 10: 2.262}  # Student's t by the number of pairs
FOUR = 3.111 / 2.262  # how much wider four intervals of ten seeds are that hold together, by Bonferroni's rule


def ten_seeds():
    """The runs of ``benchmarks/ablations_long.py``: ten seeds of each model, and two more that chose its rate."""
    return load_stored("ablations_long")["runs"]


def trials(runs, name):
    """{rate: mean of the runs that were made to choose a rate}, by rate."""
    found = {}
    for run in runs:
        if run["model"] == name and run["seed"] in TRIALS:
            found.setdefault(run["learning_rate"], []).append(run["bits_per_byte"])
    return {rate: statistics.mean(scores) for rate, scores in sorted(found.items())}


def best_rate(runs, name):
    """The rate with the best mean of its trials."""
    means = trials(runs, name)
    return min(means, key=means.get)


def scores(runs, name):
    """{seed: bits per byte} of a model at its rate, without the trials."""
    mine = [run for run in runs if run["model"] == name and run["learning_rate"] == best_rate(runs, name)]
    return {run["seed"]: run["bits_per_byte"] for run in mine if run["seed"] not in TRIALS}


def interval(gaps):
    """Mean of paired differences, one for each seed, and half of its 95% interval (Student's t)."""
    return statistics.mean(gaps), T_975[len(gaps)] * statistics.stdev(gaps) / len(gaps) ** 0.5


def difference(runs, name, other):
    """Mean of a model's paired differences from another one, half of its 95% interval, and the differences."""
    ours, theirs = scores(runs, name), scores(runs, other)
    gaps = [ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs)]
    return *interval(gaps), gaps
