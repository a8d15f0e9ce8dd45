"""Causal FLASH on a GPU: Triton kernels for the forward and the backward pass, written to be read.

    forward   scan     what each chunk reads of earlier ones: a running sum over chunks, taken before its own is added
              weights  relu(scale quad_q @ quad_k^T + bias)^2 of each chunk
              mix      u * (lin_q @ state + weights @ v)
    backward  maps     the weights again, and the gradient of their scores
              values   the gradient of v

The weights are computed once and stored, in half precision where the inputs are. ``mix`` could make them itself; but
each of its programs has some columns of v alone, so all of them would make the same weights anew. ``gates.py`` has the
kernels without a product: heads and gate.

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
from flash_tutorial.gpu.tiles import Tile, multiprocessors, parts_of, tile_for

if why := too_old(triton.__version__):
    raise ImportError(
        f"the kernels cannot be used: {why}; pip install --upgrade triton, or take backend='torch'"
    )
TOO_OLD_BEFORE_8 = too_old(triton.__version__, (7, 5))  # or None


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
def silu_slope(x):
    """The derivative of SiLU at x."""
    half = sigmoid(x)
    return half * (1 + x * (1 - half))


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
def tile_of_map(T, C, M: tl.constexpr):
    """The tile of the attention matrices that is this program's: i, j, b, g, as above, rows, keys."""
    tiles = cdiv(C, M)
    j, i, b, g = divided(tl.program_id(0), tiles, tiles, cdiv(T, C))
    chunk = g * C
    end = tl.minimum(chunk + C, T)
    rows = chunk + i * M + tl.arange(0, M)
    keys = chunk + j * M + tl.arange(0, M)
    return i, j, b, g, chunk, end, rows, keys


@triton.jit
def local_map(q, k, bias, bias_strides, documents, b, rows, keys, chunk, end, T, C, scale):
    """relu(scale q k^T + bias) of M queries and M keys: ``(M, M)`` float32, zero where a query may not read a key."""
    r = tl.dot(q, tl.trans(k), input_precision="ieee") * scale  # float32, whatever the inputs are
    if bias is not None:
        r += load_tile(bias, bias_strides, rows - chunk, keys - chunk, C, C)
    # positions in the sequence, not in the tile
    seen = (rows[:, None] >= keys[None, :]) & (rows < end)[:, None]
    if documents is not None:
        mine = tl.load(documents + b * T + rows, mask=rows < end, other=0)
        theirs = tl.load(documents + b * T + keys, mask=keys < end, other=0)
        seen = seen & (mine[:, None] == theirs[None, :])
    return tl.where(seen, tl.maximum(r, 0.0), 0.0)


@triton.jit
def is_kept(i, j, M: tl.constexpr):
    """Whether tile (i, j) of the weights is written: up to the end of the reader's block of 128 tokens (WIDEST).

    Beyond it lie later keys only, and nobody reads there, whichever M the reading kernel has.
    """
    return j * M // 128 <= i * M // 128


@triton.jit
def load_map(x, b, g, rows, keys, chunk, T, C):
    """A tile of a chunk's matrix in x (B, G, C, C), contiguous, at the places of rows and keys."""
    matrix = x + (b * cdiv(T, C) + g) * C * C
    return load_tile(matrix, (C, 1), rows - chunk, keys - chunk, C, C)


@triton.jit
def store_map(x, b, g, rows, keys, chunk, T, C, values):
    """Write where ``load_map`` would read."""
    matrix = x + (b * cdiv(T, C) + g) * C * C
    store_tile(matrix, (C, 1), rows - chunk, keys - chunk, C, C, values)


@triton.jit
def sum_before(initial, shares, b, n, part, N, WIDTH: tl.constexpr, AHEAD: tl.constexpr):
    """What the sum of a part begins with: ``(WIDTH,)`` float32."""
    total = tl.full((WIDTH,), 0.0, tl.float32)
    if initial is not None:
        total = tl.load(initial + b * N + n, mask=n < N, other=0.0)
    if shares is not None:
        for earlier in tl.range(0, part, num_stages=AHEAD):
            share = shares + (earlier * tl.num_programs(0) + b) * N + n
            total += tl.load(share, mask=n < N, other=0.0)
    return total


