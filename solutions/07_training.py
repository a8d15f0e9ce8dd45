# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Problem set 07: training
#
# [Lecture 07](../notebooks/07_training.ipynb) · [the lecture without results](../notebooks/work/07_work_training.ipynb) · [glossary](../docs/glossary.md)
#
# Eight exercises, 100 points, about three hours. The four marked *core* are 60 points in an hour and a half.
# They belong to lecture 07. No exercise needs a GPU.
#
# On Colab, first choose *File > Save a copy in Drive*: a notebook that was opened from a link is not saved.
#
# Write your code where it says `raise NotImplementedError`; the cell below each exercise checks it, and says where it differs.
# `hint("07.1")` gives the first of three hints, and another call the next one. `progress("07")` shows your points.
#
# `check` and grading call your functions by name, with the arguments that the text names, so keep both. Grading draws numbers and
# sizes of its own, and where you *mend* or *prove*, it also tries cases that `check` does not show.
# What a function is given belongs to its caller. Unless the text says otherwise, changing it counts as wrong, so work on a copy.

# %%
# @title Setup: on Colab this installs the course. There is nothing to read here.
import glob, subprocess, sys, zipfile

SOURCE, VERSION = "no address yet: upload the project's zip to Colab's files", "*"  # written by tools/stamp.py
if "google.colab" in sys.modules and not any(glob.glob(f"{p}/flash_tutorial-{VERSION}.dist-info") for p in sys.path):
    near = [".", "..", "../..", *glob.glob("/content/*"), *glob.glob("/content/drive/MyDrive/*")]
    names = {p: zipfile.ZipFile(p).namelist() if zipfile.is_zipfile(p) else glob.glob(f"{p}/*/*.py") for p in near}
    copies = [p for p in near if "flash_tutorial/__init__.py" in str(names[p])]
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--no-deps", [*copies, SOURCE][0]], check=True)

# %%
import json
import math
import os
import pathlib

import numpy as np
import torch
import torch.nn.functional as F

from flash_course import drawing
from flash_course import check, hint, personal, progress
from flash_course.checks.sets.tiny_run import Run
from flash_course.bench.stored import load_stored
from flash_tutorial import LanguageModel, ModelConfig, count_parameters
from flash_tutorial.corpora import load_corpus

STUDENT = "me"  # your name or number; the order of the runs in 07.5 is drawn from it

# %% [markdown]
# ## 07.1 build: `bits_per_byte`
#
# **10 points** · difficulty 1/5 · importance 5/5 · 10 minutes · core
#
# A text was read in windows of different lengths, and of each window you know two numbers:
# the mean loss of its tokens, in nats, and how many tokens it has.
# Since a token may be one byte or several, the number of bytes of the whole text is given as well.
# How many bits does the model need for a byte?
#
# You may use `math` and `numpy`.
#
# <details><summary>I get a number that is nearly right</summary>
#
# Does a short window count as much as a long one in your sum?
#
# </details>


# %%
def bits_per_byte(windows, n_bytes):
    """The score of a text: all its bits over all its bytes.

    windows: a list of pairs (mean nats of a token, number of tokens), at least one. n_bytes: bytes of the whole text.
    Returns a number.
    """
    # BEGIN SOLUTION
    nats = sum(mean * tokens for mean, tokens in windows)
    return nats / math.log(2) / n_bytes
    # END SOLUTION


# %%
check("07.1", bits_per_byte)

# %% [markdown]
# ## 07.2 build: `learning_rate` and `clip_each`
#
# **15 points** · difficulty 2/5 · importance 4/5 · 20 minutes · core
#
# **The learning rate schedule** (7 points). Updates are counted from 1 here: the first has `step = 1`, the last has `step = total`.
# The schedule is made of two straight lines.
#
# - The first line goes from 0 at step 0 up to the peak at `step = warmup`. It holds for the steps before `warmup`.
# - The second line begins with the peak at `step = warmup` and reaches 0 at `step = total + 1`. It holds from `warmup` to `total`.
#
# So no update has the rate 0. With a warm-up exactly one has the peak. With `warmup = 0` there is only the second line, and its peak stands at
# step 0, before the first update, so none has it. For a step after `total` the rate is 0. (The lecture's schedule differs a little: it meets the peak
# twice.)
#
# **Clipping** (8 points). The paper calls its clipping *local* and does not explain the word. One way to read it is that each tensor is clipped by itself:
# take the norm of the tensor, the root of the sum of its squares, and if it is above `max_norm`, multiply the tensor by one factor, so that its norm becomes `max_norm`
# (the check does so in float64, and nine digits must be right).
# All other tensors stay as they are.
#
# You may use `math` and `torch`, but not `torch.nn.utils`, whose clipping is not exact.
#
# <details><summary>I get nan</summary>
#
# A tensor of zeros has the norm 0, so compare with the limit before you divide.
#
# </details>


