"""Training: one update, the loop around it, and the score that it is judged by.

    from flash_tutorial import ModelConfig
    from flash_tutorial.training import TrainConfig, train
    run = train(ModelConfig(), TrainConfig(steps=300), out="runs/first")
    run.evaluation.bits_per_byte

Letters: B batch, T length, N vocabulary.
"""

import math
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ..config import ModelConfig, TrainConfig
from ..corpora import random_windows
from ..corpora.spans import hide_spans
from ..corpora.vocabulary import IGNORE
from ..files import write_json
from ..model import LanguageModel, count_parameters, save_model
from . import start
from .best import Scores
from .devices import Engine, Group, keep_freed_memory, measured_gain, to_device, training_group
from .keeper import Keeper
from .progress import print_line, progress_of
from .run_folder import read_log, run_folder, save_results
from .score import Evaluation, check_vocabulary, in_words, is_causal
from .score import evaluate as evaluate  # they belong to training as readers see it
from .score import first_bytes as first_bytes
from .stopping import Stopped, stoppable


# ---------------------------------------------------------------- one update
def train_step(model, optimizer, batch, step, config, engine=None):
    """One update: the loss of a batch and its gradient, part by part, cut to ``clip``; then AdamW at this step's rate.

    ``batch`` holds parts (ids, targets, mask, share), as ``parts`` draws them; the shares sum to one. ``engine`` knows
    of number formats and processes. Gives the loss in nats, and the gradient's norm before the cut.
    """
    engine = engine or Engine(model)
    for group in optimizer.param_groups:
        group["lr"] = learning_rate_at(step, config)
    loss = 0.0
    for ids, targets, mask, share in engine.each(batch):
        part = engine.loss(ids, targets, mask) * share
        engine.backward(part)
        loss += part.detach()
    engine.scaler.unscale_(optimizer)
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip or math.inf)
    loss, norm = float(engine.group.total(loss)), float(norm)
    check_finite(loss, norm, step, config, engine.scaler.is_enabled())
    engine.step(optimizer)
    optimizer.zero_grad()
    return loss, norm


def learning_rate_at(step, config):
    """The rate of update ``step``, counted from 0: up over ``warmup`` updates, then down in a line to 0."""
    if step < config.warmup:
        return config.learning_rate * (step + 1) / config.warmup
    return config.learning_rate * (config.steps - step) / (config.steps - config.warmup)


def check_finite(loss, norm, step, config, scaled):
    """Stop before an update that would spoil the weights. With loss scaling an infinite gradient is only skipped."""
    if not math.isfinite(loss) or not (math.isfinite(norm) or scaled):
        where = f"step {step + 1}, learning rate {learning_rate_at(step, config):.3g}"
        found = f"the loss is {loss:.4g} and its gradient's norm {norm:.4g}"
        advice = f"try a lower peak ({config.learning_rate / 3:.1g}), a longer warm-up or a smaller clip"
        raise Diverged(f"training stopped at {where}: {found}; {advice}; the last checkpoint is untouched", step + 1)


class Diverged(ValueError):
    """The loss, or its gradient, is no longer a number; ``step`` is the update, counted from 1."""

    def __init__(self, message, step=None):
        super().__init__(message)
        self.step = step


# ---------------------------------------------------------------- batches
def draw_batch(split, config, step, causal):
    """ids, targets ``(B, T)`` of update ``step``. They depend on the seed and the step alone, so that a run that was
    stopped goes on with the same batches and nothing of their order need be saved."""
    rng = np.random.default_rng((config.seed, step))
    ids, targets = random_windows(split, config.batch, config.length, rng)
    return (ids, targets) if causal else hide_spans(targets, rng, split.vocabulary)


def parts(split, config, step, causal, device, group=Group()):  # noqa: B008 (it never changes)
    """A rank's rows of a batch, in ``accumulate`` parts: ids, targets, mask, and the part's share of all the targets.

    Every rank draws the whole batch and takes its own rows, so that the batch does not depend on how many they are.
    """
    ids, targets = draw_batch(split, config, step, causal)
    valid = targets != IGNORE if causal else ids != split.vocabulary.start_id
    chosen = targets != IGNORE
    size = config.batch // (config.accumulate * group.size)
    for first in range(group.rank * size, config.batch, group.size * size):
        rows = slice(first, first + size)
        yield *to_device(ids[rows], targets[rows], valid[rows], device), float(chosen[rows].sum() / chosen.sum())


# ---------------------------------------------------------------- the loop
@dataclass
class Run:
    """What ``train`` gives back: the model, a row of numbers for each update, the score at the end, and the best score
    on the way: ``{"step": ..., "score": ...}`` of the model in ``best/``, None without ``eval_every``."""

    model: nn.Module
    log: list[dict]
    evaluation: Evaluation | None
    best: dict | None = None


