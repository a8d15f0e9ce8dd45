"""Set 06: other right answers, and what only `grade` tries."""

import itertools
import math
from collections import Counter, OrderedDict
from itertools import accumulate, groupby
from operator import itemgetter

import numpy as np
import torch

from flash_course.checks.edits import edited
from flash_course.checks.exercise import call
from flash_course.checks.proving import version
from flash_course.checks.sets.set_06 import (
    BOTH, HELD, look_at_logits, look_at_places, look_at_ratio, padded_unit, start_case,
)  # fmt: skip

# ---------------------------------------------------------------- right answers, written differently


def count_by_shapes(config):
    """All shapes listed, as a state_dict would."""
    D, S, C, E = config.dim, config.qk_dim, config.chunk_size, config.dim * config.expansion
    norm = {"scale": [()], "layer": [(D,), (D,)]}[config.norm]
    bias = [(S,), (S,)] if C >= 512 else [(2 * C - 1,)]
    unit = [*norm, (D, 2 * E + S), (2 * E + S,), (4, S), (4, S), *bias, (E, D), (D,)]
    return sum(map(math.prod, [(config.vocab_size, D), (), *config.depth * unit, *norm]))


def count_by_width(config):
    """By powers of D, as a float that is a whole number."""
    D, S, e, C = config.dim, config.qk_dim, config.expansion, config.chunk_size
    unit = 3 * e * D**2 + (S + 2 * e + 1) * D + 9 * S + (2 * S if C > 511 else 2 * C - 1)
    norms = (config.depth + 1) * (1 if config.norm == "scale" else 2 * D)
    return float(config.vocab_size * D + config.depth * unit + norms + 1)


def adopt_by_parts(port_weights):
    w = {name: np.array(value) for name, value in port_weights.items()}
    E = w["out_weight"].shape[1]

    def halves(x):  # (..., S), pairs side by side -> first members, then second members
        return np.concatenate([x[..., ::2], x[..., 1::2]], axis=-1)

    for name in ("gamma", "beta"):
        quad_q, lin_q, quad_k, lin_k = halves(w[name])
        w[name] = np.stack([quad_q, quad_k, lin_q, lin_k])
    for name in ("in_weight", "in_bias"):
        value, gate, base = np.split(w[name].T, [E, 2 * E], axis=-1)
        w[name] = np.concatenate([gate, value, halves(base)], axis=-1)
    w["out_weight"] = w["out_weight"].T
    return w


