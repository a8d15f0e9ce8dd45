"""What the ids of a text mean: its bytes, or the tokens of a vocabulary of one's own.

    ids          bytes      tokens, N of them
    of a text    1 to 255   0 to N - 1
    start_id     0 (NUL)    N        stands before a document's first token, and fills a row behind a short document
    mask_id      256        N + 1    stands where the masked objective hides a token

No text holds NUL, so bytes have an id to spare. A vocabulary of N need not have one, so a model of tokens has one id
more (`vocab_size` N + 1), and for the masked objective two. Thus every token of a text is predicted once, the first
of a document too, and a model can begin a text from nothing.

A tokenizer is one of Hugging Face's library `tokenizers`, kept as the text of its `tokenizer.json`. The library is
loaded where text is encoded or decoded, and nowhere else; bytes never need it.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

START_ID = 0  # of bytes: NUL
MASK_ID = 256  # of bytes: the first id that is none
IGNORE = -100  # the target of a position that the loss leaves out
TEXT_OF_ID = [*(bytes((i,)) for i in range(256)), "\u2423".encode()]  # of a masked one: an open box


@dataclass(frozen=True)
class Vocabulary:
    """`tokens` is N, or None for bytes; `tokenizer` the text of a `tokenizer.json`, or None where there is none."""

    tokens: int | None = None
    tokenizer: str | None = None

    def __repr__(self):
        if self.tokens is None:
            return "Vocabulary(bytes)"
        tokenizer = "no" if self.tokenizer is None else "a"
        return f"Vocabulary({self.tokens:,} tokens, {tokenizer} tokenizer)"

    @property
    def unit(self) -> str:
        """What is counted: "byte" or "token"."""
        return "byte" if self.tokens is None else "token"

    @property
    def start_id(self) -> int:
        return START_ID if self.tokens is None else self.tokens

    @property
    def mask_id(self) -> int:
        return MASK_ID if self.tokens is None else self.tokens + 1

    def ids(self, causal: bool) -> int:
        """The smallest `vocab_size` of a model."""
        return self.mask_id + (not causal)

    def check(self, vocab_size, causal):
        """Refuse a model that has too few ids."""
        if vocab_size < self.ids(causal):
            if self.tokens is None:
                what = "bytes"
                mask = " and the mask of the masked objective"
            else:
                what = f"{self.tokens} tokens and the start of a document"
                mask = ", and the mask of the masked objective"
            if not causal:
                what += mask
            raise ValueError(
                f"vocab_size={vocab_size}: expected at least {self.ids(causal)}, for {what}"
            )

    @property
    def dtype(self):
        """The smallest type that holds its ids."""
        highest = 255 if self.tokens is None else self.tokens - 1
        return np.min_scalar_type(highest)

    @property
    def readable(self) -> bool:
        """Whether ids can be turned into text."""
        return self.tokens is None or self.tokenizer is not None

    @cached_property
    def library(self):
        """The `tokenizers.Tokenizer`; a ValueError where it, or its library, is missing."""
        if self.tokenizer is None:
            how = (
                "give load_tokens its tokenizer, or put its tokenizer.json into the model's folder"
            )
            raise ValueError(
                f"these are {self.tokens} tokens without a tokenizer, so their text is not known: {how}"
            )
        library = import_tokenizers()
        try:
            tokenizer = library.Tokenizer.from_str(self.tokenizer)
            tokenizer.no_truncation()  # a text is encoded whole, whatever the tokenizer did for another model
            tokenizer.no_padding()
            return tokenizer
        except Exception as error:  # the library raises no class of its own
            said = " ".join(str(error).split())
            raise ValueError(
                f"the tokenizer cannot be read ({said}): expected the library's tokenizer.json"
            ) from None

    def encode(self, text: str) -> np.ndarray:
        """str -> (T,) int64."""
        if self.tokens is None:
            return ByteTokenizer().encode(text)
        return np.array(self.library.encode(text, add_special_tokens=False).ids, np.int64)

    def decode(self, ids: Any) -> str:
        """(T,) integers -> str. Tokens that stand for no text (`<|endoftext|>`) give none."""
        if self.tokens is None:
            return ByteTokenizer(masked=True).decode(ids)
        return self.library.decode(list(ids))


BYTES = Vocabulary()


class ByteTokenizer:
    """Text as its UTF-8 bytes: 256 ids, and with `masked=True` one more, `mask_id` 256, for the masked objective.

    >>> from flash_tutorial.corpora import ByteTokenizer
    >>> ids = ByteTokenizer().encode("naïve")
    >>> ids.tolist(), ByteTokenizer().decode(ids)
    ([110, 97, 195, 175, 118, 101], 'naïve')
    """

    def __init__(self, masked: bool = False) -> None:
        self.mask_id = MASK_ID if masked else None
        self.vocab_size = 257 if masked else 256

    def encode(self, text: str) -> np.ndarray:
        """str -> (T,) int64. A lone surrogate, which UTF-8 cannot hold, is a ValueError."""
        try:
            raw = text.encode("utf-8")
        except UnicodeEncodeError as error:
            bad = f"character {text[error.start]!r} at position {error.start}"
            raise ValueError(f"{bad} has no UTF-8 form; remove it from the text") from error
        return np.frombuffer(raw, np.uint8).astype(np.int64)

    def decode(self, ids: Any) -> str:
        """(T,) integers -> str. Bytes that are not UTF-8 show as U+FFFD, a masked position as U+2423 (open box)."""
        ids = np.asarray(ids)
        if ids.ndim != 1 or not (np.issubdtype(ids.dtype, np.integer) or ids.size == 0):
            raise ValueError(
                f"decode takes one row of integer ids, got shape {ids.shape} of {ids.dtype}"
            )
        if ids.size and not 0 <= ids.min() <= ids.max() < self.vocab_size:
            asked = "is this the tokenizer that the model was trained with?"
            raise ValueError(
                f"ids must lie in 0..{self.vocab_size - 1}, got {ids.min()}..{ids.max()}; {asked}"
            )
        raw = b"".join(TEXT_OF_ID[i] for i in ids.tolist())
        return raw.decode("utf-8", errors="replace")


# ---------------------------------------------------------------- a tokenizer of the library
def import_tokenizers():
    """The library, or one line that says how it is installed."""
    try:
        import tokenizers
        import tokenizers.decoders
    except ImportError:
        raise ValueError(
            "text of tokens needs the package tokenizers: pip install tokenizers"
        ) from None
    return tokenizers


def text_of(tokenizer):
    """The text of a `tokenizer.json`, from a `tokenizers.Tokenizer`, a fast one of `transformers`, or the path of the
    file; in one form, so that equal tokenizers are equal texts. None stays None."""
    if tokenizer is None:
        return None
    inner = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if hasattr(inner, "to_str"):
        return json.dumps(json.loads(inner.to_str()))
    if not isinstance(tokenizer, str | Path):
        kinds = "a tokenizers.Tokenizer, the path of a tokenizer.json, or None"
        raise ValueError(f"tokenizer is a {type(tokenizer).__name__}: expected {kinds}")
    try:
        return json.dumps(json.loads(Path(tokenizer).read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise ValueError(
            f"tokenizer={str(tokenizer)!r} cannot be read ({error}): give a tokenizer.json"
        ) from None


def is_other_tokenizer(text, other):
    """Whether two `tokenizer.json` make other tokens; padding and truncation are switched off here in any case."""
    if text == other:
        return False
    switched_off = {"truncation": None, "padding": None}
    return json.loads(text) | switched_off != json.loads(other) | switched_off


def vocabulary_of(tokenizer, tokens=None):
    """A Vocabulary with a tokenizer; `tokens` is N, by default as many as the tokenizer's ids ask for."""
    vocabulary = Vocabulary(tokens, text_of(tokenizer))
    if vocabulary.tokenizer is None:
        return vocabulary
    needed = 1 + max(vocabulary.library.get_vocab().values(), default=0)
    if tokens is not None and needed > tokens:
        raise ValueError(
            f"vocab_size={tokens}: the tokenizer has ids up to {needed - 1}, so expected {needed} or more"
        )
    return Vocabulary(tokens or needed, vocabulary.tokenizer)
