# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 04 Linear attention: a state instead of a map
#
# [With results](04_linear_attention.ipynb) · [without, to work in](work/04_linear_attention.ipynb) · [problem set 04](../exercises/04_linear_attention.ipynb) · [glossary](../docs/glossary.md)
#
# Attention compares all pairs of tokens. Leave out the softmax, and a small table, the state, can replace the map of all pairs.
# Writing text becomes cheap. Training becomes slow, and this is the paper's third complaint. This lecture measures why, and mends it.
#
# **After it you can**
# - reorder the product of three arrays, and count its operations both ways;
# - run causal linear attention token by token, with all states at once, as a map and in chunks, and prove that all four agree;
# - say why decoding is cheap and training is slow, and keep apart operations, bytes and steps in a row;
# - write the backward pass with a state that runs from the right;
# - say what a chunk length changes here, and what it does not change.
#
# **You need** lecture 01 (the causal mask, who sees whom), and of lecture 02 the unit with its `mix`.
# Of lecture 03 you need why tests use numbers of order one.
#
# **Time** 41 minutes to read. Computing takes about 25 seconds on two CPU cores; a GPU was not measured yet.
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
# Two questions from lectures 02 and 03. Answer from memory, then open the fold.
#
# **1.** A Toeplitz bias serves n tokens. What is the shape of its weights, and on what does an entry depend?
#
# <details><summary>Answer</summary>
#
# (2 n - 1,): one number for each distance from -(n - 1) to n - 1. An entry depends on the distance j - i only.
#
# </details>
#
# **2.** Why is a fresh unit nearly the identity, and why does that matter for tests?
#
# <details><summary>Answer</summary>
#
# Its weights are drawn with a standard deviation of 0.02, so what it adds to x is tiny. A fault then changes nearly nothing.
# A test needs parameters and inputs of order one.
#
# </details>
#
# The letters: T tokens, D model width, S query and key width, E width of a value, C tokens in a chunk, B texts at a time.
# A name like `q_TS` says the shape: T rows, S columns. Query, key and value of token i are rows i of `q_TS`, `k_TS`, `v_TE`.

# %%
from dataclasses import dataclass

import numpy as np
import torch

from flash_course import figures, learner
from flash_tutorial import mixing, reference
from flash_course.bench.clock import peak_bytes, summary, time_in_turn
from flash_course.learner import predict, reveal

torch.set_num_threads(1)
device = "cuda" if torch.cuda.is_available() else "cpu"


@dataclass
class Preset:
    widths: tuple  # S and E of the arrays that are timed
    lengths: tuple  # numbers of tokens T
    rounds: int  # of each time, the median counts
    score_bytes: int  # of new text, on which the trained model is scored


CPU = Preset((64, 128), (64, 256, 1024), 3, 20_000)
GPU = Preset((128, 256), (64, 256, 1024, 4096), 5, 100_000)
preset = GPU if device == "cuda" else CPU


def same(a, b):
    """The same shape and, up to rounding, the same numbers."""
    return a.shape == b.shape and bool(abs(a - b).max() < 1e-9)


print(preset)

# %% [markdown]
# ## 1. One product, two orders
#
# Attention without a softmax is a product of three arrays: `(q kᵀ) v`. The bracket is the map, T × T numbers.
# For such products the brackets may move: `(q kᵀ) v = q (kᵀ v)`. This rule is called *associativity*.
# The second bracket has S × E numbers. Nothing in it is as large as T × T.
#
# Six tokens with S = 2 and E = 3, in whole numbers. Check one number of each bracket with a pencil.

# %% tags=["nbval-check-output"]
q_TS = np.array([(1, 0), (0, 1), (1, 1), (2, 0), (0, 1), (1, 2)])
k_TS = np.array([(1, 0), (0, 1), (1, 1), (0, 2), (1, 0), (1, -1)])
v_TE = np.array([(1, 0, 2), (0, 3, 1), (2, 1, 0), (1, 1, 1), (3, 0, 1), (0, 2, 1)])

print("q kᵀ, the map:     ", *(q_TS @ k_TS.T), sep="\n  ")
print("kᵀ v, the state:   ", *(k_TS.T @ v_TE), sep="\n  ")
print("token 6, map first:  ", (q_TS @ k_TS.T @ v_TE)[5], " state first:", (q_TS @ (k_TS.T @ v_TE))[5])
print("all tokens, both orders equal:", same((q_TS @ k_TS.T) @ v_TE, q_TS @ (k_TS.T @ v_TE)))

# %% [markdown]
# This works only because *nothing* stands between the two products. With relu² or a softmax on the map, the brackets cannot move.
# For such a function f, `f(q kᵀ)` needs each score by itself, so it needs the map.
# Attention without such a function is called *linear attention*, since its cost can grow like T. It pays with the function.
#
# Now count multiplications, with loops that compute both orders. Each `count + 1` stands beside one of them.
# `np.ndindex(a, b)` runs over all pairs of indices, as two nested loops would.


# %% tags=["nbval-check-output"]
def map_first_loops(q_TS, k_TS, v_TE):
    out_TE, count = np.zeros((len(q_TS), v_TE.shape[1])), 0
    for i, j in np.ndindex(len(q_TS), len(k_TS)):
        score = 0
        for s in range(q_TS.shape[1]):
            score, count = score + q_TS[i, s] * k_TS[j, s], count + 1
        for e in range(v_TE.shape[1]):
            out_TE[i, e], count = out_TE[i, e] + score * v_TE[j, e], count + 1
    return out_TE, count