def train(
    model_or_config=None, train_config=None, *, corpus=None, out=None, resume=False, stop_at=None, device="auto",
    progress=True, callback=None,
) -> Run:  # fmt: skip
    """Train a model; a causal one learns the next byte (or token), any other those of hidden spans.

    Args:
        model_or_config: a ``ModelConfig``, or a model, which is trained as it stands: a ``LanguageModel``, or an
            ``nn.Module`` of your own with ``model.loss(ids, targets, mask=mask)``, the mean in nats over the targets
            other than -100, and ``model(ids, mask=mask) -> logits (B, T, N)`` for the score. ``mask`` is None or
            ``(B, T)`` bool. It reads both sides where ``model.causal`` or ``model.config.causal`` is False.
        corpus: a ``Corpus`` (as ``load_corpus`` and ``load_tokens`` give), or the name or path of one, in place of the
            one that ``train_config.corpus`` names.
        out: a folder for checkpoints, ``log.csv``, and at the end the model and ``result.json``.
        resume: go on from the newest whole checkpoint in ``out``; on a CPU the weights end up the same, bit by bit, as
            if the run had never stopped (same versions and number of threads). Without a checkpoint it starts.
        stop_at: the update after which the run is cut short; its rates stay those of ``steps`` updates, so that it is
            the first part of the whole run. It is not scored, and leaves in ``out`` a checkpoint to go on from.
        progress: False prints nothing.
        callback: called with the log's row of each update, a dictionary, after the update and its checkpoint; in a row
            with a score that stands under ``validation_bits_per_byte`` (or ``_token``). If it returns False the run is
            cut short there, as by ``stop_at``; what it raises ends the run, and the checkpoints stay.

    With ``train_config.eval_every`` the model is scored on the way, and that of the best score is kept in ``out/best``.

    Under ``torchrun`` each process computes its own rows of every batch, and the weights end up as those of one process
    up to rounding; the first writes, prints, scores and calls back. A run may go on with another number of processes.

    A run with ``out`` that gets Ctrl-C (KeyboardInterrupt), SIGTERM or SIGHUP (SystemExit with 128 and the signal's
    number) ends the update at hand and writes a checkpoint first; a second signal stops it at once. On resume ``steps``
    may be another number, with the ``warmup`` that there was: from there on, the rates are those of a run with so many.

    Raises ValueError, after which the last checkpoint is intact: the loss is not finite (``Diverged``), the disk is
    full, ``out`` holds another run or belongs to another process, the checkpoints are damaged.
    """
    given = ModelConfig() if model_or_config is None else model_or_config
    config = TrainConfig() if train_config is None else train_config
    start.check_arguments(given, config, out, callback)
    with ExitStack() as stack:
        group, device = stack.enter_context(training_group(device))
        say = print_line if progress and group.speaks else lambda *_: None
        stop = stack.enter_context(stoppable(say))
        keep_freed_memory()
        group.check_shares(config.batch, config.accumulate)
        given, corpus = start.agree(given, start.find_corpus(corpus, config), config.start_from)
        torch.manual_seed(config.seed)
        model = given if isinstance(given, nn.Module) else LanguageModel(given)
        check_vocabulary(model, corpus.vocabulary)
        say(f"{count_parameters(model):,} parameters: {start.describe_model(model)}")
        start.say_if_short(corpus, config, say)
        facts = start.describe_run(model, config, corpus, device, group)
        say(facts["machine"])
        if gain := measured_gain(device, config.dtype, count_parameters(model)):
            say(gain)
        found = stack.enter_context(run_folder(out, resume, facts, group, say, start.earlier_values()))
        out = Path(out) if out is not None and group.speaks else None  # the others write nothing
        last = start.last_update(stop_at, config, found)
        if found and found.values["train_config"]["steps"] != config.steps and not found.finished:
            change_steps(found, facts, config, out, say)
        if found or config.start_from:
            model = start.restored(given, found[0] if found else config.start_from)
        start.share_tokenizer(model, corpus)
        split = first_bytes(corpus.validation, config.eval_bytes) if config.eval_bytes != 0 else None
        scores = Scores(split, config, out, found, evaluate, save_model)
        if found and found.finished:  # nothing is written; the score is taken anew, as a folder does not hold all
            rows, model = read_log(found.path / "log.csv"), model.to(device).eval()
            return Run(model, rows, finish(model, rows, scores, None, facts, group, say), scores.best)
        if found and config.dtype == "auto" and device.type == "cpu":  # another measurement would change the bits
            before = found.values.get("number_format")
            facts["number_format"] = "bfloat16" if before == "bfloat16" else "float32"
        engine = Engine(model.to(device).train(), facts["number_format"], group, config.compile)
        keeper = Keeper(out, found, facts, save_model, corpus.vocabulary.unit, scores.on_the_way)
        with progress_of(config, keeper.done, corpus.vocabulary.unit, progress and group.speaks) as show:
            rows = run_updates(model, engine, corpus.train, config, last, keeper, scores, stop, show, callback)
        model.eval()
        done = rows[-1]["step"]
        if done < config.steps:
            say(f"stopped after update {done} of {config.steps}" + (f"; go on with resume from {out}" if out else ""))
            return Run(model, rows, None, scores.best)
        return Run(model, rows, finish(model, rows, scores, out, facts, group, say), scores.best)


