"""Problem set 06: the FLASH model. Cases, the oracle, and wrong answers; the right answers lie in ``solutions``."""

import itertools
from functools import partial
from types import SimpleNamespace

import numpy as np
import torch

from flash_tutorial.config import ModelConfig
from flash_tutorial.reference import flash, scaled_sin, silu

from ..closed_book import without_autograd
from ..edits import edited
from ..examples import example
from ..exercise import Case, Said, call, reject_if, several
from ..expected import by_right
from ..gradients import not_derived
from ..instruments import megabytes, numbers_read
from ..proving import versions
from ..sizes import chunked, grown


# ---------------------------------------------------------------- 06.1 count_parameters
def count_parameters(config):
    N, D, S, C = config.vocab_size, config.dim, config.qk_dim, config.chunk_size
    E = config.expansion * D
    norm = {"scale": 1, "layer": 2 * D}[config.norm]
    table = 2 * C - 1 if C < 512 else 2 * S
    unit = norm + D * (2 * E + S) + E * D + (2 * E + S) + D + 8 * S + table
    return N * D + 1 + config.depth * unit + norm


def cases_1(rng, numbers):
    def case(name, part, c):
        sizes = f"N = {c.vocab_size}, D = {c.dim}, E = {c.expansion * c.dim}, S = {c.qk_dim}, C = {c.chunk_size}"
        return call(name, part, c, sizes=f"{sizes}, {c.depth} units, norm {c.norm}")

    def small(C, norm, expansion):
        D, S = 2 * int(rng.integers(4, 9)), 2 * int(rng.integers(9, 13))
        N = int(rng.integers(30, 50))
        depth = int(rng.integers(3, 6))
        how = dict(qk_dim=S, chunk_size=C, norm=norm, expansion=expansion, max_length=1024)
        return ModelConfig("flash", vocab_size=N, dim=D, depth=depth, **how)

    yield case(
        "short chunks, ScaleNorm", "short chunks", small(int(rng.integers(5, 20)), "scale", 2)
    )
    yield case(
        "short chunks, LayerNorm", "short chunks", small(int(rng.integers(60, 90)), "layer", 3)
    )
    yield case("just below 512", "short chunks", small(511, "scale", 2))
    yield case("C = 512", "long chunks", small(512, "layer", 2))
    yield case("long chunks", "long chunks", small(int(rng.integers(600, 900)), "scale", 3))
    yield case("the base size", "published sizes", ModelConfig.paper("wiki40b"))
    yield case("the base size, masked", "published sizes", ModelConfig.paper("c4"))
    yield case("the large size", "published sizes", ModelConfig.paper("pg19"))


# ---------------------------------------------------------------- 06.2 adopt
def scale_norm(x_TD):
    return x_TD / np.sqrt(np.mean(x_TD**2, axis=1, keepdims=True) + 1e-5)


def adopt(port):
    w = SimpleNamespace(**port)
    E, S = w.out_weight.shape[1], w.gamma.shape[1]
    pairs, heads = [*range(0, S, 2), *range(1, S, 2)], [0, 2, 1, 3]
    rows = [*range(E, 2 * E), *range(E), *(2 * E + k for k in pairs)]
    gamma, beta = w.gamma[heads][:, pairs], w.beta[heads][:, pairs]
    mapped = dict(in_weight=w.in_weight[rows].T, in_bias=w.in_bias[rows], out_weight=w.out_weight.T)
    return port | mapped | dict(gamma=gamma, beta=beta)


def shapes_for(port):
    return {key: value.shape for key, value in adopt(port).items()}


def port_case(name, part, rng, T, D, E, S, C, causal):
    """The project's layer runs with the adopted weights, after a look at their shapes."""
    (T, C), (D, E), S = chunked(rng, T, C), grown(rng, D, E), S + 2 * int(rng.integers(4))
    port = {
        "norm_gain": np.array(1 + rng.random()),
        "in_weight": rng.normal(size=(2 * E + S, D)) / D**0.5,
        "in_bias": rng.normal(size=2 * E + S),
        "gamma": rng.normal(size=(4, S)),
        "beta": rng.normal(size=(4, S)),
        "bias_weights": rng.normal(size=2 * C - 1),
        "out_weight": rng.normal(size=(D, E)) / E**0.5,
        "out_bias": rng.normal(size=D),
    }
    x_TD = rng.normal(size=(T, D))
    shapes = by_right("06.2", name, "shapes_for", port)

    def layer(params):
        reject_if(params is None, "all", "none")
        if not isinstance(params, dict) or not set(shapes) <= set(params):
            got = type(params).__name__
            if isinstance(params, dict):
                got = ", ".join(map(str, params))
            raise Said("all", "keys", expected=", ".join(shapes), got=got)
        for key, shape in shapes.items():
            got, matrix = np.shape(params[key]), key in ("in_weight", "out_weight")
            reject_if(matrix and got == shape[::-1] != shape, "06.2", "transposed")
            reject_if(got != shape, "06.2", "shape of", name=key, expected=shape, got=got)
        return flash(x_TD, params, causal=causal, chunk_size=C)

    return call(
        name, part, port, then=layer, sizes=f"{T = }, {D = }, {E = }, {S = }, {C = }, {causal = }"
    )


