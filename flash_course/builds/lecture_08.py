"""What lecture 08 lets its reader build: how a cost grows with the length, where two costs meet, and attention as one
writes it down.
"""

import numpy as np
import torch

from ..bench.against_length import measured_crossover
from . import Build, call
from .lecture_05 import numbers

# ---------------------------------------------------------------- the course's own


def power_law(lengths, costs):
    """(a, b) so that a T^b is nearest to the costs, by least squares between the logs."""
    b, log_a = np.polyfit(np.log(lengths), np.log(costs), 1)
    return float(np.exp(log_a)), float(b)


def crossing(lengths, ratios):
    """The T at which a ratio first rises through 1, on straight lines in log T and log ratio; None if it never does."""
    return measured_crossover([dict(T=T, measured=r) for T, r in zip(lengths, ratios)])


def plain_attention(q, k, v):
    """Softmax attention of tokens to themselves and earlier ones: q, k and v (B, H, T, d) -> (B, H, T, d)."""
    return weights_of(q @ k.mT / q.shape[-1] ** 0.5) @ v


def weights_of(scores, first_hidden=1):
    """Softmax over the keys that are seen."""
    later = torch.ones_like(scores, dtype=torch.bool).triu(first_hidden)
    return scores.masked_fill(later, float("-inf")).softmax(-1)


# ---------------------------------------------------------------- likely mistakes


def unmasked(q, k, v):
    return (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1) @ v


def one_too_many(q, k, v):
    """Each token also reads the next one."""
    return weights_of(q @ k.mT / q.shape[-1] ** 0.5, 2) @ v


def unscaled(q, k, v):
    return weights_of(q @ k.mT) @ v


def divided_by_the_width(q, k, v):
    return weights_of(q @ k.mT / q.shape[-1]) @ v


def zeros_in_place_of_infinity(q, k, v):
    return (q @ k.mT / q.shape[-1] ** 0.5).tril().softmax(-1) @ v


def masked_after_the_softmax(q, k, v):
    return (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1).tril() @ v


def through_the_ends(lengths, costs):
    """The line through the first and the last point."""
    b = np.log(costs[-1] / costs[0]) / np.log(lengths[-1] / lengths[0])
    return costs[0] / lengths[0] ** b, b


def log_of_a(lengths, costs):
    a, b = power_law(lengths, costs)
    return np.log(a), b


def without_logs(lengths, costs):
    b, a = np.polyfit(lengths, costs, 1)
    return a, b


def the_other_order(lengths, costs):
    return power_law(lengths, costs)[::-1]


def straight_without_logs(lengths, ratios):
    for i in range(len(lengths) - 1):
        (T, later), (low, high) = lengths[i : i + 2], ratios[i : i + 2]
        if low < 1 <= high:
            return round(T + (later - T) * (1 - low) / (high - low))
    return None


def first_above_one(lengths, ratios):
    """A length that was measured, and not the place between two."""
    return crossing(lengths, ratios) and next(T for T, r in zip(lengths, ratios) if r >= 1)


def any_crossing(lengths, ratios):
    """Also where the ratio falls through 1."""
    for i in range(len(lengths) - 1):
        if (ratios[i] < 1) != (ratios[i + 1] < 1):
            return crossing(lengths[i : i + 2], sorted(ratios[i : i + 2]))
    return None


BUILDS = (
    Build(
        power_law,
        cases=(
            call("three times T squared", (1, 2, 4), (3.0, 12.0, 48.0)),
            call("the same at every T", (2, 4, 8, 16), (5.0, 5.0, 5.0, 5.0)),
            call("not quite a power", (1, 2, 4), (1.0, 4.0, 4.0)),
            call("unequal steps", (2, 3, 16), (4.0, 9.0, 200.0)),
        ),
        likely=(
            ("The line in logs has log a as its height: a is its exponential.", log_of_a),
            ("Take the logs of lengths and costs first: a T^b is a line in them.", without_logs),
            ("a comes first, then b.", the_other_order),
            ("All points count, by least squares, and not the two ends alone.", through_the_ends),
        ),
        why="The slope says how a cost grows over these lengths. Fit the shortest and the longest "
        "alone, and see whether it is one power.",
        tolerance=1e-5,
    ),
    Build(
        crossing,
        cases=(
            call("half, then four times", (512, 2048), (0.5, 4.0)),
            call("in the second step", (256, 512, 1024, 2048), (0.2, 0.8, 1.6, 3.0)),
            call("1 exactly", (512, 1024, 2048), (0.9, 1.0, 1.4)),
            call("it falls first", (256, 512, 1024, 2048), (1.5, 0.7, 0.9, 1.8)),
            call("always above", (512, 1024), (1.1, 1.9)),
            call("never", (512, 1024), (0.3, 0.7)),
        ),
        likely=(
            (
                "The line between two points is straight in log T and log ratio, and not in T and ratio.",
                straight_without_logs,
            ),
            ("The answer lies between two measured lengths.", first_above_one),
            ("FLASH wins from where the ratio rises through 1, not where it falls.", any_crossing),
        ),
        why="'Faster' without this number is an advertisement.",
        tolerance=1e-3,
    ),
    Build(
        plain_attention,
        cases=(
            call("three tokens, one head", *numbers(3, 1, 1, 3, 2)),
            call("two rows, two heads", *(numbers(3, 2, 2, 5, 4) / 4)),
            call("one token", *numbers(3, 1, 2, 1, 3)),
        ),
        likely=(
            ("No token may read a later one.", unmasked),
            (
                "A token reads the next one too: hide from the first diagonal above on.",
                one_too_many,
            ),
            ("Divide the scores by the root of d.", unscaled),
            ("Divide by the root of d, and not by d.", divided_by_the_width),
            (
                "A score of 0 still has a weight: hide with minus infinity.",
                zeros_in_place_of_infinity,
            ),
            (
                "Hide before the softmax, so that the weights of a row sum to 1.",
                masked_after_the_softmax,
            ),
        ),
        why="This matrix is what a fused kernel never writes: the control of section 5 says what that is worth.",
    ),
)
