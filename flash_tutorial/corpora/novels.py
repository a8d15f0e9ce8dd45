"""Which of Jane Austen's six novels is a page from? Chapters that are trained on share no page with those of the test.

What would give a novel away is taken out: chapter headings, the layout of the edition, and all names, which are the
words that stand capitalised more than ten times as often as in small letters.
"""

import random
import re
from collections import Counter
from pathlib import Path

from ..settings import check_counts
from .corpus import SPLITS, load_austen
from .labelled import LabelledTask, padded

HEADING = re.compile(r"^\s*(?:chapter|volume)\s+[\divxlc]+\.?\s*$", re.IGNORECASE | re.MULTILINE)
CAPITALISED = re.compile(r"\b[A-Z][a-z]+\b")
NAME = "@"
AS_OFTEN = 10
PLAIN = str.maketrans(
    {"_": "", "-": " ", "`": "'"}
)  # how an edition sets italics, dashes and quotes
EVERY = 10  # of ten chapters one is for validation and one for the test
HELD_OUT = {4: "validation", 9: "test"}
SHORTEST = 16


def load_novels(
    length: int = 512, *, names: bool = False, seed: int = 0, folder: str | Path | None = None
) -> LabelledTask:
    """Pages of ``length`` bytes, as many of each novel; with ``names`` they are left in.

    Raises ValueError where no page is so long, or as ``load_austen`` does.

    >>> from flash_tutorial.corpora import load_novels
    >>> task = load_novels(1024)
    >>> task.classes[:2], len(task.train) == len(task.train.ids)
    (('Sense and Sensibility', 'Pride and Prejudice'), True)
    """
    check_counts(least=SHORTEST, length=length)
    found = texts_of(load_austen(folder))
    hidden = set() if names else names_of(found.values())
    pages = {split: {title: [] for title in found} for split in SPLITS}
    for title, text in found.items():
        for i, chapter in enumerate(chapters_of(text)):
            split = HELD_OUT.get(i % EVERY, "train")
            pages[split][title] += pages_of(plain(chapter, hidden), length)
    splits = {
        split: as_many_of_each(of, length, random.Random(seed)) for split, of in pages.items()
    }
    return LabelledTask("novels", tuple(found), 256, **splits)


def texts_of(corpus):
    """The novels by title, in the order of the corpus."""
    found = {}
    for split in (corpus.train, corpus.test, corpus.validation):
        for i, title in enumerate(split.titles):
            found[title] = split.document(i).tobytes().decode("ascii")
    return found


def names_of(texts):
    """The words that are names: "Bath", although somebody takes a bath."""
    seen = Counter()
    for text in texts:
        seen.update(re.findall(r"[A-Za-z]+", text))
    capitalised = {word for word in seen if CAPITALISED.fullmatch(word)}
    return {word for word in capitalised if seen[word] > AS_OFTEN * seen[word.lower()]}


def chapters_of(text):
    """What stands below each heading; not what is before the first one, such as the title."""
    return [part for part in HEADING.split(text)[1:] if part.strip()]


def plain(text, names):
    """One line, as no edition has it, without these names."""
    text = " ".join(text.translate(PLAIN).split())
    return CAPITALISED.sub(lambda word: NAME if word[0] in names else word[0], text)


def pages_of(text, length):
    """Whole pages, end to end."""
    return [text[i : i + length].encode() for i in range(0, len(text) - length + 1, length)]


def as_many_of_each(pages, length, rng):
    """One split: of each novel as many pages as the shortest one has, drawn by chance."""
    n = min(map(len, pages.values()))
    if n == 0:
        raise ValueError(f"length={length}: no chapter of some novel is so long, ask for less")
    texts = []
    labels = []
    for label, of_novel in enumerate(pages.values()):
        texts += rng.sample(of_novel, n)
        labels += [label] * n
    return padded(texts, labels, length, 0)
