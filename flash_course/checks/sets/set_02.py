"""Problem set 02: gated attention. Cases, the oracle, and wrong answers; the right answers lie in ``solutions``."""

import math

import numpy as np

from ..exercise import Case, Said, Wrong, call, exercises_of, lent, predicted

EPS = 1e-5

# ---------------------------------------------------------------- 02.1 relu2 and its slope


def relu2(s):
    return np.where(s > 0, s * s, 0.0)


def relu2_slope(s):
    return np.where(s > 0, 2.0 * s, 0.0)


def cases_1(rng, numbers):
    given = {
        "negative, zero and positive": np.array([-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 3.0]),
        "a table": rng.normal(size=(3, 5)) * 2,
        "three axes, large numbers": rng.normal(size=(2, 3, 4)) * 300,
        "one number, negative": -1 - np.abs(rng.normal(size=1)),
    }
    return [call(name, of, s, of=of) for of in ("relu2", "relu2_slope") for name, s in given.items()]


# ---------------------------------------------------------------- 02.2 gated_unit


def silu(x):
    return x / (1 + np.exp(-x))


def normed_row(x_D, params, norm):
    if norm == "none":
        return x_D
    centred = x_D if norm == "rms" else x_D - sum(x_D) / len(x_D)
    divisor = len(x_D) - (norm == "sample")
    eps = {"no eps": 0.0, "eps outside": 0.0, "small eps": 1e-6}.get(norm, EPS)
    size = math.sqrt(sum(a * a for a in centred) / divisor + eps) + (EPS if norm == "eps outside" else 0)
    gain = 1 if norm == "no gain" else params["norm_gain"]
    return centred / size * gain + (0 if norm == "no offset" else params["norm_offset"])


def gated_unit(
    x_TD, params, mix, *, gate="after", order="uvz", residual="x", active="uvz", norm="layer", in_bias=True,
    out_bias=True,
):  # fmt: skip
    """The oracle. What stands behind the star makes the wrong answers."""
    T, E = len(x_TD), len(params["out_weight"])
    normed = np.array([normed_row(x_D, params, norm) for x_D in x_TD])
    if norm == "columns":
        centred = x_TD - x_TD.mean(0)
        normed = centred / np.sqrt((centred**2).mean(0) + EPS) * params["norm_gain"] + params["norm_offset"]
    h = normed @ params["in_weight"] + (params["in_bias"] if in_bias else 0)
    ends = np.cumsum([h.shape[1] - 2 * E if name == "z" else E for name in order])
    parts = dict(zip(order, np.split(h, ends[:-1], axis=1)))
    u, v, z = (silu(parts[name]) if name in active else parts[name] for name in "uvz")
    read = mix(z, u * v if gate in ("before", "twice") else v)
    read = silu(read) if gate == "silu" else read
    start = {"x": x_TD, "normed": normed, "none": np.zeros_like(x_TD)}[residual]
    out = np.zeros_like(x_TD)
    for i in range(T):
        out[i] = start[i] + (params["out_bias"] if out_bias else 0)
        for e in range(E):
            gate_now = u[i, e] if gate in ("after", "twice", "silu") else 1
            gate_now = 1 / (1 + math.exp(-u[i, e])) if gate == "sigmoid" else gate_now
            out[i] += gate_now * read[i, e] * params["out_weight"][e]
    return out


def unit_with(**changed):
    """A wrong answer: the oracle with something changed."""

    def answer(x_TD, params, mix):
        return gated_unit(x_TD, params, mix, **changed)

    return answer


def identity(z_TS, v_TE):
    return v_TE


def one_before(z_TS, v_TE):
    """Each token reads the one before it, the first one reads nothing."""
    return np.concatenate([np.zeros_like(v_TE[:1]), v_TE[:-1]])


def causal_map(z_TS, v_TE):
    return np.tril(z_TS @ np.roll(z_TS, 1, axis=1).T) @ v_TE


def both_sides(z_TS, v_TE):
    return relu2(z_TS @ z_TS.T + np.subtract.outer(z_TS[:, 0], z_TS[:, -1])) @ v_TE


