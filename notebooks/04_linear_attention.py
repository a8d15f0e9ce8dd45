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
# Attention compares all pairs of tokens. Leave out the softmax, and a small matrix, the *state*, can stand in for the attention
# matrix. Generation then becomes cheap, but training becomes slow, which is the paper's third complaint. This lecture measures why,
# and repairs it.
#
# **After this lecture you can**
# - run causal linear attention in four forms, count what each costs, and show that they agree;
# - say why decoding is cheap and training is slow, and keep apart operations, memory traffic and sequential steps;
# - write the backward pass with a state that runs from the right;
# - say what a chunk length changes here, and what it does not change.
#
# **You need** lecture 01 (the causal mask), lecture 02 (the unit), and from lecture 03 why tests use inputs of order one.
#
# **Time** 31 minutes to read. Running the code takes about 25 seconds on two CPU cores.
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
# Here are three implementations of the same function, causal linear attention. The first builds an attention matrix. The second makes all T
# states and never compares two tokens, as in lecture 00; here, counted with all T² pairs, that takes a twelfth of the multiply-adds. The
# third you will write yourself in section 6. Which is the fastest?

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
forms = {
    "attention matrix": lambda q, k, v: (q @ k.mT).tril() @ v,
    "running sum": lambda q, k, v: torch.einsum("bts,btse->bte", q, (k[..., None] * v[..., None, :]).cumsum(1)),
    "chunks of 64": lambda q, k, v: decayed_attention(q, k, v, torch.zeros_like(k), 64),  # of lecture 13, no decay
}
multiply_adds = (T * T * (S + E), 2 * T * S * E, T * 64 * (S + E) + 2 * T * S * E)


def milliseconds(functions, rounds=3):
    """The median time of each function. They take turns, so that a busy moment hits all of them."""
    return {name: 1000 * summary(t)["median"] for name, t in time_in_turn(functions, rounds, device=device).items()}


ms = milliseconds({name: partial(form, q, k, v) for name, form in forms.items()})
for (name, form), count in zip(forms.items(), multiply_adds):
    torch.testing.assert_close(form(q, k, v), forms["attention matrix"](q, k, v), rtol=1e-3, atol=1e-2)
    print(f"{name:17} {count / 1e6:4.0f} million multiply-adds, {ms[name]:7.2f} ms")

# %% [markdown]
# The outputs are the same up to rounding, and yet, on the CPU where this page was made, the form with the fewest multiply-adds is by far the
# slowest. Where does the time go, and what does the third one do?
#
# Two questions from lectures 02 and 03 first, to answer from memory.
#
# **1.** A Toeplitz bias serves n tokens. What is the shape of its weights?
#
# <details><summary>Answer</summary>
#
# (2 n - 1,): one weight for each distance j - i, from -(n - 1) to n - 1.
#
# </details>
#
# **2.** Why is a fresh unit nearly the identity, and why does that matter for tests?
#
# <details><summary>Answer</summary>
#
# Its weights have a standard deviation of 0.02, so what it adds to x is tiny, and so is what a bug changes. A test needs parameters
# and inputs of order one.
#
# </details>

# %%
import numpy as np

from flash_course import drawing, learner
from flash_tutorial.experiments import welch
from flash_course.learner import predict, reveal
from flash_tutorial import mixing, reference

# S and E, and the numbers of tokens T, of what is timed; bytes of held-out text on which the model is scored
widths, lengths, score_bytes = (64, 128), (64, 256, 1024), 20_000
if device == "cuda":
    widths, lengths, score_bytes = (128, 256), (64, 256, 1024, 4096), 100_000


def same(a, b):
    """The same shape and, up to rounding, the same numbers."""
    return a.shape == b.shape and bool(abs(a - b).max() < 1e-9)


# %% [markdown]
# ## 1. One product, two orders
#
# Attention without a softmax is a product of three arrays, `(q kᵀ) v`, and the bracket is the attention matrix with its T × T entries.
# But in such a product the brackets may move: `(q kᵀ) v = q (kᵀ v)`. The second bracket has S × E entries, however many tokens there are.
#
# Here are six tokens with S = 2 and E = 3. Check one entry of each bracket with a pencil.

