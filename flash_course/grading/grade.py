"""Grading one submission or a class: a process for each submission, some at a time.

What is finished is stored at once, so that a run that was killed goes on where it was.
"""

import contextlib
import hashlib
import os
import re
import select
import signal
import threading
from pathlib import Path

from tqdm import tqdm

from ..checks import exercise
from ..checks.exercise import load_set
from ..checks.texts import say
from . import processes, sandbox
from .child import Limits
from .files import find_submissions
from .isolation import Judge
from .judging import held_out_cases
from .kept import Journal, Results
from .language import language
from .messages import failed, student_of
from .statements import needed_text
from .submission import Submission, read_submission

COURSE = Path(__file__).resolve().parent.parent
# of exercise 05.4: ``held_out_4`` in right_05.py
HELD_OUT = re.compile(r"^def held_out_(\d)\(", re.MULTILINE)


class Pool:
    """The held-out cases of a folder such as ``solutions``, or none."""

    def __init__(self, folder=None):
        self.folder = None if folder is None else Path(folder)
        if folder is not None and not list(self.folder.glob("right_[0-9][0-9].py")):
            raise ValueError(f"{folder} holds no held-out pool: expected files such as right_05.py")

    def __bool__(self):
        return self.folder is not None

    def path(self, number):
        path = self.folder / f"right_{number}.py"
        if not path.is_file():
            raise ValueError(
                f"{self.folder} has no right_{number}.py, the held-out pool of set {number}"
            )
        return path

    def sources(self, number):
        """{exercise: text of its held-out cases}: what these need of the set's file, and so no right answer."""
        if not self:
            return {}
        text = self.path(number).read_text(encoding="utf-8")
        found = HELD_OUT.findall(text)
        if not found:
            raise ValueError(
                f"{self.path(number)} has no held-out cases: expected functions such as held_out_4(rng)"
            )
        texts = {f"{number}.{one}": needed_text(text, [f"held_out_{one}"]) for one in found}
        self.check(number, texts)
        return texts

    def check(self, number, texts):
        """Refuse cases of another set's exercise, and cases that belong to no part of theirs."""
        exercises = exercise.load_set(number)
        for name, text in texts.items():
            if name not in exercises:
                expected = ", ".join(exercises)
                raise ValueError(
                    f"{self.path(number)} has cases of {name}: expected some of {expected}"
                )
            exercises[name].list_held_out(held_out_cases(exercises[name], text, seed=0))


def default_pool():
    """``solutions/`` of the checkout that the package runs in, or no pool."""
    folder = COURSE.parent / "solutions"
    if list(folder.glob("right_[0-9][0-9].py")):
        return Pool(folder)
    return Pool()


class Stopped(KeyboardInterrupt):
    """The grader was asked to end: SIGTERM or SIGHUP."""


def grade(
    paths,
    out,
    *,
    number=None,
    seed=0,
    pool=None,
    limits=Limits(),  # noqa: B008 (it never changes)
    workers=None,
    quiet=False,
    mode="auto",
):
    """Grade files and folders; returns the list of students' results, which lie in ``out`` as well.

    ``mode``: "bwrap" for the sandbox, "none" for processes without it, "auto" for the sandbox where it works.
    """
    if not hasattr(os, "fork"):
        raise ValueError("grading needs Linux or macOS: use WSL, Colab or the container on Windows")
    if pool is None:
        pool = default_pool()
    handed = find_submissions(paths)
    in_sandbox = sandbox.chosen(mode)
    kept = Results(out)
    with stopped_by_signals(), own_processes() as others:
        submissions = [read(file, number) for file in handed.files]
        sources = {n: pool.sources(n) for n in sorted({s.number for s in submissions if s.number})}
        keys = {n: state_of(n, seed, source, limits) for n, source in sources.items()}
        results = {s.name: kept.load(s, keys.get(s.number)) for s in submissions}
        # a grader may end between a result and its journal
        for done in (s for s in submissions if results[s.name]):
            Journal(out, done.name, done.digest).finish()
        undone = [s for s in submissions if results[s.name] is None]
        desks = [Desk(s, sources.get(s.number), seed, limits, in_sandbox, out) for s in undone]
        for desk in graded(desks, workers or os.cpu_count() or 1, quiet, others):
            result = result_of(desk, keys.get(desk.submission.number), in_sandbox)
            results[desk.submission.name] = result
            kept.store(result)
            desk.journal.finish()
    return [results[s.name] for s in submissions]


def read(file, number):
    if file.refused:
        return Submission(file.name, notes=[file.refused])
    return read_submission(file.path, file.name, number)


def state_of(number, seed, held_out, limits):
    """A hash of all that a result depends on, besides the submission: checker, language, set, held-out cases."""
    code = [*(COURSE / "checks").glob("*.*"), *(COURSE / "grading").glob("*.py")]
    code += [
        *(COURSE / "checks" / "sets").glob(f"set_{number}.*"),
        COURSE / "checks" / "sets" / "general.toml",
    ]
    files = sorted(path for path in code if path.suffix in (".py", ".toml"))
    texts = [path.name + path.read_text(encoding="utf-8") for path in files]
    parts = [str(seed), str(limits), str(held_out), language(), *texts]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


