"""Windows for training and for the score."""

import numpy as np
import pytest
from refusals import assert_refused

from flash_tutorial.corpora import IGNORE, START_ID, Split, evaluation_windows, random_windows

# Documents whose bytes name them: document i holds bytes 32 i + 1 .. 32 i + 31, so a crossing is seen at once
LENGTHS = (70, 1, 33, 32, 5, 150)


def marked_split(lengths=LENGTHS):
    documents = [bytes(32 * i + 1 + j % 31 for j in range(n)) for i, n in enumerate(lengths)]
    return Split.from_documents(documents)


def document_of(values):
    """Which documents of marked_split the non-NUL ids or targets belong to."""
    values = values[values > 0]
    return set(((values - 1) // 32).tolist())


def test_random_windows_stay_in_one_document_and_are_shifted_by_one():
    ids, targets = random_windows(marked_split(), 400, 32, np.random.default_rng(0))
    assert ids.shape == targets.shape == (400, 32) and ids.dtype == targets.dtype == np.int64
    seen = set()
    for row_ids, row_targets in zip(ids, targets):
        valid = row_targets != IGNORE
        assert np.array_equal(row_ids[1:][valid[1:]], row_targets[:-1][valid[1:]])
        assert len(document_of(row_targets)) == 1
        assert document_of(row_ids) <= document_of(row_targets)
        seen |= document_of(row_targets)
    assert seen == set(range(len(LENGTHS))), "a document was never drawn"


def test_random_windows_fill_up_short_documents_behind():
    split = marked_split()
    ids, targets = random_windows(split, 400, 32, np.random.default_rng(1))
    short = targets[:, 0] == split.document(4)[0]  # 5 bytes
    assert short.any()
    for row_ids, row_targets in zip(ids[short], targets[short]):
        assert row_targets.tolist() == [*split.document(4), *[IGNORE] * 27]
        assert row_ids.tolist() == [START_ID, *split.document(4)[:-1], *[START_ID] * 27]
    assert (targets[:, 0] != IGNORE).all()


def test_random_windows_are_uniform_over_valid_starts():
    split, length, draws = marked_split((40, 3, 20, 12)), 10, 60_000
    _, targets = random_windows(split, draws, length, np.random.default_rng(2))
    counts = {}
    for row in targets:
        counts[tuple(row.tolist())] = counts.get(tuple(row.tolist()), 0) + 1
    starts = 31 + 1 + 11 + 3  # n - T + 1 for each document, one for the short document
    assert len(counts) == starts
    expected = draws / starts
    assert max(abs(n - expected) for n in counts.values()) < 5 * expected**0.5


def test_random_windows_come_from_the_generator_alone(austen):
    first, again, other = (
        random_windows(austen.train, 4, 64, np.random.default_rng(seed))
        for seed in ((7, 3), (7, 3), (7, 4))
    )
    assert np.array_equal(first[0], again[0]) and np.array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])


@pytest.mark.parametrize("length", [1, 7, 32, 33, 1000])
def test_evaluation_windows_cover_each_byte_once(length):
    split = marked_split()
    ids, targets, mask = evaluation_windows(split, length)
    assert ids.shape == targets.shape == mask.shape and ids.shape[1] == length
    assert np.array_equal(mask, targets != IGNORE)
    assert np.array_equal(targets[mask], split.tokens)
    # the id under a target is the byte before it in the document, NUL at the document's start
    before = np.concatenate([[START_ID], split.tokens[:-1]])
    before[split.offsets[:-1]] = START_ID
    assert np.array_equal(ids[mask], before)
    assert (ids[~mask] == START_ID).all()
    assert all(len(document_of(row)) == 1 for row in targets)


def test_evaluation_windows_on_persuasion(austen):
    _, targets, mask = evaluation_windows(austen.validation, 512)
    assert len(targets) == -(-466_828 // 512) and mask.sum() == 466_828
    assert targets[mask].astype(np.uint8).tobytes() == austen.validation.tokens.tobytes()


@pytest.mark.parametrize("length", [0, -1, 2.5, None])
def test_window_lengths_are_checked(length):
    split, rng = marked_split(), np.random.default_rng(0)
    said = f"length={length}: expected an integer of at least 1"
    assert_refused(said, random_windows, split, 2, length, rng)
    assert_refused(said, evaluation_windows, split, length)
    assert_refused("batch=0: expected an integer of at least 1", random_windows, split, 0, 4, rng)
