"""Lesson plans and rubrics: what they say of lectures and exercises is so. A course's fork has neither."""

import re
from pathlib import Path

import nbformat
import pytest

from flash_course.checks.exercise import load_exercise, load_set, there
from flash_course.checks.verdict import RIGHT, judge

ROOT = Path(__file__).resolve().parents[2]
PLANS, RUBRICS = ROOT / "docs" / "lesson_plans.md", ROOT / "docs" / "rubrics.md"
pytestmark = [
    pytest.mark.fork,
    pytest.mark.skipif(
        not PLANS.is_file(), reason="there are no pages for instructors: a course's fork has none"
    ),
]
HOMEWORK = r"(\d\d\.\d) \((\d+) points, (\d+) min\)"


def exercises():
    for number in there():
        yield from load_set(number).values()


# ---------------------------------------------------------------- lesson plans


def lessons():
    """The text of each, in one line, and once more in its own lines."""
    parts = re.split(r"^(?=## Lesson )", PLANS.read_text(encoding="utf-8"), flags=re.M)[1:]
    return [(" ".join(part.split()), part) for part in parts]


def cells_of_lecture(lesson):
    """The texts of the lecture that a lesson shows, headings and code; empty in one without a lecture."""
    number = re.search(r"\(\.\./notebooks/(\d\d)_\w+\.ipynb\)", lesson)
    if number is None:
        return "", ""
    (path,) = (ROOT / "notebooks").glob(f"{number[1]}_*.ipynb")
    cells = nbformat.read(path, as_version=4).cells
    kinds = ("markdown", "code")
    return ["\n".join(cell.source for cell in cells if cell.cell_type == kind) for kind in kinds]


def test_a_lesson_has_75_minutes():
    for lesson, lines in lessons():
        minutes = re.findall(r"^\| (\d+) \| ", lines, flags=re.M)
        assert sum(map(int, minutes)) == 75, lesson[:40]


def test_the_sections_and_guesses_that_a_lesson_shows_are_in_its_lecture():
    for lesson, _ in lessons():
        text, code = cells_of_lecture(lesson)
        headings = {*re.findall(r"^##+ (?:\d+\. )?(.*)$", text, flags=re.M)}
        assert {*re.findall(r"(?<!\*)\*([^*]+)\*(?!\*)", lesson)} <= headings, lesson[:40]
        guesses = {*re.findall(r"guess (\d\d\.[a-z])", lesson)}
        assert guesses <= {*re.findall(r'reveal\("(.*?)"', code)}, lesson[:40]


def test_the_wrong_answers_that_a_lesson_discusses_are_kept_ones():
    for lesson, _ in lessons():
        for name, key in re.findall(r"(\d\d\.\d) `([^`]+)`", lesson):
            assert key in {wrong.key for wrong in load_exercise(name).wrong}, f"{name} {key}"


def test_homework_has_its_points_and_minutes_and_each_exercise_is_homework_once():
    given = []
    for lesson, _ in lessons():
        core, _, rest = lesson.partition("The rest: ")
        for part, is_core in ((core, True), (rest, False)):
            for name, points, minutes in re.findall(HOMEWORK, part):
                exercise = load_exercise(name)
                facts = (exercise.points, exercise.minutes, exercise.core)
                assert facts == (int(points), int(minutes), is_core), name
                given.append(name)
    wanted = [exercise.id for exercise in exercises() if not exercise.id.startswith("11")]
    assert sorted(name for name in given if not name.startswith("11")) == wanted


# ---------------------------------------------------------------- rubrics


def test_a_marked_answer_reaches_the_marker_and_earns_a_part():
    text = RUBRICS.read_text(encoding="utf-8")
    for exercise in (exercise for exercise in exercises() if exercise.kind == "explain"):
        part = re.search(rf"^## {re.escape(exercise.id)} .*?(?=^## )", text, re.M | re.S)[0]
        quote = part.split("An answer to mark:\n\n")[1].split("\n\n")[0]
        answer = " ".join(line.removeprefix("> ") for line in quote.splitlines())
        assert judge(exercise, answer, kept=True).status == RIGHT, exercise.id
        marks = re.findall(r"^\| (\d) \| (yes|no) \| \S", part, flags=re.M)
        assert [int(n) for n, _ in marks] == [*range(1, len(exercise.rubric) + 1)], exercise.id
        earned = sum(word == "yes" for _, word in marks)
        points = round(exercise.points * earned / len(marks))
        assert 0 < earned < len(marks) and f"**{points} of {exercise.points} points**" in part
