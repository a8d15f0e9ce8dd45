# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 02 Gated attention unit: attention and feed-forward in one layer
#
# [With results](02_gated_attention_unit.ipynb) · [without, to work in](work/02_gated_attention_unit.ipynb) · [problem set 02](../exercises/02_gated_attention_unit.ipynb) · [glossary](../docs/glossary.md)
#
# A Transformer block has two layers: attention lets tokens read each other, and a feed-forward layer works on each token by itself.
# The gated attention unit (GAU) does both at once, with a single attention matrix. FLASH is built from it.
#
# **After it you can**
# - draw MLP, GLU and GAU with their shapes, and say what a gate does;
# - write a GAU in NumPy from memory, with mask and division where they belong;
# - explain why one head can be enough, and why two GAUs replace one Transformer block;
# - keep apart what is measured about relu² and what is a guess.
#
# **You need** lecture 01: softmax attention in NumPy, the causal mask, heads, rotary positions (RoPE).
#
# **Time** 33 minutes to read. Computing takes about 20 seconds on two CPU cores.
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
# **What can you take away from a Transformer?** The paper removes the softmax, eleven of the twelve heads, the matrices for
# queries and keys, and the feed-forward layer. Here is what is left, beside what the paper reports for it at a length of 8192
# (Table 12; perplexity is 2 to the power of the bits per token, less is better).

# %% tags=["nbval-check-output"]
import math
from dataclasses import replace

import numpy as np
import torch

from flash_course import figures, learner
from flash_course.learner import predict, reveal
from flash_tutorial import GAU, LanguageModel, ModelConfig, TransformerBlock, count_parameters, reference


def millions(config):
    with torch.device("meta"):  # shapes only, no memory
        return count_parameters(LanguageModel(config)) / 1e6


for name, heads, reported in (
    ("transformer++", 12, "perplexity 15.25, 261 ms a step"),
    ("flash_quad", 1, "perplexity 15.00, 141 ms a step"),
):
    config = ModelConfig.paper("wiki40b", name)
    matrices = config.depth * heads
    print(f"{name:13} {matrices:3d} attention matrices, {millions(config):.0f}M parameters; reported: {reported}")

# %% [markdown]
# There are fewer parts, and by the paper's numbers the result is both better and faster. This lecture builds that layer piece by piece.
#
# First **two questions from lecture 01**. Answer from memory, then open the fold.
#
# **1.** Why are scores divided before a softmax?
#
# <details><summary>Answer</summary>
#
# A score is a sum of S products, so its size grows like √S, and a softmax of large scores puts nearly all weight on one token.
#
# </details>
#
# **2.** What does RoPE leave unchanged?
#
# <details><summary>Answer</summary>
#
# The length of every query and key. And of the two positions only their distance j - i counts in a score.
#
# </details>
#
# ## 1. The feed-forward layer, and its gate
#
# The *MLP* of a Transformer widens each token from D to F = 4 D channels, applies an activation to each (here GELU, a smooth form of relu)
# and narrows it again: `gelu(x W_in) W_out`. The *gated linear unit* (GLU) makes two wide arrays from the token, and one of them, the
# *gate*, multiplies the other element by element: `(gelu(x W_gate) × (x W_value)) W_out`. That is three matrices in place of two, so for a fair
# comparison F shrinks to 8 D / 3. Transformer++ is Transformer+ with such a GLU.
#
# In a model the layer reads a normalised input and is added to x. The norm here is ScaleNorm, which divides x by its root mean square and
# multiplies by one learnt number, the *gain*. Read the loops first: the outer one goes over tokens, and no line mentions a second token.


# %% tags=["nbval-check-output"]
def agree(a, b):
    """Stop here unless both have the same shape and, up to rounding, the same values."""
    assert a.shape == b.shape and np.abs(a - b).max() < 1e-10


rng = np.random.default_rng(0)
T, D, F = 6, 4, 8
x_TD = rng.normal(size=(T, D))
W_gate, W_value = rng.normal(size=(2, D, F)) / math.sqrt(D)
W_out = rng.normal(size=(F, D)) / math.sqrt(F)


def norm(x_TD, gain=1.0):
    return x_TD / np.sqrt(np.mean(x_TD**2, axis=-1, keepdims=True) + 1e-5) * gain


def glu_loops(x_TD):
    out_TD = np.zeros_like(x_TD)
    for i in range(len(x_TD)):
        for f in range(F):
            out_TD[i] += reference.gelu(x_TD[i] @ W_gate[:, f]) * (x_TD[i] @ W_value[:, f]) * W_out[f]
    return out_TD


def glu(x_TD):
    return (reference.gelu(x_TD @ W_gate) * (x_TD @ W_value)) @ W_out


