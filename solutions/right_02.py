"""Set 02: other right answers, and what only `grade` tries."""

import math
from fractions import Fraction
from statistics import NormalDist
from types import SimpleNamespace

import numpy as np
import torch

from flash_course import personal
from flash_course.checks.sets.set_02 import draw_port, port_case

# ---------------------------------------------------------------- right answers, written differently


def relu2_by_where(s):
    return np.where(s > 0, s, 0.0) ** 2


def slope_by_where(s):
    return np.where(s > 0, 2 * s, 0.0)


def relu2_one_by_one(s):
    out = np.zeros(s.shape)
    for place in np.ndindex(s.shape):
        out[place] = s[place] ** 2 if s[place] >= 0 else 0
    return out


def slope_one_by_one(s):
    out = np.zeros(s.shape)
    for place in np.ndindex(s.shape):
        out[place] = s[place] + abs(s[place])
    return out


def unit_token_by_token(x_TD, params, mix):
    E, parts = params["out_weight"].shape[0], []
    for x_D in x_TD:
        normed = (x_D - x_D.mean()) / math.sqrt(x_D.var() + 1e-5) * params["norm_gain"] + params["norm_offset"]
        h = params["in_weight"].T @ normed + params["in_bias"]
        parts.append(h / (1 + np.exp(-h)))
    parts = np.array(parts)
    read = mix(parts[:, 2 * E :], parts[:, E : 2 * E])
    return (
        np.array([x + (u * r) @ params["out_weight"] for x, u, r in zip(x_TD, parts[:, :E], read)]) + params["out_bias"]
    )


def unit_with_three_matrices(x_TD, params, mix):
    E = len(params["out_weight"])
    deviation = np.sqrt(np.mean(x_TD**2, 1) - np.mean(x_TD, 1) ** 2 + 1e-5)
    normed = ((x_TD.T - x_TD.mean(1)) / deviation).T * params["norm_gain"] + params["norm_offset"]
    columns = slice(0, E), slice(E, 2 * E), slice(2 * E, None)
    u, v, z = (normed @ params["in_weight"][:, c] + params["in_bias"][c] for c in columns)
    u, v, z = (a * 0.5 * (1 + np.tanh(a / 2)) for a in (u, v, z))  # the logistic function as a tanh
    return np.einsum("te,te,ed->td", mix(z, v), u, params["out_weight"]) + params["out_bias"] + x_TD


def map_zero_before_square(z_TS, gamma_2S, beta_2S, bias_TT, length_scale, causal):
    """The mask is a 0 behind the bias and before relu², where relu²(0) = 0."""
    q, k = (z_TS * gamma_2S[h] + beta_2S[h] for h in (0, 1))
    s = (q / length_scale) @ k.T + bias_TT
    return np.maximum(s * np.tri(len(s)) if causal else s, 0) ** 2


def matrix_with_a_constant(z_TS, gamma_2S, beta_2S, bias_TT, length_scale, causal):
    q, k = np.einsum("ts,hs->hts", z_TS, gamma_2S) + beta_2S[:, None]
    s = np.einsum("is,js->ij", q, k) / length_scale + bias_TT
    if causal:
        s[np.triu_indices(len(s), 1)] = -1e9
    return np.where(s > 0, s, 0) ** 2


def map_by_loops(z_TS, gamma_2S, beta_2S, bias_TT, length_scale, causal):
    T, A = len(z_TS), np.zeros((len(z_TS), len(z_TS)))
    for i in range(T):
        for j in range(i + 1 if causal else T):
            q, k = z_TS[i] * gamma_2S[0] + beta_2S[0], z_TS[j] * gamma_2S[1] + beta_2S[1]
            A[i, j] = max(sum(q * k) / length_scale + bias_TT[i, j], 0.0) ** 2
    return A


def port_by_copy(x_TD, params, bias_TT, length_scale):
    """The residual is kept aside; the mask is minus infinity."""
    E, x_in = len(params["out_weight"]), x_TD.copy()
    x_TD = x_TD / np.sqrt((x_TD**2).mean(1, keepdims=True) + 1e-5) * params["norm_gain"]
    h = x_TD @ params["in_weight"] + params["in_bias"]
    u, v, z = np.split(h / (1 + np.exp(-h)), [E, 2 * E], axis=1)
    q, k = z * params["gamma"][:, None] + params["beta"][:, None]
    s = np.where(np.tri(len(z), dtype=bool), q @ k.T / length_scale + bias_TT, -np.inf)
    return x_in + (u * (np.maximum(s, 0) ** 2 @ v)) @ params["out_weight"] + params["out_bias"]


