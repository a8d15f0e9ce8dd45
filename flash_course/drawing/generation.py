"""Writing token by token: FLASH's state, what decoding costs against position, and temperature."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from .costs import MODEL_STYLES
from .style import BLACK, FONT, SKY, YELLOW


def _table_of_the_sum(axes, sum_SE, before_SE):
    """The entries, in yellow and bold where they are no longer those of ``before_SE``."""
    for (s, e), value in np.ndenumerate(sum_SE):
        changed = value != before_SE[s, e]
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
            fontsize=FONT,
            fontweight="bold" if changed else "normal",
        )


def _places_of_those_that_wait(axes, waiting, C, *, left, top):
    """C boxes in a row, the first ones filled with the numbers of the tokens that wait."""
    for place in range(C):
        filled = place < len(waiting)
        axes.add_patch(
            Rectangle(
                (left + place + 0.08, top),
                0.84,
                0.84,
                facecolor=SKY if filled else "white",
                edgecolor=BLACK,
                linewidth=0.8,
                linestyle="-" if filled else ":",
            )
        )
        if filled:
            axes.text(
                left + place + 0.5,
                top + 0.42,
                str(waiting[place]),
                ha="center",
                va="center",
                fontsize=FONT,
            )


def chunk_state_by_token(sums_TSE, waiting, C, outputs):
    """FLASH's state after each of T tokens: the sum ``(S, E)`` with its entries, and the tokens that wait.

    ``waiting`` holds for each token the numbers of the tokens kept one by one, at most C; ``outputs`` by token
    ``(near, far)``, what it read before its chunk was folded.
    """
    T, S, E = sums_TSE.shape
    figure = Figure(figsize=(7.0, 2.9), dpi=110, layout="constrained")
    columns = figure.subplots(1, T)
    rows = (
        ("reads near", -1.25),
        ("reads far", -0.55),
        ("sum\nafter it", S / 2),
        ("tokens\nthat wait", S + 0.92),
    )
    for said, y in rows:
        columns[0].text(-0.4, y, said, ha="right", va="center", fontsize=FONT)
    before = np.zeros((S, E))
    words = []
    for t, axes in enumerate(columns):
        near, far = (_row(x) for x in outputs[t])
        for text, y in ((near, -1.25), (far, -0.55)):
            axes.text(E / 2, y, text, ha="center", va="center", fontsize=FONT)
        _table_of_the_sum(axes, sums_TSE[t], before)
        before = sums_TSE[t]
        _places_of_those_that_wait(axes, waiting[t], C, left=(E - C) / 2, top=S + 0.5)
        axes.set(xlim=(-0.1, max(E, C) + 0.1), ylim=(S + 1.5, -1.7), aspect="equal")
        axes.set_axis_off()
        axes.set_title(f"token {t + 1}", fontsize=FONT)
        kept = f"waiting {', '.join(map(str, waiting[t]))}" if waiting[t] else "nobody waits"
        words.append(
            f"token {t + 1} reads near {near}, far {far}, then sum {sums_TSE[t].tolist()}, {kept}"
        )
    figure.suptitle(
        "Each token reads; then the last of a chunk folds it into the sum (bold: changed)",
        fontsize=FONT + 1,
    )
    alt = (
        f"{T} columns, one for each token: what it reads, then a table of {S} by {E} entries, the sum after it, and "
        f"{C} places for the tokens of the unfinished chunk. {'; '.join(words)}."
    )
    return figure, alt


def _row(numbers):
    return "(" + ", ".join(f"{number:g}" for number in numbers) + ")"


def decoding_by_position(stored, *, title):
    """Entries kept and time for a token against the position: rows as ``flash-tutorial bench`` stores them."""
    figure = Figure(figsize=(6.2, 5.0), dpi=110, layout="constrained")
    panels = (
        ("entries kept, millions\n(FLASH: room)", lambda row: row["state_numbers"] / 1e6),
        ("milliseconds for a token", lambda row: 1e3 * row["seconds"]["median"]),
    )
    positions = sorted({row["position"] for row in stored})
    words = []
    for axes, (label, value) in zip(figure.subplots(2, 1, sharex=True), panels):
        for model, (color, marker, line, name) in MODEL_STYLES.items():
            points = [(row["position"], value(row)) for row in stored if row["model"] == model]
            if not points:
                continue
            axes.plot(
                *zip(*points),
                linestyle=line,
                color=color,
                marker=marker,
                markersize=5,
                linewidth=1.7,
                label=name,
            )
            axes.annotate(
                name,
                points[-1],
                xytext=(8, 0),
                textcoords="offset points",
                fontsize=FONT,
                va="center",
                color=color,
            )
            words.append(
                f"{label}, {name}: {points[0][1]:.3g} at {points[0][0]} to {points[-1][1]:.3g} at {points[-1][0]}"
            )
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xlim(
            0.85 * positions[0], 1.1 * positions[-1] * (positions[-1] / positions[0]) ** 0.32
        )
        axes.set_xticks(positions, [f"{p:,}" for p in positions])
        low, high = axes.get_ylim()
        axes.set_yticks([t for t in (0.2, 0.5, 1, 2, 5, 10, 20, 50) if low <= t <= high])
        axes.yaxis.set_major_formatter("{x:g}")
        axes.minorticks_off()
        axes.spines["bottom"].set_bounds(0.85 * positions[0], positions[-1])
        axes.set_ylabel(label, fontsize=FONT)
        axes.tick_params(which="both", labelsize=FONT - 1)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel("position of the token", fontsize=FONT)
    figure.suptitle(title, fontsize=FONT + 1)
    return (
        figure,
        f"Two line plots on logarithmic axes against the position of a token. {'; '.join(words)}.",
    )


def temperatures(probabilities, names, *, title):
    """A panel of bars for each temperature, one bar for each of a few tokens: ``probabilities`` by panel's name."""
    figure = Figure(figsize=(6.2, 2.6), dpi=120, layout="constrained")
    words = []
    panels = figure.subplots(1, len(probabilities), sharey=True, squeeze=False)[0]
    for axes, (label, p) in zip(panels, probabilities.items()):
        axes.bar(range(len(names)), p, 0.8, color=SKY, edgecolor=BLACK, linewidth=0.6)
        axes.set_title(label, fontsize=FONT)
        axes.set_xticks(range(len(names)), names)
        axes.tick_params(labelsize=FONT - 1)
        axes.grid(axis="y", alpha=0.3)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        words.append(f"{label}: {', '.join(f'{x:.3f}' for x in p)}")
    panels[0].set_ylabel("probability", fontsize=FONT)
    figure.supxlabel("next byte", fontsize=FONT)
    figure.suptitle(title, fontsize=FONT + 1)
    return (
        figure,
        f"Bars of the probabilities of {len(names)} tokens, {', '.join(names)}. {'; '.join(words)}.",
    )
