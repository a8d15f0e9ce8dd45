"""Cost against length: several machines side by side, crossovers, chunk sizes, and benchmarks that flatter."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from .style import BLACK, BLUE, FONT, GREEN, SKY, VERMILION, looks, new_axes

CROSSINGS = {"plain": (0, (6, 2)), "fused": (0, (4, 2, 1, 2)), "": (0, (1, 1))}  # vertical lines, by a word of the name


def _number(value):
    """Three digits or all whole ones, never with an exponent."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _logarithmic(axes, lengths):
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    lengths = sorted(lengths)
    axes.set_xlim(lengths[0] * 0.85, lengths[-1] * 1.2)
    shown = lengths if len(lengths) < 7 else lengths[:: 2 if len(lengths) % 2 else -2]
    axes.set_xticks(shown, [f"{T:,}" for T in shown])
    axes.minorticks_off()
    low, high = axes.get_ylim()
    for digits in ((1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7)):  # at least three marks
        ticks = [t for t in (d * 10.0**p for p in range(-3, 9) for d in digits) if low <= t <= high]
        if len(ticks) > 2:
            break
    axes.set_yticks(ticks)
    axes.yaxis.set_major_formatter("{x:,g}")
    axes.tick_params(which="both", labelsize=FONT - 1)


def cost_against_length(panels, *, ylabel, title):
    """One panel for each machine or count: a line a model against T, vertical lines where two of them meet.

    ``panels`` holds by name ``(lines, crossings)``: ``lines`` by name points ``(T, value)``, where None stands for a
    run that does not fit in memory and is drawn as a cross at the top; ``crossings`` by name a T, or None. Names stand
    in a legend; in a single panel of lines alone they stand at the lines' ends.
    """
    (lines, crossings), *others = panels.values()
    direct = not (others or crossings) and all(value is not None for points in lines.values() for _, value in points)
    width, height = (5.0 * len(panels), 4.3) if len(panels) > 1 else (6.2, 3.5) if direct else (7.2, 4.3)
    figure = Figure(figsize=(width, height), dpi=110 if direct else 100, layout="constrained")
    words, styles = [], looks(dict.fromkeys(name for lines, _ in panels.values() for name in lines))
    for axes, (panel, (lines, crossings)) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items()):
        highest = max(value for points in lines.values() for _, value in points if value is not None)
        said = []
        for name, points in lines.items():
            colour, marker, line = styles[name]
            known = [(T, value) for T, value in points if value is not None]
            axes.plot(
                *zip(*known), linestyle=line, marker=marker, color=colour, linewidth=1.8, markersize=6, label=name
            )
            missing = [T for T, value in points if value is None]
            if missing:
                axes.plot(
                    missing, [1.25 * highest] * len(missing), marker="x", linestyle="none", color=colour,
                    markersize=9, markeredgewidth=2,
                )  # fmt: skip
            ends = (
                f"{name} from {_number(known[0][1])} at T = {known[0][0]} to {_number(known[-1][1])} at {known[-1][0]}"
            )
            said.append(ends + (f", does not fit at {', '.join(map(str, missing))}" if missing else ""))
        for name, T in crossings.items():
            line = next(look for word, look in CROSSINGS.items() if word in name)
            if T is not None:
                axes.axvline(T, color=BLACK, linewidth=1.3, linestyle=line, label=f"{name}: {T:,.0f}")
            said.append(f"{name}: {'none here' if T is None else f'T = {T:.0f}'}")
        _logarithmic(axes, {T for points in lines.values() for T, _ in points})
        axes.set_xlabel("T, tokens in a sequence", fontsize=FONT)
        axes.set_ylabel(ylabel, fontsize=FONT)
        axes.set_title(panel, fontsize=FONT)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        words.append(f"{f'{panel}: ' if panel else ''}{'; '.join(said)}")
        if direct:
            first, last = min(axes.get_xticks()), max(axes.get_xticks())
            for name, points in lines.items():
                axes.annotate(
                    name, points[-1], xytext=(9, 0), textcoords="offset points", fontsize=FONT, va="center",
                    color=styles[name][0],
                )  # fmt: skip
            room = 0.025 * max(map(len, lines))  # of the width, for names at the ends
            axes.set_xlim(0.85 * first, 1.1 * last * (last / first) ** room)
            axes.spines["bottom"].set_bounds(0.85 * first, last)
            continue
        handles, _ = axes.get_legend_handles_labels()
        if any(value is None for points in lines.values() for _, value in points):
            handles.append(
                Line2D([], [], color=BLACK, marker="x", markeredgewidth=2, linestyle="none", label="does not fit")
            )
        axes.legend(
            handles=handles, fontsize=FONT - 1, frameon=False, loc="upper center", bbox_to_anchor=(0.46, -0.17),
            ncols=2, columnspacing=1.2,
        )  # fmt: skip
    figure.suptitle(title, fontsize=FONT + 1)
    return figure, f"Line plots, both axes logarithmic, of {ylabel} against T. {'. '.join(words)}."


