"""The temperature that is put into a model of the package."""

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
    as_it_is, tempered = (
        evaluate(each, split, 32).bits_per_byte * split.n_bytes * math.log(2)
        for each in (model, temperature.temper(model, 1.24))
    )
    assert as_it_is == pytest.approx(nats[1.0], rel=1e-5)
    assert tempered == pytest.approx(nats[1.24], rel=1e-5)
    assert nats[1.24] < 0.95 * nats[1.0], "random logits are overconfident"
