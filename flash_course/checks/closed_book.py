"""What is shut while an answer runs: the package's own forms, the course's own answers, torch's gradients."""

import dataclasses
import functools
import inspect
import itertools
import os
import sys
import threading
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch

import flash_tutorial
from flash_tutorial import (
    chunks,
    fast,
    flash,
    gau,
    generate,
    mixing,
    reference,
    sampling,
    states,
    transformer,
)

from .exercise import reject_if
from .interpreter import STARTS
from .texts import say

PACKAGE = Path(flash_tutorial.__file__).resolve().parent
COURSE = Path(__file__).resolve().parent.parent
CHECKS = str(Path(__file__).resolve().parent)
TORCH = str(Path(torch.__file__).parent)  # as its frames name it
FORMS = (reference, mixing, chunks, fast, gau, flash, transformer, states, generate, sampling)
CLOSED = {str(Path(module.__file__).resolve()): module.__name__ for module in FORMS}
OWN = (f"{PACKAGE}{os.sep}", f"{COURSE}{os.sep}")
SHUT_FOLDERS = tuple(
    f"{folder}{os.sep}"
    for folder in (
        COURSE / "builds",
        COURSE / "bench",
        COURSE / "lab",
        PACKAGE / "experiments",
        PACKAGE / "gpu",
    )
)
F, A = torch.func, torch.autograd
GRADIENTS = (
    A.backward,
    A.grad,
    *(getattr(A.functional, name) for name in ("vjp", "jvp", "jacobian", "hessian", "vhp", "hvp")),
    F.grad,
    F.grad_and_value,
    F.vjp,
    F.jvp,
    F.jacrev,
    F.jacfwd,
    F.hessian,
    F.linearize,
    A.forward_ad.make_dual,
)
ASKING = ("assemble", "judge", "outcome_of", "lent")  # functions of the checks that call an answer


class PackageShut(BaseException):
    """Not an Exception, so that ``except Exception`` in an answer does not hide it."""

    def __init__(self, function):
        super().__init__(function)
        self.function = function


# ---------------------------------------------------------------- what is refused before it runs
def refusal(exercise, answer):
    """A sentence on an answer that is the package's and not the student's own, or None. Else see ``package_shut``."""
    answers = {exercise.names[0]: answer} if len(exercise.names) == 1 else answer
    taken = (name for name in exercise.names if any(map(is_ours, codes_of(answers.get(name)))))
    return next((say("all", "taken", name=name) for name in taken), None)


def codes_of(thing):
    """The code of what can be called, under partials, methods and wrappers; of all methods of a class."""
    if isinstance(thing, functools.partial):
        return codes_of(thing.func)
    own = []
    if hasattr(thing, "__code__"):
        own.append(thing.__code__)
    if (
        inspect.ismethod(thing)
        or inspect.isroutine(thing)
        or "__wrapped__" in getattr(thing, "__dict__", {})
    ):
        return own + codes_of(getattr(thing, "__wrapped__", None))
    if own or not callable(thing):
        return own
    kind = thing if isinstance(thing, type) else type(thing)
    methods = itertools.chain.from_iterable(vars(each).values() for each in kind.__mro__)
    return [f.__code__ for f in methods if inspect.isfunction(f)]


def is_ours(code):
    return code.co_filename.startswith(OWN)


# ---------------------------------------------------------------- what is refused while it runs
def module_shut(frame):
    """The module of a function that belongs to the closed forms, or to a set and is called from outside."""
    name, caller = frame.f_code.co_filename, frame.f_back
    # a kernel's text is run in another form: it counts as where it was written
    if frame.f_code in STARTS:
        name = frame.f_locals["self"].fn.__code__.co_filename
    if name.startswith(SHUT_FOLDERS):
        return (
            name.removeprefix(f"{COURSE.parent}{os.sep}").removesuffix(".py").replace(os.sep, ".")
        )
    if not name.startswith(CHECKS):
        return CLOSED.get(name)
    # torch calls the ``forward`` of a module: its frames count as those of their caller
    while caller.f_back is not None and caller.f_code.co_filename.startswith(TORCH):
        caller = caller.f_back
    if caller.f_code.co_filename.startswith(CHECKS):
        return None
    module = Path(
        name.partition(".py")[0]
    ).name  # an edited function's file name has more behind it
    if module.startswith("set_"):
        return f"flash_course.checks.sets.{module}"
    return None


