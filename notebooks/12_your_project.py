# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 12 Your project: from a question to one page
#
# [With results](12_your_project.ipynb) · [without, to work in](work/12_work_your_project.ipynb) · [glossary](../docs/glossary.md) · [what you can bring along](../docs/projects.md)
#
# Everything so far was somebody else's question. Here you take a small project of your own from a guess to a page that you can hand in, and the FLASH
# that you built goes along.
#
# **After this lecture you can**
# - begin a project with a question and a prediction, and have a command that repeats it;
# - bring a text of your own, and measure what fine-tuning adds to the simplest baseline;
# - test whether a model uses its long context, and say what follows if it does not;
# - write a unit in fifteen lines, test it before you train it, and put it in the place of FLASH, or your own FLASH;
# - write the page: claim, evidence, and what was not shown.
#
# **You need** lecture 06 (the model), lecture 07 (training and seeds), and lecture 10 for how a comparison becomes fair.
#
# **Time** 21 minutes to read, about 15 more to build. Running the code takes about 30 seconds on two CPU cores.
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
# Two questions from earlier lectures.
#
# **1.** What is the worth of a recall task that every model solves?
#
# <details><summary>Answer</summary>
#
# Nothing: it tells no model from another. In lecture 10 the local part alone stayed at chance, and that is what made the task a test.
#
# </details>
#
# **2.** A mean over a padded sequence sets the values of padding to zero. Why is that not enough?
#
# <details><summary>Answer</summary>
#
# The divisor must count valid tokens only. Otherwise padding makes every mean smaller, although none of its values is read.
#
# </details>

# %%
import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from flash_course import drawing, learner, mine, side_by_side
from flash_course.bench.stored import compare_with_stored, load_stored
from flash_course.learner import predict, reveal
from flash_tutorial import LanguageModel, ModelConfig, check_unit, count_parameters
from flash_tutorial.corpora import load_corpus
from flash_tutorial.training.devices import pick_device
from flash_tutorial.training import TrainConfig, evaluate, first_bytes, train

device = pick_device()
torch.set_num_threads(1)
UPDATES = 40 if device.type == "cpu" else 300  # of fine-tuning, each of one window
WINDOW = 512  # bytes

# %% [markdown]
# ## 1. Start with a question
#
# A project is a question, a guess, runs that one command repeats, and a table. `flash-tutorial new my-project` makes a folder with a place for each
# of them. Here one is made in a temporary folder, and its grid is run at once.

# %% tags=["nbval-check-output"]
import tempfile
from pathlib import Path

from flash_course.new_project import create_project

folder = create_project(Path(tempfile.mkdtemp()) / "my-project")
print(*(path.name for path in sorted(folder.iterdir())), sep=", ")
early = subprocess.run([sys.executable, "grid.py"], cwd=folder, capture_output=True, text=True)
print(f"grid.py ends with {early.returncode}:", early.stderr.strip())

# %% [markdown]
# `unit.py` holds a layer and `test_unit.py` its test; `settings.py` names the models, their learning rates, the seeds and the budget
# of a run: updates, seconds or FLOPs. `python grid.py` runs all of it, and goes on where it was interrupted; `python grid.py table` then writes the
# table into `README.md`, with the differences and their intervals.
#
# Here `grid.py` refuses, and not out of pedantry: once you have seen a result you cannot remember honestly what you expected. Write the guess
# down, commit it, then run.
#
# The question of this lecture: **does having read novels help a model to read something else altogether?**
#
# ## 2. A text of your own, and a model that has never seen one like it
#
# Any UTF-8 file will do: your notes, a language that is not English, source code, chess games. Put its path below. Without one, the text is the
# source code of this course, which looks little like Jane Austen.

# %%
my_text = None  # the path of a UTF-8 file; in Colab, upload one to the files on the left

