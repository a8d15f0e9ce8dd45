"""``flash-tutorial new``: the folder is whole, its test and its grid run, and a grid that was killed goes on."""

import dataclasses
import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import nbclient
import nbformat
import pytest
from small_project import call, edit, read, rows_of, run, shrink, table_rows, write

from flash_course import cli, new_project
from flash_course.project_settings import SAID_BY
from flash_tutorial.config import TrainConfig
from flash_tutorial.experiments import StoredRows

# ---------------------------------------------------------------- the folder


def test_the_folder_has_no_blank_left_and_its_name(project):
    for path in project.iterdir():
        assert "{{" not in path.read_text(encoding="utf-8").replace("{{'", ""), path.name
    assert read(project, "README.md").startswith("# my-project\n")


def test_git_takes_the_finished_runs_and_not_their_checkpoints(project):
    """Who marks a project sees machine, settings and losses of each run, and makes the table from them."""
    checkpoint = "runs/project/mine-0.01/step_4/model.safetensors"
    for name in ("results/project.json", "results/project.lock", checkpoint):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text("")
    for words in ("init -q", "add -A"):
        subprocess.run(["git", *words.split()], cwd=project, check=True)
    listed = subprocess.check_output(["git", "ls-files", "runs", "results"], cwd=project, text=True)
    assert listed.split() == ["results/project.json"]


def test_an_existing_folder_is_left_alone_and_a_name_that_is_none_refused(project, capsys):
    write(project, "unit.py", "mine")
    assert cli.main(["new", str(project)]) == 2
    assert "is not an empty folder" in capsys.readouterr().err
    assert read(project, "unit.py") == "mine"
    assert cli.main(["new", str(project.parent / "-x y")]) == 2
    assert "is no name for a project" in capsys.readouterr().err
    assert list(project.parent.iterdir()) == [project]


