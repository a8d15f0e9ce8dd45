"""Reading a submission: what it defines is kept, what it does is left out.

Kept are imports, functions, classes, assignments of plain values, and whatever is assigned to an exercise's own name;
plots, training, prints and calls of ``check`` are not run again. A cell that cannot be read is left out and said, the
others count.
"""

import ast
import hashlib
import json
import linecache
import re
from dataclasses import dataclass, field
from pathlib import Path

from ..checks.exercise import SETS

PLAIN_CALLS = {
    "dict", "list", "tuple", "set", "float", "int", "str", "bool", "range", "round", "len", "min", "max", "sum", "abs",
    "personal", "sorted", "zip", "enumerate",
}  # fmt: skip
PLAIN_MODULES = {"math", "np", "numpy", "torch"}
MAX_BYTES = 20_000_000
ENDINGS = (".ipynb", ".py")
NOBODYS = (".", "__MACOSX", "__pycache__")  # what systems put beside the files of students
MAGICS = re.compile(r"^\s*([%!].*|\?{1,2}[\w.]+|[\w.]+\?{1,2})$")


@dataclass
class Submission:
    """One file of one student."""

    path: Path
    name: str
    number: str | None  # of its problem set
    statements: list = field(default_factory=list)  # (statement, filename, the names it is run for or None: always)
    notes: list = field(default_factory=list)  # what could not be read
    digest: str = ""
    student: str | None = None  # what STUDENT is set to


def find_submissions(paths):
    """The files to grade: each path itself, or what lies in a folder. (path, name) pairs, names all different."""
    files = []
    for path in map(Path, paths):
        if not path.exists():
            raise ValueError(f"{path} does not exist: give a notebook, a .py file, or a folder of them")
        inside = [p for p in files_in(path) if p.suffix.lower() in ENDINGS] if path.is_dir() else [path]
        files += [(p, name_of(p, path)) for p in inside]
    if not files:
        raise ValueError(f"no .ipynb and no .py in {', '.join(map(str, paths))}")
    by_name = {}
    for path, name in files:
        by_name.setdefault(name.casefold(), []).append(str(path))
    for name, same in by_name.items():
        if len(same) > 1:
            raise ValueError(
                f"two submissions are named {name!r}, {' and '.join(same)}: give each student one file, or a folder"
            )
    return files


def files_in(folder):
    """All files below a folder but those that no student made."""
    found = sorted(p for p in folder.rglob("*") if p.is_file())
    return [p for p in found if not any(part.startswith(NOBODYS) for part in p.relative_to(folder).parts)]


def not_taken(paths):
    """The files in the folders that are neither a notebook nor a .py file."""
    folders = [path for path in map(Path, paths) if path.is_dir()]
    return [p for folder in folders for p in files_in(folder) if p.suffix.lower() not in ENDINGS]


def name_of(path, top):
    """The file's name without ending, with its folders below ``top`` in front of it."""
    inside = path.relative_to(top) if top.is_dir() else Path(path.name)
    return "_".join([*inside.parts[:-1], inside.stem])


def read_submission(path, name, number=None):
    """A submission, read and never run."""
    raw = path.read_bytes()
    result = Submission(path, name, number, digest=hashlib.sha256(raw).hexdigest())
    if len(raw) > MAX_BYTES:
        result.number = None
        result.notes.append(
            f"the file has {len(raw) / 1e6:.0f} MB: clear its outputs (at most {MAX_BYTES / 1e6:.0f} MB)"
        )
        return result
    try:
        cells = read_cells(path, raw)
    except ValueError as error:
        result.number = None  # it is not graded, not even with no points
        result.notes.append(f"the file cannot be read: {error}")
        return result
    seen = number_of("\n".join(cells))
    result.number = number or seen
    if not any(cell.strip() for cell in cells):
        result.notes.append("there is no code in it")
    elif result.number is None:
        result.notes.append('no call such as check("05.1", ...) shows which problem set it is')
    elif seen not in (None, result.number):
        result.notes.append(f"this looks like problem set {seen}; it was graded as set {result.number}")
    for place, cell in enumerate(cells, 1):
        keep_definitions(cell, f"{name}, code cell {place}", result)
    return result


def read_cells(path, raw):
    """The code of each cell; what is wrong with a file is said to the student who handed it in."""
    if not raw.strip():
        raise ValueError("it is empty. Hand it in again")
    try:
        text = raw.decode("utf-8-sig")
        if path.suffix.lower() != ".ipynb":
            return re.split(r"^# %%.*$", text, flags=re.M)
        return ["".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ValueError("it is no notebook. Open it in Jupyter, save it as .ipynb, and hand it in again") from None


def number_of(text):
    """The set whose exercises are checked most often."""
    found = re.findall(r"""check\(\s*["'](\d\d)\.\d""", text)
    known = [number for number in found if number in SETS]
    return max(set(known), key=known.count) if known else None


def keep_definitions(cell, filename, result):
    try:
        source, tree = parsed(cell)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        where = f" in its line {error.lineno}: `{error.text.strip()}`" if getattr(error, "text", None) else ""
        said = getattr(error, "msg", None) or type(error).__name__
        result.notes.append(f"{filename.rpartition(', ')[2]} is left out: {said}{where}")
        return
    linecache.cache[filename] = (len(source), None, source.splitlines(True), filename)  # tracebacks show its lines
    for statement in tree.body:
        names = assigned(statement)
        if is_definition(statement):
            result.statements.append((statement, filename, None))
        elif names:
            result.statements.append((statement, filename, names))
        if "STUDENT" in names and isinstance(statement.value, ast.Constant):
            result.student = str(statement.value.value)


def parsed(cell):
    """A cell's text and tree, without Jupyter's own lines if it has some: `%time`, `!pip`, `name?`."""
    try:
        return cell, ast.parse(cell)
    except SyntaxError:
        source = "\n".join("" if MAGICS.match(line) else line for line in cell.split("\n"))
        return source, ast.parse(source)


def assigned(statement):
    """The names to which a statement gives something: `a = ...`, `a["b"] = ...`, `a.update(...)`."""
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, ast.AnnAssign | ast.AugAssign):
        targets = [statement.target]
    elif isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        targets = [statement.value.func.value] if isinstance(statement.value.func, ast.Attribute) else []
    else:
        targets = []
    return {node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)}


def is_definition(statement):
    if isinstance(statement, ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
        return True
    if not isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign):
        return False
    calls = [node.func for node in ast.walk(statement) if isinstance(node, ast.Call)]
    return all(is_plain(function) for function in calls)


def is_plain(function):
    if isinstance(function, ast.Name):
        return function.id in PLAIN_CALLS
    while isinstance(function, ast.Attribute):
        function = function.value
    return isinstance(function, ast.Name) and function.id in PLAIN_MODULES


def run_definitions(submission, wanted=()):
    """The names that a submission defines, and what failed on the way. This runs its code.

    Assignments that call the student's own functions are run only where they give one of the names in ``wanted``.
    """
    names, notes = {"__name__": "submission"}, []
    for statement, filename, only_for in submission.statements:
        if only_for is not None and not only_for & {*wanted}:
            continue
        try:
            exec(compile(ast.Module([statement], []), filename, "exec"), names)
        except Exception as error:
            notes.append(f"line {statement.lineno} of {filename.rpartition(', ')[2]}: {type(error).__name__}: {error}")
    return names, notes
