# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 01 Attention: who attends to whom, what it costs, and how it knows the order
#
# [With results](01_attention.ipynb) · [without, to work in](work/01_attention.ipynb) · [problem set 01](../exercises/01_attention.ipynb) · [glossary](../docs/glossary.md)
#
# Attention is how one token of a Transformer reads another, and it is the part that FLASH replaces. So this lecture takes it apart first: loops, einsum, masks, heads, cost and positions.
#
# **After this lecture you can**
# - compute softmax attention by hand, in loops, with einsum and with torch's fused kernel;
# - put a mask where it belongs, and find out who sees whom without reading the code;
# - split a width into heads, and say what a longer sequence costs;
# - say which property of a score RoPE guarantees and ScaledSin does not, and turn the Transformer into the paper's Transformer+.
#
# **You need** the tour 00, some NumPy, and a rough idea of attention. Lecture 90 helps with einsum and shapes.
#
# **Time** 27 minutes to read. Running the code takes about 20 seconds on two CPU cores.
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
# **Who bit whom?** Softmax attention reads two sentences made of the same three words. Each word has a random vector, and the matrices for queries, keys and values are random too, as before training. Watch what becomes of *bites*.

# %% tags=["nbval-check-output"]
import math

import numpy as np
import torch

from flash_course import drawing, learner
from flash_course.learner import predict, reveal
from flash_tutorial import ModelConfig, TransformerBlock, count_parameters, mixing, reference
from flash_tutorial.training.devices import pick_device

rng = np.random.default_rng(7)
vector = {word: rng.normal(size=8) for word in ("dog", "bites", "man")}
matrices = rng.normal(size=(3, 8, 8)) / math.sqrt(8)
everybody = np.ones((3, 3), bool)  # which word may read which: all may read all
for sentence in ("dog bites man", "man bites dog"):
    x_TD = np.stack([vector[word] for word in sentence.split()])
    read_TD = reference.softmax_attention(*(x_TD @ matrices), everybody)
    print(f"{sentence}: 'bites' becomes", read_TD[1, :4].round(3), "...")

# %% [markdown]
# Not a digit differs, and other matrices would not help: without a mask, attention reads a sentence as a bag of words (section 6).
#
# **Two questions from the tour**, to answer from memory:
#
# **1.** Which three complaints does the paper raise against earlier cheap kinds of attention?
#
# **2.** A model scores 3 bits per byte. Three bits of what?
#
# <details><summary>Answers</summary>
#
# 1. They lose quality against a strong baseline; their fewer operations do not save time in practice; and a state that is updated token by token trains in T sequential steps.
# 2. Of -log₂ p, on average, where p is the probability that it gave to the byte that came.
#
# </details>

# %% [markdown]
# ## 1. Attention by hand
#
# Softmax attention (Vaswani and others, 2017) fits on paper. Take the six letters of *banana* as six tokens. Each has three vectors:
#
# - a **query**, which says what the token looks for. An *a* looks for *n*, an *n* looks for *a*, and *b* looks for nothing;
# - a **key**, by which it can be found. Here that is the letter itself;
# - a **value**, which is what others get when they read it. Here it is (1, 0) for a vowel and (0, 1) for a consonant.
#
# There are T tokens, a query or a key has S elements (*channels*), and a value has E. Names in the code end with their shape: `q_TS` has T rows and S columns. Text and figures count tokens and rows from 1; in the code, token 6 has the index 5.
#
# Token i *attends to* the others, or reads them, in three steps. It **compares** its query with the key of every token j: the score is their product, divided by √S. It **weighs**: each score goes through exp and is divided by the sum of them all. And it **mixes**: it adds up the values, each times its weight.
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
# Three quarters of what token 6 has read come from consonants. For every token this takes two loops, and the T × T weights together are the
# **attention matrix**, one row for each token that reads.


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
exps_TT = np.exp(q_TS @ k_TS.T / math.sqrt(S))
weights_TT = exps_TT / exps_TT.sum(1, keepdims=True)
panels = {"1. compare: exp(score)": exps_TT.round(), "2. divide by the sum of the row: weight": weights_TT.round(2)}
title = "A row of the attention matrix: how one token divides its attention"
drawing.show(*drawing.numbers_in_squares(panels, row=6, title=title, names=[f"{c}{t + 1}" for t, c in enumerate(word)]))
for t in range(T):
    print(f"token {t + 1}, {word[t]}: {out_TE[t, 0]:.2f} vowel, {out_TE[t, 1]:.2f} consonant")

