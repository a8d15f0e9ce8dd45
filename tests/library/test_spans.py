"""Span masking: how much is hidden, where, and what stands there."""

import numpy as np
import pytest
from refusals import assert_refused

from flash_tutorial.corpora.spans import IGNORE, mask_spans
from flash_tutorial.corpora.vocabulary import MASK_ID, START_ID


def runs(chosen):
    """Lengths of the runs of True in a row."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], chosen.astype(int), [0]])))
    return edges[1::2] - edges[::2]


@pytest.fixture(scope="module")
def masked():
    ids = np.random.default_rng(5).integers(1, 256, (64, 2000))
    ids[:, 0] = START_ID
    ids[:, 1900:] = START_ID  # filled up
    return (ids, *mask_spans(ids, np.random.default_rng(6)))


def test_spans_hide_15_percent_and_never_nul(masked):
    ids, _inputs, targets = masked
    chosen = targets != IGNORE
    assert (chosen.sum(axis=1) == int(0.15 * 1899)).all()
    assert not chosen[ids == START_ID].any()


def test_targets_are_the_original_ids(masked):
    ids, inputs, targets = masked
    chosen = targets != IGNORE
    assert np.array_equal(targets[chosen], ids[chosen])
    assert np.array_equal(inputs[~chosen], ids[~chosen])


def test_span_lengths_are_geometric_with_mean_five(masked):
    lengths = np.concatenate([runs(row != IGNORE) for row in masked[2]])
    # some 3,600 spans of standard deviation 4.5: four standard errors
    assert abs(lengths.mean() - 5) < 0.35
    assert abs((lengths == 1).mean() - 1 / 5) < 0.03
    assert abs((lengths > 10).mean() - 0.8**10) < 0.03


def test_fates_are_80_10_10_and_decided_by_span(masked):
    ids, inputs, targets = masked
    fates = []
    for row_ids, row_inputs, row_targets in zip(ids, inputs, targets):
        chosen = np.flatnonzero(row_targets != IGNORE)
        for span in np.split(chosen, np.flatnonzero(np.diff(chosen) > 1) + 1):
            hidden, kept = row_inputs[span] == MASK_ID, row_inputs[span] == row_ids[span]
            assert hidden.all() or not hidden.any()
            fates.append("mask" if hidden.all() else "keep" if kept.all() else "random")
    share = {fate: fates.count(fate) / len(fates) for fate in ("mask", "random", "keep")}
    assert abs(share["mask"] - 0.8) < 0.03
    assert abs(share["random"] - 0.1) < 0.02 and abs(share["keep"] - 0.1) < 0.02


def test_random_replacements_come_from_the_batch():
    ids = np.random.default_rng(0).integers(97, 123, (20, 1000))
    inputs, _ = mask_spans(ids, np.random.default_rng(1))
    replaced = inputs[(inputs != MASK_ID) & (inputs != ids)]
    assert len(replaced) > 100 and 97 <= replaced.min() <= replaced.max() < 123


def test_spans_are_placed_evenly():
    ids = np.ones((3000, 100), np.int64)
    _, targets = mask_spans(ids, np.random.default_rng(2))
    # five standard deviations of a share of 3,000 rows; the row's ends count like its middle
    assert abs((targets != IGNORE).mean(axis=0) - 0.15).max() < 5 * (0.15 * 0.85 / 3000) ** 0.5


def test_masking_edges():
    rng = np.random.default_rng(0)
    _, targets = mask_spans(np.array([[0, 0], [0, 65]]), rng)
    assert targets.tolist() == [[IGNORE, IGNORE], [IGNORE, 65]]
    for n in range(1, 12):  # the most crowded rows
        _, targets = mask_spans(np.ones((5, n), np.int64), rng, rate=0.5, mean_span=1)
        assert ((targets != IGNORE).sum(axis=1) == max(1, n // 2)).all()
    ids = np.ones((2, 8), np.int64)
    assert_refused("rate must lie in", mask_spans, ids, rng, rate=0.0)
    assert_refused("rate must lie in", mask_spans, ids, rng, rate=0.9)
    assert_refused("mean_span must be at least 1", mask_spans, ids, rng, mean_span=0)
    assert_refused("already hold mask_id=1", mask_spans, ids, rng, mask_id=1)
    assert_refused("shape .8,. of int64", mask_spans, ids[0], rng)
    assert_refused("of float64", mask_spans, ids.astype(float), rng)
