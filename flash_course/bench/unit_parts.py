"""One FLASH unit in five parts, which together are the unit: what each multiplies, and how long a step of it takes."""

import torch
from torch.utils._pytree import tree_map

from flash_course.bench.clock import summary, time_in_turn
from flash_tutorial import mixing
from flash_tutorial.fast import ROWS, ROWS_ON_A_GPU, relu2_attention
from flash_tutorial.layers import cos_sin


def parts_of(unit, x):
    """{part: (function, its inputs)} of a causal unit's forward pass at ``x (B, T, D)``, in order."""
    how = {"chunk_size": unit.chunk_size, "causal": True}

    def heads_of(z):
        return unit.read_heads(z, *cos_sin(x.shape[1], unit.qk_dim, z))

    def local_part(q, k, v):
        own = {"bias": unit.bias, "global_": False, "attend": relu2_attention}
        return mixing.mixed_chunk_attention(q, k, q, k, v, **how, **own)

    def global_part(q, k, v):
        return mixing.mixed_chunk_attention(q, k, q, k, v, **how, local=False)

    def out(x, u, near, far):
        return x + unit.out_proj(u * (near + far))

    with torch.no_grad():
        u, v, z = unit.project(x)
        quad_q, quad_k, lin_q, lin_k = heads_of(z)
        near = local_part(quad_q, quad_k, v)
        far = global_part(lin_q, lin_k, v)
    return {
        "project": (unit.project, (x,)),
        "heads": (heads_of, (z,)),
        "local": (local_part, (quad_q, quad_k, v)),
        "global": (global_part, (lin_q, lin_k, v)),
        "out": (out, (x, u, near, far)),
    }


def step_of(unit, part, inputs):
    """A function: ``part`` forward, then backward to its inputs and to the unit's parameters."""
    inputs = [tensor.detach().clone().requires_grad_() for tensor in inputs]
    grads = tree_map(torch.randn_like, part(*inputs))  # stand for what later parts send back
    wanted = [*inputs, *unit.parameters()]
    return lambda: torch.autograd.grad(part(*inputs), wanted, grads, allow_unused=True)


def time_parts(unit, parts, rounds):
    """{part: milliseconds of a training step}."""
    steps = {name: step_of(unit, *part) for name, part in parts.items()}
    device = next(unit.parameters()).device.type
    timed = time_in_turn(steps, rounds, device=device)
    return {name: 1e3 * summary(seconds)["median"] for name, seconds in timed.items()}


def percent(parts):
    """Each part's percent of the sum."""
    total = sum(parts.values())
    return {name: 100 * part / total for name, part in parts.items()}


def pairs_made(C, device):
    """Pairs of a chunk that are multiplied, hidden or not: rows in blocks, each block up to its last visible key."""
    rows = min(C, max(ROWS if device == "cpu" else ROWS_ON_A_GPU, C // 8))
    return sum(rows * last for last in range(rows, C + 1, rows))
