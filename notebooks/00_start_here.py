# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 00 Start here: how attention became linear
#
# [With results](00_start_here.ipynb) · [without, to work in](work/00_start_here.ipynb) · [glossary](../docs/glossary.md)
#
# This course is about one paper, *Transformer Quality in Linear Time* by Hua, Dai, Liu and Le (ICML 2022), and about its model, FLASH.
# (FLASH shares nothing but its name with FlashAttention, a fast implementation of ordinary attention.) The paper promises the quality of a
# strong Transformer at a cost proportional to the length of the sequence, and a saving in wall-clock time. This tour shows you the promise
# at work, and then takes it apart.
#
# **After this lecture you can**
# - say how the cost of attention grows with the sequence, in multiply-adds, in memory and in sequential steps;
# - demonstrate on your own machine why cheaper kinds of attention were not simply adopted;
# - draw which token reads which in FLASH, and write its layer in three lines;
# - say what a score in *bits per byte* means.
#
# **You need** Python, a little PyTorch, and a rough idea of what a Transformer is. Six questions in [lecture 90](90_refresher.ipynb) tell
# you whether you are ready, and the same lecture refreshes einsum, broadcasting, floats and nats. [Ten questions](../docs/questions.md),
# answered now and again at the end, show you what you have learned.
#
# **Time** 26 minutes to read. Running the code takes about 20 seconds on two CPU cores.
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
# ## Softmax attention and FLASH, as the sequence grows
#
# In attention each token brings three vectors: a *query* that says what it looks for, a *key* by which it is found, and a *value* that is
# read. Below, softmax attention in PyTorch's own *fused kernel* (one function that never writes the weights of all T × T pairs, the
# *attention matrix*, to memory) runs against the attention of FLASH in plain PyTorch, forward and backward, as in a training step. The
# sequence doubles in length from point to point. Before you run it: by what factor will each time grow?

# %% tags=["timing"]
import torch

from flash_course import drawing
from flash_course.bench.clock import summary, time_in_turn
from flash_tutorial.mixing import mixed_chunk_attention, softmax_attention

device = "cuda" if torch.cuda.is_available() else "cpu"
torch.set_num_threads(1)  # times then depend less on what else your computer is doing


def inputs(T, width=64):
    torch.manual_seed(0)
    return [torch.randn(1, T, width, device=device, requires_grad=True) for _ in range(3)]


def softmax(q, k, v):  # the axis that comes and goes is for heads, of which there is one
    return softmax_attention(q[:, None], k[:, None], v[:, None], causal=True)[:, 0]


def flash(q, k, v):  # q and k for the near part, and once more for the far part: see section 5
    return mixed_chunk_attention(q, k, q, k, v, chunk_size=256, causal=True)


def training_step(attention, T):
    qkv = inputs(T)
    return lambda: torch.autograd.grad(attention(*qkv).square().mean(), qkv)


def milliseconds(functions, rounds=5):  # the functions take turns, so that a busy moment hits all of them
    seconds = time_in_turn(functions, rounds, device=device)
    return {name: 1000 * summary(each)["median"] for name, each in seconds.items()}


steps = {"softmax attention": softmax, "FLASH": flash}
lengths = (512, 1024, 2048, 4096, 8192)
times = {T: milliseconds({name: training_step(form, T) for name, form in steps.items()}, 3) for T in lengths}
lines = {name: [(T, times[T][name]) for T in lengths] for name in steps}
slow, fast = times[T := lengths[-1]].values()
title = f"At T = {T:,}: {slow:,.0f} ms by softmax attention, {fast:,.0f} ms by FLASH"
drawing.show(*drawing.cost_against_length({"": (lines, {})}, ylabel="forward and backward, ms", title=title))

# %% [markdown]
# At the long end a doubling takes softmax attention close to four times as long, because there are four times as many pairs of tokens to
# compare; FLASH takes about twice as long, as its number of operations doubles (a busy moment moves single points). (This is attention alone, at equal widths. A whole FLASH model has twice as many layers, with
# wider values, so it pays off only on longer sequences: lecture 08.)
#
# Speed alone would be easy: a layer that ignores its input is faster still. So here two small models that have read four of Jane Austen's novels
# write a few lines, a FLASH model and a Transformer++ of the same size, the strongest Transformer in the paper. The next cell counts what they keep
# in memory.

