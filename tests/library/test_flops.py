"""Counted FLOPs of an update: of a whole batch, of any layer, of attention and recurrent layers too."""

import pytest
import torch
from torch import nn

from flash_tutorial import LanguageModel, ModelConfig
from flash_tutorial.experiments import flops_of_update
from flash_tutorial.experiments.flops import flops_of_rows
from flash_tutorial.training import TrainConfig

D, N, T = 16, 256, 32


class Own(nn.Module):
    """A layer of one's own around one of torch's."""

    def __init__(self, dim, *, causal=True, layer="Linear"):
        super().__init__()
        self.dim, self.causal = dim, causal
        self.layer = getattr(nn, layer)(dim, dim)

    def forward(self, x, mask=None, segment_ids=None):
        found = self.layer(x)
        return x + (found[0] if isinstance(found, tuple) else found)


def own(layer):
    return ModelConfig(Own, dim=D, depth=2, unit_options={"layer": layer})


def counted(config, batch=1, length=T, accumulate=1):
    how = TrainConfig(batch=batch, length=length, accumulate=accumulate)
    return flops_of_update(LanguageModel(config), how)


@pytest.mark.parametrize("architecture", ["flash", "flash_quad", "transformer++"])
def test_the_count_is_that_of_the_whole_batch(architecture):
    config = ModelConfig(architecture, dim=D, depth=2)
    whole = flops_of_rows(LanguageModel(config), 4, T)
    assert counted(config, batch=4) == whole
    assert counted(config, batch=8, accumulate=2) == 2 * whole
    assert counted(config) == flops_of_rows(LanguageModel(config), 1, T)


def test_a_layer_of_ones_own_is_counted():
    """Two FLOPs for each weight and token forward, and twice as many backward; the head is D N."""
    assert counted(own("Linear"), batch=3) == 6 * 3 * T * (2 * D * D + D * N)


def test_a_recurrent_layer_is_counted():
    """An LSTM has eight products of D x D; its first state is zero, which needs no gradient."""
    whole = 6 * 4 * T * (2 * 8 * D * D + D * N)
    assert 0.95 * whole < counted(own("LSTM"), batch=4) <= whole


def test_attention_is_counted():
    """Scores and their use grow with the square of the length, all else in proportion."""
    config = ModelConfig("transformer++", dim=D, depth=2, max_length=2 * T)
    pairs = 2 * T * T  # more than twice those of T
    products = 2 * 2 * 3 * D  # of each pair: 2 units, q k^T and A v, forward and backward
    assert counted(config, length=2 * T) - 2 * counted(config) == 2 * pairs * products


def test_kernels_that_need_a_card_are_counted_without_one():
    sizes = dict(dim=D, depth=1, qk_dim=16, chunk_size=16)
    counts = [counted(ModelConfig("flash", backend=b, **sizes)) for b in ("triton", "torch")]
    assert counts[0] == counts[1]


def test_the_model_stays_as_it_is():
    model = LanguageModel(ModelConfig("flash", dim=D, depth=1, chunk_size=8)).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    flops_of_update(model, TrainConfig(batch=2, length=T))
    assert not model.training and all(p.grad is None for p in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
