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
# In training the whole text is there. A model that writes has one token at a time, and has to keep what it needs of the others.
# This lecture builds FLASH's token-by-token form, proves that it is the trained function, and measures what it keeps and what it costs.
#
# **After it you can**
# - say what softmax attention, a GAU and FLASH must keep while they write, and from which position on FLASH keeps less;
# - write one step of mixed chunk attention, with the fold in its right place and the right divisors;
# - read a prompt in parallel, go on token by token, and prove that every split gives the same;
# - recognise five wrong decoders by where, and by how, they are wrong;
# - choose a temperature, top-k and top-p, and compute by hand what they do;
# - say which tokens can be taken back, and why the others cannot.
#
# **You need** lecture 04 (the state) and lecture 05 (mixed chunk attention).
#
# **Time** 45 minutes to read. Computing takes about 20 seconds on two CPU cores; a GPU was not measured yet.
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
# Two questions from lectures 04 and 05. Answer from memory, then open the fold.
#
# **1.** Why is linear attention cheap to write with, and slow to train?
#
# <details><summary>Answer</summary>
#
# Its state holds S × E numbers at any position, so each new token costs the same. In training the same state gives T steps in a row.
#
# </details>
#
# **2.** Which sum does a token of chunk g read, and what divides it?
#
# <details><summary>Answer</summary>
#
# The sum of kᵀ v over chunks 1 to g - 1, without its own chunk. The divisor is the number of tokens in it, (g - 1) C.
#
# </details>
#
# The letters: T tokens, D model width, E width of values, S width of queries and keys.
# C tokens are in a chunk, G chunks in a text, and B texts are computed at a time.
# Tokens and chunks are counted from 1 in the text. A token's *place* is counted from 0 inside its chunk.

# %%
import copy
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from flash_tutorial import FLASH, GAU, LanguageModel, ModelConfig, TransformerBlock, count_parameters
from flash_course import figures
from flash_tutorial import reference
from flash_tutorial.data import ByteTokenizer, load_corpus
from flash_course.learner import predict, reveal
from flash_course.bench.stored import load_stored


@dataclass
class Preset:
    positions: tuple  # where the time of a token is measured
    steps: int  # tokens in a row, for each time
    written: int  # bytes of each sample


CPU, GPU = Preset((512, 4096), 32, 160), Preset((512, 4096, 16384), 128, 400)
device = "cuda" if torch.cuda.is_available() else "cpu"
preset = GPU if device == "cuda" else CPU
torch.set_num_threads(1)


def same(a, b):
    """The same shape and, up to rounding, the same numbers."""
    a, b = np.asarray(a), np.asarray(b)
    return a.shape == b.shape and bool(np.abs(a - b).max(initial=0) < 1e-10)


print(preset)

# %% [markdown]
# ## 1. Writing is another problem than training
#
# A model that writes is fed its own output. Token 8 cannot be read before token 7 is drawn.
# So n new tokens take n steps in a row, with *any* architecture (unless some are guessed ahead, section 11).
# In training no step waits for a token, because all are known.
# Writing token by token is called *decoding*. Reading the prompt before it is called *prefill*.
#
# What a step costs depends on the way. The plainest way reads the whole text again for each new token.
# The other way keeps something from the earlier steps. Count how many tokens go through the model in each.

# %% tags=["nbval-check-output"]
model, tokenizer = LanguageModel.from_pretrained("austen-flash").to(device), ByteTokenizer()
prompt = "It is a truth universally acknowledged, "
ids = torch.tensor(tokenizer.encode(prompt), device=device)[None]  # (B, T), B = 1


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
    print(f"{name:17} {len(calls)} calls in a row, {sum(calls):4} tokens go through the model")
handle.remove()
print(f"counted: 40 + 41 + ... + 79 = {sum(range(40, 80))}; 40 + 39 = {40 + 39}")

# %% [markdown]
# (The prompt has 40 bytes. The last of the 40 new bytes is not read, because nothing is asked after it.)
#
# ## 2. What must be kept?
#
# Why may anything be kept at all? A causal model computes the same for an early token, whatever follows.
# That was the prefix proof of lecture 05. So keys and values of old tokens stay valid in every layer.
# A query is asked once, by its own token. It is not needed again.
#
# - **Softmax attention** compares the new query with *every* old key. All keys and values must be kept: the *KV cache*.
# - **A GAU** does the same with relu². Its divisor must be a fixed number. With the current length, old outputs would change (lecture 03).
# - **Linear attention** keeps one array, the state (equation 6 of the paper).
#
# Here are both extremes, one head each. Five lines of code are a KV cache.


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
print(
    "KV cache, step by step = all at once:",
    same(soft_TE, reference.softmax_attention(q_TS, k_TS, v_TE, np.tri(T, dtype=bool))),
)
print(
    "state,    step by step = all at once:", same(linear_TE, reference.linear_attention(q_TS, k_TS, v_TE, causal=True))
)
for t in (1, 7, 14):
    print(f"after token {t:2}: cache {kept[t - 1][0]:3} numbers = {t:2} x (S + E), state {kept[t - 1][1]} = S x E")

