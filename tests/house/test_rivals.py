"""The rivals of a race: a hybrid has one attention in four; queries and keys may share less."""

import sys
from pathlib import Path

import pytest
import torch

from flash_tutorial import FLASH, LanguageModel, ModelConfig
from flash_tutorial.mixing import softmax_attention

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "experiments"))
from rivals import (
    AttentionUnit,
    hybrid,
    with_larger_gamma,
    with_one_map,
    with_own_maps,
    with_turned_keys,
)

pytestmark = pytest.mark.quick


def test_the_unit_that_reads_by_softmax_has_one_map_for_all_of_v():
    torch.manual_seed(0)
    unit = AttentionUnit(16, causal=True, qk_dim=8, norm="layer").double()
    q, k = torch.randn(2, 3, 29, 8, dtype=torch.float64)
    v = torch.randn(3, 29, 32, dtype=torch.float64)
    expected = softmax_attention(q, k, v, causal=True)
    torch.testing.assert_close(unit.mix((q, k), v, None, None), expected, rtol=1e-10, atol=1e-10)


def test_one_unit_in_four_is_attention():
    torch.manual_seed(0)
    config = ModelConfig("flash", dim=64, depth=8, qk_dim=32, chunk_size=16)
    model = hybrid(config)
    kinds = [type(unit) for unit in model.stack.units]
    assert kinds == [FLASH, FLASH, FLASH, AttentionUnit] * 2
    unit = model.stack.units[3]
    expected = model.stack.units[0].in_proj.weight.detach().std()
    assert abs(float(unit.in_proj.weight.detach().std() / expected) - 1) < 0.05
    ids = torch.randint(0, 256, (2, 70))
    other = ids.clone()
    other[:, 40] += 1
    other %= 256
    changed = (model(ids) - model(other)).abs().amax((0, 2)) > 1e-6
    assert not changed[:40].any() and changed[40:].all()


@pytest.mark.parametrize("made_by", [LanguageModel, with_one_map])
def test_a_turned_key_is_the_key_one_channel_further_on(made_by):
    config = ModelConfig("flash_quad", dim=32, depth=2, qk_dim=8, attention="softmax")
    torch.manual_seed(0)
    plain = made_by(config)
    torch.manual_seed(0)
    turned = with_turned_keys(config, made_by)
    assert [p.shape for p in turned.parameters()] == [p.shape for p in plain.parameters()]
    z = torch.randn(2, 5, 8)
    for ours, theirs in zip(turned.stack.units, plain.stack.units):
        (q, k), (of_plain, key) = ours.scale_offset(z), theirs.scale_offset(z)
        torch.testing.assert_close(q, of_plain, rtol=0, atol=0)
        torch.testing.assert_close(k[..., 1:], key[..., :-1], rtol=0, atol=0)
        torch.testing.assert_close(k[..., 0], key[..., -1], rtol=0, atol=0)


@pytest.mark.parametrize("made_by", [with_one_map, with_larger_gamma])
def test_scores_begin_as_large_as_with_maps_of_their_own(made_by):
    """For bases that do not depend on each other, over many draws."""
    config = ModelConfig("flash_quad", dim=64, depth=8, qk_dim=64, attention="softmax")
    z, other = torch.randn(2, 200, 64)

    def size(made_by):
        units = (unit for _ in range(4) for unit in made_by(config).stack.units)
        scores = [unit.scale_offset(z)[0] @ unit.scale_offset(other)[1].T for unit in units]
        return float(torch.stack(scores).detach().std())

    torch.manual_seed(0)
    assert size(made_by) == pytest.approx(size(with_own_maps), rel=0.1)
    assert size(LanguageModel) < size(with_own_maps) / 10