# ---------------------------------------------------------------- the kernels
@triton.jit
def scan_kernel(
    x,
    out,
    factor,
    joins,
    whole,  # (B, G, N), (B, G, N) or None, (B or 1, G), and (B, G) each or None
    finished,  # (B,) or None
    initial,
    shares,
    last,  # (B, N), (parts - 1, B, N), (B, N) float32, each or None
    factor_stride,
    G,
    N,
    chunks,
    LATER: tl.constexpr,
    WIDTH: tl.constexpr,
    AHEAD: tl.constexpr,
):
    """One program sums WIDTH of the N numbers over a part of one row, so many chunks, in float32.

    out[g] = factor[g] * (initial + x[0] + ... + x[g - 1]), and last = initial + x[0] + ... + x[G - 1].
    LATER is the transpose: out[g] = initial + factor[g + 1] x[g + 1] + factor[g + 2] x[g + 2] + ..., and last all of
    these. With documents the sum starts anew where none crosses from chunk to chunk (joins), or fills one (whole). Of
    a row only the first ``finished`` chunks are summed up. A part begins with the shares of those before it; without
    ``out`` it writes its own.
    """
    # 64 bits: B G N may be large
    b = tl.program_id(0).to(tl.int64)
    n = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    part = tl.program_id(2)
    total = sum_before(initial, shares, b, n, part, N, WIDTH, AHEAD)
    first = part * chunks
    # Each load takes far longer than its addition, so the next ones are on their way already.
    for i in tl.range(first, tl.minimum(first + chunks, G), num_stages=AHEAD):
        g = G - 1 - i if LATER else i
        if joins is not None:  # the border that was just crossed; those at the ends join nothing
            border = g + 1 if LATER else g
            joined = (border < G) & (tl.load(joins + b * G + border, mask=border < G, other=0) != 0)
            total = tl.where(joined, total, 0.0)
        place = (b * G + g) * N + n
        new = tl.load(x + place, mask=n < N, other=0.0).to(tl.float32)
        f = tl.load(factor + b * factor_stride + g)
        read = total if LATER else f * total
        if finished is not None:
            counts = g < tl.load(finished + b)
            if LATER:
                read = tl.where(counts, read, 0.0)
            else:
                new = tl.where(counts, new, 0.0)
        if out is not None:
            tl.store(out + place, read.to(out.dtype.element_ty), mask=n < N)
        if whole is not None:
            total = tl.where(tl.load(whole + b * G + g) != 0, total, 0.0)
        total += f * new if LATER else new
    if out is None:
        tl.store(last + (part * tl.num_programs(0) + b) * N + n, total, mask=n < N)
    elif last is not None:
        written = tl.where(first + chunks >= G, N, 0)  # by the last part alone
        tl.store(last + b * N + n, total, mask=n < written)


@triton.jit
def weights_kernel(
    quad_q,
    quad_k,
    bias,
    documents,
    a,  # a (B, G, C, C), contiguous; bias and documents may be None
    quad_q_strides,
    quad_k_strides,
    bias_strides,
    T,
    C,
    S: tl.constexpr,
    scale,
    M: tl.constexpr,
    S_TILE: tl.constexpr,
):
    """One program makes one tile, M queries by M keys, of the weights a = relu(scale quad_q @ quad_k^T + bias)^2."""
    i, j, b, g, chunk, end, rows, keys = tile_of_map(T, C, M)
    if is_kept(i, j, M):
        s = tl.arange(0, S_TILE)
        # (M, S_TILE)
        q = load_tile(quad_q + b * quad_q_strides[0], quad_q_strides[1:], rows, s, end, S)
        k = load_tile(quad_k + b * quad_k_strides[0], quad_k_strides[1:], keys, s, end, S)
        r = local_map(q, k, bias, bias_strides, documents, b, rows, keys, chunk, end, T, C, scale)
        store_map(a, b, g, rows, keys, chunk, T, C, r * r)


