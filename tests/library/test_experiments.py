"""The runner of experiments: which runs it makes, what it stores, what it refuses, and the
intervals.
"""

import importlib.util
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from flash_tutorial import ModelConfig
from flash_tutorial.experiments import (
    Arm,
    Compare,
    Experiment,
    Search,
    StoredRows,
    matching,
    measured,
    paired,
    repeated,
    report,
    run,
    runner,
    stored_rows,
    welch,
)
from flash_tutorial.experiments.comparisons import compared, reported
from flash_tutorial.experiments.intervals import student_t
from flash_tutorial.experiments.rates import rates_of
from flash_tutorial.experiments.tables import numbers
from flash_tutorial.training import Diverged, devices, train
from flash_tutorial.training.checkpoints import last_checkpoint

TEXT = "\0".join("It is a truth universally acknowledged. " * 8 for _ in range(6))


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def silent(*_, **__):
    pass


def go(experiment, folder="results"):
    """Make the runs that are missing; all rows that are stored then."""
    run(experiment, folder, silent)
    return StoredRows(experiment, folder).load()


class Made:
    """What makes a run, without any training: the score is the rate's distance from the best one,
    and the seed's.
    """

    def __init__(self, best):
        self.best, self.runs = best, []

    def __call__(self, arm, rate, seed, steps):
        self.runs.append((arm.name, rate, seed, steps))
        return {"bits_per_byte": 2 + abs(rate / self.best - 1) + seed / 100}


def pretended(made, **more):
    """Two arms with a grid; ``made`` makes the runs."""
    options = dict(
        arms=(Arm("ours", rates=(1e-2, 2e-2)), Arm("theirs", rates_of=("ours",))),
        steps=(100,),
        seeds=(0, 1),
        search=Search(steps=10, seeds=(7,)),
        make=made,
        compare=(Compare("ours", "theirs", "gain", paired=True),),
    )
    return Experiment("tried", "Is it?", **options | more)


# ---------------------------------------------------------------- which runs are made
def test_the_grid_is_widened_until_the_best_rate_lies_inside():
    made = Made(best=8e-2)
    go(pretended(made))
    assert [rate for _, rate, seed, _ in made.runs if seed == 7] == [1e-2, 2e-2, 4e-2, 8e-2, 0.16]
    assert {rate for _, rate, seed, _ in made.runs if seed != 7} == {8e-2}


def test_a_search_that_was_stopped_ends_at_the_same_rate():
    class Stopped(Made):
        def __call__(self, arm, rate, seed, steps):
            if rate == 8e-2:
                raise KeyboardInterrupt
            return super().__call__(arm, rate, seed, steps)

    with pytest.raises(KeyboardInterrupt):
        go(pretended(Stopped(best=8e-2)))
    rows = go(pretended(Made(best=8e-2)))
    assert rates_of(pretended(None), Arm("ours", rates=(1e-2, 2e-2)), rows) == [8e-2]
    assert {row["rate"] for row in rows if row["seed"] == 7} == {1e-2, 2e-2, 4e-2, 8e-2, 0.16}


def test_the_search_ends_at_most_and_says_that_the_best_is_at_the_edge():
    said = []
    experiment = pretended(Made(best=1.0), search=Search(steps=10, seeds=(7,), most=3))
    run(experiment, "results", lambda line, **_: said.append(line))
    assert "ours: the best rate is 0.04, at the edge of the 3 that were tried" in said


def test_a_finished_run_is_stored_at_once_and_never_made_again():
    made = Made(best=2e-2)

    def fails_at_last(arm, rate, seed, steps):
        if (arm.name, seed) == ("theirs", 1):
            raise RuntimeError("the machine goes away")
        return made(arm, rate, seed, steps)

    with pytest.raises(RuntimeError):
        go(pretended(fails_at_last, same_code=("x",)))
    before = list(made.runs)
    path = Path("results/tried.json")
    text = path.read_text(encoding="utf-8").replace('"code": "', '"code": "x", "was": "')
    path.write_text(text, encoding="utf-8")
    go(pretended(made, same_code=("x",)))
    assert made.runs == [*before, ("theirs", 2e-2, 1, 100)]


