"""Windows of a text: ids and targets, one token ahead.

Everything is NumPy. What is drawn comes from the caller's generator alone, so a training loop that seeds it with
(seed, step) draws the same batch at that step again after a restart:

    ids, targets = random_windows(corpus.train, 8, 512, np.random.default_rng((seed, step)))
"""

import numpy as np

from ..settings import check_counts
from .corpus import Split
from .vocabulary import IGNORE


def random_windows(
    split: Split, batch: int, length: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw windows for training: ids and targets, both (B, T) int64, targets one token ahead.

    A window lies in one document. The start (NUL for bytes) counts as a document's first id, so that a document of
    n >= T tokens offers n - T + 1 windows and every token can be a target; a shorter document offers one, filled up
    behind with the start's id and target -100. Each of these windows in all the documents is equally likely.
    `targets != -100` is the mask of valid positions.

    >>> import numpy as np
    >>> from flash_tutorial.corpora import Split, random_windows
    >>> split = Split.from_documents([b"abcdefgh"])
    >>> ids, targets = random_windows(split, 2, 5, np.random.default_rng(0))
    >>> bytes(ids[0].tolist()), bytes(targets[0].tolist())
    (b'cdefg', b'defgh')
    """
    check_counts(batch=batch, length=length)
    lengths = np.diff(split.offsets)
    windows = np.cumsum(np.maximum(lengths - length, 0) + 1)
    drawn = rng.integers(windows[-1], size=batch)
    documents = np.searchsorted(windows, drawn, side="right")
    starts = drawn - np.concatenate([[0], windows])[documents]
    return _windows(split, documents, starts, length)


def evaluation_windows(split: Split, length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cut every document into windows of T: ids, targets (W, T) int64 and the mask (W, T) of valid positions.

    Each token of the split is a target exactly once, in order, so summed nats / ln 2 / mask.sum() is bits per token
    over all of it. A window's first token is predicted from the one before it, a document's first from the start (NUL
    for bytes). A document's last window is filled up with the start's id, target -100 and mask False.

    >>> from flash_tutorial.corpora import Split, evaluation_windows
    >>> ids, targets, mask = evaluation_windows(Split.from_documents([b"abcdefgh"]), 5)
    >>> [bytes(row.tolist()) for row in ids], mask.sum(1).tolist()
    ([b'\\x00abcd', b'efg\\x00\\x00'], [5, 3])
    """
    check_counts(length=length)
    per_document = -(-np.diff(split.offsets) // length)
    documents = np.repeat(np.arange(split.n_documents), per_document)
    starts = np.concatenate([np.arange(n) * length for n in per_document])
    ids, targets = _windows(split, documents, starts, length)
    return ids, targets, targets != IGNORE


def _windows(split, documents, starts, length):
    """The windows whose first target is token starts[i] of documents[i]."""
    first, end = (split.offsets[documents + i][:, None] for i in (0, 1))
    target_at = first + starts[:, None] + np.arange(length)
    inside = target_at < end
    targets = np.where(inside, split.tokens[np.minimum(target_at, end - 1)], np.int64(IGNORE))
    has_previous = inside & (target_at > first)
    previous = split.tokens[np.where(has_previous, target_at - 1, 0)]
    return np.where(has_previous, previous, np.int64(split.vocabulary.start_id)), targets
