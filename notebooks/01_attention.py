# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 01 Attention: who attends to whom, what it costs, and how it knows the order
#
# [With results](01_attention.ipynb) · [without, to work in](work/01_work_attention.ipynb) · [problem set 01](../exercises/01_set_attention.ipynb) · [glossary](../docs/glossary.md)
#
# Attention is how one token of a Transformer reads another, and it is the part that FLASH replaces. So take it apart first, and build it again.
#
# **After this lecture you can**
# - write softmax attention with its mask and its heads from memory, and find out who sees whom without reading the code;
# - say from which length on attention is the main cost of a Transformer;
# - write RoPE, and say which property of a score it guarantees and ScaledSin does not;
# - read a training loop, and train a small Transformer with three kinds of positions.
#
# **You need** the tour 00, some NumPy, and a rough idea of attention. Lecture 90 helps with einsum and shapes.
#
# **Time** 30 minutes to read, about 50 more to build. Running the code takes about 20 seconds on two CPU cores.
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
# **Who bit whom?** Softmax attention reads two sentences made of the same three words. Each word has a random vector, and the matrices for
# queries, keys and values are random too, as before training. Watch what becomes of *bites*.

# %% tags=["nbval-check-output"]
import math

import numpy as np
import torch
import torch.nn.functional as F

from flash_course import drawing, learner, mine
from flash_course.learner import predict, reveal
from flash_tutorial import reference

torch.set_num_threads(1)
rng = np.random.default_rng(7)
vector = {word: rng.normal(size=8) for word in ("dog", "bites", "man")}
matrices = rng.normal(size=(3, 8, 8)) / math.sqrt(8)
everybody = np.ones((3, 3), bool)  # which word may read which: all may read all
for sentence in ("dog bites man", "man bites dog"):
    x_TD = np.stack([vector[word] for word in sentence.split()])
    read_TD = reference.softmax_attention(*(x_TD @ matrices), everybody)
    print(f"{sentence}: 'bites' becomes", read_TD[1, :4].round(3), "...")

# %% [markdown]
# Not a digit differs, and other matrices would not help: without a mask, attention reads a sentence as a bag of words. Section 6 mends it.
#
# **Two questions from the tour**, to answer from memory:
#
# **1.** Which three complaints does the paper raise against earlier cheap kinds of attention?
#
# **2.** A model scores 3 bits per byte. Three bits of what?
#
# <details><summary>Answers</summary>
#
# 1. They lose quality against a strong baseline; their fewer operations do not save time in practice; and a state that is updated token by token
# trains in T sequential steps.
# 2. Of -log₂ p, on average, where p is the probability that it gave to the byte that came.
#
# </details>

# %% [markdown]
# ## 1. Attention by hand
#
# Softmax attention (Vaswani and others, 2017) fits on paper. Take the six letters of *banana* as six tokens. Each has three vectors:
#
# - a **query**, which says what the token looks for. An *a* looks for *n*, an *n* looks for *a*, and *b* looks for nothing;
# - a **key**, by which it can be found. Here that is the letter itself;
# - a **value**, which is what others get when they read it. Here it is (1, 0) for a vowel and (0, 1) for a consonant.
#
# There are T tokens, a query or a key has S elements (*channels*), and a value has E. Names in the code end with their shape: `q_TS` has T
# rows and S columns. Text and figures count tokens and rows from 1; in the code, token 6 has the index 5.
#
# Token i *attends to* the others, or reads them, in three steps. It **compares** its query with the key of every token j: the score is their
# product, divided by √S. It **weighs**: each score goes through exp and is divided by the sum of them all. And it **mixes**: it adds up the
# values, each times its weight.
#
# $$ s_{ij} = \frac{q_i \cdot k_j}{\sqrt{S}} \qquad w_{ij} = \frac{e^{s_{ij}}}{\sum_{j'} e^{s_{ij'}}} \qquad o_i = \sum_j w_{ij}\, v_j $$
#
# The second step is the **softmax**. Follow token 6, an *a*, with a pencil: its score is ln 4 for each *n* and 0 for all others.

