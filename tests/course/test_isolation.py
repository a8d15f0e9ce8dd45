"""What one exercise of a submission does costs that exercise alone."""

import itertools
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from hostile import FAULTS, FORGERIES, HOSTILE, that_wants
from marks import needs_solutions
from submissions import (
    FULL,
    MODES,
    SOON,
    forks,
    graded,
    judged,
    needs_sandbox,
    points,
    source,
    to_chunks,
    with_body,
)

from flash_course.checks.exercise import load_set
from flash_course.grading import grade as grading
from flash_course.grading import isolation, processes
from flash_course.grading.child import Limits
from flash_course.grading.grade import grade
from flash_course.grading.submission import Submission

pytestmark = forks


@pytest.fixture
def two_exercises(monkeypatch):
    """A set of the first two exercises: what one of them does must not be felt in the other."""
    first = {name: load_set("05")[name] for name in ("05.1", "05.2")}
    monkeypatch.setattr(grading, "load_set", lambda number: first)
    return sum(exercise.points for exercise in first.values())


# of each way to do harm one; with all others, and in the sandbox, they are tried nightly
CENTRAL = {
    "endless loop under except",
    "os._exit",
    "a forged message",
    "a flood",
}


def in_both_modes(names, plain=frozenset()):
    """(name, mode) of each; nightly but for the plain ones without the sandbox."""
    for name, mode in itertools.product(names, ("none", "bwrap")):
        marks = [needs_sandbox] if mode == "bwrap" else []
        if mode == "bwrap" or name not in plain:
            marks.append(pytest.mark.nightly)
        yield pytest.param(name, mode, marks=marks)


@needs_solutions
@pytest.mark.parametrize("name, mode", in_both_modes([*FAULTS, *HOSTILE], CENTRAL))
def test_a_fault_costs_one_exercise(name, mode, tmp_path, monkeypatch, two_exercises):
    monkeypatch.setattr(isolation, "busy", lambda: False)  # once is enough to be stopped
    body, said = (FAULTS | HOSTILE)[name]
    said = (said,) if isinstance(said, str) else said
    clock = 5 if "clock" in str(said) + body else None
    limits = Limits(seconds=3, bytes=600_000_000, clock=clock)
    result = graded(tmp_path, with_body(body), limits=limits, mode=mode)
    row = result["exercises"]["05.1"]
    assert row["points"] == 0 and any(one in " ".join(row["said"]) for one in said), row
    assert result["points"] == two_exercises - 10, points(result)
    assert row["seconds"] < limits.on_the_clock + 2 and not list(Path.cwd().glob("mine.txt"))
    assert left_over() == []


@pytest.mark.parametrize("name, mode", in_both_modes(FORGERIES, {[*FORGERIES][-1]}))
def test_nobody_forges_a_verdict_on_another_exercise(name, mode, tmp_path):
    earned = points(graded(tmp_path, that_wants(f"{FORGERIES[name]}\nreturn x_TD"), mode=mode))
    assert earned.pop("05.1") <= 10 and set(earned.values()) == {0}, earned


@needs_solutions
@pytest.mark.parametrize("mode", MODES)
def test_nobody_sees_what_is_another_exercises_or_anothers(mode, tmp_path, two_exercises):
    (tmp_path / "bob.py").write_text("TEXT = 'of another student'\n# %%\ncheck('05.1', 0)")
    (tmp_path / "ada.py").write_text(that_wants("raise LookupError(f'seen: {seen()}')"))
    files = [tmp_path / "ada.py", tmp_path / "bob.py"]
    ada, bob = grade(files, tmp_path / "out", quiet=True, mode=mode, workers=1)
    said = ada["exercises"]["05.1"]["said"]
    assert "LookupError: seen: []" in " ".join(said), said
    assert bob["exercises"]["05.1"]["status"] == "not attempted"


def left_over():
    """Processes and temporary folders that grading has left."""
    below = [
        pid
        for pid in processes.below(os.getpid())
        if "sleep" in command_of(pid) or "judging" in command_of(pid)
    ]
    return [*below, *Path(tempfile.gettempdir()).glob(f"flash-grading-{os.getpid()}-*")]


