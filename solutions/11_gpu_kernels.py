# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Problem set 11: GPU kernels
#
# [Lecture 11](../notebooks/11_gpu_kernels.ipynb) · [the lecture without results](../notebooks/work/11_work_gpu_kernels.ipynb) · [glossary](../docs/glossary.md)
#
# Six exercises, 100 points, about two hours and twenty-five minutes. The four marked *core* are 65 points in an hour and a quarter.
# They belong to lecture 11. No exercise needs a GPU. 11.3 and 11.6 need Triton, which exists for Linux; on Colab a CPU runtime is enough.
#
# On Colab, first choose *File > Save a copy in Drive*: a notebook that was opened from a link is not saved.
#
# Write your code where it says `raise NotImplementedError`. The cell below each exercise checks it, and says where it differs.
# `hint("11.1")` gives the first of three hints; call it again for the next one. `progress("11")` shows your points.
#
# `check` and grading call your functions by name, with the arguments that the text names, so keep both. Grading draws numbers and
# sizes of its own, and where you *mend* or *prove*, it also tries cases that `check` does not show.
# What a function is given belongs to its caller. Unless the text says otherwise, changing it counts as wrong, so work on a copy.
#
# In this set tokens, chunks and positions are counted from 0.

# %%
# @title Setup: on Colab this installs the course. There is nothing to read here.
import glob, subprocess, sys, zipfile

SOURCE, VERSION = "no address yet: upload the project's zip to Colab's files", "*"  # written by tools/stamp.py
if "google.colab" in sys.modules and not any(glob.glob(f"{p}/flash_tutorial-{VERSION}.dist-info") for p in sys.path):
    near = [".", "..", "../..", *glob.glob("/content/*"), *glob.glob("/content/drive/MyDrive/*")]
    names = {p: zipfile.ZipFile(p).namelist() if zipfile.is_zipfile(p) else glob.glob(f"{p}/*/*.py") for p in near}
    copies = [p for p in near if "flash_tutorial/__init__.py" in str(names[p])]
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--no-deps", [*copies, SOURCE][0]], check=True)

# %%
import math

import numpy as np
import torch

from flash_course import check, hint, personal, progress
from flash_course.checks.interpreter import jit, tl

STUDENT = "me"  # your name or number; the numbers of 11.1 are drawn from it

# %% [markdown]
# ## 11.1 predict: bytes or operations?
#
# **15 points** · difficulty 3/5 · importance 4/5 · 15 minutes · core
#
# A T4 computes 65 × 10¹² FLOPs a second in float16, and moves 320 × 10⁹ bytes. So an operation with fewer than 203 FLOPs per byte waits for memory.
# On which side are the parts of FLASH? The next cell prints your numbers C, S and E. Answer before you compute anything with the package.
#
# Take one full chunk, with everything in float16, and count as lecture 11 does in section 2: a multiply-add is two FLOPs, only the FLOPs of
# matrix products count for `a`, `b` and `d`, and a product computes the hidden half too. Each input is read once, each result is written once.
# Leave the bias out. How many FLOPs per byte has
#
# - `a`: the local part with its gate in one kernel, which reads q, k, v and the gate u, a (C, E) array, and writes the product with u, so that
#   the attention matrix never leaves it;
# - `b`: the same in three kernels: the first makes the scores q kᵀ, the second their relu², the third multiplies these by v and then by u.
#   Whatever goes from one kernel to the next is written by one and read by the other;
# - `c`: the second of these kernels alone? Taking the maximum with 0 is one FLOP, squaring is another;
# - `d`: the summary kᵀ v of the chunk, an array (S, E), in one kernel?
#
# And `e`: which of `a` to `d` wait for memory on a T4, with your numbers? Write their letters in quotes, as in `"ad"`.
#
# For `a` to `d`, half a percent more or less still counts as right.
#
# <details><summary>My answer is about half of what is expected</summary>
#
# Count again: how many FLOPs is a multiply-add, and how many bytes has a number in float16?
#
# </details>

# %%
print(personal("11.1", STUDENT))

