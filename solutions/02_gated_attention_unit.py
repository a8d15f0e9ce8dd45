# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Problem set 02: the gated attention unit
#
# [Lecture 02](../notebooks/02_gated_attention_unit.ipynb) · [the lecture without results](../notebooks/work/02_work_gated_attention_unit.ipynb) · [glossary](../docs/glossary.md)
#
# Six exercises, 100 points, about two hours. The four marked *core* are 65 points in an hour and twenty minutes.
# They belong to lecture 02, and none of them needs a GPU.
#
# On Colab, first choose *File > Save a copy in Drive*: a notebook that was opened from a link is not saved.
#
# Write your code where it says `raise NotImplementedError`. The cell below each exercise checks it, and says where it differs. When you
# are stuck, `hint("02.1")` gives the first of three hints; call it again for the next one. `progress("02")` shows your points.
#
# `check` and grading call your functions by name, with the arguments that the text names, so keep both. Grading draws numbers and
# sizes of its own, and where you *mend* or *prove*, it also tries cases that `check` does not show.
# What a function is given belongs to its caller. Unless the text says otherwise, changing it counts as wrong, so work on a copy.
#
# The letters are those of the lecture: T tokens, D model width, E expanded width, S query and key width.

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

STUDENT = "me"  # your name or number; the numbers of 02.4 are drawn from it

# %% [markdown]
# ## 02.1 build: `relu2` and its slope
#
# **10 points** · difficulty 1/5 · importance 3/5 · 10 minutes · core
#
# The attention weights of the unit are made by relu², and the name means first relu, then the square.
# Write the function and its slope, that is, its derivative, which you will need again when you write a backward pass.
#
# Both take an array of any shape and return an array of the same shape. At 0 both are 0.
#
# You may use `numpy`.
#
# <details><summary>I get "The truth value of an array with more than one element is ambiguous"</summary>
#
# `if s > 0` asks one question about the whole array. `np.maximum` and `np.where` ask it element by element.
#
# </details>


# %%
def relu2(s):
    """relu², element by element. s: array of any shape. Returns an array of the same shape."""
    # BEGIN SOLUTION
    return np.maximum(s, 0.0) ** 2
    # END SOLUTION


def relu2_slope(s):
    """The slope of relu2 at each element of s. s: array of any shape. Returns an array of the same shape."""
    # BEGIN SOLUTION
    return 2.0 * np.maximum(s, 0.0)
    # END SOLUTION


# %%
check("02.1", relu2, relu2_slope)

# %% [markdown]
# ## 02.2 build: `gated_unit`
#
# **25 points** · difficulty 3/5 · importance 5/5 · 30 minutes · core
#
# A gated unit does not care how its tokens are mixed, so write it around any mixing. It gets a function `mix`: `mix(z_TS, v_TE)` takes
# the base and the values, and returns what each token has read, an array (T, E). Your function calls it and never asks what it does.
# If each token reads only itself, the unit is a GLU; with an attention matrix it is a GAU.
#
# The norm here is LayerNorm, not the lecture's ScaleNorm. For each token, subtract its mean, divide by the square root of
# (variance + 0.00001), multiply by `norm_gain`, and add `norm_offset`. The variance is the mean of the D squared deviations.
#
# Then comes one projection, `in_weight` and `in_bias`, and SiLU on all of it. Cut the result into u, v and z, in this order.
# The unit returns x, as it came, plus the gated reading times `out_weight`, plus `out_bias`.
#
# Where exactly does the gate stand? The check uses mixings under which a gate that stands elsewhere shows.
#
# You may use `numpy`.
#
# <details><summary>I get "operands could not be broadcast together"</summary>
#
# u and v are (T, E), z is (T, S), and E is the number of rows of `out_weight`. Did you cut h into three equal parts?
# Does `mix` get z first and v second?
#
# </details>


# %%
def gated_unit(x_TD, params, mix):
    """A gated unit with any mixing between tokens.

    x_TD: array (T, D).
    params: arrays norm_gain (D,), norm_offset (D,), in_weight (D, 2E + S), in_bias (2E + S,), out_weight (E, D), out_bias (D,).
    mix: function of the base (T, S) and the values (T, E), in this order; returns an array (T, E).
    Returns an array (T, D).
    """
    # BEGIN SOLUTION
    E = len(params["out_weight"])
    centred = x_TD - x_TD.mean(axis=1, keepdims=True)
    normed = centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-5)
    h = (normed * params["norm_gain"] + params["norm_offset"]) @ params["in_weight"] + params["in_bias"]
    u_TE, v_TE, z_TS = np.split(h / (1 + np.exp(-h)), [E, 2 * E], axis=1)
    return x_TD + (u_TE * mix(z_TS, v_TE)) @ params["out_weight"] + params["out_bias"]
    # END SOLUTION


# %%
check("02.2", gated_unit)

