# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 13 After FLASH: what came next, and how it relates
#
# [With results](13_after_flash.ipynb) · [without, to work in](work/13_after_flash.ipynb) · [glossary](../docs/glossary.md)
#
# Tell a linear attention layer that Anna lives at number 8, tell it later that she has moved to number 3, and then ask where she lives.
# It answers 11, because it can only add. Most of what has happened to linear attention since FLASH appeared in 2022 is an answer to that one embarrassment:
# layers learnt to forget, then to erase, and then models admitted that a few layers of full attention are worth their price.
#
# **After it you can**
# - write the state update of RetNet, Mamba-2, GLA, DeltaNet, Gated DeltaNet and Kimi Linear in one notation;
# - prove that such an update can be computed in chunks exactly, and say why FLASH's relu² cannot;
# - count what each of them keeps while it writes text, and what that means for hybrids and for prefix caching;
# - keep apart FLASH, FlashAttention and flash-linear-attention, and read the papers.
#
# **You need** lecture 04 (the state, exact chunks) and lecture 05 (mixed chunk attention); lecture 10 helps with section 9.
#
# **Time** 40 minutes to read. Computing takes about 25 seconds on two CPU cores.
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
# Two questions from earlier lectures. Answer from memory, then open the fold.
#
# **1.** Lecture 04 computed linear attention in chunks of C tokens. What happens to the output when you change C?
#
# <details><summary>Answer</summary>
#
# Nothing, up to rounding. Inside a chunk the same weights q · k are used as between chunks, so C decides only how fast it runs.
#
# </details>
#
# **2.** How does a token of FLASH read what lies in earlier chunks, and how what lies in its own?
#
# <details><summary>Answer</summary>
#
# Earlier chunks through one array, the mean of their KᵀV, without any activation. Its own chunk through relu² attention weights, one for each pair.
#
# </details>

# %%
from importlib import resources

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from flash_course import figures, learner, successors
from flash_course.bench.counts import count_state_numbers
from flash_course.learner import predict, reveal
from flash_tutorial import FLASH, LanguageModel, ModelConfig
from flash_tutorial.properties import draw_order_one

torch.set_num_threads(1)  # all of it is small, and the same with and without a GPU

# %% [markdown]
# ## 1. A fact that changed
#
# A key of length one stands for Anna's name, and a query with the same key asks for her number. The layers differ in a single line.

# %% tags=["nbval-check-output"]
anna = np.array([0.6, 0.8])
lines = {
    "linear attention": lambda state, k, v: state + np.outer(k, v),
    "decay of 1/2": lambda state, k, v: state / 2 + np.outer(k, v),
    "delta rule": lambda state, k, v: state + np.outer(k, v - k @ state),
}
for name, update in lines.items():
    state = np.zeros((2, 1))
    for house in (8.0, 3.0):
        state = update(state, anna, np.array([house]))
    print(f"{name:16} says that Anna lives at number {(anna @ state).item():g}")

# %% [markdown]
# Decay helps a little, by making all old things smaller, outdated or not. The delta rule looks first at what the state already says under this key,
# `k @ state`, and writes only the difference. In exchange it has to read before it can write.
#
# ## 2. One notation for all of them
#
# Here S with an index, $S_t$, is the state after token t, as in the papers; S alone remains the width of queries and keys, E that of values, and a chunk has C tokens.
# The vectors are rows, so kᵀv is an array of S × E numbers, and every member of the family reads its state in the same way:
#
# $$o_t = q_t\, S_t$$
#
# What differs is how $S_t$ comes from $S_{t-1}$. Greek letters are gates between 0 and 1: γ is fixed, α and β are computed from the token.
#
# | layer | how a token changes the state | inside the chunk | what C is |
# | --- | --- | --- | --- |
# | linear attention (2020) | $S_t = S_{t-1} + k_t^\top v_t$ | the same function | speed |
# | **FLASH** (2022) | $S_g = S_{g-1} + K_g^\top V_g$, once a chunk; the mean is read | relu² attention, another function | architecture |
# | RetNet (2023), Lightning Attention-2 (2024) | $S_t = \gamma S_{t-1} + k_t^\top v_t$ | the same function | speed |
# | GLA (2023), RWKV-6 (2024) | $S_t = \mathrm{diag}(\alpha_t)\, S_{t-1} + k_t^\top v_t$ | the same function | speed |
# | Mamba-2 (2024) | $S_t = \alpha_t S_{t-1} + d_t\, k_t^\top v_t$ | the same function | speed |
# | DeltaNet (2021, in chunks 2024) | $S_t = (I - \beta_t k_t^\top k_t)\, S_{t-1} + \beta_t k_t^\top v_t$ | the same function | speed |
# | Gated DeltaNet (2024) | $S_t = \alpha_t (I - \beta_t k_t^\top k_t)\, S_{t-1} + \beta_t k_t^\top v_t$ | the same function | speed |
# | Kimi Linear (2025) | $S_t = (I - \beta_t k_t^\top k_t)\, \mathrm{diag}(\alpha_t)\, S_{t-1} + \beta_t k_t^\top v_t$ | the same function | speed |
# | RWKV-7 (2025) | $S_t = (\mathrm{diag}(w_t) + b_t^\top a_t)\, S_{t-1} + k_t^\top v_t$ | the same function | speed |
#
# Read the second column downwards and you see two inventions. From RetNet on, something in front of the old state makes it smaller: the layer forgets.
# From DeltaNet on, that something is a matrix which removes one direction, the one of k: the layer erases.
# In the last two columns FLASH stands alone, and section 3 shows why.
# All of these but RWKV-7, whose vectors a and b need not be made of k, are two functions:


