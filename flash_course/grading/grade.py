"""Grading one submission or a class: a process for each submission, some at a time.

What is finished is stored at once, so that a run that was killed goes on where it was.
"""

import contextlib
import hashlib
import os
import select
import signal
import threading
from dataclasses import asdict
from pathlib import Path

import torch
from tqdm import tqdm

from ..checks.exercise import load_set
from ..checks.texts import say
from . import processes, sandbox
from .child import Limits
from .files import find_submissions
from .isolation import Judge
from .kept import Journal, Results, key_path
from .language import language
from .messages import failed, student_of
from .statements import needed_text
from .submission import Submission, read_submission

COURSE = Path(__file__).resolve().parent.parent
OWN = ("students", "feedback", "unfinished", "results.json", "results.csv", "texts.csv", "changes.csv", "canvas.csv")


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
            raise ValueError(f"{self.folder} has no right_{number}.py, the held-out pool of set {number}")
        return path

    def source(self, number):
        """The text of the held-out cases of a set: what ``held_out`` needs of its file, and so no right answer."""
        return needed_text(self.path(number).read_text(encoding="utf-8"), ["held_out"]) if self else None


def default_pool():
    """``solutions/`` of the checkout that the package runs in, or no pool."""
    folder = COURSE.parent / "solutions"
    return Pool(folder if list(folder.glob("right_[0-9][0-9].py")) else None)


class Stopped(KeyboardInterrupt):
    """The grader was asked to end: SIGTERM or SIGHUP."""


def grade(paths, out, *, number=None, seed=0, pool=None, limits=Limits(), workers=None, quiet=False, mode="auto"):  # noqa: B008
    """Grade files and folders; returns the list of students' results, which lie in ``out`` as well.

    ``mode``: "bwrap" for the sandbox, "none" for processes without it, "auto" for the sandbox where it works.
    """
    if not hasattr(os, "fork"):
        raise ValueError("grading needs Linux or macOS: use WSL, Colab or the container on Windows")
    pool = default_pool() if pool is None else pool
    handed, in_sandbox = find_submissions(paths), sandbox.chosen(mode)
    hidden = [] if in_sandbox else hidden_paths(out, pool, handed)
    kept = Results(out)
    with stopped_by_signals(), own_processes():
        submissions = [read(file, number) for file in handed.files]
        sources = {n: pool.source(n) for n in sorted({s.number for s in submissions if s.number})}
        keys = {n: state_of(n, seed, source, limits) for n, source in sources.items()}
        results = {s.name: kept.load(s, keys.get(s.number)) for s in submissions}
        for done in (s for s in submissions if results[s.name]):  # a grader may end between a result and its journal
            Journal(out, done.name, done.digest).finish()
        desks = [
            Desk(s, sources.get(s.number), seed, limits, hidden, in_sandbox, out)
            for s in submissions if results[s.name] is None
        ]  # fmt: skip
        for desk in graded(desks, workers or os.cpu_count() or 1, quiet):
            result = result_of(desk, keys.get(desk.submission.number), in_sandbox)
            results[desk.submission.name] = result
            kept.store(result)
            desk.journal.finish()
    return [results[s.name] for s in submissions]


def read(file, number):
    return (
        Submission(file.name, notes=[file.refused]) if file.refused else read_submission(file.path, file.name, number)
    )


def hidden_paths(out, pool, handed):
    """What a submission may not open where it runs on the same files: answers, other submissions, results."""
    held_out = list(pool.folder.glob("right_*.py")) if pool else []
    results = [Path(out) / name for name in OWN]  # not all of ``out``: that may be a folder with libraries in it
    others = [file.path for file in handed.files]
    paths = [COURSE / "checks", COURSE.parent / "solutions", key_path(), *held_out, *results, *others]
    return [os.path.abspath(path) for path in paths]


def state_of(number, seed, held_out, limits):
    """A hash of all that a result depends on, besides the submission: checker, language, set, held-out cases."""
    code = [*(COURSE / "checks").glob("*.*"), *(COURSE / "grading").glob("*.py")]
    code += [*(COURSE / "checks" / "sets").glob(f"set_{number}.*"), COURSE / "checks" / "sets" / "general.toml"]
    files = sorted(path for path in code if path.suffix in (".py", ".toml"))
    texts = [path.name + path.read_text(encoding="utf-8") for path in files]
    parts = [str(seed), str(limits), str(held_out), language(), *texts]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


