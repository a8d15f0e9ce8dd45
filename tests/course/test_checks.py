"""The machinery of the exercises: verdicts, comparisons, the package shut, and a student's file cut from its master."""

import contextlib
import importlib.util
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import flash_course
from flash_course import learner
from flash_course.checks import exercise as model
from flash_course.checks.closed_book import PackageShut, package_shut
from flash_course.checks.texts import say
from flash_course.checks.verdict import judge, same_code

pytestmark = pytest.mark.quick

ROOT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location("exercises_tool", ROOT / "tools" / "exercises.py")
tool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tool)


@pytest.fixture(autouse=True)
def own_progress(tmp_path, monkeypatch):
    monkeypatch.setenv("FLASH_TUTORIAL_PROGRESS", str(tmp_path / "progress.json"))


# ---------------------------------------------------------------- the machinery


def exercise(run, **changed):
    """A small exercise: double a number."""
    facts = dict(
        id="05.1", title="double", kind="build", points=10, difficulty=1, importance=1, minutes=1, names=("double",),
        parts={"small": 4, "large": 6}, cases=lambda rng, numbers: run, right=lambda x: 2 * x,
        wrong=(model.Wrong("strided", lambda x: x * x), model.Wrong("front", lambda x: x + 2)),
        hints=("a",) * 3,
    )  # fmt: skip
    return model.Exercise(**facts | changed)


CASES = [model.call("two", "small", 2.0), model.call("five", "large", np.array([5.0, 1.0]))]


