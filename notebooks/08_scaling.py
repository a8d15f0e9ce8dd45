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
# In the paper there is a model that does more arithmetic than a Transformer at every length, and takes little more than half its time.
# How can that be? To find out, you first count and then measure, set the paper's tables beside your own curve, and learn on the way
# how a benchmark can be made to flatter.
#
# **After it you can**
# - count the multiply-adds of a Transformer++ block, of two GAUs and of two FLASH units, for every T;
# - solve for the length where two of them are equal, and say which letters move it;
# - time a training step so that the ratio can be believed, and name the kernel that computed the attention;
# - say what each model keeps in memory, and predict a peak before you run it;
# - read the paper's tables of step times, and say what they leave open;
# - find the choices in a benchmark that flatter one side.
#
# **You need** lecture 05 (mixed chunk attention) and section 5 of lecture 01 (what attention costs). From lecture 02 you need the
# reason why two units replace one block.
#
# **Time** 40 minutes to read. Computing takes about 40 seconds on two CPU cores.
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
# ## 1. The complaint
#
# The surprise first. Below are milliseconds of a training step on 64 TPU cores, from the paper's Table 12, for Transformer++, for
# FLASH-Quad (a stack of GAUs) and for FLASH. Beside each ratio of times stands the ratio of the arithmetic, which we count ourselves for the
# whole models. A *multiply-add* is a multiplication with the addition that follows it, so two FLOPs.

# %% tags=["nbval-check-output"]
from flash_course.bench.counts import count_multiply_adds
from flash_tutorial import ModelConfig

lengths = (512, 1024, 2048, 4096, 8192, 16_384, 32_768)
table_12 = {"transformer++": (54.7, 70.9, 96.6, 149.2, 261.0), "flash_quad": (54.1, 59.5, 71.3, 96.1, 141.3),
            "flash": (57.2, 56.9, 56.7, 57.0, 62.5)}  # fmt: skip
models = {name: ModelConfig.paper("wiki40b", name) for name in table_12}
adds = {name: [count_multiply_adds(config, T) / T for T in lengths[:5]] for name, config in models.items()}
for name in ("flash_quad", "flash"):
    print(f"Transformer++ / {name}, by T")
    for what, table in (("multiply-adds", adds), ("milliseconds", table_12)):
        ratio = [a / b for a, b in zip(table["transformer++"], table[name])]
        print(f"  {what:14}", "  ".join(f"{T}: {r:.2f}" for T, r in zip(lengths, ratio)))
assert all(quad > rival for quad, rival in zip(adds["flash_quad"], adds["transformer++"]))

# %% [markdown]
# Look at the first two lines. By the count FLASH-Quad is the more expensive model at every length, and yet at T = 8192 its step takes
# only 1/1.85 of the time. FLASH does 1.46 times less arithmetic there and is 4.18 times as fast. So whatever the paper's speed-up is, it is not a
# saving of FLOPs alone.
#
# This matters because the paper's second complaint about cheap kinds of attention was *overhead in practice*: fewer FLOPs, and
# still not faster. FLASH claims to be the exception. Three numbers will put that to the test, and all three are called
# *the crossover*, the length from which FLASH is the cheaper one:
#
# | | how you get it | what it depends on |
# | --- | --- | --- |
# | counted crossover | from a formula | sizes only |
# | measured crossover against *plain* attention | with a clock | sizes, machine, kernels |
# | measured crossover against *fused* attention | with a clock | sizes, machine, kernels |
#
# *Plain* attention writes its T × T attention matrix to memory. A *fused* kernel computes the matrix piece by piece and never writes
# it, with the same result. FLASH appeared in February 2022, and FlashAttention, the best known fused kernel, in May 2022 (the names are alike by
# chance). When the paper was written fused kernels were not common, so its rival is probably the plain one.
#
# Two questions from earlier lectures, before you start. Answer from memory, then open the fold.
#
# **1.** In lecture 00, linear attention needed eight times fewer operations than softmax attention. Why was it not faster?
#
# <details><summary>Answer</summary>
#
# As it was written there, it made T states of S × E numbers each, which are written to memory and read again while little is
# computed with each number.
#
# </details>
#
# **2.** A token of FLASH reads other tokens in two ways. How many tokens does it read one by one, at most?
#
# <details><summary>Answer</summary>
#
# C: those of its own chunk that are not later than itself. All earlier chunks come through one state of S × E numbers.
#
# </details>

# %%
from dataclasses import dataclass, replace

import numpy as np
import torch

from flash_course import figures, learner
from flash_course.bench.against_length import Settings, make_units, measured_crossover, steady_processor, training_step
from flash_course.bench.clock import peak_bytes, summary, time_in_turn
from flash_course.bench.stored import load_stored
from flash_course.learner import predict, reveal
from flash_tutorial import FLASH, GAU, TransformerBlock
from flash_tutorial.devices import pick_device, pick_dtype


@dataclass
class Preset:
    sizes: Settings  # widths, lengths, tokens of a step, rounds
    limit: float  # bytes that a step may hold at most


