"""Problem set 02: gated attention. Cases and the oracle; the right answers lie in ``solutions``."""

import math

import numpy as np

from ..examples import example
from ..exercise import Case, asked, call, given_back, lent
from ..sizes import grown

EPS = 1e-5


# ---------------------------------------------------------------- 02.1 relu2 and its slope
def relu2(s):
    return np.where(s > 0, s * s, 0.0)


def relu2_slope(s):
    return np.where(s > 0, 2.0 * s, 0.0)


def cases_1(rng, numbers):
    more = rng.normal(size=rng.integers(30))
    given = {
        "negative, zero and positive": np.array([-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 3.0, *more]),
        "a table": rng.normal(size=grown(rng, 3, 5)) * 2,
        "three axes, large numbers": rng.normal(size=grown(rng, 2, 3, 4)) * 300,
        "one number, negative": -1 - np.abs(rng.normal(size=1)),
        "a number without axes": np.array(1 + abs(rng.normal())),
    }
    cases = [call(name, "relu2", s, of="relu2") for name, s in given.items()]
    cases += [call(name, "relu2_slope", s, of="relu2_slope") for name, s in given.items()]
    return cases


def example_1():
    s = np.array([-2.0, -1, 0, 1, 2, 3])
    yield example("02.1", "relu2", of="relu2", s=s)
    yield example("02.1", "relu2_slope", of="relu2_slope", s=s)


# ---------------------------------------------------------------- 02.2 gated_unit
def silu(x):
    return x / (1 + np.exp(-x))


def gated_unit(x_TD, params, mix):
    """The oracle."""
    E = len(params["out_weight"])
    size_T1 = np.sqrt(x_TD.var(1, keepdims=True) + EPS)
    normed = (x_TD - x_TD.mean(1, keepdims=True)) / size_T1
    normed = normed * params["norm_gain"] + params["norm_offset"]
    h = normed @ params["in_weight"] + params["in_bias"]
    u, v, z = np.split(silu(h), [E, 2 * E], axis=1)
    read = u * mix(z, v)
    return x_TD + read @ params["out_weight"] + params["out_bias"]


def both_sides(z_TS):
    return np.maximum(z_TS @ z_TS.T + np.subtract.outer(z_TS[:, 0], z_TS[:, -1]), 0) ** 2


MIXES = {
    "identity": lambda z_TS, v_TE: v_TE,
    # the first one reads nothing
    "one_before": lambda z_TS, v_TE: np.concatenate([0 * v_TE[:1], v_TE[:-1]]),
    "causal_map": lambda z_TS, v_TE: np.tril(z_TS @ np.roll(z_TS, 1, axis=1).T) @ v_TE,
    "both_sides": lambda z_TS, v_TE: both_sides(z_TS) @ v_TE,
    # no matrix does this: what is read depends on the values themselves
    "largest": lambda z_TS, v_TE: np.maximum.accumulate(
        v_TE * (1 + z_TS[:, :1] ** 2) + v_TE.max(1, keepdims=True)
    ),
}


def draw_layers(rng, D, E, S):
    return {
        "in_weight": rng.normal(size=(D, 2 * E + S)) / math.sqrt(D),
        "in_bias": rng.normal(size=2 * E + S),
        "out_weight": rng.normal(size=(E, D)) / math.sqrt(E),
        "out_bias": rng.normal(size=D) + 1,
    }


def cases_2(rng, numbers):
    def case(name, part, mix, T, D, E, S, size=1.0, **zeros):
        """``zeros`` says how many columns of a parameter are zero."""
        T, D, E, S = grown(rng, T, D, E, S)
        norm = {"norm_gain": rng.normal(size=D) + 1.5, "norm_offset": rng.normal(size=D)}
        params = norm | draw_layers(rng, D, E, S)
        x_TD = size * (rng.normal(size=(T, D)) + rng.normal(size=(T, 1)))
        for key, columns in zeros.items():
            params[key][..., : {"D": D, "E": E}[columns]] = 0
        return call(
            name,
            part,
            x_TD,
            params,
            lent(MIXES[mix]),
            sizes=f"{T = }, {D = }, {E = }, {S = }, mix: {mix}",
        )

    yield case("each token reads itself, small x", "no mixing", "identity", 5, 4, 3, 2, size=0.003)
    yield case("each token reads itself", "no mixing", "identity", 6, 4, 5, 3)
    yield case("each token reads itself, large x", "no mixing", "identity", 7, 3, 4, 2, size=10.0)
    yield case(
        "each token reads the one before", "with an attention matrix", "one_before", 5, 4, 6, 3
    )
    yield case(
        "causal, an attention matrix of z", "with an attention matrix", "causal_map", 8, 5, 3, 4
    )
    yield case(
        "both sides, an attention matrix of z", "with an attention matrix", "both_sides", 4, 6, 7, 3
    )
    yield case("the largest value so far", "with an attention matrix", "largest", 6, 4, 5, 3)
    yield case("one token", "with an attention matrix", "both_sides", 1, 5, 6, 2)
    yield case("out_weight is zero", "limits", "causal_map", 6, 5, 4, 3, out_weight="D")
    yield case("u is zero", "limits", "causal_map", 5, 3, 4, 2, in_weight="E", in_bias="E")