@pytest.mark.parametrize(
    "answer, status, points, said",
    [
        (lambda x: x + x, "right", 10, ""),
        (lambda x: x * x, "wrong", 4, say("05.1", "strided")),  # right at 2
        (lambda x: None, "wrong", 0, "is a `return` missing?"),
        (lambda x: 1 / 0, "raises", 0, "ZeroDivisionError: division by zero"),
        (lambda x: np.float32(2) * np.float32(x) * np.float32(1.000001), "wrong", 0, "7 digits only"),
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


def test_a_call_into_the_package_is_seen_even_behind_except():
    from flash_tutorial import reference

    def double(x):
        with contextlib.suppress(Exception):
            reference.silu(np.zeros(1))
        return 2 * x

    verdict = judge(exercise(CASES), double)
    assert "calls `flash_tutorial.reference.silu`" in str(verdict) and verdict.status == "wrong"
    assert judge(exercise(CASES, shut=False), double).status == "right"
    with pytest.raises(PackageShut), package_shut():
        reference.silu(np.zeros(1))
    assert sys.getprofile() is None


def test_same_code_looks_at_the_text_only():
    one, two, three = {}, {}, {}
    exec("import torch\ndef f(x):\n    for i in range(3):\n        x = torch.relu(x)\n    return x", one)
    exec("def f(x):\n\n    for i in range(3):\n        x = torch.relu(x)\n    return x", two)
    exec("def f(x):\n    for i in range(4):\n        x = torch.relu(x)\n    return x", three)
    assert same_code(one["f"], two["f"]) and not same_code(one["f"], three["f"])


def test_values_are_compared_by_shape_type_and_number():
    from flash_course.checks.compare import difference

    a = np.arange(6.0).reshape(2, 3)
    b = a.copy()
    b[1, 0] = 7
    assert difference(a, a.copy(), 1e-9) is None
    assert "first difference [1, 0]: expected 3, got 7 (1 of 6 differ)" in difference(a, b, 1e-9)
    assert "expected a value of type ndarray, got Tensor" in difference(a, torch.from_numpy(a), 1e-9)
    assert "expected the shape (2, 3), got (3, 2)" in difference(a, a.T, 1e-9)
    assert "Every value is zero" in difference(a, 0 * a, 1e-9)
    assert "got nan" in difference(a, a * np.nan, 1e-9)
    assert difference(a * np.nan, a * np.nan, 1e-9) is None
    assert "expected inf, got 1" in difference(np.array(np.inf), np.array(1.0), 1e-9)
    assert "expected 2 values, got 1" in difference((a, a), a, 1e-9)
    assert "value 2: " in difference((a, a), (a, b), 1e-9)
    assert "expected the keys x, got y" in difference({"x": 1}, {"y": 1}, 1e-9)
    assert difference(True, np.True_, 1e-9) is None and difference(True, 1, 1e-9)
    assert difference(np.array([True]), np.array([1.0]), 1e-9)


def test_check_hint_and_progress_speak_to_a_student(capsys):
    flash_course.check("05.1", lambda x_TD, C: x_TD)
    said = capsys.readouterr().out
    assert said.startswith("05.1: wrong, 0 of 10 points") and 'hint("05.1") gives a hint' in said
    flash_course.check("05.1", model.load_exercise("05.1").right)
    flash_course.check("05.1", lambda x_TD, C: x_TD)
    for number in (1, 2, 3, 3):
        flash_course.hint("05.1")
        assert f"05.1, hint {number} of 3: " in capsys.readouterr().out
    flash_course.progress("05")
    table = capsys.readouterr().out
    assert "set 05: 10 of 100 points" in table  # the best is kept
    assert re.search(r"05.1 to_chunks +10 / 10 +wrong core", table)
    stored = json.loads(learner.progress_path().read_text(encoding="utf-8"))
    assert stored["exercises"]["05.1"] == {"points": 10, "of": 10, "last": "wrong", "checks": 3, "hints": 3}


def test_a_text_counts_no_points_before_a_person_has_read_it(capsys):
    text = model.load_exercise("05.7").right
    flash_course.check("05.7", text)
    assert capsys.readouterr().out.startswith("05.7: recorded: marked by a person")
    flash_course.progress("05")
    table = capsys.readouterr().out
    assert "set 05: 0 of 100 points" in table and re.search(r"05.7 .* +0 / 5 +recorded: marked by a person", table)


@pytest.mark.parametrize(
    "call, said",
    [
        (lambda: flash_course.check("05.9", 1), "there is no exercise '05.9': expected one of 05.1, 05.2"),
        (lambda: flash_course.check("99.1", 1), "there is no problem set '99': expected one of"),
        (lambda: flash_course.check("05.5", 1), "takes suspect_one, suspect_two, suspect_three: 1 were given"),
        (lambda: flash_course.personal("05.1"), "has no personal numbers"),
    ],
)
def test_wrong_calls_say_what_is_expected(call, said):
    with pytest.raises(ValueError, match=said):
        call()


def test_personal_numbers_are_drawn_from_the_id():
    drawn = {name: flash_course.personal("05.6", name) for name in ("ada", "me", "grace")}
    assert drawn["ada"] == flash_course.personal("05.6", "ada") and len({str(n) for n in drawn.values()}) == 3


# ---------------------------------------------------------------- from master to student


def test_an_answer_is_cut_out_and_its_stub_put_in():
    source = "def f(x):\n    # BEGIN SOLUTION\n    y = x + 1  # the answer\n    return y\n    # END SOLUTION\n\nz = 1"
    kept, answer = tool.split_code(source)
    assert kept == 'def f(x):\n    raise NotImplementedError("your code here")\n\nz = 1'
    assert answer == ["    y = x + 1  # the answer", "    return y"]
    kept, _ = tool.split_code("# BEGIN SOLUTION\n# STUB a = None\n# STUB b = None\na = 3\n# END SOLUTION")
    assert kept == "a = None\nb = None"
    for wrong in ("# BEGIN SOLUTION\nx", "# END SOLUTION", "# BEGIN SOLUTION\n# BEGIN SOLUTION\n# END SOLUTION"):
        with pytest.raises(ValueError, match="without"):
            tool.split_code(wrong)


def test_drift_and_a_visible_answer_are_found(tmp_path):
    (tmp_path / "solutions").mkdir()
    path = tmp_path / "solutions" / "01_small.py"
    path.write_text(
        "# %% [markdown]\n# # Small\n\n# %%\n# BEGIN SOLUTION\nthe_answer = 41 + 1\n# END SOLUTION\n", encoding="utf-8"
    )
    assert tool.main(["build"], tmp_path) == 0 and tool.check(tmp_path) == []
    student = tmp_path / "exercises" / "01_small.ipynb"
    student.write_text(student.read_text().replace("# Small", "# Small: the_answer = 41 + 1"), encoding="utf-8")
    found = tool.check(tmp_path)
    assert "out of step" in found[0] and "shows a line of the answer: the_answer = 41 + 1" in found[1]
    path.unlink()
    assert tool.check(tmp_path) == ["01_small.ipynb has no master in solutions/"]


def test_a_wrong_guess_is_not_told_the_right_one(capsys):
    exercise = model.load_exercise("05.6")
    right = exercise.right(exercise.numbers("me"))
    flash_course.check("05.6", right | {"a": 12345})
    said = capsys.readouterr().out
    assert 'in the case "a": not 12345.' in said and "expected" not in said


def test_a_guess_that_is_missing_is_named(capsys):
    exercise = model.load_exercise("05.6")
    flash_course.check("05.6", exercise.right(exercise.numbers("me")) | {"b": None})
    assert 'in the case "b": nothing is written under b.' in capsys.readouterr().out
