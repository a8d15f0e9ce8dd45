"""Set 01: other right answers, and what only `grade` tries."""

import math
from collections import deque
from fractions import Fraction

import numpy as np
import torch

from flash_course import personal
from flash_course.checks.exercise import call
from flash_course.checks.sets.set_01 import SHOWN, keep_outer, outer_channels, pairing_case

# ---------------------------------------------------------------- right answers, written differently


def causal_by_rows(scores_TT):
    out = np.zeros(scores_TT.shape)
    for i, row in enumerate(scores_TT):
        out[i, : i + 1] = np.exp(row[: i + 1] - row[: i + 1].max())
        out[i] /= out[i].sum()
    return out


def causal_by_logarithm(scores_TT):
    """A large constant, large enough; the sum as a logarithm."""
    scores = scores_TT + np.triu(np.full(scores_TT.shape, -1e9), 1)
    return np.exp(scores - np.logaddexp.reduce(scores, axis=1)[:, None])


def sees_by_differences(fn, T, D, rng):
    """Finite differences at several random points, some of them far out."""
    found = np.zeros((T, T), int)
    for size in (1, 3, 10, 10, 10, 10, 30, 30, 30, 30, 100, 100, 100, 100):
        x = rng.normal(size=(T, D)) * size
        for j in range(T):
            for channel in range(D):
                step = np.zeros((T, D))
                step[j, channel] = size * rng.uniform(1, 3) * rng.choice([-1, 1])
                found[:, j] += np.abs(fn(x + step) - fn(x)).sum(1) > 0
    return found > 0


def sees_by_noise(fn, T, D, rng):
    """All tokens are drawn anew but for one, which has many values."""
    sees = np.zeros((T, T), dtype=bool)
    for j in range(T):
        x = rng.uniform(-20, 20, size=(T, D))
        outputs = []
        for _ in range(25):
            x[j] = rng.uniform(-20, 20, size=D)
            outputs.append(fn(x.copy()))
        sees[:, j] = np.ptp(np.array(outputs), axis=0).max(axis=1) > 0
    return sees


def heads_by_einsum(x_TD, weights, heads, causal):
    D = x_TD.shape[1]
    q, k, v = (np.einsum("td,dhc->thc", x_TD, weights[n].reshape(D, heads, -1)) for n in ("W_q", "W_k", "W_v"))
    exps = np.exp(np.einsum("ihc,jhc->hij", q, k) * (D / heads) ** -0.5)
    if causal:
        exps = np.tril(exps)
    mixed = np.einsum("hij,jhc->ihc", exps, v) / exps.sum(2).T[:, :, None]
    return np.einsum("ihc,hcd->id", mixed, weights["W_o"].reshape(heads, -1, D))


def heads_by_split(x_TD, weights, heads, causal):
    """A loop over heads; each brings its own rows of W_o."""
    T, out = len(x_TD), 0
    parts = [np.split(x_TD @ weights[n], heads, axis=1) for n in ("W_q", "W_k", "W_v")]
    for q, k, v, rows in zip(*parts, np.split(weights["W_o"], heads)):
        scores = q / math.sqrt(q.shape[1]) @ k.T + (np.triu(np.full((T, T), -np.inf), 1) if causal else 0)
        exps = np.exp(scores - scores.max(1, keepdims=True))
        out = out + exps / exps.sum(1, keepdims=True) @ v @ rows
    return out


def rope_by_complex(x_TS, positions):
    half = x_TS.shape[1] // 2
    turn = np.exp(1j * np.asarray(positions)[:, None] * 10000.0 ** (-np.arange(half) / half))
    pairs = (x_TS[:, :half] + 1j * x_TS[:, half:]) * turn
    return np.concatenate([pairs.real, pairs.imag], axis=1)


def rope_by_matrices(x_TS, positions):
    half = x_TS.shape[1] // 2
    out = x_TS.copy()
    for t, position in enumerate(positions):
        for k in range(half):
            c, s = math.cos(position * 1e4 ** (-k / half)), math.sin(position * 1e4 ** (-k / half))
            out[t, [k, k + half]] = np.array([[c, -s], [s, c]]) @ x_TS[t, [k, k + half]]
    return out


