"""Recall against the size of the state: FLASH, linear attention, and what came after, on MQAR with one recipe.

    python benchmarks/recall_state.py run     # rates of each model, then three seeds at each size of its state
    python benchmarks/recall_state.py rates_at_four     # the delta rule at its smallest size with two other rates
    python benchmarks/recall_state.py second_search     # other rates of FLASH and of linear attention, three seeds
    python benchmarks/recall_state.py table

About a minute for each run on one core. Every finished run is stored at once in
flash_course/bench/results/recall_state.json; one that is there is not made again. The guess that was written down
before is in docs/predictions.md.

One recipe for all: two units of width 64, the same rows and updates. Recall takes two steps, to bind a value to the
key before it and to find that key again. Others bind by a short convolution in each layer; here all models, FLASH too,
get one and the same means, a shift by a token behind the embedding. They start where both steps work from the first
update on, so that a run is about what a state can hold and not about how long the search for the two steps takes.
"""

import argparse
import statistics

import numpy as np
import torch
import torch.nn.functional as F
from stored_runs import StoredRuns, say_if_at_edge
from torch import nn

from flash_course.bench.tasks import IGNORE, mqar
from flash_course.successors import (
    GatedDeltaRule,
    GatedLinearAttention,
    LinearAttention,
    Retention,
    ThreeToOne,
    WindowAttention,
)
from flash_tutorial import FLASH, LanguageModel, ModelConfig, count_parameters, states
from flash_tutorial.training import TrainConfig, learning_rate_at
from flash_tutorial.training.devices import keep_freed_memory

RUNS = StoredRuns("recall_state", __doc__)
D, T, FIRST, C, KEYS, PAIRS = 64, 64, 32, 8, 16, (1, 2, 4, 8, 16)  # pairs lie in the first FIRST tokens
UPDATES, BATCH, SEEDS = 1000, 32, (0, 1, 2)
SIZES = (4, 8, 16, 32)  # S; of a window its length, with S = WINDOW_S
TUNED, WINDOW_S = 8, 16  # the size at which rates are chosen: at S = 16 four of the models make no mistake at any rate
KINDS = {
    "FLASH": FLASH, "linear attention": LinearAttention, "RetNet": Retention, "GLA": GatedLinearAttention,
    "gated DeltaNet": GatedDeltaRule, "window": WindowAttention, "3:1 hybrid": ThreeToOne,
}  # fmt: skip
RATES = (7.5e-4, 1.5e-3, 3e-3, 6e-3, 1.2e-2)


# ---------------------------------------------------------------- one start for all
class Shift(nn.Module):
    """Each token's own channels, and then those of the token before: ``(B, T, D / 2) -> (B, T, D)``."""

    def forward(self, x):
        return torch.cat([x, F.pad(x, (0, 0, 1, 0))[:, :-1]], -1)


