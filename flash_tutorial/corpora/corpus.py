"""What every corpus looks like; the embedded novels, and a text file or an array of tokens of the reader's own.

A corpus is three splits; a split is one flat array of bytes (or tokens) and the offsets of its documents. No document
of bytes holds a NUL, so NUL is free to separate documents in a file and to stand for the start of one in a batch.
"""

import bz2
import codecs
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import one_line
from ..names import ours
from ..settings import Rule, check_counts
from .vocabulary import BYTES, Vocabulary, vocabulary_of

SPLITS = ("train", "validation", "test")
# Whole novels, by their place in the file: *Northanger Abbey* is the test, *Persuasion* the validation.
AUSTEN_SPLITS = {"train": (0, 1, 2, 3), "validation": (5,), "test": (4,)}
HELD_OUT = 0.05  # the share of validation, and of test, where a corpus has no split of its own
SMALLEST = 20  # bytes: below this a 5% split would be empty
MAX_BYTES = Rule(None, int, least=SMALLEST)
SAVE_AGAIN = "save it again with the encoding UTF-8"
CONTROLS = bytes({*range(1, 32)} - {*b"\t\n\r\f\v"})  # characters that no text is made of


def ids_of(document):
    """The ids of a document, which is bytes or an array of ids already."""
    if isinstance(document, bytes):
        return np.frombuffer(document, np.uint8)
    return document


@dataclass(frozen=True, eq=False)
class Split:
    """Documents laid end to end.

    tokens: (n,) uint8, the bytes of the text without separators; or ids of another vocabulary, unsigned.
    offsets: (n_documents + 1,) int64; document i is tokens[offsets[i]:offsets[i + 1]].
    titles: one for each document, "" where unknown.
    vocabulary: what the ids mean.

    >>> from flash_tutorial.corpora import Split
    >>> split = Split.from_documents([b"To be,", b"or not"])
    >>> split
    Split(12 bytes in 2 documents)
    >>> split.document(1).tobytes(), split.offsets.tolist()
    (b'or not', [0, 6, 12])
    """

    tokens: np.ndarray
    offsets: np.ndarray
    titles: tuple[str, ...]
    vocabulary: Vocabulary = BYTES

    @classmethod
    def from_documents(
        cls,
        documents: Sequence[bytes | np.ndarray],
        titles: Sequence[str] | None = None,
        vocabulary: Vocabulary = BYTES,
    ) -> "Split":
        """Join documents (bytes, or arrays of ids); an empty one is left out. A split of nothing is a ValueError."""
        titles = ("",) * len(documents) if titles is None else titles
        kept = [
            (document, title)
            for document, title in zip(documents, titles, strict=True)
            if len(document)
        ]
        if not kept:
            raise ValueError("a split needs at least one document with text, got none")
        documents, titles = zip(*kept)
        offsets = np.cumsum([0, *map(len, documents)], dtype=np.int64)
        tokens = np.concatenate([ids_of(document) for document in documents])
        return cls(tokens.astype(vocabulary.dtype, copy=False), offsets, titles, vocabulary)

    def __repr__(self):
        return f"Split({in_words(self)})"

    @property
    def n_documents(self) -> int:
        return len(self.offsets) - 1

    def document(self, i: int) -> np.ndarray:
        """The tokens of document i, (n,), in bytes uint8."""
        if not 0 <= i < self.n_documents:
            raise ValueError(
                f"document {i} does not exist: this split has documents 0 to {self.n_documents - 1}"
            )
        return self.tokens[self.offsets[i] : self.offsets[i + 1]]

    @property
    def n_bytes(self) -> int | None:
        """Bytes of the text: of tokens, those of the text that they decode to; None without a tokenizer."""
        if self.vocabulary.tokens is None:
            return len(self.tokens)
        if not self.vocabulary.readable:
            return None
        return sum(
            len(self.vocabulary.decode(self.document(i)).encode()) for i in range(self.n_documents)
        )

    @property
    def sha256(self) -> str:
        """Of the tokens and of where documents begin, in hex."""
        sha256 = hashlib.sha256(np.ascontiguousarray(self.tokens))  # no copy of a large text
        sha256.update(np.ascontiguousarray(self.offsets))
        return sha256.hexdigest()

    def encoded(self, vocabulary: Vocabulary) -> "Split":
        """The same documents, of bytes, in another vocabulary; one that becomes no token at all is left out."""
        texts = (
            self.document(i).tobytes().decode(errors="replace") for i in range(self.n_documents)
        )
        documents = list(map(vocabulary.encode, texts))
        if not any(map(len, documents)):
            raise ValueError(
                "the tokenizer makes no token of this text: was it made for another language?"
            )
        return Split.from_documents(documents, self.titles, vocabulary)


