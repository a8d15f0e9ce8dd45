"""Cost against length: several machines side by side, crossovers, chunk sizes, and benchmarks that flatter."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from .style import BLACK, BLUE, FONT, SKY, looks, new_axes

# vertical lines, by a word of the name
CROSSINGS = {
    "plain": (0, (6, 2)),
    "fused": (0, (4, 2, 1, 2)),
    "": (0, (1, 1)),
}


def _number(value):
    """Three digits or all whole ones, never with an exponent."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _logarithmic(axes, lengths):
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    lengths = sorted(lengths)
    axes.set_xlim(lengths[0] * 0.85, lengths[-1] * 1.2)
    axes.set_xticks(lengths, [f"{T:,}" for T in lengths])
    axes.minorticks_off()
    low, high = axes.get_ylim()
    for digits in ((1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7)):  # at least three marks
        ticks = [t for t in (d * 10.0**p for p in range(-3, 9) for d in digits) if low <= t <= high]
        if len(ticks) > 2:
            break
    axes.set_yticks(ticks)
    axes.yaxis.set_major_formatter("{x:,g}")
    axes.tick_params(which="both", labelsize=FONT - 1)


def _name_lines(axes, ends):
    """Names at the right ends of lines, ``ends`` by name ``(x, y, colour)``; each is lifted off the one below it.

    Both axes are logarithmic, and are made wider for the names.
    """
    first, last = axes.get_xlim()
    low, high = axes.get_ylim()
    tall = np.log(high / low)
    below = -np.inf
    for name, (x, y, colour) in sorted(ends.items(), key=lambda item: item[1][1]):
        below = max(np.log(y / low) / tall, below + 0.07)
        axes.annotate(
            name,
            (x, low * np.exp(below * tall)),
            xytext=(8, 0),
            textcoords="offset points",
            fontsize=FONT,
            va="center",
            color=colour,
        )
    ticks = axes.get_xticks()
    axes.set_xlim(first, last * (last / first) ** (0.028 * max(map(len, ends))))
    axes.set_ylim(low, high)
    axes.spines["bottom"].set_bounds(first, ticks[-1])


def _line_of_a_model(axes, name, points, style):
    colour, marker, line = style
    axes.plot(
        *zip(*points),
        linestyle=line,
        marker=marker,
        color=colour,
        linewidth=1.8,
        markersize=6,
        label=name,
    )


def _name_inside(axes, name, place, colour):
    """The name of a line that ends before the others."""
    axes.annotate(
        name,
        place,
        xytext=(-6, 6),
        textcoords="offset points",
        ha="right",
        fontsize=FONT,
        color=colour,
    )


def _crosses(axes, lengths, y, colour):
    axes.plot(
        lengths,
        [y] * len(lengths),
        marker="x",
        linestyle="none",
        color=colour,
        markersize=9,
        markeredgewidth=2,
    )


def _does_not_fit(axes, place):
    axes.annotate(
        "does not fit",
        place,
        xytext=(-8, 0),
        textcoords="offset points",
        fontsize=FONT,
        ha="right",
        va="center",
    )


def _first_and_last(name, known, missing):
    (first, low), (last, high) = known[0], known[-1]
    said = f"{name} from {_number(low)} at T = {first} to {_number(high)} at {last}"
    return said + (f", does not fit at {', '.join(map(str, missing))}" if missing else "")


def _lines_of_crossings(axes, crossings):
    """An upright line at each crossing, named in a legend; each in words."""
    said = []
    for name, T in crossings.items():
        look = next(look for word, look in CROSSINGS.items() if word in name)
        if T is not None:
            axes.axvline(
                T,
                color=BLACK,
                linewidth=1.2,
                linestyle=look,
                label=f"{name}: {T:,.0f}",
                zorder=1,
            )
        said.append(f"{name}: {'none here' if T is None else f'T = {T:.0f}'}")
    upright = [line for line in axes.lines if line.get_label().partition(":")[0] in crossings]
    if upright:  # below the axis, since names of lines near each other would cover a curve
        axes.legend(
            handles=upright,
            fontsize=FONT - 1,
            frameon=False,
            ncols=len(upright),
            handlelength=3,
            loc="upper center",
            bbox_to_anchor=(0.5, -0.17),
        )
    return said


