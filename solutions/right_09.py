"""Set 09: other right answers, and what only `grade` tries."""

import copy
import json
import os
import tempfile
from fractions import Fraction
from os import replace as move_to

import numpy as np
import torch

from flash_course import personal
from flash_course.checks.exercise import Case
from flash_course.checks.sets.set_09 import Decoder, decoder_case, faulty

# ---------------------------------------------------------------- right answers, written differently


def rotated(x_S, position):
    """RoPE as multiplication of complex numbers."""
    half = len(x_S) // 2
    pairs = (x_S[:half] + 1j * x_S[half:]) * np.exp(1j * position / 10000 ** (np.arange(half) / half))
    return np.concatenate([pairs.real, pairs.imag])


def step_by_loops(z_S, v_E, state, layer):
    """The rows are a list; the far part goes token by token through the sum."""
    C, t = len(layer["bias_CC"]), state["position"]
    heads = [rotated(z_S * g + b, t) for g, b in zip(layer["gamma_4S"], layer["beta_4S"])]
    rows = [*zip(state["quad_k"], state["lin_k"], state["v"]), (heads[1], heads[3], v_E)]
    out, i = np.zeros(len(v_E)), t % C
    for j, (key, _, value) in enumerate(rows):
        out += max(float(heads[0] @ key) / C + layer["bias_CC"][i][j], 0.0) ** 2 * value
    if state["chunks"]:
        out += np.einsum("s,se->e", heads[2], state["kv"]) / (C * state["chunks"])
    kv, chunks, waiting = state["kv"], state["chunks"], [*state["waiting"]]
    if len(rows) == C:
        waiting.append(sum(np.outer(linear, value) for _, linear, value in rows))
        rows = []
        if len(waiting) == layer["lag"]:
            kv, chunks = kv + waiting[0], chunks + 1
            del waiting[0]
    S, E = state["kv"].shape
    widths = (S, S, E)
    quad_k, lin_k, v = (np.array([row[n] for row in rows]).reshape(-1, widths[n]) for n in range(3))
    return out, {
        "position": t + 1, "kv": kv, "chunks": chunks, "waiting": np.array(waiting).reshape(-1, S, E),
        "quad_k": quad_k, "lin_k": lin_k, "v": v,
    }  # fmt: skip


def step_on_a_copy(z_S, v_E, state, layer):
    """A deep copy first, then in place. The chunk is folded behind the return value."""
    state, C = copy.deepcopy(state), len(layer["bias_CC"])
    quad_q, quad_k, lin_q, lin_k = (rotated(h, state["position"]) for h in layer["gamma_4S"] * z_S + layer["beta_4S"])
    state["quad_k"] = np.append(state["quad_k"], [quad_k], axis=0)
    state["lin_k"] = np.append(state["lin_k"], [lin_k], axis=0)
    state["v"] = np.append(state["v"], [v_E], axis=0)
    state["position"] += 1
    m = len(state["v"])
    weights = (quad_q / C @ state["quad_k"].T + layer["bias_CC"][m - 1, :m]).clip(min=0)
    far = lin_q @ (state["kv"] / (C * state["chunks"])) if state["chunks"] > 0 else 0
    out = (weights * weights) @ state["v"] + far
    if m == C:
        state["waiting"] = np.append(state["waiting"], [state["lin_k"].T @ state["v"]], axis=0)
        for name in ("quad_k", "lin_k", "v"):
            state[name] = state[name][m:]
        while len(state["waiting"]) >= layer["lag"]:
            state["kv"] += state["waiting"][0]
            state["chunks"] += 1
            state["waiting"] = state["waiting"][1:]
    return out, state


def filter_by_masks(logits_N, temperature=1.0, top_k=None, top_p=None):
    """Dropped tokens have a logit of minus infinity."""
    if temperature < 1e-6:
        return (np.arange(len(logits_N)) == logits_N.argmax()).astype(float)
    x = logits_N / temperature
    if top_k is not None:
        x = np.where(x >= np.sort(x)[-top_k], x, -np.inf)
    p = np.exp(x - x.max())
    p /= p.sum()
    if top_p is not None:
        larger = (p[None] * (p[None] > p[:, None])).sum(1)  # what the more likely ones hold
        p = np.where(larger < top_p, p, 0)
    return p / p.sum()


