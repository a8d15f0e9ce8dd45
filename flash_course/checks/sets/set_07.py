"""Problem set 07, training: cases, the oracle, and wrong answers; the right answers lie in ``solutions``."""

import copy
import dataclasses
import json
import math
import os
from functools import cached_property, partial

import numpy as np
import torch

from flash_tutorial.corpora import (
    IGNORE,
    START_ID,
    Split,
    evaluation_windows,
    mask_spans,
    random_windows,
)

from ...bench.stored import load_stored
from ..closed_book import PackageShut, functions_shut
from ..compare import as_word
from ..edits import edited
from ..examples import example
from ..exercise import (
    Case,
    Wrong,
    call,
    given_back,
    lent,
    predicted,
    reject_if,
    several,
    unchanged,
    written,
)
from ..expected import by_right
from ..files import carried, in_folder, pickles_refused, saved_over
from ..proving import shown, version
from ..sizes import grown
from ..texts import sentences_of
from .tiny_run import Run


# ---------------------------------------------------------------- 07.1 bits_per_byte
def bits_per_byte(windows, n_bytes):
    nats = sum(mean * tokens for mean, tokens in windows)
    return nats / math.log(2) / n_bytes


def cases_1(rng, numbers):
    def case(name, part, counts, bytes_of_a_token):
        counts = [grown(rng, count)[0] for count in counts]
        windows = [(float(rng.uniform(1, 4)), count) for count in counts]
        n_bytes = round(sum(counts) * bytes_of_a_token)
        return call(name, part, windows, n_bytes, sizes=f"tokens {counts}, {n_bytes} bytes")

    yield case("a token is a byte, the last window is short", "values", [64, 64, 64, 5], 1)
    yield case("a token has about four bytes", "values", [40, 7, 40], 4.3)
    yield case("one window", "edge sizes", [17], 2.9)
    yield case("windows of one token", "edge sizes", [1, 9, 1, 3], 3.6)


def example_1():
    yield example("07.1", "bits_per_byte", windows=[(2.0, 3), (4.0, 1)], n_bytes=4)


# ---------------------------------------------------------------- 07.2 learning_rate and clip_each
def learning_rate(step, peak, warmup, total):
    if step < warmup:
        return peak * step / warmup
    return peak * (total + 1 - step) / (total + 1 - warmup) if step <= total else 0.0


def clip_each(grads, max_norm):
    norms = [torch.linalg.vector_norm(g) for g in grads]
    return [
        g * (max_norm / norm) if norm > max_norm else g.clone() for g, norm in zip(grads, norms)
    ]


CLIPPING = ("clip_grad_norm_", "clip_grads_with_norm_", "clip_grad_value_", "get_total_norm")
UTILS = [getattr(torch.nn.utils, name) for name in CLIPPING if hasattr(torch.nn.utils, name)]


def without_utils(case):
    """The case, in which torch.nn.utils neither clips nor takes a norm."""

    def run(answers):
        try:
            with functions_shut(*UTILS):
                return case.run(answers)
        except PackageShut as error:
            reject_if("clip_grad" in error.function, "07.2", "utils")
            raise

    return dataclasses.replace(case, run=run)


