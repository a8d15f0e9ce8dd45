# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 11 GPU kernels: where the time goes, and a kernel of your own
#
# [With results](11_gpu_kernels.ipynb) · [without, to work in](work/11_work_gpu_kernels.ipynb) · [problem set 11](../exercises/11_set_gpu_kernels.ipynb) · [glossary](../docs/glossary.md)
#
# **After this lecture you can**
# - measure where the time of a training step goes, and compare it with counted operations;
# - say whether an operation waits for memory or for arithmetic on a given card;
# - write a fused kernel for FLASH in Triton, and check it without a GPU;
# - read what a compiler says of it: tensor cores, registers, shared memory, occupancy;
# - predict a step's time from its bytes.
#
# **You need** lecture 05, the backward pass of lecture 03, and no GPU. The two questions at the start are from lecture 10.
#
# **Time** 35 minutes to read, about 50 more to build. Running the code takes about 20 seconds on two CPU cores.
#
# Text and figures: CC-BY-4.0. Code: MIT.

# %%
# @title Setup: on Colab this installs the course. There is nothing to read here.
import glob, subprocess, sys, zipfile

SOURCE, VERSION = "no address yet: upload the project's zip to Colab's files", "*"  # written by tools/stamp.py
if "google.colab" in sys.modules and not any(glob.glob(f"{p}/flash_tutorial-{VERSION}.dist-info") for p in sys.path):
    near = [".", "..", "../..", *glob.glob("/content/*"), *glob.glob("/content/drive/MyDrive/*")]
    names = {p: zipfile.ZipFile(p).namelist() if zipfile.is_zipfile(p) else glob.glob(f"{p}/*/*.py") for p in near}
    copies = [p for p in near if "flash_tutorial/__init__.py" in str(names[p])]
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--no-deps", [*copies, SOURCE][0]], check=True)

# %% [markdown]
# ## 1. Where the time of a step goes
#
# Below are two implementations of one model, FLASH in the paper's base size, and they multiply about as much. The first is FLASH as PyTorch runs
# it, operation by operation; the second has kernels of its own. A *kernel* is a function that runs on a GPU, in many copies at once. How many
# bytes does each of them fetch and store in one training step of 65,536 tokens?

# %% tags=["nbval-check-output"]
from flash_course.bench.stored import load_stored

counted = {(row["model"], row["T"]): row for row in load_stored("traffic")["rows"]}
for name in ("FLASH, torch", "FLASH, Triton"):
    print(f"{name:14} {counted[name, 8192]['gigabytes_moved']:.0f} GB of memory traffic in one training step")

# %% [markdown]
# Two fifths of the traffic are gone, against PyTorch operation by operation. In this lecture you write the kernel at the heart of the second, run it on your CPU, and work out what
# it is worth on a card.
#
# Two questions from lecture 10 first.
#
# **1.** Three short runs say that a change helps, and their interval excludes zero. What does the interval not speak of?
#
# <details><summary>Answer</summary>
#
# Of longer runs. In lecture 10 softmax in place of relu² was behind after 200 updates and ahead after 2,000.
#
# </details>
#
# **2.** You leave the gate out of a unit, and the unit gets worse. Why does that not yet blame the gate?
#
# <details><summary>Answer</summary>
#
# The gate's matrix of D × E parameters is gone too. Only with values widened to E = 3 D is it a fair comparison.
#
# </details>
#
# A FLASH unit has five parts. *project* makes gate, value and base of each token by one dense layer; *heads* makes queries and keys of the base;
# *local* is relu² attention inside chunks; *global* reads the state of earlier chunks; *out* multiplies by the gate and leads back to D.

# %%
from collections import namedtuple

import numpy as np
import torch

from flash_course import drawing, mine
from flash_course.bench.unit_parts import pairs_made, parts_of, percent, time_parts
from flash_course.learner import predict, reveal
from flash_tutorial import FLASH, mixing, reference
from flash_tutorial.check import draw_order_one

Preset = namedtuple("Preset", "B T D S C rounds")  # rounds: how often each part is timed
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
torch.set_num_threads(1)
CPU, GPU = Preset(1, 1024, 256, 64, 128, 5), Preset(4, 4096, 768, 128, 256, 20)
size = GPU if DEVICE == "cuda" else CPU

# %%
draw = torch.Generator().manual_seed(0)
unit = draw_order_one(FLASH(size.D, qk_dim=size.S, chunk_size=size.C, causal=True), draw).to(DEVICE)
x = torch.randn(size.B, size.T, size.D, generator=draw).to(DEVICE)
parts = parts_of(unit, x)  # {name: (function, its inputs)}
for name, (_, inputs) in parts.items():
    print(f"{name:8} takes", ", ".join(str(tuple(tensor.shape)) for tensor in inputs))

# %% tags=["nbval-check-output"]
last, inputs = parts["out"]
with torch.no_grad():
    off = float((last(*inputs) - unit(x)).norm() / (unit(x) - x).norm())
