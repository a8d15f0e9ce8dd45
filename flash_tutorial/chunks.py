"""A sequence in chunks: cutting it up, sums of k^T v over a chunk, and several documents in one row.

Letters: B batch, T length, G chunks, C chunk length, S query/key width, E value width.
"""

import torch
import torch.nn.functional as F


def to_chunks(x, C):
    """``(..., T, F) -> (..., G, C, F)`` with G = ceil(T / C); the last chunk is filled up with zeros."""
    missing = -x.shape[-2] % C
    return (F.pad(x, (0, 0, 0, missing)) if missing else x).unflatten(-2, (-1, C))


def from_chunks(x, T):
    """``(..., G, C, F) -> (..., T, F)``."""
    return x.flatten(-3, -2)[..., :T, :]


def chunk_documents(segment_ids, C):
    """``(B, T) -> (B, G, C)``; the last id fills the last chunk up, so that ids stay sorted."""
    missing = -segment_ids.shape[1] % C
    ids = torch.cat([segment_ids, segment_ids[:, -1:].expand(-1, missing)], 1)
    return ids.unflatten(1, (-1, C))


def chunk_counts(T, C, mask, device):
    """Valid tokens in each chunk: ``(B, G)``, or ``(1, G)`` without a mask."""
    valid = torch.ones(1, T, device=device, dtype=torch.long) if mask is None else mask.long()
    return to_chunks(valid[..., None], C).sum((-1, -2))


def chunk_means(k, v):
    """k^T v / C of each chunk, in float32 or better: ``k (B, G, C, S)``, ``v (B, G, C, E)`` -> ``(B, G, S, E)``."""
    means = (k / k.shape[2]).mT @ v  # divided first: in fp16 the bare sum may overflow
    return means.to(torch.promote_types(means.dtype, torch.float32))


def combined(sums, count, C, combine):
    """Sums of k^T v / C as the bare sum of k^T v, or divided by the ``count`` of valid tokens; 0 / 0 is 0."""
    return sums * (C / count.clamp(min=1).to(sums.dtype)) if combine == "mean" else sums * C


# ---------------------------------------------------------------- several documents in one row: not the paper's
def _sums_from_the_left(k, v, documents, counts):
    """Of the document that enters each chunk from the left: its sum of k^T v / C over the earlier chunks,
    ``(B, G, S, E)``, and the valid tokens of the chunks that hold it, ``(B, G, 1)``; zero where a document starts.

    A loop over chunks, not a difference of running sums: a difference would carry one document's rounding into the
    next. G steps, so linear in T.
    """
    first, last = documents[:, :, :1], documents[:, :, -1:]  # (B, G, 1)
    tails = chunk_means(k * (documents == last)[..., None], v)  # of the document that leaves to the right
    sums, count = torch.zeros_like(tails[:, 0]), torch.zeros_like(documents[:, 0, :1])
    all_sums, all_counts = [], []
    for g in range(documents.shape[1]):
        enters = first[:, g] == last[:, g - 1] if g else torch.zeros_like(first[:, 0], dtype=torch.bool)
        sums, count = sums * enters[..., None], count * enters
        all_sums.append(sums)
        all_counts.append(count)
        whole = first[:, g] == last[:, g]  # one document fills the chunk: what entered goes on
        sums = sums * whole[..., None] + tails[:, g]
        count = count * whole + counts[:, g : g + 1]
    return torch.stack(all_sums, 1), torch.stack(all_counts, 1)


def document_global_part(q, k, v, documents, counts, causal, combine):
    """``mixing.global_part`` where each token reads its own document only.

    Linear in T: at most one document enters a chunk from either side.
    """
    C = q.shape[2]
    counts = counts.expand(documents.shape[0], -1)
    left, count = _sums_from_the_left(k, v, documents, counts)
    mine = (documents == documents[:, :, :1])[..., None]  # (B, G, C, 1)
    if causal:
        return (q * mine) @ combined(left, count[..., None], C, combine).to(q.dtype)
    # Each token has a divisor of its own here, so it comes last; float32, since sums before it may overflow fp16.
    dtype = q.dtype
    q, k, v = (t.to(left.dtype) for t in (q, k, v))
    flipped = [t.flip(1).flip(2) for t in (k, v, documents)]
    right, right_count = (t.flip(1) for t in _sums_from_the_left(*flipped, counts.flip(1)))
    also_mine = (documents == documents[:, :, -1:])[..., None]
    own = documents[..., :, None] == documents[..., None, :]  # (B, G, C, C)
    with torch.autocast(q.device.type, enabled=False):
        out = C * ((q * mine) @ left + (q * also_mine) @ right) + ((q @ k.mT) * own) @ v
    if combine == "mean":
        count = count[:, :, None] * mine + right_count[:, :, None] * also_mine + counts[:, :, None, None]
        out = out / count.clamp(min=1).to(out.dtype)
    return out.to(dtype)
