# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Problem set 04: linear attention
#
# [Lecture 04](../notebooks/04_linear_attention.ipynb) · [the lecture without results](../notebooks/work/04_work_linear_attention.ipynb) · [glossary](../docs/glossary.md)
#
# Seven exercises, 100 points, about two and a half hours. The four marked *core* are 60 points in an hour and a quarter.
# They belong to lecture 04, and none of them needs a GPU.
#
# On Colab, first choose *File > Save a copy in Drive*: a notebook that was opened from a link is not saved.
#
# Write your code where it says `raise NotImplementedError`. The cell below each exercise checks it, and says where it differs. When you
# are stuck, `hint("04.1")` gives the first of three hints; call it again for the next one. `progress("04")` shows your points.
#
# `check` and grading call your functions by name, with the arguments that the text names, so keep both. Grading draws numbers and
# sizes of its own, and where you *mend* or *prove*, it also tries cases that `check` does not show.
# What a function is given belongs to its caller. Unless the text says otherwise, changing it counts as wrong, so work on a copy.
#
# In this set tokens, sequences and positions in a chunk are counted from 0, and all arrays are NumPy arrays of float64.

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
import numpy as np

from flash_course import check, hint, personal, progress

STUDENT = "me"  # your name or number; the numbers of 04.4 are drawn from it

# %% [markdown]
# ## 04.1 build: `reordered`
#
# **10 points** · difficulty 1/5 · importance 4/5 · 10 minutes · core
#
# In linear attention without a mask, output i is the sum over *all* tokens j of (q_i · k_j) v_j. There is no softmax, no scale and no mean.
#
# The formula names all pairs of tokens, but your function may not compute them. At T = 20,000 an attention matrix takes 3.2 GB,
# while yours may take 100 MB there, and 10 MB at T = 2,000. It may also use at most three times the 2 T S E multiplications
# that lecture 04 counts. Here and in 04.3 and 04.7 they are counted on the arrays that you are given, and on tensors made of them.
#
# You may use `numpy`.
#
# <details><summary>I get no error, but the check takes very long</summary>
#
# Do you loop over pairs of tokens, or give `np.einsum` three arrays at once? Both multiply T × T times.
# `einsum` moves the brackets only if you write `optimize=True`, and then for the fewest operations at your sizes.
#
# </details>


# %%
def reordered(q, k, v):
    """Linear attention without a mask, at a cost that grows like T.

    q, k: arrays (T, S). v: array (T, E).
    Returns an array (T, E).
    """
    # BEGIN SOLUTION
    state_SE = k.T @ v
    return q @ state_SE
    # END SOLUTION


# %%
check("04.1", reordered)

# %% [markdown]
# ## 04.2 build: `recurrent`
#
# **15 points** · difficulty 2/5 · importance 5/5 · 20 minutes · core
#
# Now the causal form, token by token, for a batch of B sequences at once. Output i of a sequence is the sum over tokens j ≤ i of
# (q_i · k_j) v_j, so a token sees itself, and nothing is divided.
#
# Each sequence has a state of its own. Return the last states as well, so that a caller can go on later:
# a second call with `state` gives the same outputs as one call with both pieces of the sequence.
# The caller may use one state several times, so leave the array that you are given as it is.
#
# A call may hold no token at all (T = 0). Then the outputs have the shape (B, 0, E), and the state comes back as it was: zeros where
# none was given.
#
# A token reads the state and not the tokens before it (2 points). So no array may hold a number for each pair of tokens: with T = 4,000,
# S = 3 and E = 5 you may take 20 MB, and a T × T attention matrix would take 128. And you may multiply T² (S + E) / 4 times, a quarter as
# often as with that matrix.
#
# You may use `numpy`.
#
# <details><summary>I get "need at least one array to stack"</summary>
#
# With T = 0 your list of outputs is empty. Make the array of outputs first, and fill it.
#
# </details>


