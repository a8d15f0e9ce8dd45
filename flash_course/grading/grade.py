"""Grading one submission or a class: every exercise in a process of its own, some at a time.

What is finished is stored at once, so that a run that was killed goes on where it was.
"""

import hashlib
import importlib.util
import json
import os
import select
import time
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

import flash_tutorial
from flash_tutorial.files import write_text

from ..checks.exercise import load_set
from ..checks.texts import say
from .isolation import Limits, failed, finish, receive, start
from .submission import find_submissions, read_submission

COURSE = Path(__file__).resolve().parent.parent
PACKAGES = (Path(flash_tutorial.__file__).resolve().parent, COURSE)


class Pool:
    """The held-out cases of a folder such as ``solutions``, or none."""

    def __init__(self, folder=None):
        self.folder = None if folder is None else Path(folder)
        if folder is not None and not list(self.folder.glob("right_[0-9][0-9].py")):
            raise ValueError(f"{folder} holds no held-out pool: expected files such as right_05.py")
        self.modules = {}

    def __bool__(self):
        return self.folder is not None

    @property
    def hidden(self):
        """How the paths begin that an answer may not open."""
        return (os.path.join(os.path.abspath(self.folder), "right_"),) if self.folder else ()

    def cases(self, number, seed):
        """{exercise: cases} of a set."""
        if self.folder is None:
            return {}
        path = self.folder / f"right_{number}.py"
        if not path.is_file():
            raise ValueError(f"{self.folder} has no right_{number}.py, the held-out pool of set {number}")
        if number not in self.modules:
            spec = importlib.util.spec_from_file_location(f"held_out_{number}", path)
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            self.modules[number] = module
        return self.modules[number].held_out(np.random.default_rng([seed, 1]))


def default_pool():
    """``solutions/`` of the checkout that the package runs in, or no pool."""
    folder = COURSE.parent / "solutions"
    return Pool(folder if list(folder.glob("right_[0-9][0-9].py")) else None)


def grade(paths, out, *, number=None, seed=0, pool=None, limits=Limits(), workers=None, quiet=False):  # noqa: B008
    """Grade files and folders; returns the list of students' results, which lie in ``out`` as well."""
    if not hasattr(os, "fork"):
        raise ValueError("grading needs Linux or macOS: use WSL, Colab or the container on Windows")
    pool = default_pool() if pool is None else pool
    workers = workers or os.cpu_count() or 1
    out = Path(out)
    (out / "students").mkdir(parents=True, exist_ok=True)
    submissions = [read_submission(path, name, number) for path, name in find_submissions(paths)]
    keys = {s.name: state_of(s.number, seed, pool, limits) for s in submissions}
    results = {s.name: stored(out, s, keys[s.name]) for s in submissions}
    todo = [s for s in submissions if results[s.name] is None]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a forked child cannot use a pool of threads that its parent has begun
    try:
        for submission, exercises in in_children(todo, seed, pool, limits, workers, quiet):
            results[submission.name] = result = result_of(submission, exercises, keys[submission.name])
            write_text(file_of(out, submission.name), json.dumps(result, indent=1) + "\n")
    finally:
        torch.set_num_threads(threads)
    return [results[s.name] for s in submissions]


def file_of(out, name):
    return Path(out) / "students" / f"{name}.json"


def state_of(number, seed, pool, limits):
    """A hash of all that a result depends on, besides the submission: the checker, the set, the held-out cases."""
    checks = [*(COURSE / "checks").glob("*.*"), *(COURSE / "checks" / "sets").glob(f"set_{number}.*")]
    files = sorted(path for path in checks if path.suffix in (".py", ".toml"))
    files += [pool.folder / f"right_{number}.py"] if pool and (pool.folder / f"right_{number}.py").is_file() else []
    parts = [str(seed), str(limits), *(path.name + path.read_text(encoding="utf-8") for path in files)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def stored(out, submission, key):
    """The result of an earlier run on the same file, or None."""
    try:
        result = json.loads(file_of(out, submission.name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return result if (result.get("key"), result.get("digest")) == (key, submission.digest) else None


def in_children(submissions, seed, pool, limits, workers, quiet):
    """Judge all exercises, ``workers`` at a time; yields a submission when its last one is done."""
    tasks, done = [], {}
    for submission in submissions:
        exercises = load_set(submission.number) if submission.number else {}
        done[submission.name] = (submission, exercises, {})
        tasks += [(submission, exercise) for exercise in exercises.values()]
    for submission, exercises, rows in done.values():
        if not exercises:
            yield submission, rows
    tasks, running = tasks[::-1], {}
    bar = tqdm(total=len(tasks), unit="exercise", disable=True if quiet else None)  # None: not into a file
    try:
        while tasks or running:
            while tasks and len(running) < workers:
                submission, exercise = tasks.pop()
                more = pool.cases(exercise.id[:2], seed).get(exercise.id, ())
                child = start(submission, exercise, seed, more, limits, pool.hidden)
                running[child.pipe] = (child, submission, exercise)
            for pipe, message in ended_children(running, limits):
                child, submission, exercise = running.pop(pipe)
                _, exercises, rows = done[submission.name]
                rows[exercise.id] = finish(child, exercise, message, limits)
                bar.set_postfix_str(submission.name)
                bar.update()
                if len(rows) == len(exercises):
                    yield submission, {name: rows[name] for name in exercises}
    finally:
        for child, _, exercise in running.values():
            finish(child, exercise, failed(exercise, "stopped"), limits)
        bar.close()


def ended_children(running, limits):
    """(pipe, message) of the children that are done or out of time; waits until there is one."""
    while True:
        now = time.monotonic()
        left = min(limits.seconds - (now - child.started) for child, _, _ in running.values())
        ready, _, _ = select.select(list(running), [], [], max(left, 0) + 0.01)
        found = []
        for pipe, (child, _, _) in running.items():
            message = receive(child) if pipe in ready else None
            if message is not None or time.monotonic() - child.started >= limits.seconds:
                found.append((pipe, message))
        if found:
            return found


def result_of(submission, exercises, key):
    points = sum(row["points"] for row in exercises.values())
    return {
        "name": submission.name, "set": submission.number, "points": points,
        "of": sum(row["of"] for row in exercises.values()),
        "student": submission.student, "notes": submission.notes, "exercises": exercises,
        "digest": submission.digest, "key": key,
    }  # fmt: skip


def last_line(results, pool, out):
    """What happened, in one sentence."""
    unread = [r["name"] for r in results if not r["exercises"]]
    with_pool = say("all", "with pool") if pool else say("all", "without pool")
    bad = f" {say('all', 'unread', names=', '.join(unread))}" if unread else ""
    return say("all", "graded", count=len(results), out=out, pool=with_pool) + bad
