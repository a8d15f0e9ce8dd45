"""What the lectures let their reader build: the course's own version, cases, likely mistakes.

A module ``lecture_NN`` has a tuple ``BUILDS``, in the order of the lecture. `flash_course.mine` asks the cases and
keeps what is right.
"""

import copy
import functools
import importlib
from collections.abc import Callable
from dataclasses import dataclass, field

LECTURES = ("01", "02", "03", "04", "05", "06", "07", "08", "09", "10", "11", "12", "14")


@dataclass(frozen=True)
class Case:
    """One question: ``run(answer)`` gives the value that is compared with what the course's own version gives."""

    label: str  # what is special about it: "a tail", "one chunk"
    run: Callable
    shown: str = ""  # what goes in, for the reader, where it is no call
    given: tuple = ()  # what it is called with, by place and by name
    how: dict = field(default_factory=dict)


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

    return Case(label, run, given=given, how=how)


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
