"""Training: one update, the loop around it, and the score that it is judged by.

    from flash_tutorial import ModelConfig
    from flash_tutorial.training import TrainConfig, train
    run = train(ModelConfig(), TrainConfig(steps=300), out="runs/first")
    run.evaluation.bits_per_byte

Letters: B batch, T length, N vocabulary.
"""

import math
import os
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_model as load_module
from torch import nn

from .checkpoints import Log, columns, describe_run, load_optimizer, open_folder, save_checkpoint, save_results
from .config import ARCHITECTURES, ModelConfig, TrainConfig
from .corpora import Corpus
from .data import IGNORE, hide_spans, load_corpus, random_windows
from .devices import Engine, Group, keep_freed_memory, to_device, training_group
from .model import LanguageModel, count_parameters, find_vocabulary
from .score import Evaluation, check_vocabulary, evaluate, first_bytes, in_words, is_causal
from .vocabulary import Vocabulary


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

    def __init__(self, message, step):
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
    """What ``train`` gives back: the model, a row of numbers for each update, and the score."""

    model: nn.Module
    log: list[dict]
    evaluation: Evaluation | None


def train(
    model_or_config=None, train_config=None, *, corpus=None, out=None, resume=False, stop_at=None, device="auto",
    progress=True, callback=None,
) -> Run:  # fmt: skip
    """Train a model; a causal one learns the next byte (or token), any other those of hidden spans.

    Args:
        model_or_config: a ``ModelConfig``, or a model, which is trained as it stands: a ``LanguageModel``, or an
            ``nn.Module`` of your own with ``model.loss(ids, targets, mask=mask)``, the mean over the targets other
            than -100 in nats, and ``model(ids, mask=mask) -> logits (B, T, N)`` for the score. ``mask`` is None or
            ``(B, T)`` bool; ``model.causal`` (or ``model.config.causal``) is True where there is none.
        corpus: a ``Corpus`` (as ``load_corpus`` and ``load_tokens`` give), or the name or path of one, in place of the
            one that ``train_config.corpus`` names.
        out: a folder for checkpoints, ``log.csv``, and at the end the model, ``result.json`` and ``training.png``.
        resume: go on from the newest whole checkpoint in ``out``; on a CPU the weights end up the same, bit by bit, as
            if the run had never stopped (same versions and number of threads). Without a checkpoint it starts.
        stop_at: the update after which the run is cut short; its rates stay those of ``steps`` updates, so that it is
            the first part of the whole run. It is not scored, and leaves in ``out`` a checkpoint to go on from.
        progress: False prints nothing.
        callback: called with the log's row of each update, a dictionary, once the update and its checkpoint are done;
            in a row with a score it stands under ``validation_bits_per_byte`` (or ``_token``). If it gives False, the
            run is cut short there, as by ``stop_at``. What it raises ends the run; the checkpoints stay.

    With ``train_config.eval_every`` the model is scored on the way, and the one of the best score is kept in
    ``out/best``. Under ``torchrun`` each process computes its own rows of every batch, and the weights end up as those
    of one process up to rounding; the first writes, prints, scores and calls back. A run may go on with another number
    of processes.

    Raises ValueError, after which the last checkpoint is intact: the loss is not finite (``Diverged``), the disk is
    full, ``out`` holds another run, the checkpoints are damaged.
    """
    given, config = default(model_or_config, ModelConfig), default(train_config, TrainConfig)
    check_arguments(given, config, out, callback)
    with training_group(device) as (group, device):
        say = print if progress and group.speaks else lambda *_: None
        keep_freed_memory()
        check_shares(config, group)
        given, corpus = agree(given, find_corpus(corpus, config), config.start_from)
        torch.manual_seed(config.seed)
        model = given if isinstance(given, nn.Module) else LanguageModel(given)
        check_vocabulary(model, corpus.vocabulary)
        say(f"{count_parameters(model):,} parameters: {describe_model(model)}")
        facts = describe_run(model, config, corpus, device, group)
        say(facts["machine"])
        out, found = open_folder(out, resume, facts, say) if group.speaks else (None, None)  # the others write nothing
        found = group.share(found)
        last = last_update(stop_at, config, found)
        if found and model is given:
            load_weights(model, found[0])
        elif found or config.start_from:
            model = load_model(found[0] if found else config.start_from, given)
        share_tokenizer(model, corpus)
        engine = Engine(model.to(device).train(), config.dtype, group, config.compile)
        scores = Scores(corpus.validation, config, out)
        rows = run_updates(engine, model, corpus, config, found, last, out, facts, scores, callback, progress)
        model.eval()
        if rows[-1]["step"] < config.steps:
            done = f"stopped after update {rows[-1]['step']} of {config.steps}"
            say(done + (f"; go on with resume from {out}" if out else ""))
            return Run(model, rows, None)
        return Run(model, rows, finish(model, rows, scores, out, facts, group, say))


