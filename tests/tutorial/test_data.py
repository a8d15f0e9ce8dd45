"""Corpora, tokenizer, windows, span masking, the online loaders on local files."""

import bz2
import errno
import gzip
import hashlib
import http.server
import importlib.util
import io
import json
import re
import shutil
import sys
import threading
import zipfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from flash_tutorial import corpora
from flash_tutorial.corpora import online
from flash_tutorial.data import (
    IGNORE,
    MASK_ID,
    START_ID,
    ByteTokenizer,
    Split,
    evaluation_windows,
    load_corpus,
    mask_spans,
    random_windows,
)

pytestmark = pytest.mark.quick

CORPUS_FOLDER = Path(corpora.__file__).parent
# Documents whose bytes name them: document i holds bytes 32 i + 1 .. 32 i + 31, so a crossing is seen at once
LENGTHS = (70, 1, 33, 32, 5, 150)


def marked_split(lengths=LENGTHS):
    documents = [bytes(32 * i + 1 + j % 31 for j in range(n)) for i, n in enumerate(lengths)]
    return Split.from_documents(documents)


def one_line_error(match, call, *args, **kwargs):
    """The message of the ValueError, which must match and be a single line."""
    with pytest.raises(ValueError, match=match) as caught:
        call(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- the embedded novels ---


@pytest.fixture(scope="module")
def austen():
    return load_corpus("austen")


def test_austen_is_split_by_novel(austen):
    assert austen.train.titles == ("Sense and Sensibility", "Pride and Prejudice", "Mansfield Park", "Emma")
    assert austen.validation.titles == ("Persuasion",)
    assert austen.test.titles == ("Northanger Abbey",)
    assert [len(split.tokens) for split in (austen.train, austen.validation, austen.test)] == [
        3_124_536,
        466_828,
        432_914,
    ]
    assert hashlib.sha256(austen.validation.tokens.tobytes()).hexdigest().startswith("c1d91381ade659d3")
    assert austen.train.tokens.dtype == np.uint8 and austen.train.offsets.dtype == np.int64
    assert austen.train.document(1).tobytes().lstrip().upper().startswith(b"PRIDE AND PREJUDICE")
    for split in (austen.train, austen.validation, austen.test):
        assert split.tokens.min() > 0, "NUL must stay free to separate documents"


@pytest.fixture
def austen_copy(tmp_path):
    for name in ("austen.txt.bz2", "manifest.json"):
        shutil.copy(CORPUS_FOLDER / name, tmp_path / name)
    return tmp_path


def test_austen_truncated(austen_copy):
    packed = austen_copy / "austen.txt.bz2"
    packed.write_bytes(packed.read_bytes()[:-1000])
    one_line_error("'austen' is damaged .*install the package again", corpora.load_austen, austen_copy)


def test_austen_altered_by_one_letter(austen_copy):
    packed = austen_copy / "austen.txt.bz2"
    text = bytearray(bz2.decompress(packed.read_bytes()))
    text[2_500_000] ^= 1
    packed.write_bytes(bz2.compress(bytes(text), 1))
    one_line_error("the text of Emma is altered", corpora.load_austen, austen_copy)


def test_austen_whole_is_checked_beside_its_novels(austen_copy):
    manifest = json.loads((austen_copy / "manifest.json").read_text())
    manifest["austen"]["sha256"] = "0" * 64
    (austen_copy / "manifest.json").write_text(json.dumps(manifest))
    one_line_error("as a whole is altered", corpora.load_austen, austen_copy)


def test_austen_without_its_file(austen_copy):
    (austen_copy / "austen.txt.bz2").unlink()
    one_line_error("'austen' is damaged .*restore", corpora.load_austen, austen_copy)


# --- names and files of the reader's own ---


def test_unknown_name_lists_what_is_known():
    message = one_line_error("'shakespear' is neither a corpus nor a file", load_corpus, "shakespear")
    assert all(name in message for name in ("austen", *online.SOURCES))
    one_line_error("by its name or a path, got 3", load_corpus, 3)
    one_line_error("'austen' is always whole", load_corpus, "austen", max_bytes=1000)


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
        [s.document(i).tobytes() for i in range(s.n_documents)] for s in (corpus.train, corpus.validation, corpus.test)
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
    ],
)
def test_files_that_are_no_text(tmp_path, raw, match):
    (tmp_path / "own.txt").write_bytes(raw)
    one_line_error(match, load_corpus, tmp_path / "own.txt")


