"""Causal FLASH on a GPU: Triton kernels for the forward and the backward pass, written to be read.

    forward   heads    four heads of one base: scale, offset and RoPE
              scan     what each chunk reads of earlier ones: a running sum over chunks, taken before its own is added
              mix      u * (lin_q @ state + relu(scale quad_q @ quad_k^T + bias)^2 @ v); the weights are never stored
    backward  ungate   through the gate u = SiLU(h)
              maps     the attention weights again, and the gradient of their scores
              values   the gradient of v
              unheads  through the heads

``fused.py`` puts them together. Triton exists for Linux. Without a GPU its interpreter runs the same kernels, slowly,
on a CPU: set the environment variable TRITON_INTERPRET=1 before this module is imported. (Triton 3.6's interpreter
needs NumPy before 2.4.)

Letters: B batch, T length, G chunks, C chunk length, S query/key width, E value width, M tokens of a tile.
"""

import torch

try:
    import triton
    import triton.language as tl
except ImportError as error:
    raise ImportError(
        "this kernel needs Triton, which cannot be imported here: it exists for Linux (pip install triton); elsewhere "
        "open the lecture in Colab, where a CPU runtime is enough"
    ) from error

from flash_tutorial.gpu.floor import too_old
from flash_tutorial.gpu.tiles import SMALL, Tile

if why := too_old(triton.__version__):
    raise ImportError(
        f"the kernels cannot be used: {why}; pip install --upgrade triton, or take backend='torch'"
    )


# ---------------------------------------------------------------- pieces of kernels
# Of Triton's builtins alone: tl.zeros, tl.cdiv, tl.sum fail in an interpreter that is asked for after Triton's import.
@triton.jit
def cdiv(a, b):
    """a / b, rounded up."""
    return (a + b - 1) // b


@triton.jit
def sigmoid(x):
    return 1 / (1 + tl.exp(-x))


@triton.jit
def add(a, b):
    return a + b


@triton.jit
def load_tile(x, strides, rows, columns, row_end, column_end):
    """x[rows, columns]. Addresses at row_end or column_end and beyond are not touched; zeros stand for them."""
    inside = (rows < row_end)[:, None] & (columns < column_end)[None, :]
    places = rows[:, None] * strides[0] + columns[None, :] * strides[1]
    return tl.load(x + places, mask=inside, other=0.0)


@triton.jit
def store_tile(x, strides, rows, columns, row_end, column_end, values):
    """x[rows, columns] = values, in x's format, where ``load_tile`` would read."""
    inside = (rows < row_end)[:, None] & (columns < column_end)[None, :]
    places = rows[:, None] * strides[0] + columns[None, :] * strides[1]
    tl.store(x + places, values.to(x.dtype.element_ty), mask=inside)


@triton.jit
def load_gate(u, strides, rows, columns, row_end, column_end, SILU: tl.constexpr):
    """The gate u[rows, columns], or SiLU of it, in float32."""
    gate = load_tile(u, strides, rows, columns, row_end, column_end).to(tl.float32)
    return gate * sigmoid(gate) if SILU else gate


@triton.jit
def divided(number, first, second, G):
    """A program's number taken apart: its place of ``first``, its place of ``second``, its sequence, its chunk.

    Neighbours differ in their place of ``first``: what they share should still lie in the card's L2 cache.
    """
    rest = number // (first * second)
    return number % first, number // first % second, (rest // G).to(tl.int64), rest % G


@triton.jit
def tile_of_program(T, C, E, M: tl.constexpr, E_TILE: tl.constexpr):
    """The tile that is this program's: m, b, g, the chunk's first token and its end, rows, columns."""
    m, e, b, g = divided(tl.program_id(0), cdiv(C, M), cdiv(E, E_TILE), cdiv(T, C))
    chunk = g * C
    end = tl.minimum(chunk + C, T)  # the last chunk may be short
    rows = chunk + m * M + tl.arange(0, M)  # those from `end` on are never read and never written
    columns = e * E_TILE + tl.arange(0, E_TILE)
    return m, b, g, chunk, end, rows, columns


