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
# [With results](08_scaling.ipynb) · [without, to work in](work/08_scaling.ipynb) · [problem set 08](../exercises/08_scaling.ipynb) · [glossary](../docs/glossary.md)
#
# The paper has a model that does more arithmetic than a Transformer at every length, and yet at 8,192 tokens takes little more than half
# its time. How can that be? First you count, then you measure, and then you set the paper's tables beside your own curve.
#
# **After this lecture you can**
# - count the multiply-adds of a Transformer++ block, of two GAUs and of two FLASH units, for every T;
# - solve for the length where two of them are equal, and say which letters move it;
# - time a training step so that the ratio can be believed, and name the kernel that computed the attention;
# - say what each model keeps in memory, and predict a peak before you run it;
# - read the paper's tables of step times, and say what they leave open;
# - find the choices in a benchmark that flatter one side.
#
# **You need** lecture 05 (mixed chunk attention) and section 5 of lecture 01 (what attention costs).
#
# **Time** 43 minutes to read. Running the code takes about 40 seconds on two CPU cores. Sections 1 to 9 and 13 are one sitting, and sections
# 10 to 12 can wait for another day.
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
# ## 1. More arithmetic, and half the time
#
# Below are milliseconds of a training step on 64 TPU cores, from the paper's Table 12, for Transformer++, for FLASH-Quad (a stack of
# GAUs) and for FLASH. The cell prints what the last two take as a multiple of Transformer++: first the arithmetic, which we count for the
# whole models, then the time. A *multiply-add* is a multiplication with the addition that follows it, so two FLOPs. We count twice: only the
# pairs of tokens that a causal model may see, and then *all pairs*, because much code multiplies the hidden ones too and throws them away.

# %% tags=["nbval-check-output"]
from dataclasses import replace

from flash_course.bench.counts import count_multiply_adds
from flash_tutorial import ModelConfig

lengths = (512, 1024, 2048, 4096, 8192, 16_384, 32_768)
table_12 = {"transformer++": (54.7, 70.9, 96.6, 149.2, 261.0), "flash_quad": (54.1, 59.5, 71.3, 96.1, 141.3),
            "flash": (57.2, 56.9, 56.7, 57.0, 62.5)}  # fmt: skip
configs = {name: ModelConfig.paper("wiki40b", name) for name in table_12}
adds, adds_all = (  # without "causal" no pair is hidden, so all are counted
    {name: [count_multiply_adds(replace(c, causal=causal), T) for T in lengths[:5]] for name, c in configs.items()}
    for causal in (True, False)
)
for name in ("flash_quad", "flash"):
    print(f"{name} / transformer++, by T")
    for what, table in (("multiply-adds", adds), ("of all pairs", adds_all), ("milliseconds", table_12)):
        ratio = [a / b for a, b in zip(table[name], table["transformer++"])]
        print(f"  {what:14}", "  ".join(f"{T}: {r:.2f}" for T, r in zip(lengths, ratio)))
assert all(quad > block for quad, block in zip(adds["flash_quad"], adds["transformer++"]))

# %% [markdown]
# Look at FLASH-Quad first. By either count it is the more expensive model at every length; at T = 8192 it does 1.49 times the
# arithmetic, or 1.69 times with all pairs, and yet its step takes 54% of the time. FLASH does 68% of the arithmetic there, or half of it
# with all pairs, in 24% of the time. So whatever the paper's speed-up is, it is not a saving of FLOPs alone.
#
# The paper's second complaint about cheap kinds of attention was *overhead in practice*: fewer FLOPs, and still not faster. Is FLASH the
# exception? Three numbers will tell, and all are called *the crossover*, the length from which FLASH is the cheaper one:
#
# | | how you get it | what it depends on |
# | --- | --- | --- |
# | counted crossover | from a formula | sizes only |
# | measured crossover against *plain* attention | with a clock | sizes, machine, kernels |
# | measured crossover against *fused* attention | with a clock | sizes, machine, kernels |
#
# *Plain* attention writes its T × T attention matrix to memory. A *fused* kernel computes the matrix piece by piece and never writes
# it, with the same result. FLASH appeared in February 2022, and FlashAttention, the best known fused kernel, in May 2022, so the paper's
# baseline is probably the plain one.

# %%
import numpy as np
import torch

from flash_course import drawing, learner
from flash_course.bench.against_length import Settings, make_units, measured_crossover, steady_processor, training_step
from flash_course.bench.clock import peak_bytes, summary, time_in_turn, time_to_reach
from flash_course.bench.stored import (
    leads_at_equal_updates,
    load_stored,
    timed_lines,
    timed_runs,
    times_sooner,
    update_ratios,
)
from flash_course.learner import predict, reveal
from flash_tutorial import FLASH, GAU, TransformerBlock
from flash_tutorial.experiments import welch
from flash_tutorial.training.devices import pick_device, pick_dtype

on_gpu = pick_device().type == "cuda"
half = str(pick_dtype(pick_device())[0]).removeprefix("torch.")
CPU = Settings(dim=128, qk_dim=64, chunk_size=64, tokens=4096, lengths=(256, 512, 1024, 2048, 4096), rounds=3)
GPU = Settings(device="cuda" if on_gpu else "cpu", dtype=half)  # D = 256, T = 512 to 32,768
sizes, limit = (GPU, 10e9) if on_gpu else (CPU, 2e9)  # bytes that a step may hold at most
torch.set_num_threads(1)
print(f"{sizes.device}, {sizes.dtype}: {sizes.tokens:,} tokens a step, T = {', '.join(map(str, sizes.lengths))}")

