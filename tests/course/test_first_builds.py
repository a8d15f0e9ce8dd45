"""The builds of lectures 01 and 02 compute what the package computes, also where the package has torch alone."""

import numpy as np
import pytest
import torch

from flash_course.builds import lecture_01, lecture_02
from flash_tutorial import GAU, layers, reference
from flash_tutorial.check import draw_order_one


def test_rope_rotates_a_tensor_as_the_package_does():
    x = torch.randn(2, 3, 5, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(lecture_01.rope(x), layers.rope(x, *layers.cos_sin(5, 8, x)))
    np.testing.assert_allclose(lecture_01.rope(x.numpy(), 7), reference.rope(x.numpy(), 7))


@pytest.mark.parametrize("causal", [True, False])
def test_heads_side_by_side_are_the_packages_heads(causal):
    q, k, v = np.random.default_rng(0).normal(size=(3, 7, 6))
    sees = np.tri(7, dtype=bool) if causal else np.ones((7, 7), bool)
    heads = (reference.split_heads(x, 3) for x in (q, k, v))
    expected = np.concatenate([*reference.softmax_attention(*heads, sees)], axis=-1)
    np.testing.assert_allclose(lecture_01.multi_head(q, k, v, 3, causal), expected)


@pytest.mark.parametrize("causal", [True, False])
def test_the_unit_of_lecture_02_is_the_packages(causal):
    unit = GAU(6, qk_dim=4, causal=causal, bias="toeplitz", bias_length=9, length_scale=5).double()
    draw_order_one(unit, torch.Generator().manual_seed(0))
    x = np.random.default_rng(0).normal(size=(7, 6))
    got = lecture_02.gau(x, unit.to_numpy(), 5, causal)
    np.testing.assert_allclose(got, unit(torch.from_numpy(x)[None])[0].detach().numpy())
    expected = reference.gau(x, unit.to_numpy(), causal=causal, length_scale=5)
    np.testing.assert_allclose(got, expected)
