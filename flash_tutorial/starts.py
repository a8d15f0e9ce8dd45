"""How a model starts: the standard deviation of all that is drawn.

The paper draws kernels, gamma and position bias from N(0, 0.02²), for widths from 768 on. A unit's branch is a
product of several of them, so that in a small model it begins at next to nothing: at D = 128 a FLASH unit adds a
thousandth of what it is given. The start of small models is that of GPT-NeoX: what reads the
width is drawn with sqrt(2 / (5 D)) (Nguyen and Salazar, 2019), and what writes into the sum over L layers with
2 / (L sqrt(D)) (Wang and Komatsuzaki, 2021); two gated units are a layer. All else has 0.02 sqrt(768 / D), the
paper's number at the paper's width.
"""

import torch

from .config import PAPER_STD

PAPER_DIM = 768  # the smallest width that the paper ran
READ = {"in_proj.weight", "qkv_proj.weight", "ff_in.weight"}
WRITE = {"out_proj.weight", "attn_out.weight", "ff_out.weight"}
OTHERS = {"scale_offset.gamma", "gamma", "bias.weights", "bias.a", "bias.b"}


def reading_std(config):
    """Of kernels that read the width, the head's among them."""
    if config.init_std is not None:
        return config.init_std
    return PAPER_STD if config.start == "paper" else (2 / (5 * config.dim)) ** 0.5


def writing_std(config):
    """Of kernels that write into the sum."""
    if config.start == "paper":
        return PAPER_STD
    layers = max(config.layers, 2)  # made for deep models: one layer as if it were two
    return 2 / (layers * config.dim**0.5)


def embedding_std(config):
    """Of the embedding, which a tied head reads with, and of learnt positions."""
    if config.embedding_std is not None:
        return config.embedding_std
    return PAPER_STD if config.start == "paper" else (2 / (5 * config.dim)) ** 0.5


def position_scale(config):
    """What the sine table is multiplied with."""
    if config.position_scale is None:  # Code 2
        return config.dim**-0.5
    return by_width(config) if config.position_scale == "start" else config.position_scale


def by_width(config):
    """Of gamma and the position bias: the paper's 0.02, or what it is at this width."""
    return PAPER_STD if config.start == "paper" else PAPER_STD * (PAPER_DIM / config.dim) ** 0.5


@torch.no_grad()
def draw(unit, config):
    """Start a unit of ours by its own method, and bring what it drew to the start of the configuration.

    The draws are the same for each, so that one seed gives all starts one direction.
    """
    if config.init_std is not None:
        unit.reset_parameters(config.init_std)
        return
    unit.reset_parameters(PAPER_STD)
    widths = dict.fromkeys(READ, reading_std(config)) | dict.fromkeys(WRITE, writing_std(config))
    widths |= dict.fromkeys(OTHERS, by_width(config))
    for name, parameter in unit.named_parameters():
        if name in widths:
            parameter.mul_(widths[name] / PAPER_STD)
