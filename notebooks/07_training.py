# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 07 Training: is FLASH as good, for the same budget?
#
# [With results](07_training.ipynb) · [without, to work in](work/07_training.ipynb) · [problem set 07](../exercises/07_training.ipynb) · [glossary](../docs/glossary.md)
#
# Cheaper attention has a reputation: it saves time and pays with quality. Here FLASH, FLASH-Quad and Transformer++ are
# trained on real text, with the same data, nearly the same number of parameters and the same wall-clock time, so that
# you can see what is paid, and at which bytes.
#
# **After it you can**
# - turn a loss into bits per byte, and say what each number of a training recipe is for;
# - compare models on one budget with seeds, and say what the comparison cannot show;
# - find out why a run got stuck by looking into its attention weights;
# - read the loss by position, and find the chunk borders in it;
# - stop a run and resume it without changing one bit of the result, and say what mixed precision must not round.
#
# **You need** lecture 06: the whole FLASH model, its chunks and its sums. Of lecture 02 you need the two forms of the position bias.
#
# **Time** 44 minutes to read. Computing takes about 50 seconds on two CPU cores.
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
# Two questions from lecture 06. Answer from memory, then open the fold.
#
# **1.** A FLASH model is causal. How many tokens does the last token of a chunk read exactly, and not through a sum?
#
# <details><summary>Answer</summary>
#
# C: all of its chunk, itself included. The first token of a chunk reads one, itself. Everything earlier comes through a sum.
#
# </details>
#
# **2.** Two readings of that sum are possible. Which one is our default?
#
# <details><summary>Answer</summary>
#
# The mean (Code 8 of the paper): the sum over earlier chunks, divided by the number of tokens in them. Equations 7 and 8 have the bare sum.
#
# </details>

# %%
import bz2
import json
import lzma
import math
import shutil
import statistics
import tempfile
import zlib
from dataclasses import dataclass, replace
from importlib import resources
from itertools import pairwise

import numpy as np
import torch

from flash_course import figures, learner
from flash_course.bench.stored import load_stored
from flash_course.learner import predict, reveal
from flash_tutorial import LanguageModel, ModelConfig, count_parameters
from flash_tutorial.data import Split, load_corpus
from flash_tutorial.properties import draw_order_one
from flash_tutorial.training import TrainConfig, draw_batch, evaluate, learning_rate_at, train


@dataclass
class Preset:
    live_updates: int  # of the stored run, trained again here
    windows: int  # of 1024 bytes, on which the shipped models are read byte by byte


CPU, GPU = Preset(51, 30), Preset(51, 100)
preset = GPU if torch.cuda.is_available() else CPU
torch.set_num_threads(1)  # as in the stored runs: another number of threads rounds otherwise
corpus = load_corpus("austen")

# %% [markdown]
# ## Where does FLASH lose?
#
# Two trained models come with the package. They have 1.9 million parameters each and were trained on the same four novels
# for the same number of updates. *Persuasion*, which neither has read, costs the Transformer++ 1.695 bits for each
# byte and FLASH 1.705. A difference of less than one percent looks like a small weakness that is there at every byte.
#
# Is it? This FLASH has chunks of C = 256 bytes. The next cell takes windows of T = 1024 bytes from all over the novel, lets
# both models predict each byte, and sorts the bytes by their place inside the chunk, in groups that double. (The
# first chunk of a window is left out: there, both models have only just begun to read.)
#
# **Your guess.** On average FLASH needs 1.7 bits. How many does it need to predict the byte after the very *first* one of a chunk?

# %%
my_guess = None  # your number here
predict("07.a", my_guess)

# %%
T, C, n = 1024, 256, preset.windows
ends = [0, 1, 2, 4, 8, 16, 32, 64, 128, 256]


@torch.no_grad()
def bits_of_bytes(model, shift=0):
    """Bits of each byte of n windows, spread over the novel and all moved by ``shift`` bytes: (n, T)."""
    stride = (len(corpus.validation.tokens) - 2 * T) // n
    at = shift + stride * np.arange(n)[:, None] + np.arange(T + 1)
    ids = torch.from_numpy(corpus.validation.tokens[at].astype(np.int64))
    loss = torch.nn.functional.cross_entropy
    rows = [loss(model(part[:, :-1]).mT, part[:, 1:], reduction="none") for part in ids.split(4)]
    return torch.cat(rows).double().numpy() / math.log(2)


def by_place(bits_nT):
    """Means over groups of places, over all chunks but the first."""
    in_chunk = bits_nT[:, C:].reshape(-1, C).mean(0)
    return np.array([in_chunk[a:b].mean() for a, b in pairwise(ends)])


names = {"FLASH": "austen-flash", "Transformer++": "austen-transformer++"}
shipped = {name: LanguageModel.from_pretrained(file).eval() for name, file in names.items()}
read = {name: bits_of_bytes(model) for name, model in shipped.items()}
profiles = {name: by_place(bits) for name, bits in read.items()}
figures.show(
    *figures.bits_in_chunk(profiles, ends, title="FLASH loses at the beginning of a chunk, and hardly anywhere else")
)
reveal("07.a", profiles["FLASH"][0], "bits")
assert profiles["FLASH"][0] > profiles["Transformer++"][0] + 1  # it is nearly blind there
assert abs(profiles["FLASH"][-4:] - profiles["Transformer++"][-4:]).mean() < 0.05

# %% [markdown]
# So the weakness is not everywhere. At the first byte of a chunk FLASH is nearly blind: it needs about as many bits as a table
# that knows nothing but the byte before, which is 3.54, as you will see in section 2. A few bytes later it has caught up with
# the Transformer++, and stays beside it to the end of the chunk.
#
# The figure rests on 90 chunks, so its points still move by some hundredths, and those at the left by more. What all bytes of two
# novels say, in quarters of a chunk, is stored with the models:

# %% tags=["nbval-check-output"]
package = resources.files("flash_tutorial")
cards = {name: json.loads((package / "models" / file / "card.json").read_text()) for name, file in names.items()}
for part in ("validation", "test"):
    chunks = {name: np.reshape(card[part]["by_position"], (4, 4)) for name, card in cards.items()}
    gap = chunks["FLASH"] - chunks["Transformer++"]
    quarter, rest = gap[1:, 0].mean(), gap[1:, 1:].mean()
    print(f"{cards['FLASH'][part]['novel']}, FLASH minus Transformer++ in bits per byte:")
    print(
        f"  first chunk {gap[0].mean():+.3f}; later chunks: first quarter {quarter:+.3f}, the other three {rest:+.3f}"
    )
    assert quarter > 0.05 and abs(rest) < 0.01 and gap[0].mean() < 0

# %% [markdown]
# Before the first border FLASH is even a little ahead. Behind it, the first quarter of each chunk is more than 0.05 bits a byte
# behind, and in the other three quarters the two are within a hundredth of each other. These are two models, one seed each, so the small numbers may be luck; the large one repeats
# at every border of two novels.
#
# Section 8 asks why, and proves that the borders are to blame. But before you believe a curve like this one, you want to know
# what the unit means, how such models are trained, and how far two training runs differ by luck alone. So that comes first.
#
# ## 1. From nats to bits per byte
#
# A model gives each possible next byte a probability. Its *loss* is the mean of -ln p of the bytes that really came, in *nats*.
# With log2 in place of ln the same number comes in bits: how many yes-or-no answers the byte costs.
# A nat is 1.44 bits. Here are six bytes whose probabilities you can turn into bits in your head.

# %% tags=["nbval-check-output"]
text, p = b"Anne w", [1 / 4, 1 / 8, 1 / 2, 1 / 2, 1 / 16, 1 / 32]
for byte, chance in zip(text, p):
    print(f"{chr(byte)!r}: p = 1/{1 / chance:.0f}, {math.log2(1 / chance):.0f} bits, {-math.log(chance):.2f} nats")
bits, nats = (-np.mean(log(p)) for log in (np.log2, np.log))
print(f"mean: {bits:.2f} bits per byte, {nats:.2f} nats, and {nats:.2f} / ln 2 = {nats / math.log(2):.2f}")

# %% [markdown]
# Why per *byte*? A model with longer tokens makes fewer predictions, and each is harder, so its loss per token says nothing by
# itself, while the number of bytes in a text is the same for all models. The paper reports *perplexity*, 2 to the power
# of the bits for a token, and does not say what its tokens are. That is why its 15.1 on Wiki-40B (Table 12) cannot be
# compared with any number here.
#
# **Misconception: the score is the mean of the batches' losses.** A long text is read in windows of T bytes, and the last window is
# short. If every window counts the same, the short one counts too much. The symptom: cut the same text in another way, and
# the "score" moves although no prediction changed.

# %% tags=["nbval-check-output"]
bits = np.array([2, 3, 1, 1, 4, 5])
for cut in ([6], [5, 1], [4, 2], [3, 3]):
    windows = np.split(bits, np.cumsum(cut)[:-1])
    means = np.mean([w.mean() for w in windows])
    print(f"windows of {cut}: mean of means {means:.2f}, all bits / all bytes {sum(w.sum() for w in windows) / 6:.2f}")


# %% [markdown]
# **Your line.** `windows` is a list of arrays, one for each window: the probabilities that the model had given to the bytes which
# came. Write the score.


# %%
def score_of_windows(windows):
    return ...  # your line


windows = [np.array([1 / 4, 1 / 8, 1 / 2, 1 / 2]), np.array([1 / 16]), np.array([1 / 32, 1 / 2])]
learner.your_line("07.b", score_of_windows, ((windows,), 17 / 7), ((windows[:2],), 11 / 5))

# %% [markdown]
# <details><summary>The line</summary>
#
# `-np.log2(np.concatenate(windows)).mean()`: first all bytes into one array, then one mean over them.
#
# </details>
#
# The same for a model and documents of any length, beside the package's `evaluate`. The model reads the byte before each target,
# and a zero before the first byte of a document. A fresh model gives nearly 1/256 to every byte, which would hide faults, so
# the parameters here are of order one. The documents have 61, 28 and 5 bytes: with T = 28 they leave two full windows and a
# short one, one full window, and one short window.


# %% tags=["nbval-check-output"]
def score(model, documents, T):
    """Bits per byte: cross-entropy over all bytes of all windows at once."""
    targets, logits = [], []
    for document in documents:
        for start in range(0, len(document), T):
            target = document[start : start + T]
            before = [document[start - 1] if start else 0, *target[:-1]]
            with torch.no_grad():
                logits.append(model(torch.tensor([before]))[0].double())
            targets += target
    return float(torch.nn.functional.cross_entropy(torch.cat(logits), torch.tensor(targets))) / math.log(2)


small_model = LanguageModel(ModelConfig(dim=16, depth=2, qk_dim=8, chunk_size=8, max_length=28))
draw_order_one(small_model, torch.Generator().manual_seed(0))
documents = [bytes(np.random.default_rng(n).integers(97, 123, n).tolist()) for n in (61, 28, 5)]
package_score = evaluate(small_model, Split.from_documents(documents), 28)
assert abs(score(small_model, documents, 28) - package_score.bits_per_byte) < 1e-5
print(f"{package_score.bits_per_byte:.1f} bits per byte over {package_score.n_bytes} bytes, here and in the package")

# %% [markdown]
# ## 2. Landmarks: what has a score to beat?
#
# A number like 1.7 means nothing until something stands beside it. A compressor is a model of text, too, since a byte that it
# expects costs few bits; but it starts from nothing. *N-gram tables* have read the novels, as our models have: such
# a table counts which byte followed which few bytes, and predicts from the counts. (The less often it has seen the last five bytes,
# the more it relies on the last four, and so on: the smoothing is Witten and Bell's.)
#
# All are scored on the first 100,000 bytes of *Persuasion*. The tables took longer than a lecture and are stored.