def cost_against_length(panels, *, ylabel, title):
    """One panel for each machine or count: a line a model against T, vertical lines where two of them meet.

    ``panels`` holds by name ``(lines, crossings)``: ``lines`` by name points ``(T, value)``, where None stands for a
    run that does not fit in memory and is drawn as a cross at the top; ``crossings`` by name a T, or None. Names stand
    at the lines.
    """
    figure = Figure(figsize=(6.2 * len(panels), 3.7), dpi=110, layout="constrained")
    words = []
    styles = looks(dict.fromkeys(name for lines, _ in panels.values() for name in lines))
    for axes, (panel, (lines, crossings)) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels.items()
    ):
        highest = max(
            value for points in lines.values() for _, value in points if value is not None
        )
        said, ends, lost = [], {}, []
        for name, points in lines.items():
            known = [(T, value) for T, value in points if value is not None]
            missing = [T for T, value in points if value is None]
            _line_of_a_model(axes, name, known, styles[name])
            if known[-1][0] == points[-1][0]:
                ends[name] = (*known[-1], styles[name][0])
            else:
                _name_inside(axes, name, known[-1], styles[name][0])
            if missing:
                lost.append((missing[0], 1.25 * highest))
                _crosses(axes, missing, 1.25 * highest, styles[name][0])
            said.append(_first_and_last(name, known, missing))
        _logarithmic(axes, {T for points in lines.values() for T, _ in points})
        for place in lost[:1]:
            _does_not_fit(axes, place)
        said += _lines_of_crossings(axes, crossings)
        _name_lines(axes, ends)
        axes.set_xlabel("T, tokens in a sequence", fontsize=FONT)
        axes.set_ylabel(ylabel, fontsize=FONT)
        axes.set_title(panel, fontsize=FONT)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        words.append(f"{f'{panel}: ' if panel else ''}{'; '.join(said)}")
    figure.suptitle(title, fontsize=FONT + 1)
    return figure, f"Line plots, both axes logarithmic, of {ylabel} against T. {'. '.join(words)}."