# %% tags=["nbval-check-output"]
q_TS = np.array([(1, 0), (0, 1), (1, 1), (2, 0), (0, 1), (1, 2)])
k_TS = np.array([(1, 0), (0, 1), (1, 1), (0, 2), (1, 0), (1, -1)])
v_TE = np.array([(1, 0, 2), (0, 3, 1), (2, 1, 0), (1, 1, 1), (3, 0, 1), (0, 2, 1)])

print("q kᵀ, the matrix:  ", *(q_TS @ k_TS.T), sep="\n  ")
print("kᵀ v, the state:   ", *(k_TS.T @ v_TE), sep="\n  ")
print("token 6, matrix first:", (q_TS @ k_TS.T @ v_TE)[5], " state first:", (q_TS @ (k_TS.T @ v_TE))[5])

# %% [markdown]
# This works only because *nothing* stands between the two products. A softmax or relu² needs each score by itself, hence
# the matrix. Without such a function we speak of *linear attention*, because its cost can grow like T.
#
# What does each order cost? The matrix has T × T entries, and each takes S multiply-adds when it is made and E when it
# weights a value: T² (S + E). The state has S × E entries, and each of the T tokens spends one multiply-add on every entry when it is
# written and one when it is read: 2 T S E.
#
# **Your first guess.** Take the paper's base size, S = 128 and E = 1536, with T = 256 and no mask. How many times as fast as `(q kᵀ) v`
# is `q (kᵀ v)`? Write 2 if you expect half the time, and 0.5 if you expect twice the time.

# %%
predict("04.a", None)  # your number in place of None

# %% tags=["timing"]
orders = {"matrix": lambda q, k, v: (q @ k.mT) @ v, "state": lambda q, k, v: q @ (k.mT @ v)}
S, E = 128, 1536  # the paper's base size
table = [("matrix first over state first: T", "multiply-adds", "time")]
for T in (64, 256, 1024):
    inputs = [torch.randn(T, width, device=device) for width in (S, S, E)]
    ms = milliseconds({name: partial(order, *inputs) for name, order in orders.items()}, rounds=25)
    table.append((T, f"{T * (S + E) / (2 * S * E):.2f}", f"{ms['matrix'] / ms['state']:.2f}"))
print(drawing.text_table(table))
reveal("04.a", round(float(table[2][2]), 1), "times as fast")
assert device != "cpu" or float(table[3][2]) > 1

# %% [markdown]
# At T = 64 the state is still the *more expensive* order. The clock follows the count, give or take a factor of two, because both orders
# are two large products, which every machine is good at. So the trouble of the first cell comes from something else, the causal mask.
#
# ## 2. The state
#
# Think of `kᵀ v` as a memory. It is a sum over tokens: token j *writes* the products of each element of its key with each element of its value,
# the *outer product* `np.outer(k_j, v_j)`, or k_j v_jᵀ in formulas. A query *reads*: it mixes the S rows into one output of E elements,
# and so attends to all tokens at once. The memory does not grow with T, and without a mask the order of the tokens is lost.
#
# ## 3. Causal: the state is a running sum
#
# In a causal model token i may read tokens 1 to i only, so it needs the state *as it was* after token i. First it writes, state = state +
# k_i v_iᵀ (equation 6 of the paper), and then it reads, output = q_i state, so it reads itself too. **Your line** is the
# write: given the state before a token, return the state after it.


# %%
def write(state_SE, k_S, v_E):
    return ...  # your line


upto = [k_TS[:t].T @ v_TE[:t] for t in range(7)]  # the states after 0 to 6 tokens
learner.your_line("04.c", write, *(((upto[t], k_TS[t], v_TE[t]), upto[t + 1]) for t in (0, 3, 5)))

# %% [markdown]
# The next cell has that line in a loop, and the picture shows the six states that it passes through.