@triton.jit
def mix_kernel(
    lin_q,
    v,
    state,
    a,
    u,
    y,
    out,  # addresses; a (B, G, C, C), contiguous; u and y may be None
    lin_q_strides,
    v_strides,
    state_strides,
    u_strides,
    out_strides,
    T,
    C,
    S: tl.constexpr,
    E: tl.constexpr,
    SILU: tl.constexpr,  # whether the gate is SiLU(u)
    M: tl.constexpr,
    S_TILE: tl.constexpr,
    E_TILE: tl.constexpr,  # powers of two, known when the kernel is compiled
):
    """One program makes one tile of the output: M tokens of one chunk, E_TILE of their E numbers.

    y = lin_q @ state + a @ v, and out = u * y
    """
    m, b, g, chunk, end, rows, columns = tile_of_program(T, C, E, M, E_TILE)
    s = tl.arange(0, S_TILE)

    # Global part: one product with the state that holds all earlier chunks. Its sum is where the local part goes on.
    q = load_tile(lin_q + b * lin_q_strides[0], lin_q_strides[1:], rows, s, end, S)  # (M, S_TILE)
    before_chunk = state + b * state_strides[0] + g * state_strides[1]
    before = load_tile(before_chunk, state_strides[2:], s, columns, S, E)  # (S_TILE, E_TILE)
    total = tl.dot(q, before.to(q.dtype), input_precision="ieee")  # (M, E_TILE), float32

    # Local part: M keys at a time, up to the reader's own tile. Tiles further right hold later keys only, and what
    # the others give adds up, for there is no running maximum.
    for first in range(chunk, chunk + (m + 1) * M, M):
        keys = first + tl.arange(0, M)
        weight = load_map(a, b, g, rows, keys, chunk, T, C)  # (M, M)
        value = load_tile(v + b * v_strides[0], v_strides[1:], keys, columns, end, E)  # (M, E_TILE)
        total += tl.dot(weight, value, input_precision="ieee")

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
    S: tl.constexpr,
    E: tl.constexpr,
    scale,
    M: tl.constexpr,
    S_TILE: tl.constexpr,
    E_TILE: tl.constexpr,
):
    """One program makes one tile, M queries by M keys, of the weights a = r^2 and the scores' gradient 2 r (dy v^T).

    ds is written everywhere: torch's products read all of it.
    """
    i, j, b, g, chunk, end, rows, keys = tile_of_map(T, C, M)
    s = tl.arange(0, S_TILE)
    r = tl.full((M, M), 0.0, tl.float32)
    da = tl.full((M, M), 0.0, tl.float32)
    if j <= i:  # tiles above the diagonal hold later keys only, and stay zero
        # (M, S_TILE)
        q = load_tile(quad_q + b * quad_q_strides[0], quad_q_strides[1:], rows, s, end, S)
        k = load_tile(quad_k + b * quad_k_strides[0], quad_k_strides[1:], keys, s, end, S)
        r = local_map(q, k, bias, bias_strides, documents, b, rows, keys, chunk, end, T, C, scale)
        for first in range(0, E, E_TILE):
            columns = first + tl.arange(0, E_TILE)
            # (M, E_TILE)
            grad = load_tile(dy + b * dy_strides[0], dy_strides[1:], rows, columns, end, E)
            value = load_tile(v + b * v_strides[0], v_strides[1:], keys, columns, end, E)
            da += tl.dot(grad, tl.trans(value), input_precision="ieee")
    if is_kept(i, j, M):
        store_map(a, b, g, rows, keys, chunk, T, C, r * r)
    store_map(ds, b, g, rows, keys, chunk, T, C, 2 * r * da)


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
    S: tl.constexpr,
    E: tl.constexpr,
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
        weight = load_map(a, b, g, rows, keys, chunk, T, C)  # (M, M), queries down and keys across
        # (M, E_TILE)
        grad = load_tile(dy + b * dy_strides[0], dy_strides[1:], rows, columns, end, E)
        total += tl.dot(tl.trans(weight), grad, input_precision="ieee")
    if h is not None:
        total *= silu_slope(
            load_tile(h + b * h_strides[0], h_strides[1:], keys, columns, end, E).to(tl.float32)
        )
    store_tile(out + b * out_strides[0], out_strides[1:], keys, columns, end, E, total)