def cases_2(rng, numbers):
    def case(name, part, mix, T, D, E, S, size=1.0, **changed):
        params = {
            "norm_gain": rng.normal(size=D) + 1.5, "norm_offset": rng.normal(size=D),
            "in_weight": rng.normal(size=(D, 2 * E + S)) / math.sqrt(D), "in_bias": rng.normal(size=2 * E + S),
            "out_weight": rng.normal(size=(E, D)) / math.sqrt(E), "out_bias": rng.normal(size=D) + 1,
        }  # fmt: skip
        x_TD = size * (rng.normal(size=(T, D)) + rng.normal(size=(T, 1)))
        for key, of in changed.items():
            params[key] = of(params[key])
        sizes = f"T = {T}, D = {D}, E = {E}, S = {S}, mix: {mix.__name__}"
        return call(name, part, x_TD, params, lent(mix), sizes=sizes)

    def shut_gate(E):
        def zeros(values):
            values = values.copy()
            values[..., :E] = 0
            return values

        return {"in_weight": zeros, "in_bias": zeros}

    return [
        case("each token reads itself, small x", "no mixing", identity, 5, 4, 3, 2, size=0.003),
        case("each token reads itself", "no mixing", identity, 6, 4, 5, 3),
        case("each token reads itself, large x", "no mixing", identity, 7, 3, 4, 2, size=10.0),
        case("each token reads the one before", "with a map", one_before, 5, 4, 6, 3),
        case("a causal map of z", "with a map", causal_map, 8, 5, 3, 4),
        case("a map of z, both sides", "with a map", both_sides, 4, 6, 7, 3),
        case("out_weight is zero", "limits", causal_map, 6, 5, 4, 3, out_weight=np.zeros_like),
        case("u is zero", "limits", causal_map, 5, 3, 4, 2, **shut_gate(4)),
        case("one token", "limits", both_sides, 1, 5, 6, 2),
    ]


# ---------------------------------------------------------------- 02.3 attention_map


def rotate(x_TS):
    half = x_TS.shape[1] // 2
    angle = np.arange(len(x_TS))[:, None] * 10000.0 ** (-np.arange(half) / half)
    a, b = x_TS[:, :half], x_TS[:, half:]
    return np.hstack([a * np.cos(angle) - b * np.sin(angle), b * np.cos(angle) + a * np.sin(angle)])


def weight_of(s, f):
    return {"relu2": max(s, 0) ** 2, "relu": max(s, 0), "square": s * s, "exp": math.exp(min(s, 50))}[f]


def attention_map(
    z_TS, gamma_2S, beta_2S, bias_TT, length_scale, causal, *, heads=(0, 1), offset_first=False, scale="n",
    bias_at="score", mask="after", scores_turned=False, bias_turned=False, f="relu2", normalise=False, rope=False,
    use=("gamma", "beta"),
):  # fmt: skip
    """The oracle, as loops. What stands behind the star makes the wrong answers."""
    T, S = z_TS.shape
    gamma_2S = gamma_2S if "gamma" in use else np.ones((2, S))
    beta_2S = beta_2S if "beta" in use else np.zeros((2, S))
    q, k = ((z_TS + beta_2S[h]) * gamma_2S[h] if offset_first else z_TS * gamma_2S[h] + beta_2S[h] for h in heads)
    if rope:
        q, k = rotate(q), rotate(k)
    A = np.zeros((T, T))
    n = {"n": length_scale, "sqrt S": math.sqrt(S), "T": T, "none": 1, "outside": 1}[scale]
    for i in range(T):
        for j in range(T):
            s = q[j] @ k[i] if scores_turned else q[i] @ k[j]
            b = bias_TT[j, i] if bias_turned else bias_TT[i, j]
            unseen = j < i if mask == "past" else j > i or (mask == "strict" and j == i)
            unseen = unseen and (causal or mask == "always")
            if unseen and mask == "before":
                s = 0
            score = {"score": s / n + b, "product": (s + b) / n}.get(bias_at, s / n)
            if not unseen or mask in ("before", "none"):
                weight = weight_of(score, f) + (b if bias_at == "map" else 0)
                A[i, j] = weight / (length_scale if scale == "outside" else 1)
    return A / np.maximum(A.sum(1, keepdims=True), 1e-300) if normalise else A


