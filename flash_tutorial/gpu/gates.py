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
):
    """Backward through the heads: the gradient of h, and the program's share of gamma's and beta's.

    A program takes R tokens at a time, as many times as it must, so that there are few shares.
    """
    k = tl.arange(0, HALF)
    head = tl.arange(0, 4)
    of_heads = head[:, None] * S + k[None, :]
    here = (head < 4)[:, None] & (k < S // 2)[None, :]  # (4, HALF)
    gamma_low = tl.load(gamma + of_heads, mask=here, other=0.0).to(tl.float32)[:, None, :]
    gamma_high = tl.load(gamma + S // 2 + of_heads, mask=here, other=0.0).to(tl.float32)[:, None, :]
    # of each head and token: summed up over tokens at the end
    dgamma_low = tl.full((4, R, HALF), 0.0, tl.float32)
    dgamma_high = tl.full((4, R, HALF), 0.0, tl.float32)
    dbeta_low = tl.full((4, R, HALF), 0.0, tl.float32)
    dbeta_high = tl.full((4, R, HALF), 0.0, tl.float32)
    for block in range(tl.program_id(0), cdiv(rows_end, R), tl.num_programs(0)):
        rows = tl.full((R,), R, tl.int64) * block + tl.arange(0, R)
        table = (rows % T)[:, None] * (S // 2) + k[None, :]
        inside = (rows < rows_end)[:, None] & (k < S // 2)[None, :]
        # (R, HALF)
        c = tl.load(cos + table, mask=inside, other=0.0)
        s = tl.load(sin + table, mask=inside, other=0.0)
        wide = rows[:, None] * h_stride + k[None, :]
        low = tl.load(h + wide, mask=inside, other=0.0).to(tl.float32)
        high = tl.load(h + S // 2 + wide, mask=inside, other=0.0).to(tl.float32)
        # (4, R, HALF)
        place = dheads + (head[:, None, None] * rows_end + rows[None, :, None]) * S + k[None, None]
        within = (head < 4)[:, None, None] & inside[None]
        left = tl.load(place, mask=within, other=0.0).to(tl.float32)
        right = tl.load(place + S // 2, mask=within, other=0.0).to(tl.float32)
        x = left * c[None] + right * s[None]  # turned back
        y = right * c[None] - left * s[None]
        dgamma_low += x * (low * sigmoid(low))[None]
        dgamma_high += y * (high * sigmoid(high))[None]
        dbeta_low += x
        dbeta_high += y
        dlow = tl.reduce(x * gamma_low, 0, add) * silu_slope(low)
        dhigh = tl.reduce(y * gamma_high, 0, add) * silu_slope(high)
        tl.store(dh + wide, dlow.to(dh.dtype.element_ty), mask=inside)
        tl.store(dh + S // 2 + wide, dhigh.to(dh.dtype.element_ty), mask=inside)
    share = sums + tl.program_id(0) * 8 * S + of_heads  # gamma's four rows, and then beta's
    tl.store(share, tl.reduce(dgamma_low, 1, add), mask=here)
    tl.store(share + S // 2, tl.reduce(dgamma_high, 1, add), mask=here)
    tl.store(share + 4 * S, tl.reduce(dbeta_low, 1, add), mask=here)
    tl.store(share + 4 * S + S // 2, tl.reduce(dbeta_high, 1, add), mask=here)


# ---------------------------------------------------------------- from torch: each result is written in place
ROWS = 16  # tokens of a program of ``heads``
ROWS_BACK = (
    4  # tokens that a program of ``unheads`` takes at a time: with 8 registers become scarce
)
ROOM = 4  # programs of ``unheads`` that a multiprocessor has room for
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
    return min(-(-tokens // ROWS_BACK), ROOM * multiprocessors(device))


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
            HALF=triton.next_power_of_2(S // 2),
            **FUSED,
        )


def run_ungate(h, y, dout, out, dy, dh):
    """Rows of ``h`` and ``dh (B, T, E)`` are parts of longer ones, of one length; the rest is contiguous."""
    B, T, E = y.shape
    programs = triton.cdiv(B * T, UNGATE["R"]), triton.cdiv(E, UNGATE["WIDTH"])
    with torch.cuda.device_of(h):
        ungate_kernel[programs](h, y, dout, out, dy, dh, h.stride(1), B * T, E, **UNGATE)
