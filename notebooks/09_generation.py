# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 09 Generation: writing with a state that does not grow
#
# [With results](09_generation.ipynb) · [without, to work in](work/09_generation.ipynb) · [problem set 09](../exercises/09_generation.ipynb) · [glossary](../docs/glossary.md)
#
# In training the whole text is there at once. A model that writes gets one token at a time, and has to keep what it will need of the
# others. In this lecture you build the token-by-token form of FLASH, prove that it is the trained function, and find out what it can never take back.
#
# **After it you can**
# - say what softmax attention, a GAU and FLASH must keep while they write, and from which position on FLASH keeps less;
# - write one step of mixed chunk attention, with the fold in its right place and the right divisors;
# - read a prompt in parallel, go on token by token, and prove that every split gives the same;
# - recognise five wrong decoders by where, and by how, they are wrong;
# - choose a temperature, top-k and top-p;
# - say which tokens can be taken back, and why the others cannot.
#
# **You need** lecture 04 (the state) and lecture 05 (mixed chunk attention).
#
# **Time** 40 minutes to read. Computing takes about 20 seconds on two CPU cores.
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
# ## 1. Writing is another problem than training
#
# Let a trained model write 40 bytes, in two ways. The plain way reads the whole text again for each new byte. The other
# way keeps something of what it has read. How many tokens go through the model in each?

# %% tags=["nbval-check-output"]
import torch

from flash_tutorial import LanguageModel
from flash_tutorial.data import ByteTokenizer

torch.set_num_threads(1)
device = "cuda" if torch.cuda.is_available() else "cpu"
model, tokenizer = LanguageModel.from_pretrained("austen-flash").to(device), ByteTokenizer()
prompt = "It is a truth universally acknowledged, "
ids = torch.tensor(tokenizer.encode(prompt), device=device)[None]  # (B, T), B = 1 sequence


@torch.no_grad()
def write_by_rereading(ids, n):
    """The most likely byte n times; all is read again for each. Also returns the logits of each."""
    each = []
    for _ in range(n):
        each.append(model(ids)[:, -1])
        ids = torch.cat([ids, each[-1].argmax(-1)[:, None]], 1)
    return ids[:, -n:], torch.stack(each)


ways = {"reading all again": lambda: write_by_rereading(ids, 40)}
ways["keeping a state"] = lambda: (model.generate(ids, 40, temperature=0), None)
calls, written = [], {}  # a hook notes how many tokens each call reads
handle = model.embedding.register_forward_hook(lambda module, inputs, output: calls.append(inputs[0].numel()))
for name, write_text in ways.items():
    calls.clear()
    written[name] = write_text()
    print(f"{name:17} {len(calls)} calls, one after the other, {sum(calls):4} tokens go through the model")
handle.remove()
assert torch.equal(written["reading all again"][0], written["keeping a state"][0])  # the same 40 bytes

# %% [markdown]
# Both write the same 40 bytes, but one reads 40 + 41 + ... + 79 = 2380 tokens and the other 40 + 39. (The last new byte is not read, because
# nothing is asked after it.) The number of calls is the same, since a token cannot be read before it has been chosen: n new tokens
# take n sequential steps in *any* architecture, unless some are guessed ahead (section 11). In training all tokens are known, and no step waits.
#
# Writing token by token is called *decoding*, and reading the prompt before it *prefill*. Two questions from lectures 04 and 05 lead to what
# has to be kept. Answer from memory, then open the fold.
#
# **1.** Why is linear attention cheap to write with, and slow to train?
#
# <details><summary>Answer</summary>
#
# Its state holds S × E numbers at any position (S is the width of keys, E that of values), so each new token costs the same. In training
# the same state means T sequential steps for T tokens.
#
# </details>
#
# **2.** Which sum does a token of chunk g read, and what divides it? (Chunks have C tokens and are counted from 1.)
#
# <details><summary>Answer</summary>
#
# The sum of kᵀ v over chunks 1 to g - 1, without its own chunk. The divisor is the number of tokens in it, (g - 1) C.
#
# </details>

# %%
import copy
from dataclasses import dataclass
from functools import partial

import numpy as np

from flash_course import figures, learner
from flash_course.bench.stored import load_stored
from flash_course.learner import predict, reveal
from flash_tutorial import FLASH, GAU, ModelConfig, TransformerBlock, count_parameters, reference
from flash_tutorial.data import load_corpus


@dataclass
class Preset:
    positions: tuple  # where the time of a token is measured
    steps: int  # tokens one after the other, for each time
    written: int  # bytes of each sample


CPU, GPU = Preset((512, 4096), 32, 300), Preset((512, 4096, 16384), 128, 600)
preset = GPU if device == "cuda" else CPU


def same(a, b):
    """The same shape and, up to rounding, the same numbers."""
    a, b = np.asarray(a), np.asarray(b)
    return a.shape == b.shape and bool(np.abs(a - b).max(initial=0) < 1e-10)


print(preset)

# %% [markdown]
# ## 2. What must be kept?
#
# Why may anything be kept at all? A causal model computes the same for an early token, whatever follows, which was the prefix
# proof of lecture 05. So keys and values of old tokens stay valid in every layer, whereas a query is asked once, by its own token, and
# is not needed again.
#
# - **Softmax attention** compares the new query with *every* old key, so all keys and values must be kept: the *KV cache*.
# - **A GAU** does the same with relu². Its divisor must be a fixed number, because with the current length old outputs would
#   change (lecture 03).
# - **Linear attention** keeps one array, the state (equation 6 of the paper).
#
# Here are both extremes, one head each. A KV cache takes five lines of code.


