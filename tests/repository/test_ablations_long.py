"""What the runs of benchmarks/ablations_long.py count beside their score."""

import pytest
import torch

from flash_course.variants import VARIANTS
from flash_tutorial import LanguageModel
from flash_tutorial.check import draw_order_one
from flash_tutorial.training import TrainConfig

pytestmark = pytest.mark.quick


@pytest.fixture
def dead_units(benchmark_script):
    return benchmark_script("ablations_long").dead_units


@pytest.mark.parametrize("closed", [(), (1,), (0, 3)])
def test_a_unit_is_dead_where_no_weight_is_above_zero(dead_units, closed):
    torch.manual_seed(0)
    model = LanguageModel(VARIANTS["GAU"][1]).eval()
    generator = torch.Generator().manual_seed(1)
    for unit in model.stack.units:
        draw_order_one(unit, generator)
    with torch.no_grad():
        for i in closed:
            model.stack.units[i].bias.weights.fill_(-1e6)
    assert dead_units(model, TrainConfig(batch=2, length=256)) == len(closed)