def map_as(**changed):
    """A wrong answer: the oracle with something changed."""

    def answer(z_TS, gamma_2S, beta_2S, bias_TT, length_scale, causal):
        return attention_map(z_TS, gamma_2S, beta_2S, bias_TT, length_scale, causal, **changed)

    return answer


def cases_3(rng, numbers):
    def case(name, part, T, S, n, causal, heads=1.0, bias=1.0):
        gamma, beta = heads * rng.normal(size=(2, 2, S))
        given = rng.normal(size=(T, S)), gamma, beta, bias * (rng.normal(size=(T, T)) + 0.5), n, causal
        return call(name, part, *given, sizes=f"T = {T}, S = {S}, length_scale = {n}, causal = {causal}")

    return [
        case("both sides", "both sides", 5, 4, 3, False),
        case("the bias alone: gamma and beta are zero", "both sides", 7, 2, 3, False, heads=0.0),
        case("the product alone: the bias is zero", "both sides", 6, 4, 5, False, bias=0.0),
        case("causal", "causal", 8, 6, 5, True),
        case("causal, the bias alone", "causal", 6, 2, 7, True, heads=0.0),
        case("causal, the product alone", "causal", 9, 4, 3, True, bias=0.0),
        case("one token", "edge sizes", 1, 2, 3, True),
        case("length_scale is 1", "edge sizes", 4, 2, 1, True),
        case("length_scale above T, not whole", "edge sizes", 3, 4, 7.5, False),
    ]


# ---------------------------------------------------------------- 02.4 what relu^2 is not


def draw_4(rng):
    return {"r": int(rng.integers(3, 10)), "D": 64 * int(rng.integers(5, 16)), "S": 16 * int(rng.integers(3, 11))}


def answers_4(n):
    return {"a": n["r"] ** 2, "b": "relu2", "c": "x + out_bias", "d": 2 * n["D"] * n["S"]}


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


def mended(x_TD, params, bias_TT, length_scale, *, bias="right", residual="right", mask="right", norm=True):
    """The oracle: what the port should do. What stands behind the star leaves faults or makes others."""
    T, E, n = len(x_TD), len(params["out_weight"]), length_scale
    rows = [x_D / math.sqrt(sum(a * a for a in x_D) / len(x_D) + EPS) * params["norm_gain"] for x_D in x_TD]
    normed = np.array(rows) if norm else x_TD
    h = silu(normed @ params["in_weight"] + params["in_bias"])
    u, v, z = h[:, :E], h[:, E : 2 * E], h[:, 2 * E :]
    q, k = (z * params["gamma"][head] + params["beta"][head] for head in (0, 1))
    out = {"right": x_TD, "left": normed, "none": np.zeros_like(x_TD)}[residual] + params["out_bias"]
    for i in range(T):
        read = np.zeros(E)
        for j in range(T):
            s, b = q[i] @ k[j], 0.0 if bias == "dropped" else bias_TT[i, j]
            if j > i and mask == "left":
                s = 0.0
            if j > i and mask == "minus one":
                s = -n
            score = (s + b) / n if bias == "left" else s / (1 if bias == "no scale" else n) + b
            unseen = j > i or (mask == "strict" and j == i)
            if not unseen or mask in ("left", "minus one", "none"):
                read += max(score, 0) ** 2 * v[j]
        out[i] += (u[i] * read) @ params["out_weight"]
    return out


def port_with(**changed):
    """A port that is mended in part, or in a wrong way."""

    def answer(x_TD, params, bias_TT, length_scale):
        return mended(x_TD, params, bias_TT, length_scale, **changed)

    return answer


def port_reordered(x_TD, bias_TT, params, length_scale):
    return mended(x_TD, params, bias_TT, length_scale)


