"""Problem set 01, attention: cases and right answers that wrong ones are edits of."""

import math

import numpy as np

from ..compare import as_word, difference
from ..examples import example
from ..exercise import Case, Wrong, call, reject_if, written
from ..expected import by_right
from ..instruments import lines_run, megabytes, reads_all_pairs
from ..sizes import grown


# ---------------------------------------------------------------- 01.1 causal_softmax
def causal_softmax(scores_TT):
    sees = np.tri(len(scores_TT), dtype=bool)
    s = np.where(sees, scores_TT, -np.inf)
    with np.errstate(all="ignore"):  # wrong answers overflow
        exps = np.exp(s - s.max(1, keepdims=True))
        return exps / exps.sum(1, keepdims=True)


def cases_1(rng, numbers):
    def case(name, part, T, look=lambda scores: scores):
        return call(name, part, look(rng.normal(size=(T, T)) * 2), sizes=f"{T = }")

    def large(scores):
        scores[1, :2] -= 2996
        scores[1, 2:] = 2996 + 3 * rng.random(len(scores) - 2)
        scores[2] += 3000
        scores[3] -= 3000
        scores[4, 5] += 3000
        scores[5, :6] += [3000, -3000, 2995, 0, 2999, -2995]
        return scores

    short, long, wide = grown(rng, 5, 8, 6, more=30)
    yield case("scores of order one", "values", short)
    yield case("another length", "values", long)
    yield case("one token", "values", 1)
    yield case("scores between -3000 and 3000", "large scores", wide, large)


def example_1():
    yield example("01.1", "causal_softmax", scores_TT=np.array([[0.0, 9, 9], [0, 0, 9], [0, 0, 0]]))


# ---------------------------------------------------------------- 01.2 who_sees
def who_sees(fn, T, D, rng):
    x_TD, sees_TT = rng.normal(size=(T, D)), np.zeros((T, T), bool)
    before = fn(x_TD)
    for j in range(T):
        for _ in range(30):
            changed = x_TD.copy()
            changed[j] = rng.normal(size=D) * 10
            sees_TT[:, j] |= (fn(changed) != before).any(1)
    return sees_TT


def reader(rng, sees_TT, D, E, message=lambda x_TD: x_TD, own=1.0, far=1.0):
    """A function of x (T, D): output i is a weighted sum of the messages of those tokens j that it sees."""
    T = len(sees_TT)
    # ``own`` and ``far`` multiply the weights of a token itself and of the others
    weights_TT = sees_TT * rng.uniform(0.5, 1.5, size=(T, T)) * np.where(np.eye(T), own, far)
    matrix = rng.normal(size=(message(np.zeros((T, D))).shape[1], E))
    return lambda x_TD: weights_TT @ message(x_TD) @ matrix


def table_of(T, condition):
    """Which pairs (i, j) fulfil a condition."""
    return condition(*np.indices((T, T)))


def causal(i, j):
    return j <= i


def closed(x_TD):
    """A message that is zero unless three channels are large at once."""
    return np.maximum(np.abs(x_TD[:, :3]).min(1, keepdims=True) - 2, 0)


def plain(condition=causal, **how):
    return lambda rng, T, D, E: reader(rng, table_of(T, condition), D, E, **how)


def one_output_channel(rng, T, D, E):
    """Output i reads others in its channel i % E, and no others in the rest."""
    own = reader(rng, np.eye(T, dtype=bool), D, E)
    all_ = reader(rng, table_of(T, causal), D, E)
    reads_others = table_of(max(T, E), lambda i, e: i % E == e)[:T, :E]
    return lambda x_TD: np.where(reads_others, all_(x_TD), own(x_TD))


def one_hot(rng, T, D, E):
    """A 1 in one channel, and 0 in the others; what is read decides in which."""
    read = reader(rng, table_of(T, causal), D, 1)
    return lambda x_TD: np.eye(E)[np.floor(read(x_TD)[:, 0]).astype(int) % E]


def gated(rng, T, D, E):
    """What token i reads, times a number that token i itself makes: zero if token i is."""
    direction = rng.normal(size=D)
    read = reader(rng, table_of(T, causal), D, E)
    return lambda x_TD: (x_TD @ direction)[:, None] * read(x_TD)