# %%
def recurrent(q, k, v, state=None):
    """Causal linear attention, token by token.

    q, k: arrays (B, T, S). v: array (B, T, E). T may be 0.
    state: array (B, S, E), what the tokens before left behind; None where there are none.
    Returns (outputs, state): arrays (B, T, E) and (B, S, E).
    """
    # BEGIN SOLUTION
    B, T, S = q.shape
    out = np.zeros(v.shape)
    if state is None:
        state = np.zeros((B, S, v.shape[2]))
    for t in range(T):
        state = state + k[:, t, :, None] * v[:, t, None, :]
        out[:, t] = np.einsum("bs,bse->be", q[:, t], state)
    return out, state
    # END SOLUTION


# %%
check("04.2", recurrent)

# %% [markdown]
# ## 04.3 build: `chunked_exact`
#
# **20 points** · difficulty 3/5 · importance 5/5 · 30 minutes · core
#
# Compute the same outputs as in 04.2, without a given state, for every T and every C. C need not divide T, and it may be larger than T.
# This time one step is made for each chunk of C tokens, so there may be a loop over chunks, but none over tokens.
#
# A step reads the state and its own chunk, and none of the tokens before it again, which is what makes the time linear in T.
# The check looks at three costs, each at sizes of its own, and counts calls and multiplications on the arrays that you are given,
# and on tensors made of them:
#
# - where T is four times C, you may call NumPy once for every two tokens, 200 times with T = 400 and C = 100 (a token-by-token loop needs
#   more than 400 calls). With small chunks nobody counts your calls;
# - with C near 64 you may take 5 MB for every 1,000 tokens. At T = 2,000, S = 24, E = 40 a T × T attention matrix takes more, and so do T states.
#   At T = 20,000 the arrays are narrower, with S = 3 and E = 5;
# - with T = 2,000 and C = 10 you may multiply 6 T (C (S + E) + 2 S E) times.
#
# You may use `numpy`.
#
# <details><summary>My result is right for the first chunk only</summary>
#
# Print the state that enters chunk 1. It should be the sum of k_j v_jᵀ over the C tokens of chunk 0.
# Then look at the order: a chunk reads the state before the chunk itself is written to it.
#
# </details>


# %%
def chunked_exact(q, k, v, C):
    """Causal linear attention, chunk by chunk: the outputs of 04.2.

    q, k: arrays (B, T, S). v: array (B, T, E), T >= 1. C: tokens in a chunk, at least 1.
    Returns an array (B, T, E).
    """
    # BEGIN SOLUTION
    B, T, S = q.shape
    out = np.zeros(v.shape)
    state = np.zeros((B, S, v.shape[2]))
    for first in range(0, T, C):
        own = slice(first, min(first + C, T))
        q_c, k_c, v_c = q[:, own], k[:, own], v[:, own]
        inside = np.tril(q_c @ k_c.swapaxes(1, 2))
        out[:, own] = q_c @ state + inside @ v_c
        state = state + k_c.swapaxes(1, 2) @ v_c
    return out
    # END SOLUTION


# %%
check("04.3", chunked_exact)

# %% [markdown]
# ## 04.4 predict: fewer operations, more traffic
#
# **15 points** · difficulty 3/5 · importance 5/5 · 15 minutes · core
#
# The next cell prints your numbers: one sequence of T tokens, the widths S and E, and chunks of C tokens. Answer by formulas, with pencil
# and paper.
#
# - `a`: the form of 04.2 runs forward. How many updates of the state have to be made one after the other?
# - `b`: how many are there in the form of 04.3? The last chunk writes to the state as well.
# - `c`: an implementation keeps the state after *every* token for the backward pass. How many entries is that?
# - `d`: an attention matrix has T × T entries. At which T are these as many entries as all T states have,
#   kept as in `c`?
# - `e`: at which length T do both orders need the same number of multiplications? In the one, all T × T pairs of the attention matrix
#   count, with S + E multiplications each; in the other, the state is built and read. Round to a whole number.
# - `f`: take your own T, and compare keeping all states with keeping the attention matrix. Of operations and memory, one is smaller with
#   the states and the other is larger. Which is smaller, `"operations"` or `"memory"`? Operations are multiplications; memory is entries kept.
#
# <details><summary>What are d and e counted in?</summary>
#
# Both are numbers of tokens. Set the two costs equal, both as formulas in T, S and E, and solve for T.
#
# </details>

