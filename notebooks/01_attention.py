# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 01 Attention: who reads whom, what it costs, and where a token stands
#
# [With results](01_attention.ipynb) · [without, to work in](work/01_attention.ipynb) · [problem set 01](../exercises/01_attention.ipynb) · [glossary](../docs/glossary.md)
#
# FLASH changes softmax attention. So the course starts with what it changes, and builds it from loops.
#
# **After it you can**
# - compute softmax attention by hand, in loops, with einsum and with torch's own fast program;
# - put a mask where it belongs, and test who sees whom without reading the code;
# - split a width into heads, and say what a longer text costs;
# - state what ScaledSin and RoPE keep, and turn the Transformer into the paper's Transformer+.
#
# **You need** the tour 00, some NumPy, and a rough idea of attention. Hard spots: the refresher, lecture 90.
#
# **Time** 35 minutes to read. Computing takes about 20 seconds on two CPU cores; a GPU was not measured yet.
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
# **Two questions from the tour.** Answer from memory, then open the fold.
#
# **1.** Which three complaints does the paper raise against earlier cheap kinds of attention?
#
# <details><summary>Answer</summary>
#
# Quality: they were compared with a baseline that is too weak. Overhead: fewer operations, and no less time.
# Training: a state that is updated token by token needs T steps in a row.
#
# </details>
#
# **2.** What is a bit per byte?
#
# <details><summary>Answer</summary>
#
# The mean price of the next byte. A byte that got probability p costs -log₂ p bits. Guessing blindly costs 8.
#
# </details>

# %%
import math
from dataclasses import dataclass, replace

import numpy as np
import torch

from flash_course import figures
from flash_tutorial import ModelConfig, TransformerBlock, count_parameters, mixing, reference
from flash_tutorial.devices import pick_device
from flash_course.learner import predict, reveal


@dataclass
class Preset:
    tokens: int  # T where time and memory are measured
    rounds: int  # how often a time is measured; you see the median


CPU, GPU = Preset(tokens=1024, rounds=15), Preset(tokens=4096, rounds=9)
device = pick_device()
preset = GPU if device.type == "cuda" else CPU
torch.set_num_threads(1)  # then times depend less on what else your computer does
print(f"{device.type}: {preset}")

# %% [markdown]
# ## 1. Attention by hand
#
# *Sees* and *reads* mean the same here. Take the six letters of *banana* as six tokens. Each token has three rows of numbers:
#
# - a **query**: what it looks for. An *a* looks for *n*, an *n* looks for *a*, and *b* looks for nothing;
# - a **key**: what it can be found by. Here that is the letter itself;
# - a **value**: what others get when they read it. Here: (1, 0) for a vowel, (0, 1) for a consonant.
#
# One of the numbers in such a row is also called a *channel*.
#
# In a model, three learnt matrices make these rows. Here they are written by hand, so that you can follow each number.
#
# The letters from the tour: T tokens, S numbers in a query or a key, E numbers in a value.
# A name ends with its shape: `q_TS` has T rows and S columns. Python counts from 0, so token 6 is row 5.
#
# Token i reads in three steps:
#
# 1. **compare**: its query with every key. The score is the sum of products, divided by √S;
# 2. **weigh**: take exp of each score and divide by their sum. Now the weights are positive and sum to 1;
# 3. **mix**: add up the values, each times its weight.
#
# $$ s_{ij} = \frac{q_i \cdot k_j}{\sqrt{S}} \qquad w_{ij} = \frac{e^{s_{ij}}}{\sum_{j'} e^{s_{ij'}}} \qquad o_i = \sum_j w_{ij}\, v_j $$
#
# Step 2 is the **softmax**. Follow token 6, an *a*, with a pencil. Its score is ln 4 for each *n* and 0 for all others.

# %% tags=["nbval-check-output"]
word, T, S, E = "banana", 6, 4, 2
channel = {"b": 0, "a": 1, "n": 2}  # the fourth of the S channels stays 0
wanted = {"a": "n", "n": "a"}

q_TS, k_TS, v_TE = np.zeros((T, S)), np.zeros((T, S)), np.zeros((T, E))
for t, letter in enumerate(word):
    k_TS[t, channel[letter]] = 1
    v_TE[t] = (1, 0) if letter == "a" else (0, 1)
    if letter in wanted:
        q_TS[t, channel[wanted[letter]]] = 2 * math.log(4)  # chosen so that you will meet whole numbers

i = 5
exps = [math.exp(q_TS[i] @ k_TS[j] / math.sqrt(S)) for j in range(T)]
out_E = np.zeros(E)
for j in range(T):
    weight = exps[j] / sum(exps)
    out_E += weight * v_TE[j]
    print(f"token {j + 1}, {word[j]}: exp(score) {exps[j]:.0f}, weight {exps[j]:.0f}/{sum(exps):.0f}, value {v_TE[j]}")
print(f"output of token 6: {out_E[0]:.2f} vowel, {out_E[1]:.2f} consonant")

# %% [markdown]
# The two *n* get 8 of 12 parts, and *b* gets 1. So token 6 now knows that it is among consonants, by 9 parts of 12.
#
# The same for each token, as two loops. The T × T weights are called the **map**.


