"""``flash-tutorial new``: the folder is whole, its test and its grid run, and a grid that was killed goes on."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from flash_course import cli, new_project

SMALL = """
from dataclasses import replace
MODELS = {name: replace(config, dim=16, depth=1, max_length=32) for name, config in MODELS.items()}
MODELS["baseline"] = replace(MODELS["baseline"], qk_dim=8, chunk_size=8)
RATES, SEEDS, TUNING_STEPS = {"baseline": [5e-3], "mine": [5e-3, 1e-2]}, [0, 1], 2
TRAIN = TrainConfig(steps=4, batch=2, length=32, eval_bytes=500, checkpoint_every=1)
"""


@pytest.fixture
def project(tmp_path):
    return new_project.create_project(tmp_path / "my-project")


def run(project, *command, **options):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *command], cwd=project, capture_output=True, text=True, timeout=300, env=environment, **options
    )


def shrink(project):
    settings = project / "settings.py"
    settings.write_text(settings.read_text(encoding="utf-8") + SMALL, encoding="utf-8")


def fill_in(project):
    page = project / "PREDICTION.md"
    page.write_text(page.read_text(encoding="utf-8").replace("(write here)", "0.01"), encoding="utf-8")


def test_the_folder_has_what_a_project_hands_in(project):
    names = {path.name for path in project.iterdir()}
    assert names == {
        ".gitignore", "CITATION.cff", "PREDICTION.md", "QUESTIONS.md", "README.md", "analysis.ipynb", "grid.py",
        "requirements.txt", "settings.py", "test_unit.py", "train.py", "unit.py",
    }  # fmt: skip
    for path in project.iterdir():
        assert "{{" not in path.read_text(encoding="utf-8").replace("{{'", ""), path.name
    assert (project / "README.md").read_text(encoding="utf-8").startswith("# my-project\n")
    questions = (project / "QUESTIONS.md").read_text(encoding="utf-8")
    rows = [line for line in questions.splitlines() if line.startswith("| ") and "---" not in line]
    marks = [int(line.split("|")[1]) for line in rows if line.split("|")[1].strip().isdigit()]
    assert len(rows) == 12 + 1 + len(marks) + 1 and sum(marks) == 100


def test_an_existing_folder_is_left_alone(project, capsys):
    (project / "unit.py").write_text("mine", encoding="utf-8")
    assert cli.main(["new", str(project)]) == 2
    assert "is not an empty folder" in capsys.readouterr().err and (project / "unit.py").read_text() == "mine"


def test_a_name_that_is_none_is_refused(tmp_path, capsys):
    assert cli.main(["new", str(tmp_path / "-x y")]) == 2
    assert "is no name for a project" in capsys.readouterr().err and list(tmp_path.iterdir()) == []


def test_a_stop_while_copying_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(new_project, "write_text", lambda *_: (_ for _ in ()).throw(ValueError("disk full")))
    with pytest.raises(ValueError, match="disk full"):
        new_project.create_project(tmp_path / "my-project")
    assert list(tmp_path.iterdir()) == []


def test_the_command_says_what_is_next(tmp_path, capsys):
    assert cli.main(["new", str(tmp_path / "p1")]) == 0 and "fill in PREDICTION.md" in capsys.readouterr().out


def test_its_own_test_passes_and_notices_a_layer_that_reads_the_future(project):
    shrink(project)
    done = run(project, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert done.returncode == 0 and "2 passed" in done.stdout, done.stdout
    unit = project / "unit.py"
    unit.write_text(unit.read_text(encoding="utf-8").replace("if self.causal:", "if False:"), encoding="utf-8")
    done = run(project, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert done.returncode == 1 and "later" in done.stdout, done.stdout


def test_the_grid_waits_for_the_prediction(project):
    done = run(project, "grid.py")
    assert done.returncode == 1 and "PREDICTION.md still has 4 blanks" in done.stderr
    assert not (project / "runs").exists()


def test_a_killed_grid_goes_on_and_writes_the_table(project):
    shrink(project)
    fill_in(project)
    first = subprocess.Popen(
        [sys.executable, "grid.py"], cwd=project, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.time() + 120
    while not list(project.glob("runs/*/result.json")) and time.time() < deadline:
        time.sleep(0.05)
    first.send_signal(signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
    first.wait()
    before = {path: path.stat().st_mtime_ns for path in project.glob("runs/*/result.json")}
    assert before
    done = run(project, "grid.py")
    assert done.returncode == 0, done.stderr
    after = {path: path.stat().st_mtime_ns for path in project.glob("runs/*/result.json")}
    assert len(after) == 3 + 4 and before.items() <= after.items()  # what was finished was not made again
    done = run(project, "grid.py", "table")
    readme = (project / "README.md").read_text(encoding="utf-8")
    rows = [line for line in readme.splitlines() if line.startswith(("| baseline", "| mine"))]
    assert done.returncode == 0 and len(rows) == 2 and "No run is finished" not in readme, done.stderr
    scores = [
        json.loads(p.read_text())["validation_bits_per_byte"] for p in project.glob("runs/baseline*steps4*/result.json")
    ]
    assert f"{sum(scores) / 2:.3f} ±" in rows[0] and "count it" in rows[1]

    import nbclient
    import nbformat

    page = nbformat.read(project / "analysis.ipynb", as_version=4)
    nbclient.NotebookClient(page, timeout=120).execute(cwd=str(project))
    assert "7 finished runs" in page.cells[1].outputs[0].text
    assert any("image/png" in output.get("data", {}) for output in page.cells[3].outputs)


def test_the_interval_is_students(project, monkeypatch):
    monkeypatch.syspath_prepend(str(project))
    try:
        import grid

        mean, half = grid.interval([1.0, 2.0, 3.0])
        assert mean == 2 and half == pytest.approx(4.30 / 3**0.5)
        with pytest.raises(ValueError, match="2 to 10"):
            grid.interval([1.0])
    finally:
        for name in ("grid", "settings", "train", "unit"):
            sys.modules.pop(name, None)
