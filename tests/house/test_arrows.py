"""Imports go downwards only: the course, then the library; and each floor of the library knows those below it.

Imports are read from the text, inside functions too, so that nothing has to be loaded.
"""

import ast
import re
import sys
from functools import cache
from itertools import chain
from pathlib import Path

import pytest

import flash_course  # noqa: F401 - for the names in its __all__
import flash_tutorial  # noqa: F401
from flash_course import addresses

pytestmark = pytest.mark.quick

ROOT = Path(__file__).resolve().parents[2]

# The library, from the ground up. A module imports those of its own floor and of lower ones.
FLOORS = (
    ("chunks", "layers", "mixing", "fast", "states", "gpu.kernels", "gpu.fused"),
    ("gau", "flash", "transformer"),
    ("generate",),
    ("model",),
    ("training.loop",),
)

# The course: what each part may import of it, besides itself. All may import flash_tutorial.
COURSE = {
    "addresses": set(),
    "asking": {"cards", "checks", "learner", "wrong_call"},
    "builds": {
        "bench.against_length",
        "bench.boundaries",
        "bench.counts",
        "checks.edits",
        "checks.interpreter",
    },
    "cards": {"checks.texts"},
    "learner": {"cards", "checks.compare", "checks.in_rows", "checks.texts", "wrong_call"},
    "mine": {"builds", "cards", "checks.compare", "checks.in_rows", "checks.outcome", "learner"},
    "side_by_side": {"builds", "mine"},
    "wrong_call": set(),
    "loops": {"successors"},
    "successors": set(),
    "variants": set(),
    "flags": set(),
    "going_on": set(),
    "processes": set(),
    # a project draws, and its settings are looked at; all else of the course stays behind
    "template": {"drawing", "project_settings"},
    "project_settings": set(),
    "new_project": {"addresses", "template"},
    "bench": set(),
    "drawing": set(),
    "lab": {"drawing", "bench.counts", "bench.stored"},
    # nothing that has a clock
    "checks": {"bench.counts", "bench.stored", "bench.tasks", "wrong_call"},
    "grading": {"checks", "learner"},
    "__init__": {"asking", "checks", "learner"},
    "cli": {
        "addresses",
        "asking",
        "learner",
        "flags",
        "going_on",
        "processes",
        "new_project",
        "bench",
        "drawing",
        "checks",
        "grading",
    },
}
# Tests are run, and show by themselves that a name is gone.
FOLDERS = ("notebooks", "solutions", "experiments", "tools", "flash_tutorial", "flash_course")


# ---------------------------------------------------------------- reading


def python_files(*folders):
    for folder in folders:
        yield from sorted((ROOT / folder).rglob("*.py"))