# %% tags=["nbval-check-output"]
def softmax_step(cache, q_S, k_S, v_E):
    cache["k"].append(k_S)
    cache["v"].append(v_E)
    scores = np.array(cache["k"]) @ q_S / np.sqrt(len(q_S))
    weights = np.exp(scores - scores.max())
    return weights / weights.sum() @ np.array(cache["v"])


rng = np.random.default_rng(0)
T, S, E = 14, 4, 6
(q_TS, k_TS), v_TE = rng.normal(size=(2, T, S)), rng.normal(size=(T, E))
cache, state, kept, outputs = {"k": [], "v": []}, np.zeros((S, E)), [], []
for t in range(T):
    soft = softmax_step(cache, q_TS[t], k_TS[t], v_TE[t])
    linear, state = reference.linear_attention_step(state, q_TS[t], k_TS[t], v_TE[t])
    outputs.append((soft, linear))
    kept.append((sum(x.size for x in (*cache["k"], *cache["v"])), state.size))
soft_TE, linear_TE = (np.array(each) for each in zip(*outputs))
assert same(soft_TE, reference.softmax_attention(q_TS, k_TS, v_TE, np.tri(T, dtype=bool)))  # all at once
assert same(linear_TE, reference.linear_attention(q_TS, k_TS, v_TE, causal=True))
for t in (1, 7, 14):
    print(f"after token {t:2}: cache {kept[t - 1][0]:3} numbers = {t:2} x (S + E), state {kept[t - 1][1]} = S x E")

# %% [markdown]
# FLASH stands between the two. It reads near tokens one by one and far ones through a sum, so it must keep both kinds. The keys and the value of
# a new token *wait*, one row in each array, until its chunk is full. Then the whole chunk is *folded*: its kᵀ v is added to the sum, and its rows
# are dropped. (The paper has no listing of how FLASH writes. This is read off its causal form.)
#
# | what | size | when it changes |
# | --- | --- | --- |
# | the sum of kᵀ v over *finished* chunks | S × E | once every C tokens |
# | quad_k, lin_k and v of the *unfinished* chunk | at most C (2 S + E) | each token adds a row; emptied when the chunk is full |
# | how many chunks are in the sum | a counter | once every C tokens |
#
# Why keep lin_k, which nobody reads now? Because the fold will need it. And the counter does two jobs: it gives the divisor of the sum, and
# together with the number of waiting rows it gives the token's position in the text, which RoPE needs.
#
# ## 3. One step, by hand
#
# A step does four things: it **writes** the new rows, **reads near**, **reads far**, and **folds** if the chunk is full.


# %%
@dataclass
class State:
    kv_SE: np.ndarray  # the sum of kᵀ v over the finished chunks
    chunks: int  # how many are in it
    quad_k: np.ndarray  # (rows, S), of the unfinished chunk
    lin_k: np.ndarray  # (rows, S)
    v: np.ndarray  # (rows, E)


def empty(S, E):
    return State(np.zeros((S, E)), 0, np.zeros((0, S)), np.zeros((0, S)), np.zeros((0, E)))


def write(state, quad_k, lin_k, v):
    """Rows of the newest tokens join the unfinished chunk."""
    state.quad_k, state.lin_k, state.v = (
        np.concatenate([old, new]) for old, new in ((state.quad_k, quad_k), (state.lin_k, lin_k), (state.v, v))
    )


def fold(state):
    """The chunk is full: add it to the sum, and drop its rows."""
    state.kv_SE = state.kv_SE + state.lin_k.T @ state.v
    state.chunks += 1
    state.quad_k, state.lin_k, state.v = state.quad_k[:0], state.lin_k[:0], state.v[:0]


# %% [markdown]
# **Your line.** When is it time to fold? `rows` is how many rows wait, the newest token's among them. And do you ask before the two
# readings or after them?


# %%
def time_to_fold(rows, C):
    return ...


learner.your_line("09.c", time_to_fold, ((3, 4), 0), ((4, 4), 1), ((1, 4), 0), ((2, 2), 1))

# %% [markdown]
# <details><summary>The line</summary>
#
# `return rows == C`, and it is asked after both readings. Section 4 shows what happens if it is asked earlier.
#
# </details>


# %%
def read_near(state, quad_q, bias_CC, by):
    """relu² over the rows that wait. The newest row, at place i, is the token itself."""
    i, out_E = len(state.v) - 1, np.zeros(state.v.shape[1])
    for j in range(i + 1):
        s = quad_q @ state.quad_k[j] / by + bias_CC[i, j]
        out_E += max(s, 0) ** 2 * state.v[j]
    return out_E


def step(state, heads_4S, v_E, bias_CC, C, scores_by=None, sum_by=None):
    quad_q, quad_k, lin_q, lin_k = heads_4S
    write(state, quad_k[None], lin_k[None], v_E[None])
    near = read_near(state, quad_q, bias_CC, scores_by(state) if scores_by else C)
    far = lin_q @ state.kv_SE / (sum_by(state) if sum_by else max(state.chunks * C, 1))
    if len(state.v) == C:
        fold(state)
    return near, far


# %% [markdown]
# (`scores_by` and `sum_by` are there to plant faults later. While no chunk is finished the sum is zero, whatever divides it.)
#
# Now take the six tokens of lecture 05 with C = 2. If all is right, you meet the numbers of its sections 3 and 4 again.

# %% tags=["nbval-check-output"]
z_TS = np.array([(1, 0), (0, 1), (2, 1), (1, 1), (0, 2), (2, 0)])
v_six = np.array([(0, -4), (8, 0), (4, 8), (4, 4), (0, 4), (-4, 0)])
gamma_4S, beta_4S = np.array([(0, -2), (-1, 1), (1, 1), (1, 2)]), np.array([(-2, 2), (-1, -1), (1, 0), (-1, -1)])


