"""What one exercise of a submission does costs that exercise alone."""

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from hostile import FAULTS, FORGERIES, HOSTILE, that_wants
from marks import needs_solutions
from submissions import FULL, MODES, SOON, forks, graded, points, source, to_chunks, with_body

from flash_course.checks.exercise import load_set
from flash_course.grading import grade as grading
from flash_course.grading import isolation, processes
from flash_course.grading.child import Limits, in_child
from flash_course.grading.grade import grade
from flash_course.grading.submission import Submission

pytestmark = forks


@pytest.fixture
def two_exercises(monkeypatch):
    """A set of the first two exercises: what one of them does must not be felt in the other."""
    first = {name: load_set("05")[name] for name in ("05.1", "05.2")}
    monkeypatch.setattr(grading, "load_set", lambda number: first)
    return sum(exercise.points for exercise in first.values())


@needs_solutions
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", [*FAULTS, *HOSTILE])
def test_a_fault_costs_one_exercise(name, mode, tmp_path, monkeypatch, two_exercises):
    monkeypatch.setattr(isolation, "busy", lambda: False)  # once is enough to be stopped
    body, said = (FAULTS | HOSTILE)[name]
    said = (said,) if isinstance(said, str) else said
    clock = 5 if "clock" in str(said) + body else None
    limits = Limits(seconds=3, bytes=600_000_000, clock=clock)
    result = graded(tmp_path, with_body(body), limits=limits, mode=mode)
    row = result["exercises"]["05.1"]
    assert row["points"] == 0 and any(one in line for line in row["said"] for one in said), row
    assert result["points"] == two_exercises - 10, points(result)
    assert row["seconds"] < limits.on_the_clock + 2 and not list(Path.cwd().glob("mine.txt"))
    assert left_over() == []


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", FORGERIES)
def test_nobody_forges_a_verdict_on_another_exercise(name, mode, tmp_path):
    earned = points(graded(tmp_path, that_wants(f"{FORGERIES[name]}\nreturn x_TD"), mode=mode))
    assert earned.pop("05.1") <= 10 and set(earned.values()) == {0}, earned


@needs_solutions
@pytest.mark.parametrize("mode", MODES)
def test_nobody_sees_what_is_another_exercises_or_anothers(mode, tmp_path, two_exercises):
    (tmp_path / "bob.py").write_text("TEXT = 'of another student'\n# %%\ncheck('05.1', 0)")
    (tmp_path / "ada.py").write_text(that_wants("raise LookupError(f'seen: {seen()}')"))
    ada, bob = grade(
        [tmp_path / "ada.py", tmp_path / "bob.py"],
        tmp_path / "out",
        quiet=True,
        mode=mode,
        workers=1,
    )
    assert "LookupError: seen: []" in " ".join(ada["exercises"]["05.1"]["said"]), ada["exercises"][
        "05.1"
    ]
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


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux adopts orphans")
def test_what_a_killed_judge_has_started_ends_before_the_others_go_on(tmp_path):
    mine = f"4322.{os.getpid()}"
    body = f"import subprocess, time\nsubprocess.Popen(['sleep', {mine!r}], start_new_session=True)\ntime.sleep(60)"
    with grading.own_processes() as others:
        desk = grading.Desk(
            Submission("ada", "05", [to_chunks(body)]), {}, 0, SOON, False, tmp_path
        )
        take, killed = desk.take, []

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


OWN_TEXT = """
import inspect
from flash_course.checks.sets import set_05
names = {"np": np}
exec(inspect.getsource(set_05.to_chunks), names)
return names["to_chunks"](x_TD, C)
"""


@needs_solutions
@pytest.mark.parametrize("mode", MODES)
def test_the_packages_own_text_earns_the_same_in_both_modes(mode, tmp_path, two_exercises):
    assert points(graded(tmp_path, with_body(OWN_TEXT), mode=mode))["05.1"] == 10


@pytest.mark.quick
def test_who_was_there_when_a_grader_ended_is_judged_alone():
    suspect, other = SimpleNamespace(suspect=True), SimpleNamespace(suspect=False)
    may_begin = grading.may_begin
    assert may_begin(other, [], 2) and may_begin(suspect, [], 2) and may_begin(other, [other], 2)
    assert not may_begin(other, [suspect], 2) and not may_begin(suspect, [other], 2)
    assert not may_begin(other, [other, other], 2)


@needs_solutions
def test_a_fork_that_both_go_on_hurts_nobody(tmp_path):
    text = (
        source()
        + "\n\n# %%\nimport os\nkept = to_chunks\ndef to_chunks(x_TD, C):\n    os.fork()\n    return kept(x_TD, C)\n"
    )
    assert graded(tmp_path, text)["points"] == FULL


def test_of_two_copies_the_first_one_speaks():
    def answer():
        if os.fork() == 0:
            return "a copy"
        time.sleep(1)
        return "the answer"

    assert in_child(answer, Limits()).message == "the answer"


def test_a_flood_ends_long_before_the_limits():
    def answer():
        while True:
            for pipe in range(3, 60):
                with contextlib.suppress(OSError):
                    os.write(pipe, b"x" * 65536)

    ended = in_child(answer, Limits(seconds=60))
    assert ended.why.startswith("It sent more than a verdict") and ended.seconds < 20


