"""Problem set 07, training: cases, the oracle, and wrong answers; the right answers lie in ``solutions``."""

import copy
import json
import math
import os
import pickle
import shutil
import tempfile
from contextlib import contextmanager
from functools import cache, partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from flash_tutorial.data import IGNORE, START_ID, Split, evaluation_windows, mask_spans, random_windows

from ...bench.stored import load_stored
from ..exercise import Case, Said, Wrong, call, exercises_of, length_of_text, outcome_of_test, unchanged
from .tiny_run import Run

# ---------------------------------------------------------------- 07.1 bits_per_byte


def bits_per_byte(windows, n_bytes):
    nats = 0.0
    for mean, tokens in windows:
        nats += mean * tokens
    return nats / math.log(2) / n_bytes


def cases_1(rng, numbers):
    def case(name, part, counts, bytes_of_a_token):
        windows = [(float(rng.uniform(1, 4)), count) for count in counts]
        n_bytes = round(sum(counts) * bytes_of_a_token)
        return call(name, part, windows, n_bytes, sizes=f"tokens {counts}, {n_bytes} bytes")

    return [
        case("a token is a byte, the last window is short", "values", [64, 64, 64, 5], 1),
        case("a token has about four bytes", "values", [40, 7, 40], 4.3),
        case("one window", "edge sizes", [17], 2.9),
        case("windows of one token", "edge sizes", [1, 9, 1, 3], 3.6),
    ]


def sums(windows):
    return sum(mean * tokens for mean, tokens in windows), sum(tokens for _, tokens in windows)


def mean_of_means(windows, n_bytes):
    return sum(mean for mean, _ in windows) / len(windows) * sums(windows)[1] / math.log(2) / n_bytes


def in_nats(windows, n_bytes):
    return sums(windows)[0] / n_bytes


def times_ln2(windows, n_bytes):
    return sums(windows)[0] * math.log(2) / n_bytes


def per_token(windows, n_bytes):
    nats, tokens = sums(windows)
    return nats / tokens / math.log(2)


def perplexity(windows, n_bytes):
    return math.exp(sums(windows)[0] / n_bytes)


def wrong_side(windows, n_bytes):
    nats, tokens = sums(windows)
    return nats / tokens / math.log(2) * n_bytes / tokens


def means_as_sums(windows, n_bytes):
    return sum(mean for mean, _ in windows) / math.log(2) / n_bytes


# ---------------------------------------------------------------- 07.2 learning_rate and clip_each


def learning_rate(step, peak, warmup, total):
    if step > total:
        return 0.0
    if step < warmup:
        return peak * step / warmup
    return peak * (total + 1 - step) / (total + 1 - warmup)


def clip_each(grads, max_norm):
    clipped = []
    for g in grads:
        norm = math.sqrt(sum(float(x) ** 2 for x in g.flatten()))
        clipped.append(g * (max_norm / norm) if norm > max_norm else g.clone())
    return clipped


def cases_2(rng, numbers):
    def rates(name, peak, warmup, total, beyond=0):
        def run(answers):
            found = [answers.learning_rate(n, peak, warmup, total) for n in range(1, total + beyond + 1)]
            if any(rate is None for rate in found):
                raise Said("all", "none")
            return np.array([float(rate) for rate in found])

        return Case(name, "learning_rate", run, f"peak = {peak}, warmup = {warmup}, total = {total}")

    def clip(name, shapes, max_norm, zero=None):
        grads = [torch.from_numpy(np.array(rng.normal(size=shape) * 2)) for shape in shapes]
        if zero is not None:
            grads[zero] = torch.zeros_like(grads[zero])
        sizes = f"shapes {', '.join(map(str, shapes))}, max_norm = {max_norm}"
        return call(name, "clip_each", grads, max_norm, of="clip_each", sizes=sizes)

    return [
        rates("every update of a run", 0.7, 4, 12),
        rates("steps behind the end", 1.3, 3, 12, beyond=3),
        rates("no warm-up", 0.9, 0, 7),
        rates("warm-up to the last update", 2.1, 5, 5),
        clip("one large and one small tensor", [(7, 5), (2,)], 4.0),
        clip("all under the limit", [(3,), (2, 2)], 50.0),
        clip("no gradient at all in one tensor", [(4, 3), (5,), (2, 3)], 0.8, zero=1),
        clip("a single number, and three axes", [(), (2, 3, 4)], 0.01),
        clip("no tensors", [], 1.0),
    ]


def rate_from_zero(step, peak, warmup, total):
    if step <= total and step < warmup:
        return peak * (step - 1) / warmup
    return learning_rate(step, peak, warmup, total)


def rate_jumps(step, peak, warmup, total):
    if warmup <= step <= total:
        return peak * (total + 1 - step) / (total + 1)
    return learning_rate(step, peak, warmup, total)


