# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 05 Mixed chunk attention: near tokens one by one, far ones through a sum
#
# [With results](05_mixed_chunk_attention.ipynb) · [without, to work in](work/05_work_mixed_chunk_attention.ipynb) · [problem set 05](../exercises/05_set_mixed_chunk_attention.ipynb) · [glossary](../docs/glossary.md)
#
# Softmax attention compares every pair of tokens, at a cost of T². Linear attention squeezes the past into one state, at a cost of T.
# Mixed chunk attention refuses to choose: inside a chunk of C tokens it compares every pair, and between chunks it passes a state along.
# That is the attention of FLASH, and at the end you will write it from memory.
#
# **After this lecture you can**
# - write mixed chunk attention as loops, in four pieces of PyTorch, and on a blank page;
# - say which token reads which, in which of two ways, and what each way costs;
# - test that a causal layer reads nothing later;
# - read the weights of a trained FLASH, and explain how it recalls a fact from an earlier chunk.
#
# **You need** lecture 02 (the unit) and lecture 04 (the chunk form).
#
# **Time** 38 minutes to read, about 70 more to build. Running the code takes about 30 seconds on two CPU cores.
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
# A memory game. The first eight tokens tie letters to numbers; later tokens are letters again, and at each the model has to say
# the number that belongs to it. Every sequence ties anew, so nothing can be memorised.

# %% tags=["nbval-check-output"]
import numpy as np
import torch
import torch.nn.functional as F

from flash_course import drawing, mine
from flash_course.bench.tasks import IGNORE, mqar
from flash_tutorial import LanguageModel

torch.set_num_threads(1)
game = dict(chunk_size=8, pairs=4, keys=16, values=16, questions=56)
ids, targets = mqar(512, 64, np.random.default_rng(123), **game)
asked = targets != IGNORE
signs = ["·", *"ABCDEFGHIJKLMNOP", *map(str, range(1, 17))]
print("tied:   ", *(signs[n] for n in ids[0, :8]))
print("asked:  ", *(f"{signs[n]:>2}" for n in ids[0, 8:24]), "...")
print("answers:", *(f"{signs[n]:>2}" for n in targets[0, 8:24]), "...")

# %% [markdown]
# Three small models were trained on it. In one a token reads its own chunk of eight, token by token. In one it reads all
# earlier chunks, but only as a single sum. The third does both.

# %% tags=["nbval-check-output"]
names = {"local only": "recall-local", "global only": "recall-global", "FLASH, both": "recall-flash"}
players = {name: LanguageModel.from_pretrained(stored) for name, stored in names.items()}


@torch.no_grad()
def answers(model):
    return model(torch.from_numpy(ids)).argmax(-1).numpy()


def recall(model):
    """How many percent of the questions it answers."""
    return 100 * (answers(model) == targets)[asked].mean()


right = {name: recall(model) for name, model in players.items()}
of_the_four = (answers(players["global only"])[:, :, None] == ids[:, None, 1:8:2]).any(-1)[asked].mean()
print(", ".join(f"{name} {share:.0f}%" for name, share in right.items()))
print(f"global only: {of_the_four:.0%} of its answers are one of the sequence's four numbers")

# %%
title = "Neither part can recall alone: together they answer everything"
figure, axes = drawing.new_axes(6.8, 2.5, "questions answered, % (dotted: a blind guess)", title=title)
drawing.bars(axes, right, form="{:.0f}")
axes.axvline(100 / 16, color=drawing.BLACK, linestyle=":")
drawing.show(figure, f"Bars of the questions answered, in percent: {drawing.listed(right, '{:.0f}')}.")
drawing.show(*drawing.flash_unit())

# %% [markdown]
# The local model guesses blindly, because nothing leads from a question back to the first chunk. The global model is stranger. It always
# names one of the four numbers of its own sequence, and gets one in four right: it knows *what* was said, and not *about whom*. What do the
# two parts do for each other? At the end you will put your own function into the winner, take it apart, and see.
#
# The second picture is the plan of a layer.
# The **local part** is the relu² attention of lecture 02 inside each chunk. The **global part** is the linear attention of lecture 04, with one
# state for each *chunk*. They are added; the rest is the gated unit that you know. Three pairs of words mean these two: *local* and *global* say
# what a part is, *near* and *far* whom it reads, and *quad* and *lin* are the paper's names for their queries and keys.
#
# Two questions from lecture 04.
#
# **1.** What does the state of linear attention hold?
#
# <details><summary>Answer</summary>
#
# The sum of kᵀ v over all tokens read so far, S × E entries, however many tokens there were.
#
# </details>
#
# **2.** Why is its token-by-token form slow to train, and what does the exact chunk form do about it?
#
# <details><summary>Answer</summary>
#
# It takes T sequential steps. The chunk form passes a state once a chunk, and C changes nothing but speed.
#
# </details>
#
# ## 1. What it costs
#
# Take the paper's base model, S = 128 and E = 1536, and count multiply-adds for one token. Near, it meets the C tokens of its chunk, at S
# for each score and E for each value. Far, it adds S × E products to a state and reads as many. The near bill grows with C; the far one does
# not.

