"""Corpora that are fetched by name, cut, and kept with a checksum.

    name           what                                     splits
    enwik8, text8  100 MB of English Wikipedia, 2006        by position: 90% / 5% / 5%
    wikitext-103   good Wikipedia articles, regrouped       its own
                   from lines
    pg19           books before 1919 (Project Gutenberg)    its own
    wiki40b        English Wikipedia articles               its own
    c4             cleaned web pages                        train; its first validation file; its second as test

`max_bytes` counts over all three splits: where a corpus has splits of its own, train takes 90% of it and the
others 5% each, from their beginnings, the last document cut. Text comes as it is read, so 50 MB of an 11 GB corpus
cost some 50 MB of traffic. Texts differ in licence and are fetched by the reader; none is inside the package.

The cache is `NAME-BYTES.txt`, documents joined by NUL, and `NAME-BYTES.json` beside it with sha256, counts and titles.
Both are written under other names first and then renamed, so that a full disk or an interruption leaves no half.
Only urllib is used; every address may be a file:// one.
"""

import gzip
import hashlib
import http.client
import io
import json
import re
import urllib.request
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from urllib.parse import parse_qs, urlsplit

from ..errors import one_line
from ..files import advising, check_sha256, make_folder, read_json, refused, to_json, whole_files
from .corpus import HELD_OUT, MAX_BYTES, SPLITS, Corpus, Split, cut_text, split_by_position
from .kept import cache_folder

TIMEOUT = 60  # seconds without a byte
PIECE = 1 << 22  # bytes asked for at a time from a parquet file
HUB = "https://huggingface.co/datasets"
LISTING = "https://datasets-server.huggingface.co/parquet"


@dataclass(frozen=True)
class Source:
    """An online corpus.

    urls: split -> addresses; the one split "all" is cut by position.
    documents: (addresses, limit) -> iterator of (title, text or bytes); limit is the most bytes that will be kept.
    default_bytes: max_bytes where none is given.
    """

    urls: dict[str, tuple[str, ...]]
    documents: Callable
    default_bytes: int = 50_000_000


def load_online(name, *, max_bytes=None, cache_dir=None):
    """Load an online corpus from the cache, or fetch it and fill the cache; the corpus has to fit in memory.

    Raises ValueError, in one line, for a name that is not in SOURCES, a network or server that does not answer, text
    that cannot be read, a missing pyarrow, a cache that cannot be written, or a cached copy that was altered.
    """
    if name not in SOURCES:
        raise ValueError(f"unknown online corpus {name!r}; expected one of {', '.join(SOURCES)}")
    MAX_BYTES.check("max_bytes", max_bytes)
    source = SOURCES[name]
    max_bytes = source.default_bytes if max_bytes is None else max_bytes
    folder = cache_folder(cache_dir)
    text_path, record_path = (folder / f"{name}-{max_bytes}.{end}" for end in ("txt", "json"))
    if text_path.exists() and record_path.exists():
        return _read_cache(name, text_path, record_path)
    try:
        corpus = _fetch(name, source, max_bytes)
    except FETCH_ERRORS as error:
        address = urlsplit(next(iter(source.urls.values()))[0])
        what = (
            f"the online corpus {name!r} could not be fetched from {address.netloc or address.path}"
        )
        other = "use the corpus 'austen', which is inside the package and needs none"
        raise ValueError(
            f"{what} ({one_line(error)}): check the network and try again, or {other}"
        ) from error
    _write_cache(corpus, source, max_bytes, text_path, record_path)
    return corpus


class BadContent(Exception):
    """The server's answer is not what it should be."""


# All that a dead address, a broken line or a wrong answer can raise; a ValueError of our own passes through.
FETCH_ERRORS = (
    OSError,
    http.client.HTTPException,
    EOFError,
    zlib.error,
    zipfile.BadZipFile,
    BadContent,
)


def _fetch(name, source, max_bytes):
    from tqdm import tqdm  # only a download needs it

    with tqdm(total=max_bytes, unit="B", unit_scale=True, desc=name, mininterval=1) as bar:
        if "all" in source.urls:
            whole = _take(source.documents(source.urls["all"], max_bytes), max_bytes, bar)
            return Corpus(name, **split_by_position(whole))
        held = round(HELD_OUT * max_bytes)
        limits = {"train": max_bytes - 2 * held, "validation": held, "test": held}
        splits = {
            split: _take(source.documents(source.urls[split], n), n, bar)
            for split, n in limits.items()
        }
        return Corpus(name, **splits)


