"""Training and its result: loss curves, scores, loss by position."""

import numpy as np

from .style import BLACK, BLUE, FONT, SKY, VERMILION, looks, new_axes


def training_curve(rows, score=None, *, window=25, title="Training"):
    """Bits per byte (or token) against the update: each batch, the mean over the last ones, and scores.

    ``rows`` are those of a run's log, ``score`` its bits per byte at the end, on text that it was not trained on. The
    mean is over ``window`` updates, but over a tenth of a short run.
    """
    if not rows:
        raise ValueError("rows is empty: expected the log of a run with at least one update")
    window = max(1, min(window, len(rows) // 10))
    steps = np.array([row["step"] for row in rows])
    unit = "byte" if "bits_per_byte" in rows[0] else "token"
    bits = np.array([row[f"bits_per_{unit}"] for row in rows])
    scored = f"validation_bits_per_{unit}"
    sums = np.cumsum(np.concatenate([[0.0], bits]))
    first = np.maximum(np.arange(1, len(bits) + 1) - window, 0)
    mean = (sums[1:] - sums[first]) / (np.arange(1, len(bits) + 1) - first)

    figure, axes = new_axes(xlabel="update", ylabel=f"bits per {unit}", title=title)
    axes.plot(steps, bits, ".", color=SKY, markersize=3, label="one batch")
    axes.plot(steps, mean, "-", color=BLUE, linewidth=1.8, label=f"mean over {window} batches")
    if score is not None:
        axes.plot(
            steps[-1], score, "D", color=VERMILION, markersize=7, label=f"validation: {score:.3f}"
        )
    on_the_way = [(row["step"], row[scored]) for row in rows if scored in row]
    if on_the_way:
        axes.plot(
            *zip(*on_the_way), "--", color=VERMILION, linewidth=1.2, label="validation on the way"
        )
    late = bits[len(bits) // 20 :]  # the first few are far above all the others
    axes.set_ylim(min(late.min(), score or np.inf) - 0.1, late.max() + 0.1)
    axes.legend(fontsize=FONT - 1, frameon=False)
    alt = (
        f"Line plot of bits per {unit} over {len(steps)} updates: from {bits[0]:.2f} at the first to {mean[-1]:.2f}, "
        f"the mean over the last {window}."
    )
    if on_the_way:
        best = min(value for _, value in on_the_way)
        alt += f" A dashed line has the {len(on_the_way)} validation scores on the way, "
        alt += f"of which the best is {best:.3f}."
    if score is not None:
        alt += f" A diamond at the end marks the validation score, {score:.3f}."
    return figure, alt


def loss_curves(curves, *, window=20, unit="byte", title):
    """Training curves of up to four models: ``curves`` holds by name the bits per byte, or token, of each update.

    The mean is over ``window`` updates, in a very short run over half of them.
    """
    if not 1 <= len(curves) <= 4 or not min(map(len, curves.values())):
        raise ValueError(f"{len(curves)} curves: expected one to four, none of them empty")
    window = max(1, min(window, min(map(len, curves.values())) // 2))
    figure, axes = new_axes(
        xlabel="update",
        ylabel=f"training loss, bits per {unit}\n(mean over {window} updates)",
        title=title,
    )
    styles = looks(curves)
    ends = []
    labels = []
    for name, bits in curves.items():
        colour, _, style = styles[name]
        mean = np.convolve(bits, np.full(window, 1 / window), mode="valid")
        axes.plot(
            np.arange(window, len(bits) + 1), mean, linestyle=style, color=colour, linewidth=2
        )
        labels.append((mean[-1], len(bits), f"{name} {mean[-1]:.2f}", colour))
        ends.append(f"{name} from {mean[0]:.2f} to {mean[-1]:.2f}")
    low, high = axes.get_ylim()
    below = -np.inf
    # from the lowest on, each one lifted off the one below it
    for end, place, label, colour in sorted(labels):
        height = max(end, below + 0.055 * (high - low))
        axes.annotate(
            label,
            (place, height),
            xytext=(5, 0),
            textcoords="offset points",
            fontsize=FONT,
            va="center",
            color=colour,
        )
        below = height
    room = 1.05 + 0.022 * max(len(label) for _, _, label, _ in labels)
    axes.set_xlim(0, room * max(map(len, curves.values())))
    axes.set_xticks([tick for tick in axes.get_xticks() if tick <= max(map(len, curves.values()))])
    axes.spines["bottom"].set_bounds(0, max(map(len, curves.values())))
    return (
        figure,
        f"Line plot of bits per byte over the updates of a training run: {', '.join(ends)}.",
    )


def bits_ladder(rows, *, title, marked=None):
    """One bar for each way to guess the next byte: ``rows`` holds by name its bits per byte.

    ``marked`` names the models, whose bars are hatched and have their colour; without it, the last one.
    """
    figure, axes = new_axes(
        width=6.2, height=3.0, xlabel="bits per byte (lower is better)", title=title
    )
    names = list(rows)
    bits = list(rows.values())
    marked = names[-1:] if marked is None else marked
    styles = looks(marked)  # a model has its own colour; what is no model is grey
    colours, hatches = zip(
        *((styles[name][0], "//") if name in marked else ("lightgrey", "") for name in names)
    )
    axes.barh(names, bits, color=colours, edgecolor=BLACK, linewidth=0.6, hatch=hatches)
    for y, value in enumerate(bits):
        axes.text(value, y, f" {value:.2f}", va="center", fontsize=FONT - 1)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set_xlim(0, 1.1 * max(bits))
    return figure, "Bars of bits per byte: " + ", ".join(
        f"{n} {b:.2f}" for n, b in rows.items()
    ) + "."


def loss_by_position(by_position, *, title):
    """Bits per byte against the place in the window, as means over places 1, 2-3, 4-7, 8-15 ..."""
    T = len(by_position)
    starts = [2**i for i in range(max(1, T.bit_length() - 1))]
    ends = [a - 1 for a in starts[1:]] + [T]
    rows = [(a, b, float(np.mean(by_position[a - 1 : b]))) for a, b in zip(starts, ends)]
    figure, axes = new_axes(
        height=3.4, xlabel="position of the byte in its window", ylabel="bits per byte", title=title
    )
    places = range(len(rows))
    bits = [row[2] for row in rows]
    axes.plot(places, bits, "o-", color=BLUE, linewidth=1.8)
    axes.set_xticks(places, [str(a) if a == b else f"{a}\nto {b}" for a, b, _ in rows])
    for x, value, after in zip(places, bits, [*bits[1:], bits[-1]]):
        # the line goes down or ends here, so there is room above it to the right
        up = value >= after
        axes.annotate(
            f"{value:.2f}",
            (x, value),
            xytext=(2, 6) if up else (0, -15),
            textcoords="offset points",
            ha="left" if value > after + 0.3 else "center",
            fontsize=9,
        )
    axes.set_ylim(0, 1.15 * max(bits))
    alt = f"Line plot of bits per byte by place in a window of {T}: " + ", ".join(
        f"{value:.2f} at {a if a == b else f'{a} to {b}'}" for a, b, value in rows
    )
    return figure, alt + "."
