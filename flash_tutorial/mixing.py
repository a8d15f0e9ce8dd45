"""The ways of mixing tokens, each a plain function beside its equation; no function here holds a parameter.

A twin of the same name in NumPy stands in ``reference.py``. ``fast.py`` has ``relu2_attention`` and
``read_earlier_chunks`` again, with their gradients by hand: less memory, fewer products.
Letters: B batch, T length, G chunks, C chunk length, S query/key width, E value width, H heads.
A token that is padding comes with a value of zero; without a normaliser that alone takes it out of every sum.
"""

from itertools import accumulate

import torch
import torch.nn.functional as F

from . import chunks
from .chunks import (
    chunk_counts,
    chunk_documents,
    chunk_means,
    document_global_part,
    factor_of,
    from_chunks,
    read_chunks,
    to_chunks,
)


def visible_pairs(mask, segment_ids):
    """``(B, T, T)`` bool: valid keys of the query's own document, from ``(B, T)`` each; None if everybody may be read.

    Code 7 asks whether whole chunks share an id; here no token reads another document, in either part.
    """
    visible = None
    if segment_ids is not None:
        visible = segment_ids[..., :, None] == segment_ids[..., None, :]
    if mask is not None:
        keys = mask[:, None, :].expand(-1, mask.shape[1], -1)
        visible = keys if visible is None else visible & keys
    return visible


# ---------------------------------------------------------------- softmax attention
def softmax_attention(q, k, v, *, causal, visible=None, bias=None, scale=None):
    """softmax(q k^T * scale + bias) v on ``(B, H, T, S)``, ``(B, H, T, E)``; torch's own fused kernel.

    ``visible`` (broadcast to ``(B, H, T, T)``, bool) says who may be read besides the causal rule. A query that may
    read nobody gets zeros. ``scale`` is 1 / sqrt(S) unless given.
    """
    if visible is None and bias is None:
        return F.scaled_dot_product_attention(q, k, v, is_causal=causal, scale=scale)
    seen = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool, device=q.device)  # (T, T)
    if causal:
        seen = seen.tril()
    if visible is not None:
        seen = seen & visible
    nobody = ~seen.any(-1, keepdim=True)
    additive = torch.zeros((), dtype=q.dtype, device=q.device) if bias is None else bias.to(q.dtype)
    additive = torch.where(seen | nobody, additive, float("-inf"))
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=additive, scale=scale)
    return out.masked_fill(nobody, 0)


# ---------------------------------------------------------------- relu^2 attention
def relu2_attention(q, k, v, *, scale, causal, bias=None, visible=None):
    """relu^2(scale q k^T + bias) v: ``q, k (B, T, S)``, ``v (B, T, E)`` -> ``(B, T, E)`` (equation 5, Code 6).

    ``bias (T, T)``; ``visible (B, T, T)`` bool says who may be read besides the causal rule. No softmax, no
    normaliser: weights that are zero everywhere are legal.
    """
    scores = scale * (q @ k.mT)  # (B, T, T)
    if bias is not None:
        scores = scores + bias
    weights = scores.relu().square()
    if causal:
        weights = weights.tril()
    if visible is not None:
        weights = weights.masked_fill(~visible, 0)
    return weights @ v


# ---------------------------------------------------------------- linear attention
def linear_attention(q, k, v, *, causal):
    """q (k^T v), a state instead of an attention matrix: ``q, k (B, T, S)``, ``v (B, T, E)`` -> ``(B, T, E)``.

    The causal form reads T different states, each the sum up to and with its own token (equation 6); this is the
    cost that mixed chunk attention removes.
    """
    if not causal:
        return q @ (k.mT @ v)
    states = torch.cumsum(k[..., :, None] * v[..., None, :], dim=1)  # (B, T, S, E)
    return torch.einsum("bts,btse->bte", q, states)


def linear_attention_step(state, q, k, v):
    """One token of it (equation 6): ``state (B, S, E)``, ``q, k (B, S)``, ``v (B, E)`` -> ``(B, E)``, new state."""
    state = state + k[:, :, None] * v[:, None, :]
    return torch.einsum("bs,bse->be", q, state), state


# ---------------------------------------------------------------- mixed chunk attention


def earlier_chunks(x):
    """Sums over the strictly earlier chunks, ``(B, G, ...)``: the running sum moved by one (equation 8).

    Never the running sum minus the reader's own chunk: equal on paper only, this leaks through rounding. A loop of G
    additions, since on a CPU torch's ``cumsum`` over any axis but the last takes up to ten times as long.
    """
    return torch.stack(list(accumulate(x.unbind(1)[:-1], initial=torch.zeros_like(x[:, 0]))), dim=1)