@dataclass(frozen=True, eq=False)
class Corpus:
    """A name and the splits train, validation and test.

    >>> from flash_tutorial import load_corpus
    >>> corpus = load_corpus("austen")
    >>> corpus.name, corpus.test.titles, corpus.vocabulary.unit
    ('austen', ('Northanger Abbey',), 'byte')
    """

    name: str
    train: Split
    validation: Split
    test: Split

    def __repr__(self):
        splits = (f"{name} of {in_words(getattr(self, name))}" for name in SPLITS)
        return f"Corpus({self.name!r}: {', '.join(splits)})"

    @property
    def vocabulary(self) -> Vocabulary:
        """What the ids mean."""
        return self.train.vocabulary

    def encoded(self, tokenizer: Any) -> "Corpus":
        """The corpus in tokens: `tokenizer` is one of the library `tokenizers`, or the path of a `tokenizer.json`."""
        vocabulary = tokenizer if isinstance(tokenizer, Vocabulary) else vocabulary_of(tokenizer)
        return Corpus(self.name, *(getattr(self, name).encoded(vocabulary) for name in SPLITS))


def in_words(split):
    """How much there is in a split."""
    n = split.n_documents
    documents = "1 document" if n == 1 else f"{n:,} documents"
    return f"{len(split.tokens):,} {split.vocabulary.unit}s in {documents}"


def first_bytes(split: Split, n: int | None) -> Split:
    """The first ``n`` bytes (or tokens) of a split, all for None: whole documents in their order, the last one cut.

    >>> from flash_tutorial.corpora import Split, first_bytes
    >>> first_bytes(Split.from_documents([b"To be,", b"or not", b"to be"]), 8)
    Split(8 bytes in 2 documents)
    """
    if n is None:
        return split
    check_counts(n=n)
    if n >= len(split.tokens):
        return split
    offsets = np.append(split.offsets[split.offsets < n], n)
    return Split(split.tokens[:n], offsets, split.titles[: len(offsets) - 1], split.vocabulary)


def load_austen(folder: str | Path | None = None) -> Corpus:
    """Jane Austen's six novels, 4,024,283 bytes of ASCII; `folder` holds the two files (default: this package).

    The sha256 of each novel and of the whole are checked; what is missing or altered is a ValueError.

    >>> from flash_tutorial.corpora import load_austen
    >>> load_austen().validation
    Split(466,828 bytes in 1 document)
    """
    folder = resources.files(__package__) if folder is None else Path(folder)
    try:
        manifest = json.loads((folder / "manifest.json").read_text("utf-8"))["austen"]
        text = bz2.decompress((folder / "austen.txt.bz2").read_bytes())
        novels = text.split(b"\0")
        expected = manifest["documents"]
        if len(novels) != len(expected):
            raise ValueError(f"{len(novels)} novels, not {len(expected)}")
        for novel, entry in zip(novels, expected):
            if hashlib.sha256(novel).hexdigest() != entry["sha256"]:
                raise ValueError(f"the text of {entry['title']} is altered")
        if hashlib.sha256(text).hexdigest() != manifest["sha256"]:
            raise ValueError("the text as a whole is altered")
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        advice = "install the package again, or restore flash_tutorial/corpora/ from its repository"
        raise ValueError(
            f"the embedded corpus 'austen' is damaged ({one_line(error)}); {advice}"
        ) from error
    return Corpus(
        "austen",
        **{
            name: Split.from_documents(
                [novels[i] for i in places], [expected[i]["title"] for i in places]
            )
            for name, places in AUSTEN_SPLITS.items()
        },
    )


