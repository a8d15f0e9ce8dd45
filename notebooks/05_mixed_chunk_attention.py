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
# A map is *sharp*: each pair of tokens has a weight of its own. It costs T². A running state costs T and needs T steps in a row.
# Mixed chunk attention takes a map inside each chunk and a state between chunks. It is the attention of FLASH.
#
# **After it you can**
# - write mixed chunk attention from memory: first as loops, then without loops, then in PyTorch;
# - say which token reads which, and in which of two ways;
# - prove that a causal layer reads nothing later, and say which faults each proof misses;
# - say why the sum over chunks is exclusive, and why it is made by a shift and never by a subtraction;
# - tell the mean from the sum, and say from how many chunks on they are different functions;
# - explain why the chunk length C is part of the model here, and was not in lecture 04.
#
# **You need** lecture 02 (the gated attention unit) and lecture 04 (linear attention and its exact chunk form).
#
# **Time** 44 minutes to read. Computing takes about 25 seconds on two CPU cores; a GPU was not measured yet.
#
# Text and figures: CC-BY-4.0. Code: MIT.

# %%
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
# Two questions from lecture 04. Answer from memory, then open the fold.
#
# **1.** What does the state of linear attention hold?
#
# <details><summary>Answer</summary>
#
# The sum of kᵀ v over all tokens read so far: S × E numbers, however many tokens there were.
#
# </details>
#
# **2.** Why is the token-by-token form slow to train?
#
# <details><summary>Answer</summary>
#
# Each state waits for the one before, so there are T steps in a row. And each step moves a whole state, to do little with it.
#
# </details>
#
# The letters: T tokens, D model width, E expanded width (of values and gates), S query and key width, H heads.
# C tokens are in a chunk, and G = T / C chunks in a text, rounded up. B is the number of texts at a time.
# A name like `kv_GSE` says the shape: G arrays with S rows and E columns. Tokens and chunks are counted from 1 in the text.

# %%
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F

from flash_course import figures, learner
from flash_tutorial import FLASH, ModelConfig, reference
from flash_course.learner import predict, reveal


@dataclass
class Preset:
    timed_tokens: int  # T where we measure time
    score_bytes: int  # of new text, on which a trained model is scored


CPU, GPU = Preset(2048, 20_000), Preset(8192, 100_000)
preset = GPU if torch.cuda.is_available() else CPU
torch.set_num_threads(1)


def same(a, b):
    """The same shape and, up to rounding, the same numbers."""
    a, b = np.asarray(a), np.asarray(b)
    return a.shape == b.shape and bool(np.abs(a - b).max() < 1e-10)


print(preset)

# %% [markdown]
# ## 1. What is wanted
#
# | | compares tokens one by one | cost of mixing | steps in a row |
# | --- | --- | --- | --- |
# | map (lectures 01, 02) | yes | T² | 1 |
# | linear attention, state by state (lecture 04) | no | T | T |
# | wanted | where it matters most | T | few |
#
# FLASH assumes that near tokens need the comparison most. It cuts the text into chunks and adds two parts:
#
# - **local part**: inside each chunk, the relu² map of lecture 02;
# - **global part**: between chunks, linear attention with one state for each *chunk*, not for each token.
#
# All else is the unit that you know: a gate u, a value v, a shared base z, and the residual.

# %%
figures.show(*figures.flash_unit())

# %% [markdown]
# Follow the two branches. *Near* reads the own chunk by a map. *Far* reads earlier chunks through one small array.
# Then they are added, number by number, and gated as before.
#
# The two parts use a score in different ways: a relu² weight is never negative, and a weight of linear attention may be.
# So each part has a query and a key of its own.
# All four heads are a scale and an offset of the same base z. The value v is shared by both parts as it is.
#
# ## 2. Four heads of one base, on six tokens
#
# Here are the base of lecture 02 and a value, with S = E = 2. The six tokens make three chunks of C = 2.
# RoPE is left out for now, so that you can check each number.
# The order of the heads is that of the paper: quad_q, quad_k, lin_q, lin_k.

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
print("numbers for four heads at S = 128:", 4 * 2 * 128)

# %% [markdown]
# ## 3. The local part
#
# Inside a chunk it is the map of lecture 02: score over n, plus bias, then relu². Here n is C, for every chunk and every text.
# The bias is a small table of C × C numbers, the same for each chunk. G small maps take the place of one map of T × T.
#
# **Your line.** Token i reads the tokens of its own chunk, not later than itself. Where does the inner loop begin?
#
# ```python
# for i in range(T):
#     first = ...                                        # the first token of i's chunk
#     for j in range(first, i + 1):
#         s = q_TS[i] @ k_TS[j] / C + bias_CC[i - first, j - first]
# ```
#
# <details><summary>The line</summary>
#
# `first = i // C * C`: divide without a remainder, and multiply again.
#
# </details>


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
# Token 6 reads 1 × (0, 4) from token 5 and 4 × (-4, 0) from itself: together (-16, 4).
#
# Token 5 is the first of its chunk, so it can read only itself. Its one score is 0, so its weight is 0: near is (0, 0).
# All that token 5 reads must come from the other part.
#
# ## 4. The global part
#
# A chunk leaves behind one array of S × E numbers, the sum of kᵀ v over its tokens. Call it the chunk's *summary*.
# Token i multiplies its lin_q with the summaries of the **earlier** chunks. No activation stands on lin_q or lin_k.
# So weights may be negative.
#
# As a formula (equation 8 of the paper, with the division of its Code 8), for the tokens of chunk g:
#
# $$\text{far}_g = Q^{\text{lin}}_g \; \frac{1}{(g-1)\,C} \sum_{h=1}^{g-1} {K^{\text{lin}}_h}^{\top} V_h$$
#
# Q, K and V with an index hold the rows of lin_q, lin_k and v in that chunk. h runs over the chunks that are read. The sign ⊤ is the ᵀ of the text.
#
# In words: add the summaries of chunks 1 to g - 1, and divide by the tokens in them. Chunk 1 reads nothing.
# The division makes a *mean* of it. Section 10 shows what happens without.
#
# **Your line.** Which summaries are added for token i?
#
# ```python
# kv_GSE, tokens_G = summaries(k_TS, v_TE, C)
# for i in range(T):
#     read = ...                                         # the numbers of the chunks, counted from 0
#     out_TE[i] = q_TS[i] @ sum(kv_GSE[h] for h in read) / sum(tokens_G[h] for h in read)
# ```
#
# <details><summary>The line</summary>
#
# `read = range(i // C)`: all chunks before the own one. With `range(i // C + 1)` the sum would be *inclusive*, and section 8 shows what that does.
#
# </details>


