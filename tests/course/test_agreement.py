"""`check` and `grade` say the same of an answer: every kept one, right or wrong, goes through both."""

import importlib.util
from functools import cache
from pathlib import Path

import pytest
from test_exercises import EXERCISES, right_answers, skip_without_triton, tool

from flash_course.checks import in_notebook, verdict
from flash_course.checks.texts import say
from flash_course.grading import judging

ROOT = Path(__file__).resolve().parents[2]
# one of each kind
JUDGED = ("01.1", "02.3", "03.5", "04.2", "05.2", "06.3", "07.7", "08.2", "10.2")
TASK = {"cells": [], "name": "ada", "seed": 0, "held_out": None}


@pytest.fixture(autouse=True)
def handed_in(monkeypatch):
    """A submission that defines what lies in the dictionary."""
    names = {}
    monkeypatch.setattr(judging.Statements, "run", lambda self, wanted, seconds: (dict(names), []))
    return names


@cache
def answers_to(name):
    """The course's own answer, other right ones, and all wrong ones."""
    exercise = EXERCISES[name]
    right = exercise.right(exercise.numbers()) if exercise.kind == "predict" else exercise.right
    others = right_answers(name[:2]).RIGHT.get(name, ()) if (ROOT / "solutions").is_dir() else ()
    return [right, *others, *(tool.handed_in(exercise, wrong) for wrong in exercise.wrong)]


def named(exercise, answer):
    return {exercise.names[0]: answer} if len(exercise.names) == 1 else answer


def of_grade(exercise, answer, handed_in):
    handed_in.clear()
    handed_in.update(named(exercise, answer))
    return judging.judge({exercise.id: exercise}, 10, TASK | {"exercise": exercise.id})


def made_up(exercise, answer, **how):
    """A verdict that differs from answer to answer."""
    number = len(repr(answer))
    status = (verdict.RIGHT, verdict.WRONG, verdict.RAISES, verdict.NOT_ATTEMPTED)[number % 4]
    by_part = {
        part: of * (number + i) % 3 and of for i, (part, of) in enumerate(exercise.parts.items())
    }
    return verdict.Verdict(
        exercise.id, status, sum(by_part.values()), exercise.points, by_part=by_part
    )


@pytest.mark.parametrize("name", EXERCISES)
def test_check_and_grade_give_the_same_points_for_every_kept_answer(name, handed_in, monkeypatch):
    """Both hand the same answer to the same judge, in the same words, and make the same of what it finds.

    What that is is asked for a tenth of the exercises. For the others a verdict is made up, another for each answer:
    that the judge itself is right, test_exercises holds, with the same answers.
    """
    skip_without_triton(name)
    exercise, asked, kept = EXERCISES[name], [], []
    # both would refuse what lies in the package
    monkeypatch.setattr(verdict, "refusal", lambda exercise, answer: None)
    monkeypatch.setattr(verdict, "alike_in_all", lambda *looks: [])
    monkeypatch.setattr(verdict, "alike_in_a_part", lambda *looks: {})
    judge = verdict.judge if name in JUDGED else made_up

    def judge_of_grade(exercise, answer, *, seed, student, more_cases):
        asked.append((exercise, answer, seed, student, more_cases))
        kept.append(judge(exercise, answer, seed=seed, student=student, more_cases=more_cases))
        return kept[-1]

    def judge_of_check(exercise, answer, *, seed=0, student="me", more_cases=()):
        asked.append((exercise, answer, seed, student, more_cases))
        return kept[-1]  # it is deterministic: asked the same, it says the same

    monkeypatch.setattr(verdict, "judge", judge_of_grade)
    monkeypatch.setattr(in_notebook, "judge", judge_of_check)
    monkeypatch.setattr(in_notebook, "keep", kept.append)
    for answer in answers_to(name):
        graded = of_grade(exercise, answer, handed_in)
        assert "failed" not in graded, graded
        answers = named(exercise, answer)
        in_notebook.check(name, *(answers[one] for one in exercise.names))
        (first, second), checked = asked[-2:], kept[-1]
        assert first == second or repr(first) == repr(second)
        assert graded["status"] == checked.status, answer
        assert graded["parts"] == {
            part: checked.by_part[part] == of for part, of in exercise.parts.items()
        }, answer


@pytest.mark.parametrize("name", ["01.1", "03.2", "05.4", "05.5"])
def test_both_refuse_the_courses_own_answer_with_one_sentence(name, handed_in):
    exercise = EXERCISES[name]
    said = say("all", "taken", name=exercise.names[0])
    checked, graded = (
        verdict.judge(exercise, exercise.right),
        of_grade(exercise, exercise.right, handed_in),
    )
    assert checked.points == 0 and checked.lines == [said]
    assert graded.get("failed") == said or (
        graded["said"] == [said] and not any(graded["parts"].values())
    )


def test_where_both_ask_nothing_else_refuses():
    """One list of reasons: grading looks at an answer through `judge` alone."""
    source = Path(importlib.util.find_spec("flash_course.grading.judging").origin).read_text(
        encoding="utf-8"
    )
    assert "from_the_package" not in source and "verdict.judge" in source
