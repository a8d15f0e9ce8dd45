"""Training: one update, the loop around it, and the score that it is judged by.

    from flash_tutorial import ModelConfig
    from flash_tutorial.training import TrainConfig, train
    run = train(ModelConfig(), TrainConfig(steps=300), out="runs/first")
    run.evaluation.bits_per_byte

Letters: B batch, T length, N vocabulary.
"""

import math
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from .checkpoints import load_optimizer, save_checkpoint
from .config import ModelConfig, TrainConfig, check_counts
from .data import IGNORE, MASK_ID, START_ID, Split, evaluation_windows, load_corpus, mask_spans, random_windows
from .devices import Engine, Group, keep_freed_memory, training_group
from .files import write_json
from .model import LanguageModel, count_parameters
from .run_folder import Log, describe_run, read_log, run_folder, save_results
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
        raise ValueError(f"training stopped at {where}: {found}; {advice}; the last checkpoint is untouched")


# ---------------------------------------------------------------- batches
def draw_batch(split, config, step, causal):
    """ids, targets ``(B, T)`` of update ``step``. They depend on the seed and the step alone, so that a run that was
    stopped goes on with the same batches and nothing of their order need be saved."""
    rng = np.random.default_rng((config.seed, step))
    ids, targets = random_windows(split, config.batch, config.length, rng)
    return (ids, targets) if causal else hide_spans(targets, rng)


def hide_spans(text, rng):
    """Inputs and targets of the masked objective, from windows ``(B, T)`` of bytes with -100 behind a short text."""
    return mask_spans(np.where(text == IGNORE, START_ID, text), rng)


def parts(split, config, step, causal, device, group=Group()):  # noqa: B008 (it never changes)
    """A rank's rows of a batch, in ``accumulate`` parts: ids, targets, mask, and the part's share of all the targets.

    Every rank draws the whole batch and takes its own rows, so that the batch does not depend on how many they are.
    """
    ids, targets = draw_batch(split, config, step, causal)
    valid = targets != IGNORE if causal else ids != START_ID
    chosen = targets != IGNORE
    size = config.batch // (config.accumulate * group.size)
    for first in range(group.rank * size, config.batch, group.size * size):
        rows = slice(first, first + size)
        yield *to_device(ids[rows], targets[rows], valid[rows], device), float(chosen[rows].sum() / chosen.sum())


def to_device(ids, targets, valid, device):
    """Tensors for the model; the mask is None where nothing is masked, which is the fast way."""
    ids, targets = torch.from_numpy(ids).to(device), torch.from_numpy(targets).to(device)
    return ids, targets, None if valid.all() else torch.from_numpy(valid).to(device)


# ---------------------------------------------------------------- the loop
@dataclass
class Run:
    """What ``train`` gives back: the model, a row of numbers for each update, and the score."""

    model: LanguageModel
    log: list[dict]
    evaluation: "Evaluation | None"


