"""Problem set 04: linear attention. Cases, the oracle, and wrong answers; the right answers lie in ``solutions``."""

import copy
from dataclasses import replace
from itertools import chain

import numpy as np

from ..closed_book import without_autograd
from ..compare import difference
from ..examples import example
from ..exercise import (
    Case,
    Said,
    call,
    given_back,
    named_values,
    predicted,
    reject_if,
    rounded,
)
from ..instruments import (
    lines_run,
    megabytes,
    multiplications,
    reads_all_pairs,
    work,
)
from ..sizes import chunked, grown

# ---------------------------------------------------------------- what an answer costs
LONG, LONGER = 2_000, 20_000  # tokens, and a few more
MEGABYTES = 0.005  # that an answer may take for each of them


def within_limits(exercise, key, function, draw, *more, lengths):
    """What a function returns for the last length; Said where it takes more megabytes than it may."""
    for T in lengths:  # upwards, so that what fails at 2,000 never makes a map of 3.2 GB
        value, taken = megabytes(function, *draw(T), *more)
        reject_if(taken > MEGABYTES * T, exercise, key)
    return value


def texts(rng, *sizes, S, E, reads=1):
    """What an exercise's functions take: q, k, v, and d_out where ``reads`` is 2."""
    return [rng.normal(size=(*sizes, width)) for width in [S, S] + [E] * reads]


def drawing(rng, *rows, reads=1):
    """A function of T that draws texts of T tokens, with rows in front: the same ones at each call."""
    seed = int(rng.integers(1 << 30))

    def draw(T):
        # a long text is narrow, for speed
        widths = {"S": 24, "E": 40} if T < LONGER else {"S": 3, "E": 5}
        return texts(np.random.default_rng(seed), *rows, T, **widths, reads=reads)

    return draw


