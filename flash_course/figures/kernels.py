"""Where the time of a step goes, arithmetic against bytes, and the tiles of a kernel."""

import re

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from .style import BLACK, BLUE, FONT, GREEN, ORANGE, PURPLE, SKY, VERMILION, YELLOW, new_axes

LOOKS = ((BLUE, "o"), (VERMILION, "s"), (GREEN, "^"), (PURPLE, "D"), (ORANGE, "v"), (BLACK, "P"))


def shares_of_a_step(parts, *, title):
    """Two bars a part, its share of the multiply-adds and of the time: ``parts`` holds by name both, as fractions."""
    figure, axes = new_axes(6.6, 0.9 + 0.55 * len(parts), "percent of the step", "", title)
    places = np.arange(len(parts))
    looks = (("multiply-adds, counted", SKY, "//"), ("time, measured", ORANGE, ".."))
    for shift, (label, colour, hatch), shares in zip((-0.2, 0.2), looks, zip(*parts.values())):
        percent = 100 * np.array(shares)
        axes.barh(places + shift, percent, 0.38, color=colour, hatch=hatch, edgecolor=BLACK, linewidth=0.6, label=label)
        for y, value in zip(places + shift, percent):
            axes.text(value, y, f" {value:.{int(0 < value < 1)}f}", va="center", fontsize=FONT - 1)
    axes.set_yticks(places, parts)
    axes.invert_yaxis()
    axes.set_xlim(right=1.15 * axes.get_xlim()[1])
    axes.legend(fontsize=FONT - 1, frameon=False, loc="lower right")
    said = "; ".join(f"{name}: {100 * count:.0f}%, {100 * time:.0f}%" for name, (count, time) in parts.items())
    return (
        figure,
        f"For each part of a step one bar for its share of multiply-adds and one for that of the time. {said}.",
    )


def rooflines(machines, *, title):
    """FLOPs a second against FLOPs per byte: ``machines`` holds by name (peak FLOPs/s, bytes/s, points), and
    ``points`` by name (FLOPs per byte, FLOPs/s), the latter None where nothing was measured: the mark is on the roof.
    """
    figure = Figure(figsize=(4.6 * len(machines), 3.9), dpi=100, layout="constrained")
    words = []
    for axes, (name, (peak, rate, points)) in zip(
        figure.subplots(1, len(machines), squeeze=False)[0], machines.items()
    ):
        turn = peak / rate
        edges = np.array(
            [0.5 * min(i for i, _ in points.values()), turn, 3 * max(turn, *(i for i, _ in points.values()))]
        )
        axes.plot(edges, np.minimum(edges * rate, peak), "-", color=BLACK, linewidth=1.8)
        axes.axvline(turn, color=BLACK, linewidth=0.9, linestyle=":")
        for (label, (intensity, speed)), (colour, marker) in zip(points.items(), LOOKS):
            roof = min(intensity * rate, peak)
            full = "full" if speed is not None else "none"
            axes.plot(
                intensity, roof if speed is None else speed, marker, color=colour, fillstyle=full, markersize=8,
                linestyle="none", label=label,
            )  # fmt: skip
            done = "" if speed is None else f", {speed / 1e9:.3g} GFLOP/s measured"
            words.append(f"{label} {intensity:.1f} FLOPs per byte{done}")
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("FLOPs per byte moved", fontsize=FONT)
        axes.set_ylabel("FLOPs a second", fontsize=FONT)
        axes.set_title(f"{name}: turns at {turn:.0f}", fontsize=FONT)
        axes.tick_params(which="both", labelsize=FONT - 1)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(fontsize=FONT - 1, framealpha=1, edgecolor="white", loc="lower right")  # hides the dotted line
        words[-1] += f" ({name}, roof {peak / 1e9:.3g} GFLOP/s from {turn:.0f} FLOPs per byte on)"
    figure.suptitle(title, fontsize=FONT + 1)
    return figure, f"Log-log plots of a roof that rises, then is flat, with a mark for each part. {'; '.join(words)}."


