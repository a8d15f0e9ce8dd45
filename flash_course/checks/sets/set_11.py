"""Problem set 11, GPU kernels: cases, the oracle, wrong answers; the right answers lie in ``solutions``."""

import re
from contextlib import contextmanager

import numpy as np
import torch

from .. import interpreter
from ..compare import difference, is_sequence
from ..examples import example
from ..exercise import Case, Unable, call, given_back, predicted, reject_if
from ..expected import by_right
from ..instruments import Operations, watched
from ..interpreter import jit, tl
from ..sizes import grown

# ---------------------------------------------------------------- 11.1 bytes or operations?
T4 = 203  # FLOPs in the time of a byte, in float16


def draw_1(rng):
    """From about C = 600 on the local part and its gate in one kernel no longer wait for memory.

    Left out is what lies within 2% of that edge or of the other kernel's, where rounding would decide e.
    """
    return {
        "C": 32 * int(rng.choice([*range(10, 18), *range(20, 25)])),
        "S": 32 * int(rng.integers(2, 7)),
        "E": 256 * int(rng.integers(3, 13)),
    }


def right_1(n):
    """FLOPs per byte, of numbers of two bytes."""
    C, S, E = n["C"], n["S"], n["E"]
    found = {
        "a": 2 * C * C * (S + E) / (2 * (2 * C * S + 3 * C * E)),
        "b": 2 * C * C * (S + E) / (2 * (2 * C * S + 4 * C * C + 3 * C * E)),
        "c": 2 / 4,
        "d": 2 * C * S * E / (2 * (C * S + C * E + S * E)),
    }
    waiting = "".join(letter for letter in found if found[letter] < T4)
    return found | {"e": waiting}


def cases_1(rng, numbers):
    return [*map(predicted, "abcd"), predicted("e", then=letters)]


def letters(e):
    """The letters of e, in whatever way they are written down."""
    given = (
        e
        if isinstance(e, str)
        else " ".join(map(str, e))
        if is_sequence(e) or isinstance(e, set)
        else ""
    )
    reject_if(not re.search(r"\b[abcd]+\b", given.lower()), "11.1", "no letters", got=repr(e)[:40])
    # the d of "and" is none of them
    return "".join(sorted({*"".join(re.findall(r"\b[abcd]+\b", given.lower()))}))


# ---------------------------------------------------------------- 11.2 tiled_local
def tiled_local(q_TS, k_TS, v_TE, bias_CC, C, M):
    """The oracle, tile by tile."""
    T, out = len(v_TE), np.zeros_like(v_TE)
    for chunk in range(0, T, C):
        end = min(chunk + C, T)
        for top in range(chunk, end, M):
            i = np.arange(top, min(top + M, end))
            for left in range(chunk, top + 1, M):
                j = np.arange(left, min(left + M, end))
                score = q_TS[i] @ k_TS[j].T / C + bias_CC[np.ix_(i - chunk, j - chunk)]
                weight = np.maximum(score, 0) ** 2 * (i[:, None] >= j)
                out[i] += weight @ v_TE[j]
    return out


def work_case(rng, name, C, M, width, T):
    """Values once more, and what was done for them. Wide arrays show the products best, narrow ones a row of tiles."""
    arrays = [rng.normal(size=(T, width)) for _ in range(3)] + [rng.normal(size=(C, C))]
    # C and the tail are multiples of M here
    side = C // M
    rest = (T % C) // M
    tiles = T // C * side * (side + 1) // 2 + rest * (rest + 1) // 2
    needed = tiles * M * M * 2 * width
    expected = by_right("11.2", name, "tiled_local", *arrays, C, M)

    def run(answer):
        value, seen = watched(answer, arrays, C, M)
        reject_if(seen["largest"] >= C * C, "11.2", "map")
        reject_if(seen["largest"] > max(M * M, 2 * T * width), "11.2", "strip")
        right = difference(expected, value, 1e-9) is None
        reject_if(right and width >= M and seen["products"] > 1.35 * needed, "11.2", "twice")
        # nobody needs so few
        reject_if(right and seen["products"] < 0.25 * needed, "11.2", "unseen")
        return value

    return Case(name, "work", run, f"{T = }, {C = }, {M = }")


