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
# A *kernel* is a function that runs on a GPU, in many copies at once, and almost every operation of PyTorch starts at least one. Some users of
# GAU reported that it ran slower than attention on their GPUs, although it needs less arithmetic. One possible cause is that nobody had written a kernel
# for it. This lecture shows what such a kernel needs, forward and backward, and predicts what it brings on four cards.
#
# **After it you can**
# - measure where the time of a training step goes, and hold it against counted operations;
# - count FLOPs and bytes of an operation, and say which of the two limits it on a given card;
# - say what `torch.compile` merges and what it does not;
# - read a Triton kernel for FLASH line by line, and check it and its gradient without a GPU;
# - predict a step's time from its bytes, and say why a kernel of your own may lose, before you run it.
#
# **You need** lecture 05 (mixed chunk attention). Lectures 04 and 08 help: there, operations were held against memory traffic.
#
# **Time** 42 minutes to read. Computing takes about 20 seconds on two CPU cores.
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

from flash_tutorial.devices import describe_device

print(describe_device())

# %% [markdown]
# ## 1. Where the time of a step goes
#
# Here are two implementations of one model, the paper's base size, in one training step of 65,536 tokens. They compute the same numbers. The first
# is FLASH as PyTorch runs it, operation by operation, and the second uses the kernels that you will read today.

# %% tags=["nbval-check-output"]
from flash_course.bench.stored import load_stored

steps_of_cards = {(row["model"], row["T"]): row for row in load_stored("traffic")["rows"]}
for name in ("FLASH, torch", "FLASH, Triton"):
    row = steps_of_cards[name, 2048]
    print(
        f"{name:14} moves {row['gigabytes_moved']:.0f} GB; predicted for an H100: {row['milliseconds']['H100']:.0f} ms"
    )

# %% [markdown]
# The second moves far fewer bytes and is predicted to be faster, although it saves no multiplication. The times are predictions
# from counted bytes (section 11), because no GPU was at hand. So the thing to learn is to see the bytes.
#
# Two questions from lecture 10 first. Answer from memory, then open the fold.
#
# **1.** You have runs with three seeds and want a 95% interval for their mean. Which factor stands before the standard error?
#
# <details><summary>Answer</summary>
#
# 4.30. Three runs estimate their own standard deviation badly, so the interval is wide. With very many runs the factor falls to 1.96.
#
# </details>
#
# **2.** You leave the gate out of a unit, and the unit gets worse. Why does that not yet blame the gate?
#
# <details><summary>Answer</summary>
#
# The gate's matrix of D × E parameters is gone too. The lecture's small unit lost 30% of its parameters that way, and only when its values were
# widened to E = 3 D was it a fair opponent.
#
# </details>

# %%
import json
import os
from dataclasses import dataclass

import numpy as np
import torch

from flash_course import figures, learner
from flash_course.bench.counts import count_multiply_adds
from flash_tutorial import FLASH, mixing, reference
from flash_tutorial.layers import cos_sin
from flash_course.bench.clock import summary, time_in_turn
from flash_course.learner import predict, reveal
from flash_tutorial.properties import draw_order_one


@dataclass
class Preset:
    B: int  # sequences in a step
    T: int
    D: int
    S: int
    C: int
    rounds: int  # how often each part is timed


DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
torch.set_num_threads(1)
CPU, GPU = Preset(1, 1024, 256, 64, 128, 5), Preset(4, 4096, 768, 128, 256, 20)
preset = GPU if DEVICE == "cuda" else CPU


def same(a, b, limit=1e-10):
    """The same shape and, up to rounding, the same numbers."""
    return a.shape == b.shape and bool(np.abs(np.asarray(a) - np.asarray(b)).max() < limit)


print(preset)

# %% [markdown]
# The paper has one measurement on a GPU, a training step on a V100 (Table 10). FLASH wins at T = 2048 (243 against 315 ms) and loses at 512 (254
# against 222 ms), and that was before today's fused attention kernels. To mend such a loss, ask first which part of a step takes the time. A
# FLASH unit has five parts, each of which becomes a function of its own here:
#
# - *project*: norm, one dense layer and SiLU make gate u, value v and base z of each token;
# - *heads*: scale, offset and RoPE make queries and keys of z;
# - *local*: relu² attention inside chunks of C tokens;
# - *global*: the state of earlier chunks;
# - *out*: the gate, then a dense layer back to D.

# %%
p = preset
unit = FLASH(p.D, qk_dim=p.S, chunk_size=p.C, causal=True)
unit = draw_order_one(unit, torch.Generator().manual_seed(0)).to(DEVICE)
E = unit.expanded


def heads_of(z):
    return unit.read_heads(z, *cos_sin(p.T, p.S, z))


def local_part(q, k, v):
    return mixing.mixed_chunk_attention(q, k, q, k, v, chunk_size=p.C, causal=True, bias=unit.bias, global_=False)


def global_part(q, k, v):
    return mixing.mixed_chunk_attention(q, k, q, k, v, chunk_size=p.C, causal=True, local=False)


x = torch.randn(p.B, p.T, p.D, generator=torch.Generator().manual_seed(1)).to(DEVICE)
with torch.no_grad():
    u, v, z = unit.project(x)
    quad_q, quad_k, lin_q, lin_k = heads_of(z)
    near, far = local_part(quad_q, quad_k, v), global_part(lin_q, lin_k, v)
    apart = x + unit.out_proj(u * (near + far))
    difference = (apart - unit(x)).norm() / (unit(x) - x).norm()
