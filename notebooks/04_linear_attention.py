# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 04 Linear attention: a state instead of a matrix
#
# [With results](04_linear_attention.ipynb) · [without, to work in](work/04_linear_attention.ipynb) · [problem set 04](../exercises/04_linear_attention.ipynb) · [glossary](../docs/glossary.md)
#
# Attention compares all pairs of tokens. Leave out the softmax, and a small table, the state, can stand in for the matrix of all
# pairs. Generation then becomes cheap, but training becomes slow, which is the paper's third complaint. This lecture measures why,
# and mends it.
#
# **After it you can**
# - run causal linear attention in four forms, count what each costs, and show that they agree;
# - say why decoding is cheap and training is slow, and keep apart operations, memory traffic and sequential steps;
# - write the backward pass with a state that runs from the right;
# - say what a chunk length changes here, and what it does not change.
#
# **You need** lecture 01 (the causal mask), lecture 02 (the unit), and of lecture 03 why tests use numbers of order one.
#
# **Time** 37 minutes to read. Computing takes about 25 seconds on two CPU cores.
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
# Here are three implementations of the same function, causal linear attention. The first builds an attention matrix. The second
# never compares two tokens, which saves eleven of twelve multiplications. You will write the third one yourself in section 6, so
# it is hidden in a call for now. (T is the number of tokens, S the width of queries and keys, E that of values.) Which is fastest?

# %% tags=["timing"]
from functools import partial

import torch

from flash_course.bench.clock import peak_bytes, summary, time_in_turn
from flash_course.successors import decayed_attention

torch.set_num_threads(1)
torch.manual_seed(0)
device = "cuda" if torch.cuda.is_available() else "cpu"
T, S, E = 1024, 64, 128
q, k, v = (torch.randn(1, T, width, device=device) for width in (S, S, E))
three_ways = {  # name: a function without arguments, and its multiplications
    "attention matrix": (lambda: (q @ k.mT).tril() @ v, T * T * (S + E)),
    "running sum": (
        lambda: torch.einsum("bts,btse->bte", q, (k[..., None] * v[..., None, :]).cumsum(1)), 2 * T * S * E,
    ),
    "chunks of 64": (partial(decayed_attention, q, k, v, torch.zeros_like(k), 64), T * 64 * (S + E) + 2 * T * S * E),
}  # fmt: skip


def milliseconds(functions, rounds=3):
    """The median time of each function. They take turns, so that a busy moment hits all of them."""
    return {name: 1000 * summary(t)["median"] for name, t in time_in_turn(functions, rounds, device=device).items()}


ms = milliseconds({name: run for name, (run, _) in three_ways.items()})
for name, (run, multiplications) in three_ways.items():
    torch.testing.assert_close(run(), three_ways["attention matrix"][0](), rtol=1e-3, atol=1e-2)
    print(f"{name:17} {multiplications / 1e6:4.0f} million multiplications, {ms[name]:7.2f} ms")

# %% [markdown]
# All three return the same outputs up to rounding, and yet, on the CPUs where this was tried, the one with the fewest multiplications
# was by far the slowest. (Most of its time is one unlucky call of `torch.cumsum`, which section 8 takes apart, but even without it
# the running sum would not catch up with the third.) Where does the time go, and what does the third one do?
#
# Two questions from lectures 02 and 03 first. Answer from memory, then open the fold.
#
# **1.** A Toeplitz bias serves n tokens. What is the shape of its weights, and on what does an entry depend?
#
# <details><summary>Answer</summary>
#
# (2 n - 1,): one weight for each distance from -(n - 1) to n - 1. An entry depends on the distance j - i only.
#
# </details>
#
# **2.** Why is a fresh unit nearly the identity, and why does that matter for tests?
#
# <details><summary>Answer</summary>
#
# Its weights are drawn with a standard deviation of 0.02, so what it adds to x is tiny, and so is what a bug changes.
# A test needs parameters and inputs of order one.
#
# </details>

# %%
from dataclasses import dataclass

import numpy as np

from flash_course import figures, learner
from flash_course.learner import predict, reveal
from flash_tutorial import mixing, reference


@dataclass
class Preset:
    widths: tuple  # S and E of the arrays that are timed
    lengths: tuple  # numbers of tokens T
    score_bytes: int  # of held-out text, on which the trained model is scored


CPU = Preset((64, 128), (64, 256, 1024), 20_000)
GPU = Preset((128, 256), (64, 256, 1024, 4096), 100_000)
preset = GPU if device == "cuda" else CPU


def same(a, b):
    """The same shape and, up to rounding, the same numbers."""
    return a.shape == b.shape and bool(abs(a - b).max() < 1e-9)


# %% [markdown]
# ## 1. One product, two orders
#
# Attention without a softmax is a product of three arrays, `(q kᵀ) v`, and the bracket is the attention matrix with its T × T entries.
# But in such a product the brackets may move: `(q kᵀ) v = q (kᵀ v)`. The second bracket has S × E entries, however many tokens there are.
#
# Here are six tokens with S = 2 and E = 3, in whole numbers; they stay with us through the lecture. Check one entry of each bracket with a
# pencil. (A name like `q_TS` says the shape: T rows, S columns.)

