# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Problem set 01: attention
#
# [Lecture 01](../notebooks/01_attention.ipynb) · [the lecture without results](../notebooks/work/01_work_attention.ipynb) · [glossary](../docs/glossary.md)
#
# Six exercises, 100 points, about two hours. The four marked *core* are 65 points in an hour and a quarter.
# They belong to lecture 01, and none of them needs a GPU.
#
# On Colab, first choose *File > Save a copy in Drive*: a notebook that was opened from a link is not saved.
#
# Write your code where it says `raise NotImplementedError`. The cell below each exercise checks it, and says where it differs. When you
# are stuck, `hint("01.1")` gives the first of three hints; call it again for the next one. `progress("01")` shows your points.
#
# `check` and grading call your functions by name, with the arguments that the text names, so keep both. Grading draws numbers and
# sizes of its own, and where you *mend* or *prove*, it also tries cases that `check` does not show.
# What a function is given belongs to its caller. Unless the text says otherwise, changing it counts as wrong, so work on a copy.
#
# Tokens are counted from 0 here, as the rows of an array are, and all numbers are float64.

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

from flash_course import check, hint, personal, progress

STUDENT = "me"  # your name or number; the numbers of 01.4 are drawn from it

# %% [markdown]
# ## 01.1 build: `causal_softmax`
#
# **10 points** · difficulty 1/5 · importance 4/5 · 10 minutes · core
#
# You get the scores of one sequence: row i holds the scores of query i with all keys, already divided by √S. Return the attention
# matrix, in which each row is a softmax over tokens 0 to i, token i included, while all later tokens get the weight 0.
#
# Scores may be as large as 3000 and as small as -3000, those that are seen and those that are hidden, and your weights must be right
# there too.
#
# You may use `math` and `numpy`.
#
# <details><summary>I get NaN in a row of large scores</summary>
#
# NaN comes from inf / inf or from 0 / 0. Print the exps of that row: is one of them inf, or are all of them 0?
#
# </details>


# %%
def causal_softmax(scores_TT):
    """Softmax of each row over the tokens that it sees.

    scores_TT: array (T, T), T >= 1; scores_TT[i, j] is for query i and key j.
    Returns an array (T, T): row i sums to 1 over the columns 0 to i, and is 0 after them.
    """
    # BEGIN SOLUTION
    seen_TT = np.tri(len(scores_TT), dtype=bool)
    scores_TT = np.where(seen_TT, scores_TT, -np.inf)
    exps_TT = np.exp(scores_TT - scores_TT.max(axis=1, keepdims=True))
    return exps_TT / exps_TT.sum(axis=1, keepdims=True)
    # END SOLUTION


# %%
check("01.1", causal_softmax)

# %% [markdown]
# ## 01.2 build: `who_sees`
#
# **20 points** · difficulty 3/5 · importance 5/5 · 25 minutes · core
#
# Lecture 01 finds out who sees whom by changing one token and looking at which outputs move. Its `reads` changes each token only once,
# though, so some functions fool it. Build a better tool; set 05 will ask for such a test again.
#
# You get a function `fn`, which you may call as often as you like. It takes an array (T, D) with the given T and D and returns an
# array (T, E) for some E, and the same input always gives the same output. Your table says True at `[i, j]` if output i depends on
# input token j in any way, and False if it never does.
#
# Some of the functions are hard to see through:
#
# - some channels of a token may not be read, and some channels of an output may not react;
# - a reaction may be as small as a ten-billionth of the change;
# - a function may react to a token only if the entries of that token are large, say of size 10;
# - a function may ask only which channel of a token is the largest;
# - an output may be a product, so that it reacts to one token only if another token is not zero.
#
# None of them changes its input. You may use `numpy`, and your random numbers should come from `rng`.
#
# <details><summary>I get True nearly everywhere</summary>
#
# Is an earlier change still in your input? Start each try from a fresh copy. Or did you put NaN or infinity in? 0 times NaN is NaN, so it moves outputs
# that do not read the token, too: use ordinary numbers.
#
# </details>


# %%
def who_sees(fn, T, D, rng):
    """Which outputs of fn depend on which inputs.

    fn: takes an array (T, D), returns an array (T, E). rng: a numpy Generator.
    Returns an array (T, T) of bool: [i, j] is True where output i depends on input token j.
    """
    # BEGIN SOLUTION
    sees_TT = np.zeros((T, T), dtype=bool)
    for _ in range(20):
        x_TD = rng.normal(size=(T, D))
        before_TE = fn(x_TD)
        for j in range(T):
            changed_TD = x_TD.copy()
            changed_TD[j] += 10 * rng.normal(size=D)
            sees_TT[:, j] |= (fn(changed_TD) != before_TE).any(axis=1)
    return sees_TT
    # END SOLUTION


