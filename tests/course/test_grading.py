"""Grading: what one submission does costs that exercise alone, and a class gets exactly the points that it should.

The submissions are made from the untouched notebook of set 05 and from its solution; without ``solutions/`` (a course's
fork) those that need the solution are skipped.
"""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import nbformat
import pytest
from marks import needs_solutions

from flash_course import cli
from flash_course.checks import texts
from flash_course.checks.exercise import load_set
from flash_course.grading import export, reports
from flash_course.grading.grade import Pool, default_pool, grade
from flash_course.grading.child import Limits
from flash_course.grading.statements import parsed
from flash_course.grading.submission import read_submission

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="grading needs Linux or macOS")
SOON = Limits(seconds=3)
FULL = 95  # of set 05, whose last five points a person gives


def source(solved=True):
    """Set 05 as one Python file."""
    if solved:
        return (ROOT / "solutions" / "05_mixed_chunk_attention.py").read_text(encoding="utf-8")
    cells = nbformat.read(ROOT / "exercises" / "05_mixed_chunk_attention.ipynb", as_version=4).cells
    return "\n".join(f"# %%\n{cell.source}" for cell in cells if cell.cell_type == "code")


def graded(tmp_path, text, **options):
    path = tmp_path / "ada.py"
    path.write_text(text, encoding="utf-8")
    options = {"limits": SOON, "quiet": True, "pool": Pool(), "mode": "none"} | options
    (result,) = grade([path], tmp_path / "out", **options)
    return result


def with_body(body):
    """The solution, with another body of to_chunks."""
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    return source() + f"\n\n# %%\ndef to_chunks(x_TD, C):\n{lines}\n"


def points(result):
    return {name: row["points"] for name, row in result["exercises"].items()}


# ---------------------------------------------------------------- right, half, untouched


@pytest.mark.quick
@needs_solutions
def test_the_solution_gets_all_points_that_a_program_gives(tmp_path):
    result = graded(tmp_path, source(), pool=default_pool(), seed=7)
    assert points(result) == {"05.1": 10, "05.2": 15, "05.3": 25, "05.4": 20, "05.5": 15, "05.6": 10, "05.7": 0}
    assert result["points"] == FULL and result["of"] == 100 and result["notes"] == []


@pytest.mark.quick
@pytest.mark.fork
def test_an_untouched_file_gets_none(tmp_path):
    result = graded(tmp_path, source(solved=False))
    assert set(points(result).values()) == {0}
    assert {row["status"] for row in result["exercises"].values()} == {"not attempted"}


@pytest.mark.quick
@needs_solutions
def test_a_missing_exercise_is_not_attempted(tmp_path):
    text = source().replace("def earlier_chunks(", "def somewhere_else(")
    result = graded(tmp_path, text)
    assert result["exercises"]["05.2"]["status"] == "not attempted"
    assert result["exercises"]["05.1"]["points"] == 10


# ---------------------------------------------------------------- what costs one exercise

FAULTS = {
    "endless loop": ("while True:\n    pass", "stopped after 3 seconds"),
    "endless loop under except": (
        "while True:\n    try:\n        pass\n    except Exception:\n        pass", "stopped after 3 seconds",
    ),
    "endless in C": ("import re\nre.match('(a+)+$', 'a' * 60 + 'b')", "stopped after 3 seconds"),
    "os._exit": ("import os\nos._exit(0)", "ended before the check was done"),
    "sys.exit": ("import sys\nsys.exit(0)", "SystemExit"),
    "segmentation fault": ("import ctypes\nctypes.string_at(0)", "crashed (SIGSEGV)"),
    "all memory": ("return np.ones((400_000_000_000,))", "MemoryError"),
    "memory bit by bit": ("rows = []\nwhile True:\n    rows.append(bytearray(10_000_000))", "MemoryError"),
    "100 MB of output": (
        "for _ in range(100):\n    print('x' * 1_000_000)\nreturn np.zeros((3, C, x_TD.shape[1]))",
        "Every value is zero",
    ),
    "a fork": ("import os, time\nif os.fork() == 0:\n    time.sleep(60)\ntime.sleep(60)", "stopped after 3 seconds"),
    "files": (
        "open('mine.txt', 'w').write('x')\nreturn np.zeros((3, C, x_TD.shape[1]))", "Every value is zero",
    ),
    "a huge file": ("open('mine.txt', 'w').write('x' * 60_000_000)\nreturn x_TD", "OSError"),
    "the checker": (
        "from flash_course.checks import verdict\nverdict.difference = lambda *a: None\nreturn x_TD",
        "changes the checker",
    ),
    "sys.modules": (
        "import sys, types\nsys.modules['flash_course.checks.compare'] = types.ModuleType('compare')\nreturn x_TD",
        "changes the checker",
    ),
    "the clock": (
        "import time\ntime.time = time.monotonic = time.perf_counter = lambda: 0.0\nwhile True:\n    pass",
        "stopped after 3 seconds",
    ),
    "the oracle": (
        "from flash_course.checks.sets import set_05\nreturn set_05.to_chunks(x_TD, C)",
        "calls `flash_course.checks.sets.set_05.to_chunks`",
    ),
    "the answer's file": (
        "from flash_course.checks.sets import set_05\nn = {}\n"
        "exec(open(set_05.__file__).read().split('# ------')[0], n)\nreturn n",
        "may not be read by an answer",
    ),
    "input": ("return input('chunks? ')", "asks for input"),
    "a call of the package": (
        "from flash_tutorial import reference\nreturn reference.to_chunks(x_TD, C)",
        "calls `flash_tutorial.reference.to_chunks`",
    ),
}  # fmt: skip


