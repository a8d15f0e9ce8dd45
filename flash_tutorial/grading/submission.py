"""Reading a submission: what it defines is kept, what it does is left out.

Kept are imports, functions, classes, and assignments of plain values; plots, training, prints and calls of ``check``
are not run again. A cell that cannot be read is left out and said, the others count.
"""

import ast
import hashlib
import json
import linecache
import re
from dataclasses import dataclass, field
from pathlib import Path

from ..exercises.model import SETS

PLAIN_CALLS = {
    "dict", "list", "tuple", "set", "float", "int", "str", "bool", "range", "round", "len", "min", "max", "sum", "abs",
    "personal", "sorted", "zip", "enumerate",
}  # fmt: skip
PLAIN_MODULES = {"math", "np", "numpy", "torch"}
MAX_BYTES = 20_000_000


@dataclass
class Submission:
    """One file of one student."""

    path: Path
    name: str
    number: str | None  # of its problem set
    statements: list = field(default_factory=list)  # (source, filename) of what is kept
    notes: list = field(default_factory=list)  # what could not be read
    digest: str = ""


def find_submissions(paths):
    """The files to grade: each path itself, or what lies in a folder. (path, name) pairs, names all different."""
    files = []
    for path in map(Path, paths):
        if not path.exists():
            raise ValueError(f"{path} does not exist: give a notebook, a .py file, or a folder of them")
        inside = sorted(p for p in path.rglob("*") if p.suffix in (".ipynb", ".py")) if path.is_dir() else [path]
        files += [(p, name_of(p, path)) for p in inside if ".ipynb_checkpoints" not in p.parts]
    if not files:
        raise ValueError(f"no .ipynb and no .py in {', '.join(map(str, paths))}")
    names = [name for _, name in files]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(
            f"two submissions are named {sorted(twice)[0]!r}: give each student a file or folder of their own"
        )
    return files


def name_of(path, top):
    """The file's name without ending, with its folders below ``top`` in front of it."""
    inside = path.relative_to(top) if top.is_dir() else Path(path.name)
    return "_".join([*inside.parts[:-1], inside.stem])


def read_submission(path, name, number=None):
    """A submission, read and never run."""
    raw = path.read_bytes()
    result = Submission(path, name, number, digest=hashlib.sha256(raw).hexdigest())
    if len(raw) > MAX_BYTES:
        result.notes.append(
            f"the file has {len(raw) / 1e6:.0f} MB: clear its outputs (at most {MAX_BYTES / 1e6:.0f} MB)"
        )
        return result
    try:
        cells = read_cells(path, raw.decode("utf-8"))
    except (ValueError, KeyError, TypeError) as error:
        result.notes.append(f"the file cannot be read: {error}")
        return result
    result.number = number or number_of("\n".join(cells))
    if result.number is None:
        result.notes.append("it is not clear to which problem set it belongs: give --set")
    for place, cell in enumerate(cells, 1):
        keep_definitions(cell, f"{name}, cell {place}", result)
    return result


def read_cells(path, text):
    if path.suffix != ".ipynb":
        return re.split(r"^# %%.*$", text, flags=re.M)
    cells = json.loads(text)["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def number_of(text):
    """The set whose exercises are checked most often."""
    found = re.findall(r"""check\(\s*["'](\d\d)\.\d""", text)
    known = [number for number in found if number in SETS]
    return max(set(known), key=known.count) if known else None


def keep_definitions(cell, filename, result):
    lines = ["" if line.lstrip().startswith(("%", "!")) else line for line in cell.split("\n")]
    source = "\n".join(lines)
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError) as error:
        result.notes.append(f"{filename.rpartition(', ')[2]} is left out: {error}")
        return
    linecache.cache[filename] = (len(source), None, source.splitlines(True), filename)  # tracebacks show its lines
    for statement in tree.body:
        if is_definition(statement):
            result.statements.append((statement, filename))


def is_definition(statement):
    if isinstance(statement, ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
        return True
    if not isinstance(statement, ast.Assign | ast.AnnAssign):
        return False
    calls = [node.func for node in ast.walk(statement) if isinstance(node, ast.Call)]
    return all(is_plain(function) for function in calls)


def is_plain(function):
    if isinstance(function, ast.Name):
        return function.id in PLAIN_CALLS
    while isinstance(function, ast.Attribute):
        function = function.value
    return isinstance(function, ast.Name) and function.id in PLAIN_MODULES


def run_definitions(submission):
    """The names that a submission defines, and what failed on the way. This runs its code."""
    names, notes = {"__name__": "submission"}, []
    for statement, filename in submission.statements:
        try:
            exec(compile(ast.Module([statement], []), filename, "exec"), names)
        except Exception as error:
            notes.append(f"line {statement.lineno} of {filename.rpartition(', ')[2]}: {type(error).__name__}: {error}")
    return names, notes
