"""The data flow of the units."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch

from .style import BLACK, FONT, ORANGE, SKY, YELLOW

_DENSE, _SINGLE, _MIXING = (SKY, 0.8), (YELLOW, 0.8), (ORANGE, 2.6)  # kinds of box: colour, width of the frame

_FLOWS = {  # name: boxes (text, x, y, kind), then arrows between them
    "MLP": (
        [("x (T, D)", 0, 0, None), ("W_in", 0, 1, _DENSE), ("GELU (T, F)", 0, 2, _SINGLE), ("W_out", 0, 5, _DENSE),
         ("+ x (T, D)", 0, 6, None)],
        [(0, 1), (1, 2), (2, 3), (3, 4)],
    ),
    "GLU: a gate": (
        [("x (T, D)", 0, 0, None), ("W_gate", -0.55, 1, _DENSE), ("W_value", 0.55, 1, _DENSE),
         ("U (T, F)", -0.55, 2, _SINGLE), ("V (T, F)", 0.55, 2, _SINGLE), ("U × V (T, F)", 0, 4, _SINGLE),
         ("W_out", 0, 5, _DENSE), ("+ x (T, D)", 0, 6, None)],
        [(0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 5), (5, 6), (6, 7)],
    ),
    "GAU: a gate and attention": (
        [("x (T, D)", 0, 0, None), ("W_u", -1.15, 1, _DENSE), ("W_v", 0, 1, _DENSE), ("W_z", 1.15, 1, _DENSE),
         ("U (T, E)", -1.15, 2, _SINGLE), ("V (T, E)", 0, 2, _SINGLE), ("Z (T, S)", 1.15, 2, _SINGLE),
         ("A (T, T)", 1.15, 3, _MIXING), ("A V (T, E)", 0, 3, _MIXING), ("U × A V (T, E)", -0.4, 4, _SINGLE),
         ("W_out", -0.4, 5, _DENSE), ("+ x (T, D)", -0.4, 6, None)],
        [(0, 1), (0, 2), (0, 3), (1, 4), (2, 5), (3, 6), (6, 7), (5, 8), (7, 8), (4, 9), (8, 9), (9, 10),
         (10, 11)],
    ),
}  # fmt: skip


def gated_units():
    """The data flow of MLP, GLU and GAU side by side, with the shape of each array."""
    figure = Figure(figsize=(8.6, 4.5), dpi=100, layout="constrained")
    for axes, (name, flow) in zip(figure.subplots(1, 3, width_ratios=(1, 1.7, 2.5)), _FLOWS.items()):
        _draw_panel(axes, name, *flow)
    _draw_legend(figure)
    figure.suptitle("From MLP to GAU: first a gate, then attention between the tokens", fontsize=FONT + 1)
    alt = (
        "Three drawings of data flow from x (T, D) down to x + branch (T, D). MLP: W_in, GELU (T, F), W_out. "
        "GLU: two products side by side, U and V (T, F) each, multiplied element by element, then W_out. "
        "GAU: three products, U and V (T, E) and Z (T, S); Z gives the attention matrix A (T, T), A mixes V, "
        "U gates A V, then W_out. Only A and A V mix tokens. There are 2, 3 and 4 matrices."
    )
    return figure, alt


def _draw_panel(axes, name, boxes, arrows, edge=None):
    _draw_flow(axes, boxes, arrows)
    edge = 0.75 + max(abs(x) for _, x, _, _ in boxes) if edge is None else edge
    axes.set(xlim=(-edge, edge), ylim=(max(y for _, _, y, _ in boxes) + 0.5, -0.5))
    axes.set_axis_off()
    axes.set_title(name, fontsize=FONT)


def _draw_legend(figure):
    kinds = (("matrix product", _DENSE), ("element by element", _SINGLE), ("mixes tokens", _MIXING))
    marks = [Line2D([], [], color=colour, marker="s", markersize=9, linestyle="none") for _, (colour, _) in kinds]
    figure.legend(
        marks, [name + (" (thick frame)" if name.startswith("mixes") else "") for name, _ in kinds],
        loc="outside lower center", ncols=3, fontsize=FONT - 1, frameon=False,
    )  # fmt: skip


def _draw_flow(axes, boxes, arrows):
    """Boxes ``(text, x, y, (colour, width of the frame) or None)`` and arrows between them, by number."""
    for text, x, y, kind in boxes:
        colour, frame = kind or ("white", 0.8)
        axes.text(
            x, y, text, ha="center", va="center", fontsize=9, zorder=3,
            bbox=dict(boxstyle="round,pad=0.35", facecolor=colour, edgecolor=BLACK, linewidth=frame),
        )  # fmt: skip
    for start, end in arrows:
        (_, x1, y1, _), (_, x2, y2, _) = boxes[start], boxes[end]
        level = y1 == y2
        begin = (x1 - 0.42 * np.sign(x1 - x2), y1) if level else (x1, y1 + 0.22)
        finish = (x2 + 0.48 * np.sign(x1 - x2), y2) if level else (x2, y2 - 0.22)
        axes.add_patch(
            FancyArrowPatch(begin, finish, arrowstyle="-|>", mutation_scale=9, shrinkA=0, shrinkB=0, color=BLACK)
        )
