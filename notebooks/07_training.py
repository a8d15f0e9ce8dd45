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
# [With results](07_training.ipynb) · [without, to work in](work/07_work_training.ipynb) · [problem set 07](../exercises/07_set_training.ipynb) ·
# [glossary](../docs/glossary.md)
#
# Cheaper attention has a reputation: it saves time and pays in quality. Here you find the place in a novel where FLASH pays, write the training
# loop, and train the model that you built.
#
# **After this lecture you can**
# - score a model in bits per byte, and say what a score has to beat;
# - write the learning rate schedule, AdamW and the training loop, without anybody's optimizer;
# - compare models on one budget, and find out why one run got stuck;
# - show an effect within a run that is lost between runs, and score a text with a full memory.
#
# **You need** lecture 06: the whole FLASH model, its chunks and its sums. Of lecture 02, the two forms of the position bias.
#
# **Time** 37 minutes to read, about 80 more to build. Running the code takes about 25 seconds on two CPU cores.
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

# %%
import json
import math
import tempfile
from importlib import resources
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F

from flash_course import drawing, mine
from flash_course.bench import boundaries, budget
from flash_course.bench.stored import load_stored
from flash_course.learner import predict, reveal
from flash_tutorial import LanguageModel, ModelConfig, count_parameters
from flash_tutorial.corpora import Split, load_corpus
from flash_tutorial.training import TrainConfig, draw_batch, evaluate, learning_rate_at, train

torch.set_num_threads(1)  # another number of threads rounds otherwise
corpus = load_corpus("austen")

# %% [markdown]
# ## Where does FLASH lose?
#
# Two trained models come with the package, a FLASH and a Transformer++ of 1.9 million parameters each, which have read the same four novels of
# Jane Austen equally often. On *Northanger Abbey*, which neither has read and which chose none of their settings, the two are within a hundredth
# of a bit a byte.
#
# Are they level everywhere, or does FLASH lose in some places what it wins in others? It has chunks of C = 256 bytes. Take windows of 1,024 bytes
# from all over the novel, and sort the predictions by the position in the chunk from which they are made.
#
# **Your guess.** On average FLASH needs about 1.6 bits. How many does it need at the *first* position of a chunk, where it reads exactly one byte
# of its own chunk?

# %%
my_guess = None  # your number here
predict("07.a", my_guess)

# %%
T, C, n = 1024, 256, 100 if torch.cuda.is_available() else 20
novel = corpus.test.tokens  # Northanger Abbey


@torch.no_grad()
def bits_of_bytes(model, shift=0):
    """Bits of each byte of n windows, spread over the novel and all moved by ``shift`` bytes: (n, T)."""
    stride = (len(novel) - 2 * T) // n
    at = shift + stride * np.arange(n)[:, None] + np.arange(T + 1)
    ids = torch.from_numpy(novel[at].astype(np.int64))
    rows = [F.cross_entropy(model(part[:, :-1]).mT, part[:, 1:], reduction="none") for part in ids.split(5)]
    return torch.cat(rows).double().numpy() / math.log(2)


names = {"FLASH": "austen-flash", "Transformer++": "austen-transformer++"}
shipped = {name: LanguageModel.from_pretrained(file).eval() for name, file in names.items()}
read = {name: bits_of_bytes(model) for name, model in shipped.items()}

# %%
ends = [0, 1, 2, 4, 8, 16, 32, 64, 128, 256]
groups = [f"{a + 1}-{b}" if b - a > 1 else f"{b}" for a, b in pairwise(ends)]
title = "FLASH loses at the beginning of a chunk, and nowhere else"
axis = "position in the chunk: bytes of its own chunk that a byte reads"
figure, axes = drawing.new_axes(7.0, 3.8, axis, "bits per byte", title)
profiles, bars = {}, {}
for name, bits in read.items():  # all chunks but the first of a window
    parts = [bits[:, C:].reshape(-1, C)[:, a:b] for a, b in pairwise(ends)]
    profiles[name] = groups, [part.mean() for part in parts]
    bars[name] = [part.std() / math.sqrt(part.size) for part in parts]
drawing.lines(axes, profiles)
for name, (colour, _, _) in drawing.looks(profiles).items():
    axes.errorbar(*profiles[name], yerr=bars[name], fmt="none", color=colour, capsize=3)
axes.legend(frameon=False)
drawing.show(
    figure, f"Bits per byte by the position in a chunk, with standard errors: {drawing.in_words(axes, x='{}')}."
)
reveal("07.a", round(profiles["FLASH"][1][0], 1), "bits")

# %% [markdown]
# At the first position of a chunk FLASH is all but blind, and a few bytes later it has caught up. The models' cards have the whole novel, in quarters
# of a chunk, and below it the novel that did choose settings.

