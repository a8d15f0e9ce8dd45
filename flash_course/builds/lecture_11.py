"""What lecture 11 lets its reader build: online softmax, and a Triton kernel for FLASH, piece by piece."""

from functools import partial

import numpy as np
import torch

from ..checks.edits import edited
from . import Build, Case, call


def online_softmax(scores, values, M):
    """Softmax of ``scores (n,)`` times ``values (n,)``, M of them at a time: one number."""
    most, total, read = -np.inf, 0.0, 0.0
    for first in range(0, len(scores), M):
        some = scores[first : first + M]
        new = max(most, some.max())
        old = np.exp(most - new)
        weights = np.exp(some - new)
        total = total * old + weights.sum()
        read = read * old + weights @ values[first : first + M]
        most = new
    return read / total


def program_place(number, T, C, E, M, E_tile):
    """The sequence, its chunk's first token and the one after its last, its tile's first row and first column.

    Tokens and rows are counted in the whole sequence.
    """
    tiles = -(-C // M)
    column_tiles = -(-E // E_tile)
    chunks = -(-T // C)
    m = number % tiles
    e = number // tiles % column_tiles
    g = number // (tiles * column_tiles) % chunks
    b = number // (tiles * column_tiles * chunks)
    return b, g * C, min(g * C + C, T), g * C + m * M, e * E_tile


def load_tile(x, strides, rows, columns, row_end, column_end):
    """x[rows, columns], a tile. Zeros stand for rows from row_end on and columns from column_end on."""
    import triton.language as tl

    inside = (rows < row_end)[:, None] & (columns < column_end)[None, :]
    places = rows[:, None] * strides[0] + columns[None, :] * strides[1]
    return tl.load(x + places, mask=inside, other=0.0)


def weights_tile(q, k, bias, rows, keys, chunk, C):
    """relu²(q kᵀ / C + bias) of M queries and M keys, zero for later keys: ``(M, M)``. ``chunk``: its first token."""
    import triton.language as tl

    scores = tl.dot(q, tl.trans(k)) / C
    scores += load_tile(bias, (C, 1), rows - chunk, keys - chunk, C, C)
    seen = rows[:, None] >= keys[None, :]
    relu = tl.where(seen, tl.maximum(scores, 0.0), 0.0)
    return relu * relu


def mix_program(place, sizes, quad_q, quad_k, lin_q, v, state, bias, u):
    """One program's tile of u * y, ``(M, E_tile)``. ``sizes``: C, S, E, M; ``rows``, ``columns``, ``s`` are ranges."""
    import triton.language as tl

    C, S, E, M = sizes
    chunk, end, first_row, rows, columns, s = place
    before = load_tile(state + chunk // C * S * E, (E, 1), s, columns, S, E)
    total = tl.dot(load_tile(lin_q, (S, 1), rows, s, end, S), before)
    q = load_tile(quad_q, (S, 1), rows, s, end, S)
    for first in range(chunk, first_row + M, M):
        keys = first + tl.arange(0, M)
        k = load_tile(quad_k, (S, 1), keys, s, end, S)
        weights = weights_tile(q, k, bias, rows, keys, chunk, C)
        total += tl.dot(weights, load_tile(v, (E, 1), keys, columns, end, E))
    return total * load_tile(u, (E, 1), rows, columns, end, E)


# ---------------------------------------------------------------- a body, asked in the interpreter
def whole_numbers(*shape):
    """Small ones, the same each time."""
    return torch.from_numpy(np.random.default_rng(len(shape)).integers(-2, 3, shape)).float()


def by_tiles(answer, program, place, programs, *arrays):
    """What ``program`` stores when it calls the answer, in the interpreter; the last array is what is filled."""
    from . import on_tiles  # Triton takes a second to import

    return on_tiles.run(partial(getattr(on_tiles, program), answer, place), programs, *arrays)


def loading(label, T, S, row, shown):
    """The tile of 16 by 16 from a row on, of an array (T, S)."""
    x = torch.arange(1.0, T * S + 1).view(T, S)

    def run(answer):
        return by_tiles(answer, "load", (row, T, S), 1, x, torch.zeros(16, 16))

    return Case(label, run, shown)


def weighing(label, chunk, end, C, row, key):
    """The weights of 16 queries and 16 keys of a chunk."""
    q, k, bias = whole_numbers(16, 16), whole_numbers(16, 16).T.contiguous(), whole_numbers(C, C)
    place = chunk, end, C, row, key

    def run(answer):
        return by_tiles(answer, "weigh", place, 1, q, k, bias, torch.zeros(16, 16))

    return Case(label, run, f"{chunk = }, {end = }, {C = }, rows from {row}, keys from {key}")


def mixing(label, T, C, S=16, E=16):
    """All programs of a sequence."""
    quad_q, quad_k, lin_q = whole_numbers(3, T, S)
    v, u = whole_numbers(2, T, E)
    state = whole_numbers(-(-T // C), S, E)
    arrays = quad_q, quad_k, lin_q, v, state, whole_numbers(C, C), u

    def run(answer):
        from . import on_tiles

        return on_tiles.all_programs(answer, program_place, *arrays)

    return Case(label, run, f"{T = }, {C = }, {S = }, {E = }, M = 16")


# ---------------------------------------------------------------- what readers write instead
def wrong(right, *edits):
    return edited(right, *edits, name=f"wrong {right.__name__}")


class InTiles(np.ndarray):
    """An array of which at most `tile` numbers may be computed with at once."""

    tile = None

    def __array_finalize__(self, whole):
        self.tile = getattr(whole, "tile", None)

    def __array_ufunc__(self, ufunc, method, *inputs, **how):
        for each in inputs:
            if isinstance(each, InTiles) and each.size > each.tile:
                raise ValueError(
                    f"np.{ufunc.__name__} takes {each.size} scores at once: expected at most M = {each.tile}, a tile"
                )
        plain = [each.view(np.ndarray) if isinstance(each, InTiles) else each for each in inputs]
        return getattr(ufunc, method)(*plain, **how)


def tile_by_tile(answer):
    """Six scores, of which no more than two can be computed with at once."""
    scores = SIX[0].view(InTiles)
    scores.tile = 2
    return answer(scores, SIX[1], 2)


def all_at_once(scores, values, M):
    weights = np.exp(scores - scores.max())
    return weights @ values / weights.sum()


SIX = np.array([0.0, 1.0, 1.0, -1.0, 0.0, 1.0]), np.arange(1.0, 7.0)

BUILDS = (
    Build(
        online_softmax,
        cases=(
            call("one tile holds all", SIX[0], SIX[1], 6),
            call("two tiles, the second has the largest score", SIX[0] + np.arange(6), SIX[1], 3),
            call("two tiles, the first has it", 5 - SIX[0] - np.arange(6), SIX[1], 3),
            call("a short last tile", SIX[0], SIX[1], 4),
            call("one token", np.array([3.0]), np.array([7.0]), 2),
            call("scores near 1000", 1000 + SIX[0] * 3, SIX[1], 2),
            Case("never more than a tile at once", tile_by_tile, "the six scores, M = 2"),
        ),
        likely=(
            (
                "All scores are in memory at once: go over them in tiles of M, and carry maximum, sum and output.",
                all_at_once,
            ),
            (
                "What was summed so far belongs to an old maximum: multiply it by exp(old - new).",
                wrong(online_softmax, "old = np.exp(most - new)", "old = 1.0"),
            ),
            (
                "You take a softmax of each tile and add them: then the weights sum to the number of tiles.",
                wrong(
                    online_softmax,
                    "total * old + weights.sum()",
                    "1.0",
                    "read * old + weights @",
                    "read + weights / weights.sum() @",
                ),
            ),
            (
                "The sum of the weights is rescaled, and what was read is not.",
                wrong(online_softmax, "read * old", "read"),
            ),
        ),
        why="FlashAttention is this loop, for many queries at once, in one kernel.",
        tolerance=1e-9,
    ),
    Build(
        program_place,
        cases=(
            call("the first program", 0, 12, 4, 8, 2, 4),
            call("the second tile", 1, 12, 4, 8, 2, 4),
            call("the second columns", 2, 12, 4, 8, 2, 4),
            call("the second chunk", 4, 12, 4, 8, 2, 4),
            call("tiles that stick out", 7, 40, 20, 12, 16, 8),
            call("a short last chunk", 8, 10, 4, 8, 2, 4),
            call("the second sequence", 13, 12, 4, 8, 2, 4),
        ),
        likely=(
            (
                "The last chunk may be short: it ends at T at the latest.",
                wrong(program_place, "min(g * C + C, T)", "g * C + C"),
            ),
            (
                "The first row is counted in the sequence: add the chunk's first token.",
                wrong(program_place, "g * C + m * M", "m * M"),
            ),
            (
                "Round up: a chunk of 20 tokens has two tiles of 16.",
                wrong(program_place, "-(-C // M)", "C // M", "-(-E // E_tile)", "E // E_tile"),
            ),
            (
                "Neighbouring numbers share a chunk: the tile changes fastest, then the columns, then the chunk.",
                wrong(
                    program_place,
                    "m = number % tiles",
                    "m = number // column_tiles % tiles",
                    "number // tiles % column_tiles",
                    "number % column_tiles",
                ),
            ),
        ),
        why="Nobody tells a program its work but its number, so this is the first thing that every kernel does.",
    ),
    Build(
        load_tile,
        cases=(
            loading("all of it is there", 32, 16, 16, "rows 16 to 31 of an array (32, 16)"),
            loading("the last rows are missing", 20, 16, 16, "rows 16 to 31 of an array (20, 16)"),
            loading("columns are missing", 16, 10, 0, "columns 0 to 15 of an array (16, 10)"),
            loading("one row, three columns", 17, 3, 16, "rows 16 to 31 of an array (17, 3)"),
        ),
        likely=(
            (
                "Columns need a mask as well: without it the tile goes on in the next row.",
                wrong(load_tile, "& (columns < column_end)[None, :]", "& (columns >= 0)[None, :]"),
            ),
            (
                "What lies behind the last row is whatever was left there, here NaN. A mask keeps the rows from being "
                "read, and other=0.0 says what stands in their place.",
                wrong(load_tile, "(rows < row_end)[:, None] &", "(rows >= 0)[:, None] &"),
            ),
        ),
        why="With it your kernel runs at any length; without it, at multiples of the tile.",
    ),
    Build(
        weights_tile,
        cases=(
            weighing("a tile on the diagonal", 0, 16, 16, 0, 0),
            weighing("a tile left of it", 0, 32, 32, 16, 0),
            weighing("a later chunk", 40, 72, 32, 56, 40),
            weighing("a short last chunk", 40, 50, 32, 40, 40),
            weighing("rows that stick out of the chunk", 40, 60, 20, 56, 40),
        ),
        likely=(
            (
                "Each token reads itself: compare with >=.",
                wrong(weights_tile, "[:, None] >= keys", "[:, None] > keys"),
            ),
            (
                "The bias is a table of places inside the chunk: subtract `chunk` from rows and keys.",
                wrong(weights_tile, "rows - chunk, keys - chunk", "rows, keys"),
            ),
            (
                "A tile may stick out of the bias, C × C: load it with `load_tile`, up to C.",
                wrong(
                    weights_tile,
                    "load_tile(bias, (C, 1), rows - chunk, keys - chunk, C, C)",
                    "tl.load(bias + (rows - chunk)[:, None] * C + (keys - chunk)[None, :])",
                ),
            ),
            (
                "The scores are divided by C.",
                wrong(weights_tile, "tl.trans(k)) / C", "tl.trans(k))"),
            ),
            ("relu is not squared.", wrong(weights_tile, "relu * relu", "relu")),
            (
                "Later keys are read: in the tile on the diagonal, half of the pairs are hidden.",
                wrong(
                    weights_tile,
                    "rows[:, None] >= keys[None, :]",
                    "rows[:, None] >= keys[None, :] - 16",
                ),
            ),
        ),
        why="In your kernel these M × M weights are all that ever exists of the attention matrix.",
        tolerance=1e-4,
    ),
    Build(
        mix_program,
        cases=(
            mixing("one chunk, one tile", 16, 16),
            mixing("two tiles a chunk", 64, 32),
            mixing("a tail, and tiles that stick out", 50, 20),
            mixing("odd widths", 37, 16, 24, 20),
        ),
        likely=(
            (
                "Each program walks over all tiles of keys from the chunk's first one on, not over its own alone.",
                wrong(mix_program, "range(chunk, first_row", "range(first_row, first_row"),
            ),
            (
                "The loop stops before the program's own tile, and so nobody reads itself.",
                wrong(mix_program, "first_row + M, M)", "first_row, M)"),
            ),
            (
                "The state is that of the first chunk: each chunk's has S * E entries, so go on by its number.",
                wrong(mix_program, "state + chunk // C * S * E", "state"),
            ),
            (
                "The gate is missing.",
                wrong(mix_program, "return total * load", "return total + 0 * load"),
            ),
            (
                "The local part takes the place of the global one: add to it.",
                wrong(mix_program, "total += tl.dot(weights", "total = tl.dot(weights"),
            ),
        ),
        why="This is FLASH's forward pass in one kernel: one program, one tile, nothing of the matrix in memory.",
        tolerance=1e-4,
    ),
)
