"""Every figure of the course. Each function returns the figure and its alt text, and draws nothing on a screen."""

import io
from html import escape

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, Rectangle

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


# ---------------------------------------------------------------- 02, gated attention unit


def gated_units():
    """The data flow of MLP, GLU and GAU side by side, with the shape of each array."""
    figure = Figure(figsize=(8.6, 4.5), dpi=100, layout="constrained")
    dense, single, mixing = (SKY, 0.8), (YELLOW, 0.8), (ORANGE, 2.6)
    columns = {  # name: boxes (text, x, y, kind), then arrows between them
        "MLP": (
            [("x (T, D)", 0, 0, None), ("W_in", 0, 1, dense), ("GELU (T, F)", 0, 2, single), ("W_out", 0, 5, dense),
             ("+ x (T, D)", 0, 6, None)],
            [(0, 1), (1, 2), (2, 3), (3, 4)],
        ),
        "GLU: a gate": (
            [("x (T, D)", 0, 0, None), ("W_gate", -0.55, 1, dense), ("W_value", 0.55, 1, dense),
             ("U (T, F)", -0.55, 2, single), ("V (T, F)", 0.55, 2, single), ("U × V (T, F)", 0, 4, single),
             ("W_out", 0, 5, dense), ("+ x (T, D)", 0, 6, None)],
            [(0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 5), (5, 6), (6, 7)],
        ),
        "GAU: a gate and a map": (
            [("x (T, D)", 0, 0, None), ("W_u", -1.15, 1, dense), ("W_v", 0, 1, dense), ("W_z", 1.15, 1, dense),
             ("U (T, E)", -1.15, 2, single), ("V (T, E)", 0, 2, single), ("Z (T, S)", 1.15, 2, single),
             ("A (T, T)", 1.15, 3, mixing), ("A V (T, E)", 0, 3, mixing), ("U × A V (T, E)", -0.4, 4, single),
             ("W_out", -0.4, 5, dense), ("+ x (T, D)", -0.4, 6, None)],
            [(0, 1), (0, 2), (0, 3), (1, 4), (2, 5), (3, 6), (6, 7), (5, 8), (7, 8), (4, 9), (8, 9), (9, 10),
             (10, 11)],
        ),
    }  # fmt: skip
    for axes, (name, (boxes, arrows)) in zip(figure.subplots(1, 3, width_ratios=(1, 1.7, 2.5)), columns.items()):
        _draw_flow(axes, boxes, arrows)
        edge = 0.75 + max(abs(x) for _, x, _, _ in boxes)
        axes.set(xlim=(-edge, edge), ylim=(6.5, -0.5))
        axes.set_axis_off()
        axes.set_title(name, fontsize=FONT)
    kinds = (("matrix product", dense), ("each number by itself", single), ("mixes tokens", mixing))
    marks = [Line2D([], [], color=colour, marker="s", markersize=9, linestyle="none") for _, (colour, _) in kinds]
    figure.legend(
        marks, [name + (" (thick frame)" if name.startswith("mixes") else "") for name, _ in kinds],
        loc="outside lower center", ncols=3, fontsize=FONT - 1, frameon=False,
    )  # fmt: skip
    figure.suptitle("From MLP to GAU: first a gate, then a map between the tokens", fontsize=FONT + 1)
    alt = (
        "Three drawings of data flow from x (T, D) down to x + branch (T, D). MLP: W_in, GELU (T, F), W_out. "
        "GLU: two products side by side, U and V (T, F) each, multiplied number by number, then W_out. "
        "GAU: three products, U and V (T, E) and Z (T, S); Z gives the map A (T, T), A mixes V, U gates A V, "
        "then W_out. Only A and A V mix tokens. There are 2, 3 and 4 matrices."
    )
    return figure, alt