def make_model(name, size, seed=0):
    """The model at its start: a blank says nothing, and a query for a key agrees with the place behind that key.

    FLASH combines its chunks by the bare sum (equation 8), as the others do.
    """
    torch.manual_seed(seed)
    S = WINDOW_S if name == "window" else size
    common = dict(vocab_size=1 + 2 * KEYS, dim=D, depth=2, norm="layer", positions="none", init_std=D**-0.5, tied=False)
    if name == "FLASH":
        model = LanguageModel(ModelConfig(qk_dim=S, chunk_size=C, combine="sum", **common))
    else:
        options = {"qk_dim": S} | ({"window": size} if name == "window" else {})
        model = LanguageModel(ModelConfig(KINDS[name], unit_options=options, **common))
    names = nn.Embedding(1 + 2 * KEYS, D // 2)
    with torch.no_grad():
        nn.init.normal_(names.weight, std=0.5)[0] = 0
        for unit in model.stack.units:
            plant(unit)
    model.embedding = nn.Sequential(names, Shift())
    return model


def plant(unit):
    """Kernels of one size; what q reads of a token itself, k reads of the token before."""
    for linear in (unit.in_proj, unit.out_proj):
        nn.init.normal_(linear.weight, std=D**-0.5)
        nn.init.zeros_(linear.bias)
    S, weight = unit.qk_dim, unit.in_proj.weight
    own, before = weight[:, : D // 2], weight[:, D // 2 :]
    if isinstance(unit, FLASH):  # one base for both, so it reads the two alike
        before[-S:] = own[-S:]
        turn = 10000.0 ** -(torch.arange(S // 2) / (S // 2)) * T  # RoPE over a row: it scatters what a channel says
        gamma = torch.where(turn < 1, 1.0, 0.1).repeat(2)  # if it turns by more than a radian
        unit.scale_offset.gamma[2:], unit.scale_offset.beta[2:] = gamma, -0.2 * gamma  # 0.2: the mean of SiLU
    else:
        before[-S:] = own[-2 * S : -S]
        own[-S:] = before[-2 * S : -S] = 0


# ---------------------------------------------------------------- a run
def rows(batch, pairs, rng):
    """ids, targets ``(B, T)``; every place behind the first FIRST asks."""
    options = dict(chunk_size=FIRST, pairs=pairs, keys=KEYS, values=KEYS, questions=T - FIRST)
    return tuple(map(torch.from_numpy, mqar(batch, T, rng, **options)))


def fit(name, size, rate, seed):
    """The trained model and the loss of each update; the pairs of a row are drawn anew for each."""
    model = make_model(name, size, seed)
    rates = TrainConfig(steps=UPDATES, learning_rate=rate, warmup=20)
    optimizer = torch.optim.AdamW(model.parameters(), eps=1e-6, weight_decay=0.0)
    losses = []
    for step in range(UPDATES):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate_at(step, rates)
        rng = np.random.default_rng((seed, step))
        loss = model.loss(*rows(BATCH, int(rng.choice(PAIRS)), rng))
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return model.eval(), losses


@torch.no_grad()
def recall(model, count=256):
    """By the number of pairs: how often the right value comes first."""
    found = {}
    for pairs in PAIRS:
        ids, targets = rows(count, pairs, np.random.default_rng((10**6, pairs)))
        right = (model(ids).argmax(-1) == targets)[targets != IGNORE]
        found[str(pairs)] = round(float(right.double().mean()), 4)
    return found


@torch.no_grad()
def state_numbers(unit):
    """Numbers that a unit keeps of a row of T tokens while it decodes."""
    if isinstance(unit, FLASH):
        return states.prefill(unit, torch.zeros(1, T, D))[1].numel()
    return unit.state_numbers(T)


def one_run(name, size, rate, seed):
    """Train once, unless the run is stored already."""

    def make():
        model, losses = fit(name, size, rate, seed)
        found, unit = recall(model), model.stack.units[0]
        return {
            "state_numbers": state_numbers(unit), "parameters": count_parameters(model), "updates": UPDATES,
            "recall": found, "mean_recall": round(statistics.mean(found.values()), 4),
            "losses": [round(statistics.mean(losses[i : i + 20]), 3) for i in range(0, UPDATES, 20)],
        }  # fmt: skip

    return RUNS.find_or_make(dict(model=name, size=size, learning_rate=rate, seed=seed), make)


def last_loss(run):
    return statistics.mean(run["losses"][-3:])


def tuned_at(name):
    """The size at which a model's rate is chosen; a window's is the whole row, for only that can reach every pair."""
    return T if name == "window" else TUNED


def best_rate(name):
    """Of the rates that were tried with seed 0, the one with the lowest last loss."""
    return min(RUNS.where(model=name, size=tuned_at(name), seed=0), key=last_loss)["learning_rate"]


def find_rate(name):
    """From the middle of the grid outwards, until the best rate has a worse one on both sides."""
    for rate in RATES[1:-1]:
        one_run(name, tuned_at(name), rate, 0)
    for edge, beyond in ((RATES[1], RATES[0]), (RATES[-2], RATES[-1])):
        if best_rate(name) == edge:
            one_run(name, tuned_at(name), beyond, 0)
    say_if_at_edge(name, best_rate(name), RATES)


def sizes(name):
    """A window as long as the row is full softmax attention."""
    return (*SIZES, T) if name == "window" else SIZES


def run():
    for name in KINDS:
        find_rate(name)
    for size in (*SIZES, T):
        for seed in SEEDS:
            for name in KINDS:
                if size in sizes(name):
                    one_run(name, size, best_rate(name), seed)


def rates_at_four():
    """At TUNED rows each rate of the delta rule was perfect; so at four rows the rate may have failed, not the room."""
    for rate in RATES[1:3]:
        for seed in SEEDS:
            one_run("gated DeltaNet", SIZES[0], rate, seed)


def second_search():
    """Where seeds differ more than rates, one seed at TUNED rows cannot choose: FLASH at other rates and most rows.

    At the best of these it has all sizes; and so has linear attention, whose seeds differ as well.
    """
    for rate in (3e-3, 4.5e-3, 9e-3, 1.5e-3):
        for seed in SEEDS:
            one_run("FLASH", SIZES[-1], rate, seed)
    for name in ("FLASH", "linear attention"):
        for size in SIZES:
            for seed in SEEDS:
                one_run(name, size, 3e-3, seed)


# ---------------------------------------------------------------- what came out
def table():
    print(
        f"{'model':17} {'size':>4} {'state':>6} {'rate':>7}  recall by pairs {PAIRS}, and of {PAIRS[-1]} seed by seed"
    )
    for name in KINDS:
        for size in sizes(name):
            by_rate = {}
            for run in RUNS.where(model=name, size=size):
                by_rate.setdefault(run["learning_rate"], []).append(run)
            for rate, runs in sorted(by_rate.items()):
                if len(runs) < len(SEEDS):  # a trial
                    continue
                means = [f"{statistics.mean(run['recall'][str(pairs)] for run in runs):.3f}" for pairs in PAIRS]
                seeds = ", ".join(f"{run['recall'][str(PAIRS[-1])]:.3f}" for run in runs)
                print(f"{name:17} {size:4} {runs[0]['state_numbers']:6} {rate:7.4f}  {' '.join(means)}  {seeds}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    keep_freed_memory()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = {"run": run, "rates_at_four": rates_at_four, "second_search": second_search, "table": table}
    parser.add_argument("what", choices=commands)
    commands[parser.parse_args().what]()
