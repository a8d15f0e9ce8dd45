"""The data flow of the units."""

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .style import BLACK, FONT, ORANGE, SKY, YELLOW

# kinds of box: colour, width of the frame
_DENSE = (SKY, 0.8)
_SINGLE = (YELLOW, 0.8)
_MIXING = (ORANGE, 2.6)

_FLOWS = {  # name: boxes (text, x, y, kind), then arrows between them
    "MLP": (
        [
            ("x (T, D)", 0, 0, None),
            ("norm", 0, 1, None),
            ("W_in", 0, 2, _DENSE),
            ("GELU\n(T, F)", 0, 3.1, _SINGLE),
            ("W_out", 0, 6.3, _DENSE),
            ("+ x (T, D)", 0, 7.3, None),
        ],
        [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)],
    ),
    "GLU: a gate": (
        [
            ("x (T, D)", 0, 0, None),
            ("norm", 0, 1, None),
            ("W_gate", -0.55, 2, _DENSE),
            ("W_value", 0.55, 2, _DENSE),
            ("U, GELU\n(T, F)", -0.55, 3.1, _SINGLE),
            ("V\n(T, F)", 0.55, 3.1, None),
            ("U × V  (T, F)", 0, 5.3, _SINGLE),
            ("W_out", 0, 6.3, _DENSE),
            ("+ x (T, D)", 0, 7.3, None),
        ],
        [(0, 1), (1, 2), (1, 3), (2, 4), (3, 5), (4, 6), (5, 6), (6, 7), (7, 8)],
    ),
    "GAU: a gate and attention": (
        [
            ("x (T, D)", 0, 0, None),
            ("norm", 0, 1, None),
            ("W_u", -1.05, 2, _DENSE),
            ("W_v", 0, 2, _DENSE),
            ("W_z", 1.05, 2, _DENSE),
            ("U, SiLU\n(T, E)", -1.05, 3.1, _SINGLE),
            ("V, SiLU\n(T, E)", 0, 3.1, _SINGLE),
            ("Z, SiLU\n(T, S)", 1.05, 3.1, _SINGLE),
            ("A\n(T, T)", 1.05, 4.3, _MIXING),
            ("A V\n(T, E)", 0, 4.3, _MIXING),
            ("U × (A V)  (T, E)", -0.3, 5.4, _SINGLE),
            ("W_out", -0.3, 6.3, _DENSE),
            ("+ x (T, D)", -0.3, 7.3, None),
        ],
        [
            (0, 1),
            (1, 2),
            (1, 3),
            (1, 4),
            (2, 5),
            (3, 6),
            (4, 7),
            (7, 8),
            (6, 9),
            (8, 9),
            (5, 10),
            (9, 10),
            (10, 11),
            (11, 12),
        ],
    ),
}


def gated_units():
    """The data flow of MLP, GLU and GAU side by side, with the shape of each array."""
    figure = Figure(figsize=(6.6, 5.3), dpi=120, layout="constrained")
    for axes, (name, flow) in zip(
        figure.subplots(1, 3, width_ratios=(1.05, 2.0, 2.95)), _FLOWS.items()
    ):
        _draw_panel(axes, name, *flow)
    _draw_legend(figure)
    figure.suptitle(
        "From MLP to GAU: first a gate, then attention between the tokens", fontsize=FONT + 1
    )
    alt = (
        "Three drawings of data flow from x (T, D) through a norm down to x + branch (T, D). MLP: W_in, GELU (T, F), "
        "W_out. GLU: two products side by side, U with GELU and V, (T, F) each, multiplied element by element, then "
        "W_out. GAU: three products, each with SiLU, U and V (T, E) and Z (T, S); Z gives the attention matrix A "
        "(T, T), A mixes V, U gates A V, then W_out. Only A and A V mix tokens. There are 2, 3 and 4 matrices."
    )
    return figure, alt


def _draw_panel(axes, name, boxes, arrows):
    edge = 0.5 + max(abs(x) for _, x, _, _ in boxes)
    axes.set(xlim=(-edge, edge), ylim=(max(y for _, _, y, _ in boxes) + 0.4, -0.4))
    axes.set_axis_off()
    axes.set_title(name, fontsize=FONT + 1)
    drawn = []
    for text, x, y, kind in boxes:
        colour, frame = kind or ("white", 0.8)
        drawn.append(
            axes.text(
                x,
                y,
                text,
                ha="center",
                va="center",
                fontsize=FONT,
                zorder=3,
                bbox=dict(
                    boxstyle="round,pad=0.3", facecolor=colour, edgecolor=BLACK, linewidth=frame
                ),
            )
        )
    for start, end in arrows:  # from the frame of one box to that of the other
        axes.annotate(
            "",
            boxes[end][1:3],
            boxes[start][1:3],
            zorder=2,
            arrowprops=dict(
                arrowstyle="-|>",
                mutation_scale=10,
                color=BLACK,
                shrinkA=0,
                shrinkB=0,
                patchA=drawn[start].get_bbox_patch(),
                patchB=drawn[end].get_bbox_patch(),
            ),
        )


def _draw_legend(figure):
    kinds = (
        ("matrix product", _DENSE),
        ("element by element, also ×", _SINGLE),
        ("mixes tokens (thick frame)", _MIXING),
    )
    marks = [
        Line2D([], [], color=colour, marker="s", markersize=9, linestyle="none")
        for _, (colour, _) in kinds
    ]
    figure.legend(
        marks,
        [name for name, _ in kinds],
        loc="outside lower center",
        ncols=3,
        fontsize=FONT,
        frameon=False,
        handletextpad=0.2,
        columnspacing=1.2,
    )
