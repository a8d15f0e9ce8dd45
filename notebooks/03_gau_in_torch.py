# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 03 GAU in PyTorch: start, gradient, half precision, and one trap
#
# [With results](03_gau_in_torch.ipynb) · [without, to work in](work/03_gau_in_torch.ipynb) · [problem set 03](../exercises/03_gau_in_torch.ipynb) · [glossary](../docs/glossary.md)
#
# Here the gated attention unit (GAU) of lecture 02 becomes a PyTorch module that can be trained, and on the way you meet four things that the
# equations do not tell you.
#
# **After this lecture you can**
# - write a GAU as an `nn.Module` in about 40 lines, with either form of the position bias, and show that it equals the NumPy one;
# - explain why a test on a freshly made unit sees so little, and write one that sees more;
# - derive the gradient of relu² attention, and say what must be kept for it and where half precision breaks;
# - recognise a unit whose outputs change with the length of the sequence.
#
# **You need** lecture 02, and a little PyTorch: tensors, `nn.Module`, `backward()`.
#
# **Time** 29 minutes to read. Running the code takes about 25 seconds on two CPU cores.
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

from flash_tutorial.training.devices import describe_device

print(describe_device())

# %% [markdown]
# Here is a bug that nobody sees. In a copy of the package's GAU queries and keys are exchanged, so that every token asks with its key
# and is found by its query. Then all outputs are compared, with the function that PyTorch's own tests use.

# %% tags=["nbval-check-output"]
import copy

import torch

from flash_tutorial import GAU

torch.set_num_threads(1)
torch.manual_seed(0)
good = GAU(64, causal=True, bias="toeplitz", bias_length=200)
broken = copy.deepcopy(good)
for vectors in (broken.scale_offset.gamma, broken.scale_offset.beta):
    vectors.data = vectors.data.flip(0)  # row 0 makes the queries, row 1 the keys

x = torch.randn(2, 200, 64)
torch.testing.assert_close(broken(x), good(x))  # no complaint
print(f"standard deviation of outputs {good(x).std():.2f}, largest difference {(broken(x) - good(x)).abs().max():.6f}")

# %% [markdown]
# The test passes, and it would pass in your project too (section 2). First **two questions from lecture 02**.
#
# **1.** Where does the causal mask go, and why does one step earlier do no harm?
#
# <details><summary>Answer</summary>
#
# After the square. Since relu²(0) is 0, a mask between bias and relu² gives the same result, but a mask before the bias is a fault.
#
# </details>
#
# **2.** What is u for?
#
# <details><summary>Answer</summary>
#
# It is the gate: token i multiplies what it has read by its own u.
#
# </details>

# %%
import tempfile
from dataclasses import replace

import numpy as np
import torch.nn.functional as F
from torch import nn

from flash_course import drawing, learner
from flash_course.learner import predict, reveal
from flash_tutorial import LanguageModel, ModelConfig, check_unit, count_parameters, reference
from flash_tutorial.layers import cos_sin, make_norm
from flash_tutorial.check import draw_order_one, settle_branch

# %% [markdown]
# ## 1. The unit as a module
#
# In PyTorch a tensor wrapped in `nn.Parameter` is trained, saved, and moved to a GPU with the rest, whereas a tensor that is made inside
# `forward` needs `device=`. And every array has a batch axis B in front, which is why the code says `k.mT`: it exchanges only the last two
# axes.


# %%
def rope(x):
    """Rotate the pairs of channels (s, s + S/2) by their position: (..., T, S) -> (..., T, S)."""
    cos, sin = cos_sin(*x.shape[-2:], x)  # (T, S/2); angles in float64, because they become large
    x1, x2 = x.chunk(2, dim=-1)
    return torch.cat([x1 * cos - x2 * sin, x2 * cos + x1 * sin], dim=-1)


def relu2(s):
    return F.relu(s).square()