def cases_2(rng, numbers):
    def rates(name, peak, warmup, total, beyond=0):
        peak, more = round(float(peak * rng.uniform(0.8, 1.2)), 2), int(rng.integers(1, 6))
        warmup, total = warmup + more * (warmup == total), total + more

        def run(answers):
            found = [
                answers.learning_rate(n, peak, warmup, total) for n in range(1, total + beyond + 1)
            ]
            reject_if(any(rate is None for rate in found), "all", "none")
            return np.array([float(rate) for rate in found])

        return Case(name, "learning_rate", run, f"{peak = }, {warmup = }, {total = }")

    def clip(name, shapes, max_norm, zero=None):
        shapes = [tuple(grown(rng, *shape)) for shape in shapes]
        grads = [torch.from_numpy(np.array(rng.normal(size=shape) * 2)) for shape in shapes]
        if zero is not None:
            grads[zero] = torch.zeros_like(grads[zero])
        sizes = f"shapes {', '.join(map(str, shapes))}, {max_norm = }"
        return without_utils(call(name, "clip_each", grads, max_norm, of="clip_each", sizes=sizes))

    yield rates("every update of a run", 0.7, 4, 12)
    yield rates("steps behind the end", 1.3, 3, 12, beyond=3)
    yield rates("no warm-up", 0.9, 0, 7)
    yield rates("warm-up to the last update", 2.1, 5, 5)
    yield clip("one large and one small tensor", [(7, 5), (2,)], 4.0)
    yield clip("all under the limit", [(3,), (2, 2)], 50.0)
    yield clip("no gradient at all in one tensor", [(4, 3), (5,), (2, 3)], 0.8, zero=1)
    yield clip("a single number, and three axes", [(), (2, 3, 4)], 0.01)
    yield clip("no tensors", [], 1.0)

    given = [torch.from_numpy(rng.normal(size=3))]

    def new_list(answers):
        found = answers.clip_each(given, 100.0)
        reject_if(found is given, "07.2", "same list")
        return found[0] - given[0]

    yield Case("nothing to clip, and still a new list", "clip_each", new_list, "shape (3,)")


def example_2():
    for step in (2, 7, 11):
        how = {"step": step, "peak": 1.0, "warmup": 4, "total": 10}
        yield example("07.2", "learning_rate", of="learning_rate", **how)
    grads = [torch.tensor(grad, dtype=torch.float64) for grad in ([3.0, 4.0], [0.3, 0.4])]
    yield example("07.2", "clip_each", of="clip_each", grads=grads, max_norm=1.0)


# ---------------------------------------------------------------- 07.3 one update in float16
class Optimizer:
    """A stand-in: the step is the rate times the gradient, so that its size is seen."""

    def __init__(self, parameters, rate):
        self.parameters, self.rate = parameters, rate
        self.used = 0.0  # the rate of the last step

    def zero_grad(self, set_to_none=True):
        for p in self.parameters:
            p.grad = None if set_to_none else torch.zeros_like(p)

    def step(self):
        self.used = self.rate
        for p in (p for p in self.parameters if p.grad is not None):
            p.data -= self.rate * p.grad


class Scaler:
    """A stand-in for ``torch.amp.GradScaler``."""

    divided = overflow = False

    def __init__(self, factor):
        self.factor = factor

    def scale(self, loss):
        return loss * self.factor

    def unscale_(self, optimizer):
        if self.divided:
            raise RuntimeError("unscale_() has already been called since the last step")
        self.divided, self.overflow = True, False
        for grad in (p.grad for p in optimizer.parameters if p.grad is not None):
            grad /= self.factor
            self.overflow |= not bool(grad.isfinite().all())

    def step(self, optimizer):
        if not self.divided:
            self.unscale_(optimizer)
        self.divided = False
        if not self.overflow:
            optimizer.step()

    def update(self):
        if self.overflow:
            self.factor /= 2
        self.overflow = self.divided = False


class Schedule:
    """A stand-in: the rate of the next update, from a list."""

    def __init__(self, optimizer, rates):
        self.optimizer, self.rates, self.done = optimizer, rates, 0

    def step(self):
        self.done += 1
        self.optimizer.rate = self.rates[min(self.done, len(self.rates) - 1)]


RATE, USED = "rate of the next update", "rate of this update"


