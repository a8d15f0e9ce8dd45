# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Problem set 03: GAU in PyTorch
#
# [Lecture 03](../notebooks/03_gau_in_torch.ipynb) · [the lecture without results](../notebooks/work/03_work_gau_in_torch.ipynb) · [glossary](../docs/glossary.md)
#
# Six exercises, 100 points, about two hours and twenty minutes. The four marked *core* are 65 points in an hour and a half.
# They belong to lecture 03, and none of them needs a GPU.
#
# On Colab, first choose *File > Save a copy in Drive*: a notebook that was opened from a link is not saved.
#
# Write your code where it says `raise NotImplementedError`. The cell below each exercise checks it, and says where it differs. When you
# are stuck, `hint("03.1")` gives the first of three hints; call it again for the next one. `progress("03")` shows your points.
#
# `check` and grading call your functions by name, with the arguments that the text names, so keep both. Grading draws numbers and
# sizes of its own, and where you *mend* or *prove*, it also tries cases that `check` does not show.
# What a function is given belongs to its caller. Unless the text says otherwise, changing it counts as wrong, so work on a copy.
#
# The letters are those of the lecture: a batch of B sequences, T tokens, D model width, E expanded width, S query and key width,
# and n, the number by which scores are divided.

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
import copy

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from flash_course import check, hint, personal, progress
from flash_tutorial.check import draw_order_one, settle_branch

STUDENT = "me"  # your name or number; the numbers of 03.6 are drawn from it


