"""Problem set 04: linear attention. Cases, the oracle, and wrong answers; the right answers lie in ``solutions``."""

import copy

import numpy as np

from ..compare import difference
from ..exercise import Case, Said, Wrong, call, exercises_of, predicted
from ..instruments import lines_run, megabytes, multiplications, numpy_calls

# ---------------------------------------------------------------- what an answer costs

LIMITS = {1_000: 5, 2_000: 10, 20_000: 100}  # T: megabytes


def within_limits(exercise, key, function, draw, *more, lengths):
    """What a function returns for the last length; Said where it takes more memory than LIMITS says.

    Lengths go upwards, so that what fails at 2,000 never makes a map of 3.2 GB. A long text is narrow, for speed.
    """
    for T in lengths:
        value, taken = megabytes(function, *draw(T), *more)
        if taken > LIMITS[T]:
            raise Said(exercise, key)
    return value


def drawing(seed, letters, rows=None):
    """A function of T that draws arrays (T, S) or (T, E), or with rows in front: the same ones at each call."""

    def draw(T):
        rng = np.random.default_rng(seed)
        widths = {"S": 24, "E": 40} if T <= 2_000 else {"S": 3, "E": 5}
        return [rng.normal(size=(T, widths[x]) if rows is None else (rows, T, widths[x])) for x in letters]

    return draw