# %%
check("01.2", who_sees)

# %% [markdown]
# ## 01.3 build: `multi_head`
#
# **20 points** · difficulty 3/5 · importance 4/5 · 25 minutes · core
#
# The lecture loops over heads. Here you compute all heads at once, as real implementations do. (The check compares numbers only, so it
# accepts a loop.)
#
# - Queries, keys and values are `x_TD` times `W_q`, `W_k` and `W_v`.
# - Head h has the channels h d to (h + 1) d - 1 of each of them, with d = D / H.
# - Each head has an attention matrix of its own, a softmax of its scores divided by √d.
# - If `causal` is true, token i sees tokens 0 to i; if it is false, each token sees all of them.
# - The outputs of the heads stand side by side, in the same channels, and the whole is multiplied by `W_o`.
#
# There are no biases. You may use `math`, `numpy`, and anything of your own.
#
# <details><summary>I get "matmul: Input operand 1 has a mismatch"</summary>
#
# For the scores, the last two axes of the keys must be swapped, so that (H, T, d) becomes (H, d, T). `.T` reverses all three axes.
#
# </details>


# %%
def multi_head(x_TD, weights, heads, causal):
    """Softmax attention in heads, of one sequence.

    x_TD: array (T, D). weights: dictionary with the arrays "W_q", "W_k", "W_v", "W_o", each (D, D).
    heads: H, which divides D. causal: True or False.
    Returns an array (T, D).
    """
    # BEGIN SOLUTION
    T, D = x_TD.shape
    d = D // heads
    q_HTd, k_HTd, v_HTd = (
        (x_TD @ weights[name]).reshape(T, heads, d).transpose(1, 0, 2) for name in ("W_q", "W_k", "W_v")
    )
    scores_HTT = q_HTd @ k_HTd.transpose(0, 2, 1) / math.sqrt(d)
    if causal:
        scores_HTT = np.where(np.tri(T, dtype=bool), scores_HTT, -np.inf)
    A_HTT = np.exp(scores_HTT - scores_HTT.max(axis=2, keepdims=True))
    A_HTT /= A_HTT.sum(axis=2, keepdims=True)
    return (A_HTT @ v_HTd).transpose(1, 0, 2).reshape(T, D) @ weights["W_o"]
    # END SOLUTION


# %%
check("01.3", multi_head)

# %% [markdown]
# ## 01.4 predict: what attention costs
#
# **15 points** · difficulty 2/5 · importance 4/5 · 15 minutes · core
#
# The next cell prints your numbers: T tokens, width D, H heads, and a batch of B sequences of T tokens each. Write down a formula
# for each letter before you compute anything. The question is about one attention layer without a mask, so all T × T pairs are computed, and all heads together have the width D.
#
# - `a`: how many multiply-adds do the two products take, queries times keys and attention weights times values, for *one* sequence?
# - `b`: how many bytes do the attention matrices of *all* B sequences take, in float16?
# - `c`: with your D, at which T does `a` equal the multiply-adds of the rest of a Transformer block, for the same T tokens?
#   The rest is four D × D matrices, and an MLP from D to 4D and back.
# - `d`: by what factor does `a` grow if H doubles while D stays the same?
#
# `a` and `b` are large numbers, so let Python multiply, as in `a=3 * 1200 * 1200`. Half a percent more or less still counts as right.
#
# <details><summary>The lecture counts half as many pairs</summary>
#
# It counts causal pairs, of which there are T (T + 1) / 2. Here every token reads every token.
#
# </details>

# %%
print(personal("01.4", STUDENT))

# %%
# BEGIN SOLUTION
# STUB answer_01_4 = dict(a=None, b=None, c=None, d=None)
_n = personal("01.4", STUDENT)
answer_01_4 = dict(a=2 * _n["T"] ** 2 * _n["D"], b=2 * _n["B"] * _n["H"] * _n["T"] ** 2, c=6 * _n["D"], d=1)
# END SOLUTION
check("01.4", answer_01_4, student=STUDENT)