def port_row_by_row(x_TD, params, bias_TT, length_scale):
    E, rows = len(params["out_weight"]), []
    normed = x_TD * params["norm_gain"] / np.sqrt(np.square(x_TD).mean(-1) + 1e-5)[:, None]
    h = normed @ params["in_weight"] + params["in_bias"]
    h = h / (np.exp(-h) + 1)
    u, v, z = h[:, :E], h[:, E : 2 * E], h[:, 2 * E :]
    for i in range(len(x_TD)):
        q, k = z[i] * params["gamma"][0] + params["beta"][0], z[: i + 1] * params["gamma"][1] + params["beta"][1]
        weights = np.maximum(k @ q / length_scale + bias_TT[i, : i + 1], 0) ** 2
        rows.append(x_TD[i] + params["out_bias"] + (u[i] * (weights @ v[: i + 1])) @ params["out_weight"])
    return np.array(rows)


def laplace_in_torch(x):
    middle = math.sqrt(0.5)
    return (torch.erf((torch.from_numpy(np.asarray(x)) - middle) * math.sqrt(2 * math.pi)) * 0.5 + 0.5).numpy()


def laplace_by_erfc(x):
    return np.vectorize(lambda a: math.erfc((0.5**0.5 - a) * (2 * math.pi) ** 0.5) / 2)(x)


def matrix_with_minus_infinity(f, q_TS, k_TS, bias_TT, length_scale, sees_TT):
    return f(np.where(sees_TT, q_TS @ (k_TS / length_scale).T + bias_TT, -np.inf))


def matrix_row_by_row(f, q_TS, k_TS, bias_TT, length_scale, sees_TT):
    A = np.zeros(bias_TT.shape)
    for i, seen in enumerate(sees_TT):
        if seen.any():
            A[i, seen] = f(k_TS[seen] @ q_TS[i] / length_scale + bias_TT[i, seen])
    return A


# ---------------------------------------------------------------- unusual, and right


def relu2_by_select(s):
    return np.select([s > 0, s <= 0], [s**2, np.zeros_like(s)])


class Slope:
    """An object that is called: the slope of a function, through torch."""

    def __call__(self, s):
        leaf = torch.tensor(s, requires_grad=True)
        leaf.relu().pow(2).sum().backward()
        return leaf.grad.numpy()


def unit_in_torch(x_TD, params, mix):
    x, w = torch.from_numpy(x_TD), {name: torch.from_numpy(np.asarray(p)) for name, p in params.items()}
    E = len(w["out_weight"])
    normed = torch.nn.functional.layer_norm(x, x.shape[1:], w["norm_gain"], w["norm_offset"], 1e-5)
    u, v, z = torch.nn.functional.silu(torch.addmm(w["in_bias"], normed, w["in_weight"])).tensor_split((E, 2 * E), 1)
    read = torch.as_tensor(mix(z.numpy(), v.numpy()))
    return torch.add(x, torch.addmm(w["out_bias"], u * read, w["out_weight"])).numpy()


def map_in_torch(z_TS, gamma_2S, beta_2S, bias_TT, length_scale, causal):
    z, gamma, beta, bias = map(torch.tensor, (z_TS, gamma_2S, beta_2S, bias_TT))
    q, k = torch.addcmul(beta[:, None], z[None], gamma[:, None])
    A = torch.baddbmm(bias[None], q[None], k[None].mT, alpha=1 / length_scale).squeeze(0).clamp_(min=0).square_()
    return (A.tril_() if causal else A).numpy()


def map_one_by_one(z_TS, gamma_2S, beta_2S, bias_TT, length_scale, causal):
    """A generator of all places, row after row."""
    T = len(z_TS)
    q, k = ([z * g + b for z in z_TS] for g, b in zip(gamma_2S, beta_2S))
    scores = (math.fsum(q[i] * k[j]) / length_scale + bias_TT[i, j] for i, j in np.ndindex(T, T))
    hidden = (causal and j > i for i, j in np.ndindex(T, T))
    return np.fromiter((0.0 if h or s < 0 else s * s for s, h in zip(scores, hidden)), float, T * T).reshape(T, T)


class Port:
    """A method of an object is a function too."""

    def run(self, x_TD, params, bias_TT, length_scale):
        w, E = SimpleNamespace(**params), len(params["out_weight"])
        normed = (
            w.norm_gain
            * x_TD
            / np.linalg.norm(np.c_[x_TD / len(x_TD[0]) ** 0.5, 0 * x_TD[:, 0] + 1e-5**0.5], axis=1)[:, None]
        )
        u, v, z = np.hsplit(
            self.silu(np.c_[normed, np.ones(len(x_TD))] @ np.r_[w.in_weight, w.in_bias[None]]), [E, 2 * E]
        )
        q, k = (z * g + b for g, b in zip(w.gamma, w.beta))
        A = np.tril(np.clip(np.inner(q, k) / length_scale + bias_TT, 0, None)) ** 2
        return np.linalg.multi_dot([u * (A @ v), w.out_weight]) + w.out_bias + x_TD

    def silu(self, h):
        return h * 0.5 * (1 + np.tanh(h / 2))


