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
# Softmax attention gives every pair of tokens a weight of its own, which is why it is so good and why it costs T².
# Linear attention squeezes the past into one state, which costs only T, but no single token can be picked out of that state again.
# Mixed chunk attention refuses to choose: inside a chunk of C tokens it compares every pair, and between chunks it passes a state along.
# That is the attention of FLASH, and by the end of this lecture you can write it from memory.
#
# **After it you can**
# - write mixed chunk attention as loops, then without loops, then in PyTorch;
# - say which token reads which, in which of two ways, and what that buys over linear attention;
# - prove that a causal layer reads nothing later, and name the faults that each proof misses;
# - say why the sum over chunks is exclusive, and from how many chunks on mean and sum are different functions;
# - explain why the chunk length C is part of the model here, although it was a speed setting in lecture 04.
#
# **You need** lecture 02 (the gated attention unit) and lecture 04 (linear attention and its exact chunk form).
#
# **Time** 44 minutes to read. Computing takes about 25 seconds on two CPU cores.
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
# Two questions from lecture 04. Answer from memory, then open the fold.
#
# **1.** What does the state of linear attention hold?
#
# <details><summary>Answer</summary>
#
# The sum of kᵀ v over all tokens read so far. That is S × E numbers, for queries and keys of width S and values of width E, however many tokens there were.
#
# </details>
#
# **2.** Why is its token-by-token form slow to train, and what does the exact chunk form do about it?
#
# <details><summary>Answer</summary>
#
# Each state waits for the one before, so there are T sequential steps, each of which moves a whole state to do little with it.
# The chunk form passes a state only once a chunk, and computes what happens inside a chunk as a small matrix product. The result is the same for every C.
#
# </details>

# %%
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F

from flash_course import figures, learner
from flash_course.bench.stored import compare_with_stored, load_stored
from flash_course.learner import predict, reveal, your_line
from flash_tutorial import FLASH, ModelConfig, reference


@dataclass
class Preset:
    timed_tokens: int  # T where we measure time
    score_bytes: int  # of held-out text, on which a trained model is scored


CPU, GPU = Preset(2048, 20_000), Preset(8192, 100_000)
preset = GPU if torch.cuda.is_available() else CPU
torch.set_num_threads(1)


def same(a, b):
    """The same shape and, up to rounding, the same numbers."""
    a, b = np.asarray(a), np.asarray(b)
    return a.shape == b.shape and bool(np.abs(a - b).max() < 1e-10)


print(preset)

# %% [markdown]
# ## 1. Why not simply linear attention in chunks?
#
# Lecture 04 left a question open. The exact chunk form of linear attention already has few sequential steps, and it already costs
# only T. So why does FLASH exist at all?
#
# Let us count, for one causal sequence of T tokens and the paper's base model. Inside a chunk of C tokens each one meets
# (C + 1) / 2 on average, itself included, at S multiplications for the score and E for the value. Between chunks it adds S × E numbers to a state and reads as many.