@pytest.mark.parametrize("steps", [10, 100], ids=["short trials", "trials of the whole length"])
def test_trials_are_not_reported(steps):
    experiment = pretended(Made(best=2e-2), search=Search(steps=steps, seeds=(7,)))
    rows = go(experiment)
    found = compared(experiment, rows, experiment.compare[0])
    assert found.welch.mean == 0 and found.by_seed.half == 0
    said = report(experiment, rows)
    assert "| ours | 0.02 | 100 | 2.000, 2.010 | 2.005 |" in said
    assert "| ours | 0.02 | 10 |" not in said
    assert numbers(experiment, rows)["tried.gain.size"] == "0.000"


@pytest.fixture
def seconds_of_an_update(monkeypatch):
    """Updates take what they are said to take."""

    def timed(**seconds):
        found = [{name: [taken] for name, taken in seconds.items()}]
        monkeypatch.setattr(runner, "update_of", lambda experiment, arm: arm.label)
        monkeypatch.setattr(runner, "rounds_in_turn", lambda updates, *_, **__: found)

    return timed


def test_a_budget_holds_as_many_updates_as_were_timed(seconds_of_an_update):
    seconds_of_an_update(ours=0.5, theirs=2.0)
    made = Made(best=2e-2)
    search = Search(seconds=10, seeds=(7,))
    rows = go(pretended(made, steps=(), seconds=(60,), search=search))
    lengths = {(name, steps) for name, _, seed, steps in made.runs if seed != 7}
    assert lengths == {("ours", 120), ("theirs", 30)}
    assert {steps for _, _, seed, steps in made.runs if seed == 7} == {20}
    assert len(matching(rows, budget=60)) == 4
    assert len(matching(rows, what="seconds of an update, in turn")) == 1


def test_in_equal_time_the_others_have_the_updates_that_the_time_of_one_holds(
    seconds_of_an_update,
):
    seconds_of_an_update(ours=0.5, theirs=0.8)
    made, compare = Made(best=2e-2), Compare("theirs", "ours", equal_time=True)
    experiment = pretended(made, equal_time="ours", compare=(compare,))
    rows = go(experiment)
    lengths = {(name, steps) for name, _, seed, steps in made.runs if seed != 7}
    assert lengths == {("ours", 100), ("theirs", 100), ("theirs", 62)}
    assert "| theirs minus ours (in equal time) | +0.000" in report(experiment, rows)


def test_an_arm_that_is_timed_later_counts_in_proportion_to_the_others(seconds_of_an_update):
    """On a machine half as fast its two seconds are one of those in which the others were timed."""
    options = dict(steps=(), seconds=(60,), search=Search(seconds=10, seeds=(7,)))
    seconds_of_an_update(ours=0.5, theirs=2.0)
    go(pretended(Made(best=2e-2), **options))
    made = Made(best=2e-2)
    experiment = pretended(made, **options)
    later = Arm("later", rates=(1e-2,))
    seconds_of_an_update(ours=1.0, theirs=4.0, later=2.0)
    rows = go(replace(experiment, arms=(*experiment.arms, later)))
    assert {(name, steps) for name, _, _, steps in made.runs} == {("later", 60)}
    assert len(matching(rows, what="seconds of an update, in turn")) == 2


def test_an_experiment_that_makes_its_runs_says_what_an_update_is(monkeypatch):
    called = []

    def in_turn(updates, *_, **__):
        for update in updates.values():
            update()
        return [{name: [0.5] for name in updates}]

    monkeypatch.setattr(runner, "rounds_in_turn", in_turn)
    made = Made(best=2e-2)

    def update(arm):
        return partial(called.append, arm.label)

    arms = tuple(Arm(name, rates=(1e-2,)) for name in ("ours", "theirs"))
    go(pretended(made, arms=arms, steps=(), seconds=(60,), update=update, compare=()))
    assert called == ["ours", "theirs"] and {steps for *_, steps in made.runs} == {120}


@pytest.mark.parametrize(
    "given, said",
    [
        (dict(steps=3), r"mine: steps=3: expected a tuple, as \(3,\)"),
        (dict(seeds=5), r"mine: seeds=5: expected a tuple"),
        (dict(arms=(Arm("a", rates=1e-2),)), r"a: rates=0\.01: expected a tuple"),
        (dict(arms=(Arm("a", rates=(1e-2, 2e-2)),)), "a has 2 rates and no search: give search"),
        (
            dict(arms=(Arm("a", rates=(1e-2, 2e-2)),), search=Search(seeds=(100,))),
            "the search of a has no length: give Search",
        ),
        (
            dict(arms=(Arm("a", rates=(1e-2, 2e-2)),), search=Search(steps=10, seeds=())),
            r"the search of a has no seed: give Search\(seeds=\(100,\)\)",
        ),
        (
            dict(arms=(Arm("a", rates=(1e-2, 2e-2)),), search=Search(steps=10, seeds=100)),
            r"the search of a: seeds=100: expected a tuple, as \(100,\)",
        ),
        (dict(train={"steps": 3}), "train has 'steps': that is the experiment's"),
        (dict(arms=(Arm("a", train={"seed": 3}),)), "train of a has 'seed'"),
    ],
)
def test_what_is_no_declaration_is_refused_at_once(given, said):
    with pytest.raises(ValueError, match=said):
        Experiment("mine", "Is it?", **{"arms": (Arm("a", rates=(1e-2,)),)} | given)