# %% tags=["nbval-check-output"]
S, E = 128, 1536
bill_far = 2 * S * E / 1000
print("thousand multiply-adds a token")
print("      C   near    far   both")
for C in (64, 128, 236, 256, 512, 1024):
    bill_near = C * (S + E) / 1000
    print(f"{C:7,} {bill_near:6.0f} {bill_far:6.0f} {bill_near + bill_far:6.0f}")
print(f"equal at C = 2 S E / (S + E) = {2 * S * E / (S + E):.0f}")
print(f"full attention over 8,192 tokens: {8192 * (S + E) / 1000:,.0f}")

# %% [markdown]
# The two bills are equal at C = 236. The paper takes 256, and 512 for books. With C = 128 this bill falls by a quarter, but the dense
# layers of a unit cost 3.6 million multiply-adds a token, so that the whole unit gets only 5% cheaper. A much larger C is full attention again. And
# this count does not grow with the text. The paper's clock nearly agrees: in its Table 12 a training step of 2¹⁸ tokens, cut
# into ever longer sequences, takes FLASH 57 ms at T = 512 and 63 at 8,192, and FLASH-Quad, a stack of GAUs, 54 and 141.
#
# ## 2. Four heads of one base, on six tokens
#
# Each part gets a query and a key of its own: four *heads* of z, in the paper's word, each with a scale and an offset. They are called quad_q,
# quad_k, lin_q and lin_k. The value v serves both parts. To trace every number by hand, take S = E = 2 and six tokens in chunks of C = 2.

# %% tags=["nbval-check-output"]
z_TS = np.array([(1, 0), (0, 1), (2, 1), (1, 1), (0, 2), (2, 0)])
v_TE = np.array([(0, -4), (8, 0), (4, 8), (4, 4), (0, 4), (-4, 0)])
gamma_4S = np.array([(0, -2), (-1, 1), (1, 1), (1, 2)])
beta_4S = np.array([(-2, 2), (-1, -1), (1, 0), (-1, -1)])
heads_4TS = z_TS * gamma_4S[:, None] + beta_4S[:, None]
quad_q, quad_k, lin_q, lin_k = heads_4TS

print("token     z   quad_q   quad_k   lin_q   lin_k       v")
for i in range(6):
    row = [f"{a[i][0]:2}, {a[i][1]:2}" for a in (z_TS, *heads_4TS, v_TE)]
    print(f"{i + 1:3}  ", "   ".join(row))

# %% [markdown]
# ## 3. The local part
#
# Token i attends to the tokens of its own chunk, up to itself. Its score is q · k / C; a bias is added, and relu² is taken of the sum. All chunks
# share one bias, a table of C × C entries.
#
# **Build** it as two loops, over the token i that reads and over the tokens j that it reads: slow, and what the fast form of section 5 is
# tested against. (`i // C * C` is the first token of i's chunk.)


# %%
def local_loops(q_TS, k_TS, v_TE, bias_CC, C):
    """What each token reads of its own chunk, (T, E), token by token."""
    # BUILD
    out_TE = np.zeros(v_TE.shape)
    for i in range(len(q_TS)):
        first = i // C * C  # of its chunk
        for j in range(first, i + 1):
            s = q_TS[i] @ k_TS[j] / C + bias_CC[i - first, j - first]
            out_TE[i] += max(s, 0) ** 2 * v_TE[j]
    return out_TE
    # END


local_loops = mine.check(local_loops)

# %% tags=["nbval-check-output"]
C, bias_CC = 2, np.array([(0, 1), (-1, 0)])
for i, j in ((4, 4), (5, 4), (5, 5)):
    product, b = quad_q[i] @ quad_k[j], bias_CC[i - 4, j - 4]
    s = product / C + b
    print(f"token {i + 1} reads {j + 1}: {product:2} / {C} + {b:2} = {s:4.1f}, weight {max(s, 0) ** 2:.0f}")
print("near:", local_loops(quad_q, quad_k, v_TE, bias_CC, C).astype(int).tolist())

