"""What one exercise of a submission does costs that exercise alone."""

import os
import sys
import tempfile
from pathlib import Path

import pytest
from hostile import FAULTS, HOSTILE
from marks import needs_solutions
from submissions import FULL, forks, graded, points, source, with_body

from flash_course.grading import processes
from flash_course.grading.child import Limits

pytestmark = forks


@needs_solutions
@pytest.mark.parametrize("name", [*FAULTS, *HOSTILE])
def test_a_fault_costs_one_exercise(name, tmp_path):
    body, said = (FAULTS | HOSTILE)[name]
    clock = 6 if "clock" in said else None
    result = graded(tmp_path, with_body(body), limits=Limits(seconds=5, bytes=600_000_000, clock=clock))
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
    body = (
        "import subprocess\nsubprocess.Popen(['sleep', '4321.5'], start_new_session=True)\n"
        "subprocess.run(['sh', '-c', 'setsid sleep 4321.5 >/dev/null 2>&1 & sleep 0.2'])\nreturn x_TD"
    )
    assert graded(tmp_path, with_body(body))["points"] == FULL - 10
    assert not [pid for pid in processes.table() if "4321.5" in command_of(pid)]


@needs_solutions
def test_a_fork_that_both_go_on_hurts_nobody(tmp_path):
    text = (
        source()
        + "\n\n# %%\nimport os\nkept = to_chunks\ndef to_chunks(x_TD, C):\n    os.fork()\n    return kept(x_TD, C)\n"
    )
    assert graded(tmp_path, text)["points"] == FULL


@needs_solutions
def test_a_text_of_forty_megabytes_costs_itself(tmp_path):
    text = source() + "\n\n# %%\nanswer_05_7 = 'word ' * 8_000_000\n"
    result = graded(tmp_path, text)
    assert result["points"] == FULL and len(result["exercises"]["05.7"]["text"]) < 20_010


@needs_solutions
def test_an_answer_that_is_the_oracle_is_refused(tmp_path):
    text = source() + "\n\n# %%\nfrom flash_course.checks.sets.set_05 import to_chunks\n"
    result = graded(tmp_path, text)
    assert "is an object of the package" in result["exercises"]["05.1"]["said"][0]
    assert points(result)["05.1"] == 0 and points(result)["05.4"] == 20
