"""What context is worth: exact for a model whose use of it is known."""

import numpy as np
import pytest
import torch
from torch import nn

from flash_tutorial.corpora import Split
from flash_tutorial.experiments import over_windows
from flash_tutorial.training.context import bits_by_context

pytestmark = pytest.mark.quick


class LooksBack(nn.Module):
    """Is certain of the byte ``back`` places ago where it can see it, and knows nothing elsewhere."""

    def __init__(self, back):
        super().__init__()
        self.back = back
        self.sure = nn.Parameter(torch.tensor(30.0))

    def forward(self, ids, mask=None):
        logits = torch.zeros(*ids.shape, 256)
        # the target of a place is the next byte: the one ``back`` before it stands at place - back + 1
        seen = ids[:, : ids.shape[1] - self.back + 1]
        logits[:, self.back - 1 :].scatter_(2, seen[..., None], float(self.sure))
        return logits


def repeating(period, n):
    """A text that repeats itself after ``period`` bytes."""
    once = np.random.default_rng(0).integers(1, 256, period, dtype=np.uint8)
    return Split.from_documents([np.tile(once, n // period + 1)[:n].tobytes()])


def test_a_context_that_reaches_back_is_worth_what_the_model_makes_of_it():
    split = repeating(40, 640)
    bits = bits_by_context(LooksBack(40), split, 128, contexts=(16, 44, 64), late=4)
    assert {n: found.shape for n, found in bits.items()} == {n: (5,) for n in (128, 16, 44, 64)}
    for context, found in bits.items():
        # of the four tokens, those are known whose copy lies in the context
        unknown = 4 if context < 40 else 0
        assert np.allclose(found, 8 * unknown, atol=1e-6), context
    assert np.allclose(
        bits_by_context(LooksBack(43), repeating(43, 640), 128, (44,), 4)[44], 16, atol=1e-3
    )


def test_windows_that_are_not_whole_do_not_count_and_a_text_without_any_is_named():
    split = repeating(40, 300)
    assert bits_by_context(LooksBack(40), split, 128, contexts=(64,), late=4)[64].shape == (2,)
    with pytest.raises(ValueError, match="as long as a window of 512"):
        bits_by_context(LooksBack(40), split, 512, contexts=(128,))
    with pytest.raises(ValueError, match="context=512: expected more than the 64"):
        bits_by_context(LooksBack(40), split, 512, contexts=(512,))


def test_the_noise_of_a_text_is_that_of_its_windows():
    rng = np.random.default_rng(1)
    tokens = np.full(400, 50)
    gaps = rng.normal(5, 20, 400)
    found = over_windows(gaps, np.zeros(400), tokens)
    assert found.mean == pytest.approx(gaps.sum() / tokens.sum())
    expected = 1.96 * gaps.std() / 50 / 400**0.5
    assert found.half == pytest.approx(expected, rel=0.1)
    assert over_windows(gaps, gaps, tokens).half == 0
    assert over_windows([3.0], [1.0], [4]).half is None


def test_longer_windows_weigh_more():
    """Half of the windows are a token that costs a bit more, half a hundred that cost the same."""
    gaps = np.tile([1.0, 0.0], 100)
    tokens = np.tile([1, 100], 100)
    found = over_windows(gaps, np.zeros(200), tokens)
    assert found.mean == pytest.approx(1 / 101) and found.half < 0.005


def test_draws_of_windows_are_the_same_at_each_call():
    gaps = np.random.default_rng(1).normal(5, 20, 50)
    given = gaps, np.zeros(50), np.full(50, 50)
    assert over_windows(*given) == over_windows(*given)