class Toeplitz(nn.Module):
    """The position bias as a table by distance: 2 length - 1 weights, distance 0 in the middle."""

    def __init__(self, length):
        super().__init__()
        self.weights = nn.Parameter(torch.empty(2 * length - 1))

    def forward(self, T):
        position = torch.arange(T, device=self.weights.device)
        return self.weights[position[None, :] - position[:, None] + len(self.weights) // 2]


# %% [markdown]
# Now the unit itself, with the letters of lecture 02. Three short methods stand apart from `forward`, because section 2 plants bugs in them.


# %%
class MyGAU(nn.Module):
    def __init__(self, dim, *, causal=True, qk_dim=32, length=64, n=None, norm="layer"):
        super().__init__()
        self.dim, self.expanded, self.causal, self.n = dim, 2 * dim, causal, n
        self.norm = make_norm(norm, dim)  # "layer" is LayerNorm, "scale" the paper's ScaleNorm
        self.in_proj = nn.Linear(dim, 2 * self.expanded + qk_dim)  # u, v and z in one product
        self.gamma, self.beta = nn.Parameter(torch.empty(2, qk_dim)), nn.Parameter(torch.empty(2, qk_dim))
        self.out_proj = nn.Linear(self.expanded, dim)
        self.bias = Toeplitz(length)  # serves sequences up to this length
        self.reset_parameters()

    def reset_parameters(self):
        for small in (self.in_proj.weight, self.out_proj.weight, self.gamma, self.bias.weights):
            nn.init.normal_(small, std=0.02)
        for zero in (self.in_proj.bias, self.out_proj.bias, self.beta):
            nn.init.zeros_(zero)

    def forward(self, x_BTD, mask=None, segment_ids=None):  # segment_ids are for lecture 06
        h = F.silu(self.in_proj(self.norm(x_BTD)))
        if mask is not None:  # padding gets v = 0, so nobody reads anything from it
            h = h.masked_fill(~mask[..., None], 0)
        u, v, z = h.split([self.expanded, self.expanded, self.gamma.shape[1]], dim=-1)
        q, k = self.copies(z)
        return x_BTD + self.out_proj(self.read(u, v, self.attention_matrix(q, k)))

    def copies(self, z_BTS):
        return rope(z_BTS * self.gamma[:, None, None] + self.beta[:, None, None])  # (2, B, T, S)

    def attention_matrix(self, q, k):
        T = q.shape[1]
        A_BTT = relu2(q @ k.mT / (self.n or T) + self.bias(T))  # n=None: the current length
        return A_BTT.tril() if self.causal else A_BTT

    def read(self, u, v, A):
        return u * (A @ v)


# %% [markdown]
# Is it the unit of lecture 02? We give the same parameters, all *of order one* (about as large as 1), to the NumPy reference, the package's
# GAU, and the class above. They should agree to ten digits in float64 and to five in float32. Differences are measured against the
# *branch*, `y - x`, since x itself is passed through.


# %%
def error(y, y_ref, x):
    y, y_ref, x = (np.asarray(t, dtype=np.float64) for t in (y, y_ref, x))
    return np.linalg.norm(y - y_ref) / np.linalg.norm(y_ref - x)


def take_over(mine, package):
    """Give my module the parameters of the package's: they have the same names, up to one word."""
    mine.load_state_dict({name.replace("scale_offset.", ""): t for name, t in package.state_dict().items()})


T, D, S = 200, 64, 32  # the package computes a causal matrix in blocks of 64 rows: 200 is three blocks and a rest
x = torch.randn(2, T, D, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
for causal in (True, False):
    options = dict(causal=causal, qk_dim=S, norm="scale")
    package = GAU(D, bias="toeplitz", bias_length=T, length_scale=T, **options).double()
    draw_order_one(package, torch.Generator().manual_seed(1))
    mine = MyGAU(D, length=T, n=T, **options).double()
    take_over(mine, package)
    with torch.no_grad():
        wanted = np.stack([reference.gau(x_TD, package.to_numpy(), causal=causal) for x_TD in x.numpy()])
        y = {"package": package(x), "mine": mine(x), "mine in float32": mine.float()(x.float())}
    off = {name: error(out, wanted, x) for name, out in y.items()}
    print(f"{'causal' if causal else 'not causal':10}", ", ".join(f"{name} off by {e:.0e}" for name, e in off.items()))
    assert max(off["package"], off["mine"]) < 1e-10 < off["mine in float32"] < 1e-5

# %% [markdown]
# ## 2. How a unit starts, and why tests on it are blind
#
# The bug is hidden by the way a unit is initialised. The paper has one recipe for everything (Codes 4 to 8), different from that of `nn.Linear`:
# matrices, gamma and the bias table are Gaussian with a standard deviation of 0.02, beta and all offsets are 0, and the gain of a norm is 1.


# %% tags=["nbval-check-output"]
torch.manual_seed(0)
fresh = MyGAU(D, length=T, n=T)
of_package = GAU(D, qk_dim=S, causal=True, norm="layer", bias="toeplitz", bias_length=T, length_scale=T)
theirs = {name.replace("scale_offset.", ""): p.detach() for name, p in of_package.named_parameters()}
for name, drawn in fresh.named_parameters():
    assert abs(drawn.std() - theirs[name].std()) < 0.01 and abs(drawn.mean() - theirs[name].mean()) < 0.01
print(f"standard deviation of {D} x {D} weights as nn.Linear draws them: {nn.Linear(D, D).weight.data.std():.2f}")

# %% [markdown]
# All matrices have entries of about 0.02, and the unit multiplies several of them. Follow x through it, with fresh parameters and with parameters
# of order one. (`settle_branch` scales `out_proj` so that the second unit's branch is about as large as x.)


# %%
@torch.no_grad()
def sizes(unit, x):
    """Standard deviation of each array on the way."""
    u, v, z = F.silu(unit.in_proj(unit.norm(x))).split([2 * D, 2 * D, S], dim=-1)
    q, k = unit.copies(z)
    A = unit.attention_matrix(q, k)
    arrays = {"norm(x)": unit.norm(x), "u": u, "q": q, "q kᵀ / n": q @ k.mT / unit.n, "bias": unit.bias(x.shape[1])}
    arrays |= {"A": A, "A v": A @ v, "u * A v": unit.read(u, v, A), "branch": unit(x) - x}
    return {name: float(t.std()) for name, t in arrays.items()}


x = x.float()
loud = MyGAU(D, length=T, n=T)
settle_branch(draw_order_one(loud, torch.Generator().manual_seed(1)), x)
stages = {"fresh": sizes(fresh, x), "order one": sizes(loud, x)}

# %%
title = "A fresh unit adds almost nothing to its input"
figure, axes = drawing.new_axes(6.4, 3.6, "standard deviation of the entries (logarithmic)", title=title)
arrays = list(stages["fresh"])
small = list(stages["fresh"].values())
large = list(stages["order one"].values())
axes.hlines(arrays, small, large, color="lightgrey", linewidth=3)
axes.plot(small, arrays, "o", color="black", markerfacecolor="white", markersize=8)
axes.plot(large, arrays, "s", color="black", markersize=8)
axes.text(small[-1], "branch", f"fresh: {small[-1]:.0e}  ", ha="right", va="center")
axes.text(large[-1], "branch", f"  order one: {large[-1]:.1f}", va="center")
axes.set_xscale("log")
axes.set_xlim(min(small) / 100, 100 * max(large))
axes.invert_yaxis()
said = "; ".join(f"{name}: {drawing.listed(sizes_of, '{:.0e}')}" for name, sizes_of in stages.items())
drawing.show(figure, f"Two dots for each array inside a unit, its size on a logarithmic scale. {said}.")
assert stages["fresh"]["branch"] < 1e-4 and 0.5 < stages["order one"]["branch"] < 2
assert stages["fresh"]["q kᵀ / n"] < 1e-3 * stages["fresh"]["bias"]  # next to the bias the scores vanish
deep = nn.Sequential(*(MyGAU(D, length=T, n=T) for _ in range(24)))
with torch.no_grad():
    print(f"24 fresh units, one after the other, change x by {(deep(x) - x).norm() / x.norm():.0e} of its size")

# %% [markdown]
# A fresh unit is almost the identity. For training that is mostly a gift, because a stack of 24 units passes its input through
# unharmed. For testing it is a trap.
#
# **Misconception: a unit that passes its test when freshly made is right.** Here are eight bugs, and the test from the beginning, which in
# float32 forgives an absolute difference of 0.00001.

# %%
faults = {  # name: the method, and what stands in its place
    "q and k exchanged": ("copies", lambda g, z: MyGAU.copies(g, z).flip(0)),
    "no RoPE": ("copies", lambda g, z: z * g.gamma[:, None, None] + g.beta[:, None, None]),
    "beta forgotten": ("copies", lambda g, z: rope(z * g.gamma[:, None, None])),
    "beta after RoPE": ("copies", lambda g, z: rope(z * g.gamma[:, None, None]) + g.beta[:, None, None]),
    "1/n forgotten": ("attention_matrix", lambda g, q, k: relu2(q @ k.mT + g.bias(q.shape[1])).tril()),
    "bias transposed": ("attention_matrix", lambda g, q, k: relu2(q @ k.mT / g.n + g.bias(q.shape[1]).mT).tril()),
    "mask before the bias": ("attention_matrix", lambda g, q, k: relu2((q @ k.mT / g.n).tril() + g.bias(q.shape[1]))),
    "gate of the token read": ("read", lambda g, u, v, A: A @ (u * v)),
}


@torch.no_grad()
def off_by(unit, fault):  # the largest difference of an output, and whether `assert_close` notices it
    method, wrong = fault
    faulty = type("Faulty", (MyGAU,), {method: wrong})(D, length=T, n=T)  # MyGAU with one method replaced
    faulty.load_state_dict(unit.state_dict())
    y, right = faulty(x), unit(x)
    return float((y - right).abs().max()), not torch.allclose(y, right, rtol=1.3e-6, atol=1e-5)  # its own tolerances


# %% [markdown]
# **Your first guess.** How many of the eight does the test notice on a fresh unit?

# %%
predict("03.a", None)  # your number in place of None

# %%
print(f"{'largest difference':24} {'fresh':>8}  {'order one':>9}")
noticed = np.zeros(3, int)
for name, fault in faults.items():
    (small, seen), (large, seen_there) = off_by(fresh, fault), off_by(loud, fault)
    print(f"{name:24} {small:8.0e}  {large:9.1f}")
    noticed += [seen, seen_there, small > 1e-3]
print(f"{'noticed, of 8':24} {noticed[0]:8}  {noticed[1]:9}   (fresh, at a tolerance of 0.001: {noticed[2]})")
assert noticed.tolist() == [3, 8, 0]
reveal("03.a", noticed[0], "of 8 bugs")

# %% [markdown]
# Whatever goes wrong in queries and keys stays unseen on a fresh unit, since its scores are too small to show beside the bias; two of the
# bugs change nothing at all, because beta is still 0. With a tolerance of 0.001 all eight pass. In a project the symptom is that *the check
# passes, the model trains, and it trains worse than it should*.
#
# ## 3. The position bias in both forms
#
# Code 4 of the paper has two forms. **Form 1 is a table by distance**, our `Toeplitz`. Mind its middle: a sequence shorter than the table must
# take the weights *of the same distances*. If 4 tokens simply used the first 7 of 11 weights, no error would be raised, but each token would
# read itself as if it stood two positions back.
#
# **Form 2 is a product of two vectors** of S weights, `a` rotated to position i and `b` to position j. Code 4 uses it from a length of 512
# on, where the table would have 1,023 weights and form 2 with S = 128 has 256. It serves any length, although nothing was learned beyond
# the training length.


# %%
class Rotary(nn.Module):
    def __init__(self, qk_dim):
        super().__init__()
        self.a, self.b = nn.Parameter(torch.empty(qk_dim)), nn.Parameter(torch.empty(qk_dim))

    def forward(self, T):
        a, b = rope(self.a.expand(T, -1)), rope(self.b.expand(T, -1))
        return a @ b.mT


rotary = Rotary(128).double()
nn.init.normal_(rotary.a), nn.init.normal_(rotary.b)
with torch.no_grad():
    bias = rotary(600).numpy()
    assert np.abs(bias - reference.rotary_bias(rotary.a.numpy(), rotary.b.numpy(), 600)).max() < 1e-9
assert np.abs(bias[1:, 1:] - bias[:-1, :-1]).max() < 1e-9  # by distance only

# %% [markdown]
# ## 4. The gradient by hand
#
# PyTorch finds gradients by itself, so why derive one? Because whoever writes the backward pass decides what is kept in memory for it.
#
# Let `s = q kᵀ / n + b`, `r = relu(s)`, `A = r × r`, `o = A v`, and let `d_o` be the gradient of the loss with
# respect to o; `d_A` and `d_s` mean the same for A and s. Now go backwards, one pair (i, j) at a time. The score `s[i, j]` matters
# in one place only, in `o[i] += r² v[j]`. So
#
# - the weight A[i, j] multiplies v[j] there, hence `d_A[i, j] = d_o[i] · v[j]`;
# - A is r², whose slope is 2 r, hence `d_s[i, j] = 2 r[i, j] × d_A[i, j]`. Where s is negative, r is 0, and no gradient passes.

# %% [markdown]
# Here are six tokens in whole numbers, without a mask. In row 6, follow how token 6 attends to token 4. For this pair s is (0 × (-2) + 2 ×
# 2) / 2 + 0 = 2, where the last 0 is the bias for two positions back, and d_A is 2 × 2 + 1 × 0 = 4, so d_s is 2 × 2 × 4 = 16.
#
# You can check this without calculus: raise this one bias by 1, lower it by 1, and take half of the difference of the loss, here the sum
# of `o × d_o`. For a parabola that is exactly the slope.


# %%
q = np.array([(1, 0), (0, 1), (1, 1), (2, 0), (1, -1), (0, 2)])
k = np.array([(2, 0), (0, 2), (2, -2), (-2, 2), (2, 2), (0, -2)])
v = np.array([(1, 0), (0, 1), (1, 1), (2, 0), (0, 2), (1, -1)])
d_o = np.array([(1, 0), (0, 1), (1, -1), (0, 0), (-1, 1), (2, 1)])
weights, n = np.array([-1, 0, 1, 0, -1, 1, 0, 1, -1, 0, 1]), 2  # n is a fixed number, not T
b = weights[np.arange(6)[None, :] - np.arange(6)[:, None] + 5]


def forward(q, k, v, b, n):
    r = np.maximum(q @ k.T / n + b, 0)
    return (r * r) @ v


r, d_A = np.maximum(q @ k.T / n + b, 0), d_o @ v.T
d_s = 2 * r * d_A + 0  # + 0 makes 0 of -0
panels = {"s = q kᵀ / 2 + b": q @ k.T / n + b, "r = relu(s)": r, "d_A = d_o vᵀ": d_A, "d_s = 2 r × d_A": d_s}
drawing.show(*drawing.numbers_in_squares(panels, row=6, title="Six tokens: where r is 0, no gradient passes"))
one = np.zeros((6, 6))
one[5, 3] = 1  # token 6 reads token 4
up, down = [(forward(q, k, v, b + sign * one, n) * d_o).sum() for sign in (1, -1)]
print(f"loss with bias + 1: {up:.0f}, with bias - 1: {down:.0f}, slope: {(up - down) / 2:.0f}, d_s: {d_s[5, 3]:.0f}")
assert (up - down) / 2 == d_s[5, 3] == 16 and not d_s[r == 0].any()

# %% [markdown]
# Each pair (i, j) now passes its share of the gradient to four arrays: to q, k and b through its score `q[i] · k[j] / n + b[i, j]`, and to
# v through `A[i, j] v[j]` in `o[i]`. Without loops, d_q is `d_s @ k / n`.
#
# **Your line** is d_k: row j gathers from *all* queries that read key j.


# %%
def backward_loops(q, k, v, r, n, d_o):
    d_q, d_k, d_v, d_b = (np.zeros(shape) for shape in (q.shape, k.shape, v.shape, r.shape))
    for i, j in np.ndindex(r.shape):
        d_s = 2 * r[i, j] * (d_o[i] @ v[j])
        d_q[i] += d_s * k[j] / n
        d_k[j] += d_s * q[i] / n
        d_v[j] += r[i, j] ** 2 * d_o[i]
        d_b[i, j] = d_s
    return d_q, d_k, d_v, d_b


def my_d_k(q, d_s, n):
    return ...  # your line


loops = backward_loops(q, k, v, r, n, d_o)
learner.your_line("03.e", my_d_k, ((q, d_s, n), loops[1]), ((2 * q, d_s, 5), loops[1] * 4 / 5))

# %% [markdown]
# <details><summary>The line</summary>
#
# `return d_s.T @ q / n`: transposed, since j is now the row.
#
# </details>
#
# With that line all four gradients take four matrix products, since d_b is d_s itself, and PyTorch's own gradient can judge them. (One weight of the
# Toeplitz table serves a whole diagonal, so its gradient is the sum of d_b along that diagonal.)


# %% tags=["nbval-check-output"]
def backward(q, k, v, r, n, d_o):
    d_s = 2 * r * (d_o @ v.T)
    return d_s @ k / n, d_s.T @ q / n, (r * r).T @ d_o, d_s


rng, big_T, n = np.random.default_rng(0), 50, 8
big = [rng.normal(size=shape) for shape in ((big_T, 4), (big_T, 4), (big_T, 6), (big_T, big_T), (big_T, 6))]
*inputs, d_o = (torch.from_numpy(array).requires_grad_() for array in big)
q_, k_, v_, b_ = inputs
(relu2(q_ @ k_.T / n + b_) @ v_).backward(d_o)
r = np.maximum(big[0] @ big[1].T / n + big[3], 0)
for ours, tensor in zip(backward(*big[:3], r, n, big[4]), inputs, strict=True):
    assert np.allclose(ours, tensor.grad, rtol=1e-10, atol=1e-10)
print("4 checks passed")

# %% [markdown]
# ## 5. What is kept for the backward pass
#
# In a `torch.autograd.Function` both passes are written by hand, and `ctx.save_for_backward` says what is kept. The package's `relu2_attention`
# (`flash_tutorial/fast.py`) is one. It saves q, k, v and r but not A, which is r × r.
#
# Is it right? `gradcheck` compares its gradients with finite differences. Was it worth the trouble? `kept_matrices`, which you may skip,
# uses a *hook* to count what PyTorch saves; its unit is one T × T matrix of float32.


# %% tags=["nbval-check-output"]
from flash_tutorial.fast import relu2_attention

ways = {
    "plain torch": lambda q, k, v, b, n: relu2(q @ k.mT / n + b).tril() @ v,
    "the package": lambda q, k, v, b, n: relu2_attention(q, k, v, scale=1 / n, causal=True, bias=b),
}


def draw(B, T, S, E, dtype=torch.float64):
    shapes = (B, T, S), (B, T, S), (B, T, E), (T, T)
    return [torch.randn(shape, dtype=dtype, requires_grad=True) for shape in shapes]


def kept_matrices(way, *inputs):
    T, inputs_at, kept = inputs[0].shape[1], {t.data_ptr() for t in inputs}, {}
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.update({t.data_ptr(): t.nbytes}) or t, lambda t: t):
        way(*inputs, T)
    return sum(size for at, size in kept.items() if at not in inputs_at) / (4 * T * T)


torch.manual_seed(2)
small, medium, large = draw(2, 5, 4, 3), draw(3, 200, 8, 6), draw(8, 512, 32, 128, torch.float32)
by_torch, by_hand = (torch.autograd.grad(way(*medium, 200).sin().sum(), medium) for way in ways.values())
torch.testing.assert_close(by_hand, by_torch, rtol=1e-10, atol=1e-10)
assert torch.autograd.gradcheck(lambda *inputs: ways["the package"](*inputs, 5), small)
for name, way in ways.items():
    print(f"{name} keeps {kept_matrices(way, *large) / 8:.2f} matrices for each of 8 sequences")

# %% [markdown]
# Plain torch keeps two matrices a sequence: r for the slope of the square, and A for the product with v. The package drops A and, in blocks
# of rows, also the upper right of r, so it keeps little more than half a matrix. At T = 8192 a matrix takes 4 × 8192² bytes, or
# 268 MB, so 24 units on 8 sequences keep 103 GB in plain torch.
#
# ## 6. In half precision
#
# Many GPUs multiply much faster in 16 bits than in 32, and there are two formats for it: **float16** spends its bits on
# digits, **bfloat16** on range. For relu² the range matters, since squaring doubles the exponent.
#
# **Your second guess.** Among the scores 1, 2, 3 and so on, which is the first whose relu² is infinite in float16?

# %%
predict("03.b", None)  # your number in place of None

# %%
reveal("03.b", next(s for s in range(1, 1000) if relu2(torch.tensor(s, dtype=torch.float16)).isinf()))

# %%
formats = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
scores, errors = np.logspace(-6, 6, 49), {}
around = scores[:, None] * np.random.default_rng(6).uniform(0.9, 1.1, size=(49, 200))  # 200 scores near each
for name, dtype in formats.items():
    square = relu2(torch.from_numpy(around).to(dtype)).double().numpy()
    errors[name] = np.where(np.isfinite(square).all(1), np.abs(square / around**2 - 1).max(1), np.nan)

title = "float16 loses small and large squares; bfloat16 keeps all, to fewer digits"
figure, axes = drawing.new_axes(6.6, 3.5, "score s", "largest relative error of relu²(s)", title)
drawing.lines(axes, {name: (scores, error) for name, error in errors.items()}, markevery=2)
for line in axes.lines:
    name, colour = line.get_label(), line.get_color()
    axes.annotate(name, (scores[0], errors[name][0]), (0, 6), textcoords="offset points", color=colour)
    if np.isnan(errors[name]).any():
        last = np.flatnonzero(np.isfinite(errors[name]))[-1]
        axes.plot(scores[last], errors[name][last], "X", color=colour, markersize=10)
        axes.text(scores[last], errors[name][last], "  infinite from here on", color=colour, va="top")
axes.set_xscale("log")
axes.set_yscale("log")
axes.set_ylim(top=8)
said = drawing.in_words(axes, x="{:.0e}", form="{:.0e}", missing="infinite")
drawing.show(figure, f"Line plot, both axes logarithmic, of the rounding error of relu squared by the score: {said}.")
assert relu2(torch.tensor(65_504.0).half() / 512).isfinite() and relu2(torch.tensor(5e-8).half()) == 0

# %% [markdown]
# The largest float16 is 65,504, and 256² = 65,536 is already beyond it. The smallest positive one is 2⁻²⁴. A square below half of that, which is the
# square of a score below about 0.00017, rounds to zero. This is why it matters that Code 6 divides the scores by n *before* the square. Without the
# division a score may grow to 255 before its weight becomes infinite; with n = 512, even the largest q · k that float16 can hold gets a
# finite weight. One infinity can end a training run.
#
# The package trains with *autocast* (lecture 07): matrix products are computed in half precision, and so is what is made from them, relu²
# included; x and its norm are float32. On one unit that costs less than 2% of the branch in bfloat16:

# %%
package = GAU(D, qk_dim=S, causal=True, bias="toeplitz", bias_length=T, length_scale=T)
settle_branch(draw_order_one(package, torch.Generator().manual_seed(1)), x)
with torch.autocast("cpu", torch.bfloat16):
    y, product = package(x), package.in_proj(package.norm(x))
assert y.dtype == torch.float32 and relu2(product).dtype == torch.bfloat16
assert error(y.detach(), package(x).detach(), x) < 0.02

# %% [markdown]
# ## 7. Your unit in a language model
#
# `ModelConfig(MyGAU)` puts your module into the tiny model of lecture 02, with a fixed n = 64. It starts from a
# copy of the package's parameters, so that the two losses can be compared update by update. A second run has the rotary bias instead.


# %%
from flash_tutorial.corpora import load_corpus
from flash_tutorial.training import TrainConfig, evaluate, first_bytes, train

corpus = load_corpus("austen")
settings = TrainConfig(
    steps=300, batch=16, length=64, learning_rate=3e-3, warmup=20, dtype="float32", eval_bytes=20_000
)
tiny = ModelConfig("flash_quad", dim=64, depth=4, qk_dim=32, max_length=64, norm="layer", start="paper")
my_config = ModelConfig(
    MyGAU, dim=64, depth=4, max_length=64, norm="layer", unit_options=dict(length=64, n=64), start="paper"
)

torch.manual_seed(settings.seed)
of_package, of_mine = LanguageModel(tiny), LanguageModel(my_config)
take_over(of_mine, of_package)
with tempfile.TemporaryDirectory() as folder:
    of_mine.save_pretrained(folder)
    from_folder = replace(settings, start_from=folder)
    runs = {"my GAU, Toeplitz bias": train(my_config, from_folder, corpus=corpus, progress=False)}
runs["GAU, rotary bias"] = train(replace(tiny, bias="rotary"), settings, corpus=corpus, progress=False)
first_updates = train(tiny, settings, corpus=corpus, progress=False, stop_at=30).log  # the package's, cut short

# %% tags=["nbval-check-output"]
from flash_course.bench.stored import compare_with_stored, load_stored

compare_with_stored("03", runs)  # made once by experiments/scoreboard.py, with the same seed and settings
losses = [[row["loss"] for row in log[:30]] for log in (runs["my GAU, Toeplitz bias"].log, first_updates)]
assert np.abs(np.subtract(*losses)).max() < 1e-4 and count_parameters(of_package) == count_parameters(of_mine)
bits = {name: run.evaluation.bits_per_byte for name, run in runs.items()}
seeds = load_stored("scoreboard")["seeds"]
for name, score in bits.items():
    print(f"{name:24} {score:.1f} bits per byte here; stored, three seeds:", end=" ")
    print(", ".join(f"{each:.2f}" for each in seeds[f"03 {name}"]))
table, waves = seeds["03 my GAU, Toeplitz bias"], seeds["03 GAU, rotary bias"]
assert waves[0] < table[0] + 0.05 and min(waves[1:]) > max(table) + 0.2

# %% [markdown]
# Your unit uses PyTorch's gradient and the package's unit the one derived by hand, yet their losses agree for 30 updates. (A mistake in d_q
# or d_k would hardly show so early; there `gradcheck` is the proof.)
#
# With the seed that you trained, the rotary bias is as good as the table; with the other two it is a third of a bit worse. One seed would have told
# you that the choice does not matter, so a verdict on quality needs several.


# %% tags=["timing"]
from flash_course.bench.counts import count_state_numbers

for (name, run), model in zip(runs.items(), (of_package, runs["GAU, rotary bias"].model)):
    learner.score(
        "03", name, bits_per_byte=bits[name], step_ms=1000 * float(np.median(np.diff([row["seconds"] for row in run.log]))),
        state_numbers=count_state_numbers(model, settings.length),
    )  # fmt: skip

# %% [markdown]
# ## 8. The trap: dividing by the current length
#
# Code 6 divides by the length of the sequence at hand, as `MyGAU(n=None)` does.
#
# **Misconception: with a causal mask, the beginning of a sequence cannot depend on what follows.** Of a sequence of 100 tokens, `value_leak` changes
# the *content* of the last 50 and `prefix_error` leaves them out, and both look at the first 50 outputs. `step_error` reads all tokens one by one, as
# in generation, and compares all 100.
#
# **Your third guess.** By how many percent does the branch of the first 50 tokens differ if the others are left out?

# %%
predict("03.c", None)  # your number in place of None

# %%
from flash_tutorial.check import prefix_error, step_error, value_leak

sequence = torch.randn(2, 100, D, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
prompts, drift = torch.tensor([1, 1]), {}  # one token of each sequence is read at once
print("n       content changed   later tokens left out   token by token")
for name, n in (("current", None), ("100", 100)):
    unit = MyGAU(D, length=100, n=n).double()
    settle_branch(draw_order_one(unit, torch.Generator().manual_seed(1)), sequence)
    drift[name] = prefix_error(unit, sequence, 50)
    found = value_leak(unit, sequence, 50), drift[name], step_error(unit, sequence, prompts)
    print("{:7} {:15.0%} {:23.0%} {:16.0%}".format(name, *found))
assert drift["current"] > 0.05 and drift["100"] < 1e-12
reveal("03.c", round(100 * drift["current"]), "percent")

# %% [markdown]
# The mask is right, for what the later tokens *say* changes nothing. But their *number* matters: the current length has got into every
# earlier output. In a trained model the symptom is *good at the length of training, worse at another one*. (The author of
# [a port to PyTorch](https://github.com/JunnYu/FLASHQuad_pytorch/issues/1) reported it in 2022.) Yours was
# trained on windows of 64. Compare within a line, because short windows score worse anyway (and only 8,192 bytes are scored here):


# %%
trained = runs["my GAU, Toeplitz bias"].model.to("cpu")
by_length = {}
for length in (64, 16, 8):
    for n in (None, 64):
        for unit in trained.stack.units:
            unit.n = n
        by_length[length, n] = evaluate(trained, first_bytes(corpus.validation, 8192), length, 16).bits_per_byte
    current, fixed = (by_length[length, n] for n in (None, 64))
    print(f"windows of {length:2}: current n {current:.2f}, n = 64 {fixed:.2f} bits per byte")
assert abs(by_length[64, 64] - by_length[64, None]) < 0.05 and by_length[8, None] > by_length[8, 64] + 0.1

# %% [markdown]
# A causal FLASH-Quad model of this project therefore has a fixed n = `max_length`. And `check_unit` finds the trap: *prefix* is one of the nine
# properties that it tests.

# %% tags=["nbval-check-output"]
assert of_package.stack.units[0].length_scale == settings.length
print(f"n = 64: all {len(check_unit(MyGAU(64, length=64, n=64)).rows)} properties hold")
try:
    check_unit(MyGAU(64, length=64, n=None))
except ValueError as found:
    print("current n:", str(found).split(":")[0])

# %% [markdown]
# ## 9. What to remember
#
# Fill in the last column yourself.
#
# | claim | your evidence | your verdict |
# | --- | --- | --- |
# | The torch unit is the NumPy unit | section 1: to 1e-10, with parameters of order one | |
# | A unit starts as the identity | section 2: a branch of size 1e-5 | |
# | A test on a fresh unit is enough | section 2: five of eight bugs passed it | |
# | The gradient by hand is right | sections 4, 5: a slope by hand, autograd, gradcheck | |
# | The rotary bias trains as well as the table | section 7: with one seed of three | |
# | Half precision is exact enough | section 6: one unit within 2%; no training | |
# | Code 6 is causal | section 8: no leak, but the length gets in | |
#
# **Three takeaways**
# 1. Test with parameters of order one. A fresh unit hides its bugs.
# 2. For the gradient, keep r = relu(s). Then `d_s = 2 r × d_A`, and the rest are matrix products.
# 3. n is part of the model. Fix it, or the same words give other outputs in a longer sequence.
#
# **Exercises** [Problem set 03](../exercises/03_gau_in_torch.ipynb), six tasks, from both biases to floating point; one is a test for outputs that depend on what follows, or on how much.
#
# **Next** [Lecture 04](04_linear_attention.ipynb) does without the attention matrix: linear attention, and its state.
