"""A class project whose runs take a second; its fixtures are in `course/conftest.py`."""

import importlib
import json
import os
import subprocess
import sys

SMALL = """
from dataclasses import replace
MODELS = {name: replace(config, dim=16, depth=1, max_length=32) for name, config in MODELS.items()}
MODELS["baseline"] = replace(MODELS["baseline"], qk_dim=8, chunk_size=8)
RATES, SEEDS, BUDGET, TUNING = {"baseline": [5e-3], "mine": [5e-3, 1e-2]}, [0, 1], {"updates": 4}, 0.5
TRAIN = TrainConfig(batch=2, length=32, eval_bytes=500, checkpoint_every=1)
"""


def run(project, *command):
    """A command in the folder of a project, which needs none of our plugins."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    options = dict(cwd=project, capture_output=True, text=True, timeout=300, env=environment)
    return subprocess.run([sys.executable, *command], **options)


def read(project, name):
    return (project / name).read_text(encoding="utf-8")


def write(project, name, text):
    (project / name).write_text(text, encoding="utf-8")


def edit(project, old, new, name="unit.py"):
    text = read(project, name)
    assert text.count(old) == 1, old
    write(project, name, text.replace(old, new))


def shrink(project, more=""):
    write(project, "settings.py", f"{read(project, 'settings.py')}{SMALL}{more}\n")


def fill_in(project):
    write(project, "PREDICTION.md", read(project, "PREDICTION.md").replace("(write here)", "0.01"))


OF_A_PROJECT = ("grid", "settings", "unit", "helper", "mylayers")


def forget():
    for name in [name for name in sys.modules if name.split(".")[0] in OF_A_PROJECT]:
        sys.modules.pop(name, None)
    importlib.invalidate_caches()


def call(grid, monkeypatch, *argv):
    """The command of a grid: its exit code or line."""
    monkeypatch.setattr(sys, "argv", ["grid.py", *argv])
    try:
        grid.in_one_line(grid.main)
    except SystemExit as end:
        return end.code
    return None


def rows_of(project):
    """The stored runs as (model, rate, updates, seed), in order."""
    path = project / "results" / "project.json"
    rows = json.loads(path.read_text(encoding="utf-8"))["runs"] if path.exists() else []
    return [(row["arm"], row["rate"], row["steps"], row["seed"]) for row in rows]


def table_rows(project):
    """{model: its row} of README.md."""
    lines = [line for line in read(project, "README.md").splitlines() if "|" in line]
    return {line.split("|")[1].strip(): line for line in lines}
