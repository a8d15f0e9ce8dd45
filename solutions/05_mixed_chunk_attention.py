# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Problem set 05: mixed chunk attention
#
# [Lecture 05](../notebooks/05_mixed_chunk_attention.ipynb) · [the lecture without results](../notebooks/work/05_work_mixed_chunk_attention.ipynb) · [glossary](../docs/glossary.md)
#
# Seven exercises, 100 points, about two and a half hours. The four marked *core* are 70 points in an hour and a half.
# They belong to lecture 05. No exercise needs a GPU.
#
# On Colab, first choose *File > Save a copy in Drive*: a notebook that was opened from a link is not saved.
#
# Write your code where it says `raise NotImplementedError`; the cell below each exercise checks it, and says where it differs.
# `hint("05.1")` gives the first of three hints, and another call the next one. `progress("05")` shows your points.
#
# `check` and grading call your functions by name, with the arguments that the text names, so keep both. Grading draws numbers and
# sizes of its own, and where you *mend* or *prove*, it also tries cases that `check` does not show.
# What a function is given belongs to its caller. Unless the text says otherwise, changing it counts as wrong, so work on a copy.

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

STUDENT = "me"  # your name or number; the numbers of 05.6 are drawn from it

# %% [markdown]
# ## 05.1 build: `to_chunks`
#
# **10 points** · difficulty 1/5 · importance 4/5 · 10 minutes · core
#
# Mixed chunk attention begins with a cut: the T tokens of a sequence become G chunks of C neighbours each.
# If T is not a multiple of C, the last chunk comes out too short, so it is filled up with zero vectors at its end.
#
# You may use `numpy`.
#
# <details><summary>I get "cannot reshape array of size ..."</summary>
#
# The number of tokens is not a multiple of C yet. Append the zero vectors before you reshape.
#
# </details>


# %%
def to_chunks(x_TD, C):
    """Cut a sequence into chunks.

    x_TD: array (T, D), T >= 1. C: tokens in a chunk.
    Returns an array (G, C, D), G = T / C rounded up. Chunk 0 holds tokens 0 to C - 1.
    """
    # BEGIN SOLUTION
    missing = -len(x_TD) % C
    rows = np.concatenate([x_TD, np.zeros((missing, x_TD.shape[1]))])
    return rows.reshape(-1, C, x_TD.shape[1])
    # END SOLUTION


# %%
check("05.1", to_chunks)

# %% [markdown]
# ## 05.2 build: `earlier_chunks`
#
# **15 points** · difficulty 2/5 · importance 5/5 · 20 minutes · core
#
# Each chunk has left a summary, `kv_GSE[g]`, and chunk g reads the summaries of earlier chunks: either their sum or their mean,
# where the mean is here the sum divided by the number of summaries read. (The lecture's divisor is the number of tokens, C times as many.)
# Here the function also has a *lag*: chunk g reads chunks 0 to g - lag, so that a lag of 1 means all chunks before it.
# Where there is nothing to read, the result is zero.
#
# Write it without a loop over G (2 points). If `kv_GSE[g]` alone changes, output g must stay the same, bit for bit, in bfloat16 as well as
# in float64; and the result keeps the number format of `kv_GSE`
# (you may sum on the way in another format with at least as many digits).
#
# You may use `torch`.
#
# <details><summary>I get "Sizes of tensors must match" for a small G</summary>
#
# If the lag is larger than the number of chunks, nothing is read at all. Is your block of zeros then longer than G?
#
# </details>


# %%
def earlier_chunks(kv_GSE, lag=1, mean=True):
    """What each chunk reads of the chunks before it.

    kv_GSE: tensor (G, S, E), a summary for each chunk. lag: at least 1.
    Returns a tensor (G, S, E) in the number format of kv_GSE: for chunk g the mean (or the sum) of kv_GSE[0]
    to kv_GSE[g - lag], or zeros where that is nothing.
    """
    # BEGIN SOLUTION
    G = len(kv_GSE)
    lag = min(lag, G)
    total = torch.cat([torch.zeros_like(kv_GSE[:lag]), kv_GSE.cumsum(0)[: G - lag]])
    if not mean:
        return total
    read = (torch.arange(G) - lag + 1).clamp(min=1)
    return total / read[:, None, None].to(total.dtype)
    # END SOLUTION


