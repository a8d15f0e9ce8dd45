"""Problem set 10, ablations: cases, the oracle, and wrong answers; the right answers lie in ``solutions``."""

import copy
import math
import re
from functools import partial

import numpy as np

from ...bench import tasks
from ..closed_book import also_shut
from ..exercise import Case, Said, Wrong, call, exercises_of, length_of_text, lent

# ---------------------------------------------------------------- 10.1 recall_batch

NOTHING = -100


def recall_batch(
    rng, B, T, C, pairs, vocab, *,
    first=None, keys="different", ranges="two", values="free", target="query", nothing=NOTHING, law="uniform",
    order="free", rows="new", table="new", generator="given", written=False, fill=False, targeted="later",
):  # fmt: skip
    """The oracle. What stands behind the star makes the wrong answers."""
    if generator != "given":
        rng = np.random.default_rng(0 if generator == "seeded" else None)
    n, first = (vocab - 1) // 2, C if first is None else 2 * pairs
    key, value = draw_pairs(rng, B, pairs, n, keys, ranges, values)
    if table == "fixed":
        value = n + key
    if rows in ("same", "same keys"):
        key = np.repeat(key[:1], B, 0)
    if rows in ("same", "same values"):
        value = np.repeat(value[:1], B, 0)
    place = draw_places(rng, B, pairs, first, T, law)
    if order != "free":
        by = {"pairs": np.arange(pairs)[None].repeat(B, 0), "keys": key, "values": value}[order]
        place = np.take_along_axis(np.sort(place, 1), by.argsort(1, kind="stable").argsort(1), 1)
    ids, targets = np.zeros((B, T), np.int64), np.full((B, T), nothing, np.int64)
    if fill:
        ids[:, C:] = rng.integers(1, n + 1, size=(B, T - C))
    ids[:, 0 : 2 * pairs : 2], ids[:, 1 : 2 * pairs : 2] = key, value
    if targeted == "all":
        targets[:, 0 : 2 * pairs : 2] = value
    row = np.arange(B)[:, None]
    if written:
        ids[row, np.minimum(place + 1, T - 1)] = value
    ids[row, place] = key
    if target == "late":
        for b, p, v in zip(*np.broadcast_arrays(row, place + 1, value)):
            targets[b[p < T], p[p < T]] = v[p < T]
    else:
        targets[row, place] = key if target == "key" else value
    return ids, targets


def choose(rng, B, n, k):
    """For each row k different numbers of 0 to n - 1, in random order."""
    return rng.random((B, n)).argsort(1)[:, :k]


def draw_pairs(rng, B, pairs, n, keys, ranges, values):
    if ranges == "one":
        both = 1 + choose(rng, B, 2 * n, 2 * pairs)
        return both[:, :pairs], both[:, pairs:]
    key = 1 + (rng.integers(n, size=(B, pairs)) if keys == "repeated" else choose(rng, B, n, pairs))
    value = n + 1 + (choose(rng, B, n, pairs) if values == "different" else rng.integers(n, size=(B, pairs)))
    value = np.repeat(value[:, :1], pairs, 1) if values == "one" else value
    value = np.sort(value, 1) if values == "sorted" else value
    return np.sort(key, 1) if keys == "sorted" else key, value


