"""Mixed chunk attention: its data flow, and the exclusive sum over chunks."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Polygon, Rectangle

from .style import BLACK, BLUE, FONT, ORANGE, SKY, frame_pairs, looks, new_axes


def flash_unit():
    """What one token of FLASH reads: its own chunk token by token, each earlier chunk through one small array."""
    figure = Figure(figsize=(7.4, 4.7), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    C, G, reader = 4, 3, 10  # tokens are counted from 0 here, and from 1 on the page
    for i in range(C * G):
        own = i // C == reader // C
        later = i > reader
        colour = "white" if later else SKY if own else ORANGE
        axes.add_patch(
            Rectangle(
                (i - 0.36, -0.36),
                0.72,
                0.72,
                facecolor=colour,
                edgecolor=BLACK,
                linewidth=3 if i == reader else 1,
            )
        )
        axes.text(i, 0, i + 1, ha="center", va="center", fontsize=FONT)
    for g in range(G - 1):
        axes.text(C * g + 1.5, -0.72, f"chunk {g + 1}", ha="center", va="center", fontsize=FONT)
    axes.text(8.5, -0.72, "chunk 3", ha="center", va="center", fontsize=FONT)
    axes.text(reader, -0.72, "reads", ha="center", va="center", fontsize=FONT, fontweight="bold")
    for g in range(G - 1):  # a chunk is squeezed into one array
        left = C * g - 0.36
        middle = C * g + 1.5
        corners = [(left, 0.4), (left + 3.72, 0.4), (middle + 0.9, 1.45), (middle - 0.9, 1.45)]
        axes.add_patch(Polygon(corners, facecolor=ORANGE, alpha=0.35, linewidth=0))
        _framed(axes, middle, 1.75, 1.9, "lin_kᵀ v", ORANGE)
        _arrow(axes, (middle, 2.05), (3.5 + 1.6 * (g - 0.5), 2.85), BLACK, "-")
    _framed(axes, 3.5, 3.15, 5.4, "mean of the earlier chunks\u2019 lin_kᵀ v", ORANGE)
    for i, width in ((8, 1.2), (9, 4.0), (10, 2.2)):  # each token has a weight of its own
        axes.plot([i, 9.3], [0.4, 2.6], color=BLUE, linewidth=width, solid_capstyle="round")
    axes.text(10.25, 1.55, "one weight\na token", ha="left", va="center", fontsize=FONT)
    _framed(
        axes, 9.3, 3.15, 4.9, "near: v, weighted by\nrelu²(quad_q · quad_k / C + b)", SKY, high=0.55
    )
    _framed(axes, 3.5, 4.3, 4.2, "far: lin_q times the mean", ORANGE)
    _framed(axes, 6.6, 5.25, 2.4, "near + far", "white")
    _framed(axes, 6.6, 6.25, 8.2, "gate: u × (near + far), then times W_out, then + x", "white")
    for begin, end in (
        ((3.5, 3.45), (3.5, 4.0)),
        ((5.0, 4.6), (5.6, 4.95)),
        ((9.3, 3.7), (7.6, 4.95)),
        ((6.6, 5.55), (6.6, 5.95)),
    ):
        _arrow(axes, begin, end, BLACK, "-")
    axes.text(reader + 1, -0.72, "later", ha="center", va="center", fontsize=FONT)
    axes.set(xlim=(-0.6, 11.95), ylim=(-1.0, 6.6))
    axes.set_axis_off()
    figure.suptitle(
        "Token 11 compares itself with its own chunk, and reads all earlier chunks as one mean",
        fontsize=FONT + 1,
    )
    alt = (
        "Twelve tokens in three chunks of four; token 11 reads. Tokens 9, 10 and 11 of its own chunk have lines of "
        "different width to a box: near, relu²(quad_q · quad_k / C + b) times v. Chunks 1 and 2 are each squeezed into "
        "one array lin_kᵀ v of S × E entries; their mean is multiplied by lin_q: far. Near and far are added, gated by "
        "u, multiplied by W_out, and x is added. Token 12 is later and is not read."
    )
    return figure, alt


def exclusive_sum(kv_GSE, tokens_G, *, title):
    """What each chunk reads of others, step by step: ``kv_GSE`` holds K^T V of each chunk, ``tokens_G`` its tokens.

    Four rows of small arrays: the chunk's own product, the prefix sum, the prefix sum shifted by one chunk, the mean.
    """
    kv_GSE = np.asarray(kv_GSE)
    tokens_G = np.asarray(tokens_G)
    running = np.cumsum(kv_GSE, axis=0)
    moved = np.concatenate([0 * running[:1], running[:-1]])
    counts = np.concatenate([[0], np.cumsum(tokens_G)[:-1]])
    mean = moved / np.maximum(counts, 1)[:, None, None]
    rows = (
        ("KᵀV of the chunk", kv_GSE, "white"),
        ("prefix sum", running, "white"),
        ("shifted by one chunk:\nwhat the chunk reads", moved, ORANGE),
        ("divided by the\ntokens read", mean, ORANGE),
    )
    G = len(kv_GSE)
    figure = Figure(figsize=(2.0 + 1.6 * G, 4.4), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    for y, (name, arrays, colour) in enumerate(rows):
        axes.text(-0.42, y, name, ha="right", va="center", fontsize=FONT)
        for g, array in enumerate(arrays):
            _framed(axes, g, y, 0.56, _digits(array), colour, high=0.26, family="monospace")
    for g in range(G):
        _arrow(axes, (g, 0.26), (g, 0.74), BLACK, "-")
        if g < G - 1:
            _arrow(axes, (g + 0.28, 1), (g + 0.72, 1), BLACK, "-", "+")
            _arrow(axes, (g + 0.22, 1.26), (g + 0.78, 1.74), BLUE, "-")
        _arrow(axes, (g, 2.26), (g, 2.74), BLACK, "-", f"/ {counts[g]}" if counts[g] else None)
        first = sum(tokens_G[:g]) + 1
        axes.text(
            g,
            -0.52,
            f"chunk {g + 1}\ntokens {first} to {first + tokens_G[g] - 1}",
            ha="center",
            va="center",
            fontsize=FONT,
        )
    axes.plot([G - 1 + 0.22, G - 1 + 0.42], [1.26, 1.43], ":", color=BLUE, linewidth=2.2)
    axes.text(
        G - 1 + 0.36, 1.62, "for the\nnext chunk", ha="left", va="center", fontsize=FONT, color=BLUE
    )
    axes.set(xlim=(-1.55, G - 0.05), ylim=(3.35, -0.75))
    axes.set_axis_off()
    figure.suptitle(title, fontsize=FONT + 1)
    words = "; ".join(
        f"chunk {g + 1}: product {_list(kv_GSE[g])}, prefix sum {_list(running[g])}, reads {_list(moved[g])}, "
        f"mean {_list(mean[g])}"
        for g in range(G)
    )
    return (
        figure,
        f"Four rows of arrays for {G} chunks, the third row shifted by one chunk to the right. {words}.",
    )


def _score_at(axes, C, score, *, above, colour):
    axes.annotate(
        f"{score:.2f}",
        (C, score),
        xytext=(0, 9 if above else -9),
        textcoords="offset points",
        ha="center",
        va="bottom" if above else "top",
        fontsize=FONT,
        color=colour,
    )


def other_chunks(bits, *, trained, level, title):
    """Bits per byte of one trained model that is run with other chunk lengths: ``bits`` by name and by C.

    ``trained`` is the C it learnt with; ``level`` is the score of a model that has the local part alone.
    """
    figure, axes = new_axes(
        6.2,
        3.5,
        "C the model is run with, tokens in a chunk",
        "bits per byte, held-out text",
        title,
    )
    styles = looks(bits)
    low = min(level, *(min(row.values()) for row in bits.values()))
    high = max(level, *(max(row.values()) for row in bits.values()))
    for n, (name, row) in enumerate(bits.items()):
        colour, marker, line = styles[name]
        lengths = sorted(row)
        axes.plot(
            lengths,
            [row[C] for C in lengths],
            linestyle=line,
            marker=marker,
            color=colour,
            linewidth=1.8,
        )
        for C in lengths:
            if C != trained or n == 0:
                _score_at(axes, C, row[C], above=row[C] > level, colour=colour)
        axes.annotate(
            name.removeprefix("FLASH, "),
            (lengths[0], row[lengths[0]]),
            xytext=(16, 2 if n == 0 else 12),
            textcoords="offset points",
            ha="left",
            va="bottom",
            fontsize=FONT,
            color=colour,
        )
    axes.axhline(level, color=BLACK, linewidth=1.2, linestyle=":")
    axes.annotate(
        f"{level:.2f}: local part only",
        (lengths[0] * 0.8, level),
        xytext=(0, -4),
        textcoords="offset points",
        va="top",
        fontsize=FONT,
    )
    axes.set_xscale("log", base=2)
    axes.set_xticks(lengths, lengths)
    axes.minorticks_off()
    axes.set(
        xlim=(lengths[0] * 0.75, trained * 1.2),
        ylim=(low - 0.15 * (high - low), high + 0.15 * (high - low)),
    )
    words = "; ".join(
        f"{name}: {', '.join(f'{row[C]:.2f} at C = {C}' for C in sorted(row, reverse=True))}"
        for name, row in bits.items()
    )
    alt = (
        f"Line plot of bits per byte against the C that a model is run with, trained with C = {trained}. {words}. "
        f"A dotted line marks {level:.2f}, a model with the local part only."
    )
    return figure, alt


def mixed_pairs(near, far, chunk_size):
    """Who reads whom in mixed chunk attention, and in which way: ``near`` and ``far`` are ``(T, T)`` bool."""
    T = len(near)
    figure = Figure(figsize=(4.6, 4.2), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    for pairs, colour, marker, size in ((near, BLUE, "s", 10), (far, ORANGE, "o", 8)):
        rows, columns = np.nonzero(pairs)
        axes.plot(columns + 1, rows + 1, marker, color=colour, markersize=size, linestyle="none")
    frame_pairs(axes, T, chunk_size, FONT)
    axes.set_xlabel("token that is read", fontsize=FONT + 1)
    axes.set_ylabel("token that reads", fontsize=FONT + 1)
    white = dict(facecolor="white", edgecolor="none", pad=2)
    for y, colour, text in (
        (0.14, BLUE, f"{near.sum()} pairs,\nread one by one"),
        (0.36, ORANGE, f"{far.sum()} pairs,\nread through a mean"),
    ):
        axes.text(
            T + 0.4,
            0.5 + y * T,
            text,
            color=colour,
            ha="right",
            va="center",
            fontsize=FONT + 1,
            fontweight="bold",
            bbox=white,
        )
    figure.suptitle("Near tokens one by one, far ones through a mean", fontsize=FONT + 1)
    alt = (
        f"A map of {T} by {T} tokens in chunks of {chunk_size}, a row reads a column: {near.sum()} pairs one by one, "
        f"each in the token's own chunk, and {far.sum()} pairs of earlier chunks through a mean."
    )
    return figure, alt


def _box(axes, x, y, text, colour):
    """A box as large as its text."""
    axes.text(
        x,
        y,
        text,
        ha="center",
        va="center",
        fontsize=FONT - 1,
        zorder=3,
        bbox=dict(boxstyle="round,pad=0.35", facecolor=colour, edgecolor=BLACK, linewidth=0.8),
    )


def _framed(axes, x, y, wide, text, colour, *, high=0.3, family=None):
    """A box around ``(x, y)``, in the units of the axes, so that arrows can end at its edges."""
    axes.add_patch(
        FancyBboxPatch(
            (x - wide / 2, y - high),
            wide,
            2 * high,
            boxstyle="round,pad=0,rounding_size=0.08",
            facecolor=colour,
            edgecolor=BLACK,
            linewidth=0.8,
            zorder=2,
        )
    )
    axes.text(x, y, text, ha="center", va="center", fontsize=FONT, family=family, zorder=3)


def _digits(array):
    width = max(len(f"{value:g}") for value in array.ravel())
    return "\n".join(" ".join(f"{value:>{width}g}" for value in row) for row in array)


def _list(array):
    return str([[float(f"{value:g}") for value in row] for row in array]).replace(".0", "")


def _arrow(axes, begin, end, colour, style, label=None):
    axes.add_patch(
        FancyArrowPatch(
            begin,
            end,
            arrowstyle="-|>",
            mutation_scale=10,
            shrinkA=0,
            shrinkB=0,
            color=colour,
            linestyle=style,
            linewidth=2.2 if colour == BLUE else 1.0,
        )
    )
    if label:
        level = begin[1] == end[1]
        x = (begin[0] + end[0]) / 2
        y = (begin[1] + end[1]) / 2
        axes.text(
            x if level else x + 0.06,
            y - 0.12 if level else y,
            label,
            ha="center" if level else "left",
            va="center",
            fontsize=FONT,
        )
