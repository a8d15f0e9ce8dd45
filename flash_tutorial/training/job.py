"""A run from its text and model to its score: what ``train`` does, step by step."""

import math
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..corpora import first_bytes
from ..files import write_json
from ..model import LanguageModel, count_parameters, save_model
from . import start
from .batches import parts
from .best import Scores
from .devices import Engine, measured_gain
from .keeper import Keeper
from .progress import progress_of
from .run_folder import read_log, save_results
from .score import Evaluation, check_vocabulary, evaluate, in_words, is_causal
from .stopping import Stopped
from .update import learning_rate_at, new_optimizer, train_step


@dataclass
class Run:
    """What ``train`` gives back: the model, a row of numbers for each update, the score at the end, and the best score
    on the way: ``{"step": ..., "score": ...}`` of the model in ``best/``, None without ``eval_every``.

    >>> from flash_tutorial import ModelConfig, load_tokens
    >>> from flash_tutorial.training import TrainConfig, train
    >>> corpus = load_tokens([0, 1, 2, 3, 4] * 80, 5)
    >>> config = ModelConfig(vocab_size=6, dim=16, depth=1)
    >>> done = train(config, TrainConfig(steps=2, batch=2, length=16), corpus=corpus, progress=False)
    >>> [row["step"] for row in done.log], done.evaluation.n_tokens
    ([1, 2], 20)
    """

    model: nn.Module
    log: list[dict[str, Any]]
    evaluation: Evaluation | None
    best: dict[str, Any] | None = None

    def __repr__(self):
        name = type(self.model).__name__
        return f"Run({name}, {len(self.log)} updates, {self.evaluation}, best={self.best})"


def prepare(given, config, corpus, session):
    """A model and a text that agree, and the facts that decide the weights and the score."""
    session.group.check_shares(config.batch, config.accumulate)
    given, corpus = start.agree(given, start.find_corpus(corpus, config), config.start_from)
    torch.manual_seed(config.seed)
    model = given if isinstance(given, nn.Module) else LanguageModel(given)
    check_vocabulary(model, corpus.vocabulary)
    session.say(f"{count_parameters(model):,} parameters: {start.describe_model(model)}")
    start.say_if_short(corpus, config, session.say)
    facts = start.describe_run(model, config, corpus, session.device, session.group)
    session.say(facts["machine"])
    if gain := measured_gain(session.device, config.dtype, count_parameters(model)):
        session.say(gain)
    return Job(given, model, config, corpus, session, facts)