on_gpu = pick_device().type == "cuda"
half = str(pick_dtype(pick_device())[0]).removeprefix("torch.")
CPU = Preset(
    Settings(dim=128, qk_dim=64, chunk_size=64, tokens=4096, lengths=(256, 512, 1024, 2048, 4096), rounds=3), 2e9
)
GPU = Preset(Settings(device="cuda" if on_gpu else "cpu", dtype=half), 10e9)  # D = 256, T = 512 to 32,768
preset = GPU if on_gpu else CPU
sizes = preset.sizes
torch.set_num_threads(1)
print(
    f"{sizes.device}, {sizes.dtype}: {sizes.tokens:,} tokens a step, T from {sizes.lengths[0]} to {sizes.lengths[-1]:,}"
)

# %% [markdown]
# ## 2. Count on six tokens
#
# We count what *mixing* costs, that is everything in a layer where tokens meet. Take six tokens in chunks of C = 2, and small widths: D = 4 for
# the model, S = 2 for queries and keys, E = 8 for the expanded values. A pair is a token with one that it may read.
#
# - In a block with softmax attention token i reads i tokens, so there are 1 + 2 + 3 + 4 + 5 + 6 = 21 pairs. A pair costs D for its
#   score (all heads together) and D for the value that is mixed in: 21 × 8 = 168.
# - A GAU has the same 21 pairs, and a pair costs S + E = 10, which makes 210.
# - FLASH's local part has 1 + 2 = 3 pairs in each chunk, so 9 in all, at S + E each: 90.
# - FLASH's global part adds S × E = 16 products to a state for each token, and reads the state with 16 more: 6 × 32 = 192.
#
# **Your line.** To do the same with loops, you need the first token (from 0) that token i reads one by one. Write it in place of the dots.


# %%
def first_read(i, C):
    return ...


learner.your_line("08.c", first_read, ((0, 2), 0), ((5, 2), 4), ((7, 4), 4), ((13, 4), 12))

# %% [markdown]
# <details><summary>The line</summary>
#
# `return i // C * C`: a token reads one by one from the first token of its own chunk up to itself, as in lecture 05.
#
# </details>


