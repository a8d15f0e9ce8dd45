"""The lectures can fail: with one line of the package wrong, some cell of the lecture must disagree.

A lecture that passes all the same would show a reader outputs that prove nothing. A run stops at its first failing
cell; the same cells must pass with the package as it is. The faults stand in the tables of ``faults/``.
"""

import inspect
from functools import cache

import nbformat
import pytest
from house.scripts import script

from faults.planter import Fault, all_faults
from flash_tutorial import reference

lecture_faults = script("lecture_faults.py")

FAULTS = {name: fault for name, fault in all_faults().items() if fault.lectures}
PAIRS = sorted((lecture, name) for name, fault in FAULTS.items() for lecture in fault.lectures)
needs_fork = pytest.mark.skipif(
    lecture_faults.FORK is None, reason="many faults at once need a fork, as Linux has it"
)


@cache
def run_of(lecture):
    """(what fails as it is, {fault: the failure that noticed it}) of a lecture, run once for all its faults."""
    notebook = lecture_faults.notebook_of(lecture)
    if notebook is None:
        pytest.skip(f"lecture {lecture} is not built yet")
    faults = {name: fault for name, fault in FAULTS.items() if lecture in fault.lectures}
    return lecture_faults.run_lecture(notebook, faults)


@needs_fork
@pytest.mark.nightly
@pytest.mark.parametrize("lecture, fault", PAIRS)
def test_a_lecture_notices(lecture, fault):
    as_it_is, found = run_of(lecture)
    print(f"lecture {lecture}, {fault}: {found[fault]}")
    assert as_it_is is None, "the same cells must pass without a fault"
    assert found[fault] is not None, "every cell passes"
    assert found[fault].is_a_finding, (
        "a crash is no finding: plant the fault so that the code still computes"
    )


# ---------------------------------------------------------------- the runner itself


CELLS = (
    # not compared
    (
        "from flash_tutorial.reference import gelu, relu2, silu\nprint(1)",
        "2\n",
        "timing",
    ),
    ("print(6 * 7)\nfloat(relu2(3))", "42\n9.0", "nbval-check-output"),
    ("1 / 0", "", "raises-exception"),
    ("assert silu(0.0) == 0", "", "timing"),
    ("gelu(1.0)", "", "timing"),
    ("print(6 * 7)", "43\n", "nbval-check-output"),
)


def fault_of(function):
    """A fault of a small function of reference.py: one more than it should be; ``gelu`` ends with an error."""
    last = inspect.getsource(function).rstrip().splitlines()[-1]
    wrong = "    return 1 / 0" if function is reference.gelu else last + " + 1"
    return Fault(f"flash_tutorial.reference.{function.__name__}", (last, wrong))


@pytest.fixture
def small_notebook(tmp_path):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Small")])
    for source, stored, tag in CELLS:
        cell = nbformat.v4.new_code_cell(source, metadata={"tags": [tag]})
        printed, _, value = stored.partition("\n")
        cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=f"{printed}\n")]
        cell.outputs += (
            [nbformat.v4.new_output("execute_result", {"text/plain": value})] if value else []
        )
        notebook.cells.append(cell)
    nbformat.write(notebook, tmp_path / "01_small.ipynb")
    return tmp_path / "01_small.ipynb"


def brief(failure):
    return failure and (failure.cell, failure.kind, failure.is_a_finding)


@needs_fork
def test_each_fault_meets_the_first_cell_that_disagrees(small_notebook):
    faults = {
        function.__name__: fault_of(function) for function in (reference.relu2, reference.silu)
    }
    as_it_is, found = lecture_faults.run_lecture(small_notebook, faults)
    assert {name: brief(failure) for name, failure in found.items()} == {
        "relu2": (3, "output", True),
        "silu": (5, "AssertionError", True),
    }
    assert as_it_is is None, "cells behind the last one that was needed are not run"


@needs_fork
def test_a_crash_is_no_finding_and_what_no_cell_calls_is_not_noticed(small_notebook):
    faults = {
        function.__name__: fault_of(function) for function in (reference.gelu, reference.scaled_sin)
    }
    as_it_is, found = lecture_faults.run_lecture(small_notebook, faults)
    assert brief(found["gelu"]) == (6, "ZeroDivisionError", False) and found["scaled_sin"] is None
    assert brief(as_it_is) == (7, "output", True)


def test_an_error_that_a_cell_shows_must_come():
    kind, _ = lecture_faults.judge(None, "", ["raises-exception"], "")
    assert lecture_faults.Failure(4, kind, "").is_a_finding
    assert lecture_faults.judge(ZeroDivisionError(), "", ["raises-exception"], "") == (None, None)


def test_a_fault_is_tried_on_the_command_line(small_notebook, monkeypatch, capsys):
    monkeypatch.setattr(lecture_faults, "notebook_of", lambda lecture: small_notebook)
    fault = fault_of(reference.relu2)
    assert lecture_faults.main(["01", fault.breaks, *fault.edit])
    assert "01_small.ipynb: Failure(cell=3, kind='output'" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        lecture_faults.main(["01", "units: no such fault"])
    assert "no fault is called 'units: no such fault'" in capsys.readouterr().err