def draw_places(rng, B, pairs, first, T, law):
    room = T - first
    if law == "near":  # the chance falls like one over the distance
        return first + np.argsort(np.log(rng.random((B, room))) * np.arange(1, room + 1), 1)[:, ::-1][:, :pairs]
    if law == "not the last" and room > pairs:
        room -= 1
    if law == "no tail" and room - room % first >= pairs:  # behind the last full chunk nothing is asked
        room -= room % first
    if law == "block":
        return first + rng.integers(room - pairs + 1, size=(B, 1)) + choose(rng, B, pairs, pairs)
    if law == "spread":  # each in a chunk of its own, where there are enough full ones
        C = first
        if room >= C * pairs:
            return first + C * choose(rng, B, room // C, pairs) + rng.integers(C, size=(B, pairs))
    if law == "one for all":
        return np.repeat(first + choose(rng, 1, room, pairs), B, 0)
    return first + choose(rng, B, room, pairs)


def with_tasks_shut(function, *args):
    with also_shut(tasks):
        return function(*args)


def look_at_form(batch, B, T):
    if batch is None:
        raise Said("all", "none")
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        raise Said("all", "several", expected=2, got=len(batch) if isinstance(batch, tuple | list) else 1)
    for array in batch:
        if not isinstance(array, np.ndarray) or array.shape != (B, T) or array.dtype.kind not in "iu":
            raise Said("10.1", "form")
    return batch


def look_at_rows(ids, C, pairs, n):
    """Raise the sentence of what is wrong with the ids."""
    key, value = ids[:, 0 : 2 * pairs : 2], ids[:, 1 : 2 * pairs : 2]
    if (ids[:, : 2 * pairs] == 0).any():
        raise Said("10.1", "pairs first")
    if (key < 1).any() or (key > n).any() or (value <= n).any() or (value > 2 * n).any():
        raise Said("10.1", "one range")
    if (np.diff(np.sort(key, 1), axis=1) == 0).any():
        raise Said("10.1", "key twice")
    if ids[:, 2 * pairs : C].any():
        raise Said("10.1", "in chunk 0")
    later = ids[:, C:]
    if (later > n).any():
        raise Said("10.1", "written")
    if ((later != 0) & ~(later[:, :, None] == key[:, None]).any(2)).any():
        raise Said("10.1", "filler")
    if ((later[:, :, None] == key[:, None]).sum(1) != 1).any():
        raise Said("10.1", "asked once")


def look_at_targets(ids, targets, C, pairs):
    """Raise the sentence of what is wrong with the targets, whatever the ids are."""
    found = ids[:, :, None] == ids[:, None, 0 : 2 * pairs : 2]
    asks = found.any(2) & (np.arange(ids.shape[1]) >= 2 * pairs)
    value = np.take_along_axis(ids[:, 1 : 2 * pairs : 2], found.argmax(2), 1)
    want = np.where(asks, value, NOTHING)
    if (targets == want).all():
        return
    if not (targets == NOTHING).any():
        raise Said("10.1", "not -100")
    if (targets[:, : 2 * pairs] != NOTHING).any():
        raise Said("10.1", "targets in chunk 0")
    if (targets[:, 1:] == want[:, :-1]).all():
        raise Said("10.1", "late")
    if (targets[asks] == ids[asks]).all():
        raise Said("10.1", "target is the key")
    raise Said("10.1", "targets")


def look_at_draws(ids, C, pairs, n):
    """Raise the sentence of a law that the draws follow and should not; chance alone would need six deviations."""
    B, T = ids.shape
    key, value = ids[:, 0 : 2 * pairs : 2], ids[:, 1 : 2 * pairs : 2]
    place = (ids[:, C:, None] == key[:, None]).argmax(1)  # of each pair's question, from C on

    def far_from(share, expected):
        return abs(share.mean() - expected) > 6 * math.sqrt(expected * (1 - expected) / len(share))

    if (key == key[0]).all():
        raise Said("10.1", "same rows" if (value == value[0]).all() else "same keys")
    if (value == value[0]).all():
        raise Said("10.1", "same values")
    if all(len(np.unique(value[key == k])) < 2 for k in range(1, n + 1)):
        raise Said("10.1", "one table")
    if (np.sort(place, 1) == np.sort(place[0])).all():
        raise Said("10.1", "same places")
    if abs(place.mean() - (T - C - 1) / 2) > 6 * (T - C) / math.sqrt(12 * B * pairs):
        raise Said("10.1", "law")
    if far_from(np.ptp(place, axis=1) == pairs - 1, (T - C - pairs + 1) / math.comb(T - C, pairs)):
        raise Said("10.1", "block")
    sizes = np.bincount(np.arange(T - C) // C)
    if far_from(place[:, 0] // C == place[:, 1] // C, (sizes * (sizes - 1)).sum() / ((T - C) * (T - C - 1))):
        raise Said("10.1", "spread")
    early, differ = place[:, 0] < place[:, 1], value[:, 0] != value[:, 1]
    if far_from((key[:, 0] < key[:, 1]) == early, 0.5) or (
        differ.any() and far_from(((value[:, 0] < value[:, 1]) == early)[differ], 0.5)
    ):
        raise Said("10.1", "by id")
    if far_from(early, 0.5):
        raise Said("10.1", "in order")
    if far_from(key[:, 0] < key[:, 1], 0.5):
        raise Said("10.1", "keys sorted")
    if differ.any() and far_from((value[:, 0] < value[:, 1])[differ], 0.5):
        raise Said("10.1", "values sorted")
    if len(np.unique(place)) < T - C or len(np.unique(key)) < n or len(np.unique(value)) < n:
        raise Said("10.1", "never")
    alike = value[:, 0] == value[:, 1]
    if far_from(alike, 1 / n):
        raise Said("10.1", "values differ" if alike.mean() < 1 / n else "values agree")


def cases_1(rng, numbers):
    def case(name, part, B, T, C, pairs, n, *looks):
        seed = int(rng.integers(2**31))

        def batch(answer, generator):
            return look_at_form(with_tasks_shut(answer, generator, B, T, C, pairs, 2 * n + 1), B, T)

        def run(answer):
            ids, targets = batch(answer, np.random.default_rng(seed))
            if "rows" in looks:
                look_at_rows(ids, C, pairs, n)
            if "targets" in looks:
                look_at_targets(ids, targets, C, pairs)
            if "draws" in looks:
                look_at_draws(ids, C, pairs, n)
            if "generator" in looks:
                again = np.random.default_rng(seed)
                if not np.array_equal(batch(answer, again)[0], ids):
                    raise Said("10.1", "own generator")
                if np.array_equal(batch(answer, again)[0], ids):
                    raise Said("10.1", "seeded anew")
            return True

        sizes = f"B = {B}, T = {T}, C = {C}, pairs = {pairs}, vocab = {2 * n + 1}"
        return Case(name, part, run, sizes)

    C = int(rng.integers(7, 10))
    many = ("three chunks and a tail", 60, 3 * C + 4, C, 3, 6)
    full = ("chunk 0 is full, each key is used", 40, 17, 6, 3, 3)
    each = ("each later place asks", 30, 12, 8, 4, 5)
    return [
        *(case(name, "the rows", *sizes, "rows") for name, *sizes in (many, full, each)),
        case("one pair, one row", "the rows", 1, 9, 4, 1, 2, "rows"),
        *(case(name, "the targets", *sizes, "targets") for name, *sizes in (many, full, each)),
        case("500 rows", "the draws", 500, 31, 6, 3, 5, "rows", "draws"),
        case("the generator", "the draws", 20, 25, 6, 3, 5, "generator"),
    ]


# ---------------------------------------------------------------- 10.2 who can solve what

MODELS = ("local only", "global only", "FLASH", "FLASH-Quad")


def draw_2(rng):
    """Two questions: one whose pair lies in its own chunk, and one that is nearer, but in another chunk."""
    C = int(rng.choice([12, 16, 24]))
    g, h = (int(x) for x in rng.choice(np.arange(1, 7), 2, replace=False))
    while h == g + 1:  # both questions are of one row: no place may hold two tokens
        g, h = (int(x) for x in rng.choice(np.arange(1, 7), 2, replace=False))
    far = ((g + 1) * C - int(rng.integers(2, 4)), (g + 1) * C + int(rng.integers(0, 3)))
    near = (h * C + int(rng.integers(0, 2)), h * C + C - 1 - int(rng.integers(0, 2)))
    A, B = (far, near) if rng.random() < 0.5 else (near, far)
    return {
        "C": C, "A: key at": A[0], "A: asked at": A[1], "B: key at": B[0], "B: asked at": B[1],
        "pairs": int(rng.integers(3, 8)), "values": int(rng.choice([16, 20, 24, 32])),
    }  # fmt: skip


def is_near(n, question):
    return n[f"{question}: key at"] // n["C"] == n[f"{question}: asked at"] // n["C"]


def answers_2(n):
    table = {}
    for model in MODELS:
        for question in "AB":
            blind = {"local only": not is_near(n, question), "global only": is_near(n, question)}
            table[f"{model}, {question}"] = "chance" if blind.get(model) else "path"
    return table | {"blind": 1 / n["values"], "whose": 1 / n["pairs"], "text, local only": 17.7,
                    "text, global only": 78}  # fmt: skip


def cases_2(rng, n):
    right = answers_2(n)

    def case(key):
        model, _, question = key.partition(", ")

        def run(answer):
            got = answer.get(key)
            if got is None:
                raise Said("all", "unanswered", key=key)
            if model in MODELS:
                if got not in ("path", "chance"):
                    raise Said("10.2", "word")
                if got != right[key]:
                    raise Said("10.2", f"{model}, {'near' if is_near(n, question) else 'far'}")
            return got

        part = model if model in MODELS else "text" if model == "text" else "numbers"
        return Case(key, part, run)

    return [case(key) for key in right]


def with_cell(model, near):
    """All right but for one cell of the table."""

    def answer(n):
        table = answers_2(n)
        key = next(f"{model}, {question}" for question in "AB" if is_near(n, question) == near)
        return table | {key: "path" if table[key] == "chance" else "chance"}

    return answer


# ---------------------------------------------------------------- 10.3 memory_accuracy, most_pairs


def memory_accuracy(S, pairs, values, rng, *, keys="unit", repeats=True, store="add", read="sum", asked="all",
                    score="share", draws="keys first"):  # fmt: skip
    """The oracle, as loops. What stands behind the star makes the wrong answers."""
    early_P = rng.integers(values, size=pairs) if draws == "values first" else None
    if draws == "signs":
        key_PS = rng.choice([-1.0, 1.0], size=(pairs, S))
    else:
        key_PS = rng.normal(size=(pairs, S))
    said_P = rng.integers(values, size=pairs) if repeats else rng.permutation(np.arange(pairs) % values)
    said_P = said_P if early_P is None else early_P
    key_PS = keys_like(key_PS, keys)
    memory_SV = np.zeros((S, values))
    for key, value in zip(key_PS, said_P):
        memory_SV[:, value] = key if store == "overwrite" else memory_SV[:, value] + key
    if store == "mean":
        memory_SV = memory_SV / np.maximum(np.bincount(said_P, minlength=values), 1)
    right = 0
    for number in range(pairs if asked == "all" else 1):
        scores = key_PS[number] @ memory_SV
        if read == "nearest key":
            best = said_P[int(np.argmax(key_PS @ key_PS[number]))]
        else:
            best = int(np.argmax(np.abs(scores) if read == "size" else scores))
        right += int(best == said_P[number])
    return right / {"share": pairs if asked == "all" else 1, "count": 1, "by values": values}[score]


def keys_like(key_PS, how):
    P, S = key_PS.shape
    if how == "as drawn":
        return key_PS
    if how == "columns":
        return key_PS / np.linalg.norm(key_PS, axis=0)
    if how == "signs":
        return np.sign(key_PS) / math.sqrt(S)
    if how == "sum":
        return key_PS / np.abs(key_PS).sum(1, keepdims=True)
    if how == "squared":
        return key_PS / (key_PS**2).sum(1, keepdims=True)
    if how == "right angles":
        return np.concatenate([np.linalg.qr(key_PS[first : first + S].T)[0].T for first in range(0, P, S)])
    return np.array([key / math.sqrt(sum(x * x for x in key)) for key in key_PS])


def most_pairs(accuracy, share, memories, limit, *, takes="mean", grow=lambda pairs: 2 * pairs, gives="last good",
               strict=False, stop=True, upto="inclusive", least=0):  # fmt: skip
    """The oracle. What stands behind the star makes the wrong answers."""
    best, pairs = least, 1
    while pairs <= limit if upto == "inclusive" else pairs < limit if upto == "exclusive" else pairs <= 4096:
        seen = [accuracy(pairs) for _ in range(1 if takes == "one" else memories)]
        score = {"mean": np.mean, "one": np.mean, "least": min, "most": max, "median": np.median}[takes](seen)
        if score < share or (strict and score == share):
            if stop:
                return pairs if gives == "first bad" else best
        else:
            best = pairs
        pairs = grow(pairs)
    return limit if gives == "the limit" else best


def too_far(accuracy, share, memories, limit):
    """Right numbers, but it measures once more before it looks at the limit."""
    pairs = 1
    while np.mean([accuracy(pairs) for _ in range(memories)]) >= share and pairs <= limit:
        pairs *= 2
    return pairs // 2


def cases_3(rng, numbers):
    def memories(name, S, pairs, values, count=12):
        seeds = [int(s) for s in rng.integers(2**31, size=count)]

        def run(answers):
            return [answers.memory_accuracy(S, pairs, values, np.random.default_rng(seed)) for seed in seeds]

        return Case(name, "memory_accuracy", run, f"{count} memories, S = {S}, pairs = {pairs}, values = {values}")

    def search(name, share, limit, *rows):
        """``rows``: what the memories of 1, 2, 4, ... pairs give, in quarters."""

        def run(answers):
            calls = {}

            def accuracy(pairs):
                if pairs > limit:
                    raise Said("10.3", "no limit")
                if pairs < 1 or math.log2(pairs) % 1:
                    raise Said("10.3", "one by one")
                if calls.setdefault(pairs, 0) > 1000 or len(calls) > 1000:
                    raise Said("10.3", "never ends")
                calls[pairs] += 1
                row = rows[min(int(math.log2(pairs)), len(rows) - 1)]
                return row[(calls[pairs] - 1) % len(row)] / 4

            return answers.most_pairs(lent(accuracy), share, len(rows[0]), limit)

        return Case(name, "most_pairs", run, f"share = {share}, memories = {len(rows[0])}, limit = {limit}")

    good, none = (4, 4, 4, 4), (0, 0, 0, 0)
    return [
        memories("twice as many pairs as S", 16, 32, 64),
        memories("more pairs than values", 12, 41, 9),
        memories("two numbers for a key", 2, 5, 7, 30),
        memories("fewer pairs than S", 24, 7, 30),
        memories("one pair", 5, 1, 3, 4),
        search("by the mean", 0.7, 64, good, (4, 2, 4, 2), (2, 4, 4, 4), (0, 3, 4, 4), none),
        search("exactly the share", 0.75, 64, good, (2, 4, 4, 2), (4, 2, 2, 3), none),
        search("up to the limit", 0.6, 8, good, good, (3, 3, 4, 3), (3, 3, 4, 2), (4, 2, 3, 4), none),
        search("a limit between two counts", 0.6, 11, good, good, good, good, good, none),
        search("not even one pair", 0.9, 32, (4, 3, 3, 3), good, none),
        search("good again later", 0.8, 64, good, good, (3, 3, 4, 2), good, none),
        search("two memories, the first one poor", 0.7, 32, (2, 4), (2, 4), (2, 4), (2, 3), (0, 0)),
    ]


# ---------------------------------------------------------------- 10.4 compare_runs

T_975 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}
T_95 = {1: 6.314, 2: 2.920, 3: 2.353, 4: 2.132, 5: 2.015, 6: 1.943, 7: 1.895, 8: 1.860, 9: 1.833}


def compare_runs(a, b, *, pairs="seeds", factor=lambda n: T_975[n - 1], ddof=1, error="mean", sign=1, rule="interval",
                 ends="low first", few="refuse", count="shared"):  # fmt: skip
    """The oracle. What stands behind the star makes the wrong answers."""
    shared = sorted(set(a) & set(b))
    if len(shared) < 2:
        if few == "refuse":
            raise ValueError("two shared seeds are needed at least")
        return (a[shared[0]] - b[shared[0]] if shared else math.nan, *(math.nan,) * 2, False)
    x, y = (np.array([runs[seed] for seed in shared]) for runs in (a, b))
    if pairs == "order":
        n = min(len(a), len(b))
        x, y = np.array([*a.values()][:n]), np.array([*b.values()][:n])
    n = len(x)
    differences = x - y
    mean, spread = sign * differences.mean(), differences.std(ddof=ddof)
    if pairs == "none":
        spread = math.sqrt(x.var(ddof=ddof) + y.var(ddof=ddof))
    if pairs == "all":
        mean = np.mean([*a.values()]) - np.mean([*b.values()])
    n = len(a) if count == "all" else n
    half = factor(n) * spread / {"mean": math.sqrt(n), "deviation": 1, "n": n, "n - 1": math.sqrt(n - 1)}[error]
    low, high = mean - half, mean + half
    settled = {
        "interval": not low <= 0 <= high, "signs": bool((differences > 0).all() or (differences < 0).all()),
        "half": bool(abs(mean) > spread), "better": bool(low > 0), "inside": bool(low <= 0 <= high),
        "lower": bool(high < 0),
    }[rule]  # fmt: skip
    if ends == "half":
        return mean, half, half, settled
    return (mean, low, high, settled) if ends == "low first" else (mean, high, low, settled)


def four(value):
    return isinstance(value, tuple | list) and len(value) == 4


def numbers_of(value):
    """The mean and the two ends, for cases that do not ask for the verdict."""
    return tuple(value[:3]) if four(value) else value


def verdict_of(value):
    return value[3] if four(value) else value


def cases_4(rng, numbers):
    def case(name, part, seeds_a, seeds_b, gap, spread=0.2, differences=None, say=None):
        base = {seed: rng.normal(3, 0.6) for seed in {*seeds_a, *seeds_b}}
        b = {int(seed): float(base[seed]) for seed in seeds_b}
        a = {int(seed): float(base[seed] + gap + spread * rng.normal()) for seed in seeds_a}
        if differences is not None:
            a = {int(seed): float(base[seed] + d) for seed, d in zip(seeds_a, differences)}
        then = verdict_of if part == "verdict" else numbers_of
        return call(name, part, a, b, sizes=f"seeds {list(a)} and {list(b)}", say=say, then=then)

    def refused(name, seeds_a, seeds_b):
        def run(answer):
            a, b = ({seed: 3.0 + seed / 10 for seed in seeds} for seeds in (seeds_a, seeds_b))
            try:
                return answer(a, b)
            except ValueError:
                return "refuses"

        return Case(name, "seeds", run, f"seeds {seeds_a} and {seeds_b}", say="one seed")

    three, n = [0, 1, 2], int(rng.integers(5, 8))
    many = [int(s) for s in rng.permutation(20)[: n + 3]]
    return [
        case("three seeds", "interval", three, three, 0.5),
        case(f"{n} seeds", "interval", many[:n], many[:n], -0.8),
        case("two seeds", "interval", [4, 7], [4, 7], 0.4),
        case("another order", "seeds", [2, 0, 1, 3], [0, 1, 3, 2], -0.6),
        case("some seeds in one of them only", "seeds", many[: n + 1], many[2:], 0.7, say="partner"),
        refused("one shared seed", [0, 1, 2], [2, 3]),
        refused("no shared seed", [0, 1], [2, 3]),
        case("a gap of 0.03, three seeds, deviation 0.02", "verdict", three, three, 0, 0, [0.01, 0.03, 0.05]),
        case("all of one sign", "verdict", three, three, 0, 0, [-0.1, -0.2, -0.9]),
        case("a settled loss", "verdict", three, three, 0, 0, [-0.8, -0.7, -0.75]),
        case("a settled gain", "verdict", three, three, 0, 0, [0.8, 0.7, 0.75]),
        case("five seeds, one of another sign", "verdict", [*range(5)], [*range(5)], 0, 0, [0.9, 0.7, 1.1, 0.8, -0.02]),
    ]


# ---------------------------------------------------------------- 10.5 an ablation that changes two things


def parameters(model):
    """Of a GAU model with a tied head."""
    D, E, S = model["D"], model["E"], model["S"]
    made = (2 * E if model["gate"] else E) + S  # u, v, base; or v, base
    unit = 2 * D + (D + 1) * made + 4 * S + 2 * model["T"] - 1 + (E + 1) * D
    return model["vocab"] * D + model["depth"] * unit + 2 * D


def ablation(config, train, rates, seeds):
    """What a missing gate costs.

    config: dict of the gated model. train(model, rate, seed): bits per byte. rates: a list. seeds: a list, at least 2.
    Returns a dict: models (gated, without gate), rates (of each), differences (a list).
    """
    gated = dict(config)
    no_gate = {**config, "gate": False, "E": 2 * config["E"]}  # the columns of the gate go into the values
    rate = min(rates, key=lambda r: train(gated, r, seeds[0]))
    differences = [train(no_gate, rate, seed) - train(gated, rate, seed) for seed in seeds]
    return {"models": (gated, no_gate), "rates": (rate, rate), "differences": differences}


def apart(config, other):
    return parameters(other) / parameters(config) - 1


def ablation_with(change=None, tune="each", counted="rest", sign=1, paired=True, trains="returned",
                  models="gated first", gives="list"):  # fmt: skip
    """A fair ablation, with something changed. ``change(config)`` gives what differs from the gated model."""

    def answer(config, train, rates, seeds):
        changed = {"E": round(config["E"] * (3 * config["D"] + 2) / (2 * config["D"] + 1))}
        gated, other = dict(config), {**config, "gate": False, **(change(config) if change else changed)}
        trained = (gated, {**config, "gate": False}) if trains == "another" else (gated, other)

        def best(models, over):
            return min(rates, key=lambda rate: sum(train(model, rate, seed) for model in models for seed in over))

        over = seeds[1:] if tune == "counted" else seeds if tune == "all" else seeds[:1]
        chosen = [best([model], over) for model in trained]
        if tune == "gated":
            chosen = [chosen[0]] * 2
        if tune == "other":
            chosen = [chosen[1]] * 2
        if tune == "together":
            chosen = [best(trained, over)] * 2
        if tune == "first":
            chosen = [rates[0]] * 2
        use = seeds if counted == "all" else seeds[:1] if counted == "tuning" else seeds[1:]
        runs = chosen[:1] * 2 if tune == "each, and not used" else chosen
        bits = [[train(model, rate, seed) for seed in use] for model, rate in zip(trained, runs)]
        if not paired:
            bits = [sorted(each) for each in bits]
        differences = [sign * (b - a) for a, b in zip(*bits)]
        turn = 1 if models == "gated first" else -1
        differences = float(np.mean(differences)) if gives == "mean" else differences
        return {"models": (gated, other)[::turn], "rates": tuple(chosen)[::turn], "differences": differences}

    return answer


def best_rate(bits, gates, rates, seeds):
    return min(rates, key=lambda rate: sum(bits[gate, rate, seed] for gate in gates for seed in seeds))


def draw_bits(rng, rates, seeds):
    """Bits of each (gate, rate, seed), such that other ways to choose the rates choose others, and seeds fall apart."""
    while True:
        bits = {(gate, rate, seed): float(rng.uniform(2.5, 4)) for gate in (True, False) for rate in rates
                for seed in seeds}  # fmt: skip

        ways = [
            tuple(best_rate(bits, [gate], rates, over) for gate in (True, False))
            for over in (seeds[:1], seeds[1:], seeds)
        ]
        both = best_rate(bits, [True, False], rates, seeds[:1])
        orders = {tuple(sorted(seeds[1:], key=lambda seed: bits[gate, rate, seed]))
                  for gate, rate in zip((True, False), ways[0])}  # fmt: skip
        mixed = len(orders) == 2 or len(seeds) == 2
        if len({*ways}) == 3 and len({*ways[0], both}) == 3 and rates[0] not in ways[0] and mixed:
            return bits


def ablation_case(rng, name, part, config, rates, seeds, *looks):
    bits = draw_bits(rng, rates, seeds)

    def run(answer):
        trained = []

        def train(model, rate, seed):
            trained.append(copy.deepcopy(model))
            return bits[bool(model["gate"]), rate, seed]

        given = copy.deepcopy((config, rates, seeds))
        result = answer(given[0], lent(train), *given[1:])
        for argument, before, now in zip((1, 3, 4), (config, rates, seeds), given):
            if before != now:
                raise Said("all", "changed", argument=argument)
        models, chosen, differences = parts_of(result)
        if all(model.get("gate") for model in models):
            raise Said("10.5", "gate left")
        if "size" in looks:
            look_at_models(config, models)
            if any(model not in models for model in trained):
                raise Said("10.5", "another model")
        if "rates" in looks:
            look_at_rates(chosen, rates, seeds, bits)
        if "differences" in looks:
            look_at_differences(differences, chosen, seeds, bits)
        return True

    few = {key: config[key] for key in ("depth", "D", "E", "S")}
    sizes = ", ".join(f"{key} = {value}" for key, value in few.items())
    return Case(name, part, run, f"{sizes}, rates {rates}, seeds {seeds}")


def parts_of(result):
    if result is None:
        raise Said("all", "none")
    if not isinstance(result, dict) or set(result) != {"models", "rates", "differences"}:
        raise Said("10.5", "form")
    two = result["models"], result["rates"]
    if not all(isinstance(each, tuple | list) and len(each) == 2 for each in two):
        raise Said("10.5", "form")
    if not all(isinstance(model, dict) for model in two[0]):
        raise Said("10.5", "form")
    if not isinstance(result["differences"], tuple | list | np.ndarray) or not np.ndim(result["differences"]):
        raise Said("10.5", "form")
    return list(two[0]), list(two[1]), list(result["differences"])


def look_at_models(config, models):
    gated, other = models
    if gated != config:
        raise Said("10.5", "gated changed")
    if set(other) != set(config):
        raise Said("10.5", "form")
    for key in ("depth", "D", "S"):
        if other[key] != config[key]:
            raise Said("10.5", key)
    if any(other[key] != config[key] for key in ("vocab", "T")):
        raise Said("10.5", "something else")
    if not isinstance(other["E"], int | np.integer):
        raise Said("10.5", "not whole")
    if abs(apart(config, other)) >= 0.01:
        known = {config["E"]: "smaller", 2 * config["E"]: "twice"}
        raise Said("10.5", known.get(other["E"], "apart" if other["E"] % config["D"] else "rounded"))


def look_at_rates(chosen, rates, seeds, bits):
    right, *flattering = (
        [best_rate(bits, [gate], rates, over) for gate in (True, False)] for over in (seeds[:1], seeds[1:], seeds)
    )
    if chosen == right:
        return
    if chosen == [right[0]] * 2:
        raise Said("10.5", "one rate")
    if chosen == [right[1]] * 2:
        raise Said("10.5", "the other's rate")
    if chosen in flattering:
        raise Said("10.5", "counted seeds")
    if chosen[0] == chosen[1]:
        raise Said("10.5", "same rate")
    raise Said("10.5", "rates")


def look_at_differences(differences, chosen, seeds, bits):
    """For the rates that the answer names, right or wrong."""

    def of(gate, rate, seed):
        if (gate, rate, seed) not in bits:
            raise Said("10.5", "rates")
        return bits[gate, rate, seed]

    by_seed = [of(False, chosen[1], seed) - of(True, chosen[0], seed) for seed in seeds]

    def same(want):
        return len(differences) == len(want) and np.allclose(np.array(differences, float), want, rtol=0, atol=1e-9)

    if same(by_seed[1:]):
        return
    if len(differences) == len(seeds):
        raise Said("10.5", "tuning seed")
    if same([-d for d in by_seed[1:]]):
        raise Said("10.5", "sign")
    if len(differences) != len(seeds) - 1:
        raise Said("10.5", "how many")
    if math.isclose(sum(map(float, differences)), sum(by_seed[1:])):
        raise Said("10.5", "not paired")
    for rate in chosen:
        if same([of(False, rate, seed) - of(True, rate, seed) for seed in seeds[1:]]):
            raise Said("10.5", "run at one rate")
    raise Said("10.5", "differences")


def draw_config(rng, depth=None, vocab=256):
    """Sizes for which no multiple of D matches."""
    while True:
        D = 16 * int(rng.integers(4, 12))
        config = {"gate": True, "vocab": vocab, "depth": depth or int(rng.integers(3, 9)), "D": D,
                  "E": int(rng.integers(D, 2 * D)), "S": 8 * int(rng.integers(3, 9)), "T": 128}  # fmt: skip
        nearest = min((D, 2 * D, 3 * D), key=lambda E: abs(apart(config, {**config, "gate": False, "E": E})))
        if abs(apart(config, {**config, "gate": False, "E": nearest})) > 0.015:
            return config


LOOKS = ("size", "rates", "differences")


def cases_5(rng, numbers):
    paper = {"gate": True, "vocab": 32_000, "depth": 22, "D": 768, "E": 1536, "S": 128, "T": 512}
    sets = [
        ("the paper's sizes", paper, [0.0004, 0.0007, 0.001, 0.002], [0, 1, 2, 3]),
        ("small sizes", draw_config(rng), [0.01, 0.004, 0.025, 0.0016, 0.06], [5, 3, 8, 1, 4]),
        ("other sizes", draw_config(rng), [0.025, 0.004, 0.01], [2, 0, 1]),
    ]
    return [ablation_case(rng, name, look, config, rates, seeds, look) for look in LOOKS
            for name, config, rates, seeds in sets]  # fmt: skip


# ---------------------------------------------------------------- 10.6 attention over chunk summaries


def weighted_far(q_GCS, k_GS, b_GG, lin_q_GCS, kv_GSE, *, sees="earlier", mask="behind", bias="row", weight="relu2",
                 mean=False, scale=1, asks="each token", question="q", reads=True):  # fmt: skip
    """The oracle, as loops. What stands behind the star makes the wrong answers."""
    G, C = q_GCS.shape[:2]
    out = np.zeros((G, C, kv_GSE.shape[2]))
    for g in range(G):
        seen = {"earlier": g, "inclusive": g + 1, "all": G, "late": max(g - 1, 0)}[sees]
        for c in range(C):
            asked = (lin_q_GCS if question == "lin_q" else q_GCS)[g, 0 if asks == "the first token" else c]
            scores = np.array([asked @ k_GS[h] / scale for h in range(G)])
            if mask == "before":
                scores[seen:] = 0
            if bias in ("row", "column"):
                scores = scores + (b_GG[g] if bias == "row" else b_GG[:, g])
            weights = weigh(scores, seen, weight) + (b_GG[g] if bias == "behind" else 0)
            if mask == "behind":
                weights[seen:] = 0
            if mean:
                weights = weights / max(seen, 1)
            total = sum(weights[h] * kv_GSE[h] for h in range(G))
            out[g, c] = lin_q_GCS[g, c] @ total if reads else asked @ total
    return out


def weigh(scores, seen, how):
    if how in ("softmax", "normalised"):
        w = np.exp(scores) if how == "softmax" else np.maximum(scores, 0) ** 2
        w[seen:] = 0
        return w / w.sum() if w.sum() else w
    positive = np.maximum(scores, 0)
    return {"relu2": positive**2, "relu": positive, "square": scores**2, "none": scores}[how]


def far_cost(t, C, S, E, *, chunks="finished", keys=True, weights=True, summaries=True, read="sum", kept_sum=False,
             first="nothing"):  # fmt: skip
    g = {"finished": t // C, "one more": t // C + 1, "exact": t / C, "one": min(t // C, 1), "by C - 1": (t + 1) // C}
    g = g[chunks]
    if g == 0:
        return 0, 0 if first == "nothing" else S * E
    kept = g * S * E + (g * S if keys else 0) if summaries else S * E
    work = (g * S if weights else 0) + (g * S * E if summaries else 0) + {"sum": S * E, "none": 0, "each": g * E}[read]
    return kept + (S * E if kept_sum else 0), work


def cases_6(rng, numbers):
    def case(name, part, G, C, S, E, bias=0.3):
        q, lin_q = rng.normal(size=(2, G, C, S))
        k, kv, b = rng.normal(size=(G, S)), rng.normal(size=(G, S, E)), rng.normal(size=(G, G)) + bias
        sizes = f"G = {G}, C = {C}, S = {S}, E = {E}"
        return call(name, part, q, k, b, lin_q, kv, of="weighted_far", sizes=sizes)

    def cost(name, t, C, S, E):
        return call(name, "far_cost", t, C, S, E, of="far_cost", sizes=f"t = {t}, C = {C}, S = {S}, E = {E}")

    C, S, E = (int(n) for n in rng.permutation(np.arange(5, 14))[:3])
    return [
        case("five chunks", "values", 5, 3, 4, 6),
        case("four chunks, large biases", "values", 4, 5, 2, 3, 2.0),
        case("one chunk: nothing to read", "edge sizes", 1, 4, 3, 5),
        case("C = 1", "edge sizes", 6, 1, 3, 2),
        cost("inside a chunk", 5 * C + 2, C, S, E),
        cost("the last token of a chunk", 4 * C - 1, C, S, E),
        cost("the first token of a chunk", 3 * C, C, S, E),
        cost("chunk 0", C - 2, C, S, E),
        cost("the paper's sizes", 8191, 256, 128, 1536),
    ]


# ---------------------------------------------------------------- 10.7 your reproduction

SPREAD = r"±|\\pm|\+\s?/?\s?[-−]|plus or minus|plus-minus"


def cases_7(rng, numbers):
    def numbers_in(text):
        if len(re.findall(rf"(?:{SPREAD})\s*\.?\d", str(text), re.IGNORECASE)) < 2:
            raise Said("all", "needs", what="two of your numbers, each with its spread, as in +0.38 ± 0.65")
        if not re.search(r"\b(table|tables)\s+[14]\b", str(text), re.IGNORECASE):
            raise Said("all", "needs", what="which table a claim stands in, as in Table 1")
        return True

    return [length_of_text(30, 100), Case("numbers", "text", numbers_in)]


MODEL_ANSWER = (
    "One claim of Table 1 holds in these runs: without its gate GAU is worse, by +0.87 ± 0.12 bits per byte, with the "
    "parameters matched. Softmax (+0.38 ± 0.65) and four heads (-0.21 ± 0.34) are not settled, and four heads even "
    "look better. Of Table 4 nothing is settled: chunks change GAU by -0.14 ± 0.38 and Transformer++ by +0.07 ± 0.27. "
    "What these runs cannot say: three seeds, 200 updates and 256 bytes show how a small model starts. The paper "
    "trains for 125,000 updates, on texts of 512 to 8192 tokens."
)

EXERCISES = exercises_of("10", {
    "10.1": dict(
        cases=cases_1, right=recall_batch,
        wrong=(
            Wrong("in chunk 0", partial(recall_batch, first="behind the pairs")),
            Wrong("key twice", partial(recall_batch, keys="repeated")),
            Wrong("one range", partial(recall_batch, ranges="one")),
            Wrong("late", partial(recall_batch, target="late")),
            Wrong("target is the key", partial(recall_batch, target="key")),
            Wrong("not -100", partial(recall_batch, nothing=0)),
            Wrong("targets in chunk 0", partial(recall_batch, targeted="all")),
            Wrong("written", partial(recall_batch, written=True)),
            Wrong("filler", partial(recall_batch, fill=True)),
            Wrong("same rows", partial(recall_batch, rows="same")),
            Wrong("same keys", partial(recall_batch, rows="same keys")),
            Wrong("same values", partial(recall_batch, rows="same values")),
            Wrong("one table", partial(recall_batch, table="fixed")),
            Wrong("law", partial(recall_batch, law="near")),
            Wrong("block", partial(recall_batch, law="block")),
            Wrong("spread", partial(recall_batch, law="spread")),
            Wrong("values agree", partial(recall_batch, values="one")),
            Wrong("same places", partial(recall_batch, law="one for all")),
            Wrong("never", partial(recall_batch, law="not the last")),
            Wrong("never", partial(recall_batch, law="no tail")),
            Wrong("in order", partial(recall_batch, order="pairs")),
            Wrong("by id", partial(recall_batch, order="keys")), Wrong("by id", partial(recall_batch, order="values")),
            Wrong("keys sorted", partial(recall_batch, keys="sorted")),
            Wrong("values sorted", partial(recall_batch, values="sorted")),
            Wrong("form", lambda *args: tuple(array.astype(float) for array in recall_batch(*args))),
            Wrong("values differ", partial(recall_batch, values="different")),
            Wrong("own generator", partial(recall_batch, generator="own")),
            Wrong("seeded anew", partial(recall_batch, generator="seeded")),
        ),
    ),
    "10.2": dict(
        cases=cases_2, right=answers_2, draw=draw_2, tolerance=0.001,
        wrong=(
            *(Wrong(f"{model}, {'near' if near else 'far'}", with_cell(model, near)) for model in MODELS
              for near in (True, False)),
            Wrong("blind: pairs", lambda n: 1 / n["pairs"], of="blind"),
            Wrong("blind: zero", lambda n: 0, of="blind"),
            Wrong("whose: values", lambda n: 1 / n["values"], of="whose"),
            Wrong("whose: one", lambda n: 1, of="whose"),
            Wrong("text: FLASH's", lambda n: 15.5, of="text, local only"),
            Wrong("text: swapped", lambda n: 78, of="text, local only"),
            Wrong("text: FLASH's", lambda n: 15.5, of="text, global only"),
            Wrong("text: swapped", lambda n: 17.7, of="text, global only"),
        ),
    ),
    "10.3": dict(
        cases=cases_3, right={"memory_accuracy": memory_accuracy, "most_pairs": most_pairs},
        wrong=(
            Wrong("as drawn", partial(memory_accuracy, keys="as drawn"), of="memory_accuracy"),
            Wrong("columns", partial(memory_accuracy, keys="columns"), of="memory_accuracy"),
            Wrong("signs", partial(memory_accuracy, keys="signs"), of="memory_accuracy"),
            Wrong("not the root", partial(memory_accuracy, keys="squared"), of="memory_accuracy"),
            Wrong("sum of sizes", partial(memory_accuracy, keys="sum"), of="memory_accuracy"),
            Wrong("right angles", partial(memory_accuracy, keys="right angles"), of="memory_accuracy"),
            Wrong("nearest key", partial(memory_accuracy, read="nearest key"), of="memory_accuracy"),
            Wrong("without sign", partial(memory_accuracy, read="size"), of="memory_accuracy"),
            Wrong("overwritten", partial(memory_accuracy, store="overwrite"), of="memory_accuracy"),
            Wrong("mean", partial(memory_accuracy, store="mean"), of="memory_accuracy"),
            Wrong("first pair", partial(memory_accuracy, asked="first"), of="memory_accuracy"),
            Wrong("no repeats", partial(memory_accuracy, repeats=False), of="memory_accuracy"),
            Wrong("other draws", partial(memory_accuracy, draws="values first"), of="memory_accuracy"),
            Wrong("other draws", partial(memory_accuracy, draws="signs"), of="memory_accuracy"),
            Wrong("count", partial(memory_accuracy, score="count"), of="memory_accuracy"),
            Wrong("over values", partial(memory_accuracy, score="by values"), of="memory_accuracy"),
            Wrong("one memory", partial(most_pairs, takes="one"), of="most_pairs"),
            Wrong("the least", partial(most_pairs, takes="least"), of="most_pairs"),
            Wrong("the most", partial(most_pairs, takes="most"), of="most_pairs"),
            Wrong("median", partial(most_pairs, takes="median"), of="most_pairs"),
            Wrong("one by one", partial(most_pairs, grow=lambda pairs: pairs + 1), of="most_pairs"),
            Wrong("first that fails", partial(most_pairs, gives="first bad"), of="most_pairs"),
            Wrong("the limit", partial(most_pairs, gives="the limit"), of="most_pairs"),
            Wrong("strict", partial(most_pairs, strict=True), of="most_pairs"),
            Wrong("goes on", partial(most_pairs, stop=False), of="most_pairs"),
            Wrong("below the limit", partial(most_pairs, upto="exclusive"), of="most_pairs"),
            Wrong("no limit", partial(most_pairs, upto="none"), of="most_pairs"),
            Wrong("no limit", too_far, of="most_pairs"),
            Wrong("never none", partial(most_pairs, least=1), of="most_pairs"),
        ),
    ),
    "10.4": dict(
        cases=cases_4, right=compare_runs, tolerance=2e-4,
        wrong=(
            Wrong("deviation", partial(compare_runs, error="deviation")),
            Wrong("over n", partial(compare_runs, error="n")), Wrong("n", partial(compare_runs, ddof=0)),
            Wrong("twice n - 1", partial(compare_runs, error="n - 1")),
            Wrong("unpaired", partial(compare_runs, pairs="none")),
            Wrong("1.96", partial(compare_runs, factor=lambda n: 1.96)),
            Wrong("one-sided", partial(compare_runs, factor=lambda n: T_95[n - 1])),
            Wrong("degrees", partial(compare_runs, factor=lambda n: T_975[n])),
            Wrong("always 4.30", partial(compare_runs, factor=lambda n: 4.303)),
            Wrong("sign", partial(compare_runs, sign=-1)), Wrong("order", partial(compare_runs, pairs="order")),
            Wrong("all seeds", partial(compare_runs, pairs="all")),
            Wrong("partner", partial(compare_runs, count="all")),
            Wrong("one seed", partial(compare_runs, few="nan")),
            Wrong("signs", partial(compare_runs, rule="signs")),
            Wrong("one spread", partial(compare_runs, rule="half")),
            Wrong("one way", partial(compare_runs, rule="better")),
            Wrong("one way", partial(compare_runs, rule="lower")),
            Wrong("turned round", partial(compare_runs, rule="inside")),
            Wrong("high first", partial(compare_runs, ends="high first")),
            Wrong("half twice", partial(compare_runs, ends="half")),
        ),
    ),
    "10.5": dict(
        cases=cases_5, right=ablation_with(), given=ablation,
        wrong=(
            Wrong("smaller", ablation_with(lambda c: {})), Wrong("twice", ablation_with(lambda c: {"E": 2 * c["E"]})),
            Wrong("rounded", ablation_with(lambda c: {"E": 3 * c["D"]})),
            Wrong("rounded", ablation_with(lambda c: {"E": round(1.5 * c["E"] / c["D"]) * c["D"]})),
            Wrong("depth", ablation_with(lambda c: {"depth": round(1.5 * c["depth"])})),
            Wrong("D", ablation_with(lambda c: {"D": round(1.2 * c["D"])})),
            Wrong("S", ablation_with(lambda c: {"S": c["S"] + c["E"]})),
            Wrong("not whole", ablation_with(lambda c: {"E": 1.5 * c["E"]})),
            Wrong("gate left", ablation_with(lambda c: {"gate": True})),
            Wrong("another model", ablation_with(trains="another")),
            Wrong("one rate", ablation_with(tune="gated")), Wrong("the other's rate", ablation_with(tune="other")),
            Wrong("same rate", ablation_with(tune="together")), Wrong("same rate", ablation_with(tune="first")),
            Wrong("counted seeds", ablation_with(tune="counted")), Wrong("counted seeds", ablation_with(tune="all")),
            Wrong("tuning seed", ablation_with(counted="all")), Wrong("sign", ablation_with(sign=-1)),
            Wrong("not paired", ablation_with(paired=False)), Wrong("how many", ablation_with(counted="tuning")),
            Wrong("run at one rate", ablation_with(tune="each, and not used")),
            Wrong("gated changed", ablation_with(models="other first")),
            Wrong("form", ablation_with(gives="mean")),
        ),
    ),
    "10.6": dict(
        cases=cases_6, right={"weighted_far": weighted_far, "far_cost": far_cost},
        wrong=(
            Wrong("inclusive", partial(weighted_far, sees="inclusive"), of="weighted_far"),
            Wrong("no mask", partial(weighted_far, sees="all"), of="weighted_far"),
            Wrong("late", partial(weighted_far, sees="late"), of="weighted_far"),
            Wrong("mask before", partial(weighted_far, mask="before"), of="weighted_far"),
            Wrong("softmax", partial(weighted_far, weight="softmax"), of="weighted_far"),
            Wrong("normalised", partial(weighted_far, weight="normalised"), of="weighted_far"),
            Wrong("relu", partial(weighted_far, weight="relu"), of="weighted_far"),
            Wrong("no relu", partial(weighted_far, weight="square"), of="weighted_far"),
            Wrong("scores", partial(weighted_far, weight="none"), of="weighted_far"),
            Wrong("transposed", partial(weighted_far, bias="column"), of="weighted_far"),
            Wrong("no bias", partial(weighted_far, bias="none"), of="weighted_far"),
            Wrong("bias behind", partial(weighted_far, bias="behind"), of="weighted_far"),
            Wrong("mean", partial(weighted_far, mean=True), of="weighted_far"),
            Wrong("scaled", lambda q, k, b, lin_q, kv: weighted_far(q, k, b, lin_q, kv, scale=k.shape[1]),
                  of="weighted_far"),
            Wrong("scaled", lambda q, k, b, lin_q, kv: weighted_far(q, k, b, lin_q, kv, scale=k.shape[1] ** 0.5),
                  of="weighted_far"),
            Wrong("first token", partial(weighted_far, asks="the first token"), of="weighted_far"),
            Wrong("lin_q asks", partial(weighted_far, question="lin_q"), of="weighted_far"),
            Wrong("q reads", partial(weighted_far, reads=False), of="weighted_far"),
            Wrong("no T / C", partial(far_cost, chunks="one"), of="far_cost"),
            Wrong("no T / C", partial(far_cost, summaries=False, keys=False, weights=False), of="far_cost"),
            Wrong("own chunk", partial(far_cost, chunks="one more"), of="far_cost"),
            Wrong("folded early", partial(far_cost, chunks="by C - 1"), of="far_cost"),
            Wrong("not whole", partial(far_cost, chunks="exact"), of="far_cost"),
            Wrong("no keys", partial(far_cost, keys=False), of="far_cost"),
            Wrong("no weights", partial(far_cost, weights=False), of="far_cost"),
            Wrong("no read", partial(far_cost, read="none"), of="far_cost"),
            Wrong("other order", partial(far_cost, read="each"), of="far_cost"),
            Wrong("sum kept", partial(far_cost, kept_sum=True), of="far_cost"),
            Wrong("chunk 0", partial(far_cost, first="reads"), of="far_cost"),
        ),
    ),
    "10.7": dict(
        cases=cases_7,
    ),
})  # fmt: skip
