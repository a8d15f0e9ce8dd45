"""How a model starts: the standard deviation of all that is drawn.

The paper draws kernels, gamma and position bias from N(0, 0.02²), for wide models. A unit's branch is a
product of several of them, so that in a small model it begins at next to nothing: at D = 128 a FLASH unit adds a
thousandth of what it is given. So a model starts by its width, with 0.02 sqrt(768 / D) for all that is drawn, the
paper's number at the paper's width, or with the paper's number as it stands (``experiments/starts.py`` compares them).
"""

from .config import PAPER_STD

PAPER_DIM = 768  # the width of the paper's base models


def by_width(config):
    """Of all that is drawn: the paper's 0.02, or what it is at this width."""
    return PAPER_STD if config.start == "paper" else PAPER_STD * (PAPER_DIM / config.dim) ** 0.5


def kernel_std(config):
    """Of a unit's kernels, gamma and position bias, and of a head's kernel."""
    return by_width(config) if config.init_std is None else config.init_std


def embedding_std(config):
    """Of the embedding, which a tied head reads with, and of learnt positions."""
    return by_width(config) if config.embedding_std is None else config.embedding_std


def position_scale(config):
    """What the sine table is multiplied with."""
    if config.position_scale is None:  # Code 2
        return config.dim**-0.5
    return by_width(config) if config.position_scale == "start" else config.position_scale