if my_text is None:
    from importlib.resources import files

    packages = map(files, ["flash_tutorial", "flash_course"])
    sources = sorted((path for package in packages for path in package.rglob("*.py")), key=str)
    my_text = folder / "code.txt"
    my_text.write_text("\0".join(path.read_text(encoding="utf-8") for path in sources), encoding="utf-8")
text = load_corpus(my_text)  # a NUL separates documents: the last 5% of them are the test, the 5% before the validation
print(f"training {text.train.n_bytes:,} bytes, validation {text.validation.n_bytes:,}, test {text.test.n_bytes:,}")

# %% [markdown]
# Before any neural network, the cheapest baseline: a bigram model, which counts in the training text which byte follows which, as in
# lecture 00.


# %%
def bigram_bits(tokens, held):
    """Bits per byte on ``held`` of counts over ``tokens``; a pair that never came falls back on how often its byte did."""
    counts = np.zeros((256, 256))
    np.add.at(counts, (tokens[:-1], tokens[1:]), 1)
    order_0 = (np.bincount(tokens, minlength=256) + 1) / (len(tokens) + 256)
    seen, kinds = counts.sum(1, keepdims=True), (counts > 0).sum(1, keepdims=True)
    order_1 = np.where(seen > 0, (counts + kinds * order_0) / np.maximum(seen + kinds, 1), order_0)
    return float(-np.log2(order_1[held[:-1], held[1:]]).mean())


held_out = first_bytes(text.validation, 10_000)
bits = {"bigram model": bigram_bits(text.train.tokens, held_out.tokens)}
novelist = LanguageModel.from_pretrained("austen-flash").to(device)
bits["austen-flash, untouched"] = evaluate(novelist, held_out, WINDOW).bits_per_byte
print(*(f"{name:26} {b:.2f} bits per byte" for name, b in bits.items()), sep="\n")

# %% [markdown]
# A model that has read novels alone is far worse on the course's own code than a table of pairs. Let it go on learning: `train` accepts a trained model like a
# configuration. A model of the same configuration is trained from scratch, for as many updates on the same windows.
#
# **A guess.** You have just seen what the bigram model needs. After 40 updates of 512 bytes (300 on a GPU), how many bits per byte does the
# fine-tuned model need?

# %%
predict("12.a", None)  # bits per byte, in place of None


# %%
def settings(rate):
    return TrainConfig(
        steps=UPDATES, batch=1, length=WINDOW, learning_rate=rate, warmup=10, eval_bytes=held_out.n_bytes
    )


tuned = train(novelist, settings(3e-3), corpus=text, device=device, progress=False)
scratch = train(novelist.config, settings(5e-3), corpus=text, device=device, progress=False)
bits["from scratch"] = scratch.evaluation.bits_per_byte
bits["austen-flash, fine-tuned"] = tuned.evaluation.bits_per_byte

# %%
reveal("12.a", round(bits["austen-flash, fine-tuned"], 2), "bits per byte")
best = "austen-flash, fine-tuned"
title = f"After {UPDATES} updates: fine-tuned {bits[best]:.2f}, bigram model {bits['bigram model']:.2f} bits per byte"
figure, axes = drawing.new_axes(6.4, 3.0, "bits per byte (lower is better)", title=title)
ladder = dict(sorted(bits.items(), key=lambda item: -item[1]))
drawing.bars(axes, ladder, colours="lightgrey", form="{:.2f}")
marked = axes.patches[list(ladder).index(best)]
marked.set(facecolor=drawing.BLUE, hatch="//")
drawing.show(figure, f"Bars of bits per byte: {drawing.listed(ladder, '{:.2f}')}.")

