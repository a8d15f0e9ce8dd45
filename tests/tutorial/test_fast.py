"""The map by blocks of rows, with its backward pass by hand, against the plain formula of ``mixing``."""

import pytest
import torch
from unit_cases import run_reference

from flash_tutorial import FLASH, GAU, fast, mixing
from flash_tutorial.properties import branch_error, draw_order_one, settle_branch

pytestmark = pytest.mark.quick


@pytest.mark.parametrize("n", [1, fast.ROWS, 3 * fast.ROWS + 5])
@pytest.mark.parametrize("causal", [True, False])
def test_it_is_the_plain_formula_with_its_gradients(causal, n):
    """Scores, bias and values of order one; some pairs are not visible."""
    generator = torch.Generator().manual_seed(0)
    shapes = (2, n, 3), (2, n, 3), (2, n, 5), (n, n)
    inputs = [torch.randn(*shape, generator=generator, dtype=torch.float64, requires_grad=True) for shape in shapes]
    visible = torch.rand(2, n, n, generator=generator) < 0.7
    weight = torch.randn(2, n, 5, generator=generator, dtype=torch.float64)
    found = []
    for attend in (mixing.relu2_attention, fast.relu2_attention):
        q, k, v, bias = inputs
        y = attend(q, k, v, scale=0.5, causal=causal, bias=bias, visible=visible)
        found.append([y, *torch.autograd.grad((y * weight).sum(), inputs)])
    for plain, by_hand in zip(*found):
        torch.testing.assert_close(by_hand, plain, rtol=1e-12, atol=1e-10)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("make_unit", [
    lambda n, causal: GAU(4, expansion=1, qk_dim=4, causal=causal, bias_length=n, length_scale=4),
    lambda n, causal: FLASH(4, expansion=1, qk_dim=4, causal=causal, chunk_size=n - 5),
])  # fmt: skip
def test_maps_longer_than_a_block_of_rows(make_unit, causal):
    """A causal map is computed block by block of rows; more than two blocks here, values and gradients."""
    n = 2 * fast.ROWS + 7
    unit = draw_order_one(make_unit(n, causal).double(), torch.Generator().manual_seed(0))
    x = torch.randn(2, n, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    settle_branch(unit, x)
    segments = (torch.arange(n) // 50).expand(2, -1)
    for kw in ({}, {"segment_ids": segments}):
        assert branch_error(unit(x, **kw), run_reference(unit, x, **kw), x) <= 1e-10
        torch.manual_seed(0)
        assert torch.autograd.gradcheck(lambda x, kw=kw: unit(x, **kw), x.requires_grad_(), fast_mode=True, atol=1e-6)
        x = x.detach()
