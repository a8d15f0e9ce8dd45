"""The score that a model is judged by: bits per token of a text, and per byte where its bytes are known."""

import math
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ..corpora import Split, evaluation_windows
from ..corpora import first_bytes as first_bytes  # training and the commands import it from here
from ..corpora.spans import hide_spans
from ..corpora.vocabulary import IGNORE, is_other_tokenizer
from ..errors import MASK_BY_NAME, check_call, described
from ..names import ours
from ..settings import check_counts
from .devices import to_device


@dataclass
class Evaluation:
    """``bits_per_token`` over ``n_tokens`` targets; ``by_position (T,)``, its mean at each place of the window;
    ``n_bytes`` that these targets stand for, None where that is not known.

    >>> import numpy as np
    >>> from flash_tutorial.training import Evaluation
    >>> Evaluation(4.0, by_position=np.full(8, 4.0), n_tokens=100, n_bytes=200).bits_per_byte
    2.0
    """

    bits_per_token: float
    by_position: np.ndarray
    n_tokens: int
    n_bytes: int | None = None

    @property
    def bits_per_byte(self) -> float | None:
        """All bits over all bytes, so that models with different tokens compare; None where the bytes are unknown."""
        if not self.n_bytes:
            return None
        return self.bits_per_token * (self.n_tokens / self.n_bytes)

    def __repr__(self):
        counted = f"n_tokens={self.n_tokens:,}, n_bytes={self.n_bytes}"
        return f"Evaluation(bits_per_token={self.bits_per_token:.4f}, {counted}, T={len(self.by_position)})"


