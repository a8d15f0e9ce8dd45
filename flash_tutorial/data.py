"""From the name of a corpus to batches: windows of its text.

Everything is NumPy. What is drawn comes from the caller's generator alone, so a training loop that seeds it with
(seed, step) draws the same batch at that step again after a restart:

    ids, targets = random_windows(corpus.train, 8, 512, np.random.default_rng((seed, step)))
"""

from pathlib import Path

import numpy as np

from flash_support.corpora import Split as Split  # some belong to data as readers see it
from flash_support.corpora import load_austen, load_file
from flash_support.corpora import load_tokens as load_tokens
from flash_support.corpora.online import SOURCES, load_online
from flash_support.corpora.spans import mask_spans as mask_spans
from flash_support.corpora.vocabulary import IGNORE
from flash_support.corpora.vocabulary import START_ID as START_ID
from flash_support.corpora.vocabulary import ByteTokenizer as ByteTokenizer
from flash_support.settings import check_counts


def load_corpus(name, *, max_bytes=None, cache_dir=None):
    """Load a corpus of text: flat uint8 arrays of its bytes, with document offsets (see `Corpus` and `Split`).

    name: "austen" (inside the package, split by novel), an online name ("enwik8", "text8", "wikitext-103", "pg19",
        "wiki40b", "c4": see `flash_support.corpora.online`), or the path of a UTF-8 text file (see
        `flash_support.corpora.load_file` for how it is split). A file named like a corpus is "./austen".
    max_bytes: keep at most so many bytes over all three splits. Not for "austen", which stays whole so that
        scores compare. None is all of a file, and 50 MB (enwik8 and text8: all 100 MB) of an online corpus.
    cache_dir: where an online corpus is kept; default `$FLASH_TUTORIAL_CACHE` or `~/.cache/flash-tutorial`.

    Raises ValueError for an unknown name, an unreadable file, a damaged copy, or a network that is not there.
    """
    if not isinstance(name, str | Path):
        raise ValueError(f"a corpus is given by its name or a path, got {name!r}")
    if name == "austen":
        if max_bytes is not None:
            raise ValueError(f"max_bytes={max_bytes!r}: 'austen' is always whole, this is for files and online corpora")
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

    Each token of the split is a target exactly once, in order, so summed nats / ln 2 / mask.sum() is bits per token
    over all of it. A window's first token is predicted from the one before it, a document's first from the start (NUL
    for bytes). A document's last window is filled up with the start's id, target -100 and mask False.
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