# %%
from flash_course.bench.counts import count_state_numbers
from flash_tutorial import LanguageModel, ModelConfig, count_parameters
from flash_tutorial.corpora import ByteTokenizer, load_corpus

corpus, tokenizer = load_corpus("austen"), ByteTokenizer()
models = {name: LanguageModel.from_pretrained(f"austen-{name}").to(device) for name in ("flash", "transformer++")}
prompt = "Anne could not help thinking that "
ids = torch.tensor(tokenizer.encode(prompt), device=device)[None]
for name, model in models.items():  # prompt, temperature and seed were fixed before these models were trained
    generator = torch.Generator(device).manual_seed(0)  # the same draws each time
    written = model.generate(ids, 300, temperature=0.8, generator=generator)[0].cpu()
    print(f"{name}: {prompt}{tokenizer.decode(written)}\n")
model = models["flash"]

# %% tags=["nbval-check-output"]
import numpy as np

_, state = model.prefill(torch.from_numpy(corpus.validation.tokens[None, :600].astype(np.int64)).to(device))
assert state.numel() == count_state_numbers(model, 600)  # the count is what decoding really keeps
kept = {n: [count_state_numbers(each, n) for each in models.values()] for n in (512, 1024, 10_240, 102_400)}
print("entries kept after     FLASH (state)    Transformer++ (KV cache)")
for n, (of_flash, of_plus) in kept.items():
    print(f"{n:12,d} bytes {of_flash:17,d} {of_plus:27,d}")
assert kept[512][1] < kept[512][0] and kept[102_400][1] > 100 * kept[102_400][0]

# %% [markdown]
# The rhythm of the lines is Austen's, and the sense is nobody's, with both. But look at the memory: a Transformer keeps the keys and values of every
# token, the *KV cache*, which grows for as long as it writes. In each layer FLASH keeps room for the keys and values of the current *chunk*
# of 256 bytes, and a matrix of fixed size into which everything older has been summed (section 3). At 512 bytes the cache is still the
# smaller of the two. (In many of today's models several heads share keys and values, which makes it four to eight times smaller.)
#
# And quality? A score in *bits per byte* says how surprised a model is by new text (section 6); lower is better. Both models
# were trained beforehand.

# %% tags=["nbval-check-output"]
from flash_course.bench.stored import load_stored

cards = {
    row["model"]: row for row in load_stored("shipping")["runs"] if "after" in row
}  # those that come with the package
print("bits per byte on the first 400,000 bytes of Persuasion, which no model was trained on")
for name, row in cards.items():
    print(f"{name:14} {row['bits_per_byte']:.3f}; {row['parameters']:,} parameters")
assert 0 < cards["flash"]["bits_per_byte"] - cards["transformer++"]["bits_per_byte"] < 0.01

# %% [markdown]
# Here FLASH comes within 0.004 bits of Transformer++, slightly behind it. Take this as a demonstration and not as a comparison: it is one seed, the same
# number of updates for both, and a learning rate and a dropout chosen for each model on this same text. Lecture 07 makes a proper comparison.
#
# There you have the whole course: a cost that grows like the length, a state that does not grow at all, and a quality that has to be
# measured rather than promised. But by 2022 there were dozens of cheaper kinds of attention, so why did everybody stay with the expensive
# one? You will meet the authors' three complaints on your own machine. Twice you are asked for a guess first, because a wrong guess is the
# one you remember.
#
# ## 1. The question: what does attention cost?
#
# A text is a sequence of T *tokens*, here bytes, that is, letters. A model that writes is *causal*: a token may *attend to*, or *read*,
# itself and what came before, never what comes after. So the first token reads one, the second two, and the last all T, together T (T + 1)
# / 2 pairs. Twice the length makes about four times as many pairs, which is what *quadratic cost* means.
#
# ## 2. Complaint one: quality is lost
#
# Many cheaper kinds were compared with a plain Transformer, while the Transformer had moved on. What the paper calls *Transformer++* marks
# positions by rotating queries and keys (*RoPE*, lecture 01), where the plain one adds a learned vector, and its feed-forward layers
# multiply one half of their activations by the other (a *gated linear unit*, lecture 02). The gate needs a matrix of its own, so the layer
# is made narrower (F in the next cell), and both models have about 120,000 parameters.
#
# How much do they bring? Train the two side by side for 300 updates, and score both on the opening of *Persuasion*.