def _take(documents, limit, bar):
    """Documents from the beginning, at most `limit` bytes; NUL bytes are dropped."""
    kept, titles = [], []
    for title, text in documents:
        if isinstance(text, str):
            text = text.encode("utf-8", "replace")
        piece = cut_text(text.replace(b"\0", b""), limit)
        kept.append(piece)
        titles.append(title)
        limit -= len(piece)
        bar.update(len(piece))
        if limit == 0 or len(piece) < len(text):
            break
    if not any(kept):
        raise BadContent("no text in it")
    return Split.from_documents(kept, titles)


# --- reading ---
def open_url(url, **headers):
    """Open an address for reading; the server learns what asks."""
    request = urllib.request.Request(url, headers={"User-Agent": "flash-tutorial", **headers})
    return urllib.request.urlopen(request, timeout=TIMEOUT)


def zip_text(urls, limit, *, member, sha256=None):
    """One document: the first `limit` bytes (and one, so that a cut is seen) of a zip file's member."""
    with open_url(urls[0]) as response:
        packed = response.read()
    found = hashlib.sha256(packed).hexdigest()
    if sha256 is not None and found != sha256:
        raise BadContent(f"sha256 {found} where {sha256} was expected")
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        if member not in archive.namelist():
            raise BadContent(f"no {member!r} in the zip file, only {archive.namelist()}")
        with archive.open(member) as file:
            yield "", file.read(limit + 1)


def json_documents(urls, limit):
    """Documents from gzip files of JSON lines, field "text", unpacked as they come in."""
    for url in urls:
        with open_url(url) as response, gzip.GzipFile(fileobj=response) as lines:
            for line in lines:
                try:
                    text = json.loads(line)["text"]
                except (ValueError, KeyError, TypeError) as error:
                    raise BadContent("a line is not a JSON object with a text") from error
                yield "", text


