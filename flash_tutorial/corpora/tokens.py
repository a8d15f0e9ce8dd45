"""A corpus of tokens: ids that a tokenizer of one's own has made."""

import numpy as np

from ..config import check_counts
from . import SMALLEST, SPLITS, Corpus, Split, three_splits
from .vocabulary import vocabulary_of


def load_tokens(array, vocab_size, tokenizer=None, *, offsets=None, name="tokens"):
    """A corpus of tokens, split as a text file is (see `flash_tutorial.corpora.load_file`).

    array: (n,) integers of any type, the documents end to end: NumPy (a memmap too), a list, a tensor on the CPU. Or
        three of them, `{"train": ..., "validation": ..., "test": ...}`, where you have splits of your own.
    vocab_size: N; ids lie in 0..N-1. A model of them has N + 1 ids, and N + 2 for the masked objective: see
        `flash_tutorial.corpora.vocabulary`, which says why.
    tokenizer: of the library `tokenizers`, or the path of a `tokenizer.json`. It is saved with a model, which then
        reads and writes text, and is scored in bits per byte. None: ids stay ids.
    offsets: (n_documents + 1,) where documents begin, and the end: 0, ..., n. None is one document. With three
        arrays a dictionary too.

    What is no such array, or holds an id that is none, is a ValueError.
    """
    vocab_size = int(vocab_size) if isinstance(vocab_size, np.integer) else vocab_size
    check_counts(vocab_size=vocab_size)
    vocabulary = vocabulary_of(tokenizer, vocab_size)
    if not isinstance(array, dict):
        whole = split_of(array, offsets, vocabulary, "the array")
        if len(whole.tokens) < SMALLEST and whole.n_documents < 3:
            raise ValueError(f"{len(whole.tokens)} tokens are too few for three splits: give at least {SMALLEST}")
        return Corpus(name, **three_splits(whole))
    offsets = {} if offsets is None else offsets
    if set(array) != set(SPLITS) or not isinstance(offsets, dict) or set(offsets) - set(SPLITS):
        raise ValueError(f"the keys are {', '.join(map(str, array))}: expected {', '.join(SPLITS)}, in offsets too")
    return Corpus(name, **{key: split_of(array[key], offsets.get(key), vocabulary, key) for key in SPLITS})


def split_of(array, offsets, vocabulary, what):
    """One split, its ids in the smallest type that holds them: equal tokens are equal bytes, whatever they came as."""
    tokens = integers(array, what)
    low, high, N = int(tokens.min()), int(tokens.max()), vocabulary.tokens
    if low < 0 or high >= N:
        raise ValueError(f"{what} holds the id {low if low < 0 else high}: expected 0 to {N - 1} (vocab_size={N})")
    tokens = tokens.astype(vocabulary.dtype, copy=False)
    offsets = integers([0, len(tokens)] if offsets is None else offsets, "offsets")
    if offsets[0] != 0 or offsets[-1] != len(tokens) or len(offsets) < 2 or (offsets[1:] <= offsets[:-1]).any():
        raise ValueError(f"offsets do not rise from 0 to {len(tokens)}, the number of tokens in {what}")
    return Split(tokens, offsets.astype(np.int64), ("",) * (len(offsets) - 1), vocabulary)


def integers(array, what):
    """A flat NumPy array of integers, in this machine's byte order."""
    try:
        array = np.asarray(array)
    except (ValueError, TypeError, RuntimeError) as error:
        raise ValueError(f"{what} is no array ({str(error).splitlines()[0]}): expected one row of ids") from None
    if array.ndim != 1 or array.dtype.kind not in "iu" or not array.size:
        found = "empty" if not array.size else f"of shape {array.shape} and {array.dtype}"
        raise ValueError(f"{what} is {found}: expected one row of integer ids, (n,)")
    return array.astype(array.dtype.newbyteorder("="), copy=False)