# %%
from flash_tutorial.training import TrainConfig, train

settings = TrainConfig(steps=300, batch=16, length=64, learning_rate=3e-3, warmup=20, eval_bytes=20_000)
runs = {}
for name, F in {"transformer": 256, "transformer++": 176}.items():  # F: width of the feed-forward layers
    config = ModelConfig(name, dim=64, depth=2, heads=2, ff_dim=F, max_length=64, norm="layer", start="paper")
    runs[name] = train(config, settings, corpus=corpus, progress=False)
plain, plus = (runs[name].evaluation.bits_per_byte for name in runs)

# %% tags=["nbval-check-output"]
from flash_course.bench.stored import compare_with_stored

compare_with_stored("00", runs)  # made once by experiments/scoreboard.py, with the same seed and settings
seeds = {name: load_stored("scoreboard")["seeds"][f"00 {name}"] for name in runs}
print("bits per byte        parameters   here   three seeds, stored")
for name, run in runs.items():
    stored = ", ".join(f"{bits:.2f}" for bits in seeds[name])
    print(f"{name:20} {count_parameters(run.model):10,} {run.evaluation.bits_per_byte:6.1f}   {stored}")
assert all(old - new > 0.4 for old, new in zip(seeds["transformer"], seeds["transformer++"]))

# %% [markdown]
# At each of three seeds the newer recipe wins by almost half a bit. So a method that beats a plain Transformer may still lose to what people train today: **the baseline to beat is Transformer++**. (These are tiny models, after 300 updates at one learning rate for both.)
#
# ## 3. Complaint two: what the saving is worth
#
# Stack the vectors of all tokens, one row each, and you have three matrices: Q and K with S columns, V with E. Softmax attention computes softmax(Q Kᵀ) V, and the T × T matrix inside the brackets is the quadratic cost.
#
# Leave the softmax out, which gives *linear attention*. Then Q (Kᵀ V) is the same as (Q Kᵀ) V, but the bracket has only S × E entries,
# however long the sequence is: it is a sum over tokens, to which each token adds one term, its key (a column) times its value (a row). This
# small matrix is called the *state*. In a causal model token t needs the state of tokens 1 to t, so there are T different states.
#
# We count *multiply-adds*, one multiplication and one addition each, and only the T (T + 1) / 2 pairs that a causal model reads.

# %% tags=["nbval-check-output"]
T, S, E = 1024, 64, 64
quadratic = T * (T + 1) // 2 * (S + E)  # for each pair: S multiply-adds to compare, E to mix
linear = T * (S * E + S * E)  # for each token: add S x E numbers to the state, read them
print(f"quadratic: {quadratic / 1e6:5.1f} million multiply-adds")
print(f"linear:    {linear / 1e6:5.1f} million multiply-adds, {quadratic / linear:.1f} times fewer")

# %% [markdown]
# **Your first guess.** The linear form needs an eighth of the multiply-adds. A direct implementation stores all T states and lets each
# token read its own. How long will it take, in multiples of softmax attention's time? Write 0.125 if you expect the count to decide.

# %%
from flash_course.learner import predict, reveal

predict("00.a", None)  # your number in place of None

# %% tags=["timing"]
from flash_tutorial.mixing import linear_attention

