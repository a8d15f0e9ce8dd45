# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 12 Your project: a classifier, a unit of your own, several processes
#
# **[Read the finished page](https://github.com/OWNER/REPO/blob/main/notebooks/12_your_project.ipynb)** · **[Work in Colab](https://colab.research.google.com/github/OWNER/REPO/blob/main/notebooks/work/12_your_project.ipynb)**
#
# You can build FLASH. Now you use it. This lecture makes three things with the package, each as small as it can be and whole:
# a classifier of long documents, a mixing layer of your own, and training on several processes.
#
# **After it you can**
# - take features from a trained model, pool them, and train a head on them;
# - name the cheap baseline that such a model must beat, and the split that flatters it;
# - write a unit in ten lines, test it, and train it in the place of FLASH;
# - start training with `torchrun`, and say why the losses are those of one process;
# - start a project that states its guess first and that one command repeats.
#
# **You need** lectures 05 and 06 (FLASH and its model), 07 (training) and 10 (what a comparison can say).
#
# **Time** About 45 minutes to read (an estimate). Computing takes about 50 seconds on two CPU cores (measured after the build).
# GPU: not yet measured.
#
# Text and figures: CC-BY-4.0. Code: MIT.

# %%
import importlib.util
import subprocess
import sys

REPOSITORY, TAG = "OWNER/REPO", "main"  # written by tools/stamp.py
if "google.colab" in sys.modules and importlib.util.find_spec("flash_tutorial") is None:
    if REPOSITORY.startswith("OWNER/"):
        raise RuntimeError("to install flash_tutorial, set REPOSITORY above to its name on GitHub, as in ada/flash")
    source = f"git+https://github.com/{REPOSITORY}@{TAG}"
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", source], check=True)
    importlib.invalidate_caches()

from flash_tutorial.training import describe_device

print(describe_device())

# %% [markdown]
# Two questions from earlier lectures. Answer from memory, then open the fold.
#
# **1.** With three seeds, which factor stands before the standard error of a 95% interval?
#
# <details><summary>Answer</summary>
#
# 4.30, from Student's t with two degrees of freedom. The 1.96 that many remember is for very many seeds.
#
# </details>
#
# **2.** Why do tests of a unit draw its parameters of order one?
#
# <details><summary>Answer</summary>
#
# A fresh unit is almost the identity: what it adds is about 0.00001 of its input. Every fault hides in that.
#
# </details>
#
# The letters as before: B rows of a batch, T tokens, D model width, E = 2 D, C tokens of a chunk.

# %%
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from flash_tutorial import LanguageModel, ModelConfig, check_unit, count_parameters, figures, pool, progress
from flash_tutorial.data import load_corpus
from flash_tutorial.devices import pick_device
from flash_tutorial.progress import predict, reveal


@dataclass
class Preset:
    windows: int  # of 8192 bytes, from each novel
    rows: int  # that go through the model at once
    score_bytes: int


CPU, GPU = Preset(8, 1, 20_000), Preset(32, 8, 100_000)
device = pick_device()
preset = GPU if device.type == "cuda" else CPU
corpus = load_corpus("austen")
print(preset)

# %% [markdown]
# ## 1. Start with a question
#
# A project is a question, a guess, a run that one command repeats, and a table. This command makes a folder with places for all four:
#
# ```
# flash-tutorial new my-project
# ```
#
# Look inside one. It is made in a temporary folder here.

# %% tags=["nbval-check-output"]
import tempfile
from pathlib import Path

from flash_tutorial.new_project import create_project

folder = create_project(Path(tempfile.mkdtemp()) / "my-project")
for path in sorted(folder.iterdir()):
    print(path.name)

# %% [markdown]
# `unit.py` holds a layer and `test_unit.py` its test. `settings.py` names the models, their rates and the seeds.
# `grid.py` runs them all, goes on after a stop, and writes the table into `README.md`.
# `QUESTIONS.md` has twelve questions to start from, and how a project is marked.
#
# `grid.py` does not start before you have written down what you expect. A guess written afterwards is none.

# %% tags=["nbval-check-output"]
import subprocess
import sys

early = subprocess.run([sys.executable, "grid.py"], cwd=folder, capture_output=True, text=True)
print(early.stderr.strip())
print("exit status", early.returncode)

