"""Tests that students write: what earns nothing, and that a version shows only what it does."""

import copy
import dataclasses
import functools
import gc
import inspect
import itertools
import pickle
import re
import sys
import traceback

import numpy as np
import pytest
import torch

from flash_course.checks import exercise as model
from flash_course.checks import proving
from flash_course.checks.texts import say
from flash_course.checks.verdict import judge

pytestmark = pytest.mark.quick

PROVE = {name: e for number in model.there() for name, e in model.load_set(number).items() if e.kind == "prove"}
SOME = ("05.4", "09.4")  # those that are asked quickly


def judged(name, test, **how):
    return judge(PROVE[name], test, **how)


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


def counter(n):
    """The first n pass."""
    calls = itertools.count()

    def says(*version):
        assert next(calls) < n

    return says


class Countdown:
    """The same as an object with a state."""

    def __init__(self):
        self.left = 3

    def __call__(self, *version):
        self.left -= 1
        if self.left < 0:
            raise AssertionError


@pytest.mark.parametrize("name", PROVE)
@pytest.mark.parametrize(
    "test, said",
    [
        (raises_always, "fails all"), (raises_at_last, "fails all"), (functools.partial(raises_always), "fails all"),
        (lambda *version: 1 / 1 and None, "passes all"), (returns_false, "returns"), (returns_a_numpy_flag, "returns"),
        (yields, "test never ran"), (is_async, "test never ran"), (value_error, "no assertion"),
        (leaves, "no assertion"),
    ],
)  # fmt: skip
def test_a_test_that_says_the_same_of_all_earns_nothing_and_hears_why(name, test, said):
    verdict = judged(name, test)
    assert verdict.points == 0 and verdict.status in ("wrong", "raises")
    assert say("all", said) in str(verdict) and say("all", "proves nothing") in str(verdict), verdict


@pytest.mark.parametrize("name", PROVE)
@pytest.mark.parametrize("make", [lambda: counter(2), lambda: counter(3), lambda: counter(6), Countdown])
def test_who_counts_calls_earns_nothing(name, make):
    assert [judged(name, make(), seed=seed).points for seed in range(3)] == [0, 0, 0]


