"""Set 03: other right answers, and what only `grade` tries."""

import copy
from fractions import Fraction

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from flash_course import personal
from flash_course.checks.proving import version
from flash_course.checks.sets.set_03 import SHUT_5, gau
from flash_tutorial.check import draw_order_one
from flash_tutorial.gau import GAU

# ---------------------------------------------------------------- right answers, written differently


def toeplitz_by_reshape(w, first=0):
    n = (len(w) + 1) // 2
    rows = F.pad(w, (0, n)).tile(n)[:-n].reshape(n, 3 * n - 2)
    return rows[first:, n - 1 : 2 * n - 1]


def toeplitz_by_windows(w, first=0):
    n = (len(w) + 1) // 2
    return w.unfold(0, n, 1).flip(0)[first:]


def rotary_by_complex(a, b, n, first=0):
    S = len(a)
    frequency = 10000.0 ** (-torch.arange(S // 2, dtype=torch.float64) / (S // 2))
    turn = torch.exp(1j * torch.arange(n)[:, None] * frequency)
    left, right = (torch.complex(t[: S // 2], t[S // 2 :]) * turn for t in (a, b))
    return (left[first:] @ right.conj().mT).real


def rotary_by_distance(a, b, n, first=0):
    S = len(a)
    frequency = 10000.0 ** (-torch.arange(S // 2, dtype=a.dtype) / (S // 2))
    i, j = torch.arange(first, n)[:, None, None], torch.arange(n)[None, :, None]
    angle = (j - i) * frequency
    (a1, a2), (b1, b2) = a.chunk(2), b.chunk(2)
    return (angle.cos() * (a1 * b1 + a2 * b2) + angle.sin() * (a2 * b1 - a1 * b2)).sum(-1)


class GauWithEinsum(nn.Module):
    """The mask is a 0 before relu², the query is divided instead of the product."""

    def __init__(self, dim, expanded, qk_dim, *, reach, n, causal):
        super().__init__()
        self.E, self.n, self.reach, self.causal = expanded, n, reach, causal
        self.table = nn.Parameter(0.02 * torch.randn(2 * reach + 1))
        self.gamma, self.beta = (nn.Parameter(s * torch.randn(2, qk_dim)) for s in (0.02, 0.0))
        self.out_proj = nn.Linear(expanded, dim)
        self.in_proj = nn.Linear(dim, 2 * expanded + qk_dim)
        self.gain = nn.Parameter(torch.tensor(1.0))
        with torch.no_grad():
            for linear in (self.in_proj, self.out_proj):
                linear.weight.normal_(0, 0.02)
                linear.bias.zero_()

    def forward(self, x):
        h = F.silu(self.in_proj(F.rms_norm(x, x.shape[-1:], eps=1e-5) * self.gain))
        u, v, z = h[..., : self.E], h[..., self.E : 2 * self.E], h[..., 2 * self.E :]
        q, k = torch.einsum("bts,hs->hbts", z, self.gamma) + self.beta[:, None, None]
        place = torch.arange(x.shape[1], device=x.device)
        distance = place[None, :] - place[:, None]
        scores = torch.einsum("bis,bjs->bij", q / self.n, k)
        scores = scores + self.table[distance.clip(-self.reach, self.reach) + self.reach]
        if self.causal:
            scores = scores.masked_fill(distance > 0, 0)
        return x + self.out_proj(u * torch.einsum("bij,bje->bie", F.relu(scores) ** 2, v))


class GauByRows(nn.Module):
    """The map row by row; the table is widened to the length of the text."""

    def __init__(self, dim, expanded, qk_dim, *, reach, n, causal):
        super().__init__()
        self.qk_dim, self.n, self.reach, self.causal = qk_dim, n, reach, causal
        self.in_proj, self.out_proj = nn.Linear(dim, 2 * expanded + qk_dim), nn.Linear(expanded, dim)
        self.gain = nn.Parameter(torch.ones([]))
        for name, shape in (("gamma", (2, qk_dim)), ("beta", (2, qk_dim)), ("table", (2 * reach + 1,))):
            self.register_parameter(name, nn.Parameter(torch.zeros(shape)))
        for name, p in self.named_parameters():
            if name.endswith("weight") or name in ("gamma", "table"):
                nn.init.normal_(p, 0.0, 0.02)
            elif name != "gain":
                nn.init.constant_(p, 0)

    def forward(self, x):
        T = x.shape[1]
        root = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square() / x.shape[-1] + 1e-5
        uv, z = F.silu(self.in_proj(self.gain * x / root.sqrt())).tensor_split([-self.qk_dim], dim=-1)
        u, v = uv.chunk(2, dim=-1)
        q, k = self.gamma[0] * z + self.beta[0], self.gamma[1] * z + self.beta[1]
        wide = torch.cat([self.table[:1].expand(T), self.table, self.table[-1:].expand(T)])  # distance 0 at T + reach
        rows = []
        for i in range(T):
            last = i + 1 if self.causal else T
            start = T + self.reach - i
            s = (k[:, :last] @ q[:, i, :, None])[..., 0] / self.n + wide[start : start + last]
            rows.append((s.clamp(min=0).square()[:, None] @ v[:, :last])[:, 0])
        return x + self.out_proj(u * torch.stack(rows, dim=1))


def gradient_of_five_points(f, x):
    x, h = np.asarray(x, dtype=float), 1e-3
    out = np.empty_like(x)
    for place in np.ndindex(x.shape):
        one = np.zeros_like(x)
        one[place] = h
        out[place] = (8 * (f(x + one) - f(x - one)) - (f(x + 2 * one) - f(x - 2 * one))) / (12 * h)
    return out


def gradient_by_flat_index(f, x):
    flat = np.array(x, dtype=np.float64).ravel()
    slopes = [
        (f((flat + h).reshape(x.shape)) - f((flat - h).reshape(x.shape))) / 4e-6 for h in 2e-6 * np.eye(len(flat))
    ]
    return np.array(slopes).reshape(x.shape)


def backward_with_einsum(q, k, v, bias, n, causal, d_out, power=2):
    s = np.einsum("is,js->ij", q, k) / n + bias
    if causal:
        s = np.where(np.tri(len(q), dtype=bool), s, -1.0)
    opened = (s > 0).astype(float)
    d_s = np.einsum("ie,je,ij->ij", d_out, v, opened * power * np.abs(s) ** (power - 1))
    d_v = np.einsum("ij,ie->je", opened * np.abs(s) ** power, d_out)
    return np.einsum("ij,js->is", d_s, k) / n, np.einsum("ij,is->js", d_s, q) / n, d_v, d_s


def backward_by_rows(q, k, v, bias, n, causal, d_out, power=2):
    dq, dk, dv, dbias = np.zeros_like(q), np.zeros_like(k), np.zeros_like(v), np.zeros_like(bias)
    for i, d_o in enumerate(d_out):
        keys = np.flatnonzero((k @ q[i] / n + bias[i] > 0) & ((np.arange(len(k)) <= i) | (not causal)))
        s = k[keys] @ q[i] / n + bias[i, keys]
        ds = power * s ** (power - 1) * (v[keys] @ d_o)
        dq[i] = ds @ k[keys] / n
        dk[keys] += np.outer(ds, q[i]) / n
        dv[keys] += np.outer(s**power, d_o)
        dbias[i, keys] = ds
    return dq, dk, dv, dbias


def assert_by_growing(unit):
    """One token more at a time: nothing that is there may move."""
    unit = draw_order_one(copy.deepcopy(unit).double().eval(), torch.Generator().manual_seed(7))
    x = torch.randn(1, 40, unit.dim, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    with torch.no_grad():
        before = unit(x[:, :1])
        for t in range(2, 41):
            after = unit(x[:, :t])
            if not torch.allclose(before, after[:, :-1], rtol=1e-8, atol=1e-8 * float(after.abs().max())):
                raise AssertionError(t)
            before = after


def assert_by_pairs_of_lengths(unit):
    """Parameters drawn by hand, in float64; some pairs of lengths."""
    unit.double()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for p in unit.parameters():
            size = p.shape[1] ** -0.5 if p.dim() == 2 and p.shape[1] > 6 else 1
            p.copy_(size * torch.randn(p.shape, generator=generator, dtype=torch.float64))
        for short, long in ((1, 2), (3, 17), (8, 24), (13, 14), (16, 33), (21, 60), (32, 40), (59, 64)):
            x = torch.randn(3, long, unit.dim, generator=generator, dtype=torch.float64)
            alone, whole = unit(x[:, :short]), unit(x)[:, :short]
            assert (alone - whole).norm() <= 1e-8 * whole.norm()


# ---------------------------------------------------------------- unusual, and right


def toeplitz_by_strides(w, first=0):
    n = (len(w) + 1) // 2
    return torch.as_strided(w, (n, n), (w.stride(0),) * 2, w.storage_offset()).flip(0)[first:]


def rotary_by_turning(a, b, n, first=0):
    """The columns are turned on, one token at a time, by a matrix; the rows are turned by its powers."""
    k = torch.arange(len(a) // 2, dtype=a.dtype)
    angle = 10000.0 ** (-k / len(k))
    turn = torch.zeros(len(a), len(a), dtype=a.dtype)
    for one, two, c, s in zip(range(len(k)), range(len(k), len(a)), angle.cos(), angle.sin()):
        turn[one, one], turn[one, two], turn[two, one], turn[two, two] = c, -s, s, c
    powers = [torch.matrix_power(turn, t) for t in range(n)]
    return torch.stack([torch.stack([(powers[i] @ a) @ (powers[j] @ b) for j in range(n)]) for i in range(first, n)])


class GauInParts(nn.Module):
    """Small methods; the mask is minus infinity, the norm a division by a length, the products are addbmm and einsum."""

    def __init__(self, dim, expanded, qk_dim, *, reach, n, causal):
        super().__init__()
        self.sizes = dict(D=dim, E=expanded, S=qk_dim, n=n, reach=reach)
        self.hide = causal
        self.in_proj, self.out_proj = (
            nn.utils.skip_init(nn.Linear, *io) for io in ((dim, 2 * expanded + qk_dim), (expanded, dim))
        )
        self.gain, self.beta = nn.Parameter(torch.full((), 1.0)), nn.Parameter(torch.zeros(2, qk_dim))
        self.gamma, self.table = nn.Parameter(torch.empty(2, qk_dim)), nn.Parameter(torch.empty(2 * reach + 1))
        for p in (self.in_proj.weight, self.out_proj.weight, self.gamma, self.table):
            p.data = torch.normal(0.0, 0.02, p.shape)
        for linear in (self.in_proj, self.out_proj):
            linear.bias.data = torch.zeros_like(linear.bias)

    def normed(self, x):
        length = (x.pow(2).sum(-1, keepdim=True) + 1e-5 * self.sizes["D"]).rsqrt()
        return self.gain * x * length * self.sizes["D"] ** 0.5

    def scores(self, z):
        q, k = (torch.addcmul(b, z, g) for g, b in zip(self.gamma, self.beta))
        i = torch.arange(z.shape[1], device=z.device)
        far = torch.clamp(i[None] - i[:, None], -self.sizes["reach"], self.sizes["reach"])
        s = torch.einsum("bis,bjs->bij", q, k).div(self.sizes["n"]) + self.table.take(far + self.sizes["reach"])
        return s.masked_fill(i[None] > i[:, None], -torch.inf) if self.hide else s

    def forward(self, x):
        E = self.sizes["E"]
        h = F.silu(self.in_proj(self.normed(x)))
        read = self.scores(h[..., 2 * E :]).clamp(min=0).pow(2).bmm(h[..., E : 2 * E])
        return torch.add(self.out_proj(h[..., :E].mul(read)), x)


class GauWithPlacesOnTheCpu(GauInParts):
    """A table on any device may be indexed by numbers that lie on the CPU, and the mask has no places of its own."""

    def scores(self, z):
        q, k = (z * g + b for g, b in zip(self.gamma, self.beta))
        i = torch.arange(z.shape[1])
        far = torch.clamp(i - i[:, None], -self.sizes["reach"], self.sizes["reach"])
        s = q @ k.mT / self.sizes["n"] + self.table[far + self.sizes["reach"]]
        return s.relu().tril() if self.hide else s


def gradient_by_extrapolation(f, x):
    """Two steps, and what they say of a step of zero; a generator of places, a tuple of slopes."""
    x = np.array(x, np.float64)

    def slope(place, h):
        def at(t):
            moved = x.copy()
            moved.flat[place] += t
            return f(moved)

        return (at(h) - at(-h)) / (2 * h)

    return np.reshape([(4 * slope(i, 1e-3) - slope(i, 2e-3)) / 3 for i in range(x.size)], x.shape)


def backward_in_torch(q, k, v, bias, n, causal, d_out, power=2):
    """Torch's products, and no gradient of torch."""
    q, k, v, bias, d_out = map(torch.tensor, (q, k, v, bias, d_out))
    s = torch.addmm(bias, q, k.T, alpha=1 / n)
    opened = (s > 0) & (torch.ones_like(s).tril() > 0 if causal else torch.ones_like(s) > 0)
    A, slope = (torch.where(opened, x, torch.zeros_like(s)) for x in (s.abs() ** power, power * s.abs() ** (power - 1)))
    ds = slope * (d_out @ v.T)
    return [x.numpy() for x in (ds @ k / n, ds.T @ q / n, A.T @ d_out, ds)]


def backward_by_quotient(q, k, v, bias, n, causal, d_out, power=2):
    """The slope is the weight over the score, where there is a weight."""
    s = q @ k.T / n + bias
    A = np.maximum(np.tril(s) if causal else s, 0) ** power
    ds = (d_out @ v.T) * np.divide(power * A, s, out=np.zeros_like(s), where=A > 0)
    return ds @ k / n, ds.T @ q / n, A.T @ d_out, ds


_n = personal("03.6")
FORMATS = {"a": Fraction(255.875) * _n["n"], "b": np.float32(2**-12.5), "c": 2048 * Fraction(_n["step"]),
           "d": np.float64(256 * _n["step"]), "e": "Float16", "f": "bf16", "g": "By emulation"}  # fmt: skip


RIGHT = {
    "03.1": [
        {"toeplitz_bias": toeplitz_by_reshape, "rotary_bias": rotary_by_complex},
        {"toeplitz_bias": toeplitz_by_windows, "rotary_bias": rotary_by_distance},
        {"toeplitz_bias": toeplitz_by_strides, "rotary_bias": rotary_by_turning},
    ],
    "03.2": [GauWithEinsum, GauByRows, GauInParts, GauWithPlacesOnTheCpu],
    "03.3": [gradient_of_five_points, gradient_by_flat_index, gradient_by_extrapolation],
    "03.4": [backward_with_einsum, backward_by_rows, backward_in_torch, backward_by_quotient],
    "03.5": [assert_by_growing, assert_by_pairs_of_lengths],
    "03.6": [FORMATS],
}


# ---------------------------------------------------------------- held-out faults


class RoundedLength(GAU):
    """Divides by the current length, rounded up to a multiple of 16."""

    def forward(self, x, mask=None, segment_ids=None):
        self.length_scale = -(-x.shape[1] // 16) * 16
        return super().forward(x, mask, segment_ids)


class FirstTokenAlone(GAU):
    """A text of one token goes another way."""

    def forward(self, x, mask=None, segment_ids=None):
        return x if x.shape[1] == 1 else super().forward(x, mask, segment_ids)


def held_out_5(rng):
    """Cases that only `grade` tries."""
    faults = (lambda: gau(RoundedLength), lambda: gau(FirstTokenAlone))
    return [version("held out", "the length", make, shut=SHUT_5) for make in faults]
