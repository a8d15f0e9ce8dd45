"""What one exercise of a submission does costs that exercise alone."""

import contextlib
import multiprocessing
import os
import sys
import tempfile
import time
from pathlib import Path

import pytest
from hostile import FAULTS, HOSTILE
from marks import needs_solutions
from submissions import FULL, forks, graded, points, source, with_body

from flash_course.grading import isolation, judging, processes
from flash_course.grading.child import Limits, in_child

pytestmark = forks


@needs_solutions
@pytest.mark.parametrize("name", [*FAULTS, *HOSTILE])
def test_a_fault_costs_one_exercise(name, tmp_path, monkeypatch):
    monkeypatch.setattr(judging, "busy", lambda: False)  # once is enough to be stopped
    monkeypatch.setattr(isolation, "TRIES", 1)
    monkeypatch.setattr(isolation, "LAG", 3)
    body, said = (FAULTS | HOSTILE)[name]
    clock = 5 if "clock" in said + body else None
    result = graded(tmp_path, with_body(body), limits=Limits(seconds=3, bytes=600_000_000, clock=clock))
    row = result["exercises"]["05.1"]
    assert row["points"] == 0 and any(said in line for line in row["said"]), row
    assert all(len(line) < 1100 for line in row["said"])
    assert result["points"] == FULL - 10, points(result)
    assert row["seconds"] < 60 and not list(Path.cwd().glob("mine.txt"))
    assert left_over() == []


def left_over():
    """Processes and temporary folders that grading has left."""
    below = [pid for pid in processes.below(os.getpid()) if "sleep" in command_of(pid) or "pytest" in command_of(pid)]
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
    assert not [pid for pid in processes.table() if mine in command_of(pid)]


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
    assert points(result)["05.1"] == 0 and (points(result)["05.3"] == 25 or "__module__ =" in ORACLES[name])
    said = result["exercises"]["05.1"]["said"][-1]
    assert any(
        text in said for text in ("an object of the package", "calls `flash_course.checks", "changes the checker")
    )


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
    assert result["points"] == 0 and "calls `flash_course.checks" in result["exercises"]["08.2"]["said"][0]


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


@pytest.mark.quick
@pytest.mark.parametrize("busy, tries", [(True, 2), (False, 1)])
def test_on_a_busy_machine_an_answer_that_was_stopped_is_tried_again(busy, tries, tmp_path, monkeypatch):
    monkeypatch.setattr(judging, "busy", lambda: busy)
    log = tmp_path / "log"

    def answer():
        with open(log, "a") as file:
            file.write("x")
        compute(60)

    ended = judging.judged(answer, Limits(seconds=0.2), tmp_path)
    assert "of computing" in ended.why and log.read_text() == "x" * tries


@pytest.mark.quick
def test_a_judge_that_cannot_begin_is_said(monkeypatch):
    monkeypatch.setattr(isolation, "serve", lambda *_: os._exit(1))
    judge = isolation.Judge({"exercises": ["05.1"]}, {}, Limits(), False)
    with pytest.raises(ValueError, match="ends before it has begun"):
        for _ in range(100):
            time.sleep(0.05)
            judge.look()