# %% [markdown]
# ## 01.5 mend: `rope`
#
# **15 points** · difficulty 3/5 · importance 3/5 · 20 minutes
#
# This RoPE should do what the lecture's does, except that it is told the positions of its tokens by an array.
# Channel k is paired with channel k + S/2, and the pair is rotated by the angle position × 10000^(-k / (S/2)).
# For a pair (x1, x2) that means y1 = x1 cos - x2 sin and y2 = x2 cos + x1 sin.
# Positions are whole numbers of any size and in any order, and they may be negative.
#
# The code has two faults. One is in the *pairing*, that is, in which angle meets which channel; the other is in the *precision* of the
# angles. Mend both (7 points each). Angles, sines and cosines must be float64.
#
# One more point is for two words. The lecture tests two properties of RoPE:
#
# - `"norm"`: a rotation keeps the length of each row;
# - `"distance"`: if all queries are equal and all keys are equal, a score depends only on the difference of their positions.
#
# Now suppose that one fault is mended and the other is left. Which property fails? Write `"norm"`, `"distance"` or `"both"`:
# under `pairing` for the case in which the pairing fault is left, under `precision` for the case in which the precision fault is left.
# To find out, take S = 4 or more and positions between 0 and 10,000. (float16 ends at 65,504, and beyond it the given code returns NaN.)
#
# You may use `math` and `numpy`.
#
# <details><summary>Both properties hold, and my answer is called wrong</summary>
#
# Many rotations have both properties. Compare your numbers with the formula above, for S = 4 and position 1.
#
# </details>


# %%
def rope(x_TS, positions):
    """Rotate the channel pairs (k, k + S/2) of each token by its position times their frequency.

    x_TS: array (T, S), S even. positions: whole numbers (T,), of any size and order.
    Returns an array (T, S).
    """
    half = x_TS.shape[1] // 2
    frequency = 10000.0 ** (-np.arange(half) / half)
    # BEGIN SOLUTION
    # STUB angle = np.multiply.outer(positions, frequency).astype(np.float16)
    # STUB angle_TS = np.repeat(angle, 2, axis=1)
    angle = np.multiply.outer(positions, frequency)
    angle_TS = np.concatenate([angle, angle], axis=1)
    # END SOLUTION
    turned_TS = np.concatenate([-x_TS[:, half:], x_TS[:, :half]], axis=1)
    return x_TS * np.cos(angle_TS, dtype=np.float64) + turned_TS * np.sin(angle_TS, dtype=np.float64)


# BEGIN SOLUTION
# STUB shown_01_5 = dict(pairing=None, precision=None)
shown_01_5 = dict(pairing="both", precision="distance")
# END SOLUTION

# %%
check("01.5", rope, shown_01_5)

# %% [markdown]
# ## 01.6 extend: `window_attention`
#
# **20 points** · difficulty 3/5 · importance 3/5 · 25 minutes
#
# A cheap way to read long sequences is to look back only a little: token i reads the last `window` tokens, itself included, so that a
# window of 3 is tokens i - 2, i - 1 and i. The first tokens have fewer to read. Otherwise this is softmax attention with one head, its
# scores divided by √S.
#
# A mask on the full attention matrix would give the right numbers and save nothing, so your memory and your multiplications must grow
# like T × window. The check runs a sequence of some 1024 tokens with a window of 3 to 5, and allows 1 MB at one time. One full attention
# matrix alone takes 8 MB there, and even a T × T table of True and False takes more than 1 MB. At T = 8192 the matrix takes 537 MB.
# It allows T² (S + E) / 4 multiplications, a quarter of what the full matrix takes, and you need less than a hundredth.
#
# The window may be longer than the sequence. You may use `math` and `numpy`, and a loop over tokens is allowed here.
#
# <details><summary>I get "index ... is out of bounds"</summary>
#
# Before the first token there is nothing to read. A negative index counts from the end of the array, until it leaves the array there too.
#
# </details>


# %%
def window_attention(q_TS, k_TS, v_TE, window):
    """Causal softmax attention in which token i reads tokens i - window + 1 to i, as far as they exist.

    q_TS, k_TS: arrays (T, S). v_TE: array (T, E). window: at least 1.
    Returns an array (T, E).
    """
    # BEGIN SOLUTION
    T, S = q_TS.shape
    window = min(window, T)
    position_TW = np.arange(T)[:, None] + np.arange(1 - window, 1)
    scores_TW = np.einsum("ts,tws->tw", q_TS, k_TS[position_TW]) / math.sqrt(S)
    scores_TW = np.where(position_TW >= 0, scores_TW, -np.inf)
    weights_TW = np.exp(scores_TW - scores_TW.max(axis=1, keepdims=True))
    weights_TW /= weights_TW.sum(axis=1, keepdims=True)
    return np.einsum("tw,twe->te", weights_TW, v_TE[position_TW])
    # END SOLUTION


# %%
check("01.6", window_attention)

# %%
progress("01")