class Desk:
    """A submission and what it takes to judge it."""

    def __init__(self, submission, held_out, seed, limits, hidden, in_sandbox, out):
        self.submission, self.limits, self.in_sandbox = submission, limits, in_sandbox
        self.exercises = load_set(submission.number) if submission.number else {}
        self.journal = Journal(out, submission.name, submission.digest)
        self.rows = {}
        aside = {} if in_sandbox else self.journal.set_aside()  # nothing in the sandbox can end the grader
        for name, times in aside.items():
            row = failed(self.exercises[name], say("all", "set aside", times=times))
            self.rows[name] = row | {"seconds": 0, "set_aside": True}
        self.job = {
            "number": submission.number, "name": submission.name, "cells": submission.cells, "held_out": held_out,
            "seed": seed, "limits": asdict(limits), "hidden": hidden,
            "journal": None if in_sandbox else self.journal.facts,
            "exercises": [name for name in self.exercises if name not in self.rows],
        }  # fmt: skip
        self.judge = None

    def begin(self):
        self.judge = Judge(self.job, self.exercises, self.limits, self.in_sandbox)


def graded(desks, workers, quiet):
    """Judge submissions, ``workers`` at a time; yields each desk when its last exercise is done."""
    waiting, running = desks[::-1], []
    bar = tqdm(
        total=sum(len(d.job["exercises"]) for d in desks), unit="exercise", disable=True if quiet else None
    )  # None: not into a file
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                desk = waiting.pop()
                if not desk.job["exercises"]:
                    yield desk
                    continue
                desk.begin()
                running.append(desk)
            select.select([desk.judge.pipe for desk in running], [], [], 1)
            for desk in [*running]:
                bar.update(desk.judge.look())
                if not desk.judge.todo:
                    running.remove(desk)
                    desk.rows |= desk.judge.rows
                    bar.set_postfix_str(desk.submission.name)
                    yield desk
    finally:
        for desk in running:
            desk.judge.end()
        bar.close()


def result_of(desk, key, in_sandbox):
    submission, rows = desk.submission, {name: desk.rows[name] for name in desk.exercises}
    points, most = (sum(row[what] for row in rows.values()) for what in ("points", "of"))
    return {
        "name": submission.name, "set": submission.number, "points": points, "of": most,
        "student": student_of(desk.exercises, rows), "notes": submission.notes, "exercises": rows,
        "digest": submission.digest, "key": key, "sandbox": in_sandbox,
    }  # fmt: skip


# ---------------------------------------------------------------- the grader's own process


@contextlib.contextmanager
def stopped_by_signals():
    """SIGTERM and SIGHUP end the grader like Ctrl-C does, so that its processes and folders go with it."""

    def stop(*_):
        raise Stopped

    ours = [signal.SIGTERM, signal.SIGHUP] if threading.current_thread() is threading.main_thread() else []
    before = {number: signal.signal(number, stop) for number in ours}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def own_processes():
    """What was started within is gone afterwards, and so are temporary folders, those of a killed grader too."""
    threads, me = torch.get_num_threads(), os.getpid()
    torch.set_num_threads(1)  # a forked child cannot use a pool of threads that its parent has begun
    processes.remove_folders()
    others = processes.below(me)
    processes.control(processes.ADOPT_ORPHANS, 1)
    try:
        yield
    finally:
        processes.kill_below(me, others)
        processes.control(processes.ADOPT_ORPHANS, 0)
        processes.remove_folders(me)
        torch.set_num_threads(threads)


def last_line(results, pool, out):
    """What happened, in one sentence."""
    unread = [r["name"] for r in results if not r["exercises"]]
    with_pool = say("all", "with pool") if pool else say("all", "without pool")
    bad = f" {say('all', 'unread', names=', '.join(unread))}" if unread else ""
    return say("all", "graded", count=len(results), out=out, pool=with_pool) + bad