# %%
print(personal("04.4", STUDENT))

# %%
# BEGIN SOLUTION
# STUB answer_04_4 = dict(a=None, b=None, c=None, d=None, e=None, f=None)
_n = personal("04.4", STUDENT)
_T, _S, _E, _C = (_n[name] for name in "TSEC")
answer_04_4 = dict(a=_T, b=-(-_T // _C), c=_T * _S * _E, d=_S * _E, e=round(2 * _S * _E / (_S + _E)), f="operations")
# END SOLUTION
check("04.4", answer_04_4, student=STUDENT)

# %% [markdown]
# ## 04.5 build: `linear_backward`
#
# **20 points** · difficulty 4/5 · importance 3/5 · 35 minutes
#
# Write the backward pass of 04.2 by hand, for one sequence. The forward pass is out_i = sum over j ≤ i of (q_i · k_j) v_j.
# `d_out[i]` is the gradient of some loss with respect to output i. Return the gradients of the loss with respect to q, k and v.
#
# Keep one state at a time, not T of them, and make no T × T matrix.
# With S = 24 and E = 40 you may take 5 MB at T = 1,000, where T states would take 7.7 MB. At T = 2,000 you may multiply T² (S + E) / 4
# times, and two states need a seventh of that.
#
# You may use `numpy`; write the gradients by hand, without automatic ones.
#
# <details><summary>My dq is right, dk and dv are not</summary>
#
# Ask who uses k_j: the outputs i ≥ j. So its gradient is collected from the other end of the sequence.
# To find out where a fault is, compare with finite differences: move one entry of k, and see how the sum of out × d_out moves.
#
# </details>


# %%
def linear_backward(q, k, v, d_out):
    """Gradients of causal linear attention.

    q, k: arrays (T, S). v, d_out: arrays (T, E), T >= 1.
    Returns (dq, dk, dv): arrays (T, S), (T, S) and (T, E).
    """
    # BEGIN SOLUTION
    T = len(q)
    dq, dk, dv = np.zeros(q.shape), np.zeros(k.shape), np.zeros(v.shape)
    written = np.zeros((q.shape[1], v.shape[1]))  # what q_t read, from the left
    for t in range(T):
        written += np.outer(k[t], v[t])
        dq[t] = written @ d_out[t]
    asked = np.zeros_like(written)  # what the readers of token t bring back, from the right
    for t in reversed(range(T)):
        asked += np.outer(q[t], d_out[t])
        dk[t] = asked @ v[t]
        dv[t] = k[t] @ asked
    return dq, dk, dv
    # END SOLUTION


# %%
check("04.5", linear_backward)

# %% [markdown]
# ## 04.6 mend: a stream server
#
# **10 points** · difficulty 2/5 · importance 4/5 · 15 minutes
#
# A server answers requests with causal linear attention, S = 4 and E = 3. Its users complain that an answer depends on who asked before.
# In each of the two functions an array is changed that somebody else holds too. Find both places and mend them.
#
# - `answer_one` answers one request: q and k (T, 4), v (T, 3). It returns the outputs (T, 3) and the last state (4, 3).
#   With `state_SE` a request goes on from an earlier one. That state belongs to the caller, who may go on from it twice, so do not write
#   into it. Without it the request starts from zero.
# - `answer_batch` answers B requests at once: q and k (B, T, 4), v (B, T, 3). It returns the outputs (B, T, 3).
#   Each request starts from zero, and none depends on another one.
#
# The names and the order of the arguments stay as they are. You may use `numpy`.
#
# <details><summary>I get the right answer at the first call, and a different one at the second</summary>
#
# Python makes the value of a default argument once, when it reads the `def` line, and all calls share it.
# Print `answer_one.__defaults__` before and after a call. And who else holds the array that `+=` writes into?
#
# </details>


# %%
ZEROS = np.zeros((4, 3))  # where a request begins


# BEGIN SOLUTION
# STUB def answer_one(q_TS, k_TS, v_TE, state_SE=ZEROS):
# STUB     out_TE = np.zeros(v_TE.shape)
# STUB     for t in range(len(q_TS)):
# STUB         state_SE += np.outer(k_TS[t], v_TE[t])
# STUB         out_TE[t] = q_TS[t] @ state_SE
# STUB     return out_TE, state_SE
def answer_one(q_TS, k_TS, v_TE, state_SE=ZEROS):
    out_TE = np.zeros(v_TE.shape)
    for t in range(len(q_TS)):
        state_SE = state_SE + np.outer(k_TS[t], v_TE[t])  # a new array: ZEROS and the caller's state stay as they are
        out_TE[t] = q_TS[t] @ state_SE
    return out_TE, state_SE


# END SOLUTION


def answer_batch(q_BTS, k_BTS, v_BTE):
    out_BTE = np.zeros(v_BTE.shape)
    # BEGIN SOLUTION
    # STUB states = [ZEROS.copy()] * len(q_BTS)
    states = [ZEROS.copy() for _ in q_BTS]  # one for each request
    # END SOLUTION
    for b in range(len(q_BTS)):
        for t in range(q_BTS.shape[1]):
            states[b] += np.outer(k_BTS[b, t], v_BTE[b, t])
            out_BTE[b, t] = q_BTS[b, t] @ states[b]
    return out_BTE


# %%
check("04.6", answer_one, answer_batch)

# %% [markdown]
# ## 04.7 extend: a memory that fades
#
# **10 points** · difficulty 4/5 · importance 3/5 · 25 minutes
#
# A sum over the whole past never forgets. Here the state fades by a factor, `decay`, at each token:
#
# 1. state = decay · state + k_t v_tᵀ,
# 2. out_t = q_t state.
#
# What a token reads of itself is not diminished, but what token j wrote has faded by decay^(i - j) when token i reads it.
# This is the core of RetNet. (Mamba-2 and gated linear attention let the factor depend on the token.)
#
# Write it in chunks, as in 04.3, with a loop over chunks and none over tokens. What is written fades with every token, inside a chunk and
# across its border. The check looks at the cost as in 04.3: with T = 400 and C = 100 you may call NumPy 200 times, and with C near 64 you
# may take 10 MB at T = 2,000, S = 24, E = 40. Your function must also hold for chunks of 300 tokens and a decay of 0.05,
# where decay^299 is too small for float64.
#
# You may use `numpy`.
#
# <details><summary>I get "nan", or "invalid value encountered"</summary>
#
# 0.05^299 is 0 in float64, and its inverse is infinite. So do not divide one power by another, and do not multiply infinity by a mask of
# zeros. Use the power of the distance i - j where it is at least 0.
#
# </details>


# %%
def decayed(q, k, v, decay, C):
    """Causal linear attention whose state fades, chunk by chunk.

    q, k: arrays (B, T, S). v: array (B, T, E), T >= 1. decay: a number, 0 < decay <= 1. C: tokens in a chunk, at least 1.
    Returns an array (B, T, E).
    """
    # BEGIN SOLUTION
    B, T, S = q.shape
    out = np.zeros(v.shape)
    state = np.zeros((B, S, v.shape[2]))
    for first in range(0, T, C):
        q_c, k_c, v_c = (x[:, first : first + C] for x in (q, k, v))
        position = np.arange(q_c.shape[1])
        distance = np.maximum(position[:, None] - position, 0)
        inside = np.tril(q_c @ k_c.swapaxes(1, 2) * decay**distance)
        out[:, first : first + C] = inside @ v_c + decay ** (position[:, None] + 1) * (q_c @ state)
        k_faded = k_c * decay ** position[::-1, None]
        state = decay ** len(position) * state + k_faded.swapaxes(1, 2) @ v_c
    return out
    # END SOLUTION


# %%
check("04.7", decayed)

# %%
progress("04")
