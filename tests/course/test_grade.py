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

from flash_course.grading import processes
from flash_course.grading.grade import Pool, default_pool, grade
from flash_course.grading.kept import Journal

pytestmark = forks


# ---------------------------------------------------------------- right, half, untouched


@needs_solutions
def test_the_solution_gets_all_points_that_a_program_gives(tmp_path):
    result = graded(tmp_path, source(), pool=default_pool(), seed=7)
    wanted = {"05.1": 10, "05.2": 15, "05.3": 25, "05.4": 20, "05.5": 15, "05.6": 10, "05.7": 0}
    assert points(result) == wanted
    assert result["points"] == FULL and result["of"] == 100 and result["notes"] == []


@pytest.mark.fork
def test_an_untouched_file_gets_none(tmp_path):
    result = graded(tmp_path, source(solved=False))
    assert set(points(result).values()) == {0}
    assert {row["status"] for row in result["exercises"].values()} == {"not attempted"}


# ---------------------------------------------------------------- held-out faults, seeds


@needs_solutions
def test_a_pool_without_the_set_is_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no held-out pool"):
        Pool(tmp_path)
    (tmp_path / "right_01.py").write_text("")
    with pytest.raises(ValueError, match=r"has no right_05\.py"):
        graded(tmp_path, source(), pool=Pool(tmp_path))
    (tmp_path / "right_05.py").write_text("def held_out(rng):\n    return {}\n")
    with pytest.raises(ValueError, match=r"right_05\.py has no held-out cases: expected functions"):
        graded(tmp_path, source(), pool=Pool(tmp_path))


POOL = """
import numpy as np
from flash_course.checks.exercise import call

def held_out_1(rng):
    return [call("a secret", "a tail", np.full((5, 2), 17.25), 3)]
"""


@pytest.mark.nightly
@needs_solutions
def test_only_the_held_out_pool_finds_what_was_fitted_to_the_practice_pool(tmp_path):
    (tmp_path / "right_05.py").write_text(POOL)
    fitted = "def to_chunks(x, C):\n    return (x[0, 0] != 17.25) * kept(x, C)"
    answer = source().partition("# ## 05.2")[0]
    text = f"{answer}\n# %%\nkept = to_chunks\n{fitted}\n"
    for pool, earned in ((Pool(), 10), (Pool(tmp_path), 4)):
        assert points(graded(tmp_path, text, pool=pool))["05.1"] == earned


@needs_solutions
def test_the_text_of_an_exercises_held_out_cases_has_no_others():
    texts = default_pool().sources("05")
    assert set(texts) == {"05.4", "05.5"}
    for name, own, other in (
        ("05.4", "forgets_chunk_zero", "suspect_one"),
        ("05.5", "suspect_one", "forgets_chunk_zero"),
    ):
        assert own in texts[name] and other not in texts[name] and "RIGHT" not in texts[name]


# ---------------------------------------------------------------- a class, from the command


@needs_solutions
def test_grade_writes_its_files_and_says_what_happened(graded_once):
    top, said = graded_once
    out = top / "graded"
    assert said[0].startswith("3 of 3 submissions were graded without the sandbox: ")
    assert said[1:4] == ["ada: 95 of 100", "bob: 25 of 100", "cleo: 0 of 100"]
    assert said[-1] == f"3 submissions in {out}, graded with the held-out faults."
    stored = json.loads((out / "results.json").read_text())
    assert stored["held_out_faults"] and [s["points"] for s in stored["students"]] == [95, 25, 0]
    rows = list(csv.reader(io.StringIO((out / "results.csv").read_text())))
    assert rows[0][:5] == ["name", "set", "points", "of", "05.1"]
    assert rows[2][2:6] == ["25", "100", "10", "15"]
    page = (out / "feedback" / "bob.md").read_text()
    assert page.startswith("# bob: set 05, 25 of 100 points")
    assert "## 05.3 mixed_chunk: not attempted, 0 of 25" in page


@pytest.mark.nightly
def test_a_second_run_takes_what_is_there_and_grades_what_changed(tmp_path):
    folder = tmp_path / "class"
    out = tmp_path / "graded"
    folder.mkdir()

    def hand_in(name, text):
        (folder / f"{name}.py").write_text(f"answer_05_6 = {text!r}\ncheck('05.6', answer_05_6)\n")

    def regraded(**options):
        """The results that a run of the grader writes anew."""
        before = {path: path.stat().st_mtime_ns for path in out.glob("students/*")}
        grade([folder], out, quiet=True, pool=Pool(), mode="none", **options)
        after = {path: path.stat().st_mtime_ns for path in out.glob("students/*")}
        return {path.stem for path in after if after[path] != before.get(path)}

    hand_in("ada", "one")
    hand_in("bob", "one")
    assert regraded() == {"ada", "bob"}
    hand_in("bob", "another")
    assert regraded() == {"bob"}
    assert regraded(seed=5) == {"ada", "bob"}


