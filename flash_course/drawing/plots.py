"""What a lecture's own plot is made of. Each helper draws one thing on a pair of axes.

A plot is made in this order: `new_axes` or `new_panels`, the lines or bars, the scale, and last the names.
"""

import numpy as np

from .colours import BLACK
from .style import FONT, WHITE, looks


def lines(axes, curves, **options):
    """A line for each name, in its look: ``curves`` holds by name ``(x, y)``.

    x holds numbers or names. Several rows of y, one for each seed, are drawn as their mean in a band from the smallest
    to the largest. None in y leaves a gap, which ``mark_missing`` marks. ``options`` are those of ``axes.plot``.
    """
    for name, (colour, marker, dashes) in looks(curves).items():
        x, y = curves[name]
        rows = np.atleast_2d(np.array(y, float))
        if len(rows) > 1:
            band = {"color": colour, "alpha": 0.2, "linewidth": 0}
            axes.fill_between(x, rows.min(0), rows.max(0), **band)
        look = {"color": colour, "marker": marker, "linestyle": dashes}
        look |= {"linewidth": 1.8, "markersize": 5}
        axes.plot(x, rows.mean(0), label=name, **look | options)


def level(axes, height, name):
    """A dashed line at one height, such as a guess or the paper's value; the height is written behind its name."""
    dashes = (0, (5, 3))
    axes.axhline(height, color=BLACK, linewidth=1, linestyle=dashes, label=f"{name}, {height:.2f}")


def smoothed(values, window):
    """``(x, y)`` of the mean over the last ``window`` values, from the first x that has so many."""
    mean = np.convolve(values, np.full(window, 1 / window), mode="valid")
    return np.arange(window, len(values) + 1), mean


def bars(axes, numbers, *, colours=None, hatch="", form=None, shift=0.0, height=0.8):
    """A horizontal bar for each name, from the top down, with its number at its end.

    ``colours``: one, or one for each bar; without it each bar has the colour of its name's look.
    """
    if colours is None:
        colours = [colour for colour, _, _ in looks(numbers).values()]
    places = np.arange(len(numbers)) + shift
    frame = {"edgecolor": BLACK, "linewidth": 0.6}
    axes.barh(places, list(numbers.values()), height, color=colours, hatch=hatch, **frame)
    for place, number in zip(places, numbers.values()):
        axes.text(number, place, f" {_write_number(number, form)}", va="center", fontsize=FONT - 1)
    axes.set_yticks(range(len(numbers)), list(numbers))
    axes.set_ylim(len(numbers) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.margins(x=0.12)


def powers_of_two(axes, ticks):
    """A logarithmic x axis with plain numbers at ``ticks``."""
    axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.minorticks_off()


def logarithmic(axes):
    """A logarithmic y axis with at least three plain numbers."""
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    for digits in ((1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7)):
        every = np.outer(10.0 ** np.arange(-9, 13), digits).ravel()
        ticks = every[(low <= every) & (every <= high)]
        if len(ticks) > 2:
            break
    axes.set_yticks(ticks, [f"{tick:,g}" for tick in ticks])
    axes.minorticks_off()


def numbers_at(axes, x, y, *, form=None, colour=BLACK):
    """The height of each point, written above it to the right, where a line that falls leaves room."""
    look = {"va": "bottom", "fontsize": FONT - 1, "color": colour}
    for place, number in zip(x, y):
        text = _write_number(number, form)
        axes.annotate(text, (place, number), (2, 6), textcoords="offset points", **look)


def mark_missing(axes):
    """A cross above all lines at each x where a line has no number: what was asked did not fit in memory."""
    highest = max(_points(line)[1].max() for line in _named(axes))
    for line in _named(axes):
        x = np.asarray(line.get_xdata())[np.isnan(line.get_ydata())]
        cross = {"color": line.get_color(), "markersize": 9, "markeredgewidth": 2}
        axes.plot(x, np.full(len(x), 1.3 * highest), "x", **cross)
        if len(x):
            _write(axes, "does not fit", (x[-1], 1.3 * highest), (10, 0), ha="left")


def name_lines(axes, *, numbers=False, apart=0.07):
    """Each line's name at its right end, lifted off the name below it. Draw and scale all before.

    ``numbers``: with the last number behind each name. Names stand outside the axes, but where a line ends early.
    ``apart`` is the least distance of two names, as a share of the axes' height.
    """
    axes.set_ylim(axes.get_ylim())  # from here on nothing moves
    edge = max(line.get_xdata(orig=False)[-1] for line in _named(axes) if _has_points(axes, line))
    ends = {}  # names and their heights by the x at which the lines end
    for line in _named(axes):
        last = np.flatnonzero(~np.isnan(line.get_ydata()))[-1]
        x, y = line.get_xdata(orig=False)[last], line.get_ydata()[last]
        if not _has_points(axes, line):
            x = edge
        name = line.get_label() + f" {plain(y)}" * numbers
        height = axes.transAxes.inverted().transform(axes.transData.transform((x, y)))[1]
        ends.setdefault(min(x, edge), []).append((height, name, line.get_color()))
    early = {"ha": "right", "xycoords": axes.get_xaxis_transform(), "bbox": WHITE}
    for x, names in ends.items():
        below = -np.inf
        for height, name, colour in sorted(names):
            below = max(height, below + apart)
            if x < edge:
                _write(axes, name, (x, below), (-6, 10), colour, **early)
            else:
                _write(axes, name, (1, below), (6, 0), colour, xycoords="axes fraction")


def in_words(axes, *, x="{:,}", form=None, missing="does not fit"):
    """What the lines of one pair of axes say, for the alt text: where each begins and where it ends.

    ``missing``: what is said from the first x on that has no number.
    """
    said = []
    for line in _named(axes):
        if not _has_points(axes, line):
            said.append(f"a line at {line.get_label()}")
            continue
        places, numbers = _points(line)
        first, last = (_write_number(numbers[i], form) for i in (0, -1))
        words = f"{line.get_label()} from {first} at {x.format(places[0])}"
        words += f" to {last} at {x.format(places[-1])}"
        lost = np.asarray(line.get_xdata())[np.isnan(line.get_ydata())]
        if len(lost):
            words += f", {missing} from {x.format(lost[0])} on"
        said.append(words)
    return "; ".join(said)


def listed(numbers, form=None):
    """Names and their numbers for the alt text: ``a: 1.00, b: 2.00``."""
    return ", ".join(f"{name}: {_write_number(number, form)}" for name, number in numbers.items())


def plain(number):
    """Three digits, or all of a number above 100: how numbers are written where no ``form`` is given."""
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:#.3g}"


def _write_number(number, form):
    return form.format(number) if form else plain(number)


def _named(axes):
    """The lines that have a name; matplotlib's own begins with an underscore."""
    return [line for line in axes.lines if not line.get_label().startswith("_")]


def _has_points(axes, line):
    """Whether it was drawn from point to point, and not across the axes by ``level``."""
    return line.get_transform() == axes.transData


def _points(line):
    """x and y of its points, without those that are missing."""
    x, y = (np.asarray(along) for along in line.get_data())
    return x[~np.isnan(y)], y[~np.isnan(y)]


def _write(axes, text, at, away, colour=BLACK, **place):
    """A text beside a point, which may stand outside the axes."""
    place = {"va": "center", "ha": "left", "textcoords": "offset points"} | place
    axes.annotate(
        text, at, xytext=away, fontsize=FONT, color=colour, annotation_clip=False, **place
    )
