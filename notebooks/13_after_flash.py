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
# [With results](13_after_flash.ipynb) · [without, to work in](work/13_work_after_flash.ipynb) · [glossary](../docs/glossary.md)
#
# Tell a linear attention layer that Anna lives at number 8, tell it later that she has moved to number 3, and then ask where she lives.
# What does it answer? Much of what has happened to linear attention since FLASH follows from that one embarrassing answer.
#
# **After this lecture you can**
# - write the updates of RetNet, Mamba-2, GLA, DeltaNet and Kimi Delta Attention in one notation;
# - prove that such an update cuts into chunks exactly, and say why FLASH's relu² cannot;
# - count what each keeps while it writes text.
#
# **You need** lecture 04 (the state, exact chunks) and lecture 05 (mixed chunk attention).
#
# **Time** 29 minutes to read. Running the code takes about 25 seconds on two CPU cores.
#
# Text and figures: CC-BY-4.0. Code: MIT.

# %%
# @title Setup: on Colab this installs the course. There is nothing to read here.
import glob, subprocess, sys, zipfile

SOURCE, VERSION = "no address yet: upload the project's zip to Colab's files", "*"  # written by tools/stamp.py
if "google.colab" in sys.modules and not any(glob.glob(f"{p}/flash_tutorial-{VERSION}.dist-info") for p in sys.path):
    near = [".", "..", "../..", *glob.glob("/content/*"), *glob.glob("/content/drive/MyDrive/*")]
    names = {p: zipfile.ZipFile(p).namelist() if zipfile.is_zipfile(p) else glob.glob(f"{p}/*/*.py") for p in near}
    copies = [p for p in near if "flash_tutorial/__init__.py" in str(names[p])]
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--no-deps", [*copies, SOURCE][0]], check=True)

# %% [markdown]
# ## 1. A fact that changed
#
# A key of unit length stands for Anna, and a query with the same vector asks for her number. The three layers differ in a single line.

# %% tags=["nbval-check-output"]
import numpy as np

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
# Linear attention can only add, and sends you to number 11. Decay makes all old things smaller, outdated or not. The delta rule looks first
# at what the state already says under this key, `k @ state`, and writes only the difference. But it has to read before it can write.
#
# From memory: what happens to the output of linear attention when you change C? And how does a token of FLASH read its own chunk, and how
# the earlier ones?
#
# <details><summary>Answers</summary>
#
# Nothing, up to rounding. Its own chunk by relu² weights, one for each pair; earlier ones through the mean of their KᵀV.
#
# </details>
#
# ## 2. One notation for all of them
#
# Let $M_t$ be the state after token t, S × E entries, which the family reads by $o_t = q_t\, M_t$. (FLASH reads the state before its own chunk, and
# RWKV-6 gives the newest token a weight of its own; the feature map and the normaliser of 2020 are left out.) Vectors are rows, and small Greek letters
# are gates between 0 and 1: γ is fixed, α and β are computed from the token. diag(α) has one for each row of the state. (These are the family's letters;
# the γ and β that scale and move z in earlier lectures do not occur here.)
#
# | layer | how a token changes the state |
# | --- | --- |
# | linear attention (2020) | $M_t = M_{t-1} + k_t^\top v_t$ |
# | **FLASH** (2022) | $M_g = M_{g-1} + K_g^\top V_g$, once a chunk; our default reads the mean |
# | RetNet (2023) | $M_t = \gamma M_{t-1} + k_t^\top v_t$ |
# | GLA (2023), RWKV-6 (2024) | $M_t = \mathrm{diag}(\alpha_t)\, M_{t-1} + k_t^\top v_t$ |
# | Mamba-2 (2024) | $M_t = \alpha_t M_{t-1} + \Delta_t\, k_t^\top v_t$, with a step size $\Delta_t > 0$, and $\alpha_t = e^{-a \Delta_t}$ |
# | DeltaNet (2021, in chunks 2024) | $M_t = (I - \beta_t k_t^\top k_t)\, M_{t-1} + \beta_t k_t^\top v_t$ |
# | Gated DeltaNet (2024) | $M_t = \alpha_t (I - \beta_t k_t^\top k_t)\, M_{t-1} + \beta_t k_t^\top v_t$ |
# | Kimi Delta Attention (of Kimi Linear, 2025) | $M_t = (I - \beta_t k_t^\top k_t)\, \mathrm{diag}(\alpha_t)\, M_{t-1} + \beta_t k_t^\top v_t$ |
#
# Read downwards, and you find two inventions. From RetNet on, something in front of the old state makes it smaller: the layer **forgets**.
# From DeltaNet on, that something is a matrix which removes one direction, the one of k: the layer **erases**. This is the delta rule of
# section 1, since $(I - \beta k^\top k)\, M + \beta k^\top v = M + \beta k^\top (v - kM)$. Two functions cover the table:


# %%
def write(state, k, v, alpha, beta=1.0):
    """Forget, then write: ``state (S, E)``, ``k (S,)``, ``v (E,)``, ``alpha (S,)`` or ``(1,)``."""
    return alpha[:, None] * state + beta * k[:, None] * v


def erase_and_write(state, k, v, alpha, beta):
    """Forget, look up what stands under k, and write the difference."""
    state = alpha[:, None] * state
    return state + k[:, None] * (beta * (v - k @ state))


# %% [markdown]
# Follow one token through all of them. Three tokens have written 8, 4 and 2, each into a row of its own. (RetNet's
# fixed gate of 1/2 has made 2, 2, 2 of them; the others open their gate at the fourth token only.) A fourth brings the value 3
# under a key between the first two, (0.6, 0.8, 0), where the plain sum says 8.

# %%
keys = np.array([(1, 0, 0), (0, 1, 0), (0, 0, 1), (0.6, 0.8, 0)])
values = np.array([[8.0], [4.0], [2.0], [3.0]])
one, half, each = np.ones(1), np.array([0.5]), np.array([0.25, 0.5, 1.0])
family = {  # the formula, the update, the gate of the first three tokens and that of the fourth
    "linear attention": ("M + kᵀv", write, one, one),
    "RetNet": ("γM + kᵀv", write, half, half),
    "Mamba-2": ("αM + kᵀv", write, one, half),
    "GLA": ("diag(α)M + kᵀv", write, one, each),
    "DeltaNet": ("M + kᵀ(v - kM)", erase_and_write, one, one),
    "Gated DeltaNet": ("αM + kᵀ(v - kαM)", erase_and_write, one, half),
    "Kimi Delta": ("diag(α) in place of α", erase_and_write, one, each),
}

# %%
from flash_course import drawing

panels = {}
for name, (formula, update, early, late) in family.items():
    before = np.zeros((3, 1))
    for k, v in zip(keys[:3], values[:3]):
        before = update(before, k, v, early, 1.0)
    after = update(before, keys[3], values[3], late, 1.0)
    panels[name] = (formula, before[:, 0], np.broadcast_to(late, 3), after[:, 0], (keys[3] @ after).item())
two, four = keys[:2].T @ values[:2] / 2, keys.T @ values / 4  # FLASH's means
panels["FLASH, C = 2"] = ("mean over 2, then 4", two[:, 0], half.repeat(3), four[:, 0], (keys[3] @ four).item())
title = "One token writes 3 under a key where 8 stood: who still hears the 8?"
drawing.show(*drawing.state_updates(panels, keys[3], 3, title=title))

# %% [markdown]
# Only those that erase answer 3. (FLASH's 2.75 is 11 over four tokens.) The third row has nothing to do with the token, but one gate
# for the whole state halves it as well. DeltaNet leaves it alone, and keeps for ever what no later key erases. Kimi Delta erases the right
# thing *and* forgets channel by channel.
#
# ## 3. Every update here cuts into chunks exactly, and relu² does not
#
# A recurrence of T steps trains slowly. But each of these updates is *linear in the state*: a matrix times $M_{t-1}$, plus an array that
# does not depend on it. Two such steps make another such step, and so does a whole chunk. One matrix (S × S) and one sum (S × E) say all
# that C tokens do to *any* state, and can be computed for all chunks at once, before anyone knows which state will enter.
#
# The next cell finds the two by sending a zero state and S states with ones in a single row. Do they predict what happens to another one?

