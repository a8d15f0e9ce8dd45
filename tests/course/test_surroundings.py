"""What an answer does to the whole process ends with its case, and each case begins with the same dice."""

import os
import random
import sys
import warnings

import numpy as np
import torch
from small_exercise import exercise

from flash_course.checks.exercise import call
from flash_course.checks.verdict import judge


def settings():
    return (
        np.geterr(),
        np.get_printoptions(),
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.is_grad_enabled(),
        sys.getrecursionlimit(),
        os.getcwd(),
        random.getstate(),
        np.random.get_state()[1].tolist(),
        torch.get_rng_state().tolist(),
        list(warnings.filters),
        sys.getprofile(),
        sys.gettrace(),
    )


def disturbing(x):
    np.seterr(all="raise")
    np.set_printoptions(precision=1)
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    torch.set_grad_enabled(False)
    sys.setrecursionlimit(5000)
    os.chdir(os.path.dirname(os.getcwd()) or "/")
    warnings.simplefilter("error")
    random.seed(3)
    np.random.seed(3)
    torch.manual_seed(3)
    return 2 * x


TWO = [call("one", "small", 1.0), call("two", "large", 2.0)]


def test_an_answer_leaves_nothing_behind():
    before = settings()
    assert judge(exercise(TWO), disturbing).points == 10
    assert settings() == before


def test_a_case_does_not_see_what_the_case_before_has_done():
    seen = []

    def answer(x):
        dice = (np.random.rand(), random.random(), float(torch.rand(())))
        seen.append((np.geterr()["over"], torch.get_default_dtype(), *dice))
        return disturbing(x)

    judge(exercise(TWO), answer)
    assert len(seen) == 2 and seen[0] == seen[1]
