"""A project's comparisons are fair: equal updates, seconds or FLOPs, rates that were tuned, a start that is known."""

import json

import pytest
from small_project import call, edit, read, rows_of, table_rows, write

from flash_tutorial import LanguageModel, ModelConfig
from flash_tutorial.experiments import StoredRows, runner
from flash_tutorial.experiments.flops import flops_of_rows

SECONDS = "BUDGET, RATES = {'seconds': 0.4}, {'baseline': [5e-3], 'mine': [5e-3, 1e-2]}"


def lengths(project):
    """{model: updates of its runs, shortest first}; what was timed is no run."""
    found = {}
    for name, _, steps, _ in rows_of(project):
        if name:
            found.setdefault(name, set()).add(steps)
    return {name: sorted(steps) for name, steps in found.items()}


def cells_of(project):
    """{model: the cells of its row}."""
    rows = table_rows(project).items()
    return {name: [cell.strip() for cell in row.strip("| ").split("|")] for name, row in rows}


# ---------------------------------------------------------------- FLOPs


def test_of_a_budget_of_flops_each_model_has_the_updates_that_it_holds(
    project, grid_of, monkeypatch
):
    grid = grid_of()
    model = LanguageModel(grid.MODELS["mine"])
    of_mine = flops_of_rows(model, grid.TRAIN.batch, grid.TRAIN.length)
    grid = grid_of(f"SEEDS, BUDGET = [0], {{'flops': {7.5 * of_mine}}}")
    of_baseline = flops_of_rows(grid.at_start("baseline"), grid.TRAIN.batch, grid.TRAIN.length)
    held = int(7.5 * of_mine / of_baseline)
    assert held != 7
    assert call(grid, monkeypatch) is None and call(grid, monkeypatch, "table") is None
    assert lengths(project) == {"baseline": [held], "mine": [3, 7]}
    assert float(cells_of(project)["mine"][5]) == pytest.approx(7 * of_mine, rel=0.01)
    assert "FLOPs; 1 seed" in read(project, "README.md")


def test_a_layer_with_a_dense_layer_more_has_more_flops(project, grid_of):
    before = grid_of().counts("mine")
    edit(
        project, "self.out_proj = nn", "self.more = nn.Linear(dim, dim)\n        self.out_proj = nn"
    )
    edit(project, "return x + self", "x = self.more(x)\n        return x + self")
    parameters, flops = grid_of().counts("mine")
    weights = 16 * 16
    assert parameters - before[0] == weights + 16
    assert flops - before[1] == 6 * weights * 2 * 32  # of 2 windows of 32


# ---------------------------------------------------------------- seconds


@pytest.fixture
def seconds_of_an_update(monkeypatch):
    """Updates take what they are said to take."""

    def timed(**seconds):
        found = [{name: [taken] for name, taken in seconds.items()}]
        monkeypatch.setattr(runner, "rounds_in_turn", lambda *_, **__: found)

    return timed


def test_of_a_budget_of_seconds_each_model_has_the_updates_that_were_timed(
    project, grid_of, monkeypatch, seconds_of_an_update
):
    """The runs that choose the rate have their share; the table shows what runs took, and knows its rows elsewhere."""
    seconds_of_an_update(baseline=0.1, mine=0.05)
    assert call(grid_of(SECONDS), monkeypatch) is None
    assert lengths(project) == {"baseline": [4], "mine": [4, 8]}
    seconds_of_an_update(baseline=9, mine=9)
    grid = grid_of()
    assert call(grid, monkeypatch) is None and call(grid, monkeypatch, "table") is None
    assert all(row["arm"] for row in grid.finished()), "a page of runs shows no timing"
    assert lengths(project) == {"baseline": [4], "mine": [4, 8]}
    rows = json.loads(read(project, "results/project.json"))["runs"]
    full = [row for row in rows if row["arm"] == "mine" and row["steps"] == 8]
    mean = sum(row["measures"]["seconds"] for row in full) / 2
    assert [row["seed"] for row in full] == [0, 1]
    assert cells_of(project)["mine"][3:5] == ["8", f"{mean:.1f}"]
    assert "Budget of a run: 0.4 seconds" in read(project, "README.md")


def test_a_layer_that_changed_is_timed_anew_beside_the_others(
    project, grid_of, seconds_of_an_update
):
    """What was timed later is counted in proportion to the baseline; a machine that is half as fast changes nothing."""

    def updates(**seconds):
        seconds_of_an_update(**seconds)
        experiment = grid_of(SECONDS).declaration()
        rows = StoredRows(experiment, "results")
        runner.time_updates(experiment, rows)
        return [runner.updates_in(60, experiment, arm, rows) for arm in experiment.arms]

    assert updates(baseline=0.5, mine=2.0) == [120, 30]
    assert updates(baseline=5.0, mine=1.0) == [120, 30]
    edit(project, "clamp(min=1)[..., None]", "clamp(min=2)[..., None]")
    assert updates(baseline=1.0, mine=3.0) == [120, 40]