# %% tags=["nbval-check-output"]
validation = corpus.validation.tokens[:100_000]
raw = validation.tobytes()
compressed = {"zlib": zlib.compress(raw, 9), "bz2": bz2.compress(raw, 9)}
compressed["xz"] = lzma.compress(raw, preset=9 | lzma.PRESET_EXTREME)
counts = np.bincount(corpus.train.tokens, minlength=256) + 1
landmarks = {"nothing known": 8.0, "letter counts": float(-np.log2(counts / counts.sum())[validation].mean())}
landmarks |= {name: 8 * len(data) / len(raw) for name, data in compressed.items()}
stored = {row["model"]: row["validation, first 100000 bytes"] for row in load_stored("ngrams")["rows"]}
assert abs(landmarks["bz2"] - stored["bz2"]) < 0.001  # computed here as it was there
assert abs(landmarks["letter counts"] - stored["Witten-Bell, order 0"]) < 0.001
table = {order: stored[f"Witten-Bell, order {order}"] for order in (1, 2, 3, 5)}
print("computed here:", ", ".join(f"{name} {value:.1f}" for name, value in landmarks.items()))
print("tables, by the bytes that they look back:", ", ".join(f"{order}: {bits:.2f}" for order, bits in table.items()))

# %% [markdown]
# So 2.07 is the mark to remember: a model above it has shown nothing that a table of five bytes could not do. And if a model falls
# far below it after a few updates, suspect a *leak*, which means that it reads the byte it should predict.
#
# ## 3. The recipe, and what each number is for
#
# The paper's Tables 5 and 6 list the settings of training, Tables 7 to 9 the models. It trains 110 million parameters and more, on
# 32.8 billion tokens. We train half a million on four million bytes, so not all numbers can be the same.
#
# | | paper | here | what it is for |
# | --- | --- | --- | --- |
# | batch | 262,144 tokens | 4,096 bytes | a mean over more tokens is a steadier direction |
# | updates | 125,000 | about 1,000 | the budget; an *update* changes all parameters once, by one batch |
# | warm-up | 10,000 updates | 100 updates | the first directions are unreliable, so the rate climbs from near 0 |
# | decay | linear | linear, to 0 | large steps first, small ones to settle |
# | peak rate | 0.0007 for all models | chosen for each, section 5 | the size of a step |
# | AdamW betas | 0.9, 0.999 | the same | how long gradients and their squares are averaged |
# | AdamW eps | 0.000001 | the same | no division by zero; tiny gradients stay tiny |
# | weight decay | 0.01 | 0.01 | pulls weights that nothing needs towards zero |
# | clipping | 0.1, "local" | 1.0 over all | one odd batch must not move the parameters far |
# | dropout | 0 | 0 | would zero activations at random, against overfitting |
#
# The paper does not explain what "local" clipping is; it may mean that each parameter array is clipped by itself. The
# package clips the length of all gradients together: if it is above the limit, all are shortened by the same factor, so
# that the direction stays.
#
# The learning rate schedule is two straight lines. With six updates, a warm-up of two and a peak of 8 you can follow it by eye.


# %% tags=["nbval-check-output"]
def rates(steps, warmup, peak):
    done = np.arange(steps)
    up, down = (done + 1) / max(warmup, 1), (steps - done) / (steps - warmup)
    return peak * np.minimum(np.minimum(up, down), 1)


print("six updates:", *(f"{rate:g}" for rate in rates(6, 2, 8)))
recipe = TrainConfig(steps=1000, learning_rate=1e-2)
ours = rates(recipe.steps, recipe.warmup, recipe.learning_rate)
assert np.allclose(ours, [learning_rate_at(step, recipe) for step in range(1000)])
print(f"our recipe: {(ours > 0.005).sum()} of 1000 updates at more than half the peak, the last one at {ours[-1]:.6f}")

# %% [markdown]
# *AdamW* keeps two running averages for each parameter, m of its gradient g and v of g², and moves by m / (√v + eps) times
# the rate. So a parameter whose gradients are always near 100 moves as far as one whose gradients are always near 0.01: what
# counts is how this gradient compares with the earlier ones. That is also why the warm-up matters, since at first there are no
# earlier ones, and why clipping helps: all gradients times ten changes nothing, but one wild batch does.
#
# **Your line.** The W is for the *decay of weights*: each parameter also shrinks by rate × 0.01 of itself. Both averages start
# at 0 and are too small at first; `m_hat` and `v_hat` are corrected for that, so after one update they are g and g². What is
# the new `p`? One step of PyTorch's optimizer is the judge, with eps = 0.000001.


# %%
def new_p(p, m_hat, v_hat, rate):
    return ...  # your line


def torch_adamw(start, g, rate):  # one step of PyTorch's
    parameter = torch.nn.Parameter(torch.from_numpy(start.copy()))
    optimizer = torch.optim.AdamW([parameter], rate, betas=(0.9, 0.999), eps=1e-6, weight_decay=0.01)
    parameter.grad = torch.from_numpy(g)
    optimizer.step()
    return parameter.detach().numpy()


start, g = np.array([1.0, 100.0, -2.0]), np.array([100.0, 1e-9, 1e-2])
learner.your_line("07.c", new_p, ((start, g, g**2, 0.1), torch_adamw(start, g, 0.1)))

# %% [markdown]
# <details><summary>The line</summary>
#
# `p - rate * (0.01 * p + m_hat / (np.sqrt(v_hat) + 1e-6))`: the decay stands beside the averages, not inside the gradient.
#
# </details>
#
# ## 4. The whole loop, and the package's
#
# Draw a batch, set the rate, compute the loss and its gradient, clip, step: that is all there is to training. A batch depends on
# the *seed* and the number of the update alone, so three models with one seed read the same bytes in the same order. That makes a
# comparison fair, and later it lets us stop a run and go on. The losses of this loop must be those of the package.

