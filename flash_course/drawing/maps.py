"""Maps of tokens by tokens: who may read whom, and how much."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from .style import BLACK, BLUE, FONT, ORANGE, VERMILION, frame_pairs

UNREAD, DIRECT, SUMMED = 0, 1, 2  # what a map of ``who_reads_whom`` holds


def who_reads_whom(maps, chunk_size):
    """Maps of who reads whom, four of them two by two: ``maps`` holds by name ``(T, T)`` of UNREAD, DIRECT, SUMMED.

    A row is the token that reads, a column the one that is read. Thick lines mark the chunks of C tokens.
    """
    across = 2 if len(maps) == 4 else len(maps)
    down = len(maps) // across
    size = 6.2 / across  # inches of a panel, its names included
    figure = Figure(figsize=(6.2, 0.75 + down * (size - 0.3)), dpi=120, layout="constrained")
    panels = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    for axes, (name, who) in zip(panels.flat, maps.items(), strict=True):
        T = len(who)
        mark = 40 * (size - 0.7) / T  # points: more than half of a cell
        for kind, colour, marker in ((DIRECT, BLUE, "s"), (SUMMED, ORANGE, "o")):
            rows, columns = np.nonzero(who == kind)
            axes.plot(
                columns + 1, rows + 1, marker, color=colour, markersize=mark, linestyle="none"
            )
        frame_pairs(axes, T, chunk_size, FONT - 1)
        axes.set_title(name, fontsize=FONT)
    for axes in panels[-1]:
        axes.set_xlabel("token that is read", fontsize=FONT)
    for axes in panels[:, 0]:
        axes.set_ylabel("token that reads", fontsize=FONT)
    figure.suptitle(
        "Mixed chunk attention: near tokens pair by pair, far ones through the state",
        fontsize=FONT + 1,
    )
    marks = [
        Line2D([], [], color=colour, marker=marker, linestyle="none")
        for colour, marker in ((BLUE, "s"), (ORANGE, "o"))
    ]
    figure.legend(
        marks,
        ["read pair by pair", "read through the state, a sum"],
        loc="outside lower center",
        ncols=2,
        fontsize=FONT - 1,
        frameon=False,
    )
    counts = "; ".join(
        f"{name}: {(who == DIRECT).sum()} pairs one by one, {(who == SUMMED).sum()} through a sum"
        for name, who in maps.items()
    )
    alt = (
        f"{len(maps)} maps of {T} by {T} tokens in chunks of {chunk_size}, rows read columns, all on or below the "
        f"diagonal. {counts}."
    )
    return figure, alt


def numbers_in_squares(
    panels, *, row, title, axis_names=("token i that reads", "token j that is read"), width=7.6
):
    """Small arrays side by side, each number in its square; ``row`` (from 1) has a frame, nan is hidden.

    ``axis_names`` say what a row and a column are.
    """
    tall, wide = (max(values.shape[axis] for values in panels.values()) for axis in (0, 1))
    # inches, so that no strip stays empty
    square = min(0.55, ((width - 0.5) / len(panels) - 0.15) / wide)
    size = (min(width, 0.5 + len(panels) * (square * wide + 0.15)), 1.15 + square * tall)
    figure = Figure(figsize=size, dpi=110, layout="constrained")
    for axes, (name, values) in zip(
        figure.subplots(1, len(panels), sharey=True), panels.items(), strict=True
    ):
        rows, columns = values.shape
        size = np.nanmax(np.abs(values)) * 1.6  # light enough for black numbers
        axes.pcolormesh(
            np.ma.masked_invalid(values), cmap="PuOr_r", vmin=-size, vmax=size, edgecolors="#CCCCCC"
        )
        for (i, j), value in np.ndenumerate(values):
            text = "·" if np.isnan(value) else f"{value:g}"
            axes.text(j + 0.5, i + 0.5, text, ha="center", va="center", fontsize=9)
        axes.add_patch(
            Rectangle((0, row - 1), columns, 1, fill=False, edgecolor=BLACK, linewidth=2.2)
        )
        axes.set(xlim=(-0.05, columns + 0.05), ylim=(rows + 0.05, -0.05), aspect="equal")
        axes.set_xticks(np.arange(columns) + 0.5, range(1, columns + 1))
        axes.set_yticks(np.arange(rows) + 0.5, range(1, rows + 1))
        axes.tick_params(labelsize=FONT - 1, length=0)
        axes.spines[:].set_visible(False)
        axes.set_title(name, fontsize=FONT)
        axes.set_xlabel(axis_names[1], fontsize=FONT)
    figure.axes[0].set_ylabel(axis_names[0], fontsize=FONT)
    figure.suptitle(title, fontsize=FONT + 1)
    framed = "; ".join(
        f"{name}: {', '.join('hidden' if np.isnan(v) else f'{v:g}' for v in values[row - 1])}"
        for name, values in panels.items()
    )
    return (
        figure,
        f"{len(panels)} squares of {rows} by {columns} numbers. Row {row}, in a frame: {framed}.",
    )


def attention_maps(maps, letters, *, title):
    """Causal attention matrices side by side, on one scale: rows read columns, both named by their ``letters``. What
    the mask hides stays white; a weight of exactly 0 where it may read is a grey cell with a dot."""
    figure = Figure(figsize=(7.6, 4.2), dpi=110, layout="constrained")
    words = []
    T = len(letters)
    top = max(weights.max() for weights in maps.values())
    allowed = np.tri(T, dtype=bool)
    for axes, (name, weights) in zip(figure.subplots(1, len(maps)), maps.items(), strict=True):
        zero = allowed & (weights == 0)
        axes.imshow(
            np.ma.masked_where(~zero, zero), cmap="Greys", vmin=0, vmax=4, extent=(0, T, T, 0)
        )
        image = axes.imshow(
            np.ma.masked_where(~allowed | zero, weights),
            cmap="Blues",
            vmin=0,
            vmax=top,
            extent=(0, T, T, 0),
            interpolation="nearest",
        )
        rows, columns = np.nonzero(zero)
        axes.plot(columns + 0.5, rows + 0.5, ".", color=BLACK, markersize=2)
        axes.text(
            0.96 * T,
            0.05 * T,
            "masked\n(grey, dotted: exactly 0)",
            ha="right",
            va="top",
            fontsize=FONT,
        )
        axes.set(xlim=(0, T), ylim=(T, 0), aspect="equal")
        places = np.arange(T) + 0.5
        axes.set_xticks(places, [c.replace(" ", "_") for c in letters], fontfamily="monospace")
        axes.set_yticks(places, [c.replace(" ", "_") for c in letters], fontfamily="monospace")
        axes.tick_params(labelsize=FONT - 1, length=0)
        axes.set_title(name, fontsize=FONT)
        axes.set_xlabel("byte that is read", fontsize=FONT)
        words.append(
            f"{name}: {zero.sum() / allowed.sum():.0%} of the allowed places are exactly 0"
        )
    figure.axes[0].set_ylabel("byte that reads", fontsize=FONT)
    figure.colorbar(image, ax=figure.axes, shrink=0.8, pad=0.02).set_label("weight", fontsize=FONT)
    figure.suptitle(title, fontsize=FONT + 1)
    alt = (
        f"{len(maps)} attention matrices of {T} by {T} bytes, darker for larger weights; a grey cell with a dot is a "
        f"weight of exactly 0, and what the mask hides is white. {'; '.join(words)}."
    )
    return figure, alt


def attention_by_hand(tokens, counts):
    """One attention twice, with its numbers: exp(score), then each row divided by its sum.

    ``tokens``: T short names. ``counts``: exp(score), ``(T, T)``, a row for each token that reads.
    """
    counts = np.asarray(counts)
    weights = counts / counts.sum(1, keepdims=True)
    figure = Figure(figsize=(8.6, 4.1), dpi=100, layout="constrained")
    panels = (
        ("1. compare: exp(score)", counts, "{:.0f}"),
        ("2. divide by the sum of the row: weight", weights, "{:.2f}"),
    )
    for axes, (title, numbers, form) in zip(figure.subplots(1, 2), panels):
        top = numbers.max()
        for (i, j), number in np.ndenumerate(numbers):
            shade = 0.75 * number / top  # of blue; dark text stays readable on it
            axes.add_patch(
                Rectangle((j - 0.5, i - 0.5), 1, 1, facecolor=BLUE, alpha=shade, linewidth=0)
            )
            axes.text(j, i, form.format(number), ha="center", va="center", fontsize=FONT)
        names = [f"{name}\n{t + 1}" for t, name in enumerate(tokens)]
        axes.set_xticks(range(len(tokens)), names)
        axes.set_yticks(range(len(tokens)), [name.replace("\n", " ") for name in names])
        axes.set(xlim=(-0.5, len(tokens) - 0.5), ylim=(len(tokens) - 0.5, -0.5), aspect="equal")
        axes.tick_params(labelsize=FONT, length=0)
        axes.set_title(title, fontsize=FONT)
        axes.set_xlabel("token j that is read", fontsize=FONT)
    figure.axes[0].set_ylabel("token i that reads", fontsize=FONT)
    figure.suptitle(
        "A row of the attention matrix: how one token divides its attention", fontsize=FONT + 1
    )
    last = ", ".join(f"{weight:.2f}" for weight in weights[-1])
    alt = (
        f"Two tables of {len(tokens)} by {len(tokens)} numbers for the tokens {' '.join(tokens)}. On the left "
        f"exp(score), on the right the same with each row divided by its sum. The last row of weights: {last}."
    )
    return figure, alt


def who_sees_whom(maps, title):
    """What a test found, by name ``(T, T)`` bool: squares where a token sees itself or earlier ones, crosses where it
    sees a later one."""
    figure = Figure(figsize=(8.6, 1.2 + 8.6 / len(maps)), dpi=100, layout="constrained")
    figure.get_layout_engine().set(h_pad=0.1, w_pad=0.1)  # inches between title, names and legend
    for axes, (name, sees) in zip(
        figure.subplots(1, len(maps), sharey=True), maps.items(), strict=True
    ):
        T = len(sees)
        for part, colour, marker in (
            (np.tril(sees), BLUE, "s"),
            (np.triu(sees, 1), VERMILION, "x"),
        ):
            rows, columns = np.nonzero(part)
            axes.plot(
                columns + 1,
                rows + 1,
                marker,
                color=colour,
                markersize=8,
                markeredgewidth=2,
                linestyle="none",
            )
        axes.plot([0.5, T + 0.5], [0.5, T + 0.5], "-", color=BLACK, linewidth=0.8, alpha=0.4)
        axes.set(xlim=(0.4, T + 0.6), ylim=(T + 0.6, 0.4), aspect="equal")
        axes.set_xticks(range(1, T + 1))
        axes.set_yticks(range(1, T + 1))
        axes.tick_params(labelsize=FONT - 1)
        axes.set_title(name, fontsize=FONT)
        axes.set_xlabel("token that is changed", fontsize=FONT)
    figure.axes[0].set_ylabel("token whose output changes", fontsize=FONT)
    figure.suptitle(title, fontsize=FONT + 1)
    marks = [
        Line2D(
            [], [], color=colour, marker=marker, linestyle="none", markersize=8, markeredgewidth=2
        )
        for colour, marker in ((BLUE, "s"), (VERMILION, "x"))
    ]
    figure.legend(
        marks,
        ["sees itself or an earlier token", "sees a later token"],
        loc="outside lower center",
        ncols=2,
        fontsize=FONT - 1,
        frameon=False,
    )
    found = "; ".join(
        f"{name}: {np.tril(sees).sum()} pairs on or below the diagonal, {np.triu(sees, 1).sum()} above it"
        for name, sees in maps.items()
    )
    return (
        figure,
        f"{len(maps)} maps of {T} by {T} tokens, found by changing one token at a time. {found}.",
    )