def filter_by_loop(logits_N, temperature=1.0, top_k=None, top_p=None):
    N = len(logits_N)
    largest = int(np.argmax(logits_N))
    if temperature == 0:
        return np.bincount([largest], minlength=N).astype(float)
    weights = {i: np.exp((logits_N[i] - logits_N[largest]) / temperature) for i in range(N)}
    ranked = sorted(weights, key=weights.get, reverse=True)[: top_k or N]
    total, kept = sum(weights[i] for i in ranked), []
    while ranked and (top_p is None or sum(weights[i] for i in kept) < top_p * total):
        kept.append(ranked.pop(0))
    out = np.zeros(N)
    out[kept] = [weights[i] for i in kept]
    return out / out.sum()


def assert_by_pieces(decoder):
    """All prompts first, then one long way of steps, with a copy of each state's future."""
    C = decoder.C
    for T in (4 * C + 1, 3 * C + 2):
        x = np.random.default_rng(T).normal(size=(T, decoder.D))
        right = decoder.parallel(x)
        for n in range(T + 1):
            out, state = decoder.prefill(x[:n])
            assert out.shape == right[:n].shape and (np.abs(out - right[:n]) < 1e-7).all()
            for t in range(n, T):
                first, after = decoder.step(x[t], state)
                second, _ = decoder.step(x[t], state)
                if np.abs(first - right[t]).max() > 1e-7 or np.abs(second - first).max() > 1e-7:
                    raise AssertionError(f"prompt {n}, token {t}")
                state = after


def assert_with_another_token(decoder):
    """Between two steps from one state, another token is read."""
    T, rng = 3 * decoder.C + decoder.C - 1, np.random.default_rng(4)
    x, other = rng.normal(size=(2, T, decoder.D))
    right = decoder.parallel(x)
    for n in range(T):
        out, state = decoder.prefill(x[:n])
        np.testing.assert_allclose(out, right[:n], atol=1e-8)
        for t in range(n, T):
            decoder.step(other[t], state)
            y, state = decoder.step(x[t], state)
            np.testing.assert_allclose(y, right[t], atol=1e-8)


NAMES = ("position", "kv", "chunks", "waiting", "quad_k", "lin_k", "v")


def save_as_json(path, state):
    """Plain text: repr of a float64 comes back to the last bit. Whole numbers come back as arrays of no axes."""
    layers = [
        {name: [np.shape(layer[name]), np.ravel(layer[name]).tolist()] for name in NAMES} for layer in state["layers"]
    ]
    text = json.dumps({"layers": layers, "last": int(state["last"]), "rng": state["rng"].bit_generator.state})
    part = path.parent / ("new " + path.name)
    part.write_text(text)
    part.replace(path)


def load_from_json(path):
    stored = json.loads(path.read_text())
    layers = []
    for layer in stored["layers"]:
        layers.append({name: np.array(numbers).reshape(shape) for name, (shape, numbers) in layer.items()})
    bits = np.random.PCG64()
    bits.state = stored["rng"]
    return {"layers": layers, "last": stored["last"], "rng": np.random.Generator(bits)}


def save_in_one_row(path, state):
    """One JSON line for what is not an array, then the arrays one behind the other."""
    head = {
        "last": int(state["last"]),
        "rng": state["rng"].bit_generator.state,
        "whole": [],
        "arrays": len(state["layers"]),
    }
    with open(str(path) + "~", "wb") as file:
        for layer in state["layers"]:
            head["whole"].append([int(layer["position"]), int(layer["chunks"])])
        file.write(json.dumps(head).encode() + b"\n")
        for layer in state["layers"]:
            for name in ("kv", "waiting", "quad_k", "lin_k", "v"):
                np.save(file, layer[name], allow_pickle=False)
    os.replace(str(path) + "~", path)


