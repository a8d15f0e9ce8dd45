"""Corpora: the novels in the package, and files of the reader's own."""

import bz2
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from refusals import assert_refused

from flash_tutorial import corpora
from flash_tutorial.corpora import load_corpus, online

CORPUS_FOLDER = Path(corpora.__file__).parent


# ---------------------------------------------------------------- the embedded novels


def test_austen_is_split_by_novel(austen):
    assert austen.train.titles == (
        "Sense and Sensibility",
        "Pride and Prejudice",
        "Mansfield Park",
        "Emma",
    )
    assert austen.validation.titles == ("Persuasion",)
    assert austen.test.titles == ("Northanger Abbey",)
    assert [len(split.tokens) for split in (austen.train, austen.validation, austen.test)] == [
        3_124_536,
        466_828,
        432_914,
    ]
    digest = hashlib.sha256(austen.validation.tokens.tobytes()).hexdigest()
    assert digest.startswith("c1d91381ade659d3")
    assert austen.train.tokens.dtype == np.uint8 and austen.train.offsets.dtype == np.int64
    assert austen.train.document(1).tobytes().lstrip().upper().startswith(b"PRIDE AND PREJUDICE")
    for split in (austen.train, austen.validation, austen.test):
        assert split.tokens.min() > 0, "NUL must stay free to separate documents"


@pytest.fixture
def austen_copy(tmp_path):
    for name in ("austen.txt.bz2", "manifest.json"):
        shutil.copy(CORPUS_FOLDER / name, tmp_path / name)
    return tmp_path


def test_austen_cut_off_altered_or_gone(austen_copy):
    packed, manifest = austen_copy / "austen.txt.bz2", austen_copy / "manifest.json"
    raw = packed.read_bytes()

    def refuses(match):
        assert_refused(match, corpora.load_austen, austen_copy)

    packed.write_bytes(raw[:-1000])
    refuses("'austen' is damaged .*install the package again")
    text = bytearray(bz2.decompress(raw))
    text[2_500_000] ^= 1
    packed.write_bytes(bz2.compress(bytes(text), 1))
    refuses("the text of Emma is altered")
    packed.write_bytes(raw)
    facts = json.loads(manifest.read_text())
    facts["austen"]["sha256"] = "0" * 64
    manifest.write_text(json.dumps(facts))
    refuses("as a whole is altered")  # which is checked beside its novels
    packed.unlink()
    refuses("'austen' is damaged .*restore")


# ---------------------------------------------------------------- names and files of the reader's own


def test_a_text_in_place_of_its_path_is_not_printed_whole():
    said = assert_refused("neither a corpus nor a file", load_corpus, "To be, or not. " * 1000)
    assert len(said) < 400


def test_unknown_name_lists_what_is_known():
    message = assert_refused(
        "'shakespear' is neither a corpus nor a file", load_corpus, "shakespear"
    )
    assert all(name in message for name in ("austen", *online.SOURCES))
    assert_refused("by its name or a path, got 3", load_corpus, 3)
    assert_refused("'austen' is always whole", load_corpus, "austen", max_bytes=1000)


def test_own_file_with_one_document_is_split_by_position(tmp_path):
    path = tmp_path / "own.txt"
    text = ("Grüße, " * 200).encode()
    path.write_bytes(b"\xef\xbb\xbf" + text)
    corpus = load_corpus(path)
    parts = [corpus.train, corpus.validation, corpus.test]
    assert b"".join(part.tokens.tobytes() for part in parts) == text
    held = round(0.05 * len(text))
    assert [len(part.tokens) for part in parts] == [len(text) - 2 * held, held, held]
    assert corpus.name == "own.txt" and corpus.train.n_documents == 1


def test_own_file_with_documents_is_split_by_document(tmp_path):
    documents = [f"document {i} ".encode() * (i + 1) for i in range(40)]
    (tmp_path / "own.txt").write_bytes(b"\0".join(documents) + b"\0\0")
    corpus = load_corpus(str(tmp_path / "own.txt"))
    got = [
        [s.document(i).tobytes() for i in range(s.n_documents)]
        for s in (corpus.train, corpus.validation, corpus.test)
    ]
    assert got == [documents[:36], documents[36:38], documents[38:]]


def test_two_documents_keep_their_border_when_cut_by_position(tmp_path):
    (tmp_path / "own.txt").write_bytes(b"a" * 300 + b"\0" + b"b" * 700)
    train = load_corpus(tmp_path / "own.txt").train
    assert train.offsets.tolist() == [0, 300, 900]


def test_own_file_is_cut_between_characters(tmp_path):
    (tmp_path / "own.txt").write_text("ä" * 500, encoding="utf-8")
    corpus = load_corpus(tmp_path / "own.txt", max_bytes=101)
    assert sum(len(s.tokens) for s in (corpus.train, corpus.validation, corpus.test)) == 100


@pytest.mark.parametrize(
    "raw, match",
    [
        (b"", "is empty"),
        (b" \n\0\n", "is empty"),
        (b"too short", "has 9 bytes, too few"),
        ("café, and more text".encode("latin-1"), "not UTF-8 .byte 0xe9 at position 3"),
        ("plain text, wide letters".encode("utf-16"), "not UTF-8 .byte 0xff at position 0"),
        ("plain text, wide letters".encode("utf-16-le"), "looks like UTF-16"),
        ("простой русский текст".encode("utf-16-le"), "UTF-16 or binary data .* control"),
        ("простой русский текст".encode("utf-16-be"), "UTF-16 or binary data .* control"),
    ],
)
def test_files_that_are_no_text(tmp_path, raw, match):
    (tmp_path / "own.txt").write_bytes(raw)
    assert_refused(match, load_corpus, tmp_path / "own.txt")


def test_missing_file_folder_and_wrong_limit(tmp_path):
    assert_refused("neither a corpus nor a file", load_corpus, tmp_path / "absent.txt")
    assert_refused("cannot read .* give the path", load_corpus, tmp_path)
    own, said = tmp_path / "own.txt", "max_bytes=.*: expected an integer of at least 20 or None"
    own.write_text("some text to be cut into splits")
    for limit in (0, -5, 19, 1e6):
        assert_refused(said, load_corpus, own, max_bytes=limit)
