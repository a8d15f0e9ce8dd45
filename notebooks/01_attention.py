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
# Attention is how one token of a Transformer reads another, and it is the part that FLASH replaces. So the course begins by taking it
# apart: as two loops, as one line, then its mask, its heads, its bill, and the question of where a token stands.
#
# **After it you can**
# - compute softmax attention by hand, in loops, with einsum and with torch's fused kernel;
# - put a mask where it belongs, and find out who sees whom without reading the code;
# - split a width into heads, and say what a longer text costs;
# - say what ScaledSin and RoPE keep, and turn the Transformer into the paper's Transformer+.
#
# **You need** the tour 00, some NumPy, and a rough idea of attention. The refresher, lecture 90, helps with einsum and shapes.
#
# **Time** 30 minutes to read. Computing takes about 20 seconds on two CPU cores.
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
# **Who bit whom?** Here softmax attention reads two sentences made of the same three words. Each word has a random vector, and the
# three matrices that make queries, keys and values are random too, as in a model before its training. Watch what becomes of *bites*.

# %% tags=["nbval-check-output"]
import math
from dataclasses import dataclass, replace

import numpy as np
import torch

from flash_course import figures, learner
from flash_course.learner import predict, reveal
from flash_tutorial import ModelConfig, TransformerBlock, count_parameters, layers, mixing, reference
from flash_tutorial.devices import pick_device

rng = np.random.default_rng(7)
vector = {word: rng.normal(size=8) for word in ("dog", "bites", "man")}
matrices = rng.normal(size=(3, 8, 8)) / math.sqrt(8)
for sentence in ("dog bites man", "man bites dog"):
    x_TD = np.stack([vector[word] for word in sentence.split()])
    read_TD = reference.softmax_attention(*(x_TD @ matrices), np.ones((3, 3), bool))
    print(f"{sentence}: 'bites' becomes", read_TD[1, :4].round(3), "...")

# %% [markdown]
# Not a digit differs, and other matrices would not help: without a mask, attention reads a sentence as a bag of words. Section 6 says
# why and what is done about it, and section 7 trains a model with each repair.
#
# First **two questions from the tour**. Answer from memory, then open the fold.
#
# **1.** Which three complaints does the paper raise against earlier cheap kinds of attention?
#
# <details><summary>Answer</summary>
#
# Quality: they were compared with too weak a baseline. Overhead: they need fewer operations, and yet are no faster in practice.
# Training: a state that is updated token by token needs T sequential steps.
#
# </details>
#
# **2.** What is a bit per byte?
#
# <details><summary>Answer</summary>
#
# The mean price of the next byte: one that got the probability p costs -log₂ p bits. Guessing blindly among 256 bytes costs 8.
#
# </details>
#
# ## 1. Attention by hand
#
# Take the six letters of *banana* as six tokens. Each of them has three vectors:
#
# - a **query**, which says what the token looks for. An *a* looks for *n*, an *n* looks for *a*, and *b* looks for nothing;
# - a **key**, by which it can be found. Here that is the letter itself;
# - a **value**, which is what others get when they read it. Here it is (1, 0) for a vowel and (0, 1) for a consonant.
#
# In a model three learnt matrices make these vectors; here they are written by hand, so that a pencil can follow. There are T tokens, a
# query or a key has S elements (also called *channels*), and a value has E. Names in the code end with their shape: `q_TS` has T rows and S
# columns. Python counts from 0, so token 6 is row 5.
#
# Token i reads in three steps. It **compares** its query with every key: the score is their product, divided by √S. It **weighs**: each
# score goes through exp, and is divided by the sum of them all, so the weights are positive and sum to 1. And it **mixes**: it adds up
# the values, each times its weight.
#
# $$ s_{ij} = \frac{q_i \cdot k_j}{\sqrt{S}} \qquad w_{ij} = \frac{e^{s_{ij}}}{\sum_{j'} e^{s_{ij'}}} \qquad o_i = \sum_j w_{ij}\, v_j $$
#
# The second step is the **softmax**. Follow token 6, an *a*, with a pencil: its score is ln 4 for each *n* and 0 for all others.

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
# The two *n* get 8 of 12 parts and *b* gets 1, so token 6 now carries the news that it lives among consonants, by 9 parts of 12.
#
# The same for every token is two loops. The T × T weights together are the **attention matrix**: one row for each token that reads.