# %%
word, T, S, E = "banana", 6, 4, 2
channel = {"b": 0, "a": 1, "n": 2}  # the fourth of the S channels stays 0
wanted = {"a": "n", "n": "a"}

q_TS, k_TS, v_TE = np.zeros((T, S)), np.zeros((T, S)), np.zeros((T, E))
for t, letter in enumerate(word):
    k_TS[t, channel[letter]] = 1
    v_TE[t] = (1, 0) if letter == "a" else (0, 1)
    if letter in wanted:
        q_TS[t, channel[wanted[letter]]] = 2 * math.log(4)  # chosen so that you will meet whole numbers

# %% tags=["nbval-check-output"]
i = 5
exps = [math.exp(q_TS[i] @ k_TS[j] / math.sqrt(S)) for j in range(T)]
out_E = np.zeros(E)
for j in range(T):
    weight = exps[j] / sum(exps)
    out_E += weight * v_TE[j]
    print(f"token {j + 1}, {word[j]}: exp(score) {exps[j]:.0f}, weight {exps[j]:.0f}/{sum(exps):.0f}, value {v_TE[j]}")
print(f"output of token 6: {out_E[0]:.2f} vowel, {out_E[1]:.2f} consonant")

# %% [markdown]
# Three quarters of what token 6 has read come from consonants. Doing this for every token takes two nested loops. The T × T weights together are the
# **attention matrix**, one row for each token that reads.


# %% tags=["nbval-check-output"]
def attention_loops(q_TS, k_TS, v_TE):
    out_TE = np.zeros_like(v_TE)
    for i in range(len(q_TS)):
        exps = [math.exp(q_TS[i] @ k_S / math.sqrt(q_TS.shape[1])) for k_S in k_TS]
        for j in range(len(k_TS)):
            out_TE[i] += exps[j] / sum(exps) * v_TE[j]
    return out_TE


for t, read_E in enumerate(attention_loops(q_TS, k_TS, v_TE)):
    print(f"token {t + 1}, {word[t]}: {read_E[0]:.2f} vowel, {read_E[1]:.2f} consonant")

# %%
exps_TT = np.array([[math.exp(q_S @ k_S / math.sqrt(S)) for k_S in k_TS] for q_S in q_TS])
weights_TT = np.array([exps / sum(exps) for exps in exps_TT])
panels = {"1. compare: exp(score)": exps_TT.round(), "2. divide by the sum of the row: weight": weights_TT.round(2)}
title = "A row of the attention matrix: how one token divides its attention"
names = [f"{letter}{t + 1}" for t, letter in enumerate(word)]
drawing.show(*drawing.numbers_in_squares(panels, row=6, title=title, names=names))

# %% [markdown]
# Tokens 2, 4 and 6 get the same output: all three are an *a*.
#
# ## 2. Softmax without loops, and without overflow
#
# The scores of all pairs are one product, `q_TS @ k_TS.T / √S`, and the mixing is another, `weights_TT @ v_TE`. Only the softmax between
# them needs care, because exp(1000) is too large for a float. The way out: subtract the largest score of a row from all of its
# scores. This divides each exp of the row by the same number, which the division by their sum cancels.
#
# **Build `softmax`.** From here on you build the course's model yourself. On the page with results the body of such a function is there; in
# the copy to work in it is blank, the line under it says what is right and what is not, and the fold has the answer. What is
# right is kept in a file of your own, `my_flash.py` (in the folder `.flash-tutorial` of your home), and later lectures run it. After lecture 06 it
# holds a whole FLASH.


# %%
def softmax(score):
    """Exps of the scores over the sum of their row, which is the last axis. Scores may be 1000, or -inf."""
    # BUILD
    largest = score.max(axis=-1, keepdims=True)
    exp = np.exp(score - largest)
    return exp / exp.sum(axis=-1, keepdims=True)
    # END


softmax = mine.check(softmax)

# %% [markdown]
# **And why divide by √S?** A sum of S random products grows like √S. Watch what large scores do to the six weights of a row:

# %% tags=["nbval-check-output"]
rng = np.random.default_rng(0)
for width in (4, 64, 1024):
    q, k = rng.normal(size=(500, 1, width)), rng.normal(size=(500, 6, width))
    score = (q * k).sum(-1)  # 500 rows of 6 scores
    plain, divided = softmax(score).max(-1).mean(), softmax(score / math.sqrt(width)).max(-1).mean()
    print(f"S = {width:4d}: scores up to {score.max():3.0f}; largest weight {plain:.1f}, divided by √S {divided:.1f}")

# %% [markdown]
# Undivided, a wide token gives nearly all of its attention to one other token, by accident and before it has learned anything. Divided by √S,
# it looks around at any width.
#
# ## 3. Masks, and a test of who sees whom
#
# A model that writes must not read ahead, so token i may see tokens 1 to i only. Does an implementation keep to that? There is a test that
# never looks inside the layer: **change one token, and see which outputs change.** It is the most useful ten lines of this course, and
# you will need it whenever a loss looks too good.
#
# **Build `reads`.** A layer is any function from (T, D) to (T, E). The docstring says what to put in the place of a token.


# %%
def reads(layer, x_TD):
    """A table (T, T) of True and False: [i, j] says whether output i changes when token j is replaced by other_TD[j]."""
    other_TD = np.random.default_rng(1).normal(size=x_TD.shape)
    # BUILD
    T = len(x_TD)
    before_TE = layer(x_TD)
    sees_TT = np.zeros((T, T), bool)
    for j in range(T):
        changed_TD = x_TD.copy()
        changed_TD[j] = other_TD[j]
        sees_TT[:, j] = (layer(changed_TD) != before_TE).any(axis=1)
    return sees_TT
    # END


reads = mine.check(reads)

# %% [markdown]
# Here are six tokens, and a layer around any attention, with random matrices for queries, keys and values.

# %%
T, D = 6, 8
x_TD = rng.normal(size=(T, D))
W_q, W_k, W_v = rng.normal(size=(3, D, 4)) / math.sqrt(D)


def layer(attend):
    return lambda x_TD: attend(x_TD @ W_q, x_TD @ W_k, x_TD @ W_v)


# %% [markdown]
# A popular way to hide the future: compute the softmax, then set the forbidden weights to zero. `np.tril` does that, it puts zeros above
# the diagonal.


# %%
def no_mask(q_TS, k_TS, v_TE):
    return softmax(q_TS @ k_TS.T / math.sqrt(q_TS.shape[1])) @ v_TE


def masked_after(q_TS, k_TS, v_TE):
    return np.tril(softmax(q_TS @ k_TS.T / math.sqrt(q_TS.shape[1]))) @ v_TE


# %% [markdown]
# **Your guess.** Of the 36 pairs, 15 are forbidden. How many of them does the test still find behind this mask?

# %%
predict("01.a", None)  # your number in place of None

# %%
found = {"no mask": reads(layer(no_mask), x_TD), "mask after the softmax": reads(layer(masked_after), x_TD)}
reveal("01.a", np.triu(found["mask after the softmax"], 1).sum(), "of 15 forbidden pairs")

# %% [markdown]
# All of them! And yet no later *value* is read: those weights are zero. So how does a later token get through? Look at what the weights of
# a row add up to.

# %% tags=["nbval-check-output"]
score_TT = (x_TD @ W_q) @ (x_TD @ W_k).T / math.sqrt(4)
print("row sums, masked after the softmax:", np.tril(softmax(score_TT)).sum(1).round(2))

# %% [markdown]
# **Misconception: masking is something that you do to probabilities.** A softmax divides each row by a sum over *all* tokens, the later ones
# included. So each row carries one number from the future, the share that was cut off, and nothing keeps a model in training from using
# it. The symptom is a row of weights that does not add up to 1.
#
# The mask belongs *between* the scores and the softmax, where it turns every forbidden score into -∞, so that its exp is exactly 0 and
# the sum never hears of it.
#
# **Build `attention`**: scores, mask, softmax, mixing. `np.tri(T, dtype=bool)` is True on and below the diagonal.


