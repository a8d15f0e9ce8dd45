"""The results: each stored row belongs to a declaration, and the pages are in step with what is
stored.
"""

import importlib
import json
from pathlib import Path

import pytest

from flash_course.bench.stored import RESULTS, load_stored
from flash_tutorial.experiments import StoredRows
from flash_tutorial.experiments.stored_rows import refuse_settings, settings_of

pytestmark = pytest.mark.quick
FOLDER = Path(__file__).resolve().parents[2] / "experiments"
if not FOLDER.is_dir():
    pytest.skip("there are no experiments here: a course's fork has none", allow_module_level=True)


@pytest.fixture
def page(monkeypatch):
    """experiments/page.py as a module."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("page")


def test_every_declaration_is_on_the_page(page):
    assert sorted(page.ORDER) == sorted({path.stem for path in FOLDER.glob("*.py")} - {"page"})
    assert [experiment.name for experiment in page.declarations()] == list(page.ORDER)


def test_every_row_belongs_to_an_arm_and_stands_once(page):
    for experiment in page.declarations():
        stored = StoredRows(experiment, RESULTS)
        rows = [row for row in stored.load() if row["arm"] is not None]
        assert all(stored.arm_of(row) for row in rows), experiment.name
        keys = [
            json.dumps([row[name] for name in ("arm", "settings", "rate", "seed", "steps")])
            for row in rows
        ]
        assert len(set(keys)) == len(keys), experiment.name


def test_no_declared_arm_has_other_settings_than_its_rows(page):
    """Also none of code that is not named as the same: else the next ``run`` would refuse."""
    for experiment in page.declarations():
        for arm in experiment.arms:
            stored = StoredRows(experiment, RESULTS)
            asked = settings_of(experiment, arm)
            kept = stored.whole()["arms"].get(arm.label)
            assert refuse_settings(stored.path.name, arm, kept, asked) is None


def test_the_pages_are_what_is_stored(page):
    for path, text in page.pages().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: python experiments/page.py"


def test_a_number_is_filled_in_and_an_unknown_one_is_refused(page):
    text = "It gains <!-- number: a.gain -->0.3<!-- /number --> bits."
    assert page.filled(text, {"a.gain": "0.4"}) == text.replace("0.3", "0.4")
    with pytest.raises(ValueError, match=r"README\.md asks for the number 'a\.gain': there are b"):
        page.filled(text, {"b": "1"}, "README.md")


def test_every_file_of_results_says_on_what_it_was_made():
    for path in sorted(RESULTS.glob("*.json")):
        stored = json.loads(path.read_text(encoding="utf-8"))
        about = stored.get("about", stored)
        runs = stored.get("runs", [])
        machines = [run["machine"] for run in runs if "machine" in run] or [about.get("machine")]
        assert all(machine and machine["cpu"] and machine["date"] for machine in machines), (
            path.name
        )
        assert load_stored(path.stem)