q, k, v = (t.detach() for t in inputs(T))
time = milliseconds({
    "softmax attention": lambda: softmax(q, k, v),
    "linear attention, T states": lambda: linear_attention(q, k, v, causal=True),
})  # fmt: skip
millions = {"softmax attention": quadratic / 1e6, "linear attention, T states": linear / 1e6}
quotient = time["linear attention, T states"] / time["softmax attention"]
title = f"Linear attention: {linear / quadratic:.2f} times the multiply-adds, {quotient:.1f} times the time"
figure, (left, right) = drawing.new_panels(["", ""], 7.0, 2.3, title=title, sharey=True)
drawing.bars(left, millions, hatch="//")
left.set_xlabel("multiply-adds in millions")
drawing.bars(right, time, hatch="..")
right.set_xlabel("time in milliseconds")
alt = f"Bars of the multiply-adds, in millions: {drawing.listed(millions)}; and of the time in ms: {drawing.listed(time)}."
table = [("method", "million multiply-adds", "ms")]
table += [(name, f"{millions[name]:.1f}", f"{time[name]:.2f}") for name in time]
drawing.show(figure, alt, table)
reveal("00.a", round(quotient, 1), "times the time of softmax attention")
assert device == "cuda" or quotient > 2

# %% [markdown]
# An eighth of the multiply-adds, and here many times the time. **Misconception: the number of operations decides the time.** On a CPU most of this time
# goes into torch's running sum over tokens, which walks through memory in an unfortunate order: lecture 04 makes the same T states in a fraction of
# it. What would remain is traffic. T states are written and read back, 64 × 64 entries for each token where Q, K and V have 3 × 64. So a count
# promises nothing until somebody has found a good arrangement.
#
# ## 4. Complaint three: training proceeds token by token
#
# Why not keep a single state and update it for each token, as a recurrent network does? For *writing* this is ideal, because tokens come
# one at a time anyway. For *training* it is dreadful: each update waits for the one before, on a processor that could do thousands at once.
#
# There is a middle way: update the state once for each chunk of C tokens. What earlier chunks contributed then comes from the state, and
# what a token reads inside its own chunk comes from one C × C matrix.


# %%
from flash_tutorial.mixing import linear_attention_step

C = 64


def token_by_token(q, k, v):
    state, outputs = torch.zeros(1, S, E, device=device), []
    for t in range(q.shape[1]):
        output, state = linear_attention_step(state, q[:, t], k[:, t], v[:, t])
        outputs.append(output)
    return torch.stack(outputs, 1)


def chunk_by_chunk(q, k, v):
    state, outputs = torch.zeros(1, S, E, device=device), []
    for q_C, k_C, v_C in zip(q.split(C, 1), k.split(C, 1), v.split(C, 1)):
        inside = (q_C @ k_C.mT).tril() @ v_C  # .mT swaps the last two axes
        outputs.append(q_C @ state + inside)  # earlier chunks through the state, its own chunk pair by pair
        state = state + k_C.mT @ v_C  # one update for C tokens
    return torch.cat(outputs, 1)


# %% tags=["nbval-check-output"]
expected = linear_attention(q, k, v, causal=True)
for form in (token_by_token, chunk_by_chunk):
    assert (form(q, k, v) - expected).norm() < 1e-4 * expected.norm()
print(f"sequential steps for T = {T}: token by token {T}, chunk by chunk {T // C}; the outputs are the same")
assert C * (S + E) + 2 * S * E == 2 * (2 * S * E)  # multiply-adds for a token, by chunks and one by one

# %% tags=["timing"]
forms = {"token by token": token_by_token, "chunk by chunk": chunk_by_chunk, "softmax": softmax, "FLASH": flash}
times = milliseconds({name: training_step(form, T) for name, form in forms.items()}, 3)
for name, ms in times.items():
    print(f"{name:15} {ms:8.1f} ms for a training step at T = {T}")
assert times["token by token"] > 4 * times["chunk by chunk"]

# %% [markdown]
# The first two compute the same function, the second with twice the multiply-adds, and yet its few larger steps take far less time than the
# many short ones. (Part of that is the price of a PyTorch call: each of the 1,024 steps makes several.) So linear attention in chunks
# answers two of the three complaints. (Chunks that are exact, as here, became standard in 2023: lecture 13.)
#
# What remains is quality. Linear attention only adds up what it reads, so where two keys point in similar directions their values get mixed; lecture 04 measures it.
#
# ## 5. What FLASH answers
#
# Inside a chunk there is a C × C matrix anyway. FLASH makes it sharper: where a Transformer takes a softmax of the scores, FLASH takes
# relu(score)² (lecture 02). It also adds to each score in a chunk a learned *position bias*, which this tour leaves out; in our tiny models that bias,
# and not the sharpness, is what linear attention lacks (lecture 04). **Mixed chunk attention** is the sum of two parts.
#
# - The *local* part compares pairs inside a chunk, at most C for each token.
# - The *global* part reads all earlier chunks through one state of S × E entries.
#
# Neither C nor the size of the state depends on T, so both costs are proportional to T. Who attends to whom can be measured: token i reads
# token j if output i changes when value j does, that is, if that entry of the *Jacobian*, the table of all derivatives, is not zero.


