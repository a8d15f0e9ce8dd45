"""Lecture 10's evidence: the variants are what they say, and the stored models do what is claimed."""

import json
from importlib import resources

import numpy as np
import pytest
import torch

from flash_course import variants
from flash_course.bench.tasks import IGNORE, mqar
from flash_tutorial import GAU, LanguageModel, TransformerBlock, count_parameters
from flash_tutorial.check import check_unit, draw_order_one

# ---------------------------------------------------------------- the variants

OWN = {
    "GAUWithoutGate": lambda unit: unit(16, qk_dim=8, bias_length=24, length_scale=24, causal=True),
    "ManyHeadGAU": lambda unit: unit(16, n_heads=2, qk_dim=8, length_scale=24, causal=True),
    "Relu2Block": lambda unit: unit(16, heads=2, length_scale=24, causal=True),
    "GatedBlock": lambda unit: unit(16, heads=2, causal=True),
}


@pytest.mark.parametrize("name", OWN)
def test_a_variant_is_a_whole_unit(name):
    check_unit(OWN[name](getattr(variants, name)))


OPEN = 1.2784645427610738  # silu(OPEN) = 1


def order_one(unit, seed=0):
    return draw_order_one(unit.double(), torch.Generator().manual_seed(seed))


def x_of(seed=1):
    return torch.randn(
        2, 14, 16, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


def same(a, b):
    return bool(((a - b).abs().max() < 1e-9).item())


@torch.no_grad()
def test_one_head_of_many_is_the_gau():
    options = dict(qk_dim=8, length_scale=24, causal=True, norm="layer")
    one = order_one(variants.ManyHeadGAU(16, n_heads=1, **options))
    gau = GAU(16, bias_length=24, **options).double()
    gau.load_state_dict(one.state_dict())
    assert same(one(x_of()), gau(x_of()))
    two = variants.ManyHeadGAU(16, n_heads=2, **options).double()
    two.load_state_dict(one.state_dict())
    assert not same(two(x_of()), gau(x_of()))


@torch.no_grad()
def test_a_unit_without_gate_is_a_gau_whose_gate_is_one():
    options = dict(qk_dim=8, bias_length=24, length_scale=24, causal=True, norm="layer")
    bare = order_one(variants.GAUWithoutGate(16, **options))
    gau = GAU(16, expansion=3, **options).double()
    weights = bare.state_dict()
    of_gate = {
        "in_proj.weight": torch.zeros(48, 16),
        "in_proj.bias": torch.full((48,), OPEN, dtype=torch.float64),
    }
    for name, rows in of_gate.items():
        weights[name] = torch.cat([rows.double(), weights[name]])
    gau.load_state_dict(weights)
    assert same(bare(x_of()), gau(x_of()))


@torch.no_grad()
def test_relu2_in_a_block_is_relu2_of_the_softmax_scores():
    unit = order_one(variants.Relu2Block(16, heads=2, length_scale=24, causal=True))
    plain = TransformerBlock(16, heads=2, rope=True, causal=True).double()
    plain.load_state_dict(unit.state_dict())
    q, k = torch.randn(
        2, 1, 2, 14, 8, generator=torch.Generator().manual_seed(2), dtype=torch.float64
    )
    compared = 0
    weights = []
    for block in (unit, plain):  # with the identity as values, the mix is the map
        weights.append(
            block.mix(q, k, torch.eye(14, dtype=torch.float64).expand(1, 2, -1, -1), None, None)
        )
    scores = weights[1].log()  # of softmax: the scores up to a constant in each row
    raw = (weights[0] * 24).sqrt()  # of relu^2: the scores where they are positive
    for i in range(1, 14):
        seen = raw[0, 0, i] > 0
        if seen.sum() >= 2:
            differences = (scores - raw)[0, 0, i][seen]
            assert float(differences.max() - differences.min()) < 1e-9
            compared += 1
    assert compared > 6
    assert not raw.triu(1).any()


@torch.no_grad()
def test_an_open_gate_in_a_block_is_the_block():
    unit = order_one(variants.GatedBlock(16, heads=2, causal=True))
    plain = TransformerBlock(16, heads=2, rope=True, causal=True, ff_dim=56).double()
    plain.load_state_dict({k: v for k, v in unit.state_dict().items() if not k.startswith("gate")})
    assert not same(unit(x_of()), plain(x_of()))
    unit.gate.weight.zero_()
    unit.gate.bias.fill_(OPEN)
    assert same(unit(x_of()), plain(x_of()))


def test_variants_are_matched_in_size():
    counts = {
        name: count_parameters(LanguageModel(config))
        for name, (_, config) in variants.VARIANTS.items()
    }
    for name, (other, _) in variants.VARIANTS.items():
        assert other is None or abs(counts[name] / counts[other] - 1) < 0.011, name


# ---------------------------------------------------------------- the models of lecture 10


@pytest.mark.parametrize(
    "part, low, high", [("flash", 0.98, 1.0), ("local", 0.04, 0.085), ("global", 0.2, 0.3)]
)
@torch.no_grad()
def test_a_stored_model_recalls_or_does_not(part, low, high):
    """On rows of their task that they never saw."""
    folder = resources.files("flash_tutorial") / "models" / f"recall-{part}"
    card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    model = LanguageModel.from_pretrained(f"recall-{part}")
    task = card["task"]
    C = card["chunk_size"]
    rng = np.random.default_rng(10**6)
    length = task["lengths"][-1]
    options = dict(chunk_size=C, pairs=task["pairs"][-1], keys=task["keys"], values=task["values"])
    ids, targets = mqar(512, length, rng, questions=length - C, **options)
    right = (model(torch.from_numpy(ids)).argmax(-1).numpy() == targets)[targets != IGNORE]
    assert low <= right.mean() <= high and abs(card["accuracy"] - right.mean()) < 0.002
    assert [(unit.local, unit.global_) for unit in model.stack.units] == [
        (part != "global", part != "local")
    ] * 2
