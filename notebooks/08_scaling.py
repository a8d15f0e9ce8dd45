# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 08 Scaling: what a longer sequence costs, counted and measured
#
# [With results](08_scaling.ipynb) · [without, to work in](work/08_work_scaling.ipynb) · [problem set 08](../exercises/08_set_scaling.ipynb) ·
# [glossary](../docs/glossary.md)
#
# The paper has a model that does more arithmetic than a Transformer at every length, and yet at 8,192 tokens it takes half the time. How
# can that be? First you count, then you measure on your own machine, and at last you catch the five tricks that make a benchmark flatter.
#
# **After this lecture you can**
# - count the multiply-adds of a Transformer++ block, of two GAUs and of two FLASH units, for every T;
# - solve for the length where two of them are equal, and say which letters move it;
# - time a training step so that the ratio can be believed, fit how it grows, and find where two models meet;
# - find the choices in a benchmark that flatter one side.
#
# **You need** lecture 05 (mixed chunk attention) and section 5 of lecture 01 (what attention costs).
#
# **Time** 32 minutes to read, about 20 more to build. Running the code takes about 25 seconds on two CPU cores.
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
# ## 1. More arithmetic, and half the time
#
# These are milliseconds of a training step on 64 TPU cores, from the paper's Table 12: Transformer++, FLASH-Quad (a stack of GAUs), and
# FLASH. Beside them we put a count of the *multiply-adds*, each a multiplication with the addition that follows it, so two FLOPs. Of pairs
# of tokens only those count that a causal model may see. Every step has 2¹⁸ tokens: when T doubles, the batch halves.

# %% tags=["nbval-check-output"]
from flash_course.bench.counts import count_multiply_adds
from flash_tutorial import ModelConfig

lengths = (512, 1024, 2048, 4096, 8192, 16_384, 32_768)
table_12 = {
    "transformer++": (54.7, 70.9, 96.6, 149.2, 261.0),
    "flash_quad": (54.1, 59.5, 71.3, 96.1, 141.3),
    "flash": (57.2, 56.9, 56.7, 57.0, 62.5),
}
configs = {name: ModelConfig.paper("wiki40b", name) for name in table_12}
adds = {name: [count_multiply_adds(config, T) for T in lengths[:5]] for name, config in configs.items()}
for name in ("flash_quad", "flash"):
    for what, table in (("arithmetic", adds), ("time", table_12)):
        ratios = [ours / theirs for ours, theirs in zip(table[name], table["transformer++"])]
        print(f"{name:10} {what:10} / transformer++ ", "  ".join(f"{ratio:.2f}" for ratio in ratios))

# %% [markdown]
# Look at the first two rows. FLASH-Quad does more arithmetic at every length, half as much again at T = 8192, and its step takes 54% of the
# time. FLASH does two thirds of the arithmetic there, in a quarter of the time. Whatever made these models fast, it was not a saving of
# FLOPs alone.
#
# The paper's second complaint about cheap attention was *overhead in practice*: fewer FLOPs, and still not faster. Is FLASH the exception?
# What we look for is *the crossover*, the length from which FLASH is the cheaper one. But three numbers have that name. One is **counted**,
# and depends on sizes alone. Two are **measured**, against *plain* attention, which writes its T × T matrix to memory, and against a
# *fused* kernel, which computes it tile by tile and never writes it. (The best known one, FlashAttention, appeared three months after
# FLASH.)

# %%
import math

import numpy as np
import torch

from flash_course import drawing, learner, mine
from flash_course.bench.against_length import Settings, make_units, measured_crossover
from flash_course.bench.steps import time_steps
from flash_course.bench.stored import load_stored, timed_runs, times_sooner, update_ratios
from flash_course.learner import predict, reveal
from flash_tutorial import FLASH, GAU, TransformerBlock
from flash_tutorial.training.devices import pick_device, pick_dtype

on_gpu = pick_device().type == "cuda"
dtype_name = str(pick_dtype(pick_device())[0]).removeprefix("torch.")
CPU = Settings(dim=128, qk_dim=64, chunk_size=64, tokens=4096, lengths=(256, 512, 1024, 2048, 4096), rounds=2)
GPU = Settings(device="cuda" if on_gpu else "cpu", dtype=dtype_name)  # D = 256, T = 512 to 32,768
sizes, limit = (GPU, 10e9) if on_gpu else (CPU, 0.31e9)  # bytes that a step may hold at most
torch.set_num_threads(1)
print(f"{sizes.device}, {sizes.dtype}: {sizes.tokens:,} tokens a step, T = {', '.join(map(str, sizes.lengths))}")