# %%
def token_by_token(q_TS, k_TS, v_TE):
    """Outputs (T, E) and the last state (S, E)."""
    outputs, state_SE = [], np.zeros((k_TS.shape[1], v_TE.shape[1]))
    for q_S, k_S, v_E in zip(q_TS, k_TS, v_TE):
        state_SE = state_SE + np.outer(k_S, v_E)
        outputs.append(q_S @ state_SE)
    return np.stack(outputs), state_SE


out_TE, _ = token_by_token(q_TS, k_TS, v_TE)
drawing.show(*drawing.state_by_token(q_TS, k_TS, v_TE, np.stack(upto[1:]), out_TE))

# %% [markdown]
# Follow token 4. Its key (0, 2) leaves the first row alone and adds 2 × (1, 1, 1) to the second, while its query (2, 0) reads twice the
# first row, so it does not see what it has just written. The matrix gives the same outputs: row 6 of `q kᵀ`, (1, 2, 3, 4, 1, -1),
# weights the six values, and the sum is (14, 11, 8). A weight of -1 is legal, because nothing is normalised here.
#
# The package has two more forms, loops and a running sum. On random inputs of order one all must agree, and no token may read a later one.


# %% tags=["nbval-check-output"]
def by_matrix(q_TS, k_TS, v_TE):
    return np.tril(q_TS @ k_TS.T) @ v_TE


assert same(by_matrix(q_TS, k_TS, v_TE), out_TE)
rng, T = np.random.default_rng(0), 23
q, k, v = rng.normal(size=(T, 4)), rng.normal(size=(T, 4)), rng.normal(size=(T, 7))
expected, last_state = token_by_token(q, k, v)
assert same(by_matrix(q, k, v), expected)
for package in (reference.linear_attention_loops, reference.linear_attention):
    assert same(package(q, k, v, causal=True), expected) and same(package(q, k, v, causal=False), q @ (k.T @ v))
changed = k.copy()
changed[8] += 1
moved = np.flatnonzero((token_by_token(q, changed, v)[0] != expected).any(1)) + 1
print(f"key of token 9 changed: {len(moved)} outputs move, from token {moved[0]} to {moved[-1]}")

# %% [markdown]
# ## 4. Why decoding is cheap
#
# In *decoding* (generation) one token comes after the other. With a matrix, the keys and values of all earlier tokens must be kept,
# the *KV cache*. With a state, S × E entries are kept at any position, and each token costs 2 S E multiply-adds.

# %% tags=["nbval-check-output"]
step_state = np.zeros((4, 7))
for t in range(T):
    y, step_state = reference.linear_attention_step(step_state, q[t], k[t], v[t])
    assert same(y, expected[t])
assert same(step_state, last_state)
for i in (100, 1000, 10_000):
    print(f"paper's size, token {i:6}: cache {i * (S + E):11,} entries, state {S * E:,}")
print("the cache is larger from token", next(i for i in range(1, 10_000) if i * (S + E) > S * E))

# %% [markdown]
# ## 5. Why training is slow
#
# In training all T tokens are known, and a matrix makes use of that: two large products, all tokens at once. A state can be
# computed in two direct ways. *Token by token* takes T steps, each of which waits for the one before and moves
# the whole state. *All states at once* is one running sum, but then T states lie in memory. (A *parallel scan* makes a running sum in about
# log2 T parallel steps, but still computes T states.) Here are the three forms in torch, for B sequences.


# %%
matrix_form, all_states_form = forms["attention matrix"], partial(mixing.linear_attention, causal=True)


def token_form(q, k, v):
    state, outputs = q.new_zeros(len(q), q.shape[2], v.shape[2]), []
    for t in range(q.shape[1]):
        output, state = mixing.linear_attention_step(state, q[:, t], k[:, t], v[:, t])
        outputs.append(output)
    return torch.stack(outputs, 1)


def batch(B, T, S, E, dtype=torch.float64, **more):
    return [torch.randn(B, T, width, dtype=dtype, **more) for width in (S, S, E)]


three = batch(3, 23, 4, 7)
wanted = np.stack([by_matrix(*(t[b].numpy() for t in three)) for b in range(3)])
for form in (token_form, matrix_form, all_states_form):
    assert same(form(*three).numpy(), wanted)

