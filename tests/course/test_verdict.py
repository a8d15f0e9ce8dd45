"""From an answer to a verdict: points, messages, and when nothing counts as attempted."""

import sys
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch
from small_exercise import CASES, exercise

from flash_course.checks import exercise as model
from flash_course.checks.texts import say
from flash_course.checks.verdict import judge

pytestmark = pytest.mark.quick


@pytest.mark.parametrize(
    "answer, status, points, said",
    [
        (lambda x: x + x, "right", 10, ""),
        (lambda x: x * x, "wrong", 4, say("05.1", "strided")),  # right at 2
        (lambda x: None, "wrong", 0, "is a `return` missing?"),
        (lambda x: 1 / 0, "raises", 0, "ZeroDivisionError: division by zero"),
        (
            lambda x: np.float32(2) * np.float32(x) * np.float32(1.000001),
            "wrong",
            0,
            "numbers of float32",
        ),
        (
            lambda x: np.multiply(x, 2, out=x if isinstance(x, np.ndarray) else None),
            "wrong",
            4,
            "changed its argument x",
        ),
        (lambda x: np.zeros(3), "wrong", 0, "expected the shape (), got (3,)"),
        (lambda x: "four", "wrong", 0, "expected a value of type float"),
        (None, "not attempted", 0, ""),
        (..., "not attempted", 0, ""),
    ],
)
def test_verdicts(answer, status, points, said):
    verdict = judge(exercise(CASES), answer)
    assert (verdict.status, verdict.points) == (status, points), verdict
    assert said in str(verdict)


def test_the_line_that_is_shown_is_the_students_own(tmp_path):
    path = tmp_path / "answer.py"
    path.write_text("import json\n\ndef double(x):\n    return json.loads('{')  # mine\n")
    names = {}
    exec(compile(path.read_text(), str(path), "exec"), names)
    said = str(judge(exercise(CASES), names["double"]))
    assert "(in your line: return json.loads('{')  # mine)" in said


def test_a_line_of_the_package_is_not_shown_as_the_students_own():
    from flash_tutorial import reference
    from flash_tutorial.settings import check_counts

    said = str(judge(exercise(CASES, shut=False), lambda x: reference.relu2("x")))
    assert "Error" in said and "np.maximum" not in said
    said = str(judge(exercise(CASES, shut=False), lambda x: check_counts(x=0)))
    assert "ValueError: x=0" in said and "raise ValueError" not in said


def test_an_error_of_the_oracle_is_not_laid_at_the_students_door():
    verdict = judge(exercise(CASES, right=lambda x: 1 / 0), lambda x: 2 * x)
    assert (verdict.status, verdict.points) == ("not attempted", 0)
    assert 'The check itself fails in the case "' in str(verdict)
    assert "ZeroDivisionError" in str(verdict)


# ---------------------------------------------------------------- what is said is true


def likely(answer, cases, **more):
    return judge(exercise(cases, **more), answer).likely


def cases_of(*pairs):
    return [model.call(f"case {i}", part, value) for i, (part, value) in enumerate(pairs)]


# what the kept answers x * x and x + 2 are told
SQUARE = say("05.1", "strided")
PLUS = say("05.1", "front")


def test_a_likely_mistake_is_the_same_in_all_cases_or_in_all_of_a_part():
    cases = cases_of(("small", 2.0), ("small", 3.0), ("large", 5.0), ("large", 7.0))
    assert likely(lambda x: x * x, cases) == [SQUARE]
    assert likely(lambda x: x * x if x < 4 else 2 * x, cases) == [SQUARE]  # all of one part
    assert likely(lambda x: x * x if x == 3 else 2 * x + 0.1 * (x > 4), cases) == [SQUARE]
    # one case of two: it may be chance
    assert likely(lambda x: x * x if x == 5 else 2 * x, cases) == []
    assert likely(lambda x: 2 * x + 0.5, cases) == []


@pytest.mark.parametrize("b", [[30], np.array([30]), np.array([1, 2]), {30}])
def test_a_prediction_in_a_list_or_an_array_is_told_to_write_a_number(b):
    four = model.load_exercise("04.4")
    numbers = four.numbers()
    said = str(judge(four, four.right(numbers) | {"b": b}))
    assert "write a number" in said, said


def test_a_case_that_names_the_mistake_gets_no_sentence_of_another_one():
    """Both kept answers are rejected with the same words."""

    def named(answer):
        model.reject_if(answer(3.0) != 6.0, "05.1", "front")

    cases = [model.Case("three", "small", named), model.Case("again", "large", named)]
    verdict = judge(exercise(cases), lambda x: x * x)
    assert PLUS in verdict.lines[-1] and verdict.likely == []


def test_a_likely_mistake_of_another_part_than_the_one_shown_names_its_part():
    cases = cases_of(("small", 3.0), ("large", 5.0), ("large", 7.0))
    assert likely(lambda x: x * x if x > 4 else 0.5, cases) == [f"large: {SQUARE}"]
    assert likely(lambda x: x * x if x < 4 else 0.5, cases) == [SQUARE]


def test_a_likely_mistake_may_be_rounded_as_much_as_the_exercise_allows():
    cases = cases_of(("small", 2.5), ("large", 5.0))
    assert likely(lambda x: x * x + 1e-5, cases, tolerance=3e-5) == [SQUARE]
    assert likely(lambda x: x * x + 1e-5, cases) == []