def rate_cosine(step, peak, warmup, total):
    if warmup <= step <= total:
        return peak * (1 + math.cos(math.pi * (step - warmup) / (total + 1 - warmup))) / 2
    return learning_rate(step, peak, warmup, total)


def rate_constant(step, peak, warmup, total):
    return peak * min(1, step / max(warmup, 1))


def rate_negative(step, peak, warmup, total):
    if step < warmup:
        return peak * step / warmup
    return peak * (total + 1 - step) / (total + 1 - warmup)


def rate_last_lost(step, peak, warmup, total):
    if warmup <= step <= total:
        return peak * (total - step) / max(total - warmup, 1)
    return learning_rate(step, peak, warmup, total)


def rate_peak_twice(step, peak, warmup, total):
    if warmup < step <= total:
        return peak * (total + 1 - step) / (total - warmup)
    return peak if step == warmup else learning_rate(step, peak, warmup, total)


def rate_no_warmup(step, peak, warmup, total):
    return learning_rate(step, peak, 0, total)


def norm_of(g):
    return torch.linalg.vector_norm(g)


def clip_global(grads, max_norm):
    total = math.sqrt(sum(float(norm_of(g)) ** 2 for g in grads))
    return [g * min(1, max_norm / max(total, 1e-300)) for g in grads]


def clip_by_value(grads, max_norm):
    return [g.clamp(-max_norm, max_norm) for g in grads]


def clip_always(grads, max_norm):
    return [g * (max_norm / norm_of(g).clamp(min=1e-300)) for g in grads]


def clip_largest(grads, max_norm):
    return [g * min(1, max_norm / max(float(g.abs().max()), 1e-300)) for g in grads]


def clip_squared(grads, max_norm):
    return [g * (max_norm / norm_of(g) ** 2) if norm_of(g) > max_norm else g.clone() for g in grads]


def clip_nan(grads, max_norm):
    return [g / norm_of(g) * norm_of(g).clamp(max=max_norm) for g in grads]


def clip_rows(grads, max_norm):
    def one(g):
        norms = torch.linalg.vector_norm(g, dim=-1, keepdim=True) if g.dim() else g.abs()
        return g * (max_norm / norms.clamp(min=1e-300)).clamp(max=1)

    return [one(g) for g in grads]


def clip_as_torch(grads, max_norm):
    return [g * (max_norm / (norm_of(g) + 1e-6)).clamp(max=1) for g in grads]


# ---------------------------------------------------------------- 07.3 one update in float16


class Optimizer:
    """A stand-in: the step is the rate times the gradient, so that its size is seen."""

    def __init__(self, parameters, rate):
        self.parameters, self.rate = parameters, rate

    def zero_grad(self):
        for p in self.parameters:
            p.grad = None

    @torch.no_grad()
    def step(self):
        for p in self.parameters:
            if p.grad is not None:
                p -= self.rate * p.grad


class Scaler:
    """A stand-in for ``torch.amp.GradScaler``, with 1024 to begin with."""

    def __init__(self):
        self.factor, self.divided, self.overflow = 1024.0, False, False

    def scale(self, loss):
        return loss * self.factor

    def unscale_(self, optimizer):
        if self.divided:
            raise RuntimeError("unscale_() has already been called since the last step")
        self.divided, self.overflow = True, False
        for p in optimizer.parameters:
            if p.grad is not None:
                p.grad /= self.factor
                self.overflow |= not bool(p.grad.isfinite().all())

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


def overflow_to_inf(gradient):
    """What float16 does with numbers above its largest."""
    return torch.where(gradient.abs() > 65504, gradient.sign() * math.inf, gradient)


def session(weights, batches, max_norm, rates, seen):
    """A case's run: some updates with a student's function, and what is seen after each."""

    def run(training_step):
        parameters = [torch.from_numpy(w.copy()).requires_grad_() for w in weights]
        for p in parameters:
            p.register_hook(overflow_to_inf)
        optimizer = Optimizer(parameters, rates[0])
        scaler, schedule = Scaler(), Schedule(optimizer, rates)

        def loss_of(part):
            return sum(((p - x) ** 2).sum() for p, x in zip(parameters, part)) * part[-1]

        rows = []
        for parts in batches:
            given = copy.deepcopy(parts)
            training_step(loss_of, given, parameters, optimizer, scaler, schedule, max_norm)
            if not unchanged(parts, given):
                raise Said("all", "changed", argument=2)
            state = {"weights": [p.detach().clone() for p in parameters], "scale": scaler.factor,
                     "rate of the next update": optimizer.rate}  # fmt: skip
            rows.append({name: state[name] for name in seen})
        return rows

    return run


def draw_session(rng, n_parts, n_steps, wild=()):
    """Weights, and for each update its parts: (targets of each weight, a factor). ``wild`` are (update, part)."""
    shapes = [(3,), (2, 4)]
    weights = [rng.normal(size=shape) for shape in shapes]
    batches = [
        [(*(torch.from_numpy(rng.normal(size=shape)) for shape in shapes), 1e6 if (step, i) in wild else 1.0)
         for i in range(n_parts)]
        for step in range(n_steps)
    ]  # fmt: skip
    return weights, batches


