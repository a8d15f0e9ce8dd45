"""Set 04: other right answers, and what only `grade` tries."""

import contextlib
import copy
import itertools
import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import torch

from flash_course import personal
from flash_course.checks.compare import difference
from flash_course.checks.exercise import Case, Said, call
from flash_course.checks.sets.set_04 import apart

# ---------------------------------------------------------------- right answers, written differently


def reordered_by_token(q, k, v):
    state = np.zeros((k.shape[1], v.shape[1]))
    for k_S, v_E in zip(k, v):
        state = state + k_S[:, None] * v_E
    return np.stack([q_S @ state for q_S in q])


def reordered_by_einsum(q, k, v):
    return np.einsum("ts,se->te", q, np.einsum("ts,te->se", k, v))


def reordered_by_column(q, k, v):
    return np.stack([q @ (k.T @ v[:, e]) for e in range(v.shape[1])], axis=1)


def recurrent_by_text(q, k, v, state=None):
    """One text after the other, with lists."""
    B, T, S = q.shape
    last = np.zeros((B, S, v.shape[2])) if state is None else np.array(state)
    out = np.empty(v.shape)
    for b, t in itertools.product(range(B), range(T)):
        last[b] += np.outer(k[b, t], v[b, t])
        out[b, t] = np.dot(last[b].T, q[b, t])
    return out, last


def recurrent_by_running_sum(q, k, v, state=None):
    """All states at once."""
    start = np.zeros((len(q), 1, q.shape[2], v.shape[2])) if state is None else state[:, None]
    states = np.concatenate([start, k[..., None] * v[:, :, None]], axis=1).cumsum(1)
    return np.einsum("bts,btse->bte", q, states[:, 1:]), states[:, -1]


def chunked_without_a_loop(q, k, v, C):
    """All chunks at once, the tail filled up with zeros."""
    B, T, E = v.shape
    q_c, k_c, v_c = (np.pad(x, ((0, 0), (0, -T % C), (0, 0))).reshape(B, -1, C, x.shape[2]) for x in (q, k, v))
    written = np.einsum("bgcs,bgce->bgse", k_c, v_c)
    before = np.concatenate([np.zeros_like(written[:, :1]), np.cumsum(written, 1)[:, :-1]], axis=1)
    near = np.tril(np.einsum("bgis,bgjs->bgij", q_c, k_c)) @ v_c
    return (near + q_c @ before).reshape(B, -1, E)[:, :T]


def chunked_by_parts(q, k, v, C):
    """With lists of parts, and a mask that multiplies."""
    borders = range(C, q.shape[1], C)
    state, parts = 0.0, []
    for q_c, k_c, v_c in zip(*(np.split(x, borders, axis=1) for x in (q, k, v))):
        n = q_c.shape[1]
        parts.append((q_c @ k_c.transpose(0, 2, 1) * np.tri(n)) @ v_c)
        if parts[:-1]:
            parts[-1] += np.matmul(q_c, state)
        state = state + k_c.transpose(0, 2, 1) @ v_c
    return np.concatenate(parts, axis=1)


def chunked_or_map(q, k, v, C):
    """The whole map for a short text."""
    if q.shape[1] <= 500:
        return np.tril(q @ k.swapaxes(1, 2)) @ v
    return chunked_by_parts(q, k, v, C)


def chunked_in_torch(q, k, v, C):
    q, k, v = (torch.tensor(np.asarray(x)) for x in (q, k, v))
    state, parts = torch.zeros(len(q), q.shape[2], v.shape[2], dtype=torch.float64), []
    for q_c, k_c, v_c in zip(q.split(C, 1), k.split(C, 1), v.split(C, 1)):
        parts.append(q_c @ state + (q_c @ k_c.mT).tril() @ v_c)
        state = state + k_c.mT @ v_c
    return torch.cat(parts, 1).numpy()