def session_case(
    rng, name, part, n_parts, n_steps, seen, max_norm=1e9, rates=(0.05,), wild=(), stale=0.0
):
    """A case of some updates with a student's function: what is ``seen`` after each.

    ``wild``: the (update, part) that overflow. ``stale``: what stands in the gradients before the first update.
    """
    n_steps += int(rng.integers(2)) * (n_steps > 1)
    weights = [rng.normal(size=shape) for shape in (grown(rng, 3), grown(rng, 2, 4))]

    def drawn_part(step, i):
        """Targets of each weight, and a factor."""
        factor = 1e6 if (step, i) in wild else 1.0
        return *(torch.from_numpy(rng.normal(size=w.shape)) for w in weights), factor

    batches = [[drawn_part(step, i) for i in range(n_parts)] for step in range(n_steps)]
    factor = 2.0 ** int(rng.integers(6, 10))

    def run(training_step):
        parameters = [torch.from_numpy(w.copy()).requires_grad_() for w in weights]
        for p in parameters:
            # as in float16
            p.register_hook(lambda g: torch.where(g.abs() > 65504, g.sign() * math.inf, g))
            p.grad = torch.full_like(p, stale) if stale else None
        optimizer, scaler = Optimizer(parameters, rates[0]), Scaler(factor)
        # graphs of losses that had no backward pass yet
        schedule = Schedule(optimizer, rates)
        graphs = []
        rows = []

        def loss_of(targets):
            reject_if(graphs and part == "accumulation", "07.3", "all in memory")
            loss = sum(((p - x) ** 2).sum() for p, x in zip(parameters, targets)) * targets[-1]
            if loss.requires_grad:
                graphs.append(loss)
                loss.register_hook(lambda gradient: graphs.clear())
            return loss

        for parts in batches:
            given = copy.deepcopy(parts)
            before = [p.detach().clone() for p in parameters]
            training_step(loss_of, given, parameters, optimizer, scaler, schedule, max_norm)
            reject_if(not unchanged(parts, given), "all", "changed", argument=2)
            now = {
                "weights": [p.detach().clone() for p in parameters],
                "scale": scaler.factor,
                RATE: optimizer.rate,
            }
            now[USED] = optimizer.used
            now["moves"] = not all(map(torch.equal, before, now["weights"]))
            rows.append({name: now[name] for name in seen})
        return rows

    return Case(name, part, run, f"{n_parts} parts, {n_steps} updates, {max_norm = :g}")


def cases_3(rng, numbers):
    case, warmup = (
        partial(session_case, rng),
        (0.01, 0.02, 0.04, 0.07, 0.11, 0.16, 0.22, 0.29, 0.37, 0.46, 0.56, 0.67),
    )
    yield case("four parts", "accumulation", 4, 2, ("weights",))
    yield case("three parts", "accumulation", 3, 3, ("weights",))
    yield case("a gradient over the limit", "clipping", 1, 1, ("weights",), max_norm=0.7)
    yield case("a gradient under the limit", "clipping", 1, 1, ("weights",), max_norm=90.0)
    yield case("the second update overflows", "overflow", 1, 3, ("scale", "moves"), wild=[(1, 0)])
    yield case(
        "a gradient over the limit, three parts", "clipping", 3, 1, ("weights",), max_norm=0.9
    )
    yield case("a warm-up, parts", "schedule", 3, 2, (RATE,), rates=warmup)
    yield case("a warm-up, one part", "schedule", 1, 3, (USED, RATE), rates=warmup)
    yield case(
        "a warm-up, and an update that is skipped",
        "schedule",
        1,
        3,
        (RATE,),
        rates=warmup,
        wild=[(1, 0)],
    )
    yield case(
        "gradients are there before the first update", "accumulation", 2, 1, ("weights",), stale=3.0
    )


def given_3(loss_of, parts, parameters, optimizer, scaler, schedule, max_norm):
    """As the notebook gives it."""
    for part in parts:
        optimizer.zero_grad()
        loss = loss_of(part)
        scaler.scale(loss).backward()
        schedule.step()
    torch.nn.utils.clip_grad_norm_(parameters, max_norm)
    scaler.unscale_(optimizer)
    optimizer.step()


def training_step(loss_of, parts, parameters, optimizer, scaler, schedule, max_norm):
    optimizer.zero_grad()
    for part in parts:
        scaler.scale(loss_of(part) / len(parts)).backward()
    scaler.unscale_(optimizer)
    torch.nn.utils.clip_grad_norm_(parameters, max_norm)
    scaler.step(optimizer)
    scaler.update()
    schedule.step()


