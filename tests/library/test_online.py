"""Online corpora, from files that the tests make: their forms, the cache, and what breaks on the way."""

import errno
import gzip
import hashlib
import http.server
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
from refusals import assert_refused

from flash_tutorial import files
from flash_tutorial.corpora import corpus as corpora
from flash_tutorial.corpora import load_corpus, online


@pytest.fixture
def offer(tmp_path, monkeypatch):
    """offer("c4", {"train": paths, ...}) makes a corpus come from local files."""

    def offer(name, files, **changes):
        urls = {
            split: tuple(Path(path).resolve().as_uri() for path in paths)
            for split, paths in files.items()
        }
        monkeypatch.setitem(
            online.SOURCES, name, replace(online.SOURCES[name], urls=urls, **changes)
        )

    return offer


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def load(cache):
    return partial(load_corpus, cache_dir=cache)


@pytest.fixture
def refuses(load):
    """refuses("c4", match): it cannot be loaded, and the line says why."""
    return lambda name, match, **options: assert_refused(match, load, name, **options)


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
        "train": [
            json_file(folder / f"t{i}.json.gz", [f"train {i} {j} " * 20 for j in range(5)])
            for i in range(2)
        ],
        "validation": [json_file(folder / "v.json.gz", ["välid " * 20] * 3)],
        "test": [json_file(folder / "s.json.gz", ["te\0st " * 20])],
    }


# ---------------------------------------------------------------- forms


def test_zip_corpus_is_cut_and_split_by_position(tmp_path, offer, load):
    data = bytes(range(97, 123)) * 100
    path = zip_file(tmp_path / "e.zip", "enwik8", data)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    read = partial(online.zip_text, member="enwik8", sha256=digest)
    offer("enwik8", {"all": [path]}, documents=read)
    corpus = load("enwik8", max_bytes=1000)
    parts = [corpus.train, corpus.validation, corpus.test]
    assert [len(part.tokens) for part in parts] == [900, 50, 50]
    assert b"".join(part.tokens.tobytes() for part in parts) == data[:1000]
    whole = load("enwik8")
    assert sum(len(s.tokens) for s in (whole.train, whole.validation, whole.test)) == len(data)


def test_zip_with_another_checksum_member_or_cut_short(tmp_path, offer, refuses, cache):
    path = zip_file(tmp_path / "e.zip", "enwik8", b"not the real one" * 10)
    offer("enwik8", {"all": [path]})
    refuses("enwik8", "'enwik8' could not be fetched .*sha256")
    offer("text8", {"all": [path]})
    refuses("text8", "no 'text8' in the zip")
    path.write_bytes(path.read_bytes()[:-30])
    refuses("text8", "'text8' could not be fetched")
    assert not cache.exists()


def test_json_corpus_reads_on_into_the_next_file_and_drops_nul(tmp_path, offer, load):
    offer("c4", c4_files(tmp_path))
    got = texts(load("c4"))
    assert got["train"] == [f"train {i} {j} " * 20 for i in range(2) for j in range(5)]
    assert got["validation"] == ["välid " * 20] * 3
    assert got["test"] == ["test " * 20]


def test_max_bytes_is_shared_over_the_splits_and_cuts_between_characters(tmp_path, offer, load):
    offer("c4", c4_files(tmp_path))
    corpus = load("c4", max_bytes=1040)
    assert [len(s.tokens) for s in (corpus.train, corpus.validation, corpus.test)] == [936, 52, 52]
    corpus = load("c4", max_bytes=1020)
    assert len(corpus.validation.tokens) == 50, "51 would cut an ä in two"
    texts(corpus)


def test_broken_json_and_gzip(tmp_path, offer, refuses):
    files = c4_files(tmp_path)
    offer("c4", files)
    first = files["train"][0]
    for raw, match in (
        (first.read_bytes()[:-20], "'c4' could not be fetched"),
        (gzip.compress(b'{"url": "no text"}\n'), "not a JSON object with a text"),
    ):
        first.write_bytes(raw)
        refuses("c4", match)
    first.write_bytes(gzip.compress(b""))
    offer("c4", files | {"train": [first]})
    refuses("c4", "no text in it")


FIRST = ["", " = Valkyria = \n", "", " First words . \n"]
ITS_END = [" = not a title = \n", "", " = = Section = = \n", "", " More . \n", "", ""]
SECOND = [" = 1 + 1 = 2 = \n", "", " Sums . \n"]


