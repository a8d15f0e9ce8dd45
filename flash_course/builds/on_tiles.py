"""Runs what a reader wrote of a Triton kernel, program by program, in Triton's interpreter: no card is needed.

Around each array lie NaN, as a stand-in for whatever others have left in memory.
"""

from functools import partial

import numpy as np
import torch

from flash_course.checks.interpreter import Memory, addresses, jit, missing, tl

AROUND = 8192  # entries of NaN before and after an array
M, E_TILE = 16, 16  # of a tile of the whole kernel


def run(body, programs, *arrays):
    """``body(number, *arrays)`` for each program's number, with arrays as addresses; the last one is what is filled."""
    if (why := missing()) is not None:
        raise ImportError(f"the interpreter of Triton is needed, which exists for Linux ({why})")
    placed = [framed(array) for array in arrays]
    with Memory().watch() as memory:
        _one_program[(programs,)](tuple(placed), BODY=body)
    refuse_foreign(memory, placed)
    return placed[-1].clone()


def refuse_foreign(memory, arrays):
    """Nothing is loaded that belongs to no array, also where it is thrown away afterwards: on a card that may fail."""
    if not memory.reads:
        return
    read = np.concatenate(memory.reads)
    own = np.concatenate([addresses(array).ravel() for array in arrays])
    foreign = int((~np.isin(read, own)).sum())
    if foreign:
        raise ValueError(
            f"{foreign} places are loaded that lie outside of the arrays: expected a mask in each load, "
            "of the rows and the columns that are there"
        )


def framed(array):
    """A copy with NaN before and after it."""
    memory = torch.full((array.numel() + 2 * AROUND,), torch.nan, dtype=array.dtype)
    inside = memory[AROUND : AROUND + array.numel()].view(array.shape)
    return inside.copy_(array)


@jit
def _one_program(arrays, BODY: tl.constexpr):
    BODY(number_of(tl.program_id(0)), *arrays)


def number_of(program):
    """A program's number as Python has it."""
    return int(program.handle.data.item())


# ---------------------------------------------------------------- programs that call one piece
def load(answer, place, number, x, out):
    """Store a tile that the answer loads."""
    row, T, S = place
    tile = answer(x, (S, 1), row + tl.arange(0, 16), tl.arange(0, 16), T, S)
    store(out, tile, tl.arange(0, 16), tl.arange(0, 16), 16, 16, 16)


def weigh(answer, place, number, q, k, bias, out):
    """Store a tile of weights."""
    chunk, end, C, row, key = place
    square = tl.arange(0, 16)[:, None] * 16 + tl.arange(0, 16)[None, :]
    rows, keys = row + tl.arange(0, 16), key + tl.arange(0, 16)
    tile = answer(tl.load(q + square), tl.load(k + square), bias, rows, keys, chunk, C)
    store(out, tile, tl.arange(0, 16), tl.arange(0, 16), end - row, 16, 16)  # no query comes later


def mix(answer, place_of, sizes, number, *arrays):
    """Store what one program of the whole kernel makes."""
    *inputs, out = arrays
    T, C, S, E = sizes
    _, chunk, end, first_row, first_column = place_of(number, T, C, E, M, E_TILE)
    rows = first_row + tl.arange(0, M)
    columns = first_column + tl.arange(0, E_TILE)
    s = tl.arange(0, max(16, 1 << (S - 1).bit_length()))
    tile = answer((chunk, end, first_row, rows, columns, s), (C, S, E, M), *inputs)
    store(out, tile, rows, columns, end, E, E)


def store(out, tile, rows, columns, row_end, column_end, stride):
    inside = (rows < row_end)[:, None] & (columns < column_end)[None, :]
    tl.store(out + rows[:, None] * stride + columns[None, :], tile, mask=inside)


def states(lin_k, v, C):
    """What each chunk reads of those before it: the mean of kᵀ v over their tokens, ``(G, S, E)``."""
    T, S = lin_k.shape
    found = torch.zeros(-(-T // C), S, v.shape[1])
    for g in range(1, len(found)):
        found[g] = lin_k[: g * C].T @ v[: g * C] / (g * C)
    return found


def all_programs(program, place_of, quad_q, quad_k, lin_q, v, state, bias, u):
    """u * y of one sequence, causal: each program's tile by ``program``, its place by ``place_of``."""
    T, S = quad_q.shape
    C, E = len(bias), v.shape[1]
    arrays = quad_q, quad_k, lin_q, v, state, bias, u, torch.zeros(T, E)
    return run(partial(mix, program, place_of, (T, C, S, E)), programs_of(T, C, E), *arrays)


def programs_of(T, C, E):
    """How many there are: chunks times tiles of tokens times tiles of columns."""
    return -(-T // C) * -(-C // M) * -(-E // E_TILE)