print(f"the five parts together differ from the unit by {100 * off:.2f}%")

# %% [markdown]
# How many multiply-adds have the matrix products of each part? The mixing is counted by its visible pairs, as in lecture 08.


# %% tags=["nbval-check-output"]
def multiply_adds(T, D, E, S, C, pairs):  # pairs of a chunk
    return {
        "project": T * D * (2 * E + S),
        "heads": 0,  # scale, offset and RoPE: no matrix product
        "local": T // C * pairs * (S + E),
        "global": 2 * T * S * E,
        "out": T * E * D,
    }


visible = CPU.C * (CPU.C + 1) // 2
counts = multiply_adds(CPU.T, CPU.D, 2 * CPU.D, CPU.S, CPU.C, visible)
for name, share in percent(counts).items():
    print(f"{name:8} {counts[name]:12,} multiply-adds, {share:3.0f}%")

# %% [markdown]
# **Your guess.** The mixing (local and global) has a fifth of these multiply-adds; with the hidden pairs, which are made too, it is a little more.
# What percent of the *time* does it take on your machine, forward and backward?

# %%
my_guess = None  # your number here
predict("11.a", my_guess)

# %% tags=["timing"]
milliseconds = time_parts(unit, parts, size.rounds)
made = multiply_adds(size.T, size.D, unit.expanded, size.S, size.C, pairs_made(size.C, DEVICE))
made, taken = percent(made), percent(milliseconds)
mixing_takes = taken["local"] + taken["global"]
title = f"Mixing: {made['local'] + made['global']:.0f}% of the products, {mixing_takes:.0f}% of the time"
figure, axes = drawing.new_axes(6.2, 3.6, "percent of the step", title=title)
look = {"form": "{:.0f}", "height": 0.38}
drawing.bars(axes, made, colours=drawing.SKY, hatch="//", shift=-0.2, **look)
drawing.bars(axes, taken, colours=drawing.ORANGE, hatch="..", shift=0.2, **look)
axes.legend(axes.containers, ["of the multiply-adds, counted", "of the time, measured"], frameon=False)
alt = f"Bars of each part's percent of the multiply-adds: {drawing.listed(made, '{:.0f}')};"
drawing.show(figure, f"{alt} and of the time: {drawing.listed(taken, '{:.0f}')}.")
reveal("11.a", round(mixing_takes), "percent of the time")
print(f"a step whose mixing took no time would be {1 / (1 - mixing_takes / 100):.2f} times as fast")

# %% [markdown]
# *heads* has no product at all and takes time all the same. The last line is *Amdahl's law*: a kernel for a part with the share p of the time
# makes the whole at most 1 / (1 − p) times as fast, so measure the share before you write the kernel.
#
# ## 2. Arithmetic against bytes
#
# An operation has to fetch its inputs and to compute with them, and the slower of the two sets the time. A *FLOP* is one addition or one
# multiplication, so a multiply-add is two. Tensors lie in *main memory*, which on the large cards is *HBM*, high-bandwidth memory: tens of
# gigabytes, and slow beside the arithmetic. Count both for a chunk of six tokens with S = 2 and E = 4, in float16 (2 bytes an entry).

# %% tags=["nbval-check-output"]
flops = 6 * 6 * 2 * (2 + 4)  # all pairs, the hidden ones too: S + E multiply-adds each
moved = 6 * 2 * (2 + 2 + 4 + 4)  # of each token: query, key and value read, the result written
print(f"{flops} FLOPs, {moved} bytes if the weights never leave the kernel: {flops / moved:.1f} FLOPs per byte")
in_memory = 2 * 6 * 6 * 4  # three kernels, product, relu², product: 6 x 6 entries written twice, read twice
print(f"{in_memory} bytes more if they do: {flops / (moved + in_memory):.1f} FLOPs per byte")

# %% [markdown]
# This is the *arithmetic intensity*, and keeping the attention matrix inside one kernel makes it three times as large. That is *fusing*: the
# same arithmetic, fewer trips to memory.
#
# Are three FLOPs per byte many? That depends on the card. A T4, Colab's free one, computes at most 65 × 10¹² FLOPs a second in float16, by its *tensor cores*,
# units that multiply two small matrices in one instruction, and it moves at most 320 × 10⁹ bytes. The ratio is the card's *ridge point*: an
# operation below it waits for memory, one above it for arithmetic.


# %% tags=["nbval-check-output"]
def local_intensity(C, S, E, fused):
    flops = 2 * C * C * (S + E)
    entries = 2 * C * S + 2 * C * E
    if not fused:
        entries += 4 * C * C  # scores written and read, their squares too
    return flops / (2 * entries)


T4_FLOPS, T4_BYTES = 65e12, 320e9
print(f"ridge point of the T4: {T4_FLOPS / T4_BYTES:.0f} FLOPs per byte")
for name, fused in (("not fused", False), ("fused", True)):
    print(f"local part, {name}: {local_intensity(128, 64, 512, fused):.1f} FLOPs per byte")