# %% [markdown]
# Tokens 2, 4 and 6 get the same output: all three are an *a*.
#
# ## 2. The two loops as two einsums
#
# `einsum` names the axes of a product: `"is,js->ij"` means for each i and j, multiply and sum over s, which is missing on the right.


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
print("3 checks passed")

# %% [markdown]
# **Why subtract the largest score of each row?** exp(1000) is too large for a float, and subtracting one number from a whole row scales its
# exps by a factor that the division cancels. **Why divide by √S?** A sum of S random products grows like √S, and when scores are large the
# softmax gives nearly all the weight to one token.

# %% tags=["nbval-check-output"]
score_T = np.array([1000.0, 1000.0 + math.log(4)])
with np.errstate(over="ignore", invalid="ignore"):
    print("without subtraction:", np.exp(score_T) / np.exp(score_T).sum())
print("with subtraction:   ", softmax(score_T).round(3))
for width in (4, 64, 1024):
    product = np.einsum("ns,njs->nj", rng.normal(size=(500, width)), rng.normal(size=(500, 6, width)))
    largest, divided = (softmax(score).max(-1).mean() for score in (product, product / math.sqrt(width)))
    print(f"S = {width:4d}: std {product.std():2.0f}, largest of 6 weights {largest:.1f}, divided by √S {divided:.1f}")

# %% [markdown]
# ## 3. Masks, and a test of who sees whom
#
# A model that writes must not read ahead, so token i may see tokens 1 to i only. Does an implementation keep to that? There is a test that
# never looks inside the layer: **change one token, and see which outputs change.** Try it on a layer with random matrices.


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
# **Your line.** The mask goes between the scores and the softmax. Write `hide` so that exp turns every forbidden score into exactly 0 and
# the other scores stay as they are. (`np.tri(3, dtype=bool)` is True on and below the diagonal.)


# %%
def hide(score_TT):
    return ...  # your line


score_33 = np.log(np.arange(1.0, 10).reshape(3, 3))
learner.your_line("01.c", lambda score_TT: np.exp(hide(score_TT)), ((score_33,), [[1, 0, 0], [4, 5, 0], [7, 8, 9]]))

# %% [markdown]
# The next cell has the line, and the test finds no forbidden pair any more.


# %%
def causal_attention(q_TS, k_TS, v_TE):
    hidden_TT = np.where(np.tri(len(q_TS), dtype=bool), scores(q_TS, k_TS), -np.inf)
    return softmax(hidden_TT) @ v_TE


assert np.array_equal(reads(layer(causal_attention), x_TD), np.tri(T, dtype=bool))

# %% [markdown]
# A popular variant sets the forbidden weights to zero after the softmax.
#
# **Your first guess.** Of the 15 forbidden pairs, how many does the test still find?

# %%
predict("01.a", None)  # your number in place of None


# %%
def masked_after(q_TS, k_TS, v_TE):
    return np.tril(softmax(scores(q_TS, k_TS))) @ v_TE  # np.tril: zero above the diagonal


tested = {"no mask": attention, "mask before the softmax": causal_attention, "mask after the softmax": masked_after}
found = {name: reads(layer(attend), x_TD) for name, attend in tested.items()}
reveal("01.a", np.triu(found["mask after the softmax"], 1).sum(), "of 15 forbidden pairs")
drawing.show(*drawing.who_sees_whom(found, "A mask after the softmax hides nothing"))
row_sums = np.tril(softmax(scores(x_TD @ W_q, x_TD @ W_k))).sum(1)
print("sums of the rows, masked after the softmax:", row_sums.round(2))
assert np.allclose(layer(masked_after)(x_TD) / row_sums[:, None], layer(causal_attention)(x_TD))

