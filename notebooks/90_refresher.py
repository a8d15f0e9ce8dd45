# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 90 Refresher: the tools that the lectures take for granted
#
# [With results](90_refresher.ipynb) · [without, to work in](work/90_work_refresher.ipynb) · [glossary](../docs/glossary.md)
#
# This page is optional, and each of its sections can be read without the others. The six questions below tell you which ones you need.
#
# **After this lecture you can**
# - say the shape of an array expression before you run it, and cut a text into chunks;
# - read and write `einsum`;
# - say what a float cannot hold, and why a running sum needs more digits than its terms;
# - check any gradient with two function calls for each parameter;
# - turn a loss in nats into bits per byte and into perplexity.
#
# **You need** Python, and some NumPy.
#
# **Time** 16 minutes to read. Running the code takes about 5 seconds on two CPU cores.
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
# ## Which sections do you need?
#
# 1. *Shapes.* Ten tokens are cut into chunks of four. How many chunks are there, and how many places stay empty?
# 2. *Broadcasting.* `a` has shape (4, 1) and `b` has shape (3,). What shape has `a + b`?
# 3. *Einsum.* `x` has shape (B, T, S) and `w` has shape (S, E). What does `einsum("bts,se->bte", x, w)` compute?
# 4. *Floats.* In float32, what is `(1e8 + 1) - 1e8`?
# 5. *Finite differences.* How can you check a gradient if you can only compute the function f?
# 6. *Nats to bits.* PyTorch reports a cross-entropy of 1.386 for each byte. How many bits are that?
#
# <details><summary>Answers</summary>
#
# 1. Three, since 10 / 4 is rounded up; two places stay empty.
# 2. (4, 3). Shapes are aligned at the right, and a size of 1 is repeated.
# 3. The matrix product `x @ w`, of shape (B, T, E): s is missing on the right, so it is summed over.
# 4. 0, because near 100,000,000 the float32 numbers are 8 apart.
# 5. Compare it with (f(x + h) - f(x - h)) / (2h) for a small h, one coordinate after the other.
# 6. 1.386 / ln 2 = 2.00, since PyTorch uses the natural logarithm.
#
# </details>
#
# ## Shapes
#
# The *shape* of an array is a tuple of sizes, one for each *axis*. Most bugs in this field are wrong shapes, so make it a habit to say the
# shape of a line before you run it. The course helps by writing shapes into names: `x_TD` is an array of T tokens with D features each; lecture
# 00 has a table of the letters. As everywhere in the course, the text counts tokens from 1, and indices in code begin at 0.
#
# The change of shape that you will meet most often cuts T tokens into G chunks of C tokens, so (T, D) becomes (G, C, D). Where T is no
# multiple of C, zeros fill up the last chunk, and at the end they are cut away again. In the next cell, find token 7 before you read the output.

# %% tags=["nbval-check-output"]
import math

import numpy as np
import torch

from flash_course import drawing, learner
from flash_course.learner import predict, reveal

rng = np.random.default_rng(0)