# %% tags=["nbval-check-output"]
package = resources.files("flash_tutorial")
cards = {name: json.loads((package / "models" / file / "card.json").read_text()) for name, file in names.items()}
for part in ("test", "validation"):
    chunks = {name: np.reshape(card[part]["by_position"], (4, 4)) for name, card in cards.items()}
    gap = chunks["FLASH"] - chunks["Transformer++"]  # chunk by chunk, in quarters
    whole = cards["FLASH"][part]["bits_per_byte"] - cards["Transformer++"][part]["bits_per_byte"]
    print(f"{cards['FLASH'][part]['novel']}: FLASH minus Transformer++ {whole:+.3f} bits per byte;", end=" ")
    print(f"first quarter of later chunks {gap[1:, 0].mean():+.3f}, the rest of them {gap[1:, 1:].mean():+.3f}")

# %% [markdown]
# In three quarters of every chunk FLASH is even a little ahead: all that it loses, it loses in the first. Two questions from lectures 05 and 06 lead to the reason.
#
# **1.** What do the tokens of a chunk know of the order in which the tokens of earlier chunks stood?
#
# <details><summary>Answer</summary>
#
# What RoPE put into the keys, and nothing else: kᵀ v of all of them is added up, and a sum has no order.
#
# </details>
#
# **2.** Two readings of that sum are possible. Which one is our default?
#
# <details><summary>Answer</summary>
#
# The mean (Code 8 of the paper): the sum over earlier chunks, divided by the number of tokens in them.
#
# </details>
#
# ## 1. Blind just after the boundary
#
# The first byte of a chunk reads itself alone, and all that came before through a sum, which mixes hundreds of bytes into one state. Which
# letters came last is hard to tell from that.
#
# Or is the text harder there? Move all windows by half a chunk, so that bytes from the middle of a chunk come to its beginning, and the other way round.
# If the text is to blame, the cost of a byte stays; if the boundary is, it changes.

