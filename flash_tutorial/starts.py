"""How a model starts: the standard deviation of all that is drawn.

The paper draws kernels, gamma and position bias from N(0, 0.02²), for widths from 768 on. A unit's branch is a
product of five of them, so that in a small model it begins at next to nothing: at D = 128 a FLASH unit adds a
thousandth of what it is given, and learns late. The start of small models draws a kernel by what it reads,
1 / sqrt(fan-in) (LeCun et al., 1998), and all else by 0.02 sqrt(768 / D), the paper's number at the paper's width.
"""

import torch

from .config import PAPER_STD

PAPER_DIM = 768  # the smallest width that the paper ran
KERNELS = {
    f"{name}.weight" for name in ("in_proj", "out_proj", "qkv_proj", "attn_out", "ff_in", "ff_out")
}
OTHERS = {"scale_offset.gamma", "gamma", "bias.weights", "bias.a", "bias.b"}


def kernel_std(fan_in, config):
    """Of a kernel that reads so many channels."""
    if config.init_std is not None:
        return config.init_std
    return PAPER_STD if config.start == "paper" else fan_in**-0.5


def embedding_std(config):
    """Of the embedding, which as a tied head reads D channels, and of learnt positions."""
    if config.embedding_std is not None:
        return config.embedding_std
    return PAPER_STD if config.start == "paper" else config.dim**-0.5


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
    for name, parameter in unit.named_parameters():
        if name in KERNELS:
            parameter.mul_(kernel_std(parameter.shape[1], config) / PAPER_STD)
        elif name in OTHERS:
            parameter.mul_(by_width(config) / PAPER_STD)
