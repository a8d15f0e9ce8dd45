"""Set 11: other right answers, and what only `grade` tries."""

import math
from fractions import Fraction

import numpy as np
import torch

from flash_course import personal
from flash_course.checks.edits import edited
from flash_course.checks.exercise import Case, Said
from flash_course.checks.sets.set_11 import (
    T4,
    WASTES,
    right_1,
    launch_gated,
    launch_local,
    chunk_layer,
    layer_case,
    layer_inputs,
)


def cos_sin(T, S, like):
    """As the notebook gives it."""
    place = torch.arange(T, dtype=like.dtype, device=like.device)
    turns = 10000.0 ** (-torch.arange(S // 2, dtype=like.dtype, device=like.device) / (S // 2))
    angles = place[:, None] * turns
    return torch.cos(angles), torch.sin(angles)


def turn(x_nS, cos, sin):
    """As the notebook gives it."""
    a, b = x_nS.chunk(2, dim=1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=1)


# ---------------------------------------------------------------- right answers, written differently


def tiled_by_keys(q_TS, k_TS, v_TE, bias_CC, C, M):
    """The outer loop is over keys, the scale stands on q, the mask is added as minus infinity."""
    out = np.zeros_like(v_TE)
    for first in range(0, len(v_TE), C):
        q, k, v = (x[first : first + C] for x in (q_TS, k_TS, v_TE))
        n = len(v)
        for left in range(0, n, M):
            for top in range(left, n, M):
                i, j = slice(top, min(top + M, n)), slice(left, min(left + M, n))
                score = np.einsum("is,js->ij", q[i] / C, k[j]) + bias_CC[i, j]
                later = np.arange(j.start, j.stop) > np.arange(i.start, i.stop)[:, None]
                score[later] = -np.inf
                out[first + i.start : first + i.stop] += np.dot(np.square(score.clip(min=0)), v[j])
    return out


def tiled_by_optimized_einsum(q_TS, k_TS, v_TE, bias_CC, C, M):
    """With `optimize=True` einsum calls another function of NumPy for the same product."""
    out = np.zeros_like(v_TE)
    for first in range(0, len(v_TE), C):
        end = min(first + C, len(v_TE))
        for top in range(first, end, M):
            i = slice(top, min(top + M, end))
            for left in range(first, top + 1, M):
                j = slice(left, min(left + M, end))
                score = np.einsum("is,js->ij", q_TS[i], k_TS[j], optimize=True) / C
                score = score + bias_CC[i.start - first : i.stop - first, j.start - first : j.stop - first]
                weights = np.maximum(score, 0) ** 2
                if left == top:
                    weights = np.tril(weights)
                out[i] += np.einsum("ij,je->ie", weights, v_TE[j], optimize=True)
    return out


def tiled_by_rows(q_TS, k_TS, v_TE, bias_CC, C, M):
    """Tiles of one reader and at most M keys."""
    rows = []
    for i in range(len(v_TE)):
        first, total = i // C * C, 0
        for left in range(first, i + 1, M):
            j = slice(left, min(left + M, i + 1))
            a = (k_TS[j] @ q_TS[i]) / C + bias_CC[i - first, j.start - first : j.stop - first]
            total = total + (a * (a > 0)) ** 2 @ v_TE[j]
        rows.append(total)
    return np.array(rows)


ONE_AXIS = (  # programs in one row; a float32 value tile; the strides one by one from the tuple
    "g = tl.program_id(0)\n",
    "side = (C + M - 1) // M\n    g = tl.program_id(0) // side\n    block = tl.program_id(0) % side\n",
    "tl.program_id(1) * M + tl.arange(0, M)\n", "block * M + tl.arange(0, M)\n",
    "chunk + (tl.program_id(1) + 1) * M, M)", "chunk + block * M + 1, M)",
    "tl.dot(a.to(v_tile.dtype), v_tile)", "tl.dot(a, v_tile.to(tl.float32))",
    "grid = (-(-T // C), -(-C // M))", "grid = (-(-T // C) * -(-C // M),)",
)  # fmt: skip
SUMMED = (  # products as sums; scores of the diagonal and beyond it by one comparison; `out` emptied
    "a = tl.dot(q_tile, tl.trans(k_tile)) / C",
    "a = tl.sum(q_tile.to(tl.float32)[:, None, :] * k_tile.to(tl.float32)[None, :, :], 2) / C",
    "    grid = (", "    out.zero_()\n    grid = (",
    "a * a, 0.0)", "a, 0.0)", "tl.dot(a.to(v_tile.dtype), v_tile)", "tl.dot((a * a).to(v_tile.dtype), v_tile)",
)  # fmt: skip
GATED_ONE_AXIS = (
    *ONE_AXIS,
    "far = tl.dot(far_q.to(tl.float32), before)", "far = tl.dot(far_q, before.to(far_q.dtype))",
    "    y = load_tile(u, u_strides, rows, e, end, E) * (y + far)",
    "    gate = load_tile(u, u_strides, rows, e, end, E)\n        y = gate * y + gate * far",
)  # fmt: skip
GATED_MEANS = (  # a running mean of means; the sum starts with the global part
    "    state, total = torch.zeros(-(-T // C), S, E), torch.zeros(S, E)\n", "    state = torch.zeros(-(-T // C), S, E)\n",
    "        total = total + lin_k[own].float().T @ v[own].float()\n        state[g] = total / (g * C)\n",
    "        new = torch.einsum('cs,ce->se', lin_k[own].float(), v[own].float()) / C\n"
    "        state[g] = state[g - 1] + (new - state[g - 1]) / g\n",
    "    y = tl.zeros((M, E_TILE), tl.float32)\n",
    "    before = load_tile(state + g * state_strides[0], state_strides[1:], s, e, S, E)\n"
    "    y = tl.dot(load_tile(lin_q, lin_q_strides, rows, s, end, S).to(tl.float32), before)\n",
    "(y + far)", "y",
)  # fmt: skip


def as_edited(launch, *edits):
    """A kernel and its launch, compiled anew: the set's own are not started, where they stand for the right answer."""
    return edited(launch, *edits, name="solutions/right_11")


def layer_without_loop(x_TD, W_q, W_k, W_v, C):
    T, S = len(x_TD), W_q.shape[1]
    tables = cos_sin(T, S, x_TD)
    q, k, v = (t.unflatten(0, (-1, C)) for t in (turn(x_TD @ W_q, *tables), turn(x_TD @ W_k, *tables), x_TD @ W_v))
    sums = (k.mT @ v).cumsum(0)
    before = torch.zeros_like(sums)
    before[1:] = sums[:-1]
    divisor = torch.arange(len(q), device=x_TD.device, dtype=x_TD.dtype).clamp(min=1) * C
    near = torch.relu(q @ k.mT / C).square().tril() @ v
    return (near + q @ (before / divisor[:, None, None])).flatten(0, 1)


def layer_by_list(x_TD, W_q, W_k, W_v, C):
    """A list of rows, joined once; the first chunk is told from the others by its number."""
    angles = [table.split(C) for table in cos_sin(len(x_TD), W_q.shape[1], x_TD)]
    hidden = torch.ones(C, C, dtype=torch.bool, device=x_TD.device).triu(1)
    rows, state = [], None
    for g, x in enumerate(x_TD.split(C)):
        q, k = (turn(x @ weight, angles[0][g], angles[1][g]) for weight in (W_q, W_k))
        v = x @ W_v
        y = torch.relu(q @ k.T / C).masked_fill(hidden, 0).pow(2) @ v
        rows.append(y if g == 0 else y + q @ state / (g * C))
        state = k.T @ v if g == 0 else torch.addmm(state, k.T, v)
    return torch.cat(rows)


def tile_by_halving(S, E_tile, bytes_per_number, shared_bytes):
    M = 1 << 20
    while M >= 16:
        if M * (S + S + E_tile + M) * bytes_per_number <= shared_bytes:
            return M
        M //= 2
    raise ValueError("nothing fits")


def tile_by_root(S, E_tile, bytes_per_number, shared_bytes):
    """M² + M (2 S + E) = numbers, solved for M."""
    width, numbers = 2 * S + E_tile, shared_bytes // bytes_per_number
    M = (math.isqrt(width * width + 4 * numbers) - width) // 2
    if M < 16:
        raise ValueError(f"{M} is below 16")
    return 2 ** (M.bit_length() - 1)


# ---------------------------------------------------------------- unusual, and right


def tiled_by_generator(q_TS, k_TS, v_TE, bias_CC, C, M):
    """A generator of tiles; what they bring is added at their rows. Products are methods."""

    def tiles():
        for first in range(0, len(q_TS), C):
            cuts = [slice(a, min(a + M, first + C, len(q_TS))) for a in range(first, min(first + C, len(q_TS)), M)]
            for n, rows in enumerate(cuts):
                yield from ((first, rows, keys) for keys in cuts[: n + 1])

    out = np.zeros(v_TE.shape)
    for first, rows, keys in tiles():
        near = [slice(s.start - first, s.stop - first) for s in (rows, keys)]
        a = np.maximum(q_TS[rows].dot(k_TS[keys].T) / C + bias_CC[near[0], near[1]], 0)
        if rows == keys:
            a = np.tril(a)
        out[rows] += (a**2).dot(v_TE[keys])
    return out


def layer_by_parts(x_TD, W_q, W_k, W_v, C):
    """Chunks as a batch; the sums by a loop over chunks that adds in place."""
    T = x_TD.shape[0]
    cos, sin = cos_sin(T, W_q.shape[1], x_TD)
    q, k = (turn(torch.mm(x_TD, weight), cos, sin).reshape(T // C, C, -1) for weight in (W_q, W_k))
    v = torch.mm(x_TD, W_v).reshape(T // C, C, -1)
    near = torch.bmm(q, k.transpose(1, 2)).div(C).relu().square().tril().bmm(v)
    if T == C:
        return near.reshape(T, -1)
    means = (
        torch.bmm(k[:-1].transpose(1, 2), v[:-1]).cumsum(0)
        / (C * torch.arange(1, T // C, device=x_TD.device, dtype=x_TD.dtype))[:, None, None]
    )
    far = torch.bmm(q[1:], means)
    return torch.add(near, torch.nn.functional.pad(far, (0, 0, 0, 0, 1, 0))).reshape(T, -1)


def tile_by_recursion(S, E_tile, bytes_per_number, shared_bytes, M=16):
    """By exact fractions of the memory."""
    share = Fraction((2 * M * S + M * E_tile + M * M) * bytes_per_number, shared_bytes)
    if share > 1 and M == 16:
        raise ValueError
    return np.int64(M // 2) if share > 1 else tile_by_recursion(S, E_tile, bytes_per_number, shared_bytes, 2 * M)


BY_WHERE = (  # the mask of causality by arithmetic on places; pointers of columns first; a while loop
    "a = tl.where(rows[:, None] >= keys[None, :], a * a, 0.0)", "a = a * a * ((rows[:, None] - keys[None, :]) >= 0)",
    "places = rows[:, None] * strides[0] + columns[None, :] * strides[1]",
    "places = columns[None, :] * strides[1] + rows[:, None] * strides[0]",
    "return tl.load(x + places, mask=inside, other=0.0)", "return tl.load(x + places, inside, 0.0)",
    "tl.maximum(a, 0.0)", "tl.where(a > 0, a, 0.0)",
)  # fmt: skip
_n = personal("11.1")
INTENSITY = {
    "a": Fraction(_n["C"] * (_n["S"] + _n["E"]), 2 * _n["S"] + 3 * _n["E"]), "c": np.float16(0.5),
    "b": np.float64(_n["C"] * (_n["S"] + _n["E"])) / (2 * _n["S"] + 3 * _n["E"] + 4 * _n["C"]),
    "d": 1 / float(Fraction(1, _n["E"]) + Fraction(1, _n["S"]) + Fraction(1, _n["C"])),
}  # fmt: skip
INTENSITY["e"] = ["D", "b", "c", *(["a"] if INTENSITY["a"] < T4 else [])]


KERNELS = {"11.3": [(), ONE_AXIS, SUMMED, BY_WHERE], "11.6": [(), GATED_ONE_AXIS, GATED_MEANS, BY_WHERE]}
RIGHT = {
    "11.1": [INTENSITY],
    "11.2": [tiled_by_keys, tiled_by_rows, tiled_by_generator, tiled_by_optimized_einsum],
    "11.3": [as_edited(launch_local, *edits) for edits in KERNELS["11.3"]],
    "11.4": [layer_without_loop, layer_by_list, layer_by_parts],
    "11.5": [tile_by_halving, tile_by_root, tile_by_recursion],
    "11.6": [as_edited(launch_gated, *edits) for edits in KERNELS["11.6"]],
}


# ---------------------------------------------------------------- held-out cases


def held_out_4(rng):
    """Cases that only `grade` tries."""
    C = int(rng.integers(3, 6))
    first, second = layer_inputs(rng, 4 * C), layer_inputs(rng, 4 * C)
    right = chunk_layer(*second, C)

    def gradients(answer):
        leaves = [tensor.clone().requires_grad_() for tensor in first]
        answer(*leaves, C).square().sum().backward()
        if any(leaf.grad is None for leaf in leaves):
            raise Said("all", "held out", part="joined")
        return [leaf.grad for leaf in leaves]

    def alternating(answer):
        """float64, float32 and float64 again, other values at the same sizes: what is kept from a call shows."""
        values = [answer(*first, C), answer(*(t.float() for t in second), C), answer(*second, C)]
        if values[1].dtype != torch.float32 or (values[1] - right).abs().max() > 1e-3:
            raise Said("all", "held out", part="tables")
        return values[0], values[2]

    return [
        *(layer_case(rng, "one chunk", waste, 1, C) for waste in WASTES),
        *(layer_case(rng, "chunks of one token", waste, 30, 1) for waste in WASTES),
        Case("gradients", "joined", gradients, f"G = 4, C = {C}"),
        Case("formats in turn", "tables", alternating, f"G = 4, C = {C}"),
    ]