# %% [markdown]
# ## 02.3 build: `attention_matrix`
#
# **20 points** · difficulty 3/5 · importance 5/5 · 25 minutes · core
#
# Now the attention matrix itself: your function takes the base z and returns an array (T, T), whose row i holds the weights with which token i
# reads. Do without a loop over tokens. (The check compares numbers only, so it accepts one.)
#
# - Queries and keys are z times a scale plus an offset. Row 0 of `gamma_2S` (the scales) and of `beta_2S` (the offsets) is for queries,
#   row 1 for keys. There are no rotary positions here.
# - The product of query i and key j is divided by `length_scale`. This number is given; it need not be T, nor a whole number.
# - `bias_TT[i, j]` is for query i and key j. Add it, then apply relu².
# - If `causal` is true, `A[i, j]` is 0 for j > i. If it is false, nothing is hidden.
#
# You may use `numpy`, `relu2`, and anything of your own.
#
# <details><summary>My matrix is right without the mask, and wrong with it</summary>
#
# Look at an entry above the diagonal that has a positive bias. What does your matrix hold there?
#
# </details>


# %%
def attention_matrix(z_TS, gamma_2S, beta_2S, bias_TT, length_scale, causal):
    """The relu² attention matrix of a gated attention unit.

    z_TS: array (T, S). gamma_2S, beta_2S: arrays (2, S). bias_TT: array (T, T).
    length_scale: a number above 0. causal: True or False.
    Returns an array (T, T), rows for queries.
    """
    # BEGIN SOLUTION
    q_TS, k_TS = z_TS * gamma_2S[:, None] + beta_2S[:, None]
    A_TT = np.maximum(q_TS @ k_TS.T / length_scale + bias_TT, 0) ** 2
    return np.tril(A_TT) if causal else A_TT
    # END SOLUTION


# %%
check("02.3", attention_matrix)

# %% [markdown]
# ## 02.4 predict: what relu² is not
#
# **10 points** · difficulty 2/5 · importance 4/5 · 15 minutes · core
#
# The next cell prints your numbers: a factor r, and the widths D and S. Answer with a pencil, before you compute anything.
#
# - `a`: all scores of relu² attention are multiplied by r, which is positive, and there is no bias. By what factor is each weight multiplied?
# - `b`: the same positive number is added to all scores of one row, of which at least one was positive before.
#   Whose attention weights change, those of a softmax or those of relu²? Write `"softmax"`, `"relu2"`, `"both"` or `"neither"`.
# - `c`: all scores of row i are negative, their bias included. What does a gated attention unit return for token i?
#   Write `"x"`, `"x + out_bias"`, `"x + mean"` (the unit reads the mean of all values), or `"x + own"` (it reads its own value).
# - `d`: take two gated attention units with E = 2D, and one Transformer block: attention, and an MLP with hidden width 4D.
#   Count the parameters in their matrices, and leave out norms, biases, gamma and beta. How many more do the two units have?
#
# <details><summary>My answer to d is called wrong, and I am sure of the formula</summary>
#
# Give the number for your D and S, not a formula written as text. Python may do the arithmetic.
#
# </details>

# %%
print(personal("02.4", STUDENT))

# %%
# BEGIN SOLUTION
# STUB answer_02_4 = dict(a=None, b=None, c=None, d=None)
_n = personal("02.4", STUDENT)
answer_02_4 = dict(a=_n["r"] ** 2, b="relu2", c="x + out_bias", d=2 * _n["D"] * _n["S"])
# END SOLUTION
check("02.4", answer_02_4, student=STUDENT)

# %% [markdown]
# ## 02.5 mend: a port with three faults
#
# **15 points** · difficulty 3/5 · importance 4/5 · 20 minutes
#
# Below is a gated attention unit that somebody ported from elsewhere. It runs and it trains, and it has three faults. This is what it
# should compute:
#
# - ScaleNorm divides each token by the root of (its mean square + 0.00001) and multiplies it by `norm_gain`. From the normed token come u, v and z, as in 02.2;
# - queries and keys as in 02.3, without rotary positions, and the causal attention matrix of 02.3, with `bias_TT` and `length_scale`;
# - x plus the gated reading times `out_weight`, plus `out_bias`.
#
# Do not start by reading the code. Choose inputs under which *one part acts alone*, because then you know the result without running
# the port:
#
# | you choose | then only this is left | and the result must be |
# | --- | --- | --- |
# | `out_weight = 0` | the residual | x + out_bias |
# | `gamma = beta = 0` | the bias | weights relu²(bias), hidden above the diagonal |
# | `bias_TT = 0` | the product | weights relu²(q kᵀ / length_scale), hidden above the diagonal |
#
# One more experiment shows who reads whom: change the last token, and see which outputs move. Mend the port, but keep its arguments and
# their order. Each fault gives 5 points and is checked apart from the other two.
#
# You may use `numpy`. `try_port` gives you inputs to start with.
#
# <details><summary>The attention matrix is not returned, so how can I see it?</summary>
#
# Compare two outputs that differ in one thing only: with `out_weight`, and with `out_weight = 0`. Or print inside the port.
#
# </details>