# %% [markdown]
# ## 2. Which novel is it?
#
# The task: a window of 8192 bytes, about four pages. From which of Austen's six novels is it? A guess is right one time in six.
#
# The package has a trained model, `austen-flash`. Its *features* are what its head reads: D numbers for each byte.
# A classifier needs one vector for a text, not one for each byte. So the features are *pooled*.
#
# By hand, with six tokens, D = 2, and the last two tokens padding. Padding must not count:

# %% tags=["nbval-check-output"]
features_BTD = torch.tensor([[[1.0, 2], [3, 2], [5, 2], [3, 6], [9, 9], [9, 9]]])
mask_BT = torch.tensor([[True, True, True, True, False, False]])
by_hand = [(1 + 3 + 5 + 3) / 4, (2 + 2 + 2 + 6) / 4]
print("by hand:", by_hand)
print("pool:   ", pool(features_BTD, mask_BT)[0].tolist())
print("without the mask:", [round(value, 2) for value in pool(features_BTD)[0].tolist()])

# %% [markdown]
# **Your line.** Mean and standard deviation together say more than the mean. Here no token is padding. What stands for the dots?
#
# ```python
# def pooled(x_BTD):
#     return ...               # shape (B, 2 D)
# ```
#
# <details><summary>The line</summary>
#
# `torch.cat([x_BTD.mean(1), x_BTD.std(1)], dim=-1)`
#
# </details>
#
# The windows of a novel are spread over its whole length. Every second one is for training, the others are for the test.
# Two windows never overlap, and none of the test is near the middle of a training window.


# %%
def pooled(x_BTD):
    return torch.cat([x_BTD.mean(1), x_BTD.std(1)], dim=-1)


W, PIECE = 8192, 1024
titles, windows = [], []
for split in (corpus.train, corpus.validation, corpus.test):
    for first, last, title in zip(split.offsets[:-1], split.offsets[1:], split.titles):
        starts = np.linspace(0, last - first - W, preset.windows).astype(int)
        windows.append(np.stack([split.tokens[first + start : first + start + W] for start in starts]))
        titles.append(title)
windows = np.stack(windows).astype(np.int64)  # (6, windows, 8192)
print(f"{windows.shape[0]} novels, {windows.shape[1]} windows of {windows.shape[2]:,} bytes from each")

# %% [markdown]
# The model was trained on windows of 1024 bytes. FLASH has no table of positions that ends there, so it takes 8192 in one go.
# From each piece of 1024 bytes you keep one pooled vector: eight for each window.

# %%
model = LanguageModel.from_pretrained("austen-flash").to(device)
ids = torch.from_numpy(windows).flatten(0, 1)
with torch.no_grad():
    parts = []
    for rows in ids.split(preset.rows):
        x_BTD = model.features(rows.to(device)).cpu()
        parts.append(pooled(x_BTD.unflatten(1, (-1, PIECE)).flatten(0, 1)))
pieces = torch.cat(parts).double()  # (windows of all novels x 8, 2 D)
print(f"{ids.numel():,} bytes read, {tuple(pieces.shape)} numbers kept")

# %% [markdown]
# The head is one linear layer, trained until its loss no longer falls. It sees single pieces.
# A window's answer comes from its eight pieces: their log-probabilities are added. That is the logarithm of a product,
# as if the pieces were independent.

# %%
novels = torch.arange(6).repeat_interleave(preset.windows)  # of each window
in_training = torch.arange(preset.windows).repeat(6) % 2 == 0


def train_head(features, labels, chosen, decay=1e-3):
    """Logits of all rows, from a linear layer that is fitted to the chosen ones."""
    mean, std = features[chosen].mean(0), features[chosen].std(0) + 1e-6
    x = (features - mean) / std * 4 / features.shape[1] ** 0.5
    weight = torch.zeros(x.shape[1], 6, dtype=x.dtype, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight], max_iter=100)

    def loss():
        optimizer.zero_grad()
        value = F.cross_entropy(x[chosen] @ weight, labels[chosen]) + decay * (weight**2).sum()
        value.backward()
        return value

    optimizer.step(loss)
    return (x @ weight).detach()


