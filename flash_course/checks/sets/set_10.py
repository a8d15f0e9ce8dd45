"""Problem set 10, ablations: cases and the oracle; the right answers lie in ``solutions``."""

import copy
import itertools
import math
from statistics import fmean, stdev

import numpy as np

from ...bench import tasks
from ..closed_book import also_shut
from ..compare import as_word, is_sequence
from ..examples import example
from ..exercise import (
    Case,
    asked,
    call,
    given_back,
    lent,
    predicted,
    reject,
    reject_if,
    several,
    values_at,
)
from ..sizes import grown


# ---------------------------------------------------------------- 10.1 recall_batch
def recall_batch(rng, B, T, C, pairs, vocab):
    n, row = (vocab - 1) // 2, np.arange(B)[:, None]
    key = 1 + choose(rng, B, n, pairs)
    value = n + 1 + rng.integers(n, size=(B, pairs))
    place = C + choose(rng, B, T - C, pairs)
    ids, targets = np.zeros((B, T), np.int64), np.full((B, T), -100, np.int64)
    ids[:, 0 : 2 * pairs : 2], ids[:, 1 : 2 * pairs : 2] = key, value
    ids[row, place] = key
    targets[row, place] = value
    return ids, targets


def choose(rng, B, n, k):
    """For each row k different numbers of 0 to n - 1, in random order."""
    return rng.random((B, n)).argsort(1)[:, :k]


def look_at_form(batch, B, T):
    batch = several(batch, 2)
    whole = [
        isinstance(array, np.ndarray) and array.shape == (B, T) and array.dtype.kind in "iu"
        for array in batch
    ]
    reject_if(not all(whole), "10.1", "form")
    return [array.astype(np.int64) for array in batch]  # unsigned ids have no difference below 0


def the_rows(ids, targets, C, pairs, n):
    """What may be wrong with the ids."""
    key, value, later = ids[:, 0 : 2 * pairs : 2], ids[:, 1 : 2 * pairs : 2], ids[:, C:]
    asks = later[:, :, None] == key[:, None]
    yield "pairs first", (ids[:, : 2 * pairs] == 0).any()
    yield (
        "one range",
        (key < 1).any() or (key > n).any() or (value <= n).any() or (value > 2 * n).any(),
    )
    yield "key twice", (np.diff(np.sort(key, 1), axis=1) == 0).any()
    yield "in chunk 0", ids[:, 2 * pairs : C].any()
    yield "written", (later > n).any()
    yield "filler", ((later != 0) & ~asks.any(2)).any()
    yield "asked once", (asks.sum(1) != 1).any()


def the_targets(ids, targets, C, pairs, n):
    """What may be wrong with the targets, whatever the ids are."""
    found = ids[:, :, None] == ids[:, None, 0 : 2 * pairs : 2]
    asks = found.any(2) & (np.arange(ids.shape[1]) >= 2 * pairs)
    want = np.where(asks, np.take_along_axis(ids[:, 1 : 2 * pairs : 2], found.argmax(2), 1), -100)
    if (targets == want).all():
        return
    yield "not -100", not (targets == -100).any()
    yield "targets in chunk 0", (targets[:, : 2 * pairs] != -100).any()
    yield "late", (targets[:, 1:] == want[:, :-1]).all()
    yield "target is the key", (targets[asks] == ids[asks]).all()
    yield "targets", True


def tells(known, other):
    """Whether one number of each row gives away another one."""
    return all(len(np.unique(other[known == each])) < 2 for each in np.unique(known))


def hang_together(a, b, expected):
    """Whether the joint table of two draws is not as ``expected`` (shares), by chi squared and ten deviations."""
    table = np.zeros(expected.shape)
    np.add.at(table, (a, b), 1)
    seen = expected > 0
    expected = expected[seen] * table.sum()
    found = ((table[seen] - expected) ** 2 / expected).sum()
    free = seen.sum() - 1
    return found > free + 10 * math.sqrt(2 * free)


