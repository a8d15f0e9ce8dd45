"""Which files are graded, and how each is read."""

import pytest
from submissions import forks

from flash_course.grading import reports
from flash_course.grading.grade import Pool, grade
from flash_course.grading.submission import read_submission

pytestmark = forks


@pytest.mark.quick
@pytest.mark.parametrize(
    "data, said",
    [
        (b"{]", "it is no notebook"), (bytes(range(256)), "it is no notebook"), (b"[" * 100_000, "it is no notebook"),
        (b" \n", "it is empty"), (b'{"cells": []}', "there is no code in it"),
        (b'{"cells": [{"cell_type": "code", "source": "a = 1"}]}', "no call such as check"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_notebook_is_said(data, said, tmp_path):
    path = tmp_path / "ada.ipynb"
    path.write_bytes(data)
    submission = read_submission(path, "ada")
    assert said in submission.notes[0] and submission.number is None
    (result,) = grade([path], tmp_path / "out", quiet=True, pool=Pool())
    assert result["points"] == 0 and result["exercises"] == {}
    assert reports.page(result).startswith("# ada: not read")
    if "it is" in said:  # no points by --set either
        assert grade([path], tmp_path / "out", number="05", quiet=True, pool=Pool())[0]["exercises"] == {}


@pytest.mark.quick
def test_two_files_of_one_name_are_refused(tmp_path):
    for name in ("a.py", "a.ipynb"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(ValueError, match=r"two submissions are named 'a', .*a\.ipynb and .*a\.py"):
        grade([tmp_path], tmp_path / "out", quiet=True, pool=Pool())