FAR = 1e9  # a limit that no gradient reaches


def cases_3(rng, numbers):
    def case(name, part, n_parts, n_steps, seen, max_norm=FAR, rates=(0.05,), wild=()):
        weights, batches = draw_session(rng, n_parts, n_steps, wild)
        clip = "" if max_norm == FAR else f", max_norm = {max_norm}"
        run = session(weights, batches, max_norm, rates, seen)
        return Case(name, part, run, f"{n_parts} parts, {n_steps} updates{clip}")

    warmup = (0.01, 0.02, 0.04, 0.07, 0.11, 0.16, 0.22, 0.29, 0.37, 0.46, 0.56, 0.67, 0.79)
    return [
        case("four parts", "accumulation", 4, 2, ("weights",)),
        case("three parts", "accumulation", 3, 3, ("weights",)),
        case("a gradient over the limit", "clipping", 1, 1, ("weights",), max_norm=0.7),
        case("a gradient under the limit", "clipping", 1, 1, ("weights",), max_norm=90.0),
        case("the second update overflows", "overflow", 1, 3, ("scale", "weights"), wild=[(1, 0)]),
        case("a gradient over the limit, three parts", "clipping", 3, 1, ("weights",), max_norm=0.9),
        case("a warm-up, parts", "schedule", 3, 2, ("rate of the next update",), rates=warmup),
        case("a warm-up, one part", "schedule", 1, 3, ("weights", "rate of the next update"), rates=warmup),
        case("a warm-up, and an update that is skipped", "schedule", 1, 3, ("rate of the next update",), rates=warmup,
             wild=[(1, 0)]),
    ]  # fmt: skip


def training_step(loss_of, parts, parameters, optimizer, scaler, schedule, max_norm):
    """One update in float16, from the parts of a batch. Returns nothing.

    loss_of(part): the mean loss of a part, a tensor of one number. parts: a list. parameters: a list of tensors.
    optimizer: has zero_grad() and step(). scaler: has scale(loss), unscale_(optimizer), step(optimizer) and update().
    schedule: its step() sets the rate of the next update. max_norm: the limit of the norm of all gradients together.
    """
    for part in parts:
        optimizer.zero_grad()
        loss = loss_of(part)
        scaler.scale(loss).backward()
        schedule.step()
    torch.nn.utils.clip_grad_norm_(parameters, max_norm)
    scaler.unscale_(optimizer)
    optimizer.step()


def mended(divide="losses", clear="before", clip="after", step="scaler", moves="after", update="after"):
    """The oracle; each argument can put one fault in."""

    def each_part(loss, n_parts, parameters, optimizer, scaler, schedule, max_norm):
        if clear == "inside":
            optimizer.zero_grad()
        scaler.scale(loss / n_parts if divide == "losses" else loss).backward()
        if clip == "each part":
            torch.nn.utils.clip_grad_norm_(parameters, max_norm * scaler.factor)
        if update == "each part":
            scaler.update()
        if moves == "each part":
            schedule.step()

    def the_step(optimizer, scaler):
        if step != "optimizer":
            scaler.step(optimizer)
        if step != "scaler":
            optimizer.step()
            scaler.divided = False

    def training_step(loss_of, parts, parameters, optimizer, scaler, schedule, max_norm):
        if clear == "before":
            optimizer.zero_grad()
        for part in parts:
            each_part(loss_of(part), len(parts), parameters, optimizer, scaler, schedule, max_norm)
        if clip == "before":
            torch.nn.utils.clip_grad_norm_(parameters, max_norm)
        if clear == "late":
            optimizer.zero_grad()
        scaler.unscale_(optimizer)
        skipped = scaler.overflow
        if clip == "after":
            torch.nn.utils.clip_grad_norm_(parameters, max_norm)
        if divide == "after clipping":
            for p in parameters:
                p.grad /= len(parts)
        if moves == "early":
            schedule.step()
        if update == "early":
            scaler.update()
        the_step(optimizer, scaler)
        if update == "after":
            scaler.update()
        if moves == "after" or (moves == "unless skipped" and not skipped):
            schedule.step()

    return training_step


# ---------------------------------------------------------------- 07.4 save and load

KINDS = ("weights", "m", "v")


