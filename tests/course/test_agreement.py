"""`check` and `grade` say the same of an answer: right or wrong, it goes through both."""

import pytest
from test_exercises import EXERCISES, tool

from flash_course.checks import in_notebook, verdict
from flash_course.checks.texts import say
from flash_course.grading import judging

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


@pytest.mark.parametrize("name", KINDS)
def test_check_and_grade_find_the_same_in_a_right_and_in_wrong_answers(name, of_grade, monkeypatch):
    exercise, kept = EXERCISES[name], []
    # both would refuse what lies in the package
    monkeypatch.setattr(verdict, "refusal", lambda exercise, answer: None)
    monkeypatch.setattr(in_notebook, "keep", kept.append)
    right = exercise.right(exercise.numbers()) if exercise.kind == "predict" else exercise.right
    wrong = [tool.handed_in(exercise, wrong) for wrong in exercise.wrong[:2]]
    for answer in (right, *wrong):
        several = [answer[one] for one in exercise.names] if len(exercise.names) > 1 else [answer]
        in_notebook.check(name, *several)
        graded, checked = of_grade(exercise, answer), kept[-1]
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
