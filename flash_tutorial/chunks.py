"""A sequence in chunks: cutting it up, sums of k^T v over a chunk, and several documents in one row.

Letters: B batch, T length, G chunks, C chunk length, S query/key width, E value width.
"""

from contextlib import nullcontext

import torch
import torch.nn.functional as F

from .formats import without_autocast


def to_chunks(x, C):
    """``(..., T, width) -> (..., G, C, width)`` with G = ceil(T / C); the last chunk is filled up with zeros."""
    T = x.shape[-2]
    G = (T + C - 1) // C
    if torch.compiler.is_compiling():  # no branch: it would be a graph more
        x = F.pad(x.contiguous(), (0, 0, 0, G * C - T))
    elif G * C > T:
        x = F.pad(x, (0, 0, 0, G * C - T))
    return x.unflatten(-2, (G, C))


def from_chunks(x, T):
    """``(..., G, C, width) -> (..., T, width)``."""
    x = x.flatten(-3, -2)
    if (
        torch.compiler.is_compiling()
    ):  # a view would be contiguous at some lengths, and a graph more
        return F.pad(x, (0, 0, 0, T - x.shape[-2]))
    return x[..., :T, :]


def chunk_documents(segment_ids, C, mask=None):
    """``(B, T) -> (B, G, C)``; the last id fills the last chunk up, so that ids stay sorted.

    With ``mask``, padding at a chunk's beginning has the id of the valid token behind it, so that the document before
    does not reach into the chunk. Only who reads both sides has to know: others never read that chunk.
    """
    missing = -segment_ids.shape[1] % C
    ids = torch.cat([segment_ids, segment_ids[:, -1:].expand(-1, missing)], 1).unflatten(1, (-1, C))
    if mask is None:
        return ids
    mask = to_chunks(mask[..., None], C)[..., 0]
    highest = torch.iinfo(ids.dtype).max
    behind = ids.masked_fill(~mask, highest).flip(-1).cummin(-1).values.flip(-1)
    begins = (mask.cumsum(-1) == 0) & (behind < highest)
    return torch.where(begins, behind, ids)


def chunk_counts(T, C, mask, device):
    """Valid tokens in each chunk: ``(B, G)``, or ``(1, G)`` without a mask."""
    if mask is None:
        mask = torch.ones(1, T, device=device, dtype=torch.bool)
    return to_chunks(mask.long()[..., None], C).sum((-1, -2))


def chunk_means(k, v, *, at_least=torch.float32):
    """k^T v / C of each chunk: ``k (B, G, C, S)``, ``v (B, G, C, E)`` -> ``(B, G, S, E)``, in float32 or better."""
    means = (k / k.shape[2]).mT @ v  # divided first: in fp16 the bare sum may overflow
    return means.to(torch.promote_types(means.dtype, at_least))


def factor_of(count, C, combine, like):
    """What turns sums of k^T v / C into the bare sum of k^T v, or into the mean over ``count`` tokens; 0 / 0 is 0."""
    dtype = torch.promote_types(like.dtype, torch.float32)
    if combine == "mean":
        return C / count.clamp(min=1).to(dtype)
    return torch.full_like(count, C, dtype=dtype)


def goes_chunk_by_chunk(x):
    """Whether sums over chunks are a loop: the fastest way on a CPU; elsewhere each step would be waited for.

    A compiler would write the loop out, once more for each length.
    """
    return x.device.type == "cpu" and not torch.compiler.is_compiling()


def read_chunks(k, v, reads, factor, at_least=None):
    """``factor (B, G)`` times the sum of the chunk means that each chunk ``reads (B or 1, G, G)``, bool.

    One product in place of a loop. Its zeros multiply what is not read: an inf or a NaN in a later chunk turns into a
    NaN here, where a loop or the kernels of ``gpu/`` never look at it. With ``at_least`` the sums come in that type,
    whatever autocast would make of them.
    """
    means = chunk_means(k, v, at_least=at_least or v.dtype)  # a product sums in float32 by itself
    weights = (reads * factor[..., None]).to(means.dtype)
    products = nullcontext() if at_least is None else without_autocast(means)
    with products:
        return (weights @ means.flatten(2)).unflatten(2, means.shape[2:])


