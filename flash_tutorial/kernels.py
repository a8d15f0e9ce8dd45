"""The local and the global part of causal FLASH in one GPU kernel, forward only, in Triton; written to be read.

Triton exists for Linux. Without a GPU its interpreter runs the same kernel, slowly, on a CPU: set the environment
variable TRITON_INTERPRET=1 before this module is imported. (Triton 3.6's interpreter needs NumPy before 2.4.)

Letters: B batch, T length, G chunks, C chunk length, S query/key width, E value width, M tokens of a tile.
"""

import torch

from .chunks import chunk_means, combined, to_chunks
from .mixing import earlier_chunks

try:
    import triton
    import triton.language as tl
except ImportError as error:
    raise ImportError(
        "this kernel needs Triton, which cannot be imported here: it exists for Linux (pip install triton); elsewhere "
        "open the lecture in Colab, where a CPU runtime is enough"
    ) from error


# ---------------------------------------------------------------- the kernel
@triton.jit
def load_tile(x, strides, rows, columns, row_end, column_end):
    """x[rows, columns]. Addresses at row_end or column_end and beyond are not touched; zeros stand for them."""
    inside = (rows < row_end)[:, None] & (columns < column_end)[None, :]
    return tl.load(x + rows[:, None] * strides[0] + columns[None, :] * strides[1], mask=inside, other=0.0)