def save(path, run, *, left_out=(), dtype=np.float64, way="rename", swap=False):
    """The oracle. What stands behind the star makes the wrong answers."""
    path, fresh = Path(path), Run()
    kinds = dict(zip(KINDS, ("weights", "v", "m"))) if swap else {kind: kind for kind in KINDS}
    arrays = {}
    for kind, source in kinds.items():
        for name, array in getattr(run, source).items():
            arrays[f"{kind}.{name}"] = np.zeros_like(array) if kind in left_out else array.astype(dtype)
    plain = {name: getattr(fresh if name in left_out else run, name) for name in ("step", "position")}
    rng = np.random.default_rng(run.step) if "rng by step" in left_out else fresh.rng if "rng" in left_out else run.rng
    plain["rng"] = rng.bit_generator.state
    arrays["plain"] = np.array(json.dumps(plain))
    if way == "removed":
        path.unlink(missing_ok=True)
    part = {"rename": path.with_name(path.name + ".part"), "removed": path.with_name(path.name + ".part"),
            "early": path.with_name(path.name + ".part"), "in place": path,
            "elsewhere": Path(tempfile.gettempdir()) / f"{path.parent.name}.part"}[way]  # fmt: skip
    with open(part, "wb") as file:
        if way == "early":
            os.replace(part, path)
        np.savez(file, **arrays)
    if way in ("rename", "removed", "elsewhere"):
        os.replace(part, path)


def load(path):
    run = Run()
    with np.load(path) as file:
        plain = json.loads(str(file["plain"]))
        for key in file.files:
            if key != "plain":
                kind, _, name = key.partition(".")
                getattr(run, kind)[name] = file[key].astype(float)
    run.step, run.position = plain["step"], plain["position"]
    run.rng.bit_generator.state = plain["rng"]
    return run


def save_pickle(path, run):
    part = Path(path).with_name(Path(path).name + ".part")
    with open(part, "wb") as file:
        pickle.dump(run, file)
    os.replace(part, path)


def load_pickle(path):
    with open(path, "rb") as file:
        return pickle.load(file)


def save_in_two(path, run):
    save(path, run)
    Path(path).with_suffix(".json").write_text(json.dumps([run.step, run.position, run.rng.bit_generator.state]))


def load_from_two(path):
    run = load(path)
    run.step, run.position, run.rng.bit_generator.state = json.loads(Path(path).with_suffix(".json").read_text())
    return run


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


def spoil(run):
    """The process ends: nothing in memory is what it was."""
    for kind in KINDS:
        for array in getattr(run, kind).values():
            array[...] = np.nan
    run.step = run.position = -1
    run.rng.bit_generator.state = np.random.default_rng(99).bit_generator.state
    np.random.seed(99)


@contextmanager
def no_pickle():
    """Within it, writing or reading a pickle ends the case."""

    def refuse(*args, **kwargs):
        raise Said("07.4", "pickle")

    names = ("dump", "dumps", "load", "loads", "Pickler", "Unpickler")
    before = {name: getattr(pickle, name) for name in names}
    try:
        for name in names:
            new = type(name, (before[name],), {"__init__": refuse}) if name[0].isupper() else refuse
            setattr(pickle, name, new)
        yield
    finally:
        for name in names:
            setattr(pickle, name, before[name])


@contextmanager
def moves_to(path):
    """Within it, what is moved to a path is noted: a row for each move, and a copy of what came."""
    before, rows = {name: getattr(os, name) for name in ("replace", "rename")}, []

    def watch(move):
        def watched(source, target, **kwargs):
            if os.path.abspath(target) == os.path.abspath(path):
                copy_of = path.with_name(f"came {len(rows)}")
                shutil.copyfile(source, copy_of)
                beside = os.path.dirname(os.path.abspath(source)) == str(path.parent)
                rows.append({"old there": path.exists(), "beside": beside, "came": copy_of})
            return move(source, target, **kwargs)

        return watched

    try:
        for name, move in before.items():
            setattr(os, name, watch(move))
        yield rows
    finally:
        for name, move in before.items():
            setattr(os, name, move)


def alone(path, to):
    """The file goes to another folder, and nothing that may lie beside it."""
    if not path.exists():
        raise Said("07.4", "no file")
    os.rename(path, to)
    shutil.rmtree(path.parent)