def train(
    model_config=None, train_config=None, *, corpus=None, out=None, resume=False, stop_at=None, device="auto",
    progress=True,
) -> Run:  # fmt: skip
    """Train a model; a causal one learns the next byte, any other the bytes of hidden spans.

    Args:
        corpus: a ``Corpus`` that is already loaded, in place of the one that ``train_config.corpus`` names.
        out: a folder for checkpoints, ``log.csv``, and at the end the model, ``result.json`` and ``training.png``.
        resume: go on from the newest whole checkpoint in ``out``; on a CPU the weights end up the same, bit by bit, as
            if the run had never stopped (same versions and number of threads). Without a checkpoint it starts.
        stop_at: the update after which the run is cut short; its rates stay those of ``steps`` updates, so that it is
            the first part of the whole run. It is not scored, and leaves in ``out`` a checkpoint to go on from.
        progress: False prints nothing.

    Under ``torchrun`` each process computes its own rows of every batch, and the weights end up as those of one process
    up to rounding; the first writes, prints and scores. A run may go on with another number of processes.

    A run with ``out`` that gets Ctrl-C (KeyboardInterrupt), SIGTERM or SIGHUP (SystemExit with 128 and the signal's
    number) ends the update at hand and writes a checkpoint first; a second signal stops it at once. On resume ``steps``
    may be another number: from there on, the rates are those of a run with so many.

    Raises ValueError, after which the last checkpoint is intact: the loss is not finite, the disk is full, ``out``
    holds another run or belongs to another process, the checkpoints are damaged.
    """
    model_config, config = model_config or ModelConfig(), train_config or TrainConfig()
    with ExitStack() as stack:
        group, device = stack.enter_context(training_group(device))
        say = print if progress and group.speaks else lambda *_: None
        stop = stack.enter_context(stoppable(say))
        keep_freed_memory()
        check_vocabulary(model_config)
        check_shares(config, group)
        torch.manual_seed(config.seed)
        model = LanguageModel(model_config)
        kind = getattr(model_config.architecture, "__name__", model_config.architecture)
        say(f"{count_parameters(model):,} parameters: {kind}, D = {model_config.dim}, {model_config.depth} units")
        corpus = corpus or load_corpus(config.corpus)
        facts = describe_run(model_config, config, corpus, device, group)
        say(facts["machine"])
        found = stack.enter_context(run_folder(out, resume, facts, group, say))
        out = Path(out) if out is not None and group.speaks else None  # the others write nothing
        last = last_update(stop_at, config, found)
        if found and found.finished:
            return finished_run(found.path, model_config, corpus.validation, config, device, group, say)
        if found and found.values["train_config"]["steps"] != config.steps:
            change_steps(found, facts, config, out, say)
        if found or config.start_from:
            model = load_model(found[0] if found else config.start_from, model_config)
        engine = Engine(model.to(device).train(), config.dtype, group, config.compile)
        shown = progress and group.speaks
        rows = run_updates(model, engine, corpus.train, config, found, last, out, facts, shown, stop)
        model.eval()
        if last < config.steps:
            say(f"stopped after update {last} of {config.steps}" + (f"; go on with resume from {out}" if out else ""))
            return Run(model, rows, None)
        return Run(model, rows, finish(model, rows, corpus.validation, config, out, facts, group, say))


def run_updates(model, engine, split, config, found, last, out, facts, progress, stop):
    """The loop: updates up to ``last``, each with its row in the log, and checkpoints. Gives the rows."""
    optimizer, group = new_optimizer(model, config), engine.group

    def save(step, seconds):
        more = {"seconds": seconds, "scaler": engine.scaler.state_dict()}
        save_checkpoint(out, step, model, optimizer, log.text(), facts | more)

    path, saved = found[:2] if found else (None, {"step": 0, "seconds": 0.0})
    first, log = saved["step"], Log(read_log(path / "log.csv") if found else ())
    if found:
        load_optimizer(path, model, optimizer)
        if engine.scaler.is_enabled() and saved["scaler"]:
            engine.scaler.load_state_dict(saved["scaler"])
    elif out:
        save(0, 0.0)
    if out:
        log.write_to(out / "log.csv")
    began = time.perf_counter()
    # with nothing to write there is nothing to wait for
    stop.can_wait, stop.patient = bool(out) or group.size > 1, group.size > 1
    with progress_of(config, first, progress) as show:
        for step in range(first, last):
            # for a unit of your own that draws, such as dropout: other numbers in each step and rank
            torch.manual_seed(config.seed + step + 1 + 1_000_003 * group.rank)
            batch = parts(split, config, step, model.config.causal, engine.device, group)
            loss, norm = train_step(model, optimizer, batch, step, config, engine)
            seconds = saved["seconds"] + time.perf_counter() - began
            log.append(
                step=step + 1, loss=loss, bits_per_byte=loss / math.log(2), gradient_norm=norm,
                learning_rate=learning_rate_at(step, config), tokens=(step + 1) * config.batch * config.length,
                seconds=round(seconds, 3),
            )  # fmt: skip
            show(log.rows)
            asked = group.largest(stop.asked)
            if out and (asked or (step + 1) % config.checkpoint_every == 0 or step + 1 == last):
                save(step + 1, seconds)
            if asked:
                break
    if asked := group.largest(stop.asked):  # after rank 0 has written; also if it came in the last of all updates
        kept = "with a checkpoint; go on with --resume (resume=True)" if out else "and nothing is kept without out"
        raise Stopped(asked, f"stopped after update {log.rows[-1]['step']} of {config.steps}, {kept}")
    stop.can_wait = False
    return log.rows


def new_optimizer(model, config):
    """AdamW with the paper's betas and eps."""
    fused, paper = next(model.parameters()).device.type in ("cpu", "cuda"), dict(betas=(0.9, 0.999), eps=1e-6)
    rates = dict(lr=config.learning_rate, weight_decay=config.weight_decay)
    return torch.optim.AdamW(model.parameters(), **rates, **paper, fused=fused)