# %% [markdown]
# Two questions from memory. In lecture 00 linear attention needed eight times fewer operations than softmax attention. Why was it not
# faster? And which pairs of tokens does FLASH's local part skip?
#
# <details><summary>Answers</summary>
#
# It wrote T states of S × E entries to memory, and computed little with each. And every pair across a chunk's boundary: the sum of earlier
# chunks answers for those.
#
# </details>
#
# ## 2. Count on six tokens
#
# We count what *mixing* costs, everything in a layer where tokens meet. Take six tokens in chunks of C = 2, with D = 4, S = 2 and E = 8. A
# *pair* is a token together with one that it may read.
#
# - **Softmax attention**: token i reads i tokens, so there are 1 + 2 + 3 + 4 + 5 + 6 = 21 pairs. Each costs D for its score, all heads
#   together, and D for the value that is mixed in: 21 × 8 = 168.
# - **A GAU** has the same 21 pairs, at S + E = 10 each: 210.
# - **FLASH, local part**: 1 + 2 = 3 pairs a chunk, so 9 in all, at S + E each: 90.
# - **FLASH, global part**: each token adds S × E = 16 products to a state, and reads the state with 16 more: 6 × 32 = 192. (The
#   first chunk reads nothing and nobody reads the last; we charge both all the same, a little too much for a short text.)
#
# So on six tokens FLASH is the dearest of the three. Its price grows by the token, though, and the others' by the pair.
#
# **Your line.** How many pairs does FLASH's local part have? Each full chunk is a small causal triangle, and so is a shorter last one.


# %%
def pairs(T):
    return T * (T + 1) // 2


def local_pairs(T, C):
    return ...  # your line


learner.your_line("08.a", local_pairs, ((6, 2), 9), ((14, 4), 33), ((3, 4), 6))

# %% [markdown]
# <details><summary>The line</summary>
#
# `return T // C * pairs(C) + pairs(T % C)`
#
# </details>
#
# Then there are the *dense* layers, which cost a token the same at any T: 4 D² + 3 D F in a block whose feed-forward layer is F wide, and 3
# D E + D S in a GAU or in FLASH. Two units stand against one block, because they have about as many parameters.


