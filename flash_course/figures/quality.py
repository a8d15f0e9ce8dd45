"""Models compared: training on one budget, the choice of a rate, loss inside a window, what is learnt by heart."""

import numpy as np

from .style import BLACK, BLUE, FONT, SKY, VERMILION, looks, new_axes


def training_of_seeds(runs, *, xlabel, title, live=None):
    """Training of several models, a line for each seed, and behind its end the score on other text.

    ``runs`` holds by name a list of ``(x, bits, score)``: bits per byte of training at each x, and the score after it.
    ``live`` is ``(x, bits)`` of a run that was made here.
    """
    figure, axes = new_axes(xlabel=xlabel, ylabel="bits per byte", title=title)
    last = max(x[-1] for each in runs.values() for x, _, _ in each)
    styles, words = looks(runs), []
    for place, (name, each) in enumerate(runs.items()):
        colour, marker, line = styles[name]
        for i, (x, bits, score) in enumerate(each):
            axes.plot(x, bits, linestyle=line, color=colour, linewidth=1.2, label=name if i == 0 else "_")
            axes.plot(last * 1.15 * 1.1**place, score, marker, color=colour, markersize=5, label="_")
        ends = ", ".join(f"{score:.3f}" for _, _, score in each)
        words.append(f"{name} trains down to {np.mean([bits[-1] for _, bits, _ in each]):.2f} and scores {ends}")
    if live is not None:
        dots = dict(color=BLACK, alpha=0.3, markersize=7, markeredgewidth=0)
        axes.plot(*live, linestyle="none", marker="o", label="FLASH, trained here", zorder=0, **dots)
        words.append(f"grey dots, trained here, follow it down to {live[1][-1]:.2f}")
    top = max(score for each in runs.values() for _, _, score in each)
    axes.text(last * 1.27, top * 1.06, "score on\nother text", fontsize=FONT - 1, ha="center", va="bottom")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_yticks([2, 2.5, 3, 4, 5, 6, 8], ["2", "2.5", "3", "4", "5", "6", "8"])
    axes.minorticks_off()
    axes.set_xticks(*[[t for t in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if t <= last]] * 2)
    axes.set_xlim(last / 100, last * 1.6)
    axes.legend(fontsize=FONT - 1, frameon=False)
    return figure, f"Lines of bits per byte against the {xlabel}: {'; '.join(words)}."


def scores_by_rate(grids, *, title, taken=None):
    """Score after short runs against the learning rate: ``grids`` holds by name ``{rate: bits per byte}``.

    ``taken`` holds by name the rate of the long runs; a ring marks it.
    """
    figure, axes = new_axes(
        height=3.6, xlabel="peak learning rate (logarithmic)", ylabel="bits per byte after the short run", title=title
    )
    styles, words = looks(grids), []
    for name, grid in grids.items():
        (colour, marker, line), rates = styles[name], sorted(grid)
        axes.plot(
            rates, [grid[r] for r in rates], linestyle=line, color=colour, marker=marker, linewidth=1.6, label=name
        )
        best = min(grid, key=grid.get)
        words.append(f"{name} is best at {best:g} with {grid[best]:.2f}")
        if taken and name in taken:
            axes.plot(
                taken[name], grid[taken[name]], "o", markersize=15, markerfacecolor="none", color=colour, label="_",
            )  # fmt: skip
            words[-1] += f", and {taken[name]:g} is taken"
    axes.set_xscale("log", base=2)
    ticks = sorted({rate for grid in grids.values() for rate in grid})
    axes.set_xticks(ticks, [f"{rate:g}" for rate in ticks], rotation=45)
    axes.minorticks_off()
    axes.legend(fontsize=FONT - 1, frameon=False)
    return figure, f"Lines of bits per byte against the learning rate: {'; '.join(words)}."


def loss_in_chunks(curves, C, *, title):
    """Bits per byte against the place in the window, with a thin upright line at each border of chunks of C.

    ``curves`` holds by name the means over equal stretches of the window: ``(length of the window, means)``.
    """
    figure, axes = new_axes(height=3.6, xlabel="place of the byte in the window", ylabel="bits per byte", title=title)
    words, styles, T = [], looks(curves), max(length for length, _ in curves.values())
    for border in range(C, T, C):
        axes.axvline(border, color=BLACK, linewidth=0.7, linestyle=":", label="_")
    for name, (length, bits) in curves.items():
        colour, marker, line = styles[name]
        bits, width = np.asarray(bits), length // len(bits)
        middle = width * (np.arange(len(bits)) + 0.5)
        axes.plot(middle, bits, linestyle=line, color=colour, marker=marker, markersize=4, linewidth=1.4, label=name)
        place, later = middle % C, middle > C
        first, second = (bits[later & part].mean() for part in (place < C / 2, place >= C / 2))
        words.append(f"{name} has {first:.2f} in first halves and {second:.2f} in second halves")
    axes.legend(fontsize=FONT - 1, frameon=False)
    return figure, f"Lines of bits per byte by place, chunks of {C} behind the first one: {'; '.join(words)}."


def training_gap(rows, *, title):
    """Bits per byte on training text and on other text: ``rows`` are ``(label, training, other)``."""
    figure, axes = new_axes(height=3.6, xlabel="", ylabel="bits per byte", title=title)
    places = np.arange(len(rows))
    for values, colour, marker, line, label in (
        ([row[2] for row in rows], VERMILION, "D", "-", "other text"),
        ([row[1] for row in rows], BLUE, "o", "--", "training text"),
    ):
        axes.plot(places, values, line, color=colour, marker=marker, linewidth=1.8, label=label)
    axes.vlines(places, [row[1] for row in rows], [row[2] for row in rows], color=SKY, linewidth=6, alpha=0.5)
    for x, (_, training, other) in zip(places, rows):
        axes.text(
            x - 0.06, training + 0.75 * (other - training), f"gap {other - training:.2f}", fontsize=FONT - 1,
            ha="right", va="center",
        )  # fmt: skip
    axes.set_xticks(places, [row[0] for row in rows])
    axes.set_xlim(-0.5, len(rows) - 0.6)
    axes.legend(fontsize=FONT - 1, frameon=False)
    alt = "; ".join(
        f"{name.replace(chr(10), ' ')}: training text {training:.2f}, other text {other:.2f}"
        for name, training, other in rows
    )
    return figure, f"Two lines that part. {alt}."
