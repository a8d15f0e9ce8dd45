"""Problem set 09: generation. Cases, the oracle, and wrong answers; the right answers lie in ``solutions``."""

import copy
import json
import os
import pickle
import shutil
import tempfile
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np

from ..exercise import Case, Said, Wrong, call, exercises_of, outcome_of_test, predicted, unchanged

# ---------------------------------------------------------------- 09.1 what must be kept


def draw_1(rng):
    D = 64 * int(rng.integers(8, 17))
    return {"D": D, "heads": D // 64, "S": int(rng.choice([64, 96, 128])), "E": 2 * D,
            "C": 64 * int(rng.integers(2, 6))}  # fmt: skip


def state_of_flash(n):
    return n["S"] * n["E"] + n["C"] * (2 * n["S"] + n["E"])


def answers_1(n):
    return {
        "a": state_of_flash(n), "b": 2 * n["D"], "c": 2 * state_of_flash(n) // (2 * n["D"]) + 1,
        "d": n["S"] + n["E"], "e": "more",
    }  # fmt: skip


# ---------------------------------------------------------------- 09.2 step


def turn(x_S, position):
    """RoPE, one vector: pair (k, k + S/2) is turned by the angle of the position."""
    half = len(x_S) // 2
    angles = position * 10000.0 ** (-np.arange(half) / half)
    a, b = x_S[:half], x_S[half:]
    return np.concatenate([a * np.cos(angles) - b * np.sin(angles), a * np.sin(angles) + b * np.cos(angles)])


def empty_state(S, E):
    return {
        "position": 0, "kv": np.zeros((S, E)), "chunks": 0, "waiting": np.zeros((0, S, E)),
        "quad_k": np.zeros((0, S)), "lin_k": np.zeros((0, S)), "v": np.zeros((0, E)),
    }  # fmt: skip


def heads_of(z_S, t, layer, how, restart):
    """quad_q, quad_k, lin_q, lin_k of token t, turned."""
    angles = [t, t, t % len(layer["bias_CC"]), t % len(layer["bias_CC"])] if restart else [t] * 4
    if how == "turned first":
        return [turn(z_S, t) * layer["gamma_4S"][h] + layer["beta_4S"][h] for h in range(4)]
    base = [z_S * layer["gamma_4S"][h] + layer["beta_4S"][h] for h in range(4)]
    if how == "not turned":
        return base
    quad_q, quad_k, lin_q, lin_k = (turn(head, angle) for head, angle in zip(base, angles))
    return (quad_q, lin_q, quad_k, lin_k) if how == "queries first" else (quad_q, quad_k, lin_q, lin_k)


