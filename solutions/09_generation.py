# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Problem set 09: generation
#
# [Lecture 09](../notebooks/09_generation.ipynb) · [the lecture without results](../notebooks/work/09_work_generation.ipynb) · [glossary](../docs/glossary.md)
#
# Six exercises, 100 points, about two hours and twenty minutes. The three marked *core* are 60 points in an hour and a quarter.
# They belong to lecture 09. No exercise needs a GPU.
#
# On Colab, first choose *File > Save a copy in Drive*: a notebook that was opened from a link is not saved.
#
# Write your code where it says `raise NotImplementedError`. The cell below each exercise checks it, and says where it differs.
# `hint("09.1")` gives the first of three hints; call it again for the next one. `progress("09")` shows your points.
#
# `check` and grading call your functions by name, with the arguments that the text names, so keep both. Grading draws numbers and
# sizes of its own, and where you *mend* or *prove*, it also tries cases that `check` does not show.
# What a function is given belongs to its caller. Unless the text says otherwise, changing it counts as wrong, so work on a copy.
#
# In this set tokens, chunks and positions are counted from 0.

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
import json
import os
import pathlib

import numpy as np

from flash_course import check, hint, personal, progress

STUDENT = "me"  # your name or number; the numbers of 09.1 are drawn from it

# %% [markdown]
# ## 09.1 predict: what must be kept
#
# **15 points** · difficulty 2/5 · importance 4/5 · 15 minutes · core
#
# The next cell prints your numbers: the model width D, the heads of a Transformer block, the width S of queries and keys,
# the width E of values, and C. Answer before you compute anything with the package. Count entries and not bytes, for a single sequence.
# For FLASH and FLASH-Quad, S and E are those of a layer. A Transformer block has `heads` heads of width D / heads.
#
# - `a`: how many entries does one causal FLASH layer keep while it generates, with room for C unfinished tokens? Leave out the counters.
#   Of an unfinished token it keeps all that any later step still needs, whichever part needs it.
# - `b`: how many entries does the cache of one Transformer block keep for each token?
# - `c`: two FLASH layers replace one block. What is the smallest number of tokens for which the cache of one block holds more than
#   the state of two FLASH layers?
# - `d`: how many entries does one FLASH-Quad layer (a GAU) keep for each token?
# - `e`: for each token, do two FLASH-Quad layers keep `"more"` or `"less"` than one Transformer block?
#
# For `a` to `d`, half a percent more or less still counts as right.
#
# <details><summary>I get "write one of the words of the question"</summary>
#
# `e` is one of the two words `"more"` and `"less"`, in quotes.
#
# </details>

# %%
print(personal("09.1", STUDENT))

