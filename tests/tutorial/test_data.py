"""Tokenizer, windows, span masking."""

import numpy as np
import pytest
from refusals import assert_refused

from flash_tutorial.data import (
    IGNORE,
    MASK_ID,
    START_ID,
    ByteTokenizer,
    Split,
    evaluation_windows,
    mask_spans,
    random_windows,
)

pytestmark = pytest.mark.quick

# Documents whose bytes name them: document i holds bytes 32 i + 1 .. 32 i + 31, so a crossing is seen at once
LENGTHS = (70, 1, 33, 32, 5, 150)


def marked_split(lengths=LENGTHS):
    documents = [bytes(32 * i + 1 + j % 31 for j in range(n)) for i, n in enumerate(lengths)]
    return Split.from_documents(documents)


# --- tokenizer ---


def test_bytes_go_there_and_back():
    text = "Emma — naïve \N{GRINNING FACE}\n"
    for tokenizer in (ByteTokenizer(), ByteTokenizer(masked=True)):
        ids = tokenizer.encode(text)
        assert ids.dtype == np.int64 and ids.tolist() == list(text.encode("utf-8"))
        assert tokenizer.decode(ids) == tokenizer.decode(ids.tolist()) == text
    assert tokenizer.encode("").shape == (0,) and tokenizer.decode([]) == ""
    assert (ByteTokenizer().vocab_size, ByteTokenizer().mask_id) == (256, None)
    assert (tokenizer.vocab_size, tokenizer.mask_id) == (257, 256)


def test_decode_of_broken_text_and_wrong_ids():
    assert ByteTokenizer().decode([72, 0xC3, 105]) == "H\N{REPLACEMENT CHARACTER}i"
    assert ByteTokenizer(masked=True).decode([72, MASK_ID]) == "H\N{OPEN BOX}"
    assert_refused(r"0\.\.255, got 72\.\.256", ByteTokenizer().decode, [72, 256])
    assert_refused(r"0\.\.256, got -1\.\.7", ByteTokenizer(masked=True).decode, [7, -1])
    assert_refused("one row of integer ids, got shape", ByteTokenizer().decode, [[72]])
    assert_refused("float64", ByteTokenizer().decode, [72.0])
    assert_refused("position 1 has no UTF-8 form", ByteTokenizer().encode, "a\ud800")


# --- windows ---


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
        random_windows(austen.train, 4, 64, np.random.default_rng(seed)) for seed in ((7, 3), (7, 3), (7, 4))
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
    assert_refused(f"length={length}: expected an integer of at least 1", random_windows, split, 2, length, rng)
    assert_refused(f"length={length}: expected an integer of at least 1", evaluation_windows, split, length)
    assert_refused("batch=0: expected an integer of at least 1", random_windows, split, 0, 4, rng)


# --- span masking ---


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
    assert abs(lengths.mean() - 5) < 0.35  # some 3,600 spans of standard deviation 4.5: four standard errors
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
