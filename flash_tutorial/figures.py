"""Every figure of the course. Each function returns the figure and its alt text, and draws nothing on a screen."""

import numpy as np
from matplotlib.figure import Figure

# Okabe and Ito's colours: told apart with any colour vision, and in grey by their lightness
BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILION, PURPLE = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7",
)  # fmt: skip
FONT = 10  # points; nothing smaller than 9


def new_axes(width=7.0, height=4.0, xlabel="", ylabel="", title=""):
    """A figure with one pair of axes in the course's style."""
    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(xlabel, fontsize=FONT)
    axes.set_ylabel(ylabel, fontsize=FONT)
    axes.set_title(title, fontsize=FONT + 1)
    axes.tick_params(labelsize=FONT - 1)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def training_curve(rows, score=None, *, window=25, title="Training"):
    """Bits per byte against the update: each batch, the mean over the last ones, and the score at the end.

    ``rows`` are those of a run's log, ``score`` its bits per byte on text that it was not trained on. The mean is over
    ``window`` updates, but over a tenth of a short run.
    """
    if not rows:
        raise ValueError("rows is empty: expected the log of a run with at least one update")
    window = max(1, min(window, len(rows) // 10))
    steps = np.array([row["step"] for row in rows])
    bits = np.array([row["bits_per_byte"] for row in rows])
    sums = np.cumsum(np.concatenate([[0.0], bits]))
    first = np.maximum(np.arange(1, len(bits) + 1) - window, 0)
    mean = (sums[1:] - sums[first]) / (np.arange(1, len(bits) + 1) - first)

    figure, axes = new_axes(xlabel="update", ylabel="bits per byte", title=title)
    axes.plot(steps, bits, ".", color=SKY, markersize=3, label="one batch")
    axes.plot(steps, mean, "-", color=BLUE, linewidth=1.8, label=f"mean over {window} batches")
    if score is not None:
        axes.plot(steps[-1], score, "D", color=VERMILION, markersize=7, label=f"validation: {score:.3f}")
    late = bits[len(bits) // 20 :]  # the first few are far above all the others
    axes.set_ylim(min(late.min(), score or np.inf) - 0.1, late.max() + 0.1)
    axes.legend(fontsize=FONT - 1, frameon=False)
    alt = (
        f"Line plot of bits per byte over {len(steps)} updates: from {bits[0]:.2f} at the first to {mean[-1]:.2f}, "
        f"the mean over the last {window}."
    )
    if score is not None:
        alt += f" A diamond at the end marks the validation score, {score:.3f}."
    return figure, alt


MODEL_STYLES = {  # colour, marker, line, name
    "flash": (BLUE, "o", "-", "FLASH"),
    "flash_quad": (GREEN, "^", "-.", "FLASH-Quad"),
    "transformer++": (VERMILION, "s", "--", "Transformer++"),
    "flash_pytorch": (PURPLE, "D", ":", "FLASH-pytorch"),
}


def benchmark_results(result):
    """What ``flash-tutorial bench`` measured: step time and its floor, peak memory, decoding time and state size."""
    figure = Figure(figsize=(10.0, 7.6), dpi=120, layout="constrained")
    end = result["conclusions"]
    last, token = end["speedups"][-1], end["decoding"]["flash"]
    speed = "" if last["measured"] is None else f": FLASH / Transformer++ {1 / last['measured']:.2f} at T={last['T']}"
    rows, steps = result["training"], result["decoding"]
    panels = [
        ("T, tokens in a sequence", "seconds a step", f"A step of the same tokens{speed}", rows, _median),
        (
            "T, tokens in a sequence", "peak memory of a step, MB", "Memory of a step: only FLASH-Quad's grows with T",
            rows, _megabytes,
        ),
        (
            "position of the token", "milliseconds a token",
            f"Decoding: FLASH costs {token['ratio']:.2f} times as much at {token['long']} as at {token['short']}",
            steps, _milliseconds,
        ),
        ("position of the token", "numbers in the state", "FLASH's state keeps its size, a cache grows", steps, _state),
    ]  # fmt: skip
    for i, (xlabel, ylabel, title, table, value) in enumerate(panels):
        axes = figure.add_subplot(2, 2, i + 1)
        axes.set_xlabel(xlabel, fontsize=FONT)
        axes.set_ylabel(ylabel, fontsize=FONT)
        axes.set_title(title, fontsize=FONT)
        _model_lines(axes, table, value)
        if i == 0:
            _floor_lines(axes, table)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.xaxis.set_major_formatter("{x:.0f}")
        axes.tick_params(which="both", labelsize=FONT - 1)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(fontsize=FONT - 1, frameon=False)
    return figure, _benchmark_alt(result)


def _place(row):
    return row.get("T") or row["position"]


def _median(row):
    return row["seconds"] and row["seconds"]["median"]


def _milliseconds(row):
    return 1e3 * row["seconds"]["median"]


def _megabytes(row):
    return row["peak_bytes"] and row["peak_bytes"] / 1e6


def _state(row):
    return row["state_numbers"]


def _model_lines(axes, table, value):
    for model, (color, marker, line, name) in MODEL_STYLES.items():
        points = [(_place(row), value(row)) for row in table if row["model"] == model and value(row)]
        if points:
            axes.plot(*zip(*points), line, color=color, marker=marker, markersize=5, linewidth=1.6, label=name)


def _floor_lines(axes, table):
    for model, (color, _, _, name) in MODEL_STYLES.items():
        points = [(_place(row), row["floor"]["median"]) for row in table if row["model"] == model and row["floor"]]
        if points:
            axes.plot(*zip(*points), linestyle=(0, (1, 3)), color=color, linewidth=1.4, label=f"{name}, products alone")


def _benchmark_alt(result):
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
