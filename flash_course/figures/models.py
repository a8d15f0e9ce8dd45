"""A whole model: which documents its tokens read, and how many numbers it holds."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .maps import DIRECT, SUMMED
from .style import BLACK, BLUE, FONT, ORANGE, VERMILION, new_axes


def documents_read(maps, documents, chunk_size, *, title):
    """Who reads whom where a row holds several documents: ``maps`` as in ``who_reads_whom``, ``documents (T,)`` ids.

    Thin lines mark chunks, thick ones documents. A pair that crosses a border of documents has a cross.
    """
    figure = Figure(figsize=(8.6, 4.2), dpi=90, layout="constrained")
    documents = np.asarray(documents)
    T, crosses = len(documents), documents[:, None] != documents[None, :]
    for axes, (name, who) in zip(figure.subplots(1, len(maps), sharey=True), maps.items(), strict=True):
        for kind, colour, marker in ((DIRECT, BLUE, "s"), (SUMMED, ORANGE, "o")):
            rows, columns = np.nonzero(who == kind)
            axes.plot(columns, rows, marker, color=colour, markersize=8, linestyle="none")
        rows, columns = np.nonzero((who > 0) & crosses)
        axes.plot(columns, rows, "x", color=BLACK, markersize=8, markeredgewidth=2, linestyle="none")
        for border in np.arange(chunk_size, T, chunk_size) - 0.5:
            axes.axhline(border, color=BLACK, linewidth=0.7, alpha=0.5)
            axes.axvline(border, color=BLACK, linewidth=0.7, alpha=0.5)
        for border in np.flatnonzero(np.diff(documents)) + 0.5:
            axes.axhline(border, color=VERMILION, linewidth=2.4)
            axes.axvline(border, color=VERMILION, linewidth=2.4)
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
        Line2D([], [], color=BLACK, marker="x", markersize=8, markeredgewidth=2, linestyle="none"),
        Line2D([], [], color=VERMILION, linewidth=2.4),
    ]
    names = ["read one by one", "read through a sum", "of another document", "border of documents"]
    figure.legend(marks, names, loc="outside lower center", ncols=4, fontsize=FONT - 1, frameon=False)
    counts = "; ".join(
        f"{name}: {(who > 0).sum()} pairs, {((who > 0) & crosses).sum()} of them across a border of documents"
        for name, who in maps.items()
    )
    alt = f"{len(maps)} maps of {T} by {T} tokens in chunks of {chunk_size}, rows read columns. {counts}."
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
