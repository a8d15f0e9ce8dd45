"""What is written about a class."""

from submissions import SOON

from flash_course.checks import texts
from flash_course.checks.exercise import load_set
from flash_course.grading import reports
from flash_course.grading.export import gradescope_form
from flash_course.grading.markdown import course_text


def test_what_was_stopped_by_the_clock_is_listed():
    row = {"points": 0, "of": 5, "status": "wrong", "seconds": 3.01, "stopped": True}
    result = {
        "name": "ada",
        "set": "05",
        "notes": [],
        "exercises": {"05.1": row, "05.2": row | {"stopped": False}},
    }
    assert reports.summary([result], SOON) == [
        "stopped after 3 seconds of computing or 18 on the clock: ada 05.1"
    ]


def test_a_page_is_in_the_language_of_the_messages(monkeypatch):
    monkeypatch.setitem(texts.read("general"), "right", "richtig")
    monkeypatch.setitem(texts.read("general"), "points", "{got} von {of}")
    assert reports.state({"status": "right", "points": 2.5, "of": 5}) == "richtig, 2.5 von 5"


def result_of(number, **rows):
    """A student's result: exercises by number, with what is said of them."""
    rows = {
        f"{number}.{key[1:]}": {"of": 10, "said": [], "notes": []} | row
        for key, row in rows.items()
    }
    points = sum(row["points"] for row in rows.values())
    return {
        "name": "ada",
        "set": number,
        "points": points,
        "of": 100,
        "student": "ada",
        "notes": [],
        "exercises": rows,
    }


def test_a_text_without_marks_is_blank_and_a_marked_one_has_its_points():
    """Blank in a spreadsheet is "not yet", a zero would be a grade."""
    text = {"status": "right", "points": 0, "by_person": True, "text": "why"}
    waiting = result_of("05", e1={"status": "right", "points": 2.5}, e7=text)
    assert reports.table([waiting]).splitlines()[1] == "ada,05,2.5,100,2.5,,ada"
    marked = result_of(
        "05", e1={"status": "right", "points": 2.5}, e7=text | {"points": 0, "marked": True}
    )
    assert reports.table([marked]).splitlines()[1] == "ada,05,2.5,100,2.5,0,ada"


def test_a_page_has_the_numbers_that_were_drawn_and_help_where_something_is_wrong():
    exercises = load_set("05")
    drawn = next(name for name, exercise in exercises.items() if exercise.draw)
    wrong, right = "05.2", "05.1"
    rows = {f"e{name[3:]}": {"status": "right", "points": 10} for name in (right, drawn)}
    page = reports.page(result_of("05", **rows, e2={"status": "wrong", "points": 0}))
    parts = {part.split()[0]: part for part in page.split("\n## ")[1:]}
    for name, value in exercises[drawn].numbers("ada").items():
        assert f"{name} = {value}" in parts[drawn]
    assert (
        course_text(exercises[wrong].hints[0]) in parts[wrong]
        and "lecture 05" in parts[wrong].lower()
    )
    assert exercises[right].hints[0] not in parts[right]


def test_what_every_exercise_has_met_is_said_once():
    shared, own = "line 1 of code cell 2: ModuleNotFoundError", "line 9 of code cell 5: ValueError"
    rows = {
        "e1": {"status": "right", "points": 10, "notes": [shared]},
        "e2": {"status": "right", "points": 10},
    }
    rows["e2"]["notes"] = [shared, own]
    head, first, second = reports.page(result_of("05", **rows)).split("\n## ")
    assert (
        shared in head
        and own not in head
        and "code cell" not in first
        and own in second
        and shared not in second
    )
    form = gradescope_form(result_of("05", **rows), 1.0)
    assert form["output"] == shared and form["tests"][1]["output"].endswith(own)
    alone = result_of("05", e1={"status": "right", "points": 10, "notes": [own]})
    # the one exercise may be what it is about
    assert own not in reports.page(alone).split("\n## ")[0]


def test_the_head_of_a_page_says_what_a_person_has_still_to_give():
    text = {"status": "right", "points": 0, "by_person": True, "text": "why"}
    result = result_of("05", e1={"status": "right", "points": 2.5}, e7=text)
    assert (
        reports.heading(result)
        == "ada: set 05, 2.5 of 100 points; 10 more wait for a person's marks"
    )
    result["exercises"]["05.7"]["marked"] = True
    assert reports.heading(result) == "ada: set 05, 2.5 of 100 points"


def test_what_may_have_gone_wrong_with_a_file_is_listed():
    """A cell that cannot be read, an import that was deleted, a function with another name, a text turned down."""
    rows = {
        "e1": {
            "status": "raises",
            "points": 0,
            "said": ["NameError: name 'np' is not defined (in your line: x)"],
        },
        "e2": {"status": "raises", "points": 0, "said": ["ValueError: no"]},
        "e3": {
            "status": "not attempted",
            "points": 0,
            "notes": [texts.say("all", "missing", name="mixed_chunk")],
        },
        "e4": {"status": "not attempted", "points": 0},
        "e7": {"status": "wrong", "points": 0, "by_person": True, "text": "because"},
    }
    result = result_of("05", **rows) | {"notes": ["code cell 7 is left out: bad indent"]}
    assert reports.summary([result], SOON)[:3] == [
        "ada: code cell 7 is left out: bad indent",
        "a name is missing, so a cell may be gone, renamed or unreadable: ada 05.1 05.3",
        "texts that the check turned down, with 0 points: ada 05.7",
    ]
