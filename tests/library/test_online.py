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

from flash_tutorial.corpora import corpus as corpora
from flash_tutorial.corpora import load_corpus, online

pytestmark = pytest.mark.quick


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


# ---------------------------------------------------------------- online corpora, from files that the tests make


def test_zip_corpus_is_cut_and_split_by_position(tmp_path, offer):
    data = bytes(range(97, 123)) * 100
    path = zip_file(tmp_path / "e.zip", "enwik8", data)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    offer(
        "enwik8",
        {"all": [path]},
        documents=partial(online.zip_text, member="enwik8", sha256=digest),
    )
    corpus = load_corpus("enwik8", max_bytes=1000, cache_dir=tmp_path / "cache")
    parts = [corpus.train, corpus.validation, corpus.test]
    assert [len(part.tokens) for part in parts] == [900, 50, 50]
    assert b"".join(part.tokens.tobytes() for part in parts) == data[:1000]
    whole = load_corpus("enwik8", cache_dir=tmp_path / "cache")
    assert sum(len(s.tokens) for s in (whole.train, whole.validation, whole.test)) == len(data)


def test_zip_with_another_checksum_member_or_cut_short(tmp_path, offer):
    path = zip_file(tmp_path / "e.zip", "enwik8", b"not the real one" * 10)
    offer("enwik8", {"all": [path]})
    assert_refused(
        "'enwik8' could not be fetched .*sha256",
        load_corpus,
        "enwik8",
        cache_dir=tmp_path / "cache",
    )
    offer("text8", {"all": [path]})
    assert_refused("no 'text8' in the zip", load_corpus, "text8", cache_dir=tmp_path / "cache")
    path.write_bytes(path.read_bytes()[:-30])
    assert_refused(
        "'text8' could not be fetched", load_corpus, "text8", cache_dir=tmp_path / "cache"
    )
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
    assert [len(corpora.cut_text(text, n)) for n in range(12)] == [
        0,
        1,
        1,
        3,
        3,
        3,
        6,
        6,
        6,
        6,
        10,
        10,
    ]


def test_broken_json_and_gzip(tmp_path, offer):
    files = c4_files(tmp_path)
    offer("c4", files)
    whole = files["train"][0].read_bytes()
    files["train"][0].write_bytes(whole[:-20])
    assert_refused("'c4' could not be fetched", load_corpus, "c4", cache_dir=tmp_path / "cache")
    files["train"][0].write_bytes(gzip.compress(b'{"url": "no text"}\n'))
    assert_refused("not a JSON object with a text", load_corpus, "c4", cache_dir=tmp_path / "cache")
    files["train"][0].write_bytes(gzip.compress(b""))
    files["train"].pop()
    offer("c4", files)
    assert_refused("no text in it", load_corpus, "c4", cache_dir=tmp_path / "cache")


WIKITEXT_ROWS = [
    "",
    " = Valkyria = \n",
    "",
    " First words . \n",
    " = not a title = \n",
    "",
    " = = Section = = \n",
    "",
    " More . \n",
    "",
    "",
    " = 1 + 1 = 2 = \n",
    "",
    " Sums . \n",
]


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
    files = [
        {"config": config, "split": split, "url": Path(url).resolve().as_uri()}
        for config, split, url in entries
    ]
    path.write_text(json.dumps({"parquet_files": files}))
    return path


def test_pg19_comes_by_the_hubs_list(tmp_path, offer):
    books = parquet_file(
        tmp_path / "b.parquet",
        short_book_title=["One", "Two"],
        publication_date=[1, 2],
        text=["First book", "Second book, longer"],
    )
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
    assert_refused("no column 'text'", load_corpus, "wikitext-103", cache_dir=tmp_path / "cache")
    other.write_bytes(b"<html>Too many requests</html>")
    assert_refused(
        "'wikitext-103' could not be fetched",
        load_corpus,
        "wikitext-103",
        cache_dir=tmp_path / "cache",
    )


def test_without_pyarrow_the_error_gives_the_install_command(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    message = assert_refused(
        "needs pyarrow", load_corpus, "wikitext-103", cache_dir=tmp_path / "cache"
    )
    assert 'pip install "flash-tutorial[online]"' in message and "austen" in message


@pytest.mark.parametrize("name", sorted(online.SOURCES))
def test_a_dead_address_names_the_offline_corpus(name, tmp_path, monkeypatch):
    pytest.importorskip("pyarrow", reason="parquet corpora need pyarrow")
    source = online.SOURCES[name]
    dead = {
        split: tuple(re.sub("https://[^/]*", "http://127.0.0.1:9", url) for url in urls[:1])
        for split, urls in source.urls.items()
    }
    monkeypatch.setitem(online.SOURCES, name, replace(source, urls=dead))
    message = assert_refused(
        f"'{name}' could not be fetched", load_corpus, name, cache_dir=tmp_path / "cache"
    )
    assert "check the network" in message and "'austen'" in message and "127.0.0.1:9" in message
    assert not (tmp_path / "cache").exists()


# ---------------------------------------------------------------- the cache


def test_cache_is_used_and_needs_no_source(tmp_path, offer):
    files = c4_files(tmp_path)
    offer("c4", files)
    first = load_corpus("c4", cache_dir=tmp_path / "cache")
    for path in [path for paths in files.values() for path in paths]:
        path.unlink()
    again = load_corpus("c4", cache_dir=tmp_path / "cache")
    assert texts(again) == texts(first)
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == [
        "c4-50000000.json",
        "c4-50000000.txt",
    ]
    assert_refused(
        "could not be fetched", load_corpus, "c4", max_bytes=500, cache_dir=tmp_path / "cache"
    )


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
        record.write_text(
            re.sub(r'"titles": {\s*"train": \[', r'\g<0>"one more", ', record.read_text())
        )
    assert_refused(
        "altered .* delete it and load it again",
        load_corpus,
        "c4",
        max_bytes=500,
        cache_dir=tmp_path,
    )
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
    assert_refused(
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
    assert_refused(
        "could not be kept in .*cache_dir", load_corpus, "c4", cache_dir=tmp_path / "cache"
    )


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


# ---------------------------------------------------------------- reading parts of a file from a server


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
    source = replace(
        online.SOURCES["wikitext-103"], urls={split: (server.url,) for split in corpora.SPLITS}
    )
    monkeypatch.setitem(online.SOURCES, "wikitext-103", source)
    pytest.importorskip("pyarrow", reason="parquet corpora need pyarrow")
    assert_refused("does not send parts", load_corpus, "wikitext-103", cache_dir=tmp_path / "cache")


def test_the_hubs_list_is_filtered_by_split(server, monkeypatch):
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
