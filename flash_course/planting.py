"""Faults in the running package: a function's code object is swapped for that of its edited text, and swapped back.

The tests of the package and those of the lectures plant them. A fault is an edit of text, as a kept wrong answer is.
"""

import gc
import inspect
import linecache
from contextlib import contextmanager
from types import CodeType, FunctionType

from .checks.edits import replace_once


@contextmanager
def planted(function, *edits):
    """Within it, the function itself is the edited one, whoever holds a reference to it: its code object is swapped."""
    function = inspect.unwrap(function)
    file = function.__code__.co_filename
    lines, first = inspect.getsourcelines(function)
    before = linecache.getlines(file)
    last = first - 1 + len(lines)
    text = replace_once("".join(lines), *edits, where=function.__qualname__)
    swaps = changed_code(
        file, "".join(before), "".join([*before[: first - 1], text, *before[last:]])
    )
    with swapped(swaps, [function]):
        yield


@contextmanager
def planted_in(module, *edits):
    """The same by a module's text: an old text stands there once, in the body of some function."""
    swaps = changed_in(module, *edits)
    with swapped(swaps, functions_of(module)):
        yield


def changed_in(module, *edits):
    """{code object: the edited one} of the functions of a module that edits of its text change."""
    file = module.__file__
    before = "".join(linecache.getlines(file))
    return changed_code(file, before, replace_once(before, *edits, where=module.__name__))


def changed_code(file, before, after):
    """{code object: the edited one} of the functions in which two texts of a file differ. Line numbers do not count."""
    changed = {}
    old, new = (compile(text, file, "exec", dont_inherit=True) for text in (before, after))
    pairs = [(old, new)]
    while pairs:
        old, new = pairs.pop()
        inner = [
            [part for part in code.co_consts if isinstance(part, CodeType)] for code in (old, new)
        ]
        pairs += zip(*inner)
        if old.co_flags & inspect.CO_NEWLOCALS and without_lines(old) != without_lines(new):
            changed[old] = new
    if not changed:
        raise ValueError(
            f"{file}: the edit changes no function's body, so nothing that runs would change"
        )
    return changed


def without_lines(code):
    constants = (
        without_lines(part) if isinstance(part, CodeType) else part for part in code.co_consts
    )
    return code.replace(co_firstlineno=1, co_linetable=b"", co_consts=tuple(constants))


def functions_of(module):
    """All functions that live and come from a module's file: methods, decorated ones and closures too."""
    file = module.__file__
    return [
        f
        for f in gc.get_objects()
        if isinstance(f, FunctionType) and f.__code__.co_filename == file
    ]


@contextmanager
def swapped(swaps, functions):
    before = [(function, function.__code__) for function in functions if function.__code__ in swaps]
    if not before:
        raise ValueError("no function that lives has the code that the edit changes")
    for function, code in before:
        function.__code__ = swaps[code]
    try:
        yield
    finally:
        for function, code in before:
            function.__code__ = code