# %% [markdown]
# FLASH stands between the two. It reads near tokens one by one, and far ones through a sum. So it must keep both kinds.
# (The paper has no listing of how FLASH writes. What follows is read off its causal form.)
#
# | what | size | when it changes |
# | --- | --- | --- |
# | the sum of kᵀ v over *finished* chunks | S × E | once every C tokens |
# | quad_k, lin_k and v of the *unfinished* chunk | at most C (2 S + E) | each token adds a row; emptied at a border |
# | how many chunks are in the sum | a counter | once every C tokens |
#
# Why lin_k? Nobody reads it now, but the fold at the border needs it. The counter does two jobs.
# It divides the sum. With the rows that wait, it also tells the position in the text, which RoPE needs.
#
# ## 3. One step, by hand
#
# A step does four things: **write** the new rows, **read near**, **read far**, and at the end of a chunk **fold** it into the sum.
#
# **Your line.** All is there but the fold. When is it done, and where does the line stand?
#
# ```python
# def step(state, heads_4S, v_E, bias_CC, C):
#     quad_q, quad_k, lin_q, lin_k = heads_4S
#     write(state, quad_k[None], lin_k[None], v_E[None])
#     near = read_near(state, quad_q, bias_CC, by=C)         # scores are divided by C
#     far = lin_q @ state.kv_SE / max(state.chunks * C, 1)   # the mean over the finished chunks
#     ...
#     return near, far
# ```
#
# <details><summary>The line</summary>
#
# `if len(state.v) == C: fold(state)`. It stands behind both readings. Section 4 shows what happens if it comes earlier.
#
# </details>


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
    """Add rows to the unfinished chunk."""
    state.quad_k, state.lin_k, state.v = (
        np.concatenate([old, new]) for old, new in ((state.quad_k, quad_k), (state.lin_k, lin_k), (state.v, v))
    )


def fold(state):
    """The unfinished chunk is finished: into the sum, and its rows are dropped."""
    state.kv_SE = state.kv_SE + state.lin_k.T @ state.v
    state.chunks += 1
    state.quad_k, state.lin_k, state.v = state.quad_k[:0], state.lin_k[:0], state.v[:0]


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
# `scores_by` and `sum_by` are there to plant faults later. While no chunk is finished, the sum is zero, whatever divides it.
#
# Now the six tokens of lecture 05: the same base, values, heads and bias, with C = 2.
# If all is right, you meet the numbers of its sections 3 and 4 again.

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
    waiting.append(list(range(2 * state.chunks + 1, t + 2)))  # the numbers of the tokens that wait
    near, far = (tuple(int(n) for n in x) for x in reads[-1])
    print(f"token {t + 1}: near {near!s:9} far {far!s:8} | then: sum {sums[-1].astype(int).tolist()!s:20}"
          f" of chunks: {state.chunks}, waiting {waiting[-1]}")  # fmt: skip
assert same(reads[4:], [[(0, 0), (7, 10)], [(-16, 4), (-3, 6)]])  # lecture 05: near in section 3, far in section 4
figures.show(*figures.chunk_state_by_token(np.array(sums), waiting, 2, [(a + 0.0, b + 0.0) for a, b in reads]))

# %% [markdown]
# Follow token 4. It is the last of chunk 2, and the sum still holds chunk 1 alone. It reads. Only then is chunk 2 folded.
# Token 5 finds an empty chunk: all its past is in the sum, and its divisor is 2 chunks × 2 tokens = 4.
# Token 6 reads (-16, 4) near and (-3, 6) far, as in lecture 05.
#
# ## 4. Token by token = parallel
#
# Six whole numbers prove little. Take T = 14 and C = 4, three full chunks and a tail, with numbers of order one.
# The parallel form is that of lecture 05, causal and with the mean, in a few lines.
# The bias gets a constant of 4 on top. So no weight is exactly 0, and no fault can hide behind a zero.


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
print("all at once = package:", same(expected, package))
print("token by token = all at once:", same(token_by_token(step), expected))
print("six tokens, all at once:", parallel(six, v_six, bias_22, 2)[5].astype(int).tolist())

