"""Points by part: each case belongs to a part that the exercise has, and a right part keeps its points."""

import functools
import types

import numpy as np
import pytest
from marks import needs_solutions
from small_exercise import CASES, exercise
from test_exercises import EXERCISES, ROOT, by_exercise, skip_without_triton

from flash_course.checks import exercise as model
from flash_course.checks.texts import say
from flash_course.checks.verdict import ask_all, count_points, judge, lines_on_parts
from flash_course.grading.grade import Pool


@functools.cache
def held_out(number):
    """{exercise: cases} of a set's pool, compiled as if they lay beside the checks: they may call kept answers."""
    found = {}
    for name, text in Pool(ROOT / "solutions").sources(number).items():
        module = types.ModuleType("held_out")
        place = f"{model.__file__.rpartition('/')[0]}/held_out_{name}.py"
        exec(compile(text, place, "exec"), vars(module))
        found[name] = vars(module)[f"held_out_{name[3:]}"](np.random.default_rng([0, 1]))
    return found


# ---------------------------------------------------------------- each case has a part
UNKNOWN = model.call("a secret", "held out", 17.0)


def test_a_case_of_an_unknown_part_is_an_error_that_names_the_parts():
    said = r"05\.1, the {}case 'a secret'.*: there is no part 'held out': expected one of 'small', 'large'"
    with pytest.raises(ValueError, match=said.format("held-out ")):
        judge(exercise(CASES), lambda x: 2 * x, more_cases=[UNKNOWN])
    with pytest.raises(ValueError, match=said.format("")):
        judge(exercise([*CASES, UNKNOWN]), lambda x: 2 * x)


def test_a_part_without_a_case_is_an_error():
    with pytest.raises(ValueError, match="no case belongs to the parts large"):
        judge(exercise(CASES[:1]), lambda x: 2 * x)


@pytest.mark.parametrize(
    "function, said",
    [
        (
            "held_out_9(rng):\n    return []",
            r"right_05\.py has cases of 05\.9: expected some of 05\.1, 05\.2",
        ),
        (
            "held_out_1(rng):\n    return [call('a secret', 'held out', 17.0)]",
            "there is no part 'held out'",
        ),
    ],
)
def test_a_pool_is_checked_when_it_is_loaded(function, said, tmp_path):
    head = "from flash_course.checks.exercise import call\n\n\ndef "
    (tmp_path / "right_05.py").write_text(head + function + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match=said):
        Pool(tmp_path).sources("05")


# ---------------------------------------------------------------- a right part stays right
ONE_FAULT = """
01.5 precision left: precision
01.5 neighbours: pairing
02.5 bias left: the bias
02.5 residual left: the residual
02.5 mask left: the mask
02.5 bias and mask left: the bias, the mask
04.6 default argument: answer_one
04.6 kept by size: answer_batch
06.4 swapped: report
06.4 ratio: mended
07.3 not divided: accumulation
07.3 all in memory: accumulation
07.3 no clipping: clipping
07.3 optimizer's step: overflow
07.3 moves early: schedule
07.3 waits: schedule
08.4 batch: batch
08.4 one reading: clock
08.4 written out: rival
10.5 twice: size
10.5 one rate: rates
10.5 sign: differences
11.4 tables left: tables
11.4 waiting left: waiting
11.4 half left: half
11.4 double left: double
11.4 joined left: joined
"""
LOST = {
    (line[:4], line[5:].partition(": ")[0]): line.partition(": ")[2].split(", ")
    for line in ONE_FAULT.strip().splitlines()
}
MEND = [name for name, one in EXERCISES.items() if one.kind == "mend"]


def parts_left(one, found):
    return {part for part, points in count_points(one, found).by_part.items() if points}


@needs_solutions
@pytest.mark.parametrize("name", by_exercise(MEND))
def test_who_leaves_one_fault_loses_its_part_alone(name):
    """And held-out cases take no part from a kept wrong answer that practice leaves it."""
    one = EXERCISES[name]
    known = {}
    seen = set()
    cases = [*one.list_cases(None), *one.list_held_out(held_out(name[:2])[name])]
    for wrong in one.wrong:
        given = one.assemble(one.handed_in(wrong), None)
        found = ask_all(one, cases, given, None, 0, known)
        practice = [each for each in found if not each.case.held_out]
        assert lines_on_parts(one, found) == lines_on_parts(one, practice), wrong.key
        left = parts_left(one, practice)
        assert parts_left(one, found) == left, wrong.key
        if (name, wrong.key) in LOST:
            assert {*one.parts} - left == {*LOST[name, wrong.key]}, wrong.key
            seen.add(wrong.key)
    assert seen == {key for exercise, key in LOST if exercise == name}


# ---------------------------------------------------------------- nothing is earned by nothing


def refuses(*args, **more):
    raise ValueError("no")


WORTHLESS = {
    "0": lambda right: lambda *args, **more: 0,
    "the first argument": lambda right: lambda *args, **more: args[0] if args else 0,
    "a refusal": lambda right: refuses,
}


def made_worthless(right, make):
    """In place of a function, a class of torch, or a table of words."""
    if isinstance(right, type):
        parent = right.__mro__[1]
        answer = make(None)
        init = {"__init__": lambda self, *args, **more: parent.__init__(self)}
        return type("Worthless", (parent,), init | {"forward": lambda self, *args: answer(*args)})
    return make(right) if callable(right) else dict.fromkeys(right, "both")


BUILT = [name for name, one in EXERCISES.items() if one.kind in ("build", "mend", "extend")]


@pytest.mark.parametrize("name", by_exercise(BUILT))
def test_a_worthless_answer_earns_no_part(name):
    """Zeros in the right form: test_sizes.py."""
    skip_without_triton(name)
    one = EXERCISES[name]
    known = {}
    right = one.right if isinstance(one.right, dict) else {one.names[0]: one.right}
    for label, make in WORTHLESS.items():
        answer = {key: made_worthless(each, make) for key, each in right.items()}
        given = one.assemble(answer if len(one.names) > 1 else answer[one.names[0]], None)
        found = ask_all(one, one.list_cases(None), given, None, 0, known)
        assert not parts_left(one, found), label


def test_a_part_beside_another_counts_only_with_it_and_says_so():
    beside = exercise(CASES, beside=(("large", "small"),))
    right_if_large = judge(beside, lambda x: 2 * x + (np.ndim(x) == 0))
    line = say("all", "part", part="large", state=say("all", "beside", other="small"))
    assert (right_if_large.points, right_if_large.lines[1]) == (0, line)
    assert judge(beside, lambda x: 2 * x).points == 10
    assert judge(beside, lambda x: 2 * x + (np.ndim(x) > 0)).points == 4
    with pytest.raises(ValueError, match=r"05\.1, beside: there is no part 'values'"):
        exercise(CASES, beside=(("large", "values"),))
