"""Set 05: other right answers, and what only `grade` tries."""

import math
from fractions import Fraction

import numpy as np
import torch

from flash_course import personal
from flash_course.checks.edits import edited
from flash_course.checks.exercise import call
from flash_course.checks.proving import version
from flash_course.checks.sets.set_05 import GAPS_4, LEAKS_4, layer

# ---------------------------------------------------------------- right answers, written differently


def to_chunks_by_rows(x_TD, C):
    G = (len(x_TD) + C - 1) // C
    out = np.zeros((G, C, x_TD.shape[1]))
    for t, row in enumerate(x_TD):
        out[t // C, t % C] = row
    return out


def to_chunks_by_pad(x_TD, C):
    return np.stack(np.split(np.pad(x_TD, ((0, -len(x_TD) % C), (0, 0))), -(-len(x_TD) // C)))


def earlier_by_map(kv_GSE, lag=1, mean=True):
    G = len(kv_GSE)
    sees = torch.ones(G, G, dtype=kv_GSE.dtype).tril(-lag)
    if mean:
        sees = sees / sees.sum(1, keepdim=True).clamp(min=1)
    return torch.einsum("gh,hse->gse", sees, kv_GSE)


def earlier_in_place(kv_GSE, lag=1, mean=True):
    out, total = torch.zeros_like(kv_GSE), kv_GSE.cumsum(0)
    if lag < len(kv_GSE):
        out[lag:] = total[:-lag]
    if mean:
        out /= (torch.arange(len(kv_GSE)) - lag + 1).clamp(min=1)[:, None, None]
    return out


def mixed_with_zero_mask(quad_q, quad_k, lin_q, lin_k, v, bias_CC, C, causal=True, combine="mean", lag=1):
    """The mask is a 0 behind the bias and before relu²."""
    T, out, sums = len(v), [], [np.zeros((lin_k.shape[1], v.shape[1]))]
    for first in range(0, T, C):
        sums.append(sums[-1] + lin_k[first : first + C].T @ v[first : first + C])
    for first in range(0, T, C):
        own = slice(first, min(first + C, T))
        n = own.stop - first
        scores = quad_q[own] @ quad_k[own].T / C + bias_CC[:n, :n]
        near = np.maximum(np.where(np.tri(n, dtype=bool) | (not causal), scores, 0), 0) ** 2 @ v[own]
        chunks = max(first // C - lag + 1, 0) if causal else len(sums) - 1
        tokens = min(chunks * C, T)
        state = sums[chunks] / (max(tokens, 1) if combine == "mean" else 1)
        out.append(near + lin_q[own] @ state)
    return np.concatenate(out)


def assert_by_table(fn, C):
    T = 4 * C + 2
    rng = np.random.default_rng(3)
    x = rng.normal(size=(T, 8))
    table = np.zeros((T, T), bool)
    for j in range(T):
        for _ in range(2):
            changed = x.copy()
            changed[j] = rng.normal(size=8) * 4
            table[:, j] |= (fn(changed) != fn(x)).any(1)
    assert np.array_equal(table, np.tri(T, dtype=bool))
    assert np.allclose(fn(x)[: C + 1], fn(x[: C + 1]), rtol=1e-8)


def assert_at_two_lengths(fn, C):
    for T in (3 * C + 2, 5 * C - 1):
        x = np.random.default_rng(T).normal(size=(T, 8))
        before = fn(x)
        for j in range(T):
            y = x.copy()
            y[j] *= -3
            after = fn(y)
            for i in range(T):
                if np.array_equal(before[i], after[i]) != (i < j):
                    raise AssertionError(f"output {i}, token {j}")
            if j:
                np.testing.assert_allclose(fn(x[:j]), before[:j], atol=1e-9 * np.abs(before).max())


def assert_with_prefixes(fn, C):
    T = 4 * C + 2
    x, rng = np.random.default_rng(1).normal(size=(T, 8)), np.random.default_rng(2)
    y = fn(x)
    for j in range(T):
        changed = x.copy()
        changed[j] = rng.normal(size=8)
        moved = (fn(changed) != y).any(1)
        assert not moved[:j].any() and moved[j:].all()
    for n in range(1, T):
        assert np.abs(fn(x[:n]) - y[:n]).max() < 1e-9


def mended_by_loop(q_GCS, k_GCS, v_GCE):
    out, state = [], torch.zeros_like(k_GCS[0].mT @ v_GCE[0])
    for q, k, v in zip(q_GCS, k_GCS, v_GCE):
        out.append(torch.relu(q @ k.mT / len(q)).square().tril() @ v + q @ state)
        state = state + k.mT @ v
    return torch.stack(out)


def mended_by_pad(q_GCS, k_GCS, v_GCE):
    near = ((q_GCS / q_GCS.shape[1]) @ k_GCS.mT).clamp(min=0).pow(2).tril() @ v_GCE
    kv = torch.nn.functional.pad((k_GCS.mT @ v_GCE).cumsum(0), (0, 0, 0, 0, 1, 0))[:-1]
    return near + q_GCS @ kv


# ---------------------------------------------------------------- unusual, and right


def to_chunks_flat(x_TD, C):
    """One long row of numbers, written into zeros, with more digits than asked for."""
    out = np.zeros((math.ceil(len(x_TD) / C), C, len(x_TD.T)), np.longdouble)
    out.flat[: x_TD.size] = x_TD.flat
    return out


def to_chunks_by_recursion(x_TD, C):
    if len(x_TD) <= C:
        return np.vstack([x_TD, *[np.zeros_like(x_TD[:1])] * (C - len(x_TD))])[np.newaxis]
    return np.concatenate([to_chunks_by_recursion(x_TD[:C], C), to_chunks_by_recursion(x_TD[C:], C)])


def earlier_by_choice(kv_GSE, lag=1, mean=True):
    """All pairs of chunks, of which those that are read are chosen."""
    g = torch.arange(len(kv_GSE))
    reads = (g <= g[:, None] - lag)[:, :, None, None]
    total = torch.where(reads, kv_GSE, torch.zeros((), dtype=kv_GSE.dtype)).sum(1)
    return total / reads.sum(1).clamp(min=1) if mean else total


def earlier_by_places(kv_GSE, lag=1, mean=True):
    """All sums, the empty one first; each chunk takes the one at its place."""
    place = (torch.arange(len(kv_GSE)) + 1 - lag).clip(0)
    sums = torch.nn.functional.pad(kv_GSE.cumsum(0), (0, 0, 0, 0, 1, 0)).index_select(0, place)
    return torch.where(place.bool()[:, None, None] & mean, sums / place.clip(1)[:, None, None], sums)


def mixed_in_torch(quad_q, quad_k, lin_q, lin_k, v, bias_CC, C, causal=True, combine="mean", lag=1):
    T = len(v)
    pad = (0, 0, 0, -T % C)
    q, k, ql, kl, v = (torch.nn.functional.pad(torch.tensor(x), pad).unflatten(0, (-1, C))
                       for x in (quad_q, quad_k, lin_q, lin_k, v))  # fmt: skip
    s = torch.baddbmm(torch.tensor(bias_CC).expand(len(q), C, C), q, k.mT, alpha=1 / C).clamp(min=0)
    near = (s.tril() if causal else s).square().bmm(v)
    kv, count = kl.mT @ v, torch.tensor([min(C, T - first) for first in range(0, T, C)])
    if causal:
        kv, count = (
            torch.cat([x.new_zeros(min(lag, len(x)), *x.shape[1:]), x.cumsum(0)])[: len(x)] for x in (kv, count)
        )
    else:
        kv, count = (x.sum(0, keepdim=True).expand_as(x) for x in (kv, count))
    far = ql @ (kv / count.clamp(min=1)[:, None, None] if combine == "mean" else kv)
    return (near + far).flatten(0, 1)[:T].numpy()


@torch.no_grad()
def mended_into_out(q_GCS, k_GCS, v_GCE):
    """Without gradients, and with `out=`."""
    A = torch.relu(q_GCS @ k_GCS.mT / q_GCS.shape[1]).square().tril()
    out, sums = torch.empty_like(v_GCE), torch.zeros_like(k_GCS.mT @ v_GCE)
    torch.cumsum((k_GCS.mT @ v_GCE)[:-1], 0, out=sums[1:])
    torch.add(A @ v_GCE, q_GCS @ sums, out=out)
    return out


def mended_in_numpy(q_GCS, k_GCS, v_GCE):
    """float32 holds each bfloat16 number; a sum over earlier chunks alone, made anew for each."""
    q, k, v = (x.detach().to(torch.promote_types(x.dtype, torch.float32)).numpy() for x in (q_GCS, k_GCS, v_GCE))
    near = np.tril(np.maximum(q @ k.swapaxes(1, 2) / len(q[0]), 0)) ** 2 @ v
    states = [
        sum((k[h].T @ v[h] for h in range(g)), np.zeros((k.shape[2], v.shape[2]), k.dtype)) for g in range(len(q))
    ]
    return torch.from_numpy(near + q @ np.stack(states)).to(v_GCE.dtype)


_n = personal("05.6")
WORDS = {"a": np.int64(_n["t"] % _n["C"] + 1), "b": float(_n["t"] // _n["C"]),
         "c": Fraction(2 * _n["S"] * _n["E"], _n["S"] + _n["E"]), "d": np.True_, "e": np.array(False), "f": "Linear attention and the token itself."}  # fmt: skip
TEXT = """
At 1024 tokens the last of four chunks has three earlier ones, so a sum of means is three times the mean at most, and what
is learnt takes that up. At 8192 tokens there are thirty-one earlier chunks: the global part is thirty-one times too large.
"""
FOUND = dict(one="token", two="rounding", three="chunks")


def suspects(mended, found=FOUND):
    return {"suspect_one": mended, "suspect_two": mended, "suspect_three": mended, "found_05_5": found}


RIGHT = {
    "05.1": [to_chunks_by_rows, to_chunks_by_pad, to_chunks_flat, to_chunks_by_recursion],
    "05.2": [earlier_by_map, earlier_in_place, earlier_by_choice, earlier_by_places],
    "05.3": [mixed_with_zero_mask, mixed_in_torch],
    "05.4": [assert_by_table, assert_at_two_lengths, assert_with_prefixes],
    "05.5": [
        suspects(mended_by_loop),
        suspects(mended_by_pad, {"one": "Token", "two": "ROUNDING", "three": "chunks "}),
        suspects(mended_into_out),
        suspects(mended_in_numpy),
    ],
    "05.6": [WORDS],
    "05.7": [TEXT, TEXT.replace("thirty-one", "thirty one")],
}


# ---------------------------------------------------------------- held-out faults and cases


def held_out_4(rng):
    """Cases that only `grade` tries."""

    def last_row_inclusive(C):
        right, wrong = layer(C), LEAKS_4["inclusive sum"](C)

        def fn(x_TD):
            out = right(x_TD)
            out[C - 1 :: C] = wrong(x_TD)[C - 1 :: C]  # harmless there: no later token of the chunk is left
            out[C::C] = wrong(x_TD)[C::C]
            return out

        return fn

    def forgets_chunk_zero(C):
        right, near = layer(C), GAPS_4["local only"](C)

        def fn(x_TD):
            out = right(x_TD)
            out[3 * C :] = near(x_TD)[3 * C :]
            return out

        return fn

    def counts_the_chunks(C):
        """How many chunks there are shows from the third on."""
        right = layer(C)
        return lambda x_TD: right(x_TD) * (1 + 1e-4 * max(-(-len(x_TD) // C) - 2, 0))

    def last_channel_leaks(C):
        right, wrong = layer(C), LEAKS_4["inclusive sum"](C)
        return lambda x_TD: np.concatenate([right(x_TD)[:, :7], wrong(x_TD)[:, 7:]], 1)

    # scores of a short last chunk are divided by its length
    over_its_length = edited(layer, "/ C + bias", "/ np.minimum(C, len(x_TD) - g * C) + bias", name="held out")
    # one output does not read one token
    forgets_one = edited(layer, "h < g", "(h < g) & ~((i == 2 * C + 1) & (j == 1))", name="held out")
    leaks = [last_row_inclusive, LEAKS_4["a leak in the last partial chunk only"], counts_the_chunks]
    leaks += [last_channel_leaks, over_its_length]
    C = int(rng.integers(3, 6))
    cases = [version("held out", "passes what is right", layer, C)]  # else C would tell the others from the right
    cases += [version("held out", "finds leaks", make, C) for make in leaks]
    return [*cases, *(version("held out", "finds gaps", make, C) for make in (forgets_chunk_zero, forgets_one))]


def held_out_5(rng):
    """Cases that only `grade` tries."""
    q, k = torch.from_numpy(rng.normal(size=(2, 6, 5, 3)))
    v = torch.from_numpy(rng.normal(size=(6, 5, 4)))
    suspects = ("suspect_one", "suspect_two", "suspect_three")
    return [call("held out", name, q, k, v, of=name, sizes="G = 6, C = 5") for name in suspects]
