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
# This course is about one paper, *Transformer Quality in Linear Time* by Hua, Dai, Liu and Le (ICML 2022), and about the model it proposes, FLASH. (FLASH shares nothing but its name with FlashAttention, which is a fast kernel for ordinary attention.) The paper promises the quality of a strong Transformer at a cost that grows only in proportion to the length of the text, and it promises that the saving shows up on a real clock. In this tour you watch the promise, take it apart, and see where it holds.
#
# **After it you can**
# - say what attention costs as a text gets longer, in operations, in memory and in waiting;
# - demonstrate on your own machine why cheaper kinds of attention were not simply adopted;
# - draw which token reads which in FLASH, and write its layer in three lines;
# - say what a score in *bits per byte* means.
#
# **You need** Python, a little PyTorch, and a rough idea of what a Transformer is. Section 8 has six questions that tell whether you are ready.
#
# **Time** 28 minutes to read. Computing takes about 40 seconds on two CPU cores.
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
# ## The surprise first
#
# Below, two kinds of attention take the same queries, keys and values, and each does what training asks of it: a forward pass, and a backward pass for the gradients. One is softmax attention, computed by PyTorch's own fused kernel. The other is the attention of FLASH, in a few lines of plain PyTorch. The length of the text doubles from point to point.

# %% tags=["timing"]
import torch

from flash_course import figures
from flash_course.bench.clock import summary, time_in_turn
from flash_tutorial.mixing import mixed_chunk_attention, softmax_attention

device = "cuda" if torch.cuda.is_available() else "cpu"
torch.set_num_threads(1)  # times then depend less on what else your computer is doing


def inputs(T, width=64):
    torch.manual_seed(0)
    return [torch.randn(1, T, width, device=device, requires_grad=True) for _ in range(3)]


def softmax(q, k, v):
    return softmax_attention(q[:, None], k[:, None], v[:, None], causal=True)[:, 0]


def flash(q, k, v):
    return mixed_chunk_attention(q, k, q, k, v, chunk_size=256, causal=True)


def training_step(read, T):
    qkv = inputs(T)
    return lambda: torch.autograd.grad(read(*qkv).square().mean(), qkv)


def milliseconds(functions, rounds=5):
    """The median time of each; they take turns, so that a busy moment hits all of them."""
    seconds = time_in_turn(functions, rounds, device=device)
    return {name: 1000 * summary(each)["median"] for name, each in seconds.items()}


steps = {"softmax attention": softmax, "FLASH": flash}
lines = {name: [] for name in steps}
for T in (512, 1024, 2048, 4096, 8192):
    times = milliseconds({name: training_step(read, T) for name, read in steps.items()}, 3)
    for name, ms in times.items():
        lines[name].append((T, ms))
slow, fast = times.values()
title = f"A training step of attention at T = {T:,}: {slow:,.0f} ms by softmax, {fast:,.0f} ms by FLASH"
panel = {"forward and backward, one sequence": (lines, {})}
figures.show(*figures.cost_against_length(panel, ylabel="milliseconds", title=title))

# %% [markdown]
# Follow the curves to the right: the longer the text, the closer a doubling comes to four times the cost for softmax attention, which has four times as many pairs to compare, and to twice the cost for FLASH. At eight thousand tokens that is no longer a detail; at a hundred thousand it decides whether you train at all.
#
# Speed alone would be easy, though: a layer that ignores the text is faster still. So here is a trained FLASH model, small enough to come with this package, which has read four of Jane Austen's novels. It writes a few lines, and while it writes, look at how much it has to remember.

# %%
from flash_course.bench.counts import count_state_numbers
from flash_tutorial import LanguageModel, ModelConfig, count_parameters
from flash_tutorial.data import ByteTokenizer, load_corpus

corpus, tokenizer = load_corpus("austen"), ByteTokenizer()
model = LanguageModel.from_pretrained("austen-flash").to(device)
prompt = "Anne could not help thinking that "
ids = torch.tensor(tokenizer.encode(prompt), device=device)[None]
generator = torch.Generator(device).manual_seed(0)  # the same draws each time
written = model.generate(ids, 300, temperature=0.8, generator=generator)[0].cpu()
print(prompt + tokenizer.decode(written))

# %% tags=["nbval-check-output"]
import numpy as np

