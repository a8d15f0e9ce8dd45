"""Span masking: what a model that reads both sides has to guess. Everything is drawn from the caller's generator."""

import numpy as np

from .vocabulary import BYTES, IGNORE, MASK_ID, START_ID


def mask_spans(
    ids: np.ndarray,
    rng: np.random.Generator,
    *,
    rate: float = 0.15,
    mean_span: float = 5,
    mask_id: int = MASK_ID,
    start_id: int = START_ID,
) -> tuple[np.ndarray, np.ndarray]:
    """Hide spans for the masked objective: (inputs, targets), int64 of the shape of ids, (B, T).

    Of each row's positions that do not hold `start_id`, the share `rate` (rounded down, at least one) is chosen, in
    spans whose lengths are geometric with mean `mean_span`; the last span is cut to meet the share. Spans do not touch,
    and every position is equally likely to be chosen (a span that runs over the row's end goes on at its start).
    One draw for each span: with 80% its positions become `mask_id`, with 10% tokens drawn from the batch itself
    (uniform ones would be betrayed by being rare), with 10% they stay. Targets are the original ids on all
    chosen positions, -100 elsewhere. A single hidden byte is too easily guessed from its word, hence spans.

    >>> import numpy as np
    >>> from flash_tutorial.corpora import mask_spans
    >>> inputs, targets = mask_spans(np.full((1, 20), 65), np.random.default_rng(1))
    >>> int((targets == 65).sum()), int((inputs == 256).sum())      # 15% are asked for, here all of them hidden
    (3, 3)
    """
    ids = np.asarray(ids)
    if ids.ndim != 2 or not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(
            f"ids must be integers of shape (B, T), got shape {ids.shape} of {ids.dtype}"
        )
    if not 0 < rate <= 0.5:
        raise ValueError(f"rate must lie in (0, 0.5], got {rate!r}: the usual share is 0.15")
    if mean_span < 1:
        raise ValueError(f"mean_span must be at least 1 position, got {mean_span!r}")
    if (ids == mask_id).any():
        raise ValueError(
            f"the ids already hold mask_id={mask_id}; take an id that is not in the vocabulary"
        )
    inputs = ids.astype(np.int64)
    targets = np.full(ids.shape, IGNORE, np.int64)
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
    return mask_spans(
        np.where(text == IGNORE, start_id, text), rng, mask_id=mask_id, start_id=start_id
    )


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