def parquet_rows(url, columns):
    """The rows of a parquet file as tuples, read in pieces."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        how = 'pip install "flash-tutorial[online]" (or pip install pyarrow)'
        what = "this corpus is stored as parquet, which needs pyarrow"
        raise ValueError(f"{what}: {how}; the corpus 'austen' needs nothing") from error
    # a parquet file's table of contents stands at its end, so the reader has to seek
    if url.startswith("file:"):
        seekable = open_url(url)
    else:
        seekable = io.BufferedReader(RangeFile(url), PIECE)
    with seekable as file:
        try:
            table = pyarrow.parquet.ParquetFile(file, buffer_size=PIECE, pre_buffer=False)
            for missing in (column for column in columns if column not in table.schema_arrow.names):
                raise BadContent(f"no column {missing!r}, only {table.schema_arrow.names}")
            for batch in table.iter_batches(batch_size=64, columns=list(columns)):
                yield from zip(*(batch.column(column).to_pylist() for column in columns))
        except pyarrow.ArrowException as error:
            raise BadContent(error) from error


class RangeFile(io.RawIOBase):
    """A file on a server, read in parts by the Range header, so that its middle is not fetched to reach its end."""

    def __init__(self, url):
        self.url, self.position = url, 0
        with self._open(0, 1) as response:
            size = response.headers.get("Content-Range", "").rpartition("/")[2]
        if not size.isdecimal():
            raise BadContent("the server does not say how long the file is")
        self.size = int(size)

    def _open(self, first, count):
        response = open_url(self.url, Range=f"bytes={first}-{first + count - 1}")
        if response.status != http.HTTPStatus.PARTIAL_CONTENT:
            response.close()
            raise BadContent("the server does not send parts of a file")
        return response

    def readable(self):
        return True

    seekable = readable

    def seek(self, offset, whence=io.SEEK_SET):
        self.position = (
            offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.position, io.SEEK_END: self.size}[whence]
        )
        return self.position

    def readinto(self, buffer):
        count = min(len(buffer), self.size - self.position)
        if count <= 0:
            return 0
        with self._open(self.position, count) as response:
            data = response.read(count)
        if len(data) != count:
            raise BadContent(f"the server sent {len(data)} bytes of {count}")
        buffer[:count] = data
        self.position += count
        return count


def listed_urls(listings):
    """Addresses of parquet files, from the hub's own list: the files' names hold hashes and change."""
    for listing in listings:
        wanted = {key: value[0] for key, value in parse_qs(urlsplit(listing).query).items()}
        with open_url(listing) as response:
            try:
                for file in json.load(response)["parquet_files"]:
                    if all(file[key] == wanted.get(key, file[key]) for key in ("config", "split")):
                        yield file["url"]
            except (ValueError, KeyError, TypeError) as error:
                raise BadContent("not a list of parquet files") from error


# --- from rows to documents ---

# one = each side; sections have two and more
WIKITEXT_TITLE = re.compile(r" = ([^=\s](?:.*[^=\s])?) = ")
WIKI40B_BREAK = re.compile(r"\n*_START_(?:ARTICLE|SECTION|PARAGRAPH)_\n*")


def wikitext_documents(urls, limit):
    """Rows are lines; an article begins at a line ` = Title = ` that follows an empty one."""
    title, lines, after_empty = "", [], True
    for url in urls:
        for (line,) in parquet_rows(url, ("text",)):
            begins = after_empty and WIKITEXT_TITLE.fullmatch(line.rstrip("\n"))
            if begins:
                yield title, "".join(lines).strip()
                title, lines = begins[1], []
            lines.append(line)
            after_empty = not line.strip()
    yield title, "".join(lines).strip()


def pg19_documents(urls, limit):
    """One row is one book."""
    for url in listed_urls(urls):
        yield from parquet_rows(url, ("short_book_title", "text"))


def wiki40b_documents(urls, limit):
    """One row is one article; its markers become an empty line, _NEWLINE_ a line end."""
    for url in listed_urls(urls):
        for (text,) in parquet_rows(url, ("text",)):
            if isinstance(text, bytes):
                text = text.decode("utf-8", "replace")
            text = WIKI40B_BREAK.sub("\n\n", text).replace("_NEWLINE_", "\n").strip()
            yield text.partition("\n")[0], text


def _listing(dataset, config):
    return {
        split: (f"{LISTING}?dataset={dataset}&config={config}&split={split}",) for split in SPLITS
    }


_WIKITEXT = f"{HUB}/Salesforce/wikitext/resolve/main/wikitext-103-raw-v1"
_C4 = f"{HUB}/allenai/c4/resolve/main/en"

SOURCES = {
    "enwik8": Source(
        {"all": ("https://mattmahoney.net/dc/enwik8.zip",)},
        partial(
            zip_text,
            member="enwik8",
            sha256="547994d9980ebed1288380d652999f38a14fe291a6247c157c3d33d4932534bc",
        ),
        100_000_000,
    ),
    "text8": Source(
        {"all": ("https://mattmahoney.net/dc/text8.zip",)},
        partial(zip_text, member="text8"),
        100_000_000,
    ),
    "wikitext-103": Source(
        {
            "train": tuple(f"{_WIKITEXT}/train-0000{i}-of-00002.parquet" for i in range(2)),
            "validation": (f"{_WIKITEXT}/validation-00000-of-00001.parquet",),
            "test": (f"{_WIKITEXT}/test-00000-of-00001.parquet",),
        },
        wikitext_documents,
    ),
    "pg19": Source(_listing("emozilla/pg19", "default"), pg19_documents),
    "wiki40b": Source(_listing("google/wiki40b", "en"), wiki40b_documents),
    "c4": Source(
        {
            "train": tuple(f"{_C4}/c4-train.{i:05d}-of-01024.json.gz" for i in range(1024)),
            "validation": (f"{_C4}/c4-validation.00000-of-00008.json.gz",),
            "test": (f"{_C4}/c4-validation.00001-of-00008.json.gz",),
        },
        json_documents,
    ),
}


# --- the cache ---
def _read_cache(name, text_path, record_path):
    """The cached corpus; ValueError where it is not what was written."""
    with advising("delete it and load it again"):
        record = read_json(record_path)
        check_sha256(text_path.parent, record["sha256"])
    documents = iter(text_path.read_bytes().split(b"\0"))
    titles = record["titles"].items()
    return Corpus(
        name,
        **{
            split: Split.from_documents(list(islice(documents, len(of))), of)
            for split, of in titles
        },
    )


def _write_cache(corpus, source, max_bytes, text_path, record_path):
    """Write text and record whole or not at all."""
    splits = {name: getattr(corpus, name) for name in SPLITS}
    documents = []
    for split in splits.values():
        documents += [split.document(i).tobytes() for i in range(split.n_documents)]
    text = b"\0".join(documents)
    record = {
        "name": corpus.name,
        "max_bytes": max_bytes,
        "bytes": len(text),
        "sha256": {text_path.name: hashlib.sha256(text).hexdigest()},
        "fetched": datetime.now(UTC).isoformat(timespec="seconds"),
        "from": {split: urls[0] for split, urls in source.urls.items()},
        "titles": {name: list(split.titles) for name, split in splits.items()},
    }
    try:
        make_folder(text_path.parent)
        with whole_files(text_path, record_path) as (text_part, record_part):
            text_part.write_bytes(text)
            record_part.write_text(to_json(record), encoding="utf-8")
            record_path.unlink(missing_ok=True)  # an old record must not vouch for the new text
    except ValueError as error:
        what = (
            f"{corpus.name!r} ({len(text):,} bytes) could not be kept in {str(text_path.parent)!r}"
        )
        raise refused(what, error, ", by cache_dir") from error