def state_first_loops(q_TS, k_TS, v_TE):
    state_SE, out_TE, count = np.zeros((k_TS.shape[1], v_TE.shape[1])), np.zeros((len(q_TS), v_TE.shape[1])), 0
    for j, s, e in np.ndindex(len(k_TS), *state_SE.shape):
        state_SE[s, e], count = state_SE[s, e] + k_TS[j, s] * v_TE[j, e], count + 1
    for i, s, e in np.ndindex(len(q_TS), *state_SE.shape):
        out_TE[i, e], count = out_TE[i, e] + q_TS[i, s] * state_SE[s, e], count + 1
    return out_TE, count


(by_map, map_count), (by_state, state_count) = (f(q_TS, k_TS, v_TE) for f in (map_first_loops, state_first_loops))
assert same(by_map, by_state) and same(by_map, q_TS @ (k_TS.T @ v_TE).astype(float))
print(f"six tokens: {map_count} = T T (S + E) = {6 * 6 * (2 + 3)}, {state_count} = 2 T S E = {2 * 6 * 2 * 3}")
S, E = 128, 1536  # the paper's base size
for T in (64, 256, 1024, 8192):
    first, second = T * T * (S + E), 2 * T * S * E
    print(f"T = {T:5}: map first {first:15,}, state first {second:13,}, quotient {first / second:.2f}")

# %% [markdown]
# Map first grows with T², state first with T. At T = 64 the state is the *more expensive* order.
# At T = 256 both need nearly the same number. That was the count. Now measure the time.
#
# **Your first guess.** T = 256 at the paper's size, no mask. How many times as fast is `q (kᵀ v)` as `(q kᵀ) v`?
# Write 2 if you expect half the time, and 0.5 if you expect twice the time.

# %%
my_guess = None  # your number here
predict("04.a", my_guess)

# %% tags=["timing"]
torch.manual_seed(0)


def milliseconds(functions, rounds=preset.rounds):
    """The median time of each function. They take turns, so that a busy moment hits all of them."""
    return {name: 1000 * summary(t)["median"] for name, t in time_in_turn(functions, rounds, device=device).items()}


for T in (64, 256, 1024):
    q, k, v = (torch.randn(T, width, device=device) for width in (S, S, E))
    orders = {"map": lambda q=q, k=k, v=v: (q @ k.mT) @ v, "state": lambda q=q, k=k, v=v: q @ (k.mT @ v)}
    ms = milliseconds(orders, rounds=25)
    print(f"T = {T:4}: map first {ms['map']:7.2f} ms, state first {ms['state']:7.2f} ms")
    if T == 256:
        reveal("04.a", ms["map"] / ms["state"], "times as fast")

# %% [markdown]
# Without a mask, the clock roughly follows the count: at T = 64 the map is faster, at T = 1024 the state.
# In between, where the counts are equal, small things decide. Both orders are two large products, and both suit the machine.
# Keep this in mind: the trouble below does not come from the reordering itself. It comes from the causal mask.
#
# ## 2. The state
#
# Look at `kᵀ v` as a memory. It is a sum over tokens: token j *writes* each number of its key times each of its value.
# These S × E products are called the *outer product*, `np.outer(k_j, v_j)`, or k_j v_jᵀ in formulas.
# A query *reads*: it mixes the S rows of the state into one output of E numbers.
#
# Two things follow. The size of the memory does not depend on T. And without a mask the order of the tokens is lost.


# %% tags=["nbval-check-output"]
def write_all(k_TS, v_TE):
    state_SE = np.zeros((k_TS.shape[1], v_TE.shape[1]))
    for k_S, v_E in zip(k_TS, v_TE):
        state_SE += np.outer(k_S, v_E)
    return state_SE


print("sum of outer products = kᵀ v:", same(write_all(k_TS, v_TE), k_TS.T @ v_TE))
mixed_up = [3, 0, 5, 1, 4, 2]
print("tokens in another order, same state:", same(write_all(k_TS[mixed_up], v_TE[mixed_up]), k_TS.T @ v_TE))
for T in (512, 8192, 65_536):
    q, k, v = (torch.empty(T, width, device="meta") for width in (S, S, E))  # "meta": shapes only, no memory
    print(f"T = {T:6}: map {(q @ k.mT).numel():13,} numbers, state {(k.mT @ v).numel():,}")

# %% [markdown]
# The state has 196,608 numbers at the paper's size. That is much for a short text and little for a long one.
# And it is a limit: a map keeps every pair apart, while the state has added everything up. Lecture 10 tests what gets lost.
#
# ## 3. Causal: the state is a running sum
#
# In a causal model token i may read tokens 1 to i only. So it needs the state *as it was* after token i:
#
# 1. token i writes: state = state + k_i v_iᵀ (equation 6 of the paper);
# 2. token i reads: output = q_i state.
#
# It writes before it reads, so it sees itself.
#
# **Your line.** The whole computation is a loop with one state. One line is missing.
#
# ```python
# def token_by_token(q_TS, k_TS, v_TE):
#     state_SE, outputs = np.zeros((k_TS.shape[1], v_TE.shape[1])), []
#     for q_S, k_S, v_E in zip(q_TS, k_TS, v_TE):
#         ...                      # write
#         outputs.append(q_S @ state_SE)
#     return np.stack(outputs), state_SE
# ```
#
# <details><summary>The line</summary>
#
# `state_SE = state_SE + np.outer(k_S, v_E)`: add, never replace. And not `+=` on an array that somebody else still holds.
#
# </details>


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


states = np.stack([token_by_token(q_TS[:t], k_TS[:t], v_TE[:t])[1] for t in range(1, 7)])
out_TE, _ = token_by_token(q_TS, k_TS, v_TE)
figures.show(*figures.state_by_token(q_TS, k_TS, v_TE, states, out_TE))

