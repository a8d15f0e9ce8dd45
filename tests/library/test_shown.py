"""What a reader prints is one line, however long the text is that stands behind it."""

import numpy as np
import pytest
from small_run import run
from small_tokens import TEXT, tokenizer

from flash_tutorial import load_tokens
from flash_tutorial.corpora import Split, first_bytes
from flash_tutorial.training import Evaluation

pytestmark = pytest.mark.usefixtures("one_thread")


def assert_one_line(value, *said):
    for text in (str(value), repr(value), f"{[value]}"):
        assert "\n" not in text and len(text) < 250, text
        assert all(part in text for part in said), text


def test_texts_are_shown_in_one_line(corpus):
    n = len(corpus.train.tokens)
    assert_one_line(corpus, f"Corpus({corpus.name!r}: train of {n:,} bytes in", "test of")
    assert_one_line(corpus.train, f"Split({n:,} bytes in")
    assert_one_line(first_bytes(corpus.train, 5), "Split(5 bytes in 1 document)")
    assert_one_line(corpus.vocabulary, "Vocabulary(bytes)")
    many = Split.from_documents([b"a"] * 2000, ["a long title"] * 2000)
    assert_one_line(many, "Split(2,000 bytes in 2,000 documents)")


def test_tokens_are_shown_in_one_line(corpus):
    tokens = load_tokens(np.arange(100_000) % 7, 7, name="mine")
    assert_one_line(tokens, "Corpus('mine': train of 90,000 tokens in 1 document")
    assert_one_line(tokens.vocabulary, "Vocabulary(7 tokens, no tokenizer)")
    encoded = load_tokens(np.arange(400) % 300, 300, tokenizer())
    assert len(encoded.vocabulary.tokenizer) > 1000 and len(TEXT) > 1000
    assert_one_line(encoded, "tokens in 1 document")
    assert_one_line(encoded.vocabulary, "Vocabulary(300 tokens, a tokenizer)")


def test_what_came_out_is_shown_in_one_line(corpus):
    done = run(corpus)
    assert_one_line(done, "Run(LanguageModel, 10 updates, Evaluation(bits_per_token=")
    assert_one_line(Evaluation(2.0, np.zeros(5000), 10), "bits_per_token=2.0000", "T=5000")