def cases_2(rng, numbers):
    def case(name, part, make, sizes, say=None):
        T, D, E = grown(rng, *sizes)
        fn = make(rng, T, D, E)
        seed = int(rng.integers(1 << 30))
        return Case(
            name,
            part,
            lambda answer: answer(fn, T, D, np.random.default_rng(seed)),
            f"{T = }, {D = }",
            say,
        )

    near = plain(lambda i, j: (j >= i - 3) & (j <= i + 1))
    earlier = plain(lambda i, j: j < i)
    weak = plain(own=1e4, far=1e-10)
    relu = plain(message=closed)
    not_channel_0 = plain(message=lambda x_TD: x_TD[:, 1:])
    largest = plain(message=lambda x_TD: x_TD.argmax(1)[:, None])

    part = "who sees whom"
    yield case("a causal function", part, plain(), (6, 3, 4))
    yield case("3 tokens back, 1 ahead", part, near, (9, 4, 2))
    yield case("earlier tokens only", part, earlier, (5, 2, 3))
    yield case("one token", part, plain(), (1, 3, 2))
    part = "weak and closed"
    yield case("others count for 0.0000000001", part, weak, (7, 3, 5), "allclose")
    yield case("a relu that is closed for small numbers", part, relu, (40, 4, 3), "one step")
    part = "channels"
    yield case("channel 0 is not read", part, not_channel_0, (6, 4, 3), "channel 0")
    name = "one channel of an output reads others"
    yield case(name, part, one_output_channel, (8, 3, 5), "all channels")
    yield case("the largest channel counts", part, largest, (9, 5, 2), "largest")
    yield case("outputs of one sum and one length", part, one_hot, (6, 3, 4), "sums")
    yield case("each output is a product", "weak and closed", gated, (6, 4, 3), "zero start")