_, state = model.prefill(torch.from_numpy(corpus.validation.tokens[None, :600].astype(np.int64)).to(device))
assert state.numel() == count_state_numbers(model, 600)  # the count is what decoding really keeps
rival = ModelConfig(
    "transformer++", dim=model.config.dim, depth=model.config.depth // 2, heads=3
)  # as many parameters: one of its blocks holds about as many as two FLASH units
print("entries of the state after     FLASH      Transformer++")
for n in (1_024, 10_240, 102_400):
    print(f"{n:13,d} bytes {count_state_numbers(model, n):18,d} {count_state_numbers(rival, n):15,d}")

# %% [markdown]
# A Transformer remembers by keeping the keys and values of every token it has seen, so its memory grows for as long as it writes. FLASH keeps sums of a fixed size, and the few tokens of the *chunk* at hand, a piece of 256 bytes.
#
# How good is that text? A score in *bits per byte* says how surprised a model is by text it has not seen (section 6 explains the unit); lower is better. Beside FLASH stands a Transformer++, the strongest kind of Transformer that the paper compares with.

# %% tags=["nbval-check-output"]
from flash_course.bench.stored import load_stored

long_runs = [row for row in load_stored("shipping")["runs"] if row["steps"] == 7000]
cards = {row["model"]: row for row in sorted(long_runs, key=lambda row: -row["bits_per_byte"])}  # the best of each
for name, row in cards.items():
    print(f"{name:14} {row['parameters']:,} parameters, {row['bits_per_byte']:.2f} bits per byte on a held-out novel")
assert 0 < cards["flash"]["bits_per_byte"] - cards["transformer++"]["bits_per_byte"] < 0.03

# %% [markdown]
# (The held-out text is the first 400,000 bytes of Austen's *Persuasion*.) So in this pair of models the promise of *quality* is nearly kept, and not quite; lecture 07 shows where the difference comes from.
#
# There you have the whole course: a cost that grows like the length, a state that does not grow at all, and a quality that has to be measured rather than promised. Cheap attention had been proposed many times before. Why did everybody stay with the expensive kind? The authors of FLASH raise three complaints. You will now meet each of them on your own machine, and twice you will be asked for a guess first, because a guess that turns out wrong is the one you remember.

# %% [markdown]
# ## 1. The question: what does attention cost?
#
# A text is a sequence of *tokens*; here a token is a byte, that is, a letter. Write T for their number. A model that writes is *causal*: a token may read itself and what came before, never what comes after. So the first token reads one token, the second reads two, and the last one reads all T.

# %% tags=["nbval-check-output"]
for T in (512, 1024, 2048, 4096, 8192):
    pairs = T * (T + 1) // 2
    print(f"T = {T:5d}: {pairs:11,d} pairs of tokens")

# %% [markdown]
# Twice the length gives about four times the pairs. Softmax attention compares each pair, which is what *quadratic cost* means, and by 2022 there were dozens of proposals that avoid it.
#
# ## 2. Complaint one: quality is lost
#
# Many of these proposals were compared with the Transformer of 2017, while the Transformer had moved on. What the paper calls *Transformer++* has two of the improvements that everybody uses by now: it marks positions by rotating queries and keys (RoPE), where the original adds a learned table, and its feed-forward layers multiply one half of their activations by the other half (a gated linear unit). Neither needs more parameters, and lectures 01 and 02 build both.
#
# How much do they bring? Train the two side by side for a minute's worth of updates, on the same batches, and score both on the opening of *Persuasion*, which is held out. Lower is better.

# %%
from flash_tutorial.training import TrainConfig, train

settings = TrainConfig(steps=300, batch=16, length=64, learning_rate=3e-3, warmup=20, eval_bytes=20_000)
runs = {}
for name, F in {"transformer": 256, "transformer++": 176}.items():  # about as many parameters, with a gate or without
    config = ModelConfig(name, dim=64, depth=2, heads=2, ff_dim=F, max_length=64, norm="layer")
    runs[name] = train(config, settings, corpus=corpus, progress=False)
plain, plus = (runs[name].evaluation.bits_per_byte for name in runs)

# %% tags=["nbval-check-output"]
from flash_course.bench.stored import compare_with_stored

compare_with_stored("00", runs)  # made once by benchmarks/scoreboard.py, with the same seed and settings