def load_from_one_row(path):
    with open(path, "rb") as file:
        head = json.loads(file.readline())
        layers = [
            {"position": position, "chunks": chunks}
            | {name: np.load(file) for name in ("kv", "waiting", "quad_k", "lin_k", "v")}
            for position, chunks in head["whole"]
        ]
    rng = np.random.default_rng(1)
    rng.bit_generator.state = head["rng"]
    return dict(layers=layers, last=head["last"], rng=rng)


def rollback_by_copy(state, k):
    new, rows = copy.deepcopy(state), len(state["v"])
    if k > rows:
        raise ValueError("a token of a finished chunk cannot be taken back")
    for _ in range(k):
        for name in ("quad_k", "lin_k", "v"):
            new[name] = np.delete(new[name], -1, axis=0)
        new["position"] -= 1
    return new


def rollback_by_indices(state, k):
    keep = np.arange(len(state["v"]))
    if k > len(keep):
        raise ValueError(f"token {state['position'] - k} is part of a sum now")
    keep = keep[: len(keep) - k]
    new = {name: value[keep] if name in ("quad_k", "lin_k", "v") else value for name, value in state.items()}
    new["position"] = int(new["position"]) - k
    return new


# ---------------------------------------------------------------- unusual, and right


def step_in_torch(z_S, v_E, state, layer):
    """Torch inside, NumPy outside; the heads are turned by one product of complex numbers."""
    C, t = len(layer["bias_CC"]), state["position"]
    z, v, gamma, beta = (torch.from_numpy(x) for x in (z_S, v_E, layer["gamma_4S"], layer["beta_4S"]))
    real, imaginary = torch.addcmul(beta, z, gamma).chunk(2, dim=1)
    angle = t * 1e4 ** (-torch.arange(len(z) // 2, dtype=z.dtype) / (len(z) // 2))
    turned = torch.complex(real, imaginary) * torch.polar(torch.ones_like(angle), angle)
    heads = torch.cat([turned.real, turned.imag], dim=1)
    rows = {name: torch.cat([torch.from_numpy(state[name]), row[None]])
            for name, row in zip(("quad_k", "lin_k", "v"), (heads[1], heads[3], v))}  # fmt: skip
    n = len(rows["v"])
    bias = torch.from_numpy(layer["bias_CC"])[n - 1, :n]
    out = torch.addmv(bias, rows["quad_k"], heads[0], alpha=1 / C).relu().square() @ rows["v"]
    out = out + heads[2] @ torch.from_numpy(state["kv"]) / (C * max(state["chunks"], 1))
    new = {**state, "position": t + 1} | {name: row.numpy() for name, row in rows.items()}
    if n == C:
        waiting = np.append(state["waiting"], (rows["lin_k"].T @ rows["v"]).numpy()[None], axis=0)
        ready = len(waiting) - layer["lag"] + 1
        new |= {"kv": state["kv"] + waiting[:ready].sum(0), "chunks": state["chunks"] + ready, "waiting": waiting[ready:]} if (
            ready > 0) else {"waiting": waiting}  # fmt: skip
        new |= {name: row[:0].numpy() for name, row in rows.items()}
    return out.numpy(), new


def filter_in_torch(logits_N, temperature=1.0, top_k=None, top_p=None):
    """Sorted, cut, and put back by `scatter`."""
    x = torch.tensor(logits_N)
    if not temperature:
        return torch.nn.functional.one_hot(x.argmax(), len(x)).double().numpy()
    p, place = (x / temperature).softmax(0).sort(descending=True)
    p[slice(top_k or len(p), None)] = 0
    p /= p.sum()
    if top_p is not None:
        p[p.cumsum(0) - p >= top_p] = 0
    return torch.zeros_like(p).scatter(0, place, p / p.sum()).numpy()


def save_as_hex(path, state):
    """Text in which each number stands in base 16; the move is imported by its name."""
    layers = [{name: [*np.shape(x), *map(float.hex, map(float, np.ravel(x)))] for name, x in layer.items()}
              for layer in state["layers"]]  # fmt: skip
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
        json.dump([layers, int(state["last"]), state["rng"].bit_generator.state], file)
    move_to(file.name, path)


def load_from_hex(path):
    stored, last, dice = json.loads(path.read_bytes())
    rng = np.random.Generator(getattr(np.random, dice["bit_generator"])())
    rng.bit_generator.state = dice
    layers = []
    for layer in stored:
        whole = {name: [n for n in row if isinstance(n, int)] for name, row in layer.items()}
        arrays = {name: np.array([float.fromhex(n) for n in layer[name] if isinstance(n, str)]).reshape(shape)
                  for name, shape in whole.items()}  # fmt: skip
        layers.append({name: x if x.ndim else np.int64(x) for name, x in arrays.items()})
    return {"rng": rng, "last": np.int32(last), "layers": layers}


def rollback_one_by_one(state, k):
    """By recursion, one token at a time."""
    if not k:
        return dict(state)
    if not state["v"].size:
        raise ValueError(f"chunk {state['position'] // 2} is folded, nothing comes back")
    shorter = {name: x[:-1] if name in {"quad_k", "lin_k", "v"} else x for name, x in state.items()}
    return rollback_one_by_one(shorter | {"position": state["position"] - 1}, k - 1)


_n = personal("09.1")
_kept = _n["S"] * _n["E"] + _n["C"] * (2 * _n["S"] + _n["E"])
KEPT = {
    "a": float(_kept),
    "b": np.uint16(2 * _n["D"]),
    "c": Fraction(_kept, _n["D"]),
    "d": np.int64(_n["S"] + _n["E"]),
    "e": "MORE",
}


RIGHT = {
    "09.1": [KEPT],
    "09.2": [step_by_loops, step_on_a_copy, step_in_torch],
    "09.3": [filter_by_masks, filter_by_loop, filter_in_torch],
    "09.4": [assert_by_pieces, assert_with_another_token],
    "09.5": [
        {"save_state": save_as_json, "load_state": load_from_json},
        {"save_state": save_in_one_row, "load_state": load_from_one_row},
        {"save_state": save_as_hex, "load_state": load_from_hex},
    ],
    "09.6": [rollback_by_copy, rollback_by_indices, rollback_one_by_one],
}


# ---------------------------------------------------------------- held-out faults and cases


COPY = '{**state, "rows": [*state["rows"]]}'
PROMPTS, STEPS = "finds wrong prompts and states", "finds wrong steps"
FAULTS = [
    (PROMPTS, "full // self.C,", "full // self.C - (n >= 2 * self.C),"),  # miscounts the chunks of a long prompt
    # forgets the one token behind a prompt's last border
    (PROMPTS, "state = {", "rows = [tuple(0 * a for a in rows[0])] if n % self.C == 1 else rows; state = {"),
    # forgets the older chunks at the third border
    (STEPS, '"kv": kv + linear.T @ values',
     '"kv": linear.T @ values * 3 / 2 if chunks == 2 else kv + linear.T @ values'),
    # of a prompt's outputs the last one alone is right
    (PROMPTS, "return self.parallel(x_nD), state", "return np.r_[0 * x_nD[:-1], self.parallel(x_nD)[-1:]], state"),
    # copies the state of a prompt, and changes that of a step
    (PROMPTS, COPY, f'state if "stepped" in state else {COPY} | {{"stepped": True}}'),
    (PROMPTS, COPY, f'state if len(state["rows"]) == self.C - 1 else {COPY}'),  # changes its state at a border only
]  # fmt: skip


def held_out_4(rng) -> list[Case]:
    """Cases that only `grade` tries."""
    C = int(rng.integers(3, 5))
    right = decoder_case("held out", "passes what is right", Decoder, C)  # else C would tell the others from it
    return [right, *(decoder_case("held out", part, faulty(*edits), C) for part, *edits in FAULTS)]