# %% tags=["nbval-check-output"]
tiny = ModelConfig(dim=32, depth=2, qk_dim=16, chunk_size=16, max_length=56)
short = TrainConfig(steps=40, batch=8, length=56, learning_rate=3e-2, warmup=10, eval_bytes=0, checkpoint_every=8)


def new_optimizer(model):
    return torch.optim.AdamW(model.parameters(), betas=(0.9, 0.999), eps=1e-6, weight_decay=0.01, fused=True)


def updates(model, optimizer, config, first, last):
    """Updates first + 1 to last of a run; their losses."""
    losses, parameters = [], list(model.parameters())
    for step in range(first, last):
        ids, targets = (torch.from_numpy(a) for a in draw_batch(corpus.train, config, step, causal=True))
        optimizer.param_groups[0]["lr"] = rates(config.steps, config.warmup, config.learning_rate)[step]
        loss = model.loss(ids, targets)
        loss.backward()
        length = math.sqrt(sum(float(p.grad.square().sum()) for p in parameters))
        for p in parameters:
            p.grad *= min(1, config.clip / length)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    return losses


torch.manual_seed(short.seed)
model = LanguageModel(tiny)
mine = updates(model, new_optimizer(model), short, 0, short.steps)
whole = train(tiny, short, corpus=corpus, device="cpu", progress=False)
theirs = [row["loss"] for row in whole.log]
assert np.allclose(mine, theirs, rtol=1e-4)
assert max(row["gradient_norm"] for row in whole.log) > short.clip  # some updates were clipped
print(f"first loss {theirs[0] / math.log(2):.2f} bits, last {theirs[-1] / math.log(2):.1f} bits, as in the package")

# %% [markdown]
# ## 5. One budget for three models
#
# What must be equal in a fair comparison? The text and its order, the number of parameters, and the time, because time is what
# you pay. An update of FLASH-Quad takes longer than one of Transformer++, so it gets fewer of them. All models here
# have width D = 128 and read windows of T = 512 bytes; FLASH has chunks of C = 128.

# %% tags=["nbval-check-output"]
contenders = {
    "FLASH": ModelConfig("flash"),
    "FLASH-Quad": ModelConfig("flash_quad"),
    "Transformer++": ModelConfig("transformer++", depth=2, ff_dim=392),
}
files = {"FLASH": "quality_flash", "FLASH-Quad": "quality_flash_quad", "Transformer++": "quality_transformerpp"}
results = {name: load_stored(file)["runs"] for name, file in files.items()}
budget = load_stored("quality_steps")["steps"]
for name, config in contenders.items():
    parameters = count_parameters(LanguageModel(config))
    assert all(run["parameters"] == parameters for run in results[name])
    print(f"{name:14} {config.depth} layers, {parameters:,} parameters, {budget[config.architecture]} updates")

# %% [markdown]
# The numbers of updates come from timing one update of each model, in turn, again and again; they can be off by some percent, and
# they hold for T = 512.
#
# **One learning rate for all is not fair**, although the paper's Tables 5 and 6 list one for all. Each model has a rate at which
# it learns best, so whoever picks the rate can pick the winner. Here are runs of 300 updates with one seed.

# %%
grids = {
    name: {run["learning_rate"]: run["bits_per_byte"] for run in runs if run["steps"] == 300}
    for name, runs in results.items()
}
finals = {  # the long runs: the full budget, at the rate that has three seeds
    name: [run for run in runs if run["steps"] == budget[contenders[name].architecture]]
    for name, runs in results.items()
}
taken = {name: statistics.mode(run["learning_rate"] for run in runs) for name, runs in finals.items()}
title = "Each model has its own best learning rate (ring: taken for the long runs)"
figures.show(*figures.scores_by_rate(grids, taken=taken, title=title))
for rate in (0.003, 0.01):
    print(f"all at {rate}:", ", ".join(f"{name} {grid[rate]:.2f}" for name, grid in grids.items() if rate in grid))
assert grids["Transformer++"][0.003] < grids["FLASH"][0.003] and grids["FLASH"][0.01] < grids["Transformer++"][0.01]
assert all(taken[name] == min(grid, key=grid.get) for name, grid in grids.items() if name != "FLASH")
assert any(run["learning_rate"] == 0.02 and round(run["bits_per_byte"], 3) == 2.045 for run in finals["FLASH"])

# %% [markdown]
# At 0.003 Transformer++ wins, at 0.01 FLASH does. So each model gets the rate that was best after 300 updates; but for FLASH we
# broke that promise, and you should know it. At its best short-run rate, 0.02, the long run ended at 2.045, so FLASH got
# a *second look* at 0.01, on the same bytes that give all scores here. The other two got none. FLASH was also tried at six
# rates, the others at four. Keep that in mind when you see who wins.
#
# **Train it yourself: the start.** These are the first updates of the stored FLASH run with seed 0: the schedule is that of all
# 1000 updates, only cut short by `stop_at`, and the losses must be the stored ones.

# %%
recipe = TrainConfig(steps=1000, learning_rate=1e-2, seed=0, dtype="float32")
live = train(contenders["FLASH"], recipe, corpus=corpus, stop_at=preset.live_updates, progress=False)
first_run = next(run for run in finals["FLASH"] if run["seed"] == 0 and run["learning_rate"] == taken["FLASH"])
pairs = list(zip([row["loss"] for row in live.log][:: first_run["every"]], first_run["losses"]))
for number, (here, there) in enumerate(pairs):
    print(f"update {1 + number * first_run['every']:2}: loss here {here:.3f}, stored {there:.3f}")