# %%
def write(state, k, v, alpha, beta=1.0):
    """Forget, then write: ``state (S, E)``, ``k (S,)``, ``v (E,)``, ``alpha (S,)`` or ``(1,)``."""
    return alpha[:, None] * state + beta * k[:, None] * v


def erase_and_write(state, k, v, alpha, beta):
    """Forget, look up what stands under k, and write the difference."""
    state = alpha[:, None] * state
    return state + k[:, None] * (beta * (v - k @ state))


# %% [markdown]
# Follow one token through all of them, by hand if you like. The state has three channels and one column.
# Three tokens have written 8, 4 and 2, each into a channel of its own. Now comes a fourth whose key (0.6, 0.8, 0) lies between the first two, with the value 3.
# Under this key the plain sum says 0.6 · 8 + 0.8 · 4 = 8. The fourth token's gate is 1/2 where it is one number, and (1/4, 1/2, 1) where each channel has its own;
# RetNet's γ is 1/2 from the beginning. FLASH has chunks of two tokens, and answers to a query of the next chunk.

# %% tags=["nbval-check-output"]
keys = np.array([(1, 0, 0), (0, 1, 0), (0, 0, 1), (0.6, 0.8, 0)])
values = np.array([[8.0], [4.0], [2.0], [3.0]])
one, half, each = np.ones(1), np.array([0.5]), np.array([0.25, 0.5, 1.0])
family = {  # the formula, the update, the gate of the first three tokens and that of the fourth
    "linear attention": ("S + kᵀv", write, one, one),
    "RetNet": ("γ S + kᵀv", write, half, half),
    "Mamba-2": ("α S + kᵀv", write, one, half),
    "GLA": ("diag(α) S + kᵀv", write, one, each),
    "DeltaNet": ("S + kᵀ(v - kS)", erase_and_write, one, one),
    "Gated DeltaNet": ("the same after α S", erase_and_write, one, half),
    "Kimi Linear": ("the same after diag(α) S", erase_and_write, one, each),
}
panels = {}
for name, (formula, update, early, late) in family.items():
    before = np.zeros((3, 1))
    for k, v in zip(keys[:3], values[:3]):
        before = update(before, k, v, early, 1.0)
    after = update(before, keys[3], values[3], late, 1.0)
    panels[name] = (formula, before[:, 0], np.broadcast_to(late, 3), after[:, 0], (keys[3] @ after).item())
    print(f"{name:16} {before[:, 0].round(2)} becomes {after[:, 0].round(2)}, and k reads {panels[name][-1]:.2f}")
first_mean, mean = keys[:2].T @ values[:2] / 2, keys.T @ values / 4
panels["FLASH, C = 2"] = ("mean over 2, then 4", first_mean[:, 0], half.repeat(3), mean[:, 0], (keys[3] @ mean).item())

# %%
title = "One token writes the value 3 under a key where 8 stood: who still hears the 8?"
figures.show(*figures.state_updates(panels, keys[3], 3, title=title))
assert [name for name in panels if np.isclose(panels[name][-1], 3)] == ["DeltaNet", "Gated DeltaNet", "Kimi Linear"]

# %% [markdown]
# Only those that erase answer 3. Look also at the third channel, which has nothing to do with the token: one gate for the whole state (RetNet, Mamba-2, Gated DeltaNet) halves it together with everything else.
# Kimi Linear erases the right thing *and* can leave the rest alone, which is the step it took beyond Gated DeltaNet.
# FLASH's mean makes everything smaller as the text grows, old and new alike; section 5 returns to that.
#
# ## 3. Every update here cuts into chunks exactly, and relu² does not
#
# A recurrence of T sequential steps trains slowly on a parallel machine (lecture 04). All of these train in chunks nevertheless,
# because each update is *linear in the state*: some matrix times $S_{t-1}$, plus an array that does not depend on $S_{t-1}$.
# Two such steps in a row are again such a step, and so is a whole chunk. One matrix (S × S) and one sum (S × E) say everything that C tokens do to *any* state,
# and they can be computed for all chunks at the same time, before anyone knows which state will enter.
#
# The next cell finds the two by experiment: a zero state sent through a chunk gives the sum, S states with a single one in them give the matrix,
# and then the two have to predict what happens to a state that they have not seen.

# %% tags=["nbval-check-output"]
rng = np.random.default_rng(0)
S, E, C = 4, 6, 8
k_CS, v_CE = rng.normal(size=(C, S)), rng.normal(size=(C, E))
k_CS /= np.linalg.norm(k_CS, axis=1, keepdims=True)  # of unit length, as the delta rule wants them
gate_CS, beta_C = rng.uniform(0.8, 1, size=(C, S)), rng.uniform(size=C)
a_CS, b_CS = rng.normal(size=(2, C, S)) / 2
rules = {
    "linear attention": lambda state, t: write(state, k_CS[t], v_CE[t], one),
    "RetNet": lambda state, t: write(state, k_CS[t], v_CE[t], 0.9 * one),
    "Mamba-2": lambda state, t: write(state, k_CS[t], v_CE[t], gate_CS[t, :1], beta_C[t]),
    "GLA": lambda state, t: write(state, k_CS[t], v_CE[t], gate_CS[t]),
    "DeltaNet": lambda state, t: erase_and_write(state, k_CS[t], v_CE[t], one, beta_C[t]),
    "Gated DeltaNet": lambda state, t: erase_and_write(state, k_CS[t], v_CE[t], gate_CS[t, :1], beta_C[t]),
    "Kimi Linear": lambda state, t: erase_and_write(state, k_CS[t], v_CE[t], gate_CS[t], beta_C[t]),
    "RWKV-7": lambda state, t: write(state, k_CS[t], v_CE[t], gate_CS[t]) + np.outer(b_CS[t], a_CS[t] @ state),
}


