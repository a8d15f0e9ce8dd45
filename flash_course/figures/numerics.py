"""Sizes of numbers: how a bias is laid out in memory, how large each array of a unit is, how formats round."""

import numpy as np

from .style import FONT, looks, new_axes


def _spoken(row):
    return ", ".join("nothing" if np.isnan(value) else f"{value:g}" for value in row)


def sizes_along(stages):
    """The size of each array on the way through a unit: ``stages`` holds by name a dictionary array -> size."""
    figure, axes = new_axes(7.4, 3.5, "", "standard deviation", "A fresh unit adds almost nothing to its input")
    words, styles = [], looks(stages)
    for name, sizes in stages.items():
        colour, marker, line = styles[name]
        values = list(sizes.values())
        axes.plot(range(len(values)), values, linestyle=line, marker=marker, color=colour, markersize=7, linewidth=1.8)
        axes.annotate(
            f"{name},\n{values[-1]:.1g}", (len(values) - 1, values[-1]), xytext=(9, 0), textcoords="offset points",
            va="center", fontsize=FONT, color=colour,
        )  # fmt: skip
        words.append(f"{name}: " + ", ".join(f"{array} {value:.0e}" for array, value in sizes.items()))
    axes.set_xticks(range(len(sizes)), list(sizes))
    axes.set_xlim(right=len(sizes) + 0.2)
    axes.set_yscale("log")
    axes.tick_params(labelsize=FONT - 1)
    return figure, f"Line plot, logarithmic, of the size of each array inside a unit. {'; '.join(words)}."


def squares_in_formats(scores, errors):
    """Relative error of relu^2 against the score: ``errors`` holds by format a number for each, nan if infinite."""
    title = "float16 loses small and large squares; bfloat16 keeps all, to fewer digits"
    figure, axes = new_axes(7.4, 3.4, "score s", "largest relative error of relu²(s)", title)
    words, styles = [], looks(errors)
    for name, row in errors.items():
        colour, marker, line = styles[name]
        row = np.asarray(row)
        axes.plot(scores, row, linestyle=line, marker=marker, color=colour, markersize=5, markevery=2, linewidth=1.6)
        good = np.flatnonzero(row < 0.5)
        axes.annotate(
            name, (scores[0], row[0]), xytext=(0, 6), textcoords="offset points", fontsize=FONT, color=colour
        )  # fmt: skip
        low, high = scores[good[0]], scores[good[-1]]
        if np.isnan(row).any():
            axes.plot(high, row[good[-1]], "X", color=colour, markersize=10)
            axes.annotate(
                "infinite from here on", (high, row[good[-1]]), xytext=(6, -16), textcoords="offset points",
                fontsize=FONT - 1, color=colour,
            )  # fmt: skip
        words.append(f"{name}: {np.median(row[good]):.0e} in the middle, of use from s = {low:.0e} to {high:.0e}")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.tick_params(labelsize=FONT - 1)
    axes.set_ylim(top=8)
    return figure, f"Line plot, both axes logarithmic, of the rounding error of relu squared. {'; '.join(words)}."
