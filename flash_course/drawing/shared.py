"""Plots that more than one lecture, the laboratory, a project or the command draws."""

from itertools import chain

import numpy as np

from .colours import BLACK, BLUE, SKY, VERMILION
from .plots import (
    in_words,
    lines,
    logarithmic,
    mark_missing,
    name_lines,
    powers_of_two,
    smoothed,
)
from .style import FONT, legend_below, looks, new_axes, new_panels

NAMES = {  # as a benchmark stores a model, and as figures name it
    "flash": "FLASH",
    "flash_quad": "FLASH-Quad",
    "transformer++": "Transformer++",
    "flash_pytorch": "FLASH-pytorch",
}
# dashes of a line where two models meet, by a word of its name
CROSSINGS = {"plain": (0, (6, 2)), "fused": (0, (4, 2, 1, 2)), "": (0, (1, 1))}


def curves_of_models(rows, place, value):
    """``{model by its name in figures: (x, y)}`` of a benchmark's rows; what was not measured is left out."""
    curves = {}
    for model, name in NAMES.items():
        of_model = [row for row in rows if row["model"] == model and value(row)]
        if of_model:
            curves[name] = [row[place] for row in of_model], [value(row) for row in of_model]
    return curves


def loss_curves(curves, *, window=20, unit="byte", title):
    """Training curves of up to four models: ``curves`` holds by name the bits per byte, or token, of each update.

    The mean is over ``window`` updates, in a very short run over half of them.
    """
    if not 1 <= len(curves) <= 4 or not min(map(len, curves.values())):
        raise ValueError(f"{len(curves)} curves: expected one to four, none of them empty")
    window = max(1, min(window, min(map(len, curves.values())) // 2))
    ylabel = f"training loss, bits per {unit}\n(mean over {window} updates)"
    figure, axes = new_axes(xlabel="update", ylabel=ylabel, title=title)
    means = {name: smoothed(bits, window) for name, bits in curves.items()}
    lines(axes, means, marker="", linewidth=2)
    axes.set_xlim(left=0)
    name_lines(axes, numbers=True)
    words = in_words(axes, form="{:.2f}")
    return figure, f"Line plot of bits per {unit} over the updates of a training run: {words}."


def training_curve(rows, score=None, *, window=25, title="Training"):
    """Bits per byte (or token) against the update: each batch, the mean over the last ones, and scores.

    ``rows`` are those of a run's log, ``score`` its bits per byte at the end, on text that it was not trained on. The
    mean is over ``window`` updates, but over a tenth of a short run.
    """
    if not rows:
        raise ValueError("rows is empty: expected the log of a run with at least one update")
    window = max(1, min(window, len(rows) // 10))
    unit = "byte" if "bits_per_byte" in rows[0] else "token"
    steps = np.array([row["step"] for row in rows])
    bits = np.array([row[f"bits_per_{unit}"] for row in rows])
    _, mean = smoothed(bits, window)

    figure, axes = new_axes(xlabel="update", ylabel=f"bits per {unit}", title=title)
    axes.plot(steps, bits, ".", color=SKY, markersize=3, label="one batch")
    label = f"mean over {window} batches"
    axes.plot(steps[window - 1 :], mean, color=BLUE, linewidth=1.8, label=label)
    alt = (
        f"Line plot of bits per {unit} over {len(steps)} updates: from {bits[0]:.2f} at the first to {mean[-1]:.2f}, "
        f"the mean over the last {window}."
    )
    scored = f"validation_bits_per_{unit}"
    on_the_way = {row["step"]: row[scored] for row in rows if scored in row}
    if on_the_way:
        look = {"color": VERMILION, "linestyle": "--", "linewidth": 1.2}
        axes.plot(list(on_the_way), on_the_way.values(), label="validation on the way", **look)
        alt += f" A dashed line has the {len(on_the_way)} validation scores on the way, "
        alt += f"of which the best is {min(on_the_way.values()):.3f}."
    late = bits[len(bits) // 20 :]  # the first few are far above all the others
    lowest = late.min()
    if score is not None:
        label = f"validation: {score:.3f}"
        axes.plot(steps[-1], score, "D", color=VERMILION, markersize=7, label=label)
        alt += f" A diamond at the end marks the validation score, {score:.3f}."
        lowest = min(lowest, score)
    axes.set_ylim(lowest - 0.1, late.max() + 0.1)
    axes.legend(fontsize=FONT - 1, frameon=False)
    return figure, alt


def cost_against_length(panels, *, ylabel, title):
    """One panel for each machine or count: a line a model against T, vertical lines where two of them meet.

    ``panels`` holds by name ``(lines, crossings)``: ``lines`` by name points ``(T, value)``, where None stands for a
    run that does not fit in memory; ``crossings`` by name a T, or None.
    """
    of_all = {"title": title, "xlabel": "T, tokens in a sequence", "ylabel": ylabel}
    figure, every = new_panels(panels, 6.2 * len(panels), 3.7, **of_all)
    words = []
    upright = []
    for axes, (panel, (models, crossings)) in zip(every, panels.items()):
        lines(axes, {name: tuple(zip(*points)) for name, points in models.items()}, markersize=6)
        mark_missing(axes)
        every_point = chain.from_iterable(models.values())
        powers_of_two(axes, sorted({T for T, _ in every_point}))
        logarithmic(axes)
        name_lines(axes)
        said = [in_words(axes, x="T = {:,}")]
        for name, T in crossings.items():
            if T is not None:
                upright.append(_crossing(axes, name, T))
            said.append(f"{name}: none here" if T is None else f"{name}: T = {T:.0f}")
        words.append(f"{panel}: " * bool(panel) + "; ".join(said))
    if upright:
        legend_below(figure, upright, [line.get_label() for line in upright])
    return figure, f"Line plots, both axes logarithmic, of {ylabel} against T. {'. '.join(words)}."


def _crossing(axes, name, T):
    """An upright line, with T behind its name for the legend."""
    dashes = next(dashes for word, dashes in CROSSINGS.items() if word in name)
    look = {"color": BLACK, "linewidth": 1.2, "linestyle": dashes, "zorder": 1}
    return axes.axvline(T, label=f"{name}: {T:,.0f}", **look)


def benchmark_results(result):
    """What ``flash-tutorial bench`` measured: step time and its floor, peak memory, decoding time and state size."""
    end = result["conclusions"]
    last, token = end["speedups"][-1], end["decoding"]["flash"]
    speed = ""
    if last["measured"] is not None:
        speed = f": FLASH / Transformer++ {1 / last['measured']:.2f} at T={last['T']}"
    growth = f"{token['ratio']:.2f} times as much at {token['long']} as at {token['short']}"
    panels = {  # by title: label of the y axis, rows, what a row says
        f"A step of the same tokens{speed}": ("seconds a step", "training", _median),
        "Memory of a step: only FLASH-Quad's grows with T": (
            "peak memory of a step, MB",
            "training",
            lambda row: row["peak_bytes"] and row["peak_bytes"] / 1e6,
        ),
        f"Decoding: FLASH costs {growth}": (
            "milliseconds a token",
            "decoding",
            lambda row: 1e3 * row["seconds"]["median"],
        ),
        "FLASH's state keeps its size, a cache grows": (
            "numbers in the state",
            "decoding",
            lambda row: row["state_numbers"],
        ),
    }
    places = {"training": "T", "decoding": "position"}
    labels = {"training": "T, tokens in a sequence", "decoding": "position of the token"}
    figure, every = new_panels(panels, 10.0, 7.6, rows=2)
    for axes, (ylabel, table, value) in zip(every, panels.values()):
        lines(axes, curves_of_models(result[table], places[table], value))
        axes.set_xlabel(labels[table], fontsize=FONT)
        axes.set_ylabel(ylabel, fontsize=FONT)
    _lines_of_floors(every[0], result["training"])
    for axes in every:
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.xaxis.set_major_formatter("{x:.0f}")
        axes.tick_params(which="both", labelsize=FONT - 1)
        axes.legend(fontsize=FONT - 1, frameon=False)
    return figure, _benchmark_in_words(result)


def _median(row):
    return row["seconds"] and row["seconds"]["median"]


def _lines_of_floors(axes, rows):
    """What the matrix products of a step alone take: dotted, in the colour of the model."""
    floors = curves_of_models(rows, "T", lambda row: row["floor"] and row["floor"]["median"])
    styles = looks(floors)
    for name, (lengths, seconds) in floors.items():
        look = {"color": styles[name][0], "linestyle": (0, (1, 3)), "linewidth": 1.4}
        axes.plot(lengths, seconds, label=f"{name}, products alone", **look)


def _benchmark_in_words(result):
    sizes, end = result["settings"], result["conclusions"]
    where = result["machine"].get("card", result["machine"]["cpu"])
    cross, token = end["crossover"], end["decoding"]
    crossover = "none" if cross["measured"] is None else f"T={cross['measured']}"
    return (
        f"Four line plots on logarithmic axes, measured on {where}, D={sizes['dim']}. A training step of "
        f"{sizes['tokens']} tokens: its time and its peak memory against T from {sizes['lengths'][0]} to "
        f"{sizes['lengths'][-1]}; measured crossover of FLASH and Transformer++: {crossover}. Decoding: from position "
        f"{token['flash']['short']} to {token['flash']['long']} the time of a token grows "
        f"{token['flash']['ratio']:.2f} times for FLASH and {token['transformer++']['ratio']:.2f} times for "
        "Transformer++; the state of FLASH keeps its size."
    )