def run_updates(engine, model, corpus, config, found, last, out, facts, scores, callback, progress):
    """The loop: updates up to ``last``, each with its row in the log, scores, and checkpoints. Gives the rows."""
    optimizer, group = new_optimizer(model, config), engine.group

    def save(step, seconds):
        more = {"seconds": seconds, "scaler": engine.scaler.state_dict()}
        save_checkpoint(out, step, model, optimizer, facts | more)

    path, saved = found or (None, {"step": 0, "seconds": 0.0})
    first = saved["step"]
    if found:
        load_optimizer(path, model, optimizer)
        if engine.scaler.is_enabled() and saved["scaler"]:
            engine.scaler.load_state_dict(saved["scaler"])
    elif out:
        save(0, 0.0)
    unit, causal = corpus.vocabulary.unit, is_causal(model)
    log = Log(out and out / "log.csv", first, columns(unit, config.eval_every))
    began = time.perf_counter() - saved["seconds"]
    with progress_of(config, first, unit, progress and group.speaks) as show:
        for step in range(first, last):
            # for a unit of your own that draws, such as dropout: other numbers in each step and rank
            torch.manual_seed(config.seed + step + 1 + 1_000_003 * group.rank)
            batch = parts(corpus.train, config, step, causal, engine.device, group)
            loss, norm = train_step(model, optimizer, batch, step, config, engine)
            seconds = time.perf_counter() - began
            row = {
                "step": step + 1, "loss": loss, f"bits_per_{unit}": loss / math.log(2), "gradient_norm": norm,
                "learning_rate": learning_rate_at(step, config), "tokens": (step + 1) * config.batch * config.length,
                "seconds": round(seconds, 3),
            }  # fmt: skip
            if scores.due(step + 1) and group.speaks:
                row[f"validation_bits_per_{unit}"] = scores.take(model, step + 1).bits_per_token
                began = time.perf_counter() - seconds  # training's seconds, without those of scores
            log.append(**row)
            show(log.rows)
            due = (step + 1) % config.checkpoint_every == 0 or step + 1 == last
            if out and due:
                save(step + 1, seconds)
            if callback is not None and group.share(group.speaks and callback(dict(row)) is False):
                if out and not due:
                    save(step + 1, seconds)
                break
    return log.rows


def new_optimizer(model, config):
    """AdamW with the paper's betas and eps."""
    fused, paper = next(model.parameters()).device.type in ("cpu", "cuda"), dict(betas=(0.9, 0.999), eps=1e-6)
    rates = dict(lr=config.learning_rate, weight_decay=config.weight_decay)
    return torch.optim.AdamW(model.parameters(), **rates, **paper, fused=fused)


def finish(model, rows, scores, out, facts, group, say):
    """Score a run that has reached its end, and leave the model and the score in ``out``. Gives the score."""
    score = None
    if scores.config.eval_bytes != 0 and group.speaks:
        score = scores.take(model, rows[-1]["step"])
        unit = scores.split.vocabulary.unit
        say(f"validation: {in_words(score, unit)} over {score.n_tokens:,} {unit}s")
    if out:
        save_results(out, model, rows, score, facts)
        say(f"model and log are in {out}")
    return score