@needs_solutions
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_costs_one_exercise(name, tmp_path):
    body, said = FAULTS[name]
    result = graded(tmp_path, with_body(body), limits=Limits(seconds=3, bytes=600_000_000))
    row = result["exercises"]["05.1"]
    assert row["points"] == 0 and any(said in line for line in row["said"]), row
    assert result["points"] == FULL - 10, points(result)
    assert row["seconds"] < 10 and not list(Path.cwd().glob("mine.txt"))


@pytest.mark.quick
@needs_solutions
def test_code_outside_functions_is_not_run_again(tmp_path):
    text = source() + "\n\n# %%\nimport time\ntime.sleep(100)\nmodel = time.sleep(100)\n%matplotlib inline\n!rm -rf x\n"
    assert graded(tmp_path, text)["points"] == FULL


@pytest.mark.quick
@needs_solutions
def test_a_cell_that_cannot_be_read_costs_what_is_in_it(tmp_path):
    text = source().replace("    missing = -len(x_TD) % C\n", "    missing = = 3\n")
    result = graded(tmp_path, text)
    assert points(result)["05.1"] == 0 and points(result)["05.2"] == 15
    assert "is left out: invalid syntax" in result["notes"][0]


@pytest.mark.quick
@needs_solutions
def test_an_import_that_fails_is_said_and_the_rest_counts(tmp_path):
    result = graded(tmp_path, source() + "\n\n# %%\nimport no_such_package\n")
    assert result["points"] == FULL
    assert "ModuleNotFoundError: No module named 'no_such_package'" in result["exercises"]["05.1"]["notes"][0]


@needs_solutions
def test_an_answer_that_is_the_oracle_is_refused(tmp_path):
    text = source() + "\n\n# %%\nfrom flash_course.checks.sets.set_05 import to_chunks\n"
    result = graded(tmp_path, text)
    assert "is an object of the package" in result["exercises"]["05.1"]["said"][0]
    assert points(result)["05.1"] == 0 and points(result)["05.4"] == 20


@needs_solutions
def test_an_answer_that_the_students_own_function_computes_is_run_for_its_exercise(tmp_path):
    text = source() + (
        "\n\n# %%\nimport time\n\ndef same(x):\n    return x\n\ndef slow():\n    time.sleep(100)\n\nmodel = slow()\n"
        "kept, answer_05_6 = answer_05_6, None\nanswer_05_6 = same(kept)\nto_chunks = same(to_chunks)\n"
    )
    assert graded(tmp_path, text)["points"] == FULL


@pytest.mark.quick
@needs_solutions
def test_a_name_that_is_missing_is_said(tmp_path):
    result = graded(tmp_path, source().replace("def earlier_chunks(", "def somewhere_else("))
    assert result["exercises"]["05.2"]["notes"] == ["earlier_chunks is not defined."]
    assert result["exercises"]["05.1"]["notes"] == []


@pytest.mark.quick
def test_jupyters_own_lines_are_left_out_and_a_text_keeps_its_own():
    code = "%matplotlib inline\nnp.tril?\n!pip list\nif True:\n    pass\n"
    assert parsed(code)[0] == "\n\n\nif True:\n    pass\n"
    text = 'answer = """\n% of all\nreally?\n"""\n'
    assert parsed(text)[0] == text