def test_what_is_timed_is_an_update_of_the_model(project, grid_of):
    """In training, also where the model comes from a folder."""
    save(project / "start")
    experiment = grid_of(f"{SECONDS}; {tuned('start')}").declaration()
    made = []
    (arm,) = experiment.arms
    of_arm = runner.built

    def built(*given):
        made.append(of_arm(*given))
        return made[-1]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(runner, "built", built)
        update = runner.update_of(experiment, arm)
    before = made[0].head.weight.clone()
    update()
    assert made[0].training and not before.equal(made[0].head.weight)


# ---------------------------------------------------------------- rates


def trial(rate, score):
    row = dict(arm="mine", settings={}, rate=rate, seed=100, steps=2)
    return row | {"measures": {"bits_per_byte": score}}


@pytest.mark.parametrize(
    "scores, said",
    [
        ([2.0, 1.0, 3.0], "0.002"),
        ([1.0, 2.0, 3.0], "0.001, at the edge: widen RATES"),
        ([3.0, 2.0, 1.0], "0.004, at the edge: widen RATES"),
    ],
)
def test_a_rate_at_the_edge_of_those_that_were_tried_is_marked(grid_of, scores, said):
    grid = grid_of("RATES['mine'] = [1e-3, 2e-3, 4e-3]")
    rows = [trial(rate, score) for rate, score in zip([1e-3, 2e-3, 4e-3], scores, strict=True)]
    experiment = grid.declaration()
    assert grid.rate_of(experiment, "mine", rows) == said
    assert grid.rate_of(experiment, "baseline", rows) == "0.005, not tuned"


def test_another_share_for_the_trials_leaves_the_table_to_the_whole_runs(
    project, grid_of, monkeypatch
):
    assert call(grid_of("SEEDS = [0]"), monkeypatch) is None
    assert call(grid_of("TUNING = 0.75"), monkeypatch) is None
    grid = grid_of("TUNING = 0.5")
    assert call(grid, monkeypatch, "table") is None
    assert lengths(project)["mine"] == [2, 3, 4]
    assert {row[3] for name, row in cells_of(project).items() if name in grid.MODELS} == {"4"}


def test_the_table_says_if_its_runs_were_made_on_two_machines(project, grid_of, monkeypatch):
    grid = grid_of("SEEDS, RATES = [0], {'baseline': [5e-3], 'mine': [5e-3]}")
    assert call(grid, monkeypatch) is None and call(grid, monkeypatch, "table") is None
    assert "machines" not in read(project, "README.md").split("<!-- table")[1].split("<!--")[0]
    text = read(project, "results/project.json").replace('"threads": ', '"threads": 9', 1)
    write(project, "results/project.json", text)
    assert call(grid, monkeypatch, "table") is None
    assert "made on 2 machines, whose seconds do not compare" in read(project, "README.md")


# ---------------------------------------------------------------- a trained start


def save(folder, **more):
    model = LanguageModel(ModelConfig("flash", dim=16, depth=1, qk_dim=8, chunk_size=8, **more))
    model.save_pretrained(folder)
    return model


def started_with(grid, monkeypatch):
    """The model that the first run was handed, and the settings."""
    begun = []

    def stops(model, config, **options):
        begun.append((model, config))
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "train", stops)
    assert call(grid, monkeypatch) == 130
    return begun[0]


def tuned(start):
    return f"MODELS, RATES = {{'tuned': {start!r}}}, {{'tuned': [1e-3]}}"


def test_a_run_starts_from_the_weights_of_the_folder(project, grid_of, monkeypatch):
    there = save(project / "start")
    grid = grid_of(tuned("start"))
    model, config = started_with(grid, monkeypatch)
    assert all(value.equal(model.state_dict()[name]) for name, value in there.state_dict().items())
    assert config.learning_rate == 1e-3
    model.head.weight.data.zero_()  # what one run learns the next one does not know
    assert grid.at_start("tuned").head.weight.equal(there.head.weight)


def test_a_run_starts_from_a_model_of_the_package(grid_of, monkeypatch):
    grid = grid_of(tuned("recall-local"))
    there = LanguageModel.from_pretrained("recall-local").state_dict()
    model = grid.at_start("tuned")
    assert all(value.equal(model.state_dict()[name]) for name, value in there.items())


def test_other_weights_begin_new_runs_and_another_folder_of_the_same_does_not(project, grid_of):
    save(project / "a").save_pretrained(project / "b")
    save(project / "c")
    found = []
    for folder in ("a", "b", "c"):
        grid = grid_of(tuned(folder))
        found.append(StoredRows(grid.declaration(), grid.RESULTS).codes["tuned"])
    assert found[0] == found[1] != found[2]


def test_a_trained_layer_of_ones_own_is_given_with_its_class(project, grid_of, monkeypatch):
    grid = grid_of()
    made = grid.at_start("mine")
    made.save_pretrained(project / "own")
    assert "was built from the class unit.MyUnit" in call(grid_of(tuned("own")), monkeypatch)
    line = (
        "from flash_tutorial.experiments import Trained; MODELS['tuned'] = Trained('own', MyUnit)"
    )
    found = grid_of(line).at_start("tuned")
    assert all(value.equal(found.state_dict()[name]) for name, value in made.state_dict().items())
    before = StoredRows(grid_of().declaration(), "results").codes["tuned"]
    edit(project, "clamp(min=1)[..., None]", "clamp(min=2)[..., None]")
    assert StoredRows(grid_of().declaration(), "results").codes["tuned"] != before
