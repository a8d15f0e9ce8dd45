"""The runner: it chooses the rates, makes the runs that are not stored yet, and stores each as soon
as it is finished.

Runs go on where they were stopped: finished ones are stored, and of the one at hand the last
checkpoint lies in runs/NAME. Several processes may share an experiment; none makes a run that
another one makes.
"""

import argparse
import hashlib
import json
import re
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..clock import rounds_in_turn
from ..errors import described
from ..model import LanguageModel, count_parameters
from ..training import Diverged, new_optimizer, parts, train, train_step
from ..training.devices import Engine, keep_freed_memory, pick_device
from ..training.score import is_causal
from .declaration import Experiment
from .rates import best_rate, is_trial, rates_of, trials
from .stored_rows import StoredRows
from .tables import report

TIMED = "seconds of an update, in turn"
ROUNDS = 9
CURVE = 100  # losses that are kept of a run, evenly spaced


def command(experiment: Experiment, folder: str | Path) -> None:
    """The two commands of a declaration: ``run`` makes what is missing, ``table`` prints what is
    there.

    >>> from flash_tutorial import ModelConfig
    >>> from flash_tutorial.experiments import Arm, Experiment, command
    >>> config = ModelConfig(dim=16, depth=1, qk_dim=8, chunk_size=8)
    >>> experiment = Experiment(
    ...     "mine",
    ...     "Does it learn?",
    ...     arms=(Arm("flash", config, rates=(0.01,)),),
    ...     steps=(2,),
    ...     seeds=(0,),
    ...     train={"batch": 2, "length": 16, "eval_bytes": 100},
    ... )
    >>> import sys
    >>> sys.argv = ["mine.py", "table"]                     # as after: python mine.py table
    >>> command(experiment, "results")
    Nothing is stored yet.
    <BLANKLINE>
    """
    parser = argparse.ArgumentParser(description=experiment.question)
    parser.add_argument("what", choices=("run", "table"))
    try:
        if parser.parse_args().what == "table":
            print(report(experiment, StoredRows(experiment, folder).load()))
        else:
            torch.set_num_threads(experiment.threads)
            keep_freed_memory()
            run(experiment, folder)
    except ValueError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("stopped: the same command goes on from here")


def run(experiment: Experiment, folder: str | Path, say: Callable[..., object] = print) -> None:
    """Make all runs that the declaration asks for and that are not stored yet.

    >>> from flash_tutorial import ModelConfig
    >>> from flash_tutorial.experiments import Arm, Experiment, StoredRows, run
    >>> config = ModelConfig(dim=16, depth=1, qk_dim=8, chunk_size=8)
    >>> experiment = Experiment(
    ...     "mine",
    ...     "Does it learn?",
    ...     arms=(Arm("flash", config, rates=(0.01,)),),
    ...     steps=(2,),
    ...     seeds=(0,),
    ...     train={"batch": 2, "length": 16, "eval_bytes": 100},
    ... )
    >>> run(experiment, "results", say=lambda *line, **how: None)
    >>> (row,) = StoredRows(experiment, "results").load()
    >>> row["arm"], row["rate"], row["seed"], row["steps"]
    ('flash', 0.01, 0, 2)
    """
    rows = StoredRows(experiment, folder)
    rows.refuse_others()
    if experiment.seconds or experiment.equal_time:
        time_updates(experiment, rows)
    for wait in (False, True):  # what another process is making comes last
        for arm in experiment.arms:
            choose_rate(experiment, arm, rows, say, wait)
    asked = list(reported_runs(experiment, rows))
    for wait in (False, True):
        for arm, rate, seed, steps, budget in asked:
            one_run(experiment, arm, rate, seed, steps, rows, say, budget, wait)


# ---------------------------------------------------------------- which runs
def reported_runs(experiment, rows):
    """(arm, rate, seed, updates, budget) of all runs but those that choose a rate."""
    for budget in (None, *experiment.seconds):
        for seed in all_seeds(experiment):
            for arm in experiment.arms:
                if seed in experiment.seeds_of(arm):
                    for steps in lengths(experiment, arm, rows, budget):
                        for rate in rates_of(experiment, arm, rows.load()):
                            yield arm, rate, seed, steps, budget