# ---------------------------------------------------------------- 07.4 save and load
KINDS = ("weights", "m", "v")


def save(path, run):
    arrays = {}
    for kind in KINDS:
        arrays |= {f"{kind} {name}": array for name, array in getattr(run, kind).items()}
    plain = [run.step, run.position, run.rng.bit_generator.state]
    part = path.with_name(path.name + ".part")
    with open(part, "wb") as file:
        np.savez(file, plain=json.dumps(plain), **arrays)
    os.replace(part, path)


def load(path):
    loaded = Run()
    with np.load(path) as file:
        for kind in KINDS:
            for name, array in getattr(loaded, kind).items():
                array[...] = file[f"{kind} {name}"]
        loaded.step, loaded.position, loaded.rng.bit_generator.state = json.loads(
            str(file["plain"])
        )
    return loaded


def advanced(seed, updates):
    run = Run(seed)
    for _ in range(updates):
        run.update()
    return run


def after(run, updates=3):
    """The losses of some more updates, and the weights after them."""
    with np.errstate(invalid="ignore"):  # averages that are mixed up can be negative
        losses = np.array([run.update() for _ in range(updates)])
    return {"losses": losses, **{name: p.copy() for name, p in run.weights.items()}}


def goes_on(seed, updates, look, answers, path):
    """What a look sees of the run that is loaded from the file alone, after the process that saved it has ended."""
    run = advanced(seed, updates)
    answers.save(path, run)
    for kind in KINDS:
        for array in getattr(run, kind).values():
            array[...] = np.nan  # the process ends: nothing in memory is what it was
    run.step = run.position = -1
    run.rng.bit_generator.state = np.random.default_rng(99).bit_generator.state
    np.random.seed(99)

    return carried("07.4", path, lambda there: look(given_back(answers.load(there))))


def cases_4(rng, numbers):
    seeds = [int(seed) for seed in rng.integers(1, 1000, size=6)]
    few, exact, many, first, second = grown(rng, 3, 4, 17, 2, 7, more=40)

    case = partial(in_folder, "run.npz")

    def from_its_file(name, seed, updates, more, look=after):
        return case(
            name, "goes on", partial(goes_on, seed, updates, look), f"{updates} + {more} updates"
        )

    def same_bits(loaded):
        there = after(advanced(seeds[0], exact), 20)
        here = after(loaded, 20)
        reject_if(
            not all(np.array_equal(there[name], here[name]) for name in there), "07.4", "last bit"
        )

    def itself(answers, path):
        run = advanced(seeds[3], few)
        answers.save(path, run)
        found = after(run)
        reject_if(
            not unchanged(after(advanced(seeds[3], few)), found), "all", "changed", argument=2
        )
        return found

    def alone(answers, path, seed):
        """What goes on from two runs that have a file each: what both lack is the business of "goes on"."""
        own = path.with_name(f"own{path.suffix}")
        found = []
        for updates in (first, second):
            answers.save(own, advanced(seed, updates))
            found.append(after(given_back(answers.load(own))))
            own.unlink(missing_ok=True)
        reject_if(unchanged(*found), "07.4", "always the same")
        return found

    def twice(answers, path):
        for updates in (first, second):
            answers.save(path, advanced(seeds[4], updates))
        found = after(given_back(answers.load(path)))
        reject_if(not unchanged(alone(answers, path, seeds[4])[1], found), "07.4", "mixed")

    def whole(answers, path):
        wanted = alone(answers, path, seeds[5])
        answers.save(path, advanced(seeds[5], first))
        again = partial(answers.save, path, advanced(seeds[5], second))
        found = saved_over("07.4", path, again, lambda path: after(answers.load(path)))
        reject_if(not unchanged(wanted, [*found.values()]), "07.4", "mixed")

    def without_pickle(answers, path):
        with pickles_refused("07.4", path):
            alone(answers, path, seeds[0])

    yield from_its_file("some updates, a stop, three more", seeds[0], few, 3)
    yield from_its_file("saved before the first update", seeds[1], 0, 3)
    yield from_its_file("the examples have begun again", seeds[2], many, 3)
    yield from_its_file("to the last bit, twenty updates", seeds[0], exact, 20, same_bits)
    other = partial(goes_on, seeds[1], few, after)
    yield in_folder("run.state", "a name of another kind", "goes on", other, f"{few} + 3 updates")
    yield case("the run that was saved goes on", "goes on", itself, f"{few} + 3 updates")
    yield case("saved twice", "whole file", twice, f"{first}, then {second} updates")
    yield case("killed while it saves", "whole file", whole, f"{first}, then {second} updates")
    yield case("no pickle", "no code", without_pickle, f"{few} updates")


