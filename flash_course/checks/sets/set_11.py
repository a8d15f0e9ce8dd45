"""Problem set 11, GPU kernels: cases, the oracle, wrong answers; the right answers lie in ``solutions``."""

import linecache
import math
from contextlib import contextmanager
from functools import cached_property

import numpy as np
import torch

from .. import interpreter
from ..compare import difference
from ..exercise import Case, Said, Wrong, call, exercises_of, predicted
from ..instruments import Operations, watched

# ---------------------------------------------------------------- 11.1 bytes or operations?

TURN = 65e12 / 320e9  # FLOPs per byte of a T4


def draw_1(rng):
    C, S, E = 32 * int(rng.integers(6, 13)), 32 * int(rng.integers(2, 7)), 256 * int(rng.integers(3, 13))
    return {"C": C, "S": S, "E": E}


def local_intensity(n, *, flops=2, maps=0, out=True, pairs=None):
    C, S, E = n["C"], n["S"], n["E"]
    numbers = 2 * C * S + (2 if out else 1) * C * E + maps * C * C
    return flops * (pairs or C * C) * (S + E) / (2 * numbers)


def summary_intensity(n, *, flops=2, out=True):
    C, S, E = n["C"], n["S"], n["E"]
    return flops * C * S * E / (2 * (C * S + C * E + (S * E if out else 0)))


def answers_1(n):
    return {
        "a": local_intensity(n), "b": local_intensity(n, maps=4), "c": 0.5, "d": summary_intensity(n), "e": "abcd",
    }  # fmt: skip


def letters(answer):
    """The letters of e, in whatever way they are written down."""
    if answer.get("e") is None:
        raise Said("all", "unanswered", key="e")
    given = answer["e"] if isinstance(answer["e"], str) else " ".join(map(str, answer["e"]))
    return "".join(sorted({letter for letter in given.lower() if letter in "abcd"}))


WRONG_1 = (
    Wrong("a: half", lambda n: local_intensity(n, flops=1), of="a"),
    Wrong("a: output", lambda n: local_intensity(n, out=False), of="a"),
    Wrong("a: map", lambda n: local_intensity(n, maps=4), of="a"),
    Wrong("a: numbers", lambda n: 2 * local_intensity(n), of="a"),
    Wrong("a: causal", lambda n: local_intensity(n, pairs=n["C"] * (n["C"] + 1) / 2), of="a"),
    Wrong("b: as a", lambda n: local_intensity(n), of="b"),
    Wrong("b: one map", lambda n: local_intensity(n, maps=2), of="b"),
    Wrong("b: one way", lambda n: local_intensity(n, maps=1), of="b"),
    Wrong("b: output", lambda n: local_intensity(n, maps=4, out=False), of="b"),
    Wrong("b: numbers", lambda n: 2 * local_intensity(n, maps=4), of="b"),
    Wrong("b: half", lambda n: local_intensity(n, flops=1, maps=4), of="b"),
    Wrong("c: half", lambda n: 0.25, of="c"),
    Wrong("c: one way", lambda n: 1.0, of="c"),
    Wrong("c: numbers", lambda n: 2.0, of="c"),
    Wrong("d: half", lambda n: summary_intensity(n, flops=1), of="d"),
    Wrong("d: numbers", lambda n: 2 * summary_intensity(n), of="d"),
    Wrong("d: output", lambda n: summary_intensity(n, out=False), of="d"),
    Wrong("e: products", lambda n: "c", of="e"),
    Wrong("e: a", lambda n: "bcd", of="e"),
    Wrong("e: the other way", lambda n: "", of="e"),
    Wrong("e: c", lambda n: "abd", of="e"),
)

# ---------------------------------------------------------------- 11.2 tiled_local