assert all(abs(here - there) < 0.01 * there for here, there in pairs)
assert [row["learning_rate"] for row in live.log] == [learning_rate_at(step, recipe) for step in range(len(live.log))]

# %% [markdown]
# **Your guess.** Each model had the time of 1000 FLASH updates, with three seeds, and was scored on held-out text. What is FLASH's
# mean minus Transformer++'s mean, in bits per byte? Write -0.1 if you expect FLASH to be better by a tenth.

# %%
my_second_guess = None  # your number here
predict("07.d", my_second_guess)

# %%
long_runs = {name: [run for run in runs if run["learning_rate"] == taken[name]] for name, runs in finals.items()}
scores = {name: [run["bits_per_byte"] for run in runs] for name, runs in long_runs.items()}
seconds_for_all = 1000 * load_stored("quality_steps")["seconds_a_step"]["flash"]  # the same for all, by construction


def hundreds(run):
    """Training bits per byte as means over 100 updates or so, and the last update of each mean."""
    n = 100 // run["every"]
    means = np.convolve(run["losses"], np.ones(n) / n, "valid") / math.log(2)
    return run["every"] * np.arange(n - 1, len(run["losses"])) + 1, means


curves = {
    name: [(hundreds(run)[0] * seconds_for_all / run["steps"], hundreds(run)[1], run["bits_per_byte"]) for run in runs]
    for name, runs in sorted(long_runs.items(), key=lambda row: row[0] == "FLASH-Quad")
}
figures.show(*figures.training_of_seeds(
    curves, xlabel="seconds (updates × time of an update)",
    title="FLASH and Transformer++ end side by side; FLASH-Quad depends on the seed",
))  # fmt: skip
reveal("07.d", round(statistics.mean(scores["FLASH"]) - statistics.mean(scores["Transformer++"]), 3), "bits per byte")

# %% [markdown]
# Is that difference real, or luck? Seed 1 of each model read the same bytes in the same order, so look at the differences seed by
# seed, as the grey lines do. A *95% interval* is a range made so that in 19 of 20 such experiments it holds the true mean
# difference. With three values it is the mean ± 4.30 × the standard deviation / √3. (The familiar factor 1.96 is for very
# many values.) It assumes normal differences; those of FLASH-Quad are nothing like it, so it gets no interval.

# %% tags=["nbval-check-output"]
for name, each in scores.items():
    print(f"{name:14} {', '.join(f'{score:.3f}' for score in each)}   mean {statistics.mean(each):.3f}")
differences = np.subtract(scores["FLASH"], scores["Transformer++"])
middle, half = differences.mean(), 4.30 * differences.std(ddof=1) / math.sqrt(3)
print(f"FLASH - Transformer++: {', '.join(f'{d:+.3f}' for d in differences)}; interval {middle:+.3f} ± {half:.3f}")
assert (differences < 0).all() and middle < 0 < middle + half
assert max(scores["FLASH"]) < table[5] > statistics.mean(scores["Transformer++"])  # as section 6 says

# %% [markdown]
# **What you now know.** For the same time at this size, FLASH is as good as Transformer++: it was better with each of the three
# seeds, by 0.027 on the mean, and the interval says that the true difference lies between 0.07 better and 0.02 worse. Whether
# FLASH is really the *better* one these runs do not say, all the less since it had the second look.
#
# From such curves the paper's Figure 1 reads a *speed-up*, which is how much sooner FLASH arrives at the quality where
# Transformer++ ends: 1.2 times at 512 tokens, 4.9 times at 8192. (Figure 5 and Figure 6 draw quality against time for every length, and
# Figure 3 for three sizes at T = 512.) We can ask our curves the same, although only the training loss was logged on the way.

# %% tags=["nbval-check-output"]
speed_ups = []
for flash, other in zip(long_runs["FLASH"], long_runs["Transformer++"]):
    update, bits = hundreds(flash)
    speed_ups.append(1000 / update[bits <= hundreds(other)[1][-1]][0])
print("speed-up of FLASH at T = 512, seeds 0 to 2:", ", ".join(f"{s:.1f}" for s in speed_ups))
assert min(speed_ups) < 1.2 < max(speed_ups)

# %% [markdown]
# The paper's 1.2 lies among them, although the machines have nothing in common.
#
# **The unlucky seed.** FLASH-Quad ends at 2.017 with one seed, as good as any model here, and at 2.693 with another, which is worse
# than a table of three bytes. A mean of such numbers describes none of them. What went wrong?
#
# Its loss never jumps; it just falls too slowly. So look into the attention. A weight is relu²(q · k / T + b), with a position bias
# b for each distance. At the start q · k / T is almost 0, so b decides. If b is negative at every distance, all weights
# are 0 and the unit reads nothing. Worse, relu² is flat there: no gradient reaches q, k or b, and the value and the gate get
# none either, because they are multiplied by that 0. Such a unit is *dead*. The figure shows what share of the weights was
# above zero in each unit during the warm-up (stored, from runs that repeated it).

# %%
maps = load_stored("quality_maps")
opened = {
    f"seed {run['seed']}, scores {score:.2f}": (
        maps["updates"], {f"unit {i + 1}": shares for i, shares in enumerate(zip(*run["positive"]))},
    )
    for run, score in zip(maps["runs"], scores["FLASH-Quad"])
}  # fmt: skip
figures.show(*figures.open_shares(opened, title="FLASH-Quad: a unit that reads nothing (cross) hardly comes back"))

# %% tags=["nbval-check-output"]
ids, targets = (torch.from_numpy(a) for a in draw_batch(corpus.train, TrainConfig(seed=1), 0, causal=True))
for form in ("rotary", "toeplitz"):
    torch.manual_seed(1)
    model = LanguageModel(replace(contenders["FLASH-Quad"], bias=form))
    model.loss(ids, targets).backward()
    for i, unit in enumerate(model.stack.units):
        above, slope = float((unit.bias(512)[-1] > 0).float().mean()), float(unit.in_proj.weight.grad.norm())
        print(f"seed 1, {form:8} bias, unit {i + 1}: above zero at {above:4.0%} of the distances, gradient {slope:.0e}")
        assert form == "toeplitz" or (above > 0) == (slope > 0) == (maps["runs"][1]["positive"][0][i] > 0)
