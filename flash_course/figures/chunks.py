"""Mixed chunk attention: its data flow, and the exclusive sum over chunks."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch

from .style import BLACK, BLUE, FONT, GREEN, ORANGE, SKY, VERMILION, YELLOW, new_axes
from .units import _draw_flow


def flash_unit():
    """The data flow of FLASH's unit with the shape of each array: near tokens on the left, far ones on the right."""
    figure = Figure(figsize=(8.4, 6.4), dpi=95, layout="constrained")
    axes = figure.add_subplot()
    dense, single, local, far = (SKY, 0.8), (YELLOW, 0.8), (ORANGE, 2.6), (GREEN, 2.6)
    boxes = [
        ("x (T, D)", -1.2, 0, None),  # 0
        ("W_u", -4.2, 1, dense), ("W_z", -1.9, 1, dense), ("W_v", 0.3, 1, dense),
        ("U (T, E)", -4.2, 2, single), ("Z (T, S)", -1.9, 2, single), ("V (T, E)", 0.3, 2, single),  # 4 5 6
        ("quad_q (T, S)", -2.8, 3.2, single), ("quad_k (T, S)", -1.1, 3.2, single),  # 7 8
        ("lin_k (T, S)", 1.7, 3.2, single), ("lin_q (T, S)", 3.7, 3.2, single),  # 9 10
        ("a map in each chunk (G, C, C)", -1.95, 4.3, local), ("KᵀV of each chunk (G, S, E)", 1.5, 4.3, far),  # 11 12
        ("near (T, E)", -1.2, 5.9, local), ("mean of earlier chunks (G, S, E)", 1.5, 5.3, far),  # 13 14
        ("far (T, E)", 2.9, 6.3, far), ("near + far (T, E)", 0.3, 7.2, single),  # 15 16
        ("U × (near + far) (T, E)", -2.0, 8.1, single), ("W_out", -2.0, 9.0, dense), ("+ x (T, D)", -2.0, 9.9, None),
    ]  # fmt: skip
    arrows = [
        (0, 1), (0, 2), (0, 3), (1, 4), (2, 5), (3, 6), (5, 7), (5, 8), (5, 9), (5, 10), (7, 11), (8, 11), (9, 12),
        (6, 12), (6, 13), (11, 13), (12, 14), (14, 15), (10, 15), (13, 16), (15, 16), (4, 17), (16, 17), (17, 18),
        (18, 19),
    ]  # fmt: skip
    _draw_flow(axes, boxes, arrows)
    axes.set(xlim=(-5.0, 4.4), ylim=(10.3, -0.4))
    axes.set_axis_off()
    kinds = (
        ("matrix product", SKY, "s"), ("each token by itself", YELLOW, "o"),
        ("inside a chunk (thick frame)", ORANGE, "D"), ("across chunks (thick frame)", GREEN, "^"),
    )  # fmt: skip
    marks = [Line2D([], [], color=c, marker=m, markersize=9, linestyle="none") for _, c, m in kinds]
    figure.legend(
        marks, [name for name, _, _ in kinds], loc="outside lower center", ncols=4, fontsize=FONT - 1, frameon=False
    )
    figure.suptitle("FLASH is a GAU that reads its own chunk by a map and earlier ones by a mean", fontsize=FONT + 1)
    alt = (
        "Data flow of FLASH's unit. From x (T, D) come U and V (T, E) and a base Z (T, S). Z gives four heads (T, S). "
        "quad_q and quad_k make a map in each chunk (G, C, C), which reads V: near (T, E). lin_k and V make KᵀV of "
        "each chunk (G, S, E); lin_q reads the mean of the earlier chunks: far (T, E). Near and far are added, U gates "
        "the sum, W_out brings it back to width D, and x is added."
    )
    return figure, alt


