"""Recall against the size of a state: the stored runs of `benchmarks/recall_state.py`, and a small run of its recipe.

The small run is what lecture 13 shows where no runs are stored: one model, one seed, stopped early.
"""

from importlib import resources

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from flash_tutorial import LanguageModel, ModelConfig
from flash_tutorial.training import TrainConfig, learning_rate_at

from .stored import load_stored
from .tasks import IGNORE, mqar

KEYS, T, FIRST, PAIRS = 16, 64, 32, (1, 2, 4, 8, 16)  # pairs lie in the first FIRST tokens, questions behind them


def stored_curves(pairs=16):
    """By model {entries of a unit's state: accuracy of each seed}; empty while no runs are stored."""
    if not (resources.files("flash_course.bench") / "results" / "recall_state.json").is_file():
        return {}
    by_settings, curves = {}, {}
    for run in load_stored("recall_state")["runs"]:
        settings = run["model"], run["state_numbers"], run["learning_rate"]
        by_settings.setdefault(settings, []).append(run["recall"][str(pairs)])
    for (name, entries, _), seeds in by_settings.items():
        if len(seeds) >= 3:  # the rates that were only tried have one
            curves.setdefault(name, {})[entries] = seeds
    return curves


class Shift(nn.Module):
    """Each token's own channels, and then those of the token before: a value meets its key."""

    def forward(self, x):
        return torch.cat([x, F.pad(x, (0, 0, 1, 0))[:, :-1]], -1)


@torch.no_grad()
def make_model(kind, S, D=64):
    """Two units of this kind at the script's start: what q reads of a token itself, k reads of the one before."""
    torch.manual_seed(0)
    options = dict(norm="layer", positions="none", init_std=D**-0.5, tied=False, unit_options={"qk_dim": S})
    model = LanguageModel(ModelConfig(kind, vocab_size=1 + 2 * KEYS, dim=D, depth=2, **options))
    model.embedding = nn.Sequential(nn.Embedding(1 + 2 * KEYS, D // 2), Shift())
    nn.init.normal_(model.embedding[0].weight, std=0.5)[0] = 0
    for unit in model.stack.units:
        for linear in (unit.in_proj, unit.out_proj):
            nn.init.normal_(linear.weight, std=D**-0.5)
            nn.init.zeros_(linear.bias)
        own, before = unit.in_proj.weight.split(D // 2, 1)
        before[-S:] = own[-2 * S : -S]
        own[-S:] = before[-2 * S : -S] = 0
    return model


def questions(batch, pairs, seed):
    """ids and targets ``(B, T)``."""
    options = dict(chunk_size=FIRST, pairs=pairs, keys=KEYS, values=KEYS, questions=T - FIRST)
    return map(torch.from_numpy, mqar(batch, T, np.random.default_rng(seed), **options))


def small_run(kind, S, updates=150):
    """A model of this kind, trained for a short while with one to sixteen pairs in turn."""
    model, schedule = make_model(kind, S), TrainConfig(steps=updates, learning_rate=6e-3)
    optimizer = torch.optim.AdamW(model.parameters(), eps=1e-6, weight_decay=0.0)
    for step in range(updates):
        optimizer.param_groups[0]["lr"] = learning_rate_at(step, schedule)
        optimizer.zero_grad()
        model.loss(*questions(32, PAIRS[step % len(PAIRS)], (0, step))).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return model.eval()


@torch.no_grad()
def accuracy(model, pairs):
    """Share of the questions that are answered right."""
    ids, targets = questions(256, pairs, (10**6, pairs))
    return (model(ids).argmax(-1) == targets)[targets != IGNORE].double().mean().item()
