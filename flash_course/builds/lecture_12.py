"""What lecture 12 lets its reader build: the mean that a unit of their own reads the past with."""

import torch

from . import Build, call
from .lecture_05 import numbers

# ---------------------------------------------------------------- the course's own


def running_mean(v, mask=None, causal=True):
    """Mean of the values so far, or of all: v (B, T, E), mask (B, T) of bools or None -> (B, T, E) or (B, 1, E)."""
    valid = v.new_ones(v.shape[:2])
    if mask is not None:
        valid = mask.to(v.dtype)
        v = v.masked_fill(~mask[..., None], 0)
    if causal:
        total, count = v.cumsum(1), valid.cumsum(1)
    else:
        total, count = v.sum(1, keepdim=True), valid.sum(1, keepdim=True)
    return total / count.clamp(min=1)[..., None]


# ---------------------------------------------------------------- likely mistakes


def padding_counted(v, mask=None, causal=True):
    if mask is not None:
        v = v.masked_fill(~mask[..., None], 0)
    return running_mean(v, None, causal)


def mask_ignored(v, mask=None, causal=True):
    return running_mean(v, None, causal)


def always_causal(v, mask=None, causal=True):
    return running_mean(v, mask)


def never_causal(v, mask=None, causal=True):
    return running_mean(v, mask, False)


def sum_so_far(v, mask=None, causal=True):
    if mask is not None:
        v = v.masked_fill(~mask[..., None], 0)
    return v.cumsum(1) if causal else v.sum(1, keepdim=True)


def divided_by_nothing(v, mask=None, causal=True):
    valid = v.new_ones(v.shape[:2])
    if mask is not None:
        valid = mask.to(v.dtype)
    return sum_so_far(v, mask, causal) / sum_so_far(valid[..., None], None, causal)


V = numbers(2, 4, 2)
TAIL = torch.tensor([[True, True, True, False], [True, True, True, True]])
FIRST = torch.tensor([[False, True, True, False], [True, False, True, True]])

BUILDS = (
    Build(
        running_mean,
        cases=(
            call("no padding", V),
            call("padding at the end", V, TAIL),
            call("padding at the beginning", V, FIRST),
            call("both sides", V, causal=False),
            call("both sides, with padding", V, FIRST, causal=False),
        ),
        likely=(
            ("Padding is counted: the mean is over valid tokens alone.", padding_counted),
            ("The mask is not used.", mask_ignored),
            (
                "Without causal the mean is that of all valid tokens, also of later ones.",
                always_causal,
            ),
            ("With causal no token reads a later one.", never_causal),
            ("Divide by how many valid tokens there were so far.", sum_so_far),
            (
                "Before the first valid token nothing was counted: divide by 1 there.",
                divided_by_nothing,
            ),
        ),
        why="This mean is all that your unit knows of the past; the gate decides what to make of it.",
    ),
)
