"""Whether the checker is still the checker after a student's code has run.

What counts is what the checks' own code reads: the objects behind its names, their code, and the exercise. What Python
itself writes beside them (a registry of warnings), a cache that fills, and what an answer sets elsewhere do not count.
"""

import builtins
import dis
import functools
import sys
from importlib import import_module
from types import FunctionType, ModuleType

import numpy as np
import torch

from ..checks import exercise
from ..checks.edits import names_in

NAMES = (
    "verdict",
    "outcome",
    "compare",
    "proving",
    "stub",
    "surroundings",
    "texts",
    "exercise",
    "closed_book",
    "edits",
    "instruments",
    "gradients",
    "worthless",
    "sizes",
    "files",
    "expected",
)
CHECKERS = tuple(import_module(f"{exercise.__package__}.{name}") for name in NAMES)
WRAPPER = torch._disable_dynamo(len).__code__
# an answer may want them otherwise, and no verdict depends on them
FREE = {
    "print",
    "input",
    "open",
}


class Fingerprint:
    """The checker of one exercise, as it was when this was made."""

    def __init__(self, judged):
        self.judged = judged
        self.checkers = (*CHECKERS, sys.modules[f"{exercise.__package__}.sets.set_{judged.id[:2]}"])
        self.before = self.now()

    def now(self):
        """{name: object, or a tuple of objects} of all that the verdict depends on."""
        found = {module.__name__: sys.modules.get(module.__name__) for module in self.checkers}
        read = {np.linalg, np.random, torch.nn.functional, torch.Tensor}
        names = set()
        attributes = set()
        for module in self.checkers:
            for name, thing in vars(module).items():
                if not name.startswith("__"):
                    found[f"{module.__name__}.{name}"] = state(thing)
                if isinstance(thing, ModuleType) and not thing.__name__.startswith("flash_"):
                    read.add(thing)
            for function in functions_of(module):
                names |= names_in(function.__code__)
                attributes |= attributes_in(function.__code__)
        for place, wanted in [(builtins, names), *((place, attributes) for place in read)]:
            found |= {
                f"{place.__name__}.{name}": state(vars(place)[name])
                for name in wanted & {*vars(place)} - FREE
            }
        fields = {
            f"exercise {self.judged.id}, {name}": state(thing)
            for name, thing in vars(self.judged).items()
        }
        return found | fields | {"points of the parts": tuple(self.judged.parts.values())}

    def changed(self):
        """None, or the name of something that is no longer what it was."""
        after = self.now()
        own = tuple(f"{module.__name__}." for module in self.checkers)
        gone = [
            name
            for name, thing in self.before.items()
            if name not in after or not same(thing, after[name])
        ]
        # it hides a builtin
        new = [name for name in after if name not in self.before and name.startswith(own)]
        return next(iter([*gone, *new]), None)


@functools.cache
def attributes_in(code):
    """The names that code reads of something, behind a dot: `bool` alone is Python's, and no matter of ``np.bool``."""
    steps = dis.get_instructions(code)
    own = {step.argval for step in steps if step.opname.startswith(("LOAD_ATTR", "LOAD_METHOD"))}
    inner = [constant for constant in code.co_consts if hasattr(constant, "co_code")]
    return own.union(*map(attributes_in, inner))


def state(thing):
    """An object, and what it does; the object itself, so that no other can take its place in memory.

    Torch wraps some functions of its own when its compiler is first imported: then what is inside counts.
    """
    while (
        isinstance(thing, FunctionType)
        and thing.__code__ is WRAPPER
        and hasattr(thing, "__wrapped__")
    ):
        thing = thing.__wrapped__
    parts = [thing]
    if isinstance(thing, FunctionType):
        parts += [thing.__code__, thing.__defaults__, *(thing.__kwdefaults__ or {}).values()]
    if isinstance(thing, type) and thing.__module__.startswith(exercise.__package__):
        parts += [
            getattr(method, "__code__", method)
            for method in vars(thing).values()
            if callable(method)
        ]
    return tuple(parts)


def functions_of(module):
    """The functions of a module and of its classes."""
    for thing in [*vars(module).values()]:
        found = [thing]
        if isinstance(thing, type):
            found += vars(thing).values()
        for one in found:
            if isinstance(one, FunctionType) and one.__module__ == module.__name__:
                yield one


def same(a, b):
    return a is b or (type(a) is type(b) is tuple and len(a) == len(b) and all(map(same, a, b)))