# %%
check("05.2", earlier_chunks)

# %% [markdown]
# ## 05.3 build: `mixed_chunk`
#
# **25 points** · difficulty 4/5 · importance 5/5 · 35 minutes · core
#
# Now you write the whole mixing of lecture 05, with the lag of 05.2 in it. The output of token i, in chunk g, is the sum of two parts:
#
# - **local**: the weights relu²(q · k / C + bias) of `quad_q` and `quad_k`, applied to the values of the tokens in its own chunk;
#   if causal, only of those up to token i itself. `bias_CC[a, b]` belongs to a query at position a of its chunk and a key at position b;
# - **global**: `lin_q` times a sum of kᵀ v, where k is `lin_k`. If causal, the sum runs over chunks 0 to g - lag; if not, over all
#   chunks, its own one included, whatever the lag. With `combine="mean"` the sum is divided by the number of tokens in those chunks,
#   and remember that the last chunk may have fewer than C. Where there is nothing to read, the global part is zero.
#
# Write it without a loop over tokens (2 points); a loop over chunks is allowed. No array may hold a number for each pair of tokens, and
# no chunk may multiply the tokens of earlier chunks again (2 points): with T = 4,000, C = 20, S = 3 and E = 5 you may take 40 MB, where
# a T × T attention matrix would take 128, and multiply four times as often as is needed.
#
# You may use `numpy`, and what you wrote in 05.1 and 05.2
# (a loop over tokens in your 05.1 counts here too).
# (05.2 takes a tensor: `torch.from_numpy(x)` and `.numpy()` lead there and back.)
#
# <details><summary>I get "operands could not be broadcast together"</summary>
#
# Print the shapes of all five arrays after you have cut them. The quad and lin heads should be (G, C, S), v (G, C, E), the bias (C, C).
#
# </details>


