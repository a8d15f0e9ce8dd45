"""Set 07: other right answers, and what only `grade` tries."""

import itertools
import json
import math
import os
import sqlite3
import tempfile
from contextlib import closing
from fractions import Fraction
from functools import partial
from os import replace

import numpy as np
import torch

from flash_tutorial.corpora import IGNORE, START_ID, random_windows
from flash_course import personal
from flash_course.bench.stored import load_stored
from flash_course.checks.exercise import Case
from flash_course.checks.sets.set_07 import RATE, ROWS, Loader, loader_case, session_case
from flash_course.checks.sets.tiny_run import Run

# ---------------------------------------------------------------- right answers, written differently


def bits_by_loop(windows, n_bytes):
    bits = 0
    for nats, tokens in windows:
        bits += nats * math.log2(math.e) * tokens
    return bits / n_bytes


def bits_by_arrays(windows, n_bytes):
    means, tokens = np.array(windows, float).T
    return means @ tokens / (n_bytes * np.log(2))


def rate_by_two_lines(step, peak, warmup, total):
    down = (total + 1 - step) / (total + 1 - warmup)
    up = step / warmup if warmup else 1
    return peak * max(0, min(up, down, 1))


def rate_by_interpolation(step, peak, warmup, total):
    return float(np.interp(step, [0, warmup, total + 1], [0, peak, 0]))


def clip_by_division(grads, max_norm):
    return [g / (g.pow(2).sum().sqrt() / max_norm).clamp(min=1) for g in grads]


def clip_by_loop(grads, max_norm):
    result = []
    for g in grads:
        copy, norm = g.clone(), g.norm()
        if norm > max_norm:
            copy *= max_norm
            copy /= norm
        result.append(copy)
    return result


def step_cleared_by_hand(loss_of, parts, parameters, optimizer, scaler, schedule, max_norm):
    """The gradients are filled with zeros, and clipped by hand."""
    for p in parameters:
        p.grad = torch.zeros_like(p)
    for part in parts:
        (scaler.scale(loss_of(part)) / len(parts)).backward()
    scaler.unscale_(optimizer)
    norm = math.sqrt(sum(float(p.grad.square().sum()) for p in parameters))
    for p in parameters:
        p.grad *= min(1, max_norm / norm)
    scaler.step(optimizer)
    schedule.step()
    scaler.update()


def step_divided_later(loss_of, parts, parameters, optimizer, scaler, schedule, max_norm):
    """The gradients are divided by the number of parts, and not the losses."""
    optimizer.zero_grad()
    for part in parts:
        scaler.scale(loss_of(part)).backward()
    scaler.unscale_(optimizer)
    for p in parameters:
        p.grad /= len(parts)
    torch.nn.utils.clip_grad_norm_(parameters, max_norm)
    scaler.step(optimizer)
    scaler.update()
    schedule.step()


def step_with_keywords(loss_of, parts, parameters, optimizer, scaler, schedule, max_norm):
    """With the arguments that torch's own objects take."""
    optimizer.zero_grad(set_to_none=True)
    for part in parts:
        scaler.scale(loss_of(part) / len(parts)).backward()
    scaler.unscale_(optimizer)
    torch.nn.utils.clip_grad_norm_(parameters, max_norm=max_norm, norm_type=2.0)
    scaler.step(optimizer)
    scaler.update()
    schedule.step()


def save_with_numbers_as_arrays(path, run):
    arrays = {f"{kind}.{name}": getattr(run, kind)[name] for kind in ("weights", "m", "v") for name in run.weights}
    dice = json.dumps(run.rng.bit_generator.state)
    beside = path.parent / f".{path.name}"
    with beside.open("wb") as file:
        np.savez(file, step=run.step, position=run.position, dice=dice, **arrays)
    replace(beside, path)


def load_numbers_as_arrays(path):
    """step and position come back as arrays without axes."""
    run = Run()
    with np.load(path) as file:
        for kind in ("weights", "m", "v"):
            setattr(run, kind, {name: file[f"{kind}.{name}"] for name in run.weights})
        run.step, run.position = file["step"], file["position"]
        run.rng.bit_generator.state = json.loads(str(file["dice"]))
    return run


def save_as_json(path, run):
    values = {kind: {name: a.tolist() for name, a in getattr(run, kind).items()} for kind in ("weights", "m", "v")}
    values |= {"step": run.step, "position": run.position, "rng": run.rng.bit_generator.state}
    beside = path.with_suffix(".new")
    beside.write_text(json.dumps(values))
    beside.replace(path)


def load_from_json(path):
    values, run = json.loads(path.read_text()), Run(5)
    for kind in ("weights", "m", "v"):
        setattr(run, kind, {name: np.array(rows) for name, rows in values[kind].items()})
    run.step, run.position = values["step"], values["position"]
    run.rng = np.random.default_rng()
    run.rng.bit_generator.state = values["rng"]
    return run