# %% tags=["nbval-check-output"]
q_TS = np.array([(1, 0), (0, 1), (1, 1), (2, 0), (0, 1), (1, 2)])
k_TS = np.array([(1, 0), (0, 1), (1, 1), (0, 2), (1, 0), (1, -1)])
v_TE = np.array([(1, 0, 2), (0, 3, 1), (2, 1, 0), (1, 1, 1), (3, 0, 1), (0, 2, 1)])

print("q kᵀ, the matrix:  ", *(q_TS @ k_TS.T), sep="\n  ")
print("kᵀ v, the state:   ", *(k_TS.T @ v_TE), sep="\n  ")
print("token 6, matrix first:", (q_TS @ k_TS.T @ v_TE)[5], " state first:", (q_TS @ (k_TS.T @ v_TE))[5])

# %% [markdown]
# This works only because *nothing* stands between the two products. A softmax or relu² needs each score by itself, hence
# the matrix. Attention without such a function is called *linear attention*, because its cost can grow like T.
#
# How many multiplications does each order take? The matrix has T × T entries; each costs S multiplications when it is made, and E when it
# weighs a value. The state has S × E entries, and each of the T tokens costs it one multiplication when it is written and one when it is
# read.

# %% tags=["nbval-check-output"]
orders = {"matrix": lambda q, k, v: (q @ k.mT) @ v, "state": lambda q, k, v: q @ (k.mT @ v)}
S, E = 128, 1536  # the paper's base size
for T in (64, 256, 1024, 8192):
    first, second = T * T * (S + E), 2 * T * S * E
    print(f"T = {T:5}: matrix first {first:15,}, state first {second:13,}, quotient {first / second:.2f}")

# %% [markdown]
# The matrix grows with T² and the state with T, but at T = 64 the state is the *more expensive* order, and at T = 256 the two are about
# even. So much for the count; now the clock.
#
# **Your first guess.** T = 256 at the paper's size, no mask. How many times as fast is `q (kᵀ v)` as `(q kᵀ) v`? Write 2 if you
# expect half the time, and 0.5 if you expect twice the time.

# %%
my_guess = None  # your number here
predict("04.a", my_guess)

# %% tags=["timing"]
for T in (64, 256, 1024):
    inputs = [torch.randn(T, width, device=device) for width in (S, S, E)]
    ms = milliseconds({name: partial(order, *inputs) for name, order in orders.items()}, rounds=25)
    print(f"T = {T:4}: matrix first {ms['matrix']:7.2f} ms, state first {ms['state']:7.2f} ms")
    if T == 256:
        reveal("04.a", ms["matrix"] / ms["state"], "times as fast")

# %% [markdown]
# Without a mask the clock roughly follows the count, because both orders are two large products, which every machine is
# good at. So the trouble of the first cell does not come from the reordering. It comes from the causal mask.
#
# ## 2. The state
#
# Look at `kᵀ v` as a memory. It is a sum over tokens: token j *writes* the products of each element of its key with each element of its value,
# the *outer product* `np.outer(k_j, v_j)`, or k_j v_jᵀ in formulas. A query *reads*: it mixes the S rows of the state
# into one output of E elements. Two things follow. The memory does not grow with T, and without a mask the order of the tokens is lost.

# %% tags=["nbval-check-output"]
written = sum(np.outer(k_S, v_E) for k_S, v_E in zip(k_TS, v_TE))
shuffled = [3, 0, 5, 1, 4, 2]
assert same(written, k_TS.T @ v_TE) and same(written, k_TS[shuffled].T @ v_TE[shuffled])
for T in (512, 8192, 65_536):
    print(f"T = {T:6}: matrix {T * T:13,} entries, state {S * E:,}")

# %% [markdown]
# At the paper's size the state has 196,608 entries, which is much for a short sequence and little for a long one. It is also a limit,
# because a matrix keeps every pair apart where the state has added everything up. We come back to that.
#
# ## 3. Causal: the state is a running sum
#
# In a causal model token i may read tokens 1 to i only, so it needs the state *as it was* after token i. First it writes,
# state = state + k_i v_iᵀ (equation 6 of the paper), and then it reads, output = q_i state. Because it writes before it reads, it sees
# itself. **Your line** is the write: given the state before a token, return the state after it.


# %%
def write(state_SE, k_S, v_E):
    return ...  # your line


upto = [k_TS[:t].T @ v_TE[:t] for t in range(7)]  # the states after 0 to 6 tokens
learner.your_line("04.c", write, *(((upto[t], k_TS[t], v_TE[t]), upto[t + 1]) for t in (0, 3, 5)))

# %% [markdown]
# <details><summary>The line</summary>
#
# `return state_SE + np.outer(k_S, v_E)`: add, never replace. And no `+=`, which would change an array that somebody else still holds.
#
# </details>
#
# The whole computation is that line in a loop. The picture shows the six states it passes through.


# %%
def token_by_token(q_TS, k_TS, v_TE, state_SE=None):
    """Outputs (T, E) and the last state (S, E). Goes on from a state, if one is given."""
    outputs = []
    if state_SE is None:
        state_SE = np.zeros((k_TS.shape[1], v_TE.shape[1]))
    for q_S, k_S, v_E in zip(q_TS, k_TS, v_TE):
        state_SE = state_SE + np.outer(k_S, v_E)
        outputs.append(q_S @ state_SE)
    return np.stack(outputs), state_SE


