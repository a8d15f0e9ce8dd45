"""The package is shut while a student's function runs: an exercise that rebuilds a form may not call that form."""

import dataclasses
import inspect
import sys
from contextlib import contextmanager
from pathlib import Path

import torch

import flash_tutorial

from .exercise import Said

PACKAGE = Path(flash_tutorial.__file__).resolve().parent
CHECKS = str(Path(__file__).resolve().parent)
TORCH = str(Path(torch.__file__).parent)  # as its frames name it
MODULES = ("reference", "mixing", "chunks", "fast", "units", "states", "decoding")
CLOSED = {str(PACKAGE / f"{name}.py"): f"flash_tutorial.{name}" for name in MODULES}


class PackageShut(BaseException):
    """Not an Exception, so that ``except Exception`` in an answer does not hide it."""

    def __init__(self, function):
        super().__init__(function)
        self.function = function


def oracle(frame):
    """The module of an exercise's own right or wrong answers, where it is called from outside.

    Frames of torch count as those of their caller: it is torch that calls the ``forward`` of a module.
    """
    name, caller = frame.f_code.co_filename, frame.f_back
    if not name.startswith(CHECKS):
        return None
    while caller.f_back is not None and caller.f_code.co_filename.startswith(TORCH):
        caller = caller.f_back
    if caller.f_code.co_filename.startswith(CHECKS):
        return None
    module = Path(name).stem
    return f"flash_course.checks.sets.{module}" if module.startswith("set_") else None


@contextmanager
def watched_calls(look):
    """Within it, ``look(frame)`` sees each call of a Python function, and so does whoever watched before."""
    before = sys.getprofile()

    def hook(frame, event, argument):
        if event == "call":
            look(frame)
        if callable(before):
            before(frame, event, argument)

    sys.setprofile(hook)
    try:
        yield
    finally:
        sys.setprofile(before)


@contextmanager
def package_shut(shut=True):
    """Within it, a call of a function of the closed modules raises PackageShut."""
    if not shut:
        yield
        return

    def look(frame):
        module = CLOSED.get(frame.f_code.co_filename) or oracle(frame)
        if module is not None and frame.f_code.co_name != "<module>":  # an import is no call
            raise PackageShut(f"{module}.{frame.f_code.co_name}")

    with watched_calls(look):
        yield


@contextmanager
def also_shut(*modules):
    """Within it, these modules are shut as well, if the package is: for an exercise that rebuilds what lies there."""
    if not callable(sys.getprofile()):  # the oracle runs
        yield
        return
    names = {module.__file__: module.__name__ for module in modules}

    def look(frame):
        if frame.f_code.co_filename in names and frame.f_code.co_name != "<module>":
            raise PackageShut(f"{names[frame.f_code.co_filename]}.{frame.f_code.co_name}")

    with watched_calls(look):
        yield


@contextmanager
def functions_shut(*functions):
    """Within it, a call of one of these functions raises PackageShut."""
    names = {inspect.unwrap(f).__code__: f"{f.__module__}.{f.__name__}" for f in functions}

    def look(frame):
        if frame.f_code in names:
            raise PackageShut(names[frame.f_code])

    with watched_calls(look):
        yield


def without_autograd(case):
    """The case, with the gradients of torch switched off: for an exercise that derives them."""

    def run(answer):
        try:
            with torch.inference_mode():
                return case.run(answer)
        except RuntimeError as error:
            if "does not require grad" in str(error) or "nference" in str(error):
                raise Said("all", "autograd") from None
            raise

    return dataclasses.replace(case, run=run)
