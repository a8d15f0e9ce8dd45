"""Kernels in Triton's interpreter: the calls of those that can call Python are watched, as all else of an answer is."""

import sys

import pytest
import torch
from test_exercises import skip_without_triton

from flash_course.checks.closed_book import PackageShut, package_shut
from flash_course.checks.interpreter import jit, tl
from flash_course.checks.sets.set_11 import load_tile as load_of_the_course
from flash_tutorial import reference

M = 16


def plain_part(x, M):
    """Not a kernel: Python's own."""
    reference.silu(0.0)
    return tl.load(x + tl.arange(0, M))


@jit
def load_tile(x, M: tl.constexpr):
    return tl.load(x + tl.arange(0, M))


@jit
def load_with_package(x, M: tl.constexpr):
    return plain_part(x, M)


@jit
def of_triton_alone(x, M: tl.constexpr):
    tile = load_tile(x, M)
    for _ in range(2):
        tile = tl.maximum(tile + M, 0.0).to(tl.float32)
    tl.store(x + tl.arange(0, M), tl.where(0 < tile < 100, tile, tile + 1))


@jit
def of_a_function(x, M: tl.constexpr):
    tl.store(x + tl.arange(0, M), plain_part(x, M))


@jit
def of_a_kernel_that_calls(x, M: tl.constexpr):
    tl.store(x + tl.arange(0, M), load_with_package(x, M))


@jit
def of_the_course(x, M: tl.constexpr):
    tl.store(x + tl.arange(0, M), load_of_the_course(x, (1,), 0, 0, M, M))


@jit
def of_an_import(x, M: tl.constexpr):
    from flash_tutorial import reference as load

    load.silu(0.0)


@jit
def of_tritons_own_modules(x, M: tl.constexpr):
    tl.core.inspect.sys.modules["flash_tutorial.reference"].silu(0.0)


@jit
def of_a_default(x, M: tl.constexpr, f=reference.silu):
    f(0.0)


@jit
def astray(x, M: tl.constexpr):
    place = x + tl.arange(0, M)
    tl.store(place + 2**40, tl.load(place))
    tl.store(place, tl.load(place + tl.where(tl.arange(0, M) < 4, 0, 2**40)))


class Place:
    """What gives its address as a tensor does, and calls on the way."""

    data_ptr = None

    def untyped_storage(self):
        reference.silu(0.0)
        return torch.ones(M).untyped_storage()


CALLING = {
    "a function": lambda x: of_a_function[(1,)](x, M=M),
    "a kernel that calls": lambda x: of_a_kernel_that_calls[(1,)](x, M=M),
    "an import": lambda x: of_an_import[(1,)](x, M=M),
    "Triton's own modules": lambda x: of_tritons_own_modules[(1,)](x, M=M),
    "a default": lambda x: of_a_default[(1,)](x, M=M),
    "a grid": lambda x: of_triton_alone[lambda given: (int(reference.silu(9.0)) // 8,)](x, M=M),
    "an argument": lambda x: of_triton_alone[(1,)](Place(), M=M),
}


@pytest.mark.parametrize("name", CALLING)
def test_a_call_of_the_package_from_within_a_kernel_is_seen(name):
    skip_without_triton("11.3")
    with pytest.raises(PackageShut, match=r"reference\.silu"), package_shut():
        CALLING[name](torch.ones(M))
    assert sys.getprofile() is None


def test_a_kernel_of_the_course_within_an_answer_s_is_seen():
    skip_without_triton("11.3")
    with pytest.raises(PackageShut, match="set_11"), package_shut(shut=False):
        of_the_course[(1,)](torch.ones(M), M=M)


def test_a_kernel_that_names_triton_alone_is_not_slowed_by_the_watch():
    skip_without_triton("11.3")
    seen = []
    x = torch.ones(M)

    def hook(frame, event, argument):
        seen.append(frame.f_code.co_filename)

    sys.setprofile(hook)
    try:
        of_triton_alone[(1,)](x, M=M)
        assert sys.getprofile() is hook
    finally:
        sys.setprofile(None)
    assert x.tolist() == [33.0] * M
    assert seen and not any(name.endswith("semantic.py") for name in seen)


def test_a_kernel_that_goes_astray_reads_nan_and_stops_nobody():
    skip_without_triton("11.3")
    x = torch.ones(M)
    astray[(1,)](x, M=M)
    assert x.isnan().tolist() == [False] * 4 + [True] * (M - 4)