# ---------------------------------------------------------------- 07.5 read the curve
CHOICES = (
    "healthy",
    "inclusive sum",
    "local only",
    "overfit",
    "rate too high",
    "rate too low",
    "targets not shifted",
)
CAUSES = [run["cause"] for run in load_stored("curves")["runs"]]


def runs_and_leak():
    return len(CAUSES), CAUSES.index("inclusive sum")


def draw_5(rng):
    """Four of the six stored runs, in an order of one's own; the inclusive sum is always among them."""
    count, leak = by_right("07.5", "runs and the leak", "runs_and_leak")
    others = [i for i in range(count) if i != leak]
    chosen = rng.permutation([leak, *rng.choice(others, size=3, replace=False)])
    return dict(zip("abcd", chosen.tolist()))


def right_5(n, leak="inclusive sum"):
    """``leak``: what the inclusive sum is taken for."""
    return {letter: CAUSES[number].replace("inclusive sum", leak) for letter, number in n.items()}


def cases_5(rng, numbers):
    def case(letter, cause):
        def look(choice):
            choice = as_word(choice)
            reject_if(choice not in CHOICES, "07.5", "no such cause", causes=", ".join(CHOICES))
            key = f"{cause}: {choice}"
            if key not in sentences_of("07.5"):
                key = choice
            reject_if(choice != cause, "07.5", key)
            return choice

        return predicted(letter, name=f"run {letter}", then=look)

    return [case(letter, cause) for letter, cause in right_5(numbers).items()]


wrong_5 = [
    Wrong(f"inclusive sum: {leak}", partial(right_5, leak=leak))
    for leak in CHOICES
    if "sum" not in leak
]


# ---------------------------------------------------------------- 07.6 assert_honest_loader
MASK = -1
ROWS = 8


def split_of(books):
    offsets = np.concatenate([[0], np.cumsum([len(book) for book in books])]).astype(np.int64)
    return Split(np.concatenate(books).astype(np.int64), offsets, ("",) * len(books))


class Loader:
    """The package's own way: windows drawn at random, and the seed is the number of the update."""

    seed = 0

    def __init__(self, train, validation, T):
        self.train, self.validation, self.T = split_of(train), split_of(validation), T

    def rng(self, update):
        return np.random.default_rng((self.seed, update))

    def batch(self, update):
        ids, targets = random_windows(self.train, ROWS, self.T, self.rng(update))
        return ids, targets

    def scored(self):
        return evaluation_windows(self.validation, self.T)[:2]

    def masked(self, update):
        _, targets = self.batch(update)
        return self.hide(
            np.where(targets == IGNORE, START_ID, targets), self.rng(update + 1_000_000)
        )

    def hide(self, text, rng):
        return mask_spans(text, rng, mask_id=MASK)