# %%
def learning_rate(step, peak, warmup, total):
    """The rate of an update.

    step: from 1 on. peak: a number. warmup: 0 to total. total: the number of the last update.
    Returns a number.
    """
    # BEGIN SOLUTION
    if step > total:
        return 0.0
    if step < warmup:
        return peak * step / warmup
    return peak * (total + 1 - step) / (total + 1 - warmup)
    # END SOLUTION


def clip_each(grads, max_norm):
    """Clip each tensor by itself.

    grads: a list of tensors of any shapes; it may be empty, and it is not changed. max_norm: above 0.
    Returns a new list of tensors of the same shapes.
    """
    # BEGIN SOLUTION
    norms = [torch.linalg.vector_norm(g) for g in grads]
    return [g * (max_norm / norm) if norm > max_norm else g for g, norm in zip(grads, norms)]
    # END SOLUTION


# %%
check("07.2", learning_rate, clip_each)

# %% [markdown]
# ## 07.3 mend: one update in float16
#
# **20 points** · difficulty 3/5 · importance 4/5 · 25 minutes · core
#
# The function below makes one update of a training run in float16 (see the end of the lecture). The batch is too large for the memory, so it comes in equally large parts,
# whose gradients add up in `p.grad`; the sum should be the gradient of the *mean* of the parts' losses.
# The function runs without an error, and yet it is full of faults:
# one number is not divided, and five calls stand in the wrong place, are the wrong ones, or are missing. Mend it.
#
# The scaler does what `torch.amp.GradScaler` does:
#
# - `scale(loss)` multiplies the loss by a large factor, so that small gradients do not vanish in float16;
# - `unscale_(optimizer)` divides the gradients by the factor, and notes whether one of them is inf or nan;
# - `step(optimizer)` lets the optimizer step, or skips the step if something was noted. (It divides the gradients itself if nobody has done so. Once is enough.)
# - `update()` halves the factor if something was noted, and forgets the note.
#
# The schedule moves on once for each update, whether it was skipped or not. Gradients left over from before must not count, not even in the first update.
# The memory holds one part only, so the backward pass of a part must run before you ask for the loss of the next one.
# The check runs on the CPU, with small stand-ins for scaler, optimizer and schedule, and looks at the weights, the factor and the rate after each update.
#
# You may use `torch`.
#
# <details><summary>I get "unscale_() has already been called"</summary>
#
# The gradients are divided once for each update, and that is after the last part.
#
# </details>


# %%
def training_step(loss_of, parts, parameters, optimizer, scaler, schedule, max_norm):
    """One update in float16, from the parts of a batch. Returns nothing.

    loss_of(part): the mean loss of a part, a tensor of one number. parts: a list. parameters: a list of tensors.
    optimizer: has zero_grad() and step(). scaler: has scale(loss), unscale_(optimizer), step(optimizer) and update().
    schedule: its step() sets the rate of the next update. max_norm: the limit of the norm of all gradients together.
    """
    # BEGIN SOLUTION
    # STUB for part in parts:
    # STUB     optimizer.zero_grad()
    # STUB     loss = loss_of(part)
    # STUB     scaler.scale(loss).backward()
    # STUB     schedule.step()
    # STUB torch.nn.utils.clip_grad_norm_(parameters, max_norm)
    # STUB scaler.unscale_(optimizer)
    # STUB optimizer.step()
    optimizer.zero_grad()
    for part in parts:
        loss = loss_of(part) / len(parts)
        scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    torch.nn.utils.clip_grad_norm_(parameters, max_norm)
    scaler.step(optimizer)
    scaler.update()
    schedule.step()
    # END SOLUTION


# %%
check("07.3", training_step)