agree(glu_loops(x_TD), glu(x_TD))
p = {"norm2_gain": 1.0, "ff_in_bias": 0.0, "ff_out_weight": W_out, "ff_out_bias": 0.0}
p["ff_in_weight"] = np.hstack([W_gate, W_value])
agree(x_TD + glu(norm(x_TD)), reference.feed_forward(x_TD, p, glu=True))
moved = glu(x_TD + np.eye(T)[:, 2:3]) != glu(x_TD)  # 1 is added to token 3
print("token 3 changed; outputs that move:", (np.flatnonzero(moved.any(1)) + 1).tolist())

# %% [markdown]
# ## 2. One picture
#
# GAU goes one step further (Figure 2 of the paper draws both). The gate U stays, but the values V are first *mixed between tokens* by an
# attention matrix A of T × T weights: row i of A V is the sum of all `A[i, j] × V[j]`. The matrix is made from a third array Z, which is
# narrow: in the paper it has S = 128 channels, where gate and values have E = 1536.

# %%
figures.show(*figures.gated_units())

# %% [markdown]
# In three lines, as in lecture 00 (equation 3 of the paper):
#
# ```python
# u, v, z = project(x)         # gate (T, E), value (T, E), base (T, S)
# read = u * mix(z, v)         # mix(z, v) is A @ v, with A made from z
# y = x + read @ W_out         # back to width D, and added to the input
# ```
#
# `project` is the norm, one matrix for all three arrays, and the activation SiLU on all of them: silu(x) = x / (1 + exp(-x)).
#
# ## 3. What the gate does, on six tokens
#
# Let E = 2, and let attention be as simple as possible: each token reads the one before it. Token i has the value (i, 10 i), so that you can
# see where a number came from.

# %% tags=["nbval-check-output"]
v_TE = np.array([(i, 10 * i) for i in range(1, 7)])
u_TE = np.array([(1, 1), (0, 1), (1, 0), (1, 1), (0, 0), (2, 1)])
A_TT = np.eye(6, k=-1)  # row i has its 1 in column i - 1

print("token  gate u    value v    read A v   u * (A v)   A (u * v)")
for i, arrays in enumerate(zip(u_TE, v_TE, A_TT @ v_TE, u_TE * (A_TT @ v_TE), A_TT @ (u_TE * v_TE)), 1):
    print(f"{i:3}  ", "     ".join(f"{a:2.0f}, {b:2.0f}" for a, b in arrays))

# %% [markdown]
# Follow token 6: it reads (5, 50) from token 5, and its own gate (2, 1) makes (10, 50) of it. Token 5 has the gate (0, 0) and lets nothing
# through, whatever it reads.
#
# **Misconception: the gate filters what others may read.** That would be the last column, where the gate of the token that *is read*
# counts, and token 5 does get something. As long as each token reads only itself both forms are the same, so a test without mixing
# cannot see this fault.
#
# **Your line.** What goes back to width D, for any attention matrix `A_TT`?


# %%
def gated_read(u_TE, v_TE, A_TT):
    return ...  # your line


u_22, v_22, swap_22 = np.array([[1, 0], [2, 1]]), np.array([[1, 10], [2, 20]]), np.array([[0, 1], [1, 0]])
learner.your_line("02.c", gated_read, ((u_22, v_22, swap_22), [[2, 0], [2, 10]]))

# %% [markdown]
# <details><summary>The line</summary>
#
# `return u_TE * (A_TT @ v_TE)`: the gate of the token that reads, after the mixing.
#
# </details>
#
# Here is the unit for any way of mixing; `p` holds the parameters that it needs so far.


# %%
def silu(x):
    return x / (1 + np.exp(-x))


def project(x_TD, p):
    E = p["out_weight"].shape[0]
    uvz = silu(norm(x_TD, p["norm_gain"]) @ p["in_weight"] + p["in_bias"])  # (T, 2E + S)
    return np.split(uvz, [E, 2 * E], axis=-1)


def unit(x_TD, p, mix):
    u_TE, v_TE, z_TS = project(x_TD, p)
    return x_TD + (u_TE * mix(z_TS, v_TE)) @ p["out_weight"] + p["out_bias"]


T, D, E, S = 14, 8, 16, 4
x_TD, draw = rng.normal(size=(T, D)), np.random.default_rng(2).normal
p = {
    "norm_gain": np.array(1.5), "in_weight": draw(size=(D, 2 * E + S)) / math.sqrt(D), "in_bias": draw(size=2 * E + S),
    "out_weight": draw(size=(E, D)) / math.sqrt(E), "out_bias": draw(size=D),
}  # fmt: skip

# %% [markdown]
# ## 4. Two layers that you know are inside
#
# **Without mixing, GAU is a GLU.** Let each token read only itself: A is the identity, and `mix(z, v)` is v.
#
# **With a gate of one, it is plain attention**: one head and its output matrix. Since silu(1.278...) = 1, weights of 0 and a bias of
# 1.278... make the gate one.
#
# (The GLU inside a GAU activates gate *and* value, as in equations 1 and 2, whereas that of Transformer++ activates the gate only.)

