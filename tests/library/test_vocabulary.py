"""What ids mean: the ids beyond a text, and the way to text and back."""

import sys

import numpy as np
import pytest
from refusals import assert_refused
from small_tokens import TEXT, tokenizer

from flash_tutorial.corpora import load_tokens
from flash_tutorial.corpora.vocabulary import (
    BYTES,
    MASK_ID,
    ByteTokenizer,
    Vocabulary,
    text_of,
    vocabulary_of,
)


@pytest.mark.parametrize(
    "vocabulary, start, mask, causal, masked",
    [
        (BYTES, 0, 256, 256, 257),
        (Vocabulary(65), 65, 66, 66, 67),
        (Vocabulary(50_257), 50_257, 50_258, 50_258, 50_259),
    ],
)
def test_the_ids_beyond_a_text(vocabulary, start, mask, causal, masked):
    assert (vocabulary.start_id, vocabulary.mask_id) == (start, mask)
    for least, reads_left in ((causal, True), (masked, False)):
        assert vocabulary.ids(reads_left) == least
        vocabulary.check(least, reads_left)
        said = f"vocab_size={least - 1}: expected at least {least}"
        assert_refused(said, vocabulary.check, least - 1, reads_left)


def test_text_becomes_tokens_and_text_again(tmp_path):
    made = tokenizer()
    made.save(str(tmp_path / "tokenizer.json"))
    for kind in (made, tmp_path / "tokenizer.json", str(tmp_path / "tokenizer.json")):
        vocabulary = vocabulary_of(kind)
        assert vocabulary.tokens == 300 and vocabulary == vocabulary_of(made)
        ids = vocabulary.encode(TEXT)
        assert ids.dtype == np.int64 and ids.tolist() == made.encode(TEXT).ids
        assert len(ids) < len(TEXT.encode()) / 2
        assert vocabulary.decode(ids) == TEXT


def test_a_tokenizer_that_cuts_or_pads_does_neither_here():
    made = tokenizer()
    made.enable_truncation(5)
    made.enable_padding(length=5000)
    assert vocabulary_of(made).decode(vocabulary_of(made).encode(TEXT)) == TEXT


def test_a_corpus_of_text_becomes_one_of_tokens(corpus):
    of_tokens = corpus.encoded(tokenizer())
    for here, there in ((corpus.train, of_tokens.train), (corpus.test, of_tokens.test)):
        assert there.vocabulary.tokens == 300 and there.tokens.dtype == np.uint16
        assert there.n_bytes == len(here.tokens) > len(there.tokens)
        assert there.n_documents == here.n_documents
        for i in range(here.n_documents):
            decoded = there.vocabulary.decode(there.document(i))
            assert decoded.encode() == here.document(i).tobytes()


def test_what_is_no_tokenizer_is_named(tmp_path):
    (tmp_path / "tokenizer.json").write_text('{"model": 3}')
    assert_refused("tokenizer is a int: expected a tokenizers.Tokenizer", text_of, 3)
    assert_refused("cannot be read", text_of, tmp_path / "absent.json")
    (tmp_path / "text.json").write_text("no JSON")
    assert_refused("cannot be read", text_of, tmp_path / "text.json")
    pytest.importorskip("tokenizers")
    assert_refused("the tokenizer cannot be read", vocabulary_of, tmp_path / "tokenizer.json")
    assert_refused(
        "vocab_size=299: the tokenizer has ids up to 299", load_tokens, range(100), 299, tokenizer()
    )


def test_without_its_library_a_tokenizer_is_one_line_and_bytes_need_none(monkeypatch):
    vocabulary = vocabulary_of(tokenizer())
    fresh = Vocabulary(vocabulary.tokens, vocabulary.tokenizer)
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    assert_refused("pip install tokenizers", fresh.encode, "text")
    assert_refused("pip install tokenizers", fresh.decode, [1])
    assert_refused("5 tokens without a tokenizer", Vocabulary(5).decode, [1])
    assert BYTES.decode(BYTES.encode(TEXT)) == TEXT


def test_bytes_go_there_and_back():
    text = "Emma — naïve \N{GRINNING FACE}\n"
    for ours in (ByteTokenizer(), ByteTokenizer(masked=True)):
        ids = ours.encode(text)
        assert ids.dtype == np.int64 and ids.tolist() == list(text.encode("utf-8"))
        assert ours.decode(ids) == ours.decode(ids.tolist()) == text
    assert ours.encode("").shape == (0,) and ours.decode([]) == ""
    assert (ByteTokenizer().vocab_size, ByteTokenizer().mask_id) == (256, None)
    assert (ours.vocab_size, ours.mask_id) == (257, 256)


def test_decode_of_broken_text_and_wrong_ids():
    assert ByteTokenizer().decode([72, 0xC3, 105]) == "H\N{REPLACEMENT CHARACTER}i"
    assert ByteTokenizer(masked=True).decode([72, MASK_ID]) == "H\N{OPEN BOX}"
    assert_refused(r"0\.\.255, got 72\.\.256", ByteTokenizer().decode, [72, 256])
    assert_refused(r"0\.\.256, got -1\.\.7", ByteTokenizer(masked=True).decode, [7, -1])
    assert_refused("one row of integer ids, got shape", ByteTokenizer().decode, [[72]])
    assert_refused("float64", ByteTokenizer().decode, [72.0])
    assert_refused("position 1 has no UTF-8 form", ByteTokenizer().encode, "a\ud800")


def test_a_text_gets_no_token_that_the_tokenizer_puts_around_it():
    tokenizers = pytest.importorskip("tokenizers")
    plain = tokenizer()
    made = tokenizer()
    made.add_special_tokens(["<s>"])
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A <s>", special_tokens=[("<s>", made.token_to_id("<s>"))]
    )
    assert vocabulary_of(made).encode(TEXT).tolist() == plain.encode(TEXT).ids
