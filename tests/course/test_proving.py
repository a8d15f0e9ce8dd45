"""Tests that students write: what earns nothing, and that a version shows only what it does."""

import contextlib
import copy
import dataclasses
import functools
import gc
import inspect
import itertools
import pickle
import random
import re
import sys
import time
import traceback

import numpy as np
import pytest
import torch
from marks import needs_solutions
from test_exercises import EXERCISES, by_exercise
from test_parts import held_out

from flash_course.checks import outcome, proving
from flash_course.checks.texts import say
from flash_course.checks.verdict import ask_all, count_points, judge

PROVE = {name: e for name, e in EXERCISES.items() if e.kind == "prove"}
QUICK = PROVE["05.4"]  # it is asked quickly; the others are judged by the same code


def raises_always(*version):
    raise AssertionError("no")


def raises_at_last(*version):
    try:
        return 1
    finally:
        assert not version


def returns_false(*version):
    return False


def returns_a_numpy_flag(*version):
    return np.bool_(False)


def yields(*version):
    yield AssertionError


async def is_async(*version):
    raise AssertionError


def value_error(*version):
    raise ValueError("not causal")


def leaves(*version):
    sys.exit(1)


class Countdown:
    """Counts its calls in an attribute."""

    def __init__(self):
        self.left = 3

    def __call__(self, *version):
        self.left -= 1
        if self.left < 0:
            raise AssertionError


SAME_OF_ALL = [
    (raises_always, "fails all"),
    (raises_at_last, "fails all"),
    (functools.partial(raises_always), "fails all"),
    (lambda *version: 1 / 1 and None, "passes all"),
    (returns_false, "returns"),
    (returns_a_numpy_flag, "returns"),
    (yields, "test never ran"),
    (is_async, "test never ran"),
    (value_error, "no assertion"),
    (leaves, "no assertion"),
]


@pytest.mark.parametrize("test, said", SAME_OF_ALL)
def test_a_test_that_says_the_same_of_all_earns_nothing_and_hears_why(test, said):
    verdict = judge(QUICK, test)
    assert verdict.points == 0 and verdict.status in ("wrong", "raises")
    assert say("all", said) in str(verdict) and say("all", "proves nothing") in str(verdict)


def random_coin(dice):
    def says(*version):
        assert dice() < 0.5

    return says


def by_calls(fails):
    """A test that fails where ``fails(number of the call)`` is so."""
    calls = itertools.count()

    def says(*version):
        assert not fails(next(calls))

    return says


def by_address(fails):
    def says(*version):
        assert not fails(id(version[0]))

    return says