def window_by_slices(q_TS, k_TS, v_TE, window):
    out = []
    for i in range(len(q_TS)):
        read = slice(max(0, i + 1 - window), i + 1)
        exps = np.exp(k_TS[read] @ q_TS[i] / q_TS.shape[1] ** 0.5)
        out.append(exps / exps.sum() @ v_TE[read])
    return np.array(out)


def window_by_chunks(q_TS, k_TS, v_TE, window):
    """Chunks of `window` tokens; each reads itself and the chunk before, under a mask."""
    T, S = q_TS.shape
    out = np.zeros_like(v_TE)
    for first in range(0, T, window):
        i = np.arange(first, min(first + window, T))
        j = np.arange(max(first - window, 0), i[-1] + 1)
        hidden = (j > i[:, None]) | (j <= i[:, None] - window)
        exps = np.where(hidden, 0, np.exp(q_TS[i] @ k_TS[j].T / math.sqrt(S)))
        out[i] = exps @ v_TE[j] / exps.sum(1, keepdims=True)
    return out


def window_by_places(q_TS, k_TS, v_TE, window):
    """Keys, values and their products, gathered for all tokens: the most that an answer of size T x window holds."""
    place = np.arange(len(q_TS))[:, None] + np.arange(1 - window, 1)
    keys, values = k_TS[np.maximum(place, 0)], v_TE[np.maximum(place, 0)]
    products = q_TS[:, None] * keys
    scores = np.where(place < 0, -np.inf, products.sum(2) / math.sqrt(q_TS.shape[1]))
    exps = np.exp(scores - scores.max(1, keepdims=True))
    weighed = (exps / exps.sum(1, keepdims=True))[:, :, None] * values
    return weighed.sum(1)


def window_by_lags(q_TS, k_TS, v_TE, window):
    """A loop over distances: all tokens read the one that stands so far back."""
    total, out = np.zeros((len(q_TS), 1)), np.zeros_like(v_TE)
    for back in range(min(window, len(q_TS))):
        n = len(q_TS) - back
        exps = np.exp((q_TS[back:] * k_TS[:n]).sum(1, keepdims=True) / math.sqrt(q_TS.shape[1]))
        total[back:] += exps
        out[back:] += exps * v_TE[:n]
    return out / total


# ---------------------------------------------------------------- unusual, and right


class CausalSoftmax:
    """An object that is called; torch inside."""

    def __call__(self, scores_TT):
        scores = torch.from_numpy(scores_TT)
        later = torch.ones_like(scores, dtype=torch.bool).triu(1)
        return scores.masked_fill(later, -math.inf).softmax(-1).numpy()


def causal_by_recursion(scores_TT):
    """The map of T - 1 tokens first, then one row more; with more digits than asked for."""
    T = len(scores_TT)
    exps = np.exp(np.longdouble(scores_TT[-1]) - scores_TT[-1].max())
    out = np.zeros((T, T), np.longdouble)
    if T > 1:
        out[:-1, :-1] = causal_by_recursion(scores_TT[:-1, :-1])
    out[-1] = exps / exps.sum()
    return out