# ---------------------------------------------------------------- 02.3 attention_matrix
def attention_matrix(z_TS, gamma_2S, beta_2S, bias_TT, n, causal):
    """The oracle; n is the length scale."""
    q, k = (z_TS * gamma_2S[h] + beta_2S[h] for h in (0, 1))
    sees = np.tri(len(z_TS)) if causal else 1
    scores = q @ k.T / n + bias_TT
    A = relu2(scores) * sees
    return A


def rotate(x_TS):
    """Rotary positions, two channels as one complex number: the real part of a product of two is their score."""
    half = x_TS.shape[1] // 2
    angle = np.arange(len(x_TS))[:, None] * 10000.0 ** (-np.arange(half) / half)
    return (x_TS[:, :half] + 1j * x_TS[:, half:]) * np.exp(1j * angle)


def cases_3(rng, numbers):
    def case(name, part, T, S, n, causal, heads=1.0, bias=1.0):
        (T, n), S = grown(rng, T, n), S + 2 * int(rng.integers(3))
        gamma, beta = heads * rng.normal(size=(2, 2, S))
        given = (
            rng.normal(size=(T, S)),
            gamma,
            beta,
            bias * (rng.normal(size=(T, T)) + 0.5),
            n,
            causal,
        )
        return call(name, part, *given, sizes=f"{T = }, {S = }, length_scale = {n}, {causal = }")

    yield case("both sides", "both sides", 5, 4, 3, False)
    yield case("the bias alone: gamma and beta are zero", "both sides", 7, 2, 3, False, heads=0.0)
    yield case("the product alone: the bias is zero", "both sides", 6, 4, 5, False, bias=0.0)
    yield case("causal", "causal", 8, 6, 5, True)
    yield case("causal, the bias alone", "causal", 6, 2, 7, True, heads=0.0)
    yield case("causal, the product alone", "causal", 9, 4, 3, True, bias=0.0)
    yield case("one token", "edge sizes", 1, 2, 3, True)
    yield case("length_scale is 1", "edge sizes", 4, 2, 1, False)
    yield case("length_scale above T, not whole", "edge sizes", 3, 4, 7.5, False)


def example_3():
    yield example(
        "02.3",
        "attention_matrix",
        z_TS=np.array([[1.0], [2], [3]]),
        gamma_2S=np.array([[1.0], [2]]),
        beta_2S=np.zeros((2, 1)),
        bias_TT=-np.ones((3, 3)),
        length_scale=2,
        causal=True,
    )


# ---------------------------------------------------------------- 02.4 what relu^2 is not
def draw_4(rng):
    return {
        "r": int(rng.integers(3, 10)),
        "D": 64 * int(rng.integers(5, 16)),
        "S": 16 * int(rng.integers(3, 11)),
    }


def right_4(n):
    r, D, S = n["r"], n["D"], n["S"]
    return {"a": r**2, "b": "relu2", "c": "x + out_bias", "d": 2 * D * S}


# ---------------------------------------------------------------- 02.5 a port with three faults
def port(x_TD, params, bias_TT, length_scale):
    """A causal gated attention unit: x (T, D), bias (T, T) -> (T, D)."""
    E = len(params["out_weight"])
    x_TD = x_TD / np.sqrt((x_TD**2).mean(1, keepdims=True) + 1e-5) * params["norm_gain"]
    h = x_TD @ params["in_weight"] + params["in_bias"]
    u_TE, v_TE, z_TS = np.split(h / (1 + np.exp(-h)), [E, 2 * E], axis=1)
    q_TS, k_TS = z_TS * params["gamma"][:, None] + params["beta"][:, None]
    scores_TT = np.tril(q_TS @ k_TS.T)
    A_TT = np.maximum((scores_TT + bias_TT) / length_scale, 0) ** 2
    return x_TD + (u_TE * (A_TT @ v_TE)) @ params["out_weight"] + params["out_bias"]


def mended(x_TD, params, bias_TT, n):
    """The oracle: what the port should do; n is the length scale."""
    E = len(params["out_weight"])
    normed = x_TD / np.sqrt((x_TD**2).mean(1, keepdims=True) + EPS) * params["norm_gain"]
    u, v, z = np.split(silu(normed @ params["in_weight"] + params["in_bias"]), [E, 2 * E], axis=1)
    read = u * (attention_matrix(z, params["gamma"], params["beta"], bias_TT, n, True) @ v)
    return x_TD + read @ params["out_weight"] + params["out_bias"]


