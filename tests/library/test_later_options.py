"""An option that is added later leaves what was stored before it usable: here two are added whose defaults differ."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from small_run import run

import flash_tutorial
from flash_course.new_project import create_project

pytestmark = pytest.mark.usefixtures("one_thread")
PACKAGE = Path(flash_tutorial.__file__).parent
LATER = {
    "    init_std: float | None = setting(\n": '    leak: float = setting(0.3, "pretended", before=0.1)\n',
    '    steps: int = setting(1700, "updates")\n': '    cooling: float = setting(0.7, "pretended", before=0.0)\n',
}
SETTINGS = """
from flash_tutorial import ModelConfig
from flash_tutorial.training import TrainConfig

MODELS = {"baseline": ModelConfig("flash", dim=16, depth=1, qk_dim=8, chunk_size=8 LEAK)}
RATES, SEEDS = {"baseline": [5e-3]}, [0]
BUDGET, TUNING, WARMUP = {"updates": 4}, 0.5, 0.5
TRAIN = TrainConfig(batch=2, length=16, eval_bytes=100 COOLING)
"""
GO_ON = """
from dataclasses import replace
from small_run import CONFIG, MODEL
from flash_tutorial.corpora import load_file
from flash_tutorial import LanguageModel
from flash_tutorial.training import train

print("leak", LanguageModel.from_pretrained("whole").config.leak, "and by default", replace(MODEL).leak)
for changes in ({}, {"leak": 0.3}, {"cooling": 0.7}):
    model = replace(MODEL, leak=changes.get("leak", 0.1))
    config = replace(CONFIG, cooling=changes.get("cooling", 0.0))
    try:
        done = train(model, config, corpus=load_file("TEXT"), out="stopped", resume=True, stop_at=6, progress=False)
        print("went on to", done.log[-1]["step"])
    except ValueError as error:
        print(error)
"""


@pytest.fixture(scope="module")
def later(tmp_path_factory):
    """A version of the package with one more option in each configuration: what a program there prints."""
    root = tmp_path_factory.mktemp("later")
    shutil.copytree(
        PACKAGE, root / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__", "models")
    )
    path = root / "flash_tutorial" / "config.py"
    text = path.read_text(encoding="utf-8")
    for place, line in LATER.items():
        assert text.count(place) == 1
        text = text.replace(place, line + place)
    path.write_text(text, encoding="utf-8")
    # behind it the repository, for flash_course
    return lambda program, folder: printed(
        program, folder, root, Path(__file__).parents[1], PACKAGE.parent
    )


def printed(program, folder, *paths):
    variables = os.environ | {
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        "OMP_NUM_THREADS": "1",
    }
    line = [sys.executable, "-c", program]
    done = subprocess.run(
        line, cwd=folder, env=variables, capture_output=True, text=True, timeout=120
    )
    return (done.stdout + done.stderr).splitlines()


@pytest.mark.nightly
def test_a_model_and_a_run_from_before_go_on(text, corpus, tmp_path, later):
    run(corpus, tmp_path / "stopped", stop_at=4)
    run(corpus, tmp_path / "whole")
    model, went_on, other_model, other_training = later(GO_ON.replace("TEXT", str(text)), tmp_path)
    assert model == "leak 0.1 and by default 0.3"
    assert went_on == "went on to 6"
    assert "was trained with leak=0.1, now leak=0.3" in other_model
    assert "was trained with cooling=0.0, now cooling=0.7" in other_training


@pytest.mark.nightly
def test_the_result_of_a_project_from_before_is_found(tmp_path, later):
    project = create_project(tmp_path / "mine")
    page = project / "PREDICTION.md"
    page.write_text(
        page.read_text(encoding="utf-8").replace("(write here)", "0.01"), encoding="utf-8"
    )

    def settings(leak, cooling):
        text = SETTINGS.replace(" LEAK", leak).replace(" COOLING", cooling)
        (project / "settings.py").write_text(text, encoding="utf-8")

    settings("", "")
    trained = printed("import grid; grid.main()", project, project, PACKAGE.parent)
    look = "import grid; print(len(grid.finished()))"
    for leak, found in ((", leak=0.1", ["1"]), (", leak=0.3", ["0"])):
        settings(leak, ", cooling=0.0")
        assert later(look, project) == found, trained
