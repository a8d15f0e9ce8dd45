"""Problem set 09: generation. Cases and the oracle; the right answers lie in ``solutions``."""

import copy
import json
import os
import re
import traceback
from functools import partial
from itertools import chain

import numpy as np

from ..compare import difference
from ..edits import edited
from ..examples import example
from ..exercise import Case, asked, call, reject, reject_if, several
from ..files import carried, in_folder, pickles_refused, saved_over
from ..proving import version
from ..sizes import chunked, grown


# ---------------------------------------------------------------- 09.1 what must be kept
def draw_1(rng):
    heads, S, C = (
        int(rng.integers(8, 17)),
        int(rng.choice([64, 96, 128])),
        64 * int(rng.integers(2, 6)),
    )
    return {"D": 64 * heads, "heads": heads, "S": S, "E": 128 * heads, "C": C}


def right_1(n):
    D, S, E, C = n["D"], n["S"], n["E"], n["C"]
    kept = S * E + C * (2 * S + E)
    return dict(a=kept, b=2 * D, c=2 * kept // (2 * D) + 1, d=S + E, e="more")


# ---------------------------------------------------------------- 09.2 step
ROWS = ("quad_k", "lin_k", "v")  # of the unfinished chunk


def turn(x, position):
    """RoPE of (..., S): pair (k, k + S/2) is turned by the angle of its position, one or (...)."""
    a, b = np.split(x, 2, -1)
    angles = np.multiply.outer(position, 10000.0 ** (-np.arange(a.shape[-1]) / a.shape[-1]))
    return np.concatenate(
        [a * np.cos(angles) - b * np.sin(angles), a * np.sin(angles) + b * np.cos(angles)], -1
    )


def empty_state(S, E):
    rows = {name: np.zeros((0, width)) for name, width in zip(ROWS, (S, S, E))}
    return {
        "position": 0,
        "kv": np.zeros((S, E)),
        "chunks": 0,
        "waiting": np.zeros((0, S, E)),
        **rows,
    }


def step(z_S, v_E, state, layer):
    C, lag, t, new = len(layer["bias_CC"]), layer["lag"], state["position"], dict(state)
    heads = (
        turn(z_S * g + b, at) for g, b, at in zip(layer["gamma_4S"], layer["beta_4S"], [t] * 4)
    )
    quad_q, quad_k, lin_q, lin_k = heads
    new |= {
        name: np.concatenate([new[name], row[None]])
        for name, row in zip(ROWS, (quad_k, lin_k, v_E))
    }
    i = len(new["v"]) - 1
    near = np.zeros(len(v_E))
    kv = new["kv"]
    chunks = new["chunks"]
    for j in range(i + 1):
        score = quad_q @ new["quad_k"][j] / C + layer["bias_CC"][i, j]
        near += max(score, 0) ** 2 * new["v"][j]
    if i == C - 1:
        fold_in(new, C, lag)
    return near + lin_q @ kv / (max(chunks, 1) * C), new | {"position": t + 1}


def fold_in(new, C, lag):
    """At the end of a chunk: its sum waits, the oldest that may be read goes into kv, the rows are dropped."""
    waiting = [*new["waiting"], new["lin_k"].T @ new["v"]]
    while len(waiting) >= lag:
        new["kv"] = new["kv"] + waiting.pop(0)
        # an array of no axes, as a file may give it, would change in place
        new["chunks"] = new["chunks"] + 1
    new["waiting"] = np.array(waiting).reshape(-1, *new["kv"].shape)
    new |= {name: new[name][:0] for name in ROWS}


def draw_layer(rng, S, C, lag=1):
    affine = dict(zip(("gamma_4S", "beta_4S"), rng.normal(size=(2, 4, S))))
    return affine | {"bias_CC": rng.normal(size=(C, C)) + 1, "lag": lag}


def drawn_state(n, rng, layer, S, E):
    """A state as n tokens might have left it: its sizes and counts are true, its numbers are drawn."""
    C, lag = len(layer["bias_CC"]), layer["lag"]
    folded, waiting = max(n // C - lag + 1, 0), min(n // C, lag - 1)
    rows = {name: rng.normal(size=(n % C, width)) for name, width in zip(ROWS, (S, S, E))}
    kv, waiting_SE = C * rng.normal(size=(S, E)), C * rng.normal(size=(waiting, S, E))
    return {"position": n, "kv": kv * (folded > 0), "chunks": folded, "waiting": waiting_SE, **rows}


def same_state(a, b):
    return difference(a, b, 0) is None


def cases_2(rng, numbers):
    def case(name, part, T, S, E, C, lag=1, read=0, look=None):
        (T, C), S, (E,) = chunked(rng, T, C), S + 2 * int(rng.integers(4)), grown(rng, E)
        layer = draw_layer(rng, S, C, lag)
        begin, z_TS, v_TE = (
            drawn_state(read, rng, layer, S, E),
            rng.normal(size=(T, S)),
            rng.normal(size=(T, E)),
        )

        def run(f):
            state, out = copy.deepcopy(begin), []
            for z_S, v_E in zip(z_TS, v_TE):
                before = copy.deepcopy(state)
                given = state
                answer = asked(lambda z, v, layer: f(z, v, given, layer), z_S, v_E, layer=layer)  # noqa: B023
                out_E, state = several(answer, 2)
                reject_if(look == "stays" and not same_state(before, given), "09.2", "in place")
                out.append(out_E)
            if look == "stays":
                return True
            return state if look == "state" else np.array(out)

        return Case(
            name, part, run, f"{T = }, {S = }, {E = }, {C = }, {lag = }, {read} tokens read before"
        )

    def drafts(C, S, E, read):
        C, (E,) = C + int(rng.integers(4)), grown(rng, E)
        layer = draw_layer(rng, S, C)
        begin = drawn_state(read * C + 1, rng, layer, S, E)
        z_TS, v_TE = rng.normal(size=(3, S)), rng.normal(size=(3, E))

        def run(f):
            _, first = several(f(z_TS[0], v_TE[0], copy.deepcopy(begin), layer), 2)
            _, one = several(f(z_TS[1], v_TE[1], first, layer), 2)
            before = copy.deepcopy(one)
            f(z_TS[2], v_TE[2], first, layer)  # another draft from the same state
            reject_if(not same_state(before, one), "09.2", "drafts share")
            return True

        return Case("two drafts from one state", "the state", run, f"{S = }, {E = }, {C = }")

    yield case("three chunks and a tail", "values", 15, 4, 5, 4)
    yield case("four chunks and a tail", "values", 23, 6, 3, 5)
    yield case("a lag of 2", "lag", 22, 4, 3, 5, 2)
    yield case("a lag of 3", "lag", 19, 2, 5, 3, 3)
    yield case("C = 1", "edge sizes", 7, 4, 3, 1)
    yield case("fewer tokens than C", "edge sizes", 3, 2, 5, 7)
    yield case("goes on from a given state", "edge sizes", 9, 4, 3, 5, 1, 13)
    yield case("the state after the last token", "the state", 14, 2, 5, 4, 2, look="state")
    yield case("the state on a border", "the state", 12, 2, 4, 3, 3, look="state")
    yield case("the state that was given", "the state", 9, 4, 2, 3, look="stays")
    yield drafts(5, 4, 3, 2)
    yield case("the state that was given, a lag of 2", "the state", 9, 2, 4, 3, 2, look="stays")


# ---------------------------------------------------------------- 09.3 filter_logits
def filter_logits(logits_N, temperature=1.0, top_k=None, top_p=None):
    N = len(logits_N)
    if temperature == 0:
        return np.eye(N)[np.argmax(logits_N)]
    with np.errstate(all="ignore"):  # of wrong answers
        p_N = softmax(logits_N / temperature)
        out_N = np.zeros(N)
        kept = sorted(range(N), key=lambda i: -p_N[i])[:top_k]
        if top_p is not None:
            kept = nucleus(kept, p_N / p_N[kept].sum(), top_p)
        out_N[kept] = p_N[kept]
        return out_N / out_N.sum()


def softmax(x):
    weights = np.exp(x - x.max())
    return weights / weights.sum()


def nucleus(candidates, p, top_p):
    """The tokens that top-p keeps, of candidates in the order of their size."""
    kept, total = [], 0.0
    for i in candidates:
        if total >= top_p:
            break
        kept, total = [*kept, i], total + p[i]
    return kept


def cases_3(rng, numbers):
    def case(name, part, N, **how):
        (N,) = grown(rng, N, more=30)
        return call(
            name, part, rng.permutation(rng.normal(size=N) * 1.5), sizes=f"{N = }, {how}", **how
        )

    def fixed(name, part, p, **how):
        # more tokens, of which none is kept
        rare = [0.02 / n] * n if (n := int(rng.integers(9))) else []
        p = [round(float(x), 4) for x in rng.permutation([x * (1 - sum(rare)) for x in p] + rare)]
        return call(name, part, np.log(np.array(p)), sizes=f"probabilities {p}, {how}", **how)

    yield case("as it is", "temperature", 7)
    yield case("cold", "temperature", 8, temperature=0.6)
    yield case("hot", "temperature", 6, temperature=1.7)
    yield case("temperature 0", "temperature", 9, temperature=0)
    yield case(
        "temperature 0, whatever the filters say",
        "temperature",
        9,
        temperature=0,
        top_k=4,
        top_p=0.9,
    )
    close = rng.permutation([*rng.normal(size=6), 4.0, np.nextafter(4.0, 5.0)])
    sizes = "the two largest logits differ in the last bit"
    yield call("temperature 0, two nearly equal", "temperature", close, temperature=0, sizes=sizes)
    near = rng.permutation(0.02 * rng.normal(size=7))
    sizes = "logits that lie 0.02 apart, temperature 0.01"
    yield call("very cold", "temperature", near, temperature=0.01, sizes=sizes)
    large, sizes = rng.permutation(900 + 5 * np.arange(6.0)), "logits up to 925, temperature 0.5"
    yield call("large logits", "temperature", large, temperature=0.5, sizes=sizes)
    yield case("three of nine", "top-k", 9, top_k=3)
    yield case("all are kept", "top-k", 5, top_k=5)
    yield case("one is kept, hot", "top-k", 6, top_k=1, temperature=1.4)
    yield case("top-p", "top-p", 10, top_p=0.7)
    yield fixed("the first alone is more than p", "top-p", [0.05, 0.6, 0.1, 0.25], top_p=0.5)
    yield fixed("the third crosses p", "top-p", [0.08, 0.3, 0.12, 0.4, 0.1], top_p=0.75)
    yield fixed("hot, top-p", "top-p", [0.1, 0.02, 0.7, 0.05, 0.13], top_p=0.72, temperature=1.5)
    yield fixed("top-k, then top-p", "both", [0.06, 0.36, 0.12, 0.2, 0.1, 0.16], top_k=3, top_p=0.6)
    yield fixed(
        "all three", "both", [0.3, 0.06, 0.1, 0.36, 0.18], temperature=1.3, top_k=4, top_p=0.65
    )


def example_3():
    logits_N = np.array([0.0, 1, 2, 3])
    how = {"logits_N": logits_N, "temperature": 1.0}
    yield example("09.3", "filter_logits", **how, top_k=2)
    yield example("09.3", "filter_logits", **how, top_k=None, top_p=0.8)


# ---------------------------------------------------------------- 09.4 assert_steps_equal_parallel
class Decoder:
    """A causal FLASH layer of D = 6 with its token-by-token form."""

    D, S = 6, 4

    def __init__(self, C, combine="mean", far=1.0):
        rng = np.random.default_rng(9)
        self.C, self._combine, self._far = C, combine, far
        self._heads = rng.normal(size=(4, self.D, self.S)) / 2
        self._value = rng.normal(size=(self.D, self.D)) / 40
        self._bias = rng.normal(size=(C, C)) + 4  # no weight is closed

    def _turned(self, x_TD, first):
        return turn(x_TD @ self._heads, first + np.arange(len(x_TD)))  # (4, T, S)

    def parallel(self, x_TD):
        T = len(x_TD)
        C = self.C
        quad_q, quad_k, lin_q, lin_k = self._turned(x_TD, 0)
        i, j = np.indices((T, T))
        near = np.maximum(quad_q @ quad_k.T / C + self._bias[i % C, j % C], 0) ** 2 * (
            (i // C == j // C) & (j <= i)
        )
        chunks = np.maximum(i // C, 1) if self._combine == "mean" else 1
        far = self._far * (lin_q @ lin_k.T) * (j // C < i // C) / (C * chunks)
        return (near + far) @ (x_TD @ self._value)

    def prefill(self, x_nD):
        n = len(x_nD)
        full = len(x_nD) // self.C * self.C
        _, quad_k, _, lin_k = self._turned(x_nD, 0)
        v = x_nD @ self._value
        rows = [*zip(quad_k[full:], lin_k[full:], v[full:])]
        state = {"t": n, "kv": lin_k[:full].T @ v[:full], "chunks": full // self.C, "rows": rows}
        return self.parallel(x_nD), state

    def step(self, x_D, state):
        new = {**state, "rows": [*state["rows"]]}
        C = self.C
        kv = state["kv"]
        chunks = state["chunks"]
        i = len(state["rows"])
        quad_q, quad_k, lin_q, lin_k = self._turned(x_D[None], new["t"])[:, 0]
        new["rows"].append((quad_k, lin_k, x_D @ self._value))
        new["t"] += 1
        keys, linear, values = (np.array(each) for each in zip(*new["rows"]))
        near = np.maximum(keys @ quad_q / C + self._bias[i, : i + 1], 0) ** 2 @ values
        if i == C - 1:
            new |= {"kv": kv + linear.T @ values, "chunks": chunks + 1, "rows": []}
        read = max(chunks, 1) if self._combine == "mean" else 1
        return near + self._far * (lin_q @ kv) / (read * C), new


class Rereader(Decoder):
    """Right, and slow: its state is the whole text."""

    def prefill(self, x_nD):
        return self.parallel(x_nD), x_nD

    def step(self, x_D, state):
        state = np.concatenate([state, x_D[None]])
        return self.parallel(state)[-1], state


def faulty(*edits):
    return edited(Decoder, *edits, name="a faulty decoder")


RIGHT_4 = {
    "the mean": Decoder,
    "the sum": partial(Decoder, combine="sum"),
    "reads all again": Rereader,
}
FAULTS_4 = {
    name: faulty(*edits)
    for name, edits in {
        "scores over the position + 1": ("quad_q / C", "quad_q / (i + 1)"),
        "folds before it reads": (
            "read = max",
            'kv, chunks = new["kv"], new["chunks"]; read = max',
        ),
        "mean over one chunk more": ("read * C", "(read + 1) * C"),
        "mean over one chunk more, far part small": (
            "read * C",
            "(read + 1) * C",
            "far=1.0",
            "far=1e-3",
        ),
        "sum of means": ("read * C", "C"),
        "RoPE of the far part starts again in each chunk": (
            'new["rows"].append',
            'lin_q, lin_k = self._turned(x_D[None], new["t"] % C)[2:, 0]; new["rows"].append',
        ),
        "forgets the older chunks when a step folds": ('"kv": kv + ', '"kv": '),
        "forgets a chunk after a prompt that ends on a border": (
            "state =",
            "full -= (n == full > 0) * self.C; state =",
        ),
        "counts from 0 after a prompt": ('"t": n', '"t": 0'),
        "forgets the unfinished chunk of a prompt": ('"rows": rows', '"rows": []'),
        "outputs of the prompt are wrong": (
            "self.parallel(x_nD)",
            "np.r_[self.parallel(x_nD)[: self.C], v[self.C :]]",
        ),
        "counts an empty prompt as a chunk": ("full // self.C,", "full // self.C + (not n),"),
        "changes the state it was given": ('{**state, "rows": [*state["rows"]]}', "state"),
    }.items()
}


def decoder_case(name, part, make, C):
    return version(name, part, partial(make, C), names=("C", "D", "parallel", "prefill", "step"))


def cases_4(rng, numbers):
    C = int(rng.integers(3, 5))
    parts = (
        ["passes what is right"] * 3
        + ["finds wrong steps"] * 7
        + ["finds wrong prompts and states"] * 6
    )
    return [
        decoder_case(name, part, make, C)
        for part, (name, make) in zip(parts, (RIGHT_4 | FAULTS_4).items())
    ]


def assert_steps_equal_parallel(decoder):
    close = partial(np.allclose, rtol=0, atol=1e-8)
    C, T = decoder.C, 3 * decoder.C + 2
    x = np.random.default_rng(0).normal(size=(T, decoder.D))
    right = decoder.parallel(x)
    for n in range(2 * C + 1):
        out, state = decoder.prefill(x[:n])
        assert close(out, right[:n])
        for t in range(n, T):
            decoder.step(x[t], state)  # thrown away
            out, state = decoder.step(x[t], state)
            assert close(out, right[t])


# ---------------------------------------------------------------- 09.5 save_state, load_state
LAYERS_5 = 2
SIZES_5 = {"S": 4, "E": 6, "C": 5, "N": 11}
SESSION = ("layers", "last", "rng")
SHELF = {}  # of the wrong answer that stores a reference


def little_model():
    """Two layers, the second with a lag of 2."""
    rng = np.random.default_rng(95)
    S = SIZES_5["S"]
    E = SIZES_5["E"]
    N = SIZES_5["N"]
    layers = [
        {
            "base": rng.normal(size=(E, S)),
            "value": rng.normal(size=(E, E)),
            "out": rng.normal(size=(E, E)) / 6,
            "layer": draw_layer(rng, S, SIZES_5["C"], lag),
        }
        for lag in (1, 2)
    ]
    return rng.normal(size=(N, E)), layers


def read_all(z_S, v_E, state):
    """A make-believe token in place of 09.2: what it gives and writes depends on each entry of the state."""
    kv, new = state["kv"] + state["waiting"].sum(0) / 2, dict(state)
    keys = turn(state["quad_k"] + 2 * state["lin_k"], state["position"])
    out = (
        z_S @ kv / (state["chunks"] + 1)
        + np.tanh(keys @ z_S) @ state["v"]
        + z_S @ turn(z_S, state["position"])
    )
    new |= {"position": state["position"] + 1, "kv": state["kv"] + np.outer(z_S, v_E)}
    return out / (1 + np.abs(out).max()), new


def go_on(state, n):
    """n more tokens: (their logits, the tokens, the state). The state given stays as it is."""
    embedding, layers = little_model()
    state = copy.deepcopy(state)
    tokens = []
    all_logits = []
    for _ in range(n):
        x = embedding[int(state["last"])]
        for number, one in enumerate(layers):
            y = x / np.abs(x).max()
            out, new = read_all(y @ one["base"], y @ one["value"], state["layers"][number])
            state["layers"][number] = new
            x = x + out @ one["out"]
        all_logits.append(embedding @ x / (1 + np.abs(x).max()))
        state["last"] = int(state["rng"].choice(len(embedding), p=softmax(all_logits[-1])))
        tokens.append(state["last"])
    return np.array(all_logits), np.array(tokens), state


def written(n, seed):
    """The session after n tokens."""
    rng = np.random.default_rng(seed)
    _, layers = little_model()
    states = [drawn_state(n, rng, one["layer"], SIZES_5["S"], SIZES_5["E"]) for one in layers]
    return {"layers": states, "last": seed % SIZES_5["N"], "rng": rng}


def whole_number(name, got):
    whole = np.asarray(got).dtype.kind in "iu" and not np.ndim(got)
    reject_if(not whole, "09.5", "no whole number", name=name, got=repr(got)[:40])


def look_at(table, wanted):
    """Says so if a dictionary has other keys."""
    reject_if(table is None, "all", "none")
    got = type(table).__name__
    if isinstance(table, dict):
        got = ", ".join(map(str, table))
    is_right = isinstance(table, dict) and {*table} == {*wanted}
    reject_if(not is_right, "all", "keys", expected=", ".join(wanted), got=got)


def generator_of(session):
    """The generator of a loaded session; says so if it is none."""
    look_at(session, SESSION)
    rng = session["rng"]
    is_rng = isinstance(rng, np.random.Generator)
    reject_if(not is_rng, "09.5", "no generator", got=type(rng).__name__)
    return rng


def text_of(state, n=12):
    """What is written from a loaded state; says so if the state lacks something."""
    look_at(state, SESSION)
    whole_number("last", state["last"])
    reject_if(
        not isinstance(state["layers"], list), "09.5", "no list", got=type(state["layers"]).__name__
    )
    reject_if(
        len(state["layers"]) != LAYERS_5,
        "09.5",
        "layers",
        expected=LAYERS_5,
        got=len(state["layers"]),
    )
    for layer in state["layers"]:
        look_at(layer, empty_state(1, 1))
        for name, axes in ((name, np.ndim(value)) for name, value in empty_state(1, 1).items()):
            reject_if(
                np.ndim(layer[name]) != axes,
                "09.5",
                "axes",
                name=name,
                expected=axes,
                got=np.ndim(layer[name]),
            )
        for name in ("position", "chunks"):
            whole_number(name, layer[name])
        for name in ("kv", "waiting", *ROWS):
            is_array = isinstance(layer[name], np.ndarray)
            reject_if(not is_array, "09.5", "no array", name=name, got=type(layer[name]).__name__)
    generator_of(state)
    logits, tokens, _ = go_on(state, n)
    return {"logits": logits, "tokens": tokens}


def dice_of(session):
    """All that the generator of a session is, where there is one."""
    return getattr(getattr(session.get("rng"), "bit_generator", None), "state", None)


def saved_copy(answers, path, state):
    """Save a copy of a state by the answer, and hand the copy back."""
    given = copy.deepcopy(state)
    answers.save_state(path, given)
    same = same_state(state | {"rng": dice_of(state)}, given | {"rng": dice_of(given)})
    reject_if(not same, "all", "changed", argument=2)
    reject_if(not path.is_file(), "09.5", "no file")
    return given


def loaded_in(answers, path):
    """All that was loaded, the generator as what it holds."""
    session = answers.load_state(path)
    look_at(session, SESSION)
    return session | {"rng": dice_of(session)}


def in_own_file(answers, path, state):
    """What is loaded of a state that has a file of its own: what it lacks is the business of "the numbers"."""
    folder = path.with_name("own")
    folder.mkdir(exist_ok=True)
    own = folder / path.name
    saved_copy(answers, own, state)
    found = loaded_in(answers, own)
    own.unlink(missing_ok=True)
    return found


def text_as_saved(answers, saved, path):
    """The text that is written on; Said where a number is rounded, be it too little to show in the text."""
    loaded = answers.load_state(path)
    text = text_of(loaded)
    near = difference(saved["layers"], loaded["layers"], 1e-3) is None
    same = same_state(saved["layers"], loaded["layers"])
    reject_if(near and not same, "09.5", "narrow")
    return text


def cases_5(rng, numbers):
    C = SIZES_5["C"]
    first, second, in_chunk, border = (C * int(rng.integers(2, 9)) + own for own in (3, 2, 4, 0))

    def case(name, part, work, sizes=f"{first} tokens read, {C = }"):
        def without_pickle(answers, path):
            with pickles_refused("09.5", path):
                return work(answers, path)

        return in_folder("text.state", name, part, without_pickle, sizes)

    def there_and_back(name, n):
        state = written(n, int(rng.integers(1000)))

        def work(answers, path):
            saved_copy(answers, path, state)
            return carried("09.5", path, partial(text_as_saved, answers, state))

        return case(name, "the numbers", work, f"{n} tokens read, {C = }")

    one, other = (written(n, int(rng.integers(1000))) for n in (first, second))

    def dice(answers, path):
        saved_copy(answers, path, one)
        loaded = answers.load_state(path)
        drawn, want = (
            generator_of(state).integers(1000, size=9) for state in (loaded, copy.deepcopy(one))
        )
        reject_if((drawn != want).any(), "09.5", "dice")
        return drawn

    def overwritten_later(answers, path):
        wanted = in_own_file(answers, path, one)
        given = saved_copy(answers, path, one)
        values = chain.from_iterable(layer.values() for layer in given["layers"])
        for array in (value for value in values if isinstance(value, np.ndarray)):
            array[...] = 1  # as a decoder does that writes into one buffer
        given["rng"].random(5)
        reject_if(not same_state(wanted, loaded_in(answers, path)), "09.5", "reference")

    def another(answers, path):
        wanted = [in_own_file(answers, path, state) for state in (one, other)]
        reject_if(same_state(*wanted), "09.5", "always the same")
        saved_copy(answers, path, one)
        again = partial(saved_copy, answers, path, other)
        found = saved_over("09.5", path, again, partial(loaded_in, answers))
        reject_if(not same_state(wanted, [*found.values()]), "09.5", "mixed")

    yield case("the next dice", "the dice", dice)
    yield there_and_back("in the middle of a chunk", in_chunk)
    yield there_and_back("on a border", border)
    yield there_and_back("before the first border", 3)
    yield case("overwritten after it was saved", "the file", overwritten_later)
    yield case(
        "saved over an older state",
        "the file",
        another,
        f"{first} and {second} tokens read, {C = }",
    )


def save_state(path, state):
    entries = {
        "last": np.array(state["last"]),
        "dice": np.array(json.dumps(state["rng"].bit_generator.state)),
    }
    for number, layer in enumerate(state["layers"]):
        entries |= {f"{number} {name}": np.asarray(value) for name, value in layer.items()}
    part = path.with_name(path.name + ".part")
    with open(part, "wb") as file:
        np.savez(file, **entries)
    os.replace(part, path)


def load_state(path):
    with np.load(path) as stored:
        found = {name: stored[name] for name in stored.files}
    layers = [empty_state(SIZES_5["S"], SIZES_5["E"]) for _ in range(LAYERS_5)]
    for number, layer in enumerate(layers):
        values = {name: found[f"{number} {name}"] for name in layer}
        layer |= {
            name: value.astype(float) if value.ndim else int(value)
            for name, value in values.items()
        }
    rng = np.random.default_rng(0)
    rng.bit_generator.state = json.loads(str(found["dice"]))
    return {"layers": layers, "last": int(found["last"]), "rng": rng}


# ---------------------------------------------------------------- 09.6 rollback
def rollback(state, k):
    rows, new = len(state["v"]), dict(state)
    if k > rows:
        raise ValueError("it lies in the sum now")
    new |= {name: state[name][: rows - k] for name in ("quad_k", "lin_k", "v")}
    return new | {"position": state["position"] - k}


def is_raised_by_hand(error):
    """Whether a line of the answer raises it, and not something that the line calls."""
    return bool(re.search(r"\braise\b", traceback.extract_tb(error.__traceback__)[-1].line))


def cases_6(rng, numbers):
    def case(name, n, S, E, C, k, lag=1):
        (full, own), S, (E,), more = (
            divmod(n, C),
            S + 2 * int(rng.integers(4)),
            grown(rng, E),
            int(rng.integers(5)),
        )
        C, k = C + more, k + more * (k >= C)
        n = full * C + own
        state = drawn_state(n, rng, draw_layer(rng, S, C, lag), S, E)
        sizes = f"{n} tokens read, {C = }, {lag = }, {k = }"

        def inside(f):
            given = copy.deepcopy(state)
            try:
                back = f(given, k)
            except ValueError as error:
                reject_if(is_raised_by_hand(error), "09.6", "too careful")
                raise
            reject(
                "09.6", [("changed", not same_state(state, given)), ("given back", back is given)]
            )
            return back

        def refused(f):
            try:
                return f(copy.deepcopy(state), k)
            except ValueError as error:
                reject_if(not is_raised_by_hand(error), "09.6", "across")
                reject_if(len(str(error).split()) < 4, "09.6", "no sentence")
                return "refuses"

        if k <= n % C:
            return Case(name, "inside the chunk", inside, sizes)
        return Case(name, "across a border", refused, sizes, say="across")

    yield case("two of four", 14, 4, 3, 5, 2)
    yield case("all that is there", 19, 2, 5, 8, 3)
    yield case("back to the start of the sequence", 4, 6, 2, 7, 4)
    yield case("nothing", 13, 4, 5, 5, 0)
    yield case("nothing, on a border", 12, 2, 3, 4, 0)
    yield case("one of three, a lag of 2", 15, 4, 2, 4, 1, 2)
    yield case("one token too many", 14, 4, 3, 5, 5)
    yield case("one token, on a border", 15, 2, 5, 5, 1)
    yield case("two tokens, a lag of 2", 9, 4, 3, 4, 2, 2)
    yield case("more than a chunk", 23, 2, 4, 5, 9)
