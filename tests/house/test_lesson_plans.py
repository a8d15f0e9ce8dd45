"""docs/lesson_plans.md: each lesson has 75 minutes, and what it names in lectures and sets is there."""

import re
from pathlib import Path

import nbformat
import pytest

from flash_course.checks.exercise import load_exercise, load_set, there

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "lesson_plans.md"
pytestmark = [
    pytest.mark.quick,
    pytest.mark.fork,
    pytest.mark.skipif(
        not PAGE.is_file(), reason="there are no lesson plans here: a course's fork has none"
    ),
]

TEXT = PAGE.read_text(encoding="utf-8") if PAGE.is_file() else ""
LESSONS = re.split(r"^(?=## Lesson )", TEXT, flags=re.M)[1:]
every_lesson = pytest.mark.parametrize(
    "lesson", LESSONS, ids=lambda lesson: lesson[3:12].strip(" :")
)
HOMEWORK = r"(\d\d\.\d) \((\d+) points, (\d+) min\)"


def in_one_line(text):
    return " ".join(text.split())


def cells_of_lecture(lesson):
    """The cells of the lecture that a lesson shows; none in a lesson without one."""
    number = re.search(r"\(\.\./notebooks/(\d\d)_\w+\.ipynb\)", lesson)
    if number is None:
        return []
    (path,) = (ROOT / "notebooks").glob(f"{number[1]}_*.ipynb")
    return nbformat.read(path, as_version=4).cells


@every_lesson
def test_a_lesson_has_75_minutes(lesson):
    assert sum(map(int, re.findall(r"^\| (\d+) \| ", lesson, flags=re.M))) == 75


@every_lesson
def test_the_sections_and_guesses_that_a_lesson_shows_are_in_its_lecture(lesson):
    cells = cells_of_lecture(lesson)
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    headings = set(re.findall(r"^##+ (?:\d+\. )?(.*)$", text, flags=re.M))
    assert set(re.findall(r"(?<!\*)\*([^*]+)\*(?!\*)", in_one_line(lesson))) <= headings
    code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    assert set(re.findall(r"guess (\d\d\.[a-z])", in_one_line(lesson))) <= set(
        re.findall(r'reveal\("(.*?)"', code)
    )


@every_lesson
def test_the_wrong_answers_that_a_lesson_discusses_are_kept_ones(lesson):
    for name, key in re.findall(r"(\d\d\.\d) `([^`]+)`", in_one_line(lesson)):
        assert key in {wrong.key for wrong in load_exercise(name).wrong}, f"{name} {key}"


@every_lesson
def test_homework_is_said_with_its_points_and_minutes_and_sorted_into_core_and_rest(lesson):
    core, _, rest = in_one_line(lesson).partition("The rest: ")
    for part, is_core in ((core, True), (rest, False)):
        for name, points, minutes in re.findall(HOMEWORK, part):
            exercise = load_exercise(name)
            assert (exercise.points, exercise.minutes, exercise.core) == (
                int(points),
                int(minutes),
                is_core,
            ), name


def test_each_exercise_of_the_sets_01_to_10_is_homework_once():
    given = [
        name for name, *_ in re.findall(HOMEWORK, in_one_line(TEXT)) if not name.startswith("11")
    ]
    assert sorted(given) == [
        name for number in there() if number != "11" for name in load_set(number)
    ]