# %% tags=["nbval-check-output"]
here, moved = read["FLASH"], bits_of_bytes(shipped["FLASH"], shift=C // 2)
before, after = here[:, C // 2 :], moved[:, : T - C // 2]  # the same bytes
position = np.arange(T - C // 2)  # in the moved windows
for said, first in (("middle, then beginning", 0), ("beginning, then middle", C // 2)):
    four = (position >= C) & (position % C >= first) & (position % C < first + 4)
    print(
        f"four bytes of a chunk, {said}: {before[:, four].mean():.1f}, then {after[:, four].mean():.1f} bits per byte"
    )

# %% [markdown]
# Same bytes, same model: it is the boundary. How blind is FLASH there? Here are stored runs of smaller models with chunks of 128. One of them,
# *local only*, was trained without the sums.

# %% tags=["nbval-check-output"]
title = "After a boundary FLASH, with sums or without, predicts no better than n-grams"
figure, axes = drawing.new_axes(7.0, 3.8, axis, "bits per byte", title)
bits = boundaries.bits_by_place(128)  # model: (seeds, groups of positions)
compared = ("FLASH", "local only", "Transformer++", "FLASH-Quad")
part = "validation, first 100000 bytes"
grams = {row["order"]: row[part] for row in load_stored("ngrams")["rows"] if "order" in row}
drawing.lines(axes, {name: (groups[:8], bits[name]) for name in compared})
axes.plot(groups[:3], [grams[order] for order in (1, 2, 3)], "k_", markersize=22, label="n-gram tables")
axes.legend(frameon=False)
drawing.show(figure, f"Bits per byte by the position in a chunk, means of runs: {drawing.in_words(axes, x='{}')}.")
for group, order, where in ((0, 1, "1 byte"), (1, 2, "2 bytes"), (2, 3, "3 or 4 bytes")):
    print(
        f"reading {where:12}", *(f"{name} {bits[name][:, group].mean():.2f}" for name in compared[:2]), sep="  ", end=""
    )
    print(f"  a table looking back {order} {grams[order]:.2f} bits per byte")

# %% [markdown]
# Where FLASH reads one byte, it is no better than a table that looks one byte back, and where it reads two, no better than one that looks two
# back. Whatever the sums carry across a boundary, it is not the word that was cut in two. Lecture 09 shows what becomes of such words when FLASH writes them.
#
# ## 2. Bits per byte, and what a score has to beat
#
# A model's *loss* is in nats, its score in bits per byte (lecture 00). The paper's *perplexity* is 2 to the power of the bits for a *token*, and on
# PG-19 for a *word*. Neither is our byte, so none of its numbers can be laid beside these.
#
# **Misconception: the score is the mean of the windows' losses.** A long text is read in windows of T bytes, and the last one is short. If every
# window counts the same, the bytes of that one count too much. Here are six whose probabilities you can turn into bits in your head.

# %% tags=["nbval-check-output"]
text, p = b"Anne w", np.array([1 / 4, 1 / 8, 1 / 2, 1 / 2, 1 / 16, 1 / 32])
bits = -np.log2(p)
print("bits:", ", ".join(f"{chr(byte)!r} {cost:.0f}" for byte, cost in zip(text, bits)))
print(f"mean {bits.mean():.2f} bits per byte, or {-np.log(p).mean():.2f} nats")
for cut in ([6], [5, 1], [4, 2], [3, 3]):
    windows = np.split(bits, np.cumsum(cut)[:-1])
    print(f"windows of {cut}: mean of means {np.mean([w.mean() for w in windows]):.2f}")

# %% [markdown]
# **Build the score.** Each window begins with the last byte of the one before it, so that every byte but the very first is predicted once. The model
# makes logits (1, n, 256) of ids (1, n), and `F.cross_entropy(..., reduction="sum")` gives the nats of a window.


# %%
def bits_per_byte(model, tokens, T):
    """The score of a text, an array of bytes read in windows of T: all bits over all bytes predicted."""
    # BUILD
    nats = 0.0
    for first in range(0, len(tokens) - 1, T):
        ids = torch.from_numpy(tokens[first : first + T + 1].astype(np.int64))[None]
        with torch.no_grad():
            logits = model(ids[:, :-1])
        nats += float(F.cross_entropy(logits[0], ids[0, 1:], reduction="sum"))
    return nats / math.log(2) / (len(tokens) - 1)
    # END


bits_per_byte = mine.check(bits_per_byte)

# %% [markdown]
# What has a score to beat? *N-gram tables*, which count how often a byte follows the few before it, have read the novels too. And does the package
# count as you do?

# %% tags=["nbval-check-output"]
print("n-gram tables, by the bytes that they look back:", ", ".join(f"{n}: {bits:.2f}" for n, bits in grams.items()))
raw = corpus.validation.tokens.tobytes()
documents, sizes = [raw[:61], raw[:28], raw[500:505]], [61, 28, 5]
begun = [
    np.frombuffer(b"\0" + document, np.uint8) for document in documents
]  # a document's first byte is predicted too
yours = np.average([bits_per_byte(shipped["FLASH"], tokens, 28) for tokens in begun], weights=sizes)
theirs = evaluate(shipped["FLASH"], Split.from_documents(documents), 28).bits_per_byte
print(f"three documents: yours {yours:.3f}, the package's {theirs:.3f} bits per byte")

# %% [markdown]
# 2.07 is the mark to remember: a model above it has shown nothing that looking up five bytes cannot do. One far below it after a few updates has a *leak*.
#
# ## 3. The recipe, and what each number is for
#
# The paper's Tables 5 and 6 list the settings, for 110 million parameters and more on 32.8 billion tokens. We train half a million on four million bytes.
#
# | | paper | here | what it is for |
# | --- | --- | --- | --- |
# | batch | 262,144 tokens | 4,096 bytes | a mean over more tokens is a steadier direction |
# | updates | 125,000 | about 1,000 | the budget; an *update* changes all parameters once |
# | warm-up | 10,000 updates | 100 updates | the first directions are unreliable, so the rate climbs from near 0, then falls in a line that would reach 0 one update after the last |
# | peak rate | 0.0007 for all models | chosen for each, section 5 | the size of a step |
# | weight decay | 0.01 | 0.01 | pulls weights that nothing needs towards zero |
# | clipping | 0.1, "local", which it does not explain | 1.0 over all | one odd batch must not move the parameters far |
#
# **Build the schedule**, two straight lines. With six updates, a warm-up of two and a peak of 8 the rates are 4, 8, 8, 6, 4, 2.


# %% tags=["nbval-check-output"]
def rate_at(step, steps, warmup, peak):
    """The learning rate of update ``step``, counted from 0: up in a line, then down in a line."""
    # BUILD
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * (steps - step) / (steps - warmup)
    # END


rate_at = mine.check(rate_at)
recipe = TrainConfig(steps=6, warmup=2, learning_rate=8.0)
print("yours:        ", *(f"{rate_at(step, 6, 2, 8):g}" for step in range(6)))
print("the package's:", *(f"{learning_rate_at(step, recipe):g}" for step in range(6)))

# %% [markdown]
# **Build AdamW.** It keeps two running averages for each parameter, m and v by their usual names (this v has nothing to do with values): m keeps nine tenths of itself and takes a tenth of the gradient g, v keeps 999
# thousandths and takes a thousandth of g². Both begin at 0 and are too small at first, so after t updates they are divided by 1 - 0.9ᵗ and 1 - 0.999ᵗ. The step
# is the rate times m / (√v + a millionth), as long for large gradients as for small ones. The W is for *weight decay*: beside that step, the rate times a
# hundredth of the old p is subtracted. Change nothing in place, and give m and v back uncorrected.


# %%
def adamw_step(p, g, m, v, t, rate):
    """Update number t (from 1) of a parameter p with gradient g; gives p and its averages m and v."""
    # BUILD
    m = 0.9 * m + 0.1 * g
    v = 0.999 * v + 0.001 * g**2
    m_hat = m / (1 - 0.9**t)
    v_hat = v / (1 - 0.999**t)
    p = p - rate * (m_hat / (v_hat.sqrt() + 1e-6) + 0.01 * p)
    return p, m, v
    # END


adamw_step = mine.check(adamw_step)

# %% [markdown]
# ## 4. The training loop
#
# A window for training may begin anywhere in the text. It holds T bytes to read and one more, the target of the last.


# %%
def draw_windows(tokens, B, T, rng):
    """B windows of T + 1 bytes from an array of bytes, each place equally likely: ids (B, T + 1)."""
    # BUILD
    first = rng.integers(len(tokens) - T, size=B)
    at = first[:, None] + np.arange(T + 1)
    return torch.from_numpy(tokens[at].astype(np.int64))
    # END


draw_windows = mine.check(draw_windows)

# %% [markdown]
# **A blank page: the loop.** For each update: draw, predict, take the mean loss over all targets, compute the gradients. *Clip*: if all gradients together
# are longer than `clip`, shrink them by one factor. Then one AdamW step for every parameter, under `torch.no_grad()`, and clear the gradients, to which PyTorch
# would add the next ones.


# %%
def fit(model, draw, steps, peak, warmup=20, clip=1.0):
    """Train a model on the windows ``draw(step)``, ids (B, T + 1). Gives the loss of each update."""
    # BUILD
    averages = {p: (torch.zeros_like(p), torch.zeros_like(p)) for p in model.parameters()}
    losses = []
    for step in range(steps):
        ids = draw(step)
        logits = model(ids[:, :-1])
        loss = F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
        loss.backward()
        norm = math.sqrt(sum(float(p.grad.square().sum()) for p in averages))
        shrink = min(1, clip / norm)
        rate = rate_at(step, steps, warmup, peak)
        with torch.no_grad():
            for p, (m, v) in averages.items():
                new, m, v = adamw_step(p, shrink * p.grad, m, v, step + 1, rate)
                p.copy_(new)
                averages[p] = m, v
                p.grad = None
        losses.append(loss.item())
    return losses
    # END


fit = mine.check(fit)

# %% [markdown]
# Is this all that the package's `train` does? Give both the same model and the same windows. In the package a batch depends on the *seed* and the number of the
# update alone.

# %% tags=["nbval-check-output"]
tiny = ModelConfig(dim=32, depth=2, qk_dim=16, chunk_size=16, max_length=56)
short = TrainConfig(steps=40, batch=8, length=56, learning_rate=1e-2, warmup=10, eval_bytes=0, checkpoint_every=8)


def same_windows(step):
    ids, targets = draw_batch(corpus.train, short, step, causal=True)
    return torch.from_numpy(np.concatenate([ids, targets[:, -1:]], 1))


torch.manual_seed(short.seed)
yours = fit(LanguageModel(tiny), same_windows, short.steps, short.learning_rate, short.warmup, short.clip)
whole = train(tiny, short, corpus=corpus, device="cpu", progress=False)
theirs = [row["loss"] for row in whole.log]
for name, losses in (("yours", yours), ("the package's", theirs)):
    print(f"{name:14}", *(f"{losses[step]:.3f}" for step in (0, 9, 19, 29, 39)), "nats, updates 1, 10, 20, 30, 40")
print(f"all 40 losses differ by at most {np.abs(np.subtract(yours, theirs)).max():.3f}")

# %% [markdown]
# Now take the `Model` of lecture 06, yours if you built it, and train it from nothing: your attention, your unit, your loop, your optimizer.

# %%
Model = mine.use("Model")
torch.manual_seed(0)
my_model = Model(256, 64, 2, 32, 16)  # N, D, L, S, C


def next_batch(step):
    return draw_windows(corpus.train.tokens, 16, 64, np.random.default_rng(step))


losses = fit(my_model, next_batch, 150, 1e-2)
held_out = bits_per_byte(my_model, corpus.validation.tokens[:10_000], 64)
print(
    f"{count_parameters(my_model):,} parameters, {150 * 16 * 64:,} bytes read: {held_out:.2f} bits per byte, held out"
)

# %%
title = "Your model learns: first which letters are frequent, then which follow which"
figure, axes = drawing.new_axes(7.0, 3.6, "update", "bits per byte, mean of 10 updates", title)
drawing.lines(axes, {"your FLASH": drawing.smoothed(np.array(losses) / math.log(2), 10)}, marker="")
drawing.level(axes, grams[0], "table looking back 0")
drawing.level(axes, grams[1], "table looking back 1")
drawing.name_lines(axes)
drawing.show(figure, f"The loss of your model in training. {drawing.in_words(axes)}.")

# %% [markdown]
# It starts near 8 bits, which is knowing nothing, and passes the table that looks at no earlier byte, then the one that looks one byte back. From there on it must be reading more than
# one byte back.
#
# ## 5. One budget for three models
#
# What must be equal? The text and its order, the number of parameters, and the time, because time is what you pay. A model whose update takes longer gets
# fewer of them. The runs are stored, with D = 128 and T = 512, and began from the paper's start (lecture 03). One learning rate for all, as the paper
# has it, is *not* fair: it may suit one model and not the other.

# %% tags=["nbval-check-output"]
configs = {
    "FLASH": ModelConfig("flash"),
    "Transformer++": ModelConfig("transformer++", depth=2, ff_dim=392),
    "FLASH-Quad": ModelConfig("flash_quad", bias="rotary"),
}
for name, updates in budget.updates_of_budget().items():
    parameters = count_parameters(LanguageModel(configs[name]))
    rates = budget.short_runs()[name]
    print(f"{name:14} {parameters:,} parameters, {updates:,} updates;", end=" ")
    print(f"after 300 of them {rates[0.01]:.2f} bits per byte at rate 0.01, best {min(rates, key=rates.get)}")
tfm, flash = (budget.short_runs()[name] for name in ("Transformer++", "FLASH"))
print("Transformer++ minus FLASH:", *(f"{tfm[rate] - flash[rate]:+.2f} at rate {rate}" for rate in (0.003, 0.01)))

# %% [markdown]
# At the rate 0.01 FLASH leads by a fifth of a bit, at 0.003 the two are nearly level. One rate for both can make a lead, so each gets its own. In the whole run FLASH at 0.02 ended worse than at 0.01, so it has 0.01;
# Transformer++ got no such second look.
#
# **Your guess.** Each model had the time of 1,000 FLASH updates. What is FLASH's mean minus Transformer++'s mean, over three runs of each, in bits per
# byte of held-out text? Write -0.1 if you expect FLASH to be better by a tenth.

# %%
my_second_guess = None  # your number here
predict("07.b", my_second_guess)

# %%
scores = budget.scores()
title = "In equal time FLASH and Transformer++ end close; FLASH-Quad is a gamble"
figure, axes = drawing.new_axes(7.0, 2.8, "bits per byte, held-out text (a dot for each run)", title=title)
drawing.strips(axes, scores)
drawing.upright(axes, {"table looking back 5": grams[5], "back 3": grams[3]})
by_run = {name: ", ".join(f"{score:.2f}" for score in each) for name, each in scores.items()}
drawing.show(figure, f"Dots of bits per byte by run. {drawing.listed(by_run, '{}')}.")
reveal("07.b", round(np.mean(scores["FLASH"]) - np.mean(scores["Transformer++"]), 3), "bits per byte")

# %% [markdown]
# FLASH and Transformer++ end side by side, about at the table that looks five bytes back. What lies between them is smaller than what lies between two runs of one
# model, so these runs do not say which is better. Longer windows ([lecture 08](08_scaling.ipynb)) and another optimizer (section 8) give other differences.
#
# ## 6. The unlucky seed
#
# One run of FLASH-Quad ends at 2.02. Another, the same but for its seed, ends at 2.69, worse than a table that looks three bytes back. What went wrong?
#
# A weight is relu²(q · k / T + b), with a position bias b for each distance. At the start q · k / T is tiny, so b decides. If b is
# negative at every distance, all weights are 0, and the unit reads nothing. Worse, relu² is flat there: no gradient passes, not even to the bias
# that could lift it. Such a unit is *dead*, unless the units before it change what it is given. Here are the shares of weights above zero.

# %%
opened = budget.shares_above_zero()  # run: (updates, a row for each unit)
title = "FLASH-Quad: where units read nothing (crosses), the run ends badly"
label = "share of attention weights\nabove zero"
figure, panels = drawing.new_panels(opened, title=title, xlabel="update", ylabel=label, sharey=True)
none, said = 3e-5, []  # where the logarithmic axis has its zero
for axes, (at, units) in zip(panels, opened.values()):
    shares = np.maximum(units, none)
    drawing.lines(axes, {f"unit {i + 1}": (at, row) for i, row in enumerate(shares)}, markersize=4)
    for row in shares:
        axes.plot(np.array(at)[row == none], row[row == none], "x", color="black", markersize=8)
    axes.set_yscale("log")
    said.append(drawing.in_words(axes, form="{:.2%}"))
panels[0].set_yticks([none, 1e-4, 0.001, 0.01, 0.1, 1], ["none", "0.01%", "0.1%", "1%", "10%", "100%"])
panels[0].minorticks_off()
drawing.legend_below(figure, *panels[0].get_legend_handles_labels())
drawing.show(figure, f"Shares of weights above zero by the update. {'; '.join(said)}.")

# %% [markdown]
# The more units are shut, the worse the run. One is shut from the draw and stays so, others are shut during the warm-up, and a few open again a
# little. But how can a whole bias be negative? In these runs it has the *rotary* form of lecture 02: two vectors make the bias of all distances, so
# an unlucky draw, or an early update, can bring all of them below zero together. The *Toeplitz* form has a number for each distance.
# An explanation is worth something if it can fail: if the shared bias is the cause, then with the Toeplitz form these runs must train. Both
# forms were trained for it, three runs of 1,000 updates each; those above had fewer.

# %% tags=["nbval-check-output"]
runs = [run for run in load_stored("open_units")["runs"] if run["steps"] == 1000]
table = [("bias", "bits per byte, three runs", "dead units of 4")]
for form in ("rotary", "toeplitz"):
    three = [run for run in runs if (run["bias"], run["start"]) == (form, "paper")]
    scored = ", ".join(f"{run['bits_per_byte']:.2f}" for run in three)
    table.append((form, scored, ", ".join(f"{sum(share == 0 for share in run['open_after'])}" for run in three)))
print(drawing.text_table(table))

# %% [markdown]
# With the Toeplitz form no unit of these is dead, so the explanation has passed a test that it could have failed. It is no guarantee: in other runs units
# died with this form too, if seldom. The package takes it up to 512 tokens. Its price is an end: it has one number for each distance, and the list stops.
#
# ## 7. Can the boundary be mended?
#
# Three remedies were tried: chunks twice as long, boundaries moved in every second unit, and a local part that
# reads the chunk before as well (up to 2 C tokens, so its scores are divided by 2 C). They move the whole score by less than another seed does, so comparing the runs' scores says nothing.
#
# But a run can be compared with *itself*. The first eight places of a chunk and the late ones, from the seventeenth on, share the weights, the seed and the
# luck of that run. Take the mean over all late *places*, add up how far each of the first eight lies above it, and divide by the number of all places in the chunk: so
# much a boundary costs each byte. If only the first place of 128 is dearer, by 1.28 bits, it costs 0.01.
#
# **Build the contrast.** A run is stored as mean bits of groups of places: the first, the second, two more, then 4, 8, 16 and so on. A group of 64 counts 64
# times. The places 9 to 16 are neither early nor late, and count in the number of all places alone.


# %%
def boundary_cost(bits, sizes):
    """What a boundary costs each byte of a chunk, by mean bits (G,) of groups of so many places each, sizes (G,)."""
    # BUILD
    ends = np.cumsum(sizes)  # the last place of each group, counted from 1
    early, late = ends <= 8, ends > 16
    level = (bits * sizes)[late].sum() / sizes[late].sum()
    above = (bits - level) * sizes
    return above[early].sum() / sizes.sum()
    # END


boundary_cost = mine.check(boundary_cost)

# %% tags=["nbval-check-output"]
shown = {"FLASH": "FLASH", "local only": "local only", "longer chunks": "C = 256", "moved boundaries": "borders moved"}
shown |= {"reads the chunk before": "chunk before, half the scale", "Transformer++": "Transformer++"}
costs = {}
for name, key in shown.items():
    runs = boundaries.bits_by_place(256 if key == "C = 256" else 128)[key]
    costs[name] = np.array([boundary_cost(bits, np.array(boundaries.GROUPS[: len(bits)])) for bits in runs])
title = "Reading the chunk before takes the boundary's cost away, in every run"
figure, axes = drawing.new_axes(7.4, 3.4, "what a boundary costs, bits per byte (a dot for each run)", title=title)
drawing.strips(axes, costs, form="{:.3f}")
axes.set_xlim(left=0)
by_run = {name: ", ".join(f"{cost:.3f}" for cost in each) for name, each in costs.items()}
drawing.show(figure, f"Dots of what a boundary costs by run. {drawing.listed(by_run, '{}')}.")

# %% tags=["nbval-check-output"]
whole, before = boundaries.whole_scores()["FLASH"], costs["FLASH"].mean()
left = costs["reads the chunk before"].mean() / before
print(f"a boundary costs FLASH {before:.3f} bits per byte; its whole scores lie {np.ptp(whole):.2f} apart")
print(f"reading the chunk before removes {1 - left:.0%} of the cost")

# %% [markdown]
# Now the answer is plain. A boundary costs FLASH three hundredths of a bit a byte and Transformer++ next to nothing. Longer chunks and moved
# boundaries leave 60% of that, and reading the chunk before cures it.
#
# Is the cured model better as a whole? That is open: three hundredths is all that there is to gain, and the scores of its runs lie farther apart.
# The paper found that overlapping chunks help and cost too much; here they make an update an eighth longer.
#
# **A cure without training.** Whoever only scores a text can choose where its windows begin, and chunks are counted from there. A window of 1,024 has four
# chunks of 256, so its last 128 bytes are the second half of the last one. Score only those, and move the window on by 128: then every byte after the
# first window has at least 896 bytes before it, and none stands just after a boundary.
#
# **Build that score.** The first window counts whole. Each later one begins `stride` bytes after the one before, and only its last `stride` bytes count.
# Where the text ends inside a window, it is cut there.


# %%
def bits_with_memory(model, tokens, T, stride):
    """The score of a text in windows of T that overlap: of each but the first only the last ``stride`` bytes count."""
    # BUILD
    nats, done = 0.0, 0  # done: bytes predicted so far
    while done < len(tokens) - 1:
        end = done + (stride if done else T)
        first = end - T
        ids = torch.from_numpy(tokens[first : end + 1].astype(np.int64))[None]
        with torch.no_grad():
            logits = model(ids[:, :-1])
        new = slice(done - first, None)
        nats += float(F.cross_entropy(logits[0, new], ids[0, 1:][new], reduction="sum"))
        done = end
    return nats / math.log(2) / (len(tokens) - 1)
    # END


bits_with_memory = mine.check(bits_with_memory)

# %% tags=["nbval-check-output"]
pages = novel[20_000:23_073]  # 3,072 bytes to predict
for name, model in shipped.items():
    apart, full = bits_per_byte(model, pages, 1024), bits_with_memory(model, pages, 1024, 128)
    print(f"{name:14} {apart:.3f} bits per byte in windows side by side, {full:.3f} with a full memory")

# %% [markdown]
# Both gain by the longer memory, and FLASH gains more, because behind the first window no byte stands at a boundary any more. The price is eight times the
# reading. And it shows that a score means little without the windows it was made with.
#
# **A cure by teaching.** Is the sum to blame, or what was learned? The package has two more models of the same sizes, *students*: they were trained to say
# what the two models of the opening, taken together, say of each byte. Each byte was read twice, from borders half a chunk apart, so what the teachers
# say hardly shows a border. Here is FLASH's student at the first place of a chunk, as it is and without its far part.

# %% tags=["nbval-check-output"]
student = LanguageModel.from_pretrained("austen-flash-student").eval()
for said, far in (("as it is", True), ("without its far part", False)):
    for unit in student.stack.units:
        unit.global_ = far
    first = bits_of_bytes(student)[:, C::C].mean()  # of all chunks but the first
    print(f"the student at the first place of a chunk, {said}: {first:.1f} bits per byte")

# %% [markdown]
# The student loses nothing at a border, and all of that is the far part's doing. So a sum *can* say which letters came last: RoPE writes each token's
# place into its key, and a query can ask for the place just before its chunk. The teacher had not learned to ask. What taught the student is open (see the box). But a fault that looks like
# architecture can be a fault of training: before you change a model, ask whether it could have learned better.
#
# ## 8. Larger and longer: who leads then?
#
# The two models of the opening are four times as large, and were trained by AdamW. Their sizes were also trained from a larger start on three of the novels and scored
# on the fourth, by *Muon*, an optimizer that keeps the directions of a matrix's averaged gradient and makes all of them equally long.

# %% tags=["nbval-check-output"]
leads = {"by AdamW, on Persuasion": budget.lead_by_adamw(), "by Muon, on Emma": budget.lead_by_muon()}
for way, lead in leads.items():
    said = ", ".join(f"after {updates:,} updates {gap:+.3f}" for updates, gap in lead.items())
    print(f"FLASH minus Transformer++ {way}, bits per byte: {said}")

# %% [markdown]
# A comparison that stops early says who starts faster, and not yet who is better. Both models made equally many updates here, and only the first number
# has three seeds. (The opening's number on *Persuasion* is another one: the shipped weights have a temperature, which was chosen afterwards.)
# Smaller models raced by Muon for five minutes of one core, each with the batch that it likes best: who is ahead there the seeds leave open.
#
# ## 9. It depends on the text
#
# In the paper's Table 12, causal models on Wiki-40B, FLASH-Quad is better than Transformer++ at all five lengths and FLASH at four.
# But FLASH's largest lead is 0.02 bits for a token, which is several bytes. So the paper claims *as good as*. Our own runs say:
#
# | in equal time | FLASH minus Transformer++ |
# | --- | --- |
# | novels, the next byte, T = 512 (section 5) | <!-- number: quality.flash_minus_transformer -->-0.027 ± 0.054<!-- /number --> bits a byte |
# | novels, hidden bytes (lecture 06), T = 2,048 | <!-- number: masked.flash_2048 -->-0.478 ± 0.167<!-- /number --> bits a hidden byte |
# | program text, subwords (pieces of words), T = 2,048 | <!-- number: race.transformer -->+0.914 ± 0.319<!-- /number --> bits a token |
#
# On novels the sign changes with clock, length and optimizer ([optimizers](../docs/results.md#optimizers)); the race above is open. Asked for hidden bytes FLASH begins to learn sooner. On program text it loses by far, because Transformer++ learns to
# use what stood far back; [lecture 14](14_who_looks_up.ipynb) asks why. Ask of every race which text, which clock and which optimizer.
#
# ## How we know
#
# - **The shipped models** ([models](../docs/results.md#models), [shipping](../docs/results.md#shipping)): one long run of each, its settings chosen on
#   *Persuasion*; on *Northanger Abbey* they are level within the noise of the text. After 600 updates FLASH minus Transformer++ was <!-- number: shipping.after_600_updates -->-0.149 ± 0.021<!-- /number -->, three runs of each. The
#   figure's bars are standard errors.
# - **The boundary** ([places](../docs/results.md#places)): three runs, 1,000 updates; behind ± stands half of a 95% interval (lecture 10). By the contrast within a run FLASH minus Transformer++ is <!-- number: places.boundary_minus_transformer -->+0.028 ± 0.004<!-- /number -->, and
#   reading the chunk before minus FLASH <!-- number: places.boundary_mended -->-0.028 ± 0.004<!-- /number -->. In whole scores reading the chunk before minus FLASH is <!-- number: places.chunk before, half the scale -->-0.000 ± 0.085<!-- /number -->. Longer chunks and moved
#   boundaries had no search for a rate. The full memory: one passage of one novel.
# - **The student** ([distilled](../docs/results.md#distilled), [models](../docs/results.md#models)): one seed. It had other targets than its teacher, and also
#   more text, Muon, a larger start and no dropout. After 3,000 updates the sums of such a student are worth <!-- number: sums_learned.as_the_student -->0.6 to 1.3<!-- /number --> bits at a chunk's first place, in three
#   runs; in one run asked for bytes <!-- number: sums_learned.asked_for_bytes -->0.3<!-- /number -->, and in one with dropout <!-- number: sums_learned.with_dropout -->0.4<!-- /number -->. Runs of one way differ as much, so what taught them is open; Muon and
#   the start were not changed back ([sums_learned](../docs/results.md#sums_learned)).
# - **One budget** ([quality](../docs/results.md#quality)): FLASH minus Transformer++ <!-- number: quality.flash_minus_transformer -->-0.027 ± 0.054<!-- /number -->. FLASH had a second look at its rate, on the bytes
#   that give the scores; by a later timing Transformer++ had 5% too many updates.
# - **In equal time by Muon** ([optimizers](../docs/results.md#optimizers)): FLASH minus Transformer++ <!-- number: optimizers.by_muon_own_batch -->+0.024 ± 0.069<!-- /number -->, three seeds, with 4 windows an update for FLASH
#   and 8 for Transformer++; with 8 for both <!-- number: optimizers.by_muon -->+0.051 ± 0.048<!-- /number -->.
# - **Section 9**: three seeds each, D = 128. Hidden bytes ([masked](../docs/results.md#masked)): ten minutes of a core, early in training; at T = 512 it is <!-- number: masked.flash_512 -->-0.295 ± 0.187<!-- /number -->. Program
#   text ([race](../docs/results.md#race)): the last 128 of 2,048 tokens, after ten minutes; at D = 64 who is ahead is open.
# - **Dead units** ([open_units](../docs/results.md#open_units), [quality_maps](../docs/results.md#quality_maps)): three runs of each form at one
#   rate, whose scores alone would settle nothing; with the Toeplitz form too units died, in nine runs of 90 ([ablations_long](../docs/results.md#ablations_long)). A rotary bias that starts
#   above zero ends near 2.15, with one dead unit in three runs; why, was not found. From the start by the width three runs have <!-- number: open_units.rotary_width_dead -->0, 1, 0<!-- /number --> dead units with the rotary
#   form and <!-- number: open_units.toeplitz_width_dead -->0, 0, 0<!-- /number --> with the Toeplitz form, and Toeplitz minus rotary is <!-- number: open_units.toeplitz_width -->-0.053 ± 0.041<!-- /number -->.
#
# ## What to remember
#
# Fill in the last column yourself; `learner.verdict("07 quality", "...")` stores it.
#
# | claim | your evidence | your verdict |
# | --- | --- | --- |
# | FLASH is as good as Transformer++ in equal time | sections 5, 8 and 9 | |
# | FLASH loses at chunk boundaries | section 1 | |
# | The boundary can be mended | section 7 | |
# | A training loop is twenty lines | section 4 | |
#
# **Three takeaways**
# 1. A score is all bits over all bytes, and 2.07 is what a table that looks five bytes back gives.
# 2. On novels FLASH loses just behind a boundary, and reading the chunk before mends that; a student has learned to do without.
# 3. An effect smaller than the spread between runs can still show if each run is compared with itself.
#
# **Exercises** [Problem set 07](../exercises/07_set_training.ipynb), eight tasks, from rates to curves that you diagnose.
#
# **Next** [Lecture 08](08_scaling.ipynb) measures time, memory and operations against length, and asks where the curves cross.
#
# ## Appendix: stop, resume, and 16 bits
#
# A run writes *checkpoints*. Weights alone are not its state: AdamW's m and v belong to it, and the number of updates. With all three, a run
# that was cut after 21 updates ends as if it had not been.

# %% tags=["nbval-check-output"]
folder = tempfile.mkdtemp() + "/run"
train(tiny, short, corpus=corpus, out=folder, stop_at=21, device="cpu", progress=False)
resumed = train(tiny, short, corpus=corpus, out=folder, resume=True, device="cpu", progress=False)
print("updates behind the stop:", len(resumed.log) - 21)
off = max(abs(row["loss"] - loss) for row, loss in zip(resumed.log, theirs))
print(f"losses of the resumed run and of the whole one differ by {off:g}")

# %% [markdown]
# In *bfloat16* (lecture 03) 1 - 0.001 is 1. So *mixed* precision keeps weights, averages and sums in float32. Matrix products get copies in 16 bits, and
# what is made from them, as relu², stays in 16 bits.
#
# **Float16 needs one thing more**, since many gradients are smaller than its smallest number. A *scaler* multiplies the loss by 65536 or so, and all
# gradients with it. Then the order matters: multiply the loss, compute the gradient, divide it by the same factor, clip, and step.
