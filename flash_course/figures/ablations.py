"""Ablations: what is lost without a part, with its interval; and recall, across chunks and by the size of the state."""

import numpy as np

from .style import BLACK, BLUE, FONT, GREEN, VERMILION, looks, new_axes


def recall_by_distance(curves, chance, *, title, xlabel="tokens between key and question", ylabel="right answers"):
    """Right answers of several models: ``curves`` holds by name {distance: share}; ``chance`` is drawn as a line."""
    figure, axes = new_axes(xlabel=xlabel, ylabel=ylabel, title=title)
    styles, words = looks(curves), []
    for name, curve in curves.items():
        colour, marker, style = styles[name]
        x, y = list(curve), list(curve.values())
        axes.plot(x, y, linestyle=style, marker=marker, color=colour, markersize=5, linewidth=1.8, label=name)
        words.append(f"{name} from {y[0]:.2f} at {x[0]:g} to {y[-1]:.2f} at {x[-1]:g}")
    axes.axhline(chance, color=BLACK, linewidth=1, linestyle=(0, (5, 3)), label=f"chance, {chance:.2f}")
    axes.set_ylim(0, 1.05)
    axes.legend(fontsize=FONT - 1, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure, f"Line plot, share of right answers: {', '.join(words)}; a line at chance, {chance:.2f}."


def recall_by_state(curves, chance, *, title):
    """Right answers against the numbers that a unit keeps: ``curves`` holds by name {numbers: share of each seed}.

    A line leads through the means, an upright stroke from the worst seed to the best; ``chance`` is drawn as a line.
    """
    figure, axes = new_axes(height=4.4, xlabel="numbers in a unit's state", ylabel="right answers", title=title)
    styles, words = looks(curves), []
    for name, curve in curves.items():
        colour, marker, line = styles[name]
        sizes, means = sorted(curve), [float(np.mean(curve[size])) for size in sorted(curve)]
        axes.vlines(sizes, *zip(*((min(curve[s]), max(curve[s])) for s in sizes)), color=colour, linewidth=1)
        axes.plot(sizes, means, linestyle=line, marker=marker, color=colour, markersize=6, linewidth=1.8, label=name)
        words.append(f"{name} from {means[0]:.2f} at {sizes[0]:,} to {means[-1]:.2f} at {sizes[-1]:,}")
    axes.axhline(chance, color=BLACK, linewidth=1, linestyle=(0, (5, 3)), label=f"chance, {chance:.2f}")
    axes.set_xscale("log", base=2)
    ticks = [2**i for i in range(8, 16) if axes.get_xlim()[0] <= 2**i <= axes.get_xlim()[1]]
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.set_ylim(0, 1.05)
    axes.legend(fontsize=FONT - 1, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure, f"Right answers by numbers in the state: {'; '.join(words)}; a line at chance, {chance:.2f}."


def losses_with_chance(curves, chance, *, window=10, title):
    """Cross-entropy in nats of several training runs, smoothed, and the loss of a model that guesses."""
    figure, axes = new_axes(height=3.2, xlabel="update", ylabel="loss in nats", title=title)
    styles, words = looks(curves), []
    for name, losses in curves.items():
        colour, marker, style = styles[name]
        mean = np.convolve(losses, np.full(window, 1 / window), mode="valid")
        axes.plot(np.arange(window, len(losses) + 1), mean, linestyle=style, marker=marker, markevery=window,
                  color=colour, markersize=5, linewidth=2, label=name)  # fmt: skip
        words.append(f"{name} from {mean[0]:.2f} to {mean[-1]:.2f}")
    axes.axhline(chance, color=BLACK, linewidth=1, linestyle=(0, (5, 3)), label=f"guessing, {chance:.2f}")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=FONT - 1, frameon=False)
    return figure, f"Line plot of the loss over the updates: {', '.join(words)}; a line at {chance:.2f} for guessing."


def paired_differences(rows, *, title, unit="bits per byte", span=None):
    """What each change costs: ``rows`` holds by name (three differences, their mean, half of the 95% interval, sign).

    The sign is the paper's direction, drawn in the margin: +1 worse, -1 better, 0 not in the paper. ``span``: the ends
    of the axis; what lies beyond is cut off, and an arrow says so.
    """
    figure, axes = new_axes(
        width=7.4, height=0.36 * len(rows) + 1.2, xlabel=f"change in {unit} (to the right: worse)", title=title
    )
    reach = max(abs(mean) + half for _, mean, half, _ in rows.values())
    low, high = span or (-reach, reach)
    margin, words = high + 0.1 * (high - low), []
    for y, (name, (differences, mean, half, sign)) in enumerate(rows.items()):
        settled = abs(mean) > half
        colour = BLACK if not settled else VERMILION if mean > 0 else BLUE
        ends = max(mean - half, low), min(mean + half, high)
        axes.errorbar(mean, y, xerr=[[mean - ends[0]], [ends[1] - mean]], fmt="s" if settled else "o", capsize=4,
                      color=colour, linewidth=1.8, markersize=6, markerfacecolor=colour if settled else "white",
                      zorder=3)  # fmt: skip
        beyond = ((low, "<", mean - half < low), (high, ">", mean + half > high))
        cut = [(end, arrow) for end, arrow, is_so in beyond if is_so]
        for end, arrow in cut:
            axes.plot(end, y, arrow, color=colour, markersize=6, label=f"_{arrow} {name}")
        inside = [d for d in differences if low <= d <= high]
        axes.plot(inside, [y + 0.25] * len(inside), "|", color=colour, markersize=7, label=f"_{name}")
        if sign:
            axes.plot(margin, y, ">" if sign > 0 else "<", color=GREEN, markersize=8, label=f"_paper {name}")
        words.append(f"{name} {mean:+.3f} ± {half:.3f}" + (", cut off" if cut else ""))
    axes.axvline(0, color=BLACK, linewidth=1)
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set_ylim(len(rows) - 0.4, -0.9)
    axes.set_xlim(low - 0.03 * (high - low), margin + 0.07 * (high - low))
    axes.text(margin, -0.65, "paper", ha="center", va="center", fontsize=FONT - 1, color=GREEN)
    return figure, f"Points with 95% intervals, change in {unit}: {'; '.join(words)}. Hollow where the bar holds zero."