# ---------------------------------------------------------------- from torch: each result is written in place
INTERPRETED = not isinstance(mix_kernel, triton.JITFunction)
# One instruction for a product and its sum, as the kernels were compiled and counted, whatever Triton's default is.
FUSED = dict(enable_fp_fusion=True)
# Narrow, for a single row has no more programs than its S E numbers give; of AHEAD stages all but one are on their way.
SCAN = dict(WIDTH=512, AHEAD=8, num_warps=2, **FUSED)
DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def run_scan(
    x, out, factor, joins, whole, later, initial=None, last=None, finished=None, parts=None
):
    """Sums of ``x (B, G, S, E)`` over earlier chunks, times ``factor``, or the transpose of that; all contiguous.

    ``initial (B, S, E)``, float32, is what the sum begins with; ``last`` gets what it is behind the last chunk, or
    behind the first ``finished (B,)`` chunks of each row. Where rows alone are too few programs for the card, they are
    cut into ``parts``, and x is read twice: for the share of each part, and for the sums.
    """
    B, G, N = *x.shape[:2], x[0, 0].numel()
    programs = (B, triton.cdiv(N, SCAN["WIDTH"]))
    stride = G if factor.shape[0] > 1 else 0
    if joins is not None:  # where a sum starts anew, what came before is nobody's share
        parts = 1
    if parts is None:
        parts = parts_of(G, programs[0] * programs[1], multiprocessors(x.device))
    chunks = triton.cdiv(G, parts)
    parts = triton.cdiv(G, chunks)
    how = (stride, G, N, chunks)
    shares = None
    with torch.cuda.device_of(x):
        if parts > 1:
            shares = x.new_empty(parts - 1, B, N, dtype=torch.float32)
            scan_kernel[*programs, parts - 1](
                x, None, factor, None, None, finished, None, None, shares, *how, LATER=later, **SCAN
            )
        scan_kernel[*programs, parts](
            x,
            out,
            factor,
            joins,
            whole,
            finished,
            initial,
            shares,
            last,
            *how,
            LATER=later,
            **SCAN,
        )


def run_weights(quad_q, quad_k, bias, documents, a, C, scale, tile=()):
    """Start one program for each tile of ``a (B, G, C, C)``, which is contiguous; nothing is written above WIDEST."""
    B, T, S = quad_q.shape
    M, _, warps, stages = chosen("weights", tile, quad_q, C, S, 0)
    programs = B * triton.cdiv(T, C) * triton.cdiv(C, M) ** 2
    with torch.cuda.device_of(quad_q):
        weights_kernel[(programs,)](
            quad_q,
            quad_k,
            bias,
            documents,
            a,
            *_strides(quad_q, quad_k, bias),
            T,
            C,
            S,
            scale,
            M=M,
            S_TILE=_power_of_two(S),
            num_warps=warps,
            num_stages=stages,
            **FUSED,
        )


def run_mix(lin_q, v, state, a, u, y, out, C, tile=(), silu=False):
    """Start one program for each tile of ``out``; ``y`` has its strides, ``a`` is contiguous, others may have any."""
    B, T, E = v.shape
    S = lin_q.shape[2]
    M, E_tile, warps, stages = chosen("mix", tile, v, C, S, E)
    # the last tiles may stick out
    programs = B * triton.cdiv(T, C) * triton.cdiv(C, M) * triton.cdiv(E, E_tile)
    with torch.cuda.device_of(v):
        mix_kernel[(programs,)](
            lin_q,
            v,
            state,
            a,
            u,
            y,
            out,
            *_strides(lin_q, v, state, u, out),
            T,
            C,
            S,
            E,
            SILU=silu,
            M=M,
            S_TILE=_power_of_two(S),
            E_TILE=E_tile,
            num_warps=warps,
            num_stages=stages,
            **FUSED,
        )


def run_maps(quad_q, quad_k, dy, v, bias, documents, a, ds, C, scale, tile=()):
    """Start one program for each tile of ``a`` and ``ds (B, G, C, C)``, which are contiguous."""
    B, T, E = v.shape
    S = quad_q.shape[2]
    M, E_tile, warps, stages = chosen("maps", tile, v, C, S, E)
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
            **FUSED,
        )


def run_values(lin_k, dsums, a, dy, h, out, C, tile=()):
    """Start one program for each tile of ``out (B, T, E)``; ``a`` is contiguous, the others may have any strides."""
    B, T, E = dy.shape
    S = lin_k.shape[2]
    M, E_tile, warps, stages = chosen("values", tile, dy, C, S, E)
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
            **FUSED,
        )


def chosen(kernel, tile, like, C, S, E):
    """The tile that was asked for, else the kernel's own for such tensors."""
    return Tile(*tile) if tile else tile_for(kernel, like.device, like.dtype, C, S, E)


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
    if TOO_OLD_BEFORE_8 and not INTERPRETED and torch.cuda.get_device_capability(device) < (8, 0):
        raise ValueError(
            f"the kernels cannot be used on this card: {TOO_OLD_BEFORE_8}, or take backend='torch'"
        )