# %% [markdown]
# On the course's own code the fine-tuned model is ahead of the bigram model and of the model that started from nothing.
#
# Is that a result? Not yet: there is one seed, and no search found the two rates. Each needs its own best rate, and three seeds. Your project's folder does both. In its `settings.py` import `Trained` from
# `flash_tutorial.experiments`. Let `MODELS` hold `"tuned": "austen-flash"` and `"scratch": Trained("austen-flash").config`, which is the same model
# before its first update. Give both names a list of rates in `RATES`, and add your text, `corpus="my_text.txt"`, to what stands in `TRAIN`.
#
# ## 3. A long-context task: does it remember a name?
#
# The shipped models read windows of 1024 bytes, and FLASH keeps a state of everything before. But do they *use* it? Take a page of *Persuasion*,
# have somebody speak of a certain Mr. Quorne, whom Jane Austen never met, and some way further on let the text say "And Mr. Q". A reader who remembers
# goes on with "uorne". One who does not has to spell an unknown word.
#
# A test that finds no memory is worth something only if it would find one. So the same windows also go to a *positive control*, a copier: it looks for the
# last four bytes earlier in the window and bets on what followed.
#
# **A second guess.** Six such names are tried, each on a page of its own. Where the name was never mentioned, each letter after its first costs
# austen-flash six and a half bits; a blind guess among 256 bytes costs eight. If the name was mentioned 50 bytes ago, well inside the local part, how
# many bits does such a letter cost?

# %%
predict("12.b", None)  # bits for each letter, in place of None

# %%
corpus = load_corpus("austen")
pages = corpus.validation.tokens.tobytes().decode()
NAMES, T = ("Quorne", "Vexley", "Orwick", "Zelbyn", "Upshaw", "Jaspet"), 1024


def window(name, distance, page):
    """T bytes that end in the name, which begins ``distance`` bytes after it began in an earlier mention, or has none."""
    said, after, ask = f'\n"I was speaking of Mr. {name}', '," said she.\n', '\n"And Mr. '
    if not distance:
        said = after = ""
    body = pages[20_000 + 30_000 * page :][: T - len(said + after + ask + name)]
    cut = len(body) - (distance - len(name + after + ask) if distance else 0)
    return list((body[:cut] + said + after + body[cut:] + ask + name).encode()[:T])


def bits_of_a_letter(model, distance):
    """For each name, on a page of its own, the mean over its letters after the first one."""
    ids = torch.tensor([window(name, distance, page) for page, name in enumerate(NAMES)], device=device)
    with torch.no_grad():
        spelled = model(ids[:, :-1]).log_softmax(-1).gather(-1, ids[:, 1:, None])[:, -5:]
    return -spelled.mean((1, 2)).cpu().numpy() / math.log(2)


# %%
def copier(ids):
    """Logits (B, T, 256): a bet on what followed the last four bytes when they stood earlier, else nothing."""
    logits = torch.zeros(*ids.shape, 256, device=device)
    for row, text in enumerate(map(bytes, ids.tolist())):
        for t in range(len(text) - 5, len(text)):
            if (found := text.rfind(text[t - 3 : t + 1], 0, t)) >= 0:
                logits[row, t, text[found + 4]] = 8
    return logits


shipped = ("austen-flash", "austen-transformer++")
models = {name: LanguageModel.from_pretrained(name).to(device) for name in shipped} | {"the copier": copier}
memory = {name: {far: bits_of_a_letter(model, far) for far in (None, 600, 50)} for name, model in models.items()}

# %% tags=["nbval-check-output"]
reveal("12.b", round(memory["austen-flash"][50].mean(), 1), "bits a letter")
rows = [("bits a letter", "never mentioned", "600 bytes ago", "50 bytes ago")]
rows += [(name, *(f"{b.mean():.1f}" for b in by.values())) for name, by in memory.items()]
print(drawing.text_table(rows))

# %% [markdown]
# **Misconception: a long window is a long memory.** The copier shows that the test can see one: after a mention it pays next to nothing. Neither model
# copies the new name, not even over fifty bytes, and not even the Transformer, which has every one of those bytes in its cache. A window is what a model
# is *allowed* to read. A Transformer that copies a word does so with two cooperating heads in different layers, the second of which is called an
# *induction head* ([Olsson et al., 2022](https://arxiv.org/abs/2209.11895)), and on four novels these models learned nothing of the kind.
#
# To remember *which* of the familiar names was spoken of is another matter. Lecture 10 changes every earlier mention of a character of *Persuasion* into
# another one's name, and counts how much dearer the name then becomes.

