"""Submissions of set 05, made from its untouched notebook and from its solution, for the tests of grading."""

import sys
from pathlib import Path

import nbformat
import pytest

from flash_course import cli
from flash_course.checks.exercise import load_exercise
from flash_course.grading import judging, sandbox
from flash_course.grading.child import Limits, in_child
from flash_course.grading.grade import Pool, grade
from flash_course.grading.submission import read_file

ROOT = Path(__file__).resolve().parents[1]
SOON = Limits(seconds=3)
FULL = 95  # of set 05, whose last five points a person gives
forks = pytest.mark.skipif(sys.platform == "win32", reason="grading needs Linux or macOS")
needs_sandbox = pytest.mark.skipif(
    sandbox.trouble() is not None, reason=f"no sandbox: {sandbox.trouble()}"
)
MODES = ["none", pytest.param("bwrap", marks=needs_sandbox)]


def source(solved=True):
    """Set 05 as one Python file."""
    if solved:
        return (ROOT / "solutions" / "05_mixed_chunk_attention.py").read_text(encoding="utf-8")
    cells = nbformat.read(
        ROOT / "exercises" / "05_set_mixed_chunk_attention.ipynb", as_version=4
    ).cells
    return "\n".join(f"# %%\n{cell.source}" for cell in cells if cell.cell_type == "code")


def graded(tmp_path, text, **options):
    """The whole way: a class of one, whose file has this text."""
    path = tmp_path / "ada.py"
    path.write_text(text, encoding="utf-8")
    options = {"limits": SOON, "quiet": True, "pool": Pool(), "mode": "none"} | options
    (result,) = grade([path], tmp_path / "out", **options)
    return result


def judged(tmp_path, text, name="05.1"):
    """What grading finds of one exercise of a file with this text: a short way, in a child of this process."""
    path = tmp_path / "ada.py"
    path.write_text(text, encoding="utf-8")
    task = {"exercise": name, "cells": read_file(path, "ada", name[:2]).cells, "name": "ada"}
    task |= {"seed": 1, "held_out": None}
    folder = tmp_path / "child"
    folder.mkdir(exist_ok=True)

    def found():
        return judging.judge({name: load_exercise(name)}, 10, task)

    ended = in_child(found, Limits(seconds=20), str(folder))
    assert ended.why is None, ended
    return ended.message


def with_body(body):
    """The solution, with another body of to_chunks."""
    return source() + f"\n\n# %%\n{to_chunks(body)}"


def to_chunks(body):
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    return f"def to_chunks(x_TD, C):\n{lines}\n"


def points(result):
    return {name: row["points"] for name, row in result["exercises"].items()}


def run(*arguments):
    """The command, in this process; grading without the sandbox unless it is asked for."""
    more = ["--sandbox", "none"] if arguments[0] == "grade" and "--sandbox" not in arguments else []
    return cli.main([*map(str, arguments), *more])