class Scores:
    """The scores of a run on its validation text, and the best model so far, which ``best/`` keeps."""

    def __init__(self, split, config, out):
        self.config, self.out, self.last = config, out, (0, None)
        self.split = split if config.eval_bytes == 0 else first_bytes(split, config.eval_bytes)

    def due(self, step):
        """Whether the model is scored after an update on the way."""
        every = self.config.eval_every
        return bool(every) and (step % every == 0 or step == self.config.steps)

    def take(self, model, step):
        """The score of the model as it stands after an update."""
        if self.last[0] != step:
            self.last = step, evaluate(model, self.split, self.config.length, self.config.batch)
        return self.last[1]


# ---------------------------------------------------------------- the model and the text, one made for the other
def find_corpus(corpus, config):
    """The corpus that was handed in, or the one of a name."""
    if isinstance(corpus, Corpus):
        return corpus
    if not isinstance(corpus, str | Path | None):
        made = "of an array of ids load_tokens(array, vocab_size) makes one"
        raise ValueError(f"corpus is a {type(corpus).__name__}: expected a Corpus, or the name or path of one; {made}")
    return load_corpus(config.corpus if corpus is None else corpus)


def agree(given, corpus, start_from):
    """A configuration (or model) whose ids are those of the corpus, and the corpus: text is encoded for a model that
    reads tokens."""
    config = getattr(given, "config", given)
    if not isinstance(config, ModelConfig) or config.tokens == corpus.vocabulary.tokens:
        return given, corpus
    if corpus.vocabulary.tokens is None:
        from_folder = start_from and find_vocabulary(start_from, config)
        return given, corpus.encoded(getattr(given, "vocabulary", None) or from_folder or Vocabulary(config.tokens))
    if config.tokens is None:
        corpus.vocabulary.check(config.vocab_size, config.causal)
        config = replace(config, tokens=corpus.vocabulary.tokens)
        if given is not config and isinstance(given, nn.Module):
            given.config = config
            return given, corpus
    return config, corpus


def share_tokenizer(model, corpus):
    """The model keeps the tokenizer of its text, and refuses that of another."""
    if isinstance(model, LanguageModel):
        ours, theirs = model.vocabulary.tokenizer, corpus.vocabulary.tokenizer
        if ours and theirs and ours != theirs:
            raise ValueError("the corpus has another tokenizer than the model: encode the text with the model's own")
        model.vocabulary = corpus.vocabulary if theirs or not ours else model.vocabulary


def describe_model(model):
    """A model in a few words."""
    if not isinstance(model, LanguageModel):
        return f"{type(model).__name__}, a model of your own"
    kind = getattr(model.config.architecture, "__name__", model.config.architecture)
    return f"{kind}, D = {model.config.dim}, {model.config.depth} units"


def load_model(start, config):
    """A trained model to go on with, with a class of the user's where the configuration has one."""
    custom = None if isinstance(config.architecture, str) else config.architecture
    model = LanguageModel.from_pretrained(start, architecture=custom)
    there, asked = model.config.to_dict(), config.to_dict()
    bound = model.config.bound_by_length()
    for name in [*asked, *there]:
        if there.get(name) != asked.get(name) and (name != "max_length" or bound):
            why = f", since {bound}" if name == "max_length" else ""
            but = f"but {name}={asked.get(name)!r} is asked for: give the same value{why}"
            raise ValueError(f"{start} has {name}={there.get(name)!r}, {but}")
    longer = LanguageModel(config) if there["max_length"] != asked["max_length"] else model
    if longer is not model:  # nothing of such a model depends on it
        longer.load_state_dict(model.state_dict())
        longer.vocabulary = model.vocabulary
    return longer


