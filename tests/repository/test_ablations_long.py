"""What the runs of benchmarks/ablations_long.py count beside their score."""

import sys
from pathlib import Path

import pytest
import torch

from flash_course.variants import VARIANTS
from flash_tutorial import LanguageModel
from flash_tutorial.properties import draw_order_one
from flash_tutorial.training import TrainConfig

BENCHMARKS = str(Path(__file__).resolve().parents[2] / "benchmarks")
pytestmark = pytest.mark.quick


@pytest.fixture
def dead_units(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    from ablations_long import dead_units

    yield dead_units
    for name in ("ablations_long", "ablations", "stored_runs"):
        sys.modules.pop(name, None)


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
