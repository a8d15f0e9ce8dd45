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
# [With results](90_refresher.ipynb) · [without, to work in](work/90_refresher.ipynb) · [glossary](../docs/glossary.md)
#
# This page is optional. Read the section that one of the six questions in lecture 00 sent you to, then go back.
# Each section stands alone.
#
# **After it you can**
# - say the shape of an array expression before you run it, and cut a text into chunks;
# - read and write `einsum`;
# - say what a float cannot hold, and why the order of a sum matters;
# - check any gradient with two function calls for each number;
# - turn a loss in nats into bits per byte and into perplexity.
#
# **You need** Python, and some NumPy.
#
# **Time** 13 minutes to read. Computing takes about 5 seconds on two CPU cores; a GPU was not measured yet.
#
# Text and figures: CC-BY-4.0. Code: MIT.

# %%
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
# Two questions from lecture 00. Answer from memory, then open the fold.
#
# **1.** How many bits per byte has a model that knows nothing?
#
# <details><summary>Answer</summary>
#
# 8. All 256 bytes get the probability 1/256, and -log2(1/256) = 8.
#
# </details>
#
# **2.** Which three complaints does the paper raise about cheaper attention?
#
# <details><summary>Answer</summary>
#
# Quality is lost. The promised speed does not arrive on real machines. Training token by token is slow.
#
# </details>

# %%
import math

import numpy as np
import torch

from flash_course import figures
from flash_course.learner import predict, reveal

rng = np.random.default_rng(0)

# %% [markdown]
# ## Shapes
#
# The *shape* of an array is a tuple of sizes, one for each *axis*. Most faults in this field are wrong shapes.
# So say the shape of each line before you run it. The course writes shapes into names: `x_TD` has T rows and D columns.
# (The letters stand in a table in lecture 00. On this page tokens, heads and chunks count from 0, as in Python.)
#
# Chunks are the most frequent change of shape here. T tokens are cut into G chunks of C tokens: (T, D) becomes (G, C, D).
# If T is no multiple of C, zeros fill the last chunk, and they are cut away at the end.

