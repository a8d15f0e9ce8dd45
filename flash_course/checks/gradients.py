"""Gradients without a backward pass of one's own: kept wrong answers of the exercises that ask for one.

Each takes the arrays of an exercise, of which the first ``count`` are those whose gradients are asked, and the scalar
``loss``, in torch, that they are gradients of.
"""

from functools import partial

import numpy as np
import torch

from .exercise import Wrong


def by_autograd(loss, count, *given, **how):
    leaves = [torch.from_numpy(x).requires_grad_() for x in given[:count]]
    loss(*leaves, *given[count:], **how).backward()
    return [leaf.grad.numpy() for leaf in leaves]


def by_vjp(loss, count, *given, **how):
    leaves = map(torch.from_numpy, given[:count])
    scale, pull = torch.func.vjp(lambda *arrays: loss(*arrays, *given[count:], **how), *leaves)
    return [slope.numpy() for slope in pull(torch.ones_like(scale))]


def by_differences(loss, count, step, *given, **how):
    """Each number is moved up and down."""
    arrays, slopes = [torch.tensor(x) for x in given[:count]], [np.zeros_like(x) for x in given[:count]]
    for x, slope in zip(arrays, slopes):
        for place in np.ndindex(slope.shape):
            before = x[place].item()
            for side in (1, -1):
                x[place] = before + side * step
                slope[place] += side * loss(*arrays, *given[count:], **how).item() / (2 * step)
            x[place] = before
    return slopes


def not_derived(loss, count, *steps):
    """The kept wrong answers of an exercise; differences are tried with some steps."""
    derived = [Wrong("autograd", partial(by, loss, count)) for by in (by_autograd, by_vjp)]
    return *derived, *(Wrong("differences", partial(by_differences, loss, count, step)) for step in steps)
