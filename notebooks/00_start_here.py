# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 00 Start here: what attention costs, and what FLASH does about it
#
# [With results](00_start_here.ipynb) · [without, to work in](work/00_start_here.ipynb) · [glossary](../docs/glossary.md)
#
# This tour is about one paper: *Transformer Quality in Linear Time* by Hua, Dai, Liu and Le (ICML 2022).
# Its model is called FLASH. (It shares only the name with FlashAttention, a fast program for ordinary attention.)
#
# **After it you can**
# - say what attention costs when a text becomes longer;
# - show, on your own machine, three complaints about cheaper kinds of attention;
# - draw which token reads which in FLASH, and write its layer in three lines;
# - say what a score in *bits per byte* means.
#
# **You need** Python, a little PyTorch, and a rough idea of what a Transformer is.
# Section 8 has six questions that tell whether you are ready for the lectures.
#
# **Time** 29 minutes to read. Computing takes about 30 seconds on two CPU cores; a GPU was not measured yet.
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
# The tour asks you for two guesses before two results. A guess that turns out wrong is the one you remember.
# Without a guess everything still runs.
#
# What depends on your machine stands in one place, the `Preset`. Take larger numbers when your machine is fast.

# %%
from dataclasses import dataclass

import numpy as np
import torch

from flash_course import figures
from flash_tutorial import FLASH, LanguageModel, ModelConfig, count_parameters
from flash_tutorial.data import ByteTokenizer, load_corpus
from flash_tutorial.devices import pick_device


@dataclass
class Preset:
    tokens: int  # T where we measure time
    score_bytes: int  # of the text on which a trained model is scored
    rounds: int  # how often a time is measured; you see the median


CPU, GPU = Preset(tokens=1024, score_bytes=32_768, rounds=5), Preset(tokens=4096, score_bytes=100_000, rounds=9)
device = pick_device()
preset = GPU if device.type == "cuda" else CPU
torch.set_num_threads(1)  # then times depend less on what else your computer does
corpus = load_corpus("austen")
print(f"{device.type}: {preset}\ntraining text: {', '.join(corpus.train.titles)}")

# %% [markdown]
# ## 1. The question: what does attention cost?
#
# A text is a row of *tokens*. Here a token is one byte, that is, one letter of English text.
# Attention lets each token read the others. Nine letters name the sizes in this course.
# Read the table once, and come back to it when a letter turns up:
#
# | letter | what it counts | paper's base model |
# | --- | --- | --- |
# | B | texts computed at the same time (batch) | 512 at T = 512 |
# | T | tokens in a text (length) | 512 to 8192 |
# | D | numbers that describe a token (model width) | 768 |
# | E | numbers inside a layer, often 2 D (expanded width) | 1536 |
# | S | numbers by which two tokens are compared (shared width) | 128 |
# | C | tokens in a chunk, a piece of the text | 256 |
# | G | chunks in a text, T / C rounded up | 2 to 32 |
# | H | heads: comparisons that a Transformer makes side by side; in FLASH, the copies of z (section 5) | 12 in a Transformer, 4 in FLASH |
# | N | different tokens there are (vocabulary) | 32,000; here 256 |
#
# A model that writes text is *causal*: a token reads itself and earlier tokens, never later ones.
# So token 1 reads one token, token 2 reads two, and token T reads T.

# %% tags=["nbval-check-output"]
for T in (512, 1024, 2048, 4096, 8192):
    who_may_read = np.tri(min(T, 2048), dtype=bool)  # rows read columns; above 2048 the formula alone
    pairs = T * (T + 1) // 2
    assert T > 2048 or who_may_read.sum() == pairs
    print(f"T = {T:5d}: {pairs:11,d} pairs of tokens")

