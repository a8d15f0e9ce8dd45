"""Causal FLASH by the kernels of ``kernels.py``: the same numbers and gradients as ``mixing``, with less memory moved.

What the kernels leave of a backward pass are plain products, and torch's libraries are good at those. Every kernel is
an operator of torch's here, so that fake tensors and ``meta`` know its shapes.
Letters: B batch, T length, G chunks, C chunk length, S query/key width, E value width, D model width.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from flash_tutorial.formats import goes_back

from ..chunks import (
    chunk_counts,
    chunk_documents,
    count_earlier,
    crossings,
    factor_of,
    from_chunks,
    to_chunks,
)
from ..config import check_options
from . import kernels
from .operators import make_heads, maps, mix, scan, ungate, unmake_heads, values, weights
from .tiles import WIDEST


# ---------------------------------------------------------------- who reads which chunk
class Chunking(NamedTuple):
    """A batch in chunks: what is to be known besides the tensors. The last five are None without documents."""

    C: int
    scale: float  # of the scores
    tile: tuple[int, ...]  # that of all kernels; empty: each has its own
    factor: (
        Tensor  # (B or 1, G) float32: by what the sum of the earlier chunks' means is multiplied
    )
    documents: Tensor | None = None  # (B, T) int32, sorted
    joins: Tensor | None = (
        None  # (B, G) int8: a document crosses from the chunk before into this one
    )
    whole: Tensor | None = None  # (B, G) int8: one document fills the chunk
    entered: Tensor | None = None  # (B, T, 1) bool: the token's document is the first of its chunk
    leaves: Tensor | None = None  # (B, T, 1) bool: it is the last of its chunk


def chunking(T, chunk_size, combine, segment_ids, device, tile=(), mask=None):
    """The ``Chunking`` of a batch; a sequence shorter than a chunk is one short chunk.

    ``mask`` matters with documents alone: without them the chunks that a valid token reads are full.
    """
    check_options(combine=combine)
    C = min(chunk_size, T)
    earlier, parts = torch.arange(-(-T // C), device=device)[None], ()  # how many chunks are read
    count = C * earlier
    if segment_ids is not None:
        ids = chunk_documents(segment_ids, C)  # (B, G, C)
        joins, whole, earlier = crossings(ids)
        count = count_earlier(chunk_counts(T, C, mask, device), earlier)
        of_tokens = [from_chunks((ids == ids[:, :, edge, None])[..., None], T) for edge in (0, -1)]
        parts = (
            segment_ids.to(torch.int32).contiguous(),
            joins.to(torch.int8),
            whole.to(torch.int8),
            *of_tokens,
        )
    factor = factor_of(count, C, combine, torch.empty(0)).contiguous()
    return Chunking(C, 1 / chunk_size, tuple(tile), factor, *parts)


# ---------------------------------------------------------------- forward and backward of the mixing
def scaled_product(scale, a, b):
    """scale a b of matrices ``(B, G, m, k)``, ``(B, G, k, n)``, scaled while the sums are still in float32."""
    nothing = torch.zeros((), dtype=a.dtype, device=a.device).expand(
        a[:, :, 0, 0].numel(), a.shape[2], b.shape[3]
    )
    return torch.baddbmm(nothing, a.flatten(0, 1), b.flatten(0, 1), beta=0, alpha=scale).unflatten(
        0, a.shape[:2]
    )


def read(heads, v, u, table, how, *, silu=False, keep=False):
    """u * y, y if it is to be kept, and the state ``(B, G, S, E)`` that each chunk reads of those before it.

    The state is the mean of k^T v over the tokens of strictly earlier chunks (equation 8 with the mean of Code 8), or
    the bare sum; of the reader's document, where there are several. Zero for the first chunk.
    """
    quad_q, quad_k, lin_q, lin_k = heads
    if how.documents is not None:
        lin_q, lin_k = lin_q * how.entered, lin_k * how.leaves
    means = scaled_product(1 / how.C, to_chunks(lin_k, how.C).mT, to_chunks(v, how.C))
    state, _ = scan(means, how.factor, how.joins, how.whole, False, None, False)
    a = weights(quad_q, quad_k, table, how.documents, how.C, how.scale, how.tile)
    out, y = mix(lin_q, v, state, a, u, silu, keep, how.C, how.tile)
    return out, y, state


def unread(dy, heads, v, state, table, how, dv, h=None):
    """The backward pass of y: gradients of the four heads, and of ``table`` or None.

    That of ``v``, or of ``h`` where v = SiLU(h), goes into ``dv``.
    """
    T, C = v.shape[1], how.C
    quad_q, quad_k, lin_q, lin_k = heads
    if how.documents is not None:
        lin_q, lin_k = lin_q * how.entered, lin_k * how.leaves
    a, ds = maps(quad_q, quad_k, dy, v, table, how.documents, C, how.scale, how.tile)
    quad_q, quad_k, lin_q, v_chunks, dy_chunks = (
        to_chunks(t, C) for t in (quad_q, quad_k, lin_q, v, dy)
    )
    # (B, G, S, E): what each chunk asks of the state that it reads
    wishes = scaled_product(1 / C, lin_q.mT, dy_chunks)
    # of later chunks: the gradient of a chunk's k^T v
    dsums, _ = scan(wishes, how.factor, how.joins, how.whole, True, None, False)
    values(lin_k, dsums, a, dy, h, dv, C, how.tile)
    dlin_q, dlin_k = dy_chunks @ state.mT, v_chunks @ dsums.mT  # (B, G, C, S)
    dquad_q, dquad_k = (
        scaled_product(how.scale, ds, quad_k),
        scaled_product(how.scale, ds.mT, quad_q),
    )
    dtable = None
    if table is not None:
        dtable = ds.sum((0, 1), dtype=torch.float32).to(table.dtype)
    dheads = [from_chunks(t, T) for t in (dquad_q, dquad_k, dlin_q, dlin_k)]
    if how.documents is not None:
        dheads[2:] = [dheads[2] * how.entered, dheads[3] * how.leaves]
    return dheads, dtable


class _MixedChunk(torch.autograd.Function):
    """Four heads, value, gate and table -> gate * y."""

    @staticmethod
    def forward(ctx, quad_q, quad_k, lin_q, lin_k, v, gate, table, how):
        heads = (quad_q, quad_k, lin_q, lin_k)
        out, y, state = read(heads, v, gate, table, how, keep=True)
        ctx.save_for_backward(*heads, v, gate, table, state, y)
        ctx.how = how
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        *heads, v, gate, table, state, y = ctx.saved_tensors
        dy = grad
        dgate = None
        if gate is not None:
            dy = grad * gate
            dgate = grad * y
        dv = torch.empty_like(v)
        dheads, dtable = unread(dy, heads, v, state, table, ctx.how, dv)
        return *dheads, dv, dgate, dtable, None


def fused_mixed_chunk(
    quad_q,
    quad_k,
    lin_q,
    lin_k,
    v,
    *,
    chunk_size,
    bias=None,
    combine="mean",
    gate=None,
    segment_ids=None,
    tile=(),
):
    """``mixing.mixed_chunk_attention``, causal and gated, by the kernels: ``(B, T, E)``.

    Padding on the right needs no mask: no token reads what comes later. The rows of padding itself mean nothing.
    Heads ``(B, T, S)``, ``v`` and ``gate (B, T, E)``, all of one type: float32, float16, or on a GPU bfloat16.
    ``bias(n) -> (n, n)``; sorted ``segment_ids (B, T)`` keep documents apart. ``tile``, a
    ``tiles.Tile`` or its first numbers, is for all kernels, which else have their own; it sets the speed and nothing
    else. The result has a gradient, and no second one.
    """
    table = None if bias is None else bias(min(chunk_size, v.shape[1]))
    _check([quad_q, quad_k, lin_q, lin_k, v], gate, table, min(chunk_size, v.shape[1]), tile)
    how = chunking(v.shape[1], chunk_size, combine, segment_ids, v.device, tile)
    heads = (quad_q, quad_k, lin_q, lin_k)
    if goes_back(*heads, v, gate, table):
        return _MixedChunk.apply(*heads, v, gate, table, how)
    out, _, _ = read(heads, v, gate, table, how)
    return out


def _check(tensors, gate, table, C, tile):
    heads = tensors[:4]
    v = tensors[-1]
    if any(t.dim() != 3 or t.shape[:2] != v.shape[:2] or t.shape != heads[0].shape for t in heads):
        raise ValueError(
            f"heads have shapes {[tuple(t.shape) for t in heads]}, v {tuple(v.shape)}: expected (B, T, S)"
        )
    if gate is not None and gate.shape != v.shape:
        raise ValueError(
            f"gate has shape {tuple(gate.shape)}: expected that of v, {tuple(v.shape)}"
        )
    if table is not None and table.shape != (C, C):
        raise ValueError(
            f"bias({C}) has shape {tuple(table.shape)}: expected {(C, C)}, a number for each pair"
        )
    if gate is not None:
        tensors = [*tensors, gate]
    if v.dtype not in kernels.DTYPES or any(t.dtype != v.dtype for t in tensors):
        raise ValueError(
            f"dtypes {[t.dtype for t in tensors]}: expected one of {kernels.DTYPES} for all"
        )
    if any(size < 16 or size & (size - 1) for size in tile[:2]):
        raise ValueError(
            f"tile={tile}: expected powers of two, at least 16, since Triton's dot takes no smaller ones"
        )
    if tile and tile[0] > WIDEST:
        raise ValueError(f"tile={tile}: expected at most {WIDEST} tokens")
    kernels.check_device(v.device, v.dtype)


# ---------------------------------------------------------------- a whole unit
def read_gated(h, gamma, beta, table, E, angles, how, *, keep=False):
    """As ``read``, of ``h (B, T, 2E + S)`` before its SiLU: its parts are gate, value and base of the heads."""
    heads = make_heads(h[..., 2 * E :], gamma, beta, *angles)
    v = F.silu(h[..., E : 2 * E])
    return read(heads, v, h[..., :E], table, how, silu=True, keep=keep)


class _MixAndProject(torch.autograd.Function):
    """A unit from behind its first dense layer, ``h (B, T, 2E + S)``, through its last one: ``(B, T, D)``.

    One function, so that little is kept: h before its SiLU, y and the state. Gate, values and heads are made again in
    the backward pass, which costs less than their way to memory and back.
    """

    @staticmethod
    def forward(ctx, h, gamma, beta, table, weight, offset, angles, how):
        out, y, state = read_gated(h, gamma, beta, table, weight.shape[1], angles, how, keep=True)
        ctx.save_for_backward(h, gamma, beta, table, weight, state, y, *angles)
        ctx.how = how
        return F.linear(out, weight, offset)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        h, gamma, beta, table, weight, state, y, *angles = ctx.saved_tensors
        E = weight.shape[1]
        dh = torch.empty_like(h)
        of_v = slice(E, 2 * E)
        of_z = slice(2 * E, None)
        heads = make_heads(h[..., of_z], gamma, beta, *angles)
        v = F.silu(h[..., of_v])
        out, dy = ungate(h[..., :E], y, (grad @ weight).contiguous(), dh[..., :E])
        dheads, dtable = unread(dy, heads, v, state, table, ctx.how, dh[..., of_v], h[..., of_v])
        dheads = [t.contiguous() for t in dheads]
        dgamma, dbeta = unmake_heads(h[..., of_z], gamma, *angles, dheads, dh[..., of_z]).to(
            gamma.dtype
        )
        dweight = grad.flatten(0, 1).mT @ out.flatten(0, 1)
        return dh, dgamma, dbeta, dtable, dweight, grad.sum((0, 1)), None, None


def fused_unit(unit, h, angles, mask=None, segment_ids=None):
    """What a FLASH unit adds to its input, ``(B, T, D)``, from ``h (B, T, 2E + S)`` before its SiLU.

    ``angles``: cos and sin of ``layers.cos_sin``.
    """
    how = chunking(h.shape[1], unit.chunk_size, unit.combine, segment_ids, h.device, mask=mask)
    table = None if unit.bias is None else unit.bias(how.C)
    weight = unit.out_proj.weight.to(h.dtype)
    offset = unit.out_proj.bias.to(h.dtype)
    gamma = unit.scale_offset.gamma.contiguous()
    beta = unit.scale_offset.beta.contiguous()
    h = h.contiguous()
    if goes_back(h, gamma, beta, table, weight, offset):
        return _MixAndProject.apply(h, gamma, beta, table, weight, offset, angles, how)
    out, _, _ = read_gated(h, gamma, beta, table, unit.expanded, angles, how)
    return F.linear(out, weight, offset)
