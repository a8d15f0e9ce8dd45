"""The two parts of mixed chunk attention as in ``mixing``, with their backward passes written out.

By hand because products are then written and added in place, and because what is zero is never multiplied: the upper
half of a causal attention matrix, the sum that the first chunk reads, the products of the last, which nobody reads.
Letters: B batch, T length, G chunks, C chunk length, S query/key width, E value width.
"""

import torch

from . import chunks, mixing
from .formats import goes_back, is_rewritten, product_dtype, without_autocast

# Rows of a causal attention matrix computed at once, at least: what lies right of the last one is never multiplied. A
# GPU would rather multiply the zeros of a whole chunk than read and write sums once more.
ROWS, ROWS_ON_A_GPU = 64, 512


def relu2_attention(q, k, v, *, scale, causal, bias=None, visible=None):
    """relu^2(scale q k^T + bias) v: ``q, k (B, T, S)``, ``v (B, T, E)`` -> ``(B, T, E)`` (equation 5, Code 6).

    Arguments as in ``mixing.relu2_attention``, of which this is the faster form.
    """
    if is_rewritten():  # a compiler fuses the plain form by itself, and torch.func takes no function with its gradient
        return mixing.relu2_attention(
            q, k, v, scale=scale, causal=causal, bias=bias, visible=visible
        )
    n = q.shape[1]
    if bias is None:
        bias = q.new_zeros(n, n)
    if causal:
        future = torch.ones(n, n, dtype=torch.bool, device=q.device).triu(1)
        bias = bias.masked_fill(future, float("-inf"))
    q, k, v = (t.to(product_dtype(q)) for t in (q, k, v))
    with without_autocast(q):
        return _Relu2Attention.apply(
            q, k, v, bias, visible, scale, causal, goes_back(q, k, v, bias)
        )


def _row_blocks(n, causal, device):
    """(first row, last row, keys they may read) of each block."""
    least = ROWS if device.type == "cpu" else ROWS_ON_A_GPU
    # at most eight blocks or so: many small products are slow on a GPU
    step = max(least, n // 8) if causal else n
    for first in range(0, n, step):
        last = min(first + step, n)
        keys = last if causal else n
        yield first, last, keys


class _Relu2Attention(torch.autograd.Function):
    """relu(scale q k^T + bias)^2 v, block of rows by block of rows, with its backward pass written out.

    ``bias`` holds -inf where a causal matrix is empty; relu makes that an exact zero.
    """

    @staticmethod
    def forward(ctx, q, k, v, bias, visible, scale, causal, keep):
        outs = []
        maps = []
        table = bias.to(q.dtype)
        for a, b, m in _row_blocks(q.shape[1], causal, q.device):
            rows = q[:, a:b]
            keys = k[:, :m].mT
            r = torch.baddbmm(table[a:b, :m], rows, keys, alpha=scale).relu_()  # (B, rows, m)
            if visible is not None:
                r.masked_fill_(~visible[:, a:b, :m], 0)
            outs.append((r * r) @ v[:, :m])
            if keep:
                maps.append(r)
        ctx.save_for_backward(q, k, v, *maps)
        ctx.scale = scale
        ctx.causal = causal
        ctx.bias = (bias.shape, bias.dtype)
        return _joined(outs)

    @staticmethod
    def backward(ctx, grad):
        _refuse_second_derivative("relu2_attention")
        q, k, v, *maps = ctx.saved_tensors
        dk = torch.empty_like(k)
        dv = torch.empty_like(v)
        dqs = []
        shape, dtype = ctx.bias
        dbias = torch.zeros(shape, dtype=dtype, device=q.device)
        blocks = list(zip(_row_blocks(q.shape[1], ctx.causal, q.device), maps))
        # the last block reads every key: it starts the sums
        for i, ((a, b, m), r) in enumerate(reversed(blocks)):
            # d/ds relu(s)^2 = 2 relu(s); the 2 goes into the products
            ds = (grad[:, a:b] @ v[:, :m].mT).mul_(r)
            dv[:, :m].baddbmm_((r * r).mT, grad[:, a:b], beta=min(i, 1))
            dk[:, :m].baddbmm_(ds.mT, q[:, a:b], beta=min(i, 1), alpha=2 * ctx.scale)
            # scaled first: in fp16 the bare sum may overflow
            dqs.append(ds @ (k[:, :m] * (2 * ctx.scale)))
            dbias[a:b, :m] = ds.sum(0, dtype=dtype).mul_(2)
        return _joined(dqs[::-1]), dk, dv, dbias, None, None, None, None


def _joined(blocks):
    return blocks[0] if len(blocks) == 1 else torch.cat(blocks, 1)


def _refuse_second_derivative(name):
    if torch.is_grad_enabled() and not torch.compiler.is_compiling():
        why = "since its backward pass is written by hand: leave create_graph=True out"
        raise RuntimeError(f"{name} has no second derivative, {why}")


# ---------------------------------------------------------------- the causal global part
def read_earlier_chunks(q, k, v, factor):
    """q times ``factor (B or 1, G)`` times the sum of k^T v / C over the strictly earlier chunks (equation 8).

    ``q, k (B, G, C, S)``, ``v (B, G, C, E)`` -> ``(B, G, C, E)``. On a CPU the faster form of the function in
    ``mixing``: a chunk after the other, where a step costs a tenth of a millisecond. Elsewhere it is that function.
    """
    if is_rewritten() or not chunks.goes_chunk_by_chunk(k) or not len(q) == len(k) == len(v):
        return mixing.read_earlier_chunks(q, k, v, factor)
    q, k, v = (t.to(product_dtype(q)) for t in (q, k, v))
    with without_autocast(q):
        return _ReadEarlierChunks.apply(q, k, v, factor, goes_back(q, k, v))


class _ReadEarlierChunks(torch.autograd.Function):
    """One running sum of the factor's type, float32 or better: forwards of k^T v, backwards of its gradient."""

    @staticmethod
    def forward(ctx, q, k, v, factor, keep):
        out = torch.empty_like(v)
        sums = 0
        read = []
        out[:, 0] = 0
        # divided first: in fp16 the bare sum may overflow
        by_C = k / k.shape[2]
        factor = factor[..., None, None]
        for g in range(1, k.shape[1]):
            sums = sums + (by_C[:, g - 1].mT @ v[:, g - 1]).to(factor.dtype)
            state = (sums * factor[:, g]).to(q.dtype)
            torch.bmm(q[:, g], state, out=out[:, g])
            if keep:
                read.append(state)
        ctx.save_for_backward(q, k, v, factor, *read)
        return out

    @staticmethod
    def backward(ctx, grad):
        _refuse_second_derivative("read_earlier_chunks")
        q, k, v, factor, *read = ctx.saved_tensors
        dq, dk, dv = (torch.empty_like(t) for t in (q, k, v))
        dq[:, 0] = 0  # the first chunk reads nothing
        dk[:, -1] = 0  # and nobody reads the last
        dv[:, -1] = 0
        sums = 0
        by_C = q / q.shape[2]
        for g in reversed(range(1, k.shape[1])):
            torch.bmm(grad[:, g], read[g - 1].mT, out=dq[:, g])
            sums = sums + (by_C[:, g].mT @ grad[:, g]).to(factor.dtype) * factor[:, g]
            dkv = sums.to(q.dtype)  # of k^T v of the chunk before
            torch.bmm(v[:, g - 1], dkv.mT, out=dk[:, g - 1])
            torch.bmm(k[:, g - 1], dkv, out=dv[:, g - 1])
        return dq, dk, dv, None, None
