"""Causal FLASH by the kernels of ``kernels.py``: the same numbers and gradients as ``mixing``, with less memory moved.

What the kernels leave of a backward pass are plain products, and torch's libraries are good at those. Two operators
with gradients are made of them, ``mixed_chunk`` and ``unit``: that is what autograd, ``torch.compile``, checkpoints and
``DistributedDataParallel`` see.
Letters: B batch, T length, G chunks, C chunk length, S query/key width, E value width, D model width.
"""

from functools import wraps
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from flash_tutorial.formats import goes_back, product_dtype, without_autocast

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
    tile: list[int]  # that of all kernels; empty: each has its own
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


def chunking(T, chunk_size, combine, segment_ids, device, tile=(), mask=None, before=None):
    """The ``Chunking`` of a batch; a sequence shorter than a chunk is one short chunk, if nothing came before.

    ``mask`` matters with documents alone: without them the chunks that a valid token reads are full. ``before``: how
    many tokens were read before, a number or ``(B, 1)``.
    """
    C = chunk_size if before is not None else min(chunk_size, T)
    earlier, parts = torch.arange(-(-T // C), device=device)[None], ()  # how many chunks are read
    count = C * earlier + (0 if before is None else before)
    if segment_ids is not None:
        ids = chunk_documents(segment_ids, C)  # (B, G, C)
        joins, whole, earlier = crossings(ids)
        count = count_earlier(chunk_counts(T, C, mask, device), earlier)
        chunk = torch.arange(T, device=device) // C
        # first and last document of each token's chunk; cut to T from whole chunks Inductor gets it wrong on a CPU
        of_tokens = [(segment_ids == ids[:, chunk, edge])[..., None] for edge in (0, -1)]
        parts = (
            segment_ids.to(torch.int32).contiguous(),
            joins.to(torch.int8),
            whole.to(torch.int8),
            *of_tokens,
        )
    factor = factor_of(count, C, combine, torch.empty(0)).contiguous()
    return Chunking(C, 1 / chunk_size, list(tile), factor, *parts)


# ---------------------------------------------------------------- forward and backward of the mixing
BODIES = {}  # the functions of operators that are made of others, by name


def made_of_others(name):
    """Registers a function as an operator; what it does to fake tensors is what its operators do.

    Autocast is off inside: its inputs have one type already, also where the backward pass alone is in autocast.
    """

    def register(function):
        @wraps(function)
        def body(*given):
            with without_autocast(given[0]):
                return function(*given)

        BODIES[name] = body
        operator = torch.library.custom_op(name, body, mutates_args=())
        operator.register_fake(body)
        return operator

    return register


def scaled_product(scale, a, b, out=None):
    """scale a b of matrices ``(B, G, m, k)``, ``(B, G, k, n)``, scaled while the sums are still in float32.

    ``out`` is where it goes, if it has a place already.
    """
    # with beta = 0 whatever lies in it is ignored
    nothing = a.new_empty(()).expand(a[:, :, 0, 0].numel(), a.shape[2], b.shape[3])
    if out is not None:
        out = out.flatten(0, 1)
    product = torch.baddbmm(nothing, a.flatten(0, 1), b.flatten(0, 1), beta=0, alpha=scale, out=out)
    return product.unflatten(0, a.shape[:2])


def read(heads, v, u, table, how, initial=None, finished=None, *, silu=False, keep=False):
    """u * y, y if it is to be kept, the state ``(B, G, S, E)`` that each chunk reads of those before it, and the end.

    The state is the mean of k^T v over the tokens of strictly earlier chunks (equation 8 with the mean of Code 8), or
    the bare sum; of the reader's document, where there are several. For the first chunk it is zero, or what
    ``initial (B, S, E)``, float32, has of chunks that were read before. The end is its like behind the first
    ``finished (B,)`` chunks of each row, if these are given.
    """
    quad_q, quad_k, lin_q, lin_k = heads
    if how.documents is not None:
        lin_q, lin_k = lin_q * how.entered, lin_k * how.leaves
    means = scaled_product(1 / how.C, to_chunks(lin_k, how.C).mT, to_chunks(v, how.C))
    ends = finished is not None
    state, end = scan(means, how.factor, how.joins, how.whole, False, initial, ends, finished)
    a = weights(quad_q, quad_k, table, how.documents, how.C, how.scale, how.tile)
    out, y = mix(lin_q, v, state, a, u, silu, keep, how.C, how.tile)
    return out, y, state, end


def unread(dy, heads, v, state, table, how, dv, h=None, dend=None, finished=None, *, goes_on=False):
    """The backward pass of y: gradients of the heads ``(4, B, T, S)``, of ``table`` or None, and of the initial sum.

    That of ``v``, or of ``h`` where v = SiLU(h), goes into ``dv``. ``dend`` is the gradient of the end, or None.
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
    ends = None if dend is None else dend / C  # it was a sum of k^T v / C
    dsums, dinitial = scan(wishes, how.factor, how.joins, how.whole, True, ends, goes_on, finished)
    values(lin_k, dsums, a, dy, h, dv, C, how.tile)
    dheads = dy.new_empty(4, *quad_q.shape)  # (4, B, G, C, S)
    scaled_product(how.scale, ds, quad_k, dheads[0])
    scaled_product(how.scale, ds.mT, quad_q, dheads[1])
    scaled_product(1, dy_chunks, state.mT, dheads[2])
    scaled_product(1, v_chunks, dsums.mT, dheads[3])
    dheads = from_chunks(dheads, T)
    if how.documents is not None:
        dheads[2].mul_(how.entered)
        dheads[3].mul_(how.leaves)
    dtable = None
    if table is not None:
        dtable = ds.sum((0, 1), dtype=torch.float32).to(table.dtype)
    return dheads.contiguous(), dtable, dinitial * C


@made_of_others("flash_tutorial::mixed_chunk")
def mixed_chunk(
    quad_q: Tensor,
    quad_k: Tensor,
    lin_q: Tensor,
    lin_k: Tensor,
    v: Tensor,
    gate: Tensor | None,
    table: Tensor | None,
    initial: Tensor | None,
    finished: Tensor | None,
    keep: bool,
    C: int,
    scale: float,
    tile: list[int],
    factor: Tensor,
    documents: Tensor | None,
    joins: Tensor | None,
    whole: Tensor | None,
    entered: Tensor | None,
    leaves: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """gate * y; for the backward pass, if it is to ``keep`` that, y and the state that each chunk reads; the end."""
    how = Chunking(C, scale, tile, factor, documents, joins, whole, entered, leaves)
    heads = (quad_q, quad_k, lin_q, lin_k)
    return read(heads, v, gate, table, how, initial, finished, keep=keep)


@made_of_others("flash_tutorial::mixed_chunk_backward")
def mixed_chunk_backward(
    grad: Tensor,
    dend: Tensor | None,
    quad_q: Tensor,
    quad_k: Tensor,
    lin_q: Tensor,
    lin_k: Tensor,
    v: Tensor,
    gate: Tensor | None,
    table: Tensor | None,
    state: Tensor,
    y: Tensor,
    finished: Tensor | None,
    goes_on: bool,
    C: int,
    scale: float,
    tile: list[int],
    factor: Tensor,
    documents: Tensor | None,
    joins: Tensor | None,
    whole: Tensor | None,
    entered: Tensor | None,
    leaves: Tensor | None,
) -> list[Tensor]:
    """The gradients of the heads as one, and of the next four inputs; without numbers where one was None.

    ``goes_on``: from an initial sum. ``dend``: the gradient of the end.
    """
    how = Chunking(C, scale, tile, factor, documents, joins, whole, entered, leaves)
    heads = (quad_q, quad_k, lin_q, lin_k)
    dy, dgate = through_gate(grad, gate, y)
    dv = torch.empty(v.shape, dtype=v.dtype, device=v.device)
    how_ends = dict(dend=dend, finished=finished, goes_on=goes_on)
    dheads, dtable, dinitial = unread(dy, heads, v, state, table, how, dv, **how_ends)
    dgate, dtable = (v.new_empty(0) if d is None else d for d in (dgate, dtable))
    return [dheads, dv, dgate, dtable, dinitial]


def through_gate(grad, gate, y):
    """The gradients of y and of the gate, which are ``grad`` and None where there is no gate."""
    if gate is None:
        return grad, None
    return grad * gate, grad * y


def _keep_mixed_chunk(ctx, inputs, output):
    *heads, v, gate, table, initial, finished, _, C, scale, tile = inputs[:13]
    _, y, state, _ = output
    ctx.save_for_backward(*heads, v, gate, table, state, y, finished, *inputs[13:])
    ctx.set_materialize_grads(False)  # y and state have no gradients, and zeros would fill memory
    ctx.goes_on = initial is not None
    ctx.sizes = C, scale, tile


def _mixed_chunk_gradients(ctx, grad, _, __, dend):
    kept = ctx.saved_tensors  # asked for once: a checkpoint gives it once
    first, rest = kept[:10], kept[10:]
    if grad is None:  # the end alone was used
        grad = torch.zeros_like(kept[4])
    if dend is not None:
        dend = dend.contiguous()
    dheads, *others = mixed_chunk_backward(grad, dend, *first, ctx.goes_on, *ctx.sizes, *rest)
    found = *dheads, *others
    asked = ctx.needs_input_grad[:8]
    return *(d if wanted else None for d, wanted in zip(found, asked)), *[None] * 11


mixed_chunk.register_autograd(_mixed_chunk_gradients, setup_context=_keep_mixed_chunk)


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
    mask=None,
    segment_ids=None,
    before=None,
    finished=None,
    tile=(),
):
    """``mixing.mixed_chunk_attention``, causal and gated, by the kernels: ``(B, T, E)``.

    Padding on the right needs no ``mask``, but where there are documents: no token reads what comes later. The rows of
    padding itself mean nothing. Heads ``(B, T, S)``, ``v`` and ``gate (B, T, E)``, all of one type: float32, float16,
    or on a GPU bfloat16; autocast takes them in its own. ``bias(n) -> (n, n)``; sorted ``segment_ids (B, T)`` keep
    documents apart; ``before`` is that of ``mixing.global_part``. ``tile``, a ``tiles.Tile`` or its first numbers, is
    for all kernels, which else have their own; it sets the speed and nothing else. The result has a gradient, and no
    second one.

    With ``finished (B,)``, how many chunks of each row are whole, it is a pair: the other one is the sum over these of
    k^T v / C and over what was before, ``(B, S, E)``, float32. What follows them in a row are a last, open chunk and
    padding: nobody reads these.
    """
    check_options(combine=combine)
    sums, tokens = (None, None) if before is None else before
    T = v.shape[1]
    how = chunking(T, chunk_size, combine, segment_ids, v.device, tile, mask, tokens)
    table = None if bias is None else bias(how.C)
    heads = [in_autocast(t) for t in (quad_q, quad_k, lin_q, lin_k)]
    v = in_autocast(v)
    gate = in_autocast(gate)
    if sums is not None:
        _check_before(sums, (len(v), quad_q.shape[2], v.shape[2]), segment_ids)
        sums = sums.float().contiguous()
    if finished is not None:
        finished = _checked_finished(finished, v)
    _check([*heads, v], gate, table, how.C, tile)
    keep = goes_back(*heads, v, gate, table, sums)
    out, _, _, end = mixed_chunk(*heads, v, gate, table, sums, finished, keep, *how)
    return out if finished is None else (out, end)


def in_autocast(x):
    """In the type that autocast gives to products: those of the backward pass come when it is off."""
    return None if x is None else x.to(product_dtype(x))


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


def _check_before(sums, shape, segment_ids):
    if sums.shape != shape:
        raise ValueError(
            f"before has sums of shape {tuple(sums.shape)}: expected (B, S, E) = {shape}"
        )
    if segment_ids is not None:
        raise ValueError(
            "before and segment_ids: expected one of them; a row that goes on is one document"
        )


def _checked_finished(finished, v):
    if finished.shape != v.shape[:1]:
        raise ValueError(
            f"finished has shape {tuple(finished.shape)}: expected a number for each row, {tuple(v.shape[:1])}"
        )
    return finished.to(v.device, torch.int32).contiguous()


# ---------------------------------------------------------------- a whole unit
@made_of_others("flash_tutorial::unit")
def mix_and_project(
    h: Tensor,
    gamma: Tensor,
    beta: Tensor,
    table: Tensor | None,
    weight: Tensor,
    offset: Tensor,
    cos: Tensor,
    sin: Tensor,
    keep: bool,
    C: int,
    scale: float,
    tile: list[int],
    factor: Tensor,
    documents: Tensor | None,
    joins: Tensor | None,
    whole: Tensor | None,
    entered: Tensor | None,
    leaves: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """A unit from behind its first dense layer, ``h (B, T, 2E + S)``, through its last one: ``(B, T, D)``; y and state.

    One operator, so that little is kept: h before its SiLU, y and the state. Gate, values and heads are made again in
    the backward pass, which costs less than their way to memory and back.
    """
    how = Chunking(C, scale, tile, factor, documents, joins, whole, entered, leaves)
    E = weight.shape[1]
    heads = make_heads(h[..., 2 * E :], gamma, beta, cos, sin)
    v = F.silu(h[..., E : 2 * E])
    out, y, state, _ = read(heads, v, h[..., :E], table, how, silu=True, keep=keep)
    return F.linear(out, weight, offset), y, state


@made_of_others("flash_tutorial::unit_backward")
def unmix_and_project(
    grad: Tensor,
    h: Tensor,
    gamma: Tensor,
    beta: Tensor,
    table: Tensor | None,
    weight: Tensor,
    cos: Tensor,
    sin: Tensor,
    state: Tensor,
    y: Tensor,
    C: int,
    scale: float,
    tile: list[int],
    factor: Tensor,
    documents: Tensor | None,
    joins: Tensor | None,
    whole: Tensor | None,
    entered: Tensor | None,
    leaves: Tensor | None,
) -> list[Tensor]:
    """The gradients of h, gamma, beta, table (without numbers where it was None), weight and offset."""
    how = Chunking(C, scale, tile, factor, documents, joins, whole, entered, leaves)
    E = weight.shape[1]
    dh = torch.empty_like(h)
    of_v = slice(E, 2 * E)
    of_z = slice(2 * E, None)
    heads = make_heads(h[..., of_z], gamma, beta, cos, sin)
    v = F.silu(h[..., of_v])
    out, dy = ungate(h[..., :E], y, (grad @ weight).contiguous(), dh[..., :E])
    dheads, dtable, _ = unread(dy, heads, v, state, table, how, dh[..., of_v], h[..., of_v])
    of_heads = unmake_heads(h[..., of_z], gamma, cos, sin, dheads, dh[..., of_z]).sum(0)
    dgamma, dbeta = (d.to(gamma.dtype, copy=True) for d in of_heads)
    dtable = h.new_empty(0) if dtable is None else dtable
    dweight = grad.flatten(0, 1).mT @ out.flatten(0, 1)
    return [dh, dgamma, dbeta, dtable, dweight, grad.sum((0, 1))]


def _keep_unit(ctx, inputs, output):
    h, gamma, beta, table, weight, _, cos, sin, _, C, scale, tile = inputs[:12]
    _, y, state = output
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(h, gamma, beta, table, weight, cos, sin, state, y, *inputs[12:])
    ctx.sizes = C, scale, tile


def _unit_gradients(ctx, grad, *_):
    kept = ctx.saved_tensors  # asked for once: a checkpoint gives it once
    first, rest = kept[:9], kept[9:]
    found = unmix_and_project(grad, *first, *ctx.sizes, *rest)
    asked = ctx.needs_input_grad[:6]
    return *(d if wanted else None for d, wanted in zip(found, asked)), *[None] * 12


mix_and_project.register_autograd(_unit_gradients, setup_context=_keep_unit)


def fused_unit(unit, h, angles, mask=None, segment_ids=None):
    """What a FLASH unit adds to its input, ``(B, T, D)``, from ``h (B, T, 2E + S)`` before its SiLU.

    ``angles``: cos and sin of ``layers.cos_sin``.
    """
    h = in_autocast(h).contiguous()
    how = chunking(h.shape[1], unit.chunk_size, unit.combine, segment_ids, h.device, mask=mask)
    table = None if unit.bias is None else unit.bias(how.C)
    weight = unit.out_proj.weight.to(h.dtype)
    offset = unit.out_proj.bias.to(h.dtype)
    gamma = unit.scale_offset.gamma.contiguous()
    beta = unit.scale_offset.beta.contiguous()
    keep = goes_back(h, gamma, beta, table, weight, offset)
    return mix_and_project(h, gamma, beta, table, weight, offset, *angles, keep, *how)[0]
