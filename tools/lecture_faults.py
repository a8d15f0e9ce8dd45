#!/usr/bin/env python3
"""Run a lecture with one fault planted in the package, and say which cell notices.

    python tools/lecture_faults.py 02                              as it is: every cell must pass
    python tools/lecture_faults.py 02 "reference: missing 1/n"     with a fault of the tables in faults/
    python tools/lecture_faults.py 02 flash_tutorial.reference.gelu OLD NEW
                                                                   OLD, found once in that function, becomes NEW

Cells run one after the other, as plain `pytest` runs them: an error fails, and so does the printed output of a cell
tagged ``nbval-check-output`` that is not the stored one. The first failure ends the run.

There is no kernel, and nothing is run twice: one process runs the cells without a fault, and before each of them a copy
of it (a fork) stands still. A fault is planted in the copy before the first cell that calls what is faulty.
"""

import argparse
import cProfile
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # for faults.planter
# on a Mac a fork of torch may crash
FORK = multiprocessing.get_context("fork") if sys.platform == "linux" else None
SECONDS = 300  # of the cells that run with one fault


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


def run_lecture(notebook, faults=None, root=ROOT):
    """What fails first in a notebook: (as it is, {name: with this fault}), each a ``Failure`` or None.

    ``faults``: {name: fault of the planter}. With some, the cells as they are run only so far as a fault needs them.
    """
    faults = faults or {}
    if FORK is None and len(faults) > 1:
        raise ValueError(
            f"{len(faults)} faults at once need a system that can fork, as Linux can: give one"
        )
    with tempfile.TemporaryDirectory() as folder:
        cells = Path(folder, "cells")
        cells.mkdir()
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(
                [str(root), *filter(None, [os.environ.get("PYTHONPATH")])]
            ),
            "FLASH_TUTORIAL_PROGRESS": str(Path(folder, "progress.json")),
            "IPYTHONDIR": str(Path(folder, "ipython")),
            "MPLBACKEND": "Agg",
            "OMP_NUM_THREADS": "1",  # a pool's other threads would not be there after a fork
            "PYTHONIOENCODING": "utf-8",
        }
        answer = Path(folder, "answer.json")
        entries = {name: [fault.breaks, fault.edit] for name, fault in faults.items()}
        order = json.dumps([str(notebook), entries, str(root), str(answer)])
        run = subprocess.run(
            [sys.executable, __file__, "--cells", order],
            cwd=cells,
            env=environment,
            capture_output=True,
            encoding="utf-8",
            timeout=SECONDS * (1 + len(faults)),
        )
        if run.returncode:
            raise RuntimeError(
                f"{Path(notebook).name} could not be run: {(run.stderr or run.stdout).strip()[-2000:]}"
            )
        as_it_is, found = json.loads(answer.read_text(encoding="utf-8"))
    return as_it_is and Failure(**as_it_is), {
        name: one and Failure(**one) for name, one in found.items()
    }


# ---------------------------------------------------------------- in the process that runs the cells


def run_cells(notebook, entries, root):
    """The two answers of ``run_lecture``, failures as dictionaries."""
    import flash_tutorial
    from faults.planter import Fault

    if Path(flash_tutorial.__file__).resolve().parent.parent != Path(root).resolve():
        raise RuntimeError(f"flash_tutorial comes from {flash_tutorial.__file__}, not from {root}")
    faults = {name: Fault(breaks, tuple(edit)) for name, (breaks, edit) in entries.items()}
    shell, cells = new_shell(), cells_of(notebook)
    if FORK is None or not faults:
        found = {name: first_failure(shell, cells, fault) for name, fault in faults.items()}
        as_it_is = None if faults else first_failure(shell, cells)
        return as_it_is, found
    return with_faults(shell, cells, faults)


def with_faults(shell, cells, faults):
    from faults.planter import changed_code

    faulty = {name: {*changed_code(fault)} for name, fault in faults.items()}
    found, furthest = dict.fromkeys(faults), 0
    for position, cell in enumerate(cells):
        if not faulty and cell[0] > furthest:
            break
        snapshot = Snapshot(
            lambda name, at=position: first_failure(shell, cells[at:], faults[name])
        )
        with cProfile.Profile() as profile:
            as_it_is = failure_of(shell, *cell)
        called = {entry.code for entry in profile.getstats()}
        names = [name for name, codes in faulty.items() if codes & called]
        for name, failure in snapshot.ask(names):
            found[name] = failure
            if failure:
                furthest = max(furthest, failure["cell"])
            del faulty[name]
        if as_it_is:
            return as_it_is, found
    return None, found


