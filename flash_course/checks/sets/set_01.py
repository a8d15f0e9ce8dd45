"""Problem set 01: attention. Cases, the oracle, and wrong answers; the right answers lie in ``solutions``."""

import math

import numpy as np

from ..exercise import Case, Said, Wrong, call, exercises_of, predicted
from ..instruments import megabytes


def quiet():
    """Wrong answers overflow without a warning."""
    return np.errstate(all="ignore")


# ---------------------------------------------------------------- 01.1 causal_softmax


def causal_softmax(scores_TT):
    out_TT = np.zeros_like(scores_TT)
    for i in range(len(scores_TT)):
        seen = scores_TT[i, : i + 1]
        exps = [math.exp(score - max(seen)) for score in seen]
        out_TT[i, : i + 1] = [value / sum(exps) for value in exps]
    return out_TT


def cases_1(rng, numbers):
    def large():
        scores = rng.normal(size=(6, 6)) * 2
        scores[1] += [-3000, -3000, 2000, 2000, 2000, 2000]
        scores[2] += 3000
        scores[3] -= 3000
        scores[4, 5] += 3000
        scores[5] += [3000, -3000, 2995, 0, 2999, -2995]
        return scores

    return [
        call("scores of order one", "values", rng.normal(size=(5, 5)) * 2, sizes="T = 5"),
        call("another length", "values", rng.normal(size=(8, 8)), sizes="T = 8"),
        call("one token", "values", rng.normal(size=(1, 1)), sizes="T = 1"),
        call("scores between -3000 and 3000", "large scores", large(), sizes="T = 6"),
    ]


def plain_softmax(scores, axis=-1):
    with quiet():
        return shares(np.exp(scores - scores.max(axis, keepdims=True)), axis)


def shares(exps, axis=-1):
    with quiet():
        return exps / exps.sum(axis, keepdims=True)


def past(n, diagonal=0):
    return np.tri(n, k=diagonal, dtype=bool)


def softmax_of(hide, axis=-1):
    """A wrong answer: scores changed by ``hide``, then a plain softmax."""
    return lambda scores_TT: plain_softmax(hide(scores_TT), axis)


def hidden(scores_TT, value=-np.inf, diagonal=0):
    return np.where(past(len(scores_TT), diagonal), scores_TT, value)


def softmax_then_mask(scores_TT):
    return np.tril(plain_softmax(scores_TT))


def softmax_mask_again(scores_TT):
    return shares(softmax_then_mask(scores_TT))


def softmax_plus_constant(constant):
    return lambda scores_TT: plain_softmax(scores_TT - constant * ~past(len(scores_TT)))


def softmax_overflow(scores_TT):
    with quiet():
        return shares(np.exp(hidden(scores_TT)))


def softmax_overflow_zeroed(scores_TT):
    with quiet():
        return shares(np.exp(scores_TT) * past(len(scores_TT)))


def softmax_one_maximum(scores_TT):
    return shares(np.exp(hidden(scores_TT) - scores_TT.max()))


def softmax_clipped(scores_TT):
    return softmax_overflow(np.clip(scores_TT, -700, 700))


def softmax_without_nan(scores_TT):
    return np.nan_to_num(softmax_overflow(scores_TT))


def softmax_small_divisor(scores_TT):
    scores_TT = hidden(scores_TT)
    exps_TT = np.exp(scores_TT - scores_TT.max(1, keepdims=True))
    return exps_TT / (exps_TT.sum(1, keepdims=True) + 1e-8)


# ---------------------------------------------------------------- 01.2 who_sees


def who_sees(fn, T, D, rng):
    sees_TT = np.zeros((T, T), bool)
    for _ in range(30):
        x_TD = rng.normal(size=(T, D))
        before = fn(x_TD)
        for j in range(T):
            changed = x_TD.copy()
            changed[j] = rng.normal(size=D) * 10
            after = fn(changed)
            for i in range(T):
                sees_TT[i, j] |= bool((after[i] != before[i]).any())
    return sees_TT


def reader(rng, sees_TT, D, E, message=None, far=1.0):
    """A function of x (T, D): output i is a weighted sum of ``message(x_j)`` over the tokens j that it sees."""
    T = len(sees_TT)
    i, j = np.indices((T, T))
    weights_TT = np.where(sees_TT, rng.uniform(0.5, 1.5, size=(T, T)), 0) * np.where(i == j, 1, far)
    matrix_DE = rng.normal(size=(D, E))
    return lambda x_TD: weights_TT @ (x_TD @ matrix_DE if message is None else message(x_TD))