def backward_by_chunks(q, k, v, d_out):
    """Each gradient is linear attention too: dq from the left, dk and dv from the right."""

    def attend(query, key, value):
        return chunked_by_parts(query[None], key[None], value[None], 16)[0]

    def from_the_right(query, key, value):
        return attend(query[::-1], key[::-1], value[::-1])[::-1]

    return attend(d_out, v, k), from_the_right(v, d_out, q), from_the_right(k, q, d_out)


def backward_by_subtraction(q, k, v, d_out):
    """One walk: the right state is the whole sum minus what lies on the left."""
    left, right = np.zeros((q.shape[1], v.shape[1])), np.einsum("ts,te->se", q, d_out)
    rows = []
    for q_S, k_S, v_E, d_E in zip(q, k, v, d_out):
        left = left + np.outer(k_S, v_E)
        rows.append((left @ d_E, right @ v_E, right.T @ k_S))
        right = right - np.outer(q_S, d_E)
    return tuple(np.array(gradient) for gradient in zip(*rows))


def one_by_map(q_TS, k_TS, v_TE, state_SE=None):
    state_SE = np.zeros((4, 3)) if state_SE is None else state_SE
    return np.tril(q_TS @ k_TS.T) @ v_TE + q_TS @ state_SE, state_SE + k_TS.T @ v_TE


def one_with_shared_zeros(q_TS, k_TS, v_TE, state_SE=np.zeros((4, 3))):  # noqa: B008, they are copied before use
    state_SE = state_SE.copy()
    out_TE = np.zeros(v_TE.shape)
    for t in range(len(q_TS)):
        state_SE += np.outer(k_TS[t], v_TE[t])
        out_TE[t] = q_TS[t] @ state_SE
    return out_TE, state_SE


def batch_by_one(q_BTS, k_BTS, v_BTE):
    return np.stack([one_by_map(*row)[0] for row in zip(q_BTS, k_BTS, v_BTE)])


def batch_in_a_list(q_BTS, k_BTS, v_BTE):
    """The shared list is harmless where a new array takes the place of the old one."""
    out_BTE = np.zeros(v_BTE.shape)
    states = [np.zeros((4, 3))] * len(q_BTS)
    for b in range(len(q_BTS)):
        for t in range(q_BTS.shape[1]):
            states[b] = states[b] + np.outer(k_BTS[b, t], v_BTE[b, t])
            out_BTE[b, t] = q_BTS[b, t] @ states[b]
    return out_BTE


def decayed_without_masked_powers(q, k, v, decay, C):
    """Infinite powers of the future are cut away by `where`."""
    state, parts = np.zeros((len(q), q.shape[2], v.shape[2])), []
    for first in range(0, q.shape[1], C):
        q_c, k_c, v_c = (x[:, first : first + C] for x in (q, k, v))
        n = q_c.shape[1]
        i, j = np.indices((n, n))
        with np.errstate(over="ignore"):
            fades = np.where(i >= j, np.float64(decay) ** (i - j), 0)
        aged = decay ** np.arange(1, n + 1)
        parts.append(np.einsum("bis,bjs,ij,bje->bie", q_c, k_c, fades, v_c, optimize=True))
        parts[-1] += np.einsum("i,bis,bse->bie", aged, q_c, state, optimize=True)
        state = decay**n * state + np.einsum("j,bjs,bje->bse", aged[::-1] / decay, k_c, v_c, optimize=True)
    return np.concatenate(parts, axis=1)


def decayed_without_a_loop(q, k, v, decay, C):
    """All chunks at once; a small map carries the state from chunk to chunk."""
    B, T, E = v.shape
    q_c, k_c, v_c = (np.pad(x, ((0, 0), (0, -T % C), (0, 0))).reshape(B, -1, C, x.shape[2]) for x in (q, k, v))
    c, g = np.arange(C), np.arange(q_c.shape[1])
    powers = np.tril(decay ** np.abs(c[:, None] - c))
    near = (q_c @ k_c.swapaxes(2, 3) * powers) @ v_c
    written = (k_c * decay ** (C - 1 - c)[:, None]).swapaxes(2, 3) @ v_c
    carried = np.tril(decay ** (C * np.maximum(g[:, None] - g - 1, 0)), -1)
    before = np.einsum("gh,bhse->bgse", carried, written)
    return (near + decay ** (c + 1)[:, None] * (q_c @ before)).reshape(B, -1, E)[:, :T]