# %% [markdown]
# Follow token 4. Its key (0, 2) leaves the first row alone and adds 2 × (1, 1, 1) to the second.
# Its query (2, 0) reads twice the first row, so it does not see what it wrote itself.
#
# The same through the map: row 6 of `q kᵀ` is (1, 2, 3, 4, 1, -1). A weight of -1 is legal: nothing is normalised here.
#
# So there are three ways to write it down. Two more stand in the package.
# With numbers of order one, are they the same, and does any token see a later one?


# %% tags=["nbval-check-output"]
def by_map(q_TS, k_TS, v_TE):
    return np.tril(q_TS @ k_TS.T) @ v_TE


def by_all_states(q_TS, k_TS, v_TE):
    states_TSE = np.cumsum(k_TS[:, :, None] * v_TE[:, None, :], axis=0)  # the running sum, all T states at once
    return np.einsum("ts,tse->te", q_TS, states_TSE)


print("token 6 by the map:", by_map(q_TS, k_TS, v_TE)[5], " by the state:", out_TE[5].astype(int))
rng = np.random.default_rng(0)
T = 23
q, k, v = rng.normal(size=(T, 4)), rng.normal(size=(T, 4)), rng.normal(size=(T, 7))
expected = token_by_token(q, k, v)[0]
print("map = token by token:       ", same(by_map(q, k, v), expected))
print("all states = token by token:", same(by_all_states(q, k, v), expected))
for name, package in (("loops", reference.linear_attention_loops), ("NumPy", reference.linear_attention)):
    print(f"package, {name} = token by token:", same(package(q, k, v, causal=True), expected))
    print(f"package, {name}, no mask = q (kᵀ v):", same(package(q, k, v, causal=False), q @ (k.T @ v)))
changed = k.copy()
changed[8] += 1
moved = np.flatnonzero((token_by_token(q, changed, v)[0] != expected).any(1)) + 1
print(f"key of token 9 changed; outputs that move: {moved[0]} to {moved[-1]}, all of them: {len(moved) == T - 8}")

# %% [markdown]
# ## 4. Why decoding is cheap
#
# *Decoding* is writing text: one token comes after the other. With a map, the keys and values of all earlier tokens must be kept.
# They are called the *cache*. With a state, S × E numbers are kept at any position, and each token costs 2 S E multiplications.
#
# A state can also be handed on. Read a prompt, keep the state, and go on from there as often as you like.

# %% tags=["nbval-check-output"]
first, state = token_by_token(q[:10], k[:10], v[:10])
kept = state.copy()
second, _ = token_by_token(q[10:], k[10:], v[10:], state)
print("10 tokens, then 13 from the state = 23 tokens:", same(np.concatenate([first, second]), expected))
print("the prompt's state is still what it was:", np.array_equal(state, kept))
step_state, steps_equal = np.zeros((4, 7)), []
for t in range(T):
    y, step_state = reference.linear_attention_step(step_state, q[t], k[t], v[t])
    steps_equal.append(same(y, expected[t]))
print("package, step by step = token by token:", all(steps_equal) and same(step_state, token_by_token(q, k, v)[1]))
for i in (100, 1000, 10_000):
    print(f"paper's size, token {i:6}: cache {i * (S + E):11,} numbers, state {S * E:,}")
print("the cache is larger from token", next(i for i in range(1, 10_000) if i * (S + E) > S * E))

# %% tags=["timing"]
q1, k1, v1 = (torch.randn(1, width, device=device) for width in (S, S, E))
state_SE = torch.zeros(1, S, E, device=device)
ready = {}
for i in (100, 1000, 10_000):
    keys, values = torch.randn(i, S, device=device), torch.randn(i, E, device=device)
    ready[f"token {i}, cache"] = lambda keys=keys, values=values: (q1 @ keys.mT) @ values
    ready[f"token {i}, state"] = lambda: mixing.linear_attention_step(state_SE, q1, k1, v1)
for name, ms in milliseconds(ready, rounds=9).items():
    print(f"{name:20} {1000 * ms:9.0f} microseconds")

# %% [markdown]
# With a cache, a token costs more the later it comes. With a state it does not matter when it comes.
# Early in a text the cache is the cheaper one: up to token 118 it holds fewer numbers.
# Lecture 09 builds a whole model on this.
#
# ## 5. Why training is slow
#
# In training all T tokens are known. A map uses that: two large products, all tokens at once.
# A state can be computed in two ways, and each has its price.
#
# - **Token by token.** One state, T steps in a row. Each step moves the whole state and waits for the step before it.
# - **All states at once.** One running sum instead of a loop, but now T states of S × E numbers lie in memory.
#
# Here are all three in torch, with B texts at a time. The first and the last call the package.


# %% tags=["nbval-check-output"]
def token_form(q, k, v):
    state, outputs = q.new_zeros(len(q), q.shape[2], v.shape[2]), []
    for t in range(q.shape[1]):
        output, state = mixing.linear_attention_step(state, q[:, t], k[:, t], v[:, t])
        outputs.append(output)
    return torch.stack(outputs, 1)


def map_form(q, k, v):
    return (q @ k.mT).tril() @ v


def all_states_form(q, k, v):
    return mixing.linear_attention(q, k, v, causal=True)


def batch(B, T, S, E, dtype=torch.float64, **more):
    return [torch.randn(B, T, width, dtype=dtype, **more) for width in (S, S, E)]


torch.manual_seed(1)
qb, kb, vb = batch(3, 23, 4, 7)
for form in (token_form, map_form, all_states_form):
    rows = np.stack([by_map(*(t[b].numpy() for t in (qb, kb, vb))) for b in range(3)])
    print(f"{form.__name__:16} = NumPy, row by row:", same(form(qb, kb, vb).numpy(), rows))
both_sides = mixing.linear_attention(qb, kb, vb, causal=False)
print("package, no mask = q (kᵀ v):", same(both_sides, qb @ (kb.mT @ vb)))