assert difference < 1e-4
print(f"five parts one after the other: the unit, D = {p.D}, E = {E}, S = {p.S}, {p.T // p.C} chunks of {p.C} tokens")

# %% [markdown]
# How much arithmetic has each? A product of an (a, b) and a (b, c) matrix has a b c *multiply-adds*. In *project* each token goes from D to
# 2 E + S features, in *out* from E to D. The *local* part of a chunk has C (C + 1) / 2 pairs, each of which costs S for its score and E for its value.
# In the *global* part each token adds an S × E product to the state, and reads one.

# %% tags=["nbval-check-output"]
D, S, C, T = CPU.D, CPU.S, CPU.C, CPU.T  # counted at the sizes of the CPU preset, on any machine


def counts(T, D, E, S, C):
    return {
        "project": T * D * (2 * E + S),
        "heads": 0,
        "local": T // C * (C * (C + 1) // 2) * (S + E),
        "global": 2 * T * S * E,
        "out": T * E * D,
    }


counted = counts(T, D, 2 * D, S, C)
total = sum(counted.values())
for name, number in counted.items():
    print(f"{name:8} {number:12,} multiply-adds, {number / total:4.0%}")
plain = FLASH(D, qk_dim=S, chunk_size=C, causal=True)
assert total == count_multiply_adds(plain, T)
on_gpu = counts(GPU.T, GPU.D, 2 * GPU.D, GPU.S, GPU.C)
assert round(100 * (on_gpu["local"] + on_gpu["global"]) / sum(on_gpu.values())) == 14  # the guess below needs it

# %% [markdown]
# **Your guess.** The mixing (local and global) has a fifth of these multiply-adds; at the sizes for a GPU it has 14%. What percent of the
# *time* does it take on your machine, forward and backward? Write 20 (on a GPU: 14) if you expect time to follow the operations.

# %%
my_guess = None  # your number here
predict("11.a", my_guess)


# %%
def step_of(part, *inputs):
    """A function: ``part`` forward, then backward to its inputs and to the unit's parameters."""
    inputs = [tensor.detach().clone().requires_grad_() for tensor in inputs]
    grads = [torch.randn_like(out) for out in as_list(part(*inputs))]  # stand for what later parts send back

    def step():
        torch.autograd.backward(as_list(part(*inputs)), grads)
        for tensor in inputs:
            tensor.grad = None
        unit.zero_grad()

    return step


def as_list(outputs):
    return [outputs] if isinstance(outputs, torch.Tensor) else list(outputs)


parts = {
    "project": step_of(unit.project, x),
    "heads": step_of(heads_of, z),
    "local": step_of(local_part, quad_q, quad_k, v),
    "global": step_of(global_part, lin_q, lin_k, v),
    "out": step_of(lambda x, u, near, far: x + unit.out_proj(u * (near + far)), x, u, near, far),
}

# %% [markdown]
# The parts are timed in turn, so that whatever else the machine does slows all of them.

# %% tags=["timing"]
timed = time_in_turn(parts | {"whole unit": step_of(unit, x)}, p.rounds, device=DEVICE)
milliseconds = {name: 1e3 * summary(seconds)["median"] for name, seconds in timed.items()}
in_parts = sum(milliseconds[name] for name in parts)
print(f"the parts add up to {in_parts:.0f} ms, the whole unit takes {milliseconds['whole unit']:.0f} ms")
here = counts(p.T, p.D, unit.expanded, p.S, p.C)
shares = {name: (here[name] / sum(here.values()), milliseconds[name] / in_parts) for name in parts}
longest = max(shares, key=lambda name: shares[name][1])
title = f"The part that takes longest here: {longest}"
rows = [("part", "multiply-adds %", "time %")] + [(n, *(f"{100 * s:.0f}" for s in both)) for n, both in shares.items()]
figures.show(*figures.shares_of_a_step(shares, title=title), rows)
reveal("11.a", 100 * (shares["local"][1] + shares["global"][1]), "percent of the time")

# %% [markdown]
# Compare the two bars of each part. *heads* has no matrix product at all, so its time goes into small operations, and any part whose share of
# the time is larger than its share of the products loses time elsewhere. On a GPU the balance is another one, because it can do far more
# arithmetic for each byte that it moves.
#
# ## 2. Arithmetic against bytes
#
# An operation has to fetch its inputs and to compute with them, and the slower of the two sets the time. A *FLOP* is one addition or
# one multiplication, so a multiply-add is two. A GPU keeps its tensors in a large, slow *main memory*, from which each kernel reads its
# inputs and to which it writes its results.
#
# By hand, for one chunk of six tokens with S = 2 and E = 4, in float16 (2 bytes a number):

# %% tags=["nbval-check-output"]
flops = moved = 0
for _reader in range(6):
    for _key in range(6):  # all of them: a dense product computes the hidden half too
        flops += 2 * 2  # the score of the two: S multiply-adds
        flops += 2 * 4  # the key's value into the reader's sum: E multiply-adds
    moved += 2 * (2 + 2)  # the query and the key of a token, read
    moved += 2 * (4 + 4)  # its value, read, and its result, written
