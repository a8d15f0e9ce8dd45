"""Every figure of the course. Each function returns the figure and its alt text, and draws nothing on a screen."""

import numpy as np
from matplotlib.figure import Figure

# Okabe and Ito's colours: told apart with any colour vision, and in grey by their lightness
BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILION, PURPLE = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7",
)  # fmt: skip
FONT = 10  # points; nothing smaller than 9


def new_axes(width=7.0, height=4.0, xlabel="", ylabel="", title=""):
    """A figure with one pair of axes in the course's style."""
    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(xlabel, fontsize=FONT)
    axes.set_ylabel(ylabel, fontsize=FONT)
    axes.set_title(title, fontsize=FONT + 1)
    axes.tick_params(labelsize=FONT - 1)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def training_curve(rows, score=None, *, window=25, title="Training"):
    """Bits per byte against the update: each batch, the mean over the last ones, and the score at the end.

    ``rows`` are those of a run's log, ``score`` its bits per byte on text that it was not trained on. The mean is over
    ``window`` updates, but over a tenth of a short run.
    """
    if not rows:
        raise ValueError("rows is empty: expected the log of a run with at least one update")
    window = max(1, min(window, len(rows) // 10))
    steps = np.array([row["step"] for row in rows])
    bits = np.array([row["bits_per_byte"] for row in rows])
    sums = np.cumsum(np.concatenate([[0.0], bits]))
    first = np.maximum(np.arange(1, len(bits) + 1) - window, 0)
    mean = (sums[1:] - sums[first]) / (np.arange(1, len(bits) + 1) - first)

    figure, axes = new_axes(xlabel="update", ylabel="bits per byte", title=title)
    axes.plot(steps, bits, ".", color=SKY, markersize=3, label="one batch")
    axes.plot(steps, mean, "-", color=BLUE, linewidth=1.8, label=f"mean over {window} batches")
    if score is not None:
        axes.plot(steps[-1], score, "D", color=VERMILION, markersize=7, label=f"validation: {score:.3f}")
    late = bits[len(bits) // 20 :]  # the first few are far above all the others
    axes.set_ylim(min(late.min(), score or np.inf) - 0.1, late.max() + 0.1)
    axes.legend(fontsize=FONT - 1, frameon=False)
    alt = (
        f"Line plot of bits per byte over {len(steps)} updates: from {bits[0]:.2f} at the first to {mean[-1]:.2f}, "
        f"the mean over the last {window}."
    )
    if score is not None:
        alt += f" A diamond at the end marks the validation score, {score:.3f}."
    return figure, alt