def speedups(curves, *, title):
    """A row for each comparison, a column for each T: how many times as fast FLASH is as its rival.

    ``curves`` holds by name points ``(T, ratio)``; hatched squares are those where FLASH is the slower one.
    """
    lengths = sorted({T for points in curves.values() for T, _ in points})
    figure = Figure(figsize=(8.0, 1.3 + 0.4 * len(curves)), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    for y, points in enumerate(curves.values()):
        for T, ratio in points:
            x, faster = lengths.index(T), ratio >= 1
            axes.add_patch(Rectangle(
                (x, y), 1, 1, facecolor=SKY if faster else "white", hatch="" if faster else "///",
                edgecolor="#AAAAAA", linewidth=1,
            ))  # fmt: skip
            axes.text(
                x + 0.5, y + 0.5, f"{ratio:.2f}", ha="center", va="center", fontsize=FONT + 1,
                bbox=None if faster else {"facecolor": "white", "edgecolor": "none", "pad": 1.5},
            )  # fmt: skip
    axes.set(xlim=(0, len(lengths)), ylim=(len(curves), 0))
    axes.set_xticks(np.arange(len(lengths)) + 0.5, [f"{T:,}" for T in lengths])
    axes.set_yticks(np.arange(len(curves)) + 0.5, curves)
    axes.set_xlabel("T, tokens in a sequence", fontsize=FONT)
    axes.tick_params(labelsize=FONT, length=0)
    axes.spines[:].set_visible(False)
    figure.suptitle(title, fontsize=FONT + 1)
    kinds = {"FLASH is faster": (SKY, ""), "FLASH is slower": ("white", "///")}
    marks = [Patch(facecolor=c, hatch=h, edgecolor="#AAAAAA", label=name) for name, (c, h) in kinds.items()]
    figure.legend(handles=marks, fontsize=FONT - 1, frameon=False, loc="outside lower center", ncols=2)
    said = "; ".join(
        f"{name} from {points[0][1]:.2f} at T = {points[0][0]} to {points[-1][1]:.2f} at {points[-1][0]}"
        for name, points in curves.items()
    )
    return figure, f"Table of the rival's time over FLASH's, blue where it is 1 or more, against T: {said}."


def chunk_costs(sizes, counts, milliseconds, *, title):
    """Against C, each over its own smallest value: counts (by name a number for each C), and the measured time."""
    figure, axes = new_axes(7.6, 4.0, "C, tokens in a chunk (logarithmic)", "times the smallest value", title)
    lines = {"time, measured": milliseconds} | counts
    styles, words = looks(lines), []
    for name, values in lines.items():
        colour, marker, line = styles[name]
        ratio = np.asarray(values, float) / min(values)
        axes.plot(sizes, ratio, linestyle=line, marker=marker, color=colour, linewidth=1.8, markersize=6, label=name)
        words.append(
            f"{name} is least at C = {sizes[int(np.argmin(ratio))]}, largest {_number(ratio.max())} times that"
        )
    _logarithmic(axes, sizes)
    axes.legend(fontsize=FONT - 1, frameon=False)
    return figure, f"Line plot, both axes logarithmic, against C from {sizes[0]} to {sizes[-1]}: {'; '.join(words)}."


def flattering_choices(choices, *, title):
    """From the honest speed-up to the one that a choice reports: ``choices`` holds by name (honest, reported, kind).

    Both numbers of a row are of one kind: "measured here", "counted" or "stored".
    """
    kinds = {"measured here": (BLUE, "o"), "counted": (VERMILION, "s"), "stored": (GREEN, "^")}
    figure, axes = new_axes(8.0, 1.3 + 0.42 * len(choices), "speed-up of FLASH")
    figure.suptitle(title, fontsize=FONT + 1)
    for y, (honest, reported, kind) in enumerate(choices.values()):
        colour, marker = kinds[kind]
        axes.annotate(
            "", (reported, y), (honest, y), arrowprops={"arrowstyle": "->", "color": colour, "linewidth": 1.4}
        )
        for ratio, fill, side in ((honest, "none", reported >= honest), (reported, "full", reported < honest)):
            axes.plot([ratio], [y], linestyle="none", marker=marker, color=colour, markersize=8, fillstyle=fill)
            axes.annotate(
                f"{ratio:.2f}", (ratio, y), xytext=(-8 if side else 8, 0), textcoords="offset points",
                va="center", ha="right" if side else "left", fontsize=FONT - 1,
            )  # fmt: skip
    axes.set_yticks(range(len(choices)), choices)
    axes.set_ylim(len(choices) - 0.5, -0.5)
    axes.set_xscale("log")
    every = [ratio for both in choices.values() for ratio in both[:2]]
    low, high = min(every) / 1.45, max(every) * 1.35
    axes.set_xlim(low, high)
    ticks = [t for t in (0.1, 0.2, 0.5, 1, 2, 3, 5, 10, 20, 50) if low <= t <= high]
    axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
    axes.minorticks_off()
    axes.tick_params(labelsize=FONT - 1)
    used = {kind for *_, kind in choices.values()}
    marks = [
        Line2D([], [], color=colour, marker=marker, linestyle="none", label=kind)
        for kind, (colour, marker) in kinds.items() if kind in used
    ]  # fmt: skip
    marks.append(Line2D([], [], color=BLACK, marker="o", fillstyle="none", linestyle="none", label="hollow: honest"))
    figure.legend(handles=marks, fontsize=FONT - 1, frameon=False, loc="outside lower center", ncols=4)
    said = "; ".join(
        f"{name}: {reported:.2f} for {honest:.2f} ({kind})" for name, (honest, reported, kind) in choices.items()
    )
    return figure, f"Arrows on a logarithmic axis, from the honest speed-up to the reported one. {said}."
