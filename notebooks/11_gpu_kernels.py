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
# [With results](11_gpu_kernels.ipynb) · [without, to work in](work/11_gpu_kernels.ipynb) · [problem set 11](../exercises/11_gpu_kernels.ipynb) · [glossary](../docs/glossary.md)
#
# A *kernel* is a function that runs on a GPU, in many copies at once, and almost every operation of PyTorch launches at least one. Users of two
# public implementations report that GAU ran slower than attention for them ([one](https://github.com/lucidrains/FLASH-pytorch/issues/11),
# [another](https://github.com/JunnYu/GAU-alpha-pytorch/issues/4)), although it makes far fewer attention matrices. One possible cause is that
# nobody had written a kernel for it. Here you read one, and work out what it is worth.
#
# You need no GPU for this: an interpreter checks the kernel, and times are *predicted* from counted bytes. No card has tested the predictions yet.
#
# **After this lecture you can**
# - measure where the time of a training step goes, and compare it with counted operations;
# - count FLOPs and bytes of an operation, and say which of the two limits it on a given card;
# - say what `torch.compile` merges and what it does not;
# - read a Triton kernel for FLASH line by line, and check it and its gradient without a GPU;
# - predict a step's time from its bytes, and say why a kernel of your own may lose, before you run it.
#
# **You need** lecture 05 (mixed chunk attention). Lectures 04 and 08 help.
#
# **Time** 39 minutes to read. Running the code takes about 20 seconds on two CPU cores.
#
# Text and figures: CC-BY-4.0. Code: MIT.

# %%
# @title Setup: finds the course's package, or installs it on Colab. There is nothing to read here.
import importlib.metadata
import importlib.util
import subprocess
import sys
import zipfile
from pathlib import Path

REPOSITORY, TAG = "OWNER/REPO", "main"  # written by tools/stamp.py


def find_package():  # a folder or a zip of the project: around this notebook, uploaded to Colab, or on Drive
    places = [Path.cwd(), *Path.cwd().parents, Path("/content"), Path("/content/drive/MyDrive")]
    for folder in [*places, *(inner for place in places[-2:] for inner in sorted(place.glob("*/")))]:
        if (folder / "flash_tutorial" / "__init__.py").is_file():
            return str(folder)
    for archive in filter(zipfile.is_zipfile, (file for place in places for file in sorted(place.glob("*.zip")))):
        if any(name.endswith("flash_tutorial/__init__.py") for name in zipfile.ZipFile(archive).namelist()):
            return str(archive)
    if REPOSITORY.startswith("OWNER/"):
        raise RuntimeError("no flash_tutorial here: upload the project's zip to Colab's files, or set REPOSITORY above")
    return f"git+https://github.com/{REPOSITORY}@{TAG}"


if "google.colab" in sys.modules:
    there = importlib.util.find_spec("flash_tutorial") is not None
    if not there or (TAG[:1] == "v" and importlib.metadata.version("flash-tutorial") != TAG[1:]):
        print("installing", source := find_package())
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", source], check=True)
        importlib.invalidate_caches()

from flash_tutorial.training.devices import describe_device

print(describe_device())

# %% [markdown]
# ## 1. Where the time of a step goes
#
# Here are two implementations of one model of the paper's base size. The first is FLASH as PyTorch runs it, operation by operation; the
# second uses the kernels of this lecture. What they move in a training step of 65,536 tokens in bfloat16 was *counted*.

# %% tags=["nbval-check-output"]
from flash_course.bench.stored import load_stored

steps_of_cards = {(row["model"], row["T"]): row for row in load_stored("traffic")["rows"]}
for name in ("FLASH, torch", "FLASH, Triton"):
    moved = steps_of_cards[name, 8192]["gigabytes_moved"]
    print(f"{name:14} {moved:.0f} GB of memory traffic in one training step, sequences of 8192 tokens")

# %% [markdown]
# Both multiply about as much (the kernels repeat some scores and leave out most of what the mask hides), and yet more than a third of the traffic is
# gone. Does that matter? While a T4, Colab's
# free card, fetches one byte, its matrix units could do 203 multiplications or additions (section 2). The gate of FLASH does one for six
# bytes.
#
# Two questions from lecture 10 first.
#
# **1.** You have runs with three seeds and want a 95% interval for their mean. Which factor stands before the standard error?
#
# <details><summary>Answer</summary>
#
# 4.30. Three runs estimate their own standard deviation badly. With very many runs the factor falls to 1.96.
#
# </details>
#
# **2.** You leave the gate out of a unit, and the unit gets worse. Why does that not yet blame the gate?
#
# <details><summary>Answer</summary>
#
# The gate's matrix of D × E parameters is gone too. Only with values widened to E = 3 D was it a fair comparison.
#
# </details>

# %%
import os
from collections import namedtuple

import numpy as np
import torch
from torch.utils._pytree import tree_map

from flash_course import drawing, learner
from flash_course.bench.clock import summary, time_in_turn
from flash_course.bench.counts import count_multiply_adds
from flash_course.learner import predict, reveal
from flash_tutorial import FLASH, mixing, reference
from flash_tutorial.fast import ROWS, ROWS_ON_A_GPU, relu2_attention
from flash_tutorial.layers import cos_sin
from flash_tutorial.check import draw_order_one

Preset = namedtuple("Preset", "B T D S C rounds")  # rounds: how often each part is timed
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
torch.set_num_threads(1)
CPU, GPU = Preset(1, 1024, 256, 64, 128, 5), Preset(4, 4096, 768, 128, 256, 20)
size = GPU if DEVICE == "cuda" else CPU

# %% [markdown]
# The paper has one measurement on a GPU, a training step on a V100 (Table 10). FLASH wins at T = 2048 (243 against 315 ms) and loses at 512 (254
# against 222 ms), and that was before today's fused attention kernels. Which part of a step takes the time? A FLASH unit has five:
#
# - *project*: norm, one dense layer and SiLU make gate u, value v and base z of each token;
# - *heads*: scale, offset and RoPE make four *heads* (the paper's word) of z: its queries and keys;
# - *local*: relu² attention inside chunks of C tokens;
# - *global*: the state of earlier chunks;
# - *out*: the gate, then a dense layer back to D.

