"""Token by token: every unit writes what its parallel form computes, and its state has the size that it should have."""

import pytest
import torch
from unit_cases import CURRENT, DEVICES, STEADY, B, C, D, S, T, features, make

from flash_tutorial import FLASH, LanguageModel, ModelConfig, states
from flash_tutorial.check import step_error

pytestmark = pytest.mark.quick


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype, limit", [(torch.float64, 1e-10), (torch.float32, 1e-5)], ids=str)
@pytest.mark.parametrize("name", STEADY)
def test_token_by_token_is_the_parallel_form(name, dtype, limit, device):
    unit = make(name, True, dtype=dtype, device=device)
    x = features(dtype=dtype, device=device)
    for prompt in (1, C - 1, C, C + 1, 2 * C, T - 1):
        assert step_error(unit, x, torch.full((B,), prompt, device=device)) <= limit, prompt
    # padded on the right, each row at its own position
    for prompts in (
        [1, C, 2 * C + 1],
        [C + 1, C - 1, 3 * C],
    ):
        assert step_error(unit, x, torch.tensor(prompts, device=device)) <= limit, prompts


@pytest.mark.parametrize("name", ["flash", "flash, global only, sum", "mc_transformer++"])
def test_the_state_of_mixed_chunks_does_not_grow(name):
    unit = make(name, True)
    sizes = {states.prefill(unit, features(n))[1].numel() for n in (1, C, T)}
    assert len(sizes) == 1
    if isinstance(unit, FLASH):
        E = unit.expanded
        # section (h) of the fact sheet: s e + C (2 s + e)
        assert sizes == {B * (S * E + C * (2 * S + E))}


@pytest.mark.parametrize("name, numbers", [("gau", S + 2 * D), ("transformer++", 2 * D)])
def test_a_cache_grows_by_one_token_a_step(name, numbers):
    unit, x = make(name, True), features()
    _, state = states.prefill(unit, x[:, :5])
    assert state.numel() == B * 5 * numbers
    _, state = states.step(unit, x[:, 5], state)
    assert state.numel() == B * 6 * numbers


def test_decoding_refuses_the_current_length():
    with pytest.raises(ValueError, match=r"length_scale=None.*length_scale=512"):
        states.prefill(make(CURRENT, True), features())


@pytest.mark.parametrize("name", STEADY)
def test_decoding_refuses_a_unit_that_reads_both_sides(name):
    with pytest.raises(ValueError, match="causal=True"):
        states.prefill(make(name, False), features())


@pytest.mark.parametrize(
    "architecture", ["flash", "flash_quad", "transformer", "transformer++", "mc_transformer++"]
)
def test_a_model_that_reads_both_sides_does_not_generate(architecture):
    model = LanguageModel(ModelConfig(architecture, vocab_size=11, dim=8, depth=1, causal=False))
    ids = torch.zeros(1, 3, dtype=torch.long)
    for call in (
        lambda: model.prefill(ids),
        lambda: model.step(ids[:, 0], None),
        lambda: model.generate(ids, 1),
    ):
        with pytest.raises(ValueError, match="causal model"):
            call()