# %% tags=["nbval-check-output"]
def attention_loops(q_TS, k_TS, v_TE):
    out_TE = np.zeros_like(v_TE)
    for i in range(len(q_TS)):
        exps = [math.exp(q_TS[i] @ k_S / math.sqrt(q_TS.shape[1])) for k_S in k_TS]
        for j in range(len(k_TS)):
            out_TE[i] += exps[j] / sum(exps) * v_TE[j]
    return out_TE


out_TE = attention_loops(q_TS, k_TS, v_TE)
figures.show(*figures.attention_by_hand(word, np.exp(q_TS @ k_TS.T / math.sqrt(S))))
for t in range(T):
    print(f"token {t + 1}, {word[t]}: {out_TE[t, 0]:.2f} vowel, {out_TE[t, 1]:.2f} consonant")
print("token 6 as traced above:", np.allclose(out_TE[5], out_E))

# %% [markdown]
# Tokens 2, 4 and 6 get the same output. Attention does not see at which place an *a* stands. Section 6 mends that.
#
# ## 2. The same without loops
#
# `einsum` names the axes. `"is,js->ij"` reads: for each i and each j, multiply and sum over s.
# It sums over s because s is missing on the right. Here i is the token that reads, and j the one that is read.


# %% tags=["nbval-check-output"]
def softmax(score_TT):
    exp_TT = np.exp(score_TT - score_TT.max(-1, keepdims=True))  # why subtract? see below
    return exp_TT / exp_TT.sum(-1, keepdims=True)


def attention(q_TS, k_TS, v_TE):
    score_TT = np.einsum("is,js->ij", q_TS, k_TS) / math.sqrt(q_TS.shape[1])
    return np.einsum("ij,je->ie", softmax(score_TT), v_TE)


rng = np.random.default_rng(0)
q, k, v = rng.normal(size=(50, 16)), rng.normal(size=(50, 16)), rng.normal(size=(50, 8))
everyone = np.ones((50, 50), bool)  # each token may see each other
print("banana, einsum = loops:", np.allclose(attention(q_TS, k_TS, v_TE), out_TE))
print("50 random tokens, einsum = loops:", np.allclose(attention(q, k, v), attention_loops(q, k, v)))
print("einsum = the package:", np.allclose(attention(q, k, v), reference.softmax_attention(q, k, v, everyone)))

# %% [markdown]
# **Why subtract the largest score of the row?** exp(1000) is too large for a float. The result is inf / inf.
# Take 1000 off every score of the row: all exps shrink by one factor, and their shares stay the same.
#
# **Why divide by √S?** Let queries and keys be random numbers of size 1. A score sums S products.
# Without the division its size is √S, and one token takes nearly all the weight.

# %% tags=["nbval-check-output"]
score_T = np.array([1000.0, 1000.0 + math.log(4)])
with np.errstate(over="ignore", invalid="ignore"):
    print("without subtraction:", np.exp(score_T) / np.exp(score_T).sum())
print("with subtraction:   ", softmax(score_T).round(3))
for width in (4, 64, 1024):
    product = np.einsum("ns,njs->nj", rng.normal(size=(500, width)), rng.normal(size=(500, 6, width)))
    largest, divided = (softmax(score).max(-1).mean() for score in (product, product / math.sqrt(width)))
    print(f"S = {width:4d}: size {product.std():4.0f}; largest of 6 weights {largest:.1f}, divided by √S {divided:.1f}")

# %% [markdown]
# ## 3. Masks, and a test of who sees whom
#
# A model that writes may not read ahead: token i sees tokens 1 to i. Is that so in a given program?
# Reading the code is not enough, as you will see. A test needs no code:
#
# **change one token, and look which outputs change.**
#
# To try it you need a layer: six random tokens of D numbers each, and three matrices that make queries, keys and values.


# %% tags=["nbval-check-output"]
def reads(layer, x_TD):
    """sees_TT[i, j]: does output i change when token j is replaced?"""
    T, D = x_TD.shape
    before_TE, sees_TT = layer(x_TD), np.zeros((T, T), bool)
    other_TD = np.random.default_rng(1).normal(size=(T, D))
    for j in range(T):
        changed_TD = x_TD.copy()
        changed_TD[j] = other_TD[j]
        sees_TT[:, j] = (layer(changed_TD) != before_TE).any(1)
    return sees_TT


T, D = 6, 8
x_TD = rng.normal(size=(T, D))
W_q, W_k, W_v = (rng.normal(size=(D, 4)) / math.sqrt(D) for _ in range(3))


def layer(attend):
    return lambda x_TD: attend(x_TD @ W_q, x_TD @ W_k, x_TD @ W_v)


sees_TT = reads(layer(attention), x_TD)
print(f"without a mask: {sees_TT.sum()} of {T * T} pairs, {np.triu(sees_TT, 1).sum()} of them read a later token")

# %% [markdown]
# **Your line.** A pair that must not be seen gets the score -inf, before the softmax. Its weight is exp(-inf) = 0.
# Write that line into the next cell. `np.tri(n, dtype=bool)` is True on and below the diagonal of an n × n table.
# The cell after the next one checks your line.
#
# <details><summary>The line</summary>
#
# ```python
# score_TT = np.where(np.tri(len(q_TS), dtype=bool), score_TT, -np.inf)
# ```
#
# </details>
#
# The third cell holds a whole function. There the caller says who may see whom, so it serves for any mask.


# %%
def causal_attention(q_TS, k_TS, v_TE):
    score_TT = np.einsum("is,js->ij", q_TS, k_TS) / math.sqrt(q_TS.shape[1])
    # your line here
    return np.einsum("ij,je->ie", softmax(score_TT), v_TE)