# %%
unit = FLASH(size.D, qk_dim=size.S, chunk_size=size.C, causal=True)
unit = draw_order_one(unit, torch.Generator().manual_seed(0)).to(DEVICE)


def heads_of(z):
    return unit.read_heads(z, *cos_sin(size.T, size.S, z))


def local_part(q, k, v):
    how = dict(chunk_size=size.C, causal=True, bias=unit.bias, global_=False)
    return mixing.mixed_chunk_attention(q, k, q, k, v, **how, attend=relu2_attention)


def global_part(q, k, v):
    return mixing.mixed_chunk_attention(q, k, q, k, v, chunk_size=size.C, causal=True, local=False)


x = torch.randn(size.B, size.T, size.D, generator=torch.Generator().manual_seed(1)).to(DEVICE)
with torch.no_grad():
    u, v, z = unit.project(x)
    quad_q, quad_k, lin_q, lin_k = heads_of(z)
    near, far = local_part(quad_q, quad_k, v), global_part(lin_q, lin_k, v)
    difference = (x + unit.out_proj(u * (near + far)) - unit(x)).norm() / (unit(x) - x).norm()
assert difference < 1e-4
print(f"the five parts equal the unit: D = {size.D}, S = {size.S}, {size.T // size.C} chunks of {size.C} tokens")

# %% [markdown]
# How many multiply-adds have the matrix products of each? (*heads* has none, so it counts as 0.) In *project* each token goes from D to 2 E + S features, in *out* from E to D; the mixing is counted as in
# lecture 08, by its visible pairs.

# %% tags=["nbval-check-output"]
D, S, C, T = CPU.D, CPU.S, CPU.C, CPU.T  # counted at the sizes of the CPU preset, on any machine


def counts(T, D, E, S, C, pairs):  # pairs of a chunk
    return {
        "project": T * D * (2 * E + S),
        "heads": 0,
        "local": T // C * pairs * (S + E),
        "global": 2 * T * S * E,
        "out": T * E * D,
    }