# %% [markdown]
# Twice the length, about four times the pairs. This is *quadratic* cost.
#
# Many papers offer attention whose cost grows only in proportion to T. This is *linear* cost.
# Still the quadratic kind stayed in use. The FLASH paper names three reasons, and you will now see each.
#
# ## 2. Complaint one: quality
#
# A new kind of attention must be compared with something. Often, the paper says, that was the plain Transformer.
# The Transformer has become better since it appeared in 2017. The paper's *Transformer++* has two of these changes:
#
# - it tells a token its position by rotation (RoPE) and by sine waves, where the plain one learns a table;
# - a gate in the feed-forward layer: one half of the numbers is multiplied by the other half (GLU).
#   That layer treats each token by itself.
#
# Neither needs more parameters. How much do they bring? Lectures 01 and 02 explain both; here you only need the result.
# You train both for the same number of updates, on the same text, with the same random numbers.
#
# Then you score both in bits per byte. Less is better; section 6 explains the unit.
# The score is taken on *new text*, the start of *Persuasion*. That novel was not used for training.

# %%
from flash_tutorial.training import TrainConfig, train

settings = TrainConfig(steps=300, batch=16, length=64, learning_rate=3e-3, warmup=20, eval_bytes=20_000)
runs = {}
for name, F in {"transformer": 256, "transformer++": 176}.items():  # about as many numbers, with a gate or without
    config = ModelConfig(name, dim=64, depth=2, heads=2, ff_dim=F, max_length=64, norm="layer")
    runs[name] = train(config, settings, corpus=corpus, progress=False)
    model, score = runs[name].model, runs[name].evaluation
    print(f"{name:14} {count_parameters(model):,} parameters, {score.bits_per_byte:.2f} bits per byte on new text")

# %% tags=["nbval-check-output"]
from flash_course.bench.stored import compare_with_stored

compare_with_stored("00", runs)  # made once by benchmarks/scoreboard.py, with the same seed and settings

# %%
curves = {name: [row["bits_per_byte"] for row in run.log] for name, run in runs.items()}
figures.show(*figures.loss_curves(curves, title="The same training, and Transformer++ learns faster"))

# %% tags=["nbval-check-output"]
plain, plus = (runs[name].evaluation.bits_per_byte for name in ("transformer", "transformer++"))
sizes = [count_parameters(run.model) for run in runs.values()]
print("Transformer++ has fewer parameters:", sizes[1] < sizes[0])
print("Transformer++ is better by more than 0.2 bits per byte:", plain - plus > 0.2)

# %% [markdown]
# So a method that beats the plain Transformer may still lose to Transformer++.
# **The baseline to beat is Transformer++.** The paper uses it, and so does this course.
#
# (Where the dashed curve jumps, one update had a loss twice as high as its neighbours.
# It stays in the mean for 20 updates.)
#
# Two cautions. Both models got the learning rate that was best for both, out of 0.002, 0.003 and 0.005.
# And this is one short run of tiny models. It does not tell how large the gap is between large ones.
#
# ## 3. Complaint two: fewer operations, and no less time
#
# Attention compares a *query* with *keys* and mixes *values*: three arrays Q, K and V with T rows.
# Quadratic attention computes softmax(Q Kᵀ) V. The bracket holds T × T numbers.
#
# Linear attention leaves out the softmax. Then (Q Kᵀ) V is a product of three matrices, and the brackets may move: Q (Kᵀ V).
# Now the bracket holds S × E numbers, however long the text is. This array is called the *state*.
#
# If the model is causal, token t may only use the state of tokens 1 to t. So T different states are needed.