def test_the_same_flag_or_error_shows_no_mistake():
    def fails(x):
        raise ValueError("a")

    flags = cases_of(("small", 2.0), ("large", 5.0))
    wrong = (model.Wrong("strided", lambda x: x > 2), model.Wrong("front", fails))
    how = dict(right=lambda x: x > 0, wrong=wrong)
    assert likely(lambda x: x > 2, flags, **how) == [SQUARE]  # all cases
    assert likely(lambda x: x == 7, flags, **how) == []  # the part "small" alone
    assert likely(fails, flags, **how) == [PLUS]

    def other(x):
        raise ValueError("b")

    assert likely(other, flags, **how) == []


def test_what_a_case_is_about_is_not_called_a_cause():
    case = model.call("three", "small", 3.0, say="strided")
    verdict = judge(exercise([case, CASES[1]]), lambda x: 2 * x + (np.ndim(x) == 0))
    assert verdict.likely == [] and say("all", "about", said=SQUARE) in verdict.lines
    error = judge(exercise([case, CASES[1]]), lambda x: 2 * x if np.ndim(x) else x.no)
    assert SQUARE not in str(error) and "AttributeError" in str(error)


def test_float32_is_said_only_where_the_numbers_are_of_float32():
    single = say("all", "single")
    close = say("all", "close")
    x = [model.call("many", "small", np.array([0.1, 0.7, 1.3])), CASES[1]]
    assert single in str(judge(exercise(x), lambda x: (2 * x).astype(np.float32)))
    assert single in str(judge(exercise(x), lambda x: (2 * x).astype(np.float32).astype(float)))
    for answer in (
        lambda x: 2 * x + 1e-6,
        lambda x: 2 * x * (1 + 1e-6),
        lambda x: np.round(2 * x, 6) + 1e-6,
    ):
        said = str(judge(exercise(x), answer))
        assert close in said and single not in said


def test_of_a_held_out_case_only_the_part_is_shown():
    secret = model.call("a secret", "small", 17.25, sizes="T = 99")
    wrong = judge(exercise(CASES), lambda x: 2 * x + np.equal(x, 17.25), more_cases=[secret])
    assert (wrong.status, wrong.points) == ("wrong", 6)
    assert wrong.lines == ["small: wrong", "large: right", say("all", "held out", part="small")]

    def fails(x):
        return 2 * x if np.ndim(x) or x != 17.25 else int("17.25")

    error = judge(exercise(CASES), fails, more_cases=[secret])
    assert error.points == 6
    for word in ("17", "99", "secret", "ValueError"):
        assert word not in str(error)


@pytest.mark.parametrize(
    "answer, said",
    [
        (lambda x: sys.exit(3), "SystemExit: 3"),
        (lambda x: exec("raise BaseException('no')"), "BaseException: no"),
        (lambda x: exec("raise AssertionError"), "AssertionError: no message"),
        (lambda x: (each for each in [x]), "returned a generator, and did not run"),
        (lambda x: later(x), "returned a coroutine, and did not run"),
        (lambda x: torch.tensor([2.0 * x]), "expected a value of type float, got Tensor"),
        (lambda x: str(2 * x), "expected a value of type float, got str"),
        (lambda x: 2 * x + 1j, "expected numbers of type float64, got complex128"),
        (lambda x: np.array([object()])[0], "expected a value of type float, got object"),
        (
            lambda x: x.setflags(write=True),
            "AttributeError: 'float' object has no attribute 'setflags'",
        ),
        (lambda x: [2 * x], "expected the shape (), got (1,)"),
        (lambda: 1, "TypeError: "),
        (lambda x: Unspeakable(), "expected a value of type float, got Unspeakable"),
        (lambda x: [Unspeakable()] * 2, "expected "),
    ],
)
def test_hostile_answers_get_a_line(answer, said):
    verdict = judge(exercise(CASES), answer)
    assert verdict.points == 0 and said in str(verdict), verdict


class Unspeakable:
    """Bears no question."""

    def __repr__(self):
        raise ZeroDivisionError

    def __array__(self, *more, **how):
        raise KeyError("no")

    __eq__ = __bool__ = __len__ = __getitem__ = __float__ = __repr__


async def later(x):
    return 2 * x


BUFFER = np.zeros(2)


def always_the_same_array(x):
    np.multiply(x, 2, out=BUFFER[: np.size(x)].reshape(np.shape(x)))
    return BUFFER[: np.size(x)].reshape(np.shape(x))


def read_only(x):
    x = np.array(2 * x)
    x.setflags(write=False)
    return x


def in_forms(of_a_number, of_an_array):
    """Doubles, and gives its two kinds of results in other forms."""
    return lambda x: of_a_number(2 * x) if np.ndim(x) == 0 else of_an_array(2 * x)


@pytest.mark.parametrize(
    "answer",
    [
        in_forms(Fraction, np.array),
        in_forms(Decimal, lambda y: [Decimal(y[0]), Fraction(y[1])]),
        in_forms(torch.tensor, np.ndarray.tolist),
        in_forms(np.float32, tuple),
        in_forms(np.uint8, np.uint8),
        in_forms(int, np.int64),
        in_forms(complex, np.complex128),
        read_only,
        always_the_same_array,
        lambda x: np.ma.masked_array(2 * x),
    ],
)
def test_numbers_that_are_equal_are_right(answer):
    assert judge(exercise(CASES), answer).points == 10