@triton.jit
def local_map(q, k, bias, bias_strides, documents, rows, keys, chunk, end, C, scale):
    """relu(scale q k^T + bias) of M queries and M keys: ``(M, M)`` float32, zero where a query may not read a key."""
    r = tl.dot(q, tl.trans(k), input_precision="ieee") * scale  # float32, whatever the inputs are
    if bias is not None:
        r += load_tile(bias, bias_strides, rows - chunk, keys - chunk, C, C)
    # positions in the sequence, not in the tile
    seen = (rows[:, None] >= keys[None, :]) & (rows < end)[:, None]
    if documents is not None:
        mine = tl.load(documents + rows, mask=rows < end, other=0)
        theirs = tl.load(documents + keys, mask=keys < end, other=0)
        seen = seen & (mine[:, None] == theirs[None, :])
    return tl.where(seen, tl.maximum(r, 0.0), 0.0)


# ---------------------------------------------------------------- the kernels
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
        x = low * weights(gamma, head, k, S)
        y = high * weights(gamma + S // 2, head, k, S)
        x, y = x + weights(beta, head, k, S), y + weights(beta + S // 2, head, k, S)
        place = out + (head * rows_end + rows)[:, None] * S + k[None, :]
        tl.store(place, (x * c - y * s).to(out.dtype.element_ty), mask=inside)
        tl.store(place + S // 2, (y * c + x * s).to(out.dtype.element_ty), mask=inside)


@triton.jit
def silu_of(h, stride, rows, k, inside):
    """SiLU of h[rows, k] in float32."""
    x = tl.load(h + rows[:, None] * stride + k[None, :], mask=inside, other=0.0).to(tl.float32)
    return x * sigmoid(x)


@triton.jit
def silu_slope(x):
    """The derivative of SiLU at x."""
    half = sigmoid(x)
    return half * (1 + x * (1 - half))


@triton.jit
def weights(x, head, k, S):
    """x[head, k] as a row ``(1, HALF)``, in float32; half of a head's S numbers are asked for."""
    return tl.load(x + head * S + k, mask=k < S // 2, other=0.0).to(tl.float32)[None, :]


@triton.jit
def scan_kernel(
    x,
    out,
    factor,
    joins,
    whole,  # (B, G, N), (B, G, N), (B or 1, G), and (B, G) each or None
    factor_stride,
    G,
    N,
    LATER: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """One program sums WIDTH of the N numbers over the chunks of one row, in float32.

    out[g] = factor[g] * (x[0] + ... + x[g - 1]); LATER is its transpose: factor[g + 1] x[g + 1] + factor[g + 2] ...
    With documents the sum starts anew where none crosses from chunk to chunk (joins), or fills one (whole).
    """
    # 64 bits: B G N may be large
    b = tl.program_id(0).to(tl.int64)
    n = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    total = tl.full((WIDTH,), 0.0, tl.float32)
    for i in range(G):
        g = G - 1 - i if LATER else i
        if joins is not None:  # the border that was just crossed; those at the ends join nothing
            border = g + 1 if LATER else g
            joined = (border < G) & (tl.load(joins + b * G + border, mask=border < G, other=0) != 0)
            total = tl.where(joined, total, 0.0)
        place = (b * G + g) * N + n
        new = tl.load(x + place, mask=n < N, other=0.0).to(tl.float32)
        f = tl.load(factor + b * factor_stride + g)
        tl.store(out + place, (total if LATER else f * total).to(out.dtype.element_ty), mask=n < N)
        if whole is not None:
            total = tl.where(tl.load(whole + b * G + g) != 0, total, 0.0)
        total += f * new if LATER else new


@triton.jit
def mix_kernel(
    quad_q,
    quad_k,
    lin_q,
    v,
    state,
    bias,
    documents,
    u,
    y,
    out,  # addresses; bias, documents, u and y may be None
    quad_q_strides,
    quad_k_strides,
    lin_q_strides,
    v_strides,
    state_strides,
    bias_strides,
    u_strides,
    out_strides,
    T,
    C,
    S,
    E,
    scale,
    SILU: tl.constexpr,  # whether the gate is SiLU(u)
    M: tl.constexpr,
    S_TILE: tl.constexpr,
    E_TILE: tl.constexpr,  # powers of two, known when the kernel is compiled
):
    """One program makes one tile of the output: M tokens of one chunk, E_TILE of their E numbers.

    y = lin_q @ state + (relu(scale quad_q @ quad_k^T + bias)^2, later keys 0) @ v, and out = u * y
    """
    m, b, g, chunk, end, rows, columns = tile_of_program(T, C, E, M, E_TILE)
    s = tl.arange(0, S_TILE)
    if documents is not None:
        documents += b * T

    # Global part: one product with the state that holds all earlier chunks. Its sum is where the local part goes on.
    q = load_tile(lin_q + b * lin_q_strides[0], lin_q_strides[1:], rows, s, end, S)  # (M, S_TILE)
    before_chunk = state + b * state_strides[0] + g * state_strides[1]
    before = load_tile(before_chunk, state_strides[2:], s, columns, S, E)  # (S_TILE, E_TILE)
    total = tl.dot(q, before.to(q.dtype), input_precision="ieee")  # (M, E_TILE), float32

    # Local part: M keys at a time, up to the reader's own tile. Tiles further right hold later keys only, and what
    # the others give adds up, for there is no running maximum.
    q = load_tile(quad_q + b * quad_q_strides[0], quad_q_strides[1:], rows, s, end, S)
    for first in range(chunk, chunk + (m + 1) * M, M):
        keys = first + tl.arange(0, M)
        k = load_tile(quad_k + b * quad_k_strides[0], quad_k_strides[1:], keys, s, end, S)
        r = local_map(q, k, bias, bias_strides, documents, rows, keys, chunk, end, C, scale)
        value = load_tile(v + b * v_strides[0], v_strides[1:], keys, columns, end, E)  # (M, E_TILE)
        total += tl.dot((r * r).to(value.dtype), value, input_precision="ieee")

    # Store. The gate is that of the token that reads; y is what stands before it, for the backward pass.
    if y is not None:
        store_tile(y + b * out_strides[0], out_strides[1:], rows, columns, end, E, total)
    if u is not None:
        total *= load_gate(u + b * u_strides[0], u_strides[1:], rows, columns, end, E, SILU)
    store_tile(out + b * out_strides[0], out_strides[1:], rows, columns, end, E, total)


@triton.jit
def maps_kernel(
    quad_q,
    quad_k,
    dy,
    v,
    bias,
    documents,
    a,
    ds,  # a, ds (B, G, C, C), contiguous
    quad_q_strides,
    quad_k_strides,
    dy_strides,
    v_strides,
    bias_strides,
    T,
    C,
    S,
    E,
    scale,
    M: tl.constexpr,
    S_TILE: tl.constexpr,
    E_TILE: tl.constexpr,
):
    """One program makes one tile, M queries by M keys, of the weights a = r^2 and the scores' gradient 2 r (dy v^T)."""
    G = cdiv(T, C)
    tiles = cdiv(C, M)
    j, i, b, g = divided(tl.program_id(0), tiles, tiles, G)
    chunk = g * C
    end = tl.minimum(chunk + C, T)
    rows = chunk + i * M + tl.arange(0, M)
    keys = chunk + j * M + tl.arange(0, M)
    s = tl.arange(0, S_TILE)
    if documents is not None:
        documents += b * T

    r = tl.full((M, M), 0.0, tl.float32)
    da = tl.full((M, M), 0.0, tl.float32)
    if j <= i:  # tiles above the diagonal hold later keys only, and stay zero
        # (M, S_TILE)
        q = load_tile(quad_q + b * quad_q_strides[0], quad_q_strides[1:], rows, s, end, S)
        k = load_tile(quad_k + b * quad_k_strides[0], quad_k_strides[1:], keys, s, end, S)
        r = local_map(q, k, bias, bias_strides, documents, rows, keys, chunk, end, C, scale)
        for first in range(0, E, E_TILE):
            columns = first + tl.arange(0, E_TILE)
            # (M, E_TILE)
            grad = load_tile(dy + b * dy_strides[0], dy_strides[1:], rows, columns, end, E)
            value = load_tile(v + b * v_strides[0], v_strides[1:], keys, columns, end, E)
            da += tl.dot(grad, tl.trans(value), input_precision="ieee")
    row = rows - chunk
    column = keys - chunk
    place = ((b * G + g) * C + row[:, None]) * C + column[None, :]
    inside = (row < C)[:, None] & (column < C)[None, :]
    tl.store(a + place, (r * r).to(a.dtype.element_ty), mask=inside)
    tl.store(ds + place, (2 * r * da).to(ds.dtype.element_ty), mask=inside)


@triton.jit
def values_kernel(
    lin_k,
    dsums,
    a,
    dy,
    h,
    out,  # a (B, G, C, C), contiguous; h may be None
    lin_k_strides,
    dsums_strides,
    dy_strides,
    h_strides,
    out_strides,
    T,
    C,
    S,
    E,
    M: tl.constexpr,
    S_TILE: tl.constexpr,
    E_TILE: tl.constexpr,
):
    """One program makes the gradient of v for M tokens, E_TILE numbers: a^T dy + lin_k dsums.

    With h it is that of h, where v = SiLU(h).
    """
    j, b, g, chunk, end, keys, columns = tile_of_program(T, C, E, M, E_TILE)
    s = tl.arange(0, S_TILE)

    k = load_tile(lin_k + b * lin_k_strides[0], lin_k_strides[1:], keys, s, end, S)  # (M, S_TILE)
    asked = load_tile(
        dsums + b * dsums_strides[0] + g * dsums_strides[1], dsums_strides[2:], s, columns, S, E
    )
    total = tl.dot(k, asked, input_precision="ieee")  # (M, E_TILE), float32
    for first in range(chunk + j * M, end, M):  # queries from the key's own tile on
        rows = first + tl.arange(0, M)
        places = (
            a + (b * cdiv(T, C) + g) * C * C
        )  # the chunk's weights, queries down and keys across
        weight = load_tile(places, (C, 1), rows - chunk, keys - chunk, C, C)  # (M, M)
        # (M, E_TILE)
        grad = load_tile(dy + b * dy_strides[0], dy_strides[1:], rows, columns, end, E)
        total += tl.dot(tl.trans(weight), grad, input_precision="ieee")
    if h is not None:
        total *= silu_slope(
            load_tile(h + b * h_strides[0], h_strides[1:], keys, columns, end, E).to(tl.float32)
        )
    store_tile(out + b * out_strides[0], out_strides[1:], keys, columns, end, E, total)


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
    sums,  # dheads: four times (B T, S); sums (programs, 2, 4, S), float32
    h_stride,
    rows_end,
    T,
    S,
    R: tl.constexpr,
    HALF: tl.constexpr,
):
    """Backward through the heads of R tokens: the gradient of h, and the program's share of gamma's and beta's."""
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
    dlow = tl.full((R, HALF), 0.0, tl.float32)
    dhigh = tl.full((R, HALF), 0.0, tl.float32)
    for head in tl.static_range(4):
        place = dheads[head] + rows[:, None] * S + k[None, :]
        x = tl.load(place, mask=inside, other=0.0).to(tl.float32)
        y = tl.load(place + S // 2, mask=inside, other=0.0).to(tl.float32)
        x, y = x * c + y * s, y * c - x * s  # turned back
        dlow += x * weights(gamma, head, k, S)
        dhigh += y * weights(gamma + S // 2, head, k, S)
        share = sums + (tl.program_id(0) * 8 + head) * S + k  # gamma's four rows, and then beta's
        tl.store(share, tl.reduce(x * low, 0, add), mask=k < S // 2)
        tl.store(share + S // 2, tl.reduce(y * high, 0, add), mask=k < S // 2)
        tl.store(share + 4 * S, tl.reduce(x, 0, add), mask=k < S // 2)
        tl.store(share + 4 * S + S // 2, tl.reduce(y, 0, add), mask=k < S // 2)
    wide = rows[:, None] * h_stride + k[None, :]
    x = tl.load(h + wide, mask=inside, other=0.0).to(tl.float32)
    y = tl.load(h + S // 2 + wide, mask=inside, other=0.0).to(tl.float32)
    tl.store(dh + wide, (dlow * silu_slope(x)).to(dh.dtype.element_ty), mask=inside)
    tl.store(dh + S // 2 + wide, (dhigh * silu_slope(y)).to(dh.dtype.element_ty), mask=inside)


# ---------------------------------------------------------------- from torch: each result is written in place
INTERPRETED = not isinstance(mix_kernel, triton.JITFunction)
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
ROWS = 32  # tokens whose heads one program makes


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
        )


def run_unheads(h, gamma, cos, sin, dheads, dh, sums):
    """``dh`` has the strides of ``h``; ``sums (programs, 2, 4, S)`` are shares of the gradients of gamma and beta."""
    (B, T, S), R = h.shape, ROWS
    with torch.cuda.device_of(h):
        unheads_kernel[(triton.cdiv(B * T, R),)](
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
            R=R,
            HALF=triton.next_power_of_2(S // 2),
        )


def run_scan(x, out, factor, joins, whole, later):
    """Sums of ``x (B, G, S, E)`` over earlier chunks, times ``factor``, or the transpose of that; all contiguous."""
    B, G, N, width = *x.shape[:2], x[0, 0].numel(), 1024
    stride = G if factor.shape[0] > 1 else 0
    with torch.cuda.device_of(x):
        scan_kernel[(B, triton.cdiv(N, width))](
            x, out, factor, joins, whole, stride, G, N, LATER=later, WIDTH=width
        )


def run_mix(
    quad_q, quad_k, lin_q, v, state, bias, documents, u, y, out, C, scale, tile=SMALL, silu=False
):
    """Start one program for each tile of ``out``; tensors may have any strides, ``y`` has those of ``out``."""
    B, T, E = v.shape
    S = quad_q.shape[2]
    M, E_tile, warps, stages = Tile(*tile)
    # the last tiles may stick out
    programs = B * triton.cdiv(T, C) * triton.cdiv(C, M) * triton.cdiv(E, E_tile)
    strides = _strides(quad_q, quad_k, lin_q, v, state, bias, u, out)
    with torch.cuda.device_of(v):
        mix_kernel[(programs,)](
            quad_q,
            quad_k,
            lin_q,
            v,
            state,
            bias,
            documents,
            u,
            y,
            out,
            *strides,
            T,
            C,
            S,
            E,
            scale,
            SILU=silu,
            M=M,
            S_TILE=_power_of_two(S),
            E_TILE=E_tile,
            num_warps=warps,
            num_stages=stages,
        )


def run_maps(quad_q, quad_k, dy, v, bias, documents, a, ds, C, scale, tile=SMALL):
    """Start one program for each tile of ``a`` and ``ds (B, G, C, C)``, which are contiguous."""
    B, T, E = v.shape
    S = quad_q.shape[2]
    M, E_tile, warps, stages = Tile(*tile)
    programs = B * triton.cdiv(T, C) * triton.cdiv(C, M) ** 2
    with torch.cuda.device_of(v):
        maps_kernel[(programs,)](
            quad_q,
            quad_k,
            dy,
            v,
            bias,
            documents,
            a,
            ds,
            *_strides(quad_q, quad_k, dy, v, bias),
            T,
            C,
            S,
            E,
            scale,
            M=M,
            S_TILE=_power_of_two(S),
            E_TILE=E_tile,
            num_warps=warps,
            num_stages=stages,
        )


def run_values(lin_k, dsums, a, dy, h, out, C, tile=SMALL):
    """Start one program for each tile of ``out (B, T, E)``; ``a`` is contiguous, the others may have any strides."""
    B, T, E = dy.shape
    S = lin_k.shape[2]
    M, E_tile, warps, stages = Tile(*tile)
    programs = B * triton.cdiv(T, C) * triton.cdiv(C, M) * triton.cdiv(E, E_tile)
    with torch.cuda.device_of(dy):
        values_kernel[(programs,)](
            lin_k,
            dsums,
            a,
            dy,
            h,
            out,
            *_strides(lin_k, dsums, dy, h, out),
            T,
            C,
            S,
            E,
            M=M,
            S_TILE=_power_of_two(S),
            E_TILE=E_tile,
            num_warps=warps,
            num_stages=stages,
        )


def run_ungate(h, y, dout, out, dy, dh):
    """Rows of ``h`` and ``dh (B, T, E)`` are parts of longer ones, of one length; the rest is contiguous."""
    (B, T, E), R, width = y.shape, 16, 128
    with torch.cuda.device_of(h):
        ungate_kernel[(triton.cdiv(B * T, R), triton.cdiv(E, width))](
            h, y, dout, out, dy, dh, h.stride(1), B * T, E, R=R, WIDTH=width
        )


def _strides(*tensors):
    return [() if t is None else t.stride() for t in tensors]


def _power_of_two(n):
    return max(16, triton.next_power_of_2(n))


def check_device(device, dtype):
    """A ValueError where the kernels cannot run, interpreted or compiled."""
    if INTERPRETED and (device.type != "cpu" or dtype == torch.bfloat16):
        advice = (
            "the interpreter is for float32 and float16 on a CPU; unset it and restart for a GPU"
        )
        raise ValueError(
            f"TRITON_INTERPRET was set, and the tensors are {dtype} on {device}: {advice}"
        )
    if not INTERPRETED and device.type != "cuda":
        advice = "set TRITON_INTERPRET=1 before flash_tutorial.gpu.kernels is imported, or move them to a CUDA card"
        raise ValueError(f"the tensors lie on {device}: {advice}")