# %% [markdown]
# **Misconception 1: the last token may be folded in first, the sum is only more complete then.**
# It is a small change: `fold` one line earlier. Look at which outputs are wrong.


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
for one_step in (step, folds_first):
    state = empty(S, E)
    near, far = [one_step(state, h_4TS[:, t], v_TE[t], bias_CC, C) for t in range(4)][-1]
    print(f"{one_step.__name__:11} token 4 reads nothing far: {not far.any()}")

# %% [markdown]
# One token in C is wrong: the last of each chunk. It reads its own chunk twice, one by one and in the sum.
# This is the *inclusive* sum of lecture 05, at one place. There it leaked the future. Here no future is leaked, since none is there yet.
# So no leak test can find it. It is only another function than the trained one. A test of 3 tokens, or of tokens 9 to 11, sees nothing.
#
# **Misconception 2: early in a chunk there are fewer tokens, so their number is the divisor.**
# The scores were divided by C in training, at every place. The relu² map is no average. C is a constant of the model.
#
# Here are this fault and four others. A cross marks a wrong output; a bar is a border.

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
# Read the table as a table of symptoms. Each pattern has a test that is blind to it:
#
# - *scores over the tokens so far* is right at the last place of each chunk. A test of whole chunks that looks at their last token passes.
# - *mean over one chunk more* is right in chunk 1. A test with a short text passes.
# - *sum of means* is right in chunks 1 and 2. You need **three full chunks**.
# - *RoPE starts again* is right in chunk 1, too. The near part is even right everywhere: inside a chunk only distances count.
#   The far part compares a query with keys of other chunks, so it needs the position in the text.
#
# The last fault has the pattern of *one chunk more*, so look at the numbers too. One chunk more makes all of them
# smaller by one factor (at token 9, 2 chunks over 3). RoPE that starts again changes each number in its own way.
#
# ## 5. Read a prompt at once, then go on
#
# A prompt is known text, so it need not go token by token. Read it chunk by chunk, each chunk at once.
# Let us do a little more: read n tokens from *any* state. One token is then the case n = 1.
#
# **Your line.** i rows wait already. How many of the new tokens can be read at once, before something must be folded?
#
# ```python
# i = len(state.v)
# now = slice(first, first + ...)
# ```
#
# <details><summary>The line</summary>
#
# `C - i`: up to the next border. A slice ends by itself where the text ends.
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
# The proof: every split of 14 tokens into a prompt and steps. Compare all outputs, and the state at the end.
# A prompt that ends on a border is a case of its own: nothing waits, and a full chunk is already in the sum.
# Then the text is cut in two places, as in a chat: prompt, answer, prompt.

# %% tags=["nbval-check-output"]
final, splits = empty(S, E), []
read(final, h_4TS, v_TE, bias_CC, C)
for n in range(T + 1):
    state = empty(S, E)
    prompt_nE, _ = read(state, h_4TS[:, :n], v_TE[:n], bias_CC, C)
    rest = [sum(step(state, h_4TS[:, t], v_TE[t], bias_CC, C)) for t in range(n, T)]
    all_equal = same(np.array([*prompt_nE, *rest]), expected)
    splits.append(all_equal and all(same(getattr(state, name), getattr(final, name)) for name in vars(state)))
print("prompt of n tokens, then steps, n = 0 to 14: outputs and state right:", all(splits), len(splits))
twice = []
for a in range(T + 1):
    for b in range(a, T + 1):
        state, parts = empty(S, E), (slice(0, a), slice(a, b), slice(b, T))
        twice.append(same(np.concatenate([read(state, h_4TS[:, p], v_TE[p], bias_CC, C)[0] for p in parts]), expected))
print("cut at two places:", all(twice), len(twice))
state = empty(S, E)
rounds = [read(state, h_4TS[:, p], v_TE[p], bias_CC, C)[1] for p in (slice(0, 6), slice(6, 14))]
print("rounds for tokens 1 to 6 and 7 to 14:", rounds, "| waiting at the end:", len(state.v))

# %% [markdown]
# ## 6. The whole unit, and the package
#
# Around the mixing stand norm, projection, heads, gate and output matrix. They treat each token by itself.
# So a step of the unit needs one thing more: the token's position, for RoPE. The state knows it: chunks × C + rows that wait.

# %% tags=["nbval-check-output"]
from flash_tutorial.properties import draw_order_one


def flash_step(x_D, p, state, C):
    E = p["out_weight"].shape[0]
    uvz = reference.silu(reference.scale_norm(x_D, p["norm_gain"]) @ p["in_weight"] + p["in_bias"])
    u_E, v_E, z_S = np.split(uvz, [E, 2 * E])
    position = state.chunks * C + len(state.v)
    heads_4S = reference.rope(heads(z_S[None], p["gamma"], p["beta"]), first=position)[:, 0]
    near, far = step(state, heads_4S, v_E, reference.toeplitz_bias(p["bias_weights"], C), C)
    return x_D + (u_E * (near + far)) @ p["out_weight"] + p["out_bias"]