def command_of(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


@pytest.mark.nightly
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux adopts orphans")
@needs_solutions
def test_descendants_in_a_session_of_their_own_end_too(tmp_path):
    mine = f"4321.{os.getpid()}"
    body = (
        f"import subprocess\nsubprocess.Popen(['sleep', '{mine}'], start_new_session=True)\n"
        f"subprocess.run(['sh', '-c', 'setsid sleep {mine} >/dev/null 2>&1 & sleep 0.2'])\nreturn x_TD"
    )
    assert graded(tmp_path, with_body(body))["points"] == FULL - 10
    assert not sleeping(mine)


@pytest.mark.nightly
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux adopts orphans")
def test_what_a_killed_judge_has_started_ends_before_the_others_go_on(tmp_path):
    mine = f"4322.{os.getpid()}"
    body = f"import subprocess, time\nsubprocess.Popen(['sleep', {mine!r}], start_new_session=True)\ntime.sleep(60)"
    with grading.own_processes() as others:
        desk = grading.Desk(
            Submission("ada", "05", [to_chunks(body)]), {}, 0, SOON, False, tmp_path
        )
        take = desk.take
        killed = []

        def take_and_kill():
            killed.extend([desk.judge.process] if not killed and sleeping(mine) else [])
            for judge in killed:
                judge.kill()
            return take()

        desk.take = take_and_kill
        for _ in grading.graded([desk], 1, True, others):
            assert killed and not sleeping(mine)


def sleeping(seconds):
    return [pid for pid in processes.table() if seconds in command_of(pid)]


def test_who_was_there_when_a_grader_ended_is_judged_alone():
    suspect = SimpleNamespace(suspect=True)
    other = SimpleNamespace(suspect=False)
    may_begin = grading.may_begin
    assert may_begin(other, [], 2) and may_begin(suspect, [], 2) and may_begin(other, [other], 2)
    assert not may_begin(other, [suspect], 2) and not may_begin(suspect, [other], 2)
    assert not may_begin(other, [other, other], 2)


@needs_solutions
def test_a_fork_that_both_go_on_hurts_nobody(tmp_path):
    twice = """\
import os
kept = to_chunks
forked = []
def to_chunks(x, C):
    if not forked:  # a fork at each call would be too many
        forked.append(os.fork())
    return kept(x, C)
"""
    assert judged(tmp_path, f"{source()}\n# %%\n{twice}")["status"] == "right"


@pytest.mark.nightly
@needs_solutions
def test_a_text_of_forty_megabytes_costs_itself(tmp_path):
    text = source() + "\n\n# %%\nanswer_05_7 = 'word ' * 8_000_000\n"
    row = graded(tmp_path, text)["exercises"]["05.7"]
    assert len(row["text"]) < 20_010


SET = "from flash_course.checks.sets import set_05 as s\n"
ASK = "from flash_course.checks.exercise import lent, load_exercise\n"
ORACLES = {
    "another module's name": f"{SET}to_chunks = s.to_chunks\nto_chunks.__module__ = '__main__'",
    "a wrapper of the course": f"{SET}{ASK}to_chunks = lent(s.to_chunks)",
    "a method": f"{SET}class A:\n    to_chunks = staticmethod(s.to_chunks)\nto_chunks = A().to_chunks",
    "its code": f"{SET}import types\nto_chunks = types.FunctionType(s.to_chunks.__code__, vars(s))",
    "the exercise's own": f"{ASK}to_chunks = load_exercise('05.1').right",
}


REFUSALS = ("an object of the package", "calls `flash_course.checks", "changes the checker")


@needs_solutions
@pytest.mark.parametrize("name", ORACLES)
def test_an_answer_that_is_the_oracle_by_whatever_way_is_refused(name, tmp_path):
    found = judged(tmp_path, f"import numpy as np\n# %%\n{ORACLES[name]}\n")
    assert found.get("status") != "right"
    said = found.get("failed") or found["said"][-1]
    assert any(refusal in said for refusal in REFUSALS), said


LOAD = "from flash_course.checks.exercise import load_exercise\nSTUDENT = 'ada'\n# %%\n"


@pytest.mark.parametrize(
    "code",
    [
        "answer_08_2 = load_exercise('08.2').right(load_exercise('08.2').numbers(STUDENT))",
        "e = load_exercise('08.2')\nanswer_08_2 = e.assemble(e.right, e.numbers(STUDENT))",
        "from flash_course.checks.sets.set_08 import right_2 as a\n"
        "answer_08_2 = a(load_exercise('08.2').numbers(STUDENT))",
    ],
)
def test_a_prediction_that_the_oracle_makes_is_refused(code, tmp_path):
    found = judged(tmp_path, f"{LOAD}{code}\n", "08.2")
    assert "calls `flash_course.checks" in found["failed"]


SLEEPS = "import time\ntime.sleep(60)"


@pytest.fixture
def judging(two_exercises):
    """Start to judge the first two exercises of a set; it is at the first one, whose answer has this body."""
    made = []

    def start(body=SLEEPS, limits=SOON):
        facts = {"name": "ada", "cells": [to_chunks(body)], "seed": 0, "held_out": None}
        exercises = {name: load_set("05")[name] for name in ("05.1", "05.2")}
        tasks = {name: facts | {"exercise": name} for name in exercises}
        made.append(isolation.Judge("05", tasks, exercises, limits, False))
        look(made[0], lambda: made[0].ready)
        return made[0]

    yield start
    made[0].end()


def look(judge, happened):
    until = time.monotonic() + 60
    while not happened() and time.monotonic() < until:
        grading.wait_for([judge])
        judge.look()


@pytest.mark.nightly
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP])
def test_a_judge_that_is_killed_or_stopped_costs_its_exercise_and_no_time(number, judging):
    judge = judging()
    time.sleep(0.5)
    judge.process.send_signal(number)
    look(judge, lambda: not judge.todo)
    row = judge.rows["05.1"]
    assert row["points"] == 0 and row["seconds"] < SOON.on_the_clock and "judges" in row["said"][0]
    assert judge.rows["05.2"]["status"] == "not attempted"


@pytest.mark.nightly
@pytest.mark.parametrize("busy, tries", [(True, 2), (False, 1)])
def test_on_a_busy_machine_an_answer_that_was_stopped_is_tried_again(
    busy, tries, tmp_path, judging, monkeypatch
):
    monkeypatch.setattr(isolation, "busy", lambda: busy)
    log = tmp_path / "log"
    body = f"open({str(log)!r}, 'a').write('x')\nwhile True:\n    pass"
    judge = judging(body, Limits(seconds=0.5))
    look(judge, lambda: "05.1" in judge.rows)
    assert "of computing" in judge.rows["05.1"]["said"][0]
    assert log.read_text() == "x" * tries


def test_a_judge_that_cannot_begin_is_said(monkeypatch):
    monkeypatch.setattr(isolation.sandbox, "python", lambda *_: (["false"], {}))
    judge = isolation.Judge("05", {"05.1": {}}, {}, Limits(), False)
    with pytest.raises(ValueError, match="ends before it has begun"):
        for _ in range(100):
            time.sleep(0.05)
            judge.look()