print(f"{flops} FLOPs, {moved} bytes if the weights never leave the kernel: {flops / moved:.1f} FLOPs per byte")
in_memory = 2 * 6 * 6 * 4  # a 6 x 6 array four times: scores written and read, their relu^2 written and read
print(f"{in_memory} bytes more if they lie in main memory: {flops / (moved + in_memory):.1f} FLOPs per byte")

# %% [markdown]
# FLOPs per byte is called the *arithmetic intensity*. Keeping the attention matrix inside one kernel makes it three times as large
# here, and that is the whole idea of *fusing*: the same arithmetic, fewer trips to main memory.
#
# **Your line.** How many numbers move for a chunk of any size? The first line is given; what comes on top if the kernels are not fused?


# %%
def numbers_moved(C, S, E, fused):
    numbers = 2 * C * S + 2 * C * E
    return numbers if fused else ...


learner.your_line(
    "11.c", numbers_moved, ((6, 2, 4, False), 216), ((128, 64, 512, False), 212_992), ((6, 2, 4, True), 72)
)

# %% [markdown]
# <details><summary>The line</summary>
#
# `numbers + 4 * C * C`: the scores are written and read, and so are their squares.
#
# </details>


# %% tags=["nbval-check-output"]
def local_flops(C, S, E):
    return 2 * C * C * (S + E)  # all pairs, as above


def local_bytes(C, S, E, size, fused):
    numbers = 2 * C * S + 2 * C * E
    if not fused:
        numbers += 4 * C * C
    return size * numbers


assert local_flops(6, 2, 4) == flops and local_bytes(6, 2, 4, 2, True) == moved
assert local_bytes(6, 2, 4, 2, False) == moved + in_memory
for fused in (True, False):
    intensity = local_flops(128, 64, 512) / local_bytes(128, 64, 512, 2, fused)
    print(f"C = 128, S = 64, E = 512, {'fused' if fused else 'not fused'}: {intensity:.1f} FLOPs per byte")

# %% [markdown]
# Whether that is much depends on the card. A T4 is the card that Colab lends for free. By NVIDIA's data sheet it computes at most
# 65 × 10¹² FLOPs a second in float16 and moves at most 320 × 10⁹ bytes a second. Their ratio is 203, so an operation below 203 FLOPs
# per byte has to wait for memory on that card, and one above waits for arithmetic. The larger of two times is the least that an operation can take.

# %% tags=["nbval-check-output"]
T4_FLOPS, T4_BYTES = 65e12, 320e9


def least_seconds(flops, moved, peak=T4_FLOPS, rate=T4_BYTES):
    return max(flops / peak, moved / rate)


print(f"the T4's turning point: {T4_FLOPS / T4_BYTES:.0f} FLOPs per byte")
chunks = 1000
flops = chunks * local_flops(128, 64, 512)
for name, fused in (("not fused", False), ("fused", True)):
    moved = chunks * local_bytes(128, 64, 512, 2, fused)
    times = [1e3 * least_seconds(flops, moved, peak) for peak in (T4_FLOPS, 2 * T4_FLOPS)]
    print(f"{name:9}: at least {times[0]:.2f} ms; on a card with twice the arithmetic: {times[1]:.2f} ms")
    assert times[0] == times[1]

# %% [markdown]
# **Misconception: matrix products are limited by arithmetic.** These are products, and a card with twice the arithmetic would not make them
# faster. Fewer bytes would.
#
# The same as a picture, called a *roofline*: the slope is the memory, the flat part the arithmetic. Here are two cards, drawn from their data sheets
# (an H100 has 989 × 10¹² FLOPs and 3350 × 10⁹ bytes a second), with nothing measured on them.

# %% tags=["nbval-check-output"]
C, S, E, D, T = 128, 64, 512, 256, 8192
dense = 2 * T * D * (2 * E + S) / (2 * (T * D + D * (2 * E + S) + T * (2 * E + S)))  # the first dense layer
marks = {"dense layer": dense, "gate": 1 / (3 * 2)}
for name, fused in (("local, not fused", False), ("local, fused", True)):
    marks[name] = local_flops(C, S, E) / local_bytes(C, S, E, 2, fused)
cards = {"T4": (T4_FLOPS, T4_BYTES), "H100": (989e12, 3350e9)}
for card, (peak, rate) in cards.items():
    reached = {name: min(1, i * rate / peak) for name, i in marks.items()}
    print(f"{card:4} at most, of its peak:", ", ".join(f"{name} {share:.1%}" for name, share in reached.items()))
roofs = {f"{card}, data sheet": (*both, {n: (i, None) for n, i in marks.items()}) for card, both in cards.items()}
title = "In the blue part bytes set the pace: there fusing climbs the roof (arrow)"
figures.show(*figures.rooflines(roofs, moves=[("local, not fused", "local, fused")], title=title))

# %% [markdown]
# Find the gate first. It multiplies two arrays, one FLOP for three numbers moved, so it sits at the foot of the slope, whatever the card. Then compare
# the two turning points: arithmetic has grown faster than memory, so on the newer card even this dense layer waits for memory.
#
# ## 3. What `torch.compile` merges
#
# Between the two products of the local part stand five small operations: division, bias, relu, square, mask. Run one by one, each of
# them is a kernel that reads the whole array of scores and writes a new one. A merged operation would read it once and write it once.