D = 8
unit = FLASH(D, qk_dim=S, chunk_size=C, causal=True, bias="toeplitz").double()
draw_order_one(unit, torch.Generator().manual_seed(1))
p, x_TD = unit.to_numpy(), rng.normal(size=(T, D))
state, its_state = empty(S, unit.expanded), reference.flash_state(p)
mine = np.array([flash_step(x, p, state, C) for x in x_TD])
its = np.array([reference.flash_step(x, p, its_state, chunk_size=C) for x in x_TD])
print("my steps = all at once:", same(mine, reference.flash(x_TD, p, causal=True, chunk_size=C)))
print("package's NumPy steps = my steps:", same(its, mine))

# %% [markdown]
# In PyTorch each unit of the package has two methods: `unit.prefill(x)` and `unit.step(x, state)`.
# FLASH keeps its state of constant size, a GAU or a Transformer++ block a cache.
#
# Compare with the parallel form once more, for every split, with B = 2 texts. Then with two prompts of *different* length, 9 and 6 tokens.
# There each row stands at its own position, and folds at its own time.


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


units = {"FLASH": unit, "GAU": GAU(D, qk_dim=S, causal=True, length_scale=16, bias_length=16),
         "Transformer++": TransformerBlock(D, heads=2, glu=True, rope=True, causal=True)}  # fmt: skip
x = torch.from_numpy(rng.normal(size=(2, T, D)))
for name, each in units.items():
    draw_order_one(each.double(), torch.Generator().manual_seed(2))
    print(
        f"{name:14} every split, n = 1 to 14: = all at once:", all(error(each, x, n) < 1e-10 for n in range(1, T + 1))
    )
lengths = torch.tensor([9, 6])
mask = torch.arange(9)[None] < lengths[:, None]
for name, each in units.items():
    with torch.no_grad():
        _, state = each.prefill(x[:, :9], mask)
        steps = [each.step(x[[0, 1], lengths + i], state)[0] for i in range(5)]
        alone = [[each(x[row : row + 1, : n + i + 1])[0, -1] for row, n in enumerate((9, 6))] for i in range(5)]
    print(f"{name:14} prompts of 9 and 6 tokens, 5 steps: = each text alone:",
          all(same(a, torch.stack(b)) for a, b in zip(steps, alone)))  # fmt: skip

# %% [markdown]
# Is the package's state the same as ours? It keeps the sum divided by C, and always has room for C rows.
#
# And in half precision? A bfloat16 number has 8 significant bits, so equality is out of reach. Still the sum must not suffer:
# a sum kept in bfloat16 stops growing too early. The package keeps it in float32. Keys and values are bfloat16.

# %% tags=["nbval-check-output"]
total = torch.zeros((), dtype=torch.bfloat16)
for _ in range(1000):
    total = total + 1
print("1 added 1000 times in bfloat16:", float(total))
p, state = unit.to_numpy(), empty(S, unit.expanded)
for x_D in x[0].numpy():
    flash_step(x_D, p, state, C)
with torch.no_grad():
    _, package = unit.prefill(x[:1])
    print("sum:", same(package.sums[0, 0] * C, state.kv_SE), "| tokens read:", package.rows.used,
          "| rows that wait:", same(package.v[0, 0, :2], state.v), same(package.lin_k[0, 0, :2], state.lin_k))  # fmt: skip
    long, half = torch.from_numpy(rng.normal(size=(1, 62, D))), copy.deepcopy(unit).to(torch.bfloat16)
    _, state = half.prefill(long[:, :30].to(torch.bfloat16))
    steps = torch.stack([half.step(long[:, t].to(torch.bfloat16), state)[0] for t in range(30, 62)], 1)
    right = unit(long)[:, 30:]
    branch = right - long[:, 30:]  # what the unit adds to its input
    off = float((steps.double() - right).norm() / branch.norm())
print(f"bfloat16, 30 tokens and 32 steps: off by less than 2%: {off < 0.02}, more than 0.1%: {off > 0.001}")
print("the sum is kept in", state.sums.dtype, "| keys and values in", state.v.dtype)

# %% [markdown]
# ## 7. How much is kept
#
# Now the sizes of the package's stored benchmark: D = 256, S = 128, E = 512, C = 256.
# Two Transformer++ blocks stand against four FLASH units, which have about as many parameters.
#
# **Your first guess.** Both have read 16,384 tokens. Transformer++ keeps how many times as many numbers as FLASH?

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
# Two surprises stand in this table.
#
# - A state of constant size is **not a small state**. At position 512 FLASH keeps twice as much as Transformer++.
#   They are even at 1024. Three quarters of FLASH's state are the unfinished chunk, not the sum.
# - FLASH-Quad, the stack of GAUs, keeps *more* than Transformer++. Its S is small, but it keeps a value of width
#   E = 2 D, in twice as many units.
#
# A formula can be wrong. So count the numbers in real states, at small sizes.