def table_of(T, condition):
    """Which pairs (i, j) fulfil a condition."""
    return condition(*np.indices((T, T)))


def causal(i, j):
    return j <= i


def cases_2(rng, numbers):
    def case(name, part, fn, T, D, say=None):
        seed = int(rng.integers(1 << 30))
        run = lambda answer: answer(fn, T, D, np.random.default_rng(seed))  # noqa: E731
        return Case(name, part, run, f"T = {T}, D = {D}", say)

    def plain(name, part, T, D, E, condition=causal, say=None, **how):
        return case(name, part, reader(rng, table_of(T, condition), D, E, **how), T, D, say)

    def closed(D, E):
        """Zero unless x_j is large in the direction of a vector."""
        direction, matrix_1E = rng.normal(size=D), rng.normal(size=(1, E))
        unit = direction / np.linalg.norm(direction)
        return lambda x_TD: np.maximum(np.abs(x_TD @ unit) - 4, 0)[:, None] @ matrix_1E

    def without_channel_0(D, E):
        matrix_DE = rng.normal(size=(D, E))
        matrix_DE[0] = 0
        return lambda x_TD: x_TD @ matrix_DE

    def one_output_channel(T, D, E):
        """Output i reads others in its channel i % E."""
        own, all_ = reader(rng, np.eye(T, dtype=bool), D, E), reader(rng, table_of(T, causal), D, E)
        return lambda x_TD: np.where(table_of(max(T, E), lambda i, e: i % E == e)[:T, :E], all_(x_TD), own(x_TD))

    def largest(E):
        matrix_1E = rng.normal(size=(1, E))
        return lambda x_TD: x_TD.argmax(1)[:, None] @ matrix_1E

    def opposite(D):
        """Two channels, one the negative of the other."""
        direction = rng.normal(size=D)
        return lambda x_TD: np.outer(x_TD @ direction, [1.0, -1.0])

    def gated(T, D, E):
        """What token i reads, times a number that token i itself makes: zero if token i is."""
        direction, read = rng.normal(size=D), reader(rng, table_of(T, causal), D, E)
        return lambda x_TD: (x_TD @ direction)[:, None] * read(x_TD)

    who, weak, channel = "who sees whom", "weak and closed", "channels"
    return [
        plain("a causal function", who, 6, 3, 4),
        plain("3 tokens back, 1 ahead", who, 9, 4, 2, lambda i, j: (j >= i - 3) & (j <= i + 1)),
        plain("earlier tokens only", who, 5, 2, 3, lambda i, j: j < i),
        plain("one token", who, 1, 3, 2),
        plain("others count for 0.0000000001", weak, 7, 3, 5, far=1e-10, say="allclose"),
        plain("a relu that is closed for small numbers", weak, 12, 4, 3, message=closed(4, 3), say="one step"),
        plain("channel 0 is not read", channel, 6, 4, 3, message=without_channel_0(4, 3), say="channel 0"),
        case("one channel of an output reads others", channel, one_output_channel(8, 3, 5), 8, 3, "all channels"),
        plain("the largest channel counts", channel, 9, 5, 2, message=largest(2), say="same step"),
        plain("the channels of an output sum to zero", channel, 6, 3, 2, message=opposite(3), say="sums"),
        case("each output is a product", weak, gated(6, 4, 3), 6, 4, "zero start"),
    ]


def seeing(change, differs=None, tries=20, restore=True, collect=True, start=1.0):
    """A wrong answer: another way to change a token, or to compare two outputs."""
    differs = differs or (lambda a, b: (a != b).any(1))

    def answer(fn, T, D, rng):
        x_TD, sees_TT = start * rng.normal(size=(T, D)), np.zeros((T, T), bool)
        before = fn(x_TD)
        for j in range(T):
            for k in range(tries):
                changed = x_TD.copy() if restore else x_TD
                change(changed, j, rng, k)
                moved = differs(before, fn(changed))
                sees_TT[:, j] = sees_TT[:, j] | moved if collect else moved
        return sees_TT

    return answer


def change_all(x_TD, j, rng, k):
    x_TD[j] = rng.normal(size=x_TD.shape[1]) * 10


def change_channel_0(x_TD, j, rng, k):
    x_TD[j, 0] = rng.normal() * 10


