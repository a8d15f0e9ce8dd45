"""Recall against the size of the state: all models start where a question finds its pair, and rates are looked for."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from flash_course.bench.stored import recalls, recalls_at_best_rate
from flash_tutorial import FLASH
from flash_tutorial.layers import cos_sin

pytestmark = pytest.mark.quick

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def script():
    """benchmarks/recall_state.py as a module; it imports a neighbour."""
    sys.path.insert(0, str(FOLDER))
    spec = importlib.util.spec_from_file_location("benchmarks_recall_state", FOLDER / "recall_state.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.path.remove(str(FOLDER))
    return module


def queries_and_keys(unit, x):
    """``(B, T, S)`` each, as they are compared."""
    if isinstance(unit, FLASH):
        heads = unit.read_heads(unit.project(x)[2], *cos_sin(x.shape[1], unit.qk_dim, x))
        return heads[2], heads[3]
    return unit.in_proj(unit.norm(x))[..., -2 * unit.qk_dim :].chunk(2, -1)


@pytest.mark.parametrize(
    "name", ("FLASH", "linear attention", "RetNet", "GLA", "gated DeltaNet", "window", "3:1 hybrid")
)
@torch.no_grad()
def test_a_question_finds_the_value_behind_its_key_before_any_update(script, name):
    model = script.make_model(name, 16)
    ids, _ = script.rows(64, 4, np.random.default_rng(0))
    x = model.embedding(ids)
    for unit in model.stack.units:
        q, k = queries_and_keys(unit, x)
        scores = q[:, script.FIRST :] @ k[:, 1:8:2].mT  # questions, values: (B, T - FIRST, 4)
        own = ids[:, script.FIRST :, None] == ids[:, None, 0:8:2]
        assert scores[own].mean() > scores[~own].mean() + scores[~own].std() / 2


@torch.no_grad()
def test_a_blank_writes_nothing_at_the_start(script):
    model = script.make_model("RetNet", 8)
    unit, x = model.stack.units[0], model.embedding(torch.zeros(1, 5, dtype=torch.long))
    assert not x.any() and not unit.mix(*(t for t in unit.in_proj(unit.norm(x))[..., -16:].chunk(2, -1)), x, x).any()


def test_the_numbers_in_a_state(script):
    """S E of a sum; a chunk's two keys and value besides in FLASH; key and value of each token of a window."""
    of = {}
    for name in script.KINDS:
        of[name] = [script.state_numbers(script.make_model(name, size).stack.units[0]) for size in (8, 64)]
    C, E = script.C, 2 * script.D
    assert of["RetNet"] == of["GLA"] == of["gated DeltaNet"] == [8 * E, 64 * E]
    assert of["linear attention"] == [8 * (E + 1), 64 * (E + 1)]
    assert of["FLASH"] == [8 * E + C * (2 * 8 + E), 64 * E + C * (2 * 64 + E)]
    assert of["window"] == [8 * (16 + E), script.T * (16 + E)]
    assert of["3:1 hybrid"] == [s * 3 * E // 4 + script.T * (s + E // 4) for s in (8, 64)]


@pytest.mark.parametrize("best, tried", [(3e-3, [1.5e-3, 3e-3, 6e-3]), (7e-4, [1.5e-3, 3e-3, 6e-3, 7.5e-4])])
def test_a_rate_at_the_edge_is_looked_beyond(script, best, tried, monkeypatch, tmp_path):
    runs = []

    def one_run(name, size, rate, seed):
        runs.append({"model": name, "size": size, "learning_rate": rate, "seed": seed})
        runs[-1]["losses"] = [abs(np.log(rate / best))] * 3

    monkeypatch.setattr(script, "one_run", one_run)
    monkeypatch.setattr(script.RUNS, "load", lambda: runs)
    script.find_rate("GLA")
    assert [run["learning_rate"] for run in runs] == tried
    assert script.best_rate("GLA") == min(tried, key=lambda rate: abs(np.log(rate / best)))


def test_the_rates_are_those_of_the_first_search_but_for_the_two_layers_of_the_second(script):
    for name, by_entries in recalls(16).items():
        best = 3e-3 if name in ("FLASH", "linear attention") else script.best_rate(name)
        assert recalls_at_best_rate(16)[name] == {n: rates[best] for n, rates in by_entries.items()}
    assert {script.best_rate(name) for name in ("FLASH", "linear attention")} == {6e-3}


def test_two_units_with_a_window_of_16_reach_nearly_half_of_16_pairs(script):
    """The reach of windows, as lecture 13 tells it in section 9: how many questions can read their value."""
    ids, targets = (t.numpy() for t in script.rows(200, 16, np.random.default_rng(0)))
    row, place = np.nonzero(targets >= 0)
    value = (ids[row, : script.FIRST] == ids[row, place][:, None]).argmax(1) + 1  # behind its key
    reached = {w: (place - value <= 2 * (w - 1)).mean() for w in (4, 8, 16, 32)}
    assert reached[4] < 0.05 and reached[8] < 0.15 and 0.44 < reached[16] < 0.5 and reached[32] == 1


@pytest.mark.parametrize("S", (4, 8, 16, 32))
def test_half_of_the_rows_of_flash_start_at_a_tenth(script, S):
    unit = FLASH(script.D, chunk_size=script.FIRST, qk_dim=S, causal=True)
    with torch.no_grad():
        script.plant(unit)
    assert sorted(unit.scale_offset.gamma[2].tolist()) == pytest.approx([0.1] * (S // 2) + [1.0] * (S // 2))