# %% tags=["nbval-check-output"]
table = [("bits of a whole name that a mention saves", "0 to 256 bytes back", "256 to 512", "512 to 1024")]
for run in load_stored("mentions")["runs"]:
    table.append((run["model"], *(f"{round(bits, 1) + 0.0:.1f}" for bits, *_ in run["saved_by_mention"].values())))
print(drawing.text_table(table))

# %% [markdown]
# FLASH remembers a little of who was spoken of, beyond its chunk too, and at all three distances zero lies outside the interval ([mentions](../docs/results.md#mentions)).
# Transformer++ shows no sign of it. So memory is not one thing, and a test of one kind says
# nothing about another.
#
# If your project asks about long memory, take a task that cannot be solved without it, such as lecture 10's, or a model and a text large enough to
# pass this test first.
#
# ## 4. A unit of your own in fifteen lines
#
# All units of this course gate what was mixed, so a new unit is a new `mix`. The cheapest one that can claim to read the past is a running mean: each token
# reads the mean of all values up to its own, without queries or keys. By hand, for six tokens with a single feature:

# %% tags=["nbval-check-output"]
v = [6, 0, 3, 3, 8, 4]
for i in range(1, 7):
    print(f"token {i}: ({' + '.join(map(str, v[:i]))}) / {i} = {sum(v[:i]) / i:g}")

# %% [markdown]
# **Build it** for a batch. Padding, where the mask is False, is neither added nor counted, and before the first valid token the mean is 0. A unit that
# reads both sides takes the mean of all valid tokens. `v.masked_fill(~mask[..., None], 0)` puts zeros where padding stands.


# %%
def running_mean(v, mask=None, causal=True):
    """Mean of the values so far, or of all: v (B, T, E), mask (B, T) of bools or None -> (B, T, E) or (B, 1, E)."""
    # BUILD
    valid = v.new_ones(v.shape[:2])
    if mask is not None:
        valid = mask.to(v.dtype)
        v = v.masked_fill(~mask[..., None], 0)
    if causal:
        total, count = v.cumsum(1), valid.cumsum(1)
    else:
        total, count = v.sum(1, keepdim=True), valid.sum(1, keepdim=True)
    return total / count.clamp(min=1)[..., None]
    # END


running_mean = mine.check(running_mean)

# %% [markdown]
# A unit takes `x (B, T, D)`, a mask of valid tokens and document ids, and returns the same shape, with norm and residual inside. This one ignores
# document ids, so documents must not share a sequence.


# %%
class MeanUnit(nn.Module):
    """A gate on the mean of the values so far. Document ids are ignored."""

    def __init__(self, dim, *, causal=True):
        super().__init__()
        self.dim, self.causal = dim, causal
        self.norm = nn.LayerNorm(dim)
        self.in_proj, self.out_proj = nn.Linear(dim, 4 * dim), nn.Linear(2 * dim, dim)

    def forward(self, x, mask=None, segment_ids=None):
        u, v = F.silu(self.in_proj(self.norm(x))).chunk(2, dim=-1)
        return x + self.out_proj(u * self.mix(v, mask))

    def mix(self, v, mask):
        return running_mean(v, mask, self.causal)


# %% [markdown]
# Test it before you train it. `check_unit` draws all parameters of order one and looks for leaks; it tests prefixes, padding, the
# independence of sequences in a batch, and single steps. To see that the test has teeth, plant a fault: this variant subtracts from the
# values their mean over *all* tokens first. It looks harmless, but that mean holds the future.

# %% tags=["nbval-check-output"]
print(str(check_unit(MeanUnit(16))).splitlines()[0])


