"""Models compared: training on one budget, the choice of a rate, loss inside a window, the gap to the training text."""

from itertools import pairwise

import numpy as np
from matplotlib.figure import Figure

from .style import BLACK, BLUE, FONT, SKY, VERMILION, looks, new_axes


def _style(axes, xlabel, ylabel, title):
    """One panel of several, in the course's style."""
    axes.set_xlabel(xlabel, fontsize=FONT)
    axes.set_ylabel(ylabel, fontsize=FONT)
    axes.set_title(title, fontsize=FONT)
    axes.tick_params(labelsize=FONT - 1)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def training_of_seeds(runs, *, xlabel, title):
    """Left, training of several models: the mean of the seeds in a band from the best to the worst. Right, the scores.

    ``runs`` holds by name a list of ``(x, bits, score)``, one for each seed in the same order: bits per byte of
    training at each x, and the score on held-out text after it. A grey line joins the scores of one seed.
    """
    figure = Figure(figsize=(7.4, 3.8), dpi=120, layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
    figure.suptitle(title, fontsize=FONT + 1)
    styles, words = looks(runs), []
    scores = {name: np.array([score for _, _, score in each]) for name, each in runs.items()}
    top = min(map(min, scores.values())) + 0.24  # a score beyond is an arrow at the top
    for place, (name, each) in enumerate(runs.items()):
        colour, marker, line = styles[name]
        x, bits = each[0][0], np.array([bits for _, bits, _ in each])
        left.fill_between(x, bits.min(0), bits.max(0), color=colour, alpha=0.2, linewidth=0)
        left.plot(x, bits.mean(0), linestyle=line, color=colour, linewidth=1.8, label=name)
        for score in scores[name]:
            beyond = score > top
            right.plot(place, min(score, top), "^" if beyond else marker, color=colour, markersize=6, clip_on=False)
            text = f"{score:.3f}" + (", far above" if beyond else "")
            right.annotate(text, (place, min(score, top)), xytext=(-7 if beyond else 7, 0), fontsize=FONT - 1,
                           textcoords="offset points", ha="right" if beyond else "left", va="center")  # fmt: skip
        ends = ", ".join(f"{score:.3f}" for score in scores[name])
        words.append(f"{name} trains down to {bits[:, -1].mean():.2f} and scores {ends}")
    for of_a_seed in zip(*scores.values()):
        inside = [(place, score) for place, score in enumerate(of_a_seed) if score <= top]
        right.plot(*zip(*inside), color=BLACK, alpha=0.3, linewidth=1, zorder=0)
    left.set_ylim(min(bits[-1] for each in runs.values() for _, bits, _ in each) - 0.05, 3.5)
    right.set_xticks(range(len(runs)), list(runs))
    right.set_xlim(-0.3, len(runs) - 0.4)
    _style(left, xlabel, "bits per byte", "training text: mean and range of the seeds")
    _style(right, "", "", "held-out text: a line for each seed")
    left.legend(fontsize=FONT - 1, frameon=False)
    return figure, f"Lines of bits per byte against the {xlabel}, and scores by seed: {'; '.join(words)}."


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


def bits_in_chunk(profiles, ends, *, title):
    """Bits per byte against the place inside a chunk, in groups of places that get longer.

    ``ends`` are the first place of each group, and behind them the length of a chunk; ``profiles`` holds by name a
    number for each group. The first place of a chunk is 0.
    """
    figure, axes = new_axes(xlabel="place inside the chunk", ylabel="bits per byte", title=title)
    styles, words, places = looks(profiles), [], np.arange(len(ends) - 1)
    names = [f"{a}" if b == a + 1 else f"{a}-{b - 1}" for a, b in pairwise(ends)]
    for name, bits in profiles.items():
        colour, marker, line = styles[name]
        axes.plot(places, bits, linestyle=line, color=colour, marker=marker, markersize=6, linewidth=1.8, label=name)
        words.append(f"{name} from {bits[0]:.2f} at place {names[0]} to {bits[-1]:.2f} at {names[-1]}")
    axes.set_xticks(places, names)
    axes.legend(fontsize=FONT - 1, frameon=False)
    return figure, f"Lines of bits per byte by the place inside a chunk: {'; '.join(words)}."


def open_shares(runs, *, title):
    """Share of attention weights above zero over the first updates: ``runs`` holds by name (updates, {unit: shares}).

    The axis is logarithmic; a unit that reads nothing is a cross on the lowest line.
    """
    figure = Figure(figsize=(7.4, 3.2), dpi=120, layout="constrained")
    panels = figure.subplots(1, len(runs), sharey=True, squeeze=False)[0]
    figure.suptitle(title, fontsize=FONT + 1)
    words, none = [], 0.003
    for axes, (name, (updates, units)) in zip(panels, runs.items()):
        for (unit, shares), (colour, marker, line) in zip(units.items(), looks(units).values()):
            percent = np.maximum(100 * np.array(shares), none)
            axes.plot(updates, percent, linestyle=line, color=colour, marker=marker, markersize=4, label=unit)
            dead = percent == none
            axes.plot(np.array(updates)[dead], percent[dead], "x", color=BLACK, markersize=8)
        ends = ", ".join(f"{unit} {100 * shares[-1]:.2f}%" for unit, shares in units.items())
        words.append(f"{name} at the end {ends}")
        _style(axes, "update", "", name)
        axes.set_yscale("log")
        axes.set_ylim(0.7 * none, 150)
        axes.set_yticks([none, 0.01, 0.1, 1, 10, 100], ["none", "0.01%", "0.1%", "1%", "10%", "100%"])
        axes.minorticks_off()
    panels[0].set_ylabel("weights above zero", fontsize=FONT)
    figure.legend(*panels[-1].get_legend_handles_labels(), fontsize=FONT - 1, frameon=False, loc="outside right center")
    return figure, f"Lines of the share of weights above zero: {'; '.join(words)}."


def training_gap(rows, *, title):
    """Bits per byte on training text and on held-out text, a line for each row ``(label, training, held out)``."""
    figure, axes = new_axes(width=7.4, height=0.5 * len(rows) + 1.3, xlabel="bits per byte", title=title)
    for y, (_, training, other) in enumerate(rows):
        axes.plot([training, other], [y, y], "-", color=SKY, linewidth=5, alpha=0.6, zorder=0)
        axes.plot(training, y, "o", color=BLUE, markersize=7)
        axes.plot(other, y, "D", color=VERMILION, markersize=7)
        axes.text(other + 0.025, y, f"gap {other - training:.2f}", fontsize=FONT, va="center")
    axes.text(rows[0][1], -0.3, "training text", color=BLUE, fontsize=FONT - 1, ha="right")
    axes.text(rows[0][2], -0.3, "held-out text", color=VERMILION, fontsize=FONT - 1, ha="left")
    axes.set_yticks(range(len(rows)), [row[0] for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.9)
    axes.set_xlim(min(row[1] for row in rows) - 0.1, max(row[2] for row in rows) + 0.2)
    alt = "; ".join(
        f"{name.replace(chr(10), ' ')}: training text {training:.2f}, held-out text {other:.2f}"
        for name, training, other in rows
    )
    return figure, f"Pairs of points. {alt}."
