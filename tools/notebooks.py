#!/usr/bin/env python3
"""Build and check the notebooks.

    python tools/notebooks.py build          every notebook
    python tools/notebooks.py build 00 03    those whose names start so
    python tools/notebooks.py text           the words alone, where no code has changed
    python tools/notebooks.py check          nothing is executed; a second or so

The source of a notebook is ``notebooks/NN_topic.py`` or ``solutions/NN_topic.py`` (jupytext, py:percent). ``build``
executes it and writes ``NN_topic.ipynb`` beside it, and for a lecture ``notebooks/work/NN_work_topic.ipynb``: the
same cells without outputs, its relative links turned so that they are right from there. Two builds with the same
versions give the same bytes, except in cells tagged ``timing``. ``text`` executes nothing and leaves the outputs as
they are. ``check`` finds what a reader must never meet: a pair out of step, outputs older than their code, a cell
that never ran, a link to a file that is not there.
"""

import argparse
import sys
from pathlib import Path

import nbformat

sys.path.insert(0, str(Path(__file__).resolve().parent))
from building.blanks import blank_copy
from building.execution import BuildError, execute
from building.minutes import write_minutes
from building.problems import check
from building.sources import METADATA, ROOT, code_cells, code_hash, read_source, sources, work_copy


def build(source, fill=execute):
    """Execute one source, then write its notebook and work copy. A failure leaves the old files as they were.

    ``fill(notebook)`` gives the cells their outputs.
    """
    from flash_tutorial.files import write_text

    if source.parent.name == "notebooks":
        write_minutes(source)
    notebook = read_source(source)
    blank = blank_copy(notebook)
    fill(notebook)
    notebook.metadata = nbformat.from_dict(
        METADATA | {"flash_tutorial": {"executed_code": code_hash(notebook)}}
    )
    for result, path in ((notebook, source.with_suffix(".ipynb")), (blank, work_copy(source))):
        if path is not None:
            nbformat.validate(result)
            path.parent.mkdir(exist_ok=True)
            write_text(path, nbformat.writes(result).rstrip("\n") + "\n")


def build_text(source):
    """Write a source's words into its notebook and work copy; outputs stay. BuildError if its code has changed."""

    def fill(notebook):
        path = source.with_suffix(".ipynb")
        stored = nbformat.read(path, as_version=4) if path.is_file() else None
        if stored is None or code_hash(stored) != code_hash(notebook):
            raise BuildError("its code has changed, or was never executed: build it")
        for cell, before in zip(code_cells(notebook), code_cells(stored), strict=True):
            cell.outputs = before.outputs
            cell.execution_count = before.execution_count

    build(source, fill)


def main(arguments=None, root=ROOT):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=("build", "text", "check"))
    parser.add_argument(
        "names", nargs="*", metavar="NN", help="the start of a notebook's name; all without one"
    )
    args = parser.parse_args(arguments)
    failed = []
    try:
        chosen = sources(root, args.names)
    except ValueError as error:
        parser.error(str(error))
    make = {"build": build, "text": build_text}.get(args.command)
    for source in chosen if make else []:
        name = source.relative_to(root).as_posix()
        print(f"{name} ...", flush=True)
        try:
            make(source)
        except BuildError as error:
            failed.append(name)
            print(f"{name} failed; what was built before is untouched\n{error}", file=sys.stderr)
    found = [line for line in check(root, args.names) if line.split(":")[0] not in failed]
    for line in found:
        print(line, file=sys.stderr)
    if failed or found:
        return 1
    print(f"{len(chosen)} notebooks in order")
    return 0


if __name__ == "__main__":
    sys.exit(main())