# ---------------------------------------------------------------- unusual, and right


def reordered_by_the_best_order(q, k, v):
    return np.linalg.multi_dot([q, k.T, v]) if len(q) > 2 * len(k.T) + 2 * len(v.T) else np.dot(q, np.dot(k.T, v))


def reordered_in_torch(q, k, v):
    q, k, v = (torch.as_tensor(np.asarray(x, dtype=float)) for x in (q, k, v))
    return torch.einsum("ts,se->te", q, torch.tensordot(k, v, dims=([0], [0]))).numpy()


def recurrent_by_accumulate(q, k, v, state=None):
    """The states are a chain of sums; time is the first axis."""
    B, T, S = q.shape
    start = np.zeros((B, S, v.shape[2])) if state is None else state
    states = list(itertools.accumulate(map(np.multiply, k.swapaxes(0, 1)[..., None], v.swapaxes(0, 1)[:, :, None]),
                                       np.add, initial=start))  # fmt: skip
    rows = [np.matmul(row[:, None], now)[:, 0] for row, now in zip(q.swapaxes(0, 1), states[1:])]
    return np.array(rows).reshape(T, B, v.shape[2]).swapaxes(0, 1), states[-1].copy()


def chunked_by_generator(q, k, v, C):
    """A generator of chunks that carries the state."""

    def chunks():
        state = 0
        for first in range(0, q.shape[1], C):
            own = np.s_[:, first : min(first + C, q.shape[1])]
            scores = np.matmul(q[own], k[own].swapaxes(-1, -2))
            scores[..., *np.triu_indices(scores.shape[-1], 1)] = 0
            yield scores @ v[own] + (q[own] @ state if first else 0)
            state = state + k[own].swapaxes(-1, -2) @ v[own]

    return np.concatenate([*chunks()], axis=1)


def backward_by_parts(q, k, v, d_out):
    """In parts of 50 tokens: sums to the left and to the right of each, and maps inside."""
    cuts = range(0, len(q), 50)
    parts = [slice(c, c + 50) for c in cuts]
    left = [*itertools.accumulate((k[p].T @ v[p] for p in parts), initial=0 * k[:1].T @ v[:1])]
    right = [*itertools.accumulate((q[p].T @ d_out[p] for p in reversed(parts)), initial=left[0] * 0)][-2::-1]
    found = [[], [], []]
    for p, before, behind in zip(parts, left, right):
        weight, score = np.tril(d_out[p] @ v[p].T), np.tril(q[p] @ k[p].T)
        for rows, row in zip(found, (weight @ k[p] + d_out[p] @ before.T, weight.T @ q[p] + v[p] @ behind.T,
                                     score.T @ d_out[p] + k[p] @ behind)):  # fmt: skip
            rows.append(row)
    return [np.vstack(rows) for rows in found]


class Server:
    """Keeps nothing between requests."""

    def one(self, q_TS, k_TS, v_TE, state_SE=None):
        states = np.cumsum(np.concatenate([[np.zeros((4, 3)) if state_SE is None else state_SE],
                                           k_TS[:, :, None] * v_TE[:, None]]), axis=0)  # fmt: skip
        return np.einsum("ts,tse->te", q_TS, states[1:]), states[-1].copy()

    def batch(self, q_BTS, k_BTS, v_BTE):
        return np.vectorize(lambda *row: self.one(*row)[0], signature="(t,s),(t,s),(t,e)->(t,e)")(q_BTS, k_BTS, v_BTE)


