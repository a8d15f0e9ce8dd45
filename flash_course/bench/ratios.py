"""What is stored of rounds that were timed in turn, and ratios of it."""

import statistics
from operator import truediv

from .clock import summary


def every_round(seconds):
    """What is stored of something that was timed: ``summary``, and the seconds of each round."""
    return summary(seconds) | {"each": seconds}


def ratio_in_turn(a, b):
    """Median over the rounds of a / b, which were timed in turn; None if either has no time."""
    if not a or not b:
        return None
    return statistics.median(map(truediv, a["each"], b["each"]))


def ratio_of_medians(a, b):
    """a / b of what was not timed in turn; None if either has no time."""
    if not a or not b:
        return None
    return a["median"] / b["median"]
