"""Models compared: training on one budget, the choice of a rate, loss inside a window and inside a chunk."""

from itertools import pairwise

import numpy as np
from matplotlib.figure import Figure

from .style import BLACK, FONT, looks, new_axes


def _style(axes, xlabel, ylabel, title):
    """One panel of several, in the course's style."""
    axes.set_xlabel(xlabel, fontsize=FONT)
    axes.set_ylabel(ylabel, fontsize=FONT)
    axes.set_title(title, fontsize=FONT)
    axes.tick_params(labelsize=FONT - 1)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def _score_beyond(axes, place, top, text, colour):
    axes.annotate(
        text,
        (place, top),
        xytext=(0, -26),
        fontsize=FONT - 1,
        textcoords="offset points",
        ha="center",
        color=colour,
        arrowprops=dict(arrowstyle="-|>", color=colour),
    )


def _score_of_a_seed(axes, place, score, marker, colour):
    axes.plot(place, score, marker, color=colour, markersize=6, zorder=3)
    text = axes.annotate(
        f"{score:.3f}",
        (place, score),
        xytext=(7, 0),
        fontsize=FONT - 1,
        textcoords="offset points",
        ha="left",
        va="center",
        zorder=2,
    )
    text.set_bbox(dict(facecolor="white", edgecolor="none", pad=0.8))


def training_of_seeds(runs, *, xlabel, title):
    """Left, training of several models: the mean of the seeds in a band from the best to the worst. Right, the scores.

    ``runs`` holds by name a list of ``(x, bits, score)``, one for each seed in the same order: bits per byte of
    training at each x, and the score on held-out text after it. A grey line joins the scores of one seed.
    """
    figure = Figure(figsize=(7.4, 3.8), dpi=120, layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.3, 1))
    figure.suptitle(title, fontsize=FONT + 1)
    styles = looks(runs)
    words = []
    scores = {name: np.array([score for _, _, score in each]) for name, each in runs.items()}
    top = min(map(min, scores.values())) + 0.24  # a score beyond is an arrow at the top
    for place, (name, each) in enumerate(runs.items()):
        colour, marker, line = styles[name]
        x = each[0][0]
        bits = np.array([bits for _, bits, _ in each])
        left.fill_between(x, bits.min(0), bits.max(0), color=colour, alpha=0.2, linewidth=0)
        left.plot(x, bits.mean(0), linestyle=line, color=colour, linewidth=1.8, label=name)
        for seed, score in enumerate(scores[name]):
            if score > top:
                _score_beyond(right, place, top, f"seed {seed}: {score:.3f}", colour)
            else:
                _score_of_a_seed(right, place, score, marker, colour)
        ends = ", ".join(f"{score:.3f}" for score in scores[name])
        words.append(f"{name} trains down to {bits[:, -1].mean():.2f} and scores {ends}")
    for of_a_seed in zip(*scores.values()):
        inside = [(place, score) for place, score in enumerate(of_a_seed) if score <= top]
        right.plot(*zip(*inside), color=BLACK, alpha=0.35, linewidth=1, zorder=0)
    left.set_ylim(min(bits[-1] for each in runs.values() for _, bits, _ in each) - 0.05, 3.5)
    right.set_xticks(
        range(len(runs)), [name.replace("Transformer++", "Trans-\nformer++") for name in runs]
    )
    right.set_xlim(-0.3, len(runs) - 0.35)
    inside = [score for each in scores.values() for score in each if score <= top]
    margin = 0.05 * (max(inside) - min(inside) + 0.02)
    far = any(score > top for each in scores.values() for score in each)
    right.set_ylim(min(inside) - margin, top if far else max(inside) + margin)
    _style(left, xlabel, "bits per byte", "training text: mean and range")
    _style(right, "", "", "held-out text: one line for each seed")
    last = {
        name: (each[0][0][-1], np.mean([bits[-1] for _, bits, _ in each]))
        for name, each in runs.items()
    }
    _label_lines(left, [(end, x, name, styles[name][0]) for name, (x, end) in last.items()])
    end = max(x for x, _ in last.values())
    left.set_xlim(left.get_xlim()[0], 1.42 * end)
    left.set_xticks([tick for tick in left.get_xticks() if 0 < tick <= 1.02 * end])
    left.spines["bottom"].set_bounds(left.get_xlim()[0], end)
    return (
        figure,
        f"Lines of bits per byte against the {xlabel}, and scores by seed: {'; '.join(words)}.",
    )