# %% [markdown]
# **Misconception: matrix products are limited by arithmetic.** These are matrix products, and a card with twice the FLOPs a second would not
# run them any faster. Fewer bytes would.
#
# As a picture this is a *roofline*: on the slope memory sets the limit, on the flat part arithmetic. Here is an H100 by its data sheet, with
# the gate, one multiplication for six bytes, and the first dense layer of a unit in two widths.


# %%
def dense_intensity(D, S, T=8192):  # from D to 2 E + S = 4 D + S features
    out = 4 * D + S
    return T * D * out / (T * D + D * out + T * out)


H100_FLOPS, H100_BYTES = 989e12, 3350e9
marks = {"gate": 1 / 6}
marks |= {f"local, {name}": local_intensity(128, 64, 512, name == "fused") for name in ("not fused", "fused")}
marks |= {f"dense, D = {D}": dense_intensity(D, S) for D, S in ((256, 64), (768, 128))}
title = f"Where bytes set the pace, fusing climbs the roof (arrow)\nH100: ridge point at {H100_FLOPS / H100_BYTES:.0f}"
climbs = "local, not fused", "local, fused"
drawing.show(*drawing.roofline(marks, H100_FLOPS, H100_BYTES, climbs, title))

# %% [markdown]
# A dense layer as narrow as D = 256 still waits for memory. At the paper's D = 768 it waits for arithmetic, and no kernel of ours could help.
#
# ## 3. What `torch.compile` merges
#
# Between the two products of the local part stand five small operations: division, bias, relu, square, mask. One by one, each is a kernel that
# reads all the scores and writes them anew. How far does `torch.compile` merge them? PyTorch's profiler counts what is still called; `bmm` is
# a product inside chunks.

# %%
from flash_course.bench.profiled import operations_called
from flash_tutorial.training.devices import compiled


def narrow_local(q, k, values, bias, mask):
    return (torch.relu(q @ k.mT / 128 + bias).square() * mask) @ values


square = torch.ones(128, 128, device=DEVICE)
inputs = [*torch.randn(3, 64, 128, 16, device=DEVICE), square, square.tril()]
for name, way in {"one by one": narrow_local, "compiled": compiled(narrow_local)}.items():
    try:
        calls = operations_called(way, *inputs)
        seen = [op for op in ("bmm", "div", "add", "relu", "square", "mul") if calls.get(op)]
        print(f"{name:10}", ", ".join(f"{calls[op]} x {op}" for op in seen))
    except ValueError as error:  # no compiler is installed
        print(error)

# %% [markdown]
# The five have become code of the compiler's own. The two products stayed calls, and scores and weights still pass through main memory between
# them. To keep them out, somebody has to write a kernel that works in tiles.
#
# ## 4. An attention matrix in tiles
#
# The fast memory of a kernel, its *shared memory*, holds 64 KiB on a T4, and a 256 × 256 matrix in float32 needs four times that. So the
# matrix is made in *tiles* of M × M entries; each is used at once and forgotten. Here are six tokens and tiles of 3 × 3, without bias and division.

# %% tags=["nbval-check-output"]
q_TS = np.array([(1, 0), (0, 1), (1, 1), (2, -1), (-1, 1), (1, 1)])
k_TS = np.array([(1, 1), (2, 0), (-1, 1), (1, 2), (1, -1), (1, 0)])
v_T = np.arange(1, 7)  # the value of a token is its number
scores_TT = q_TS @ k_TS.T
shown = np.where(np.tri(6) == 1, scores_TT.astype(float), np.nan)
panels = {"scores q kᵀ": shown, "weights: relu² of them": np.maximum(shown, 0) ** 2}
drawing.show(*drawing.squares_in_tiles(panels, 3, row=6, title="Token 6 reads two tiles, of three tokens each"))

read = 0
for left in (0, 3):  # token 6 reads tokens 1 to 3, then 4 to 6
    tile = np.maximum(scores_TT[5, left : left + 3], 0) ** 2
    read += tile @ v_T[left : left + 3]
    print(f"weights {tile}: read so far {read}")

# %% [markdown]
# A relu² weight depends on its own score alone, so what the tiles give simply adds up. A softmax weight is divided by a sum over the *whole*
# row, which the first tile does not know yet. Take a softmax in each tile and add, and the weights of this row sum to two.
#
# The way out is to carry three numbers from tile to tile: the largest score so far, since exp overflows (lecture 01), and the sum and the output of
# the weights exp(score - largest). Where a tile has a larger score, both are too large by a factor that you can compute, and are rescaled. This is *online softmax* ([Milakov and Gimelshein, 2018](https://arxiv.org/abs/1805.02867)), and it carries
# FlashAttention ([Dao et al., 2022](https://arxiv.org/abs/2205.14135)). You need nine lines.