def draw_port(rng, T, D, E, S):
    """(x, parameters, bias) of order one."""
    params = {
        "norm_gain": np.array(1.6), "in_weight": rng.normal(size=(D, 2 * E + S)) / math.sqrt(D),
        "in_bias": rng.normal(size=2 * E + S), "gamma": rng.normal(size=(2, S)), "beta": rng.normal(size=(2, S)),
        "out_weight": rng.normal(size=(E, D)) / math.sqrt(E), "out_bias": rng.normal(size=D),
    }  # fmt: skip
    return 3 * rng.normal(size=(T, D)), params, rng.normal(size=(T, T)) + 0.5


def branch_of(name, part, x_TD, params, bias_TT, n):
    """A case on what the map adds: the output, less the output at out_weight = 0. A residual cancels."""
    bare = params | {"out_weight": np.zeros_like(params["out_weight"])}
    (T, D), (E, S) = x_TD.shape, (len(params["out_weight"]), params["gamma"].shape[1])

    def run(answer):
        full, rest = (call(name, part, x_TD, p, bias_TT, n).run(answer) for p in (params, bare))
        if full is None or rest is None:
            raise Said("all", "none")
        return full - rest

    return Case(name, part, run, f"T = {T}, D = {D}, E = {E}, S = {S}, length_scale = {n}")


def cases_5(rng, numbers):
    def only_scores_may_read_ahead(bias_TT):
        """A bias that leaves nothing at later places, so that a fault of the mask there shows nothing."""
        return np.where(np.tri(len(bias_TT), dtype=bool), bias_TT, -1 - np.abs(bias_TT))

    def at_rest(params):
        return params | {key: np.zeros_like(params[key]) for key in ("gamma", "beta")}

    x, params, bias = draw_port(rng, 6, 4, 5, 3)
    y, other, table = draw_port(rng, 8, 5, 3, 4)
    w, third, ahead = draw_port(rng, 7, 3, 4, 2)
    one = draw_port(rng, 1, 4, 3, 2)
    nothing = np.zeros_like(other["out_weight"])
    return [
        branch_of("the bias alone: gamma and beta are zero", "the bias", x, at_rest(params),
                  only_scores_may_read_ahead(bias), 3),
        branch_of("bias and product", "the bias", y, other, only_scores_may_read_ahead(table), 5),
        call("the residual alone: out_weight is zero", "the residual", y, other | {"out_weight": nothing}, table, 3,
             sizes="T = 8, D = 5, E = 3, S = 4, length_scale = 3"),
        call("the residual alone: the map is empty", "the residual", w, at_rest(third), -np.abs(ahead), 5,
             sizes="T = 7, D = 3, E = 4, S = 2, length_scale = 5"),
        branch_of("a positive bias, length_scale is 1", "the mask", w, third, 1 + np.abs(ahead), 1),
        branch_of("any bias, length_scale is 1", "the mask", x, params, bias, 1),
        branch_of("one token, length_scale is 1", "the mask", *one, 1),
    ]  # fmt: skip


# ---------------------------------------------------------------- 02.6 the Laplace function

MU, SIGMA, ROOT = math.sqrt(0.5), math.sqrt(1 / (4 * math.pi)), math.sqrt(2)
erf = np.vectorize(math.erf, otypes=[float])


def laplace(x):
    return 0.5 * (1 + erf((x - MU) / (SIGMA * ROOT)))


def laplace_with(mu=MU, sigma=SIGMA, root=ROOT, half=0.5, sign=1):
    return lambda x: half * (1 + sign * erf((x - mu) / (sigma * root)))


def laplace_of_parts(x):
    """The root stands behind the division instead of below it."""
    return 0.5 * (1 + erf((x - MU) / SIGMA * ROOT))


def laplace_without_one(x):
    return 0.5 * erf((x - MU) / (SIGMA * ROOT))


def slow(x):
    """1 from 0 on. To the left it falls like a logarithm: 0.13 at -1000, 0.05 at a billion below 0."""
    return 1 / (1 + np.log1p(np.maximum(-np.asarray(x), 0)))