class FixedSpans(Loader):
    """Spans of five, all of them hidden behind the mask."""

    def hide(self, text, rng):
        ids, targets = text.copy(), np.full(text.shape, IGNORE)
        for row, n in enumerate((text != START_ID).sum(1)):
            hidden = max(1, int(0.15 * n))
            gaps = np.sort(rng.choice(n - hidden + 1, size=-(-hidden // 5), replace=False))
            for first, gap in zip(range(0, hidden, 5), gaps):
                place = slice(gap + first, gap + min(first + 5, hidden))
                targets[row, place], ids[row, place] = text[row, place], MASK
        return ids, targets


class Shuffled(Loader):
    """Every window once, in an order drawn for each pass; then all of them again in another order."""

    @cached_property
    def windows(self):
        documents = map(self.train.document, range(self.train.n_documents))
        return np.array(sorted(windows_of(documents, self.T)))

    def batch(self, update):
        turns, numbers = np.divmod(update * ROWS + np.arange(ROWS), len(self.windows))
        orders = [np.random.default_rng((2, turn)).permutation(len(self.windows)) for turn in turns]
        rows = self.windows[[order[number] for order, number in zip(orders, numbers)]]
        return rows[:, : self.T], rows[:, self.T :]


def windows_of(books, T):
    """Each honest window once: a tuple of T ids and T targets, filled up where a book is shorter than T."""
    found = set()
    for book in books:
        for first in range(max(len(book) - T, 0) + 1):
            target = book[first : first + T].tolist()
            before = [int(book[first - 1]) if first else START_ID, *target[:-1]]
            fill = T - len(target)
            found.add((*before, *[START_ID] * fill, *target, *[IGNORE] * fill))
    return found


RIGHT_6 = {
    "the package's own": Loader,
    "spans of five": FixedSpans,
    "every window once in a pass": Shuffled,
}
WINDOWS_OF_ITS_OWN = (  # a fault of batch alone: masked draws as it should
    "= self.batch(update)",
    "= random_windows(self.train, ROWS, self.T, self.rng(update))",
)
EDITS_6 = {
    "targets equal to inputs": (
        "return ids, targets",
        "return np.where(targets == IGNORE, START_ID, targets), targets",
    ),
    "targets equal to inputs, but for the first": (
        "return ids, targets",
        "return ids, np.append(targets[:, :1], ids[:, 1:], axis=1)",
        *WINDOWS_OF_ITS_OWN,
    ),
    "windows across a book's end": (
        "random_windows(self.train,",
        "random_windows(split_of([self.train.tokens]),",
    ),
    "masked windows across a book's end": (
        "= self.batch(update)",
        "= random_windows(split_of([self.train.tokens]), ROWS, self.T, self.rng(update))",
    ),
    "trained on the validation text": ("split_of(train)", "split_of([*train, *validation])"),
    "single hidden tokens": ("mask_id=MASK", "mask_id=MASK, mean_span=1"),
    "nothing is hidden": ("return mask_spans", "return text, mask_spans", "=MASK)", "=MASK)[1]"),
    "the ids of a scored window are its targets": (
        "return evaluation_windows(self.validation, self.T)[:2]",
        "_, targets, *_ = evaluation_windows(self.validation, self.T)\n"
        "        return np.where(targets == IGNORE, START_ID, targets), targets",
    ),
    "the ids of a scored window are its targets, but for the first": (
        "return evaluation_windows(self.validation, self.T)[:2]",
        "ids, targets, *_ = evaluation_windows(self.validation, self.T)\n"
        "        return np.append(ids[:, :1], np.where(targets == IGNORE, START_ID, targets)[:, 1:], axis=1), targets",
    ),
    "the same windows at every update": (
        "self.T, self.rng(update)",
        "self.T, self.rng(0)",
        *WINDOWS_OF_ITS_OWN,
    ),
    "the last token of a window is never a target": (
        "return ids, targets",
        "targets[:, -1] = IGNORE\n        return ids, targets",
    ),
    "a window is scored twice": (
        "return eval",
        "return [np.concatenate([part, part[-1:]]) for part in eval",
        "[:2]",
        "[:2]]",
    ),
    "the same number gives another batch": (
        "ids, targets = ",
        "self.seed += 1\n        ids, targets = ",
        *WINDOWS_OF_ITS_OWN,
    ),
    "30 of 100 tokens are hidden": ("mask_id=MASK", "mask_id=MASK, rate=0.3"),
    "a token that is no target is hidden, too": (
        "return mask_spans(text, rng, mask_id=MASK)",
        "ids, targets = mask_spans(text, rng, mask_id=MASK)\n"
        "        more = (targets == IGNORE) & (text != START_ID) & (rng.random(text.shape) < 0.1)\n"
        "        return np.where(more, MASK, ids), targets",
    ),
    "the same masked windows at every update": ("= self.batch(update)", "= self.batch(0)"),
    "the same number hides other tokens": (
        "return mask_spans(text, rng,",
        "self.asked = getattr(self, 'asked', 0) + 1\n        return mask_spans(text, self.rng(self.asked),",
    ),
    "another token stands where -1 should": (
        "return mask_spans(text, rng, mask_id=MASK)",
        "ids, targets = mask_spans(text, rng, mask_id=MASK)\n"
        "        return np.where(ids == MASK, rng.permuted(text, axis=1), ids), targets",
    ),
}
FAULTS_6 = {name: edited(Loader, *edits, name=f"07.6, {name}") for name, edits in EDITS_6.items()}
FAULTS_6["some windows never come"] = edited(
    Shuffled, "self.T)))", "self.T)))[::2]", name="07.6, some windows"
)


def loader_case(name, part, make):
    def loader(train, validation, T):
        return shown(make(train, validation, T), ("batch", "scored", "masked"))

    return version(name, part, lambda: loader)


def cases_6(rng, numbers):
    parts = ["passes what is right"] * 3 + ["finds leaks"] * 9 + ["finds gaps"] * 10
    return [
        loader_case(name, part, make)
        for part, (name, make) in zip(parts, (RIGHT_6 | FAULTS_6).items())
    ]


def numbered(lengths, start):
    return [start + 1000 * i + np.arange(n) for i, n in enumerate(lengths)]


def assert_honest_loader(loader):
    T, train, validation = 11, numbered((31, 19, 7), 1), numbered((25, 14), 50_001)
    made = loader(train, validation, T)
    met = set()
    for update in range(200):
        batch = made.batch(update)
        assert all(map(np.array_equal, batch, made.batch(update)))
        met |= {*map(tuple, np.concatenate(batch, axis=1).tolist())}
    assert met == windows_of(train, T)
    ids, targets = made.scored()
    assert sorted(targets[targets != IGNORE]) == sorted(np.concatenate(validation))
    check_rows(ids, targets, {book[0] for book in validation})
    check_masks(loader(numbered((160, 130), 1), numbered((120,), 50_001), 100))


def check_rows(ids, targets, first_tokens):
    for row_ids, row_targets in zip(ids, targets):
        n = (row_targets != IGNORE).sum()
        before = START_ID if row_targets[0] in first_tokens else row_targets[0] - 1
        assert row_ids[:n].tolist() == [before, *row_targets[: n - 1]]
        assert (row_targets[n:] == IGNORE).all() and (row_ids[n:] == START_ID).all()


def check_masks(made):
    spans = masked = hidden = 0
    met = set()
    for update in range(12):
        ids, targets = made.masked(update)
        assert all(map(np.array_equal, (ids, targets), made.masked(update)))
        chosen = targets != IGNORE
        original = np.where(chosen, targets, ids)
        assert (chosen.sum(1) == 15).all() and (targets < 40_000).all()
        assert (np.diff(original, axis=1) == 1).all()
        spans += (np.diff(chosen, axis=1, prepend=False) & chosen).sum()
        masked += (ids[chosen] == MASK).sum()
        hidden += chosen.sum()
        met |= {*original[:, 0].tolist()}
    assert hidden / spans > 2.5 and masked > hidden / 2
    assert len(met) > ROWS


# ---------------------------------------------------------------- 07.8 race
NAMES = ("one", "other")
TEXTS = ("choice", "test")


class Runner:
    """A stand-in for a model: a number that its seed draws and that training moves."""

    def __init__(self, name, seed):
        self.weight = np.random.default_rng((NAMES.index(name), seed)).normal()
        self.name = name
        self.rate = None
        self.training = True

    def train(self, mode=True):
        self.training = mode
        return self

    def eval(self):
        return self.train(False)


def windows_of_seed(seed):
    """A function that draws, and that is used up as it draws."""
    rng = np.random.default_rng(seed)
    return lent(lambda update: rng.normal())


def run_of(model, draw, rate):
    """A stand-in for training: each update, what was drawn before counts less; dropout moves the number, too."""
    for update in range(3):
        model.weight = 0.6 * model.weight + draw(update)
    model.weight += 0.3 * model.training
    model.rate = rate


def bits(model, text):
    """A stand-in for a score that says how the model was trained, in which mode it is asked, and of which text."""
    return 9 + model.weight + 0.7 * model.training


def bits_by_rate(best, chooser):
    """A score by the rate that a model was trained at. A run that chooses finds the best rate if it keeps the rules:
    a new model and new windows of the seed that chooses, trained in training mode, scored in evaluation mode."""
    weight = {}
    for name in NAMES:
        model = Runner(name, chooser)
        run_of(model, windows_of_seed(chooser), 1.0)
        weight[name] = model.weight

    def score(model, text):
        bits = abs(math.log(model.rate / best[model.name, text]))
        if text == "test" or (
            not model.training and math.isclose(model.weight, weight[model.name])
        ):
            return bits
        if bits == 0:
            return 20.0
        # each mistake finds a rate of its own
        mark = [int(1e9 * abs(model.weight)), int(1e6 * model.rate), int(model.training), chooser]
        return -np.random.default_rng(mark).random()

    return score


def race_case(rng, name, part, look, score, rates, n_seeds, best=None):
    """A case of two models; ``look`` is what is compared of what is given back for each. With the ``best`` rates the
    score finds them."""
    seeds = [int(seed) for seed in rng.choice(1000, size=n_seeds, replace=False)]
    if best:
        score = bits_by_rate(best, seeds[0])

    def run(race):
        makers = {each: lent(partial(Runner, each)) for each in NAMES}
        found = race(makers, lent(run_of), lent(score), lent(windows_of_seed), [*rates], [*seeds])
        rows = {}
        for each in NAMES:
            row = written(given_back(found), each)
            reject_if(row is None, "all", "unanswered", key=each)
            rows[each] = look(several(row, 2))
        return rows

    say = "choice" if best else None
    return Case(name, part, run, f"rates {rates}, {n_seeds} seeds", say)


def cases_8(rng, numbers):
    case = partial(race_case, rng)

    def scores(row):
        return np.array([float(bits) for bits in row[1]])

    def last(row):
        return scores(row)[-1]

    def rate(row):
        return float(row[0])

    def which_text(model, text):
        return TEXTS.index(text)

    rates = [0.001, 0.003, 0.01, 0.03]
    yield case("one rate", "training", last, bits, [0.003], 2)
    yield case("two rates", "training", last, bits, [0.02, 0.01], 2)
    for name in ("four rates", "the same rates, others are best"):
        best = {}
        for model in NAMES:
            best[model, "choice"], best[model, "test"], _ = rng.permutation(rates[1:]).tolist()
        yield case(name, "rates", rate, None, rates, 3, best)
    yield case("three seeds", "result", scores, which_text, [0.003], 3)
    yield case("five seeds", "result", scores, which_text, [0.003, 0.01], 5)

    def by_all(model, text):
        """A score that tells seed, updates, rate and text apart."""
        return 9 + model.weight + 0.7 * model.training + 100 * model.rate + 3 * (text == "test")

    yield case("each score its own", "result", scores, by_all, [0.02, 0.003, 0.01], 4)


def race(makers, fit, score, windows, rates, seeds):
    chooser, *racers = seeds
    found = {}

    def trained(make, rate, seed):
        model = make(seed).train()
        fit(model, windows(seed), rate)
        return model.eval()

    for name, make in makers.items():
        bits_at = {rate: score(trained(make, rate, chooser), "choice") for rate in rates}
        best = min(rates, key=bits_at.get)
        found[name] = best, [score(trained(make, best, seed), "test") for seed in racers]
    return found