def _draw_flow(axes, boxes, arrows):
    """Boxes ``(text, x, y, (colour, width of the frame) or None)`` and arrows between them, by number."""
    for text, x, y, kind in boxes:
        colour, frame = kind or ("white", 0.8)
        axes.text(
            x, y, text, ha="center", va="center", fontsize=9, zorder=3,
            bbox=dict(boxstyle="round,pad=0.35", facecolor=colour, edgecolor=BLACK, linewidth=frame),
        )  # fmt: skip
    for start, end in arrows:
        (_, x1, y1, _), (_, x2, y2, _) = boxes[start], boxes[end]
        level = y1 == y2
        begin = (x1 - 0.42 * np.sign(x1 - x2), y1) if level else (x1, y1 + 0.22)
        finish = (x2 + 0.48 * np.sign(x1 - x2), y2) if level else (x2, y2 - 0.22)
        axes.add_patch(
            FancyArrowPatch(begin, finish, arrowstyle="-|>", mutation_scale=9, shrinkA=0, shrinkB=0, color=BLACK)
        )


def numbers_in_squares(panels, *, row, title):
    """Small ``(T, T)`` arrays side by side, each number in its square; ``row`` (from 1) has a frame, nan is hidden."""
    figure = Figure(figsize=(9.0, 3.0), dpi=90, layout="constrained")
    for axes, (name, values) in zip(figure.subplots(1, len(panels), sharey=True), panels.items(), strict=True):
        T = len(values)
        size = np.nanmax(np.abs(values)) * 1.6  # light enough for black numbers
        axes.pcolormesh(np.ma.masked_invalid(values), cmap="PuOr_r", vmin=-size, vmax=size, edgecolors="#CCCCCC")
        for (i, j), value in np.ndenumerate(values):
            text = "·" if np.isnan(value) else f"{value:g}"
            axes.text(j + 0.5, i + 0.5, text, ha="center", va="center", fontsize=9)
        axes.add_patch(Rectangle((0, row - 1), T, 1, fill=False, edgecolor=BLACK, linewidth=2.2))
        axes.set(xlim=(-0.05, T + 0.05), ylim=(T + 0.05, -0.05), aspect="equal")
        axes.set_xticks(np.arange(T) + 0.5, range(1, T + 1))
        axes.set_yticks(np.arange(T) + 0.5, range(1, T + 1))
        axes.tick_params(labelsize=FONT - 1, length=0)
        axes.spines[:].set_visible(False)
        axes.set_title(name, fontsize=FONT)
        axes.set_xlabel("token j that is read", fontsize=FONT)
    figure.axes[0].set_ylabel("token i that reads", fontsize=FONT)
    figure.suptitle(title, fontsize=FONT + 1)
    rows = "; ".join(
        f"{name}: {', '.join('hidden' if np.isnan(v) else f'{v:g}' for v in values[row - 1])}"
        for name, values in panels.items()
    )
    T = len(next(iter(panels.values())))
    return figure, f"{len(panels)} squares of {T} by {T} numbers. Row {row}, in a frame: {rows}."


def bias_tables(tables):
    """Position biases: ``tables`` holds by name an ``(n, n)`` array; above each its values by distance j - i."""
    figure = Figure(figsize=(7.4, 4.4), dpi=90, layout="constrained")
    panels = figure.subplots(2, len(tables), height_ratios=(1, 2))
    words = []
    for axes, below, (name, table) in zip(*panels, tables.items(), strict=True):
        n = len(table)
        by_distance = np.concatenate([table[::-1, 0], table[0, 1:]])
        axes.bar(np.arange(1 - n, n), by_distance, width=1, color=SKY, edgecolor=BLUE, linewidth=0.5, snap=True)
        axes.axvline(0, color=BLACK, linewidth=1, linestyle="--")
        axes.set_xlabel("distance j - i", fontsize=FONT)
        axes.set_title(name, fontsize=FONT)
        axes.spines[["top", "right"]].set_visible(False)
        size = np.abs(table).max()
        below.imshow(
            table, cmap="PuOr_r", vmin=-size, vmax=size, extent=(0, n, n, 0), interpolation="nearest",
        )  # fmt: skip
        below.plot([0, n], [0, n], "--", color=BLACK, linewidth=1)
        below.set(xlim=(0, n), ylim=(n, 0), aspect="equal")
        below.set_xlabel("token j that is read", fontsize=FONT)
        for both in (axes, below):
            both.tick_params(labelsize=FONT - 1)
        words.append(f"{name}: {by_distance.min():.2f} to {by_distance.max():.2f}, {by_distance[n - 1]:.2f} at 0")
    panels[0, 0].set_ylabel("bias", fontsize=FONT)
    panels[1, 0].set_ylabel("token i that reads", fontsize=FONT)
    figure.suptitle("Each diagonal holds one number: the bias is a table by distance", fontsize=FONT + 1)
    alt = (
        f"For each form of the bias bars by distance and below them the n by n table, n = {n}. Along every "
        f"diagonal the table keeps its colour. The Toeplitz values jump, the rotary ones are waves. {'; '.join(words)}."
    )
    return figure, alt


