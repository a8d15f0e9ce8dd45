"""What the lectures let their reader build: the course's own version, cases, likely mistakes.

A module ``lecture_NN`` has a tuple ``BUILDS``, in the order of the lecture. `flash_course.mine` asks the cases and
keeps what is right.
"""

import copy
import functools
import importlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

LECTURES = ("01", "02", "03", "04", "05", "06", "07", "08", "09", "10", "11")


@dataclass(frozen=True)
class Case:
    """One question: ``run(answer)`` gives the value that is compared with what the course's own version gives."""

    label: str  # what is special about it: "a tail", "one chunk"
    run: Callable
    shown: str = ""  # what goes in, for the reader


@dataclass(frozen=True)
class Build:
    """A function or class that a lecture lets its reader write."""

    right: Callable  # the course's own; later lectures run it where the reader has none
    cases: tuple[Case, ...]
    likely: tuple[tuple[str, Callable], ...] = ()  # (sentence, a wrong answer that it names)
    why: str = ""  # why it matters, said when it is right
    name: str = ""  # where it is not that of ``right``
    tolerance: float = 1e-6

    @property
    def called(self):
        """The name that the reader's version has."""
        return self.name or self.right.__name__


def call(label, *given, **how):
    """The case that calls an answer with these arguments, of which it gets a copy."""

    def run(answer):
        return answer(*copy.deepcopy(given), **copy.deepcopy(how))

    shown = [small(value) for value in given]
    shown += [f"{name} = {small(value)}" for name, value in how.items()]
    return Case(label, run, ", ".join(shown))


def small(value):
    """An argument or a result as one line: its numbers where they are few, else its shape."""
    value = value.detach().numpy() if hasattr(value, "detach") else value
    value = value.item() if isinstance(value, np.ndarray) and value.ndim == 0 else value
    if not isinstance(value, np.ndarray | list | tuple) or (not len(value)):
        return f"{value:.4g}" if isinstance(value, float) else str(value)[:80]
    if isinstance(value, tuple):
        return "(" + ", ".join(small(each) for each in value) + ")"
    try:
        array = np.asarray(value)
    except (
        RuntimeError,
        TypeError,
        ValueError,
    ):  # lists of unequal lengths, of tensors with gradients
        return str(value)[:80]
    if array.size > 12 or array.dtype.kind not in "biuf":
        return f"an array {array.shape}"
    if array.dtype.kind == "b":
        return str(array.tolist())
    return str(np.round(array, 3).tolist()).replace(".0,", ",").replace(".0]", "]")


@functools.cache
def builds_of(lecture):
    """{name: build} of a lecture."""
    module = importlib.import_module(f".lecture_{lecture}", __package__)
    return {build.called: build for build in module.BUILDS}


@functools.cache
def all_builds():
    """{name: (lecture, build)} of the course, in its order."""
    found = {}
    for lecture in LECTURES:
        for name, build in builds_of(lecture).items():
            if name in found:
                raise ValueError(f"{name} is a build of lecture {found[name][0]} and of {lecture}")
            found[name] = (lecture, build)
    return found


def find(name):
    """(lecture, build) of a name."""
    if name not in all_builds():
        raise ValueError(
            f"there is no build {name!r}: expected one of {', '.join(all_builds())}. "
            "A build is found by the name of its function"
        )
    return all_builds()[name]
