"""What is written about a class."""

from submissions import SOON

from flash_course.checks import texts
from flash_course.checks.exercise import load_set
from flash_course.grading import reports
from flash_course.grading.export import gradescope_form
from flash_course.grading.markdown import course_text


def test_a_page_is_in_the_language_of_the_messages(monkeypatch):
    monkeypatch.setitem(texts.read("general"), "right", "richtig")
    monkeypatch.setitem(texts.read("general"), "points", "{got} von {of}")
    assert reports.state({"status": "right", "points": 2.5, "of": 5}) == "richtig, 2.5 von 5"


def result_of(number, **rows):
    """A student's result: exercises by number, with what is said of them."""
    rows = {
        f"{number}.{key[1:]}": {"of": 10, "points": 0, "said": [], "notes": []} | row
        for key, row in rows.items()
    }
    points = sum(row["points"] for row in rows.values())
    result = dict(name="ada", set=number, points=points, of=100, student="ada", notes=[])
    return result | {"exercises": rows}


RIGHT = {"status": "right", "points": 2.5}
TEXT = {"status": "right", "points": 0, "by_person": True, "text": "why"}


def test_a_text_without_marks_is_blank_and_a_marked_one_has_its_points():
    """Blank in a spreadsheet is "not yet", a zero would be a grade."""
    waiting = result_of("05", e1=RIGHT, e7=TEXT)
    assert reports.table([waiting]).splitlines()[1] == "ada,05,2.5,100,2.5,,ada"
    assert "; 10 more wait for a person's marks" in reports.heading(waiting)
    marked = result_of("05", e1=RIGHT, e7=TEXT | {"marked": True})
    assert reports.table([marked]).splitlines()[1] == "ada,05,2.5,100,2.5,0,ada"
    assert reports.heading(marked) == "ada: set 05, 2.5 of 100 points"


def test_a_page_has_the_numbers_that_were_drawn_and_help_where_something_is_wrong():
    exercises = load_set("05")
    drawn = next(name for name, exercise in exercises.items() if exercise.draw)
    wrong = "05.2"
    right = "05.1"
    rows = {f"e{name[3:]}": {"status": "right", "points": 10} for name in (right, drawn)}
    page = reports.page(result_of("05", **rows, e2={"status": "wrong", "points": 0}))
    parts = {part.split()[0]: part for part in page.split("\n## ")[1:]}
    for name, value in exercises[drawn].numbers("ada").items():
        assert f"{name} = {value}" in parts[drawn]
    assert course_text(exercises[wrong].hints[0]) in parts[wrong]
    assert "lecture 05" in parts[wrong].lower()
    assert exercises[right].hints[0] not in parts[right]


def test_what_every_exercise_has_met_is_said_once():
    shared = "line 1 of code cell 2: ModuleNotFoundError"
    own = "line 9 of code cell 5: ValueError"
    first, second = (RIGHT | {"notes": notes} for notes in ([shared], [shared, own]))
    pages = reports.page(result_of("05", e1=first, e2=second)).split("\n## ")
    assert [shared in page for page in pages] == [True, False, False]
    assert [own in page for page in pages] == [False, False, True]
    form = gradescope_form(result_of("05", e1=first, e2=second), 1.0)
    assert form["output"] == shared and form["tests"][1]["output"].endswith(own)
    # the one exercise may be what it is about
    alone = reports.page(result_of("05", e1=RIGHT | {"notes": [own]}))
    assert own not in alone.split("\n## ")[0]


def test_what_may_have_gone_wrong_with_a_file_is_listed():
    """A cell that cannot be read, an import that was deleted, a function with another name, a text turned down."""
    unknown = "NameError: name 'np' is not defined (in your line: x)"
    gone = texts.say("all", "missing", name="mixed_chunk")
    result = result_of(
        "05",
        e1={"status": "raises", "said": [unknown]},
        e2={"status": "raises", "said": ["ValueError: no"], "seconds": 3.01, "stopped": True},
        e3={"status": "not attempted", "notes": [gone]},
        e4={"status": "not attempted"},
        e7={"status": "wrong", "by_person": True, "text": "because"},
    )
    said = reports.summary([result | {"notes": ["code cell 7 is left out: bad indent"]}], SOON)
    for line in (
        "ada: code cell 7 is left out: bad indent",
        "a name is missing, so a cell may be gone, renamed or unreadable: ada 05.1 05.3",
        "texts that the check turned down, with 0 points: ada 05.7",
        "stopped after 3 seconds of computing or 18 on the clock: ada 05.2",
    ):
        assert line in said