def save_flat(path, run):
    """All arrays in one row of numbers, and the rest as bytes of JSON."""
    row = np.concatenate([getattr(run, kind)[name].ravel() for kind in ("weights", "m", "v") for name in run.weights])
    plain = json.dumps([run.step, run.position, run.rng.bit_generator.state]).encode()
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        np.savez_compressed(file, row=row, plain=np.frombuffer(plain, np.uint8))
    os.rename(file.name, path)


def load_flat(path):
    with np.load(path) as file:
        row, plain = file["row"], json.loads(file["plain"].tobytes())
    run = Run()
    for kind in ("weights", "m", "v"):
        for array in getattr(run, kind).values():
            array[...], row = row[: array.size].reshape(array.shape), row[array.size :]
    run.step, run.position, run.rng.bit_generator.state = plain
    return run


def assert_by_tables(loader):
    """All windows as a table, by text; the masked ones by their runs of hidden places."""
    T, train, validation = 7, [np.arange(1, 21), np.arange(101, 105)], [np.arange(201, 217)]
    windows = {(0, *range(1, 7), *range(1, 8))}
    windows |= {(*range(s, s + 7), *range(s + 1, s + 8)) for s in range(1, 14)}
    windows |= {(0, 101, 102, 103, 0, 0, 0, 101, 102, 103, 104, -100, -100, -100)}
    made, met = loader(train, validation, T), set()
    for update in range(100):
        ids, targets = made.batch(update)
        assert (made.batch(update)[1] == targets).all()
        met |= {tuple(row) for row in np.concatenate([ids, targets], 1).tolist()}
    assert met == windows
    ids, targets = made.scored()
    chosen = targets != -100
    assert sorted(targets[chosen].tolist()) == list(range(201, 217))
    assert np.where(ids[chosen] == 0, 200, ids[chosen]).tolist() == (targets[chosen] - 1).tolist()
    assert not ids[~chosen].any()

    books = [np.arange(1, 401), np.arange(421, 1001)]
    made = loader(books, [np.arange(2001, 2501)], 200)
    lengths, seen, starts = [], [], []
    for update in range(10):
        ids, targets = made.masked(update)
        assert all((a == b).all() for a, b in zip((ids, targets), made.masked(update)))
        assert targets.max() <= 1000 and ids.max() <= 1000
        for row_ids, row in zip(ids, targets):
            assert (row == -100).sum() == 170
            text = "".join("x" if target != -100 else " " for target in row)
            lengths += [len(span) for span in text.split()]
            seen += (row_ids != -1)[row != -100].tolist()
            start = {int(token) - place for place, token in enumerate(np.where(row == -100, row_ids, row))}
            assert len(start) == 1
            starts += start
    assert len(set(starts)) > 20
    assert np.mean(lengths) > 2.5 and np.mean(seen) < 0.5


def assert_by_places(loader):
    """Each book by itself first, then two together."""
    book, other = 1 + np.arange(15), 301 + np.arange(90)
    for train in ([book], [book, other], [other, book]):
        made, met = loader(train, [901 + np.arange(40)], 12), []
        for update in range(150 if len(train) > 1 else 40):
            ids, targets = made.batch(update)
            assert np.array_equal(targets, made.batch(update)[1])
            if (targets < 0).any() or (targets >= 900).any():
                raise AssertionError("a place without a target, or one of another text")
            assert (np.diff(targets, axis=1) == 1).all() and (ids[:, 1:] == targets[:, :-1]).all()
            first = targets[:, 0]
            assert (ids[:, 0] == np.where((first == 1) | (first == 301), 0, first - 1)).all()
            met += targets[:, 0].tolist()
        assert set(met) == {int(b[s]) for b in train for s in range(len(b) - 11)}
        ids, targets = made.scored()
        assert np.array_equal(np.sort(targets[targets > 0]), 901 + np.arange(40))
        before = np.where(targets > 901, targets - 1, 0)
        assert np.array_equal(ids, before)
    runs = hidden = open_places = 0
    made = loader([np.arange(1, 300), np.arange(310, 500)], [901 + np.arange(300)], 120)
    earlier = []
    for update in range(20):
        ids, targets = made.masked(update)
        again = made.masked(update)
        assert np.array_equal(ids, again[0]) and np.array_equal(targets, again[1])
        places = np.where(targets == -100, ids, targets)[:, 0].tolist()
        assert places not in earlier
        earlier.append(places)
        for i in range(len(ids)):
            row = [int(t) if t != -100 else int(x) for x, t in zip(ids[i], targets[i])]
            assert row == list(range(row[0], row[0] + 120)) and row[-1] < 900
            there = targets[i] != -100
            assert there.sum() == 18
            runs += sum(bool(there[j] and not (j and there[j - 1])) for j in range(120))
            hidden += int(there.sum())
            open_places += int((ids[i][there] != -1).sum())
    assert hidden > 2 * runs and open_places < 0.4 * hidden


