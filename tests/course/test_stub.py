"""Only what nobody touched is "not attempted"."""

import numpy as np
import pytest
from small_exercise import CASES, exercise
from torch import nn

from flash_course.checks.exercise import Unable
from flash_course.checks.exercise import call as case_of
from flash_course.checks.stub import is_stub, same_code
from flash_course.checks.verdict import judge

pytestmark = pytest.mark.quick


def stub(x):
    """With a docstring."""
    raise NotImplementedError("your code here")


def begun(x):
    y = 2 * x
    raise NotImplementedError("your code here")
    print(y)


def ellipsis(x): ...


def passes(x):
    """Nothing yet."""
    pass


class Stub(nn.Module):
    def __init__(self, dim):
        super().__init__()
        raise NotImplementedError("your code here")

    def forward(self, x):
        raise NotImplementedError("your code here")


class Begun(nn.Module):
    def __init__(self, dim):
        super().__init__()

    def forward(self, x):
        raise NotImplementedError("your code here")


def half(x):
    if np.ndim(x):
        raise NotImplementedError("only numbers so far")
    return 2 * x


def half_with_the_stubs_words(x):
    if np.ndim(x):
        raise NotImplementedError("your code here")
    return 2 * x


def other_words(x):
    raise NotImplementedError("later")


@pytest.mark.parametrize(
    "answer", [stub, begun, ellipsis, passes, None, ..., "", {"a": None}, Stub]
)
def test_a_stub_is_not_attempted(answer):
    assert judge(exercise(CASES), answer).status == "not attempted"


@pytest.mark.parametrize(
    "answer, points", [(half, 4), (half_with_the_stubs_words, 4), (other_words, 0)]
)
def test_an_error_of_that_kind_elsewhere_is_an_error_like_any_other(answer, points):
    verdict = judge(exercise(CASES), answer)
    assert (verdict.status, verdict.points) == ("raises", points)
    assert "NotImplementedError: " in str(verdict)


def test_what_does_something_is_no_stub():
    for thing in (half, Begun, np.sum, 3, lambda x: None, type("Empty", (), {})):
        assert not is_stub(thing)


def test_one_of_two_names_may_stay_a_stub():
    two = exercise(
        [case_of("two", "small", 2.0, of="double"), case_of("four", "large", 4.0, of="half")],
        names=("double", "half"),
        wrong=(),
        right={"double": lambda x: 2 * x, "half": lambda x: x / 2},
    )
    verdict = judge(two, {"double": lambda x: 2 * x, "half": stub})
    assert (verdict.status, verdict.points) == ("raises", 4)
    assert judge(two, {"double": stub, "half": ellipsis}).status == "not attempted"


def test_what_a_machine_cannot_run_is_not_attempted_and_says_why():
    def run(answer):
        raise Unable("11.3", "needs Linux")

    cases = [case_of("two", "small", 2.0), CASES[1].__class__("three", "large", run)]
    verdict = judge(exercise(cases), lambda x: 2 * x)
    assert verdict.status == "not attempted" and verdict.lines and verdict.points == 0


def test_same_code_looks_at_the_text_only():
    def made(lines):
        names = {}
        exec(f"import torch\ndef f(x):\n{lines}", names)
        return names["f"]

    loop = "    for i in range(3):\n        x = torch.relu(x)\n    return x"
    assert same_code(made(loop), made(f"\n{loop}"))
    assert not same_code(made(loop), made(loop.replace("3", "4")))
