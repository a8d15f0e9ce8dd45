"""An experiment that nobody has run yet: each of its arms can begin."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from flash_course.bench.stored import RESULTS
from flash_tutorial.corpora import load_tokens
from flash_tutorial.experiments import StoredRows, runner
from flash_tutorial.training import train_step

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "experiments"))
gate = pytest.importorskip("gate")  # a course's fork has no experiments
page = pytest.importorskip("page")


def other_tokens():
    """In place of the sources of six packages, which a command writes."""
    return load_tokens(np.zeros(100_000, np.int64), 2048)


def waiting():
    """(experiment, arm) of the arms without a stored row that the runner trains by itself, one of each name."""
    found = {}
    for experiment in page.declarations():
        rows = StoredRows(experiment, RESULTS)
        ran = [rows.arm_of(row) for row in rows.load() if row["arm"] is not None]
        for arm in experiment.arms:
            if arm not in ran and not experiment.make:
                found.setdefault((experiment.name, arm.name), (experiment, arm))
    return [pytest.param(*each, id=" ".join(key)) for key, each in found.items()]


def differ(before, after):
    return not torch.equal(before, after)


@pytest.mark.parametrize("experiment, arm", waiting())
def test_an_arm_can_begin(experiment, arm, monkeypatch):
    """Its first update moves the model, and to finite numbers."""
    moved = []

    def watched(model, optimizer, *given):
        before = [parameter.detach().clone() for parameter in model.parameters()]
        made = train_step(model, optimizer, *given)
        assert all(parameter.isfinite().all() for parameter in model.parameters())
        moved.append(any(map(differ, before, model.parameters())))
        return made

    monkeypatch.setattr(runner, "train_step", watched)
    if arm.corpus is gate.load_sources:
        arm = replace(arm, corpus=other_tokens)
    arm = replace(arm, train=arm.train | {"compile": False})  # half a minute each
    runner.update_of(experiment, arm)()
    assert moved == [True]
