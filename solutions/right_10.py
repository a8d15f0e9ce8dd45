"""Set 10: other right answers, and what only `grade` tries."""

import itertools
import math
import statistics
from fractions import Fraction

import numpy as np
import torch

from flash_course import personal
from flash_course.checks.sets.set_10 import LOOKS, T_975, ablation_case, draw_config

# ---------------------------------------------------------------- right answers, written differently


def batch_row_by_row(rng, B, T, C, pairs, vocab):
    n, rows = vocab // 2, []
    for _ in range(B):
        row, answer = [0] * T, [-100] * T
        places = rng.choice(np.arange(C, T), size=pairs, replace=False)
        for i, key in enumerate(rng.choice(n, size=pairs, replace=False) + 1):
            value = int(rng.integers(n + 1, 2 * n + 1))
            row[2 * i], row[2 * i + 1], row[places[i]], answer[places[i]] = key, value, key, value
        rows.append((row, answer))
    ids, targets = zip(*rows)
    return np.array(ids), np.array(targets)


def batch_by_shuffling(rng, B, T, C, pairs, vocab):
    """The part behind chunk 0 is made with its questions in front, and shuffled; targets follow the same shuffle."""
    n = (vocab - 1) // 2
    keys = rng.permuted(np.tile(np.arange(1, n + 1), (B, 1)), axis=1)[:, :pairs]
    values = rng.integers(n + 1, vocab, size=(B, pairs))
    ids, targets = np.zeros((B, T), np.int32), np.full((B, T), -100, np.int32)
    ids[:, : 2 * pairs] = np.stack([keys, values], -1).reshape(B, -1)
    order = rng.permuted(np.tile(np.arange(T - C), (B, 1)), axis=1)
    behind = np.pad(keys, ((0, 0), (0, T - C - pairs)))
    answers = np.pad(values, ((0, 0), (0, T - C - pairs)), constant_values=-100)
    ids[:, C:] = np.take_along_axis(behind, order, 1)
    targets[:, C:] = np.take_along_axis(answers, order, 1)
    return [ids, targets]


def memory_at_once(S, pairs, values, rng):
    keys = rng.normal(size=(pairs, S))
    keys /= np.linalg.norm(keys, axis=1, keepdims=True)
    said = rng.integers(values, size=pairs)
    memory = keys.T @ np.eye(values)[said]
    return np.mean((keys @ memory).argmax(1) == said)


def memory_by_overlaps(S, pairs, values, rng):
    """The sum read by a key is the sum of its overlaps with all keys of a value."""
    keys = rng.normal(size=(pairs, S))
    said = rng.integers(values, size=pairs)
    length = np.sqrt(np.einsum("ps,ps->p", keys, keys))
    overlap = keys @ keys.T / np.outer(length, length)
    votes = np.zeros((pairs, values))
    np.add.at(votes.T, said, overlap)
    return sum(int(np.argmax(row) == value) for row, value in zip(votes, said)) / pairs


def most_by_recursion(accuracy, share, memories, limit, pairs=1):
    if pairs > limit or np.mean([accuracy(pairs) for _ in range(memories)]) < share:
        return pairs // 2
    return most_by_recursion(accuracy, share, memories, limit, 2 * pairs)


def most_by_powers(accuracy, share, memories, limit):
    best = 0
    for power in range(limit.bit_length()):
        total = 0
        for _ in range(memories):
            total += accuracy(1 << power)
        if total / memories < share:
            break
        best = 1 << power
    return best


def compare_by_statistics(a, b):
    by_seed = [a[seed] - b[seed] for seed in a if seed in b]
    if len(by_seed) < 2:
        raise ValueError(f"{len(by_seed)} shared seeds: at least two are needed")
    mean = statistics.fmean(by_seed)
    half = T_975[len(by_seed) - 1] * statistics.stdev(by_seed) / len(by_seed) ** 0.5
    return mean, mean - half, mean + half, abs(mean) > half


def compare_by_hand(a, b):
    """With the exact factor for three seeds, as a table with more digits has it."""
    shared = a.keys() & b.keys()
    n = len(shared)
    if n <= 1:
        raise ValueError("no spread")
    d = np.fromiter((a[s] - b[s] for s in shared), float)
    error = math.sqrt(((d - d.mean()) ** 2).sum() / (n - 1) / n)
    t = 4.302653 if n == 3 else T_975[n - 1]
    low, high = d.mean() - t * error, d.mean() + t * error
    return [d.mean(), low, high, np.sign(low) == np.sign(high)]


