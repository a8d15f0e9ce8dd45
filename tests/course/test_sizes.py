"""Sizes come from the seed: an answer that knows those of one seed is worth nothing at another."""

import contextlib
import dataclasses
import functools
import inspect

import numpy as np
import pytest
import torch
from test_exercises import CODE, by_exercise

from flash_course.checks.sets import set_07, set_09, set_11
from flash_course.checks.sets.tiny_run import Run
from flash_course.checks.sizes import chunked, grown
from flash_course.checks.verdict import judge

ALIKE = {  # exercise: parts that have no sizes, such as words, or whose sizes only make an object
    "01.5": ["properties"],
    "03.1": ["toeplitz: no loop"],
    "03.2": ["parameters", "start", "device"],
    "06.1": ["published sizes"],
    "05.2": ["no loop"],
    "05.3": ["no loop"],
    "05.5": ["what finds them"],
}


SILENT = {set_07.training_step, set_07.save, set_09.save_state}
SILENT |= {set_11.launch_local, set_11.launch_gated}


def shape_of(value):
    """What an answer can branch on without a look at the numbers."""
    if isinstance(value, dict):
        return tuple((key, shape_of(one)) for key, one in value.items())
    if isinstance(value, list | tuple):
        return tuple(map(shape_of, value))
    if dataclasses.is_dataclass(value) or isinstance(value, Run):
        return shape_of(vars(value))
    if hasattr(value, "shape"):
        return tuple(value.shape)
    return value if isinstance(value, int | float | str) else None


def zeros_like(value):
    if isinstance(value, dict):
        return {key: zeros_like(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(zeros_like, value))
    if isinstance(value, torch.nn.Module):
        value.forward = torch.zeros_like
        return value
    if isinstance(value, torch.Tensor | np.ndarray):
        return value * 0
    return type(value)(0) if isinstance(value, int | float | bool) else value


def knows_sizes(function, seen, learns):
    """The right answer for sizes in ``seen``, zeros for others; while it learns, all sizes are added."""

    @functools.wraps(function)
    def answer(*args, **kwargs):
        sizes = shape_of((args, kwargs))
        if learns:
            seen.add(sizes)
        if sizes in seen:
            return function(*args, **kwargs)
        with contextlib.suppress(ValueError):  # it refuses, where the right answer does
            return None if function in SILENT else zeros_like(function(*args, **kwargs))

    return answer


def knowing(exercise, seen, learns):
    """The whole answer, of one function or several. What is no function, such as a table of words, stays."""
    right = exercise.right
    if isinstance(right, dict):
        return {
            name: knows_sizes(part, seen, learns) if inspect.isroutine(part) else part
            for name, part in right.items()
        }
    return knows_sizes(right, seen, learns)


SIZED = [name for name, exercise in CODE.items() if exercise.kind != "prove"]


@pytest.mark.parametrize("name", by_exercise(SIZED))
def test_who_knows_the_sizes_of_one_seed_has_none_of_another(name, seed=1):
    seen = set()
    exercise = dataclasses.replace(CODE[name], shut=None)  # its own answer runs, wrapped
    verdict = judge(exercise, knowing(exercise, seen, learns=True), kept=True)
    assert verdict.status == "right", verdict
    verdict = judge(exercise, knowing(exercise, seen, learns=False), seed=seed, kept=True)
    earned = {part for part, points in verdict.by_part.items() if points}
    left = earned - {*ALIKE.get(exercise.id, ())}
    assert not left, f"{exercise.id}: the sizes of {left} are those of seed 0"


def test_sizes_grow_and_keep_their_kind():
    rng = np.random.default_rng(0)
    for _ in range(200):
        a, b, one = grown(rng, 3, 5, 1)
        assert 3 <= a <= 7 and 5 <= b <= 9 and a != b and one == 1
        for T, C in ((14, 4), (12, 4), (3, 7), (6, 1), (1, 3), (9, 8), (5, 2)):
            many, size = chunked(rng, T, C)
            assert many // size == T // C or size == 1 or T == 1
            assert (many % size > 0) == (T % C > 0) and (many == 1) == (T == 1)
    assert len({tuple(chunked(np.random.default_rng(seed), 14, 4)) for seed in range(20)}) > 10
