"""Ablations: what is lost without a part, with its interval; and recall, across chunks and by the size of the state."""

import numpy as np
from matplotlib.figure import Figure

from .style import BLACK, FONT, looks, new_axes


def recall_by_distance(curves, chance, *, title, xlabel="tokens between key and question"):
    """Accuracy of several models: ``curves`` holds by name {distance: share}; ``chance`` is drawn as a line."""
    figure, axes = new_axes(6.6, 3.6, xlabel, "accuracy", title)
    styles = looks(curves)
    words = []
    ends = []
    for name, curve in curves.items():
        colour, marker, style = styles[name]
        x = list(curve)
        y = list(curve.values())
        axes.plot(x, y, linestyle=style, marker=marker, color=colour, markersize=5, linewidth=1.8)
        ends.append((y[-1], name, colour))
        words.append(f"{name} from {y[0]:.2f} at {x[0]:g} to {y[-1]:.2f} at {x[-1]:g}")
    _chance_and_names(axes, chance, ends, max(max(curve) for curve in curves.values()))
    return figure, f"Line plot of the accuracy: {', '.join(words)}; a line at chance, {chance:.2f}."


def _chance_and_names(axes, chance, ends, x):
    """A line at chance, and each name at its curve's end ``(height, name, colour)``, lifted off the one below it."""
    axes.axhline(chance, color=BLACK, linewidth=1, linestyle=(0, (5, 3)))
    axes.set_ylim(0, 1.05)
    axes.set_xlim(right=1.015 * x)
    below = -1.0
    for height, name, colour in sorted([*ends, (chance, f"chance, {chance:.2f}", BLACK)]):
        below = max(height, below + 0.075)
        axes.annotate(
            name,
            (x, below),
            xytext=(10, 0),
            textcoords="offset points",
            va="center",
            fontsize=FONT + 1,
            color=colour,
            annotation_clip=False,
        )


def recall_by_state(panels, *, title):
    """Accuracy by the entries that a unit keeps: a panel for each number of pairs, and in it a row for each model.

    ``panels`` holds by number of pairs, and there by model, {entries: accuracies}. They are drawn as bars side by side,
    one for each seed; a dashed line in each row is a guess among the values that were shown, one of as many as pairs.
    """
    # the height of a bar that is always right
    models = next(iter(panels.values()))
    words = []
    full = 0.74
    figure = Figure(figsize=(7.6, 1.1 + 0.56 * len(models)), dpi=120, layout="constrained")
    styles = looks(models)
    every = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
    for axes, (pairs, curves) in zip(every, panels.items()):
        said = []
        for row, (name, curve) in enumerate(curves.items()):
            axes.axhline(-row, color=BLACK, linewidth=0.8)
            axes.axhline(-row + full, color=BLACK, linewidth=0.5, alpha=0.25)
            axes.axhline(-row + full / pairs, color=BLACK, linewidth=0.8, linestyle=(0, (5, 3)))
            for entries, seeds in sorted(curve.items()):
                places = entries * 2 ** (0.095 * (np.arange(len(seeds)) - (len(seeds) - 1) / 2))
                heights = full * np.array(seeds)
                axes.bar(
                    places,
                    heights,
                    0.05 * places,
                    -row,
                    color=styles[name][0],
                    edgecolor=BLACK,
                    linewidth=0.4,
                )
            said.append(
                f"{name} "
                + ", ".join(f"{np.mean(seeds):.2f} at {n:,}" for n, seeds in sorted(curve.items()))
            )
        words.append(f"{pairs} pairs: {'; '.join(said)}")
        axes.set_title(f"{pairs} pairs", fontsize=FONT)
        axes.set_xscale("log", base=2)
        axes.tick_params(labelsize=FONT - 1)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_axisbelow(True)
        axes.grid(axis="x", alpha=0.3)
    low, high = every[0].get_xlim()
    ticks = [2**i for i in range(9, 17, 2) if low <= 2**i <= high]
    every[0].set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    every[0].set_yticks([full / 2 - row for row in range(len(models))], models, fontsize=FONT)
    every[0].set_ylim(0.92 - len(models), 0.84)
    every[0].set_ylabel("accuracy, in each row from 0 to 1", fontsize=FONT)
    figure.supxlabel("entries in a unit's state (logarithmic)", fontsize=FONT)
    figure.suptitle(title, fontsize=FONT + 1)
    return (
        figure,
        f"Bars of the accuracy by entries in the state; means of three seeds. {'. '.join(words)}.",
    )


