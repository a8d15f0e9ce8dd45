"""Lecture 10's evidence: stored runs can be read, stored models do what is claimed, the variants are what they say."""

import importlib.util
import json
import sys
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch

from flash_course import variants
from flash_course.bench.stored import load_stored
from flash_tutorial import GAU, LanguageModel, TransformerBlock, count_parameters
from flash_tutorial.check import check_unit, draw_order_one
from flash_tutorial.corpora import load_corpus
from flash_tutorial.training import TrainConfig, draw_batch

pytestmark = pytest.mark.quick

ROOT = Path(__file__).resolve().parents[2]


def benchmark(name):
    """A script of benchmarks/ as a module."""
    spec = importlib.util.spec_from_file_location(f"benchmarks_{name}", ROOT / "benchmarks" / f"{name}.py")
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


ablations, recall = benchmark("ablations"), benchmark("recall")


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


def order_one(unit, seed=0):
    return draw_order_one(unit.double(), torch.Generator().manual_seed(seed))


def x_of(seed=1):
    return torch.randn(2, 14, 16, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


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
    one = 1.2784645427610738  # silu(one) = 1
    weights["in_proj.weight"] = torch.cat([torch.zeros(48, 16, dtype=torch.float64), weights["in_proj.weight"]])
    weights["in_proj.bias"] = torch.cat([torch.full((48,), one, dtype=torch.float64), weights["in_proj.bias"]])
    gau.load_state_dict(weights)
    assert same(bare(x_of()), gau(x_of()))


@torch.no_grad()
def test_relu2_in_a_block_is_relu2_of_the_softmax_scores():
    unit = order_one(variants.Relu2Block(16, heads=2, length_scale=24, causal=True))
    plain = TransformerBlock(16, heads=2, rope=True, causal=True).double()
    plain.load_state_dict(unit.state_dict())
    q, k = torch.randn(2, 1, 2, 14, 8, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    compared = 0
    weights = []
    for block in (unit, plain):  # with the identity as values, the mix is the map
        weights.append(block.mix(q, k, torch.eye(14, dtype=torch.float64).expand(1, 2, -1, -1), None, None))
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
    unit.gate.bias.fill_(1.2784645427610738)
    assert same(unit(x_of()), plain(x_of()))


def test_variants_are_matched_in_size():
    counts = {name: count_parameters(LanguageModel(config)) for name, (_, config) in variants.VARIANTS.items()}
    for name, (other, _) in variants.VARIANTS.items():
        assert other is None or abs(counts[name] / counts[other] - 1) < 0.011, name


# ---------------------------------------------------------------- stored runs


def test_every_variant_has_three_seeds_at_a_rate_that_was_searched():
    result = load_stored("ablations")
    assert (
        result["settings"] == ablations.SETTINGS and result["machine"]["date"] and "ablations.py" in result["command"]
    )
    for name in variants.VARIANTS:
        tried = {
            r["learning_rate"]: r["bits_per_byte"] for r in result["runs"] if (r["variant"], r["seed"]) == (name, 0)
        }
        assert set(ablations.RATES) <= set(tried), name
        assert result["best_rates"][name] == min(tried, key=tried.get), name
        assert min(tried) < result["best_rates"][name] < max(tried), f"{name}: the search ended at its edge"
        assert len(ablations.scores(result, name)) == 3, name


def test_a_stored_run_begins_as_it_is_made_now():
    name = "GAU, no gate"
    result = load_stored("ablations")
    rate = result["best_rates"][name]
    log = next(r for r in result["runs"] if (r["variant"], r["learning_rate"], r["seed"]) == (name, rate, 0))
    config = TrainConfig(learning_rate=rate, seed=0, **ablations.SETTINGS)
    torch.manual_seed(0)
    model = LanguageModel(variants.VARIANTS[name][1])
    ids, targets = map(torch.from_numpy, draw_batch(load_corpus("austen").train, config, 0, True))
    assert abs(model.loss(ids, targets).item() / log["first_losses"][0] - 1) < 1e-3


def test_the_interval_is_students():
    mean, half = ablations.interval([4.0, 6.0, 5.0])
    assert mean == 5 and abs(half - 4.303 / 3**0.5) < 1e-9


# ---------------------------------------------------------------- recall


@pytest.mark.parametrize("part, low, high", [("flash", 0.98, 1.0), ("local", 0.04, 0.085), ("global", 0.2, 0.3)])
def test_a_stored_model_recalls_or_does_not(part, low, high):
    model = LanguageModel.from_pretrained(f"recall-{part}")
    accuracy, by_chunk = recall.accuracy_by_chunk(model, "recall")
    assert low <= accuracy <= high and len(by_chunk) == 7
    folder = resources.files("flash_tutorial") / "models" / f"recall-{part}"
    card, run = json.loads((folder / "card.json").read_text()), load_stored("recall")["runs"][f"recall {part}"]
    assert abs(card["accuracy"] - accuracy) < 0.002 and card["parameters"] == count_parameters(model)
    assert np.abs(np.array(card["by_chunk"]) - by_chunk).max() < 0.004
    assert (card["accuracy"], card["by_chunk"]) == (run["accuracy"], run["by_chunk"])
    made_by = dict(task=recall.TASKS["recall"], recipe=recall.RECIPE, chunk_size=recall.C)
    assert {key: card[key] for key in made_by} == json.loads(json.dumps(made_by))
    assert card["bytes_on_disk"] == len((folder / "model.safetensors").read_bytes()) < 200_000
    assert [(unit.local, unit.global_) for unit in model.stack.units] == [(part != "global", part != "local")] * 2


def test_the_small_task_begins_as_load_stored():
    losses = load_stored("recall")["runs"]["small flash"]["losses"]
    model = recall.make_model("small", "flash")
    assert abs(model.loss(*recall.batch("small", 0)).item() / losses[0] - 1) < 1e-3
    assert len(losses) == recall.TASKS["small"]["steps"] and np.mean(losses[-20:]) < 0.1


def test_the_first_unit_starts_by_reading_the_token_before():
    bias = recall.make_model("recall", "flash").stack.units[0].bias(recall.C).detach()
    assert torch.equal(bias.diagonal(-1), torch.ones(recall.C - 1)) and float(bias.diagonal(0).abs().max()) < 0.7


def test_recall_results_name_their_recipe():
    result = load_stored("recall")
    assert set(result["recipe"]) == set(result["paper"]) == set(recall.RECIPE)
    assert all(f"recall flash, paper's {key}" in result["runs"] for key in recall.PAPER)
    assert result["runs"]["recall flash"]["accuracy"] > 0.98
