"""Imports go downwards only: the course, then the library; and each floor of the library knows those below it.

Imports are read from the text, inside functions too, so that nothing has to be loaded.
"""

import ast
import re
import sys
from pathlib import Path

import pytest

import flash_course  # noqa: F401 - for the names in its __all__
import flash_tutorial  # noqa: F401

pytestmark = pytest.mark.quick

ROOT = Path(__file__).resolve().parents[2]

# The library, from the ground up. A module imports those of lower floors; on the ground floor each other too.
GROUND = ("chunks", "layers", "mixing", "fast", "states", "gpu.kernels", "gpu.fused")
UNITS = ("gau", "flash", "transformer")
FLOORS = (GROUND, UNITS, ("generate",), ("model",), ("training.loop",))

# The course: what each part may import of it, besides itself. All may import flash_tutorial.
COURSE = {
    "addresses": set(),
    "learner": set(),
    "loops": {"successors"},
    "successors": set(),
    "variants": set(),
    "writing": set(),
    # a project counts and draws; all else of the course stays behind
    "template": {
        "bench.counts",
        "figures",
    },
    "new_project": {"addresses", "template"},
    "bench": set(),
    "figures": set(),
    "lab": {"figures", "bench.counts"},
    # nothing that has a clock
    "checks": {
        "learner",
        "bench.counts",
        "bench.stored",
        "bench.tasks",
    },
    "grading": {"checks", "learner"},
    "__init__": {"checks", "learner"},
    "cli": {
        "addresses",
        "learner",
        "writing",
        "new_project",
        "bench",
        "figures",
        "checks",
        "grading",
    },
}


def module_name(path, root=ROOT):
    """``flash_tutorial.units``; a package by its own name, without ``__init__``."""
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def full_name(node, path, root=ROOT):
    """The module that ``from ... import`` in a file names, also by dots."""
    package = path.relative_to(root).parent.parts if node.level else ()
    return ".".join(
        [*package[: len(package) - node.level + 1], *([node.module] if node.module else [])]
    )


def imports(path, root=ROOT):
    """The modules that a file imports, relative ones with their full names; ``from a import b`` gives a and a.b."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = full_name(node, path, root)
            found |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    return found


def graph(package, root=ROOT):
    """{module: the modules of the same package that it imports}, ``__init__`` left out: it imports at first use."""
    paths = [
        path
        for path in sorted((root / package).rglob("*.py"))
        if path != root / package / "__init__.py"
    ]
    names = {module_name(path, root) for path in paths}
    return {
        module_name(path, root): imports(path, root) & names - {module_name(path, root)}
        for path in paths
    }


def reached(module, arrows):
    """All that a module imports, also through others."""
    found, open_names = set(), [module]
    while open_names:
        new = arrows[open_names.pop()] - found
        found |= new
        open_names += new
    return found


def tutorial(*names):
    """Their full names; each has to be there."""
    found = {f"flash_tutorial.{name}" for name in names}
    assert found <= {*ARROWS}, f"{found - {*ARROWS}} is not there: name its floor anew"
    return found


ARROWS = graph("flash_tutorial")


def test_the_library_never_imports_the_course():
    for path in (ROOT / "flash_tutorial").rglob("*.py"):
        assert "flash_course" not in {name.split(".")[0] for name in imports(path)}, path.name


def test_the_reference_imports_nothing_and_no_module_takes_a_tool_from_it():
    assert ARROWS["flash_tutorial.reference"] == set()
    taken = {name for name, targets in ARROWS.items() if "flash_tutorial.reference" in targets}
    assert taken == set(), (
        "the torch code and its twin in NumPy share no line, so that one can test the other"
    )


@pytest.mark.parametrize("floor", range(len(FLOORS)), ids=lambda floor: FLOORS[floor][-1])
def test_the_tutorial_is_built_from_the_ground_up(floor):
    above = tutorial(*(name for names in FLOORS[floor:] for name in names))
    for module in tutorial(*FLOORS[floor]):
        ours = tutorial(*FLOORS[floor])
        assert reached(module, ARROWS) & above - ours == set(), module


@pytest.mark.parametrize("package", ["flash_tutorial", "flash_course"])
def test_no_module_imports_itself_through_others(package):
    arrows = graph(package)
    # a package's own page, such as flash_tutorial.corpora, is imported with each of its modules
    arrows = {
        name: {target for target in targets if not name.startswith(f"{target}.")}
        for name, targets in arrows.items()
    }
    assert [name for name in arrows if name in reached(name, arrows)] == []


def below(name, target):
    """Whether a part of the course may import a name: ``bench.tasks``, what is in it, and the page ``bench`` above."""
    inner = target.removeprefix("flash_course.") + "."
    return any(
        inner.startswith(f"{known}.") or f"{known}.".startswith(inner)
        for known in {name, *COURSE[name]}
    )


@pytest.mark.parametrize("name", COURSE)
def test_a_part_of_the_course_imports_what_lies_below_it(name):
    folder = ROOT / "flash_course"
    paths = sorted((folder / name).rglob("*.py")) or [folder / f"{name}.py"]
    found = {
        f"{path.name}: {target}"
        for path in paths
        for target in imports(path)
        if target.startswith("flash_course.") and not below(name, target)
    }
    assert found == set()


def test_each_part_of_the_course_has_its_place():
    there = {
        path.stem
        for path in (ROOT / "flash_course").iterdir()
        if path.suffix == ".py" or list(path.glob("*.py"))
    }
    assert there == set(COURSE)


# ---------------------------------------------------------------- what is imported is there


def names_in(path):
    """What a module defines or imports, at any depth: text enough to miss no misspelt or moved name."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = {
        node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.ClassDef))
    }
    found |= {
        node.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    return found | {
        (alias.asname or alias.name).split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in node.names
    }


def missing_imports(path, root=ROOT):
    """Of the names that a file imports from our packages, those that nobody defines; guarded imports are read too."""
    ours, missing = {module_name(p, root): p for p in root.glob("flash_*/**/*.py")}, []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom):
            continue
        module = full_name(node, path, root)
        if not re.match("flash_(support|tutorial|course)", module):
            continue
        for name in (alias.name for alias in node.names):
            if f"{module}.{name}" in ours or name == "*":
                continue
            public = getattr(sys.modules.get(module), "__all__", ())
            if module not in ours or name not in {*names_in(ours[module]), *public}:
                missing.append(f"{module}: {name}")
    return missing


