"""A whole model: which documents its tokens read, and how many numbers it holds."""

from itertools import pairwise

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch

from .chunks import _box
from .maps import DIRECT, SUMMED
from .style import BLACK, BLUE, FONT, ORANGE, SKY, VERMILION, YELLOW, new_axes

_COLUMNS = {  # name: projections (text, which of the three places), the mixing, the gate, the width inside
    "MLP": (("GELU(x W_in)\n(T, F)",), None, None, "F"),
    "GLU": (("U\n(T, F)", "V\n(T, F)"), "nothing:\nV as it is", "U × V", "F"),
    "GAU": (("U\n(T, E)", "V\n(T, E)", "Z\n(T, S)"), "A from Z, (T, T)\nA V", "U × A V", "E"),
    "FLASH": (
        ("U\n(T, E)", "V\n(T, E)", "Z\n(T, S)"), "near: A V, A (G, C, C)\nfar: KᵀV, (G, S, E)", "U × (near + far)", "E",
    ),
}  # fmt: skip


def four_units():
    """MLP, GLU, GAU and FLASH as one plan: project, mix, gate, project back, and x past all of it."""
    figure = Figure(figsize=(9.6, 5.2), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    widths, left = (1.9, 2.5, 3.3, 3.7), 0.0
    steps = (("input", 0), ("project", 1), ("mix tokens", 2.2), ("gate", 3.3), ("project back", 4.2), ("add x", 5.1))
    for name, y in steps:
        axes.text(-0.35, y, name, ha="right", va="center", fontsize=FONT, fontstyle="italic")
    for (name, (made, mixing, gate, inner)), width in zip(_COLUMNS.items(), widths):
        x = left + width / 2 - 0.1
        axes.text(x, -0.75, name, ha="center", va="center", fontsize=FONT + 1, fontweight="bold")
        places = [x + (n - (len(made) - 1) / 2) * 0.86 for n in range(len(made))]
        _box(axes, x, 0, "x (T, D)", "white")
        for place, text in zip(places, made):
            _box(axes, place, 1, text, SKY)
            _line(axes, (x, 0.2), (place, 0.68))
        target = 2.2 if mixing else 4.2
        for n, place in enumerate(places):
            if n == 0 and gate:  # U goes past the mixing
                _line(axes, (place, 1.32), (place, 2.9), (x - 0.15, 3.08))
            else:
                end = x + 0.28 * (place - x) + (0.35 if gate else 0)
                _line(axes, (place, 1.32), (end, target - (0.36 if mixing else 0.2)))
        if mixing:
            _box(axes, x + 0.4, 2.2, mixing, ORANGE if name in ("GAU", "FLASH") else "white")
            _line(axes, (x + 0.35, 2.54), (x + 0.15, 3.08))
            _box(axes, x, 3.3, gate, YELLOW)
            _line(axes, (x, 3.5), (x, 4.0))
        _box(axes, x, 4.2, f"W_out ({inner}, D)", SKY)
        _line(axes, (x, 4.4), (x, 4.9))
        _box(axes, x, 5.1, "+ x (T, D)", "white")
        side = left + width - 0.28  # the skip connection
        axes.plot([x + 0.42, side, side], [0, 0, 5.1], color=BLACK, linewidth=1.2, linestyle="--")
        _line(axes, (side, 5.1), (x + 0.5, 5.1))
        left += width
    axes.set(xlim=(-1.5, left), ylim=(5.5, -1.0))
    axes.set_axis_off()
    figure.suptitle("Four layers, one plan: FLASH exchanges only how the tokens are mixed", fontsize=FONT + 1)
    alt = (
        "Four drawings from x (T, D) down to + x (T, D), with a dashed line that carries x past the layer. MLP has one "
        "projection and no mixing. GLU has U and V, multiplied element by element. GAU has U, V and Z: Z gives an "
        "attention matrix A (T, T) that mixes V, and U gates the result. FLASH has the same 4 matrices; Z gives an "
        "attention matrix in each chunk, (G, C, C), and sums of KᵀV across chunks, (G, S, E), and U gates near + far."
    )
    return figure, alt


def _line(axes, *points):
    """Straight lines through the points, an arrow at the last one."""
    for begin, end in pairwise(points[:-1]):
        axes.plot(*zip(begin, end), color=BLACK, linewidth=1)
    axes.add_patch(
        FancyArrowPatch(
            points[-2], points[-1], arrowstyle="-|>", mutation_scale=9, shrinkA=0, shrinkB=0, color=BLACK, linewidth=1
        )
    )


def documents_read(maps, documents, chunk_size, *, title):
    """Who reads whom where a sequence holds several documents: ``maps`` as in ``who_reads_whom``, ``documents (T,)``.

    Thin lines mark chunks, thick ones documents. A pair that crosses a border of documents is a cross.
    """
    figure = Figure(figsize=(8.6, 5.6), dpi=90, layout="constrained")
    documents = np.asarray(documents)
    T, crosses = len(documents), documents[:, None] != documents[None, :]
    for axes, (name, who) in zip(figure.subplots(1, len(maps), sharey=True), maps.items(), strict=True):
        for kind, colour, marker in ((DIRECT, BLUE, "s"), (SUMMED, ORANGE, "o")):
            rows, columns = np.nonzero((who == kind) & ~crosses)
            axes.plot(columns, rows, marker, color=colour, markersize=8, linestyle="none")
        rows, columns = np.nonzero((who > 0) & crosses)
        axes.plot(columns, rows, "x", color=VERMILION, markersize=8, markeredgewidth=2, linestyle="none")
        for border in np.arange(chunk_size, T, chunk_size) - 0.5:
            axes.axhline(border, color=BLACK, linewidth=0.7, alpha=0.5)
            axes.axvline(border, color=BLACK, linewidth=0.7, alpha=0.5)
        for border in np.flatnonzero(np.diff(documents)) + 0.5:
            axes.axhline(border, color=BLACK, linewidth=2.4)
            axes.axvline(border, color=BLACK, linewidth=2.4)
        axes.grid(False)
        axes.set(xlim=(-0.6, T - 0.4), ylim=(T - 0.4, -0.6), aspect="equal")
        ticks = range(0, T, chunk_size)
        axes.set_xticks(ticks, [t + 1 for t in ticks])
        axes.set_yticks(ticks, [t + 1 for t in ticks])
        axes.tick_params(labelsize=FONT - 1)
        axes.set_title(name, fontsize=FONT)
        axes.set_xlabel("token that is read", fontsize=FONT)
    figure.axes[0].set_ylabel("token that reads", fontsize=FONT)
    figure.suptitle(title, fontsize=FONT + 1)
    marks = [
        Line2D([], [], color=BLUE, marker="s", linestyle="none"),
        Line2D([], [], color=ORANGE, marker="o", linestyle="none"),
        Line2D([], [], color=VERMILION, marker="x", markersize=8, markeredgewidth=2, linestyle="none"),
        Line2D([], [], color=BLACK, linewidth=2.4),
    ]
    names = ["read one by one", "read through a sum", "read across documents", "document boundary"]
    figure.legend(marks, names, loc="outside lower center", ncols=4, fontsize=FONT - 1, frameon=False)
    counts = "; ".join(
        f"{name}: {(who > 0).sum()} pairs, {((who > 0) & crosses).sum()} of them across a border of documents"
        for name, who in maps.items()
    )
    alt = f"{len(maps)} squares of {T} by {T} tokens in chunks of {chunk_size}, rows read columns. {counts}."
    return figure, alt


def sizes_by_reading(sizes, *, title):
    """Parameter counts under two readings beside the stated one: ``sizes`` holds, by model, ``(taken, other, stated)``
    in millions, each of the first two as ``(its name, count)``."""
    figure, axes = new_axes(7.6, 0.8 * len(sizes) + 1.9)
    axes.set_title(title, fontsize=FONT + 1)
    words = []
    for y, (model, (taken, other, stated)) in enumerate(sizes.items()):
        axes.plot([100, 100], [y - 0.3, y + 0.3], color=BLACK, linewidth=2, label="_")
        for (name, count), colour, marker in ((taken, BLUE, "o"), (other, VERMILION, "X")):
            place = 100 * count / stated
            axes.plot([place], [y], marker, color=colour, markersize=10, label="_")
            axes.annotate(
                f"{name}: {count:.1f}", (place, y), (10, 9 if marker == "o" else -9), textcoords="offset points",
                va="center", fontsize=FONT - 1,
            )  # fmt: skip
        words.append(f"{model}: {stated} stated, {taken[1]:.1f} with {taken[0]}, {other[1]:.1f} with {other[0]}")
    places = [100 * pair[1] / stated for taken, other, stated in sizes.values() for pair in (taken, other)]
    axes.set(xlim=(min(places) - 3, max(places) + 12), ylim=(len(sizes) - 0.4, -0.6))
    axes.set_yticks(range(len(sizes)), [f"{name}\nstated: {stated}" for name, (_, _, stated) in sizes.items()])
    axes.xaxis.set_major_formatter("{x:.0f}%")
    axes.set_xlabel("counted parameters, as a share of the number in the paper (black line)", fontsize=FONT)
    marks = [
        Line2D([], [], color=BLUE, marker="o", linestyle="none", markersize=9),
        Line2D([], [], color=VERMILION, marker="X", linestyle="none", markersize=9),
    ]
    figure.legend(
        marks, ["the reading that is taken", "the other reading"], loc="outside lower center", ncols=2,
        fontsize=FONT - 1, frameon=False,
    )  # fmt: skip
    return figure, f"Parameters of {len(sizes)} models in millions, under two readings. {'; '.join(words)}."
