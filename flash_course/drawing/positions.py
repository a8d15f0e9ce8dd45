"""Positions: queries and keys that RoPE rotates."""

import numpy as np
from matplotlib.figure import Figure

from .colours import BLACK, BLUE
from .style import FONT

GREY = "#666666"


def turned_pairs(query, key, places):
    """A query and a key along the first axis, rotated by their positions (RoPE): a circle for each pair of ``places``.

    An arc from key to query has the angle between them in radians, which is their distance.
    """
    figure = Figure(figsize=(6.2, 2.5), dpi=120, layout="constrained")
    scores = []
    for axes, pair in zip(figure.subplots(1, len(places)), places):
        axes.plot(*_arc(0, 2 * np.pi), ":", color=BLACK, linewidth=0.8)
        turned = [_turn(vector, place) for vector, place in zip((query, key), pair)]
        drawn = (("query", BLACK, "o", "-"), ("key", GREY, "s", "--"))
        for (x, y), place, (name, colour, marker, line) in zip(turned, pair, drawn):
            axes.plot([0, x], [0, y], line, color=colour, linewidth=2)
            axes.plot(x, y, marker, color=colour, markersize=7)
            look = {"ha": "center", "va": "center", "fontsize": 9, "color": colour}
            axes.text(1.55 * x, 1.42 * y, f"{name}\nat {place}", **look)
        between = (pair[1], pair[0])
        axes.plot(*_arc(*between, 0.3), "-", color=BLUE, linewidth=2)
        x, y = (float(end[0]) for end in _arc(np.mean(between), np.mean(between), 0.66))
        look = {"ha": "center", "va": "center", "fontsize": 9, "color": BLUE}
        axes.text(x, y, f"{pair[0] - pair[1]} rad", **look)
        scores.append(float(turned[0] @ turned[1]))
        axes.set(xlim=(-1.75, 1.75), ylim=(-1.65, 1.6), aspect="equal")
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
        axes.set_title(f"distance {pair[0] - pair[1]}: score {scores[-1]:.2f}", fontsize=FONT)
    title = "RoPE rotates by the position: the angle in between is the distance"
    figure.suptitle(title, fontsize=FONT + 1)
    said = "; ".join(f"positions {a} and {b}: score {s:.2f}" for (a, b), s in zip(places, scores))
    alt = (
        f"{len(places)} circles, in each a query and a key as arrows, rotated by their positions, and an arc between "
        f"them whose angle in radians is their distance. {said}."
    )
    return figure, alt


def _arc(start, end, radius=1.0):
    angle = np.linspace(start, end, 100)
    return radius * np.cos(angle), radius * np.sin(angle)


def _turn(vector, angle):
    x, y = vector
    cos = np.cos(angle)
    sin = np.sin(angle)
    return np.array([x * cos - y * sin, y * cos + x * sin])