def finish(model, rows, split, config, out, facts, group, say):
    """Score a run that has reached its end, and leave the model and the score in ``out``. Gives the score."""
    score = None
    if config.eval_bytes != 0 and group.speaks:
        score = evaluate(model, first_bytes(split, config.eval_bytes), config.length, config.batch)
        say(f"validation: {score.bits_per_byte:.4f} bits per byte over {score.n_bytes:,} bytes")
    if out:
        save_results(out, model, rows, score, facts)
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


def finished_run(folder, model_config, split, config, device, group, say):
    """A run that is finished already: what it left, with its score taken anew, since a folder does not hold all of it.

    Nothing is written."""
    model = load_model(folder, model_config).to(device)
    rows = read_log(folder / "log.csv") if (folder / "log.csv").exists() else []
    return Run(model, rows, finish(model, rows, split, config, None, None, group, say))


def load_model(start, config):
    """A trained model to go on with, with a class of the user's where the configuration has one."""
    custom = None if isinstance(config.architecture, str) else config.architecture
    model = LanguageModel.from_pretrained(start, architecture=custom)
    there, asked = model.config.to_dict(), config.to_dict()
    for name in [*asked, *there]:
        if there.get(name) != asked.get(name):
            but = f"but {name}={asked.get(name)!r} is asked for: give the same value"
            raise ValueError(f"{start} has {name}={there.get(name)!r}, {but}")
    return model


# ---------------------------------------------------------------- what is refused, and what is shown
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


def check_vocabulary(config):
    """Bytes need 256 ids, and one more to hide them."""
    least = 256 if config.causal else MASK_ID + 1
    if config.vocab_size < least:
        what = "bytes" if config.causal else "bytes and the mask of the masked objective"
        raise ValueError(f"vocab_size={config.vocab_size}: expected at least {least}, for {what}")


@contextmanager
def progress_of(config, first, on):
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
            text = f"loss {loss:.3f}, {loss / math.log(2):.3f} bits/byte, {speed:,.0f} tokens/s"
            bar.set_postfix_str(text, refresh=False)
            bar.update()
            now_and_then = step % max(1, config.steps // 20) == 0 or step in (first + 1, config.steps)
            if on and bar.disable and now_and_then:
                left = (config.steps - step) * tokens / speed
                print(f"step {step}/{config.steps}: {text}, {left:.0f} s left", flush=True)

        yield show


# ---------------------------------------------------------------- the score
@dataclass
class Evaluation:
    """``bits_per_byte`` over ``n_bytes`` targets, and ``by_position (T,)``: its mean at each place of the window."""

    bits_per_byte: float
    by_position: np.ndarray
    n_bytes: int


def first_bytes(split, n):
    """The first ``n`` bytes of a split, all for None: whole documents in their order, the last one cut."""
    if n is None or n >= len(split.tokens):
        return split
    if n < 1:
        raise ValueError(f"n={n}: expected at least 1 byte, or None for all")
    offsets = np.append(split.offsets[split.offsets < n], n)
    return Split(split.tokens[:n], offsets, split.titles[: len(offsets) - 1])


@torch.no_grad()
def evaluate(model, split, length, batch=8) -> Evaluation:
    """Bits per byte of a split in windows of T that do not overlap, in float32.

    A causal model predicts every byte once, with nothing known before a window's first byte but the one byte before
    it. Any other model predicts the hidden 15% of the bytes; the same ones at each call.
    """
    check_vocabulary(model.config)
    check_counts(batch=batch)
    ids, targets, valid = evaluation_windows(split, length)
    if not model.config.causal:
        ids, targets = hide_spans(targets, np.random.default_rng(0))
    device, was_training = next(model.parameters()).device, model.training
    model.eval()
    nats, counts = np.zeros(length), np.zeros(length, np.int64)
    for first in range(0, len(ids), batch):
        rows = slice(first, first + batch)
        x, y, mask = to_device(ids[rows], targets[rows], valid[rows], device)
        losses = F.cross_entropy(model(x, mask=mask).float().transpose(1, 2), y, ignore_index=IGNORE, reduction="none")
        nats += losses.cpu().double().sum(0).numpy()
        counts += (y != IGNORE).sum(0).cpu().numpy()
    model.train(was_training)
    by_position = np.divide(nats / math.log(2), counts, out=np.full(length, np.nan), where=counts > 0)
    return Evaluation(float(nats.sum() / math.log(2) / counts.sum()), by_position, int(counts.sum()))
