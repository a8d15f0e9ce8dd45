"""A kept wrong answer is the right one, edited: a piece of its text that stands there once is replaced by another."""

import inspect
import itertools
import linecache
import textwrap
from functools import cache
from types import FunctionType

# each text has a file name of its own: Triton reads a kernel's when it first starts
NUMBERS = itertools.count(1)


def replace_once(text, *edits, where):
    """``text`` after edits ``old, new, old, new, ...``. ValueError: an old text that is not there exactly once."""
    for old, new in pairs_of(edits):
        if (times := text.count(old)) != 1:
            raise ValueError(
                f"{where} holds {times} times {old!r}: the code was rewritten, so write the edit anew"
            )
        text = text.replace(old, new)
    return text


def pairs_of(edits):
    return list(zip(edits[::2], edits[1::2], strict=True))


def edited(right, *edits, name):
    """The function or class ``right``, edited in its text or in that of what it calls. Tracebacks show ``name``."""
    sources = dict(sources_of(right))
    for old, new in pairs_of(edits):
        holders = [key for key, text in sources.items() if old in text] or [right.__name__]
        if len(holders) > 1:
            raise ValueError(
                f"{name}: {old!r} stands in {' and '.join(holders)}: take a longer piece of text"
            )
        sources[holders[0]] = replace_once(sources[holders[0]], old, new, where=holders[0])
    module = inspect.getmodule(right)
    place = dict(vars(module))
    for key, text in sources.items():  # what is not edited as well, so that it calls what was
        run(text, f"{module.__file__}, {name}, {key}, {next(NUMBERS)}", place)
    return place[right.__name__]


@cache
def sources_of(right):
    """(name, text), with decorators, of a function or class and of those of its module that it names, and they name."""
    module = inspect.getmodule(right)
    found = {}
    open_names = [right.__name__]
    while open_names:
        key = open_names.pop()
        thing = inspect.unwrap(vars(module).get(key))
        if (
            key in found
            or not isinstance(thing, FunctionType | type)
            or thing.__module__ != module.__name__
        ):
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
