"""Every public name shows how it is used, and what is shown there is what happens."""

import doctest
import sys

import pytest
from public_names import PUBLIC

pytestmark = pytest.mark.usefixtures("one_thread")


def methods():
    """Each method of a public class that has an example of its own."""
    found = {}
    for name, one in PUBLIC.items():
        for method, value in vars(one).items() if isinstance(one, type) else ():
            if callable(value) and ">>>" in (value.__doc__ or ""):
                found[f"{name}.{method}"] = value
    return found


SHOWN = PUBLIC | methods()


@pytest.mark.parametrize("name", SHOWN)
def test_a_public_name_has_an_example_that_runs(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [*sys.argv])  # an example sets it
    monkeypatch.setenv("FLASH_TUTORIAL_PROGRESS", str(tmp_path / "progress.json"))
    examples = doctest.DocTestFinder(recurse=False).find(SHOWN[name], name, globs={})
    (example,) = [each for each in examples if each.name == name]
    assert example.examples, f"{name} has no >>> example"
    runner = doctest.DocTestRunner(verbose=False)
    runner.run(example)
    assert runner.failures == 0, capsys.readouterr().out
