"""From an answer to a verdict: points, messages, and when nothing counts as attempted."""

import numpy as np
import pytest
from small_exercise import CASES, exercise

import flash_course
from flash_course.checks.stub import same_code
from flash_course.checks.texts import say
from flash_course.checks.verdict import judge

pytestmark = pytest.mark.quick


@pytest.fixture(autouse=True)
def own_progress(tmp_path, monkeypatch):
    monkeypatch.setenv("FLASH_TUTORIAL_PROGRESS", str(tmp_path / "progress.json"))


@pytest.mark.parametrize(
    "answer, status, points, said",
    [
        (lambda x: x + x, "right", 10, ""),
        (lambda x: x * x, "wrong", 4, say("05.1", "strided")),  # right at 2
        (lambda x: None, "wrong", 0, "is a `return` missing?"),
        (lambda x: 1 / 0, "raises", 0, "ZeroDivisionError: division by zero"),
        (lambda x: np.float32(2) * np.float32(x) * np.float32(1.000001), "wrong", 0, "numbers of float32"),
        (
            lambda x: np.multiply(x, 2, out=x if isinstance(x, np.ndarray) else None),
            "wrong",
            4,
            "changed its argument 1",
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
    path.write_text("import json\n\ndef double(x):\n    return json.loads('{')  # mine\n", encoding="utf-8")
    names = {}
    exec(compile(path.read_text(), str(path), "exec"), names)
    assert "(in your line: return json.loads('{')  # mine)" in str(judge(exercise(CASES), names["double"]))


def test_a_stub_is_not_attempted():
    def double(x):
        raise NotImplementedError("your code here")

    assert judge(exercise(CASES), double).status == "not attempted"


def test_same_code_looks_at_the_text_only():
    one, two, three = {}, {}, {}
    exec("import torch\ndef f(x):\n    for i in range(3):\n        x = torch.relu(x)\n    return x", one)
    exec("def f(x):\n\n    for i in range(3):\n        x = torch.relu(x)\n    return x", two)
    exec("def f(x):\n    for i in range(4):\n        x = torch.relu(x)\n    return x", three)
    assert same_code(one["f"], two["f"]) and not same_code(one["f"], three["f"])


def test_personal_numbers_are_drawn_from_the_id():
    drawn = {name: flash_course.personal("05.6", name) for name in ("ada", "me", "grace")}
    assert drawn["ada"] == flash_course.personal("05.6", "ada") and len({str(n) for n in drawn.values()}) == 3
