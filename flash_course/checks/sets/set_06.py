"""Problem set 06: the FLASH model. Cases, the oracle, and wrong answers; the right answers lie in ``solutions``."""

from dataclasses import replace

import numpy as np
import torch

from flash_tutorial.config import ModelConfig

from ..exercise import Case, Said, Wrong, call, exercises_of, lent, outcome_of_test
from ..instruments import Counted, megabytes

# ---------------------------------------------------------------- 06.1 count_parameters


def count_parameters(
    config, *, tables=1, biases=True, heads=4, bias="by length", norms=True, last_norm=True, positions=1,
    expansion=None,
):  # fmt: skip
    """The oracle, as a sum. What stands behind the star makes the wrong answers."""
    N, D, S, C = config.vocab_size, config.dim, config.qk_dim, config.chunk_size
    E = (expansion or config.expansion) * D
    norm = norms * {"scale": 1, "layer": 2 * D}[config.norm]
    table = {
        "by length": 2 * C - 1 if C < 512 else 2 * S, "Toeplitz": 2 * C - 1, "full": C * C,
        "to 512": 2 * C - 1 if C <= 512 else 2 * S,
    }[bias]  # fmt: skip
    unit = norm + D * (2 * E + S) + E * D + biases * (2 * E + S + D) + 2 * heads * S + table
    return (
        tables * N * D
        + (config.max_length * D if positions == "table" else positions)
        + config.depth * unit
        + (last_norm * norm)
    )


def counted(**changed):
    """A wrong answer: the oracle with something changed."""
    return lambda config: count_parameters(config, **changed)


def counted_but(more):
    """A wrong answer: the oracle and some numbers more, or fewer."""
    return lambda config: count_parameters(config) + more(config)


def bias_of(config):
    return 2 * config.chunk_size - 1 if config.chunk_size < 512 else 2 * config.qk_dim


WRONG_1 = {
    "gain only": lambda c: -(c.depth + 1) * c.dim * (c.norm == "layer"),
    "shared bias": lambda c: -(c.depth - 1) * bias_of(c),
    "one vector": lambda c: -c.depth * c.qk_dim * (c.chunk_size >= 512),
    "out bias": lambda c: -c.depth * c.dim,
    "one side": lambda c: -c.depth * (c.chunk_size - 1) * (c.chunk_size < 512),
    "head bias": lambda c: c.vocab_size,
}


def cases_1(rng, numbers):
    def case(name, part, config):
        c = config
        sizes = (
            f"N = {c.vocab_size}, D = {c.dim}, E = {c.expansion * c.dim}, S = {c.qk_dim}, C = {c.chunk_size}, "
            f"{c.depth} units, norm {c.norm}"
        )
        return call(name, part, config, sizes=sizes)

    def small(C, norm, expansion):
        D, S = 2 * int(rng.integers(4, 9)), 2 * int(rng.integers(9, 13))
        N, depth = int(rng.integers(30, 50)), int(rng.integers(3, 6))
        return ModelConfig(
            "flash", vocab_size=N, dim=D, depth=depth, qk_dim=S, chunk_size=C, norm=norm, expansion=expansion,
            max_length=1024,
        )  # fmt: skip

    return [
        case("short chunks, ScaleNorm", "short chunks", small(int(rng.integers(5, 20)), "scale", 2)),
        case("short chunks, LayerNorm", "short chunks", small(int(rng.integers(60, 90)), "layer", 3)),
        case("just below 512", "short chunks", small(511, "scale", 2)),
        case("C = 512", "long chunks", small(512, "layer", 2)),
        case("long chunks", "long chunks", small(int(rng.integers(600, 900)), "scale", 3)),
        case("the base size", "published sizes", ModelConfig.paper("wiki40b")),
        case("the base size, masked", "published sizes", ModelConfig.paper("c4")),
        case("the large size", "published sizes", ModelConfig.paper("pg19")),
    ]


# ---------------------------------------------------------------- 06.2 adopt


def silu(x):
    return x / (1 + np.exp(-x))


def scale_norm(x_TD):
    return x_TD / np.sqrt(np.mean(x_TD**2, axis=1, keepdims=True) + 1e-5)


def read_chunks(quad_q, quad_k, lin_q, lin_k, v_TE, bias_weights, C, causal):
    """What each token reads, by one map of T x T."""
    i, j = np.indices((len(v_TE), len(v_TE)))
    near, far = i // C == j // C, (j // C < i // C) | (not causal)
    near = near & ((j <= i) | (not causal))
    b = bias_weights[np.clip(j - i + C - 1, 0, 2 * C - 2)]
    weights = near * np.maximum(quad_q @ quad_k.T / C + b, 0) ** 2
    weights = weights + far * (lin_q @ lin_k.T) / np.maximum(far.sum(1, keepdims=True), 1)
    return weights @ v_TE