# %% tags=["nbval-check-output"]
def attention_loops(q_TS, k_TS, v_TE):
    out_TE = np.zeros_like(v_TE)
    for i in range(len(q_TS)):
        exps = [math.exp(q_TS[i] @ k_S / math.sqrt(q_TS.shape[1])) for k_S in k_TS]
        for j in range(len(k_TS)):
            out_TE[i] += exps[j] / sum(exps) * v_TE[j]
    return out_TE


out_TE = attention_loops(q_TS, k_TS, v_TE)
assert np.allclose(out_TE[5], out_E)  # as traced above
figures.show(*figures.attention_by_hand(word, np.exp(q_TS @ k_TS.T / math.sqrt(S))))
for t in range(T):
    print(f"token {t + 1}, {word[t]}: {out_TE[t, 0]:.2f} vowel, {out_TE[t, 1]:.2f} consonant")

# %% [markdown]
# Tokens 2, 4 and 6 get the same output, because nothing tells attention at which place an *a* stands.
#
# ## 2. The same without loops
#
# `einsum` says a product of arrays by naming their axes. `"is,js->ij"` reads: for each i and each j, multiply and sum over s, since s is
# missing on the right. Here i is the token that reads, and j the one that is read.


# %% tags=["nbval-check-output"]
def softmax(score_TT):
    exp_TT = np.exp(score_TT - score_TT.max(-1, keepdims=True))  # why subtract? see below
    return exp_TT / exp_TT.sum(-1, keepdims=True)


def scores(q_TS, k_TS):
    return np.einsum("is,js->ij", q_TS, k_TS) / math.sqrt(q_TS.shape[1])


def attention(q_TS, k_TS, v_TE):
    return np.einsum("ij,je->ie", softmax(scores(q_TS, k_TS)), v_TE)


rng = np.random.default_rng(0)
q, k, v = rng.normal(size=(50, 16)), rng.normal(size=(50, 16)), rng.normal(size=(50, 8))
assert np.allclose(attention(q_TS, k_TS, v_TE), out_TE)
assert np.allclose(attention(q, k, v), attention_loops(q, k, v))
assert np.allclose(attention(q, k, v), reference.softmax_attention(q, k, v, np.ones((50, 50), bool)))
print("einsum is the loops on 6 and on 50 tokens, and the package's function: 3 checks passed")

# %% [markdown]
# **Why subtract the largest score of each row?** Because exp(1000) is too large for a float, while subtracting a number from a whole row
# only shrinks all its exps by one factor, which the division cancels. **Why divide by √S?** A sum of S random products grows like
# √S, and of large scores the softmax hands nearly all the weight to one token.

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
# A model that writes must not read ahead, so token i may see tokens 1 to i only. Does an implementation keep to that? Reading its code
# is not enough, as you are about to see, but there is a test that needs no code at all: **change one token, and look which
# outputs change.** To try it we need a layer: six tokens of D random numbers, and three matrices for queries, keys and values.


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
# **Your line.** The mask goes in between scores and softmax: write `hide`, so that exp makes a weight of exactly 0 of every forbidden
# score and the others stay as they are. (`np.tri(3, dtype=bool)` is True on and below the diagonal of a 3 × 3 array.)


# %%
def hide(score_TT):
    return ...  # your line


score_33 = np.log(np.arange(1.0, 10).reshape(3, 3))
learner.your_line("01.c", lambda score_TT: np.exp(hide(score_TT)), ((score_33,), [[1, 0, 0], [4, 5, 0], [7, 8, 9]]))

# %% [markdown]
# <details><summary>The line</summary>
#
# ```python
# return np.where(np.tri(len(score_TT), dtype=bool), score_TT, -np.inf)
# ```
#
# </details>
#
# In general the caller says who may see whom, because a causal mask is not the only one.