def test_missing_file_folder_and_wrong_limit(tmp_path):
    one_line_error("neither a corpus nor a file", load_corpus, tmp_path / "absent.txt")
    one_line_error("cannot read .* give the path", load_corpus, tmp_path)
    (tmp_path / "own.txt").write_text("some text to be cut into splits")
    for limit in (0, -5, 19, 1e6):
        one_line_error(
            "max_bytes=.*: expected an integer of at least 20 or None",
            load_corpus,
            tmp_path / "own.txt",
            max_bytes=limit,
        )


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
    one_line_error(r"0\.\.255, got 72\.\.256", ByteTokenizer().decode, [72, 256])
    one_line_error(r"0\.\.256, got -1\.\.7", ByteTokenizer(masked=True).decode, [7, -1])
    one_line_error("one row of integer ids, got shape", ByteTokenizer().decode, [[72]])
    one_line_error("float64", ByteTokenizer().decode, [72.0])
    one_line_error("position 1 has no UTF-8 form", ByteTokenizer().encode, "a\ud800")


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
    one_line_error(f"length={length}: expected an integer of at least 1", random_windows, split, 2, length, rng)
    one_line_error(f"length={length}: expected an integer of at least 1", evaluation_windows, split, length)
    one_line_error("batch=0: expected an integer of at least 1", random_windows, split, 0, 4, rng)


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
    one_line_error("rate must lie in", mask_spans, ids, rng, rate=0.0)
    one_line_error("rate must lie in", mask_spans, ids, rng, rate=0.9)
    one_line_error("mean_span must be at least 1", mask_spans, ids, rng, mean_span=0)
    one_line_error("already hold mask_id=1", mask_spans, ids, rng, mask_id=1)
    one_line_error("shape .8,. of int64", mask_spans, ids[0], rng)
    one_line_error("of float64", mask_spans, ids.astype(float), rng)


# --- online corpora, from files that the tests make ---


@pytest.fixture
def offer(tmp_path, monkeypatch):
    """offer("c4", {"train": paths, ...}) makes a corpus come from local files."""

    def offer(name, files, **changes):
        urls = {split: tuple(Path(path).resolve().as_uri() for path in paths) for split, paths in files.items()}
        monkeypatch.setitem(online.SOURCES, name, replace(online.SOURCES[name], urls=urls, **changes))

    return offer


def titles(corpus):
    return {name: getattr(corpus, name).titles for name in corpora.SPLITS}


def texts(corpus):
    return {
        name: [split.document(i).tobytes().decode() for i in range(split.n_documents)]
        for name, split in ((name, getattr(corpus, name)) for name in corpora.SPLITS)
    }


def zip_file(path, member, data):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(member, data)
    return path


def json_file(path, documents):
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps({"text": text, "url": "x"}) + "\n" for text in documents)
    return path