def angles(T, S):
    return np.arange(T)[:, None] * 10000.0 ** (-np.arange(S // 2) / (S // 2))


def port_layer(x_TD, w, C, causal):
    """The port, as it runs."""
    E, S = w["out_weight"].shape[1], w["gamma"].shape[1]
    h = silu(scale_norm(x_TD) * w["norm_gain"] @ w["in_weight"].T + w["in_bias"])
    v, u, z = np.split(h, [E, 2 * E], axis=1)
    heads, angle = z * w["gamma"][:, None] + w["beta"][:, None], angles(len(x_TD), S)
    turned = np.empty_like(heads)
    turned[..., 0::2] = heads[..., 0::2] * np.cos(angle) - heads[..., 1::2] * np.sin(angle)
    turned[..., 1::2] = heads[..., 1::2] * np.cos(angle) + heads[..., 0::2] * np.sin(angle)
    quad_q, lin_q, quad_k, lin_k = turned
    read = read_chunks(quad_q, quad_k, lin_q, lin_k, v, w["bias_weights"], C, causal)
    return x_TD + (u * read) @ w["out_weight"].T + w["out_bias"]


def our_layer(x_TD, p, C, causal):
    """The project's layer: gate before value, heads quad_q, quad_k, lin_q, lin_k, channel k turned with k + S/2."""
    E, S = p["out_weight"].shape[0], p["gamma"].shape[1]
    h = silu(scale_norm(x_TD) * p["norm_gain"] @ p["in_weight"] + p["in_bias"])
    u, v, z = np.split(h, [E, 2 * E], axis=1)
    heads, angle = z * p["gamma"][:, None] + p["beta"][:, None], angles(len(x_TD), S)
    first, second = np.split(heads, 2, axis=2)
    heads = np.concatenate(
        [first * np.cos(angle) - second * np.sin(angle), second * np.cos(angle) + first * np.sin(angle)], axis=2
    )
    return x_TD + (u * read_chunks(*heads, v, p["bias_weights"], C, causal)) @ p["out_weight"] + p["out_bias"]


def adopt(
    port, *, gate=True, bias_gate=True, heads=True, base=True, scale=True, offset=True, inverse=False, turned=True,
    bias_base=True, out=True,
):  # fmt: skip
    """The oracle, column by column. What stands behind the star makes the wrong answers."""
    E, S = port["out_weight"].shape[1], port["gamma"].shape[1]
    to_ours = [*range(0, S, 2), *range(1, S, 2)]
    if inverse:
        to_ours = [to_ours.index(k) for k in range(S)]
    u, v, z = [*range(E, 2 * E)], [*range(E)], [2 * E + k for k in range(S)]
    moved = [2 * E + k for k in to_ours]
    rows = (u + v if gate else v + u) + (moved if base else z)
    places = (u + v if gate and bias_gate else v + u) + (moved if base and bias_base else z)
    order = [0, 2, 1, 3] if heads else [0, 1, 2, 3]
    gamma, beta = port["gamma"][order], port["beta"][order]
    in_weight = port["in_weight"][rows]
    return {
        "norm_gain": port["norm_gain"], "in_weight": in_weight.T if turned else in_weight,
        "in_bias": port["in_bias"][places], "gamma": gamma[:, to_ours] if scale else gamma,
        "beta": beta[:, to_ours] if offset else beta, "bias_weights": port["bias_weights"],
        "out_weight": port["out_weight"].T if out else port["out_weight"], "out_bias": port["out_bias"],
    }  # fmt: skip


def adopted(**changed):
    """A wrong answer: the oracle with something changed."""
    return lambda port_weights: adopt(port_weights, **changed)


def adopted_but(**taken):
    """A wrong answer: the oracle, with some arrays made otherwise from the port's weights."""
    return lambda port: adopt(port) | {name: make(port) for name, make in taken.items()}


def reshaped(name):
    return lambda port: port[name].reshape(port[name].shape[::-1])


def unordered_heads(name):
    return lambda port: adopt(port, heads=False)[name]


def draw_port(rng, D, E, S, C):
    return {
        "norm_gain": np.array(1 + rng.random()), "in_weight": rng.normal(size=(2 * E + S, D)) / D**0.5,
        "in_bias": rng.normal(size=2 * E + S), "gamma": rng.normal(size=(4, S)), "beta": rng.normal(size=(4, S)),
        "bias_weights": rng.normal(size=2 * C - 1), "out_weight": rng.normal(size=(D, E)) / E**0.5,
        "out_bias": rng.normal(size=D),
    }  # fmt: skip


def run_ours(port, x_TD, C, causal):
    """The project's layer with adopted weights, after a look at their shapes."""
    (D, E), S = port["out_weight"].shape, port["gamma"].shape[1]
    shapes = {name: value.shape for name, value in port.items()}
    shapes |= {"in_weight": (D, 2 * E + S), "out_weight": (E, D)}

    def run(params):
        if params is None:
            raise Said("all", "none")
        if not isinstance(params, dict) or not set(shapes) <= set(params):
            got = ", ".join(map(str, params)) if isinstance(params, dict) else type(params).__name__
            raise Said("all", "keys", expected=", ".join(shapes), got=got)
        for name, shape in shapes.items():
            if np.shape(params[name]) != shape:
                if name in ("in_weight", "out_weight") and np.shape(params[name]) == shape[::-1]:
                    raise Said("06.2", "transposed")
                raise Said("06.2", "shape of", name=name, expected=shape, got=np.shape(params[name]))
        return our_layer(x_TD, {name: np.asarray(value) for name, value in params.items()}, C, causal)

    return run


def port_case(name, part, rng, T, D, E, S, C, causal):
    port, x_TD = draw_port(rng, D, E, S, C), rng.normal(size=(T, D))
    sizes = f"T = {T}, D = {D}, E = {E}, S = {S}, C = {C}, causal = {causal}"
    return call(name, part, port, then=run_ours(port, x_TD, C, causal), sizes=sizes)


def cases_2(rng, numbers):
    return [
        port_case("one token", "one token", rng, 1, 5, 8, 6, 3, False),
        port_case("three chunks and a tail", "causal", rng, 14, 5, 9, 6, 4, True),
        port_case("fewer tokens than C", "causal", rng, 6, 4, 7, 8, 9, True),
        port_case("three chunks and a tail, both sides", "both sides", rng, 11, 7, 10, 6, 3, False),
        port_case("C = 1, both sides", "both sides", rng, 5, 3, 8, 10, 1, False),
    ]


# ---------------------------------------------------------------- 06.3 assert_padding_inert


def padded_unit(
    C, near="valid", far="valid", divisor="valid", before=False, centred=False, rows="kept", rescaled=False,
    first_only=False,
):  # fmt: skip
    """A unit(x (T, 8), valid (T,), causal=True, bias=0.0), as a map of T x T; local weights are never closed.

    near, far: whose values the local and the global part read. divisor: what the mean divides by. before: padding is
    put to zero before the projection, not after. centred: the mean over the row is taken off first, always or "causal".
    first_only: the fault is that of the first token alone.
    """
    rng, D, E, S = np.random.default_rng(11), 8, 10, 4
    in_weight = rng.normal(size=(D, 2 * E + S)) / D**0.5
    gamma, beta = rng.normal(size=(2, 4, S)) / 2
    out_weight, table = rng.normal(size=(E, D)) / E**0.5, 6 + np.abs(rng.normal(size=(C, C)))

    def unit(x_TD, valid_T, causal=True, bias=0.0):
        T, valid_T = len(x_TD), np.asarray(valid_T, float)
        x = x_TD - x_TD.mean(0) if centred is True or (centred == "causal" and causal) else x_TD
        x = x * valid_T[:, None] if before else x
        u, v, z = np.split(silu(scale_norm(x) @ in_weight + bias), [E, 2 * E], axis=1)
        quad_q, quad_k, lin_q, lin_k = z * gamma[:, None] + beta[:, None]
        i, j = np.indices((T, T))
        held = np.array([valid_T[t // C * C : t // C * C + C].any() for t in range(T)], float)
        weight_of = {
            "valid": valid_T, "all": np.ones(T), "weak": np.maximum(valid_T, 0.01),
            "one more": np.maximum(valid_T, np.roll(valid_T, 1) * (np.arange(T) > 0)),
            "empty chunks": np.maximum(valid_T, 1 - held),
        }  # fmt: skip
        own = (i // C == j // C) & ((j <= i) | (not causal))
        local = own * np.maximum(quad_q @ quad_k.T / C + table[i % C, j % C], 0) ** 2 / 40 * weight_of[near]
        reads = (j // C < i // C) | (not causal)
        chunks = (j % C == 0) & reads
        count = {
            "valid": (reads * valid_T).sum(1), "chunks held": C * (chunks * held).sum(1), "chunks": C * chunks.sum(1),
            "length": reads.sum(1), "none": np.ones(T),
            "length if causal": np.full(T, T) if causal else (reads * valid_T).sum(1),
        }[divisor]  # fmt: skip
        weights = local + reads * (lin_q @ lin_k.T) * weight_of[far] / np.maximum(count, 1)[:, None]
        read = ((weights / T) @ v) * T if rescaled else weights @ v
        out = x_TD + (u * read) @ out_weight
        if first_only:
            out[1:] = padded_unit(C)(x_TD, valid_T, causal, bias)[1:]
        if rows == "noise":
            out[valid_T == 0] = T + 7 * x_TD[valid_T == 0]
        elif rows == "zero":
            out[valid_T == 0] = 0
        return out

    return unit


RIGHT_3 = {
    "the mean over valid tokens": {},
    "the mean over the places of chunks that hold a token": dict(divisor="chunks held"),
    "the bare sum": dict(divisor="none"),
    "anything in the rows of the padding": dict(rows="noise"),
    "zeros in the rows of the padding": dict(rows="zero"),
    "other rounding at another length": dict(rescaled=True),
}
FAULTS_3 = {
    "the local part sees padding": dict(near="all"),
    "the global part sees padding": dict(far="all"),
    "chunks of padding are counted in the mean": dict(divisor="chunks"),
    "divided by the padded length": dict(divisor="length"),
    "zero before the projection": dict(before=True, near="all", far="all"),
    "padding is read with a hundredth of its weight": dict(far="weak"),
    "the mean over the row is taken off": dict(centred=True),
    "the first token alone reads padding": dict(far="all", first_only=True),
    "divided by the padded length, where causal": dict(divisor="length if causal"),
}
READS_3 = ("the local part sees padding", "the global part sees padding", "zero before the projection",
           "padding is read with a hundredth of its weight", "the first token alone reads padding")  # fmt: skip


def padding_case(name, part, C, say=None, **how):
    unit = padded_unit(C, **how)
    return Case(name, part, lambda test: outcome_of_test(test, unit, C), f"C = {C}", say=say or name)


def cases_3(rng, numbers):
    C = int(rng.integers(3, 6))
    faults = {name: "finds padding that is read" if name in READS_3 else "finds wrong counts" for name in FAULTS_3}
    return [
        *(padding_case(name, "passes what is right", C, **how) for name, how in RIGHT_3.items()),
        *(padding_case(name, part, C, **FAULTS_3[name]) for name, part in faults.items()),
    ]


def fill_up(x_TD, T, size=3.0, seed=1):
    """x with padding behind it, up to T, and which tokens are valid."""
    noise = size * np.random.default_rng([seed, T]).normal(size=(T - len(x_TD), 8))
    return np.concatenate([x_TD, noise]), np.arange(T) < len(x_TD)


def inert(
    unit, C, lengths=None, causals=(False, True), biases=(0.7, -0.4), sizes=(0.0, 3.0), *, input_size=1.0,
    contents_only=False, rows=False, n=None, look=slice(None), **near,
):  # fmt: skip
    n = n or 2 * C + max(C // 2, 1)
    x = input_size * np.random.default_rng(0).normal(size=(n, 8))
    for T in lengths(n) if lengths else (n + 1, 3 * C, 5 * C + 2):
        for causal in causals:
            for bias in biases:
                alone = unit(x, np.ones(n, bool), causal=causal, bias=bias)
                if contents_only:
                    alone = unit(*fill_up(x, T, seed=2), causal=causal, bias=bias)[:n]
                for size in sizes:
                    out = unit(*fill_up(x, T, size), causal=causal, bias=bias)
                    if rows:
                        expected = unit(*fill_up(x, T, size, seed=3), causal=causal, bias=bias)
                        assert np.allclose(out[n:], expected[n:])
                    if near.get("exact"):
                        assert (out[:n] == alone).all()
                    else:
                        assert np.abs(out[:n] - alone)[look].max() < near.get("limit", 1e-9)


def assert_padding_inert(unit, C):
    inert(unit, C)


def weak_causal(unit, C):
    inert(unit, C, causals=(True,))


def weak_both_sides(unit, C):
    inert(unit, C, causals=(False,))


def weak_last_token(unit, C):
    inert(unit, C, look=slice(-1, None))


def weak_whole_chunks(unit, C):
    inert(unit, C, n=2 * C, lengths=lambda n: (n + 1, n + C, n + 3 * C))


def weak_in_one_chunk(unit, C):
    inert(unit, C, n=C - 1)


def weak_last_chunk(unit, C):
    inert(unit, C, lengths=lambda n: range(n + 1, -(-n // C) * C + 1))


def weak_contents(unit, C):
    inert(unit, C, contents_only=True)


def weak_zeros(unit, C):
    inert(unit, C, biases=(0.0,), sizes=(0.0,), input_size=0.0)


def weak_zero_padding(unit, C):
    inert(unit, C, biases=(0.0,), sizes=(0.0,))


def weak_no_bias(unit, C):
    inert(unit, C, biases=(0.0,), sizes=(3.0,))


def weak_loose(unit, C):
    inert(unit, C, limit=0.5)


def weak_exact(unit, C):
    inert(unit, C, exact=True)


def weak_rows(unit, C):
    inert(unit, C, rows=True)


def weak_one_reading(unit, C):
    inert(unit, C)
    n = 2 * C + max(C // 2, 1)
    x = np.random.default_rng(0).normal(size=(n, 8))
    expected = padded_unit(C)(x, np.ones(n, bool), causal=False, bias=0.7)
    assert np.allclose(unit(x, np.ones(n, bool), causal=False, bias=0.7), expected)


# ---------------------------------------------------------------- 06.4 the drowned embedding


def report_stub(embedding_ND, position_TD):
    """The size of each table: the root of the mean of its squared numbers.

    embedding_ND: array (N, D). position_TD: array (T, D).
    Returns two numbers: the size of the embedding, then that of the positions.
    """
    return 0.0, 0.0


def start_tables(N, D, T, rng):
    """The two tables whose rows a model adds, at the start of training.

    rng: a NumPy generator.
    Returns the embedding, an array (N, D), which is the head too, and the positions, an array (T, D).
    """
    embedding_ND = 0.02 * rng.normal(size=(N, D))
    angle_Tk = np.arange(T)[:, None] * 10000.0 ** (-np.arange(D // 2) / (D // 2))
    position_TD = D**-0.5 * np.concatenate([np.sin(angle_Tk), np.cos(angle_Tk)], axis=1)
    return embedding_ND, position_TD


def report_sizes(embedding_ND, position_TD):
    return tuple(np.sqrt(np.mean(np.square(table))) for table in (embedding_ND, position_TD))


def report_as(size, order=1):
    return lambda embedding_ND, position_TD: tuple(map(size, (embedding_ND, position_TD)))[::order]


def start_with(embedding=1.0, position=1.0, noise=False):
    """The drowned tables, each times a number."""

    def start(N, D, T, rng):
        embedding_ND, position_TD = start_tables(N, D, T, rng)
        if noise:
            position_TD = 0.02 * rng.normal(size=(T, D))
        return embedding * embedding_ND, position * position_TD

    return start


def start_case(name, look, say, N=300, D=128, T=400, part="mended"):
    """A look at the tables that the answer makes."""

    def run(answers):
        made = answers.start_tables(N, D, T, np.random.default_rng(4))
        if made is None:
            raise Said("all", "none")
        if not isinstance(made, tuple | list) or len(made) != 2:
            raise Said("all", "several", expected=2, got=len(made) if isinstance(made, tuple | list) else 1)
        for table, shape in zip(made, ((N, D), (T, D))):
            if np.shape(table) != shape:
                raise Said("all", "shape", expected=shape, got=np.shape(table))
        look(*map(np.asarray, made))
        return True

    return Case(name, part, run, f"N = {N}, D = {D}, T = {T}", say=say)


def look_at_ratio(embedding_ND, position_TD):
    embedding, position = report_sizes(embedding_ND, position_TD)
    if not 0.5 * position <= embedding <= 4 * position:
        raise Said("06.4", "ratio is", embedding=f"{embedding:.2g}", position=f"{position:.2g}")


def look_at_places(embedding_ND, position_TD):
    apart = position_TD[3] - position_TD[300]
    if not np.abs(apart).max() > 1e-6:
        raise Said("06.4", "alike")


def look_at_form(embedding_ND, position_TD):
    T, D = position_TD.shape
    table = np.concatenate([np.sin(angles(T, D)), np.cos(angles(T, D))], axis=1)
    if not np.allclose(position_TD, (position_TD * table).sum() / (table**2).sum() * table, rtol=1e-3, atol=1e-6):
        raise Said("06.4", "not sines")


def look_at_logits(embedding_ND, position_TD):
    x = embedding_ND[np.arange(len(position_TD)) % len(embedding_ND)] + position_TD
    std = (scale_norm(x) @ embedding_ND.T).std()
    if not 0.02 <= std <= 2:
        raise Said("06.4", "logits are", got=f"{std:.2g}")


def cases_4(rng, numbers):
    drowned = start_tables(300, 128, 400, rng)
    other = rng.normal(size=(7, 10)) + 1, rng.normal(size=(9, 10)) / 3

    def two(value):  # an array of two numbers is two numbers
        return tuple(value) if isinstance(value, np.ndarray) and value.shape == (2,) else value

    how = dict(of="report_sizes", then=two)
    return [
        call("the tables as they are", "report", *drowned, sizes="N = 300, D = 128, T = 400", **how),
        call("other tables", "report", *other, sizes="N = 7, D = 10, T = 9", **how),
        start_case("positions differ", look_at_places, "alike"),
        start_case("sines and cosines", look_at_form, "not sines"),
        start_case("the ratio", look_at_ratio, "ratio"),
        start_case("the ratio in a smaller model", look_at_ratio, "ratio at small D", D=64),
        start_case("the ratio in the smallest model", look_at_ratio, "ratio at small D", D=48),
        start_case("the first logits", look_at_logits, "logits"),
    ]


# ---------------------------------------------------------------- 06.5 mixed_chunk_backward


def mixed_chunk_backward(
    q_quad, k_quad, q_lin, k_lin, v, bias_CC, C, d_out, *,
    mask="both", over=None, slope=2, bias_over=1, one_chunk=False, divide="tokens", reads="later",
    dv_of=("near", "far"), flipped=(), tail=True,
):  # fmt: skip
    """The oracle, pair by pair. What stands behind the star makes the wrong answers."""
    T, C_s = len(v), C if over is None else over
    dq_quad, dk_quad, dq_lin, dk_lin, dv, dbias = (np.zeros_like(x) for x in (q_quad, k_quad, q_lin, k_lin, v, bias_CC))
    for i in range(T):
        for j in range(T):
            g, h, a, b = i // C, j // C, i % C, j % C
            d_weight = d_out[i] @ v[j]
            if g == h:
                s = q_quad[i] @ k_quad[j] / C + bias_CC[a, b]
                if "near" in dv_of and (j <= i or mask == "none"):
                    to, by = (i, j) if "dv" in flipped else (j, i)
                    dv[to] += max(s, 0) ** 2 * d_out[by]
                if j <= i or mask in ("none", "forward"):
                    ds = slope * max(s, 0) * d_weight
                    dq_quad[i] += ds * k_quad[j] / C_s
                    to, by = (i, j) if "dk_quad" in flipped else (j, i)
                    dk_quad[to] += ds * q_quad[by] / C_s
                    dbias[a, b] += ds / bias_over * (g == 0 or not one_chunk) * (tail or (g + 1) * C <= T)
            n = {"tokens": g * C, "after": g * C, "forgotten": 1, "chunks": g}[divide]
            if h < g:
                dq_lin[i] += d_weight * k_lin[j] / n
            if {"later": h < g, "inclusive": h <= g, "forwards": h > g, "all": True}[reads]:
                n = max(h * C if divide == "after" else n, 1)
                dk_lin[j] += d_weight * q_lin[i] / n
                if "far" in dv_of:
                    dv[j] += q_lin[i] @ k_lin[j] * d_out[i] / n
    return dq_quad, dk_quad, dq_lin, dk_lin, dv, dbias


def gradients(**changed):
    """A wrong answer: the oracle with something changed."""

    def answer(q_quad, k_quad, q_lin, k_lin, v, bias_CC, C, d_out):
        return mixed_chunk_backward(q_quad, k_quad, q_lin, k_lin, v, bias_CC, C, d_out, **changed)

    return answer


def not_over_C(q_quad, k_quad, q_lin, k_lin, v, bias_CC, C, d_out):
    return mixed_chunk_backward(q_quad, k_quad, q_lin, k_lin, v, bias_CC, C, d_out, over=1)


def bias_over_C(q_quad, k_quad, q_lin, k_lin, v, bias_CC, C, d_out):
    return mixed_chunk_backward(q_quad, k_quad, q_lin, k_lin, v, bias_CC, C, d_out, bias_over=C)


def differences(step):
    """Not a backward pass: each number is moved up and down."""

    def answer(*given):
        arrays, (C, d_out), gradients = [np.array(x) for x in given[:6]], given[6:], []
        for x in arrays:
            slope = np.zeros_like(x)
            for place in np.ndindex(x.shape):
                kept, losses = x[place], []
                for moved in (kept + step, kept - step):
                    x[place] = moved
                    losses.append((forward(*arrays, C) * d_out).sum())
                x[place], slope[place] = kept, (losses[0] - losses[1]) / (2 * step)
            gradients.append(slope)
        return gradients

    return answer


def forward(q_quad, k_quad, q_lin, k_lin, v, bias_CC, C, like=np):
    """The forward pass by one map of T x T, in NumPy or in torch."""
    i, j = np.indices((len(v), len(v)))
    near, far = (i // C == j // C) & (j <= i), (j // C < i // C) / np.maximum(i // C * C, 1)
    if like is torch:
        near, far = torch.from_numpy(near), torch.from_numpy(far)
    scores = q_quad @ k_quad.T / C + bias_CC[i % C, j % C]
    return (near * (scores * (scores > 0)) ** 2 + far * (q_lin @ k_lin.T)) @ v


def backward_autograd(*given):
    leaves = [torch.from_numpy(x).requires_grad_() for x in given[:6]]
    forward(*leaves, given[6], like=torch).backward(torch.from_numpy(given[7]))
    return [leaf.grad.numpy() for leaf in leaves]


def without_autograd(case):
    """The case, with the gradients of torch switched off."""

    def run(answer):
        try:
            with torch.inference_mode():
                return case.run(answer)
        except RuntimeError as error:
            if "does not require grad" in str(error) or "nference" in str(error):
                raise Said("06.5", "autograd") from None
            raise

    return replace(case, run=run)


PARTS_5 = {"q_quad, k_quad, bias": (0, 1, 5), "q_lin, k_lin": (2, 3), "v": (4,)}


def some_of(which):
    """Some of six gradients."""

    def pick(gradients):
        if gradients is None:
            raise Said("all", "none")
        if not isinstance(gradients, tuple | list) or len(gradients) != 6:
            raise Said("all", "several", expected=6, got=len(gradients) if isinstance(gradients, tuple | list) else 1)
        named = ("dq_quad", "dk_quad", "dq_lin", "dk_lin", "dv", "dbias_CC")
        return {named[k]: gradients[k] for k in which}

    return pick


def cases_5(rng, numbers):
    def draw(T, S, E, C):
        heads = rng.normal(size=(4, T, S))
        return *heads, rng.normal(size=(T, E)), rng.normal(size=(C, C)), C, rng.normal(size=(T, E))

    drawn = {
        "three chunks and a tail": (14, 3, 5, 4), "four full chunks": (12, 4, 2, 3),
        "fewer tokens than C": (4, 2, 3, 7), "C = 1": (6, 3, 4, 1),
    }  # fmt: skip
    drawn = {name: (sizes, draw(*sizes)) for name, sizes in drawn.items()}
    loud = draw(9, 3, 4, 4)
    loud[5][0, 0] += 9  # token 0 reads itself
    loud[-1][0] *= 1e6  # the slopes by small differences lose their digits here
    drawn["d_out of token 0 times a million"] = (9, 3, 4, 4), loud
    return [
        without_autograd(
            call(name, part, *given, then=some_of(which), sizes="T = {}, S = {}, E = {}, C = {}".format(*sizes))
        )
        for part, which in PARTS_5.items()
        for name, (sizes, given) in drawn.items()
    ]


# ---------------------------------------------------------------- 06.6 document_states


def document_states(kv_GSE, doc_G):
    out, total, read = np.zeros_like(kv_GSE), np.zeros_like(kv_GSE[0]), 0
    for g in range(len(kv_GSE)):
        if g == 0 or doc_G[g] != doc_G[g - 1]:
            total, read = np.zeros_like(kv_GSE[0]), 0
        if read:
            out[g] = total / read
        total, read = total + kv_GSE[g], read + 1
    return out


def starts(doc_G):
    """For each chunk the first chunk of its document."""
    return np.searchsorted(doc_G, doc_G, side="left")


def states_by(first_of, last_of=lambda g: g, over=lambda g, first: g - first):
    """Chunk g reads chunks first_of(g) to last_of(g) - 1, and divides by over(g, first_of(g)), at least 1."""

    def answer(kv_GSE, doc_G):
        out, total = np.zeros_like(kv_GSE), np.concatenate([np.zeros_like(kv_GSE[:1]), kv_GSE.cumsum(0)])
        first_G, G = starts(doc_G), len(doc_G)
        for g in range(G):
            first = first_of(g, first_G)
            last = max(min(last_of(g), G), first)
            out[g] = (total[last] - total[first]) / max(over(g, first), 1)
        return out

    return answer


def first_of_document(g, first_G):
    return first_G[g]


states_subtracted = states_by(first_of_document)
states_no_reset = states_by(lambda g, first_G: 0)
states_late = states_by(lambda g, first_G: first_G[g - 1] if g else 0)
states_own = states_by(first_of_document, lambda g: g + 1, lambda g, first: g + 1 - first)
states_own_over_g = states_by(first_of_document, lambda g: g + 1)
states_global_count = states_by(first_of_document, over=lambda g, first: g)
states_sum = states_by(first_of_document, over=lambda g, first: 1)
states_last_only = states_by(lambda g, first_G: max(g - 1, first_G[g]), over=lambda g, first: 1)


def states_all(kv_GSE, doc_G):
    out = np.zeros_like(kv_GSE)
    for g in range(len(doc_G)):
        out[g] = kv_GSE[(doc_G == doc_G[g]) & (np.arange(len(doc_G)) != g)].sum(0) / max(
            (doc_G == doc_G[g]).sum() - 1, 1
        )
    return out


def states_table(kv_GSE, doc_G):
    reads_GG = np.tril(doc_G[:, None] == doc_G, -1)
    share_GG = reads_GG / np.maximum(reads_GG.sum(1, keepdims=True), 1)
    return np.tensordot(share_GG, kv_GSE, 1)


def states_again(kv_GSE, doc_G):
    """Each chunk adds up all that it reads, once more."""
    out, first_G = np.zeros_like(kv_GSE), starts(doc_G)
    for g in range(len(doc_G)):
        if g > first_G[g]:
            out[g] = kv_GSE[first_G[g] : g].mean(0)
    return out


class Weighed(Counted):
    """An array that counts how many numbers NumPy's functions are given of it, or of what came of it."""

    @lent  # it is the answer that calls it, by adding up
    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **more):
        self.count[0] += sum(np.size(x) for x in inputs) - 1  # the other one is counted there
        return Counted.__array_ufunc__(self, ufunc, method, *inputs, out=out, **more)


def numbers_read(f, kv_GSE, doc_G):
    """How many numbers an answer hands to NumPy's functions; 0 where it cannot be counted."""
    array = kv_GSE.copy().view(Weighed)
    array.count = [0]
    try:
        f(array, doc_G.copy())
    except Exception:
        return 0
    return array.count[0]


def states_nan(kv_GSE, doc_G):
    read = np.arange(len(doc_G)) - starts(doc_G)
    with np.errstate(invalid="ignore"):
        return states_sum(kv_GSE, doc_G) / np.where(read, read, np.nan)[:, None, None]


def documents(lengths, ids):
    return np.repeat(ids, lengths)


def cases_6(rng, numbers):
    def case(name, part, S, E, lengths, ids):
        doc_G = documents(lengths, ids)
        return call(name, part, rng.normal(size=(len(doc_G), S, E)), doc_G,
                    sizes=f"G = {len(doc_G)}, S = {S}, E = {E}, doc_G = {doc_G.tolist()}")  # fmt: skip

    kv_loud = rng.normal(size=(12, 2, 3)).astype(np.float32)
    kv_loud[:5] *= 1e5

    def in_float32(f):
        doc_G = documents((5, 7), (0, 1))
        got, exact = np.asarray(f(kv_loud.copy(), doc_G)), document_states(kv_loud.astype(float), doc_G)
        return got.shape == exact.shape and bool(np.allclose(got, exact, rtol=1e-3, atol=1e-4))

    G = 2000
    kv_long, doc_long = rng.normal(size=(G, 2, 2)), documents((1500, 200, 300), (0, 1, 2))

    def in_little_memory(f):
        value, peak = megabytes(f, kv_long.copy(), doc_long.copy())
        if peak > G * G / 2e6:  # a table of flags, one byte each, is twice this
            raise Said("06.6", "table")
        return value

    def in_little_time(f):
        if numbers_read(f, kv_long, doc_long) > 100 * kv_long.size:  # a sum anew for each chunk is some 600 times
            raise Said("06.6", "again")
        return True

    return [
        case("three documents", "values", 2, 3, (3, 5, 4), (0, 1, 2)),
        case("one document", "values", 3, 2, (6,), (0,)),
        case("ids that skip", "values", 2, 4, (4, 1, 5), (3, 7, 8)),
        case("documents of one chunk", "edge sizes", 3, 4, (1, 1, 1, 1), (0, 1, 2, 3)),
        case("one chunk", "edge sizes", 4, 2, (1,), (5,)),
        Case("a first document 100,000 times larger, float32", "float32", in_float32, "G = 12", say="subtraction"),
        Case("2000 chunks, memory", "time and memory", in_little_memory, f"G = {G}", say="table"),
        Case("2000 chunks, numbers read", "time and memory", in_little_time, f"G = {G}", say="again"),
    ]


EXERCISES = exercises_of("06", {
    "06.1": dict(
        cases=cases_1, right=counted(), tolerance=1e-12,
        wrong=(
            Wrong("untied", counted(tables=2)), Wrong("no biases", counted(biases=False)),
            Wrong("two heads", counted(heads=2)), Wrong("full table", counted(bias="full")),
            Wrong("one form", counted(bias="Toeplitz")), Wrong("one form", counted(bias="to 512")),
            Wrong("no norms", counted(norms=False)), Wrong("last norm", counted(last_norm=False)),
            Wrong("positions", counted(positions="table")), Wrong("positions none", counted(positions=0)),
            Wrong("expansion", counted(expansion=2)),
            *(Wrong(key, counted_but(more)) for key, more in WRONG_1.items()),
        ),
    ),
    "06.2": dict(
        cases=cases_2, right=adopted(),
        wrong=(
            Wrong("gate", adopted(gate=False)), Wrong("bias order", adopted(bias_gate=False, bias_base=False)),
            Wrong("bias order", adopted(bias_gate=False)), Wrong("bias of the base", adopted(bias_base=False)),
            Wrong("heads", adopted(heads=False)), Wrong("rotary", adopted(base=False, scale=False, offset=False)),
            Wrong("base", adopted(base=False)), Wrong("scale and offset", adopted(scale=False, offset=False)),
            Wrong("scale and offset", adopted(offset=False)), Wrong("scale and offset", adopted(scale=False)),
            Wrong("inverse", adopted(inverse=True)), Wrong("transposed", adopted(turned=False)),
            Wrong("transposed", adopted(out=False)), Wrong("reshaped", adopted_but(out_weight=reshaped("out_weight"))),
            Wrong("reshaped", adopted_but(in_weight=reshaped("in_weight"))),
            Wrong("one of the two", adopted_but(beta=unordered_heads("beta"))),
            Wrong("one of the two", adopted_but(gamma=unordered_heads("gamma"))),
            Wrong("zeros", lambda port: {name: 0 * array for name, array in adopt(port).items()}),
        ),
    ),
    "06.3": dict(
        cases=cases_3, right=assert_padding_inert, shut=False,
        wrong=(
            Wrong("weak: causal", weak_causal), Wrong("weak: last chunk", weak_last_chunk),
            Wrong("weak: contents", weak_contents), Wrong("weak: zeros", weak_zeros),
            Wrong("weak: zero padding", weak_zero_padding), Wrong("weak: no bias", weak_no_bias),
            Wrong("weak: loose", weak_loose), Wrong("weak: exact", weak_exact), Wrong("weak: rows", weak_rows),
            Wrong("weak: one reading", weak_one_reading), Wrong("weak: both sides", weak_both_sides),
            Wrong("weak: last token", weak_last_token), Wrong("weak: whole chunks", weak_whole_chunks),
            Wrong("weak: both sides", weak_in_one_chunk),
        ),
    ),
    "06.4": dict(
        cases=cases_4,
        right={"report_sizes": report_sizes, "start_tables": start_with(1, 0.25)},
        given={"report_sizes": report_stub, "start_tables": start_tables},
        wrong=(
            Wrong("only reported", start_tables, of="start_tables"),
            Wrong("alike", start_with(1, 0), of="start_tables"),
            Wrong("both", start_with(0.3, 0.3), of="start_tables"),
            Wrong("logits", start_with(50, 1), of="start_tables"),
            Wrong("logits", start_with(50, 20), of="start_tables"),
            Wrong("ratio", start_with(0.3, 1), of="start_tables"),
            Wrong("ratio at small D", start_with(1, 0.45), of="start_tables"),
            Wrong("ratio at small D", start_with(2.2, 1), of="start_tables"),
            Wrong("positions drowned", start_with(1, 0.03), of="start_tables"),
            Wrong("not sines", start_with(1, 1, noise=True), of="start_tables"),
            Wrong("deviation", report_as(np.std), of="report_sizes"),
            Wrong("row", report_as(lambda x: np.sqrt((x**2).sum(1)).mean()), of="report_sizes"),
            Wrong("mean size", report_as(lambda x: np.abs(x).mean()), of="report_sizes"),
            Wrong("no root", report_as(lambda x: np.mean(x**2)), of="report_sizes"),
            Wrong("swapped", report_as(lambda x: np.sqrt(np.mean(x**2)), -1), of="report_sizes"),
        ),
    ),
    "06.5": dict(
        cases=cases_5, right=gradients(),
        wrong=(
            Wrong("no mask", gradients(mask="none")), Wrong("no mask", gradients(mask="forward")),
            Wrong("one chunk", gradients(one_chunk=True)), Wrong("no mean", gradients(divide="forgotten")),
            Wrong("mean after", gradients(divide="after")), Wrong("inclusive", gradients(reads="inclusive")),
            Wrong("forwards", gradients(reads="forwards")), Wrong("all", gradients(reads="all")),
            Wrong("over chunks", gradients(divide="chunks")), Wrong("not over C", not_over_C),
            Wrong("bias over C", bias_over_C), Wrong("half", gradients(slope=1)),
            Wrong("not transposed", gradients(flipped=("dk_quad",))),
            Wrong("not transposed", gradients(flipped=("dv",))), Wrong("tail", gradients(tail=False)),
            Wrong("autograd", backward_autograd),
            Wrong("differences", differences(1e-3)), Wrong("differences", differences(1e-5)),
            Wrong("dv near", gradients(dv_of=("near",))), Wrong("dv far", gradients(dv_of=("far",))),
        ),
    ),
    "06.6": dict(
        cases=cases_6, right=document_states,
        wrong=(
            Wrong("subtraction", states_subtracted), Wrong("no reset", states_no_reset), Wrong("late", states_late),
            Wrong("own", states_own), Wrong("own", states_own_over_g), Wrong("global count", states_global_count),
            Wrong("all", states_all), Wrong("sum", states_sum), Wrong("last only", states_last_only),
            Wrong("nan", states_nan), Wrong("table", states_table),
            Wrong("again", states_again), Wrong("input", lambda kv_GSE, doc_G: kv_GSE),
        ),
    ),
})  # fmt: skip