# %%
q, k, values = torch.randn(3, 64, 128, 16)  # 64 chunks; narrow, so that what lies between the products shows
bias, lower = torch.randn(128, 128), torch.ones(128, 128).tril()


def narrow_local(q, k, values, bias, lower):
    return (torch.relu(q @ k.mT / 128 + bias).square() * lower) @ values


# %% [markdown]
# `torch.compile` writes such a merged operation by itself, in Triton for a GPU and in C++ for a CPU. It needs a compiler for that, and the
# first call takes seconds. (Where no compiler is installed, the cell says so and the lecture goes on.) What has become of the operations?
# PyTorch's profiler counts how often each of its own is called: `bmm` is a product inside or between chunks.

# %%
from torch.profiler import ProfilerActivity, profile

from flash_tutorial.devices import compiled

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else the profiler writes lines of its own
activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (DEVICE == "cuda")
inputs = [tensor.to(DEVICE) for tensor in (q, k, values, bias, lower)]
ways = {"one by one": narrow_local, "compiled": compiled(narrow_local)}
try:
    assert torch.allclose(ways["compiled"](*inputs), narrow_local(*inputs), rtol=1e-3, atol=1e-3)  # the same numbers
except ValueError as error:
    del ways["compiled"]
    print(error)
for name, way in ways.items():
    with profile(activities=activities) as profiler:
        way(*inputs)
    calls = {event.key.removeprefix("aten::"): event.count for event in profiler.key_averages()}
    called = {n: calls.get(n, 0) for n in ("bmm", "div", "add", "relu", "square", "mul")}
    print(f"{name:10} calls {called}")
    assert list(called.values()) == ([2, 0, 0, 0, 0, 0] if name == "compiled" else [2, 1, 1, 1, 1, 1])

# %% [markdown]
# Compiled, the five small operations are no longer called, and one took their place. But the two products are still calls of their own, so the merged operation reads scores that the first product wrote, and writes weights
# that the second one reads. To keep the attention matrix out of main memory, somebody has to write a kernel that works in tiles.
#
# ## 4. An attention matrix in tiles
#
# One copy of a kernel has little fast memory, at most 64 KiB on a T4, whereas a 256 × 256 matrix in float32 alone needs 256 KiB. So the
# matrix is made in *tiles* of M × M entries, and each tile is used at once and then forgotten.
#
# Here are six tokens and tiles of 3 × 3, without bias and division. The value of a token is its number. Tiles are named by row and
# column from 0, so tile (1, 0) holds what tokens 4 to 6 read of tokens 1 to 3.

# %%
q_TS = np.array([(1, 0), (0, 1), (1, 1), (2, -1), (-1, 1), (1, 1)])
k_TS = np.array([(1, 1), (2, 0), (-1, 1), (1, 2), (1, -1), (1, 0)])
v_TE = np.arange(1, 7)[:, None]
lower_TT = np.tri(6, dtype=int)
scores_TT = q_TS @ k_TS.T
weights_TT = np.maximum(scores_TT, 0) ** 2 * lower_TT
hidden = np.where(lower_TT == 1, 1.0, np.nan)
panels = {"scores q kᵀ": scores_TT * hidden, "weights: relu² of them": weights_TT * hidden}
figures.show(*figures.squares_in_tiles(panels, 3, row=6, title="Token 6 reads two tiles, of three tokens each"))

# %% tags=["nbval-check-output"]
read = np.zeros((6, 1), int)
for top in (0, 3):  # readers, three at a time
    for left in range(0, top + 3, 3):  # those who are read: tiles on or left of the diagonal
        readers, keys = slice(top, top + 3), slice(left, left + 3)
        tile = np.maximum(q_TS[readers] @ k_TS[keys].T, 0) ** 2
        if left == top:
            tile = tile * np.tri(3, dtype=int)  # only this tile has something to hide
        adds = tile @ v_TE[keys]
        read[readers] += adds
        print(
            f"tile ({top // 3}, {left // 3}): token {top + 3} reads {tile[2]}, adds {adds[2, 0]}, has {read[top + 2, 0]}"
        )
assert (read == weights_TT @ v_TE).all()

# %% [markdown]
# Follow token 6 through its two tiles, and check the sums against the figure. Tile (0, 1) was never made.
#
# Why is this so easy? A relu² weight depends on its own score alone, so the contributions of tiles add up, in any order. A softmax weight is
# divided by a sum over the *whole row*, which the first tile does not know yet.
#
# **Misconception: fusing needs a running maximum.** It does for softmax, which is what FlashAttention
# ([arXiv 2205.14135](https://arxiv.org/abs/2205.14135)) is known for. Token 6 again, with a softmax in each tile. The symptom of simply adding
# those: its weights sum to two.

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
    old = np.exp(most - new)  # all that was summed so far belongs to the old maximum
    weights = np.exp(row[keys] - new)
    most, total, read_6 = new, total * old + weights.sum(), read_6 * old + weights @ values[keys]
print(f"with a running maximum and sum: reads {read_6 / total:.3f}")

