"""What a compiled update computes: the gradient of the model, in the number format that training takes."""

import shutil

import pytest
import torch

from flash_tutorial import LanguageModel, ModelConfig
from flash_tutorial.check import draw_order_one, settle_branch
from flash_tutorial.training.devices import Engine

pytestmark = [pytest.mark.nightly, pytest.mark.usefixtures("one_thread")]
compiler = pytest.mark.skipif(not shutil.which("g++"), reason="no C++ compiler here")


def drawn(architecture):
    """One unit with parameters of order one: the code of a whole width, whose faults a narrow one does not show."""
    config = ModelConfig(architecture=architecture, vocab_size=64, dim=128, depth=1, max_length=512)
    model = LanguageModel(config)
    draw_order_one(model.stack, torch.Generator().manual_seed(0))
    x = torch.randn(2, 512, 128, generator=torch.Generator().manual_seed(2))
    settle_branch(model.stack.units[0], x)
    return model


def gradient(engine, model):
    """Of all parameters, in one row."""
    ids = torch.randint(64, (2, 513), generator=torch.Generator().manual_seed(1))
    model.zero_grad()
    engine.backward(engine.loss(ids[:, :-1], ids[:, 1:], None))
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])


@compiler
@pytest.mark.parametrize("architecture", ["flash", "flash_quad", "transformer++"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_compiled_update_rounds_no_more_than_the_model(architecture, dtype):
    model = drawn(architecture)
    exact = gradient(Engine(model, "float32"), model)
    as_it_is = gradient(Engine(model, dtype), model) - exact
    compiled = gradient(Engine(model, dtype, compile=True), model) - exact
    assert compiled.norm() < 1.5 * as_it_is.norm() + 1e-5 * exact.norm()
