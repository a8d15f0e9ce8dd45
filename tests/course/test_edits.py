"""Edits of code that is right."""

import importlib.util
import sys

import pytest

from flash_course.checks.edits import edited, replace_once

SOURCE = """
HALF = 0.5


def area(a, b):
    return a * b


def outer(x):
    return area(x, x) * HALF
"""


@pytest.fixture
def module(tmp_path):
    path = tmp_path / "some_module.py"
    path.write_text(SOURCE, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("some_module", path)
    module = sys.modules["some_module"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["some_module"]


def test_an_old_text_must_stand_there_once():
    assert replace_once("a b c", "a", "x", "b", "y", where="here") == "x y c"
    for old, times in (("z", 0), ("a", 2)):
        with pytest.raises(ValueError, match=f"here holds {times} times '{old}'"):
            replace_once("a a", old, "", where="here")


def test_an_edited_function_is_a_copy_and_the_right_one_stays(module):
    wrong = edited(module.outer, "* HALF", "* HALF * 2", name="twice")
    assert (wrong(3), module.outer(3)) == (9, 4.5)