def change_little(x_TD, j, rng, k):
    x_TD[j] += 1e-3 * rng.normal(size=x_TD.shape[1])


def change_once(x_TD, j, rng, k):
    x_TD[j] = rng.normal(size=x_TD.shape[1])


def change_alike(x_TD, j, rng, k):
    x_TD[j] += 10.0 * (k + 1) * (-1) ** k


def change_scale(x_TD, j, rng, k):
    x_TD[j] *= 4.0 * (k + 2)


def rows_not_close(a, b):
    return ~np.isclose(a, b).all(1)


def anything_moved(a, b):
    return np.full(len(a), (a != b).any())


def sums_moved(a, b):
    return a.sum(1) != b.sum(1)


sees_right = seeing(change_all)


def sees_transposed(fn, T, D, rng):
    return sees_right(fn, T, D, rng).T


def sees_as_numbers(fn, T, D, rng):
    return sees_right(fn, T, D, rng).astype(int)


def sees_only_past(fn, T, D, rng):
    return np.tril(sees_right(fn, T, D, rng))


def sees_nothing(fn, T, D, rng):
    return np.zeros((T, T), dtype=bool)


def sees_without_looking(fn, T, D, rng):
    return past(T)


# ---------------------------------------------------------------- 01.3 multi_head


def multi_head(x_TD, weights, heads, causal):
    T, D = x_TD.shape
    d = D // heads
    q, k, v = (x_TD @ weights[name] for name in ("W_q", "W_k", "W_v"))
    joined = np.zeros((T, D))
    for h in range(heads):
        own = slice(h * d, (h + 1) * d)
        for i in range(T):
            read = range(i + 1 if causal else T)
            scores = [q[i, own] @ k[j, own] / math.sqrt(d) for j in read]
            exps = [math.exp(score - max(scores)) for score in scores]
            joined[i, own] = sum(exps[j] / sum(exps) * v[j, own] for j in read)
    return joined @ weights["W_o"]


def split_heads(x_TD, H):
    return x_TD.reshape(len(x_TD), H, -1).swapaxes(0, 1)


def split_reshaped(x_TD, H):
    return x_TD.reshape(H, len(x_TD), -1)


def split_interleaved(x_TD, H):
    return x_TD.reshape(len(x_TD), -1, H).transpose(2, 0, 1)


def split_not(x_TD, H):
    return x_TD[None]


def merge_heads(x_HTd):
    return x_HTd.swapaxes(0, 1).reshape(x_HTd.shape[1], -1)


def merge_reshaped(x_HTd):
    return x_HTd.reshape(x_HTd.shape[1], -1)


def merge_interleaved(x_HTd):
    return x_HTd.transpose(1, 2, 0).reshape(x_HTd.shape[1], -1)