# %%
uv = silu(norm(x_TD, 1.5) @ p["in_weight"][:, : 2 * E] + p["in_bias"][: 2 * E])
glu_layer = x_TD + (uv[:, :E] * uv[:, E:]) @ p["out_weight"] + p["out_bias"]
agree(unit(x_TD, p, lambda z, v: v), glu_layer)

one = 1.0
for _ in range(60):
    one = 1 + math.exp(-one)  # the solution of silu(one) = 1
gate_of_one = p | {"in_weight": p["in_weight"].copy(), "in_bias": p["in_bias"].copy()}
gate_of_one["in_weight"][:, :E], gate_of_one["in_bias"][:E] = 0, one
A_TT = rng.random((T, T))
_, v_TE, _ = project(x_TD, gate_of_one)
agree(unit(x_TD, gate_of_one, lambda z, v: A_TT @ v), x_TD + A_TT @ v_TE @ p["out_weight"] + p["out_bias"])

# %% [markdown]
# ## 5. Queries and keys from one shared base
#
# Attention usually has a matrix for queries and one for keys. GAU has only the base z for both (equation 4 of the paper): the queries are a
# copy of z with a *scale* gamma and an *offset* beta, `q = z * gamma[0] + beta[0]`, and the keys are another, `k = z * gamma[1] + beta[1]`.

# %% tags=["nbval-check-output"]
z_TS = np.array([(1, 0), (0, 1), (2, 1), (1, 1), (0, 2), (2, 0)])
gamma_2S = np.array([(3, 3), (2, -2)])
beta_2S = np.array([(0, 3), (0, 2)])
q_TS, k_TS = np.zeros((2, 6, 2), int)
for i in range(6):
    for s in range(2):
        q_TS[i, s] = z_TS[i, s] * gamma_2S[0, s] + beta_2S[0, s]
        k_TS[i, s] = z_TS[i, s] * gamma_2S[1, s] + beta_2S[1, s]
    print(f"token {i + 1}: z {z_TS[i]}  q {q_TS[i]}  k {k_TS[i]}")
products = " + ".join(f"{a} x {b}" for a, b in zip(q_TS[5], k_TS[2]))
print(f"token 6 reads token 3: score {products} = {q_TS[5] @ k_TS[2]}")

# %% [markdown]
# **Your line.** The same for queries and keys at once, without a loop: what makes (2, T, S) of the (T, S) base?


# %%
def both_copies(z_TS, gamma_2S, beta_2S):
    return ...  # your line


learner.your_line("02.d", both_copies, ((z_TS, gamma_2S, beta_2S), [q_TS, k_TS]))

# %% [markdown]
# <details><summary>The line</summary>
#
# `return z_TS * gamma_2S[:, None] + beta_2S[:, None]`: (T, S) against (2, 1, S) gives (2, T, S).
#
# </details>
#
# (The paper's code calls such a copy a *head*, and so do lectures from 05 on. Here a head stays what it was in lecture 01, an attention
# matrix: GAU has two copies of z, and one matrix.)
#
# Why the offset? With scales alone, the score of i and j is a sum of gamma[0, s] gamma[1, s] z[i, s] z[j, s] and stays the same when i and j
# change places: every token would read another exactly as much as it is read by it. The offset breaks this symmetry, and so does RoPE, which
# must come last, because an offset added later is not rotated and then more than the distance counts.


# %% tags=["nbval-check-output"]
def queries_and_keys(z_TS, p):
    copies_2TS = z_TS * p["gamma"][:, None] + p["beta"][:, None]
    return reference.rope(copies_2TS)


def asymmetry(q_TS, k_TS):
    return np.abs(q_TS @ k_TS.T - k_TS @ q_TS.T).max()


p |= {"gamma": draw(size=(2, S)), "beta": draw(size=(2, S))}
base_TS = rng.normal(size=(T, S))
scaled = base_TS * p["gamma"][:, None]
print("score of (i, j) and of (j, i) differ by up to:")
print(f"  scale alone {asymmetry(*scaled):.1f}, with offset {asymmetry(*(scaled + p['beta'][:, None])):.1f}", end=", ")
print(f"with RoPE {asymmetry(*reference.rope(scaled)):.1f}")
q, k = queries_and_keys(np.ones((T, 1)) * base_TS[0], p)  # the same token at each place
agree((q @ k.T)[1:, 1:], (q @ k.T)[:-1, :-1])  # so only the distance may count
print(f"cost at D = 768, S = 128: {4 * 128:,} parameters, where two matrices of D x S would have {2 * 768 * 128:,}")

# %% [markdown]
# ## 6. The position bias: a table by distance
#
# Each pair's score also gets a bias b, which depends on the distance j - i only. It has two forms (Code 4 of the paper's appendix).
#
# **Below a length of 512: one learnt number for each distance.** Six tokens have 11 distances, from -5 to 5, and a table whose diagonals are
# constant is called a *Toeplitz* matrix. Let the 2 T - 1 numbers stand in one list, that of distance -(T - 1) first.
#
# **Your line.** At which place of the list is the bias of the pair (i, j)? Python counts from 0.


