"""Paired differences of stored runs: each model at the rate that its own trial runs chose, seed by
seed.
"""

import statistics

from flash_tutorial.experiments import paired

from .stored import load_stored

TRIALS = (100, 101)  # seeds of runs that chose a rate, and are not scored
# how much wider four intervals of ten seeds are that hold together, by Bonferroni's rule
FOUR = 3.111 / 2.262


def ten_seeds():
    """The runs of ``experiments/ablations_long.py``: ten seeds of each model, and two more that
    chose its rate.
    """
    return load_stored("ablations_long")["runs"]


def best_rate(runs, name):
    """The rate with the best mean of its trials."""
    found = {}
    for run in runs:
        if run["model"] == name and run["seed"] in TRIALS:
            found.setdefault(run["learning_rate"], []).append(run["bits_per_byte"])
    return min(found, key=lambda rate: statistics.mean(found[rate]))


def scores(runs, name):
    """{seed: bits per byte} of a model at its rate, without the trials."""
    rate = best_rate(runs, name)
    mine = [run for run in runs if run["model"] == name and run["learning_rate"] == rate]
    return {run["seed"]: run["bits_per_byte"] for run in mine if run["seed"] not in TRIALS}


def interval(gaps):
    """Mean of paired differences, one for each seed, and half of its 95% interval (Student's t)."""
    found = paired(gaps, [0.0] * len(gaps))
    return found.mean, found.half


def difference(runs, name, other):
    """Mean of a model's paired differences from another one, half of its 95% interval, and the
    differences.
    """
    ours = scores(runs, name)
    theirs = scores(runs, other)
    gaps = [ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs)]
    return *interval(gaps), gaps