# %%
def reads(mix, T=12):  # (T, T) bool: which token's value has an influence on which token's output
    torch.manual_seed(0)
    q, k = torch.rand(2, 1, T, 8)  # positive numbers, so that no score happens to be zero
    jacobian = torch.autograd.functional.jacobian(lambda v: mix(q, k, v)[0, :, 0], torch.randn(1, T, 1))
    return jacobian[:, 0, :, 0] != 0


def chunked(**parts):
    return lambda q, k, v: mixed_chunk_attention(q, k, q, k, v, chunk_size=4, causal=True, **parts)


everything = reads(softmax)
summed = reads(lambda q, k, v: linear_attention(q, k, v, causal=True))
local, global_ = reads(chunked(global_=False)), reads(chunked(local=False))
patterns = {
    "softmax": everything * drawing.DIRECT,
    "local part": local * drawing.DIRECT,
    "linear": summed * drawing.SUMMED,
    "mixed chunk (FLASH)": local * drawing.DIRECT + global_ * drawing.SUMMED,
}
title = "Mixed chunk attention: near tokens pair by pair, far ones through the state"
maps = {name: who.numpy() for name, who in patterns.items()}
drawing.show(*drawing.who_reads_whom(maps, 4, title=title, rows=2))
assert not (local & global_).any(), "a pair is read in both parts"
assert torch.equal(local | global_, everything), "together they read what softmax attention reads"
assert not torch.triu(everything | summed | local | global_, 1).any(), "a later token is read"

# %% [markdown]
# *Near* means in the same chunk: token 5 already reads its neighbour, token 4, through the state. A square is a pair whose score goes
# through the softmax, or relu², by itself. A circle is a pair that is read through the state, with the plain product of query and key as
# its weight, which nothing can sharpen.
#
# What does that cost? Here are the multiply-adds at C = 256 and at the widths of the paper's base model, S = 128 and E = 1536. On a live
# page you can move T and C. (The count charges every token for the state, also in the first chunk, which has nothing to read there.)

# %%
from flash_course import lab

lab.show(lab.cost(T=1024, C=256))

# %% [markdown]
# ### The whole layer in three lines
#
# One kind of unit does the work of both the attention layer and the feed-forward layer, and two such units replace one of each:
#
# ```python
# u, v, z = project(x)         # a gate u and a value v of width E, and a narrow shared base z of width S
# read = u * mix(z, v)         # mix decides who reads whom; the gate decides how much of it is let through
# y = x + read @ W_out         # back to the model's width, added to the input
# ```
#
# Put v in the place of `mix(z, v)`, and what remains is a gated feed-forward layer. The queries and keys of both parts are scaled and
# shifted copies of z, so attention adds little more than the matrix that makes z.
#
# The next cell compares the three lines with the package's unit, and then does what you should do to every causal layer: change one token,
# and cut the sequence off. Nothing earlier may move.

# %% tags=["nbval-check-output"]
from flash_tutorial import FLASH
from flash_tutorial.layers import cos_sin
from flash_tutorial.check import draw_order_one, settle_branch

x = torch.randn(1, 14, 32, generator=torch.Generator().manual_seed(1)).double()  # one sequence of 14 tokens, D = 32
unit = FLASH(32, chunk_size=4, qk_dim=16, causal=True).double()
draw_order_one(unit, torch.Generator().manual_seed(0))  # a fresh unit changes x so little that no test sees anything
settle_branch(unit, x)  # scale it so that what the unit adds is about as large as x