# %%
# BEGIN SOLUTION
# STUB answer_09_1 = dict(a=None, b=None, c=None, d=None, e=None)
_n = personal("09.1", STUDENT)
_one = _n["S"] * _n["E"] + _n["C"] * (2 * _n["S"] + _n["E"])
answer_09_1 = dict(a=_one, b=2 * _n["D"], c=_one // _n["D"] + 1, d=_n["S"] + _n["E"], e="more")
# END SOLUTION
check("09.1", answer_09_1, student=STUDENT)

# %% [markdown]
# ## 09.2 build: `step`
#
# **25 points** · difficulty 4/5 · importance 5/5 · 40 minutes · core
#
# The last step of a chunk also folds the whole chunk into the sum: C S E multiply-adds more (lecture 09, section 8), so that it does many times the work
# of its neighbours.
# Say you want to do that fold in the background, while the next chunk is being written. Then the next chunk cannot read it yet, so the
# layer needs the *lag* of exercise 05.2: a token of chunk g reads, as one mean, chunks 0 to g - lag. With a lag of 1 it is FLASH.
#
# Write one step of the mixing, which takes the base z and the value v of one token to its output and to the next state. For token t:
#
# - its position is t, its position in the chunk is i, and its four heads are `z * gamma + beta`, each rotated to position t. They come in
#   the order quad_q, quad_k, lin_q, lin_k. The function `turn` below rotates one vector;
# - **near**: relu²(quad_q · quad_k / C + bias) v, summed over the tokens of its own chunk up to itself.
#   `bias_CC[i, j]` belongs to a token at position i of the chunk that reads one at position j;
# - **far**: lin_q times the sum of lin_kᵀ v over the tokens of chunks 0 to g - lag, divided by the number of those tokens. Zero if there are none.
#
# `empty_state` below shows the state. After any number of tokens its entries are
#
# - `position`: how many tokens were read;
# - `kv`: the sum of lin_kᵀ v over the finished chunks that the *next* token may read, not divided. `chunks` is how many chunks are in it;
# - `waiting`: lin_kᵀ v of each finished chunk that it may not read yet, the oldest first. There are at most lag - 1 of them, so none with a lag of 1;
# - `quad_k`, `lin_k`, `v`: one row for each token of the unfinished chunk, with the keys rotated. Right after a chunk boundary they are empty.
#
# Return a new state, and leave the given one as it is. (The package's step changes its state. Here the old one must stay, so that whoever tries a draft from it can come back to it.)
# At every position the output must equal that of the parallel form. You may use `numpy`, `turn`, and anything of your own.
#
# <details><summary>I get "Your step changed the state it was given"</summary>
#
# `dict(state)` makes a new dictionary, but with the same arrays in it, so `+=` on such an array changes the old state as well.
# Write `new["kv"] = new["kv"] + ...`.
#
# </details>
#
# <details><summary>I get "operands could not be broadcast together" from `waiting`</summary>
#
# It is one array (w, S, E). `waiting[1:]` keeps three axes even when nothing is left, whereas `np.array([])` does not.
#
# </details>


# %%
def turn(x_S, position):
    """RoPE: one vector, rotated to its position."""
    half = len(x_S) // 2
    angles = position * 10000.0 ** (-np.arange(half) / half)
    a, b = x_S[:half], x_S[half:]
    return np.concatenate([a * np.cos(angles) - b * np.sin(angles), a * np.sin(angles) + b * np.cos(angles)])


def empty_state(S, E):
    """Before the first token."""
    return dict(
        position=0, kv=np.zeros((S, E)), chunks=0, waiting=np.zeros((0, S, E)),
        quad_k=np.zeros((0, S)), lin_k=np.zeros((0, S)), v=np.zeros((0, E)),
    )  # fmt: skip


# %%
def step(z_S, v_E, state, layer):
    """One token through the mixing of a causal FLASH layer with a lag.

    z_S: array (S,), S even. v_E: array (E,). state: dict, as above.
    layer: dict of gamma_4S and beta_4S (4, S), bias_CC (C, C), and lag, a whole number of at least 1.
    Returns two values: the output, an array (E,), and the state after this token.
    """
    # BEGIN SOLUTION
    C, bias_CC, new = len(layer["bias_CC"]), layer["bias_CC"], dict(state)
    quad_q, quad_k, lin_q, lin_k = (
        turn(head_S, state["position"]) for head_S in z_S * layer["gamma_4S"] + layer["beta_4S"]
    )
    for name, row in (("quad_k", quad_k), ("lin_k", lin_k), ("v", v_E)):
        new[name] = np.vstack([state[name], row])
    i = len(state["v"])
    scores = new["quad_k"] @ quad_q / C + bias_CC[i, : i + 1]
    out_E = np.maximum(scores, 0) ** 2 @ new["v"] + lin_q @ state["kv"] / max(state["chunks"] * C, 1)
    new["position"] = state["position"] + 1
    if i + 1 == C:
        queue = np.concatenate([state["waiting"], (new["lin_k"].T @ new["v"])[None]])
        ready = max(len(queue) - layer["lag"] + 1, 0)
        new["kv"], new["chunks"] = state["kv"] + queue[:ready].sum(0), state["chunks"] + ready
        new["waiting"] = queue[ready:]
        new["quad_k"], new["lin_k"], new["v"] = (new[name][:0] for name in ("quad_k", "lin_k", "v"))
    return out_E, new
    # END SOLUTION


# %%
check("09.2", step)

# %% [markdown]
# ## 09.3 build: `filter_logits`
#
# **15 points** · difficulty 2/5 · importance 3/5 · 25 minutes
#
# A model gives logits; a sampler needs the probabilities from which the next token is drawn. Three filters act between the two, in this order:
#
# 1. **temperature**: divide the logits by it. 0 means that the largest logit gets probability 1, whatever the other filters say;
# 2. **top-k**: keep the k most likely tokens. `None` keeps all;
# 3. **top-p**: keep the fewest most likely tokens whose probabilities reach p. `None` keeps all.
#    Count with the probabilities as they are after steps 1 and 2: those of the k kept tokens, divided by their sum.
#
# At the end the probabilities that are kept are divided by their sum. A dropped token has probability 0, and each probability stays at
# the index of its token. No two logits are equal, and no sum hits p exactly. Logits may be as large as 1000.
# You may use `numpy`.
#
# <details><summary>I get "nan" or "overflow encountered in exp"</summary>
#
# Subtract the largest logit before you take the exponential. That changes no probability.
#
# </details>
#
# <details><summary>My sorted probabilities are right, but at the wrong indices</summary>
#
# `order = np.argsort(-p)` lists the tokens from the most likely one on. Make a new array and write into it at `order[:n]`.
#
# </details>


# %%
def filter_logits(logits_N, temperature=1.0, top_k=None, top_p=None):
    """Probabilities of the next token.

    logits_N: array (N,). temperature: 0 or more. top_k: 1 to N, or None. top_p: above 0 and below 1, or None.
    Returns an array (N,) with the sum 1.
    """
    # BEGIN SOLUTION
    if temperature == 0:
        return np.eye(len(logits_N))[np.argmax(logits_N)]
    scaled = (logits_N - logits_N.max()) / temperature
    p = np.exp(scaled)
    order = np.argsort(-p)[:top_k]
    if top_p is not None:
        sums = np.cumsum(p[order] / p[order].sum())
        order = order[: np.searchsorted(sums, top_p) + 1]
    out = np.zeros(len(p))
    out[order] = p[order] / p[order].sum()
    return out
    # END SOLUTION


# %%
check("09.3", filter_logits)

# %% [markdown]
# ## 09.4 prove: `assert_steps_equal_parallel`
#
# **20 points** · difficulty 3/5 · importance 5/5 · 20 minutes · core
#
# Is a model that generates token by token the same function as the one that was trained on whole sequences? Write the test that tells.
# It gets a decoder of one causal layer, with its own weights, and a decoder has
#
# - `decoder.C` and `decoder.D`: its chunk length and its width;
# - `decoder.parallel(x_TD)`: all T tokens at once, an array (T, D). Take this form as right;
# - `decoder.prefill(x_nD)`: reads a prompt of n tokens at once, and gives its n outputs (n, D) and the state after it. n may be 0;
# - `decoder.step(x_D, state)`: reads one more token, and gives its output (D,) and the state after it. It must leave the given state as it is.
#
# What a state looks like is the decoder's own affair, so do not look inside. To see whether a step leaves a state as it is, step from it again.
# Your test raises an `AssertionError` if any output, of any prompt or of any later step, differs from `parallel`,
# and also if a step changes the state that it was given.
#
# Outputs have order one and are in float64. So allow for rounding, which stays below 1e-10; faults are larger than 1e-6.
# Your test is tried on three right decoders and on thirteen wrong ones. A wrong one may be right for most prompts, or at most positions.
# You may use `numpy`.
#
# <details><summary>My test passes "changes the state it was given"</summary>
#
# Does your test use any state twice? Call `step` once more than needed, and go on from the state that you had before.
#
# </details>
#
# <details><summary>I get "need at least one array to concatenate"</summary>
#
# A prompt of all T tokens leaves no steps. Compare the outputs one by one, without joining them.
#
# </details>


# %%
def assert_steps_equal_parallel(decoder):
    """Raise AssertionError unless every prompt and every later step of the decoder give what `parallel` gives.

    decoder: an object with C, D, parallel, prefill and step, as above.
    """
    # BEGIN SOLUTION
    T = 3 * decoder.C + 2
    x_TD = np.random.default_rng(0).normal(size=(T, decoder.D))
    right_TD = decoder.parallel(x_TD)
    for n in range(T + 1):
        prompt_nD, state = decoder.prefill(x_TD[:n])
        assert np.allclose(prompt_nD, right_TD[:n], rtol=0, atol=1e-8), f"a prompt of {n} tokens has different outputs"
        for t in range(n, T):
            decoder.step(x_TD[t], state)  # thrown away: the state must not know of it
            y_D, state = decoder.step(x_TD[t], state)
            assert np.allclose(y_D, right_TD[t], rtol=0, atol=1e-8), f"token {t} after a prompt of {n}"
    # END SOLUTION


# %%
check("09.4", assert_steps_equal_parallel)

# %% [markdown]
# ## 09.5 build: `save_state` and `load_state`
#
# **15 points** · difficulty 3/5 · importance 3/5 · 20 minutes
#
# A model writes a novel overnight, and the computer may stop at any time. You want to stop in the middle of a chunk, load in a new process, and
# get the same text as without the stop, so all that is needed to go on must be saved. This is a dictionary with three entries:
#
# - `layers`: a list with one state for each layer, as in 09.2. Here there are two layers, and the second one has a lag of 2;
# - `last`: the token that was drawn last and has not been read yet, a whole number;
# - `rng`: the generator that draws the tokens, made by `np.random.default_rng`. Its `rng.bit_generator.state` is a dictionary of strings and whole
#   numbers, some of them very large. You can read it, and you can set it in a new generator.
#
# Three things must hold. All values come back as they were, to the last bit (whole numbers as Python's or as NumPy's). You write no pickle, because reading one can run foreign code,
# and for the same reason you use neither `eval` nor `exec`.
# And if `path` already holds an older state, a stop in the middle of saving must not destroy it, so
# write a new file beside it, in the same folder, and once that is closed, move it there with `os.replace`.
# The format of the file is your choice, as long as everything is in that one file. You may use `numpy`, `json`, `os` and `pathlib`.
#
# <details><summary>I get "FileNotFoundError"</summary>
#
# `np.savez` adds `.npz` to a name that has another ending. Give it an open file instead: `with open(name, "wb") as file`.
#
# </details>
#
# <details><summary>I get "Object arrays cannot be loaded" or "You write a pickle"</summary>
#
# NumPy stores a dictionary or a list of unequal arrays as a pickle. Give each array a name of its own, and store the generator's state as JSON text.
#
# </details>


# %%
def save_state(path, state):
    """Write a state to a file.

    path: a pathlib.Path, with any ending. There may be an older state. state: dict, as above; it is not changed.
    """
    # BEGIN SOLUTION
    arrays = {"last": state["last"], "rng": json.dumps(state["rng"].bit_generator.state), "count": len(state["layers"])}
    for number, layer in enumerate(state["layers"]):
        arrays |= {f"{number}/{name}": value for name, value in layer.items()}
    beside = path.with_name(path.name + ".new")
    with open(beside, "wb") as file:
        np.savez(file, **arrays)
    os.replace(beside, path)
    # END SOLUTION


def load_state(path):
    """Read a state that save_state wrote.

    Returns a new dict with `layers`, `last` and `rng`, equal to the one that was saved.
    """
    # BEGIN SOLUTION
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    layers = [{} for _ in range(int(arrays["count"]))]
    for name, value in arrays.items():
        number, _, entry = name.partition("/")
        if entry:
            layers[int(number)][entry] = value if value.ndim else int(value)
    rng = np.random.default_rng()
    rng.bit_generator.state = json.loads(str(arrays["rng"]))
    return {"layers": layers, "last": int(arrays["last"]), "rng": rng}
    # END SOLUTION


# %%
check("09.5", save_state, load_state)

# %% [markdown]
# ## 09.6 extend: `rollback`
#
# **10 points** · difficulty 4/5 · importance 2/5 · 20 minutes
#
# Take back the last k tokens, for an undo key or for a draft that was not accepted. The state is that of one layer, as in 09.2.
# If the last k tokens all lie in the unfinished chunk, return a new state, as it was before them.
# If one of them lies in a finished chunk, there is no way back, so raise a `ValueError` whose text, of at least four words, says why.
# k = 0 is always possible, and gives a new state as well. Its arrays may be views of the given ones. Leave the given state as it is, since the draft may still be accepted.
#
# You may use `numpy`.
#
# <details><summary>I get a different number of rows for k = 0</summary>
#
# `rows[:-0]` is `rows[:0]`, which is empty. Count from the front instead: how many rows stay?
#
# </details>


# %%
def rollback(state, k):
    """The state without its last k tokens.

    state: dict of one layer. k: 0 or more, at most the number of tokens read.
    Returns a new state; ValueError with a sentence if one of the k tokens is in a finished chunk.
    """
    # BEGIN SOLUTION
    stay = len(state["v"]) - k
    if stay < 0:
        raise ValueError(f"only the last {len(state['v'])} tokens can be taken back: the others are in a sum, not {k}")
    rows = {name: state[name][:stay] for name in ("quad_k", "lin_k", "v")}
    return {**state, **rows, "position": state["position"] - k}
    # END SOLUTION


# %%
check("09.6", rollback)

# %%
progress("09")