def headed(
    split=split_heads, merge=merge_heads, scale="d", axis=-1, mask=True, project=True, turned=False, hide="before",
    unseen=-np.inf,
):  # fmt: skip
    """A wrong answer: attention in heads, with something changed."""

    def answer(x_TD, weights, heads, causal):
        T, D = x_TD.shape
        matrices = {name: matrix.T if turned else matrix for name, matrix in weights.items()}
        q, k, v = (split(x_TD @ matrices[name], heads) for name in ("W_q", "W_k", "W_v"))
        scores = q @ k.swapaxes(1, 2) / math.sqrt({"d": D // heads, "D": D, "none": 1}[scale])
        masked, seen_TT = {True: causal, False: False, "always": True}[mask], past(T).T if hide == "past" else past(T)
        if masked and hide != "after":
            scores = np.where(seen_TT, scores, unseen)
        maps = plain_softmax(scores, axis)
        joined = merge((maps * seen_TT if masked and hide == "after" else maps) @ v)
        return joined @ matrices["W_o"] if project else joined

    return answer


def cases_3(rng, numbers):
    def case(name, part, T, D, heads, causal):
        weights = {f"W_{letter}": rng.normal(size=(D, D)) * 1.5 / math.sqrt(D) for letter in "qkvo"}
        sizes = f"T = {T}, D = {D}, heads = {heads}, causal = {causal}"
        return call(name, part, rng.normal(size=(T, D)), weights, heads, causal, sizes=sizes)

    return [
        case("three heads", "not causal", 5, 12, 3, False),
        case("more tokens than channels", "not causal", 11, 8, 2, False),
        case("three heads, causal", "causal", 7, 15, 3, True),
        case("four heads, causal", "causal", 6, 8, 4, True),
        case("one head", "edge sizes", 5, 6, 1, True),
        case("one channel in a head", "edge sizes", 4, 5, 5, False),
        case("one token", "edge sizes", 1, 6, 2, True),
    ]


# ---------------------------------------------------------------- 01.4 what attention costs


def draw_4(rng):
    H = int(rng.choice([4, 6, 8, 12]))
    return {
        "T": int(rng.integers(5, 30)) * 100, "D": H * int(rng.choice([32, 48, 64, 80])), "H": H,
        "B": int(rng.choice([3, 5, 7])),
    }  # fmt: skip


def answers_4(n):
    T, D, H, B = n["T"], n["D"], n["H"], n["B"]
    return {"a": 2 * T**2 * D, "b": 2 * B * H * T**2, "c": 6 * D, "d": 1}


# ---------------------------------------------------------------- 01.5 rope


def rope_given(x_TS, positions):
    """Turn the channel pairs (k, k + S/2) of each token by its position times their frequency.

    x_TS: array (T, S), S even. positions: whole numbers (T,), of any size and order.
    Returns an array (T, S).
    """
    half = x_TS.shape[1] // 2
    frequency = 10000.0 ** (-np.arange(half) / half)
    angle = np.multiply.outer(positions, frequency).astype(np.float16)
    angle_TS = np.repeat(angle, 2, axis=1)
    turned_TS = np.concatenate([-x_TS[:, half:], x_TS[:, :half]], axis=1)
    return x_TS * np.cos(angle_TS, dtype=np.float64) + turned_TS * np.sin(angle_TS, dtype=np.float64)


def rope(x_TS, positions):
    half = x_TS.shape[1] // 2
    out = np.zeros_like(x_TS)
    for row, position in enumerate(positions):
        for k in range(half):
            angle = int(position) * 10000.0 ** (-k / half)
            x1, x2 = x_TS[row, k], x_TS[row, k + half]
            out[row, k] = x1 * math.cos(angle) - x2 * math.sin(angle)
            out[row, k + half] = x2 * math.cos(angle) + x1 * math.sin(angle)
    return out


def roped(
    pairs="halves", exact=True, order=1, sign=1, restart=False, over=1, kind=np.float16, reduced=False, tables=float,
):  # fmt: skip
    """A wrong answer: the rotation with something changed."""

    def answer(x_TS, positions):
        S = x_TS.shape[1]
        half = S // 2
        frequency = (10000.0 ** (-np.arange(half) / (half * over)))[::order]
        angle = np.multiply.outer(np.arange(len(x_TS)) if restart else positions, frequency)
        if reduced:  # brought near 0 before it is rounded
            angle = angle % (2 * np.pi)
        with quiet():
            angle = (angle if exact else angle.astype(kind)).astype(float)
            cos, sin = np.cos(angle).astype(tables), np.sin(angle).astype(tables) * sign
        if pairs == "tables":  # angles in pairs of neighbours, the vector in halves
            cos, sin = np.repeat(cos, 2, axis=1), np.repeat(sin, 2, axis=1)
            return x_TS * cos + np.concatenate([-x_TS[:, half:], x_TS[:, :half]], axis=1) * sin
        first, second = (x_TS[:, ::2], x_TS[:, 1::2]) if pairs == "neighbours" else (x_TS[:, :half], x_TS[:, half:])
        both = first * cos - second * sin, second * cos + first * sin
        return np.stack(both, axis=2).reshape(x_TS.shape) if pairs == "neighbours" else np.concatenate(both, axis=1)

    return answer


SHOWN = {"pairing": "both", "precision": "distance"}


def outer_channels(rng, T, S):
    """Numbers in channels 0 and S - 1 only: their angles are right even if tables go in pairs of neighbours."""
    x_TS = np.zeros((T, S))
    x_TS[:, [0, -1]] = rng.normal(size=(T, 2))
    return x_TS


def keep_outer(out_TS):
    return out_TS[:, [0, -1]]


def cases_5(rng, numbers):
    tables, angles, shown = "pairing", "precision", "properties"

    def exact(T, S, step):  # positions whose angles float16 holds exactly
        return rng.normal(size=(T, S)), step * (rng.permutation(T) - 2)

    def far(T):
        return rng.integers(2048, 4096, size=T) * 2 + 1

    def norms(answers):
        return np.linalg.norm(answers.rope(x.copy(), places.copy()), axis=1)

    def names(key):
        def run(answers):
            said = answers.shown_01_5.get(key)
            if said != SHOWN[key]:
                raise Said("01.5", f"{key}: {said}" if said in ("norm", "distance", "both") else "unnamed")
            return said

        return Case(f"what shows the fault of {key}", shown, run)

    x, places = rng.normal(size=(7, 10)), rng.integers(0, 900, size=7)
    S2, S6 = (rng.normal(size=(6, 2)), far(6)), (outer_channels(rng, 9, 6), far(9))
    return [
        call("small angles", tables, *exact(5, 4, 100), of="rope", sizes="T = 5, S = 4", say="pairing"),
        call("four pairs", tables, *exact(3, 8, 1000), of="rope", sizes="T = 3, S = 8", say="pairing"),
        Case("lengths of the rows", tables, norms, "T = 7, S = 10", say="pairing"),
        call("one pair, positions of 4096 to 8192", angles, *S2, of="rope", sizes="T = 6, S = 2", say="precision"),
        call("the slowest pair, positions of 4096 to 8192", angles, *S6, of="rope", sizes="T = 9, S = 6",
             then=keep_outer, say="precision"),
        names("pairing"),
        names("precision"),
    ]  # fmt: skip


# ---------------------------------------------------------------- 01.6 window_attention


def last_tokens(i, T, window):
    return range(max(i - window + 1, 0), i + 1)


def windowed(seen=last_tokens, scaled=True, zero_keys=False):
    """The oracle: token by token. What is passed makes the wrong answers."""

    def answer(q_TS, k_TS, v_TE, window):
        out = np.zeros_like(v_TE)
        for i, q_S in enumerate(q_TS):
            read = np.array(seen(i, len(q_TS), window), int)
            if not len(read):
                out[i] = np.nan
                continue
            scores = k_TS[read] @ q_S / (math.sqrt(len(q_S)) if scaled else 1)
            top = max(scores.max(), 0) if zero_keys else scores.max()
            exps = np.exp(scores - top)
            missing = (window - len(read)) * math.exp(-top) if zero_keys else 0
            out[i] = exps @ v_TE[read] / (exps.sum() + missing)
        return out

    return answer


def window_long(i, T, window):
    return last_tokens(i, T, window + 1)


def window_short(i, T, window):
    return last_tokens(i, T, window - 1)


def window_both_sides(i, T, window):
    return range(max(i - window + 1, 0), min(i + window, T))


def window_chunks(i, T, window):
    return range(i // window * window, i + 1)


def window_clipped(i, T, window):
    return [max(i - back, 0) for back in range(window)]


def window_wrapped(i, T, window):
    return [(i - back) % T for back in range(window)]


def window_none(i, T, window):
    return range(i + 1)


def window_by_mask(q_TS, k_TS, v_TE, window):
    i, j = np.indices((len(q_TS), len(q_TS)))
    scores = np.where((j <= i) & (j > i - window), q_TS @ k_TS.T / math.sqrt(q_TS.shape[1]), -np.inf)
    return plain_softmax(scores) @ v_TE


def window_after(q_TS, k_TS, v_TE, window):
    """Weights of all earlier tokens, and those outside the window left out."""
    out = np.zeros_like(v_TE)
    for i, q_S in enumerate(q_TS):
        read = last_tokens(i, len(q_TS), window)
        scores = k_TS[: i + 1] @ q_S / math.sqrt(len(q_S))
        out[i] = shares(np.exp(scores - scores.max()))[read] @ v_TE[read]
    return out


def window_by_table(q_TS, k_TS, v_TE, window):
    """Row by row, and the window stands in a table of T x T places."""
    T = len(q_TS)
    sees_TT = past(T) & ~past(T, -window)
    return windowed(lambda i, T, window: np.flatnonzero(sees_TT[i]))(q_TS, k_TS, v_TE, window)


LIMIT = 1.0  # megabytes held at once, with 1024 tokens and a window of 4: less than T x T places of one byte


def cases_6(rng, numbers):
    def case(name, part, T, S, E, window):
        q, k, v = (rng.normal(size=(T, width)) for width in (S, S, E))
        return call(name, part, q, k, v, window, sizes=f"T = {T}, S = {S}, E = {E}, window = {window}")

    q, k, v = (rng.normal(size=(1024, width)) for width in (3, 3, 2))

    def held(answer):
        value, peak = megabytes(answer, q.copy(), k.copy(), v.copy(), 4)
        if peak > LIMIT:
            raise Said("01.6", "full map")
        return value

    return [
        case("a window of 3", "values", 11, 4, 5, 3),
        case("a window of 4", "values", 14, 3, 2, 4),
        case("a window of 1", "edge sizes", 6, 3, 4, 1),
        case("a window longer than the text", "edge sizes", 5, 2, 3, 9),
        case("one token", "edge sizes", 1, 4, 3, 2),
        Case("a long text", "memory", held, "T = 1024, S = 3, E = 2, window = 4"),
    ]


EXERCISES = exercises_of("01", {
    "01.1": dict(
        cases=cases_1, right=causal_softmax,
        wrong=(
            Wrong("after", softmax_then_mask), Wrong("columns", softmax_of(hidden, axis=0)),
            Wrong("upper", softmax_of(lambda s: np.where(past(len(s)).T, s, -np.inf))),
            Wrong("diagonal", softmax_of(lambda s: hidden(s, diagonal=-1))),
            Wrong("score 0", softmax_of(lambda s: hidden(s, 0.0))),
            Wrong("constant", softmax_of(lambda s: hidden(s, -1000.0))),
            Wrong("constant", softmax_plus_constant(1000.0)), Wrong("constant", softmax_plus_constant(5000.0)),
            Wrong("clipped", softmax_clipped),
            Wrong("NaN replaced", softmax_without_nan), Wrong("small divisor", softmax_small_divisor),
            Wrong("overflow", softmax_overflow), Wrong("overflow", softmax_overflow_zeroed),
            Wrong("one maximum", softmax_one_maximum), Wrong("hidden maximum", softmax_mask_again),
            Wrong("no mask", plain_softmax), Wrong("input", lambda scores_TT: scores_TT),
        ),
    ),
    "01.2": dict(
        cases=cases_2, right=who_sees, shut=False,
        wrong=(
            Wrong("transposed", sees_transposed), Wrong("channel 0", seeing(change_channel_0)),
            Wrong("allclose", seeing(change_all, rows_not_close)),
            Wrong("same step", seeing(change_alike)), Wrong("same step", seeing(change_scale)),
            Wrong("one step", seeing(change_little)),
            Wrong("one step", seeing(change_once, tries=1)), Wrong("one step", seeing(change_all, collect=False)),
            Wrong("not restored", seeing(change_all, restore=False)),
            Wrong("all channels", seeing(change_all, lambda a, b: (a != b).all(1))),
            Wrong("first channel", seeing(change_all, lambda a, b: a[:, 0] != b[:, 0])),
            Wrong("whole output", seeing(change_all, anything_moved)), Wrong("sums", seeing(change_all, sums_moved)),
            Wrong("zero start", seeing(change_all, start=0.0)), Wrong("not bool", sees_as_numbers),
            Wrong("nothing", sees_nothing),
            Wrong("without looking", sees_without_looking), Wrong("without looking", sees_only_past),
        ),
    ),
    "01.3": dict(
        cases=cases_3, right=multi_head,
        wrong=(
            Wrong("reshaped", headed(split_reshaped)), Wrong("reshaped", headed(split_reshaped, merge_reshaped)),
            Wrong("merge", headed(merge=merge_reshaped)),
            Wrong("interleaved", headed(split_interleaved, merge_interleaved)),
            Wrong("interleaved", headed(split_interleaved)), Wrong("full width", headed(scale="D")),
            Wrong("no scale", headed(scale="none")), Wrong("no projection", headed(project=False)),
            Wrong("no mask", headed(mask=False)), Wrong("always masked", headed(mask="always")),
            Wrong("one head", headed(split_not, scale="D")), Wrong("one head", headed(split_not)),
            Wrong("columns", headed(axis=1)), Wrong("over heads", headed(axis=0)), Wrong("turned", headed(turned=True)),
            Wrong("after", headed(hide="after")), Wrong("score 0", headed(unseen=0.0)),
            Wrong("upper", headed(hide="past")), Wrong("input", lambda x_TD, weights, heads, causal: x_TD),
        ),
    ),
    "01.4": dict(
        cases=lambda rng, n: [predicted(key) for key in "abcd"], right=answers_4, draw=draw_4, tolerance=0.005,
        wrong=(
            Wrong("a: times H", lambda n: 2 * n["T"] ** 2 * n["D"] * n["H"], of="a"),
            Wrong("a: one product", lambda n: n["T"] ** 2 * n["D"], of="a"),
            Wrong("a: operations", lambda n: 4 * n["T"] ** 2 * n["D"], of="a"),
            Wrong("a: causal", lambda n: n["T"] * (n["T"] + 1) * n["D"], of="a"),
            Wrong("a: one head", lambda n: 2 * n["T"] ** 2 * n["D"] // n["H"], of="a"),
            Wrong("a: all texts", lambda n: 2 * n["B"] * n["T"] ** 2 * n["D"], of="a"),
            Wrong("b: without H", lambda n: 2 * n["B"] * n["T"] ** 2, of="b"),
            Wrong("b: without B", lambda n: 2 * n["H"] * n["T"] ** 2, of="b"),
            Wrong("b: doubled", lambda n: 4 * n["B"] * n["H"] * n["T"] ** 2, of="b"),
            Wrong("b: numbers", lambda n: n["B"] * n["H"] * n["T"] ** 2, of="b"),
            Wrong("b: bits", lambda n: 16 * n["B"] * n["H"] * n["T"] ** 2, of="b"),
            Wrong("b: causal", lambda n: n["B"] * n["H"] * n["T"] * (n["T"] + 1), of="b"),
            Wrong("c: projections", lambda n: 2 * n["D"], of="c"), Wrong("c: MLP", lambda n: 4 * n["D"], of="c"),
            Wrong("c: one product", lambda n: 12 * n["D"], of="c"),
            Wrong("c: causal", lambda n: 12 * n["D"] - 1, of="c"), Wrong("d: 2", lambda n: 2, of="d"),
            Wrong("d: half", lambda n: 0.5, of="d"),
        ),
    ),
    "01.5": dict(
        cases=cases_5,
        right={"rope": rope, "shown_01_5": SHOWN},
        given={"rope": rope_given, "shown_01_5": {"pairing": None, "precision": None}},
        wrong=(
            Wrong("pairing left", roped("tables"), of="rope"), Wrong("precision left", roped(exact=False), of="rope"),
            Wrong("pairing left", rope_given, of="rope"),
            Wrong("single", roped(exact=False, kind=np.float32), of="rope"),
            Wrong("single", roped(tables=np.float32), of="rope"),
            Wrong("rounded late", roped(exact=False, reduced=True), of="rope"),
            Wrong("no sign", lambda x_TS, positions: roped()(x_TS, np.abs(positions)), of="rope"),
            Wrong("neighbours", roped("neighbours"), of="rope"), Wrong("inverted", roped(order=-1), of="rope"),
            Wrong("direction", roped(sign=-1), of="rope"), Wrong("restarted", roped(restart=True), of="rope"),
            Wrong("exponent", roped(over=2), of="rope"),
            Wrong("not turned", lambda x_TS, positions: x_TS, of="rope"),
            Wrong("pairing: norm", SHOWN | {"pairing": "norm"}, of="shown_01_5"),
            Wrong("pairing: distance", SHOWN | {"pairing": "distance"}, of="shown_01_5"),
            Wrong("precision: norm", SHOWN | {"precision": "norm"}, of="shown_01_5"),
            Wrong("precision: both", SHOWN | {"precision": "both"}, of="shown_01_5"),
            Wrong("unnamed", SHOWN | {"precision": None}, of="shown_01_5"),
        ),
    ),
    "01.6": dict(
        cases=cases_6, right=windowed(),
        wrong=(
            Wrong("too many", windowed(window_long)), Wrong("too few", windowed(window_short)),
            Wrong("both sides", windowed(window_both_sides)), Wrong("chunks", windowed(window_chunks)),
            Wrong("zero keys", windowed(zero_keys=True)), Wrong("clipped", windowed(window_clipped)),
            Wrong("wrapped", windowed(window_wrapped)), Wrong("no window", windowed(window_none)),
            Wrong("no scale", windowed(scaled=False)), Wrong("after", window_after),
            Wrong("full map", window_by_mask), Wrong("full map", window_by_table),
            Wrong("input", lambda q_TS, k_TS, v_TE, window: v_TE),
        ),
    ),
})  # fmt: skip
