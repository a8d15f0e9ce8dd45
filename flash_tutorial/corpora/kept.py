"""The folder of what takes long to fetch or to encode, and a corpus in the tokens of a tokenizer, kept there.

A corpus of tokens is `NAME-KEY.npz`, its arrays, and `NAME-KEY.json` beside it with their sha256. The key is made of
text and tokenizer, so another text, or another tokenizer, has files of its own.
"""

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np

from .. import files
from .corpus import SPLITS, Corpus, Split
from .vocabulary import Vocabulary, vocabulary_of

AGAIN = "delete it, and the text is encoded again"


def cache_folder(cache_dir: str | Path | None = None) -> Path:
    """`cache_dir`, or `$FLASH_TUTORIAL_CACHE`, or `~/.cache/flash-tutorial`."""
    home = Path.home() / ".cache" / "flash-tutorial"
    return Path(cache_dir or os.environ.get("FLASH_TUTORIAL_CACHE") or home).expanduser()


def encoded(corpus: Corpus, tokenizer: Any, cache_dir: str | Path | None = None) -> Corpus:
    """As `corpus.encoded(tokenizer)`, and kept: the next call reads what this one made.

    Raises ValueError for files that were altered, and for a folder that cannot be written.
    """
    vocabulary = tokenizer if isinstance(tokenizer, Vocabulary) else vocabulary_of(tokenizer)
    texts = [getattr(corpus, name).sha256 for name in SPLITS]
    key = hashlib.sha256("".join([*texts, vocabulary.tokenizer]).encode()).hexdigest()[:16]
    path = cache_folder(cache_dir) / f"{Path(corpus.name).stem}-{key}.npz"
    if path.exists() and path.with_suffix(".json").exists():
        return _read(corpus.name, vocabulary, path)
    made = corpus.encoded(vocabulary)
    _write(made, path)
    return made


def _read(name, vocabulary, path):
    with files.advising(AGAIN):
        record = files.read_json(path.with_suffix(".json"))
        files.check_sha256(path.parent, record["sha256"])
    with np.load(path) as arrays:
        splits = {
            split: Split(
                arrays[split],
                arrays[f"{split}_offsets"],
                tuple(record["titles"][split]),
                vocabulary,
            )
            for split in SPLITS
        }
    return Corpus(name, **splits)


def _write(corpus, path):
    """Arrays and record, whole or not at all."""
    splits = {name: getattr(corpus, name) for name in SPLITS}
    arrays = {name: split.tokens for name, split in splits.items()}
    arrays |= {f"{name}_offsets": split.offsets for name, split in splits.items()}
    files.make_folder(path.parent)
    with files.whole_files(path, path.with_suffix(".json")) as (arrays_part, record_part):
        with open(arrays_part, "wb") as file:
            np.savez(file, **arrays)
        record = {
            "sha256": {path.name: files.file_sha256(arrays_part)},
            "titles": {name: list(split.titles) for name, split in splits.items()},
        }
        record_part.write_text(files.to_json(record), encoding="utf-8")
