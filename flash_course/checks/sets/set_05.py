"""Problem set 05, mixed chunk attention: cases and right answers that wrong ones are edits of."""

import math
from itertools import chain

import numpy as np
import torch

from ..compare import as_word
from ..edits import edited
from ..examples import example
from ..exercise import Case, Wrong, call, predicted, reject_if, rounded, written
from ..expected import by_right
from ..instruments import megabytes, no_loop, work
from ..proving import versions
from ..sizes import chunked, grown


# ---------------------------------------------------------------- 05.1 to_chunks
def to_chunks(x_TD, C):
    missing = -len(x_TD) % C
    rows = np.pad(x_TD, ((0, missing), (0, 0)))
    return rows.reshape(-1, C, x_TD.shape[1])


def cases_1(rng, numbers):
    def case(name, part, T, D, C, tail=None):
        (T, C), (D,) = chunked(rng, T, C), grown(rng, D)
        if tail:
            T = T // C * C + tail
        return call(name, part, rng.normal(size=(T, D)), C, sizes=f"{T = }, {D = }, {C = }")

    yield case("two chunks", "whole chunks", 8, 5, 4)
    yield case("C = 1", "whole chunks", 5, 4, 1)
    yield case("two chunks and a tail", "a tail", 10, 3, 4)
    yield case("two chunks and one token", "a tail", 9, 4, 4, tail=1)  # not near to equal pieces
    yield case("fewer tokens than C", "a tail", 3, 2, 7)
    yield case("one token", "a tail", 1, 6, 3)


def example_1():
    yield example("05.1", "to_chunks", x_TD=np.arange(1.0, 6)[:, None], C=2)


# ---------------------------------------------------------------- 05.2 earlier_chunks
def earlier_chunks(kv_GSE, lag=1, mean=True):
    total_GSE = moved(kv_GSE.cumsum(0), lag)
    counts = (torch.arange(len(kv_GSE)) - lag + 1).clamp(min=1)[:, None, None]
    return total_GSE / (counts if mean else 1)


def moved(x_GSE, lag):
    return torch.cat([torch.zeros_like(x_GSE[:lag]), x_GSE])[: len(x_GSE)]


def what_moves(exercise, f, given, louder, chunk, places):
    """Whether outputs at some places move with what must be unread there; and whether those of the next chunk do."""
    before = f(*given)
    after = f(*louder)
    reject_if(before.dtype != given[0].dtype, exercise, "other format")
    exact = f(*(t.double() for t in given))
    off = (before.double() - exact).abs().max() / exact.abs().max()
    reject_if(off > 0.05, exercise, "other values")
    moves = before != after
    return {
        "an output moves that must stay": bool(moves[places].any()),
        "an output of the next chunks moves": bool(moves[chunk + 1 :].any()),
    }


def cases_2(rng, numbers):
    def case(name, part, G, S, E, lag=1, **how):
        (S, E), more = grown(rng, S, E), int(rng.integers(3))
        # a lag beyond the text stays beyond it
        if lag > G:
            lag += more
        if G > 1:
            G += more
        if lag > 1:
            how["lag"] = lag
        kv = torch.from_numpy(rng.normal(size=(G, S, E)))
        return call(name, part, kv, **how, sizes=f"{G = }, {S = }, {E = }, {lag = }")

    G, S, E = grown(rng, 6, 4, 3)
    own = torch.from_numpy(np.random.default_rng(int(rng.integers(1 << 30))).normal(size=(G, S, E)))

    def own_chunk_moves(dtype, key):
        kv = own.to(dtype)
        loud = kv.clone()
        loud[3] *= 30
        name = f"chunk 3 changes, {str(dtype)[6:]}"
        return Case(
            name,
            "rounding",
            lambda f: what_moves("05.2", f, [kv], [loud], 3, 3),
            f"{G = }",
            say=key,
        )

    yield case("mean over the chunks before", "values", 5, 2, 3)
    yield case("sum", "values", 6, 3, 2, mean=False)
    yield case("one chunk", "values", 1, 3, 2)
    yield case("lag of 2", "lag", 7, 2, 4, lag=2)
    yield case("lag of 3, sum", "lag", 5, 4, 2, lag=3, mean=False)
    yield case("a lag beyond the last chunk", "lag", 3, 2, 3, lag=4)
    yield own_chunk_moves(torch.bfloat16, "subtraction")
    yield own_chunk_moves(torch.float64, "in float64 and back")
    yield no_loop("no loop", "chunks", [own], [own.repeat(64, 1, 1)], f"{G = } and {64 * G}")