# %%
def online_softmax(scores, values, M):
    """Softmax of ``scores (n,)`` times ``values (n,)``, M of them at a time: one number."""
    most, total, read = -np.inf, 0.0, 0.0  # the maximum, the sum of weights, what was read
    # BUILD
    for first in range(0, len(scores), M):
        some = scores[first : first + M]
        new = max(most, some.max())
        old = np.exp(most - new)  # what was summed so far belongs to the old maximum
        weights = np.exp(some - new)
        total = total * old + weights.sum()
        read = read * old + weights @ values[first : first + M]
        most = new
    return read / total
    # END


online_softmax = mine.check(online_softmax)

# %% tags=["nbval-check-output"]
row = scores_TT[5].astype(float)
whole = np.exp(row) @ v_T / np.exp(row).sum()
print(f"token 6 by softmax, the row at once: {whole:.4f}, in tiles of three: {online_softmax(row, v_T, 3):.4f}")

# %% [markdown]
# **Misconception: fusing needs all that.** Softmax does. A relu² kernel carries its output and nothing else, which is why yours will fit on a page.
#
# ## 5. What a program sees
#
# Triton is a language for kernels inside Python. It calls the copies of a kernel *programs*. Each makes one tile of the output: M tokens of one
# chunk, some of the E columns.

# %%
drawing.show(*drawing.tiles_of_a_chunk(C=40, M=16))

# %% [markdown]
# All that a program is told is its number, counted from 0. Take it apart: from number to number the M rows change first, then the `E_tile` columns, then
# the chunk, and last the sequence. (The picture shows the first columns of one chunk.) Neighbouring numbers
# run at about the same time, so what they share, the values and the state of a chunk, is still in the *L2 cache*, which all programs of a
# card have in common and which is faster than HBM.