# %% [markdown]
# **Your second guess.** One text of T = 1024 tokens, token by token. A training step runs forward and then backward.
# Each update of the state waits for another one. How many such steps stand in a row?

# %%
my_second_guess = None  # your number here
predict("04.b", my_second_guess)


# %%
def steps_in_a_row(T, C=1):
    """Run forward and backward, one update of the state for C tokens, and count the updates as they happen."""
    seen = {"forward": 0, "backward": 0}
    q, k, v = (t.requires_grad_() for t in batch(1, T, 2, 3))
    state = torch.zeros(1, 2, 3, dtype=torch.float64)
    loss = torch.zeros((), dtype=torch.float64)
    for start in range(0, T, C):
        own = slice(start, start + C)
        state = state + k[:, own].mT @ v[:, own]
        seen["forward"] += 1
        state.register_hook(lambda gradient: seen.update(backward=seen["backward"] + 1))
        loss = loss + (q[:, own] @ state).sum()
    loss.backward()
    return seen


seen = steps_in_a_row(1024)
print(seen)
assert seen == {"forward": 1024, "backward": 1024}
assert steps_in_a_row(1024, C=64) == {"forward": 16, "backward": 16}  # what section 6 will do about it
reveal("04.b", sum(seen.values()), "steps in a row")

# %% [markdown]
# The backward pass is a chain too, from the last token to the first. Section 7 says what runs along it.
# The map has no chain at all: its few products take all tokens at once.
#
# How long does it take? First the count for the sizes that are timed, then a training step of each form.
# (The count has the pairs that a causal map needs. Our `map_form` computes the hidden half too, and puts it to zero.)

# %% tags=["nbval-check-output"]
S, E, T = 64, 128, 1024
pairs = T * (T + 1) // 2  # causal: row i has i pairs
of_map, of_state = pairs * (S + E), 2 * T * S * E
print(f"multiplications: map {of_map:,}, state {of_state:,}, quotient {of_map / of_state:.1f}")


def training_step(form, T):
    """A function without arguments: forward, then the gradients of q, k and v."""
    inputs = [t.requires_grad_() for t in batch(1, T, *preset.widths, dtype=torch.float32, device=device)]
    return lambda: torch.autograd.grad(form(*inputs).square().mean(), inputs)


def times_by_length(forms, lengths):
    ms = {name: [] for name in forms}
    for T in lengths:
        try:
            taken = milliseconds({name: training_step(form, T) for name, form in forms.items()})
        except torch.OutOfMemoryError:
            taken = {}
        for name in forms:
            ms[name].append(taken.get(name))
    return ms


# %% tags=["timing"]
def draw_times(forms, lengths):
    ms = times_by_length(forms, lengths)
    ends = {name: row[-1] for name, row in ms.items() if row[-1]}
    others = ", ".join(f"{end / ends['map']:.2g} for {name}" for name, end in ends.items() if name != "map")
    title = f"Over the map's time, T = {lengths[-1]}: {others}"
    rows = [(T, *("-" if row[i] is None else f"{row[i]:.1f}" for row in ms.values())) for i, T in enumerate(lengths)]
    label = "milliseconds for a training step"
    figures.show(*figures.forms_by_length(lengths, ms, ylabel=label, title=title), table=[("T", *ms), *rows])


forms = {"all states at once": all_states_form, "token by token": token_form, "map": map_form}
draw_times(forms, preset.lengths)

# %% [markdown]
# **Misconception: linear means fast.** The symptom is this picture: a sixth of the multiplications, and many times the time.
# "Linear" says how the cost *grows*. It says nothing about the cost at the length that you have.
#
# The paper saw the same on a V100 card (Table 10, training step, T = 512 with 4 texts).
# Performer, a linear attention, took 823.0 ms, and Transformer++ took 222.4 ms.
#
# One cause was counted: steps in a row. The other one is bytes. What must lie in memory for the backward pass?
# The figure counts it at the paper's size. The cell after it asks torch, at a small size.
# (The line "chunks" belongs to section 6. "One state" is what decoding keeps.)