# %% [markdown]
# Token 6 reads 1 × (0, 4) from token 5 and 4 × (-4, 0) from itself, which makes (-16, 4). Token 5 is the first of its chunk: it can read only
# itself, and there the sum is 0.
#
# ## 4. The global part
#
# A chunk leaves behind one array of S × E entries, the sum of kᵀ v over its tokens; call it the chunk's *summary*. Token i multiplies
# its lin_q with the summaries of the **earlier** chunks. For the tokens of chunk g, counted from 1 (equation 8 of the paper, with the
# division of its Code 8):
#
# $$\text{far}_g = Q^{\text{lin}}_g \; \frac{1}{(g-1)\,C} \sum_{c=1}^{g-1} {K^{\text{lin}}_c}^{\top} V_c$$
#
# In words: add kᵀ v of all tokens in the chunks before yours and divide by the number of these tokens. A *mean* is read, and without a relu², so a
# weight may be negative.
#
# **Build** it, in loops again. A token of chunk 1 reads nothing; `np.outer(k_TS[j], v_TE[j])` is what token j adds to a sum.


# %%
def global_loops(q_TS, k_TS, v_TE, C):
    """What each token reads of the chunks before its own, (T, E), token by token."""
    # BUILD
    out_TE = np.zeros(v_TE.shape)
    for i in range(C, len(q_TS)):  # chunk 1 reads nothing
        tokens = i // C * C  # in the chunks before its own
        kv_SE = 0
        for j in range(tokens):
            kv_SE = kv_SE + np.outer(k_TS[j], v_TE[j])
        out_TE[i] = q_TS[i] @ kv_SE / tokens
    return out_TE
    # END


global_loops = mine.check(global_loops)

# %% tags=["nbval-check-output"]
from flash_course import lab


def summaries(k_TS, v_TE, C):
    """K^T V of each chunk."""
    return np.array([k_TS[g : g + C].T @ v_TE[g : g + C] for g in range(0, len(k_TS), C)])


print("far:", global_loops(lin_q, lin_k, v_TE, C).astype(int).tolist())
title = "The prefix sum, shifted by one chunk, is what a chunk reads"
drawing.show(*drawing.exclusive_sum(summaries(lin_k, v_TE, C), [C, C, C], title=title))
lab.show(lab.six_tokens())

# %% [markdown]
# The prefix sum of chunk 2 holds chunks 1 and 2, and it is handed to chunk 3: an *exclusive prefix sum*. Token 6 multiplies its lin_q (3, 0)
# with the last array: 3 × (-1, 2) + 0 × (4, 4) = (-3, 6).
#
# Both parts are sums of weights times values, so each is also an attention matrix. On a live page, point at a number to see what it is made of.
#
# ## 5. Without loops
#
# Now in PyTorch, with a batch axis B in front and no loop over tokens: four pieces.
#
# **First piece.** Cut (B, T, S) into chunks, (B, G, C, S), with zeros behind the last token. They do no harm: a padded key comes with a
# value of zero, and what a padded query reads is cut off in the end.


# %%
def to_chunks(x, C):
    """(B, T, S) -> (B, G, C, S), with zeros behind the last token where C does not divide T."""
    # BUILD
    missing = -x.shape[1] % C
    x = F.pad(x, (0, 0, 0, missing))
    return x.unflatten(1, (-1, C))
    # END


to_chunks = mine.check(to_chunks)

# %% [markdown]
# **Second piece.** The local part, for all chunks at once: `q @ k.mT` is a C × C square for each chunk of each sequence. Mind the order: the
# bias is added before relu², and the mask comes last.


# %%
def local_part(q, k, v, bias_CC):
    """relu² attention inside each chunk, causal: q, k (B, G, C, S), v (B, G, C, E) -> (B, G, C, E)."""
    # BUILD
    C = q.shape[2]
    scores = q @ k.mT / C + bias_CC
    weights = torch.relu(scores) ** 2
    weights = weights.tril()
    return weights @ v
    # END


local_part = mine.check(local_part)

# %% [markdown]
# **Third piece.** The exclusive prefix sum over the axis of chunks. `x.cumsum(1)` gives the inclusive one; shift it by one chunk, and let
# zeros in at the front.


# %%
def earlier_chunks(x):
    """(B, G, ...) -> the same shape: for each chunk the sum over the chunks before it."""
    # BUILD
    sums = x.cumsum(1)
    before = torch.zeros_like(x)
    before[:, 1:] = sums[:, :-1]
    return before
    # END


earlier_chunks = mine.check(earlier_chunks)

# %% [markdown]
# **Fourth piece.** The global part: summaries, their exclusive sum, the division. All earlier chunks are full, so chunk g divides by
# (g - 1) C. Chunk 1 reads nothing, and 0 / 0 is to be avoided.


# %%
def global_part(q, k, v):
    """The mean over earlier chunks, read with q: q, k (B, G, C, S), v (B, G, C, E) -> (B, G, C, E)."""
    # BUILD
    G, C = q.shape[1:3]
    kv = k.mT @ v
    before = earlier_chunks(kv)
    tokens = C * torch.arange(G, device=q.device).clamp(min=1)
    return q @ (before / tokens[:, None, None])
    # END


global_part = mine.check(global_part)