def quality_by_time(panels, *, baseline, title):
    """Bits per byte on held-out text against training time, a panel for each length: the mean of the seeds in a band.

    ``panels`` holds by the panel's title, and there by model, ``(seconds, rows, there)``: a row of bits per byte for
    each seed, and when their mean is where that of ``baseline`` ends, or None; a ring marks that on a dotted line.
    """
    figure = Figure(figsize=(7.4, 3.6), dpi=120, layout="constrained")
    every = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    figure.suptitle(title, fontsize=FONT + 1)
    words = []
    for axes, (name, models) in zip(every, panels.items()):
        goal = np.mean(models[baseline][1], 0)[-1]
        said = []
        axes.axhline(goal, color=BLACK, linestyle=":", linewidth=1, alpha=0.7, label="_")
        for model, (colour, marker, line) in looks(models).items():
            seconds, rows, there = models[model]
            bits = np.mean(rows, 0)
            axes.fill_between(
                seconds, np.min(rows, 0), np.max(rows, 0), color=colour, alpha=0.2, linewidth=0
            )
            axes.plot(
                seconds,
                bits,
                linestyle=line,
                color=colour,
                marker=marker,
                markersize=3,
                label=model,
            )
            said.append(f"{model} ends at {bits[-1]:.2f}")
            if there is not None:
                axes.plot(
                    there, goal, "o", markersize=11, markerfacecolor="none", color=colour, label="_"
                )
                said[-1] += f", and is where {baseline} ends after {there:.0f} s"
        _style(axes, "training time in s", "", name)
        words.append(f"{name}: {', '.join(said)}")
    every[0].set_ylabel("bits per byte, held-out text", fontsize=FONT)
    handles = every[0].get_legend_handles_labels()
    figure.legend(
        *handles, fontsize=FONT, frameon=False, loc="outside lower center", ncols=len(handles[0])
    )
    return figure, f"Lines of bits per byte against training time. {'; '.join(words)}."


def scores_by_rate(grids, *, title, taken=None):
    """Score after short runs against the learning rate: ``grids`` holds by name ``{rate: bits per byte}``.

    ``taken`` holds by name the rate of the long runs; a ring marks it.
    """
    figure, axes = new_axes(
        height=3.6,
        xlabel="peak learning rate (logarithmic)",
        ylabel="bits per byte after the short run",
        title=title,
    )
    styles = looks(grids)
    words = []
    for name, grid in grids.items():
        colour, marker, line = styles[name]
        rates = sorted(grid)
        axes.plot(
            rates,
            [grid[r] for r in rates],
            linestyle=line,
            color=colour,
            marker=marker,
            linewidth=1.6,
            label=name,
        )
        best = min(grid, key=grid.get)
        words.append(f"{name} is best at {best:g} with {grid[best]:.2f}")
        if taken and name in taken:
            rings = sum(
                taken.get(other) == taken[name] for other in list(grids)[: list(grids).index(name)]
            )
            axes.plot(
                taken[name],
                grid[taken[name]],
                "o",
                markersize=14 + 7 * rings,
                markerfacecolor="none",
                color=colour,
                label="_",
            )
            words[-1] += f", and {taken[name]:g} is taken"
    axes.set_xscale("log", base=2)
    for name, grid in grids.items():  # the name at the higher end of its line
        rate = max((min(grid), max(grid)), key=grid.get)
        axes.annotate(
            name,
            (rate, grid[rate]),
            xytext=(0, 9),
            textcoords="offset points",
            fontsize=FONT,
            ha="center",
            color=styles[name][0],
        )
    axes.margins(x=0.09, y=0.12)
    ticks = sorted({rate for grid in grids.values() for rate in grid})
    axes.set_xticks(ticks, [f"{rate:g}" for rate in ticks])
    axes.minorticks_off()
    return figure, f"Lines of bits per byte against the learning rate: {'; '.join(words)}."