def cases_2(rng, numbers):
    yield port_case("one token", "one token", rng, 1, 5, 8, 6, 3, False)
    yield port_case("three chunks and a tail", "causal", rng, 14, 5, 9, 6, 4, True)
    yield port_case("fewer tokens than C", "causal", rng, 6, 4, 7, 8, 9, True)
    yield port_case(
        "three chunks and a tail, both sides", "both sides", rng, 11, 7, 10, 6, 3, False
    )
    yield port_case("C = 1, both sides", "both sides", rng, 5, 3, 8, 10, 1, False)


# ---------------------------------------------------------------- 06.3 assert_padding_inert
def padded_unit(C):
    """A unit(x (T, 8), valid (T,), causal=True, bias=0.0), as a map of T x T; local weights are never closed."""
    rng = np.random.default_rng(11)
    D = 8
    E = 10
    S = 4
    in_weight = rng.normal(size=(D, 2 * E + S)) / D**0.5
    gamma, beta = rng.normal(size=(2, 4, S)) / 2
    out_weight, table = rng.normal(size=(E, D)) / E**0.5, 6 + np.abs(rng.normal(size=(C, C)))

    def unit(x_TD, valid_T, causal=True, bias=0.0):
        T, valid_T = len(x_TD), np.asarray(valid_T, float)
        u, v, z = np.split(silu(scale_norm(x_TD) @ in_weight + bias), [E, 2 * E], axis=1)
        quad_q, quad_k, lin_q, lin_k = z * gamma[:, None] + beta[:, None]
        i, j = np.indices((T, T))
        own, reads = (
            (i // C == j // C) & ((j <= i) | (not causal)),
            (j // C < i // C) | (not causal),
        )
        count = (reads * valid_T).sum(1)
        near = own * np.maximum(quad_q @ quad_k.T / C + table[i % C, j % C], 0) ** 2 / 40
        far = reads * (lin_q @ lin_k.T) / np.maximum(count, 1)[:, None]
        weights = near * valid_T + far * valid_T
        out = x_TD + (u * (weights @ v)) @ out_weight
        return out

    return unit


# what edits replace
COUNT, BOTH, X = (
    "(reads * valid_T).sum(1)",
    "near * valid_T + far * valid_T",
    "(x_TD) @",
)
HELD = "np.repeat(np.maximum.reduceat(valid_T, range(0, T, C)), C)[:T]"  # places of chunks that hold a token
RIGHT_3 = {
    "the mean over valid tokens": (),
    "the mean over the positions of chunks that hold a token": (
        COUNT,
        f"C * (reads * (j % C == 0) * {HELD}).sum(1)",
    ),
    "the bare sum": (COUNT, "np.ones(T)"),
    "anything in the rows of the padding": (
        "return out",
        "return np.where(valid_T[:, None] > 0, out, T + 7 * x_TD)",
    ),
    "zeros in the rows of the padding": ("return out", "return out * valid_T[:, None]"),
    "other rounding at another length": ("weights @ v", "weights / T @ v * T"),
}
READS_3 = {
    "the local part sees padding": ("near * valid_T", "near"),
    "the global part sees padding": ("far * valid_T", "far"),
    "zero before the projection": (X, "(x_TD * valid_T[:, None]) @", BOTH, "near + far"),
    "padding is read with a hundredth of its weight": (
        "far * valid_T",
        "far * np.maximum(valid_T, 0.01)",
    ),
    "what the padding holds is added to each output": (
        "return out",
        "return out + (1 - valid_T) @ x_TD",
    ),
    "the first token alone reads padding": ("far * valid_T", "far * np.where(i == 0, 1, valid_T)"),
}
COUNTS_3 = {
    "chunks of padding are counted in the mean": (COUNT, "C * (reads * (j % C == 0)).sum(1)"),
    "divided by the padded length": (COUNT, "reads.sum(1)"),
    "the mean over the row is taken off": (X, "(x_TD - x_TD.mean(0)) @"),
    "divided by the padded length, where causal": (
        COUNT,
        f"(np.full(T, T) if causal else {COUNT})",
    ),
}
POOLS_3 = {
    "passes what is right": RIGHT_3,
    "finds padding that is read": READS_3,
    "finds wrong counts": COUNTS_3,
}


def cases_3(rng, numbers):
    C = int(rng.integers(3, 6))
    for part, pool in POOLS_3.items():
        yield from versions(
            {part: {name: edited(padded_unit, *edits, name=name) for name, edits in pool.items()}},
            C,
        )


def assert_padding_inert(unit, C):
    n = 2 * C + C // 2
    x = np.random.default_rng(0).normal(size=(n, 8))
    for T, causal, bias in itertools.product((n + 1, 3 * C, 5 * C + 2), (False, True), (0.7, -0.4)):
        noise = np.random.default_rng(T).normal(size=(T - n, 8))
        alone = unit(x, np.ones(n, bool), causal, bias)
        for size in (0.0, 3.0):
            out = unit(np.concatenate([x, size * noise]), np.arange(T) < n, causal, bias)
            assert np.abs(out[:n] - alone).max() < 1e-9


# ---------------------------------------------------------------- 06.4 the drowned embedding
def start_tables(N, D, T, rng):
    """What the notebook gives: the embedding, which is the head too, and the positions that drown it."""
    embedding_ND = 0.02 * rng.normal(size=(N, D))
    angle_Tk = np.arange(T)[:, None] * 10000.0 ** (-np.arange(D // 2) / (D // 2))
    position_TD = D**-0.5 * np.concatenate([np.sin(angle_Tk), np.cos(angle_Tk)], axis=1)
    return embedding_ND, position_TD


def report_sizes(embedding_ND, position_TD):
    return tuple(np.mean(table**2) ** 0.5 for table in (embedding_ND, position_TD))


def mended_tables(N, D, T, rng):
    """The drowned tables, each times a number."""
    embedding_ND, position_TD = start_tables(N, D, T, rng)
    return 1.0 * embedding_ND, 0.25 * position_TD


def start_case(name, look, say, N, D, T):
    """A look at the tables that the answer makes."""

    def run(answers):
        made = several(answers.start_tables(N, D, T, np.random.default_rng(4)), 2)
        for table, shape in zip(made, ((N, D), (T, D))):
            reject_if(np.shape(table) != shape, "all", "shape", expected=shape, got=np.shape(table))
        look(*map(np.asarray, made))

    return Case(name, "mended", run, f"{N = }, {D = }, {T = }", say=say)


def look_at_ratio(embedding_ND, position_TD):
    embedding, position = (
        np.linalg.norm(table) / np.size(table) ** 0.5 for table in (embedding_ND, position_TD)
    )
    sizes = {"embedding": f"{embedding:.2g}", "position": f"{position:.2g}"}
    reject_if(not 0.5 * position <= embedding <= 4 * position, "06.4", "ratio is", **sizes)


def look_at_places(embedding_ND, position_TD):
    reject_if(not np.abs(position_TD[3] - position_TD[300]).max() > 1e-6, "06.4", "alike")


def look_at_form(table, embedding_ND, position_TD):
    """Each sine and cosine of the table is a column, wherever it stands."""
    columns = position_TD * np.linalg.norm(table) / max(np.linalg.norm(position_TD), 1e-300)
    apart = np.abs(table[:, :, None] - columns[:, None]).max(0)
    reject_if(
        apart.min(1).max() > 1e-3 or len({*apart.argmin(1)}) < len(apart), "06.4", "not sines"
    )


def look_at_logits(embedding_ND, position_TD):
    x = embedding_ND[np.arange(len(position_TD)) % len(embedding_ND)] + position_TD
    std = (scale_norm(x) @ embedding_ND.T).std()
    reject_if(not 0.02 <= std <= 2, "06.4", "logits are", got=f"{std:.2g}")


def rows_drawn(N, D, T):
    def run(answers):
        made = [
            several(answers.start_tables(N, D, T, np.random.default_rng(s)), 2)[0]
            for s in (4, 5, 4)
        ]
        one, other, again = (np.asarray(table) for table in made)
        reject_if(np.shape(one) != (N, D), "all", "shape", expected=(N, D), got=np.shape(one))
        reject_if(
            np.array_equal(one, other) or not np.array_equal(one, again), "06.4", "own generator"
        )
        reject_if(len(np.unique(one, axis=0)) < N, "06.4", "same rows")

    return Case("the embedding is drawn", "mended", run, f"{N = }, {D = }, {T = }")


def cases_4(rng, numbers):
    N, T = grown(rng, 300, 400, more=60)
    wide = 128 - 2 * int(rng.integers(4))  # the text promises 48 to 128
    small, least = (D + 2 * int(rng.integers(4)) for D in (64, 48))
    drowned = start_tables(N, wide, T, rng)
    rows, places, D = grown(rng, 7, 9, 10)
    other = rng.normal(size=(rows, D)) + 1, rng.normal(size=(places, D)) / 3

    def two(value):  # an array of two numbers is two numbers
        if isinstance(value, np.ndarray) and value.shape == (2,):
            return tuple(value)
        return value

    how = dict(of="report_sizes", then=two)
    yield call(
        "the tables as they are", "report", *drowned, sizes=f"{N = }, D = {wide}, {T = }", **how
    )
    yield call("other tables", "report", *other, sizes=f"N = {rows}, {D = }, T = {places}", **how)
    yield start_case("positions differ", look_at_places, "alike", N, wide, T)
    yield start_case(
        "sines and cosines", partial(look_at_form, scaled_sin(T, wide)), "not sines", N, wide, T
    )
    yield start_case("the ratio", look_at_ratio, "ratio", N, wide, T)
    yield start_case("the ratio in a smaller model", look_at_ratio, "ratio at small D", N, small, T)
    yield start_case(
        "the ratio in the smallest model", look_at_ratio, "ratio at small D", N, least, T
    )
    yield start_case("the first logits", look_at_logits, "logits", N, wide, T)
    yield rows_drawn(N, small, T)


given_4 = {
    "report_sizes": lambda embedding_ND, position_TD: (0.0, 0.0),
    "start_tables": start_tables,
}
right_4 = {"report_sizes": report_sizes, "start_tables": mended_tables}


# ---------------------------------------------------------------- 06.5 mixed_chunk_backward
def mixed_chunk_backward(quad_q, quad_k, lin_q, lin_k, v, bias_CC, C, d_out):
    """Pair by pair."""
    dquad_q, dquad_k, dlin_q, dlin_k, dv, dbias = (
        np.zeros_like(x) for x in (quad_q, quad_k, lin_q, lin_k, v, bias_CC)
    )
    for i, j in np.ndindex(len(v), len(v)):
        g, h, place = i // C, j // C, (i % C, j % C)
        d_weight = d_out[i] @ v[j]
        if g == h and j <= i:
            r = max(quad_q[i] @ quad_k[j] / C + bias_CC[place], 0)
            ds = 2 * r * d_weight
            dquad_q[i] += ds * quad_k[j] / C
            dquad_k[j] += ds * quad_q[i] / C
            dbias[place] += ds
            dv[j] += r**2 * d_out[i]
        n = max(g * C, 1)
        if h < g:  # i reads j
            dlin_q[i] += d_weight * lin_k[j] / n
        if g > h:  # j is read by i
            dlin_k[j] += d_weight * lin_q[i] / n
            dv[j] += lin_q[i] @ lin_k[j] * d_out[i] / n
    return dquad_q, dquad_k, dlin_q, dlin_k, dv, dbias


def outputs(quad_q, quad_k, lin_q, lin_k, v, bias_CC, C):
    """What the gradients are of: the forward pass by one map of T x T."""
    i = torch.arange(len(v))[:, None]
    j = torch.arange(len(v))
    near, far = (
        (i // C == j // C) & (j <= i),
        (j // C < i // C) / (i // C * C).clamp(min=1).to(v.dtype),
    )
    scores = quad_q @ quad_k.T / C + bias_CC[i % C, j % C]
    return (near * (scores.real > 0) * scores**2 + far * (lin_q @ lin_k.T)) @ v


wrong_5 = not_derived(outputs, 6, (1e-5, True), (1e-30j, False))
PARTS = {
    "quad_q, quad_k, bias": ["dquad_q", "dquad_k", "dbias_CC"],
    "lin_q, lin_k": ["dlin_q", "dlin_k"],
    "v": ["dv"],
}


def some_of(names):
    """Some of six gradients, each under its name."""
    order = ("dquad_q", "dquad_k", "dlin_q", "dlin_k", "dv", "dbias_CC")
    return lambda gradients: {name: several(gradients, 6)[order.index(name)] for name in names}


def cases_5(rng, numbers):
    def cases(name, T, S, E, C, lost=False):
        (T, C), (S, E) = chunked(rng, T, C), grown(rng, S, E)
        heads, v, bias_CC, d_out = (
            rng.normal(size=size) for size in ((4, T, S), (T, E), (C, C), (T, E))
        )
        biases = dict.fromkeys(PARTS, bias_CC)
        if lost:  # next to such numbers a step is lost, be it imaginary
            heads[::2] = 1e-295 * heads[::2]
            v = 1e5 * v
            d_out = 1e295 * d_out
            biases["v"] = 1e-147 * bias_CC
        sizes = f"{T = }, {S = }, {E = }, {C = }"
        return [
            without_autograd(
                call(
                    name, part, *heads, v, biases[part], C, d_out, then=some_of(names), sizes=sizes
                )
            )
            for part, names in PARTS.items()
        ]

    drawn = [
        cases("three chunks and a tail", 14, 3, 5, 4),
        cases("four full chunks", 12, 4, 2, 3),
        cases("fewer tokens than C", 4, 2, 3, 7),
        cases("C = 1", 6, 3, 4, 1),
        cases("queries times 1e-295, v times 100,000, d_out times 1e295", 9, 3, 4, 4, lost=True),
    ]
    return [*itertools.chain.from_iterable(zip(*drawn))]  # part by part


# ---------------------------------------------------------------- 06.6 document_states
def document_states(kv_GSE, doc_G):
    out, total, read = np.zeros_like(kv_GSE), 0, 0
    for g, kv_SE in enumerate(kv_GSE):
        if g and doc_G[g] != doc_G[g - 1]:
            total = read = 0
        out[g] = total / max(read, 1)
        total, read = total + kv_SE, read + 1
    return out


def states_case(rng, name, part, S, E, lengths, ids):
    """Documents of about so many chunks; those of one chunk stay so."""
    S, E = grown(rng, S, E)
    lengths = [n + int(rng.integers(5)) if n > 1 else n for n in lengths]
    doc_G = np.repeat(ids, lengths)
    kv_GSE = rng.normal(size=(len(doc_G), S, E))
    sizes = f"G = {len(doc_G)}, {S = }, {E = }, doc_G = {doc_G.tolist()}"
    return call(name, part, kv_GSE, doc_G, sizes=sizes)


def cases_6(rng, numbers):
    case = partial(states_case, rng)
    first, second, S, E = grown(rng, 5, 7, 2, 3)
    kv_loud = rng.normal(size=(first + second, S, E)).astype(np.float32)
    kv_loud[:first] *= 1e5
    docs_loud = np.repeat((0, 1), (first, second))
    exact = by_right("06.6", "loud", "document_states", kv_loud.astype(float), docs_loud)

    def in_float32(f):
        got = np.asarray(f(kv_loud.copy(), docs_loud.copy()))
        if got.shape != exact.shape:
            return got
        return np.where(np.isclose(got, exact, rtol=1e-3, atol=1e-4), exact, got)

    (many,) = grown(rng, 4)
    short = f"G = {first + second}"
    lengths = grown(rng, 700, 120, 180, more=30)
    G = sum(lengths)
    kv_long, doc_long = rng.normal(size=(G, 2, 3)), np.repeat((0, 1, 2), lengths)

    def in_little_memory(f):
        for key, ids in (("table", (0, 1, 2)), ("ids", (0, 400_000, 1_000_000))):
            value, peak = megabytes(f, kv_long.copy(), np.repeat(ids, lengths))
            # a table of flags, one byte each, is twice this
            reject_if(peak > G * G / 2e6, "06.6", key)
        return value

    def in_little_time(f):
        read = numbers_read(f, kv_long, doc_long) / kv_long.size
        reject_if(read < 0.5, "06.6", "unseen")  # each number is needed once
        reject_if(read > 50, "06.6", "again")  # a sum anew for each chunk: 250 times

    yield case("three documents", "values", 2, 3, (3, 5, 4), (0, 1, 2))
    yield case("one document", "values", 3, 2, (6,), (0,))
    yield case("ids that skip", "values", 2, 4, (4, 1, 5), (3, 7, 8))
    yield case("documents of one chunk", "edge sizes", 3, 4, [1] * many, range(many))
    yield case("one chunk", "edge sizes", 4, 2, (1,), (5,))
    yield case(
        "one document has more than one chunk", "edge sizes", 5, 3, (1, 2, 1, 1), (2, 3, 4, 6)
    )
    yield Case(
        "a first document 100,000 times larger, float32",
        "float32",
        in_float32,
        short,
        say="subtraction",
    )
    yield Case("many chunks, memory", "time and memory", in_little_memory, f"{G = }", say="table")
    yield Case(
        "many chunks, numbers read", "time and memory", in_little_time, f"{G = }", say="again"
    )


def example_6():
    kv_GSE = np.array([2.0, 4, 6, 8, 10])[:, None, None]
    yield example("06.6", "document_states", kv_GSE=kv_GSE, doc_G=np.array([0, 0, 0, 1, 1]))
