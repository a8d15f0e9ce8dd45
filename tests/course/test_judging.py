"""What is judged is what `check` judges, and STUDENT is what the notebook's own code makes of it."""

import csv
import io

import pytest
from submissions import forks, run
from test_exercises import EXERCISES, by_exercise

from flash_course import asking, personal
from flash_course.checks import verdict
from flash_course.checks.exercise import load_set
from flash_course.checks.texts import say
from flash_course.grading import judging, reports
from flash_course.grading.child import Limits, in_child
from flash_course.grading.judging import student_in
from flash_course.grading.messages import student_of
from flash_course.grading.statements import Statements

pytestmark = forks

# ---------------------------------------------------------------- check and grade say the same
KINDS = ("01.1", "02.3", "03.5", "04.2", "05.2", "06.3", "07.7", "08.2", "10.2")  # some of each
TASK = {"cells": [], "name": "ada", "seed": 0, "held_out": None}


@pytest.fixture
def of_grade(monkeypatch):
    """What grading finds of an answer: of a submission that defines it."""
    names = {}
    monkeypatch.setattr(judging.Statements, "run", lambda self, wanted, seconds: (dict(names), []))

    def found(exercise, answer):
        names.clear()
        names.update({exercise.names[0]: answer} if len(exercise.names) == 1 else answer)
        return judging.judge({exercise.id: exercise}, 10, TASK | {"exercise": exercise.id})

    return found


@pytest.mark.parametrize("name", by_exercise(KINDS))
def test_check_and_grade_find_the_same_in_a_right_and_in_wrong_answers(name, of_grade, monkeypatch):
    exercise = EXERCISES[name]
    kept = []
    # both would refuse what lies in the package
    monkeypatch.setattr(verdict, "refusal", lambda exercise, answer: None)
    monkeypatch.setattr(asking, "keep", kept.append)
    right = exercise.right(exercise.numbers()) if exercise.kind == "predict" else exercise.right
    wrong = [exercise.handed_in(wrong) for wrong in exercise.wrong[:2]]
    for answer in (right, *wrong):
        several = [answer[one] for one in exercise.names] if len(exercise.names) > 1 else [answer]
        asking.check(name, *several)
        graded = of_grade(exercise, answer)
        checked = kept[-1]
        assert graded["status"] == checked.status
        earned = {part: checked.by_part[part] == of for part, of in exercise.parts.items()}
        assert graded["parts"] == earned
        lines = " ".join([*checked.lines, *checked.likely])
        assert all(line in lines for line in graded["said"])


@pytest.mark.parametrize("name", ["03.2", "05.5"])
def test_both_refuse_the_courses_own_answer_with_one_sentence(name, of_grade):
    exercise = EXERCISES[name]
    said = say("all", "taken", name=exercise.names[0])
    checked = verdict.judge(exercise, exercise.right)
    assert checked.points == 0 and checked.lines == [said]
    graded = of_grade(exercise, exercise.right)
    assert said in (graded.get("failed"), *graded.get("said", ()))
    assert not any(graded.get("parts", {}).values())


