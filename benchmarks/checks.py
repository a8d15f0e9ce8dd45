"""How long a check takes: for every exercise with its right answer, and for a set's notebook with solutions put in.

    python benchmarks/checks.py             # prints, and stores flash_tutorial/results/checks.json

A check of a right answer goes through all its cases, so no other answer takes longer, an endless one excepted. The
notebook of a set runs as a script, in a process of its own, with the start of Python and the imports. Nothing else
should run on the machine.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from flash_tutorial.exercises import model
from flash_tutorial.exercises.judge import judge
from flash_tutorial.files import write_text
from flash_tutorial.measure import machine

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "flash_tutorial" / "results" / "checks.json"
REPEATS = 3


def check_seconds(exercise):
    """The median of three checks of the oracle; the first ones of a process build caches and are part of it."""
    right = exercise.right(exercise.numbers("me")) if exercise.kind == "predict" else exercise.right
    took = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        verdict = judge(exercise, right)
        took.append(time.perf_counter() - begun)
        if verdict.status != "right":
            raise RuntimeError(f"the oracle of {exercise.id} fails its own check: {verdict}")
    return round(sorted(took)[REPEATS // 2], 3)


def set_seconds(number):
    """A whole set, from the first cell to the last."""
    (master,) = (ROOT / "solutions").glob(f"{number}_*.py")
    with tempfile.TemporaryDirectory() as temporary:
        environment = os.environ | {"FLASH_TUTORIAL_PROGRESS": str(Path(temporary, "progress.json"))}
        begun = time.perf_counter()
        subprocess.run([sys.executable, master], check=True, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
        return round(time.perf_counter() - begun, 1)


def main():
    checks = {name: check_seconds(e) for number in model.there() for name, e in model.load_set(number).items()}
    sets = {number: set_seconds(number) for number in model.there()}
    slowest, longest = max(checks, key=checks.get), max(sets, key=sets.get)
    print(f"{len(checks)} checks: the slowest is {slowest} with {checks[slowest]:.2f} s")
    print(f"{len(sets)} sets: the longest is {longest} with {sets[longest]:.1f} s, together {sum(sets.values()):.0f} s")
    result = {"command": "python benchmarks/checks.py", "machine": machine(), "check_seconds": checks,
              "set_seconds": sets}  # fmt: skip
    write_text(OUT, json.dumps(result, indent=1) + "\n")
    return 0 if checks[slowest] < 1 and sets[longest] < 60 else 1


if __name__ == "__main__":
    sys.exit(main())
