"""Positions: rotations, and what depends on distance alone."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .style import BLACK, BLUE, FONT, VERMILION

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
            axes.text(
                1.55 * x,
                1.42 * y,
                f"{name}\nat {place}",
                ha="center",
                va="center",
                fontsize=9,
                color=colour,
            )
        between = (pair[1], pair[0])
        axes.plot(*_arc(*between, 0.3), "-", color=BLUE, linewidth=2)
        x, y = (float(end[0]) for end in _arc(np.mean(between), np.mean(between), 0.66))
        axes.text(
            x, y, f"{pair[0] - pair[1]} rad", ha="center", va="center", fontsize=9, color=BLUE
        )
        scores.append(float(turned[0] @ turned[1]))
        axes.set(xlim=(-1.75, 1.75), ylim=(-1.65, 1.6), aspect="equal")
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
        axes.set_title(f"distance {pair[0] - pair[1]}: score {scores[-1]:.2f}", fontsize=FONT)
    figure.suptitle(
        "RoPE rotates by the position: the angle in between is the distance", fontsize=FONT + 1
    )
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


def scores_by_places(tables):
    """Scores of one and the same token at all pairs of positions: ``tables`` holds by name a ``(T, T)`` array.

    A line runs along one diagonal, the third below the main one, and its range is marked on the scale: where it is a
    single number, the distance alone counts.
    """
    figure = Figure(figsize=(6.2, 3.5), dpi=120, layout="constrained")
    ranges = {
        name: (np.diag(table, -3).min(), np.diag(table, -3).max()) for name, table in tables.items()
    }
    for axes, (name, table) in zip(
        figure.subplots(1, len(tables), sharey=True), tables.items(), strict=True
    ):
        T = len(table)
        drawn = axes.imshow(table, cmap="cividis", interpolation="nearest")
        bar = figure.colorbar(drawn, ax=axes, location="bottom", shrink=0.9, aspect=14, pad=0.03)
        bar.ax.plot(
            ranges[name],
            (0.5, 0.5),
            "|-",
            color=VERMILION,
            linewidth=2,
            markersize=11,
            markeredgewidth=2,
        )
        bar.set_label("score", fontsize=FONT)
        bar.ax.tick_params(labelsize=FONT - 1)
        bar.locator = MaxNLocator(4, integer=True)
        bar.update_ticks()
        # the diagonal of distance 3
        axes.plot([0, T - 4], [3, T - 1], color=VERMILION, linewidth=2, zorder=4)
        axes.set_xticks(range(0, T, 5))
        axes.set_yticks(range(0, T, 5))
        axes.tick_params(labelsize=FONT - 1)
        axes.set_title(name, fontsize=FONT)
        low, high = (f"{end:.1f}" for end in ranges[name])
        along = f"distance 3:\n{low if low == high else f'{low} to {high}'}"
        axes.text(
            0.4,
            T - 1.0,
            along,
            fontsize=9,
            color=VERMILION,
            va="bottom",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5},
        )
        axes.set_xlabel("position of the key", fontsize=FONT)
    figure.axes[0].set_ylabel("position of the query", fontsize=FONT)
    figure.suptitle(
        "A pair at all positions: only RoPE's scores depend on the distance alone",
        fontsize=FONT + 1,
    )
    said = "; ".join(f"{name} from {low:.2f} to {high:.2f}" for name, (low, high) in ranges.items())
    alt = (
        f"{len(tables)} tables of {T} by {T} scores, lighter for larger ones. Only that of RoPE is constant along each "
        f"diagonal. Scores at distance 3: {said}."
    )
    return figure, alt