# %% tags=["nbval-check-output"]
rng = np.random.default_rng(0)
S, E, C = 4, 6, 8
k_CS, v_CE = rng.normal(size=(C, S)), rng.normal(size=(C, E))
k_CS /= np.linalg.norm(k_CS, axis=1, keepdims=True)  # of unit length, as the delta rule wants them
gate_CS, beta_C = rng.uniform(0.8, 1, size=(C, S)), rng.uniform(size=C)


def through_chunk(state, update):
    for k, v, gate, beta in zip(k_CS, v_CE, gate_CS, beta_C):
        state = update(state, k, v, gate, beta)
    return state


unseen = rng.normal(size=(S, E))
for update in (write, erase_and_write):
    brings = through_chunk(np.zeros((S, E)), update)
    columns = [through_chunk(np.outer(row, np.ones(E)), update)[:, 0] - brings[:, 0] for row in np.eye(S)]
    predicted = np.stack(columns, 1) @ unseen + brings
    print(
        f"{update.__name__:15} an unseen state is predicted to {abs(predicted - through_chunk(unseen, update)).max():.6f}"
    )

# %% [markdown]
# **Your line.** For RetNet the matrix is γ to the power C. And the sum? Token j of the chunk writes kᵀv, and every later token multiplies
# it by γ.


# %%
from flash_course import learner


def chunk_brings(gamma, k_CS, v_CE):
    weights = ...  # (C,): what is left of each token's kᵀv at the end of the chunk
    return (weights[:, None] * k_CS).T @ v_CE


by_loop = np.zeros((S, E))
for k, v in zip(k_CS, v_CE):
    by_loop = write(by_loop, k, v, np.full(S, 0.9))
learner.your_line("13.a", chunk_brings, ((0.9, k_CS, v_CE), by_loop), ((1.0, k_CS, v_CE), k_CS.T @ v_CE))

# %% [markdown]
# <details><summary>The line</summary>
#
# `weights = gamma ** np.arange(len(k_CS) - 1, -1, -1.0)`, since the first token has been multiplied C - 1 times.
#
# </details>
#
# And FLASH's weights inside a chunk, relu²(q · k)? A state of r rows gives each query and each key a vector of r numbers, and a weight is their
# product. The table of all weights is then a product of two matrices, one with r columns and one with r rows, and its rank (the number of its independent rows)
# is at most r. Count such ranks, for 60 queries and 60 keys of 4 channels.

# %% tags=["nbval-check-output"]
queries, others = rng.normal(size=(2, 60, 4))
dots = queries @ others.T
weights = {"q · k": dots, "(q · k)²": dots**2, "relu²(q · k)": np.maximum(dots, 0) ** 2, "exp(q · k)": np.exp(dots)}
for name, table in weights.items():
    print(f"{name:13} needs, to be exact, a state of {np.linalg.matrix_rank(table):2} rows")

# %% [markdown]
# Without the kink a square still has a state of fixed size, S (S + 1) / 2 rows: 10 here, and 8,256 at the paper's S = 128. The kink of the relu makes each key ask for a row
# of its own, as does the exponential of softmax, and a state with as many rows as tokens is a cache. So whoever wants these weights exactly has to keep the
# tokens. FLASH keeps those of one chunk. That is why C is architecture there, and a speed setting in the layers of the table.
#
# ## 4. Decay inside a chunk
#
# The kernels of this family, in [**flash-linear-attention**](https://github.com/fla-org/flash-linear-attention), follow the schedule of
# lectures 04 and 05. New is the decay inside a chunk: token i reads token j through the gates of all tokens between them. With $A_i$, the
# sum of the gates' logarithms up to token i, that product is $e^{A_i - A_j}$. You can take the exponential of the difference, or multiply two
# exponentials, $e^{A_i}$ and $e^{-A_j}$. One of the two ways has a cliff.

# %% tags=["nbval-check-output"]
import torch

