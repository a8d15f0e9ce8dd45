"""``flash-tutorial new``: the folder is whole, its test and its grid run, and a grid that was killed goes on."""

import dataclasses
import errno
import importlib
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import time

import pytest

from flash_course import cli, new_project
from flash_tutorial.config import TrainConfig

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
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # it needs none
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


def test_git_takes_what_a_run_ended_with_and_not_its_weights(project):
    """Who marks a project sees machine, settings and log of each run, and makes the table from them."""
    run_folder = project / "runs" / "mine_rate0.01_steps4_seed0_1a2b3c4d"
    for name in ("result.json", "config.json", "log.csv", "model.safetensors", "step_000004/model.safetensors"):
        (run_folder / name).parent.mkdir(parents=True, exist_ok=True)
        (run_folder / name).write_text("")
    for command in (["init", "-q"], ["add", "-A"]):
        subprocess.run(["git", *command], cwd=project, check=True)
    listed = subprocess.run(["git", "ls-files", "runs"], cwd=project, check=True, capture_output=True, text=True)
    assert [line.rpartition("/")[2] for line in listed.stdout.split()] == ["config.json", "log.csv", "result.json"]
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


def test_its_own_test_is_of_the_layer_that_runs_and_asks_whether_it_is_causal(project):
    """A layer that does not say that it is causal is not asked for leaks; one with options is tested with them."""
    shrink(project)
    unit = project / "unit.py"
    text = unit.read_text(encoding="utf-8")
    unit.write_text(
        text.replace("self.dim, self.causal = dim, causal", "self.dim = dim").replace("self.causal", "True")
    )
    done = run(project, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert done.returncode == 1 and "self.causal = causal" in done.stdout, done.stdout
    text = text.replace("if self.causal:", "if self.causal and not self.look:").replace(
        "expansion=2", "expansion=2, look=0"
    )
    unit.write_text(
        text.replace("super().__init__()", "super().__init__()\n        self.look = look"), encoding="utf-8"
    )
    settings = project / "settings.py"
    settings.write_text(settings.read_text(encoding="utf-8")
        + "MODELS['mine'] = replace(MODELS['mine'], unit_options={'look': True})\n", encoding="utf-8")  # fmt: skip
    done = run(project, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert done.returncode == 1 and "later" in done.stdout, done.stdout


def test_the_grid_waits_for_the_prediction(project):
    done = run(project, "grid.py")
    assert done.returncode == 1 and "PREDICTION.md still has 4 blanks" in done.stderr
    assert not (project / "runs").exists()


def test_a_killed_grid_goes_on_and_writes_the_table(project, grid_of, monkeypatch):
    grid = grid_of()
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
    said = call(grid, monkeypatch, "table")
    assert "\n" not in said and "missing: " in said
    assert {path: path.stat().st_mtime_ns for path in project.glob("runs/*/result.json")} == before
    done = run(project, "grid.py")
    assert done.returncode == 0, done.stderr
    after = {path: path.stat().st_mtime_ns for path in project.glob("runs/*/result.json")}
    assert len(after) == 3 + 4 and before.items() <= after.items()  # what was finished was not made again
    assert call(grid, monkeypatch, "table") is None
    readme = (project / "README.md").read_text(encoding="utf-8")
    rows = [line for line in readme.splitlines() if line.startswith(("| baseline", "| mine"))]
    assert len(rows) == 2 and "No run is finished" not in readme
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


def test_the_page_of_runs_shows_what_a_fresh_project_prints(project):
    import nbclient
    import nbformat

    page = nbformat.read(project / "analysis.ipynb", as_version=4)
    stored = [cell.outputs for cell in page.cells if cell.cell_type == "code"]
    nbclient.NotebookClient(page, timeout=120).execute(cwd=str(project))
    assert [cell.outputs for cell in page.cells if cell.cell_type == "code"] == stored != [[], []]
    assert [cell.execution_count for cell in page.cells if cell.cell_type == "code"] == [1, 2]


# ---------------------------------------------------------------- what a result belongs to


@pytest.fixture
def grid_of(project, monkeypatch, capsys):
    """The grid of the project as it stands now, imported anew: ``grid_of(settings="SEEDS = [0]")`` adds lines first."""
    monkeypatch.syspath_prepend(str(project))
    monkeypatch.chdir(project)
    fill_in(project)
    shrink(project)

    def forget():
        for name in ("grid", "settings", "train", "unit", "helper"):
            sys.modules.pop(name, None)
        importlib.invalidate_caches()

    def load(settings=""):
        forget()
        path = project / "settings.py"
        path.write_text(path.read_text(encoding="utf-8") + f"\n{settings}\n", encoding="utf-8")
        shutil.rmtree(project / "__pycache__", ignore_errors=True)  # an edit within the same second
        return importlib.import_module("grid")

    yield load
    forget()


def call(grid, monkeypatch, *argv):
    """The command of a grid: its exit code or line."""
    monkeypatch.setattr(sys, "argv", ["grid.py", *argv])
    try:
        grid.in_one_line(grid.main)
    except SystemExit as end:
        return end.code
    return None


def edit(project, old, new, name="unit.py"):
    text = (project / name).read_text(encoding="utf-8")
    assert text.count(old) == 1
    (project / name).write_text(text.replace(old, new), encoding="utf-8")


def folders(project):
    return {path.name for path in (project / "runs").iterdir()}


def test_the_code_in_a_runs_key_is_the_sources_own_lines(project):
    """Which each version of Python reads alike; a dump of the syntax tree would be another text in each of them."""
    (project / "layer.py").write_text(
        'x = "# no comment"  # one\n\n\ndef f():\n    # one more\n    return x  \n', "utf-8"
    )
    done = run(project, "-c", "import train; print(train.code_of('layer')['layer'])")
    assert done.stdout == 'x = "# no comment"\ndef f():\n    return x\n', done.stderr


def test_a_changed_layer_model_training_or_text_begins_new_runs(project, grid_of, monkeypatch, capsys, tmp_path):
    """And the old ones are named, stay, and are not used; a comment or another place in the file changes nothing."""
    grid = grid_of("SEEDS, RATES = [0], {'baseline': [5e-3], 'mine': [5e-3]}")
    assert call(grid, monkeypatch) is None
    first = folders(project)
    assert call(grid, monkeypatch, "table") is None and "not used" not in capsys.readouterr().out
    (project / "unit.py").write_text("# a comment\n" + (project / "unit.py").read_text(encoding="utf-8"))
    assert call(grid_of(), monkeypatch, "table") is None

    changes = {
        "the layer": lambda: edit(project, "clamp(min=1)[..., None]", "clamp(min=2)[..., None]"),
        "the model": lambda: edit(project, "dim=16", "dim=18", "settings.py"),
        "the training": lambda: edit(project, "batch=2", "batch=3", "settings.py"),
    }
    there = first
    for what, change in changes.items():
        change()
        table = (project / "README.md").read_text(encoding="utf-8")
        said = call(grid_of(), monkeypatch, "table")
        assert str(said).startswith("missing: mine_rate0.005_steps2_seed0_") or "baseline" in said, what
        assert (project / "README.md").read_text(encoding="utf-8") == table, what
        out = capsys.readouterr().out
        assert "not used" in out and all(name in out for name in there if name.startswith("mine")), what
        assert call(grid_of(), monkeypatch) is None, what
        there = folders(project)
        new = len({name for name in there if name.startswith("mine")})
        assert new == 2 + 2 * (1 + list(changes).index(what)), what
        # the baseline is another one only where it was changed
        assert len(there) - new == {"the layer": 2, "the model": 4, "the training": 6}[what], what
    text = tmp_path / "text.txt"
    text.write_text("Anne had been " * 100)
    grid_of(f"TRAIN = replace(TRAIN, corpus={str(text)!r})")
    one = sys.modules["train"].folder_of("mine", 5e-3, 0)
    text.write_text("Anne hat been " * 100)
    grid_of()
    assert sys.modules["train"].folder_of("mine", 5e-3, 0) != one


def test_what_a_layer_imports_is_part_of_it(project, grid_of):
    (project / "helper.py").write_text("FACTOR = 1\n")
    edit(project, "from torch import nn\n", "from torch import nn\n\nfrom helper import FACTOR\n")
    keys = []
    for factor in (1, 2):
        (project / "helper.py").write_text(f"FACTOR = {factor}  # what it means\n")
        grid_of()
        keys.append([sys.modules["train"].folder_of(name, 5e-3, 0) for name in ("baseline", "mine")])
    assert keys[0][0] == keys[1][0] and keys[0][1] != keys[1][1]


IN_A_PACKAGE = {  # a line of a layer in mylayers/, and the module that it brings with it
    "from mylayers.helper import FACTOR": "mylayers.helper",
    "from .helper import FACTOR": "mylayers.helper",
    "from . import helper": "mylayers.helper",
    "import mylayers.helper": "mylayers.helper",
    "from .deep.below import FACTOR": "mylayers.deep.below",
    "from mylayers.deep import below": "mylayers.deep.below",
    "from helper import FACTOR": "helper",
}


def test_a_layer_in_a_package_is_known_by_all_that_it_imports(project):
    (project / "mylayers" / "deep").mkdir(parents=True)
    for name in ("helper.py", "mylayers/__init__.py", "mylayers/helper.py", "mylayers/deep/below.py"):
        (project / name).write_text("FACTOR = 1\n")
    for i, line in enumerate(IN_A_PACKAGE):
        (project / "mylayers" / f"layer{i}.py").write_text(f"{line}\n")
    found = f"[sorted(train.code_of(f'mylayers.layer{{i}}')) for i in range({len(IN_A_PACKAGE)})]"
    done = run(project, "-c", f"import json, train; print(json.dumps({found}))")
    for i, (names, module) in enumerate(zip(json.loads(done.stdout), IN_A_PACKAGE.values(), strict=True)):
        assert names == sorted(["mylayers", f"mylayers.layer{i}", module]), names


def test_a_layer_whose_options_no_run_is_known_by_is_refused(project, grid_of, monkeypatch):
    grid = grid_of("from functools import partial; from unit import MyUnit;"
                   "MODELS['mine'] = replace(MODELS['mine'], architecture=partial(MyUnit, expansion=3))")  # fmt: skip
    said = call(grid, monkeypatch)
    assert "functools.partial" in said and "give the class, and its options in unit_options" in said


def test_a_text_of_tokens_alone_is_scored_per_token(project, grid_of, monkeypatch, capsys):
    train = project / "train.py"
    text = train.read_text(encoding="utf-8").replace("from flash_tutorial.training import", "import numpy as np\n"
        "from flash_tutorial.corpora import load_tokens\nfrom flash_tutorial.training import")  # fmt: skip
    tokens = "load_tokens(np.random.default_rng(0).integers(0, 65, 20_000), 65)"
    train.write_text(text.replace("load_corpus(TRAIN.corpus)", tokens), encoding="utf-8")
    grid = grid_of("MODELS = {name: replace(config, vocab_size=66, tokens=65) for name, config in MODELS.items()};"
                   "SEEDS, RATES = [0], {'baseline': [5e-3], 'mine': [5e-3]}")  # fmt: skip
    assert call(grid, monkeypatch) is None and " bits per token" in capsys.readouterr().out
    assert call(grid, monkeypatch, "table") is None
    page = (project / "README.md").read_text(encoding="utf-8")
    assert "| bits per token |" in page and "| mine | " in page
    cells = json.loads((project / "analysis.ipynb").read_text(encoding="utf-8"))["cells"]
    shown = []
    monkeypatch.setattr("flash_course.figures.show", lambda figure, alt: shown.append(figure.axes[0].get_ylabel()))
    names = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
    assert " bits per token, " in capsys.readouterr().out and "bits per token" in shown[0]


def test_two_layers_of_one_file_and_a_new_name_are_told_apart(project, grid_of):
    unit = project / "unit.py"
    text = unit.read_text(encoding="utf-8")
    unit.write_text(text + "\n\nclass Other(MyUnit):\n    pass\n", encoding="utf-8")
    grid_of("from unit import Other; MODELS['other'] = replace(MODELS['mine'], architecture=Other);"
            "RATES['other'] = [5e-3]")  # fmt: skip
    train = sys.modules["train"]
    keys = {train.folder_of(name, 5e-3, 0).name.rpartition("_")[2] for name in ("baseline", "mine", "other")}
    assert len(keys) == 3
    before = train.folder_of("mine", 5e-3, 0)
    for path in (unit, project / "settings.py"):
        path.write_text(path.read_text(encoding="utf-8").replace("MyUnit", "Renamed"), encoding="utf-8")
    grid_of()
    assert sys.modules["train"].folder_of("mine", 5e-3, 0) != before


def test_an_interrupted_run_whose_code_was_edited_is_not_resumed(project, grid_of, capsys):
    train = grid_of().find and sys.modules["train"]
    folder = train.folder_of("mine", 5e-3, 0)
    train.train(train.MODELS["mine"], train.settings_of(5e-3, 0), out=folder, stop_at=2, progress=False)
    edit(project, "clamp(min=1)[..., None]", "clamp(min=2)[..., None]")
    grid_of()
    train = sys.modules["train"]
    train.run("mine", 5e-3, 0)
    assert "going on" not in capsys.readouterr().out and not (folder / "result.json").exists()
    edit(project, "clamp(min=2)[..., None]", "clamp(min=1)[..., None]")
    grid_of()
    sys.modules["train"].run("mine", 5e-3, 0)
    assert "going on after step 2" in capsys.readouterr().out and (folder / "result.json").exists()


def test_files_that_are_edited_while_a_grid_runs_do_not_change_its_keys(project, grid_of):
    grid_of()
    train = sys.modules["train"]
    before = train.folder_of("mine", 5e-3, 0)
    edit(project, "clamp(min=1)[..., None]", "clamp(min=2)[..., None]")
    edit(project, "batch=2", "batch=3", "settings.py")
    assert train.folder_of("mine", 5e-3, 0) == before


def test_a_result_of_another_run_is_named_and_not_used(project, grid_of):
    grid_of()
    train = sys.modules["train"]
    train.run("mine", 5e-3, 0)
    folder, other = (train.folder_of("mine", 5e-3, seed) for seed in (0, 1))
    shutil.copytree(folder, other)
    with pytest.raises(ValueError, match="is of another run: move"):
        train.find("mine", 5e-3, 1)
    path = folder / "result.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"step": 4', '"step": 5', 1), encoding="utf-8")
    with pytest.raises(ValueError, match="altered"):
        train.find("mine", 5e-3, 0)


# ---------------------------------------------------------------- every setting has an effect


# of each field of TrainConfig a value that is not the project's
OTHERS = dict(
    batch=4, length=31, warmup=1, clip=0.5, accumulate=2, weight_decay=0.5, dtype="float32", compile=True, steps=6,
    eval_bytes=400, eval_every=2, checkpoint_every=2, corpus="README.md", start_from="austen-flash", learning_rate=0.1,
    seed=3,
)  # fmt: skip


def test_no_field_of_TRAIN_is_forgotten():
    assert set(OTHERS) == {field.name for field in dataclasses.fields(TrainConfig)}


@pytest.mark.parametrize("name, value", OTHERS.items(), ids=OTHERS)
def test_every_field_of_TRAIN_has_an_effect_or_is_refused(project, grid_of, monkeypatch, name, value):
    """It is what the runs are trained with, and the runs of another value are others."""
    grid_of()
    train = sys.modules["train"]
    before = train.folder_of("mine", 5e-3, 1)
    grid = grid_of(f"TRAIN = replace(TRAIN, {name}={value!r})")
    train = sys.modules["train"]
    if name in ("learning_rate", "seed"):
        said = call(grid, monkeypatch)
        assert said == f"TRAIN has {name}={value!r} in settings.py: RATES and SEEDS say it, leave it out"
        return
    assert getattr(train.settings_of(5e-3, 1), name) == value and train.folder_of("mine", 5e-3, 1) != before
    given = []
    monkeypatch.setattr(train, "train", lambda config, settings, **options: given.append(settings))
    train.run("mine", 5e-3, 1)
    assert getattr(given[0], name) == value and (given[0].learning_rate, given[0].seed) == (5e-3, 1)


def test_a_shorter_run_warms_up_for_the_same_share(project, grid_of):
    grid_of("TRAIN = replace(TRAIN, steps=40, warmup=10)")
    train = sys.modules["train"]
    assert [train.settings_of(5e-3, 0, steps).warmup for steps in (40, 20, 4, 3)] == [10, 5, 1, 0]


def test_the_other_settings_have_effects_too(project, grid_of, monkeypatch):
    """MODELS, RATES, SEEDS and TUNING_STEPS: the runs that the grid asks for."""
    asked = []
    grid = grid_of("SEEDS, TUNING_STEPS = [4, 6], 3; RATES = {'baseline': [1e-3], 'mine': [2e-3, 3e-3]}")

    def get(*key):
        asked.append(key)
        return {"validation_bits_per_byte": 2 - key[1]}

    grid.results(get)
    tuning = [("baseline", 1e-3, 0, 3), ("mine", 2e-3, 0, 3), ("mine", 3e-3, 0, 3)]
    assert set(asked) == {*tuning, *((name, rate, seed) for name, rate in (("baseline", 1e-3), ("mine", 3e-3))
                                     for seed in (4, 6))}  # fmt: skip


@pytest.mark.parametrize("lines, words", [
    ("RATES.pop('mine')", r"RATES in settings.py has \['baseline'\]: expected rates for each of"),
    ("RATES['mine'] = []", "RATES in settings.py"), ("SEEDS = []", r"SEEDS in settings.py is \[\]"),
    ("SEEDS = [1, 1]", "all different"), ("TUNING_STEPS = 0", "steps=0: expected"),
    ("SEEDS = [-1]", "seed=-1: expected"),
    ("MODELS['a/b'] = MODELS.pop('mine')", "the name 'a/b'"),
    ("RATES['mine'] = [-1.0]", "learning_rate=-1.0: expected"),
    ("TRAIN = replace(TRAIN, eval_bytes=0)", "eval_bytes=0"),
])  # fmt: skip
def test_settings_that_cannot_be_are_one_line(grid_of, monkeypatch, lines, words):
    said = call(grid_of(lines), monkeypatch)
    assert re.match(f".*{words}", said) and "\n" not in said


# ---------------------------------------------------------------- the table


def test_a_run_that_diverges_is_a_row_and_is_not_tried_again(project, grid_of, monkeypatch, capsys):
    """A layer whose loss is no number with seed 1, and one that never has any."""
    broken = "        if torch.initial_seed() == self.breaks_at:\n            x = x * float('nan')\n"
    edit(project, "        u, v = F.silu(", broken + "        u, v = F.silu(")
    edit(project, "import torch.nn.functional", "import torch\nimport torch.nn.functional")
    edit(project, "causal=True, expansion=2):", "causal=True, expansion=2, breaks_at=-1):")
    own = "self.dim, self.causal"
    edit(project, f"{own} = dim, causal", f"{own}, self.breaks_at = dim, causal, breaks_at")
    # the loop sets torch's seed to that of the run plus the update
    grid = grid_of(
        "MODELS = {'baseline': MODELS['baseline'], **{name: replace(MODELS['mine'], unit_options={'breaks_at': at})"
        " for name, at in {'one': 5, 'all': 1, 'fine': -1}.items()}}\n"
        "RATES = dict.fromkeys(MODELS, [5e-3])\nSEEDS = [0, 1]"
    )
    assert call(grid, monkeypatch) is None
    out = capsys.readouterr().out
    assert "training stopped at step 1" in out and "all: diverged bits" in out
    readme = project / "README.md"
    assert call(grid, monkeypatch, "table") is None
    rows = {line.split("|")[1].strip(): line for line in readme.read_text(encoding="utf-8").splitlines() if "|" in line}
    assert "| diverged at step 4 (1 of 2 runs) | - |" in rows["one"]
    assert "| diverged at step 1 (1 of 1 runs) | - |" in rows["all"]
    assert "±" in rows["fine"] and "diverged" not in rows["fine"]
    monkeypatch.setattr(sys.modules["train"], "train", None)  # nothing is left to train
    assert call(grid, monkeypatch) is None


def test_one_seed_is_a_table_without_intervals(project, grid_of, monkeypatch):
    grid = grid_of("SEEDS = [0]")
    assert call(grid, monkeypatch) is None and call(grid, monkeypatch, "table") is None
    readme = (project / "README.md").read_text(encoding="utf-8")
    rows = [line for line in readme.splitlines() if line.startswith(("| baseline", "| mine"))]
    assert len(rows) == 2 and "±" not in readme.split("<!-- table")[1] and "1 seed, no interval" in readme
    assert "(not settled)" in rows[1] and re.search(r"\| [+-]\d\.\d{3} \(not settled\) \|$", rows[1])


def test_the_table_keeps_the_rest_of_the_page_and_misses_its_marks(project, grid_of, monkeypatch):
    grid = grid_of("SEEDS = [0]")
    assert call(grid, monkeypatch) is None
    edit(project, "## What did not work", "## Mine\n\n## What did not work", "README.md")
    assert call(grid, monkeypatch, "table") is None and call(grid, monkeypatch, "table") is None
    text = (project / "README.md").read_text(encoding="utf-8")
    assert text.count("## Mine") == 1 and text.count("| baseline |") == 1
    edit(project, "<!-- end of table -->", "", "README.md")
    said = call(grid, monkeypatch, "table")
    assert said.startswith("README.md has lost the marks") and "\n" not in said


@pytest.mark.parametrize("argv, words", [
    (("mine", "--rate", "-1"), "--rate -1.0: expected a number above 0"), (("mine", "--rate", "nan"), "--rate nan"),
    (("mine", "--seed", "-1"), "--seed -1: expected"), (("mine", "--steps", "0"), "--steps 0: expected"),
    (("mine", "--steps", "-5"), "--steps -5: expected"),
])  # fmt: skip
def test_wrong_numbers_of_one_run_are_one_line(grid_of, monkeypatch, argv, words):
    grid_of()
    train = sys.modules["train"]
    monkeypatch.setattr(sys, "argv", ["train.py", *argv])
    with pytest.raises(SystemExit) as end:
        train.in_one_line(train.main)
    assert end.value.code.startswith(f"{words}") and "\n" not in end.value.code


def test_one_run_says_where_its_result_is_and_a_stop_is_one_line(project, grid_of, monkeypatch, capsys):
    grid_of()
    train = sys.modules["train"]
    monkeypatch.setattr(sys, "argv", ["train.py", "mine", "--steps", "2"])
    train.in_one_line(train.main)
    assert "its result is in runs" in capsys.readouterr().out

    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "train", stopped)
    monkeypatch.setattr(sys, "argv", ["train.py", "mine", "--steps", "3"])
    with pytest.raises(SystemExit) as end:
        train.in_one_line(train.main)
    assert end.value.code == 130 and capsys.readouterr().err == "stopped: the same command goes on from here\n"


def test_the_interval_is_students(grid_of):
    grid = grid_of()
    mean, half = grid.interval([1.0, 2.0, 3.0])
    assert mean == 2 and half == pytest.approx(4.30 / 3**0.5)
    assert grid.interval([1.0]) == (1.0, None)
    many = [float(i) for i in range(30)]  # beyond its list the interval is too wide, never too narrow
    assert grid.interval(many)[1] == pytest.approx(2.26 * statistics.stdev(many) / 30**0.5)


# ---------------------------------------------------------------- a folder that cannot be written


@pytest.mark.parametrize("where", ["copy", "text", "rename"])
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, monkeypatch, capsys, where):
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def refuse(*_, **__):
        raise full

    if where == "copy":
        monkeypatch.setattr(new_project.shutil, "copytree", lambda a, b, ignore: _copytree_that_fails(b, full))
    elif where == "text":
        monkeypatch.setattr("flash_tutorial.files.os.fsync", refuse)
    else:
        monkeypatch.setattr(new_project.os, "replace", refuse)
    assert cli.main(["new", str(tmp_path / "my-project")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "No space left on device" in said and "free some space" in said
    assert "[" not in said and ".part" not in said and list(tmp_path.iterdir()) == []


def _copytree_that_fails(target, error):
    target.mkdir()
    raise shutil.Error([("a.py", str(target / "a.py"), str(error)), ("b.py", str(target / "b.py"), str(error))])