late = [np.mean(run["losses"][190:200]) / math.log(2) for run in long_runs["FLASH-Quad"]]
assert np.allclose(late, (2.39, 2.80, 2.45), atol=0.01)  # the text below says so

# %% [markdown]
# With seed 1, unit 2 is dead from its first moment, and units 1 and 4 come close to it on the way. With seed 2 it is unit 3 that
# dies. With seed 0 all four read, and that is also the order of the scores. Three runs fit this explanation; they do not prove it.
#
# How can a whole bias be negative? From 512 tokens on, the bias has the *rotary* form of lecture 02: two vectors, as wide as a query,
# make the bias of all distances, so one unlucky draw can push all of them below zero. The *Toeplitz* form draws a number for each
# distance, and about half of them are positive, as in the lower lines. At exactly T = 512 the paper's Code 4 can be read either way, so the
# rotary bias here is our reading as much as the paper's design. (FLASH's chunks are shorter than 512 and have the Toeplitz form.)
#
# We tried that cure once: seed 1 with `bias="toeplitz"` and the same recipe. At update 200 all four units were open, and the training
# loss over updates 191 to 200 was 2.32, where the three rotary runs have 2.39, 2.80 and 2.45. So the rotary bias is a
# suspect, and FLASH-Quad itself is not shown to be worse. One seed over 200 updates cannot say more;
# `benchmarks/open_units.py` is the script that asks with three seeds. The paper warms up over 10,000 updates to a rate 14 times
# lower and finds FLASH-Quad better than Transformer++, as section 7 will show.
#
# ## 6. Beside the landmarks
#
# Two and a half minutes of training end at 2.03 and 2.06. The table of five bytes has 2.07, so the small models have only just
# learnt more than short strings, and FLASH-Quad with seed 1 not even as much as a table of three bytes (2.35). The larger models
# at the top of this lecture had an hour and a half each, and went to 1.7.
#
# ## 7. Larger and longer: who leads then, and what is memorised?
#
# Both shipped models read nine times as many bytes as the training novels have: nine *epochs*. A model that sees a text so often can
# memorise it. The sign is a *gap*: the loss on the training text goes on falling, and the loss on held-out text follows less and less.


# %% tags=["nbval-check-output"]
def epochs(updates):
    return updates * 4096 / len(corpus.train.tokens)  # bytes of a batch