# %%
def check_causal(attend):
    sees_TT = reads(layer(attend), x_TD)
    if not np.array_equal(sees_TT, np.tri(T, dtype=bool)):
        i, j = np.argwhere(sees_TT != np.tri(T, dtype=bool))[0] + 1
        print(f"not yet: token {i} {'sees' if i < j else 'does not see'} token {j}")
    elif not np.allclose(attend(q, k, v)[-1], attention(q, k, v)[-1]):
        print("not yet: the last token sees all others, so its output must be the one without a mask")
    else:
        print("right: each token sees itself and the earlier ones, and no other")


check_causal(causal_attention)


# %% tags=["nbval-check-output"]
def masked_attention(q_TS, k_TS, v_TE, sees_TT):
    score_TT = np.einsum("is,js->ij", q_TS, k_TS) / math.sqrt(q_TS.shape[1])
    score_TT = np.where(sees_TT, score_TT, -np.inf)
    return np.einsum("ij,je->ie", softmax(score_TT), v_TE)


def causal_attention(q_TS, k_TS, v_TE):
    return masked_attention(q_TS, k_TS, v_TE, np.tri(len(q_TS), dtype=bool))


check_causal(causal_attention)
weight_T = causal_attention(q_TS, k_TS, np.eye(6))[2]  # token j has the value "1 in place j": out come the weights
print("banana, token 3 sees b, a, n: weights 1/6, 4/6, 1/6:", weight_T.round(3))

# %% [markdown]
# Which row of the causal map has one entry only? The first: token 1 sees itself, and its weight is 1.
#
# Now a popular variant. First the softmax, then put the forbidden weights to zero.
# The map looks the same: nothing stands above the diagonal.
#
# **Your first guess.** There are 15 forbidden pairs. How many of them does the test still find?

# %%
predict("01.a", None)  # your number in the place of None


# %%
def masked_after(q_TS, k_TS, v_TE):
    score_TT = np.einsum("is,js->ij", q_TS, k_TS) / math.sqrt(q_TS.shape[1])
    return np.einsum("ij,je->ie", np.tril(softmax(score_TT)), v_TE)  # np.tril: zero above the diagonal


tested = {"no mask": attention, "mask before the softmax": causal_attention, "mask after it": masked_after}
maps = {name: reads(layer(attend), x_TD) for name, attend in tested.items()}
reveal("01.a", np.triu(maps["mask after it"], 1).sum(), "of 15 forbidden pairs")
figures.show(*figures.who_sees_whom(maps, "A mask after the softmax hides nothing"))

# %% [markdown]
# **Misconception: masking is something you do to probabilities.** The divisor of each row has read all tokens.
# So a later token changes every weight before it, although its own weight is zero.
#
# The symptom to look for: rows of the map do not sum to 1.

# %% tags=["nbval-check-output"]
print({name: int(np.triu(sees, 1).sum()) for name, sees in maps.items()}, "pairs read a later token")
weight_TT = np.tril(softmax(x_TD @ W_q @ (x_TD @ W_k).T / 2))  # mask after; √S = 2
print("sums of its rows:", weight_TT.sum(1).round(2))
repaired_TT = weight_TT / weight_TT.sum(1, keepdims=True)
before_TE = layer(causal_attention)(x_TD)
print("each row divided by its sum again = mask before:", np.allclose(repaired_TT @ (x_TD @ W_v), before_TE))

# %% [markdown]
# **Other masks.** Two texts often share a row of a batch. Then a token may see its own text only.
# And *padding*, which fills a short text up, must not be seen by any token. All rules are combined with "and".
#
# **In torch** a batch axis B and an axis H for heads come first: `(B, H, T, S)`. (Heads follow in section 4; here H = 1.)
# The package calls torch's own function. It runs one *fused* program, called a *kernel*.
# Scores, softmax and mix happen in it piece by piece. The T × T map is never stored.
# (Such a program is called FlashAttention. It computes the same numbers, and is not the FLASH of this course.)
#
# The first cell compares both, with a text of 3 tokens, one of 2, and one token of padding.
# The second measures the most memory that each way holds at one time.

# %% tags=["nbval-check-output"]
document_T, valid_T = np.array([0, 0, 0, 1, 1, 1]), np.array([True, True, True, True, True, False])
sees_TT = np.tri(6, dtype=bool) & (document_T[:, None] == document_T[None, :]) & valid_T[None, :]
print("tokens seen by tokens 1 to 6:", *(list(map(int, np.flatnonzero(row) + 1)) for row in sees_TT))
print("the package makes the same mask:", np.array_equal(sees_TT, reference.visible_pairs(valid_T, document_T, True)))

q6, k6, v6 = x_TD @ W_q, x_TD @ W_k, x_TD @ W_v
by_hand = {
    "no mask": (attention(q6, k6, v6), dict(causal=False)),
    "causal": (causal_attention(q6, k6, v6), dict(causal=True)),
    "causal, texts and padding": (
        masked_attention(q6, k6, v6, sees_TT), dict(causal=False, visible=torch.tensor(sees_TT)),
    ),
}  # fmt: skip
qkv = [torch.tensor(a)[None, None] for a in (q6, k6, v6)]  # (B, H, T, S) with B = H = 1, float64
for name, (ours_TE, how) in by_hand.items():
    print(f"NumPy = torch, {name}:", np.allclose(ours_TE, mixing.softmax_attention(*qkv, **how)[0, 0].numpy()))