def tiled_local(
    q_TS, k_TS, v_TE, bias_CC, C, M, *,
    keys_until="own", mask="text", bias="place", divisor="C", add=True, chunks="all", tiles="all", squared=True,
    softmax=False, relu=True,
):  # fmt: skip
    """The oracle, tile by tile. What stands behind the star makes the wrong answers."""
    T, out = len(v_TE), np.zeros_like(v_TE)
    for chunk in range(0, T if chunks == "all" else T // C * C, C):
        end = min(chunk + C, T)
        last = end if tiles == "all" else chunk + max(C // M, 1) * M
        for top in range(chunk, min(end, last), M):
            i = np.arange(top, min(top + M, end))
            for left in range(chunk, {"own": top + 1, "before": top, "all": end}[keys_until], M):
                j = np.arange(left, min(left + M, end))
                divide_by = {"C": C, "M": M, "T": T, "none": 1, "sqrt S": math.sqrt(q_TS.shape[1])}[divisor]
                part = tile_of_bias(bias, bias_CC, i - chunk, j - chunk, left - chunk)
                score = q_TS[i] @ k_TS[j].T / divide_by + part
                weight = (np.maximum(score, 0) if relu else score) ** (2 if squared else 1)
                if softmax:
                    weight = np.exp(np.where(i[:, None] >= j, score, -np.inf))
                    weight = weight / np.maximum(weight.sum(1, keepdims=True), 1e-30)
                weight = weight * hide(mask, i, j, top, left)
                read = weight @ v_TE[j]
                out[i] = out[i] + read if add else read
    return out


def tile_of_bias(how, bias_CC, i, j, left):
    if how == "none":
        return 0
    if how == "transposed":
        return bias_CC[np.ix_(j, i)].T
    return bias_CC[np.ix_({"corner": i - i[0]}.get(how, i), j - left if how in ("corner", "keys") else j)]


def hide(mask, i, j, top, left):
    if mask == "none" or (mask == "left only" and left == top):
        return 1
    if mask == "tile":
        return (i - top)[:, None] >= (j - left)
    return i[:, None] > j if mask == "strict" else i[:, None] >= j


def tiles_with(**changed):
    """A wrong answer: the oracle with something changed."""

    def answer(q_TS, k_TS, v_TE, bias_CC, C, M):
        return tiled_local(q_TS, k_TS, v_TE, bias_CC, C, M, **changed)

    return answer


def whole_map(q_TS, k_TS, v_TE, bias_CC, C, M):
    out = np.zeros_like(v_TE)
    for first in range(0, len(v_TE), C):
        own, n = slice(first, first + C), min(C, len(v_TE) - first)
        out[own] = np.tril(np.maximum(q_TS[own] @ k_TS[own].T / C + bias_CC[:n, :n], 0) ** 2) @ v_TE[own]
    return out


def by_strips(q_TS, k_TS, v_TE, bias_CC, C, M):
    """M readers and all that they read at once: several tiles, side by side."""
    out = np.zeros_like(v_TE)
    for first in range(0, len(v_TE), C):
        for top in range(first, min(first + C, len(v_TE)), M):
            i = np.arange(top, min(top + M, first + C, len(v_TE)))
            j = np.arange(first, i[-1] + 1)
            part = bias_CC[i[0] - first : i[-1] + 1 - first, : len(j)]
            out[i] = (np.maximum(q_TS[i] @ k_TS[j].T / C + part, 0) ** 2 * (i[:, None] >= j)) @ v_TE[j]
    return out


def tiles_across_chunks(q_TS, k_TS, v_TE, bias_CC, C, M):
    """The readers' tiles are counted from the text's first token, so one may hold the end of a chunk and the next."""
    out = np.zeros_like(v_TE)
    for top in range(0, len(v_TE), M):
        i, first = np.arange(top, min(top + M, len(v_TE))), top // C * C
        for left in range(first, top + 1, M):
            j = np.arange(left, min(left + M, len(v_TE)))
            part = bias_CC[np.ix_((i - first) % C, (j - first) % C)]
            out[i] += (np.maximum(q_TS[i] @ k_TS[j].T / C + part, 0) ** 2 * (i[:, None] >= j)) @ v_TE[j]
    return out


def collected_map(q_TS, k_TS, v_TE, bias_CC, C, M):
    """Tile by tile into a whole map, which is multiplied at the end."""
    out = np.zeros(v_TE.shape)
    for chunk in range(0, len(v_TE), C):
        n = min(C, len(v_TE) - chunk)
        q, k, v, weights = q_TS[chunk:], k_TS[chunk:], v_TE[chunk : chunk + n], np.zeros((n, n))
        for top in range(0, n, M):
            i = slice(top, min(top + M, n))
            for left in range(0, top + 1, M):
                j = slice(left, min(left + M, n))
                weights[i, j] = np.maximum(q[i] @ k[j].T / C + bias_CC[i, j], 0) ** 2
        out[chunk : chunk + n] = np.tril(weights) @ v
    return out


def map_unseen(*arrays_and_sizes):
    *arrays, C, M = arrays_and_sizes
    return whole_map(*map(np.array, arrays), C, M)


def work_case(rng, name, C, M, width, T):
    """Values once more, and what was done for them. Wide arrays show the products best, narrow ones a row of tiles."""
    arrays = [rng.normal(size=(T, width)) for _ in range(3)] + [rng.normal(size=(C, C))]
    side, rest = C // M, (T % C) // M  # C and the tail are multiples of M here
    tiles = T // C * side * (side + 1) // 2 + rest * (rest + 1) // 2
    needed = tiles * M * M * 2 * width

    def run(answer):
        seen = {"products": 0, "largest": 0}
        value = np.asarray(answer(*(watched(array.copy(), seen) for array in arrays), C, M)).view(np.ndarray)
        if seen["largest"] >= C * C:
            raise Said("11.2", "map")
        if seen["largest"] > max(M * M, 2 * T * width):
            raise Said("11.2", "strip")
        right = difference(tiled_local(*arrays, C, M), value, 1e-9) is None
        if right and width >= M and seen["products"] > 1.35 * needed:
            raise Said("11.2", "twice")
        if right and seen["products"] < 0.25 * needed:  # nobody needs so few
            raise Said("11.2", "unseen")
        return value

    return Case(name, "work", run, f"T = {T}, C = {C}, M = {M}")


def cases_2(rng, numbers):
    def case(name, part, T, S, E, C, M):
        given = (*rng.normal(size=(2, T, S)), rng.normal(size=(T, E)), rng.normal(size=(C, C)), C, M)
        return call(name, part, *given, sizes=f"T = {T}, S = {S}, E = {E}, C = {C}, M = {M}")

    tail = int(rng.integers(1, 4))
    return [
        case("M divides C, three chunks", "values", 36, 3, 5, 12, 4),
        case("M does not divide C, a tail", "values", 2 * 11 + 5 + tail, 5, 4, 11, 4),
        case("one tile holds a chunk", "edge sizes", 15 + tail, 4, 3, 7, 8),
        case("fewer tokens than C", "edge sizes", 5 + tail, 3, 4, 13, 3),
        case("M = 1", "edge sizes", 9 + tail, 2, 5, 5, 1),
        case("one token", "edge sizes", 1, 4, 2, 6, 2),
        work_case(rng, "what is done", 48, 8, 16, 48 + 32),
        work_case(rng, "one tile at a time", 48, 8, 2, 48 + 32),
    ]


# ---------------------------------------------------------------- kernels: kept as text, run by the interpreter

HEAD = """
import torch
from flash_course.checks.interpreter import jit, tl


def tile_for(n):
    return max(16, 1 << (n - 1).bit_length())


@jit
def load_tile(x, strides, rows, columns, row_end, column_end):
    inside = (rows < row_end)[:, None] & (columns < column_end)[None, :]
    return tl.load(x + rows[:, None] * strides[0] + columns[None, :] * strides[1], mask=inside, other=0.0)
"""
LOCAL = (
    HEAD
    + """

@jit
def local_kernel(q, k, v, bias, out, q_strides, k_strides, v_strides, bias_strides, out_strides, T, C, S, E,
                 M: tl.constexpr, S_TILE: tl.constexpr, E_TILE: tl.constexpr):
    chunk = tl.program_id(0) * C
    end = tl.minimum(chunk + C, T)
    rows = chunk + tl.program_id(1) * M + tl.arange(0, M)
    s, e = tl.arange(0, S_TILE), tl.arange(0, E_TILE)
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
    place = out + rows[:, None] * out_strides[0] + e[None, :] * out_strides[1]
    tl.store(place, y, mask=(rows < end)[:, None] & (e < E)[None, :])


def launch(q, k, v, bias_CC, out, C, M):
    (T, S), E = q.shape, v.shape[1]
    strides = [x.stride() for x in (q, k, v, bias_CC, out)]
    grid = (-(-T // C), -(-C // M))
    local_kernel[grid](q, k, v, bias_CC, out, *strides, T, C, S, E, M=M, S_TILE=tile_for(S), E_TILE=tile_for(E))
"""
)
GATED = (
    HEAD
    + """

@jit
def gated_kernel(quad_q, quad_k, lin_q, state, v, u, bias, out, quad_q_strides, quad_k_strides, lin_q_strides,
                 state_strides, v_strides, u_strides, bias_strides, out_strides, T, C, S, E,
                 M: tl.constexpr, S_TILE: tl.constexpr, E_TILE: tl.constexpr):
    g = tl.program_id(0)
    chunk = g * C
    end = tl.minimum(chunk + C, T)
    rows = chunk + tl.program_id(1) * M + tl.arange(0, M)
    s, e = tl.arange(0, S_TILE), tl.arange(0, E_TILE)
    before = load_tile(state + g * state_strides[0], state_strides[1:], s, e, S, E)
    far_q = load_tile(lin_q, lin_q_strides, rows, s, end, S)
    far = tl.dot(far_q.to(tl.float32), before)
    gate = load_tile(u, u_strides, rows, e, end, E)
    q_tile = load_tile(quad_q, quad_q_strides, rows, s, end, S)
    y = tl.zeros((M, E_TILE), tl.float32)
    for first in range(chunk, chunk + (tl.program_id(1) + 1) * M, M):
        keys = first + tl.arange(0, M)
        k_tile = load_tile(quad_k, quad_k_strides, keys, s, end, S)
        a = tl.dot(q_tile, tl.trans(k_tile)) / C
        a += load_tile(bias, bias_strides, rows - chunk, keys - chunk, C, C)
        a = tl.maximum(a, 0.0)
        a = tl.where(rows[:, None] >= keys[None, :], a * a, 0.0)
        v_tile = load_tile(v, v_strides, keys, e, end, E)
        y += tl.dot(a.to(v_tile.dtype), v_tile)
    y = gate * (y + far)
    place = out + rows[:, None] * out_strides[0] + e[None, :] * out_strides[1]
    tl.store(place, y, mask=(rows < end)[:, None] & (e < E)[None, :])


def state_before(lin_k, v, C):
    (T, S), E = lin_k.shape, v.shape[1]
    state, total = torch.zeros(-(-T // C), S, E), torch.zeros(S, E)
    for g in range(1, len(state)):
        own = slice((g - 1) * C, g * C)
        total = total + lin_k[own].float().T @ v[own].float()
        state[g] = total / (g * C)
    return state


def launch(quad_q, quad_k, lin_q, lin_k, v, u, bias_CC, out, C, M):
    (T, S), E = quad_q.shape, v.shape[1]
    state = state_before(lin_k, v, C)
    arrays = (quad_q, quad_k, lin_q, state, v, u, bias_CC, out)
    strides = [x.stride() for x in arrays]
    grid = (-(-T // C), -(-C // M))
    gated_kernel[grid](*arrays, *strides, T, C, S, E, M=M, S_TILE=tile_for(S), E_TILE=tile_for(E))
"""
)


class Text:
    """An answer that is kept as text, some of it exchanged. It is compiled when it is first called: a set is read
    where Triton is missing too, and in a file that is not one of the checker's."""

    def __init__(self, name, text, *pairs):
        for old, new in zip(pairs[::2], pairs[1::2]):
            if old not in text:
                raise ValueError(f"{name}: {old!r} is not in the text")
            text = text.replace(old, new)
        self.name, self.text = name, text

    @cached_property
    def launch(self):
        file, names = f"kept answer {self.name}", {"__name__": "kept"}
        linecache.cache[file] = (len(self.text), None, self.text.splitlines(True), file)
        exec(compile(self.text, file, "exec"), names)
        return names["launch"]

    def __call__(self, *args):
        return self.launch(*args)


class Unable(Said, NotImplementedError):
    """Nothing is known of an answer, since this machine cannot run it: that is "not attempted", and never "wrong"."""


def require_triton():
    if key := interpreter.missing():
        raise Unable("11.3", key)


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


known = {}  # what kept answers gave: each is asked several times, and each start takes a while


def remembered(answer, run, *inputs):
    key = (answer.name, *(x.numpy().tobytes() if isinstance(x, torch.Tensor) else x for x in inputs))
    if key not in known:
        try:
            known[key] = run(answer), None
        except Exception as error:
            known[key] = None, error
    value, error = known[key]
    if error is not None:
        raise error
    return value


@contextmanager
def nan_in_new_memory():
    """Within it, torch.empty gives NaN."""
    before, fill = torch.are_deterministic_algorithms_enabled(), torch.utils.deterministic.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = True
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        torch.utils.deterministic.fill_uninitialized_memory = fill


def kernel_case(exercise, oracle, name, part, tensors, C, M, transposed=False, memory_too=False, prepared=0):
    """Start an answer between guard zones, and see to it that its kernel made the result out of the arrays.

    ``transposed``: every second array is, and no two have the same strides. ``memory_too``: look also at each address
    that it touches. ``prepared``: so many numbers torch may make for it.
    """
    (T, S), E = tensors[0].shape, tensors[-2].shape[1]

    def run(answer):
        if answer is oracle:
            return oracle(*tensors, C)
        require_triton()
        return remembered(answer, started, name, C, M, *tensors) if isinstance(answer, Text) else started(answer)

    def started(answer):
        empty = torch.full((T, E), float("nan"))
        layouts = [(i % 2 == 0, GAP + i) if transposed else (False, GAP) for i in range(len(tensors) + 1)]
        *pairs, (out, around) = [guarded(x, *layout) for x, layout in zip((*tensors, empty), layouts, strict=True)]
        before = [memory.clone() for _, memory in pairs]
        with interpreter.Memory().watch() as seen, nan_in_new_memory():
            answer(*(view for view, _ in pairs), out, C, M)
        value, stored = out.clone(), seen.stored_in(out)
        if not seen.started or (interpreter.sees() and not torch.equal(value.nan_to_num(7.5), stored.nan_to_num(7.5))):
            raise Said(exercise, "own kernel")
        out.fill_(float("nan"))
        if not around.isnan().all():
            raise Said(exercise, "behind")
        for place, (old, (_, memory)) in enumerate(zip(before, pairs), 1):
            if not torch.equal(old.nan_to_num(7.5), memory.nan_to_num(7.5)):
                raise Said("all", "changed", argument=place)
        if interpreter.sees() and value.isfinite().all():
            look_for_copies(exercise, seen, pairs, prepared)
            if memory_too:
                look_at_memory(exercise, seen, [*pairs, (out, around)])
        return value

    return Case(name, part, run, f"T = {T}, S = {S}, E = {E}, C = {C}, M = {M}, {str(tensors[0].dtype)[6:]}")


def joined(found):
    return np.concatenate([*found, np.zeros(0, np.uint64)])


def look_for_copies(exercise, seen, pairs, prepared):
    """A kernel that reads what torch has made: copies without gaps, or the result itself, be it in `out`."""
    read = joined(seen.reads)
    for _, memory in pairs:
        read = read[(read < memory.data_ptr()) | (read >= memory.data_ptr() + memory.nbytes)]
    if len(np.unique(read)) > prepared:
        raise Said(exercise, "elsewhere")


def look_at_memory(exercise, seen, pairs):
    read, written = joined(seen.reads), joined(seen.writes)
    for view, memory in pairs:
        inside, guard = interpreter.addresses(view).ravel(), interpreter.addresses(memory).ravel()
        if np.isin(np.setdiff1d(read, inside), guard).any():
            raise Said(exercise, "outside")
    out = interpreter.addresses(pairs[-1][0]).ravel()
    if (np.unique(written[np.isin(written, out)], return_counts=True)[1] > 1).any():
        raise Said(exercise, "twice")


# ---------------------------------------------------------------- 11.3 a Triton kernel


def local_by_torch(q, k, v, bias_CC, C):
    """The oracle, in float64."""
    q, k, v, bias_CC = (x.double() for x in (q, k, v, bias_CC))
    out = torch.zeros_like(v)
    for first in range(0, len(v), C):
        own, n = slice(first, first + C), min(C, len(v) - first)
        out[own] = torch.relu(q[own] @ k[own].T / C + bias_CC[:n, :n]).square().tril() @ v[own]
    return out


def drawn(rng, *shape, low=None, high=None, step=1.0):
    """A float32 tensor of order one, or of multiples of ``step``."""
    values = rng.normal(size=shape) if low is None else rng.integers(low, high, size=shape) * step
    return torch.from_numpy(values).float()


def cases_3(rng, numbers):
    def case(name, part, T, S, E, C, M, **how):
        tensors = drawn(rng, T, S), drawn(rng, T, S), drawn(rng, T, E), drawn(rng, C, C)
        return kernel_case("11.3", local_by_torch, name, part, tensors, C, M, **how)

    def exact(T, S, E, C, M):
        """Numbers that stay exact in float16 but for the last sum."""
        q, k = (drawn(rng, T, S, low=-1, high=2, step=16.0) for _ in range(2))
        tensors = q.half(), k.half(), drawn(rng, T, E).half(), drawn(rng, C, C, low=-2, high=5, step=0.5).half()
        return kernel_case("11.3", local_by_torch, "float16, a long chunk", "formats", tensors, C, M)

    a, b = int(rng.integers(1, 5)), int(rng.integers(1, 5))
    return [
        case("one tile holds a chunk", "values", 12 + a, 3 + b, 17 + b, 12, 16),
        case("M does not divide C, a tail", "values", 20 + a, 9 + b, 17 + a, 20, 16),
        case("two tiles a chunk, no tail", "values", 32, 16, 16, 32, 16),
        case("fewer tokens than C", "values", 18 + b, 8, 5 + a, 33, 16),
        case("chunks of one", "values", 3, 5, 6, 1, 16),
        case("every address", "memory", 40 + b, 7 + a, 18 + b, 20, 16, memory_too=True),
        case("transposed views", "strides", 18 + b, 6 + a, 9 + b, 18 + a, 16, transposed=True),
        exact(256, 16, 16, 256, 128),
    ]


LOAD, STRIDES = ", mask=inside, other=0.0)", "    strides = [x.stride()"
PADDED = """def padded(x, M, C):
    return torch.nn.functional.pad(x, (0, 64 + M, 0, C + 2 * M))


"""
KEPT_3 = (
    ("load without mask", LOAD, ")"),
    ("load without mask", LOAD, ") * inside"),
    ("load without mask", LOAD, ", mask=inside)"),
    ("rows not masked", "mask=inside, other", "mask=(columns < column_end)[None, :], other"),
    ("outside", LOAD, ")\n    return tl.where(inside, tile, 0.0)", "    return tl.load", "    tile = tl.load"),
    ("store without mask", ", mask=(rows < end)[:, None] & (e < E)[None, :]", ""),
    ("store without mask", "mask=(rows < end)", "mask=(rows < chunk + C)"),
    ("store without mask", "(rows < end)[:, None] & (e < E)[None, :]", "(rows < end)[:, None]"),
    ("twice", "mask=(rows < end)", "mask=(rows < T)"),
    ("float16 sum", "y += tl.dot(a.to(v_tile.dtype), v_tile)",
     "y = (y + tl.dot(a.to(v_tile.dtype), v_tile)).to(v_tile.dtype)"),
    ("strides", "rows[:, None] * strides[0] + columns[None, :] * strides[1]",
     "rows[:, None] * strides[0] + columns[None, :]"),
    ("strides", "e[None, :] * out_strides[1]", "e[None, :]"),
    ("one block", "-(-C // M))\n", "1)\n"),
    ("rounded down", "-(-C // M))\n", "max(C // M, 1))\n"),
    ("chunks rounded down", "(-(-T // C)", "(max(T // C, 1)"),
    ("own tile", "(tl.program_id(1) + 1) * M", "tl.program_id(1) * M"),
    ("no mask", "rows[:, None] >= keys[None, :]", "rows[:, None] > -1"),
    ("strict", "rows[:, None] >= keys[None, :]", "rows[:, None] > keys[None, :]"),
    ("mask in tile", "rows[:, None] >= keys[None, :]", "rows[:, None] >= (keys - first + chunk)[None, :]"),
    ("mask in tile", "rows[:, None] >= keys[None, :]", "tl.arange(0, M)[:, None] >= tl.arange(0, M)[None, :]"),
    ("corner", "rows - chunk, keys - chunk, C, C", "rows - chunk, keys - first, C, C"),
    ("bias transposed", "rows - chunk, keys - chunk, C, C)", "keys - chunk, rows - chunk, C, C).T"),
    ("bias forgotten", "a += load_tile(bias", "b = load_tile(bias"),
    ("bias inside", "tl.trans(k_tile)) / C", "tl.trans(k_tile))", "tl.maximum(a, 0.0)", "tl.maximum(a / C, 0.0)"),
    ("over M", "tl.trans(k_tile)) / C", "tl.trans(k_tile)) / M"),
    ("last tile", "y += tl.dot", "y = tl.dot"),
    ("not squared", "a * a, 0.0", "a, 0.0"),
    ("places in the text", "rows - chunk, keys - chunk, C, C", "rows, keys, T, T"),
    ("places in the text", "rows - chunk, keys - chunk, C, C", "rows, keys, C, C"),
    ("other strides", "k, k_strides, keys", "k, q_strides, keys"),
    ("other strides", "v, v_strides, keys", "v, k_strides, keys"),
    ("no relu", "a = tl.maximum(a, 0.0)", "a = a + 0.0"),
    ("not divided", "tl.trans(k_tile)) / C", "tl.trans(k_tile))"),
    ("not cast", "a.to(v_tile.dtype)", "a"),
    ("not transposed", "tl.trans(k_tile)", "k_tile"),
    ("elsewhere", STRIDES, "    q, k, v, bias_CC = (x.contiguous() for x in (q, k, v, bias_CC))\n" + STRIDES),
    ("elsewhere", STRIDES, "    q, k, v, bias_CC = (padded(x, M, C) for x in (q, k, v, bias_CC))\n" + STRIDES,
     "def launch", PADDED + "def launch", LOAD, ")"),
)  # fmt: skip
# Torch computes the result. A kernel stands beside it, or copies it.
COPYING = (
    HEAD
    + """

@jit
def copy(x, out, x_strides, out_strides, T, E, M: tl.constexpr, E_TILE: tl.constexpr):
    rows, e = tl.program_id(0) * M + tl.arange(0, M), tl.arange(0, E_TILE)
    tile = load_tile(x, x_strides, rows, e, T, E)
    place = out + rows[:, None] * out_strides[0] + e[None, :] * out_strides[1]
    tl.store(place, tile, mask=(rows < T)[:, None] & (e < E)[None, :])


def launch(*tensors_and_sizes):
    *tensors, out, C, M = tensors_and_sizes
    (T, E), made = out.shape, by_torch(*tensors, C).float()
    copy[(-(-T // M),)](made, out, made.stride(), out.stride(), T, E, M=M, E_TILE=tile_for(E))


def by_torch(q, k, v, bias_CC, C):
    out = []
    for i, x in enumerate(v.split(C)):
        own = slice(i * C, i * C + len(x))
        scores = q[own].float() @ k[own].float().T / C + bias_CC[: len(x), : len(x)].float()
        out.append(torch.relu(scores).square().tril() @ x.float())
    return torch.cat(out)
"""
)
COPIED = (
    ("elsewhere",),
    ("elsewhere", "copy[(", "out.copy_(made)\n    copy[(", "](made, out, made.stride()", "](out, out, out.stride()"),
    ("own kernel", "by_torch(*tensors, C).float()\n", "torch.zeros(out.shape)\n",
     "E_TILE=tile_for(E))\n", "E_TILE=tile_for(E))\n    out.copy_(by_torch(*tensors, C))\n"),
)  # fmt: skip


def by_torch_only(q, k, v, bias_CC, out, C, M):
    out.copy_(local_by_torch(q, k, v, bias_CC, C))


# ---------------------------------------------------------------- 11.4 a wasteful layer


def cos_sin(T, S, like):
    place = torch.arange(T, dtype=like.dtype, device=like.device)
    turns = 10000.0 ** (-torch.arange(S // 2, dtype=like.dtype, device=like.device) / (S // 2))
    angles = place[:, None] * turns
    return torch.cos(angles), torch.sin(angles)


def turn(x_nS, cos, sin):
    a, b = x_nS.chunk(2, dim=1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=1)


def chunk_layer(x_TD, W_q, W_k, W_v, C):
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


def layer_with(
    *, tables=False, waiting=False, half=False, double=False, joined=False,
    state="mean", mask=True, positions="text", cache=None,
):  # fmt: skip
    """The oracle of 11.4. The first five switch one waste on again, the others change the values."""

    def table(T, S, like):
        if cache is None:
            return cos_sin(T, S, like)
        if (T, S) not in cache:
            cache[T, S] = cos_sin(T, S, like)
        return cache[T, S]

    def answer(x_TD, W_q, W_k, W_v, C):
        T, S, E = len(x_TD), W_q.shape[1], W_v.shape[1]
        q_TS, k_TS, v_TE = x_TD @ W_q, x_TD @ W_k, x_TD @ W_v
        cos, sin = table(T, S, x_TD)
        places = torch.arange(T, device=x_TD.device)
        total = torch.zeros(S, E, dtype=torch.float64 if double else x_TD.dtype, device=x_TD.device)
        tokens, out = torch.zeros((), device=x_TD.device), x_TD.new_zeros(T, E)
        parts = x_TD.new_zeros(0, E)
        for first in range(0, T, C):
            if tables:
                cos, sin = cos_sin(T, S, x_TD)
            own = slice(first, first + C)
            seen = slice(max(first - C, 0), first + C) if half else own
            turned_at = [slice(s.start - first * (positions == "chunk"), s.stop - first * (positions == "chunk"))
                         for s in (own, seen)]  # fmt: skip
            q, k = (turn(x[s], cos[at], sin[at]) for x, s, at in zip((q_TS, k_TS), (own, seen), turned_at, strict=True))
            allowed = (places[own, None] >= places[seen]) & (places[seen] >= first) if mask else 1
            rows = (torch.relu(q @ k.T / C).square() * allowed) @ v_TE[seen]
            new = total + k[-C:].to(total.dtype).T @ v_TE[own].to(total.dtype)
            read = new if state == "inclusive" else total
            divisor = {"mean": max(first, 1), "inclusive": first + C, "sum": 1, "chunks": max(first // C, 1)}
            if state in divisor and (not waiting or tokens.item() > 0):
                rows = rows + (q.to(total.dtype) @ (read / divisor[state])).to(x_TD.dtype)
            total, tokens = new, tokens + C
            if joined:
                parts = torch.cat([parts, rows])
            else:
                out[own] = rows
        return parts if joined else out

    return answer


def look_for(part, seen, x, W_q, W_v, C):
    """Raise the sentence of one waste."""
    (T, D), S, E = x.shape, W_q.shape[1], W_v.shape[1]
    G = T // C
    if part == "tables" and max(seen.calls.get(name, 0) for name in seen.TABLES) > 1:
        raise Said("11.4", "tables left")
    if part == "waiting" and seen.count(seen.WAITS):
        raise Said("11.4", "waiting left")
    needed = T * D * (2 * S + E) + T * C * (S + E) + 2 * T * S * E
    if part == "half" and seen.multiply_adds > 1.1 * needed:
        raise Said("11.4", "half left")
    if part == "double" and x.dtype != torch.float64 and seen.double:
        raise Said("11.4", "double left")
    heads = 2 * T * S  # each turn joins two halves
    if part == "joined" and seen.joined > 2 * heads + 2 * (T * E + G * S * E):
        raise Said("11.4", "joined left")


WASTES = ("tables", "waiting", "half", "double", "joined")


def layer_inputs(rng, T, D=5, S=6, E=11):
    return [torch.from_numpy(rng.normal(size=shape)) / scale for shape, scale in
            (((T, D), 1), ((D, S), D**0.5), ((D, S), D**0.5), ((D, E), D**0.5))]  # fmt: skip


def layer_case(rng, name, part, G, C, look=None):
    """In float32 the operations are counted, then the values are compared in float64."""
    inputs = layer_inputs(rng, G * C)

    def run(answer):
        single = [t.float() for t in inputs]
        given = [t.clone() for t in (*single, *inputs)]
        with Operations() as seen:
            small = answer(*given[:4], C)
        value = answer(*given[4:], C)
        if value is None:
            raise Said("all", "none")
        for place, (before, now) in enumerate(zip((*single, *inputs), given)):
            if not torch.equal(before, now):
                raise Said("all", "changed", argument=place % 4 + 1)
        for waste in look or (part,):
            look_for(waste, seen, single[0], inputs[1], inputs[3], C)
        if getattr(small, "dtype", None) != torch.float32:
            raise Said("11.4", "format")
        return value

    return Case(name, part, run, f"G = {G}, C = {C}")


def cases_4(rng, numbers):
    return [
        *(layer_case(rng, f"{part}, 12 chunks", part, 12, 8) for part in WASTES),
        layer_case(rng, "waiting, one chunk", "waiting", 1, 7),
        layer_case(rng, "half, chunks of one token", "half", 9, 1),
    ]


# ---------------------------------------------------------------- 11.5 largest_tile


def bytes_of(M, S, E_tile, size):
    return size * (2 * M * S + M * E_tile + M * M)


def tile_by(needed=bytes_of, *, powers=True, least=16, most=2048, fits=lambda a, b: a <= b, beyond=0,
            refuse=True):  # fmt: skip
    """The oracle, and with something changed a wrong answer."""

    def answer(S, E_tile, bytes_per_number, shared_bytes):
        steps = [2**n for n in range(most.bit_length())] if powers else range(1, most)
        found = [M for M in steps if fits(needed(M, S, E_tile, bytes_per_number), shared_bytes)]
        M = max(found, default=0)
        if beyond and M:
            M *= 2
        if M < least and refuse:
            raise ValueError(f"no tile of at least {least} fits")
        return M

    return answer


def tile_case(name, part, S, E, size, shared):
    def run(answer):
        try:
            return answer(S, E, size, shared)
        except ValueError:
            return "a ValueError"

    return Case(name, part, run, f"S = {S}, E_tile = {E}, bytes_per_number = {size}, shared_bytes = {shared}")


def cases_5(rng, numbers):
    S, E = 8 * int(rng.integers(5, 14)), 16 * int(rng.integers(3, 9))
    M, size = 2 ** int(rng.integers(5, 8)), int(rng.choice([2, 4]))
    room = bytes_of(M, S, E, size)
    return [
        tile_case("a T4, float16, the lecture's sizes", "values", 128, 64, 2, 64 * 1024),
        tile_case("a T4, float32", "values", 128, 64, 4, 64 * 1024),
        tile_case("a tile fits, with some room", "values", S, E, size, room + size * S),
        tile_case("the map's tile is too much", "values", S, E, size, room - size * M * M // 2),
        tile_case("the keys are too much", "values", S, E, size, room - size * M * S // 2),
        tile_case("the values are too much", "values", S, E, size, room - size * M * E // 2),
        tile_case("one byte a number", "values", S, E, 1, bytes_of(M, S, E, 1) + 5),
        tile_case("much memory", "values", S, E, size, bytes_of(1024, S, E, size) + 5),
        tile_case("it fits exactly", "limits", S, E, size, room),
        tile_case("one byte is missing", "limits", S, E, size, room - 1),
        tile_case("16 fits exactly", "limits", S, E, size, bytes_of(16, S, E, size)),
        tile_case("only 8 would fit", "limits", S, E, size, bytes_of(16, S, E, size) - 1),
        tile_case("nothing fits", "limits", S, E, size, 64),
    ]


# ---------------------------------------------------------------- 11.6 gate and global part


def gated_by_torch(quad_q, quad_k, lin_q, lin_k, v, u, bias_CC, C):
    """The oracle, in float64."""
    lin_q, lin_k, v, u = (x.double() for x in (lin_q, lin_k, v, u))
    out = local_by_torch(quad_q, quad_k, v, bias_CC, C)
    for first in range(C, len(v), C):
        own = slice(first, first + C)
        out[own] += lin_q[own] @ (lin_k[:first].T @ v[:first]) / first
    return u * out


def cases_6(rng, numbers):
    def case(name, part, T, S, E, C, M, **how):
        heads = [drawn(rng, T, S) for _ in range(4)]
        heads[2] *= 4  # a mean over many tokens is small
        tensors = *heads, drawn(rng, T, E), drawn(rng, T, E), drawn(rng, C, C)
        return gated_case(name, part, tensors, C, M, **how)

    def gated_case(name, part, tensors, C, M, **how):
        state = -(-len(tensors[0]) // C) * tensors[0].shape[1] * tensors[-2].shape[1]
        return kernel_case("11.6", gated_by_torch, name, part, tensors, C, M, prepared=state, **how)

    def exact(G, S, E, C, M):
        """Every token has the same lin_k and v: each mean is exact in float16, the sum of a chunk is not."""
        T, nothing = G * C, torch.zeros(G * C, S)
        lin_k, v = (drawn(rng, 1, n, low=9, high=16, step=1 / 8).expand(T, n) for n in (S, E))
        lin_q, u = drawn(rng, T, S, low=-3, high=4), drawn(rng, T, E, low=1, high=9, step=0.25)
        bias = drawn(rng, C, C, low=-2, high=4, step=0.5)
        tensors = [x.half() for x in (nothing, nothing, lin_q, lin_k, v, u, bias)]
        return gated_case("float16, sums of a chunk", "float16", tensors, C, M)

    a, b = int(rng.integers(1, 5)), int(rng.integers(1, 5))
    return [
        case("three chunks and a tail", "values", 3 * 11 + a, 5 + b, 6 + a, 11, 16),
        case("M does not divide C", "values", 2 * 18 + b, 4 + a, 17 + b, 18, 16),
        case("fewer tokens than C", "values", 12 + a, 8, 9, 20 + b, 16),
        case("one token", "values", 1, 7, 5 + b, 4, 16),
        case("every address, transposed views", "memory", 2 * 18 + a, 6, 18, 18, 16, memory_too=True, transposed=True),
        exact(6, 6, 7, 31, 32),
    ]


FAR = "    far = torch.cat([q.float() @ s for q, s in zip(lin_q.split(C), state)])\n"
GATE, STATE = "y = gate * (y + far)", "state, total = torch.zeros(-(-T // C), S, E), torch.zeros(S, E)"
KEPT_6 = (
    ("gate local only", GATE, "y = gate * y + far"),
    ("gate global only", GATE, "y = y + gate * far"),
    ("no gate", GATE, "y = y + far"),
    ("gate of the key", GATE, "y = y + gate * far", "v_tile = load_tile(v, v_strides, keys, e, end, E)",
     "v_tile = load_tile(v, v_strides, keys, e, end, E) * load_tile(u, u_strides, keys, e, end, E)"),
    ("gate of the key", GATE, "y = y + far", "v_tile = load_tile(v, v_strides, keys, e, end, E)",
     "v_tile = load_tile(v, v_strides, keys, e, end, E) * load_tile(u, u_strides, keys, e, end, E)"),
    ("gate in each tile", "v_tile)\n", "v_tile)\n        y = gate * y\n", GATE, "y = y + gate * far"),
    ("inclusive", "range(1, len(state))", "range(len(state))", "slice((g - 1) * C, g * C)", "slice(g * C, g * C + C)",
     "(g * C)\n", "min(g * C + C, T)\n"),
    ("inclusive", "range(1, len(state))", "range(len(state))", "slice((g - 1) * C, g * C)", "slice(g * C, g * C + C)",
     "(g * C)\n", "max(g * C, 1)\n"),
    ("late", "range(1, len(state))", "range(2, len(state))", "slice((g - 1) * C, g * C)",
     "slice((g - 2) * C, g * C - C)", "(g * C)\n", "(g * C - C)\n"),
    ("last only", "total = total + ", "total = g * "),
    ("sum", " / (g * C)", ""),
    ("over chunks", " / (g * C)", " / g"),
    ("one more", " / (g * C)", " / (g * C + C)"),
    ("over T", " / (g * C)", " / T"),
    ("half state", STATE, "state, total = torch.zeros(-(-T // C), S, E), torch.zeros(S, E, dtype=v.dtype)",
     "lin_k[own].float().T @ v[own].float()", "lin_k[own].T @ v[own]"),
    ("half state", "lin_k[own].float().T @ v[own].float()", "lin_k[own].T @ v[own]"),
    ("first chunk", STATE, STATE.replace("torch.zeros", "torch.empty", 1)),
    ("other strides", "lin_q, lin_q_strides, rows", "lin_q, quad_q_strides, rows"),
    ("other strides", "u, u_strides, rows", "u, v_strides, rows"),
    ("heads", "load_tile(lin_q, lin_q_strides,", "load_tile(quad_q, quad_q_strides,"),
    ("heads", "state_before(lin_k, v, C)", "state_before(quad_k, v, C)"),
    ("not cast", "far_q.to(tl.float32)", "far_q"),
    ("not cast", "a.to(v_tile.dtype)", "a"),
    ("over C", "before)\n    gate", "before) / C\n    gate"),
    ("no global part", GATE, "y = gate * y"),
    ("global in the loop", "y = tl.zeros((M, E_TILE), tl.float32)", "y = far * 0", "v_tile)\n",
     "v_tile) + far\n", GATE, "y = gate * y"),
    ("twice", "mask=(rows < end)", "mask=(rows < T)"),
    ("twice", "    tl.store(place", "    tl.store(place, far, mask=(rows < end)[:, None] & (e < E)[None, :])\n"
     "    tl.store(place"),
    ("store without mask", ", mask=(rows < end)[:, None] & (e < E)[None, :]", ""),
    ("load without mask", LOAD, ")"),
    ("own kernel", GATE, "y = y + far", "E_TILE=tile_for(E))\n", "E_TILE=tile_for(E))\n    out.mul_(u)\n"),
    ("elsewhere", "    arrays = (", FAR + "    arrays = (", "state_strides,", "state_strides, far_strides,",
     "state, v, u", "state, far, v, u", "far = tl.dot(far_q.to(tl.float32), before)",
     "far = load_tile(far, far_strides, rows, e, end, E)"),
)  # fmt: skip


def all_by_torch(quad_q, quad_k, lin_q, lin_k, v, u, bias_CC, out, C, M):
    out.copy_(gated_by_torch(quad_q, quad_k, lin_q, lin_k, v, u, bias_CC, C))


def kept(exercise, text, rows):
    return tuple(
        Wrong(key, Text(f"{exercise} {number} {key}", text, *pairs)) for number, (key, *pairs) in enumerate(rows)
    )


# ---------------------------------------------------------------- the set

EXERCISES = exercises_of("11", {
    "11.1": dict(
        cases=lambda rng, n: [*(predicted(key) for key in "abcd"), Case("e", "e", letters)],
        right=answers_1,
        draw=draw_1, tolerance=0.005,
        wrong=WRONG_1,
    ),
    "11.2": dict(
        cases=cases_2, right=tiles_with(),
        wrong=(
            Wrong("diagonal skipped", tiles_with(keys_until="before")), Wrong("no mask", tiles_with(mask="left only")),
            Wrong("tile mask", tiles_with(mask="tile")), Wrong("strict", tiles_with(mask="strict")),
            Wrong("corner", tiles_with(bias="keys")), Wrong("corner", tiles_with(bias="corner")),
            Wrong("bias transposed", tiles_with(bias="transposed")), Wrong("no bias", tiles_with(bias="none")),
            Wrong("over M", tiles_with(divisor="M")), Wrong("over T", tiles_with(divisor="T")),
            Wrong("over sqrt S", tiles_with(divisor="sqrt S")), Wrong("not divided", tiles_with(divisor="none")),
            Wrong("last tile", tiles_with(add=False)), Wrong("all tiles", tiles_with(keys_until="all", mask="none")),
            Wrong("twice", tiles_with(keys_until="all")), Wrong("map", whole_map), Wrong("map", collected_map),
            Wrong("strip", by_strips), Wrong("unseen", map_unseen), Wrong("across", tiles_across_chunks),
            Wrong("no relu", tiles_with(relu=False)),
            Wrong("tail", tiles_with(chunks="full")), Wrong("rounded down", tiles_with(tiles="full")),
            Wrong("not squared", tiles_with(squared=False)), Wrong("softmax", tiles_with(softmax=True)),
        ),
    ),
    "11.3": dict(
        cases=cases_3, right=local_by_torch, shut=False, tolerance=3e-5,
        wrong=(*kept("11.3", LOCAL, KEPT_3), *kept("11.3", COPYING, COPIED), Wrong("own kernel", by_torch_only)),
    ),
    "11.4": dict(
        cases=cases_4, right=layer_with(), given=chunk_layer,
        wrong=(
            Wrong("tables left", layer_with(tables=True)), Wrong("waiting left", layer_with(waiting=True)),
            Wrong("half left", layer_with(half=True)), Wrong("double left", layer_with(double=True)),
            Wrong("joined left", layer_with(joined=True)), Wrong("inclusive", layer_with(state="inclusive")),
            Wrong("no state", layer_with(state="none")), Wrong("bare sum", layer_with(state="sum")),
            Wrong("over chunks", layer_with(state="chunks")),
            Wrong("no mask", layer_with(mask=False)), Wrong("positions", layer_with(positions="chunk")),
            Wrong("stale cache", layer_with(cache={})),
        ),
    ),
    "11.5": dict(
        cases=cases_5, right=tile_by(),
        wrong=(
            Wrong("operand", tile_by(lambda M, S, E, b: b * (M * S + M * E + M * M))),
            Wrong("operand", tile_by(lambda M, S, E, b: b * (2 * M * S + M * M))),
            Wrong("map", tile_by(lambda M, S, E, b: b * (2 * M * S + M * E))),
            Wrong("bytes", tile_by(lambda M, S, E, b: bytes_of(M, S, E, 1))),
            Wrong("always 2", tile_by(lambda M, S, E, b: bytes_of(M, S, E, 2))),
            Wrong("power", tile_by(powers=False)), Wrong("next larger", tile_by(beyond=1)),
            Wrong("too small", tile_by(refuse=False)), Wrong("too small", tile_by(least=1)),
            Wrong("exactly", tile_by(fits=lambda a, b: a < b)), Wrong("32", tile_by(least=32)),
            Wrong("cap", tile_by(most=128)), Wrong("cap", tile_by(most=512)),
        ),
    ),
    "11.6": dict(
        cases=cases_6, right=gated_by_torch, shut=False, tolerance=3e-5,
        wrong=(*kept("11.6", GATED, KEPT_6), Wrong("own kernel", all_by_torch)),
    ),
})  # fmt: skip