# %%
def place_of(i, j, T):
    return ...  # your line


learner.your_line("02.e", place_of, ((0, 0, 6), 5), ((5, 0, 6), 0), ((0, 5, 6), 10), ((2, 3, 4), 4))

# %% [markdown]
# <details><summary>The line</summary>
#
# `return (j - i) + T - 1`: distance 0 is at place T - 1, and distance -(T - 1) at place 0.
#
# </details>


# %% tags=["nbval-check-output"]
def toeplitz(weights, T):
    place = np.arange(T)
    return weights[place[None, :] - place[:, None] + T - 1]


behind, at, ahead = [-4, -4, -1, -1, -1], [0], [2, 1, 0, -1, -1]
weights = np.array(behind + at + ahead)
bias_TT = toeplitz(weights, 6)
print(bias_TT)
agree(reference.toeplitz_bias(weights, 6), bias_TT)
agree(reference.toeplitz_bias(weights, 4), bias_TT[:4, :4])  # fewer tokens take the same distances

# %% [markdown]
# **From 512 on: two learnt vectors a and b of S numbers.** Rotate a to position i, as RoPE does, and b to position j; their product is the bias.
# Rotating both further changes nothing, so only the distance counts, and 2 S numbers serve any length.


# %%
def rotary(a_S, b_S, T):
    return reference.rope(np.tile(a_S, (T, 1))) @ reference.rope(np.tile(b_S, (T, 1))).T


a_S, b_S = np.random.default_rng(3).normal(size=(2, 32)) * 32**-0.25
waves = rotary(a_S, b_S, 32)
agree(reference.rotary_bias(a_S, b_S, 32), waves)
agree(waves[1:, 1:], waves[:-1, :-1])  # constant along diagonals
steps = np.random.default_rng(4).normal(size=63)
figures.show(*figures.bias_tables({"Toeplitz, 63 numbers": toeplitz(steps, 32), "rotary, 64 numbers": waves}))

# %% [markdown]
# ## 7. The attention matrix: relu² of score plus bias
#
# Now put it together: `A = relu²(q kᵀ / n + b)`, where relu² turns negative numbers into 0 and squares the others, and the divisor n is the
# number of tokens, here 6. Then hide what is later, since the model is causal.
#
# **Your first guess.** The weights of a softmax row add up to 1. With the queries, keys and biases above, to what do those of row 5 add up?

# %%
predict("02.a", None)  # your number in the place of None


# %%
def relu2(s):
    return np.maximum(s, 0) ** 2


n, A_TT = 6, np.zeros((6, 6))
for i in range(6):
    for j in range(i + 1):  # causal: no later token
        score = q_TS[i] @ k_TS[j] / n + bias_TT[i, j]
        A_TT[i, j] = score**2 if score > 0 else 0

s_TT, hide = q_TS @ k_TS.T / n, np.where(np.tri(6), 0, np.nan)
panels = {
    "score q kᵀ / n": s_TT,
    "bias b": bias_TT,
    "score + bias, masked": s_TT + bias_TT + hide,
    "A = relu²": A_TT + hide,
}
title = "In row 5 each score + bias is negative, so token 5 reads nothing"
figures.show(*figures.numbers_in_squares(panels, row=5, title=title))
reveal("02.a", A_TT[4].sum())

# %% [markdown]
# All weights of row 5 are 0, so token 5 reads nothing, which a softmax cannot do. Check one number with a pencil: token 6 reads token 3
# with a score of 24 / 6 = 4 and the bias of distance -3, which is -1, and 3² = 9.
#
# **Your line.** The matrix without loops, before the mask.


# %%
def unmasked(q_TS, k_TS, b_TT, n):
    return ...  # your line


two = np.array([[2.0], [1]]), np.array([[4.0], [-2]]), np.eye(2)
learner.your_line("02.f", unmasked, ((*two, 2), [[25, 0], [4, 0]]), ((*two, 1), [[81, 0], [16, 0]]))

# %% [markdown]
# <details><summary>The line</summary>
#
# `return relu2(q_TS @ k_TS.T / n + b_TT)`: divide the scores, add the bias, then take the square.
#
# </details>


# %% tags=["nbval-check-output"]
def relu2_matrix(q_TS, k_TS, b_TT, n, causal):
    A_TT = relu2(q_TS @ k_TS.T / n + b_TT)
    return np.tril(A_TT) if causal else A_TT


v_TE = np.array([(1, 0), (0, 1), (1, 1), (2, 0), (0, 2), (1, -1)])
agree(A_TT, relu2_matrix(q_TS, k_TS, bias_TT, 6, causal=True))
for causal, sees in ((True, np.tri(6)), (False, np.ones((6, 6)))):
    package = reference.relu2_attention(q_TS, k_TS, v_TE, 6, sees, bias_TT)
    agree(relu2_matrix(q_TS, k_TS, bias_TT, 6, causal) @ v_TE, package)