# %%
def megabytes_kept(T, S, E, C=64):
    """The large arrays that the backward pass needs again, 4 bytes a number."""
    kept = {"all T states": T * S * E, "map": T * T, "chunks, C = 64": T * C + -(-T // C) * S * E, "one state": S * E}
    return {name: 4 * numbers / 1e6 for name, numbers in kept.items()}


lengths = (512, 1024, 2048, 4096, 8192)
each = [megabytes_kept(T, 128, 1536) for T in lengths]
kept = {name: [row[name] for row in each] for name in each[0]}
title = "The paper's size, one text, one layer: states outweigh the map"
figures.show(
    *figures.forms_by_length(lengths, kept, ylabel="megabytes kept", title=title),
    table=[("T", *kept), *((T, *(f"{row[name]:.3g}" for name in kept)) for T, row in zip(lengths, each))],
)

# %% tags=["nbval-check-output"]
# What does torch really take, at most at one time, in a training step?
S, E, T = 64, 128, 128
for name, form in (("all states at once", all_states_form), ("token by token", token_form), ("map", map_form)):
    inputs = [t.requires_grad_() for t in batch(1, T, S, E, dtype=torch.float32)]
    peak = peak_bytes(lambda form=form, inputs=inputs: torch.autograd.grad(form(*inputs).square().mean(), inputs))
    states_held, maps_held = peak / (4 * T * S * E), peak / (4 * T * T)
    print(f"{name:18}: room of all T states at least once: {states_held >= 1}, of a map: {maps_held >= 1}")
big = 4 * 8192 * 128 * 1536
print(f"paper's size, T = 8192: {big / 1e9:.1f} GB of states, {big / (4 * 8192**2):.0f} times a map")

# %% [markdown]
# At T = 8192 the states of one layer and one text take 6.4 gigabytes, 24 times as much as the map.
# A state has as many numbers as 196,608 places of the map. So up to T = 196,608 the map is smaller than all states.
#
# And torch confirms it: token by token needs room for all T states too. Autograd, torch's own backward pass, needs them again.
#
# ## 6. The exact chunk form
#
# The map is quick for short texts. The state is small for long ones. Use each where it is good.
#
# Cut the text into chunks of C tokens. What token i reads is a sum over tokens, and a sum may be split:
#
# - **tokens of earlier chunks**: through the state that enters the chunk, `q state`;
# - **tokens of the own chunk**: through a small causal map, `tril(q kᵀ) v` with C × C numbers.
#
# Then the whole chunk is written at once: `state + kᵀ v`. The next chunk waits for this one step.

# %%
figures.show(*figures.chunk_schedule(T=14, C=4))

# %% [markdown]
# On the six tokens, with C = 2. Compare with the picture of section 3: the states are those after tokens 2 and 4.

# %% tags=["nbval-check-output"]
state = np.zeros((2, 3), int)
for start in range(0, 6, 2):
    own = slice(start, start + 2)
    inside = np.tril(q_TS[own] @ k_TS[own].T)
    print(f"tokens {start + 1}, {start + 2}: entering state {state.tolist()}, map inside {inside.tolist()}")
    for i in range(2):
        far, near = (q_TS[own] @ state)[i], (inside @ v_TE[own])[i]
        print(f"   token {start + i + 1}: earlier chunks {far} + own chunk {near} = {far + near}")
    state = state + k_TS[own].T @ v_TE[own]
print("token by token had:", *out_TE.astype(int))

# %% [markdown]
# **Your line.** In torch, with a batch. One line is missing.
#
# ```python
# def chunk_form(q, k, v, C):
#     state, outputs = q.new_zeros(len(q), q.shape[2], v.shape[2]), []
#     for q_c, k_c, v_c in zip(q.split(C, 1), k.split(C, 1), v.split(C, 1)):
#         ...                              # read: two parts
#         state = state + k_c.mT @ v_c     # then write the chunk
#     return torch.cat(outputs, 1)
# ```
#
# <details><summary>The line</summary>
#
# `outputs.append(q_c @ state + (q_c @ k_c.mT).tril() @ v_c)`. The read comes before the write here.
# Otherwise the own chunk is counted twice, later tokens included.
#
# </details>


# %% tags=["nbval-check-output"]
def chunk_form(q, k, v, C=64):
    state, outputs = q.new_zeros(len(q), q.shape[2], v.shape[2]), []
    for q_c, k_c, v_c in zip(q.split(C, 1), k.split(C, 1), v.split(C, 1)):
        outputs.append(q_c @ state + (q_c @ k_c.mT).tril() @ v_c)
        state = state + k_c.mT @ v_c
    return torch.cat(outputs, 1)


equal = {}
for T in (1, 7, 23, 64):
    three = batch(2, T, 4, 7)
    expected = token_form(*three)
    equal[T] = [same(chunk_form(*three, C), expected) for C in range(1, T + 3)]
    print(f"T = {T:2}: C = 1 to {T + 2} give the numbers of token by token: {all(equal[T])}")
three = batch(2, 23, 4, 7)
print("C = 23 is the map, bit for bit:", torch.equal(chunk_form(*three, 23), map_form(*three)))
print("package, all states = C = 5:", same(all_states_form(*three), chunk_form(*three, 5)))

# %% [markdown]
# Every C gives the same numbers. Both ends are known to you: C = 1 is token by token, and C = T is the map.
# Here C is a *speed knob*: turn it as you like, nothing but time and memory changes.
#
# **Misconception: chunks are an approximation, so C changes the result.** Here they are exact. In FLASH it is another matter.
# FLASH uses relu² inside a chunk and the state between chunks. The same pair of tokens gets another weight on the other side of a border.
# The symptom is what each says to another C:

# %% tags=["nbval-check-output"]
exact = [chunk_form(*three, C) for C in (4, 8, 23)]
mixed = [
    mixing.mixed_chunk_attention(three[0], three[1], *three, chunk_size=C, causal=True, combine="sum")
    for C in (4, 8, 23)
]
print("linear attention, C = 4, 8, 23: same numbers:", same(exact[0], exact[1]) and same(exact[0], exact[2]))
print("FLASH's mixing,   C = 4, 8, 23: same numbers:", same(mixed[0], mixed[1]) or same(mixed[0], mixed[2]))

# %% [markdown]
# So a FLASH model belongs to one C, and lecture 05 shows what that means.
# Here, which C is the quickest? First the counts: few operations mean many steps, and few steps mean many operations.
# Before you look at the times below the counts: which C do you expect?

# %% tags=["nbval-check-output"]
from torch.utils.flop_counter import FlopCounterMode

S, E, T = 64, 128, 1024


def chunk_operations(T, C, S, E):
    """Multiplications that the chunk form does: inside chunks the whole C × C map, and 2 S E for each token."""
    return T * C * (S + E) + 2 * T * S * E


for C in (1, 4, 16, 64, 256, 1024):
    operations, numbers = chunk_operations(T, C, S, E), T * C + T // C * S * E
    print(f"C = {C:4}: {T // C:4} steps in a row, {operations:11,} multiplications, {numbers:9,} numbers kept")
    assert steps_in_a_row(T, C)["forward"] == T // C
    with FlopCounterMode(display=False) as counter:  # torch counts its products; a multiplication and an addition are 2
        chunk_form(*batch(1, T, S, E, dtype=torch.float32), C)
    assert counter.get_total_flops() == 2 * operations

# %% tags=["timing"]
T = 1024 if device == "cpu" else 4096
S, E = preset.widths
sizes = [4**n for n in range(6)] if T == 1024 else [4**n for n in range(7)]
sizes = sorted({*sizes, 32, 128})
taken = milliseconds({C: training_step(lambda *three, C=C: chunk_form(*three, C), T) for C in sizes}, rounds=5)
counted = [chunk_operations(T, C, S, E) for C in sizes]
rows = [(C, f"{taken[C]:.2f}", f"{n / 1e6:.0f}") for C, n in zip(sizes, counted)]
table = [("C", "ms", "million multiplications"), *rows]
figures.show(*figures.chunk_sizes(sizes, list(taken.values()), counted), table=table)

longer = (*preset.lengths, 2 * preset.lengths[-1])
draw_times({"map": map_form, "chunks, C = 64": chunk_form}, longer)

# %% [markdown]
# The best C lies in the middle, far from the smallest count. It is a property of the machine and of S and E: measure it on yours.
# The second figure is what was missing so far: a form of a state that beats the map when the text is long.
# In a short text the map is the quicker one. From which T on do chunks win on your machine?
#
# ## 7. Backward: a state from the right
#
# Training needs gradients. Let `d_out` be the gradient of the loss with respect to the outputs, (T, E).
# The output is a sum, `out_i = sum over j ≤ i of (q_i · k_j) v_j`. Ask for each input: who uses it?
#
# - **q_i** is used by output i alone. It read the state after token i: `dq_i = state_i d_out_i`.
# - **k_j and v_j** are used by all outputs i ≥ j, those to the *right*. Collect what these outputs bring back:
#   `R_j = sum over i ≥ j of q_i d_out_iᵀ`, S × E numbers. Then `dv_j = k_j R_j` and `dk_j = R_j v_j`.
#
# R is a state as well. It starts at zero behind the last token and runs to the left. On the six tokens:

# %% tags=["nbval-check-output"]
d_out_TE = np.array([(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 0, 1), (0, 1, 0), (1, 0, 0)])
R_SE = np.zeros((2, 3), int)
dk_TS, dv_TE = np.zeros((6, 2), int), np.zeros((6, 3), int)
for j in reversed(range(6)):
    R_SE = R_SE + np.outer(q_TS[j], d_out_TE[j])  # token j itself is one of its readers
    dk_TS[j], dv_TE[j] = R_SE @ v_TE[j], k_TS[j] @ R_SE
    print(f"token {j + 1}: R = {R_SE.tolist()}, dk = {dk_TS[j]}, dv = {dv_TE[j]}")

# %% [markdown]
# Check token 5: its readers are tokens 5 and 6. They bring (0, 1) (0, 1, 0)ᵀ and (1, 2) (1, 0, 0)ᵀ.
# Their sum is R, with rows (1, 0, 0) and (2, 1, 0). The value of token 5 is (3, 0, 1), so dk is (3, 6).
#
# Now compare with two judges that know nothing of R. One is autograd.
# *Finite differences* are the other: move one number, and look how the loss moves. The loss is the sum of out × d_out.
# It is linear in each number, so they are exact. The last line tries a state from the left, a likely fault.

# %% tags=["nbval-check-output"]
inputs = [torch.tensor(a, dtype=torch.float64, requires_grad=True) for a in (q_TS, k_TS, v_TE)]
token_form(*(t[None] for t in inputs))[0].backward(torch.tensor(d_out_TE, dtype=torch.float64))
print("dk = autograd:", same(dk_TS, inputs[1].grad.numpy()), " dv = autograd:", same(dv_TE, inputs[2].grad.numpy()))


def moved_by(place, amount):
    """The loss when one number of the keys is moved."""
    k = k_TS.astype(float)
    k[place] += amount
    return (token_by_token(q_TS, k, v_TE)[0] * d_out_TE).sum()


slopes = np.array([[(moved_by((j, s), 0.5) - moved_by((j, s), -0.5)) for s in range(2)] for j in range(6)])
print("dk = finite differences:", same(slopes, dk_TS))
from_the_left = np.stack([np.cumsum(q_TS[:, :, None] * d_out_TE[:, None], 0)[j] @ v_TE[j] for j in range(6)])
print("dk with a state from the left:", same(from_the_left, dk_TS))

# %% [markdown]
# The formulas show something useful. `dk_j = sum over i ≥ j of (v_j · d_out_i) q_i` is linear attention again:
# v asks, d_out is the key, q is the value, and the text runs backwards. So *every* form of this lecture is also a backward pass.
#
# | gradient | query | key | value | text runs |
# | --- | --- | --- | --- | --- |
# | dq | d_out | v | k | from the left |
# | dk | v | d_out | q | from the right |
# | dv | ? | ? | d_out | from the right |
#
# <details><summary>The last line</summary>
#
# k asks, q is the key: `dv_j = sum over i ≥ j of (k_j · q_i) d_out_i`.
#
# </details>
#
# Try it with the chunk form, T = 23 and several C. Each gradient takes as many steps as the forward pass.
# No state has to be kept: each of these passes makes its own.


# %% tags=["nbval-check-output"]
def from_the_right(query, key, value, C):
    return chunk_form(query.flip(1), key.flip(1), value.flip(1), C).flip(1)


inputs = [t.requires_grad_() for t in batch(2, 23, 4, 7)]
d_out = torch.randn(2, 23, 7, dtype=torch.float64)
expected = torch.autograd.grad(map_form(*inputs), inputs, d_out)
q, k, v = (t.detach() for t in inputs)
for C in (1, 5, 23):
    mine = chunk_form(d_out, v, k, C), from_the_right(v, d_out, q, C), from_the_right(k, q, d_out, C)
    print(f"C = {C:2}: dq, dk, dv = autograd:", *(same(a, b) for a, b in zip(mine, expected)))
print("autograd through chunks agrees too:",
      all(same(a, b) for a, b in zip(torch.autograd.grad(chunk_form(*inputs, 5), inputs, d_out), expected)))  # fmt: skip

# %% [markdown]
# ## 8. Three things that take time
#
# You have met three costs: operations, bytes, steps in a row. A program needs at least as long as the largest of them alone.
#
# Operations for each byte moved are called *arithmetic intensity*. A large product computes much with each number that it fetches.
# An update `state + k vᵀ` fetches two numbers and stores one, for a single addition.
#
# Count the bytes of the forward pass: each operation reads its large arrays and writes its result, 4 bytes a number.
# Operations are counted as the programs do them, so the map has all T × T pairs here.
# Then your machine gives its three speeds: a large product for operations, a long copy for bytes, updates of a tiny state for steps.


# %% tags=["nbval-check-output"]
def costs(T, S, E):
    """By form: multiplications, bytes moved, steps in a row."""
    edge = T * (2 * S + 2 * E)  # q, k, v come in, outputs go out
    C = 64
    numbers = {
        "token by token": (2 * T * S * E, edge + 5 * T * S * E, T),  # k vᵀ stored; two read, one stored; one read
        "all states at once": (2 * T * S * E, edge + 4 * T * S * E, 1),  # products stored; running sum; read
        "map": (T * T * (S + E), edge + 4 * T * T, 1),  # map stored; masked (read, stored); read
        "chunks, C = 64": (chunk_operations(T, C, S, E), edge + 4 * T * C + 5 * T // C * S * E, T // C),
    }
    return {name: (operations, 4 * moved, steps) for name, (operations, moved, steps) in numbers.items()}


for name, (operations, moved, steps) in costs(1024, 64, 128).items():
    print(f"{name:18} {operations / 1e6:4.0f} million, {moved / 1e6:5.1f} MB, {steps:4} steps,", end=" ")
    print(f"{operations / moved:5.2f} operations a byte")
before, after = (costs(1024, 64, 128)[name] for name in ("token by token", "chunks, C = 64"))
quotients = (f"{name} {x / y:.2f}" for name, x, y in zip(("operations", "bytes", "steps"), before, after))
print("token by token over chunks:", ", ".join(quotients))
assert before[0] < after[0] and before[1] > 10 * after[1] and before[2] == 64 * after[2]

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
forms |= {"map": map_form, "chunks, C = 64": chunk_form}
measured = milliseconds({name: lambda form=form: form(*three) for name, form in forms.items()}, rounds=7)
rows = {
    name: (operations / per_ms, moved / bytes_per_ms, steps * ms_per_step, measured[name])
    for name, (operations, moved, steps) in costs(T, S, E).items()
}
header = ("form", "operations, ms", "bytes, ms", "steps, ms", "measured, ms")
table = [header, *((name, *(f"{t:.2f}" for t in times)) for name, times in rows.items())]
figures.show(*figures.what_time_waits_for(rows), table=table)

# %% [markdown]
# Compare each black bar with the three above it. They are rough lower limits: a program needs at least about the longest of them.
#
# - **Token by token** waits for its steps, and for its bytes. Its operations alone would take a small part of the time.
# - **All states at once** is one call instead of T steps. Of the three, bytes are its longest bar, and even they do not explain the time.
# - **The map** computes much for each byte, but T² of both. It is the one that loses when T grows.
# - **Chunks** have C times fewer steps and far fewer bytes, and pay with more operations.
#
# Why does "all states at once" take so much longer than its bytes? It also matters *in which order* bytes are moved.
# A processor fetches neighbours together. The running sum over tokens jumps S × E numbers at each step.

# %% tags=["timing"]
products = three[1][:, :, :, None] * three[2][:, :, None, :]  # (1, T, S, E)
in_place = products.clone()


def sum_row_by_row():
    for t in range(1, T):
        in_place[:, t] += in_place[:, t - 1]  # whole states, neighbours in memory


ways = {"running sum of torch": lambda: products.cumsum(1), "row by row": sum_row_by_row}
ways["copy"] = lambda: in_place.copy_(products)
for name, ms in milliseconds(ways).items():
    print(f"{name:22}{ms:8.1f} ms")

# %% [markdown]
# Row by row, the same T states take T steps and still much less time. So a slow program does not prove that an idea is slow.
# It was a program that you measured. The steps and the bytes, which you counted, belong to the idea.
# A program of your own can go further, and keep the state inside the processor from chunk to chunk (lecture 11).
#
# ## 9. With a normaliser, or without
#
# Until here a weight `q_i · k_j` may be negative, and a row may add up to anything. The first well-known linear attention
# (Katharopoulos and others, 2020) is closer to a softmax, in two ways:
#
# - a *feature map* phi on q and k makes all weights positive. It is elu(x) + 1, which means x + 1 above 0 and exp(x) below.
# - each output is divided by the sum of its weights, the *denominator*.
#
# The denominator is cheap. Give every value an extra column of ones: then the state sums up the keys as well.


# %% tags=["nbval-check-output"]
def phi(x):
    return np.where(x > 0, x + 1, np.exp(np.minimum(x, 0)))


def normalised_loops(q_TS, k_TS, v_TE):
    out_TE = np.zeros_like(v_TE)
    for i in range(len(q_TS)):
        weights = [phi(q_TS[i]) @ phi(k_TS[j]) for j in range(i + 1)]
        for j in range(i + 1):
            out_TE[i] += weights[j] / sum(weights) * v_TE[j]
    return out_TE


def normalised(q_TS, k_TS, v_TE):
    with_ones = np.hstack([v_TE, np.ones((len(v_TE), 1))])
    both, _ = token_by_token(phi(q_TS), phi(k_TS), with_ones)  # a state of S × (E + 1)
    return both[:, :-1] / both[:, -1:]


q, k, v = rng.normal(size=(23, 4)), rng.normal(size=(23, 4)), rng.normal(size=(23, 7))
print("loops = one state with an extra column:", same(normalised_loops(q, k, v), normalised(q, k, v)))
print("phi = elu + 1 of torch:", same(phi(q), 1 + torch.nn.functional.elu(torch.tensor(q)).numpy()))
ones = np.ones_like(v)
stay = [same(out, ones) for out in (normalised(q, k, ones), token_by_token(q, k, ones)[0])]
print("values all ones stay ones, with and without:", stay)
print("all weights positive, with and without:", [bool((w > 0).all()) for w in (phi(q) @ phi(k).T, q @ k.T)])
three = [torch.tensor(a)[None] for a in (phi(q), phi(k), np.hstack([v, np.ones((23, 1))]))]
both = chunk_form(*three, 5)[0].numpy()
print("chunks serve this too:", same(both[:, :-1] / both[:, -1:], normalised(q, k, v)))

# %% [markdown]
# FLASH takes neither. Its linear part is the bare product of this lecture. Weights may be negative, and a gate follows.
# Without phi a denominator could come close to zero, so the two belong together.
# FLASH's listing (Code 8) divides by the number of tokens that were summed, which is never small. Lecture 05 compares this mean with the bare sum.
#
# ## 10. Train it: a line for your scoreboard
#
# The unit of lecture 02 with another `mix`: gate, value, base, scale and offset, RoPE, and then linear attention.
# It needs few lines, because the package's `GatedUnit` holds all the rest. It makes u, q, k and v, and calls `mix`.
# C = 16 is only a speed knob here.
# Two questions after the training: does the unit compute what this lecture says, and does another C change the score?

# %%
from flash_tutorial import ModelConfig, count_parameters
from flash_tutorial.data import load_corpus
from flash_tutorial.training import TrainConfig, evaluate, train
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

# %% tags=["nbval-check-output"]
from flash_course.bench.stored import compare_with_stored, load_stored

compare_with_stored("04", runs)  # made once by benchmarks/scoreboard.py, with the same seed and settings
from flash_tutorial.layers import cos_sin
from flash_tutorial.properties import draw_order_one
from flash_tutorial.training import first_bytes

unit = draw_order_one(LinearUnit(8, causal=True, qk_dim=4), torch.Generator().manual_seed(0)).double()
x = torch.randn(1, 23, 8, dtype=torch.float64)
with torch.no_grad():
    u, v, z = unit.project(x)
    q, k = unit.read_heads(z, *cos_sin(23, 4, x))
    by_hand = x + unit.out_proj(u * token_form(q, k, v))
    for unit.C in (1, 5, 16, 23):
        print(f"C = {unit.C:2}: unit = gate × token by token:", same(unit(x), by_hand))

new_text, scores = first_bytes(corpus.validation, 5000), []
for LinearUnit.C in (64, 5, 1, 16):  # the last one is what it was trained with
    scores.append(evaluate(run.model, new_text, settings.length).bits_per_byte)
print("score after training, C = 64, 5, 1, 16: equal to 4 digits:", max(scores) - min(scores) < 1e-4)
bits = run.evaluation.bits_per_byte
of_gau = [load_stored("scoreboard")["runs"][f"02 GAU, {f}"]["bits_per_byte"] for f in ("softmax", "relu^2")]
print(
    "GAU with softmax within 0.1 bits:", abs(bits - of_gau[0]) < 0.1, "; relu² better by 0.1:", bits - of_gau[1] > 0.1
)
print(f"{count_parameters(run.model):,} parameters; better than the table of pairs of letters (3.54): {bits < 3.54}")

# %% tags=["timing"]
from flash_course.bench.counts import count_state_numbers

learner.score(
    "04", "linear attention", bits_per_byte=bits,
    step_ms=1000 * float(np.median(np.diff([row["seconds"] for row in run.log]))),
    state_numbers=count_state_numbers(run.model, settings.length),
)  # fmt: skip
print(learner.report())

# %% [markdown]
# The score lies near that of the GAU with a softmax, and behind the GAU with relu² (lecture 02, same text and updates: 3.20 and 3.01).
# One seed, a tiny model, texts of 64 tokens: it says that the unit learns. It does not say how the two compare at length.
# The state of four units is 16,384 numbers, and it would be the same after a million tokens.
#
# ## 11. What you take along
#
# Fill in the last column yourself. "Not shown" is a good answer.
# `learner.verdict("04 linear", "...")` stores a verdict, and `flash-tutorial report` prints them all.
#
# | claim | your evidence | your verdict |
# | --- | --- | --- |
# | Both orders of the product give the same numbers | section 1: six tokens; section 3: five forms of order one | |
# | The order with fewer operations is the faster one | section 1: yes without a mask; section 5: no with one | |
# | Decoding has a constant cost | section 4: numbers kept, and times at three positions | |
# | Training token by token is slow | section 5: 2048 steps in a row, all states in bytes, times against T | |
# | Chunks are an approximation | section 6: the same numbers for every C; section 10: the same score | |
# | The backward pass needs all states | section 7: two states, one from each side | |
# | Linear attention is as good as softmax attention | section 10: one score of a tiny model | |
#
# **Three takeaways**
# 1. `q (kᵀ v)`: without a map function the map becomes a state of S × E numbers, whatever T is.
# 2. A causal state is a chain. It is ideal for writing, and slow for training: T steps, or T states in memory.
# 3. Chunks break the chain into T / C links: a map inside, a state between. Exact here, so C is only a speed knob.
#
# **Exercises** [Problem set 04](../exercises/04_linear_attention.ipynb), seven tasks. You write the forms of this lecture in your own way, and one that fades.
#
# **Next** [Lecture 05](05_mixed_chunk_attention.ipynb) puts relu² inside the chunks and keeps the state between them: mixed chunk attention. There C is architecture.