def example_2():
    kv_GSE = torch.tensor([4.0, 8, 12, 16], dtype=torch.float64)[:, None, None]
    yield example("05.2", "earlier_chunks", kv_GSE=kv_GSE)
    yield example("05.2", "earlier_chunks", kv_GSE=kv_GSE, lag=2, mean=True)
    yield example("05.2", "earlier_chunks", kv_GSE=kv_GSE, lag=1, mean=False)


# ---------------------------------------------------------------- 05.3 mixed_chunk
MEGABYTES = 0.01  # for each token: at 4,000 of them a third of a map


def mixed_chunk(quad_q, quad_k, lin_q, lin_k, v, bias_CC, C, causal=True, combine="mean", lag=1):
    T, E = v.shape
    q, k, far_q, far_k, v_GCE = (to_chunks(x, C) for x in (quad_q, quad_k, lin_q, lin_k, v))
    G, mask_CC = len(q), np.tri(C) if causal else 1
    scores = q @ k.swapaxes(1, 2) / C + bias_CC
    near = (mask_CC * np.maximum(scores, 0) ** 2) @ v_GCE

    reads_GG = np.tri(G, k=-lag) if causal else np.ones((G, G))
    tokens_G = to_chunks(np.ones((T, 1)), C).sum((1, 2))
    own_GSE = np.einsum("hcs,hce->hse", far_k, v_GCE)
    kv_GSE = np.einsum("gh,hse->gse", reads_GG, own_GSE)
    if combine == "mean":
        kv_GSE = kv_GSE / np.maximum(reads_GG @ tokens_G, 1)[:, None, None]
    return (near + far_q @ kv_GSE).reshape(-1, E)[:T]


def cases_3(rng, numbers):
    def case(name, part, T, S, E, C, **how):
        (T, C), (S, E) = chunked(rng, T, C), grown(rng, S, E)
        given = (*rng.normal(size=(4, T, S)), rng.normal(size=(T, E)), rng.normal(size=(C, C)), C)
        said = ", ".join(f"{key} = {value}" for key, value in how.items())
        return call(name, part, *given, **how, sizes=f"{T = }, {S = }, {E = }, {C = }, {said}")

    def cost(f):
        *arrays, C = many_chunks
        value, taken = megabytes(f, *arrays, C)
        reject_if(taken > MEGABYTES * T, "05.3", "map")
        needed = T * (C * (S + E) + 2 * S * E)
        reject_if(work(f, arrays, C)[1] > 4 * needed, "05.3", "reads again")
        return value

    (C,), (G,), S, E = grown(rng, 20), grown(rng, 200, more=20), 3, 5
    T = G * C
    many_chunks = (*rng.normal(size=(4, T, S)), rng.normal(size=(T, E)), rng.normal(size=(C, C)), C)
    short, long = (
        (*rng.normal(size=(4, 3 * C, 2)), rng.normal(size=(3 * C, 3)), np.ones((C, C)), C)
        for C in (3, 30)
    )
    tail = "causal, three chunks and a tail"
    yield case("causal, three chunks", "causal", 12, 3, 5, 4, causal=True, combine="mean")
    yield case("causal, the sum", "causal", 15, 4, 3, 5, causal=True, combine="sum")
    yield case("not causal", "not causal", 15, 5, 3, 4, causal=False, combine="mean")
    yield case("not causal, the sum", "not causal", 10, 3, 4, 3, causal=False, combine="sum")
    yield case(
        "not causal, a lag that does not count",
        "not causal",
        11,
        3,
        2,
        4,
        causal=False,
        combine="mean",
        lag=2,
    )
    yield case(tail, "lag and edge sizes", 14, 3, 5, 4, causal=True, combine="mean")
    yield case("a lag of 2", "lag and edge sizes", 18, 3, 4, 4, causal=True, combine="mean", lag=2)
    yield case(
        "a lag beyond the text",
        "lag and edge sizes",
        15,
        2,
        4,
        4,
        causal=True,
        combine="sum",
        lag=9,
    )
    yield case("fewer tokens than C", "lag and edge sizes", 3, 4, 5, 7, causal=True, combine="mean")
    yield case("C = 1", "lag and edge sizes", 6, 2, 3, 1, causal=True, combine="mean")
    yield case("one token", "lag and edge sizes", 1, 3, 4, 2, causal=True, combine="mean")
    yield no_loop("no loop", "tokens", short, long, "three chunks, C = 3 and 30")
    yield Case("many chunks", "cost", cost, f"{T = }, {S = }, {E = }, {C = }")