def heads(z_TS, gamma_4S, beta_4S):
    return z_TS * gamma_4S[:, None] + beta_4S[:, None]  # quad_q, quad_k, lin_q, lin_k: (4, T, S)


six, bias_22, state = heads(z_TS, gamma_4S, beta_4S), np.array([(0, 1), (-1, 0)]), empty(2, 2)
reads, sums, waiting = [], [], []
for t in range(6):
    reads.append(step(state, six[:, t], v_six[t], bias_22, C=2))
    sums.append(state.kv_SE)
    waiting.append(list(range(2 * state.chunks + 1, t + 2)))  # which tokens wait
    near, far = (tuple(int(n) for n in x) for x in reads[-1])
    print(f"token {t + 1}: near {near!s:9} far {far!s:8} | then: sum {sums[-1].astype(int).tolist()!s:20}"
          f" of chunks: {state.chunks}, waiting {waiting[-1]}")  # fmt: skip
assert same(reads[4:], [[(0, 0), (7, 10)], [(-16, 4), (-3, 6)]])  # lecture 05: near in section 3, far in section 4
figures.show(*figures.chunk_state_by_token(np.array(sums), waiting, 2, [(a + 0.0, b + 0.0) for a, b in reads]))

# %% [markdown]
# The same for a sentence, with chunks of four characters. Press *Next token*, and watch what disappears when a chunk is full.

# %%
from flash_course import lab

lab.show(lab.decoding("It is a truth universally acknowledged, that a single man", C=4))

# %% [markdown]
# Back to the six tokens: follow token 4. It is the last of chunk 2, and when it reads, the sum still holds chunk 1 alone. Only then is chunk 2 folded. Token 5
# finds an empty chunk: all its past is in the sum, and its divisor is 2 chunks × 2 tokens = 4. Token 6 reads (-16, 4) near and
# (-3, 6) far, as in lecture 05.
#
# ## 4. Token by token = parallel
#
# Six tokens prove little. So take T = 14 and C = 4, three full chunks and a tail, with numbers of order one, and compare with the
# parallel form of lecture 05 (causal, with the mean). The bias is raised by 4, so that no fault can hide behind a weight of 0.


# %% tags=["nbval-check-output"]
def parallel(heads_4TS, v_TE, bias_CC, C):
    """Lecture 05: all tokens at once."""
    quad_q, quad_k, lin_q, lin_k, v = (reference.to_chunks(x, C) for x in (*heads_4TS, v_TE))
    near = np.tril(np.maximum(quad_q @ quad_k.swapaxes(1, 2) / C + bias_CC, 0) ** 2) @ v
    sums = np.cumsum(lin_k.swapaxes(1, 2) @ v, axis=0)
    earlier = np.concatenate([0 * sums[:1], sums[:-1]]) / (C * np.maximum(np.arange(len(v)), 1))[:, None, None]
    return (near + lin_q @ earlier).reshape(-1, v.shape[2])[: len(v_TE)]


C, bias_CC = 4, rng.normal(size=(4, 4)) + 4
not_turned = rng.normal(size=(4, T, S))
h_4TS, v_TE = reference.rope(not_turned), rng.normal(size=(T, E))  # RoPE by the position in the text
expected = parallel(h_4TS, v_TE, bias_CC, C)


def token_by_token(one_step, heads_4TS=h_4TS, part=sum):  # part of (near, far): the sum, or one of them
    state = empty(S, E)
    return np.array([part(one_step(state, heads_4TS[:, t], v_TE[t], bias_CC, C)) for t in range(T)])


everybody = np.ones(T, bool), np.zeros(T, int)  # no padding, one document
package = reference.mixed_chunk_attention(h_4TS, v_TE, *everybody, bias_CC, causal=True, chunk_size=C)
assert same(expected, package) and same(token_by_token(step), expected)
print("the last of the six tokens, all at once:", parallel(six, v_six, bias_22, 2)[5].astype(int).tolist())

# %% [markdown]
# **Misconception 1: one may fold before reading, since the sum is only more complete then.** It is a small change, `fold` one line
# earlier. Look at which outputs are wrong.


# %% tags=["nbval-check-output"]
def folds_first(state, heads_4S, v_E, bias_CC, C):
    quad_q, quad_k, lin_q, lin_k = heads_4S
    write(state, quad_k[None], lin_k[None], v_E[None])
    near = read_near(state, quad_q, bias_CC, C)
    if len(state.v) == C:
        fold(state)
    return near, lin_q @ state.kv_SE / max(state.chunks * C, 1)


def wrong_tokens(outputs):
    return np.flatnonzero(np.abs(outputs - expected).max(1) > 1e-9) + 1


print("folds before it reads far: wrong at tokens", wrong_tokens(token_by_token(folds_first)).tolist())

# %% [markdown]
# One token in C is wrong, the last of each chunk, because it reads its own chunk twice, one by one and in the sum. This is the *inclusive*
# sum of lecture 05 at a single place. There it leaked the future; here there is no future yet, so no leak test can find it. It is just
# another function than the one that was trained, and a test of 3 tokens, or of tokens 9 to 11, sees nothing.
#
# **Misconception 2: early in a chunk there are fewer tokens, so their number is the divisor.** In training the scores were divided by C at
# every place. relu² attention is no average, and C is a constant of the model.
#
# Here are this fault and four others. A cross marks a wrong output, a bar a border between chunks.