def load_file(path: str | Path, *, max_bytes: int | None = None) -> Corpus:
    """A UTF-8 text file, or its first `max_bytes`; a byte order mark is dropped, line ends stay as they are.

    A NUL byte separates documents. Three documents or more are split whole, in their order: the last 5% of them
    (at least one) are the test, the 5% before it the validation. With one or two the text is cut by position
    at 90% and 95%. A file that is missing, empty, shorter than 20 bytes or not UTF-8 is a ValueError.

    >>> from pathlib import Path
    >>> from flash_tutorial.corpora import load_file
    >>> written = Path("mine.txt").write_text("To be, or not to be. " * 10)
    >>> load_file("mine.txt").train
    Split(190 bytes in 1 document)
    """
    MAX_BYTES.check("max_bytes", max_bytes)
    path = Path(path)
    try:
        with open(path, "rb") as file:
            if max_bytes is None:
                raw = file.read()
            else:
                raw = cut_text(file.read(max_bytes + 1), max_bytes)
    except OSError as error:
        raise ValueError(
            f"cannot read {str(path)!r} ({error.strerror}); give the path of a UTF-8 text file"
        ) from error
    raw = raw.removeprefix(codecs.BOM_UTF8)
    check_text(raw, path)
    documents = [document for document in raw.split(b"\0") if document]
    return Corpus(path.name, **three_splits(Split.from_documents(documents)))


def check_text(raw, path):
    """Refuse what is not UTF-8 text with something in it."""
    if not raw.strip(b" \t\r\n\0"):
        raise ValueError(f"{str(path)!r} is empty; give a file with text")
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as error:
        found = f"byte {raw[error.start]:#04x} at position {error.start}"
        raise ValueError(f"{str(path)!r} is not UTF-8 ({found}); {SAVE_AGAIN}") from error
    # UTF-16 without a byte order mark is valid UTF-8 with a NUL after every Latin letter
    if raw.count(0) * 4 > len(raw):
        found = f"{raw.count(0)} NUL bytes of {len(raw)}"
        raise ValueError(f"{str(path)!r} looks like UTF-16 or binary data ({found}); {SAVE_AGAIN}")
    # in another alphabet its second bytes are control characters, 0x04 after every Cyrillic letter
    controls = len(raw) - len(raw.translate(None, CONTROLS))
    if controls * 4 > len(raw):
        found = f"{controls} control characters of {len(raw)} bytes"
        raise ValueError(f"{str(path)!r} looks like UTF-16 or binary data ({found}); {SAVE_AGAIN}")
    if len(raw) < SMALLEST:
        raise ValueError(
            f"{str(path)!r} has {len(raw)} bytes, too few for three splits; give at least {SMALLEST}"
        )


def cut_text(text, limit):
    """The first `limit` bytes, less a character that would be cut in two."""
    if len(text) <= limit:
        return text
    while limit > 0 and text[limit] & 0b1100_0000 == 0b1000_0000:  # a UTF-8 continuation byte
        limit -= 1
    return text[:limit]


