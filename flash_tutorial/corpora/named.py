"""A corpus by its name: the embedded novels, a corpus that is fetched, or a file of the reader's own."""

from pathlib import Path

from ..names import ours
from .corpus import Corpus, load_austen, load_file
from .online import SOURCES, load_online


@ours
def load_corpus(
    name: str | Path, *, max_bytes: int | None = None, cache_dir: str | Path | None = None
) -> Corpus:
    """Load a corpus of text: flat uint8 arrays of its bytes, with document offsets (see `Corpus` and `Split`).

    name: "austen" (inside the package, split by novel), an online name ("enwik8", "text8", "wikitext-103", "pg19",
        "wiki40b", "c4": see `flash_tutorial.corpora.online`), or the path of a UTF-8 text file (see
        `flash_tutorial.corpora.load_file` for how it is split). A file named like a corpus is "./austen".
    max_bytes: keep at most so many bytes over all three splits. Not for "austen", which stays whole so that
        scores compare. None is all of a file, and 50 MB (enwik8 and text8: all 100 MB) of an online corpus.
    cache_dir: where an online corpus is kept; default `$FLASH_TUTORIAL_CACHE` or `~/.cache/flash-tutorial`.

    Raises ValueError for an unknown name, an unreadable file, a damaged copy, or a network that is not there.

    >>> from flash_tutorial import load_corpus
    >>> corpus = load_corpus("austen")
    >>> corpus.train
    Split(3,124,536 bytes in 4 documents)
    >>> corpus.validation.document(0)[:10].tobytes()
    b'Persuasion'
    """
    if not isinstance(name, str | Path):
        raise ValueError(f"a corpus is given by its name or a path, got {name!r}")
    if name == "austen":
        if max_bytes is not None:
            raise ValueError(
                f"max_bytes={max_bytes!r}: 'austen' is always whole, this is for files and online corpora"
            )
        return load_austen()
    if name in SOURCES:
        return load_online(name, max_bytes=max_bytes, cache_dir=cache_dir)
    if not is_there(name):
        known = ", ".join(map(repr, ("austen", *SOURCES)))
        advice = f"give one of {known}, or the path of a UTF-8 text file"
        raise ValueError(f"{str(name)!r:.80} is neither a corpus nor a file that exists; {advice}")
    return load_file(name, max_bytes=max_bytes)


def is_there(name):
    """Whether a path leads to something; a text in its place is too long for a path."""
    try:
        return Path(name).exists()
    except OSError:
        return False
