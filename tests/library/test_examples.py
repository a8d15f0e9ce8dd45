"""Every public name shows how it is used, and what is shown there is what happens."""

import doctest
import sys

import pytest
from public_names import PUBLIC

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_has_an_example_that_runs(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [*sys.argv])  # an example sets it
    monkeypatch.setenv("FLASH_TUTORIAL_PROGRESS", str(tmp_path / "progress.json"))
    examples = doctest.DocTestFinder(recurse=False).find(PUBLIC[name], name, globs={})
    (example,) = [each for each in examples if each.name == name]
    assert example.examples, f"{name} has no >>> example"
    runner = doctest.DocTestRunner(verbose=False)
    runner.run(example)
    assert runner.failures == 0, capsys.readouterr().out