def parquet_file(path, **columns):
    pyarrow = pytest.importorskip("pyarrow", reason="parquet corpora need pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table(columns), path, row_group_size=3, write_statistics=False)
    return path


def c4_files(folder):
    return {
        "train": [json_file(folder / f"t{i}.json.gz", [f"train {i} {j} " * 20 for j in range(5)]) for i in range(2)],
        "validation": [json_file(folder / "v.json.gz", ["välid " * 20] * 3)],
        "test": [json_file(folder / "s.json.gz", ["te\0st " * 20])],
    }


def test_zip_corpus_is_cut_and_split_by_position(tmp_path, offer):
    data = bytes(range(97, 123)) * 100
    path = zip_file(tmp_path / "e.zip", "enwik8", data)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    offer("enwik8", {"all": [path]}, documents=partial(online.zip_text, member="enwik8", sha256=digest))
    corpus = load_corpus("enwik8", max_bytes=1000, cache_dir=tmp_path / "cache")
    parts = [corpus.train, corpus.validation, corpus.test]
    assert [len(part.tokens) for part in parts] == [900, 50, 50]
    assert b"".join(part.tokens.tobytes() for part in parts) == data[:1000]
    whole = load_corpus("enwik8", cache_dir=tmp_path / "cache")
    assert sum(len(s.tokens) for s in (whole.train, whole.validation, whole.test)) == len(data)


def test_zip_with_another_checksum_member_or_cut_short(tmp_path, offer):
    path = zip_file(tmp_path / "e.zip", "enwik8", b"not the real one" * 10)
    offer("enwik8", {"all": [path]})
    one_line_error("'enwik8' could not be fetched .*sha256", load_corpus, "enwik8", cache_dir=tmp_path / "cache")
    offer("text8", {"all": [path]})
    one_line_error("no 'text8' in the zip", load_corpus, "text8", cache_dir=tmp_path / "cache")
    path.write_bytes(path.read_bytes()[:-30])
    one_line_error("'text8' could not be fetched", load_corpus, "text8", cache_dir=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_json_corpus_reads_on_into_the_next_file_and_drops_nul(tmp_path, offer):
    offer("c4", c4_files(tmp_path))
    got = texts(load_corpus("c4", cache_dir=tmp_path / "cache"))
    assert got["train"] == [f"train {i} {j} " * 20 for i in range(2) for j in range(5)]
    assert got["validation"] == ["välid " * 20] * 3
    assert got["test"] == ["test " * 20]


def test_max_bytes_is_shared_over_the_splits_and_cuts_between_characters(tmp_path, offer):
    offer("c4", c4_files(tmp_path))
    corpus = load_corpus("c4", max_bytes=1040, cache_dir=tmp_path / "cache")
    assert [len(s.tokens) for s in (corpus.train, corpus.validation, corpus.test)] == [936, 52, 52]
    corpus = load_corpus("c4", max_bytes=1020, cache_dir=tmp_path / "cache")
    assert len(corpus.validation.tokens) == 50, "51 would cut an ä in two"
    texts(corpus)


def test_cut_text():
    text = "aé€\N{GRINNING FACE}".encode()
    assert [len(corpora.cut_text(text, n)) for n in range(12)] == [0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10, 10]


def test_broken_json_and_gzip(tmp_path, offer):
    files = c4_files(tmp_path)
    offer("c4", files)
    whole = files["train"][0].read_bytes()
    files["train"][0].write_bytes(whole[:-20])
    one_line_error("'c4' could not be fetched", load_corpus, "c4", cache_dir=tmp_path / "cache")
    files["train"][0].write_bytes(gzip.compress(b'{"url": "no text"}\n'))
    one_line_error("not a JSON object with a text", load_corpus, "c4", cache_dir=tmp_path / "cache")
    files["train"][0].write_bytes(gzip.compress(b""))
    files["train"].pop()
    offer("c4", files)
    one_line_error("no text in it", load_corpus, "c4", cache_dir=tmp_path / "cache")


WIKITEXT_ROWS = ["", " = Valkyria = \n", "", " First words . \n", " = not a title = \n", "", " = = Section = = \n", "",
                 " More . \n", "", "", " = 1 + 1 = 2 = \n", "", " Sums . \n"]  # fmt: skip


def test_wikitext_lines_are_regrouped_into_articles(tmp_path, offer):
    # an article may go on in the next file
    first = parquet_file(tmp_path / "a.parquet", text=WIKITEXT_ROWS[:4])
    second = parquet_file(tmp_path / "b.parquet", text=WIKITEXT_ROWS[4:])
    held = parquet_file(tmp_path / "c.parquet", text=WIKITEXT_ROWS[11:])
    offer("wikitext-103", {"train": [first, second], "validation": [held], "test": [held]})
    corpus = load_corpus("wikitext-103", cache_dir=tmp_path / "cache")
    assert corpus.train.titles == ("Valkyria", "1 + 1 = 2")
    first_article = "= Valkyria = \n First words . \n = not a title = \n = = Section = = \n More ."
    assert texts(corpus)["train"] == [first_article, "= 1 + 1 = 2 = \n Sums ."]


def listing(path, *entries):
    files = [{"config": config, "split": split, "url": Path(url).resolve().as_uri()} for config, split, url in entries]
    path.write_text(json.dumps({"parquet_files": files}))
    return path


def test_pg19_comes_by_the_hubs_list(tmp_path, offer):
    books = parquet_file(tmp_path / "b.parquet", short_book_title=["One", "Two"], publication_date=[1, 2],
                         text=["First book", "Second book, longer"])  # fmt: skip
    held = parquet_file(tmp_path / "h.parquet", short_book_title=["Three"], text=["Third book"])
    offer(
        "pg19",
        {
            "train": [listing(tmp_path / "t.json", ("default", "train", books))],
            "validation": [listing(tmp_path / "v.json", ("default", "validation", held))],
            "test": [listing(tmp_path / "s.json", ("default", "test", held))],
        },
    )
    corpus = load_corpus("pg19", cache_dir=tmp_path / "cache")
    assert texts(corpus)["train"] == ["First book", "Second book, longer"]
    assert titles(corpus) == {"train": ("One", "Two"), "validation": ("Three",), "test": ("Three",)}
    again = load_corpus("pg19", cache_dir=tmp_path / "cache")
    assert titles(again) == titles(corpus) and texts(again) == texts(corpus)


def test_wiki40b_markers_become_line_ends(tmp_path, offer):
    text = (
        "\n_START_ARTICLE_\nMonte Rosa\n_START_SECTION_\nName\n_START_PARAGRAPH_\nIts name_NEWLINE_is old."
        "\n_START_PARAGRAPH_\nAnd so on."
    )
    articles = parquet_file(tmp_path / "a.parquet", text=[text, text.encode("utf-8").decode()])
    source = [listing(tmp_path / "l.json", ("en", "train", articles))]
    offer("wiki40b", {"train": source, "validation": source, "test": source})
    corpus = load_corpus("wiki40b", cache_dir=tmp_path / "cache")
    assert texts(corpus)["train"] == ["Monte Rosa\n\nName\n\nIts name\nis old.\n\nAnd so on."] * 2
    assert corpus.train.titles == ("Monte Rosa",) * 2


def test_parquet_without_the_column_or_no_parquet(tmp_path, offer):
    other = parquet_file(tmp_path / "a.parquet", words=["x"])
    offer("wikitext-103", {"train": [other], "validation": [other], "test": [other]})
    one_line_error("no column 'text'", load_corpus, "wikitext-103", cache_dir=tmp_path / "cache")
    other.write_bytes(b"<html>Too many requests</html>")
    one_line_error("'wikitext-103' could not be fetched", load_corpus, "wikitext-103", cache_dir=tmp_path / "cache")


def test_without_pyarrow_the_error_gives_the_install_command(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    message = one_line_error("needs pyarrow", load_corpus, "wikitext-103", cache_dir=tmp_path / "cache")
    assert 'pip install "flash-tutorial[online]"' in message and "austen" in message


@pytest.mark.parametrize("name", sorted(online.SOURCES))
def test_a_dead_address_names_the_offline_corpus(name, tmp_path, monkeypatch):
    pytest.importorskip("pyarrow", reason="parquet corpora need pyarrow")
    source = online.SOURCES[name]
    dead = {split: tuple(re.sub("https://[^/]*", "http://127.0.0.1:9", url) for url in urls[:1])
            for split, urls in source.urls.items()}  # fmt: skip
    monkeypatch.setitem(online.SOURCES, name, replace(source, urls=dead))
    message = one_line_error(f"'{name}' could not be fetched", load_corpus, name, cache_dir=tmp_path / "cache")
    assert "check the network" in message and "'austen'" in message and "127.0.0.1:9" in message
    assert not (tmp_path / "cache").exists()


# --- the cache ---


def test_cache_is_used_and_needs_no_source(tmp_path, offer):
    files = c4_files(tmp_path)
    offer("c4", files)
    first = load_corpus("c4", cache_dir=tmp_path / "cache")
    for path in [path for paths in files.values() for path in paths]:
        path.unlink()
    again = load_corpus("c4", cache_dir=tmp_path / "cache")
    assert texts(again) == texts(first)
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == ["c4-50000000.json", "c4-50000000.txt"]
    one_line_error("could not be fetched", load_corpus, "c4", max_bytes=500, cache_dir=tmp_path / "cache")


def test_cache_folder_from_the_environment(tmp_path, offer, monkeypatch):
    monkeypatch.setenv("FLASH_TUTORIAL_CACHE", str(tmp_path / "elsewhere"))
    offer("c4", c4_files(tmp_path))
    load_corpus("c4", max_bytes=500)
    assert (tmp_path / "elsewhere" / "c4-500.txt").exists()


@pytest.mark.parametrize("damage", ["letter", "short", "record", "count"])
def test_altered_cache_is_refused(tmp_path, offer, damage):
    offer("c4", c4_files(tmp_path))
    load_corpus("c4", max_bytes=500, cache_dir=tmp_path)
    text, record = tmp_path / "c4-500.txt", tmp_path / "c4-500.json"
    if damage == "letter":
        text.write_bytes(text.read_bytes().replace(b"train", b"traim", 1))
    elif damage == "short":
        text.write_bytes(text.read_bytes()[:-1])
    elif damage == "record":
        record.write_text(record.read_text()[:-20])
    else:
        record.write_text(re.sub(r'"titles": {\s*"train": \[', r'\g<0>"one more", ', record.read_text()))
    one_line_error("altered .* delete it and load it again", load_corpus, "c4", max_bytes=500, cache_dir=tmp_path)
    text.unlink()
    load_corpus("c4", max_bytes=500, cache_dir=tmp_path)
    load_corpus("c4", max_bytes=500, cache_dir=tmp_path)


@pytest.mark.parametrize("call", [1, 2])
def test_a_full_disk_leaves_nothing(tmp_path, offer, monkeypatch, call):
    calls = []

    def full(_):
        calls.append(1)
        if len(calls) == call:
            raise OSError(errno.ENOSPC, "No space left on device")

    offer("c4", c4_files(tmp_path))
    monkeypatch.setattr(online.os, "fsync", full)
    one_line_error(
        "could not be kept in .*No space left on device.*free some space",
        load_corpus,
        "c4",
        cache_dir=tmp_path / "cache",
    )
    assert list((tmp_path / "cache").iterdir()) == []


def test_an_interruption_leaves_no_half(tmp_path, offer, monkeypatch):
    offer("c4", c4_files(tmp_path))
    load_corpus("c4", cache_dir=tmp_path / "cache")
    (tmp_path / "cache" / "c4-50000000.txt").unlink()
    replaced = []

    def interrupted(source, target):
        if replaced:
            raise KeyboardInterrupt
        replaced.append(shutil.move(source, target))

    with monkeypatch.context() as patch:
        patch.setattr(online.os, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            load_corpus("c4", cache_dir=tmp_path / "cache")
    # a text without its record counts as nothing; the old record must not vouch for it
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["c4-50000000.txt"]
    (tmp_path / "cache" / "c4-50000000.txt").write_bytes(b"half")
    assert texts(load_corpus("c4", cache_dir=tmp_path / "cache"))["test"] == ["test " * 20]


def test_cache_folder_that_cannot_be_made(tmp_path, offer):
    offer("c4", c4_files(tmp_path))
    (tmp_path / "cache").write_text("a file, no folder")
    one_line_error("could not be kept in .*cache_dir", load_corpus, "c4", cache_dir=tmp_path / "cache")


# --- reading parts of a file from a server ---


class Server(http.server.BaseHTTPRequestHandler):
    data, ranges, asked = b"", True, []

    def do_GET(self):
        first, last = map(int, self.headers["Range"].removeprefix("bytes=").split("-"))
        self.asked.append(last - first + 1)
        body = self.data[first : last + 1] if self.ranges else self.data
        self.send_response(206 if self.ranges else 200)
        if self.ranges:
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(self.data)}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    handler = type("Handler", (Server,), {"asked": []})
    with http.server.HTTPServer(("127.0.0.1", 0), handler) as http_server:
        handler.url = f"http://127.0.0.1:{http_server.server_port}/file"
        thread = threading.Thread(target=http_server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield handler
        http_server.shutdown()
        thread.join()


def test_parquet_from_a_server_is_read_in_parts(tmp_path, server, monkeypatch):
    rng = np.random.default_rng(0)
    rows = [rng.bytes(2000).hex() for _ in range(300)]
    server.data = parquet_file(tmp_path / "a.parquet", text=rows).read_bytes()
    monkeypatch.setattr(online, "PIECE", 1 << 14)
    read = online.parquet_rows(server.url, ("text",))
    assert [next(read)[0] for _ in range(5)] == rows[:5]
    read.close()
    assert sum(server.asked) < len(server.data) / 2, "the whole file was fetched for its first rows"
    assert [row for (row,) in online.parquet_rows(server.url, ("text",))] == rows


def test_a_server_that_sends_no_parts(tmp_path, server, monkeypatch):
    server.data, server.ranges = b"x" * 1000, False
    source = replace(online.SOURCES["wikitext-103"], urls={split: (server.url,) for split in corpora.SPLITS})
    monkeypatch.setitem(online.SOURCES, "wikitext-103", source)
    pytest.importorskip("pyarrow", reason="parquet corpora need pyarrow")
    one_line_error("does not send parts", load_corpus, "wikitext-103", cache_dir=tmp_path / "cache")


def test_the_hubs_list_is_filtered_by_split(server, monkeypatch):
    entries = [{"config": c, "split": s, "url": f"{c}/{s}"} for c in ("en", "de") for s in ("train", "test")]
    answer = json.dumps({"parquet_files": entries}).encode()
    monkeypatch.setattr(online, "open_url", lambda url: io.BytesIO(answer))
    assert list(online.listed_urls(online.SOURCES["wiki40b"].urls["test"])) == ["en/test"]
    with pytest.raises(online.BadContent):
        monkeypatch.setattr(online, "open_url", lambda url: io.BytesIO(b'{"error": "busy"}'))
        list(online.listed_urls(online.SOURCES["wiki40b"].urls["test"]))


# --- the n-gram yardstick ---


def test_witten_bell_against_its_formula_and_sums_to_one():
    path = Path(__file__).parents[2] / "benchmarks" / "ngrams.py"
    spec = importlib.util.spec_from_file_location("ngrams", path)
    ngrams = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(ngrams)
    train = [np.frombuffer(b"abracadabra", np.uint8), np.frombuffer(b"cadabra, abba", np.uint8)]
    model = ngrams.WittenBell(train, 2)

    def by_hand(context, byte):
        if context is None:
            return 1 / 256
        padded = [bytes(len(context)) + text.tobytes() for text in train]
        k = len(context)
        after = [text[i + k] for text in padded for i in range(len(text) - k) if text[i : i + k] == context]
        shorter = by_hand(context[1:] if context else None, byte)
        kinds = len(set(after))
        return (after.count(byte) + kinds * shorter) / (len(after) + kinds) if after else shorter

    text = b"cabra"
    expected = [by_hand((b"\0\0" + text)[i : i + 2], text[i]) for i in range(len(text))]
    assert np.allclose(model.probabilities(np.frombuffer(text, np.uint8)), expected, rtol=1e-12)
    every = [np.array([97, 98, byte], np.uint8) for byte in range(256)]
    assert abs(sum(model.probabilities(text)[2] for text in every) - 1) < 1e-12
