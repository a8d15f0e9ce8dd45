"""The ways of mixing tokens, as pure functions of tensors: softmax, relu^2 quadratic, linear, mixed chunk.

Letters: B batch, T length, G chunks, C chunk length, S query/key width, E value width, H heads, n positions.
A token that is padding comes with a value of zero; without a normaliser that alone takes it out of every sum.
"""

import torch
import torch.nn.functional as F

ROWS = 64  # rows of a causal map computed at once, at least: what lies right of the last one is never multiplied


# ---------------------------------------------------------------- softmax attention


def softmax_attention(q, k, v, *, causal, visible=None, bias=None, scale=None):
    """softmax(q k^T * scale + bias) v on ``(B, H, T, S)``, ``(B, H, T, E)``; torch's own fused kernel.

    ``visible`` (broadcast to ``(B, H, T, T)``, bool) says who may be read besides the causal rule. A query that may
    read nobody gets zeros. ``scale`` is 1 / sqrt(S) unless given.
    """
    if visible is None and bias is None:
        return F.scaled_dot_product_attention(q, k, v, is_causal=causal, scale=scale)
    n, m = q.shape[-2], k.shape[-2]
    seen = torch.ones(n, m, dtype=torch.bool, device=q.device)
    if causal:
        seen = seen.tril()
    if visible is not None:
        seen = seen & visible
    nobody = ~seen.any(-1, keepdim=True)
    additive = torch.zeros((), dtype=q.dtype, device=q.device) if bias is None else bias.to(q.dtype)
    additive = torch.where(seen | nobody, additive, float("-inf"))
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=additive, scale=scale)
    return out.masked_fill(nobody, 0)


# ---------------------------------------------------------------- relu^2 attention (equation 5, Code 6)


def _row_blocks(n, causal):
    """(first row, last row, keys they may read) of each block."""
    step = max(ROWS, n // 8) if causal else n  # at most eight blocks or so: many small products are slow on a GPU
    for first in range(0, n, step):
        last = min(first + step, n)
        yield first, last, (last if causal else n)


class _Relu2Attention(torch.autograd.Function):
    """relu(scale q k^T + bias)^2 v, block of rows by block of rows, with its backward pass written out.

    By hand because every product can then be added to its sum in place, and because the part of a causal map that is
    zero is never computed. ``bias`` holds -inf where a causal map is empty; relu makes that an exact zero.
    """

    @staticmethod
    def forward(ctx, q, k, v, bias, visible, scale, causal):
        out = torch.empty(*q.shape[:2], v.shape[-1], dtype=q.dtype, device=q.device)
        maps = []
        for a, b, m in _row_blocks(q.shape[1], causal):
            r = torch.baddbmm(bias[a:b, :m], q[:, a:b], k[:, :m].mT, alpha=scale).relu_()  # (B, rows, m)
            if visible is not None:
                r.masked_fill_(~visible[:, a:b, :m], 0)
            out[:, a:b] = (r * r) @ v[:, :m]
            maps.append(r)
        ctx.save_for_backward(q, k, v, *maps)
        ctx.scale, ctx.causal, ctx.n = scale, causal, bias.shape[0]
        return out

    @staticmethod
    def backward(ctx, grad):
        if torch.is_grad_enabled() and not torch.compiler.is_compiling():
            raise RuntimeError(
                "relu2_attention has no second derivative, since its backward pass is written by hand: "
                "leave create_graph=True out"
            )
        q, k, v, *maps = ctx.saved_tensors
        dq, dk, dv = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        dbias = torch.zeros(ctx.n, ctx.n, dtype=q.dtype, device=q.device)
        for (a, b, m), r in zip(_row_blocks(q.shape[1], ctx.causal), maps):
            ds = (grad[:, a:b] @ v[:, :m].mT).mul_(r)  # d/ds relu(s)^2 = 2 relu(s); the 2 goes into the products
            dv[:, :m].baddbmm_((r * r).mT, grad[:, a:b])
            dq[:, a:b] = torch.baddbmm(dq[:, a:b], ds, k[:, :m], beta=0, alpha=2 * ctx.scale)
            dk[:, :m].baddbmm_(ds.mT, q[:, a:b], alpha=2 * ctx.scale)
            dbias[a:b, :m] = 2 * ds.sum(0)
        return dq, dk, dv, dbias, None, None, None


def _autocast(*tensors):
    """The tensors in the type that autocast would give a matrix product."""
    device = tensors[0].device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else tensors[0].dtype
    return [t.to(dtype) for t in tensors]


def relu2_attention(q, k, v, *, scale, causal, bias=None, visible=None):
    """relu^2(scale q k^T + bias) v: ``q, k (B, T, S)``, ``v (B, T, E)`` -> ``(B, T, E)`` (equation 5, Code 6).

    ``bias (T, T)``; ``visible (B, T, T)`` bool says who may be read besides the causal rule. No softmax, no
    normaliser: a map that is zero everywhere is a legal map.
    """
    n = q.shape[1]
    if bias is None:
        bias = q.new_zeros(n, n)
    if causal:
        future = torch.ones(n, n, dtype=torch.bool, device=q.device).triu(1)
        bias = bias.masked_fill(future, float("-inf"))
    q, k, v, bias = _autocast(q, k, v, bias)
    with torch.autocast(q.device.type, enabled=False):
        return _Relu2Attention.apply(q, k, v, bias, visible, scale, causal)


# ---------------------------------------------------------------- linear attention (equation 6)


def linear_attention(q, k, v, *, causal):
    """q (k^T v), a state instead of a map: ``q, k (B, T, S)``, ``v (B, T, E)`` -> ``(B, T, E)``.

    The causal form reads T different states, each the sum up to and with its own token (equation 6); this is the
    cost that mixed chunk attention removes.
    """
    if not causal:
        return q @ (k.mT @ v)
    states = torch.cumsum(k[..., :, None] * v[..., None, :], dim=1)  # (B, T, S, E)
    return torch.einsum("bts,btse->bte", q, states)


def linear_attention_step(state, q, k, v):
    """One token of the same: ``state (B, S, E)``, ``q, k (B, S)``, ``v (B, E)`` -> output ``(B, E)``, new state."""
    state = state + k[:, :, None] * v[:, None, :]
    return torch.einsum("bs,bse->be", q, state), state


# ---------------------------------------------------------------- the global part (equations 7 and 8, Code 8)


def chunk_means(k, v):
    """k^T v / C of each chunk, in float32 or better: ``k (B, G, C, S)``, ``v (B, G, C, E)`` -> ``(B, G, S, E)``."""
    means = (k / k.shape[2]).mT @ v  # divided first: in fp16 the bare sum may overflow
    return means.to(torch.promote_types(means.dtype, torch.float32))


def shift_right(x):
    """Entry g becomes entry g - 1, the first one zero: this makes a running sum exclusive, without a subtraction."""
    return torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], dim=1)


