"""Tests that a student writes. Each is asked about versions whose truth is known, and of which only what they do shows.

Versions that are right stand among the faulty ones. Each is asked about four times, in an order drawn by seed, and all
dice start alike each time: what a test says can depend on nothing but the version. Nothing is earned by a test that
says two things of one version, and nothing unless all that is right passes and something faulty does not.
"""

import copy
import inspect
import weakref
from collections import deque
from dataclasses import dataclass

import numpy as np
from torch import nn

from .closed_book import functions_shut
from .exercise import Case
from .outcome import Outcome, in_words
from .surroundings import start_dice
from .texts import say, sentences_of, word

PASSES, RETURNS, NEVER_RAN = "passes", "returns a value", "never ran"
FAILS, FAILS_NAN = "fails", "fails, and gave NaN or infinity"
ASKS = 4  # how often a test is asked about each version

# ---------------------------------------------------------------- what a test is given
BEHIND = weakref.WeakKeyDictionary()  # {version: Behind}
# versions that are kept, so that a new one lies at no old one's address in memory
LATEST = deque(maxlen=1000)


@dataclass
class Behind:
    """What does a version's work, the names that show, and whether it was given numbers that are none."""

    thing: object
    names: tuple = ()
    not_finite: bool = False


class Version:
    """Does what is behind it, and looks like every other one: it has no text, no name and no attribute of its own."""

    __name__ = "version"

    def __call__(self, *args, **kwargs):
        arrays = (each for each in args if isinstance(each, np.ndarray) and each.dtype.kind == "f")
        BEHIND[self].not_finite |= not all(np.isfinite(array).all() for array in arrays)
        return done(lambda: BEHIND[self].thing(*args, **kwargs))

    def __getattr__(self, name):
        names = BEHIND[self].names if self in BEHIND else ()
        if name not in names:
            raise AttributeError(f"it has {', '.join(names) or 'no attributes'}, and no {name}")
        value = getattr(BEHIND[self].thing, name)
        if callable(value):
            return shown(value)
        return value

    def __deepcopy__(self, memo):
        return shown(copy.deepcopy(BEHIND[self].thing, memo), BEHIND[self].names)

    def __reduce__(self):
        raise TypeError("a version cannot be stored")


class Unit(nn.Module):
    """The same for a module of torch. Its parameters and parts show, and are those of what is behind it."""

    def __init__(self, unit):
        super().__init__()
        self.dim, BEHIND[self] = unit.dim, Behind(unit)
        self._parameters, self._buffers, self._modules = (
            unit._parameters,
            unit._buffers,
            unit._modules,
        )

    def forward(self, *args, **kwargs):
        return done(lambda: BEHIND[self].thing(*args, **kwargs))

    def __deepcopy__(self, memo):
        return Unit(copy.deepcopy(BEHIND[self].thing, memo))


def shown(thing, names=()):
    """``thing`` as a test sees it: it can be called, and has the attributes ``names``; a module is a module."""
    if isinstance(thing, nn.Module):
        version = Unit(thing)
    else:
        version = Version()
        BEHIND[version] = Behind(thing, tuple(names))
    LATEST.append(version)
    return version


def done(work):
    """What ``work()`` gives. An error comes without the frames in which the version would show."""
    try:
        return work()
    except Exception as error:
        plain = error.with_traceback(None)
    plain.__cause__ = plain.__context__ = None
    raise plain


# ---------------------------------------------------------------- one version, and all of them
def version(name, part, make, *given, names=(), right=None, shut=()):
    """A case: the test is asked about ``make(*given)``, made anew each time, and gets ``given`` with it.

    ``names``: the attributes that show. ``right``: whether it must pass; in the part "passes what is right" it must.
    ``shut``: functions that the test may not call.
    """

    def run(test):
        made = shown(make(*given), names)
        start_dice()  # making one version may throw more dice than making another
        with functions_shut(*shut):
            try:
                returned = test(made, *given)
            except AssertionError:
                return FAILS_NAN if BEHIND[made].not_finite else FAILS
        if inspect.iscoroutine(returned):
            returned.close()
            return NEVER_RAN
        if inspect.isgenerator(returned) or inspect.isasyncgen(returned):
            return NEVER_RAN
        return PASSES if returned is None else RETURNS

    if right is None:
        right = part == "passes what is right"
    return Case(name, part, run, truth=right)


def versions(pools, *given, **how):
    """The cases of {part: {name: make}}."""
    cases = []
    for part, pool in pools.items():
        cases += [version(name, part, make, *given, **how) for name, make in pool.items()]
    return cases


def order_of(cases, seed):
    """The places of cases in the order in which they are asked; drawn for versions, and none comes twice in a row."""
    places = [*range(len(cases))]
    if any(case.truth is None for case in cases):
        return places
    rng = np.random.default_rng([seed, len(places)])
    order = np.repeat(places, ASKS)
    while len(places) > 1 and (np.diff(order) == 0).any():
        rng.shuffle(order)
    return order.tolist()


def agreed(before, now):
    """One outcome of several: the first, if a test says the same of a version each time that it is asked."""
    if before is None:
        return now
    if before.said is not None:
        return before
    if now.said is not None:
        return now
    if judgement(before) == judgement(now):
        return before
    return Outcome(said=say("all", "fickle"), fickle=True)


def judgement(outcome):
    """What a test says of a version: it passes, it fails, or neither."""
    if outcome.error is not None:
        return "error"
    words = {RETURNS: PASSES, FAILS_NAN: FAILS}
    return words.get(outcome.value, outcome.value)


def problem_of_test(exercise, case, got):
    """None, or what a test says wrongly of a version."""
    if got.said is not None:
        return got.said
    if got.error is not None:
        return f"{in_words(got.error)} {say('all', 'no assertion')}"
    if (got.value in (PASSES, RETURNS)) == case.truth:
        return None
    if case.name in sentences_of(exercise.id):
        return say(exercise.id, case.name)
    key = "fails right" if case.truth else "passes faulty"
    return say("all", key, name=word(exercise.id, case.name))


def proves(found):
    """Whether a test earns anything. ``found``: what it says of each version."""
    consistent = not any(one.outcome.fickle for one in found)
    all_right = all(one.problem is None for one in found if one.case.truth)
    something_faulty = any(one.problem is None for one in found if not one.case.truth)
    return consistent and all_right and something_faulty


def remarks(found):
    """What can be said of a test as a whole, beside what it says of single versions."""
    values = {one.outcome.value for one in found if one.outcome.is_value}
    plain = all(one.outcome.is_value for one in found)
    if any(one.outcome.fickle for one in found):
        yield say("all", "fickle")
    if NEVER_RAN in values:
        yield say("all", "test never ran")
    elif any(one.case.truth and one.outcome.value == FAILS_NAN for one in found):
        yield say("all", "gave nan")
    elif plain and values == {FAILS}:
        yield say("all", "fails all")
    elif plain and not values & {FAILS, FAILS_NAN}:
        key = "returns" if RETURNS in values else "passes all"
        yield say("all", key)
    if not proves(found):
        yield say("all", "proves nothing")
