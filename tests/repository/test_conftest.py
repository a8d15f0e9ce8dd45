"""Plain `pytest` runs notebooks too, spread over workers by whole notebooks; `-m quick` leaves them out."""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location("how_the_suite_is_spread", ROOT / "conftest.py")
spread = importlib.util.module_from_spec(spec)
spec.loader.exec_module(spread)


def write_notebook(path, last):
    """Four cells, of which each needs the first; ``last`` is the stored output of the last one."""
    notebook = nbformat.v4.new_notebook()
    for source, printed, tag in (
        ("x = 1", "", "timing"),
        ("print(x + 1)", "2\n", "nbval-check-output"),
        ("x / 0", "", "raises-exception"),
        ("print(x + 2)", last, "nbval-check-output"),
    ):
        cell = nbformat.v4.new_code_cell(source, metadata={"tags": [tag]})
        cell.execution_count = len(notebook.cells) + 1  # without it nbval takes the cell for one that was never run
        cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=printed)] if printed else []
        notebook.cells.append(cell)
    path.parent.mkdir(exist_ok=True, parents=True)
    nbformat.write(notebook, path)


def run_pytest(root, *arguments):
    """This project's pytest, with its own options, on another folder."""
    for name in ("pyproject.toml", "conftest.py"):
        shutil.copy(ROOT / name, root)
    write_notebook(root / "notebooks" / "01_right.ipynb", last="3\n")
    write_notebook(root / "notebooks" / "02_wrong.ipynb", last="4\n")
    write_notebook(root / "notebooks" / "work" / "01_right.ipynb", last="without outputs\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    run = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=300)
    return run.returncode, run.stdout + run.stderr


def test_notebooks_are_run_whole_and_their_outputs_compared(tmp_path):
    """A cell that ran in another worker than the first one would not know x."""
    code, said = run_pytest(tmp_path, "-n", "2")
    assert code == 1 and "1 failed, 7 passed" in said, said
    assert "02_wrong.ipynb::Cell 3" in said and "01_right" not in said.partition("slowest")[0], said


def test_quick_leaves_the_notebooks_out(tmp_path):
    code, said = run_pytest(tmp_path, "-m", "quick", "-n", "0")
    assert code == 5 and "8 deselected" in said, said  # 5: nothing was run


@pytest.mark.quick
@pytest.mark.parametrize(
    "arguments, capture, workers",
    [
        ([], "fd", None),  # as xdist counts
        (["-m", "quick", "tests"], "fd", None),
        (["tests/course/test_cli.py", "tests/course/test_clock.py"], "fd", None),
        (["tests/course/test_cli.py", "-x"], "fd", 0),
        (["tests/course/test_cli.py::test_a", "tests/course/test_clock.py::test_b"], "fd", 0),
        (["tests"], "no", 0),
    ],
)
def test_workers_start_where_they_help(arguments, capture, workers):
    config = SimpleNamespace(invocation_params=SimpleNamespace(args=arguments), option=SimpleNamespace(capture=capture))
    assert spread.pytest_xdist_auto_num_workers(config) == workers