def global_attention(q, k, v, *, causal, combine="mean", counts=None, documents=None):
    """What a chunk reads of others, through sums of k^T v: ``(B, G, C, S)``, ``(B, G, C, E)`` -> ``(B, G, C, E)``.

    Causal: strictly earlier chunks (equation 8); otherwise all, the own one too (equation 7). ``combine="sum"`` is the
    bare sum of the equations, ``"mean"`` divides it by the valid tokens in the chunks read, as Code 8 does.
    ``counts (B or 1, G)`` valid tokens of each chunk (C each, if None); ``documents (B, G, C)`` sorted ids.
    """
    B, G, C, _ = q.shape
    counts = torch.full((1, G), C, device=q.device) if counts is None else counts
    if documents is not None:
        return _document_attention(q, k, v, documents, counts, causal, combine)
    if causal:
        sums = shift_right(chunk_means(k, v).cumsum(1))  # (B, G, S, E), G steps in a row instead of T
        count = shift_right(counts.cumsum(1))[:, :, None, None]
    else:
        sums = chunk_means(k.reshape(B, 1, G * C, -1), v.reshape(B, 1, G * C, -1)) * G
        count = counts.sum(1)[:, None, None, None]
    return q @ _combined(sums, count, C, combine).to(q.dtype)


def _combined(sums, count, C, combine):
    """Sums of k^T v / C as the bare sum of k^T v, or divided by the ``count`` of valid tokens; 0 / 0 is 0."""
    return sums * (C / count.clamp(min=1).to(sums.dtype)) if combine == "mean" else sums * C


def _left_sums(k, v, documents, counts):
    """For each chunk, of the document entering it from the left: sum of k^T v / C over the earlier chunks, and the
    valid tokens of the chunks that hold it. Both are zero where the chunk starts a document.

    A loop over chunks, not a difference of running sums: a difference would carry one document's rounding into the
    next. G steps, so linear in T.
    """
    first, last = documents[:, :, :1], documents[:, :, -1:]  # (B, G, 1)
    ends = (documents == last)[..., None]
    tails = chunk_means(k * ends, v)  # of the document that leaves to the right
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