@pytest.mark.parametrize("where", ["copy", "text", "rename"])
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, monkeypatch, capsys, where):
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def refuse(*_, **__):
        raise full

    def copytree(source, target, ignore):
        target.mkdir()
        names = ("a.py", "b.py")
        raise shutil.Error([(name, str(target / name), str(full)) for name in names])

    if where == "copy":
        monkeypatch.setattr(new_project.shutil, "copytree", copytree)
    elif where == "text":
        monkeypatch.setattr("flash_tutorial.files.os.fsync", refuse)
    else:
        monkeypatch.setattr(new_project.os, "replace", refuse)
    assert cli.main(["new", str(tmp_path / "my-project")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "No space left on device" in said and "free some space" in said
    assert "[" not in said and ".part" not in said and list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------- its own test


def own_test(project):
    return run(project, "-m", "pytest", "-q", "-p", "no:cacheprovider")


@pytest.mark.nightly
def test_its_own_test_passes_and_notices_a_layer_that_reads_the_future(project):
    shrink(project)
    done = own_test(project)
    assert done.returncode == 0 and "2 passed" in done.stdout, done.stdout
    edit(project, "if self.causal:", "if False:")
    done = own_test(project)
    assert done.returncode == 1 and "later" in done.stdout, done.stdout


@pytest.mark.nightly
def test_its_own_test_is_of_the_layer_that_runs_and_asks_whether_it_is_causal(project):
    """A layer that does not say that it is causal is not asked for leaks; one with options is tested with them."""
    shrink(project)
    text = read(project, "unit.py")
    bare = text.replace("self.dim, self.causal = dim, causal", "self.dim = dim")
    write(project, "unit.py", bare.replace("self.causal", "True"))
    done = own_test(project)
    assert done.returncode == 1 and "self.causal = causal" in done.stdout, done.stdout
    write(project, "unit.py", text)
    edit(project, "if self.causal:", "if self.causal and not self.look:")
    edit(project, "expansion=2", "expansion=2, look=0")
    edit(project, "super().__init__()", "super().__init__()\n        self.look = look")
    with_option = "MODELS['mine'] = replace(MODELS['mine'], unit_options={'look': True})"
    write(project, "settings.py", f"{read(project, 'settings.py')}{with_option}\n")
    done = own_test(project)
    assert done.returncode == 1 and "later" in done.stdout, done.stdout


# ---------------------------------------------------------------- the grid


def test_the_grid_waits_for_the_prediction(project, grid_of, monkeypatch):
    grid = grid_of()
    write(project, "PREDICTION.md", "(write here) (write here)")
    assert "PREDICTION.md still has 2 blanks" in call(grid, monkeypatch)
    assert not (project / "results").exists()


def executed(project):
    page = nbformat.read(project / "analysis.ipynb", as_version=4)
    nbclient.NotebookClient(page, timeout=120).execute(cwd=str(project))
    return [cell.outputs for cell in page.cells if cell.cell_type == "code"]


@pytest.mark.nightly
def test_a_killed_grid_goes_on_and_writes_the_table(project, grid_of, monkeypatch):
    grid = grid_of()
    quiet = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    first = subprocess.Popen([sys.executable, "grid.py"], cwd=project, **quiet)
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
    rows = table_rows(project)
    stored = json.loads(read(project, "results/project.json"))["runs"]
    scores = [row["measures"]["bits_per_byte"] for row in stored if row["arm"] == "baseline"]
    assert f"| {sum(scores) / 2:.3f} | - |" in rows["baseline"]
    assert "±" in rows["mine"]
    text, figure = executed(project)
    assert "6 finished runs" in text[0].text
    assert any("image/png" in output.get("data", {}) for output in figure)


@pytest.mark.nightly
def test_the_page_of_runs_shows_what_a_fresh_project_prints(project):
    page = nbformat.read(project / "analysis.ipynb", as_version=4)
    stored = [cell.outputs for cell in page.cells if cell.cell_type == "code"]
    assert executed(project) == stored != [[], []]


def test_the_table_of_one_seed_keeps_the_rest_of_the_page(project, grid_of, monkeypatch, capsys):
    """And runs of other settings are not used, but kept."""
    grid = grid_of("SEEDS, RATES = [0], {'baseline': [5e-3], 'mine': [5e-3]}")
    assert call(grid, monkeypatch) is None and len(rows_of(project)) == 2
    edit(project, "## What did not work", "## Mine\n\n## What did not work", "README.md")
    assert call(grid, monkeypatch, "table") is None and call(grid, monkeypatch, "table") is None
    assert "not used" not in capsys.readouterr().out
    text = read(project, "README.md")
    assert text.count("## Mine") == 1 and text.count("| baseline |") == 1
    assert "±" not in text.split("<!-- table")[1] and "1 seed, no interval" in text
    assert re.search(r"\| [+-]\d\.\d{3} \(not settled\) \|$", table_rows(project)["mine"])
    edit(project, "clamp(min=1)[..., None]", "clamp(min=2)[..., None]")
    assert call(grid_of(), monkeypatch, "table").startswith("missing: runs of mine")
    assert "1 stored runs are not used, since they were made" in capsys.readouterr().out
    assert read(project, "README.md") == text
    assert call(grid_of(), monkeypatch) is None and len(rows_of(project)) == 3
    edit(project, "<!-- end of table -->", "", "README.md")
    said = call(grid_of(), monkeypatch, "table")
    assert said.startswith("README.md has lost the marks") and "\n" not in said


def test_a_stopped_run_whose_code_was_edited_is_not_gone_on_with(
    project, grid_of, monkeypatch, capsys
):
    begun = []

    def stops(*args, **options):
        begun.append(options["out"].name)
        raise KeyboardInterrupt

    monkeypatch.setattr("flash_tutorial.experiments.runner.train", stops)
    grid_of("MODELS.pop('baseline'); RATES.pop('baseline')")
    for new in ("clamp(min=1)", "clamp(min=2)", "clamp(min=1)"):
        write(project, "unit.py", re.sub(r"clamp\(min=\d\)", new, read(project, "unit.py")))
        assert call(grid_of(), monkeypatch) == 130
        assert capsys.readouterr().err == "stopped: the same command goes on from here\n"
    assert begun[0] == begun[2] != begun[1]


def test_a_text_of_tokens_alone_is_scored_per_token(project, grid_of, monkeypatch):
    made = (
        "import numpy as np\nfrom flash_tutorial.corpora import load_tokens\nfrom settings import"
    )
    tokens = "load_tokens(np.random.default_rng(0).integers(0, 65, 20_000), 65)"
    edit(project, "from settings import", made, "grid.py")
    edit(project, "load_corpus(TRAIN.corpus)", tokens, "grid.py")
    grid = grid_of(
        "MODELS = {name: replace(config, vocab_size=66, tokens=65) for name, config in MODELS.items()};"
        "SEEDS, RATES = [0], {'baseline': [5e-3], 'mine': [5e-3]}"
    )
    assert call(grid, monkeypatch) is None and call(grid, monkeypatch, "table") is None
    assert "| bits per token |" in read(project, "README.md") and "mine" in table_rows(project)


# ---------------------------------------------------------------- what a result belongs to


def codes(grid):
    """{model: the digest of all that its results belong to}."""
    return StoredRows(grid.declaration(), grid.RESULTS).codes


BOTH = {"baseline", "mine"}


@pytest.mark.parametrize(
    "old, new, name, changed",
    [
        ("import torch.nn", "# a comment\nimport torch.nn", "unit.py", set()),
        ("clamp(min=1)[..., None]", "clamp(min=2)[..., None]", "unit.py", {"mine"}),
        ("dim=16", "dim=18", "settings.py", BOTH),
        ("batch=2", "batch=3", "settings.py", BOTH),
    ],
)
def test_a_changed_layer_model_or_training_begins_new_runs(
    project, grid_of, old, new, name, changed
):
    grid = grid_of()
    stored = StoredRows(grid.declaration(), grid.RESULTS)
    before = dict(stored.codes)
    edit(project, old, new, name)
    assert stored.codes == before, "files that are edited while a grid runs change nothing"
    after = codes(grid_of())
    assert {model for model in BOTH if before[model] != after[model]} == changed


USED = {  # how a layer brings a factor with it, and what it calls it
    "from helper import FACTOR": "FACTOR",
    "from mylayers.helper import FACTOR": "FACTOR",
    "from .helper import FACTOR": "FACTOR",
    "from mylayers.helper import scaled": "scaled()",
    "from mylayers.deep import below": "below.helper.FACTOR",
}


@pytest.mark.parametrize("line, name", USED.items(), ids=USED)
def test_a_layer_is_known_by_all_that_it_uses(project, grid_of, line, name):
    layers = project / "mylayers"
    (layers / "deep").mkdir(parents=True)
    edit(project, "from torch import nn\n", f"from torch import nn\n\n{line}\n")
    edit(project, "return total", f"return {name} * total")
    (project / "unit.py").rename(layers / "layer.py")
    write(project, "unit.py", "from mylayers.layer import MyUnit\n")
    write(layers, "__init__.py", "")
    write(layers, "deep/__init__.py", "")
    write(layers, "deep/below.py", "from mylayers import helper\n")
    found = []
    for factor in (1, 2):
        for folder in (project, layers):
            text = f"FACTOR = {factor}\n\n\ndef scaled():\n    return FACTOR\n"
            write(folder, "helper.py", text)
        shutil.rmtree(layers / "__pycache__", ignore_errors=True)
        found.append(codes(grid_of()))
    assert found[0]["mine"] != found[1]["mine"] and found[0]["baseline"] == found[1]["baseline"]


# ---------------------------------------------------------------- every setting has an effect

# of each field of TrainConfig a value that is not the project's
OTHERS = dict(batch=4, length=31, warmup=1, clip=0.5, accumulate=2, weight_decay=0.5, compile=True)
OTHERS |= dict(
    optimizer="muon", dtype="float32", steps=600, eval_bytes=400, eval_every=2, checkpoint_every=2
)
OTHERS |= dict(corpus="README.md", start_from="austen-flash", learning_rate=0.1, seed=3)


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(TrainConfig)])
def test_every_field_of_TRAIN_has_an_effect_or_is_refused(project, grid_of, monkeypatch, name):
    """It is what the runs are trained with, and the runs of another value are others."""
    value = OTHERS[name]
    before = codes(grid_of())
    grid = grid_of(f"TRAIN = replace(TRAIN, {name}={value!r})")
    if name in SAID_BY:
        said = call(grid, monkeypatch)
        assert f"TRAIN has {name}={value!r}" in said and f"{SAID_BY[name]} says it" in said
        return
    assert codes(grid) != before
    experiment = grid.declaration()
    given = experiment.settings_of(experiment.arms[1], 5e-3, 1, 4)
    assert getattr(given, name) == value and (given.learning_rate, given.seed) == (5e-3, 1)