class Centred(MeanUnit):
    def mix(self, v, mask):
        return super().mix(v - v.mean(1, keepdim=True), mask)


try:
    check_unit(Centred(16))
except ValueError as error:
    print(str(error).partition(" of size")[0].replace("; ", ";\n  "))

# %% [markdown]
# A leak looks like a very good model, right until it has to write. Now train the honest one with the settings of your scoreboard; `ModelConfig` takes
# the class. FLASH with the same updates, text and seeds is stored (lecture 06).

# %%
board = TrainConfig(steps=300, batch=16, length=64, learning_rate=3e-3, warmup=20, eval_bytes=20_000)
mean_config = ModelConfig(
    MeanUnit, dim=64, depth=4, max_length=64, norm="layer", start="paper"
)  # as in the stored runs
runs = {"mean so far": train(mean_config, board, corpus=corpus, progress=False)}
run, stored = runs["mean so far"], load_stored("scoreboard")

# %% tags=["nbval-check-output"]
compare_with_stored("12", runs)  # made once by experiments/scoreboard.py, with the same seed and settings
baselines = {"mean so far": "12 mean so far", "FLASH": "05 FLASH, C = 16", "Transformer++": "00 transformer++"}
seeds = {name: stored["seeds"][key] for name, key in (baselines | {"Transformer": "00 transformer"}).items()}
for name, each in seeds.items():
    print(f"{name:14} bits per byte, three seeds: {', '.join(f'{b:.2f}' for b in each)}")
bigram = bigram_bits(corpus.train.tokens, first_bytes(corpus.validation, board.eval_bytes).tokens)
print(f"bigram model   bits per byte: {bigram:.2f}")

# %%
seconds = np.diff([row["seconds"] for row in run.log])
learner.score("12", "mean so far", bits_per_byte=run.evaluation.bits_per_byte, step_ms=1000 * float(np.median(seconds)))

# %% [markdown]
# The running mean is a little ahead of the bigram model, level with the plain Transformer of lecture 01, and far behind FLASH. It weighs the last byte
# and one far back alike.
#
# ## 5. Your FLASH goes along
#
# Now the unit of lecture 06: your own, or the course's if your file has none. A project wants a unit that is called by name, `unit(x, mask=...,
# segment_ids=...)`, and built as `MyUnit(dim, causal=True)`. So wrap it. It may ignore the mask as long as padding stands at the end, because your FLASH never
# looks ahead. Test it before you train it.

# %% tags=["nbval-check-output"]
MyFLASH = mine.use("FLASH")


class MyUnit(nn.Module):
    """The reader's FLASH as a project wants it. Document ids are ignored."""

    def __init__(self, dim, *, causal=True):
        super().__init__()
        self.dim, self.causal = dim, causal
        self.flash = MyFLASH(dim, 32, 16)  # D, S, C

    def forward(self, x, mask=None, segment_ids=None):
        return self.flash(x)


print(str(check_unit(MyUnit(16))).splitlines()[0])

# %% [markdown]
# It passes the same tests as the package's units, and so it can go wherever they go: into `ModelConfig`, `train` and `grid.py` of your folder. Here are its
# first 150 updates of 300, beside those of the stored runs on the same windows. It begins with larger weights than the stored FLASH.
# Who leads here has one seed and half a run, so it is a hint and no result.

# %%
# `start` is that of the embedding, as in the stored runs; your units start themselves
my_config = ModelConfig(MyUnit, dim=64, depth=4, max_length=64, norm="layer", start="paper")
my_run = train(my_config, board, corpus=corpus, stop_at=150, progress=False)  # the first half
losses = {"your FLASH, this run": [row["loss"] for row in my_run.log]}
losses |= {name: stored["runs"][key]["losses"] for name, key in baselines.items()}
for name, of_updates in losses.items():
    print(f"{name:20} updates 141 to 150: {np.mean(of_updates[140:150]) / math.log(2):.2f} bits per byte in training")

