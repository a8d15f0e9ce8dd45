"""Run it before every long run: `pytest`. A layer that reads the future looks very good until it has to write."""

import torch
from grid import at_start
from settings import MODELS

from flash_tutorial import check_unit


def test_no_leak_prefix_padding_rows_steps():
    """Of each layer of one's own, with the options that it runs with."""
    for name in MODELS:
        config = at_start(name).config
        if not isinstance(config.architecture, str):
            for causal in (True, False):
                unit = config.architecture(16, causal=causal, **config.unit_options)
                print(check_unit(unit))
                assert unit.causal is causal, (
                    "without it leak, prefix and steps are not tested: set self.causal = causal"
                )


def test_each_model_of_the_project_takes_a_window_and_learns_from_it():
    for name in MODELS:
        model = at_start(name)
        generator = torch.Generator().manual_seed(0)
        ids = torch.randint(0, model.config.vocab_size, (2, 50), generator=generator)
        loss = model.loss(ids[:, :-1], ids[:, 1:])
        loss.backward()
        assert loss.isfinite() and all(
            p.grad is None or p.grad.isfinite().all() for p in model.parameters()
        )