def losses_with_chance(curves, chance, *, window=10, title):
    """Cross-entropy in bits of several training runs, smoothed, and the loss of a model that guesses."""
    figure, axes = new_axes(6.2, 3.0, "update", "training loss, bits per answer", title)
    styles = looks(curves)
    words = []
    for name, losses in curves.items():
        colour, marker, style = styles[name]
        mean = np.convolve(losses, np.full(window, 1 / window), mode="valid")
        axes.plot(
            np.arange(window, len(losses) + 1),
            mean,
            linestyle=style,
            marker=marker,
            markevery=window,
            color=colour,
            markersize=5,
            linewidth=2,
        )
        below = mean[-1] < 0.8 * chance
        axes.annotate(
            name,
            (len(losses), mean[-1]),
            xytext=(8, 0 if below else -12),
            textcoords="offset points",
            va="center",
            fontsize=FONT + 1,
            color=colour,
            annotation_clip=False,
        )
        words.append(f"{name} from {mean[0]:.2f} to {mean[-1]:.2f}")
    axes.axhline(chance, color=BLACK, linewidth=1, linestyle=(0, (5, 3)))
    end = max(map(len, curves.values()))
    axes.annotate(
        f"a guess, {chance:.2f}",
        (end, chance),
        xytext=(8, 4),
        textcoords="offset points",
        va="center",
        fontsize=FONT + 1,
        annotation_clip=False,
    )
    axes.set_ylim(0, 1.2 * chance)
    axes.set_xlim(0, end)
    return (
        figure,
        f"Line plot of the loss over the updates: {', '.join(words)}; a line at {chance:.2f} for guessing.",
    )


def _interval(axes, y, name, mean, half, low, high):
    """A mean with its interval, cut off at ``low`` and ``high`` with an arrow; whether that was needed."""
    settled = abs(mean) > half
    left = max(mean - half, low)
    right = min(mean + half, high)
    axes.plot([left, right], [y, y], color=BLACK, linewidth=1.8, label=f"_bar {name}")
    axes.plot(
        mean,
        y,
        "s" if settled else "o",
        color=BLACK,
        markersize=6.5,
        markerfacecolor=BLACK if settled else "white",
        zorder=3,
    )
    cut_left = mean - half < low
    cut_right = mean + half > high
    for end, arrow, is_cut in ((left, "<", cut_left), (right, ">", cut_right)):
        axes.plot(
            end,
            y,
            arrow if is_cut else "|",
            color=BLACK,
            markersize=7,
            label=f"_{arrow} {name}",
        )
    return cut_left or cut_right


def _seeds(axes, y, name, differences, low, high):
    """A stroke for each seed above the interval; a seed that lies beyond the axis is written at its end."""
    inside = [d for d in differences if low <= d <= high]
    for outside in (d for d in differences if not low <= d <= high):
        end, side = (high, "right") if outside > high else (low, "left")
        axes.text(end, y + 0.28, f"{outside:+.2f}", ha=side, va="center", fontsize=FONT - 1)
    axes.plot(
        inside,
        [y + 0.28] * len(inside),
        "|",
        color=BLACK,
        markersize=6,
        alpha=0.6,
        label=f"_{name}",
    )


def _papers_direction(axes, x, y, name, sign):
    axes.plot(
        x,
        y,
        ">" if sign > 0 else "<",
        color=BLACK,
        markersize=7,
        markerfacecolor="lightgrey",
        label=f"_paper {name}",
    )


def paired_differences(rows, *, title, unit="bits per byte", span=None):
    """What each change costs: ``rows`` holds by name (three differences, their mean, half of the 95% interval, sign).

    The sign is the paper's direction, drawn in the margin: +1 worse, -1 better, 0 not in the paper. ``span``: the ends
    of the axis; an interval that goes beyond is cut off, with an arrow, and a seed that lies beyond is written.
    """
    figure, axes = new_axes(
        width=7.0,
        height=0.36 * len(rows) + 1.2,
        xlabel=f"change in {unit} (to the right: worse)",
        title=title,
    )
    reach = max(abs(mean) + half for _, mean, half, _ in rows.values())
    low, high = span or (-reach, reach)
    margin = high + 0.1 * (high - low)
    words = []
    for y, (name, (differences, mean, half, sign)) in enumerate(rows.items()):
        cut = _interval(axes, y, name, mean, half, low, high)
        _seeds(axes, y, name, differences, low, high)
        if sign:
            _papers_direction(axes, margin, y, name, sign)
        words.append(f"{name} {mean:+.3f} ± {half:.3f}" + (", cut off" if cut else ""))
    axes.axvline(0, color=BLACK, linewidth=1)
    axes.set_yticks(range(len(rows)), list(rows), fontsize=FONT)
    axes.set_ylim(len(rows) - 0.4, -0.9)
    axes.set_xlim(low - 0.03 * (high - low), margin + 0.07 * (high - low))
    axes.text(margin, -0.65, "paper", ha="center", va="center", fontsize=FONT)
    return (
        figure,
        f"Points with 95% intervals, change in {unit}: {'; '.join(words)}. Hollow where the bar holds zero.",
    )
