"""Texts with labels, padded into arrays, for encoders that decide something about each."""

from dataclasses import dataclass

import numpy as np

from .vocabulary import IGNORE


@dataclass(frozen=True, eq=False)
class Labelled:
    """n texts of at most T tokens; torch's ``TensorDataset(*map(torch.from_numpy, split))`` makes batches of it.

    ids: (n, T) uint8, padded behind its end. mask: (n, T) bool, True for valid tokens. labels: (n,) int64.
    token_labels: (n, T) int64, -100 where nothing is asked; None where a task has no such question.

    >>> from flash_tutorial.corpora import load_novels
    >>> test = load_novels(512).test
    >>> test
    Labelled(450 texts of at most 512 tokens)
    >>> ids, mask, labels = test
    >>> ids.shape, bool(mask.all()), labels[:3].tolist()
    ((450, 512), True, [0, 0, 0])
    """

    ids: np.ndarray
    mask: np.ndarray
    labels: np.ndarray
    token_labels: np.ndarray | None = None

    def __iter__(self):
        return iter((self.ids, self.mask, self.labels))

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self):
        return f"Labelled({len(self):,} texts of at most {self.ids.shape[1]} tokens)"


@dataclass(frozen=True, eq=False)
class LabelledTask:
    """A task: what the labels stand for, how many ids there are, and three splits.

    >>> from flash_tutorial.corpora import load_listops
    >>> task = load_listops(shortest=8, longest=12, train=100, held_out=10)
    >>> len(task.classes), task.vocab_size, len(task.train)
    (10, 16, 100)
    """

    name: str
    classes: tuple[str, ...]
    vocab_size: int
    train: Labelled
    validation: Labelled
    test: Labelled

    def __repr__(self):
        sizes = ", ".join(
            f"{name} {len(getattr(self, name)):,}" for name in ("train", "validation", "test")
        )
        return f"LabelledTask({self.name!r}: {len(self.classes)} classes, {sizes})"


def padded(texts, labels, length, padding, token_labels=None):
    """Bytes of ids as one ``Labelled``; ``token_labels`` are dictionaries, place -> label."""
    ids = np.full((len(texts), length), padding, np.uint8)
    mask = np.zeros((len(texts), length), bool)
    of_tokens = None
    if token_labels is not None:
        of_tokens = np.full((len(texts), length), IGNORE, np.int64)
    for row, text in enumerate(texts):
        ids[row, : len(text)] = [*text]
        mask[row, : len(text)] = True
        if of_tokens is not None:
            of_tokens[row, list(token_labels[row])] = list(token_labels[row].values())
    return Labelled(ids, mask, np.array(labels, np.int64), of_tokens)