def _document_attention(q, k, v, documents, counts, causal, combine):
    """The global part where each token reads its own document only. Time is linear in T: at most one document enters
    a chunk from the left, and one from the right."""
    C = q.shape[2]
    counts = counts.expand(documents.shape[0], -1)
    left, count = _left_sums(k, v, documents, counts)
    mine = (documents == documents[:, :, :1])[..., None]  # (B, G, C, 1)
    if causal:
        return (q * mine) @ _combined(left, count[..., None], C, combine).to(q.dtype)
    # Each token has a divisor of its own here, so it comes last; float32, since sums before it may overflow fp16.
    dtype = q.dtype
    q, k, v = (t.to(left.dtype) for t in (q, k, v))
    flipped = [t.flip(1).flip(2) for t in (k, v, documents)]
    right, right_count = (t.flip(1) for t in _left_sums(*flipped, counts.flip(1)))
    also_mine = (documents == documents[:, :, -1:])[..., None]
    same = documents[..., :, None] == documents[..., None, :]
    with torch.autocast(q.device.type, enabled=False):
        out = C * ((q * mine) @ left + (q * also_mine) @ right) + ((q @ k.mT) * same) @ v
    if combine == "mean":
        count = count[:, :, None] * mine + right_count[:, :, None] * also_mine + counts[:, :, None, None]
        out = out / count.clamp(min=1).to(out.dtype)
    return out.to(dtype)


# ---------------------------------------------------------------- mixed chunk attention (Section 3.2, Code 8)


def into_chunks(x, C):
    """``(..., T, F) -> (..., G, C, F)`` with G = ceil(T / C); the last chunk is filled up with zeros."""
    T = x.shape[-2]
    missing = -T % C
    if missing:
        x = F.pad(x, (0, 0, 0, missing))
    return x.unflatten(-2, (-1, C))


def chunk_counts(T, C, mask, device):
    """Valid tokens in each chunk: ``(B, G)``, or ``(1, G)`` without a mask."""
    valid = torch.ones(1, T, device=device, dtype=torch.long) if mask is None else mask.long()
    return into_chunks(valid[..., None], C).sum((-1, -2))


def mixed_chunk_attention(
    quad_q, quad_k, lin_q, lin_k, v, *, chunk_size, causal, bias=None, combine="mean", local=True, global_=True,
    mask=None, segment_ids=None,
):  # fmt: skip
    """relu^2 attention inside chunks plus linear attention across them: heads ``(B, T, S)``, ``v (B, T, E)``.

    ``bias(n) -> (n, n)`` is the position bias of a chunk. ``mask (B, T)`` bool and sorted ``segment_ids (B, T)`` keep
    padding and other documents out; padding's ``v`` must be zero already. Returns ``(B, T, E)``.
    """
    B, T, _ = v.shape
    C = min(chunk_size, T)  # a sequence shorter than a chunk is one short chunk; scores are still divided by chunk_size
    quad_q, quad_k, lin_q, lin_k, v = (into_chunks(t, C) for t in (quad_q, quad_k, lin_q, lin_k, v))
    documents = None if segment_ids is None else chunk_documents(segment_ids, C)
    out = None
    if local:
        visible = None if documents is None else (documents[..., :, None] == documents[..., None, :]).flatten(0, 1)
        out = relu2_attention(
            *(t.flatten(0, 1) for t in (quad_q, quad_k, v)), scale=1 / chunk_size, causal=causal,
            bias=None if bias is None else bias(C), visible=visible,
        ).unflatten(0, (B, -1))  # fmt: skip
    if global_:
        counts = chunk_counts(T, C, mask, v.device)
        far = global_attention(lin_q, lin_k, v, causal=causal, combine=combine, counts=counts, documents=documents)
        out = far if out is None else out + far
    return out.flatten(1, 2)[:, :T]


def chunk_documents(segment_ids, C):
    """``(B, T) -> (B, G, C)``; the last id fills the last chunk up, so that ids stay sorted."""
    missing = -segment_ids.shape[1] % C
    ids = torch.cat([segment_ids, segment_ids[:, -1:].expand(-1, missing)], 1)
    return ids.unflatten(1, (-1, C))
