"""What came after FLASH: what one token does to a state, how a mean dilutes, and what decoding keeps."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from .style import BLACK, FONT, YELLOW, looks, new_axes


def state_updates(panels, key, wanted, *, title):
    """What the same token does to the state of each layer of a family: one small panel for each, three in a row.

    ``panels`` holds by name ``(formula, before, gate, after, answer)``: the state's numbers before and after the token
    and the factor that stood before the old ones, one for each channel of k; what it then answers to ``key``. What was
    added stands beside the factor.
    """
    columns = 3
    count = -(-len(panels) // columns)
    figure = Figure(figsize=(6.6, 2.3 * count), dpi=120, layout="constrained")
    words = []
    grid = np.ravel(figure.subplots(count, columns))
    for axes, (name, (formula, before, gate, after, answer)) in zip(grid, panels.items()):
        for y, (old, factor, new) in enumerate(zip(before, gate, after, strict=True)):
            _cell(axes, 0, y, old, "white")
            _cell(axes, 3.1, y, new, "white" if np.isclose(old, new) else YELLOW)
            axes.annotate(
                "",
                (3.1, y + 0.5),
                (1.0, y + 0.5),
                arrowprops=dict(arrowstyle="->", color=BLACK, shrinkA=0, shrinkB=0),
            )
            axes.text(
                2.05, y + 0.42, _change(old, factor, new), ha="center", va="bottom", fontsize=FONT
            )
        right = np.isclose(answer, wanted)
        axes.text(
            2.05,
            len(before) + 0.5,
            f"k then reads {answer:.3g}",
            ha="center",
            va="center",
            fontsize=FONT + 1,
            fontweight="bold" if right else "normal",
        )
        axes.set(xlim=(-0.1, 4.2), ylim=(len(before) + 1, -0.1))
        axes.set_axis_off()
        axes.set_title(f"{name}\n{formula}", fontsize=FONT + 1)
        words.append(
            f"{name}, {formula}: {_list(before)} becomes {_list(after)}, and k reads {answer:.3g}"
        )
    for axes in grid[len(panels) :]:
        axes.remove()
    if len(panels) < len(grid):  # what the colours say, where the last panel would be
        told = "left: the state before\nright: the state after\nyellow: has changed\n"
        told += f"bold: reads {wanted:g}, as it should"
        x = (columns - 0.93) / columns
        y = 0.42 / count
        figure.text(x, y, told, va="center", fontsize=FONT + 1, linespacing=1.7)
    figure.suptitle(title, fontsize=FONT + 2)
    alt = f"The state of {len(panels)} layers before and after a token with k = {_list(key)} and the value {wanted:g}"
    return figure, f"{alt}. {'; '.join(words)}."


def _cell(axes, x, y, value, colour):
    axes.add_patch(
        Rectangle((x, y + 0.05), 1, 0.9, facecolor=colour, edgecolor=BLACK, linewidth=0.8)
    )
    axes.text(x + 0.5, y + 0.5, f"{value:.3g}", ha="center", va="center", fontsize=FONT + 1)


def _change(old, factor, new):
    """The factor and what was added, as far as either does anything."""
    added = round(new - factor * old, 3)
    return " ".join(([] if factor == 1 else [f"× {factor:g}"]) + ([f"{added:+g}"] if added else []))


def _list(numbers):
    return "(" + ", ".join(f"{number:.3g}" for number in numbers) + ")"


def shares_of_newest(chunks, shares, *, title):
    """The newest chunk's weight in all that is read, against the number of chunks: ``shares`` by name, one each."""
    figure, axes = new_axes(
        7.0, 3.4, "chunks read (logarithmic)", "weight of the newest chunk", title
    )
    words = _labelled(axes, chunks, shares, "{:.2f}")
    axes.set_xscale("log", base=2)
    axes.set_xticks(chunks, [f"{n:,}" for n in chunks])
    axes.set_ylim(0, 1.05)
    return (
        figure,
        f"Lines of the newest chunk's weight against the chunks read: {'; '.join(words)}.",
    )


def numbers_kept(lengths, numbers, *, title):
    """What decoding keeps against the tokens read, both axes logarithmic: ``numbers`` by name, one for each length."""
    figure, axes = new_axes(
        7.0, 4.0, "tokens read (logarithmic)", "entries kept (logarithmic)", title
    )
    words = _labelled(axes, lengths, numbers, "{:,.0f}")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    shown = lengths[::3]
    axes.set_xticks(shown, [f"{n:,}" for n in shown])
    axes.minorticks_off()
    return (
        figure,
        f"Lines of the entries kept against the tokens read, both logarithmic: {'; '.join(words)}.",
    )


def _labelled(axes, x, curves, form):
    """A line for each name, the name at its right end; what each says in words."""
    styles = looks(curves)
    words = []
    for name, y in curves.items():
        colour, marker, line = styles[name]
        axes.plot(x, y, linestyle=line, marker=marker, color=colour, linewidth=1.8, markersize=5)
        axes.annotate(
            f"{name}",
            (x[-1], y[-1]),
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
            fontsize=FONT + 1,
            color=colour,
            annotation_clip=False,
        )
        words.append(
            f"{name} from {form.format(y[0])} at {x[0]:,} to {form.format(y[-1])} at {x[-1]:,}"
        )
    # before the axis is logarithmic: a limit of its own would be below zero
    axes.set_xlim(x[0] / 1.08, x[-1] * 1.08)
    return words
