"""Sizes of numbers: how a bias is laid out in memory, how large each array of a unit is, how formats round."""

import numpy as np

from .style import BLACK, FONT, looks, new_axes


def _spoken(row):
    return ", ".join("nothing" if np.isnan(value) else f"{value:g}" for value in row)


def sizes_along(stages):
    """The size of each array on the way through a unit: ``stages`` holds for two units a dictionary array -> size."""
    (small, first), (large, second) = stages.items()
    title = "A fresh unit adds almost nothing to its input"
    figure, axes = new_axes(
        6.4, 0.9 + 0.3 * len(first), "standard deviation of the entries", "", title
    )
    rows = np.arange(len(first))
    axes.hlines(
        rows, list(first.values()), list(second.values()), color="lightgrey", linewidth=3, zorder=1
    )
    axes.plot(
        list(first.values()),
        rows,
        "o",
        color=BLACK,
        markerfacecolor="white",
        markersize=8,
        markeredgewidth=1.8,
    )
    axes.plot(list(second.values()), rows, "s", color=BLACK, markersize=8)
    for name, sizes, side in ((small, first, -1), (large, second, 1)):  # named at the last array
        axes.annotate(
            f"{name}: {_power(list(sizes.values())[-1])}",
            (list(sizes.values())[-1], rows[-1]),
            xytext=(9 * side, 0),
            textcoords="offset points",
            va="center",
            ha="left" if side > 0 else "right",
            fontsize=FONT,
        )
    axes.set_yticks(rows, list(first))
    axes.set_ylim(len(first) - 0.4, -0.6)
    axes.set_xscale("log")
    axes.tick_params(labelsize=FONT)
    every = [*first.values(), *second.values()]
    axes.set_xlim(min(every) / 20, max(*every, 100) * 20)
    words = "; ".join(
        f"{name}: " + ", ".join(f"{array} {value:.0e}" for array, value in sizes.items())
        for name, sizes in stages.items()
    )
    return (
        figure,
        f"Two dots for each array inside a unit, its size on a logarithmic scale. {words}.",
    )


def _power(value):
    """A size as one reads it: 1.0, or 8 × 10⁻⁶ where it is small."""
    if value >= 0.01:
        return f"{value:.1f}" if value >= 0.1 else f"{value:.2f}"
    digits, power = f"{value:.0e}".split("e")
    return f"{digits} × 10" + str(int(power)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def squares_in_formats(scores, errors):
    """Relative error of relu^2 against the score: ``errors`` holds by format a number for each, nan if infinite."""
    title = "float16 loses small and large squares; bfloat16 keeps all, to fewer digits"
    figure, axes = new_axes(6.6, 3.5, "score s", "largest relative error of relu²(s)", title)
    words = []
    styles = looks(errors)
    for name, row in errors.items():
        colour, marker, line = styles[name]
        row = np.asarray(row)
        axes.plot(
            scores,
            row,
            linestyle=line,
            marker=marker,
            color=colour,
            markersize=5,
            markevery=2,
            linewidth=1.6,
        )
        good = np.flatnonzero(row < 0.5)
        axes.annotate(
            name,
            (scores[0], row[0]),
            xytext=(0, 6),
            textcoords="offset points",
            fontsize=FONT,
            color=colour,
        )
        low, high = scores[good[0]], scores[good[-1]]
        if np.isnan(row).any():
            axes.plot(high, row[good[-1]], "X", color=colour, markersize=10)
            axes.annotate(
                "infinite from here on",
                (high, row[good[-1]]),
                xytext=(6, -16),
                textcoords="offset points",
                fontsize=FONT - 1,
                color=colour,
            )
        words.append(
            f"{name}: {np.median(row[good]):.0e} in the middle, of use from s = {low:.0e} to {high:.0e}"
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.tick_params(labelsize=FONT - 1)
    axes.set_ylim(top=8)
    return (
        figure,
        f"Line plot, both axes logarithmic, of the rounding error of relu squared. {'; '.join(words)}.",
    )