# %% [markdown]
# That is a maximum, a sum and an output carried along, and rescaled at each tile. A relu² kernel needs none of it.
#
# ## 5. What the result must be
#
# Before you write a kernel, you must know its result for sure. Take T = 150 and C = 40, three full chunks and a tail of 30, with all numbers of order
# one, and let the two implementations that you know, the package's NumPy (lecture 05) and its torch, agree first.

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
assert same(by_reference, mix_torch(*in_torch, C=C)[0])
print(f"NumPy and torch agree; the output's standard deviation is {by_reference.std():.1f}")

# %% [markdown]
# ## 6. What a kernel sees
#
# A kernel runs in many copies at once, which Triton calls *programs*. Each has a number and makes its own piece of the output, here M tokens of one
# chunk. Let M = 16 and C = 40 again, so that M does not divide C. (The figure shows which tiles each program touches.)

# %%
figures.show(*figures.tiles_of_a_chunk(C=40, M=16))

# %% [markdown]
# A kernel gets no arrays. It gets the *address* of a first number and *strides*, which say how far apart two rows and two columns lie.
# (Neighbouring addresses are fetched in one piece if they are asked for together. This is called *coalescing*, and it makes a stride of 1
# precious.) Here is a toy memory of 20 numbers with the values of six tokens, E = 2. What lies before and behind is NaN, standing for whatever
# has been left there.

# %% tags=["nbval-check-output"]
memory = np.full(20, np.nan)
first, strides = 4, (2, 1)
memory[first : first + 12] = np.arange(1, 13)  # token 1 has (1, 2), token 6 has (11, 12)


def addresses(rows, columns):
    return first + rows[:, None] * strides[0] + columns[None, :] * strides[1]


rows, columns = np.arange(4, 8), np.arange(2)  # the second tile of M = 4: tokens 5 to 8
tile = memory[addresses(rows, columns)]
print("second tile, as loaded:", tile.tolist())
print("strides swapped, first row of the transposed array:", memory[first + np.arange(6) * strides[0]].tolist())
inside = (rows < 6)[:, None]
print("times a mask:", (tile * inside).tolist())
print("chosen by a mask:", np.where(inside, tile, 0).tolist())

# %% [markdown]
# **Misconception: what lies outside is zero.** There are only six tokens, and the tile asked for tokens 5 to 8. It got NaN; in a test it may get
# zeros, or the neighbour's numbers. The symptom: right whenever M divides C, wrong otherwise, and not always in the same way.
#
# Multiplying by a mask does not help, since 0 × NaN is NaN. So each load of a kernel carries a mask, and says what stands for the numbers that are
# not loaded.
#
# ## 7. The kernel
#
# *Triton* is a language for kernels inside Python. `@triton.jit` marks what it is to compile. A program works on whole tiles, and the compiler
# spreads a tile over *threads*, which compute side by side. `tl.program_id` tells a program its number, `tl.arange` makes indices, `tl.load`
# and `tl.store` take addresses and a mask, and `tl.dot` multiplies two tiles as matrices and sums in float32 (`"ieee"` forbids it to round float32 inputs
# first).
#
# Here are the two functions of the package that make the output. Read them with the list below.

# %% tags=["nbval-check-output"]
path = Path(importlib.util.find_spec("flash_tutorial.kernels").origin)
source = path.read_text(encoding="utf-8")
for function in ("local_map", "mix_kernel"):
    start = source.index(f"@triton.jit\ndef {function}(")
    print(source[start : source.index("\n\n\n", start)], end="\n\n")

# %% [markdown]
# 1. One program number is taken apart: a tile of M tokens, some of the E columns, a chunk, a sequence. Neighbours in number share a chunk.
# 2. `end` is where the chunk ends. The last chunk of a sequence may be short, and rows from `end` on are masked in loads and in the store.
# 3. The global part comes first. Its state is an input, made by `scan_kernel`, which is the running sum of lecture 05, stored
#    before the chunk's own term is added.
# 4. The loop goes over tiles of keys, up to the reader's own tile. Those further right are never touched.
# 5. The bias is read at places *inside the chunk*, so `chunk` is subtracted. It is added after the division by C, as ever.
# 6. `seen` hides later keys, and tokens of other documents. It compares places in the text, so it is right in every tile.
# 7. `total` stays in float32, also when the inputs are float16. The weights are rounded before their product.
# 8. The gate multiplies once, after both parts. Training also stores `y`, the sum before its gate, since the gradient of the
#    gate is made of it.
#
# **Your line.** Cover the kernel. `rows` are the places in the text of the queries of a tile, `keys` those of its keys. Which pairs may be read?


# %%
def seen_by(rows, keys):
    return ...


places = np.arange(4, 8), np.arange(2, 6)
learner.your_line("11.d", seen_by, (places, [[1, 1, 1, 0], [1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]]))

# %% [markdown]
# <details><summary>The line</summary>
#
# `return rows[:, None] >= keys[None, :]`. With `>` a token would not read itself. With places counted from the tile's own corner, only
# tiles on the diagonal would be right.
#
# </details>
#
# ## 8. Is it right? Asked without a GPU
#
# Triton has an *interpreter*, which runs the programs one after the other in NumPy. The variable `TRITON_INTERPRET` switches it on. It is read
# when a kernel is defined, so set it before the import; on a GPU it must not be set.

# %%
if DEVICE == "cpu":
    os.environ["TRITON_INTERPRET"] = "1"