def example_3():
    ones = np.ones((5, 1))
    heads = {"quad_q": 2 * ones, "quad_k": ones, "lin_q": 4 * ones, "lin_k": ones}
    given = {
        **heads,
        "v": np.array([1.0, 10, 100, 1000, 10000])[:, None],
        "bias_CC": np.array([[1.0, 5], [2, -3]]),
        "C": 2,
    }
    yield example("05.3", "mixed_chunk", **given)
    yield example("05.3", "mixed_chunk", **given, causal=False)
    yield example("05.3", "mixed_chunk", **given, causal=True, combine="sum")
    yield example("05.3", "mixed_chunk", **given, causal=True, combine="mean", lag=2)


# ---------------------------------------------------------------- 05.4 assert_causal_and_complete
def layer(C):
    """A layer of one argument, x (T, 8): heads and values by fixed matrices, local weights that are never closed."""
    rng = np.random.default_rng(5)
    matrices = rng.normal(size=(4, 8, 3)) / math.sqrt(8)
    value, bias = rng.normal(size=(8, 8)) / math.sqrt(8), 20 + np.abs(rng.normal(size=(C, C)))

    def fn(x_TD):
        i, j = np.indices((len(x_TD), len(x_TD)))
        g, h, v = i // C, j // C, x_TD @ value
        near, far = (g == h) & (j <= i), h < g
        q, k, far_q, far_k = (x_TD @ matrix for matrix in matrices)
        far_TT = far_q @ far_k.T
        near_TT = near * np.maximum(q @ k.T / C + bias[i % C, j % C], 0) ** 2
        weights = near_TT + far * far_TT / np.maximum(far.sum(1, keepdims=True), 1)
        return weights @ v

    return fn


def layers(edits):
    return {
        name: edited(layer, old, new, name=f"05.4, {name}") for name, (old, new) in edits.items()
    }


