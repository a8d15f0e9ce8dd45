"""Figures of lecture 11: the roofline of a card, and the bytes of a training step by what they are for."""

from .colours import BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILION, YELLOW
from .plots import listed
from .style import WHITE, new_axes

LOOKS_OF_BYTES = (
    (SKY, ""),
    (YELLOW, ""),
    (BLUE, ""),
    (VERMILION, "\\\\"),
    (GREEN, "//"),
    (ORANGE, ".."),
    (PURPLE, "xx"),
)


def roofline(marks, flops, bandwidth, climbs, title):
    """Where operations lie under a card's roof; ``marks {name: FLOPs per byte}``, an arrow between two of them.

    An operation left of the picture is named at its edge. ``flops`` and ``bandwidth`` are those of a second.
    """
    left, right = 25, 2400
    ridge = flops / bandwidth
    roof = {name: min(intensity * bandwidth, flops) for name, intensity in marks.items()}
    figure, axes = new_axes(6.4, 4.0, "FLOPs per byte moved", "FLOP/s", title)
    axes.axvspan(left, ridge, color=SKY, alpha=0.25)
    axes.plot([left, ridge, right], [left * bandwidth, flops, flops], color="black")
    for (name, intensity), marker in zip(marks.items(), "os^Dv"):
        if intensity > left:
            axes.plot(intensity, roof[name], marker, color=BLUE, markersize=8, fillstyle="none")
            place = {"xytext": (9, -12), "textcoords": "offset points"}
            axes.annotate(name, (intensity, roof[name]), **place)
        else:
            axes.text(1.08 * left, 0.06 * flops, f"← {name}: at {intensity:.2f}")
    before, after = climbs
    arrow = {"arrowstyle": "-|>", "color": "black", "linewidth": 2.2}
    ends = (marks[after], roof[after]), (marks[before], roof[before])
    axes.annotate("", *ends, arrowprops=arrow)
    axes.text(0.9 * ridge, 1.5 * flops, "waits for memory", ha="right")
    axes.text(1.1 * ridge, 1.5 * flops, "for arithmetic")
    scales = {"xscale": "log", "yscale": "log"}
    axes.set(**scales, xlim=(left, right), ylim=(0.05 * flops, 2.6 * flops))
    alt = f"Log-log plot of a roof that rises up to {ridge:.0f} FLOPs per byte, then is flat at {flops:.3g} FLOP/s."
    return figure, f"{alt} Marks on it, in FLOPs per byte: {listed(marks, '{:.1f}')}."


def bytes_of_a_step(gigabytes, compiled, title):
    """Bars of ``{model: {purpose: GB}}``, and in grey what is left after a compiler, ``{model: GB}``."""
    figure, axes = new_axes(
        7.2, 1.8 + 0.75 * len(gigabytes), "gigabytes moved in a step", title=title
    )
    first = next(iter(gigabytes))
    for row, (name, purposes) in enumerate(gigabytes.items()):
        end = 0.0
        for (purpose, moved), (colour, hatch) in zip(purposes.items(), LOOKS_OF_BYTES):
            label = purpose if name == first else None
            look = {"color": colour, "hatch": hatch, "edgecolor": "black", "label": label}
            axes.barh(name, moved, 0.5, end, **look)
            if moved > 20:
                where = {"ha": "center", "va": "center", "bbox": WHITE}
                axes.text(end + moved / 2, name, f"{moved:.0f}", **where)
            end += moved
        axes.text(end, row, f" {end:.0f}", va="center")
        axes.barh(row + 0.33, compiled[name], 0.12, color="grey")
        axes.text(compiled[name], row + 0.38, f" {compiled[name]:.0f} compiled", va="center")
    axes.set_xlim(right=1.1 * max(sum(of.values()) for of in gigabytes.values()))
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    figure.legend(loc="outside lower center", ncols=4, frameon=False)
    said = [
        f"{name}: {listed(of, '{:.0f}')}; compiled {compiled[name]:.0f}"
        for name, of in gigabytes.items()
    ]
    return figure, f"Bars of the gigabytes that a training step moves. {'. '.join(said)}."
