"""Muon: kernels by an orthogonal step, all else as AdamW has it, and nothing is lost on resume."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_run import CONFIG, MODEL, run, weights

from flash_tutorial import LanguageModel, ModelConfig
from flash_tutorial.training import TrainConfig, new_optimizer
from flash_tutorial.training.muon import Muon, kernels, orthogonal

pytestmark = pytest.mark.usefixtures("one_thread")
MUON = replace(CONFIG, optimizer="muon", weight_decay=0.5)


@pytest.mark.parametrize("shape", [(5, 5), (3, 9), (9, 3)])
def test_an_orthogonal_step_is_a_polynomial_of_the_singular_values(shape):
    matrix = np.random.default_rng(0).normal(size=shape)
    u, s, v = np.linalg.svd(matrix, full_matrices=False)
    s = s / np.linalg.norm(s)
    for _ in range(5):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    found = orthogonal(torch.from_numpy(matrix)).numpy()
    assert np.allclose(found, (u * s) @ v, atol=1e-12)
    assert 0.6 < s.min() and s.max() < 1.25


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch has Muon from 2.9 on")
@pytest.mark.parametrize("shape", [(6, 10), (10, 6)])
def test_updates_are_torchs_own(shape):
    torch.manual_seed(0)
    start = torch.randn(shape)
    ours = torch.nn.Parameter(start.clone())
    theirs = torch.nn.Parameter(start.clone())
    options = dict(lr=0.05, weight_decay=0.3)
    of_ours = Muon([ours], [ours], **options)
    of_theirs = torch.optim.Muon([theirs], adjust_lr_fn="match_rms_adamw", **options)
    for _ in range(4):
        ours.grad = torch.randn(shape)
        theirs.grad = ours.grad.clone()
        of_ours.step()
        of_theirs.step()
    moved = (theirs - start).norm()
    assert (ours - theirs).norm() < 0.02 * moved  # torch's own products are in bfloat16


def test_what_is_no_kernel_moves_as_with_adamw(corpus):
    torch.manual_seed(0)
    model = LanguageModel(replace(MODEL, tied=False))
    ids = torch.randint(0, 256, (2, 40))
    moved = {}
    for optimizer in ("adamw", "muon"):
        changed = LanguageModel(model.config)
        changed.load_state_dict(model.state_dict())
        update = new_optimizer(changed, replace(CONFIG, optimizer=optimizer))
        update.param_groups[0]["lr"] = 0.01
        changed.loss(ids[:, :-1], ids[:, 1:]).backward()
        update.step()
        assert all(p.grad is not None for p in changed.parameters())
        moved[optimizer] = changed.state_dict()
    matrices = {id(p) for p in kernels(model)}
    for name, parameter in model.named_parameters():
        same = torch.allclose(moved["adamw"][name], moved["muon"][name], atol=1e-7)
        assert same == (id(parameter) not in matrices), name
    assert len(matrices) == 2 * model.config.depth


@pytest.mark.parametrize("architecture", ["flash", "transformer++"])
def test_embedding_and_head_are_no_kernels(architecture):
    for tied in (True, False):
        model = LanguageModel(ModelConfig(architecture, dim=16, tied=tied))
        shapes = {id(p): name for name, p in model.named_parameters()}
        names = [shapes[id(matrix)] for matrix in kernels(model)]
        assert names and all(name.startswith("stack.units") for name in names)


def test_a_run_with_muon_goes_on_as_if_it_had_never_stopped(corpus, tmp_path):
    whole = run(corpus, config=MUON)
    run(corpus, tmp_path, config=MUON, stop_at=7)
    resumed = run(corpus, tmp_path, config=MUON, resume=True)
    assert weights(resumed.model) == weights(whole.model)
    assert weights(whole.model) != weights(
        run(corpus, config=replace(MUON, optimizer="adamw")).model
    )


def test_settings_of_before_there_was_a_choice_mean_adamw():
    stored = TrainConfig().to_dict()
    assert "optimizer" not in stored and TrainConfig.from_dict(stored).optimizer == "adamw"