@pytest.mark.parametrize("name", SOME)
def test_the_order_of_versions_is_that_of_the_seed_and_the_right_ones_come_twice(name):
    cases = PROVE[name].list_cases(None)
    orders = [proving.order_of(cases, seed) for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == sorted([*range(len(cases)), *(i for i, case in enumerate(cases) if case.truth)])


@pytest.mark.parametrize("name", SOME)
def test_who_says_both_of_one_version_is_told_so(name):
    calls = itertools.count()

    def moody(*version):
        assert next(calls) % 2

    assert say("all", "fickle") in "".join(str(judged(name, moody, seed=seed)) for seed in range(4))


# ---------------------------------------------------------------- nothing tells a version from another


def looks_of(version):
    """All that a test could read of a version without using it."""
    thing = version[0]
    found = [type(thing).__name__, type(thing).__qualname__, type(thing).__module__, getattr(thing, "__name__", None)]
    found += [getattr(thing, "__doc__", None), getattr(thing, "__qualname__", None)]
    found += [sorted(name for name in dir(thing)), str(inspect.signature(thing))]
    found += [repr(thing).partition(" at 0x")[0], str(thing).partition(" at 0x")[0]]
    found += [
        getattr(thing, "__code__", None),
        getattr(thing, "__closure__", None),
        getattr(thing, "__wrapped__", None),
    ]
    found += [inspect.getsource(type(thing)), inspect.getfile(type(thing))]
    found += [{key: type(value) for key, value in vars(thing).items()}]
    found += [[type(each).__name__ for each in gc.get_referents(thing) if inspect.isfunction(each)]]
    try:
        pickle.dumps(thing)
    except Exception as error:
        found.append(type(error).__name__)
    for name in ("C", "D", "dim", "causal", "length_scale", "_fault", "_far", "_combine", "seed", "C_"):
        found.append(getattr(thing, name, "none"))
    return found


NARROW = np.zeros((5, 3))  # raises an error inside of a version
BAD = {
    "03.5": lambda unit: unit(torch.zeros(2, 5, 3)), "05.4": lambda fn: fn(NARROW),
    "06.3": lambda unit: unit(NARROW, np.ones(5)), "07.6": lambda loader: loader(0, 0, 5),
    "09.4": lambda decoder: decoder.parallel(NARROW),
}  # fmt: skip


def error_of(call):
    """What an error of a version shows: its frames and texts."""
    try:
        call()
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        return type(error).__name__, [(f.filename, f.name, f.line) for f in frames], error.__cause__, error.__context__
    return None


@pytest.mark.parametrize("name", PROVE)
def test_no_attribute_name_source_or_error_tells_which_version_it_is(name):
    seen, errors = [], []

    def says(*version):
        if name == "03.5":  # a GAU shows the parameters of a GAU, right or not
            seen.append(repr([(n, tuple(p.shape)) for n, p in version[0].named_parameters()]) and "unit")
            kept = looks_of(version)
            kept = [x for x in kept if not isinstance(x, list | str | dict)]
        else:
            kept = looks_of(version)
        seen.append(repr(kept))
        errors.append(repr(error_of(lambda: BAD[name](version[0]))))

    cases = PROVE[name].list_cases(None)
    judged(name, says)
    assert len({*seen}) <= 2 and len(seen) >= len(cases)
    shown = "".join(errors)
    assert "None" not in {*errors} and "proving.py" in shown
    assert not re.search("set_|flash_tutorial|flash_support", shown)


def test_a_unit_shows_parameters_and_parts_alone_and_is_copied_whole():
    seen = {}

    def says(unit):
        parameters = tuple((n, tuple(p.shape)) for n, p in unit.named_parameters())
        looks = (tuple(sorted(vars(unit))), repr(unit), tuple(unit.state_dict()), type(unit).__mro__)
        seen.setdefault(parameters, set()).add(looks)
        twin = copy.deepcopy(unit).double()
        x = torch.randn(1, 9, unit.dim)
        y = unit(x)
        assert y.dtype == torch.float32 and twin(x.double()).shape == y.shape
        next(twin.parameters()).data.zero_()
        assert torch.equal(next(unit.parameters()), dict(unit.named_parameters())[parameters[0][0]])

    judged("03.5", says)
    assert len(seen) == 2 and all(len(looks) == 1 for looks in seen.values())  # a GAU and a FLASH


@pytest.mark.parametrize("name", SOME)
def test_what_a_test_does_to_a_version_ends_with_it(name):
    def spoils(*version):
        version[0].parallel = version[0].C = None
        version[0].__class__.spoilt = True

    try:
        judged(name, spoils)
        assert judged(name, PROVE[name].right, kept=True).status == "right"
    finally:
        del proving.Version.spoilt


def test_who_gives_nan_is_told_that_right_versions_do_not_bear_it():
    def assert_padding_inert(unit, C):
        x = np.random.default_rng(0).normal(size=(2 * C + 1, 8))
        alone = unit(x, np.ones(len(x), bool))
        padded = np.concatenate([x, np.full((2, 8), np.nan)])
        assert np.allclose(unit(padded, np.arange(len(padded)) < len(x))[: len(x)], alone)

    said = str(judged("06.3", assert_padding_inert))
    assert say("all", "gave nan") in said and "rounded" not in said


def test_what_is_shut_stays_shut_behind_an_except_for_everything():
    from flash_tutorial.properties import prefix_error

    def assert_prefix_consistent(unit):
        try:
            prefix_error(unit, None, 3)
        except BaseException:
            raise AssertionError from None

    verdict = judged("03.5", assert_prefix_consistent)
    assert verdict.points == 0 and "calls `flash_tutorial.properties.prefix_error`" in str(verdict)


@pytest.mark.parametrize("name", PROVE)
def test_the_sentence_on_a_held_out_version_names_its_part_alone(name):
    part = [*PROVE[name].parts][-1]
    secret = proving.version("a secret", part, lambda: int)
    right = PROVE[name].right
    exercise = dataclasses.replace(PROVE[name], right=None)  # which may be called then

    def says(*version):
        if proving.BEHIND[version[0]].thing is not int:
            right(*version)

    verdict = judge(exercise, says, more_cases=[secret])
    assert verdict.points == PROVE[name].points - PROVE[name].parts[part]
    assert verdict.lines[-1] == say("all", "held out versions", part=part) and "secret" not in str(verdict)