def tiles_of_a_chunk(C, M):
    """The map of one chunk cut into M x M tiles, and which of them the programs of the kernel touch."""
    tiles = -(-C // M)
    figure = Figure(figsize=(5.6, 4.3), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    looks = {"whole tile read": (SKY, ""), "half of it hidden": (YELLOW, "//"), "never touched": ("#DDDDDD", "xx")}
    for row in range(tiles):
        for column in range(tiles):
            kind = list(looks)[(column >= row) + (column > row)]
            colour, hatch = looks[kind]
            axes.add_patch(Rectangle(
                (column * M, row * M), M, M, facecolor=colour, hatch=hatch, edgecolor=BLACK, linewidth=0.8,
                label=kind if (row, column) in ((1, 0), (0, 0), (0, 1)) else None,
            ))  # fmt: skip
        axes.text(tiles * M + 1, (row + 0.5) * M, f"program {row}", va="center", fontsize=FONT - 1)
    axes.add_patch(Rectangle((0, 0), C, C, fill=False, edgecolor=VERMILION, linewidth=2.4, linestyle="--"))
    axes.text(C / 2, -0.02 * C, f"the chunk, C = {C}", ha="center", va="bottom", fontsize=FONT - 1, color=VERMILION)
    axes.set(xlim=(0, tiles * M + 16), ylim=(tiles * M, -3), aspect="equal")
    edges = sorted({*range(0, tiles * M + 1, M), C})
    axes.set_xticks(edges)
    axes.set_yticks(edges)
    axes.tick_params(labelsize=FONT - 1)
    axes.set_xlabel("token that is read", fontsize=FONT)
    axes.set_ylabel("token that reads", fontsize=FONT)
    axes.spines[:].set_visible(False)
    done = tiles * (tiles + 1) // 2
    axes.set_title(f"{done} of {tiles * tiles} tiles are computed; the last ones stick out", fontsize=FONT + 1)
    figure.legend(fontsize=FONT - 1, frameon=False, loc="outside lower center", ncols=3)
    return figure, (
        f"The {C} by {C} map of a chunk, covered by {tiles} by {tiles} tiles of {M}. Each row of tiles is one program. "
        f"{done} tiles on and left of the diagonal are computed, {tiles * tiles - done} right of it are never touched. "
        f"The last row and column of tiles reach to {tiles * M}, beyond the chunk's end at {C}."
    )


GROUPS = {  # what a step's bytes are for: what names of operations begin with, and a look
    "dense layers": ("mm|addmm", SKY, ""),
    "products of the mixing": ("bmm|baddbmm|mix|maps|values|_scaled_dot", BLUE, ""),
    "norm and residual": ("rms_norm|add$", GREEN, "//"),
    "gate and activation": ("silu|gelu|mul|ungate|cat", ORANGE, ".."),
    "the rest": ("", "#BBBBBB", "xx"),
}


def bytes_of_a_step(models, *, title):
    """A bar for each model, cut by what the bytes are for: ``models`` holds by name gigabytes by operation."""
    figure, axes = new_axes(7.4, 1.6 + 0.55 * len(models), "gigabytes moved in a step", "", title)
    words = []
    for y, (name, by_operation) in enumerate(models.items()):
        left, said = 0.0, []
        for group, size in _grouped(by_operation).items():
            _, colour, hatch = GROUPS[group]
            axes.barh(y, size, 0.6, left, color=colour, hatch=hatch, edgecolor=BLACK, linewidth=0.6, label=group)
            left += size
            said.append(f"{group} {size:.0f}")
        axes.text(left, y, f" {left:.0f}", va="center", fontsize=FONT)
        words.append(f"{name}: {', '.join(said)}; together {left:.0f}")
    axes.set_yticks(range(len(models)), models)
    axes.invert_yaxis()
    axes.set_xlim(right=1.1 * axes.get_xlim()[1])
    handles, labels = axes.get_legend_handles_labels()
    unique = dict(zip(labels, handles))
    figure.legend(unique.values(), unique, fontsize=FONT - 1, frameon=False, loc="outside lower center", ncols=3)
    return figure, f"Bars of the gigabytes that a training step moves. {'. '.join(words)}."


def _grouped(by_operation):
    """Sizes by group of ``GROUPS``, from sizes by operation."""
    found = dict.fromkeys(GROUPS, 0.0)
    for name, size in by_operation.items():
        found[next(group for group, (words, *_) in GROUPS.items() if re.match(words, name))] += size
    return found