# %% tags=["nbval-check-output"]
T, S, E, C = 8192, 128, 1536, 256
every_pair = T * (T + 1) // 2 * (S + E)
states = 2 * T * S * E
inside = T * (C + 1) // 2 * (S + E)
bits = load_stored("scoreboard")
bits_of = {name: row["bits_per_byte"] for name, row in bits["runs"].items()}
stored = {
    "GAU, every pair": (1, every_pair, "02 GAU, relu^2"),
    "linear, token by token": (T, states, "04 linear attention"),
    "linear, exact chunks": (T // C, inside + states, "04 linear attention"),
    "mixed chunks (FLASH)": (T // C, inside + states, "05 FLASH, C = 16"),
}
rows = [("mixing", "sequential steps", "million multiplications", "bits per byte")]
rows += [(name, n, f"{m / 1e6:,.0f}", f"{bits_of[run]:.2f}") for name, (n, m, run) in stored.items()]
print(figures.text_table(rows))

# %% [markdown]
# The last two lines agree in everything but the score, because both do a C × C product inside each chunk. Linear attention spends
# it on computing, exactly, the blurry function that token by token would give. Mixed chunk attention has paid for all the pairs of
# the chunk anyway, so it puts a relu² between score and value, and gets sharp weights for
# the near tokens at no extra cost. It gives up only the exactness: C becomes part of what the model computes.
#
# (The scores are those of the tiny model that you train in every lecture, with T = 64 and chunks of 16. They say nothing about T = 8192.
# FLASH has 636 of 126,077 parameters more than the linear model.) Is a score of one run worth anything? Here are three seeds.

# %% tags=["nbval-check-output"]
seeds = bits["seeds"]
linear, flash_bits = (np.array(seeds[name]) for name in ("04 linear attention", "05 FLASH, C = 16"))
print("seeds 0, 1, 2, linear attention:", linear.tolist())
print("seeds 0, 1, 2, FLASH:           ", flash_bits.tolist())
print("FLASH is lower by", ", ".join(f"{gap:.2f}" for gap in linear - flash_bits), "bits per byte")
assert flash_bits.max() < linear.min() - 0.05  # even the worst seed of one against the best of the other

# %% [markdown]
# FLASH is ahead at every seed, by more than its own seeds differ. (Section 13 puts Transformer++ beside it.) So this is the plan: a
# **local part**, which is the relu² attention of lecture 02 inside each chunk, and a **global part**, which is linear attention
# with one state for each *chunk*. They are added, and all else is the gated unit that you know.

# %%
figures.show(*figures.flash_unit())

# %% [markdown]
# ## 2. Four heads of one base, on six tokens
#
# The two parts use a score differently: a relu² weight is never negative, while a weight of linear attention may be. So each part
# gets a query and a key of its own. All four of these *heads* are a scale and an offset of the same base z, in the paper's order
# quad_q, quad_k, lin_q, lin_k; the value v serves both parts as it is.
#
# To trace every number by hand, take S = E = 2 and six tokens in chunks of C = 2. Names carry their shape: `z_TS` has T rows of
# width S, and an H stands for the heads. RoPE is left out until section 5.

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
print("parameters of four heads at S = 128:", 4 * 2 * 128)

# %% [markdown]
# ## 3. The local part
#
# Inside a chunk it is the attention of lecture 02, with the score divided by C, whatever the length of the sequence, then a bias added, then
# relu². The bias is one small table of C × C numbers that all chunks share, so that G small attention matrices take the place of the large one.
#
# **Your line.** Token i reads the tokens of its own chunk, up to itself. Counting from 0, which is the first token of that chunk?


# %%
def first_of_chunk(i, C):
    return ...


your_line("05.c", first_of_chunk, ((5, 4), 4), ((11, 4), 8), ((6, 7), 0), ((21, 7), 21))

# %% [markdown]
# <details><summary>The line</summary>
#
# `return i // C * C`: divide without a remainder, and multiply again.
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
# Token 6 reads 1 × (0, 4) from token 5 and 4 × (-4, 0) from itself, which makes (-16, 4). Token 5 is worse off: as the first of
# its chunk it can read only itself, and its one score is 0, so its near part is (0, 0). Whatever token 5 learns of the
# past must come from the other part.
#
# ## 4. The global part
#
# A chunk leaves behind one array of S × E numbers, the sum of kᵀ v over its tokens; call it the chunk's *summary*. Token i
# multiplies its lin_q with the summaries of the **earlier** chunks. No activation stands on lin_q or lin_k, which is why these weights may be negative.
#
# As a formula (equation 8 of the paper, with the division of its Code 8), for the tokens of chunk g of G, counted from 1:
#
# $$\text{far}_g = Q^{\text{lin}}_g \; \frac{1}{(g-1)\,C} \sum_{h=1}^{g-1} {K^{\text{lin}}_h}^{\top} V_h$$
#
# Q, K and V with an index hold the rows of lin_q, lin_k and v in that chunk. In words: add the summaries of chunks 1 to g - 1 and
# divide by the number of tokens in them, so that a *mean* is read. Chunk 1 reads nothing. Section 9 shows what happens without the division.
#
# **Your line.** Counting chunks from 0, which ones does token i read through their summaries? Return a `range`.


# %%
def chunks_read(i, C):
    return ...


your_line("05.d", chunks_read, ((8, 4), [0, 1]), ((11, 4), [0, 1]), ((3, 4), []), ((6, 2), [0, 1, 2]))

# %% [markdown]
# <details><summary>The line</summary>
#
# `return range(i // C)`: all chunks before its own. With `range(i // C + 1)` the sum would be *inclusive*, and section 8 shows what that does.
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
figures.show(
    *figures.exclusive_sum(kv_GSE, tokens_G, title="The prefix sum is shifted by one chunk: no chunk reads itself")
)

# %% [markdown]
# Read the picture column by column. The prefix sum of chunk 2 holds chunks 1 and 2, and it is handed to chunk 3, which reads it;
# what chunk 3 itself adds is for chunk 4, if there is one. This is an *exclusive prefix sum*. Token 6 multiplies its lin_q (3, 0) with
# the last array: 3 × (-1, 2) + 0 × (4, 4) = (-3, 6). It took 3 sequential steps, where token by token would have taken 6.
#
# Both parts are sums of weights times values, so we can also write each as a T × T attention matrix, to look at it.
# In the global one the weight of a pair is lin_q · lin_k over the number of tokens read. No implementation ever builds it.

# %%
i, j = np.indices((6, 6))
own, earlier_chunk = (i // C == j // C) & (j <= i), j // C < i // C
near_weights = np.maximum(quad_q @ quad_k.T / C + np.tile(bias_CC, (3, 3)), 0) ** 2
far_weights = lin_q @ lin_k.T / np.maximum(i // C * C, 1)
panels = {
    "local: one by one": np.where(own, near_weights, np.nan),
    "global: as if one by one": np.where(earlier_chunk, far_weights, np.nan),
}
figures.show(*figures.numbers_in_squares(panels, row=6, title="Each pair is read in one of two ways, never in both"))
assert same(np.where(own, near_weights, 0) @ v_TE, near_TE)  # weights times values
assert same(np.where(earlier_chunk, far_weights, 0) @ v_TE, far_TE)
print("token 6 reads, near + far:", tuple((near_TE + far_TE)[5].astype(int).tolist()))

# %% [markdown]
# Here are the six tokens once more, as a page that answers. Point at a number, or reach it with Tab and the arrow keys, and it
# shows what it is made of.

# %%
from flash_course import lab

lab.show(lab.six_tokens())

# %% [markdown]
# ## 5. Without loops
#
# `to_chunks` turns (T, S) into (G, C, S), with zeros behind the last token, and then both parts are products of small arrays.
# The zeros do no harm, because a padded key has a value of zero and a padded query makes an output that is cut off at the end.
#
# **Your line.** What remains is the exclusive prefix sum. `np.cumsum` gives the inclusive one; turn it into the exclusive one.


# %%
def exclusive(x_G):
    inclusive = np.cumsum(x_G, axis=0)  # noqa: F841 (your line reads it)
    return ...


your_line("05.e", exclusive, (([3, 5, 2, 7],), [0, 3, 8, 10]), (([[1, -2], [4, 4]],), [[0, 0], [1, -2]]))

# %% [markdown]
# <details><summary>The line</summary>
#
# `return np.concatenate([0 * inclusive[:1], inclusive[:-1]])`: zeros in front, and the last sum dropped.
# `np.roll` would hand the last sum to chunk 1, which is a grave leak. `inclusive - x_G` passes here, and section 8 shows why it is no good.
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
# `local=0` or `global_=0` switches a part off, and `before` says which chunks are read, so that we can plant a fault later.
#
# Is it the same function as the loops? Six tokens with whole numbers are easy to trace but make a bad proof, because many faults
# give the same numbers there. So now T = 14 and C = 4, three full chunks and a tail of two tokens, with numbers of order one and
# RoPE included. RoPE rotates all four heads, by the position in the whole *sequence* and not in the chunk. Other chunk
# lengths n are tried too, from one token a chunk to a chunk that is longer than the sequence.

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

checks = 0
for causal, combine in ((True, "mean"), (True, "sum"), (False, "mean"), (False, "sum")):
    for n in (1, 4, 7, 14, 20):
        b, how = toeplitz(bias_weights, n), {"causal": causal, "combine": combine}
        mine = mixed_chunk(h_4TS, v_TE, b, n, **how)
        slow = local_loops(*h_4TS[:2], v_TE, b, n, causal) + global_loops(*h_4TS[2:], v_TE, n, **how)
        assert same(mine, slow)
        assert same(mine, reference.mixed_chunk_attention(h_4TS, v_TE, *everybody, b, chunk_size=n, **how))
        assert same(mine, reference.mixed_chunk_attention_loops(h_4TS, v_TE, *everybody, b, chunk_size=n, **how))
        checks += 3
print(f"{checks} checks passed: the loops, the package, and the package's loops")

# %% [markdown]
# ## 6. Who reads whom
#
# Figure 4 of the paper draws who reads whom. A drawing proves nothing, so let us measure it: change one token, and see which outputs
# move at all. Each part is asked alone. There is one snag, which is that relu² gives many weights of exactly 0, and such a token
# may be read but is not. For this question we therefore add a large number to the bias, so that every allowed weight is positive.
#
# **Your first guess.** With C = 4, token 8 is the last of its chunk. It reads four tokens one by one: 5, 6, 7 and itself.
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
    "full attention": (full, 0),
    "local part": (near, 0),
    "linear attention": (0, linear),
    "mixed chunk": (near, far),
}
who = {name: one * figures.DIRECT + summed * figures.SUMMED for name, (one, summed) in panels.items()}
figures.show(*figures.who_reads_whom(who, C))
reveal("05.a", near[8].sum(), "token")

# %% tags=["nbval-check-output"]
print("read one by one, tokens 1 to 14:", near.sum(1).tolist())
print("read through the sum:           ", far.sum(1).tolist())
print(f"pairs one by one: {near.sum()} of {full.sum()}; through the sum: {far.sum()}; in both: {(near & far).sum()}")
assert ((near | far) == full).all() and near.sum() == 3 * C * (C + 1) // 2 + 3

# %% [markdown]
# Token 9 reads a single token one by one, itself. Right after a chunk boundary the sharp part is nearly empty, and then it fills up
# again. The boundaries lie at fixed places, so two neighbours on the two sides of one are never compared.
#
# **Misconception 1: the global part is a summary of everything before the token.** It leaves out the tokens of its own chunk, so
# precisely the nearest past is missing. The symptom: switch the local part off, and change token 7.

# %% tags=["nbval-check-output"]
changed = v_TE.copy()
changed[6] += 10
for name, on in (("global part alone", 0), ("with the local part", 1)):
    a, b = (mixed_chunk(h_4TS, v, bias_CC, C, local=on) for v in (v_TE, changed))
    print(f"{name:20} token 7 changed; outputs that move:", (np.flatnonzero((a != b).any(1)) + 1).tolist())

# %% [markdown]
# Without the local part token 8 does not notice its neighbour, and the news arrives only in the next chunk. The paper tried each
# part alone: read off its Figure 7, at T = 8192, FLASH has a perplexity of about 15, the local part alone about 18, and the global part alone (with C = 64) about 73.
#
# **Misconception 2: tokens of chunk 2 see those of chunk 1 one by one, only more coarsely.** They see one array, the summary, and
# two different chunks with the same summary are one and the same to every later token. The symptom: mix the keys and values of chunk 1
# among themselves by a matrix R with orthonormal rows. Since (R K)ᵀ R V = Kᵀ Rᵀ R V = Kᵀ V, all its tokens change and its summary does not.


# %% tags=["nbval-check-output"]
def change(a, b):
    return np.linalg.norm(a - b) / np.linalg.norm(b)


R = np.array([(1, 1, 1, 1), (1, -1, 1, -1), (1, 1, -1, -1), (1, -1, -1, 1)]) / 2
h, v = h_4TS.copy(), v_TE.copy()
h[3, :C], v[:C] = R @ h_4TS[3, :C], R @ v_TE[:C]  # lin_k and v of chunk 1
before, after = (mixed_chunk(*x, bias_CC, C) for x in ((h_4TS, v_TE), (h, v)))
print(f"values of chunk 1 changed by {change(v[:C], v_TE[:C]):.0%} of their size")
print(f"outputs of chunk 1 change by {change(after[:C], before[:C]):.0%}")
print(f"outputs of later chunks change by {change(after[C:], before[C:]):.0%}")

# %% [markdown]
# And the order of the tokens inside chunk 1? A sum has no order. But RoPE rotates each key by its position *before* the sum, so a
# token that stood elsewhere would leave another key in it, and a trace of the order does reach later chunks. What is lost
# is the single token: S × E numbers are all that is kept of a chunk, and later of all chunks together.
#
# ## 7. The same in PyTorch
#
# There is a batch axis B in front now, and `einsum` strings name the axes. In a causal sequence without padding all earlier chunks
# are full, so chunk g simply divides by (g - 1) C.


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


checks = 0
for length in (10, 14, 20, 22):
    h, v = rng.normal(size=(4, 2, length, S)), rng.normal(size=(2, length, E))  # B = 2
    four, values = torch.from_numpy(h), torch.from_numpy(v)
    for n in (1, 4, 7, 14):
        b = torch.from_numpy(toeplitz(bias_weights, n))
        mine = mixed_chunk_torch(four, values, b, n)
        package = mixed_chunk_attention(*four, values, chunk_size=n, causal=True, bias=lambda m, b=b: b[:m, :m])
        assert same(mine, package) and same(mine[1], mixed_chunk(h[:, 1], v[1], b.numpy(), n))
        checks += 2
print(f"{checks} checks passed: the package's mixing, and the one in NumPy, at four lengths and four C")

# %% [markdown]
# And now the whole unit: norm, projection with SiLU, four heads, RoPE, both parts, gate, output matrix, residual. New since
# lecture 02 are only the heads and the mixing. It is held against the package's unit in NumPy and against `FLASH` in PyTorch.


# %% tags=["nbval-check-output"]
from flash_tutorial.properties import draw_order_one


def flash(x_TD, p, C, causal=True, **how):
    E = p["out_weight"].shape[0]
    uvz = reference.silu(reference.scale_norm(x_TD, p["norm_gain"]) @ p["in_weight"] + p["in_bias"])
    u_TE, v_TE, z_TS = np.split(uvz, [E, 2 * E], axis=-1)
    h_4TS = reference.rope(heads(z_TS, p["gamma"], p["beta"]))  # positions 0 to T - 1 of the sequence
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
    assert same(mine, reference.flash(x_TD, p, causal=causal, chunk_size=C)) and same(mine, in_torch)
print("4 checks passed: causal and not, the unit in NumPy and in PyTorch")

# %% [markdown]
# ## 8. Exclusive, and never inclusive
#
# Chunk g reads chunks 1 to g - 1. Why not its own summary too, which is right there? Because a summary holds *all* tokens of its
# chunk, and for the first of them the others are the future.
#
# Suppose somebody forgets the shift, and you test it by changing one token and looking whether an *earlier* output moves. With C = 4, tokens 5, 6, 7 and 8 are one chunk.
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
changed = v_TE.copy()
changed[6] += 1  # the value of token 7
for name, before in sums.items():
    a, b = (mixed_chunk(h_4TS, v, bias_CC, C, before=before)[5] for v in (v_TE, changed))
    print(f"{name}: token 7 changed, output 6 moves by {change(a, b):.0%}")

# %% [markdown]
# The first token of a chunk reveals nothing, since no token of its chunk comes before it. So a test must change *every* token.
# In training the symptom of such a leak is a loss that is too good, followed by bad writing, because when a model writes, the future is not there to be read.
#
# There is a second way to leave the reading token's chunk out, namely to subtract its summary from the inclusive sum. On paper it is the same.
# In bfloat16, which has 8 significant bits, it is not: between 256 and 512 that format knows even numbers only. Let the earlier chunks sum to 1 and
# the chunk's own summary be 300, and then let a *later* token of the chunk make 302 of the 300.

# %% tags=["nbval-check-output"]
for own in (300, 302):
    first, second = torch.tensor([1, own], dtype=torch.bfloat16)
    print(f"its own summary {own}: shifted {float(first):.0f}, subtracted {float(first + second - second):.0f}")

# %% [markdown]
# The shift hands over the 1 as it is. The subtraction hands over 0 or 2, *depending on the reading token's own future*, because
# 1 + 300 is rounded to 300 and 1 + 302 to 304. A chunk leaks through its rounding.
#
# <details><summary>Is that only bfloat16, and would a gradient show it?</summary>
#
# Every format rounds, so every format leaks; float64 only does it in its sixteenth digit. That is why a leak test asks for
# **exactly zero**, as ours do, since a comparison with a tolerance would hide it. The gradient is blind to it: as a formula,
# (sum + own) - own has the derivative 1 - 1 = 0 with respect to its own summary, whatever the rounding does. Each test has its blind spot, so run both.
#
# </details>
#
# Now break it yourself. On this page you choose how the sum is made, which mask is applied where, and what divides; the picture
# shows who reads whom, lights up what leaks, and names the fault.

# %%
lab.show(lab.leaks())

# %% [markdown]
# The same for a line of code, and here you may write anything. The one below hands every chunk the running sum as it is; edit it until nothing leaks.

# %% tags=["nbval-check-output"]
found = lab.leaks("earlier = np.cumsum(kv, axis=0)")
print(*found.faults, sep="\n")

# %% [markdown]
# ## 9. Mean or sum?
#
# The paper has two versions. Its equations 7 and 8 add the summaries, while Code 8, the fuller listing, divides each summary by C
# and takes the *mean* over the chunks that are read. A public port to PyTorch has a third, which divides each summary by C and then
# *adds*. Run all three: how large is the global part in each chunk, compared with the mean?

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
    assert ratio.std(1).max() < 1e-6 and not far[:C].any()  # one factor for a whole chunk; chunk 1 reads nothing
    print(f"{name:22}", " ".join(f"{r:3.0f}" for r in ratio.mean(1)))

# %% [markdown]
# The mean and the sum of means agree in chunk 2, where a single earlier chunk is read, and part from chunk 3 on. So a test with two
# chunks cannot tell them apart: take at least three. The bare sum is the sum of means times C, in every chunk, and training can
# undo such a fixed factor in the scale and offset of lin_q. From the mean to the sum, however, the factor *grows with the
# position*, and no parameter of the layer knows the position of its chunk.
#
# Which one did the authors train? It is not known. **This project takes the mean**, as the fuller listing has it, and `combine="sum"`
# gives the equations. What the growth does to a model that meets longer texts is a question of problem set 05.
#
# ## 10. Proofs
#
# Four sentences about the causal unit, each of them a cell that would fail:
#
# 1. *No value leak.* A later token changes no earlier output, by not one bit.
# 2. *Nothing is missing.* Every earlier token is read. (A layer that reads nobody leaks nothing, and would pass sentence 1.)
# 3. *No gradient leak.* No earlier output has a gradient with respect to a later input.
# 4. *Prefix.* The first n tokens alone give the same outputs as they do in the longer sequence, for every n.
#
# They are asked of the whole unit, the values of the lecture's code and the gradients of the package's.

# %% tags=["nbval-check-output"]
with torch.no_grad():
    units[True].bias.weights += all_open  # no weight of exactly 0, as in section 6
p = units[True].to_numpy()
y_TD, reads_TT = flash(x_TD, p, C), np.zeros((T, T), bool)
for j in range(T):
    changed = x_TD.copy()
    changed[j] = rng.normal(size=D)
    reads_TT[:, j] = (flash(changed, p, C) != y_TD).any(1)
earlier_TT = np.tri(T, dtype=bool)
print("1. pairs (output, later input) that move:", np.triu(reads_TT, 1).sum())
print(f"2. pairs (output, its own or an earlier input) that move: {reads_TT[earlier_TT].sum()} of {earlier_TT.sum()}")

jacobian = torch.autograd.functional.jacobian(lambda x: units[True](x[None])[0], torch.from_numpy(x_TD))
slope_TT = jacobian.abs().sum((1, 3)).numpy()  # (T, D, T, D): all channels of output i by all channels of input j
print("3. largest gradient by a later input:", np.triu(slope_TT, 1).max())
off = max(np.abs(flash(x_TD[:n], p, C) - y_TD[:n]).max() for n in range(1, T))
print("4. largest difference between a prefix and the whole, 10 digits:", round(off, 10))
assert reads_TT[earlier_TT].all() and (slope_TT[earlier_TT] > 0).all() and off < 1e-10
assert not np.triu(reads_TT, 1).any() and not np.triu(slope_TT, 1).any()

# %% [markdown]
# The fourth holds because the scores are divided by C and not by the length of the sequence, as they were in lecture 02, and because
# chunk g divides by its own g - 1 earlier chunks and never by all G.
#
# ## 11. What it costs
#
# Section 1 counted one length. Mixed chunk attention costs a fixed number of multiplications for each token, a GAU a number that grows with T.

# %% tags=["nbval-check-output"]
from flash_course.bench.counts import count_multiply_adds, count_state_numbers
from flash_tutorial import GAU

with torch.device("meta"):  # shapes only, no memory; the paper's base model
    gau_unit, flash_unit = GAU(768, qk_dim=128, causal=True), FLASH(768, qk_dim=128, chunk_size=256, causal=True)
for n in (512, 1024, 8192):
    dense = n * 768 * (3 * 1536 + 128)  # the dense layers, which both have
    of_gau, of_flash = (count_multiply_adds(unit, n) - dense for unit in (gau_unit, flash_unit))
    print(f"T = {n:4}: mixing of a GAU / mixing of FLASH = {of_gau / of_flash:.1f}")
assert (of_gau, of_flash) == (every_pair, inside + states)  # the package counts as section 1 did

# %% [markdown]
# At T = 512 the GAU needs fewer multiplications, and at 8192 about eleven times as many. On the paper's TPUs, with equal tokens in
# a batch (Table 11), a training step of FLASH goes from 51 to 60 ms between these lengths, and one of FLASH-Quad, a stack of GAUs, from 44 to 132 ms.
#
# How is it on your machine? Beware of the straw man here. `linear_attention` of the package makes all T states with `torch.cumsum`
# along a strided axis, which lecture 04 found to be most of its time; a fair rival is the exact chunk form, with the same C as mixed chunks.

# %% tags=["timing"]
from flash_course.bench.clock import summary, time_in_turn
from flash_tutorial.fast import relu2_attention
from flash_tutorial.mixing import earlier_chunks as earlier_chunks_torch
from flash_tutorial.mixing import linear_attention

device = "cuda" if preset is GPU else "cpu"


def exact_chunks(q, k, v, C):
    """Lecture 04: linear attention inside the chunk as well; C divides T."""
    q, k, v = (x.unflatten(1, (-1, C)) for x in (q, k, v))
    return ((q @ k.mT).tril() @ v + q @ earlier_chunks_torch(k.mT @ v)).flatten(1, 2)


def milliseconds(n, S=32, E=64, C=64):
    *four, v = (torch.randn(1, n, width, device=device) for width in (S, S, S, S, E))
    seconds = time_in_turn({
        "linear, T states": lambda: linear_attention(four[2], four[3], v, causal=True),
        "linear, exact chunks": lambda: exact_chunks(four[2], four[3], v, C),
        "every pair of a GAU": lambda: relu2_attention(four[0], four[1], v, scale=1 / n, causal=True),
        "mixed chunks": lambda: mixed_chunk_attention(*four, v, chunk_size=C, causal=True),
    }, rounds=7, device=device)  # fmt: skip
    return {name: f"{1000 * summary(each)['median']:.2f}" for name, each in seconds.items()}


lengths = [preset.timed_tokens // 4, preset.timed_tokens // 2, preset.timed_tokens]
times = [milliseconds(n) for n in lengths]
print(figures.text_table([("milliseconds, T =", *lengths), *((name, *(t[name] for t in times)) for name in times[0])]))

# %% [markdown]
# These are times of one machine, forward only, at small S and E. Exact chunks and mixed chunks do the same kind of work, and it
# is the first line that has to hide. Lecture 08 measures with care, and against fused softmax attention.
#
# ## 12. Reading both sides
#
# A model that fills gaps, as in masked language modelling, reads both sides (equation 7). Then every chunk reads **all** chunks through
# the sum, including itself, so that a token's neighbours in its chunk are read twice: one by one, and in the sum.
#
# This has a consequence that the paper passes over. With C = T there is a single chunk, and FLASH is said to fall back to the GAU of lecture 02. Does it, in both forms?

# %% tags=["nbval-check-output"]
T, S, D, C = 14, 4, 8, 4  # small again
for causal in (True, False):
    one_chunk = FLASH(D, qk_dim=S, chunk_size=T, causal=causal, bias="toeplitz").double()
    p = draw_order_one(one_chunk, torch.Generator().manual_seed(2)).to_numpy()
    as_gau = p | {"gamma": p["gamma"][:2], "beta": p["beta"][:2]}  # the two quad heads
    gau = reference.gau(x_TD, as_gau, causal=causal, length_scale=T)
    assert same(flash(x_TD, p, T, causal, global_=0), gau)  # the local part alone always is
    apart = change(flash(x_TD, p, T, causal) - x_TD, gau - x_TD)
    print(f"{'causal' if causal else 'both sides'}: one chunk differs from a GAU by {apart:.0%} of what the GAU adds")

# %% [markdown]
# Only the causal form becomes a GAU. If both sides are read, each token's own chunk stays in the linear sum as well.
#
# Without a causal mask padding at the end is read as well, unless somebody prevents it. Lecture 06 does.
#
# ## 13. Train it
#
# The tiny model of the earlier lectures once more, now with four FLASH units and C = 16, so that a sequence of T = 64 bytes has four
# chunks. Beside it stands the same model with the local part alone, which never reads across a boundary. The question is what the global part is worth.

# %% tags=["nbval-check-output"]
from flash_tutorial.data import load_corpus
from flash_tutorial.training import TrainConfig, evaluate, first_bytes, train

corpus = load_corpus("austen")
settings = TrainConfig(steps=300, batch=16, length=64, learning_rate=3e-3, warmup=20, eval_bytes=preset.score_bytes)
tiny = ModelConfig("flash", dim=64, depth=4, qk_dim=32, chunk_size=16, max_length=64, norm="layer")
runs = {
    "FLASH, C = 16": train(tiny, settings, corpus=corpus, progress=False),
    "FLASH, local only": train(replace(tiny, global_=False), settings, corpus=corpus, progress=False),
}
compare_with_stored("05", runs)  # made once by benchmarks/scoreboard.py, with the same seed and settings

# %% tags=["timing"]
bits = {name: run.evaluation.bits_per_byte for name, run in runs.items()}
for name, run in runs.items():
    seconds = np.diff([row["seconds"] for row in run.log])
    learner.score(  # the state of "local only" is a chunk of keys and values in each of four units: C (S + E)
        "05", name, bits_per_byte=bits[name], step_ms=1000 * float(np.median(seconds)),
        state_numbers=count_state_numbers(run.model, settings.length) if "C =" in name else 4 * 16 * (32 + 128),
    )  # fmt: skip
print(learner.report())

# %% [markdown]
# You have just seen one seed, and on that seed the global part looks like a clear gain. Here are two more seeds, stored, with the rivals beside them.
# Transformer++ is the baseline that the paper set out to match.

# %% tags=["nbval-check-output"]
names = ("00 transformer++", "05 FLASH, C = 16", "05 FLASH, local only", "04 linear attention")
rows = [("bits per byte, seed", 0, 1, 2, "mean", "range")]
for name in names:
    row = seeds[name]
    rows.append((name[3:], *(f"{b:.3f}" for b in (*row, np.mean(row), max(row) - min(row)))))
print(figures.text_table(rows))
plus, mixed, local, linear = (np.array(seeds[name]) for name in names)
assert (plus < mixed).all() and (mixed < local).all() and (local < linear).all()
assert (local - mixed).min() < 0.01 and (local - mixed).mean() < np.ptp(local)  # smaller than the seeds differ

# %% [markdown]
# The global part helps at all three seeds, yet once it is by less than a hundredth of a bit, and on average by less than the local
# model's own seeds differ. So at T = 64 its effect is within the seeds, and "the global part helps" is not shown here. That is no
# surprise, since four chunks are all there is to read. Transformer++ is ahead of FLASH at every seed, with fewer parameters; at T = 64 comparing all
# pairs costs next to nothing, and there is nothing for FLASH to save. What it saves shows at large T (lecture 08), and whether the global part
# can do something that the local part cannot is asked in lecture 10, on a task that needs it.
#
# What these seeds do show is the sharp near part: even the model that has nothing else beats linear attention at each seed.
#
# ## 14. Here C is architecture
#
# In lecture 04 you could turn C as you liked and nothing but time and memory changed. In mixed chunk attention C decides who is read how. What
# happens to a trained model when we change it, and nothing else?
#
# One has to be careful with "nothing else". C also divides the scores, so that C = 8 doubles q · k / C in every chunk, and a model
# that was trained at one scale then runs at another. To take this apart, run each C twice: as it is, and with
# gamma and beta of quad_q multiplied by C / 16, which leaves q · k / 16 as trained.

# %%
model, held_out = runs["FLASH, C = 16"].model, first_bytes(corpus.validation, preset.score_bytes)
scale_offsets = [unit.scale_offset for unit in model.stack.units]
trained = [{name: w.clone() for name, w in each.state_dict().items()} for each in scale_offsets]


def score_with(C, factor):
    for unit, weights in zip(model.stack.units, trained):
        unit.chunk_size = C
        unit.scale_offset.load_state_dict(weights)
        with torch.no_grad():
            unit.scale_offset.gamma[0] *= factor  # head 0 is quad_q
            unit.scale_offset.beta[0] *= factor
    return evaluate(model, held_out, settings.length, batch=64).bits_per_byte


by_chunk = {
    "scores / C": {C: score_with(C, 1) for C in (16, 8, 4, 2)},
    "scores / 16": {C: score_with(C, C / 16) for C in (16, 8, 4, 2)},
}
as_it_is, held = by_chunk.values()
title = "Trained with C = 16: most of the damage at another C is the scale"
named = {f"FLASH, {name}": row for name, row in by_chunk.items()}
figures.show(*figures.other_chunks(named, trained=16, level=bits["FLASH, local only"], title=title))
share = {C: (as_it_is[C] - held[C]) / (as_it_is[C] - as_it_is[16]) for C in (8, 4, 2)}
print("share of the damage that is scale:", ", ".join(f"{s:.0%} at C = {C}" for C, s in share.items()))
assert abs(as_it_is[16] - bits["FLASH, C = 16"]) < 1e-3 and abs(held[16] - as_it_is[16]) < 1e-6
assert all(0.6 < s < 0.9 for s in share.values()) and held[2] > held[4] > held[8] > held[16] + 0.02
assert as_it_is[8] > bits["FLASH, local only"] + 0.1 > held[8] + 0.05

# %% [markdown]
# About three quarters of the damage is the scale. If you look only at the upper line, C = 8 seems to do worse than a model without any global
# part; with the scale held it does not. What is left in the lower line is the architecture itself: the same parameters now read fewer
# tokens sharply and more of them through a mean, and they were not trained for that. So C is not a knob of a trained model,
# and somebody who turns it has to train again. (This is one model of one seed; the order of the lines is what the cell asserts.)
#
# For the paper's models C was 256, and 512 for the largest; the authors did not tune it, and report that a larger C gets better
# as texts get longer (Figure 8).
#
# **What came after.** FLASH's schedule stayed: chunks in parallel, a small matrix product inside each, a state from one to the next. What changed is the inside.
# RetNet and GLA (2023), Mamba-2 and DeltaNet in chunks (2024) are linear attention with a better state, one that forgets or overwrites.
# Their update is linear in the state, so a whole chunk can be computed exactly, and C is a speed setting again. FLASH's relu² admits no such
# state, because relu²(q · k) does not split into S numbers of q times S numbers of k. That is the price of the sharp part. Lecture 13, `13_after_flash.ipynb`, builds these successors.
#
# ## 15. What you take along
#
# Fill in the last column yourself. "Not shown" is a good answer.
# `learner.verdict("05 exclusive", "...")` stores a verdict, and `flash-tutorial report` prints them all.
#
# | claim | your evidence | your verdict |
# | --- | --- | --- |
# | FLASH costs no more than exact linear attention in chunks | section 1: counted, steps and multiplications | |
# | The sharp near part is worth having | sections 1, 13: three seeds of a tiny model | |
# | Mixed chunk attention reads every earlier token, in one of two ways | section 6: measured, each pair once | |
# | The causal form leaks nothing | sections 8, 10: values and gradients, exactly zero | |
# | An exclusive sum may be made by a subtraction | section 8: it leaks through rounding | |
# | The mean is what the authors trained | section 9: both readings run; nothing shows which | |
# | With C = T, FLASH is the quadratic unit | section 12: true if causal, false otherwise | |
# | C is a speed setting | section 14: another function, once the scale is held too | |
# | The global part makes the model better | section 13: at T = 64 within the seeds; Figure 7 of the paper | |
#
# **Three takeaways**
# 1. Near: relu² attention in the chunk, scores over C. Far: lin_q times the mean of the earlier chunks' KᵀV. For the price of exact linear attention in chunks you get sharp weights nearby.
# 2. The sum is exclusive, by a shift. Test values for exact zeros, gradients, prefixes, and that nothing is missing.
# 3. C is part of the model: a token right after a boundary sees one token sharply, and the rest through S × E numbers. Whoever changes C changes the scale of the scores as well.
#
# **Exercises** [Problem set 05](../exercises/05_mixed_chunk_attention.ipynb), seven tasks: chunks, sums, the mixed form, a test for leaks, and three faulty suspects.
#
# **Next** [Lecture 06](06_flash_model.ipynb) puts the units together: the whole FLASH model, causal and masked, with documents and padding.