# %% tags=["nbval-check-output"]
def mixing_by_loops(T, D, S, E, C):
    block = gau = near = far = 0
    for i in range(T):
        for _ in range(i + 1):  # every token up to itself
            block += D + D  # all heads together: a score, and a value that is mixed in
            gau += S + E
        for _ in range(i // C * C, i + 1):  # those of its own chunk
            near += S + E
        far += S * E + S * E  # write to the state, and read it
    return {"block": block, "GAU": gau, "FLASH local": near, "FLASH global": far}


print(mixing_by_loops(6, 4, 2, 8, 2))
assert [*mixing_by_loops(6, 4, 2, 8, 2).values()] == [168, 210, 90, 192]  # by hand

# %% [markdown]
# On six tokens FLASH's 90 + 192 is the most of all three, so nothing is won on a short sequence.
#
# Loops are slow, but they add the same number for each pair, so it is enough to count pairs: T (T + 1) / 2 in a full causal matrix, and C (C + 1) / 2 in each full chunk. To these come the *dense* layers, which cost the same
# for every token, however many others there are: 4 D² + 3 D F in a block whose feed-forward layer is F wide, and
# 3 D E + D S in a GAU or in FLASH. Two units stand against one block, because two units have about as many parameters (lecture 02).


# %% tags=["nbval-check-output"]
def pairs(T):
    return T * (T + 1) // 2


def counted(T, D, S, E, C, F):
    """Multiply-adds of one block, two GAUs, two FLASH units: (dense layers, mixing) of each."""
    gated = 2 * T * (3 * D * E + D * S)
    near = (T // C * pairs(C) + pairs(T % C)) * (S + E)
    return {
        "block": (T * (4 * D * D + 3 * D * F), pairs(T) * 2 * D),
        "two GAUs": (gated, 2 * pairs(T) * (S + E)),
        "two FLASH": (gated, 2 * (near + 2 * T * S * E)),
    }


D, S, E, C, F = 8, 4, 16, 4, 24
block = TransformerBlock(D, heads=2, ff_dim=F, glu=True, rope=True, causal=True)
units = block, GAU(D, qk_dim=S, causal=True), FLASH(D, qk_dim=S, chunk_size=C, causal=True)
for T in (6, 14, 64):  # 14 is three full chunks and a tail of two
    by_block, gau, near, far = mixing_by_loops(T, D, S, E, C).values()
    by_formula = counted(T, D, S, E, C, F).values()
    assert [by_block, 2 * gau, 2 * (near + far)] == [mixing for _, mixing in by_formula]
    assert [n * count_multiply_adds(unit, T) for n, unit in zip((1, 2, 2), units)] == [sum(c) for c in by_formula]
print("formula = loops = package at T = 6, 14 and 64: 6 checks passed")

# %% [markdown]
# Now the paper's base size. How much of a block is mixing, and what do the other two cost beside it?

# %% tags=["nbval-check-output"]
BASE = dict(D=768, S=128, E=1536, C=256, F=2048)
lengths = (512, 1024, 2048, 4096, 8192, 16_384, 32_768)
print("    T   mixing's share of a block   two GAUs / block   two FLASH / block")
for T in lengths:
    c = counted(T, **BASE)
    total = {name: sum(parts) for name, parts in c.items()}
    share = c["block"][1] / total["block"]
    print(
        f"{T:6,} {share:18.0%} {total['two GAUs'] / total['block']:22.2f} {total['two FLASH'] / total['block']:18.2f}"
    )

# %% [markdown]
# At T = 512 mixing is a twentieth of a block, so even mixing for nothing would save no more than 5%. Cheap attention cannot
# win where attention is not what costs.
#
# ## 3. Solve for the crossover
#
# Count for each token, in whole chunks. Two FLASH units cost 2 (3 D E + D S) + (C + 1) (S + E) + 4 S E, and a block costs
# 4 D² + 3 D F + (T + 1) D. Only the last term depends on T, so the crossover is the solution of a linear equation.
#
# **Your line.** Set both equal, and solve for T.


# %%
def crossover_by_me(D, S, E, C, more_dense):  # more_dense: what FLASH's dense layers cost a token on top
    return ...


learner.your_line("08.d", crossover_by_me, ((768, 128, 1536, 256, 196_608), 1835.833333), ((8, 4, 16, 4, 0), 43.5))

# %% [markdown]
# <details><summary>The line</summary>
#
# `return (more_dense + (C + 1) * (S + E) + 4 * S * E) / D - 1`: all that FLASH pays on top, over what a token of the block pays for each
# token that it reads.
#
# </details>


# %% tags=["nbval-check-output"]
def crossover(D, S, E, C, F):
    more_dense = 2 * (3 * D * E + D * S) - (4 * D * D + 3 * D * F)
    return (more_dense + (C + 1) * (S + E) + 4 * S * E) / D - 1


def costs_less(T, size):
    c = counted(T, **size)
    return sum(c["two FLASH"]) < sum(c["block"])


LIVE = dict(D=128, S=64, E=256, C=64, F=344)  # the CPU preset
STORED = dict(D=256, S=128, E=512, C=256, F=688)  # flash-tutorial bench
for name, size in {"paper's base size": BASE, "stored benchmark": STORED, "CPU preset": LIVE}.items():
    assert TransformerBlock(size["D"], glu=True).ff_dim == size["F"]
    T, C = crossover(**size), size["C"]
    assert not any(costs_less(t, size) for t in range(C, int(T) + 1, C))  # at no whole number of chunks below
    assert all(costs_less(t, size) for t in range(int(T) + 1, 20_000))  # at every T above
    print(f"{name:17} D = {size['D']}, S = {size['S']}, C = {C}: counted crossover T = {T:.1f}")

# %% [markdown]
# At the paper's size the count promises FLASH an advantage from T = 1836 on. Which letters move that? With E = 2 D and
# F = 8 D / 3 all terms in D² cancel, and the formula becomes short:
#
# $$T = 10\,S + (C + 1)\left(2 + \frac{S}{D}\right) - 1$$
#
# Of the 10 S two come from the shared base, and eight from writing and reading the state. Change one letter at a time.

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
# Back to the surprise of section 1, whose cause can be counted as well. A pair costs two GAUs 2 (S + E) = 3328 multiply-adds and a block
# 2 D = 1536, so FLASH-Quad is dearer at every length. What else does a Transformer block do, besides arithmetic? It makes attention matrices.

# %% tags=["nbval-check-output"]
T, H = 8192, 12  # heads
D, S, E, C = (BASE[letter] for letter in "DSEC")
numbers = {
    "block, plain: H matrices of T x T": H * T * T,
    "two GAUs: 2 matrices of T x T": 2 * T * T,
    "two FLASH: 2 matrices of C x C a chunk, and its state": 2 * (T // C) * (C * C + S * E),
    "block, fused: no matrix": 0,
}
for name, n in numbers.items():
    print(f"{name:54} {4 * n / 1e6:7,.0f} MB in float32, one sequence")
print("plain block / the others:", [round(H * T * T / n) for n in list(numbers.values())[1:3]])

# %% [markdown]
# A plain block writes and reads six times as much as two GAUs, and 48 times as much as two FLASH units. So a cause suggests itself: the
# paper's rival was waiting for memory. If that is so, a fused kernel takes much of the advantage away, and this you can measure.
#
# ## 5. Two rivals with the same numbers
#
# For that we need a plain block. It is the package's block with its attention written out, three lines of which make the attention matrix.

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


def make_models(sizes):
    models = {"FLASH": make_units("flash", sizes), "FLASH-Quad": make_units("flash_quad", sizes)}
    fused = make_units("transformer++", sizes)
    plain = PlainBlock(sizes.dim, glu=True, rope=True, causal=True, norm="scale").to(sizes.device)
    plain.load_state_dict(fused[0].state_dict())
    return models | {"Transformer++, plain": torch.nn.Sequential(plain), "Transformer++, fused": fused}


models, x = make_models(sizes), torch.randn(2, 77, sizes.dim).to(sizes.device)
with torch.no_grad():
    plain, fused = (models[f"Transformer++, {name}"](x) for name in ("plain", "fused"))
assert (plain - fused).norm() < 1e-4 * fused.norm()
parameters = {name: sum(p.numel() for p in model.parameters()) for name, model in models.items()}
assert max(parameters.values()) < 1.1 * min(parameters.values())
largest = max(parameters.values()) / min(parameters.values()) - 1
print(f"plain and fused give the same numbers; parameters differ by {largest:.0%} at most")

# %% [markdown]
# Torch decides by itself which kernel computes `scaled_dot_product_attention`, so ask its profiler, which writes down every operation that
# is run.

# %%
import os

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else the profiler writes lines of its own
from torch.profiler import ProfilerActivity, profile


def attention_of(model, sizes):
    x = torch.randn(1, 128, sizes.dim, device=sizes.device, requires_grad=True)
    half = torch.autocast(x.device.type, getattr(torch, sizes.dtype), enabled=sizes.dtype != "float32")
    with half, profile(activities=[ProfilerActivity.CPU]) as seen:
        model(x)
    names = {event.key.removeprefix("aten::") for event in seen.key_averages()}
    return sorted(n for n in names if n[0] == "_" and ("attention" in n or "softmax" in n))


for name in ("Transformer++, plain", "Transformer++, fused"):
    found = attention_of(models[name], sizes)
    print(f"{name}: {', '.join(found)}")
    assert any("softmax" in n for n in found) == ("plain" in name)  # the fused kernel makes no softmax of its own

# %% [markdown]
# If the second line ever shows `_softmax`, then no fused kernel took the job, and what looks like a comparison with fused attention is one with
# plain. The assertion in the cell looks for that.
#
# ## 6. Measure
#
# What is timed is a *training step* of the units, forward and backward, without embedding and head. A ratio of two times is only worth
# something if both sides had the same chances, so:
#
# 1. every step has the same number of tokens: when T doubles, the batch B halves;
# 2. all models and lengths take turns in one process, so that a busy moment hits all of them;
# 3. the first step is not counted, of the others you see the median, and the clock is read only when the device is done;
# 4. parameters are of order one, as in trained models (lecture 03);
# 5. sizes, machine, threads and the kernel of the attention are written down.
#
# Before a step is run, its memory is predicted from the shorter ones: when T doubles, a part that grows like T² grows by at most four times
# its last growth. A step that would not fit is drawn as a cross.


# %%
def measure(models, sizes, limit):
    """Of each (model, T) that fits: the seconds of each round. Of each model and T: the peak bytes, or None."""
    steps, peaks = {}, {name: {} for name in models}
    with steady_processor():  # numbers near zero and freed memory cost no extra time
        for T in sizes.lengths:
            for name, model in models.items():
                known, peaks[name][T] = list(peaks[name].values()), None
                growth = known[-1] - known[-2] if len(known) > 1 and None not in known else 0
                if None in known or (known and known[-1] + 4 * growth > limit):
                    continue
                model.zero_grad(set_to_none=True)
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
seconds, peaks = measure(models, sizes, preset.limit)
median = {
    n: {T: summary(seconds[n, T])["median"] if (n, T) in seconds else None for T in sizes.lengths} for n in models
}
print(f"milliseconds a step of {sizes.tokens:,} tokens, D = {sizes.dim}, S = {sizes.qk_dim}, C = {sizes.chunk_size}")
print(f"{'T':>22}", *(f"{T:>8,}" for T in sizes.lengths))
for name, by_T in median.items():
    print(f"{name:22}", *(f"{1000 * t:8.1f}" if t else "       -" for t in by_T.values()))


def ratios(rival):
    return [(T, t / median["FLASH"][T]) for T, t in median[f"Transformer++, {rival}"].items() if t]


crossings = {
    rival: measured_crossover([dict(T=T, measured=r) for T, r in ratios(rival)]) for rival in ("plain", "fused")
}
if crossings["fused"]:
    reveal("08.a", crossings["fused"], "tokens against fused attention on this machine")
else:
    print("08.a: against fused attention there is no crossover between these lengths")

# %% [markdown]
# Now draw the time of each token. Beside it stands a longer measurement that comes with the package, with its machine and date. It has
# no plain block, and its FLASH-Quad was not run where a step could have held more than 12 GB.

# %% tags=["timing"]
stored = load_stored("bench_cpu")
labels = {"flash": "FLASH", "flash_quad": "FLASH-Quad", "transformer++": "Transformer++, fused"}
rows = {m: [row for row in stored["training"] if row["model"] == m] for m in labels}
here = {name: [(T, t and 1e6 * t / sizes.tokens) for T, t in by_T.items()] for name, by_T in median.items()}
there = {
    labels[m]: [(r["T"], r["seconds"] and 1e6 * r["seconds"]["median"] / stored["settings"]["tokens"]) for r in table]
    for m, table in rows.items()
}
live = STORED if on_gpu else LIVE
on = {"here": torch.cuda.get_device_name() if on_gpu else "CPU, 1 thread", "there": stored["machine"]}
panels = {
    f"this machine ({on['here']}), D = {sizes.dim}": (here, {
        "counted": crossover(**live), "measured, plain": crossings["plain"], "measured, fused": crossings["fused"],
    }),
    f"stored: {on['there']['cpu']}, {on['there']['threads']} threads, {on['there']['date']}, D = 256": (there, {
        "counted": crossover(**STORED), "measured, fused": stored["conclusions"]["crossover"]["measured"],
    }),
}  # fmt: skip
first, last = sizes.lengths[0], [T for T, t in median["Transformer++, fused"].items() if t][-1]
grown = {name: median[name][last] / median[name][first] for name in ("FLASH", "Transformer++, fused")}
flash, rival = grown.values()
title = f"A token at T = {last:,} costs {flash:.1f} times as much as at {first} in FLASH, {rival:.1f} times in the fused block"
figures.show(*figures.cost_against_length(panels, ylabel="microseconds a token", title=title))

# %% [markdown]
# Compare the vertical lines. The counted one cannot tell the rivals apart, since both do the same arithmetic, but the clock can. A measured
# crossover may come earlier or later than the counted one, depending on what each side does besides multiplying. How far apart are count and clock at
# each length?

# %% tags=["timing"]
print("your machine, block / FLASH\n     T   counted   measured, fused   measured, plain")
plain_by_T = dict(ratios("plain"))
for T, r in ratios("fused"):
    c = counted(T, **live)
    by_plain = f"{plain_by_T[T]:.2f}" if T in plain_by_T else "-"
    print(f"{T:6,} {sum(c['block']) / sum(c['two FLASH']):9.2f} {r:17.2f} {by_plain:>17}")
print(
    "crossovers: counted", round(crossover(**live)), *(f"| {rival} {T or 'not here'}" for rival, T in crossings.items())
)

# %% tags=["nbval-check-output"]
end = stored["conclusions"]
print("stored, D = 256, block / FLASH\n     T   counted   measured, fused   measured / counted")
for s in end["speedups"]:
    print(f"{s['T']:6,} {s['counted']:9.2f} {s['measured']:17.2f} {s['fraction']:20.2f}")
print("crossovers: counted", round(crossover(**STORED)), "| fused", end["crossover"]["measured"])
apart = [r["seconds"]["high"] / r["seconds"]["low"] - 1 for m in ("flash", "transformer++") for r in rows[m]]
print(f"each a median of {stored['settings']['rounds']} rounds, which differ by {max(apart):.0%} at most")
same_tokens = end["constant_tokens"]
print(f"FLASH, T = {same_tokens['long']} over {same_tokens['short']}: {same_tokens['ratio']:.2f} times the time")
assert all(0.9 < s["fraction"] < 1.2 for s in end["speedups"]) and 0.9 < same_tokens["ratio"] < 1.1
assert end["speedups"][1]["measured"] < 1 < end["speedups"][2]["measured"]  # section 8

# %% [markdown]
# In your own table, look at the two measured columns. Where the plain one lies above the counted one, a plain rival makes FLASH look better than its
# arithmetic, as the paper's table did in section 1. That supports the suspected cause, memory traffic, though it proves nothing
# about the paper's TPUs.
#
# On the stored machine the measured speed-up follows the counted one within a fifth at every length: there, fewer FLOPs *are* less
# time, and the cost of FLASH is flat, as promised. Do not read much into a crossover at 1425 where 1906 was counted, however, because rounds of one
# and the same step differ by up to a fifth, and at T = 1024 and 2048 the two models differ by less.
#
# ## 7. Memory
#
# A training step keeps what the backward pass will need, and parameters are a small part of that. At a constant number of tokens
# everything that is kept *for each token* is the same at every T, so only the attention matrices can grow. How many of them does a step hold?
# Double T, and see by how much the peak grows.


# %% tags=["nbval-check-output"]
def matrices_held(name, short, long):
    """The growth of the peak, in attention matrices of one layer: B H T T = tokens x H x T numbers of 4 bytes."""
    growth = peaks[name][long] - peaks[name][short]
    return growth / (4 * sizes.tokens * (long - short) * models["Transformer++, fused"][0].heads)


short, long = [T for T, peak in peaks["Transformer++, plain"].items() if peak][-2:]
held = {name: matrices_held(name, short, long) for name in ("Transformer++, plain", "Transformer++, fused", "FLASH")}
for name, n in held.items():
    print(f"{name:21} holds {'none' if abs(n) < 0.1 else 'more than one'} of the T x T matrices")
    assert n > 1.5 if "plain" in name else abs(n) < 0.1

# %% [markdown]
# The plain block holds more than one matrix at its peak, since it keeps one and makes others on the way back. FLASH and the fused block hold none,
# and their peak does not depend on T. But FLASH's states and chunks need room too, and its gate and values are twice as wide as the model.
#
# **Your second guess.** At T = 32,768, a step of two FLASH units holds 1.54 GB (stored, D = 256, 32,768 tokens).
# How many times as much does a block with *fused* attention hold? Write 20 if you expect twenty times as much.

# %%
my_second_guess = None  # your number here
predict("08.b", my_second_guess)

# %%
peak = {m: {row["T"]: row["peak_bytes"] for row in table} for m, table in rows.items()}
reveal("08.b", peak["transformer++"][32_768] / peak["flash"][32_768], "times as much")

# %% tags=["nbval-check-output"]
print("stored peak of a step, GB")
print(f"{'T':>21}", *(f"{T:>7,}" for T in lengths))
for m, by_T in peak.items():
    print(f"{labels[m]:21}", *(f"{b / 1e9:7.2f}" if b else "      -" for b in by_T.values()))
print("FLASH-Quad at 16,384:", next(row["reason"] for row in rows["flash_quad"] if row["reason"]))

# %% [markdown]
# It holds *less*, and at every length. Fused attention took the T² out of memory, though not out of time, so against a fused
# block FLASH saves no memory in training. Against a plain one it does. (While *writing* it is the other way round: there a cache grows with
# T and FLASH's state does not, which is lecture 09.)

# %% tags=["timing"]
in_MB = {name: [(T, b and b / 1e6) for T, b in by_T.items()] for name, by_T in peaks.items()}
stored_MB = {labels[m]: [(T, b and b / 1e6) for T, b in by_T.items()] for m, by_T in peak.items()}
panels = {title: (each, {}) for title, each in zip(panels, (in_MB, stored_MB))}
title = "Attention matrices grow with T; FLASH and a fused block hold none and stay flat"
figures.show(*figures.cost_against_length(panels, ylabel="peak memory of a step, MB", title=title))

# %% [markdown]
# ## 8. Misconception 2: linear means faster at my length
#
# "Linear" says how a cost *grows* and nothing of how large it is. So look back at the stored table of section 6, in its first two rows, since
# that is where most sequences are; a page of a book has some hundreds of tokens. There the linear model is the slower one: at 512 the
# block needs 0.78 of its time. FLASH's advantage is that it stays where it is while the other climbs.
#
# The question to ask is therefore *at which length do I train?*, and the answer is found at that length and nowhere else.
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
curves["stored, fused rival"] = [(s["T"], s["measured"]) for s in end["speedups"]]
curves["yours, fused rival"], curves["yours, plain rival"] = ratios("fused"), ratios("plain")
title = "The rival's time over FLASH's: the comparisons differ in where they pass 1"
figures.show(*figures.speedups(curves, title=title))

# %% [markdown]
# Read the table with three reservations. On the V100 FLASH loses at T = 512, with 254 against 222 ms, and there was a
# fourth length: at T = 4096 Transformer++ ran out of memory and FLASH took
# 452.9 ms, but that step had 4096 tokens and the others 2048, so it cannot be set beside them. As to the rival, the paper does not say how its
# Transformers compute attention; that they grow as plain ones do is our reading. And your rows are of one pair of layers on one machine, theirs of whole
# models, so compare shapes and not heights.
#
# ## 10. What the paper's headlines mean
#
# The paper's best known numbers are not step times. A *speed-up* there is a ratio of training cost to reach the quality that the
# rival has at its end, after 125,000 steps (Figure 1 draws quality against core-days at T = 8192). Each headline is therefore a product, the ratio of
# step times multiplied by the ratio of steps needed, and you can take it apart.

# %% tags=["nbval-check-output"]
headlines = {  # speed-up, rival's ms, FLASH's ms, all at T = 8192
    "4.9 over Transformer++ (Wiki-40B)": (4.9, 261.0, 62.5),
    "25.6 over Transformer (Wiki-40B)": (25.6, 260.7, 62.5),
    "12.12 over Transformer+ (PG-19)": (12.12, 1292, 250),
}
for name, (speedup, rival, flash) in headlines.items():
    steps = rival / flash
    print(
        f"{name:34} = {steps:.1f} a step x {speedup / steps:.1f} fewer steps ({125 * steps / speedup:.0f} of 125 thousand)"
    )
print(f"FLASH-Quad, 5.23 over Transformer+: {125 * 1292 / 560 / 5.23:.0f} of 125 thousand steps")
print(f"the same step against Transformer++ (PG-19): {1272 / 250:.1f}; 12.12 / 1.21 = {12.12 / 1.21:.0f}")

# %% [markdown]
# A step is four to five times as fast. The rest of each number is about quality and not about speed, and three things do not fit:
#
# - **12.1.** Abstract and introduction name Transformer++ as the rival, whereas the table and section 4.2 compare with Transformer+.
#   Transformer++ itself reaches that quality 1.21 times sooner, so against it about 10 remains.
# - **55 thousand steps.** The text gives this number for FLASH-Quad and for FLASH. It fits FLASH-Quad; 12.12 needs about 53 thousand.
# - **25.6.** The rival is the plain Transformer, whose perplexity at 8192 (18.25) is worse than at 512 (17.34), which is odd.
#   It alone was trained without gradient clipping. So a quality that may come from unstable runs brings a factor of 6 into the 25.6.
#
# None of this says that FLASH is slow. It says: ask what a ratio is a ratio of.
#
# ## 11. What C costs
#
# The chunk length C is part of the model (lecture 05), and it has a price. As C grows, the local multiply-adds grow, (C + 1) (S + E) a token,
# while the global ones stay at 4 S E. By multiply-adds alone the smallest C would be the best. But between the products numbers have
# to lie in memory: C scores for each token, and S E / C numbers of states, since there is one state for C tokens.
#
# **Your line.** For which C is C + S E / C the least?


# %%
def best_chunk(S, E):
    return ...


learner.your_line("08.e", best_chunk, ((64, 256), 128), ((128, 512), 256), ((2, 8), 4))

# %% [markdown]
# <details><summary>The line</summary>
#
# `return (S * E) ** 0.5`, because the slope is 1 - S E / C², which is zero there.
#
# </details>
#
# So there are two counts, and they disagree about small C. Which one does the clock follow?

# %% tags=["nbval-check-output"]
D, S, E, F = (LIVE[letter] for letter in "DSEF")
chunks = [2**n for n in range(3, 11)]  # 8 to 1024
counts = {
    "multiply-adds": [sum(counted(2048, D, S, E, C, F)["two FLASH"]) // 2048 for C in chunks],
    "scores and states": [2 * (C + S * E / C) for C in chunks],
}
for name, values in counts.items():
    print(f"{name:17} a token:", ", ".join(f"C = {C}: {v:,.0f}" for C, v in zip(chunks, values)))
assert counts["multiply-adds"] == sorted(counts["multiply-adds"])  # the smallest C needs the least
least = chunks[int(np.argmin(counts["scores and states"]))]
print(f"fewest scores and states: C = {least}, and sqrt(S E) = {(S * E) ** 0.5:.0f}")
print(f"at the paper's base size sqrt(S E) = {(128 * 1536) ** 0.5:.0f}; the paper took C = 256, and 512 on PG-19")

# %% tags=["timing"]
T = 2048
of_C = {C: make_units("flash", replace(sizes, dim=D, qk_dim=S, chunk_size=C)) for C in chunks}
steps = {C: training_step(model, replace(sizes, dim=D), sizes.tokens // T, T) for C, model in of_C.items()}
with steady_processor():
    timed = time_in_turn(steps, 3, device=sizes.device)
by_C = [1000 * summary(timed[C])["median"] for C in chunks]
fastest = chunks[int(np.argmin(by_C))]
print(f"C = 8 takes {by_C[0] / min(by_C):.1f} times the least time, C = 1024 {by_C[-1] / min(by_C):.1f} times")
title = f"T = {T}: the fewest multiply-adds are at C = 8, the least time is at C = {fastest}"
figures.show(*figures.chunk_costs(chunks, counts, by_C, title=title))

# %% [markdown]
# Had the clock followed the arithmetic, C = 8 would take the least time. Look at the left end, where the two counts part: the time
# goes with the one that counts scores and states if it falls there, and with the arithmetic if it rises. In the middle the curve is nearly flat, so which C comes
# out as the fastest may change from run to run.
#
# What does a longer chunk *buy*? More tokens are read one by one. The paper's Figure 8 tries C = 128 to 1024 and finds that a longer
# context likes a larger C; it did not tune C. (Read it for its order: its end point for C = 256 at 8192 is a perplexity of
# 15.37, where Table 12 says 15.11.) Lecture 10 looks at what C buys.
#
# ## 12. How a benchmark flatters
#
# Suppose you want FLASH to look good. You need not lie, because six choices are enough:
#
# | choice | why it flatters |
# | --- | --- |
# | 1 the rival is plain | where a fused kernel can be had, one would train with that |
# | 2 only the attention is compared | the dense layers are left out, and both sides pay them |
# | 3 one unit against one block | half the parameters |
# | 4 hidden pairs count for the rival | a full matrix has twice as many entries as pairs that may be read |
# | 5 only the longest T is shown | the curve crosses 1 somewhere, and you do not show where |
# | 6 a constant batch instead of constant tokens | each step at a longer T has more tokens in it |
#
# Here are the first five. Each arrow begins at what an honest comparison of the same kind says, counted, measured or stored, and ends at what
# would be reported.

# %% tags=["nbval-check-output"]
c = counted(4096, **LIVE)
honest = sum(c["block"]) / sum(c["two FLASH"])
choices = {
    "2 only the attention": (honest, c["block"][1] / c["two FLASH"][1], "counted"),
    "3 one unit against one block": (honest, 2 * honest, "counted"),
    "4 hidden pairs count for the rival": (
        honest, (c["block"][0] + 4096**2 * 2 * LIVE["D"]) / sum(c["two FLASH"]), "counted",
    ),
}  # fmt: skip
for name, (true, flattering, _) in choices.items():
    print(f"{name:35} {flattering:.2f} instead of {true:.2f}")
for m in ("flash", "transformer++"):
    count = {row["T"]: row["multiply_adds"] / row["batch"] for row in rows[m]}
    per_text, per_token = count[32_768] / count[512], count[32_768] / count[512] / 64
    print(
        f"6 {labels[m]:21} from T = 512 to 32,768: constant batch {per_text:3.0f} times, constant tokens {per_token:4.1f}"
    )

# %% tags=["timing"]
T = ratios("plain")[-1][0]  # the longest that fits with a plain rival
measured = {"1 the rival is plain": (dict(ratios("fused"))[T], dict(ratios("plain"))[T], "measured here")}
at_ends = {"5 only the longest T, not the shortest": (*(end["speedups"][i]["measured"] for i in (0, -1)), "stored")}
title = "Five choices, and how far each moves the answer away from the honest one"
figures.show(*figures.flattering_choices(measured | choices | at_ends, title=title))

# %% [markdown]
# Choice 6 moves no ratio; it makes a curve look steep. A Transformer's step grows 637 times from T = 512 to 32,768 at a constant batch,
# of which a factor of 64 is simply more tokens, and FLASH's own curve is then no longer flat either.
#
# Turn it round, and FLASH looks bad: take narrow models, and T = 512 only. A benchmark is honest if it says its length, its rival and
# its sizes, and shows where the curves cross.
#
# ## 13. An honest answer to complaint two
#
# *Fewer FLOPs, and still not faster.* How much of a step is not matrix products at all? The stored benchmark timed the matrix products of each model
# alone, in the same shapes. That is its *floor*, and what a step takes above it is overhead.

# %% tags=["nbval-check-output"]
print("     T   FLASH / its floor   fused block / its floor")
for s in end["speedups"]:
    print(f"{s['T']:6,} {s['flash_over_floor']:15.2f} {s['transformer_over_floor']:22.2f}")
over = max(s["flash_over_floor"] for s in end["speedups"])
print(f"on this CPU FLASH's overhead is at most {over - 1:.0%} of its products")
assert over < 1.3

# %% [markdown]
# That is a statement about a CPU. A data-centre GPU multiplies so much faster than it can read memory that the same step
# is a different one there: most of its time may be memory traffic. Nothing was measured on a GPU for this course, but bytes and FLOPs can be
# counted, and lecture 11 turns them into a predicted time, for today's cards and against today's rival, fused attention. From those stored
# predictions (the paper's base size, 65,536 tokens a step, half precision) you can compute a crossover for each card, once with FLASH as torch computes it and
# once with the kernels of lecture 11.

# %% tags=["nbval-check-output"]
predicted = {(r["model"], r["T"]): r["milliseconds"] for r in load_stored("traffic")["rows"]}
where = {}
for card in ("T4", "L4", "A100", "H100"):
    for by in ("torch", "Triton"):
        times = [(T, predicted["Transformer++", T][card] / predicted[f"FLASH, {by}", T][card]) for T in lengths]
        found = measured_crossover([dict(T=T, measured=r) for T, r in times])
        where[card, by] = found or ("below 512" if times[0][1] > 1 else "none")
    by_kernels = "no matrix units" if card == "T4" else where[card, "Triton"]
    print(f"{card:5} predicted crossover: by torch {where[card, 'torch']:6,}, by kernels of our own: {by_kernels}")
assert all(where[card, "torch"] > crossover(**BASE) for card in ("T4", "L4", "A100", "H100"))

# %% [markdown]
# By the same arithmetic, whose crossover was counted at 1836, FLASH as torch computes it is predicted to win from about T = 4700 on, on the oldest card, and from 6000 to
# 12,000 on the others. With kernels that move fewer bytes it is predicted to be level or better from the shortest length on.
# (A T4's matrix units are out of reach for Triton's kernels. And all of these are predictions, which nothing has tested yet.)
#
# So the answer has three parts.
#
# 1. **On a CPU there is hardly any overhead.** In the stored run FLASH's time is its matrix products and little else, quite unlike the T
#    states of linear attention in lectures 00 and 04. On a GPU the overhead is memory traffic, and whether it is small is a question of kernels.
# 2. **The saving comes late.** Counted, it begins near T = 1900 at D = 256 and at D = 768; measured on the stored machine against a fused block, at
#    1425; on yours, where section 6 printed it. Below its crossover FLASH is slower.
# 3. **Part of the paper's speed-up probably belonged to its rival.** The memory that FLASH saved against plain attention, fused attention
#    saves too.
#
# Complaint two therefore does not hold against FLASH from its crossover on, but "faster at every length" is not what the
# evidence says either. What the field has done with these two findings since 2022 is [lecture 13](13_after_flash.ipynb).
#
# ## 14. What you take along
#
# Fill in the last column yourself. "Not shown" is a good answer. `learner.verdict("08 speed", "...")` stores a verdict, and
# `flash-tutorial report` prints them all.
#
# | claim | your evidence | your verdict |
# | --- | --- | --- |
# | FLASH's cost is linear in T | sections 2, 6: the count; a token costs as much at 32,768 as at 1024, from seven rounds | |
# | The crossover is at T = 1836 at the base size | section 3: a formula, proved for the count alone | |
# | Fewer FLOPs are faster | section 1: FLASH-Quad in Table 12; section 11: C = 8 | |
# | FLASH is faster than Transformer++ | sections 6, 8: at some lengths; your crossover against fused | |
# | FLASH saves memory in training | section 7: against plain yes, against fused no | |
# | 12.1 times as fast as Transformer++ | section 10: another rival, and quality in the ratio | |
# | There is no overhead in practice | section 13: hardly any on a CPU at D = 256; on a GPU predicted, and a matter of kernels | |
#
# **Three takeaways**
# 1. There is no single crossover: one is counted, one is against plain attention, one is against fused. Say which, and on what machine.
# 2. Linear says how cost grows. Look at your own length.
# 3. Count multiply-adds *and* memory traffic; then measure a whole step, with the same tokens, in turn.
#
# **Exercises** [Problem set 08](../exercises/08_scaling.ipynb), six tasks: count, predict crossovers, write a fair timer, and mend a benchmark that flatters.
#
# **Next** [Lecture 09](09_generation.ipynb) lets the model write, with a state of constant size.
