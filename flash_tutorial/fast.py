"""relu^2 attention by blocks of rows, with its backward pass written out: the same map as ``mixing.relu2_attention``.

By hand because every product can then be added to its sum in place, and because the part of a causal map that is zero
is never computed. Letters: B batch, T length, S query/key width, E value width.
"""

import torch

ROWS = 64  # rows of a causal map computed at once, at least: what lies right of the last one is never multiplied


def relu2_attention(q, k, v, *, scale, causal, bias=None, visible=None):
    """relu^2(scale q k^T + bias) v: ``q, k (B, T, S)``, ``v (B, T, E)`` -> ``(B, T, E)`` (equation 5, Code 6).

    Arguments as in ``mixing.relu2_attention``, of which this is the faster form.
    """
    n = q.shape[1]
    if bias is None:
        bias = q.new_zeros(n, n)
    if causal:
        future = torch.ones(n, n, dtype=torch.bool, device=q.device).triu(1)
        bias = bias.masked_fill(future, float("-inf"))
    kind = q.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else q.dtype  # of a matrix product
    q, k, v, bias = (t.to(dtype) for t in (q, k, v, bias))
    with torch.autocast(kind, enabled=False):
        return _Relu2Attention.apply(q, k, v, bias, visible, scale, causal)


def _row_blocks(n, causal):
    """(first row, last row, keys they may read) of each block."""
    step = max(ROWS, n // 8) if causal else n  # at most eight blocks or so: many small products are slow on a GPU
    for first in range(0, n, step):
        last = min(first + step, n)
        yield first, last, (last if causal else n)


class _Relu2Attention(torch.autograd.Function):
    """relu(scale q k^T + bias)^2 v, block of rows by block of rows, with its backward pass written out.

    ``bias`` holds -inf where a causal map is empty; relu makes that an exact zero.
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
            why = "since its backward pass is written by hand: leave create_graph=True out"
            raise RuntimeError(f"relu2_attention has no second derivative, {why}")
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