# %% tags=["nbval-check-output"]
small = {"flash": {"qk_dim": 16, "chunk_size": 8}, "flash_quad": {"qk_dim": 16}, "transformer++": {}}
for name, options in small.items():
    config = ModelConfig(name, dim=32, max_length=128, **options)
    little, sizes_seen = LanguageModel(config), []
    for n in (5, 8, 40, 100):
        _, state = little.prefill(torch.zeros(1, n, dtype=torch.long))
        for _ in range(3):
            _, state = little.step(torch.zeros(1, dtype=torch.long), state)
        sizes_seen.append(state.numel())
        assert state.numel() == count_state_numbers(config, n + 3)
    print(f"{name:14} numbers kept after 8, 11, 43 and 103 tokens: {sizes_seen}, constant: {len(set(sizes_seen)) == 1}")

# %% [markdown]
# ## 8. How long a token takes
#
# The stored benchmark timed one step of each model, at positions from 512 to 16,384.
# From 512 to 16,384 the cache of Transformer++ grows 32 times.
#
# **Your second guess.** How many times as long does a token of Transformer++ take at 16,384 as at 512?

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
    print(f"{name:14} from 512 to 16384: multiplications x {counted:5.2f}, time x {took:5.2f}")
reveal("09.b", growth("transformer++", lambda row: row["seconds"]["median"]), "times")
print(f"measured on {stored['machine']['cpu']}, {stored['machine']['threads']} threads, {stored['machine']['date']}")
first = next(
    n for n in positions if rows["flash", n]["seconds"]["median"] < rows["transformer++", n]["seconds"]["median"]
)
products = rows["flash", 512]["floor"]["median"] / rows["flash", 512]["seconds"]["median"]
print(
    f"FLASH's token is the faster one from position {first} on; matrix products are {products:.0%} of its time at 512"
)
assert first == 4096 and products < 0.35 and growth("flash", lambda row: row["seconds"]["median"]) < 1.1
assert 0.65 < rows["flash", 2048]["multiply_adds"] / rows["transformer++", 2048]["multiply_adds"] < 0.7

# %% [markdown]
# The count explains it: 8 times the multiplications, not 32. At 512 most of the work is in the dense layers, which do not grow.
# (The measured 11.2 is more. A long cache must also be fetched from slower memory, which may be a reason.
# It was not measured apart.)
#
# Your own machine, at two positions. Each model is brought to a position, and then makes some steps in a row.

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
# Read the right panel with care. In the stored run FLASH takes about 0.6 ms for a token at *every* position.
# Transformer++ is **faster** up to 2048, and FLASH from 4096 on. Why does FLASH lose at 2048, where it needs a third
# *fewer* multiplications?
#
# A step is many small operations on single rows. The bench also timed the matrix products alone: 28% of FLASH's time at 512.
# The rest is small operations and the overhead of calling them. That four units make more calls than two blocks
# is a likely reason.
# On a GPU: not yet measured.
#
# One detail remains. A token does not cost *exactly* the same: the near part grows inside a chunk, and the last token folds.

# %% tags=["nbval-check-output"]
dense = 256 * (2 * E + S) + E * 256
near = [(place + 1) * (S + E) for place in range(C)]  # place 0 reads one token, place C - 1 reads C
far = S * E
folding = [0] * (C - 1) + [C * S * E]
total = [dense + n + far + f for n, f in zip(near, folding)]
print(
    f"one FLASH unit, multiplications: first token of a chunk {total[0]:,}, last but one {total[-2]:,}, last {total[-1]:,}"
)
print(f"the last over the last but one: {total[-1] / total[-2]:.0f} times")
print(
    f"mean over the chunk {np.mean(total):,.0f}; the fold is {folding[-1] // C:,} a token on the average, as reading far"
)
head = 256 * 256
assert 4 * np.mean(total) + head == rows["flash", 16384]["multiply_adds"]  # four units, and the head