# %% [markdown]
# A question from an earlier lecture. Answer from memory, then open the answer.
#
# In lecture 00, linear attention needed eight times fewer operations than softmax attention. Why was it not faster?
#
# <details><summary>Answer</summary>
#
# It made T states of S × E entries each, which are written to memory and read again while little is computed with each entry. (On a CPU much of
# the rest was the order in which torch's running sum walks through memory, see lecture 04.)
#
# </details>
#
# ## 2. Count on six tokens
#
# We count what *mixing* costs, that is, everything in a layer where tokens meet. Take six tokens in chunks of C = 2, and small widths: D = 4 for
# the model, S = 2 for queries and keys, E = 8 for the expanded values. Only visible pairs count: a token together with one that it may read.
#
# - In a block with softmax attention token i reads i tokens, so there are 1 + 2 + 3 + 4 + 5 + 6 = 21 pairs. A pair costs D for its
#   score (all attention heads together) and D for the value that is mixed in: 21 × 8 = 168.
# - A GAU has the same 21 pairs, and a pair costs S + E = 10, which makes 210.
# - FLASH's local part has 1 + 2 = 3 pairs in each chunk, so 9 in all, at S + E each: 90.
# - FLASH's global part adds S × E = 16 products to a state for each token, and reads the state with 16 more: 6 × 32 = 192.
#
# FLASH's 90 + 192 = 282 is the largest of all three, so nothing is gained on a short sequence. For long ones we need a formula: a full
# causal matrix has T (T + 1) / 2 pairs.
#
# **Your line.** How many pairs does FLASH's local part have? Each full chunk is a small causal matrix, and so is a shorter last one.


# %%
def pairs(T):
    return T * (T + 1) // 2


def local_pairs(T, C):
    return ...  # your line


learner.your_line("08.c", local_pairs, ((6, 2), 9), ((14, 4), 33), ((3, 4), 6))

# %% [markdown]
# <details><summary>The line</summary>
#
# `return T // C * pairs(C) + pairs(T % C)`
#
# </details>
#
# Added to this are the *dense* layers, whose cost for a token does not depend on T: 4 D² + 3 D F in a block whose feed-forward layer
# is F wide, and 3 D E + D S in a GAU or in FLASH. Two units stand against one block, because they have about as many
# parameters (lecture 02).


# %% tags=["nbval-check-output"]
def all_pairs(T):
    return T * T