class Snapshot:
    """A copy of this process that stands still. For each name it is given it runs ``run(name)`` in another copy."""

    def __init__(self, run):
        self.connection, other = FORK.Pipe()
        self.process = FORK.Process(target=self.stand, args=(other, run))
        self.process.start()
        other.close()

    def ask(self, names):
        """[(name, what it gave)]"""
        self.connection.send(names)
        found = [self.connection.recv() for _ in names]
        self.process.join()
        return found

    def stand(self, connection, run):
        self.connection.close()  # then it ends with the process that it was copied from
        for name in connection.recv():
            process = FORK.Process(target=lambda name=name: connection.send((name, run(name))))
            process.start()
            process.join(SECONDS)
            if process.exitcode != 0:
                process.kill()
                connection.send(
                    (name, {"cell": 0, "kind": "crash", "said": f"exit code {process.exitcode}"})
                )


def first_failure(shell, cells, fault=None):
    """The first failure of cells, with a fault in the package, or None."""
    from faults.planter import planted

    broken = planted(fault) if fault else nullcontext()
    with broken:
        return next(filter(None, (failure_of(shell, *cell) for cell in cells)), None)


def failure_of(shell, number, source, tags, stored):
    error, printed = run_cell(shell, source)
    kind, said = judge(error, printed, tags, stored)
    if not kind:
        return None
    return {"cell": number, "kind": kind, "said": said}


def cells_of(notebook):
    """(number from 1, source, tags, stored text) of the cells that are run."""
    import nbformat

    return [
        (number, cell.source, cell.metadata.get("tags", []), stored_text(cell.outputs))
        for number, cell in enumerate(nbformat.read(notebook, as_version=4).cells, 1)
        if cell.cell_type == "code"
        and cell.source.strip()
        and "nbval-skip" not in cell.metadata.get("tags", [])
    ]


def new_shell():
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    # a thread writes the history, and would not be there after a fork
    config = Config({"HistoryManager": {"enabled": False}})
    return InteractiveShell.instance(config=config, displayhook_class=value_hook())


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
    values = [
        output.data["text/plain"] for output in outputs if output.output_type == "execute_result"
    ]
    return printed + "\n".join(values)


def judge(error, printed, tags, stored):
    """(kind, text) of a failure, or (None, None)."""
    if "raises-exception" in tags:
        if error is None:
            return "no error", "the error that the cell shows did not come"
        return None, None
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
        *order, answer = json.loads(arguments[1])
        Path(answer).write_text(json.dumps(run_cells(*order)), encoding="utf-8")
        return 0
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("lecture", help="the start of its name, as in 02")
    parser.add_argument(
        "fault",
        nargs="*",
        help='nothing, a fault of the tables ("units: no residual"), or FUNCTION OLD NEW',
    )
    args = parser.parse_args(arguments)
    notebook = notebook_of(args.lecture)
    if notebook is None:
        parser.error(f"no notebook {args.lecture}_*.ipynb")
    fault = fault_of(args.fault, parser)
    faults = {"fault": fault} if fault else {}
    as_it_is, found = run_lecture(notebook, faults)
    failure = found.get("fault") or as_it_is
    said = "every cell passes" if failure is None else str(failure)
    print(f"{notebook.name}: {said}")
    return failure is not None


def fault_of(given, parser):
    """The fault that the command line names, or None."""
    from faults.planter import Fault, all_faults

    if not given:
        return None
    if len(given) == 3:
        return Fault(given[0], tuple(given[1:]))
    if len(given) > 1:
        parser.error(f"a fault is a name or FUNCTION OLD NEW, and {len(given)} words were given")
    known = all_faults()
    if given[0] not in known:
        parser.error(f"no fault is called {given[0]!r}: faults/*.toml name {len(known)}")
    return known[given[0]]


if __name__ == "__main__":
    sys.exit(main())
