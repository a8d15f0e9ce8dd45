"""How long a check takes: for every exercise with the answer of its master, and for a set's notebook as a whole.

    python experiments/timings/checks.py             # prints, and stores flash_course/bench/results/checks.json

A check of a right answer goes through all its cases. One that is wrong in a way of its own takes longer: it is compared
with all kept wrong answers. The notebook of a set runs as a script, in a process of its own, with the start of Python
and the imports. Nothing else should run on the machine.
"""

import contextlib
import io
import json
import os
import runpy
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from flash_course.bench.clock import machine
from flash_course.bench.stored import RESULTS
from flash_course.checks import exercise as model
from flash_course.checks.verdict import judge
from flash_tutorial.files import write_text

ROOT = Path(__file__).resolve().parents[2]
OUT = RESULTS / "checks.json"
REPEATS = 3


def answers(number):
    """What the master of a set defines."""
    with tempfile.TemporaryDirectory() as temporary, contextlib.redirect_stdout(io.StringIO()):
        os.environ["FLASH_TUTORIAL_PROGRESS"] = str(Path(temporary, "progress.json"))
        return runpy.run_path(str(master(number)))


def master(number):
    (path,) = (ROOT / "solutions").glob(f"{number}_*.py")
    return path


def check_seconds(exercise, names):
    """The median of three checks."""
    given = {name: names[name] for name in exercise.names}
    answer = given[exercise.names[0]] if len(given) == 1 else given
    took = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        verdict = judge(exercise, answer)
        took.append(time.perf_counter() - begun)
        if verdict.status != "right":
            raise RuntimeError(f"the master's answer to {exercise.id} fails: {verdict}")
    return round(sorted(took)[REPEATS // 2], 3)


def set_seconds(number):
    """A whole set, from the first cell to the last."""
    with tempfile.TemporaryDirectory() as temporary:
        environment = os.environ | {
            "FLASH_TUTORIAL_PROGRESS": str(Path(temporary, "progress.json"))
        }
        begun = time.perf_counter()
        subprocess.run(
            [sys.executable, master(number)],
            check=True,
            cwd=ROOT,
            env=environment,
            stdout=subprocess.DEVNULL,
        )
        return round(time.perf_counter() - begun, 1)


def main():
    checks = {}
    for number in model.there():
        names = answers(number)
        checks |= {
            name: check_seconds(exercise, names)
            for name, exercise in model.load_set(number).items()
        }
    sets = {number: set_seconds(number) for number in model.there()}
    slowest, longest = max(checks, key=checks.get), max(sets, key=sets.get)
    print(f"{len(checks)} checks: the slowest is {slowest} with {checks[slowest]:.2f} s")
    print(
        f"{len(sets)} sets: the longest is {longest} with {sets[longest]:.1f} s, together {sum(sets.values()):.0f} s"
    )
    result = {
        "command": "python experiments/timings/checks.py",
        "machine": machine(),
        "check_seconds": checks,
        "set_seconds": sets,
    }
    write_text(OUT, json.dumps(result, indent=1) + "\n")
    return 0 if checks[slowest] < 1 and sets[longest] < 60 else 1


if __name__ == "__main__":
    sys.exit(main())