T, C, D = 10, 4, 2
x_TD = np.arange(T * D).reshape(T, D)
G = -(-T // C)  # rounded up: minus the floor of the negative
padded = np.concatenate([x_TD, np.zeros((G * C - T, D), int)])
x_GCD = padded.reshape(G, C, D)
print(f"chunks: {x_GCD.shape}, with {G * C - T} tokens of zeros added")
print(f"token 7 has index 6 in x_TD and [{6 // C}, {6 % C}] in x_GCD, and is {x_GCD[6 // C, 6 % C].tolist()}")
back_TD = x_GCD.reshape(G * C, D)[:T]
print(f"back again: {back_TD.shape}, and the last token is {back_TD[-1].tolist()}")

# %% [markdown]
# `reshape` leaves all elements in their order and only draws the boundaries anew, whereas `transpose` changes which axis comes first.
#
# **Misconception: reshape can swap axes.** What makes it nasty is its symptom. The shape is right and the elements are mixed up, so no
# error is raised, and a model trained that way still learns something, only worse. Here two heads are joined, once properly and once not.

# %% tags=["nbval-check-output"]
heads_HTS = np.arange(12).reshape(2, 3, 2)  # 2 heads, 3 tokens, 2 channels
right = heads_HTS.transpose(1, 0, 2).reshape(3, 4)  # each token: its first head, then its second
wrong = heads_HTS.reshape(3, 4)
print("token 1, transposed first:", right[0].tolist())
print("token 1, only reshaped:   ", wrong[0].tolist(), "(tokens 1 and 2 of the first head)")
print(f"shapes {right.shape} and {wrong.shape}; {np.count_nonzero(right != wrong)} of {right.size} elements differ")

# %% [markdown]
# ## Broadcasting
#
# When may two arrays of different shape be added or multiplied? NumPy and torch decide it in two steps.
# 1. They align the shapes at the *right*; axes that are missing on the left count as 1.
# 2. On each axis the two sizes must be equal, or one of them must be 1, and then that one is repeated.
#
# So (4, 1) and (3,) give (4, 3), in which every element of the column has met every element of the row. Follow the second row, which has a frame.

# %%
column, row = np.array([[0], [10], [20], [30]]), np.array([1, 2, 3])
panels = {
    "(4, 1), to the right": np.broadcast_to(column, (4, 3)).astype(float),
    "(3,), downwards": np.broadcast_to(row, (4, 3)).astype(float),
    "their sum, (4, 3)": (column + row).astype(float),
}
title = "A size of 1 is repeated until the shapes agree"
drawing.show(*drawing.numbers_in_squares(panels, row=2, title=title, axis_names=("row", "column"), width=6.8))

# %% [markdown]
# An index `None` makes an axis of size 1, and with two of them the distance j - i of all pairs of tokens takes a single line: row i and column j
# of the result hold j - i.
#
# Broadcasting also hides a favourite bug. Suppose you want to subtract from each row of a square array its own mean, and compute the mean without
# `keepdims`. Then its shape is (4,), which is aligned at the right, so it is subtracted along the columns, and nothing complains.

# %% tags=["nbval-check-output"]
i = np.arange(4)
distance = i[None, :] - i[:, None]  # (1, 4) - (4, 1)
print(distance)
square = rng.normal(size=(4, 4))
by_row = square - square.mean(1, keepdims=True)  # (4, 4) - (4, 1): each row its own mean
lost_axis = square - square.mean(1)  # (4, 4) - (4,): row j's mean is taken from column j
for name, result in (("with keepdims", by_row), ("axis lost", lost_axis)):
    print(f"{name:13} largest row mean afterwards: {np.abs(result.mean(1)).max():.2f}")

# %% [markdown]
# ## Einsum
#
# `einsum` writes a product of arrays by naming their axes with letters, and you can read it with three conventions.
# 1. Each axis gets a letter, and the same letter means the same index.
# 2. A letter that is missing in the result is summed over.
# 3. The letters of the result give the order of its axes.
#
# Read `"is,js->ij"` as a loop: for each i and each j, sum over s of `q[i, s] * k[j, s]`. These are the scores of attention.

# %% tags=["nbval-check-output"]
q_TS, k_TS = np.array([(1, 2), (3, 4)]), np.array([(5, 6), (7, 8)])
loops = np.zeros((2, 2), int)
for i in range(2):
    for j in range(2):
        for s in range(2):
            loops[i, j] += q_TS[i, s] * k_TS[j, s]
print("loops: ", loops.tolist())
print("einsum:", np.einsum("is,js->ij", q_TS, k_TS).tolist())
print("matmul:", (q_TS @ k_TS.T).tolist())

# %% [markdown]
# Now practise. Let x have shape (2, 5, 3), cover the output below, and say the shape of each result first.

# %% tags=["nbval-check-output"]
x = rng.normal(size=(2, 5, 3))
patterns = {
    "bts->bst": "transpose",
    "bts->bt": "sum over s",
    "bts->": "sum of everything",
    "bts,bts->bt": "dot product of each token",
    "bis,bjs->bij": "scores of all pairs",
    "bts,btr->bsr": "sum over tokens of outer products",
}
for pattern, meaning in patterns.items():
    operands = [x, x] if "," in pattern else [x]
    print(f"{pattern:14} {np.einsum(pattern, *operands).shape!s:10} {meaning}")

# %% [markdown]
# The last line is Kᵀ V, the *state* of linear attention, which lecture 04 builds. Its shape does not contain T, which is why it is cheap.
#
# **Your line.** In a chunked model each chunk needs this sum for itself, from k (B, G, C, S) and v (B, G, C, E) to (B, G, S, E). Which
# pattern does that?


# %%
def states_by_me(k, v):
    pattern = ...  # your line: a string like "is,js->ij"
    return ... if pattern is ... else np.einsum(pattern, k, v)


k, v = rng.normal(size=(2, 3, 4, 5)), rng.normal(size=(2, 3, 4, 6))
learner.your_line("90.a", states_by_me, ((k, v), k.swapaxes(-1, -2) @ v))

# %% [markdown]
# <details><summary>The line</summary>
#
# `pattern = "bgcs,bgce->bgse"`: b and g stay, c is summed over.
#
# </details>
#
# Add up the states of all chunks, and you have the state of all tokens at once.

# %% tags=["nbval-check-output"]
state = np.einsum("bgcs,bgce->bgse", k, v)
at_once = np.einsum("bts,bte->bse", k.reshape(2, 12, 5), v.reshape(2, 12, 6))
print(f"states of the chunks {state.shape}, their sum over the chunks {state.sum(1).shape}")
print(f"first entry of the sum {state.sum(1)[0, 0, 0]:.4f}, of the state of all tokens {at_once[0, 0, 0]:.4f}")

# %% [markdown]
# ## Floats
#
# A float is a whole number with a fixed count of binary digits, times a power of two. Its *relative* precision is therefore about the same
# everywhere, and the larger two neighbouring floats are, the further apart they lie.
#
# **A guess.** In float32, what is the smallest whole number n for which n + 1 is n again? It is a power of two, so give the exponent.

# %%
my_guess = None  # the exponent, for example 10 for 2**10
predict("90.b", my_guess)

# %%
n = 0
while np.float32(2**n) + np.float32(1) != np.float32(2**n):
    n += 1
reveal("90.b", n, "(2**24 = 16,777,216)")

# %% [markdown]
# A float32 has 24 binary digits. The two half-precision formats share 16 bits between digits and range in different ways; compare the columns.
# Below the *smallest normal* a number has fewer digits than the format promises.

# %% tags=["nbval-check-output"]
print("format     binary digits  largest   smallest normal   next after 1000")
for dtype in (torch.float32, torch.bfloat16, torch.float16):
    info = torch.finfo(dtype)
    digits = 1 - round(math.log2(info.eps))
    thousand = torch.tensor(1000, dtype=dtype)
    after = torch.nextafter(thousand, torch.tensor(torch.inf, dtype=dtype)).item()
    print(f"{str(dtype)[6:]:10} {digits:4}           {info.max:8.1e}  {info.tiny:8.1e}          {after:.9g}")

# %% [markdown]
# float16 has more digits than bfloat16 and pays for them with its range: its largest number is 65,504, and 65,536 is already infinity. Lecture
# 03 shows what that means for relu², the square of what a relu lets through.
#
# **Misconception: (a + b) - b is a.** A small number that is added to a large one loses its last digits, and a subtraction does not bring them
# back. In this course the symptom is that a sum over all chunks minus a token's own chunk is *not* the sum over the others (lecture 05).

# %% tags=["nbval-check-output"]
small, large = torch.tensor(1.0), torch.tensor(300.0)
for dtype in (torch.float32, torch.bfloat16):
    a, b = small.to(dtype), large.to(dtype)
    print(f"{str(dtype)[6:]:9} (1 + 300) - 300 = {((a + b) - b).item()}")
numbers = torch.full((4096,), 1.0, dtype=torch.bfloat16)
running = torch.zeros((), dtype=torch.bfloat16)
for number in numbers:
    running = running + number  # stops growing where 1 is less than the format can resolve
print("4096 ones, added one by one in bfloat16:", running.item())
print("the same, kept in float32:", numbers.float().sum().item())

# %% [markdown]
# This is why a running sum is kept in float32 or better, whatever format its terms have. The package does so for its states.
#
# ## Finite differences
#
# You have derived a gradient by hand and want to know whether it is right. The function itself is all you need, because
# `(f(x + h) - f(x - h)) / (2 * h)` is close to its slope along one coordinate; here there is a single one. Do that in float64, and compare.
#
# The example is relu². How small should h be? If it is too large, more than the slope at x comes in. Of a parabola the bend cancels between
# the two sides, and only h = 1 in the next cell is too large, since it reaches across 0, where relu² begins. If it is too small, little more than rounding is left. Here 1e-2
# does as well as 1e-5; most functions bend otherwise, and 1e-5 suits them.


# %% tags=["nbval-check-output"]
def slope(f, x, h):
    """How fast f rises at the number x."""
    return (f(x + h) - f(x - h)) / (2 * h)


def relu2(x):
    return max(x, 0.0) ** 2


def exact(x):
    return 2 * max(x, 0.0)


for h in (1.0, 1e-2, 1e-5, 1e-13):
    error = max(abs(slope(relu2, x, h) - exact(x)) for x in (0.5, -1.0, 2.0))
    print(f"h = {h:.0e}: off by {error:.6f}")

# %% [markdown]
# A gradient check also needs inputs at which the function does something. Close to x = 0 the slope of relu² is close to 0, and so is a wrong
# slope, so that even a forgotten factor stays within the tolerance. That is why the tests of this course draw values *of order one*, about as
# large as 1. In the next cell the factor 2 is missing; look at which inputs notice.


# %% tags=["nbval-check-output"]
def wrong_slope(x):
    return max(x, 0.0)  # the factor 2 is missing


for name, x in (("a tiny value, 1e-9", 1e-9), ("a value of order one", 2.0)):
    error = abs(wrong_slope(x) - slope(relu2, x, 1e-5))
    print(f"{name:20}: the wrong slope is off by {error:.4f}")

# %% [markdown]
# PyTorch has the same check built in, `torch.autograd.gradcheck`.
#
# ## Nats to bits
#
# A language model gives each possible next byte a probability p, and its loss is -log p of the byte that really comes, which is small
# where it expected that byte. PyTorch takes the natural logarithm, whose unit is the *nat*. With log2 the unit is the *bit*, and one bit is
# ln 2 = 0.693 nats.
#
# *Perplexity* is e to the loss in nats, or 2 to the loss in bits. It says between how many equally likely choices the model is
# torn, on average.

# %% tags=["nbval-check-output"]
p = np.array([0.5, 0.25, 0.25])  # what the model gave to the three bytes that came
nats, bits = -np.log(p).mean(), -np.log2(p).mean()
print(f"{nats:.4f} nats = {bits:.4f} bits; {nats:.4f} / ln 2 = {nats / math.log(2):.4f}")
print(f"perplexity {math.exp(nats):.4f} = {2**bits:.4f}")
print("knows nothing, 256 bytes:", -math.log2(1 / 256), "bits, perplexity", 256)

# %% [markdown]
# There are two traps. Perplexities of models that cut text into different tokens cannot be compared, since a word has five or six bytes (with its
# space) and is harder to guess than a single byte; bits per byte can, since every text has bytes. And a mean of perplexities is not the
# perplexity of the mean loss.

# %% tags=["nbval-check-output"]
bits_of_a_word = math.log2(16)
print(f"perplexity 16 for each word of 5 bytes: {bits_of_a_word / 5:.2f} bits per byte")
losses = np.array([1.0, 5.0])
print(f"mean of perplexities {np.exp(losses).mean():.1f}, perplexity of the mean {np.exp(losses.mean()):.1f}")

# %% [markdown]
# **A second guess.** Papers compare losses in the second decimal. If a loss of 3 nats falls by 0.01, by how many percent does the perplexity fall?

# %%
my_second_guess = None  # percent
predict("90.c", my_second_guess)

# %%
reveal("90.c", 100 * (1 - math.exp(2.99) / math.exp(3)), "percent")

# %% [markdown]
# The answer does not depend on where the loss started: 0.01 nats is always one percent of perplexity.
#
# ## How we know
#
# - Nothing here was trained or timed. Every number is arithmetic that this page has just done, with random numbers that begin at the same place
#   each time.
# - Digits and ranges of the formats are PyTorch's own, `torch.finfo`.
#
# ## What to remember
#
# Fill in the last column yourself. "Not shown" is a good answer.
#
# | claim | your evidence | your verdict |
# | --- | --- | --- |
# | A wrong reshape raises an error | section Shapes: the same shape, and other elements | |
# | (a + b) - b is a | section Floats: 1 and 300 in bfloat16 | |
# | A gradient check that passes proves the gradient | section Finite differences: tiny values hide the factor 2 | |
#
# **Three takeaways**
# 1. Say the shape before you run the line, because broadcasting and reshape let wrong shapes through silently.
# 2. Keep sums in float32 or better, and never take a term out of a sum by subtraction.
# 3. Check with values of order one, since tiny ones hide faults.
#
# **Exercises** This page has none.
#
# **Next** Go back to [lecture 00](00_start_here.ipynb), or on to [lecture 01](01_attention.ipynb) and softmax attention.
