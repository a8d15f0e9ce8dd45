"""What is written about a class."""

import pytest
from submissions import SOON

from flash_course.checks import texts
from flash_course.checks.exercise import load_set
from flash_course.grading import reports


@pytest.mark.quick
def test_what_was_stopped_by_the_clock_is_listed():
    row = {"points": 0, "of": 5, "status": "wrong", "seconds": 3.01, "stopped": True}
    result = {"name": "ada", "set": "05", "notes": [], "exercises": {"05.1": row, "05.2": row | {"stopped": False}}}
    assert reports.summary([result], SOON) == ["stopped after 3 seconds of computing or 18 on the clock: ada 05.1"]


@pytest.mark.quick
def test_a_page_is_in_the_language_of_the_messages(monkeypatch):
    monkeypatch.setitem(texts.read("general"), "right", "richtig")
    monkeypatch.setitem(texts.read("general"), "points", "{got} von {of}")
    assert reports.state({"status": "right", "points": 2.5, "of": 5}) == "richtig, 2.5 von 5"


def result_of(number, **rows):
    """A student's result: exercises by number, with what is said of them."""
    rows = {f"{number}.{key[1:]}": {"of": 10, "said": [], "notes": []} | row for key, row in rows.items()}
    points = sum(row["points"] for row in rows.values())
    return {
        "name": "ada", "set": number, "points": points, "of": 100, "student": "ada", "notes": [], "exercises": rows,
    }  # fmt: skip


@pytest.mark.quick
def test_a_text_without_marks_is_blank_and_a_marked_one_has_its_points():
    """Blank in a spreadsheet is "not yet", a zero would be a grade."""
    text = {"status": "right", "points": 0, "by_person": True, "text": "why"}
    waiting = result_of("05", e1={"status": "right", "points": 2.5}, e7=text)
    assert reports.table([waiting]).splitlines()[1] == "ada,05,2.5,100,2.5,,ada"
    marked = result_of("05", e1={"status": "right", "points": 2.5}, e7=text | {"points": 0, "marked": True})
    assert reports.table([marked]).splitlines()[1] == "ada,05,2.5,100,2.5,0,ada"


@pytest.mark.quick
def test_a_page_has_the_numbers_that_were_drawn_and_help_where_something_is_wrong():
    exercises = load_set("05")
    drawn = next(name for name, exercise in exercises.items() if exercise.draw)
    wrong, right = "05.2", "05.1"
    rows = {f"e{name[3:]}": {"status": "right", "points": 10} for name in (right, drawn)}
    page = reports.page(result_of("05", **rows, e2={"status": "wrong", "points": 0}))
    parts = {part.split()[0]: part for part in page.split("\n## ")[1:]}
    for name, value in exercises[drawn].numbers("ada").items():
        assert f"{name} = {value}" in parts[drawn]
    assert reports.plain(exercises[wrong].hints[0]) in parts[wrong] and "lecture 05" in parts[wrong].lower()
    assert exercises[right].hints[0] not in parts[right]