# %%
from flash_course.bench.clock import peak_bytes


def random_heads(H, D=64):
    return (torch.randn(1, H, preset.tokens, D // H, device=device) for _ in range(3))


def plain_attention(q, k, v):
    hidden = torch.ones(q.shape[-2], q.shape[-2], dtype=torch.bool, device=q.device).triu(1)
    scores = (q @ k.mT / math.sqrt(q.shape[-1])).masked_fill(hidden, -torch.inf)
    return scores.softmax(-1) @ v


torch.manual_seed(0)
q4, k4, v4 = random_heads(4)
memory = {
    "plain": peak_bytes(lambda: plain_attention(q4, k4, v4), device),
    "fused": peak_bytes(lambda: mixing.softmax_attention(q4, k4, v4, causal=True), device),
}
with torch.profiler.profile() as profile:
    mixing.softmax_attention(q4, k4, v4, causal=True)
print("kernel that ran:", *(e.key for e in profile.key_averages() if e.key.startswith("aten::_scaled_dot")))
maps_bytes = 4 * preset.tokens**2 * 4  # H = 4 maps of T x T float32 numbers of 4 bytes
if None not in memory.values():  # not every device can tell
    print(f"T = {preset.tokens}:", ", ".join(f"{name} {size / 1e6:.1f} MB" for name, size in memory.items()))
    assert memory["plain"] >= maps_bytes and memory["fused"] < maps_bytes / 10

# %% [markdown]
# ## 4. Heads
#
# One map gives each token one way to divide its attention. A *head* is a map of its own.
# H heads share the width: head 1 takes the first d = D / H channels, head 2 the next d, and so on.
# Each head attends with its channels alone. Then their outputs stand side by side again.
#
# To trace it on six tokens, let the number 32 mean token 3, channel 2. Here D = 4 and H = 2, so d = 2:
#
# | token | head 1 | head 2 |
# | --- | --- | --- |
# | 1 | 11 12 | 13 14 |
# | 2 | 21 22 | 23 24 |
# | 3 | 31 32 | 33 34 |
# | 4 | 41 42 | 43 44 |
# | 5 | 51 52 | 53 54 |
# | 6 | 61 62 | 63 64 |
#
# **Your line.** `channels` must say where the channels of head h stand. Now every head takes those of the first.
# In Python, heads count from 0.
#
# <details><summary>The line</summary>
#
# ```python
# return slice(h * d, (h + 1) * d)
# ```
#
# </details>


# %%
def channels(h, d):
    return slice(0, d)  # your line here


def multi_head(q_TD, k_TD, v_TD, H, attend):
    d, out_TD = q_TD.shape[1] // H, np.zeros_like(v_TD)
    for h in range(H):
        own = channels(h, d)
        out_TD[:, own] = attend(q_TD[:, own], k_TD[:, own], v_TD[:, own])
    return out_TD


# %%
def check_channels(channels):
    for h in range(4):  # H = 4, D = 8, d = 2
        taken = list(range(1, 9))[channels(h, 2)]
        if taken != [2 * h + 1, 2 * h + 2]:
            return print(f"not yet: of 8 channels, head {h + 1} of 4 takes {taken}")
    print("right: 4 heads share 8 channels, and none is taken twice")


check_channels(channels)


# %% tags=["nbval-check-output"]
def channels(h, d):
    return slice(h * d, (h + 1) * d)


check_channels(channels)
traced_TD = np.array([[10 * t + c for c in (1, 2, 3, 4)] for t in (1, 2, 3, 4, 5, 6)])
for h in range(2):
    mine_Td, packaged_Td = traced_TD[:, channels(h, 2)], reference.split_heads(traced_TD, 2)[h]
    print(f"head {h + 1}:", *(tuple(map(int, row)) for row in mine_Td), np.array_equal(mine_Td, packaged_Td))

# %% [markdown]
# **Misconception: a reshape moves data to where you want it.** Arrays of shape (H, T, d) are needed for all heads at once.
# `reshape(H, T, d)` gives that shape at once, and the wrong numbers. It keeps the order in memory.
#
# The symptom: all shapes fit, nothing fails, and the test of who sees whom gives a strange map.


# %% tags=["nbval-check-output"]
def reshaped(q_TD, k_TD, v_TD, H, attend):
    q, k, v = (x_TD.reshape(H, len(x_TD), -1) for x_TD in (q_TD, k_TD, v_TD))
    return np.stack([attend(*qkv) for qkv in zip(q, k, v)]).reshape(v_TD.shape)


print("head 1 after reshape:", *(tuple(map(int, row)) for row in traced_TD.reshape(2, 6, 2)[0]))
right_TT = reads(layer(lambda q, k, v: multi_head(q, k, v, 2, causal_attention)), x_TD)
wrong_TT = reads(layer(lambda q, k, v: reshaped(q, k, v, 2, causal_attention)), x_TD)
print("right:", right_TT.sum(), "pairs; token 4 sees tokens", *(np.flatnonzero(right_TT[3]) + 1))
print("wrong:", wrong_TT.sum(), "pairs; token 4 sees tokens", *(np.flatnonzero(wrong_TT[3]) + 1))

# %% [markdown]
# Head 1 now holds tokens 1 to 3 in pieces. So token 4, which went into head 2, no longer sees them.
# The right way, split the last axis and then move the head axis, is yours in the problem set.
#
# In a Transformer, attention is one half of a *block*. It normalises each token, makes q, k and v, and attends.
# Then it multiplies by a last matrix, and adds to x. The other half, an *MLP*, treats each token by itself (lecture 02).
# Is our first half the same as the package's?


# %% tags=["nbval-check-output"]
from flash_tutorial.properties import draw_order_one


def attention_half(x_TD, p, H, rotate=lambda x_TS: x_TS):  # rotate: nothing yet; section 6 puts RoPE there
    h_TD = reference.layer_norm(x_TD, p["norm1_gain"], p["norm1_offset"])  # each token: mean 0, size 1
    q_TD, k_TD, v_TD = np.split(h_TD @ p["qkv_weight"] + p["qkv_bias"], 3, axis=-1)
    mixed_TD = multi_head(q_TD, k_TD, v_TD, H, lambda q, k, v: causal_attention(rotate(q), rotate(k), v))
    return x_TD + mixed_TD @ p["attn_out_weight"] + p["attn_out_bias"]


def compare_block(rope, rotate=lambda x_TS: x_TS):
    unit = TransformerBlock(16, heads=2, causal=True, rope=rope).double()
    draw_order_one(unit, torch.Generator().manual_seed(0))  # parameters of size one: no part is too small to see
    x_TD, p = np.random.default_rng(3).normal(size=(12, 16)), unit.to_numpy()
    x = torch.tensor(x_TD)[None]  # (B, T, D)
    with torch.no_grad():
        half = unit.join(x, unit.mix(*unit.read_heads(x), None, None))[0].numpy()
    return np.allclose(attention_half(x_TD, p, 2, rotate), half)


print("our half of the block = the package's:", compare_block(rope=False))

# %% [markdown]
# ## 5. What it costs
#
# Count on the six tokens first. Causal attention has 1 + 2 + 3 + 4 + 5 + 6 = 21 pairs. That is T (T + 1) / 2.
# Each pair takes S multiply-adds for the score and E for the mix.
# (A *multiply-add* is one multiplication and one addition: two of the operations of the tour.)
# In a Transformer all heads together have S = E = D. So a pair costs 2 D, however many heads there are.
#
# The rest of a block is paid for each token. There are four D × D matrices, for q, k, v and the last one: 4 D².
# The other half has a matrix from D to 4 D numbers and one back: 8 D².

# %% tags=["nbval-check-output"]
from flash_course.bench.counts import count_multiply_adds

print("six tokens:", np.tri(6).sum().astype(int), "pairs, formula", 6 * 7 // 2)
D, lengths = 768, [512, 1024, 2048, 4096, 8192, 16_384, 32_768]  # D of the paper's base model
pairs = [2 * D * T * (T + 1) // 2 for T in lengths]
rest = [12 * D * D * T for T in lengths]
with torch.device("meta"):  # shapes only, no memory
    block = TransformerBlock(D, heads=12, causal=True)
same = [a + b for a, b in zip(pairs, rest)] == [count_multiply_adds(block, T) for T in lengths]
print("our count = the package's:", same)
for T, a, b in zip(lengths, pairs, rest):
    print(f"T = {T:6,d}: attention {a / 1e9:7.1f} billion multiply-adds, {a / (a + b):3.0%} of the block")
config = ModelConfig.paper("wiki40b", "transformer++")
for name, causal in (("pairs that are seen", True), ("all T x T pairs", False)):
    short, long = (count_multiply_adds(replace(config, causal=causal), T) / T for T in (512, 8192))
    print(f"whole model, T = 512 to 8192, {name}: {long / short:.1f} times the multiply-adds a token")
print(f"the paper's step: {261.0 / 54.7:.1f} times the time")

title = "Text twice as long: the rest doubles, attention costs four times as much"
table = [("T", "attention", "the rest"), *((T, f"{a:,}", f"{b:,}") for T, a, b in zip(lengths, pairs, rest))]
figures.show(*figures.cost_of_a_block(lengths, {"attention": pairs, "the rest of the block": rest}, title=title), table)

# %% [markdown]
# At this width attention overtakes the rest between T = 8,192 and 16,384. Is it harmless below?
# The paper timed Transformer++ with the same number of tokens in each step (Table 12).
# A step took 54.7 ms at T = 512, and 261.0 ms at T = 8192. The last lines of the count set this beside the multiply-adds.
#
# Multiply-adds alone do not explain that time, even if a program computes the hidden pairs too.
# The map itself is suspected: its exps, and its way to memory and back. Lecture 08 measures it.
#
# **Your second guess.** Keep D = 64 and take 8 heads instead of 4. By what factor does the time of attention grow?

# %%
predict("01.b", None)  # your number in the place of None

# %% tags=["timing"]
from flash_course.bench.clock import summary, time_in_turn


def fused(H):
    q, k, v = random_heads(H)
    return lambda: mixing.softmax_attention(q, k, v, causal=True)


seconds = time_in_turn({H: fused(H) for H in (1, 2, 4, 8)}, preset.rounds, device=device)
time = {H: summary(times)["median"] for H, times in seconds.items()}
pairs_seen = preset.tokens * (preset.tokens + 1) // 2
for H in time:
    adds, exps = H * pairs_seen * 2 * (64 // H), H * pairs_seen
    print(f"H = {H}, d = {64 // H:2d}: {adds:,} multiply-adds, {exps:9,d} exps, {1000 * time[H]:6.2f} ms")
    assert adds == 2 * 64 * pairs_seen  # H is gone
reveal("01.b", time[8] / time[4], "times the time on this machine")

# %% [markdown]
# The multiply-adds stay the same, since H heads are 1/H as wide. The exps grow with H, for each head has a map of its own.
# So the time may double although the multiply-adds do not. Here, too, a count of them is not a time.
# FLASH has one wide map and no exps. Lecture 02 comes back to this.
#
# ## 6. Where a token stands
#
# Attention without a mask does not know the order of its tokens. Shuffle the first five letters of *banana*:

# %% tags=["nbval-check-output"]
order = np.array([4, 2, 0, 3, 1, 5])
print("".join(word[t] for t in order), "instead of", word)
shuffled = attention(q_TS[order], k_TS[order], v_TE[order])
print("the last token gets the same output:", np.allclose(shuffled[5], out_TE[5]))
print("all tokens keep their outputs, in the new order:", np.allclose(shuffled, out_TE[order]))

# %% [markdown]
# So something must tell each token its place. The plain Transformer **learns a table**: one row of D numbers for each place, added to the token.
# That costs parameters, and the table ends.
#
# **ScaledSin** (Code 2 of the paper) replaces it by waves. Place t, counted from 0, gets sin(t f) and cos(t f) for D/2 frequencies f.
# The first frequency is 1, and the others fall towards 1/10,000: f = 10000^(-n / (D/2)) for n = 0, 1, 2 ...
# The whole table is multiplied by *one* learnt number. It is added once, before the first block.
# The first cell shows six places, the second what the waves have and the learnt table has not.


# %% tags=["nbval-check-output"]
def scaled_sin(T, D):
    half = D // 2
    frequency = 10000.0 ** (-np.arange(half) / half)
    angle = np.arange(T)[:, None] * frequency[None, :]  # (T, D / 2)
    return np.concatenate([np.sin(angle), np.cos(angle)], axis=1)


for t, row in enumerate(scaled_sin(6, 4)):
    s = [f"{number:5.2f}" for number in row]
    print(f"place {t}: sin({t}) {s[0]}, sin({t}/100) {s[1]}, cos({t}) {s[2]}, cos({t}/100) {s[3]}")

# %% tags=["nbval-check-output"]
from flash_tutorial.layers import LearntPositions, ScaledSin

waves, table = ScaledSin(64).double(), LearntPositions(64, max_length=64)
waves_TD = waves(torch.zeros(1, 512, 64).double()).detach().numpy()
scale = float(waves.scale.detach())
print("our table = the package's:", np.allclose(scale * scaled_sin(512, 64), waves_TD))
print("parameters:", count_parameters(waves), "against", count_parameters(table))
print("all rows have the same length:", np.allclose((scaled_sin(512, 64) ** 2).sum(1), 32))
product_TT = scaled_sin(512, 64) @ scaled_sin(512, 64).T
print("products of rows 3 apart are all the same:", np.allclose(np.diag(product_TT, 3), product_TT[0, 3]))
try:
    table(torch.zeros(1, 65, 64))
except ValueError as error:
    print("65 tokens with 64 learnt places:", str(error).split(":")[0])

# %% [markdown]
# ### RoPE: turn instead of add
#
# **RoPE** (rotary position embedding, Code 3 of the paper) adds nothing. It *turns* queries and keys, in each layer, before they are compared.
# Two numbers are a point in the plane. At place t, turn the point around the origin by the angle t f.
# (Here a score is the sum of products alone; √S is left out.)
#
# By hand, with f = 1: the point (1, 0) at place t becomes (cos t, sin t). Angles are in radians; 1 is about 57 degrees.

# %% tags=["nbval-check-output"]
for t in range(6):
    print(f"place {t}: ({math.cos(t):5.2f}, {math.sin(t):5.2f})")
for i, j in ((2, 0), (4, 2), (5, 2)):
    score = math.cos(i) * math.cos(j) + math.sin(i) * math.sin(j)
    print(f"query at place {i}, key at place {j}: score {score:.2f} = cos({i - j})")
one = np.array([1.0, 0.0])
figures.show(*figures.turned_pairs(one, one, [(2, 0), (4, 2), (5, 2)]))

# %% [markdown]
# With S channels there are S/2 points, each with a frequency of its own, as in ScaledSin.
# The paper pairs channel c with channel c + S/2. Turning the point (x₁, x₂) by the angle α gives
#
# $$ y_1 = x_1 \cos\alpha - x_2 \sin\alpha \qquad y_2 = x_2 \cos\alpha + x_1 \sin\alpha $$
#
# **Your line.** The next cell has the line for y1. Write the one for y2.
#
# <details><summary>The line</summary>
#
# ```python
# y2 = x2 * np.cos(angle) + x1 * np.sin(angle)
# ```
#
# </details>


# %%
def rope(x_TS, first=0):
    """Turn x_TS by its places; row 0 stands at place `first`."""
    half = x_TS.shape[1] // 2
    frequency = 10000.0 ** (-np.arange(half) / half)
    angle = (first + np.arange(len(x_TS)))[:, None] * frequency[None, :]  # (T, S / 2)
    x1, x2 = x_TS[:, :half], x_TS[:, half:]
    y1 = x1 * np.cos(angle) - x2 * np.sin(angle)
    y2 = 0 * x2  # your line here
    return np.concatenate([y1, y2], axis=1)


# %%
def check_rope(rope):
    x_TS = np.random.default_rng(4).normal(size=(6, 8))
    before, after = (np.linalg.norm(a_TS, axis=1) for a_TS in (x_TS, rope(x_TS)))
    if not np.allclose(before, after):
        return print(
            "not yet: turning keeps the length of a row, yet lengths become", (after / before).round(2), "times"
        )
    if not np.allclose(rope(x_TS)[:, 4:], reference.rope(x_TS)[:, 4:]):
        return print("not yet: the length is kept, but the direction differs; look at the sign of sin")
    print("right: the length is kept, and the angle is the paper's")


check_rope(rope)


# %% tags=["nbval-check-output"]
def rope(x_TS, first=0):
    half = x_TS.shape[1] // 2
    frequency = 10000.0 ** (-np.arange(half) / half)
    angle = (first + np.arange(len(x_TS)))[:, None] * frequency[None, :]  # (T, S / 2)
    x1, x2 = x_TS[:, :half], x_TS[:, half:]
    y1 = x1 * np.cos(angle) - x2 * np.sin(angle)
    y2 = x2 * np.cos(angle) + x1 * np.sin(angle)
    return np.concatenate([y1, y2], axis=1)


from flash_tutorial import layers

check_rope(rope)
q_tensor = torch.tensor(q)  # the 50 random queries of section 2
turned = layers.rope(q_tensor, *layers.cos_sin(50, 16, q_tensor)).numpy()
print("ours = the package's:", np.allclose(rope(q), turned), np.allclose(rope(q), reference.rope(q)))
print("our half of a block with RoPE = the package's:", compare_block(rope=True, rotate=rope))

# %% [markdown]
# **The property: a score depends on the difference of the places, not on the places.**
# Test it in two ways. Move all tokens by 100 places: the scores must stay.
# Give all tokens the same query and the same key: then the score can depend on i - j only, so each diagonal holds one number.
#
# Last, pair the channels in another way, 1 with 2, 3 with 4, as some programs do. Does the property still hold?

# %% tags=["nbval-check-output"]
score_TT = rope(q) @ rope(k).T
print("moved by 100, same scores:", np.allclose(rope(q, first=100) @ rope(k, first=100).T, score_TT))
print("only the queries moved, same scores:", np.allclose(rope(q, first=100) @ rope(k).T, score_TT))
same_TT = rope(np.tile(q[0], (6, 1))) @ rope(np.tile(k[0], (6, 1))).T
spread = max(np.ptp(np.diag(same_TT, offset)) for offset in range(-5, 6))
print("one number on each of the 11 diagonals:", bool(spread < 1e-9))
print("those left of the main one, distance 1 to 5:", *(f"{np.diag(same_TT, -n)[0]:.2f}" for n in range(1, 6)))
shift = np.arange(16).reshape(8, 2).T.reshape(-1)  # pair channels 0 and 1, 2 and 3 ... as other programs do
other_q, other_k = (rope(a[:, shift]) for a in (q, k))
other_q2, other_k2 = (rope(a[:, shift], first=100) for a in (q, k))
print("other pairs of channels, score stays:", np.allclose(other_q @ other_k.T, other_q2 @ other_k2.T))
print("other pairs of channels, same scores as ours:", np.allclose(other_q @ other_k.T, score_TT))

# %% [markdown]
# The last two lines are a warning. A property can hold while the numbers differ from the paper's.
# So test both: the property, and the values against a second program.
#
# Do added positions have this property too? The waves alone do: products of rows 3 apart were all the same.
# But they are added to a token, and the sum is multiplied by the matrices for queries and keys.
# Then token and place are mixed in one product. Take two tokens 3 places apart, and move both.

# %% tags=["nbval-check-output"]
D = 16
query_D, key_D = rng.normal(size=(2, D))
W_query, W_key = rng.normal(size=(2, D, D)) / math.sqrt(D)
learnt_TD, waves_TD = rng.normal(size=(40, D)), scaled_sin(40, D)


def scores_added(table_TD):
    return [(query_D + table_TD[t + 3]) @ W_query @ W_key.T @ (key_D + table_TD[t]) for t in range(37)]


q_1S, k_1S = (query_D @ W_query)[None], (key_D @ W_key)[None]
moved = {
    "learnt table": scores_added(learnt_TD),
    "ScaledSin": scores_added(waves_TD),
    "RoPE": [(rope(q_1S, first=t + 3) @ rope(k_1S, first=t).T)[0, 0] for t in range(37)],
}
figures.show(*figures.scores_when_moved(moved, distance=3))
for name, scores in moved.items():
    print(f"{name}: the score stays when both tokens move:", bool(np.ptp(scores) < 1e-9))

# %% [markdown]
# ## 7. From Transformer to Transformer+
#
# You have nearly all parts now. The paper's baselines all use softmax attention, and differ in two places:
#
# | | places of tokens | other half of the block |
# | --- | --- | --- |
# | Transformer | learnt table | MLP |
# | Transformer+ | ScaledSin and RoPE | MLP |
# | Transformer++ | ScaledSin and RoPE | GLU, an MLP with a gate (lecture 02) |
#
# Train the first two as in the tour: same text, same seed, 300 updates. A third model has ScaledSin without RoPE.
# It tells which of the two does the work.
#
# **Your scoreboard.** From here on each lecture trains this tiny model with another way to mix tokens.
# The last code cell writes two scores into your progress file. `flash-tutorial report` prints them on one page.

# %%
from flash_tutorial.data import load_corpus
from flash_tutorial.training import TrainConfig, train

corpus = load_corpus("austen")
settings = TrainConfig(steps=300, batch=16, length=64, learning_rate=3e-3, warmup=20, eval_bytes=20_000)
size = dict(dim=64, depth=2, heads=2, ff_dim=256, max_length=64, norm="layer")
models = {
    "learnt table": ModelConfig("transformer", **size),
    "ScaledSin": ModelConfig("transformer", positions="scaled_sin", **size),
    "ScaledSin + RoPE": ModelConfig("transformer+", **size),
}
runs = {name: train(config, settings, corpus=corpus, progress=False) for name, config in models.items()}
for name, run in runs.items():
    print(f"{name:17} {count_parameters(run.model):,} parameters, {run.evaluation.bits_per_byte:.2f} bits per byte")
curves = {name: [row["bits_per_byte"] for row in run.log] for name, run in runs.items()}
figures.show(*figures.loss_curves(curves, title="RoPE helps early and stays ahead; the waves alone do not"))

# %% tags=["nbval-check-output"]
from flash_course.bench.stored import compare_with_stored

compare_with_stored("01", runs)  # made once by benchmarks/scoreboard.py, with the same seed and settings
bits = {name: run.evaluation.bits_per_byte for name, run in runs.items()}
plus = runs["ScaledSin + RoPE"].model.cpu()
print("RoPE with ScaledSin gains more than 0.2 bits:", bits["learnt table"] - bits["ScaledSin + RoPE"] > 0.2)
print("ScaledSin alone changes less than 0.15 bits:", abs(bits["learnt table"] - bits["ScaledSin"]) < 0.15)
print("RoPE adds parameters:", count_parameters(plus) != count_parameters(runs["ScaledSin"].model))
with torch.no_grad():
    trained_TT = reads(lambda x_TD: plus.stack(torch.tensor(x_TD)[None].float())[0].numpy(), rng.normal(size=(6, 64)))
print("the trained Transformer+ sees", trained_TT.sum(), "pairs, later tokens:", bool(np.triu(trained_TT, 1).any()))

paper = {"Transformer": 17.341, "Transformer+": 16.907, "Transformer++": 16.835}  # Table 12 at T = 512, less is better
share = (paper["Transformer"] - paper["Transformer+"]) / (paper["Transformer"] - paper["Transformer++"])
print(f"in the paper, positions bring {share:.0%} of the gain from Transformer to Transformer++")

# %% tags=["timing"]
from flash_course import learner
from flash_course.bench.counts import count_state_numbers

for mixer, name in (("softmax, learnt positions", "learnt table"), ("softmax, ScaledSin + RoPE", "ScaledSin + RoPE")):
    step_ms = 1000 * np.median(np.diff([row["seconds"] for row in runs[name].log]))
    kept = count_state_numbers(models[name], settings.length)  # numbers kept after 64 bytes
    learner.score("01", mixer, bits_per_byte=bits[name], step_ms=step_ms, state_numbers=kept)
    print(f"{mixer:26} {bits[name]:.2f} bits per byte, {step_ms:.0f} ms a step, {kept:,} numbers kept")

# %% [markdown]
# So the whole gain comes with RoPE, at this size, with one seed and after 300 updates. ScaledSin alone is 0.06 bits behind the table.
# Then why keep ScaledSin? It costs one number, and unlike the learnt table it has no end.
# A longer run of a larger model may give another order.
#
# Transformer++ had 3.01 in the tour. So here positions bring 0.35 of its lead of 0.48 bits.
# The paper agrees that most of the gain comes from the positions. It does not separate ScaledSin from RoPE.
# A caution: its plain Transformer alone was trained without a limit on the size of gradients (clipping).
# So a part of that gain may be the clipping.
#
# ## 8. What you take along
#
# Fill in the last column yourself. "Not shown" is a good answer.
# `learner.verdict("heads", "your sentence")` keeps one for your report.
#
# | claim | your evidence | your verdict |
# | --- | --- | --- |
# | Loops, einsum and the fused kernel compute the same | sections 1 to 3: compared on 6 and on 50 tokens | |
# | A mask belongs before the softmax | section 3: 15 forbidden pairs found | |
# | Twice as many heads cost twice the time | section 5: counts, and your times | |
# | Attention is the main cost of a Transformer | section 5: shares at seven lengths | |
# | RoPE's scores depend on differences of places only | section 6: all tokens moved by 100 | |
# | Better positions explain most of Transformer++'s lead | section 7: three scores, and the paper's table | |
#
# **Three takeaways**
# 1. Hide scores, not weights. Then test who sees whom by changing one token.
# 2. Attention costs T² pairs. Heads do not change the multiply-adds, but each brings a map of its own.
# 3. RoPE turns queries and keys, so scores depend on differences of places. It needs no parameters.
#
# **Exercises** [Problem set 01](../exercises/01_attention.ipynb), six tasks, from a causal softmax to a sliding window.
# One of them asks for a `who_sees` that is harder to fool than `reads`. Which layer would fool `reads`?
#
# **Next** [Lecture 02](02_gated_attention_unit.ipynb) puts a gate and attention into one unit, and drops the softmax.
