"""Schematics of boxes and arrows: the data flow of the units, of mixed chunk attention, and of its sums."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Polygon, Rectangle

from .colours import BLACK, BLUE, ORANGE, SKY, YELLOW
from .pairs import DISC, SQUARE, draw_pairs
from .style import FONT, WHITE, legend_below

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


# of the drawing of four layers: a row by its height in inches
_ROWS = {"project": 1.45, "mix\ntokens": 2.3, "gate": 3.05, "project\nback": 3.65, "add x": 4.25}

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


def gated_units():
    """The data flow of MLP, GLU and GAU side by side, with the shape of each array."""
    figure = Figure(figsize=(6.6, 5.3), dpi=120, layout="constrained")
    every = figure.subplots(1, 3, width_ratios=(1.05, 2.0, 2.95))
    for axes, (name, flow) in zip(every, _FLOWS.items()):
        _draw_flow(axes, name, *flow)
    kinds = {
        "matrix product": _DENSE,
        "element by element, also ×": _SINGLE,
        "mixes tokens (thick frame)": _MIXING,
    }
    mark = {"marker": "s", "markersize": 9, "linestyle": "none"}
    marks = [Line2D([], [], color=colour, **mark) for colour, _ in kinds.values()]
    legend_below(figure, marks, list(kinds))
    title = "From MLP to GAU: first a gate, then attention between the tokens"
    figure.suptitle(title, fontsize=FONT + 1)
    return figure, (
        "Three drawings of data flow from x (T, D) through a norm down to x + branch (T, D). MLP: W_in, GELU (T, F), "
        "W_out. GLU: two products side by side, U with GELU and V, (T, F) each, multiplied element by element, then "
        "W_out. GAU: three products, each with SiLU, U and V (T, E) and Z (T, S); Z gives the attention matrix A "
        "(T, T), A mixes V, U gates A V, then W_out. Only A and A V mix tokens. There are 2, 3 and 4 matrices."
    )


def _draw_flow(axes, name, boxes, arrows):
    edge = 0.5 + max(abs(x) for _, x, _, _ in boxes)
    axes.set(xlim=(-edge, edge), ylim=(max(y for _, _, y, _ in boxes) + 0.4, -0.4))
    axes.set_axis_off()
    axes.set_title(name, fontsize=FONT + 1)
    frames = []
    for text, x, y, kind in boxes:
        colour, width = kind or ("white", 0.8)
        look = {"boxstyle": "round,pad=0.3", "edgecolor": BLACK, "linewidth": width}
        frames.append(_text(axes, x, y, text, bbox=look | {"facecolor": colour}).get_bbox_patch())
    for start, end in arrows:  # from the frame of one box to that of the other
        look = {
            "arrowstyle": "-|>",
            "mutation_scale": 10,
            "color": BLACK,
            "shrinkA": 0,
            "shrinkB": 0,
        }
        look |= {"patchA": frames[start], "patchB": frames[end]}
        axes.annotate("", boxes[end][1:3], boxes[start][1:3], zorder=2, arrowprops=look)


def four_units():
    """MLP, GLU, GAU and FLASH as one plan: project, mix, gate, project back, and x past all of it."""
    width, height = 7.25, 4.7
    figure = Figure(figsize=(width, height), dpi=110)
    axes = figure.add_axes((0, 0, 1, 1))  # a unit is an inch
    for name, y in _ROWS.items():
        axes.text(0.05, y, name, ha="left", va="center", fontsize=FONT, fontstyle="italic")
    left = 0.55
    for name, column in _COLUMNS.items():
        _draw_unit(axes, left, name, *column)
        left += column[0]
    axes.set(xlim=(0, width), ylim=(height - 0.1, 0))
    axes.set_axis_off()
    title = "Four layers, one plan: FLASH exchanges only how the tokens are mixed (thick frame)"
    _text(axes, width / 2, 0.15, title, fontsize=FONT + 1)
    return figure, (
        "Four drawings from x (T, D) down to + x, with a dashed line that carries x past the layer. MLP has one "
        "projection and no mixing. GLU has U and V, multiplied element by element. GAU has U, V and Z: Z gives an "
        "attention matrix A (T, T) that mixes V, and U gates the result. FLASH has the same 4 matrices; Z gives an "
        "attention matrix in each chunk, (G, C, C), and sums of KᵀV across chunks, (G, S, E), in a thick frame, and U "
        "gates near + far."
    )


def _draw_unit(axes, left, name, wide, made, mixing, gated, inner):
    """One layer from the top down, ``wide`` inches from ``left`` on."""
    project, mix, gate, back, end = _ROWS.values()
    x = left + wide / 2 - 0.04
    _text(axes, x, 0.42, name, fontsize=FONT + 1, fontweight="bold")
    places = [x + (n - (len(made) - 1) / 2) * 0.56 for n in range(len(made))]
    _box(axes, x, 0.75, 0.66, 0.26, "x (T, D)", "white")
    for place, text in zip(places, made):
        _arrow(axes, (x, 0.88), (place, project - 0.21))
        _box(axes, place, project, 0.5 if len(made) > 1 else 0.62, 0.42, text, SKY)
    # U goes past the mixing
    _arrow(axes, (places[0], project + 0.21), (places[0], gate - 0.13))
    if mixing:
        middle = (places[1] + places[-1]) / 2  # of all but the gate
        for place in places[1:]:
            _arrow(axes, (place, project + 0.21), (middle + 0.6 * (place - middle), mix - 0.21))
        span = {"GAU": 1.22, "FLASH": 1.5}.get(name, 0.62)
        colour = "white" if name == "GLU" else ORANGE
        _box(axes, middle, mix, span, 0.42, mixing, colour, edge=2.4 if name == "FLASH" else 0.8)
        _arrow(axes, (middle, mix + 0.21), (middle, gate - 0.13))
    _box(axes, x, gate, wide - 0.32 if mixing else 0.6, 0.26, gated, YELLOW)
    _arrow(axes, (x, gate + 0.13), (x, back - 0.13))
    _box(axes, x, back, 1.0, 0.26, f"W_out ({inner}, D)", SKY)
    _arrow(axes, (x, back + 0.13), (x, end - 0.13))
    _box(axes, x, end, 0.4, 0.26, "+ x", "white")
    side = left + wide - 0.04  # x goes past the layer
    past = [x + 0.33, side, side], [0.75, 0.75, end]
    axes.plot(*past, color=BLACK, linewidth=1.2, linestyle="--")
    _arrow(axes, (side, end), (x + 0.2, end))


def flash_unit():
    """What one token of FLASH reads: its own chunk token by token, each earlier chunk through one small array."""
    figure = Figure(figsize=(7.4, 4.7), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    reader = 11
    for token in range(1, 13):
        colour = SKY if token > 8 else ORANGE
        look = {"facecolor": "white" if token > reader else colour, "edgecolor": BLACK}
        look["linewidth"] = 3 if token == reader else 1
        axes.add_patch(Rectangle((token - 1.36, -0.36), 0.72, 0.72, **look))
        _text(axes, token - 1, 0, token)
    for x, said in ((1.5, "chunk 1"), (5.5, "chunk 2"), (8.5, "chunk 3"), (11, "later")):
        _text(axes, x, -0.72, said)
    _text(axes, reader - 1, -0.72, "reads", fontweight="bold")
    for left, end in ((-0.36, 2.7), (3.64, 4.3)):  # a chunk is squeezed into one array
        middle = left + 1.86
        corners = [(left, 0.4), (left + 3.72, 0.4), (middle + 0.9, 1.45), (middle - 0.9, 1.45)]
        axes.add_patch(Polygon(corners, facecolor=ORANGE, alpha=0.35, linewidth=0))
        _box(axes, middle, 1.75, 1.9, 0.6, "lin_kᵀ v", ORANGE)
        _arrow(axes, (middle, 2.05), (end, 2.85))
    _box(axes, 3.5, 3.15, 5.4, 0.6, "mean of the earlier chunks\u2019 lin_kᵀ v", ORANGE)
    for x, width in ((8, 1.2), (9, 4.0), (10, 2.2)):  # each token has a weight of its own
        axes.plot([x, 9.3], [0.4, 2.6], color=BLUE, linewidth=width, solid_capstyle="round")
    _text(axes, 10.25, 1.55, "one weight\na token", ha="left")
    near = "near: v, weighted by\nrelu²(quad_q · quad_k / C + b)"
    _box(axes, 9.3, 3.15, 4.9, 1.1, near, SKY)
    _box(axes, 3.5, 4.3, 4.2, 0.6, "far: lin_q times the mean", ORANGE)
    _box(axes, 6.6, 5.25, 2.4, 0.6, "near + far", "white")
    _box(axes, 6.6, 6.25, 8.2, 0.6, "gate: u × (near + far), then times W_out, then + x", "white")
    _arrow(axes, (3.5, 3.45), (3.5, 4.0))
    _arrow(axes, (5.0, 4.6), (5.6, 4.95))
    _arrow(axes, (9.3, 3.7), (7.6, 4.95))
    _arrow(axes, (6.6, 5.55), (6.6, 5.95))
    axes.set(xlim=(-0.6, 11.95), ylim=(-1.0, 6.6))
    axes.set_axis_off()
    title = "Token 11 compares itself with its own chunk, and reads all earlier chunks as one mean"
    figure.suptitle(title, fontsize=FONT + 1)
    return figure, (
        "Twelve tokens in three chunks of four; token 11 reads. Tokens 9, 10 and 11 of its own chunk have lines of "
        "different width to a box: near, relu²(quad_q · quad_k / C + b) times v. Chunks 1 and 2 are each squeezed into "
        "one array lin_kᵀ v of S × E entries; their mean is multiplied by lin_q: far. Near and far are added, gated by "
        "u, multiplied by W_out, and x is added. Token 12 is later and is not read."
    )


def exclusive_sum(kv_GSE, tokens_G, *, title):
    """What each chunk reads of others, step by step: ``kv_GSE`` holds K^T V of each chunk, ``tokens_G`` its tokens.

    Four rows of small arrays: the chunk's own product, the prefix sum, the prefix sum shifted by one chunk, the mean.
    """
    running = np.cumsum(kv_GSE, axis=0)
    moved = np.concatenate([0 * running[:1], running[:-1]])
    read = np.concatenate([[0], np.cumsum(tokens_G)[:-1]])  # tokens that each chunk reads
    mean = moved / np.maximum(read, 1)[:, None, None]
    rows = {
        "KᵀV of the chunk": (kv_GSE, "white"),
        "prefix sum": (running, "white"),
        "shifted by one chunk:\nwhat the chunk reads": (moved, ORANGE),
        "divided by the\ntokens read": (mean, ORANGE),
    }
    G = len(kv_GSE)
    figure = Figure(figsize=(2.0 + 1.6 * G, 4.4), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    for y, (name, (arrays, colour)) in enumerate(rows.items()):
        _text(axes, -0.42, y, name, ha="right")
        for g, array in enumerate(arrays):
            _box(axes, g, y, 0.56, 0.52, _digits(array), colour, family="monospace")
    words = []
    for g in range(G):
        _text(axes, g, -0.52, f"chunk {g + 1}\ntokens {read[g] + 1} to {read[g] + tokens_G[g]}")
        _arrow(axes, (g, 0.26), (g, 0.74))
        if g < G - 1:
            _arrow(axes, (g + 0.28, 1), (g + 0.72, 1))
            _text(axes, g + 0.5, 0.88, "+")
            _arrow(axes, (g + 0.22, 1.26), (g + 0.78, 1.74), color=BLUE, linewidth=2.2)
        _arrow(axes, (g, 2.26), (g, 2.74))
        if read[g]:
            _text(axes, g + 0.06, 2.5, f"/ {read[g]}", ha="left")
        words.append(
            f"chunk {g + 1}: product {_list(kv_GSE[g])}, prefix sum {_list(running[g])}, "
            f"reads {_list(moved[g])}, mean {_list(mean[g])}"
        )
    axes.plot([G - 0.78, G - 0.58], [1.26, 1.43], ":", color=BLUE, linewidth=2.2)
    _text(axes, G - 0.64, 1.62, "for the\nnext chunk", ha="left", color=BLUE)
    axes.set(xlim=(-1.55, G - 0.05), ylim=(3.35, -0.75))
    axes.set_axis_off()
    figure.suptitle(title, fontsize=FONT + 1)
    about = f"Four rows of arrays for {G} chunks, the third row shifted by one chunk to the right."
    return figure, f"{about} {'; '.join(words)}."


def _digits(array):
    width = max(len(f"{value:g}") for value in array.ravel())
    return "\n".join(" ".join(f"{value:>{width}g}" for value in row) for row in array)


def _list(array):
    return str([[float(f"{value:g}") for value in row] for row in array]).replace(".0", "")


def chunk_schedule(T, C):
    """Who is read how in the exact chunk form, and its steps: pairs inside each chunk, a state between chunks."""
    starts = range(0, T, C)
    figure = Figure(figsize=(7.6, 3.5), dpi=120, layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.3))
    chunk = np.arange(T) // C
    inside = np.equal.outer(chunk, chunk) & np.tri(T, dtype=bool)
    earlier = np.greater.outer(chunk, chunk)
    marks = {"inside": [SQUARE], "earlier": [DISC]}
    draw_pairs(left, {"inside": inside, "earlier": earlier}, marks, C, 7)
    left.set_xlabel("token j that is read", fontsize=FONT)
    left.set_ylabel("token i that reads", fontsize=FONT)
    left.set_title("how each pair is read", fontsize=FONT)
    look = {"ha": "right", "fontweight": "bold", "bbox": WHITE}
    _text(left, T + 0.4, 0.16 * T + 0.3, "pair by pair,\nin its own chunk", color=BLUE, **look)
    _text(left, T + 0.4, 0.42 * T + 0.3, "through\nthe state", color=ORANGE, **look)
    _draw_chain(right, starts, C, T)
    steps = f"{len(starts)} sequential steps for {T} tokens"
    title = f"Pairs inside a chunk, a state between chunks: {steps}"
    figure.suptitle(title, fontsize=FONT + 1)
    return figure, (
        f"Left, the pairs of {T} tokens in chunks of {C}: {inside.sum()} pairs inside chunks are read pair by pair, "
        f"{earlier.sum()} pairs of earlier chunks through the state. Right, {len(starts)} chunks in order: each "
        "reads the state that enters it and adds k transposed times v to it; the last chunk is shorter."
    )


def _draw_chain(axes, starts, C, T):
    """The chunks in a row, the state that enters and leaves each, and what is added to it."""
    for g, start in enumerate(starts):
        x = 2 * g
        _box(axes, x, 2.6, 1.44, 0.6, f"{start + 1} to {min(start + C, T)}", SKY)
        _box(axes, x, 0.0, 1.44, 0.6, f"state {g}" if g else "0", ORANGE)
        _arrow(axes, (x - 0.3, 0.3), (x - 0.3, 2.3))
        _text(axes, x - 0.24, 0.75, "read", ha="left")
        if g + 1 < len(starts):
            _arrow(axes, (x + 0.3, 2.3), (x + 1.5, 0.3))
            _text(axes, x + 0.82, 1.72, "+ kᵀv", ha="left")
            _arrow(axes, (x + 0.72, 0.0), (x + 1.28, 0.0))
    _text(axes, -0.72, 3.25, "tokens of a chunk, all at once", ha="left")
    _text(axes, -0.72, -0.65, "the state that enters the chunk (S × E entries)", ha="left")
    axes.set(xlim=(-0.9, 2 * len(starts) - 1.1), ylim=(-1.0, 3.6))
    axes.set_axis_off()
    axes.set_title("what waits for what", fontsize=FONT)


def _box(axes, x, y, wide, high, text, colour, *, edge=0.8, **look):
    """A box around ``(x, y)`` with a text in it, its size in the units of the axes, so that arrows meet its edge."""
    frame = {"boxstyle": "round,pad=0,rounding_size=0.08", "edgecolor": BLACK, "linewidth": edge}
    corner = (x - wide / 2, y - high / 2)
    axes.add_patch(FancyBboxPatch(corner, wide, high, facecolor=colour, zorder=2, **frame))
    _text(axes, x, y, text, **look)


def _text(axes, x, y, text, **look):
    """A text in the middle of ``(x, y)``."""
    look = {"ha": "center", "va": "center", "fontsize": FONT, "zorder": 3} | look
    return axes.text(x, y, text, **look)


def _arrow(axes, begin, end, *, color=BLACK, linewidth=1.0):
    """An arrow that touches what it leads to."""
    look = {"arrowstyle": "-|>", "mutation_scale": 10, "shrinkA": 0, "shrinkB": 0}
    axes.add_patch(FancyArrowPatch(begin, end, color=color, linewidth=linewidth, **look))
