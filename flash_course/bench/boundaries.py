"""What a chunk boundary costs, in the stored runs of experiments/places.py.

The contrast is made within each run, early places of a chunk against late ones, so that the level of a run drops out.
"""

import numpy as np

from .stored import load_stored

GROUPS = (1, 1, 2, 4, 8, 16, 32, 64, 128)  # bytes of the places 1, 2, 3 to 4, 5 to 8, ...
EARLY, LATE = 4, 5  # groups: the first eight places of a chunk, and those from the seventeenth on


def runs_by_model(steps=1000):
    """{model: its runs of so many updates, by seed}."""
    found = {}
    for run in load_stored("places")["runs"]:
        if run.get("steps") == steps:
            found.setdefault(run["model"], []).append(run)
    return {name: sorted(runs, key=lambda run: run["seed"]) for name, runs in found.items()}


def bits_by_place(C=128):
    """{model: bits by the place in a chunk of C, a row for each seed}."""
    return {
        name: np.array([run[f"by_place_of_{C}"] for run in runs])
        for name, runs in runs_by_model().items()
    }


def whole_scores():
    """{model: bits per byte by seed}."""
    return {name: [run["bits_per_byte"] for run in runs] for name, runs in runs_by_model().items()}


def cost_of_boundary(bits):
    """What a boundary costs each byte of a chunk: the first eight places above the late ones.

    bits (..., groups): at the places 1, 2, 3 to 4, 5 to 8, ...
    """
    groups = np.array(GROUPS[: bits.shape[-1]])
    late = (bits * groups)[..., LATE:].sum(-1) / groups[LATE:].sum()
    above = (bits - late[..., None]) * groups
    return above[..., :EARLY].sum(-1) / groups.sum()
