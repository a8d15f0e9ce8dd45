"""Floors of the benchmark against length: the time of a model's matrix products alone, on tensors of the same shapes.

Letters: B batch, T length, D model width, E expanded width, S shared width, C chunk length, H heads.
"""

import torch
import torch.nn.functional as F

from flash_tutorial.config import GATED
from flash_tutorial.training.devices import DTYPES


def training_floor(config, settings, batch, T):
    """A function: the matrix products of a step alone, forward and backward; None for a model without a floor here."""
    if config.architecture == "flash":
        products = [_operands(settings, *shape) for shape in flash_products(config, batch, T)]
        attend = None
    elif config.architecture == "transformer++":
        products = [
            _operands(settings, *shape) for shape in transformer_products(config, batch * T)
        ]
        attend = _attention(settings, batch, T)
    else:
        return None

    def floor():
        for _ in range(config.depth):
            for a, b, grad in products:
                a @ b, grad @ b.mT, a.mT @ grad
            if attend is not None:
                attend()

    return floor


def flash_products(config, batch, T):
    """Shapes (batch, rows, inner, columns) of the six products of a FLASH unit; the local ones of full chunks.

    The first chunk reads no earlier one, and nobody reads the last: one fewer of each global product.
    """
    D = config.dim
    S = config.qk_dim
    C = min(config.chunk_size, T)
    E = config.expansion * D
    N = batch * T
    near = batch * (T // C)
    far = batch * (T // C - 1)
    dense = [(1, N, D, 2 * E + S), (1, N, E, D)]
    return [*dense, (near, C, S, C), (near, C, C, E), (far, S, C, E), (far, C, S, E)]


def transformer_products(config, N):
    """The same for the dense layers of a Transformer++ block, on N tokens."""
    D, ff = config.dim, config.ff_dim_in_use
    return [(1, N, D, 3 * D), (1, N, D, D), (1, N, D, 2 * ff), (1, N, ff, D)]


def _operands(settings, batch, rows, inner, columns):
    """a, b and the gradient of a @ b. Plain matrices where the batch is one, since that is how a dense layer runs."""
    lead = () if batch == 1 else (batch,)
    shapes = ((rows, inner), (inner, columns), (rows, columns))
    return [noise(settings, *lead, *shape) for shape in shapes]


def _attention(settings, batch, T):
    heads = max(1, settings.dim // 64)
    q, k, v = (
        noise(settings, batch, heads, T, settings.dim // heads).requires_grad_() for _ in range(3)
    )
    grad = torch.randn_like(q)

    def attend():
        torch.autograd.grad(
            F.scaled_dot_product_attention(q, k, v, is_causal=True), (q, k, v), grad
        )

    return attend


def noise(settings, *shape, dtype=None):
    """Random numbers in the format of the benchmark."""
    return torch.randn(*shape, dtype=dtype or DTYPES[settings.dtype], device=settings.device)


def decoding_floor(config, settings, position):
    """A function: the matrix products of C steps alone."""
    D, C, once = config.dim, settings.chunk_size, []
    if config.architecture in GATED:
        S = config.qk_dim
        E = config.expansion * D
        every_step = [(1, 1, D, 2 * E + S), (1, 1, E, D)]
        if config.architecture == "flash":
            every_step += [(1, 1, S, C), (1, 1, C, E), (1, 1, S, E)]
            once = [(1, S, C, E)]
        else:
            every_step += [(1, 1, S, position), (1, 1, position, E)]
    else:
        H = max(1, D // 64)
        every_step = [
            *transformer_products(config, 1),
            (H, 1, D // H, position),
            (H, 1, position, D // H),
        ]
    # each unit has weights and a state of its own, which do not all fit into a cache
    pairs = [_operands(settings, *shape)[:2] for shape in every_step * config.depth]
    chunk = [_operands(settings, *shape)[:2] for shape in once]
    head = _operands(settings, 1, 1, D, config.vocab_size)[:2]

    def floor(_):
        for _ in range(C):
            for a, b in pairs:
                a @ b
            head[0] @ head[1]
        for a, b in chunk * config.depth:
            a @ b

    return floor