# %% [markdown]
# The last token of a chunk does the fold: 27 times the work of its neighbour. A program could spread it: add each kᵀ v as it comes.
# Then it must keep a *second* sum that nobody reads before the border. Reading from it early would be misconception 1.
# The stored times are means over C steps in a row, so each holds one fold. Your own steps hold none: they begin
# behind a border and end before the next one.
#
# ## 9. From logits to a token: temperature
#
# The model gives a *logit* for each token of its vocabulary (here 256 bytes). The softmax makes probabilities of them.
# Divide the logits by a *temperature* first:
# below 1 the likely tokens become likelier, above 1 all become more alike. At 0 the largest is taken; this is *greedy* writing.
#
# By hand: six tokens with logits 4, 3, 2, 1, 0, 0, counted in bits (times ln 2). Then exp(logit) is a power of two: 16, 8, 4, 2, 1, 1.
#
# **Your line.** What stands in the place of the dots?
#
# ```python
# def probabilities(logits, temperature):
#     weights = np.exp(...)
#     return weights / weights.sum()
# ```
#
# <details><summary>The line</summary>
#
# `logits / temperature`. (For large logits subtract the largest first. It changes nothing, and nothing overflows.)
#
# </details>


# %% tags=["nbval-check-output"]
def probabilities(logits, temperature):
    weights = np.exp(logits / temperature)
    return weights / weights.sum()


def entropy(p):
    return -(p * np.log2(p)).sum()


logits = np.log(2) * np.array([4, 3, 2, 1, 0, 0])
by_temperature = {f"temperature {t:g}": probabilities(logits, t) for t in (0.5, 1, 2)}
print("temperature 1:  ", " ".join(f"{n:5.1f}" for n in 32 * by_temperature["temperature 1"]), " /  32")
print("temperature 0.5:", " ".join(f"{n:5.1f}" for n in 342 * by_temperature["temperature 0.5"]), " / 342")
print("entropy in bits:", ", ".join(f"{name[12:]}: {entropy(p):.4f}" for name, p in by_temperature.items()))
title = "A low temperature sharpens, a high one flattens"
figures.show(*figures.temperatures(by_temperature, list("abcdef"), title=title))

# %% [markdown]
# At temperature 1 the weights are 16, 8, 4, 2, 1, 1 over 32. At one half each weight is squared: 256, 64, 16, 4, 1, 1 over 342.
# The *entropy* is the mean number of bits that a draw costs: 1/2 × 1 + 1/4 × 2 + 1/8 × 3 + 1/16 × 4 + 2 × 1/32 × 5 = 1.9375 bits.
#
# Two more rules cut off the unlikely tokens. Each of these is rare, but together they are not,
# and one odd token can spoil a text.
#
# - **top-k** keeps the k most likely tokens;
# - **top-p** keeps the fewest most likely tokens whose probabilities *reach* p.
#
# What is kept is divided by its sum again. Ask the package's `draw` 50,000 times, and compare with your pencil:
# top-k 2 keeps 1/2 and 1/4. Top-p 0.7 keeps the same two, since 1/2 does not reach 0.7. Top-p 0.8 needs a third.

# %% tags=["nbval-check-output"]
from flash_tutorial.decoding import draw

many = torch.from_numpy(logits).expand(50_000, -1)
by_hand = {
    "temperature 1": ({}, [16, 8, 4, 2, 1, 1]), "temperature 0.5": ({"temperature": 0.5}, [256, 64, 16, 4, 1, 1]),
    "top-k 2": ({"top_k": 2}, [2, 1, 0, 0, 0, 0]), "top-p 0.7": ({"top_p": 0.7}, [2, 1, 0, 0, 0, 0]),
    "top-p 0.8": ({"top_p": 0.8}, [4, 2, 1, 0, 0, 0]), "greedy": ({"temperature": 0}, [1, 0, 0, 0, 0, 0]),
}  # fmt: skip
for name, (how, weights) in by_hand.items():
    drawn = draw(many, generator=torch.Generator().manual_seed(0), **how)
    share, p = np.bincount(drawn, minlength=6) / len(drawn), np.array(weights) / sum(weights)
    print(f"{name:15} kept {np.count_nonzero(share)} of 6, as by hand within 1%: {np.abs(share - p).max() < 0.01}")

# %% [markdown]
# ## 10. A trained model writes
#
# First the promise of this lecture, on the trained model: greedy writing with a state gives the same 40 bytes as reading all again.
# "The same bytes" could be luck, or fail by a near tie. So look at the logits: how much do they differ, and how far ahead is the winner?

# %% tags=["nbval-check-output"]
(reread, its_logits), (with_state, _) = written["reading all again"], written["keeping a state"]
logits, state = model.prefill(ids)
largest = [(logits - its_logits[0]).abs().max()]
for t in range(39):
    logits, state = model.step(reread[:, t], state)
    largest.append((logits - its_logits[t + 1]).abs().max())
best, second = its_logits.topk(2, -1).values.unbind(-1)
print("the same 40 bytes:", torch.equal(reread, with_state))
print("largest difference of a logit below 0.001:", bool(max(largest) < 1e-3))
print("smallest lead of the winner above 0.02:", bool((best - second).min() > 0.02))