def test_many_arms_are_timed_in_one_row(seconds_of_an_update):
    names = [f"an arm with the number {i}" for i in range(12)]
    seconds_of_an_update(**dict.fromkeys(names, 0.5))
    arms = tuple(Arm(name, rates=(1e-2,)) for name in names)
    made = Made(best=1e-2)
    rows = go(pretended(made, arms=arms, compare=(), steps=(), seconds=(60,), seeds=(0,)))
    assert len(rows) == 13 and {steps for *_, steps in made.runs} == {120}


def test_trials_of_the_whole_budget_are_reported_at_the_rate_that_was_taken(seconds_of_an_update):
    seconds_of_an_update(ours=0.5, theirs=2.0)
    search = Search(seconds=60, seeds=(0,))
    experiment = pretended(Made(best=1.2e-2), steps=(), seconds=(60,), search=search)
    found = reported(experiment, go(experiment))
    seeds = {rate: {*by_seed} for (arm, _, _, rate), by_seed in found.items() if arm == "ours"}
    assert seeds == {1e-2: {0, 1}}


# ---------------------------------------------------------------- several processes
KEY = dict(arm="ours", settings={}, rate=1e-2, seed=0, steps=100)
MEASURED = {"bits_per_byte": 1.0}


def test_several_processes_may_add_to_one_file():
    experiment = pretended(Made(best=2e-2))

    def add(seed):
        StoredRows(experiment, "results").add(KEY | {"seed": seed}, MEASURED)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(add, range(12)))
    seeds = [row["seed"] for row in StoredRows(experiment, "results").load()]
    assert sorted(seeds) == list(range(12))


def test_a_run_that_another_process_makes_is_not_made_twice():
    rows = StoredRows(pretended(Made(best=2e-2)), "results")
    rows.locks.mkdir(parents=True)
    with FileLock(rows.locks / "ours_0.01_0_100.lock"):
        assert rows.make_once(lambda: pytest.fail("made"), wait=False, **KEY) is None
    assert rows.make_once(lambda: MEASURED, wait=False, **KEY)["measures"] == MEASURED


def test_a_search_goes_on_with_other_trials_while_another_process_makes_one():
    made = Made(best=2e-2)
    experiment = pretended(made)
    rows = StoredRows(experiment, "results")
    rows.locks.mkdir(parents=True)
    with FileLock(rows.locks / "ours_0.01_7_10.lock"):
        runner.choose_rate(experiment, experiment.arms[0], rows, silent, wait=False)
    assert made.runs == [("ours", 2e-2, 7, 10)]


def test_who_waits_for_a_run_of_another_process_does_not_make_it_again():
    rows = [StoredRows(pretended(Made(best=2e-2)), "results") for _ in range(4)]
    made = []

    def make():
        made.append(1)
        time.sleep(0.2)
        return MEASURED

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda each: each.make_once(make, **KEY), rows))
    assert len(made) == 1 and all(row == found[0] for row in found)


# ---------------------------------------------------------------- results of other code
DECLARATION = '''
"""A declaration."""
from functools import partial

from flash_tutorial import GAU, ModelConfig
from flash_tutorial.experiments import Arm, Experiment

SCALE = 1.0

class Mine(GAU):
    """Own layer."""
    def mix(self, heads, v, mask, segment_ids):
        return SCALE * super().mix(heads, v, mask, segment_ids)

class Other(GAU):
    pass

def helper(model):
    return 1  # a comment

def measure(model, corpus, more=1):
    return {"score": helper(model)}

EXPERIMENT = Experiment(
    "written", "Is it?",
    arms=(
        Arm("mine", ModelConfig(Mine, dim=8, depth=1), rates=(0.01,)),
        Arm("other", ModelConfig(Other, dim=8, depth=1), rates=(0.01,)),
    ),
    train=dict(batch=2, length=8), steps=(2,), measure=measure, meaning="Nothing.",
)
'''


