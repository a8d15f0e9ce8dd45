"""Grading a class: exactly the points that each should get, whatever the others hand in."""

import contextlib
import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hostile import make_class
from marks import needs_solutions
from submissions import FULL, MODES, ROOT, forks, graded, points, run, source

from flash_course import cli
from flash_course.grading import processes
from flash_course.grading.grade import Pool, default_pool, grade
from flash_course.grading.kept import Journal

pytestmark = forks


# ---------------------------------------------------------------- right, half, untouched


@needs_solutions
def test_the_solution_gets_all_points_that_a_program_gives(tmp_path):
    result = graded(tmp_path, source(), pool=default_pool(), seed=7)
    assert points(result) == {
        "05.1": 10,
        "05.2": 15,
        "05.3": 25,
        "05.4": 20,
        "05.5": 15,
        "05.6": 10,
        "05.7": 0,
    }
    assert result["points"] == FULL and result["of"] == 100 and result["notes"] == []


@pytest.mark.fork
def test_an_untouched_file_gets_none(tmp_path):
    result = graded(tmp_path, source(solved=False))
    assert set(points(result).values()) == {0}
    assert {row["status"] for row in result["exercises"].values()} == {"not attempted"}


@needs_solutions
def test_a_missing_exercise_is_not_attempted(tmp_path):
    text = source().replace("def earlier_chunks(", "def somewhere_else(")
    result = graded(tmp_path, text)
    assert result["exercises"]["05.2"]["status"] == "not attempted"
    assert result["exercises"]["05.1"]["points"] == 10


# ---------------------------------------------------------------- held-out faults, seeds


@needs_solutions
def test_a_pool_without_the_set_is_refused(tmp_path):
    staff = tmp_path / "staff"
    staff.mkdir()
    (staff / "right_01.py").write_text("")
    with pytest.raises(ValueError, match=r"staff has no right_05\.py"):
        graded(tmp_path, source(), pool=Pool(staff))
    (staff / "right_05.py").write_text("def held_out(rng):\n    return {}\n")
    with pytest.raises(
        ValueError,
        match=r"right_05\.py has no held-out cases: expected functions such as held_out_4",
    ):
        graded(tmp_path, source(), pool=Pool(staff))


@needs_solutions
def test_the_text_of_an_exercises_held_out_cases_has_no_others():
    texts = default_pool().sources("05")
    assert set(texts) == {"05.4", "05.5"}
    assert "forgets_chunk_zero" in texts["05.4"] and "forgets_chunk_zero" not in texts["05.5"]
    assert (
        "suspect_one" in texts["05.5"]
        and "suspect_one" not in texts["05.4"]
        and "RIGHT" not in texts["05.4"]
    )


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


def test_a_folder_without_a_pool_is_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no held-out pool"):
        Pool(tmp_path)


# ---------------------------------------------------------------- a class, from the command


@needs_solutions
def test_grade_writes_its_files_and_says_what_happened(classroom, tmp_path, capsys):
    out = tmp_path / "graded"
    assert run("grade", classroom, "--out", out) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("3 of 3 submissions were graded without the sandbox: ")
    assert said[1:4] == ["ada: 95 of 100", "bob: 25 of 100", "cleo: 0 of 100"]
    assert said[-1] == f"3 submissions in {out}, graded with the held-out faults."
    stored = json.loads((out / "results.json").read_text())
    assert stored["held_out_faults"] and [s["points"] for s in stored["students"]] == [95, 25, 0]
    rows = list(csv.reader(io.StringIO((out / "results.csv").read_text())))
    assert rows[0][:5] == ["name", "set", "points", "of", "05.1"] and rows[2][2:6] == [
        "25",
        "100",
        "10",
        "15",
    ]
    page = (out / "feedback" / "bob.md").read_text()
    assert (
        page.startswith("# bob: set 05, 25 of 100 points")
        and "## 05.3 mixed_chunk: not attempted, 0 of 25" in page
    )


@needs_solutions
def test_a_second_run_takes_what_is_there_and_grades_what_changed(classroom, tmp_path):
    out = tmp_path / "graded"
    grade([classroom], out, quiet=True, pool=Pool(), mode="none")
    times = {path.name: path.stat().st_mtime_ns for path in (out / "students").iterdir()}
    (classroom / "bob.py").write_text(source(), encoding="utf-8")
    results = grade([classroom], out, quiet=True, pool=Pool(), mode="none")
    assert [result["points"] for result in results] == [95, 95, 0]
    changed = {
        p.name for p in (out / "students").iterdir() if p.stat().st_mtime_ns != times[p.name]
    }
    assert changed == {"bob.json"}
    grade([classroom], out, quiet=True, pool=Pool(), mode="none", seed=5)
    assert all(p.stat().st_mtime_ns != times[p.name] for p in (out / "students").iterdir())