def sees_by_halves(fn, T, D, rng):
    """Half of the tokens at once; a half that moves nothing is not looked at again."""
    found = set()

    def moved_by(tokens, tries):
        rows = set()
        for _ in range(tries):
            start = rng.normal(size=(T, D))
            changed = start.copy()
            changed[tokens] += 30 * rng.normal(size=(len(tokens), D))
            rows |= {int(i) for i in np.flatnonzero((fn(start) != fn(changed)).any(1))}
        return rows

    def look(tokens):
        rows = moved_by(tokens, 25)
        if len(tokens) == 1:
            found.update((i, tokens[0]) for i in rows)
        elif rows:
            look(tokens[: len(tokens) // 2])
            look(tokens[len(tokens) // 2 :])

    look([*range(T)])
    return np.array([[(i, j) in found for j in range(T)] for i in range(T)])


def heads_in_torch(x_TD, weights, heads, causal):
    q, k, v = (torch.from_numpy(x_TD @ weights[f"W_{n}"]).unflatten(1, (heads, -1)).swapaxes(0, 1) for n in "qkv")
    mixed = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)
    return mixed.swapaxes(0, 1).flatten(1).numpy() @ weights["W_o"]


def rope_in_torch(x_TS, positions):
    half = x_TS.shape[1] // 2
    angle = torch.tensor(positions).double()[:, None] * 1e4 ** (-torch.arange(half).double() / half)
    pairs = torch.complex(*torch.from_numpy(x_TS).chunk(2, dim=1)) * torch.polar(torch.ones_like(angle), angle)
    return torch.cat([pairs.real, pairs.imag], 1).numpy()


def window_by_deque(q_TS, k_TS, v_TE, window):
    """Keys and values in a queue that drops the oldest."""
    waiting, rows = deque(maxlen=window), []
    for q, *pair in zip(q_TS, k_TS, v_TE):
        waiting.append(pair)
        exps = [math.exp(float(q @ k) / math.sqrt(len(q))) for k, _ in waiting]
        rows.append(sum(weight * v for weight, (_, v) in zip(exps, waiting)) / math.fsum(exps))
    return np.stack(rows)


def window_by_views(q_TS, k_TS, v_TE, window):
    """Sliding views of padded arrays: no key is copied."""
    view, pad = np.lib.stride_tricks.sliding_window_view, ((window - 1, 0), (0, 0))
    keys, values = (view(np.pad(x, pad), window, axis=0) for x in (k_TS, v_TE))
    there = view(np.pad(np.ones(len(q_TS)), (window - 1, 0)), window)
    exps = there * np.exp(np.einsum("ts,tsw->tw", q_TS, keys) / len(q_TS.T) ** 0.5)
    return np.einsum("tw,tew->te", exps, values) / exps.sum(1)[:, None]


_n = personal("01.4")
COSTS = {"a": np.int64(2 * _n["T"] ** 2 * _n["D"]), "b": float(2 * _n["B"] * _n["H"] * _n["T"] ** 2),
         "c": Fraction(12 * _n["D"], 2), "d": np.array(1)}  # fmt: skip


RIGHT = {
    "01.1": [causal_by_rows, causal_by_logarithm, CausalSoftmax(), causal_by_recursion],
    "01.2": [sees_by_differences, sees_by_noise, sees_by_halves],
    "01.3": [heads_by_einsum, heads_by_split, heads_in_torch],
    "01.4": [COSTS],
    "01.5": [
        {"rope": rope_by_complex, "shown_01_5": SHOWN},
        {"rope": rope_by_matrices, "shown_01_5": SHOWN},
        {"rope": rope_in_torch, "shown_01_5": {"pairing": "Both", "precision": " DISTANCE"}},
    ],
    "01.6": [window_by_slices, window_by_chunks, window_by_places, window_by_lags, window_by_deque, window_by_views],
}


# ---------------------------------------------------------------- held-out cases


def rope_by_table(x_TS, positions):
    """Passes the practice pool: a table of 10,000 positions, which ends."""
    half = x_TS.shape[1] // 2
    table = np.exp(1j * np.multiply.outer(np.arange(10_000), 10000.0 ** (-np.arange(half) / half)))
    turn = np.where(positions[:, None] < 0, table[np.abs(positions)].conj(), table[np.abs(positions)])
    pairs = (x_TS[:, :half] + 1j * x_TS[:, half:]) * turn
    return np.concatenate([pairs.real, pairs.imag], axis=1)


def rope_two_steps(x_TS, positions):
    """Passes the practice pool: float16 for the thousands, which is exact there, float64 for the rest."""
    half = x_TS.shape[1] // 2
    thousands = np.float16(np.asarray(positions) // 1024).astype(float)
    places = 1024 * thousands + np.asarray(positions) % 1024
    return rope_by_complex(x_TS, places) if half else x_TS


WEAK = {"01.5": [rope_by_table, rope_two_steps]}  # right in practice, wrong in what is held out


def held_out_5(rng):
    """Cases that only `grade` tries."""

    def far(T, S, positions):
        x = outer_channels(rng, T, S)  # a fault of pairing alone loses no points of the precision here
        return call("held out", "precision", x, positions, of="rope", then=keep_outer, sizes=f"T = {T}, S = {S}")

    return [
        far(5, 8, rng.integers(70_000, 90_000, size=5)),
        far(4, 6, rng.integers(2**22, 2**23, size=4) * 2 + 1),
        pairing_case("held out", rng.normal(size=(6, 4)), -100 * rng.permutation(np.arange(1, 7))),
    ]
