"""Linear attention: the state token by token, the chunk form, and what the forms cost."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle

from .style import BLACK, BLUE, FONT, GREEN, ORANGE, PURPLE, SKY, YELLOW, looks, new_axes

STYLES = {  # of a form, by the first word of its name: the same in all figures, and no model's look in style.LOOKS
    "running": (BLACK, "*", (0, (1, 2))),
    "all": (BLACK, "*", (0, (1, 2))),
    "token": (GREEN, "8", (0, (6, 1))),
    "attention": (PURPLE, "p", (0, (4, 1, 1, 1))),
    "chunks": (ORANGE, "X", "-"),
    "one": (SKY, "H", (0, (2, 1))),
}


def state_by_token(q, k, v, states, outputs):
    """The state ``(S, E)`` after each of T tokens with its numbers; what a token changed is shaded.

    Above each state stand the token's k and v that are written, below it the q that reads and the output.
    """
    T, S, E = states.shape
    figure = Figure(figsize=(1.35 * T, 2.05), dpi=110, layout="constrained")
    before = np.zeros((S, E), states.dtype)
    for t, axes in enumerate(figure.subplots(1, T)):
        for (s, e), value in np.ndenumerate(states[t]):
            changed = value != before[s, e]
            axes.add_patch(
                Rectangle(
                    (e, s),
                    1,
                    1,
                    facecolor=YELLOW if changed else "white",
                    edgecolor=BLACK,
                    linewidth=0.8,
                )
            )
            axes.text(
                e + 0.5,
                s + 0.5,
                f"{value:g}",
                ha="center",
                va="center",
                fontsize=FONT + 1,
                fontweight="bold" if changed else "normal",
            )
        before = states[t]
        axes.set(xlim=(-0.05, E + 0.05), ylim=(S + 0.05, -0.05), aspect="equal")
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
        axes.set_title(f"token {t + 1}\nk = {_row(k[t])}\nv = {_row(v[t])}", fontsize=FONT)
        axes.set_xlabel(f"q = {_row(q[t])} reads\n{_row(outputs[t])}", fontsize=FONT)
    figure.suptitle(
        f"Each token adds k vᵀ (yellow: what it changed), and the state stays {S} × {E}",
        fontsize=FONT + 1,
    )
    rows = "; ".join(
        f"after token {t + 1} {' / '.join(_row(row) for row in states[t])}" for t in range(T)
    )
    alt = (
        f"{T} small tables of {S} by {E} numbers, the state after each token, changed numbers bold on yellow: {rows}. "
        f"Token {T} reads {_row(outputs[-1])}."
    )
    return figure, alt


def _row(numbers):
    return "(" + ", ".join(f"{number:g}" for number in numbers) + ")"


def chunk_schedule(T, C):
    """Who is read how in the exact chunk form, and its steps: pairs inside each chunk, a state between chunks."""
    starts = list(range(0, T, C))
    figure = Figure(figsize=(7.6, 3.5), dpi=120, layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.3))
    i, j = np.tril_indices(T)
    inside = i // C == j // C
    left.plot(j[~inside] + 1, i[~inside] + 1, "o", color=ORANGE, markersize=5, linestyle="none")
    left.plot(j[inside] + 1, i[inside] + 1, "s", color=BLUE, markersize=7, linestyle="none")
    for start in starts[1:]:
        left.axhline(start + 0.5, color=BLACK, linewidth=0.8, alpha=0.5)
        left.axvline(start + 0.5, color=BLACK, linewidth=0.8, alpha=0.5)
    left.set(xlim=(0.3, T + 0.7), ylim=(T + 0.7, 0.3), aspect="equal")
    left.set_xticks([start + 1 for start in starts])
    left.set_yticks([start + 1 for start in starts])
    left.tick_params(labelsize=FONT - 1)
    left.set_xlabel("token j that is read", fontsize=FONT)
    left.set_ylabel("token i that reads", fontsize=FONT)
    left.set_title("how each pair is read", fontsize=FONT)
    white = dict(facecolor="white", edgecolor="none", pad=1)
    named = dict(fontsize=FONT, ha="right", va="center", xycoords="data", textcoords="data")
    for text, colour, at, place in (
        ("pair by pair,\nin its own chunk", BLUE, (C, 1.2), 0.16),
        ("through\nthe state", ORANGE, (C, C + 1), 0.42),
    ):
        left.annotate(
            text,
            at,
            xytext=(T + 0.4, 0.3 + place * T),
            color=colour,
            fontweight="bold",
            bbox=white,
            **named,
        )
    _draw_chain(right, starts, C, T)
    figure.suptitle(
        f"Pairs inside a chunk, a state between chunks: {len(starts)} sequential steps for {T} tokens",
        fontsize=FONT + 1,
    )
    alt = (
        f"Left, the pairs of {T} tokens in chunks of {C}: {inside.sum()} pairs inside chunks are read pair by pair, "
        f"{(~inside).sum()} pairs of earlier chunks through the state. Right, {len(starts)} chunks in order: each "
        "reads the state that enters it and adds k transposed times v to it; the last chunk is shorter."
    )
    return figure, alt


def _draw_chain(axes, starts, C, T):
    """The chunks in a row, the state that enters and leaves each, and what is added to it."""
    half, high = 0.72, 0.3  # of a box

    def put(x, y, text, colour):
        axes.add_patch(
            FancyBboxPatch(
                (x - half, y - high),
                2 * half,
                2 * high,
                boxstyle="round,pad=0,rounding_size=0.12",
                facecolor=colour,
                edgecolor=BLACK,
                linewidth=0.8,
            )
        )
        axes.text(x, y, text, ha="center", va="center", fontsize=FONT)

    def arrow(begin, end):
        axes.add_patch(
            FancyArrowPatch(
                begin, end, arrowstyle="-|>", mutation_scale=10, shrinkA=0, shrinkB=0, color=BLACK
            )
        )

    for g, start in enumerate(starts):
        x = 2 * g
        put(x, 2.6, f"{start + 1} to {min(start + C, T)}", SKY)
        put(x, 0.0, "0" if g == 0 else f"state {g}", ORANGE)
        arrow((x - 0.3, high), (x - 0.3, 2.6 - high))
        axes.text(x - 0.24, 0.75, "read", ha="left", va="center", fontsize=FONT)
        if g + 1 < len(starts):
            arrow((x + 0.3, 2.6 - high), (x + 1.5, high))
            axes.text(x + 0.82, 1.72, "+ kᵀv", ha="left", va="center", fontsize=FONT)
            arrow((x + half, 0.0), (x + 2 - half, 0.0))
    axes.text(-half, 3.25, "tokens of a chunk, all at once", fontsize=FONT, va="center")
    axes.text(
        -half, -0.65, "the state that enters the chunk (S × E entries)", fontsize=FONT, va="center"
    )
    axes.set(xlim=(-0.9, 2 * len(starts) - 1.1), ylim=(-1.0, 3.6))
    axes.set_axis_off()
    axes.set_title("what waits for what", fontsize=FONT)


def forms_by_length(lengths, forms, *, ylabel, title):
    """One line for each form against T, both axes logarithmic: ``forms`` holds by name a number for each length.

    A name starts with a key of ``STYLES`` and stands beside its line. None stands for "out of memory" and is drawn as
    a cross at the top.
    """
    figure, axes = new_axes(7.4, 3.7, "T, tokens in a sequence (logarithmic)", ylabel, title)
    highest = max(value for values in forms.values() for value in values if value is not None)
    words, ends = [], []
    for name, values in forms.items():
        colour, marker, line = STYLES[name.split()[0]]
        points = [(T, value) for T, value in zip(lengths, values, strict=True) if value is not None]
        axes.plot(
            *zip(*points), linestyle=line, marker=marker, color=colour, linewidth=1.8, markersize=7
        )
        ends.append((points[-1][1], points[-1][0], f"{name}, {_short(points[-1][1])}", colour))
        missing = [T for T, value in zip(lengths, values) if value is None]
        if missing:
            axes.plot(
                missing,
                [highest] * len(missing),
                "x",
                color=colour,
                markersize=9,
                markeredgewidth=2,
            )
        words.append(
            f"{name} from {_short(points[0][1])} to {_short(points[-1][1])}{', then no memory' if missing else ''}"
        )
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    # room for the names
    axes.set_xlim(lengths[0] * 0.85, lengths[-1] * (lengths[-1] / lengths[0]) ** 0.5)
    axes.set_xticks(lengths, [f"{T:,}" for T in lengths])
    axes.yaxis.set_major_formatter("{x:,g}")
    axes.tick_params(which="both", labelsize=FONT - 1)
    low, high = axes.get_ylim()
    axes.set_ylim(low, high * (high / low) ** 0.06)  # and above the highest of them
    below = 0
    # from the lowest on, each one lifted off the one below it
    for value, T, text, colour in sorted(ends):
        below = max(value, below * (high / low) ** 0.06)
        axes.annotate(
            text,
            (T, below),
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
            fontsize=FONT,
            color=colour,
        )
    alt = f"Line plot, both axes logarithmic, of {ylabel} against T from {lengths[0]} to {lengths[-1]}: "
    return figure, alt + "; ".join(words) + "."


def _short(value):
    """Three digits, never with an exponent."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def chunk_sizes(sizes, milliseconds, multiply_adds):
    """Time measured and multiply-adds counted against the chunk length C, each over its own smallest value."""
    best = sizes[int(np.argmin(milliseconds))]
    fewest = sizes[int(np.argmin(multiply_adds))]
    title = f"The fewest multiply-adds are at C = {fewest}, the least time at C = {best}"
    figure, axes = new_axes(
        6.2, 3.4, "C, tokens in a chunk (logarithmic)", "times the smallest value", title
    )
    lines = {"time, measured": milliseconds, "multiply-adds, counted": multiply_adds}
    words = []
    styles = looks(lines)
    axes.axvline(best, color="#AAAAAA", linewidth=1.2)
    for (name, values), place in zip(lines.items(), (0, -1)):
        colour, marker, line = styles[name]
        ratio = np.asarray(values, float) / min(values)
        axes.plot(sizes, ratio, linestyle=line, marker=marker, color=colour, linewidth=1.8)
        axes.annotate(
            name,
            (sizes[place], ratio[place]),
            xytext=(-12, 2) if place else (12, 2),
            textcoords="offset points",
            ha="right" if place else "left",
            va="bottom" if place else "center",
            fontsize=FONT + 1,
            color=colour,
            bbox=dict(facecolor="white", edgecolor="none", pad=1),
        )
        words.append(f"{name} {', '.join(f'{r:.3g}' for r in ratio)}")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(sizes, [f"{C:,}" for C in sizes])
    axes.yaxis.set_major_formatter("{x:g}")
    axes.tick_params(which="both", labelsize=FONT - 1)
    alt = (
        f"Line plot, both axes logarithmic, against C from {sizes[0]} to {sizes[-1]}, each over its smallest value: "
        f"{'; '.join(words)}. The least time is at C = {best}."
    )
    return figure, alt