# %%
# BEGIN SOLUTION
# STUB answer_11_1 = dict(a=None, b=None, c=None, d=None, e=None)
_n = personal("11.1", STUDENT)
_C, _S, _E = _n["C"], _n["S"], _n["E"]
_flops, _numbers = 2 * _C * _C * (_S + _E), 2 * _C * _S + 3 * _C * _E
answer_11_1 = dict(
    a=_flops / (2 * _numbers),
    b=_flops / (2 * (_numbers + 4 * _C * _C)),
    c=2 / 4,
    d=2 * _C * _S * _E / (2 * (_C * _S + _C * _E + _S * _E)),
)
answer_11_1["e"] = "".join(letter for letter, flops in answer_11_1.items() if flops < 203)
# END SOLUTION
check("11.1", answer_11_1, student=STUDENT)

# %% [markdown]
# ## 11.2 build: `tiled_local`
#
# **20 points** · difficulty 3/5 · importance 4/5 · 25 minutes · core
#
# A kernel has no room for a whole attention matrix. It makes a tile of M × M weights, uses it, and forgets it. Write that in NumPy first,
# where you can look at every tile. For each token i the result is
#
# relu²(q · k / C + bias) v, summed over the tokens j of its own chunk up to itself,
#
# where `bias_CC[a, b]` belongs to a reader at position a of its chunk and a key at position b. C need not divide T, so the last chunk may be short.
# M need not divide C, so the last tiles of a chunk may be smaller. M may also be larger than C. T, C and M are at least 1, and all arrays are float64.
#
# There are two conditions, and the check counts whether you keep them:
#
# - make one tile at a time: no array of scores or weights has more than M × M entries (do not pad the bias either);
# - do not multiply for tiles that lie wholly above the diagonal. A tile on the diagonal may be multiplied whole.
#
# The check counts what NumPy's arrays multiply, so make no lists and no tensors of them.
#
# You may use `numpy`.
#
# <details><summary>I get "operands could not be broadcast together"</summary>
#
# A tile at the end of a chunk has fewer rows or columns than M. Cut q, k, v and the bias off at the same place.
#
# </details>


# %%
def tiled_local(q_TS, k_TS, v_TE, bias_CC, C, M):
    """The causal local part of mixed chunk attention, tile by tile.

    q_TS, k_TS: arrays (T, S). v_TE: array (T, E). bias_CC: array (C, C). M: readers, and keys, of a tile.
    Returns an array (T, E).
    """
    # BEGIN SOLUTION
    T, out_TE = len(v_TE), np.zeros(v_TE.shape)
    for chunk in range(0, T, C):
        end = min(chunk + C, T)
        for top in range(chunk, end, M):
            readers = np.arange(top, min(top + M, end))
            for left in range(chunk, top + 1, M):
                keys = np.arange(left, min(left + M, end))
                bias = bias_CC[readers[0] - chunk : readers[-1] + 1 - chunk, keys[0] - chunk : keys[-1] + 1 - chunk]
                tile = np.maximum(q_TS[readers] @ k_TS[keys].T / C + bias, 0) ** 2
                tile = np.where(readers[:, None] >= keys, tile, 0)
                out_TE[readers] += tile @ v_TE[keys]
    return out_TE
    # END SOLUTION


# %%
check("11.2", tiled_local)