with torch.no_grad():
    u, v, z = unit.project(x)
    heads = unit.read_heads(z, *cos_sin(14, unit.qk_dim, z))  # copies of z: scale, offset, rotate by the position
    y = x + unit.out_proj(u * unit.mix(heads, v, mask=None, segment_ids=None))
    assert torch.equal(y, unit(x))  # the three lines are the unit
    changed = x.clone()
    changed[:, 8] += 10  # Python counts from 0, so this is token 9
    moved = (unit(changed) - y).abs().amax(-1)[0]
    assert max((unit(x[:, :n]) - y[:, :n]).abs().max() for n in range(1, 15)) < 1e-10  # cut anywhere: the same
assert moved[:8].max() == 0  # exactly
print(f"token 9 changed: outputs 1 to 8 do not move, each of 9 to 14 moves by at least {moved[8:].min():.3f}")

# %% [markdown]
# ## 6. What a score means: bits per byte
#
# A language model gives each possible next byte a probability and pays for the one that comes: probability 1/2 costs one bit, 1/4 costs two, and p costs -log₂ p. The mean is its score, and also the size to which the text could be compressed. A model that knows nothing gives every byte the probability 1/256.
#
# How far does one get by counting? The next cell counts how often each byte occurs in the training novels (plus 1, since a probability of
# zero would cost infinitely many bits). Two stored *n-gram models* count what follows the last byte, or the last five.
#
# **Misconception: a loss far below where it started means that the model has understood something.** Your Transformer came down from 8 bits to about three and a half. Where will it stand in the list below?

# %% tags=["nbval-check-output"]
text = corpus.validation.tokens[:100_000]  # the first 100,000 bytes of Persuasion
counts = np.bincount(corpus.train.tokens, minlength=256) + 1
rows = [row for row in load_stored("ngrams")["rows"] if "order" in row]  # made by experiments/ngrams.py
ngrams = {row["order"]: row["validation, first 100000 bytes"] for row in rows}
scores = {
    "know nothing": -np.log2(1 / 256),
    "byte frequencies": -np.log2((counts / counts.sum())[text]).mean(),
    "bigrams": ngrams[1],
    "Transformer": plain,
    "Transformer++": plus,
    "five bytes of context": ngrams[5],
}
for name, bits in scores.items():
    print(f"{name:22} {bits:.1f} bits per byte")
assert abs(plain - ngrams[1]) < 0.2 and ngrams[5] < plus < plain - 0.2

# %% [markdown]
# The plain Transformer scores about what a table of letter pairs scores. (Both Transformers were scored on the first 20,000 bytes alone; letter pairs
# need 3.6 bits there.)
#
# ## 7. A trained model, scored
#
# **Your second guess.** The model that wrote the lines at the top is ahead of all of these, and it reads windows of 1024 bytes. How many
# bits does a byte cost it at the first seven positions, where there is hardly anything to look back at?

# %%
predict("00.b", None)  # your number in place of None

# %% tags=["nbval-check-output"]
from itertools import pairwise

from flash_tutorial.training import evaluate, first_bytes

score = evaluate(model, first_bytes(corpus.validation, 32_768), model.config.max_length)
by_position = score.by_position
early, middle, late = (by_position[part].mean() for part in (slice(0, 7), slice(7, 64), slice(64, None)))
reveal("00.b", round(early, 2), "bits per byte")
print(f"positions 1 to 7: {early:.2f}, 8 to 64: {middle:.2f}, from 65 on: {late:.2f} bits per byte")
edges = [0, *(2**i - 1 for i in range(1, 10)), len(by_position)]  # positions 1, 2 to 3, 4 to 7 and so on
means = {f"{a + 1}\nto {b}": by_position[a:b].mean() for a, b in pairwise(edges)}
title = "The first few dozen bytes bring nearly all of the gain"
figure, axes = drawing.new_axes(7.0, 3.4, "position of the byte in its window", "bits per byte", title)
drawing.lines(axes, {"FLASH": (list(means), list(means.values()))})
drawing.numbers_at(axes, means, means.values(), form="{:.2f}")
axes.set_ylim(0, 1.15 * max(means.values()))
drawing.show(
    figure, f"Line plot of bits per byte by the position in a window: {drawing.listed(means)}.".replace("\n", " ")
)
doublings = [by_position[2**i - 1 : 2 ** (i + 1) - 1].mean() for i in range(5, 10)]  # from position 32 on
assert score.bits_per_byte < ngrams[5] and early - middle > 4 * abs(middle - late)
assert np.ptp(doublings) > abs(middle - late)
counted = {row["model"]: row for row in load_stored("ngrams")["rows"]}
whole, window = (
    counted[name]
    for name in ("PPMd, order 8, given the training novels", "the same, learning no more than a window of 1024")
)
assert [round(window[novel] - whole[novel], 2) for novel in ("test", "validation")] == [0.09, 0.15]