# %% tags=["nbval-check-output"]
in_chunk = np.concatenate([reference.rope(not_turned[:, f : f + C]) for f in range(0, T, C)], axis=1)  # restarts at 0
decoders = {
    "as in training": (step,),
    "folds before it reads": (folds_first,),
    "scores over the tokens so far": (partial(step, scores_by=lambda state: len(state.v)),),
    "mean over one chunk more": (partial(step, sum_by=lambda state: (state.chunks + 1) * C),),
    "sum of means, no mean": (partial(step, sum_by=lambda state: C),),
    "RoPE starts again in each chunk": (step, in_chunk),
}
for name, how in decoders.items():
    bad = wrong_tokens(token_by_token(*how))
    marks = ["x" if t + 1 in bad else "." for t in range(T)]
    print(f"{name:32}", " | ".join("".join(marks[f : f + C]) for f in range(0, T, C)))
far_9 = {name: token_by_token(*how, part=lambda both: both[1])[8] for name, how in decoders.items()}
for name in ("mean over one chunk more", "RoPE starts again in each chunk"):
    ratio = far_9[name] / far_9["as in training"]
    print(f"{name:32} what token 9 reads far, over the right numbers: {ratio.min():.2f} to {ratio.max():.2f}")

# %% [markdown]
# Read it as a table of symptoms. Each pattern has a test that is blind to it:
#
# - *scores over the tokens so far* is right at the last place of each chunk, so a test that looks only there passes.
# - *mean over one chunk more* is right in chunk 1, so a test with a short text passes.
# - *sum of means* is right in chunks 1 and 2. You need **three full chunks**.
# - *RoPE starts again* is right in chunk 1, and its near part everywhere, since inside a chunk only distances count. The far part
#   compares a query with keys of other chunks, so it needs the position in the text.
#
# The last fault has the pattern of *one chunk more*, so look at the sizes too. One chunk more scales all numbers by one
# factor (2 chunks over 3, at token 9), while RoPE that starts again changes each in its own way.
#
# ## 5. Read a prompt at once, then go on
#
# A prompt is known text, so it need not go token by token: whole chunks can be read at once. The code below does a little more and
# reads n tokens from *any* state, in which some rows may wait already.
#
# **Your line.** If `waiting` rows wait, how many new tokens can be read at once, before something must be folded?


# %%
def readable_at_once(waiting, C):
    return ...


learner.your_line("09.d", readable_at_once, ((0, 4), 4), ((3, 4), 1), ((2, 8), 6))

# %% [markdown]
# <details><summary>The line</summary>
#
# `return C - waiting`: up to the next border. (A slice ends by itself where the text ends.)
#
# </details>


# %%
def read(state, heads_4nS, v_nE, bias_CC, C):
    """n tokens from any state, at most up to a border at once: outputs (n, E), and the rounds that this took."""
    out_nE, first, rounds = np.zeros(v_nE.shape), 0, 0
    while first < len(v_nE):
        i = len(state.v)
        now = slice(first, first + C - i)
        quad_q, quad_k, lin_q, lin_k = heads_4nS[:, now]
        write(state, quad_k, lin_k, v_nE[now])
        m = len(state.v)  # rows i to m - 1 are new
        A = np.maximum(quad_q @ state.quad_k.T / C + bias_CC[i:m, :m], 0) ** 2
        far = lin_q @ state.kv_SE / max(state.chunks * C, 1)
        out_nE[now] = A * np.tri(m)[i:] @ state.v + far
        if m == C:
            fold(state)
        first, rounds = first + m - i, rounds + 1
    return out_nE, rounds


# %% [markdown]
# For the proof, cut the 14 tokens at any two places. What comes before the first cut is read at once, what lies between them is read at once from
# the state that is there by then, and the rest goes token by token. Some cuts fall on the border of a chunk, where nothing waits. Outputs and the
# state at the end are compared.

# %% tags=["nbval-check-output"]
final, checks = empty(S, E), 0
read(final, h_4TS, v_TE, bias_CC, C)
for a in range(T + 1):
    for b in range(a, T + 1):
        state = empty(S, E)
        outputs = [read(state, h_4TS[:, p], v_TE[p], bias_CC, C)[0] for p in (slice(0, a), slice(a, b))]
        outputs += [[sum(step(state, h_4TS[:, t], v_TE[t], bias_CC, C))] for t in range(b, T)]
        assert same(np.concatenate(outputs), expected)
        assert all(same(getattr(state, name), getattr(final, name)) for name in vars(state))
        checks += 1
print(f"{checks} ways to cut 14 tokens give the same outputs and the same state")

# %% [markdown]
# ## 6. The whole unit, and the package
#
# Around the mixing stand norm, projection, heads, gate and output matrix, which treat each token by itself. So a step of the unit needs
# only one thing more, the token's position for RoPE, and the state knows it: chunks × C + waiting rows. In the package each unit
# has two methods, `unit.prefill(x)` and `unit.step(x, state)`; FLASH keeps the state of section 2 there, a GAU or a Transformer++ block a
# cache. The cell compares them with the parallel form for every split, and then for two prompts of *different* length, where each
# sequence stands at its own position and folds at its own time.


# %% tags=["nbval-check-output"]
@torch.no_grad()
def error(unit, x, n, mask=None):
    """A prompt of n tokens, then steps: the largest difference to all at once."""
    y, state = unit.prefill(x[:, :n], mask)
    steps = []
    for t in range(n, x.shape[1]):
        y_t, state = unit.step(x[:, t], state)
        steps.append(y_t)
    return float((torch.cat([y, *(s[:, None] for s in steps)], 1) - unit(x)).abs().max())


from flash_tutorial.properties import draw_order_one

D = 8
unit = FLASH(D, qk_dim=S, chunk_size=C, causal=True, bias="toeplitz")
units = {"FLASH": unit, "GAU": GAU(D, qk_dim=S, causal=True, length_scale=16, bias_length=16),
         "Transformer++": TransformerBlock(D, heads=2, glu=True, rope=True, causal=True)}  # fmt: skip
