"""95% intervals of a difference: of two means over seeds Welch's, and that of differences seed by
seed; of two models on one text by its windows, drawn anew.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


def student_t(freedom, share=0.95):
    """How many standard errors to either side hold ``share`` of Student's t with so many degrees of
    freedom.

    With t = sqrt(freedom) tan(angle) its density is that of cos(angle) to the power of freedom - 1.
    """
    angles = np.linspace(0, np.pi / 2, 200_001)
    density = np.cos(angles) ** (freedom - 1)
    held = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    angle = np.interp(share * held[-1], held, angles)
    return float(np.sqrt(freedom) * np.tan(angle))


@dataclass(frozen=True)
class Interval:
    """A mean difference and half of its interval, None where there are too few values for one."""

    mean: float
    half: float | None
    correlation: float | None = None  # of the two scores over the seeds, where they are paired

    @property
    def is_settled(self) -> bool:
        """Whether zero lies outside."""
        return self.half is not None and abs(self.mean) > self.half

    def __str__(self):
        if self.half is None:
            return f"{self.mean:+.3f}"
        return f"{self.mean:+.3f} ± {self.half:.3f}"


def welch(scores: Sequence[float], others: Sequence[float], share: float = 0.95) -> Interval:
    """Mean of one arm's scores minus the other's; variances may differ, and seeds have nothing to
    do with each other. Of intervals of 95%, ``share`` is higher where several are to hold together.

    >>> from flash_tutorial.experiments import welch
    >>> gain = welch([1.70, 1.72, 1.71], [1.80, 1.79, 1.83])
    >>> print(gain, gain.is_settled)
    -0.097 ± 0.043 True
    """
    mean = statistics.mean(scores) - statistics.mean(others)
    if min(len(scores), len(others)) < 2:
        return Interval(mean, None)
    errors = [statistics.variance(values) / len(values) for values in (scores, others)]
    if sum(errors) == 0:
        return Interval(mean, 0.0)
    freedom = sum(errors) ** 2 / sum(
        error**2 / (len(values) - 1) for error, values in zip(errors, (scores, others), strict=True)
    )
    return Interval(mean, student_t(freedom, share) * sum(errors) ** 0.5)


def paired(scores: Sequence[float], others: Sequence[float]) -> Interval:
    """The differences seed by seed. It is narrower than Welch's only where the scores rise and fall
    together.

    >>> from flash_tutorial.experiments import paired
    >>> gain = paired([1.70, 1.75, 1.65], [1.80, 1.84, 1.76])
    >>> print(gain, round(gain.correlation, 2))
    -0.100 ± 0.025 1.0
    """
    gaps = [a - b for a, b in zip(scores, others, strict=True)]
    mean = statistics.mean(gaps)
    if len(gaps) < 2:
        return Interval(mean, None)
    half = student_t(len(gaps) - 1) * statistics.stdev(gaps) / len(gaps) ** 0.5
    together = None
    if statistics.pstdev(scores) > 0 and statistics.pstdev(others) > 0:
        together = statistics.correlation(scores, others)
    return Interval(mean, half, together)


def over_windows(
    bits: Sequence[float] | np.ndarray,
    others: Sequence[float] | np.ndarray,
    tokens: Sequence[float] | np.ndarray,
    draws: int = 2000,
) -> Interval:
    """The noise of the text: bits a token of one model minus the other's, ``(W,)`` bits of each window and its
    ``(W,)`` tokens, over windows drawn anew with replacement (a bootstrap; Efron, 1979).

    Windows are taken to have nothing to do with each other. The draws are the same at each call.

    >>> from flash_tutorial.experiments import over_windows
    >>> over_windows([20, 22, 19], [24, 25, 24], [10, 10, 10]).mean
    -0.4
    """
    gaps = np.asarray(bits, float) - np.asarray(others, float)
    tokens = np.asarray(tokens, float)
    if len(gaps) < 2:
        return Interval(float(gaps.sum() / tokens.sum()), None)
    drawn = np.random.default_rng(0).integers(len(gaps), size=(draws, len(gaps)))
    means = gaps[drawn].sum(1) / tokens[drawn].sum(1)
    low, high = np.quantile(means, (0.025, 0.975))
    return Interval(float(gaps.sum() / tokens.sum()), float(high - low) / 2)