# %% [markdown]
# What context beyond the first few dozen bytes adds is less than this sample (32 windows of 1024 bytes) can resolve: the later points go up
# and down by more than that. Whether that is the text or the model cannot be told here, but a compressor that goes on learning through a
# whole novel needs 0.09 to 0.15 bits less than one that sees no more than such a window, so there is something to gain. A better test of
# long memory is a task that needs one (lecture 10).
#
# ## 8. What to remember
#
# Fill in the last column yourself. "Not shown" is a good answer.
#
# | claim | your evidence | your verdict |
# | --- | --- | --- |
# | The plain Transformer is too weak a baseline | section 2: three seeds | |
# | Fewer operations do not mean less time | section 3: count and clock | |
# | A recurrent update trains slowly | section 4: sequential steps, and times | |
# | FLASH reads everything earlier and nothing later | section 5: the Jacobian, and token 9 | |
# | FLASH keeps a state of constant size | the opening: four lengths | |
# | FLASH is faster on long sequences | the opening: attention alone; lecture 08 for the model | |
# | FLASH is as good as Transformer++ | the opening: one pair; lectures 07 and 10 | |
#
# **Three takeaways**
# 1. Compare with the strongest baseline, and put a simple table beside it.
# 2. Count operations, sequential steps and memory traffic; then measure the time.
# 3. FLASH is a gated unit, with pairwise (relu²) attention inside chunks and one state for all earlier chunks.
#
# The letters of this course:
#
# | letter | what it counts |
# | --- | --- |
# | B | sequences in a batch |
# | T | tokens in a sequence |
# | D | channels of a token between layers |
# | E | channels inside a unit, usually 2 D |
# | F | channels inside a feed-forward layer |
# | S | channels by which two tokens are compared |
# | C | tokens in a chunk |
# | G | chunks in a sequence, T / C rounded up |
# | H | attention heads: several in a Transformer, 1 in FLASH |
# | d | channels of one of several heads, D / H |
# | N | tokens in the vocabulary |
#
# **What comes next** (the [README](../README.md) says what each lecture is for)
#
# | lecture | problems |
# | --- | --- |
# | [01 attention](01_attention.ipynb) | [set](../exercises/01_attention.ipynb) |
# | [02 gated attention unit](02_gated_attention_unit.ipynb) | [set](../exercises/02_gated_attention_unit.ipynb) |
# | [03 gau in torch](03_gau_in_torch.ipynb) | [set](../exercises/03_gau_in_torch.ipynb) |
# | [04 linear attention](04_linear_attention.ipynb) | [set](../exercises/04_linear_attention.ipynb) |
# | [05 mixed chunk attention](05_mixed_chunk_attention.ipynb) | [set](../exercises/05_mixed_chunk_attention.ipynb) |
# | [06 flash model](06_flash_model.ipynb) | [set](../exercises/06_flash_model.ipynb) |
# | [07 training](07_training.ipynb) | [set](../exercises/07_training.ipynb) |
# | [08 scaling](08_scaling.ipynb) | [set](../exercises/08_scaling.ipynb) |
# | [09 generation](09_generation.ipynb) | [set](../exercises/09_generation.ipynb) |
# | [10 ablations](10_ablations.ipynb) | [set](../exercises/10_ablations.ipynb) |
# | [11 gpu kernels](11_gpu_kernels.ipynb) | [set](../exercises/11_gpu_kernels.ipynb) |
# | [12 your project](12_your_project.ipynb) |  |
# | [13 after flash](13_after_flash.ipynb) |  |
#
# For a term see the [glossary](../docs/glossary.md), for a problem the [symptoms](../docs/symptoms.md).