def draw_port(rng, T, D, E, S):
    """(x, parameters, bias) of order one."""
    heads = {
        "norm_gain": np.array(1.6),
        "gamma": rng.normal(size=(2, S)),
        "beta": rng.normal(size=(2, S)),
    }
    return (
        3 * rng.normal(size=(T, D)),
        heads | draw_layers(rng, D, E, S),
        rng.normal(size=(T, T)) + 0.5,
    )


def port_case(name, part, x_TD, params, bias_TT, n, zero=()):
    """On what the map adds: the output, less the output at out_weight = 0. The residual has cases on the output.

    What ``zero`` names is zero. A case of the mask needs n = 1, so that a fault of the bias shows nothing.
    """
    params = params | {key: 0 * params[key] for key in zero}
    T, D = x_TD.shape
    E = len(params["out_weight"])
    S = params["gamma"].shape[1]
    # it leaves nothing at later places, so that a fault of the mask there shows nothing
    if part == "the bias":
        bias_TT = np.where(np.tri(T, dtype=bool), bias_TT, -9 - np.abs(bias_TT))
    bare = params | {"out_weight": 0 * params["out_weight"]}

    def run(answer):
        full = given_back(asked(answer, x_TD, params, bias_TT, n))
        if part == "the residual":
            return full
        return full - asked(answer, x_TD, bare, bias_TT, n)

    return Case(name, part, run, f"{T = }, {D = }, {E = }, {S = }, length_scale = {n}")


def cases_5(rng, numbers):
    case = port_case
    sizes = (6, 4, 5, 3), (8, 5, 3, 4), (7, 3, 4, 2), (1, 4, 3, 2)
    x, y, (*w, ahead), one = (draw_port(rng, *grown(rng, *each)) for each in sizes)
    yield case("the bias alone: gamma and beta are zero", "the bias", *x, 3, ("gamma", "beta"))
    yield case("bias and product", "the bias", *y, 5)
    yield case("the residual alone: out_weight is zero", "the residual", *y, 3, ("out_weight",))
    yield case(
        "the residual alone: all weights are zero",
        "the residual",
        *w,
        -np.abs(ahead),
        5,
        ("gamma", "beta"),
    )
    yield case("a positive bias, length_scale is 1", "the mask", *w, 1 + np.abs(ahead), 1)
    yield case("any bias, length_scale is 1", "the mask", *x, 1)
    yield case("one token, length_scale is 1", "the mask", *one, 1)


right_5 = mended
given_5 = port


# ---------------------------------------------------------------- 02.6 the Laplace function
MU, SIGMA = math.sqrt(0.5), math.sqrt(1 / (4 * math.pi))
erf = np.vectorize(math.erf, otypes=[float])


def laplace(x):
    return 0.5 * (1 + erf((x - MU) / (SIGMA * 2**0.5)))


def slow(x):
    """1 from 0 on. To the left it falls like a logarithm: 0.13 at -1000, 0.05 at a billion below 0."""
    return 1 / (1 + np.log1p(np.maximum(-np.asarray(x), 0)))


def logistic(x):
    return 0.5 * (1 + np.tanh(np.asarray(x) / 2))


def smooth_step(x):
    """Much like the Laplace function."""
    return logistic(4 * (x - MU))


def matrix_with(f, q, k, bias_TT, n, sees):
    """The oracle; n is the length scale."""
    scores = q @ k.T / n + bias_TT
    A = f(scores) * sees
    return A


def cases_6(rng, numbers):
    def case(name, f, T, S, n, seen=lambda T: True, say=None):
        T, S, n = grown(rng, T, S, n)
        q, k, bias = *rng.normal(size=(2, T, S)), rng.normal(size=(T, T)) * 0.7 + 0.3
        given, sizes = (
            (q, k, bias, n, np.tri(T, dtype=bool) & seen(T)),
            f"{T = }, {S = }, length_scale = {n}",
        )
        return call(name, "matrix_with", lent(f), *given, of="matrix_with", sizes=sizes, say=say)

    values = {
        "around its middle, sqrt(1/2)": np.array([MU, 0.0, 0.5, 1.0, 2.0, -1.0, 0.9]),
        "a table": rng.normal(size=grown(rng, 4, 3)),
        "three axes, large numbers": rng.normal(size=grown(rng, 2, 4, 3)) * 30,
    }
    yield from (call(name, "laplace", x, of="laplace") for name, x in values.items())
    yield case("causal, a smooth step", smooth_step, 6, 3, 4)
    yield case("causal, exp", np.exp, 5, 4, 3)
    yield case(
        "the last two tokens are padding", smooth_step, 7, 2, 5, lambda T: np.arange(T) < T - 2
    )
    yield case("a window of three", logistic, 8, 5, 3, lambda T: ~np.tri(T, k=-3, dtype=bool))
    yield case("a row that sees nothing", np.exp, 4, 3, 2.5, lambda T: np.arange(T)[:, None] != 2)
    yield case("a function that falls slowly", slow, 5, 3, 2, say="minus thousand")
    yield case("one token", smooth_step, 1, 4, 2)