# ---------------------------------------------------------------- tokens
@ours
def load_tokens(
    array: Any,
    vocab_size: int,
    tokenizer: Any = None,
    *,
    offsets: Any = None,
    name: str = "tokens",
) -> Corpus:
    """A corpus of tokens, split as a text file is (see `load_file`).

    array: (n,) integers of any type, the documents end to end: NumPy (a memmap too), a list, a tensor on the CPU. Or
        three of them, `{"train": ..., "validation": ..., "test": ...}`, where you have splits of your own.
    vocab_size: N; ids lie in 0..N-1. A model of them has N + 1 ids, and N + 2 for the masked objective: see
        `flash_tutorial.corpora.vocabulary`, which says why.
    tokenizer: of the library `tokenizers`, or the path of a `tokenizer.json`. It is saved with a model, which then
        reads and writes text, and is scored in bits per byte. None: ids stay ids.
    offsets: (n_documents + 1,) where documents begin, and the end: 0, ..., n. None is one document. With three
        arrays a dictionary too.

    What is no such array, or holds an id that is none, is a ValueError.

    >>> import numpy as np
    >>> from flash_tutorial import load_tokens
    >>> corpus = load_tokens(np.arange(200) % 7, 7)
    >>> corpus.train, corpus.vocabulary.start_id
    (Split(180 tokens in 1 document), 7)
    """
    if isinstance(vocab_size, np.integer):
        vocab_size = int(vocab_size)
    check_counts(vocab_size=vocab_size)
    vocabulary = vocabulary_of(tokenizer, vocab_size)
    if not isinstance(array, dict):
        whole = split_of(array, offsets, vocabulary, "the array")
        if len(whole.tokens) < SMALLEST and whole.n_documents < 3:
            raise ValueError(
                f"{len(whole.tokens)} tokens are too few for three splits: give at least {SMALLEST}"
            )
        return Corpus(name, **three_splits(whole))
    offsets = {} if offsets is None else offsets
    if set(array) != set(SPLITS) or not isinstance(offsets, dict) or set(offsets) - set(SPLITS):
        raise ValueError(
            f"the keys are {', '.join(map(str, array))}: expected {', '.join(SPLITS)}, in offsets too"
        )
    return Corpus(
        name, **{key: split_of(array[key], offsets.get(key), vocabulary, key) for key in SPLITS}
    )


def split_of(array, offsets, vocabulary, what):
    """One split, its ids in the smallest type that holds them: equal tokens are equal bytes, whatever they came as."""
    tokens = integers(array, what)
    low = int(tokens.min())
    high = int(tokens.max())
    N = vocabulary.tokens
    if low < 0 or high >= N:
        wrong = low if low < 0 else high
        raise ValueError(f"{what} holds the id {wrong}: expected 0 to {N - 1} (vocab_size={N})")
    tokens = tokens.astype(vocabulary.dtype, copy=False)
    if offsets is None:
        offsets = [0, len(tokens)]
    offsets = integers(offsets, "offsets")
    if (
        offsets[0] != 0
        or offsets[-1] != len(tokens)
        or len(offsets) < 2
        or (offsets[1:] <= offsets[:-1]).any()
    ):
        raise ValueError(
            f"offsets do not rise from 0 to {len(tokens)}, the number of tokens in {what}"
        )
    return Split(tokens, offsets.astype(np.int64), ("",) * (len(offsets) - 1), vocabulary)


def integers(array, what):
    """A flat NumPy array of integers, in this machine's byte order."""
    try:
        array = np.asarray(array)
    except (ValueError, TypeError, RuntimeError) as error:
        raise ValueError(
            f"{what} is no array ({str(error).splitlines()[0]}): expected one row of ids"
        ) from None
    if array.ndim != 1 or array.dtype.kind not in "iu" or not array.size:
        found = "empty" if not array.size else f"of shape {array.shape} and {array.dtype}"
        raise ValueError(f"{what} is {found}: expected one row of integer ids, (n,)")
    return array.astype(array.dtype.newbyteorder("="), copy=False)


# ---------------------------------------------------------------- three splits of one
def three_splits(whole):
    """A split -> {"train": Split, ...}; the rule stands in `load_file`."""
    n = whole.n_documents
    if n < 3:
        return split_by_position(whole)
    held = max(1, round(HELD_OUT * n))
    return cut_at(whole, whole.offsets[[0, n - 2 * held, n - held, n]])


def split_by_position(whole):
    """Cut a split at 90% and 95% of its tokens; a document that a cut goes through becomes two."""
    n = len(whole.tokens)
    held = round(HELD_OUT * n)
    return cut_at(whole, (0, n - 2 * held, n - held, n))


def cut_at(whole, borders):
    """The pieces of a split between four borders, by name; titles are left behind."""
    splits = {}
    for name, first, last in zip(SPLITS, borders, borders[1:]):
        offsets = np.unique(np.clip(whole.offsets, first, last)) - first
        splits[name] = Split(
            whole.tokens[first:last], offsets, ("",) * (len(offsets) - 1), whole.vocabulary
        )
    return splits
