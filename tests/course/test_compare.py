"""How the value of an answer is compared with the right one."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from flash_course.checks import compare

pytestmark = pytest.mark.quick
A = np.arange(6.0).reshape(2, 3)
B = np.array([[0.0, 1.0, 2.0], [7.0, 4.0, 5.0]])
PAIR = (1.0, 2.5)
COMPLEX = np.array([1 + 2j, 3.0])


def difference(right, got):
    return compare.difference(right, got, 1e-9)


@pytest.mark.parametrize(
    "right, got, said",
    [
        (A, B, "first difference [1, 0]: expected 3, got 7 (1 of 6 differ)"),
        (A, torch.from_numpy(A), "expected a value of type ndarray, got Tensor"),
        (A, A.T, "expected the shape (2, 3), got (3, 2)"),
        (A, 0 * A, "Every value is zero"),
        (A, A * np.nan, "got nan"),
        (np.array(np.inf), np.array(1.0), "expected inf, got 1"),
        ((A, A), A[0, 0], "expected 2 values, got 1"),
        ((A, A), np.stack([A, A, A]), "expected 2 values, got 1"),  # axes are no list
        ((A, A), (A, B), "value 2: "),
        ({"x": 1}, {"y": 1}, "expected the keys x, got y"),
        (np.array([True]), np.array([1.0]), ""),
        (A[0], np.array([object()] * 3), "expected a value of type ndarray, got array of object"),
        (COMPLEX, COMPLEX.real, ""),
        (COMPLEX.real, COMPLEX, ""),
        (0.5, 0.5 + 5e-9, "expected 0.5,"),
        (1.0, 1.000001, "expected 1, got 1.000001"),  # with the digits that tell them apart
        *((PAIR, got, "") for got in ({*PAIR}, iter(PAIR), "12", 1.0, np.float64(1), {0: 1.0})),
        *((True, got, "") for got in (1, 1.0, "True", np.array([True]), torch.tensor(1), None, [])),
        *((False, got, "") for got in (True, np.True_, torch.tensor(True))),
    ],
)
def test_a_difference_is_said(right, got, said):
    found = difference(right, got)
    assert found and said in found


@pytest.mark.parametrize(
    "names, said",
    [(("dq", "dk"), "dk: first"), (("dq", "dk", "dv"), "value 2: first"), ("update", "update 2: ")],
)
def test_values_are_called_by_their_names(names, said):
    assert compare.difference((A, A), (A, B), 1e-9, names).startswith(said)


@pytest.mark.parametrize(
    "right, got",
    [
        (A, A.copy()),
        (A * np.nan, A * np.nan),
        (COMPLEX, COMPLEX.copy()),
        (A, A + 0j),
        ([A, A], np.stack([A, A])),
        (["a", "b"], np.array(["a", "b"])),
        *((PAIR, got) for got in ([1, 2.5], np.array(PAIR), (np.float32(1), Fraction(5, 2)))),
        *((True, got) for got in (True, np.True_, np.array(True), torch.tensor(True))),
        (np.True_, True),
    ],
)
def test_what_is_equal_is_equal_whatever_holds_it(right, got):
    assert difference(right, got) is None


HALF = ("fp16", "half", np.float16, np.dtype("float16"), torch.float16, "np.float16")
WORDS = {
    "bfloat16": ("BFloat16", "bf16", "torch.bfloat16", torch.bfloat16, " bfloat16. "),
    "float16": ("float16", *HALF),
    "relu2": ("relu²",),
    "emulation": ("by emulation",),
    "transformer++": ("Transformer++",),
    "linear attention": ("linear  Attention",),
    "more": ("More ",),
}


@pytest.mark.parametrize("word", WORDS)
def test_words_are_compared_in_any_case_and_formats_under_any_name(word):
    for written in WORDS[word]:
        assert compare.as_word(written) == word


def test_a_sum_is_the_same_in_any_order_and_a_number_is_no_word():
    for written in ("x+out_bias", "out_bias + X"):
        assert compare.as_word(written) == compare.as_word("x + out_bias")
    assert compare.as_word(3) == 3
