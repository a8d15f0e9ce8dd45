"""Gradients without a backward pass of one's own: kept wrong answers of the exercises that ask for one.

Each takes the arguments of an exercise: first the ``count`` arrays whose gradients are asked, last ``d_out``, the
gradient of the outputs. ``outputs`` makes these of the others, in torch, of real or of complex numbers.
"""

from functools import partial

import numpy as np
import torch

from .exercise import Wrong


def by_autograd(outputs, count, *given, **how):
    leaves = [torch.from_numpy(x).requires_grad_() for x in given[:count]]
    outputs(*leaves, *given[count:-1], **how).backward(torch.from_numpy(given[-1]))
    return [leaf.grad.numpy() for leaf in leaves]


def by_vjp(outputs, count, *given, **how):
    leaves = map(torch.from_numpy, given[:count])
    _, pull = torch.func.vjp(lambda *arrays: outputs(*arrays, *given[count:-1], **how), *leaves)
    return [slope.numpy() for slope in pull(torch.from_numpy(given[-1]))]


def by_differences(outputs, count, step, summed, *given, **how):
    """Each number is moved up and down by a step, which may be imaginary. Outputs are compared, or their sum."""
    arrays = [torch.from_numpy(x.astype(type(step))) for x in given[:count]]
    slopes = [np.zeros_like(x) for x in given[:count]]
    d_out = torch.from_numpy(given[-1])
    for x, slope in zip(arrays, slopes):
        for place in np.ndindex(slope.shape):
            before, moved = x[place].item(), []
            for side in (1, -1):
                x[place] = before + side * step
                moved.append(outputs(*arrays, *given[count:-1], **how))
            up, down = moved
            if summed:
                change = (up * d_out).sum() - (down * d_out).sum()
            else:
                change = ((up - down) * d_out).sum()
            slope[place] = (change / (2 * step)).real
            x[place] = before
    return slopes


def not_derived(outputs, count, *moves):
    """The kept wrong answers of an exercise; differences are tried with some (step, whether of the sum)."""
    derived = [Wrong("autograd", partial(by, outputs, count)) for by in (by_autograd, by_vjp)]
    return *derived, *(
        Wrong("differences", partial(by_differences, outputs, count, *move)) for move in moves
    )