try:
    from flash_tutorial import fused
except ImportError as error:
    fused = None
    print(error)


def check_kernel(dtype, limit):
    tensors = [tensor.to(DEVICE, dtype) for tensor in in_torch]
    *all_heads, v, u, bias = tensors
    got = fused.fused_mixed_chunk(*all_heads, v, chunk_size=C, bias=lambda n: bias[:n, :n], gate=u, tile=(16, 32))
    wanted = mix_torch(*(tensor.double() for tensor in tensors), C=C)  # by torch, in float64
    both = [float((y.double() - wanted).norm() / wanted.norm()) for y in (got, mix_torch(*tensors, C=C))]
    print(f"{dtype!s:13}: relative difference {both[0]:.0e}; torch's own in that format {both[1]:.0e}")
    assert both[0] < limit


if fused:
    check_kernel(torch.float32, 1e-5)
    check_kernel(torch.float16, 2e-3)

# %% [markdown]
# float16 has three digits, so its difference is larger, in torch as well. The interpreter finds wrong numbers, but not everything: it runs
# programs in order, so it may hide that two of them write the same place, and it says nothing about time.
#
# ## 9. The way back
#
# Follow the local part backwards, by hand. Let s = q kᵀ / C + bias be the scores, r = relu(s),
# A = r² and y = A v. A small d stands for the gradient of the loss, and dy is what comes back from the gate. Then
#
# - dv = Aᵀ dy, since y is linear in v, and dA = dy vᵀ for the same reason;
# - ds = 2 r dA: where relu cut a score off, r is zero and nothing flows;
# - dq = ds k / C and dk = dsᵀ q / C; the bias gets the sum of ds over all chunks and sequences.
#
# For six tokens, all of this in NumPy, against torch's own gradient:

# %% tags=["nbval-check-output"]
values_61 = np.arange(1, 7)[:, None]  # as in section 4
dy = np.array([1.0, -1, 2, 0, 1, 3])[:, None]
r = np.maximum(scores_TT, 0) * lower_TT
dA = dy @ values_61.T
ds = 2 * r * dA
print("ds of token 6:", ds[5].astype(int), "| dv of the six:", (r**2).T.dot(dy)[:, 0].astype(int))
leaves = [torch.tensor(array, dtype=torch.float64, requires_grad=True) for array in (q_TS, k_TS, values_61)]
((leaves[0] @ leaves[1].T).relu().square().tril() @ leaves[2]).backward(torch.from_numpy(dy))
for by_hand, leaf in zip((ds @ k_TS, ds.T @ q_TS, (r**2).T @ dy), leaves):
    assert same(by_hand, leaf.grad)

# %% [markdown]
# In the kernels this takes four steps, because A was never stored and has to be made again. `maps_kernel` makes it tile by tile, together with
# ds, and writes both; for each token that is 2 C entries, which is little beside its E = 6 C values at the paper's sizes. `values_kernel` makes dv of
# A and dy. The gradient of the state runs backwards: what a chunk passes back to its predecessors is summed over all *later* chunks, by the same scan
# in the other direction. What remains (dq, dk and the linear heads) are plain products, which the libraries do better.
#
# Which tiles does one program of each touch? Compare the first row, the forward kernel, with the others.

# %%
figures.show(*figures.tiles_of_the_kernels())

# %% [markdown]
# Forward, a program stays in its row of A and walks over the keys that it may read, up to the diagonal. For dv it is the
# transpose: a program belongs to a *key* and walks down the column, from the diagonal on, over all the queries that read it. So
# no two programs ever add to the same number. `maps_kernel` walks along E instead, since dA is a sum over the columns of values.
#
# Now ask the kernels: the gradient of each input, by the interpreter, against torch in float64.

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
# In a model you never call this function yourself. `FLASH(..., backend="auto")` takes the kernels where they are faster, on a CUDA card in half
# precision, and torch elsewhere; `unit.fused_on(x)` says which, and why.

# %%
causal = FLASH(p.D, qk_dim=p.S, chunk_size=p.C, causal=True)
taken, why = causal.fused_on(x)
print(f"{'by the kernels' if taken else 'by torch'} here, since {why}")

# %% [markdown]
# ## 10. What the compiler makes of it
#
# Compiling needs no card, so you can ask for several. The compute capability, the version of a card's design, is 7.5 for a T4, 8.0 for an A100 and 9.0
# for an H100. *Matrix instructions* use the units that give a card its high peak. *Shared* memory is the fast memory of a program. A thread has at
# most 255 *registers*; what does not fit is *spilled* to main memory. Counted is what stands in the code, not how often it runs.
#
# **Your turn.** Change the tile, M tokens and a number of columns, both powers of two. Watch registers and shared memory.

# %%
my_tile = (64, 64)


