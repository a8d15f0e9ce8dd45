"""The code of a submission: which statements an exercise needs, and running those.

Functions, classes, imports and plain values are taken as they stand. Any other statement (a loop, ``if``, ``try``,
``with``, a call) runs where it may change what the exercise's names depend on, as it has when `check` was called. The
rest, plots and training and calls of ``check``, is left out, unless a name is missing then: ``exec`` may make it.
"""

import __future__

import ast
import asyncio
import builtins
import inspect
import linecache
import sys
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import chain
from types import CodeType, ModuleType
from unittest import mock

import flash_course

from .cells import python_of, tree_of
from .effects import Effects, globals_read, is_definition, only_shows
from .processes import at_most

UNREADABLE = (SyntaxError, ValueError, RecursionError, MemoryError, RuntimeError)
IN_A_CELL = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
MORE = 5  # notes where all statements have run
SAID = 300  # characters of an error


@dataclass(eq=False)
class Statement:
    """A statement at the top of a cell."""

    tree: ast.stmt
    code: CodeType
    filename: str
    writes: set = field(default_factory=set)
    reads: set = field(default_factory=set)


class Statements:
    """The statements of a submission's cells.

    ``cells`` is their Python, nothing where it cannot be read; ``notes`` name those cells.
    """

    def __init__(self, cells, name):
        self.all, self.notes, self.cells = [], [], []
        for number, cell in enumerate(cells, 1):
            self.cells.append(self.read(cell, f"{name}, code cell {number}"))
        self.flags = future_flags(one.tree for one in self.all)
        effects = Effects([one.tree for one in self.all], [one.code for one in self.all])
        for one in self.all:
            one.reads = globals_read(one.code)
            one.writes = effects.of(one.tree, one.code)

    def read(self, cell, filename):
        """Take a cell's statements; returns its Python."""
        try:
            source = python_of(cell)
            found = [
                Statement(tree, compiled(tree, filename), filename) for tree in tree_of(source).body
            ]
        except UNREADABLE as error:
            text = getattr(error, "text", None)
            where = f" in its line {error.lineno}: `{text.strip()[:80]}`" if text else ""
            in_words = str(error) if type(error) is ValueError else type(error).__name__
            said = getattr(error, "msg", None) or in_words
            self.notes.append(f"{filename.rpartition(', ')[2]} is left out: {said}{where}")
            return ""
        lines = [f"{line}\n" for line in source.split("\n")]
        # tracebacks show its lines
        linecache.cache[filename] = (
            len(source),
            None,
            lines,
            filename,
        )
        self.all += found
        return source

    # ------------------------------------------------------------ which of them

    def give(self, wanted):
        """The statements that give some names and all that these depend on, and the names of all that."""
        names = {*wanted}
        before = None
        while names != before:
            before = {*names}
            for one in self.all:
                if one.writes & names:
                    names |= one.reads
        return [one for one in self.all if one.writes & names], names

    def needed(self, wanted):
        """Those that run for an exercise's names, in their order."""
        given, _ = self.give([*wanted, "STUDENT"])
        return [one for one in self.all if is_definition(one.tree) or one in given]

    # ------------------------------------------------------------ running them

    def run(self, wanted, seconds=5.0):
        """The names that they define, and what failed on the way. This runs a student's code.

        Where a name is missing all statements run, in new names: as a notebook does from its top to its end, without
        what only shows something, and for some seconds at most.
        """
        names, notes = self.execute(self.needed(wanted))
        missing = self.missing(wanted, names)
        if not missing:
            return names, notes
        with harmless():
            more, notes_on_all = self.execute(
                [one for one in self.all if not only_shows(one.tree)], seconds
            )
        if self.missing(wanted, more) < missing:
            return more, notes_on_all[:MORE]
        new = [note for note in notes_on_all if note not in notes]
        return names, [*notes, *new[:MORE]]

    def missing(self, wanted, names):
        """What an answer needs, and is neither among the names nor Python's own."""
        _, all_of_it = self.give(wanted)
        return {name for name in all_of_it if name not in names and not hasattr(builtins, name)}

    def execute(self, statements, seconds=None):
        """The names that some statements define in a new module, and what failed."""
        module = sys.modules["__main__"] = ModuleType("__main__")
        names = vars(module)
        notes = []
        names["display"] = nothing  # every notebook has it
        with closing(asyncio.Runner()) as runner, at_most(seconds):
            for one in statements:
                try:
                    ended = eval(compiled(one.tree, one.filename, self.flags), names)
                    if inspect.iscoroutine(ended):  # the statement has an await at its top
                        runner.run(ended)
                except (Exception, SystemExit) as error:  # what ends a cell ends no notebook
                    notes.append(f"{place(one)}: {type(error).__name__}: {said_by(error)}")
        return names, notes


def compiled(tree, filename, flags=0):
    return compile(ast.Module([tree], []), filename, "exec", flags | IN_A_CELL, dont_inherit=True)


def future_flags(trees):
    """What ``from __future__ import annotations`` asks of the compiler, in a notebook for all cells behind it too."""
    imports = [
        tree for tree in trees if isinstance(tree, ast.ImportFrom) and tree.module == "__future__"
    ]
    aliases = chain.from_iterable(one.names for one in imports)
    features = {getattr(__future__, alias.name, None) for alias in aliases} - {None}
    return sum(feature.compiler_flag for feature in features)


def place(statement):
    return f"line {statement.tree.lineno} of {statement.filename.rpartition(', ')[2]}"


def said_by(error):
    try:
        return str(error)[:SAID]
    except Exception:  # the error is a class of the student's own
        return "no message"


def needed_text(source, wanted):
    """The part of a module's text that gives some names."""
    given, _ = Statements([source], "module").give(wanted)
    return "\n".join(ast.unparse(one.tree) for one in given) + "\n"


# ---------------------------------------------------------------- all of them, without harm


def nothing(*_, **__):
    """What stands for something that a person would see."""


@contextmanager
def harmless():
    """Within it, nobody is asked or shown anything, and nothing is checked or stored."""
    shown = [name for name in flash_course.__all__ if name != "personal"]
    no_window = mock.patch.dict("os.environ", {"MPLBACKEND": "Agg"})
    with no_window, mock.patch.multiple(flash_course, **dict.fromkeys(shown, nothing)):
        yield
