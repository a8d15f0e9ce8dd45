"""The code of a submission: which statements an exercise needs, and running those.

Functions, classes, imports and plain values are taken as they stand. Any other statement (a loop, ``if``, ``try``,
``with``, a call) runs where it may change what the exercise's names depend on, as it has when `check` was called. The
rest, plots and training and calls of ``check``, is left out.
"""

import __future__

import ast
import linecache
import re
import symtable
import sys
from dataclasses import dataclass, field
from types import ModuleType

from ..checks.texts import say

PLAIN_CALLS = {
    "dict", "list", "tuple", "set", "frozenset", "float", "int", "str", "bool", "complex", "range", "round", "len",
    "min", "max", "sum", "abs", "personal", "sorted", "zip", "enumerate", "map", "filter", "reversed", "divmod", "pow",
}  # fmt: skip
PLAIN_MODULES = {"math", "np", "numpy", "torch"}
SETTINGS = PLAIN_MODULES | {"random", "warnings", "sys", "locale", "logging"}  # a call such as np.seterr(...) alone
SHOWS = {"print", "display", "exit", "quit", "plt", "check", "hint", "progress", "predict", "reveal"}
OWN_LINES = re.compile(r"^\s*([%!].*|\?{1,2}[\w.]+|[\w.]+\?{1,2})$")  # Jupyter's: %matplotlib, !pip, name?
TIMED = re.compile(r"^(\s*)%time\s+")
NONLOCAL = re.compile(r"^(\s*)nonlocal .*$", re.MULTILINE)
PYTHON_CELLS = ("%%time", "%%capture", "%%prun")  # the other cell magics hand the cell to something else
NAMED = 5  # statements that are listed where a name is missing


@dataclass(eq=False)
class Statement:
    """A statement at the top of a cell."""

    tree: ast.stmt
    filename: str
    plain: bool  # whether it runs for every exercise
    writes: set = field(default_factory=set)
    reads: set = field(default_factory=set)


class Statements:
    """The statements of a submission's cells; ``notes`` name the cells that cannot be read."""

    def __init__(self, cells, name):
        self.all, self.notes = [], []
        for number, cell in enumerate(cells, 1):
            self.read(cell, f"{name}, code cell {number}")
        changes = Changes([one.tree for one in self.all])
        for one in self.all:
            one.reads, one.writes = globals_read(one.tree), changes.of(one.tree)

    def read(self, cell, filename):
        try:
            source, tree = parsed(cell)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            where = f" in its line {error.lineno}: `{error.text.strip()[:80]}`" if getattr(error, "text", None) else ""
            said = getattr(error, "msg", None) or type(error).__name__
            self.notes.append(f"{filename.rpartition(', ')[2]} is left out: {said}{where}")
            return
        linecache.cache[filename] = (len(source), None, source.splitlines(True), filename)  # tracebacks show its lines
        self.all += [Statement(tree, filename, is_definition(tree)) for tree in tree.body]

    @property
    def student(self):
        """What STUDENT is set to, as a plain value."""
        found = None
        for one in self.all:
            value = getattr(one.tree, "value", None)
            if isinstance(value, ast.Constant) and isinstance(one.tree, ast.Assign) and "STUDENT" in one.writes:
                found = str(value.value)
        return found

    def give(self, wanted):
        """The statements that give some names, and all that these depend on."""
        names, before = {*wanted}, None
        while names != before:
            before = {*names}
            for one in self.all:
                if one.writes & names:
                    names |= one.reads
        return [one for one in self.all if one.writes & names]

    def needed(self, wanted):
        """Those that run for an exercise's names, in their order."""
        given = self.give([*wanted, "STUDENT"])
        return [one for one in self.all if one.plain or one in given]

    def run(self, wanted):
        """The names that they define, and what failed on the way. This runs a student's code."""
        module = sys.modules["__main__"] = ModuleType("__main__")
        names, notes, needed = vars(module), [], self.needed(wanted)
        flags = future_flags(one.tree for one in self.all)
        for one in needed:
            try:
                exec(compile(ast.Module([one.tree], []), one.filename, "exec", flags, dont_inherit=True), names)
            except Exception as error:
                notes.append(f"{place(one)}: {type(error).__name__}: {str(error)[:300]}")
        if not {*wanted} <= {*names}:
            notes += [f"{place(one)}: {say('all', 'not run', code=first_line(one))}" for one in self.left_out(needed)]
        return names, notes

    def left_out(self, needed):
        """Some of the statements that did not run, besides those that only show or check something."""
        out = [one for one in self.all if one not in needed and not only_shows(one.tree)]
        return out[:NAMED]


def future_flags(trees):
    """What ``from __future__ import annotations`` asks of the compiler, in a notebook for all cells behind it too."""
    imports = [tree for tree in trees if isinstance(tree, ast.ImportFrom) and tree.module == "__future__"]
    features = {getattr(__future__, alias.name, None) for one in imports for alias in one.names} - {None}
    return sum(feature.compiler_flag for feature in features)