def cases_4(rng, numbers):
    seeds = [int(seed) for seed in rng.integers(1, 1000, size=6)]

    def in_folder(name, part, work, sizes=""):
        def run(answers):
            with tempfile.TemporaryDirectory() as folder:
                return work(answers, Path(folder).resolve())

        return Case(name, part, run, sizes)

    def goes_on(seed, updates, look=after):
        def work(answers, folder):
            run, here, there = advanced(seed, updates), folder / "here", folder / "there"
            here.mkdir()
            there.mkdir()
            answers.save(here / "run.npz", run)
            spoil(run)
            alone(here / "run.npz", there / "run.npz")
            try:
                loaded = answers.load(there / "run.npz")
            except FileNotFoundError:
                raise Said("07.4", "two files") from None
            if loaded is None:
                raise Said("all", "none")
            return look(loaded)

        return work

    def bit_for_bit(seed, updates):
        def same(loaded):
            there, here = after(advanced(seed, updates), 20), after(loaded, 20)
            return all(np.array_equal(there[name], here[name]) for name in there)

        return goes_on(seed, updates, same)

    def itself(answers, folder):
        run, untouched = advanced(seeds[3], 3), after(advanced(seeds[3], 3))
        answers.save(folder / "run.npz", run)
        found = after(run)
        if not unchanged(untouched, found):
            raise Said("all", "changed", argument=2)
        return found

    def twice(answers, folder):
        for updates in (2, 5):
            answers.save(folder / "run.npz", advanced(seeds[4], updates))
        return after(answers.load(folder / "run.npz"))

    def whole(answers, folder):
        path = folder / "run.npz"
        answers.save(path, advanced(seeds[5], 2))
        with moves_to(path) as moves:
            answers.save(path, advanced(seeds[5], 5))
        if not moves:
            raise Said("07.4", "in place")
        if not moves[-1]["old there"]:
            raise Said("07.4", "removed")
        if not moves[-1]["beside"]:
            raise Said("07.4", "elsewhere")
        try:
            return after(answers.load(moves[-1]["came"]))
        except Exception:
            raise Said("07.4", "not whole") from None

    def without_pickle(answers, folder):
        run = advanced(seeds[0], 3)
        with no_pickle():
            answers.save(folder / "run.npz", run)
            return after(answers.load(folder / "run.npz"))

    return [
        in_folder("three updates, a stop, three more", "goes on", goes_on(seeds[0], 3), "3 + 3 updates"),
        in_folder("saved before the first update", "goes on", goes_on(seeds[1], 0), "0 + 3 updates"),
        in_folder("the examples have begun again", "goes on", goes_on(seeds[2], 17), "17 + 3 updates"),
        in_folder("to the last bit, twenty updates", "goes on", bit_for_bit(seeds[0], 4), "4 + 20 updates"),
        in_folder("the run that was saved goes on", "goes on", itself, "3 + 3 updates"),
        in_folder("saved twice", "whole file", twice, "2, then 5 updates"),
        in_folder("killed while it saves", "whole file", whole, "2, then 5 updates"),
        in_folder("no pickle", "no code", without_pickle, "3 + 3 updates"),
    ]


# ---------------------------------------------------------------- 07.5 read the curve

CHOICES = (
    "healthy", "inclusive sum", "local only", "overfit", "rate too high", "rate too low", "targets not shifted",
)  # fmt: skip
LETTERS = "abcd"


@cache
def causes():
    return [run["cause"] for run in load_stored("curves")["runs"]]


def draw_5(rng):
    """Four of the six stored runs, in an order of one's own; the inclusive sum is always among them."""
    leak = causes().index("inclusive sum")
    others = [i for i in range(len(causes())) if i != leak]
    chosen = [leak, *rng.choice(others, size=3, replace=False)]
    return dict(zip(LETTERS, (int(i) for i in rng.permutation(chosen))))


def answers_5(n):
    return {letter: causes()[number] for letter, number in n.items()}


def cases_5(rng, numbers):
    def case(letter):
        cause = answers_5(numbers)[letter]

        def run(answer):
            choice = answer.get(letter)
            if choice is None:
                raise Said("all", "unanswered", key=letter)
            if choice not in CHOICES:
                raise Said("07.5", "no such cause", causes=", ".join(CHOICES))
            if choice != cause:
                raise Said("07.5", f"{cause}: {choice}")
            return choice

        return Case(f"run {letter}", letter, run)

    return [case(letter) for letter in LETTERS]


def leak_taken_for(choice):
    def answer(n):
        return {letter: choice if cause == "inclusive sum" else cause for letter, cause in answers_5(n).items()}

    return answer


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
        return random_windows(self.train, ROWS, self.T, self.rng(update))

    def scored(self):
        return evaluation_windows(self.validation, self.T)[:2]

    def masked(self, update):
        _, targets = self.batch(update)
        return self.hide(np.where(targets == IGNORE, START_ID, targets), self.rng(update + 1_000_000))

    def hide(self, text, rng):
        return mask_spans(text, rng, mask_id=MASK)