# %% tags=["nbval-check-output"]
T, C, D = 10, 4, 2
x_TD = np.arange(T * D).reshape(T, D)
G = -(-T // C)  # rounded up: minus the floor of the negative
padded = np.concatenate([x_TD, np.zeros((G * C - T, D), int)])
x_GCD = padded.reshape(G, C, D)
print("chunks:", x_GCD.shape, "empty places:", G * C - T)
print("token 6 is in chunk", 6 // C, "at place", 6 % C, "and is", x_GCD[6 // C, 6 % C].tolist())
print("back again:", np.array_equal(x_GCD.reshape(G * C, D)[:T], x_TD))

# %% [markdown]
# `reshape` keeps the order of the numbers in memory. `transpose` changes which axis comes first.
#
# **Misconception: reshape can swap axes.** The symptom: the shape is right and the numbers are mixed up.
# So no error is raised, and a model still learns something, only worse.

# %% tags=["nbval-check-output"]
heads_HTS = np.arange(12).reshape(2, 3, 2)  # 2 heads, 3 tokens, 2 numbers
right = heads_HTS.transpose(1, 0, 2).reshape(3, 4)  # each token: head 0, then head 1
wrong = heads_HTS.reshape(3, 4)
print("token 0, transposed first:", right[0].tolist())
print("token 0, only reshaped:   ", wrong[0].tolist(), "(that is token 0 and token 1 of head 0)")
print("same shape:", right.shape == wrong.shape, " same numbers:", np.array_equal(right, wrong))

# %% [markdown]
# ## Broadcasting
#
# Two arrays of different shape can be added or multiplied. NumPy and torch follow two rules.
# 1. Align the shapes at the *right*. Missing axes on the left count as 1.
# 2. On each axis the sizes are equal, or one of them is 1. That one is repeated.
#
# So (4, 1) and (3,) give (4, 3). Each number of the column meets each number of the row.

# %%
column, row = np.array([[0], [10], [20], [30]]), np.array([1, 2, 3])
panels = {"(4, 1), repeated to the right": np.broadcast_to(column, (4, 3)).astype(float),
          "(3,), repeated downwards": np.broadcast_to(row, (4, 3)).astype(float),
          "their sum, (4, 3)": (column + row).astype(float)}  # fmt: skip
title = "A size of 1 is repeated until the shapes agree"
figures.show(*figures.numbers_in_squares(panels, row=2, title=title, axis_names=("row", "column")))

# %% [markdown]
# An index `None` makes an axis of size 1. The distance j - i of all pairs of tokens is one line.
# Row i and column j of the result hold j - i.
#
# A fault that raises no error: the mean of each row is subtracted, and its axis was lost. Then (T,) meets (T, T) from the right.

# %% tags=["nbval-check-output"]
i = np.arange(4)
distance = i[None, :] - i[:, None]  # (1, 4) - (4, 1)
print(distance)
square = rng.normal(size=(4, 4))
by_row = square - square.mean(1, keepdims=True)  # (4, 4) - (4, 1): each row its own mean
lost_axis = square - square.mean(1)  # (4, 4) - (4,): row j's mean is taken from column j
print("rows have mean 0:", np.allclose(by_row.mean(1), 0), " with the axis lost:", np.allclose(lost_axis.mean(1), 0))

# %% [markdown]
# ## Einsum
#
# `einsum` writes a product of arrays by the letters of their axes. Three rules are enough.
# 1. Each axis gets a letter. The same letter means the same index.
# 2. A letter that is missing in the result is summed over.
# 3. The result's letters say the order of its axes.
#
# Read `"is,js->ij"` like a loop: for each i, for each j, sum over s of `q[i, s] * k[j, s]`.

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
# Cover the output below and say each result's shape first. With x of shape (2, 5, 3):

# %% tags=["nbval-check-output"]
x = rng.normal(size=(2, 5, 3))
for pattern, meaning in {
    "bts->bst": "transpose", "bts->bt": "sum over s", "bts->": "sum of everything", "bts,bts->bt": "dot product of each token",
    "bis,bjs->bij": "scores of all pairs", "bts,btr->bsr": "sum over tokens of outer products",
}.items():  # fmt: skip
    result = np.einsum(pattern, *[x] * (1 + pattern.count(",")))
    print(f"{pattern:14} {result.shape!s:10} {meaning}")

# %% [markdown]
# The last line is the *state* of linear attention, Kᵀ V, as in the tour. Lecture 04 builds it. Its shape holds no T.
#
# **Your line.** Chunks need the same sum for each chunk by itself: (B, G, C, S) and (B, G, C, E) to (B, G, S, E).
# Which pattern is it?
#
# <details><summary>The line</summary>
#
# `einsum("bgcs,bgce->bgse", k, v)`: b and g stay, c is summed over.
#
# </details>

# %% tags=["nbval-check-output"]
k, v = rng.normal(size=(2, 3, 4, 5)), rng.normal(size=(2, 3, 4, 6))
state = np.einsum("bgcs,bgce->bgse", k, v)
print("shape:", state.shape, " = matmul:", np.allclose(state, k.swapaxes(-1, -2) @ v))
print("all chunks together = all tokens at once:",
      np.allclose(state.sum(1), np.einsum("bts,bte->bse", k.reshape(2, 12, 5), v.reshape(2, 12, 6))))  # fmt: skip

# %% [markdown]
# ## Floats
#
# A float is a whole number with a fixed count of binary digits, times a power of two.
# So its *relative* precision is about the same everywhere: the larger two neighbours are, the further apart they lie.
#
# **A guess.** In float32, what is the smallest whole number n for which n + 1 is n again? Write it as a power of two: give the exponent.

# %%
my_guess = None  # the exponent, for example 10 for 2**10
predict("90.a", my_guess)

# %%
n = 0
while np.float32(2**n) + np.float32(1) != np.float32(2**n):
    n += 1
assert n == 24  # float32 has 24 binary digits
reveal("90.a", n, "(2**24 = 16,777,216)")

# %% tags=["nbval-check-output"]
print("format     binary digits  largest   smallest normal   next after 1000")
for dtype in (torch.float32, torch.bfloat16, torch.float16):
    info = torch.finfo(dtype)
    digits = 1 - round(math.log2(info.eps))
    thousand = torch.tensor(1000, dtype=dtype)
    after = torch.nextafter(thousand, torch.tensor(torch.inf, dtype=dtype)).item()
    print(f"{str(dtype)[6:]:10} {digits:4}           {info.max:8.1e}  {info.tiny:8.1e}          {after:.9g}")

# %% [markdown]
# (*Smallest normal*: below it, numbers have fewer digits than the format promises.)
#
# float16 has more digits than bfloat16, and a far smaller range. Its largest number is 65,504; clearly above it comes infinity.
# Lecture 03 shows what that means for a square.
#
# **Misconception: (a + b) - b is a.** A small number that is added to a large one loses its digits. Subtraction does not bring them back.
# The symptom in this course: a sum over all chunks minus the own chunk is *not* the sum over the others (lecture 05).

# %% tags=["nbval-check-output"]
small, large = torch.tensor(1.0), torch.tensor(300.0)
for dtype in (torch.float32, torch.bfloat16):
    a, b = small.to(dtype), large.to(dtype)
    print(f"{str(dtype)[6:]:9} (1 + 300) - 300 = {((a + b) - b).item()}")
numbers = torch.full((4096,), 1.0, dtype=torch.bfloat16)
running = torch.zeros((), dtype=torch.bfloat16)
for number in numbers:
    running = running + number  # stops growing where 1 is less than half the distance to the next number
print("4096 ones, added one by one in bfloat16:", running.item())
print("the same, kept in float32:", numbers.float().sum().item())

# %% [markdown]
# So a running sum is kept in float32 or better, whatever format its terms have. The package does so for its states.
#
# ## Finite differences
#
# You have written a gradient and want to know whether it is right. The function itself is enough:
# `(f(x + h) - f(x - h)) / (2 * h)` is the slope along one coordinate. Do it for each coordinate, in float64.
#
# The example is relu²: the square of x where x is positive, and 0 elsewhere.
#
# How small should h be? Too large, and the curve bends between the two points: below, h = 1 reaches across 0, where relu² begins.
# Too small, and rounding is all that is left.


# %% tags=["nbval-check-output"]
def slope(f, x, h):
    """The gradient of f at x, one coordinate after the other."""
    gradient = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        e = np.zeros_like(x)
        e[index] = h
        gradient[index] = (f(x + e) - f(x - e)) / (2 * h)
    return gradient


x = np.array([0.5, -1.0, 2.0])
weights = np.array([1.0, 2.0, 3.0])
exact = weights * 2 * np.maximum(x, 0)  # of sum(weights * relu(x)**2)
for h in (1.0, 1e-2, 1e-5, 1e-13):
    error = np.abs(slope(lambda x: (weights * np.maximum(x, 0) ** 2).sum(), x, h) - exact).max()
    print(f"h = {h:7.0e}: {'right to 6 digits' if error < 1e-6 else 'wrong' if error > 1e-3 else 'about right'}")

# %% [markdown]
# A gradient check needs inputs at which the function does something. Near x = 0 the slope of relu² is almost 0, and so is a wrong one.
# Then even a slope with a wrong factor lies within the tolerance, and passes.
# That is why the tests of this course draw all numbers of order one.


# %% tags=["nbval-check-output"]
def wrong_gradient(x):
    return weights * np.maximum(x, 0)  # the factor 2 is missing


def f(x):
    return (weights * np.maximum(x, 0) ** 2).sum()


for name, x in (("tiny numbers, 1e-9", np.full(3, 1e-9)), ("numbers of order one", np.array([0.5, -1.0, 2.0]))):
    passes = np.allclose(wrong_gradient(x), slope(f, x, 1e-5), atol=1e-4)
    print(f"{name}: the wrong gradient {'passes' if passes else 'is found'}")
double = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64, requires_grad=True)
print("torch has it built in:", torch.autograd.gradcheck(lambda x: torch.relu(x) ** 2, double))

# %% [markdown]
# ## Nats to bits
#
# A model gives each possible next byte a probability p. Its loss on the byte that comes is -log p: little for what it expected.
# PyTorch takes the natural logarithm, and the unit is the *nat*. With log2 the unit is the *bit*. One bit is ln 2 = 0.693 nats.
#
# *Perplexity* is e to the loss in nats, or 2 to the loss in bits. It is the number of equally likely choices that are as hard.

# %% tags=["nbval-check-output"]
p = np.array([0.5, 0.25, 0.25])  # what the model gave to the three bytes that came
nats, bits = -np.log(p).mean(), -np.log2(p).mean()
print(f"{nats:.4f} nats = {bits:.4f} bits; {nats:.4f} / ln 2 = {nats / math.log(2):.4f}")
print(f"perplexity {math.exp(nats):.4f} = {2**bits:.4f}")
print("knows nothing, 256 bytes:", -math.log2(1 / 256), "bits, perplexity", 256)

# %% [markdown]
# Two traps. Perplexities of different tokens cannot be compared: a word has about five bytes. Bits per byte can be, since every text has bytes.
# And a mean of perplexities is not the perplexity of the mean.

# %% tags=["nbval-check-output"]
word_perplexity, bytes_in_a_word = 16.0, 5.0
print(f"perplexity {word_perplexity} for each word of {bytes_in_a_word} bytes:"
      f" {math.log2(word_perplexity) / bytes_in_a_word:.2f} bits per byte")  # fmt: skip
losses = np.array([1.0, 5.0])
print(f"mean of perplexities {np.exp(losses).mean():.1f}, perplexity of the mean {np.exp(losses.mean()):.1f}")

# %% [markdown]
# **A second guess.** Papers compare losses in the second decimal. A loss falls by 0.01 nats, from 3.00 to 2.99.
# By how many percent does the perplexity fall?

# %%
my_second_guess = None  # percent
predict("90.b", my_second_guess)

# %%
reveal("90.b", 100 * (1 - math.exp(2.99) / math.exp(3.00)), "percent")

# %% [markdown]
# Whatever the loss was, 0.01 nats are 1 percent of perplexity.
#
# ## What you take along
#
# Fill in the last column yourself. "Not shown" is a good answer.
#
# | claim | your evidence | your verdict |
# | --- | --- | --- |
# | A wrong reshape raises an error | section Shapes: same shape, other numbers | |
# | (a + b) - b is a | section Floats: 1 and 300 in bfloat16 | |
# | A gradient check that passes proves the gradient | section Finite differences: tiny numbers hide the factor 2 | |
#
# **Three takeaways**
# 1. Say the shape before you run the line. Broadcasting and reshape make wrong shapes fit without a word.
# 2. Sums are kept in float32 or better, and nothing is taken out of a sum by subtraction.
# 3. Check with numbers of order one: tiny ones hide faults.
#
# **Exercises** None belong to this page.
#
# **Next** Back to [lecture 00](00_start_here.ipynb), or on to [lecture 01](01_attention.ipynb): softmax attention.
