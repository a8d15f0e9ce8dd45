"""Problem set 05, mixed chunk attention: cases, the oracle, wrong answers; the right answers lie in ``solutions``."""

import math
import re

import numpy as np
import torch

from ..exercise import Case, Said, Wrong, call, exercises_of, length_of_text, outcome_of_test, predicted

# ---------------------------------------------------------------- 05.1 to_chunks


def to_chunks(x_TD, C):
    rows = np.zeros((-(-len(x_TD) // C) * C, x_TD.shape[1]))
    rows[: len(x_TD)] = x_TD
    return np.stack([rows[first : first + C] for first in range(0, len(rows), C)])


def cases_1(rng, numbers):
    def case(name, part, T, D, C):
        return call(name, part, rng.normal(size=(T, D)), C, sizes=f"T = {T}, D = {D}, C = {C}")

    return [
        case("a tail", "values", 10, 3, 4),
        case("C divides T", "edge sizes", 8, 5, 4),
        case("fewer tokens than C", "edge sizes", 3, 2, 7),
        case("C = 1", "edge sizes", 5, 4, 1),
        case("one token", "edge sizes", 1, 6, 3),
    ]


def padded(x_TD, C, front=0, whole=False):
    missing = (C - len(x_TD) % C) if whole else -len(x_TD) % C
    return np.pad(x_TD, ((missing, 0) if front else (0, missing), (0, 0)))


def chunks_transposed(x_TD, C):
    rows = padded(x_TD, C)
    return rows.reshape(C, -1, rows.shape[1])


def chunks_strided(x_TD, C):
    return chunks_transposed(x_TD, C).swapaxes(0, 1)


def chunks_front(x_TD, C):
    return padded(x_TD, C, front=1).reshape(-1, C, x_TD.shape[1])


def chunks_whole(x_TD, C):
    return padded(x_TD, C, whole=True).reshape(-1, C, x_TD.shape[1])


def chunks_dropped(x_TD, C):
    return x_TD[: len(x_TD) // C * C].reshape(-1, C, x_TD.shape[1])


def chunks_repeated(x_TD, C):
    return np.pad(x_TD, ((0, -len(x_TD) % C), (0, 0)), mode="edge").reshape(-1, C, x_TD.shape[1])


# ---------------------------------------------------------------- 05.2 earlier_chunks


def earlier_chunks(kv_GSE, lag=1, mean=True):
    out = torch.zeros_like(kv_GSE)
    for g in range(len(kv_GSE)):
        read = kv_GSE[: max(g - lag + 1, 0)]
        if len(read):
            out[g] = read.mean(0) if mean else read.sum(0)
    return out


def cases_2(rng, numbers):
    def draw(G, S, E):
        return torch.from_numpy(rng.normal(size=(G, S, E)))

    own_16 = torch.from_numpy(np.random.default_rng(int(rng.integers(1 << 30))).normal(size=(6, 4, 3)))

    def own_chunk_moves(dtype, key):
        def run(f):
            kv = own_16.to(dtype)
            loud = kv.clone()
            loud[3] *= 30
            before, after = f(kv), f(loud)
            if before.dtype != dtype:
                raise Said("05.2", "other format")
            return bool((before[3] != after[3]).any())

        name = str(dtype).removeprefix("torch.")
        return Case(f"output 3 moves with its own chunk, {name}", "rounding", run, "G = 6", say=key)

    return [
        call("mean over the chunks before", "values", draw(5, 2, 3), sizes="G = 5, S = 2, E = 3"),
        call("sum", "values", draw(6, 3, 2), mean=False, sizes="G = 6, S = 3, E = 2"),
        call("lag of 2", "values", draw(7, 2, 4), lag=2, sizes="G = 7, S = 2, E = 4"),
        call("lag of 3, sum", "edge sizes", draw(5, 4, 2), lag=3, mean=False, sizes="G = 5, S = 4, E = 2"),
        call("one chunk", "edge sizes", draw(1, 3, 2), sizes="G = 1, S = 3, E = 2"),
        call("lag of 4, three chunks", "edge sizes", draw(3, 2, 3), lag=4, sizes="G = 3, S = 2, E = 3"),
        own_chunk_moves(torch.bfloat16, "subtraction"),
        own_chunk_moves(torch.float64, "in float64 and back"),
    ]


def counts(kv_GSE, lag, shift=0):
    return (torch.arange(len(kv_GSE)) - lag + 1 + shift).clamp(min=1)[:, None, None].to(kv_GSE.dtype)


def shifted(kv_GSE, lag):
    lag = min(lag, len(kv_GSE))
    return torch.cat([torch.zeros_like(kv_GSE[:lag]), kv_GSE.cumsum(0)[: len(kv_GSE) - lag]])


def earlier_inclusive(kv_GSE, lag=1, mean=True):
    total = shifted(kv_GSE, lag - 1)
    return total / counts(kv_GSE, lag, 1) if mean else total


def earlier_inclusive_over_g(kv_GSE, lag=1, mean=True):
    total = shifted(kv_GSE, lag - 1)
    return total / counts(kv_GSE, lag) if mean else total


def earlier_late(kv_GSE, lag=1, mean=True):
    return earlier_chunks(kv_GSE, lag + 1, mean)


def earlier_last_only(kv_GSE, lag=1, mean=True):
    lag = min(lag, len(kv_GSE))
    return torch.cat([torch.zeros_like(kv_GSE[:lag]), kv_GSE[: len(kv_GSE) - lag]])


def earlier_one_more(kv_GSE, lag=1, mean=True):
    return shifted(kv_GSE, lag) / (counts(kv_GSE, lag, 1) if mean else 1)


def earlier_any_lag(kv_GSE, lag=1, mean=True):
    return shifted(kv_GSE, lag) / (counts(kv_GSE, 1) if mean else 1)


def earlier_over_all(kv_GSE, lag=1, mean=True):
    return shifted(kv_GSE, lag) / (len(kv_GSE) if mean else 1)


def earlier_nan(kv_GSE, lag=1, mean=True):
    read = (torch.arange(len(kv_GSE)) - lag + 1).clamp(min=0)[:, None, None]
    return shifted(kv_GSE, lag) / (read if mean else 1)


def earlier_rolled(kv_GSE, lag=1, mean=True):
    return torch.roll(kv_GSE.cumsum(0), lag, 0) / (counts(kv_GSE, lag) if mean else 1)


def earlier_sum(kv_GSE, lag=1, mean=True):
    return shifted(kv_GSE, lag)


def earlier_subtraction(kv_GSE, lag=1, mean=True):
    total = kv_GSE.cumsum(0)
    for back in range(lag):
        total = total - shifted(kv_GSE, back) + shifted(kv_GSE, back)  # no change but rounding
        total = total - (torch.cat([torch.zeros_like(kv_GSE[:back]), kv_GSE[: max(len(kv_GSE) - back, 0)]]))
    return total / counts(kv_GSE, lag) if mean else total


def earlier_in_float64(kv_GSE, lag=1, mean=True):
    return earlier_subtraction(kv_GSE.double(), lag, mean).to(kv_GSE.dtype)


def earlier_no_lag(kv_GSE, lag=1, mean=True):
    return earlier_chunks(kv_GSE, 1, mean)


def earlier_in_float32(kv_GSE, lag=1, mean=True):
    wider = torch.promote_types(kv_GSE.dtype, torch.float32)  # what a float32 tensor of counts makes of it
    return shifted(kv_GSE, lag) / (counts(kv_GSE, lag).to(wider) if mean else 1)


# ---------------------------------------------------------------- 05.3 mixed_chunk


def mixed_chunk(
    q_quad, k_quad, q_lin, k_lin, v, bias_CC, C, causal=True, combine="mean", lag=1, *,
    bias_inside=False, scale=None, no_bias=False, mask="after", kv_scale=1.0, over=None, which="earlier", relu=False,
    local=True, global_=True, power=2, turned=False, far_causal=None, kept=None, no_relu=False,
):  # fmt: skip
    """The oracle, as loops. What stands behind the star makes the wrong answers."""
    T, out = len(v), np.zeros_like(v)
    for i in range(T):
        first = i // C * C
        for j in range(first, min(first + C, T)):
            s = q_quad[i] @ k_quad[j]
            b = 0 if no_bias else bias_CC[j - first, i - first] if turned else bias_CC[i - first, j - first]
            divisor = {None: C, "T": T, "sqrt S": math.sqrt(q_quad.shape[1]), "none": 1}[scale]
            future = (causal or mask == "always") and (j > i or (mask == "strict" and j == i))
            if future and mask == "before":
                s = 0
            score = (s + b) / divisor if bias_inside else s / divisor + b
            if local and not (future and mask in ("after", "strict", "always")):
                out[i] += (score if no_relu else max(score, 0)) ** power * v[j]
        if global_:
            how = (causal if far_causal is None else far_causal, kept or combine, lag)
            out[i] += far_part(i, q_lin, k_lin, v, C, *how, kv_scale, over, which, relu)
    return out


def far_part(i, q_lin, k_lin, v, C, causal, combine, lag, kv_scale, over, which, relu):
    """What token i reads through the sum."""
    T, g = len(v), i // C
    G = -(-T // C)
    if not causal:
        read = [h for h in range(G - (lag - 1 if which == "lag anyway" else 0)) if not (which == "others" and h == g)]
    else:
        read = {
            "earlier": range(max(g - lag + 1, 0)), "inclusive": range(max(g - lag + 2, 0)),
            "late": range(max(g - lag, 0)), "last": range(max(g - lag, 0), max(g - lag + 1, 0)),
            "rolled": range(max(g - lag + 1, 0)) if g else range(G), "others": range(max(g - lag + 1, 0)),
            "no lag": range(g), "lag anyway": range(max(g - lag + 1, 0)),
        }[which]  # fmt: skip
    tokens = [j for h in read for j in range(h * C, min((h + 1) * C, T))]
    if not tokens:
        return 0
    counted = len(tokens)
    divisor = {
        None: counted if combine == "mean" else 1, "one more": counted + C if combine == "mean" else 1,
        "sum of means": C if combine == "mean" else 1, "all": T if combine == "mean" else 1,
        "places": len(read) * C if combine == "mean" else 1, "chunks": len(read) if combine == "mean" else 1,
        "excluded": max(counted - C, C) if combine == "mean" else 1,
        "any lag": (g * C if causal else counted) if combine == "mean" else 1,
    }[over]  # fmt: skip
    q, k = (np.maximum(q_lin, 0), np.maximum(k_lin, 0)) if relu else (q_lin, k_lin)
    return sum((q[i] @ k[j]) * v[j] for j in tokens) / divisor * kv_scale


def variant(**changed):
    """A wrong answer: the oracle with something changed."""

    def answer(q_quad, k_quad, q_lin, k_lin, v, bias_CC, C, causal=True, combine="mean", lag=1):
        return mixed_chunk(q_quad, k_quad, q_lin, k_lin, v, bias_CC, C, causal, combine, lag, **changed)

    return answer


def values_unchanged(q_quad, k_quad, q_lin, k_lin, v, bias_CC, C, causal=True, combine="mean", lag=1):
    return v


def cases_3(rng, numbers):
    def case(name, part, T, S, E, C, **how):
        heads = rng.normal(size=(4, T, S))
        given = (*heads, rng.normal(size=(T, E)), rng.normal(size=(C, C)), C)
        said = ", ".join(f"{key} = {value}" for key, value in how.items())
        return call(name, part, *given, **how, sizes=f"T = {T}, S = {S}, E = {E}, C = {C}, {said}")

    return [
        case("causal, three chunks and a tail", "causal", 14, 3, 5, 4, causal=True, combine="mean"),
        case("causal, the sum", "causal", 17, 4, 3, 5, causal=True, combine="sum"),
        case("not causal", "not causal", 15, 5, 3, 4, causal=False, combine="mean"),
        case("not causal, the sum", "not causal", 10, 3, 4, 3, causal=False, combine="sum"),
        case("not causal, a lag that does not count", "not causal", 11, 3, 2, 4, causal=False, combine="mean", lag=2),
        case("a lag of 2", "lag and edge sizes", 18, 3, 4, 4, causal=True, combine="mean", lag=2),
        case("fewer tokens than C", "lag and edge sizes", 3, 4, 5, 7, causal=True, combine="mean"),
        case("C = 1", "lag and edge sizes", 6, 2, 3, 1, causal=True, combine="mean"),
        case("one token", "lag and edge sizes", 1, 3, 4, 2, causal=False, combine="mean"),
    ]


# ---------------------------------------------------------------- 05.4 assert_causal_and_complete


def layer(C, combine="mean", size=1.0, lin=1.0, mask="after", which="earlier", local=True, global_=True):
    """A layer of one argument, x (T, 8): heads and values by fixed matrices, local weights that are never closed."""
    rng = np.random.default_rng(5)
    matrices = rng.normal(size=(4, 8, 3)) / math.sqrt(8)
    value, bias = rng.normal(size=(8, 8)) / math.sqrt(8), 20 + np.abs(rng.normal(size=(C, C)))

    def fn(x_TD):
        i, j = np.indices((len(x_TD), len(x_TD)))
        own, g, h = i // C == j // C, i // C, j // C
        near = own & {"after": j <= i, "none": True, "strict": j < i}[mask]
        far = {"earlier": h < g, "inclusive": h <= g, "late": h < g - 1, "rolled": (h < g) | (g == 0)}[which]
        quad_q, quad_k, lin_q, lin_k = (x_TD @ m for m in matrices)
        weights = local * near * np.maximum(quad_q @ quad_k.T / C + bias[i % C, j % C], 0) ** 2
        counts = np.maximum(far.sum(1, keepdims=True), 1) if combine == "mean" else 1
        weights = weights + global_ * far * (lin * lin_q @ lin_k.T) / counts
        return size * weights @ (x_TD @ value)

    return fn


def leak_in_the_tail(C):
    right, wrong = layer(C), layer(C, mask="none")

    def fn(x_TD):
        full, out = len(x_TD) // C * C, right(x_TD)
        out[full:] = wrong(x_TD)[full:]
        return out

    return fn


def by_subtraction(C):
    rng = np.random.default_rng(6)
    m_q, m_k, m_v = rng.normal(size=(3, 8, 8)) / math.sqrt(8)
    near = layer(C, global_=False)

    def fn(x_TD):
        T, out = len(x_TD), near(x_TD)
        rows = np.pad(x_TD, ((0, -T % C), (0, 0))).reshape(-1, C, 8)
        kv = np.einsum("gcs,gce->gse", rows @ m_k, rows @ m_v)
        before = np.cumsum(kv, 0) - kv  # the own chunk is put in and taken out again
        far = ((rows @ m_q) @ before).reshape(-1, 8)[:T]
        return out + far

    return fn


def over_a_border(C):
    """Output 1 reads the first token of the next chunk, and no other output reads a later token."""
    right = layer(C)

    def fn(x_TD):
        out = right(x_TD)
        out[1:2] += 1e-6 * x_TD[C : C + 1].sum() if len(x_TD) > C else 0
        return out

    return fn


def one_output_forgets(C):
    """The first output of chunk 2 does not read chunk 0."""
    right = layer(C)

    def fn(x_TD):
        out, shorter = right(x_TD), x_TD.copy()
        shorter[:C] = 0
        out[2 * C : 2 * C + 1] = right(shorter)[2 * C : 2 * C + 1]
        return out

    return fn


RIGHT_4 = {
    "the mean over earlier chunks": layer,
    "the bare sum": lambda C: layer(C, combine="sum"),
    "small weights": lambda C: layer(C, size=1e-3),
}
FAULTS_4 = {
    "inclusive sum": lambda C: layer(C, which="inclusive"),
    "no local mask": lambda C: layer(C, mask="none"),
    "a leak in the last partial chunk only": leak_in_the_tail,
    "an inclusive sum with weights of 0.0001": lambda C: layer(C, which="inclusive", lin=1e-4),
    "subtraction instead of a shift": by_subtraction,
    "one output reads over a border": over_a_border,
    "one output forgets a chunk": one_output_forgets,
    "one chunk too far back": lambda C: layer(C, which="late"),
    "local only": lambda C: layer(C, global_=False),
    "global only": lambda C: layer(C, local=False),
    "diagonal hidden": lambda C: layer(C, mask="strict"),
    "rolled": lambda C: layer(C, which="rolled"),
}


def test_case(name, part, make, C):
    return Case(name, part, lambda test: outcome_of_test(test, make(C), C), f"C = {C}", say=name)


def cases_4(rng, numbers):
    C = int(rng.integers(3, 6))
    leaks = [*FAULTS_4][:6]
    return [
        *(test_case(name, "passes what is right", make, C) for name, make in RIGHT_4.items()),
        *(test_case(name, "finds leaks", FAULTS_4[name], C) for name in leaks),
        *(test_case(name, "finds gaps", make, C) for name, make in FAULTS_4.items() if name not in leaks),
    ]


def moved(fn, x_TD, j, amount=3.0):
    """Which outputs move when token j changes."""
    before, changed = fn(x_TD), x_TD.copy()
    changed[j] += amount * (1 + np.arange(x_TD.shape[1]))
    return (fn(changed) != before).any(1)


def table_of(fn, T, seed=0):
    x = np.random.default_rng(seed).normal(size=(T, 8))
    return np.array([moved(fn, x, j) for j in range(T)]).T


def assert_causal_and_complete(fn, C):
    for T in (3 * C + max(C - 1, 1), 4 * C):
        assert (table_of(fn, T) == np.tri(T, dtype=bool)).all()


def weak_last_token(fn, C):
    T = 3 * C
    x = np.random.default_rng(0).normal(size=(T, 8))
    assert not moved(fn, x, T - 1)[: T - 1].any()


def weak_first_of_chunk(fn, C):
    T = 3 * C + 2
    x = np.random.default_rng(0).normal(size=(T, 8))
    for j in range(0, T, C):
        assert not moved(fn, x, j)[:j].any() and moved(fn, x, j)[j:].all()


def weak_one_chunk(fn, C):
    assert (table_of(fn, C) == np.tri(C, dtype=bool)).all()


def weak_full_chunks(fn, C):
    assert (table_of(fn, 4 * C) == np.tri(4 * C, dtype=bool)).all()


def weak_allclose(fn, C):
    T = 3 * C + max(C - 1, 1)
    x = np.random.default_rng(0).normal(size=(T, 8))
    for j in range(T):
        before, changed = fn(x), x.copy()
        changed[j] += 3.0 * (1 + np.arange(8))
        after = fn(changed)
        assert np.allclose(before[:j], after[:j])
        assert all(not np.array_equal(before[i], after[i]) for i in range(j, T))


def weak_leaks_only(fn, C):
    T = 3 * C + max(C - 1, 1)
    assert not np.triu(table_of(fn, T), 1).any()


def weak_last_output(fn, C):
    table = table_of(fn, 4 * C + 2)
    assert not np.triu(table, 1).any() and table[-1].all() and table.diagonal().all()


def weak_neighbour(fn, C):
    table = table_of(fn, 4 * C + 2)
    assert not table.diagonal(1).any() and table[np.tri(len(table), dtype=bool)].all()


def weak_tail_of_one(fn, C):
    assert (table_of(fn, 4 * C + 1) == np.tri(4 * C + 1, dtype=bool)).all()


def weak_one_reading(fn, C):
    assert_causal_and_complete(fn, C)
    x = np.random.default_rng(0).normal(size=(3 * C + 1, 8))
    assert np.allclose(fn(x), layer(C)(x)) or np.abs(fn(x)).max() < 10


# ---------------------------------------------------------------- 05.5 three suspects


def suspect_one(q_GCS, k_GCS, v_GCE):
    A_GCC = torch.relu(q_GCS @ k_GCS.mT / q_GCS.shape[1]).square().tril()
    kv_GSE = (k_GCS.mT @ v_GCE).cumsum(0)
    return A_GCC @ v_GCE + q_GCS @ kv_GSE


def suspect_two(q_GCS, k_GCS, v_GCE):
    A_GCC = torch.relu(q_GCS @ k_GCS.mT / q_GCS.shape[1]).square().tril()
    kv_GSE = k_GCS.mT @ v_GCE
    kv_GSE = kv_GSE.cumsum(0) - kv_GSE
    return A_GCC @ v_GCE + q_GCS @ kv_GSE


def suspect_three(q_GCS, k_GCS, v_GCE):
    A_GCC = torch.relu(q_GCS @ k_GCS.mT / (q_GCS.shape[0] * q_GCS.shape[1])).square().tril()
    kv_GSE = k_GCS.mT @ v_GCE
    kv_GSE = torch.cat([torch.zeros_like(kv_GSE[:1]), kv_GSE.cumsum(0)[:-1]])
    return A_GCC @ v_GCE + q_GCS @ kv_GSE


def honest(q_GCS, k_GCS, v_GCE):
    A_GCC = torch.relu(q_GCS @ k_GCS.mT / q_GCS.shape[1]).square().tril()
    kv_GSE = k_GCS.mT @ v_GCE
    kv_GSE = torch.cat([torch.zeros_like(kv_GSE[:1]), kv_GSE.cumsum(0)[:-1]])
    return A_GCC @ v_GCE + q_GCS @ kv_GSE


def local_only(q_GCS, k_GCS, v_GCE):
    return torch.relu(q_GCS @ k_GCS.mT / q_GCS.shape[1]).square().tril() @ v_GCE


def one_detached(q_GCS, k_GCS, v_GCE):
    kv_GSE = k_GCS.mT @ v_GCE
    return local_only(q_GCS, k_GCS, v_GCE) + q_GCS @ (kv_GSE.cumsum(0) - kv_GSE + kv_GSE.detach())


def two_in_float64(q_GCS, k_GCS, v_GCE):
    return suspect_two(q_GCS.double(), k_GCS.double(), v_GCE.double())


def subtracted_in_float64(q_GCS, k_GCS, v_GCE):
    return suspect_two(q_GCS.double(), k_GCS.double(), v_GCE.double()).to(v_GCE.dtype)


def one_rolled(q_GCS, k_GCS, v_GCE):
    return local_only(q_GCS, k_GCS, v_GCE) + q_GCS @ (k_GCS.mT @ v_GCE).cumsum(0).roll(1, 0)


def three_over(divisor):
    def answer(q_GCS, k_GCS, v_GCE):
        A_GCC = torch.relu(q_GCS @ k_GCS.mT / divisor(q_GCS)).square().tril()
        return A_GCC @ v_GCE + honest(q_GCS, k_GCS, v_GCE) - local_only(q_GCS, k_GCS, v_GCE)

    return answer


def three_by_position(q_GCS, k_GCS, v_GCE):
    C = q_GCS.shape[1]
    A_GCC = torch.relu(q_GCS @ k_GCS.mT / torch.arange(1, C + 1)[:, None]).square().tril()
    return A_GCC @ v_GCE + honest(q_GCS, k_GCS, v_GCE) - local_only(q_GCS, k_GCS, v_GCE)


def cases_5(rng, numbers):
    def heads(G, C, dtype=torch.float64, loud=None):
        q, k, v = (torch.from_numpy(rng.normal(size=(G, C, width))).to(dtype) for width in (3, 3, 4))
        if loud is not None:
            v[loud] *= 30
        return q, k, v

    def own_chunk_moves(name, dtype):
        q, k, v = heads(5, 4, dtype)
        louder = v.clone()
        louder[3, 3] *= 30  # the last token of chunk 3: its tokens before must not move

        def run(answers):
            f = getattr(answers, name)
            before, after = f(q, k, v), f(q, k, louder)
            if before.dtype != dtype:
                raise Said("05.5", "other format")
            return bool((before[:3] != after[:3]).any() or (before[3, :3] != after[3, :3]).any())

        form = str(dtype).removeprefix("torch.")
        say = f"{name} left" if dtype == torch.bfloat16 else "in float64 and back"
        return Case(f"outputs move with a later token, {form}", name, run, "G = 5, C = 4", say=say)

    q, k, v = heads(4, 4)

    def gradient_leaks(answers):
        value = v.clone().requires_grad_()
        answers.suspect_one(q, k, value)[2, 0].sum().backward()
        return bool(value.grad[2, 1:].any() or value.grad[3].any())

    cases = []
    for name in ("suspect_one", "suspect_two", "suspect_three"):
        cases += [call("values", name, *heads(5, 4), of=name, sizes="G = 5, C = 4"),
                  call("a longer text", name, *heads(7, 3), of=name, sizes="G = 7, C = 3"),
                  call("one chunk", name, *heads(1, 5), of=name, sizes="G = 1, C = 5"),
                  call("C = 1", name, *heads(6, 1), of=name, sizes="G = 6, C = 1"),
                  own_chunk_moves(name, torch.bfloat16), own_chunk_moves(name, torch.float64)]  # fmt: skip
    # behind the values, which say more about an answer that is None or zero
    return [*cases, Case("an output has a gradient by later tokens", "suspect_one", gradient_leaks, "G = 4, C = 4")]


# ---------------------------------------------------------------- 05.6 what the chunk decides


def draw_6(rng):
    C, G = int(rng.integers(5, 12)), int(rng.integers(5, 9))
    return {"T": G * C, "C": C, "t": int(rng.integers(2, G - 1)) * C + int(rng.integers(1, C - 1)), "S": 128, "E": 1536}


def answers_6(n):
    return {
        "a": n["t"] % n["C"] + 1, "b": n["t"] // n["C"], "c": round(2 * n["S"] * n["E"] / (n["S"] + n["E"])),
        "d": True, "e": False, "f": "linear attention and the token itself",
    }  # fmt: skip


# ---------------------------------------------------------------- 05.7 sum or mean?


def cases_7(rng, numbers):
    def numbers_in(text):
        if not re.search(r"(?<![\d.])31(?![\d])|thirty-one", str(text)):
            raise Said("all", "needs", what="the factor in the last chunk at 8192 tokens")
        if not re.search(r"(?<![\d.])3(?![\d])|\bthree\b", str(text)):
            raise Said("all", "needs", what="the factor in the last chunk at 1024 tokens")
        return True

    return [length_of_text(30, 80), Case("numbers", "text", numbers_in)]


MODEL_ANSWER = (
    "Adding means makes the global part of chunk g about g - 1 times too large. At 1024 tokens there are 4 chunks, so "
    "the last one has a factor of 3. The scale and offset of the linear heads and the output matrix were learnt with "
    "these factors, so the loss looked fine. At 8192 tokens the last of 32 chunks has a factor of 31, which no "
    "parameter has met. The global part then drowns the local one."
)

EXERCISES = exercises_of("05", {
    "05.1": dict(
        cases=cases_1, right=to_chunks,
        wrong=(
            Wrong("strided", chunks_strided), Wrong("C first", chunks_transposed), Wrong("front", chunks_front),
            Wrong("whole chunk", chunks_whole), Wrong("tail dropped", chunks_dropped),
            Wrong("repeated", chunks_repeated),
        ),
    ),
    "05.2": dict(
        cases=cases_2, right=earlier_chunks,
        wrong=(
            Wrong("inclusive", earlier_inclusive), Wrong("inclusive", earlier_inclusive_over_g),
            Wrong("late", earlier_late), Wrong("last only", earlier_last_only), Wrong("one more", earlier_one_more),
            Wrong("any lag", earlier_any_lag), Wrong("over all", earlier_over_all), Wrong("nan", earlier_nan),
            Wrong("rolled", earlier_rolled), Wrong("sum", earlier_sum), Wrong("subtraction", earlier_subtraction),
            Wrong("in float64 and back", earlier_in_float64), Wrong("no lag", earlier_no_lag),
            Wrong("other format", earlier_in_float32), Wrong("input", lambda kv_GSE, lag=1, mean=True: kv_GSE),
        ),
    ),
    "05.3": dict(
        cases=cases_3, right=variant(),
        wrong=(
            Wrong("bias inside", variant(bias_inside=True)), Wrong("not over C", variant(scale="none")),
            Wrong("over T", variant(scale="T")), Wrong("over sqrt S", variant(scale="sqrt S")),
            Wrong("bias forgotten", variant(no_bias=True)), Wrong("mask before", variant(mask="before")),
            Wrong("no mask", variant(mask="none")), Wrong("strict", variant(mask="strict")),
            Wrong("summary not over C", variant(over="chunks")), Wrong("inclusive", variant(which="inclusive")),
            Wrong("inclusive over g", variant(which="inclusive", over="excluded")),
            Wrong("one more", variant(over="one more")), Wrong("sum of means", variant(over="sum of means")),
            Wrong("rolled", variant(which="rolled")), Wrong("last only", variant(which="last")),
            Wrong("late", variant(which="late")), Wrong("over all", variant(over="all")),
            Wrong("own left out", variant(which="others")), Wrong("places", variant(over="places")),
            Wrong("relu", variant(relu=True)), Wrong("local only", variant(global_=False)),
            Wrong("global only", variant(local=False)), Wrong("relu once", variant(power=1)),
            Wrong("no relu", variant(no_relu=True)),
            Wrong("bias turned", variant(turned=True)), Wrong("always masked", variant(mask="always")),
            Wrong("always earlier", variant(far_causal=True)), Wrong("no lag", variant(which="no lag")),
            Wrong("any lag", variant(over="any lag")), Wrong("lag anyway", variant(which="lag anyway")),
            Wrong("always the mean", variant(kept="mean")), Wrong("always the sum", variant(kept="sum")),
            Wrong("input", values_unchanged),
        ),
    ),
    "05.4": dict(
        cases=cases_4, right=assert_causal_and_complete, shut=False,
        wrong=(
            Wrong("weak: last token", weak_last_token), Wrong("weak: first of chunk", weak_first_of_chunk),
            Wrong("weak: one chunk", weak_one_chunk), Wrong("weak: full chunks", weak_full_chunks),
            Wrong("weak: allclose", weak_allclose), Wrong("weak: leaks only", weak_leaks_only),
            Wrong("weak: one reading", weak_one_reading), Wrong("weak: last output", weak_last_output),
            Wrong("weak: neighbour", weak_neighbour), Wrong("weak: full chunks", weak_tail_of_one),
        ),
    ),
    "05.5": dict(
        cases=cases_5,
        right={"suspect_one": honest, "suspect_two": honest, "suspect_three": honest},
        given={"suspect_one": suspect_one, "suspect_two": suspect_two, "suspect_three": suspect_three},
        wrong=(
            Wrong("suspect_one left", suspect_one, of="suspect_one"),
            Wrong("suspect_two left", suspect_two, of="suspect_two"),
            Wrong("suspect_three left", suspect_three, of="suspect_three"),
            Wrong("over-mended", local_only, of="suspect_one"), Wrong("over-mended", local_only, of="suspect_two"),
            Wrong("over-mended", local_only, of="suspect_three"), Wrong("detached", one_detached, of="suspect_one"),
            Wrong("other format", two_in_float64, of="suspect_two"),
            Wrong("by position", three_by_position, of="suspect_three"),
            Wrong("in float64 and back", subtracted_in_float64, of="suspect_two"),
            Wrong("by subtraction", suspect_two, of="suspect_one"), Wrong("rolled", one_rolled, of="suspect_one"),
            Wrong("no divisor", three_over(lambda q: 1), of="suspect_three"),
            Wrong("over S", three_over(lambda q: q.shape[2]), of="suspect_three"),
            *(Wrong("input", lambda q_GCS, k_GCS, v_GCE: v_GCE, of=f"suspect_{n}") for n in ("one", "two", "three")),
        ),
    ),
    "05.6": dict(
        cases=lambda rng, n: [predicted(key) for key in "abcdef"], right=answers_6, draw=draw_6, tolerance=0.005,
        wrong=(
            Wrong("a: C", lambda n: n["C"], of="a"), Wrong("a: from 0", lambda n: n["t"] % n["C"], of="a"),
            Wrong("b: one more", lambda n: n["t"] // n["C"] + 1, of="b"), Wrong("c: S or E", lambda n: n["S"], of="c"),
            Wrong("c: S or E", lambda n: n["E"], of="c"),
            Wrong("c: one product", lambda n: round(n["S"] * n["E"] / (n["S"] + n["E"])), of="c"),
            Wrong("d: different", lambda n: False, of="d"), Wrong("e: the same", lambda n: True, of="e"),
            Wrong("f: exactly", lambda n: "linear attention", of="f"),
        ),
    ),
    "05.7": dict(
        cases=cases_7,
    ),
})  # fmt: skip
