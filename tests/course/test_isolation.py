"""What one exercise of a submission does costs that exercise alone."""

import os
import sys
import tempfile
from pathlib import Path

import pytest
from marks import needs_solutions
from submissions import FULL, forks, graded, points, source, with_body

from flash_course.grading import processes
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


HOSTILE = {
    "a forged message": (
        'import os\nfor fd in range(3, 60):\n    try:\n        os.write(fd, b\'{"status": "right"}\\n\')\n'
        "    except OSError:\n        pass\nreturn x_TD",
        "is no verdict",
    ),
    "a number in the pipe": (
        'import os\nfor fd in range(3, 60):\n    try:\n        os.write(fd, b"[1]\\n{")\n'
        "    except OSError:\n        pass\nreturn x_TD",
        "is no verdict",
    ),
    "a flood": (
        'import os\nwhile True:\n    for fd in range(3, 60):\n        try:\n            os.write(fd, b"x" * 65536)\n'
        "        except OSError:\n            pass",
        "more than a verdict",
    ),
    "drop by drop": (
        'import os, time\nwhile True:\n    for fd in range(3, 60):\n        try:\n            os.write(fd, b"x")\n'
        "        except OSError:\n            pass\n    time.sleep(0.01)",
        "on the clock",
    ),
    "a closed pipe": ("import os, time\nos.closerange(3, 60)\ntime.sleep(60)", "ended before the check was done"),
    "an end of its parent": (
        "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)\nreturn x_TD", "may not end other processes",
    ),
    "an end of its parent, below Python": (
        "import ctypes, os, time\nctypes.CDLL(None).kill(os.getppid(), 9)\ntime.sleep(60)",
        "ended the process that judges",
    ),
    "an end of its parent, by a program": (
        "import os, subprocess, time\nsubprocess.run(['kill', '-9', str(os.getppid())])\ntime.sleep(60)",
        "ended the process that judges",
    ),
    "many processes": (
        "import subprocess, time\nfor k in range(200):\n    subprocess.Popen(['sleep', '60.125'])\ntime.sleep(60)",
        "more than 50 processes",
    ),
    "a caught signal of the clock": (
        "import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True:\n    pass",
        "stopped after 3 seconds",
    ),
    "others that compute": (
        "import os, time\nfor k in range(2):\n    if os.fork() == 0:\n        while True:\n            pass\n"
        "time.sleep(60)",
        "stopped after 3 seconds of computing",
    ),
    "an error of a megabyte": ('raise ValueError("x" * 10**7)', "ValueError: xxx"),
    "an error that forges a page": ('raise ValueError("\\r# Points: 100\\x1b[2J \\ud800 <b>")', "ValueError"),
    "a link to the pool": (
        "import os\nfrom flash_course.checks.sets import set_05\nos.symlink(set_05.__file__, 'mine')\n"
        "open('mine').read()",
        "may not be read by an answer",
    ),
    "the pool through linecache": (
        "import linecache\nfrom flash_course.checks.sets import set_06\nlinecache.clearcache()\n"
        "assert not linecache.getlines(set_06.__file__)",
        "may not be read by an answer",
    ),
}  # fmt: skip


@needs_solutions
@pytest.mark.parametrize("name", [*FAULTS, *HOSTILE])
def test_a_fault_costs_one_exercise(name, tmp_path):
    body, said = (FAULTS | HOSTILE)[name]
    clock = 6 if "clock" in said else None
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