# ---------------------------------------------------------------- unusual, and right


def bits_by_fractions(windows, n_bytes):
    """The sum is exact."""
    return float(sum(Fraction(mean) * tokens for mean, tokens in windows) / n_bytes) * np.log2(np.e)


def bits_by_average(windows, n_bytes):
    means, tokens = zip(*windows)
    return (
        np.average(means, weights=tokens) * sum(tokens) / math.log(2**n_bytes)
        if n_bytes < 500
        else bits_by_loop(windows, n_bytes)
    )


def rate_as_fraction(step, peak, warmup, total):
    """Exact, and the least of two lines."""
    falling = Fraction(total + 1 - step, total + 1 - warmup)
    return Fraction(peak) * sorted([0, min(Fraction(step, warmup or step), falling)])[-1]


def clip_with_where(grads, max_norm):
    norms = map(torch.norm, grads)
    return [torch.where(norm > max_norm, g * max_norm / norm.clamp(min=max_norm), g) for g, norm in zip(grads, norms)]


def step_by_grad(loss_of, parts, parameters, optimizer, scaler, schedule, max_norm):
    """Gradients are asked for, not stored by a backward pass; hung up at the end."""
    total = [torch.zeros_like(p) for p in parameters]
    for part in parts:
        scaled = scaler.scale(loss_of(part)).div(len(parts))
        total = [a + g for a, g in zip(total, torch.autograd.grad(scaled, parameters))]
    for p, g in zip(parameters, total):
        p.grad = g
    scaler.unscale_(optimizer)
    torch.nn.utils.clip_grads_with_norm_(
        parameters, max_norm, torch.nn.utils.get_total_norm([p.grad for p in parameters])
    )
    for act in (lambda: scaler.step(optimizer), scaler.update, schedule.step):
        act()


def save_in_database(path, run):
    """A database of one table; the move has a name of its own."""
    part = str(path) + ".new"
    with closing(sqlite3.connect(part)) as base, base:
        base.execute("CREATE TABLE numbers (kind, name, place, value)")
        for kind in ("weights", "m", "v"):
            for name, array in getattr(run, kind).items():
                rows = ((kind, name, place, float(value)) for place, value in enumerate(array.flat))
                base.executemany("INSERT INTO numbers VALUES (?, ?, ?, ?)", rows)
        plain = {"step": run.step, "position": run.position, "dice": json.dumps(run.rng.bit_generator.state)}
        base.executemany("INSERT INTO numbers VALUES ('plain', ?, 0, ?)", plain.items())
    replace(part, path)


def load_from_database(path):
    run = Run()
    with closing(sqlite3.connect(path)) as base:
        for kind, name, place, value in base.execute("SELECT * FROM numbers"):
            if kind != "plain":
                getattr(run, kind)[name].flat[place] = value
            elif name == "dice":
                run.rng.bit_generator.state = json.loads(value)
            else:
                setattr(run, name, value)
    return run


CURVES = {letter: load_stored("curves")["runs"][number]["cause"].upper() for letter, number in personal("07.5").items()}
TEXT = """
Did both models see the same number of tokens, in batches of the same size? Was the learning rate of each one chosen by as
many tries, or was one model given the other's? Are their parameters equally many, and was each run repeated with several
seeds before a difference of 0.02 was called one?
"""


def race_in_rounds(makers, fit, score, windows, rates, seeds):
    """All runs of the choice first, model beside model; then the race, seed by seed."""
    tried = {name: [] for name in makers}
    for rate in rates:
        for name in makers:
            model = makers[name](seeds[0])
            fit(model, windows(seeds[0]), rate)
            tried[name].append((score(model.eval(), "choice"), rate))
    chosen = {name: min(pairs)[1] for name, pairs in tried.items()}
    scores = {name: [] for name in makers}
    for seed in seeds[1:]:
        for name, make in reversed(makers.items()):
            model = make(seed)
            fit(model, windows(seed), chosen[name])
            model.eval()
            scores[name].append(score(model, "test"))
    return {name: [chosen[name], np.array(scores[name])] for name in makers}


def race_by_sorting(makers, fit, score, windows, rates, seeds):
    """A run is a function, and the rates are sorted by it."""

    def after(name, seed, rate, text):
        model = makers[name](seed).train()
        fit(model, windows(seed), rate)
        return score(model.train(False), text)

    def of(name):
        best = sorted(rates, key=lambda rate: after(name, seeds[0], rate, "choice"))[0]
        return best, tuple(after(name, seed, best, "test") for seed in seeds[1:])

    return {name: of(name) for name in makers}