# %% tags=["nbval-check-output"]
seeds = load_stored("scoreboard")["seeds"]
print("bits per byte        parameters   here   three seeds, stored")
for name, run in runs.items():
    stored = seeds[f"00 {name}"]
    print(
        f"{name:20} {count_parameters(run.model):10,} {run.evaluation.bits_per_byte:6.2f}   {', '.join(f'{b:.2f}' for b in stored)}"
    )
assert max(seeds["00 transformer++"]) < min(seeds["00 transformer"]) - 0.2

# %% [markdown]
# With every seed the newer recipe wins by more than 0.2 bits, and with slightly fewer parameters. So a method that beats the Transformer of 2017 may still lose to the one that people train today, and **the baseline to beat is Transformer++**. The paper insists on it, and this course prints it in every table of quality.
#
# But these are tiny models after 300 updates, at a learning rate chosen from three, so the size of the gap says nothing about large ones.
#
# ## 3. Complaint two: fewer operations, and yet more time
#
# Each token brings three vectors: a *query* that says what it looks for, a *key* by which it is found, and a *value* that is read. Stacked, they are three matrices Q, K and V with one row for each token, where Q and K have S columns and V has E. Softmax attention computes softmax(Q Kᵀ) V, and the T × T matrix inside the brackets is the quadratic cost.
#
# Leave the softmax out, which gives *linear attention*, and the product (Q Kᵀ) V has no reason to be computed from the left. Q (Kᵀ V) is the same matrix, and now the bracket has S × E entries however long the text is. This small matrix is called the *state*. In a causal model token t must not see later tokens, so it needs the state of tokens 1 to t, and there are T different states.

# %% tags=["nbval-check-output"]
T, S, E = 1024, 64, 64
quadratic = 2 * (T * (T + 1) // 2) * (S + E)  # for each pair: S multiply-adds to compare, E to mix
linear = 2 * T * (S * E + S * E)  # for each token: add S x E numbers to the state, read them
print(f"quadratic: {quadratic / 1e6:6.1f} million operations")
print(f"linear:    {linear / 1e6:6.1f} million operations, {quadratic / linear:.1f} times fewer")

# %% [markdown]
# **Your first guess.** The linear form needs eight times fewer operations. How many times as fast as softmax attention will a direct implementation of it be? Write 8 if you expect the operations to decide, and 0.5 if you expect it to take twice as long.

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
rows = dict(zip(time, zip((quadratic, linear), time.values())))
figures.show(
    *figures.operations_and_time(rows),
    table=[("method", "million operations", "ms"), *((n, f"{f / 1e6:.1f}", f"{t:.2f}") for n, (f, t) in rows.items())],
)
reveal("00.a", time["softmax attention"] / time["linear attention, T states"], "times as fast")

# %% [markdown]
# On a laptop the method with an eighth of the operations usually takes several times *longer*. **The misconception is that operations are what takes the time.** This implementation makes all T states, writes them to memory and reads them back, although they have 21 times as many entries as Q, K and V together, and it computes very little with each of them.
#
# A better arrangement of the same arithmetic would not need to store them, and you are about to see one. But the count promises nothing until somebody has found it. Lecture 04 measures what costs the time here.
#
# ## 4. Complaint three: training proceeds token by token
#
# One way to avoid storing T states is to keep a single one and update it for each token, as a recurrent network does. For *writing* this is ideal, because tokens come one at a time anyway. For *training* it is dreadful: the whole text is known, yet each update waits for the one before, and a processor that could do thousands of things at once does T small ones, each after the last.
#
# There is a way between the two. Cut the text into chunks of C tokens and update the state once a chunk: what earlier chunks contributed comes from the state, and what a token reads inside its own chunk is computed for the whole chunk at once, by a C × C matrix.


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
        outputs.append(q_C @ state + inside)  # what earlier chunks left, and its own chunk
        state = state + k_C.mT @ v_C  # one update for C tokens
    return torch.cat(outputs, 1)


# %% tags=["nbval-check-output"]
expected = linear_attention(q, k, v, causal=True)
for read in (token_by_token, chunk_by_chunk):
    assert (read(q, k, v) - expected).norm() < 1e-4 * expected.norm()
print(f"sequential steps for T = {T}: token by token {T}, chunk by chunk {T // C}; the outputs are the same")

# %% tags=["timing"]
forms = {"token by token": token_by_token, "chunk by chunk": chunk_by_chunk, "softmax": softmax, "FLASH": flash}
for name, ms in milliseconds({name: training_step(read, T) for name, read in forms.items()}, 3).items():
    print(f"{name:15} {ms:8.1f} ms for a training step at T = {T}")

# %% [markdown]
# The first two compute the same function with the same number of operations up to a small factor, and yet the many short steps take far longer than the few larger ones. So two of the three complaints have an answer that is not FLASH at all: linear attention in chunks has few operations *and* few sequential steps, and today's linear models are computed in this way.
#
# What remains is the first complaint. A state of S × E entries cannot tell its tokens apart as a softmax can, and quality suffers for it. This is where FLASH comes in.
#
# ## 5. What FLASH answers
#
# Inside a chunk there is a C × C matrix anyway. FLASH puts something better than linear attention there: each token is compared with every earlier token of its chunk by a score of its own, as in ordinary attention. **Mixed chunk attention** is the sum of two parts.
#
# - The *local* part compares pairs inside a chunk, at most C for each token.
# - The *global* part reads all earlier chunks through one state of S × E entries.
#
# Neither C nor the size of the state depends on T, so both costs are proportional to T. Who reads whom, then? Token i reads token j if output i changes when value j does, that is, if an entry of the *Jacobian* is not zero, so it can be measured.


# %%
def reads(mix, T=12):
    """(T, T) bool: which token's value has an influence on which token's output."""
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
    "softmax": everything * figures.DIRECT,
    "local part": local * figures.DIRECT,
    "linear": summed * figures.SUMMED,
    "mixed chunk (FLASH)": local * figures.DIRECT + global_ * figures.SUMMED,
}
figures.show(*figures.who_reads_whom({name: who.numpy() for name, who in patterns.items()}, 4))