# %% tags=["nbval-check-output"]
def summaries(k_TS, v_TE, C):
    """K^T V of each chunk, and how many tokens it has."""
    kv, tokens = [], []
    for first in range(0, len(k_TS), C):
        own = range(first, min(first + C, len(k_TS)))
        kv.append(sum(np.outer(k_TS[j], v_TE[j]) for j in own))
        tokens.append(len(own))
    return np.array(kv), np.array(tokens)


def global_loops(q_TS, k_TS, v_TE, C, causal=True, combine="mean"):
    (kv_GSE, tokens_G), out_TE = summaries(k_TS, v_TE, C), np.zeros(v_TE.shape)
    for i in range(len(q_TS)):
        read = range(i // C) if causal else range(len(kv_GSE))
        if len(read):
            by = sum(tokens_G[h] for h in read) if combine == "mean" else 1
            out_TE[i] = q_TS[i] @ sum(kv_GSE[h] for h in read) / by
    return out_TE


kv_GSE, tokens_G = summaries(lin_k, v_TE, C)
for g, kv_SE in enumerate(kv_GSE):
    print(f"chunk {g + 1}: summary {kv_SE.tolist()}, {tokens_G[g]} tokens")
far_TE = global_loops(lin_q, lin_k, v_TE, C)
print("far:", [tuple(int(n) for n in row) for row in far_TE])
figures.show(*figures.exclusive_sum(kv_GSE, tokens_G, title="The sum is moved by one chunk: no chunk reads itself"))

# %% [markdown]
# Read the picture column by column. The running sum of chunk 2 holds chunks 1 and 2. It is handed to chunk 3, which reads it.
# What chunk 3 itself adds is for chunk 4, if there is one.
#
# Token 6 multiplies its lin_q (3, 0) with the last array: 3 × (-1, 2) + 0 × (4, 4) = (-3, 6).
#
# There are G = 3 steps in a row, and 6 would be needed token by token.
#
# Both parts are sums of weights times values. So you can write each as a map of T × T weights, to look at it.
# The weight of the global part is lin_q · lin_k over the tokens read. No program needs this second map.

# %%
i, j = np.indices((6, 6))
own, earlier_chunk = (i // C == j // C) & (j <= i), j // C < i // C
near_weights = np.maximum(quad_q @ quad_k.T / C + np.tile(bias_CC, (3, 3)), 0) ** 2
far_weights = lin_q @ lin_k.T / np.maximum(i // C * C, 1)
panels = {
    "local: one by one": np.where(own, near_weights, np.nan),
    "global: as if one by one": np.where(earlier_chunk, far_weights, np.nan),
}
figures.show(
    *figures.numbers_in_squares(panels, row=6, title="Each pair is read in one of the two ways, never in both")
)
assert same(np.where(own, near_weights, 0) @ v_TE, near_TE)  # weights times values
assert same(np.where(earlier_chunk, far_weights, 0) @ v_TE, far_TE)
print("token 6 reads, near + far:", tuple((near_TE + far_TE)[5].astype(int).tolist()))

# %% [markdown]
# ## 5. Without loops
#
# `to_chunks` turns (T, S) into (G, C, S), with zeros behind the last token. Then both parts are products of small arrays.
# A padded key has a value of zero, so it adds nothing. A padded query gives a row that is cut off at the end.
#
# `earlier` makes the exclusive sum: the running sum, moved by one chunk, with zeros in front.
#
# **Your line.** `cumsum` gives the running sum. How is it moved?
#
# ```python
# def earlier_chunks(x_G):
#     return np.concatenate([0 * x_G[:1], ...])
# ```
#
# <details><summary>The line</summary>
#
# `np.cumsum(x_G, axis=0)[:-1]`: all running sums but the last. `np.roll` would hand the last one to chunk 1, a grave fault.
#
# </details>


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
    read = before if causal else lambda x_G: x_G.sum(0, keepdims=True)  # without a mask: all chunks (section 12)
    by_G = np.maximum(read(tokens_G), 1) if combine == "mean" else np.ones(1)
    far = lin_q @ (read(kv_GSE) / by_G[:, None, None])
    return (local * near + global_ * far).reshape(-1, v.shape[2])[: len(v_TE)]


# %% [markdown]
# `local=0` or `global_=0` switches a part off. `before` says which chunks are read, so that we can plant a fault later.
#
# Is it the same? Six tokens with whole numbers are easy to trace and bad for a proof. Many faults give the same numbers there.
# So now T = 14 and C = 4: three full chunks and a tail of two tokens. All numbers are of order one, RoPE included.
# It rotates all four heads, by the position in the *text*, not in the chunk.
#
# The same is then tried with other C: one token a chunk, a C that divides T, one chunk, and a chunk longer than the text.
# In the code below, n is the chunk length that is tried.

# %% tags=["nbval-check-output"]
rng = np.random.default_rng(0)
T, E, S, C = 14, 16, 4, 4


def toeplitz(weights, n):
    """The bias of lecture 02: one weight for each distance, that of distance 0 in the middle."""
    place = np.arange(n)
    return weights[place[None, :] - place[:, None] + len(weights) // 2]


bias_weights = rng.normal(size=2 * 20 - 1)  # enough for chunks of up to 20 tokens
h_4TS = reference.rope(heads(rng.normal(size=(T, S)), *rng.normal(size=(2, 4, S))))
v_TE, everybody = rng.normal(size=(T, E)), (np.ones(T, bool), np.zeros(T, int))  # no padding, one document

for causal, combine in ((True, "mean"), (True, "sum"), (False, "mean"), (False, "sum")):
    loops, package, its_loops = [], [], []
    for n in (1, 4, 7, 14, 20):
        b, how = toeplitz(bias_weights, n), {"causal": causal, "combine": combine}
        mine = mixed_chunk(h_4TS, v_TE, b, n, **how)
        slow = local_loops(*h_4TS[:2], v_TE, b, n, causal) + global_loops(*h_4TS[2:], v_TE, n, **how)
        loops.append(same(mine, slow))
        for f, equal in (
            (reference.mixed_chunk_attention, package),
            (reference.mixed_chunk_attention_loops, its_loops),
        ):
            equal.append(same(mine, f(h_4TS, v_TE, *everybody, b, chunk_size=n, **how)))
    print(
        f"causal {causal!s:5} {combine:4}: = loops {all(loops)}, = package {all(package)}, = its loops {all(its_loops)}"
    )

# %% [markdown]
# ## 6. Who reads whom
#
# Figure 4 of the paper draws who reads whom. A drawing proves nothing, so measure: change one token, and see which outputs move at all.
# Each part is asked alone. One detail: relu² gives many weights of exactly 0, and such a token is allowed but not read.
# So for this question a large number is added to the bias. Then every allowed weight is above 0.
#
# **Your first guess.** With C = 4, token 8 is the last of its chunk. It reads 4 tokens one by one: 5, 6, 7 and itself.
# How many does token 9 read one by one?

# %%
my_guess = None  # your number here
predict("05.a", my_guess)


# %%
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
full = moves(lambda h, v: mixed_chunk(h, v, toeplitz(bias_weights, T) + all_open, T, global_=0))
linear = moves(lambda h, v: reference.linear_attention(h[2], h[3], v, causal=True))
near = moves(lambda h, v: mixed_chunk(h, v, bias_CC + all_open, C, global_=0))
far = moves(lambda h, v: mixed_chunk(h, v, bias_CC, C, local=0))
far &= ~np.eye(T, dtype=bool)  # changing a token changes its query too: that is not reading
panels = {
    "full (one map)": (full, 0),
    "local part": (near, 0),
    "linear attention": (0, linear),
    "mixed chunk": (near, far),
}
maps = {name: one * figures.DIRECT + summed * figures.SUMMED for name, (one, summed) in panels.items()}
figures.show(*figures.who_reads_whom(maps, C))
reveal("05.a", near[8].sum(), "token")

# %% tags=["nbval-check-output"]
print("read one by one, tokens 1 to 14:", near.sum(1).tolist())
print("read through the sum:           ", far.sum(1).tolist())
print("a pair in both parts:", bool((near & far).any()), "| both together = full:", bool(((near | far) == full).all()))
print(f"pairs one by one: {near.sum()} of {full.sum()}; counted: 3 x C (C + 1) / 2 + 3 = {3 * C * (C + 1) // 2 + 3}")

# %% [markdown]
# Token 9 reads one token one by one: itself. Right after a border the sharp part is nearly empty, and it fills up again.
# Borders are at fixed places. So two neighbours on the two sides of a border never compare each other.
#
# **Misconception 1: the global part is a summary of everything before the token.** It is not.
# Tokens of the own chunk are not in it, so the nearest past is missing. The symptom: switch the local part off, and change token 7.

# %% tags=["nbval-check-output"]
changed = v_TE.copy()
changed[6] += 10
for name, on in (("global part alone", 0), ("with the local part", 1)):
    a, b = (mixed_chunk(h_4TS, v, bias_CC, C, local=on) for v in (v_TE, changed))
    print(f"{name:20} token 7 changed; outputs that move:", (np.flatnonzero((a != b).any(1)) + 1).tolist())

# %% [markdown]
# Without the local part, token 8 does not notice its neighbour. The news arrives in the next chunk, at token 9.
# The paper tried each part alone (read off Figure 7, T = 8192). Its model has a perplexity of about 15, local only about 18.
# Global only has about 73, with C = 64.
#
# **Misconception 2: tokens of chunk 2 see the tokens of chunk 1 one by one, only more coarsely.**
# They see one array, the summary. Two different chunks with the same summary are the same chunk to every later token.
#
# The symptom: replace the keys and the values of chunk 1 by mixtures of themselves. Take a square array R with rows
# of length 1 at right angles (like a rotation), and use R K and R V. Then (R K)ᵀ R V = Kᵀ Rᵀ R V = Kᵀ V, since Rᵀ R is the identity.
# The tokens are all different now, and no later chunk can tell.

# %% tags=["nbval-check-output"]
R = np.array([(1, 1, 1, 1), (1, -1, 1, -1), (1, 1, -1, -1), (1, -1, -1, 1)]) / 2
h, v = h_4TS.copy(), v_TE.copy()
h[3, :C], v[:C] = R @ h_4TS[3, :C], R @ v_TE[:C]  # lin_k and v of chunk 1
print(
    "tokens of chunk 1 changed by", f"{np.linalg.norm(v[:C] - v_TE[:C]) / np.linalg.norm(v_TE[:C]):.0%} of their size"
)
before, after = (mixed_chunk(*x, bias_CC, C) for x in ((h_4TS, v_TE), (h, v)))
print("chunk 1 itself notices:", not same(before[:C], after[:C]))
print("later chunks notice:", not same(before[C:], after[C:]))
swapped = [1, 0, 3, 2, *range(4, T)]  # exchange tokens in pairs: another order, the same sum
print("order inside chunk 1 counts for later chunks:",
      not same(before[C:], mixed_chunk(h_4TS[:, swapped], v_TE[swapped], bias_CC, C)[C:]))  # fmt: skip

# %% [markdown]
# In a model, RoPE rotates each key by its position before the sum. So order does leave a trace in the summary.
# But S × E numbers is all that is kept of a chunk, and later of all chunks together.
#
# ## 7. The same in PyTorch
#
# Three small differences: a batch axis B in front, `einsum` strings that name the axes, and a divisor in closed form.
# In a causal text without padding all earlier chunks are full. So chunk g divides by (g - 1) C.


# %% tags=["nbval-check-output"]
from flash_tutorial.mixing import mixed_chunk_attention


def mixed_chunk_torch(heads, v, bias_CC, C):
    """heads: quad_q, quad_k, lin_q, lin_k, each (B, T, S); v (B, T, E); causal, with the mean."""
    quad_q, quad_k, lin_q, lin_k, v = (F.pad(x, (0, 0, 0, -T % C)).unflatten(1, (-1, C)) for x in (*heads, v))
    A = torch.relu(torch.einsum("bgis,bgjs->bgij", quad_q, quad_k) / C + bias_CC) ** 2
    near = torch.einsum("bgij,bgje->bgie", A.tril(), v)
    kv = torch.einsum("bgcs,bgce->bgse", lin_k, v).cumsum(1)
    kv = F.pad(kv[:, :-1], (0, 0, 0, 0, 1, 0))  # one chunk of zeros in front, the last running sum dropped
    tokens = C * torch.arange(kv.shape[1]).clamp(min=1)
    return (near + lin_q @ (kv / tokens[:, None, None])).flatten(1, 2)[:, :T]


h_torch, v_torch = torch.from_numpy(h_4TS)[:, None], torch.from_numpy(v_TE)[None]  # B = 1
for n in (1, 4, 7, 14):
    b = torch.from_numpy(toeplitz(bias_weights, n))
    mine = mixed_chunk_torch(h_torch, v_torch, b, n)[0]
    package = mixed_chunk_attention(*h_torch, v_torch, chunk_size=n, causal=True, bias=lambda _: b)[0]  # noqa: B023
    numpy_ = mixed_chunk(h_4TS, v_TE, b.numpy(), n)
    print(f"C = {n:2}: NumPy = torch: {same(numpy_, mine)} | torch = package: {same(mine, package)}")

# %% [markdown]
# And the whole unit: norm, projection with SiLU, four heads, RoPE, both parts, gate, output matrix, residual.
# New since lecture 02 are the four heads and the mixing. Compare with the package's unit in NumPy and with `FLASH` in PyTorch.


# %% tags=["nbval-check-output"]
from flash_tutorial.properties import draw_order_one


def flash(x_TD, p, C, causal=True, **how):
    E = p["out_weight"].shape[0]
    uvz = reference.silu(reference.scale_norm(x_TD, p["norm_gain"]) @ p["in_weight"] + p["in_bias"])
    u_TE, v_TE, z_TS = np.split(uvz, [E, 2 * E], axis=-1)
    h_4TS = reference.rope(heads(z_TS, p["gamma"], p["beta"]))  # positions 0 to T - 1 of the text
    read_TE = u_TE * mixed_chunk(h_4TS, v_TE, toeplitz(p["bias_weights"], C), C, causal, **how)
    return x_TD + read_TE @ p["out_weight"] + p["out_bias"]


D = 8
x_TD, units = rng.normal(size=(T, D)), {}
for causal in (True, False):
    unit = FLASH(D, qk_dim=S, chunk_size=C, causal=causal, bias="toeplitz").double()
    units[causal] = draw_order_one(unit, torch.Generator().manual_seed(1))
    p = unit.to_numpy()
    mine = flash(x_TD, p, C, causal)
    with torch.no_grad():
        in_torch = unit(torch.from_numpy(x_TD)[None])[0]
    print(f"causal {causal}: = reference:", same(mine, reference.flash(x_TD, p, causal=causal, chunk_size=C)),
          "| = PyTorch:", same(mine, in_torch))  # fmt: skip

# %% [markdown]
# ## 8. Exclusive, and never inclusive
#
# Chunk g reads chunks 1 to g - 1. Why not its own summary too, which is right there?
# A summary holds *all* tokens of its chunk. For the first token of a chunk, the others are the future.
#
# Suppose somebody forgets the shift. You test it: change one token, and look whether an *earlier* output moves.
# With C = 4, tokens 5, 6, 7 and 8 are one chunk.
#
# **Your second guess.** Changing one of these four tokens can *not* reveal the fault. Which one?

# %%
my_second_guess = None  # your number here
predict("05.b", my_second_guess)


# %%
def inclusive(x_G):
    return np.cumsum(x_G, axis=0)


sums = {"exclusive sum": earlier_chunks, "inclusive sum": inclusive}
found = {
    name: moves(lambda h, v, before=before: mixed_chunk(h, v, bias_CC + all_open, C, before=before))
    for name, before in sums.items()
}
figures.show(*figures.who_sees_whom(found, "An inclusive sum reads the later tokens of its own chunk"))
late = {name: np.triu(each, 1) for name, each in found.items()}  # outputs moved by a later token
reveal("05.b", next(t for t in (5, 6, 7, 8) if not late["inclusive sum"][:, t - 1].any()))

# %% tags=["nbval-check-output"]
print("outputs moved by a later token:", {name: int(each.sum()) for name, each in late.items()})
print("tokens that reveal it:", (np.flatnonzero(late["inclusive sum"].any(0)) + 1).tolist())
print("the first 13 tokens alone: the last one reveals it:", bool(late["inclusive sum"][:13, 12].any()))
changed = v_TE.copy()
changed[6] += 1  # the value of token 7
for name, before in sums.items():
    a, b = (mixed_chunk(h_4TS, v, bias_CC, C, before=before)[5] for v in (v_TE, changed))
    print(f"{name}: token 7 changed, output 6 moves by {np.linalg.norm(a - b) / np.linalg.norm(a):.0%}")

# %% [markdown]
# The first token of a chunk reveals nothing: no token of its chunk is earlier. The last token of the text does catch it here.
# It would not if the text ended with a chunk of one token. So a test must change *every* token.
#
# The usual symptom of a leak in training is a loss that is too good. When the model writes, the future is not there to be read.
#
# ## 9. By a shift, and never by a subtraction
#
# There is another way to leave the own chunk out: `running sum - own summary`. On paper it is the same.
#
# Numbers in a computer are rounded. A bfloat16 number has 8 significant bits, so between 256 and 512 it knows even numbers only.
# By hand: let the earlier chunks sum to 1, and let the own chunk be 300. Then let one *later* token make 302 of the 300.
#
# The same with random numbers: five earlier chunks, and an own chunk that is as loud, 30 times, or 1000 times as loud.
# Its content is then exchanged for another. What chunk 6 reads must not move at all.


# %% tags=["nbval-check-output"]
def what_last_reads(kv_G):
    running = [kv_G[0]]
    for kv in kv_G[1:]:
        running.append(running[-1] + kv)
    return {"shifted": running[-2], "subtracted": running[-1] - kv_G[-1]}


for own in (300, 302):
    reads = what_last_reads(torch.tensor([1, own], dtype=torch.bfloat16))
    print(f"earlier chunks 1, own chunk {own}:", ", ".join(f"{name} {float(x):.0f}" for name, x in reads.items()))

noise = torch.from_numpy(rng.normal(size=(7, 32, 64)))
print("\nlargest move / size of what is read:")
for dtype in (torch.float64, torch.float32, torch.bfloat16):
    for loud in (1, 30, 1000):
        kv = torch.cat([noise[:5], loud * noise[5:]]).to(dtype)
        a, b = what_last_reads(kv[:6]), what_last_reads(kv[[0, 1, 2, 3, 4, 6]])
        moved = {name: float((a[name] - b[name]).abs().max() / noise[:5].sum(0).std()) for name in a}
        print(f"{str(dtype)[6:]:9} own chunk x {loud:4}:", ", ".join(f"{name} {m:.0e}" for name, m in moved.items()))

# %% [markdown]
# The sum 1 + 300 is rounded to 300, and 1 + 302 to 304. So the 1 of the earlier chunks is read as 0 or as 2,
# *depending on the token's own future*. The own chunk leaks through rounding.
#
# The shift moves nothing, in any format. The subtraction leaks in *all* formats. In bfloat16 with an own chunk 30 times as loud,
# it moves by about a tenth of the signal. At 1000 times the leak is larger than the signal.
# A comparison with a tolerance may hide this, so a leak test asks for **exactly zero**.
#
# Would the gradient show it? In formulas, `(sum + own) - own` has the derivative 1 - 1 = 0.

# %% tags=["nbval-check-output"]
kv = noise[:6].to(torch.bfloat16).requires_grad_()
reads = what_last_reads(kv)["subtracted"].float()
(gradient,) = torch.autograd.grad(reads.sum(), kv)
print("subtraction: gradient of what chunk 6 reads, by its own chunk:", float(gradient[5].abs().max()))
print("and by an earlier chunk:", float(gradient[2].abs().max()))

# %% [markdown]
# The gradient test is blind here, and the value test sees it. Lecture code and package shift. Each test has its blind spot, so run both.
#
# ## 10. Mean or sum?
#
# The paper has two versions. Equations 7 and 8 add the summaries. The fuller listing, Code 8, divides each summary by C,
# and takes the *mean* over the chunks read. A public port (somebody's version in PyTorch) has a third: divide each summary by C, then *add*.
#
# Run all three. How large is the global part in each chunk, compared with the mean?

# %% tags=["nbval-check-output"]
n = 20  # five chunks of four
h, v = rng.normal(size=(4, n, S)), rng.normal(size=(n, E))
mean, total = (mixed_chunk(h, v, bias_CC, C, combine=how, local=0) for how in ("mean", "sum"))
lin_q, lin_k, v_GCE = (to_chunks(x, C) for x in (h[2], h[3], v))
of_means = (lin_q @ earlier_chunks(lin_k.swapaxes(1, 2) @ v_GCE / C)).reshape(n, E)

print("chunk                    2   3   4   5")
readings = {"mean (Code 8)": mean, "sum (equations 7, 8)": total, "sum of means (a port)": of_means}
for name, far in readings.items():
    ratio = (far[C:] / mean[C:]).reshape(4, -1)
    assert ratio.std(1).max() < 1e-6  # one factor for all numbers of a chunk
    print(f"{name:22}", " ".join(f"{r:3.0f}" for r in ratio.mean(1)))
print("chunk 1 reads nothing:", all(not far[:C].any() for far in readings.values()))
alike = mixed_chunk(np.tile(h[:, :C], (1, 5, 1)), np.tile(v[:C], (5, 1)), bias_CC, C, local=0)
print("five equal chunks, mean: chunk 5 reads what chunk 2 reads:", same(alike[C : 2 * C], alike[-C:]))

# %% [markdown]
# The mean and the sum of means agree in chunk 2, where one earlier chunk is read. From chunk 3 on they part.
# So a test with two chunks cannot tell them apart: take at least three.
#
# The bare sum is the sum of means times C, in every chunk. Training can undo a fixed factor, in the scale and offset of lin_q.
# From mean to sum the factor *grows with the position*. No parameter can undo that.
#
# Which did the authors train? It is not known. **This project takes the mean**, as the fuller listing has it; `combine="sum"` gives the equations.
# With the mean, the size of the far part does not depend on how many chunks there are, as long as they are alike.
# What growth does to a model that is used on longer texts is a question of problem set 05.
#
# ## 11. Proofs
#
# Four sentences about the causal unit, each as a cell that would fail:
# 1. *No value leak.* A later token changes no earlier output, by not one bit.
# 2. *Nothing is missing.* Every earlier token is read. A layer that reads nobody leaks nothing, and would pass sentence 1.
# 3. *No gradient leak.* No earlier output has a gradient by a later input.
# 4. *Prefix.* The first n tokens alone give the same outputs as in the longer text, for every n.
#
# This is done on the whole unit: values with the lecture's code, gradients with the package's.

# %% tags=["nbval-check-output"]
with torch.no_grad():
    units[True].bias.weights += all_open  # no weight of exactly 0, as in section 6
p = units[True].to_numpy()
y_TD, reads_TT = flash(x_TD, p, C), np.zeros((T, T), bool)
for j in range(T):
    changed = x_TD.copy()
    changed[j] = rng.normal(size=D)
    reads_TT[:, j] = (flash(changed, p, C) != y_TD).any(1)
print("1. pairs (output, later input) that move:", np.triu(reads_TT, 1).sum())
print("2. every token reads itself and all earlier ones:", bool(reads_TT[np.tri(T, dtype=bool)].all()))

jacobian = torch.autograd.functional.jacobian(lambda x: units[True](x[None])[0], torch.from_numpy(x_TD))
slope_TT = jacobian.abs().sum((1, 3)).numpy()  # (T, D, T, D): all channels of output i by all channels of input j
print("3. largest gradient by a later input:", np.triu(slope_TT, 1).max())
print("   every gradient by an earlier input is above 0:", bool((slope_TT[np.tri(T, dtype=bool)] > 0).all()))
print("4. prefix, n = 1 to 13:", all(same(flash(x_TD[:n], p, C), y_TD[:n]) for n in range(1, T)))

# %% [markdown]
# Sentence 4 holds because C divides the scores, and not the length of the text. In lecture 02 the divisor was the length.
# It also holds because chunk g divides by its own g - 1 earlier chunks, never by all G.
#
# ## 12. Without a mask, and with padding
#
# A model that fills gaps reads both sides (equation 7). Then every chunk reads **all** chunks through the sum, its own one too.
# So tokens of the own chunk are read twice: one by one, and in the sum.
#
# Two consequences. First, with C = T there is a single chunk. The causal form is then the GAU of lecture 02.
# The paper says this without a condition. Is it true of both forms?

# %% tags=["nbval-check-output"]
for causal in (True, False):
    one_chunk = FLASH(D, qk_dim=S, chunk_size=T, causal=causal, bias="toeplitz").double()
    p = draw_order_one(one_chunk, torch.Generator().manual_seed(2)).to_numpy()
    as_gau = p | {"gamma": p["gamma"][:2], "beta": p["beta"][:2]}  # the two quad heads
    mine, gau = flash(x_TD, p, T, causal), reference.gau(x_TD, as_gau, causal=causal, length_scale=T)
    print(f"causal {causal!s:5}: one chunk = GAU: {same(mine, gau)!s:5}", end=" | ")
    print("without the global part = GAU:", same(flash(x_TD, p, T, causal, global_=0), gau))
reads = moves(lambda h, v: mixed_chunk(h, v, bias_CC, C, causal=False, local=0))
print("not causal: the sum alone reads the own chunk:", bool(reads[4, 5]), "and all chunks:", bool(reads.all()))

# %% [markdown]
# Only the causal form becomes a GAU. Otherwise the own chunk stays in the linear sum.
#
# Second, the mean must count **valid** tokens. Here are 14 tokens in chunks of 4. With zeros in the last chunk there are 16 places.
# A batch may pad them to 20 or more. Padding has a value of zero, so it adds nothing to the sum. But who counts it?

# %% tags=["nbval-check-output"]
q, k, v = h_4TS[2], h_4TS[3], v_TE
right = q @ (k.T @ v) / T
for places in (14, 16, 20, 64):
    off = np.linalg.norm(q @ (k.T @ v) / places - right) / np.linalg.norm(right)
    print(f"divided by {places:2} places: the global part is off by {off:.1%}")
print("lecture: divided by valid tokens:",
      same(mixed_chunk(h_4TS, v_TE, bias_CC, C, causal=False, local=0), right))  # fmt: skip
for length in (16, 20, 64):
    x_pad, mask = torch.zeros(1, length, D, dtype=torch.float64), torch.arange(length)[None] < T
    x_pad[0, :T] = torch.from_numpy(x_TD)
    with torch.no_grad():
        padded, alone = units[False](x_pad, mask=mask)[:, :T], units[False](x_pad[:, :T])
    print(f"package: {T} tokens padded to {length}: the same as alone:", same(padded, alone))

# %% [markdown]
# The package zeroes padding after the activation, since SiLU of a bias is not zero. Lecture 06 comes back to padding.
# A causal model never reads padding on the right, so a causal test cannot see this fault.
#
# ## 13. Here C is architecture
#
# In lecture 04, C was a speed knob: the exact chunk form uses the *same* linear attention inside and between chunks.
# In mixed chunk attention the inside is another function. So C decides who is read how. It also divides the scores.
#
# Measure both. All parameters stay, and only C changes.


# %% tags=["nbval-check-output"]
def exact_chunk_form(q_TS, k_TS, v_TE, C):
    """Lecture 04: linear attention inside the chunk as well."""
    q, k, v = (to_chunks(x, C) for x in (q_TS, k_TS, v_TE))
    inside = np.tril(q @ k.swapaxes(1, 2)) @ v
    return (inside + q @ earlier_chunks(k.swapaxes(1, 2) @ v)).reshape(-1, v.shape[2])[: len(v_TE)]


def change(a, b):
    return np.linalg.norm(a - b) / np.linalg.norm(b)


token_by_token = reference.linear_attention(h_4TS[2], h_4TS[3], v_TE, causal=True)
at_4 = mixed_chunk(h_4TS, v_TE, bias_CC, 4)
for n in (1, 2, 4, 7, 14):
    mixed = mixed_chunk(h_4TS, v_TE, toeplitz(bias_weights, n), n)
    one_by_one = moves(lambda h, v, n=n: mixed_chunk(h, v, toeplitz(bias_weights, n) + all_open, n, global_=0)).sum()
    exact = same(exact_chunk_form(h_4TS[2], h_4TS[3], v_TE, n), token_by_token)
    print(f"C = {n:2}: exact chunk form unchanged: {exact} | mixed: {one_by_one:3} pairs one by one, "
          f"output differs from C = 4 by {change(mixed, at_4):.0%}")  # fmt: skip

# %% [markdown]
# So a model trained with one C is another function at another C. Section 15 does this to a trained model.
# For the paper's models, C was 256 (512 for the largest). The authors did not tune it.
# They report that a larger C gets better as texts get longer (Figure 8).
#
# ## 14. What it costs
#
# Count the multiplications of the mixing, for one causal text.
#
# - local: each token reads (C + 1) / 2 tokens on average, for S + E multiplications each;
# - global: each token adds S × E numbers to a summary and reads S × E, so 2 S E.
#
# Both are a fixed number for each token: the cost is T (C + 1) (S + E) / 2 + 2 T S E. No T² is left.

# %%
from flash_course.bench.counts import count_multiply_adds
from flash_tutorial import GAU

D, E, S, C = 768, 1536, 128, 256  # the paper's base model
with torch.device("meta"):  # shapes only, no memory
    gau_unit, flash_unit = GAU(D, qk_dim=S, causal=True), FLASH(D, qk_dim=S, chunk_size=C, causal=True)
lengths, counted = (
    (512, 1024, 2048, 4096, 8192),
    {"map of a GAU": [], "FLASH: local + global": [], "dense layers of each": []},
)
table = [("T", "map of a GAU", "local", "global", "map / (local + global)", "states in a row: linear", "FLASH")]
for n in lengths:
    dense = n * (D * (2 * E + S) + E * D)
    full, near, far = n * (n + 1) * (S + E) // 2, n * (C + 1) * (S + E) // 2, 2 * n * S * E
    assert count_multiply_adds(gau_unit, n) == dense + full  # the package counts the same
    assert count_multiply_adds(flash_unit, n) == dense + near + far
    for parts, number in zip(counted.values(), (full, near + far, dense)):
        parts.append(number)
    table.append((n, *(f"{m / 1e6:,.0f} M" for m in (full, near, far)), f"{full / (near + far):.1f}", n, n // C))
print(figures.text_table(table))
title = "FLASH's mixing grows like T, the map of a GAU like T²"
figures.show(*figures.cost_of_a_block(lengths, counted, title=title))

# %% [markdown]
# At T = 512 a GAU's map needs fewer multiplications than FLASH's two parts. At 8192 it needs about 11 times as many.
# And 32 states are made in a row, where linear attention makes 8192. Table 11 of the paper shows the same on TPUs, with equal tokens in a batch:
# FLASH goes from 51 to 60 ms a step between T = 512 and 8192, FLASH-Quad (a stack of GAUs) from 44 to 132 ms.
#
# On your machine: linear attention with T states, the GAU's map, and mixed chunks.

# %% tags=["timing"]
from flash_course.bench.clock import summary, time_in_turn
from flash_course.bench.counts import count_state_numbers
from flash_tutorial.fast import relu2_attention
from flash_tutorial.mixing import linear_attention

device = "cuda" if preset is GPU else "cpu"


def milliseconds(n, S=32, E=64, C=64):
    *four, v = (torch.randn(1, n, width, device=device) for width in (S, S, S, S, E))
    seconds = time_in_turn({
        "linear, T states": lambda: linear_attention(four[2], four[3], v, causal=True),
        "a GAU's map": lambda: relu2_attention(four[0], four[1], v, scale=1 / n, causal=True),
        "mixed chunks": lambda: mixed_chunk_attention(*four, v, chunk_size=C, causal=True),
    }, rounds=7, device=device)  # fmt: skip
    return {name: 1000 * summary(each)["median"] for name, each in seconds.items()}


for n in (preset.timed_tokens // 4, preset.timed_tokens // 2, preset.timed_tokens):
    print(f"T = {n:5}:", ", ".join(f"{name} {ms:.2f} ms" for name, ms in milliseconds(n).items()))

# %% [markdown]
# These are times of this machine, forward only, at small S and E. Lecture 08 measures them with care, against fused softmax attention too.
#
# ## 15. Train it: two lines for your scoreboard
#
# The tiny model of lectures 01 to 04 once more, now with four FLASH units and C = 16. A text of T = 64 has four chunks.
# Beside it stands the same model with the local part alone: it never reads over a border.

# %% tags=["nbval-check-output"]
from flash_tutorial.data import load_corpus
from flash_course.bench.stored import compare_with_stored
from flash_tutorial.training import TrainConfig, evaluate, first_bytes, train

corpus = load_corpus("austen")
settings = TrainConfig(steps=300, batch=16, length=64, learning_rate=3e-3, warmup=20, eval_bytes=preset.score_bytes)
tiny = ModelConfig("flash", dim=64, depth=4, qk_dim=32, chunk_size=16, max_length=64, norm="layer")
runs = {
    "FLASH, C = 16": train(tiny, settings, corpus=corpus, progress=False),
    "FLASH, local only": train(replace(tiny, global_=False), settings, corpus=corpus, progress=False),
}
bits = {name: run.evaluation.bits_per_byte for name, run in runs.items()}
compare_with_stored("05", runs)  # made once by benchmarks/scoreboard.py, with the same seed and settings
gain = bits["FLASH, local only"] - bits["FLASH, C = 16"]
print("the global part gains more than 0.03 bits per byte:", gain > 0.03, "| less than 0.1:", gain < 0.1)

# %% tags=["timing"]
for name, run in runs.items():
    seconds = np.diff([row["seconds"] for row in run.log])
    learner.score(
        "05", name, bits_per_byte=bits[name], step_ms=1000 * float(np.median(seconds)),
        state_numbers=count_state_numbers(run.model, settings.length) if "C =" in name else 4 * 16 * (32 + 128),
    )  # fmt: skip
print(learner.report())

# %% [markdown]
# (The state of *local only* is a chunk of keys and values, in four units: 4 C (S + E).)
#
# The global part helps here, by less than a tenth of a bit. It is one seed of a tiny model, and its T is only four chunks.
# The GAU of lecture 02 has a map of all 64 tokens, and was better than both (3.01). At T = 64 such a map costs little.
# The paper's FLASH gives up some quality against FLASH-Quad too: at most 0.30 in perplexity on Wiki-40B (Table 4).
# What it gains is the cost at large T. Lecture 10 trains the parts with several seeds, on a task that only the global part can solve.
#
# Now change C in the trained model, and nothing else. A smaller chunk needs fewer distances of the bias, and all of them are there.

# %%
model, new_text = runs["FLASH, C = 16"].model, first_bytes(corpus.validation, preset.score_bytes)
by_chunk = {}
for C in (16, 8, 4, 2):
    for unit in model.stack.units:
        unit.chunk_size = C
    by_chunk[C] = evaluate(model, new_text, settings.length, batch=64).bits_per_byte
title = "Trained with C = 16: at another C the same numbers are another function"
figures.show(*figures.other_chunks(by_chunk, trained=16, level=bits["FLASH, local only"], title=title))
assert abs(by_chunk[16] - bits["FLASH, C = 16"]) < 1e-3
assert by_chunk[4] > by_chunk[8] > by_chunk[16] + 0.1 and by_chunk[8] > bits["FLASH, local only"]

# %% [markdown]
# At C = 8 the model is already worse than the one that was trained without a global part. No weight has changed.
#
# ## 16. What came after
#
# FLASH's schedule stayed: chunks in parallel, a map inside each, a state from chunk to chunk. What changed is the inside.
# Later layers are linear attention with a better state. The chunk form computes the *same* function, so C is a speed knob again.
#
# | layer | how a token changes the state M | inside the chunk | what C is |
# | --- | --- | --- | --- |
# | FLASH (2022) | the summary is added once a chunk | relu² map: another function | architecture |
# | RetNet (2023) | M ← a M + kᵀ v, one fixed number a for each head | the same, exact | speed |
# | GLA (2023) | M ← diag(a) M + kᵀ v, a is made from the token, one number for each row of M | the same, exact | speed |
# | Mamba-2 (2024) | M ← a M + kᵀ v, a is one number made from the token | the same, exact | speed |
# | DeltaNet (2021; in chunks 2024) | M ← M - b kᵀ (k M) + b kᵀ v: first forget what stands under k | the same, exact | speed |
#
# Why can these be cut into chunks exactly? Each rule is *linear in M*, plus something that does not depend on M.
# Then a whole chunk is of this kind too. One matrix and one array say all that the chunk does to any state. Check this property:


# %% tags=["nbval-check-output"]
rules = {
    "linear attention": lambda M, k, v, a: M + np.outer(k, v),
    "RetNet": lambda M, k, v, a: 0.9 * M + np.outer(k, v),
    "GLA": lambda M, k, v, a: a[:, None] * M + np.outer(k, v),
    "Mamba-2": lambda M, k, v, a: a[0] * M + np.outer(k, v),
    "DeltaNet": lambda M, k, v, a: M - a[0] * np.outer(k, k @ M) + a[0] * np.outer(k, v),
}
S, E, C = 4, 6, 8
k_CS, v_CE, a_CS = rng.normal(size=(C, S)) / 2, rng.normal(size=(C, E)), rng.uniform(size=(C, S))


def through_chunk(rule, M):
    for k, v, a in zip(k_CS, v_CE, a_CS):
        M = rule(M, k, v, a)
    return M


M = rng.normal(size=(S, E))
for name, rule in rules.items():
    adds = through_chunk(rule, np.zeros((S, E)))  # what the chunk brings by itself
    columns = [through_chunk(rule, np.outer(row, np.ones(E))) - adds for row in np.eye(S)]
    matrix = np.stack([column[:, 0] for column in columns], axis=1)  # (S, S): what it does to a state
    print(f"{name:16} 8 tokens in a row = one matrix and one sum:", same(through_chunk(rule, M), matrix @ M + adds))

# %% [markdown]
# FLASH's relu² has no such state: relu²(q · k) does not split into S numbers of q times S numbers of k.
# So inside the chunk no S × E array can stand for the tokens. This is the price of the sharp part, and the reason why C is architecture.
#
# (The table is a short guide to names that you will meet. Years are those of the first papers.)
#
# ## 17. What you take along
#
# Fill in the last column yourself. "Not shown" is a good answer.
# `learner.verdict("05 exclusive", "...")` stores a verdict, and `flash-tutorial report` prints them all.
#
# | claim | your evidence | your verdict |
# | --- | --- | --- |
# | Mixed chunk attention reads every earlier token, in one of two ways | section 6: measured, each pair once | |
# | The causal form leaks nothing | sections 8, 9, 11: values and gradients, exactly zero | |
# | An exclusive sum may be made by a subtraction | section 9: it leaks in every format | |
# | The mean is what the authors trained | section 10: both readings run; nothing shows which | |
# | With C = T, FLASH is the quadratic unit | section 12: true if causal, false otherwise | |
# | C is a speed setting | section 13: another function; section 15: a trained model gets worse | |
# | The cost is linear in T | section 14: the count, steps included | |
# | The global part makes the model better | section 15: one seed of a tiny model; Figure 7 of the paper | |
#
# **Three takeaways**
# 1. Near: relu² map in the chunk, scores over C. Far: lin_q times the mean of the earlier chunks' KᵀV.
# 2. The sum is exclusive, by a shift. Test values for exact zeros, gradients, prefixes, and that nothing is missing.
# 3. C is part of the model: a token right after a border sees one token sharply, and the rest through S × E numbers.
#
# **Exercises** [Problem set 05](../exercises/05_mixed_chunk_attention.ipynb), seven tasks: chunks, sums, the mixed form, a test for leaks, and three faulty suspects.
#
# **Next** [Lecture 06](06_flash_model.ipynb) puts the units together: the whole FLASH model, causal and masked, with documents and padding.
