"""A run's line of the scoreboard: the same tiny model with another mixer in each lecture."""

import numpy as np

from .. import learner
from .counts import count_state_numbers


def write_score(lecture, mixer, run, length):
    """Write the line of what ``training.train`` returned: its bits, the median time of an update, and the numbers that
    decoding keeps of a row after ``length`` tokens.
    """
    ends = [row["seconds"] for row in run.log]
    learner.score(
        lecture,
        mixer,
        bits_per_byte=run.evaluation.bits_per_byte,
        step_ms=1000 * float(np.median(np.diff(ends))),
        state_numbers=count_state_numbers(run.model, length),
    )
