"""What versions wrote that kept one number without an axis, a norm's gain as (), and had another start by default:
weights, checkpoints, runs.
"""

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_model import ids, model
from small_run import MODEL, run, weights
from torch import nn

from flash_tutorial import FLASH, LanguageModel, TransformerBlock, files
from flash_tutorial.config import ARCHITECTURES

KINDS = ("stopped", "whole")
ONE_NUMBER = ("norm.gain", "norm1.gain", "norm2.gain", "positions.scale")


def as_before(weights):
    """Weights, or an optimizer's moments of them, as they were written."""
    old = {}
    for name, tensor in weights.items():
        is_one = name.removesuffix(".exp_avg").removesuffix(".exp_avg_sq").endswith(ONE_NUMBER)
        old[name] = tensor.reshape(()) if is_one else tensor
    assert any(t.dim() == 0 for t in old.values())
    return old


def rewrite(folder):
    """A folder as an older version would have left it, its checksums in order."""
    names = ["model.safetensors", "optimizer.safetensors"]
    for path in [folder / name for name in names if (folder / name).exists()]:
        save_file(as_before(load_file(path)), path)
    for name in ("config.json", "training.json"):
        if (folder / name).exists():
            values = files.read_json(folder / name)
            values["sha256"] = {n: files.file_sha256(folder / n) for n in values["sha256"]}
            shapes = values.get("model_config", {}).get("weights", {})
            shapes.update({n: [] for n in shapes if n.endswith(ONE_NUMBER)})
            for config in (values, values.get("model_config", {})):
                if config.get("start") == "width":
                    config["start"] = "small"
            files.write_json(folder / name, values)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_weights_of_before_are_the_same_model(architecture, tmp_path):
    ours = model(architecture, norm="scale", positions="scaled_sin", dtype=torch.float32)
    taken = LanguageModel(ours.config)
    taken.load_state_dict(as_before(ours.state_dict()))
    assert weights(taken) == weights(ours)
    ours.save_pretrained(tmp_path)
    rewrite(tmp_path)
    loaded = LanguageModel.from_pretrained(tmp_path)
    assert weights(loaded) == weights(ours)
    assert torch.equal(loaded(ids()), ours(ids()))


def test_arrays_of_a_unit_keep_their_shapes():
    assert FLASH(6, qk_dim=4).to_numpy()["norm_gain"].shape == ()
    assert FLASH(6, qk_dim=4, norm="layer").to_numpy()["norm_gain"].shape == (6,)
    assert TransformerBlock(6, heads=3, norm="scale").to_numpy()["norm2_gain"].shape == ()


class Own(nn.Module):
    """A model of a user's own, around a unit of ours."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(256, 16)
        self.unit = FLASH(16, qk_dim=8, chunk_size=8, causal=True)
        self.head = nn.Linear(16, 256)

    def forward(self, ids, mask=None):
        return self.head(self.unit(self.table(ids), mask))

    def loss(self, ids, targets, mask=None):
        logits = self(ids, mask).flatten(0, 1)
        return nn.functional.cross_entropy(logits, targets.flatten())


def of_a_configuration():
    return MODEL


def of_its_own():
    torch.manual_seed(0)
    return Own()


@pytest.mark.parametrize("given", [of_a_configuration, of_its_own])
def test_a_run_of_before_goes_on_bit_by_bit(given, corpus, tmp_path):
    whole = run(corpus, tmp_path / "whole", given())
    run(corpus, tmp_path / "stopped", given(), stop_at=6)
    for folder in (tmp_path / "stopped").glob("step_*"):
        rewrite(folder)
    resumed = run(corpus, tmp_path / "stopped", given(), resume=True)
    assert weights(resumed.model) == weights(whole.model)
    last = [tmp_path / name / "step_000010" / "optimizer.safetensors" for name in KINDS]
    moments, expected = map(load_file, last)
    assert {n: t.shape for n, t in moments.items()} == {n: t.shape for n, t in expected.items()}
    assert all(torch.equal(t, expected[n]) for n, t in moments.items())
