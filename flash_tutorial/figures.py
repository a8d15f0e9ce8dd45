"""Every figure of the course. Each function returns the figure and its alt text, and draws nothing on a screen."""

import io
from html import escape

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

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


# ---------------------------------------------------------------- in a notebook


def show(figure, alt, table=None):
    """Display a figure in a notebook: a PNG with its alt text, and in a fold the same in words and as a table.

    ``table``: rows of text or numbers, the first one the header. The same figure gives the same bytes.
    """
    from IPython.display import HTML, Image, display

    png = io.BytesIO()
    figure.savefig(png, format="png", facecolor="white", metadata={"Software": None, "Description": alt})
    display(Image(data=png.getvalue(), format="png", alt=alt))
    text = f"<p>{escape(alt)}</p>" + ("" if table is None else f"<pre>{escape(text_table(table))}</pre>")
    display(HTML(f"<details><summary>The picture in words{' and numbers' if table else ''}</summary>{text}</details>"))


def text_table(rows):
    """Rows as lines of text, the first column to the left, all others to the right."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(cell.rjust(width) if i else cell.ljust(width) for i, (cell, width) in enumerate(zip(row, widths)))
        for row in cells
    ]
    return "\n".join(line.rstrip() for line in lines)


# ---------------------------------------------------------------- 00, the tour

UNREAD, DIRECT, SUMMED = 0, 1, 2  # what a map of ``who_reads_whom`` holds


def who_reads_whom(maps, chunk_size):
    """Maps of who reads whom, side by side: ``maps`` holds, by name, a ``(T, T)`` array of UNREAD, DIRECT, SUMMED.

    A row is the token that reads, a column the one that is read. Thick lines mark the chunks of C tokens.
    """
    figure = Figure(figsize=(8.6, 3.3), dpi=120, layout="constrained")
    for axes, (name, who) in zip(figure.subplots(1, len(maps), sharey=True), maps.items(), strict=True):
        T = len(who)
        for kind, colour, marker in ((DIRECT, BLUE, "s"), (SUMMED, ORANGE, "o")):
            rows, columns = np.nonzero(who == kind)
            axes.plot(columns, rows, marker, color=colour, markersize=6.5 if kind == DIRECT else 5, linestyle="none")
        for border in np.arange(chunk_size, T, chunk_size) - 0.5:
            axes.axhline(border, color=BLACK, linewidth=0.8, alpha=0.5)
            axes.axvline(border, color=BLACK, linewidth=0.8, alpha=0.5)
        axes.set(xlim=(-0.6, T - 0.4), ylim=(T - 0.4, -0.6), aspect="equal")
        ticks = range(0, T, chunk_size)
        axes.set_xticks(ticks, [t + 1 for t in ticks])
        axes.set_yticks(ticks, [t + 1 for t in ticks])
        axes.tick_params(labelsize=FONT - 1)
        axes.set_title(name, fontsize=FONT)
        axes.set_xlabel("token that is read", fontsize=FONT)
    figure.axes[0].set_ylabel("token that reads", fontsize=FONT)
    figure.suptitle("Mixed chunk attention: near tokens one by one, far ones through a sum", fontsize=FONT + 1)
    marks = [
        Line2D([], [], color=colour, marker=marker, linestyle="none") for colour, marker in ((BLUE, "s"), (ORANGE, "o"))
    ]
    figure.legend(
        marks, ["read one by one", "read through a sum"], loc="outside lower center", ncols=2, fontsize=FONT - 1,
        frameon=False,
    )  # fmt: skip
    counts = "; ".join(
        f"{name}: {(who == DIRECT).sum()} pairs one by one, {(who == SUMMED).sum()} through a sum"
        for name, who in maps.items()
    )
    alt = (
        f"{len(maps)} maps of {T} by {T} tokens in chunks of {chunk_size}, rows read columns, all on or below the "
        f"diagonal. {counts}."
    )
    return figure, alt


def loss_curves(curves, *, window=20, title):
    """Training curves of several models: ``curves`` holds by name the bits per byte of each update."""
    figure, axes = new_axes(xlabel="update", ylabel=f"bits per byte, mean over {window} updates", title=title)
    styles = zip((VERMILION, BLUE, GREEN, ORANGE), ("--", "-", "-.", ":"))
    ends = []
    for (name, bits), (colour, style) in zip(curves.items(), styles):
        mean = np.convolve(bits, np.full(window, 1 / window), mode="valid")
        axes.plot(np.arange(window, len(bits) + 1), mean, style, color=colour, linewidth=2, label=name)
        axes.annotate(
            f"{mean[-1]:.2f}", (len(bits), mean[-1]), xytext=(4, 0), textcoords="offset points", fontsize=FONT,
            va="center", color=colour,
        )  # fmt: skip
        ends.append(f"{name} from {mean[0]:.2f} to {mean[-1]:.2f}")
    axes.set_xlim(0, 1.08 * max(map(len, curves.values())))
    axes.legend(fontsize=FONT - 1, frameon=False)
    return figure, f"Line plot of bits per byte over the updates of a training run: {', '.join(ends)}."


def operations_and_time(rows):
    """Two bars a method, operations and time: ``rows`` holds by name ``(FLOPs, milliseconds)``, the first the base."""
    names = list(rows)
    figure = Figure(figsize=(7.5, 2.8), dpi=120, layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    units = (("operations in millions", 1e-6, SKY, "//"), ("time in milliseconds", 1.0, ORANGE, ".."))
    for axes, place, (label, factor, colour, hatch) in zip((left, right), (0, 1), units):
        values = [rows[name][place] * factor for name in names]
        axes.barh(names, values, color=colour, hatch=hatch, edgecolor=BLACK, linewidth=0.6)
        for y, value in enumerate(values):
            axes.text(value, y, f" {value:.3g}", va="center", fontsize=FONT - 1)
        axes.set_xlim(0, 1.2 * max(values))
        axes.set_xlabel(label, fontsize=FONT)
        axes.tick_params(labelsize=FONT - 1)
        axes.spines[["top", "right"]].set_visible(False)
    left.invert_yaxis()
    (flops, time), (other_flops, other_time) = rows[names[0]], rows[names[1]]
    message = f"{names[1]}: {flops / other_flops:.3g} times fewer operations, {other_time / time:.3g} times the time"
    figure.suptitle(message, fontsize=FONT + 1)
    numbers = "; ".join(f"{name}: {f * 1e-6:.3g} million, {ms:.3g} ms" for name, (f, ms) in rows.items())
    return figure, f"Bars of the operations and of the time of two ways to mix tokens. {numbers}."


def bits_ladder(rows, *, title):
    """One bar for each way to guess the next byte: ``rows`` holds by name its bits per byte."""
    figure, axes = new_axes(width=7.0, height=3.0, xlabel="bits per byte (less is better)", title=title)
    names, bits = list(rows), list(rows.values())
    colours = [SKY] * (len(names) - 1) + [ORANGE]
    axes.barh(names, bits, color=colours, edgecolor=BLACK, linewidth=0.6, hatch=[""] * (len(names) - 1) + ["//"])
    for y, value in enumerate(bits):
        axes.text(value, y, f" {value:.2f}", va="center", fontsize=FONT)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set_xlim(0, 1.1 * max(bits))
    return figure, "Bars of bits per byte: " + ", ".join(f"{n} {b:.2f}" for n, b in rows.items()) + "."


def loss_by_position(by_position, *, title):
    """Bits per byte against the place in the window, as means over places 1, 2-3, 4-7, 8-15 ..."""
    T = len(by_position)
    starts = [2**i for i in range(max(1, T.bit_length() - 1))]
    ends = [a - 1 for a in starts[1:]] + [T]
    rows = [(a, b, float(np.mean(by_position[a - 1 : b]))) for a, b in zip(starts, ends)]
    figure, axes = new_axes(
        height=3.4, xlabel="place of the byte in the window (doubling)", ylabel="bits per byte", title=title
    )
    places, bits = range(len(rows)), [row[2] for row in rows]
    axes.plot(places, bits, "o-", color=BLUE, linewidth=1.8)
    axes.set_xticks(places, [str(a) if a == b else f"{a}-{b}" for a, b, _ in rows])
    axes.tick_params(axis="x", labelrotation=30)
    for x, value in zip(places, bits):
        axes.annotate(f"{value:.2f}", (x, value), xytext=(0, 6), textcoords="offset points", ha="center", fontsize=9)
    axes.set_ylim(0, 1.15 * max(bits))
    alt = f"Line plot of bits per byte by place in a window of {T}: " + ", ".join(
        f"{value:.2f} at {a if a == b else f'{a} to {b}'}" for a, b, value in rows
    )
    return figure, alt + "."


# ---------------------------------------------------------------- in the README


def step_time(result):
    """Time of a training step for each token against T, FLASH and Transformer++, with their crossover."""
    figure, axes = new_axes(7.4, 3.9, "T, tokens in a sequence", "microseconds a token", "")
    tokens = result["settings"]["tokens"]
    names = ("flash", "transformer++")
    for model in names:
        color, marker, line, name = MODEL_STYLES[model]
        points = [(row["T"], 1e6 * _median(row) / tokens) for row in result["training"] if row["model"] == model]
        axes.plot(*zip(*points), line, color=color, marker=marker, markersize=5, linewidth=1.8, label=name)
    cross = result["conclusions"]["crossover"]["measured"]
    last = result["conclusions"]["speedups"][-1]
    if cross:
        axes.axvline(cross, color=BLACK, linewidth=1, linestyle=":")
        axes.annotate(f" even at T = {cross:,}", (cross, axes.get_ylim()[1]), va="top", fontsize=FONT - 1)
    title = f"FLASH costs the same at any length: {last['measured']:.1f} times as fast at T = {last['T']:,}"
    axes.set_title(title, fontsize=FONT + 1)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.yaxis.set_major_formatter("{x:.0f}")
    axes.yaxis.set_minor_formatter("{x:.0f}")
    axes.tick_params(which="both", labelsize=FONT - 1)
    axes.legend(fontsize=FONT - 1, frameon=False, loc="center left")
    alt = (
        f"Line plot, both axes logarithmic: microseconds for each token of a training step against T. Transformer++ "
        f"climbs, FLASH stays flat; they meet at T = {cross}, and at T = {last['T']} FLASH is {last['measured']:.1f} "
        "times as fast."
    )
    return figure, alt