# %% tags=["nbval-check-output"]
def masked_attention(q_TS, k_TS, v_TE, sees_TT):
    return softmax(np.where(sees_TT, scores(q_TS, k_TS), -np.inf)) @ v_TE


def causal_attention(q_TS, k_TS, v_TE):
    return masked_attention(q_TS, k_TS, v_TE, np.tri(len(q_TS), dtype=bool))


assert np.array_equal(reads(layer(causal_attention), x_TD), np.tri(T, dtype=bool))
weight_TT = causal_attention(q_TS, k_TS, np.eye(6))  # token j has the value "1 in place j": out come the weights
print("banana, token 1 sees itself:", weight_TT[0].round(3))
print("token 3 sees b, a, n:       ", weight_TT[2].round(3))

# %% [markdown]
# Now a popular variant: compute the softmax first, and set the forbidden weights to zero afterwards. Nothing is left above the diagonal.
#
# **Your first guess.** Of the 15 forbidden pairs, how many does the test still find?

# %%
predict("01.a", None)  # your number in the place of None


# %%
def masked_after(q_TS, k_TS, v_TE):
    return np.tril(softmax(scores(q_TS, k_TS))) @ v_TE  # np.tril: zero above the diagonal


tested = {"no mask": attention, "mask before the softmax": causal_attention, "mask after it": masked_after}
found = {name: reads(layer(attend), x_TD) for name, attend in tested.items()}
reveal("01.a", np.triu(found["mask after it"], 1).sum(), "of 15 forbidden pairs")
figures.show(*figures.who_sees_whom(found, "A mask after the softmax hides nothing"))

# %% [markdown]
# **Misconception: masking is something that you do to probabilities.** A softmax divides each row by a sum over *all* tokens, so a later
# token changes every weight of the row even where its own weight is set to zero. The symptom to look for is a row of weights that
# does not sum to 1; divide each row by its sum once more, and the leak is gone.

# %% tags=["nbval-check-output"]
weight_TT = np.tril(softmax(scores(x_TD @ W_q, x_TD @ W_k)))  # masked after
print("sums of its rows:", weight_TT.sum(1).round(2))
repaired_TT = weight_TT / weight_TT.sum(1, keepdims=True)
assert np.allclose(repaired_TT @ (x_TD @ W_v), layer(causal_attention)(x_TD))

# %% [markdown]
# **Other masks.** Where two documents share one sequence, a token may see its own document only; *padding*, which fills a short sequence
# up, must be seen by nobody. Conditions are joined by "and", here for documents of 3 and 2 tokens and one token of padding. In
# torch a batch axis B and a head axis H come first: `(B, H, T, S)`.

# %% tags=["nbval-check-output"]
document_T, valid_T = np.array([0, 0, 0, 1, 1, 1]), np.array([True, True, True, True, True, False])
sees_TT = np.tri(6, dtype=bool) & (document_T[:, None] == document_T[None, :]) & valid_T[None, :]
print("tokens seen by tokens 1 to 6:", *(list(map(int, np.flatnonzero(row) + 1)) for row in sees_TT))
assert np.array_equal(sees_TT, reference.visible_pairs(valid_T, document_T, True))

numpy_qkv = x_TD @ W_q, x_TD @ W_k, x_TD @ W_v
torch_qkv = [torch.tensor(a)[None, None] for a in numpy_qkv]  # B = H = 1, float64
in_torch = mixing.softmax_attention(*torch_qkv, causal=False, visible=torch.tensor(sees_TT))[0, 0].numpy()
assert np.allclose(masked_attention(*numpy_qkv, sees_TT), in_torch)

# %% [markdown]
# The package uses torch's *fused kernel*, which does scores, softmax and mixing piece by piece, so that the T × T matrix never exists as
# a whole. How much memory does each way hold at one time?

# %%
from flash_course.bench.clock import peak_bytes


@dataclass
class Preset:
    tokens: int  # T where time and memory are measured
    rounds: int  # how often a time is measured; you see the median


