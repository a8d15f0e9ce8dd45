"""Inside: one process judges one submission, each exercise in a child of its own, and sends a line for each.

It is forked, or started in a sandbox as ``python -m flash_course.grading.judging`` and given its job on standard input.
Nothing of the student's runs in it, only in its children; whoever reads its lines trusts them as little as theirs.
"""

import json
import os
import shutil
import signal
import sys
import tempfile
import types
from functools import partial

import numpy as np

from flash_support.shown import clean

from ..checks import closed_book, texts, verdict
from ..checks.exercise import load_set
from ..checks.texts import say
from . import processes
from .child import Limits, guard, in_child, send
from .fingerprint import Fingerprint
from .kept import Journal
from .messages import TEXT
from .statements import Statements
from .watch import watch

TRIES = 2  # on a machine that is too busy to tell
READY = {"ready": True}  # the first line: nothing of the student's has run yet


def serve(job, pipe, key):
    """Judge the exercises of a job, one after the other; a line for each goes into the pipe."""
    guard()
    signal.signal(signal.SIGTERM, stop)  # also when the grader has died: then what was begun is cleared away
    limits, exercises = Limits(**job["limits"]), load_set(job["number"])
    more_cases = held_out_cases(job["held_out"], job["seed"])
    for name in ("all", *exercises):
        texts.tables(name)  # read here: a child may open no file of the checks, not even for a sentence
    folder = processes.new_folder(job["grader"])
    try:
        send(pipe, key, READY)
        for name in job["exercises"]:
            mark = Journal(**job["journal"]).begin(name) if job["journal"] else None
            ended = judged(partial(judge, job, exercises[name], more_cases.get(name, ()), mark), limits, folder)
            message = {"failed": ended.why} if ended.why else ended.message
            line = {"exercise": name, "message": message, "seconds": ended.seconds, "stopped": ended.stopped}
            send(pipe, key, line)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def stop(*_):
    sys.exit(1)


def judged(judge, limits, folder):
    """One exercise in a child; once more if time was up on a busy machine."""
    for _ in range(TRIES):
        with tempfile.TemporaryDirectory(dir=folder, ignore_cleanup_errors=True) as place:
            ended = in_child(judge, limits, place)
        if not ended.stopped or not busy() or ended.used < 0.01 * ended.seconds:  # it has slept
            break
    return ended


def busy():
    """Whether more processes want to compute than there are cores, with some to spare."""
    return os.getloadavg()[0] > 1.5 * (os.cpu_count() or 1)


def held_out_cases(source, seed):
    """{exercise: cases} from the text of a held-out pool."""
    if source is None:
        return {}
    module = types.ModuleType("held_out")
    exec(compile(source, "held_out", "exec", dont_inherit=True), vars(module))
    return module.held_out(np.random.default_rng([seed, 1]))


# ---------------------------------------------------------------- in the child


def judge(job, exercise, more_cases, mark):
    """Run what the exercise needs of the submission, judge, and see to it that the checker is still the checker."""
    judge_answer, checker = verdict.judge, Fingerprint(exercise)
    watching = watch(job["hidden"], mark)
    statements = Statements(job["cells"], job["name"])  # read only: nothing of it runs yet
    try:
        with closed_book.oracle_shut():
            wanted = [*exercise.names, *(["STUDENT"] if exercise.draw else [])]
            names, notes = statements.run(wanted, job["limits"]["seconds"] / 2)
            student = student_in(names)
    except closed_book.PackageShut as error:
        return {"failed": say("all", "shut", function=error.function)}
    answer = answer_of(exercise, names)
    found = judge_answer(exercise, answer, seed=job["seed"], student=student, more_cases=more_cases)
    watching(False)
    if what := checker.changed():
        return {"failed": say("all", "tampered", what=what)}
    if found.status == verdict.NOT_ATTEMPTED:
        notes = [*(say("all", "missing", name=name) for name in exercise.names if name not in names), *notes]
    text = answer[: TEXT + 1] if exercise.kind == "explain" and isinstance(answer, str) else None
    return {
        "status": found.status, "parts": {part: found.by_part[part] == of for part, of in exercise.parts.items()},
        "said": [*map(clean, [*found.lines, *found.likely])], "notes": [*map(clean, notes)], "text": text,
        "student": student,
    }  # fmt: skip


def student_in(names):
    """What STUDENT is after the notebook's own code, as a plain text, also where it is a class of the student's own."""
    return str.__str__(str(names.get("STUDENT", "me")))


def answer_of(exercise, names):
    if len(exercise.names) == 1:
        return names.get(exercise.names[0])
    found = {name: names.get(name) for name in exercise.names}
    given = exercise.given or {}
    return {name: given.get(name) if value is None else value for name, value in found.items()}


if __name__ == "__main__":
    processes.control(processes.READABLE, 0)  # no child looks into this process, or at what it has open
    own = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    given = json.load(sys.stdin)
    serve(given["job"], own, given["key"].encode())
