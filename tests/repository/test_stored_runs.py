"""What `benchmarks/stored_runs.py` writes: each stored run says how, where, when and among which others it was made."""

import json
import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.quick

MACHINE = {"cpu", "cores", "threads", "device", "os", "python", "torch", "numpy", "flash_tutorial", "date"}


@pytest.fixture
def script(benchmark_script):
    return benchmark_script("stored_runs")


@pytest.fixture
def runs(script, tmp_path):
    return script.StoredRuns("tried", "What it is.\n\n    python benchmarks/tried.py run    # all\n", tmp_path)


def test_a_run_is_made_once_and_says_where_and_when(runs):
    made = []

    def make(score):
        made.append(score)
        return {"bits_per_byte": score}

    for score in (2.0, 3.0):
        assert runs.find_or_make(dict(model="FLASH", seed=0), lambda score=score: make(score))["bits_per_byte"] == 2.0
    assert made == [2.0]
    (run,) = runs.load()
    assert run["machine"].keys() >= MACHINE


def test_a_later_run_does_not_touch_the_machine_of_an_earlier_one(runs, script, monkeypatch):
    for seed, date in enumerate(("2026-01-01", "2026-01-02")):
        monkeypatch.setattr(script, "machine", lambda date=date: {"date": date})
        runs.find_or_make(dict(seed=seed), dict)
    assert [run["machine"]["date"] for run in runs.load()] == ["2026-01-01", "2026-01-02"]


def test_the_commands_are_those_of_the_docstring_and_the_grid_is_what_was_tried(runs):
    for seed, rate in ((1, 0.1), (0, 0.1), (0, 0.2)):
        runs.find_or_make(dict(seed=seed, learning_rate=rate), dict)
    about = json.loads(runs.path.read_text(encoding="utf-8"))["about"]
    assert about == {
        "commands": ["python benchmarks/tried.py run"], "grid": {"learning_rate": [0.1, 0.2], "seed": [0, 1]},
    }  # fmt: skip


RESULTS = sorted((Path(__file__).resolve().parents[2] / "flash_course" / "bench" / "results").glob("*.json"))


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_every_file_of_results_says_how_it_was_made_and_on_what(script, path):
    """A file has one command and one machine, or commands and for each run a machine of its own."""
    stored = json.loads(path.read_text(encoding="utf-8"))
    about = stored.get("about", stored)
    commands = about.get("commands") or [about["command"]]
    for name in re.findall(r"(?:benchmarks|tools)/\w+\.py", " ".join(commands)):
        assert (script.RESULTS.parents[2] / name).is_file(), f"{path.name}: {name} is not there"
    if "commands" in about:
        assert about["grid"] == script.grid(stored["runs"])
    runs = stored.get("runs", [])
    runs = list(runs.values()) if isinstance(runs, dict) else runs
    said = [about["machine"]] if "machine" in about else [run["machine"] for run in runs]
    needed = MACHINE - {"torch", "threads", "device", "flash_tutorial"} if path.stem == "ngrams" else MACHINE
    assert said and all(machine.keys() >= needed for machine in said)  # n-grams have no torch in them


def test_results_of_another_processor_are_those_that_the_readme_names():
    """Each file whose runs, or some of them, are an Intel Xeon's has its words in the README's sentence."""
    words = {"ablations": "a fifth of the ablation runs", "quality_maps": "the stored attention weights",
             "curves": "the curves of problem set 07", "scoreboard": "the tiny models"}  # fmt: skip
    found = {path.stem for path in RESULTS if "Xeon" in path.read_text(encoding="utf-8")}
    assert found == words.keys()
    readme = " ".join((Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8").split())
    (said,) = re.findall(r"\(on an Intel Xeon: ([^)]*)\)", readme)
    assert all(each in said for each in words.values())


@pytest.mark.parametrize(
    "name", [path.stem for path in RESULTS if '"commands"' in path.read_text(encoding="utf-8")[:3000]]
)
def test_the_stored_commands_are_those_that_the_script_prints(script, name):
    doc = (script.RESULTS.parents[2] / "benchmarks" / f"{name}.py").read_text(encoding="utf-8").split('"""')[1]
    stored = json.loads((script.RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    assert stored["about"]["commands"] == script.commands_in(doc) != []