def test_without_a_pool_it_says_so(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("flash_course.grading.grade.default_pool", Pool)
    (tmp_path / "ada.py").write_text("check('05.1', 0)")
    out = tmp_path / "graded"
    assert run("grade", tmp_path / "ada.py", "--out", out) == 0
    assert "practice pool only" in capsys.readouterr().out.splitlines()[-1]
    assert "practice pool only" in json.loads((out / "results.json").read_text())["note"]


@pytest.mark.nightly
@needs_solutions
def test_what_an_instructor_should_look_at_is_said(classroom, tmp_path, capsys):
    (classroom / "__MACOSX").mkdir()
    for name in ("__MACOSX/._ada.ipynb", ".DS_Store", "notes.pdf", "dan.ipynb"):
        (classroom / name).write_bytes(b"\0\5\26\xff")
    (untouched,) = (ROOT / "exercises").glob("02_*.ipynb")
    shutil.copy(untouched, classroom / "eve.IPYNB")
    out = tmp_path / "graded"
    assert run("grade", classroom, "--out", out) == 0
    said = capsys.readouterr().out
    for line in (
        "eve: 0 of 100",
        "dan: not read: the file cannot be read: it is no notebook.",
        "most submissions are of set 05, but of set 02: eve",
        ": bob 05.3 05.4 05.5 05.6 05.7",
        "the same STUDENT = 'me', and so the same numbers in set 05: ada, bob, cleo",
        f"left out, neither .ipynb nor .py: {classroom / 'notes.pdf'}",
    ):
        assert line in said
    assert said.splitlines()[-1].startswith("5 submissions") and "MACOSX" not in said
    assert (out / "feedback" / "dan.md").read_text().startswith("# dan: not read\n")
    run("grade", classroom / "cleo.py", "--out", out, "--set", "02")
    page = (out / "feedback" / "cleo.md").read_text()
    assert "looks like problem set 05; it was graded as set 02" in page


@needs_solutions
def test_check_prints_the_verdicts_of_a_file(tmp_path, capsys):
    path = tmp_path / "mine.py"
    path.write_text(source().partition("# ## 05.3")[0], encoding="utf-8")
    assert run("check", path) == 0
    said = capsys.readouterr().out
    assert "mine: set 05, 25 of 100 points" in said and "05.2: right, 15 of 15 points" in said


@pytest.mark.nightly
def test_what_a_grader_was_at_is_gone_too_if_it_ended_between_a_result_and_its_journal(
    tmp_path, monkeypatch
):
    path = tmp_path / "ada.py"
    out = tmp_path / "out"
    path.write_text("check('05.7', answer_05_7)", encoding="utf-8")

    def ended(journal):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Journal, "finish", ended)
        grade([path], out, quiet=True, mode="none")
    assert (out / "unfinished" / "ada").exists() and (out / "students" / "ada.json").exists()
    grade([path], out, quiet=True, mode="none")
    assert not (out / "unfinished").exists()


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
    arguments = ["grade", folder, "--out", out, "--sandbox", mode, "--workers", 2, "--seconds", 3]
    return [sys.executable, "-m", "flash_course.cli", *map(str, arguments)]


@needs_solutions
@pytest.mark.nightly
@pytest.mark.parametrize("mode", MODES)
def test_a_class_gets_exactly_its_points_also_when_the_grader_is_killed(mode, tmp_path):
    folder, out, temporary = (tmp_path / name for name in ("class", "out", "tmp"))
    folder.mkdir()
    temporary.mkdir()
    expected = make_class(folder, HARMFUL, honest=3)
    words = command(folder, out, mode)
    environment = os.environ | {"TMPDIR": str(temporary)}
    for number, done in ((signal.SIGKILL, 3), (signal.SIGTERM, 6)):
        grader = subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL)
        while len(list(out.glob("students/*.json"))) < done and grader.poll() is None:
            time.sleep(0.05)
        grader.send_signal(number)
        grader.wait()
    last = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert last.returncode == 0, last.stderr
    assert points_in(out) == expected
    until = time.monotonic() + 10
    while (left := processes_of(tmp_path)) and time.monotonic() < until:
        time.sleep(0.1)
    assert left == [] and not list(temporary.glob("flash-grading-*"))
    assert not (out / "unfinished").exists()


def processes_of(tmp_path):
    """Processes that run for a folder."""
    found = []
    for pid in processes.table():
        with contextlib.suppress(OSError):
            if str(tmp_path).encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found