def exclusive_sum(kv_GSE, tokens_G, *, title):
    """What each chunk reads of others, step by step: ``kv_GSE`` holds K^T V of each chunk, ``tokens_G`` its tokens.

    Four rows of small arrays: the chunk's own product, the running sum, the running sum moved by one chunk, the mean.
    """
    kv_GSE, tokens_G = np.asarray(kv_GSE), np.asarray(tokens_G)
    running = np.cumsum(kv_GSE, axis=0)
    moved = np.concatenate([0 * running[:1], running[:-1]])
    counts = np.concatenate([[0], np.cumsum(tokens_G)[:-1]])
    mean = moved / np.maximum(counts, 1)[:, None, None]
    rows = (
        ("KᵀV of the chunk", kv_GSE, SKY), ("running sum", running, YELLOW),
        ("moved by one chunk:\nwhat the chunk reads", moved, ORANGE), ("divided by the\ntokens read", mean, ORANGE),
    )  # fmt: skip
    G = len(kv_GSE)
    figure = Figure(figsize=(2.6 + 1.9 * G, 4.6), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    for y, (name, arrays, colour) in enumerate(rows):
        frame = dict(boxstyle="round,pad=0.35", facecolor=colour, edgecolor=BLACK, linewidth=2.4 if y > 1 else 0.8)
        axes.text(-0.55, y, name, ha="right", va="center", fontsize=FONT)
        for g, array in enumerate(arrays):
            axes.text(
                g, y, _digits(array), ha="center", va="center", fontsize=FONT, family="monospace", zorder=3,
                bbox=frame,
            )  # fmt: skip
    for g in range(G):
        _arrow(axes, (g, 0.27), (g, 0.73), BLACK, "-")
        if g < G - 1:
            _arrow(axes, (g + 0.28, 1), (g + 0.72, 1), BLACK, "-", "+")
            _arrow(axes, (g + 0.2, 1.27), (g + 0.8, 1.73), BLUE, "-")
        _arrow(axes, (g, 2.27), (g, 2.73), BLACK, "-", f"/ {counts[g]}" if counts[g] else None)
        first = sum(tokens_G[:g]) + 1
        axes.text(
            g, -0.52, f"chunk {g + 1}\ntokens {first} to {first + tokens_G[g] - 1}", ha="center", va="center",
            fontsize=FONT,
        )  # fmt: skip
    axes.plot([G - 1 + 0.2, G - 1 + 0.42], [1.27, 1.48], ":", color=VERMILION, linewidth=1.8)
    axes.text(G - 1 + 0.46, 1.52, "for the\nnext chunk", ha="left", va="center", fontsize=FONT - 1, color=VERMILION)
    axes.set(xlim=(-1.75, G - 0.1), ylim=(3.4, -0.8))
    axes.set_axis_off()
    figure.suptitle(title, fontsize=FONT + 1)
    words = "; ".join(
        f"chunk {g + 1}: product {_list(kv_GSE[g])}, running sum {_list(running[g])}, reads {_list(moved[g])}, "
        f"mean {_list(mean[g])}"
        for g in range(G)
    )
    return figure, f"Four rows of arrays for {G} chunks, the third row moved by one chunk to the right. {words}."


def other_chunks(bits, *, trained, level, title):
    """Bits per byte of one trained model that is run with other chunk lengths: ``bits`` by C, ``trained`` the one it
    learnt with; ``level`` is the score of a model that has the local part alone."""
    figure, axes = new_axes(6.4, 3.2, "C the model is run with, tokens in a chunk", "bits per byte on new text", title)
    lengths = sorted(bits)
    axes.plot(lengths, [bits[C] for C in lengths], "-", marker="o", color=BLUE, linewidth=1.8)
    for C in lengths:
        axes.annotate(
            f"{bits[C]:.2f}", (C, bits[C]), xytext=(0, 8), textcoords="offset points", ha="center", fontsize=FONT,
            fontweight="bold" if C == trained else "normal", bbox=dict(facecolor="white", edgecolor="none", pad=1),
        )  # fmt: skip
    axes.plot([trained], [bits[trained]], "s", color=VERMILION, markersize=9, zorder=3)
    axes.axhline(level, color=BLACK, linewidth=1.2, linestyle="--")
    axes.text(lengths[0], level, f"{level:.2f}: local part only, C = {trained}", va="bottom", fontsize=FONT - 1)
    axes.set_xscale("log", base=2)
    axes.set_xticks(lengths, lengths)
    low, high = min(*bits.values(), level), max(*bits.values(), level)
    axes.set_ylim(low - 0.15 * (high - low), high + 0.2 * (high - low))
    numbers = ", ".join(f"{bits[C]:.2f} at C = {C}" for C in reversed(lengths))
    alt = (
        f"Line plot of bits per byte against the C that a model is run with, trained with C = {trained} (a square): "
        f"{numbers}. A dashed line marks {level:.2f}, a model with the local part only."
    )
    return figure, alt


def _digits(array):
    width = max(len(f"{value:g}") for value in array.ravel())
    return "\n".join(" ".join(f"{value:>{width}g}" for value in row) for row in array)


def _list(array):
    return str([[float(f"{value:g}") for value in row] for row in array]).replace(".0", "")


def _arrow(axes, begin, end, colour, style, label=None):
    axes.add_patch(
        FancyArrowPatch(
            begin, end, arrowstyle="-|>", mutation_scale=10, shrinkA=0, shrinkB=0, color=colour, linestyle=style,
            linewidth=2.2 if colour == BLUE else 1.0,
        )
    )  # fmt: skip
    if label:
        level = begin[1] == end[1]
        x, y = (begin[0] + end[0]) / 2, (begin[1] + end[1]) / 2
        axes.text(
            x if level else x + 0.06, y - 0.12 if level else y, label, ha="center" if level else "left", va="center",
            fontsize=FONT,
        )  # fmt: skip
