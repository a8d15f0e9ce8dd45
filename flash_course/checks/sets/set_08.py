"""Problem set 08, scaling: cases, the oracle, wrong answers; the right answers lie in ``solutions``."""

import math
import statistics
from functools import partial
from itertools import groupby, pairwise, product
from operator import truediv

import numpy as np
import torch

from ..exercise import Case, Said, asked, call, given_back, lent, reject, reject_if
from ..sizes import grown


# ---------------------------------------------------------------- 08.1 multiply_adds_per_token
def multiply_adds_per_token(config, T, causal):
    """The oracle: (done, needed)."""
    D, S, E, C, F = (config[letter] for letter in "DSECF")
    if config["model"] == "flash":
        lengths = [min(C, T - first) for first in range(0, T, C)]
        layers, pair, per_token = 2 * config["blocks"], S + E, 3 * D * E + D * S + 2 * S * E
    else:
        lengths = [T]
        layers, pair, per_token = config["blocks"], 2 * D, 4 * D * D + 3 * D * F
    done = sum(n * n for n in lengths)
    needed = sum(n * (n + 1) / 2 for n in lengths) if causal else done
    return tuple(layers * (per_token + pairs * pair / T) for pairs in (done, needed))


def cases_1(rng, numbers):
    def case(name, part, model, T, causal=True, C=None):
        D, S, E, H, F = (int(n) for n in rng.permutation(np.arange(5, 30))[:5])
        C = int(rng.integers(31, 36)) if C is None else C
        config = {
            "model": model,
            "blocks": int(rng.integers(2, 6)),
            "D": D,
            "S": S,
            "E": E,
            "F": F,
            "H": H,
            "C": C,
        }
        return call(name, part, config, T, causal, sizes=f"{T = }, {causal = }, {config}")

    tail = int(rng.integers(3, 12))
    yield case("a causal Transformer++", "Transformer++", "transformer++", 50 + tail)
    yield case(
        "a Transformer++ that is not causal",
        "Transformer++",
        "transformer++",
        60 + tail,
        causal=False,
    )
    yield case("causal FLASH, four full chunks", "FLASH", "flash", 4 * 13, C=13)
    yield case(
        "FLASH that is not causal, three full chunks", "FLASH", "flash", 3 * 17, causal=False, C=17
    )
    yield case("causal FLASH, a short last chunk", "edge sizes", "flash", 3 * 13 + tail, C=13)
    yield case(
        "not causal, a short last chunk", "edge sizes", "flash", 4 * 14 + tail, causal=False, C=14
    )
    yield case("fewer tokens than C", "edge sizes", "flash", 20 + tail)
    yield case("C = 1", "edge sizes", "flash", 9 + tail, C=1)
    yield case("one token, FLASH", "edge sizes", "flash", 1)
    yield case("one token, Transformer++", "edge sizes", "transformer++", 1)


