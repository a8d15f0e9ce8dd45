"""What a student calls: check, hint, progress. What was reached is kept in the course's progress file."""

import time
from typing import Any

from .cards import Bar, Card, show
from .checks.examples import rows_of
from .checks.exercise import load_exercise, load_set, there
from .checks.texts import say
from .checks.verdict import NOT_ATTEMPTED, RAISES, RIGHT, WRONG, judge
from .learner import calibration, load_progress, or_a_line, store_progress
from .wrong_call import WrongCall


def check(name: str, *answers: Any, student: str = "me") -> None:
    """Show the verdict on an answer, and keep the best points.

    An exercise with several functions takes them in the order of its text. ``student`` is the id that the personal
    numbers of a predict exercise are drawn from. Returns nothing, so that a cell shows the verdict only.

    >>> from flash_course import check
    >>> check("05.1", lambda x, C: x)
    05.1 to_chunks: wrong, 0 of 10 points
      whole chunks: wrong
      a tail: wrong
      in the case "two chunks" (T = 8, D = 6, C = 4): expected the shape (2, 4, 6), got (8, 6).
      input                          expected                          yours
      x_TD = [[1] [2] [3] [4] [5]]   [[[1] [2]] [[3] [4]] [[5] [0]]]   [[1] [2] [3] [4] [5]]
      C = 2
      hint("05.1") gives a hint; there are three.
    """
    exercise = load_exercise(name)
    if len(answers) != len(exercise.names):
        raise WrongCall(
            f"answers given: {len(answers)}; expected: check({name!r}, {', '.join(exercise.names)})"
        )
    answer = answers[0] if len(answers) == 1 else dict(zip(exercise.names, answers))
    begun = time.process_time()
    verdict = judge(exercise, answer, student=student)
    seconds = time.process_time() - begun
    show(card_of(exercise, verdict, answer, seconds))
    keep(verdict)


def card_of(exercise, verdict, answer, seconds):
    """The card of a verdict, with what a reader can use: a small case, why it matters, what comes next."""
    card = Card(
        f"{exercise.id} {exercise.title}",
        verdict.status,
        criteria=verdict.criteria,
        said=verdict.lines[len(verdict.part_lines) :],
        likely=verdict.likely,
    )
    if not verdict.by_person:
        card.points = (verdict.points, verdict.of)
    elif verdict.status == RIGHT:
        card.status = "recorded"
    if verdict.status in (WRONG, RAISES):
        if verdict.criteria:  # else it was refused, and nothing was asked of it
            card.rows = rows_of(exercise, answer)
        card.more.append(say("all", "next hint", exercise=exercise.id))
    if verdict.status == RIGHT:
        card.why = exercise.why
        card.following = next_of(exercise)
        if seconds > 5:
            card.more.append(say("all", "slow", seconds=round(seconds)))
        if exercise.model_answer:
            card.more += [exercise.model_answer, *(f"[ ] {line}" for line in exercise.rubric)]
    return card


def next_of(exercise):
    """The exercise of the same set that comes next, as a card names it, or None."""
    exercises = [*load_set(exercise.id[:2]).values()]
    after = exercises[exercises.index(exercise) + 1 :]
    return f"{after[0].id} {after[0].title}" if after else None


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
    title = say("all", "hint", exercise=name, number=seen + 1, of=len(exercise.hints))
    card = Card(title, said=[exercise.hints[seen]])
    if seen + 1 == len(exercise.hints):
        card.said.append(say("all", "no more hints"))
    show(card)
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
        show(card_of_set(each, table))
    if calibrated := calibration():
        print(calibrated)


def card_of_set(number, table):
    """What was reached in a set: a bar for all of it, and one for each exercise."""
    exercises = load_set(number)
    rows = {name: table.get(name, {}) for name in exercises}
    total = sum(row.get("points", 0) for row in rows.values())
    card = Card(
        say("all", "set", number=number), points=(total, sum(e.points for e in exercises.values()))
    )
    for name, exercise in exercises.items():
        points = rows[name].get("points", 0)
        said = f"{points:5g} / {exercise.points:<4}{last_of(exercise, rows[name])}"
        bar = Bar(f"{name} {exercise.title}", points / exercise.points, said)
        bar.status = rows[name].get("last", NOT_ATTEMPTED)
        if points == exercise.points:  # the best counts
            bar.status = RIGHT
        card.bars.append(bar)
    return card


def last_of(exercise, row):
    """What came of the last try, in words; and whether the exercise belongs to the core."""
    last = row.get("last", NOT_ATTEMPTED)
    if exercise.kind == "explain" and last == RIGHT:
        last = "recorded"
    last = say("all", last)
    if row.get("points") == exercise.points and row["last"] != RIGHT:
        last = say("all", "right before", last=last)
    core = f" {say('all', 'core')}" if exercise.core else ""
    return f"{last}{core}"