# ---------------------------------------------------------------- held-out faults, seeds


@pytest.mark.quick
@needs_solutions
def test_a_pool_without_the_set_is_refused_and_its_files_may_not_be_read(tmp_path):
    staff = tmp_path / "staff"
    staff.mkdir()
    (staff / "right_01.py").write_text("")
    with pytest.raises(ValueError, match=r"staff has no right_05\.py"):
        graded(tmp_path, source(), pool=Pool(staff))
    shutil.copy(ROOT / "solutions" / "right_05.py", staff)
    text = with_body(f"raise ValueError(open({str(staff / 'right_05.py')!r}).read())")
    assert "may not be read" in graded(tmp_path, text, pool=Pool(staff))["exercises"]["05.1"]["said"][-1]


@needs_solutions
def test_only_the_held_out_pool_finds_what_was_fitted_to_the_practice_pool(tmp_path):
    fitted = (
        "\n\n# %%\ndef assert_causal_and_complete(fn, C):\n"
        "    x = np.random.default_rng(0).normal(size=(3 * C + 2, 8))\n    before = fn(x)\n"
        "    for j in range(len(x)):\n        y = x.copy()\n        y[j] += 5 + np.arange(8)\n"
        "        moved = (fn(y) != before).any(1)\n"
        "        assert not moved[:j].any()\n        assert moved[j : 3 * C].all()\n"
        "        assert moved[3 * C :].all() or j >= C\n        assert moved[j:].sum() > 1 or j == len(x) - 1\n"
        "        assert moved[j]\n        if j < C:\n            assert moved[2 * C : 3 * C].all()\n"
    )
    with_pool = graded(tmp_path, source() + fitted, pool=default_pool())["exercises"]["05.4"]
    without = graded(tmp_path, source() + fitted, pool=Pool())["exercises"]["05.4"]
    assert with_pool["points"] <= without["points"]


@pytest.mark.quick
def test_a_folder_without_a_pool_is_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no held-out pool"):
        Pool(tmp_path)


# ---------------------------------------------------------------- a class, from the command


@pytest.fixture
def classroom(tmp_path):
    """Three students: a solution, half of one, and nothing."""
    folder = tmp_path / "class"
    folder.mkdir()
    half = source().partition("# ## 05.3")[0]
    for name, text in {"ada": source(), "bob": half, "cleo": source(solved=False)}.items():
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    return folder


def run(*arguments):
    return cli.main([str(a) for a in arguments])


@needs_solutions
def test_grade_writes_its_files_and_says_what_happened(classroom, tmp_path, capsys):
    out = tmp_path / "graded"
    assert run("grade", classroom, "--out", out) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[:3] == ["ada: 95 of 100", "bob: 25 of 100", "cleo: 0 of 100"]
    assert said[-1] == f"3 submissions in {out}, graded with the held-out faults."
    stored = json.loads((out / "results.json").read_text())
    assert stored["held_out_faults"] and [s["points"] for s in stored["students"]] == [95, 25, 0]
    rows = list(csv.reader(io.StringIO((out / "results.csv").read_text())))
    assert rows[0][:5] == ["name", "set", "points", "of", "05.1"] and rows[2][2:6] == ["25", "100", "10", "15"]
    page = (out / "feedback" / "bob.md").read_text()
    assert page.startswith("# bob: set 05, 25 of 100 points") and "## 05.3 mixed_chunk: not attempted, 0 of 25" in page


@needs_solutions
def test_a_second_run_takes_what_is_there_and_grades_what_changed(classroom, tmp_path):
    out = tmp_path / "graded"
    grade([classroom], out, quiet=True, pool=Pool())
    times = {path.name: path.stat().st_mtime_ns for path in (out / "students").iterdir()}
    (classroom / "bob.py").write_text(source(), encoding="utf-8")
    results = grade([classroom], out, quiet=True, pool=Pool())
    assert [result["points"] for result in results] == [95, 95, 0]
    changed = {p.name for p in (out / "students").iterdir() if p.stat().st_mtime_ns != times[p.name]}
    assert changed == {"bob.json"}
    grade([classroom], out, quiet=True, pool=Pool(), seed=5)
    assert all(p.stat().st_mtime_ns != times[p.name] for p in (out / "students").iterdir())


