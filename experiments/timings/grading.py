"""A class of thirty with one of each kind that does harm, graded in one go and killed ten times at random.

    python experiments/timings/grading.py            # prints, and stores flash_course/bench/results/grading.json

In the sandbox, where it works, and without it. The points must be exactly those expected each time, and no process and
no temporary file may be left. The submissions are those of tests/hostile.py. Nothing else should run on the machine.
"""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from flash_course.bench.clock import machine
from flash_course.bench.stored import RESULTS
from flash_course.grading import processes, sandbox
from flash_tutorial.files import write_text

ROOT = Path(__file__).resolve().parents[2]
OUT = RESULTS / "grading.json"
KILLS = 10
sys.path.insert(0, str(ROOT / "tests"))


class Graded:
    """A class in a folder of its own, with a folder for temporary files that nobody else has."""

    def __init__(self, top, mode):
        from hostile import make_class

        self.mode, self.folder, self.tmp = mode, Path(top, "class"), Path(top, "tmp")
        for folder in (self.folder, self.tmp):
            folder.mkdir()
        self.expected = make_class(self.folder)

    def start(self, out):
        command = [
            sys.executable,
            "-m",
            "flash_course.cli",
            "grade",
            self.folder,
            "--out",
            out,
            "--workers",
            "2",
        ]
        return subprocess.Popen(
            [*map(str, command), "--sandbox", self.mode],
            cwd=ROOT,
            env=os.environ | {"TMPDIR": str(self.tmp)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def exact(self, out):
        """Whether all points are those expected."""
        students = json.loads((out / "results.json").read_text(encoding="utf-8"))["students"]
        points = dict.fromkeys(s["name"] for s in students)
        points |= {s["name"]: s["points"] for s in students if s["exercises"]}
        return points == self.expected

    def left(self):
        """Processes and temporary folders that are still there a moment later."""
        time.sleep(3)
        found = [path.name for path in self.tmp.glob("flash-grading-*")]
        for pid in processes.table():
            with contextlib.suppress(OSError):
                if str(self.folder).encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.append(pid)
        return found


def measured(mode):
    with tempfile.TemporaryDirectory() as top:
        graded = Graded(top, mode)
        begun, out = time.monotonic(), Path(top, "whole")
        code = graded.start(out).wait()
        seconds = time.monotonic() - begun
        result = {
            "submissions": len(graded.expected),
            "seconds": round(seconds, 1),
            "exit": code,
            "exact": graded.exact(out),
            "left": graded.left(),
        }
        dice, out, done = random.Random(1), Path(top, "killed"), []
        for _ in range(KILLS):
            grader = graded.start(out)
            with contextlib.suppress(subprocess.TimeoutExpired):
                grader.wait(dice.uniform(1, max(seconds / 4, 8)))
            grader.send_signal(dice.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM]))
            grader.wait()
            done.append(len(list(out.glob("students/*.json"))))
        code = graded.start(out).wait()
        return result | {
            "kills": KILLS,
            "done at each": done,
            "exit after them": code,
            "exact after them": graded.exact(out),
            "left after them": graded.left(),
        }


def main():
    modes = ["none"] + ["bwrap"] * (sandbox.trouble() is None)
    results = {"command": "python experiments/timings/grading.py", "machine": machine()}
    for mode in modes:
        results[mode] = measured(mode)
        print(mode, results[mode], flush=True)
    write_text(OUT, json.dumps(results, indent=1) + "\n")
    right = (
        r["exact"]
        and r["exact after them"]
        and not r["left"] + r["left after them"]
        and r["exit"] == 0
        for r in map(results.get, modes)
    )
    return 0 if all(right) else 1


if __name__ == "__main__":
    sys.exit(main())
