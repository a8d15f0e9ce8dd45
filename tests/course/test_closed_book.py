"""While an answer runs the package is shut."""

import contextlib
import sys

import numpy as np
import pytest
from small_exercise import CASES, exercise

from flash_course.checks.closed_book import PackageShut, package_shut
from flash_course.checks.verdict import judge

pytestmark = pytest.mark.quick


def test_a_call_into_the_package_is_seen_even_behind_except():
    from flash_tutorial import reference

    def double(x):
        with contextlib.suppress(Exception):
            reference.silu(np.zeros(1))
        return 2 * x

    verdict = judge(exercise(CASES), double)
    assert "calls `flash_tutorial.reference.silu`" in str(verdict) and verdict.status == "wrong"
    assert judge(exercise(CASES, shut=False), double).status == "right"
    with pytest.raises(PackageShut), package_shut():
        reference.silu(np.zeros(1))
    assert sys.getprofile() is None