def loss_in_chunks(curves, C, *, title):
    """Bits per byte against the position in the window, with a thin upright line at each border of chunks of C.

    ``curves`` holds by name the means over equal stretches of the window: ``(length of the window, means)``.
    """
    figure, axes = new_axes(
        height=3.6, xlabel="position in the window, in bytes", ylabel="bits per byte", title=title
    )
    words = []
    styles = looks(curves)
    T = max(length for length, _ in curves.values())
    for border in range(C, T, C):
        axes.axvline(border, color=BLACK, linewidth=0.7, linestyle=":", label="_")
    for name, (length, bits) in curves.items():
        colour, marker, line = styles[name]
        bits, width = np.asarray(bits), length // len(bits)
        middle = width * (np.arange(len(bits)) + 0.5)
        axes.plot(
            middle,
            bits,
            linestyle=line,
            color=colour,
            marker=marker,
            markersize=4,
            linewidth=1.4,
            label=name,
        )
        place = middle % C
        later = middle > C
        first, second = (bits[later & part].mean() for part in (place < C / 2, place >= C / 2))
        words.append(f"{name} has {first:.2f} in first halves and {second:.2f} in second halves")
    axes.legend(fontsize=FONT - 1, frameon=False)
    return (
        figure,
        f"Lines of bits per byte by position, chunks of {C} behind the first one: {'; '.join(words)}.",
    )


