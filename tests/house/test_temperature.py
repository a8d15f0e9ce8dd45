"""The temperature that is put into a model of the package."""

import copy
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from flash_tutorial import LanguageModel, ModelConfig
from flash_tutorial.corpora import Split
from flash_tutorial.training import evaluate

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "experiments"))
temperature = pytest.importorskip("temperature")  # a course's fork has no experiments


@pytest.mark.parametrize("norm", ["scale", "layer"])
def test_a_tempered_model_scores_as_its_logits_divided(norm):
    torch.manual_seed(0)
    model = LanguageModel(ModelConfig(dim=16, depth=2, qk_dim=8, chunk_size=8, norm=norm))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    ids = np.random.default_rng(0).integers(256, size=200)
    split = Split.from_documents([ids])
    nats = temperature.nats_by_temperature(model, split, 32)
    for divisor, divided in ((1.0, model), (1.24, copy.deepcopy(model))):
        score = evaluate(temperature.temper(divided, divisor), split, 32)
        assert score.bits_per_byte * 200 * math.log(2) == pytest.approx(nats[divisor], rel=1e-5)
    assert nats[1.24] < 0.95 * nats[1.0], "random logits are overconfident"