def few_steps(exercise, function, arrays, *more):
    """Said where a function calls NumPy more often than once for two tokens. The last of ``more`` is C.

    Where calls cannot be counted, as after `np.asarray`: where more lines of Python run for the same number of chunks,
    each ten times as long.
    """
    calls, T, C = numpy_calls(function, arrays, *more), arrays[0].shape[1], more[-1]
    if calls:
        many = calls > T // 2
    else:
        few = lines_run(function, *(array[:, : T // 10] for array in arrays), *more[:-1], C // 10)
        many = lines_run(function, *arrays, *more) > few + 1.5 * T
    if many:
        raise Said(exercise, "token by token")


# ---------------------------------------------------------------- 04.1 reordered


def reordered(q, k, v):
    state = np.zeros((k.shape[1], v.shape[1]))
    for s, e in np.ndindex(*state.shape):
        state[s, e] = k[:, s] @ v[:, e]
    return q @ state


def cases_1(rng, numbers):
    def case(name, part, T, S, E):
        return call(
            name, part, *(rng.normal(size=(T, width)) for width in (S, S, E)), sizes=f"T = {T}, S = {S}, E = {E}"
        )

    small, draw = [rng.normal(size=(40, width)) for width in (2, 2, 3)], drawing(int(rng.integers(1 << 30)), "SSE")

    def cost(f, *longer):
        count = multiplications(f, *small)
        if count is not None and count > 3 * 480:
            _, taken = megabytes(f, *draw(2_000))
            raise Said("04.1", "map" if taken > LIMITS[2_000] else "pairs")
        return within_limits("04.1", "map", f, draw, lengths=(2_000, *longer))[-3:]

    return [
        case("a text", "values", 11, 3, 5),
        case("wide keys", "values", 9, 7, 4),
        case("one token", "values", 1, 2, 3),
        Case("multiplications and memory", "cost", cost, "T = 40, S = 2, E = 3; T = 2,000, S = 24, E = 40"),
        Case("a long text", "cost", lambda f: cost(f, 20_000), "T = 20,000, S = 3, E = 5"),
    ]


def reordered_map(q, k, v):
    return (q @ k.T) @ v


def reordered_rows(q, k, v):
    return np.stack([(row @ k.T) @ v for row in q])


def reordered_swapped(q, k, v):
    return k @ (q.T @ v)


def soft(x, axis):
    x = np.exp(x - x.max(axis, keepdims=True))
    return x / x.sum(axis, keepdims=True)


def reordered_soft_q(q, k, v):
    return soft(q, 1) @ (k.T @ v)


def reordered_soft_k(q, k, v):
    return q @ (soft(k, 0).T @ v)


def reordered_soft_both(q, k, v):
    return soft(q, 1) @ (soft(k, 0).T @ v)


def reordered_mean(q, k, v):
    return q @ (k.T @ v) / len(k)


def reordered_scaled(q, k, v):
    return q @ (k.T @ v) / np.sqrt(q.shape[1])


def reordered_causal(q, k, v):
    return np.einsum("ts,tse->te", q, np.cumsum(k[:, :, None] * v[:, None, :], 0))


def reordered_transposed(q, k, v):
    return q @ (v.T @ k)


# ---------------------------------------------------------------- 04.2 recurrent


def recurrent(
    q, k, v, state=None, *, when="after", keep="sum", writes="k", reads="q", divide=False, dtype=float, in_place=False,
    ignore=False, mixed=False,
):  # fmt: skip
    """The oracle, as loops. What stands behind the star makes the wrong answers."""
    B, T, S = q.shape
    out = np.zeros(v.shape)
    if state is None or ignore:
        state = np.zeros((B, S, v.shape[2]), dtype)
    elif not in_place:
        state = state.astype(dtype)  # a copy
    for b in range(B):
        row = 0 if mixed else b
        for t in range(T):
            written = np.outer((k if writes == "k" else q)[b, t], v[b, t])
            read = (q if reads == "q" else k)[b, t]
            if when == "before":
                out[b, t] = read @ state[row]
            state[row] = written if keep == "last" else state[row] + written
            if when == "after":
                out[b, t] = read @ state[row]
            if divide:
                out[b, t] /= t + 1
    return out, state


def variant_2(**changed):
    def answer(q, k, v, state=None):
        return recurrent(q, k, v, state, **changed)

    return answer


def recurrent_summed(q, k, v, state=None):
    """All texts write into one state."""
    state = np.zeros((len(q), q.shape[2], v.shape[2])) if state is None else state
    out = np.zeros(v.shape)
    for t in range(q.shape[1]):
        state = state + np.einsum("bs,be->se", k[:, t], v[:, t])
        out[:, t] = np.einsum("bs,bse->be", q[:, t], state)
    return out, state


def cases_2(rng, numbers):
    def texts(B, T, S, E):
        return [rng.normal(size=(B, T, width)) for width in (S, S, E)]

    def state(B, S, E):
        return rng.normal(size=(B, S, E))

    prompt, one, other = texts(2, 6, 3, 5), texts(2, 4, 3, 5), texts(2, 3, 3, 5)

    def continued(f):
        first, kept = f(*copy.deepcopy(prompt))
        return first, *(f(*copy.deepcopy(text), kept)[0] for text in (one, other))

    return [
        call("two texts", "values", *texts(2, 7, 3, 4), sizes="B = 2, T = 7, S = 3, E = 4"),
        call("1000 tokens", "values", *texts(1, 1000, 2, 3), sizes="B = 1, T = 1000, S = 2, E = 3"),
        call("a state is given", "goes on", *texts(3, 5, 4, 2), state(3, 4, 2), sizes="B = 3, T = 5, S = 4, E = 2"),
        Case("one prompt, two ways to go on", "goes on", continued, "B = 2, T = 6, then 4 or 3, S = 3, E = 5"),
        call("one token", "edge sizes", *texts(1, 1, 3, 2), sizes="B = 1, T = 1, S = 3, E = 2"),
        call("no token", "edge sizes", *texts(2, 0, 3, 4), state(2, 3, 4), sizes="B = 2, T = 0, S = 3, E = 4"),
    ]


# ---------------------------------------------------------------- 04.3 chunked_exact


def chunked_exact(
    q, k, v, C, *, mask="inclusive", update="after", inside=True, read=True, keep="sum", over_C=False, tail=True
):
    """The oracle: a loop over chunks. What stands behind the star makes the wrong answers."""
    B, T, S = q.shape
    state, out = np.zeros((B, S, v.shape[2])), np.zeros(v.shape)
    for first in range(0, T, C):
        own = slice(first, first + C)
        scores = np.einsum("bis,bjs->bij", q[:, own], k[:, own]) / (C if over_C else 1)
        near = {"inclusive": np.tril(scores), "strict": np.tril(scores, -1), "none": scores}[mask] @ v[:, own]
        written = np.einsum("bjs,bje->bse", k[:, own], v[:, own])
        if update == "before":
            state = state + written
        out[:, own] = inside * near + read * (q[:, own] @ state)
        if update == "after":
            state = written if keep == "last" else state + written
    if not tail:
        out[:, T // C * C :] = 0
    return out


def variant_3(**changed):
    def answer(q, k, v, C):
        return chunked_exact(q, k, v, C, **changed)

    return answer


def chunked_by_token(q, k, v, C):
    return recurrent(q, k, v)[0]


def chunked_by_map(q, k, v, C):
    return np.tril(q @ k.swapaxes(1, 2)) @ v


def chunked_by_states(q, k, v, C):
    return np.einsum("bts,btse->bte", q, np.cumsum(k[:, :, :, None] * v[:, :, None, :], 1))


def chunked_by_token_as_array(q, k, v, C):
    return recurrent(*map(np.asarray, (q, k, v)))[0]


def cases_3(rng, numbers):
    def texts(B, T, S, E):
        return [rng.normal(size=(B, T, width)) for width in (S, S, E)]

    def case(name, part, B, T, S, E, C):
        return call(name, part, *texts(B, T, S, E), C, sizes=f"B = {B}, T = {T}, S = {S}, E = {E}, C = {C}")

    few, draw = texts(2, 400, 3, 5), drawing(int(rng.integers(1 << 30)), "SSE", rows=1)

    def cost(f, *longer):
        few_steps("04.3", f, few, 100)
        return within_limits("04.3", "memory", f, draw, 64, lengths=(2_000, *longer))[:, -40:]

    return [
        case("three chunks and a tail", "values", 2, 14, 3, 5, 4),
        case("four chunks and a tail", "values", 1, 23, 4, 2, 5),
        case("C divides T", "edge sizes", 3, 12, 2, 4, 3),
        case("fewer tokens than C", "edge sizes", 2, 3, 4, 5, 7),
        case("C = 1", "edge sizes", 2, 6, 3, 4, 1),
        case("one token", "edge sizes", 1, 1, 2, 3, 4),
        Case("steps and memory", "cost", cost, "T = 400, C = 100; T = 2,000, S = 24, E = 40, C = 64"),
        Case("a long text", "cost", lambda f: cost(f, 20_000), "T = 20,000, S = 3, E = 5, C = 64"),
    ]


# ---------------------------------------------------------------- 04.4 fewer operations, more traffic


def draw_4(rng):
    C, G = int(rng.integers(20, 60)), int(rng.integers(21, 50))
    S = int(rng.integers(5, 11)) * 8
    return {"T": G * C + int(rng.integers(1, C)), "S": S, "E": S * 2 + int(rng.integers(1, 9)) * 16, "C": C}


def answers_4(n):
    T, S, E, C = (n[name] for name in "TSEC")
    return {
        "a": T, "b": -(-T // C), "c": T * S * E, "d": S * E, "e": round(2 * S * E / (S + E)), "f": "operations",
    }  # fmt: skip


def cases_4(rng, numbers):
    def updates(answer):
        a = predicted("a").run(answer)  # the tolerance, which is there for rounding in e, would let it through
        if a == numbers["T"] - 1:
            raise Said("04.4", "a: one less")
        return a

    return [Case("a", "a", updates), *(predicted(key) for key in "bcdef")]


# ---------------------------------------------------------------- 04.5 linear_backward


def linear_backward(
    q, k, v, d_out, *, dq_side="left", dk_side="right", dv_side="right", own_left=True, own_right=True, dv_from="k",
    swap=False, dq_reads="d_out", dk_reads="v", reset=True,
):  # fmt: skip
    """The oracle: a state from the left, one from the right. What stands behind the star makes the wrong answers."""
    T = len(q)
    dq, dk, dv = np.zeros(q.shape), np.zeros(k.shape), np.zeros(v.shape)
    key = k if dv_from == "k" else q
    written = np.zeros((q.shape[1], v.shape[1])) if dq_side == "left" else k.T @ v
    for t in range(T):
        if dq_side == "left" and own_left:
            written = written + k[t][:, None] * v[t]
        dq[t] = written @ (d_out if dq_reads == "d_out" else v)[t]
        if dq_side == "left" and not own_left:
            written = written + k[t][:, None] * v[t]
    for side in sorted({dk_side, dv_side}):
        asked = np.zeros((q.shape[1], v.shape[1])) if side != "whole" else q.T @ d_out
        if not reset:
            asked = written
        for t in reversed(range(T)) if side == "right" else range(T):
            brought = q[t][:, None] * d_out[t] * (side != "whole")
            if own_right:
                asked = asked + brought
            if side == dk_side:
                dk[t] = asked @ (v if dk_reads == "v" else d_out)[t]
            if side == dv_side:
                dv[t] = key[t] @ asked
            if not own_right:
                asked = asked + brought
    return (dk, dq, dv) if swap else (dq, dk, dv)


def variant_5(**changed):
    def answer(q, k, v, d_out):
        return linear_backward(q, k, v, d_out, **changed)

    return answer


def backward_by_map(q, k, v, d_out):
    weights, d_weights = np.tril(q @ k.T), np.tril(d_out @ v.T)
    return d_weights @ k, d_weights.T @ q, weights.T @ d_out


def backward_by_states(q, k, v, d_out):
    written = np.cumsum(k[:, :, None] * v[:, None, :], 0)
    asked = np.cumsum((q[:, :, None] * d_out[:, None, :])[::-1], 0)[::-1]
    return np.einsum("tse,te->ts", written, d_out), np.einsum("tse,te->ts", asked, v), np.einsum("ts,tse->te", k, asked)


def gradient(*places):
    """What a case looks at: some of the three gradients, or whatever came back."""

    def look(value):
        if isinstance(value, tuple | list) and len(value) == 3:
            return value[places[0]] if len(places) == 1 else tuple(value[place] for place in places)
        return value

    return look


def cases_5(rng, numbers):
    def texts(T, S, E):
        return [rng.normal(size=(T, width)) for width in (S, S, E, E)]

    def both(name, T, S, E):
        given, sizes = texts(T, S, E), f"T = {T}, S = {S}, E = {E}"
        return [
            call(name, "dq", *given, sizes=sizes, then=gradient(0)),
            call(name, "dk and dv", *given, sizes=sizes, then=gradient(1, 2)),
        ]

    draw = drawing(int(rng.integers(1 << 30)), "SSEE")

    def memory(f):
        return within_limits("04.5", "memory", f, draw, lengths=(1_000,))

    return [
        *both("a text", 9, 3, 5),
        *both("wide keys", 14, 6, 4),
        *both("one token", 1, 4, 3),
        Case("one state at a time", "memory", memory, "T = 1,000, S = 24, E = 40"),
    ]


# ---------------------------------------------------------------- 04.6 a stream server


ZEROS = np.zeros((4, 3))


def answer_one(q_TS, k_TS, v_TE, state_SE=ZEROS):
    out_TE = np.zeros(v_TE.shape)
    for t in range(len(q_TS)):
        state_SE += np.outer(k_TS[t], v_TE[t])
        out_TE[t] = q_TS[t] @ state_SE
    return out_TE, state_SE


def answer_batch(q_BTS, k_BTS, v_BTE):
    out_BTE = np.zeros(v_BTE.shape)
    states = [ZEROS.copy()] * len(q_BTS)
    for b in range(len(q_BTS)):
        for t in range(q_BTS.shape[1]):
            states[b] += np.outer(k_BTS[b, t], v_BTE[b, t])
            out_BTE[b, t] = q_BTS[b, t] @ states[b]
    return out_BTE


def honest_one(q_TS, k_TS, v_TE, state_SE=None):
    out, states = recurrent(q_TS[None], k_TS[None], v_TE[None], None if state_SE is None else state_SE[None])
    return out[0], states[0]


def honest_batch(q_BTS, k_BTS, v_BTE):
    return recurrent(q_BTS, k_BTS, v_BTE)[0]


def one_copied_out(q_TS, k_TS, v_TE, state_SE=ZEROS):
    out_TE = np.zeros(v_TE.shape)
    for t in range(len(q_TS)):
        state_SE += np.outer(k_TS[t], v_TE[t])
        out_TE[t] = q_TS[t] @ state_SE
    return out_TE, state_SE.copy()


def one_clears_default(q_TS, k_TS, v_TE, state_SE=np.zeros((4, 3))):  # noqa: B008, the fault itself
    default = one_clears_default.__defaults__[0]
    if state_SE is default:
        default[:] = 0
    else:
        state_SE = state_SE.copy()
    out_TE = np.zeros(v_TE.shape)
    for t in range(len(q_TS)):
        state_SE += np.outer(k_TS[t], v_TE[t])
        out_TE[t] = q_TS[t] @ state_SE
    return out_TE, state_SE


def one_moves_given(q_TS, k_TS, v_TE, state_SE=None):
    state_SE = np.zeros((4, 3)) if state_SE is None else state_SE
    out_TE = np.zeros(v_TE.shape)
    for t in range(len(q_TS)):
        state_SE += np.outer(k_TS[t], v_TE[t])
        out_TE[t] = q_TS[t] @ state_SE
    return out_TE, state_SE


def one_resets(q_TS, k_TS, v_TE, state_SE=None):
    start = np.zeros((4, 3)) if state_SE is None else state_SE
    out_TE, state_SE = np.zeros(v_TE.shape), start
    for t in range(len(q_TS)):
        state_SE = start + np.outer(k_TS[t], v_TE[t])
        out_TE[t] = q_TS[t] @ state_SE
    return out_TE, state_SE


def one_forgets_given(q_TS, k_TS, v_TE, state_SE=None):
    return honest_one(q_TS, k_TS, v_TE)


def batch_resets(q_BTS, k_BTS, v_BTE):
    return np.einsum("bts,bts->bt", q_BTS, k_BTS)[:, :, None] * v_BTE


KEPT = {}


def batch_cached(q_BTS, k_BTS, v_BTE):
    states = KEPT.setdefault(len(q_BTS), np.zeros((len(q_BTS), 4, 3)))
    out_BTE, states[:] = recurrent(q_BTS, k_BTS, v_BTE, states)
    return out_BTE


def batch_of_one(q_BTS, k_BTS, v_BTE):
    states = [np.zeros((4, 3))]
    out_BTE = np.zeros(v_BTE.shape)
    for b in range(len(q_BTS)):
        for t in range(q_BTS.shape[1]):
            states[b] = states[b] + np.outer(k_BTS[b, t], v_BTE[b, t])
            out_BTE[b, t] = q_BTS[b, t] @ states[b]
    return out_BTE


def batch_in_a_row(q_BTS, k_BTS, v_BTE):
    """One array for all rows, emptied only once."""
    out_BTE, state = np.zeros(v_BTE.shape), np.zeros((4, 3))
    for b in range(len(q_BTS)):
        for t in range(q_BTS.shape[1]):
            state = state + np.outer(k_BTS[b, t], v_BTE[b, t])
            out_BTE[b, t] = q_BTS[b, t] @ state
    return out_BTE


def given_back(value):
    if value is None:
        raise Said("all", "none")
    return value


def equal(a, b):
    return difference(a, b, 1e-9) is None


def cases_6(rng, numbers):
    def texts(*T):
        return [rng.normal(size=(*T, width)) for width in (4, 4, 3)]

    request, prompt, state, rows = texts(6), texts(5), rng.normal(size=(4, 3)), texts(3, 5)
    later = texts(4)

    def twice(answers):
        out, last = given_back(answers.answer_one(*copy.deepcopy(request)))
        first = copy.deepcopy((out, last))
        second = answers.answer_one(*copy.deepcopy(request))
        if not equal(first, second):
            raise Said("04.6", "copied out" if equal(first[1], last) else "default argument")
        return True

    def keeps_its_state(answers):
        _, last = given_back(answers.answer_one(*copy.deepcopy(request)))
        before = copy.deepcopy(last)
        answers.answer_one(*copy.deepcopy(later))
        if not equal(before, last):
            raise Said("04.6", "handed out twice")
        return True

    def two_ways_on(answers):
        kept = state.copy()
        first = copy.deepcopy(answers.answer_one(*copy.deepcopy(request), kept))
        if not equal(kept, state) or not equal(first, answers.answer_one(*copy.deepcopy(request), kept)):
            raise Said("04.6", "given state moved")
        return True

    def batch_twice(answers):
        first = copy.deepcopy(given_back(answers.answer_batch(*copy.deepcopy(rows))))
        if not equal(first, answers.answer_batch(*copy.deepcopy(rows))):
            raise Said("04.6", "kept by size")
        return True

    def quiet_rows(answers):
        before = copy.deepcopy(given_back(answers.answer_batch(*copy.deepcopy(rows))))
        for row in range(3):
            louder = copy.deepcopy(rows)
            for array in louder:
                array[row] *= 3
            after, others = answers.answer_batch(*louder), [b for b in range(3) if b != row]
            if not equal(before[others], after[others]):
                raise Said("04.6", "shared rows")
        return True

    return [
        Case("the same request twice", "answer_one", twice, "T = 6"),
        Case("one state, two ways to go on", "answer_one", two_ways_on, "T = 6"),
        Case("another request comes in between", "answer_one", keeps_its_state, "T = 6, then 4"),
        call("a request", "answer_one", *request, of="answer_one", sizes="T = 6"),
        call("a request that goes on", "answer_one", *prompt, state, of="answer_one", sizes="T = 5"),
        Case("the same batch twice", "answer_batch", batch_twice, "B = 3, T = 5"),
        Case("one row gets louder", "answer_batch", quiet_rows, "B = 3, T = 5"),
        call("a batch", "answer_batch", *rows, of="answer_batch", sizes="B = 3, T = 5"),
        call("one row", "answer_batch", *texts(1, 7), of="answer_batch", sizes="B = 1, T = 7"),
    ]


# ---------------------------------------------------------------- 04.7 decayed


def decayed(
    q, k, v, decay, C, *, reads="c + 1", inside="age", writes="rest", between="C", mask=True, first_write=False
):
    """The oracle: a loop over chunks. What stands behind the star makes the wrong answers."""
    B, T, S = q.shape
    state, out = np.zeros((B, S, v.shape[2])), np.zeros(v.shape)
    for first in range(0, T, C):
        own = slice(first, first + C)
        n = q[:, own].shape[1]
        c = np.arange(n)
        age = c[:, None] - c[None, :]
        powers = {"age": np.maximum(age, 0), "none": 0 * age, "raw": age, "older": np.maximum(age + 1, 0)}[inside]
        with np.errstate(all="ignore"):
            weights = np.einsum("bis,bjs->bij", q[:, own], k[:, own]) * np.float64(decay) ** powers
            near = (np.tril(weights) if mask else weights) @ v[:, own]
        aged = decay ** {"c + 1": c + 1, "c": c, "none": 0 * c, "turned": n - c}[reads]
        left = decay ** {"rest": n - 1 - c, "one more": n - c, "none": 0 * c, "turned": c}[writes]
        written = np.einsum("bjs,bje->bse", left[:, None] * k[:, own], v[:, own])
        old, new = state, decay ** {"one": 1, "none": 0}.get(between, n) * state + written
        out[:, own] = near + aged[:, None] * (q[:, own] @ (new if first_write else old))
        state = written if between == "replaced" else new
    return out


def variant_7(**changed):
    def answer(q, k, v, decay, C):
        return decayed(q, k, v, decay, C, **changed)

    return answer


def decayed_quotient(q, k, v, decay, C):
    out, state = np.zeros(v.shape), np.zeros((len(q), q.shape[2], v.shape[2]))
    for first in range(0, q.shape[1], C):
        own = slice(first, first + C)
        n = q[:, own].shape[1]
        with np.errstate(all="ignore"):
            down = np.float64(decay) ** np.arange(n)[:, None]
            weights = np.tril((q[:, own] * down) @ (k[:, own] / down).swapaxes(1, 2))
            near = weights @ v[:, own]
        out[:, own] = near + decay * down * (q[:, own] @ state)
        state = decay**n * state + (k[:, own] * down[::-1]).swapaxes(1, 2) @ v[:, own]
    return out


def decayed_by_token(q, k, v, decay, C):
    out, state = np.zeros(v.shape), np.zeros((len(q), q.shape[2], v.shape[2]))
    for t in range(q.shape[1]):
        state = decay * state + k[:, t, :, None] * v[:, t, None, :]
        out[:, t] = np.einsum("bs,bse->be", q[:, t], state)
    return out


def decayed_by_token_as_array(q, k, v, decay, C):
    return decayed_by_token(*map(np.asarray, (q, k, v)), decay, C)


def decayed_by_map(q, k, v, decay, C):
    return decayed(q, k, v, decay, q.shape[1])


def cases_7(rng, numbers):
    def texts(B, T, S, E):
        return [rng.normal(size=(B, T, width)) for width in (S, S, E)]

    def case(name, part, B, T, S, E, decay, C):
        sizes = f"B = {B}, T = {T}, S = {S}, E = {E}, decay = {decay}, C = {C}"
        return call(name, part, *texts(B, T, S, E), decay, C, sizes=sizes)

    few, draw = texts(2, 400, 3, 5), drawing(int(rng.integers(1 << 30)), "SSE", rows=1)

    def cost(f):
        few_steps("04.7", f, few, 0.9, 100)
        return within_limits("04.7", "memory", f, draw, 0.9, 64, lengths=(2_000,))[:, -40:]

    return [
        case("three chunks and a tail", "values", 2, 14, 3, 5, 0.8, 4),
        case("four chunks and a tail", "values", 1, 23, 4, 2, 0.6, 5),
        case("nothing fades", "edge sizes", 2, 11, 3, 4, 1.0, 3),
        case("fewer tokens than C", "edge sizes", 2, 3, 4, 5, 0.7, 7),
        case("C = 1", "edge sizes", 3, 6, 2, 4, 0.9, 1),
        case("one token", "edge sizes", 1, 1, 2, 3, 0.5, 4),
        case("a long chunk that fades fast", "long chunks", 1, 700, 2, 3, 0.05, 300),
        Case("steps and memory", "long chunks", cost, "T = 400, C = 100; T = 2,000, S = 24, E = 40, C = 64"),
    ]


EXERCISES = exercises_of("04", {
    "04.1": dict(
        cases=cases_1, right=reordered,
        wrong=(
            Wrong("map", reordered_map), Wrong("pairs", reordered_rows), Wrong("swapped", reordered_swapped),
            Wrong("softmax", reordered_soft_q), Wrong("softmax", reordered_soft_k),
            Wrong("softmax", reordered_soft_both), Wrong("mean", reordered_mean), Wrong("scaled", reordered_scaled),
            Wrong("causal", reordered_causal), Wrong("transposed", reordered_transposed),
            Wrong("input", lambda q, k, v: v),
        ),
    ),
    "04.2": dict(
        cases=cases_2, right=variant_2(),
        wrong=(
            Wrong("read first", variant_2(when="before")), Wrong("ignored", variant_2(ignore=True)),
            Wrong("overwritten", variant_2(keep="last")), Wrong("in place", variant_2(in_place=True)),
            Wrong("writes q", variant_2(writes="q")), Wrong("reads k", variant_2(reads="k")),
            Wrong("divided", variant_2(divide=True)), Wrong("float16", variant_2(dtype=np.float16)),
            Wrong("mixed rows", variant_2(mixed=True)), Wrong("one for all", recurrent_summed),
        ),
    ),
    "04.3": dict(
        cases=cases_3, right=variant_3(),
        wrong=(
            Wrong("tail dropped", variant_3(tail=False)), Wrong("no mask", variant_3(mask="none")),
            Wrong("strict", variant_3(mask="strict")), Wrong("update first", variant_3(update="before")),
            Wrong("inside left out", variant_3(inside=False)), Wrong("never read", variant_3(read=False)),
            Wrong("last only", variant_3(keep="last")), Wrong("over C", variant_3(over_C=True)),
            Wrong("token by token", chunked_by_token), Wrong("token by token", chunked_by_token_as_array),
            Wrong("memory", chunked_by_map), Wrong("memory", chunked_by_states),
            Wrong("input", lambda q, k, v, C: v),
        ),
    ),
    "04.4": dict(
        cases=cases_4, right=answers_4, draw=draw_4, tolerance=0.005,
        wrong=(
            Wrong("a: one", lambda n: 1, of="a"), Wrong("a: one less", lambda n: n["T"] - 1, of="a"),
            Wrong("a: both ways", lambda n: 2 * n["T"], of="a"),
            Wrong("b: both ways", lambda n: 2 * -(-n["T"] // n["C"]), of="b"),
            Wrong("b: rounded down", lambda n: n["T"] // n["C"], of="b"),
            Wrong("b: C", lambda n: n["C"], of="b"), Wrong("c: S + E", lambda n: n["T"] * (n["S"] + n["E"]), of="c"),
            Wrong("c: one state", lambda n: n["S"] * n["E"], of="c"), Wrong("d: S", lambda n: n["S"], of="d"),
            Wrong("d: S + E", lambda n: n["S"] + n["E"], of="d"),
            Wrong("d: operations", lambda n: round(2 * n["S"] * n["E"] / (n["S"] + n["E"])), of="d"),
            Wrong("e: one product", lambda n: round(n["S"] * n["E"] / (n["S"] + n["E"])), of="e"),
            Wrong("e: half a map", lambda n: round(4 * n["S"] * n["E"] / (n["S"] + n["E"])), of="e"),
            Wrong("e: numbers kept", lambda n: n["S"] * n["E"], of="e"), Wrong("f: memory", lambda n: "memory", of="f"),
        ),
    ),
    "04.5": dict(
        cases=cases_5, right=variant_5(),
        wrong=(
            Wrong("from the left", variant_5(dk_side="left")), Wrong("from the left", variant_5(dv_side="left")),
            Wrong("from the left", variant_5(dk_side="left", dv_side="left")),
            Wrong("whole right", variant_5(dk_side="whole", dv_side="whole")),
            Wrong("whole left", variant_5(dq_side="whole")), Wrong("own right", variant_5(own_right=False)),
            Wrong("own left", variant_5(own_left=False)), Wrong("dv from q", variant_5(dv_from="q")),
            Wrong("swapped", variant_5(swap=True)), Wrong("dq from v", variant_5(dq_reads="v")),
            Wrong("dk from d_out", variant_5(dk_reads="d_out")), Wrong("not reset", variant_5(reset=False)),
            Wrong("memory", backward_by_map),
            Wrong("memory", backward_by_states),
        ),
    ),
    "04.6": dict(
        cases=cases_6,
        right={"answer_one": honest_one, "answer_batch": honest_batch},
        given={"answer_one": answer_one, "answer_batch": answer_batch},
        wrong=(
            Wrong("default argument", answer_one, of="answer_one"),
            Wrong("copied out", one_copied_out, of="answer_one"),
            Wrong("handed out twice", one_clears_default, of="answer_one"),
            Wrong("given state moved", one_moves_given, of="answer_one"), Wrong("resets", one_resets, of="answer_one"),
            Wrong("given state ignored", one_forgets_given, of="answer_one"),
            Wrong("shared rows", answer_batch, of="answer_batch"),
            Wrong("shared rows", batch_in_a_row, of="answer_batch"),
            Wrong("resets", batch_resets, of="answer_batch"), Wrong("kept by size", batch_cached, of="answer_batch"),
            Wrong("batch of one", batch_of_one, of="answer_batch"),
            Wrong("input", lambda q_BTS, k_BTS, v_BTE: v_BTE, of="answer_batch"),
        ),
    ),
    "04.7": dict(
        cases=cases_7, right=variant_7(),
        wrong=(
            Wrong("reads one too fresh", variant_7(reads="c")), Wrong("reads undimmed", variant_7(reads="none")),
            Wrong("inside undimmed", variant_7(inside="none")), Wrong("inside too old", variant_7(inside="older")),
            Wrong("reads turned", variant_7(reads="turned")), Wrong("writes turned", variant_7(writes="turned")),
            Wrong("update first", variant_7(first_write=True)), Wrong("replaced", variant_7(between="replaced")),
            Wrong("writes one too old", variant_7(writes="one more")),
            Wrong("writes undimmed", variant_7(writes="none")), Wrong("once per chunk", variant_7(between="one")),
            Wrong("never between", variant_7(between="none")), Wrong("no mask", variant_7(mask=False)),
            Wrong("no mask", variant_7(mask=False, inside="raw")), Wrong("quotient", decayed_quotient),
            Wrong("token by token", decayed_by_token), Wrong("token by token", decayed_by_token_as_array),
            Wrong("memory", decayed_by_map), Wrong("input", lambda q, k, v, decay, C: v),
        ),
    ),
})  # fmt: skip