def only_shows(tree):
    value = getattr(tree, "value", None)
    installs = isinstance(tree, ast.If) and "google.colab" in ast.unparse(tree.test)  # a notebook's first cell
    return installs or isinstance(tree, ast.Assert) or isinstance(value, ast.Constant) or base(value) in SHOWS


def first_line(statement):
    return ast.unparse(statement.tree).partition("\n")[0][:80]


def needed_text(source, wanted):
    """The part of a module's text that gives some names."""
    return "\n".join(ast.unparse(one.tree) for one in Statements([source], "module").give(wanted)) + "\n"


def place(statement):
    return f"line {statement.tree.lineno} of {statement.filename.rpartition(', ')[2]}"


def python_of(cell):
    """The cell's own Python: none of a cell that Jupyter hands to a shell or writes to a file."""
    first, _, rest = cell.lstrip().partition("\n")
    if not first.startswith("%%"):
        return cell
    return rest if first.split()[0] in PYTHON_CELLS else ""


def parsed(cell):
    """A cell's text and tree, without Jupyter's own lines if it has some: `%matplotlib`, `!pip`, `name?`."""
    cell = python_of(cell)
    try:
        return cell, ast.parse(cell)
    except SyntaxError:
        lines = [TIMED.sub(r"\1", line) for line in cell.split("\n")]
        source = "\n".join("" if OWN_LINES.match(line) else line for line in lines)
        return source, ast.parse(source)


# ---------------------------------------------------------------- what a statement is, reads and writes


def is_definition(statement):
    """An import, a function, a class, a value without a call of the student's own functions, a setting of a library."""
    if isinstance(statement, ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
        return True
    calls = [node.func for node in ast.walk(statement) if isinstance(node, ast.Call)]
    if isinstance(statement, ast.Expr):
        setting = isinstance(statement.value, ast.Call) and is_of(statement.value.func, SETTINGS)
        return setting and statement.value.func.attr != "exit" and all(map(is_plain, calls[1:]))
    return isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign) and all(map(is_plain, calls))


def is_plain(function):
    if isinstance(function, ast.Name):
        return function.id in PLAIN_CALLS
    return is_of(function, PLAIN_MODULES) or isinstance(getattr(function, "value", None), ast.Constant)  # "a b".split()


def is_of(function, modules):
    return isinstance(function, ast.Attribute) and base(function) in modules


def base(node):
    """The name that an expression such as ``a.b["c"].d()`` begins with, or None."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call | ast.Starred):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else None


def globals_read(tree):
    """The global names that a statement reads, now or when a function in it is called."""
    return {symbol.get_name() for symbol in symbols(tree) if symbol.is_referenced()}


def symbols(tree):
    """The symbols of a statement that are global, in whatever function they stand."""
    alone = NONLOCAL.sub(r"\1pass", ast.unparse(tree))  # a function within another is read by itself
    tables = [symtable.symtable(alone, "statement", "exec")]
    for table in tables:
        top = table.get_type() == "module"
        yield from (symbol for symbol in table.get_symbols() if top or symbol.is_global())
        tables += table.get_children()


class Changes:
    """Which global names a statement gives a value, or whose value it may change.

    ``a = ...``, ``a["b"] = ...``, ``a.update(...)``, ``fill(a)``, a call of a function that changes a global name.
    """

    def __init__(self, trees):
        everything = [node for tree in trees for node in ast.walk(tree)]
        self.functions = [node for node in everything if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
        imports = [node for node in everything if isinstance(node, ast.Import | ast.ImportFrom)]
        self.fixed = {node.name for node in everything if isinstance(node, ast.ClassDef)} | SHOWS
        self.fixed |= {node.name for node in self.functions}
        self.fixed |= {(alias.asname or alias.name).partition(".")[0] for node in imports for alias in node.names}
        self.effects, found = {}, {node: [*symbols(node)] for node in self.functions}
        for _ in range(3):  # a function that calls one that calls one
            self.effects = {node.name: self.inside(node, found[node]) for node in self.functions}

    def of(self, tree):
        """The names that a statement at the top changes."""
        if isinstance(tree, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            decorated = set().union(*(self.effects.get(base(one), set()) for one in tree.decorator_list))
            return {tree.name} | decorated
        given = {symbol.get_name() for symbol in symbols(tree) if symbol.is_assigned() or symbol.is_imported()}
        return given | self.changed(tree)

    def inside(self, function, found):
        """The global names that a call of a function with these symbols changes."""
        declared = {symbol.get_name() for symbol in found if symbol.is_declared_global() and symbol.is_assigned()}
        return declared | self.changed(function) & {symbol.get_name() for symbol in found}

    def changed(self, tree):
        """The names whose value changes in place."""
        found = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute | ast.Subscript) and not isinstance(node.ctx, ast.Load):
                found.add(base(node))
            if isinstance(node, ast.Call):
                found |= self.effects.get(base(node.func), set())
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and base(node.value.func) not in SHOWS:
                call = node.value
                given = [*call.args, *(keyword.value for keyword in call.keywords), call.func]
                found |= {base(one) for one in given if not isinstance(one, ast.Call)} - self.fixed
        return found - {None}