# %% [markdown]
# ## 11.3 build: the same as a Triton kernel
#
# **20 points** · difficulty 4/5 · importance 3/5 · 35 minutes
#
# Now write the same in Triton. Its interpreter runs on a CPU, and executes the programs of a kernel (the copies of it that a GPU would run
# side by side) one after the other in NumPy. Here `jit` is `triton.jit` with the interpreter switched on, and `tl` is `triton.language`.
# You need no environment variable. Where Triton is missing, the check says so, and never calls your answer wrong.
#
# Write `launch_local`. It starts your kernel, and the kernel fills `out`, which is full of NaN at first.
# One program makes M rows of one chunk of the result, and as in 11.2 it multiplies no tile that lies wholly above the diagonal, nor does it
# load one. The difficult part is the masks: around each array lies NaN, as a stand-in for whatever others have left in memory.
#
# - No program may read or write outside of the arrays, not even to drop the value afterwards.
# - Each entry of `out` is written once, and a program writes rows of its own chunk only. At the end `out` holds what the kernel stored:
#   torch computes no part of it.
# - The kernel reads q, k, v and the bias where they lie, without copies (`.contiguous()`, `.float()`) or padding. They may be transposed views,
#   so use the strides of both axes.
# - Inputs are float32, or all float16. `out` is float32, and the sum over tiles stays in float32.
# - C need not divide T, M need not divide C, and S and E are any numbers. M is a power of two, at least 16. M may be larger than C.
#
# `kernel[grid](arguments)` starts a kernel, and `grid` says how many programs run: `(chunks, tiles)`, for example. A parameter that is
# marked `: tl.constexpr` is passed by its name, as `M=M`. A tensor becomes its address, and a tuple of strides stays a tuple.
# `tl.arange` takes powers of two only, and `tl.dot` needs at least 16, so use `tile_for(S)` and `tile_for(E)` columns.
# The signatures of `load_tile` and `local_kernel` are proposals; only `launch_local` is checked. You may use `torch`, `jit` and `tl`.
#
# <details><summary>I get NaN, and all my loads have a mask</summary>
#
# Do all of them have `other=0.0`, too? Is there a mask for the columns, S of which fill only a part of `tile_for(S)`?
# And since 0 × NaN is NaN, choose with `tl.where` rather than multiply by a mask.
#
# </details>
#
# <details><summary>I get "Both operands must be same dtype" from `tl.dot`</summary>
#
# The weights are float32, and the tile of v may be float16. Bring one of them to the format of the other, inside the kernel: `a.to(b.dtype)`.
#
# </details>
#
# <details><summary>I get "Multiple assignments are not supported"</summary>
#
# Inside a kernel, write `a = x` and `b = x` on two lines instead of `a = b = x`.
#
# </details>


# %%
def tile_for(n):
    """The smallest power of two that is at least n, and at least 16."""
    return max(16, 1 << (n - 1).bit_length())


# %%
@jit
def load_tile(x, strides, rows, columns, row_end, column_end):
    """x[rows, columns], a tile. Zeros stand for rows from row_end on and columns from column_end on: those are not read.

    x: address of the first entry. strides: two numbers. rows, columns: ranges.
    """
    # BEGIN SOLUTION
    inside = (rows < row_end)[:, None] & (columns < column_end)[None, :]
    return tl.load(x + rows[:, None] * strides[0] + columns[None, :] * strides[1], mask=inside, other=0.0)
    # END SOLUTION


@jit
def local_kernel(
    q, k, v, bias, out, q_strides, k_strides, v_strides, bias_strides, out_strides, T, C, S, E,
    M: tl.constexpr, S_TILE: tl.constexpr, E_TILE: tl.constexpr,
):  # fmt: skip
    """One program: M rows of one chunk. Which ones, tl.program_id(0) and tl.program_id(1) tell."""
    # BEGIN SOLUTION
    chunk = tl.program_id(0) * C
    end = tl.minimum(chunk + C, T)
    rows = chunk + tl.program_id(1) * M + tl.arange(0, M)
    s, e = tl.arange(0, S_TILE), tl.arange(0, E_TILE)
    q_tile = load_tile(q, q_strides, rows, s, end, S)
    y = tl.zeros((M, E_TILE), tl.float32)
    for first in range(chunk, chunk + (tl.program_id(1) + 1) * M, M):
        keys = first + tl.arange(0, M)
        a = tl.dot(q_tile, tl.trans(load_tile(k, k_strides, keys, s, end, S))) / C
        a += load_tile(bias, bias_strides, rows - chunk, keys - chunk, C, C)
        a = tl.maximum(a, 0.0)
        a = tl.where(rows[:, None] >= keys[None, :], a * a, 0.0)
        value = load_tile(v, v_strides, keys, e, end, E)
        y += tl.dot(a.to(value.dtype), value)
    place = out + rows[:, None] * out_strides[0] + e[None, :] * out_strides[1]
    tl.store(place, y, mask=(rows < end)[:, None] & (e < E)[None, :])
    # END SOLUTION