device = pick_device()
preset = Preset(tokens=4096, rounds=9) if device.type == "cuda" else Preset(tokens=1024, rounds=15)
torch.set_num_threads(1)  # then times depend less on what else your computer does


def random_heads(H, d):
    return (torch.randn(1, H, preset.tokens, d, device=device) for _ in range(3))


def plain_attention(q, k, v):
    hidden = torch.ones(q.shape[-2], q.shape[-2], dtype=torch.bool, device=q.device).triu(1)
    return (q @ k.mT / math.sqrt(q.shape[-1])).masked_fill(hidden, -torch.inf).softmax(-1) @ v


torch.manual_seed(0)
q4, k4, v4 = random_heads(H=4, d=16)
memory = {
    "plain": peak_bytes(lambda: plain_attention(q4, k4, v4), device),
    "fused": peak_bytes(lambda: mixing.softmax_attention(q4, k4, v4, causal=True), device),
}
matrices_bytes = 4 * preset.tokens**2 * 4  # H = 4 matrices of T x T float32 numbers of 4 bytes
if None not in memory.values():  # not every device can tell
    print(f"T = {preset.tokens}:", ", ".join(f"{name} {size / 1e6:.1f} MB" for name, size in memory.items()))
    assert memory["plain"] >= matrices_bytes and memory["fused"] < matrices_bytes / 10

# %% [markdown]
# ## 4. Heads
#
# One attention matrix gives a token one way to divide its attention, but it may need its verb and the last full stop at once. So
# a Transformer has several, each called a *head*. Head 1 takes the first d = D / H channels, head 2 the next d, and so on; each
# attends with its own channels, and the outputs stand side by side again.
#
# To trace it on six tokens, let the number 32 mean token 3, channel 2. With D = 4 and H = 2 we have d = 2:
#
# | token | head 1 | head 2 |
# | --- | --- | --- |
# | 1 | 11 12 | 13 14 |
# | 2 | 21 22 | 23 24 |
# | 3 | 31 32 | 33 34 |
# | 4 | 41 42 | 43 44 |
# | 5, 6 | ... | ... |
#
# **Your line.** Which part of `x_TD` belongs to head h? Python counts heads from 0.


# %%
traced_TD = np.array([[10 * t + c for c in (1, 2, 3, 4)] for t in (1, 2, 3, 4, 5, 6)])


def part_of_head(x_TD, h, d):
    return ...  # your line


cases = ((traced_TD, 0, 2), [[11, 12]]), ((traced_TD, 1, 2), [[13, 14]]), ((traced_TD, 2, 1), [[13]])
learner.your_line("01.d", lambda x_TD, h, d: part_of_head(x_TD[:1], h, d), *cases)

# %% [markdown]
# <details><summary>The line</summary>
#
# ```python
# return x_TD[:, h * d : (h + 1) * d]
# ```
#
# </details>
#
# **Misconception: a reshape moves data to where you want it.** `reshape(H, T, d)` gives the shape in which all heads can be treated at once,
# with the wrong numbers in it, because a reshape keeps the order in memory. All shapes fit, and only the test of who sees whom
# shows that something is odd:


# %% tags=["nbval-check-output"]
def multi_head(q_TD, k_TD, v_TD, H, attend):
    heads = zip(*(np.split(x_TD, H, axis=1) for x_TD in (q_TD, k_TD, v_TD)))
    return np.hstack([attend(*qkv) for qkv in heads])


def reshaped(q_TD, k_TD, v_TD, H, attend):
    q, k, v = (x_TD.reshape(H, len(x_TD), -1) for x_TD in (q_TD, k_TD, v_TD))
    return np.stack([attend(*qkv) for qkv in zip(q, k, v)]).reshape(v_TD.shape)


assert np.array_equal(np.split(traced_TD, 2, axis=1), reference.split_heads(traced_TD, 2))
print("head 1 after reshape:", *(tuple(map(int, row)) for row in traced_TD.reshape(2, 6, 2)[0]))
for name, split in (("right", multi_head), ("wrong", reshaped)):
    sees_TT = reads(layer(lambda q, k, v, split=split: split(q, k, v, 2, causal_attention)), x_TD)
    print(f"{name}: {sees_TT.sum()} pairs; token 4 sees tokens", *(np.flatnonzero(sees_TT[3]) + 1))