# %% tags=["nbval-check-output"]
T, S, E = 1024, 64, 64
quadratic = 2 * (T * (T + 1) // 2) * (S + E)  # for each pair: compare S numbers, mix E numbers
linear = 2 * T * (S * E + S * E)  # for each token: write S x E numbers into the state, read it
print(f"quadratic: {quadratic / 1e6:6.1f} million operations")
print(f"linear:    {linear / 1e6:6.1f} million operations, {quadratic / linear:.1f} times fewer")

# %% [markdown]
# (An operation is one addition or one multiplication. The softmax itself is not counted.)
#
# **Your first guess.** Linear attention needs eight times fewer operations. How many times faster is it?
# Write 8 if you expect it to be eight times faster, and 0.5 if you expect it to take twice the time.

# %%
my_guess = None  # your number here

# %%
from flash_tutorial.mixing import linear_attention, softmax_attention

torch.manual_seed(0)
T = preset.tokens
q, k = torch.randn(2, 1, T, S, device=device) / S**0.25  # (B, T, S) each, B = 1; products q · k of size one
v = torch.randn(1, T, E, device=device)


def read_quadratic():
    return softmax_attention(q[:, None], k[:, None], v[:, None], causal=True)  # torch's own fast program


def read_linear():
    return linear_attention(q, k, v, causal=True)  # makes T states, then reads them


print("outputs of shape", *tuple(read_quadratic()[0].shape), "and", *tuple(read_linear().shape))

# %% tags=["timing"]
from flash_course.bench.clock import summary, time_in_turn


def milliseconds(functions):
    """The median time of each function. They take turns, so that a busy moment hits all of them."""
    seconds = time_in_turn(functions, preset.rounds, device=device)
    return {name: 1000 * summary(times)["median"] for name, times in seconds.items()}


time = milliseconds({"quadratic attention": read_quadratic, "linear attention": read_linear})
operations = [T * (T + 1) * (S + E), 4 * T * S * E]  # as counted above
rows = dict(zip(time, zip(operations, time.values())))
figures.show(
    *figures.operations_and_time(rows),
    table=[("method", "million operations", "ms"), *((n, f"{f / 1e6:.1f}", f"{t:.2f}") for n, (f, t) in rows.items())],
)
faster = time["quadratic attention"] / time["linear attention"]
print(f"on this machine linear attention is {faster:.3g} times as fast as quadratic attention")
if my_guess is not None:
    print(f"you guessed {my_guess}, which is {my_guess / faster:.3g} times the measured value")

# %% [markdown]
# **Misconception: fewer operations mean less time.** A processor also has to move numbers.
# Here the T states are written to memory and read again, and for each number moved little is computed.
# How many numbers are that?

# %% tags=["nbval-check-output"]
T = 1024
states = torch.cumsum(torch.empty(1, T, S, E, device="meta"), dim=1)  # "meta": shapes only, no memory is used
inputs = T * (S + S + E)
print(f"numbers that come in (Q, K, V): {inputs:,}")
print(f"numbers in all T states:        {states.numel():,}, {states.numel() / inputs:.0f} times as many")

# %% [markdown]
# Is this program as good as it can be? No. Programs that keep the state close to the processor do better.
# Lectures 04 and 11 come back to this. The complaint remains: a count of operations is not a time.
#
# ## 4. Complaint three: training goes token by token
#
# You can avoid storing T states. Keep one state, and update it once for each token, as a recurrent network (RNN) does.
# Each update waits for the one before it. So T tokens need T steps in a row.
#
# For *writing* text this is ideal, because tokens come one by one anyway.
# For *training* it is bad: all tokens are known, yet a GPU with thousands of units waits for one small step.
#
# FLASH cuts the text into chunks of C tokens. It updates the state **once for each chunk**.
# A token reads the state that the *earlier* chunks left. Inside a chunk all tokens are computed at once.

# %%
from flash_tutorial.mixing import linear_attention_step

C = 64


def read_by_token(q, k, v):
    state, outputs = torch.zeros(1, S, E, device=device), []
    for t in range(q.shape[1]):
        output, state = linear_attention_step(state, q[:, t], k[:, t], v[:, t])
        outputs.append(output)
    return torch.stack(outputs, 1), len(outputs)


def read_by_chunk(q, k, v):
    state, outputs = torch.zeros(1, S, E, device=device), []
    for q_chunk, k_chunk, v_chunk in zip(q.split(C, 1), k.split(C, 1), v.split(C, 1)):
        outputs.append(q_chunk @ state)  # what earlier chunks left
        state = state + k_chunk.mT @ v_chunk  # one update for C tokens; .mT swaps the last two axes
    return torch.cat(outputs, 1), len(outputs)


# %% tags=["nbval-check-output"]
from flash_tutorial.mixing import mixed_chunk_attention


def same(a, b):
    return bool((a - b).norm() < 1e-4 * b.norm())


q1, k1, v1 = (t[:, :1024] for t in (q, k, v))
one_by_one, steps_by_token = read_by_token(q1, k1, v1)
in_chunks, steps_by_chunk = read_by_chunk(q1, k1, v1)
# FLASH takes a query and a key for each of its two parts (section 5); here both parts get the same, and one is off
packaged = mixed_chunk_attention(q1, k1, q1, k1, v1, chunk_size=C, causal=True, local=False, combine="sum")
print(f"{steps_by_token} steps in a row by token, {steps_by_chunk} by chunk")
print("by token = linear attention of the package:", same(one_by_one, linear_attention(q1, k1, v1, causal=True)))
print("by chunk = global part of FLASH in the package:", same(in_chunks, packaged))
print("by token = by chunk:", same(one_by_one, in_chunks))

# %% [markdown]
# The last line is no mistake. By chunk, a token does not see its own chunk through the state.
# FLASH reads the own chunk in another way, which the next section shows.
#
# Now the time of a training step: forward, and backward for the gradients.
# Set it beside the steps in a row that you saw. The third line does what FLASH does, and reads the own chunk too.


# %% tags=["timing"]
def training_step(read):
    """A function without arguments: forward, then gradients of q, k and v."""
    inputs = [t.clone().requires_grad_() for t in (q, k, v)]
    return lambda: torch.autograd.grad(read(*inputs).square().mean(), inputs)


steps = milliseconds(
    {
        "token by token": training_step(lambda q, k, v: read_by_token(q, k, v)[0]),
        "chunk by chunk": training_step(lambda q, k, v: read_by_chunk(q, k, v)[0]),
        "FLASH, both parts": training_step(
            lambda q, k, v: mixed_chunk_attention(q, k, q, k, v, chunk_size=C, causal=True)
        ),
    }
)
for name, ms in steps.items():
    print(f"{name:18} {ms:8.1f} ms")

# %% [markdown]
# The same text, and many short steps in a row take far longer than a few larger ones.
#
# ## 5. What FLASH answers
#
# **Mixed chunk attention** has two parts, and adds their results:
#
# - *local*: inside a chunk, each token is compared with itself and each earlier one. That is at most C pairs a token.
# - *global*: all earlier chunks are read through one state, of S × E numbers.
#
# C, S and E do not depend on T, so both costs grow only in proportion to T.
#
# Which token reads which? You can measure that: token i reads token j if output i changes when value j changes.
# The *Jacobian* holds all these changes: the slope of each output by each value. You ask where it is not zero.


# %%
def reads(mix, T=12):
    """(T, T) bool: which token's value has an influence on which token's output."""
    torch.manual_seed(0)
    q, k = torch.rand(2, 1, T, 8)  # positive numbers, so that no comparison happens to be zero
    jacobian = torch.autograd.functional.jacobian(lambda v: mix(q, k, v)[0, :, 0], torch.randn(1, T, 1))
    return jacobian[:, 0, :, 0] != 0


def chunked(**parts):
    return lambda q, k, v: mixed_chunk_attention(q, k, q, k, v, chunk_size=4, causal=True, **parts)


everything = reads(lambda q, k, v: softmax_attention(q[:, None], k[:, None], v[:, None], causal=True)[:, 0])
summed = reads(lambda q, k, v: linear_attention(q, k, v, causal=True))
local, global_ = reads(chunked(global_=False)), reads(chunked(local=False))

# %% tags=["nbval-check-output"]
print(f"full {everything.sum()} pairs, linear {summed.sum()}, local {local.sum()}, global {global_.sum()}")
print("local and global share a pair:", bool((local & global_).any()))
print("together they read what full attention reads:", torch.equal(local | global_, everything))
print("one reads a later token:", bool(torch.triu(everything | summed | local | global_, 1).any()))

# %%
maps = {
    "full (softmax)": everything * figures.DIRECT,
    "local": local * figures.DIRECT,
    "linear": summed * figures.SUMMED,
    "mixed chunk (FLASH)": local * figures.DIRECT + global_ * figures.SUMMED,
}
figures.show(*figures.who_reads_whom({name: who.numpy() for name, who in maps.items()}, 4))

# %% [markdown]
# A square is a pair that is compared by itself. A circle is a token that is read through a sum.
# In FLASH each near token is compared by itself, and the far ones are read as one summary.
#
# **The unit in three lines.** A Transformer block has two layers: attention, then feed-forward.
# FLASH has one kind of unit that does both, and two such units replace a block:
#
# ```python
# u, v, z = project(x)         # gate u and value v of width E, and a small shared base z of width S
# read = u * mix(z, v)         # mix: who reads whom; the gate u decides how much is let through
# y = x + read @ W_out         # back to width D, and added to the input
# ```
#
# Put v in the place of `mix(z, v)`, and you have a gated feed-forward layer.
# All queries and keys are copies of z, each times a scale and plus an offset of its own.
# Inside a chunk FLASH takes relu(score)², where a Transformer takes a softmax. (relu makes negative numbers 0.)
#
# The next cell runs the three lines with the parts of the package's own unit, and compares.

# %% tags=["nbval-check-output"]
from flash_tutorial.layers import cos_sin
from flash_tutorial.properties import draw_order_one

unit = FLASH(32, chunk_size=4, qk_dim=16, causal=True).double()
draw_order_one(unit, torch.Generator().manual_seed(0))  # a fresh unit changes x so little that tests see nothing
x = torch.randn(1, 14, 32, generator=torch.Generator().manual_seed(1)).double()  # (B, T, D)


def mix(z, v):
    heads = unit.read_heads(z, *cos_sin(z.shape[1], unit.qk_dim, z))  # scale, offset, rotate by the position
    return unit.mix(heads, v, mask=None, segment_ids=None)


with torch.no_grad():
    u, value, z = unit.project(x)
    read = u * mix(z, value)
    y = x + unit.out_proj(read)
    print("u", tuple(u.shape), "v", tuple(value.shape), "z", tuple(z.shape), "y", tuple(y.shape))
    print("the three lines = the unit:", torch.equal(y, unit(x)))

# %% [markdown]
# Two tests that every causal model of this course has to pass. First: change token 9, and look at tokens 1 to 8.
# Second: T = 14 is no multiple of C = 4. Cut the text anywhere, and what came before must stay the same.

# %% tags=["nbval-check-output"]
changed = x.clone()
changed[:, 8] += 10  # Python counts from 0: row 8 is token 9
with torch.no_grad():
    difference = (unit(changed) - unit(x)).abs().amax(-1)[0]
    cuts = [(unit(x[:, :T]) - y[:, :T]).abs().max().item() for T in range(1, 15)]
print("largest change before token 9:", difference[:8].max().item())
print("every token from 9 on has changed:", bool((difference[8:] > 1e-3).all()))
print("every cut from T = 1 to 14 gives the same outputs:", max(cuts) < 1e-10)

# %% [markdown]
# ## 6. What a score means: bits per byte
#
# A language model gives each possible next byte a probability. It pays for the byte that really comes:
# probability 1/2 costs 1 bit, 1/4 costs 2 bits, and probability p costs -log₂ p bits.
# The mean cost is the score. It is also the size in bits of a byte after compression with these probabilities.
#
# Know nothing, and every one of the 256 bytes has probability 1/256.

# %% tags=["nbval-check-output"]
text = corpus.validation.tokens[:100_000]  # the first 100,000 bytes of Persuasion


def bits_per_byte(probabilities):
    return float(-np.log2(probabilities).mean())


uniform = bits_per_byte(np.full(len(text), 1 / 256))
print(f"know nothing: {uniform:.2f} bits per byte")

# %% [markdown]
# Next, count how often each byte stands in the four training novels. This is a table of *order 0*.
#
# A byte that was never seen must not get probability 0, since it would cost infinitely many bits.
# So the counts are blended with a coarser guess, here 1/256 (Witten and Bell, 1991).
# The coarser guess weighs as much as `kinds` more bytes of text, where `kinds` different bytes were seen.
# So the more text was counted, the less the coarser guess matters.

# %% tags=["nbval-check-output"]
counts = np.bincount(corpus.train.tokens, minlength=256)
kinds = (counts > 0).sum()  # different bytes seen
order_0 = (counts + kinds * (1 / 256)) / (counts.sum() + kinds)
assert abs(order_0.sum() - 1) < 1e-12
print(f"know how often each byte comes: {bits_per_byte(order_0[text]):.2f} bits per byte")

# %% [markdown]
# *Order 1*: count the same once for each byte that may stand before. The table has one row for each.
# The coarser guess is now order 0.

# %% tags=["nbval-check-output"]
pairs = np.zeros((256, 256))
for i in range(corpus.train.n_documents):
    novel = corpus.train.document(i)
    np.add.at(pairs, (np.append(0, novel[:-1]), novel), 1)  # before the first byte stands byte 0

seen, kinds = pairs.sum(1, keepdims=True), (pairs > 0).sum(1, keepdims=True)
order_1 = np.where(seen > 0, (pairs + kinds * order_0) / np.maximum(seen + kinds, 1), order_0)
before = np.append(0, text[:-1])
print(f"know the byte before as well: {bits_per_byte(order_1[before, text]):.2f} bits per byte")

# %% [markdown]
# **Misconception: a loss far below the start means that the model has understood something.**
# Compare: your Transformer of section 2 had 300 updates. This table only counts pairs of letters.

# %%
table_score = bits_per_byte(order_1[before, text][:20_000])  # the text on which section 2 scored
print(f"pairs of letters {table_score:.2f}, Transformer {plain:.2f}, Transformer++ {plus:.2f}")
assert abs(plain - table_score) < 0.4

# %% [markdown]
# After 300 updates the plain Transformer is hardly better than the pairs of letters. Transformer++ is.
# So always put a simple table beside a neural network.
#
# With more bytes of context the tables improve. Order 5 is the best one stored, and takes longer to count.
# Its score is stored in the package, with the command, the date and the machine that made it.

# %% tags=["nbval-check-output"]
from flash_course.bench.stored import load_stored

stored = load_stored("ngrams")
tables = {row["order"]: row["validation, first 100000 bytes"] for row in stored["rows"] if "order" in row}
assert abs(tables[1] - bits_per_byte(order_1[before, text])) < 5e-4  # the stored table and yours are the same
print(f"know the 5 bytes before: {tables[5]:.2f} bits per byte")
print(f"made by {stored['command']} on {stored['date'][:10]}")

# %% [markdown]
# ## 7. A trained model writes
#
# The package holds a small FLASH model, `austen-flash`, trained on the same four novels.
#
# **Your second guess.** The tables need 8.00, 4.43, 3.54 and 2.07 bits per byte. How many does the model need?

# %%
my_second_guess = None  # your number here

# %%
from flash_tutorial.training import evaluate, first_bytes

model = LanguageModel.from_pretrained("austen-flash").to(device)
T = model.config.max_length
score = evaluate(model, first_bytes(corpus.validation, preset.score_bytes), T)
print(f"{count_parameters(model):,} parameters, windows of T = {T}, chunks of C = {model.config.chunk_size}")
print(f"{score.bits_per_byte:.2f} bits per byte over the first {score.n_bytes:,} bytes of Persuasion")
if my_second_guess is not None:
    print(f"you guessed {my_second_guess}: off by {abs(my_second_guess - score.bits_per_byte):.2f}")

# %% [markdown]
# To save time the model reads only the start of the 100,000 bytes. Is the start easier than the rest?
# Your order-1 table can tell: it has a score for both.

# %%
whole, piece = (bits_per_byte(order_1[before, text][:n]) for n in (len(text), preset.score_bytes))
print(f"order 1: {whole:.2f} on all of it, {piece:.2f} on the piece")
ladder = {"nothing": uniform, "order 0": tables[0], "order 1": tables[1], "order 5": tables[5]}
ladder["austen-flash"] = score.bits_per_byte
figures.show(*figures.bits_ladder(ladder, title="The more a guess knows, the fewer bits a byte costs"))
assert abs(whole - piece) < 0.1
assert score.bits_per_byte < tables[5], "the model should need fewer bits than the order-5 table"

# %% [markdown]
# The table reads five bytes back. The model reads back to the start of its window. How far back does it help?
# As long as it helps, a byte costs less the more bytes stand before it.

# %%
title = "The first 60 bytes or so before a byte make it cheaper"
figures.show(*figures.loss_by_position(score.by_position, title=title))
places = {"1 to 6": slice(0, 6), "7 to 63": slice(6, 63), "64 on": slice(63, None)}
early, middle, late = (score.by_position[place].mean() for place in places.values())
print(f"places {', '.join(places)}: {early:.2f}, {middle:.2f}, {late:.2f} bits per byte")
assert early - 0.5 > middle and middle - late > -0.1

# %% [markdown]
# So the near bytes bring nearly all of it. From about 60 bytes on, the cost stays where it is.
# This is a small model, and the mean over few windows is rough. Lecture 07 looks again, on more text.
#
# Now let it write. It draws one byte after the other from its own probabilities.
# A *temperature* below 1 makes likely bytes more likely, so rare spellings become rarer.

# %%
tokenizer = ByteTokenizer()
prompt = "Anne could not help thinking that "
ids = torch.tensor(tokenizer.encode(prompt), device=device)[None]  # (B, T) with B = 1
generator = torch.Generator(device).manual_seed(0)  # the same draws each time
new = model.generate(ids, 200, temperature=0.8, generator=generator)
written = tokenizer.decode(new[0].cpu())
print(prompt + written)

# %% [markdown]
# Is that English? A modest test: how many of its words stand in the training novels?

# %%
import re

novels = corpus.train.tokens.tobytes().decode()
known = set(re.findall("[a-z]+", novels.lower()))
words = re.findall("[a-z]+", written.lower())[1:-1]  # the first and the last may be cut
share = np.mean([word in known for word in words])
print(f"{share:.0%} of {len(words)} words are words of the novels")
assert len(new[0]) == 200 and share > 0.6

# %% [markdown]
# How much does the model keep in mind while it writes? A Transformer keeps keys and values of all tokens.
# FLASH keeps one state and the chunk at hand, for a text of any length.

# %% tags=["nbval-check-output"]
from flash_course.bench.counts import count_state_numbers

for n in (64, 512):
    _, state = model.prefill(torch.tensor(text[None, :n].astype(np.int64), device=device))
    assert state.numel() == count_state_numbers(model, n)  # the count is what decoding really keeps
other = ModelConfig("transformer++", dim=model.config.dim, depth=model.config.depth // 2)  # a block for two units
for n in (512, 8192):
    flash_keeps, other_keeps = count_state_numbers(model, n), count_state_numbers(other, n)
    print(f"after {n:4d} bytes: FLASH {flash_keeps:9,d} numbers, Transformer++ {other_keeps:9,d}")

# %% [markdown]
# ## 8. Are you ready for the lectures?
#
# Answer each question on paper, then open the fold. If one was hard, the [refresher](90_refresher.ipynb) (lecture 90) has a section on it.
#
# **1. Einsum.** `x` has shape (B, T, S) and `w` has shape (S, E). What does `einsum("bts,se->bte", x, w)` compute?
#
# <details><summary>Answer</summary>
#
# The matrix product `x @ w`, of shape (B, T, E). The letter s stands on both sides of the comma and not in the result, so it is summed over.
# Hard? Lecture 90, section *einsum*.
#
# </details>
#
# **2. Broadcasting.** `a` has shape (4, 1) and `b` has shape (3,). What shape has `a + b`?
#
# <details><summary>Answer</summary>
#
# (4, 3). Shapes are aligned at the right, and a size of 1 is repeated.
# Hard? Lecture 90, section *broadcasting*.
#
# </details>
#
# **3. Shapes.** T = 10 tokens are cut into chunks of C = 4. How many chunks G are there, and how many places stay empty?
#
# <details><summary>Answer</summary>
#
# G = 3, since 10 / 4 is rounded up, and 3 × 4 - 10 = 2 places stay empty.
# Hard? Lecture 90, section *shapes*.
#
# </details>
#
# **4. Floats.** In float32, what is `(1e8 + 1) - 1e8`?
#
# <details><summary>Answer</summary>
#
# 0. Near 100,000,000 the float32 numbers are 8 apart, so adding 1 changes nothing.
# Hard? Lecture 90, section *floats*.
#
# </details>
#
# **5. Finite differences.** How can you check a gradient if you can only compute the function f?
#
# <details><summary>Answer</summary>
#
# Compare it with (f(x + h) - f(x - h)) / (2h) for a small h, one coordinate after the other, in float64.
# Hard? Lecture 90, section *finite differences*.
#
# </details>
#
# **6. Nats to bits.** PyTorch reports a cross-entropy of 1.386 for each byte. How many bits per byte is that?
#
# <details><summary>Answer</summary>
#
# 1.386 / ln 2 = 2.00. PyTorch uses the natural logarithm (nats), and one bit is ln 2 = 0.693 nats.
# Hard? Lecture 90, section *nats to bits*.
#
# </details>

# %% tags=["nbval-check-output"]
a, b = torch.ones(2, 5, 3), torch.ones(3, 4)
one, large = torch.tensor(1.0), torch.tensor(1e8)
print("1:", torch.allclose(torch.einsum("bts,se->bte", a, b), a @ b))
print("2:", tuple((torch.ones(4, 1) + torch.ones(3)).shape))
print("3:", -(-10 // 4), "chunks,", -10 % 4, "empty places")
print("4:", (large + one - large).item())
slope = ((1.5 + 1e-5) ** 3 - (1.5 - 1e-5) ** 3) / 2e-5
print(f"5: slope of x**3 at 1.5: {slope:.4f}, exactly {3 * 1.5**2}")
print("6:", round(1.386 / np.log(2), 2))

# %% [markdown]
# ## 9. What you take along
#
# Fill in the last column yourself. "Not shown" is a good answer.
#
# | claim | your evidence | your verdict |
# | --- | --- | --- |
# | The plain Transformer is too weak a baseline | section 2: two scores after the same training | |
# | Fewer operations do not mean less time | section 3: count and time side by side | |
# | A recurrent update trains slowly | section 4: steps in a row, and times | |
# | FLASH reads everything and nothing later | section 5: the maps, and the test with token 9 | |
# | FLASH keeps a state of constant size | section 7: numbers kept at two lengths | |
# | FLASH is as good as Transformer++ and faster | nothing yet: lectures 07 and 08 | |
#
# **Three takeaways**
# 1. Compare with the strongest baseline, and put a simple table beside it.
# 2. Count operations, steps in a row and numbers moved. Then measure the time.
# 3. FLASH = a gated unit + exact attention inside chunks + one state for all earlier chunks.
#
# **What comes next** The lectures, in this order:
#
# | lecture | what it builds | problem set |
# | --- | --- | --- |
# | [01 attention](01_attention.ipynb) | softmax attention in NumPy, masks, heads, positions | [set 01](../exercises/01_attention.ipynb) |
# | [02 gated attention unit](02_gated_attention_unit.ipynb) | gate and attention in one unit | [set 02](../exercises/02_gated_attention_unit.ipynb) |
# | [03 gau in torch](03_gau_in_torch.ipynb) | the same in PyTorch, and its training | [set 03](../exercises/03_gau_in_torch.ipynb) |
# | [04 linear attention](04_linear_attention.ipynb) | the state, and why training with it is slow | [set 04](../exercises/04_linear_attention.ipynb) |
# | [05 mixed chunk attention](05_mixed_chunk_attention.ipynb) | local and global part, step by step | [set 05](../exercises/05_mixed_chunk_attention.ipynb) |
# | [06 flash model](06_flash_model.ipynb) | the whole model, documents, padding | [set 06](../exercises/06_flash_model.ipynb) |
# | [07 training](07_training.ipynb) | FLASH against Transformer++ on real text | [set 07](../exercises/07_training.ipynb) |
# | [08 scaling](08_scaling.ipynb) | time and memory against length | [set 08](../exercises/08_scaling.ipynb) |
# | [09 generation](09_generation.ipynb) | writing with a state of constant size | [set 09](../exercises/09_generation.ipynb) |
# | [10 ablations](10_ablations.ipynb) | which part brings what | [set 10](../exercises/10_ablations.ipynb) |
# | [11 gpu kernels](11_gpu_kernels.ipynb) | where the time goes on a GPU | [set 11](../exercises/11_gpu_kernels.ipynb) |
# | [12 your project](12_your_project.ipynb) | the package in your own work |  |
# | [90 refresher](90_refresher.ipynb) | shapes, einsum, floats, finite differences, bits; optional |  |
#
# This tour has no problem set; the first one belongs to lecture 01.
# Words that you miss are in the [glossary](../docs/glossary.md), troubles and their causes in [symptoms](../docs/symptoms.md).