A = torch.full((64,), -2.0).cumsum(0)  # 64 tokens, each of which leaves a seventh of the state
print(f"exponential of the difference: {(A[-1] - A[-2]).exp():.3f}")
print(f"product of exponentials:       {A[-1].exp() * (-A[-2]).exp():.3f} = {A[-1].exp():g} x {(-A[-2]).exp():g}")

# %% [markdown]
# With *one gate for the whole state* (RetNet, Mamba-2, Gated DeltaNet) you take the first way: the exponentials of a C × C table of
# differences, none above zero where j ≤ i, multiply the scores, and nothing is ever divided. With *a gate for each channel* (GLA, Kimi Delta) that table would need S
# entries for each pair. So $e^{A_i}$ goes into the query and $e^{-A_j}$, which overflows, into the key, and their kernels cut chunks into
# sub-chunks, short enough for it.
#
# ## 5. Forgetting: RetNet, Mamba-2, GLA, RWKV
#
# **RetNet** puts a fixed γ in front of the state: 1 - 2⁻⁵ for the most forgetful head, 1 - 2⁻⁶ for the next, and so on.
#
# **Your first guess.** At γ = 1 - 2⁻⁵, how many percent of a fact are left after 64 tokens?

# %%
from flash_course.learner import predict, reveal

my_guess = None  # percent
predict("13.b", my_guess)

# %% tags=["nbval-check-output"]
scales = 1 - 2.0 ** -np.arange(5, 13)
reveal("13.b", round(100 * scales[0] ** 64), "percent")
half_lives = np.log(0.5) / np.log(scales)
print("tokens until half is forgotten, head by head:", ", ".join(f"{n:.0f}" for n in half_lives))

# %% [markdown]
# The first head remembers a sentence and the last one a chapter, and no token can tell either of them that it matters. So the next layers
# made the gate from the token: **GLA** and **RWKV-6** one for each channel, **Mamba-2** one for the whole state (read its C, B and x as q,
# k and v).
#
# What would decay repair in FLASH? Its global part is a mean, so of n finished chunks the newest has the weight 1/n. But FLASH turns its
# queries and keys by **RoPE**, those of the global part too. Take a query and a key that are equal, with equal channels, and r tokens apart. Of their
# product RoPE leaves the mean of cos(r θ) over the speeds θ of the channels, and this falls with r. Here are the mean, the mean with RoPE and two decays, for the
# paper's C = 256 and S = 128.

# %%
chunks = np.array([1, 2, 4, 8, 16])
shares = {"FLASH: mean": 1 / chunks}
speeds = 10_000.0 ** -(np.arange(64) / 64)
by_distance = np.cos(np.outer(np.arange(1, 256 * 16 + 1), speeds)).mean(1)
shares["FLASH: mean, with RoPE"] = [by_distance[:256].sum() / by_distance[: 256 * n].sum() for n in chunks]
for power in (7, 9):
    gamma = 1 - 2.0**-power
    name = f"decay, half in {np.log(0.5) / np.log(gamma):.0f} tokens"
    shares[name] = (1 - gamma**256) / (1 - gamma ** (256 * chunks))
title = "A mean dilutes the newest chunk, RoPE less, a decay only so far"
figure, axes = drawing.new_axes(7.0, 3.4, "chunks read", "weight of the newest chunk", title)
drawing.lines(axes, {name: (chunks, share) for name, share in shares.items()})
drawing.powers_of_two(axes, chunks)
axes.set_ylim(0, 1.05)
drawing.name_lines(axes)
drawing.show(figure, f"Lines of the newest chunk's weight against the chunks read: {drawing.in_words(axes)}.")

# %% [markdown]
# After 16 chunks the mean leaves the newest 1/16. With RoPE it has three times as much: rotation is FLASH's slow kind of forgetting. A
# decay levels off, and its price is the oldest text.
#
# ## 6. Erasing: DeltaNet, Gated DeltaNet, Kimi Delta Attention
#
# Think of the state as a small linear model from keys to values that is trained while the text is read. Its error is half the squared
# distance between $k_t M$ and $v_t$. One step of gradient descent on it, with the learning rate β_t, is the **delta rule**. Check it with
# autograd:

# %% tags=["nbval-check-output"]
state = torch.tensor([[8.0], [4.0], [2.0]], requires_grad=True)
k, v = torch.tensor([0.6, 0.8, 0.0]), torch.tensor([3.0])
(0.5 * (k @ state - v).square().sum()).backward()
for beta in (0.5, 1.0):
    by_gradient = (state - beta * state.grad).detach()[:, 0].numpy().round(2)
    by_rule = erase_and_write(state.detach(), k, v, torch.ones(1), beta)
    print(
        f"learning rate {beta}: by gradient {by_gradient}, by rule {by_rule[:, 0].numpy().round(2)}, k reads", end=" "
    )
    print(f"{k @ by_rule[:, 0]:.1f}")

# %% [markdown]
# The delta rule adds kᵀu to the state M, with the row u = β (v - k M). M holds all rows that the chunk has written before, so u depends on them. Is a
# chunk a loop again, then? Write down the rows of three tokens, with β = 1 and an empty state:
#
# $$u_1 = v_1, \qquad u_2 = v_2 - (k_2 \cdot k_1)\, u_1, \qquad u_3 = v_3 - (k_3 \cdot k_1)\, u_1 - (k_3 \cdot k_2)\, u_2$$
#
# With every u on the left this is one *triangular system*, L U = V.
#
# **Your line.** What is L, from the keys K of the chunk?


# %%
def system_of(k_CS):
    return ...  # your line, (C, C)


unit_keys = np.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
learner.your_line(
    "13.c", system_of, ((unit_keys,), [[1, 0, 0], [0.6, 1, 0], [0, 0.8, 1]]), ((2 * unit_keys[:2],), [[1, 0], [2.4, 1]])
)

# %% [markdown]
# <details><summary>The line</summary>
#
# `return np.eye(len(k_CS)) + np.tril(k_CS @ k_CS.T, -1)`
#
# </details>
#
# One call solves the system for the whole chunk, and the state is then KᵀU, where linear attention has KᵀV.

# %% tags=["nbval-check-output"]
chunk_k, chunk_v = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]]), torch.tensor([[8.0], [3.0], [5.0]])
system = torch.eye(3) + (chunk_k @ chunk_k.T).tril(-1)
U = torch.linalg.solve_triangular(system, chunk_v, upper=False)
state = torch.zeros(2, 1)
for k, v in zip(chunk_k, chunk_v):
    state = erase_and_write(state, k, v, torch.ones(2), 1.0)
print("values", chunk_v[:, 0].numpy(), "rows that are written", U[:, 0].numpy().round(2))
print(
    "the state, token by token", state[:, 0].numpy().round(2), "and in one call", (chunk_k.T @ U)[:, 0].numpy().round(2)
)

# %% [markdown]
# If a state M enters the chunk, each value first loses what M says under its key, so V - KM stands on the right. Now the five units of
# `flash_course/successors.py`, which compute all this in chunks, against our two functions in a loop:

# %% tags=["nbval-check-output"]
from flash_course import successors
from flash_course.loops import in_chunks_and_by_token
from flash_tutorial.check import draw_order_one