@ours
@torch.no_grad()
def evaluate(
    model: nn.Module,
    split: Split,
    length: int | None = None,
    batch: int = 8,
    look: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Bits per token of a split in windows of T that do not overlap, in float32.

    ``length`` is T, by default that of the windows that the model was trained on (``window_of``). ``look`` is called
    after each batch, with the windows that were read and the number of all.

    A causal model predicts every token once, with nothing known before a window's first but the one before it. Any
    other model predicts the hidden 15%; the same ones at each call. Tokens are bytes, or those of ``load_tokens``.
    With a tokenizer a causal model is scored per byte too: all bits over the bytes of the text that its tokens decode
    to.

    >>> from flash_tutorial import LanguageModel, load_corpus
    >>> from flash_tutorial.corpora import first_bytes
    >>> from flash_tutorial.training import evaluate
    >>> model = LanguageModel.from_pretrained("austen-flash")
    >>> score = evaluate(model, first_bytes(load_corpus("austen").validation, 1000))
    >>> len(score.by_position), score.bits_per_byte < 3
    (1024, True)
    """
    if not isinstance(split, Split):
        raise ValueError(
            f"the text is a {type(split).__name__}: expected a split, as load_corpus('austen').validation"
        )
    said = f"{type(model).__name__} cannot be called as model(ids, mask=None)"
    check_call(model.forward, said, MASK_BY_NAME, None, mask=None)
    check_vocabulary(model, split.vocabulary)
    length = window_of(model) if length is None else length
    check_counts(batch=batch)
    ids, targets, valid = evaluation_windows(split, length)
    causal = is_causal(model)
    if not causal:
        ids, targets = hide_spans(targets, np.random.default_rng(0), split.vocabulary)
    device = next(model.parameters()).device
    nats = np.zeros(length)
    counts = np.zeros(length, np.int64)
    with in_eval_mode(model):
        for first in range(0, len(ids), batch):
            rows = slice(first, first + batch)
            x, y, mask = to_device(ids[rows], targets[rows], valid[rows], device)
            logits = model(x, mask=mask)
            check_logits(logits, x, model)
            losses = F.cross_entropy(
                logits.float().transpose(1, 2), y, ignore_index=IGNORE, reduction="none"
            )
            nats += losses.cpu().double().sum(0).numpy()
            counts += (y != IGNORE).sum(0).cpu().numpy()
            if look:
                look(min(first + batch, len(ids)), len(ids))
    by_position = np.divide(
        nats / math.log(2), counts, out=np.full(length, np.nan), where=counts > 0
    )
    score = Evaluation(
        float(nats.sum() / math.log(2) / counts.sum()), by_position, int(counts.sum())
    )
    if causal or split.vocabulary.tokens is None:
        score.n_bytes = split.n_bytes if causal else score.n_tokens
    return score


@contextmanager
def in_eval_mode(model):
    """Within it nothing is dropped; behind it, and behind an error, the model is in the mode that it was in."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


@torch.no_grad()
def bits_of_targets(model, ids, targets, batch=8):
    """Bits of windows' last n tokens, ``(W, n)``, of ``ids (W, T)``, ``targets (W, n)``; 0 where nothing is asked."""
    device = next(model.parameters()).device
    found = []
    with in_eval_mode(model):
        for first in range(0, len(ids), batch):
            x = torch.from_numpy(ids[first : first + batch]).to(device)
            y = torch.from_numpy(targets[first : first + batch]).to(device)
            logits = model(x)[:, -y.shape[1] :].float()
            nats = F.cross_entropy(logits.transpose(1, 2), y, ignore_index=IGNORE, reduction="none")
            found.append(nats.double().cpu().numpy() / math.log(2))
    return np.concatenate(found)


def window_of(model):
    """The T at which a model is scored: that of the windows it was trained on, or the longest that it is made for."""
    length = getattr(model, "trained_length", None)
    if length is None:
        length = getattr(getattr(model, "config", None), "max_length", None)
    if length is None:
        raise ValueError(
            f"{type(model).__name__} does not say how long its windows were: give length, "
            "evaluate(model, split, 512), or set model.trained_length"
        )
    return length


def check_logits(logits, ids, model):
    """Refuse what a model of one's own gives in place of logits."""
    if not isinstance(logits, torch.Tensor) or logits.dim() != 3 or logits.shape[:2] != ids.shape:
        gave, (B, T) = f"{type(model).__name__} gave {described(logits)}", ids.shape
        raise ValueError(f"{gave}: expected logits (B, T, N), here ({B}, {T}, N)")


def is_causal(model):
    """Whether a model reads earlier tokens only: its configuration says so, or itself; by default it does."""
    return bool(getattr(getattr(model, "config", None), "causal", getattr(model, "causal", True)))


def check_vocabulary(model, vocabulary):
    """Refuse a text whose ids mean something else than the model's, or are too many for it."""
    config = getattr(model, "config", None)
    if hasattr(config, "tokens") and config.tokens != vocabulary.tokens:
        ours = what_is_read(config.tokens)
        theirs = what_is_read(vocabulary.tokens)
        fit = f"give it a text of {ours}, or build it with ModelConfig(tokens={vocabulary.tokens})"
        raise ValueError(f"the model reads {ours}, the text holds {theirs}: {fit}")
    if isinstance(getattr(config, "vocab_size", None), int):
        vocabulary.check(config.vocab_size, is_causal(model))
    refuse_other_tokenizer(model, vocabulary)


def refuse_other_tokenizer(model, vocabulary):
    """Refuse a text whose tokens were made by another tokenizer than the model's own, where both are known."""
    ours = getattr(getattr(model, "vocabulary", None), "tokenizer", None)
    theirs = vocabulary.tokenizer
    if ours and theirs and is_other_tokenizer(ours, theirs):
        raise ValueError(
            "the text has another tokenizer than the model: encode it with the model's own"
        )


def what_is_read(tokens):
    return f"{tokens} tokens" if tokens else "bytes"


def in_words(score, unit):
    """Bits per token, and per byte where that is another number; ``unit`` is what is counted, a byte or a token."""
    text = f"{score.bits_per_token:.4f} bits per {unit}"
    if score.n_bytes in (None, score.n_tokens):
        return text
    return f"{text}, {score.bits_per_byte:.4f} bits per byte"
