"""A whole model: four layers in one drawing, and which documents its tokens read."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, Rectangle

from .maps import DIRECT, SUMMED
from .style import BLACK, BLUE, FONT, ORANGE, SKY, VERMILION, YELLOW

_COLUMNS = {  # name: width in inches, projections, the mixing, the gate, the width inside
    "MLP": (1.15, ("x W_in\n(T, F)",), None, "GELU", "F"),
    "GLU": (1.3, ("U\n(T, F)", "V\n(T, F)"), "nothing", "U × V", "F"),
    "GAU": (1.95, ("U\n(T, E)", "V\n(T, E)", "Z\n(T, S)"), "A from Z (T, T)\nA V", "U × A V", "E"),
    "FLASH": (
        2.25,
        ("U\n(T, E)", "V\n(T, E)", "Z\n(T, S)"),
        "near: A (G, C, C)\nfar: KᵀV (G, S, E)",
        "U × (near + far)",
        "E",
    ),
}


def four_units():
    """MLP, GLU, GAU and FLASH as one plan: project, mix, gate, project back, and x past all of it."""
    width, height = 7.25, 4.7
    figure = Figure(figsize=(width, height), dpi=110)
    axes = figure.add_axes((0, 0, 1, 1))  # a unit is an inch
    rows = {"project": 1.45, "mix\ntokens": 2.3, "gate": 3.05, "project\nback": 3.65, "add x": 4.25}
    project, mix, gate, back, end = rows.values()
    for name, y in rows.items():
        axes.text(0.05, y, name, ha="left", va="center", fontsize=FONT, fontstyle="italic")
    left = 0.55
    for name, (wide, made, mixing, gated, inner) in _COLUMNS.items():
        x = left + wide / 2 - 0.04
        axes.text(x, 0.42, name, ha="center", va="center", fontsize=FONT + 1, fontweight="bold")
        places = [x + (n - (len(made) - 1) / 2) * 0.56 for n in range(len(made))]
        _unit_box(axes, x, 0.75, "x (T, D)", "white", 0.66, 0.26)
        for place, text in zip(places, made):
            _line(axes, (x, 0.88), (place, project - 0.21))
            _unit_box(axes, place, project, text, SKY, 0.5 if len(made) > 1 else 0.62, 0.42)
        if mixing:
            middle = (places[1] + places[-1]) / 2  # of all but the gate
            span = {"GAU": 1.22, "FLASH": 1.5}.get(name, 0.62)
            for place in places[1:]:
                _line(axes, (place, project + 0.21), (middle + 0.6 * (place - middle), mix - 0.21))
            edge = 2.4 if name == "FLASH" else 0.8
            _unit_box(
                axes, middle, mix, mixing, "white" if name == "GLU" else ORANGE, span, 0.42, edge
            )
            _line(axes, (middle, mix + 0.21), (middle, gate - 0.13))
            # U goes past the mixing
            _line(axes, (places[0], project + 0.21), (places[0], gate - 0.13))
        else:
            _line(axes, (x, project + 0.21), (x, gate - 0.13))
        _unit_box(axes, x, gate, gated, YELLOW, wide - 0.32 if mixing else 0.6, 0.26)
        _line(axes, (x, gate + 0.13), (x, back - 0.13))
        _unit_box(axes, x, back, f"W_out ({inner}, D)", SKY, 1.0, 0.26)
        _line(axes, (x, back + 0.13), (x, end - 0.13))
        _unit_box(axes, x, end, "+ x", "white", 0.4, 0.26)
        side = left + wide - 0.04  # the skip connection
        axes.plot(
            [x + 0.33, side, side], [0.75, 0.75, end], color=BLACK, linewidth=1.2, linestyle="--"
        )
        _line(axes, (side, end), (x + 0.2, end))
        left += wide
    axes.set(xlim=(0, width), ylim=(height - 0.1, 0))
    axes.set_axis_off()
    axes.text(
        width / 2,
        0.15,
        "Four layers, one plan: FLASH exchanges only how the tokens are mixed (thick frame)",
        ha="center",
        va="center",
        fontsize=FONT + 1,
    )
    alt = (
        "Four drawings from x (T, D) down to + x, with a dashed line that carries x past the layer. MLP has one "
        "projection and no mixing. GLU has U and V, multiplied element by element. GAU has U, V and Z: Z gives an "
        "attention matrix A (T, T) that mixes V, and U gates the result. FLASH has the same 4 matrices; Z gives an "
        "attention matrix in each chunk, (G, C, C), and sums of KᵀV across chunks, (G, S, E), in a thick frame, and U "
        "gates near + far."
    )
    return figure, alt


def _unit_box(axes, x, y, text, colour, width, height, edge=0.8):
    axes.add_patch(
        Rectangle(
            (x - width / 2, y - height / 2),
            width,
            height,
            facecolor=colour,
            edgecolor=BLACK,
            linewidth=edge,
        )
    )
    axes.text(x, y, text, ha="center", va="center", fontsize=FONT)


def _line(axes, begin, end):
    """An arrow that touches what it leads to."""
    axes.add_patch(
        FancyArrowPatch(
            begin,
            end,
            arrowstyle="-|>",
            mutation_scale=9,
            shrinkA=0,
            shrinkB=0,
            color=BLACK,
            linewidth=1,
        )
    )


def documents_read(maps, documents, chunk_size, *, title):
    """Who reads whom where a sequence holds several documents: ``maps`` as in ``who_reads_whom``, ``documents (T,)``.

    Thin lines mark chunks, thick ones documents. A pair of two documents is a cross.
    """
    figure = Figure(figsize=(7.2, 4.6), dpi=110, layout="constrained")
    documents = np.asarray(documents)
    T = len(documents)
    crosses = documents[:, None] != documents[None, :]
    for axes, (name, who) in zip(
        figure.subplots(1, len(maps), sharey=True), maps.items(), strict=True
    ):
        for kind, colour, marker in ((DIRECT, BLUE, "s"), (SUMMED, ORANGE, "o")):
            rows, columns = np.nonzero((who == kind) & ~crosses)
            axes.plot(columns, rows, marker, color=colour, markersize=6.5, linestyle="none")
        rows, columns = np.nonzero((who > 0) & crosses)
        axes.plot(
            columns, rows, "x", color=VERMILION, markersize=6.5, markeredgewidth=2, linestyle="none"
        )
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
    figure.suptitle(f"{title}\n(thick lines: documents; thin lines: chunks)", fontsize=FONT + 1)
    kinds = (
        ("s", BLUE, "compared one by one"),
        ("o", ORANGE, "read through a sum"),
        ("x", VERMILION, "read across documents"),
    )
    marks = [
        Line2D([], [], color=colour, marker=marker, linestyle="none", markeredgewidth=2)
        for marker, colour, _ in kinds
    ]
    figure.legend(
        marks,
        [name for *_, name in kinds],
        loc="outside lower center",
        ncols=3,
        fontsize=FONT,
        frameon=False,
        handletextpad=0.1,
    )
    counts = "; ".join(
        f"{name}: {(who > 0).sum()} pairs, {((who > 0) & crosses).sum()} of them across documents"
        for name, who in maps.items()
    )
    alt = f"{len(maps)} squares of {T} by {T} tokens in chunks of {chunk_size}, rows read columns. {counts}."
    return figure, alt
