"""Training a model on a text.

from flash_tutorial import ModelConfig
from flash_tutorial.training import TrainConfig, train

run = train(ModelConfig(), TrainConfig(steps=300), out="runs/first")
run.evaluation.bits_per_byte
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..config import ModelConfig, TrainConfig
from ..corpora import Corpus
from ..names import ours
from . import start
from .job import Run, prepare
from .run_folder import run_folder
from .session import open_session


@ours
def train(
    model_or_config: ModelConfig | nn.Module | None = None,
    train_config: TrainConfig | None = None,
    *,
    corpus: Corpus | str | Path | None = None,
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    stop_at: int | None = None,
    device: str | torch.device = "auto",
    progress: bool = True,
    callback: Callable[[dict[str, Any]], object] | None = None,
) -> Run:
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

    Each update seeds torch's global generator by ``train_config.seed`` and its number: models that are built afterwards
    begin alike unless you seed anew.

    With ``train_config.eval_every`` the model is scored on the way, and that of the best score is kept in ``out/best``.

    Under ``torchrun`` each process computes its own rows of every batch, and the weights end up as those of one process
    up to rounding; the first writes, prints, scores and calls back. A run may go on with another number of processes.

    A run with ``out`` that gets Ctrl-C (KeyboardInterrupt), SIGTERM or SIGHUP (SystemExit with 128 and the signal's
    number) ends the update at hand and writes a checkpoint first; a second signal stops it at once. On resume ``steps``
    may be another number, with the ``warmup`` that there was: from there on, the rates are those of a run with so many.

    Raises ValueError, after which the last checkpoint is intact: the loss is not finite (``Diverged``), the disk is
    full, ``out`` holds another run or belongs to another process, the checkpoints are damaged.

    >>> from flash_tutorial import ModelConfig
    >>> from flash_tutorial.training import TrainConfig, train
    >>> settings = TrainConfig(steps=2, batch=2, length=16, eval_bytes=100)
    >>> done = train(ModelConfig(dim=16, depth=1), settings, out="runs/first", progress=False)
    >>> 6 < done.evaluation.bits_per_byte < 9                       # 8 would be a guess, after two updates
    True
    """
    given = ModelConfig() if model_or_config is None else model_or_config
    config = TrainConfig() if train_config is None else train_config
    start.check_arguments(given, config, out, callback)
    with open_session(device, progress) as session:
        job = prepare(given, config, corpus, session)
        with run_folder(
            out, resume, job.facts, session.group, session.say, start.earlier_values()
        ) as found:
            until = start.last_update(stop_at, config, found)
            job.take_up(found, out)
            if found and found.finished:
                return job.as_it_ended()
            return job.run(until, callback)