for i in (4, 5):
    print(f"row {i + 1} of A:", A_TT[i].astype(int), "reads", (A_TT @ v_TE)[i].astype(int))

# %% [markdown]
# **Misconception: attention weights are probabilities.** Here they are not, and there are three symptoms. Double all scores, and the output is
# four times as large. Add the same number to a whole row, and the row changes, which a softmax does not notice. Write the text twice, and
# everything is read twice, if n stays the same.


# %% tags=["nbval-check-output"]
def softmax(s_TT):
    weight = np.exp(s_TT - s_TT.max(1, keepdims=True))
    return weight / weight.sum(1, keepdims=True)


s_TT, value = rng.normal(size=(6, 6)), rng.normal(size=(6, 3))
s_twice, value_twice = np.tile(s_TT, (2, 2)), np.tile(value, (2, 1))  # tokens 7 to 12 are tokens 1 to 6 again
for name, f in (("softmax", softmax), ("relu²", relu2)):
    read = f(s_TT) @ value
    print(f"{name:8} sum of row 1: {f(s_TT)[0].sum():.2f}; scores doubled: x {(f(2 * s_TT) @ value / read)[0, 0]:.2f}; "
          f"row + 5: weights change by {np.abs(f(s_TT + 5) - f(s_TT)).max():.0f}; "
          f"text twice: x {((f(s_twice) @ value_twice)[0] / read[0])[0]:.0f}")  # fmt: skip
halves = relu2(s_TT[:, :3]) @ value[:3] + relu2(s_TT[:, 3:]) @ value[3:]
agree(halves, relu2(s_TT) @ value)  # what the two halves of each row read adds up

# %% [markdown]
# This has a use: a relu² weight depends on its own score alone, so a row can be cut into pieces and what they read added up, as the
# last line did. Lecture 05 will need that.
#
# ## 8. Why relu²?
#
# **How it was found.** Not by derivation. In 2021 So and others let an evolutionary search vary the TensorFlow programs of language models
# (Primer, arXiv 2109.08668), and two changes explained most of the gain: squaring the relu of the *feed-forward* layer, and a
# convolution over queries, keys and values. GAU has the squared relu in another place, the attention matrix.
#
# **What is measured.** The paper exchanged the two functions in models of 105 to 110 million parameters (Tables 1 and 2; perplexity on
# Wiki-40B, as far as we can tell one run each). In the GAU relu² has 16.78 and softmax 17.04; in multi-head attention with an MLP it is the
# other way round, 17.15 and 16.87. And here is our miniature of lecture 10, three seeds, each model at the best rate that was tried:

# %% tags=["nbval-check-output"]
from flash_course.bench.stored import compare_with_stored, load_stored

stored = load_stored("ablations")


def three_seeds(variant):
    rate = stored["best_rates"][variant]
    rows = [r for r in stored["runs"] if (r["variant"], r["learning_rate"]) == (variant, rate)]
    assert len(rows) == 3
    return [row["bits_per_byte"] for row in rows]


variants = ("GAU", "GAU, softmax", "GAU, 4 heads", "Transformer++")
seeds = {variant: three_seeds(variant) for variant in variants}
for variant, bits in seeds.items():
    print(f"{variant:14} {np.mean(bits):.2f} bits per byte, three seeds from {min(bits):.2f} to {max(bits):.2f}")
assert max(seeds["GAU"]) < min(seeds["GAU, softmax"])  # relu² is ahead at every seed
assert max(seeds["GAU"]) > min(seeds["Transformer++"])  # but GAU and Transformer++ overlap

# %% [markdown]
# In the GAU relu² is ahead of softmax by more than the seeds differ, whereas GAU and Transformer++ overlap after so short a training.
#
# **What is a guess** is why. It may be that exact zeros make attention sparse, that it helps to be able to read nothing, or that the gate
# takes over what the normaliser did. Neither the paper nor this course shows a cause.
#
# ## 9. Two orders that matter
#
# **First: mask, bias, relu².** Multiplying by the mask is allowed in some places, and in one it is a fault. Try four orders, with relu² and
# with exp, which unlike relu² is not 0 at 0. How much weight falls on later tokens?

# %% tags=["nbval-check-output"]
scores_TT, b_TT, sees_TT = rng.normal(size=(T, T)), rng.normal(size=(T, T)), np.tri(T)
orders = {
    "bias, f, mask": lambda f: f(scores_TT + b_TT) * sees_TT,
    "bias, mask, f": lambda f: f((scores_TT + b_TT) * sees_TT),
    "bias, minus infinity, f": lambda f: f(np.where(sees_TT == 1, scores_TT + b_TT, -np.inf)),
    "mask, bias, f": lambda f: f(scores_TT * sees_TT + b_TT),
}
for name, order in orders.items():
    late = {f.__name__: np.triu(order(f), 1).sum() for f in (relu2, np.exp)}
    print(f"{name:24} weight on later tokens: " + ", ".join(f"{f} {w:.0f}" for f, w in late.items()))