@contextmanager
def watched_calls(name_shut):
    """Within it a call raises PackageShut if ``name_shut(frame)`` gives a name, and behind it for who caught that."""
    before = (sys.getprofile(), threading.getprofile())
    seen = []

    def hook(frame, event, argument):
        if event == "call" and (name := name_shut(frame)):
            seen.append(name)
            raise PackageShut(name)
        if callable(before[0]):  # whoever watched before sees the calls too
            try:
                before[0](frame, event, argument)
            except PackageShut as error:
                seen.append(error.function)
                raise

    sys.setprofile(hook)
    threading.setprofile(hook)
    try:
        yield
    finally:
        # if it ended within the hook, that is off now
        endless = isinstance(sys.exc_info()[1], RecursionError)
        if sys.getprofile() is not hook and not seen and not endless:
            seen.append("sys.setprofile")
        sys.setprofile(before[0])
        threading.setprofile(before[1])
        if seen:
            raise PackageShut(seen[0]) from None


def package_shut(shut=True, answers=()):
    """Within it, a call of closed modules or sets raises PackageShut; if not ``shut``, of ``answers`` and kernels."""
    codes = STARTS.union(*map(codes_of, answers))

    def name_shut(frame):  # an import is no call
        if not shut and frame.f_code not in codes:  # the exercise hands over objects of its set
            return None
        module = module_shut(frame)
        if not module or frame.f_code.co_name == "<module>":
            return None
        return f"{module}.{frame.f_code.co_name}"

    return watched_calls(name_shut)


def oracle_shut():
    """Within it no function of a set, and none that asks the sets' answers, is called from outside."""

    def name_shut(frame):
        code, caller = frame.f_code, frame.f_back
        if not code.co_filename.startswith(CHECKS) or code.co_name == "<module>":
            return None
        if code.co_name in ASKING and not caller.f_code.co_filename.startswith(CHECKS):
            return f"flash_course.checks, {code.co_name}"
        module = module_shut(frame)
        return module and f"{module}.{code.co_name}"

    return watched_calls(name_shut)


def also_shut(*modules):
    """Within it, these modules are shut as well, if the package is: for an exercise that rebuilds what lies there."""
    names = {module.__file__: module.__name__ for module in modules}

    def name_shut(frame):
        if frame.f_code.co_name == "<module>":
            return None
        name = names.get(frame.f_code.co_filename)
        return name and f"{name}.{frame.f_code.co_name}"

    oracle_runs = not callable(sys.getprofile())
    if oracle_runs:
        return nullcontext()
    return watched_calls(name_shut)


def functions_shut(*functions):
    """Within it, a call of one of these functions raises PackageShut."""
    names = {inspect.unwrap(f).__code__: f"{f.__module__}.{f.__name__}" for f in functions}
    if not names:
        return nullcontext()
    return watched_calls(lambda frame: names.get(frame.f_code))


def without_autograd(case):
    """The case, with torch's gradients switched off and shut: for an exercise that derives them."""

    def run(answer):
        try:
            with torch.inference_mode(), functions_shut(*GRADIENTS):
                return case.run(answer)
        except (PackageShut, RuntimeError) as error:
            signs = ("does not require grad", "nference")
            if isinstance(error, PackageShut):
                signs = ("torch.",)
            reject_if(any(sign in str(error) for sign in signs), "all", "autograd")
            raise

    return dataclasses.replace(case, run=run)