def logistic(x):
    return 0.5 * (1 + np.tanh(np.asarray(x) / 2))


INSTEAD = {"before f": 0.0, "minus one": -1.0, "minus thousand": -1000.0}  # scores of places that are hidden too early


def map_with(
    f, q_TS, k_TS, bias_TT, length_scale, sees_TT, *, mask="after", scale=True, bias_inside=False, turned=False,
    sees_turned=False, own=None, normalise=False, biased=True,
):  # fmt: skip
    """The oracle, as loops. What stands behind the star makes the wrong answers."""
    T, f = len(q_TS), own or f
    A = np.zeros((T, T))
    n = length_scale if scale else 1
    for i in range(T):
        for j in range(T):
            s, b = q_TS[j] @ k_TS[i] if turned else q_TS[i] @ k_TS[j], bias_TT[i, j] if biased else 0.0
            hidden = not (sees_TT[j, i] if sees_turned else sees_TT[i, j])
            if hidden and mask == "before the bias":
                s = 0.0
            score = (s + b) / n if bias_inside else s / n + b
            if hidden and mask in INSTEAD:
                score = INSTEAD[mask]
            if not (hidden and mask == "after") and not (mask == "causal" and j > i):
                A[i, j] = float(f(np.array(score)))
    return A / np.maximum(A.sum(1, keepdims=True), 1e-300) if normalise else A


def masked_as(**changed):
    """A wrong answer: the oracle with something changed."""

    def answer(f, q_TS, k_TS, bias_TT, length_scale, sees_TT):
        return map_with(f, q_TS, k_TS, bias_TT, length_scale, sees_TT, **changed)

    return answer


def cases_6(rng, numbers):
    def case(name, f, T, S, n, hide=None, say=None):
        sees = np.tri(T, dtype=bool)
        if hide is not None:
            hide(sees)
        given = lent(f), *rng.normal(size=(2, T, S)), rng.normal(size=(T, T)) * 0.7 + 0.3, n, sees
        return call(name, "map_with", *given, of="map_with", sizes=f"T = {T}, S = {S}, length_scale = {n}", say=say)

    def last_two(sees):
        sees[:, -2:] = False

    def window(sees):
        sees &= ~np.tri(len(sees), k=-3, dtype=bool)

    def one_row(sees):
        sees[2] = False

    def values(name, x):
        return call(name, "laplace", x, of="laplace")

    return [
        values("around its middle, sqrt(1/2)", np.array([MU, 0.0, 0.5, 1.0, 2.0, -1.0, 0.9])),
        values("a table", rng.normal(size=(4, 3))),
        values("three axes, large numbers", rng.normal(size=(2, 2, 3)) * 30),
        case("causal, the Laplace function", laplace, 6, 3, 4),
        case("causal, exp", np.exp, 5, 4, 3),
        case("the last two tokens are padding", laplace, 7, 2, 5, last_two),
        case("a window of three", logistic, 8, 5, 3, window),
        case("a row that sees nothing", np.exp, 4, 3, 2.5, one_row),
        case("a function that falls slowly", slow, 5, 3, 2, say="minus thousand"),
        case("one token", laplace, 1, 4, 2),
    ]