def cases_2(rng, numbers):
    def case(name, part, T, S, E, C, M):
        S, E = grown(rng, S, E)
        given = (
            *rng.normal(size=(2, T, S)),
            rng.normal(size=(T, E)),
            rng.normal(size=(C, C)),
            C,
            M,
        )
        return call(name, part, *given, sizes=f"{T = }, {S = }, {E = }, {C = }, {M = }")

    tail = int(rng.integers(1, 4))
    M = int(rng.integers(3, 6))
    wide = int(rng.integers(14, 19))
    chunk = 8 * int(rng.integers(5, 8))
    rest = 8 * int(rng.integers(3, 5))
    yield case("M divides C, three chunks", "values", 9 * M, 3, 5, 3 * M, M)
    yield case("M does not divide C, a tail", "values", 6 * M + 4 + tail, 5, 4, 3 * M - 1, M)
    yield case("one tile holds a chunk", "edge sizes", 15 + tail, 4, 3, 7, 8)
    yield case("fewer tokens than C", "edge sizes", 5 + tail, 3, 4, 10 + M, 3)
    yield case("M = 1", "edge sizes", 9 + tail, 2, 5, 5, 1)
    yield case("one token", "edge sizes", 1, 4, 2, 3 + M, 2)
    yield work_case(rng, "what is done", chunk, 8, wide, chunk + rest)
    M = int(rng.integers(9, 16))  # more entries in a tile than in q, k and v
    yield work_case(rng, "one tile at a time", 3 * M, M, 1, 4 * M)


def example_2():
    q_TS, k_TS, v_TE = 4 * np.ones((5, 1)), np.ones((5, 1)), 10.0 ** np.arange(5)[:, None]
    how = {"bias_CC": np.zeros((4, 4)), "C": 4, "M": 2}
    yield example("11.2", "tiled_local", q_TS=q_TS, k_TS=k_TS, v_TE=v_TE, **how)


# ---------------------------------------------------------------- kernels: the interpreter runs them
def tile_for(n):
    return max(16, 1 << (n - 1).bit_length())


@jit
def load_tile(x, strides, rows, columns, row_end, column_end):
    inside = (rows < row_end)[:, None] & (columns < column_end)[None, :]
    places = rows[:, None] * strides[0] + columns[None, :] * strides[1]
    return tl.load(x + places, mask=inside, other=0.0)


@jit
def kernel(
    q,
    k,
    v,
    bias,
    out,
    q_strides,
    k_strides,
    v_strides,
    bias_strides,
    out_strides,
    T,
    C,
    S,
    E,
    M: tl.constexpr,
    S_TILE: tl.constexpr,
    E_TILE: tl.constexpr,
    lin_q=None,
    state=None,
    u=None,
    lin_q_strides=None,
    state_strides=None,
    u_strides=None,
):
    """One program: M rows of one chunk. What has None for a default is there in 11.6 alone."""
    g = tl.program_id(0)
    chunk = g * C
    end = tl.minimum(chunk + C, T)
    rows = chunk + tl.program_id(1) * M + tl.arange(0, M)
    s = tl.arange(0, S_TILE)
    e = tl.arange(0, E_TILE)
    q_tile = load_tile(q, q_strides, rows, s, end, S)
    y = tl.zeros((M, E_TILE), tl.float32)
    for first in range(chunk, chunk + (tl.program_id(1) + 1) * M, M):
        keys = first + tl.arange(0, M)
        k_tile = load_tile(k, k_strides, keys, s, end, S)
        a = tl.dot(q_tile, tl.trans(k_tile)) / C
        a += load_tile(bias, bias_strides, rows - chunk, keys - chunk, C, C)
        a = tl.maximum(a, 0.0)
        a = tl.where(rows[:, None] >= keys[None, :], a * a, 0.0)
        v_tile = load_tile(v, v_strides, keys, e, end, E)
        y += tl.dot(a.to(v_tile.dtype), v_tile)
    if u is not None:
        before = load_tile(state + g * state_strides[0], state_strides[1:], s, e, S, E)
        far_q = load_tile(lin_q, lin_q_strides, rows, s, end, S)
        far = tl.dot(far_q.to(tl.float32), before)
        y = load_tile(u, u_strides, rows, e, end, E) * (y + far)
    place = out + rows[:, None] * out_strides[0] + e[None, :] * out_strides[1]
    tl.store(place, y, mask=(rows < end)[:, None] & (e < E)[None, :])