def compiled_for(*cards, tile):
    """What the compiler says of mix_kernel, card by card, in a process of its own without the interpreter."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    options = ["--kernel", "mix", "--tile", *map(str, tile)]
    command = [sys.executable, "-W", "ignore", "-m", "flash_course.bench.kernels", *cards, *options]
    printed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    return [json.loads(line) for line in printed.splitlines()]


if fused:
    t4, a100, h100 = cards = compiled_for("7.5", "8.0", "9.0", tile=my_tile)
    for name, card in zip(("T4", "A100", "H100"), cards):
        kib, spilled = card["shared_bytes"] // 1024, card["spilled_bytes"]
        units, registers = card["matrix_instructions"], card["registers"]
        print(
            f"{name:5} {units:3} matrix instructions, {registers} registers, {spilled} bytes spilled, {kib} KiB shared"
        )
    fit = 65_536 // (128 * a100["registers"]), 163 * 1024 // max(1, a100["shared_bytes"])
    print(f"programs that fit on a processor of an A100: {fit[0]} by registers, {fit[1]} by shared memory")
    assert t4["matrix_instructions"] == 0 < h100["matrix_instructions"] and a100["matrix_instructions"] > 0
else:
    print("not compiled: Triton is missing here")

# %% [markdown]
# For the T4 there is **not one** matrix instruction. Triton supports capability 8.0 and later; for older cards it writes ordinary
# multiply-adds, in float32. A T4 does 65 × 10¹² FLOPs a second by its matrix units, and 8.1 × 10¹² in float32 without them (data sheet), and
# PyTorch's own products do use them. So this kernel would **lose** there, and `backend="auto"` leaves it out. On an H100 fewer instructions do as
# much, since each one is wider.
#
# Once its numbers are right, three things decide whether such a kernel is fast:
#
# - *Pipelining.* The compiler starts the loads of the loop's next round while this one computes, which hides the wait for main memory. Much of the
#   shared memory above holds tiles that are not needed yet.
# - *Occupancy.* With several programs on one processor of the card, one computes while another waits. How many fit is decided by registers and shared
#   memory: a processor of an A100 has 65,536 registers and 163 KiB, a program 128 threads, and the smaller number of the last line above decides.
# - *L2*, the card's second-level cache. A chunk's values, state and heads take 1.4 MB at the paper's sizes. Its 96 programs (of the tile above) are
#   neighbours in number, so if each of an A100's 108 processors runs one, they touch at most three chunks, 4 MB, which its 40 MB of L2 can hold. If
#   neighbours in number belonged to different chunks, they would need 108 chunks, about 150 MB.
#
# Is any arithmetic wasted? Each column tile makes the scores anew, and half of a tile on the diagonal is hidden. Count what the local part executes
# against what it needs.


# %% tags=["nbval-check-output"]
def executed(C, S, E, M, columns):
    tiles = C // M * (C // M + 1) // 2  # on and left of the diagonal
    return tiles * M * M * (S * (E // columns) + E)


needed = 256 * 257 // 2 * (128 + 1536)
for M, columns in ((32, 64), (32, 256), (64, 256), (64, 1536)):
    times = executed(256, 128, 1536, M, columns) / needed
    kib = M * columns * 4 // 1024
    print(f"M = {M}, {columns:4} columns: {times:.2f} times the needed products, y takes {kib:3} KiB")

# %% [markdown]
# More columns waste less, and more tokens waste more (compare the second and the third line). But the float32 sum of a program must stay in
# registers, and a processor has 256 KiB of them for all programs that it runs at a time. So the tile's size, which `tile=` sets, is a bargain
# between repeated products and memory.
#
# ## 11. Bytes of a whole step, and a prediction
#
# What does a *training step* gain from all this? Take the paper's base size, 24 units, and 65,536 tokens in bfloat16.
# `count_traffic` runs a unit, forward and backward, on *fake* tensors, which have shapes and no numbers, so it takes no card and hardly any
# time. Each operation reads its inputs once and writes its outputs once, and that is what is counted.

# %%
from flash_course.bench.traffic import CARDS, ROWS, base, count_traffic

counted, gigabytes = {}, {}
for name in ROWS if fused else [name for name in ROWS if "Triton" not in name]:
    for T in (512, 2048, 8192):
        config, units = base(ROWS[name][0], T, ROWS[name][1])
        counted[name, T] = units, count_traffic(config, T)
    units, found = counted[name, 8192]
    gigabytes[name] = {operation: units * n / 1e9 for operation, n in found.by_name().items()}
    print(
        f"{name:14} moves {units * found.moved / 1e9:4.0f} GB, keeps {units * found.kept / 1e9:4.1f} GB for the way back"
    )
title = "A step of the base model at T = 8192: what its bytes are for"
figures.show(*figures.bytes_of_a_step(gigabytes, title=title))
if fused:
    assert sum(gigabytes["FLASH, Triton"].values()) < 0.7 * sum(gigabytes["FLASH, torch"].values())

# %% [markdown]
# The dense layers are the same in both bars of FLASH. What the kernels save lies in the other colours: the attention weights of a
# chunk, the sum of both parts, the gated product and float32 copies of four heads were each written by one operation and read by the
# next, whereas a tile goes through all of them while it is in fast memory.
#
# From bytes and FLOPs to a time: each operation takes as long as its products or its bytes, whichever is longer, which is the roofline of
# section 2. As rates we assume what large products and long copies reach, about 60% and 84% of the data sheets, and on a T4, which
# gets hot, 43% and 78%.
#
# **This is a prediction. Nothing was measured.** Every operation is assumed to reach these rates, and starting it to cost nothing. (For the
# kernels on a T4 there is no prediction.)

# %%
print(f"{'milliseconds of a step, predicted':34}" + "".join(f"{card:>8}" for card in CARDS))
predicted = {}
for (name, T), (units, found) in counted.items():
    predicted[name, T] = {card: 1e3 * units * found.seconds(card) for card in CARDS}
    if "Triton" in name:
        predicted[name, T]["T4"] = float("nan")
    row = "".join(f"{ms:8.0f}" if ms == ms else "       -" for ms in predicted[name, T].values())
    print(f"{name:14} T = {T:5}{'':10}{row}")
flash, rival = ("FLASH, Triton" if fused else "FLASH, torch"), "Transformer++"
assert not fused or all(predicted[flash, T]["H100"] < predicted[rival, T]["H100"] for T in (2048, 8192))
assert predicted["FLASH, torch", 8192]["H100"] > predicted[rival, 8192]["H100"]
assert abs(predicted[flash, 8192]["H100"] / predicted[flash, 512]["H100"] - 1) < 0.02

# %% [markdown]
# Read down a column. FLASH with the kernels costs the same at every length, while Transformer++, with torch's fused attention, climbs. With torch
# alone FLASH is predicted to be behind on an H100 even at 8192 tokens, and with the kernels to be ahead at 2048. So on a card the crossover of
# lecture 08 is a matter of kernels as much as of mathematics. That may be why users found GAU slow and the paper did not: the paper ran on TPUs,
# whose compiler fuses by itself.
#
# How far could kernels go at all? What they do not touch, here the dense layers, sets a limit, which is *Amdahl's law*.

# %%
units, found = counted["FLASH, torch", 8192]
share = 1 - found.seconds("H100", ("mm", "addmm")) / found.seconds("H100")
print(f"{share:.0%} of the predicted step on an H100 is not dense layers")
for faster in (2, 4, 1000):
    print(f"that part {faster:4} times as fast: the step {1 / (1 - share + share / faster):.2f} times as fast")
assert 0.5 < share < 0.8

# %% [markdown]
# And a kernel has to be *started*, which takes some microseconds, whatever it does; let us assume 5. A training step of 65,536 tokens does not
# notice this *launch overhead*. A decoding step does, because it has the same number of operations and a single token to work on. How many
# are there?

# %%
from torch.utils._python_dispatch import TorchDispatchMode

from flash_tutorial import LanguageModel, ModelConfig


class Counting(TorchDispatchMode):
    calls = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        is_view = any(r.alias_info is not None and not r.alias_info.is_write for r in function._schema.returns)
        self.calls += not is_view
        return function(*args, **(kwargs or {}))


for architecture in ("flash", "transformer++"):
    model = LanguageModel(ModelConfig(architecture)).eval()
    _, state = model.prefill(torch.zeros(1, 300, dtype=torch.long))
    with Counting() as step:
        model.step(torch.zeros(1, dtype=torch.long), state)
    print(f"{architecture:14} {step.calls:4} operations a token, so at least {5e-3 * step.calls:.2f} ms to start them")

# %% [markdown]
# Where starting dominates, little arithmetic takes as long as much. The remedy is to record all starts once, as a *CUDA graph*, and to replay
# the record for each token. It needs a step whose shapes never change, so a state of constant size suits it better than a cache that grows.
#
# A stored measurement from a card belongs beside these predictions. `tools/gpu_evidence` makes it, on a machine that has one.

# %%
try:
    measured = load_stored("card_steps")["runs"]
except ValueError:
    measured = []
    print("GPU: not yet measured")
for row in measured:
    times = {name: way.get("seconds") for name, way in row["ways"].items()}
    said = ", ".join(f"{name} {1e3 * seconds['median']:.0f}" for name, seconds in times.items() if seconds)
    print(f"{row['card']}, {row['format']}, T = {row['T']}, milliseconds of a step: {said}")

# %% [markdown]
# ## 12. What you take along
#
# Fill in the last column yourself. "Not shown" is a good answer. `learner.verdict("11 kernel", "...")` stores a verdict, and
# `flash-tutorial report` prints them all.
#
# | claim | your evidence | your verdict |
# | --- | --- | --- |
# | Attention takes most of a FLASH step | section 1: counted and timed on your machine | |
# | Matrix products are limited by arithmetic | section 2: FLOPs per byte against a T4's data sheet | |
# | `torch.compile` makes a kernel of one's own needless | section 3: five operations became one, two products stayed | |
# | A fused kernel needs a running maximum | section 4: softmax does, relu² does not | |
# | The kernel computes what the model computes | section 8: against torch, odd lengths, two formats | |
# | Its gradient is right | section 9: each input, against torch in float64 | |
# | A kernel of one's own is faster | sections 10 and 11: on a T4 no, for want of matrix instructions; on newer cards predicted from bytes, not measured | |
#
# **Three takeaways**
# 1. Measure first, by part; then count FLOPs and bytes; only then write code.
# 2. relu² tiles add up. That makes the kernel short, and every load still needs its mask.
# 3. Fusing saves bytes, and may repeat some arithmetic for it. Whether it pays depends on the card.
#
# **Exercises** [Problem set 11](../exercises/11_gpu_kernels.ipynb), six tasks: bytes against operations, tiles in NumPy, the same in Triton, and five wastes to find.
#
# **Next** [Lecture 12](12_your_project.ipynb) uses the package in a project of your own.