# %% tags=["nbval-check-output"]
print(f"pairs read: softmax {everything.sum()}, local part {local.sum()}, global part {global_.sum()}")
assert not (local & global_).any(), "a pair is read in both parts"
assert torch.equal(local | global_, everything), "together they read what softmax attention reads"
assert not torch.triu(everything | summed | local | global_, 1).any(), "a later token is read"

# %% [markdown]
# A square is a pair with a weight of its own; a circle is a token that is read only as part of a sum. FLASH looks sharply at what is near and remembers the rest as a summary.
#
# What does that cost? Move T and C, and watch the picture, the multiply-adds and the sequential steps.

# %%
from flash_course import lab

lab.show(lab.cost(T=1024, C=256))

# %% [markdown]
# **The unit in three lines.** A Transformer alternates two kinds of layer, attention and feed-forward. FLASH has one kind of unit that does both jobs, and two such units take the place of one attention and one feed-forward layer:
#
# ```python
# u, v, z = project(x)         # a gate u and a value v of width E, and a narrow shared base z of width S
# read = u * mix(z, v)         # mix decides who reads whom; the gate decides how much of it is let through
# y = x + read @ W_out         # back to the model's width, added to the input
# ```
#
# Put v in the place of `mix(z, v)`, and what remains is a gated feed-forward layer. All queries and keys are copies of z, each with a scale and an offset of its own, so attention costs next to no parameters. And where a Transformer takes a softmax, the local part takes relu(score)², for reasons that lecture 02 tells.
#
# The next cell runs the three lines with the parts of the package's own unit and compares. Then it does to the unit what you should do to every causal layer that you meet: it changes one token, and it cuts the text off, and nothing earlier may move.

# %% tags=["nbval-check-output"]
from flash_tutorial import FLASH
from flash_tutorial.layers import cos_sin
from flash_tutorial.properties import draw_order_one

unit = FLASH(32, chunk_size=4, qk_dim=16, causal=True).double()
draw_order_one(unit, torch.Generator().manual_seed(0))  # a fresh unit changes x so little that no test sees anything
x = torch.randn(1, 14, 32, generator=torch.Generator().manual_seed(1)).double()  # 1 text, 14 tokens of width 32


def mix(z, v):
    heads = unit.read_heads(z, *cos_sin(z.shape[1], unit.qk_dim, z))  # scale, offset, rotate by the position
    return unit.mix(heads, v, mask=None, segment_ids=None)