def test_wikitext_lines_are_regrouped_into_articles(tmp_path, offer, load):
    # an article may go on in the next file
    first = parquet_file(tmp_path / "a.parquet", text=FIRST)
    second = parquet_file(tmp_path / "b.parquet", text=ITS_END + SECOND)
    held = parquet_file(tmp_path / "c.parquet", text=SECOND)
    offer("wikitext-103", {"train": [first, second], "validation": [held], "test": [held]})
    corpus = load("wikitext-103")
    assert corpus.train.titles == ("Valkyria", "1 + 1 = 2")
    first_article = "= Valkyria = \n First words . \n = not a title = \n = = Section = = \n More ."
    assert texts(corpus)["train"] == [first_article, "= 1 + 1 = 2 = \n Sums ."]


def listing(path, config, split, url):
    """The list of a data set's files, as the hub gives it."""
    files = [{"config": config, "split": split, "url": Path(url).resolve().as_uri()}]
    path.write_text(json.dumps({"parquet_files": files}))
    return [path]


def test_pg19_comes_by_the_hubs_list(tmp_path, offer, load):
    texts_of_train = ["First book", "Second book, longer"]
    train = dict(short_book_title=["One", "Two"], publication_date=[1, 2], text=texts_of_train)
    books = parquet_file(tmp_path / "b.parquet", **train)
    held = parquet_file(tmp_path / "h.parquet", short_book_title=["Three"], text=["Third book"])
    of_split = {"train": books, "validation": held, "test": held}
    offer(
        "pg19",
        {
            split: listing(tmp_path / f"{split}.json", "default", split, path)
            for split, path in of_split.items()
        },
    )
    corpus = load("pg19")
    assert texts(corpus)["train"] == texts_of_train
    assert titles(corpus) == {"train": ("One", "Two"), "validation": ("Three",), "test": ("Three",)}
    again = load("pg19")
    assert titles(again) == titles(corpus) and texts(again) == texts(corpus)


def test_wiki40b_markers_become_line_ends(tmp_path, offer, load):
    text = (
        "\n_START_ARTICLE_\nMonte Rosa\n_START_SECTION_\nName\n_START_PARAGRAPH_\nIts name_NEWLINE_is old."
        "\n_START_PARAGRAPH_\nAnd so on."
    )
    articles = parquet_file(tmp_path / "a.parquet", text=[text, text])
    source = listing(tmp_path / "l.json", "en", "train", articles)
    offer("wiki40b", {"train": source, "validation": source, "test": source})
    corpus = load("wiki40b")
    assert texts(corpus)["train"] == ["Monte Rosa\n\nName\n\nIts name\nis old.\n\nAnd so on."] * 2
    assert corpus.train.titles == ("Monte Rosa",) * 2


def test_parquet_without_the_column_or_no_parquet(tmp_path, offer, refuses):
    other = parquet_file(tmp_path / "a.parquet", words=["x"])
    offer("wikitext-103", {"train": [other], "validation": [other], "test": [other]})
    refuses("wikitext-103", "no column 'text'")
    other.write_bytes(b"<html>Too many requests</html>")
    refuses("wikitext-103", "'wikitext-103' could not be fetched")


