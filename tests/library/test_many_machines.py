"""Two processes train and write as one, by DDP and in shares by ``fully_shard``; a model made real from ``meta``."""

import json
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import torch
from small_model import ALL, NAMES, MyUnit, N, config, ids, model

from flash_tutorial import FLASH, LanguageModel, MCTransformerBlock, states

ROOT = Path(__file__).parents[2]


QUICK = ["flash"]
SLOW = [pytest.param(name, marks=pytest.mark.nightly) for name in NAMES if name not in QUICK]
architectures = pytest.mark.parametrize("name", QUICK + SLOW)


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """What two processes found of an architecture: of each rank ``{"ddp": ...}``."""
    return cache(lambda name: both_ranks(name, tmp_path_factory.mktemp("two")))


def both_ranks(name, folder):
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "two_processes.py"), name, str(folder)],
        capture_output=True,
        text=True,
        timeout=240,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1)]


# ---------------------------------------------------------------- two processes


@pytest.mark.nightly
@pytest.mark.parametrize("how", ["ddp", "fsdp"])
@architectures
def test_two_processes_train_as_one(two, name, how):
    for found in two(name):
        assert found[how] <= 1e-6 and found["moved"] >= 1e-2
        assert found["tied"]


@architectures
def test_a_model_in_shares_writes_as_one_process(two, name):
    for found in two(name):
        assert found["same tokens"] and found["token by token"] <= 1e-6


@architectures
def test_what_was_gathered_is_saved(two, name):
    assert two(name)[0]["saved"] <= 1e-6


def test_a_model_in_shares_starts_as_one_process(two):
    assert [found["start"] for found in two("flash")] == [0, 0]


@pytest.mark.nightly
def test_the_script_of_the_page_runs(tmp_path):
    page = (ROOT / "docs" / "many_machines.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.M | re.S)
    (script,) = [block for block in blocks if "init_process_group" in block]
    # As in test_distributed: a thread of gloo may abort an interpreter that ends.
    (tmp_path / "script.py").write_text(f"{script}\nos._exit(0)\n", encoding="utf-8")
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*run, "script.py"], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert LanguageModel.from_pretrained(tmp_path / "runs" / "whole").config.dim == 32


# ---------------------------------------------------------------- one process


@pytest.mark.parametrize("architecture", ALL, ids=NAMES)
def test_no_parameter_is_a_scalar(architecture):
    for norm in ("scale", "layer"):
        built = LanguageModel(config(architecture, norm=norm))
        assert all(p.dim() for p in built.parameters())


def on_meta(built):
    with torch.device("meta"):
        return LanguageModel(built)


def same(ours, theirs):
    for (name, a), (_, b) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        assert torch.equal(a, b), name


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("architecture", ALL, ids=NAMES)
def test_a_model_from_meta_starts_as_a_new_one(architecture, tied):
    small = config(architecture, tied=tied, embedding_std=0.3)
    torch.manual_seed(5)
    new = LanguageModel(small)
    made = on_meta(small).to_empty(device="cpu")
    for p in made.parameters():
        torch.nn.init.constant_(p, torch.nan)
    torch.manual_seed(5)
    made.reset_parameters()
    same(made, new)
    assert (made.head.weight is made.embedding.weight) == tied


@pytest.mark.parametrize("assign", [False, True])
def test_a_model_from_meta_is_loaded_and_saved(assign, tmp_path):
    trained = model(dtype=torch.float32)
    made = on_meta(trained.config)
    if not assign:
        made.to_empty(device="cpu")
    made.load_state_dict(trained.state_dict(), assign=assign)
    assert made.head.weight is made.embedding.weight
    made.save_pretrained(tmp_path)
    same(LanguageModel.from_pretrained(tmp_path), trained)


def test_a_head_that_was_replaced_is_not_tied_again():
    classifier = model()
    classifier.head = torch.nn.Linear(12, 2)
    classifier.to(torch.float32).load_state_dict(classifier.state_dict())
    assert classifier.head.weight.shape == (2, 12)


@pytest.mark.parametrize("unit", [FLASH(6, qk_dim=4), MCTransformerBlock(6, heads=3)])
def test_a_unit_starts_anew_in_every_parameter(unit):
    for p in unit.parameters():
        torch.nn.init.constant_(p, torch.nan)
    unit.reset_parameters()
    assert all(p.isfinite().all() for p in unit.parameters())
    assert all((p == 1).all() for name, p in unit.named_parameters() if name.endswith("gain"))


def test_the_call_with_targets_is_the_loss():
    built, prompts = model(), ids()
    targets = prompts.masked_fill(prompts < 5, -100)
    mask = torch.arange(14) < torch.tensor([[14], [9]])
    loss = built(prompts, mask=mask, targets=targets)
    assert torch.equal(loss, built.loss(prompts, targets, mask))
    assert loss.shape == ()


# ---------------------------------------------------------------- hooks


@pytest.mark.parametrize("architecture", ALL, ids=NAMES)
def test_prefill_and_step_run_the_hooks_of_each_module_once(architecture):
    built, prompts, called = model(architecture), ids(), []
    expected, state = built.prefill(prompts)
    expected_next, _ = built.step(prompts[:, 0], state)
    names = ["", "stack", "stack.units.0", "stack.units.1"]
    for name in names:
        part = built.get_submodule(name)
        part.register_forward_hook(lambda *_, name=name: called.append(name))
    logits, state = built.prefill(prompts)
    assert sorted(called) == names and torch.equal(logits, expected)
    called.clear()
    logits, _ = built.step(prompts[:, 0], state)
    assert sorted(called) == names and torch.equal(logits, expected_next)
    called.clear()
    assert built(prompts).shape == (2, 14, N) and sorted(called) == names


class CallsItself(MyUnit):
    """A unit of one's own whose way through a prompt is its call."""

    def prefill(self, x, mask=None):
        return self(x, mask), None

    def step(self, x, state):
        return self(x[:, None])[:, 0], state


def test_a_method_with_hooks_may_call_its_module():
    own, x, called = CallsItself(12), torch.randn(2, 5, 12), []
    own.register_forward_hook(lambda *_: called.append("prompt or token"))
    y, _ = states.prefill(own, x)
    assert torch.equal(y, own.forward(x)) and called
    called.clear()
    y, _ = states.step(own, x[:, 0], None)
    assert torch.equal(y, own.forward(x[:, :1])[:, 0]) and called


def test_a_hook_that_raises_leaves_the_call_as_it_was():
    built, prompts = model(), ids()

    def refuse(*_):
        raise RuntimeError("not now")

    hook = built.register_forward_pre_hook(refuse)
    with pytest.raises(RuntimeError, match="not now"):
        built.prefill(prompts)
    hook.remove()
    assert built(prompts).shape == (2, 14, N)