# %%
def attention(q_TS, k_TS, v_TE, causal=True):
    """What each token reads, (T, E): token i reads tokens 1 to i, or, if not causal, all T of them."""
    # BUILD
    T, S = q_TS.shape
    score_TT = q_TS @ k_TS.T / math.sqrt(S)
    if causal:
        sees_TT = np.tri(T, dtype=bool)
        score_TT = np.where(sees_TT, score_TT, -np.inf)
    return softmax(score_TT) @ v_TE
    # END


attention = mine.check(attention)

# %% tags=["nbval-check-output"]
found["mask before the softmax"] = reads(layer(attention), x_TD)
title = "A mask after the softmax lets every later token through, by one number a row"
drawing.show(*drawing.who_sees_whom(found, title))
for name, sees_TT in found.items():
    print(f"{name:23} {np.triu(sees_TT, 1).sum():2} forbidden pairs, {np.tril(sees_TT).sum()} allowed ones")
off = np.abs(attention(q_TS, k_TS, v_TE, causal=False) - attention_loops(q_TS, k_TS, v_TE)).max()
print(f"without its mask it differs from the two loops of section 1 by {off:.6f}")

# %% [markdown]
# ## 4. Heads
#
# With one attention matrix a token has one way to divide its attention, but it may need its verb and the last full stop at once. So a
# Transformer has H *heads*. Each attends with its own d = D / H channels. Their outputs are put side by side, and in a Transformer one more D × D matrix, left out
# here, mixes them.
#
# To trace the heads on six tokens, let 32 mean token 3, channel 2. With D = 4 and H = 2 we have d = 2:
#
# | token | head 1 | head 2 |
# | --- | --- | --- |
# | 1 | 11 12 | 13 14 |
# | 2 | 21 22 | 23 24 |
# | 3 | 31 32 | 33 34 |
#
# **Build `multi_head`** from your `attention`. A loop over heads is fine. `np.concatenate(list, axis=1)` puts arrays side by side.


# %%
def multi_head(q_TD, k_TD, v_TD, H, causal=True):
    """Attention in H heads, (T, D): head h has its d = D / H channels of q, k, v and of the output."""
    # BUILD
    d = q_TD.shape[1] // H
    outputs = []
    for h in range(H):
        own = slice(h * d, (h + 1) * d)
        outputs.append(attention(q_TD[:, own], k_TD[:, own], v_TD[:, own], causal))
    return np.concatenate(outputs, axis=1)
    # END


multi_head = mine.check(multi_head)

# %% [markdown]
# **Misconception: a reshape moves data to where you want it.** `reshape(H, T, d)` gives the shape for all heads at once, and looks so much
# neater than a loop. But a reshape keeps the order in memory. All shapes fit, the model trains, and only the test of who sees whom notices:


# %% tags=["nbval-check-output"]
def reshaped(q_TD, k_TD, v_TD, H):
    q, k, v = (x_TD.reshape(H, len(x_TD), -1) for x_TD in (q_TD, k_TD, v_TD))
    outputs = [attention(q[h], k[h], v[h]) for h in range(H)]
    return np.stack(outputs).reshape(v_TD.shape)


for name, split in (("side by side", multi_head), ("reshaped", reshaped)):
    sees_TT = reads(layer(lambda q, k, v, split=split: split(q, k, v, 2)), x_TD)
    print(f"{name:12} {sees_TT.sum()} pairs; token 4 sees tokens", *(np.flatnonzero(sees_TT[3]) + 1))
traced_TD = np.array([[11, 12, 13, 14], [21, 22, 23, 24], [31, 32, 33, 34]])
print("head 1 of three tokens, reshaped:", traced_TD.reshape(2, 3, 2)[0].tolist())

# %% [markdown]
# After the reshape head 1 holds the first tokens in pieces, and head 2 the last ones. Token 4 went into head 2 and no longer sees tokens 1
# to 3. (`reshape(T, H, d)` and then a swap of the first two axes is right; it is an exercise of set 01.)
#
# ## 5. What it costs
#
# A Transformer *block* is two layers, each added to its input: x = x + attention(norm(x)), then x = x + MLP(norm(x)), where the MLP is a
# feed-forward network that works on each token by itself. Attention compares all pairs, so everybody knows that it is what makes a
# Transformer expensive.
#
# **Your second guess.** GPT-3 is D = 12,288 channels wide. From how many *thousand* tokens on does its attention take more multiply-adds
# than the rest of a block?

