"""Rows of a set's table: what they edit, and what follows from a name or a kind."""

import numpy as np
import pytest

from flash_course.checks.exercise import (
    Said,
    holder_of,
    load_exercise,
    load_set,
    there,
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


def test_names_and_titles_follow_where_a_table_leaves_them_out():
    assert (load_exercise("01.1").title, load_exercise("01.1").names) == (
        "causal_softmax",
        ("causal_softmax",),
    )
    assert load_exercise("01.4").names == ("answer_01_4",) and load_exercise("05.7").names == (
        "text_05_7",
    )
    assert load_exercise("03.1").title == "toeplitz_bias, rotary_bias"


TEXTS = [
    exercise
    for number in there()
    for exercise in load_set(number).values()
    if exercise.kind == "explain"
]


@pytest.mark.parametrize("exercise", TEXTS, ids=lambda exercise: exercise.id)
def test_a_text_must_have_its_length_and_name_what_the_question_asks_for(exercise):
    length, content = exercise.list_cases(None)
    assert judge(exercise, exercise.model_answer, kept=True).status == RIGHT
    for case, text in ((length, "too short"), (length, "word " * 200), (content, "word " * 40)):
        with pytest.raises(Said):
            case.run(text)


def test_a_kept_pickle_loses_the_points_of_no_code_alone():
    exercise = load_exercise("07.4")
    (wrong,) = (wrong for wrong in exercise.wrong if wrong.key == "pickle")
    assert judge(exercise, wrong.answer, kept=True).by_part == {
        "goes on": 12,
        "whole file": 5,
        "no code": 0,
    }


def test_cases_are_drawn_anew_with_each_seed():
    one, same, other = (
        [case.sizes for case in load_exercise("05.3").list_cases(None, seed)] for seed in (0, 0, 1)
    )
    assert one == same != other and len(np.unique(one)) > 5