def late(run):
    """Training score of a stored run: the mean over its last 50 updates."""
    return np.mean(run["losses"][-50 // run["every"] :]) / math.log(2)


first_300 = next(run for run in results["FLASH"] if run["steps"] == 300 and run["learning_rate"] == 0.01)
rows = [
    (f"FLASH, 0.46 million,\n{epochs(r['steps']):.1f} epochs", late(r), r["bits_per_byte"])
    for r in (first_300, first_run)
]
for name, card in cards.items():
    seen = epochs(card["training"]["train_config"]["steps"])
    both = card["training"]["train_bits_per_byte"], card["validation"]["bits_per_byte"]
    rows.append((f"{name}, 1.9 million,\n{seen:.1f} epochs", *both))
figures.show(*figures.training_gap(rows, title="The more epochs, the wider the gap"))
for name, card in cards.items():
    row = ", ".join(f"{card[part]['novel']} {card[part]['bits_per_byte']:.3f}" for part in ("validation", "test"))
    print(f"{name:14} {card['parameters']:,} parameters: {row}")
lead = [
    cards["FLASH"][part]["bits_per_byte"] - cards["Transformer++"][part]["bits_per_byte"]
    for part in ("validation", "test")
]
assert all(0.005 < gap < 0.025 for gap in lead)  # the text below says so
shipping = json.loads((resources.files("flash_course.bench") / "results" / "shipping.json").read_text())["runs"]
for run in shipping:
    if run["model"] == "flash" and run["steps"] == 7000:
        scores = f"training {run['training_bits_per_byte']:.3f}, held-out {run['bits_per_byte']:.3f}"
        print(f"FLASH with dropout {run['dropout']}: {scores} bits per byte (first 400,000 bytes)")

# %% [markdown]
# **Of the two larger models Transformer++ is the better one**, by one to two hundredths of a bit per byte, with one seed each, the same
# number of updates, and each at its own rate. The two printed runs of FLASH show what memorising costs. Both models began with a dropout
# of 0.1, and FLASH fitted the training text better than Transformer++ and *Persuasion* worse. With twice the dropout it fits the training
# text less well and the novel better, which halves the distance; it is this run that ships. (Whether Transformer++ would gain from more dropout too has not been tried.)
#
# Read the gaps with care. At 0.4 epochs hardly anything can be memorised, and still the gap is 0.15, because *Persuasion* has other names
# and places. And the last two models are larger as well, so these rows cannot tell whether size or epochs widened it.
#
# What did the paper find? These are perplexities from its Table 12, for causal models on Wiki-40B:
#
# | tokens | 512 | 1024 | 2048 | 4096 | 8192 |
# | --- | --- | --- | --- | --- | --- |
# | Transformer++ | 16.835 | 15.943 | 15.489 | 15.282 | 15.254 |
# | FLASH-Quad | 16.633 | 15.879 | 15.305 | 14.955 | 14.998 |
# | FLASH | 16.581 | 15.935 | 15.525 | 15.259 | 15.109 |
#
# FLASH-Quad is better than Transformer++ at every length and FLASH at four of five; on masked text (Table 11) at five and three. With 500
# million parameters on PG-19 (Table 3) both are ahead of it at every length, FLASH by 41.07 against 43.26 at 8192.
# But the largest gap, 16.581 against 16.835, is log2(16.835 / 16.581) = 0.02 bits for a *token*, which is probably several bytes, and
# the paper does not say how far two of its seeds are apart. Ours are 0.02 bits apart for each *byte*. "As good as" is what both
# support.
#
# ## 8. Loss by position: blind behind the border
#
# Back to the opening. Why should a border cost anything? Count the places in the window from 0. The byte at place 255, the last
# of its chunk, reads 256 bytes exactly. The byte at place 256 reads one, itself; the 256 before it come through the sums. A sum
# mixes hundreds of bytes into one state. RoPE leaves a trace of their order in it (lecture 05), but which letters came just now, one
# after the other, cannot be read off.
#
# That is an explanation; is it the right one? Perhaps the text happens to be harder at those places. So move all windows by half a
# chunk, 128 bytes. Each byte keeps its text, but a byte that stood in the middle of a chunk now stands at its beginning. If the
# text is to blame, its cost stays. If the border is, it rises.

# %%
here, moved = read["FLASH"], bits_of_bytes(shipped["FLASH"], shift=C // 2)
before, after = here[:, C // 2 :], moved[:, : T - C // 2]  # the same bytes: (n, T - 128)
place = np.arange(T - C // 2)  # of the moved windows
for name, first in (("middle -> beginning", 0), ("beginning -> middle", C // 2)):
    chosen = (place >= C) & (place % C >= first) & (place % C < first + 4)
    a, b = before[:, chosen].mean(), after[:, chosen].mean()
    print(f"four bytes, {name}: {a:.2f} -> {b:.2f} bits per byte, {chosen.sum() * n} bytes")
    assert b > a + 0.4 if first == 0 else b < a - 0.4

# %% [markdown]
# The same bytes and the same model: it is the border. The cost goes with it, in both directions.
#
# How blind is FLASH there, and what do the sums still save? Two more curves answer that. One is the same model with its sums
# switched off (`global_=False`), which leaves a byte nothing but its own chunk. The other one is no network at all: the n-gram
# table that looks back exactly as many bytes as FLASH can read exactly, on average over the text.

# %%
without_sums = LanguageModel(replace(shipped["FLASH"].config, global_=False)).eval()
without_sums.load_state_dict(shipped["FLASH"].state_dict())
local_only = bits_of_bytes(without_sums)
few = 4  # groups: places 0, 1, 2-3, 4-7
profiles |= {"FLASH, local only (sums switched off)": by_place(local_only)}
tables = dict(zip(range(few), (table[1], table[2], table[3], table[5])))
near = {name: bits[:few] for name, bits in profiles.items()} | {
    "n-gram table of 1, 2, 3, 5 bytes": list(tables.values())
}
title = "At the first bytes of a chunk FLASH is about as good as an n-gram table"
figures.show(*figures.bits_in_chunk(near, ends[: few + 1], title=title))
saved = profiles["FLASH, local only (sums switched off)"] - profiles["FLASH"]
print("bits that the sums save, from the first places to the last:", " ".join(f"{s:+.2f}" for s in saved))
assert (here[:, :C] == local_only[:, :C]).all()  # the first chunk has no sums to lose
assert saved[0] > 0.05 and abs(saved[-1]) < 0.05

# %% [markdown]
# With one byte to read exactly, FLASH guesses about as well as a table that counts pairs of letters. With two it is near the table
# of two, and after eight it is nearly its usual self again. The sums save a tenth or two of a bit in the dark places and
# next to nothing far from the border. So whatever they carry over, it is hardly the word that was cut in two.
#
# Why does the mean over all bytes hide this? Because four bytes of 256 are few. So there are two ways out: a longer chunk has
# fewer borders and costs more time (lecture 08), or the units let a byte look across the border, for example into the
# chunk before. Remember the shape as well: if you ever see a loss that repeats with period C, you know where to look. Lecture 10
# trains models without sums; here they were only switched off.
#
# ## 9. A disconnect survived
#
# A free notebook may stop at any minute. So a run writes *checkpoints* into a folder, here after every 8 updates, and keeps
# the last two. We cut a run of 40 updates after 21, and to imitate a power cut we also remove the checkpoint that a clean stop leaves.

# %% tags=["nbval-check-output"]
folder = Path(tempfile.mkdtemp()) / "run"
train(tiny, short, corpus=corpus, out=folder, stop_at=21, device="cpu", progress=False)
shutil.rmtree(folder / "step_000021")
print("left:", sorted(path.name for path in folder.iterdir()))
print("in it:", sorted(path.name for path in (folder / "step_000016").iterdir()))
saved = folder.parent / "saved"
shutil.copytree(folder / "step_000016", saved)  # for later
resumed = train(tiny, short, corpus=corpus, out=folder, resume=True, device="cpu", progress=False)
never_stopped = whole.model.state_dict()
off = max(float((a - never_stopped[name]).abs().max()) for name, a in resumed.model.state_dict().items())
print(
    f"after 40 updates the {len(never_stopped)} arrays of weights differ from those of the whole run by at most {off:g}"
)
assert [row["loss"] for row in resumed.log] == theirs

# %% [markdown]
# Not by rounding, but by nothing. Updates 17 to 21 were done twice and read the same batches again, because a batch follows from
# the seed and the number of the update.
#
# **Misconception: the weights are the state of a run.** AdamW's averages m and v belong to it, and so does the number of updates. The
# symptom: take the weights alone and go on. The first loss is right, and from then on the run is another one.

# %% tags=["nbval-check-output"]
from flash_tutorial.runs.checkpoints import load_optimizer

for name in ("weights and averages", "weights alone"):
    model = LanguageModel.from_pretrained(saved).train()
    optimizer = new_optimizer(model)
    if name == "weights and averages":
        load_optimizer(saved, model, optimizer)
    wrong = np.array(updates(model, optimizer, short, 16, 40)) - theirs[16:]
    print(f"{name}: the loss is off by {abs(wrong[0]):.1f} nats at once, by {abs(wrong[1]):.1f} one update later")

# %% [markdown]
# (A machine can also die *while* a checkpoint is written, so each gets a hidden name first and is renamed when it is complete.)
#
# ## 10. Mixed precision
#
# A GPU multiplies matrices several times faster in 16 bits than in 32. Two formats of 16 bits are common: *float16* has finer steps,
# *bfloat16* has the range of float32. Take a weight of 1 and an update of 0.001. In bfloat16 nothing happens, again and again,
# because the next smaller number is too far away. So *mixed* precision keeps weights, averages and sums in float32, and only
# matrix products get copies in 16 bits. `torch.autocast` picks the format of each operation; here is what it picks in our tiny
# model (a *hook* notes it, as in lecture 03), and what 40 updates of training make of it.

# %% tags=["nbval-check-output"]
for dtype in (torch.float32, torch.bfloat16, torch.float16):
    info, after = torch.finfo(dtype), float(torch.tensor(1.0, dtype=dtype) - 0.001)
    print(
        f"{str(dtype)[6:]:9} largest {info.max:.0e}, smallest with all digits {info.smallest_normal:.0e}, 1 - 0.001 = {after:.4f}"
    )
formats = {}
torch.manual_seed(0)
model = LanguageModel(tiny)
for name in ("stack.units.0.norm", "stack.units.0.in_proj", "stack.units.0.out_proj", "stack.units.0", "head"):
    model.get_submodule(name).register_forward_hook(
        lambda module, inputs, output, name=name: formats.update({name: str(output.dtype)[6:]})
    )
ids, targets = (torch.from_numpy(a) for a in draw_batch(corpus.train, short, 0, causal=True))
with torch.autocast("cpu", torch.bfloat16):
    loss = model.loss(ids, targets)
loss.backward()
formats |= {"loss": str(loss.dtype)[6:], "gradients": ", ".join({str(p.grad.dtype)[6:] for p in model.parameters()})}
for name, dtype in formats.items():
    print(f"{name:24} {dtype}")
in_half = train(tiny, replace(short, dtype="bfloat16"), corpus=corpus, progress=False, device="cpu")
difference = np.abs(np.array([row["loss"] for row in in_half.log]) / np.array(theirs) - 1)
assert 0 < difference.max() < 0.02  # it rounds, and learns the same

# %% [markdown]
# Norm, residual stream (the unit's output) and loss stay in float32; inside the unit, FLASH keeps the sums over chunks in
# float32 as well. With that, all 40 losses are within 2% of those in float32, and a longer test agrees: over 1700 updates bfloat16 cost
# 0.008 bits per byte on the mean of three seeds, less than the seeds differ among themselves (`docs/predictions.md`).
#
# **Float16 needs one thing more.** Many gradients are smaller than its smallest number, so they lose digits or become 0. The cure is
# to multiply the loss by a large number, 65536 at first; all gradients grow with it and are divided again before the step. A
# *scaler* does this, and if a gradient overflows it skips the update and halves its number. Here are real gradients of our tiny
# model, rounded to float16 both ways.

# %% tags=["nbval-check-output"]
model.zero_grad()
model.load_state_dict(never_stopped)
model.loss(ids, targets).backward()
gradients = torch.cat([p.grad.flatten() for p in model.parameters()])
gradients = gradients[gradients != 0]
for scale in (1, 65536):
    scaled = (gradients * scale).abs()
    lost, short_of = ((part(scaled)).float().mean() for part in (lambda s: s.half() == 0, lambda s: s < 6.1e-5))
    print(
        f"loss x {scale:5}: {lost:.0%} of the gradients become 0, {short_of:.0%} lose digits, largest {scaled.max():.0e}"
    )

# %% [markdown]
# The package takes float16 on a T4, bfloat16 from the A100 on and float32 elsewhere (`pick_dtype`). With a scaler the order in an
# update matters: multiply the loss, gradient, divide, clip, step. Problem set 07 lets you find out what a wrong
# order does.
#
# ## 11. What you take along
#
# Fill in the last column yourself; `learner.verdict("07 quality", "...")` stores a verdict, and `flash-tutorial report` prints them all.
#
# | claim | your evidence | your verdict |
# | --- | --- | --- |
# | FLASH loses no quality against Transformer++ in the same time | section 5: three seeds at 0.46 million parameters; section 7: one seed at 1.9 million | |
# | FLASH-Quad is at least as good as FLASH | section 5: three seeds, dead units in two; the paper's Tables 11 and 12 | |
# | The comparison is fair | section 5: rates by one seed, but FLASH had a second look | |
# | The models learn more than short strings | sections 2 and 6: the table of five bytes has 2.07 | |
# | Context is lost at chunk borders | the opening and section 8: the same bytes, with moved windows | |
# | A stopped run ends as if it had not stopped | section 9: bit by bit, on one machine | |
# | Bfloat16 learns as well as float32 | section 10: 40 updates of a tiny model, three seeds in a stored test | |
#
# **Three takeaways**
# 1. For the same time FLASH is as good as Transformer++ at T = 512, within a few hundredths of a bit; of two larger models it is 0.01 to 0.02 behind.
# 2. What FLASH loses, it loses behind chunk borders: at the first byte of a chunk it is hardly better than a table of letter pairs.
# 3. Compare with the same text, the same time, a rate of its own for each and several seeds; then look into the odd run, because it teaches more than the mean.
#
# **Exercises** [Problem set 07](../exercises/07_training.ipynb), seven tasks: bits, rates, one update in float16, checkpoints, and curves that you diagnose.
#
# **Next** [Lecture 08](08_scaling.ipynb) measures time, memory and operations against length, and asks where the curves cross.