def digests(*edits):
    """The digests of both arms of the declaration with its edits."""
    text = DECLARATION
    for old, new in edits:
        assert text.count(old), old
        text = text.replace(old, new)
    path = Path(f"written{len(list(Path().glob('*.py')))}.py")
    path.write_text(text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(path.stem, path.resolve())
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return [stored_rows.digest(module.EXPERIMENT, arm) for arm in module.EXPERIMENT.arms]


@pytest.mark.parametrize(
    "edit, changed",
    [
        (("# a comment", "# another"), [False, False]),
        (('"""Own layer."""', '"""Of my own."""'), [False, False]),
        (('{"score": helper(model)}', '{\n        "score": helper(model),\n    }'), [False, False]),
        (("Nothing.", "Something."), [False, False]),
        (("return 1 ", "return 2 "), [True, True]),
        (("SCALE = 1.0", "SCALE = 2.0"), [True, False]),
        (("class Other(GAU):\n    pass", "class Other(GAU):\n    heads = 2"), [False, True]),
    ],
)
def test_a_digest_is_that_of_the_code_that_decides_the_numbers(edit, changed):
    assert [a != b for a, b in zip(digests(), digests(edit), strict=True)] == changed


@pytest.mark.parametrize("of_search", ["measure", "score"])
def test_what_chooses_a_rate_counts_in_a_digest(of_search):
    own = ("EXPERIMENT =", "def chosen(*given):\n    return 1.5\n\nEXPERIMENT =")
    grids = ("rates=(0.01,)", "rates=(0.01, 0.02)")
    imported = ("import Arm,", "import Arm, Search,")
    searched = ("steps=(2,)", f"search=Search(steps=1, {of_search}=chosen), steps=(2,)")
    before = digests(own, grids, imported, searched)
    after = digests(own, grids, imported, searched, ("return 1.5", "return 2.5"))
    assert all(a != b for a, b in zip(before, after, strict=True))


def test_a_function_that_gives_the_settings_counts_in_a_digest():
    own = (
        "EXPERIMENT =",
        "def settings(updates, budget):\n    return dict(batch=2)\n\nEXPERIMENT =",
    )
    given = ("train=dict(batch=2, length=8)", "train=settings")
    before = digests(own, given)
    after = digests(own, given, ("dict(batch=2)", "dict(batch=2 + 2 * (updates > 9))"))
    assert all(a != b for a, b in zip(before, after, strict=True))


def test_what_a_partial_is_given_counts_in_a_digest():
    given = ("measure=measure", "measure=partial(measure, more=Scaled)")
    scaled = ("def helper(model):", "class Scaled:\n    by = 2\n\ndef helper(model):")
    before, after = digests(scaled, given), digests(scaled, given, ("by = 2", "by = 3"))
    assert all(a != b for a, b in zip(before, after))


SAYS_LENGTH = ("helper(model)}", 'helper(model) * OF["a"](1)}')
LAMBDAS = (
    "SCALE = 1.0",
    'SCALE = 1.0\nOF = {\n    "a": lambda n: n + 1,\n    "b": lambda n: n - 1,\n}',
)


def test_a_lambda_counts_in_a_digest_and_each_by_itself():
    before = digests(SAYS_LENGTH, LAMBDAS)
    for old, new in (("n + 1", "n + 2"), ("n - 1", "n - 2")):
        assert all(a != b for a, b in zip(before, digests(SAYS_LENGTH, LAMBDAS, (old, new))))
    moved = digests(SAYS_LENGTH, LAMBDAS, ("SCALE = 1.0", "\n\nSCALE = 1.0"))
    assert moved == before


def test_rows_of_other_code_are_refused_until_their_code_is_named(monkeypatch):
    experiment = pretended(Made(best=2e-2))
    rows = go(experiment)
    code = rows[0]["code"]
    monkeypatch.setattr(stored_rows, "digest", lambda *_, **__: "99999999")
    said = rf"tried\.json holds runs of ours .* other code \({code}; here 99999999\)"
    with pytest.raises(ValueError, match=said):
        go(experiment)
    go(replace(experiment, same_code=(code,)))
    assert code in report(experiment, rows), "a table needs no permission"


# ---------------------------------------------------------------- settings, and a run that is trained
def tiny(dim):
    return (Arm("tiny", ModelConfig(dim=dim, depth=1, qk_dim=8, chunk_size=8), rates=(1e-2,)),)


def trained(**more):
    """A tiny model on a text of a few lines."""
    Path("text.txt").write_text(TEXT, encoding="utf-8")
    settings = dict(batch=2, length=20, warmup=0, eval_bytes=200, dtype="float32")
    options = dict(arms=tiny(16), train=settings | {"corpus": "text.txt"}, steps=(6,), seeds=(0,))
    return Experiment("trained", "Does it?", **options | more)


def test_a_trained_run_is_measured_and_its_declaration_repeats_it():
    def before(model, corpus):
        return {"before": 1}

    def after(model, corpus):
        return {"after": 2}

    experiment = trained(at_start=before, measure=after)
    (row,) = go(experiment)
    measures = row["measures"]
    assert measures["before"] == 1 and measures["after"] == 2 and measures["bits_per_byte"] > 0
    assert len(measures["losses"]) == 6 and repeated(experiment, row) < 1e-4
    assert not list(Path("runs/trained").glob("*"))


def test_a_run_of_many_updates_is_repeated_by_the_losses_that_were_kept():
    """Of 250 updates every second one's loss is stored."""
    experiment = trained(steps=(250,))
    (row,) = go(experiment)
    assert row["measures"]["every"] == 2 and repeated(experiment, row, 6) < 1e-4


def test_a_run_that_chooses_a_rate_is_measured_by_the_search():
    def of_search(model, corpus):
        return {"bits_on_choosing_text": 1.5}

    def of_run(model, corpus):
        return {"after": 2}

    chosen_by = Search(
        steps=3, seeds=(7,), most=2, score="bits_on_choosing_text", measure=of_search
    )
    (arm,) = tiny(16)
    arms = (replace(arm, rates=(1e-2, 2e-2)),)
    rows = go(trained(arms=arms, search=chosen_by, measure=of_run))
    found = {row["seed"]: {*row["measures"]} for row in rows}
    assert "bits_on_choosing_text" in found[7] and "after" not in found[7]
    assert "after" in found[0] and "bits_on_choosing_text" not in found[0]


def test_a_run_in_a_budget_is_repeated_with_its_settings(seconds_of_an_update):
    seconds_of_an_update(tiny=1.0)

    def settings(updates, budget):
        length = 20 if budget == 6 else 10
        return {"batch": 2, "length": length, "dtype": "float32", "corpus": "text.txt"}

    experiment = trained(train=settings, steps=(), seconds=(6,))
    (row,) = [row for row in go(experiment) if row["arm"]]
    assert repeated(experiment, row) < 1e-4


@pytest.mark.parametrize(
    "more, said",
    [
        (
            dict(measure=lambda model, corpus: None),
            r"the measure of tiny did not give plain values",
        ),
        (
            dict(measure=lambda model, corpus: {"x": torch.ones(1)}),
            r"the measure of tiny did not give plain values by name: expected a dictionary",
        ),
        (
            dict(arms=(Arm("tiny", lambda seed: None, rates=(1e-2,)),)),
            r"the model of tiny is a NoneType: expected an nn\.Module; does the function",
        ),
    ],
)
def test_what_cannot_be_trained_or_stored_is_named(more, said):
    with pytest.raises(ValueError, match=said):
        go(trained(**more))


def test_a_score_that_is_no_number_is_the_worst_and_one_that_is_missing_is_named():
    search = Search(steps=3)
    assert search.of_row({"measures": {"bits_per_byte": float("nan")}}) == float("inf")
    with pytest.raises(ValueError, match=r"no 'bits_per_byte': it measured seconds; give Search"):
        search.of_row({"measures": {"seconds": 3}})


def test_checkpoints_of_other_code_and_of_a_name_written_alike_lie_elsewhere(monkeypatch):
    def folder(label):
        (arm,) = tiny(16)
        experiment = trained(arms=(replace(arm, name=label),))
        rows = StoredRows(experiment, "results")
        return runner.folder_of(experiment, experiment.arms[0], 0.1, 0, 6, rows)

    assert folder("start: zero") != folder("start= zero")
    before = folder("tiny")
    monkeypatch.setattr(stored_rows, "digest", lambda *_, **__: "99999999")
    assert folder("tiny") != before


@pytest.mark.parametrize("name", ["", "../mine", "a\\b"])
def test_a_name_that_is_no_files_is_refused(name):
    with pytest.raises(ValueError, match="which is to be a file's"):
        replace(trained(), name=name)


def test_a_results_file_that_is_torn_is_named():
    Path("results").mkdir()
    Path("results/trained.json").write_text("<<<<<<< ours\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"trained\.json holds no whole JSON .*: restore it"):
        go(trained())


def test_a_run_that_others_go_on_from_is_kept():
    (arm,) = tiny(16)
    go(trained(arms=(replace(arm, keep=True),)))
    assert last_checkpoint(next(Path("runs/trained").glob("tiny-*")))


def test_an_arm_may_have_the_time_of_another(seconds_of_an_update):
    arms = (Arm("ours", rates=(1e-2,)), Arm("theirs", rates=(1e-2,), timed_as="ours"))
    seconds_of_an_update(ours=0.5)
    made = Made(best=1e-2)
    go(pretended(made, arms=arms, steps=(), seconds=(10,), update=lambda arm: None))
    assert {steps for *_, steps in made.runs if steps > 10} == {20}


@pytest.mark.nightly
def test_no_run_is_left_uncompiled_since_torch_compiled_others_before(monkeypatch):
    graphs = []

    def counted(graph, inputs):
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(torch._dynamo.config, "recompile_limit", 1)
    monkeypatch.setattr(devices.torch, "compile", partial(torch.compile, backend=counted))
    experiment = trained(seeds=(0, 1, 2))
    made = []
    for seed in experiment.seeds:
        go(replace(experiment, seeds=(seed,), train=experiment.train | {"compile": True}))
        made.append(len(graphs))
    assert made[0] > 0 and made == [made[0] * runs for runs in (1, 2, 3)]


def test_a_measure_that_is_mended_finds_the_finished_training(monkeypatch):
    def fails(model, corpus):
        return {}["accuracy"]

    def mended(model, corpus):
        return {"accuracy": 1.0}

    with pytest.raises(KeyError):
        go(trained(measure=fails))
    started = []

    def goes_on(*args, **options):
        return train(*args, **options, callback=lambda row: started.append(row["step"]))

    monkeypatch.setattr(runner, "train", goes_on)
    (row,) = go(trained(measure=mended))
    assert row["measures"]["accuracy"] == 1.0 and not started
    assert not list(Path("runs/trained").glob("*"))


def test_a_stopped_run_goes_on_from_its_last_checkpoint(monkeypatch):
    experiment = trained()
    (whole,) = go(experiment, "whole")

    def stops(*args, **options):
        train(*args, **options, stop_at=4)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(runner, "train", stops)
        go(experiment, "parted")
    started = []

    def goes_on(*args, **options):
        return train(*args, **options, callback=lambda row: started.append(row["step"]))

    monkeypatch.setattr(runner, "train", goes_on)
    (parted,) = go(experiment, "parted")
    assert started == [5, 6]
    assert whole["measures"]["bits_per_byte"] == parted["measures"]["bits_per_byte"]


def test_an_arm_whose_settings_changed_is_refused_and_a_later_option_has_its_earlier_value(
    monkeypatch,
):
    go(trained())
    for changed, said in (
        (dict(arms=tiny(32)), "holds tiny with dim=16, and dim=32 is declared: give the arm"),
        (dict(train=trained().train | {"batch": 4}), "with batch=2, and batch=4 is declared"),
    ):
        with pytest.raises(ValueError, match=said):
            go(trained(**changed))
    real = stored_rows.settings_of

    def with_new(value):
        def settings(*given):
            found = real(*given)
            return found | {"model": found["model"] | {"new": value}}

        return settings

    monkeypatch.setattr(stored_rows, "before_they_existed", lambda config: {"new": "before"})
    monkeypatch.setattr(stored_rows, "settings_of", with_new("before"))
    go(trained())
    monkeypatch.setattr(stored_rows, "settings_of", with_new("after"))
    with pytest.raises(ValueError, match="with new='before', and new='after' is declared"):
        go(trained())


def test_a_run_that_diverges_has_ended_and_its_rate_is_not_taken(monkeypatch):
    experiment = trained(search=Search(steps=4, seeds=(7,), most=2), seeds=(0,))
    (arm,) = experiment.arms
    experiment = replace(experiment, arms=(replace(arm, rates=(1e-2, 2e-2)),))
    tried = []

    def diverges(model, settings, **options):
        tried.append((settings.learning_rate, settings.seed))
        if settings.learning_rate == 1e-2 or settings.seed == 0:
            raise Diverged("the loss is nan", 3)
        return train(model, settings, **options)

    monkeypatch.setattr(runner, "train", diverges)
    for _ in range(2):
        go(experiment)
    assert tried == [(1e-2, 7), (2e-2, 7), (2e-2, 0)], "none is tried again"
    said = report(experiment, StoredRows(experiment, "results").load())
    assert "| tiny | 0.02 | 6 | diverged at step 3 |  |" in said and "0.01: inf" in said


# ---------------------------------------------------------------- a declaration that cannot be
@pytest.mark.parametrize(
    "wrong, said",
    [
        (
            dict(arms=(Arm("ours"), Arm("ours"))),
            r"two arms 'ours': tell them apart by name or settings",
        ),
        (dict(compare=(Compare("ours", "others"),)), r"no arm 'others': it has ours, theirs"),
        (dict(equal_time="zz"), r"no arm 'zz': it has ours, theirs"),
        (
            dict(arms=(torch.nn.Linear(2, 2),), compare=()),
            r"arms has Linear.*: expected Arm\(\.\.\.\)",
        ),
        (dict(compare=(("ours", "theirs"),)), r"compare has .*: expected Compare\(\.\.\.\)"),
        (
            dict(compare=(Compare("ours", "theirs", rates=(1e-2,)),)),
            r"rates=\(0.01,\): expected two",
        ),
        (
            dict(search=Search(steps=10, factor=0.5)),
            r"the search of ours: factor=0.5: expected more than 1",
        ),
        (dict(steps=()), r"ours has no length: give the experiment steps=\(1000,\)"),
        (
            dict(seeds=(), search=None, arms=(Arm("ours", rates=(1e-2,)),), compare=()),
            r"tried has no seed, and so makes no run: give it seeds=\(0, 1, 2\)",
        ),
        (dict(make=None, arms=(Arm("ours"),), compare=()), r"ours has no rate: give rates="),
        (
            dict(arms=(Arm("ours", torch.nn.Linear(2, 2), rates=(1e-2,)),), compare=()),
            r"the model of ours is a Linear: expected a ModelConfig, or a function",
        ),
        (
            dict(arms=(Arm("ours", torch.nn.Linear, rates=(1e-2,)),), compare=()),
            r"the model of ours is the class Linear: expected a ModelConfig, or a function",
        ),
    ],
)
def test_a_declaration_that_cannot_be_is_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        pretended(None, **wrong)


def test_a_measure_that_no_run_has_is_named():
    made = Made(best=1e-2)
    rows = go(pretended(made))
    wrong = pretended(made, score="acc", compare=(Compare("ours", "theirs", measure="accurcy"),))
    said = report(wrong, rows)
    assert "No run has 'acc': they have bits_per_byte." in said
    assert "ours minus theirs (accurcy) | no run has 'accurcy' |" in said


@pytest.mark.parametrize(
    "more, said",
    [
        (dict(steps=500), "(500 updates) | no run of ours has 500 updates: it has 100 updates |"),
        (dict(budget=60), "(60 s) | no run of ours has 60 s: it has 100 updates |"),
    ],
)
def test_a_length_that_no_run_has_is_named(more, said):
    made = Made(best=1e-2)
    rows = go(pretended(made))
    page = report(pretended(made, compare=(Compare("ours", "theirs", **more),)), rows)
    assert f"| ours minus theirs {said}" in page


def test_runs_of_one_length_are_compared():
    made = Longer(best=1e-2)
    arms = tuple(Arm(name, rates=(1e-2,)) for name in ("ours", "theirs"))
    go(pretended(made, arms=arms[:1], steps=(4,), compare=()))
    both = pretended(made, arms=arms, steps=(2, 4))
    rows = go(both)
    assert abs(compared(both, rows, both.compare[0]).welch.mean) < 0.1, "the lengths differ by 2"


class Longer(Made):
    """A run scores its number of updates."""

    def __call__(self, arm, rate, seed, steps):
        return super().__call__(arm, rate, seed, steps) | {"bits_per_byte": steps + seed / 100}


# ---------------------------------------------------------------- intervals
@pytest.mark.parametrize("freedom, t", [(1, 12.706), (2, 4.303), (9, 2.262), (30, 2.042)])
def test_students_t_is_that_of_the_tables(freedom, t):
    assert student_t(freedom) == pytest.approx(t, abs=6e-4)


def test_welch_is_the_interval_by_hand():
    a, b = [3.0, 5.0, 4.0], [1.0, 2.0, 1.5, 1.9]
    found, errors = welch(a, b), [statistics.variance(a) / 3, statistics.variance(b) / 4]
    freedom = sum(errors) ** 2 / (errors[0] ** 2 / 2 + errors[1] ** 2 / 3)
    assert found.mean == pytest.approx(2.4) and 2 < freedom < 4
    assert found.half == pytest.approx(student_t(freedom) * sum(errors) ** 0.5)
    # of the same size and spread it is Student's, with twice the degrees of freedom of one
    same = [
        1.0,
        3.0,
        5.0,
    ]
    assert welch(same, same).half == pytest.approx(2.776 * (2 * 4 / 3) ** 0.5, rel=1e-3)


def test_a_paired_interval_is_students_and_shows_its_correlation():
    found = paired([14, 16, 15], [10, 10, 10.5])
    assert found.mean == pytest.approx(4.833, abs=1e-3)
    assert found.half == pytest.approx(4.303 * statistics.stdev([4, 6, 4.5]) / 3**0.5, rel=1e-4)
    assert found.correlation == pytest.approx(statistics.correlation([14, 16, 15], [10, 10, 10.5]))


def test_one_seed_has_no_interval():
    assert str(welch([2.0], [1.0, 1.5])) == "+0.750" and not welch([2.0], [1.0]).is_settled


# ---------------------------------------------------------------- what a log and trials are read as
def test_pairs_are_of_one_seed_whichever_run_ended_first():
    experiment = pretended(Made(best=2e-2))
    rows = go(experiment)
    rows.sort(key=lambda row: row["seed"] if row["arm"] == "ours" else -row["seed"])
    assert compared(experiment, rows, experiment.compare[0]).by_seed.half == 0


def test_what_was_measured_comes_by_seed():
    rows = [
        {"arm": "ours", "seed": seed, "settings": {}, "measures": {"x": x}}
        for seed, x in ((2, 0.1), (0, 0.3), (1, 0.2))
    ]
    assert measured(rows, "x", arm="ours") == [0.3, 0.2, 0.1]


def test_of_many_seeds_the_table_has_the_spread():
    seeds = tuple(range(6))
    experiment = pretended(Made(best=2e-2), seeds=seeds)
    spread = statistics.stdev(seed / 100 for seed in seeds)
    assert f"6 seeds, standard deviation {spread:.3f}" in report(experiment, go(experiment))


def test_a_rate_is_chosen_by_the_mean_of_its_trials():
    def make(arm, rate, seed, steps):  # the first rate has the best run of all, and the worst
        return {"bits_per_byte": {(1e-2, 7): 1.0, (1e-2, 8): 3.0}.get((rate, seed), 1.5)}

    experiment = pretended(make, search=Search(steps=10, seeds=(7, 8), most=2))
    assert rates_of(experiment, experiment.arms[0], go(experiment)) == [2e-2]


def test_an_arm_of_which_a_seed_diverged_is_not_compared():
    def make(arm, rate, seed, steps):
        if (arm.name, seed) == ("ours", 1):
            return {"diverged_at_step": 3}
        return {"bits_per_byte": 2.0}

    experiment = pretended(make)
    assert compared(experiment, go(experiment), experiment.compare[0]) is None


def test_of_a_log_are_stored_the_scores_by_seconds_and_the_end_of_training():
    log = []
    for n in range(1, 201):
        row = {"step": n, "loss": float(n), "bits_per_byte": float(n), "seconds": 0.5 * n}
        if n % 100 == 0:
            row["validation_bits_per_byte"] = 5.0
        log.append(row)
    assert runner.of_log(log, budget=60)["on_the_way"] == [[30, 5.0], [60, 5.0]]
    assert runner.of_log(log)["on_the_way"] == [[100, 5.0], [200, 5.0]]
    assert runner.of_log(log)["training_bits_per_byte"] == 150.5
    assert runner.of_log(log)["losses"][:3] == [1.0, 3.0, 5.0]


def test_another_text_by_the_same_name_is_refused():
    go(trained())
    experiment = trained(seeds=(0, 1))
    Path("text.txt").write_text(TEXT[::-1], encoding="utf-8")
    with pytest.raises(ValueError, match=r"tiny on another text than text\.txt holds now"):
        go(experiment)