@triton.jit
def mixed_chunk_kernel(
    quad_q, quad_k, lin_q, v, state, bias, u, out,  # addresses of the first numbers; bias and u may be None
    quad_q_strides, quad_k_strides, lin_q_strides, v_strides, state_strides, bias_strides, u_strides, out_strides,
    T, C, S, E, scale,
    M: tl.constexpr, S_TILE: tl.constexpr, E_TILE: tl.constexpr,  # powers of two, known when the kernel is compiled
):  # fmt: skip
    """One program makes one tile of the output: M tokens of one chunk, E_TILE of their E numbers.

    out = u * (lin_q @ state + (relu(scale quad_q @ quad_k^T + bias)^2, later keys 0) @ v)
    """
    G = (T + C - 1) // C
    b, g = (tl.program_id(0) // G).to(tl.int64), tl.program_id(0) % G  # 64 bits: b T E may exceed 2^31
    chunk, end = g * C, tl.minimum(g * C + C, T)  # the last chunk may be short
    rows = chunk + tl.program_id(1) * M + tl.arange(0, M)  # those from `end` on are never read and never written
    columns = tl.program_id(2) * E_TILE + tl.arange(0, E_TILE)
    s = tl.arange(0, S_TILE)

    # Global part: one product with the state that holds all earlier chunks. Its sum is where the local part goes on.
    q = load_tile(lin_q + b * lin_q_strides[0], lin_q_strides[1:], rows, s, end, S)
    before = load_tile(state + b * state_strides[0] + g * state_strides[1], state_strides[2:], s, columns, S, E)
    y = tl.dot(q, before.to(q.dtype), input_precision="ieee")  # float32, whatever the inputs are

    # Local part: M keys at a time, up to the reader's own tile. Tiles further right hold later keys only.
    q = load_tile(quad_q + b * quad_q_strides[0], quad_q_strides[1:], rows, s, end, S)
    for first in range(chunk, chunk + (tl.program_id(1) + 1) * M, M):
        keys = first + tl.arange(0, M)
        k = load_tile(quad_k + b * quad_k_strides[0], quad_k_strides[1:], keys, s, end, S)
        a = tl.dot(q, tl.trans(k), input_precision="ieee") * scale
        if bias is not None:
            a += load_tile(bias, bias_strides, rows - chunk, keys - chunk, C, C)
        a = tl.maximum(a, 0.0)
        a = tl.where(rows[:, None] >= keys[None, :], a * a, 0.0)  # compares places in the text, not in the tile
        value = load_tile(v + b * v_strides[0], v_strides[1:], keys, columns, end, E)
        y += tl.dot(a.to(value.dtype), value, input_precision="ieee")  # no running maximum: relu^2 tiles add up

    if u is not None:  # the gate of the token that reads
        y *= load_tile(u + b * u_strides[0], u_strides[1:], rows, columns, end, E)
    place = out + b * out_strides[0] + rows[:, None] * out_strides[1] + columns[None, :] * out_strides[2]
    tl.store(place, y.to(out.dtype.element_ty), mask=(rows < end)[:, None] & (columns < E)[None, :])


# ---------------------------------------------------------------- from torch

INTERPRETED = not isinstance(mixed_chunk_kernel, triton.JITFunction)
TILE = (32, 64)  # M tokens, numbers of E; small enough for the 64 KiB of fast memory of a T4 at S = 128
DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def state_before_chunks(lin_k, v, C, combine="mean"):
    """What each chunk reads of those before it: ``lin_k (B, T, S)``, ``v (B, T, E)`` -> ``(B, G, S, E)``, float32.

    The mean of k^T v over the tokens of strictly earlier chunks (equation 8 with the mean of Code 8), or with
    ``combine="sum"`` the bare sum; zero for the first chunk. Earlier chunks are always full, so that the mean over
    tokens is the mean over chunks.
    """
    if combine not in ("mean", "sum"):
        raise ValueError(f"combine={combine!r} is unknown: expected 'mean' (Code 8) or 'sum' (equation 8)")
    sums = earlier_chunks(chunk_means(to_chunks(lin_k, C), to_chunks(v, C)))
    tokens = C * torch.arange(sums.shape[1], device=v.device)
    return combined(sums, tokens[:, None, None], C, combine)


def fused_mixed_chunk(quad_q, quad_k, lin_q, lin_k, v, *, chunk_size, bias=None, combine="mean", gate=None, tile=TILE):
    """``mixing.mixed_chunk_attention``, causal and for one document, gated, by the kernel: ``(B, T, E)``.

    Padding on the right needs no mask: no token reads what comes later. The rows of padding itself mean nothing.
    Heads ``(B, T, S)``, ``v`` and ``gate (B, T, E)``, all of one type: float32, float16, or on a GPU bfloat16.
    ``bias(n) -> (n, n)``. ``tile`` (M, numbers of E) sets the speed and nothing else; powers of two, at least 16.
    Forward only: a ValueError where torch would want a gradient.
    """
    C = min(chunk_size, v.shape[1])  # as in mixing: scores are divided by chunk_size all the same
    table = None if bias is None else bias(C)
    _check([quad_q, quad_k, lin_q, lin_k, v], gate, table, C, tile)
    state = state_before_chunks(lin_k, v, C, combine)
    out = torch.empty(v.shape, dtype=v.dtype, device=v.device)
    launch(quad_q, quad_k, lin_q, v, state, table, gate, out, C, 1 / chunk_size, tile)
    return out


def launch(quad_q, quad_k, lin_q, v, state, bias, gate, out, C, scale, tile=TILE):
    """Start one program for each tile of ``out``, which is written in place; tensors may have any strides."""
    (B, T, E), S, (M, E_tile) = v.shape, quad_q.shape[2], tile
    tensors = (quad_q, quad_k, lin_q, v, state, bias, gate, out)
    strides = [() if t is None else t.stride() for t in tensors]
    grid = (B * state.shape[1], -(-C // M), -(-E // E_tile))  # rounded up: the last tiles may stick out
    S_tile = max(16, 1 << (S - 1).bit_length())
    with torch.cuda.device_of(v):
        mixed_chunk_kernel[grid](*tensors, *strides, T, C, S, E, scale, M=M, S_TILE=S_tile, E_TILE=E_tile)


def _check(tensors, gate, table, C, tile):
    heads, v = tensors[:4], tensors[-1]
    if any(t.dim() != 3 or t.shape[:2] != v.shape[:2] or t.shape != heads[0].shape for t in heads):
        raise ValueError(f"heads have shapes {[tuple(t.shape) for t in heads]}, v {tuple(v.shape)}: expected (B, T, S)")
    if gate is not None and gate.shape != v.shape:
        raise ValueError(f"gate has shape {tuple(gate.shape)}: expected that of v, {tuple(v.shape)}")
    if table is not None and table.shape != (C, C):
        raise ValueError(f"bias({C}) has shape {tuple(table.shape)}: expected {(C, C)}, a number for each pair")
    tensors = tensors if gate is None else [*tensors, gate]
    if v.dtype not in DTYPES or any(t.dtype != v.dtype for t in tensors):
        raise ValueError(f"dtypes {[t.dtype for t in tensors]}: expected one of {DTYPES} for all")
    if any(size < 16 or size & (size - 1) for size in tile):
        raise ValueError(f"tile={tile}: expected powers of two, at least 16, since Triton's dot takes no smaller ones")
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in [*tensors, table]):
        raise ValueError("the kernel has no backward pass: call it under torch.no_grad(), or train with FLASH.forward")
    if INTERPRETED and (v.device.type != "cpu" or v.dtype == torch.bfloat16):
        advice = "the interpreter is for float32 and float16 on a CPU; unset it and restart for a GPU"
        raise ValueError(f"TRITON_INTERPRET was set, and the tensors are {v.dtype} on {v.device}: {advice}")
    if not INTERPRETED and v.device.type != "cuda":
        advice = "set TRITON_INTERPRET=1 before flash_tutorial.kernels is imported, or move them to a CUDA card"
        raise ValueError(f"the tensors lie on {v.device}: {advice}")