out_TE, _ = token_by_token(q_TS, k_TS, v_TE)
figures.show(*figures.state_by_token(q_TS, k_TS, v_TE, np.stack(upto[1:]), out_TE))

# %% [markdown]
# Follow token 4. Its key (0, 2) leaves the first row alone and adds 2 × (1, 1, 1) to the second, while its query (2, 0) reads twice the
# first row, so it does not see what it has just written. Through the matrix it is the same: row 6 of `q kᵀ` is (1, 2, 3, 4, 1, -1),
# and a weight of -1 is legal, for nothing is normalised here.
#
# So there are three ways to write it down, and the package has two more. On numbers of order one they must agree, and
# no token may see a later one.


# %% tags=["nbval-check-output"]
def by_matrix(q_TS, k_TS, v_TE):
    return np.tril(q_TS @ k_TS.T) @ v_TE


def by_all_states(q_TS, k_TS, v_TE):
    states_TSE = np.cumsum(k_TS[:, :, None] * v_TE[:, None, :], axis=0)  # the running sum, all T states at once
    return np.einsum("ts,tse->te", q_TS, states_TSE)


print("token 6 by the matrix:", by_matrix(q_TS, k_TS, v_TE)[5], " by the state:", out_TE[5].astype(int))
rng, T = np.random.default_rng(0), 23
q, k, v = rng.normal(size=(T, 4)), rng.normal(size=(T, 4)), rng.normal(size=(T, 7))
expected, last_state = token_by_token(q, k, v)
for form in (by_matrix, by_all_states):
    assert same(form(q, k, v), expected)
for package in (reference.linear_attention_loops, reference.linear_attention):
    assert same(package(q, k, v, causal=True), expected) and same(package(q, k, v, causal=False), q @ (k.T @ v))
changed = k.copy()
changed[8] += 1
moved = np.flatnonzero((token_by_token(q, changed, v)[0] != expected).any(1)) + 1
print(f"key of token 9 changed: {len(moved)} outputs move, from token {moved[0]} to {moved[-1]}")
print("6 checks passed")

# %% [markdown]
# ## 4. Why decoding is cheap
#
# In generation, or *decoding*, one token comes after the other. With a matrix, the keys and values of all earlier tokens must be kept, and
# they are called the *cache*. With a state, S × E numbers are kept at any position, and each token costs 2 S E multiplications. A state can also be
# handed on: read a prompt once, keep its state, and go on from there as often as you like.

# %% tags=["nbval-check-output"]
first, state = token_by_token(q[:10], k[:10], v[:10])
kept = state.copy()
second, _ = token_by_token(q[10:], k[10:], v[10:], state)
assert same(np.concatenate([first, second]), expected) and np.array_equal(state, kept)
step_state = np.zeros((4, 7))
for t in range(T):
    y, step_state = reference.linear_attention_step(step_state, q[t], k[t], v[t])
    assert same(y, expected[t])
assert same(step_state, last_state)
for i in (100, 1000, 10_000):
    print(f"paper's size, token {i:6}: cache {i * (S + E):11,} numbers, state {S * E:,}")
print("the cache is larger from token", next(i for i in range(1, 10_000) if i * (S + E) > S * E))

# %% [markdown]
# With a cache, a token costs the more the later it comes, whereas with a state its position does not matter. Early in a sequence the
# cache is the smaller of the two, up to token 118. Lecture 09 builds a whole model on this.
#
# ## 5. Why training is slow
#
# In training all T tokens are known, and a matrix makes use of that: two large products, all tokens at once. A state can be
# computed in two ways, and each has its price. *Token by token* keeps one state but takes T steps, of which each moves the whole state
# and waits for the one before. *All states at once* replaces the loop by one running sum, but then T states of S × E
# numbers lie in memory. Here are all three in torch, for a batch of B sequences.


# %%
def token_form(q, k, v):
    state, outputs = q.new_zeros(len(q), q.shape[2], v.shape[2]), []
    for t in range(q.shape[1]):
        output, state = mixing.linear_attention_step(state, q[:, t], k[:, t], v[:, t])
        outputs.append(output)
    return torch.stack(outputs, 1)


def matrix_form(q, k, v):
    return (q @ k.mT).tril() @ v


def all_states_form(q, k, v):
    return mixing.linear_attention(q, k, v, causal=True)


def batch(B, T, S, E, dtype=torch.float64, **more):
    return [torch.randn(B, T, width, dtype=dtype, **more) for width in (S, S, E)]


three = batch(3, 23, 4, 7)
wanted = np.stack([by_matrix(*(t[b].numpy() for t in three)) for b in range(3)])
for form in (token_form, matrix_form, all_states_form):
    assert same(form(*three).numpy(), wanted)
assert same(mixing.linear_attention(*three, causal=False), three[0] @ (three[1].mT @ three[2]))

# %% [markdown]
# **Your second guess.** One sequence of T = 1024 tokens, token by token. A training step runs forward and then backward, and each update
# of the state waits for another one. How many sequential steps is that?

# %%
my_second_guess = None  # your number here
predict("04.b", my_second_guess)


