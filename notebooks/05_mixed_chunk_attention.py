# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 05 Mixed chunk attention: near tokens one by one, far ones through a sum
#
# [With results](05_mixed_chunk_attention.ipynb) · [without, to work in](work/05_mixed_chunk_attention.ipynb) · [problem set 05](../exercises/05_mixed_chunk_attention.ipynb) · [glossary](../docs/glossary.md)
#
# Softmax attention compares every pair of tokens, which is precise and costs T².
# Linear attention squeezes the past into one state, which costs only T, but a single token can hardly be picked out of that state again.
# Mixed chunk attention refuses to choose: inside a chunk of C tokens it compares every pair, and between chunks it passes a state along.
# That is the attention of FLASH, and by the end of this lecture you can write it from memory.
#
# **After this lecture you can**
# - write mixed chunk attention as loops, then without loops, then in PyTorch;
# - say which token reads which, in which of two ways, and what that buys over linear attention;
# - test that a causal layer reads nothing later, and name a fault that the value test misses and one that the gradient test misses;
# - say why the sum over chunks is exclusive, and from which chunk on the mean and the sum of means differ;
# - explain why the chunk length C is part of the model here, although it was a speed setting in lecture 04.
#
# **You need** lecture 02 (the gated attention unit) and lecture 04 (linear attention and its exact chunk form).
#
# **Time** 35 minutes to read. Running the code takes about 25 seconds on two CPU cores.
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
# Lecture 04 left a question open: if linear attention in exact chunks answers the paper's third complaint, why does FLASH exist at all?
# Here are three seeds of the tiny model that every lecture trains, made beforehand.

# %% tags=["nbval-check-output"]
import numpy as np

from flash_course import drawing
from flash_course.bench.stored import load_stored

seeds = {name: np.array(row) for name, row in load_stored("scoreboard")["seeds"].items()}
rows = [("held-out bits per byte, seed", 0, 1, 2)]
for name in ("04 linear attention", "05 FLASH, C = 16", "00 transformer++"):
    rows.append((name[3:], *(f"{score:.3f}" for score in seeds[name])))
print(drawing.text_table(rows))
assert seeds["05 FLASH, C = 16"].max() < seeds["04 linear attention"].min() - 0.05

# %% [markdown]
# Even FLASH's worst seed is ahead of the best one of linear attention, and it needs no more multiply-adds than linear attention in chunks
# of the same length (section 1). (This is at T = 64, with chunks of 16, against the barest linear attention, which has no position bias.
# Section 12 gives it one, and the lead is gone.) What does FLASH do differently?

# %%
drawing.show(*drawing.flash_unit())

# %% [markdown]
# There is a **local part**, which is the relu² attention of lecture 02 inside each chunk, and a **global part**, which is linear attention
# with one state for each *chunk*. They are added, and all else is the gated unit that you know.
#
# Two questions from lecture 04. Answer from memory, then open the fold.
#
# **1.** What does the state of linear attention hold?
#
# <details><summary>Answer</summary>
#
# The sum of kᵀ v over all tokens read so far, S × E entries, however many tokens there were.
#
# </details>
#
# **2.** Why is its token-by-token form slow to train, and what does the exact chunk form do about it?
#
# <details><summary>Answer</summary>
#
# There are T sequential steps, each of which moves a whole state. The chunk form passes a state only once a chunk, and computes the inside
# of a chunk as a small matrix product, with the same result for every C.
#
# </details>

# %%
from dataclasses import replace

import torch
import torch.nn.functional as F

from flash_course.bench.stored import compare_with_stored
from flash_course.learner import predict, reveal, score, your_line
from flash_tutorial import FLASH, ModelConfig, reference

score_bytes = 100_000 if torch.cuda.is_available() else 20_000  # of held-out text, on which a model is scored
torch.set_num_threads(1)


def same(a, b):
    """The same shape and, up to rounding, the same numbers."""
    a, b = np.asarray(a), np.asarray(b)
    return a.shape == b.shape and bool(np.abs(a - b).max() < 1e-10)


# %% [markdown]
# ## 1. Why not simply linear attention in chunks?
#
# Let us count what the mixing costs, for one causal sequence of T tokens and the paper's base model. Inside a chunk of C tokens each one
# sees (C + 1) / 2 on average, itself included, at S multiply-adds for the score and E for the value. Between chunks it adds its S × E
# products to a state and reads as many.