def map_readings(lengths, rows, *, title):
    """Row sums of the map against n, by reading of the formula: ``rows`` holds by name a number for each length."""
    figure, axes = new_axes(6.2, 3.3, "n, tokens in the sequence", "sum of a row of the map", title)
    styles = zip((VERMILION, BLACK, BLUE, GREEN), ("s--", "D:", "o-", "^-."))
    for (name, sums), (colour, style) in zip(rows.items(), styles):
        axes.plot(lengths, sums, style, color=colour, markersize=6, linewidth=1.8, label=name)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.xaxis.set_major_formatter("{x:.0f}")
    axes.legend(fontsize=FONT - 1, frameon=False)
    ends = "; ".join(f"{name}: {sums[0]:.2g} to {sums[-1]:.2g}" for name, sums in rows.items())
    alt = (
        f"Line plot, both axes logarithmic: the mean sum of a row of the map, from n = {lengths[0]} to "
        f"{lengths[-1]}. {ends}."
    )
    return figure, alt


def attention_maps(maps, letters, *, title):
    """Maps side by side, each scaled to its largest weight: rows read columns, both named by their ``letters``."""
    figure = Figure(figsize=(8.6, 5.0), dpi=90, layout="constrained")
    words = []
    for axes, (name, weights) in zip(figure.subplots(1, len(maps)), maps.items(), strict=True):
        T = len(letters)
        axes.imshow(
            np.ma.masked_equal(weights, 0), cmap="Blues", vmin=0, vmax=weights.max(), extent=(0, T, T, 0),
            interpolation="nearest",
        )  # fmt: skip
        axes.plot([0, T], [0, T], ":", color=BLACK, linewidth=1)
        axes.set(xlim=(0, T), ylim=(T, 0), aspect="equal")
        places = np.arange(T) + 0.5
        axes.set_xticks(places, [c.replace(" ", "_") for c in letters], fontfamily="monospace")
        axes.set_yticks(places, [c.replace(" ", "_") for c in letters], fontfamily="monospace")
        axes.tick_params(labelsize=FONT - 1, length=0)
        axes.set_facecolor("#F2F2F2")
        axes.set_title(name, fontsize=FONT)
        axes.set_xlabel("byte that is read", fontsize=FONT)
        words.append(f"{name}: {(weights[np.tri(T, dtype=bool)] == 0).mean():.0%} of the allowed places are exactly 0")
    figure.axes[0].set_ylabel("byte that reads", fontsize=FONT)
    figure.suptitle(title, fontsize=FONT + 1)
    alt = (
        f"{len(maps)} maps of {len(letters)} by {len(letters)} bytes, darker for larger weights, grey for exactly 0. "
        f"{'; '.join(words)}."
    )
    return figure, alt


# ---------------------------------------------------------------- 01, attention