def the_draws(ids, targets, C, pairs, n):
    """A law that the draws may follow and should not; chance alone would need six deviations."""
    (B, T), key, value = ids.shape, ids[:, 0 : 2 * pairs : 2], ids[:, 1 : 2 * pairs : 2]
    place = (ids[:, C:, None] == key[:, None]).argmax(1)  # of each pair's question, from C on

    def far_from(share, expected):
        return abs(share.mean() - expected) > 6 * math.sqrt(expected * (1 - expected) / len(share))

    yield "same rows", (ids[:, : 2 * pairs] == ids[0, : 2 * pairs]).all()
    yield "same keys", pairs < n and (np.sort(key, 1) == np.sort(key[0])).all()
    yield "same values", (value == value[0]).all()
    yield "one table", any(map(tells, key.T, value.T))
    yield "by place", any(map(tells, place.T, value.T)) or any(map(tells, place.T, key.T))
    yield "same places", (np.sort(place, 1) == np.sort(place[0])).all()
    yield "law", abs(place.mean() - (T - C - 1) / 2) > 6 * (T - C) / math.sqrt(12 * B * pairs)
    yield (
        "block",
        far_from(np.ptp(place, axis=1) == pairs - 1, (T - C - pairs + 1) / math.comb(T - C, pairs)),
    )
    one_chunk = sum(size * (size - 1) for size in np.bincount(np.arange(T - C) // C)) / (
        (T - C) * (T - C - 1)
    )
    keys, values, places = (x.ravel() for x in (key - 1, value - n - 1, place))
    # before what tells of two pairs: uneven values agree too often, and values that follow keys too seldom
    shares = np.bincount(values, minlength=n) / values.size
    yield "uneven values", (abs(shares - 1 / n) > 6 * math.sqrt((1 - 1 / n) / n / B)).any()
    of_keys = np.bincount(keys, minlength=n) / keys.size
    yield "hang together", hang_together(keys, values, np.outer(of_keys, np.full(n, 1 / n)))
    two = [*itertools.combinations(range(pairs), 2)]
    for i, j in two:
        early, differ = place[:, i] < place[:, j], value[:, i] != value[:, j]
        small_key, small_value = key[:, i] < key[:, j], (value[:, i] < value[:, j])[differ]
        yield "by id", far_from(small_key == early, 0.5)
        yield "by id", differ.any() and far_from(small_value == early[differ], 0.5)
        yield "in order", far_from(early, 0.5)
        yield "keys sorted", far_from(small_key, 0.5)
        yield "values sorted", differ.any() and far_from(small_value, 0.5)
        yield "values differ", (~differ).mean() < 1 / n and far_from(~differ, 1 / n)
        yield "values agree", far_from(~differ, 1 / n)
    yield "spread", any(far_from(place[:, i] // C == place[:, j] // C, one_chunk) for i, j in two)
    yield (
        "never",
        len(np.unique(place)) < T - C or len(np.unique(key)) < n or len(np.unique(value)) < n,
    )
    yield (
        "uneven places",
        any(far_from((place == each).any(1), pairs / (T - C)) for each in range(T - C)),
    )
    yield "uneven keys", any(far_from((key == each).any(1), pairs / n) for each in range(1, n + 1))
    yield (
        "uneven values",
        any(far_from(value.ravel() == n + each, 1 / n) for each in range(1, n + 1)),
    )
    even = np.full((n, n), 1 / n**2)
    yield "hang together", hang_together(keys, values, even)
    for other in (keys, values):
        yield "hang together", hang_together(places, other, np.full((T - C, n), 1 / (T - C) / n))
    first, second = ([x[:, each].ravel() for x in (key - 1, value - n - 1)] for each in zip(*two))
    yield "hang together", hang_together(first[0], second[0], (1 - np.eye(n)) / n / (n - 1))
    yield "hang together", hang_together(first[1], second[1], even)
    known = np.concatenate([key, value], axis=1)
    twice = 1 - len(np.unique(known, axis=0)) / B
    sets = math.perm(n, pairs) * n**pairs
    by_chance = (B - 1) / 2 / sets
    yield "rows again", twice > by_chance + 10 * math.sqrt(by_chance / B)


def cases_1(rng, numbers):
    def case(name, part, sizes, *looks):
        B, T, C, pairs, n = sizes
        seed = int(rng.integers(2**31))

        def batch(answer, generator):
            with also_shut(tasks):
                return look_at_form(answer(generator, B, T, C, pairs, 2 * n + 1), B, T)

        def run(answer):
            ids, targets = batch(answer, np.random.default_rng(seed))
            reject("10.1", itertools.chain(*(look(ids, targets, C, pairs, n) for look in looks)))
            if not looks:
                one, two = (batch(answer, again)[0] for again in [np.random.default_rng(seed)] * 2)
                reject(
                    "10.1",
                    [("own generator", (one != ids).any()), ("seeded anew", (two == ids).all())],
                )

        return Case(name, part, run, f"{B = }, {T = }, {C = }, {pairs = }, vocab = {2 * n + 1}")

    def batches():
        """{name: (B, T, C, pairs, n)}, drawn anew at each call."""
        C, (B, T, pairs), (rows,) = (
            int(rng.integers(7, 10)),
            grown(rng, 40, 17, 4),
            grown(rng, 500, more=40),
        )
        return {
            "three chunks and a tail": (B + 20, 3 * C + 4, C, 3, 6),
            "chunk 0 is full, each key is used": (B, T, 6, 3, 3),
            "each later place asks": (B - 10, 3 * pairs, 2 * pairs, pairs, pairs + 1),
            "one pair, one row": (1, T - 8, 4, 1, 2),
            "many rows": (rows, 5 * (C - 1) + 1, C - 1, 3, 5),
            "the generator": (B - 20, T + 8, 6, 3, 5),
        }

    one = [*batches().items()]
    two = [*batches().items()]
    rest = batches()
    yield from (case(name, "the rows", sizes, the_rows) for name, sizes in one[:4])
    yield from (case(name, "the targets", sizes, the_targets) for name, sizes in two[:3])
    yield case("many rows", "the draws", rest["many rows"], the_rows, the_draws)
    yield case("the generator", "the draws", rest["the generator"])


# ---------------------------------------------------------------- 10.2 who can solve what
def draw_2(rng):
    """Two questions: one whose pair lies in its own chunk, and one that is nearer, but in another chunk."""
    C = int(rng.choice([12, 16, 24]))
    g = h = 0
    while h in (g, g + 1):  # both questions are of one row: no place may hold two tokens
        g, h = (int(x) for x in rng.choice(np.arange(1, 7), 2, replace=False))
    far = ((g + 1) * C - int(rng.integers(2, 4)), (g + 1) * C + int(rng.integers(0, 3)))
    near = (h * C + int(rng.integers(0, 2)), h * C + C - 1 - int(rng.integers(0, 2)))
    A, B = (far, near) if rng.random() < 0.5 else (near, far)
    return {
        "C": C,
        "A: key at": A[0],
        "A: asked at": A[1],
        "B: key at": B[0],
        "B: asked at": B[1],
        "pairs": int(rng.integers(3, 8)),
        "values": int(rng.choice([16, 20, 24, 32])),
    }


def is_near(n, question):
    return n[f"{question}: key at"] // n["C"] == n[f"{question}: asked at"] // n["C"]


def right_2(n):
    table = {}
    for question in "AB":
        near = is_near(n, question)
        reads = {"local only": near, "global only": not near, "FLASH": True, "FLASH-Quad": True}
        table |= {
            f"{model}, {question}": "path" if path else "chance" for model, path in reads.items()
        }
    table |= {"blind": 1 / n["values"], "whose": 1 / n["pairs"]}
    return table | {"text, local only": 17.7, "text, global only": 78}


def cases_2(rng, n):
    right = right_2(n)

    def case(key):
        model, _, question = key.partition(", ")

        def look(got):
            got = as_word(got)
            if question in ("A", "B"):
                where = "near" if is_near(n, question) else "far"
                cell = f"{model}, {where}"
                reject("10.2", [("word", got not in ("path", "chance")), (cell, got != right[key])])
            return got

        part = model if question else "numbers"
        return predicted(key, part, then=look)

    return [case(key) for key in right]


# ---------------------------------------------------------------- 10.3 memory_accuracy, most_pairs
def memory_accuracy(S, pairs, values, rng):
    key_PS, said_P = rng.normal(size=(pairs, S)), rng.integers(values, size=pairs)
    length_P1 = np.sqrt((key_PS**2).sum(1, keepdims=True))
    key_PS, memory_SV = key_PS / length_P1, np.zeros((S, values))
    for key, value in zip(key_PS, said_P):
        memory_SV[:, value] += key
    read_P = (key_PS @ memory_SV).argmax(1)
    return sum(read_P == said_P) / pairs


def most_pairs(accuracy, share, memories, limit):
    best, pairs = 0, 1
    while pairs <= limit:
        if np.mean([accuracy(pairs) for _ in range(memories)]) < share:
            break
        best, pairs = pairs, 2 * pairs
    return best


def zero_wins(S, pairs, values, rng):
    """Whether all pairs have one value, and to some key all of them together are opposed."""
    keys = rng.standard_normal((pairs, S))
    said = rng.integers(0, values, pairs)
    together = sum(key / np.linalg.norm(key) for key in keys)
    return len({*said.tolist()}) == 1 and (keys @ together).min() < -0.1


def memory_case(name, S, pairs, values, seeds):
    """The share that a memory of these sizes gets right, once for each seed."""

    def run(answers):
        return [
            answers.memory_accuracy(S, pairs, values, np.random.default_rng(seed)) for seed in seeds
        ]

    sizes = f"{len(seeds)} memories, {S = }, {pairs = }, {values = }"
    return Case(name, "memory_accuracy", run, sizes)


def memories(rng, name, S, pairs, values, count=12):
    S, pairs, values = grown(rng, S, pairs, values)
    return memory_case(name, S, pairs, values, rng.integers(2**31, size=count).tolist())


def never_stored(rng, name, values, count=4):
    """Memories in which a value that no key has wins over the right one, whose score is negative, too."""
    S, pairs, values = 2, 3, values + int(rng.integers(3))
    seeds = []
    while len(seeds) < count:
        seed = int(rng.integers(2**31))
        if zero_wins(S, pairs, values, np.random.default_rng(seed)):
            seeds.append(seed)
    return memory_case(name, S, pairs, values, seeds)


def watched_accuracy(rows, limit, calls):
    """An accuracy that gives ``rows``, counts in ``calls`` how often each number of pairs was asked for, and refuses
    what a search by doubling never asks for."""

    def accuracy(pairs):
        call_number = calls[pairs] = calls.get(pairs, -1) + 1
        found = {"no limit": pairs > limit, "one by one": pairs < 1 or math.log2(pairs) % 1}
        reject("10.3", [*found.items(), ("never ends", call_number > 1000)])
        row = rows[min(int(math.log2(pairs)), len(rows) - 1)]
        return row[call_number % len(row)] / 4

    return accuracy


def doubled(rows, share, limit):
    """The numbers of pairs that a search tries, and the largest that is good enough."""
    poor = next(n for n, row in enumerate(rows) if sum(row) / 4 / len(row) < share)
    tried = [2**n for n in range(poor + 1) if 2**n <= limit]
    return tried, max((n for n in tried if n < 2**poor), default=0)


def search(rng, name, share, limit, *rows):
    """``rows``: what the memories of 1, 2, 4, ... pairs give, in quarters; each as often as is drawn."""
    times, share = int(rng.integers(1, 6)), share - int(rng.integers(2)) / 100 * (share != 0.75)
    rows = [row * times for row in rows]
    count = len(rows[0])
    tried, best = doubled(rows, share, limit)

    def run(answers):
        calls = {}
        accuracy = watched_accuracy(rows, limit, calls)
        found = answers.most_pairs(lent(accuracy), share, count, limit)
        if found == best:  # of another number the value tells more
            reject_if(max(calls.values()) >= count, "10.3", "more memories")
            reject_if(max(calls) > tried[-1], "10.3", "measures on")
        return found

    return Case(name, "most_pairs", run, f"{share = }, memories = {count}, {limit = }")


def cases_3(rng, numbers):
    good, none = (4, 4, 4, 4), (0, 0, 0, 0)
    yield memories(rng, "twice as many pairs as S", 16, 32, 64)
    yield memories(rng, "more pairs than values", 12, 41, 9)
    yield memories(rng, "two numbers for a key", 2, 5, 7, 30)
    yield memories(rng, "fewer pairs than S", 24, 7, 30)
    yield memories(rng, "one pair", 5, 1, 3, 4)
    yield never_stored(rng, "all pairs have one value", 2)
    mean = good, (4, 2, 4, 2), (2, 4, 4, 4), (0, 3, 4, 4), none
    yield search(rng, "by the mean", 0.7, 64, *mean)
    exact = good, (2, 4, 4, 2), (4, 2, 2, 3), none
    yield search(rng, "exactly the share", 0.75, 64, *exact)
    limited = good, good, (3, 3, 4, 3), (3, 3, 4, 2), (4, 2, 3, 4), none
    yield search(rng, "up to the limit", 0.6, 8, *limited)
    yield search(rng, "a limit between two counts", 0.6, 11, good, good, good, good, good, none)
    yield search(rng, "not even one pair", 0.9, 32, (4, 3, 3, 3), good, none)
    yield search(rng, "good again later", 0.8, 64, good, good, (3, 3, 4, 2), good, none)
    few = (2, 4), (2, 4), (2, 4), (2, 3), (0, 0)
    yield search(rng, "two memories, the first one poor", 0.7, 32, *few)


# ---------------------------------------------------------------- 10.4 compare_runs
T_975 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}
# for one side
T_95 = {
    1: 6.314,
    2: 2.920,
    3: 2.353,
    4: 2.132,
    5: 2.015,
    6: 1.943,
    7: 1.895,
    8: 1.860,
    9: 1.833,
}


def compare_runs(a, b):
    shared = a.keys() & b.keys()
    if len(shared) < 2:
        raise ValueError("too few shared seeds")
    d, n = [a[seed] - b[seed] for seed in shared], len(shared)
    mean = fmean(d)
    spread = stdev(d)
    half = T_975[n - 1] * spread / math.sqrt(n)
    low = mean - half
    high = mean + half
    return mean, low, high, not low <= 0 <= high


def cases_4(rng, numbers):
    def case(name, part, seeds_a, seeds_b, gap, spread=0.2, differences=None, say=None):
        base = {seed: float(rng.normal(3, 0.6)) for seed in {*seeds_a, *seeds_b}}
        drawn = [gap + spread * rng.normal() for _ in seeds_a]
        a = {seed: float(base[seed] + d) for seed, d in zip(seeds_a, differences or drawn)}
        b = {seed: base[seed] for seed in seeds_b}
        # the verdict, or the mean and the two ends
        looked_at = 3 if part == "verdict" else slice(3)
        then = values_at(looked_at, 4)
        return call(name, part, a, b, sizes=f"seeds {list(a)} and {list(b)}", say=say, then=then)

    def refused(name, seeds_a, seeds_b):
        def run(answer):
            try:
                return answer(
                    *({seed: 3.0 + seed / 10 for seed in seeds} for seeds in (seeds_a, seeds_b))
                )
            except ValueError:
                return "refuses"

        return Case(name, "seeds", run, f"seeds {seeds_a} and {seeds_b}", say="one seed")

    three = rng.permutation(30)[:3].tolist()
    five = [*range(5)]
    n = int(rng.integers(5, 8))
    many = [int(s) for s in rng.permutation(20)[: n + 3]]
    yield case("three seeds", "interval", three, three, 0.5)
    yield case(f"{n} seeds", "interval", many[:n], many[:n], -0.8)
    yield case("two seeds", "interval", three[:2], three[:2], 0.4)
    yield case("another order", "seeds", [2, 0, 1, 3], [0, 1, 3, 2], -0.6, say="order")
    yield case(
        "some seeds in one of them only", "seeds", many[: n + 1], many[2:], 0.7, say="partner"
    )
    yield refused("one shared seed", [0, 1, 2], [2, 3])
    yield refused("no shared seed", [0, 1], [2, 3])
    yield case(
        "a gap of 0.03, three seeds, deviation 0.02",
        "verdict",
        three,
        three,
        0,
        0,
        [0.01, 0.03, 0.05],
    )
    yield case("all of one sign", "verdict", three, three, 0, 0, [-0.1, -0.2, -0.9])
    yield case("a settled loss", "verdict", three, three, 0, 0, [-0.8, -0.7, -0.75])
    yield case("a settled gain", "verdict", three, three, 0, 0, [0.8, 0.7, 0.75])
    yield case(
        "five seeds, one of another sign", "verdict", five, five, 0, 0, [0.9, 0.7, 1.1, 0.8, -0.02]
    )


def example_4():
    yield example("10.4", "compare_runs", a={0: 3.0, 1: 5.0, 2: 4.0}, b={0: 2.0, 1: 2.0, 2: 2.0})


# ---------------------------------------------------------------- 10.5 an ablation that changes two things
def parameters(model):
    """Of a GAU model with a tied head."""
    D, E, S = model["D"], model["E"], model["S"]
    made = (2 * E if model["gate"] else E) + S  # u, v, base; or v, base
    unit = 2 * D + (D + 1) * made + 4 * S + 2 * model["T"] - 1 + (E + 1) * D
    return model["vocab"] * D + model["depth"] * unit + 2 * D


def given_5(config, train, rates, seeds):
    """As the notebook gives it."""
    gated = dict(config)
    # the columns of the gate go into the values
    no_gate = {
        **config,
        "gate": False,
        "E": 2 * config["E"],
    }
    rate = min(rates, key=lambda r: train(gated, r, seeds[0]))
    differences = [train(no_gate, rate, seed) - train(gated, rate, seed) for seed in seeds]
    return {"models": (gated, no_gate), "rates": (rate, rate), "differences": differences}


def apart(config, other):
    return abs(parameters(other) / parameters(config) - 1)


def ablation(config, train, rates, seeds):
    D, E = config["D"], config["E"]
    wide = round(E * (3 * D + 2) / (2 * D + 1))
    models = [dict(config), {**config, "gate": False, "E": wide}]
    chosen = [min(rates, key=lambda rate: train(model, rate, seeds[0])) for model in models]
    bits = [[train(model, rate, seed) for seed in seeds[1:]] for model, rate in zip(models, chosen)]
    return {"models": models, "rates": chosen, "differences": [b - a for a, b in zip(*bits)]}


def best_rates(bits, rates, seeds):
    """Of the gated model, and of the one without a gate."""
    return [
        min(rates, key=lambda rate: sum(bits[gate, rate, seed] for seed in seeds))
        for gate in (True, False)
    ]


def draw_bits(rng, rates, seeds):
    """Bits of each (gate, rate, seed), such that other ways to choose the rates choose others, and seeds fall apart."""
    while True:
        bits = {
            key: float(rng.uniform(2.5, 4))
            for key in itertools.product((True, False), rates, seeds)
        }
        ways = [tuple(best_rates(bits, rates, over)) for over in (seeds[:1], seeds[1:], seeds)]
        both = min(rates, key=lambda rate: bits[True, rate, seeds[0]] + bits[False, rate, seeds[0]])
        first, second = (
            sorted(seeds[1:], key=lambda s: bits[g, rate, s])
            for g, rate in zip((True, False), ways[0])
        )
        mixed = first != second or len(seeds) == 2
        two_each = all(one != other for one, other in ways)  # or a way looks like one rate for both
        told = len({*ways}) == 3 and len({*ways[0], both}) == 3 and rates[0] not in ways[0]
        if told and mixed and two_each:
            return bits


def ablation_case(rng, name, look, config, rates, seeds):
    """An ablation, looked at for one of its parts."""
    bits = draw_bits(rng, rates, seeds)

    def run(answer):
        trained = []

        def train(model, rate, seed):
            trained.append(copy.deepcopy(model))
            reject_if(rate not in rates, "10.5", "no such rate", got=repr(rate)[:30])
            reject_if(seed not in seeds, "10.5", "no such seed", got=repr(seed)[:30])
            return bits[bool(model.get("gate")), rate, seed]

        result = given_back(asked(answer, config, lent(train), rates, seeds))
        reject_if(not has_form(result), "10.5", "form")
        models, chosen, differences = (
            list(result[key]) for key in ("models", "rates", "differences")
        )
        reject_if(all(model.get("gate") for model in models), "10.5", "gate left")
        found = {
            "size": the_models(config, models, trained),
            "rates": the_rates(chosen, rates, seeds, bits),
            "differences": the_differences(differences, chosen, seeds, bits),
        }
        reject("10.5", found[look])
        return True

    sizes = ", ".join(f"{key} = {config[key]}" for key in ("depth", "D", "E", "S"))
    return Case(name, look, run, f"{sizes}, rates {rates}, seeds {seeds}")


def has_form(result):
    if not isinstance(result, dict) or set(result) != {"models", "rates", "differences"}:
        return False
    two = (
        all(map(is_sequence, result.values()))
        and len(result["models"]) == len(result["rates"]) == 2
    )
    return two and all(isinstance(model, dict) for model in result["models"])


def the_models(config, models, trained):
    gated, other = models
    yield "gated changed", gated != config
    yield "form", set(other) != set(config)
    yield from ((key, other[key] != config[key]) for key in ("depth", "D", "S"))
    yield "something else", any(other[key] != config[key] for key in ("vocab", "T"))
    yield "not whole", not isinstance(other["E"], int | np.integer)
    known = {config["E"]: "smaller", 2 * config["E"]: "twice"}
    unnamed = "apart" if other["E"] % config["D"] else "rounded"
    key = known.get(other["E"], unnamed)
    yield key, apart(config, other) >= 0.01
    yield "another model", any(model not in models for model in trained)


def the_rates(chosen, rates, seeds, bits):
    right, *flattering = (best_rates(bits, rates, over) for over in (seeds[:1], seeds[1:], seeds))
    if chosen == right:
        return
    yield "one rate", chosen == [right[0]] * 2
    yield "the other's rate", chosen == [right[1]] * 2
    yield "counted seeds", chosen in flattering
    yield "same rate", chosen[0] == chosen[1]
    yield "rates", True


def the_differences(differences, chosen, seeds, bits):
    """For the rates that the answer names, right or wrong."""
    yield (
        "rates",
        any((gate, rate, seeds[0]) not in bits for gate, rate in zip((True, False), chosen)),
    )

    def of(without, gated):
        return [bits[False, without, seed] - bits[True, gated, seed] for seed in seeds[1:]]

    def same(want):
        return len(differences) == len(want) and np.allclose(
            np.array(differences, float), want, rtol=0, atol=1e-9
        )

    if same(by_seed := of(chosen[1], chosen[0])):
        return
    yield "tuning seed", len(differences) == len(seeds)
    yield "sign", same([-d for d in by_seed])
    yield "how many", len(differences) != len(seeds) - 1
    yield "not paired", math.isclose(sum(map(float, differences)), sum(by_seed))
    yield "run at one rate", any(same(of(rate, rate)) for rate in chosen)
    yield "differences", True


def draw_config(rng, depth=None, vocab=256):
    """Sizes for which no multiple of D matches."""
    while True:
        D = 16 * int(rng.integers(4, 12))
        config = {
            "gate": True,
            "vocab": vocab,
            "depth": depth or int(rng.integers(3, 9)),
            "D": D,
            "E": int(rng.integers(D, 2 * D)),
            "S": 8 * int(rng.integers(3, 9)),
            "T": 128,
        }
        if min(apart(config, {**config, "gate": False, "E": E}) for E in (D, 2 * D, 3 * D)) > 0.015:
            return config


LOOKS = ("size", "rates", "differences")


def cases_5(rng, numbers):
    paper = {"gate": True, "vocab": 32_000, "depth": 22, "D": 768, "E": 1536, "S": 128, "T": 512}
    sets = [
        ("the paper's sizes", paper, [0.0004, 0.0007, 0.001, 0.002], [0, 1, 2, 3]),
        ("small sizes", draw_config(rng), [0.01, 0.004, 0.025, 0.0016, 0.06], [5, 3, 8, 1, 4]),
        ("other sizes", draw_config(rng), [0.025, 0.004, 0.01], [2, 0, 1]),
    ]
    cases = itertools.product(LOOKS, sets)
    return [ablation_case(rng, name, look, *sizes) for look, (name, *sizes) in cases]


# ---------------------------------------------------------------- 10.6 attention over chunk summaries
def weighted_far(q_GCS, k_GS, b_GG, lin_q_GCS, kv_GSE):
    G, C = q_GCS.shape[:2]
    out = np.zeros((G, C, kv_GSE.shape[2]))
    for g, c in np.ndindex(G, C):
        scores = k_GS @ q_GCS[g, c] + b_GG[g]
        weights = np.maximum(scores, 0) ** 2
        weights[g:] = 0
        out[g, c] = lin_q_GCS[g, c] @ np.tensordot(weights, kv_GSE, 1)
    return out


def far_cost(t, C, S, E):
    g = t // C
    kept, work = g * (S * E + S), g * (S + S * E)
    return kept, work + S * E if g else 0


def cases_6(rng, numbers):
    def case(name, part, G, C, S, E, bias=0.3):
        G, C, S, E = grown(rng, G, C, S, E)
        q, lin_q = rng.normal(size=(2, G, C, S))
        k, kv, b = (
            rng.normal(size=(G, S)),
            rng.normal(size=(G, S, E)),
            rng.normal(size=(G, G)) + bias,
        )
        return call(
            name,
            part,
            q,
            k,
            b,
            lin_q,
            kv,
            of="weighted_far",
            sizes=f"{G = }, {C = }, {S = }, {E = }",
        )

    def cost(name, t, C, S, E):
        return call(
            name, "far_cost", t, C, S, E, of="far_cost", sizes=f"{t = }, {C = }, {S = }, {E = }"
        )

    C, S, E = (int(n) for n in rng.permutation(np.arange(5, 14))[:3])
    yield case("five chunks", "values", 5, 3, 4, 6)
    yield case("four chunks, large biases", "values", 4, 5, 2, 3, 2.0)
    yield case("one chunk: nothing to read", "edge sizes", 1, 4, 3, 5)
    yield case("C = 1", "edge sizes", 6, 1, 3, 2)
    yield cost("inside a chunk", 5 * C + 2, C, S, E)
    yield cost("the last token of a chunk", 4 * C - 1, C, S, E)
    yield cost("the first token of a chunk", 3 * C, C, S, E)
    yield cost("chunk 0", C - 2, C, S, E)
    yield cost("the paper's sizes", 8191, 256, 128, 1536)
