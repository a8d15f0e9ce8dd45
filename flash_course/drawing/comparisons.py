"""Pictures of comparisons: who wins at which length, how far a choice moves an answer, which signs turn round, and
intervals beside what a paper found."""

from .colours import BLACK, BLUE, SKY
from .plots import listed
from .style import FONT, WHITE, looks, new_axes

SMALL = FONT - 1


def wins_by_length(curves, *, xlabel, title):
    """A row of squares for each comparison: ``curves`` holds by name ``[(T, ratio)]``, and from 1 on a square is
    blue."""
    every_T = sorted({T for points in curves.values() for T, _ in points})
    figure, axes = new_axes(7.4, 3.6, xlabel, title=title)
    for y, points in enumerate(curves.values()):
        for T, ratio in points:
            _square(axes, every_T.index(T), y, ratio)
    axes.set_xticks([x + 0.5 for x in range(len(every_T))], [f"{T:,}" for T in every_T])
    axes.set_yticks(range(len(curves)), list(curves))
    axes.invert_yaxis()
    axes.grid(False)
    said = []
    for name, points in curves.items():
        (first, low), (last, high) = points[0], points[-1]
        said.append(f"{name} from {low:.2f} at T = {first} to {high:.2f} at {last}")
    return figure, f"Table of ratios against T, blue from 1 on: {'; '.join(said)}."


def _square(axes, x, y, ratio):
    look = {"color": "white", "hatch": "///"}
    if ratio >= 1:
        look = {"color": SKY, "hatch": ""}
    axes.barh(y, 1, height=1, left=x, edgecolor="darkgrey", **look)
    ground = {"facecolor": look["color"], "edgecolor": "none", "pad": 1.5}
    place = {"ha": "center", "va": "center", "fontsize": FONT + 1, "bbox": ground}
    axes.text(x + 0.5, y, f"{ratio:.2f}", **place)


def moved_answers(choices, ends, *, xlabel, title):
    """An arrow for each choice, from one answer to another on a logarithmic axis: ``choices`` holds by name both
    answers, and ``ends`` what they are called."""
    figure, axes = new_axes(6.6, 3.7, xlabel, title=title)
    said = []
    for y, (name, answers) in enumerate(choices.items()):
        arrow = {"arrowstyle": "->", "color": BLUE}
        axes.annotate("", (answers[1], y), (answers[0], y), arrowprops=arrow)
        for answer, end, fill in zip(answers, ends, ("none", "full")):
            axes.plot(answer, y, "o", color=BLUE, markersize=8, fillstyle=fill)
            called = f"{end} " * (y == 0)  # the two marks are named once
            axes.text(answer, y - 0.3, f"{called}{answer:.2f}", ha="center", fontsize=SMALL)
        said.append(f"{' '.join(name.split())}: from {answers[0]:.2f} to {answers[1]:.2f}")
    axes.set_yticks(range(len(choices)), list(choices))
    axes.set_ylim(len(choices) - 0.6, -0.8)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.margins(x=0.2)
    return figure, f"Arrows from the {ends[0]} to the {ends[1]} answer. {'; '.join(said)}."


def slopes(changes, ends, *, ylabel, title):
    """A line for each change from one number to another, across zero or not: ``changes`` holds by name the two numbers,
    and ``ends`` what was done left and right."""
    figure, axes = new_axes(7.0, 3.9, ylabel=ylabel, title=title)
    axes.axhline(0, color=BLACK, linewidth=1.2)
    styles = looks(changes)
    for name, (colour, marker, dashes) in styles.items():
        look = {"color": colour, "marker": marker, "linestyle": dashes, "linewidth": 2.2}
        axes.plot((0, 1), changes[name], markersize=8, label=name, **look)
    for side, x, away, ha in ((0, 0, -10, "right"), (1, 1, 10, "left")):
        heights = _apart({name: numbers[side] for name, numbers in changes.items()}, 0.036)
        for name, height in heights.items():
            text = f"{name}  {changes[name][0]:+.2f}" if side == 0 else f"{changes[name][1]:+.2f}"
            place = {"textcoords": "offset points", "ha": ha, "va": "center", "fontsize": FONT}
            axes.annotate(text, (x, height), (away, 0), color=styles[name][0], **place)
    axes.set_xlim(-0.75, 1.2)
    axes.set_xticks((0, 1), ends)
    axes.grid(axis="x", visible=False)
    axes.text(-0.73, 0.015, "worse ↑", va="bottom", fontsize=SMALL)
    axes.text(-0.73, -0.015, "better ↓", va="top", fontsize=SMALL)
    words = (
        f"{name} from {before:+.2f} to {after:+.2f}" for name, (before, after) in changes.items()
    )
    return figure, f"Lines from {ends[0]} to {ends[1]}, {ylabel}: {'; '.join(words)}.".replace(
        "\n", " "
    )


def _apart(heights, least):
    """The same heights, lifted where two would stand closer than ``least``."""
    lifted = {}
    below = float("-inf")
    for name, height in sorted(heights.items(), key=lambda item: item[1]):
        below = max(height, below + least)
        lifted[name] = below
    return lifted


def intervals(found, *, paper=None, xlabel, title):
    """A square with its interval for each comparison, filled where zero is outside: ``found`` holds by name a mean and
    its half-width. ``paper``: by name 1 or -1, the side on which another result lies; 0 if it is level."""
    paper = paper or {}
    figure, axes = new_axes(7.0, 0.5 + 0.38 * len(found), xlabel, title=title)
    edge = 1.12 * max(abs(each.mean) + each.half for each in found.values())
    for y, (name, each) in enumerate(found.items()):
        fill = BLACK if each.is_settled else "white"
        look = {"fmt": "s", "color": BLACK, "markerfacecolor": fill, "capsize": 4}
        axes.errorbar(each.mean, y, xerr=each.half, **look)
        if paper.get(name):
            axes.plot(edge, y, ">" if paper[name] > 0 else "<", color="grey")
    axes.axvline(0, color=BLACK, linewidth=1)
    axes.set_yticks(range(len(found)), list(found))
    axes.set_ylim(len(found) - 0.4, -1.0)
    if paper:
        axes.text(edge, -0.75, "paper", ha="center", fontsize=SMALL, bbox=WHITE)
    words = listed({name: each.mean for name, each in found.items()}, "{:+.3f}")
    clear = ", ".join(name for name, each in found.items() if each.is_settled) or "none"
    return figure, f"Points with 95% intervals: {words}. Zero is outside the interval of: {clear}."