# %%
def sequential_steps(T, C=1):
    """Run forward and backward, one update of the state for C tokens, and count the updates as they happen."""
    seen = {"forward": 0, "backward": 0}
    q, k, v = (t.requires_grad_() for t in batch(1, T, 2, 3))
    state, loss = torch.zeros(1, 2, 3, dtype=torch.float64), 0
    for start in range(0, T, C):
        now = slice(start, start + C)
        state = state + k[:, now].mT @ v[:, now]
        seen["forward"] += 1
        state.register_hook(lambda gradient: seen.update(backward=seen["backward"] + 1))
        loss = loss + (q[:, now] @ state).sum()
    loss.backward()
    return seen


seen = sequential_steps(1024)
assert seen == {"forward": 1024, "backward": 1024}
assert sequential_steps(1024, C=64) == {"forward": 16, "backward": 16}  # what section 6 will do about it
reveal("04.b", sum(seen.values()), "sequential steps")

# %% [markdown]
# The backward pass is a chain too, from the last token to the first (section 7 says what runs along it), while the matrix has no
# chain at all. How long does a training step of each form take? Beside the three stands once more the hidden one of the first
# cell, in chunks.


# %% tags=["timing"]
def training_step(form, T):
    """A function without arguments: forward, then the gradients of q, k and v."""
    inputs = [t.requires_grad_() for t in batch(1, T, *preset.widths, dtype=torch.float32, device=device)]
    return lambda: torch.autograd.grad(form(*inputs).square().mean(), inputs)


forms = {"running sum": all_states_form, "token by token": token_form, "attention matrix": matrix_form}
forms["chunks of 64"] = lambda q, k, v: decayed_attention(q, k, v, torch.zeros_like(k), 64)
by_T = {T: milliseconds({name: training_step(form, T) for name, form in forms.items()}) for T in preset.lengths}
ms = {name: [taken[name] for taken in by_T.values()] for name in forms}
table = [("T", *forms), *((T, *(f"{taken[name]:.1f}" for name in forms)) for T, taken in by_T.items())]
title, label = "The same outputs and gradients, at very different prices", "milliseconds for a training step"
figures.show(*figures.forms_by_length(preset.lengths, ms, ylabel=label, title=title), table=table)

# %% [markdown]
# **Misconception: linear means fast.** The symptom is the upper half of this picture: a fraction of the multiplications, and many times the
# time. "Linear" says how the cost *grows*, and nothing about the cost at the length that you have. The paper saw the same on a V100
# card (Table 10, a training step with T = 512 and 4 sequences): Performer, a linear attention, took 823.0 ms, and Transformer++ took 222.4.
#
# One cause has been counted, the sequential steps, and "token by token" shows their price. The other cause is memory. What must be
# kept for the backward pass? The figure counts it at the paper's size, and the cell below measures it at a small one.


