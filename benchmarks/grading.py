"""A class of 30 made-up submissions, graded twice: once in one go, once killed in the middle and started again.

    python benchmarks/grading.py            # prints, and stores flash_course/bench/results/grading.json

Right, half done, untouched, and one for each thing that a submission may do wrong (tests/course/test_grading.py). The
points must be exactly those expected, both times. Nothing else should run on the machine.
"""

import importlib.util
import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from flash_course.bench.clock import machine
from flash_tutorial.files import write_text

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "flash_course" / "bench" / "results" / "grading.json"
SIZE = 30


def make_class(folder):
    """Write the submissions; {name: expected points}."""
    spec = importlib.util.spec_from_file_location("test_grading", ROOT / "tests" / "test_grading.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    half = made.source().partition("# ## 05.3")[0]
    texts = {f"fault_{name.replace(' ', '_').replace('.', '_')}": (made.with_body(body), made.FULL - 10)
             for name, (body, _) in made.FAULTS.items()}  # fmt: skip
    texts["syntax_error"] = (
        made.source().replace("    missing = -len(x_TD) % C\n", "    missing = = 3\n"),
        made.FULL - 10,
    )
    for k in range(SIZE - len(texts)):
        name = ("right", "half", "untouched")[k % 3]
        text, points = {"right": (made.source(), made.FULL), "half": (half, 25), "untouched": (made.source(False), 0)}[
            name
        ]
        texts[f"{name}_{k:02}"] = (text, points)
    for name, (text, _) in texts.items():
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    return {name: points for name, (_, points) in texts.items()}


def start(folder, out):
    command = [sys.executable, "-m", "flash_course.cli", "grade", folder, "--out", out]
    return subprocess.Popen(
        [str(part) for part in command], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def points_in(out):
    stored = json.loads((out / "results.json").read_text(encoding="utf-8"))
    return {student["name"]: student["points"] for student in stored["students"]}


def main():
    with tempfile.TemporaryDirectory() as temporary:
        folder, whole, killed = (Path(temporary, name) for name in ("class", "whole", "killed"))
        folder.mkdir()
        expected = make_class(folder)
        begun = time.monotonic()
        start(folder, whole).wait()
        seconds = time.monotonic() - begun
        first = start(folder, killed)
        while len(list(killed.glob("students/*.json"))) < SIZE // 2:
            time.sleep(0.05)
        first.send_signal(signal.SIGKILL)
        first.wait()
        before = {path.name: path.stat().st_mtime_ns for path in killed.glob("students/*.json")}
        start(folder, killed).wait()
        kept = sum((killed / "students" / name).stat().st_mtime_ns == at for name, at in before.items())
        result = {
            "command": "python benchmarks/grading.py", "machine": machine(), "submissions": len(expected),
            "seconds": round(seconds, 1),
            "as_expected": points_in(whole) == expected, "as_expected_after_a_kill": points_in(killed) == expected,
            "done_before_the_kill": len(before), "kept": kept, "points": expected,
        }  # fmt: skip
    write_text(OUT, json.dumps(result, indent=1) + "\n")
    print({key: value for key, value in result.items() if key != "points"})
    return 0 if result["as_expected"] and result["as_expected_after_a_kill"] else 1


if __name__ == "__main__":
    sys.exit(main())