def load_weights(model, folder):
    """Put the weights of a checkpoint into a model that was handed in."""
    try:
        load_module(model, str(folder / "model.safetensors"), device=str(next(model.parameters()).device))
    except RuntimeError as error:
        raise ValueError(f"{folder} does not hold this model ({' '.join(str(error).split())[:200]})") from None


# ---------------------------------------------------------------- what is refused, and what is shown
def default(value, kind):
    """The value, or without one the default of its kind."""
    return kind() if value is None else value


def check_arguments(given, config, out, callback):
    """Refuse what is of another kind than ``train`` asks for."""
    kind = given.__name__ if isinstance(given, type) else type(given).__name__
    if isinstance(given, type):
        raise ValueError(f"the model is the class {kind}: give an object of it, or ModelConfig({kind}) if it is a unit")
    if not isinstance(given, ModelConfig | nn.Module):
        example = f"ModelConfig({given!r})" if given in ARCHITECTURES else "ModelConfig('flash')"
        raise ValueError(f"the model is {given!r:.60}: expected a ModelConfig, such as {example}, or a model")
    if not isinstance(config, TrainConfig):
        raise ValueError(f"the settings are {config!r:.60}: expected a TrainConfig, such as TrainConfig(steps=300)")
    if out is not None and not isinstance(out, str | os.PathLike):
        raise ValueError(f"out={out!r:.60}: expected the path of a folder, or None")
    if callback is not None and not callable(callback):
        raise ValueError(f"callback={callback!r:.60}: expected a function of a row, or None")
    if isinstance(given, nn.Module):
        if not callable(getattr(given, "loss", None)):
            asked = "loss(ids, targets, mask=None), and a call that gives logits (B, T, N)"
            raise ValueError(f"{kind} has no loss: expected a LanguageModel, or a model with {asked}")
        if next(given.parameters(), None) is None:
            raise ValueError(f"{kind} has no parameters: there is nothing to train")
        if config.start_from:
            raise ValueError(f"start_from={config.start_from!r} beside a model, which starts as it is: give one of them")


def check_shares(config, group):
    """Each rank has the same number of rows in each part of a batch."""
    parts = config.accumulate * group.size
    if config.batch % parts:
        where = f"on {group.size} processes in accumulate={config.accumulate} parts"
        raise ValueError(f"batch={config.batch} {where}: expected a multiple of {parts}")


def last_update(stop_at, config, found):
    """The number of updates after which the loop ends."""
    if stop_at is None:
        return config.steps
    done = found[1]["step"] if found else 0
    if not isinstance(stop_at, int) or isinstance(stop_at, bool) or not max(1, done) <= stop_at <= config.steps:
        why = f", since {done} updates are done already" if done else ""
        raise ValueError(f"stop_at={stop_at!r}: expected an integer from {max(1, done)} to {config.steps}{why}")
    return stop_at


@contextmanager
def progress_of(config, first, unit, on):
    """A function that shows the log's last row: in a bar on a terminal, in a line now and then elsewhere."""
    from tqdm import tqdm  # nothing else needs it

    began, tokens = time.perf_counter(), config.batch * config.length
    with tqdm(
        total=config.steps, initial=first, unit="step", disable=None if on else True, dynamic_ncols=True,
        bar_format="{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}, {remaining} left]{postfix}",
    ) as bar:  # fmt: skip

        def show(rows):
            step, recent = rows[-1]["step"], [row["loss"] for row in rows[-20:]]
            loss = sum(recent) / len(recent)
            speed = (step - first) * tokens / (time.perf_counter() - began)
            text = f"loss {loss:.3f}, {loss / math.log(2):.3f} bits/{unit}, {speed:,.0f} tokens/s"
            bar.set_postfix_str(text, refresh=False)
            bar.update()
            now_and_then = step % max(1, config.steps // 20) == 0 or step in (first + 1, config.steps)
            if on and bar.disable and now_and_then:
                left = (config.steps - step) * tokens / speed
                print(f"step {step}/{config.steps}: {text}, {left:.0f} s left", flush=True)

        yield show
