"""Still pictures of the laboratory: what an edit of the mixing does, and what decoding keeps."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .style import BLACK, BLUE, FONT, ORANGE, VERMILION, frame_pairs, looks, new_axes

HOLLOW = dict(markerfacecolor="none", markeredgecolor=BLACK, linestyle="none")
MARKS = {  # kind: what is said of it, and its marks
    "one": ("read one by one", [("s", 6, dict(color=BLUE, linestyle="none"))]),
    "sum": ("read through the sum", [("o", 5, dict(color=ORANGE, linestyle="none"))]),
    "twice": (
        "read twice",
        [
            ("s", 7, dict(color=BLUE, linestyle="none")),
            ("o", 4, dict(color=ORANGE, linestyle="none")),
        ],
    ),
    "missing": ("missing", [("s", 6, HOLLOW)]),
    "leak": (
        "leak: a later token is read",
        [("x", 6, dict(color=VERMILION, markeredgewidth=2, linestyle="none"))],
    ),
}


def faults_of_mixing(maps, chunk_size):
    """Who reads whom with faults: ``maps`` holds by name a ``(T, T)`` array of "" and the keys of ``MARKS``."""
    figure = Figure(figsize=(2.55 * max(len(maps), 2), 3.9), dpi=110, layout="constrained")
    for axes, (name, kinds) in zip(
        figure.subplots(1, len(maps), sharey=True, squeeze=False)[0], maps.items()
    ):
        T = len(kinds)
        for kind, (_, marks) in MARKS.items():
            rows, columns = np.nonzero(kinds == kind)
            for marker, size, look in marks:
                axes.plot(columns + 1, rows + 1, marker, markersize=size, **look)
        frame_pairs(axes, T, chunk_size, FONT - 1)
        axes.set_title(name, fontsize=FONT)
        axes.set_xlabel("token that is read", fontsize=FONT)
    figure.axes[0].set_ylabel("token that reads", fontsize=FONT)
    seen = [kind for kind in MARKS if any((kinds == kind).any() for kinds in maps.values())]
    handles = [
        tuple(
            Line2D([], [], marker=marker, markersize=size, **look)
            for marker, size, look in MARKS[kind][1]
        )
        for kind in seen
    ]
    figure.legend(
        handles,
        [MARKS[kind][0] for kind in seen],
        loc="outside lower center",
        ncols=3,
        fontsize=FONT - 1,
        frameon=False,
    )
    words = "; ".join(
        f"{name}: "
        + ", ".join(
            f"{(kinds == kind).sum()} {MARKS[kind][0]}" for kind in seen if (kinds == kind).any()
        )
        for name, kinds in maps.items()
    )
    alt = f"Who reads whom of {T} tokens in chunks of {chunk_size}, a row reads a column, counted in pairs. {words}."
    return figure, alt


def numbers_beside_a_cache(state_T, cache_T, *, title):
    """Entries that decoding keeps after each token: FLASH's state ``state_T`` and a cache of keys and values."""
    figure, axes = new_axes(6.2, 3.0, "tokens read", "entries kept", title)
    tokens = np.arange(1, len(state_T) + 1)
    words = []
    names = {
        "flash": "FLASH: sum and\nunfinished chunk",
        "gau": "a GAU's cache of\nkeys and values",
    }
    for (key, (colour, marker, line)), numbers in zip(looks(names).items(), (state_T, cache_T)):
        axes.plot(tokens, numbers, linestyle=line, marker=marker, color=colour, label=names[key])
        axes.annotate(
            names[key],
            (tokens[-1], numbers[-1]),
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
            fontsize=FONT,
            color=colour,
        )
        said = names[key].replace("\n", " ")
        words.append(f"{said} from {numbers[0]} to {numbers[-1]}, at most {max(numbers)}")
    axes.set_ylim(0, 1.14 * max(*state_T, *cache_T))
    axes.set_xlim(0.7, 1.42 * tokens[-1])
    axes.set_xticks(tokens)
    axes.spines["bottom"].set_bounds(0.7, tokens[-1] + 0.3)
    return figure, f"Entries kept after each of {len(tokens)} tokens. {'; '.join(words)}."