RIGHT_4 = {"the mean over earlier chunks": layer} | layers(
    {
        "the bare sum": (" / np.maximum(far.sum(1, keepdims=True), 1)", ""),
        "small weights": ("return weights", "return 1e-3 * weights"),
    }
)
LEAKS_4 = layers(
    {
        "inclusive sum": ("h < g", "h <= g"),
        "no local mask": (" & (j <= i)", ""),
        "a leak in the last partial chunk only": (
            "(j <= i)",
            "((j <= i) | (i >= len(x_TD) // C * C))",
        ),
        "an inclusive sum with weights of 0.0001": ("h < g\n", "1e-4 * (h <= g)\n"),
        "subtraction instead of a shift": (
            "weights @ v",
            "near_TT @ v + (((h < g) * far_TT + (g == h) * 1e3) @ v - ((g == h) * 1e3) @ v)",
        ),
        "one output reads over a border": ("h < g", "(h < g) + 1e-6 * ((i == 1) & (j == C))"),
        "divided by the length of the text": ("weights @ v", "weights @ v / len(x_TD)"),
        "one channel of later tokens is read": (
            "weights @ v",
            "weights @ v + 1e-3 * ((g == h) & (j > i)) @ x_TD[:, 5:6]",
        ),
        "one channel of the outputs leaks": (
            "weights @ v",
            "weights @ v + 1e-3 * ((g == h) @ v) * (np.arange(8) == 3)",
        ),
    }
)
GAPS_4 = layers(
    {
        "the fourth chunk forgets the first": ("h < g", "(h < g) & ~((g == 3) & (h == 0))"),
        "one output forgets a chunk": ("h < g", "(h < g) & ~((i == 2 * C) & (h == 0))"),
        "one chunk too far back": ("h < g", "h < g - 1"),
        "local only": ("weights = near_TT + far", "weights = near_TT + 0"),
        "global only": ("near_TT + far", "far"),
        "diagonal hidden": ("j <= i", "j < i"),
        "rolled": ("h < g", "(h < g) | (g == 0)"),
    }
)


def cases_4(rng, numbers):
    C = int(rng.integers(3, 6))
    return versions(
        {"passes what is right": RIGHT_4, "finds leaks": LEAKS_4, "finds gaps": GAPS_4}, C
    )


def table_of(fn, T):
    """Which outputs, in rows, move when a token, in columns, is changed."""
    x_TD, step_D = np.random.default_rng(0).normal(size=(T, 8)), 3.0 * (1 + np.arange(8))
    changed = [x_TD + np.outer(np.arange(T) == j, step_D) for j in range(T)]
    return np.array([(fn(one) != fn(x_TD)).any(1) for one in changed]).T


def assert_causal_and_complete(fn, C):
    for T in (3 * C + max(C - 1, 1), 4 * C):
        table = table_of(fn, T)
        assert (table == np.tri(T, dtype=bool)).all()
    assert same_at_each_length(fn, T)


def same_at_each_length(fn, T):
    """Whether the beginning of a text gives the same alone, up to rounding."""
    x_TD = np.random.default_rng(1).normal(size=(T, 8))
    whole, alone = fn(x_TD), [fn(x_TD[:n]) for n in range(1, T)]
    return (
        max(np.abs(part - whole[: len(part)]).max() for part in alone) < 1e-10 * np.abs(whole).max()
    )


# ---------------------------------------------------------------- 05.5 three suspects
def suspect_one(q_GCS, k_GCS, v_GCE):
    """As in the notebook, like the next two."""
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


SUSPECTS = {"suspect_one": suspect_one, "suspect_two": suspect_two, "suspect_three": suspect_three}
LOOKS = ("token", "rounding", "chunks")
given_5 = SUSPECTS | {"found_05_5": {"one": None, "two": None, "three": None}}


def mended(q_GCS, k_GCS, v_GCE):
    A_GCC = torch.relu(q_GCS @ k_GCS.mT / q_GCS.shape[1]).square().tril()
    kv_GSE = k_GCS.mT @ v_GCE
    kv_GSE = moved(kv_GSE.cumsum(0), 1)
    return A_GCC @ v_GCE + q_GCS @ kv_GSE


FOUND = {"one": "token", "two": "rounding", "three": "chunks"}  # the look that finds each fault


def finds(suspect):
    return FOUND[suspect]


def finding(key):
    """The case of what finds a suspect."""
    right = by_right("05.5", key, "finds", key)

    def run(answers):
        said = as_word(written(answers.found_05_5, key))
        sentence = f"{key}: {said}" if said in LOOKS else "unnamed"
        reject_if(said != right, "05.5", sentence)
        return said

    return Case(f"what finds suspect {key}", "what finds them", run)