def test_the_other_settings_have_effects_too(grid_of):
    """RATES, SEEDS, BUDGET, TUNING and WARMUP; each run warms up for the same share."""
    grid = grid_of(
        "SEEDS, BUDGET, TUNING, WARMUP = [4, 6], {'updates': 40}, 0.1, 0.25;"
        "RATES = {'baseline': [1e-3], 'mine': [2e-3, 3e-3]}"
    )
    experiment = grid.declaration()
    lengths = {(arm.steps, arm.search.steps) for arm in experiment.arms}
    assert experiment.seeds == (4, 6) and lengths == {((40,), 4)}
    rates = {arm.name: arm.rates for arm in experiment.arms}
    assert rates == {"baseline": (1e-3,), "mine": (2e-3, 3e-3)}
    assert [grid.settings_of(steps)["warmup"] for steps in (40, 20, 4, 3)] == [10, 5, 1, 0]


PARTIAL = (
    "from functools import partial; from unit import MyUnit;"
    "MODELS['mine'] = replace(MODELS['mine'], architecture=partial(MyUnit, expansion=3))"
)


@pytest.mark.parametrize(
    "lines, words",
    [
        ("RATES.pop('mine')", r"RATES in settings.py has \['baseline'\]: expected rates for each"),
        ("RATES['mine'] = []", "RATES in settings.py"),
        ("RATES['mine'] = [-1.0]", "learning_rate=-1.0: expected"),
        ("SEEDS = []", r"SEEDS in settings.py is \[\]"),
        ("SEEDS = 3", "SEEDS in settings.py is 3: expected"),
        ("BUDGET = {'updates': 9.5}", "BUDGET in settings.py is .*9.5"),
        ("SEEDS = [1, 1]", "all different"),
        ("SEEDS = [-1]", "seed=-1: expected"),
        ("TUNING = 0", "TUNING in settings.py is 0: expected a share"),
        ("WARMUP = 1", "WARMUP in settings.py is 1: expected a share"),
        ("BUDGET = 300", "BUDGET in settings.py is 300: expected one kind and its amount"),
        ("BUDGET = {'hours': 1}", "BUDGET in settings.py is {'hours': 1}: expected one kind"),
        ("BUDGET = {'updates': 9, 'flops': 1e9}", "BUDGET in settings.py is .*: expected one kind"),
        ("BUDGET = {'seconds': 0}", "BUDGET in settings.py is {'seconds': 0}: expected one kind"),
        ("BUDGET = {'flops': 1e3}", "BUDGET in settings.py: .* holds no update of baseline"),
        ("BUDGET = {'updates': 1}", "BUDGET in settings.py: 0.5 of .* holds no update of baseline"),
        ("BUDGET = {'seconds': 1e-6}", "5e-07 seconds hold no update of mine, .*: give more"),
        (
            "MODELS['mine'] = 'austin'",
            "MODELS in settings.py has 'austin' .*which has: austen-flash",
        ),
        ("MODELS['mine'] = 'results'", "MODELS in settings.py has 'results' for 'mine': "),
        (
            "MODELS['mine'] = 5",
            "MODELS in settings.py has 5 for 'mine': expected a ModelConfig, or",
        ),
        ("TRAIN = replace(TRAIN, eval_bytes=0)", "eval_bytes=0"),
        (PARTIAL, r"functools\.partial.*give the class, and its options in unit_options"),
    ],
)
def test_settings_that_cannot_be_are_one_line(grid_of, monkeypatch, lines, words):
    said = call(grid_of(lines), monkeypatch)
    assert re.match(f".*{words}", said) and "\n" not in said