def launch_local(q, k, v, bias_CC, out, C, M, **more):
    (T, S), E = q.shape, v.shape[1]
    tensors = {"q": q, "k": k, "v": v, "bias": bias_CC, "out": out, **more}
    strides = {f"{name}_strides": x.stride() for name, x in tensors.items()}
    grid = (-(-T // C), -(-C // M))
    tiles = {"S_TILE": tile_for(S), "E_TILE": tile_for(E)}
    kernel[grid](**tensors, **strides, T=T, C=C, S=S, E=E, M=M, **tiles)


def launch_gated(quad_q, quad_k, lin_q, lin_k, v, u, bias_CC, out, C, M):
    (T, S), E = lin_k.shape, v.shape[1]
    state, total = torch.zeros(-(-T // C), S, E), torch.zeros(S, E)
    for g in range(1, len(state)):
        own = slice((g - 1) * C, g * C)
        total = total + lin_k[own].float().T @ v[own].float()
        state[g] = total / (g * C)
    launch_local(quad_q, quad_k, v, bias_CC, out, C, M, lin_q=lin_q, state=state, u=u)


GAP = 40  # numbers of NaN on each side: more than a tile of 32 sticks out


def guarded(values, transposed=False, gap=GAP):
    """A copy of a tensor (rows, columns) in the middle of a larger memory of NaN; and that memory."""
    rows, columns = values.shape
    memory = torch.full((rows + 2 * gap, columns + 2 * gap), float("nan"), dtype=values.dtype)
    if transposed:
        memory = memory.T.contiguous().T
    view = memory[gap : gap + rows, gap : gap + columns]
    view.copy_(values)
    return view, memory


known = {}  # what the kernels of this file gave: each is asked several times, and each start takes a while


def remembered(answer, run, *inputs):
    key = [answer]
    for x in inputs:
        key.append(x.numpy().tobytes() if isinstance(x, torch.Tensor) else x)
    key = tuple(key)
    if key not in known:
        try:
            known[key] = run(answer)
        except Exception as error:
            known[key] = error
    if isinstance(known[key], Exception):
        raise known[key]
    return known[key]


@contextmanager
def nan_in_new_memory():
    """Within it, torch.empty gives NaN."""
    before = torch.get_deterministic_debug_mode()
    fill = torch.utils.deterministic.fill_uninitialized_memory
    # use_deterministic_algorithms would import torch's compiler
    torch.set_deterministic_debug_mode("warn")
    torch.utils.deterministic.fill_uninitialized_memory = True
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(before)
        torch.utils.deterministic.fill_uninitialized_memory = fill


def are_same(a, b):
    """Whether two tensors hold the same numbers; those that are none count as the same."""
    return torch.equal(a.nan_to_num(7.5), b.nan_to_num(7.5))


def kernel_case(
    exercise,
    right,
    oracle,
    name,
    part,
    tensors,
    C,
    M,
    transposed=False,
    memory_too=False,
    prepared=0,
):
    """Start an answer between guard zones, and see to it that its kernel made the result out of the arrays.

    ``right`` and ``oracle`` are names: the right answer is not started, the oracle is exact, and needs no Triton.
    ``transposed``: every second array is, and no two have the same strides. ``memory_too``: look also at each address
    that it touches. ``prepared``: so many numbers torch may make for it.
    """
    (T, S), E = tensors[0].shape, tensors[-2].shape[1]

    def run(answer):
        own = globals()
        if answer is own.get(right, ""):
            return own[oracle](*tensors, C)
        if key := interpreter.missing():
            raise Unable("11.3", key)
        is_kept = getattr(answer, "__module__", None) == __name__
        if is_kept:
            return remembered(answer, started, name, C, M, *tensors)
        return started(answer)

    def started(answer):
        empty = torch.full((T, E), float("nan"))
        layouts = [(False, GAP)] * (len(tensors) + 1)
        if transposed:
            layouts = [(i % 2 == 0, GAP + i) for i in range(len(tensors) + 1)]
        *pairs, (out, around) = [
            guarded(x, *layout) for x, layout in zip((*tensors, empty), layouts, strict=True)
        ]
        before = [memory.clone() for _, memory in pairs]
        with interpreter.Memory().watch() as seen, nan_in_new_memory():
            answer(*(view for view, _ in pairs), out, C, M)
        value = out.clone()
        stored = seen.stored_in(out)
        stored_all = not interpreter.sees() or are_same(value, stored)
        reject_if(not seen.started or not stored_all, exercise, "own kernel")
        out.fill_(float("nan"))
        reject_if(not around.isnan().all(), exercise, "behind")
        for place, (old, (_, memory)) in enumerate(zip(before, pairs), 1):
            reject_if(not are_same(old, memory), "all", "changed", argument=place)
        if interpreter.sees() and value.isfinite().all():
            share_the_work(exercise, seen, out, C, M)
            look_at_memory(exercise, seen, [*pairs, (out, around)], M, prepared, memory_too)
        return value

    return Case(
        name, part, run, f"{T = }, {S = }, {E = }, {C = }, {M = }, {str(tensors[0].dtype)[6:]}"
    )


def share_the_work(exercise, seen, out, C, M):
    """Each program makes rows of one chunk, M at most."""
    row_of = rows_of(out)
    programs = 0
    for written in seen.written_by_program().values():
        rows = {row_of[place] for place in written.tolist() if place in row_of}
        several = len(rows) > M or len({row // C for row in rows}) > 1
        reject_if(several, exercise, "one program")
        programs += len(rows) > 0
    T = len(out)
    needed = sum(-(-min(C, T - first) // M) for first in range(0, T, C))
    reject_if(programs > needed, exercise, "many programs")


def rows_of(tensor):
    """{address: row}"""
    places = interpreter.addresses(tensor).tolist()
    return {place: row for row, own in enumerate(places) for place in own}


def no_hidden_tile(exercise, seen, k, out, M):
    """Said where a program reads keys behind its own tile: all of its rows would have to hide them."""
    key_of, row_of = rows_of(k), rows_of(out)
    read = seen.read_by_program()
    for program, written in seen.written_by_program().items():
        first = min((row_of[place] for place in written.tolist()), default=len(out))
        keys = [key_of[place] for place in read.get(program, written).tolist() if place in key_of]
        reject_if(max(keys, default=first) >= first + M, exercise, "hidden tiles")


def look_at_memory(exercise, seen, pairs, M, prepared, memory_too):
    """A kernel that reads what torch has made: copies without gaps, or the result itself, be it in `out`."""
    read, written = (
        np.concatenate([*found, np.zeros(0, np.uint64)]) for found in (seen.reads, seen.writes)
    )
    made = read
    for _, memory in pairs[:-1]:
        made = made[(made < memory.data_ptr()) | (made >= memory.data_ptr() + memory.nbytes)]
    reject_if(len(np.unique(made)) > prepared, exercise, "elsewhere")
    if not memory_too:
        return
    no_hidden_tile(exercise, seen, pairs[1][0], pairs[-1][0], M)
    for view, memory in pairs:
        inside = interpreter.addresses(view).ravel()
        reject_if(
            np.isin(np.setdiff1d(read, inside), interpreter.addresses(memory).ravel()).any(),
            exercise,
            "outside",
        )
    times = np.unique(
        written[np.isin(written, interpreter.addresses(pairs[-1][0]).ravel())], return_counts=True
    )[1]
    reject_if((times > 1).any(), exercise, "twice")


# ---------------------------------------------------------------- 11.3 a Triton kernel
def local_part(q, k, v, bias_CC, C):
    """The oracle, in float64: a chunk is one tile."""
    return torch.from_numpy(tiled_local(*(x.double().numpy() for x in (q, k, v, bias_CC)), C, C))


def drawn(rng, *shape, low=None, high=None, step=1.0):
    """A float32 tensor of order one, or of multiples of ``step``."""
    values = rng.normal(size=shape) if low is None else rng.integers(low, high, size=shape) * step
    return torch.from_numpy(values).float()


def cases_3(rng, numbers):
    def case(name, part, T, S, E, C, M, **how):
        tensors = drawn(rng, T, S), drawn(rng, T, S), drawn(rng, T, E), drawn(rng, C, C)
        return kernel_case("11.3", "launch_local", "local_part", name, part, tensors, C, M, **how)

    a = int(rng.integers(1, 5))
    b = int(rng.integers(1, 5))
    yield case("one tile holds a chunk", "values", 12 + a, 3 + b, 17 + b, 12, 16)
    yield case("M does not divide C, a tail", "values", 20 + a, 9 + b, 17 + a, 20, 16)
    yield case("two tiles a chunk, no tail", "values", 32, 16 + a, 16 + b, 32, 16)
    yield case("fewer tokens than C", "values", 18 + b, 8, 5 + a, 30 + a, 16)
    yield case("chunks of one", "values", 3, 4 + a, 6 + b, 1, 16)
    yield case("every address", "memory", 40 + b, 7 + a, 18 + b, 20, 16, memory_too=True)
    yield case("transposed views", "strides", 18 + b, 6 + a, 9 + b, 18 + a, 16, transposed=True)
    # numbers that stay exact in float16 but for the last sum
    q, k = (drawn(rng, 256, 12 + a, low=-1, high=2, step=16.0) for _ in range(2))
    exact = q, k, drawn(rng, 256, 15 + b), drawn(rng, 256, 256, low=-2, high=5, step=0.5)
    given = "float16, a long chunk", "formats", [x.half() for x in exact], 256, 128
    yield kernel_case("11.3", "launch_local", "local_part", *given)


# ---------------------------------------------------------------- 11.4 a wasteful layer
def cos_sin(T, S, like):
    place = torch.arange(T, dtype=like.dtype, device=like.device)
    turns = 10000.0 ** (-torch.arange(S // 2, dtype=like.dtype, device=like.device) / (S // 2))
    angles = place[:, None] * turns
    return torch.cos(angles), torch.sin(angles)


def turn(x_nS, cos, sin):
    a, b = x_nS.chunk(2, dim=1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=1)


def given_4(x_TD, W_q, W_k, W_v, C):
    # as in the problem set: by this text an untouched answer is known
    T, S, E = len(x_TD), W_q.shape[1], W_v.shape[1]
    q_TS, k_TS, v_TE = x_TD @ W_q, x_TD @ W_k, x_TD @ W_v
    places = torch.arange(T, device=x_TD.device)
    state_SE = torch.zeros(S, E, dtype=torch.float64, device=x_TD.device)
    tokens = torch.zeros((), device=x_TD.device)
    out = x_TD.new_zeros(0, E)
    for first in range(0, T, C):
        cos, sin = cos_sin(T, S, x_TD)
        own = slice(first, first + C)
        seen = slice(max(first - C, 0), first + C)
        q = turn(q_TS[own], cos[own], sin[own])
        k = turn(k_TS[seen], cos[seen], sin[seen])
        allowed = (places[own, None] >= places[seen]) & (places[seen] >= first)
        weights = torch.relu(q @ k.T / C).square() * allowed
        rows = weights @ v_TE[seen]
        if tokens.item() > 0:
            far = q.double() @ state_SE / tokens
            rows = rows + far.to(x_TD.dtype)
        state_SE = state_SE + k[-C:].double().T @ v_TE[own].double()
        tokens = tokens + C
        out = torch.cat([out, rows])
    return out


def chunk_layer(x_TD, W_q, W_k, W_v, C):
    """The oracle."""
    T = len(x_TD)
    S = W_q.shape[1]
    E = W_v.shape[1]
    cos, sin = cos_sin(T, S, x_TD)
    q_TS, k_TS, v_TE = x_TD @ W_q, x_TD @ W_k, x_TD @ W_v
    state_SE, out_TE = x_TD.new_zeros(S, E), x_TD.new_zeros(T, E)
    for first in range(0, T, C):
        own = slice(first, first + C)
        q, k = (turn(x_TS[own], cos[own], sin[own]) for x_TS in (q_TS, k_TS))
        near = torch.relu(q @ k.T / C).square().tril() @ v_TE[own]
        out_TE[own] = near + q @ state_SE / max(first, 1)
        state_SE = state_SE + k.T @ v_TE[own]
    return out_TE


def look_for(part, seen, x, W_q, W_v, C):
    """Raise the sentence of one waste."""
    (T, D), S, E = x.shape, W_q.shape[1], W_v.shape[1]
    needed = T * D * (2 * S + E) + T * C * (S + E) + 2 * T * S * E
    # products may also be made by broadcasting; besides, rotations, a mask, a square and tables multiply entries
    allowed = 1.1 * needed - seen.multiply_adds + 4 * T * (2 * S + C) + T // C * T * S
    found = {
        "tables": max(seen.calls.get(name, 0) for name in seen.TABLES) > 1,
        "waiting": seen.count(seen.WAITS),
        "half": seen.multiply_adds > 1.1 * needed or seen.multiplied > allowed,
        "double": x.dtype != torch.float64 and seen.double,
        "joined": seen.joined
        > 4 * T * S + 2 * (T * E + T // C * S * E),  # each turn joins two halves
    }
    reject_if(found[part], "11.4", f"{part} left")


WASTES = ("tables", "waiting", "half", "double", "joined")
INPUTS_4 = ("x_TD", "W_q", "W_k", "W_v")


def layer_inputs(rng, T, D=5, S=6, E=11):
    return [
        torch.from_numpy(rng.normal(size=shape)) / scale
        for shape, scale in (((T, D), 1), ((D, S), D**0.5), ((D, S), D**0.5), ((D, E), D**0.5))
    ]


def layer_case(rng, name, part, G, C):
    """In float32 the operations are counted, then the values are compared in float64, and a gradient is asked for."""
    D, E = (int(n) for n in rng.integers([4, 9], [6, 13]))
    inputs = layer_inputs(rng, G * C, D, 6, E)

    def run(answer):
        single = [t.float() for t in inputs]
        given = [t.clone() for t in (*single, *inputs)]
        with Operations() as seen:
            small = answer(*given[:4], C)
        trained = part == "joined"  # rows that are written in place must let gradients through
        value = given_back(answer(*(t.requires_grad_(trained) for t in given[4:]), C))
        if trained:
            value.square().sum().backward()
            reject_if(any(t.grad is None for t in given[4:]), "11.4", "detached")
            slopes = {f"gradient of {name}": t.grad for name, t in zip(INPUTS_4, given[4:])}
            value = {"outputs": value} | slopes
        for place, (before, now) in enumerate(zip((*single, *inputs), given)):
            reject_if(not torch.equal(before, now), "all", "changed", argument=place % 4 + 1)
        look_for(part, seen, single[0], inputs[1], inputs[3], C)
        reject_if(getattr(small, "dtype", None) != torch.float32, "11.4", "format")
        return value

    return Case(name, part, run, f"{G = }, {C = }")


def cases_4(rng, numbers):
    for part in WASTES:
        yield layer_case(
            rng, f"{part}, many chunks", part, *map(int, rng.integers([12, 7], [20, 10]))
        )
    yield layer_case(rng, "waiting, one chunk", "waiting", 1, 7)
    yield layer_case(rng, "half, chunks of one token", "half", 9, 1)


# ---------------------------------------------------------------- 11.5 largest_tile
def bytes_of(M, S, E_tile, size):
    return size * (2 * M * S + M * E_tile + M * M)


def largest_tile(S, E_tile, bytes_per_number, shared_bytes):
    """The oracle."""
    M = max(
        (2**n for n in range(12) if bytes_of(2**n, S, E_tile, bytes_per_number) <= shared_bytes),
        default=0,
    )
    if M < 16:
        raise ValueError("no tile of at least 16 fits")
    return M


def cases_5(rng, numbers):
    S = 8 * int(rng.integers(5, 14))
    E = 16 * int(rng.integers(3, 9))
    M, size = 2 ** int(rng.integers(5, 8)), int(rng.choice([2, 4]))
    room = bytes_of(M, S, E, size)

    def case(name, part, S, E, size, shared):
        def run(answer):
            try:
                return answer(S, E, size, shared)
            except ValueError:
                return "a ValueError"

        return Case(
            name,
            part,
            run,
            f"{S = }, E_tile = {E}, bytes_per_number = {size}, shared_bytes = {shared}",
        )

    yield case("a T4, float16, the lecture's sizes", "values", 128, 64, 2, 64 * 1024)
    yield case("a T4, float32", "values", 128, 64, 4, 64 * 1024)
    yield case("a tile fits, with some room", "values", S, E, size, room + size * S)
    yield case(
        "the tile of the attention matrix is too much",
        "values",
        S,
        E,
        size,
        room - size * M * M // 2,
    )
    yield case("the keys are too much", "values", S, E, size, room - size * M * S // 2)
    yield case("the values are too much", "values", S, E, size, room - size * M * E // 2)
    yield case("one byte a number", "values", S, E, 1, bytes_of(M, S, E, 1) + 5)
    sizes = 8, 16, size  # M x M is nearly all that lies there
    yield case(
        "a large tile of narrow arrays nearly fits",
        "values",
        *sizes,
        bytes_of(256, *sizes) - 5000 * size,
    )
    yield case("much memory", "values", S, E, size, bytes_of(1024, S, E, size) + 5)
    yield case("it fits exactly", "limits", S, E, size, room)
    yield case("one byte is missing", "limits", S, E, size, room - 1)
    yield case("16 fits exactly", "limits", S, E, size, bytes_of(16, S, E, size))
    yield case("only 8 would fit", "limits", S, E, size, bytes_of(16, S, E, size) - 1)
    yield case("nothing fits", "limits", S, E, size, 64)


# ---------------------------------------------------------------- 11.6 gate and global part
def gated(quad_q, quad_k, lin_q, lin_k, v, u, bias_CC, C):
    """The oracle, in float64."""
    out = local_part(quad_q, quad_k, v, bias_CC, C)
    lin_q, lin_k, v, u = (x.double() for x in (lin_q, lin_k, v, u))
    for first in range(C, len(v), C):
        own = slice(first, first + C)
        out[own] += lin_q[own] @ (lin_k[:first].T @ v[:first]) / first
    return u * out


def cases_6(rng, numbers):
    def case(name, part, T, S, E, C, M, **how):
        heads = [drawn(rng, T, S) for _ in range(4)]
        heads[2] *= 4  # a mean over many tokens is small
        tensors, state = (
            (*heads, drawn(rng, T, E), drawn(rng, T, E), drawn(rng, C, C)),
            -(-T // C) * S * E,
        )
        return kernel_case(
            "11.6", "launch_gated", "gated", name, part, tensors, C, M, prepared=state, **how
        )

    a = int(rng.integers(1, 5))
    b = int(rng.integers(1, 5))
    yield case("three chunks and a tail", "values", 3 * 11 + a, 5 + b, 6 + a, 11, 16)
    yield case("M does not divide C", "values", 2 * 18 + b, 4 + a, 17 + b, 18, 16)
    yield case("fewer tokens than C", "values", 12 + a, 8, 9 + a, 20 + b, 16)
    yield case("one token", "values", 1, 6 + a, 5 + b, 4, 16)
    views = {"memory_too": True, "transposed": True}
    yield case(
        "every address, transposed views", "memory", 2 * 18 + a, 5 + b, 17 + a, 18, 16, **views
    )
    # every token has the same lin_k and v: each mean is exact in float16, the sum of a chunk is not
    S = 5 + a
    E = 6 + b
    T = 6 * 31
    C = 31
    lin_k, v = (drawn(rng, 1, n, low=9, high=16, step=1 / 8).expand(T, n) for n in (S, E))
    lin_q, u = drawn(rng, T, S, low=-3, high=4), drawn(rng, T, E, low=1, high=9, step=0.25)
    exact = [torch.zeros(T, S)] * 2 + [
        lin_q,
        lin_k,
        v,
        u,
        drawn(rng, C, C, low=-2, high=4, step=0.5),
    ]
    given = "float16, sums of a chunk", "float16", [x.half() for x in exact], C, 32
    yield kernel_case("11.6", "launch_gated", "gated", *given, prepared=6 * S * E)
