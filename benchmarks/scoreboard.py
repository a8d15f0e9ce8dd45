"""The runs of the scoreboard, stored: the same tiny model with another mixer in each lecture.

    python benchmarks/scoreboard.py             # the lectures that are not stored yet
    python benchmarks/scoreboard.py 02 05       # these, anew

A run is made by the lecture's own cells: they are executed up to the one that trains, and every loss is stored in
flash_course/bench/results/scoreboard.json. The lectures compare their first losses with these. Some 15 seconds a run.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

import jupytext

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "flash_course" / "bench" / "results" / "scoreboard.json"
LECTURES = ("00", "01", "02", "03", "04", "05", "06", "12")


def runs_of(lecture):
    """{mixer: what ``train`` returned}: the lecture's variable ``runs``."""
    (source,) = (ROOT / "notebooks").glob(f"{lecture}_*.py")
    names = {"__name__": "__main__"}
    for cell in jupytext.read(source, fmt="py:percent").cells:
        if cell.cell_type == "code":
            exec(compile(cell.source, source.name, "exec"), names)
            if names.get("runs"):
                return names["runs"]
    sys.exit(f"{source.name} has no cell that makes `runs`")


def load():
    return json.loads(OUT.read_text(encoding="utf-8")) if OUT.exists() else {"runs": {}}


def store(lecture, runs):
    """One line for each run, sorted, so that a new run is one changed line."""
    from flash_course.bench.clock import machine
    from flash_tutorial.files import write_text

    rows = {name: row for name, row in load()["runs"].items() if not name.startswith(lecture)}
    for name, run in runs.items():
        rows[f"{lecture} {name}"] = dict(
            bits_per_byte=round(run.evaluation.bits_per_byte, 3),
            machine=machine(),
            losses=[round(row["loss"], 4) for row in run.log],
        )
    lines = ",\n  ".join(f"{json.dumps(name)}: {json.dumps(rows[name])}" for name in sorted(rows))
    facts = json.dumps({"command": "python benchmarks/scoreboard.py"})[:-1]
    write_text(OUT, f'{facts}, "runs": {{\n  {lines}\n}}}}\n')


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("lectures", nargs="*", metavar="NN", help=", ".join(LECTURES))
    asked = parser.parse_args().lectures
    there = {name[:2] for name in load()["runs"]}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FLASH_TUTORIAL_PROGRESS"] = str(Path(folder, "progress.json"))  # nobody's guesses and scores
        os.environ["MPLBACKEND"] = "Agg"
        os.chdir(folder)
        for lecture in asked or [name for name in LECTURES if name not in there]:
            runs = runs_of(lecture)
            store(lecture, runs)
            print(f"stored: lecture {lecture}, {', '.join(runs)}", flush=True)


if __name__ == "__main__":
    main()