# %% [markdown]
# **Your second guess.** One sequence of T = 1024 tokens, token by token. A training step runs forward and then backward. How many
# sequential steps is that?

# %%
predict("04.b", None)  # your number in place of None


# %%
def sequential_steps(T, C=1):
    """Run forward and backward, with one update of the state for C tokens, and count the updates of both."""
    k, v = (t.requires_grad_() for t in batch(1, T, 2, 3)[1:])
    state, forward, backward = torch.zeros(1, 2, 3, dtype=torch.float64), 0, []
    for k_c, v_c in zip(k.split(C, 1), v.split(C, 1)):
        state = state + k_c.mT @ v_c
        forward += 1
        state.register_hook(backward.append)  # called when the gradient comes by
    state.square().sum().backward()
    return forward + len(backward)


assert sequential_steps(1024, C=64) == 2 * 16  # what section 6 will do about it
reveal("04.b", sequential_steps(1024), "sequential steps")

# %% [markdown]
# The backward pass is a chain too, while the matrix has no chain at all. How long does a training step take with each of these forms, and
# with the chunks of the first cell?


# %% tags=["timing"]
def training_step(form, T):
    """A function without arguments: forward, then the gradients of q, k and v."""
    inputs = [t.requires_grad_() for t in batch(1, T, *widths, dtype=torch.float32, device=device)]
    return lambda: torch.autograd.grad(form(*inputs).square().mean(), inputs)


forms |= {"running sum": all_states_form, "token by token": token_form}
by_T = {T: milliseconds({name: training_step(form, T) for name, form in forms.items()}) for T in lengths}
ms = {name: [taken[name] for taken in by_T.values()] for name in forms}
table = [("T", *forms), *((T, *(f"{taken[name]:.1f}" for name in forms)) for T, taken in by_T.items())]

title = "The same outputs and gradients, at very different prices"
axis_names = {"xlabel": "T, tokens in a sequence", "ylabel": "milliseconds for a training step"}
figure, axes = drawing.new_axes(7.4, 3.7, title=title, **axis_names)
drawing.lines(axes, {name: (lengths, taken) for name, taken in ms.items()}, markersize=7)
drawing.powers_of_two(axes, lengths)
drawing.logarithmic(axes)
drawing.name_lines(axes, numbers=True)
said = drawing.in_words(axes, x="T = {:,}")
drawing.show(figure, f"Line plot, both axes logarithmic, of milliseconds for a training step: {said}.", table)

# %% [markdown]
# **Misconception: linear means fast.** The symptom is the upper half of this picture: at T = 1024 a twelfth of the multiply-adds, and
# many times the time. "Linear" says how the cost *grows*, and nothing about the cost at the length that you have. The paper saw the
# same on a V100 card (Table 10, a training step at T = 512): Performer, a linear attention, took 823.0 ms, Transformer++ 222.4, and
# FLASH, with 254.4, was behind as well at this length.
#
# One cause has been counted, the sequential steps. The other is memory. What does autograd keep for the backward pass, for one head of the paper's
# size?

