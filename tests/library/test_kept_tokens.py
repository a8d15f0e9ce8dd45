"""A text in tokens is encoded once: what is kept is what was made, whole, and of that text and tokenizer alone."""

from dataclasses import replace

import numpy as np
import pytest
from refusals import assert_one_line
from small_tokens import TEXT, tokenizer

from flash_tutorial.corpora import Corpus, load_file
from flash_tutorial.corpora.kept import encoded


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return load_file(path)


def test_the_second_call_reads_what_the_first_one_made(text, tmp_path, monkeypatch):
    made, plain = encoded(text, tokenizer(), tmp_path / "kept"), text.encoded(tokenizer())
    monkeypatch.setattr(Corpus, "encoded", None)  # nothing is encoded any more
    again = encoded(text, tokenizer(), tmp_path / "kept")
    for name in ("train", "validation", "test"):
        one, other, third = (getattr(corpus, name) for corpus in (made, plain, again))
        assert (
            one.sha256 == other.sha256 == third.sha256 and third.tokens.dtype == other.tokens.dtype
        )
        assert third.vocabulary == other.vocabulary and third.titles == other.titles
    assert again.name == text.name and again.train.n_bytes == plain.train.n_bytes


def test_another_text_or_tokenizer_has_files_of_its_own(text, tmp_path):
    for size in (300, 310):
        encoded(text, tokenizer(size), tmp_path / "kept")
    (tmp_path / "text.txt").write_text(TEXT[:-1], encoding="utf-8")
    encoded(load_file(tmp_path / "text.txt"), tokenizer(), tmp_path / "kept")
    assert len([*(tmp_path / "kept").glob("text-*.npz")]) == 3
    assert len([*(tmp_path / "kept").iterdir()]) == 6


def test_what_was_altered_is_not_read(text, tmp_path):
    encoded(text, tokenizer(), tmp_path / "kept")
    (path,) = (tmp_path / "kept").glob("*.npz")
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    assert_one_line(lambda: encoded(text, tokenizer(), tmp_path / "kept"), path.name, "delete it")
    path.unlink()
    assert np.array_equal(
        encoded(text, tokenizer(), tmp_path / "kept").train.tokens,
        text.encoded(tokenizer()).train.tokens,
    )


def test_another_validation_text_has_files_of_its_own(text, tmp_path):
    encoded(text, tokenizer(), tmp_path / "kept")
    other = replace(text, validation=text.train)
    assert encoded(other, tokenizer(), tmp_path / "kept").validation.n_bytes == text.train.n_bytes