FOLDERS = (
    "notebooks",
    "solutions",
    "experiments",
    "tools",
    "tests",
    "flash_tutorial",
    "flash_course",
)
USERS = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]


@pytest.mark.parametrize("path", USERS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_what_is_imported_of_ours_is_there(path):
    """Also under ``except ImportError``, where a name that was moved would go unnoticed."""
    assert missing_imports(path) == []


def test_a_moved_name_is_found(tmp_path):
    path = tmp_path / "page.py"
    path.write_text(
        "try:\n    from flash_tutorial import fused\nexcept ImportError:\n    fused = None\n",
        encoding="utf-8",
    )
    assert missing_imports(path) == ["flash_tutorial: fused"]


# ---------------------------------------------------------------- notebooks


def known_packages():
    """What Python itself has and what requirements.txt installs."""
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    listed = {
        re.match(r"[\w-]+", line)[0].replace("-", "_") for line in lines if re.match(r"\w", line)
    }
    return {*sys.stdlib_module_names, *listed, "flash_tutorial", "flash_course", "IPython"}


NOTEBOOKS = [
    path for folder in ("notebooks", "solutions") for path in sorted((ROOT / folder).glob("*.py"))
]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_notebook_imports_packages_alone(path):
    assert {name.split(".")[0] for name in imports(path)} <= known_packages()
    assert not re.search(
        r"\bsys\.path\b|\bPYTHONPATH\b|\b__file__\b", path.read_text(encoding="utf-8")
    )


# ---------------------------------------------------------------- the readers of arrows


def small_package(root, **files):
    (root / "house").mkdir()
    for name, text in {"__init__": "", **files}.items():
        (root / "house" / f"{name}.py").write_text(text, encoding="utf-8")
    return graph("house", root)


def test_imports_inside_functions_are_read(tmp_path):
    arrows = small_package(
        tmp_path,
        low="import math",
        middle="def f():\n    from .low import x\n    import torch.nn",
        high="from . import middle\nfrom house import low",
    )
    assert arrows == {
        "house.low": set(),
        "house.middle": {"house.low"},
        "house.high": {"house.middle", "house.low"},
    }
    assert reached("house.high", arrows) == {"house.middle", "house.low"}


def test_a_circle_is_found(tmp_path):
    arrows = small_package(
        tmp_path, a="from .b import x", b="def f():\n    from . import c", c="import house.a"
    )
    assert all(name in reached(name, arrows) for name in arrows)