def updates(model, engine, optimizer, split, config, steps):
    """Make one update after the other; each gives its row of the log, but for the seconds."""
    unit, causal, rank = split.vocabulary.unit, is_causal(model), engine.group.rank
    for step in steps:
        # for a unit of your own that draws, such as dropout: other numbers in each step and rank
        torch.manual_seed(config.seed + step + 1 + 1_000_003 * rank)
        batch = parts(split, config, step, causal, engine.device, engine.group)
        loss, norm = train_step(model, optimizer, batch, step, config, engine)
        yield {
            "step": step + 1, "loss": loss, f"bits_per_{unit}": loss / math.log(2), "gradient_norm": norm,
            "learning_rate": learning_rate_at(step, config), "tokens": (step + 1) * config.batch * config.length,
        }  # fmt: skip


def run_updates(model, engine, split, config, last, keeper, scores, stop, show, callback):
    """Updates up to ``last`` with what comes after each: a row in the log, a score, a checkpoint. Gives the rows."""
    optimizer, group, log = new_optimizer(model, config), engine.group, keeper.log
    keeper.begin(model, optimizer, engine.scaler)
    began = time.perf_counter() - keeper.seconds
    # with nothing to write there is nothing to wait for
    stop.can_wait, stop.patient = bool(keeper.out) or group.size > 1, group.size > 1
    for row in updates(model, engine, optimizer, split, config, range(keeper.done, last)):
        step, seconds = row["step"], time.perf_counter() - began
        row["seconds"] = round(seconds, 3)
        if group.speaks and scores.due(step):
            row |= scores.keep_best(model, step)
            began = time.perf_counter() - seconds  # the seconds of training, without those of scores
        log.append(**row)
        show(log.rows)
        asked = group.largest(stop.asked)
        due = asked or step % config.checkpoint_every == 0 or step == last
        if due:
            keeper.save(step, seconds)
        enough = callback and not asked and group.share(group.speaks and callback(row) is False)
        if enough and not due:
            keeper.save(step, seconds)
        if asked or enough:
            break
    if asked := group.largest(stop.asked):  # after rank 0 has written; also if it came in the last of all updates
        resumed = "with a checkpoint; go on with --resume (resume=True)"
        kept = resumed if keeper.out else "and nothing is kept without out"
        raise Stopped(asked, f"stopped after update {log.rows[-1]['step']} of {config.steps}, {kept}")
    stop.can_wait = False
    return log.rows


def new_optimizer(model, config):
    """AdamW with the paper's betas and eps."""
    fused, paper = next(model.parameters()).device.type in ("cpu", "cuda"), dict(betas=(0.9, 0.999), eps=1e-6)
    rates = dict(lr=config.learning_rate, weight_decay=config.weight_decay)
    return torch.optim.AdamW(model.parameters(), **rates, **paper, fused=fused)


def finish(model, rows, scores, out, facts, group, say):
    """Score a run that has reached its end, and leave the model and the score in ``out``. Gives the score."""
    score = None
    if scores.split is not None and group.speaks:
        score, unit = scores.take(model, rows[-1]["step"] if rows else None), scores.split.vocabulary.unit
        say(f"validation: {in_words(score, unit)} over {score.n_tokens:,} {unit}s")
        if scores.best:
            say(f"the best was {scores.best['score']:.4f}, after update {scores.best['step']}")
    if out:
        save_results(out, partial(save_model, model), rows, scores.values(score), facts)
        say(f"model and log are in {out}")
    return score


def change_steps(found, facts, config, out, say):
    """Go on with another number of updates; says what that makes of the rate. The checkpoint holds it from now on."""
    path, saved = found[:2]
    before = replace(config, steps=saved["train_config"]["steps"])
    was, now = (learning_rate_at(saved["step"], each) for each in (before, config))
    jump = f"the rate of the next one is {now:.3g} instead of {was:.3g}, and ends in a line at 0"
    say(f"{before.steps} updates become {config.steps}: {jump}")
    saved["train_config"] = facts["train_config"]
    if out:
        write_json(path / "training.json", saved)
