"""A student's file is cut from its master: `tools/exercises.py` on small problem sets."""

import importlib.util
from pathlib import Path

import pytest

pytestmark = pytest.mark.quick

ROOT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location("exercises_tool", ROOT / "tools" / "exercises.py")
tool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tool)


def test_an_answer_is_cut_out_and_its_stub_put_in():
    source = "def f(x):\n    # BEGIN SOLUTION\n    y = x + 1  # the answer\n    return y\n    # END SOLUTION\n\nz = 1"
    kept, answer = tool.split_code(source)
    assert kept == 'def f(x):\n    raise NotImplementedError("your code here")\n\nz = 1'
    assert answer == ["    y = x + 1  # the answer", "    return y"]
    kept, _ = tool.split_code(
        "# BEGIN SOLUTION\n# STUB a = None\n# STUB b = None\na = 3\n# END SOLUTION"
    )
    assert kept == "a = None\nb = None"
    for wrong in (
        "# BEGIN SOLUTION\nx",
        "# END SOLUTION",
        "# BEGIN SOLUTION\n# BEGIN SOLUTION\n# END SOLUTION",
    ):
        with pytest.raises(ValueError, match="without"):
            tool.split_code(wrong)


def test_drift_and_a_visible_answer_are_found(tmp_path):
    (tmp_path / "solutions").mkdir()
    path = tmp_path / "solutions" / "01_small.py"
    path.write_text(
        "# %% [markdown]\n# # Small\n\n# %%\n# BEGIN SOLUTION\nthe_answer = 41 + 1\n# END SOLUTION\n",
        encoding="utf-8",
    )
    assert tool.main(["build"], tmp_path) == 0 and tool.check(tmp_path) == []
    student = tmp_path / "exercises" / "01_small.ipynb"
    student.write_text(
        student.read_text().replace("# Small", "# Small: the_answer = 41 + 1"), encoding="utf-8"
    )
    found = tool.check(tmp_path)
    assert (
        "out of step" in found[0] and "shows a line of the answer: the_answer = 41 + 1" in found[1]
    )
    path.unlink()
    assert tool.check(tmp_path) == ["01_small.ipynb has no master in solutions/"]