HASTY = {
    "at the first call": lambda: by_calls(lambda n: n == 0),
    "once in a round": lambda: by_calls(lambda n: n % 11 == 0),
    "by a counter in an attribute": Countdown,
    "by the system's dice": lambda: random_coin(random.SystemRandom().random),
    "by the clock": lambda: random_coin(lambda: time.time_ns() // 100 % 7 / 7),
    "by the address": lambda: by_address(lambda place: place // 16 % 2),
    "by the hash": lambda: (
        lambda *version: exec("assert hash(version[0]) % 5 < 3", {"version": version})
    ),
}
DICE = {
    "Python's dice": random.random,
    "NumPy's dice": np.random.rand,
    "torch's dice": lambda: float(torch.rand(())),
    "a new generator": lambda: np.random.default_rng().random(),
}
HASTY |= {name: functools.partial(random_coin, dice) for name, dice in DICE.items()}


def points_of(exercise, test, seed=0, more=()):
    """As `judge` counts them, without a word."""
    cases = [*exercise.list_cases(None, seed), *exercise.list_held_out(more)]
    return count_points(exercise, ask_all(exercise, cases, test, None, seed, {})).points


def without_versions(exercise):
    """The exercise with the same cases, of which nothing has to be made: for a test that ignores what it is given."""
    cases = [
        proving.version(case.name, case.part, lambda: len) for case in exercise.list_cases(None)
    ]
    return dataclasses.replace(exercise, cases=lambda rng, numbers: cases, right=None, shut=False)


@pytest.mark.parametrize("how", HASTY)
def test_a_test_that_ignores_what_it_is_given_earns_nothing_with_any_of_40_seeds(how, monkeypatch):
    """Of 03.5, which has the fewest versions: there chance is largest."""
    exercise = without_versions(PROVE["03.5"])
    if how not in DICE:  # they throw none, and setting them takes most of the time
        monkeypatch.setattr(outcome, "same_surroundings", contextlib.nullcontext)
        monkeypatch.setattr(proving, "start_dice", lambda: None)
    seeds = range(4) if how in DICE else range(40)  # which throw alike whatever the seed
    assert {points_of(exercise, HASTY[how](), seed) for seed in seeds} == {0}
    assert points_of(QUICK, HASTY[how]()) == 0, "nor with the versions themselves"


@needs_solutions
@pytest.mark.parametrize("name", by_exercise(PROVE))
def test_nothing_that_a_test_is_given_beside_a_version_tells_right_from_faulty(name):
    """Else `assert C != 4` would pass what is right and fail what is held out."""
    right = set()
    faulty = set()
    for seed in range(3):
        held = held_out(name[:2])[name]
        for case in (*PROVE[name].list_cases(None, seed), *held):
            seen = right if case.truth else faulty
            case.run(lambda *given: seen.add(repr(given[1:]) + repr(getattr(given[0], "C", None))))  # noqa: B023
        assert faulty <= right


def test_versions_are_asked_four_times_in_the_order_of_the_seed_and_never_twice_in_a_row():
    cases = QUICK.list_cases(None)
    orders = [proving.order_of(cases, seed) for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == sorted([*range(len(cases))] * 4)
    assert all(one != next_one for one, next_one in itertools.pairwise(orders[0]))


PART = [*QUICK.parts][-1]
SECRET = proving.version("a secret", PART, lambda: int)  # a held-out version


def with_secret(says):
    """The right test, which says of the held-out version what ``says`` does: its verdict."""
    right = QUICK.right

    def test(*version):
        if proving.BEHIND[version[0]].thing is int:
            says()
        else:
            right(*version)

    # the course's own answer may be called then
    return judge(dataclasses.replace(QUICK, right=None), test, more_cases=[SECRET])


def test_who_says_both_of_one_version_is_told_so_and_earns_nothing():
    """Even if it is right about all others, and where only a held-out version shows it."""
    calls = itertools.count()

    def moody():
        assert next(calls) != 2

    verdict = with_secret(moody)
    assert verdict.points == 0 and say("all", "fickle") in verdict.lines
    assert "secret" not in str(verdict)


def test_the_sentence_on_a_held_out_version_names_its_part_alone():
    verdict = with_secret(lambda: None)
    assert verdict.points == QUICK.points - QUICK.parts[PART]
    assert verdict.lines[-1] == say("all", "held out versions", part=PART)
    assert "secret" not in str(verdict)


def test_no_version_lies_where_another_one_lay():
    """Else its address could tell which one it is, each time that it is made."""
    places = []
    judge(QUICK, lambda *version: places.append(id(version[0])))
    assert len({*places}) == len(places) >= 4 * len(QUICK.list_cases(None))


@pytest.mark.parametrize("name", by_exercise(["05.4", "03.5"]))
def test_a_test_whose_dice_do_not_matter_keeps_its_points(name):
    right = PROVE[name].right
    exercise = dataclasses.replace(PROVE[name], right=None)
    thrown = []  # the same for all versions: making a FLASH throws more of torch's than making a GAU

    def honest(*version):
        thrown.append([dice() for dice in DICE.values()])
        right(*version)

    assert judge(exercise, honest).status == "right"
    assert all(each == thrown[0] for each in thrown) and len({*thrown[0]}) == len(DICE)


# ---------------------------------------------------------------- nothing tells a version from another


OWN = ("C", "D", "dim", "causal", "length_scale", "_fault", "_far", "_combine", "seed", "C_")
OF_A_FUNCTION = ("__name__", "__qualname__", "__doc__", "__code__", "__closure__", "__wrapped__")


def looks_of(thing):
    """All that a test could read of a version without using it."""
    kind = type(thing)
    found = [kind.__name__, kind.__qualname__, kind.__module__]
    found += [getattr(thing, name, "none") for name in (*OF_A_FUNCTION, *OWN)]
    found += [sorted(dir(thing)), str(inspect.signature(thing))]
    found += [str(thing).partition(" at 0x")[0], repr(thing).partition(" at 0x")[0]]
    found += [inspect.getsource(kind), inspect.getfile(kind)]
    found += [{key: type(value) for key, value in vars(thing).items()}]
    found += [[type(each).__name__ for each in gc.get_referents(thing) if inspect.isfunction(each)]]
    try:
        pickle.dumps(thing)
    except Exception as error:
        found.append(type(error).__name__)
    return found


NARROW = np.zeros((5, 3))  # raises an error inside of a version
BAD = {
    "03.5": lambda unit: unit(torch.zeros(2, 5, 3)),
    "05.4": lambda fn: fn(NARROW),
    "06.3": lambda unit: unit(NARROW, np.ones(5)),
    "07.6": lambda loader: loader(0, 0, 5),
    "09.4": lambda decoder: decoder.parallel(NARROW),
}


def error_of(call):
    """What an error of a version shows: its frames and texts."""
    with pytest.raises(Exception) as caught:
        call()
    frames = [
        (f.filename, f.name, f.line) for f in traceback.extract_tb(caught.value.__traceback__)
    ]
    return repr((caught.type, frames, caught.value.__cause__, caught.value.__context__))


@pytest.mark.parametrize("name", by_exercise(PROVE))
def test_no_attribute_name_source_or_error_tells_which_version_it_is(name):
    seen = []
    errors = []

    def says(*version):
        looks = looks_of(version[0])
        if name == "03.5":  # a GAU shows the parameters of a GAU, right or not: the next test
            looks = [x for x in looks if not isinstance(x, list | str | dict)]
        seen.append(repr(looks))
        errors.append(error_of(lambda: BAD[name](version[0])))

    judge(PROVE[name], says)
    assert len(seen) >= len(PROVE[name].list_cases(None)) and len({*seen}) == 1
    shown = "".join(errors)
    assert "proving.py" in shown and not re.search("set_|flash_tutorial", shown)


def test_a_unit_shows_parameters_and_parts_alone_and_is_copied_whole():
    seen = {}

    def says(unit):
        parameters = tuple((n, tuple(p.shape)) for n, p in unit.named_parameters())
        looks = (
            tuple(sorted(vars(unit))),
            repr(unit),
            tuple(unit.state_dict()),
            type(unit).__mro__,
        )
        seen.setdefault(parameters, set()).add(looks)
        twin = copy.deepcopy(unit).double()
        x = torch.randn(1, 9, unit.dim)
        y = unit(x)
        assert y.dtype == torch.float32 and twin(x.double()).shape == y.shape
        next(twin.parameters()).data.zero_()
        assert torch.equal(next(unit.parameters()), dict(unit.named_parameters())[parameters[0][0]])

    judge(PROVE["03.5"], says)
    assert len(seen) == 2 and all(len(looks) == 1 for looks in seen.values())  # a GAU and a FLASH


def test_what_a_test_does_to_a_version_ends_with_it():
    def spoils(*version):
        version[0].parallel = version[0].C = None
        version[0].__class__.spoilt = True

    try:
        judge(QUICK, spoils)
        assert judge(QUICK, QUICK.right, kept=True).status == "right"
    finally:
        del proving.Version.spoilt


def test_who_gives_nan_is_told_that_right_versions_do_not_bear_it():
    def assert_padding_inert(unit, C):
        x = np.random.default_rng(0).normal(size=(2 * C + 1, 8))
        alone = unit(x, np.ones(len(x), bool))
        padded = np.concatenate([x, np.full((2, 8), np.nan)])
        assert np.allclose(unit(padded, np.arange(len(padded)) < len(x))[: len(x)], alone)

    said = str(judge(PROVE["06.3"], assert_padding_inert))
    assert say("all", "gave nan") in said and "rounded" not in said


def test_what_is_shut_stays_shut_behind_an_except_for_everything():
    from flash_tutorial.check import prefix_error

    def assert_prefix_consistent(unit):
        try:
            prefix_error(unit, None, 3)
        except BaseException:
            raise AssertionError from None

    verdict = judge(PROVE["03.5"], assert_prefix_consistent)
    assert verdict.points == 0 and "calls `flash_tutorial.check.prefix_error`" in str(verdict)