torch.set_num_threads(1)
x = torch.randn(1, 50, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def fresh(kind, **options):  # with parameters of order one, because at its start a unit does almost nothing
    return draw_order_one(kind(6, qk_dim=8, **options).double(), torch.Generator().manual_seed(1))


kinds = dict.fromkeys((successors.Retention, successors.ScalarGate, successors.GatedLinearAttention), write)
kinds |= dict.fromkeys((successors.GatedDeltaRule, successors.KimiDelta), erase_and_write)
for kind, update in kinds.items():
    chunked, loop = in_chunks_and_by_token(fresh(kind), x, update)
    print(
        f"{kind.__name__:20} differs from `{update.__name__}` by {(chunked - loop).abs().max() / loop.abs().max():.6f}"
    )

# %% [markdown]
# ## 7. What decoding keeps
#
# While it writes text, a layer that forgets or erases keeps S × E entries. Softmax attention keeps S + E for every token. FLASH keeps a sum of S × E as well,
# and the tokens of an unfinished chunk, since relu² asks for each of them.
#
# **Your second guess.** At the paper's base size, S = 128, E = 1536 and C = 256, how many times as much as its successors does FLASH keep?

# %%
my_second_guess = None  # a factor of 1 or more
predict("13.d", my_second_guess)

# %% tags=["nbval-check-output"]
from flash_course.bench.counts import count_state_numbers
from flash_tutorial import FLASH

base = dict(qk_dim=128, expansion=2)
with torch.device("meta"):  # shapes only, no memory
    layers = {
        "softmax, GAU's shape": successors.WindowAttention(768, window=2**20, **base),
        "3:1 hybrid": successors.ThreeToOne(768, **base),
        "FLASH, C = 256": FLASH(768, chunk_size=256, causal=True, **base),
        "window of 256": successors.WindowAttention(768, window=256, **base),
        "GLA, delta, Mamba-2": successors.GatedDeltaRule(768, **base),
    }
lengths = [2**n for n in range(6, 18)]
kept = {name: [count_state_numbers(layer, n) for n in lengths] for name, layer in layers.items()}
for name, entries in kept.items():
    print(f"{name:20} after 64 tokens {entries[0]:9,}, after 131,072 {entries[-1]:11,}")
reveal("13.d", round(kept["FLASH, C = 256"][-1] / kept["GLA, delta, Mamba-2"][-1], 1), "times")

# %%
title = "A state is paid for once, a cache with every token"
figure, axes = drawing.new_axes(7.0, 4.0, "tokens read", "entries kept", title)
drawing.lines(axes, {name: (lengths, entries) for name, entries in kept.items()})
drawing.powers_of_two(axes, lengths[::3])
axes.set_yscale("log")
drawing.name_lines(axes)
drawing.show(figure, f"Lines of the entries kept against the tokens read, both logarithmic: {drawing.in_words(axes)}.")

# %% [markdown]
# Two keys and a value for each of 256 tokens cost more than the sum. And a cache outgrows a state after 119 tokens in this shape, so after
# a paragraph. The 3:1 hybrid, which the next section explains, is a single unit here: of each token it caches the whole key and a quarter of the
# values, 31% of what softmax attention keeps.
#
# ## 8. Windows and hybrids
#
# A **sliding window** keeps the last w tokens exactly and forgets the rest at once. Its w is architecture just as FLASH's C is, but it
# moves with the token, so that no token stands right after a boundary.

# %% tags=["nbval-check-output"]
window = fresh(successors.WindowAttention, window=5)
inputs = x.clone().requires_grad_()
for t in (3, 21, 22):
    (gradient,) = torch.autograd.grad(window(inputs)[0, t - 1].sum(), inputs)
    print(f"token {t:2} reads", (gradient[0].abs().sum(1).nonzero()[:, 0] + 1).tolist())  # counted from 1

# %% [markdown]
# A state remembers the whole text dimly, a window the last page sharply. Hybrids keep a full cache in some layers.
#
# | model | layers | ratio |
# | --- | --- | --- |
# | [MiniMax-01](https://arxiv.org/abs/2501.08313) (2025) | Lightning attention (RetNet's update) : softmax | 7 : 1 |
# | Qwen3-Next (2025) | Gated DeltaNet : full attention | 3 : 1 |
# | [Kimi Linear](https://arxiv.org/abs/2510.26692) (2025) | Kimi Delta Attention : full attention | 3 : 1 |
#
# [Wang and others](https://arxiv.org/abs/2507.06457) trained 72 models: language modelling cared little for the ratio, recall gained from
# full layers, and they recommend 3 : 1 to 6 : 1. A quarter of the cache still grows, so a hybrid makes the line less steep, not flat. And
# in 2025 MiniMax [returned](https://sebastianraschka.com/blog/2026/minimax-m2-technical-report.html) to full attention.
#
# ## 9. Recall against the size of the state
#
# How much can a state hold? Seven layers with states of several sizes were trained on the memory game of lecture 10, with up to 16 pairs of
# key and value. Binding a value to its key is given: every model sees each token together with the one before it, and its queries match the
# stored keys from the start. What remains is room.
#
# **Your third guess.** A state of S rows keeps at most S keys entirely apart. With how many rows, out of 4, 8, 16 and 32, does GLA first
# answer 95% of the questions about 16 pairs, in every run?

# %%
my_third_guess = None  # 4, 8, 16 or 32
predict("13.e", my_third_guess)

# %% tags=["nbval-check-output"]
from flash_course.bench.stored import recalls, recalls_at_best_rate

of_sixteen = recalls_at_best_rate(16)
enough = {name: min(n for n, runs in curve.items() if min(runs) > 0.95) for name, curve in of_sixteen.items()}
enough = dict(sorted(enough.items(), key=lambda item: item[1]))
title = "Smallest state tried in which every run knows 16 pairs"
figure, axes = drawing.new_axes(6.6, 3.2, "entries in a unit's state", title=title)
drawing.bars(axes, enough, form="{:,}")
drawing.show(figure, f"Bars of the entries that are enough: {drawing.listed(enough, '{:,}')}.")
reveal("13.e", enough["GLA"] // 128, "rows, with values of 128 channels")
for n, kept_rows in ((2176, 8), (5632, 32)):
    for rate in (0.003, 0.006):
        shares = ", ".join(f"{share:.2f}" for share in recalls(16)["FLASH"][n][rate])
        print(f"FLASH with {kept_rows:2} rows at the rate {rate}: three runs know {shares} of 16 pairs")

# %% [markdown]
# Four rows for sixteen keys! It is enough that the right value comes out ahead of the 15 others.
#
# Between layers size does not tell: GLA needs a tenth of FLASH's 5,632 entries, of which 4,096 are its 32 rows and the rest its chunk of 8 tokens. Is FLASH's state worse, then? Look at the lines below the
# figure. With 8 rows one run of three knows nearly everything, so the room was there, and the other two never found the way to use it. With
# 32 rows all three know nearly every pair at one rate; at twice that rate two know three quarters of them, and one knows none. FLASH is harder to *train* here. When a layer looks bad at
# recall, ask first how its rate was chosen.
#
# ## 10. Prefix caching with states
#
# Many requests begin alike, and a server would like to compute that prefix once. A cache can be cut at any token and used again. A state is
# a sum, out of which nobody can take the last 60 tokens: you go back to where a copy was stored. How many copies can you afford?

# %% tags=["nbval-check-output"]
cache, copy = 128 + 1536, 128 * 1536  # entries: of one token's key and value, and of one copy of the state
print(f"a cache: {cache:,} entries a token")
for every in (16, 118, 528):
    print(f"a copy of the state every {every} tokens: {copy / every:,.0f} entries a token")

# %% [markdown]
# vLLM shares a cache in blocks of 16 tokens; a copy of the state at each would cost seven times the cache. Every 118 tokens it costs as much as the
# cache that was to be avoided. In [one report](https://github.com/vllm-project/vllm/issues/40696) vLLM took blocks of 528 tokens for a hybrid, so that a
# shared beginning of fewer tokens was computed anew for every request.
#
# ## 11. Where FLASH stands
#
# | FLASH | what came after |
# | --- | --- |
# | a chunk enters the state when it is finished | the state holds every token read so far |
# | the local part starts anew with each chunk | a window moves with the token |
# | C is architecture | C is speed, and kernels choose it |
# | only RoPE dims what is old | decay, then gates made from the token |
# | queries and keys are one vector, scaled twice | a matrix for each; lecture 14 tries that |
#
# **Misconception: the chunk length of GLA or DeltaNet must be tuned, as FLASH's must.** Run two values of C and compare what the unit adds.


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
    print(f"{kind.__name__:20} C = 4 in place of 16: a change of {(by_4 - by_16).norm() / by_16.norm():.0%}")
(gradient,) = torch.autograd.grad(fresh(FLASH, chunk_size=8, causal=True, local=False)(inputs)[0, 23].sum(), inputs)
print(f"FLASH's global part, C = 8: token 24 reads {int((gradient[0].abs().sum(1) > 0).sum())} of 24 tokens")

# %% [markdown]
# FLASH's 17 are two finished chunks and, through gate and residual, the token itself.
#
# Other parts of the paper have lasted. Its schedule is what the kernels of the family run. A gate on the output reappears in RetNet, GLA,
# Gated DeltaNet, and even in Qwen3-Next's full attention. Exact weights beside a dim summary returned with the hybrids, in different
# *layers*. And some took up the layer itself: [Mega](https://arxiv.org/abs/2209.10655), [MossFormer](https://arxiv.org/abs/2302.11824),
# [Transformer-VQ](https://arxiv.org/abs/2309.16354).
#
# ## 12. FlashAttention shares only the word
#
# [**FlashAttention**](https://arxiv.org/abs/2205.14135) (2022) is exact softmax attention with all its T² pairs, computed in tiles so that
# the weights are never written to memory.
#
# **Misconception: "We use FlashAttention, so attention is linear for us."** The symptom is that memory grows linearly, and yet doubling a
# long context makes a step take four times as long.
#
# ## 13. A reading list
#
# For a first evening, take the three in bold.
#
# - [Linear attention](https://arxiv.org/abs/2006.16236) (2020), and
#   **[Linear Transformers Are Secretly Fast Weight Programmers](https://arxiv.org/abs/2102.11174)** (2021): the delta rule;
# - forgetting: [RetNet](https://arxiv.org/abs/2307.08621), **[GLA](https://arxiv.org/abs/2312.06635)**, [Mamba-2](https://arxiv.org/abs/2405.21060),
#   [RWKV-5 and 6](https://arxiv.org/abs/2404.05892);
# - erasing: [DeltaNet in parallel](https://arxiv.org/abs/2406.06484), [Gated DeltaNet](https://arxiv.org/abs/2412.06464),
#   [RWKV-7](https://arxiv.org/abs/2503.14456), and of 2026 [Gated DeltaNet-2](https://arxiv.org/abs/2605.22791);
# - recall: [Zoology](https://arxiv.org/abs/2312.04927), and **[Based](https://arxiv.org/abs/2402.18668)** for recall against the state.
#
# ## How we know
#
# - *Computed here*: all but section 9, our stored runs, and the hybrids, which are of others. One wide head; with H heads a state shrinks by H. Our layers
#   have neither rotations nor short convolutions. Section 11 holds the divisor of FLASH's scores at 16.
# - *RoPE*: a query and a key with equal channels. From 1,700 tokens on the mean of the cosines is now and then below zero.
# - *Recall*: two units of width 64, 1,000 updates, three seeds, FLASH with the bare sum. One seed chose the rates; FLASH, linear attention and
#   gated DeltaNet got a second look ([recall_state](../docs/results.md#recall_state), [our wrong guesses](../experiments/predictions.md)). What
#   makes FLASH hard to train here was not taken apart.
#
# ## What to remember
#
# Fill in the last column yourself (`learner.verdict`).
#
# | claim | your evidence | your verdict |
# | --- | --- | --- |
# | relu² and softmax weights have no exact state of fixed size | section 3 | |
# | The delta rule corrects what a sum confuses | sections 1 and 2 | |
# | A larger state recalls more | section 9 | |
# | Linear layers make prefix caching cheap | section 10 | |
#
# **Three takeaways**
# 1. Every linear layer multiplies its state by something and adds kᵀ times a row. That something learned to forget and to erase.
# 2. What is linear in the state cuts into chunks exactly. relu² and softmax need a place: FLASH's chunk, a window, or every fourth layer.
# 3. A state costs S × E once: little for a long sequence, a lot for a copy.
#
# **Exercises** No problem set, but the units train like any other, `ModelConfig(successors.KimiDelta, ...)`: baselines for a project.
#
# **Next** Your project ([lecture 12](12_your_project.ipynb)), or a detective story: [lecture 14](14_who_looks_up.ipynb) asks why small FLASH
# models look nothing up, and finds one reason.
