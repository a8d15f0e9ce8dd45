"""Planted faults: each is one edit of one function, kept in the tables beside this file.

An entry says what it breaks, by the function's full name; the edit, old text and new (each old text stands once in
that function); and who must notice. A text that is no longer there means that the code was rewritten: then write the
fault anew for the new code. The wrong answers of exercises are edits as well, and stand with their sentences in
``flash_course/checks/sets/``.
"""

import gc
import importlib
import inspect
import itertools
import linecache
import tomllib
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FunctionType, ModuleType

from flash_course.checks.edits import replace_once, run

COPIES = itertools.count(1)


@dataclass(frozen=True)
class Fault:
    """What it breaks, ``package.module.Class.method``; old and new texts in turn; who must notice."""

    breaks: str
    edit: tuple[str, ...]
    lectures: tuple[str, ...] = ()
    noticed_by: dict = field(default_factory=dict)

    def function(self):
        """The plain function that it breaks, without decorators."""
        module, names = module_and_names(self.breaks)
        found = module
        for name in names:
            found = inspect.getattr_static(found, name)
        found = getattr(found, "__func__", found)
        # of a function that is written once for each kind of argument: the one for all others
        found = found.dispatch(object) if hasattr(found, "dispatch") else found
        return inspect.unwrap(found)

    def module(self):
        return module_and_names(self.breaks)[0]


def module_and_names(symbol):
    """The module of a function's full name, and the names that lead on from it."""
    package, *names = symbol.split(".")
    module = importlib.import_module(package)
    while hasattr(module, "__path__"):  # a package: what follows is a module
        module = importlib.import_module(f"{module.__name__}.{names.pop(0)}")
    return module, names


def faults_of(table):
    """{name: fault} of one table, ``units`` for ``units.toml``."""
    path = Path(__file__).parent / f"{table}.toml"
    entries = tomllib.loads(path.read_text(encoding="utf-8"))
    return {name: as_fault(entry) for name, entry in entries.items()}


def as_fault(entry):
    rest = {key: entry[key] for key in entry.keys() - {"breaks", "edit", "lectures"}}
    return Fault(entry["breaks"], tuple(entry["edit"]), tuple(entry.get("lectures", ())), rest)


def tables():
    """The names of all tables."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.toml"))


def all_faults():
    """{"table: name": fault}"""
    return {
        f"{table}: {name}": fault for table in tables() for name, fault in faults_of(table).items()
    }


# ---------------------------------------------------------------- in the running package


@contextmanager
def planted(fault):
    """Within it, the function itself is the edited one, whoever holds a reference to it: its code is swapped."""
    function = fault.function()
    swaps = changed_code(fault)
    # what a function makes when it runs, as a closure, has code of its own
    alone = function.__code__ in swaps and len(swaps) == 1
    candidates = [function] if alone else functions_of(function.__code__.co_filename)
    before = [(each, each.__code__) for each in candidates if each.__code__ in swaps]
    for each, code in before:
        each.__code__ = swaps[code]
    try:
        yield
    finally:
        for each, code in before:
            each.__code__ = code


def changed_code(fault):
    """{code object: the edited one} of the functions that a fault changes; one inside another counts too."""
    function = fault.function()
    file = function.__code__.co_filename
    before = linecache.getlines(file)
    after = edited_text(fault, "".join(before), function)
    old, new = (compile(text, file, "exec", dont_inherit=True) for text in ("".join(before), after))
    changed = {}
    pairs = [(old, new)]
    while pairs:
        old, new = pairs.pop()
        pairs += zip(inner_code(old), inner_code(new))
        if old.co_flags & inspect.CO_NEWLOCALS and without_lines(old) != without_lines(new):
            changed[old] = new
    if not changed:
        raise ValueError(f"{fault.breaks}: the edit changes nothing that runs")
    return changed


def edited_text(fault, text, function):
    """The text of a function's file after the edit."""
    lines, first = inspect.getsourcelines(function)
    all_lines = text.splitlines(keepends=True)
    last = first - 1 + len(lines)
    wrong = replace_once("".join(lines), *fault.edit, where=fault.breaks)
    return "".join([*all_lines[: first - 1], wrong, *all_lines[last:]])


def inner_code(code):
    return [part for part in code.co_consts if isinstance(part, CodeType)]


def without_lines(code):
    constants = (
        without_lines(part) if isinstance(part, CodeType) else part for part in code.co_consts
    )
    return code.replace(co_firstlineno=1, co_linetable=b"", co_consts=tuple(constants))


def functions_of(file):
    """All functions that live and come from a file: methods, decorated ones and closures too."""
    return [
        each
        for each in gc.get_objects()
        if isinstance(each, FunctionType) and each.__code__.co_filename == file
    ]


# ---------------------------------------------------------------- in a copy of the module


def faulty_copy(fault, *further_edits):
    """The module, executed once more with the edit, beside the right one: kernels are read from their text."""
    module = fault.module()
    function = getattr(fault.function(), "fn", fault.function())
    text = edited_text(fault, inspect.getsource(module), function)
    for old, new in further_edits:
        text = text.replace(old, new)
    copy = ModuleType(f"{module.__package__}.faulty_{next(COPIES)}")
    copy.__package__ = module.__package__
    copy.__file__ = f"{module.__file__}, {copy.__name__}"
    run(text, copy.__file__, vars(copy))
    return copy