@needs_solutions
def test_without_a_pool_it_says_so(classroom, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("flash_course.grading.grade.default_pool", Pool)
    out = tmp_path / "graded"
    assert run("grade", classroom / "ada.py", "--out", out) == 0
    assert "practice pool only" in capsys.readouterr().out.splitlines()[-1]
    assert "practice pool only" in json.loads((out / "results.json").read_text())["note"]


@needs_solutions
def test_what_an_instructor_should_look_at_is_said(classroom, tmp_path, capsys):
    (classroom / "__MACOSX").mkdir()
    for name in ("__MACOSX/._ada.ipynb", ".DS_Store", "notes.pdf", "dan.ipynb"):
        (classroom / name).write_bytes(b"\0\5\26\xff")
    (master,) = (ROOT / "solutions").glob("02_*.ipynb")
    shutil.copy(master, classroom / "eve.IPYNB")
    out = tmp_path / "graded"
    assert run("grade", classroom, "--out", out) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[1:5] == ["ada: 95 of 100", "bob: 25 of 100", "cleo: 0 of 100", "eve: 100 of 100"]
    assert said[5].startswith("dan: not read: the file cannot be read: it is no notebook.")
    assert said[6] == "most submissions are of set 05, but of set 02: eve"
    assert said[7].startswith("a name is missing") and said[7].endswith(
        ": bob 05.3 05.4 05.5 05.6 05.7"
    )
    assert said[8] == "the same STUDENT = 'me', and so the same numbers in set 05: ada, bob, cleo"
    assert said[10] == f"left out, neither .ipynb nor .py: {classroom / 'notes.pdf'}"
    assert said[11].startswith("5 submissions")
    assert (out / "feedback" / "dan.md").read_text().startswith("# dan: not read\n")
    run("grade", classroom / "ada.py", "--out", out, "--set", "02")
    assert (
        "looks like problem set 05; it was graded as set 02"
        in (out / "feedback" / "ada.md").read_text()
    )


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["check", "."], ". is a folder: give one notebook or .py file"),
        (["grade", "no/such/folder", "--out", "o"], "no/such/folder does not exist"),
        (["grade", ".", "--out", "o", "--seconds", "0"], "must be positive"),
        (
            ["grade", ".", "--out", "o", "--set", "5"],
            "there is no problem set '5': expected one of 01, 02",
        ),
        (["grade", ".", "--out", "o", "--only", "05.9"], "there is no exercise '05.9' here"),
        (["export", "gradescope", "99"], "there is no problem set '99'"),
    ],
)
def test_errors_are_one_line(arguments, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and said in error


@needs_solutions
def test_check_prints_the_verdicts_of_a_file(tmp_path, capsys):
    path = tmp_path / "mine.py"
    path.write_text(source(), encoding="utf-8")
    assert run("check", path) == 0
    said = capsys.readouterr().out
    assert "mine: set 05, 95 of 100 points" in said and "05.3: right, 25 of 25 points" in said


def test_what_a_grader_was_at_is_gone_too_if_it_ended_between_a_result_and_its_journal(
    tmp_path, monkeypatch
):
    path = tmp_path / "ada.py"
    path.write_text(source(solved=False), encoding="utf-8")

    def ended(journal):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Journal, "finish", ended)
        grade([path], tmp_path / "out", quiet=True, mode="none")
    assert (tmp_path / "out" / "unfinished" / "ada").exists() and (
        tmp_path / "out" / "students" / "ada.json"
    ).exists()
    grade([path], tmp_path / "out", quiet=True, mode="none")
    assert not (tmp_path / "out" / "unfinished").exists()


# ---------------------------------------------------------------- a class with some of each kind

HARMFUL = (
    "endless loop",
    "os._exit",
    "all memory",
    "a forged message",
    "an end of its parent, below Python",
)


def points_in(out):
    """{name: points, or None where a submission was not read}."""
    students = json.loads((out / "results.json").read_text())["students"]
    return {s["name"]: s["points"] if s["exercises"] else None for s in students}


def command(folder, out, mode):
    arguments = [
        "grade",
        folder,
        "--out",
        out,
        "--sandbox",
        mode,
        "--workers",
        "2",
        "--seconds",
        "3",
    ]
    return [sys.executable, "-m", "flash_course.cli", *map(str, arguments)]


@needs_solutions
@pytest.mark.nightly
@pytest.mark.parametrize("mode", MODES)
def test_a_class_gets_exactly_its_points_also_when_the_grader_is_killed(mode, tmp_path):
    folder, out = tmp_path / "class", tmp_path / "out"
    folder.mkdir()
    expected = make_class(folder, HARMFUL, honest=3)
    environment = os.environ | {"TMPDIR": str(tmp_path / "tmp")}
    (tmp_path / "tmp").mkdir()
    for number, done in ((signal.SIGKILL, 3), (signal.SIGTERM, 6)):
        grader = subprocess.Popen(
            command(folder, out, mode), env=environment, stdout=subprocess.DEVNULL
        )
        while len(list(out.glob("students/*.json"))) < done and grader.poll() is None:
            time.sleep(0.05)
        grader.send_signal(number)
        grader.wait()
    last = subprocess.run(
        command(folder, out, mode), env=environment, capture_output=True, text=True
    )
    assert last.returncode == 0, last.stderr
    assert points_in(out) == expected
    until = time.monotonic() + 10
    while (left := processes_of(tmp_path)) and time.monotonic() < until:
        time.sleep(0.1)
    assert (
        left == []
        and not list((tmp_path / "tmp").glob("flash-grading-*"))
        and not (out / "unfinished").exists()
    )


def processes_of(tmp_path):
    """Processes that run for a folder."""
    found = []
    for pid in processes.table():
        with contextlib.suppress(OSError):
            found += (
                [pid] if str(tmp_path).encode() in Path(f"/proc/{pid}/cmdline").read_bytes() else []
            )
    return found