def accuracies(features):
    """On the windows of the test: of single pieces, and of whole windows by the vote of their pieces."""
    logits = train_head(features, novels.repeat_interleave(W // PIECE), in_training.repeat_interleave(W // PIECE))
    by_window = logits.log_softmax(1).unflatten(0, (-1, W // PIECE))
    piece = (by_window.argmax(2) == novels[:, None])[~in_training].double().mean()
    vote = (by_window.sum(1).argmax(1) == novels)[~in_training].double().mean()
    return float(piece), float(vote)


# %% [markdown]
# **A guess.** Of the windows in the test, what percentage does the head find? Chance is 17.

# %%
my_guess = None  # percent
predict("12.a", my_guess)

# %%
results = {"features of austen-flash": accuracies(pieces)}
reveal("12.a", 100 * results["features of austen-flash"][1], "percent of the windows")

# %% [markdown]
# ## 3. The baseline that needs no model
#
# Before you are proud of a number, ask what the cheapest method gets. Here: count pairs of neighbouring bytes.
# The 500 pairs that are most frequent in the training text give 500 numbers for each piece. No model, no GPU, a second.
#
# The square root keeps frequent pairs from drowning the rare ones.

# %%
text = windows.reshape(-1, PIECE)
counts = np.stack([np.bincount(row[:-1] * 256 + row[1:], minlength=65536) for row in text]).astype(np.float32)
chosen = in_training.repeat_interleave(W // PIECE).numpy()
frequent = np.argsort(-counts[chosen].sum(0), kind="stable")[:500]
pairs = torch.from_numpy(np.sqrt(counts[:, frequent])).double()
results["counts of pairs of bytes"] = accuracies(pairs)
figures.show(*figures.accuracies(results, ("one piece of 1,024 bytes", "a window of 8,192 bytes"), chance=1 / 6,
                                 title="Counting pairs of bytes is a baseline that is hard to beat"))  # fmt: skip

# %% tags=["nbval-check-output"]
model_piece, model_vote = results["features of austen-flash"]
count_piece, count_vote = results["counts of pairs of bytes"]
print("eight pieces know more than one, features:", model_vote > model_piece + 0.1)
print("eight pieces know more than one, counts:  ", count_vote > count_piece + 0.1)
print("features far above chance (0.17):", model_vote > 0.5)
print("counts do at least as well as the features:", count_piece >= model_piece and count_vote >= model_vote)

# %% [markdown]
# So the features work, and a count works as well or better. Had you reported the first number alone, it would have looked like a success.
#
# Why is that so? A guess: names. A piece with many `Em` and `mm` is from *Emma*. Pooling washes single names out, counts keep them.
# The run does not test this. It could: put the same letter in place of every name and count again.
#
# What follows for your project: this task does not need a long context. The last of the twelve questions that names a task
# with one is *pixels as tokens*. Lecture 10's recall task is another.
#
# **Misconception: a random split is a fair split.** Put the pieces into training and test at random, and the score rises.
# Neighbouring pieces share a scene and its names, so the test has been seen in part.

# %% tags=["nbval-check-output"]
labels = novels.repeat_interleave(W // PIECE)
at_random = torch.rand(len(labels), generator=torch.Generator().manual_seed(0)) < 0.5
for name, features, fair in (("features", pieces, model_piece), ("counts", pairs, count_piece)):
    logits = train_head(features, labels, at_random)
    score = float((logits.argmax(1) == labels)[~at_random].double().mean())
    print(f"{name:8} random split: {'higher' if score > fair else 'not higher'} than by windows")

# %% [markdown]
# The same model can be tuned whole instead of read: `flash-tutorial train --start-from austen-flash`.
# A stack without embedding and head takes any features, such as audio or pixels: `Stack(config)`, (B, T, D) to (B, T, D).
#
# ## 4. A unit of your own in ten lines
#
# The course has one idea: gate what was mixed. So a new unit is a new `mix`. Here is the cheapest one:
# each token reads the *mean of all values up to its own*. No queries, no keys.
#
# By hand, causal, with one number for each of six tokens:

# %% tags=["nbval-check-output"]
v = [6, 0, 3, 3, 8, 4]
total = 0
for i, value in enumerate(v, 1):
    total += value
    print(f"token {i}: ({' + '.join(map(str, v[:i]))}) / {i} = {total / i:g}")
print("cumsum / count:", (np.cumsum(v) / np.arange(1, 7)).tolist())

# %% [markdown]
# A unit takes `x (B, T, D)`, a mask of valid tokens, and document ids. It returns the same shape, norm and residual included.


# %%
class MeanUnit(nn.Module):
    """A gate on the mean of the values so far."""

    def __init__(self, dim, *, causal=True):
        super().__init__()
        self.dim, self.causal = dim, causal
        self.norm = nn.LayerNorm(dim)
        self.in_proj, self.out_proj = nn.Linear(dim, 4 * dim), nn.Linear(2 * dim, dim)

    def forward(self, x, mask=None, segment_ids=None):
        u, v = F.silu(self.in_proj(self.norm(x))).chunk(2, dim=-1)
        return x + self.out_proj(u * self.mix(v, mask))

    def mix(self, v, mask):
        valid = v.new_ones(v.shape[:2]) if mask is None else mask.to(v.dtype)
        v = v if mask is None else v.masked_fill(~mask[..., None], 0)
        total, count = (v.cumsum(1), valid.cumsum(1)) if self.causal else (v.sum(1, True), valid.sum(1, True))
        return total / count.clamp(min=1)[..., None]


# %% [markdown]
# Test before you train. `check_unit` draws all parameters of order one and looks for leaks, at prefixes, padding, rows and single steps.
#
# Then plant a fault and see that the test finds it. This one subtracts the mean of *all* tokens from the values first, which seems harmless.

# %% tags=["nbval-check-output"]
print(str(check_unit(MeanUnit(16))).splitlines()[0])


class Centred(MeanUnit):
    def mix(self, v, mask):
        return super().mix(v - v.mean(1, keepdim=True), mask)


try:
    check_unit(Centred(16))
except ValueError as error:
    print(str(error).partition(" of size")[0])

# %% [markdown]
# Now train it, in the place of FLASH, with the settings of your scoreboard. `ModelConfig` takes the class.
# FLASH runs beside it with the same updates, text and seed.
#
# **A second guess.** FLASH reaches about 3.0 bits per byte here, and the table of pairs of letters 3.54. What does the mean reach?

# %%
my_second_guess = None  # bits per byte
predict("12.b", my_second_guess)

# %%
from flash_tutorial.training import TrainConfig, train

torch.set_num_threads(1)
settings = TrainConfig(steps=300, batch=16, length=64, learning_rate=3e-3, warmup=20, eval_bytes=preset.score_bytes)
configs = {
    "mean so far": ModelConfig(MeanUnit, dim=64, depth=4, max_length=64, norm="layer"),
    "FLASH": ModelConfig("flash", dim=64, depth=4, qk_dim=32, chunk_size=16, max_length=64, norm="layer"),
}
runs = {name: train(config, settings, corpus=corpus, progress=False) for name, config in configs.items()}
bits = {name: run.evaluation.bits_per_byte for name, run in runs.items()}
reveal("12.b", bits["mean so far"], "bits per byte")
curves = {name: [row["bits_per_byte"] for row in run.log] for name, run in runs.items()}
figures.show(*figures.loss_curves(curves, title="The mean so far learns, and FLASH learns more"))

# %% tags=["nbval-check-output"]
from flash_tutorial.stored import compare_with_stored

compare_with_stored("12", runs)  # made once by benchmarks/scoreboard.py, with the same seed and settings
for name, run in runs.items():
    print(f"{name:12} {count_parameters(run.model):,} parameters")
print("FLASH better by more than 0.1 bits per byte:", bits["mean so far"] - bits["FLASH"] > 0.1)

# %% tags=["timing"]
for name, run in runs.items():
    seconds = np.diff([row["seconds"] for row in run.log])
    progress.score("12", name, bits_per_byte=bits[name], step_ms=1000 * float(np.median(seconds)))
print(progress.report())

# %% [markdown]
# One seed of a tiny model: the gap is large, so the order is safe to state. Where a gap is small, `grid.py` runs three seeds.
# The parameters differ a little, since the mean needs no base z. A project would match them.
#
# Saving and loading work with a class of your own. Hand it back when you load: no class is imported by its name from a file.

# %% tags=["nbval-check-output"]
runs["mean so far"].model.save_pretrained(folder / "mean")
try:
    LanguageModel.from_pretrained(folder / "mean")
except ValueError as error:
    print(str(error)[:52], "...")
again = LanguageModel.from_pretrained(folder / "mean", architecture=MeanUnit)
same = all(torch.equal(a, b.cpu()) for a, b in zip(again.parameters(), runs["mean so far"].model.parameters()))
print("same weights:", same)

# %% [markdown]
# ## 5. Several processes
#
# Two processes can share a batch: each computes the gradient of its own rows, then they exchange gradients. This is *data parallel* training.
# Every process holds the whole model. `torchrun` starts them, and torch's `DistributedDataParallel` takes the *mean* of their gradients.
#
# **Misconception: the mean of the processes' losses is the loss of the batch.** It is, if all have the same number of targets.
# By hand: one process has losses 2, 2, 2 and the other one has 6, with padding behind it.

# %% tags=["nbval-check-output"]
losses = [[2, 2, 2], [6]]
means = [sum(each) / len(each) for each in losses]
whole = sum(sum(each) for each in losses) / sum(len(each) for each in losses)
shares = [len(each) / sum(map(len, losses)) for each in losses]
print("mean of the means:", sum(means) / 2)
print("mean over all targets:", whole)
print("each mean times its share of the targets:", sum(m * s for m, s in zip(means, shares)))

# %% [markdown]
# So each process weighs its loss with its share of all targets. Then the sum over processes is the loss of the whole batch.
#
# The batch itself is drawn from seed and update alone. Each process draws all of it and takes its own rows.
# So the batch does not depend on how many processes there are, and a run can go on with another number of them.

# %% tags=["nbval-check-output"]
from flash_tutorial.distributed import Group
from flash_tutorial.training import parts as rows_of

small = TrainConfig(steps=4, batch=4, length=64, warmup=0, eval_bytes=0)
((batch, *_),) = rows_of(corpus.train, small, 0, True, "cpu")
for rank in (0, 1):
    ((mine, _, _, share),) = rows_of(corpus.train, small, 0, True, "cpu", Group(rank, 2))
    places = [int((batch == row).all(1).nonzero()) for row in mine]
    print(f"process {rank}: rows {places} of the batch, {share:.0%} of its targets")

# %% [markdown]
# Now for real: the same four updates once in this process, once on two that `torchrun` starts. They are told to use the CPU,
# so that it works on a machine with one card as well. This is the whole script:

# %%
script = """
from flash_tutorial import ModelConfig
from flash_tutorial.training import TrainConfig, train

model = ModelConfig("flash", dim=64, depth=4, qk_dim=32, chunk_size=16, max_length=64, norm="layer")
train(model, TrainConfig(steps=4, batch=4, length=64, warmup=0, eval_bytes=0), out="OUT", device="cpu")
"""
for name, command in {
    "one": [sys.executable],
    "two": [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"],
}.items():
    (folder / f"{name}.py").write_text(script.replace("OUT", name))
    done = subprocess.run([*command, f"{name}.py"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    print(f"{name}: {done.stdout.splitlines()[0].rpartition(')')[2].strip(' ,') or 'one process'}")

# %% tags=["nbval-check-output"]
import csv

logs = {}
for name in ("one", "two"):
    with open(folder / name / "log.csv", newline="") as file:
        logs[name] = [(float(row["loss"]), float(row["gradient_norm"])) for row in csv.DictReader(file)]
for step, (one, two) in enumerate(zip(logs["one"], logs["two"], strict=True), 1):
    print(
        f"update {step}: loss equal {abs(one[0] - two[0]) < 1e-4}, norm of the gradient equal {abs(one[1] - two[1]) < 1e-3}"
    )

# %% [markdown]
# On a machine with several cards the command is
#
# ```
# torchrun --standalone --nproc_per_node 4 -m flash_tutorial.cli train --batch 32
# ```
#
# The batch is that of all processes together. The first of them prints, scores and writes the files. `--resume` works as before.
#
# Is it faster? On two CPU cores hardly: one process with two threads uses both cores already. On several cards it can be;
# that was not measured here.
#
# ## 6. What you take along
#
# | claim | your evidence | your verdict |
# | --- | --- | --- |
# | Features of a language model tell novels apart | section 2: far above chance | |
# | It takes a model to do so | section 3: counts of pairs do as well or better | |
# | A random split measures the same as a split by windows | section 3: both run | |
# | The mean of the values so far is enough to mix tokens | section 4: more than 0.1 bits per byte behind FLASH | |
# | Two processes train the same model as one | section 5: four updates, losses and gradient norms | |
#
# **Three takeaways**
# 1. The cheap baseline first. A model that does not beat a count has not been shown to help.
# 2. A new unit is a new `mix`. Test it with `check_unit` before you train it: a leak looks like a very good model.
# 3. Data parallel training is one batch, cut into rows. Weigh each loss with its share of the targets.
#
# **Exercises** Your project. `flash-tutorial new my-project` makes its folder; `QUESTIONS.md` in it has the questions and the marks.
#
# **Next** Answer the ten questions of `docs/questions.md` once more, and compare with the first time.
