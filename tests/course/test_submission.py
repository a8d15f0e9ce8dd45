"""Which files are graded, and how each is read."""

import json
import os
import subprocess
import sys

import pytest
from hostile import odd_files
from submissions import forks, run

from flash_course.grading import reports
from flash_course.grading.files import find_submissions
from flash_course.grading.grade import Pool, grade
from flash_course.grading.submission import read_file, read_submission

pytestmark = forks


@pytest.mark.parametrize(
    "data, said",
    [
        (b"{]", "it is no notebook"),
        (bytes(range(256)), "it is no notebook"),
        (b"[" * 100_000, "it is no notebook"),
        (b" \n", "it is empty"),
        (b'{"cells": []}', "there is no code in it"),
        (b'{"cells": [{"cell_type": "code", "source": "a = 1"}]}', "no call such as check"),
    ],
)
def test_a_file_that_is_no_notebook_is_said(data, said, tmp_path):
    path = tmp_path / "ada.ipynb"
    path.write_bytes(data)
    found = read_submission(path, "ada")
    assert said in found.notes[0] and found.number is None
    number = "05" if "it is" in said else None  # no points by --set either
    (result,) = grade([path], tmp_path / "out", number=number, quiet=True, pool=Pool(), mode="none")
    assert result["points"] == 0 and result["exercises"] == {}
    assert reports.page(result).startswith("# ada: not read")


def test_a_py_file_in_another_encoding_is_told_which_one_to_take(tmp_path):
    path = tmp_path / "ada.py"
    path.write_bytes('STUDENT = "Jürg"\ncheck("05.1", f)\n'.encode("cp1252"))
    (said,) = read_submission(path, "ada").notes
    assert "it is no text in UTF-8. Save it as that" in said and "notebook" not in said


def test_two_files_of_one_name_are_named_and_cost_nobody_else(tmp_path):
    for name in ("a.py", "a.ipynb", "b.py"):
        (tmp_path / name).write_text("x = 1")
    first, second, other = find_submissions([tmp_path]).files
    assert {first.name, second.name} == {"a, file 1", "a, file 2"}
    assert "a.py has the same name: hand in one file" in first.refused
    assert (other.name, other.refused) == ("b", None)


@pytest.mark.nightly
def test_each_odd_file_has_a_line_and_costs_nobody_else(tmp_path):
    folder = tmp_path / "class"
    folder.mkdir()
    expected = odd_files(folder)
    (folder / ("n" * 240 + ".py")).write_text('check("05.1", 0)')
    os.close(os.open(os.fsencode(folder) + b"/\xff\nname.py", os.O_CREAT | os.O_WRONLY))
    out = tmp_path / "out"
    assert run("grade", folder, "--out", out) == 0
    students = {s["name"]: s for s in json.loads((out / "results.json").read_text())["students"]}
    for name, said in expected.items():
        assert said in students[name]["notes"][0], (name, students[name]["notes"])
        assert bool(students[name]["exercises"]) == (name == "deep")
    assert students["good"]["notes"] == [] and len(students["good"]["exercises"]) == 7
    (long,) = (name for name in students if name.startswith("nnn"))
    assert len(long.encode()) <= 150 and len(students[long]["exercises"]) == 7
    (odd,) = (name for name in students if name.startswith("\ufffd name~"))
    assert students[odd]["notes"] == ["the file cannot be read: it is empty. Hand it in again"]
    assert len(list((out / "feedback").iterdir())) == len(students) == len(expected) + 3


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything"
)
def test_a_file_that_may_not_be_read_is_said(tmp_path):
    path = tmp_path / "shut.py"
    path.write_text("a = 1")
    path.chmod(0)
    assert read_submission(path, "shut").notes == ["the file cannot be read: Permission denied"]


def test_a_file_that_is_gone_is_said(tmp_path):
    (said,) = read_submission(tmp_path / "gone.py", "gone").notes
    assert said == "the file cannot be read: No such file or directory"


def test_reading_takes_its_memory_and_time_in_a_child(tmp_path):
    """In a new process: what an old one has freed, its children could use without asking the system."""
    path = tmp_path / "ada.ipynb"
    path.write_text('{"cells": [' + "[]," * 4_000_000 + "[]]}")
    code = f"""
from pathlib import Path
from flash_course.grading import submission
from flash_course.grading.child import Limits
submission.READING = Limits(seconds=20, bytes=100_000_000)
print(submission.read_submission(Path({str(path)!r}), "ada").notes[0])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.startswith("the file cannot be read: MemoryError"), done.stdout + done.stderr


def test_names_of_others_beside_the_submissions_are_listed_or_are_junk(tmp_path):
    for name in ("a.py", "notes.pdf", ".DS_Store", "._a.py", ".hidden", "no_ending"):
        (tmp_path / name).write_text("x")
    (tmp_path / ".ipynb_checkpoints").mkdir()
    (tmp_path / ".ipynb_checkpoints" / "a-checkpoint.ipynb").write_text("{}")
    handed = find_submissions([tmp_path])
    assert [file.name for file in handed.files] == ["a"]
    assert [path.name for path in handed.others] == [".hidden", "no_ending", "notes.pdf"]


@pytest.mark.nightly
def test_half_a_letter_in_a_name_or_in_student_stops_nothing(tmp_path):
    source = 'STUDENT = "a\\ud800b"\nx = "\ud800"\ncheck("05.1", 0)'
    path = tmp_path / "ada.ipynb"
    path.write_text(json.dumps({"cells": [{"cell_type": "code", "source": source}]}))
    out = tmp_path / "out"
    assert run("grade", path, "--out", out) == 0
    assert (out / "results.csv").is_file() and (out / "feedback" / "ada.md").is_file()


@pytest.mark.parametrize("mark", ["# %%", "#%%", "# In[3]:", "# In[ ]:"])
def test_a_cell_of_a_script_begins_where_an_editor_or_jupyters_export_says_so(mark, tmp_path):
    path = tmp_path / "a.py"
    path.write_text(f'check("05.1", 0)\n{mark}\ndef to_chunks(:\n{mark}\nvalue = 1\n')
    assert len(read_file(path, "a").cells) == 3


@pytest.mark.parametrize("name", ["...py", "..ipynb"])
def test_a_file_named_like_a_folder_removes_none(name, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / name).write_text('check("05.1", 0)')
    written = [tmp_path / "out" / place / "kept.txt" for place in ("", "unfinished", "students")]
    for path in written:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("points by a person")
    (result,) = grade([tmp_path / "in"], tmp_path / "out", pool=Pool(), quiet=True, mode="none")
    assert "begins with a dot" in result["notes"][0]
    assert all(path.is_file() for path in written)