def all_seeds(experiment):
    """The seeds of all arms, each once: all arms have the first before any has the second."""
    seeds = [*experiment.seeds]
    for arm in experiment.arms:
        seeds += arm.seeds or ()
    return list(dict.fromkeys(seeds))


def lengths(experiment, arm, rows, budget):
    """The numbers of updates that an arm is run for."""
    if budget is not None:
        return [updates_in(budget, experiment, arm, rows)]
    steps = list(arm.steps or experiment.steps)
    first = experiment.equal_time
    if first and arm.label != first and not arm.steps:
        ratio = seconds_of(experiment, experiment.arm(first), rows) / seconds_of(
            experiment, arm, rows
        )
        steps += [round(steps[0] * ratio)]
    return steps


def choose_rate(experiment, arm, rows, say=print, wait=True):
    """Try the grid, and go on beyond the end that is best until it lies inside. Who does not wait
    for what another process is making tries the grid alone.
    """
    search = experiment.search_of(arm)
    if search is None:
        return
    grid = sorted({*arm.rates, *trials(experiment, arm, rows.load())})  # it may have been widened
    steps = search.steps
    if steps is None:
        steps = updates_in(search.seconds, experiment, arm, rows)
    while True:
        for rate in grid:
            for seed in search.seeds:
                one_run(experiment, arm, rate, seed, steps, rows, say, search.seconds, wait)
        if not wait:
            return
        best = best_rate(experiment, arm, rows.load())
        inside = best not in (grid[0], grid[-1])
        if inside or len(grid) >= search.most:
            break
        further = best / search.factor if best == grid[0] else best * search.factor
        grid = sorted([*grid, float(f"{further:.4g}")])
    edge = "" if inside else f", at the edge of the {len(grid)} that were tried"
    say(f"{arm.label}: the best rate is {best:g}{edge}", flush=True)


# ---------------------------------------------------------------- one run
def one_run(experiment, arm, rate, seed, steps, rows, say=print, budget=None, wait=True):
    """A run's row; it is made unless it is stored, or another process makes it and this one is not
    to wait.
    """
    settings = dict(arm.settings)
    if budget is not None:
        settings["budget"] = budget
    key = dict(arm=arm.name, settings=settings, rate=rate, seed=seed, steps=steps)
    if found := rows.find(**key):
        return found

    folder = folder_of(experiment, arm, rate, seed, steps, rows)

    def make():
        if experiment.make:
            measures = experiment.make(arm, rate, seed, steps)
        else:
            measures = trained(arm, rate, seed, steps, experiment, folder, budget)
        shown = {name: value for name, value in measures.items() if isinstance(value, (int, float))}
        say(f"{arm.label}, rate {rate}, seed {seed}, {steps} updates: {shown}", flush=True)
        return measures

    row = rows.make_once(make, wait, **key)
    if row and not arm.keep:
        shutil.rmtree(folder, ignore_errors=True)
    return row


def folder_of(experiment, arm, rate, seed, steps, rows):
    """Where a run's checkpoints lie: those of other code, or of an arm whose name is written alike, lie elsewhere."""
    said = f"{arm.label}-{rate}-{seed}-{steps}-{rows.trained_by[arm.label]}"
    name = re.sub(r"[^\w.+-]", "_", said)
    if name != said:
        name += "-" + hashlib.sha256(arm.label.encode()).hexdigest()[:4]
    return Path("runs", experiment.name, name)


