"""A corpus of tokens: what is taken, what is refused, and that no id changes on its way into a batch."""

import numpy as np
import pytest
import torch
from refusals import assert_refused
from small_tokens import counting

from flash_tutorial.corpora import IGNORE, evaluation_windows, load_tokens, random_windows
from flash_tutorial.corpora.spans import hide_spans
from flash_tutorial.training import first_bytes

IDS = np.random.default_rng(0).integers(0, 50_257, 1000)


@pytest.fixture
def memmap(tmp_path):
    IDS.astype(np.uint16).tofile(tmp_path / "train.bin")
    return np.memmap(tmp_path / "train.bin", np.uint16, mode="r")


KINDS = {
    "uint16": IDS.astype(np.uint16),
    "int64": IDS,
    "big-endian": IDS.astype(">u4"),
    "uint64": IDS.astype(np.uint64),
    "a list": IDS.tolist(),
    "a tensor": torch.from_numpy(IDS),
    "every second": np.repeat(IDS, 2)[::2],
}


@pytest.mark.parametrize("kind", [*KINDS, "memmap"])
def test_integers_of_any_kind_are_one_corpus(kind, memmap):
    corpus = load_tokens(memmap if kind == "memmap" else KINDS[kind], 50_257)
    splits = corpus.train, corpus.validation, corpus.test
    assert np.concatenate([split.tokens for split in splits]).tolist() == IDS.tolist()
    assert [len(split.tokens) for split in splits] == [900, 50, 50]
    # equal tokens are equal bytes, so a run goes on with them whatever they came as
    assert {split.tokens.dtype for split in splits} == {np.dtype(np.uint16)}


def test_a_large_memmap_stays_one(memmap):
    tokens = load_tokens(memmap, 50_257).train.tokens
    assert np.shares_memory(tokens, memmap)


def test_no_id_wraps_on_its_way_into_a_batch():
    """Ids beyond 255 in batches are those of the array, each after the one that stands before it."""
    corpus = load_tokens(np.arange(1000, dtype=np.uint16) + 40_000, 41_000)
    ids, targets = random_windows(corpus.train, 16, 30, np.random.default_rng(0))
    assert ids.dtype == targets.dtype == np.int64 and targets.min() >= 40_000
    assert (ids[:, 1:] == targets[:, :-1]).all() and set((targets - ids)[ids != 41_000]) == {1}
    ids, targets, mask = evaluation_windows(corpus.validation, 30)
    assert targets[mask].tolist() == list(range(40_900, 40_950)) and ids[0, 0] == 41_000
    ids, targets, _ = evaluation_windows(corpus.train, 30)
    inputs, hidden = hide_spans(targets, np.random.default_rng(0), corpus.vocabulary)
    chosen = hidden != IGNORE
    assert (hidden[chosen] == targets[chosen]).all() and (inputs[chosen] == 41_001).mean() > 0.5
    assert (inputs[~chosen] == targets[~chosen]).all()


def test_token_0_is_a_token():
    """For bytes id 0 is the start; a vocabulary of one's own uses it, so the start and the padding are an id beyond."""
    corpus = load_tokens(np.zeros(40, np.uint8), 2)
    ids, targets, mask = evaluation_windows(corpus.train, 50)
    assert ids[0].tolist() == [2] + [0] * 35 + [2] * 14
    assert targets[0, :36].tolist() == [0] * 36 and mask.sum() == 36
    _, hidden = hide_spans(targets, np.random.default_rng(0), corpus.vocabulary)
    assert (hidden != IGNORE).sum() == int(0.15 * 36) and set(hidden[hidden != IGNORE]) == {0}


@pytest.mark.parametrize(
    "vocab_size, dtype",
    [(2, np.uint8), (65, np.uint8), (256, np.uint8), (257, np.uint16), (65_537, np.uint32)],
)
def test_the_type_holds_the_largest_id(vocab_size, dtype):
    tokens = load_tokens(np.full(100, vocab_size - 1), np.int64(vocab_size)).train.tokens
    assert tokens.dtype == dtype and set(tokens.tolist()) == {vocab_size - 1}


def test_documents_are_split_whole_as_those_of_a_file():
    corpus = counting(100, offsets=[0, 1, 40, 60, 99, 100])
    offsets = [s.offsets.tolist() for s in (corpus.train, corpus.validation, corpus.test)]
    assert offsets == [[0, 1, 40, 60], [0, 39], [0, 1]]
    assert corpus.test.tokens.tolist() == [99 % 5] and corpus.vocabulary.tokens == 5
    ids, _, mask = evaluation_windows(corpus.train, 50)
    # a document of one token is a target as any other
    assert mask.sum() == 60 and (ids[:, 0] == 5).all()
    cut = first_bytes(corpus.train, 41)
    assert cut.offsets.tolist() == [0, 1, 40, 41] and cut.vocabulary == corpus.vocabulary


def test_three_arrays_are_three_splits():
    parts = {"train": [0, 1, 2], "validation": np.array([3]), "test": [4, 4]}
    corpus = load_tokens(parts, 5, offsets={"train": [0, 2, 3]})
    assert corpus.train.document(1).tolist() == [2] and corpus.validation.tokens.tolist() == [3]
    assert corpus.test.n_documents == 1


@pytest.mark.parametrize(
    "array, words",
    [
        (IDS - 60_000, "holds the id -[0-9]+: expected 0 to 50256"),
        (IDS + 50_257, r"holds the id 100\d\d\d: expected"),
        (IDS.astype(float), r"float64: expected one row of integer ids"),
        (IDS > 5, "bool: expected one row"),
        (IDS.reshape(10, 100), r"shape \(10, 100\)"),
        ([], "is empty"),
        (np.int64(3), r"shape \(\)"),
        ([[1], [2, 3]], "no array"),
        (["a", "b"], "<U1: expected"),
        (None, "expected one row"),
        (IDS[:19], "19 tokens are too few"),
        ({"train": IDS, "validation": IDS}, "validation: expected train, validation, test"),
        ({"train": IDS, "validation": IDS, "test": []}, "test is empty"),
        (b"bytes", "expected one row"),
    ],
)
def test_what_is_no_row_of_ids_is_named(array, words):
    assert_refused(words, load_tokens, array, 50_257)


@pytest.mark.parametrize(
    "offsets", [[0, 10], [1, 1000], [0, 500, 500, 1000], [0, 600, 500, 1000], [0.0, 1000.0], [0]]
)
def test_offsets_that_are_none_are_named(offsets):
    assert_refused("offsets", load_tokens, IDS, 50_257, offsets=offsets)


@pytest.mark.parametrize("vocab_size", [0, -1, 2.0, True, None])
def test_a_vocabulary_that_cannot_be_is_named(vocab_size):
    said = f"vocab_size={vocab_size!r}: expected an integer of at least 1"
    assert_refused(said, load_tokens, IDS, vocab_size)