def through_chunk(rule, state):
    for t in range(C):
        state = rule(state, t)
    return state


print("8 tokens          the state's first number   by matrix and sum")
unseen = rng.normal(size=(S, E))
for name, rule in rules.items():
    brings = through_chunk(rule, np.zeros((S, E)))
    matrix = np.stack([through_chunk(rule, np.outer(row, np.ones(E)))[:, 0] - brings[:, 0] for row in np.eye(S)], 1)
    token_by_token, at_once = through_chunk(rule, unseen), matrix @ unseen + brings
    assert np.abs(token_by_token - at_once).max() < 1e-10
    print(f"{name:16} {token_by_token[0, 0]:26.3f} {at_once[0, 0]:19.3f}")
print(f"{len(rules)} checks passed")

# %% [markdown]
# **Your line.** For RetNet the matrix is γ to the power C. What does the chunk bring by itself? Token j of the chunk (from 0) writes kᵀv, and every later token multiplies it by γ.


# %%
def chunk_brings(gamma, k_CS, v_CE):
    weights = ...  # (C,): what is left of each token's kᵀv at the end of the chunk
    return (weights[:, None] * k_CS).T @ v_CE


nine_tenths = through_chunk(rules["RetNet"], np.zeros((S, E)))
learner.your_line("13.c", chunk_brings, ((0.9, k_CS, v_CE), nine_tenths), ((1.0, k_CS, v_CE), k_CS.T @ v_CE))

# %% [markdown]
# <details><summary>The line</summary>
#
# `weights = gamma ** np.arange(len(k_CS) - 1, -1, -1.0)`: the last token is whole, and the first has been multiplied C - 1 times.
#
# </details>
#
# And FLASH's weights inside a chunk, relu²(q · k)? If a state with r rows could stand for the keys, read by r numbers made of q,
# then the table of all weights, queries by keys, would be the product of an array with r columns and one with r rows, and its rank at most r.
# Count such ranks, for 60 queries, 60 keys and S = 4.

# %% tags=["nbval-check-output"]
queries, others = rng.normal(size=(2, 60, 4))
scores = queries @ others.T
weights = {
    "q · k": scores, "(q · k)²": scores**2, "relu²(q · k)": np.maximum(scores, 0) ** 2, "exp(q · k)": np.exp(scores),
}  # fmt: skip
for name, table in weights.items():
    print(f"{name:13} needs a state of {np.linalg.matrix_rank(table):2} rows for 60 keys of 4 channels")

# %% [markdown]
# The square alone would still be cheap, since there are ten products of two channels. It is the kink of the relu that makes each key ask for a row of its own,
# and the exponential of softmax does the same; but a state with as many rows as tokens is a cache.
# So a layer that wants such weights has to say *where*, and FLASH said: inside the chunk. That is why C is architecture there, and speed everywhere else.
#
# ## 4. Exact chunks in practice
#
# Most of these layers live in the library **flash-linear-attention**: Triton kernels, one folder for each update, from RetNet to Kimi Linear.
# They follow the schedule of lectures 04 and 05: attention weights inside the chunks, in parallel, and a state from chunk to chunk.
# `flash_course/successors.py` has the same in PyTorch; the core of everything that decays:
#
# ```python
# since = log_decay.cumsum(2)                                  # decay since the chunk's beginning, as a logarithm
# q = q * since.exp()
# own = (q @ (k * (-since).exp()).mT).tril() @ v               # pairs of the chunk
# before = states_before(whole.exp().mT, (k * (whole - since).exp()).mT @ v)
# return from_chunks(own + q @ before, T)                      # and what entered from the left
# ```
#
# Token i sees token j through the decay of all tokens between them. Written as a quotient of two products from the chunk's beginning, that splits into a factor for q and one for k,
# and a plain matrix product does the rest. The price: dividing by a product that has become tiny overflows, which limits how long a chunk may be.
#
# Now the units against their loops. `token_by_token` takes a unit's own q, k, v and gates, and runs the functions of section 2 over them.


