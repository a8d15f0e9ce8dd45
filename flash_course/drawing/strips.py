"""Runs as dots: a row for each model, a dot for each seed."""

import numpy as np

from .colours import BLACK
from .style import FONT, looks


def strips(axes, rows, *, form="{:.2f}"):
    """A row for each name, from the top down, with a dot for each of its numbers and their mean behind them."""
    for place, (name, (colour, marker, _)) in enumerate(looks(rows).items()):
        numbers = np.sort(rows[name])
        axes.plot(numbers, np.full(len(numbers), place), "-", color=colour, linewidth=1)
        dot = {
            "color": colour,
            "markersize": 9,
            "markeredgecolor": "white",
            "markeredgewidth": 0.5,
            "linestyle": "none",
        }
        axes.plot(numbers, np.full(len(numbers), place), marker, **dot)
        said = f"mean {form.format(numbers.mean())}"
        behind = {"textcoords": "offset points", "va": "center", "fontsize": FONT - 1}
        axes.annotate(said, (numbers[-1], place), (9, 0), **behind)
    axes.set_yticks(range(len(rows)), list(rows), fontsize=FONT)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.margins(x=0.16)


def upright(axes, marks):
    """A dotted line at each number, with its name at the top."""
    for name, number in marks.items():
        axes.axvline(number, color=BLACK, linewidth=1, linestyle=":", zorder=0)
        place = {"xycoords": ("data", "axes fraction"), "rotation": 0, "fontsize": FONT - 1}
        axes.annotate(name, (number, 1.0), (3, -2), textcoords="offset points", va="top", **place)