def other_looks(key):
    """The wrong answers that name another look for a suspect."""
    looks = sorted({*FOUND.values()} - {FOUND[key]})
    return [Wrong(f"{key}: {look}", FOUND | {key: look}, "found_05_5") for look in looks]


def cases_5(rng, numbers):
    def heads(G, C):
        S, E = grown(rng, 3, 4)
        return [torch.from_numpy(rng.normal(size=(G, C, width))) for width in (S, S, E)]

    def case(name, of, G, C):
        G, C = grown(rng, G, C)
        return call(f"{of}: {name}", of, *heads(G, C), of=of, sizes=f"{G = }, {C = }")

    def own_chunk_moves(of, dtype):
        G, C = grown(rng, 5, 4)
        q, k, v = given = [x.to(dtype) for x in heads(G, C)]
        louder = v.clone()
        louder[3, -1] *= 30  # the last token of chunk 3: its tokens before must not move
        earlier = torch.arange(G * C).reshape(G, C) < 4 * C - 1

        def run(answers):
            return what_moves("05.5", getattr(answers, of), given, [q, k, louder], 3, earlier)

        say = f"{of} left" if dtype == torch.bfloat16 else "in float64 and back"
        return Case(
            f"{of}: a later token changes, {str(dtype)[6:]}",
            of,
            run,
            f"{G = }, {C = }",
            say=say,
        )

    q, k, v = heads(4, 4)

    def gradient_leaks(answers):
        """What has no gradient, as under no_grad, hides no leak in one."""
        value = v.clone().requires_grad_()
        try:
            answers.suspect_one(q, k, value)[2, 0].sum().backward()
        except RuntimeError:
            return False
        return value.grad is not None and bool(value.grad[2, 1:].any() or value.grad[3].any())

    cases = [finding(key) for key in ("one", "two", "three")]
    for of in SUSPECTS:
        cases += [case("values", of, 5, 4), case("a longer sequence", of, 7, 3)]
        cases += [case("one chunk", of, 1, 5), case("C = 1", of, 6, 1)]
        cases += [own_chunk_moves(of, torch.bfloat16), own_chunk_moves(of, torch.float64)]
    # behind the values, which say more about an answer that is None or zero
    return [
        *cases,
        Case(
            "suspect_one: an output has a gradient by later tokens",
            "suspect_one",
            gradient_leaks,
            "G = 4, C = 4",
        ),
    ]


right_5 = dict.fromkeys(SUSPECTS, mended) | {"found_05_5": FOUND}
wrong_5 = [Wrong(f"{of} left", suspect, of) for of, suspect in SUSPECTS.items()]
wrong_5 += [Wrong("by subtraction", SUSPECTS["suspect_two"], "suspect_one")]
wrong_5 += [
    Wrong(
        "by subtraction",
        right_5 | dict.fromkeys(["suspect_one", "suspect_two"], SUSPECTS["suspect_two"]),
    )
]
wrong_5 += chain.from_iterable(map(other_looks, FOUND))
wrong_5 += [Wrong("unnamed", FOUND | {"two": "bfloat16"}, "found_05_5")]


# ---------------------------------------------------------------- 05.6 what the chunk decides
def draw_6(rng):
    C = int(rng.integers(5, 12))
    G = int(rng.integers(5, 9))
    t = int(rng.integers(2, G - 1)) * C + int(rng.integers(1, C - 1))
    S = 16 * int(rng.integers(2, 8))  # never the 128 of lecture 05, which prints the answer to c
    return {
        "T": G * C,
        "C": C,
        "t": t,
        "S": S,
        "E": 128 * int(rng.integers(4, 13)),
    }


def cases_6(rng, numbers):
    return [predicted(key, then=rounded if key == "c" else lambda value: value) for key in "abcdef"]


def right_6(n):
    C, t, S, E = (n[key] for key in "CtSE")
    last = "linear attention and the token itself"
    return {
        "a": t % C + 1,
        "b": t // C,
        "c": round(2 * S * E / (S + E)),
        "d": True,
        "e": False,
        "f": last,
    }