def decayed_in_torch(q, k, v, decay, C):
    q, k, v = (torch.as_tensor(np.asarray(x)) for x in (q, k, v))
    state, parts = torch.zeros(len(q), q.shape[2], v.shape[2], dtype=q.dtype), []
    for q_c, k_c, v_c in zip(*(x.split(C, dim=1) for x in (q, k, v))):
        age = torch.arange(1.0, q_c.shape[1] + 1, dtype=q.dtype)
        fades = torch.pow(decay, (age[:, None] - age).clamp(min=0)).tril()
        parts.append((q_c @ k_c.mT * fades).bmm(v_c) + (decay**age)[:, None] * q_c.bmm(state))
        state = decay ** len(age) * state + (k_c * (decay ** (age.max() - age))[:, None]).mT.bmm(v_c)
    return torch.cat(parts, dim=1).numpy()


_n = personal("04.4")
COUNTS = {"a": np.int32(_n["T"]), "b": Fraction(math.ceil(_n["T"] / _n["C"])), "c": 1.0 * _n["T"] * _n["S"] * _n["E"],
          "d": Decimal(_n["S"] * _n["E"]), "e": 2 / (1 / _n["S"] + 1 / _n["E"]), "f": "Operations"}  # fmt: skip


RIGHT = {
    "04.1": [
        reordered_by_token,
        reordered_by_einsum,
        reordered_by_column,
        reordered_by_the_best_order,
        reordered_in_torch,
    ],
    "04.2": [recurrent_by_text, recurrent_by_running_sum, recurrent_by_accumulate],
    "04.3": [chunked_without_a_loop, chunked_by_parts, chunked_or_map, chunked_in_torch, chunked_by_generator],
    "04.4": [COUNTS],
    "04.5": [backward_by_chunks, backward_by_subtraction, backward_by_parts],
    "04.6": [
        {"answer_one": one_by_map, "answer_batch": batch_by_one},
        {"answer_one": one_with_shared_zeros, "answer_batch": batch_in_a_list},
        {"answer_one": Server().one, "answer_batch": Server().batch},
    ],
    "04.7": [decayed_without_masked_powers, decayed_without_a_loop, decayed_in_torch],
}


# ---------------------------------------------------------------- held-out faults and cases


def held_out_6(rng):
    """Cases that only `grade` tries."""

    def texts(*T):
        return [rng.normal(size=(*T, width)) for width in (4, 4, 3)]

    request, rows, state = texts(5), texts(2, 4), rng.normal(size=(4, 3))

    def after_a_failure(name, good):
        """A request whose last value is missing ends in an error. The next one starts from zero all the same."""
        q, k, v = good
        broken = (q, k, v[..., :-1, :])

        def run(answers):
            function = getattr(answers, name)
            for _ in range(2):
                with contextlib.suppress(IndexError, ValueError):
                    function(*copy.deepcopy(broken))
            return function(*copy.deepcopy(good))

        return Case("held out", name, run, "after a request that failed")

    def read_only(answers):
        given = state.copy()
        given.setflags(write=False)
        return answers.answer_one(*copy.deepcopy(request), given)

    def sizes_in_turn(answers):
        first = copy.deepcopy(answers.answer_batch(*copy.deepcopy(rows)))
        answers.answer_batch(*(copy.deepcopy(np.concatenate([x, x, x])) for x in rows))
        if difference(first, answers.answer_batch(*copy.deepcopy(rows)), 1e-9):
            raise Said("04.6", "kept by size")
        return True

    cases = [
        after_a_failure("answer_one", request),
        after_a_failure("answer_batch", rows),
        Case("held out", "answer_one", read_only, "a state that may not be written"),
        Case("held out", "answer_batch", sizes_in_turn, "B = 2, 6, 2"),
        call("held out", "answer_batch", *texts(5, 9), of="answer_batch", sizes="B = 5, T = 9"),
    ]
    return [*map(apart, cases)]