# %% tags=["nbval-check-output"]
S, E = 128, 1536
for T in (512, 8192):
    kept = {"all T states": T * S * E, "attention matrix": T * T, "chunks of 64": T * 64 + T // 64 * S * E}
    print(f"T = {T:4}:", ", ".join(f"{name} {4 * entries / 1e6:,.0f} MB" for name, entries in kept.items()))

inputs = [t.requires_grad_() for t in batch(1, 128, 64, 128, dtype=torch.float32)]
peak = peak_bytes(lambda: torch.autograd.grad(token_form(*inputs).square().mean(), inputs))
assert peak > 4 * 128 * 64 * 128  # token by token: no less than all T states
assert 12 * 4096**2 == 4096 * 12 * 64 * 64  # 12 heads of 64 × 64: up to here the matrices have no more entries

# %% [markdown]
# At T = 8192 the states of one layer and one sequence take 6.4 gigabytes, 24 times as much as the matrix, because this one head is wide.
# (With 12 heads of 64 × 64 the states become the smaller ones beyond T = 4096.) And token by token is no way out, because autograd keeps
# all T states as well. A kernel may compute them again (section 7), but the T steps remain.
#
# ## 6. The exact chunk form
#
# The matrix is quick for short sequences, and the state is small for long ones. So use each where it is good, and cut the sequence into
# chunks of C tokens. What token i reads is a sum over tokens, and a sum may be split:
#
# - tokens of **earlier chunks** are read through the state that enters the chunk, `q state`;
# - tokens of **its own chunk** are read through a small causal matrix, `tril(q kᵀ) v`, with C × C entries.
#
# Then the whole chunk is written at once, `state + kᵀ v`, and this is the only step for which the next chunk waits.

# %%
drawing.show(*drawing.chunk_schedule(T=14, C=4))

# %% [markdown]
# For tokens 5 and 6 of our six, with C = 2, the state that enters is the one after token 4 in the picture of section 3.

# %% tags=["nbval-check-output"]
inside = np.tril(q_TS[4:] @ k_TS[4:].T)
far, near = q_TS[4:] @ upto[4], inside @ v_TE[4:]
print(f"entering state {upto[4].tolist()}, matrix inside {inside.tolist()}")
for i in range(2):
    print(f"token {5 + i}: earlier chunks {far[i]} + its own chunk {near[i]} = {far[i] + near[i]}")
assert np.array_equal(far + near, out_TE[4:])

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
# The next cell has the line. There the read comes before the write; otherwise a chunk would count itself twice, later tokens included.


# %% tags=["nbval-check-output"]
def chunk_form(q, k, v, C=64):
    state, outputs = q.new_zeros(len(q), q.shape[2], v.shape[2]), []
    for q_c, k_c, v_c in zip(q.split(C, 1), k.split(C, 1), v.split(C, 1)):
        outputs.append(q_c @ state + (q_c @ k_c.mT).tril() @ v_c)
        state = state + k_c.mT @ v_c
    return torch.cat(outputs, 1)


for T in (1, 7, 23):
    three = batch(2, T, 4, 7)
    for C in range(1, T + 3):
        assert same(chunk_form(*three, C), token_form(*three))
    print(f"T = {T:2}: every C from 1 to {C} gives the outputs of token by token")

# %% [markdown]
# Both extremes are familiar: C = 1 is token by token, and C = T is the matrix. So here C is a *speed knob*, and no more.
#
# **Misconception: chunks are an approximation, so C changes the result.** Here they are exact. FLASH will be different (lecture 05).
#
# Which C is the fastest? A small C means few multiply-adds and many steps, a large C the reverse.


# %% tags=["timing"]
def chunk_multiply_adds(T, C, S, E):
    """What the chunk form computes: inside chunks the whole C × C matrix, and 2 S E for each token."""
    return T * C * (S + E) + 2 * T * S * E


T, (S, E) = 1024 if device == "cpu" else 4096, widths
sizes = [C for C in (1, 4, 16, 32, 64, 128, 256, 1024, 4096) if C <= T]
taken = milliseconds({C: training_step(partial(chunk_form, C=C), T) for C in sizes}, rounds=5)
counted = [chunk_multiply_adds(T, C, S, E) for C in sizes]
table = [("C", "ms", "steps", "million multiply-adds", "activations kept")]
table += [(C, f"{taken[C]:.2f}", T // C, n // 10**6, T * C + T // C * S * E) for C, n in zip(sizes, counted)]

ms = list(taken.values())
best, fewest = sizes[np.argmin(ms)], sizes[np.argmin(counted)]
title = f"The fewest multiply-adds are at C = {fewest}, the least time at C = {best}"
figure, axes = drawing.new_axes(7.0, 3.4, "C, tokens in a chunk", "times the smallest value", title)
times = {"time, measured": (sizes, np.array(ms) / min(ms))}
times["multiply-adds,\ncounted"] = (sizes, np.array(counted) / min(counted))
drawing.lines(axes, times)
axes.axvline(best, color="darkgrey", linewidth=1.2)
drawing.powers_of_two(axes, sizes)
drawing.logarithmic(axes)
drawing.name_lines(axes, apart=0.15)
said = drawing.in_words(axes, x="C = {:,}").replace("\n", " ")
alt = f"Line plot, both axes logarithmic, each line over its smallest value: {said}. The least time is at C = {best}."
drawing.show(figure, alt, table)

# %% [markdown]
# The best C usually lies in the middle, far from the smallest count. It is a property of the machine and of S and E, so measure it.
#
# ## 7. Backward: a state from the right
#
# Autograd can run the chunk form backward. But what does it compute, and could a kernel compute the same without having kept any state? Let
# `d_out` be the gradient of the loss with respect to the outputs, (T, E). The output is a sum, `out_i = sum over j ≤ i of (q_i · k_j) v_j`,
# so ask of each input which outputs use it.
#
# - **q_i** is used by output i alone, which read the state after token i: `dq_i = state_i d_out_i`.
# - **k_j and v_j** are used by all outputs i ≥ j, those to the *right*. Collect what these bring back in
#   `R_j = sum over i ≥ j of q_i d_out_iᵀ`, again S × E. Then `dv_j = k_j R_j` and `dk_j = R_j v_j`, of shapes (S)(S, E) and (S, E)(E).
#
# So R is a state as well; it starts at zero after the last token and runs to the left. On the six tokens:

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
# Check token 5. Its readers are tokens 5 and 6, so R = (0, 1) (0, 1, 0)ᵀ + (1, 2) (1, 0, 0)ᵀ, and with its value (3, 0, 1) dk is (3, 6).
#
# And `dk_j = sum over i ≥ j of (v_j · d_out_i) q_i` is linear attention again: v asks, d_out is the key, q is the value, and the sequence
# runs backwards. So *every* form of this lecture can also compute the backward pass. It makes its states anew, so the forward pass need not
# keep any.
#
# | gradient | query | key | value | sequence runs |
# | --- | --- | --- | --- | --- |
# | dq | d_out | v | k | from the left |
# | dk | v | d_out | q | from the right |
# | dv | ? | ? | d_out | from the right |
#
# **Your line** is the last row: fill in query and key, and the chunk form gives you dv.


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
# ## 8. Where the time goes: operations, bytes, steps
#
# Back to the first cell. You have met three costs: operations, memory traffic (bytes moved), and sequential steps. As a rough guess, the
# total time is that of the one which by itself would take longest. Here is the forward pass: all T² pairs of the matrix, the large arrays that are read and written, 4
# bytes an entry, and the calls that wait for one another.

# %% tags=["nbval-check-output"]
T, S, E, C = 1024, 64, 128, 64
edge = T * (2 * S + 2 * E)  # q, k, v come in, outputs go out
for name, count, moved, steps in (  # multiply-adds, other entries moved, steps
    ("token by token", 2 * T * S * E, 5 * T * S * E, T),  # k vᵀ stored; two read, one stored; one read
    ("running sum", 2 * T * S * E, 4 * T * S * E, 1),  # products stored; running sum; read
    ("attention matrix", T * T * (S + E), 4 * T * T, 1),  # stored; masked (read, stored); read
    ("chunks of 64", chunk_multiply_adds(T, C, S, E), 4 * T * C + 5 * T // C * S * E, T // C),
):
    print(f"{name:16} {count / 1e6:4.0f} million multiply-adds, {4 * (edge + moved) / 1e6:5.1f} MB, {steps:4} steps")

# %% [markdown]
# Token by token has many steps and many bytes, and both counts of the matrix grow like T². Chunks take 1.7 times the multiply-adds of a state, for 64
# times fewer steps and far fewer bytes. Only the running sum is a riddle: it moves fewer bytes than token by token, in one call, and yet it was
# so slow. A likely reason is the *order* in which bytes are moved. A processor fetches neighbours together, but a running sum over tokens, as
# torch does it on a CPU, jumps S × E entries at each step. So make the same T states one by one, each as a whole, into the same memory:

# %% tags=["timing"]
three = batch(1, T, S, E, dtype=torch.float32, device=device)
products = three[1][:, :, :, None] * three[2][:, :, None, :]  # (1, T, S, E)
states = torch.empty_like(products)


def running_sum():
    torch.cumsum(products, 1, out=states)


def state_by_state():
    states[:, 0] = products[:, 0]
    for t in range(1, T):
        torch.add(states[:, t - 1], products[:, t], out=states[:, t])  # whole states, neighbours in memory


running_sum()
summed = states.clone()
state_by_state()
assert torch.allclose(states, summed, atol=1e-3)
ms = milliseconds({"torch.cumsum over tokens": running_sum, "state by state": state_by_state})
print(", ".join(f"{name}: {taken:.1f} ms" for name, taken in ms.items()))
assert device != "cpu" or ms["torch.cumsum over tokens"] > 2 * ms["state by state"]

# %% [markdown]
# State by state does the same additions in a fraction of the time, so a large part of the running sum's cost comes from `torch.cumsum`
# along that axis on a CPU. A slow implementation does not prove that an idea is slow. The steps belong to the idea; the bytes are those of these
# implementations, and a fused kernel moves fewer (lecture 01). The chunk form needs no such kernel to avoid them, because it does not make T states.
#
# ## 9. Then why FLASH?
#
# Something should bother you by now. You have linear attention with T / C sequential steps, a cost that grows with T, and a state of
# constant size for decoding. The paper's third complaint is answered. What is left for FLASH to do?
#
# What is left is *quality*. A state holds sums, and in general a single token cannot be picked out of a sum again. Let a query ask for one
# of 256 tokens, by its key of 64 elements. Only 64 keys could be perpendicular to each other, so these overlap. How much of what is read is
# that token's value, and how much is noise from all the others?

# %% tags=["nbval-check-output"]
generator = torch.Generator().manual_seed(0)
keys = torch.nn.functional.normalize(torch.randn(256, 64, generator=generator), dim=1)  # S = 64, each of length 1
scores = keys @ keys.T  # row j asks for token j; values are taken to be independent and of equal size
noise = {}
for name, weights in {"linear": scores, "relu²": scores.relu().square()}.items():
    of_others = weights.square().sum(1) - 1  # the token itself has weight 1
    noise[name] = float(of_others.sqrt().mean())
    print(f"{name:6}: noise from the other 255 tokens, {noise[name]:.2f} times as large as the value asked for")
assert noise["linear"] > 1 > noise["relu²"]

# %% [markdown]
# The linear read is mostly noise, and the more tokens there are, the worse it becomes. relu² suppresses the others, but it needs the
# matrix. Which pairs deserve such a sharp comparison, if you can afford C for each token and not T? That is the question of lecture 05.
#
# ## 10. Train it: a line for your scoreboard
#
# Does that noise hurt a model? We take the unit of lecture 02 with another `mix`, the barest linear attention, at the learning rate that
# all scoreboards use, which was tuned for no model. It lacks two things that the GAU has, relu² (of scores over n) and the position bias.
# So two more models were trained beforehand: the GAU without its bias, and linear attention with it, `tril(q kᵀ + b) v`, which needs the
# matrix.
#
# <details><summary>Barest? What others add</summary>
#
# Katharopoulos and others (2020) make queries and keys positive by a *feature map*, elu(x) + 1, and divide each output by the
# sum of its weights. TransNormer (2022) and RetNet (2023) have a norm on the output instead.
#
# </details>

# %%
from flash_tutorial import ModelConfig, count_parameters
from flash_tutorial.corpora import load_corpus
from flash_tutorial.training import TrainConfig, train
from flash_tutorial.gau import GatedUnit


class LinearUnit(GatedUnit):
    heads = 2  # q and k, two copies of the base z, which the paper's code calls heads
    C = 16

    def __init__(self, dim, *, causal, qk_dim):
        super().__init__(dim, expansion=2, qk_dim=qk_dim, causal=causal, norm="layer")
        self.reset_parameters()

    def mix(self, heads, v, mask, segment_ids):
        return chunk_form(*heads, v, self.C)

    def state_numbers(self, T):  # for the scoreboard: what decoding keeps after T tokens
        return self.qk_dim * self.expanded


corpus = load_corpus("austen")
settings = TrainConfig(steps=300, batch=16, length=64, learning_rate=3e-3, warmup=20, eval_bytes=score_bytes)
tiny = ModelConfig(LinearUnit, dim=64, depth=4, max_length=64, norm="layer", unit_options={"qk_dim": 32}, start="paper")
runs = {"linear attention": train(tiny, settings, corpus=corpus, progress=False)}
run = runs["linear attention"]

# %% tags=["nbval-check-output"]
from flash_course.bench.counts import count_state_numbers
from flash_course.bench.stored import compare_with_stored, load_stored

compare_with_stored("04", runs)  # made once by experiments/scoreboard.py, with the same seed and settings
stored = load_stored("scoreboard")
bits = run.evaluation.bits_per_byte
entries, step_ms = count_state_numbers(run.model, 64), 1000 * float(np.median(np.diff([r["seconds"] for r in run.log])))
learner.score("04", "linear attention", bits_per_byte=bits, step_ms=step_ms, state_numbers=entries)
yours = f"{bits:.1f} bits per byte, {count_parameters(run.model):,} parameters, state {entries:,}"
print(f"{'yours, linear attention':25} {yours}")
names = ("04 linear attention", "02 GAU, relu^2", "04 GAU, no bias", "04 linear attention, bias", "00 transformer++")
scores = {name: stored["seeds"][name] for name in names}
for name, of_seeds in scores.items():
    print(f"{name[3:]:25} {', '.join(f'{score:.2f}' for score in of_seeds)}, stored, three seeds")
linear, gau, unbiased, biased, plus = scores.values()
assert min(linear) > max(*gau, *plus) + 0.05 and min(linear) > max(biased) and min(unbiased) > max(linear) + 1
left = welch(biased, gau)
print(f"linear attention with the bias, minus the GAU: {left}")
assert not left.is_settled and left.half > 0.1

# %% [markdown]
# Linear attention is behind at every seed, behind the GAU and behind Transformer++. But it may be the bias that it lacks, and not relu²: with the
# GAU's bias it is as good as the GAU on the mean. relu² of scores over n hardly begins to learn *without* the bias, probably because the first scores are tiny and their
# squares tinier still (that was not tested). So in these runs the bias closes the gap, and what relu² adds beside it three seeds cannot say: the
# interval in the last line is as wide as the gap was (at T = 64, after 300 updates; lecture 10 says how such an interval is made).
#
# What does this mean for FLASH? A bias that is learned freely for each distance needs pairs, as relu² does; a state of constant size has no
# place for either. FLASH has both: the pairs of a chunk, and a state, which for four units as here takes 16,384 entries after 64 tokens or
# a million (plus room for the tokens of one chunk).
#
# ## 11. What to remember
#
# Fill in the last column yourself.
#
# | claim | your evidence | your verdict |
# | --- | --- | --- |
# | Both orders of the product give the same outputs | section 1: six tokens; section 3: four forms on random inputs | |
# | The order with fewer multiply-adds is the faster one | section 1: roughly, without a mask; section 5: no with one | |
# | Decoding has a constant cost | section 4: entries kept at three positions | |
# | Training token by token is slow | section 5: 2048 sequential steps, all T states in memory, times against T | |
# | Chunks are an approximation | section 6: the same outputs for every C | |
# | The backward pass needs all states | section 7: two states, one from each side | |
# | Linear attention is as good as softmax attention | section 10: behind with three seeds of a tiny model, level on their mean once it has the GAU's bias | |
#
# **Three takeaways**
# 1. `q (kᵀ v)`: without a function on the scores the matrix becomes a state of S × E entries, whatever T is.
# 2. A causal state is a chain, ideal for generation and slow in training: computed directly, T sequential steps or T states in memory.
# 3. Chunks break the chain into T / C links, with a matrix inside and a state between. Here that is exact, so C is only a speed knob.
#
# **Exercises** [Problem set 04](../exercises/04_linear_attention.ipynb), seven tasks.
#
# **Next** [Lecture 05](05_mixed_chunk_attention.ipynb) spends the matrix inside the chunk on something better, relu², and keeps the state between chunks: mixed chunk attention.