# %%
def megabytes_kept(T, S, E, C=64):
    """The large arrays that the backward pass needs again, 4 bytes a number."""
    kept = {"all T states": T * S * E, "attention matrix": T * T}
    kept |= {"chunks of 64": T * C + -(-T // C) * S * E, "one state": S * E}
    return {name: 4 * numbers / 1e6 for name, numbers in kept.items()}


lengths = (512, 1024, 2048, 4096, 8192)
each = [megabytes_kept(T, 128, 1536) for T in lengths]
kept = {name: [row[name] for row in each] for name in each[0]}
table = [("T", *kept), *((T, *(f"{row[name]:.3g}" for name in kept)) for T, row in zip(lengths, each))]
title = "One sequence, one layer, the paper's size: the states outweigh the matrix"
figures.show(*figures.forms_by_length(lengths, kept, ylabel="megabytes kept", title=title), table=table)

# %%
S, E, T = 64, 128, 128
for name, form in (("running sum", all_states_form), ("token by token", token_form), ("attention matrix", matrix_form)):
    inputs = [t.requires_grad_() for t in batch(1, T, S, E, dtype=torch.float32)]
    peak = peak_bytes(lambda form=form, inputs=inputs: torch.autograd.grad(form(*inputs).square().mean(), inputs))
    print(f"{name:16}: peak memory is {peak / (4 * T * S * E):.2f} times that of all T states")
    assert (peak > 4 * T * S * E) == (form is not matrix_form)

# %% [markdown]
# At T = 8192 the states of one layer and one sequence take 6.4 gigabytes, 24 times as much as the matrix; only from T = S E = 196,608 on would the
# matrix be the larger one. And token by token is no way out: its peak is no smaller than all T states, because autograd needs them again.
#
# ## 6. The exact chunk form
#
# The matrix is quick for short sequences, and the state is small for long ones. So use each where it is good. Cut the sequence into chunks of C tokens.
# What token i reads is a sum over tokens, and a sum may be split:
#
# - tokens of **earlier chunks** are read through the state that enters the chunk, `q state`;
# - tokens of **its own chunk** are read through a small causal matrix, `tril(q kᵀ) v`, with C × C entries.
#
# Then the whole chunk is written at once, `state + kᵀ v`, and this is the only step for which the next chunk waits.

# %%
figures.show(*figures.chunk_schedule(T=14, C=4))

# %% [markdown]
# On the six tokens with C = 2, compare with the picture of section 3: the states are those after tokens 2 and 4.

# %% tags=["nbval-check-output"]
state = np.zeros((2, 3), int)
for start in range(0, 6, 2):
    now = slice(start, start + 2)
    inside = np.tril(q_TS[now] @ k_TS[now].T)
    print(f"tokens {start + 1}, {start + 2}: entering state {state.tolist()}, matrix inside {inside.tolist()}")
    far, near = q_TS[now] @ state, inside @ v_TE[now]
    for i in range(2):
        print(f"   token {start + i + 1}: earlier chunks {far[i]} + its own chunk {near[i]} = {far[i] + near[i]}")
    assert np.array_equal(far + near, out_TE[now])
    state = state + k_TS[now].T @ v_TE[now]

# %% [markdown]
# **Your line** is the read, in torch: given the queries, keys and values of a chunk, `(B, C, S)` or `(B, C, E)`, and the state
# `(B, S, E)` that enters it, return the chunk's outputs.


# %%
def read_chunk(q_c, k_c, v_c, state):
    return ...  # your line


six = [torch.tensor(a, dtype=torch.float64)[None] for a in (q_TS, k_TS, v_TE)]
cases = [(a, b, torch.tensor(upto[a])[None].double()) for a, b in ((0, 2), (2, 5), (3, 6))]
outputs = torch.tensor(out_TE)[None]
learner.your_line("04.d", read_chunk, *(((*(t[:, a:b] for t in six), s), outputs[:, a:b]) for a, b, s in cases))

# %% [markdown]
# <details><summary>The line</summary>
#
# `return q_c @ state + (q_c @ k_c.mT).tril() @ v_c`. In the loop below, the read comes before the write; otherwise its own chunk would be
# counted twice, later tokens included.
#
# </details>


# %% tags=["nbval-check-output"]
def chunk_form(q, k, v, C=64):
    state, outputs = q.new_zeros(len(q), q.shape[2], v.shape[2]), []
    for q_c, k_c, v_c in zip(q.split(C, 1), k.split(C, 1), v.split(C, 1)):
        outputs.append(q_c @ state + (q_c @ k_c.mT).tril() @ v_c)
        state = state + k_c.mT @ v_c
    return torch.cat(outputs, 1)


passed = 0
for T in (1, 7, 23, 64):
    three = batch(2, T, 4, 7)
    for C in range(1, T + 3):
        assert same(chunk_form(*three, C), token_form(*three))
        passed += 1
print(f"{passed} pairs of T and C agree with token by token")
three = batch(2, 23, 4, 7)
assert torch.equal(chunk_form(*three, 23), matrix_form(*three)) and same(all_states_form(*three), chunk_form(*three, 5))

# %% [markdown]
# Every C gives the same numbers, and you know both ends: C = 1 is token by token, and C = T is the matrix. So here C is a *speed knob*, which
# changes time and memory and nothing else. (The hidden function of the first cell is this one, made for states that fade.)
#
# **Misconception: chunks are an approximation, so C changes the result.** Here they are exact. FLASH takes relu² inside a chunk and the state
# between chunks, so there a pair of tokens gets another weight when a border moves between them, and a model belongs to one C; lecture 05
# shows what that means.
#
# Here, which C is the quickest? First the counts, where few operations
# mean many steps and few steps mean many operations. Decide which C you expect before you look at the times.

# %% tags=["nbval-check-output"]
S, E, T = 64, 128, 1024


def chunk_operations(T, C, S, E):
    """Multiplications that the chunk form does: inside chunks the whole C × C matrix, and 2 S E for each token."""
    return T * C * (S + E) + 2 * T * S * E


for C in (1, 16, 64, 256, 1024):
    operations, numbers = chunk_operations(T, C, S, E), T * C + T // C * S * E
    print(f"C = {C:4}: {T // C:4} sequential steps, {operations:11,} multiplications, {numbers:9,} numbers kept")

# %% tags=["timing"]
T, (S, E) = 1024 if device == "cpu" else 4096, preset.widths
sizes = [C for C in (1, 4, 16, 32, 64, 128, 256, 1024, 4096) if C <= T]
taken = milliseconds({C: training_step(partial(chunk_form, C=C), T) for C in sizes}, rounds=5)
counted = [chunk_operations(T, C, S, E) for C in sizes]
table = [("C", "ms", "million multiplications"), *((C, f"{taken[C]:.2f}", n // 10**6) for C, n in zip(sizes, counted))]
figures.show(*figures.chunk_sizes(sizes, list(taken.values()), counted), table=table)

# %% [markdown]
# The best C usually lies somewhere in the middle, far from the smallest count. It is a property of the machine and of S and E, so measure it on yours.
#
# **Then why FLASH?** Something should bother you by now. You have linear attention with T / C sequential steps
# instead of T, a cost that grows with T, and a state of constant size for decoding. Nothing was approximated, and the paper's third complaint is
# answered. So what is left for FLASH to do?
#
# Not speed. What is left is *quality*. A state holds sums, and out of a sum no single token can be picked again. Let a query ask for
# exactly one of 256 tokens, by its key. How much of what it reads is that token's value, and how much is noise from all the others?

# %% tags=["nbval-check-output"]
generator = torch.Generator().manual_seed(0)
keys = torch.nn.functional.normalize(torch.randn(256, 64, generator=generator), dim=1)  # S = 64, each of length 1
scores = keys @ keys.T  # row j asks for token j; values are taken to be independent and of equal size
noise = {}
for name, weights in {"linear": scores, "relu²": scores.relu().square()}.items():
    of_others = weights.square().sum(1) - 1  # the token itself has weight 1
    noise[name] = float(of_others.sqrt().mean())
    print(f"{name:6}: the value that was asked for, plus {noise[name]:.2f} times its size in noise")
assert noise["linear"] > 1 > noise["relu²"]

# %% [markdown]
# The linear read is mostly noise, and the more tokens there are, the worse it becomes. (Keys that are perpendicular to each other would not
# disturb one another, but only S of them fit.) A function on the scores suppresses the others, but it needs the matrix. Which pairs deserve such
# a sharp comparison, if you can afford C for each token and not T? That is the question of lecture 05.
#
# ## 7. Backward: a state from the right
#
# Training needs gradients. Let `d_out` be the gradient of the loss with respect to the outputs, (T, E). The output is a sum,
# `out_i = sum over j ≤ i of (q_i · k_j) v_j`, so ask of each input who uses it.
#
# - **q_i** is used by output i alone, which read the state after token i: `dq_i = state_i d_out_i`.
# - **k_j and v_j** are used by all outputs i ≥ j, those to the *right*. Collect what these bring back in
#   `R_j = sum over i ≥ j of q_i d_out_iᵀ`, which is again S × E. Then `dv_j = k_j R_j` and `dk_j = R_j v_j`.
#
# So R is a state as well, one that starts at zero behind the last token and runs to the left. On the six tokens:

# %% tags=["nbval-check-output"]
d_out_TE = np.array([(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 0, 1), (0, 1, 0), (1, 0, 0)])
R_SE, dk_TS, dv_TE = np.zeros((2, 3), int), np.zeros((6, 2), int), np.zeros((6, 3), int)
for j in reversed(range(6)):
    R_SE = R_SE + np.outer(q_TS[j], d_out_TE[j])  # token j itself is one of its readers
    dk_TS[j], dv_TE[j] = R_SE @ v_TE[j], k_TS[j] @ R_SE
    print(f"token {j + 1}: R = {R_SE.tolist()}, dk = {dk_TS[j]}, dv = {dv_TE[j]}")

inputs = [t.requires_grad_() for t in six]
expected = torch.autograd.grad(token_form(*inputs), inputs, torch.tensor(d_out_TE)[None].double())
assert same(dk_TS, expected[1][0].numpy()) and same(dv_TE, expected[2][0].numpy())

# %% [markdown]
# Check token 5. Its readers are tokens 5 and 6, which bring (0, 1) (0, 1, 0)ᵀ and (1, 2) (1, 0, 0)ᵀ. Their sum is R, with the
# rows (1, 0, 0) and (2, 1, 0), and the value of token 5 is (3, 0, 1), so dk is (3, 6). Autograd, which knows nothing of R, agrees.
#
# The formulas hide something useful. `dk_j = sum over i ≥ j of (v_j · d_out_i) q_i` is linear attention again: v asks, d_out is the
# key, q is the value, and the sequence runs backwards. So *every* form of this lecture is also a backward pass, one that makes
# its own states and has to keep none.
#
# | gradient | query | key | value | sequence runs |
# | --- | --- | --- | --- | --- |
# | dq | d_out | v | k | from the left |
# | dk | v | d_out | q | from the right |
# | dv | ? | ? | d_out | from the right |
#
# **Your line** is the last one. Fill in query and key, and the chunk form gives you dv.


# %%
def from_the_right(query, key, value, C):
    return chunk_form(query.flip(1), key.flip(1), value.flip(1), C).flip(1)


def my_dv(q, k, d_out):
    query, key = ..., ...  # your line
    return ... if query is ... else from_the_right(query, key, d_out, 5)


inputs = [t.requires_grad_() for t in batch(2, 23, 4, 7)]
d_out = torch.randn(2, 23, 7, dtype=torch.float64)
dq, dk, dv = torch.autograd.grad(matrix_form(*inputs), inputs, d_out)
q, k, v = (t.detach() for t in inputs)
learner.your_line("04.e", my_dv, ((q, k, d_out), dv))
for C in (1, 5, 23):
    assert same(chunk_form(d_out, v, k, C), dq) and same(from_the_right(v, d_out, q, C), dk)

# %% [markdown]
# <details><summary>The line</summary>
#
# `query, key = k, q`, since `dv_j = sum over i ≥ j of (k_j · q_i) d_out_i`.
#
# </details>
#
# ## 8. Three things that take time
#
# You have met three costs: operations, memory traffic (bytes moved to and from memory), and sequential steps. As a first guess, an
# implementation needs about as long as the largest of them alone. What decides between the first two is the number of operations for each byte, called *arithmetic
# intensity*. A large product computes much with each number that it fetches, whereas an update `state + k vᵀ` fetches two numbers and stores
# one, for a single addition.
#
# Count the bytes of the forward pass: each operation reads its large arrays and writes its result, 4 bytes a number. Operations
# are counted as they are done, so the matrix has all T × T pairs. Then your machine tells its three speeds: a large product for
# operations, a long copy for bytes, updates of a tiny state for steps.


# %% tags=["nbval-check-output"]
def costs(T, S, E):
    """By form: multiplications, bytes moved, sequential steps."""
    edge = T * (2 * S + 2 * E)  # q, k, v come in, outputs go out
    C = 64
    numbers = {
        "token by token": (2 * T * S * E, edge + 5 * T * S * E, T),  # k vᵀ stored; two read, one stored; one read
        "running sum": (2 * T * S * E, edge + 4 * T * S * E, 1),  # products stored; running sum; read
        "attention matrix": (T * T * (S + E), edge + 4 * T * T, 1),  # stored; masked (read, stored); read
        "chunks of 64": (chunk_operations(T, C, S, E), edge + 4 * T * C + 5 * T // C * S * E, T // C),
    }
    return {name: (operations, 4 * moved, steps) for name, (operations, moved, steps) in numbers.items()}


for name, (operations, moved, steps) in costs(1024, 64, 128).items():
    print(f"{name:16} {operations / 1e6:4.0f} million, {moved / 1e6:5.1f} MB, {steps:4} steps,", end=" ")
    print(f"{operations / moved:5.2f} operations a byte")

# %% tags=["timing"]
T, (S, E) = 1024, preset.widths
a, b, long, there = (torch.randn(n, n, device=device) for n in (1024, 1024, 4096, 4096))
tiny = [torch.randn(1, 256, 1, device=device) for _ in range(3)]
alone = {"product": lambda: a @ b, "copy": lambda: there.copy_(long), "steps": lambda: token_form(*tiny)}
speed = milliseconds(alone, rounds=7)
per_ms, bytes_per_ms, ms_per_step = 1024**3 / speed["product"], 2 * 4 * 4096**2 / speed["copy"], speed["steps"] / 256
print(f"{per_ms / 1e6:.1f} billion multiplications and {bytes_per_ms / 1e6:.1f} GB a second,", end=" ")
print(f"{1000 * ms_per_step:.0f} microseconds a step")

three = batch(1, T, S, E, dtype=torch.float32, device=device)
measured = milliseconds(
    {name: partial(form, *three) for name, form in (forms | {"chunks of 64": chunk_form}).items()}, 7
)
rows = {
    name: (operations / per_ms, moved / bytes_per_ms, steps * ms_per_step, measured[name])
    for name, (operations, moved, steps) in costs(T, S, E).items()
}
header = ("form", "operations, ms", "bytes, ms", "steps, ms", "measured, ms")
table = [header, *((name, *(f"{t:.2f}" for t in times)) for name, times in rows.items())]
figures.show(*figures.what_time_waits_for(rows), table=table)

# %% [markdown]
# Compare each black bar with the longest coloured one above it. Token by token waits for its steps and its bytes. The matrix has many
# operations for each byte, but of both it has T², so it loses when T grows. Chunks pay with a few more operations for C times fewer steps
# and far fewer bytes. Only the running sum is explained by none of its three bars.
#
# That is because it matters also *in which order* bytes are moved. A processor fetches neighbours together, but a running sum over tokens,
# as torch does it on a CPU, jumps S × E numbers at each step. Let us make the same T states one after the other, each as a whole:

# %% tags=["timing"]
products = three[1][:, :, :, None] * three[2][:, :, None, :]  # (1, T, S, E)
in_place = products.clone()


def state_by_state():
    for t in range(1, T):
        in_place[:, t] += in_place[:, t - 1]  # whole states, neighbours in memory


ways = {"torch.cumsum over tokens": lambda: products.cumsum(1), "state by state": state_by_state}
ways |= {
    "copying all T states": lambda: in_place.copy_(products),
    "chunk form, outputs and all": partial(chunk_form, *three),
}
for name, ms in milliseconds(ways).items():
    print(f"{name:28}{ms:8.1f} ms")

# %% [markdown]
# State by state does the same additions, and on the CPUs where this was tried it took a small part of the time. So most of what the running sum
# cost in the first cell belongs to `torch.cumsum` along that axis. A slow implementation does not prove that an idea is slow; only what you
# *counted*, the steps and the bytes, belongs to the idea. And those bytes the chunk form never moves, because it does not make T states.
#
# ## 9. With a normaliser, or without
#
# Until here a weight `q_i · k_j` may be negative, and the weights of a token may add up to anything. The linear attention of Katharopoulos
# and others (2020) stays closer to a softmax: a *feature map* phi(x) = elu(x) + 1 makes queries and keys positive, and each output is
# divided by the sum of its weights. This *denominator* comes almost for free, as an extra column of ones in the values.

# %% tags=["nbval-check-output"]
torch.manual_seed(3)
q, k, v = batch(1, 23, 4, 7)
phi_q, phi_k = (1 + torch.nn.functional.elu(t) for t in (q, k))
both = chunk_form(phi_q, phi_k, torch.cat([v, torch.ones_like(v[..., :1])], -1), 5)  # a state of S × (E + 1), in chunks
weights = (phi_q @ phi_k.mT).tril()
assert same(both[..., :-1] / both[..., -1:], weights / weights.sum(-1, keepdim=True) @ v)
print(f"negative weights: {int((q @ k.mT).tril().lt(0).sum())} bare, {int(weights.lt(0).sum())} with phi")

# %% [markdown]
# FLASH takes neither. Its linear part is the bare product of this lecture, at most divided by the number of tokens that were summed (Code 8;
# lecture 05 compares the two). Without phi a sum of weights could come close to zero, so phi and denominator belong together.
#
# ## 10. Train it: a line for your scoreboard
#
# How good is it? We take the unit of lecture 02 with another `mix`: gate, value, base, scale and offset, RoPE, and then linear attention.
# The package's `GatedUnit` makes u, q, k and v and calls `mix`, so few lines are needed.

# %%
from flash_tutorial import ModelConfig, count_parameters
from flash_tutorial.data import load_corpus
from flash_tutorial.training import TrainConfig, train
from flash_tutorial.units import GatedUnit


class LinearUnit(GatedUnit):
    heads = 2  # q and k, both from the base z
    C = 16

    def __init__(self, dim, *, causal, qk_dim):
        super().__init__(dim, expansion=2, qk_dim=qk_dim, causal=causal, norm="layer")
        self.reset_parameters()

    def mix(self, heads, v, mask, segment_ids):
        return chunk_form(*heads, v, self.C)

    def state_numbers(self, T):  # for the scoreboard: what decoding keeps after T tokens
        return self.qk_dim * self.expanded


corpus = load_corpus("austen")
settings = TrainConfig(steps=300, batch=16, length=64, learning_rate=3e-3, warmup=20, eval_bytes=preset.score_bytes)
tiny = ModelConfig(LinearUnit, dim=64, depth=4, max_length=64, norm="layer", unit_options={"qk_dim": 32})
runs = {"linear attention": train(tiny, settings, corpus=corpus, progress=False)}
run = runs["linear attention"]

# %% [markdown]
# How does it stand beside the same unit with a function on its scores?

# %% tags=["nbval-check-output"]
from flash_course.bench.stored import compare_with_stored, load_stored

compare_with_stored("04", runs)  # made once by benchmarks/scoreboard.py, with the same seed and settings
bits, stored = run.evaluation.bits_per_byte, load_stored("scoreboard")["runs"]
table = {"linear attention": bits}
table |= {f"{name}, stored": stored[name]["bits_per_byte"] for name in ("02 GAU, softmax", "02 GAU, relu^2")}
table["00 Transformer++, stored"] = stored["00 transformer++"]["bits_per_byte"]
for name, score in table.items():
    print(f"{name:37} {score:.2f} bits per byte")
print(f"{count_parameters(run.model):,} parameters")
assert abs(bits - table["02 GAU, softmax, stored"]) < 0.1 < bits - table["02 GAU, relu^2, stored"]

# %% tags=["timing"]
from flash_course.bench.counts import count_state_numbers

learner.score(
    "04", "linear attention", bits_per_byte=bits,
    step_ms=1000 * float(np.median(np.diff([row["seconds"] for row in run.log]))),
    state_numbers=count_state_numbers(run.model, settings.length),
)  # fmt: skip
print(learner.report())

# %% [markdown]
# Linear attention lands near the GAU with a softmax, and behind the same unit with relu² and behind Transformer++, on the same text and with the same
# number of updates. It is one seed of a tiny model on windows of 64 bytes, so it shows that the unit learns, and hints at a gap;
# it does not say how the two compare at length. That gap is what FLASH tries to close, without giving back the constant state: here 16,384 numbers for
# four units, after 64 tokens or after a million.
#
# ## 11. What you take along
#
# Fill in the last column yourself, where "not shown" is a good answer. `learner.verdict("04 linear", "...")` stores a verdict, and
# `flash-tutorial report` prints them all.
#
# | claim | your evidence | your verdict |
# | --- | --- | --- |
# | Both orders of the product give the same numbers | section 1: six tokens; section 3: five forms of order one | |
# | The order with fewer operations is the faster one | section 1: yes without a mask; section 5: no with one | |
# | Decoding has a constant cost | section 4: entries kept at three positions | |
# | Training token by token is slow | section 5: 2048 sequential steps, all states in memory, times against T | |
# | Chunks are an approximation | section 6: the same outputs for every C | |
# | The backward pass needs all states | section 7: two states, one from each side | |
# | Linear attention is as good as softmax attention | section 6: noise; section 10: one seed of a tiny model | |
#
# **Three takeaways**
# 1. `q (kᵀ v)`: without a function on the scores the matrix becomes a state of S × E numbers, whatever T is.
# 2. A causal state is a chain, ideal for generation and slow in training: T sequential steps, or T states in memory.
# 3. Chunks break the chain into T / C links, with a matrix inside and a state between. Here that is exact, so C is only a speed knob.
#
# **Exercises** [Problem set 04](../exercises/04_linear_attention.ipynb), seven tasks. You write the forms of this lecture in your own way, and one that fades.
#
# **Next** [Lecture 05](05_mixed_chunk_attention.ipynb) spends the matrix inside the chunk on something better, relu², and keeps the state between chunks: mixed chunk attention. There C is architecture.