# %%
predict("01.b", None)  # your number in place of None

# %% [markdown]
# Count. Causal attention has T (T + 1) / 2 visible pairs. Each takes S *multiply-adds* for its score and E for the mixing. In a Transformer
# all heads together have S = E = D, so a pair costs 2 D, however many heads there are. All pairs: close to D T².
#
# The rest is paid once for each token: four D × D matrices for q, k, v and the output, and an MLP from D to 4 D channels and back, together
# 12 D². All tokens: 12 D² T.
#
# So attention overtakes the rest where D T² = 12 D² T, **at T = 12 D**. Let the package count at this length, and at T = 512:

# %% tags=["nbval-check-output"]
from flash_course.bench.counts import count_multiply_adds
from flash_tutorial import TransformerBlock

for name, D in (("the paper's base model", 768), ("a model of 7 billion", 4096), ("GPT-3", 12_288)):
    with torch.device("meta"):  # shapes only, no memory
        block = TransformerBlock(D, heads=D // 64, causal=True)
    shares = []
    for T in (512, 12 * D):
        shares.append(D * T * (T + 1) / count_multiply_adds(block, T))
    print(f"{name:22} D = {D:6,}: attention is {shares[0]:4.1%} at T = 512, {shares[1]:.0%} at T = {T:7,}")
reveal("01.b", round(T / 1000), "thousand tokens")

# %% [markdown]
# At 512 tokens attention is next to nothing in a wide model, and half of GPT-3's block only where the sequence is as long as a novel. So
# attention is *not* the main cost of a Transformer, until sequences are long. There FLASH has something to win, and this little formula
# says what "long" means.
#
# And memory? An attention matrix has T² entries for each head. Torch's *fused kernel* does scores, softmax and mixing piece by piece, so that
# the matrix never exists as a whole. (Its axes are `(B, H, T, d)`, batch and heads first.)

# %%
from flash_course.bench.clock import peak_bytes
from flash_tutorial import mixing

device = "cuda" if torch.cuda.is_available() else "cpu"
T = 4096 if device == "cuda" else 1024
q, k, v = torch.randn(3, 1, 4, T, 16, device=device)  # four heads
held = peak_bytes(lambda: mixing.softmax_attention(q, k, v, causal=True), device)
print(f"T = {T}: the matrices of four heads would have {4 * 4 * T**2 / 1e6:.1f} MB in float32")
if held is not None:  # not every device can tell
    print(f"the fused kernel held {held / 1e6:.1f} MB at most")

# %% [markdown]
# ## 6. Positions: attention alone does not know the order
#
# An output is a sum over the tokens seen, and a sum does not care about the order of its terms. A causal mask tells which tokens came
# earlier, but hands those over as a bag again: shuffle the first five letters of *banana*, and the sixth gets what it got before.

# %% tags=["nbval-check-output"]
for order in ([0, 1, 2, 3, 4, 5], [4, 2, 0, 3, 1, 5]):
    read_E = attention(q_TS[order], k_TS[order], v_TE[order])[5]
    print(f"{''.join(word[t] for t in order)}: token 6 reads {read_E[0]:.2f} vowel, {read_E[1]:.2f} consonant")

# %% [markdown]
# One causal layer cannot tell the order of what it reads, so something must tell each token its position. The paper's plain Transformer adds a **learned
# position embedding**, one vector for each position up to the last one seen in training. (The Transformer of 2017 added fixed sinusoids.)
#
# **ScaledSin** (Code 2 of the paper) adds sinusoids, which have no last position. Position t, counted from 0, gets the sines and the cosines
# of D/2 angles t f. The frequencies f fall from 1 towards 1/10,000:
#
# $$ f_m = 10000^{-m / (D/2)}, \qquad m = 0, 1, \ldots, D/2 - 1 $$
#
# All are multiplied by *one* learned scalar, left out here, and added once, before the first block.
#
# **Build `scaled_sin`.** The sines come first, then the cosines, as in the paper.


# %%
def scaled_sin(T, D):
    """The table (T, D): row t holds sin(t f) of all D/2 frequencies, and then cos(t f) of all of them."""
    # BUILD
    half = D // 2
    frequency = 10000.0 ** (-np.arange(half) / half)
    angle = np.arange(T)[:, None] * frequency  # (T, D/2)
    return np.concatenate([np.sin(angle), np.cos(angle)], axis=1)
    # END


scaled_sin = mine.check(scaled_sin)

# %% [markdown]
# ### RoPE: rotate queries and keys
#
# **RoPE** (rotary position embedding; Su and others, 2021; Code 3 of the paper) adds nothing. In each layer it *rotates* queries and keys
# before they are compared. Take two channels as a point in the plane, and at position t rotate it around the origin by the angle t f. With
# f = 1 the point (1, 0) becomes (cos t, sin t), and the score of two such points is the cosine of the angle between them.

# %%
one = np.array([1.0, 0.0])
drawing.show(*drawing.turned_pairs(one, one, [(2, 0), (4, 2), (5, 2)]))

# %% [markdown]
# Compare the first two circles: both pairs stand two positions apart, and their scores are equal. Rotating query and key by the same extra
# angle leaves the angle between them as it was, so **a score depends on the difference of the positions alone**.
#
# S channels make S/2 such points, each with a frequency of its own, those of ScaledSin with S in the place of D. The paper pairs channel c
# with channel c + S/2. Rotating the point (x₁, x₂) by the angle α gives
#
# $$ y_1 = x_1 \cos\alpha - x_2 \sin\alpha, \qquad y_2 = x_2 \cos\alpha + x_1 \sin\alpha $$
#
# **Build `rope`.** Your FLASH will call it in every unit, so it takes any axes before (T, S), and tensors of torch as well as arrays. The
# first lines see to that: `like(a)` turns a NumPy array into the kind of array that x is, and `join` concatenates that kind. Make the angles, their
# cosines and their sines in NumPy, and call `like` on the cosines and sines alone: far from the start an angle needs all its digits. When a model writes, its next
# token does not stand at position 0: `first` is the position of the first row.


# %%
def rope(x, first=0):
    """x (..., T, S) with the pair of channels (c, c + S/2) of row t rotated by the angle (first + t) f_c."""
    like, join = np.asarray, np.concatenate
    if torch.is_tensor(x):  # from lecture 03 on
        like, join = x.new_tensor, torch.cat
    # BUILD
    T, S = x.shape[-2:]
    half = S // 2
    frequency = 10000.0 ** (-np.arange(half) / half)
    angle = (first + np.arange(T))[:, None] * frequency  # (T, S/2)
    cos, sin = like(np.cos(angle)), like(np.sin(angle))
    x1, x2 = x[..., :half], x[..., half:]
    return join([x1 * cos - x2 * sin, x2 * cos + x1 * sin], -1)
    # END


rope = mine.check(rope)

# %% [markdown]
# Do added positions have this property too? Put one query and one key at every pair of positions three apart, and look at their scores.

# %% tags=["nbval-check-output"]
T, D = 32, 16
query_D, key_D = np.random.default_rng(3).normal(size=(2, D))
W_query, W_key = np.random.default_rng(4).normal(size=(2, D, D)) / math.sqrt(D)
learned_TD = np.random.default_rng(5).normal(size=(T, D))  # as at its start


def scores_added(table_TD):  # positions are added, then come the matrices for queries and keys
    return (query_D + table_TD) @ W_query @ (W_key.T @ (key_D + table_TD).T)


same = np.ones((T, 1))  # the same token at all positions
score_tables = {
    "learned": scores_added(learned_TD),
    "ScaledSin": scores_added(scaled_sin(T, D)),
    "RoPE": rope(same * (query_D @ W_query)) @ rope(same * (key_D @ W_key)).T,
}
three_apart = {name: np.diag(table_TT, -3) for name, table_TT in score_tables.items()}
for name, scores in three_apart.items():
    print(f"{name:10} scores at distance 3: from {scores.min():5.1f} to {scores.max():5.1f}")

# %%
title = "The same two tokens, three apart: only RoPE scores them alike everywhere"
figure, axes = drawing.new_axes(6.6, 3.0, "position of the query", "score", title)
drawing.lines(axes, {name: (np.arange(3, T), scores) for name, scores in three_apart.items()}, markersize=3)
drawing.name_lines(axes)
drawing.show(figure, f"Lines of the score by position: {drawing.in_words(axes)}.")

# %% [markdown]
# The sinusoids alone would keep the property, since the product of two of their rows depends on the distance. But they are added to a token,
# and the sum goes through the matrices for queries and keys, where the two get mixed up.
#
# ## 7. From Transformer to Transformer+, and a model that learns to write
#
# The paper's three Transformers use softmax attention and differ mainly in two places:
#
# | | positions | feed-forward layer |
# | --- | --- | --- |
# | Transformer | learned | MLP |
# | Transformer+ | ScaledSin and RoPE | MLP |
# | Transformer++ | ScaledSin and RoPE | GLU, an MLP with a gate (lecture 02) |
#
# Is it worth it? That takes training, so here is the whole of it. An update draws windows of text, asks the model for the next byte at every
# place, takes the gradient of the loss, cuts it if it is too long, and moves the weights a little. Everything called *training* in this
# course is this loop.


# %%
from flash_tutorial.training import draw_batch, learning_rate_at


def training_loop(model, text, settings, after_update):
    """Train a model on a text. Gives the loss of each update, in bits per byte."""
    optimizer = torch.optim.AdamW(model.parameters(), eps=1e-6, weight_decay=0.01)
    losses = []
    for step in range(settings.steps):
        ids, targets = draw_batch(text, settings, step, causal=True)  # (B, T): bytes, and the byte after each
        logits = model(torch.from_numpy(ids))  # (B, T, 256): a score for each possible next byte
        loss = F.cross_entropy(logits.flatten(0, 1), torch.from_numpy(targets).flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate_at(step, settings)  # up for 20 updates, then down in a line to 0
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item() / math.log(2))
        after_update(step + 1)
    return losses


# %% [markdown]
# Let it train the small Transformer+, a model of 116,000 parameters, and let the model write on the way.

# %%
from flash_tutorial import LanguageModel, ModelConfig
from flash_tutorial.corpora import ByteTokenizer, load_corpus
from flash_tutorial.training import TrainConfig

corpus, tokenizer = load_corpus("austen"), ByteTokenizer()
settings = TrainConfig(steps=300, batch=16, length=64, learning_rate=3e-3, warmup=20, eval_bytes=20_000)
size = dict(dim=64, depth=2, heads=2, ff_dim=256, max_length=64, norm="layer", start="paper")  # start: lecture 03
torch.manual_seed(settings.seed)
model = LanguageModel(ModelConfig("transformer+", **size))


def write(step):
    if step in (0, 30, 100, 300):
        prompt = torch.tensor(tokenizer.encode("Emma was "))[None]
        ids = model.generate(prompt, 50, temperature=0.7, generator=torch.Generator().manual_seed(0))
        print(f"after {step:3} updates: Emma was {tokenizer.decode(ids[0])!r}")


write(0)
by_hand = training_loop(model, corpus.train, settings, write)

# %% [markdown]
# First any bytes, then the letters that English uses most, then things that have the length of words. Nobody told it what a word is.
#
# The package's `train` does the same, and besides writes checkpoints and scores the model. Train the plain Transformer with it. Its run with
# ScaledSin alone is stored, and so is one of the model above, by `train`: the two loops should agree.
#
# **Your scoreboard.** Lectures 02, 03, 04 and 12 train this tiny model with another way to mix tokens, and write its score on held-out text into a
# small file that holds your guesses too; `flash-tutorial report` in a terminal prints it.

# %%
from flash_course.bench.stored import compare_with_stored, load_stored
from flash_tutorial.training import evaluate, first_bytes, train

plain = train(ModelConfig("transformer", **size), settings, corpus=corpus, progress=False)
stored = load_stored("scoreboard")
curves = {
    "learned positions": [row["bits_per_byte"] for row in plain.log],
    "ScaledSin, stored": np.array(stored["runs"]["01 ScaledSin"]["losses"]) / math.log(2),
    "ScaledSin + RoPE": by_hand,
}
drawing.show(*drawing.loss_curves(curves, title="With RoPE the loss falls faster, and goes on falling"))

# %% tags=["nbval-check-output"]
compare_with_stored("01", {"learned positions": plain})  # stored by experiments/scoreboard.py, with the same settings
of_train = np.array(stored["runs"]["01 ScaledSin + RoPE"]["losses"]) / math.log(2)
apart = np.abs(np.array(by_hand[:30]) - of_train[:30]).max()
print(f"the first 30 losses of the loop and of train differ by up to {apart:.2f} bits")
held_out = first_bytes(corpus.validation, settings.eval_bytes)
here = {
    "learned positions": plain.evaluation.bits_per_byte,
    "ScaledSin + RoPE": evaluate(model, held_out, settings.length, settings.batch).bits_per_byte,
}
print("bits per byte             three seeds, stored      here")
for name in ("01 learned positions", "01 ScaledSin", "01 ScaledSin + RoPE", "00 transformer++"):
    three = ", ".join(f"{bits:.2f}" for bits in stored["seeds"][name])
    print(f"{name[3:]:25} {three}", f"{here[name[3:]]:8.1f}" if name[3:] in here else "")

# %%
from flash_course.bench.counts import count_state_numbers

for name, bits in here.items():
    kept = count_state_numbers(model, settings.length)  # entries of keys and values after 64 bytes, with both
    learner.score("01", f"softmax, {name}", bits_per_byte=bits, state_numbers=kept)

# %% [markdown]
# The gain comes with RoPE. It closes most of the gap to Transformer++, and it has no parameters. ScaledSin alone is slightly worse than learned
# positions here, but it costs a single parameter and has no last position. In the paper, too, better positions close most
# of the gap to Transformer++.
#
# ## How we know
#
# - Section 7: the [scoreboard](../docs/results.md#scoreboard), three seeds, windows of 64 bytes, 300 updates, one learning rate for all.
#   At each seed RoPE wins by more than 0.3 bits, and ScaledSin alone loses to learned positions. Other rates and longer runs were not tried.
# - The paper tests ScaledSin and RoPE together. They close from 59% (C4 at T = 2048) to 99% (Wiki-40B at T = 1024) of the gap in perplexity
#   between Transformer and Transformer++. Of these three only the plain Transformer was trained without gradient clipping, so that
#   part of the gap may be unstable training.
# - Section 5 counts multiply-adds of a forward pass, T (T + 1) / 2 pairs. It is no measurement of time, which is lecture 08's subject.
# - Section 3: a mask after the softmax that is followed by a division by the sums of the rows is right on paper. In floats a later
#   score that is much larger wipes out the earlier ones first.
#
# ## What to remember
#
# Fill in the last column yourself.
#
# | claim | your evidence | your verdict |
# | --- | --- | --- |
# | A mask belongs before the softmax | section 3 | |
# | Attention is the main cost of a Transformer | section 5 | |
# | RoPE's scores depend on differences of positions only | section 6 | |
# | Better positions explain most of Transformer++'s lead | section 7 | |
#
# **Three takeaways**
# 1. Hide scores, not weights, and then test who sees whom by changing one token.
# 2. Causal attention costs D T² multiply-adds, the rest of a block 12 D² T: they are equal at T = 12 D. More heads cost nothing more here, but
#    each has an attention matrix of its own.
# 3. RoPE rotates queries and keys, so that scores depend on differences of positions. It has no parameters.
#
# **Exercises** [Problem set 01](../exercises/01_set_attention.ipynb), six tasks, from a causal softmax to a sliding window.
#
# **Next** [Lecture 02](02_gated_attention_unit.ipynb) puts a gate and attention into one unit, and drops the softmax.
