"""Tables of positions."""

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from unit_cases import features

from flash_tutorial import FLASH, LanguageModel, ModelConfig, Stack, reference
from flash_tutorial.layers import ScaledSin, check_input, cos_sin, cos_sin_at

pytestmark = pytest.mark.quick


@pytest.mark.parametrize("first", [0, 8000, 32000])
def test_tables_are_computed_in_float64(first):
    """Against NumPy in float64, to the last place of float32; angles in float32 would be off by 5e-4 at 8192."""
    like = torch.zeros(1)
    positions = first + np.arange(64)
    angles = positions[:, None] * 10000.0 ** (-np.arange(32) / 32)
    eps = float(np.finfo(np.float32).eps)
    for cos, sin in (
        tuple(t[first:] for t in cos_sin(first + 64, 64, like)),
        cos_sin_at(torch.from_numpy(positions), 64, like),
    ):
        assert cos.dtype == sin.dtype == torch.float32
        assert np.abs(cos.numpy() - np.cos(angles)).max() <= eps
        assert np.abs(sin.numpy() - np.sin(angles)).max() <= eps


def test_scaled_sin_is_the_reference():
    module, x = ScaledSin(12).double(), features(50)
    with torch.no_grad():
        module.scale.fill_(1.7)
    torch.testing.assert_close(
        module(x), 1.7 * torch.from_numpy(reference.scaled_sin(50, 12)), rtol=1e-14, atol=1e-14
    )
    torch.testing.assert_close(
        module.at(torch.tensor([3, 49]), x), module(x)[[3, 49]], rtol=1e-14, atol=1e-14
    )


def test_tables_made_in_inference_mode_serve_training():
    with torch.inference_mode():
        FLASH(6, qk_dim=10, chunk_size=4)(torch.randn(1, 123, 6))
    unit = FLASH(6, qk_dim=10, chunk_size=4)
    unit(torch.randn(1, 123, 6)).sum().backward()
    assert all(p.grad is not None for p in unit.parameters())


def test_a_table_of_a_fake_tensor_is_not_kept():
    """Else a count of memory or work by fake tensors would break every later run of that length."""
    with FakeTensorMode():
        cos_sin(77, 6, torch.zeros(1))
    assert type(cos_sin(77, 6, torch.zeros(1))[0]) is torch.Tensor


OTHER = r"x has dtype torch.float64, and the weights of \w+ have torch.float32: give x.to\(torch.float32\)"


@pytest.mark.parametrize("architecture", ["flash", "flash_quad", "transformer", "transformer++"])
def test_features_of_another_type_than_the_weights_are_refused(architecture):
    stack = Stack(ModelConfig(architecture, dim=8, depth=1))
    x = torch.zeros(1, 3, 8, dtype=torch.float64)
    _, state = stack.prefill(x.float())
    for read in (stack, stack.units[0], stack.prefill, stack.units[0].prefill):
        with pytest.raises(ValueError, match=OTHER):
            read(x)
    with pytest.raises(ValueError, match=OTHER):
        stack.step(x[:, 0], state)


def test_under_autocast_features_may_be_of_another_type():
    stack = Stack(ModelConfig(dim=8, depth=1))
    with torch.autocast("cpu", torch.bfloat16):
        assert stack(torch.zeros(1, 3, 8, dtype=torch.bfloat16)).shape == (1, 3, 8)


def test_a_trace_which_would_keep_one_length_is_refused():
    model = LanguageModel(ModelConfig(dim=8, depth=1)).eval()
    with pytest.raises(ValueError, match="keeps one length and its positions: take torch"):
        torch.jit.trace(model, torch.zeros(1, 3, dtype=torch.long))


def test_ids_of_documents_may_be_of_any_integer_type():
    documents = torch.tensor([[0, 0, 3]])
    for dtype in (torch.uint8, torch.uint16, torch.int32):
        reading = check_input(torch.zeros(1, 3, 4), 4, None, documents.to(dtype))
        assert torch.equal(reading.segment_ids, documents)
