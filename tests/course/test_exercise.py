"""What a set is made of: rows of its table, cases, and texts; what a case sees of its arguments."""

import numpy as np
import pytest
from test_exercises import EXERCISES

from flash_course.checks.exercise import (
    Said,
    asked,
    holder_of,
    wrong_answers,
    wrong_by_edits,
)
from flash_course.checks.verdict import RIGHT, judge


def write(path):
    text = "one"
    path.write_text(text)


def read(path):
    return path.read_text()


BOTH = {"write": write, "read": read}


def test_an_edit_belongs_to_the_function_that_holds_it_or_to_that_of_the_edit_before(tmp_path):
    assert holder_of("row", BOTH, "one", None) == "write"
    assert holder_of("row", BOTH, "(path)", "read") == "read"  # both hold it
    assert holder_of("row", BOTH, "two", "write") == "write"  # none does: an edit has put it there
    for text, before in (("(path)", None), ("two", None)):
        with pytest.raises(ValueError, match="put the function's name first"):
            holder_of("row", BOTH, text, before)
    wrong = wrong_by_edits("1", "both", BOTH, ["one", "two", "read_text()", "read_text() * 2"])
    wrong.answer["write"](tmp_path / "a")
    assert (wrong.of, wrong.answer["read"](tmp_path / "a")) == (None, "twotwo")
    assert wrong_by_edits("1", "one of them", BOTH, ["one", "two"]).of == "write"


def test_a_function_needs_a_row_or_a_general_sentence():
    from flash_course.checks.exercise import Wrong

    kept = wrong_answers("1", write, {}, [Wrong("input", read)])
    assert [wrong.key for wrong in kept] == ["input"]
    with pytest.raises(ValueError, match="no row for the wrong answers strange"):
        wrong_answers("1", write, {}, [Wrong("strange", read)])


TEXTS = [exercise for exercise in EXERCISES.values() if exercise.kind == "explain"]


@pytest.mark.parametrize("exercise", TEXTS, ids=lambda exercise: exercise.id)
def test_a_text_must_have_its_length_and_name_what_the_question_asks_for(exercise):
    length, content = exercise.list_cases(None)
    assert judge(exercise, exercise.model_answer, kept=True).status == RIGHT
    for case, text in ((length, "too short"), (length, "word " * 200), (content, "word " * 40)):
        with pytest.raises(Said):
            case.run(text)


# ---------------------------------------------------------------- arguments belong to their caller
CHANGES = {
    "an entry of an array": (np.zeros(3), lambda x: x.put(0, 1)),
    "an entry of a list": ([3, 1, 2], lambda x: x.sort()),
    "a number in a table": ({"E": 4}, lambda x: x.update(E=6)),
    "a flag in a table": ({"gate": True}, lambda x: x.update(gate=False)),
    "a word in a list": (["a", "b"], lambda x: x.reverse()),
    "a table in a list": ([{"T": 1}], lambda x: x[0].update(T=2)),
    "a key of a table": ({}, lambda x: x.update(new=None)),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_argument_is_seen(name):
    given, change = CHANGES[name]
    with pytest.raises(Said, match="changed"):
        asked(change, given)


@pytest.mark.parametrize(
    "given", [np.array([np.nan]), [float("nan"), 1], {"E": 4, "word": "a", "none": None}, "abc"]
)
def test_what_is_left_alone_is_no_change(given):
    assert asked(lambda x: 1, given) == 1