# %% [markdown]
# Do they give what the loops gave, on the six tokens, and on 14 tokens with C = 4? In the second case
# RoPE rotates all four heads beforehand, by the position in the whole *sequence* and not in the chunk.


# %% tags=["nbval-check-output"]
def mixed(heads, v, bias_CC, C, near=1, far=1, global_part=global_part):
    """Both parts, of heads (4, B, T, S) and v (B, T, E); near=0 or far=0 leaves one out."""
    quad_q, quad_k, lin_q, lin_k, v_chunks = (to_chunks(x, C) for x in (*heads, v))
    near_part = near * local_part(quad_q, quad_k, v_chunks, bias_CC)
    far_part = far * global_part(lin_q, lin_k, v_chunks)
    return (near_part + far_part).flatten(1, 2)[:, : v.shape[1]]


six, six_v, six_bias = (torch.tensor(a).double() for a in (heads_4TS[:, None], v_TE[None], bias_CC))
print("near:", mixed(six, six_v, six_bias, C, far=0)[0].int().tolist())
print("far: ", mixed(six, six_v, six_bias, C, near=0)[0].int().tolist())

# %% tags=["nbval-check-output"]
from flash_tutorial import reference

rng = np.random.default_rng(0)
T, E, S, C = 14, 16, 4, 4
not_rotated = rng.normal(size=(4, T, S))
h_4TS = reference.rope(not_rotated)
v_TE = rng.normal(size=(T, E))
bias_CC = reference.toeplitz_bias(rng.normal(size=2 * C - 1), C)  # of lecture 02

heads, v, bias = (torch.from_numpy(a) for a in (h_4TS[:, None], v_TE[None], bias_CC))
mine_TE = mixed(heads, v, bias, C)[0].numpy()
everybody = np.ones(T, bool), np.zeros(T, int)  # no padding, one document
package_TE = reference.mixed_chunk_attention(h_4TS, v_TE, *everybody, bias_CC, chunk_size=C, causal=True)
loops_TE = local_loops(*h_4TS[:2], v_TE, bias_CC, C) + global_loops(*h_4TS[2:], v_TE, C)
print(f"from the loops:   {np.abs(mine_TE - loops_TE).max():.10f}")
print(f"from the package: {np.abs(mine_TE - package_TE).max():.10f}")

# %% [markdown]
# ## 6. Who reads whom
#
# Figure 4 of the paper draws who reads whom. Let us measure it: change one token, and see which outputs move. The bias is raised for this
# question, so that relu² closes no pair that is allowed.
#
# **Your first guess.** 14 causal tokens make 105 pairs, each with itself or with an earlier one. With C = 4, how many of these are
# compared one by one?

# %%
from flash_course.learner import predict, reveal

predict("05.a", None)  # your number in place of None


# %%
def moves(**how):
    """[i, j]: output i of these parts changes when the heads and the value of token j change."""
    before = mixed(heads, v, bias + 20, C, **how)  # 20: more than any score here
    moved = np.zeros((T, T), bool)
    for j in range(T):
        h, w = heads.clone(), v.clone()
        h[:, 0, j] += 1
        w[0, j] += 1
        moved[:, j] = (mixed(h, w, bias + 20, C, **how) != before)[0].any(-1)
    return moved


# %% tags=["nbval-check-output"]
near, far = moves(far=0), moves(near=0)
far &= ~np.eye(T, dtype=bool)  # changing a token changes its query too: that is not reading
who = near * drawing.DIRECT + far * drawing.SUMMED
figure = drawing.who_reads_whom(
    {f"chunks of {C}": who}, C, title="Near tokens one by one, far ones through a mean", width=4.6
)
drawing.show(*figure)
reveal("05.a", near.sum(), "pairs")
print("tokens 1 to 14, read one by one:", near.sum(1).tolist())
print("          read through the mean:", far.sum(1).tolist())

# %% [markdown]
# Every earlier token may be read, in one of the two ways. Token 8 reads four tokens one by one and token 9 a single one, itself, because
# the near part starts anew in each chunk. Two neighbours on either side of a boundary are never compared.
#
# **Misconception 1: the global part is a summary of everything before the token.** Leave the local part out and change token 7.
#
# **Misconception 2: the sum itself keeps the order of chunk 1.** Add its products kᵀ v in another order: its keys, already rotated, change places
# together with their values. Then let the *tokens* change places, before RoPE.

# %% tags=["nbval-check-output"]
changed = v.clone()
changed[0, 6] += 10
for name, on in (("global part alone", 0), ("with the local part", 1)):
    before, after = (mixed(heads, x, bias, C, near=on)[0] for x in (v, changed))
    moved = (before != after).any(-1).nonzero()[:, 0] + 1
    print(f"{name:20} token 7 changed; outputs that move: {moved.tolist()}")