# %% tags=["nbval-check-output"]
def counted(T, D, S, E, C, F, pairs=pairs):
    """Multiply-adds of one block, two GAUs, two FLASH units: (dense layers, mixing) of each."""
    gated = 2 * T * (3 * D * E + D * S)
    near = (T // C * pairs(C) + pairs(T % C)) * (S + E)
    return {
        "block": (T * (4 * D * D + 3 * D * F), pairs(T) * 2 * D),
        "two GAUs": (gated, 2 * pairs(T) * (S + E)),
        "two FLASH": (gated, 2 * (near + 2 * T * S * E)),
    }


print(
    "six tokens, mixing: one block, two GAUs, two FLASH:", [mixing for _, mixing in counted(6, 4, 2, 8, 2, 12).values()]
)
block = TransformerBlock(8, heads=2, rope=True, glu=True, ff_dim=24, causal=True)
sides = block, GAU(8, qk_dim=4, causal=True), FLASH(8, qk_dim=4, chunk_size=4, causal=True)
for T in (6, 14, 64):  # 14 is three full chunks and a tail of two
    by_package = [n * count_multiply_adds(side, T) for n, side in zip((1, 2, 2), sides)]
    print(f"T = {T:2}: formula", [sum(each) for each in counted(T, 8, 4, 16, 4, 24).values()], "package", by_package)

# %% [markdown]
# The formula and the package agree to the last multiplication. Now the paper's base size: how much of a block is mixing at all?

# %% tags=["nbval-check-output"]
BASE = dict(D=768, S=128, E=1536, C=256, F=2048)
rows = [("T", "mixing's share of a block", "two GAUs / block", "two FLASH / block")]
for T in lengths:
    (dense, mixing), *two_units = counted(T, **BASE).values()
    block = dense + mixing
    rows.append((f"{T:,}", f"{mixing / block:.0%}", *(f"{sum(each) / block:.2f}" for each in two_units)))
print(drawing.text_table(rows))

# %% [markdown]
# At T = 512 even mixing for nothing would save you 5%. Cheap attention cannot win where attention is not the main cost (Amdahl's law).
#
# ## 3. Solve for the crossover
#
# Count for each token, in whole chunks. Two FLASH units cost 2 (3 D E + D S) + (C + 1) (S + E) + 4 S E, and a block costs 4 D² + 3 D F + (T
# + 1) D. Only the very last term knows T, so the crossover is the solution of a linear equation.
#
# **Your line.** Set both equal, and solve for T. `more_dense` is by how much FLASH's dense layers cost more than the block's.


# %%
def crossover_by_me(D, S, E, C, more_dense):
    return ...  # your line


learner.your_line("08.b", crossover_by_me, ((768, 128, 1536, 256, 196_608), 1835.833333), ((8, 4, 16, 4, 0), 43.5))

# %% [markdown]
# <details><summary>The line</summary>
#
# `return (more_dense + (C + 1) * (S + E) + 4 * S * E) / D - 1`: everything that FLASH pays extra, over D. A token of the block reads
# (T + 1) / 2 tokens on average, at 2 D each, which makes (T + 1) D.
#
# </details>


# %% tags=["nbval-check-output"]
def crossover(D, S, E, C, F):
    more_dense = 2 * (3 * D * E + D * S) - (4 * D * D + 3 * D * F)
    return (more_dense + (C + 1) * (S + E) + 4 * S * E) / D - 1


LIVE = dict(D=128, S=64, E=256, C=64, F=TransformerBlock(128, glu=True).ff_dim)  # the CPU preset
STORED = dict(D=256, S=128, E=512, C=256, F=TransformerBlock(256, glu=True).ff_dim)  # flash-tutorial bench
for name, size in {"the paper's base size": BASE, "stored benchmark": STORED, "CPU preset": LIVE}.items():
    print(f"{name:21} {size}: crossover at T = {crossover(**size):.0f}")

# %% [markdown]
# At the paper's size the count promises FLASH an advantage from T = 1836 on. Which letters move that? With E = 2 D and F = 8 D / 3 both
# sides have 12 D² a token in dense layers, and FLASH only 2 D S more, for its base z. The formula becomes short:
#
# $$T = 10\,S + (C + 1)\left(2 + \frac{S}{D}\right) - 1$$
#
# Change one letter at a time.

# %% tags=["nbval-check-output"]
changes = {
    "as it is": {},
    "half the S": {"S": 64},
    "half the C": {"C": 128},
    "twice the D": {"D": 1536, "E": 3072, "F": 4096},
}
for name, change in changes.items():
    print(f"{name:12} T = {crossover(**(BASE | change)):.0f}")

# %% [markdown]
# A wider model leaves the crossover where it was. The shared width S moves it most, because S decides how large the state is: of the 10 S,
# two are for the base, and eight for writing the state and reading it.
#
# ## 4. Misconception 1: fewer FLOPs are faster
#
# Back to the riddle: more arithmetic in less time. What does a Transformer block do besides arithmetic? It makes attention matrices, one
# for each of its H heads. A GAU has one head, and a FLASH unit has one small matrix a chunk.

# %% tags=["nbval-check-output"]
T, H, S, E, C = 8192, 12, BASE["S"], BASE["E"], BASE["C"]
plain_entries = H * T * T
gau_entries = 2 * T * T
flash_entries = 2 * (T // C) * (C * C + S * E)  # with its states
print(f"a plain block at T = {T:,}: {4 * plain_entries / 1e6:,.0f} MB of attention matrices for one sequence, which is")
print(f"{plain_entries / gau_entries:.0f} times two GAUs', {plain_entries / flash_entries:.0f} times two FLASH units'")

# %% [markdown]
# Three gigabytes, written and read again. So here is a suspect: the paper's baseline was waiting for memory. A fused kernel takes that
# away. But it saves two things, for it writes no matrix, and, being causal, it also skips hidden pairs. To tell the two apart we need a
# control.
#
# ## 5. Two implementations of one baseline, and a control
#
# *Plain* is the package's block with its attention written out, as in lecture 01.
#
# **Build `plain_attention`**, causal, with its whole matrix, for heads (B, H, T, d) on any device.


# %%
def plain_attention(q, k, v):
    """Softmax attention of tokens to themselves and earlier ones: q, k and v (B, H, T, d) -> (B, H, T, d)."""
    # BUILD
    T, d = q.shape[-2:]
    scores = q @ k.mT / d**0.5  # (B, H, T, T)
    later = torch.ones(T, T, dtype=torch.bool, device=q.device).triu(1)
    return scores.masked_fill(later, float("-inf")).softmax(-1).to(v.dtype) @ v
    # END


plain_attention = mine.check(plain_attention)

# %%
from flash_tutorial.layers import cos_sin, rope


class PlainBlock(TransformerBlock):
    """Transformer++ as one writes it down: the whole attention matrix lies in memory."""

    def mix(self, q, k, v, mask, segment_ids):
        q, k = (rope(t, *cos_sin(*q.shape[-2:], v)).to(v.dtype) for t in (q, k))
        return plain_attention(q, k, v)


# %% [markdown]
# *Fused* is the package's block as it is. *Unmasked*, the control, has the fused kernel without a mask: it does all pairs and writes no
# matrix. All three have the same weights.

# %% tags=["nbval-check-output"]
torch.manual_seed(0)
options = dict(glu=True, rope=True, norm="scale")
fused = make_units("transformer++", sizes)
plain = PlainBlock(sizes.dim, causal=True, **options).to(sizes.device)
unmasked = TransformerBlock(sizes.dim, causal=False, **options).to(sizes.device)
for block in (plain, unmasked):
    block.load_state_dict(fused[0].state_dict())
models = {
    "FLASH": make_units("flash", sizes),
    "FLASH-Quad": make_units("flash_quad", sizes),
    "Transformer++, plain": torch.nn.Sequential(plain),
    "Transformer++, fused": fused,
    "Transformer++, unmasked": torch.nn.Sequential(unmasked),
}
x = torch.randn(2, 128, sizes.dim).to(sizes.device)
with torch.no_grad():
    for name, block in {"plain": plain, "unmasked": unmasked}.items():
        print(f"{name:8} differs from fused by {(block(x) - fused(x)).norm() / fused(x).norm():.2f} of its norm")

# %% [markdown]
# Plain and fused compute the same function, and the control another one. Torch decides by itself which kernel it runs, so ask its profiler
# before you trust the clock: with `_softmax` in the row *fused* you would compare with plain attention twice.

# %%
import os

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else the profiler writes lines of its own
from torch.profiler import ProfilerActivity, profile

low_precision = torch.autocast(x.device.type, getattr(torch, sizes.dtype), enabled=sizes.dtype != "float32")
for name in list(models)[2:]:
    with low_precision, profile(activities=[ProfilerActivity.CPU]) as seen:
        models[name](x.requires_grad_())
    called = {event.key.removeprefix("aten::") for event in seen.key_averages()}
    kernels = sorted(n for n in called if n[0] == "_" and ("attention" in n or "softmax" in n))
    print(f"{name}: {', '.join(kernels)}")

# %% [markdown]
# ## 6. Measure a training step
#
# A *training step* of the units is timed, forward and backward. Every step has the same number of tokens: when T doubles, the batch halves.
# All models and lengths take turns, so that a slow moment hits all of them, and each number is a median.
#
# **Your first guess.** The counted crossover of the CPU preset is T = 794, that of the GPU preset 1906. From which T on do two FLASH units
# take less time than a block with *fused* attention, on your machine?

# %%
my_guess = None  # your number here
predict("08.c", my_guess)

# %% tags=["timing"]
timed = time_steps(models, sizes, limit)
print(f"{sizes.tokens:,} tokens a step, D = {sizes.dim}, S = {sizes.qk_dim}, C = {sizes.chunk_size}")
print(drawing.text_table(timed.table()))
print(f"the {sizes.rounds} rounds of one step differ by up to {timed.rounds_differ_by():.0%}")

# %% tags=["timing"]
live = STORED if on_gpu else LIVE
shown = {name: timed.a_token(name) for name in list(models)[:4]}
where = {f"measured, {kind}": timed.crossover(f"Transformer++, {kind}", "FLASH") for kind in ("plain", "fused")}
where["counted"] = crossover(**live)
if where["measured, fused"]:  # else there is none between these lengths
    reveal("08.c", round(where["measured, fused"], -2), "tokens, to a hundred")
machine = f"this machine ({torch.cuda.get_device_name() if on_gpu else 'CPU, 1 thread'}), D = {sizes.dim}"
title = "All that compare every pair climb steeply with T, FLASH does not"
drawing.show(*drawing.cost_against_length({machine: (shown, where)}, ylabel="microseconds a token", title=title))

# %% [markdown]
# The vertical lines are the answer to your guess, and there are three of them. The plain baseline crosses first: against it FLASH looks
# best. Is that memory traffic? The control takes the plain block's loss apart.

# %% tags=["timing"]
why = {"unmasked": "the hidden pairs cost", "plain": "to write, mask and read the matrix costs"}
for before, after in (("fused", "unmasked"), ("unmasked", "plain")):
    steps = timed.ratios(f"Transformer++, {after}", f"Transformer++, {before}")
    print(f"{why[after]:41}", "  ".join(f"{T:,}: {ratio:.2f}" for T, ratio in steps))

# %% [markdown]
# Multiply the two rows and you have plain over fused. On our CPU both rows rise well above 1. Most of the plain block's loss is the matrix, which is
# written, masked and read again; the rest is the hidden pairs, which it computes and throws away.
#
# ## 7. Memory
#
# A training step keeps what the backward pass will need. At a constant number of tokens only attention matrices can grow with T. How many
# does a step hold? Double T, and see by how many matrices the peak grows.

# %% tags=["nbval-check-output"]
longer_T = [T for T, peak in timed.peaks["Transformer++, plain"].items() if peak][-2:]
a_matrix = 4 * sizes.tokens * (longer_T[1] - longer_T[0]) * fused[0].heads  # B H T T = tokens x H x T entries
for name in ("Transformer++, plain", "Transformer++, fused", "FLASH"):
    growth = timed.peaks[name][longer_T[1]] - timed.peaks[name][longer_T[0]]
    print(f"{name:21} T x T matrices of all heads held at the peak: {abs(round(growth / a_matrix))}", end=", ")
    print(f"{timed.peaks[name][sizes.lengths[0]] / 1e6:.0f} MB at T = {sizes.lengths[0]}")

# %% [markdown]
# FLASH and the fused block hold none. But FLASH has states and chunks to keep, and its gate and values are twice as wide as the model, so
# at the shortest T it holds more than both.
#
# **Your second guess.** In the benchmark that comes with the package (D = 256, 32,768 tokens a step), how much does a block with *fused*
# attention hold at T = 32,768, as a multiple of what two FLASH units hold?

# %%
my_second_guess = None  # your number here
predict("08.d", my_second_guess)

# %%
benchmark = load_stored("bench_cpu")
held = {(row["model"], row["T"]): row["peak_bytes"] for row in benchmark["training"]}
reveal("08.d", round(held["transformer++", 32_768] / held["flash", 32_768], 2), "times as much")
for model in ("flash", "transformer++"):
    print(f"{model:13}", *(f"T = {T:,}: {held[model, T] / 1e9:.2f} GB" for T in (512, 32_768)), sep="  ")

# %% [markdown]
# *Less*, also at T = 32,768. Fused attention took the T² out of memory, though not out of time. So in training FLASH saves memory against a
# plain baseline once T is long enough, and costs memory against a fused one.
#
# ## 8. Misconception 2: linear means faster at my length
#
# "Linear" says how a cost *grows*, and nothing of how large it is. A cost that grows as a Tᵇ is a line in logarithms: log cost = log a + b log T, and
# b is its slope. *Least squares* gives that line. With x = log T and y = log cost, both taken less their means, the slope is the sum of x y over
# the sum of x², and the line goes through the means.
#
# **Build the fit.**


# %%
def power_law(lengths, costs):
    """(a, b) so that a T^b is nearest to the costs, by least squares between the logs."""
    # BUILD
    x, y = np.log(lengths), np.log(costs)
    dx, dy = x - x.mean(), y - y.mean()
    b = (dx * dy).sum() / (dx**2).sum()
    a = np.exp(y.mean() - b * x.mean())
    return a, b
    # END


power_law = mine.check(power_law)

# %% tags=["nbval-check-output"]
end = benchmark["conclusions"]
for model in ("flash", "flash_quad", "transformer++"):
    steps = [row for row in benchmark["training"] if row["model"] == model and row["seconds"]]
    of_T = [row["T"] for row in steps]
    a_sequence = [row["seconds"]["median"] / row["batch"] for row in steps]
    ends = slice(None), slice(3), slice(-3, None)
    whole, short, long = (power_law(of_T[some], a_sequence[some])[1] for some in ends)
    print(f"{model:13} grows like T to the power of {whole:.2f}, to {max(of_T):6,}; ", end="")
    print(f"the three shortest {short:.2f}, the three longest {long:.2f}")
rows = [("T", "block / FLASH, counted", "measured, fused")]
rows += [(f"{s['T']:,}", f"{s['counted']:.2f}", f"{s['measured']:.2f}") for s in end["speedups"]]
print(drawing.text_table(rows))
print(f"FLASH at {end['constant_tokens']['long']:,} over {end['constant_tokens']['short']:,}:", end=" ")
print(f"{end['constant_tokens']['ratio']:.2f} times the time a token")

# %% [markdown]
# The time of a block is a T + b T², which is no power: its exponent climbs towards 2, and one number for all lengths is a mean over those that
# were fitted. FLASH's stays at 1. It keeps its promise: a token costs the same at 32,768 as at 1,024, but for 7%. (The first chunk of a sequence
# reads no earlier one; at 1,024 that is one chunk of four, and most of the 7%.) And yet at 512 and at 1,024 the linear model is the slower one. So ask *at which length do I
# train?*
#
# From 1,024 on the measured column follows the counted one within a tenth: on the machine of the stored benchmark, at D = 256, fewer FLOPs *are* less
# time. At the narrow D = 128 of section 6 they were not: compare the counted line there with the fused one.
#
# ## 9. The paper's tables beside yours
#
# The paper times training steps in four tables: Table 11 (C4, masked) and Table 12 (Wiki-40B, causal) with 110 million parameters and Table
# 3 (PG-19, causal) with 500 million, all on 64 TPU-v4 cores, and Table 10 on a single V100. Figure 5 and Figure 6 draw the first two. Where
# does each of them cross 1?
#
# **Build the answer.** Between two lengths take a straight line in log T and log ratio. If the ratio is r < 1 at the one and r' ≥ 1 at the other, the line
# has covered the share log r / (log r - log r') of the way when it meets 1.


# %%
def crossing(lengths, ratios):
    """The T at which a ratio first rises through 1, on straight lines in log T and log ratio; None if it never does."""
    # BUILD
    for i in range(len(lengths) - 1):
        low, high = ratios[i], ratios[i + 1]
        if low < 1 <= high:
            share = math.log(low) / (math.log(low) - math.log(high))
            return round(lengths[i] * (lengths[i + 1] / lengths[i]) ** share)
    return None
    # END


crossing = mine.check(crossing)

# %% tags=["nbval-check-output"]
PAPER = {
    "Table 11": (lengths[:5], (47.6, 64.6, 91.6, 143.4, 252.1), (51.2, 50.1, 51.4, 50.7, 59.9)),
    "Table 12": (lengths[:5], table_12["transformer++"], table_12["flash"]),
    "Table 3": (lengths[1:5], (292, 441, 712, 1272), (234, 237, 234, 250)),
    "Table 10, V100": (lengths[:3], (222.4, 243.9, 315.0), (254.4, 235.0, 242.8)),
}
curves = {name: [(T, a / b) for T, a, b in zip(*table)] for name, table in PAPER.items()}
for name, points in curves.items():
    yours, theirs = crossing(*zip(*points)), measured_crossover([dict(T=T, measured=r) for T, r in points])
    print(
        f"{name:15} from {points[0][1]:.2f} to {points[-1][1]:.2f} | crossover",
        yours or "below the first length",
        end="",
    )
    print(f", the package's {theirs}" if theirs else "")

# %% tags=["timing"]
curves["stored, fused"] = [(s["T"], s["measured"]) for s in end["speedups"]]
for kind in ("fused", "plain"):
    curves[f"yours, {kind}"] = timed.ratios(f"Transformer++, {kind}", "FLASH")
title = "Transformer++'s time over FLASH's: where FLASH wins depends on the comparison"
label = "T, tokens in a sequence (blue: FLASH is faster; hatched: FLASH is slower)"
drawing.show(*drawing.wins_by_length(curves, xlabel=label, title=title))

# %% [markdown]
# Read it by rows. At 1,024 the paper's are blue, and the stored one, against a fused block, is not. At T = 512 FLASH loses in each of the paper's
# tables that has this length, and against a fused block. How
# its Transformers compute attention the paper does not say.
#
# ## 10. What the paper's headlines mean
#
# The best known numbers of the paper are no step times. A *speed-up* there is a ratio of training costs to reach the baseline's final
# quality (Figure 1), so each headline is a product: how much faster a step is, times how many fewer steps are needed.

# %% tags=["nbval-check-output"]
headlines = {  # speed-up, the baseline's ms, FLASH's ms, all at T = 8192
    "4.9 over Transformer++ (Wiki-40B)": (4.9, 261.0, 62.5),
    "25.6 over Transformer (Wiki-40B)": (25.6, 260.7, 62.5),
    "12.1 over Transformer+ (PG-19)": (12.12, 1292, 250),
}
print(f"{'headline':34}  = step time x number of steps")
for name, (speedup, baseline, flash) in headlines.items():
    print(f"{name:34} {baseline / flash:11.1f} x {speedup / (baseline / flash):.1f}")

# %% [markdown]
# A step is four to five times as fast; the rest is about quality. Two headlines need a second look. The abstract names Transformer++ as the
# baseline of the 12.1, but the table compares with Transformer+: against Transformer++ 10 remains. And the baseline of the 25.6 is the only
# one that was trained without gradient clipping.
#
# **Your third guess.** We ran such a race on one CPU core: ten minutes for each model at T = 2048, where an update of Transformer++ takes
# 1.5 times as long as one of FLASH. How many times sooner does FLASH reach the score at which Transformer++ ends?

# %%
my_third_guess = None  # your number here
predict("08.e", my_third_guess)

# %% tags=["nbval-check-output"]
for T in (512, 2048):
    sooner = np.mean(times_sooner(T))
    a_step = update_ratios(T)[0]
    ends = {name: np.mean([run["bits_per_byte"] for run in timed_runs(T)[name]]) for name in ("flash", "transformer++")}
    print(
        f"T = {T}: {sooner:.1f} times sooner = {a_step:.1f} by the step x {sooner / a_step:.1f} by the steps needed;",
        end=" ",
    )
    print(f"ends at {ends['flash']:.2f} bits per byte against {ends['transformer++']:.2f}")
reveal("08.e", round(float(np.mean(times_sooner(2048))), 1), "times sooner")

# %% [markdown]
# FLASH ends ahead at both lengths. But compare across the two lines: with windows of 512 Transformer++ ends where FLASH does with 2,048. On
# these novels hardly anything is gained by the longer window, so the race at 2,048 timed context that is worth next to nothing. [The whole
# race](../docs/results.md#time_to_quality) is on the results page.
#
# ## 11. Why chunks of 256?
#
# The chunk length C belongs to the model, and it has a price. Lecture 05 counts whole C × C squares, as PyTorch multiplies them: near and far then
# cost the same at C = 2 S E / (S + E), 236 at the paper's base size, where the paper takes 256, and 102 at the sizes below. But the sum of the two
# only rises with C. Is the shortest chunk the fastest, then? Here is the time of a step at T = 2048, chunk by chunk.

# %% tags=["timing"]
from dataclasses import replace

chunks = [2**n for n in range(3, 11)]  # 8 to 1024
shorter = dict(lengths=(2048,), unit_length=2048, tokens=sizes.tokens // 2)
one_length = replace(sizes, dim=LIVE["D"], qk_dim=LIVE["S"], **shorter)
by_C = {C: make_units("flash", replace(one_length, chunk_size=C)) for C in chunks}
of_chunks = time_steps(by_C, one_length, limit)
ms = [of_chunks.milliseconds(C)[0][1] for C in chunks]

# %% tags=["timing"]
title = f"Chunks can be too short and too long: the least time is at C = {chunks[int(np.argmin(ms))]}"
figure, axes = drawing.new_axes(6.4, 3.3, "C, tokens in a chunk", "milliseconds a step", title)
drawing.lines(axes, {"FLASH": (chunks, ms)})
axes.axvline(2 * 64 * 256 / (64 + 256), color="black", linestyle=":", label="near and far balanced: C = 102")
drawing.powers_of_two(axes, chunks)
axes.set_ylim(bottom=0)
drawing.legend_below(figure, *axes.get_legend_handles_labels())
drawing.show(figure, f"Line plot of the time of a step at T = 2048: {drawing.in_words(axes, x='C = {:,}')}.")

# %% [markdown]
# The least lies in the middle, and the floor around it is wide. By multiply-adds alone C = 8 would win, but it makes 256 little products,
# and a state for each.
#
# What does a longer chunk *buy*? The paper's Figure 8 says that long contexts are better served by a larger C. Here is a small FLASH,
# trained anew at each C on sequences of 1,024 bytes.

# %% tags=["nbval-check-output"]
by_chunk = {}
for run in load_stored("chunk_length")["runs"]:
    by_chunk.setdefault(run["chunk_size"], []).append(run["bits_per_byte"])
for C, scores in by_chunk.items():
    print(f"C = {C:5,}: {np.mean(scores):.2f} bits per byte")

# %% [markdown]
# Three seeds tell only 32 from 128, and barely, and between the others a tenth of a bit could hide. So what is left to choose by is the clock.
#
# ## 12. How a benchmark flatters
#
# To make FLASH look good you need not lie. Take a plain baseline, though one would train with a fused kernel. Or leave out the dense
# layers, which both sides pay. Or set one unit against one block, which has twice the parameters. Or count hidden pairs for the baseline.
# Or show the longest T, and not where the curve crosses 1. Each arrow leads from a fair answer to what one of these reports, at T = 4096 but for
# the first. Rows 2 to 4 are counts at both ends; what the clock says there stands in section 9.


# %% tags=["timing"]
def all_pairs(T):
    return T * T


at_4096, hidden_too = counted(4096, **LIVE), counted(4096, **LIVE, pairs=all_pairs)
flash = sum(at_4096["two FLASH"])
by_count, by_T = sum(at_4096["block"]) / flash, {s["T"]: s["measured"] for s in end["speedups"]}
longest, plain_there = curves["yours, plain"][-1]  # the longest T that fits with a plain baseline
choices = {
    f"1 the baseline is plain\n(measured here, T = {longest:,})": (dict(curves["yours, fused"])[longest], plain_there),
    "2 only the attention\n(counted)": (by_count, at_4096["block"][1] / at_4096["two FLASH"][1]),
    "3 one unit against one block\n(counted)": (by_count, 2 * by_count),
    "4 hidden pairs for the baseline\n(counted)": (by_count, sum(hidden_too["block"]) / flash),
    "5 only the longest T\n(stored)": (by_T[4096], by_T[32_768]),
}
title = "Five choices, and how far each moves the answer"
label = "speed-up of FLASH (logarithmic)"
drawing.show(*drawing.moved_answers(choices, ("honest", "reported"), xlabel=label, title=title))

# %% [markdown]
# Turn it round, and FLASH looks bad: take narrow models, and T = 512 only. An honest benchmark names its length, its baseline and its
# sizes, and shows where the curves cross.
#
# ## 13. An honest answer to complaint two
#
# *Fewer FLOPs, and still not faster.* How much of a step is no matrix product at all? The stored benchmark timed each model's products
# alone. That is its *floor*, and what a step takes above the floor is overhead.

# %% tags=["nbval-check-output"]
rows = [("T", "FLASH / its floor", "fused block / its floor")]
for s in end["speedups"]:
    rows.append((f"{s['T']:,}", f"{s['flash_over_floor']:.2f}", f"{s['transformer_over_floor']:.2f}"))
print(drawing.text_table(rows))

# %% [markdown]
# FLASH's overhead is about a seventh of its products, at every length. So **at this width, in float32, a CPU has little overhead**, but **the
# saving comes late**, from about 2,000 tokens on at these sizes, and **a plain baseline makes it come early**. Make the products cheaper, by
# bfloat16 on a processor with units for it, and the overhead is what remains: there a compiler takes a third off FLASH's update
# ([compiling](../docs/results.md#compiling)).
#
# A GPU multiplies so much faster than it reads memory that bytes decide there. Lecture 11 counts them, and predicts that FLASH as PyTorch
# computes it overtakes fused attention on an H100 only near 10,000 tokens.
#
# ## How we know
#
# - *Your measurements*: one pair of layers, two rounds; a crossover is worth no more than the spread of the rounds below the table.
# - *The stored benchmark*: one CPU (AMD EPYC, two threads, float32, D = 256), medians of seven rounds ([speed](../docs/results.md#speed)). FLASH was
#   the slower one at 1,024 in every round, and the faster one at 2,048. No GPU was measured for this course.
# - *The race of ten minutes*: three seeds, of which the first also chose the rate; behind ± half of a 95% interval (lecture 10); 0.46 million parameters. FLASH minus Transformer++ is
#   <!-- number: time_to_quality.flash_minus_transformer_512 -->-0.026 ± 0.022<!-- /number --> bits at 512 and <!-- number: time_to_quality.flash_minus_transformer_2048 -->-0.108 ± 0.028<!-- /number --> at 2,048, by the clock of one machine; on an Intel Xeon Transformer++ has more updates
#   ([compiling](../docs/results.md#compiling)). All began from the paper's start, with which small models do worse on average
#   ([starts](../docs/results.md#starts)); after equal updates the lead is open ([parts](../docs/results.md#parts)).
# - *Quality by chunk length*: three seeds of 1,000 updates at the rate of C = 128. Scores are divided by 128 at every C, so only the length changes. C = 32 minus 128 is <!-- number: chunk_length.short -->+0.063 ± 0.056<!-- /number -->; the other intervals contain
#   zero, and if all nine have to hold it does too ([chunk_length](../docs/results.md#chunk_length)).
#
# ## What to remember
#
# Fill in the last column yourself (`learner.verdict`).
#
# | claim | your evidence | your verdict |
# | --- | --- | --- |
# | The crossover is at T = 1836 at the base size | section 3 | |
# | Fewer FLOPs are faster | sections 1, 8, 11 | |
# | FLASH is faster than Transformer++ | sections 6 and 8 | |
# | A plain baseline is slow because it has the matrix | section 6 | |
# | FLASH saves memory in training | section 7 | |
# | There is no overhead in practice | section 13 | |
#
# **Three takeaways**
# 1. There is no single crossover: one is counted, one is against plain attention, one against fused. Say which, and on what machine.
# 2. Count multiply-adds *and* memory traffic; then measure a whole step, with the same tokens, in turn.
# 3. Only a control tells which of the two it was.
#
# **Exercises** [Problem set 08](../exercises/08_set_scaling.ipynb), six tasks: count, predict crossovers, write a fair timer, and mend a
# benchmark that flatters.
#
# **Next** [Lecture 09](09_generation.ipynb) lets the model write, with a state of constant size.
