"""What a function is given belongs to its caller: a case sees whether an answer has changed it."""

import numpy as np
import pytest

from flash_course.checks.exercise import Said, asked

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
