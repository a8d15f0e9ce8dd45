"""Edits of code that is right: in text, and planted in functions that live."""

import importlib.util
import sys

import pytest

from flash_course.checks.edits import edited, replace_once
from flash_course.planting import planted, planted_in

SOURCE = '''
import functools

HALF = 0.5


class Base:
    def value(self):
        return 1


class Sum(Base):
    def value(self):
        """One more than below."""
        return super().value() + 1


@functools.cache
def area(a, b):
    return a * b


def adder(n):
    def add(x):
        return x + n

    return add


def outer(x):
    return area.__wrapped__(x, x) * HALF
'''


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


def test_a_fault_is_planted_whoever_holds_the_function_and_goes_away(module):
    held = module.Sum().value
    with planted(module.Sum.value, "+ 1", "+ 2"):
        assert held() == module.Sum().value() == 3  # super() needs the method's own closure
    assert held() == 2
    with planted(module.area, "a * b", "a + b"):
        assert module.area.__wrapped__(2, 3) == 5 and module.outer(3) == 3


def test_it_goes_away_after_an_error_too(module):
    with pytest.raises(ZeroDivisionError), planted(module.outer, "* HALF", "/ 0"):
        module.outer(1)
    assert module.outer(1) == 0.5


def test_a_fault_in_a_module_finds_methods_decorated_functions_and_closures_that_live(module):
    add = module.adder(1)
    with planted_in(module, "super().value() + 1", "super().value()\\\n        + 5"):
        assert module.Sum().value() == 6 and add(1) == 2
    with planted_in(module, "return x + n", "return x - n"):
        assert add(1) == 0 and module.adder(2)(2) == 0
    with planted_in(module, "return a * b", "return -a * b"):
        assert module.outer(2) == -2
    assert (module.Sum().value(), add(1), module.outer(2)) == (2, 2, 2)


def test_what_changes_no_function_is_refused(module):
    with (
        pytest.raises(ValueError, match="changes no function's body"),
        planted_in(module, "HALF = 0.5", "HALF = 0.4"),
    ):
        pass
