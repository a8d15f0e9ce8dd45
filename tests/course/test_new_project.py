"""``flash-tutorial new``: the folder is whole, its test and its grid run, and a grid that was killed goes on."""

import dataclasses
import errno
import importlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

from flash_course import cli, new_project
from flash_tutorial.config import TrainConfig
from flash_tutorial.experiments import StoredRows

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
    # it needs none
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }
    return subprocess.run(
        [sys.executable, *command],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=300,
        env=environment,
        **options,
    )


def shrink(project):
    settings = project / "settings.py"
    settings.write_text(settings.read_text(encoding="utf-8") + SMALL, encoding="utf-8")


def fill_in(project):
    page = project / "PREDICTION.md"
    page.write_text(
        page.read_text(encoding="utf-8").replace("(write here)", "0.01"), encoding="utf-8"
    )


def test_the_folder_has_what_a_project_hands_in(project):
    names = {path.name for path in project.iterdir()}
    assert names == {
        ".gitignore",
        "CITATION.cff",
        "PREDICTION.md",
        "QUESTIONS.md",
        "README.md",
        "analysis.ipynb",
        "grid.py",
        "requirements.txt",
        "settings.py",
        "test_unit.py",
        "unit.py",
    }
    for path in project.iterdir():
        assert "{{" not in path.read_text(encoding="utf-8").replace("{{'", ""), path.name
    assert (project / "README.md").read_text(encoding="utf-8").startswith("# my-project\n")


def test_git_takes_the_finished_runs_and_not_their_checkpoints(project):
    """Who marks a project sees machine, settings and losses of each run, and makes the table from them."""
    for name in (
        "results/project.json",
        "results/project.lock",
        "runs/project/mine-0.01/step_4/model.safetensors",
    ):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text("")
    for command in (["init", "-q"], ["add", "-A"]):
        subprocess.run(["git", *command], cwd=project, check=True)
    listed = subprocess.run(
        ["git", "ls-files", "runs", "results"],
        cwd=project,
        check=True,
        capture_output=True,
        text=True,
    )
    assert listed.stdout.split() == ["results/project.json"]


def test_the_questions_have_marks_that_sum_to_a_hundred(project):
    questions = (project / "QUESTIONS.md").read_text(encoding="utf-8")
    rows = [line for line in questions.splitlines() if line.startswith("| ") and "---" not in line]
    marks = [int(line.split("|")[1]) for line in rows if line.split("|")[1].strip().isdigit()]
    assert len(rows) == 12 + 1 + len(marks) + 1 and sum(marks) == 100


def test_an_existing_folder_is_left_alone(project, capsys):
    (project / "unit.py").write_text("mine", encoding="utf-8")
    assert cli.main(["new", str(project)]) == 2
    assert (
        "is not an empty folder" in capsys.readouterr().err
        and (project / "unit.py").read_text() == "mine"
    )


def test_a_name_that_is_none_is_refused(tmp_path, capsys):
    assert cli.main(["new", str(tmp_path / "-x y")]) == 2
    assert "is no name for a project" in capsys.readouterr().err and list(tmp_path.iterdir()) == []


def test_a_stop_while_copying_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(
        new_project, "write_text", lambda *_: (_ for _ in ()).throw(ValueError("disk full"))
    )
    with pytest.raises(ValueError, match="disk full"):
        new_project.create_project(tmp_path / "my-project")
    assert list(tmp_path.iterdir()) == []


def test_the_command_says_what_is_next(tmp_path, capsys):
    assert (
        cli.main(["new", str(tmp_path / "p1")]) == 0
        and "fill in PREDICTION.md" in capsys.readouterr().out
    )