x = torch.from_numpy(rng.normal(size=(2, T, D)))
for each in units.values():
    draw_order_one(each.double(), torch.Generator().manual_seed(2))
    assert all(error(each, x, n) < 1e-10 for n in range(1, T + 1))  # every split
lengths = torch.tensor([9, 6])
mask = torch.arange(9)[None] < lengths[:, None]
for name, each in units.items():
    with torch.no_grad():
        _, state = each.prefill(x[:, :9], mask)
        steps = [each.step(x[[0, 1], lengths + i], state)[0] for i in range(5)]
        alone = [[each(x[row : row + 1, : n + i + 1])[0, -1] for row, n in enumerate((9, 6))] for i in range(5)]
    assert all(same(a, torch.stack(b)) for a, b in zip(steps, alone))  # as if each were alone
    print(f"{name:14} {T} splits and {len(steps)} steps after prompts of 9 and 6 tokens agree")

# %% [markdown]
# (In bfloat16 the package keeps the sum in float32 nevertheless, because a running sum in 8 significant bits soon stops growing.)
#
# ## 7. How much is kept
#
# Now take the sizes of the package's stored benchmark, D = 256, S = 128, E = 512, C = 256. Two Transformer++ blocks stand against four FLASH
# units, which have about as many parameters.
#
# **Your first guess.** Both have read 16,384 tokens. By what factor does Transformer++ keep more numbers than FLASH?

# %%
my_guess = None  # your number here
predict("09.a", my_guess)

# %%
from flash_course.bench.counts import count_state_numbers, unit_without_weights

sizes = {"dim": 256, "max_length": 20_000}
configs = {
    "flash": ModelConfig("flash", qk_dim=128, chunk_size=256, **sizes),
    "flash_quad": ModelConfig("flash_quad", qk_dim=128, **sizes),
    "transformer++": ModelConfig("transformer++", ff_dim=688, **sizes),
}
positions = (512, 1024, 2048, 4096, 8192, 16384)
print(figures.text_table([("position", *configs)] + [
    (f"{n:,}", *(f"{count_state_numbers(config, n):,}" for config in configs.values())) for n in positions
]))  # fmt: skip
S, E, C = 128, 512, 256
kept = {name: np.array([count_state_numbers(config, n) for n in positions]) for name, config in configs.items()}
assert (kept["flash"] == 4 * (S * E + C * (2 * S + E))).all()  # a sum and one chunk, in four units
assert (kept["transformer++"] == 2 * 2 * 256 * np.array(positions)).all()  # keys and values, D each, in two blocks
assert (kept["flash_quad"] == 2.5 * kept["transformer++"]).all()
weights = {name: c.depth * count_parameters(unit_without_weights(c)) for name, c in configs.items()}
assert 0.9 < weights["flash"] / weights["transformer++"] < 1.1  # about as many parameters
reveal("09.a", kept["transformer++"][-1] / kept["flash"][-1], "times")

# %% [markdown]
# Two surprises stand in this table. A state of constant size is **not a small state**: at position 512 FLASH keeps twice as much as
# Transformer++, and they are even only at 1024. Three quarters of what FLASH keeps are the unfinished chunk, not the sum. And FLASH-Quad, the
# stack of GAUs, keeps *more* than Transformer++, because it stores values of width E = 2 D in twice as many units.
#
# So far the rival kept keys and values of every head, as the paper's does, but today's Transformers keep less. In *grouped-query attention* (GQA,
# [arXiv 2305.13245](https://arxiv.org/abs/2305.13245)) several query heads share one key and one value, and *multi-head latent attention*
# (MLA, [arXiv 2405.04434](https://arxiv.org/abs/2405.04434)) stores one compressed vector, in DeepSeek-V2 4.5 times as wide as a head, from which all keys and
# values can be made again. That moves the break-even, as you can count at the paper's base size.

# %% tags=["nbval-check-output"]
of_flash, head = 2 * (128 * 1536 + 256 * (2 * 128 + 1536)), 64  # two units; a block has 12 heads
caches = {"all 12 heads": 2 * 12 * head, "GQA, 4 queries share": 2 * 3 * head, "GQA, 6 queries share": 2 * 2 * head,
          "MLA, as in DeepSeek-V2": 4.5 * head}  # fmt: skip
print(f"two FLASH units keep {of_flash:,} numbers; a block keeps")
for name, a_token in caches.items():
    later = caches["all 12 heads"] / a_token
    print(f"{name:22} {a_token:5.0f} for a token: even at {of_flash / a_token:5,.0f}, {later:.1f} times as late")

# %% [markdown]
# Against such a cache FLASH keeps less only from 3000 to 5000 tokens on. (What today's linear layers keep is told
# in [lecture 13](13_after_flash.ipynb).)
#
# A formula can be wrong, so count the numbers in real states too, at small sizes.

# %% tags=["nbval-check-output"]
small = {"flash": {"qk_dim": 16, "chunk_size": 8}, "flash_quad": {"qk_dim": 16}, "transformer++": {}}
for name, options in small.items():
    config = ModelConfig(name, dim=32, max_length=128, **options)
    little, lengths = LanguageModel(config), (8, 11, 43, 103)
    kept_by = [little.prefill(torch.zeros(1, n, dtype=torch.long))[1].numel() for n in lengths]
    print(f"{name:14} numbers kept after {lengths} tokens: {kept_by}")
    assert kept_by == [count_state_numbers(config, n) for n in lengths]