# %% [markdown]
# **Misconception: masking is something that you do to probabilities.** A softmax divides each row by a sum over *all* tokens, so a later token changes every weight of the row even where its own is set to zero. The symptom is a row of weights that does not sum to 1. Divide by that sum once more, and on paper the leak is gone. (In floats a much larger later score can still wipe out the earlier ones: mask before.)
#
# ## 4. Heads
#
# With one attention matrix a token has one way to divide its attention, but it may need its verb and the last full stop at once. So a
# Transformer has H *heads*. Each attends with its own d = D / H channels, and their outputs are put side by side.
#
# To trace the heads on six tokens, let 32 mean token 3, channel 2. With D = 4 and H = 2 we have d = 2:
#
# | token | head 1 | head 2 |
# | --- | --- | --- |
# | 1 | 11 12 | 13 14 |
# | 2, 3, ... | 21 22, ... | 23 24, ... |
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
# **Misconception: a reshape moves data to where you want it.** `reshape(H, T, d)` gives the shape for all heads at once, with the wrong numbers in it, because a reshape keeps the order in memory. All shapes fit, and only the test of who sees whom notices:


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
# Head 1 now holds tokens 1 to 3 in pieces, so token 4, which went into head 2, no longer sees them.
#
# ## 5. What it costs
#
# Causal attention has T (T + 1) / 2 visible pairs. Each takes S *multiply-adds* for its score and E for the mixing. In a Transformer all
# heads together have S = E = D, so a pair costs 2 D, however many heads there are.
#
# A Transformer *block* is two layers, each added to its input: x = x + attention(norm(x)), then x = x + MLP(norm(x)). Its other products
# are paid once for each token: four D × D matrices for q, k, v and the output, and an MLP (a feed-forward network) from D to 4 D channels
# and back, together 12 D². Which is the main cost?

# %% tags=["nbval-check-output"]
from flash_course.bench.counts import count_multiply_adds

