"""The small cases that a card shows: the right answer passes them, kept wrong ones are seen in them."""

import numpy as np
import pytest

from flash_course.checks.examples import rows_of
from flash_course.checks.exercise import load_exercise, load_set, there
from flash_course.checks.in_rows import numbers_of

EXERCISES = [
    exercise.id
    for number in there()
    for exercise in load_set(number).values()
    if exercise.example is not None
]


@pytest.mark.parametrize("name", EXERCISES)
def test_an_example_tells_wrong_from_right(name):
    exercise = load_exercise(name)
    assert rows_of(exercise, exercise.right) == []
    shown = [
        rows for wrong in exercise.wrong if (rows := rows_of(exercise, exercise.handed_in(wrong)))
    ]
    assert len(shown) >= len(exercise.wrong) / 4
    for given, expected, yours in shown:
        assert expected[1] != yours[1]
        assert max(map(len, given[1].split("\n"))) <= 60


def edge_padded(x_TD, C):
    return np.pad(x_TD, ((0, -len(x_TD) % C), (0, 0)), "edge").reshape(-1, C, x_TD.shape[1])


def test_input_expected_and_yours_stand_beside_each_other(capsys, tmp_path, monkeypatch):
    from flash_course import check

    monkeypatch.setenv("FLASH_TUTORIAL_PROGRESS", str(tmp_path / "progress.json"))
    check("05.1", edge_padded)
    lines = capsys.readouterr().out.split("\n")
    given = "x_TD = [[1] [2] [3] [4] [5]]"
    assert f"  {given}   [[[1] [2]] [[3] [4]] [[5] [0]]]   [[[1] [2]] [[3] [4]] [[5] [5]]]" in lines


class Odd:
    def __repr__(self):
        raise RuntimeError


@pytest.mark.parametrize(
    "value, text",
    [
        (3, "3"),
        (2.5, "2.5"),
        (-0.0, "0"),
        (True, "True"),
        (None, "None"),
        (np.eye(2), "[[1 0]\n [0 1]]"),
        (np.array([[True, False]]), "[[1 0]]"),
        (np.array([0.25, -1, np.nan]), "[0.25   -1  nan]"),
        (np.arange(3)[:, None], "[[0] [1] [2]]"),
        ((np.ones(2), [1, 2]), "[1 1]\n[1 2]"),
        (np.zeros((99, 9)), "891 numbers in the shape (99, 9)"),
        ("word", "'word'"),
        (Odd(), "Odd"),
    ],
)
def test_values_are_shown_in_few_letters(value, text):
    assert numbers_of(value) == text


def test_each_exercise_of_the_core_says_why_it_matters():
    missing = [
        exercise.id
        for number in there()
        for exercise in load_set(number).values()
        if exercise.core and not exercise.why
    ]
    assert missing == []
