"""Inside: one process judges one submission, each exercise in a child of its own, and sends a line for each.

It is started as ``python -m flash_course.grading.judging``, with the sandbox around it or without, and it holds nothing
that an answer could want. A child inherits its memory. So it does not read the tasks that come on standard input: each
child reads its own one, with the cells of the submission and the held-out cases of one exercise.
"""

import json
import os
import select
import signal
import sys
import tempfile
import types
from dataclasses import asdict
from functools import partial

import numpy as np
import torch

from flash_tutorial.shown import clean

from ..checks import closed_book, texts, verdict
from ..checks.exercise import load_set
from ..checks.texts import say
from . import processes
from .child import Limits, guard, in_child, own_limits
from .messages import TEXT
from .statements import Statements

READY = {"ready": True}  # the first line: nothing of the student's has run yet
BELL = b"\n"  # goes before each task
CANARIES = (
    3  # kept wrong answers that the checker must still reject, where an answer earns something
)


def serve(number, limits, grader, tasks, lines):
    """Judge exercises of a set as tasks come in; ``tasks`` and ``lines`` are pipes from the grader and to it."""
    guard()
    # also when the grader has died: then what was begun is cleared away
    signal.signal(signal.SIGTERM, stop)
    # a forked child cannot use a pool of threads that its parent has begun
    torch.set_num_threads(1)
    exercises = load_set(number)
    for name in ("all", *exercises):
        # read here: the folder of a translation may be named from where the grader was started
        texts.tables(name)
    folder = processes.new_folder(grader)
    own = own_limits()
    try:
        tell(lines, READY)
        while os.read(tasks, 1) == BELL:
            place = tempfile.mkdtemp(dir=folder)
            ended = in_child(partial(judge, exercises, limits.seconds), limits, place, given=tasks)
            processes.remove_folder(place)
            if own_limits() != own:
                return  # the next child would have what this one has set
            if select.select([tasks], [], [], 0)[0]:
                return  # the child ended before it had read its task, or the grader is gone
            tell(lines, asdict(ended))
    finally:
        processes.remove_folder(folder)


def tell(lines, message):
    data = json.dumps(message).encode() + b"\n"
    while data:
        data = data[os.write(lines, data) :]


def stop(*_):
    sys.exit(1)


def held_out_cases(exercise, source, seed):
    """The held-out cases of an exercise, from their text."""
    if source is None:
        return ()
    module = types.ModuleType("held_out")
    exec(compile(source, "held_out", "exec", dont_inherit=True), vars(module))
    return vars(module)[f"held_out_{exercise.id[3:]}"](np.random.default_rng([seed, 1]))


# ---------------------------------------------------------------- in the child


def judge(exercises, seconds, task):
    """Run what the exercise needs of the submission, and judge.

    ``seconds`` of computing are there for it all; half of them, where the whole notebook has to run.
    """
    exercise, seed = exercises[task["exercise"]], task["seed"]
    more_cases = held_out_cases(exercise, task["held_out"], seed)
    statements = Statements(task["cells"], task["name"])  # read only: nothing of it runs yet
    try:
        with closed_book.oracle_shut():
            wanted = [*exercise.names]
            if exercise.draw:
                wanted.append("STUDENT")
            names, notes = statements.run(wanted, seconds / 2)
            student = student_in(names)
    except closed_book.PackageShut as error:
        return {"failed": say("all", "shut", function=error.function)}
    answer = answer_of(exercise, names)
    found = verdict.judge(exercise, answer, seed=seed, student=student, more_cases=more_cases)
    if any(found.by_part.values()) and not still_rejects(exercise, seed):
        return {"failed": say("all", "tampered")}
    if found.status == verdict.NOT_ATTEMPTED:
        notes = [
            *(say("all", "missing", name=name) for name in exercise.names if name not in names),
            *notes,
        ]
    text = None
    if exercise.kind == "explain" and isinstance(answer, str):
        text = answer[: TEXT + 1]
    return {
        "status": found.status,
        "parts": {part: found.by_part[part] == of for part, of in exercise.parts.items()},
        "said": [*map(clean, [*found.lines, *found.likely])],
        "notes": [*map(clean, notes)],
        "text": text,
        "student": student,
    }


def still_rejects(exercise, seed):
    """Whether the checker, after the student's code has run, rejects answers that are known to be wrong."""
    for wrong in exercise.wrong[:CANARIES]:
        answer = exercise.handed_in(wrong)
        if verdict.judge(exercise, answer, seed=seed, kept=True).status == verdict.RIGHT:
            return False
    return True


def student_in(names):
    """What STUDENT is after the notebook's own code, as a plain text, also where it is a class of the student's own."""
    return str.__str__(str(names.get("STUDENT", "me")))


def answer_of(exercise, names):
    if len(exercise.names) == 1:
        return names.get(exercise.names[0])
    found = {name: names.get(name) for name in exercise.names}
    given = exercise.given or {}
    return {name: given.get(name) if value is None else value for name, value in found.items()}


def main(number, limits, grader):
    """The process that ``isolation.Judge`` starts, with the grader's pipes as standard input and output."""
    # nobody looks into this process, or at what it has open
    processes.control(processes.READABLE, 0)
    if os.getpid() != 1:  # with a number of its own in the sandbox, bubblewrap sees to it
        processes.die_with(int(grader), signal.SIGTERM)
    tasks = os.dup(0)
    lines = os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1):
        os.dup2(nothing, stream)
    serve(number, Limits(**json.loads(limits)), int(grader), tasks, lines)
    os._exit(0)  # at once: somebody waits for it


if __name__ == "__main__":
    main(*sys.argv[1:])