# ---------------------------------------------------------------- several documents in one row: not the paper's
def crossings(documents):
    """Which chunks a document connects, from sorted ids ``(B, G, C)``; three times ``(B, G)``.

    joins: a document crosses from the chunk before into this one. whole: one document fills the chunk. earlier: how
    many earlier chunks hold the document that enters, 0 where none does.
    """
    first = documents[:, :, 0]
    last = documents[:, :, -1]
    joins = F.pad(first[:, 1:] == last[:, :-1], (1, 0))
    whole = first == last
    places = torch.arange(documents.shape[1], device=documents.device)
    # the chunk where a chunk's last document began
    begun = torch.where(joins & whole, 0, places).cummax(1).values
    return joins, whole, torch.where(joins, places - F.pad(begun[:, :-1], (1, 0)), 0)


def count_earlier(counts, earlier):
    """Valid tokens in the so many ``earlier (B, G)`` chunks, from ``counts (B or 1, G)`` of each chunk."""
    places = torch.arange(earlier.shape[1], device=earlier.device).expand_as(earlier)
    before = F.pad(counts.cumsum(1), (1, 0)).expand(len(earlier), -1)
    return before.gather(1, places) - before.gather(1, places - earlier)


def _sums_from_the_left(k, v, documents, counts):
    """Of the document that enters each chunk from the left: its sum of k^T v / C over the earlier chunks,
    ``(B, G, S, E)``, and the valid tokens of the chunks that hold it, ``(B, G)``; zero where a document starts.

    Never a difference of running sums: that would carry one document's rounding into the next. Counts are integers, of
    which a difference is exact. On a CPU a loop of G steps, linear in T.
    """
    joins, whole, earlier = crossings(documents)
    places = torch.arange(documents.shape[1], device=documents.device)
    count = count_earlier(counts, earlier)
    k = k * (documents == documents[:, :, -1:])[..., None]  # of the document that leaves each chunk
    if not goes_chunk_by_chunk(k):
        reads = (documents[:, :, None, 0] == documents[:, None, :, -1]) & (places[:, None] > places)
        return read_chunks(k, v, reads, torch.ones_like(count), torch.float32), count
    tails = chunk_means(k, v)
    joins = joins[..., None, None]
    whole = whole[..., None, None]
    sums = torch.zeros_like(tails[:, 0])
    all_sums = []
    for g in range(documents.shape[1]):
        sums = torch.where(joins[:, g], sums, 0)
        all_sums.append(sums)
        # one document fills the chunk: what entered goes on
        sums = torch.where(whole[:, g], sums, 0) + tails[:, g]
    return torch.stack(all_sums, 1), count


def document_global_part(q, k, v, documents, counts, causal, combine):
    """``mixing.global_part`` where each token reads its own document only.

    Linear in T: at most one document enters a chunk from either side.
    """
    C = q.shape[2]
    counts = counts.expand(documents.shape[0], -1)
    left, count = _sums_from_the_left(k, v, documents, counts)
    mine = (documents == documents[:, :, :1])[..., None]  # (B, G, C, 1)
    if causal:
        return (q * mine) @ (left * factor_of(count, C, combine, left)[..., None, None]).to(q.dtype)
    # Each token has a divisor of its own here, so it comes last; float32, since sums before it may overflow fp16.
    dtype = q.dtype
    q, k, v = (t.to(left.dtype) for t in (q, k, v))
    flipped = [t.flip(1).flip(2) for t in (k, v, documents)]
    right, right_count = (t.flip(1) for t in _sums_from_the_left(*flipped, counts.flip(1)))
    also_mine = (documents == documents[:, :, -1:])[..., None]
    own = documents[..., :, None] == documents[..., None, :]  # (B, G, C, C)
    with without_autocast(q):
        out = C * ((q * mine) @ left + (q * also_mine) @ right) + ((q @ k.mT) * own) @ v
    if combine == "mean":
        count, right_count = (n[:, :, None, None] for n in (count, right_count))
        count = count * mine + right_count * also_mine + counts[:, :, None, None]
        out = out / count.clamp(min=1).to(out.dtype)
    return out.to(dtype)