def step(
    z_S, v_E, state, layer, *,
    near_by="C", far_by="tokens", fold="behind", restart=False, bias="row", itself=True, bias_inside=False, lag=None,
    first_out="oldest", in_place=False, place_from_rows=True, heads="turned", power=2,
):  # fmt: skip
    """The oracle, as loops. What stands behind the star makes the wrong answers."""
    C, t, new = len(layer["bias_CC"]), state["position"], state if in_place else dict(state)
    quad_q, quad_k, lin_q, lin_k = heads_of(z_S, t, layer, heads, restart)
    behind = {"g": t // C, "g - lag": t // C - layer["lag"]}
    lag = layer["lag"] if lag is None else layer["lag"] + lag if lag > 0 else 1
    for name, row in (("quad_k", quad_k), ("lin_k", lin_k), ("v", v_E)):
        new[name] = np.concatenate([new[name], row[None]])
    rows = len(new["v"])
    place = rows - 1 if place_from_rows else t % C
    near = np.zeros(len(v_E))
    for j in range(rows if itself else rows - 1):
        b = {"row": (place, j % C), "column": (j % C, place), "row 0": (0, j % C)}[bias]
        score, by = quad_q @ new["quad_k"][j], {"C": C, "i + 1": place + 1, "t + 1": t + 1}[near_by]
        score = (score + layer["bias_CC"][b]) / by if bias_inside else score / by + layer["bias_CC"][b]
        near += max(score, 0) ** power * new["v"][j]
    if fold == "before":
        fold_in(new, C, lag, fold, first_out)
    far = np.zeros(len(v_E))
    for s in range(len(lin_q)):
        far += lin_q[s] * new["kv"][s]
    chunks = max(new["chunks"], 1)
    far = far / {"tokens": chunks * C, "one more": (chunks + 1) * C, "C": C, "chunks": chunks, "t": max(t, 1),
                 **{name: max(n, 1) * C for name, n in behind.items()}}[far_by]  # fmt: skip
    if fold != "before":
        fold_in(new, C, lag, fold, first_out)
    new["position"] = t + 1
    return near + far, new


def fold_in(new, C, lag, fold, first_out):
    """At the end of a chunk: its sum waits, the oldest that may be read goes into kv, the rows are dropped."""
    rows = len(new["v"])
    if rows == 0 or rows % C:
        return
    kv = np.zeros_like(new["kv"])
    for j in range(rows - C, rows):
        kv += np.outer(new["lin_k"][j], new["v"][j])
    waiting = [*new["waiting"], kv]
    while len(waiting) > lag - 1:
        ready = waiting.pop(0 if first_out == "oldest" else -1)
        if fold != "never":
            new["kv"] = ready if fold == "last only" else new["kv"] + ready
        new["chunks"] += 1
    new["waiting"] = np.array(waiting).reshape(-1, *kv.shape)
    if fold != "rows stay":
        for name in ("quad_k", "lin_k", "v"):
            new[name] = new[name][:0]


def step_over_C(z_S, v_E, state, layer):
    """Its sums are divided when they are kept."""
    C = len(layer["bias_CC"])
    sums = {name: state[name] * C for name in ("kv", "waiting")}
    out, new = step(z_S, v_E, state | sums, layer)
    return out, new | {name: new[name] / C for name in sums}


def draw_layer(rng, S, C, lag=1):
    gamma_4S, beta_4S = rng.normal(size=(2, 4, S))
    return {"gamma_4S": gamma_4S, "beta_4S": beta_4S, "bias_CC": rng.normal(size=(C, C)) + 1, "lag": lag}


def after(n, rng, layer, S, E):
    """A state after n tokens."""
    state = empty_state(S, E)
    for z_S, v_E in zip(rng.normal(size=(n, S)), rng.normal(size=(n, E))):
        _, state = step(z_S, v_E, state, layer)
    return state


def same_state(a, b):
    return unchanged(a, b) and all(a[name] == b[name] for name in ("position", "chunks"))


def one_step(f, z_S, v_E, state, layer):
    """(out, state) of a student's step; what it was given must stay, but for the state, which is asked elsewhere."""
    given = copy.deepcopy((z_S, v_E, layer))
    result = f(*given[:2], state, given[2])
    for position, before, now in zip((1, 2, 4), (z_S, v_E, layer), given):
        if not unchanged(before, now):
            raise Said("all", "changed", argument=position)
    if result is None:
        raise Said("all", "none")
    if not isinstance(result, tuple | list) or len(result) != 2:
        raise Said("all", "several", expected=2, got=len(result) if isinstance(result, tuple | list) else 1)
    return result


def cases_2(rng, numbers):
    def case(name, part, T, S, E, C, lag=1, read=0, **how):
        layer = draw_layer(rng, S, C, lag)
        begin, z_TS, v_TE = after(read, rng, layer, S, E), rng.normal(size=(T, S)), rng.normal(size=(T, E))

        def outputs(f):
            state, out = copy.deepcopy(begin), []
            for z_S, v_E in zip(z_TS, v_TE):
                out_E, state = one_step(f, z_S, v_E, state, layer)
                out.append(out_E)
            return np.array(out)

        def state_at_the_end(f):
            state = copy.deepcopy(begin)
            for z_S, v_E in zip(z_TS, v_TE):
                _, state = one_step(f, z_S, v_E, state, layer)
            return state

        def given_state_stays(f):
            state = copy.deepcopy(begin)
            for z_S, v_E in zip(z_TS, v_TE):
                before = copy.deepcopy(state)
                _, later = one_step(f, z_S, v_E, state, layer)
                if not same_state(before, state):
                    raise Said("09.2", "in place")
                state = later
            return True

        run = {"outputs": outputs, "state": state_at_the_end, "stays": given_state_stays}[how.get("look", "outputs")]
        return Case(name, part, run, f"T = {T}, S = {S}, E = {E}, C = {C}, lag = {lag}, {read} tokens read before")

    return [
        case("three chunks and a tail", "values", 15, 4, 5, 4),
        case("four chunks and a tail", "values", 23, 6, 3, 5),
        case("a lag of 2", "lag", 22, 4, 3, 5, 2),
        case("a lag of 3", "lag", 19, 2, 5, 3, 3),
        case("C = 1", "edge sizes", 7, 4, 3, 1),
        case("fewer tokens than C", "edge sizes", 3, 2, 5, 7),
        case("goes on from a given state", "edge sizes", 9, 4, 3, 5, 1, 13),
        case("the state after the last token", "the state", 14, 2, 5, 4, 2, look="state"),
        case("the state that was given", "the state", 9, 4, 2, 3, look="stays"),
    ]


# ---------------------------------------------------------------- 09.3 filter_logits


def filter_logits(logits_N, temperature=1.0, top_k=None, top_p=None, *, p_rule="reach", order="temperature",
                  both="after top-k", norm=True, hot=False, zero="largest", shift=True, place="own"):  # fmt: skip
    """The oracle, as loops. What stands behind the star makes the wrong answers."""
    N = len(logits_N)
    if temperature == 0 and zero == "largest":
        return np.array([float(i == int(np.argmax(logits_N))) for i in range(N)])
    with np.errstate(all="ignore"):
        scaled = np.asarray(logits_N, float) * temperature if hot else np.asarray(logits_N, float) / temperature
        counted = np.asarray(logits_N, float) if order == "filter first" else scaled
        p = softmax(counted, shift)
        by_size = sorted(range(N), key=lambda i: -p[i])
        kept = by_size[:top_k] if top_k is not None else by_size
        if top_p is not None:
            total = sum(p[i] for i in kept) if both == "after top-k" else 1.0
            order_of_sum = sorted(kept) if p_rule == "unsorted" else kept
            kept = nucleus(order_of_sum, p / total, top_p, p_rule)
        p = softmax(scaled, shift)
        out = np.array([p[i] if i in kept else 0.0 for i in range(N)])
        out = out / out.sum() if norm else out
        return out if place == "own" else np.sort(out)[::-1].copy()


def softmax(x, shift):
    weights = np.exp(x - x.max()) if shift else np.exp(x)
    return weights / weights.sum()


def nucleus(candidates, p, top_p, rule):
    """The tokens that top-p keeps, of candidates in the order of their size."""
    if rule == "floor":
        return [i for i in candidates if p[i] >= 1 - top_p]
    if rule == "each":
        return [i for i in candidates if p[i] >= top_p]
    kept, total = [], 0.0
    for i in candidates:
        if rule in ("dropped", "dropped but one"):
            if total + p[i] > top_p and not (rule == "dropped but one" and not kept):
                break
        elif total >= top_p:
            return [*kept, i] if rule == "one more" else kept
        kept.append(i)
        total += p[i]
    return kept


def cases_3(rng, numbers):
    def case(name, part, N, **how):
        return call(name, part, rng.permutation(rng.normal(size=N) * 1.5), sizes=f"N = {N}, {how}", **how)

    def fixed(name, part, p, **how):
        return call(name, part, np.log(np.array(p)), sizes=f"probabilities {p}, {how}", **how)

    return [
        case("as it is", "temperature", 7),
        case("cold", "temperature", 8, temperature=0.6),
        case("hot", "temperature", 6, temperature=1.7),
        case("temperature 0", "temperature", 9, temperature=0),
        call("large logits", "temperature", rng.permutation(900 + 5 * np.arange(6.0)), temperature=0.5,
             sizes="logits up to 925, temperature 0.5"),
        case("three of nine", "top-k", 9, top_k=3),
        case("all are kept", "top-k", 5, top_k=5),
        case("one is kept, hot", "top-k", 6, top_k=1, temperature=1.4),
        case("top-p", "top-p", 10, top_p=0.7),
        fixed("the first alone is more than p", "top-p", [0.05, 0.6, 0.1, 0.25], top_p=0.5),
        fixed("the third crosses p", "top-p", [0.08, 0.3, 0.12, 0.4, 0.1], top_p=0.75),
        fixed("hot, top-p", "top-p", [0.1, 0.02, 0.7, 0.05, 0.13], top_p=0.72, temperature=1.5),
        fixed("top-k, then top-p", "both", [0.06, 0.36, 0.12, 0.2, 0.1, 0.16], top_k=3, top_p=0.6),
        fixed("all three", "both", [0.3, 0.06, 0.1, 0.36, 0.18], temperature=1.3, top_k=4, top_p=0.65),
    ]  # fmt: skip


# ---------------------------------------------------------------- 09.4 assert_steps_equal_parallel


class Decoder:
    """A causal FLASH layer of D = 6 with its token-by-token form; ``fault`` names what is wrong with the latter."""

    D, S = 6, 4

    def __init__(self, C, fault=None, combine="mean", far=1.0):
        rng = np.random.default_rng(9)
        self.C, self._fault, self._combine, self._far = C, fault, combine, far
        self._heads = rng.normal(size=(4, self.D, self.S)) / 2
        self._value = rng.normal(size=(self.D, self.D)) / 40
        self._bias = rng.normal(size=(C, C)) + 4  # no weight is closed

    def _turned(self, x_TD, first):
        rows = x_TD @ self._heads  # (4, T, S)
        angles = (first + np.arange(len(x_TD)))[:, None] * 10000.0 ** (-np.arange(self.S // 2) / (self.S // 2))
        a, b = np.split(rows, 2, -1)
        cos, sin = np.cos(angles), np.sin(angles)
        return np.concatenate([a * cos - b * sin, a * sin + b * cos], -1)

    def parallel(self, x_TD):
        T, C = len(x_TD), self.C
        quad_q, quad_k, lin_q, lin_k = self._turned(x_TD, 0)
        i, j = np.indices((T, T))
        near = np.maximum(quad_q @ quad_k.T / C + self._bias[i % C, j % C], 0) ** 2 * ((i // C == j // C) & (j <= i))
        chunks = np.maximum(i // C, 1) if self._combine == "mean" else 1
        far = self._far * (lin_q @ lin_k.T) * (j // C < i // C) / (C * chunks)
        return (near + far) @ (x_TD @ self._value)

    def prefill(self, x_nD):
        n, C, fault = len(x_nD), self.C, self._fault
        _, quad_k, _, lin_k = self._turned(x_nD, 0)
        v, full = x_nD @ self._value, n // C * C
        state = {
            "t": n, "kv": lin_k[:full].T @ v[:full], "chunks": n // C,
            "rows": [(a, b, c) for a, b, c in zip(quad_k[full:], lin_k[full:], v[full:])],
        }  # fmt: skip
        out = self.parallel(x_nD)
        if fault == "border" and n and n == full:
            state["kv"], state["chunks"] = lin_k[: full - C].T @ v[: full - C], n // C - 1
        if fault == "empty prompt" and not n:
            state["chunks"] = 1
        if fault == "any prompt":
            state["t"] = 0
        if fault == "count" and n >= 2 * C:  # held out
            state["chunks"] -= 1
        if fault == "one token" and n % C == 1:  # held out
            state["rows"] = [tuple(0 * a for a in state["rows"][0])]
        if fault == "prompt's outputs" and n:
            out[C:] = x_nD[C:] @ self._value
        if fault == "rows":
            state["rows"] = []
        return out, state

    def step(self, x_D, state):
        C, fault = self.C, self._fault
        changes = fault == "in place" or (fault == "in place at a border" and len(state["rows"]) == C - 1)
        new = state if changes else {**state, "rows": [*state["rows"]]}
        quad_q, quad_k, lin_q, lin_k = self._turned(x_D[None], new["t"])[:, 0]
        if fault == "restart":
            _, _, lin_q, lin_k = self._turned(x_D[None], new["t"] % C)[:, 0]
        new["rows"].append((quad_k, lin_k, x_D @ self._value))
        new["t"] += 1
        keys, linear, values = (np.array(each) for each in zip(*new["rows"]))
        place = len(values) - 1
        scores = keys @ quad_q / (place + 1 if fault == "place" else C) + self._bias[place, : place + 1]
        near = np.maximum(scores, 0) ** 2 @ values
        kv, chunks = new["kv"], new["chunks"]
        if place == C - 1:
            new["kv"], new["chunks"], new["rows"] = kv + linear.T @ values, chunks + 1, []
            if fault == "folds first":
                kv, chunks = new["kv"], new["chunks"]
            if fault == "fold":
                new["kv"] = linear.T @ values
            if fault == "old chunk" and chunks == 2:  # held out
                new["kv"] = linear.T @ values * 3 / 2
        if fault == "sum" or self._combine == "sum":
            chunks = 1
        divisor = max(chunks, 1) + (fault == "one more")
        return near + self._far * (lin_q @ kv) / (divisor * C), new


class Rereader(Decoder):
    """Right, and slow: its state is the whole text."""

    def prefill(self, x_nD):
        return self.parallel(x_nD), x_nD

    def step(self, x_D, state):
        state = np.concatenate([state, x_D[None]])
        return self.parallel(state)[-1], state


RIGHT_4 = {"the mean": Decoder, "the sum": partial(Decoder, combine="sum"), "reads all again": Rereader}
FAULTS_4 = {
    "scores over the place + 1": partial(Decoder, fault="place"),
    "folds before it reads": partial(Decoder, fault="folds first"),
    "mean over one chunk more": partial(Decoder, fault="one more"),
    "mean over one chunk more, far part small": partial(Decoder, fault="one more", far=1e-3),
    "sum of means": partial(Decoder, fault="sum"),
    "RoPE of the far part starts again in each chunk": partial(Decoder, fault="restart"),
    "forgets the older chunks when a step folds": partial(Decoder, fault="fold"),
    "forgets a chunk after a prompt that ends on a border": partial(Decoder, fault="border"),
    "counts from 0 after a prompt": partial(Decoder, fault="any prompt"),
    "forgets the unfinished chunk of a prompt": partial(Decoder, fault="rows"),
    "outputs of the prompt are wrong": partial(Decoder, fault="prompt's outputs"),
    "counts an empty prompt as a chunk": partial(Decoder, fault="empty prompt"),
    "changes the state it was given": partial(Decoder, fault="in place"),
}


def test_case(name, part, make, C):
    return Case(name, part, lambda test: outcome_of_test(test, make(C)), f"C = {C}", say=name)


def cases_4(rng, numbers):
    C = int(rng.integers(3, 5))
    late = [*FAULTS_4][7:]
    return [
        *(test_case(name, "passes what is right", make, C) for name, make in RIGHT_4.items()),
        *(test_case(name, "finds wrong steps", FAULTS_4[name], C) for name in FAULTS_4 if name not in late),
        *(test_case(name, "finds wrong prompts and states", FAULTS_4[name], C) for name in late),
    ]


def steps_test(decoder, T=None, prompts=None, places=None, again=True, prefix=True, close=None, most=None):
    """The oracle. With other arguments it makes the weak tests."""
    C = decoder.C
    T = 3 * C + 2 if T is None else T(C)
    close = close or (lambda a, b: np.allclose(a, b, rtol=0, atol=1e-8))
    x = np.random.default_rng(0).normal(size=(T, decoder.D))
    right = decoder.parallel(x)
    for n in (0, 1, C - 1, C, C + 1, 2 * C) if prompts is None else prompts(C):
        out, state = decoder.prefill(x[:n])
        assert not prefix or close(out, right[:n])
        for t in range(n, T if most is None else min(T, n + most)):
            if again:
                decoder.step(x[t], state)
            out, state = decoder.step(x[t], state)
            assert (places is not None and t % C not in places(C)) or close(out, right[t])


def weak_reads_at_once(decoder):
    x = np.random.default_rng(0).normal(size=(3 * decoder.C + 2, decoder.D))
    for n in range(len(x)):
        assert np.allclose(decoder.prefill(x[:n])[0], decoder.parallel(x)[:n])


# ---------------------------------------------------------------- 09.5 save_state, load_state

LAYERS_5, SIZES_5 = 2, {"S": 4, "E": 6, "C": 5, "N": 11}


def little_model():
    """Two layers, the second with a lag of 2."""
    rng, S, E, N = np.random.default_rng(95), SIZES_5["S"], SIZES_5["E"], SIZES_5["N"]
    layers = [
        {"base": rng.normal(size=(E, S)), "value": rng.normal(size=(E, E)), "out": rng.normal(size=(E, E)) / 6,
         "layer": draw_layer(rng, S, SIZES_5["C"], lag)} for lag in (1, 2)
    ]  # fmt: skip
    return rng.normal(size=(N, E)), layers


def go_on(state, n):
    """n more tokens: (their logits, the tokens, the state). The state given stays as it is."""
    embedding, layers = little_model()
    state, tokens, all_logits = copy.deepcopy(state), [], []
    for _ in range(n):
        x = embedding[int(state["last"])]
        for number, one in enumerate(layers):
            y = x / np.abs(x).max()
            out, new = step(y @ one["base"], y @ one["value"], state["layers"][number], one["layer"])
            state["layers"][number], x = new, x + out @ one["out"]
        logits = embedding @ x / (1 + np.abs(x).max())
        state["last"] = int(state["rng"].choice(len(logits), p=softmax(logits, True)))
        tokens.append(state["last"])
        all_logits.append(logits)
    return np.array(all_logits), np.array(tokens), state


def written(n, seed):
    layers = [empty_state(SIZES_5["S"], SIZES_5["E"]) for _ in range(LAYERS_5)]
    return go_on({"layers": layers, "last": seed % SIZES_5["N"], "rng": np.random.default_rng(seed)}, n)[2]


def text_of(state, n=12):
    """What is written from a loaded state; says so if the state lacks something."""
    wanted = {"layers": LAYERS_5, "last": None, "rng": None}
    if state is None:
        raise Said("all", "none")
    if not isinstance(state, dict) or set(state) != set(wanted):
        got = ", ".join(map(str, state)) if isinstance(state, dict) else type(state).__name__
        raise Said("all", "keys", expected=", ".join(wanted), got=got)
    for layer in state["layers"]:
        if set(layer) != set(empty_state(1, 1)):
            raise Said("all", "keys", expected=", ".join(empty_state(1, 1)), got=", ".join(map(str, layer)))
    logits, tokens, _ = go_on(state, n)
    return logits, tokens


def same_session(a, b):
    """As same_state, for all layers and the generator."""
    if set(a) != set(b) or type(a["rng"]) is not type(b["rng"]):
        return False
    layers = len(a["layers"]) == len(b["layers"]) and all(map(same_state, a["layers"], b["layers"]))
    return layers and a["last"] == b["last"] and a["rng"].bit_generator.state == b["rng"].bit_generator.state


PICKLING = ("dump", "dumps", "Pickler")


@contextmanager
def watched():
    """Within it, writing a pickle, or losing a saved state on the way to a new one, ends the case.

    A copy of what was moved to ``text.state`` last, as it was at that moment, lies beside it under the name ``came``;
    ``from elsewhere`` lies there if it came from another folder.
    """

    def refuse(*args, **kwargs):
        raise Said("09.5", "pickle")

    class Refuses(pickle.Pickler):
        __init__ = refuse

    def lost(path):
        if Path(path).name == "text.state" and Path(path).exists():
            raise Said("09.5", "removed")

    def removing(path, **kwargs):
        lost(path)
        return before["remove"](path, **kwargs)

    def moving(move):
        def moved(source, target, **kwargs):
            if Path(target).name == "text.state":
                folder = Path(target).resolve().parent
                if Path(source).resolve().parent != folder:
                    (folder / "from elsewhere").touch()
                shutil.copyfile(source, folder / "came")
            else:
                lost(source)
            return move(source, target, **kwargs)

        return moved

    before = {name: getattr(os, name) for name in ("remove", "unlink", "replace", "rename")}
    pickling = {name: getattr(pickle, name) for name in PICKLING}
    try:
        pickle.dump, pickle.dumps, pickle.Pickler = refuse, refuse, Refuses
        os.remove = os.unlink = removing
        os.replace, os.rename = moving(before["replace"]), moving(before["rename"])
        yield
    finally:
        for module, names in ((os, before), (pickle, pickling)):
            for name, value in names.items():
                setattr(module, name, value)


def alone(path):
    """The saved file in a folder of its own, without what may lie beside it."""
    folder = path.parent / "alone"
    folder.mkdir()
    shutil.copyfile(path, folder / "moved.state")
    return folder / "moved.state"


def loaded(answers, path):
    try:
        return answers.load_state(path)
    except FileNotFoundError:
        raise Said("09.5", "two files") from None


def cases_5(rng, numbers):
    def in_folder(name, part, work, sizes):
        def run(answers):
            with tempfile.TemporaryDirectory() as folder, watched():
                return work(answers, Path(folder))

        return Case(name, part, run, sizes)

    def save(answers, path, state):
        given = copy.deepcopy(state)
        answers.save_state(path, given)
        if not same_session(state, given):
            raise Said("all", "changed", argument=2)
        if not path.is_file():
            raise Said("09.5", "no file")
        return given

    def there_and_back(name, part, n):
        state = written(n, int(rng.integers(1000)))

        def work(answers, folder):
            save(answers, folder / "text.state", state)
            return text_of(loaded(answers, alone(folder / "text.state")))

        return in_folder(name, part, work, f"{n} tokens read, C = {SIZES_5['C']}")

    one, other = written(13, int(rng.integers(1000))), written(17, int(rng.integers(1000)))

    def dice(answers, folder):
        save(answers, folder / "text.state", one)
        loaded = answers.load_state(folder / "text.state")
        text_of(loaded, 1)
        return loaded["rng"].integers(1000, size=9)

    def overwritten_later(answers, folder):
        given = save(answers, folder / "text.state", one)
        for layer in given["layers"]:
            for value in layer.values():
                if isinstance(value, np.ndarray):
                    value[...] = 1  # as a decoder does that writes into one buffer
        given["rng"].random(5)
        return text_of(answers.load_state(folder / "text.state"))

    def saved_over(answers, folder):
        """A second name for the file keeps the old state, if the new one was written beside it and moved there."""
        path, second = folder / "text.state", folder / "kept.state"
        save(answers, path, one)
        try:
            os.link(path, second)
        except (OSError, NotImplementedError, AttributeError):
            second.write_bytes(path.read_bytes())  # no second names here: this case sees nothing
        save(answers, path, other)
        if (folder / "from elsewhere").exists():
            raise Said("09.5", "elsewhere")
        if (folder / "came").exists():
            try:
                text_of(answers.load_state(folder / "came"), 1)
            except Exception:
                raise Said("09.5", "not whole") from None
        try:
            before = text_of(answers.load_state(second))
        except Exception:  # half a file
            before = None
        return before, text_of(answers.load_state(path))

    return [
        there_and_back("in the middle of a chunk", "the numbers", 14),
        there_and_back("on a border", "the numbers", 20),
        there_and_back("before the first border", "the numbers", 3),
        in_folder("the next dice", "the dice", dice, "13 tokens read, C = 5"),
        in_folder("overwritten after it was saved", "the file", overwritten_later, "13 tokens read, C = 5"),
        in_folder("saved over an older state", "the file", saved_over, "13 and 17 tokens read, C = 5"),
    ]  # fmt: skip


def save_state(path, state, narrow=None, in_place=False, way="closed"):
    entries = {"last": np.array(state["last"]), "dice": np.array(json.dumps(state["rng"].bit_generator.state))}
    for number, layer in enumerate(state["layers"]):
        for name, value in layer.items():
            value = np.asarray(value)
            entries[f"{number} {name}"] = value.astype(narrow) if narrow and value.dtype == float else value
    folder = Path(tempfile.gettempdir()) if way == "elsewhere" else path.parent
    target = path if in_place else folder / (path.name + ".part")
    with open(target, "wb") as file:
        if way == "early":
            os.replace(target, path)
        np.savez(file, **entries)
    if not in_place and way != "early":
        os.replace(target, path)


def save_after_moving(path, state):
    if path.exists():
        os.replace(path, path.with_name("old"))
    save_state(path, state)


def save_in_two(path, state):
    save_state(path, state)
    path.with_suffix(".json").write_text(json.dumps(state["rng"].bit_generator.state))


def load_from_two(path):
    state = load_state(path)
    state["rng"].bit_generator.state = json.loads(path.with_suffix(".json").read_text())
    return state


def remove_and_save(path, state):
    path.unlink(missing_ok=True)
    save_state(path, state)


def load_state(path, leave=(), dice=None, layers=None):
    with np.load(path) as stored:
        found = {name: stored[name] for name in stored.files}
    rng = np.random.default_rng(0)
    if dice is None:
        rng.bit_generator.state = json.loads(str(found["dice"]))
    state = {"layers": [], "last": 0 if "last" in leave else int(found["last"]), "rng": rng}
    for number in range(LAYERS_5):
        empty, layer = empty_state(SIZES_5["S"], SIZES_5["E"]), {}
        for name in empty:
            value = found[f"{number if layers is None else layers} {name}"]
            layer[name] = empty[name] if name in leave else int(value) if value.ndim == 0 else value.astype(float)
        state["layers"].append(layer)
    return state


SHELF = {}  # of the wrong answer that stores a reference


def shelve_state(path, state):
    SHELF[path.parent] = state
    path.write_text("kept in memory")


# ---------------------------------------------------------------- 09.6 rollback


def rollback(state, k, *, cut=("quad_k", "lin_k", "v"), position=True, limit=0, across="refuse", end="newest",
             in_place=False, zero=True, words="token {n} was folded and cannot be taken back"):  # fmt: skip
    """The oracle. What stands behind the star makes the wrong answers."""
    rows, new = len(state["v"]), state if in_place else dict(state)
    if k > rows - limit and not (limit and k == 0):
        if across == "refuse":
            raise ValueError(words.format(n=state["position"] - k))
        if across == "subtract":
            new["kv"] = state["kv"] - state["lin_k"].T @ state["v"]
            new["chunks"] = state["chunks"] - 1
    for name in cut:
        if end == "oldest":
            new[name] = state[name][k:]
        elif not zero and k == 0:
            new[name] = state[name][:0]
        else:
            new[name] = state[name][: max(rows - k, 0)]
    if position:
        new["position"] = state["position"] - (min(k, rows) if across == "clamp" else k)
    return new


def cases_6(rng, numbers):
    def case(name, n, S, E, C, k, lag=1):
        state = after(n, rng, draw_layer(rng, S, C, lag), S, E)
        sizes = f"{n} tokens read, C = {C}, lag = {lag}, k = {k}"

        def inside(f):
            given = copy.deepcopy(state)
            back = f(given, k)
            if not same_state(state, given):
                raise Said("09.6", "changed")
            return back

        def refused(f):
            try:
                return f(copy.deepcopy(state), k)
            except ValueError as error:
                if len(str(error).split()) < 4:
                    raise Said("09.6", "no sentence") from None
                return "refuses"

        if k <= n % C:
            return Case(name, "inside the chunk", inside, sizes)
        return Case(name, "across a border", refused, sizes, say="across")

    return [
        case("two of four", 14, 4, 3, 5, 2),
        case("all that is there", 19, 2, 5, 8, 3),
        case("back to the start of the text", 4, 6, 2, 7, 4),
        case("nothing", 13, 4, 5, 5, 0),
        case("nothing, on a border", 12, 2, 3, 4, 0),
        case("one of three, a lag of 2", 15, 4, 2, 4, 1, 2),
        case("one token too many", 14, 4, 3, 5, 5),
        case("one token, on a border", 15, 2, 5, 5, 1),
        case("two tokens, a lag of 2", 9, 4, 3, 4, 2, 2),
        case("more than a chunk", 23, 2, 4, 5, 9),
    ]


EXERCISES = exercises_of("09", {
    "09.1": dict(
        cases=lambda rng, n: [predicted(key) for key in "abcde"], right=answers_1, draw=draw_1, tolerance=0.005,
        wrong=(
            Wrong("a: sum only", lambda n: n["S"] * n["E"], of="a"),
            Wrong("a: rows only", lambda n: n["C"] * (2 * n["S"] + n["E"]), of="a"),
            Wrong("a: one key", lambda n: n["S"] * n["E"] + n["C"] * (n["S"] + n["E"]), of="a"),
            Wrong("a: queries", lambda n: n["S"] * n["E"] + n["C"] * (4 * n["S"] + n["E"]), of="a"),
            Wrong("b: one head", lambda n: 2 * n["D"] // n["heads"], of="b"),
            Wrong("b: half", lambda n: n["D"], of="b"),
            Wrong("b: queries", lambda n: 3 * n["D"], of="b"),
            Wrong("c: one layer", lambda n: state_of_flash(n) // (2 * n["D"]) + 1, of="c"),
            Wrong("c: sum only", lambda n: n["S"] * n["E"] // n["D"] + 1, of="c"),
            Wrong("c: C", lambda n: n["C"], of="c"),
            Wrong("d: 2 S + E", lambda n: 2 * (n["S"] + n["D"]), of="d"),
            Wrong("d: D wide", lambda n: n["S"] + n["D"], of="d"),
            Wrong("d: two layers", lambda n: 2 * (n["S"] + n["E"]), of="d"), Wrong("e: less", lambda n: "less", of="e"),
        ),
    ),
    "09.2": dict(
        cases=cases_2, right=step,
        wrong=(
            Wrong("i + 1", partial(step, near_by="i + 1")), Wrong("t + 1", partial(step, near_by="t + 1")),
            Wrong("one more", partial(step, far_by="one more")), Wrong("not divided", partial(step, far_by="C")),
            Wrong("by tokens read", partial(step, far_by="t")), Wrong("folds first", partial(step, fold="before")),
            Wrong("not over C", partial(step, far_by="chunks")), Wrong("restart", partial(step, restart=True)),
            Wrong("row 0", partial(step, bias="row 0")), Wrong("column", partial(step, bias="column")),
            Wrong("never folds", partial(step, fold="never")), Wrong("last only", partial(step, fold="last only")),
            Wrong("rows stay", partial(step, fold="rows stay", place_from_rows=False)),
            Wrong("not itself", partial(step, itself=False)), Wrong("bias inside", partial(step, bias_inside=True)),
            Wrong("lag of 1", partial(step, lag=0)), Wrong("one later", partial(step, lag=1)),
            Wrong("newest first", partial(step, first_out="newest")), Wrong("in place", partial(step, in_place=True)),
            Wrong("over C", step_over_C), Wrong("all finished", partial(step, far_by="g")),
            Wrong("one fewer", partial(step, far_by="g - lag")), Wrong("relu once", partial(step, power=1)),
            Wrong("turned first", partial(step, heads="turned first")),
            Wrong("not turned", partial(step, heads="not turned")),
            Wrong("queries first", partial(step, heads="queries first")),
        ),
    ),
    "09.3": dict(
        cases=cases_3, right=filter_logits,
        wrong=(
            Wrong("dropped", partial(filter_logits, p_rule="dropped")),
            Wrong("dropped but one", partial(filter_logits, p_rule="dropped but one")),
            Wrong("one more", partial(filter_logits, p_rule="one more")),
            Wrong("unsorted", partial(filter_logits, p_rule="unsorted")),
            Wrong("floor", partial(filter_logits, p_rule="floor")),
            Wrong("each", partial(filter_logits, p_rule="each")),
            Wrong("not renormalised", partial(filter_logits, norm=False)),
            Wrong("filter first", partial(filter_logits, order="filter first")),
            Wrong("multiplied", partial(filter_logits, hot=True)),
            Wrong("zero", partial(filter_logits, zero="divides")),
            Wrong("overflow", partial(filter_logits, shift=False)),
            Wrong("before top-k", partial(filter_logits, both="all")),
            Wrong("sorted", partial(filter_logits, place="sorted")),
            Wrong("input", lambda logits_N, *rules, **named: logits_N),
        ),
    ),
    "09.4": dict(
        cases=cases_4, right=steps_test, shut=False,
        wrong=(
            Wrong("weak: one chunk", partial(steps_test, T=lambda C: C, prompts=lambda C: range(C + 1))),
            Wrong("weak: two chunks", partial(steps_test, T=lambda C: 2 * C)),
            Wrong("weak: no prompt", partial(steps_test, prompts=lambda C: [0])),
            Wrong("weak: inside only", partial(steps_test, prompts=lambda C: [0, 1, C - 1, C + 1])),
            Wrong("weak: on a border only", partial(steps_test, prompts=lambda C: [C, 2 * C])),
            Wrong("weak: last place", partial(steps_test, places=lambda C: [C - 1])),
            Wrong("weak: once", partial(steps_test, again=False)),
            Wrong("weak: steps only", partial(steps_test, prefix=False)),
            Wrong("weak: equality", partial(steps_test, close=np.array_equal)),
            Wrong("weak: loose", partial(steps_test, close=lambda a, b: np.allclose(a, b, rtol=0.01, atol=0.01))),
            Wrong("weak: reads at once", weak_reads_at_once),
            Wrong("weak: one step", partial(steps_test, prompts=lambda C: range(3 * C + 2), most=1)),
            Wrong("weak: from 1", partial(steps_test, prompts=lambda C: range(1, 3 * C + 2))),
        ),
    ),
    "09.5": dict(
        cases=cases_5, right={"save_state": save_state, "load_state": load_state}, shut=False,
        wrong=(
            Wrong("rows", partial(load_state, leave=("quad_k", "lin_k", "v")), of="load_state"),
            Wrong("position", partial(load_state, leave=("position",)), of="load_state"),
            Wrong("chunks", partial(load_state, leave=("chunks",)), of="load_state"),
            Wrong("waiting", partial(load_state, leave=("waiting",)), of="load_state"),
            Wrong("kv", partial(load_state, leave=("kv",)), of="load_state"),
            Wrong("last", partial(load_state, leave=("last",)), of="load_state"),
            Wrong("one layer", partial(load_state, layers=0), of="load_state"),
            Wrong("narrow", partial(save_state, narrow=np.float16), of="save_state"),
            Wrong("narrow", partial(save_state, narrow=np.float32), of="save_state"),
            Wrong("dice", partial(load_state, dice="new"), of="load_state"),
            Wrong("in place", partial(save_state, in_place=True), of="save_state"),
            Wrong("removed", remove_and_save, of="save_state"),
            Wrong("removed", save_after_moving, of="save_state"),
            Wrong("elsewhere", partial(save_state, way="elsewhere"), of="save_state"),
            Wrong("not whole", partial(save_state, way="early"), of="save_state"),
            Wrong("two files", {"save_state": save_in_two, "load_state": load_from_two}),
            Wrong("reference", {"save_state": shelve_state, "load_state": lambda path: SHELF[path.parent]}),
        ),
    ),
    "09.6": dict(
        cases=cases_6, right=rollback,
        wrong=(
            Wrong("subtracts", partial(rollback, across="subtract")),
            Wrong("clamps", partial(rollback, across="clamp")),
            Wrong("across", partial(rollback, across="position")), Wrong("position", partial(rollback, position=False)),
            Wrong("too careful", partial(rollback, limit=1)), Wrong("changed", partial(rollback, in_place=True)),
            Wrong("k = 0", partial(rollback, zero=False)), Wrong("lin_k", partial(rollback, cut=("quad_k", "v"))),
            Wrong("oldest", partial(rollback, end="oldest")), Wrong("no sentence", partial(rollback, words="no")),
            Wrong("input", lambda state, k: state),
        ),
    ),
})  # fmt: skip
