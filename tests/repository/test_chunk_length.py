"""The unit of `benchmarks/chunk_length.py`: FLASH whose scores are divided by 128, whatever C is."""

import numpy as np
import pytest
import torch
from unit_cases import features

from flash_tutorial import FLASH
from flash_tutorial.check import branch_error, branch_std, check_unit, draw_order_one, settle_branch
from flash_tutorial.reference import gate_and_out, project_loops

pytestmark = pytest.mark.quick

D, S = 12, 8


@pytest.fixture
def script(benchmark_script):
    return benchmark_script("chunk_length")


def unit_of(kind, C):
    """A unit with parameters of order one, in float64; the same for both kinds."""
    unit = kind(D, chunk_size=C, qk_dim=S, bias="toeplitz", causal=True).double()
    return settle_branch(draw_order_one(unit, torch.Generator().manual_seed(0)), features())


@pytest.mark.parametrize("C", [4, 32])
def test_scores_in_a_chunk_are_divided_by_128_at_every_C(script, C):
    unit, x = unit_of(script.HeldScale, C), features()[:1, : min(C, features().shape[1])]  # one chunk: no global part
    n, p = x.shape[1], unit.to_numpy()
    u, v, (quad_q, quad_k, _, _) = project_loops(x[0].numpy(), p, np.ones(n, bool))
    mixed, middle = np.zeros_like(v), len(p["bias_weights"]) // 2  # the weight of distance 0
    for i in range(n):
        for j in range(i + 1):
            mixed[i] += max(quad_q[i] @ quad_k[j] / 128 + p["bias_weights"][middle + j - i], 0) ** 2 * v[j]
    expected = torch.from_numpy(gate_and_out(x[0].numpy(), u, mixed, p))[None]
    assert branch_std(unit, x) > 0.1
    assert branch_error(unit(x), expected, x) < 1e-10


def test_at_128_it_is_flash_and_at_another_C_it_is_not(script):
    for C, same in ((128, True), (4, False)):
        held, flash = (
            unit_of(script.HeldScale, C),
            FLASH(D, chunk_size=C, qk_dim=S, bias="toeplitz", causal=True).double(),
        )
        flash.load_state_dict(held.state_dict())
        assert (branch_error(held(features()), flash(features()), features()) < 1e-12) == same


def test_it_leaks_nothing_and_decodes(script):
    check_unit(script.HeldScale(D, chunk_size=4, qk_dim=S, bias="toeplitz", causal=True))
