"""The tiles of a kernel: what its programs read, write and skip."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from .colours import BLACK, ORANGE, SKY, YELLOW
from .style import FONT, legend_below

# colour and hatch of a tile
READ = (SKY, "")
WRITTEN = (ORANGE, "///")
ZERO = ("#DDDDDD", "xx")
MASKED = (YELLOW, "")
PLAIN = ("white", "")


def tiles_of_a_chunk(C, M):
    """The attention matrix of a chunk cut into M x M tiles, and which of them the kernel's programs touch."""
    tiles = -(-C // M)
    figure = Figure(figsize=(5.0, 4.2), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    for row, column in np.ndindex(tiles, tiles):
        kind, look = "read", READ
        if column == row:
            kind, look = "half masked", MASKED
            diagonal = [column * M, (column + 1) * M]
            axes.plot(diagonal, diagonal, ":", color=BLACK, linewidth=1.2)
        if column > row:
            kind, look = "skipped", ZERO
        _tile(axes, column * M, row * M, M, look)
        ground = {"facecolor": look[0] if kind != "skipped" else "white"}
        ground |= {"edgecolor": "none", "pad": 0.8}
        at = ((column + 0.5) * M, (row + 0.27) * M)
        axes.text(*at, kind, ha="center", va="center", fontsize=FONT, bbox=ground)
    for row in range(tiles):
        axes.text(tiles * M + 1, (row + 0.5) * M, f"program {row}", va="center", fontsize=FONT)
    frame = {"fill": False, "edgecolor": BLACK, "linewidth": 2.6, "linestyle": "--"}
    axes.add_patch(Rectangle((0, 0), C, C, **frame))
    said = f"the chunk, C = {C} (dashed)"
    axes.text(C / 2, -0.02 * C, said, ha="center", va="bottom", fontsize=FONT)
    axes.set(xlim=(0, tiles * M + 16), ylim=(tiles * M, -3), aspect="equal")
    edges = sorted({*range(0, tiles * M + 1, M), C})
    axes.set_xticks(edges)
    axes.set_yticks(edges)
    axes.tick_params(labelsize=FONT - 1)
    axes.set_xlabel("token that is read", fontsize=FONT)
    axes.set_ylabel("token that reads", fontsize=FONT)
    axes.spines[:].set_visible(False)
    done = tiles * (tiles + 1) // 2
    title = f"{done} of {tiles * tiles} tiles are computed; the last ones stick out"
    axes.set_title(title, fontsize=FONT + 1)
    return figure, (
        f"The {C} by {C} attention matrix of a chunk, covered by {tiles} by {tiles} tiles of {M}. Each row of tiles is "
        f"one program. {done} tiles on and left of the diagonal are computed, {tiles * tiles - done} right of it are "
        f"never touched. The last row and column of tiles reach to {tiles * M}, beyond the chunk's end at {C}."
    )


def _row_of_arrays(axes, reads, writes, tiles):
    """What is read, an arrow, what is written; the same in words."""
    left, said = _arrays(axes, 0.0, reads, READ, "reads")
    arrow = {"arrowstyle": "-|>", "linewidth": 1.6, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", (left + 0.9, tiles / 2), (left - 0.7, tiles / 2), arrowprops=arrow)
    _, also_said = _arrays(axes, left + 1.0, writes, WRITTEN, "writes")
    return said + also_said


def _arrays(axes, left, arrays, look, verb):
    """Arrays side by side from ``left`` on; where the next one begins, and what each does in words."""
    said = []
    for name, (height, width, touched) in arrays.items():
        _tiled_array(
            axes, left, name, height, width, set(touched), look, hidden=name.startswith("A")
        )
        left += max(width, 3.2 if width == 1 else 0) + 0.8
        said.append(f"{verb} {len(touched)} of {height * width} tiles of {name}")
    return left, said


def tiles_of_the_kernels(tiles=4, wide=6):
    """Which tiles one program instance reads and writes: the forward kernel, and those of the backward pass.

    A chunk is ``tiles`` tiles long, E is ``wide`` tiles wide, S is one.
    """
    rows = range(tiles)
    columns = range(wide)
    i = tiles - 2
    j = 1
    e = 3
    kernels = {  # name: what is read and what is written, by name (rows, columns, tiles touched)
        f"mix_kernel, forward: query tile {i}, column tile {e} (without bias and gate)": (
            {
                "A": (tiles, tiles, [(i, r) for r in rows if r <= i]),
                "lin_q": (tiles, 1, [(i, 0)]),
                "v": (tiles, wide, [(r, e) for r in rows if r <= i]),
                "state": (1, wide, [(0, e)]),
            },
            {"out": (tiles, wide, [(i, e)])},
        ),
        f"maps_kernel: query tile {i}, key tile {j}": (
            {
                "quad_q": (tiles, 1, [(i, 0)]),
                "quad_k": (tiles, 1, [(j, 0)]),
                "dy": (tiles, wide, [(i, c) for c in columns]),
                "v": (tiles, wide, [(j, c) for c in columns]),
            },
            {"A and ds": (tiles, tiles, [(i, j)])},
        ),
        f"values_kernel: key tile {j}, column tile {e}": (
            {
                "A": (tiles, tiles, [(r, j) for r in rows if r >= j]),
                "lin_k": (tiles, 1, [(j, 0)]),
                "dy": (tiles, wide, [(r, e) for r in rows if r >= j]),
                "d state": (1, wide, [(0, e)]),
            },
            {"dv": (tiles, wide, [(j, e)])},
        ),
    }
    figure = Figure(figsize=(8.0, 6.4), dpi=100, layout="constrained")
    words = []
    for axes, (kernel, (reads, writes)) in zip(figure.subplots(len(kernels), 1), kernels.items()):
        said = _row_of_arrays(axes, reads, writes, tiles)
        axes.set(xlim=(-0.3, 30.4), ylim=(tiles + 0.1, -1.0), aspect="equal")
        axes.set_axis_off()
        axes.set_title(kernel, fontsize=FONT + 3, loc="left")
        words.append(f"{kernel}: {', '.join(said)}")
    looks = {"read": READ, "written": WRITTEN, "zero, never read": ZERO}
    marks = [Patch(facecolor=c, hatch=h, edgecolor=BLACK) for c, h in looks.values()]
    legend_below(figure, marks, list(looks))
    title = "Forward, a program walks along a row of A; for dv, down a column of it"
    figure.suptitle(title, fontsize=FONT + 3)
    return figure, f"Arrays of one chunk cut into tiles, for three kernels. {'. '.join(words)}."


def _tiled_array(axes, left, name, height, width, touched, look, hidden):
    """One array as a grid of tiles; ``hidden``: it is a square whose tiles above the diagonal are zero."""
    shift = (width == 1) * 1.1
    for r, c in np.ndindex(height, width):
        kind = PLAIN
        if hidden and c > r:
            kind = ZERO
        if (r, c) in touched:
            kind = look
        _tile(axes, left + shift + c, r, 1, kind)
    axes.text(left + shift + width / 2, -0.2, name, ha="center", va="bottom", fontsize=FONT + 2)


def _tile(axes, x, y, size, look):
    colour, hatch = look
    frame = {"edgecolor": "#777777", "linewidth": 0.8}
    axes.add_patch(Rectangle((x, y), size, size, facecolor=colour, hatch=hatch, **frame))