with torch.no_grad():
    u, value, z = unit.project(x)
    y = x + unit.out_proj(u * mix(z, value))
    assert torch.equal(y, unit(x))  # the three lines are the unit
    changed = x.clone()
    changed[:, 8] += 10  # Python counts from 0, so this is token 9
    moved = (unit(changed) - y).abs().amax(-1)[0]
    assert max((unit(x[:, :n]) - y[:, :n]).abs().max() for n in range(1, 15)) < 1e-10  # cut anywhere: the same
print("token 9 changed; largest change of the outputs")
print(f"  of tokens 1 to 8:  {moved[:8].max():.1f}")
print(f"  of tokens 9 to 14: {moved[8:].min():.2f} to {moved[8:].max():.2f}")

# %% [markdown]
# ## 6. What a score means: bits per byte
#
# A language model assigns a probability to each possible next byte and pays for the one that comes: probability 1/2 costs one bit, 1/4 costs two, and p costs -log₂ p. The mean is its score. It is also the size to which the text could be compressed with these probabilities, in bits for each byte, which is why a good compressor is a good rival. Whoever knows nothing gives every byte 1/256.

# %% tags=["nbval-check-output"]
text = corpus.validation.tokens[:100_000]  # the first 100,000 bytes of Persuasion


def bits_per_byte(probabilities):
    return float(-np.log2(probabilities).mean())


uniform = bits_per_byte(np.full(len(text), 1 / 256))
print(f"know nothing: {uniform:.2f} bits per byte")

# %% [markdown]
# Next, count how often each byte occurs in the four training novels, adding 1 to each count, because a byte with probability zero would cost infinitely many bits. Tables that also look at the one or at the five bytes before were counted in the same way, with a blend for what was never seen; `benchmarks/ngrams.py` made them, and the cell reads their scores.

# %% tags=["nbval-check-output"]
tables = {
    row["order"]: row["validation, first 100000 bytes"] for row in load_stored("ngrams")["rows"] if "order" in row
}
counts = np.bincount(corpus.train.tokens, minlength=256) + 1
order_0 = bits_per_byte((counts / counts.sum())[text])
assert abs(order_0 - tables[0]) < 0.01  # the stored table of single bytes is yours
print(f"know how often each byte occurs:  {order_0:.2f} bits per byte")
print(f"know the byte before as well:     {tables[1]:.2f} bits per byte")
print(f"know the five bytes before:       {tables[5]:.2f} bits per byte")

# %% [markdown]
# **Misconception: a loss far below where it started means that the model has understood something.** Your Transformer of section 2 came down from 8 bits to about three and a half. How does the table that counts pairs of letters compare?

# %%
print(f"pairs of letters {tables[1]:.2f}, Transformer {plain:.2f}, Transformer++ {plus:.2f}")
assert abs(plain - tables[1]) < 0.4

# %% [markdown]
# The plain Transformer has learned roughly what the table knows.
#
# ## 7. A trained model, scored
#
# **Your second guess.** The model that wrote the lines at the top is far ahead of all these tables, and it may look back to the start of a window of 1024 bytes. If distant context helps, bytes must get cheaper the later they stand in the window. How many bits does a byte cost on average at the first seven places, where there is hardly anything to look back to?

# %%
predict("00.b", None)  # your number in place of None

# %% tags=["nbval-check-output"]
from flash_tutorial.training import evaluate, first_bytes

score = evaluate(model, first_bytes(corpus.validation, 32_768), model.config.max_length)
top = f"{cards['flash']['bits_per_byte']:.2f} over the 400,000 bytes at the top"
print(f"austen-flash: {score.bits_per_byte:.2f} bits per byte over the first {score.n_bytes:,}, {top}")
assert score.bits_per_byte < tables[5]

# %%
early, middle, late = (score.by_position[part].mean() for part in (slice(0, 7), slice(7, 64), slice(64, None)))
reveal("00.b", early, "bits per byte")
title = "A few bytes of context make a byte far cheaper; distant ones add little"
figures.show(*figures.loss_by_position(score.by_position, title=title))
print(f"places 1 to 7: {early:.2f}, 8 to 64: {middle:.2f}, from 65 on: {late:.2f} bits per byte")
assert early - 0.5 > middle and abs(middle - late) < 0.3