def adopt_by_reshape(port_weights):
    w = dict(port_weights)
    E, S = w["out_weight"].shape[1], w["gamma"].shape[1]
    to_ours = np.arange(S).reshape(S // 2, 2).T.ravel()
    for name in ("in_weight", "in_bias"):
        rolled = np.roll(w[name][: 2 * E], E, axis=0)
        w[name] = np.append(rolled, w[name][2 * E :][to_ours], axis=0)
    w["in_weight"], w["out_weight"] = w["in_weight"].swapaxes(0, 1), np.einsum("de->ed", w["out_weight"])
    for name in ("gamma", "beta"):
        w[name] = w[name].reshape(2, 2, S).swapaxes(0, 1).reshape(4, S)[:, to_ours]
    return {name: w[name] for name in sorted(w)}


def assert_by_amounts(unit, C):
    """Compares amounts of padding with each other, each with new contents; no run without padding."""
    rng = np.random.default_rng(5)
    n = 2 * C + 1
    x = rng.normal(size=(n, 8)) * 2
    for causal in (True, False):
        outs = []
        for T in (n + 1, n + C, 6 * C + 1, 9 * C):
            row = np.vstack([x, rng.uniform(-5, 5, size=(T - n, 8))])
            outs.append(unit(row, np.arange(T) < n, causal=causal, bias=1.0)[:n])
        for out in outs[1:]:
            if np.abs(out - outs[0]).max() > 1e-7:
                raise AssertionError("padding is read")


def assert_at_all_lengths(unit, C):
    for n in range(1, 3 * C + 2):
        x = np.random.default_rng(n).normal(size=(n, 8))
        for causal, more in itertools.product((False, True), (1, C, 4 * C + 1)):
            full = np.concatenate([x, np.zeros((more, 8))])
            full[n:] += np.linspace(-2, 3, 8)
            alone = unit(x, np.full(n, True), causal, -1.5)
            out = unit(full, np.arange(n + more) < n, causal, -1.5)
            np.testing.assert_allclose(out[:n], alone, rtol=1e-6, atol=1e-8)


def sizes_by_norm(embedding_ND, position_TD):
    return [float(np.linalg.norm(table)) / math.sqrt(table.size) for table in (embedding_ND, position_TD)]


def sizes_by_deviation(embedding_ND, position_TD):
    return tuple(math.sqrt(table.var() + table.mean() ** 2) for table in (embedding_ND, position_TD))


def tables(embedding_std, position_scale):
    def start_tables(N, D, T, rng):
        k = np.arange(D // 2)
        angle = np.outer(np.arange(T), 10000.0 ** (-2 * k / D))
        return (
            rng.normal(scale=embedding_std(D), size=(N, D)),
            position_scale(D) * np.hstack([np.sin(angle), np.cos(angle)]),
        )

    return start_tables


def backward_by_map(quad_q, quad_k, lin_q, lin_k, v, bias_CC, C, d_out):
    """Two maps of T x T."""
    i, j = np.indices((len(v), len(v)))
    near, far = (i // C == j // C) & (j <= i), (j // C < i // C) / np.maximum(i // C * C, 1)
    r = near * np.maximum(quad_q @ quad_k.T / C + bias_CC[i % C, j % C], 0)
    dA = d_out @ v.T
    ds, dF = 2 * r * dA, far * dA
    dbias = np.zeros_like(bias_CC)
    np.add.at(dbias, (i % C, j % C), ds)
    dv = (r**2 + far * (lin_q @ lin_k.T)).T @ d_out
    return ds @ quad_k / C, ds.T @ quad_q / C, dF @ lin_k, dF.T @ lin_q, dv, dbias


def backward_by_chunks(quad_q, quad_k, lin_q, lin_k, v, bias_CC, C, d_out):
    """Arrays (G, C, ...) throughout; padded rows have a gradient of zero."""
    T = len(v)

    def chunks(x):
        return np.pad(x, ((0, -T % C), (0, 0))).reshape(-1, C, x.shape[1])

    def rows(x):
        return x.reshape(-1, x.shape[2])[:T]

    qq, kq, ql, kl, vv, dd = map(chunks, (quad_q, quad_k, lin_q, lin_k, v, d_out))
    r = np.tril(np.maximum(np.einsum("gis,gjs->gij", qq, kq) / C + bias_CC, 0))
    ds = 2 * r * np.einsum("gie,gje->gij", dd, vv)
    n = np.maximum(np.arange(len(vv)) * C, 1)[:, None, None]
    kv = np.einsum("gcs,gce->gse", kl, vv)
    kv = np.concatenate([0 * kv[:1], kv.cumsum(0)[:-1]]) / n
    back = np.einsum("gcs,gce->gse", ql, dd) / n
    back = np.concatenate([back[::-1].cumsum(0)[::-1][1:], 0 * back[:1]])
    dv = np.einsum("gij,gie->gje", r**2, dd) + kl @ back
    return [
        rows(ds @ kq / C), rows(ds.swapaxes(1, 2) @ qq / C), rows(dd @ kv.swapaxes(1, 2)),
        rows(vv @ back.swapaxes(1, 2)), rows(dv), ds.sum(0),
    ]  # fmt: skip


def states_by_loop(kv_GSE, doc_G):
    rows, state, count, now = [], None, 0, None
    for kv_SE, doc in zip(kv_GSE, doc_G):
        if doc != now:
            state, count, now = np.zeros_like(kv_SE), 0, doc
        rows.append(state / max(count, 1))
        state, count = state + kv_SE, count + 1
    return np.stack(rows)


def states_in_place(kv_GSE, doc_G):
    out, total, read = np.zeros_like(kv_GSE), np.zeros_like(kv_GSE[0]), 0
    for g in range(len(doc_G)):
        if g and doc_G[g] != doc_G[g - 1]:
            total[:], read = 0, 0
        out[g] = total / max(read, 1)
        total += kv_GSE[g]
        read += 1
    return out


def states_by_document(kv_GSE, doc_G):
    out = np.zeros_like(kv_GSE)
    for d in np.unique(doc_G):
        own = np.flatnonzero(doc_G == d)
        total = np.cumsum(kv_GSE[own], axis=0)
        out[own[1:]] = total[:-1] / np.arange(1, len(own))[:, None, None]
    return out


def states_by_running_mean(kv_GSE, doc_G):
    """A mean that moves: no sum is kept at all."""
    out, seen = np.zeros_like(kv_GSE), 0
    for g in range(1, len(kv_GSE)):
        seen = seen + 1 if doc_G[g] == doc_G[g - 1] else 0
        if seen:
            out[g] = out[g - 1] + (kv_GSE[g - 1] - out[g - 1]) / seen
    return out


# ---------------------------------------------------------------- unusual, and right


def count_by_names(config):
    """A table of all names, counted; a NumPy number."""
    c, E = config, config.dim * config.expansion
    bias = Counter(bias_a=c.qk_dim, bias_b=c.qk_dim) if c.chunk_size >= 512 else Counter(bias=2 * c.chunk_size - 1)
    norm = Counter(gain=c.dim, offset=c.dim) if c.norm == "layer" else Counter(gain=1)
    layers = Counter(into=(c.dim + 1) * (E + E + c.qk_dim), out=(E + 1) * c.dim, gamma=4 * c.qk_dim, beta=4 * c.qk_dim)
    once = norm.total() + c.vocab_size * c.dim + 1  # and one number for the size of the embedding
    return np.int64((norm + bias + layers).total()) * c.depth + once


def adopt_in_torch(port_weights):
    """Tensors, in another order of the names."""
    w = {name: torch.tensor(value) for name, value in port_weights.items()}
    E, S = w["out_weight"].shape[1], w["gamma"].shape[1]
    pairs = torch.cat([torch.arange(0, S, 2), torch.arange(1, S, 2)])
    found = OrderedDict(out_weight=w["out_weight"].mT, out_bias=w["out_bias"], norm_gain=w["norm_gain"])
    for name in ("in_weight", "in_bias"):
        v, u, z = w[name].split([E, E, S])
        found[name] = torch.cat([u, v, z[pairs]]).movedim(0, -1)
    found |= {name: w[name][[0, 2, 1, 3]][:, pairs] for name in ("beta", "gamma")}
    return found | {"bias_weights": w["bias_weights"]}


def adopt_by_matrices(port_weights):
    """Permutations as matrices, and arrays whose columns are neighbours in memory."""
    w = {name: np.array(value, order="F") for name, value in port_weights.items()}
    E, S = w["out_weight"].shape[1], w["gamma"].shape[1]
    turn = np.eye(S)[[*range(0, S, 2), *range(1, S, 2)]]
    swap = np.zeros((2 * E + S,) * 2)
    swap[:E, E : 2 * E] = swap[E : 2 * E, :E] = np.eye(E)
    swap[2 * E :, 2 * E :] = turn
    heads = np.eye(4)[[0, 2, 1, 3]]
    return {**w, "in_weight": w["in_weight"].T @ swap.T, "in_bias": swap @ w["in_bias"], "out_weight": w["out_weight"].T,
            "gamma": heads @ w["gamma"] @ turn.T, "beta": heads @ w["beta"] @ turn.T}  # fmt: skip


def sizes_as_array(embedding_ND, position_TD):
    return np.array([math.hypot(*table.ravel()) / table.size**0.5 for table in (embedding_ND, position_TD)])


def interleaved_tables(N, D, T, rng):
    """Sine and cosine of a frequency are neighbours."""
    position_TD = np.empty((T, D))
    angle = np.arange(T)[:, None] / 10000.0 ** (np.arange(0, D, 2) / D)
    position_TD[:, 0::2], position_TD[:, 1::2] = np.sin(angle), np.cos(angle)
    return [rng.standard_normal((N, D)) * 0.02, position_TD * 0.02]


def backward_in_torch(quad_q, quad_k, lin_q, lin_k, v, bias_CC, C, d_out):
    """Chunk by chunk with torch's products, and no gradient of torch; a state from the left, one from the right."""
    given = quad_q, quad_k, lin_q, lin_k, v, d_out
    parts = [torch.tensor(x).split(C) for x in given]
    bias, found, dbias = torch.tensor(bias_CC), [], torch.zeros(C, C, dtype=torch.float64)
    left = right = torch.zeros(len(lin_q.T), len(v.T), dtype=torch.float64)
    states = []
    for g, (kl, vv) in enumerate(zip(parts[3], parts[4])):
        states.append(left / max(g * C, 1))
        left = torch.addmm(left, kl.T, vv)
    for g, (qq, kq, ql, kl, vv, dd) in reversed([*enumerate(zip(*parts))]):
        n = len(vv)
        r = torch.addmm(bias[:n, :n], qq, kq.T, alpha=1 / C).relu().tril()
        ds = (2 * r).mul(dd @ vv.T)
        dbias[:n, :n] += ds
        found.append((ds @ kq / C, ds.T @ qq / C, dd @ states[g].T, vv @ right.T, r.square().T @ dd + kl @ right))
        right = right + ql.T @ dd / max(g * C, 1)
    return [*(torch.cat(rows[::-1]).numpy() for rows in zip(*found)), dbias.numpy()]


def states_by_groups(kv_GSE, doc_G):
    """Documents are groups of neighbours; each is a chain of sums."""
    rows = []
    for _, group in groupby(zip(doc_G, kv_GSE), key=itemgetter(0)):
        sums = accumulate((kv for _, kv in group), initial=np.zeros_like(kv_GSE[0]))
        rows += [total / max(read, 1) for read, total in enumerate(sums)][:-1]
    return np.array(rows)


RIGHT = {
    "06.1": [count_by_shapes, count_by_width, count_by_names],
    "06.2": [adopt_by_parts, adopt_by_reshape, adopt_in_torch, adopt_by_matrices],
    "06.3": [assert_by_amounts, assert_at_all_lengths],
    "06.4": [
        {"report_sizes": sizes_by_norm, "start_tables": tables(lambda D: D**-0.5 / 1.4, lambda D: D**-0.5)},
        {"report_sizes": sizes_by_deviation, "start_tables": tables(lambda D: 0.03, lambda D: 0.3 * D**-0.5)},
        {"report_sizes": sizes_as_array, "start_tables": interleaved_tables},
    ],
    "06.5": [backward_by_map, backward_by_chunks, backward_in_torch],
    "06.6": [states_by_loop, states_by_running_mean, states_in_place, states_by_document, states_by_groups],
}


# ---------------------------------------------------------------- held-out faults and cases


def held_out_3(rng):
    """Cases that only `grade` tries."""
    C = int(rng.integers(3, 6))

    faults = (
        # a test that never sets causal=True passes this one
        ("finds wrong counts", "(x_TD) @", "(x_TD - causal * x_TD.mean(0)) @"),
        # the flags reach one token too far
        ("finds padding that is read", BOTH, "(near + far) * np.maximum(valid_T, np.append(0, valid_T[:-1]))"),
        # the last token alone reads it
        ("finds padding that is read", "far * valid_T", "far * np.where(i == valid_T.sum() - 1, 1, valid_T)"),
        # a token in the middle alone reads it
        ("finds padding that is read", "far * valid_T", "far * np.where(i == 1, 1, valid_T)"),
        # chunks of padding are read through the sum
        ("finds padding that is read", "far * valid_T", f"far * np.maximum(valid_T, 1 - {HELD})"),
    )
    return [
        version("held out", "passes what is right", padded_unit, C),  # else C would tell the others from the right
        *(version("held out", part, edited(padded_unit, *edits, name="held out"), C) for part, *edits in faults),
    ]


def held_out_4(rng):
    """Cases that only `grade` tries."""
    return [
        start_case("held out", look_at_ratio, "ratio at small D", N=40, D=80, T=350),
        start_case("held out", look_at_places, "alike", N=50, D=96, T=350),
        start_case("held out", look_at_logits, "logits", N=500, D=96, T=310),
        call("held out", "report", rng.normal(size=(5, 6)) - 2, rng.normal(size=(3, 6)), of="report_sizes"),
    ]