# ---------------------------------------------------------------- 08.2 three crossovers
def draw_2(rng):
    D = 96 * int(rng.integers(5, 13))
    S, C = int(rng.choice([128, 160, 192])), int(rng.choice([128, 256, 512]))
    return {"D": D, "S": S, "E": 2 * D, "C": C, "F": 8 * D // 3}


def right_2(n):
    """The T where a token costs the same. A token reads C keys or (C + 1) / 2, of a block's T all or (T + 1) / 2."""
    D, S, E, C, F = (n[letter] for letter in "DSECF")
    unit = 3 * D * E + D * S
    more = 2 * unit - (4 * D * D + 3 * D * F)  # dense work of two units, without that of a block
    a = more + 2 * (2 * S * E + C * (S + E))
    b = more + 2 * (2 * S * E + (C + 1) / 2 * (S + E))
    c = more + 2 * (2 * S * E + C * (S + E))
    a, b, c = (max(T, 1) for T in (a / (2 * D), b / D - 1, c / D - 1))
    flash, block = (
        2 * (unit + 2 * S * E + (S + E) * (C + 1) / 2),
        4 * D * D + 3 * D * F + D * (512 + 1),
    )
    return {"a": math.ceil(a), "b": math.ceil(b), "c": math.ceil(c), "d": flash / block}


# ---------------------------------------------------------------- 08.3 time_pair
ASKING, COMPILING = 1.0, 5000.0  # milliseconds


class Machine:
    """A make-believe device with a clock of its own, in milliseconds. What happens is drawn when it is described:
    ``facts`` holds the work of f and g, the slowdown over 2 x repeats calls, and what comes on top of each call."""

    def __init__(self, facts):
        self.facts, self.now, self.free = facts, 0.0, facts["waiting"]
        self.calls = []
        self.times = []  # each reading of the clock

    def ask(self, name):
        self.now += ASKING
        if name not in self.calls:
            self.now += COMPILING
        n = len(self.calls)
        self.calls.append(name)
        work = self.facts[name] * (1 + self.facts["slower"] * n) * self.facts["noise"][n % 1000]
        self.free = max(self.free, self.now) + work + self.facts["jobs"][n % 1000]

    def clock(self):
        self.times.append(self.now)
        return self.now

    def synchronize(self):
        self.now = max(self.now, self.free)


def quiet(f, g):
    return {
        "f": f,
        "g": g,
        "waiting": 700.0,
        "slower": 0,
        "noise": np.ones(1000),
        "jobs": np.zeros(1000),
    }


def busy(rng, f, g, repeats):
    jobs = np.zeros(1000)
    jobs[np.arange(0, 1000, 8) + rng.integers(0, 8, 125)] = np.exp(
        rng.uniform(np.log(400), np.log(3000), 125)
    )
    return quiet(f, g) | {
        "slower": 0.065 / (2 * repeats),
        "noise": 1 + rng.normal(size=1000) * 0.002,
        "jobs": jobs,
    }


def is_near(a, b):
    return abs(a / b - 1) <= 0.02


def readings_of(answer, facts, repeats):
    """What an answer measures on a new machine, after the mistakes that its readings show by themselves."""
    machine = Machine(facts)
    asks = [lent(lambda: machine.ask("f")), lent(lambda: machine.ask("g"))]
    result = given_back(answer(*asks, lent(machine.clock), lent(machine.synchronize), repeats))
    try:
        ratio, f, g = result
        ratio = float(ratio)
        f = [float(x) for x in f]
        g = [float(x) for x in g]
    except (TypeError, ValueError):
        raise Said("08.3", "form") from None
    reject_if(not machine.times, "08.3", "own clock")
    if len(f) != repeats or len(g) != repeats:
        one_more = len(f) == len(g) == repeats + 1
        raise Said("08.3", "first kept" if one_more else "count")
    reject_if(min(f + g) >= 0 and max(f[0], g[0]) >= COMPILING, "08.3", "first kept")
    reject_if(0 < statistics.median(f + g) < ASKING / 2, "08.3", "other unit")
    of_f, of_g = statistics.median(f), statistics.median(g)
    reject_if(of_f <= 2 * ASKING < 2 * of_g and of_g > 1.5 * facts["g"], "08.3", "charged")
    reject_if(statistics.median(f + g) <= 2 * ASKING, "08.3", "asking")
    return machine, ratio, f, g


def on_quiet(name, part, facts, repeats):
    truth = [facts[which] + ASKING for which in "fg"]

    def run(answer):
        _, ratio, f, g = readings_of(answer, facts, repeats)
        swapped = is_near(statistics.median(f), truth[1]) and is_near(
            statistics.median(g), truth[0]
        )
        reject_if(swapped, "08.3", "lists swapped")
        reject_if(max(f) > 1.02 * truth[0] or max(g) > 1.02 * truth[1], "08.3", "left over")
        reject_if(
            is_near(ratio, truth[1] / truth[0]) and not is_near(ratio, truth[0] / truth[1]),
            "08.3",
            "inverted",
        )
        return {"ratio": ratio, "readings of f": np.array(f), "readings of g": np.array(g)}

    return Case(name, part, run, f"{repeats = }")


def were_sorted(machine, readings):
    """Whether readings rise, and were taken in another order. A slowing machine lets the least of several rise too."""
    if len({*readings}) < 2 or readings != sorted(readings):
        return False
    gaps = (later - sooner for sooner, later in pairwise(machine.times))
    taken = {gap: place for place, gap in enumerate(gaps)}
    places = [taken.get(reading) for reading in readings]
    return None not in places and places != sorted(places)


def on_busy(name, part, facts, repeats):
    truth = (facts["f"] + ASKING) / (facts["g"] + ASKING)

    def run(answer):
        machine, ratio, f, g = readings_of(answer, facts, repeats)
        reject_if(any(map(partial(were_sorted, machine), (f, g))), "08.3", "sorted")
        reject_if(repeats > 2 and len({*f}) == 1, "08.3", "one loop")
        if is_near(ratio, truth):
            return truth
        reject_if(is_near(ratio * truth, 1), "08.3", "inverted")
        means = sum(f) / sum(g), statistics.fmean(map(truediv, f, g))
        reject_if(any(abs(ratio / mean - 1) < 1e-9 for mean in means), "08.3", "mean")
        longest = max((len([*run]) for _, run in groupby(machine.calls)), default=0)
        reject_if(longest >= repeats > 2, "08.3", "in a row")
        return ratio

    return Case(name, part, run, f"{repeats = }", say="off")


def cases_3(rng, numbers):
    def works():
        g = float(rng.uniform(90, 120))
        return g * float(rng.uniform(1.25, 1.5)), g

    (f, g), (some, even), many = works(), grown(rng, 5, 4, more=8), 21 + 2 * int(rng.integers(8))
    cases = [
        on_quiet("a quiet machine", "quiet", quiet(f, g), some),
        on_quiet("a quiet machine, f is the faster one", "quiet", quiet(g, f), even),
        on_quiet("a quiet machine, one reading of each", "quiet", quiet(*works()), 1),
    ]
    return cases + [
        on_busy(f"a busy machine, {n}", "busy", busy(rng, *works(), many), many)
        for n in range(1, 5)
    ]


def time_pair(f, g, clock, synchronize, repeats):
    """The oracle: (ratio, readings of f, readings of g)."""
    f()
    g()
    of_f, of_g = [], []
    for function, readings in [(f, of_f), (g, of_g)] * repeats:
        synchronize()
        start = clock()
        function()
        synchronize()
        readings.append(clock() - start)
    middle = statistics.median
    return middle(of_f) / middle(of_g), of_f, of_g


# ---------------------------------------------------------------- 08.4 a benchmark that flatters
def given_4(lengths, tokens):
    """What is to be timed: a list of dictionaries, one for each model at each length."""
    rival = {
        "model": "transformer++",
        "layers": 15,
        "attention": "written out",
        "passes": ["forward", "backward"],
        "format": "float32",
        "untimed calls": 0,
        "timed calls": 9,
    }
    ours = rival | {
        "model": "flash",
        "layers": 22,
        "attention": "mixed chunk",
        "passes": ["forward"],
        "format": "float16",
        "untimed calls": 1,
    }
    batch = tokens // lengths[0]
    # as in the problem set: by this text an untouched answer is known
    return [row | {"T": T, "batch": batch} for T in lengths for row in (rival, ours)]


def benchmark_plan(lengths, tokens):
    """The oracle."""
    fair = {
        "passes": ["forward", "backward"],
        "format": "float32",
        "untimed calls": 1,
        "timed calls": 9,
    }
    rival = fair | {"model": "transformer++", "layers": 12, "attention": "fused"}
    ours = fair | {"model": "flash", "layers": 24, "attention": "mixed chunk"}
    plan = []
    for T in lengths:
        plan += [row | {"T": T, "batch": tokens // T} for row in (rival, ours)]
    return plan


# parameters of a block, of a unit: D = 768, S = 128
MILLIONS = {
    "transformer++": 7.077888,
    "flash": 3.637248,
}
EMBEDDING = 24.576
KEYS = {
    "model",
    "T",
    "batch",
    "layers",
    "attention",
    "passes",
    "format",
    "untimed calls",
    "timed calls",
}


def rows_of(plan, lengths):
    """{(model, T): row}, once the plan has its form."""
    reject_if(plan is None, "all", "none")
    reject_if(
        not isinstance(plan, list | tuple) or not all(isinstance(row, dict) for row in plan),
        "08.4",
        "form",
    )
    # who leaves it out loses the part of the clock alone
    plan = [{"timed calls": 0} | row for row in plan]
    reject_if(any(set(row) != KEYS for row in plan), "08.4", "keys")
    whole = all(is_whole(row["T"]) for row in plan)
    reject_if(not whole, "08.4", "rows")
    rows = {(row["model"], row["T"]): row for row in plan}
    reject_if(
        len(plan) != 2 * len(lengths) or set(rows) != {*product(MILLIONS, lengths)},
        "08.4",
        "rows",
    )
    return rows


def is_whole(x):
    return isinstance(x, int | np.integer)


def is_number(x):
    return isinstance(x, int | float | np.number)


def are_words(x):
    return isinstance(x, list | tuple | set) and all(isinstance(each, str) for each in x)


SINS = "batch", "rival", "passes", "formats", "parameters", "clock"


def look_for(sin, rival, ours, tokens):
    """What a plan may do wrong in the two rows of one length: (the sentence, whether it is so)."""
    both = rival, ours
    if sin == "batch":
        yield "batch is whole", not all(is_whole(row["batch"]) for row in both)
        yield "batch", any(row["batch"] * row["T"] != tokens for row in both)
    elif sin == "rival":
        yield "not FLASH", ours["attention"] != "mixed chunk"
        yield "written out", rival["attention"] == "written out"
        yield "other rival", rival["attention"] != "fused"
    elif sin == "passes":
        yield "passes are words", not all(are_words(row["passes"]) for row in both)
        yield "passes", sorted(rival["passes"]) != sorted(ours["passes"])
        yield "no training", sorted(rival["passes"]) != ["backward", "forward"]
    elif sin == "formats":
        yield "formats", rival["format"] != ours["format"]
        yield "no format", rival["format"] not in ("float32", "float16", "bfloat16")
    elif sin == "parameters":
        yield (
            "part of a layer",
            any(not is_number(row["layers"]) or row["layers"] % 1 for row in both),
        )
        layers, sizes = zip(
            *((row["layers"], EMBEDDING + row["layers"] * MILLIONS[row["model"]]) for row in both)
        )
        key = "sizes left" if layers == (15, 22) else "sizes"
        yield key, min(layers) < 1 or abs(sizes[1] / sizes[0] - 1) > 0.05
    else:
        yield (
            "calls are whole",
            not all(is_whole(row[key]) for row in both for key in ("untimed calls", "timed calls")),
        )
        yield "compilation", min(row["untimed calls"] for row in both) < 1
        yield "untimed apart", rival["untimed calls"] != ours["untimed calls"]
        yield (
            "one reading",
            rival["timed calls"] == ours["timed calls"] and rival["timed calls"] in (0, 1),
        )
        yield (
            "few readings",
            rival["timed calls"] != ours["timed calls"] or rival["timed calls"] < 3,
        )


def plan_case(name, sin, lengths, tokens):
    """The plan, looked at for one sin."""

    def run(answer):
        rows = rows_of(asked(answer, list(lengths), tokens), lengths)
        for T in lengths:
            reject("08.4", look_for(sin, *(rows[model, T] for model in MILLIONS), tokens))

    return Case(name, sin, run, f"lengths = {list(lengths)}, {tokens = }")


def cases_4(rng, numbers):
    many = 8192 * int(rng.integers(4, 9))
    few = 2048 * int(rng.integers(9, 14))
    pools = (
        ("five lengths", (512, 1024, 2048, 4096, 8192), many),
        ("three lengths", (256, 1024, 2048), few),
    )
    return [plan_case(f"{sin}: {name}", sin, *pool) for sin, (name, *pool) in product(SINS, pools)]


# ---------------------------------------------------------------- 08.5 saved_bytes
def saved_bytes(fn, *inputs):
    """The oracle."""
    found, kept = {}, []

    def pack(tensor):
        kept.append(tensor)  # so that no storage is given back and its place used again
        storage = tensor.untyped_storage()
        found[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        fn(*inputs)
    return sum(found.values())


def looks_at_its_gradient(x):
    """A function with a backward pass of its own in it: what `pack` returns is asked back."""
    reject_if(not torch.is_grad_enabled(), "08.5", "no graph")
    y = x.exp() * x
    try:
        torch.autograd.grad(y.sum(), x, retain_graph=True)
    except (RuntimeError, TypeError):
        raise Said("08.5", "not returned") from None
    return y


def quadratic(q, k, v):
    return torch.relu(q @ k.mT / len(q)).square().tril() @ v


def recurrent(q, k, v):
    state, out = torch.zeros(q.shape[1], v.shape[1]), []
    for t in range(len(q)):
        state = state + k[t, :, None] * v[t]
        out.append(q[t] @ state)
    return torch.stack(out)


def mixed_chunk(q, k, v, C=4):
    q, k, v = (x.reshape(-1, C, x.shape[1]) for x in (q, k, v))
    near = torch.relu(q @ k.mT / C).square().tril() @ v
    sums = (k.mT @ v).cumsum(0)
    far = q @ torch.cat([torch.zeros_like(sums[:1]), sums[:-1]])
    return (near + far).flatten(0, 1)


def cases_5(rng, numbers):
    def draw(*shape, dtype=torch.float32):
        return torch.from_numpy(rng.normal(size=shape)).to(dtype).requires_grad_()

    T, D, E = (int(n) for n in rng.permutation(np.arange(5, 14))[:3])
    weight, places = draw(D, E), torch.from_numpy(rng.integers(0, T, size=2 * T))
    hidden = torch.from_numpy(rng.random((T, D)) < 0.5)

    def case(name, part, fn, *inputs):
        sizes = ", ".join(f"{tuple(x.shape)} {str(x.dtype).removeprefix('torch.')}" for x in inputs)
        return call(name, part, lent(fn), *inputs, sizes=sizes)

    def mixing(fn):
        (S, E), lengths = grown(rng, 3, 5), [4 * n for n in grown(rng, 2, 6, 10)]
        inputs = [(draw(T, S), draw(T, S), draw(T, E)) for T in lengths]
        name, sizes = fn.__name__.replace("_", " "), f"T = {lengths}, {S = }, {E = }, C = 4"
        return Case(
            name, "mixing", lambda answer: [answer(lent(fn), *heads) for heads in inputs], sizes
        )

    def once(answer):
        calls = []

        def fn(x):
            calls.append(x)
            return x.exp() * x

        found = answer(lent(fn), x)
        reject_if(len(calls) != 1, "08.5", "called twice")
        return found

    x = draw(T, E)
    yield Case("a function that counts its calls", "what is kept", once, f"{tuple(x.shape)}")
    yield case(
        "a function that takes a gradient on the way",
        "what is kept",
        looks_at_its_gradient,
        draw(T, D),
    )
    yield case("a * b", "what is kept", lambda a, b: a * b, draw(T, D), draw(T, D))
    yield case("a + b: nothing is kept", "what is kept", lambda a, b: a + b, draw(T, D), draw(T, D))
    yield case("a sum after a square", "what is kept", lambda x: x.square().sum(), draw(T, D))
    yield case(
        "a product with a weight that is no input", "what is kept", lambda x: x @ weight, draw(T, D)
    )
    yield case(
        "the square of relu, twice",
        "what is kept",
        lambda x: torch.relu(torch.relu(x).square()),
        draw(T, D),
    )
    yield case("float64", "formats", lambda x: torch.exp(x) * x, draw(T, D, dtype=torch.float64))
    yield case("bfloat16", "formats", lambda x: torch.exp(x) * x, draw(T, E, dtype=torch.bfloat16))
    yield case(
        "rows by their numbers", "formats", lambda x: x.gather(0, places[:, None]).exp(), draw(T, 1)
    )
    yield case(
        "a mask of True and False",
        "formats",
        lambda x: torch.where(hidden, x, 0 * x).tanh(),
        draw(T, D),
    )
    yield case("a slice", "storages", lambda x, y: x[:, 1:3] * y, draw(T, D), draw(T, 2))
    yield case(
        "two slices of one tensor", "storages", lambda x: x[: T // 2] * x[T - T // 2 :], draw(T, D)
    )
    yield case(
        "one row for all", "storages", lambda x, y: x * y.expand(T, D), draw(T, D), draw(1, D)
    )
    yield from map(mixing, (quadratic, mixed_chunk, recurrent))