# %% [markdown]
# Nearly all of the gain comes from the first handful of bytes, since most of spelling is decided nearby. That is a warning, because a task that can be solved from nearby cannot tell a good long memory from a bad one, so lecture 10 uses a task that cannot.
#
# ## 8. Are you ready for the lectures?
#
# Answer each question on paper, then open the fold. If one was hard, the [refresher](90_refresher.ipynb) (lecture 90) has a section of that name.
#
# **1. Einsum.** `x` has shape (B, T, S) and `w` has shape (S, E). What does `einsum("bts,se->bte", x, w)` compute?
#
# <details><summary>Answer</summary>
#
# The matrix product `x @ w`, of shape (B, T, E). The letter s stands on both sides of the comma and not in the result, so it is summed over.
#
# </details>
#
# **2. Broadcasting.** `a` has shape (4, 1) and `b` has shape (3,). What shape has `a + b`?
#
# <details><summary>Answer</summary>
#
# (4, 3). Shapes are aligned at the right, and a size of 1 is repeated.
#
# </details>
#
# **3. Shapes.** T = 10 tokens are cut into chunks of C = 4. How many chunks G are there, and how many places stay empty?
#
# <details><summary>Answer</summary>
#
# G = 3, since 10 / 4 is rounded up, and 3 × 4 - 10 = 2 places stay empty.
#
# </details>
#
# **4. Floats.** In float32, what is `(1e8 + 1) - 1e8`?
#
# <details><summary>Answer</summary>
#
# 0. Near 100,000,000 the float32 numbers are 8 apart, so adding 1 changes nothing.
#
# </details>
#
# **5. Finite differences.** How can you check a gradient if you can only compute the function f?
#
# <details><summary>Answer</summary>
#
# Compare it with (f(x + h) - f(x - h)) / (2h) for a small h, one coordinate after the other, in float64.
#
# </details>
#
# **6. Nats to bits.** PyTorch reports a cross-entropy of 1.386 for each byte. How many bits per byte is that?
#
# <details><summary>Answer</summary>
#
# 1.386 / ln 2 = 2.00. PyTorch uses the natural logarithm (nats), and one bit is ln 2 = 0.693 nats.
#
# </details>
#
# ## 9. What you take along
#
# Fill in the last column yourself. "Not shown" is a good answer.
#
# | claim | your evidence | your verdict |
# | --- | --- | --- |
# | The plain Transformer is too weak a baseline | section 2: two models, three seeds | |
# | Fewer operations do not mean less time | section 3: count and clock side by side | |
# | A recurrent update trains slowly | section 4: sequential steps, and times | |
# | FLASH reads everything earlier and nothing later | section 5: the Jacobian, and the test with token 9 | |
# | FLASH keeps a state of constant size | the opening: size of the state at three lengths | |
# | FLASH is faster on long texts | the opening: a training step as T doubles | |
# | FLASH is as good as Transformer++ | the opening: one pair of models, nearly; lectures 07 and 10 | |
#
# **Three takeaways**
# 1. Compare with the strongest baseline, and put a simple table beside it.
# 2. Count operations, sequential steps and memory traffic; then measure the time.
# 3. FLASH is a gated unit, with exact attention inside chunks and one state for all earlier chunks.
#
# The letters of this course, for when you meet one and have forgotten it:
#
# | letter | what it counts |
# | --- | --- |
# | B | sequences computed together (batch) |
# | T | tokens in a sequence (length) |
# | D | features of a token between layers (model width) |
# | E | features inside a unit, usually 2 D (expanded width) |
# | S | features by which two tokens are compared (shared width) |
# | C | tokens in a chunk |
# | G | chunks in a sequence, T / C rounded up |
# | H | heads: in FLASH the four copies of z |
# | N | different tokens there are (vocabulary) |
#
# **What comes next**
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
# | [12 your project](12_your_project.ipynb) | from a question to one page, on your own text |  |
# | [13 after flash](13_after_flash.ipynb) | what came after, and how it relates |  |
# | [90 refresher](90_refresher.ipynb) | shapes, einsum, floats, finite differences, bits; optional |  |
#
# Words that you miss are in the [glossary](../docs/glossary.md), troubles and their causes in [symptoms](../docs/symptoms.md).