# %% [markdown]
# Now four samples. The draws depend on rounding, so another machine may write another text.

# %%
samples, corpus = {}, load_corpus("austen")
for how in ({"temperature": 0}, {"temperature": 0.6}, {"temperature": 1.0, "top_p": 0.9}, {"temperature": 1.6}):
    generator = torch.Generator(device).manual_seed(0)
    new = model.generate(ids, preset.written, generator=generator, **how)[0].cpu()
    name = ", ".join(f"{key} {value}" for key, value in how.items())
    samples[name] = new.numpy()
    print(f"--- {name}\n{prompt}{tokenizer.decode(new)}\n")


def different_pieces(new, n=8):
    """How many n-byte pieces are different ones; 100% if nothing is repeated."""
    pieces = [bytes(new[i : i + n].astype(np.uint8)) for i in range(len(new) - n + 1)]
    return len(set(pieces)) / len(pieces)


for name, new in samples.items():
    print(f"{name:30} different 8-byte pieces, of all: {different_pieces(new):.0%}")
assert different_pieces(samples["temperature 0"]) < different_pieces(samples["temperature 1.6"])

# %% [markdown]
# Greedy text repeats itself: a phrase makes the same phrase likely again. At 1.6 there are many words that do not exist.
#
# Is there a *best* temperature? For a score in bits per byte there is. Score the same model at several temperatures,
# on text that it was trained on and on new text: 16 windows of 512 bytes, spread evenly over each.
# The entropy (on the new text, in the figure) says how unsure the model believes itself to be.


# %% tags=["nbval-check-output"]
@torch.no_grad()
def logits_on(text):
    starts = np.linspace(0, len(text) - 512, 16).astype(int)
    windows = torch.from_numpy(np.stack([text[f : f + 512] for f in starts]).astype(np.int64)).to(device)
    return model(windows)[:, :-1].double(), windows[:, 1:]


def at_temperature(logits, targets, temperature):
    """Entropy of the predictions, and bits per byte on what really came."""
    log_p = (logits / temperature).log_softmax(-1) / np.log(2)
    return -float((log_p.exp2() * log_p).sum(-1).mean()), -float(log_p.gather(-1, targets[..., None]).mean())


values = (0.5, 0.7, 1.0, 1.2, 1.5, 2.0)
texts = {"score on its training text": corpus.train.tokens, "score on new text": corpus.validation.tokens}
found = {
    name: [at_temperature(*three, t) for t in values] for name, three in ((n, logits_on(x)) for n, x in texts.items())
}
scores, unsure = (
    {name: [b for _, b in each] for name, each in found.items()},
    [e for e, _ in found["score on new text"]],
)
title = "On new text the model is too sure of itself: a higher temperature scores better"
figures.show(*figures.scores_by_temperature(values, unsure, scores, title=title))
print("entropy rises with the temperature:", bool((np.diff(unsure) > 0).all()))
print("best temperature:", {name: values[int(np.argmin(bits))] for name, bits in scores.items()})
on_new = scores["score on new text"]
print("new text, temperature 1: entropy below the score by over 0.1 bits:", on_new[2] - unsure[2] > 0.1)
print("a better temperature gains something, but less than 0.03 bits:", 0 < on_new[2] - min(on_new) < 0.03)

# %% [markdown]
# On its training text the best of these temperatures is 1. On new text a higher one is better, though by little.
# At 1 it believes that a byte of new text costs fewer bits than it does. It knows its own novels better than others
# (lecture 07 measures the gap).
# A score asks for honest probabilities. A reader may ask for few wrong words. The samples above let you judge.
#
# ## 11. What can be taken back
#
# An editor has an undo key. And a fast way to write, *speculative decoding*, needs one too: a cheap draft proposes some tokens,
# and the model reads them all at once. It keeps those that it would have written itself. The others must be taken back.
#
# With a KV cache this is easy: forget the last rows. With FLASH's state it depends on where the token lies.
# Read n tokens, take the last k back, read another one. Compare with a text that never had the k tokens.


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


print(f"{'tokens read, n':35}", *(f"{n:2}" for n in range(5, 14)))
for name, kind, copied in (("cache of Transformer++", "Transformer++", False), ("FLASH's state", "FLASH", False),
                           ("FLASH's state, with copies", "FLASH", True)):  # fmt: skip
    able = [[right_after_taking_back(units[kind], n, k, copied) for k in range(1, n)] for n in range(5, 14)]
    print(f"{name + ', at most':35}", *(f"{([*row, False]).index(False):2}" for row in able))