def race_by_tables(makers, fit, score, windows, rates, seeds):
    """One table of all runs, of which most are not needed."""
    table = {}
    for name, rate, (place, seed) in itertools.product(makers, rates, enumerate(seeds)):
        model = makers[name](seed)
        fit(model, windows(seed), rate)
        model.eval()
        table[name, rate, seed] = score(model, "test" if place else "choice")
    best = {name: rates[np.argmin([table[name, rate, seeds[0]] for rate in rates])] for name in makers}
    return {name: (best[name], [table[name, best[name], seed] for seed in seeds[1:]]) for name in makers}


RIGHT = {
    "07.1": [bits_by_loop, bits_by_arrays, bits_by_fractions, bits_by_average],
    "07.2": [
        {"learning_rate": rate_by_two_lines, "clip_each": clip_by_division},
        {"learning_rate": rate_by_interpolation, "clip_each": clip_by_loop},
        {"learning_rate": rate_as_fraction, "clip_each": clip_with_where},
    ],
    "07.3": [step_cleared_by_hand, step_divided_later, step_by_grad, step_with_keywords],
    "07.4": [
        {"save": save_as_json, "load": load_from_json},
        {"save": save_flat, "load": load_flat},
        {"save": save_with_numbers_as_arrays, "load": load_numbers_as_arrays},
        {"save": save_in_database, "load": load_from_database},
    ],
    "07.5": [CURVES],
    "07.6": [assert_by_tables, assert_by_places],
    "07.7": [TEXT],
    "07.8": [race_in_rounds, race_by_sorting, race_by_tables],
}


# ---------------------------------------------------------------- held-out faults and cases


class NeverTheBooksEnd(Loader):
    """The last window of a book is never drawn: its last token is no target."""

    def batch(self, update):
        rng, kept = self.rng(update), []
        ends = {int(self.train.document(i)[-1]) for i in range(self.train.n_documents)}
        for tried in range(51 * ROWS):
            if len(kept) == ROWS:
                break
            ids, targets = random_windows(self.train, 1, self.T, rng)
            late = tried >= 50 * ROWS  # a text of books that have one window each
            if late or targets[0, -1] == IGNORE or int(targets[0, -1]) not in ends:
                kept.append((ids[0], targets[0]))
        return tuple(np.stack(part) for part in zip(*kept))


class TwoBatches(Loader):
    """Two batches in turn."""

    def batch(self, update):
        return super().batch(update % 2)


class HidesTheValidationText(Loader):
    """The masked windows are cut from the validation books."""

    def masked(self, update):
        ids = random_windows(self.validation, ROWS, self.T, self.rng(update))[1]
        return self.hide(np.where(ids == IGNORE, START_ID, ids), self.rng(update + 1_000_000))


class ScoresFullWindows(Loader):
    """The short window at the end of a book is not scored."""

    def scored(self):
        ids, targets = super().scored()
        full = (targets != IGNORE).all(1)
        return ids[full], targets[full]


class ScoresAnOpenToken(Loader):
    """The first id of a scored window is its first target."""

    def scored(self):
        ids, targets = super().scored()
        return np.append(targets[:, :1], ids[:, 1:], axis=1), targets


class ScoresBehindTheEnd(Loader):
    """What is filled up in a scored window has the id 7."""

    def scored(self):
        ids, targets = super().scored()
        return np.where(targets == IGNORE, 7, ids), targets


def held_out_3(rng):
    """Cases that only `grade` tries."""
    rates = (0.02, 0.04, 0.06, 0.05, 0.04, 0.03)
    session = partial(session_case, rng, "held out")
    overflows = (4, 4, 1e9, [(1, 3)]), (3, 5, 0.9, [(0, 2), (3, 2)]), (2, 4, 2.5, [(1, 1), (2, 1)])
    steps = [
        session("accumulation", 4, 4, ("weights",)),
        session("accumulation", 5, 1, ("weights",), stale=-2.0),
        session("clipping", 3, 1, ("weights",), 0.9),
        session("clipping", 2, 1, ("weights",), 2.5),
    ]
    for n_parts, n_steps, max_norm, wild in overflows:
        steps.append(session("overflow", n_parts, n_steps, ("scale", "moves"), max_norm, rates, wild))
        steps.append(session("schedule", n_parts, n_steps, (RATE,), max_norm, rates, wild))

    return steps


def held_out_6(rng):
    """Cases that only `grade` tries."""
    gaps = (NeverTheBooksEnd, TwoBatches, ScoresFullWindows, ScoresBehindTheEnd)
    leaks = (HidesTheValidationText, ScoresAnOpenToken)
    return [
        *(loader_case("held out", "finds gaps", make) for make in gaps),
        *(loader_case("held out", "finds leaks", make) for make in leaks),
    ]
