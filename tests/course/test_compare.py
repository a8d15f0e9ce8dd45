"""How the value of an answer is compared with the right one."""

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
    assert "expected a value of type ndarray, got Tensor" in difference(a, torch.from_numpy(a), 1e-9)
    assert "expected the shape (2, 3), got (3, 2)" in difference(a, a.T, 1e-9)
    assert "Every value is zero" in difference(a, 0 * a, 1e-9)
    assert "got nan" in difference(a, a * np.nan, 1e-9)
    assert difference(a * np.nan, a * np.nan, 1e-9) is None
    assert "expected inf, got 1" in difference(np.array(np.inf), np.array(1.0), 1e-9)
    assert "expected 2 values, got 1" in difference((a, a), a[0, 0], 1e-9)
    assert "value 2: " in difference((a, a), (a, b), 1e-9)
    assert "expected the keys x, got y" in difference({"x": 1}, {"y": 1}, 1e-9)
    assert difference(True, np.True_, 1e-9) is None and difference(True, 1, 1e-9)
    assert difference(np.array([True]), np.array([1.0]), 1e-9)
