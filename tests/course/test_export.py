"""The zip of a Gradescope autograder."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from marks import needs_solutions
from submissions import FULL, run, with_body

from flash_course.checks.exercise import load_set
from flash_course.grading import export


@pytest.mark.nightly
@needs_solutions
def test_the_gradescope_zip_runs_in_a_clean_folder(tmp_path):
    path = tmp_path / "set.zip"
    assert run("export", "gradescope", "05", "--out", path) == 0
    home = tmp_path / "autograder"
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        pool = archive.read("pool/right_05.py").decode()
        archive.extractall(home / "source")
    wanted = {"setup.sh", "run_autograder", "pool/right_05.py", "flash_course/grading/grade.py"}
    assert wanted <= set(names)
    assert "def held_out" in pool and "RIGHT" not in pool and "to_chunks_by_rows" not in pool
    assert not [name for name in names if "models/" in name or name.endswith(".ipynb")]
    (home / "submission").mkdir()
    (home / "submission" / "ada.py").write_text(with_body("chunks = x_TD"), encoding="utf-8")
    environment = os.environ | {
        "AUTOGRADER_HOME": str(home),
        "AUTOGRADER_SOURCE": str(home / "source"),
        "AUTOGRADER_VENV_OPTIONS": "--system-site-packages",
        "PYTHONNOUSERSITE": "1",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    # a venv of a venv sees the packages of the outermost one, so this interpreter stands in for it
    python = home / "source" / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    script = ["bash", home / "source" / "run_autograder"]
    subprocess.run(["bash", "-n", home / "source" / "setup.sh"], check=True)
    done = subprocess.run(script, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    form = json.loads((home / "results" / "results.json").read_text())
    assert form["score"] == FULL - 10 and form["visibility"] == "visible"
    assert [t["max_score"] for t in form["tests"]] == [e.points for e in load_set("05").values()]
    first, second, *_, last = form["tests"]
    assert second["output"] == "right, 15 of 15 points"  # its imports work as well
    assert last["output"] == "recorded: marked by a person"
    assert (first["name"], first["score"]) == ("05.1 to_chunks", 0)
    assert "`return` missing" in first["output"]


@pytest.mark.fork
def test_the_zip_has_the_seed_of_grading_or_the_one_that_is_given(tmp_path, capsys):
    for name, more, seed in (("a", [], 1), ("b", [], 1), ("c", ["--seed", 2027], 2027)):
        path = tmp_path / f"{name}.zip"
        assert run("export", "gradescope", "05", "--out", path, *more) == 0
        said = capsys.readouterr().out
        assert said.startswith("On Gradescope there is no sandbox") and f"seed {seed}" in said
        with zipfile.ZipFile(path) as archive:
            assert archive.read("run_autograder").decode().endswith(f'"$HERE/results" {seed}\n')
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_gradescope_gets_a_python_that_is_new_enough(tmp_path):
    """The script, with an old `python3` and an `apt-get` that only write down what they are called with."""
    fake = tmp_path / "bin"
    fake.mkdir()
    for name, code in {"python3": 1, "python3.11": 0, "apt-get": 0}.items():
        (fake / name).write_text(
            f'#!/bin/sh\necho {name} "$@" >> "{tmp_path}/calls"\nexit {code}\n'
        )
        (fake / name).chmod(0o755)
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    (tmp_path / "venv" / "bin" / "python").symlink_to("/bin/true")
    environment = os.environ | {
        "PATH": f"{fake}{os.pathsep}{os.environ['PATH']}",
        "AUTOGRADER_SOURCE": str(tmp_path),
    }
    subprocess.run(["bash", "-c", export.SETUP], env=environment, check=True)
    calls = (tmp_path / "calls").read_text().splitlines()
    assert "apt-get install -y -qq python3.11 python3.11-venv" in calls
    assert calls[-1] == f"python3.11 -m venv {tmp_path}/venv"
