"""Where the time of a step goes, arithmetic against bytes, and the tiles of a kernel."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from .maps import numbers_in_squares
from .style import BLACK, BLUE, FONT, GREEN, ORANGE, PURPLE, SKY, VERMILION, YELLOW, new_axes

LOOKS = ((BLUE, "o"), (VERMILION, "s"), (GREEN, "^"), (PURPLE, "D"), (ORANGE, "v"), (BLACK, "P"))


def shares_of_a_step(parts, *, title):
    """Two bars a part, its share of the multiply-adds and of the time: ``parts`` holds by name both, as fractions."""
    figure, axes = new_axes(6.2, 0.9 + 0.55 * len(parts), "percent of the step", "", title)
    places = np.arange(len(parts))
    looks = (("of the multiply-adds, counted", SKY, "//"), ("of the time, measured", ORANGE, ".."))
    for shift, (label, colour, hatch), shares in zip((-0.2, 0.2), looks, zip(*parts.values())):
        percent = 100 * np.array(shares)
        axes.barh(
            places + shift, percent, 0.38, color=colour, hatch=hatch, edgecolor=BLACK, linewidth=0.6
        )
        for i, (y, value) in enumerate(zip(places + shift, percent)):
            said = f" {value:.{int(0 < value < 1)}f}" + (f"% {label}" if i == 0 else "")
            axes.text(value, y, said, va="center", fontsize=FONT)
    axes.set_yticks(places, parts, fontsize=FONT)
    axes.invert_yaxis()
    most, first = (
        100 * max(max(shares) for shares in some)
        for some in (parts.values(), [*parts.values()][:1])
    )
    # room for the words beside the first part's bars
    axes.set_xlim(right=max(1.15 * most, first + 1.0 * most))
    said = "; ".join(
        f"{name}: {100 * count:.0f}%, {100 * time:.0f}%" for name, (count, time) in parts.items()
    )
    return (
        figure,
        f"For each part of a step one bar for its share of multiply-adds and one for that of the time. {said}.",
    )


def _part(axes, label, intensity, speed, colour, marker, *, is_measured):
    """A mark with its name, hollow where it only stands on the roof."""
    axes.plot(
        intensity,
        speed,
        marker,
        color=colour,
        fillstyle="full" if is_measured else "none",
        markersize=8,
        markeredgewidth=1.8,
        linestyle="none",
    )
    axes.annotate(
        label,
        (intensity, speed),
        (9, -12),
        textcoords="offset points",
        fontsize=FONT,
        color=BLACK,
    )


def _move(axes, start, end):
    look = {
        "arrowstyle": "-|>",
        "color": BLACK,
        "linewidth": 2.2,
        "shrinkA": 5,
        "shrinkB": 5,
    }
    axes.annotate("", end, start, arrowprops=look)


def _sides_of_the_ridge(axes, ridge, y):
    axes.annotate("waits for memory", (ridge / 1.08, y), ha="right", fontsize=FONT)
    axes.annotate("for arithmetic", (ridge * 1.08, y), ha="left", fontsize=FONT)


def _beyond(axes, notes):
    """Points left of where the drawing begins."""
    text = f"$\\leftarrow$ {', '.join(notes)}"
    axes.text(0.02, 0.03, text, fontsize=FONT, transform=axes.transAxes)


def _style_of_a_roof(axes, title):
    axes.set_xlabel("FLOPs per byte moved", fontsize=FONT)
    axes.set_ylabel("FLOP/s", fontsize=FONT)
    axes.set_title(title, fontsize=FONT)
    axes.tick_params(which="both", labelsize=FONT - 1)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def rooflines(machines, *, title, moves=(), left=None):
    """FLOPs a second against FLOPs per byte: ``machines`` holds by name (peak FLOPs/s, bytes/s, points), and
    ``points`` by name (FLOPs per byte, FLOPs/s), the latter None where nothing was measured: the mark is on the roof.

    ``moves``: pairs of points that an arrow joins, where a machine has both. ``left``: where the drawing begins; of a
    point further left only a note says where it is.
    """
    figure = Figure(figsize=(max(5.8, 4.6 * len(machines)), 4.0), dpi=110, layout="constrained")
    words = []
    for axes, (name, (peak, rate, points)) in zip(
        figure.subplots(1, len(machines), squeeze=False)[0], machines.items()
    ):
        ridge = peak / rate
        begin = left or 0.4 * min(i for i, _ in points.values())
        right = 4 * max(ridge, *(i for i, _ in points.values()))
        edges = np.array([begin, ridge, right])
        axes.axvspan(begin, ridge, color=SKY, alpha=0.25, linewidth=0)
        axes.plot(edges, np.minimum(edges * rate, peak), "-", color=BLACK, linewidth=1.8)
        places, beyond = {}, []
        for (label, (intensity, speed)), (colour, marker) in zip(points.items(), LOOKS):
            measured = "" if speed is None else f", {speed / 1e9:.3g} GFLOP/s measured"
            words.append(f"{label} {intensity:.1f} FLOPs per byte{measured}")
            if intensity < begin:
                beyond.append(f"{label}: at {intensity:.2f}")
                continue
            done = min(intensity * rate, peak) if speed is None else speed
            places[label] = (intensity, done)
            _part(axes, label, intensity, done, colour, marker, is_measured=speed is not None)
        for start, end in moves:
            if start in places and end in places:
                _move(axes, places[start], places[end])
        lowest = min(min(y for _, y in places.values()), begin * rate)
        axes.set(xscale="log", yscale="log", xlim=(begin, right), ylim=(lowest / 1.5, peak * 2.6))
        _sides_of_the_ridge(axes, ridge, peak * 1.5)
        if beyond:
            _beyond(axes, beyond)
        _style_of_a_roof(axes, f"{name}: ridge point at {ridge:.0f}")
        words[-1] += f" ({name}, roof {peak / 1e9:.3g} GFLOP/s from {ridge:.0f} FLOPs per byte on)"
    figure.suptitle(title, fontsize=FONT + 1)
    return (
        figure,
        f"Log-log plots of a roof that rises, then is flat, with a mark for each part. {'; '.join(words)}.",
    )


def squares_in_tiles(panels, M, *, row, title):
    """Square arrays as ``numbers_in_squares`` draws them, and over them the borders of tiles of M x M numbers."""
    figure, alt = numbers_in_squares(panels, row=row, title=title, width=7.4)
    for axes, values in zip(figure.axes, panels.values(), strict=True):
        n = len(values)
        for top in range(0, n, M):
            for left in range(0, n, M):
                size = (min(M, n - left), min(M, n - top))
                axes.add_patch(
                    Rectangle((left, top), *size, fill=False, edgecolor=BLUE, linewidth=2.6)
                )
                if left > top:
                    at = (left + size[0] / 2, top + size[1] / 2)
                    axes.text(
                        *at,
                        "never made",
                        color=BLUE,
                        fontsize=9,
                        ha="center",
                        va="center",
                        bbox=WHITE,
                    )
    return (
        figure,
        f"{alt} Thick lines cut each into tiles of {M} by {M}; those above the diagonal are never made.",
    )


WHITE = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}


def tiles_of_a_chunk(C, M):
    """The attention matrix of a chunk cut into M x M tiles, and which of them the kernel's programs touch."""
    tiles = -(-C // M)
    figure = Figure(figsize=(5.0, 4.2), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    looks = {"read": (SKY, ""), "half masked": (YELLOW, ""), "skipped": ("#DDDDDD", "xx")}
    for row in range(tiles):
        for column in range(tiles):
            kind = list(looks)[(column >= row) + (column > row)]
            colour, hatch = looks[kind]
            axes.add_patch(
                Rectangle(
                    (column * M, row * M),
                    M,
                    M,
                    facecolor=colour,
                    hatch=hatch,
                    edgecolor="#777777",
                    linewidth=0.8,
                )
            )
            at = ((column + 0.5) * M, (row + 0.27) * M)
            ground = WHITE | {"facecolor": "white" if hatch else colour}
            axes.text(*at, kind, ha="center", va="center", fontsize=FONT, bbox=ground)
            if kind == "half masked":
                axes.plot(
                    [column * M, (column + 1) * M],
                    [row * M, (row + 1) * M],
                    ":",
                    color=BLACK,
                    linewidth=1.2,
                )
        axes.text(tiles * M + 1, (row + 0.5) * M, f"program {row}", va="center", fontsize=FONT)
    axes.add_patch(
        Rectangle((0, 0), C, C, fill=False, edgecolor=BLACK, linewidth=2.6, linestyle="--")
    )
    axes.text(
        C / 2, -0.02 * C, f"the chunk, C = {C} (dashed)", ha="center", va="bottom", fontsize=FONT
    )
    axes.set(xlim=(0, tiles * M + 16), ylim=(tiles * M, -3), aspect="equal")
    edges = sorted({*range(0, tiles * M + 1, M), C})
    axes.set_xticks(edges)
    axes.set_yticks(edges)
    axes.tick_params(labelsize=FONT - 1)
    axes.set_xlabel("token that is read", fontsize=FONT)
    axes.set_ylabel("token that reads", fontsize=FONT)
    axes.spines[:].set_visible(False)
    done = tiles * (tiles + 1) // 2
    axes.set_title(
        f"{done} of {tiles * tiles} tiles are computed; the last ones stick out", fontsize=FONT + 1
    )
    return figure, (
        f"The {C} by {C} attention matrix of a chunk, covered by {tiles} by {tiles} tiles of {M}. Each row of tiles is "
        f"one program. {done} tiles on and left of the diagonal are computed, {tiles * tiles - done} right of it are "
        "never touched. "
        f"The last row and column of tiles reach to {tiles * M}, beyond the chunk's end at {C}."
    )


READ = (SKY, "")
WRITTEN = (ORANGE, "///")


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
                "quad_q, lin_q": (tiles, 1, [(i, 0)]),
                "quad_k": (tiles, 1, [(r, 0) for r in rows if r <= i]),
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
    marks = [
        Patch(facecolor=c, hatch=h, edgecolor=BLACK, label=name)
        for name, (c, h) in {
            "read": READ,
            "written": WRITTEN,
            "zero, never read": ("#DDDDDD", "xx"),
        }.items()
    ]
    figure.legend(
        handles=marks, fontsize=FONT + 2, frameon=False, loc="outside lower center", ncols=3
    )
    figure.suptitle(
        "Forward, a program walks along a row of A; for dv, down a column of it", fontsize=FONT + 3
    )
    return figure, f"Arrays of one chunk cut into tiles, for three kernels. {'. '.join(words)}."


def _tiled_array(axes, left, name, height, width, touched, look, hidden):
    """One array as a grid of tiles; ``hidden``: it is a square whose tiles above the diagonal are zero."""
    shift = (width == 1) * 1.1
    for r, c in np.ndindex(height, width):
        colour, hatch = (
            look if (r, c) in touched else ("#DDDDDD", "xx") if hidden and c > r else ("white", "")
        )
        axes.add_patch(
            Rectangle(
                (left + shift + c, r),
                1,
                1,
                facecolor=colour,
                hatch=hatch,
                edgecolor="#777777",
                linewidth=0.8,
            )
        )
    axes.text(left + shift + width / 2, -0.2, name, ha="center", va="bottom", fontsize=FONT + 2)


GROUPS = {  # what a step's bytes are for, named as in ``bench.traffic``: a word above its bar, and a look
    "dense layers": ("dense", SKY, ""),
    "relu²": ("relu²", YELLOW, ""),
    "products": ("products", BLUE, ""),
    "near + far": ("near + far", VERMILION, "\\\\"),
    "heads": ("heads", GREEN, "//"),
    "gate": ("gate", ORANGE, ".."),
    "norm and residual": ("norm", PURPLE, "xx"),
}


def bytes_of_a_step(models, compiled, *, title):
    """A bar for each model, cut by what the bytes are for: ``models`` holds by name gigabytes by group of ``GROUPS``.

    ``compiled``: by name the gigabytes of the same step with element-wise operations merged, a thin bar below.
    """
    figure, axes = new_axes(7.2, 1.3 + 0.75 * len(models), "gigabytes moved in a step", "", title)
    words = []
    widest = max(sum(sizes.values()) for sizes in models.values())
    for y, (name, sizes) in enumerate(models.items()):
        left = 0.0
        for group, (word, colour, hatch) in GROUPS.items():
            size = sizes.get(group, 0.0)
            axes.barh(y, size, 0.5, left, color=colour, hatch=hatch, edgecolor=BLACK, linewidth=0.6)
            middle = left + size / 2
            is_wide = size > 0.04 * widest
            if is_wide:
                axes.text(
                    middle, y, f"{size:.0f}", ha="center", va="center", fontsize=FONT, bbox=WHITE
                )
            if y == 0 and size > 0:  # of narrow neighbours the words stand one line higher
                up = 0 if size > 0.1 * widest else 0.2
                axes.text(
                    middle,
                    -0.28 - up,
                    word + f" {size:.0f}" * (not is_wide),
                    ha="center",
                    fontsize=FONT,
                )
            elif size > 0.02 * widest and not is_wide:
                axes.text(middle, y - 0.28, f"{size:.0f}", ha="center", fontsize=FONT)
            left += size
        axes.text(left, y, f" {left:.0f}", va="center", fontsize=FONT + 1)
        axes.barh(y + 0.33, compiled[name], 0.12, color="#777777")
        axes.text(
            compiled[name], y + 0.38, f" {compiled[name]:.0f} compiled", va="center", fontsize=FONT
        )
        said = ", ".join(f"{group} {size:.0f}" for group, size in sizes.items())
        words.append(f"{name}: {said}; together {left:.0f}, compiled {compiled[name]:.0f}")
    axes.set_yticks(range(len(models)), models, fontsize=FONT)
    axes.set(xlim=(0, 1.1 * widest), ylim=(len(models) - 0.45, -0.75))
    axes.grid(axis="y", visible=False)
    about = (
        "Bars of the gigabytes that a training step moves, and below each those of a compiled one."
    )
    return figure, f"{about} {'. '.join(words)}."