@needs_solutions
def test_a_text_of_forty_megabytes_costs_itself(tmp_path):
    text = source() + "\n\n# %%\nanswer_05_7 = 'word ' * 8_000_000\n"
    result = graded(tmp_path, text)
    assert result["points"] == FULL and len(result["exercises"]["05.7"]["text"]) < 20_010


SET = "from flash_course.checks.sets import set_05 as s\n"
ASK = "from flash_course.checks.exercise import lent, load_exercise\n"
ORACLES = {
    "itself": "from flash_course.checks.sets.set_05 import to_chunks",
    "a partial": f"{SET}import functools\nto_chunks = functools.partial(s.to_chunks)",
    "another module's name": f"{SET}to_chunks = s.to_chunks\nto_chunks.__module__ = '__main__'",
    "a wrapper": f"{SET}def to_chunks(x, C):\n    return s.to_chunks(x, C)",
    "a wrapper of the course": f"{SET}{ASK}to_chunks = lent(s.to_chunks)",
    "a method": f"{SET}class A:\n    to_chunks = staticmethod(s.to_chunks)\nto_chunks = A().to_chunks",
    "a thread": f"{SET}import threading\ndef to_chunks(x, C):\n    kept = []\n    def put():\n"
    "        kept.append(s.to_chunks(x, C))\n    t = threading.Thread(target=put)\n    t.start()\n    t.join()\n"
    "    return kept[0]",
    "by map": f"{SET}def to_chunks(x, C):\n    return [*map(s.to_chunks, [x], [C])][0]",
    "its code": f"{SET}import types\nto_chunks = types.FunctionType(s.to_chunks.__code__, vars(s))",
    "the exercise's own": f"{ASK}to_chunks = load_exercise('05.1').right",
}


@needs_solutions
@pytest.mark.parametrize("name", ORACLES)
def test_an_answer_that_is_the_oracle_by_whatever_way_is_refused(name, tmp_path):
    result = graded(tmp_path, f"{source()}\n\n# %%\n{ORACLES[name]}\n")
    assert points(result)["05.1"] == 0 and (
        points(result)["05.3"] == 25 or "__module__ =" in ORACLES[name]
    )
    said = result["exercises"]["05.1"]["said"][-1]
    assert any(text in said for text in ("an object of the package", "calls `flash_course.checks"))


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
    text = "from flash_course.checks.exercise import load_exercise\nSTUDENT = 'ada'\n# %%\n"
    result = graded(tmp_path, f"{text}{code}\n# %%\ncheck('08.2', answer_08_2)\n")
    assert (
        result["points"] == 0
        and "calls `flash_course.checks" in result["exercises"]["08.2"]["said"][0]
    )


def burn():
    while True:
        pass


def test_a_second_of_computing_on_a_machine_with_much_to_do_is_in_time():
    others = [multiprocessing.Process(target=burn, daemon=True) for _ in range(8)]
    for other in others:
        other.start()
    try:
        ended = in_child(lambda: compute(1.0), Limits(seconds=3))
    finally:
        for other in others:
            other.kill()
    assert ended.message is True, ended


def compute(seconds):
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass
    return True


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


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP])
def test_a_judge_that_is_killed_or_stopped_costs_its_exercise_and_no_time(number, judging):
    judge = judging()
    time.sleep(0.5)
    judge.process.send_signal(number)
    look(judge, lambda: not judge.todo)
    assert judge.rows["05.1"]["points"] == 0 and judge.rows["05.1"]["seconds"] < SOON.on_the_clock
    assert (
        "judges" in judge.rows["05.1"]["said"][0]
        and judge.rows["05.2"]["status"] == "not attempted"
    )


@pytest.mark.parametrize("busy, tries", [(True, 2), (False, 1)])
def test_on_a_busy_machine_an_answer_that_was_stopped_is_tried_again(
    busy, tries, tmp_path, judging, monkeypatch
):
    monkeypatch.setattr(isolation, "busy", lambda: busy)
    judge = judging(
        f"open({str(tmp_path / 'log')!r}, 'a').write('x')\nwhile True:\n    pass",
        Limits(seconds=0.5),
    )
    look(judge, lambda: "05.1" in judge.rows)
    assert (
        "of computing" in judge.rows["05.1"]["said"][0]
        and (tmp_path / "log").read_text() == "x" * tries
    )


@pytest.mark.quick
def test_a_judge_that_cannot_begin_is_said(monkeypatch):
    monkeypatch.setattr(isolation.sandbox, "python", lambda *_: (["false"], {}))
    judge = isolation.Judge("05", {"05.1": {}}, {}, Limits(), False)
    with pytest.raises(ValueError, match="ends before it has begun"):
        for _ in range(100):
            time.sleep(0.05)
            judge.look()


@pytest.mark.skipif(not processes.LINUX, reason="limits of others are Linux's")
def test_an_answer_sets_no_limits_of_others():
    import resource

    def tried(pid):
        try:
            resource.prlimit(
                pid, resource.RLIMIT_NOFILE, resource.getrlimit(resource.RLIMIT_NOFILE)
            )
        except PermissionError:
            return "refused"
        return "done"

    def all_tried():
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # its own it may set
        return [tried(0), tried(os.getppid()), tried(beside.pid)]

    with subprocess.Popen(["sleep", "20"]) as beside:
        ended = in_child(all_tried, Limits())
        beside.kill()
    assert ended.message == ["done", "refused", "refused"], ended