# %% tags=["nbval-check-output"]
S, E, C = 128, 1536, 256
table = [("million multiply-adds, T =", "512", "1,024", "8,192", "sequential steps")]
counts = {  # of the pairs that are seen
    "GAU, every pair": (lambda T: T * (T + 1) // 2 * (S + E), "1"),
    "linear, token by token": (lambda T: 2 * T * S * E, "T"),
    "chunks: exact linear, or FLASH": (lambda T: T * (C + 1) // 2 * (S + E) + 2 * T * S * E, "T / C"),
}
for name, (count, steps) in counts.items():
    table.append((name, *(f"{count(T) / 1e6:,.0f}" for T in (512, 1024, 8192)), steps))
print(drawing.text_table(table))

# %% [markdown]
# Both kinds of chunks share a line, because both do a C × C product inside each chunk. Linear attention spends
# it on computing, exactly, the blurry function that token by token would give. Mixed chunk attention has paid for all the pairs of
# the chunk anyway, so it puts a relu² between score and value, and gets sharp weights for the near tokens. (Bias and relu² come on top,
# element by element; and in both kinds, computing whole C × C squares costs more than is counted here.) It gives up only the exactness: C
# becomes part of what the model computes.
#
# Now read along the rows. At T = 512 the GAU needs fewer multiply-adds, and at 8192 about eleven times as many as chunks do. On the paper's
# TPUs, with the same number of tokens in a batch (Table 12, causal), a training step of FLASH goes from 57 to 63 ms between these lengths,
# and one of FLASH-Quad, a stack of GAUs, from 54 to 141 ms.
#
# ## 2. Four heads of one base, on six tokens
#
# Each part gets a query and a key of its own, which costs only 4 S parameters more: four *heads* of z (the paper's word; they are not the attention
# heads of lecture 01), each with a scale and an offset, in the paper's order quad_q, quad_k, lin_q, lin_k. The value v serves both parts as it is.
# (The paper gives no other reason. One may be that the two parts use a score differently: a relu² weight is never negative, while a weight of linear
# attention may be.)
#
# To trace every number by hand, take S = E = 2 and six tokens in chunks of C = 2. In names a 4 or an H stands for the four copies. RoPE
# waits until section 5.

# %% tags=["nbval-check-output"]
z_TS = np.array([(1, 0), (0, 1), (2, 1), (1, 1), (0, 2), (2, 0)])
v_TE = np.array([(0, -4), (8, 0), (4, 8), (4, 4), (0, 4), (-4, 0)])
gamma_4S = np.array([(0, -2), (-1, 1), (1, 1), (1, 2)])
beta_4S = np.array([(-2, 2), (-1, -1), (1, 0), (-1, -1)])


def heads(z_TS, gamma_HS, beta_HS):
    return z_TS * gamma_HS[:, None] + beta_HS[:, None]  # (H, T, S)


six = heads(z_TS, gamma_4S, beta_4S)
quad_q, quad_k, lin_q, lin_k = six
print("token     z   quad_q   quad_k   lin_q   lin_k       v")
for i in range(6):
    row = [f"{a[i][0]:2}, {a[i][1]:2}" for a in (z_TS, quad_q, quad_k, lin_q, lin_k, v_TE)]
    print(f"{i + 1:3}  ", "   ".join(row))

# %% [markdown]
# ## 3. The local part
#
# Inside a chunk this is the attention of lecture 02: the score is divided by C, whatever the length of the sequence, a bias is added, and
# relu² is taken. The bias is one small table of C × C entries that all chunks share.
#
# **Your line.** Token i attends to the tokens of its own chunk, up to itself. Counting from 0, which is the first token of that chunk?


# %%
def first_of_chunk(i, C):
    return ...  # your line


your_line("05.c", first_of_chunk, ((5, 4), 4), ((11, 4), 8), ((6, 7), 0), ((21, 7), 21))

# %% [markdown]
# The next cell has the line: divide without a remainder, and multiply again.


# %% tags=["nbval-check-output"]
def local_loops(q_TS, k_TS, v_TE, bias_CC, C, causal=True):
    T, out_TE = len(q_TS), np.zeros(v_TE.shape)
    for i in range(T):
        first = i // C * C
        last = i if causal else min(first + C, T) - 1
        for j in range(first, last + 1):
            s = q_TS[i] @ k_TS[j] / C + bias_CC[i - first, j - first]
            out_TE[i] += max(s, 0) ** 2 * v_TE[j]
    return out_TE


C, bias_CC = 2, np.array([(0, 1), (-1, 0)])
near_TE = local_loops(quad_q, quad_k, v_TE, bias_CC, C)
for i, j in ((4, 4), (5, 4), (5, 5)):
    product, b = quad_q[i] @ quad_k[j], bias_CC[i - 4, j - 4]
    s = product / C + b
    print(f"token {i + 1} reads {j + 1}: {product:2} / {C} + {b:2} = {s:4.1f}, weight {max(s, 0) ** 2:.0f}")
print("near:", [tuple(int(n) for n in row) for row in near_TE])

# %% [markdown]
# Token 6 reads 1 × (0, 4) from token 5 and 4 × (-4, 0) from itself, which makes (-16, 4). Token 5 is worse off: as the first of its chunk
# it can read only itself, and its one score is 0, so its near part is (0, 0).
#
# ## 4. The global part
#
# A chunk leaves behind one array of S × E entries, the sum of kᵀ v over its tokens; call it the chunk's *summary*. Token i
# multiplies its lin_q with the summaries of the **earlier** chunks. Nothing is applied to the score lin_q · lin_k, so these weights may be negative.
#
# As a formula (equation 8 of the paper, with the division of its Code 8), for the tokens of chunk g of G, counted from 1:
#
# $$\text{far}_g = Q^{\text{lin}}_g \; \frac{1}{(g-1)\,C} \sum_{c=1}^{g-1} {K^{\text{lin}}_c}^{\top} V_c$$
#
# Q, K and V with an index hold the rows of lin_q, lin_k and v in that chunk. In words: add the summaries of chunks 1 to g - 1 and
# divide by the number of tokens in them, so that a *mean* is read. Chunk 1 reads nothing.
#
# **Your line.** Counting chunks from 0, which ones does token i read through their summaries? Return a `range`.


# %%
def chunks_read(i, C):
    return ...  # your line


your_line("05.d", chunks_read, ((8, 4), [0, 1]), ((11, 4), [0, 1]), ((3, 4), []), ((6, 2), [0, 1, 2]))

# %% [markdown]
# All chunks before its own: the next cell has the line again.


# %% tags=["nbval-check-output"]
def summaries(k_TS, v_TE, C):
    """K^T V of each chunk, and how many tokens it has."""
    chunks = [range(first, min(first + C, len(k_TS))) for first in range(0, len(k_TS), C)]
    kv = [sum(np.outer(k_TS[j], v_TE[j]) for j in own) for own in chunks]
    return np.array(kv), np.array([len(own) for own in chunks])


def global_loops(q_TS, k_TS, v_TE, C, causal=True, combine="mean"):
    (kv_GSE, tokens_G), out_TE = summaries(k_TS, v_TE, C), np.zeros(v_TE.shape)
    for i in range(len(q_TS)):
        read = range(i // C) if causal else range(len(kv_GSE))
        if len(read):
            by = sum(tokens_G[c] for c in read) if combine == "mean" else 1
            out_TE[i] = q_TS[i] @ sum(kv_GSE[c] for c in read) / by
    return out_TE


kv_GSE, tokens_G = summaries(lin_k, v_TE, C)
far_TE = global_loops(lin_q, lin_k, v_TE, C)
print("far:", [tuple(int(n) for n in row) for row in far_TE])
title = "The prefix sum, shifted by one chunk, is what a chunk reads"
drawing.show(*drawing.exclusive_sum(kv_GSE, tokens_G, title=title))

# %% [markdown]
# The prefix sum of chunk 2 holds chunks 1 and 2, and it is handed to chunk 3, which reads it;
# what chunk 3 itself adds is for chunk 4, if there is one. This is an *exclusive prefix sum*. Token 6 multiplies its lin_q (3, 0) with
# the last array: 3 × (-1, 2) + 0 × (4, 4) = (-3, 6).
#
# Both parts are sums of weights times values, so each can also be written as a T × T attention matrix. In the global one the weight of a
# pair is lin_q · lin_k over the number of tokens read. On a live page, point at a number, or reach it with Tab and the arrow keys, to see
# what it is made of.

# %% tags=["nbval-check-output"]
from flash_course import lab

i, j = np.indices((6, 6))
own, earlier_chunk = (i // C == j // C) & (j <= i), j // C < i // C
near_weights = np.where(own, np.maximum(quad_q @ quad_k.T / C + np.tile(bias_CC, (3, 3)), 0) ** 2, 0)
far_weights = np.where(earlier_chunk, lin_q @ lin_k.T / np.maximum(i // C * C, 1), 0)
assert same(near_weights @ v_TE, near_TE) and same(far_weights @ v_TE, far_TE)
print("token 6 reads, near + far:", tuple((near_TE + far_TE)[5].astype(int).tolist()))
lab.show(lab.six_tokens())

# %% [markdown]
# ## 5. Without loops
#
# `to_chunks` turns (T, S) into (G, C, S), with zeros after the last token, and then both parts are products of small arrays.
# The zeros do no harm, because a padded key has a value of zero and a padded query makes an output that is cut off at the end.
#
# **Your line.** What remains is the exclusive prefix sum. `np.cumsum` gives the inclusive one; turn it into the exclusive one.


# %%
def exclusive(x_G):
    inclusive = np.cumsum(x_G, axis=0)  # noqa: F841 (your line reads it)
    return ...  # your line


your_line("05.e", exclusive, (([3, 5, 2, 7],), [0, 3, 8, 10]), (([[1, -2], [4, 4]],), [[0, 0], [1, -2]]))

# %% [markdown]
# The next cell puts zeros in front and drops the last sum. In it, `local=0` or `global_=0` switches a part off, and `before` says which
# chunks are read (section 8 plants a fault there).


# %%
def to_chunks(x_TS, C):
    padded = np.pad(x_TS, ((0, -len(x_TS) % C), (0, 0)))
    return padded.reshape(-1, C, x_TS.shape[1])


def earlier_chunks(x_G):
    return np.concatenate([0 * x_G[:1], np.cumsum(x_G, axis=0)[:-1]])


def mixed_chunk(heads_4TS, v_TE, bias_CC, C, causal=True, combine="mean", local=1, global_=1, before=earlier_chunks):
    quad_q, quad_k, lin_q, lin_k, v = (to_chunks(x, C) for x in (*heads_4TS, v_TE))  # (G, C, S), v (G, C, E)
    A_GCC = np.maximum(quad_q @ quad_k.swapaxes(1, 2) / C + bias_CC, 0) ** 2
    near = (np.tril(A_GCC) if causal else A_GCC) @ v

    kv_GSE = lin_k.swapaxes(1, 2) @ v
    tokens_G = to_chunks(np.ones((len(v_TE), 1)), C).sum((1, 2))  # the last chunk may hold fewer than C
    read = before if causal else lambda x_G: x_G.sum(0, keepdims=True)  # without a mask: all chunks (section 11)
    by_G = np.maximum(read(tokens_G), 1) if combine == "mean" else np.ones(1)
    far = lin_q @ (read(kv_GSE) / by_G[:, None, None])
    return (local * near + global_ * far).reshape(-1, v.shape[2])[: len(v_TE)]


# %% [markdown]
# Is it the same function as the loops? Six tokens with whole numbers make a bad test, because many faults give the same numbers there. So
# now T = 14 and C = 4, three full chunks and a tail of two tokens, with inputs of order one and RoPE, which rotates all four copies by the
# position in the whole *sequence* and not in the chunk.

# %% tags=["nbval-check-output"]
rng = np.random.default_rng(0)
T, E, S, C = 14, 16, 4, 4
toeplitz = reference.toeplitz_bias  # of lecture 02
bias_weights = rng.normal(size=2 * 20 - 1)  # enough for chunks of up to 20 tokens
h_4TS = reference.rope(heads(rng.normal(size=(T, S)), *rng.normal(size=(2, 4, S))))
v_TE, everybody = rng.normal(size=(T, E)), (np.ones(T, bool), np.zeros(T, int))  # no padding, one document

for causal, combine in ((True, "mean"), (True, "sum"), (False, "mean"), (False, "sum")):
    for size in (1, 4, 7, 14, 20):
        b, how = toeplitz(bias_weights, size), {"causal": causal, "combine": combine}
        mine = mixed_chunk(h_4TS, v_TE, b, size, **how)
        assert same(mine, local_loops(*h_4TS[:2], v_TE, b, size, causal) + global_loops(*h_4TS[2:], v_TE, size, **how))
        for package in (reference.mixed_chunk_attention, reference.mixed_chunk_attention_loops):
            assert same(mine, package(h_4TS, v_TE, *everybody, b, chunk_size=size, **how))
print("20 cases: the loops and both forms of the package agree")

# %% [markdown]
# ## 6. Who reads whom
#
# Figure 4 of the paper draws who reads whom. Let us measure it: change one token, and see which outputs move at all. Each part is tested
# alone. Since relu² makes many weights exactly 0, we raise the bias for this question, so that every allowed weight is positive.
#
# **Your first guess.** 14 causal tokens make 105 pairs, each with itself or with an earlier one. With C = 4, how many of these are
# compared one by one?

# %%
predict("05.a", None)  # your number in place of None


# %% tags=["nbval-check-output"]
def moves(f):
    """[i, j]: output i of f(heads, values) changes when the heads and the value of token j change."""
    before, moved = f(h_4TS, v_TE), np.zeros((T, T), bool)
    for j in range(T):
        h, v = h_4TS.copy(), v_TE.copy()
        h[:, j] += 1
        v[j] += 1
        moved[:, j] = (f(h, v) != before).any(1)
    return moved


bias_CC, all_open = toeplitz(bias_weights, C), 20  # more than any score here
near = moves(lambda h, v: mixed_chunk(h, v, bias_CC + all_open, C, global_=0))
far = moves(lambda h, v: mixed_chunk(h, v, bias_CC, C, local=0))
far &= ~np.eye(T, dtype=bool)  # changing a token changes its query too: that is not reading
who = near * drawing.DIRECT + far * drawing.SUMMED
title = "Near tokens one by one, far ones through a mean"
drawing.show(*drawing.who_reads_whom({f"chunks of {C}": who}, C, title=title, width=4.6))
reveal("05.a", near.sum(), "pairs")
print("tokens 1 to 14, read one by one:", near.sum(1).tolist())
print("          read through the mean:", far.sum(1).tolist())
assert ((near | far) == np.tri(T)).all() and not (near & far).any()

# %% [markdown]
# Token 8 reads four tokens one by one and token 9 a single one, itself, because the sharp part starts anew in each chunk. So two neighbours
# on either side of a boundary are never compared.
#
# **Misconception 1: the global part is a summary of everything before the token.** It leaves out the tokens of its own chunk, so precisely
# the nearest past is missing. Switch the local part off and change token 7.

# %% tags=["nbval-check-output"]
changed = v_TE.copy()
changed[6] += 10
for name, on in (("global part alone", 0), ("with the local part", 1)):
    a, b = (mixed_chunk(h_4TS, v, bias_CC, C, local=on) for v in (v_TE, changed))
    print(f"{name:20} token 7 changed; outputs that move:", (np.flatnonzero((a != b).any(1)) + 1).tolist())

# %% [markdown]
# Without the local part token 8 does not notice its neighbour. The paper tried each part alone. In its Figure 7, at T = 8192, one reads
# perplexities of about 15 for FLASH, about 18 for the local part, and about 73 for the global part (which was run with C = 64).
#
# **Misconception 2: tokens of chunk 2 see those of chunk 1 one by one, only more coarsely.** They see one array, the summary, and
# two different chunks with the same summary are one and the same to every later token. To see it, let the tokens of chunk 1 trade
# places, each with its key and its value.


# %% tags=["nbval-check-output"]
def change(a, b):
    return np.linalg.norm(a - b) / np.linalg.norm(b)


h, v = h_4TS.copy(), v_TE.copy()
h[3, :C], v[:C] = h_4TS[3, :C][::-1], v_TE[:C][::-1]  # lin_k and v of chunk 1, from the last to the first
before, after = (mixed_chunk(*x, bias_CC, C) for x in ((h_4TS, v_TE), (h, v)))
print(f"outputs of chunk 1 change by {change(after[:C], before[:C]):.0%}")
print(f"outputs of later chunks change by {change(after[C:], before[C:]):.0%}")

# %% [markdown]
# So is the order inside chunk 1 lost? Not quite: RoPE rotates each key by its position *before* the sum, so a token that really stood
# elsewhere would add a different key. What is lost is the single token: S × E entries are all that is kept of a chunk, and later of all
# chunks together.
#
# ## 7. The same in PyTorch
#
# There is a batch axis B in front now, and `einsum` strings name the axes. Unless tokens are padded (lecture 06), all earlier chunks of a
# causal sequence are full, so chunk g simply divides by (g - 1) C.


# %% tags=["nbval-check-output"]
from flash_tutorial.mixing import mixed_chunk_attention


def mixed_chunk_torch(heads, v, bias_CC, C):
    """heads: quad_q, quad_k, lin_q, lin_k, each (B, T, S); v (B, T, E); causal, with the mean."""
    T = v.shape[1]
    quad_q, quad_k, lin_q, lin_k, v = (F.pad(x, (0, 0, 0, -T % C)).unflatten(1, (-1, C)) for x in (*heads, v))
    A = torch.relu(torch.einsum("bgis,bgjs->bgij", quad_q, quad_k) / C + bias_CC) ** 2
    near = torch.einsum("bgij,bgje->bgie", A.tril(), v)
    kv = torch.einsum("bgcs,bgce->bgse", lin_k, v).cumsum(1)
    kv = F.pad(kv[:, :-1], (0, 0, 0, 0, 1, 0))  # one chunk of zeros in front, the last sum dropped
    tokens = C * torch.arange(kv.shape[1]).clamp(min=1)
    return (near + lin_q @ (kv / tokens[:, None, None])).flatten(1, 2)[:, :T]


for length in (10, 14, 22):
    h, v = rng.normal(size=(4, 2, length, S)), rng.normal(size=(2, length, E))  # B = 2
    four, values, b = torch.from_numpy(h), torch.from_numpy(v), torch.from_numpy(bias_CC)
    mine = mixed_chunk_torch(four, values, b, C)
    assert same(mine[1], mixed_chunk(h[:, 1], v[1], bias_CC, C))
    assert same(mine, mixed_chunk_attention(*four, values, chunk_size=C, causal=True, bias=lambda m, b=b: b[:m, :m]))
print("three lengths: the same as in NumPy and in the package")

# %% [markdown]
# ## 8. Exclusive, and never inclusive
#
# Chunk g reads chunks 1 to g - 1. Why not its own summary too, which is right there? Because a summary holds *all* tokens of its
# chunk, and for the first of them the others are the future.
#
# Suppose somebody forgets the shift, and you test the layer by changing one token and checking whether an *earlier* output moves.
#
# **Your second guess.** With C = 4, tokens 5, 6, 7 and 8 are one chunk. Changing one of them can *not* reveal the fault. Which one?

# %%
predict("05.b", None)  # your number in place of None


# %% tags=["nbval-check-output"]
def inclusive(x_G):
    return np.cumsum(x_G, axis=0)


for before in (earlier_chunks, inclusive):
    late = np.triu(moves(lambda h, v, before=before: mixed_chunk(h, v, bias_CC + all_open, C, before=before)), 1)
    by = (np.flatnonzero(late.any(0)) + 1).tolist()
    print(f"{before.__name__}: {late.sum()} pairs (output, later token) where the output moves; the tokens are {by}")
reveal("05.b", next(t for t in (5, 6, 7, 8) if not late[:, t - 1].any()))

# %% [markdown]
# The first token of a chunk reveals nothing, since no token of its chunk comes before it. So a test must change *every* token.
# In training the symptom of such a leak is a loss that is too good, followed by bad writing, because when the model writes there is no
# future to read.
#
# **A leak through rounding.** There is a second way to leave the reading token's chunk out: subtract its summary from the inclusive sum. On
# paper it is the same. Can a later token change the result? bfloat16 has 8 significant bits, so between 256 and 512 it can hold only even
# numbers. Let the earlier chunks sum to 1 and the chunk's own summary be 300, and then let a *later* token of the chunk turn the 300 into
# 302.

# %% tags=["nbval-check-output"]
for own in (300, 302):
    first, second = torch.tensor([1, own], dtype=torch.bfloat16)
    print(f"its own summary {own}: shifted {float(first):.0f}, subtracted {float(first + second - second):.0f}")

# %% [markdown]
# The shift hands over the 1 as it is. The subtraction hands over 0 or 2, *depending on the reading token's own future*, because 1 + 300 is
# rounded to 300 and 1 + 302 to 304.
#
# <details><summary>Is that only bfloat16, and would a gradient show it?</summary>
#
# Every format rounds, float64 in its sixteenth digit; that is why a leak test asks for **exactly zero**. The gradient is blind to it,
# because (sum + own) - own has the derivative 1 - 1 = 0 with respect to its own summary. So run both tests.
#
# </details>
#
# Now break it yourself. On a live page you choose how the sum is made, which mask is applied where, and what the divisor is; the picture
# lights up what leaks and names the fault.

# %%
lab.show(lab.leaks())

# %% [markdown]
# ## 9. Mean or sum?
#
# The paper has two versions. Its equations 7 and 8 add the summaries, while Code 8, the fuller listing, divides each summary by C
# and takes the *mean* over the chunks that are read. A well-known port, lucidrains' FLASH-pytorch, has a third: it divides each summary by C and then
# *adds*. Run all three: how large is the global part in each chunk, compared with the mean?

# %% tags=["nbval-check-output"]
h, v = rng.normal(size=(4, 5 * C, S)), rng.normal(size=(5 * C, E))  # five chunks of four
mean, total = (mixed_chunk(h, v, bias_CC, C, combine=how, local=0) for how in ("mean", "sum"))
lin_q, lin_k, v_GCE = (to_chunks(x, C) for x in (h[2], h[3], v))
of_means = (lin_q @ earlier_chunks(lin_k.swapaxes(1, 2) @ v_GCE / C)).reshape(5 * C, E)

print("chunk                    2   3   4   5")
readings = {"mean (Code 8)": mean, "sum (equations 7, 8)": total, "sum of means (a port)": of_means}
for name, far in readings.items():
    ratio = (far[C:] / mean[C:]).reshape(4, -1)
    assert ratio.std(1).max() < 1e-6 and not far[:C].any()  # one factor for a whole chunk; chunk 1 reads nothing
    print(f"{name:22}", " ".join(f"{r:3.0f}" for r in ratio.mean(1)))

# %% [markdown]
# The mean and the sum of means agree in chunk 2, where a single earlier chunk is read, and differ from chunk 3 on. So a test with two
# chunks cannot tell them apart: take at least three. The bare sum is the sum of means times C, in every chunk, and training can
# undo such a fixed factor in the scale and offset of lin_q. From the mean to the sum, however, the factor *grows with the position*, and no
# weight of the layer can undo that exactly.
#
# Nobody outside knows which one the authors trained. **This project takes the mean**, as the fuller listing has it, and `combine="sum"`
# gives the equations. (What the growth does to a model on longer sequences is measured in lecture 09.)
#
# ## 10. Four tests of a causal layer
#
# Four properties, each tested by code that fails without it:
#
# 1. *No value leak.* A later token changes no earlier output, not even by one bit.
# 2. *Nothing is missing.* Every earlier token is read. (A layer that reads nobody leaks nothing, and would pass test 1.)
# 3. *No gradient leak.* No earlier output has a gradient with respect to a later input.
# 4. *Prefix.* The first n tokens alone give the same outputs as they do in the longer sequence, for every n.
#
# Here tests 1, 2 and 4 run on the package's NumPy unit, and test 3 on its PyTorch twin.

# %% tags=["nbval-check-output"]
from flash_tutorial.check import draw_order_one

D, earlier_TT = 8, np.tri(T, dtype=bool)
unit = FLASH(D, qk_dim=S, chunk_size=C, causal=True, bias="toeplitz").double()
draw_order_one(unit, torch.Generator().manual_seed(1))
with torch.no_grad():
    unit.bias.weights += all_open  # no weight of exactly 0, as in section 6
x_TD, p = rng.normal(size=(T, D)), unit.to_numpy()
y_TD, reads_TT = reference.flash(x_TD, p, causal=True, chunk_size=C), np.zeros((T, T), bool)
assert same(y_TD, unit(torch.from_numpy(x_TD)[None])[0].detach())
for j in range(T):
    changed = x_TD.copy()
    changed[j] = rng.normal(size=D)
    reads_TT[:, j] = (reference.flash(changed, p, causal=True, chunk_size=C) != y_TD).any(1)
print("1. pairs (output, later input) that move:", np.triu(reads_TT, 1).sum())
print(f"2. pairs (output, its own or an earlier input) that move: {reads_TT[earlier_TT].sum()} of {earlier_TT.sum()}")

jacobian = torch.autograd.functional.jacobian(lambda x: unit(x[None])[0], torch.from_numpy(x_TD))
slope_TT = jacobian.abs().sum((1, 3)).numpy()  # (T, D, T, D): all channels of output i by all channels of input j
print("3. largest gradient by a later input:", np.triu(slope_TT, 1).max())
off = max(np.abs(reference.flash(x_TD[:n], p, causal=True, chunk_size=C) - y_TD[:n]).max() for n in range(1, T))
print("4. largest difference between a prefix and the whole, 10 digits:", round(off, 10))
assert reads_TT[earlier_TT].all() and (slope_TT[earlier_TT] > 0).all() and off < 1e-10
assert not np.triu(reads_TT, 1).any() and not np.triu(slope_TT, 1).any()

# %% [markdown]
# The fourth holds because the scores are divided by C and not by the length of the sequence, and the sum for chunk g by the size of the g -
# 1 chunks before it and not of all G.
#
# ## 11. Reading both sides
#
# A model that fills gaps, as in masked language modelling, reads both sides (equation 7). Then every chunk reads **all** chunks through
# the sum, including itself, so that a token's neighbours in its chunk are read twice. The paper passes over a consequence: with C = T there is a single
# chunk, and FLASH is said to fall back to the GAU of lecture 02, the local part alone. Does it, in both forms?

# %% tags=["nbval-check-output"]
for causal in (True, False):
    whole, gau = (mixed_chunk(h_4TS, v_TE, toeplitz(bias_weights, T), T, causal, global_=on) for on in (1, 0))
    print(f"{'causal' if causal else 'both sides'}: with one chunk the global part adds {change(whole, gau):.0%}")
    assert same(whole, gau) == causal

# %% [markdown]
# Only the causal form does. If both sides are read, each token's own chunk stays in the linear sum as well.
#
# ## 12. Train it
#
# The tiny model once more, now with four FLASH units and C = 16, so that a sequence of T = 64 bytes has four chunks. Beside it stands the
# same model with the local part alone, which never reads across a boundary. What is the global part worth?

# %% tags=["nbval-check-output"]
from flash_course.bench.counts import count_state_numbers
from flash_tutorial.corpora import load_corpus
from flash_tutorial.training import TrainConfig, evaluate, first_bytes, train

corpus = load_corpus("austen")
settings = TrainConfig(steps=300, batch=16, length=64, learning_rate=3e-3, warmup=20, eval_bytes=score_bytes)
tiny = ModelConfig("flash", dim=64, depth=4, qk_dim=32, chunk_size=16, max_length=64, norm="layer", start="paper")
runs = {
    "FLASH, C = 16": train(tiny, settings, corpus=corpus, progress=False),
    "FLASH, local only": train(replace(tiny, global_=False), settings, corpus=corpus, progress=False),
}
compare_with_stored("05", runs)  # made once by experiments/scoreboard.py, with the same seed and settings
bits = {name: run.evaluation.bits_per_byte for name, run in runs.items()}
# each of 4 units keeps C (S + E) entries if local only; FLASH keeps the state, S E, and both keys and the value of
# each token of the unfinished chunk, C (2 S + E)
kept = dict(zip(runs, (count_state_numbers(runs["FLASH, C = 16"].model, 64), 4 * 16 * (32 + 128))))
print(f"{'bits per byte':27} yours   three seeds, stored    entries kept")
for name, run in runs.items():
    step_ms = 1000 * float(np.median(np.diff([row["seconds"] for row in run.log])))
    score("05", name, bits_per_byte=bits[name], step_ms=step_ms, state_numbers=kept[name])
    three = ", ".join(f"{b:.3f}" for b in seeds[f"05 {name}"])
    print(f"{name:27} {bits[name]:5.1f}   {three} {kept[name]:15,}")
for name in ("05 FLASH, local only, no bias", "04 linear attention", "04 linear attention, bias"):
    print(f"{name[3:]:27} {'':5}   {', '.join(f'{b:.3f}' for b in seeds[name])}")

mixed, local, plus = (seeds[name] for name in ("05 FLASH, C = 16", "05 FLASH, local only", "00 transformer++"))
for gaps, row in ((local - mixed, local), (mixed - plus, plus)):
    assert (gaps > 0).all() and gaps.min() < 0.01 and gaps.mean() < np.ptp(row)
linear, biased = seeds["04 linear attention"], seeds["04 linear attention, bias"]
assert (local < linear).all() and local.max() > linear.min() and round((linear - local).mean(), 2) == 0.08
assert (seeds["05 FLASH, local only, no bias"] > linear + 1).all()
assert biased.max() < linear.min() and biased.mean() < mixed.mean() and biased.max() > mixed.max()

# %% [markdown]
# The global part helps at all three seeds, but at one of them by less than a hundredth of a bit, and on average by less than the local
# model's own seeds differ. So at T = 64 its effect is within the variation between seeds, and "the global part helps" is not shown here.
# The same holds for the lead of Transformer++ over FLASH, at one learning rate tuned for neither.
#
# The near part fares a little better: the model that has nothing else is ahead of linear attention at each seed, by 0.08 on average, though its worst
# seed (3.141) is behind the best one of linear attention (3.134). Is that because it is sharp? The near part brings relu² *and* a position bias, and linear attention has neither. Without its bias the local part hardly begins
# to learn, and linear attention *with* one, computed through the matrix (lecture 04), is as good as FLASH, on average a little better. So what
# helps here is the bias, for which a chunk has a place and a state has none. That sharpness helps is not shown.
#
# ## 13. C is part of the architecture
#
# In lecture 04 C changed nothing but time and memory; here it decides who is read how. What happens to a trained model when we change it,
# and nothing else? But C also divides the scores, so that C = 8 doubles q · k / C, and a model that was trained at one scale then runs at
# another. To take this apart, run each C twice: as it is, and with gamma and beta of quad_q multiplied by C / 16, which holds the scale. (A
# q · k of 32 scores 2 with C = 16 and 4 with C = 8; times 8 / 16 it is 2 again.)

# %%
model, held_out = runs["FLASH, C = 16"].model, first_bytes(corpus.validation, score_bytes)
scale_offsets = [unit.scale_offset for unit in model.stack.units]
trained = [{name: w.clone() for name, w in each.state_dict().items()} for each in scale_offsets]


def score_with(C, factor):
    for unit, weights in zip(model.stack.units, trained):
        unit.chunk_size = C
        unit.scale_offset.load_state_dict(weights)
        with torch.no_grad():
            unit.scale_offset.gamma[0] *= factor  # row 0 is quad_q
            unit.scale_offset.beta[0] *= factor
    return evaluate(model, held_out, settings.length, batch=64).bits_per_byte


as_it_is = {C: score_with(C, 1) for C in (16, 8, 4, 2)}
held = {C: score_with(C, C / 16) for C in (16, 8, 4, 2)}

# %%
title = "Trained with C = 16: most of the damage at a smaller C is the scale"
figure, axes = drawing.new_axes(7.4, 3.5, "C the model is run with", "bits per byte, held-out text", title)
named = {"FLASH, as it is\n(scores / C)": as_it_is, "FLASH, scale held\n(scores / 16)": held}
drawing.lines(axes, {name: (list(row), list(row.values())) for name, row in named.items()})
drawing.level(axes, bits["FLASH, local only"], "local part only")
drawing.powers_of_two(axes, [2, 4, 8, 16])
for line in axes.lines[:2]:
    drawing.numbers_at(axes, *line.get_data(), form="{:.2f}", colour=line.get_color())
axes.legend(frameon=False)
alt = f"Line plot of bits per byte of a model trained with C = 16: {drawing.in_words(axes, x='C = {}')}."
drawing.show(figure, alt.replace("\n", " "))
share = {C: (as_it_is[C] - held[C]) / (as_it_is[C] - as_it_is[16]) for C in (8, 4, 2)}
print("share of the damage that is scale:", ", ".join(f"{s:.0%} at C = {C}" for C, s in share.items()))
assert abs(as_it_is[16] - bits["FLASH, C = 16"]) < 1e-3 and abs(held[16] - as_it_is[16]) < 1e-6
assert all(0.6 < s < 0.9 for s in share.values()) and held[2] > held[4] > held[8] > held[16] + 0.02
assert as_it_is[8] > bits["FLASH, local only"] + 0.1 and abs(held[8] - bits["FLASH, local only"]) < 0.05

# %% [markdown]
# About three quarters of the damage is the scale. If you look only at the upper line, C = 8 seems to do much worse than a model without any
# global part; with the scale kept, it is level with the local model of the same seed (3.14; the other two seeds have 3.09 and 3.07). What is left in
# the lower line is the architecture itself: the same parameters now read fewer tokens sharply and more of them through a mean, and they were not
# trained for that. So whoever makes C smaller should keep the scale, and train again to win back the rest. (This is one model of one seed.)
#
# **What came after.** RetNet, GLA, Mamba-2 and DeltaNet train by the same schedule, but inside a chunk they compute the same recurrence that runs
# between chunks. So the chunk form is exact, and C is a speed setting again (lecture 13). FLASH's relu² inside the chunk has no such recurrence.
#
# ## 14. What to remember
#
# Fill in the last column yourself.
#
# | claim | your evidence | your verdict |
# | --- | --- | --- |
# | FLASH needs no more multiply-adds than exact linear attention in chunks | section 1: counted, steps and multiply-adds of products | |
# | The near part is worth having | opening, section 12: three seeds of a tiny model, with the bias | |
# | It is worth having because it is sharp | section 12: linear attention with a bias is level | |
# | Mixed chunk attention reads every earlier token, in one of two ways | section 6: measured, each pair once | |
# | The causal form leaks nothing | sections 8, 10: values and gradients, exactly zero | |
# | An exclusive sum may be made by a subtraction | section 8: it leaks through rounding | |
# | The mean is what the authors trained | section 9: both readings run; nothing shows which | |
# | With C = T, FLASH is the quadratic unit | section 11: true if causal, false otherwise | |
# | C is a speed setting | section 13: another function, even if the scale of the scores is kept | |
# | The global part makes the model better | section 12: at T = 64 within the seeds; Figure 7 of the paper | |
#
# **Three takeaways**
# 1. Near: relu² attention in the chunk, scores over C. Far: lin_q times the mean of the earlier chunks' KᵀV.
# 2. The sum is exclusive, by a shift. Test values for exact zeros, gradients, prefixes, and that nothing is missing.
# 3. C is part of the model: right after a boundary one token is seen sharply, and the rest through S × E entries. It also sets the scale of the scores.
#
# **Exercises** [Problem set 05](../exercises/05_mixed_chunk_attention.ipynb), seven tasks: chunks, sums, the mixed form, a test for leaks, and three faulty suspects.
#
# **Next** [Lecture 06](06_flash_model.ipynb) puts the units together: the whole FLASH model, causal and masked, with documents and padding.