def bits_along_window(panels, T, *, level, title):
    """Bits per byte against the position in windows of T, a thin line for each seed: places that a mean would hide.

    ``panels`` holds by the panel's title ``(border, lines)``: the longest window that was trained, drawn as an upright
    line, and by name a row for each seed of means over equal stretches. ``level``: name and height of a level line.
    """
    figure = Figure(figsize=(7.4, 3.9), dpi=120, layout="constrained")
    every = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    words = []
    mark, height = level
    figure.suptitle(title, fontsize=FONT + 1)
    for axes, (panel, (border, lines)) in zip(every, panels.items()):
        axes.axvline(border, color=BLACK, linewidth=1, linestyle=":", label="_")
        axes.axhline(height, color=BLACK, linewidth=1, linestyle=(0, (5, 3)), label="_")
        said = []
        for name, (colour, marker, line) in looks(lines).items():
            rows = np.asarray(lines[name])
            middle = T / rows.shape[1] * (np.arange(rows.shape[1]) + 0.5)
            for seed, row in enumerate(rows):
                axes.plot(
                    middle,
                    row,
                    linestyle=line,
                    color=colour,
                    marker=marker,
                    markersize=3.5,
                    linewidth=1.2,
                    label="_" if seed else name,
                )
            ends = [", ".join(f"{bits:.2f}" for bits in rows[:, place]) for place in (0, -1)]
            said.append(f"{name} from {ends[0]} to {ends[1]}")
        _style(axes, "position in the window, in bytes", "", panel)
        axes.set_xlim(0, 1.01 * T)
        axes.set_xticks(
            [border, *range(T // 4, T + 1, T // 4)][border in range(T // 4, T + 1, T // 4) :]
        )
        axes.xaxis.set_major_formatter("{x:,.0f}")
        words.append(f"{panel}, first and last stretch by seed: {'; '.join(said)}")
    every[-1].annotate(
        f"{mark}, {height:.2f}",
        (T, height),
        xytext=(0, -5),
        textcoords="offset points",
        ha="right",
        va="top",
        fontsize=FONT,
    )
    every[0].set_ylim(bottom=0)
    every[0].set_ylabel("bits per byte, held-out text", fontsize=FONT)
    handles = every[0].get_legend_handles_labels()
    figure.legend(
        *handles, fontsize=FONT, frameon=False, loc="outside lower center", ncols=len(handles[0])
    )
    return (
        figure,
        f"Lines of bits per byte by position in windows of {T:,}. {'. '.join(words)}. {mark}: {height:.2f}.",
    )


def bits_in_chunk(profiles, ends, *, title):
    """Bits per byte against the position in a chunk, in groups of positions that get longer.

    ``ends`` are the ends of the groups, from 0 on; ``profiles`` holds by name a number for each group, or a row of
    numbers for each seed, which are drawn as their mean in a band from the best to the worst. Positions count from 1.
    """
    figure, axes = new_axes(
        height=3.8,
        xlabel="position in the chunk: bytes of its own chunk that a byte reads",
        ylabel="bits per byte",
        title=title,
    )
    styles = looks(profiles)
    words = []
    places = np.arange(len(ends) - 1)
    names = [f"{b}" if b == a + 1 else f"{a + 1}-{b}" for a, b in pairwise(ends)]
    means = {name: np.atleast_2d(rows).mean(0) for name, rows in profiles.items()}
    for name, rows in profiles.items():
        colour, marker, line = styles[name]
        rows = np.atleast_2d(rows)
        bits = means[name]
        axes.fill_between(places, rows.min(0), rows.max(0), color=colour, alpha=0.2, linewidth=0)
        axes.plot(
            places,
            bits,
            linestyle=line,
            color=colour,
            marker=marker,
            markersize=6,
            linewidth=1.8,
            label=name,
        )
        words.append(
            f"{name} from {bits[0]:.2f} at position {names[0]} to {bits[-1]:.2f} at {names[-1]}"
        )
    labels = [(bits[0], 0, name, styles[name][0]) for name, bits in means.items()]
    _label_lines(axes, labels, ha="right", away=-9)
    axes.set_xlim(-0.35 - 0.115 * max(map(len, profiles)) * len(places) / 8, len(places) - 0.5)
    axes.set_xticks(places, names)
    axes.spines["bottom"].set_bounds(-0.2, len(places) - 0.6)
    axes.spines["left"].set_visible(False)
    return figure, f"Lines of bits per byte by the position in a chunk: {'; '.join(words)}."


def _label_lines(axes, labels, ha="left", away=6):
    """Names beside the ends ``(height, place, text, colour)`` of lines, each lifted off the one below it."""
    low, high = axes.get_ylim()
    below = -np.inf
    for end, place, text, colour in sorted(labels):
        height = max(end, below + 0.065 * (high - low))
        axes.annotate(
            text,
            (place, height),
            xytext=(away, 0),
            textcoords="offset points",
            fontsize=FONT,
            ha=ha,
            va="center",
            color=colour,
        )
        below = height


def open_shares(runs, *, title):
    """Share of attention weights above zero over the first updates: ``runs`` holds by name (updates, {unit: shares}).

    The axis is logarithmic; a unit that reads nothing is a cross on the lowest line.
    """
    figure = Figure(figsize=(7.0, 3.8), dpi=120, layout="constrained")
    panels = figure.subplots(1, len(runs), sharey=True, squeeze=False)[0]
    figure.suptitle(title, fontsize=FONT + 1)
    words, none = [], 0.003
    for axes, (name, (updates, units)) in zip(panels, runs.items()):
        for (unit, shares), (colour, marker, line) in zip(units.items(), looks(units).values()):
            percent = np.maximum(100 * np.array(shares), none)
            axes.plot(
                updates,
                percent,
                linestyle=line,
                color=colour,
                marker=marker,
                markersize=4,
                label=unit,
            )
            dead = percent == none
            axes.plot(np.array(updates)[dead], percent[dead], "x", color=BLACK, markersize=8)
        ends = ", ".join(f"{unit} {100 * shares[-1]:.2f}%" for unit, shares in units.items())
        words.append(f"{name} at the end {ends}")
        _style(axes, "update", "", name)
        axes.set_yscale("log")
        axes.set_ylim(0.7 * none, 150)
        axes.set_yticks(
            [none, 0.01, 0.1, 1, 10, 100], ["none", "0.01%", "0.1%", "1%", "10%", "100%"]
        )
        axes.minorticks_off()
    panels[0].set_ylabel("share of attention weights\nabove zero", fontsize=FONT)
    figure.legend(
        *panels[-1].get_legend_handles_labels(),
        fontsize=FONT,
        frameon=False,
        loc="outside lower center",
        ncols=4,
    )
    return figure, f"Lines of the share of weights above zero: {'; '.join(words)}."