def few_steps(exercise, function, arrays, *more):
    """Said where a function calls NumPy more often than once for two tokens. The last of ``more`` is C."""
    (_, T, S), E, C = arrays[0].shape, arrays[2].shape[2], more[-1]
    calls, products = work(function, arrays, *more)
    if products > T * S * E:
        many = calls > T // 2
    else:  # they cannot be counted, as in a list: lines of Python, with chunks ten times as long
        few = lines_run(function, *(array[:, : T // 10] for array in arrays), *more[:-1], C // 10)
        many = lines_run(function, *arrays, *more) > few + 1.5 * T
    reject_if(many, exercise, "token by token")


def reads_once(exercise, function, arrays, *more):
    """Said where a function multiplies as if each chunk read all tokens before it. The last of ``more`` is C."""
    (_, T, S), E, C = arrays[0].shape, arrays[2].shape[2], more[-1]
    in_chunks = T * (C * (S + E) + 2 * S * E)
    _, products = work(function, arrays, *more)
    reject_if(products < T * S * E, exercise, "unseen")  # the states alone need as many
    reject_if(products > 6 * in_chunks, exercise, "reads again")


# ---------------------------------------------------------------- 04.1 reordered
def reordered(q, k, v):
    return q @ (k.T @ v)


def cases_1(rng, numbers):
    def case(name, part, T, S, E):
        T, S, E = grown(rng, T, S, E)
        return call(name, part, *texts(rng, T, S=S, E=E), sizes=f"{T = }, {S = }, {E = }")

    T, long, longer = grown(rng, 40, LONG, LONGER, more=30)
    small, draw = texts(rng, T, S=2, E=3), drawing(rng)

    def cost(f, *lengths):
        # some ways of writing do not bear such numbers
        count = multiplications(f, *small) or work(f, small)[1]
        if count > 3 * 2 * T * 2 * 3:
            # what takes all pairs takes long
            _, taken = megabytes(f, *(array[:, :1] for array in draw(long)))
            key = "map" if taken > MEGABYTES * long else "pairs"
            raise Said("04.1", key)
        value = within_limits(
            "04.1", "states" if count else "map", f, draw, lengths=(long, *lengths)
        )
        reject_if(count < T * 2 * 3, "04.1", "unseen")  # the state alone needs as many
        return value[-3:]

    yield case("one sequence", "values", 11, 3, 5)
    yield case("wide keys", "values", 9, 7, 4)
    yield case("one token", "values", 1, 2, 3)
    yield Case(
        "multiplications and memory",
        "cost",
        cost,
        f"{T = }, S = 2, E = 3; T = {long:,}, S = 24, E = 40",
    )
    yield Case(
        "a long sequence", "cost", lambda f: cost(f, longer), f"T = {longer:,}, S = 3, E = 5"
    )


def example_1():
    q, k = np.array([[1.0], [2], [3]]), np.array([[1.0], [0], [2]])
    yield example("04.1", "reordered", q=q, k=k, v=np.array([[1.0, 0], [0, 1], [1, 1]]))


# ---------------------------------------------------------------- 04.2 recurrent
def recurrent(q, k, v, state=None):
    B, T, S = q.shape
    out = np.zeros(v.shape)
    state = np.zeros((B, S, v.shape[2])) if state is None else state.copy()
    for b, t in np.ndindex(B, T):
        written = np.outer(k[b, t], v[b, t])
        state[b] += written
        out[b, t] = q[b, t] @ state[b]
    return out, state


def cases_2(rng, numbers):
    def case(name, part, B, T, S, E, given=False):
        B, S, E = grown(rng, B, S, E)
        T = T and grown(rng, T)[0]
        arrays = texts(rng, B, T, S=S, E=E)
        if given:
            arrays.append(rng.normal(size=(B, S, E)))
        return call(name, part, *arrays, sizes=f"{B = }, {T = }, {S = }, {E = }")

    B, S, E = grown(rng, 2, 3, 5)
    lengths = grown(rng, 6, 4, 3)
    prompt, one, other = (texts(rng, B, T, S=S, E=E) for T in lengths)
    sizes = "B = {}, T = {}, then {} or {}, S = {}, E = {}".format(B, *lengths, S, E)

    (long,) = grown(rng, 2 * LONG, more=30)
    narrow = texts(rng, 1, long, S=3, E=5)

    def cost(f):
        # all states may lie in memory at once, but no map
        value = within_limits("04.2", "map", f, lambda T: narrow, lengths=(long,))
        reject_if(reads_all_pairs(f, narrow), "04.2", "pairs")
        return value

    def continued(f):
        first, kept = f(*copy.deepcopy(prompt))
        ways = {"one way to go on": one, "the other way": other}
        found = {way: f(*copy.deepcopy(text), kept)[0] for way, text in ways.items()}
        return {"the prompt": first} | found

    yield case("two sequences", "values", 2, 7, 3, 4)
    yield case("a long sequence", "values", 1, 1000, 2, 3)
    yield case("a state is given", "goes on", 3, 5, 4, 2, given=True)
    yield Case("one prompt, two ways to go on", "goes on", continued, sizes)
    yield case("one token", "edge sizes", 1, 1, 3, 2)
    yield case("no token", "edge sizes", 2, 0, 3, 4, given=True)
    yield case("no token, no state", "edge sizes", 2, 0, 3, 4)
    yield Case("memory and time", "cost", cost, f"B = 1, T = {long:,}, S = 3, E = 5")


def example_2():
    q, k, v = np.array([[[1.0], [1], [2]], [[1], [2], [3]], [[1], [10], [100]]])[:, None]
    yield example("04.2", "recurrent", q=q, k=k, v=v)


# ---------------------------------------------------------------- 04.3 chunked_exact
def chunked_exact(q, k, v, C):
    out, state = np.zeros(v.shape), np.zeros((len(q), q.shape[2], v.shape[2]))
    for first in range(0, q.shape[1], C):
        own_q, own_k, own_v = (x[:, first : first + C] for x in (q, k, v))
        near = np.tril(np.einsum("bis,bjs->bij", own_q, own_k)) @ own_v
        written = np.einsum("bjs,bje->bse", own_k, own_v)
        out[:, first : first + C] = near + own_q @ state
        state = state + written
    return out


def in_chunks(exercise, part, rng, *decay):
    """How exercises on chunks make a case of values, and the two cases of what an answer costs."""

    def case(name, part, B, T, S, E, *more):
        (B, S, E), (T, C) = grown(rng, B, S, E), chunked(rng, T, more[-1])
        fades = f", decay = {more[0]}" if decay else ""
        sizes = f"{B = }, {T = }, {S = }, {E = }{fades}, {C = }"
        return call(name, part, *texts(rng, B, T, S=S, E=E), *more[:-1], C, sizes=sizes)

    tenth, C, *lengths = grown(rng, 10, 64, LONG, LONGER, more=20)
    long, longer = (T // C * C for T in lengths)  # who leaves out a tail can still be quick
    few, draw = texts(rng, 2, 40 * tenth, S=3, E=5), drawing(rng, 1)
    many_chunks = texts(rng, 1, long, S=3, E=5)

    def cost(f, *lengths):
        few_steps(exercise, f, few, *decay, 10 * tenth)
        value = within_limits(exercise, "memory", f, draw, *decay, C, lengths=(long, *lengths))
        reads_once(exercise, f, many_chunks, *decay, 10)
        return value[:, -40:]

    wide = f"T = {long:,}, S = 24, E = 40, {C = }"
    return case, [
        Case("steps and memory", part, cost, f"T = {40 * tenth}, C = {10 * tenth}; {wide}"),
        Case(
            "a long sequence",
            part,
            lambda f: cost(f, longer),
            f"T = {longer:,}, S = 3, E = 5, {C = }",
        ),
    ]


def cases_3(rng, numbers):
    case, cost = in_chunks("04.3", "cost", rng)
    yield case("three chunks", "values", 2, 12, 3, 5, 4)
    yield case("four chunks", "values", 1, 20, 4, 2, 5)
    yield case("three chunks and a tail", "edge sizes", 3, 14, 2, 4, 4)
    yield case("fewer tokens than C", "edge sizes", 2, 3, 4, 5, 7)
    yield case("C = 1", "edge sizes", 2, 6, 3, 4, 1)
    yield case("one token", "edge sizes", 1, 1, 2, 3, 4)
    yield from cost


def example_3():
    ones = np.ones((1, 5, 1))
    v = np.array([1.0, 10, 100, 1000, 10000])[None, :, None]
    yield example("04.3", "chunked_exact", q=ones, k=ones, v=v, C=2)


# ---------------------------------------------------------------- 04.4 fewer operations, more traffic
def draw_4(rng):
    C = int(rng.integers(20, 60))
    G = int(rng.integers(21, 50))
    S = int(rng.integers(5, 11)) * 8
    return {
        "T": G * C + int(rng.integers(1, C)),
        "S": S,
        "E": S * 2 + int(rng.integers(1, 9)) * 16,
        "C": C,
    }


def right_4(n):
    T, S, E, C = (n[name] for name in "TSEC")
    return {
        "a": T,
        "b": -(-T // C),
        "c": T * S * E,
        "d": S * E,
        "e": round(2 * S * E / (S + E)),
        "f": "operations",
    }


def cases_4(rng, numbers):
    def updates(a):  # the tolerance, which is there for rounding in e, would let it through
        reject_if(np.array_equal(a, numbers["T"] - 1), "04.4", "a: one less")
        reject_if(np.array_equal(a, numbers["T"] + 1), "04.4", "a: one more")
        return a

    def steps(b):  # for the same reason
        reject_if(isinstance(rounded(b), int) and b != rounded(b), "04.4", "b: not rounded")
        return b

    looks = {"a": updates, "b": steps, "e": rounded}
    own = {key: {"then": look} for key, look in looks.items()}
    return [predicted(key, **own.get(key, {})) for key in "abcdfe"]


# ---------------------------------------------------------------- 04.5 linear_backward
def linear_backward(q, k, v, d_out):
    """A state from the left, then one from the right."""
    dq, dk, dv = np.zeros(q.shape), np.zeros(k.shape), np.zeros(v.shape)
    left = right = np.zeros((q.shape[1], v.shape[1]))
    for t in range(len(q)):
        left = left + np.outer(k[t], v[t])
        dq[t] = left @ d_out[t]
    for t in reversed(range(len(q))):
        right = right + np.outer(q[t], d_out[t])
        dk[t], dv[t] = right @ v[t], k[t] @ right
    return dq, dk, dv


GRADIENTS = ("dq", "dk", "dv")


def cases_5(rng, numbers):
    return map(without_autograd, list_5(rng))


def list_5(rng):
    def each(name, T, S, E):
        T, S, E = grown(rng, T, S, E)
        given = texts(rng, T, S=S, E=E, reads=2)
        sizes = f"{T = }, {S = }, {E = }"
        for d in GRADIENTS:
            part = "dq" if d == "dq" else "dk and dv"
            yield call(name, part, *given, sizes=sizes, then=named_values(GRADIENTS, d))

    (T,) = grown(rng, 1_000, more=60)
    draw = drawing(rng, reads=2)

    def cost(f):
        value = within_limits("04.5", "memory", f, draw, lengths=(T,))
        # twice as long: there one slow gradient is told from chunks of 128 tokens
        reject_if(reads_all_pairs(f, draw(2 * T)), "04.5", "pairs")
        return value

    yield from each("one sequence", 9, 3, 5)
    yield from each("wide keys", 14, 6, 4)
    yield from each("one token", 1, 4, 3)
    sizes = f"{T = :,}, S = 24, E = 40; T = {2 * T:,}"
    yield Case("one state at a time", "cost", cost, sizes)


def example_5():
    q, k, v, d_out = np.array([[1.0, 2, 3], [1, 0, 2], [1, 10, 100], [1, 1, 1]])[:, :, None]
    yield example("04.5", "linear_backward", q=q, k=k, v=v, d_out=d_out)


# ---------------------------------------------------------------- 04.6 a stream server
ZEROS = np.zeros((4, 3))


def given_one(q_TS, k_TS, v_TE, state_SE=ZEROS):
    """As in the notebook."""
    out_TE = np.zeros(v_TE.shape)
    for t in range(len(q_TS)):
        state_SE += np.outer(k_TS[t], v_TE[t])
        out_TE[t] = q_TS[t] @ state_SE
    return out_TE, state_SE


def given_batch(q_BTS, k_BTS, v_BTE):
    """As in the notebook."""
    out_BTE = np.zeros(v_BTE.shape)
    states = [ZEROS.copy()] * len(q_BTS)
    for b in range(len(q_BTS)):
        for t in range(q_BTS.shape[1]):
            states[b] += np.outer(k_BTS[b, t], v_BTE[b, t])
            out_BTE[b, t] = q_BTS[b, t] @ states[b]
    return out_BTE


given_6 = {"answer_one": given_one, "answer_batch": given_batch}


def answer_one(q_TS, k_TS, v_TE, state_SE=None):
    out_TE = np.zeros(v_TE.shape)
    state_SE = np.zeros((4, 3)) if state_SE is None else state_SE.copy()
    for t in range(len(q_TS)):
        state_SE += np.outer(k_TS[t], v_TE[t])
        out_TE[t] = q_TS[t] @ state_SE
    return out_TE, state_SE


def answer_batch(q_BTS, k_BTS, v_BTE):
    out_BTE = np.zeros(v_BTE.shape)
    states = np.zeros((len(q_BTS), 4, 3))
    for b in range(len(q_BTS)):
        for t in range(q_BTS.shape[1]):
            states[b] += np.outer(k_BTS[b, t], v_BTE[b, t])
            out_BTE[b, t] = q_BTS[b, t] @ states[b]
    return out_BTE


def equal(a, b):
    return difference(a, b, 1e-9) is None


def arrays_of(function):
    """The arrays that a function has as globals or defaults."""
    values = (
        *getattr(function, "__globals__", {}).values(),
        *(getattr(function, "__defaults__", None) or ()),
    )
    return [x for x in values if isinstance(x, np.ndarray) and x.flags.writeable]


def apart(case):
    """The case, which leaves nothing in the notebook's arrays for another one to find."""

    def run(answers):
        functions = (getattr(answers, name) for name in given_6)
        held = [(x, x.copy()) for x in chain.from_iterable(map(arrays_of, functions))]
        try:
            return case.run(answers)
        finally:
            for x, before in held:
                x[...] = before

    return replace(case, run=run)


def cases_6(rng, numbers):
    return map(apart, list_6(rng))


def by_one(answers, arrays, *state):
    return given_back(answers.answer_one(*copy.deepcopy(arrays), *state))


def by_batch(answers, arrays):
    return given_back(answers.answer_batch(*copy.deepcopy(arrays)))


def list_6(rng):
    def draw(*sizes):
        return texts(rng, *sizes, S=4, E=3)

    T, T_prompt, T_later, T_one = grown(rng, 6, 5, 4, 7, more=20)
    T_rows, B = sorted(grown(rng, 3, 5))  # more requests than tokens
    request, prompt, later, rows = draw(T), draw(T_prompt), draw(T_later), draw(B, T_rows)
    state, shown = rng.normal(size=(4, 3)), f"{B = }, T = {T_rows}"

    def twice(answers):
        out, last = by_one(answers, request)
        first = copy.deepcopy((out, last))
        if not equal(first, by_one(answers, request)):
            key = "copied out" if equal(first[1], last) else "default argument"
            raise Said("04.6", key)

    def keeps_its_state(answers):
        _, last = by_one(answers, request)
        before = copy.deepcopy(last)
        by_one(answers, later)
        reject_if(not equal(before, last), "04.6", "handed out twice")

    def two_ways_on(answers):
        kept = state.copy()
        first = copy.deepcopy(by_one(answers, request, kept))
        moved = not equal(kept, state) or not equal(first, by_one(answers, request, kept))
        reject_if(moved, "04.6", "given state moved")

    def batch_twice(answers):
        first = copy.deepcopy(by_batch(answers, rows))
        reject_if(not equal(first, by_batch(answers, rows)), "04.6", "kept by size")

    def quiet_rows(answers):
        before = copy.deepcopy(by_batch(answers, rows))
        for row in range(B):
            others = np.arange(B) != row
            louder = [np.where(others[:, None, None], array, 3 * array) for array in rows]
            same = equal(before[others], by_batch(answers, louder)[others])
            reject_if(not same, "04.6", "shared rows")

    yield Case("the same request twice", "answer_one", twice, f"{T = }")
    yield Case("one state, two ways to go on", "answer_one", two_ways_on, f"{T = }")
    yield Case(
        "another request comes in between", "answer_one", keeps_its_state, f"{T = }, then {T_later}"
    )
    yield call("a request", "answer_one", *request, of="answer_one", sizes=f"{T = }")
    yield call(
        "a request that goes on",
        "answer_one",
        *prompt,
        state,
        of="answer_one",
        sizes=f"T = {T_prompt}",
    )
    yield Case("the same batch twice", "answer_batch", batch_twice, shown)
    yield Case("one row gets louder", "answer_batch", quiet_rows, shown)
    yield call("a batch", "answer_batch", *rows, of="answer_batch", sizes=shown)
    yield call(
        "one row", "answer_batch", *draw(1, T_one), of="answer_batch", sizes=f"B = 1, T = {T_one}"
    )


# ---------------------------------------------------------------- 04.7 decayed
def decayed(q, k, v, decay, C):
    out, state = np.zeros(v.shape), np.zeros((len(q), q.shape[2], v.shape[2]))
    for first in range(0, q.shape[1], C):
        own_q, own_k, own_v = (x[:, first : first + C] for x in (q, k, v))
        n = own_q.shape[1]
        c = np.arange(n)[:, None]
        with np.errstate(all="ignore"):  # in wrong answers powers of the future are infinite
            fades = np.tril(decay ** np.maximum(c - c.T, 0))
            near = (np.einsum("bis,bjs->bij", own_q, own_k) * fades) @ own_v
        written = np.einsum("bjs,bje->bse", own_k * decay ** (n - 1 - c), own_v)
        out[:, first : first + C] = near + decay ** (c + 1) * (own_q @ state)
        state = decay**n * state + written
    return out


def cases_7(rng, numbers):
    fades = [round(float(rng.uniform(low, low + 0.15)), 2) for low in (0.8, 0.6, 0.7, 0.85, 0.5)]
    case, (cost, _) = in_chunks("04.7", "long chunks", rng, fades[3])
    yield case("three chunks", "values", 2, 12, 3, 5, fades[0], 4)
    yield case("four chunks", "values", 1, 20, 4, 2, fades[1], 5)
    yield case("three chunks and a tail", "edge sizes", 2, 14, 3, 4, fades[0], 4)
    yield case("nothing fades", "edge sizes", 2, 11, 3, 4, 1.0, 3)
    yield case("fewer tokens than C", "edge sizes", 2, 3, 4, 5, fades[2], 7)
    yield case("C = 1", "edge sizes", 3, 6, 2, 4, fades[3], 1)
    yield case("one token", "edge sizes", 1, 1, 2, 3, fades[4], 4)
    fast = case("a long chunk that fades fast", "long chunks", 1, 900, 2, 3, 0.05, 300)
    yield replace(fast, say="quotient")
    yield cost


def example_7():
    ones = np.ones((1, 5, 1))
    v = np.array([16.0, 0, 0, 0, 1])[None, :, None]
    yield example("04.7", "decayed", q=ones, k=ones, v=v, decay=0.5, C=2)