def attention_by_hand(tokens, counts):
    """Two maps of the same attention with their numbers: exp(score), then each row divided by its sum.

    ``tokens``: T short names. ``counts``: exp(score), ``(T, T)``, a row for each token that reads.
    """
    counts = np.asarray(counts)
    weights = counts / counts.sum(1, keepdims=True)
    figure = Figure(figsize=(8.6, 4.1), dpi=100, layout="constrained")
    panels = (
        ("1. compare: exp(score)", counts, "{:.0f}"),
        ("2. divide by the sum of the row: weight", weights, "{:.2f}"),
    )
    for axes, (title, numbers, form) in zip(figure.subplots(1, 2), panels):
        top = numbers.max()
        for (i, j), number in np.ndenumerate(numbers):
            shade = 0.75 * number / top  # of blue; dark text stays readable on it
            axes.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, facecolor=BLUE, alpha=shade, linewidth=0))
            axes.text(j, i, form.format(number), ha="center", va="center", fontsize=FONT)
        names = [f"{name}\n{t + 1}" for t, name in enumerate(tokens)]
        axes.set_xticks(range(len(tokens)), names)
        axes.set_yticks(range(len(tokens)), [name.replace("\n", " ") for name in names])
        axes.set(xlim=(-0.5, len(tokens) - 0.5), ylim=(len(tokens) - 0.5, -0.5), aspect="equal")
        axes.tick_params(labelsize=FONT, length=0)
        axes.set_title(title, fontsize=FONT)
        axes.set_xlabel("token j that is read", fontsize=FONT)
    figure.axes[0].set_ylabel("token i that reads", fontsize=FONT)
    figure.suptitle("A row of the map says how a token divides its attention", fontsize=FONT + 1)
    last = ", ".join(f"{weight:.2f}" for weight in weights[-1])
    alt = (
        f"Two maps of {len(tokens)} by {len(tokens)} numbers for the tokens {' '.join(tokens)}. On the left "
        f"exp(score), on the right the same with each row divided by its sum. The last row of weights: {last}."
    )
    return figure, alt


def who_sees_whom(maps, title):
    """What a test found, by name ``(T, T)`` bool: squares where a token sees itself or earlier ones, crosses where it
    sees a later one."""
    figure = Figure(figsize=(8.6, 3.7), dpi=100, layout="constrained")
    for axes, (name, sees) in zip(figure.subplots(1, len(maps), sharey=True), maps.items(), strict=True):
        T = len(sees)
        for part, colour, marker in ((np.tril(sees), BLUE, "s"), (np.triu(sees, 1), VERMILION, "x")):
            rows, columns = np.nonzero(part)
            axes.plot(
                columns + 1, rows + 1, marker, color=colour, markersize=8, markeredgewidth=2, linestyle="none"
            )  # fmt: skip
        axes.plot([0.5, T + 0.5], [0.5, T + 0.5], "-", color=BLACK, linewidth=0.8, alpha=0.4)
        axes.set(xlim=(0.4, T + 0.6), ylim=(T + 0.6, 0.4), aspect="equal")
        axes.set_xticks(range(1, T + 1))
        axes.set_yticks(range(1, T + 1))
        axes.tick_params(labelsize=FONT - 1)
        axes.set_title(name, fontsize=FONT)
        axes.set_xlabel("token that is changed", fontsize=FONT)
    figure.axes[0].set_ylabel("token whose output changes", fontsize=FONT)
    figure.suptitle(title, fontsize=FONT + 1)
    marks = [
        Line2D([], [], color=colour, marker=marker, linestyle="none", markersize=8, markeredgewidth=2)
        for colour, marker in ((BLUE, "s"), (VERMILION, "x"))
    ]
    figure.legend(
        marks, ["sees itself or an earlier token", "sees a later token"], loc="outside lower center", ncols=2,
        fontsize=FONT - 1, frameon=False,
    )  # fmt: skip
    found = "; ".join(
        f"{name}: {np.tril(sees).sum()} pairs on or below the diagonal, {np.triu(sees, 1).sum()} above it"
        for name, sees in maps.items()
    )
    return figure, f"{len(maps)} maps of {T} by {T} tokens, found by changing one token at a time. {found}."


