"""The linear units of ``successors.py`` token by token, with an update that the reader wrote: lecture 13, section 6."""

import torch
import torch.nn.functional as F

from .successors import (
    GatedDeltaRule,
    GatedLinearAttention,
    KimiDelta,
    Retention,
    ScalarGate,
    ThreeToOne,
)


@torch.no_grad()
def in_chunks_and_by_token(unit, x, update):
    """What ``unit`` mixes of ``x (1, T, D)``, ``(T, E)`` each: in its chunks, and one token after the other.

    ``update(state, k, v, alpha, beta)`` returns the next state ``(S, E)``, which q then reads.
    """
    h = unit.norm(x)
    _, v, q, k = unit.in_proj(h).split([unit.expanded, unit.expanded, unit.qk_dim, unit.qk_dim], -1)
    chunks = unit.mix(q, k, v, h)[0]
    if has_delta_rule(unit):
        q, k = (F.normalize(F.silu(t), dim=-1) for t in (q, k))
    state = torch.zeros(unit.qk_dim, unit.expanded).to(v)
    rows = []
    for q_t, k_t, v_t, alpha, beta in zip(q[0], k[0], v[0], *gates(unit, h[0]), strict=True):
        state = update(state, k_t, v_t, alpha, beta)
        rows.append(q_t @ state)
    return chunks, torch.stack(rows)


def has_delta_rule(unit):
    # whose quarter is exact
    return isinstance(unit, (GatedDeltaRule, KimiDelta)) and not isinstance(unit, ThreeToOne)


def gates(unit, h):
    """What a token leaves of the state, ``(T, 1)`` or ``(T, S)``, and how much it writes, ``(T, 1)``: ``h (T, D)``."""
    one = torch.ones(len(h), 1).to(h)
    if isinstance(unit, Retention):
        return (1 - 2.0 ** -(5 + torch.arange(unit.qk_dim) * 8 // unit.qk_dim)).to(h).expand(
            len(h), -1
        ), one
    if isinstance(unit, ScalarGate):
        width = F.softplus(unit.step_width(h))
        return (-unit.log_rate.exp() * width).exp(), width
    if isinstance(unit, GatedLinearAttention):
        return unit.decay(h).sigmoid() ** (1 / 16), one
    if has_delta_rule(unit):
        return (-unit.log_rate.exp() * F.softplus(unit.decay(h))).exp(), unit.strength(h).sigmoid()
    raise ValueError(
        f"{type(unit).__name__} cannot be run by such an update, give a unit with a gated linear state"
    )