# %% [markdown]
# After the reshape head 1 holds tokens 1 to 3 in pieces, so token 4, which went into head 2, no longer sees them.
#
# ## 5. What it costs
#
# Count on the six tokens first: causal attention has 1 + 2 + 3 + 4 + 5 + 6 = 21 pairs, in general T (T + 1) / 2. Each pair takes
# S *multiply-adds* (one multiplication and one addition) for its score and E for the mixing. In a Transformer all heads together have
# S = E = D, so a pair costs 2 D, however many heads there are.
#
# The rest of the layer, called a *block*, is paid once for each token: four D × D matrices around the attention (for q, k, v and the output),
# which makes 4 D², and an MLP (a feed-forward network for each token by itself) that goes from D to 4 D channels and back, which makes 8 D². So which of the two is the main cost?

# %% tags=["nbval-check-output"]
from flash_course.bench.counts import count_multiply_adds

D, lengths = 768, [512, 1024, 2048, 4096, 8192, 16_384, 32_768]  # D of the paper's base model
pairs = [2 * D * T * (T + 1) // 2 for T in lengths]
rest = [12 * D * D * T for T in lengths]
with torch.device("meta"):  # shapes only, no memory
    block = TransformerBlock(D, heads=12, causal=True)
assert [a + b for a, b in zip(pairs, rest)] == [count_multiply_adds(block, T) for T in lengths]
for T, a, b in zip(lengths, pairs, rest):
    print(f"T = {T:6,d}: attention {a / 1e9:7.1f} billion multiply-adds, {a / (a + b):3.0%} of the block")
config = ModelConfig.paper("wiki40b", "transformer++")
for name, causal in (("pairs that are seen", True), ("all T x T pairs", False)):
    short, long = (count_multiply_adds(replace(config, causal=causal), T) / T for T in (512, 8192))
    print(f"whole model, T = 512 to 8192, {name}: {long / short:.1f} times the multiply-adds a token")
print(f"the paper's step: {261.0 / 54.7:.1f} times the time")

# %% [markdown]
# By multiply-adds, attention overtakes the rest only between T = 8,192 and 16,384. But the paper's Transformer++ took 54.7 ms a step at
# T = 512 and 261.0 ms at T = 8192, with equally many tokens in each step (Table 12), and no count of multiply-adds explains that, even if the
# hidden pairs are computed too. The suspect is memory traffic, since each T × T matrix has to travel to memory and back; lecture 08 measures it.
#
# **Your second guess.** Keep the width D = 64 and take 8 heads instead of 4. By what factor does the time of attention grow?

# %%
predict("01.b", None)  # your number in the place of None

# %% tags=["timing"]
from flash_course.bench.clock import summary, time_in_turn


def fused(H, d):
    q, k, v = random_heads(H, d)
    return lambda: mixing.softmax_attention(q, k, v, causal=True)


shapes = [(1, 64), (2, 32), (4, 16), (8, 8), (8, 16)]  # H heads of d channels; the last one is wider, D = 128
seconds = time_in_turn({shape: fused(*shape) for shape in shapes}, preset.rounds, device=device)
time = {shape: summary(times)["median"] for shape, times in seconds.items()}
pairs_seen = preset.tokens * (preset.tokens + 1) // 2
for H, d in shapes:
    adds, exps = H * pairs_seen * 2 * d, H * pairs_seen
    print(f"H = {H}, d = {d:2d}: {adds:11,d} multiply-adds, {exps:9,d} exps, {1000 * time[H, d]:6.2f} ms")
reveal("01.b", time[8, 8] / time[4, 16], "times the time on this machine")

# %% [markdown]
# Up to the fourth line the multiply-adds stay what they are, since H heads are 1/H as wide, while the exps grow, as each head has an
# attention matrix of its own. It is tempting to blame the exps. But compare the last two lines, which have equally many: where the wider
# heads take *less* time, as on the machines that we tried, neither count explains what you wait for. A likely reason is that a core
# multiplies 8 or 16 numbers in one instruction, which a head of 8 channels hardly fills. FLASH has one head of 128 channels.
#
# ## 6. Where a token stands
#
# Back to the dog and the man. An output is a sum over the tokens seen, and a sum does not care about the order of its terms, so shuffled
# tokens get their old outputs, shuffled. A causal mask tells which tokens came earlier, but hands those over as a bag again:
# shuffle the first five letters of *banana*, and the sixth gets what it got before.

# %% tags=["nbval-check-output"]
order = np.array([4, 2, 0, 3, 1, 5])
shuffled = attention(q_TS[order], k_TS[order], v_TE[order])
causal, causal_shuffled = causal_attention(q_TS, k_TS, v_TE), causal_attention(q_TS[order], k_TS[order], v_TE[order])
assert np.allclose(shuffled, out_TE[order]) and np.allclose(causal_shuffled[5], causal[5])
for text, read_E in ((word, causal[5]), ("".join(word[t] for t in order), causal_shuffled[5])):
    print(f"{text}: token 6 reads {read_E[0]:.2f} vowel, {read_E[1]:.2f} consonant")

# %% [markdown]
# So something must tell each token its place. The plain Transformer **learns a table**, one vector for each place, and adds it to the token.
# That costs parameters, and the table ends somewhere.
#
# **ScaledSin** (Code 2 of the paper) replaces it by waves. Place t, counted from 0, gets sin(t f) and cos(t f) for D/2 frequencies f, which
# fall from 1 towards 1/10,000: f = 10000^(-m / (D/2)) for m = 0, 1, 2 ... The whole table is multiplied by *one* learnt number, and added once,
# before the first block. Here are its first six places for D = 4, and in the cell after it a property that the learnt table lacks: the product
# of two places depends on their distance alone.


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
waves, table = layers.ScaledSin(64).double(), layers.LearntPositions(64, max_length=64)
assert np.allclose(scaled_sin(512, 64), reference.scaled_sin(512, 64))
print("parameters:", count_parameters(waves), "against", count_parameters(table), "of a table that ends at 64 tokens")
product_TT = scaled_sin(512, 64) @ scaled_sin(512, 64).T
for distance in (0, 3):
    diagonal = np.diag(product_TT, distance)
    print(f"waves of places {distance} apart: products from {diagonal.min():.2f} to {diagonal.max():.2f}")

# %% [markdown]
# ### RoPE: turn instead of add
#
# **RoPE** (rotary position embedding, Code 3 of the paper) adds nothing. In each layer it *turns* queries and keys before they are
# compared. Two numbers are a point in the plane; at place t, turn that point around the origin by the angle t f. With f = 1 the point (1, 0)
# at place t becomes (cos t, sin t), in radians, where 1 is about 57 degrees. (√S is left out of the scores here.)

# %% tags=["nbval-check-output"]
for i, j in ((2, 0), (4, 2), (5, 2)):
    score = math.cos(i) * math.cos(j) + math.sin(i) * math.sin(j)
    print(f"query at place {i}, key at place {j}: score {score:.2f} = cos({i - j})")
one = np.array([1.0, 0.0])
figures.show(*figures.turned_pairs(one, one, [(2, 0), (4, 2), (5, 2)]))

# %% [markdown]
# S channels make S/2 such points, each with a frequency of its own, as in ScaledSin; the paper pairs channel c with channel c + S/2.
# Turning the point (x₁, x₂) by the angle α gives y₁ = x₁ cos α - x₂ sin α for its first number.
#
# **Your line.** And for the second? Two things fix it: a point on the second axis, (0, 1), goes to (-sin α, cos α), and turning changes no length.


# %%
def second_number(x1, x2, angle):
    return ...  # your line


learner.your_line("01.e", second_number, ((1, 0, math.pi / 2), 1), ((0, 1, 0.0), 1), ((3, 4, 0.5), 4.9486068638))

# %% [markdown]
# <details><summary>The line</summary>
#
# ```python
# return x2 * np.cos(angle) + x1 * np.sin(angle)
# ```
#
# </details>
#
# There is a shorter way to say both lines: take x₁ + i x₂ as one complex number, and multiply it by $e^{i\alpha}$.


# %% tags=["nbval-check-output"]
def rope(x_TS, first=0):
    """Turn x_TS by its places; row 0 stands at place `first`."""
    x1, x2 = np.split(x_TS, 2, axis=1)
    frequency = 10000.0 ** (-np.arange(x1.shape[1]) / x1.shape[1])
    place = first + np.arange(len(x_TS))
    turned = (x1 + 1j * x2) * np.exp(1j * place[:, None] * frequency)
    return np.hstack([turned.real, turned.imag])


q_tensor = torch.tensor(q)  # the 50 random queries of section 2
assert np.allclose(rope(q), layers.rope(q_tensor, *layers.cos_sin(50, 16, q_tensor)).numpy())
assert np.allclose(rope(q), reference.rope(q))
print("turned by 1 radian:", rope(np.array([[3.0, 4.0]]), first=1)[0].round(2), "of length 5, as before")

# %% [markdown]
# Turning query and key by the same extra angle leaves the angle between them as it was. So **a score depends on the difference of the
# places, and not on the places**: moving all tokens 100 places on must change nothing.

# %% tags=["nbval-check-output"]
score_TT = rope(q) @ rope(k).T
for name, moved_TT in {
    "all tokens moved by 100": rope(q, first=100) @ rope(k, first=100).T,
    "only the queries moved": rope(q, first=100) @ rope(k).T,
}.items():
    print(f"{name}: scores change by up to {np.abs(moved_TT - score_TT).max():.1f}")

# %% [markdown]
# Do added positions have this property too? The waves alone do: products of places 3 apart were all the same. But they are added to a
# token, and the sum goes through the matrices for queries and keys, where token and place get mixed up. To see it, put one and the
# same token at 16 places, so that only the places can make a difference, and look at all its scores.

# %% tags=["nbval-check-output"]
places, D = 16, 16
query_D, key_D = rng.normal(size=(2, D))
W_query, W_key = rng.normal(size=(2, D, D)) / math.sqrt(D)


def scores_added(table_TD):
    return (query_D + table_TD) @ W_query @ (W_key.T @ (key_D + table_TD).T)


same_place = np.zeros((places, 1))
score_tables = {
    "learnt table (random)": scores_added(rng.normal(size=(places, D))),
    "ScaledSin": scores_added(scaled_sin(places, D)),
    "RoPE": rope(same_place + query_D @ W_query) @ rope(same_place + key_D @ W_key).T,
}
figures.show(*figures.scores_by_places(score_tables))
for name, table_TT in score_tables.items():
    diagonal = np.diag(table_TT, -3)
    print(f"{name}: scores at distance 3 from {diagonal.min():.1f} to {diagonal.max():.1f}")
    assert np.ptp(diagonal) < 1e-9 if name == "RoPE" else np.ptp(diagonal) > 1

# %% [markdown]
# ## 7. From Transformer to Transformer+
#
# Now you have nearly all the parts. The paper's baselines all use softmax attention, and differ in two places:
#
# | | places of tokens | other half of the block |
# | --- | --- | --- |
# | Transformer | learnt table | MLP |
# | Transformer+ | ScaledSin and RoPE | MLP |
# | Transformer++ | ScaledSin and RoPE | GLU, an MLP with a gate (lecture 02) |
#
# Train the first two as in the tour# Train the first two as in the tour: same text, same seed, 300 updates. A third model has ScaledSin without RoPE, to tell which of the two does
# the work, and the Transformer++ of the tour stands below them, as it was stored.
#
# **Your scoreboard.** From here on each lecture trains this tiny model with another way to mix tokens, and writes the scores into
# your progress file; `flash-tutorial report` prints them.

# %%
from flash_course.bench.stored import compare_with_stored, load_stored
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
bits = {name: run.evaluation.bits_per_byte for name, run in runs.items()}
for name, run in runs.items():
    print(f"{name:17} {count_parameters(run.model):,} parameters, {bits[name]:.2f} bits per byte")
best = load_stored("scoreboard")["runs"]["00 transformer++"]["bits_per_byte"]
print(f"{'Transformer++':17} {best:.2f} bits per byte (stored)")
share = (bits["learnt table"] - bits["ScaledSin + RoPE"]) / (bits["learnt table"] - best)
print(f"positions bring {share:.0%} of the way from Transformer to Transformer++")
curves = {name: [row["bits_per_byte"] for row in run.log] for name, run in runs.items()}
figures.show(*figures.loss_curves(curves, title="RoPE helps early and stays ahead; the waves alone do not"))

# %% tags=["nbval-check-output"]
compare_with_stored("01", runs)  # made once by benchmarks/scoreboard.py, with the same seed and settings
assert bits["learnt table"] - bits["ScaledSin + RoPE"] > 0.2 and bits["ScaledSin + RoPE"] - best > 0.05
assert abs(bits["learnt table"] - bits["ScaledSin"]) < 0.15
plus = runs["ScaledSin + RoPE"].model.cpu()
assert count_parameters(plus) == count_parameters(runs["ScaledSin"].model)  # RoPE has none

paper = {"Transformer": 17.341, "Transformer+": 16.907, "Transformer++": 16.835}  # Table 12 at T = 512, less is better
share = (paper["Transformer"] - paper["Transformer+"]) / (paper["Transformer"] - paper["Transformer++"])
print(f"in the paper, positions bring {share:.0%} of the way from Transformer to Transformer++")

# %% tags=["timing"]
from flash_course.bench.counts import count_state_numbers

for mixer, name in (("softmax, learnt positions", "learnt table"), ("softmax, ScaledSin + RoPE", "ScaledSin + RoPE")):
    step_ms = 1000 * np.median(np.diff([row["seconds"] for row in runs[name].log]))
    kept = count_state_numbers(models[name], settings.length)  # numbers kept after 64 bytes
    learner.score("01", mixer, bits_per_byte=bits[name], step_ms=step_ms, state_numbers=kept)
    print(f"{mixer:26} {bits[name]:.2f} bits per byte, {step_ms:.0f} ms a step, {kept:,} numbers kept")

# %% [markdown]
# In this run the gain comes with RoPE. It is one seed of a tiny model after 300 updates, so the order of the other two means nothing. Why does the paper keep ScaledSin at all? It costs one number and, unlike the learnt table, has no end.
#
# In the paper, too, positions make most of the way to Transformer++, though it does not separate ScaledSin from RoPE. And its
# plain Transformer alone was trained without gradient clipping, so part of that gain may be the clipping.
#
# ## 8. What you take along
#
# Fill in the last column yourself; "not shown" is a good answer.
#
# | claim | your evidence | your verdict |
# | --- | --- | --- |
# | A mask belongs before the softmax | section 3: 15 forbidden pairs found | |
# | Twice as many heads cost twice the time | section 5: counts, and your times | |
# | Attention is the main cost of a Transformer | section 5: shares at seven lengths | |
# | RoPE's scores depend on differences of places only | section 6: all tokens moved by 100 | |
# | Better positions explain most of Transformer++'s lead | section 7: one seed, and the paper's table | |
#
# **Three takeaways**
# 1. Hide scores, not weights, and then test who sees whom by changing one token.
# 2. Attention costs T² pairs. More heads leave the multiply-adds alone, but each has an attention matrix of its own, and narrow heads are slow.
# 3. RoPE turns queries and keys, so that scores depend on differences of places. It has no parameters.
#
# **Exercises** [Problem set 01](../exercises/01_attention.ipynb), six tasks, from a causal softmax to a sliding window.
# One of them asks for a `who_sees` that is harder to fool than `reads`. Which layer would fool `reads`?
#
# **Next** [Lecture 02](02_gated_attention_unit.ipynb) puts a gate and attention into one unit, and drops the softmax.
