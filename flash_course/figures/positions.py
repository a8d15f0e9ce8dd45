"""Positions: rotations, and what depends on distance alone."""

import numpy as np
from matplotlib.figure import Figure

from .style import BLACK, BLUE, FONT, VERMILION


def turned_pairs(query, key, places):
    """A query and a key of two numbers, turned by their places (RoPE): one circle for each pair of ``places``."""
    figure = Figure(figsize=(8.6, 3.2), dpi=100, layout="constrained")
    scores = []
    for axes, pair in zip(figure.subplots(1, len(places)), places):
        axes.plot(*_circle(), ":", color=BLACK, linewidth=0.8)
        turned = [_turn(vector, place) for vector, place in zip((query, key), pair)]
        drawn = (("query", BLUE, "o", "-"), ("key", VERMILION, "s", "--"))
        for (x, y), place, (name, colour, marker, line) in zip(turned, pair, drawn):
            axes.plot([0, x], [0, y], line, color=colour, linewidth=2)
            axes.plot(x, y, marker, color=colour, markersize=8)
            axes.text(1.5 * x, 1.4 * y, f"{name}\nplace {place}", ha="center", va="center", fontsize=9, color=colour)
        scores.append(float(turned[0] @ turned[1]))
        axes.set(xlim=(-2.0, 2.0), ylim=(-1.7, 1.7), aspect="equal")
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
        axes.set_title(f"distance {pair[0] - pair[1]}: score {scores[-1]:.2f}", fontsize=FONT)
    figure.suptitle("RoPE turns each arrow by its place; the angle between them tells the distance", fontsize=FONT + 1)
    said = "; ".join(f"places {a} and {b}: score {s:.2f}" for (a, b), s in zip(places, scores))
    return figure, f"{len(places)} circles, in each a query and a key as arrows, turned by their places. {said}."


def _circle():
    angle = np.linspace(0, 2 * np.pi, 100)
    return np.cos(angle), np.sin(angle)


def _turn(vector, angle):
    (x, y), cos, sin = vector, np.cos(angle), np.sin(angle)
    return np.array([x * cos - y * sin, y * cos + x * sin])


def scores_by_places(tables):
    """Scores of one and the same token at all pairs of places: ``tables`` holds by name a ``(T, T)`` array.

    Below each table the range of one of its diagonals, the third below the main one: where it is a single number, the
    distance alone counts.
    """
    figure = Figure(figsize=(8.6, 3.7), dpi=100, layout="constrained")
    ranges = {name: (np.diag(table, -3).min(), np.diag(table, -3).max()) for name, table in tables.items()}
    for axes, (name, table) in zip(figure.subplots(1, len(tables), sharey=True), tables.items(), strict=True):
        T = len(table)
        axes.imshow(table, cmap="cividis", extent=(0, T, T, 0), interpolation="nearest")
        axes.plot([0.5, T - 3.5], [3.5, T - 0.5], color=VERMILION, linewidth=2)  # along the diagonal of distance 3
        axes.set(xlim=(0, T), ylim=(T, 0), aspect="equal")
        axes.tick_params(labelsize=FONT - 1)
        axes.set_title(name, fontsize=FONT)
        low, high = (f"{end:.1f}" for end in ranges[name])
        along = low if low == high else f"{low} to {high}"
        axes.set_xlabel(f"place of the key\ndistance 3: {along}", fontsize=FONT)
    figure.axes[0].set_ylabel("place of the query", fontsize=FONT)
    figure.suptitle("The same token at every place: only RoPE's scores are one number a diagonal", fontsize=FONT + 1)
    said = "; ".join(f"{name} from {low:.2f} to {high:.2f}" for name, (low, high) in ranges.items())
    alt = (
        f"{len(tables)} tables of {T} by {T} scores, lighter for larger ones. Only that of RoPE is striped along its "
        f"diagonals. Scores at distance 3: {said}."
    )
    return figure, alt