# %% [markdown]
# ## 8. How long a token takes
#
# The stored benchmark timed one step of each model at positions from 512 to 16,384, over which the cache of Transformer++ grows 32 times.
#
# **Your second guess.** By what factor does a token of Transformer++ take longer at 16,384 than at 512?

# %%
my_second_guess = None  # your number here
predict("09.b", my_second_guess)

# %%
stored = load_stored("bench_cpu")
rows = {(row["model"], row["position"]): row for row in stored["decoding"]}
assert all(row["state_numbers"] == count_state_numbers(configs[name], n) for (name, n), row in rows.items())


def growth(name, value):
    return value(rows[name, 16384]) / value(rows[name, 512])


for name in configs:
    counted, took = growth(name, lambda row: row["multiply_adds"]), growth(name, lambda row: row["seconds"]["median"])
    print(f"{name:14} from 512 to 16,384: multiplications x {counted:5.2f}, time x {took:5.2f}")
reveal("09.b", growth("transformer++", lambda row: row["seconds"]["median"]), "times")
print(f"measured on {stored['machine']['cpu']}, {stored['machine']['threads']} threads, {stored['machine']['date']}")
took = {key: row["seconds"]["median"] for key, row in rows.items()}
first = next(n for n in positions if took["flash", n] < took["transformer++", n])
products = rows["flash", 512]["floor"]["median"] / took["flash", 512]
print(f"FLASH's token is the faster from position {first} on; matrix products are {products:.0%} of its time at 512")
assert first == 4096 and products < 0.35 and growth("flash", lambda row: row["seconds"]["median"]) < 1.1
assert 0.65 < rows["flash", 2048]["multiply_adds"] / rows["transformer++", 2048]["multiply_adds"] < 0.7

# %% [markdown]
# The count explains most of it: the multiplications grow 8 times and not 32, because at 512 most of them are in the dense layers, which do
# not grow. (The time grew more. A long cache has to be fetched from slower memory, which may be a reason; it was not measured apart.)
#
# Now your own machine, at two positions. Each model is brought to a position, and then makes some steps.

# %% tags=["timing"]
from flash_course.bench.against_length import state_at
from flash_course.bench.clock import machine, summary, time_in_turn

one = torch.zeros(1, dtype=torch.long, device=device)
models = {name: LanguageModel(configs[name]).to(device).eval() for name in ("flash", "transformer++")}
states = {(name, n): state_at(draw_order_one(each, torch.Generator().manual_seed(0)), n)
          for name, each in models.items() for n in preset.positions}  # fmt: skip


def steps_of(name, state):
    for _ in range(preset.steps):
        _, state = models[name].step(one, state)


timed = {key: lambda state, name=key[0]: steps_of(name, state) for key in states}
seconds = time_in_turn(timed, 3, prepare=lambda key: copy.deepcopy(states[key]), device=device)
per_token = {key: summary([s / preset.steps for s in each]) for key, each in seconds.items()}
live = [{"model": name, "position": n, "seconds": s} for (name, n), s in per_token.items()]
title = "FLASH keeps and takes the same at every position; with a cache both grow"
table = [("model", "position", "numbers kept", "ms, stored", "ms, here")]
for key, row in rows.items():
    here = f"{1e3 * per_token[key]['median']:.2f}" if key in per_token else "-"
    table.append((*key, f"{row['state_numbers']:,}", f"{1e3 * row['seconds']['median']:.2f}", here))
figures.show(*figures.decoding_by_position(stored["decoding"], live, title=title), table=table)
print("lines: stored, the machine above; hollow marks:", machine(device).get("card", machine(device)["cpu"]))

# %% [markdown]
# Read the right panel with care. In the stored run FLASH takes the same time at *every* position, but Transformer++ is **faster** up to
# 2048. Why does FLASH lose at 2048, where it needs a third *fewer* multiplications? The matrix products are
# less than a third of its time at 512. The rest goes into many small operations and the overhead of calling them, and four units
# make more calls than two blocks. (Lecture 11 counts the calls. On a GPU none of this was measured yet.)
#
# A token does not cost *exactly* the same everywhere, though. The near part grows inside a chunk, and the last token of a chunk does the fold,
# C S E multiplications that are put off until then: at these sizes 27 times the work of its neighbour.

# %% tags=["nbval-check-output"]
every = 256 * (2 * E + S) + E * 256 + S * E  # dense layers, and reading far
last_but_one, last = (every + places * (S + E) + fold for places, fold in ((C - 1, 0), (C, C * S * E)))
print(
    f"a unit's multiplications, last but one of a chunk {last_but_one:,}, last {last:,}: {last / last_but_one:.0f} times"
)

# %% [markdown]
# An implementation could add each kᵀ v as it comes, into a *second* sum that nobody reads before the chunk is full. (The
# stored times are means over C steps with one fold among them; your own steps hold none.)
#
# ## 9. From logits to a token: temperature
#
# The model gives a *logit* for each token of its vocabulary, here 256 bytes, and the softmax makes probabilities of them. Before
# that, the logits may be divided by a *temperature*: below 1 the likely tokens become likelier, above 1 all become more alike, and at 0
# the largest is taken, which is *greedy* writing. The *entropy* of the probabilities is the mean number of bits that a draw costs.
#
# **Your line.** What stands in the place of the dots?


# %%
def probabilities_by_me(logits, temperature):
    weights = np.exp(...)
    return weights / weights.sum()


four = np.log([8, 4, 2, 2])
learner.your_line(
    "09.e", probabilities_by_me, ((four, 1), [0.5, 0.25, 0.125, 0.125]), ((four, 0.5), [8 / 11, 2 / 11, 1 / 22, 1 / 22])
)

