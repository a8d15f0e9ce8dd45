"""Each kernel as an operator of torch's, so that fake tensors, ``meta`` and a compiler know its shapes.

Letters: B batch, T length, G chunks, C chunk length, S query/key width, E value width.
"""

import torch
from torch import Tensor

from . import gates, kernels


@torch.library.custom_op("flash_tutorial::scan", mutates_args=())
def scan(
    x: Tensor,
    factor: Tensor,
    joins: Tensor | None,
    whole: Tensor | None,
    later: bool,
    initial: Tensor | None,
    keep: bool,
    finished: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Sums of ``x (B, G, S, E)`` over the earlier chunks, times ``factor``; ``later``: the transpose of that.

    They begin with ``initial (B, S, E)``; if it is to be kept, what they come to behind the last chunk, float32. Of
    each row only the first ``finished (B,)`` chunks count, where that is given.
    """
    out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    last = x.new_empty(x[:, 0].shape if keep else 0, dtype=torch.float32)
    kept = last if keep else None
    kernels.run_scan(x.contiguous(), out, factor, joins, whole, later, initial, kept, finished)
    return out, last


@torch.library.custom_op("flash_tutorial::weights", mutates_args=())
def weights(
    quad_q: Tensor,
    quad_k: Tensor,
    table: Tensor | None,
    documents: Tensor | None,
    C: int,
    scale: float,
    tile: list[int],
) -> Tensor:
    """Local attention weights ``(B, G, C, C)``; above the diagonal some of them are whatever lies in memory."""
    B, T, _ = quad_q.shape
    a = quad_q.new_empty(B, -(-T // C), C, C)
    kernels.run_weights(quad_q, quad_k, table, documents, a, C, scale, tile)
    return a


@torch.library.custom_op("flash_tutorial::mix", mutates_args=())
def mix(
    lin_q: Tensor,
    v: Tensor,
    state: Tensor,
    a: Tensor,
    u: Tensor | None,
    silu: bool,
    keep: bool,
    C: int,
    tile: list[int],
) -> tuple[Tensor, Tensor]:
    """``out`` and, if it is to be kept, ``y``, both ``(B, T, E)``: what each token reads, with and without its gate."""
    out = torch.empty(v.shape, dtype=v.dtype, device=v.device)
    y = torch.empty_like(out) if keep else out.new_empty(0)
    kernels.run_mix(lin_q, v, state, a, u, y if keep else None, out, C, tile, silu)
    return out, y


@torch.library.custom_op("flash_tutorial::maps", mutates_args=())
def maps(
    quad_q: Tensor,
    quad_k: Tensor,
    dy: Tensor,
    v: Tensor,
    table: Tensor | None,
    documents: Tensor | None,
    C: int,
    scale: float,
    tile: list[int],
) -> tuple[Tensor, Tensor]:
    """Local attention weights, gradient of the scores, each ``(B, G, C, C)``: the backward pass multiplies by them."""
    a, ds = (v.new_empty(v.shape[0], -(-v.shape[1] // C), C, C) for _ in range(2))
    kernels.run_maps(quad_q, quad_k, dy, v, table, documents, a, ds, C, scale, tile)
    return a, ds


@torch.library.custom_op("flash_tutorial::values", mutates_args=("out",))
def values(
    lin_k: Tensor,
    dsums: Tensor,
    a: Tensor,
    dy: Tensor,
    h: Tensor | None,
    out: Tensor,
    C: int,
    tile: list[int],
) -> None:
    """The gradient of v, or with ``h`` that of h, where v = SiLU(h), into ``out (B, T, E)``."""
    kernels.run_values(lin_k, dsums, a, dy, h, out, C, tile)


@torch.library.custom_op("flash_tutorial::heads", mutates_args=())
def make_heads(h: Tensor, gamma: Tensor, beta: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """quad_q, quad_k, lin_q, lin_k, together ``(4, B, T, S)``, of the base z = SiLU(h) (equation 4)."""
    out = h.new_empty(len(gamma), *h.shape)
    gates.run_heads(h, gamma, beta, cos, sin, out)
    return out


@torch.library.custom_op("flash_tutorial::unheads", mutates_args=("dh",))
def unmake_heads(
    h: Tensor, gamma: Tensor, cos: Tensor, sin: Tensor, dheads: Tensor, dh: Tensor
) -> Tensor:
    """Shares ``(n, 2, 4, S)``, float32, of gamma's gradient and beta's; that of ``h`` goes into ``dh``, in place."""
    sums = _shares(h, gamma)
    gates.run_unheads(h, gamma, cos, sin, dheads, dh, sums)
    return sums


def _shares(h, gamma):
    programs = gates.shares_of(h.shape[0] * h.shape[1], h.device)
    return gamma.new_empty(programs, 2, *gamma.shape, dtype=torch.float32)


@torch.library.custom_op("flash_tutorial::ungate", mutates_args=("dh",))
def ungate(h: Tensor, y: Tensor, dout: Tensor, dh: Tensor) -> tuple[Tensor, Tensor]:
    """SiLU(h) y, and the gradient of y, ``(B, T, E)``; the gradient of the gate's part of ``h`` goes into ``dh``."""
    out = torch.empty_like(y)
    dy = torch.empty_like(y)
    gates.run_ungate(h, y, dout, out, dy, dh)
    return out, dy


# What a fake tensor gets: shape and type of the results.
@scan.register_fake
def _(x, factor, joins, whole, later, initial, keep, finished):
    last = x.new_empty(x[:, 0].shape if keep else 0, dtype=torch.float32)
    return torch.empty(x.shape, dtype=x.dtype, device=x.device), last


@weights.register_fake
def _(quad_q, quad_k, table, documents, C, *_):
    return quad_q.new_empty(quad_q.shape[0], -(-quad_q.shape[1] // C), C, C)


@mix.register_fake
def _(lin_q, v, state, a, u, silu, keep, *_):
    kept = v.shape if keep else 0
    return v.new_empty(v.shape), v.new_empty(kept)


maps.register_fake(
    lambda quad_q, quad_k, dy, v, table, documents, C, *_: tuple(
        v.new_empty(v.shape[0], -(-v.shape[1] // C), C, C) for _ in range(2)
    )
)
values.register_fake(lambda *_: None)
make_heads.register_fake(lambda h, gamma, *_: h.new_empty(len(gamma), *h.shape))
unmake_heads.register_fake(lambda h, gamma, *_: _shares(h, gamma))
ungate.register_fake(lambda h, y, *_: (torch.empty_like(y), torch.empty_like(y)))