# ---------------------------------------------------------------- who the student is
WRITTEN = {
    "plain": 'STUDENT = "ada"',
    "annotated": 'STUDENT: str = "ada"',
    "an f-string": 'NAME = "ada"\nSTUDENT = f"{NAME}"',
    "a concatenation": 'STUDENT = "a" + "da"',
    "side by side": 'STUDENT = ("a" "da")',
    "a walrus": '(STUDENT := "ada")',
    "a walrus in an if": 'if (STUDENT := "ada"):\n    pass',
    "a tuple": 'STUDENT, COURSE = "ada", 5',
    "a star": '*_, STUDENT = "bob", "ada"',
    "two targets": 'NAME = STUDENT = "ada"',
    "a variable": 'NAME = "ada"\nSTUDENT = NAME',
    "the environment": 'import os\nSTUDENT = os.environ.get("NO_SUCH_NAME", "ada")',
    "stripped": 'STUDENT = " ada ".strip()',
    "in an if": 'STUDENT = "me"\nif True:\n    STUDENT = "ada"',
    "in a try": 'try:\n    STUDENT = no_such_name\nexcept NameError:\n    STUDENT = "ada"',
    "in a loop": 'for STUDENT in ("bob", "ada"):\n    pass',
    "augmented": 'STUDENT = "a"\nSTUDENT += "da"',
    "by a function": 'def name():\n    return "ada"\nSTUDENT = name()',
    "by a function that says global": 'def name():\n    global STUDENT\n    STUDENT = "ada"\nname()',
    "by exec": "exec(\"STUDENT = 'ada'\")",
    "by globals": 'globals()["STUDENT"] = "ada"',
    "timed": '%time STUDENT = "ada"',
    "out of a list": 'STUDENT = ["bob", "ada"][1]',
    "later": 'STUDENT = "me"\n# %%\nSTUDENT = "ada"',
    "a match": 'match {"name": "ada"}:\n    case {"name": STUDENT}:\n        pass',
    "a class of its own": 'class Name(str):\n    pass\nSTUDENT = Name("ada")',
}


def students():
    """What each of them makes of STUDENT, in a notebook that asks for it."""
    found = {}
    asks = "check('05.6', answer_05_6, student=STUDENT)"
    for name, code in WRITTEN.items():
        names, _ = Statements([*code.split("# %%"), asks], "a").run(["STUDENT"])
        found[name] = student_in(names)
    return found


def test_the_student_is_found_however_it_is_written():
    assert in_child(students, Limits()).message == dict.fromkeys(WRITTEN, "ada")


@pytest.mark.nightly
def test_numbers_tables_and_pages_have_the_same_student(tmp_path, capsys):
    """The numbers are those that the student saw, so a prediction made from them is right."""
    folder = tmp_path / "class"
    out = tmp_path / "out"
    folder.mkdir()
    exercise = load_set("05")["05.6"]
    answer = f"answer_05_6 = {exercise.right(exercise.numbers('ada'))!r}"
    names = ("annotated", "the environment", "by exec")
    for name in names:
        text = f"# %%\n{WRITTEN[name]}\n# %%\nimport numpy as np\n{answer}\ncheck('05.6', answer_05_6)\n"
        (folder / f"{name}.py").write_text(text)
    assert run("grade", folder, "--out", out, "--only", "05.6") == 0
    shared = (
        f"the same STUDENT = 'ada', and so the same numbers in set 05: {', '.join(sorted(names))}"
    )
    assert shared in capsys.readouterr().out
    for row in csv.DictReader(io.StringIO((out / "results.csv").read_text())):
        assert (row["STUDENT"], float(row["05.6"])) == ("ada", exercise.points)
        page = (out / "feedback" / f"{row['name']}.md").read_text()
        for number, value in personal("05.6", "ada").items():
            assert f"{number} = {value}" in page


def test_the_student_that_is_told_is_the_one_whose_numbers_were_drawn():
    exercises = load_set("05")
    rows = {key: {"student": "bob"} for key in exercises} | {"05.1": {}}
    assert student_of(exercises, rows | {"05.6": {"student": "ada"}}) == "ada"
    assert student_of(exercises, rows | {"05.6": {}}) == "bob"
    assert student_of(exercises, {"05.1": {}}) is None


def test_a_page_has_the_numbers_that_each_exercise_was_judged_with():
    exercise = load_set("05")["05.6"]
    row = {"status": "right", "points": 5, "of": 5, "said": [], "notes": []}
    for student in ("", "a\u200bb", "x" * 300):
        result = {"name": "a", "set": "05", "points": 5, "of": 5, "student": "other", "notes": []}
        page = reports.page(result | {"exercises": {"05.6": row | {"student": student}}})
        for name, value in exercise.numbers(student).items():
            assert f"{name} = {value}" in page