# ---------------------------------------------------------------- 01.3 multi_head
def multi_head(x_TD, weights, heads, causal):
    T, D = x_TD.shape
    q, k, v = ((x_TD @ weights[f"W_{name}"]).reshape(T, heads, -1).swapaxes(0, 1) for name in "qkv")
    s = q @ k.swapaxes(1, 2) / math.sqrt(D // heads)
    sees = np.tri(T, dtype=bool) if causal else True
    exps = np.exp(np.where(sees, s, -np.inf))
    with np.errstate(all="ignore"):
        maps = exps / exps.sum(2, keepdims=True)
    return (maps @ v).swapaxes(0, 1).reshape(T, -1) @ weights["W_o"]


def cases_3(rng, numbers):
    def case(name, part, T, d, heads, causal):
        T, d = grown(rng, T, d)
        D = d * heads
        weights = {f"W_{letter}": rng.normal(size=(D, D)) * 1.5 / math.sqrt(D) for letter in "qkvo"}
        x_TD, sizes = rng.normal(size=(T, D)), f"{T = }, {D = }, {heads = }, {causal = }"
        return call(name, part, x_TD, weights, heads, causal, sizes=sizes)

    yield case("three heads", "not causal", 5, 4, 3, False)
    yield case("two heads, a longer sequence", "not causal", 17, 3, 2, False)
    yield case("one channel in a head", "not causal", 4, 1, 5, False)
    yield case("three heads, causal", "causal", 7, 5, 3, True)
    yield case("four heads, causal", "causal", 6, 2, 4, True)
    yield case("one head", "causal", 5, 6, 1, True)
    yield case("one token", "causal", 1, 3, 2, True)


# ---------------------------------------------------------------- 01.4 what attention costs
def draw_4(rng):
    H = int(rng.choice([4, 6, 8, 12]))
    T, d = int(rng.integers(5, 30)) * 100, int(rng.choice([32, 48, 64, 80]))
    return {"T": T, "D": H * d, "H": H, "B": int(rng.choice([3, 5, 7]))}


def right_4(n):
    T, D, H, B = n["T"], n["D"], n["H"], n["B"]
    return {"a": 2 * T**2 * D, "b": 2 * B * H * T**2, "c": 6 * D, "d": 1}


# ---------------------------------------------------------------- 01.5 rope
def rope(x_TS, positions):
    half = x_TS.shape[1] // 2
    frequency = 10000.0 ** (-np.arange(half) / half)
    angle = np.multiply.outer(positions, frequency)
    angle_TS = np.tile(angle, 2)
    turned_TS = np.concatenate([-x_TS[:, half:], x_TS[:, :half]], axis=1)
    cos_TS = np.cos(angle_TS, dtype=np.float64)
    sin_TS = np.sin(angle_TS, dtype=np.float64)
    return x_TS * cos_TS + turned_TS * sin_TS


def given_rope(x_TS, positions):
    """As in the notebook."""
    half = x_TS.shape[1] // 2
    frequency = 10000.0 ** (-np.arange(half) / half)
    angle = np.multiply.outer(positions, frequency).astype(np.float16)
    angle_TS = np.repeat(angle, 2, axis=1)
    turned_TS = np.concatenate([-x_TS[:, half:], x_TS[:, :half]], axis=1)
    return x_TS * np.cos(angle_TS, dtype=np.float64) + turned_TS * np.sin(
        angle_TS, dtype=np.float64
    )


PROPERTIES = ("norm", "distance", "both")
SHOWN = {"pairing": "both", "precision": "distance"}
given_5 = {"rope": given_rope, "shown_01_5": {"pairing": None, "precision": None}}


def shows(fault):
    return SHOWN[fault]


def outer_channels(rng, T, S):
    """Numbers in channels 0 and S - 1 only: their angles are right even if tables go in pairs of neighbours."""
    x_TS = np.zeros((T, S))
    x_TS[:, [0, -1]] = rng.normal(size=(T, 2))
    return x_TS


def keep_outer(out_TS):
    return out_TS[:, [0, -1]]


def about(right):
    """What is right but for rounding to float32 pairs the channels as it should."""
    return lambda value: right if difference(right, value, 1e-5) is None else value


def pairing_case(name, x_TS, positions):
    """For positions whose angles float16 holds exactly, so that only a fault of the pairing shows."""
    sizes = "T = {}, S = {}".format(*x_TS.shape)
    right = by_right("01.5", name, "rope", x_TS, positions)
    return call(
        name, "pairing", x_TS, positions, of="rope", sizes=sizes, say="pairing", then=about(right)
    )


def cases_5(rng, numbers):
    tables, angles, shown = "pairing", "precision", "properties"

    def exact(name, T, S, step):
        (T,) = grown(rng, T, more=14)  # multiples of 1000 are exact in float16 up to 16,000
        return pairing_case(name, rng.normal(size=(T, S)), step * (rng.permutation(T) - 2))

    def far(name, draw, T, S, then=lambda value: value):
        (T,) = grown(rng, T, more=20)
        given = draw(rng, T, S), rng.integers(2048, 4096, size=T) * 2 + 1
        return call(
            name, angles, *given, of="rope", sizes=f"{T = }, {S = }", then=then, say="precision"
        )

    def norms(answers):
        return about(np.linalg.norm(x, axis=1))(
            np.linalg.norm(answers.rope(x.copy(), places.copy()), axis=1)
        )

    def names(key):
        right = by_right("01.5", key, "shows", key)

        def run(answers):
            said = as_word(written(answers.shown_01_5, key))
            sentence = f"{key}: {said}" if said in PROPERTIES else "unnamed"
            reject_if(said != right, "01.5", sentence)
            return said

        return Case(f"what shows the fault of {key}", shown, run)

    T, pairs = grown(rng, 7, 4)
    x, places = rng.normal(size=(T, 2 * pairs)), rng.integers(0, 900, size=T)
    yield exact("small angles", 5, 4, 100)
    yield exact("four pairs", 3, 8, 1000)
    yield Case("lengths of the rows", tables, norms, f"{T = }, S = {2 * pairs}", say="pairing")
    yield far(
        "one pair, positions of 4096 to 8192", lambda rng, T, S: rng.normal(size=(T, S)), 6, 2
    )
    yield far(
        "the slowest pair, positions of 4096 to 8192",
        outer_channels,
        9,
        2 * grown(rng, 3)[0],
        keep_outer,
    )
    yield names("pairing")
    yield names("precision")


right_5 = {"rope": rope, "shown_01_5": SHOWN}
TAKEN = [("pairing", "norm"), ("pairing", "distance"), ("precision", "norm"), ("precision", "both")]
wrong_5 = [Wrong(f"{key}: {word}", SHOWN | {key: word}, "shown_01_5") for key, word in TAKEN]
wrong_5 += [Wrong("unnamed", SHOWN | {"precision": None}, "shown_01_5")]


# ---------------------------------------------------------------- 01.6 window_attention
def window_attention(q_TS, k_TS, v_TE, window):
    out = np.zeros_like(v_TE)
    for i, q_S in enumerate(q_TS):
        read = np.arange(max(i - window + 1, 0), i + 1)
        exps = np.exp(k_TS[read] @ q_S / math.sqrt(len(q_S)))
        with np.errstate(all="ignore"):
            out[i] = exps @ v_TE[read] / exps.sum()
    return out


LIMIT = 1.0  # megabytes held at once, with 1024 tokens and a window of 4: less than T x T places of one byte


def cases_6(rng, numbers):
    def case(name, part, T, S, E, window):
        T, S, E = grown(rng, T, S, E)
        window = T + window if window > 5 else window
        q, k, v = (rng.normal(size=(T, width)) for width in (S, S, E))
        return call(name, part, q, k, v, window, sizes=f"{T = }, {S = }, {E = }, {window = }")

    T, window = 1024 + int(rng.integers(60)), int(rng.integers(3, 6))
    q, k, v = (rng.normal(size=(T, width)) for width in (3, 3, 2))

    def held(answer):
        value, peak = megabytes(answer, q.copy(), k.copy(), v.copy(), window)
        reject_if(peak > LIMIT, "01.6", "full map")
        pairs = T * T / 4  # lines that a loop of Python over the tokens before each would pass
        reject_if(lines_run(answer, q.copy(), k.copy(), v.copy(), window) > pairs, "01.6", "pairs")
        reject_if(reads_all_pairs(answer, (q, k, v), window), "01.6", "pairs")
        return value

    yield case("a window of 3", "values", 11, 4, 5, 3)
    yield case("a window of 4", "values", 14, 3, 2, 4)
    yield case("a window of 1", "edge sizes", 6, 3, 4, 1)
    yield case("a window longer than the sequence", "edge sizes", 5, 2, 3, 9)
    yield case("one token", "edge sizes", 1, 4, 3, 2)
    yield Case("a long sequence", "cost", held, f"{T = }, S = 3, E = 2, {window = }")


def example_6():
    same = np.zeros((5, 1))
    v_TE = np.array([[2.0], [4], [6], [8], [10]])
    yield example("01.6", "window_attention", q_TS=same, k_TS=same, v_TE=v_TE, window=2)