def cost_of_a_block(lengths, parts, *, title):
    """Multiply-adds of the parts of a layer against T: ``parts`` holds by name one number for each length."""
    figure, axes = new_axes(6.2, 3.2, "T, tokens in a text (each step doubles)", "multiply-adds in billions", title)
    styles = zip((VERMILION, BLUE, GREEN), ("s", "o", "^"), ("--", "-", "-."))
    for (name, numbers), (colour, marker, line) in zip(parts.items(), styles):
        billions = np.asarray(numbers) / 1e9
        axes.plot(lengths, billions, line, marker=marker, color=colour, linewidth=1.8, label=name)
        axes.annotate(
            f"{billions[-1]:.0f}", (lengths[-1], billions[-1]), xytext=(7, 0), textcoords="offset points",
            va="center", fontsize=FONT - 1, color=colour,
        )  # fmt: skip
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(lengths, [f"{T:,}" for T in lengths])
    axes.yaxis.set_major_formatter("{x:g}")
    axes.tick_params(which="both", labelsize=FONT - 1)
    axes.legend(fontsize=FONT - 1, frameon=False)
    ends = "; ".join(f"{name} from {n[0] / 1e9:.2f} to {n[-1] / 1e9:.0f} billion" for name, n in parts.items())
    alt = f"Line plot, both axes logarithmic, of multiply-adds against T from {lengths[0]} to {lengths[-1]}: {ends}."
    return figure, alt


def turned_pairs(query, key, places):
    """A query and a key of two numbers, turned by their places (RoPE): one circle for each pair of ``places``."""
    figure = Figure(figsize=(8.6, 3.2), dpi=100, layout="constrained")
    scores = []
    for axes, pair in zip(figure.subplots(1, len(places)), places):
        axes.plot(*_circle(), ":", color=BLACK, linewidth=0.8)
        turned = [_turn(vector, place) for vector, place in zip((query, key), pair)]
        looks = (("query", BLUE, "o", "-"), ("key", VERMILION, "s", "--"))
        for (x, y), place, (name, colour, marker, line) in zip(turned, pair, looks):
            axes.plot([0, x], [0, y], line, color=colour, linewidth=2)
            axes.plot(x, y, marker, color=colour, markersize=8)
            axes.text(1.5 * x, 1.4 * y, f"{name}\nplace {place}", ha="center", va="center", fontsize=9, color=colour)
        scores.append(float(turned[0] @ turned[1]))
        axes.set(xlim=(-2.0, 2.0), ylim=(-1.7, 1.7), aspect="equal")
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
        axes.set_title(f"distance {pair[0] - pair[1]}: score {scores[-1]:.2f}", fontsize=FONT)
    figure.suptitle("RoPE turns each arrow by its place; the angle between them tells the distance", fontsize=FONT + 1)
    said = "; ".join(f"places {a} and {b}: score {s:.2f}" for (a, b), s in zip(places, scores))
    return figure, f"{len(places)} circles, in each a query and a key as arrows, turned by their places. {said}."


def _circle():
    angle = np.linspace(0, 2 * np.pi, 100)
    return np.cos(angle), np.sin(angle)


def _turn(vector, angle):
    (x, y), cos, sin = vector, np.cos(angle), np.sin(angle)
    return np.array([x * cos - y * sin, y * cos + x * sin])


def scores_when_moved(scores, *, distance):
    """The score of one pair of tokens against the place where the pair stands: ``scores`` holds a row by name."""
    title = "Move two tokens together: only RoPE keeps their score"
    figure, axes = new_axes(6.2, 3.2, f"place of the key; the query stands {distance} further", "score", title)
    styles = zip((VERMILION, ORANGE, BLUE), ("s", "^", "o"), (":", "--", "-"))
    for (name, row), (colour, marker, line) in zip(scores.items(), styles):
        axes.plot(row, line, marker=marker, markersize=4, markevery=2, color=colour, linewidth=1.6, label=name)
    axes.set_ylim(top=axes.get_ylim()[1] + 0.35 * np.ptp(axes.get_ylim()))
    axes.legend(fontsize=FONT - 1, frameon=False, ncols=len(scores), loc="upper center")
    spread = ", ".join(f"{name} between {min(row):.2f} and {max(row):.2f}" for name, row in scores.items())
    alt = f"Line plot of one score against the place of a pair of tokens {distance} apart: {spread}."
    return figure, alt


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