def module_name(path):
    """``flash_tutorial.gau``; a package by its own name, without ``__init__``."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def read(path):
    """The imports of a file, and the names that it defines or imports, at any depth."""
    nodes = []
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import | ast.ImportFrom):
            nodes.append(node)
            names |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return nodes, names


def taken_from(path):
    """(module, name) for each name of ``from ... import``; relative modules with their full names."""
    for node in read(path)[0]:
        if isinstance(node, ast.ImportFrom):
            package = path.relative_to(ROOT).parent.parts if node.level else ()
            parts = [*package[: len(package) - node.level + 1], node.module]
            module = ".".join(filter(None, parts))
            yield from ((module, alias.name) for alias in node.names)


def imports(path):
    """The modules that a file imports; ``from a import b`` gives a and a.b."""
    found = set()
    for node in read(path)[0]:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    for module, name in taken_from(path):
        found |= {module, f"{module}.{name}"}
    return found


def arrows_of(package):
    """{module: the modules of the same package that it imports}, ``__init__`` left out: it imports at first use."""
    paths = {module_name(path): path for path in python_files(package)}
    del paths[package]
    return {name: imports(path) & paths.keys() - {name} for name, path in paths.items()}


def reached(module, arrows):
    """All that a module imports, also through others."""
    found = set()
    open_names = [module]
    while open_names:
        new = arrows[open_names.pop()] - found
        found |= new
        open_names += new
    return found


# ---------------------------------------------------------------- the library

LIBRARY = arrows_of("flash_tutorial")


def floor_of(*names):
    """Their full names; each has to be there."""
    found = {f"flash_tutorial.{name}" for name in names}
    assert found <= {*LIBRARY}, f"{found - {*LIBRARY}} is not there: name its floor anew"
    return found


def test_the_library_never_imports_the_course():
    for path in python_files("flash_tutorial"):
        assert "flash_course" not in {name.split(".")[0] for name in imports(path)}, path.name


def test_the_reference_imports_nothing_and_no_module_takes_a_tool_from_it():
    """The torch code and its twin in NumPy share no line, so that one can test the other."""
    reference = "flash_tutorial.reference"
    assert LIBRARY[reference] == set()
    assert [name for name, targets in LIBRARY.items() if reference in targets] == []


def test_the_library_is_built_from_the_ground_up():
    for number, names in enumerate(FLOORS):
        above = floor_of(*chain.from_iterable(FLOORS[number + 1 :]))
        for module in floor_of(*names):
            assert reached(module, LIBRARY) & above == set(), module


def test_what_is_for_transformers_is_imported_by_nobody():
    """It is an extra: what is not installed may not be asked for by the rest."""
    inside = "flash_tutorial.hf"
    for path in python_files("flash_tutorial", "flash_course"):
        if not module_name(path).startswith(inside):
            assert [name for name in imports(path) if name.startswith(inside)] == [], path


@pytest.mark.parametrize("package", ["flash_tutorial", "flash_course"])
def test_no_module_imports_itself_through_others(package):
    arrows = arrows_of(package)
    for name, targets in arrows.items():
        # a package's own page, such as flash_tutorial.corpora, is imported with each of its modules
        arrows[name] = {target for target in targets if not name.startswith(f"{target}.")}
    assert [name for name in arrows if name in reached(name, arrows)] == []


# ---------------------------------------------------------------- the course


def below(name, target):
    """Whether a part of the course may import a name: ``bench.tasks``, what is in it, and the page ``bench`` above."""
    inner = target.removeprefix("flash_course.") + "."
    return any(
        inner.startswith(f"{known}.") or f"{known}.".startswith(inner)
        for known in {name, *COURSE[name]}
    )


def test_a_part_of_the_course_imports_what_lies_below_it():
    folder = ROOT / "flash_course"
    parts = {path.stem for path in folder.iterdir() if path.suffix == ".py" or [*path.glob("*.py")]}
    assert parts == {*COURSE}, "a part of the course has no place in COURSE"
    for name in COURSE:
        for path in [*(folder / name).rglob("*.py")] or [folder / f"{name}.py"]:
            ours = [target for target in imports(path) if target.startswith("flash_course.")]
            assert [target for target in ours if not below(name, target)] == [], path


# ---------------------------------------------------------------- what is imported is there

OURS = {module_name(path): path for path in python_files("flash_tutorial", "flash_course")}


def is_missing(module, name):
    if not re.match(r"flash_(tutorial|course)\b", module) or f"{module}.{name}" in OURS:
        return False
    public = getattr(sys.modules.get(module), "__all__", ())
    return module not in OURS or name not in {*read(OURS[module])[1], *public, "*"}


def test_what_is_imported_of_ours_is_there():
    """Also under ``except ImportError``, where a misspelt or moved name would go unnoticed."""
    for path in python_files(*FOLDERS):
        assert [each for each in taken_from(path) if is_missing(*each)] == [], path


def test_a_notebook_imports_packages_alone():
    """What Python has and what requirements.txt installs; no file beside it."""
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    listed = {re.match(r"[\w-]+", line)[0] for line in lines if re.match(r"\w", line)}
    known = {*sys.stdlib_module_names, *(name.replace("-", "_") for name in listed)}
    known |= {"flash_tutorial", "flash_course", "IPython"}
    for path in python_files("notebooks", "solutions"):
        assert {name.split(".")[0] for name in imports(path)} <= known, path.name
        # the setup cell, the same everywhere, asks what is installed
        text = path.read_text(encoding="utf-8").replace(addresses.first_cell(), "")
        assert not re.search(r"\bsys\.path\b|\bPYTHONPATH\b|\b__file__\b", text), path.name
