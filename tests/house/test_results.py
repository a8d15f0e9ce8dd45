"""The results: each stored row belongs to a declaration, and the pages are in step with what is
stored.
"""

import importlib
import json
from pathlib import Path

import pytest

from flash_course.bench.stored import RESULTS, load_stored
from flash_tutorial.experiments import Experiment, StoredRows
from flash_tutorial.experiments.stored_rows import refuse_settings, settings_of

KEY = ("arm", "settings", "rate", "seed", "steps")
FOLDER = Path(__file__).resolve().parents[2] / "experiments"
if not FOLDER.is_dir():
    pytest.skip("there are no experiments here: a course's fork has none", allow_module_level=True)


@pytest.fixture
def page(monkeypatch):
    """experiments/page.py as a module."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("page")


def test_every_declaration_is_on_the_page(page):
    assert sorted(page.ORDER) == sorted(page.declared())
    assert [experiment.name for experiment in page.declarations()] == list(page.ORDER)


def test_every_row_belongs_to_an_arm_with_its_settings_and_stands_once(page):
    """Else, or if code changed that is not named as the same, the next ``run`` would refuse."""
    for experiment in page.declarations():
        stored = StoredRows(experiment, RESULTS)
        keys = []
        for row in (row for row in stored.load() if row["arm"] is not None):
            assert stored.arm_of(row), experiment.name
            keys.append(json.dumps([row[name] for name in KEY]))
        assert len({*keys}) == len(keys), experiment.name
        kept = stored.whole()["arms"]
        for arm in experiment.arms:
            asked = settings_of(experiment, arm)
            assert refuse_settings(stored.path.name, arm, kept.get(arm.label), asked) is None


def test_the_pages_are_what_is_stored(page):
    for path, text in page.pages().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: python experiments/page.py"


def test_a_number_is_filled_in_and_an_unknown_one_is_refused(page):
    text = "It gains <!-- number: a.gain -->0.3<!-- /number --> bits."
    assert page.filled(text, {"a.gain": "0.4"}) == text.replace("0.3", "0.4")
    with pytest.raises(ValueError, match=r"README\.md asks for the number 'a\.gain': there are b"):
        page.filled(text, {"b": "1"}, "README.md")


def test_a_declaration_is_told_its_own_numbers_and_no_others(page):
    experiment = Experiment("a", "Is it?", arms=(), meaning="It gains {gain} bits.")
    said = page.section(experiment, [], {"a.gain": "0.4", "b.gain": "0.5"})
    assert "It gains 0.4 bits." in said
    with pytest.raises(ValueError, match=r"a asks for the number 'a\.gain': there are b\.gain"):
        page.section(experiment, [], {"b.gain": "0.5"})


def test_every_file_of_results_says_on_what_it_was_made():
    for path in sorted(RESULTS.glob("*.json")):
        stored = json.loads(path.read_text(encoding="utf-8"))
        machines = [run["machine"] for run in stored.get("runs", []) if "machine" in run]
        machines = machines or [stored.get("about", stored).get("machine")]
        assert all(machine and machine["cpu"] and machine["date"] for machine in machines), path
        assert load_stored(path.stem)