h, w = heads.clone(), v.clone()
h[3, :, :C], w[:, :C] = heads[3, :, :C].flip(1), v[:, :C].flip(1)  # lin_k and v, from the last to the first
before, after = mixed(heads, v, bias, C)[0], mixed(h, w, bias, C)[0]
change = (after[C:] - before[C:]).norm() / before[C:].norm()
print(f"terms of chunk 1 in another order: outputs of later chunks change by {change:.0%}")

order = [*reversed(range(C)), *range(C, T)]
traded = torch.from_numpy(reference.rope(not_rotated[:, order])[:, None])
after = mixed(traded, v[:, order], bias, C)[0]
change = (after[C:] - before[C:]).norm() / before[C:].norm()
print(f"tokens of chunk 1 in another order: outputs of later chunks change by {change:.0%}")

# %% [markdown]
# Without the local part token 8 does not notice its neighbour: precisely the nearest past is missing. And two chunks with the same summary are
# one and the same to every later token, because S × E entries are all that is kept of them. A sum has no order. What a later token can know of
# the order is in the keys, which RoPE has turned by their positions: where the *tokens* trade places before RoPE, later outputs change.
#
# The paper tried each part alone. At 8,192 tokens its Figure 7 shows perplexities of about 15 for FLASH, 18 for the local part, and 73 for the global
# part, which had chunks of 64.
#
# ## 7. Exclusive, and never inclusive
#
# Why does a chunk not read its own summary too, which is right there? Because a summary holds *all* tokens of its chunk, and for the first
# of them the others are the future. Suppose somebody forgets the shift, and you change one token and look whether an *earlier* output moves.
#
# **Your second guess.** With C = 4, tokens 5, 6, 7 and 8 are one chunk. Changing one of them can *not* reveal the fault. Which one?

# %%
predict("05.b", None)  # your number in place of None


# %% tags=["nbval-check-output"]
def inclusive_part(q, k, v):
    return q @ (k.mT @ v).cumsum(1)


for name, part in (("exclusive", global_part), ("inclusive", inclusive_part)):
    late = np.triu(moves(global_part=part), 1)
    tokens = (np.flatnonzero(late.any(0)) + 1).tolist()
    print(f"{name}: {late.sum()} pairs where a later token moves an output; these tokens are {tokens}")
reveal("05.b", next(t for t in (5, 6, 7, 8) if not late[:, t - 1].any()))

# %% [markdown]
# The first token of a chunk reveals nothing, since no token of its chunk comes before it. So a test must change *every* token.
# In training the symptom of a leak is a loss that is too good, followed by bad writing, because a model that writes has no future to read.
#
# **A leak through rounding.** One might also subtract the chunk's own summary from the inclusive sum, which on paper is the same. But
# bfloat16 has 8 significant bits, so between 256 and 512 it holds only even numbers. Let the earlier chunks sum to 1 and the chunk's own
# summary be 300, and let a *later* token of the chunk turn the 300 into 302.

# %% tags=["nbval-check-output"]
for own in (300, 302):
    first, second = torch.tensor([1, own], dtype=torch.bfloat16)
    print(f"its own summary {own}: shifted {float(first):.0f}, subtracted {float(first + second - second):.0f}")

# %% [markdown]
# The shift hands over the 1. The subtraction hands over 0 or 2, *depending on the reading token's own future*. Every format rounds somewhere, so a
# leak test asks for **exactly zero**. A gradient is blind to this leak, because
# (sum + own) - own has the derivative 1 - 1 = 0.
#
# Now break it yourself: choose how the sum is made, where the mask is applied and what the divisor is.

# %%
lab.show(lab.leaks())

# %% [markdown]
# ## 8. Mean or sum?
#
# The paper has two versions. Its equations 7 and 8 add the summaries, while Code 8, the fuller listing, takes the *mean*. A well-known port,
# lucidrains' FLASH-pytorch, has a third: it divides each summary by C and then *adds*. How large is each, compared with the mean?

# %% tags=["nbval-check-output"]
q, k, w = (torch.from_numpy(rng.normal(size=(1, 5, C, width))) for width in (S, S, E))
summed = q @ earlier_chunks(k.mT @ w)
readings = {
    "mean (Code 8)": global_part(q, k, w),
    "sum (equations 7, 8)": summed,
    "sum of means (a port)": summed / C,
}
print("chunk                    2   3   4   5")
for name, far_part in readings.items():
    ratio = (far_part / readings["mean (Code 8)"])[0, 1:, 0, 0]
    print(f"{name:22}", " ".join(f"{r:3.0f}" for r in ratio))

