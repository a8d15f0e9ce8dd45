"""What one exercise of a submission does costs that exercise alone."""

from pathlib import Path

import pytest
from marks import needs_solutions
from submissions import FULL, forks, graded, points, source, with_body

from flash_course.grading.child import Limits

pytestmark = forks

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
    "a fork": ("import os, time\nif os.fork() == 0:\n    time.sleep(60)\ntime.sleep(60)", "on the clock"),
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
    result = graded(
        tmp_path, with_body(body), limits=Limits(seconds=3, bytes=600_000_000, clock=6 if name == "a fork" else None)
    )
    row = result["exercises"]["05.1"]
    assert row["points"] == 0 and any(said in line for line in row["said"]), row
    assert result["points"] == FULL - 10, points(result)
    assert row["seconds"] < 10 and not list(Path.cwd().glob("mine.txt"))


@needs_solutions
def test_an_answer_that_is_the_oracle_is_refused(tmp_path):
    text = source() + "\n\n# %%\nfrom flash_course.checks.sets.set_05 import to_chunks\n"
    result = graded(tmp_path, text)
    assert "is an object of the package" in result["exercises"]["05.1"]["said"][0]
    assert points(result)["05.1"] == 0 and points(result)["05.4"] == 20