# %% [markdown]
# ## 6. The page
#
# Whatever you found, it ends as one page. Write it in this order: the question, what you expected, what you did, in enough detail for
# others to repeat it, the table, what it shows, and what it does not show. The last part is the one for which readers will trust you.
# %%
from IPython.display import Markdown

guesses = learner.load_progress()["guesses"]
expected = f"{guesses['12.a']:g} bits per byte" if "12.a" in guesses else "(no prediction was written down)"
table = "\n".join(f"| {name} | {b:.2f} |" for name, b in sorted(bits.items(), key=lambda item: -item[1]))
gain = bits["from scratch"] - bits[best]
page = f"""### Does having read novels help a model to read {Path(my_text).name}?

**Expected** for the fine-tuned model: {expected}.
**Done:** {UPDATES} updates of {WINDOW} bytes, seed 0, batch 1, 10 of warm-up, AdamW at 3e-3 for fine-tuning and 5e-3 from scratch.
{count_parameters(scratch.model):,} parameters, scored on the first {held_out.n_bytes:,} held-out bytes.

| | bits per byte |
| --- | --- |
{table}

**Shown:** the fine-tuned model ends {"ahead of" if gain > 0 else "behind"} the one from scratch, by {abs(gain):.2f} bits per byte.
**Not shown:** other seeds, texts and budgets; a rate chosen for the model from scratch; which part of the novels helped.
"""
(folder / "REPORT.md").write_text(page, encoding="utf-8")
Markdown(page)

# %% [markdown]
# ## How we know
#
# - **Fine-tuning**: one seed, one text, one budget. The fine-tuned model's rate was tried on this text, the other's was not; the code has English
#   comments, and by how much that helped was not tried.
# - **Memory** ([mentions](../docs/results.md#mentions)): one model of each kind; six invented names, each on a page of its own.
# - **The running mean** ([scoreboard](../docs/results.md#scoreboard)): three runs at one rate; its model has fewer parameters, since it has no base z.
#
# ## What to remember
#
# Fill in the last column yourself.
#
# | claim | your evidence | your verdict |
# | --- | --- | --- |
# | A model of novels helps with another kind of text | section 2 | |
# | It beats a bigram model | section 2 | |
# | A window of 1024 bytes is a memory of 1024 bytes | section 3 | |
# | A running mean is enough to mix tokens | section 4 | |
# | What I built is a FLASH | section 5 | |
#
# **Three takeaways**
# 1. Write the guess first, and count something simple before you train anything.
# 2. What a model is allowed to read, it need not use. Test that, before you compare memories.
# 3. A new unit is a new `mix`; test it before you train it, because a leak looks like success.
#
# **Exercises** Your project. `flash-tutorial new my-project` makes its folder; `QUESTIONS.md` in it has questions, and how a project is graded. [What
# you can bring along](../docs/projects.md) shows tokens, models and losses of your own, a classifier, and training on several processes.
#
# **Next** [Lecture 13](13_after_flash.ipynb) tells you what came after FLASH. If you answered the [ten questions](../docs/questions.md)
# before the course, answer them once more and compare.
#
# ## What you have built
#
# One last look. On the left is `my_flash.py`, as you wrote it from lecture 01 on; on the right what the package has in its place. The package's is longer
# by what you can now name: padding, documents, number formats, errors that help. What it computes is on the left.

# %%
from flash_tutorial.flash import FLASH
from flash_tutorial.gau import GatedUnit
from flash_tutorial.mixing import global_part, local_part
from flash_tutorial.training import train_step

print(side_by_side.tally())
parts = {"FLASH": (GatedUnit.project, GatedUnit.read_heads, FLASH.mixed, GatedUnit.forward)}
if "mixed_chunk" in mine.built():
    parts["mixed_chunk"] = (local_part, global_part)
parts |= {"decode_step": (FLASH.mix_newest,), "fit": (train_step,)}
side_by_side.show(parts)
