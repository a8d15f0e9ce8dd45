"""docs/rubrics.md: it quotes the sets, and its marked answers are such as a marker meets."""

import importlib.util
import re
from pathlib import Path

import pytest

from flash_course.checks.exercise import load_exercise, load_set, there
from flash_course.checks.verdict import RIGHT, judge

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "rubrics.md"
pytestmark = [
    pytest.mark.quick,
    pytest.mark.fork,
    pytest.mark.skipif(
        not PAGE.is_file(), reason="there are no rubrics here: a course's fork has none"
    ),
]


def tool():
    spec = importlib.util.spec_from_file_location("exercises_tool", ROOT / "tools" / "exercises.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def section(name):
    text = PAGE.read_text(encoding="utf-8")
    return re.search(rf"^## {re.escape(name)} .*?(?=^## )", text, flags=re.M | re.S)[0]


TEXTS = [
    name
    for number in there()
    for name, exercise in load_set(number).items()
    if exercise.kind == "explain"
]


def test_the_page_quotes_the_sets_and_a_line_by_hand_is_found(tmp_path):
    exercises, text = tool(), PAGE.read_text(encoding="utf-8")
    assert exercises.check_rubrics(ROOT) == []
    (tmp_path / "docs").mkdir()
    copy = tmp_path / "docs" / PAGE.name
    copy.write_text(
        text.replace(load_exercise("05.7").rubric[1], "A line of one's own."), encoding="utf-8"
    )
    assert exercises.check_rubrics(tmp_path)
    exercises.build_rubrics(tmp_path)
    assert copy.read_text(encoding="utf-8") == text


@pytest.mark.parametrize("name", TEXTS)
def test_a_marked_answer_reaches_the_marker_and_earns_a_part(name):
    exercise, part = load_exercise(name), section(name)
    quote = part.split("An answer to mark:\n\n")[1].split("\n\n")[0]
    answer = " ".join(line.removeprefix("> ") for line in quote.splitlines())
    assert judge(exercise, answer, kept=True).status == RIGHT and len(answer.split()) <= 80
    earned = re.findall(r"^\| (\d) \| (yes|no) \| \S", part, flags=re.M)
    assert [int(number) for number, _ in earned] == [*range(1, len(exercise.rubric) + 1)]
    lines = sum(word == "yes" for _, word in earned)
    assert 0 < lines < len(earned)
    points = round(exercise.points * lines / len(earned))
    assert f"**{points} of {exercise.points} points**" in part