class Job:
    """A model, its text and its settings, in a session; ``facts`` are what is stored of them."""

    def __init__(self, given, model, config, corpus, session, facts):
        self.given = given
        self.model = model
        self.config = config
        self.corpus = corpus
        self.session = session
        self.facts = facts

    def take_up(self, found, out):
        """Take the weights to begin with: those of the checkpoint that was found, of ``start_from``, or the drawn ones.

        From now on the run belongs to its folder; the ranks behind the first write nothing.
        """
        self.found = found
        self.out = None
        if out is not None and self.session.group.speaks:
            self.out = Path(out)
        if found and not found.finished:
            self.keep_steps_and_format()
        beginning = found.path if found else self.config.start_from
        if beginning:
            self.model = start.restored(self.given, beginning)
        start.share_tokenizer(self.model, self.corpus)
        self.model.trained_length = self.config.length
        split = None
        if self.config.eval_bytes != 0:
            split = first_bytes(self.corpus.validation, self.config.eval_bytes)
        self.scores = Scores(split, self.config, self.out, found, evaluate, save_model)

    def keep_steps_and_format(self):
        """Say what another number of updates means; keep the number format, since another one would change the bits."""
        if self.found.values["train_config"]["steps"] != self.config.steps:
            change_steps(self.found, self.facts, self.config, self.out, self.session.say)
        if self.config.dtype == "auto" and self.session.device.type == "cpu":
            before = self.found.values.get("number_format")
            self.facts["number_format"] = "bfloat16" if before == "bfloat16" else "float32"

    def as_it_ended(self):
        """A finished run. Nothing is written, and the score is taken anew, as a folder does not hold all of it."""
        rows = read_log(self.found.path / "log.csv")
        self.model.to(self.session.device).eval()
        return Run(self.model, rows, self.score(rows), self.scores.best)

    def run(self, until, callback):
        """Make the updates up to ``until``; where they are all made, score the model and leave the result."""
        engine = self.engine()
        unit = self.corpus.vocabulary.unit
        keeper = Keeper(self.out, self.found, self.facts, save_model, unit, self.scores.on_the_way)
        with progress_of(self.config, keeper.done, unit, self.session.shows) as show:
            rows = self.make_updates(engine, keeper, until, show, callback)
        self.model.eval()
        done = rows[-1]["step"]
        if done < self.config.steps:
            go_on = f"; go on with resume from {self.out}" if self.out else ""
            self.session.say(f"stopped after update {done} of {self.config.steps}{go_on}")
            return Run(self.model, rows, None, self.scores.best)
        score = self.score(rows)
        if self.out:
            save_results(
                self.out,
                partial(save_model, self.model),
                rows,
                self.scores.values(score),
                self.facts,
            )
            self.session.say(f"model and log are in {self.out}")
        return Run(self.model, rows, score, self.scores.best)

    def engine(self):
        """What computes losses and gradients, in the run's number format."""
        self.model.to(self.session.device).train()
        return Engine(
            self.model, self.facts["number_format"], self.session.group, self.config.compile
        )

    def make_updates(self, engine, keeper, until, show, callback):
        """Updates with what comes after each: a row in the log, a score, a checkpoint. Gives the rows."""
        stop, group = self.session.stop, self.session.group
        optimizer = new_optimizer(self.model, self.config)
        keeper.begin(self.model, optimizer, engine.scaler)
        began = time.perf_counter() - keeper.seconds
        # with nothing to write there is nothing to wait for
        stop.can_wait = bool(keeper.out) or group.size > 1
        stop.patient = group.size > 1
        steps = range(keeper.done, until)
        for row in updates(self.model, engine, optimizer, self.corpus.train, self.config, steps):
            step = row["step"]
            seconds = time.perf_counter() - began
            row["seconds"] = round(seconds, 3)
            if group.speaks and self.scores.due(step):
                row |= self.scores.keep_best(self.model, step)
                # the seconds of training, without those of scores
                began = time.perf_counter() - seconds
            keeper.log.append(**row)
            show(keeper.log.rows)
            asked = group.largest(stop.asked)
            due = asked or step % self.config.checkpoint_every == 0 or step == until
            if due:
                keeper.save(step, seconds)
            enough = callback and not asked and group.share(group.speaks and callback(row) is False)
            if enough and not due:
                keeper.save(step, seconds)
            if asked or enough:
                break
        self.end_if_asked(keeper)
        stop.can_wait = False
        return keeper.log.rows

    def end_if_asked(self, keeper):
        """End the run on a signal, after rank 0 has written; also if it came in the last of all updates."""
        if asked := self.session.group.largest(self.session.stop.asked):
            resumed = "with a checkpoint; go on with --resume (resume=True)"
            kept = resumed if keeper.out else "and nothing is kept without out"
            done = keeper.log.rows[-1]["step"]
            raise Stopped(asked, f"stopped after update {done} of {self.config.steps}, {kept}")

    def score(self, rows):
        """The score after the last update; None without a text for it, and in the ranks behind the first."""
        if self.scores.split is None or not self.session.group.speaks:
            return None
        done = rows[-1]["step"] if rows else None
        score = self.scores.take(self.model, done)
        unit = self.scores.split.vocabulary.unit
        self.session.say(f"validation: {in_words(score, unit)} over {score.n_tokens:,} {unit}s")
        if self.scores.best:
            self.session.say(
                f"the best was {self.scores.best['score']:.4f}, after update {self.scores.best['step']}"
            )
        return score


def updates(model, engine, optimizer, split, config, steps):
    """Make one update after the other; each gives its row of the log, but for the seconds."""
    unit = split.vocabulary.unit
    causal = is_causal(model)
    rank = engine.group.rank
    for step in steps:
        # for a unit of your own that draws, such as dropout: other numbers in each step and rank
        torch.manual_seed(config.seed + step + 1 + 1_000_003 * rank)
        batch = parts(split, config, step, causal, engine.device, engine.group)
        loss, norm = train_step(model, optimizer, batch, step, config, engine)
        yield {
            "step": step + 1,
            "loss": loss,
            f"bits_per_{unit}": loss / math.log(2),
            "gradient_norm": norm,
            "learning_rate": learning_rate_at(step, config),
            "tokens": (step + 1) * config.batch * config.length,
        }


def change_steps(found, facts, config, out, say):
    """Go on with another number of updates; says what that makes of the rate. The checkpoint holds it from now on."""
    saved = found.values
    before = replace(config, steps=saved["train_config"]["steps"])
    was = learning_rate_at(saved["step"], before)
    now = learning_rate_at(saved["step"], config)
    jump = f"the rate of the next one is {now:.3g} instead of {was:.3g}, and ends in a line at 0"
    say(f"{before.steps} updates become {config.steps}: {jump}")
    saved["train_config"] = facts["train_config"]
    if out:
        write_json(found.path / "training.json", saved)
