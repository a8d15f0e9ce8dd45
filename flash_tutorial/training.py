"""Training: one loop, and the score that it is judged by.

    from flash_tutorial import ModelConfig
    from flash_tutorial.training import TrainConfig, train
    run = train(ModelConfig(), TrainConfig(steps=300), out="runs/first")
    run.evaluation.bits_per_byte

Letters: B batch, T length, N vocabulary.
"""

import hashlib
import json
import math
import time
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tqdm import tqdm

from .checkpoints import Log, clear_leftovers, last_checkpoint, load_optimizer, save_checkpoint
from .config import ModelConfig
from .data import IGNORE, MASK_ID, START_ID, Split, evaluation_windows, load_corpus, mask_spans, random_windows
from .devices import Group, describe_device, keep_freed_memory, pick_dtype, training_group
from .files import write_text
from .model import LanguageModel

# ---------------------------------------------------------------- settings


@dataclass
class TrainConfig:
    """How a model is trained. AdamW's betas (0.9, 0.999) and eps 1e-6 are the paper's (Tables 5 to 7) and fixed.

    Args:
        steps: updates. batch: windows (B) an update. length: bytes (T) a window.
        learning_rate: its peak, after ``warmup`` updates (None: 100, in a short run half of it); from there it falls
            linearly to 0.
        clip: the gradient's norm over all parameters is cut to this; None switches it off. The paper has 0.1 and calls
            it "local", which may mean each parameter by itself; 1.0 over all of them is the common choice.
        accumulate: in how many parts a batch is computed. It saves memory and changes nothing but rounding.
        weight_decay: 0.01 in the paper; on every parameter, since the paper names no exception.
        seed: of the start and of all that is drawn. corpus: what ``load_corpus`` takes.
        dtype: "auto" (what the device can do), "float32", "bfloat16" or "float16". compile: use ``torch.compile``.
        start_from: a folder or a name of the package whose trained weights the run starts from; None draws new ones.
        eval_bytes: the score at the end is taken on the first so many bytes of the validation split; None: all, 0: no
            score.
        checkpoint_every: updates between two checkpoints.
    """

    steps: int = 1300
    batch: int = 8
    length: int = 512
    learning_rate: float = 1e-2
    warmup: int | None = None
    clip: float | None = 1.0
    accumulate: int = 1
    weight_decay: float = 0.01
    seed: int = 0
    corpus: str = "austen"
    dtype: str = "auto"
    compile: bool = False
    start_from: str | None = None
    eval_bytes: int | None = 100_000
    checkpoint_every: int = 200

    def __post_init__(self):
        if self.warmup is None and isinstance(self.steps, int):
            self.warmup = min(100, self.steps // 2)
        least = dict(steps=1, batch=1, length=1, accumulate=1, checkpoint_every=1, warmup=0, seed=0, eval_bytes=0)
        for name, smallest in least.items():
            value = getattr(self, name)
            if name == "eval_bytes" and value is None:
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < smallest:
                raise ValueError(f"{name}={value!r}: expected an integer of at least {smallest}")
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate={self.learning_rate!r}: expected more than 0, for example 0.01")
        if not 0 <= self.weight_decay < math.inf:
            raise ValueError(f"weight_decay={self.weight_decay!r}: expected 0 or more, for example 0.01")
        if self.clip is not None and not self.clip > 0:
            raise ValueError(f"clip={self.clip!r}: expected more than 0, or None for no clipping")
        if self.batch % self.accumulate:
            raise ValueError(f"accumulate={self.accumulate}: expected a divisor of batch={self.batch}")
        if self.warmup >= self.steps and self.warmup:
            raise ValueError(f"warmup={self.warmup}: expected fewer than steps={self.steps}")


def learning_rate_at(step, config):
    """The rate of update ``step``, counted from 0: up over ``warmup`` updates, then down in a line to 0."""
    if step < config.warmup:
        return config.learning_rate * (step + 1) / config.warmup
    return config.learning_rate * (config.steps - step) / (config.steps - config.warmup)


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

    Raises ValueError, after which the last checkpoint is intact: the loss is not finite, the disk is full, ``out``
    holds another run, the checkpoints are damaged.
    """
    with training_group(device) as (group, device):
        return _train(
            model_config or ModelConfig(), train_config or TrainConfig(), corpus, out, resume, stop_at, device, group,
            progress and group.speaks,
        )  # fmt: skip


def _train(model_config, config, corpus, out, resume, stop_at, device, group, progress):
    say = print if progress else lambda *_: None
    keep_freed_memory()
    check_vocabulary(model_config)
    check_shares(config, group)
    corpus = corpus or load_corpus(config.corpus)
    dtype, _ = pick_dtype(device, config.dtype)
    facts = describe_run(model_config, config, corpus, device, group)
    say(facts["machine"])
    out, found = open_folder(out, resume, facts, say) if group.speaks else (None, None)  # the others write nothing
    found = group.share(found)
    last = last_update(stop_at, config, found)

    torch.manual_seed(config.seed)
    start = found[0] if found else config.start_from
    model = load_model(start, model_config) if start else LanguageModel(model_config)
    model.to(device).train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=config.learning_rate, betas=(0.9, 0.999), eps=1e-6,
        weight_decay=config.weight_decay, fused=device.type in ("cpu", "cuda"),
    )  # fmt: skip
    half = torch.autocast(device.type, dtype) if dtype != torch.float32 else nullcontext()
    scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)  # float16 gradients underflow
    first, seconds_before = 0, 0.0
    if found:
        path, saved = found
        first, seconds_before = saved["step"], saved["seconds"]
        load_optimizer(path, model, optimizer)
        if scaler.is_enabled() and saved["scaler"]:
            scaler.load_state_dict(saved["scaler"])
    elif out:
        save_checkpoint(out, 0, model, optimizer, facts | {"seconds": 0.0, "scaler": scaler.state_dict()})
    log = Log(out and out / "log.csv", first)
    exchanging = group.loss_of(model)
    loss_of = compiled(exchanging) if config.compile else exchanging

    began = time.perf_counter()
    with progress_of(config, first, progress) as show:
        for step in range(first, last):
            # for a unit of your own that draws, such as dropout: other numbers in each step and rank
            torch.manual_seed(config.seed + step + 1 + 1_000_003 * group.rank)
            rate = learning_rate_at(step, config)
            for param_group in optimizer.param_groups:
                param_group["lr"] = rate

            loss = 0.0
            for i, (ids, targets, mask, share) in enumerate(
                parts(corpus.train, config, step, model_config.causal, device, group)
            ):
                with group.silent(exchanging, last=i + 1 == config.accumulate):
                    with half:
                        part = loss_of(ids, targets, mask=mask) * share
                    # gradients come as the mean over the ranks, and the shares ask for their sum
                    scaler.scale(part * group.size).backward()
                loss += part.detach()
            scaler.unscale_(optimizer)
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip or math.inf)

            loss, norm = float(group.total(loss)), float(norm)
            check_finite(loss, norm, step, rate, config, scaler.is_enabled())
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()

            seconds = seconds_before + time.perf_counter() - began
            log.append(
                step=step + 1, loss=loss, bits_per_byte=loss / math.log(2), learning_rate=rate, gradient_norm=norm,
                tokens=(step + 1) * config.batch * config.length, seconds=round(seconds, 3),
            )  # fmt: skip
            show(log.rows)
            if out and ((step + 1) % config.checkpoint_every == 0 or step + 1 == last):
                more = {"seconds": seconds, "scaler": scaler.state_dict()}
                save_checkpoint(out, step + 1, model, optimizer, facts | more)

    model.eval()
    if last < config.steps:
        say(f"stopped after update {last} of {config.steps}" + (f"; go on with resume from {out}" if out else ""))
        return Run(model, log.rows, None)
    score = None
    if config.eval_bytes != 0 and group.speaks:
        score = evaluate(model, first_bytes(corpus.validation, config.eval_bytes), config.length, config.batch)
        say(f"validation: {score.bits_per_byte:.4f} bits per byte over {score.n_bytes:,} bytes")
    if out:
        save_results(out, model, log.rows, score, facts)
        say(f"model and log are in {out}")
    return Run(model, log.rows, score)


def check_shares(config, group):
    """Each rank has the same number of rows in each part of a batch."""
    if config.batch % (config.accumulate * group.size):
        raise ValueError(
            f"batch={config.batch} on {group.size} processes in accumulate={config.accumulate} parts: expected a "
            f"multiple of {config.accumulate * group.size}"
        )


def last_update(stop_at, config, found):
    """The number of updates after which the loop ends."""
    if stop_at is None:
        return config.steps
    done = found[1]["step"] if found else 0
    if not isinstance(stop_at, int) or isinstance(stop_at, bool) or not max(1, done) <= stop_at <= config.steps:
        raise ValueError(
            f"stop_at={stop_at!r}: expected an integer from {max(1, done)} to {config.steps}"
            + (f", since {done} updates are done already" if done else "")
        )
    return stop_at


def check_finite(loss, norm, step, rate, config, scaled):
    """Stop before an update that would spoil the weights. With loss scaling an infinite gradient is only skipped."""
    if not math.isfinite(loss) or not (math.isfinite(norm) or scaled):
        raise ValueError(
            f"training stopped at step {step + 1}, learning rate {rate:.3g}: the loss is {loss:.4g} and its gradient's "
            f"norm {norm:.4g}; try a lower peak ({config.learning_rate / 3:.1g}), a longer warm-up or a smaller clip; "
            "the last checkpoint is untouched"
        )


def check_vocabulary(config):
    """Bytes need 256 ids, and one more to hide them."""
    least = 256 if config.causal else MASK_ID + 1
    if config.vocab_size < least:
        raise ValueError(
            f"vocab_size={config.vocab_size}: expected at least {least}, for "
            f"{'bytes' if config.causal else 'bytes and the mask of the masked objective'}"
        )


def compiled(function):
    """``torch.compile``, with one line where this machine has no compiler for it."""
    fast = torch.compile(function)

    def call(*args, **kwargs):
        try:
            return fast(*args, **kwargs)
        except torch._dynamo.exc.TorchDynamoException as error:
            reason = str(error).strip().splitlines()[0]
            raise ValueError(f"torch.compile does not work here ({reason}): leave compile off") from error

    return call


@contextmanager
def progress_of(config, first, on):
    """A function that shows the log's last row: in a bar on a terminal, in a line now and then elsewhere."""
    began, tokens = time.perf_counter(), config.batch * config.length
    with tqdm(
        total=config.steps, initial=first, unit="step", disable=None if on else True, dynamic_ncols=True,
        bar_format="{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}, {remaining} left]{postfix}",
    ) as bar:  # fmt: skip

        def show(rows):
            step = rows[-1]["step"]
            recent = rows[-20:]
            loss = sum(row["loss"] for row in recent) / len(recent)
            speed = (step - first) * tokens / (time.perf_counter() - began)
            text = f"loss {loss:.3f}, {loss / math.log(2):.3f} bits/byte, {speed:,.0f} tokens/s"
            bar.set_postfix_str(text, refresh=False)
            bar.update()
            now_and_then = step % max(1, config.steps // 20) == 0 or step in (first + 1, config.steps)
            if on and bar.disable and now_and_then:
                left = (config.steps - step) * tokens / speed
                print(f"step {step}/{config.steps}: {text}, {left:.0f} s left", flush=True)

        yield show


# ---------------------------------------------------------------- what a run leaves, and how it goes on


# settings that may change when a run goes on: they have no part in the weights, or show elsewhere (the text's hash)
MAY_DIFFER = {"train_config": {"corpus", "compile", "eval_bytes", "checkpoint_every"}}


def describe_run(model_config, config, corpus, device, group=Group()):  # noqa: B008 (it never changes)
    """What decides the weights, as plain values."""
    text = hashlib.sha256(corpus.train.tokens.tobytes() + corpus.train.offsets.tobytes()).hexdigest()
    return {
        "model_config": json.loads(json.dumps(model_config.to_dict())),
        "train_config": asdict(config),
        "text": {"corpus": corpus.name, "train_sha256": text},
        "machine": describe_device(device, config.dtype) + (f", {group.size} processes" if group.size > 1 else ""),
    }


def open_folder(out, resume, facts, say):
    """The folder as a Path, and the checkpoint to go on from, if any: ``(path, values)``."""
    if out is None:
        if resume:
            raise ValueError("resume=True without out: name the folder of the run that is to go on")
        return None, None
    out = Path(out)
    if not resume:
        if any(out.glob("step_*")) or (out / "model.safetensors").exists():
            raise ValueError(
                f"{out} already holds a run: go on with --resume (resume=True), or choose another folder (--out)"
            )
        return out, None
    clear_leftovers(out)
    found = last_checkpoint(out, say)
    if found is None:
        say(f"{out} has no checkpoint yet: starting from the beginning")
        return out, None
    path, saved = found
    refuse_another_run(path, saved, facts)
    if saved["machine"] != facts["machine"]:
        say(f"this run began elsewhere ({saved['machine']}): its weights will be the same up to rounding only")
    say(f"going on after step {saved['step']}, from {path}")
    return out, found


def refuse_another_run(path, saved, facts):
    """A run goes on with the settings that it began with; the first that differs is named."""
    for part in ("model_config", "train_config", "text"):
        for key in sorted((set(saved[part]) | set(facts[part])) - MAY_DIFFER.get(part, set())):
            before, now = (values[part].get(key, "absent") for values in (saved, facts))
            if before != now:
                raise ValueError(
                    f"{path} was trained with {key}={before!r}, now {key}={now!r} is asked for: give the same value "
                    "to go on, or choose another folder for a new run"
                )


def load_model(start, config):
    """A trained model to go on with, with a class of the user's where the configuration has one."""
    custom = None if isinstance(config.architecture, str) else config.architecture
    model = LanguageModel.from_pretrained(start, architecture=custom)
    for name, value in config.to_dict().items():
        there = model.config.to_dict()[name]
        if there != value:
            raise ValueError(f"{start} has {name}={there!r}, but {name}={value!r} is asked for: give the same value")
    return model


def save_results(out, model, rows, score, facts):
    """The trained model and its score."""
    model.save_pretrained(out)
    bits = None if score is None else score.bits_per_byte
    result = facts | {
        "train_bits_per_byte": float(np.mean([row["bits_per_byte"] for row in rows[-25:]])),
        "validation_bits_per_byte": bits,
        "validation_bytes": 0 if score is None else score.n_bytes,
        "seconds": rows[-1]["seconds"],
        "tokens": rows[-1]["tokens"],
    }
    write_text(out / "result.json", json.dumps(result, indent=1) + "\n")


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
    if not isinstance(batch, int) or batch < 1:
        raise ValueError(f"batch={batch!r}: expected an integer of at least 1")
    ids, targets, valid = evaluation_windows(split, length)
    if not model.config.causal:
        ids, targets = hide_spans(targets, np.random.default_rng(0))
    device = next(model.parameters()).device
    was_training = model.training
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
