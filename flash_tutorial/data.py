"""From a corpus to batches: windows, and span masking.

Everything is NumPy. What is drawn comes from the caller's generator alone, so a training loop that seeds it with
(seed, step) draws the same batch at that step again after a restart:

    ids, targets = random_windows(corpus.train, 8, 512, np.random.default_rng((seed, step)))
"""

from pathlib import Path

import numpy as np

from .config import check_counts
from .corpora import Split as Split
from .corpora import load_austen, load_file
from .corpora import load_tokens as load_tokens
from .corpora.online import SOURCES, load_online
from .corpora.vocabulary import BYTES, MASK_ID, START_ID
from .corpora.vocabulary import ByteTokenizer as ByteTokenizer

IGNORE = -100  # the target of a position that the loss leaves out


def load_corpus(name, *, max_bytes=None, cache_dir=None):
    """Load a corpus of text: flat uint8 arrays of its bytes, with document offsets (see `Corpus` and `Split`).

    name: "austen" (inside the package, split by novel), an online name ("enwik8", "text8", "wikitext-103", "pg19",
        "wiki40b", "c4": see `flash_tutorial.corpora.online`), or the path of a UTF-8 text file (see
        `flash_tutorial.corpora.load_file` for how it is split). A file named like a corpus is "./austen".
    max_bytes: keep at most so many bytes over all three splits. Not for "austen", which stays whole so that
        scores compare. None is all of a file, and 50 MB (enwik8 and text8: all 100 MB) of an online corpus.
    cache_dir: where an online corpus is kept; default `$FLASH_TUTORIAL_CACHE` or `~/.cache/flash-tutorial`.

    Raises ValueError for an unknown name, an unreadable file, a damaged copy, or a network that is not there.
    """
    if not isinstance(name, str | Path):
        raise ValueError(f"a corpus is given by its name or a path, got {name!r}")
    if name == "austen":
        if max_bytes is not None:
            rule = "is for files and online corpora; 'austen' is always whole: leave max_bytes out"
            raise ValueError(f"max_bytes={max_bytes!r} {rule}")
        return load_austen()
    if name in SOURCES:
        return load_online(name, max_bytes=max_bytes, cache_dir=cache_dir)
    if not Path(name).exists():
        known = ", ".join(map(repr, ("austen", *SOURCES)))
        advice = f"give one of {known}, or the path of a UTF-8 text file"
        raise ValueError(f"{str(name)!r} is neither a corpus nor a file that exists; {advice}")
    return load_file(name, max_bytes=max_bytes)


def random_windows(split, batch, length, rng):
    """Draw windows for training: ids and targets, both (B, T) int64, targets one token ahead.

    A window lies in one document. The start (NUL for bytes) counts as a document's first id, so that a document of
    n >= T tokens offers n - T + 1 windows and every token can be a target; a shorter document offers one, filled up
    behind with the start's id and target -100. Each of these windows in all the documents is equally likely.
    `targets != -100` is the mask of valid positions.
    """
    check_counts(batch=batch, length=length)
    lengths = np.diff(split.offsets)
    windows = np.cumsum(np.maximum(lengths - length, 0) + 1)
    drawn = rng.integers(windows[-1], size=batch)
    documents = np.searchsorted(windows, drawn, side="right")
    starts = drawn - np.concatenate([[0], windows])[documents]
    return _windows(split, documents, starts, length)


def evaluation_windows(split, length):
    """Cut every document into windows of T: ids, targets (W, T) int64 and the mask (W, T) of valid positions.

    Each token of the split is a target exactly once, in order: `mask.sum()` is the split's number of tokens, so summed
    nats / ln 2 / mask.sum() is bits per token over all of it, and for bytes per byte. A window's first token is
    predicted from the one before it, a document's first from the start (NUL for bytes). A document's last window is
    filled up with the start's id, target -100 and mask False.
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


def mask_spans(ids, rng, *, rate=0.15, mean_span=5, mask_id=MASK_ID, start_id=START_ID):
    """Hide spans for the masked objective: (inputs, targets), int64 of the shape of ids, (B, T).

    Of each row's positions that do not hold `start_id`, the share `rate` (rounded down, at least one) is chosen, in
    spans whose lengths are geometric with mean `mean_span`; the last span is cut to meet the share. Spans do not touch,
    and every position is equally likely to be chosen (a span that runs over the row's end goes on at its start).
    One draw for each span: with 80% its positions become `mask_id`, with 10% tokens drawn from the batch itself
    (uniform ones would be betrayed by being rare), with 10% they stay. Targets are the original ids on all
    chosen positions, -100 elsewhere. A single hidden byte is too easily guessed from its word, hence spans.
    """
    ids = np.asarray(ids)
    if ids.ndim != 2 or not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(f"ids must be integers of shape (B, T), got shape {ids.shape} of {ids.dtype}")
    if not 0 < rate <= 0.5:
        raise ValueError(f"rate must lie in (0, 0.5], got {rate!r}: the usual share is 0.15")
    if mean_span < 1:
        raise ValueError(f"mean_span must be at least 1 position, got {mean_span!r}")
    if (ids == mask_id).any():
        raise ValueError(f"the ids already hold mask_id={mask_id}; take an id that is not in the vocabulary")
    inputs, targets = ids.astype(np.int64), np.full(ids.shape, IGNORE, np.int64)
    pool = ids[ids != start_id]
    for row in range(len(ids)):
        may_hide = np.flatnonzero(ids[row] != start_id)
        for span in _spans(len(may_hide), rate, mean_span, rng):
            places = may_hide[span]
            targets[row, places] = ids[row, places]
            fate = rng.random()
            if fate < 0.8:
                inputs[row, places] = mask_id
            elif fate < 0.9:
                inputs[row, places] = rng.choice(pool, len(places))
    return inputs, targets


def hide_spans(text, rng, vocabulary=BYTES):
    """Inputs and targets of the masked objective, from windows (B, T) of tokens with -100 behind a short text."""
    start_id, mask_id = vocabulary.start_id, vocabulary.mask_id
    return mask_spans(np.where(text == IGNORE, start_id, text), rng, mask_id=mask_id, start_id=start_id)


def _spans(n, rate, mean_span, rng):
    """The positions of each span in 0..n-1, with at least one free position between two spans."""
    if n == 0:
        return []
    hidden = max(1, int(rate * n))
    ends = np.minimum(np.cumsum(rng.geometric(1 / mean_span, hidden)), hidden)
    lengths = np.diff(np.unique(ends), prepend=0)
    # A span goes before a free position of its own. On a line the ends of a row would be chosen less often than
    # its middle, so the row is closed to a ring and turned.
    free_before = np.sort(rng.choice(max(n - hidden, 1), len(lengths), replace=False))
    begins = free_before + np.cumsum(lengths) - lengths + rng.integers(n)
    return [np.arange(begin, begin + length) % n for begin, length in zip(begins, lengths)]
