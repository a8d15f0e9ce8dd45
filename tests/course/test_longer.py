"""Beyond the length of training: what each of a Transformer's two kinds of positions is made to do."""

import numpy as np
import pytest
import torch

from flash_course.bench import longer
from flash_tutorial import LanguageModel, ModelConfig, TransformerBlock
from flash_tutorial.check import draw_order_one


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    small = LanguageModel(ModelConfig("transformer++", dim=16, depth=1, heads=2, max_length=32))
    return draw_order_one(small, torch.Generator().manual_seed(0)).eval()


@torch.no_grad()
def logits(model, ids):
    return model(ids)


def test_what_is_shorter_than_the_period_stays_as_it_was(model):
    ids = torch.arange(12)[None]
    before = logits(model, ids)
    with longer.sine_table_repeats(model, 12), longer.attention_reaches(12):
        assert torch.allclose(logits(model, ids), before, atol=1e-4)


def test_the_table_starts_again_and_is_put_back(model):
    ids, positions = torch.arange(12)[None], model.stack.positions
    before = logits(model, ids)
    with longer.sine_table_repeats(model, 4):
        inside = logits(model, ids)
    assert torch.allclose(inside[:, :4], before[:, :4], atol=1e-4)
    assert not torch.allclose(inside[:, 4:], before[:, 4:], atol=1e-2)
    assert model.stack.positions is positions
    assert torch.equal(logits(model, ids), before)


def test_attention_reaches_so_many_tokens_back():
    block = TransformerBlock(8, heads=2, rope=True, causal=True).double()
    draw_order_one(block, torch.Generator().manual_seed(1))
    x = torch.randn(1, 9, 8, generator=torch.Generator().manual_seed(2)).double()
    changed = x.clone()
    changed[:, 2] = -x[:, 2]
    with longer.attention_reaches(3):
        moved = (block(changed) != block(x)).any(-1)[0]
    assert np.flatnonzero(moved.numpy()).tolist() == [2, 3, 4]