class Desk:
    """A submission and what it takes to judge it."""

    def __init__(self, submission, held_out, seed, limits, in_sandbox, out):
        self.submission, self.limits, self.in_sandbox = submission, limits, in_sandbox
        self.exercises = load_set(submission.number) if submission.number else {}
        self.journal = Journal(out, submission.name, submission.digest)
        self.rows = {}
        # nothing in the sandbox can end the grader
        aside = {} if in_sandbox else self.journal.set_aside()
        for name, times in aside.items():
            row = failed(self.exercises[name], say("all", "set aside", times=times))
            self.rows[name] = row | {"seconds": 0, "set_aside": True}
        given = {
            "name": submission.name,
            "cells": submission.cells,
            "seed": seed,
        }
        self.tasks = {
            name: given | {"exercise": name, "held_out": held_out.get(name)}
            for name in self.exercises
            if name not in self.rows
        }
        self.judge = None

    @property
    def suspect(self):
        """Whether a grader has ended while this was being judged."""
        return bool(self.journal.ended)

    def begin(self):
        at = (lambda name: None) if self.in_sandbox else self.journal.begin
        self.judge = Judge(
            self.submission.number, self.tasks, self.exercises, self.limits, self.in_sandbox, at
        )

    def take(self):
        """What has come from the judge; how many exercises are done by it."""
        count = self.judge.look()
        self.rows |= self.judge.rows
        return count


def graded(desks, workers, quiet, others=()):
    """Judge submissions, ``workers`` at a time; yields each desk when its last exercise is done.

    What a process that judges leaves behind when it is ended goes too, but not ``others``.
    """
    waiting = desks[::-1]
    running = []
    count = sum(len(desk.tasks) for desk in desks)
    hidden = True if quiet else None  # None: not into a file
    bar = tqdm(total=count, unit="exercise", disable=hidden)
    try:
        while waiting or running:
            while waiting and may_begin(waiting[-1], running, workers):
                desk = waiting.pop()
                if not desk.tasks:
                    yield desk
                    continue
                desk.begin()
                running.append(desk)
            wait_for([desk.judge for desk in running])
            for desk in [*running]:
                bar.update(desk.take())
                if desk.judge.gave_up:
                    processes.kill_below(
                        os.getpid(), [*others, *(desk.judge.process.pid for desk in running)]
                    )
                if not desk.judge.todo:
                    running.remove(desk)
                    bar.set_postfix_str(desk.submission.name)
                    yield desk
    finally:
        for desk in running:
            desk.judge.end()
        bar.close()


def may_begin(desk, running, workers):
    """Whether there is room; whoever was there when a grader ended is judged alone, so that it shows who ends it."""
    alone = any(one.suspect for one in [desk, *running])
    return not running or (len(running) < workers and not alone)


def wait_for(judges):
    """Until one of them has something to say, or reads what it was sent; or a second."""
    writing = [judge.process.stdin for judge in judges if judge.unsent]
    select.select([judge.process.stdout for judge in judges], writing, [], 1)


def result_of(desk, key, in_sandbox):
    submission = desk.submission
    rows = {name: desk.rows[name] for name in desk.exercises}
    points, most = (sum(row[what] for row in rows.values()) for what in ("points", "of"))
    return {
        "name": submission.name,
        "set": submission.number,
        "points": points,
        "of": most,
        "student": student_of(desk.exercises, rows),
        "notes": submission.notes,
        "exercises": rows,
        "digest": submission.digest,
        "key": key,
        "sandbox": in_sandbox,
    }


# ---------------------------------------------------------------- the grader's own process


@contextlib.contextmanager
def stopped_by_signals():
    """SIGTERM and SIGHUP end the grader like Ctrl-C does, so that its processes and folders go with it."""

    def stop(*_):
        raise Stopped

    ours = []
    if threading.current_thread() is threading.main_thread():
        ours = [signal.SIGTERM, signal.SIGHUP]
    before = {number: signal.signal(number, stop) for number in ours}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def own_processes():
    """What was started within is gone afterwards, and so are temporary folders, those of a killed grader too."""
    me = os.getpid()
    processes.remove_folders()
    others = processes.below(me)
    processes.control(processes.ADOPT_ORPHANS, 1)
    processes.control(processes.READABLE, 0)
    try:
        yield others
    finally:
        processes.kill_below(me, others)
        processes.control(processes.READABLE, 1)
        processes.control(processes.ADOPT_ORPHANS, 0)
        processes.remove_folders(me)


def last_line(results, pool, out):
    """What happened, in one sentence."""
    unread = [r["name"] for r in results if not r["exercises"]]
    with_pool = say("all", "with pool" if pool else "without pool")
    line = say("all", "graded", count=len(results), out=out, pool=with_pool)
    if unread:
        line += " " + say("all", "unread", names=", ".join(unread))
    return line
