"""Kernels without a product: through the heads and through the gate, forward and backward.

    heads    four heads of one base: scale, offset and RoPE
    ungate   back through the gate u = SiLU(h)
    unheads  back through the heads

Letters: B batch, T length, S query/key width, E value width, R tokens of a program.
"""

import torch

from flash_tutorial.gpu.kernels import (
    FUSED,
    add,
    cdiv,
    check_device,
    sigmoid,
    silu_slope,
    tl,
    triton,
)
from flash_tutorial.gpu.tiles import multiprocessors


@triton.jit
def heads_kernel(
    h,
    gamma,
    beta,
    cos,
    sin,
    out,  # (B T, S) before its SiLU; twice (4, S); twice (T, S / 2); (4, B T, S)
    h_stride,
    rows_end,
    T,
    S,
    R: tl.constexpr,
    HALF: tl.constexpr,
):
    """One program makes all heads of R tokens: of z = SiLU(h) the pairs (k, k + S / 2) of z gamma + beta, turned."""
    rows = tl.program_id(0).to(tl.int64) * R + tl.arange(0, R)
    k = tl.arange(0, HALF)
    table = (rows % T)[:, None] * (S // 2) + k[None, :]
    inside = (rows < rows_end)[:, None] & (k < S // 2)[None, :]
    # (R, HALF)
    c, s = (
        tl.load(cos + table, mask=inside, other=0.0),
        tl.load(sin + table, mask=inside, other=0.0),
    )
    low = silu_of(h, h_stride, rows, k, inside)
    high = silu_of(h + S // 2, h_stride, rows, k, inside)
    for head in tl.static_range(4):
        x = low * of_head(gamma, head, k, S)
        y = high * of_head(gamma + S // 2, head, k, S)
        x, y = x + of_head(beta, head, k, S), y + of_head(beta + S // 2, head, k, S)
        place = out + (head * rows_end + rows)[:, None] * S + k[None, :]
        tl.store(place, (x * c - y * s).to(out.dtype.element_ty), mask=inside)
        tl.store(place + S // 2, (y * c + x * s).to(out.dtype.element_ty), mask=inside)


@triton.jit
def silu_of(h, stride, rows, k, inside):
    """SiLU of h[rows, k] in float32."""
    x = tl.load(h + rows[:, None] * stride + k[None, :], mask=inside, other=0.0).to(tl.float32)
    return x * sigmoid(x)


@triton.jit
def of_head(x, head, k, S):
    """x[head, k] as a row ``(1, HALF)``, in float32; half of a head's S numbers are asked for."""
    return tl.load(x + head * S + k, mask=k < S // 2, other=0.0).to(tl.float32)[None, :]


@triton.jit
def ungate_kernel(
    h, y, dout, out, dy, dh, h_stride, rows_end, E, R: tl.constexpr, WIDTH: tl.constexpr
):
    """Backward through out = SiLU(h) y, R tokens and WIDTH numbers; out again, for the product that comes after it.

    y, dout, out, dy (B T, E) are contiguous; rows of h and dh are h_stride numbers apart.
    """
    rows = tl.program_id(0).to(tl.int64) * R + tl.arange(0, R)
    columns = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    inside = (rows < rows_end)[:, None] & (columns < E)[None, :]
    wide, narrow = rows[:, None] * h_stride + columns[None, :], rows[:, None] * E + columns[None, :]
    x = tl.load(h + wide, mask=inside, other=0.0).to(tl.float32)  # (R, WIDTH), as all that follow
    mixed = tl.load(y + narrow, mask=inside, other=0.0).to(tl.float32)
    grad = tl.load(dout + narrow, mask=inside, other=0.0).to(tl.float32)
    gate = x * sigmoid(x)
    tl.store(out + narrow, (gate * mixed).to(out.dtype.element_ty), mask=inside)
    tl.store(dy + narrow, (gate * grad).to(dy.dtype.element_ty), mask=inside)
    tl.store(dh + wide, (silu_slope(x) * mixed * grad).to(dh.dtype.element_ty), mask=inside)


@triton.jit
def load_halves(x, place, S, inside):
    """Both halves of rows, each ``(R, HALF)`` float32; ``place`` is that of the low one."""
    low = tl.load(x + place, mask=inside, other=0.0).to(tl.float32)
    high = tl.load(x + S // 2 + place, mask=inside, other=0.0).to(tl.float32)
    return low, high


@triton.jit
def turned_back(dheads, head, rows, k, inside, c, s, rows_end, S):
    """A head's gradient of R tokens before its RoPE: the low half and the high one, each ``(R, HALF)`` float32."""
    place = (head * rows_end + rows)[:, None] * S + k[None, :]
    x, y = load_halves(dheads, place, S, inside)
    return x * c + y * s, y * c - x * s


@triton.jit
def with_gamma(a_low, a_high, x, y, z_low, z_high):
    """What a head's gamma has gathered in both halves, and of these tokens besides."""
    return a_low + x * z_low, a_high + y * z_high


@triton.jit
def of_base(gamma, k, S, x0, x1, x2, x3):
    """The gradient of one half of the base z, ``(R, HALF)``, of which each of four heads took its gamma."""
    first = x0 * of_head(gamma, 0, k, S) + x1 * of_head(gamma, 1, k, S)
    return first + x2 * of_head(gamma, 2, k, S) + x3 * of_head(gamma, 3, k, S)


@triton.jit
def store_share(sums, row, k, S, low, high):
    """The sums over tokens of both halves, ``(R, HALF)`` each, as a row of a program's share."""
    place = sums + (tl.program_id(0) * 8 + row) * S + k
    tl.store(place, tl.reduce(low, 0, add), mask=k < S // 2)
    tl.store(place + S // 2, tl.reduce(high, 0, add), mask=k < S // 2)


@triton.jit
def store_shares(sums, head, k, S, a_low, a_high, b_low, b_high):
    """A program's share of the gradients of a head's gamma and beta."""
    store_share(sums, head, k, S, a_low, a_high)
    store_share(sums, 4 + head, k, S, b_low, b_high)


@triton.jit
def unheads_kernel(
    h,
    gamma,
    cos,
    sin,
    dheads,
    dh,
    sums,  # dheads (4, B T, S); sums (programs, 2, 4, S), float32
    h_stride,
    rows_end,
    T,
    S,
    R: tl.constexpr,
    HALF: tl.constexpr,
    STAGES: tl.constexpr,
):
    """Backward through the heads: the gradient of h, and the program's share of gamma's and beta's.

    A program takes R tokens at a time, as many times as it must, so that there are few shares. What it gathers is
    summed up over tokens at the end alone, for there warps wait for each other.
    """
    k = tl.arange(0, HALF)
    nothing = tl.full((R, HALF), 0.0, tl.float32)
    # of gamma (a) and beta (b), the low half and the high one
    a_low0, a_high0, b_low0, b_high0 = nothing, nothing, nothing, nothing
    a_low1, a_high1, b_low1, b_high1 = nothing, nothing, nothing, nothing
    a_low2, a_high2, b_low2, b_high2 = nothing, nothing, nothing, nothing
    a_low3, a_high3, b_low3, b_high3 = nothing, nothing, nothing, nothing
    blocks = cdiv(rows_end, R)
    for block in tl.range(tl.program_id(0), blocks, tl.num_programs(0), num_stages=STAGES):
        row = block * R + tl.arange(0, R)
        rows = row.to(tl.int64)
        inside = (row < rows_end)[:, None] & (k < S // 2)[None, :]
        table = (row % T)[:, None] * (S // 2) + k[None, :]
        c = tl.load(cos + table, mask=inside, other=0.0)
        s = tl.load(sin + table, mask=inside, other=0.0)
        wide = rows[:, None] * h_stride + k[None, :]
        low, high = load_halves(h, wide, S, inside)
        x0, y0 = turned_back(dheads, 0, rows, k, inside, c, s, rows_end, S)
        x1, y1 = turned_back(dheads, 1, rows, k, inside, c, s, rows_end, S)
        x2, y2 = turned_back(dheads, 2, rows, k, inside, c, s, rows_end, S)
        x3, y3 = turned_back(dheads, 3, rows, k, inside, c, s, rows_end, S)
        z_low = low * sigmoid(low)
        z_high = high * sigmoid(high)
        a_low0, a_high0 = with_gamma(a_low0, a_high0, x0, y0, z_low, z_high)
        b_low0, b_high0 = b_low0 + x0, b_high0 + y0
        a_low1, a_high1 = with_gamma(a_low1, a_high1, x1, y1, z_low, z_high)
        b_low1, b_high1 = b_low1 + x1, b_high1 + y1
        a_low2, a_high2 = with_gamma(a_low2, a_high2, x2, y2, z_low, z_high)
        b_low2, b_high2 = b_low2 + x2, b_high2 + y2
        a_low3, a_high3 = with_gamma(a_low3, a_high3, x3, y3, z_low, z_high)
        b_low3, b_high3 = b_low3 + x3, b_high3 + y3
        dlow = of_base(gamma, k, S, x0, x1, x2, x3) * silu_slope(low)
        dhigh = of_base(gamma + S // 2, k, S, y0, y1, y2, y3) * silu_slope(high)
        tl.store(dh + wide, dlow.to(dh.dtype.element_ty), mask=inside)
        tl.store(dh + S // 2 + wide, dhigh.to(dh.dtype.element_ty), mask=inside)
    store_shares(sums, 0, k, S, a_low0, a_high0, b_low0, b_high0)
    store_shares(sums, 1, k, S, a_low1, a_high1, b_low1, b_high1)
    store_shares(sums, 2, k, S, a_low2, a_high2, b_low2, b_high2)
    store_shares(sums, 3, k, S, a_low3, a_high3, b_low3, b_high3)


# ---------------------------------------------------------------- from torch: each result is written in place
ROWS = 16  # tokens of a program of ``heads``
ROWS_BACK = 4  # tokens that one of ``unheads`` takes at a time: with 8 registers become scarce
STAGES = 3  # of its loop: loads for the next tokens are on their way
ROOM = 4  # programs of ``unheads`` for each multiprocessor
UNGATE = dict(R=16, WIDTH=128, **FUSED)


def run_heads(h, gamma, beta, cos, sin, out):
    """Heads ``out (4, B, T, S)`` of ``h (B, T, S)``, whose rows may be parts of longer ones; the rest is contiguous."""
    check_device(h.device, h.dtype)
    (B, T, S), R = h.shape, ROWS
    with torch.cuda.device_of(h):
        heads_kernel[(triton.cdiv(B * T, R),)](
            h,
            gamma,
            beta,
            cos,
            sin,
            out,
            h.stride(1),
            B * T,
            T,
            S,
            R=R,
            HALF=triton.next_power_of_2(S // 2),
            **FUSED,
        )


def shares_of(tokens, device):
    """How many programs of ``unheads`` so many tokens have, each with a share of the gradients of gamma and beta."""
    # sym_min: with fake tensors the number of tokens stays open
    return torch.sym_min(-(-tokens // ROWS_BACK), ROOM * multiprocessors(device))


def run_unheads(h, gamma, cos, sin, dheads, dh, sums):
    """``dheads (4, B, T, S)`` is contiguous, ``dh`` has the strides of ``h``.

    ``sums (programs, 2, 4, S)`` are shares of the gradients of gamma and beta, of as many programs as there are.
    """
    B, T, S = h.shape
    with torch.cuda.device_of(h):
        unheads_kernel[(len(sums),)](
            h,
            gamma,
            cos,
            sin,
            dheads,
            dh,
            sums,
            h.stride(1),
            B * T,
            T,
            S,
            R=ROWS_BACK,
            STAGES=STAGES,
            HALF=triton.next_power_of_2(S // 2),
            **FUSED,
        )


def run_ungate(h, y, dout, out, dy, dh):
    """Rows of ``h`` and ``dh (B, T, E)`` are parts of longer ones, of one length; the rest is contiguous."""
    B, T, E = y.shape
    programs = triton.cdiv(B * T, UNGATE["R"]), triton.cdiv(E, UNGATE["WIDTH"])
    with torch.cuda.device_of(h):
        ungate_kernel[programs](h, y, dout, out, dy, dh, h.stride(1), B * T, E, **UNGATE)
