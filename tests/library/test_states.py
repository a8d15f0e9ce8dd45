"""Token by token: every unit writes what its parallel form computes, and its state has the size that it should have."""

import pytest
import torch
from small_model import config
from unit_cases import CURRENT, B, C, D, S, T, features, make, on_devices, steady_units, unit_and_x

from flash_tutorial import FLASH, LanguageModel, states
from flash_tutorial.check import step_error
from flash_tutorial.config import ARCHITECTURES

pytestmark = pytest.mark.quick

# the last two are padded on the right, each row at its own position
PROMPTS = [[n] * B for n in (1, C, C + 1, 2 * C, T - 1)]
RAGGED = [[1, C, 2 * C + 1], [C + 1, C - 1, 3 * C]]


@on_devices
@steady_units
def test_token_by_token_is_the_parallel_form(name, device):
    unit, x = unit_and_x(name, True, device=device)
    for prompts in PROMPTS + RAGGED:
        assert step_error(unit, x, torch.tensor(prompts, device=device)) <= 1e-10, prompts


@on_devices
@pytest.mark.parametrize(
    "dtype, limit",
    [(torch.float32, 1e-5), (torch.bfloat16, 0.1), (torch.float16, 0.1)],
    ids=str,
)
@steady_units
def test_in_other_number_formats_too(name, dtype, limit, device):
    """A model loaded in half precision runs as such, in parallel and token by token."""
    unit, x = unit_and_x(name, True, dtype, device)
    assert unit(x).dtype == dtype
    assert step_error(unit, x, torch.tensor(RAGGED[0], device=device)) <= limit


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
@steady_units
def test_a_state_may_be_kept_in_another_format(name, dtype):
    unit, x = unit_and_x(name, True, torch.float32)
    _, state = states.prefill(unit, x[:, :C])
    kept = states.with_each(state, lambda t, least=None: t.to(dtype))
    expected, _ = states.step(unit, x[:, C], state)
    y, _ = states.step(unit, x[:, C], kept)
    assert y.dtype == torch.float32
    torch.testing.assert_close(y, expected, rtol=0, atol=0.1 if dtype == torch.bfloat16 else 1e-5)


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
    unit, x = unit_and_x(name, True)
    _, state = states.prefill(unit, x[:, :5])
    assert state.numel() == B * 5 * numbers
    _, state = states.step(unit, x[:, 5], state)
    assert state.numel() == B * 6 * numbers


def test_decoding_refuses_the_current_length():
    with pytest.raises(ValueError, match=r"length_scale=None.*length_scale=512"):
        states.prefill(make(CURRENT, True), features())


@steady_units
def test_decoding_refuses_a_unit_that_reads_both_sides(name):
    with pytest.raises(ValueError, match="causal=True"):
        states.prefill(make(name, False), features())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_model_that_reads_both_sides_does_not_generate(architecture):
    model = LanguageModel(config(architecture, causal=False))
    ids = torch.zeros(1, 3, dtype=torch.long)
    for call in (
        lambda: model.prefill(ids),
        lambda: model.step(ids[:, 0], None),
        lambda: model.generate(ids, 1),
    ):
        with pytest.raises(ValueError, match="causal model"):
            call()
