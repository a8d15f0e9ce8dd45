"""How the value of an answer is compared with the right one."""

from fractions import Fraction

import numpy as np
import pytest
import torch

pytestmark = pytest.mark.quick


def test_values_are_compared_by_shape_type_and_number():
    from flash_course.checks.compare import difference

    a = np.arange(6.0).reshape(2, 3)
    b = a.copy()
    b[1, 0] = 7
    assert difference(a, a.copy(), 1e-9) is None
    assert "first difference [1, 0]: expected 3, got 7 (1 of 6 differ)" in difference(a, b, 1e-9)
    assert "expected a value of type ndarray, got Tensor" in difference(
        a, torch.from_numpy(a), 1e-9
    )
    assert "expected the shape (2, 3), got (3, 2)" in difference(a, a.T, 1e-9)
    assert "Every value is zero" in difference(a, 0 * a, 1e-9)
    assert "got nan" in difference(a, a * np.nan, 1e-9)
    assert difference(a * np.nan, a * np.nan, 1e-9) is None
    assert "expected inf, got 1" in difference(np.array(np.inf), np.array(1.0), 1e-9)
    assert "expected 2 values, got 1" in difference((a, a), a[0, 0], 1e-9)
    # an array of axes is no list
    assert "expected 2 values, got 1" in difference((a, a), np.stack([a, a, a]), 1e-9)
    assert "value 2: " in difference((a, a), (a, b), 1e-9)
    assert "expected the keys x, got y" in difference({"x": 1}, {"y": 1}, 1e-9)
    assert difference(True, np.True_, 1e-9) is None and difference(True, 1, 1e-9)
    assert difference(np.array([True]), np.array([1.0]), 1e-9)


def test_a_sequence_is_a_sequence_whatever_holds_it():
    from flash_course.checks.compare import difference

    pair, a = (1.0, 2.5), np.arange(3.0)
    for got in ([1, 2.5], np.array(pair), torch.tensor(pair), (np.float32(1), Fraction(5, 2))):
        assert difference(pair, got, 1e-9) is None
    assert difference([a, a], np.stack([a, a]), 1e-9) is None
    assert difference(["a", "b"], np.array(["a", "b"]), 1e-9) is None
    for got in ({1.0, 2.5}, iter(pair), "12", 1.0, np.float64(1), {0: 1.0, 1: 2.5}):
        assert difference(pair, got, 1e-9), got
    assert "expected a value of type ndarray, got array of object" in difference(
        a, np.array([object()] * 3), 1e-9
    )


def test_a_flag_is_a_flag_whatever_holds_it():
    from flash_course.checks.compare import difference

    for got in (True, np.True_, np.array(True), torch.tensor(True)):
        assert difference(True, got, 1e-9) is None and difference(np.True_, got, 1e-9) is None
        assert difference(False, got, 1e-9)
    for got in (1, 1.0, "True", np.array([True]), torch.tensor(1), None, []):
        assert difference(True, got, 1e-9), got


def test_words_are_compared_in_any_case_and_formats_under_any_name():
    from flash_course.checks.compare import as_word

    for word in ("bfloat16", "BFloat16", "bf16", "torch.bfloat16", torch.bfloat16, " bfloat16. "):
        assert as_word(word) == "bfloat16"
    for word in (
        "float16",
        "fp16",
        "half",
        np.float16,
        np.dtype("float16"),
        torch.float16,
        "np.float16",
    ):
        assert as_word(word) == "float16"
    for word in ("x + out_bias", "x+out_bias", "out_bias + X"):
        assert as_word(word) == as_word("x + out_bias")
    assert as_word("relu²") == "relu2" and as_word("by emulation") == "emulation"
    assert as_word("Transformer++") == "transformer++"
    assert (
        as_word("More ") == as_word("more")
        and as_word("linear  Attention") == "linear attention"
        and as_word(3) == 3
    )


def test_complex_numbers_keep_their_imaginary_part():
    from flash_course.checks.compare import difference

    a = np.array([1 + 2j, 3.0])
    assert (
        difference(a, a.copy(), 1e-9) is None
        and difference(a, a.real, 1e-9)
        and difference(a.real, a, 1e-9)
    )
    assert difference(a.real, a.real + 0j, 1e-9) is None


def test_numbers_that_look_alike_are_shown_with_their_digits():
    from flash_course.checks.compare import difference

    assert "expected 1, got 1.000001" in difference(1.0, 1.000001, 1e-9)
