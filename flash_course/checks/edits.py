"""One piece of text replaced by another in code that is right: wrong answers of exercises, and faults that tests plant.

The old text must stand there exactly once. If it does not, the code was rewritten, and the edit is written anew for it.
"""

import gc
import inspect
import itertools
import linecache
import textwrap
from contextlib import contextmanager
from functools import cache
from types import CodeType, FunctionType

NUMBERS = itertools.count(1)  # each text has a file name of its own: Triton reads a kernel's when it first starts


def replace_once(text, *edits, where):
    """``text`` after edits ``old, new, old, new, ...``. ValueError: an old text that is not there exactly once."""
    for old, new in pairs_of(edits):
        if (times := text.count(old)) != 1:
            raise ValueError(f"{where} holds {times} times {old!r}: the code was rewritten, so write the edit anew")
        text = text.replace(old, new)
    return text


def pairs_of(edits):
    return list(zip(edits[::2], edits[1::2], strict=True))


def edited(right, *edits, name):
    """The function or class ``right`` after edits of its text, or of a function of its module that it calls.

    ``name`` is shown in tracebacks. What is not edited is compiled anew as well, so that it calls what was edited.
    """
    sources = dict(sources_of(right))
    for old, new in pairs_of(edits):
        holders = [key for key, text in sources.items() if old in text] or [right.__name__]
        if len(holders) > 1:
            raise ValueError(f"{name}: {old!r} stands in {' and '.join(holders)}: take a longer piece of text")
        sources[holders[0]] = replace_once(sources[holders[0]], old, new, where=holders[0])
    module = inspect.getmodule(right)
    place = dict(vars(module))
    for key, text in sources.items():
        run(text, f"{module.__file__}, {name}, {key}, {next(NUMBERS)}", place)
    return place[right.__name__]


@cache
def sources_of(right):
    """(name, text) of a function or class, and of those of its module that it names, and that they name.

    What a decorator has wrapped, such as a kernel, counts with its decorators.
    """
    module, found, open_names = inspect.getmodule(right), {}, [right.__name__]
    while open_names:
        key = open_names.pop()
        thing = inspect.unwrap(vars(module).get(key))
        if key in found or not isinstance(thing, FunctionType | type) or thing.__module__ != module.__name__:
            continue
        found[key] = textwrap.dedent(inspect.getsource(thing))
        open_names += sorted(names_in(compile(found[key], key, "exec")))
    return found.items()


def names_in(code):
    """The global names that a code object and those inside it read."""
    inner = [constant for constant in code.co_consts if hasattr(constant, "co_code")]
    return {*code.co_names}.union(*map(names_in, inner))


def run(text, filename, place):
    """Compile under a name that tracebacks can quote from, and execute in ``place``."""
    linecache.cache[filename] = (len(text), None, text.splitlines(True), filename)
    exec(compile(text, filename, "exec", dont_inherit=True), place)


# ---------------------------------------------------------------- faults in the running package


@contextmanager
def planted(function, *edits):
    """Within it, the function itself is the edited one, whoever holds a reference to it: its code object is swapped."""
    function = inspect.unwrap(function)
    file, (lines, first) = function.__code__.co_filename, inspect.getsourcelines(function)
    before, last = linecache.getlines(file), first - 1 + len(lines)
    text = replace_once("".join(lines), *edits, where=function.__qualname__)
    swaps = changed_code(file, "".join(before), "".join([*before[: first - 1], text, *before[last:]]))
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
    changed, (old, new) = {}, (compile(text, file, "exec", dont_inherit=True) for text in (before, after))
    pairs = [(old, new)]
    while pairs:
        old, new = pairs.pop()
        inner = [[part for part in code.co_consts if isinstance(part, CodeType)] for code in (old, new)]
        pairs += zip(*inner)
        if old.co_flags & inspect.CO_NEWLOCALS and without_lines(old) != without_lines(new):
            changed[old] = new
    if not changed:
        raise ValueError(f"{file}: the edit changes no function's body, so nothing that runs would change")
    return changed


def without_lines(code):
    constants = (without_lines(part) if isinstance(part, CodeType) else part for part in code.co_consts)
    return code.replace(co_firstlineno=1, co_linetable=b"", co_consts=tuple(constants))


def functions_of(module):
    """All functions that live and come from a module's file: methods, decorated ones and closures too."""
    file = module.__file__
    return [f for f in gc.get_objects() if isinstance(f, FunctionType) and f.__code__.co_filename == file]


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
