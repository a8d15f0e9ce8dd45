"""A student's file is cut from its master: `tools/exercises.py` on small problem sets."""

import pytest
from house.scripts import script

tool = script("exercises.py")
MARKED = """\
def f(x):
    # BEGIN SOLUTION
    y = x + 1  # the answer
    return y
    # END SOLUTION

z = 1"""
STUBS = "# BEGIN SOLUTION\n# STUB a = None\n# STUB b = None\na = 3\n# END SOLUTION"
MASTER = """\
# %% [markdown]
# # Small

# %%
# BEGIN SOLUTION
the_answer = 41 + 1
# END SOLUTION
"""


def test_an_answer_is_cut_out_and_its_stub_put_in():
    kept, answer = tool.split_code(MARKED)
    assert kept == 'def f(x):\n    raise NotImplementedError("your code here")\n\nz = 1'
    assert answer == ["    y = x + 1  # the answer", "    return y"]
    assert tool.split_code(STUBS)[0] == "a = None\nb = None"
    begin = "# BEGIN SOLUTION"
    for wrong in (f"{begin}\nx", "# END SOLUTION", f"{begin}\n{STUBS}"):
        with pytest.raises(ValueError, match="without"):
            tool.split_code(wrong)


def test_drift_a_visible_answer_and_a_file_without_master_are_found(tmp_path):
    (tmp_path / "solutions").mkdir()
    path = tmp_path / "solutions" / "01_small.py"
    path.write_text(MASTER, encoding="utf-8")
    assert tool.main(["build"], tmp_path) == 0 and tool.check(tmp_path) == []
    student = tmp_path / "exercises" / "01_set_small.ipynb"
    text = student.read_text(encoding="utf-8")
    student.write_text(text.replace("# Small", "# Small: the_answer = 41 + 1"), encoding="utf-8")
    drift, shown = tool.check(tmp_path)
    assert "out of step" in drift and "shows a line of the answer: the_answer = 41 + 1" in shown
    path.unlink()
    assert tool.check(tmp_path) == ["01_set_small.ipynb has no master in solutions/"]


def test_a_line_of_a_rubric_that_was_written_by_hand_is_found(tmp_path):
    if not tool.rubrics_page(tool.ROOT).is_file():
        pytest.skip("there are no rubrics here: a course's fork has none")
    text = tool.rubrics_page(tool.ROOT).read_text(encoding="utf-8")
    (tmp_path / "docs").mkdir()
    copy = tool.rubrics_page(tmp_path)
    copy.write_text(text.replace("\n1. ", "\n1. By hand: ", 1), encoding="utf-8")
    assert tool.check_rubrics(tmp_path)
    tool.build_rubrics(tmp_path)
    assert copy.read_text(encoding="utf-8") == text