def rope(x):
    """RoPE, as in the lecture: (..., T, S) -> (..., T, S). Row t is rotated to position t, from 0 on."""
    T, S = x.shape[-2:]
    step = dict(dtype=torch.float64, device=x.device)
    frequency = 10000.0 ** (-torch.arange(S // 2, **step) / (S // 2))
    angle = torch.arange(T, **step)[:, None] * frequency
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    x1, x2 = x.chunk(2, dim=-1)
    return torch.cat([x1 * cos - x2 * sin, x2 * cos + x1 * sin], dim=-1)


# %% [markdown]
# ## 03.1 build: `toeplitz_bias` and `rotary_bias`
#
# **15 points** · difficulty 2/5 · importance 4/5 · 20 minutes · core
#
# A decoder that has already read `first` tokens needs the bias only for the rows that come after them, so here both forms of the bias
# get an argument `first`. Rows are queries, at the positions first to n - 1; columns are keys, at *all* positions 0 to n - 1.
# Row 0 of the result therefore belongs to query `first`.
#
# - `toeplitz_bias(w, first)`, 10 points: query i reads key j with the weight of distance j - i. `w` holds the weights of the distances
#   -(n - 1) to n - 1, in this order, so the weight of distance 0 stands at w[n - 1]. n follows from the length of w. A gradient must reach w.
# - `rotary_bias(a, b, n, first)`, 5 points: RoPE rotates a to position i and b to position j, and their product is the bias, without any
#   division.
#
# In `toeplitz_bias`, no work may be done by a loop over rows or columns, and a list of all indices is such a loop too.
# You may use `torch`, and `rope` from the cell above.
#
# <details><summary>I get "no gradient reaches w"</summary>
#
# Did you make a new tensor out of the values of w? Index, slice or reshape w itself, and torch can follow them back.
#
# </details>


# %%
def toeplitz_bias(w, first=0):
    """Rows of the position bias from a table by distance.

    w: tensor (2 n - 1,), the weights of the distances j - i from -(n - 1) to n - 1. 0 <= first < n.
    Returns a tensor (n - first, n): its row r is for query i = first + r, its column j for key j.
    """
    # BEGIN SOLUTION
    n = (len(w) + 1) // 2
    position = torch.arange(n, device=w.device)
    return w[position - position[first:, None] + n - 1]
    # END SOLUTION


def rotary_bias(a, b, n, first=0):
    """The same rows from two vectors.

    a, b: tensors (S,), S even. n: number of tokens. 0 <= first < n.
    Returns a tensor (n - first, n): a rotated to position first + r, times b rotated to position j.
    """
    # BEGIN SOLUTION
    rotated_a, rotated_b = rope(a.expand(n, -1)), rope(b.expand(n, -1))
    return rotated_a[first:] @ rotated_b.mT
    # END SOLUTION


# %%
check("03.1", toeplitz_bias, rotary_bias)

# %% [markdown]
# ## 03.2 build: `class SmallGAU`
#
# **20 points** · difficulty 3/5 · importance 5/5 · 30 minutes · core
#
# Here is a small GAU in NumPy, for one sequence. It has no RoPE, and its table of biases ends somewhere: all distances beyond `reach` share
# the last weight of their side, so it takes sequences of any length.
#
# ```python
# def small_gau(x, p, n, reach, causal):  # x: (T, D)
#     E = p["out_proj.weight"].shape[1]
#     x_hat = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * p["gain"]
#     h = silu(x_hat @ p["in_proj.weight"].T + p["in_proj.bias"])      # silu(a) = a / (1 + exp(-a))
#     u, v, z = np.split(h, [E, 2 * E], axis=-1)                       # (T, E), (T, E), (T, S)
#     q = z * p["gamma"][0] + p["beta"][0]
#     k = z * p["gamma"][1] + p["beta"][1]
#     position = np.arange(len(x))
#     distance = np.clip(position[None, :] - position[:, None], -reach, reach)
#     A = np.maximum(q @ k.T / n + p["table"][distance + reach], 0) ** 2
#     if causal:
#         A = np.tril(A)
#     return x + (u * (A @ v)) @ p["out_proj.weight"].T + p["out_proj.bias"]
# ```
#
# Write it as a module for a batch, x (B, T, D). It has exactly these parameters, which start as in the paper:
#
# | name | shape | start |
# | --- | --- | --- |
# | `gain` | () | 1 |
# | `in_proj.weight`, `in_proj.bias` | (2 E + S, D), (2 E + S,) | std 0.02, zeros |
# | `gamma`, `beta` | (2, S), (2, S) | std 0.02, zeros |
# | `table` | (2 reach + 1,) | std 0.02 |
# | `out_proj.weight`, `out_proj.bias` | (D, E), (D,) | std 0.02, zeros |
#
# "std 0.02" means drawn from a normal distribution around 0 with that standard deviation, anew for each unit and from torch's own generator,
# so that `torch.manual_seed` decides what is drawn. `in_proj` and `out_proj` are `nn.Linear`s.
#
# The module must work in float64 after `.double()`, after `load_state_dict`, and on another device after `.to(device)`.
# No GPU is needed to see the last one: the check runs it on torch's device `meta`, where tensors have a shape but no values.
# The first check of this exercise takes several seconds, in which torch loads what it needs for that.
#
# You may use `torch`.
#
# <details><summary>I get "`forward` uses a tensor that stays on the CPU"</summary>
#
# `.to(device)` moves parameters. A tensor that `forward` makes by itself is on the CPU, unless you say `device=x.device`; one that `__init__`
# makes stays there, unless it is a parameter or a buffer (`register_buffer`).
#
# </details>


# %%
class SmallGAU(nn.Module):
    """A gated attention unit with a table of limited reach: x (B, T, D) -> (B, T, D).

    dim: D. expanded: E. qk_dim: S. reach: the last distance with a weight of its own.
    n: scores are divided by it, whatever T is. causal: a token reads itself and earlier ones only.
    """

    def __init__(self, dim, expanded, qk_dim, *, reach, n, causal):
        super().__init__()
        # BEGIN SOLUTION
        self.sizes, self.reach, self.n, self.causal = [expanded, expanded, qk_dim], reach, n, causal
        self.gain = nn.Parameter(torch.ones(()))
        self.in_proj, self.out_proj = nn.Linear(dim, sum(self.sizes)), nn.Linear(expanded, dim)
        self.gamma, self.beta = nn.Parameter(torch.empty(2, qk_dim)), nn.Parameter(torch.zeros(2, qk_dim))
        self.table = nn.Parameter(torch.empty(2 * reach + 1))
        for small in (self.in_proj.weight, self.out_proj.weight, self.gamma, self.table):
            nn.init.normal_(small, std=0.02)
        for zero in (self.in_proj.bias, self.out_proj.bias):
            nn.init.zeros_(zero)
        # END SOLUTION

    def forward(self, x):
        # BEGIN SOLUTION
        x_hat = x * (x.square().mean(-1, keepdim=True) + 1e-5).rsqrt() * self.gain
        u, v, z = F.silu(self.in_proj(x_hat)).split(self.sizes, dim=-1)
        q, k = (z * gamma + beta for gamma, beta in zip(self.gamma, self.beta))
        position = torch.arange(x.shape[1], device=x.device)
        distance = (position[None, :] - position[:, None]).clamp(-self.reach, self.reach)
        A = F.relu(q @ k.mT / self.n + self.table[distance + self.reach]).square()
        A = A.tril() if self.causal else A
        return x + self.out_proj(u * (A @ v))
        # END SOLUTION


# %%
check("03.2", SmallGAU)

# %% [markdown]
# ## 03.3 build: `numeric_gradient`
#
# **15 points** · difficulty 3/5 · importance 4/5 · 20 minutes
#
# Any gradient written by hand is judged by a slope between two points. In the lecture you moved one entry, the bias
# with which token 6 reads token 4. Here you move every entry, one at a time, and so you get the whole gradient.
#
# `f` takes an array of the shape of x and returns one number. Each entry of your result may err by at most 0.0000001 (1e-7),
# so think about how you move, and how far. x has any shape with at least one axis, and may hold whole numbers (dtype int). It must not change.
#
# You may use `numpy`.
#
# <details><summary>My error is about 0.00001, whatever I do</summary>
#
# Do you move to one side only? Then the bend of the curve stays in the result. Move to both sides.
#
# </details>


# %%
def numeric_gradient(f, x):
    """The gradient of f at x, by moving one entry at a time.

    f: takes an array of the shape of x, returns a number. x: array with one axis or more, float64 or whole numbers.
    Returns a float64 array of the shape of x.
    """
    # BEGIN SOLUTION
    point = np.array(x, dtype=np.float64)  # a copy
    gradient, step = np.zeros_like(point), 1e-5
    for index, middle in np.ndenumerate(x):
        point[index] = middle + step
        high = f(point)
        point[index] = middle - step
        low = f(point)
        point[index] = middle
        gradient[index] = (high - low) / (2 * step)
    return gradient
    # END SOLUTION


# %%
check("03.3", numeric_gradient)

# %% [markdown]
# ## 03.4 build: `quadratic_backward`
#
# **20 points** · difficulty 4/5 · importance 4/5 · 35 minutes
#
# Now you write the gradient by hand, with the mask and for any power of relu. The forward pass of one sequence is
#
# `s = q kᵀ / n + bias`, then `A = relu(s) ** power`. If `causal` is true, `A[i, j]` is set to 0 for j > i. Last, `out = A v`.
#
# The power is a whole number, 1 or more; the lecture has 2. You get `d_out`, the gradient of a loss with respect to out, and
# return the gradients of q, k, v and bias. At a hidden entry the gradient of bias is 0, and the derivative of relu(s) is 0 for s below 0
# and for s = 0, whatever the power.
#
# Do it with `numpy`. Loops are allowed, but a few matrix products are shorter. Torch's own gradient is switched off,
# and differences as in 03.3 do not pass: d_out may be as large as 1e300, and q as small as 1e-300.
#
# <details><summary>Only the case with power 1 is wrong</summary>
#
# Print your slope where the score is negative. What does NumPy make of `0.0 ** 0`?
#
# </details>


# %%
def quadratic_backward(q, k, v, bias, n, causal, d_out, power=2):
    """Gradients of relu(q kᵀ / n + bias) ** power times v.

    q, k: arrays (T, S). v, d_out: arrays (T, E). bias: array (T, T). n: a number. causal: True or False.
    Returns dq (T, S), dk (T, S), dv (T, E), dbias (T, T).
    """
    # BEGIN SOLUTION
    s = q @ k.T / n + bias
    open_ = s > 0
    if causal:
        open_ = np.tril(open_)
    r = np.where(open_, s, 0)
    d_s = np.where(open_, power * r ** (power - 1) * (d_out @ v.T), 0)
    return d_s @ k / n, d_s.T @ q / n, (r**power).T @ d_out, d_s
    # END SOLUTION


# %%
check("03.4", quadratic_backward)

# %% [markdown]
# ## 03.5 prove: `assert_prefix_consistent`
#
# **15 points** · difficulty 3/5 · importance 5/5 · 20 minutes · core
#
# Write a test for a causal unit: its first t outputs may depend neither on how many tokens follow nor on which ones.
# Your test raises an `AssertionError` if they do, and returns without one if they do not.
#
# It gets one freshly made unit: `unit(x)` takes x (B, T, D) and returns (B, T, D), where D is `unit.dim` and T may be anything from 1 to 64.
# You may change the unit, for example cast it, or draw its parameters anew.
# Some units cut the sequence into chunks of 8 tokens.
#
# Your test is tried on three right units: a GAU with n fixed, and two kinds of FLASH, which is the unit of lecture 06.
# You need not know how FLASH works, only that it reads earlier chunks as a whole, by their mean or by their sum.
# Your test is also tried on nine wrong units. A unit may be wrong for one token only, by a thousandth, from the second
# chunk on, where the last chunk is not full, or at some lengths only. Each is asked four times, 48 calls in all, and grading stops after 10 seconds,
# so keep a call below 0.1 seconds: the beginnings of one sequence are enough.
#
# You may use `torch`, `copy`, and from `flash_tutorial.check` the functions `draw_order_one` and `settle_branch`.
# (`draw_order_one(unit, torch.Generator().manual_seed(0))` draws the parameters in place and returns the unit.
# `settle_branch(unit, x)` scales its last matrix, so that the branch is about as large as x.) The functions `prefix_error`, `step_error`
# and `check_unit` of that module are locked here, because the comparison is yours to write.
#
# <details><summary>My test fails a unit that is right</summary>
#
# At a different length the sums are taken in a different order, and so they are rounded differently. Use `unit.double()`, and allow a tiny
# difference in relation to the size of the outputs: those of FLASH with the sum are large.
#
# </details>


# %%
def assert_prefix_consistent(unit):
    """Raise AssertionError unless the outputs for the beginning of a sequence stay the same when it goes on.

    unit: a module, x (B, T, D) -> (B, T, D), with D = unit.dim, 1 <= T <= 64.
    """
    # BEGIN SOLUTION
    generator = torch.Generator().manual_seed(0)
    unit = draw_order_one(copy.deepcopy(unit).double(), generator)
    x = torch.randn(2, 45, unit.dim, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        settle_branch(unit, x)
        whole = unit(x)
        for t in range(1, x.shape[1]):
            difference = (unit(x[:, :t]) - whole[:, :t]).abs().max()
            assert difference < 1e-9 * whole.abs().max(), f"alone, {t} tokens give different outputs"
    # END SOLUTION


# %%
check("03.5", assert_prefix_consistent)

# %% [markdown]
# ## 03.6 predict: floating point
#
# **15 points** · difficulty 2/5 · importance 4/5 · 15 minutes · core
#
# The next cell prints your numbers: n, which is a power of two, and a step. Answer before you compute anything.
#
# float16 keeps 11 binary digits of a number, and bfloat16 keeps 8, counting the leading 1.
# The largest float16 is 65504, and the smallest above 0 is 2⁻²⁴.
# Every result is rounded to the nearest number of its format, and from the middle between two it goes to the one
# whose last binary digit is 0.
#
# - `a`: s, s / n and relu²(s / n) are float16 numbers. What is the largest s for which relu²(s / n) is finite?
# - `b`: what is the smallest s above 0 for which relu²(s) in float16 is not 0? There is no division here. Three digits are
#   enough, so it does not matter whether you round s itself to a float16 number.
# - `c`: a float16 number x starts at 0, and `x = x + step` is repeated. At which number does it stop growing?
#   Write `float("inf")` if you think that it never stops.
# - `d`: the same question for bfloat16.
# - `e`: a score of 1000 is squared. Which format is in trouble, `"float16"` or `"bfloat16"`?
# - `f`: a running sum adds a number near 1 for each of 500 chunks. Which format stops growing too early, `"float16"` or `"bfloat16"`?
# - `g`: NVIDIA's tensor cores multiply bfloat16 only from compute capability 8.0 on, and a T4 has 7.5. Torch multiplies bfloat16 matrices there all the
#   same. By `"tensor cores"` or by `"emulation"`?
#
# <details><summary>My number for c or d is called wrong, and I know the digits</summary>
#
# With 11 binary digits, whole numbers are exact up to 2¹¹. But your step is not 1, so count in steps.
#
# </details>

# %%
print(personal("03.6", STUDENT))

# %%
# BEGIN SOLUTION
# STUB answer_03_6 = dict(a=None, b=None, c=None, d=None, e=None, f=None, g=None)
_n = personal("03.6", STUDENT)
answer_03_6 = dict(
    a=255.875 * _n["n"], b=2**-12.5, c=2048 * _n["step"], d=256 * _n["step"], e="float16", f="bfloat16", g="emulation"
)
# END SOLUTION
check("03.6", answer_03_6, student=STUDENT)

# %%
progress("03")