# %% [markdown]
# The cache can take back all but the first token, which was the prompt. FLASH's state can take back n mod C: 1, 2, 3, 0, and so on.
# After 8 tokens it is none: token 8 ended a chunk, and the chunk was folded. A sum does not say what was put into it.
# Could you subtract the chunk again? You would need its keys and values, and they are dropped. Rounding is a second reason (lecture 05).
#
# So the rule: the n mod C tokens of the unfinished chunk can be taken back, and no others.
# The remedy is a **copy of the state** before the draft. It has the same size at every position, so it always costs the same.
#
# Here is speculative decoding with the cheapest draft there is: a table that says which byte follows most often after four bytes.


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
print("the same 40 bytes as one by one:", fast[:40] == reread[0].tolist())
print(f"rounds in a row: {rounds} instead of 40; each brings one byte of its own, and together {accepted} drafted ones")
assert len(fast) == rounds + accepted

# %% [markdown]
# The text is the model's own, byte for byte. The draft changes only how many rounds are needed.
# So few rounds flatter the draft: these 40 greedy bytes are frequent words, and easy to foresee.
#
# For brevity this cell reads the whole text in each round.
# With `read` of section 5 a round reads the new tokens only, from a copied state.
#
# ## 12. Complaint three, answered
#
# The third complaint of lecture 00 was: autoregressive training by an update for each token, as in an RNN, has T steps in a row.
# Now you have both forms of one function. Count the steps in a row: how often the sum of finished chunks is waited for.

# %% tags=["nbval-check-output"]
T, S, E = 1024, 8, 16
long_4TS, long_TE = rng.normal(size=(4, T, S)), rng.normal(size=(T, E))
by_token, bias = empty(S, E), rng.normal(size=(64, 64))
one_by_one = [sum(step(by_token, long_4TS[:, t], long_TE[t], bias, 64)) for t in range(T)]
for_all, rounds = read(empty(S, E), long_4TS, long_TE, bias, 64)
print(f"the same outputs: {same(np.array(one_by_one), for_all)} | steps in a row: token by token {len(one_by_one)}, "
      f"by chunk {rounds} = T / C = {T} / 64")  # fmt: skip

# %% tags=["timing"]
text = torch.from_numpy(corpus.validation.tokens[:256].astype(np.int64)).to(device)[None]


def token_by_token_through_model():
    _, state = model.prefill(text[:, :1])
    for t in range(1, 256):
        _, state = model.step(text[:, t], state)


timed = time_in_turn(
    {"at once": lambda: model.prefill(text), "token by token": token_by_token_through_model}, 3, device=device
)
for name, each in timed.items():
    print(f"reading a prompt of 256 bytes {name:15} {1000 * summary(each)['median']:7.1f} ms")

# %% [markdown]
# Writing has T steps in a row (fewer with a good draft), since each token waits for the one before.
# That lies in the problem, not in FLASH.
# Training has T / C, and within the package they are one running sum over G small arrays. **Complaint three is answered**:
# the update happens once a chunk, and all tokens of a chunk are read at once. A prompt profits in the same way.
#
# What it costs, you have seen: a state that is large for short texts, borders, and tokens that cannot be taken back.
#
# ## 13. What you take along
#
# Fill in the last column yourself. "Not shown" is a good answer.
# After `from flash_course import learner`, `learner.verdict("09 constant state", "...")` stores a verdict.
# `flash-tutorial report` prints them all.
#
# | claim | your evidence | your verdict |
# | --- | --- | --- |
# | Token by token is the trained function | sections 4, 5, 6: every split, three kinds of units | |
# | The state has a constant size | section 7: counted, and real states | |
# | The state is small | section 7: at 512 it is twice a KV cache | |
# | A token takes the same time at every position | section 8: stored 512 to 16,384, and yours | |
# | FLASH writes faster than Transformer++ | section 8: from 4096 on, in the stored run; before it, no | |
# | Likely text is good text | section 10: greedy text repeats itself | |
# | Any token can be taken back | section 11: not those that were folded, unless the state was copied | |
# | FLASH trains with T / C steps in a row and writes with a state | section 12: counted, same outputs | |
#
# **Three takeaways**
# 1. Keep the sum of finished chunks, the rows of the unfinished one, and a counter. Write, read near, read far, then fold.
# 2. A decoder must be the trained function: scores over C, the mean over finished chunks, RoPE by the position in the text.
#    Test three full chunks and a tail.
# 3. Constant is not small: FLASH keeps less than a KV cache, and is faster, only from some position on. Count it, and measure it.
#
# **Exercises** [Problem set 09](../exercises/09_generation.ipynb), six tasks: the state, one step, sampling, saving, and taking tokens back.
#
# **Next** [Lecture 10](10_ablations.ipynb) takes the model apart: which part brings what, and what a small ablation can say.
