"""Maps of tokens by tokens: who reads whom, and how. A row is the token that reads, a column the one that is read."""

import numpy as np
from matplotlib.lines import Line2D

from .colours import BLACK, BLUE, ORANGE, VERMILION
from .style import legend_below, new_panels

UNREAD, DIRECT, SUMMED = 0, 1, 2  # what a map of ``who_reads_whom`` holds
ENTRY = 2.0  # inches that a line of a legend takes

SQUARE = {"marker": "s", "color": BLUE, "linestyle": "none"}
DISC = {"marker": "o", "color": ORANGE, "linestyle": "none"}
CROSS = {"marker": "x", "color": VERMILION, "linestyle": "none", "markeredgewidth": 2}
HOLLOW = {"marker": "s", "color": BLACK, "linestyle": "none", "markerfacecolor": "none"}

# of a fault: what is said of it, and its marks
FAULTS = {
    "one": ("read one by one", [SQUARE]),
    "sum": ("read through the sum", [DISC]),
    "twice": ("read twice", [SQUARE, DISC]),
    "missing": ("missing", [HOLLOW]),
    "leak": ("leak: a later token is read", [CROSS]),
}


def who_reads_whom(maps, chunk_size, *, title, rows=1, width=6.2, documents=None):
    """``maps`` holds by name a ``(T, T)`` array of UNREAD, DIRECT and SUMMED; thin lines cut it into chunks.

    ``documents (T,)``: the document of each token. Thick lines stand between two, and a pair of two is a cross.
    """
    T = len(next(iter(maps.values())))
    inside = np.ones((T, T), bool)
    if documents is not None:
        inside = np.equal.outer(documents, documents)
    marks = {
        "read one by one": [SQUARE],
        "read through a sum or mean": [DISC],
        "read across documents": [CROSS],
    }
    kinds = {}
    for name, who in maps.items():
        found = (who == DIRECT) & inside, (who == SUMMED) & inside, (who != UNREAD) & ~inside
        kinds[name] = dict(zip(marks, found))
    figure, alt = _maps(kinds, marks, title, chunk_size, rows=rows, width=width)
    for axes in figure.axes:
        for border in np.flatnonzero(~inside.diagonal(1)) + 1.5:
            axes.axhline(border, color=BLACK, linewidth=2.4)
            axes.axvline(border, color=BLACK, linewidth=2.4)
    return figure, alt


def who_sees_whom(maps, title):
    """What a test found, by name ``(T, T)`` bool: squares where a token sees itself or earlier ones, crosses where it
    sees a later one.
    """
    marks = {"sees itself or an earlier token": [SQUARE], "sees a later token": [CROSS]}
    kinds = {
        name: dict(zip(marks, (np.tril(sees), np.triu(sees, 1)))) for name, sees in maps.items()
    }
    figure, alt = _maps(kinds, marks, title, 1, width=8.6)
    for axes in figure.axes:
        axes.set_xlabel("token that is changed")
    figure.axes[0].set_ylabel("token whose output changes")
    return figure, alt


def faults_of_mixing(maps, chunk_size, *, title=""):
    """Who reads whom with faults: ``maps`` holds by name a ``(T, T)`` array of "" and the keys of ``FAULTS``."""
    kinds = {
        name: {said: found == fault for fault, (said, _) in FAULTS.items()}
        for name, found in maps.items()
    }
    marks = dict(FAULTS.values())
    return _maps(kinds, marks, title, chunk_size, width=2.55 * max(len(maps), 2))


def draw_pairs(axes, kinds, marks, chunk_size, size):
    """One map: ``kinds`` holds by what is said of a pair ``(T, T)`` bool, ``marks`` the marks of each."""
    for said, pairs in kinds.items():
        rows, columns = np.nonzero(pairs)
        for smaller, mark in enumerate(marks[said]):
            axes.plot(columns + 1, rows + 1, **mark, markersize=size * 0.65**smaller)
    T = len(pairs)
    if chunk_size > 1:
        for border in np.arange(chunk_size, T, chunk_size) + 0.5:
            axes.axhline(border, color=BLACK, linewidth=0.8, alpha=0.5)
            axes.axvline(border, color=BLACK, linewidth=0.8, alpha=0.5)
    axes.set(xlim=(0.4, T + 0.6), ylim=(T + 0.6, 0.4), aspect="equal")
    axes.set_xticks(range(1, T + 1, chunk_size))
    axes.set_yticks(range(1, T + 1, chunk_size))
    axes.grid(False)
    axes.spines[:].set_visible(True)


def _maps(maps, marks, title, chunk_size, *, width, rows=1):
    """Several maps with one legend; in words how many pairs are of each kind."""
    T = len(next(iter(next(iter(maps.values())).values())))
    inches = width * rows / len(maps)  # of one map, its names included
    names = {"xlabel": "token that is read", "ylabel": "token that reads"}
    height = rows * (inches - 0.3) + 1.5
    figure, panels = new_panels(maps, width, height, title=title, rows=rows, sharey=True, **names)
    figure.get_layout_engine().set(h_pad=0.1)  # inches between title, names and legend
    for axes, kinds in zip(panels, maps.values()):
        draw_pairs(axes, kinds, marks, chunk_size, 40 * (inches - 0.7) / T)
    counts = {
        name: {said: pairs.sum() for said, pairs in kinds.items() if pairs.any()}
        for name, kinds in maps.items()
    }
    seen = [said for said in marks if any(said in of_map for of_map in counts.values())]
    handles = [tuple(Line2D([], [], **mark) for mark in marks[said]) for said in seen]
    columns = min(3, len(seen), int(width / ENTRY))
    legend_below(figure, handles, seen, columns=columns)
    words = [
        f"{name}: " + ", ".join(f"{count} {said}" for said, count in of_map.items())
        for name, of_map in counts.items()
    ]
    chunks = f" in chunks of {chunk_size}" * (chunk_size > 1)
    about = f"Maps of {T} by {T} tokens{chunks}, a row reads a column, counted in pairs."
    return figure, f"{about} {'; '.join(words)}."