# %%
def program_place(number, T, C, E, M, E_tile):
    """The sequence, its chunk's first token and the one after its last, its tile's first row and first column.

    Tokens and rows are counted in the whole sequence.
    """
    # BUILD
    tiles = -(-C // M)  # rounded up: the last one may stick out
    column_tiles = -(-E // E_tile)
    chunks = -(-T // C)
    m = number % tiles
    e = number // tiles % column_tiles
    g = number // (tiles * column_tiles) % chunks
    b = number // (tiles * column_tiles * chunks)
    return b, g * C, min(g * C + C, T), g * C + m * M, e * E_tile
    # END


program_place = mine.check(program_place)

# %% [markdown]
# A program gets no arrays either. It gets the *address* of a first entry and *strides*, which say how far apart two rows and two columns lie.
# Here is a memory of 20 entries with six tokens in it, E = 2. Around them lies NaN, for whatever has been left there.

# %% tags=["nbval-check-output"]
memory = np.full(20, np.nan)
first, strides = 4, (2, 1)
memory[first : first + 12] = np.arange(1, 13)  # token 1 has (1, 2), token 6 has (11, 12)

rows, columns = np.arange(4, 8), np.arange(2)  # the second tile of M = 4: tokens 5 to 8
tile = memory[first + rows[:, None] * strides[0] + columns[None, :] * strides[1]]
inside = (rows < 6)[:, None]
print("as loaded:", tile.tolist())
print("times a mask:", (tile * inside).tolist())
print("chosen by a mask:", np.where(inside, tile, 0).tolist())
for way, stride in {"along a row": 1, "down a column, E = 1536": 1536}.items():  # entries of two bytes
    print(f"{way}: 32 threads fetch {len(set(2 * stride * np.arange(32) // 32))} pieces of 32 bytes")

# %% [markdown]
# **Misconception: what lies outside is zero.** The tile asked for tokens 5 to 8 of six. It got NaN; elsewhere it gets a neighbour's values.
# Multiplying by a mask does not help, since 0 × NaN is NaN. So each load has a mask, and says what stands for the entries that are not read.
#
# The last two lines are about *threads*. Triton spreads the work on a tile over `num_warps` *warps* of 32 threads, and a warp executes one
# instruction for all its threads at the same time. Memory delivers pieces of 32 bytes. Neighbouring threads that want neighbouring entries
# share pieces, and the load is *coalesced*; down a column each thread fetches a piece for two bytes of it.
#
# Now in Triton. `tl.load(addresses, mask=..., other=0.0)` reads a whole tile. The check runs your lines in Triton's *interpreter*, which
# executes programs one after the other on a CPU.


# %%
def load_tile(x, strides, rows, columns, row_end, column_end):
    """x[rows, columns], a tile. Zeros stand for rows from row_end on and columns from column_end on."""
    import triton.language as tl

    # BUILD
    inside = (rows < row_end)[:, None] & (columns < column_end)[None, :]
    places = rows[:, None] * strides[0] + columns[None, :] * strides[1]
    return tl.load(x + places, mask=inside, other=0.0)
    # END


load_tile = mine.check(load_tile)

# %% [markdown]
# ## 6. The kernel
#
# The heart is one tile of weights, relu²(q kᵀ / C + bias), with zeros for later keys. You have `tl.dot(a, b)`, `tl.trans(a)`,
# `tl.maximum(a, b)` and `tl.where(condition, a, b)`; `rows` and `keys` are positions in the *sequence*, `bias` is the address of a table (C, C).


# %%
def weights_tile(q, k, bias, rows, keys, chunk, C):
    """relu²(q kᵀ / C + bias) of M queries and M keys, zero for later keys: ``(M, M)``. ``chunk``: its first token."""
    import triton.language as tl

    # BUILD
    scores = tl.dot(q, tl.trans(k)) / C
    scores += load_tile(bias, (C, 1), rows - chunk, keys - chunk, C, C)
    seen = rows[:, None] >= keys[None, :]
    relu = tl.where(seen, tl.maximum(scores, 0.0), 0.0)
    return relu * relu
    # END


weights_tile = mine.check(weights_tile)

# %% [markdown]
# And the whole program, for one sequence. First one product with a state: the g-th is what chunk g *reads*, the mean over the chunks before it, already
# divided, and they lie behind each other, S × E entries each. Then tile after tile of keys, from the chunk's first one up to the program's own.
# Last the gate u. Arrays lie row by row, with strides (S, 1) or (E, 1). Of `place`, `chunk` and `end` are the chunk's first token and the one
# after its last, `first_row` is the program's first row, and `s` may reach beyond S.


# %%
def mix_program(place, sizes, quad_q, quad_k, lin_q, v, state, bias, u):
    """One program's tile of u * y, ``(M, E_tile)``. ``sizes``: C, S, E, M; ``rows``, ``columns``, ``s`` are ranges."""
    import triton.language as tl

    C, S, E, M = sizes
    chunk, end, first_row, rows, columns, s = place
    # BUILD
    before = load_tile(state + chunk // C * S * E, (E, 1), s, columns, S, E)
    total = tl.dot(load_tile(lin_q, (S, 1), rows, s, end, S), before)
    q = load_tile(quad_q, (S, 1), rows, s, end, S)
    for first in range(chunk, first_row + M, M):
        keys = first + tl.arange(0, M)
        k = load_tile(quad_k, (S, 1), keys, s, end, S)
        weights = weights_tile(q, k, bias, rows, keys, chunk, C)
        total += tl.dot(weights, load_tile(v, (E, 1), keys, columns, end, E))
    return total * load_tile(u, (E, 1), rows, columns, end, E)
    # END


mix_program = mine.check(mix_program)

# %% [markdown]
# **Misconception: the more is fused, the better.** Count what your programs do at the paper's base size. E = 1536 is 24 tiles of 64 columns,
# and the program of each makes the same weights anew.


# %% tags=["nbval-check-output"]
def work_of(C, S, E, M, times):  # multiply-adds of a chunk, whose scores are made so many times
    pairs = (C // M) * (C // M + 1) // 2 * M * M  # whole tiles, on and below the diagonal
    return {"scores": times * pairs * S, "values": pairs * E, "state": C * S * E}


for name, times in (("one kernel", 1536 // 64), ("weights stored once", 1)):
    work = work_of(256, 128, 1536, 64, times)
    share = 100 * work["scores"] / sum(work.values())
    print(f"{name:19} {sum(work.values()) / 1e6:3.0f} million multiply-adds a chunk, {share:2.0f}% of them for scores")

# %% [markdown]
# Half the work of the fused kernel is scores. So the package cuts your program in two: `weights_kernel` makes each tile once and stores it in half
# precision, and `mix_kernel` reads it. A token's C weights are 2 C bytes, written once and read at most once from main memory, for the programs of other columns
# find them in the L2 cache. That is little, a twenty-fourth each way of the 8 E bytes of values, gate, and the results before and after the gate. Here is how
# `mix_kernel` reads them:

# %% tags=["nbval-check-output"]
from importlib.resources import files

source = (files("flash_tutorial") / "gpu" / "kernels.py").read_text(encoding="utf-8")
print(source[source.index("    # Global part:") : source.index("    # Store. The gate")].rstrip())

# %% [markdown]
# ## 7. Right, forward and backward
#
# Take T = 150 and C = 40, three full chunks and a tail of 30. The package's NumPy and its torch must agree, both in float64; then ask your
# kernel.

# %% tags=["nbval-check-output"]
T, C, S, E = 150, 40, 24, 40
rng = np.random.default_rng(0)
heads, (v_TE, u_TE) = list(rng.normal(size=(4, T, S))), rng.normal(size=(2, T, E))
bias_CC = rng.normal(size=(C, C))


def mix_torch(*tensors):
    *heads, v, u, bias = tensors
    return u * mixing.mixed_chunk_attention(*heads, v, chunk_size=C, causal=True, bias=lambda n: bias[:n, :n])


in_torch = [torch.from_numpy(array)[None] for array in (*heads, v_TE, u_TE)] + [torch.from_numpy(bias_CC)]
by_torch = mix_torch(*in_torch)[0]
everybody = np.ones(T, bool), np.zeros(T, int)  # all tokens are valid, and of one document
by_numpy = u_TE * reference.mixed_chunk_attention(heads, v_TE, *everybody, bias_CC, causal=True, chunk_size=C)
off = np.linalg.norm(by_numpy - by_torch.numpy()) / np.linalg.norm(by_numpy)
print(f"NumPy and torch differ by {100 * off:.4f}%; the standard deviation is {by_numpy.std():.1f}")

# %%
from flash_course.builds import on_tiles

try:
    quad_q, quad_k, lin_q, lin_k, v, u = [tensor[0].float() for tensor in in_torch[:-1]]
    inputs = quad_q, quad_k, lin_q, v, on_tiles.states(lin_k, v, C), in_torch[-1].float(), u
    got = on_tiles.all_programs(mix_program, program_place, *inputs)
    off = float((got - by_torch).norm() / by_torch.norm())
    print(f"your kernel, {on_tiles.programs_of(T, C, E)} programs in float32: off by {off:.0e} of the result")
except ImportError as error:
    print(error)

# %% [markdown]
# The *backward pass* has kernels too. Lecture 03 derived it: with weights A = relu(s)² and d_y for what comes back, d_v = Aᵀ d_y and
# d_s = 2 relu(s) (d_y vᵀ). A is not kept until then, which would take 0.8 GB in a step of the base size. It is made again, tile by tile. In the picture
# `mix_kernel` is the forward pass. On the way back `maps_kernel` makes the tiles of A and d_s, and `values_kernel` makes d_v of A and of *d state*, the
# gradient of the state. Tiles are counted from 0.

# %%
drawing.show(*drawing.tiles_of_the_kernels())

# %% [markdown]
# Forward, a program stays in its row of A and walks over the keys. For dv it belongs to M *keys*, and walks down their column over all
# queries that read them, so no two programs add to one entry. Ask the package's kernels for output and gradients, against torch in float64.
# (`TRITON_INTERPRET` has to be set before the import.)

# %%
import importlib.util
import os

if DEVICE == "cpu":
    os.environ["TRITON_INTERPRET"] = "1"
fused = None
if importlib.util.find_spec("triton"):
    from flash_tutorial.gpu import fused

if fused:
    leaves = [tensor.to(DEVICE, torch.float32).requires_grad_() for tensor in in_torch]
    doubles = [tensor.to(DEVICE).requires_grad_() for tensor in in_torch]
    *five, gate, table = leaves
    how = {"chunk_size": C, "bias": lambda n: table[:n, :n], "gate": gate, "tile": (16, 32)}
    out, wanted = fused.fused_mixed_chunk(*five, **how), mix_torch(*doubles)
    weight = torch.randn(1, T, E, generator=torch.Generator().manual_seed(3)).to(DEVICE)
    out.backward(weight)
    wanted.backward(weight.double())
    print(f"output: off by {float((out - wanted).detach().norm() / wanted.detach().norm()):.0e}")

# %%
if fused:
    names = ("quad_q", "quad_k", "lin_q", "lin_k", "v", "u", "bias")
    for name, ours, theirs in zip(names, leaves, doubles):
        print(f"gradient of {name:7} off by {float((ours.grad - theirs.grad).norm() / theirs.grad.norm()):.0e}")

# %% [markdown]
# The interpreter runs programs in order, so two of them could write to one address unnoticed, and it says nothing about time. In a model
# `FLASH(..., backend="auto")` takes the kernels where they are expected to be faster, and `unit.fused_on(x)` says why or why not.
#
# ## 8. What the card makes of it
#
# Compiling needs no card, so it was done for four and stored. **Your guess.** The products of `mix_kernel` want tensor cores, and all four cards have
# some. How many tensor-core instructions does the compiler make for the oldest, a T4: 0, 20 or 200?

# %%
my_guess = None  # a whole number
predict("11.b", my_guess)

# %% tags=["nbval-check-output"]
from flash_course.bench.occupancy import CARDS, compiled_kernel, programs_at_once

for name in CARDS:
    row = compiled_kernel("mix", name)
    print(
        f"{name:5} tile {row['tile']}, {row['warps']} warps: {row['matrix_instructions']:3} tensor-core instructions,",
        end=" ",
    )
    print(f"{row['registers']} registers a thread, {row['spill_store_bytes']:4} bytes spilled")

print(f"ridge point of a T4 without tensor cores: {8.1e12 / T4_BYTES:.0f} FLOPs per byte")

# %%
reveal("11.b", compiled_kernel("mix", "T4")["matrix_instructions"])

# %% [markdown]
# None. This version of Triton uses tensor cores from compute capability 8.0 on, and a T4 has 7.5. Without them its ridge point falls from 203
# to 25, below the 64 of the fused part, so the kernel waits for *arithmetic*. (One instruction of an H100 covers more than one of an A100.)
#
# The T4 has a second trouble. What does not fit into a thread's *registers* is *spilled* to its *local memory*, which despite the name lies in
# main memory. The caches catch most of it, but it costs instructions. So on a T4 this kernel should **lose** against PyTorch's products, and
# `backend="auto"` leaves it out.
#
# On the newer cards another number matters. Programs run on *streaming multiprocessors* (SM), each of which divides its registers and its shared
# memory among as many as there is room for, and while one loads another can compute. The share of an SM's places for warps that is taken is
# its *occupancy*. An SM of an H100 has 228 KiB of shared memory; behind *next* stands what one more program would lack.

# %% tags=["nbval-check-output"]
from flash_tutorial.gpu.tiles import LARGE, shared_bytes

registers = compiled_kernel("mix", "H100")["registers"]
for stages in (3, 2, 1):
    tile = LARGE["mix"][0]._replace(stages=stages)
    needed = shared_bytes("mix", tile, S=128, itemsize=2, capability=(9, 0))
    programs, lacks = programs_at_once("H100", needed, registers)
    print(
        f"num_stages={stages}: {needed // 1024} KiB of shared memory, room for {programs} (next: no {lacks}),", end=" "
    )
    print(f"occupancy {4 * programs} of {CARDS['H100'].warps} warps")

# %% [markdown]
# With three stages an SM of an H100 has room for **one** program, and nobody else computes while it waits. So it must not wait: the loop over
# tiles is *pipelined*. While tile i is multiplied, tiles i + 1 and i + 2 are already on their way, each into a place of its own in shared
# memory, and `num_stages` is the number of places. Waiting is hidden either by other programs or by the program's own next tiles, and both
# are paid from the SM's 228 KiB. The package: two stages, two programs.
#
# No count says which tile is the fastest. *Autotuning* tries: `triton.autotune` times a list of tiles, `num_warps` and `num_stages` on your card
# and keeps the best. `python -m flash_tutorial.gpu.tuning` does so for the package's kernels.
#
# ## 9. Bytes of a whole step, and a prediction
#
# Back to the training step of the first cell. `count_traffic` runs a unit, forward and backward, on *fake* tensors, which have shapes and no
# contents, and counts each input and each output of every operation once. What are the bytes for?

# %%
from flash_course.bench.traffic import ROWS as MODELS
from flash_course.bench.traffic import base, count_traffic, level

gigabytes, after_compiling = {}, {}
for name in MODELS if fused else ("FLASH, torch", "Transformer++"):
    config, units = base(MODELS[name][0], 8192, MODELS[name][1])
    traffic = count_traffic(config, 8192)
    gigabytes[name] = {purpose: units * n / 1e9 for purpose, n in traffic.by_purpose(config).items()}
    after_compiling[name] = units * traffic.merged().moved / 1e9
title = "What the bytes of a step are for, at T = 8192"
if fused:
    by_torch, by_kernels = gigabytes["FLASH, torch"], gigabytes["FLASH, Triton"]
    saved = {purpose: by_torch[purpose] - by_kernels[purpose] for purpose in by_torch}
    title = f"The kernels save {sum(saved.values()):.0f} GB: {saved['heads']:.0f} in the heads, {saved['gate']:.0f} at the gate"
drawing.show(*drawing.bytes_of_a_step(gigabytes, after_compiling, title))

# %% [markdown]
# Of what the kernels save, the attention matrix (*relu²*) is the smallest part, since at C = 256 it is a sixth as wide as the values. Most is saved at the
# gate and in the heads, which PyTorch makes in float32 step by step; and near and far are no longer written before they are added.
#
# The grey bars count neighbouring element-wise operations as one kernel, as `torch.compile` makes them. Counted so, Transformer++ moves least:
# half as many layers have values half as wide.
#
# From bytes and FLOPs to a time, on an H100: let each operation take as long as its products or its bytes, whichever is longer. Every step has 65,536 tokens,
# so that a longer T means fewer sequences.

# %% tags=["nbval-check-output"]
LENGTHS = (512, 2048, 8192, 16_384)
ways = {
    "FLASH, torch": ("FLASH, torch", "milliseconds"),
    "FLASH, compiled": ("FLASH, torch", "milliseconds_compiled"),
    "FLASH, kernels": ("FLASH, Triton", "milliseconds"),
    "FLASH, kernels, compiled": ("FLASH, Triton", "milliseconds_compiled"),
    "Transformer++": ("Transformer++", "milliseconds"),
    "Transformer++, compiled": ("Transformer++", "milliseconds_compiled"),
}
rows = [("milliseconds predicted, T =", *LENGTHS)]
for said, (name, kind) in ways.items():
    rows.append((said, *(round(counted[name, T][kind]["H100"]) for T in LENGTHS)))
print(drawing.text_table(rows))
for flash, baseline in ((1, 5), (2, 6), (3, 6), (4, 6)):
    T = level(LENGTHS, rows[flash][1:], rows[baseline][1:])
    print(f"{rows[flash][0]:24} is level with {rows[baseline][0]:23} at T = {T:,.0f}")

# %% [markdown]
# A FLASH step takes the same time at every length, and that of Transformer++ climbs, even with fused attention. Lecture 08 counted
# multiply-adds and put the crossover below 2,000 tokens. With bytes it lies near 10,000 for FLASH as PyTorch
# computes it, if both run operation by operation or both are compiled. With the kernels it lies at 7,200 if Transformer++ alone is compiled, and at
# 5,700 if both are. Of what the kernels save, the compiler alone saves more than two thirds.
#
# **Misconception: what is right and fused is faster.** Compare with what a good compiler makes of the *other* model.
#
# These times are no bound: bytes that stay in the L2 cache are charged as if they came from main memory, and the limit of L2 itself is left out. A
# finer model, `python -m flash_course.bench.kernel_times`, counts both. Here is its step at T = 8192, with one kernel for the local part, as yours,
# and with stored weights.

# %% tags=["nbval-check-output"]
for row in load_stored("kernel_times")["designs"]:
    if row["card"] == "H100" and "step_milliseconds" in row:
        percent_of_scores = f"{row['scores_percent']:.0f}% of the products are scores"
        said = {"anew": "scores anew", "stored": "weights stored"}[row["design"]]
        print(
            f"{said:14} {percent_of_scores}, {row['megabytes_l2'] / 1e3:.1f} GB a unit from L2: {row['step_milliseconds']:.0f} ms"
        )

# %% [markdown]
# The step gains a few per cent, for it is mostly something else. No card has tested these tables yet. Write down which row you expect to be wrong, and if you have a card, **measure**: the next cell shows what was
# stored, or says how.

# %%
try:
    for row in load_stored("card_steps")["runs"]:
        times = {name: way["seconds"]["median"] for name, way in row["ways"].items() if way.get("seconds")}
        said = ", ".join(f"{name} {1e3 * seconds:.0f}" for name, seconds in times.items())
        print(f"{row['card']}, {row['format']}, T = {row['T']}, milliseconds of a step: {said}")
except ValueError:
    print("to measure on a card: tools/gpu_evidence --only steps")

# %% [markdown]
# ## 10. The cost of saying "go"
#
# One cost is missing. The CPU has to *launch* each kernel, which takes some microseconds. A training step hides that, because the card computes
# while the next launches queue up. A decoding step has one token, and hundreds of kernels with next to nothing to do.
#
# The remedy is a *CUDA graph*: record all launches once, then replay them with one call. A recording knows addresses and not tensors. So shapes
# never change, inputs, outputs and state stay *where they are*, and nothing waits for the card: no `.item()`, no `if` on a tensor's value.
# FLASH's state of constant size suits that by its nature; a KV cache has to be reserved in full from the start.
#
# ## How we know
#
# - *Counted bytes and predicted times* of 65,536 tokens in bfloat16, by `flash_course/bench/traffic.py`: no card has tested them. Large products
#   are taken to reach 61% of an H100's data sheet, long copies 84%; launching is free and memory suffices. *Compiled* means that neighbouring element-wise operations are counted as one kernel,
#   those around our kernels too.
# - *To measure on a card*: `tools/gpu_evidence --only steps`, in a copy of this repository, takes ten minutes and stores what section 9 shows.
# - *The crossover* assumes that products inside attention are as fast as large ones. At half that rate for the baseline's alone it moves from
#   7,200 to 3,600; for ours alone it stays (`tests/course/test_traffic.py`).
# - *The only time from a GPU in the paper* is its Table 10: on a V100 a step of FLASH wins at T = 2048, 243 against 315 ms, and loses at 512, 254
#   against 222.
# - *What the compiler made*: Triton 3.9, S = 128, with bias and gate. Shared memory with one or three stages is computed, by a formula that
#   gives what was compiled with two.
# - *Section 1* is measured where this page ran, on one thread. Its bars count all products that are made, hidden pairs too.
#
# ## What to remember
#
# Fill in the last column yourself.
#
# | claim | your evidence | your verdict |
# | --- | --- | --- |
# | Attention takes most of a FLASH step | section 1 | |
# | Matrix products are limited by arithmetic | section 2 | |
# | `torch.compile` makes a hand-written kernel unnecessary | section 3 | |
# | The more is fused, the better | section 6 | |
# | A fused kernel needs a running maximum and sum | section 4 | |
# | Your kernel computes what the model computes | section 7 | |
# | More programs on an SM are better | section 8 | |
# | A hand-written kernel is faster | section 9 | |
#
# **Three takeaways**
# 1. Measure first, by part; then count FLOPs and bytes; only then write code.
# 2. relu² tiles add up, which makes the kernel short. Every load needs its mask.
# 3. Fusing saves bytes. Whether that pays depends on the card and on the baseline.
#
# **Exercises** [Problem set 11](../exercises/11_set_gpu_kernels.ipynb), six tasks.
#
# **Next** [Lecture 12](12_your_project.ipynb) uses the package in a project of your own.
