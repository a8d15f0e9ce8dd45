"""What attention costs: counted operations, time, memory."""

from matplotlib.figure import Figure

from .style import BLACK, FONT, looks, new_axes

NAMES = {
    "flash": "FLASH",
    "flash_quad": "FLASH-Quad",
    "transformer++": "Transformer++",
    "flash_pytorch": "FLASH-pytorch",
}
# colour, marker, line, name
MODEL_STYLES = {model: (*looks([name])[name], name) for model, name in NAMES.items()}


def benchmark_results(result):
    """What ``flash-tutorial bench`` measured: step time and its floor, peak memory, decoding time and state size."""
    figure = Figure(figsize=(10.0, 7.6), dpi=120, layout="constrained")
    end = result["conclusions"]
    last, token = end["speedups"][-1], end["decoding"]["flash"]
    speed = (
        ""
        if last["measured"] is None
        else f": FLASH / Transformer++ {1 / last['measured']:.2f} at T={last['T']}"
    )
    rows, steps = result["training"], result["decoding"]
    panels = [
        (
            "T, tokens in a sequence",
            "seconds a step",
            f"A step of the same tokens{speed}",
            rows,
            _median,
        ),
        (
            "T, tokens in a sequence",
            "peak memory of a step, MB",
            "Memory of a step: only FLASH-Quad's grows with T",
            rows,
            _megabytes,
        ),
        (
            "position of the token",
            "milliseconds a token",
            f"Decoding: FLASH costs {token['ratio']:.2f} times as much at {token['long']} as at {token['short']}",
            steps,
            _milliseconds,
        ),
        (
            "position of the token",
            "numbers in the state",
            "FLASH's state keeps its size, a cache grows",
            steps,
            _state,
        ),
    ]
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
        points = [
            (_place(row), value(row)) for row in table if row["model"] == model and value(row)
        ]
        if points:
            axes.plot(
                *zip(*points),
                linestyle=line,
                color=color,
                marker=marker,
                markersize=5,
                linewidth=1.6,
                label=name,
            )


def _floor_lines(axes, table):
    for model, (color, _, _, name) in MODEL_STYLES.items():
        points = [
            (_place(row), row["floor"]["median"])
            for row in table
            if row["model"] == model and row["floor"]
        ]
        if points:
            axes.plot(
                *zip(*points),
                linestyle=(0, (1, 3)),
                color=color,
                linewidth=1.4,
                label=f"{name}, products alone",
            )


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


def operations_and_time(rows):
    """Two bars a method: ``rows`` holds by name ``(multiply-adds, milliseconds)``, the first the base."""
    names = list(rows)
    styles = looks(rows)
    figure = Figure(figsize=(6.2, 2.3), dpi=120, layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    units = (("multiply-adds in millions", 1e-6, "//"), ("time in milliseconds", 1.0, ".."))
    for axes, place, (label, factor, hatch) in zip((left, right), (0, 1), units):
        values = [rows[name][place] * factor for name in names]
        axes.barh(
            [name.replace(", ", ",\n") for name in names],
            values,
            color=[styles[name][0] for name in names],
            hatch=hatch,
            edgecolor=BLACK,
            linewidth=0.6,
        )
        for y, value in enumerate(values):
            axes.text(value, y, f" {value:.3g}", va="center", fontsize=FONT - 1)
        axes.set_xlim(0, 1.25 * max(values))
        axes.set_xlabel(label, fontsize=FONT)
        axes.tick_params(labelsize=FONT - 1)
        axes.tick_params(axis="y", length=0)
        axes.spines[["top", "right"]].set_visible(False)
    left.invert_yaxis()
    (counted, time), (other_counted, other_time) = rows[names[0]], rows[names[1]]
    message = (
        f"{names[1].partition(',')[0].capitalize()}: {other_counted / counted:.3g} times the multiply-adds, "
        f"{other_time / time:.3g} times the time"
    )
    figure.suptitle(message, fontsize=FONT + 1)
    numbers = "; ".join(
        f"{name}: {f * 1e-6:.3g} million, {ms:.3g} ms" for name, (f, ms) in rows.items()
    )
    return (
        figure,
        f"Bars of the multiply-adds and of the time of two ways to mix tokens. {numbers}.",
    )


def step_time(result):
    """Time of a training step for each token against T, FLASH and Transformer++, with their crossover."""
    figure, axes = new_axes(7.4, 3.9, "T, tokens in a sequence", "microseconds a token", "")
    tokens = result["settings"]["tokens"]
    names = ("flash", "transformer++")
    for model in names:
        color, marker, line, name = MODEL_STYLES[model]
        points = [
            (row["T"], 1e6 * _median(row) / tokens)
            for row in result["training"]
            if row["model"] == model
        ]
        axes.plot(
            *zip(*points),
            linestyle=line,
            color=color,
            marker=marker,
            markersize=5,
            linewidth=1.8,
            label=name,
        )
    cross = result["conclusions"]["crossover"]["measured"]
    last = result["conclusions"]["speedups"][-1]
    if cross:
        axes.axvline(cross, color=BLACK, linewidth=1, linestyle=":")
        axes.annotate(
            f" even at T = {cross:,}", (cross, axes.get_ylim()[1]), va="top", fontsize=FONT - 1
        )
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