def launch_local(q, k, v, bias_CC, out, C, M):
    """Fill `out` with the causal local part of one sequence, by a kernel.

    q, k: tensors (T, S). v: tensor (T, E). bias_CC: tensor (C, C). out: float32 tensor (T, E). Any strides.
    Returns nothing.
    """
    # BEGIN SOLUTION
    (T, S), E = q.shape, v.shape[1]
    strides = [x.stride() for x in (q, k, v, bias_CC, out)]
    grid = (-(-T // C), -(-C // M))
    local_kernel[grid](q, k, v, bias_CC, out, *strides, T, C, S, E, M=M, S_TILE=tile_for(S), E_TILE=tile_for(E))
    # END SOLUTION


# %%
check("11.3", launch_local)

# %% [markdown]
# ## 11.4 mend: a wasteful layer
#
# **20 points** · difficulty 3/5 · importance 4/5 · 25 minutes · core
#
# The layer below is right, and slow. For token i of a chunk it computes the local part, relu²(q · k / C) v over its own chunk up to itself, plus
# q times the mean of kᵀ v over all tokens of earlier chunks. q and k are rotated by RoPE, by their position in the sequence.
#
# It wastes work in five ways. What looks ugly need not be one of them, and the clock is a poor guide, so the check counts operations. In one call,
#
# - **tables**: `sin` and `cos` run once;
# - **waiting**: no tensor is asked for its value (`.item()`, `bool(...)`, `if tensor > 0`), because on a GPU the processor would have to wait for it;
# - **half**: no product computes a block that the mask hides completely, such as the scores of one chunk against another. Inside a chunk's own square the
#   hidden half may be computed;
# - **double**: with x in float32, no operation gives float64;
# - **joined**: `cat`, `stack` and `pad` copy each entry of the result at most once or twice, not once for each later chunk.
#   `turn` may keep its `cat`.
#
# Mend the five, 4 points each, and keep the values. The caller runs the layer in float32 and in float64, and trains it, so its backward pass must run as it does now. The result has x's format.
# The values are compared in float64; in float32 the operations are counted.
# Change nothing but `chunk_layer`. You may use `torch`, `cos_sin` and `turn`.
#
# <details><summary>My values changed in the second call</summary>
#
# Did you keep a table from the first call? It was made in a different number format. A table for each call is enough.
#
# </details>
#
# <details><summary>I get "modified by an inplace operation"</summary>
#
# The backward pass needs the sum as a product has read it. `state = state + ...` makes a new tensor, while `state += ...` overwrites the old one.
#
# </details>


# %%
def cos_sin(T, S, like):
    """Two tables (T, S / 2) of RoPE, in the format of the tensor `like`."""
    position = torch.arange(T, dtype=like.dtype, device=like.device)
    frequency = 10000.0 ** (-torch.arange(S // 2, dtype=like.dtype, device=like.device) / (S // 2))
    angles = position[:, None] * frequency
    return torch.cos(angles), torch.sin(angles)


def turn(x_nS, cos, sin):
    """RoPE: n vectors, rotated by the angles of n rows of the tables."""
    a, b = x_nS.chunk(2, dim=1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=1)


# %%
def chunk_layer(x_TD, W_q, W_k, W_v, C):
    """A causal layer without gate and bias.

    x_TD: tensor (T, D), T a multiple of C. W_q, W_k: (D, S), S even. W_v: (D, E), all in the format of x_TD.
    Returns a tensor (T, E).
    """
    # BEGIN SOLUTION
    # STUB T, S, E = len(x_TD), W_q.shape[1], W_v.shape[1]
    # STUB q_TS, k_TS, v_TE = x_TD @ W_q, x_TD @ W_k, x_TD @ W_v
    # STUB places = torch.arange(T, device=x_TD.device)
    # STUB state_SE = torch.zeros(S, E, dtype=torch.float64, device=x_TD.device)
    # STUB tokens = torch.zeros((), device=x_TD.device)
    # STUB out = x_TD.new_zeros(0, E)
    # STUB for first in range(0, T, C):
    # STUB     cos, sin = cos_sin(T, S, x_TD)
    # STUB     own = slice(first, first + C)
    # STUB     seen = slice(max(first - C, 0), first + C)
    # STUB     q = turn(q_TS[own], cos[own], sin[own])
    # STUB     k = turn(k_TS[seen], cos[seen], sin[seen])
    # STUB     allowed = (places[own, None] >= places[seen]) & (places[seen] >= first)
    # STUB     weights = torch.relu(q @ k.T / C).square() * allowed
    # STUB     rows = weights @ v_TE[seen]
    # STUB     if tokens.item() > 0:
    # STUB         far = q.double() @ state_SE / tokens
    # STUB         rows = rows + far.to(x_TD.dtype)
    # STUB     state_SE = state_SE + k[-C:].double().T @ v_TE[own].double()
    # STUB     tokens = tokens + C
    # STUB     out = torch.cat([out, rows])
    # STUB return out
    T, S, E = len(x_TD), W_q.shape[1], W_v.shape[1]
    cos, sin = cos_sin(T, S, x_TD)
    q_TS, k_TS, v_TE = turn(x_TD @ W_q, cos, sin), turn(x_TD @ W_k, cos, sin), x_TD @ W_v
    state_SE, out_TE = x_TD.new_zeros(S, E), x_TD.new_zeros(T, E)
    for first in range(0, T, C):
        own = slice(first, first + C)
        q, k, v = q_TS[own], k_TS[own], v_TE[own]
        near = torch.relu(q @ k.T / C).square().tril() @ v
        out_TE[own] = near + q @ (state_SE / max(first, 1))  # the chunk's first token tells how many are before it
        state_SE = state_SE + k.T @ v
    return out_TE
    # END SOLUTION


# %%
check("11.4", chunk_layer)

# %% [markdown]
# ## 11.5 build: `largest_tile`
#
# **10 points** · difficulty 2/5 · importance 3/5 · 10 minutes · core
#
# With a larger tile less is read again, but the fast memory of a program is small: on a T4 it has 64 KiB, 65536 bytes.
# (`shared_bytes` may be more or less: other cards have other sizes.)
# Say four arrays lie there at the same time: M queries and M keys of width S, M values of width `E_tile`, and the M × M tile of the attention
# matrix, all in one number format. Which M is the largest power of two for which they fit? What fits exactly, fits.
# If that M is below 16, or if none fits, raise a `ValueError`, because Triton's `dot` takes nothing smaller.
#
# You may use `math`.
#
# <details><summary>I get a number that is twice the expected one</summary>
#
# Two arrays are as wide as S. Do you count both, and the tile of the attention matrix, and the bytes of a number?
#
# </details>


# %%
def largest_tile(S, E_tile, bytes_per_number, shared_bytes):
    """The largest M, a power of two of at least 16, whose arrays fit into shared_bytes.

    Returns a whole number; ValueError if not even 16 fits.
    """

    # BEGIN SOLUTION
    def needed(M):
        return bytes_per_number * (2 * M * S + M * E_tile + M * M)

    M = 16
    if needed(M) > shared_bytes:
        raise ValueError(f"a tile of 16 needs {needed(M)} bytes, and there are {shared_bytes}")
    while needed(2 * M) <= shared_bytes:
        M *= 2
    return M
    # END SOLUTION


# %%
check("11.5", largest_tile)

# %% [markdown]
# ## 11.6 extend: gate and global part
#
# **15 points** · difficulty 5/5 · importance 2/5 · 35 minutes
#
# Fuse the rest of the mixing into the kernel of 11.3. For token i of chunk g,
#
# out = u ⊙ (local part + lin_q · state of chunk g),
#
# where the local part is that of 11.3 with `quad_q` and `quad_k`, and the state of chunk g is the *mean* of lin_kᵀ v over all
# tokens of chunks 0 to g - 1. For chunk 0 it is zero. u is the gate of the token that reads.
#
# Make the state in torch, before the kernel starts: a float32 tensor (G, S, E), summed in float32 also when the inputs are float16, so
# lin_k and v become float32 before their product, and these are the only copies. Everything else happens in one kernel. What 11.3 asks for holds here too: masks, strides,
# no other copies, and each entry of `out` stored once. Beside the given arrays the kernel reads the state, and nothing else.
# Inputs are float32, or all float16; `out` is float32. What you wrote in 11.3 is there to be used. You may use `torch`, `jit` and `tl`.
#
# <details><summary>I get "Both operands must be same dtype" from `tl.dot`</summary>
#
# The state is float32, and lin_q may be float16. Bring one of them to the format of the other: `x.to(tl.float32)` or `x.to(y.dtype)`.
#
# </details>
#
# <details><summary>I have a CUDA card: how fast is my kernel?</summary>
#
# No points depend on it, and the interpreter says nothing about speed, so make a new notebook. Put into it `import torch`, `import triton`,
# `import triton.language as tl`, `jit = triton.jit`, then your cells of 11.3 and 11.6. Make the inputs with `device="cuda"`, and time
# `launch_gated` beside `mix_torch` of lecture 11, section 7, and its compiled form, by
# `time_in_turn(functions, rounds, device="cuda")` of `flash_course.bench.clock`, where `functions` is a dictionary of functions by name.
# Print `torch.cuda.get_device_name()` with the times. On a T4, expect to lose, because there Triton's `dot` uses ordinary multiply-adds.
#
# </details>


# %%
# BEGIN SOLUTION
# STUB # your kernel here
@jit
def gated_kernel(
    quad_q, quad_k, lin_q, state, v, u, bias, out, quad_q_strides, quad_k_strides, lin_q_strides, state_strides,
    v_strides, u_strides, bias_strides, out_strides, T, C, S, E,
    M: tl.constexpr, S_TILE: tl.constexpr, E_TILE: tl.constexpr,
):  # fmt: skip
    g = tl.program_id(0)
    chunk = g * C
    end = tl.minimum(chunk + C, T)
    rows = chunk + tl.program_id(1) * M + tl.arange(0, M)
    s, e = tl.arange(0, S_TILE), tl.arange(0, E_TILE)
    before = load_tile(state + g * state_strides[0], state_strides[1:], s, e, S, E)
    y = tl.dot(load_tile(lin_q, lin_q_strides, rows, s, end, S).to(tl.float32), before)
    q_tile = load_tile(quad_q, quad_q_strides, rows, s, end, S)
    for first in range(chunk, chunk + (tl.program_id(1) + 1) * M, M):
        keys = first + tl.arange(0, M)
        a = tl.dot(q_tile, tl.trans(load_tile(quad_k, quad_k_strides, keys, s, end, S))) / C
        a += load_tile(bias, bias_strides, rows - chunk, keys - chunk, C, C)
        a = tl.maximum(a, 0.0)
        a = tl.where(rows[:, None] >= keys[None, :], a * a, 0.0)
        value = load_tile(v, v_strides, keys, e, end, E)
        y += tl.dot(a.to(value.dtype), value)
    y *= load_tile(u, u_strides, rows, e, end, E)
    place = out + rows[:, None] * out_strides[0] + e[None, :] * out_strides[1]
    tl.store(place, y, mask=(rows < end)[:, None] & (e < E)[None, :])


# END SOLUTION


def launch_gated(quad_q, quad_k, lin_q, lin_k, v, u, bias_CC, out, C, M):
    """Fill `out` with the gated local and global part of one sequence, by one kernel.

    quad_q, quad_k, lin_q, lin_k: tensors (T, S). v, u: tensors (T, E). bias_CC: tensor (C, C).
    out: float32 tensor (T, E). Any strides. Returns nothing.
    """
    # BEGIN SOLUTION
    (T, S), E = quad_q.shape, v.shape[1]
    G = -(-T // C)
    kv = [lin_k[first : first + C].float().T @ v[first : first + C].float() for first in range(0, (G - 1) * C, C)]
    sums = torch.stack([torch.zeros(S, E, device=v.device), *kv]).cumsum(0)
    tokens = torch.arange(G, device=v.device).clamp(min=1) * C
    state = sums / tokens[:, None, None]
    arrays = (quad_q, quad_k, lin_q, state, v, u, bias_CC, out)
    strides = [x.stride() for x in arrays]
    grid = (G, -(-C // M))
    gated_kernel[grid](*arrays, *strides, T, C, S, E, M=M, S_TILE=tile_for(S), E_TILE=tile_for(E))
    # END SOLUTION


# %%
check("11.6", launch_gated)

# %%
progress("11")
