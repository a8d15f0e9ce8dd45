"""Synthetic tasks whose answer lies far back: they tell a model that reads only its own chunk from one that reads all.

Each returns (ids, targets), both (B, T) int64; the target of a position is what a model should say there, having
read up to and including it, and -100 where nothing is asked. Targets are not shifted: `LanguageModel.loss(ids,
targets)` takes them as they are. All draws come from the NumPy generator given.

Multi-query associative recall is from Arora et al. (Zoology, 2023), induction from Olsson et al. (2022) and Fu et al.
(H3, 2023); sizes and places are chosen here for chunks.
"""

import numpy as np

from flash_tutorial.corpora.vocabulary import IGNORE
from flash_tutorial.settings import check_counts


def mqar(batch, length, rng, *, chunk_size, pairs=16, keys=128, values=128, questions=None):
    """Multi-query associative recall: pairs in the first chunk, questions only in later chunks.

    Ids: 0 is filler, 1..keys are keys, keys+1..keys+values are values; the vocabulary has 1 + keys + values. A row
    begins k1 v1 k2 v2 ..., with `pairs` different keys and different values, drawn anew for each row. Each key
    comes once more, at a random place from position chunk_size on; the target there is its value, which is not
    written into the row. The local part of mixed chunk attention never sees pair and question together. With
    ``questions`` more than ``pairs`` places ask: each key once, and then keys drawn freely; at most all later places.

    With chunk_size=4, pairs=2, keys=3, values=3, length=12 (a dot is -100):

        ids      2  6  1  4 | 0  0  1  0 | 0  2  0  0
        targets  .  .  .  . | .  .  4  . | .  6  .  .

    Needs 2 pairs <= chunk_size, pairs <= keys, pairs <= values and length >= chunk_size + pairs, and of questions
    pairs <= questions <= length - chunk_size; else ValueError.
    """
    check_counts(
        batch=batch, length=length, chunk_size=chunk_size, pairs=pairs, keys=keys, values=values
    )
    if questions is None:
        questions = pairs
    check_counts(questions=questions)
    if 2 * pairs > chunk_size:
        raise ValueError(
            f"{pairs} pairs take {2 * pairs} positions, more than the first chunk's {chunk_size}; "
            f"give at most pairs={chunk_size // 2} or a longer chunk_size"
        )
    if pairs > min(keys, values):
        raise ValueError(
            f"{pairs} pairs need as many different keys and values, got keys={keys}, values={values}; give fewer pairs"
        )
    if length < chunk_size + pairs:
        raise ValueError(
            f"length={length} leaves {max(length - chunk_size, 0)} positions behind the first chunk for {pairs} "
            f"questions; give a length of at least {chunk_size + pairs}"
        )
    if not pairs <= questions <= length - chunk_size:
        raise ValueError(
            f"questions={questions}: expected {pairs} (each of the pairs) to {length - chunk_size} (each later place)"
        )
    key = 1 + _choose(rng, batch, keys, pairs)
    value = 1 + keys + _choose(rng, batch, values, pairs)
    place = chunk_size + _choose(rng, batch, length - chunk_size, questions)
    asked = np.broadcast_to(np.arange(pairs), (batch, pairs))
    if questions > pairs:
        asked = np.concatenate(
            [asked, rng.integers(pairs, size=(batch, questions - pairs))], axis=1
        )
    ids, targets = _blank(batch, length)
    ids[:, 0 : 2 * pairs : 2] = key
    ids[:, 1 : 2 * pairs : 2] = value
    np.put_along_axis(ids, place, np.take_along_axis(key, asked, axis=1), axis=1)
    np.put_along_axis(targets, place, np.take_along_axis(value, asked, axis=1), axis=1)
    return ids, targets


def induction(batch, length, rng, *, vocab_size=20):
    """Induction: what followed the trigger the first time is asked for when it comes again, at the row's end.

    Ids: 0..vocab_size-2 are ordinary, vocab_size-1 is the trigger. The trigger stands at one random place before
    the last two positions, and at the last position, the only one with a target.

    With vocab_size=10 and length=10 (a dot is -100):

        ids      3  1  9  4  4  0  7  2  1  9
        targets  .  .  .  .  .  .  .  .  .  4

    Needs length >= 3 and vocab_size >= 3; else ValueError.
    """
    check_counts(batch=batch, length=length, vocab_size=vocab_size)
    if length < 3 or vocab_size < 3:
        raise ValueError(
            f"induction needs length >= 3 (trigger, answer, trigger) and vocab_size >= 3 (two ordinary ids and the "
            f"trigger), got length={length}, vocab_size={vocab_size}"
        )
    _, targets = _blank(batch, length)
    ids = rng.integers(vocab_size - 1, size=(batch, length))
    row = np.arange(batch)
    place = rng.integers(length - 2, size=batch)
    ids[row, place] = ids[:, -1] = vocab_size - 1
    targets[:, -1] = ids[row, place + 1]
    return ids, targets


def _blank(batch, length):
    return np.zeros((batch, length), np.int64), np.full((batch, length), IGNORE, np.int64)


def _choose(rng, batch, n, k):
    """For each row k different numbers of 0..n-1, in random order."""
    return rng.random((batch, n)).argsort(axis=1)[:, :k]