# %%
def mixed_chunk(quad_q, quad_k, lin_q, lin_k, v, bias_CC, C, causal=True, combine="mean", lag=1):
    """Mixed chunk attention of one sequence.

    quad_q, quad_k, lin_q, lin_k: arrays (T, S). v: array (T, E). bias_CC: array (C, C).
    combine: "mean" or "sum". lag: used if causal.
    Returns an array (T, E).
    """
    # BEGIN SOLUTION
    T, E = v.shape
    G = -(-T // C)
    rows = [np.pad(x, ((0, G * C - T), (0, 0))) for x in (quad_q, quad_k, lin_q, lin_k, v, np.ones((T, 1)))]
    quad_q, quad_k, lin_q, lin_k, v_GCE, there = (x.reshape(G, C, -1) for x in rows)
    A_GCC = np.maximum(quad_q @ quad_k.swapaxes(1, 2) / C + bias_CC, 0) ** 2
    near = (np.tril(A_GCC) if causal else A_GCC) @ v_GCE

    sums = [lin_k.swapaxes(1, 2) @ v_GCE, there.sum(1, keepdims=True)]  # of each chunk: k^T v, and its tokens
    if causal:
        kept = max(G - lag, 0)
        sums = [np.concatenate([np.zeros((G - kept, *x.shape[1:])), x.cumsum(0)[:kept]]) for x in sums]
    else:
        sums = [x.sum(0, keepdims=True) for x in sums]
    kv_GSE, tokens = sums
    far = lin_q @ (kv_GSE / np.maximum(tokens, 1) if combine == "mean" else kv_GSE)
    return (near + far).reshape(G * C, E)[:T]
    # END SOLUTION


# %%
check("05.3", mixed_chunk)

# %% [markdown]
# ## 05.4 prove: `assert_causal_and_complete`
#
# **20 points** · difficulty 3/5 · importance 5/5 · 30 minutes · core
#
# Write a test. It gets a layer, `fn`, which takes an array (T, 8) of float64 and returns an array (T, 8), and the layer's chunk length C;
# you choose T. The layer should be causal, which means that no output depends on a later token, nor on how many tokens follow. And it should
# be complete: each output depends on its own token and on *every* earlier one. Your test raises an `AssertionError` if the layer
# breaks either promise, and returns without one if it keeps both.
#
# Grading stops after 10 seconds in all, and asks for each layer more than once: keep a call well below 0.1 seconds.
#
# Your test is tried on three layers that are right and on sixteen that are wrong. A wrong one may be wrong at a single output, in a single
# channel, by a millionth, or through rounding alone, which shows best when a token changes by very much. You may rely on one thing: as long
# as your inputs are of order one, no weight inside a chunk is exactly zero. So look for leaks with large changes too, and for gaps with
# changes of order one.
#
# You may use `numpy`.
#
# <details><summary>My test fails a layer that is right</summary>
#
# Do you compare with a fixed output, or with one reading of the paper? Ask only which outputs move when you change a token.
# Sequences of zeros or of NaN do not make good tests, because at zero all values vanish, and 0 times NaN is NaN.
# And if you compare a sequence with its beginning alone, remember that products of different sizes may round differently: allow 1e-9 there.
#
# </details>


# %%
def assert_causal_and_complete(fn, C):
    """Raise AssertionError unless output i of fn depends on tokens 0 to i, on each of them, and on no other.

    fn: takes an array (T, 8), returns an array (T, 8), any T. C: its chunk length.
    """
    # BEGIN SOLUTION
    T = 3 * C + max(C - 1, 1)
    x_TD = np.random.default_rng(0).normal(size=(T, 8))
    before = fn(x_TD)
    for j in range(T):
        changed = x_TD.copy()
        changed[j] += 5 + np.arange(8)
        moved = (fn(changed) != before).any(axis=1)
        assert not moved[:j].any(), f"an output before token {j} moves with it"
        assert moved[j:].all(), f"an output from token {j} on does not read it"
    for n in range(1, T):
        assert np.abs(fn(x_TD[:n]) - before[:n]).max() < 1e-9, f"{n} tokens alone give different outputs"
    # END SOLUTION


# %%
check("05.4", assert_causal_and_complete)

# %% [markdown]
# ## 05.5 mend: three suspects
#
# **15 points** · difficulty 4/5 · importance 5/5 · 25 minutes
#
# In each of these three layers an early output knows something about what comes later, and in each a single fault is to blame.
# Find the faults and mend them. Afterwards all three layers should compute the same thing: local relu² weights with scores divided by C, and the bare
# sum of kᵀ v over strictly earlier chunks. Each mended layer gives 4 points.
#
# Three more points are for saying which experiment exposes which fault, in the layers as they are given. Each experiment below exposes
# exactly one of them, so try each on each layer, and write its word under `one`, `two` and `three`:
#
# - `"chunks"`: whole chunks are appended to the sequence, none of its tokens changes, and yet one of its outputs moves;
# - `"rounding"`: a later token gets 30 times larger, and an output moves in bfloat16, but in float64 by less than a billionth of its size;
# - `"token"`: a later token changes, and an output moves in float64 by more than a billionth of its size.
#
# The layers take q and k (G, C, S) and v (G, C, E) as tensors, in float64 or in bfloat16, and return (G, C, E) in the same number format.
# In both formats an output must stay the same, bit for bit, when a later token changes.
#
# <details><summary>I get "expected m1 and m2 to have the same dtype"</summary>
#
# A tensor that you create yourself gets the default format. Use `zeros_like`, or `.to(v.dtype)`.
#
# </details>


# %%
def suspect_one(q_GCS, k_GCS, v_GCE):
    A_GCC = torch.relu(q_GCS @ k_GCS.mT / q_GCS.shape[1]).square().tril()
    # BEGIN SOLUTION
    # STUB kv_GSE = (k_GCS.mT @ v_GCE).cumsum(0)
    total = (k_GCS.mT @ v_GCE).cumsum(0)
    kv_GSE = torch.cat([torch.zeros_like(total[:1]), total[:-1]])
    # END SOLUTION
    return A_GCC @ v_GCE + q_GCS @ kv_GSE


def suspect_two(q_GCS, k_GCS, v_GCE):
    A_GCC = torch.relu(q_GCS @ k_GCS.mT / q_GCS.shape[1]).square().tril()
    kv_GSE = k_GCS.mT @ v_GCE
    # BEGIN SOLUTION
    # STUB kv_GSE = kv_GSE.cumsum(0) - kv_GSE
    kv_GSE = torch.cat([torch.zeros_like(kv_GSE[:1]), kv_GSE.cumsum(0)[:-1]])  # moved, not subtracted
    # END SOLUTION
    return A_GCC @ v_GCE + q_GCS @ kv_GSE


def suspect_three(q_GCS, k_GCS, v_GCE):
    # BEGIN SOLUTION
    # STUB A_GCC = torch.relu(q_GCS @ k_GCS.mT / (q_GCS.shape[0] * q_GCS.shape[1])).square().tril()
    C = q_GCS.shape[1]
    A_GCC = torch.relu(q_GCS @ k_GCS.mT / C).square().tril()
    # END SOLUTION
    kv_GSE = k_GCS.mT @ v_GCE
    kv_GSE = torch.cat([torch.zeros_like(kv_GSE[:1]), kv_GSE.cumsum(0)[:-1]])
    return A_GCC @ v_GCE + q_GCS @ kv_GSE


# BEGIN SOLUTION
# STUB found_05_5 = dict(one=None, two=None, three=None)
found_05_5 = dict(one="token", two="rounding", three="chunks")
# END SOLUTION

# %%
check("05.5", suspect_one, suspect_two, suspect_three, found_05_5)

# %% [markdown]
# ## 05.6 predict: what the chunk decides
#
# **10 points** · difficulty 2/5 · importance 4/5 · 15 minutes
#
# The next cell prints your sizes: T tokens in chunks of C, one token t (counted from 0), and the widths S and E. Answer on paper.
# In `a` to `c` the layer is causal, and there is no padding.
#
# - `a`: how many tokens does token t read one by one, itself included?
# - `b`: how many chunk summaries does it read?
# - `c`: at which C do both parts need the same number of multiplications? Count for one token. Local: it reads all C tokens of its chunk, masked ones
#   too, at S + E multiplications each. Global: it is written into an S × E array, and reads one. Round to a whole number.
# - `d`: True or False: if the layer is causal and C = T, it computes what the gated attention unit of lecture 02 does (the unit of FLASH-Quad),
#   with T as the divisor of its scores.
# - `e`: True or False: the same holds if the layer is not causal.
# - `f`: if the layer is causal and C = 1, what does it compute: `"linear attention"` over the earlier tokens and nothing else,
#   or `"linear attention and the token itself"`?
#
# <details><summary>My answer to d or e is called wrong, and I wrote "True"</summary>
#
# Write `True` and `False` without quotes.
#
# </details>

# %%
print(personal("05.6", STUDENT))

# %%
# BEGIN SOLUTION
# STUB answer_05_6 = dict(a=None, b=None, c=None, d=None, e=None, f=None)
_n = personal("05.6", STUDENT)
answer_05_6 = dict(
    a=_n["t"] % _n["C"] + 1,
    b=_n["t"] // _n["C"],
    c=round(2 * _n["S"] * _n["E"] / (_n["S"] + _n["E"])),
    d=True,
    e=False,
    f="linear attention and the token itself",
)
# END SOLUTION
check("05.6", answer_05_6, student=STUDENT)

# %% [markdown]
# ## 05.7 explain: sum or mean?
#
# **5 points** · difficulty 2/5 · importance 4/5 · 10 minutes
#
# Somebody's port of FLASH *adds* the means of the earlier chunks, where the paper's Code 8 takes one mean over them.
# It is trained at 1024 tokens with C = 256, and its loss looks fine. Then it is used at 8192 tokens.
# What happens there, and why did nobody see it at 1024? Answer in 30 to 80 words, and say by what factor the last chunk's global part
# is too large, at 1024 and at 8192 tokens.
#
# A person marks this one. At home, once you have written 30 words, you get a model answer and three questions to ask of yours.
#
# <details><summary>It says that a number is missing</summary>
#
# Write both factors as numbers: by how much is the last chunk's global part too large at 1024 tokens, and at 8192?
#
# </details>

# %%
# BEGIN SOLUTION
# STUB text_05_7 = ""
text_05_7 = (
    "The sum of means is g times the mean in a chunk with g earlier chunks. At 1024 tokens there are 4 chunks, so the factor "
    "is at most 3, and the learnt scales of the linear heads and W_out absorb it. At 8192 tokens the last of 32 chunks has a "
    "factor of 31. No parameter was trained for that: the global part drowns the local part."
)
# END SOLUTION
check("05.7", text_05_7)

# %%
progress("05")