# %% [markdown]
# The mean and the sum of means agree in chunk 2 and differ from chunk 3 on, so a test needs at least three chunks. From the mean to the sum
# the factor *grows with the position*, and no weight of the layer can undo that.
#
# Which one the authors trained is open. **This project takes the mean**, as the fuller listing has it; lecture 06 runs both.
#
# ## 9. Four tests of a causal layer
#
# 1. *No value leak.* A later token changes no earlier output, not even by one bit (section 7).
# 2. *Nothing is missing.* Every earlier token may be read (section 6).
# 3. *No gradient leak.* No earlier output has a gradient with respect to a later input.
# 4. *Prefix.* The first n tokens alone give the outputs that they have in the longer sequence.
#
# They run on the package's unit in PyTorch; its twin in NumPy says whether it computes the right function at all.

# %% tags=["nbval-check-output"]
from flash_tutorial import FLASH
from flash_tutorial.check import draw_order_one

D = 8
unit = FLASH(D, qk_dim=S, chunk_size=C, causal=True, bias="toeplitz").double()
draw_order_one(unit, torch.Generator().manual_seed(1))
x = torch.from_numpy(rng.normal(size=(1, T, D)))
with torch.no_grad():
    unit.bias.weights += 20  # no weight of exactly 0, as in section 6
    y = unit(x)
twin = reference.flash(x[0].numpy(), unit.to_numpy(), causal=True, chunk_size=C)
print(f"from its twin: {np.abs(twin - y[0].numpy()).max():.10f}")

# %% tags=["nbval-check-output"]
reads = np.zeros((T, T), bool)
for j in range(T):
    changed = x.clone()
    changed[0, j] += 1
    reads[:, j] = (unit(changed) != y)[0].any(-1).numpy()
print("1. pairs (output, later input) that move:", np.triu(reads, 1).sum())
print(f"2. pairs (output, its own or an earlier input) that move: {np.tril(reads).sum()} of 105")
jacobian = torch.autograd.functional.jacobian(unit, x)  # (1, T, D, 1, T, D)
slope_TT = jacobian.abs().sum((0, 2, 3, 5)).numpy()
print("3. largest gradient by a later input:", np.triu(slope_TT, 1).max())
off = max((unit(x[:, :n]) - y[:, :n]).abs().max().item() for n in range(1, T))
print(f"4. largest difference between a prefix and the whole: {off:.10f}")

# %% [markdown]
# The fourth holds because no divisor counts later tokens: scores are divided by C, the sum by the tokens before the chunk.
#
# ## 10. What a trained FLASH reads
#
# The package has a trained model, `austen-flash`: eight units, chunks of 256 bytes, novels by
# Jane Austen. What has it learnt to read? The next function gives a unit's two attention matrices, and the near one by the bias alone,
# which knows distances and no letters.

# %%
from flash_tutorial.layers import cos_sin