# %% [markdown]
# <details><summary>The line</summary>
#
# `logits / temperature`. (For large logits subtract the largest first; it changes nothing, and nothing overflows.)
#
# </details>
#
# What does the trained model expect after our prompt?


# %% tags=["nbval-check-output"]
def probabilities(logits, temperature):
    weights = np.exp((logits - logits.max()) / temperature)
    return weights / weights.sum()


def entropy(p):
    return -(p * np.log2(p)).sum()


logits = written["reading all again"][1][0, 0].double().cpu().numpy()  # of the first new byte
likely = np.argsort(-logits)[:8]
by_temperature = {f"temperature {t:g}": probabilities(logits, t) for t in (0.5, 1, 2)}
for name, p in by_temperature.items():
    print(f"{name:15} the likeliest byte has {p.max():.0%}, the entropy is {entropy(p):.1f} bits")
title = "The byte after the prompt: a low temperature sharpens, a high one flattens"
bars = {name: p[likely] for name, p in by_temperature.items()}
figures.show(*figures.temperatures(bars, [chr(byte) for byte in likely], title=title))

# %% [markdown]
# Two more settings cut off the unlikely tokens, since each of them is rare but together they are not, and one odd token can spoil a text.
# **top-k** keeps the k most likely tokens. **top-p** keeps the fewest most likely tokens whose probabilities *reach* p. What is kept is
# divided by its sum again.
#
# <details><summary>The same by pencil, and 50,000 draws</summary>
#
# Six tokens with logits 4, 3, 2, 1, 0, 0 times ln 2, so exp(logit) is 16, 8, 4, 2, 1, 1. At temperature 1 the probabilities are these over 32,
# and the entropy is 1/2 × 1 + 1/4 × 2 + 1/8 × 3 + 1/16 × 4 + 2 × 1/32 × 5 = 1.9375 bits. top-k 2 keeps 1/2 and 1/4. top-p 0.7 keeps the same two,
# since 1/2 does not reach 0.7, and top-p 0.8 needs a third. So the likeliest gets 16/24, 16/24 and 16/28 in the cell below.
#
# </details>

# %% tags=["nbval-check-output"]
from flash_tutorial.decoding import draw

many, seed = torch.tensor([16.0, 8, 4, 2, 1, 1]).log().expand(50_000, -1), torch.Generator()
for how in ({"top_k": 2}, {"top_p": 0.7}, {"top_p": 0.8}):
    share = np.bincount(draw(many, generator=seed.manual_seed(0), **how), minlength=6) / 50_000
    print(f"{how}: {np.count_nonzero(share)} of 6 tokens are drawn, the likeliest with {share[0]:.2f}")

# %% [markdown]
# ## 10. A trained model writes
#
# Four samples. The draws depend on rounding, so another machine may write another text.

# %%
samples, corpus = {}, load_corpus("austen")
for how in ({"temperature": 0}, {"temperature": 0.6}, {"temperature": 1.0, "top_p": 0.9}, {"temperature": 1.6}):
    generator = torch.Generator(device).manual_seed(0)
    new = model.generate(ids, preset.written, generator=generator, **how)[0].cpu()
    name = ", ".join(f"{key} {value}" for key, value in how.items())
    samples[name] = new.numpy()
    print(f"--- {name}\n{prompt}{tokenizer.decode(new)}\n")


def different_pieces(new, n=8):
    """Of all pieces of n bytes the share that is different ones; 100% if nothing is repeated."""
    pieces = [bytes(new[i : i + n].astype(np.uint8)) for i in range(len(new) - n + 1)]
    return len(set(pieces)) / len(pieces)


for name, new in samples.items():
    print(f"{name:27} different pieces of 8 bytes: {different_pieces(new):.0%}")
assert different_pieces(samples["temperature 0"]) < different_pieces(samples["temperature 1.6"])

# %% [markdown]
# Greedy text goes round in circles (read it aloud), since a phrase makes the same phrase likely again. At 1.6 there are many words that do not
# exist. The likeliest text is not the best one, and which temperature is right depends on what the text is for.
#
# ## 11. What can be taken back
#
# An editor has an undo key, and two things that every serving system does need one as well. *Speculative decoding* lets a cheap draft propose
# some tokens, which the model reads all at once; those that it would not have written must be taken back. *Prefix caching* keeps
# what was computed for a long prompt, and when the next request shares only its first half, the second half must be taken back.
#
# With a KV cache this is easy: forget its last rows. With FLASH's state it depends on where the token lies. The cell reads n tokens, takes the last k
# back, reads another one, and compares with a text that never had those k. How large may k be?


# %% tags=["nbval-check-output"]
@torch.no_grad()
def right_after_taking_back(unit, n, k, copied):
    _, state = unit.prefill(x[:, :1])
    copies = [copy.deepcopy(state)]  # after 1, 2, ... tokens
    for t in range(1, n):
        unit.step(x[:, t], state)
        copies.append(copy.deepcopy(state))
    if copied:
        state = copies[n - k - 1]
    else:
        state.rows.used -= k  # rows behind the newest are never read, and are written over
    other = x[:, 13]
    y, _ = unit.step(other, state)
    return same(y, unit(torch.cat([x[:, : n - k], other[:, None]], 1))[:, -1])


print(f"{'largest k, after n tokens: n =':35}", *(f"{n:2}" for n in range(5, 14)))
for name, kind, copied in (("cache of Transformer++", "Transformer++", False), ("FLASH's state", "FLASH", False),
                           ("FLASH's state, with copies", "FLASH", True)):  # fmt: skip
    able = [[right_after_taking_back(units[kind], n, k, copied) for k in range(1, n)] for n in range(5, 14)]
    print(f"{name:35}", *(f"{([*row, False]).index(False):2}" for row in able))