EXERCISES = exercises_of("02", {
    "02.1": dict(
        cases=cases_1, right={"relu2": relu2, "relu2_slope": relu2_slope},
        wrong=(
            Wrong("input", lambda s: s, of="relu2"), Wrong("input", lambda s: s, of="relu2_slope"),
            Wrong("relu of the square", lambda s: np.maximum(s * s, 0.0), of="relu2"),
            Wrong("signed square", lambda s: s * np.abs(s), of="relu2"),
            Wrong("relu", lambda s: np.maximum(s, 0.0), of="relu2"),
            Wrong("negative part", lambda s: np.minimum(s, 0.0) ** 2, of="relu2"),
            Wrong("slope everywhere", lambda s: 2.0 * s, of="relu2_slope"),
            Wrong("slope of both sides", lambda s: 2.0 * np.abs(s), of="relu2_slope"),
            Wrong("slope without 2", lambda s: np.maximum(s, 0.0), of="relu2_slope"),
            Wrong("slope of 2", lambda s: 2.0 * (s > 0), of="relu2_slope"),
            Wrong("slope of relu", lambda s: 1.0 * (s > 0), of="relu2_slope"),
        ),
    ),
    "02.2": dict(
        cases=cases_2, right=unit_with(),
        wrong=(
            Wrong("input", lambda x_TD, params, mix: x_TD),
            Wrong("gate before", unit_with(gate="before")), Wrong("gate twice", unit_with(gate="twice")),
            Wrong("no gate", unit_with(gate="none")), Wrong("sigmoid", unit_with(gate="sigmoid")),
            Wrong("order", unit_with(order="vuz")), Wrong("residual normed", unit_with(residual="normed")),
            Wrong("no residual", unit_with(residual="none")), Wrong("silu u only", unit_with(active="u")),
            Wrong("silu no z", unit_with(active="uv")), Wrong("silu no v", unit_with(active="uz")),
            Wrong("silu no u", unit_with(active="vz")), Wrong("no norm", unit_with(norm="none")),
            Wrong("mean left", unit_with(norm="rms")), Wrong("sample variance", unit_with(norm="sample")),
            Wrong("no offset", unit_with(norm="no offset")), Wrong("no in bias", unit_with(in_bias=False)),
            Wrong("no out bias", unit_with(out_bias=False)), Wrong("cut", unit_with(order="uzv")),
            Wrong("cut", unit_with(order="zuv")), Wrong("eps", unit_with(norm="no eps")),
            Wrong("eps", unit_with(norm="small eps")), Wrong("eps", unit_with(norm="eps outside")),
            Wrong("no gain", unit_with(norm="no gain")), Wrong("columns", unit_with(norm="columns")),
            Wrong("silu read", unit_with(gate="silu")),
        ),
    ),
    "02.3": dict(
        cases=cases_3, right=map_as(),
        wrong=(
            Wrong("bias inside", map_as(bias_at="product")), Wrong("over sqrt S", map_as(scale="sqrt S")),
            Wrong("no scale", map_as(scale="none")), Wrong("scaled after", map_as(scale="outside")),
            Wrong("over T", map_as(scale="T")), Wrong("mask before", map_as(mask="before")),
            Wrong("no mask", map_as(mask="none")), Wrong("scores turned", map_as(scores_turned=True)),
            Wrong("bias turned", map_as(bias_turned=True)), Wrong("one head", map_as(heads=(0, 0))),
            Wrong("one head", map_as(heads=(1, 1))), Wrong("offset first", map_as(offset_first=True)),
            Wrong("normalised", map_as(normalise=True)), Wrong("softmax", map_as(f="exp", normalise=True)),
            Wrong("strict", map_as(mask="strict")), Wrong("relu", map_as(f="relu")),
            Wrong("square", map_as(f="square")), Wrong("rope", map_as(rope=True)),
            Wrong("bias after", map_as(bias_at="map")), Wrong("no bias", map_as(bias_at="nowhere")),
            Wrong("no gamma", map_as(use=("beta",))), Wrong("no beta", map_as(use=("gamma",))),
            Wrong("always masked", map_as(mask="always")), Wrong("upper", map_as(mask="past")),
        ),
    ),
    "02.4": dict(
        cases=lambda rng, n: [predicted(key) for key in "abcd"], right=answers_4, draw=draw_4,
        wrong=(
            Wrong("a: not squared", lambda n: n["r"], of="a"), Wrong("a: no change", lambda n: 1, of="a"),
            Wrong("a: doubled", lambda n: 2 * n["r"], of="a"),
            Wrong("b: both", lambda n: "both", of="b"), Wrong("b: neither", lambda n: "neither", of="b"),
            Wrong("b: the other", lambda n: "softmax", of="b"), Wrong("c: mean", lambda n: "x + mean", of="c"),
            Wrong("c: own", lambda n: "x + own", of="c"), Wrong("c: no bias", lambda n: "x", of="c"),
            Wrong("d: nothing", lambda n: 0, of="d"), Wrong("d: one GAU", lambda n: -6 * n["D"] ** 2, of="d"),
            Wrong("d: one GAU", lambda n: n["D"] * n["S"] - 6 * n["D"] ** 2, of="d"),
            Wrong("d: one base", lambda n: n["D"] * n["S"], of="d"),
            Wrong("d: own bases", lambda n: 4 * n["D"] * n["S"], of="d"),
            Wrong("d: one wide", lambda n: 2 * n["D"] * n["S"] - 4 * n["D"] ** 2, of="d"),
            Wrong("d: three matrices", lambda n: n["D"] ** 2 + 2 * n["D"] * n["S"], of="d"),
            Wrong("d: sign", lambda n: -2 * n["D"] * n["S"], of="d"),
        ),
    ),
    "02.5": dict(
        cases=cases_5, right=port_with(), given=port,
        wrong=(
            Wrong("input", lambda x_TD, params, bias_TT, length_scale: x_TD),
            Wrong("bias left", port_with(bias="left")), Wrong("residual left", port_with(residual="left")),
            Wrong("mask left", port_with(mask="left")),
            Wrong("bias and residual left", port_with(bias="left", residual="left")),
            Wrong("bias and mask left", port_with(bias="left", mask="left")),
            Wrong("residual and mask left", port_with(residual="left", mask="left")),
            Wrong("mask in front", port_with(mask="minus one")), Wrong("mask gone", port_with(mask="none")),
            Wrong("strict", port_with(mask="strict")), Wrong("bias dropped", port_with(bias="dropped")),
            Wrong("scale dropped", port_with(bias="no scale")),
            Wrong("residual dropped", port_with(residual="none")), Wrong("norm dropped", port_with(norm=False)),
            Wrong("signature", port_reordered),
        ),
    ),
    "02.6": dict(
        cases=cases_6, right={"laplace": laplace, "map_with": masked_as()},
        wrong=(
            Wrong("input", lambda x: x, of="laplace"),
            Wrong("sigma", laplace_with(sigma=math.sqrt(math.pi / 4)), of="laplace"),
            Wrong("sigma squared", laplace_with(sigma=1 / (4 * math.pi)), of="laplace"),
            Wrong("no sqrt 2", laplace_with(root=1), of="laplace"), Wrong("mu", laplace_with(mu=0.5), of="laplace"),
            Wrong("mu", laplace_with(mu=0), of="laplace"), Wrong("no half", laplace_with(half=1), of="laplace"),
            Wrong("falls", laplace_with(sign=-1), of="laplace"), Wrong("logistic", logistic, of="laplace"),
            Wrong("relu2", relu2, of="laplace"), Wrong("mu", laplace_with(mu=ROOT), of="laplace"),
            Wrong("root outside", laplace_of_parts, of="laplace"),
            Wrong("no one", laplace_without_one, of="laplace"),
            Wrong("mask before f", masked_as(mask="before f"), of="map_with"),
            Wrong("mask before the bias", masked_as(mask="before the bias"), of="map_with"),
            Wrong("minus one", masked_as(mask="minus one"), of="map_with"),
            Wrong("minus thousand", masked_as(mask="minus thousand"), of="map_with"),
            Wrong("no mask", masked_as(mask="none"), of="map_with"),
            Wrong("sees not used", masked_as(mask="causal"), of="map_with"),
            Wrong("no bias", masked_as(biased=False), of="map_with"),
            Wrong("sees turned", masked_as(sees_turned=True), of="map_with"),
            Wrong("scores turned", masked_as(turned=True), of="map_with"),
            Wrong("bias inside", masked_as(bias_inside=True), of="map_with"),
            Wrong("no scale", masked_as(scale=False), of="map_with"),
            Wrong("f not used", masked_as(own=relu2), of="map_with"),
            Wrong("f not used", masked_as(own=laplace), of="map_with"),
            Wrong("normalised", masked_as(normalise=True), of="map_with"),
        ),
    ),
})  # fmt: skip