D, lengths = 768, [512, 2048, 8192, 16_384, 32_768]  # D of the paper's base model
pairs = [2 * D * T * (T + 1) // 2 for T in lengths]
rest = [12 * D * D * T for T in lengths]
with torch.device("meta"):  # shapes only, no memory
    block = TransformerBlock(D, heads=12, causal=True)
assert [a + b for a, b in zip(pairs, rest)] == [count_multiply_adds(block, T) for T in lengths]
for T, a, b in zip(lengths, pairs, rest):
    print(f"T = {T:6,d}: attention {a / 1e9:7.1f} billion multiply-adds, {a / (a + b):3.0%} of the block")

# %% [markdown]
# By multiply-adds, attention overtakes the rest only between T = 8,192 and 16,384; lecture 08 asks the clock. And memory? Torch's *fused kernel* does scores, softmax and mixing piece by piece, so that the T × T matrix of a head never exists as a whole. (Its axes are `(B, H, T, d)`, batch and heads first.)

# %%
from flash_course.bench.clock import peak_bytes, summary, time_in_turn

device = pick_device()
tokens, rounds = (4096, 9) if device.type == "cuda" else (1024, 15)
torch.set_num_threads(1)  # times then depend less on what else your computer does


def random_heads(H, d):
    return [torch.randn(1, H, tokens, d, device=device) for _ in range(3)]


def fused(q, k, v):
    return mixing.softmax_attention(q, k, v, causal=True)


one = [torch.tensor(each)[None, None] for each in (q, k, v)]  # the tokens of section 2, B = H = 1
assert np.allclose(fused(*one)[0, 0].numpy(), causal_attention(q, k, v))
four = random_heads(H=4, d=16)
matrices_bytes = 4 * tokens**2 * 4  # H = 4 matrices of T x T float32 numbers of 4 bytes
held = peak_bytes(lambda: fused(*four), device)
if held is not None:  # not every device can tell
    print(f"T = {tokens}: four matrices have {matrices_bytes / 1e6:.1f} MB, the kernel held {held / 1e6:.1f} MB")
    assert held < matrices_bytes / 10

# %% [markdown]
# **Your second guess.** Keep the width D = 64 and take 8 heads instead of 4. By what factor does the time grow?

# %%
predict("01.b", None)  # your number in place of None

# %% tags=["timing"]
shapes = [(1, 64), (2, 32), (4, 16), (8, 8), (8, 16)]  # H heads of d channels; the last one is wider, D = 128
inputs = {shape: random_heads(*shape) for shape in shapes}
seconds = time_in_turn({shape: lambda qkv=qkv: fused(*qkv) for shape, qkv in inputs.items()}, rounds, device=device)
time = {shape: summary(times)["median"] for shape, times in seconds.items()}
for H, d in shapes:
    exps = H * tokens * (tokens + 1) // 2  # one for each visible pair of each head
    print(f"H = {H}, d = {d:2d}: {exps * 2 * d:11,d} multiply-adds, {exps:9,d} exps, {1000 * time[H, d]:6.2f} ms")
reveal("01.b", round(time[8, 8] / time[4, 16], 1), "times the time on this machine")
assert device.type == "cuda" or time[8, 16] < 1.6 * time[8, 8]

# %% [markdown]
# In the first four lines the multiply-adds are equal, and the exps double from line to line, as each head has an attention matrix of its
# own. But the last two lines have the same number of exps, and the last one, with twice the multiply-adds, takes nowhere near twice the
# time, and in some runs it is even the faster of the two: neither count explains the time. In some runs not even the order of the lines is that of a count. We did not trace the cause.

# %% [markdown]
# ## 6. Positions: attention alone does not know the order
#
# An output is a sum over the tokens seen, and a sum does not care about the order of its terms. A causal mask tells which tokens came earlier, but hands those over as a bag again: shuffle the first five letters of *banana*, and the sixth gets what it got before.

# %% tags=["nbval-check-output"]
order = np.array([4, 2, 0, 3, 1, 5])
assert np.allclose(attention(q_TS[order], k_TS[order], v_TE[order]), out_TE[order])
for rows in (np.arange(6), order):
    read_E = causal_attention(q_TS[rows], k_TS[rows], v_TE[rows])[5]
    print(f"{''.join(word[t] for t in rows)}: token 6 reads {read_E[0]:.2f} vowel, {read_E[1]:.2f} consonant")

# %% [markdown]
# So something must tell each token its position. The plain Transformer adds a **learned position embedding**, one vector for each position
# up to the last one seen in training.
#
# **ScaledSin** (Code 2 of the paper) replaces it by sinusoids. Position t, counted from 0, gets sin(t f) and cos(t f) for D/2 frequencies f, which fall from 1 towards 1/10,000: f = 10000^(-m / (D/2)) for m = 0, 1, 2 ... All are multiplied by *one* learned scalar (left out in the next cell) and added once, before the first block. The product of two positions then depends on their distance alone.


# %% tags=["nbval-check-output"]
def scaled_sin(T, D):
    half = D // 2
    frequency = 10000.0 ** (-np.arange(half) / half)
    angle = np.arange(T)[:, None] * frequency[None, :]  # (T, D / 2)
    return np.concatenate([np.sin(angle), np.cos(angle)], axis=1)


assert np.allclose(scaled_sin(512, 64), reference.scaled_sin(512, 64))
apart = np.diag(scaled_sin(512, 64) @ scaled_sin(512, 64).T, 3)
print(f"products of sinusoids 3 positions apart: {apart.min():.2f} to {apart.max():.2f}")

# %% [markdown]
# ### RoPE: rotate queries and keys
#
# **RoPE** (rotary position embedding; Su and others, 2021; Code 3 of the paper) adds nothing. In each layer it *rotates* queries and keys
# before they are compared. Take two channels as a point in the plane, and at position t rotate it around the origin by the angle t f. With
# f = 1 the point (1, 0) becomes (cos t, sin t), in radians, and the score of two such points is the cosine of the angle between them. (√S
# is left out here.)

# %%
one = np.array([1.0, 0.0])
drawing.show(*drawing.turned_pairs(one, one, [(2, 0), (4, 2), (5, 2)]))

# %% [markdown]
# S channels make S/2 such points, each with a frequency of its own, those of ScaledSin with S in the place of D; the paper pairs channel c with c + S/2. Rotating (x₁, x₂) by the angle α gives y₁ = x₁ cos α - x₂ sin α for the first coordinate.
#
# **Your line.** And the second coordinate? The point (0, 1) goes to (-sin α, cos α), and a rotation changes no length.


# %%
def second_coordinate(x1, x2, angle):
    return ...  # your line


learner.your_line("01.e", second_coordinate, ((1, 0, math.pi / 2), 1), ((0, 1, 0.0), 1), ((3, 4, 0.5), 4.9486068638))

# %% [markdown]
# The next cell has it. Rotating query and key by the same extra angle leaves the angle between them as it was, so **a score depends on the difference of the positions alone**.


# %% tags=["nbval-check-output"]
def rope(x_TS, first=0):  # row 0 stands at position `first`
    x1, x2 = np.split(x_TS, 2, axis=1)
    frequency = 10000.0 ** (-np.arange(x1.shape[1]) / x1.shape[1])
    angle = (first + np.arange(len(x_TS)))[:, None] * frequency
    cos, sin = np.cos(angle), np.sin(angle)
    return np.hstack([x1 * cos - x2 * sin, x2 * cos + x1 * sin])


assert np.allclose(rope(q), reference.rope(q))  # q and k of section 2
assert np.allclose(np.linalg.norm(rope(q), axis=1), np.linalg.norm(q, axis=1))  # no length changes
change = np.abs(rope(q, first=100) @ rope(k, first=100).T - rope(q) @ rope(k).T).max()
print(f"all tokens shifted by 100 positions: scores change by up to {change:.1f}")

# %% [markdown]
# Do added positions have this property too? The sinusoids alone do, but they are added to a token, and the sum goes through the matrices
# for queries and keys, where the two get mixed up. Let one token ask and another be read, each from all 16 positions, and look at the scores.

# %%
positions, D = 16, 16
query_D, key_D = rng.normal(size=(2, D))
W_query, W_key = rng.normal(size=(2, D, D)) / math.sqrt(D)


def scores_added(table_TD):
    return (query_D + table_TD) @ W_query @ (W_key.T @ (key_D + table_TD).T)


same = np.zeros((positions, 1))
score_tables = {
    "learned (at its start)": scores_added(rng.normal(size=(positions, D))),
    "ScaledSin": scores_added(scaled_sin(positions, D)),
    "RoPE": rope(same + query_D @ W_query) @ rope(same + key_D @ W_key).T,
}

# %% tags=["nbval-check-output"]
title = "A pair at all positions: only RoPE's scores depend on the distance alone"
axis_names = {"xlabel": "position of the key", "ylabel": "position of the query"}
figure, panels = drawing.new_panels(score_tables, 6.2, 3.5, title=title, sharey=True, **axis_names)
at_distance_3 = {}
for axes, (name, table_TT) in zip(panels, score_tables.items()):
    diagonal = np.diag(table_TT, -3)  # the key stands three places before the query
    low = f"{diagonal.min():.1f}"
    high = f"{diagonal.max():.1f}"
    at_distance_3[name] = low if low == high else f"{low} to {high}"
    image = axes.imshow(table_TT, cmap="cividis")
    figure.colorbar(image, ax=axes, location="bottom", label="score")
    axes.plot([0, positions - 4], [3, positions - 1], color=drawing.VERMILION, linewidth=2)
    along = f"distance 3:\n{at_distance_3[name]}"
    axes.text(0.4, positions - 1, along, fontsize=9, color=drawing.VERMILION, va="bottom", bbox=drawing.WHITE)
    axes.grid(False)
    assert np.ptp(diagonal) < 1e-9 if name == "RoPE" else np.ptp(diagonal) > 1
drawing.show(
    figure, f"Tables of 16 by 16 scores, lighter for larger ones. At distance 3: {drawing.listed(at_distance_3, '{}')}."
)

# %% [markdown]
# ## 7. From Transformer to Transformer+
#
# The paper's three Transformers use softmax attention and differ mainly in two places:
#
# | | positions | feed-forward layer |
# | --- | --- | --- |
# | Transformer | learned | MLP |
# | Transformer+ | ScaledSin and RoPE | MLP |
# | Transformer++ | ScaledSin and RoPE | GLU, an MLP with a gate (lecture 02) |
#
# Train the first two, and a third with ScaledSin alone, to see whether ScaledSin or RoPE does the work.
#
# **Your scoreboard.** From here on each lecture trains this tiny model with another way to mix tokens, and writes its score on held-out
# text into a small file that holds your guesses too; `flash-tutorial report` in a terminal prints it. (The curve shows the training loss.)

# %%
from flash_course.bench.counts import count_state_numbers
from flash_course.bench.stored import compare_with_stored, load_stored
from flash_tutorial.corpora import load_corpus
from flash_tutorial.training import TrainConfig, train

corpus = load_corpus("austen")
settings = TrainConfig(steps=300, batch=16, length=64, learning_rate=3e-3, warmup=20, eval_bytes=20_000)
size = dict(dim=64, depth=2, heads=2, ff_dim=256, max_length=64, norm="layer", start="paper")
models = {
    "learned positions": ModelConfig("transformer", **size),
    "ScaledSin": ModelConfig("transformer", positions="scaled_sin", **size),
    "ScaledSin + RoPE": ModelConfig("transformer+", **size),
}
runs = {name: train(config, settings, corpus=corpus, progress=False) for name, config in models.items()}
bits = {name: run.evaluation.bits_per_byte for name, run in runs.items()}
curves = {name: [row["bits_per_byte"] for row in run.log] for name, run in runs.items()}
assert min(curves, key=lambda name: np.mean(curves[name][-20:])) == "ScaledSin + RoPE"
drawing.show(*drawing.loss_curves(curves, title="ScaledSin with RoPE ends lowest"))

# %% tags=["nbval-check-output"]
compare_with_stored("01", runs)  # made once by experiments/scoreboard.py, with the same seed and settings
stored = load_stored("scoreboard")["seeds"]
seeds = {name: stored[f"01 {name}"] for name in runs} | {"Transformer++": stored["00 transformer++"]}
print("bits per byte       this run minus its stored one   stored, three seeds")
for name, each in seeds.items():
    here = f"{abs(bits[name] - each[0]):.1f}" if name in bits else "not run here"
    print(f"{name:19} {here:>30}   {', '.join(f'{b:.2f}' for b in each)}")
learned, sinusoids, rotated, plus = seeds.values()
shares = [(a - b) / (a - c) for a, b, c in zip(learned, rotated, plus)]
print("better positions close", ", ".join(f"{share:.0%}" for share in shares), "of the gap to Transformer++")
assert min(learned) - max(rotated) > 0.3 and min(sinusoids) > max(learned) and min(rotated) > max(plus)
assert len({count_parameters(run.model) for name, run in runs.items() if "ScaledSin" in name}) == 1  # RoPE has none

# perplexities of Transformer, + and ++, in the two settings where "+" closes least and most of the gap
paper = (4.196, 4.032, 3.920), (19.808, 15.999, 15.943)
least, most = ((a - b) / (a - c) for a, b, c in paper)
print(f"in the paper: from {least:.0%} (C4 at T = 2048) to {most:.0%} (Wiki-40B at T = 1024)")
for name, run in runs.items():
    step_ms = 1000 * np.median(np.diff([row["seconds"] for row in run.log]))
    kept = count_state_numbers(models[name], settings.length)  # entries of keys and values after 64 bytes
    learner.score("01", f"softmax, {name}", bits_per_byte=bits[name], step_ms=step_ms, state_numbers=kept)

# %% [markdown]
# At each of three seeds the gain comes with RoPE, and ScaledSin alone is slightly worse than learned positions. But ScaledSin costs only
# one parameter and, unlike a learned embedding, has no last position. (All this is about windows of 64 bytes after 300 updates, like every
# scoreboard of this course.)
#
# In the paper, too, better positions close most of the gap, though ScaledSin and RoPE are not tested apart. But of the three, only the
# plain Transformer was trained without *gradient clipping*, which shortens gradients that are too long (lecture 07), so part of the gap may
# be unstable training.
#
# ## 8. What to remember
#
# Fill in the last column yourself.
#
# | claim | your evidence | your verdict |
# | --- | --- | --- |
# | A mask belongs before the softmax | section 3: 15 forbidden pairs found | |
# | Twice as many heads cost twice the time | section 5: counts, and your times | |
# | Attention is the main cost of a Transformer | section 5: shares at five lengths | |
# | RoPE's scores depend on differences of positions only | section 6: all tokens shifted by 100 | |
# | Better positions explain most of Transformer++'s lead | section 7: three seeds, and the paper's tables | |
#
# **Three takeaways**
# 1. Hide scores, not weights, and then test who sees whom by changing one token.
# 2. Causal attention costs T (T + 1) / 2 pairs. More heads leave the multiply-adds alone, but each has an attention matrix of its own.
# 3. RoPE rotates queries and keys, so that scores depend on differences of positions. It has no parameters.
#
# **Exercises** [Problem set 01](../exercises/01_attention.ipynb), six tasks, from a causal softmax to a sliding window.
#
# **Next** [Lecture 02](02_gated_attention_unit.ipynb) puts a gate and attention into one unit, and drops the softmax.