late = reference.relu2_attention(scores_TT, np.eye(T), np.eye(T), 1, sees_TT, b_TT)  # identities: A comes out
assert np.triu(late, 1).sum() == 0  # the package

# %% [markdown]
# The mask before the bias is the fault: a masked place then holds relu²(bias), and the future is read. A mask between bias and relu²
# works only because relu²(0) is 0. The paper's Code 6 masks last, which is safe for every function, and so do we.
#
# **Second: where does 1/n go?** Here the paper has two versions. Equation 5 as printed has no division at all, `relu²(q kᵀ + b)`, while Code 6
# divides inside the square, with the bias outside the division, `relu²(q kᵀ / n + b)`. A critic (Su, 2022) would divide outside the
# square. Run all three without bias, beside a softmax, on the same 64 tokens written 1, 4 and 16 times: what is the sum of a row?

# %% tags=["nbval-check-output"]
versions = {
    "equation 5: relu²(s)": lambda s, n: relu2(s),
    "softmax(s / √S)": lambda s, n: softmax(s / 8),
    "1/n outside: relu²(s / √S) / n": lambda s, n: relu2(s / 8) / n,
    "Code 6: relu²(s / n)": lambda s, n: relu2(s / n),
}
q, k = np.random.default_rng(2).normal(size=(2, 64, 64))  # S = 64, so √S = 8
lengths, sums = (64, 256, 1024), {}
for name, f in versions.items():
    sums[name] = [f(np.tile(q @ k.T, (n // 64, n // 64)), n).sum(1).mean() for n in lengths]
    print(f"{name:32} four times the length: row sum x {sums[name][1] / sums[name][0]:.2f}")
title = "With 1/n inside the square, attention fades as the text grows"
figures.show(*figures.map_readings(lengths, sums, title=title))

# %% [markdown]
# In Code 6 a weight falls with 1/n² and a row has n of them, so without a bias the row sum falls with 1/n. The bias is not divided, so the longer
# the text, the more it outweighs the scores. **This project takes** Code 6, the fuller listing; `length_scale=1` gives equation 5. Whether n is the
# current length or a fixed number is one more choice, and lecture 03 shows what the first one breaks.
#
# ## 10. The whole unit, held against the package
#
# Now all parts together: project, make two copies of the base, rotate them, weigh, gate. The package has the unit twice, in NumPy
# (`flash_tutorial.reference`) and as `GAU` in PyTorch, which lecture 03 builds, and yours should agree with both. Its parameters are drawn
# about as large as 1, because fresh ones are so small that a test would see no fault.


# %% tags=["nbval-check-output"]
from flash_tutorial.properties import draw_order_one


def gau(x_TD, p, causal, n):
    def mix(z_TS, v_TE):
        b_TT = toeplitz(p["bias_weights"], len(z_TS))
        return relu2_matrix(*queries_and_keys(z_TS, p), b_TT, n, causal) @ v_TE

    return unit(x_TD, p, mix)


p["bias_weights"] = draw(size=2 * T - 1)
for causal in (True, False):
    mine = gau(x_TD, p, causal, n=T)
    agree(mine, reference.gau(x_TD, p, causal=causal))
    agree(gau(x_TD, p, causal, n=1), reference.gau(x_TD, p, causal=causal, length_scale=1))  # equation 5
    torch_unit = GAU(D, qk_dim=S, causal=causal, bias="toeplitz", bias_length=T, length_scale=T).double()
    draw_order_one(torch_unit, torch.Generator().manual_seed(1))
    with torch.no_grad():
        agree(gau(x_TD, torch_unit.to_numpy(), causal, n=T), torch_unit(torch.from_numpy(x_TD)[None])[0].numpy())
    moved = np.flatnonzero((gau(x_TD + 10 * np.eye(T)[:, 8:9], p, causal, n=T) != mine).any(1)) + 1
    print(f"causal {causal}: token 9 changed, outputs {moved[0]} to {moved[-1]} move")
print("6 checks passed: NumPy, PyTorch and equation 5, causal or not")

# %% [markdown]
# ## 11. One head, and two units for one block
#
# A head can do what a single attention matrix cannot: attend to one token for the first channels and to another for the rest. How does
# GAU do without? The paper's abstract says that its unit allows a weaker, single-head attention with minimal loss of quality. Look
# at one channel e: what token i keeps of token j is `u[i, e] × A[i, j] × v[j, e]`. So each of the E channels has a matrix of its own after all, A
# with its rows scaled by the readers' gates and its columns by the values. A *writer* chooses the channel on which it speaks, a *reader*
# those to which it listens. Back to *banana*, with equal attention to everybody:

# %% tags=["nbval-check-output"]
vowel = np.array([letter == "a" for letter in "banana"])
v_TE = np.stack([vowel, ~vowel], axis=1).astype(int)  # vowels write on channel 1, consonants on channel 2
u_TE = np.stack([~vowel, vowel], axis=1).astype(int)  # and each letter listens to the other kind
A_TT = np.ones((6, 6), int)
read_TE = u_TE * (A_TT @ v_TE)
for e in range(2):  # channel e has a matrix of its own, and its weights are summed over j
    agree(read_TE[:, e], (u_TE[:, e, None] * A_TT * v_TE[None, :, e]).sum(1))
print("token 1, b, reads", read_TE[0], " token 2, a, reads", read_TE[1])

# %% [markdown]
# From one matrix of ones, *b* has counted the vowels and *a* the consonants. But a gate cannot move weight from one token to another, so
# whether it suffices is a question for measurements. In the paper's Table 1 several heads make the GAU *worse* (perplexity 17.76
# against 16.78); in the miniature of section 8 four heads are ahead of one, in mean and at the worst seed. One head was enough at the
# paper's size and training, then, and is no law.
#
# **Now count the weights**, with E = 2 D. A GAU has 3 D E + D S = 6 D² + D S of them: u, v, out, and the base. A block has 4 D² for attention (query,
# key, value, out) and 8 D² for the MLP or the GLU, so two GAUs have as many as one block, plus 2 D S. (The paper writes "expansion 4" for
# Transformer++. Its 110 million parameters fit 8 D / 3 only.)

# %% tags=["nbval-check-output"]
assert np.mean(seeds["GAU, 4 heads"]) < np.mean(seeds["GAU"]) and max(seeds["GAU, 4 heads"]) < max(seeds["GAU"])
D, S, H = 768, 128, 12
with torch.device("meta"):
    block, gau_unit = TransformerBlock(D, heads=H, glu=True, rope=True), GAU(D, qk_dim=S)
print(f"one Transformer++ block: {count_parameters(block):,} parameters")
print(f"two GAUs:                {2 * count_parameters(gau_unit):,} parameters, 2 D S = {2 * D * S:,}")
for F in (8 * D // 3, 4 * D):
    wide = replace(ModelConfig.paper("wiki40b", "transformer++"), ff_dim=F)
    print(f"Transformer++ with a GLU of F = {F}: {millions(wide):.0f}M parameters")

# %% [markdown]
# **Your second guess.** One block with H = 12 heads makes 12 attention matrices, two GAUs make two. Count the multiplications of scores and of
# mixing for each pair of tokens: how many times as many do two GAUs need as one block? (Write 0.17 if you expect a sixth.)

# %%
predict("02.b", None)  # your number in the place of None

# %%
from flash_course.bench.counts import count_multiply_adds

E, T = 2 * D, 4096
of_gau, of_block = 2 * (S + E), 2 * D  # a score costs S, mixing costs E; all 12 heads together cost D and D
dense = {"gau": T * (D * (2 * E + S) + E * D), "block": T * (4 * D * D + 3 * D * block.ff_dim)}
assert 2 * (count_multiply_adds(gau_unit, T) - dense["gau"]) == T * T * of_gau  # the package counts the same
assert count_multiply_adds(block, T) - dense["block"] == T * T * of_block
print(f"multiplications for each pair: two GAUs {of_gau:,}, one block {of_block:,}")
print(f"attention weights at T = {T}: two GAUs {2 * T * T:,}, one block {H * T * T:,}")
reveal("02.b", of_gau / of_block, "times as many multiplications")

# %% [markdown]
# More arithmetic, and a sixth of the attention weights. On the paper's TPUs **FLASH-Quad**, its model of such GAUs with attention over the whole
# text, was still the faster one, and memory traffic is the likely reason. (Fused attention never writes the matrices to memory.)
#
# ## 12. Train it: a line for your scoreboard
#
# The tiny model of lecture 01 again, with the same text, seed, learning rate and updates: D = 64, LayerNorm, four GAUs in place of two
# blocks. Beside it stands the same model with a softmax, all else being equal.

# %%
from flash_tutorial.data import load_corpus
from flash_tutorial.training import TrainConfig, train

torch.set_num_threads(1)
corpus = load_corpus("austen")
scored = 100_000 if torch.cuda.is_available() else 20_000  # bytes of held-out text
settings = TrainConfig(steps=300, batch=16, length=64, learning_rate=3e-3, warmup=20, eval_bytes=scored)
tiny = ModelConfig("flash_quad", dim=64, depth=4, qk_dim=32, max_length=64, norm="layer")
runs = {
    "GAU, relu^2": train(tiny, settings, corpus=corpus, progress=False),
    "GAU, softmax": train(replace(tiny, attention="softmax"), settings, corpus=corpus, progress=False),
}
curves = {name: [row["bits_per_byte"] for row in run.log] for name, run in runs.items()}
figures.show(*figures.loss_curves(curves, title="The same unit, two functions: relu² starts slower and ends lower"))

# %% tags=["nbval-check-output"]
compare_with_stored("02", runs)  # made once by benchmarks/scoreboard.py, with the same seed and settings
bits = {name: run.evaluation.bits_per_byte for name, run in runs.items()}
early = {name: np.mean(curve[50:90]) for name, curve in curves.items()}
assert early["GAU, relu^2"] > early["GAU, softmax"] and bits["GAU, softmax"] - bits["GAU, relu^2"] > 0.05

# %% tags=["timing"]
from flash_course.bench.counts import count_state_numbers

for name, run in runs.items():
    seconds = np.diff([row["seconds"] for row in run.log])
    learner.score(
        "02", name, bits_per_byte=bits[name], step_ms=1000 * float(np.median(seconds)),
        state_numbers=count_state_numbers(run.model, settings.length),
    )  # fmt: skip
    print(f"{name:13} {bits[name]:.2f} bits per byte")
tour = load_stored("scoreboard")["runs"]["00 transformer++"]["bits_per_byte"]
print(f"Transformer++ {tour:.2f} bits per byte, stored: the tour's, same text and updates")

# %% [markdown]
# One seed adds little to the three of section 8, but this model can be looked into. Here is the attention matrix of the first unit of
# each, at work on the same bytes of held-out text.

# %%
from flash_tutorial.layers import cos_sin

letters = corpus.validation.tokens[1000:1026].tobytes().decode()


@torch.no_grad()
def matrices_of(model, text, content=1.0):
    """The attention matrix of each unit, (T, T); content=0 leaves the scores out, so that the bias alone is left."""
    x, found = model.embedding(torch.tensor([list(text.encode())])), []
    x = x + model.stack.positions(x)
    for unit in model.stack.units:
        q, k = unit.read_heads(unit.project(x)[2], *cos_sin(len(text), unit.qk_dim, x)).double().numpy()[:, 0]
        b_TT = unit.bias(len(text)).double().numpy()
        if unit.attention == "relu2":
            found.append(relu2_matrix(content * q, k, b_TT, unit.length_scale, causal=True))
        else:
            s_TT = q @ k.T / math.sqrt(unit.qk_dim) + b_TT
            found.append(softmax(np.where(np.tri(len(text)) == 1, s_TT, -np.inf)))
        x = unit(x)
    return found


found = {name: matrices_of(run.model.cpu(), letters) for name, run in runs.items()}
title = "relu² leaves exact zeros (grey, dotted) where it may read; softmax leaves none"
figures.show(*figures.attention_maps({name: each[0] for name, each in found.items()}, letters, title=title))
allowed = np.tri(len(letters), dtype=bool)
for name, each in found.items():
    print(f"{name:13} exact zeros in each unit:", ", ".join(f"{(A[allowed] == 0).mean():.0%}" for A in each))
assert all((A[allowed] == 0).any() for A in found["GAU, relu^2"])
assert all((A[allowed] > 0).all() for A in found["GAU, softmax"])
bias_only = matrices_of(runs["GAU, relu^2"].model, letters, content=0)
moved = [np.linalg.norm(A - B) / np.linalg.norm(A) for A, B in zip(found["GAU, relu^2"], bias_only)]
print("relu² without scores, the matrix changes by:", ", ".join(f"{m:.1%}" for m in moved))
assert max(moved) < 0.5

# %% [markdown]
# A surprise: the relu² matrices are mostly bias. Each row looks like the one above it, moved by one place, so after 300 updates this model
# reads mainly by distance and little by content. A likely reason stands in section 9: scores are divided by n, and the bias is not. The lead
# over the softmax may then come from a bias that is learnt faster, which this run cannot tell.
#
# ## 13. What you take along
#
# Fill in the last column yourself; "not shown" is a good answer. `learner.verdict("02 relu2", "...")` stores a verdict.
#
# | claim | your evidence | your verdict |
# | --- | --- | --- |
# | GLU and plain attention are special cases of GAU | section 4: A the identity, and U = 1 | |
# | relu² is better than softmax in this unit | section 8: the paper's tables, and three seeds of a tiny model | |
# | relu² is better because it is sparse | section 12: zeros are there; a cause was not tested | |
# | One head is enough in a GAU | section 11: the paper's Table 1 for it, three tiny seeds against it | |
# | GAU is faster because it needs less arithmetic | section 11: more arithmetic, fewer attention weights | |
#
# **Three takeaways**
# 1. GAU is a GLU whose values are mixed by attention, and the gate of the *reading* token comes last.
# 2. A = relu²(q kᵀ / n + b) has one head and no normaliser, and a token may read nothing at all. Mask last.
# 3. Weights are not probabilities, so the divisor n is part of the model.
#
# **Exercises** [Problem set 02](../exercises/02_gated_attention_unit.ipynb), six tasks, from relu² and its slope to a port of the GAU with three faults that you find.
#
# **Next** [Lecture 03](03_gau_in_torch.ipynb) builds the same unit in PyTorch: its initialisation, its gradient, its numbers in half precision.
# It also shows what breaks if n is the current length.