def trained(arm, rate, seed, steps, experiment, folder=None, budget=None):
    """Train a model, going on from the last checkpoint in ``folder``, and measure it."""
    corpus = experiment.corpus_of(arm)
    settings = experiment.settings_of(arm, rate, seed, steps, budget)
    if settings.compile:
        torch.compiler.reset()  # models of earlier runs count against the eight that torch compiles
    model = built(arm, seed)
    measures = {"parameters": None}
    if experiment.at_start:
        measures |= experiment.at_start(model, corpus)
        model.zero_grad(set_to_none=True)
    began = time.process_time()
    try:
        done = train(
            model, settings, corpus=corpus, out=folder, resume=folder is not None, progress=False
        )
    except Diverged as error:  # it has ended too, and is not tried again
        return measures | {"diverged_at_step": error.step}
    processor = time.process_time() - began
    measures["parameters"] = count_parameters(done.model)
    if done.evaluation:
        measures |= scores_of(done.evaluation)
    measures |= of_log(done.log, budget)
    key = dict(rate=rate, seed=seed, steps=steps, settings={"budget": budget})
    measure = measure_of(experiment, arm, key)
    if measure:
        measures |= plain_values(measure(done.model, corpus), arm)
    return measures | {"processor_seconds": round(processor, 1)}


OWN = {"parameters", "diverged_at_step", "losses", "every", "processor_seconds", "on_the_way"}


def plain_values(found, arm):
    """What a measure found, if it can be stored."""
    try:
        json.dumps(found)
    except TypeError:
        found = None
    if isinstance(found, dict) and (taken := sorted(OWN & found.keys())):
        raise ValueError(
            f"the measure of {arm.label} gives {taken[0]!r}, which every run has already: take another name"
        )
    if not isinstance(found, dict):
        raise ValueError(
            f"the measure of {arm.label} did not give plain values by name: expected a dictionary as "
            '{"bits": 2.1}, of numbers, texts and lists; of a tensor, float(x) or x.tolist()'
        )
    return found


def measure_of(experiment, arm, key):
    """What is measured of a run: of one that chooses a rate it may be less."""
    search = experiment.search_of(arm)
    if search and search.measure and is_trial(experiment, arm, key):
        return search.measure
    return experiment.measure


def built(arm, seed):
    """The arm's model at its start."""
    torch.manual_seed(seed)
    if callable(arm.model):
        model = arm.model(seed)
        if not isinstance(model, nn.Module):
            raise ValueError(
                f"the model of {arm.label} is {described(model)}: expected an nn.Module; does the function "
                "that builds it return it?"
            )
        return model
    return LanguageModel(arm.model)


def scores_of(evaluation):
    """Bits per byte, or per token of a text whose bytes nobody knows."""
    if evaluation.bits_per_byte is None:
        return {"bits_per_token": round(evaluation.bits_per_token, 4)}
    return {"bits_per_byte": round(evaluation.bits_per_byte, 4)}