# %%
def port(x_TD, params, bias_TT, length_scale):
    """A causal gated attention unit: x (T, D), bias (T, T) -> (T, D)."""
    E = len(params["out_weight"])
    # BEGIN SOLUTION
    # STUB x_TD = x_TD / np.sqrt((x_TD**2).mean(1, keepdims=True) + 1e-5) * params["norm_gain"]
    # STUB h = x_TD @ params["in_weight"] + params["in_bias"]
    normed_TD = x_TD / np.sqrt((x_TD**2).mean(1, keepdims=True) + 1e-5) * params["norm_gain"]
    h = normed_TD @ params["in_weight"] + params["in_bias"]
    # END SOLUTION
    u_TE, v_TE, z_TS = np.split(h / (1 + np.exp(-h)), [E, 2 * E], axis=1)
    q_TS, k_TS = z_TS * params["gamma"][:, None] + params["beta"][:, None]
    # BEGIN SOLUTION
    # STUB scores_TT = np.tril(q_TS @ k_TS.T)
    # STUB A_TT = np.maximum((scores_TT + bias_TT) / length_scale, 0) ** 2
    scores_TT = q_TS @ k_TS.T / length_scale + bias_TT
    A_TT = np.tril(np.maximum(scores_TT, 0) ** 2)
    # END SOLUTION
    return x_TD + (u_TE * (A_TT @ v_TE)) @ params["out_weight"] + params["out_bias"]


# %%
def try_port(T=4, D=3, E=5, S=2, seed=0):
    """Inputs of order one: x, params, bias."""
    normal = np.random.default_rng(seed).normal
    params = {
        "norm_gain": np.array(1.5), "in_weight": normal(size=(D, 2 * E + S)), "in_bias": normal(size=2 * E + S),
        "gamma": normal(size=(2, S)), "beta": normal(size=(2, S)), "out_weight": normal(size=(E, D)),
        "out_bias": normal(size=D),
    }  # fmt: skip
    return normal(size=(T, D)), params, normal(size=(T, T))


x_TD, params, bias_TT = try_port()
print(port(x_TD, params, bias_TT, length_scale=3))  # now let one part act alone

# %%
check("02.5", port)

# %% [markdown]
# ## 02.6 extend: the Laplace function in place of relu²
#
# **20 points** · difficulty 4/5 · importance 3/5 · 25 minutes
#
# A later model, Mega (Ma and others, 2022), also has a gated unit inside. It tries a different function for the attention weights:
#
# f(x) = ½ (1 + erf((x − μ) / (σ √2))), with μ = √(1/2) and σ = √(1 / (4π))
#
# At x = μ it has the value and the slope of relu², but far to the right it comes near 1, where relu² grows without end.
# Write it as `laplace`.
#
# Then write `matrix_with`, which makes the attention matrix with *any* such function. The score is q kᵀ / `length_scale` + bias, as in 02.3;
# then comes f. `sees_TT[i, j]` is True where token i may read token j, which can be a causal mask, a window, or the tokens that are no padding.
# Every other entry is exactly 0, so a token that sees nothing gets a row of zeros.
# The argument `f` takes an array of any shape and acts element by element. Do not hide an entry by a large negative score: some functions
# fall slowly, and only f(-inf) is sure to be 0.
#
# You may use `math`, `numpy`, `torch`. `math.erf` takes one number; `np.vectorize(math.erf)` takes an array.
# Both functions return NumPy arrays in float64.
#
# <details><summary>The check says "they are numbers of float32"</summary>
#
# Torch makes float32 tensors from Python numbers. Start from a NumPy array in float64, with `torch.from_numpy`, and come back with `.numpy()`.
#
# </details>


# %%
def laplace(x):
    """The Laplace function, element by element. x: array of any shape. Returns an array of the same shape."""
    # BEGIN SOLUTION
    mu, sigma = math.sqrt(1 / 2), math.sqrt(1 / (4 * math.pi))
    return 0.5 * (1 + np.vectorize(math.erf)((x - mu) / (sigma * math.sqrt(2))))
    # END SOLUTION


def matrix_with(f, q_TS, k_TS, bias_TT, length_scale, sees_TT):
    """The attention matrix f(q kᵀ / length_scale + bias), with zeros where sees_TT is False.

    f: function of an array, element by element. q_TS, k_TS: arrays (T, S). bias_TT: array (T, T).
    length_scale: a number above 0. sees_TT: array (T, T) of True and False.
    Returns an array (T, T), rows for queries.
    """
    # BEGIN SOLUTION
    return np.where(sees_TT, f(q_TS @ k_TS.T / length_scale + bias_TT), 0.0)
    # END SOLUTION


# %%
check("02.6", laplace, matrix_with)

# %%
progress("02")