def test_without_pyarrow_the_error_gives_the_install_command(refuses, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    message = refuses("wikitext-103", "needs pyarrow")
    assert 'pip install "flash-tutorial[online]"' in message and "austen" in message


@pytest.mark.parametrize("name", sorted(online.SOURCES))
def test_a_dead_address_names_the_offline_corpus(name, refuses, cache, monkeypatch):
    pytest.importorskip("pyarrow", reason="parquet corpora need pyarrow")
    source = online.SOURCES[name]
    dead = {
        split: tuple(re.sub("https://[^/]*", "http://127.0.0.1:9", url) for url in urls[:1])
        for split, urls in source.urls.items()
    }
    monkeypatch.setitem(online.SOURCES, name, replace(source, urls=dead))
    message = refuses(name, f"'{name}' could not be fetched")
    assert "check the network" in message and "'austen'" in message and "127.0.0.1:9" in message
    assert not cache.exists()


# ---------------------------------------------------------------- the cache


def test_cache_is_used_and_needs_no_source(tmp_path, offer, load, refuses, cache):
    files = c4_files(tmp_path)
    offer("c4", files)
    first = load("c4")
    for path in [path for paths in files.values() for path in paths]:
        path.unlink()
    assert texts(load("c4")) == texts(first)
    assert {path.name for path in cache.iterdir()} == {"c4-50000000.json", "c4-50000000.txt"}
    refuses("c4", "could not be fetched", max_bytes=500)


def test_cache_folder_from_the_environment(tmp_path, offer, monkeypatch):
    monkeypatch.setenv("FLASH_TUTORIAL_CACHE", str(tmp_path / "elsewhere"))
    offer("c4", c4_files(tmp_path))
    load_corpus("c4", max_bytes=500)
    assert (tmp_path / "elsewhere" / "c4-500.txt").exists()


@pytest.mark.parametrize("damage", ["letter", "short", "record", "count"])
def test_altered_cache_is_refused(tmp_path, offer, load, refuses, cache, damage):
    offer("c4", c4_files(tmp_path))
    load("c4", max_bytes=500)
    text, record = cache / "c4-500.txt", cache / "c4-500.json"
    if damage == "letter":
        text.write_bytes(text.read_bytes().replace(b"train", b"traim", 1))
    elif damage == "short":
        text.write_bytes(text.read_bytes()[:-1])
    elif damage == "record":
        record.write_text(record.read_text()[:-20])
    else:
        more = re.sub(r'"titles": {\s*"train": \[', r'\g<0>"one more", ', record.read_text())
        record.write_text(more)
    refuses("c4", "altered .* delete it and load it again", max_bytes=500)
    text.unlink()
    for _ in range(2):
        load("c4", max_bytes=500)


@pytest.mark.parametrize("call", [1, 2])
def test_a_full_disk_leaves_nothing(tmp_path, offer, refuses, cache, monkeypatch, call):
    calls = []

    def full(_):
        calls.append(1)
        if len(calls) == call:
            raise OSError(errno.ENOSPC, "No space left on device")

    offer("c4", c4_files(tmp_path))
    monkeypatch.setattr(files.os, "fsync", full)
    refuses("c4", "could not be kept in .*No space left on device.*free some space")
    assert list(cache.iterdir()) == []


def test_an_interruption_leaves_no_half(tmp_path, offer, load, cache, monkeypatch):
    offer("c4", c4_files(tmp_path))
    load("c4")
    (cache / "c4-50000000.txt").unlink()
    replaced = []

    def interrupted(source, target):
        if replaced:
            raise KeyboardInterrupt
        replaced.append(shutil.move(source, target))

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(files.os, "replace", interrupted)
        load("c4")
    # a text without its record counts as nothing; the old record must not vouch for it
    assert [path.name for path in cache.iterdir()] == ["c4-50000000.txt"]
    (cache / "c4-50000000.txt").write_bytes(b"half")
    assert texts(load("c4"))["test"] == ["test " * 20]


def test_cache_folder_that_cannot_be_made(tmp_path, offer, refuses, cache):
    offer("c4", c4_files(tmp_path))
    cache.write_text("a file, no folder")
    refuses("c4", "could not be kept in .*cache_dir")


# ---------------------------------------------------------------- reading parts of a file from a server


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


def test_a_server_that_sends_no_parts(server, refuses, monkeypatch):
    server.data, server.ranges = b"x" * 1000, False
    urls = {split: (server.url,) for split in corpora.SPLITS}
    source = replace(online.SOURCES["wikitext-103"], urls=urls)
    monkeypatch.setitem(online.SOURCES, "wikitext-103", source)
    pytest.importorskip("pyarrow", reason="parquet corpora need pyarrow")
    refuses("wikitext-103", "does not send parts")


def test_the_hubs_list_is_filtered_by_split(monkeypatch):
    entries = [
        {"config": c, "split": s, "url": f"{c}/{s}"}
        for c in ("en", "de")
        for s in ("train", "test")
    ]
    answer = json.dumps({"parquet_files": entries}).encode()
    monkeypatch.setattr(online, "open_url", lambda url: io.BytesIO(answer))
    assert list(online.listed_urls(online.SOURCES["wiki40b"].urls["test"])) == ["en/test"]
    with pytest.raises(online.BadContent):
        monkeypatch.setattr(online, "open_url", lambda url: io.BytesIO(b'{"error": "busy"}'))
        list(online.listed_urls(online.SOURCES["wiki40b"].urls["test"]))