# %%
D, S, T = 6, 8, 50
x = torch.randn(1, T, D, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def fresh(kind, **options):  # with parameters of order one, for at its start a unit does almost nothing
    return draw_order_one(kind(D, qk_dim=S, **options).double(), torch.Generator().manual_seed(1))


def of_tokens(unit):  # the q, k, v and features h that it makes of x
    h = unit.norm(x)
    _, v, q, k = unit.in_proj(h).split([unit.expanded, unit.expanded, S, S], -1)
    return q, k, v, h


@torch.no_grad()
def token_by_token(unit, update, gates, prepare=lambda t: t):
    q, k, v, h = of_tokens(unit)
    chunks = unit.mix(q, k, v, h)[0]
    (q,), (k,), (v,) = prepare(q), prepare(k), v
    state, rows = torch.zeros(S, unit.expanded).to(v), []
    for t, gates_t in zip(range(T), zip(*gates(unit, h[0]))):
        state = update(state, k[t], v[t], *gates_t)
        rows.append(q[t] @ state)
    loop = torch.stack(rows)
    assert (chunks - loop).abs().max() < 1e-9 * loop.abs().max()
    for way, o in (("loop", loop), ("chunks", chunks)):
        print(f"{type(unit).__name__:20} {way:6} o at the last token: {np.round(o[-1, :3].numpy(), 3) + 0}")


# %% [markdown]
# ## 5. Forgetting: RetNet, Lightning attention, Mamba-2, GLA, RWKV
#
# **RetNet** (2023) puts a fixed γ in front of the state: 1 - 2⁻⁵ for the most forgetful head, 1 - 2⁻⁶ for the next, and so on.
# **Lightning attention** (its second version, 2024) has the same update with other constants, and was first of all an implementation: its authors saw that linear attention lost its advantage to the running sum, and cut it into blocks.
# MiniMax-01 (2025), with 456 billion parameters and a million tokens of context, is built on it.
#
# Guess: at γ = 1 - 2⁻⁵, how many percent of a fact are left after 64 tokens?

# %%
my_guess = ...  # percent
predict("13.a", my_guess)

# %% tags=["nbval-check-output"]
scales = 1 - 2.0 ** -np.arange(5, 13)
reveal("13.a", 100 * scales[0] ** 64, "percent")
half_lives = np.log(0.5) / np.log(scales)
print("tokens until half is forgotten, head by head:", ", ".join(f"{n:.0f}" for n in half_lives))

# %% [markdown]
# So the first head remembers a sentence and the last one a chapter, and no token can tell either of them that it matters. The next layers made the gate from the token.
#
# **GLA** (2023) gives each channel a gate of its own, α = sigmoid(…)^(1/16), where the root keeps it near 1. **Mamba-2** (2024) came from state space models
# and arrived at the same place: with its letters C, B and x read as q, k and v it is linear attention with *one* number α_t for the whole state, whose step width d_t also scales what is written.
# That is less expressive and faster, since the decay no longer enters the products over channels.
# **RWKV** went its own way: the first paper (2023) had a vector for a state, version 6 (2024) has GLA's update,
# except that a token reads the state *before* its own kᵀv is added and gives its own a learnt weight.

# %% tags=["nbval-check-output"]
retention, mamba_2, gla = (
    fresh(kind) for kind in (successors.Retention, successors.ScalarGate, successors.GatedLinearAttention)
)
fixed = torch.tensor(scales)  # with S = 8 each channel has a scale of its own


def step_width(unit, h):
    return F.softplus(unit.step_width(h))


token_by_token(retention, write, lambda unit, h: [fixed.expand(T, S)])
token_by_token(
    mamba_2, write, lambda unit, h: [(-unit.log_rate.exp() * step_width(unit, h)).exp(), step_width(unit, h)]
)
token_by_token(gla, write, lambda unit, h: [unit.decay(h).sigmoid() ** (1 / 16)])

# %% [markdown]
# What does decay mend in FLASH? Its global part divides by the number of tokens read, so of n finished chunks the newest has the share 1/n.
# With decay the newest C tokens keep the share 1 - γ^C, however long the text gets. Here are both for the paper's C = 256.

# %%
chunks = [1, 2, 4, 8, 16, 32, 64]
shares = {"FLASH: mean": [1 / n for n in chunks]}
for power in (7, 9, 11):
    gamma = 1 - 2.0**-power
    name = f"half is left after {np.log(0.5) / np.log(gamma):,.0f} tokens"
    shares[name] = [(1 - gamma**256) / (1 - gamma ** (256 * n)) for n in chunks]
title = "A mean dilutes the newest chunk without end, a decay only so far"
figures.show(*figures.shares_of_newest(chunks, shares, title=title))
assert all(curve[-1] > 7 * shares["FLASH: mean"][-1] for name, curve in shares.items() if name != "FLASH: mean")

# %% [markdown]
# FLASH's local part softens this, since it sees the tokens of its own chunk; and what a trained model makes of its keys is another question, which this count does not answer.
#
# ## 6. Erasing: DeltaNet, Gated DeltaNet, Kimi Linear, RWKV-7
#
# Think of the state as a small linear model that maps each key to its value, and that is trained while the text is read. Its error at token t is half the squared distance between $k_t S$ and $v_t$.
# One step of gradient descent on that error, with the learning rate β_t, is the **delta rule**. Check it with autograd:

# %% tags=["nbval-check-output"]
state = torch.tensor([[8.0], [4.0], [2.0]], requires_grad=True)
k, v = torch.tensor([0.6, 0.8, 0.0]), torch.tensor([3.0])
(0.5 * (k @ state - v).square().sum()).backward()
for beta in (0.5, 1.0):
    stepped = (state - beta * state.grad).detach()
    assert torch.allclose(stepped, erase_and_write(state.detach(), k, v, torch.ones(1), beta))
    print(
        f"learning rate {beta}: the state is {stepped[:, 0].numpy().round(2)}, and k reads {(k @ stepped).item():.1f}"
    )

# %% [markdown]
# With β = 1 and a key of unit length the old value is gone after one step; with β = 1/2 the answer is half-way between 8 and 3, so a token also decides how firmly it writes.
# Schlag, Irie and Schmidhuber brought the rule to linear attention in 2021. What made it practical came in 2024: a chunk of delta steps is a product of matrices I - β kᵀk,
# which one triangular system for the whole chunk takes care of. **Gated DeltaNet** adds Mamba-2's single number α_t, and is the linear layer of Qwen3-Next (2025).
# **Kimi Linear** (2025) replaces the number by GLA's gate for each channel. In **RWKV-7** (2025) the directions a_t that is erased and b_t that is written back need no longer be the key.
#
# **Your line.** Inside a chunk, every token writes kᵀ times some new row. Which row, under the delta rule, when the decayed state is known?


# %%
def delta(state, k, v, beta):
    new = ...  # (E,): what is written under k
    return state + np.outer(k, new)


by_hand = np.array([[8.0], [4.0], [2.0]])
all_new, half_new = np.array([[5.0], [0.0], [2.0]]), np.array([[6.5], [2.0], [2.0]])
learner.your_line(
    "13.d", delta, ((by_hand, keys[3], values[3], 1.0), all_new), ((by_hand, keys[3], values[3], 0.5), half_new)
)

# %% [markdown]
# <details><summary>The line</summary>
#
# `new = beta * (v - k @ state)`. This state contains the rows that the chunk wrote before, which is why the rows of a chunk solve a triangular system.
#
# </details>
#
# The core of `KimiDelta`; `ahead` and `behind` are k times and over the decay since the chunk's beginning:
#
# ```python
# new, erase = torch.linalg.solve_triangular(
#     beta * (ahead @ behind.mT).tril(-1), beta * torch.cat([v, ahead], -1), upper=False, unitriangular=True
# ).split([v.shape[-1], k.shape[-1]], -1)                       # for all chunks at once
# for g in range(v.shape[1]):                                   # and then chunk after chunk
#     rows = new[:, g] - erase[:, g] @ state
#     out.append(q[:, g] @ state + weights[:, g] @ rows)
#     state = whole[:, g].exp().mT * state + late[:, g].mT @ rows
# ```
#
# DeltaNet is Gated DeltaNet with the gate held at 1.


# %% tags=["nbval-check-output"]
def unit_length(t):
    return F.normalize(F.silu(t), dim=-1)


def delta_gates(unit, h):
    return [(-unit.log_rate.exp() * F.softplus(unit.decay(h))).exp(), unit.strength(h).sigmoid()]


gated, kimi, ungated = (
    fresh(kind) for kind in (successors.GatedDeltaRule, successors.KimiDelta, successors.GatedDeltaRule)
)
with torch.no_grad():
    ungated.decay.weight.zero_()
    ungated.decay.bias.fill_(-100.0)
for unit in (ungated, gated, kimi):
    token_by_token(unit, erase_and_write, delta_gates, unit_length)

# %% [markdown]
# ## 7. What decoding keeps
#
# While it writes text, such a layer carries S × E numbers along, whatever the length. Softmax attention keeps a key and a value of every token, S + E numbers each.
# FLASH keeps its sum, and the tokens of the unfinished chunk, since relu² asks for each of them.
#
# Take the paper's base size, S = 128 and E = 1536. From how many tokens on is the cache larger than the state?

# %%
my_second_guess = ...  # tokens
predict("13.b", my_second_guess)

# %% tags=["nbval-check-output"]
lengths = [2**n for n in range(6, 18)]
with torch.device("meta"):  # shapes only, no memory
    base = dict(qk_dim=128, expansion=2)
    layers = {
        "softmax, full": successors.WindowAttention(768, window=2**20, **base),
        "3:1 hybrid": successors.ThreeToOne(768, **base),
        "FLASH, C = 256": FLASH(768, chunk_size=256, causal=True, **base),
        "window of 256": successors.WindowAttention(768, window=256, **base),
        "GLA, delta, Mamba-2": successors.GatedDeltaRule(768, **base),
    }
kept = {name: [count_state_numbers(layer, n) for n in lengths] for name, layer in layers.items()}
state_size = kept["GLA, delta, Mamba-2"][0]
first = next(n for n in range(1, 10**4) if count_state_numbers(layers["softmax, full"], n) > state_size)
reveal("13.b", first, "tokens")
print(figures.text_table([("T", "1,024", "131,072"), *(
    (name, *(f"{count_state_numbers(layer, n):,}" for n in (1024, 131072))) for name, layer in layers.items()
)]))  # fmt: skip

# %% [markdown]
# That is hardly more than a paragraph. This is one wide head; with H heads of S/H and E/H channels the state shrinks by the factor H and the cache stays, so the point comes even earlier.
# Heads that share keys and values shrink the cache as well, which moves it back.

# %%
title = "A state is paid once, a cache with every token"
figures.show(*figures.numbers_kept(lengths, kept, title=title))
assert kept["softmax, full"][-1] > 100 * kept["FLASH, C = 256"][-1] and kept["FLASH, C = 256"][-1] > 3 * state_size

# %% [markdown]
# FLASH keeps more than three times as much as its successors here: the waiting chunk, two keys and a value for each of 256 tokens, costs more than the sum.
#
# ## 8. Windows and hybrids
#
# The opposite way to make memory finite is to keep the last w tokens exactly and forget the rest at once. A **sliding window** (Longformer, 2020) keeps all the sharpness of softmax, and w is architecture just as FLASH's C is.
# But the window moves with the token, so that nobody stands right behind a border. Does a token read exactly its last w?

# %% tags=["nbval-check-output"]
window = fresh(successors.WindowAttention, window=5)
inputs = x.clone().requires_grad_()
read = {}
for t in (2, 20, 21):
    (gradient,) = torch.autograd.grad(window(inputs)[0, t].sum(), inputs)
    read[t] = gradient[0].abs().sum(1).nonzero()[:, 0].tolist()
    print(f"token {t:2} reads {read[t]}")
assert read == {t: list(range(max(0, t - 4), t + 1)) for t in read}

# %% [markdown]
# A state remembers the whole text dimly, a window the last page sharply. Whoever wants to quote a line from chapter one needs a full cache somewhere. In how many layers?
#
# | model | layers | ratio |
# | --- | --- | --- |
# | [Jamba](https://arxiv.org/abs/2403.19887) (2024) | Mamba : full attention | 7 : 1 |
# | [MiniMax-01](https://arxiv.org/abs/2501.08313) (2025) | Lightning attention : softmax | 7 : 1 |
# | [Gemma 3](https://arxiv.org/abs/2503.19786) (2025) | sliding window : full attention | 5 : 1 |
# | Qwen3-Next (2025) | Gated DeltaNet : gated full attention | 3 : 1 |
# | [Kimi Linear](https://arxiv.org/abs/2510.26692) (2025) | Kimi Delta Attention : full attention (MLA) | 3 : 1 |
#
# Why three to one? [Wang and others](https://arxiv.org/abs/2507.06457) (2025) trained 72 models with six linear layers and five ratios.
# Language modelling hardly depended on the ratio, but recall gained from more full layers, most of all below 3 : 1; they recommend 3 : 1 to 6 : 1. What a stack of 48 layers of our base size keeps:

# %% tags=["nbval-check-output"]
for n in (1024, 16384, 131072):
    full, linear = (count_state_numbers(layers[name], n) for name in ("softmax, full", "GLA, delta, Mamba-2"))
    share = (12 * full + 36 * linear) / (48 * full)
    print(f"T = {n:7,}: 36 linear and 12 full layers keep {share:.1%} of what 48 full layers keep")
assert 0.25 < share < 0.26

# %% [markdown]
# Three quarters of the cache are gone, the "up to 75%" that Kimi Linear reports, but the remaining quarter still grows: a hybrid makes the line less steep, not flat.
#
# Not everybody went along. With M2 (2025) MiniMax returned to full attention in every layer: the efficient variants were not worth it in production, more fragile in low precision,
# and fitted badly with prefix caching ([a summary](https://sebastianraschka.com/blog/2026/minimax-m2-technical-report.html)), which section 10 explains.
#
# Our unit `ThreeToOne` puts the two *side by side*, the delta rule on three quarters of the value channels and softmax on one.

# %% tags=["nbval-check-output"]
hybrid = fresh(successors.ThreeToOne)
with torch.no_grad():
    q, k, v, h = of_tokens(hybrid)
    kept_part = successors.GatedDeltaRule.mix(hybrid, q, k, v[..., :9], h)
    hidden = torch.ones(T, T, dtype=torch.bool).triu(1)
    looked_up = (q @ k.mT / S**0.5).masked_fill(hidden, -torch.inf).softmax(-1) @ v[..., 9:]
    assert (hybrid.mix(q, k, v, h) - torch.cat([kept_part, looked_up], -1)).abs().max() < 1e-9
print(f"9 of {hybrid.expanded} channels by the delta rule; after 1,000 tokens: {hybrid.state_numbers(1000):,} numbers")

# %% [markdown]
# ## 9. Recall against the size of the state
#
# How much can a state hold? The task is MQAR from lecture 10: up to 16 pairs of a key and a value, then questions for the values. `benchmarks/recall_state.py` trains each model at its own best rate with three seeds, from one start,
# at which a query already agrees with the place behind its key, so that training is about what the state can hold. Our guesses are in [docs/predictions.md](../docs/predictions.md).
# Where its runs are stored, the second cell draws them; where they are not, it says so and trains a miniature of that recipe.


# %%
from flash_course.bench.stored import load_stored
from flash_course.bench.tasks import IGNORE, mqar
from flash_tutorial.training import TrainConfig, learning_rate_at


class Shift(nn.Module):
    def forward(self, x):  # each token's own channels, and those of the token before: a value meets its key
        return torch.cat([x, F.pad(x, (0, 0, 1, 0))[:, :-1]], -1)


@torch.no_grad()
def make_model(S, D=64):
    torch.manual_seed(0)
    options = dict(norm="layer", positions="none", init_std=D**-0.5, tied=False, unit_options={"qk_dim": S})
    model = LanguageModel(ModelConfig(successors.GatedDeltaRule, vocab_size=33, dim=D, depth=2, **options))
    model.embedding = nn.Sequential(nn.Embedding(33, D // 2), Shift())
    nn.init.normal_(model.embedding[0].weight, std=0.5)[0] = 0
    for unit in model.stack.units:
        for linear in (unit.in_proj, unit.out_proj):
            nn.init.normal_(linear.weight, std=D**-0.5)
            nn.init.zeros_(linear.bias)
        own, before = unit.in_proj.weight.split(D // 2, 1)
        before[-S:] = own[-2 * S : -S]  # what q reads of a token itself, k reads of the one before
        own[-S:] = before[-2 * S : -S] = 0
    return model


def questions(batch, pairs, seed):
    options = dict(chunk_size=32, pairs=pairs, keys=16, values=16, questions=32)
    return map(torch.from_numpy, mqar(batch, 64, np.random.default_rng(seed), **options))


def fit(S, updates=150):
    model, schedule = make_model(S), TrainConfig(steps=updates, learning_rate=6e-3)
    optimizer = torch.optim.AdamW(model.parameters(), eps=1e-6, weight_decay=0.0)
    for step in range(updates):
        optimizer.param_groups[0]["lr"] = learning_rate_at(step, schedule)
        optimizer.zero_grad()
        model.loss(*questions(32, (1, 2, 4, 8, 16)[step % 5], (0, step))).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return model


@torch.no_grad()
def recall(model, pairs):
    ids, targets = questions(256, pairs, (10**6, pairs))
    return (model(ids).argmax(-1) == targets)[targets != IGNORE].double().mean().item()


# %%
curves, by_settings = {}, {}
if (results := resources.files("flash_course.bench") / "results" / "recall_state.json").is_file():
    for run in load_stored("recall_state")["runs"]:
        key = run["model"], run["state_numbers"], run["learning_rate"]
        by_settings.setdefault(key, []).append(run["recall"]["16"])
for (name, numbers, _), seeds in by_settings.items():
    if len(seeds) >= 3:  # the rates that were only tried have one
        curves.setdefault(name, {})[numbers] = seeds
if curves:
    title = "Recall of 16 pairs against the size of the state"
    figures.show(*figures.recall_by_state(curves, 1 / 16, title=title))
else:
    print("Recall against the size of the state has not been measured yet; a miniature, one seed, 150 updates:")
    rows = [("gated DeltaNet", "1 pair", "4 pairs", "16 pairs")]
    for S_mini in (4, 8):
        model = fit(S_mini).eval()
        rows.append((f"state of {128 * S_mini:,}", *(f"{recall(model, pairs):.2f}" for pairs in (1, 4, 16))))
    print(figures.text_table(rows))

# %% [markdown]
# Chance is 1/16. A state of S channels holds at most S keys that do not disturb each other at all, so look at what happens with more pairs than that.
# If you see the miniature, take care: one seed and one learning rate, stopped early, say how far two sizes of one model have come by then, and cannot say how much of the gap patience would close.
# To compare models takes the stored runs, with their seeds.
#
# ## 10. Prefix caching with states
#
# Many requests begin alike, with the same instructions or document, and a server would like to compute that prefix once. Keys and values of old tokens never change,
# so a cache can be cut at any token and used again. A state is a sum, out of which nobody can take the last 60 tokens. You have to go back to where a copy was stored, and read again from there.

# %% tags=["nbval-check-output"]
k_TS, v_TE = rng.normal(size=(700, 8)), rng.normal(size=(700, 12))


def read_on(state, first, last):
    for t in range(first, last):
        state = write(state, k_TS[t], v_TE[t], np.array([0.99]))
    return state


copies = {0: np.zeros((8, 12))}
for place in range(118, 701, 118):  # the first request reads 700 tokens, and leaves a copy after every 118
    copies[place] = read_on(copies[place - 118], place - 118, place)
start = max(place for place in copies if place <= 650)  # the second one shares 650 tokens with it
assert np.array_equal(read_on(copies[start], start, 650), read_on(copies[0], 0, 650))
print(f"650 tokens are shared: go back to token {start}, read {650 - start} again")
cache, copy = 128 + 1536, 128 * 1536  # S + E for each token, S E for each copy
print(f"numbers for each token: cache {cache:,}; copies of the state,", end=" ")
print(", ".join(f"every {n} tokens {copy / n:,.0f}" for n in (16, 118, 528)))

# %% [markdown]
# It is guess 13.b again: a copy every 118 tokens costs as much as the cache that was to be avoided, so copies are made sparsely and more tokens are read again.
# In one [report](https://github.com/vllm-project/vllm/issues/40696) a server's blocks for Qwen3.5-4B, a hybrid, had 528 tokens, and shorter prompts never hit.
# [Marconi](https://arxiv.org/abs/2411.19379) (2024) decides which prefixes deserve a copy. FLASH has natural places for them: at the end of a chunk nobody waits, and the sum is the whole state.
#
# ## 11. Where FLASH stands
#
# Three properties separate FLASH from those who came after.
#
# | property of FLASH | what it costs | what came after |
# | --- | --- | --- |
# | the state lags: a chunk is added when it is finished | right behind a border only the token itself is read sharply | the state holds every token read so far |
# | C is architecture | a trained model is tied to its C | C is speed, and kernels choose it |
# | the sum is read as a mean | the newest chunk is diluted (section 5) | decay, then gates made from the token |
#
# How far does the state lag? Switch the local part off, and count what the 24th token can read.

# %% tags=["nbval-check-output"]
for name, unit in {
    "FLASH, global part, C = 8": fresh(FLASH, chunk_size=8, causal=True, local=False),
    "GatedDeltaRule, C = 8": fresh(successors.GatedDeltaRule, chunk_size=8),
}.items():
    (gradient,) = torch.autograd.grad(unit(inputs)[0, 23].sum(), inputs)
    print(f"{name:26} token 24 reads {int((gradient[0].abs().sum(1) > 0).sum())} of 24 tokens, itself included")

# %% [markdown]
# FLASH's 17 are two finished chunks and, through gate and residual, the token itself.
#
# Other parts of the paper did well. Its schedule, attention inside a chunk and a state between chunks, is what every kernel of the family runs. A gate on the output is found again in RetNet, GLA and Gated DeltaNet, and even in Qwen3-Next's full attention.
# And its bet on sharp weights beside a dim summary returned with the hybrids, except that they put the two into different *layers* and let the sharp one see everything.
#
# ## 12. FlashAttention shares only the word
#
# **FlashAttention** (Dao and others, in the year of FLASH) is exact softmax attention, T² operations included, computed in tiles so that the T × T weights are never written to memory.
# That works because softmax can be summed piece by piece, if the largest score so far is carried along:


# %% tags=["nbval-check-output"]
def softmax_in_tiles(q, keys, values, tile):
    largest, total, out = -np.inf, 0.0, 0.0
    for j in range(0, len(keys), tile):
        scores = keys[j : j + tile] @ q
        now = max(largest, scores.max())
        weights = np.exp(scores - now)
        total = total * np.exp(largest - now) + weights.sum()  # what was summed before, in the new scale
        out = out * np.exp(largest - now) + weights @ values[j : j + tile]
        largest = now
    return out / total


q, all_keys, all_values = rng.normal(size=8), rng.normal(size=(100, 8)), rng.normal(size=(100, 3))
weights = np.exp(all_keys @ q)
at_once = weights @ all_values / weights.sum()
for tile in (100, 16, 1):
    assert np.allclose(softmax_in_tiles(q, all_keys, all_values, tile), at_once, rtol=1e-12)
    print(f"tiles of {tile:3}: {softmax_in_tiles(q, all_keys, all_values, tile).round(4)}")

# %% [markdown]
# | version | made for | what it adds |
# | --- | --- | --- |
# | [FlashAttention](https://arxiv.org/abs/2205.14135) (2022) | GPUs in general | tiles and a running softmax: memory linear in T |
# | [FlashAttention-2](https://arxiv.org/abs/2307.08691) (2023) | Ampere (A100) and later | fewer operations outside of matrix products, parallel over the sequence |
# | [FlashAttention-3](https://arxiv.org/abs/2407.08608) (2024) | Hopper (H100) | asynchronous loads and products, FP8 |
# | [FlashAttention-4](https://arxiv.org/abs/2603.05451) (2026) | Blackwell (B200) | matrix units outgrew exponentials, so part of these is emulated in software |
#
# It moved the goal for everything in this course, because a linear layer now competes with the fused softmax (lecture 08).
#
# ## 13. Two misconceptions
#
# **"We use FlashAttention, so attention is linear for us."** *Symptom:* memory grows linearly, and yet twice a long context takes nearly four times as long.
#
# **"The chunk length of GLA or DeltaNet must be tuned, as FLASH's."** *Symptom:* runs with two values of C differ by no more than rounding.
# Compare the units; in FLASH the divisor of the scores is held at 16, so that only the borders move.


# %% tags=["nbval-check-output"]
@torch.no_grad()
def adds(kind, C, **options):
    unit = fresh(kind, chunk_size=C, **options)
    if kind is FLASH:
        unit.scale_offset.gamma[0] *= C / 16  # quad_q, whose scores are divided by C
        unit.scale_offset.beta[0] *= C / 16
    return unit(x) - x


flash = dict(causal=True, bias=None)
for kind, options in ((successors.GatedLinearAttention, {}), (successors.KimiDelta, {}), (FLASH, flash)):
    by_16, by_4 = adds(kind, 16, **options), adds(kind, 4, **options)
    change = ((by_4 - by_16).norm() / by_16.norm()).item()
    assert (change > 0.1) == (kind is FLASH) and (change < 1e-9) == (kind is not FLASH)
    print(f"{kind.__name__:20} with C = 4 in place of 16, what the unit adds changes by {change:.0%}")

# %% [markdown]
# ## 14. A reading list
#
# In the order in which we would read them.
#
# - Katharopoulos and others (2020), [Transformers are RNNs](https://arxiv.org/abs/2006.16236): linear attention; equations 16 to 20 are lecture 04.
# - Schlag, Irie, Schmidhuber (2021), [Linear Transformers Are Secretly Fast Weight Programmers](https://arxiv.org/abs/2102.11174): the delta rule, and why adding overfills a memory.
# - Sun and others (2023), [RetNet](https://arxiv.org/abs/2307.08621): one function in three forms; equation 6 is our update.
# - Yang and others (2023), [GLA](https://arxiv.org/abs/2312.06635): how chunks meet the hardware, and what to do about the division by decays.
# - Dao and Gu (2024), [Mamba-2](https://arxiv.org/abs/2405.21060): state space models and attention as two readings of one matrix.
# - Yang and others (2024), [DeltaNet in parallel](https://arxiv.org/abs/2406.06484), then [Gated DeltaNet](https://arxiv.org/abs/2412.06464), equation 10: the triangular system.
# - Qin and others (2024), [Lightning Attention-2](https://arxiv.org/abs/2401.04658), before MiniMax-01 of section 8: the schedule of section 4 as a kernel.
# - Peng and others: [RWKV](https://arxiv.org/abs/2305.13048) (2023), [Eagle and Finch](https://arxiv.org/abs/2404.05892) (2024), [RWKV-7](https://arxiv.org/abs/2503.14456) (2025): a vector becomes a matrix, and the matrix learns to erase.
# - Arora and others, [Zoology](https://arxiv.org/abs/2312.04927) (2023) for MQAR, and [Based](https://arxiv.org/abs/2402.18668) (2024) for recall against the size of the state.
# - [Longformer](https://arxiv.org/abs/2004.05150) (2020) for windows; [Griffin](https://arxiv.org/abs/2402.19427) and [Hymba](https://arxiv.org/abs/2411.13676) (2024) for attention beside recurrences.
# - The newest that we know of, both 2026: [Mamba-3](https://arxiv.org/abs/2603.15569) and [Gated DeltaNet-2](https://arxiv.org/abs/2605.22791), which separates erasing from writing.
#
# *Code:* [flash-linear-attention](https://github.com/fla-org/flash-linear-attention), whose `naive.py` files are loops like ours, and [flash-attention](https://github.com/Dao-AILab/flash-attention).
#
# ## 15. What you take along
#
# Fill in the last column yourself. "Not shown" is a good answer.
# `learner.verdict("13 chunks", "...")` stores a verdict, and `flash-tutorial report` prints them all.
#
# | claim | your evidence | your verdict |
# | --- | --- | --- |
# | Each update of the family cuts into chunks exactly | section 3: eight updates, one matrix and one sum each | |
# | relu² and softmax weights have no state of fixed size | section 3: ranks for one draw; the argument is general | |
# | The delta rule corrects what a sum confuses | sections 1 and 2: by hand; that it trains better is not shown here | |
# | Decay keeps the newest chunk from being diluted | section 5: counted; a trained FLASH may work around it | |
# | A state is smaller than a cache from some hundred tokens on | section 7: counted, for one wide head | |
# | Three to one is the right ratio | section 8: other people's runs, and a count | |
# | A larger state recalls more | section 9: stored runs, or one seed | |
# | Linear layers make prefix caching cheap | section 10: counted; the opposite came out | |
#
# **Three takeaways**
# 1. Everything after FLASH is $S_t = A_t S_{t-1} + k_t^\top(\cdot)$, $o_t = q_t S_t$. First A learnt to forget, then to erase.
# 2. What is linear in the state cuts into chunks exactly, so C becomes speed. relu² and softmax do not, and have to be given a place: FLASH's chunk, a window, or every fourth layer.
# 3. A state costs S × E once, which is little for long texts and much as a copy. Count both before you choose.
#
# **Exercises** There is no problem set 13. But the units train like any other, `ModelConfig(successors.KimiDelta, ...)`, so each is a good rival for a project.
#
# **Next** [Lecture 12](12_your_project.ipynb) shows how to begin one; if that is behind you, open the first paper of the list and find its $S_t$.
