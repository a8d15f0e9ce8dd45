"""Run it before every long run: `pytest`. A layer that reads the future looks very good until it has to write."""

import torch
from settings import MODELS

from flash_tutorial import LanguageModel, check_unit


def test_no_leak_prefix_padding_rows_steps():
    """Of each layer of one's own, with the options that it runs with."""
    for config in MODELS.values():
        if not isinstance(config.architecture, str):
            for causal in (True, False):
                unit = config.architecture(16, causal=causal, **config.unit_options)
                print(check_unit(unit))
                assert unit.causal is causal, (
                    "without it leak, prefix and steps are not tested: set self.causal = causal"
                )


def test_each_model_of_the_project_takes_a_window_and_learns_from_it():
    ids = torch.randint(0, 256, (2, 50), generator=torch.Generator().manual_seed(0))
    for config in MODELS.values():
        model = LanguageModel(config)
        loss = model.loss(ids[:, :-1], ids[:, 1:])
        loss.backward()
        assert loss.isfinite() and all(
            p.grad is None or p.grad.isfinite().all() for p in model.parameters()
        )