@torch.no_grad()
def weights_by_unit(model, ids):
    """Of each unit near, far, and near by the bias alone, (T, T) each; T a multiple of C."""
    x = model.embedding(ids)
    x, T, found = x + model.stack.positions(x), x.shape[1], []
    for unit in model.stack.units:
        C, z = unit.chunk_size, unit.project(x)[2]
        quad_q, quad_k, lin_q, lin_k = unit.read_heads(z, *cos_sin(T, unit.qk_dim, x))[:, 0]
        chunk = torch.arange(T) // C
        own, earlier = (chunk[:, None] == chunk).tril(), chunk[:, None] > chunk
        bias = unit.bias(C).tile(T // C, T // C)
        near = (quad_q @ quad_k.T / C + bias).relu() ** 2 * own
        far = lin_q @ lin_k.T / (chunk * C).clamp(min=1)[:, None] * earlier
        found.append((near, far, bias.relu() ** 2 * own))
        x = unit(x)
    return found


# %%
from flash_tutorial.corpora import load_corpus

austen = LanguageModel.from_pretrained("austen-flash").eval()
test_text = load_corpus("austen").test  # Northanger Abbey, which it never saw
window = torch.from_numpy(test_text.tokens[20_000:21_024].astype(np.int64))[None]
by_unit = weights_by_unit(austen, window)

border = slice(472, 552)  # tokens on both sides of the border at 512
shown = {f"unit {n}": [w[border, border] for w in by_unit[n - 1][:2]] for n in (3, 8)}
title = "Unit 3 reads the letter two places back, unit 8 looks over its whole chunk"
drawing.show(*drawing.near_and_far(shown, 256, title=title, first=border.start))

# %% [markdown]
# Unit 3 hands each letter the one two places before it: a shift. Unit 8 looks over its whole chunk, and the stripes are content: columns that
# many read, rows that read much. At letter 513 you see section 6 in a real model: the blue part starts anew, and all to the left is
# orange.
#
# **How much of the near part is content?** The bias is the same for every text; only the scores look at letters. Take them away, and see
# how much of the near matrix changes.

# %% tags=["nbval-check-output"]
share = {}
for n, (near, _, by_bias) in enumerate(by_unit, start=1):
    share[f"unit {n}"] = 100 * float((near - by_bias).norm() / near.norm())
title = "The first units read by distance, the last one by content"
figure, axes = drawing.new_axes(6.6, 3.2, "how much of the near matrix changes without the scores, %", title=title)
drawing.bars(axes, share, form="{:.0f}", colours=drawing.BLUE)
drawing.show(figure, f"Bars by unit, in percent: {drawing.listed(share, '{:.0f}')}.")
print(", ".join(f"{name}: {s:.0f}%" for name, s in share.items()))

# %% [markdown]
# A quarter in the first three units, three quarters in the last. So the first units are close to *convolutions*, the same sum by distance
# whatever the letters are, and content has its say later.
#
# ## 11. What each part is worth
#
# Take one ingredient out of all eight units, without training again, and score the first 8,192 bytes of the test novel. They are harder than
# the rest, with a title page and an advertisement: lecture 00 scores the whole novel.

# %%
import copy

from flash_tutorial.training import evaluate, first_bytes

held_out = first_bytes(test_text, 8_192)


@torch.no_grad()
def score_after(change):
    """Bits per byte of the trained model after a change of each unit."""
    model = copy.deepcopy(austen)
    for unit in model.stack.units:
        change(unit)
    return evaluate(model, held_out, 1024, batch=4).bits_per_byte


# %% tags=["nbval-check-output"]
def no_scores(unit):
    unit.scale_offset.gamma[0] = 0  # row 0 is quad_q
    unit.scale_offset.beta[0] = 0


changes = {
    "as trained": lambda unit: None,
    "without the far part": lambda unit: setattr(unit, "global_", False),
    "without near scores": no_scores,
    "without the near bias": lambda unit: unit.bias.weights.zero_(),
    "without the near part": lambda unit: setattr(unit, "local", False),
}
scores = {name: score_after(change) for name, change in changes.items()}
for name, bits in scores.items():
    print(f"{name:22} {bits:.2f} bits per byte")

# %% [markdown]
# On the novels the near part is everything, and its bias is most of that. The far part is worth a hundredth of a bit; in the opening's game it
# was worth all the answers. What a part is worth depends on the task, and on what was learned: this model takes little from afar. Whether
# the novels offer more, leaving parts out cannot say.
#
# ## 12. C is part of the architecture
#
# In lecture 04 C changed nothing but time and memory; here it decides who is read how. Let us change it in the trained model. But C also divides
# the scores, so run each C twice: as it is, and with quad_q multiplied by C / 256, which holds the scale.


# %% tags=["nbval-check-output"]
def run_with(C, factor):
    def change(unit):
        unit.chunk_size = C
        unit.scale_offset.gamma[0] *= factor
        unit.scale_offset.beta[0] *= factor

    return score_after(change)


print(f"C = 256, as trained: {scores['as trained']:.2f} bits per byte")
for size in (128, 64, 32):
    as_it_is, held = run_with(size, 1), run_with(size, size / 256)
    print(f"C = {size:3}: as it is {as_it_is:.2f}, scale held {held:.2f} bits per byte")

# %% [markdown]
# Most of the damage is the scale. What is left is the architecture: the same parameters now read fewer tokens one by one and more through a mean. Models that are trained for their C learn
# to live with it, as lecture 08 shows.
#
# **What came after.** RetNet, GLA, Mamba-2 and DeltaNet do inside a chunk exactly what they do between chunks, so there C is a speed
# setting again (lecture 13).
#
# ## 13. A blank page
#
# Scroll until nothing above is in view, and write mixed chunk attention from memory, as one function without your pieces: some 14 lines. If you
# are stuck, look back for a minute.


# %%
def mixed_chunk(quad_q, quad_k, lin_q, lin_k, v, bias_CC, C):
    """Mixed chunk attention, causal, with the mean: heads (B, T, S), v (B, T, E), bias_CC (C, C) -> (B, T, E)."""
    # BUILD
    T = v.shape[1]
    pad = (0, 0, 0, -T % C)
    five = [F.pad(x, pad).unflatten(1, (-1, C)) for x in (quad_q, quad_k, lin_q, lin_k, v)]
    quad_q, quad_k, lin_q, lin_k, v = five
    # near: relu² attention inside each chunk
    scores = quad_q @ quad_k.mT / C + bias_CC
    near = (torch.relu(scores) ** 2).tril() @ v
    # far: the mean over the earlier chunks
    kv = lin_k.mT @ v
    before = torch.zeros_like(kv)
    before[:, 1:] = kv.cumsum(1)[:, :-1]
    tokens = C * torch.arange(kv.shape[1], device=v.device).clamp(min=1)
    far = lin_q @ (before / tokens[:, None, None])
    return (near + far).flatten(1, 2)[:, :T]
    # END


mixed_chunk = mine.check(mixed_chunk)

# %% [markdown]
# ## 14. Bind near, fetch far
#
# Back to the game. Let its winner, and the model of the novels, mix their tokens with *your* function. Then take the winner apart: it has two
# units with two parts each, and one at a time is left out.


# %% tags=["nbval-check-output"]
def with_mine(model):
    """A copy of the model whose units call mixed_chunk."""
    model = copy.deepcopy(model)
    for unit in model.stack.units:

        def mix(heads, v, mask, segment_ids, unit=unit):
            return mixed_chunk(*heads, v, unit.bias(unit.chunk_size), unit.chunk_size)

        unit.mix = mix
    return model


winner = players["FLASH, both"]
print(f"questions answered: {recall(with_mine(winner)):.0f}%")
print(
    f"test novel, first 8,192 bytes: {evaluate(with_mine(austen), held_out, 1024, batch=4).bits_per_byte:.2f} bits per byte"
)
for n, unit in enumerate(winner.stack.units, start=1):
    for part, name in (("local", "near"), ("global_", "far")):
        setattr(unit, part, False)
        print(f"without {name} in unit {n}: {recall(winner):.0f}%")
        setattr(unit, part, True)

# %% [markdown]
# With your function the winner answers every question, and the model of the novels scores as before. Of the four parts two are indispensable: near in unit 1, without which
# the winner knows no more than the global model did, and far in unit 2, without which it guesses blindly. Far in unit 1 helps, and near in
# unit 2 is not needed at all. Look at the weights of the two, and ask whether every question finds its number.

# %% tags=["nbval-check-output"]
first, second = weights_by_unit(winner, torch.from_numpy(ids[:1]))
tied, questions = ([signs[n] for n in ids[0, part]] for part in (slice(0, 8), slice(8, 16)))
title = "Unit 1: each number reads its letter. Unit 2: each question reads its number"
drawing.show(*drawing.bound_and_fetched(first[0][:8, :8], second[1][8:16, :8], tied, questions, title=title))

hits = []
for row in range(32):
    fetched = weights_by_unit(winner, torch.from_numpy(ids[row : row + 1]))[1][1]
    most = fetched[8:, :8].argmax(1).numpy()
    hits.append((ids[row, most] == targets[row, 8:]).mean())
print(f"largest far weight of unit 2 on the number asked for: {np.mean(hits):.0%} of {32 * 56:,} questions")

# %% [markdown]
# There is the answer. A number in the first chunk knows only itself. In unit 1 it reads the token before it, **near**, and so learns whose
# number it is: it is *bound*. In unit 2 a question, chunks later, multiplies its lin_q with the sum, **far**, and *fetches* what
# was bound to its letter. The local model could bind and not fetch. The global model could fetch and not bind, so it came home with four numbers
# and did not know whose they were. **FLASH binds near and fetches far.**
#
# ## How we know
#
# - **The game** is multi-query associative recall. FLASH has three seeds, each part alone one; all begin at a start made for the game. From the package's start
#   nobody learns it in 4,000 updates: [recall](../docs/results.md#recall), [recall_learned](../docs/results.md#recall_learned).
#   Softmax attention over all 64 tokens answers everything too: [recall_state](../docs/results.md#recall_state), window of 64.
# - **Sections 10 to 12**: one model of one seed, on one window or on eight. Trained without the near part a model
#   loses <!-- number: parts.cost_without_local -->1.6 to 1.9<!-- /number --> bits: [parts](../docs/results.md#parts). Trained to predict the next byte without the far part, on novels or
#   program text, three seeds settle no difference; where two teachers' probabilities are learned, it costs <!-- number: sums_learned.local_only_minus_student -->+0.017 ± 0.005<!-- /number --> on novels, at one rate
#   ([sums_learned](../docs/results.md#sums_learned)). Longer windows: [longer](../docs/results.md#longer).
# - **C = 236** counts whole C × C squares.
#
# ## What to remember
#
# | claim | your evidence | your verdict |
# | --- | --- | --- |
# | Near and far cost the same at C = 236 | section 1 | |
# | Every earlier token may be read, in one of two ways | section 6 | |
# | The causal form leaks nothing | sections 7 and 9 | |
# | The near part compares by content | section 10 | |
# | C is a speed setting | section 12 | |
# | The global part makes the model better | sections 11 and 14 | |
#
# **Three takeaways**
# 1. Near: relu² attention in the chunk, scores over C. Far: lin_q times the mean of the earlier chunks' KᵀV. FLASH binds near and fetches far.
# 2. The sum is exclusive, by a shift. Test for exact zeros, and that nothing is missing.
# 3. C is part of the model: at 2SE / (S + E) both parts cost the same, and it sets the scale of the scores.
#
# **Exercises** [Problem set 05](../exercises/05_set_mixed_chunk_attention.ipynb), seven tasks, from chunks to three faulty suspects.
#
# **Next** [Lecture 06](06_flash_model.ipynb) puts your function between two projections, and the units into a whole model.