# %% [markdown]
# ## 07.4 build: `save` and `load`
#
# **15 points** · difficulty 3/5 · importance 4/5 · 30 minutes · core
#
# `Run` is a small training run, written entirely in NumPy. The next cell prints its code: read `__init__` and `update` first.
# Write two functions that stop such a run and take it up again. If you make three updates, `save`, start a new process, `load` and make three more,
# all losses and weights must be those of six updates in one go, bit for bit.
#
# Three things are required:
#
# - `path` may hold an older checkpoint, and if the process is killed in the middle of `save`, that checkpoint must still be there afterwards, whole.
#   So write a new file beside it, in the same folder, close it, and only then move it there with `os.replace`, which is one step.
# - No pickle, because loading one can run foreign code. That rules out `torch.save` and arrays of objects, and for the same reason `eval` and `exec`;
#   plain arrays and JSON are enough.
# - `save` leaves the run as it is, and everything is in that one file.
#
# The format is your choice. You may use `numpy`, `json`, `os`, `pathlib` and `Run`. `Run()` makes a fresh run, whose attributes you can set.
#
# <details><summary>What is the state of a generator?</summary>
#
# `rng.bit_generator.state` is a dictionary of strings and whole numbers, some of them very large, and JSON can hold it.
# You can read it from one generator and set it in another.
#
# </details>
#
# <details><summary>I get "FileNotFoundError"</summary>
#
# `np.savez` adds `.npz` to a name that has another ending. Give it an open file instead: `with open(name, "wb") as file`.
#
# </details>

# %%
import inspect

print(inspect.getsource(Run))


# %%
def save(path, run):
    """Write a run to a file; an older file there is replaced in one step.

    path: a pathlib.Path, in a folder that is there. run: a Run; it is not changed.
    """
    # BEGIN SOLUTION
    arrays = {f"{kind} {name}": array for kind in ("weights", "m", "v") for name, array in getattr(run, kind).items()}
    plain = {"step": run.step, "position": run.position, "rng": run.rng.bit_generator.state}
    beside = path.with_name(path.name + ".new")
    with open(beside, "wb") as file:
        np.savez(file, plain=json.dumps(plain), **arrays)
    os.replace(beside, path)
    # END SOLUTION


def load(path):
    """Read what save wrote.

    path: a pathlib.Path.
    Returns a new Run that goes on where the saved one was.
    """
    # BEGIN SOLUTION
    run = Run()
    with np.load(path) as file:
        plain = json.loads(str(file["plain"]))
        for kind in ("weights", "m", "v"):
            for name in getattr(run, kind):
                getattr(run, kind)[name] = file[f"{kind} {name}"]
    run.step, run.position = plain["step"], plain["position"]
    run.rng.bit_generator.state = plain["rng"]
    return run
    # END SOLUTION


# %%
check("07.4", save, load)

# %% [markdown]
# ## 07.5 predict: read the curve
#
# **15 points** · difficulty 3/5 · importance 5/5 · 20 minutes
#
# Here are four runs of the tiny FLASH of lecture 06, with chunks of 16 bytes and windows of 64, after 300 updates on the novels.
# They were trained once, by `experiments/curves.py`, and stored. All four are different. All numbers are bits per byte.
# Which runs you get, and in which order, depends on `STUDENT`. Say for each run which of these seven it is; three of them do not occur:
#
# - `"healthy"`: nothing is wrong;
# - `"inclusive sum"`: the sum over earlier chunks includes a token's own chunk as well;
# - `"local only"`: the sum over earlier chunks is switched off;
# - `"overfit"`: trained on 4000 bytes, again and again;
# - `"rate too high"`: a peak rate 30 times too high, and no clipping;
# - `"rate too low"`: a peak rate 30 times too low;
# - `"targets not shifted"`: the target at each position is the byte that the model reads there.
#
# The loss on held-out text is computed by the same code as the training loss, so it has the same fault.
# For the last line, the model has read `She had not ` and then draws byte after byte, each from what it has written so far.
# As landmarks, lecture 07 found 4.43 for a table of letter counts, and 2.86, 2.35 and 2.07 for tables of two, three and five bytes.
#
# The causes stand in the stored file, but look at the curves first: in your own runs there will be no such file.
#
# <details><summary>Two runs look the same to me</summary>
#
# Look at the figure by position, where the dotted lines are the borders of chunks. How do the first positions of the first chunk compare with those of the later chunks?
#
# </details>