class FixedSpans(Loader):
    """Spans of five, all of them hidden behind the mask."""

    seed, span = 1, 5

    def hide(self, text, rng):
        ids, targets = text.copy(), np.full(text.shape, IGNORE)
        for row in range(len(text)):
            n = int((text[row] != START_ID).sum())
            hidden = max(1, int(0.15 * n))
            lengths = [self.span] * (hidden // self.span) + [hidden % self.span] * (hidden % self.span > 0)
            gaps = np.sort(rng.choice(n - hidden + 1, size=len(lengths), replace=False))
            for i, (gap, length) in enumerate(zip(gaps, lengths)):
                first = gap + sum(lengths[:i])
                targets[row, first : first + length] = text[row, first : first + length]
                ids[row, first : first + length] = MASK
        return ids, targets


class Shuffled(Loader):
    """Every window once, in an order drawn for each pass; then all of them again in another order."""

    seed = 2

    def batch(self, update):
        n = int(np.maximum(np.diff(self.train.offsets) - self.T, 0).sum()) + self.train.n_documents
        rows = []
        for place in range(update * ROWS, (update + 1) * ROWS):
            order = np.random.default_rng((self.seed, place // n)).permutation(n)
            rows.append(window_number(self.train, int(order[place % n]), self.T))
        return tuple(np.stack(part) for part in zip(*rows))


def window_number(split, number, T):
    for first, end in pairwise(split.offsets):
        count = max(end - first - T, 0) + 1
        if number < count:
            target = split.tokens[first + number : min(first + number + T, end)]
            before = [split.tokens[first + number - 1] if number else START_ID, *target[:-1]]
            ids, targets = np.full(T, START_ID), np.full(T, IGNORE)
            ids[: len(target)], targets[: len(target)] = before, target
            return ids, targets
        number -= count
    raise ValueError("there is no such window")


class Unshifted(Loader):
    def batch(self, update):
        _, targets = super().batch(update)
        return np.where(targets == IGNORE, START_ID, targets), targets


class Joined(Loader):
    """All books as one: windows run over their ends."""

    def batch(self, update):
        return random_windows(split_of([self.train.tokens]), ROWS, self.T, self.rng(update))


class TrainsOnAll(Loader):
    def batch(self, update):
        both = [split.document(i) for split in (self.train, self.validation) for i in range(split.n_documents)]
        return random_windows(split_of(both), ROWS, self.T, self.rng(update))


class Single(FixedSpans):
    span = 1


class NothingHidden(Loader):
    def hide(self, text, rng):
        return text, super().hide(text, rng)[1]


class Forgetful(Loader):
    def batch(self, update):
        return super().batch(0)


class NeverTheLast(Loader):
    def batch(self, update):
        ids, targets = super().batch(update)
        targets[:, -1] = IGNORE
        return ids, targets


class ScoresTwice(Loader):
    """The last window is scored once more."""

    def scored(self):
        return tuple(np.concatenate([part, part[-1:]]) for part in super().scored())


class Restless(Loader):
    """Whoever goes on from a checkpoint gets other batches."""

    asked = 0

    def batch(self, update):
        self.asked += 1
        return random_windows(self.train, ROWS, self.T, np.random.default_rng((self.seed, update, self.asked)))


RIGHT_6 = {"the package's own": Loader, "spans of five": FixedSpans, "every window once in a pass": Shuffled}
FAULTS_6 = {
    "targets equal to inputs": Unshifted,
    "windows across a book's end": Joined,
    "trained on the validation text": TrainsOnAll,
    "single hidden tokens": Single,
    "nothing is hidden": NothingHidden,
    "the same windows at every update": Forgetful,
    "the last token of a window is never a target": NeverTheLast,
    "a window is scored twice": ScoresTwice,
    "the same number gives another batch": Restless,
}


def loader_case(name, part, make):
    return Case(name, part, lambda test: outcome_of_test(test, make), say=name)


def cases_6(rng, numbers):
    leaks = [*FAULTS_6][:5]
    return [
        *(loader_case(name, "passes what is right", make) for name, make in RIGHT_6.items()),
        *(loader_case(name, "finds leaks", FAULTS_6[name]) for name in leaks),
        *(loader_case(name, "finds gaps", make) for name, make in FAULTS_6.items() if name not in leaks),
    ]


def numbered(lengths, start):
    return [start + 1000 * i + np.arange(n) for i, n in enumerate(lengths)]


def check_rows(ids, targets, books):
    """Each row is a stretch of one book, ids one token earlier."""
    book_of = {int(token): (number, place) for number, book in enumerate(books) for place, token in enumerate(book)}
    assert ids.shape == targets.shape
    for before, row in zip(ids, targets):
        n = int((row != IGNORE).sum())
        assert n and (row[n:] == IGNORE).all() and (before[n:] == START_ID).all()
        assert int(row[0]) in book_of
        number, first = book_of[int(row[0])]
        book = books[number]
        assert n == min(len(row), len(book) - first)
        assert np.array_equal(row[:n], book[first : first + n])
        assert before[0] == (book[first - 1] if first else START_ID) and np.array_equal(before[1:n], row[: n - 1])


def try_loader(
    loader, *, lengths=(31, 19, 7), updates=200, number=numbered, rows=check_rows, masks=True, strict=False,
    scores=True, again=True,
):  # fmt: skip
    """The oracle. What stands behind the star makes the weak tests."""
    T = 11
    train, validation = number(lengths, 1), number((25, 14), 50_001)
    made, starts, seen = loader(train, validation, T), set(), set()
    for update in range(updates):
        ids, targets = made.batch(update)
        rows(ids, targets, train)
        assert not again or all(map(np.array_equal, (ids, targets), made.batch(update)))
        starts |= {int(row[0]) for row in targets}
        seen |= {*targets[targets != IGNORE].tolist()}
    if updates > 1:
        assert len(starts) >= sum(len({*book[: max(len(book) - T + 1, 1)].tolist()}) for book in train)
        assert seen == {int(token) for book in train for token in book}
    ids, targets = made.scored()
    tokens = sorted(targets[targets != IGNORE].tolist())
    assert not scores or tokens == sorted(int(t) for book in validation for t in book)
    if masks:
        check_masks(loader, strict)


def check_masks(loader, strict=False, lengths=(160, 130), largest=40_000):
    T = 100
    text = numbered(lengths, 1)
    made = loader(text, numbered((120,), 50_001), T)
    spans, shown, hidden = 0, 0, 0
    for update in range(20):
        ids, targets = made.masked(update)
        chosen = targets != IGNORE
        assert (chosen.sum(1) == 15).all() and (targets[chosen] < largest).all()
        original = np.where(chosen, targets, ids)
        assert (np.diff(original, axis=1) == 1).all()
        spans += int((chosen & ~np.pad(chosen, ((0, 0), (1, 0)))[:, :-1]).sum())
        shown += int((ids == targets)[chosen].sum())
        hidden += int(chosen.sum())
        assert not strict or (ids[chosen] == MASK).all()
    assert hidden / spans > 2.5 and shown < hidden / 2


def assert_honest_loader(loader):
    try_loader(loader)


def rows_by_inputs(ids, targets, books):
    """Looks at ids, and never at targets."""
    inside = {(int(a), int(b)) for book in books for a, b in pairwise(book)}
    for row in ids:
        row = row[row != START_ID]
        assert all((int(a), int(b)) in inside for a, b in pairwise(row))


def weak_shapes(loader):
    made = loader(numbered((31, 19), 1), numbered((25,), 50_001), 11)
    for ids, targets in (made.batch(0), made.masked(0)):
        assert ids.shape == targets.shape == (8, 11)


def weak_first_batch(loader):
    try_loader(loader, updates=1)
    made = loader(numbered((13, 13, 13, 13), 1), numbered((13,), 50_001), 11)
    for update in (0,):
        check_rows(*made.batch(update), numbered((13, 13, 13, 13), 1))
    both = loader(numbered((12,), 1), numbered((400,), 50_001), 11)
    assert (both.batch(0)[1] < 40_000).all()


def weak_repeating(loader):
    """A text of seven different tokens, over and over: where a window comes from cannot be seen."""

    def rows(ids, targets, books):
        for before, row in zip(ids, targets):
            n = int((row != IGNORE).sum())
            assert n == len(row) or n == 7
            assert (np.diff(row[:n]) % 7 == 1).all() and np.array_equal(before[1:n], row[: n - 1])
            assert before[0] in (START_ID, (row[0] - 2) % 7 + 1)

    def number(lengths, start):
        return [1 + np.arange(n) % 7 for n in lengths]

    T = 11
    made, windows = loader(number((31, 19, 7), 1), number((25, 14), 1), T), set()
    for update in range(60):
        ids, targets = made.batch(update)
        rows(ids, targets, None)
        windows |= {tuple(row) for row in targets.tolist()}
    assert len(windows) == 8
    check_masks(loader, largest=math.inf)


def weak_one_book(loader):
    try_loader(loader, lengths=(40,), masks=False)
    check_masks(loader, lengths=(290,))


def weak_inputs(loader):
    T = 11
    train = numbered((31, 19, 7), 1)
    made, seen = loader(train, numbered((25, 14), 50_001), T), set()
    for update in range(200):
        ids, _ = made.batch(update)
        rows_by_inputs(ids, None, train)
        assert (ids < 40_000).all()
        seen |= {tuple(row) for row in ids.tolist()}
    assert len(seen) > 20
    made = loader(numbered((160, 130), 1), numbered((120,), 50_001), 100)
    for update in range(20):
        assert (made.masked(update)[0] == MASK).any()


def weak_no_masks(loader):
    try_loader(loader, masks=False)


def weak_one_reading(loader):
    try_loader(loader, strict=True)


def weak_no_scores(loader):
    try_loader(loader, scores=False)


def weak_once(loader):
    try_loader(loader, again=False)


# ---------------------------------------------------------------- 07.7 same budget?


def cases_7(rng, numbers):
    def questions(text):
        if str(text).count("?") < 3:
            raise Said("all", "needs", what="three questions, each with a question mark")
        return True

    return [length_of_text(30, 80), Case("questions", "text", questions)]


MODEL_ANSWER = (
    "Was the rate tuned for each model, by the same rule, with as many trials? One rate can pick the winner. "
    "What was equal: parameters, bytes read, and time? Equal updates are not equal time. How many seeds were there, "
    "and how far are they apart? A difference of 0.035 from one seed may be luck. Was the order of the text "
    "the same, and was the scored text used for choices?"
)

EXERCISES = exercises_of("07", {
    "07.1": dict(
        cases=cases_1, right=bits_per_byte,
        wrong=(
            Wrong("mean of means", mean_of_means), Wrong("nats", in_nats), Wrong("times ln 2", times_ln2),
            Wrong("per token", per_token), Wrong("perplexity", perplexity), Wrong("wrong side", wrong_side),
            Wrong("means as sums", means_as_sums),
        ),
    ),
    "07.2": dict(
        cases=cases_2, right={"learning_rate": learning_rate, "clip_each": clip_each},
        wrong=(
            Wrong("first is 0", rate_from_zero, of="learning_rate"), Wrong("jump", rate_jumps, of="learning_rate"),
            Wrong("cosine", rate_cosine, of="learning_rate"), Wrong("no decay", rate_constant, of="learning_rate"),
            Wrong("negative", rate_negative, of="learning_rate"),
            Wrong("last is 0", rate_last_lost, of="learning_rate"),
            Wrong("peak twice", rate_peak_twice, of="learning_rate"),
            Wrong("no warm-up", rate_no_warmup, of="learning_rate"),
            Wrong("global", clip_global, of="clip_each"), Wrong("by value", clip_by_value, of="clip_each"),
            Wrong("always", clip_always, of="clip_each"), Wrong("largest", clip_largest, of="clip_each"),
            Wrong("squared", clip_squared, of="clip_each"), Wrong("NaN", clip_nan, of="clip_each"),
            Wrong("rows", clip_rows, of="clip_each"), Wrong("PyTorch's", clip_as_torch, of="clip_each"),
            Wrong("input", lambda grads, max_norm: grads, of="clip_each"),
        ),
    ),
    "07.3": dict(
        cases=cases_3, right=mended(), shut=False, tolerance=1e-6, given=training_step,
        wrong=(
            Wrong("clip before", mended(clip="before")), Wrong("not divided", mended(divide="never")),
            Wrong("cleared inside", mended(clear="inside")), Wrong("never cleared", mended(clear="never")),
            Wrong("optimizer's step", mended(step="optimizer")), Wrong("each part", mended(moves="each part")),
            Wrong("no update", mended(update="never")), Wrong("moves early", mended(moves="early")),
            Wrong("update early", mended(update="early")), Wrong("cleared late", mended(clear="late")),
            Wrong("schedule forgotten", mended(moves="never")), Wrong("no clipping", mended(clip="never")),
            Wrong("divided after clipping", mended(divide="after clipping")),
            Wrong("clips each part", mended(clip="each part")), Wrong("waits", mended(moves="unless skipped")),
            Wrong("steps twice", mended(step="both")), Wrong("update for each part", mended(update="each part")),
        ),
    ),
    "07.4": dict(
        cases=cases_4, right={"save": save, "load": load}, shut=False,
        wrong=(
            Wrong("no averages", partial(save, left_out=("m", "v")), of="save"),
            Wrong("no v", partial(save, left_out=("v",)), of="save"),
            Wrong("no rng", partial(save, left_out=("rng",)), of="save"),
            Wrong("rng by step", partial(save, left_out=("rng by step",)), of="save"),
            Wrong("no position", partial(save, left_out=("position",)), of="save"),
            Wrong("no step", partial(save, left_out=("step",)), of="save"),
            Wrong("weights alone", partial(save, left_out=("m", "v", "rng", "position", "step")), of="save"),
            Wrong("float16", partial(save, dtype=np.float16), of="save"),
            Wrong("float32", partial(save, dtype=np.float32), of="save"),
            Wrong("swapped", partial(save, swap=True), of="save"),
            Wrong("in place", partial(save, way="in place"), of="save"),
            Wrong("removed", partial(save, way="removed"), of="save"),
            Wrong("elsewhere", partial(save, way="elsewhere"), of="save"),
            Wrong("not whole", partial(save, way="early"), of="save"),
            Wrong("pickle", {"save": save_pickle, "load": load_pickle}),
            Wrong("two files", {"save": save_in_two, "load": load_from_two}),
        ),
    ),
    "07.5": dict(
        cases=cases_5, right=answers_5, draw=draw_5, shut=False,
        wrong=tuple(Wrong(f"inclusive sum: {choice}", leak_taken_for(choice)) for choice in CHOICES
              if choice != "inclusive sum"),
    ),
    "07.6": dict(
        cases=cases_6, right=assert_honest_loader, shut=False,
        wrong=(
            Wrong("weak: shapes", weak_shapes), Wrong("weak: first batch", weak_first_batch),
            Wrong("weak: repeating", weak_repeating), Wrong("weak: one book", weak_one_book),
            Wrong("weak: inputs", weak_inputs), Wrong("weak: no masks", weak_no_masks),
            Wrong("weak: one reading", weak_one_reading),
            Wrong("weak: no scores", weak_no_scores), Wrong("weak: asked once", weak_once),
        ),
    ),
    "07.7": dict(
        cases=cases_7,
    ),
})  # fmt: skip