def speedups(curves, *, title):
    """A row for each comparison, a column for each T: how many times as fast FLASH is as its baseline.

    ``curves`` holds by name points ``(T, ratio)``; hatched squares are those where FLASH is the slower one.
    """
    lengths = sorted({T for points in curves.values() for T, _ in points})
    figure = Figure(figsize=(6.6, 1.2 + 0.34 * len(curves)), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    for y, points in enumerate(curves.values()):
        for T, ratio in points:
            x = lengths.index(T)
            faster = ratio >= 1
            axes.add_patch(
                Rectangle(
                    (x, y),
                    1,
                    1,
                    facecolor=SKY if faster else "white",
                    hatch="" if faster else "///",
                    edgecolor="#AAAAAA",
                    linewidth=1,
                )
            )
            axes.text(
                x + 0.5,
                y + 0.5,
                f"{ratio:.2f}",
                ha="center",
                va="center",
                fontsize=FONT + 1,
                bbox=None if faster else {"facecolor": "white", "edgecolor": "none", "pad": 1.5},
            )
    axes.set(xlim=(0, len(lengths)), ylim=(len(curves), 0))
    axes.set_xticks(np.arange(len(lengths)) + 0.5, [f"{T:,}" for T in lengths])
    axes.set_yticks(np.arange(len(curves)) + 0.5, curves)
    axes.set_xlabel("T, tokens in a sequence", fontsize=FONT)
    axes.tick_params(labelsize=FONT, length=0)
    axes.spines[:].set_visible(False)
    figure.suptitle(title, fontsize=FONT + 1)
    kinds = {"FLASH is faster": (SKY, ""), "FLASH is slower": ("white", "///")}
    marks = [
        Patch(facecolor=c, hatch=h, edgecolor="#AAAAAA", label=name)
        for name, (c, h) in kinds.items()
    ]
    figure.legend(
        handles=marks, fontsize=FONT - 1, frameon=False, loc="outside lower center", ncols=2
    )
    said = "; ".join(
        f"{name} from {points[0][1]:.2f} at T = {points[0][0]} to {points[-1][1]:.2f} at {points[-1][0]}"
        for name, points in curves.items()
    )
    return (
        figure,
        f"Table of the baseline's time over FLASH's, blue where it is 1 or more, against T: {said}.",
    )


def chunk_costs(sizes, counts, milliseconds, *, title):
    """Against C, each over its own smallest value: counts (by name a number for each C), and the measured time."""
    figure, axes = new_axes(6.2, 3.5, "C, tokens in a chunk", "times the smallest value", title)
    lines = {"time, measured": milliseconds} | counts
    styles = looks(lines)
    words = []
    ends = {}
    for name, values in lines.items():
        colour, marker, line = styles[name]
        ratio = np.asarray(values, float) / min(values)
        axes.plot(
            sizes,
            ratio,
            linestyle=line,
            marker=marker,
            color=colour,
            linewidth=1.8,
            markersize=6,
            label=name,
        )
        ends[name] = (sizes[-1], ratio[-1], colour)
        words.append(
            f"{name} is least at C = {sizes[int(np.argmin(ratio))]}, largest {_number(ratio.max())} times that"
        )
    _logarithmic(axes, sizes)
    _name_lines(axes, ends)
    return (
        figure,
        f"Line plot, both axes logarithmic, against C from {sizes[0]} to {sizes[-1]}: {'; '.join(words)}.",
    )


def flattering_choices(choices, *, title):
    """From the honest speed-up to the one that a choice reports: ``choices`` holds by name (honest, reported, kind).

    Both numbers of a row are of one kind, such as "counted" or "stored", which is written below its name.
    """
    figure, axes = new_axes(6.2, 1.2 + 0.5 * len(choices), "speed-up of FLASH (logarithmic)")
    figure.suptitle(title, fontsize=FONT + 1)
    for y, (honest, reported, _) in enumerate(choices.values()):
        axes.annotate(
            "",
            (reported, y),
            (honest, y),
            arrowprops={"arrowstyle": "->", "color": BLUE, "linewidth": 1.4},
        )
        for ratio, fill, side in (
            (honest, "none", reported >= honest),
            (reported, "full", reported < honest),
        ):
            axes.plot(
                [ratio], [y], linestyle="none", marker="o", color=BLUE, markersize=8, fillstyle=fill
            )
            axes.annotate(
                f"{ratio:.2f}",
                (ratio, y),
                xytext=(-8 if side else 8, 0),
                textcoords="offset points",
                va="center",
                ha="right" if side else "left",
                fontsize=FONT,
            )
            if not y:  # above the first row, where no number stands
                axes.annotate(
                    "honest" if fill == "none" else "reported",
                    (ratio, y),
                    xytext=(0, 9),
                    textcoords="offset points",
                    ha="center",
                    fontsize=FONT,
                )
    axes.set_yticks(
        range(len(choices)), [f"{name}\n({kind})" for name, (_, _, kind) in choices.items()]
    )
    axes.set_ylim(len(choices) - 0.5, -0.7)
    axes.set_xscale("log")
    every = [ratio for both in choices.values() for ratio in both[:2]]
    low = min(every) / 2
    high = max(every) * 1.7
    axes.set_xlim(low, high)
    ticks = [t for t in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50) if low <= t <= high]
    axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
    axes.minorticks_off()
    axes.tick_params(labelsize=FONT - 1)
    said = "; ".join(
        f"{name}: {reported:.2f} for {honest:.2f} ({kind})"
        for name, (honest, reported, kind) in choices.items()
    )
    return (
        figure,
        f"Arrows on a logarithmic axis, from the honest speed-up to the reported one. {said}.",
    )
