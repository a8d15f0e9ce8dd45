"""Several documents in one row, each from a chunk's border on: what ``segment_ids`` and ``position_ids`` are for.

Letters: B batch, T length, C chunk length.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from .corpora.vocabulary import IGNORE
from .errors import short
from .formats import is_integers
from .settings import check_counts


@dataclass
class Packed:
    """Documents in rows ``(B, T)``. It unpacks as ``ids, segment_ids, position_ids``; the mask is True for tokens of
    documents, False for what fills up behind them."""

    ids: torch.Tensor
    segment_ids: torch.Tensor
    position_ids: torch.Tensor
    mask: torch.Tensor
    lengths: list[int]  # of the documents, in their order

    def __iter__(self) -> Iterator[torch.Tensor]:
        return iter((self.ids, self.segment_ids, self.position_ids))

    def to(self, device: torch.device | str) -> "Packed":
        """The same rows on another device."""
        rows = (
            each.to(device) for each in (self.ids, self.segment_ids, self.position_ids, self.mask)
        )
        return Packed(*rows, self.lengths)

    @property
    def targets(self) -> torch.Tensor:
        """``(B, T)``: the next token of the same document; -100 behind its last one and for all that fills up."""
        following = self.ids.roll(-1, 1)
        goes_on = self.mask & self.mask.roll(-1, 1) & (self.position_ids.roll(-1, 1) > 0)
        return following.masked_fill(~goes_on, IGNORE)

    def unpack(self, values: torch.Tensor) -> list[torch.Tensor]:
        """What was computed for the rows ``(B, T, ...)``, as a list of one ``(length, ...)`` for each document."""
        return list(values[self.mask].split(self.lengths))


def pack(
    documents: Sequence[Any], *, align: int = 1, length: int | None = None, fill_id: int = 0
) -> Packed:
    """Documents, each a list or a 1-D tensor of ids, one behind the other in rows ``(B, length)``, as ``Packed``.

    >>> from flash_tutorial import pack
    >>> packed = pack([[5, 6, 7], [8]], align=2)
    >>> ids, segment_ids, position_ids = packed
    >>> ids.tolist(), segment_ids.tolist(), position_ids.tolist()
    ([[5, 6, 7, 0, 8, 0]], [[0, 0, 0, 0, 1, 1]], [[0, 1, 2, 3, 0, 1]])
    >>> packed.mask.int().tolist(), packed.targets.tolist()
    ([[1, 1, 1, 0, 1, 0]], [[6, 7, -100, -100, -100, -100]])

    A model reads them by ``model(ids, packed.mask, segment_ids, position_ids=position_ids)``; ``packed.unpack`` cuts
    what comes back into documents.

    Each begins at a multiple of ``align``, the chunk length C in FLASH and MC-Transformer++: only there a document in a
    row is what it is alone. ``length=None`` makes one row; else it is a multiple of ``align``, a document longer than
    it is a ValueError, and one that does not fit into the rest of a row begins the next.

    What fills up (``fill_id``) belongs to the document before it, at its end, and its positions go on. A causal model
    reads it nowhere, for it comes later than all tokens of its document, and the next chunk is another document's. A
    model that reads both sides has to be told by ``packed.mask``, which is False there, that it is no token.
    """
    check_counts(align=align)
    check_counts(least=0, fill_id=fill_id)
    documents = [_document(document, i) for i, document in enumerate(documents)]
    if not documents:
        raise ValueError("there is no document to pack: expected at least one")
    if length is not None:
        check_counts(length=length)
        _check_length(length, align, documents)
    rows = _in_rows([len(document) for document in documents], align, length)
    width = length or sum(_aligned(len(document), align) for document in documents)
    device = documents[0].device
    ids = torch.full((len(rows), width), fill_id, device=device)
    segment_ids = torch.zeros_like(ids)
    position_ids = torch.zeros_like(ids)
    mask = torch.zeros_like(ids, dtype=torch.bool)
    for b, row in enumerate(rows):
        for i, start in row:
            end = start + len(documents[i])
            ids[b, start:end] = documents[i]
            mask[b, start:end] = True
            # up to the row's end: what comes behind is written over
            segment_ids[b, start:] = i
            position_ids[b, start:] = torch.arange(width - start, device=device)
    return Packed(ids, segment_ids, position_ids, mask, [len(document) for document in documents])


def _document(document, i):
    """A document as a tensor of int64."""
    try:
        ids = torch.as_tensor(document)
    except (TypeError, ValueError, RuntimeError):
        ids = torch.empty(0)
    if ids.dim() != 1 or not len(ids) or not is_integers(ids):
        raise ValueError(
            f"document {i} is {short(document)}: expected a list or a 1-D tensor of at least one integer id"
        )
    return ids.long()


def _check_length(length, align, documents):
    if length % align:
        raise ValueError(f"length={length}: expected a multiple of align={align}")
    for i, document in enumerate(documents):
        if len(document) > length:
            raise ValueError(
                f"document {i} has {len(document)} tokens, a row length={length}: cut it, or make rows longer"
            )


def _aligned(n, align):
    return -(-n // align) * align


def _in_rows(lengths, align, length):
    """Rows of (document, where it begins): each behind the one before, or in a new row if it does not fit."""
    rows = [[]]
    start = 0
    for i, n in enumerate(lengths):
        if length is not None and start + n > length:
            rows.append([])
            start = 0
        rows[-1].append((i, start))
        start += _aligned(n, align)
    return rows