def test_its_own_test_passes_and_notices_a_layer_that_reads_the_future(project):
    shrink(project)
    done = run(project, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert done.returncode == 0 and "2 passed" in done.stdout, done.stdout
    unit = project / "unit.py"
    unit.write_text(
        unit.read_text(encoding="utf-8").replace("if self.causal:", "if False:"), encoding="utf-8"
    )
    done = run(project, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert done.returncode == 1 and "later" in done.stdout, done.stdout


def test_its_own_test_is_of_the_layer_that_runs_and_asks_whether_it_is_causal(project):
    """A layer that does not say that it is causal is not asked for leaks; one with options is tested with them."""
    shrink(project)
    unit = project / "unit.py"
    text = unit.read_text(encoding="utf-8")
    unit.write_text(
        text.replace("self.dim, self.causal = dim, causal", "self.dim = dim").replace(
            "self.causal", "True"
        )
    )
    done = run(project, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert done.returncode == 1 and "self.causal = causal" in done.stdout, done.stdout
    text = text.replace("if self.causal:", "if self.causal and not self.look:").replace(
        "expansion=2", "expansion=2, look=0"
    )
    unit.write_text(
        text.replace("super().__init__()", "super().__init__()\n        self.look = look"),
        encoding="utf-8",
    )
    settings = project / "settings.py"
    settings.write_text(
        settings.read_text(encoding="utf-8")
        + "MODELS['mine'] = replace(MODELS['mine'], unit_options={'look': True})\n",
        encoding="utf-8",
    )
    done = run(project, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert done.returncode == 1 and "later" in done.stdout, done.stdout


def test_the_grid_waits_for_the_prediction(project):
    done = run(project, "grid.py")
    assert done.returncode == 1 and "PREDICTION.md still has 4 blanks" in done.stderr
    assert not (project / "results").exists()


def rows_of(project):
    """The stored runs as (model, rate, updates, seed), in order."""
    path = project / "results" / "project.json"
    rows = json.loads(path.read_text(encoding="utf-8"))["runs"] if path.exists() else []
    return [(row["arm"], row["rate"], row["steps"], row["seed"]) for row in rows]


def test_a_killed_grid_goes_on_and_writes_the_table(project, grid_of, monkeypatch):
    grid = grid_of()
    first = subprocess.Popen(
        [sys.executable, "grid.py"],
        cwd=project,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.time() + 120
    while not rows_of(project) and time.time() < deadline:
        time.sleep(0.05)
    first.send_signal(signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
    first.wait()
    before = rows_of(project)
    assert before
    said = call(grid, monkeypatch, "table")
    assert "\n" not in said and "missing: " in said and rows_of(project) == before
    done = run(project, "grid.py")
    assert done.returncode == 0, done.stderr
    after = rows_of(project)  # two trials of the second model, and two seeds of both
    assert after[: len(before)] == before and len(after) == len(set(after)) == 2 + 4
    assert call(grid, monkeypatch, "table") is None
    readme = (project / "README.md").read_text(encoding="utf-8")
    rows = [line for line in readme.splitlines() if line.startswith(("| baseline", "| mine"))]
    assert len(rows) == 2 and "No run is finished" not in readme
    stored = json.loads((project / "results" / "project.json").read_text(encoding="utf-8"))["runs"]
    scores = [row["measures"]["bits_per_byte"] for row in stored if row["arm"] == "baseline"]
    assert f"| {sum(scores) / 2:.3f} | - |" in rows[0] and "count it" in rows[1] and "±" in rows[1]

    import nbclient
    import nbformat

    page = nbformat.read(project / "analysis.ipynb", as_version=4)
    nbclient.NotebookClient(page, timeout=120).execute(cwd=str(project))
    assert "6 finished runs" in page.cells[1].outputs[0].text
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


OF_A_PROJECT = ("grid", "settings", "unit", "helper", "mylayers")


@pytest.fixture
def grid_of(project, monkeypatch, capsys):
    """The grid of the project as it stands now, imported anew: ``grid_of(settings="SEEDS = [0]")`` adds lines first."""
    monkeypatch.syspath_prepend(str(project))
    monkeypatch.chdir(project)
    fill_in(project)
    shrink(project)

    def forget():
        for name in [name for name in sys.modules if name.split(".")[0] in OF_A_PROJECT]:
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


def codes(grid):
    """{model: the digest of all that its results belong to}."""
    return StoredRows(grid.declaration(), grid.RESULTS).codes


def test_a_changed_layer_model_or_training_begins_new_runs(project, grid_of, monkeypatch, capsys):
    """And the old ones stay and are not used; a comment or another place in the file changes nothing."""
    grid = grid_of("SEEDS, RATES = [0], {'baseline': [5e-3], 'mine': [5e-3]}")
    assert call(grid, monkeypatch) is None and len(rows_of(project)) == 2
    assert call(grid, monkeypatch, "table") is None and "not used" not in capsys.readouterr().out
    (project / "unit.py").write_text(
        "# a comment\n" + (project / "unit.py").read_text(encoding="utf-8")
    )
    assert call(grid_of(), monkeypatch, "table") is None

    changes = {
        "the layer": lambda: edit(project, "clamp(min=1)[..., None]", "clamp(min=2)[..., None]"),
        "the model": lambda: edit(project, "dim=16", "dim=18", "settings.py"),
        "the training": lambda: edit(project, "batch=2", "batch=3", "settings.py"),
    }
    # the baseline only where it was changed too
    wanted = {
        "the layer": 3,
        "the model": 5,
        "the training": 7,
    }
    for what, change in changes.items():
        change()
        table = (project / "README.md").read_text(encoding="utf-8")
        assert str(call(grid_of(), monkeypatch, "table")).startswith("missing: runs of "), what
        assert (project / "README.md").read_text(encoding="utf-8") == table, what
        assert (
            "stored runs are not used, since they were made by other code"
            in capsys.readouterr().out
        ), what
        assert call(grid_of(), monkeypatch) is None and len(rows_of(project)) == wanted[what], what


def test_a_changed_text_begins_new_runs(grid_of, tmp_path):
    text, found = tmp_path / "text.txt", []
    lines = f"TRAIN = replace(TRAIN, corpus={str(text)!r})"
    for name in ("had", "hat"):
        text.write_text(f"Anne {name} been " * 100)
        found.append(codes(grid_of(lines)))
    assert not {*found[0].values()} & {*found[1].values()}


def test_what_a_layer_imports_is_part_of_it(project, grid_of):
    (project / "helper.py").write_text("FACTOR = 1\n")
    edit(project, "from torch import nn\n", "from torch import nn\n\nfrom helper import FACTOR\n")
    edit(project, "return total / count", "return FACTOR * total / count")
    found = []
    for factor in (1, 2):
        (project / "helper.py").write_text(f"FACTOR = {factor}  # what it means\n")
        found.append(codes(grid_of()))
    assert found[0]["baseline"] == found[1]["baseline"] and found[0]["mine"] != found[1]["mine"]


IN_A_PACKAGE = {  # how a layer in mylayers/ brings a factor with it, and what it calls it
    "from mylayers.helper import FACTOR": "FACTOR",
    "from .helper import FACTOR": "FACTOR",
    "from . import helper": "helper.FACTOR",
    "import mylayers.helper": "mylayers.helper.FACTOR",
    "from mylayers.helper import scaled": "scaled()",
    "from mylayers.deep import below": "below.helper.FACTOR",
}


@pytest.mark.parametrize("line, name", IN_A_PACKAGE.items(), ids=IN_A_PACKAGE)
def test_a_layer_in_a_package_is_known_by_all_that_it_uses(project, grid_of, line, name):
    (project / "mylayers" / "deep").mkdir(parents=True)
    text = (project / "unit.py").read_text(encoding="utf-8")
    text = text.replace("from torch import nn\n", f"from torch import nn\n\n{line}\n")
    (project / "mylayers" / "layer.py").write_text(
        text.replace("return total", f"return {name} * total")
    )
    (project / "mylayers" / "__init__.py").write_text("")
    (project / "mylayers" / "deep" / "__init__.py").write_text("")
    (project / "mylayers" / "deep" / "below.py").write_text("from mylayers import helper\n")
    found = []
    for factor in (1, 2):
        (project / "mylayers" / "helper.py").write_text(
            f"FACTOR = {factor}\n\n\ndef scaled():\n    return FACTOR\n"
        )
        shutil.rmtree(project / "mylayers" / "__pycache__", ignore_errors=True)
        grid = grid_of(
            "from mylayers.layer import MyUnit; MODELS['mine'] = replace(MODELS['mine'], architecture=MyUnit)"
        )
        found.append(codes(grid)["mine"])
    assert found[0] != found[1]


def test_a_layer_whose_options_no_run_is_known_by_is_refused(project, grid_of, monkeypatch):
    grid = grid_of(
        "from functools import partial; from unit import MyUnit;"
        "MODELS['mine'] = replace(MODELS['mine'], architecture=partial(MyUnit, expansion=3))"
    )
    said = call(grid, monkeypatch)
    assert "functools.partial" in said and "give the class, and its options in unit_options" in said


def test_a_text_of_tokens_alone_is_scored_per_token(project, grid_of, monkeypatch, capsys):
    path = project / "grid.py"
    text = path.read_text(encoding="utf-8").replace(
        "from settings import",
        "import numpy as np\nfrom flash_tutorial.corpora import load_tokens\nfrom settings import",
        1,
    )
    tokens = "load_tokens(np.random.default_rng(0).integers(0, 65, 20_000), 65)"
    path.write_text(text.replace("load_corpus(TRAIN.corpus)", tokens), encoding="utf-8")
    grid = grid_of(
        "MODELS = {name: replace(config, vocab_size=66, tokens=65) for name, config in MODELS.items()};"
        "SEEDS, RATES = [0], {'baseline': [5e-3], 'mine': [5e-3]}"
    )
    assert call(grid, monkeypatch) is None and call(grid, monkeypatch, "table") is None
    page = (project / "README.md").read_text(encoding="utf-8")
    assert "| bits per token |" in page and "| mine | " in page
    shown, names = [], {}
    monkeypatch.setattr(
        "flash_course.figures.show", lambda figure, alt: shown.append(figure.axes[0].get_ylabel())
    )
    for cell in json.loads((project / "analysis.ipynb").read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
    assert "bits per token" in shown[0]


def test_two_layers_of_one_file_and_a_new_name_are_told_apart(project, grid_of):
    unit = project / "unit.py"
    text = unit.read_text(encoding="utf-8")
    unit.write_text(text + "\n\nclass Other(MyUnit):\n    pass\n", encoding="utf-8")
    before = codes(
        grid_of(
            "from unit import Other; MODELS['other'] = replace(MODELS['mine'], architecture=Other);"
            "RATES['other'] = [5e-3]"
        )
    )
    assert len({*before.values()}) == 3
    for path in (unit, project / "settings.py"):
        path.write_text(
            path.read_text(encoding="utf-8").replace("MyUnit", "Renamed"), encoding="utf-8"
        )
    assert codes(grid_of())["mine"] != before["mine"]


def test_a_stopped_run_whose_code_was_edited_is_not_gone_on_with(project, grid_of, monkeypatch):
    begun = []

    def stops(*args, **options):
        begun.append(options["out"].name)
        raise KeyboardInterrupt

    monkeypatch.setattr("flash_tutorial.experiments.runner.train", stops)
    for new in ("clamp(min=1)", "clamp(min=2)", "clamp(min=1)"):
        text = (project / "unit.py").read_text(encoding="utf-8")
        (project / "unit.py").write_text(re.sub(r"clamp\(min=\d\)", new, text), encoding="utf-8")
        assert (
            call(
                grid_of("MODELS.pop('baseline'); RATES.pop('baseline')" if not begun else ""),
                monkeypatch,
            )
            == 130
        )
    assert begun[0] == begun[2] != begun[1]


def test_files_that_are_edited_while_a_grid_runs_do_not_change_its_code(project, grid_of):
    grid = grid_of()
    stored = StoredRows(grid.declaration(), grid.RESULTS)
    before = dict(stored.codes)
    edit(project, "clamp(min=1)[..., None]", "clamp(min=2)[..., None]")
    assert stored.codes == before


# ---------------------------------------------------------------- every setting has an effect


# of each field of TrainConfig a value that is not the project's
OTHERS = dict(
    batch=4,
    length=31,
    warmup=1,
    clip=0.5,
    accumulate=2,
    weight_decay=0.5,
    dtype="float32",
    compile=True,
    steps=6,
    eval_bytes=400,
    eval_every=2,
    checkpoint_every=2,
    corpus="README.md",
    start_from="austen-flash",
    learning_rate=0.1,
    seed=3,
)


def test_no_field_of_TRAIN_is_forgotten():
    assert set(OTHERS) == {field.name for field in dataclasses.fields(TrainConfig)}


@pytest.mark.parametrize("name, value", OTHERS.items(), ids=OTHERS)
def test_every_field_of_TRAIN_has_an_effect_or_is_refused(
    project, grid_of, monkeypatch, name, value
):
    """It is what the runs are trained with, and the runs of another value are others."""
    before = grid_of()
    codes_before, steps_before = codes(before), before.declaration().steps
    grid = grid_of(f"TRAIN = replace(TRAIN, {name}={value!r})")
    if name in ("learning_rate", "seed"):
        said = call(grid, monkeypatch)
        assert (
            said
            == f"TRAIN has {name}={value!r} in settings.py: RATES and SEEDS say it, leave it out"
        )
        return
    assert (codes(grid), grid.declaration().steps) != (codes_before, steps_before)
    experiment = grid.declaration()
    given = experiment.settings_of(experiment.arms[1], 5e-3, 1, experiment.steps[0])
    assert getattr(given, name) == value and (given.learning_rate, given.seed) == (5e-3, 1)


def test_a_shorter_run_warms_up_for_the_same_share(grid_of):
    grid = grid_of("TRAIN = replace(TRAIN, steps=40, warmup=10)")
    assert [grid.settings_of(steps)["warmup"] for steps in (40, 20, 4, 3)] == [10, 5, 1, 0]


def test_the_other_settings_have_effects_too(grid_of):
    """MODELS, RATES, SEEDS and TUNING_STEPS: the runs that the grid asks for."""
    grid = grid_of(
        "SEEDS, TUNING_STEPS = [4, 6], 3; RATES = {'baseline': [1e-3], 'mine': [2e-3, 3e-3]}"
    )
    experiment = grid.declaration()
    assert experiment.seeds == (4, 6) and experiment.search.steps == 3
    assert [(arm.name, arm.rates) for arm in experiment.arms] == [
        ("baseline", (1e-3,)),
        ("mine", (2e-3, 3e-3)),
    ]


@pytest.mark.parametrize(
    "lines, words",
    [
        (
            "RATES.pop('mine')",
            r"RATES in settings.py has \['baseline'\]: expected rates for each of",
        ),
        ("RATES['mine'] = []", "RATES in settings.py"),
        ("SEEDS = []", r"SEEDS in settings.py is \[\]"),
        ("SEEDS = [1, 1]", "all different"),
        ("TUNING_STEPS = 0", "steps=0: expected"),
        ("SEEDS = [-1]", "seed=-1: expected"),
        ("RATES['mine'] = [-1.0]", "learning_rate=-1.0: expected"),
        ("TRAIN = replace(TRAIN, eval_bytes=0)", "eval_bytes=0"),
    ],
)
def test_settings_that_cannot_be_are_one_line(grid_of, monkeypatch, lines, words):
    said = call(grid_of(lines), monkeypatch)
    assert re.match(f".*{words}", said) and "\n" not in said


# ---------------------------------------------------------------- the table


def test_a_run_that_diverges_is_a_row_and_is_not_tried_again(project, grid_of, monkeypatch, capsys):
    """A layer whose loss is no number with seed 1, and one that never has any."""
    broken = (
        "        if torch.initial_seed() == self.breaks_at:\n            x = x * float('nan')\n"
    )
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
    assert "'diverged_at_step': 1" in capsys.readouterr().out
    readme = project / "README.md"
    assert call(grid, monkeypatch, "table") is None
    rows = {
        line.split("|")[1].strip(): line
        for line in readme.read_text(encoding="utf-8").splitlines()
        if "|" in line
    }
    assert ", diverged at step 4 |  | - |" in rows["one"]
    assert "diverged at step 1, 7." in rows["all"]
    assert "±" in rows["fine"] and "diverged" not in rows["fine"]
    monkeypatch.setattr("flash_tutorial.experiments.runner.train", None)  # nothing is left to train
    assert call(grid, monkeypatch) is None


def test_one_seed_is_a_table_without_intervals(project, grid_of, monkeypatch):
    grid = grid_of("SEEDS = [0]")
    assert call(grid, monkeypatch) is None and call(grid, monkeypatch, "table") is None
    readme = (project / "README.md").read_text(encoding="utf-8")
    rows = [line for line in readme.splitlines() if line.startswith(("| baseline", "| mine"))]
    assert (
        len(rows) == 2
        and "±" not in readme.split("<!-- table")[1]
        and "1 seed, no interval" in readme
    )
    assert "(not settled)" in rows[1] and re.search(
        r"\| [+-]\d\.\d{3} \(not settled\) \|$", rows[1]
    )


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


def test_a_stop_is_one_line(grid_of, monkeypatch, capsys):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    grid = grid_of()
    monkeypatch.setattr("flash_tutorial.experiments.runner.train", stopped)
    assert call(grid, monkeypatch) == 130
    assert capsys.readouterr().err == "stopped: the same command goes on from here\n"


# ---------------------------------------------------------------- a folder that cannot be written


@pytest.mark.parametrize("where", ["copy", "text", "rename"])
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, monkeypatch, capsys, where):
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def refuse(*_, **__):
        raise full

    if where == "copy":
        monkeypatch.setattr(
            new_project.shutil, "copytree", lambda a, b, ignore: _copytree_that_fails(b, full)
        )
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
    raise shutil.Error(
        [("a.py", str(target / "a.py"), str(error)), ("b.py", str(target / "b.py"), str(error))]
    )