def counted(T, D, S, E, C, F, pairs=pairs):
    """Multiply-adds of one block, two GAUs, two FLASH units: (dense layers, mixing) of each."""
    gated = 2 * T * (3 * D * E + D * S)
    near = (T // C * pairs(C) + pairs(T % C)) * (S + E)
    return {
        "block": (T * (4 * D * D + 3 * D * F), pairs(T) * 2 * D),
        "two GAUs": (gated, 2 * pairs(T) * (S + E)),
        "two FLASH": (gated, 2 * (near + 2 * T * S * E)),
    }


assert [mixing for _, mixing in counted(6, 4, 2, 8, 2, 12).values()] == [168, 2 * 210, 2 * (90 + 192)]  # by hand
D, S, E, C, F = 8, 4, 16, 4, 24
block = TransformerBlock(D, heads=2, ff_dim=F, glu=True, rope=True, causal=True)
units = block, GAU(D, qk_dim=S, causal=True), FLASH(D, qk_dim=S, chunk_size=C, causal=True)
for T in (6, 14, 64):  # 14 is three full chunks and a tail of two
    by_formula = [sum(c) for c in counted(T, D, S, E, C, F).values()]
    assert [n * count_multiply_adds(unit, T) for n, unit in zip((1, 2, 2), units)] == by_formula
print("formula = package for three models at T = 6, 14 and 64: 9 checks passed")

# %% [markdown]
# Now the paper's base size: how much of a block is mixing, and what do the other two cost?

# %% tags=["nbval-check-output"]
BASE = dict(D=768, S=128, E=1536, C=256, F=2048)
print("    T   mixing's share of a block   two GAUs / block   two FLASH / block")
for T in lengths:
    (dense, mixing), *two_units = counted(T, **BASE).values()
    over = [sum(parts) / (dense + mixing) for parts in two_units]
    print(f"{T:6,} {mixing / (dense + mixing):18.0%} {over[0]:22.2f} {over[1]:18.2f}")

# %% [markdown]
# (Section 1 counted whole models with their output layer, hence 1.49 there and 1.56 here.) At T = 512 mixing is a twentieth of a block, so
# even mixing for nothing would save no more than 5%. Cheap attention cannot win where attention is not the main cost (this is Amdahl's
# law).
#
# ## 3. Solve for the crossover
#
# Count for each token, in whole chunks. Two FLASH units cost 2 (3 D E + D S) + (C + 1) (S + E) + 4 S E, and a block costs
# 4 D² + 3 D F + (T + 1) D. Only the last term depends on T, so the crossover is the solution of a linear equation.
#
# **Your line.** Set both equal, and solve for T. `more_dense` is by how much FLASH's dense layers cost more than the block's.


# %%
def crossover_by_me(D, S, E, C, more_dense):
    return ...  # your line


learner.your_line("08.d", crossover_by_me, ((768, 128, 1536, 256, 196_608), 1835.833333), ((8, 4, 16, 4, 0), 43.5))

# %% [markdown]
# <details><summary>The line</summary>
#
# `return (more_dense + (C + 1) * (S + E) + 4 * S * E) / D - 1`: everything that FLASH pays extra, over D. (A token of the block reads (T +
# 1) / 2 tokens on average, at 2 D each, which makes (T + 1) D.)
#
# </details>


# %% tags=["nbval-check-output"]
def crossover(D, S, E, C, F):
    more_dense = 2 * (3 * D * E + D * S) - (4 * D * D + 3 * D * F)
    return (more_dense + (C + 1) * (S + E) + 4 * S * E) / D - 1


LIVE = dict(D=128, S=64, E=256, C=64, F=344)  # the CPU preset
STORED = dict(D=256, S=128, E=512, C=256, F=688)  # flash-tutorial bench
for name, size in {"paper's base size": BASE, "stored benchmark": STORED, "CPU preset": LIVE}.items():
    assert TransformerBlock(size["D"], glu=True).ff_dim == size["F"]
    T = crossover(**size)
    for chunks in (int(T / size["C"]), int(T / size["C"]) + 1):  # one whole number of chunks below, one above
        c = counted(chunks * size["C"], **size)
        assert (sum(c["two FLASH"]) < sum(c["block"])) == (chunks * size["C"] > T)
    print(f"{name:17} D = {size['D']}, S = {size['S']}, C = {size['C']}: counted crossover T = {T:.1f}")

# %% [markdown]
# At the paper's size the count promises FLASH an advantage from T = 1836 on. Which letters move that? With E = 2 D and
# F = 8 D / 3 both sides have 12 D² in their dense layers, which cancel, and the formula becomes short:
#
# $$T = 10\,S + (C + 1)\left(2 + \frac{S}{D}\right) - 1$$
#
# Of the 10 S, two come from the shared base and eight from writing and reading the state. Change one letter at a time.

# %% tags=["nbval-check-output"]
short = 10 * 128 + 257 * (2 + 128 / 768) - 1
assert np.isclose(short, crossover(**BASE))
changes = {"as it is": {}, "half the S": {"S": 64}, "half the C": {"C": 128},
           "twice the D": {"D": 1536, "E": 3072, "F": 4096}}  # fmt: skip
for name, change in changes.items():
    print(f"{name:12} T = {crossover(**(BASE | change)):6.1f}")

# %% [markdown]
# A wider model hardly moves the crossover. The shared width S moves it most, because it decides how large the state is.
#
# ## 4. Misconception 1: fewer FLOPs are faster
#
# Back to FLASH-Quad, which does more arithmetic in less time. What does a Transformer block do besides arithmetic? It makes attention
# matrices.

# %% tags=["nbval-check-output"]
T, H, (S, E, C) = 8192, 12, (BASE[letter] for letter in "SEC")  # H attention heads
plain, two_gaus, two_flash = H * T * T, 2 * T * T, 2 * (T // C) * (C * C + S * E)  # entries, FLASH's with its states
print(f"attention matrices of a plain block: {4 * plain / 1e6:,.0f} MB in float32 for one sequence, which is")
print(f"{plain / two_gaus:.0f} times two GAUs', and {plain / two_flash:.0f} times two FLASH units', states included")

# %% [markdown]
# A plain block writes all of that to memory and reads it again. So here is a suspect: the paper's baseline was waiting for memory. On your
# machine you can measure how much of the advantage a fused kernel takes away, and by which of its two savings: it writes no matrix, and,
# being causal, it skips hidden pairs.
#
# ## 5. Two implementations of the same baseline, and a control
#
# *Plain* is the package's block with its attention written out. *Unmasked* has the fused kernel without a mask: it does all pairs and writes
# *no* matrix. That is a different function, and here it is only a control.

# %% tags=["nbval-check-output"]
from flash_tutorial.layers import cos_sin, rope


class PlainBlock(TransformerBlock):
    """Transformer++ as one writes it down: the whole attention matrix lies in memory."""

    def mix(self, q, k, v, mask, segment_ids):
        T, width = q.shape[-2:]
        q, k = (rope(t, *cos_sin(T, width, v)).to(v.dtype) for t in (q, k))
        scores = q @ k.mT / width**0.5  # (B, H, T, T)
        later = torch.ones(T, T, dtype=torch.bool, device=q.device).triu(1)
        return scores.masked_fill(later, float("-inf")).softmax(-1).to(v.dtype) @ v


models = {"FLASH": make_units("flash", sizes), "FLASH-Quad": make_units("flash_quad", sizes)}
fused = make_units("transformer++", sizes)
plain = PlainBlock(sizes.dim, glu=True, rope=True, causal=True, norm="scale").to(sizes.device)
unmasked = TransformerBlock(sizes.dim, glu=True, rope=True, causal=False, norm="scale").to(sizes.device)
for block in (plain, unmasked):
    block.load_state_dict(fused[0].state_dict())
models |= {"Transformer++, plain": torch.nn.Sequential(plain), "Transformer++, fused": fused}
models[control := "Transformer++, unmasked"] = torch.nn.Sequential(unmasked)
x = torch.randn(2, 128, sizes.dim).to(sizes.device)
with torch.no_grad():
    assert (plain(x) - fused(x)).norm() < 1e-4 * fused(x).norm()
parameters = [sum(p.numel() for p in model.parameters()) for model in models.values()]
most = max(parameters) / min(parameters) - 1
assert most < 0.1
print(f"plain and fused give the same outputs; parameters differ by {most:.0%} at most")

# %% [markdown]
# Torch decides by itself which kernel computes `scaled_dot_product_attention`, so ask its profiler: if the last two lines showed
# `_softmax`, the comparison would be one with plain attention.

# %%
import os

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else the profiler writes lines of its own
from torch.profiler import ProfilerActivity, profile

half = torch.autocast(x.device.type, getattr(torch, sizes.dtype), enabled=sizes.dtype != "float32")
for name in ("Transformer++, plain", "Transformer++, fused", control):
    with half, profile(activities=[ProfilerActivity.CPU]) as seen:
        models[name](x.requires_grad_())
    run = {event.key.removeprefix("aten::") for event in seen.key_averages()}
    found = sorted(n for n in run if n[0] == "_" and ("attention" in n or "softmax" in n))
    print(f"{name}: {', '.join(found)}")
    assert any("softmax" in n for n in found) == ("plain" in name)  # the fused kernel makes no softmax of its own

# %% [markdown]
# ## 6. Measure a training step
#
# What is timed is a *training step* of the units, forward and backward, without embedding and output layer. Both sides must have the same
# chances. So every step has the same number of tokens (when T doubles, the batch B halves), and all models and lengths take turns, so that
# a busy moment hits all of them. The first step is not counted, the times shown are medians of the others, and the clock is read only when
# the device is done. Parameters are of order one, as after training (lecture 03).
#
# Before a step is run, its memory is predicted from the shorter ones (when T doubles, what grows like T² grows by at most four
# times its last growth), and one that would not fit is left out.


# %%
def measure(models, sizes, limit):
    """The seconds of each (model, T) that fits, round by round; by model and T the peak bytes of a step, or None."""
    steps, peaks = {}, {name: {} for name in models}
    with steady_processor():  # numbers near zero and freed memory cost no extra time
        for T in sizes.lengths:
            for name, model in models.items():
                known = list(peaks[name].values())
                peaks[name][T] = None
                if None in known or (len(known) > 1 and known[-1] + 4 * (known[-1] - known[-2]) > limit):
                    continue
                step = training_step(model, sizes, sizes.tokens // T, T)
                try:
                    peaks[name][T] = peak_bytes(step, sizes.device)  # also the first step, which is not timed
                    steps[name, T] = step
                except RuntimeError as error:
                    if "out of memory" not in str(error).lower():
                        raise
        return time_in_turn(steps, sizes.rounds, warmup=0, device=sizes.device), peaks


# %% [markdown]
# **Your first guess.** The counted crossover of the CPU preset is T = 794 (section 3; of the GPU preset 1906).
# From which T on do two FLASH units take less time than a block with *fused* attention, on your machine?

# %%
my_guess = None  # your number here
predict("08.a", my_guess)

# %% tags=["timing"]
seconds, peaks = measure(models, sizes, limit)
median = {
    n: {T: summary(seconds[n, T])["median"] if (n, T) in seconds else None for T in sizes.lengths} for n in models
}


def ratios(baseline):
    return [(T, t / median["FLASH"][T]) for T, t in median[f"Transformer++, {baseline}"].items() if t]


live = STORED if on_gpu else LIVE
crossings = {kind: measured_crossover([dict(T=T, measured=r) for T, r in ratios(kind)]) for kind in ("plain", "fused")}
by_count = [(T, sum(c["block"]) / sum(c["two FLASH"])) for T in sizes.lengths for c in [counted(T, **live)]]
print(f"milliseconds a step of {sizes.tokens:,} tokens, D = {sizes.dim}, S = {sizes.qk_dim}, C = {sizes.chunk_size}")
print(f"{'T':>26}", *(f"{T:>8,}" for T in sizes.lengths))
for name, by_T in median.items():
    print(f"{name:26}", *(f"{1000 * t:8.1f}" if t else "       -" for t in by_T.values()))
for name, row in {"counted": by_count, "fused": ratios("fused"), "plain": ratios("plain")}.items():
    print(f"{'block / FLASH, ' + name:26}", *(f"{r:8.2f}" for _, r in row))
for name, other in (("unmasked", "fused"), ("plain", "unmasked")):
    print(f"{f'{name} / {other}':26}", *(f"{a / b:8.2f}" for (_, a), (_, b) in zip(ratios(name), ratios(other))))
apart = max(summary(each)["high"] / summary(each)["low"] - 1 for each in seconds.values())
print(f"the {sizes.rounds} rounds of one step differ by up to {apart:.0%}")
if crossings["fused"]:  # else there is no crossover between these lengths
    reveal("08.a", round(crossings["fused"], -2), "tokens, to a hundred")

# %% tags=["timing"]
a_token = {n: [(T, t and 1e6 * t / sizes.tokens) for T, t in median[n].items()] for n in models if n != control}
panel = f"this machine ({torch.cuda.get_device_name() if on_gpu else 'CPU, 1 thread'}), D = {sizes.dim}"
meet = {f"measured, {kind}": T for kind, T in crossings.items()} | {"counted": crossover(**live)}
title = "All that compare every pair climb steeply with T, FLASH hardly"
drawing.show(*drawing.cost_against_length({panel: (a_token, meet)}, ylabel="microseconds a token", title=title))

# %% [markdown]
# Look first at the rows *counted* and *fused*, about which you guessed. On a quiet machine the clock stays near the count. If yours is
# further off than the rounds are from each other (the last line), the step pays for more than products: softmax, RoPE, norms and gates are
# in no count. FLASH's own row may rise and fall by a tenth or more, although its count of multiply-adds for each token does not
# change. Rounds differ by as much, and in the benchmark of section 8, with seven rounds, there is no rise.
#
# Then compare the vertical lines: a plain baseline makes FLASH look better. Is that memory traffic? The last two rows of the table take it
# apart. Unmasked over fused is what the hidden pairs cost, and plain over unmasked what it costs to write the matrix, mask it and read it
# again. (Backward, the fused kernel makes the matrix a second time, which hides some of the second cost.) Read a row as a whole, because
# with three rounds neighbouring columns differ by tenths for no reason. On our CPU a plain baseline loses by both, by hardly more than the
# matrix at 512, and at the longest T more by the hidden pairs. On a GPU memory traffic may play a larger part (section 13), and for the
# paper's TPUs it remains a suspicion.
#
# ## 7. Memory
#
# A training step keeps what the backward pass will need. At a constant number of tokens everything that is kept *for each token* is the
# same at every T, so only the attention matrices can grow. How many of them does a step hold? Double T, and see how much the peak grows.


# %% tags=["nbval-check-output"]
short, long = [T for T, peak in peaks["Transformer++, plain"].items() if peak][-2:]
a_matrix = 4 * sizes.tokens * (long - short) * fused[0].heads  # B H T T = tokens x H x T entries, by how much they grow
assert peaks["Transformer++, plain"][long] > peaks["FLASH"][long]
for name in ("Transformer++, plain", "Transformer++, fused", "FLASH"):
    n = (peaks[name][long] - peaks[name][short]) / a_matrix
    print(f"{name:21} T x T matrices of all heads held at the peak: {round(n)}")
    assert n > 1.5 if "plain" in name else abs(n) < 0.1

# %% [markdown]
# The plain block keeps one matrix for the backward pass and makes others on the way back. FLASH and the fused block hold none. But FLASH's
# states and chunks need room too, and its gate and values are twice as wide as the model.
#
# **Your second guess.** In the benchmark that comes with the package (D = 256, 32,768 tokens a step), how much does a block with *fused*
# attention hold at T = 32,768, as a multiple of what two FLASH units hold?

# %%
my_second_guess = None  # your number here
predict("08.b", my_second_guess)

# %%
stored = load_stored("bench_cpu")
rows = {m: [row for row in stored["training"] if row["model"] == m] for m in ("flash", "transformer++")}
peak = {m: {row["T"]: row["peak_bytes"] for row in table} for m, table in rows.items()}
reveal("08.b", round(peak["transformer++"][32_768] / peak["flash"][32_768], 2), "times as much")
for m in rows:
    print(f"{m:13}", *(f"T = {T:,}: {peak[m][T] / 1e9:.2f} GB" for T in (512, 32_768)), sep="  ")
assert all(peak["transformer++"][T] < peak["flash"][T] for T in lengths)

# %% [markdown]
# It holds *less*, and at every length. Fused attention took the T² out of memory, though not out of time, so against a fused
# block FLASH, as PyTorch computes it, saves no memory in training. Against a plain one it does. (While *writing* it is the other
# way round, see lecture 09.)
#
# ## 8. Misconception 2: linear means faster at my length
#
# "Linear" says how a cost *grows* and nothing of how large it is. Look at the first two rows of the stored benchmark (medians of seven
# rounds).

# %% tags=["nbval-check-output"]
end, same = stored["conclusions"], stored["conclusions"]["constant_tokens"]
print("stored, D = 256, block / FLASH\n     T   counted   measured, fused   measured / counted")
for s in end["speedups"]:
    print(f"{s['T']:6,} {s['counted']:9.2f} {s['measured']:17.2f} {s['fraction']:20.2f}")
apart = max(r["seconds"]["high"] / r["seconds"]["low"] - 1 for m in rows for r in rows[m])
print("crossovers: counted", round(crossover(**STORED)), "| fused", end["crossover"]["measured"])
print(f"FLASH, T = {same['long']} over {same['short']}: {same['ratio']:.2f}; rounds differ by {apart:.0%} at most")


def done(T):  # multiply-adds of two units without what nobody needs: what the first chunk reads, the last one's sum
    return sum(counted(T, **STORED)["two FLASH"]) - 2 * STORED["C"] * 2 * STORED["S"] * STORED["E"]


a_token = done(32_768) / 32_768 / (done(1024) / 1024)
of_block = sum(counted(512, **STORED)["block"]) / done(512)
print(f"without the products that are left out: {a_token:.2f} a token of FLASH; block / FLASH at 512: {of_block:.2f}")
print(f"{stored['machine']['cpu']}, {stored['machine']['threads']} threads, float32, {stored['machine']['date']}")
assert all(0.9 < s["fraction"] < 1.1 for s in end["speedups"][1:]) and 0.9 < same["ratio"] < 1.1
assert a_token < same["ratio"] and end["speedups"][0]["counted"] < of_block < end["speedups"][0]["measured"]
# %% [markdown]
# The cost of FLASH is flat, as promised, but for 7%, and 5% are arithmetic: the first chunk of a sequence reads no earlier one, and the last one's sum
# is read by nobody, so one chunk in four goes without the global products at 1024 and one in 128 at 32,768. More than that cannot come. And yet at 512
# and 1024 the linear model is the slower one: at 512 the block needs 0.84 of its time. So ask *at which length do I train?*
#
# On that machine, with torch's CPU kernel, the measured speed-up follows the counted one within 10% from T = 1024 on: there, fewer FLOPs
# *are* less time. At 512 FLASH does less than its count says, since of two chunks one goes without the global products: so 0.80 was to be expected
# there and not 0.72. And do not read much into a crossover at 1498, which is an interpolation. In none of
# seven rounds was FLASH the faster one at T = 1024, and in none the slower one at 2048, so they cross *between 1024 and 2048*.
#
# ## 9. The paper's tables beside yours
#
# The paper times training steps in four tables: Table 11 (C4, masked) and Table 12 (Wiki-40B, causal) with 110 million parameters and
# Table 3 (PG-19, causal) with 500 million, all on 64 TPU-v4 cores, and Table 10 on a single V100 with 2048 tokens a step. (Its
# Figure 5 and Figure 6 draw the first two.) Where does each of them cross 1?

# %% tags=["nbval-check-output"]
PAPER = {
    "Table 11": (lengths[:5], (47.6, 64.6, 91.6, 143.4, 252.1), (51.2, 50.1, 51.4, 50.7, 59.9)),
    "Table 12": (lengths[:5], table_12["transformer++"], table_12["flash"]),
    "Table 3": (lengths[1:5], (292, 441, 712, 1272), (234, 237, 234, 250)),
    "Table 10, V100": (lengths[:3], (222.4, 243.9, 315.0), (254.4, 235.0, 242.8)),
}
curves = {name: [(T, a / b) for T, a, b in zip(*table)] for name, table in PAPER.items()}
for name, points in curves.items():
    where = measured_crossover([dict(T=T, measured=r) for T, r in points])
    print(f"{name:15} from {points[0][1]:.2f} to {points[-1][1]:.2f} | crossover", where or "below the first length")

# %% tags=["timing"]
curves["stored, fused"] = [(s["T"], s["measured"]) for s in end["speedups"]]
curves["yours, fused"], curves["yours, plain"] = ratios("fused"), ratios("plain")
title = "Transformer++'s time over FLASH's: where FLASH wins depends on the comparison"
every_T = sorted({T for points in curves.values() for T, _ in points})
label = "T, tokens in a sequence (blue: FLASH is faster; hatched: FLASH is slower)"
figure, axes = drawing.new_axes(7.4, 3.6, label, title=title)
for y, points in enumerate(curves.values()):
    for T, ratio in points:
        x = every_T.index(T)
        colour = drawing.SKY if ratio >= 1 else "white"
        hatch = "" if ratio >= 1 else "///"
        axes.barh(y, 1, height=1, left=x, color=colour, hatch=hatch, edgecolor="darkgrey")
        ground = {"facecolor": colour, "edgecolor": "none", "pad": 1.5}
        axes.text(x + 0.5, y, f"{ratio:.2f}", ha="center", va="center", fontsize=11, bbox=ground)
axes.set_xticks(np.arange(len(every_T)) + 0.5, [f"{T:,}" for T in every_T])
axes.set_yticks(range(len(curves)), list(curves))
axes.invert_yaxis()
axes.grid(False)
said = [f"{name} from {p[0][1]:.2f} at T = {p[0][0]} to {p[-1][1]:.2f} at {p[-1][0]}" for name, p in curves.items()]
drawing.show(figure, f"Table of the baseline's time over FLASH's, blue from 1 on, against T: {'; '.join(said)}.")

# %% [markdown]
# On the V100 FLASH loses at T = 512, with 254 against 222 ms. The paper does not say how its Transformers compute attention; that their
# times grow as those of plain attention do is our reading. And your rows time one pair of layers, theirs whole models, so compare shapes
# and not heights.
#
# ## 10. What the paper's headlines mean
#
# The paper's best known numbers are not step times. A *speed-up* there is a ratio of training cost to reach the baseline's final quality
# (Figure 1 draws quality against core-days at T = 8192). So each headline is a product of two ratios, of step times and of steps needed.

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
# A step is four to five times as fast. The rest of each number is about quality, and two of them need a second look:
#
# - **12.1.** The abstract and the introduction name Transformer++ as the baseline, whereas the table and section 4.2 compare with Transformer+.
#   Transformer++ itself reaches that quality 1.21 times sooner, so against it about 12.12 / 1.21 = 10 remains.
# - **25.6.** The baseline is the plain Transformer, whose perplexity at 8192 (18.25) is worse than at 512 (17.34), which is odd.
#   It is the only one that was trained without gradient clipping. So a factor of 6 may come from unstable runs.
#
# Such a number can be taken apart on one CPU core. Three models of 0.46 million parameters train for ten minutes each, or rather for as
# many updates as ten minutes hold by the timed update. They train in bfloat16, at T = 512 and 2048, on 8,192 bytes an update, with
# three seeds, at the rate that was best in shorter runs.
#
# Each row of the table below is a length. First come the factors: how many times sooner FLASH is as good as Transformer++ in the end, in a
# race of five minutes, and in one of ten for each seed. *Step time x steps* splits their mean into how much longer an update of Transformer++
# takes and how many more updates it needs. Then come the bits per byte after ten minutes: both models' means, and FLASH minus Transformer++ with
# its 95% interval. In the figure the dotted line is the score at which Transformer++ ends, and the circle is where FLASH crosses it.
#
# **Your third guess.** At T = 2048 an update of Transformer++ takes 1.5 times as long as one of FLASH. How many times sooner
# does FLASH reach the score at which Transformer++ ends?

# %%
my_third_guess = None  # your number here
predict("08.f", my_third_guess)

# %% tags=["nbval-check-output"]
update, panels, sooner = load_stored("time_to_quality")["runs"][0]["seconds"], {}, {}
head = "FLASH is sooner", "five minutes", "ten, by seed", "step time x steps", "updates", "bits per byte", "difference"
shown = [head]
for T in (512, 2048):
    lines = timed_lines(T)  # of each model: seconds, and the bits per byte at each of them for every seed
    (seconds, flash), (_, blocks) = lines["FLASH"], lines["Transformer++"]
    sooner[T] = times_sooner(T)
    ends = np.mean(flash, 0)[-1], np.mean(blocks, 0)[-1]
    there = {"FLASH": time_to_reach(ends[1], seconds, np.mean(flash, 0))}
    panels[f"T = {T}"] = {name: (*line, there.get(name)) for name, line in lines.items()}
    ours, theirs = update[f"flash {T}"], update[f"transformer++ {T}"]
    lead = welch(*([run["bits_per_byte"] for run in timed_runs(T)[name]] for name in ("flash", "transformer++")))
    assert lead.is_settled
    columns = [f"T = {T}", f"{np.mean(times_sooner(T, 300)):.2f}"]
    columns += [", ".join(f"{s:.2f}" for s in sooner[T])]
    columns += [
        f"{theirs / ours:.1f} x {np.mean(sooner[T]) * ours / theirs:.1f}",
        f"{600 / ours:.0f}, {600 / theirs:.0f}",
    ]
    shown.append([*columns, "{:.3f}, {:.3f}".format(*ends), lead])
print(drawing.text_table(shown))
for T, paper in {512: 1.2, 2048: 1.6}.items():  # Figure 1, Wiki-40B
    quad = [f"{s:.2f}" if s else "never" for s in times_sooner(T, model="flash_quad")]
    step = " or ".join(f"{ratio:.2f}" for ratio in update_ratios(T))  # here, and on another CPU
    print(f"T = {T}: FLASH-Quad is sooner by {', '.join(quad)}; the paper's FLASH by {paper}; step time {step}")
for what, lead in leads_at_equal_updates().items():
    print(f"FLASH leads by {lead:+.3f} bits per byte at {what}")
longer = welch(
    *([run["bits_per_byte"] for run in timed_runs(T)[name]] for name, T in (("flash", 2048), ("transformer++", 512)))
)
print(f"FLASH at 2048 minus Transformer++ at 512: {longer}")
reveal("08.f", round(float(np.mean(sooner[2048])), 1), "times as soon, the mean of three seeds")

# %%
title = "Ten minutes: when FLASH reaches the score at which Transformer++ ends"
axis_names = {"xlabel": "training time in s", "ylabel": "bits per byte, held-out text"}
figure, every = drawing.new_panels(panels, title=title, sharey=True, **axis_names)
for axes, models in zip(every, panels.values()):
    drawing.lines(axes, {name: (seconds, rows) for name, (seconds, rows, _) in models.items()}, markersize=3)
    goal = np.mean(models["Transformer++"][1], 0)[-1]
    axes.axhline(goal, color="black", linestyle=":", linewidth=1)
    axes.plot(models["FLASH"][2], goal, "o", markersize=11, markerfacecolor="none", color=axes.lines[0].get_color())
drawing.legend_below(figure, *axes.get_legend_handles_labels())
said = [f"{name}: {drawing.in_words(axes, x='{:.0f} s')}" for name, axes in zip(panels, every)]
there = {name: models["FLASH"][2] for name, models in panels.items()}
alt = f"Lines of bits per byte against training time. {'. '.join(said)}."
drawing.show(figure, f"{alt} FLASH is where Transformer++ ends after, in s: {drawing.listed(there, '{:.0f}')}.")

# %% [markdown]
# In ten minutes FLASH ends ahead at both lengths, and at the longer one by more. At T = 512 its lead is small, and a small lead is a long time
# where the curves are flat.
#
# Which of the two factors would last? The step time would. The other one says that FLASH gets by with fewer updates, and at T = 2048 the whole
# shrinks as the race gets longer: compare five minutes with ten.
#
# **Was it a fair race?** Look at the last line of the output. Nobody made Transformer++ read windows of 2048 bytes. If it takes the 512 that suit
# it better, it is level with FLASH at 2048. Longer windows help neither model on these novels, so at 2048 the race timed context that is worth
# nothing. A race at long context needs a text on which context pays.
#
# FLASH-Quad keeps up at T = 512, where its updates cost about as much as the others'. At 2048 it never gets where Transformer++ ends. Its
# quadratic cost is what mixed chunk attention was made to remove.
#
# > **What this rests on.** Three seeds, one machine, 0.46 million parameters, and a start that is the paper's for D = 768. On another CPU of the
# > same maker, whose bfloat16 products are faster, an update of Transformer++ costs more against one of FLASH (the step times above have both).
# > After equal updates in place of equal time FLASH's lead at 2048 is not settled ([results](../docs/results.md#parts)), and of the larger models FLASH
# > is behind by a hair. The rates came from shorter runs with a seed that is reported too; half and twice the rate of Transformer++ were tried with
# > seed 0, at 2048 for five minutes only. Above 512 tokens FLASH-Quad has the rotary bias, with which units can die (lecture 07), and the two
# > causes were not separated.
#
# ## 11. What the chunk length costs
#
# The chunk length C is part of the model (lecture 05), and it has a price. As C grows, the local multiply-adds grow, up to 2 C (S + E) a
# token for two units, while the global ones stay at 4 S E. (On a CPU the code multiplies blocks of 64 rows and more, each up to its last
# visible key, so of a long chunk it skips most hidden pairs. That is what we count here.) By multiply-adds alone the smallest C would be
# the best. But between the products, intermediate results have to lie in memory: C scores for each token, and S E / C entries of states,
# since there is one state for C tokens.
#
# **Your line.** For which C is C + S E / C the least? (Set its slope to zero.)


# %%
def best_chunk(S, E):
    return ...  # your line


learner.your_line("08.e", best_chunk, ((64, 256), 128), ((128, 512), 256), ((2, 8), 4))

# %% [markdown]
# <details><summary>The line</summary>
#
# `return (S * E) ** 0.5`, because the slope is 1 - S E / C², which is zero there.
#
# </details>
#
# So there are two counts, and they disagree about small C. Which one does the clock follow?

# %% tags=["timing"]
T, (D, S, E, F) = 2048, (LIVE[letter] for letter in "DSEF")
chunks = [2**n for n in range(3, 11)]  # 8 to 1024


def multiplied(C):  # pairs of a chunk, in blocks of rows, each up to its last visible key
    rows = max(64, C // 8)
    return sum(rows * last for last in range(rows, C + 1, rows)) if C > rows else C * C


counts = {
    "multiply-adds": [sum(counted(T, D, S, E, C, F, multiplied)["two FLASH"]) for C in chunks],
    "scores and states": [C + S * E / C for C in chunks],
}
of_C = {C: make_units("flash", replace(sizes, dim=D, qk_dim=S, chunk_size=C)) for C in chunks}
steps = {C: training_step(model, replace(sizes, dim=D), sizes.tokens // T, T) for C, model in of_C.items()}
with steady_processor():
    timed = time_in_turn(steps, 3, device=sizes.device)
by_C = [1000 * summary(timed[C])["median"] for C in chunks]
fastest = chunks[int(np.argmin(by_C))]
title = f"T = {T}: the fewest multiply-adds are at C = 8, the least time at C = {fastest}"
figure, axes = drawing.new_axes(6.4, 3.5, "C, tokens in a chunk", "times the smallest value", title)
costs = {"time, measured": by_C} | counts
drawing.lines(axes, {name: (chunks, np.array(values) / min(values)) for name, values in costs.items()})
drawing.powers_of_two(axes, chunks)
drawing.logarithmic(axes)
drawing.name_lines(axes)
least = {name: chunks[int(np.argmin(values))] for name, values in costs.items()}
alt = f"Line plot, both axes logarithmic, each over its smallest value: {drawing.in_words(axes, x='C = {:,}')}."
drawing.show(figure, f"{alt} The least is at C: {drawing.listed(least, '{}')}.")

# %% [markdown]
# If the clock followed the arithmetic, C = 8 would take the least time. Look at the left end, where the two counts diverge: if the time
# falls as C grows from 8, scores and states outweigh the arithmetic there. (A small C also means many small products, so this is a hint at
# memory traffic and no proof, and the fastest C may change from run to run.)
#
# And what does a longer chunk *buy*? The paper's Figure 8 finds that a longer context is better served by a larger C. Here is a small FLASH, trained
# anew at each C on sequences of 1,024 bytes. Its scores are divided by 128 at every C, so that C alone differs.

# %% tags=["nbval-check-output"]
by_chunk = {}
for run in load_stored("chunk_length")["runs"]:
    by_chunk.setdefault(run["chunk_size"], []).append(run["bits_per_byte"])
against = {C: welch(scores, by_chunk[128]) for C, scores in by_chunk.items() if C != 128}
trained = [
    (C, ", ".join(f"{b:.3f}" for b in scores), f"{np.mean(scores):.3f}", against.get(C, ""))
    for C, scores in by_chunk.items()
]
print(drawing.text_table([("C", "bits per byte, three seeds", "mean", "minus that of 128"), *trained]))
assert [C for C, found in against.items() if found.is_settled] == [32] and against[32].mean > 0

# %% [markdown]
# Chunks of 32 bytes are too short: 128 does better, and that is settled. From 64 on no difference to 128 is shown, not even for a single chunk for the
# whole sequence.
#
# > **What this rests on.** Three seeds, 1,000 updates, sequences of 1,024 bytes, and the learning rate of C = 128 for all.
#
# ## 12. How a benchmark flatters
#
# To make FLASH look good you need not lie; five choices are enough:
#
# | choice | why it flatters |
# | --- | --- |
# | 1 the baseline is plain | where a fused kernel can be had, one would train with that |
# | 2 only the attention is compared | the dense layers are left out, and both sides pay them |
# | 3 one unit against one block | half the parameters |
# | 4 hidden pairs count for the baseline | a full matrix has twice as many entries as pairs that may be read |
# | 5 only the longest T is shown | the curve crosses 1 somewhere, and you do not show where |
#
# Each arrow leads from what an honest comparison at T = 4096 says to what one of these would report.

# %% tags=["timing"]
c, hidden_too = counted(4096, **LIVE), counted(4096, **LIVE, pairs=all_pairs)
flash, T = sum(c["two FLASH"]), ratios("plain")[-1][0]  # T: the longest that fits with a plain baseline
honest, by_T = sum(c["block"]) / flash, {row["T"]: row["measured"] for row in end["speedups"]}
choices = {
    "1 the baseline is plain": (dict(ratios("fused"))[T], dict(ratios("plain"))[T], "measured here"),
    "2 only the attention": (honest, c["block"][1] / c["two FLASH"][1], "counted"),
    "3 one unit against one block": (honest, 2 * honest, "counted"),
    "4 hidden pairs for the baseline": (honest, sum(hidden_too["block"]) / flash, "counted"),
    "5 only the longest T": (by_T[4096], by_T[32_768], "stored"),
}
title = "Five choices, and how far each moves the answer for T = 4096"
figure, axes = drawing.new_axes(6.4, 3.6, "speed-up of FLASH (logarithmic)", title=title)
for y, (honest, reported, _) in enumerate(choices.values()):
    axes.annotate("", (reported, y), (honest, y), arrowprops={"arrowstyle": "->", "color": drawing.BLUE})
    axes.plot(honest, y, "o", color=drawing.BLUE, markersize=8, fillstyle="none")
    axes.plot(reported, y, "o", color=drawing.BLUE, markersize=8)
    first = y == 0  # the two marks are named once
    axes.text(honest, y - 0.3, f"honest {honest:.2f}" if first else f"{honest:.2f}", ha="center")
    axes.text(reported, y - 0.3, f"reported {reported:.2f}" if first else f"{reported:.2f}", ha="center")
axes.set_yticks(range(len(choices)), [f"{name}\n({kind})" for name, (_, _, kind) in choices.items()])
axes.set_ylim(len(choices) - 0.6, -0.7)
axes.set_xscale("log", base=2)
axes.xaxis.set_major_formatter("{x:g}")
axes.margins(x=0.2)
said = "; ".join(f"{name}: {b:.2f} for {a:.2f} ({kind})" for name, (a, b, kind) in choices.items())
drawing.show(figure, f"Arrows from the honest speed-up to the reported one. {said}.")

# %% [markdown]
# Arrows 1 and 4 overlap, for a plain baseline computes the hidden pairs too (section 6).
#
# Turn it round, and FLASH looks bad: take narrow models, and T = 512 only. The width hardly moves the crossover, but it decides how much is
# lost below it. At T = 512, with S = 128 and C = 256, the count has the block at 0.88 of FLASH for D = 768, and at 0.57 for D = 128, because in
# a narrow model more of the work is mixing. A benchmark is honest if it says its length, its baseline and
# its sizes, and shows where the curves cross.
#
# ## 13. An honest answer to complaint two
#
# *Fewer FLOPs, and still not faster.* How much of a step is not matrix products at all? The stored benchmark timed each model's matrix
# products alone, for Transformer++ its dense ones and the whole fused attention. That is its *floor*, and what a step takes above it is
# overhead.

# %% tags=["nbval-check-output"]
print("     T   FLASH / its floor   fused block / its floor")
for s in end["speedups"]:
    print(f"{s['T']:6,} {s['flash_over_floor']:15.2f} {s['transformer_over_floor']:22.2f}")
over = max(s["flash_over_floor"] for s in end["speedups"])
print(f"on this CPU FLASH's overhead is at most {over - 1:.0%} of its products")
assert all(1.13 < s["flash_over_floor"] < 1.18 for s in end["speedups"])
# %% [markdown]
# A GPU multiplies so much faster than it can read memory that most of the same step may be memory traffic there. Nothing was measured on one
# for this course, but lecture 11 counts the bytes and predicts a time: as PyTorch computes it, FLASH is predicted to be still a
# little slower than fused attention on an H100 at 8192 tokens (211 against 200 ms), and level with it only near 10,000, more than five times
# the counted crossover. So the answer has three parts.
#
# 1. **On one CPU, at D = 256, the overhead is about a seventh.** In the stored run the clock shows about the saving that was counted.
# 2. **The saving comes late.** Counted, it begins near T = 1900 at D = 256 and at D = 768; measured, between 1024 and 2048 on the stored
#    machine, and on yours where section 6 printed it.
# 3. **Part of the paper's speed-up probably belonged to its baseline.** Against plain attention FLASH saves the matrix in memory and the
#    hidden pairs, but a fused causal kernel saves both too. Which of them mattered on the TPUs is open; on our CPU both did, and the
#    pairs more at a long T.
#
# ## 14. What to remember
#
# Fill in the last column yourself. `learner.verdict("08 speed", "...")` stores a verdict, and `flash-tutorial report` prints them all.
#
# | claim | your evidence | your verdict |
# | --- | --- | --- |
# | FLASH's cost is linear in T | sections 2, 8: the count; a token costs 7% more at 32,768 than at 1024, and 5% of it are counted | |
# | The crossover is at T = 1836 at the base size | section 3: a formula, proved for the count alone | |
# | Fewer FLOPs are faster | section 1: FLASH-Quad in Table 12; section 11: C = 8 | |
# | FLASH is faster than Transformer++ | sections 6, 8: at some lengths; your crossover against fused | |
# | A plain baseline is slow because of memory traffic | section 6: on our CPU only in part, by a control; elsewhere not shown | |
# | FLASH saves memory in training | section 7: against plain yes, against fused no, as PyTorch computes FLASH | |
# | 12.1 times as fast as Transformer++ | section 10: another baseline, and quality in the ratio | |
# | There is no overhead in practice | section 13: about a seventh on a CPU at D = 256; on a GPU only predicted | |
#
# **Three takeaways**
# 1. There is no single crossover: one is counted, one is against plain attention, one is against fused. Say which, and on what machine.
# 2. Count the multiply-adds that each side's code does, *and* the memory traffic; then measure a whole step, with the same tokens, in turn.
# 3. Only a control can tell which of the two it was.
#
# **Exercises** [Problem set 08](../exercises/08_scaling.ipynb), six tasks: count, predict crossovers, write a fair timer, and mend a benchmark that flatters.
#
# **Next** [Lecture 09](09_generation.ipynb) lets the model write, with a state of constant size.
