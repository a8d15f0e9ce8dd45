#!/usr/bin/env python3
"""Run a lecture against a copy of the package in which one line is wrong, and say which cell notices.

    python tools/lecture_faults.py 02                                      as it is: every cell must pass
    python tools/lecture_faults.py 02 reference.py OLD NEW                 OLD, found once in that file, becomes NEW

Cells run one after the other, as plain `pytest` runs them: an error fails, and so does the printed output of a cell
tagged ``nbval-check-output`` that is not the stored one. The first failure ends the run. There is no kernel, so a run
costs little more than the import of torch and the cells themselves.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from shutil import copytree, ignore_patterns

ROOT = Path(__file__).resolve().parent.parent


@dataclass
class Failure:
    """The first cell that failed: its number from 1, Markdown counted, and why."""

    cell: int
    kind: str  # "output", or the name of the error
    said: str

    @property
    def is_a_finding(self):
        """Whether the lecture looked and disagreed. A crash says only that the fault was planted badly."""
        return self.kind in ("output", "AssertionError", "GradcheckError", "no error")


def notebook_of(lecture, root=ROOT):
    """The path of the notebook whose name starts with ``lecture``, or None."""
    return next(iter(sorted((Path(root) / "notebooks").glob(f"{lecture}_*.ipynb"))), None)


def faulty_package(folder, file, old, new, root=ROOT):
    """A copy of the package in ``folder`` in which ``old``, which must be there once, is ``new``."""
    for package in ("flash_tutorial", "flash_course"):
        copytree(Path(root) / package, Path(folder) / package, ignore=ignore_patterns("__pycache__"))
    path = Path(folder) / (file if "/" in file else f"flash_tutorial/{file}")
    source = path.read_text(encoding="utf-8")
    if (times := source.count(old)) != 1:
        raise ValueError(f"{file} holds {times} times {old!r}: the code was rewritten, so plant the fault anew")
    path.write_text(source.replace(old, new), encoding="utf-8")
    compile(source.replace(old, new), file, "exec")  # a fault that cannot be read would be noticed by anything


def run_lecture(notebook, fault=None, last=None, timeout=300, root=ROOT):
    """The first ``Failure`` of a notebook's cells up to number ``last``, or None. ``fault``: file, old, new."""
    with tempfile.TemporaryDirectory() as folder:
        cells = Path(folder, "cells")
        cells.mkdir()
        package = Path(root)
        if fault is not None:
            package = Path(folder, "package")
            faulty_package(package, *fault, root=root)
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join([str(package), *filter(None, [os.environ.get("PYTHONPATH")])]),
            "FLASH_TUTORIAL_PROGRESS": str(Path(folder, "progress.json")),
            "IPYTHONDIR": str(Path(folder, "ipython")),
            "MPLBACKEND": "Agg",
            "PYTHONIOENCODING": "utf-8",
        }
        answer = Path(folder, "answer.json")
        command = [sys.executable, __file__, "--cells", str(notebook), str(package), str(last or 0), str(answer)]
        run = subprocess.run(
            command, cwd=cells, env=environment, capture_output=True, encoding="utf-8", timeout=timeout
        )
        if run.returncode:
            raise RuntimeError(f"{Path(notebook).name} could not be run: {(run.stderr or run.stdout).strip()[-2000:]}")
        found = json.loads(answer.read_text(encoding="utf-8"))
    return None if found is None else Failure(**found)


# ---------------------------------------------------------------- in the process that runs the cells


def run_cells(notebook, package, last):
    """The first failure as a dictionary, or None."""
    import nbformat
    from IPython.core.interactiveshell import InteractiveShell

    import flash_tutorial

    if Path(flash_tutorial.__file__).resolve().parent.parent != Path(package).resolve():
        raise RuntimeError(f"flash_tutorial comes from {flash_tutorial.__file__}, not from {package}")
    shell = InteractiveShell.instance(displayhook_class=value_hook())
    for number, cell in enumerate(nbformat.read(notebook, as_version=4).cells, 1):
        tags = cell.metadata.get("tags", [])
        if last and number > last:
            break
        if cell.cell_type == "code" and cell.source.strip() and "nbval-skip" not in tags:
            error, printed = run_cell(shell, cell.source)
            kind, said = judge(error, printed, tags, stored_text(cell.outputs))
            if kind:
                return {"cell": number, "kind": kind, "said": said}
    return None


def value_hook():
    """A display hook that prints a cell's value without the prompt ``Out[1]:``."""
    from IPython.core.displayhook import DisplayHook

    class Value(DisplayHook):
        def write_output_prompt(self):
            pass

        def write_format_data(self, format_dict, md_dict=None):
            print(format_dict["text/plain"])

    return Value


def run_cell(shell, source):
    """The error or None, and the text that the cell printed or has as its value."""
    from IPython.utils.capture import capture_output

    with capture_output() as captured:
        result = shell.run_cell(source, store_history=True)
    return result.error_before_exec or result.error_in_exec, captured.stdout


def stored_text(outputs):
    """What a notebook has stored of the same."""
    printed = "".join(output.text for output in outputs if output.get("name") == "stdout")
    values = [output.data["text/plain"] for output in outputs if output.output_type == "execute_result"]
    return printed + "\n".join(values)


def judge(error, printed, tags, stored):
    """(kind, text) of a failure, or (None, None)."""
    if "raises-exception" in tags:
        return (None, None) if error is not None else ("no error", "the error that the cell shows did not come")
    if error is not None:
        return type(error).__name__, str(error)
    if "nbval-check-output" in tags and printed.strip() != stored.strip():
        lines = zip_longest(printed.strip().splitlines(), stored.strip().splitlines())
        got, expected = next((a, b) for a, b in lines if a != b)
        return "output", f"printed {got!r}, stored is {expected!r}"
    return None, None


# ---------------------------------------------------------------- command line


def main(arguments=None):
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["--cells"]:
        notebook, package, last, answer = arguments[1:]
        found = run_cells(notebook, package, int(last))
        Path(answer).write_text(json.dumps(found), encoding="utf-8")
        return 0
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lecture", help="the start of its name, as in 02")
    parser.add_argument("fault", nargs="*", metavar="FILE OLD NEW", help="a file of the package, and what to replace")
    args = parser.parse_args(arguments)
    notebook = notebook_of(args.lecture)
    if notebook is None or len(args.fault) not in (0, 3):
        parser.error(f"no notebook {args.lecture}_*.ipynb" if notebook is None else "a fault is FILE OLD NEW")
    failure = run_lecture(notebook, args.fault or None)
    print(f"{notebook.name}: every cell passes" if failure is None else f"{notebook.name}: {failure}")
    return failure is not None


if __name__ == "__main__":
    sys.exit(main())
