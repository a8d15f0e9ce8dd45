"""What a student calls: check, hint, progress. What was reached is kept in the course's progress file."""

import time
from typing import Any

from flash_tutorial.shown import clean

from ..learner import load_progress, or_a_line, store_progress
from .exercise import load_exercise, load_set, there
from .texts import say
from .verdict import judge


def check(name: str, *answers: Any, student: str = "me") -> None:
    """Print the verdict on an answer, and keep the best points.

    An exercise with several functions takes them in the order of its text. ``student`` is the id that the personal
    numbers of a predict exercise are drawn from. Returns nothing, so that a cell shows the verdict only.

    >>> from flash_course import check
    >>> check("05.1", lambda x, C: x)
    05.1: wrong, 0 of 10 points
      values: wrong
      edge sizes: wrong
      in the case "two chunks and a tail" (T = 9, D = 4, C = 4): expected the shape (3, 4, 4), got (9, 4).
      hint("05.1") gives a hint; there are three.
    """
    exercise = load_exercise(name)
    if len(answers) != len(exercise.names):
        raise ValueError(
            f"answers given: {len(answers)}; expected: check({name!r}, {', '.join(exercise.names)})"
        )
    answer = answers[0] if len(answers) == 1 else dict(zip(exercise.names, answers))
    begun = time.process_time()
    verdict = judge(exercise, answer, student=student)
    print(clean(str(verdict), 20_000, keep="\n"))
    keep(verdict)
    if verdict.status == "right" and (seconds := time.process_time() - begun) > 5:
        print(f"  {say('all', 'slow', seconds=round(seconds))}")
    if exercise.model_answer and verdict.status == "right":
        print(exercise.model_answer, *(f"[ ] {line}" for line in exercise.rubric), sep="\n")
    elif verdict.status in ("wrong", "raises"):
        print(f"  {say('all', 'next hint', exercise=name)}")


@or_a_line("your points are not stored")
def keep(verdict):
    """Store the best points of an exercise, and its last verdict. A text has no points before a person gives them."""
    stored = load_progress()
    table = stored.setdefault("exercises", {})
    before = table.get(verdict.exercise, {})
    points = 0 if verdict.by_person else verdict.points
    best = {"points": max(points, before.get("points", 0)), "of": verdict.of}
    table[verdict.exercise] = (
        before | best | {"last": verdict.status, "checks": before.get("checks", 0) + 1}
    )
    store_progress(stored)


def hint(name: str) -> None:
    """Print the next of an exercise's three hints: a nudge, the shapes, pseudocode.

    >>> from flash_course import hint
    >>> hint("01.1")
    01.1, hint 1 of 3: What must a score be, so that its exp is 0 and the others still sum to 1?
    """
    exercise = load_exercise(name)
    stored = load_progress()
    row = stored.setdefault("exercises", {}).setdefault(name, {})
    seen = min(row.get("hints", 0), len(exercise.hints) - 1)
    print(
        say("all", "hint", exercise=name, number=seen + 1, of=len(exercise.hints)),
        exercise.hints[seen],
    )
    if seen + 1 == len(exercise.hints):
        print(say("all", "no more hints"))
    row["hints"] = min(seen + 1, len(exercise.hints))
    with or_a_line("which hint you have seen is not stored"):
        store_progress(stored)


def progress(number: str | None = None) -> None:
    """Print a table of what was reached, of one set or of all that were begun.

    >>> from flash_course import progress
    >>> progress()
    no exercise was checked yet
    """
    table = load_progress().get("exercises", {})
    numbers = sorted({name[:2] for name in table} & {*there()})
    if number:
        numbers = [number]
    if not numbers:
        print(say("all", "no exercise yet"))
    for each in numbers:
        exercises = load_set(each)
        rows = {name: table.get(name, {}) for name in exercises}
        total = sum(row.get("points", 0) for row in rows.values())
        of = sum(e.points for e in exercises.values())
        print(say("all", "set", number=each, points=say("all", "points", got=f"{total:g}", of=of)))
        for name, row in rows.items():
            exercise = exercises[name]
            last = row.get("last", "not attempted")
            if exercise.kind == "explain" and last == "right":
                last = "recorded"
            last = say("all", last)
            if row.get("points") == exercise.points and row["last"] != "right":
                last = say("all", "right before", last=last)
            core = f" {say('all', 'core')}" if exercise.core else ""
            print(
                f"  {name} {exercise.title:34}{row.get('points', 0):5g} / {exercise.points:<4}{last}{core}"
            )