# %% [markdown]
# The cache can take back all but the first token, which was the prompt. FLASH's state can take back n mod C tokens, those of the
# unfinished chunk, and no others. After 8 tokens it is none, because token 8 ended a chunk and the chunk was folded, and a sum does not say what was put
# into it. Could you subtract the chunk again? You would need its keys and values, which are dropped, and rounding would be a second
# obstacle (lecture 05).
#
# The remedy is a **copy of the state**, made before the draft or at the end of a prompt. It has the same size at every position. Every layer
# with a recurrent state has this problem, so servers of today's hybrid models meet it when they cache prompts
# ([lecture 13](13_after_flash.ipynb), section 10).
#
# Here is speculative decoding with the cheapest draft there is, a table that says which byte follows most often after four bytes.


# %%
def most_likely_next(tokens, n=4):
    """For each n bytes that occur: the byte that follows most often."""
    codes = sum(tokens[i : len(tokens) - n + i].astype(np.int64) << 8 * (n - i) for i in range(n)) + tokens[n:]
    pieces, counts = np.unique(codes, return_counts=True)
    order = np.argsort(counts, kind="stable")  # a later entry wins: the most frequent one
    return dict(zip((pieces[order] >> 8).tolist(), (pieces[order] & 255).tolist()))


table = most_likely_next(corpus.train.tokens[:500_000])


# %% tags=["nbval-check-output"]
@torch.no_grad()
def speculate(ids, n, k=6):
    """Greedy text of n bytes: k drafted bytes are read at once, and kept as far as they are the model's own choice."""
    text, rounds, accepted = ids[0].tolist(), 0, 0
    while len(text) < ids.shape[1] + n:
        longer = text
        for _ in range(k):
            longer = [*longer, table.get(int.from_bytes(bytes(longer[-4:]), "big"), 32)]
        own = model(torch.tensor([longer], device=device))[0, -k - 1 :].argmax(-1).tolist()
        good = next((i for i, byte in enumerate(longer[-k:]) if byte != own[i]), k)
        text, rounds, accepted = [*text, *longer[-k:][:good], own[good]], rounds + 1, accepted + good
    return text[ids.shape[1] :], rounds, accepted


fast, rounds, accepted = speculate(ids, 40)
assert fast[:40] == written["keeping a state"][0][0].tolist()  # the same 40 bytes as one by one
assert len(fast) == rounds + accepted
print(f"{rounds} rounds instead of 40; each brings one byte of its own, and together {accepted} drafted ones")

# %% [markdown]
# The text is the model's own, byte for byte, and the draft changes only how many rounds are needed. So few rounds flatter the draft, since
# these 40 greedy bytes are frequent words. (For brevity the cell reads the whole text in each round; `read` of section 5 would read the new tokens only.)
#
# ## 12. Complaint three, answered
#
# The third complaint of lecture 00 was that a model which updates a state at each token, like an RNN, trains in T sequential steps. Now
# you have both forms of one function, so count how often one part of the work has to wait for another.

# %% tags=["nbval-check-output"]
T, S, E = 1024, 8, 16
long_4TS, long_TE = rng.normal(size=(4, T, S)), rng.normal(size=(T, E))
by_token, bias = empty(S, E), rng.normal(size=(64, 64))
one_by_one = [sum(step(by_token, long_4TS[:, t], long_TE[t], bias, 64)) for t in range(T)]
for_all, rounds = read(empty(S, E), long_4TS, long_TE, bias, 64)
assert same(np.array(one_by_one), for_all)
print(f"sequential steps: token by token {len(one_by_one)}, by chunk {rounds} = T / C = {T} / 64")

# %% [markdown]
# Writing has T sequential steps (fewer with a good draft), which lies in the problem and not in FLASH. Training has T / C, each of them one
# addition to a small array. **Complaint three is answered**: the update happens once a chunk, and all tokens of a chunk are read at once.
# A prompt profits in the same way. What it costs you have seen: a state that is large for short texts, borders, and tokens that cannot be taken back.
#
# ## 13. What you take along
#
# Fill in the last column yourself. "Not shown" is a good answer. `learner.verdict("09 constant state", "...")` stores a verdict, and
# `flash-tutorial report` prints them all.
#
# | claim | your evidence | your verdict |
# | --- | --- | --- |
# | Token by token is the trained function | sections 4, 5, 6: every split, three kinds of units | |
# | The state has a constant size | section 7: counted, and real states | |
# | The state is small | section 7: at 512 it is twice a full KV cache, and GQA or MLA move the break-even 4 to 6 times further | |
# | A token takes the same time at every position | section 8: stored 512 to 16,384, and yours | |
# | FLASH writes faster than Transformer++ | section 8: from 4096 on, in the stored run; before it, no | |
# | Likely text is good text | section 10: greedy text repeats itself | |
# | Any token can be taken back | section 11: not those that were folded, unless the state was copied | |
# | FLASH trains with T / C sequential steps and writes with a state | section 12: counted, same outputs | |
#
# **Three takeaways**
# 1. Keep the sum of finished chunks, the rows of the unfinished one, and a counter. Write, read near, read far, then fold.
# 2. A decoder must be the trained function: scores over C, the mean over finished chunks, RoPE by the position in the text.
#    Test three full chunks and a tail.
# 3. Constant is not small: FLASH keeps less than a KV cache, and is faster, only from some position on.
#
# **Exercises** [Problem set 09](../exercises/09_generation.ipynb), six tasks: the state, one step, sampling, saving, and taking tokens back.
#
# **Next** [Lecture 10](10_ablations.ipynb) takes the model apart: which part brings what, and what a small ablation can say.
