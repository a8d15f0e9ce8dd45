"""Writing token by token: FLASH's state, what decoding costs against position, and temperature."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from .costs import MODEL_STYLES
from .style import BLACK, FONT, GREEN, ORANGE, SKY, YELLOW, new_axes


def chunk_state_by_token(sums_TSE, waiting, C, outputs):
    """FLASH's state after each of T tokens: the sum ``(S, E)`` with its numbers, and the tokens that wait.

    ``waiting`` holds for each token the numbers of the tokens kept one by one, at most C; ``outputs`` by token
    ``(near, far)``, what it read before its chunk was folded.
    """
    T, S, E = sums_TSE.shape
    figure = Figure(figsize=(8.8, 3.9), dpi=100, layout="constrained")
    before, words = np.zeros((S, E)), []
    for t, axes in enumerate(figure.subplots(1, T)):
        near, far = (_row(x) for x in outputs[t])
        axes.text(E / 2, -1.35, f"reads near\n{near}\nand far\n{far}", ha="center", va="center", fontsize=FONT)
        for (s, e), value in np.ndenumerate(sums_TSE[t]):
            changed = value != before[s, e]
            axes.add_patch(
                Rectangle((e, s), 1, 1, facecolor=YELLOW if changed else "white", edgecolor=BLACK, linewidth=0.8)
            )
            weight = "bold" if changed else "normal"
            axes.text(e + 0.5, s + 0.5, f"{value:g}", ha="center", va="center", fontsize=FONT + 1, fontweight=weight)
        before = sums_TSE[t]
        for place in range(C):
            left, filled = (E - C) / 2 + place, place < len(waiting[t])
            axes.add_patch(
                Rectangle(
                    (left + 0.08, S + 0.5), 0.84, 0.84, facecolor=SKY if filled else "white", edgecolor=BLACK,
                    linewidth=0.8, linestyle="-" if filled else ":",
                )
            )  # fmt: skip
            if filled:
                axes.text(left + 0.5, S + 0.92, str(waiting[t][place]), ha="center", va="center", fontsize=FONT + 1)
        axes.set(xlim=(-0.25, max(E, C) + 0.25), ylim=(S + 1.5, -2.5), aspect="equal")
        axes.set_axis_off()
        axes.set_title(f"token {t + 1}", fontsize=FONT + 1)
        kept = f"waiting {', '.join(map(str, waiting[t]))}" if waiting[t] else "nobody waits"
        words.append(f"token {t + 1} reads near {near}, far {far}, then sum {sums_TSE[t].tolist()}, {kept}")
    figure.suptitle("Each token reads, then the last of a chunk folds it into the sum", fontsize=FONT + 1)
    figure.supxlabel("tables: the sum after the token (bold: changed); below: tokens kept one by one", fontsize=FONT)
    alt = (
        f"{T} columns, one for each token: what it reads, then a table of {S} by {E} numbers, the sum after it, and "
        f"{C} places for the tokens of the unfinished chunk. {'; '.join(words)}."
    )
    return figure, alt


def _row(numbers):
    return "(" + ", ".join(f"{number:g}" for number in numbers) + ")"


def decoding_by_position(stored, live=(), *, title):
    """Numbers kept and time for a token against the position: rows as ``flash-tutorial bench`` stores them.

    ``live`` holds rows of the same kind whose time was measured now; it is drawn as large hollow marks.
    """
    figure = Figure(figsize=(9.2, 4.2), dpi=110, layout="constrained")
    panels = (
        ("numbers kept, in millions", lambda row: row["state_numbers"] / 1e6, "the state: counted"),
        ("milliseconds for a token", lambda row: 1e3 * row["seconds"]["median"], "the time: measured"),
    )
    words = []
    left, right = figure.subplots(1, 2)
    for axes, (label, value, heading) in zip((left, right), panels):
        for model, (color, marker, line, name) in MODEL_STYLES.items():
            points = [(row["position"], value(row)) for row in stored if row["model"] == model]
            if not points:
                continue
            axes.plot(
                *zip(*points), linestyle=line, color=color, marker=marker, markersize=5, linewidth=1.7, label=name
            )
            words.append(f"{label}, {name}: {points[0][1]:.3g} at {points[0][0]} to {points[-1][1]:.3g}")
            timed = live if axes is right else ()
            now = [(row["position"], value(row)) for row in timed if row["model"] == model]
            if now:
                axes.plot(
                    *zip(*now), linestyle="none", marker=marker, markersize=11, markerfacecolor="none",
                    markeredgewidth=1.8, color=color, label=f"{name}, here",
                )  # fmt: skip
                words[-1] += f" at {points[-1][0]}; measured here {', '.join(f'{y:.3g} at {x}' for x, y in now)}"
        positions = sorted({row["position"] for row in stored})
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xticks(positions, [f"{p:,}" for p in positions], rotation=30)
        axes.yaxis.set_major_formatter("{x:g}")
        axes.minorticks_off()
        axes.set_xlabel("position of the token (each mark doubles)", fontsize=FONT)
        axes.set_ylabel(label, fontsize=FONT)
        axes.set_title(heading, fontsize=FONT)
        axes.tick_params(which="both", labelsize=FONT - 1)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    handles, names = right.get_legend_handles_labels()
    figure.legend(handles, names, fontsize=FONT - 1, frameon=False, loc="outside lower center", ncols=5)
    figure.suptitle(title, fontsize=FONT + 1)
    return figure, f"Two line plots on logarithmic axes against the position of a token. {'; '.join(words)}."


def temperatures(probabilities, names, *, title):
    """Bars of the probabilities of a few tokens, one group for each token: ``probabilities`` by label of the bar."""
    figure, axes = new_axes(7.4, 3.4, "token", "probability", title)
    words, width = [], 0.8 / len(probabilities)
    for place, ((label, p), colour, hatch) in enumerate(
        zip(probabilities.items(), (SKY, ORANGE, GREEN), ("//", "..", "xx"))
    ):
        at = np.arange(len(names)) + width * (place - (len(probabilities) - 1) / 2)
        axes.bar(at, p, width * 0.94, color=colour, hatch=hatch, edgecolor=BLACK, linewidth=0.6, label=label)
        words.append(f"{label}: {', '.join(f'{x:.3f}' for x in p)}")
    axes.set_xticks(range(len(names)), names)
    axes.grid(axis="x", visible=False)
    axes.legend(fontsize=FONT - 1, frameon=False)
    return figure, f"Bars of the probabilities of {len(names)} tokens, {', '.join(names)}. {'; '.join(words)}."