def laplace_by_statistics(x):
    curve = NormalDist(0.5**0.5, (4 * math.pi) ** -0.5)
    return np.array([curve.cdf(float(a)) for a in np.ravel(x)]).reshape(np.shape(x))


def matrix_with_masked_array(f, q_TS, k_TS, bias_TT, length_scale, sees_TT):
    scores = np.ma.masked_array(np.inner(q_TS, k_TS) / length_scale + bias_TT, mask=~sees_TT)
    return np.ma.masked_array(f(scores.filled(0.0)), mask=scores.mask).filled(0.0)


_n = personal("02.4")
WORDS = {"a": np.float64(_n["r"]) ** 2, "b": "ReLU2", "c": "X + out_bias", "d": Fraction(2 * _n["D"] * _n["S"])}
TURNED = WORDS | {"b": "relu²", "c": "out_bias+x"}


RIGHT = {
    "02.1": [
        {"relu2": relu2_by_where, "relu2_slope": slope_by_where},
        {"relu2": relu2_one_by_one, "relu2_slope": slope_one_by_one},
        {"relu2": relu2_by_select, "relu2_slope": Slope()},
    ],
    "02.2": [unit_token_by_token, unit_with_three_matrices, unit_in_torch],
    "02.3": [map_zero_before_square, matrix_with_a_constant, map_by_loops, map_in_torch, map_one_by_one],
    "02.4": [WORDS, TURNED],
    "02.5": [port_by_copy, port_row_by_row, Port().run],
    "02.6": [
        {"laplace": laplace_in_torch, "matrix_with": matrix_with_minus_infinity},
        {"laplace": laplace_by_erfc, "matrix_with": matrix_row_by_row},
        {"laplace": laplace_by_statistics, "matrix_with": matrix_with_masked_array},
    ],
}


# ---------------------------------------------------------------- held-out cases


def port_with_a_small_constant(x_TD, params, bias_TT, length_scale):
    """Passes the practice pool: -1000 in front of the bias hides what is later, unless the bias is larger."""
    E = len(params["out_weight"])
    normed = x_TD / np.sqrt((x_TD**2).mean(1, keepdims=True) + 1e-5) * params["norm_gain"]
    h = normed @ params["in_weight"] + params["in_bias"]
    u, v, z = np.split(h / (1 + np.exp(-h)), [E, 2 * E], axis=1)
    q, k = z * params["gamma"][:, None] + params["beta"][:, None]
    s = np.where(np.tri(len(z), dtype=bool), q @ k.T / length_scale, -1000.0) + bias_TT
    return x_TD + (u * (np.maximum(s, 0) ** 2 @ v)) @ params["out_weight"] + params["out_bias"]


MASK = np.tri(64, dtype=bool)


def port_with_a_table(x_TD, params, bias_TT, length_scale):
    """Passes the practice pool: the table of the mask ends at 64 tokens, and what comes later is not masked."""
    T = len(x_TD)
    sees = np.ones((T, T), bool)
    sees[:64, :64] = MASK[:T, :T]
    bias = np.where(sees, bias_TT, -1e9)
    return (
        port_by_copy(x_TD, params, bias, length_scale)
        if T <= 64
        else port_without_mask(x_TD, params, bias, length_scale)
    )


def port_without_mask(x_TD, params, bias_TT, length_scale):
    E = len(params["out_weight"])
    normed = x_TD / np.sqrt((x_TD**2).mean(1, keepdims=True) + 1e-5) * params["norm_gain"]
    h = normed @ params["in_weight"] + params["in_bias"]
    u, v, z = np.split(h / (1 + np.exp(-h)), [E, 2 * E], axis=1)
    q, k = z * params["gamma"][:, None] + params["beta"][:, None]
    A = np.maximum(q @ k.T / length_scale + bias_TT, 0) ** 2
    return x_TD + (u * (A @ v)) @ params["out_weight"] + params["out_bias"]


WEAK = {"02.5": [port_with_a_small_constant, port_with_a_table]}  # right in the practice pool, wrong held out


def held_out_5(rng):
    """Cases that only `grade` tries."""

    sizes = (9, 4, 6, 3), (71, 5, 4, 3), (1, 3, 5, 2)
    few, many, one = (draw_port(rng, *each) for each in sizes)
    x, params, bias = few
    return [
        port_case("held out", "the bias", *many, 40),
        port_case("held out", "the bias", *one, 0.5),
        port_case("held out", "the residual", *few, 2.5, ("out_weight",)),
        port_case("held out", "the residual", *one, 0.5, ("out_weight",)),
        port_case("held out", "the mask", x, params, 5000 * bias, 1),
        port_case("held out", "the mask", *many, 1),
    ]