# %%
stored = load_stored("curves")
runs = {f"run {letter}": stored["runs"][number] for letter, number in personal("07.5", STUDENT).items()}
print("after update         ", *(f"{n:5}" for n in range(30, 301, 30)))
for name, run in runs.items():
    print(f"{name}, training text ", *(f"{np.mean(run['losses'][n - 10 : n]):5.2f}" for n in range(30, 301, 30)))
    print(f"{name}, held-out text ", *(f"{bits:5.2f}" for bits in run["validation"]))
    print(f"{name}, first updates ", *(f"{bits:5.2f}" for bits in run["losses"][:10]))
    print(f"{name}, position 0-63 ", *(f"{bits:.1f}" for bits in run["by_place"]))
    print(f"{name} writes          {run['writes']!r}")
title = "Held-out text after 300 updates, by the position in the window"
figure, axes = drawing.new_axes(7.0, 3.6, "position in the window, in bytes", "bits per byte", title)
drawing.lines(axes, {name: (np.arange(64) + 0.5, run["by_place"]) for name, run in runs.items()}, markersize=4)
C = stored["chunk_size"]
for border in range(C, 64, C):
    axes.axvline(border, color="black", linestyle=":", linewidth=0.7)  # between two chunks
axes.legend(frameon=False)
halves = {name: np.reshape(run["by_place"], (-1, C // 2)).mean(1).round(2) for name, run in runs.items()}
alt = f"Lines of bits per byte by the position in a window of 64 bytes, in chunks of {C}."
drawing.show(figure, f"{alt} Means of each half of a chunk: {drawing.listed(halves, '{}')}.")

# %%
# BEGIN SOLUTION
# STUB answer_07_5 = dict(a=None, b=None, c=None, d=None)
_n = personal("07.5", STUDENT)
# Both losses far below 2.07, and position 16 of each chunk the worst: inclusive sum. Every chunk begins as badly as the
# first one: local only. Held-out loss rising while the training loss falls: overfit. A spike, then flat near the table
# of letter counts: rate too high. Losses of 0.00 everywhere: targets not shifted. The order in the stored file gives
# the letters here, so that this solution is right for every name.
_causes = ("local only", "inclusive sum", "healthy", "targets not shifted", "rate too high", "overfit")
answer_07_5 = dict(a=_causes[_n["a"]], b=_causes[_n["b"]], c=_causes[_n["c"]], d=_causes[_n["d"]])
# END SOLUTION
check("07.5", answer_07_5, student=STUDENT)

# %% [markdown]
# ## 07.6 prove: `assert_honest_loader`
#
# **10 points** · difficulty 3/5 · importance 4/5 · 40 minutes
#
# Write a test for code that makes batches. `made = loader(train, validation, T)` takes two lists of books, each with at least one book, and you invent the books.
# A book is an array of whole numbers from 1 on, which are its tokens; any such numbers will do. T is the length of a window. `made` has three methods,
# and each returns two arrays of whole numbers, `ids` and `targets`:
#
# - `made.batch(update)`: 8 windows to train on, (8, T), for the update of that number, from 0 on;
# - `made.scored()`: all windows that a model is scored on, (any number, T);
# - `made.masked(update)`: 8 windows to train on, (8, T), in which the model has to find hidden tokens.
#
# This is what an honest loader does:
#
# 1. A row of `batch` or `scored` is a window of one book: its targets are `book[s : s + T]`, and `ids[i]` is the token before `targets[i]`.
#    Before a book's first token stands 0. Where a book ends before the row does, the rest has the id 0 and the target -100.
# 2. `batch` and `masked` read the training books, `scored` the validation books. In `scored` each validation token is a target exactly once.
# 3. Each update draws its 8 windows at random, and two updates may share some; the same number gives the same batch again. Both hold for `masked` too. In a book of T tokens or more
#    any full window can come, and in 200 updates on books of some dozen tokens all of them do. A shorter book is one window.
# 4. A row of `masked` is a window too, and 15% of its own tokens are hidden (rounded down, at least 1). Where a token is hidden, the target is that
#    token; elsewhere the target is -100 and the id is the token. Over many batches most of the hidden positions, or all of them, have the id -1;
#    the others may have any token as id, even the right one. Hidden tokens come in spans, and hidden neighbours are one span: where 15 of 100 are
#    hidden, the spans of many batches, taken together, are more than 3 long on average; a single batch may have a little less.
#
# Your test raises an `AssertionError` if the loader is not honest, and returns without one if it is. It is tried on three loaders that are right and on nineteen that are wrong.
# Grading tries a few more, asks for each four times, and stops a test that computes for ten seconds in all: keep a run below a twentieth of a second.
# You may use `numpy`.
#
# <details><summary>My test fails a loader that is right</summary>
#
# Do you ask for spans in short windows? Of 11 tokens, 15% are a single one, so take a T of 100 there. And do you draw enough batches to meet every window?
#
# </details>


# %%
def assert_honest_loader(loader):
    """Raise AssertionError unless a loader keeps the four points above.

    loader(train, validation, T): two lists of 1-D integer arrays, and the length of a window.
    """
    # BEGIN SOLUTION
    T = 10
    train = [1 + np.arange(33), 1001 + np.arange(21), 2001 + np.arange(6)]
    validation = [5001 + np.arange(27), 6001 + np.arange(12)]
    made = loader(train, validation, T)

    rows = {}  # the first target of a window -> what its row must be
    for book in train:
        for s in range(max(len(book) - T + 1, 1)):
            target = book[s : s + T]
            before = np.concatenate([[book[s - 1] if s else 0], target[:-1]])
            gap = T - len(target)
            rows[int(target[0])] = (np.pad(before, (0, gap)), np.pad(target, (0, gap), constant_values=-100))
    met = set()
    for update in range(200):
        batch = made.batch(update)
        assert all(map(np.array_equal, batch, made.batch(update))), "the same number, a different batch"
        for row_ids, row_targets in zip(*batch):
            first = int(row_targets[0])
            assert first in rows, "a window that is none"
            assert np.array_equal(row_ids, rows[first][0]), "ids are not one token earlier"
            assert np.array_equal(row_targets, rows[first][1]), "targets are not a stretch of one book"
            met.add(first)
    assert met == set(rows), "some windows never come"

    ids, targets = made.scored()
    assert sorted(targets[targets != -100]) == sorted(np.concatenate(validation)), "not each validation token once"
    for row_ids, row_targets in zip(ids, targets):
        n = (row_targets != -100).sum()
        before = 0 if row_targets[0] in (5001, 6001) else row_targets[0] - 1
        assert row_ids[:n].tolist() == [before, *row_targets[: n - 1]], "ids are not one token earlier"
        assert (row_ids[n:] == 0).all() and (row_targets[n:] == -100).all(), "not 0 and -100 behind a book's end"

    made = loader([1 + np.arange(180), 1001 + np.arange(150)], validation, 100)
    positions = spans = behind = 0
    met = set()
    for update in range(15):
        ids, targets = made.masked(update)
        again = made.masked(update)
        assert np.array_equal(ids, again[0]) and np.array_equal(targets, again[1]), "the same number, a different batch"
        hidden = targets != -100
        assert (hidden.sum(1) == 15).all(), "not 15 hidden tokens"
        text = np.where(hidden, targets, ids)
        assert (np.diff(text) == 1).all(), "a row is not a window of one book"
        met |= set(text[:, 0])
        positions += hidden.sum()
        spans += hidden[:, 0].sum() + (hidden[:, 1:] & ~hidden[:, :-1]).sum()
        behind += (ids[hidden] == -1).sum()
    assert positions / spans > 3, "hidden tokens stand alone"
    assert behind > positions / 2, "hidden tokens are not hidden"
    assert len(met) > 8, "the same windows at every update"
    # END SOLUTION


# %%
check("07.6", assert_honest_loader)

# %% [markdown]
# ## 07.7 explain: same budget?
#
# **5 points** · difficulty 2/5 · importance 4/5 · 10 minutes
#
# Somebody shows you this table, and says: "On the same budget Transformer++ is better." The runs are real, and stored in the package.
#
# | model | updates | rate | bits per byte on held-out text |
# | --- | --- | --- | --- |
# | FLASH | 300 | 0.003 | 2.455 |
# | Transformer++ | 300 | 0.003 | 2.420 |
#
# What do you ask before you believe it? Write at least three questions, each with a question mark, and say why each of them matters, in 30 to 80 words.
#
# A person marks this one. At home, once it is long enough, you get a model answer and three questions to ask of yours.
#
# <details><summary>It says that something is missing</summary>
#
# The check only counts words and question marks.
#
# </details>

# %%
# BEGIN SOLUTION
# STUB text_07_7 = ""
text_07_7 = (
    "Was the rate chosen for each model by the same rule? At 0.01 the order may turn round. Did both have the same number of "
    "parameters, read the same bytes, and take the same time? 300 updates of one can cost more than 300 of the other. "
    "How many seeds were run, and how far are they apart? One run each can differ by luck."
)
# END SOLUTION
check("07.7", text_07_7)

# %% [markdown]
# ## 07.8 extend: `race`
#
# **10 points** · difficulty 3/5 · importance 5/5 · 30 minutes
#
# Now ask these questions of a comparison of your own: train two models, so that nothing differs but the model, and say which one is ahead.
# You write the rules of the race. What it takes is given:
#
# - `makers` has a function for each of the two models: `makers[name](seed)` makes a new one;
# - `windows(seed)` makes a function `draw`. Each `draw(update)` gives the next windows to train on, and the same seed begins with the same ones again;
# - `fit(model, draw, rate)` trains a model in place, with this peak rate;
# - `score(model, text)` gives bits per byte of the text `"choice"` or `"test"`.
#
# The rules are those of the course:
#
# - **training** (5 points): each run has a seed of its own, which makes a new model and draws its windows. Both models train on the same windows. A
#   model has dropout while it trains, and none while it is scored;
# - **rates** (3 points): the first of the seeds chooses. Each model runs once at each rate, and the rate with the fewest bits on `"choice"` is its own;
# - **result** (2 points): all other seeds race, each once for each model, at the model's own rate. They are scored on `"test"`.
#
# You may use `numpy` and `torch`.
#
# <details><summary>My two models do not read the same text</summary>
#
# A function that `windows` made goes on where it stopped. Make one for each run.
#
# </details>


# %%
def race(makers, fit, score, windows, rates, seeds):
    """Train each model at a rate of its own, and score it on text that chose nothing.

    makers: {name: function}. fit, score, windows: functions, as above. rates: at least one. seeds: at least two whole numbers.
    Returns {name: (its rate, [bits per byte on "test" for each seed but the first])}.
    """
    # BEGIN SOLUTION
    found = {}
    for name, make in makers.items():

        def run(rate, seed, text, make=make):
            model = make(seed)
            model.train()
            fit(model, windows(seed), rate)
            model.eval()
            return score(model, text)

        tried = [run(rate, seeds[0], "choice") for rate in rates]
        rate = rates[int(np.argmin(tried))]
        found[name] = rate, [run(rate, seed, "test") for seed in seeds[1:]]
    return found
    # END SOLUTION


# %%
check("07.8", race)

# %% [markdown]
# And here is the race itself: FLASH with four units against Transformer++ with two blocks of about as many parameters, on the novels, with three
# seeds. First guess: which one is ahead after 200 updates, and by how much? Then set `TRAIN = True` in the last of the three cells below. It takes about
# two minutes on two cores, and nobody has stored what you will see.

# %%
T, ROWS, UPDATES = 64, 16, 200
corpus = load_corpus("austen")


def maker(**config):
    def make(seed):
        torch.manual_seed(seed)
        return LanguageModel(ModelConfig(dim=48, max_length=T, **config))

    return make


def windows(seed):
    rng = np.random.default_rng(seed)

    def draw(update):
        first = rng.integers(len(corpus.train.tokens) - T, size=ROWS)
        return torch.from_numpy(corpus.train.tokens[first[:, None] + np.arange(T + 1)].astype(np.int64))

    return draw


# %%
def fit(model, draw, rate):
    optimizer = torch.optim.AdamW(model.parameters())
    for update in range(UPDATES):
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1, (update + 1) / 20) * (1 - update / UPDATES)
        ids = draw(update)
        loss = F.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()


def score(model, text):
    split = {"choice": corpus.validation, "test": corpus.test}[text]
    ids = torch.from_numpy(split.tokens[: 320 * (T + 1)].astype(np.int64)).view(-1, T + 1)
    with torch.no_grad():
        nats = F.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
    return nats.item() / math.log(2)


# %%
TRAIN = False  # True once the check says that your race is right

flash = maker(architecture="flash", depth=4, qk_dim=16, chunk_size=16)
makers = {"FLASH": flash, "Transformer++": maker(architecture="transformer++", depth=2)}
ended = race(makers, fit, score, windows, [0.003, 0.01], [0, 1, 2, 3]) if TRAIN else {}
for name, (rate, scores) in ended.items():
    ends = f"{np.mean(scores):.3f}, from {min(scores):.3f} to {max(scores):.3f}"
    print(f"{name:13} {count_parameters(makers[name](0)):,} parameters, rate {rate}: {ends} bits per byte")

# %% [markdown]
# Do the two ranges overlap? If not, the sign belongs to these sizes, this text and 200 updates. It says nothing of longer runs; lecture 10 has four
# signs that turned round.

# %%
progress("07")
