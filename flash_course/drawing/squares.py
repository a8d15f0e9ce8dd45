"""Small arrays with their numbers in squares: attention matrices, and states as tokens change them."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from .colours import BLACK, BLUE, SKY, YELLOW
from .style import FONT, WHITE, new_panels


def numbers_in_squares(
    panels,
    *,
    row,
    title,
    axis_names=("token i that reads", "token j that is read"),
    names=None,
    width=7.6,
):
    """Arrays side by side, each number in its square; ``row`` (from 1) has a frame, nan is hidden.

    ``axis_names`` say what a row and a column are, ``names`` what each of them is; without them they are counted.
    """
    tall, wide = (max(values.shape[axis] for values in panels.values()) for axis in (0, 1))
    # inches, so that no strip stays empty
    square = min(0.55, ((width - 0.5) / len(panels) - 0.15) / wide)
    size = (min(width, 0.5 + len(panels) * (square * wide + 0.15)), 1.15 + square * tall)
    labels = {"ylabel": axis_names[0], "xlabel": axis_names[1]}
    figure, every = new_panels(panels, *size, title=title, sharey=True, **labels)
    for axes, values in zip(every, panels.values()):
        rows, columns = values.shape
        top = np.nanmax(np.abs(values)) * 1.6  # light enough for black numbers
        look = {"cmap": "PuOr_r", "vmin": -top, "vmax": top, "edgecolors": "#CCCCCC"}
        axes.pcolormesh(np.ma.masked_invalid(values), **look)
        for (i, j), value in np.ndenumerate(values):
            text = "·" if np.isnan(value) else f"{value:g}"
            axes.text(j + 0.5, i + 0.5, text, ha="center", va="center", fontsize=9)
        frame = {"fill": False, "edgecolor": BLACK, "linewidth": 2.2}
        axes.add_patch(Rectangle((0, row - 1), columns, 1, **frame))
        axes.set(xlim=(-0.05, columns + 0.05), ylim=(rows + 0.05, -0.05), aspect="equal")
        axes.set_xticks(np.arange(columns) + 0.5, names or range(1, columns + 1))
        axes.set_yticks(np.arange(rows) + 0.5, names or range(1, rows + 1))
        axes.tick_params(length=0)
        axes.grid(False)
        axes.spines[:].set_visible(False)
    framed = "; ".join(
        f"{name}: {', '.join('hidden' if np.isnan(v) else f'{v:g}' for v in values[row - 1])}"
        for name, values in panels.items()
    )
    about = f"{len(panels)} squares of {rows} by {columns} numbers."
    return figure, f"{about} Row {row}, in a frame: {framed}."


def squares_in_tiles(panels, M, *, row, title):
    """Square arrays as ``numbers_in_squares`` draws them, and over them the borders of tiles of M x M numbers."""
    figure, alt = numbers_in_squares(panels, row=row, title=title, width=7.4)
    for axes, values in zip(figure.axes, panels.values(), strict=True):
        n = len(values)
        for top, left in np.ndindex(-(-n // M), -(-n // M)):
            width, height = min(M, n - left * M), min(M, n - top * M)
            frame = {"fill": False, "edgecolor": BLUE, "linewidth": 2.6}
            axes.add_patch(Rectangle((left * M, top * M), width, height, **frame))
            if left > top:
                at = (left * M + width / 2, top * M + height / 2)
                look = {"color": BLUE, "fontsize": 9, "ha": "center", "va": "center"}
                axes.text(*at, "never made", **look, bbox=WHITE)
    about = (
        f"Thick lines cut each into tiles of {M} by {M}; those above the diagonal are never made."
    )
    return figure, f"{alt} {about}"


def state_by_token(q, k, v, states, outputs):
    """The state ``(S, E)`` after each of T tokens with its numbers; what a token changed is shaded.

    Above each state stand the token's k and v that are written, below it the q that reads and the output.
    """
    T, S, E = states.shape
    figure = Figure(figsize=(1.35 * T, 2.05), dpi=110, layout="constrained")
    before = np.zeros((S, E))
    for t, axes in enumerate(figure.subplots(1, T)):
        _table(axes, states[t], before)
        before = states[t]
        axes.set(xlim=(-0.05, E + 0.05), ylim=(S + 0.05, -0.05), aspect="equal")
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
        axes.set_title(f"token {t + 1}\nk = {_row(k[t])}\nv = {_row(v[t])}", fontsize=FONT)
        axes.set_xlabel(f"q = {_row(q[t])} reads\n{_row(outputs[t])}", fontsize=FONT)
    title = f"Each token adds k vᵀ (yellow: what it changed), and the state stays {S} × {E}"
    figure.suptitle(title, fontsize=FONT + 1)
    rows = "; ".join(
        f"after token {t + 1} {' / '.join(_row(row) for row in states[t])}" for t in range(T)
    )
    return figure, (
        f"{T} small tables of {S} by {E} numbers, the state after each token, changed numbers bold on yellow: {rows}. "
        f"Token {T} reads {_row(outputs[-1])}."
    )


def chunk_state_by_token(sums_TSE, waiting, C, outputs):
    """FLASH's state after each of T tokens: the sum ``(S, E)`` with its entries, and the tokens that wait.

    ``waiting`` holds for each token the numbers of the tokens kept one by one, at most C; ``outputs`` by token
    ``(near, far)``, what it read before its chunk was folded.
    """
    T, S, E = sums_TSE.shape
    figure = Figure(figsize=(7.0, 2.9), dpi=110, layout="constrained")
    columns = figure.subplots(1, T)
    heights = {
        "reads near": -1.25,
        "reads far": -0.55,
        "sum\nafter it": S / 2,
        "tokens\nthat wait": S + 0.92,
    }
    for said, y in heights.items():
        columns[0].text(-0.4, y, said, ha="right", va="center", fontsize=FONT)
    before = np.zeros((S, E))
    words = []
    for t, axes in enumerate(columns):
        near, far = (_row(x) for x in outputs[t])
        for text, y in ((near, -1.25), (far, -0.55)):
            axes.text(E / 2, y, text, ha="center", va="center", fontsize=FONT)
        _table(axes, sums_TSE[t], before)
        before = sums_TSE[t]
        for place in range(C):
            token = waiting[t][place] if place < len(waiting[t]) else None
            _place_of_a_token(axes, (E - C) / 2 + place, S + 0.5, token)
        axes.set(xlim=(-0.1, max(E, C) + 0.1), ylim=(S + 1.5, -1.7), aspect="equal")
        axes.set_axis_off()
        axes.set_title(f"token {t + 1}", fontsize=FONT)
        kept = f"waiting {', '.join(map(str, waiting[t]))}" if waiting[t] else "nobody waits"
        words.append(
            f"token {t + 1} reads near {near}, far {far}, then sum {sums_TSE[t].tolist()}, {kept}"
        )
    title = "Each token reads; then the last of a chunk folds it into the sum (bold: changed)"
    figure.suptitle(title, fontsize=FONT + 1)
    return figure, (
        f"{T} columns, one for each token: what it reads, then a table of {S} by {E} entries, the sum after it, and "
        f"{C} places for the tokens of the unfinished chunk. {'; '.join(words)}."
    )


def _place_of_a_token(axes, left, top, token):
    """A box for a token that waits, with its number, or dotted where none does."""
    filled = token is not None
    look = {"edgecolor": BLACK, "linewidth": 0.8, "linestyle": "-" if filled else ":"}
    colour = SKY if filled else "white"
    axes.add_patch(Rectangle((left + 0.08, top), 0.84, 0.84, facecolor=colour, **look))
    if filled:
        axes.text(left + 0.5, top + 0.42, token, ha="center", va="center", fontsize=FONT)


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
            _square(axes, 0, y + 0.05, old, "white", high=0.9)
            _square(axes, 3.1, y + 0.05, new, "white" if np.isclose(old, new) else YELLOW, high=0.9)
            arrow = {"arrowstyle": "->", "color": BLACK, "shrinkA": 0, "shrinkB": 0}
            axes.annotate("", (3.1, y + 0.5), (1.0, y + 0.5), arrowprops=arrow)
            change = _change(old, factor, new)
            axes.text(2.05, y + 0.42, change, ha="center", va="bottom", fontsize=FONT)
        look = {"ha": "center", "va": "center", "fontsize": FONT + 1}
        look["fontweight"] = "bold" if np.isclose(answer, wanted) else "normal"
        axes.text(2.05, len(before) + 0.5, f"k then reads {answer:.3g}", **look)
        axes.set(xlim=(-0.1, 4.2), ylim=(len(before) + 1, -0.1))
        axes.set_axis_off()
        axes.set_title(f"{name}\n{formula}", fontsize=FONT + 1)
        words.append(
            f"{name}, {formula}: {_row(before)} becomes {_row(after)}, and k reads {answer:.3g}"
        )
    for axes in grid[len(panels) :]:
        axes.remove()
    if len(panels) < len(grid):  # what the colours say, where the last panel would be
        told = "left: the state before\nright: the state after\nyellow: has changed\n"
        told += f"bold: reads {wanted:g}, as it should"
        look = {"va": "center", "fontsize": FONT + 1, "linespacing": 1.7}
        figure.text((columns - 0.93) / columns, 0.42 / count, told, **look)
    figure.suptitle(title, fontsize=FONT + 2)
    alt = f"The state of {len(panels)} layers before and after a token with k = {_row(key)} and the value {wanted:g}"
    return figure, f"{alt}. {'; '.join(words)}."


def _change(old, factor, new):
    """The factor and what was added, as far as either does anything."""
    said = []
    if factor != 1:
        said.append(f"× {factor:g}")
    added = round(new - factor * old, 3)
    if added:
        said.append(f"{added:+g}")
    return " ".join(said)


def _table(axes, state_SE, before_SE):
    """The entries, in yellow and bold where they are no longer those of ``before_SE``."""
    for (s, e), value in np.ndenumerate(state_SE):
        changed = value != before_SE[s, e]
        _square(axes, e, s, value, YELLOW if changed else "white", bold=changed)


def _square(axes, x, y, value, colour, *, high=1.0, bold=False):
    """A number in a box, whose upper left corner is at ``(x, y)``."""
    look = {"facecolor": colour, "edgecolor": BLACK, "linewidth": 0.8}
    axes.add_patch(Rectangle((x, y), 1, high, **look))
    look = {"ha": "center", "va": "center", "fontsize": FONT + 1}
    look["fontweight"] = "bold" if bold else "normal"
    axes.text(x + 0.5, y + high / 2, f"{value:.3g}", **look)


def _row(numbers):
    return "(" + ", ".join(f"{number:.3g}" for number in numbers) + ")"