@needs_solutions
def test_without_a_pool_it_says_so(classroom, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("flash_course.grading.grade.default_pool", Pool)
    out = tmp_path / "graded"
    assert run("grade", classroom / "ada.py", "--out", out) == 0
    assert "practice pool only" in capsys.readouterr().out.splitlines()[-1]
    assert "practice pool only" in json.loads((out / "results.json").read_text())["note"]


@needs_solutions
def test_texts_go_out_without_names_and_come_back_with_points(classroom, tmp_path, capsys):
    out = tmp_path / "graded"
    run("grade", classroom, "--out", out)
    text = (out / "texts.csv").read_text()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == 1 and "ada" not in text and rows[0]["exercise"] == "05.7" and rows[0]["points"] == ""
    filled = tmp_path / "filled.csv"
    filled.write_text(text.replace(f"{rows[0]['code']},05.7,5,,", f"{rows[0]['code']},05.7,5,4,"))
    capsys.readouterr()
    assert run("grade", classroom, "--out", out, "--marks", filled) == 0
    said = capsys.readouterr().out
    assert said.startswith("1 texts were marked by a person") and "ada: 99 of 100" in said
    filled.write_text(text.replace(f"{rows[0]['code']},05.7,5,,", f"{rows[0]['code']},05.7,5,6,"))
    assert run("grade", classroom, "--out", out, "--marks", filled) == 2
    assert "'6' points for 05.7, expected a number from 0 to 5" in capsys.readouterr().err


@needs_solutions
def test_marks_count_and_stay_in_every_later_run(classroom, tmp_path, capsys):
    out = tmp_path / "graded"
    run("grade", classroom, "--out", out)
    assert "1 texts wait for a person's points" in capsys.readouterr().out
    code = next(csv.DictReader(io.StringIO((out / "texts.csv").read_text())))["code"]
    assert code.startswith("t")  # 1234567890 and 12345e6789 are numbers to a spreadsheet
    (out / "texts.csv").write_text(f"code;exercise;of;points;text\n{code};05.7;5;3,5;mine\n")  # as Excel may save it
    for _ in range(2):
        assert run("grade", classroom, "--out", out) == 0
        said = capsys.readouterr().out
        assert "ada: 98.5 of 100" in said and "wait for" not in said
    assert "recorded: marked by a person, 3.5 of 5 points" in (out / "feedback" / "ada.md").read_text()
    (classroom / "ada.py").write_text(source() + "\nmore = 1\n", encoding="utf-8")  # the text is the same
    run("grade", classroom / "bob.py", "--out", out)
    run("grade", classroom, "--out", out)
    assert "ada: 98.5 of 100" in capsys.readouterr().out


@needs_solutions
def test_what_an_instructor_should_look_at_is_said(classroom, tmp_path, capsys):
    (classroom / "__MACOSX").mkdir()
    for name in ("__MACOSX/._ada.ipynb", ".DS_Store", "notes.pdf", "dan.ipynb"):
        (classroom / name).write_bytes(b"\0\5\26\xff")
    (master,) = (ROOT / "solutions").glob("02_*.ipynb")
    shutil.copy(master, classroom / "eve.IPYNB")
    out = tmp_path / "graded"
    assert run("grade", classroom, "--out", out) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[:4] == ["ada: 95 of 100", "bob: 25 of 100", "cleo: 0 of 100", "eve: 100 of 100"]
    assert said[4].startswith("dan: not read: the file cannot be read: it is no notebook.")
    assert said[5] == "most submissions are of set 05, but of set 02: eve"
    assert said[6] == "the same STUDENT = 'me', and so the same numbers in set 05: ada, bob, cleo"
    assert said[8] == f"left out, neither .ipynb nor .py: {classroom / 'notes.pdf'}"
    assert said[9].startswith("5 submissions")
    assert (out / "feedback" / "dan.md").read_text().startswith("# dan: not read\n")
    run("grade", classroom / "ada.py", "--out", out, "--set", "02")
    assert "looks like problem set 05; it was graded as set 02" in (out / "feedback" / "ada.md").read_text()


@pytest.mark.quick
def test_what_was_stopped_by_the_clock_is_listed():
    row = {"points": 0, "of": 5, "status": "raises", "seconds": 3.01}
    result = {"name": "ada", "set": "05", "notes": [], "exercises": {"05.1": row}}
    assert "ada 05.1" in reports.summary([result], SOON)[0] and reports.summary([result], Limits(seconds=9)) == []


@pytest.mark.quick
def test_a_page_is_in_the_language_of_the_messages(monkeypatch):
    monkeypatch.setitem(texts.read("general"), "right", "richtig")
    monkeypatch.setitem(texts.read("general"), "points", "{got} von {of}")
    assert reports.state({"status": "right", "points": 2.5, "of": 5}) == "richtig, 2.5 von 5"


@needs_solutions
def test_a_canvas_export_is_filled_in(classroom, tmp_path, capsys):
    book = tmp_path / "book.csv"
    book.write_text(
        "Student,ID,SIS Login ID,Section,Set 05 (123),Set 06 (124)\n    Points Possible,,,,100,100\n"
        '"Lovelace, Ada",1,ada,A,,7\n"Other, Bob",2,BOB,A,,\n'
    )
    out = tmp_path / "graded"
    assert run("grade", classroom, "--out", out, "--canvas", book) == 0
    assert "not in the gradebook: cleo" in capsys.readouterr().out
    rows = list(csv.reader(io.StringIO((out / "canvas.csv").read_text())))
    assert rows[1][4] == "100" and rows[2][4:] == ["95", "7"] and rows[3][4:] == ["25", ""]
    with pytest.raises(ValueError, match="0 columns fit 'Set 09'"):
        reports.fill_gradebook([{"name": "ada", "set": "05", "points": 1}], book, "Set 09")


HEAD = "Student,ID,SIS User ID,SIS Login ID,Section,Set 02 (8),Set 05 (9)\n    Points Possible,,,,,100,10\n"


def booked(tmp_path, rows, column=None, **names):
    """{ID: what a gradebook has for set 05}, and what is said; ``names``: {submission: set or None}."""
    book = tmp_path / "book.csv"
    book.write_text(HEAD + rows, encoding="utf-8-sig")
    results = [
        {"name": name, "set": number, "points": 7, "of": 100, "exercises": {"05.1": {}} if number else {}}
        for name, number in names.items()
    ]
    text, said = reports.fill_gradebook(results, book, column)
    return {row[1]: row[6] for row in list(csv.reader(io.StringIO(text)))[2:]}, said


@pytest.mark.quick
def test_a_file_as_canvas_names_it_and_other_spellings_are_found(tmp_path):
    rows = '"Lovelace, Ada",101,S1,al\n"Wei, Li",102,S2,lw,,,\n"Ö, Dörte",103,S3,do,,,\n"Test",104,S4,te,,,50\n'
    names = {"lovelaceada_LATE_101_5501_05_mixed": "05", "Li Wei": "05", "do\u0308rte o\u0308": "05"}
    found, said = booked(tmp_path, rows, **names)
    assert found == {"101": "7", "102": "7", "103": "7", "104": "50"}
    assert said[:2] == ["3 of 3 submissions filled in", "not in the gradebook: nobody"]
    assert said[2] == "the gradebook has 10 points for it, the set has 100: nothing was scaled"


@pytest.mark.quick
def test_a_doubtful_grade_is_not_filled_in(tmp_path):
    rows = '"Wei, Li",1,S1,w1,,,\n"Wei, Li",2,S2,w2,,,\n"Ray, Fay",3,S3,fay,,,60\n'
    rows += '"B, Ida",4,S4,ida,,,\n"C, Al",5,S5,al,,,\n'
    names = {"Wei, Li": "05", "fay": None, "ida": "02", "al": "05", "S5": "05"}
    found, said = booked(tmp_path, rows, "Set 05", **names)
    assert found == {"1": "", "2": "", "3": "60", "4": "", "5": ""}
    for line in (
        "not read: fay", "of another set: ida", "fits two students: Wei, Li", "two files of one student: al, S5",
    ):  # fmt: skip
        assert line in said


@pytest.mark.quick
def test_the_column_is_the_sets_own(tmp_path):
    global_head = HEAD.replace("Set 02 (8)", "Essay 105 (8)")
    book = tmp_path / "book.csv"
    book.write_text(global_head.replace("Set 05 (9)", "Set 5 (9)"))
    result = {"name": "ada", "set": "05", "points": 7, "of": 100, "exercises": {"05.1": {}}}
    with pytest.raises(ValueError, match="0 columns fit"):
        reports.fill_gradebook([result], book)
    book.write_text(global_head + "ada,1\n")
    assert reports.fill_gradebook([result], book, "Set 05 (9)")[0].endswith("ada,1,,,,,7\n")
    book.write_text(HEAD.replace("Set 05 (9)", "Second homework"))
    with pytest.raises(ValueError, match="is 'Second homework' for set 02 or 05"):
        reports.fill_gradebook([result, result | {"set": "02"}], book, "Second")


@pytest.mark.quick
@pytest.mark.parametrize(
    "arguments, said",
    [
        (["check", "."], ". is a folder: give one notebook or .py file"),
        (["grade", "no/such/folder", "--out", "o"], "no/such/folder does not exist"),
        (["grade", ".", "--out", "o", "--seconds", "0"], "must be positive"),
        (["export", "gradescope", "99"], "there is no problem set '99'"),
    ],
)
def test_errors_are_one_line(arguments, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and said in error


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


@needs_solutions
def test_check_prints_the_verdicts_of_a_file(tmp_path, capsys):
    path = tmp_path / "mine.py"
    path.write_text(source(), encoding="utf-8")
    assert run("check", path) == 0
    said = capsys.readouterr().out
    assert "mine: set 05, 95 of 100 points" in said and "05.3: right, 25 of 25 points" in said


# ---------------------------------------------------------------- Gradescope


@needs_solutions
def test_the_gradescope_zip_runs_in_a_clean_folder(tmp_path):
    path = tmp_path / "set.zip"
    assert run("export", "gradescope", "05", "--out", path) == 0
    home = tmp_path / "autograder"
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        archive.extractall(home / "source")
    assert {"setup.sh", "run_autograder", "pool/right_05.py", "flash_course/grading/grade.py"} <= set(names)
    assert not [name for name in names if "models/" in name or name.endswith(".ipynb")]
    (home / "submission").mkdir()
    (home / "submission" / "ada.py").write_text(with_body("return None"), encoding="utf-8")
    environment = {
        **os.environ, "AUTOGRADER_HOME": str(home), "AUTOGRADER_SOURCE": str(home / "source"),
        "AUTOGRADER_VENV_OPTIONS": "--system-site-packages", "PYTHONNOUSERSITE": "1",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }  # fmt: skip
    # a venv of a venv sees the packages of the outermost one, so this interpreter stands in for it
    (home / "source" / "venv" / "bin").mkdir(parents=True)
    (home / "source" / "venv" / "bin" / "python").symlink_to(sys.executable)
    python = home / "source" / "venv" / "bin" / "python"
    python.unlink()
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    subprocess.run(["bash", "-n", home / "source" / "setup.sh"], check=True)
    done = subprocess.run(
        ["bash", home / "source" / "run_autograder"], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    form = json.loads((home / "results" / "results.json").read_text())
    assert form["score"] == FULL - 10 and form["visibility"] == "visible"
    assert [t["max_score"] for t in form["tests"]] == [e.points for e in load_set("05").values()]
    first = form["tests"][0]
    assert form["tests"][1]["output"] == "right, 15 of 15 points"  # its imports work as well
    assert form["tests"][6]["output"] == "recorded: marked by a person"
    assert first["name"] == "05.1 to_chunks" and first["score"] == 0 and "`return` missing" in first["output"]


@pytest.mark.quick
@pytest.mark.fork
def test_the_same_set_gives_the_same_zip(tmp_path):
    for name in ("a.zip", "b.zip"):
        export.export_gradescope("05", tmp_path / name)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


@pytest.mark.quick
def test_gradescope_gets_a_python_that_is_new_enough(tmp_path):
    """The script, with an old `python3` and an `apt-get` that only write down what they are called with."""
    fake = tmp_path / "bin"
    fake.mkdir()
    for name, code in {"python3": 1, "python3.11": 0, "apt-get": 0}.items():
        (fake / name).write_text(f'#!/bin/sh\necho {name} "$@" >> "{tmp_path}/calls"\nexit {code}\n')
        (fake / name).chmod(0o755)
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    (tmp_path / "venv" / "bin" / "python").symlink_to("/bin/true")
    environment = os.environ | {"PATH": f"{fake}{os.pathsep}{os.environ['PATH']}", "AUTOGRADER_SOURCE": str(tmp_path)}
    subprocess.run(["bash", "-c", export.SETUP], env=environment, check=True)
    calls = (tmp_path / "calls").read_text().splitlines()
    assert "apt-get install -y -qq python3.11 python3.11-venv" in calls
    assert calls[-1] == f"python3.11 -m venv {tmp_path}/venv"