def read_earlier_chunks(q, k, v, factor):
    """q times ``factor (B or 1, G)`` times the earlier chunks' sum of k^T v / C: shapes as in ``global_part``."""
    if chunks.goes_chunk_by_chunk(k):
        return q @ (earlier_chunks(chunk_means(k, v)) * factor[..., None, None]).to(q.dtype)
    G = q.shape[1]
    return q @ read_chunks(
        k, v, torch.ones(1, G, G, dtype=torch.bool, device=q.device).tril(-1), factor
    )


def local_part(q, k, v, *, chunk_size, causal, bias=None, documents=None, attend=relu2_attention):
    """relu^2 attention inside each chunk: ``(B, G, C, S)``, ``(B, G, C, E)`` -> ``(B, G, C, E)`` (Code 8).

    Scores are divided by ``chunk_size``; ``bias (C, C)`` is the same in every chunk, ``documents (B, G, C)`` are ids.
    """
    B = q.shape[0]
    visible = None  # or (B G, C, C)
    if documents is not None:
        visible = visible_pairs(None, documents.flatten(0, 1))
    q, k, v = (t.flatten(0, 1) for t in (q, k, v))  # (B G, C, S) and (B G, C, E)
    near = attend(q, k, v, scale=1 / chunk_size, causal=causal, bias=bias, visible=visible)
    return near.unflatten(0, (B, -1))


def global_part(
    q,
    k,
    v,
    *,
    causal,
    combine="mean",
    counts=None,
    documents=None,
    read=read_earlier_chunks,
    before=None,
):
    """What a chunk reads of others, through sums of k^T v: ``(B, G, C, S)``, ``(B, G, C, E)`` -> ``(B, G, C, E)``.

    Causal: strictly earlier chunks (equation 8); otherwise all, its own included (equation 7). ``combine="sum"`` is the
    bare sum of the equations and of Code 1, ``"mean"`` divides it by the valid tokens in the chunks read (Code 8).
    ``counts (B or 1, G)`` valid tokens of each chunk (C each, if None); ``documents (B, G, C)`` sorted ids.
    ``before``: of full chunks before the first, the sums of k^T v / C ``(B, S, E)``, and their tokens, a number or
    ``(B, 1)``; causal without documents.
    """
    B, G, C, _ = q.shape
    counts = torch.full((1, G), C, device=q.device) if counts is None else counts
    if documents is not None:
        return document_global_part(q, k, v, documents, counts, causal, combine)
    if causal:
        count = counts.cumsum(1) - counts
        if before is None:
            return read(q, k, v, factor_of(count, C, combine, k))
        sums, tokens = before
        factor = factor_of(count + tokens, C, combine, k)
        far = q @ (sums[:, None] * factor[..., None, None]).to(q.dtype)
        return far + read(q, k, v, factor)
    sums = chunk_means(k.reshape(B, 1, G * C, -1), v.reshape(B, 1, G * C, -1)) * G  # (B, 1, S, E)
    factor = factor_of(counts.sum(1, keepdim=True), C, combine, k)
    return q @ (sums * factor[..., None, None]).to(q.dtype)


def mixed_chunk_attention(
    quad_q,
    quad_k,
    lin_q,
    lin_k,
    v,
    *,
    chunk_size,
    causal,
    bias=None,
    combine="mean",
    local=True,
    global_=True,
    mask=None,
    segment_ids=None,
    attend=relu2_attention,
    read=read_earlier_chunks,
    before=None,
):
    """relu^2 attention inside chunks plus linear attention across them (Code 1; Code 8): ``(B, T, E)``.

    Heads ``(B, T, S)``, ``v (B, T, E)``; ``bias(n) -> (n, n)`` is the position bias of a chunk. ``mask (B, T)`` bool
    and sorted ``segment_ids (B, T)`` keep padding and other documents out; padding's ``v`` must be zero already.
    ``before``, of ``global_part``, lets the row go on from chunks that were read earlier.
    ``attend`` and ``read`` compute local and causal global part: this module's own functions, or those of ``fast``.
    """
    T = v.shape[1]
    # a sequence shorter than a chunk is one short chunk; scores are still divided by chunk_size
    C = chunk_size if before is not None or T > chunk_size else T
    # (B, G, C, S or E)
    quad_q, quad_k, lin_q, lin_k, v = (to_chunks(t, C) for t in (quad_q, quad_k, lin_q, lin_k, v))
    documents = None
    if segment_ids is not None:
        documents = chunk_documents(segment_ids, C, None if causal else mask)
    how = dict(causal=causal, documents=documents)
    mixed = 0
    if local:
        table = None if bias is None else bias(C)
        near = dict(chunk_size=chunk_size, bias=table, attend=attend)
        mixed = local_part(quad_q, quad_k, v, **near, **how)
    if global_:
        counts = chunk_counts(T, C, mask, v.device)
        far = dict(combine=combine, counts=counts, read=read, before=before)
        mixed = mixed + global_part(lin_q, lin_k, v, **far, **how)
    return from_chunks(mixed, T)