def of_log(log, budget=None):
    """Of a run's log the scores on the way, by update or by second of the budget, the loss at even
    distances, and the mean of the last hundred.
    """
    found = {}
    every = max(1, len(log) // CURVE)
    scored = [row for row in log if "validation_bits_per_byte" in row]
    if len(scored) > 1:
        share = 1 if budget is None else budget / len(log)
        found["on_the_way"] = [
            [round(row["step"] * share), round(row["validation_bits_per_byte"], 4)]
            for row in scored
        ]
    last = [row["bits_per_byte"] for row in log[-100:] if "bits_per_byte" in row]
    if last:
        found["training_bits_per_byte"] = round(statistics.mean(last), 4)
    losses = [round(row["loss"], 4) for row in log[::every]]
    return found | {"seconds": round(log[-1]["seconds"], 1), "every": every, "losses": losses}


def repeated(experiment: Experiment, row: dict[str, Any], updates: int = 50) -> float:
    """Train a stored run's first updates again: the largest difference of a loss from the stored
    one, as a share.

    >>> from flash_tutorial import ModelConfig
    >>> from flash_tutorial.experiments import Arm, Experiment, StoredRows, repeated, run
    >>> config = ModelConfig(dim=16, depth=1, qk_dim=8, chunk_size=8)
    >>> experiment = Experiment(
    ...     "mine",
    ...     "Does it learn?",
    ...     arms=(Arm("flash", config, rates=(0.01,)),),
    ...     steps=(2,),
    ...     seeds=(0,),
    ...     train={"batch": 2, "length": 16, "eval_bytes": 100},
    ... )
    >>> run(experiment, "results", say=lambda *line, **how: None)
    >>> repeated(experiment, StoredRows(experiment, "results").load()[0]) < 1e-4
    True
    """
    arm = StoredRows(experiment, ".").arm_of(row)
    budget = row["settings"].get("budget")
    settings = experiment.settings_of(arm, row["rate"], row["seed"], row["steps"], budget)
    done = train(
        built(arm, row["seed"]),
        settings,
        corpus=experiment.corpus_of(arm),
        stop_at=min(updates, row["steps"]),
        progress=False,
    )
    every = row["measures"]["every"]
    pairs = zip(
        (each["loss"] for each in done.log[::every]), row["measures"]["losses"], strict=False
    )
    return max(abs(now / stored - 1) for now, stored in pairs)


# ---------------------------------------------------------------- updates in a budget of seconds
def updates_in(budget, experiment, arm, rows):
    """How many updates of an arm a budget of seconds holds."""
    seconds = seconds_of(experiment, arm, rows)
    if budget < seconds:
        raise ValueError(
            f"{budget:g} seconds hold no update of {arm.label}, which takes {seconds:g}: give more"
        )
    return round(budget / seconds)


def seconds_of(experiment, arm, rows):
    """Seconds of an update, by the first timing that is stored, whatever machine makes the runs."""
    label = arm.timed_as or arm.label
    timed = timed_updates(experiment, rows)
    if label not in timed:
        raise ValueError(f"{experiment.name}: an update of {label} was not timed")
    return timed[label]


def timed_updates(experiment, rows):
    """{label: seconds of an update}; of a project those of today's layers and settings."""
    found = {}
    for row in rows.load():
        if row["settings"].get("what") != TIMED:
            continue
        codes = row["measures"].get("codes", {})
        for label, seconds in row["measures"]["seconds"].items():
            if not experiment.anew or codes.get(label) == rows.codes.get(label):
                found.setdefault(label, seconds)
    return found


def time_updates(experiment, rows):
    """Store the median of an update of every arm, timed in turn, unless all of them have one.

    What is timed later, or on another machine, is stored as it would have been at the first time:
    in proportion to the arms that were timed then.
    """
    known = timed_updates(experiment, rows)
    labels = {arm.timed_as or arm.label for arm in experiment.arms}
    if labels <= known.keys():
        return

    def measures():
        updates = {
            arm.label: update_of(experiment, arm) for arm in experiment.arms if arm.timed_as is None
        }
        *_, taken = rounds_in_turn(updates, ROUNDS, warmup=2, device=pick_device())
        medians = {label: statistics.median(seconds) for label, seconds in taken.items()}
        ratios = [known[label] / medians[label] for label in medians if label in known]
        then = statistics.median(ratios) if ratios else 1.0
        seconds = {label: float(f"{median * then:.4g}") for label, median in medians.items()}
        return {"seconds": seconds, "rounds": ROUNDS, "codes": codes}

    codes = {label: rows.codes[label] for label in sorted(labels)}
    of = hashlib.sha256(repr(codes).encode()).hexdigest()[:8]
    settings = {"what": TIMED, "of": of}
    rows.make_once(measures, arm=None, settings=settings, rate=None, seed=None, steps=0)


def update_of(experiment, arm):
    """A function that makes an update, again and again the same one, and draws its batch."""
    if experiment.update:
        return experiment.update(arm)
    budget = next(iter(experiment.seconds), None)
    settings = experiment.settings_of(arm, 1e-3, 0, 1000, budget)
    model: nn.Module = built(arm, 0).to(pick_device()).train()
    optimizer = new_optimizer(model, settings)
    engine = Engine(model, settings.dtype, compile=settings.compile)
    text = experiment.corpus_of(arm).train
    causal = is_causal(model)

    def update():
        batch = parts(text, settings, 0, causal, engine.device)
        train_step(model, optimizer, batch, 0, settings, engine)

    return update