counted = counts(T, D, 2 * D, S, C, pairs=C * (C + 1) // 2)
total = sum(counted.values())
for name, number in counted.items():
    print(f"{name:8} {number:12,} multiply-adds, {number / total:4.0%}")
assert total == count_multiply_adds(FLASH(D, qk_dim=S, chunk_size=C, causal=True), T)
assert round(5 * (counted["local"] + counted["global"]) / total) == 1  # the guess below needs it

# %% [markdown]
# **Your guess.** The mixing (local and global) has a fifth of these multiply-adds. What percent of the *time* does it take on your machine,
# forward and backward?

# %%
my_guess = None  # your number here
predict("11.a", my_guess)


# %% tags=["timing"]
def step_of(part, *inputs):
    """A function: ``part`` forward, then backward to its inputs and to the unit's parameters."""
    inputs = [tensor.detach().clone().requires_grad_() for tensor in inputs]
    grads = tree_map(torch.randn_like, part(*inputs))  # stand for what later parts send back
    wanted = [*inputs, *unit.parameters()]
    return lambda: torch.autograd.grad(part(*inputs), wanted, grads, allow_unused=True)


parts = {"project": step_of(unit.project, x), "heads": step_of(heads_of, z)}
parts |= {"local": step_of(local_part, quad_q, quad_k, v), "global": step_of(global_part, lin_q, lin_k, v)}
parts["out"] = step_of(lambda x, u, near, far: x + unit.out_proj(u * (near + far)), x, u, near, far)
timed = time_in_turn(parts, size.rounds, device=DEVICE)
milliseconds = {name: 1e3 * summary(seconds)["median"] for name, seconds in timed.items()}
in_parts = sum(milliseconds.values())
print(f"one training step of the unit: {in_parts:.0f} ms")
rows = min(size.C, max(ROWS if DEVICE == "cpu" else ROWS_ON_A_GPU, size.C // 8))  # multiplied at once, hidden or not
pairs = sum(rows * last for last in range(rows, size.C + 1, rows))
here = counts(size.T, size.D, unit.expanded, size.S, size.C, pairs)
shares = {name: (here[name] / sum(here.values()), milliseconds[name] / in_parts) for name in parts}

# %% tags=["timing"]
of_products, of_time = (100 * (near + far) for near, far in zip(shares["local"], shares["global"]))
title = f"Mixing: {of_products:.0f}% of the multiply-adds that are made, {of_time:.0f}% of the time"
figure, axes = drawing.new_axes(6.2, 3.6, "percent of the step", title=title)
counted = {name: 100 * count for name, (count, _) in shares.items()}
measured = {name: 100 * time for name, (_, time) in shares.items()}
drawing.bars(axes, counted, colours=drawing.SKY, hatch="//", form="{:.0f}", shift=-0.2, height=0.38)
drawing.bars(axes, measured, colours=drawing.ORANGE, hatch="..", form="{:.0f}", shift=0.2, height=0.38)
axes.legend(axes.containers, ["of the multiply-adds, counted", "of the time, measured"], frameon=False)
alt = f"Bars of each part's percent of the multiply-adds: {drawing.listed(counted, '{:.0f}')};"
drawing.show(figure, f"{alt} and of the time: {drawing.listed(measured, '{:.0f}')}.")
reveal("11.a", round(of_time), "percent of the time")
print(f"a step whose mixing took no time would be {1 / (1 - of_time / 100):.2f} times as fast")

# %% [markdown]
# *heads* has no matrix product, so all its time goes into small operations. For the other parts the figure counts the products that the
# code really makes: on a CPU it multiplies blocks of 64 rows, each up to its last visible key, so of a chunk of 128 it multiplies three
# quarters of the square and not half. Counted so, the two bars of a part differ by a few percent of the step, on our CPU. On a
# card we expect more, and the rest of this lecture is about why.
#
# The last line is *Amdahl's law*: if a part has a share p of the time, a kernel for it makes the whole at most 1 / (1 − p) times as fast.
# The dense layers have good kernels already. What is left beside the mixing are heads and gate, so we write kernels for these too.
#
# ## 2. Arithmetic against bytes
#
# An operation has to fetch its inputs and to compute with them, and the slower of the two sets the time. A *FLOP* is one addition or
# one multiplication, so a multiply-add is two. Tensors lie in a large, slow *main memory*, from which each kernel reads and to which it writes.
# Count both for a chunk of six tokens with S = 2 and E = 4, in float16 (2 bytes an entry):

# %% tags=["nbval-check-output"]
flops = 6 * 6 * 2 * (2 + 4)  # all pairs, since a dense product computes the masked half too: S + E multiply-adds each
moved = 6 * 2 * (2 + 2 + 4 + 4)  # of each token: the query, the key and the value, read, and the result, written
print(f"{flops} FLOPs, {moved} bytes if the weights never leave the kernel: {flops / moved:.1f} FLOPs per byte")
in_memory = 2 * 6 * 6 * 4  # three kernels, product, relu^2, product: the 6 x 6 array is written twice, read twice
print(f"{in_memory} bytes more if they lie in main memory: {flops / (moved + in_memory):.1f} FLOPs per byte")

# %% [markdown]
# FLOPs per byte is called the *arithmetic intensity*. Keeping the attention matrix inside one kernel makes it three times as large
# here. That is *fusing*: the same arithmetic, fewer trips to main memory.
#
# **Your line.** How many entries move for a chunk of any size? The first line is given; what is added if the kernels are not fused?


# %%
def elements_moved(C, S, E, fused):
    entries = 2 * C * S + 2 * C * E
    return entries if fused else ...


learner.your_line(
    "11.c", elements_moved, ((6, 2, 4, False), 216), ((128, 64, 512, False), 212_992), ((6, 2, 4, True), 72)
)

# %% [markdown]
# (The line is in the next cell.) Whether that is a lot or a little depends on the card. By NVIDIA's data sheet a T4 computes at most 65 ×
# 10¹² FLOPs a second in float16 and moves at most 320 × 10⁹ bytes. Their ratio is the card's *ridge point*: an operation with fewer FLOPs
# per byte waits for memory, and one with more waits for arithmetic.


# %% tags=["nbval-check-output"]
def local_flops(C, S, E):
    return 2 * C * C * (S + E)  # all pairs, as above


def local_bytes(C, S, E, fused):
    return 2 * (2 * C * S + 2 * C * E + (0 if fused else 4 * C * C))  # scores written and read, their squares too


assert local_flops(6, 2, 4) == flops and local_bytes(6, 2, 4, False) == moved + in_memory

T4_FLOPS, T4_BYTES = 65e12, 320e9
print(f"ridge point of the T4: {T4_FLOPS / T4_BYTES:.0f} FLOPs per byte")
for name, fused in (("not fused", False), ("fused", True)):
    flops, moved = 1000 * local_flops(128, 64, 512), 1000 * local_bytes(128, 64, 512, fused)  # 1000 chunks
    once, twice = (1e3 * max(flops / peak, moved / T4_BYTES) for peak in (T4_FLOPS, 2 * T4_FLOPS))
    print(
        f"{name:9}: {flops / moved:.1f} FLOPs per byte, {once:.2f} ms or more; at twice the FLOPs a second {twice:.2f}"
    )
    assert once == twice

# %% [markdown]
# **Misconception: matrix products are limited by arithmetic.** These are products, and a card with twice the FLOPs a second would not run
# them any faster. Fewer bytes would.
#
# As a picture this is called a *roofline*: on the slope memory sets the limit, on the flat part arithmetic. Here it is for an H100 (by its data sheet
# 989 × 10¹² FLOPs and 3350 × 10⁹ bytes a second), with the first dense layer of a unit in two widths.


# %%
def dense_intensity(D, S, T=8192):
    return 2 * T * D * (4 * D + S) / (2 * (T * D + D * (4 * D + S) + T * (4 * D + S)))  # from D to 2 E + S = 4 D + S


local = [local_flops(128, 64, 512) / local_bytes(128, 64, 512, fused) for fused in (False, True)]
marks = {"gate": 1 / 6, "local, not fused": local[0], "local, fused": local[1]}  # gate: 1 FLOP, 3 entries, 6 bytes
marks |= {"dense, D = 256": dense_intensity(256, 64), "dense, D = 768": dense_intensity(768, 128)}
H100_FLOPS, H100_BYTES = 989e12, 3350e9
assert marks["dense, D = 256"] < H100_FLOPS / H100_BYTES < marks["dense, D = 768"]
roof = {name: min(intensity * H100_BYTES, H100_FLOPS) for name, intensity in marks.items()}
ridge = H100_FLOPS / H100_BYTES
title = f"Where bytes set the pace, fusing climbs the roof (arrow)\nH100, data sheet: ridge point at {ridge:.0f}"
figure, axes = drawing.new_axes(6.4, 4.0, "FLOPs per byte moved", "FLOP/s", title)
axes.axvspan(25, ridge, color=drawing.SKY, alpha=0.25)
axes.plot([25, ridge, 2400], [25 * H100_BYTES, H100_FLOPS, H100_FLOPS], color="black")
for (name, intensity), marker in zip(marks.items(), "os^Dv"):
    if intensity > 25:
        axes.plot(intensity, roof[name], marker, color=drawing.BLUE, markersize=8, fillstyle="none")
        axes.annotate(name, (intensity, roof[name]), (9, -12), textcoords="offset points")
ends = [(marks[name], roof[name]) for name in ("local, fused", "local, not fused")]
axes.annotate("", *ends, arrowprops={"arrowstyle": "-|>", "color": "black", "linewidth": 2.2})
axes.text(0.9 * ridge, 1.5 * H100_FLOPS, "waits for memory", ha="right")
axes.text(1.1 * ridge, 1.5 * H100_FLOPS, "for arithmetic")
axes.text(27, 6e13, f"← gate: at {marks['gate']:.2f}")
axes.set(xscale="log", yscale="log", xlim=(25, 2400), ylim=(5e13, 2.6 * H100_FLOPS))
alt = f"Log-log plot of a roof that rises up to {ridge:.0f} FLOPs per byte, then is flat at {H100_FLOPS:.3g} FLOP/s."
drawing.show(figure, f"{alt} Marks on it, in FLOPs per byte: {drawing.listed(marks, '{:.1f}')}.")

# %% [markdown]
# The gate lies far down the slope. A dense layer as narrow as D = 256 waits for memory, too, whereas at the paper's D = 768 it is limited by
# arithmetic.
#
# ## 3. What `torch.compile` merges
#
# Between the two products of the local part stand five small operations: division, bias, relu, square, mask. Run one by one, each is a
# kernel that reads the whole array of scores and writes a new one. How far does `torch.compile` merge them? PyTorch's profiler counts which
# of its own operations are still called; `bmm` is a product inside chunks.

# %%
from torch.profiler import profile

from flash_tutorial.training.devices import compiled


def narrow_local(q, k, values, bias, mask):
    return (torch.relu(q @ k.mT / 128 + bias).square() * mask) @ values


os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else the profiler writes lines of its own
mask = torch.ones(128, 128, device=DEVICE).tril()
inputs = [*torch.randn(3, 64, 128, 16, device=DEVICE), torch.randn(128, 128, device=DEVICE), mask]
for name, way in {"one by one": narrow_local, "compiled": compiled(narrow_local)}.items():
    try:
        way(*inputs)  # the first call compiles
    except ValueError as error:  # no compiler is installed
        print(error)
        break
    with profile() as profiler:
        way(*inputs)
    calls = {event.key.removeprefix("aten::"): event.count for event in profiler.key_averages()}
    called = {operation: calls.get(operation, 0) for operation in ("bmm", "div", "add", "relu", "square", "mul")}
    print(f"{name:10}", ", ".join(f"{n} x {operation}" for operation, n in called.items() if n))
    assert [*called.values()] == ([2, 0, 0, 0, 0, 0] if name == "compiled" else [2, 1, 1, 1, 1, 1])

# %% [markdown]
# The compiler's own code has taken the place of the five small operations. But in its default mode the two products are still calls of their own, so
# scores and weights still pass through main memory. To keep them out, somebody has to write a kernel that works in tiles.
#
# ## 4. An attention matrix in tiles
#
# One copy of a kernel has little *shared memory*, at most 64 KiB on a T4, whereas a 256 × 256 matrix in float32 alone needs 256 KiB. So the
# matrix is made in *tiles* of M × M entries, and each tile is used at once and then forgotten.
#
# Here are six tokens and tiles of 3 × 3, without bias and division. The value of a token is its number, and tile (1, 0) holds what tokens 4 to 6
# read of tokens 1 to 3.

# %% tags=["nbval-check-output"]
q_TS = np.array([(1, 0), (0, 1), (1, 1), (2, -1), (-1, 1), (1, 1)])
k_TS = np.array([(1, 1), (2, 0), (-1, 1), (1, 2), (1, -1), (1, 0)])
v_TE = np.arange(1, 7)[:, None]
lower_TT = np.tri(6, dtype=int)
scores_TT = q_TS @ k_TS.T
weights_TT = np.maximum(scores_TT, 0) ** 2 * lower_TT
masked = np.where(lower_TT == 1, 1.0, np.nan)
panels = {"scores q kᵀ": scores_TT * masked, "weights: relu² of them": weights_TT * masked}
drawing.show(*drawing.squares_in_tiles(panels, 3, row=6, title="Token 6 reads two tiles, of three tokens each"))

read = np.zeros((6, 1), int)
for top in (0, 3):  # readers, three at a time
    for left in range(0, top + 3, 3):  # those who are read: tiles on or left of the diagonal
        readers, keys = slice(top, top + 3), slice(left, left + 3)
        tile = np.maximum(q_TS[readers] @ k_TS[keys].T, 0) ** 2
        tile = tile * np.tri(3, dtype=int) if left == top else tile  # only tiles on the diagonal need a mask
        read[readers] += tile @ v_TE[keys]
        print(f"tile ({top // 3}, {left // 3}): weights {tile[2]} of token {top + 3}, sum so far {read[top + 2, 0]}")
assert (read == weights_TT @ v_TE).all()

# %% [markdown]
# Why is this so easy? A relu² weight depends on its own score alone, so
# the contributions of tiles add up, in any order. A softmax weight is divided by a sum over the *whole row*, which the first tile does not know yet.
#
# **Misconception: fusing needs a running maximum and a running sum.** It does for softmax, which needs the sum to divide by and the maximum
# to keep exp finite; the trick is called *online softmax* ([Milakov and Gimelshein, 2018](https://arxiv.org/abs/1805.02867)) and carries
# FlashAttention ([arXiv 2205.14135](https://arxiv.org/abs/2205.14135)). Take token 6 again, with a softmax in each tile. If you simply add
# those, its weights sum to two.

# %% tags=["nbval-check-output"]
row, values = scores_TT[5].astype(float), v_TE[:, 0]


def softmax(s):
    return np.exp(s - s.max()) / np.exp(s - s.max()).sum()


added = np.concatenate([softmax(row[:3]), softmax(row[3:])])
print(f"softmax of the row: weights sum to {softmax(row).sum():.0f}, reads {softmax(row) @ values:.3f}")
print(f"softmax of each tile, added: sum {added.sum():.0f}, reads {added @ values:.3f}")

most, total, read_6 = -np.inf, 0.0, 0.0
for keys in (slice(0, 3), slice(3, 6)):
    new = max(most, row[keys].max())
    old, weights = np.exp(most - new), np.exp(row[keys] - new)  # what was summed so far belongs to the old maximum
    most, total, read_6 = new, total * old + weights.sum(), read_6 * old + weights @ values[keys]
print(f"with a running maximum and sum: reads {read_6 / total:.3f}")

# %% [markdown]
# So a maximum, a sum and an output are carried along, and rescaled at each tile. A relu² kernel needs none of it.
#
# ## 5. What a kernel sees
#
# Triton calls the copies of a kernel *programs*. Each has a number and makes its own piece of the output, here M tokens of one
# chunk. Let M = 16 and C = 40, so that M does not divide C.

# %%
drawing.show(*drawing.tiles_of_a_chunk(C=40, M=16))

# %% [markdown]
# A kernel gets no arrays. It gets the *address* of a first entry and *strides*, which say how far apart two rows and two columns lie. Here is a toy
# memory of 20 entries with the values of six tokens, E = 2. What lies before and after them is NaN, standing for whatever has been left there.

# %% tags=["nbval-check-output"]
memory = np.full(20, np.nan)
first, strides = 4, (2, 1)
memory[first : first + 12] = np.arange(1, 13)  # token 1 has (1, 2), token 6 has (11, 12)

rows, columns = np.arange(4, 8), np.arange(2)  # the second tile of M = 4: tokens 5 to 8
tile = memory[first + rows[:, None] * strides[0] + columns[None, :] * strides[1]]
inside = (rows < 6)[:, None]
print("second tile, as loaded:", tile.tolist())
print("times a mask:", (tile * inside).tolist())
print("chosen by a mask:", np.where(inside, tile, 0).tolist())

for way, stride in {"along a row": 1, "down a column, E = 1536": 1536}.items():  # 32 entries of two bytes
    print(f"{way}: 32 threads fetch {len(set(2 * stride * np.arange(32) // 32))} pieces of 32 bytes")

# %% [markdown]
# **Misconception: what lies outside is zero.** The tile asked for tokens 5 to 8 and there are six. It got NaN; elsewhere it may get
# zeros, or a neighbour's values. Results may be wrong unless M divides every chunk.
#
# Multiplying by a mask does not help, since 0 × NaN is NaN. So each load carries a mask, and says what stands for the entries that are not loaded.
#
# Memory delivers pieces of 32 bytes. The *threads* of a program, 32 at a time, share pieces where their entries are neighbours (such loads
# are *coalesced*); down a column each thread fetches a piece for two bytes.
#
# ## 6. The kernel
#
# *Triton* is a language for kernels inside Python. The compiler spreads a tile over threads. `tl.program_id` tells a program its number,
# `tl.arange` makes indices, `tl.load` and `tl.store` take addresses and a mask, and `tl.dot` multiplies two tiles as matrices and sums in
# float32 (`"ieee"` forbids it to round float32 inputs first). `load_tile` is a masked load as in the last section.
#
# Here is the package's `mix_kernel`, in three pieces. (At a first reading follow `rows` and `columns` alone, and skip strides and
# `documents`.) The first finds out where this program works, and its two helpers stand above it. The number is taken apart into a tile of M
# tokens, some of the E columns, a chunk and a sequence, in that order: neighbouring numbers usually run together, so what they share, parts of
# `v` and `state`, should still lie in the card's *L2 cache*, faster than main memory. The last chunk may be short, so rows from its `end` on
# are masked in every load and in the store.

# %% tags=["nbval-check-output"]
source = Path(importlib.util.find_spec("flash_tutorial.gpu.kernels").origin).read_text(encoding="utf-8")


def show_piece(begin, end):
    piece = source[source.index(begin) :]
    print(piece[: piece.index(end)].rstrip())


show_piece("def divided(", "@triton.jit\ndef local_map(")
print()
show_piece("def mix_kernel(", "    # Global part")
tiles, column_tiles, chunks = 2, 2, 3  # the first lines in numbers, for a sequence of three chunks
for n in (0, 1, 2, 3, 4, 12):
    m, e, rest = n % tiles, n // tiles % column_tiles, n // (tiles * column_tiles)
    print(f"program {n:2}: tile {m}, columns {e}, chunk {rest % chunks}, sequence {rest // chunks}")

# %% [markdown]
# The second piece is the mixing. The global part comes first; its `state` is an input, made by `scan_kernel`: the running sum of lecture
# 05, stored *before* the chunk's own term is added, and divided by the number of tokens that were summed so far. The loop then goes over tiles of keys, up to
# the reader's own tile; those further right are never touched. `total` stays in float32, also when the inputs are float16.

# %% tags=["nbval-check-output"]
show_piece("    # Global part", "    # Store.")

# %% [markdown]
# The third piece stores. The gate multiplies once, after both parts, and training also stores `y`, the sum before its gate, because the
# gradient of the gate is computed from it. Below it stands the helper that makes the weights. There the bias is read at positions *inside
# the chunk*, so `chunk` is subtracted, whereas `seen`, which masks later keys and other documents, compares positions in the *sequence*, so
# that it is right in every tile.

# %% tags=["nbval-check-output"]
show_piece("    # Store.", "\n\n\n")
print()
show_piece("def local_map(", "\n\n\n")

# %% [markdown]
# **Your line.** Cover the kernel. `rows` are the positions of a tile's queries in the sequence, `keys` those of its keys. Which pairs may be read?


# %%
def seen_by(rows, keys):
    return ...  # your line


places = np.arange(4, 8), np.arange(2, 6)
learner.your_line("11.d", seen_by, (places, [[1, 1, 1, 0], [1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]]))

# %% [markdown]
# <details><summary>The line</summary>
#
# `return rows[:, None] >= keys[None, :]`. With `>` a token would not read itself.
#
# </details>
#
# ## 7. Is it right? Asked without a GPU
#
# Take T = 150 and C = 40, three full chunks and a tail of 30. The package's NumPy (lecture 05) and its torch must agree; then ask the
# kernel. Triton has an *interpreter*, which runs the programs one after the other in NumPy. The variable `TRITON_INTERPRET` switches it on,
# if it is set before the import; on a GPU it must not be set.

# %% tags=["nbval-check-output"]
T, C, S, E = 150, 40, 24, 40
rng = np.random.default_rng(0)
heads = list(rng.normal(size=(4, T, S)))
v_TE, u_TE = rng.normal(size=(2, T, E))
bias_CC = rng.normal(size=(C, C))


def mix_torch(*tensors, C):
    *heads, v, u, bias = tensors
    return u * mixing.mixed_chunk_attention(*heads, v, chunk_size=C, causal=True, bias=lambda n: bias[:n, :n])


in_torch = [torch.from_numpy(array)[None] for array in (*heads, v_TE, u_TE)] + [torch.from_numpy(bias_CC)]
everybody = np.ones(T, bool), np.zeros(T, int)  # all tokens are valid, and of one document
by_reference = u_TE * reference.mixed_chunk_attention(heads, v_TE, *everybody, bias_CC, causal=True, chunk_size=C)
assert np.abs(by_reference - mix_torch(*in_torch, C=C)[0].numpy()).max() < 1e-10
print(f"NumPy and torch agree; the output's standard deviation is {by_reference.std():.1f}")

# %%
if DEVICE == "cpu":
    os.environ["TRITON_INTERPRET"] = "1"
if importlib.util.find_spec("triton"):
    from flash_tutorial.gpu import fused
else:
    fused = None
    print("Triton is missing here: what needs the kernels is left out")


for dtype, limit in ((torch.float32, 1e-5), (torch.float16, 2e-3)) if fused else ():
    *all_heads, v, u, bias = tensors = [tensor.to(DEVICE, dtype) for tensor in in_torch]
    got = fused.fused_mixed_chunk(*all_heads, v, chunk_size=C, bias=lambda n, b=bias: b[:n, :n], gate=u, tile=(16, 32))
    wanted = mix_torch(*(tensor.double() for tensor in tensors), C=C)  # by torch, in float64
    both = [float((y.double() - wanted).norm() / wanted.norm()) for y in (got, mix_torch(*tensors, C=C))]
    print(f"{dtype!s:13}: relative difference {both[0]:.0e}; torch's own in that format {both[1]:.0e}")
    assert both[0] < limit

# %% [markdown]
# The interpreter does not find everything: since it runs programs in order, two
# of them may write to the same address unnoticed, and it says nothing about time.
#
# ## 8. The backward pass
#
# Lecture 03 derived the gradient of relu² attention. With scores s, r = relu(s), weights A = r² and y = A v, and with dy for what comes
# back from the gate, the gradients are dv = Aᵀ dy, dA = dy vᵀ and ds = 2 r dA. Since A was never stored, `maps_kernel` has to make it
# again, tile by tile and together with ds. This time it does write both to memory, where 2 C entries a token are a third of its value (E =
# 6 C). `values_kernel` makes dv from A and dy; dq and dk follow from ds. The gradient of the state is summed over all *later* chunks, by
# the same scan in the other direction.
#
# Which tiles does one program touch?

# %%
drawing.show(*drawing.tiles_of_the_kernels())

# %% [markdown]
# Forward, a program stays in its row of A and walks over the keys that it may read, up to the diagonal. For dv it is the transpose: a
# program belongs to M *keys* and walks down their column, from the diagonal on, over all the queries that read them. So no two programs
# ever add to the same entry. Now ask for the gradient of each input, by the interpreter, against torch in float64.

# %%
if fused:
    leaves = [tensor.to(DEVICE, torch.float32).requires_grad_() for tensor in in_torch]
    doubles = [tensor.to(DEVICE).requires_grad_() for tensor in in_torch]
    weight = torch.randn(1, T, E, generator=torch.Generator().manual_seed(3)).to(DEVICE)
    *five, gate, table = leaves
    out = fused.fused_mixed_chunk(*five, chunk_size=C, bias=lambda n: table[:n, :n], gate=gate, tile=(16, 32))
    out.backward(weight)
    mix_torch(*doubles, C=C).backward(weight.double())
    names = ("quad_q", "quad_k", "lin_q", "lin_k", "v", "u", "bias")
    off = {n: float((a.grad - b.grad).norm() / b.grad.norm()) for n, a, b in zip(names, leaves, doubles)}
    print("relative difference:", ", ".join(f"{name} {value:.0e}" for name, value in off.items()))
    assert max(off.values()) < 1e-5

# %% [markdown]
# In a model you never call this function yourself. `FLASH(..., backend="auto")` takes the kernels on a CUDA card in half precision where they are
# expected to be faster; `unit.fused_on(x)` says whether, and why.
#
# **What the compiler makes of it.** Compiling needs no card, so it was done for three and stored; 7.5, 8.0 and 9.0 are their *compute
# capabilities*. *Matrix instructions* use the units that give a card its high peak. A thread computes in at most 255 *registers*; what does
# not fit is *spilled* to its *stack* in main memory. Programs run on a *streaming multiprocessor* (SM), which divides its registers and shared
# memory among them. Each card has the package's tile for it, M tokens and a number of columns.

# %% tags=["nbval-check-output"]
compiled_rows = load_stored("compiled")["rows"]
cards = {}
for name, capability, has in (
    ("T4", "7.5", 64),
    ("A100", "8.0", 164),
    ("H100", "9.0", 228),
):  # KiB of shared memory of an SM
    wanted = {"kernel": "mix", "capability": capability, "half": "fp16"}
    cards[name] = card = next(row for row in compiled_rows if wanted.items() <= row.items())
    takes = -(-card["shared_bytes"] // 1024) + (name != "T4")  # newer cards reserve one more
    programs = min(has // takes, 65_536 // (128 * card["registers"]), 8 if name == "T4" else 16)  # of 128 threads
    print(
        f"{name:5} tile {card['tile']}: {card['matrix_instructions']:3} matrix instructions, {card['registers']} registers,",
        end=" ",
    )
    print(f"{card['stack_bytes']} bytes of stack a thread, {takes} KiB shared; an SM has room for {programs}")
t4, a100, h100 = cards.values()
assert t4["matrix_instructions"] == 0 < h100["matrix_instructions"] and a100["matrix_instructions"] > 0
assert a100["stack_bytes"] == h100["stack_bytes"] == 0 < t4["stack_bytes"]

# %% [markdown]
# (Do not compare instruction counts of A100 and H100: one of the H100's covers a larger piece.) For the T4 there is **not one** matrix
# instruction, since this version of Triton uses them from 8.0 on. Without its matrix units a T4 does 8.1 × 10¹² FLOPs a second (data
# sheet), so its ridge point falls to 25, below the fused part's 64. And its threads spill: they take all 255 registers, which are not enough.
# So this kernel should **lose** there, and `backend="auto"` leaves it out.
#
# On the newer cards the tile's size is a trade-off. Narrow tiles make the scores more often, short ones read `state` more often. But large
# ones take more of the SM's 65,536 registers and shared memory, so it holds fewer programs, of which one could compute while another waits
# for memory. How full it gets is its *occupancy*.
#
# ## 9. Bytes of a whole step, and a prediction
#
# Back to the *training step* of the first cell. `count_traffic` runs a unit, forward and backward, on *fake* tensors, which have shapes and
# no contents, and counts each input and output of an operation once, trusting the L2 cache.

# %%
from flash_course.bench.traffic import ROWS as MODELS
from flash_course.bench.traffic import PURPOSES, base, count_traffic, level, times_the_products

counted, gigabytes, compiled_gigabytes = {}, {}, {}
LENGTHS = (512, 2048, 8192, 16_384)
for name in MODELS if fused else [name for name in MODELS if "Triton" not in name]:
    for T in LENGTHS:
        config, units = base(MODELS[name][0], T, MODELS[name][1])
        counted[name, T] = units, count_traffic(config, T)
    units, found = counted[name, 8192]
    gigabytes[name] = {purpose: units * n / 1e9 for purpose, n in found.by_purpose(config).items()}
    compiled_gigabytes[name] = units * found.merged().moved / 1e9
    print(f"{name:14} moves {units * found.moved / 1e9:4.0f} GB, keeps {units * found.kept / 1e9:4.1f} GB for backward")
title = "What the bytes of a step are for, at T = 8192"
if fused:
    saved = {purpose: n - gigabytes["FLASH, Triton"][purpose] for purpose, n in gigabytes["FLASH, torch"].items()}
    title = f"The kernels save {sum(saved.values()):.0f} GB, {saved['heads']:.0f} in the heads, {saved['gate']:.0f} at the gate"
    assert min(saved["heads"], saved["gate"]) > 2 * saved["near + far"] > 5 * saved["relu²"] > 0

# %%
figure, axes = drawing.new_axes(7.2, 1.8 + 0.75 * len(gigabytes), "gigabytes moved in a step", title=title)
looks = [(drawing.SKY, ""), (drawing.YELLOW, ""), (drawing.BLUE, ""), (drawing.VERMILION, "\\\\")]
looks += [(drawing.GREEN, "//"), (drawing.ORANGE, ".."), (drawing.PURPLE, "xx")]
left = dict.fromkeys(gigabytes, 0.0)
for purpose, (colour, hatch) in zip(PURPOSES, looks):
    for name, of_model in gigabytes.items():
        moved = of_model[purpose]
        label = purpose if name == "FLASH, torch" else None
        axes.barh(name, moved, 0.5, left[name], color=colour, hatch=hatch, edgecolor="black", label=label)
        if moved > 20:
            axes.text(left[name] + moved / 2, name, f"{moved:.0f}", ha="center", va="center", bbox=drawing.WHITE)
        left[name] += moved
for y, (name, moved) in enumerate(compiled_gigabytes.items()):
    axes.text(left[name], y, f" {left[name]:.0f}", va="center")
    axes.barh(y + 0.33, moved, 0.12, color="grey")
    axes.text(moved, y + 0.38, f" {moved:.0f} compiled", va="center")
axes.set_xlim(right=1.1 * max(left.values()))
axes.invert_yaxis()
axes.grid(axis="y", visible=False)
figure.legend(loc="outside lower center", ncols=4, frameon=False)
said = [
    f"{name}: {drawing.listed(of, '{:.0f}')}; compiled {compiled_gigabytes[name]:.0f}" for name, of in gigabytes.items()
]
drawing.show(figure, f"Bars of the gigabytes that a training step moves. {'. '.join(said)}.")

# %% [markdown]
# What the kernels save lies between the products. PyTorch makes the heads in float32, one operation after the other, and it writes near
# and far before it adds and gates them, whereas a tile goes through all of this in fast memory. The attention matrix, with which section 4
# began, has the smallest part in what is saved (*relu²*), since at C = 256 it is a sixth as wide as the values. (The products themselves move 5 GB
# more.)
#
# The grey bars count element-wise operations that follow each other as one kernel, about what `torch.compile` makes of them. By this count
# Transformer++ moves least: its heads are merged, too, and its 12 attention layers with values of width 768 move 15 GB, where the 24 units of
# FLASH with values of width 1536 move 92 by torch and 97 by the kernels, for the products of the mixing.
#
# From bytes and FLOPs to a time: each operation takes as long as its products or its bytes, whichever is longer. Three things are *assumed*.
#
# 1. Large products reach about 60%, long copies 84% of the data sheets (less on a T4); launching is free and memory suffices.
# 2. So do the products inside attention, and none is repeated. That flatters our kernels and the baseline's fused attention, so each has a second row at half the rate: *slow attention* and *slow kernels*, which repeat the scores for every 64 columns.
# 3. Rows with *compiled* in their name move the bytes of the grey bars. (The kernels run without a compiler around them.)

# %%
repeated = times_the_products(C=256, S=128, E=1536, M=64)  # since each tile of columns makes the scores anew
SLOW = "Transformer++, compiled, slow attention"
ways = {  # how a row is counted: the model, whether the rest is compiled, how slow its own kernels are
    "FLASH, torch": ("FLASH, torch", False, 1), "FLASH, compiled": ("FLASH, torch", True, 1),
    "FLASH, kernels": ("FLASH, Triton", False, 1), "FLASH, slow kernels": ("FLASH, Triton", False, 2 * repeated),
    "Transformer++": ("Transformer++", False, 1), "Transformer++, compiled": ("Transformer++", True, 1),
    SLOW: ("Transformer++", True, 2),
}  # fmt: skip
columns = [*(("H100", T) for T in LENGTHS), ("A100", 8192), ("L4", 8192), ("T4", 8192)]
predicted = {}
for said, (name, is_compiled, slow) in ways.items():
    for card, T in columns if name in gigabytes else ():
        units, found = counted[name, T]
        predicted[said, card, T] = 1e3 * units * (found.merged() if is_compiled else found).seconds(card, slow)
rows = [("milliseconds predicted", *(card for card, _ in columns)), ("T =", *(T for _, T in columns))]
for said in dict.fromkeys(said for said, *_ in predicted):
    cells = ("-" if "kernels" in said and card == "T4" else f"{predicted[said, card, T]:.0f}" for card, T in columns)
    rows.append((said, *cells))
print(drawing.text_table(rows))
print(f"the slow kernels' local part executes {repeated:.1f} times the products that it needs")

on_h100 = {said: [predicted[said, "H100", T] for T in LENGTHS] for said, *_ in rows[2:]}
for way in [way for way in on_h100 if way.startswith("FLASH")]:
    for baseline in ["Transformer++"] if "torch" in way else ["Transformer++, compiled", SLOW]:
        print(f"{way:20} is level with {baseline:39} at T = {level(LENGTHS, on_h100[way], on_h100[baseline]):,.0f}")
if fused:
    fast, slow = on_h100["Transformer++, compiled"], on_h100[SLOW]
    assert on_h100["FLASH, kernels"][1] > slow[1]
    assert on_h100["FLASH, kernels"][1] < on_h100["Transformer++"][1] < on_h100["FLASH, slow kernels"][1]
    assert [round(1 - on_h100[f"FLASH, {way}"][2] / slow[2], 2) for way in ("kernels", "slow kernels")] == [0.31, 0.23]
    assert 0.9 * fast[2] < on_h100["FLASH, slow kernels"][2] < 1.1 * fast[2] < 0.8 * slow[2]

# %% [markdown]
# A FLASH step is predicted to take the same time at every length, while that of Transformer++ climbs, even with fused attention. Beside
# *Transformer++*, not compiled, the kernels win at 2048 (142 against 156 ms) unless they are slow (160). Compile the baseline, and they lose there.
# At 8192 fast and slow kernels lie on either side of fast attention, and take 23 to 31% less time than slow attention.
#
# Lecture 08 counted a crossover of 1836 tokens at these sizes, from multiply-adds alone. Count bytes as well, with fused attention for the
# baseline, and it lies near 10,000 on an H100 (nothing compiled). If both are compiled, we predict 5,000 against slow attention and 10,000
# against fast; with our kernels, 4,000 to 10,000.
#
# One cost is missing: a kernel has to be *launched*, which takes some microseconds. A training step of 65,536 tokens hardly notices this
# *launch overhead*; a decoding step, with its single token, does. The remedy is a *CUDA graph*, which records all launches once and replays
# them. It needs shapes that never change, which a state of constant size provides.
#
# **Now measure**, while you have a prediction. In a copy of this repository, on a machine with a CUDA card,
# `tools/gpu_evidence --only steps` times a step in these ways and stores the result for the next cell, in 10 minutes at most. It compiles
# unit by unit. (In Colab, on a T4, `!flash-tutorial bench --preset t4` times FLASH by torch against
# Transformer++, with a third of the units and an eighth of the tokens, so divide them by 24.) Write down first which row of the table you expect to be wrong.

# %%
try:
    for row in load_stored("card_steps")["runs"]:
        times = {name: way["seconds"]["median"] for name, way in row["ways"].items() if way.get("seconds")}
        said = ", ".join(f"{name} {1e3 * seconds:.0f}" for name, seconds in times.items())
        print(f"{row['card']}, {row['format']}, T = {row['T']}, milliseconds of a step: {said}")
except ValueError:
    print("to measure on a card: tools/gpu_evidence --only steps")

# %% [markdown]
# ## 10. What to remember
#
# Fill in the last column yourself. (`learner.verdict("11 kernel", "...")` stores one.)
#
# | claim | your evidence | your verdict |
# | --- | --- | --- |
# | Attention takes most of a FLASH step | section 1: counted and timed on your machine | |
# | Matrix products are limited by arithmetic | section 2: FLOPs per byte against two data sheets | |
# | `torch.compile` makes a hand-written kernel unnecessary | section 3: five operations were merged, two products stayed | |
# | A fused kernel needs a running maximum and sum | section 4: softmax does, relu² does not | |
# | The kernel computes what the model computes | section 7: against torch in float64, at one length that C does not divide, in two formats, by the interpreter | |
# | Its gradient is right | section 8: each input, against torch in float64 | |
# | A hand-written kernel is faster | sections 8 and 9: predicted to lose on a T4, and to depend on the baseline on newer cards; yours to measure | |
#
# **Three takeaways**
# 1. Measure first, by part; then count FLOPs and bytes; only then write code.
# 2. relu² tiles add up, which makes the kernel short. Every load still needs its mask.
# 3. Fusing saves bytes, and may repeat some arithmetic for it. Whether it pays depends on the card.
#
# **Exercises** [Problem set 11](../exercises/11_gpu_kernels.ipynb), six tasks: bytes against operations, tiles in NumPy, the same in
# Triton, and five wastes to find.
#
# **Next** [Lecture 12](12_your_project.ipynb) uses the package in a project of your own.