def parameters(model):
    D, E, S = model["D"], model["E"], model["S"]
    into = (D + 1) * (E * (1 + model["gate"]) + S)
    return model["vocab"] * D + 2 * D + model["depth"] * (into + (E + 1) * D + 2 * D + 4 * S + 2 * model["T"] - 1)


def ablation_by_search(config, train, rates, seeds):
    """The width is searched for."""
    gated, other = config.copy(), config | {"gate": False}
    while parameters(other) < parameters(gated):
        other["E"] += 1
    chosen, bits = [], []
    for model in (gated, other):
        tried = {rate: train(model, rate, seeds[0]) for rate in rates}
        chosen.append(min(tried, key=tried.get))
        bits.append(np.array([train(model, chosen[-1], seed) for seed in seeds[1:]]))
    return {"models": [gated, other], "rates": chosen, "differences": list(bits[1] - bits[0])}


def ablation_by_half(config, train, rates, seeds):
    """Half as wide again, rounded down."""
    models = (config, {**config, "gate": False, "E": config["E"] * 3 // 2})
    first, *rest = seeds
    best = [sorted(rates, key=lambda rate: train(model, rate, first))[0] for model in models]
    differences = [train(models[1], best[1], seed) - train(models[0], best[0], seed) for seed in rest]
    return {"differences": differences, "rates": tuple(best), "models": models}


def far_by_einsum(q_GCS, k_GS, b_GG, lin_q_GCS, kv_GSE):
    scores_GCH = np.einsum("gcs,hs->gch", q_GCS, k_GS) + b_GG[:, None, :]
    w_GCH = np.maximum(scores_GCH, 0) ** 2 * np.tri(len(k_GS), k=-1)[:, None, :]
    return np.einsum("gch,gcs,hse->gce", w_GCH, lin_q_GCS, kv_GSE)


def far_by_reads(q_GCS, k_GS, b_GG, lin_q_GCS, kv_GSE):
    """Each summary is read first, and what was read is weighed."""
    out = np.zeros((*q_GCS.shape[:2], kv_GSE.shape[2]))
    for g in range(1, len(k_GS)):
        for h in range(g):
            score_C = q_GCS[g] @ k_GS[h] + b_GG[g, h]
            weight_C = np.where(score_C > 0, score_C * score_C, 0)
            out[g] += weight_C[:, None] * (lin_q_GCS[g] @ kv_GSE[h])
    return out


def cost_by_steps(t, C, S, E):
    kept = work = 0
    for _ in range(C, t + 1, C):
        kept += S * E + S
        work += S + S * E
    return kept, work + S * E if work else 0


def cost_by_formula(t, C, S, E):
    g = (t - t % C) // C
    return g * S * (E + 1), S * (g + (g + 1) * E) * (g > 0)


TEXT_IN_LATEX = r"""
Table 1 says that the gate helps, and it does here: without it the small GAU is worse by $0.87 \pm .12$ bits per byte.
Table 4 says that chunks cost something. Here $-0.14 \pm .38$ does not settle it: three seeds and 200 updates are few.
"""

# ---------------------------------------------------------------- unusual, and right


def batch_unsigned(rng, B, T, C, pairs, vocab):
    """Unsigned ids, filled by lists of places; targets need a sign."""
    n = vocab // 2
    ids, targets = np.zeros((B, T), np.uint16), np.full((B, T), -100, np.int16)
    for row, target in zip(ids, targets):
        keys, later = rng.permutation(n)[:pairs] + 1, C + rng.permutation(T - C)[:pairs]
        values = rng.choice(np.arange(n + 1, 2 * n + 1), pairs)
        row[: 2 * pairs] = np.ravel([keys, values], order="F")
        row[later], target[later] = keys, values
    return ids, targets


def memory_by_lookup(S, pairs, values, rng):
    """A dictionary of sums; the share as a fraction."""
    keys, said = rng.normal(size=(pairs, S)), rng.integers(values, size=pairs)
    memory = {}
    for key, value in zip(keys, said):
        memory[value] = memory.get(value, 0) + key / math.dist(key, 0 * key)

    def read(key):
        votes = {value: float(key @ total) for value, total in memory.items()}
        votes |= {value: 0.0 for value in range(values) if value not in votes}
        return max(votes, key=votes.get)

    return Fraction(sum(read(key) == value for key, value in zip(keys, said)), pairs)


def most_by_takewhile(accuracy, share, memories, limit):
    counts = itertools.takewhile(limit.__ge__, (2**power for power in itertools.count()))
    good = itertools.takewhile(lambda n: statistics.fmean(accuracy(n) for _ in range(memories)) >= share, counts)
    return max(good, default=0)


def compare_as_arrays(a, b):
    """Sorted shared seeds, NumPy numbers, a list."""
    seeds = np.intersect1d([*a], [*b])
    if seeds.size < 2:
        raise ValueError(f"{seeds.size} shared seeds")
    d = np.array([[run[int(seed)] for seed in seeds] for run in (a, b)])
    d = np.subtract(*d)
    half = T_975[d.size - 1] * d.std(ddof=1) / np.sqrt(d.size)
    ends = d.mean() + half * np.array([-1, 1])
    return [d.mean(), *ends, np.prod(ends) > 0]


def ablation_by_bisection(config, train, rates, seeds):
    """The width between two bounds; NumPy numbers, tuples and arrays."""
    low, high = config["E"], 3 * config["E"]
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (
            (middle, high)
            if parameters({**config, "gate": False, "E": middle}) <= parameters(config)
            else (low, middle)
        )
    models = dict(config), dict(config, gate=False, E=np.int64(low))
    table = np.array([[train(model, rate, seeds[0]) for rate in rates] for model in models])
    chosen = np.array(rates)[table.argmin(1)]
    bits = np.array([[train(model, rate, seed) for seed in seeds[1:]] for model, rate in zip(models, chosen)])
    return {"models": models, "rates": chosen, "differences": np.diff(bits, axis=0)[0]}


def far_in_torch(q_GCS, k_GS, b_GG, lin_q_GCS, kv_GSE):
    q, k, b, lin_q, kv = map(torch.tensor, (q_GCS, k_GS, b_GG, lin_q_GCS, kv_GSE))
    w = (q @ k.T + b[:, None]).relu().square() * torch.ones_like(b).tril(-1)[:, None]
    return (lin_q[:, :, None] @ torch.tensordot(w, kv, dims=1)).squeeze(2).numpy()


def cost_as_array(t, C, S, E):
    earlier = len(range(C, t + 1, C))
    return np.array([earlier * S, earlier * S + S * E / (E + 1) * bool(earlier)]) * (1 + E)


_n = personal("10.2")
GUESSES = {f"{model}, {question}": "Path" for model in ("FLASH", "FLASH-Quad") for question in "AB"}
for _question in "AB":
    _near = len({_n[f"{_question}: {when} at"] // _n["C"] for when in ("key", "asked")}) == 1
    GUESSES |= {
        f"local only, {_question}": "PATH" if _near else "chance",
        f"global only, {_question}": "Chance" if _near else "path",
    }
GUESSES |= {
    "blind": Fraction(1, _n["values"]),
    "whose": np.float32(1 / _n["pairs"]),
    "text, local only": np.array(17.7),
    "text, global only": Fraction(78),
}


RIGHT = {
    "10.1": [batch_row_by_row, batch_by_shuffling, batch_unsigned],
    "10.2": [GUESSES],
    "10.3": [
        {"memory_accuracy": memory_at_once, "most_pairs": most_by_recursion},
        {"memory_accuracy": memory_by_overlaps, "most_pairs": most_by_powers},
        {"memory_accuracy": memory_by_lookup, "most_pairs": most_by_takewhile},
    ],
    "10.4": [compare_by_statistics, compare_by_hand, compare_as_arrays],
    "10.5": [ablation_by_search, ablation_by_half, ablation_by_bisection],
    "10.6": [
        {"weighted_far": far_by_einsum, "far_cost": cost_by_steps},
        {"weighted_far": far_by_reads, "far_cost": cost_by_formula},
        {"weighted_far": far_in_torch, "far_cost": cost_as_array},
    ],
    "10.7": [TEXT_IN_LATEX],
}


# ---------------------------------------------------------------- held-out cases


def held_out_5(rng):
    """Cases that only `grade` tries."""
    deep, wide = draw_config(rng, depth=13), draw_config(rng, vocab=2000)
    sets = [
        (deep, [0.03, 0.01, 0.002, 0.005], [9, 4, 7]),
        (wide, [0.01, 0.02, 0.04], [1, 0]),
        ({**deep, "E": 2 * deep["D"] + 1}, [0.2, 0.1, 0.4, 0.3], [3, 8, 2, 6, 5, 0]),
    ]
    return [ablation_case(rng, "held out", look, *sizes) for sizes, look in itertools.product(sets, LOOKS)]
