"""One token at a time: what each unit has to remember, and one step of it.

FLASH keeps a state of constant size; GAU and the Transformer blocks keep a cache that grows with the position.
Letters: B batch, T length, D model width, E expanded width, S shared width, C chunk length, H heads.

A state is changed in place by ``step``; ``copy.deepcopy(state)`` keeps one to come back to (made under
``torch.no_grad()``; torch copies no tensor that hangs on a graph).
"""

from dataclasses import dataclass
from functools import singledispatch

import torch
import torch.nn.functional as F

from .layers import cos_sin, cos_sin_at, rotate
from .mixing import chunk_means, into_chunks
from .units import FLASH, GAU, MCTransformerBlock, TransformerBlock, check_input

# ---------------------------------------------------------------- what is remembered


@dataclass
class Cache:
    """All keys and values so far: rows grow by doubling, so a step costs no copy on the average."""

    k: torch.Tensor  # (B, room, ...) already rotated
    v: torch.Tensor
    lengths: torch.Tensor  # (B,) tokens held by each row
    used: int  # the longest row

    def append(self, k, v):
        """Write ``k, v (B, ...)`` behind each row's last token."""
        if self.used == self.k.shape[1]:
            self.k, self.v = (torch.cat([t, torch.zeros_like(t)], 1) for t in (self.k, self.v))
        rows = torch.arange(len(k), device=k.device)
        self.k[rows, self.lengths], self.v[rows, self.lengths] = k.to(self.k.dtype), v.to(self.v.dtype)
        self.used += 1

    def visible(self):
        """``(B, used)`` bool: a row's own tokens, the newest included."""
        return torch.arange(self.used, device=self.k.device)[None] <= self.lengths[:, None]

    def numel(self):
        """Numbers in use."""
        return sum(t[:, : self.used].numel() for t in (self.k, self.v))


@dataclass
class ChunkState:
    """Sum of K^T V over the finished chunks, and the tokens of the chunk at hand. Its size does not depend on T."""

    sums: torch.Tensor  # (B, H, S, E) sum over finished chunks of K^T V / C, float32 or better
    quad_k: torch.Tensor  # (B, H, C, S) already rotated
    lin_k: torch.Tensor  # (B, H, C, S) already rotated
    v: torch.Tensor  # (B, H, C, E)
    lengths: torch.Tensor  # (B,) tokens read so far by each row

    def append(self, quad_k, lin_k, v):
        """Write one token ``(B, H, ...)`` at each row's place in its chunk."""
        rows, place = torch.arange(len(v), device=v.device), self.place()
        for cache, new in ((self.quad_k, quad_k), (self.lin_k, lin_k), (self.v, v)):
            cache[rows, :, place] = new.to(cache.dtype)

    def place(self):
        """``(B,)`` place in the chunk of each row's newest token."""
        return self.lengths % self.v.shape[2]

    def visible(self):
        """``(B, C)`` bool: tokens of the chunk at hand, the newest included."""
        return torch.arange(self.v.shape[2], device=self.v.device)[None] <= self.place()[:, None]

    def far(self, q, combine):
        """q read through the sums of the finished chunks: ``(B, H, S) -> (B, H, E)``; zero while there is none."""
        C = self.v.shape[2]
        if combine == "mean":
            sums = self.sums / (self.lengths // C).clamp(min=1)[:, None, None, None]
        else:
            sums = self.sums * C
        return (q[:, :, None] @ sums.to(q.dtype))[:, :, 0]

    def advance(self):
        """Count the token; where it was a chunk's last, fold that chunk into the sums."""
        self.lengths = self.lengths + 1
        full = self.place() == 0
        if full.any():
            self.sums = self.sums + chunk_means(self.lin_k, self.v) * full[:, None, None, None]

    def numel(self):
        """Numbers in use."""
        return sum(t.numel() for t in (self.sums, self.quad_k, self.lin_k, self.v))


@dataclass
class Replay:
    """All inputs so far, for a unit that says nothing about decoding: each step runs it again over all of them."""

    x: torch.Tensor  # (B, T, D)
    lengths: torch.Tensor

    def numel(self):
        """Numbers in use."""
        return self.x.numel()


# ---------------------------------------------------------------- prefill


def row_lengths(x, mask):
    """``(B,)`` valid tokens of each row; a row without any is refused, since it has no last token to go on from."""
    if mask is None:
        return torch.full((x.shape[0],), x.shape[1], device=x.device)
    lengths = mask.sum(1)
    if bool((lengths == 0).any()):
        raise ValueError("mask has a row without a valid token: every row of a prompt needs at least one")
    return lengths


def _refuse_non_causal(unit):
    if not getattr(unit, "causal", False):
        raise ValueError(
            f"this {type(unit).__name__} is not causal, so it cannot go token by token: build it with causal=True "
            "(a unit of your own says so by self.causal)"
        )


@singledispatch
def prefill(unit, x, mask=None):
    """Run a unit over a prompt ``x (B, T, D)`` in parallel: output ``(B, T, D)`` and the state after it.

    A unit of your own is handled by ``unit.prefill`` if it has one; otherwise every step runs it over all inputs.
    """
    _refuse_non_causal(unit)
    if hasattr(unit, "prefill"):
        return unit.prefill(x, mask)
    return unit(x, mask=mask), Replay(x, row_lengths(x, mask))


@prefill.register
def _(unit: GAU, x, mask=None):
    _refuse_non_causal(unit)
    _refuse_current_length(unit)
    check_input(x, unit.dim, mask)
    u, v, z = unit.project(x, mask)
    heads = unit.read_heads(z, *cos_sin(x.shape[1], unit.qk_dim, x))
    y = x + unit.out_proj(u * unit.mix(heads, v, mask, None))
    return y, _cache(heads[1], v, row_lengths(x, mask))


def _cache(k, v, lengths):
    """The cache after a prompt: keys and values ``(B, T, ...)``, without what is padding in every row."""
    used = int(lengths.max())
    return Cache(k[:, :used], v[:, :used], lengths, used)


def _refuse_current_length(unit):
    if unit.attention == "relu2" and unit.length_scale is None:
        raise ValueError(
            "this GAU divides by the current length (length_scale=None), so earlier outputs change with each new "
            "token and cannot be kept: fix it, for example length_scale=512"
        )


@prefill.register
def _(unit: FLASH, x, mask=None):
    _refuse_non_causal(unit)
    check_input(x, unit.dim, mask)
    u, v, z = unit.project(x, mask)
    heads = unit.read_heads(z, *cos_sin(x.shape[1], unit.qk_dim, x))
    y = x + unit.out_proj(u * unit.mix(heads, v, mask, None))
    _, quad_k, _, lin_k = (t[:, None] for t in heads)
    return y, _chunk_state(quad_k, lin_k, v[:, None], unit.chunk_size, row_lengths(x, mask))


def _chunk_state(quad_k, lin_k, v, C, lengths):
    """The state after a prompt: keys ``(B, H, T, S)``, values ``(B, H, T, E)``."""
    finished = lengths // C
    kv = chunk_means(*(into_chunks(t, C).flatten(0, 1) for t in (lin_k, v))).unflatten(
        0, v.shape[:2]
    )  # (B, H, G, S, E)
    keep = torch.arange(kv.shape[2], device=v.device)[None] < finished[:, None]
    sums = (kv * keep[:, None, :, None, None]).sum(2)
    places = finished[:, None] * C + torch.arange(C, device=v.device)  # of the chunk at hand, row by row
    inside = places < lengths[:, None]
    rest = (_take(t, places, inside) for t in (quad_k, lin_k, v))
    return ChunkState(sums, *rest, lengths)


def _take(t, places, inside):
    """``t (B, H, T, F)`` at ``places (B, C)``, zero where not ``inside``."""
    index = places.clamp(max=t.shape[2] - 1)[:, None, :, None].expand(-1, t.shape[1], -1, t.shape[3])
    return t.gather(2, index) * inside[:, None, :, None]


@prefill.register
def _(unit: TransformerBlock, x, mask=None):
    _refuse_non_causal(unit)
    check_input(x, unit.dim, mask)
    q, k, v = unit.read_heads(x, mask)
    y = unit.feed_forward(unit.join(x, unit.mix(q, k, v, mask, None)))
    if unit.rope:
        k = rotate(k, *cos_sin(x.shape[1], k.shape[-1], x)).to(v.dtype)
    return y, _cache(k.transpose(1, 2), v.transpose(1, 2), row_lengths(x, mask))


@prefill.register
def _(unit: MCTransformerBlock, x, mask=None):
    _refuse_non_causal(unit)
    check_input(x, unit.dim, mask)
    q, k, v = unit.read_heads(x, mask)
    y = unit.feed_forward(unit.join(x, unit.mix(q, k, v, mask, None)))
    _, quad_k, _, lin_k = unit.rotate_heads(q, k, *cos_sin(x.shape[1], k.shape[-1], x))
    return y, _chunk_state(quad_k, lin_k, v, unit.chunk_size, row_lengths(x, mask))


# ---------------------------------------------------------------- step


@singledispatch
def step(unit, x, state):
    """One more token ``x (B, D)`` through a unit: output ``(B, D)`` and the state, which is changed in place."""
    if hasattr(unit, "step"):
        return unit.step(x, state)
    rows = torch.arange(len(x), device=x.device)
    longest = int(state.lengths.max()) + 1
    if state.x.shape[1] < longest:
        state.x = torch.cat([state.x, torch.zeros_like(x)[:, None]], 1)
    state.x = state.x.index_put((rows, state.lengths), x.to(state.x.dtype))
    state.lengths = state.lengths + 1
    mask = torch.arange(state.x.shape[1], device=x.device)[None] < state.lengths[:, None]
    return unit(state.x, mask=mask)[rows, state.lengths - 1], state


def _project_one(unit, x, lengths):
    """u, v ``(B, E)`` and the heads ``(H, B, S)`` of one token at each row's own position."""
    u, v, z = unit.project(x)
    cos, sin = cos_sin_at(lengths, unit.qk_dim, x)
    return u, v, unit.read_heads(z, cos, sin)


@step.register
def _(unit: GAU, x, state):
    u, v, (q, k) = _project_one(unit, x, state.lengths)
    state.append(k, v)
    n = state.used
    keys, values, visible = state.k[:, :n], state.v[:, :n], state.visible()
    scores = (keys @ q.to(keys.dtype)[:, :, None])[..., 0]
    bias = 0 if unit.bias is None else unit.bias.row(state.lengths, n)
    if unit.attention == "softmax":
        scores = scores * unit.qk_dim**-0.5 + bias
        weights = scores.masked_fill(~visible, float("-inf")).softmax(-1)
    else:
        weights = (scores / unit.length_scale + bias).relu().square() * visible
    mixed = (weights.to(values.dtype)[:, None] @ values)[:, 0]
    state.lengths = state.lengths + 1
    return x + unit.out_proj(u * mixed), state


@step.register
def _(unit: FLASH, x, state):
    u, v, heads = _project_one(unit, x, state.lengths)
    quad_q, quad_k, lin_q, lin_k = (t[:, None] for t in heads)
    state.append(quad_k, lin_k, v[:, None])
    mixed = 0
    if unit.local:
        scores = (quad_q[:, :, None] @ state.quad_k.mT)[:, 0, 0] / unit.chunk_size
        if unit.bias is not None:
            scores = scores + unit.bias.row(state.place(), unit.chunk_size)
        weights = scores.relu().square() * state.visible()
        mixed = (weights[:, None, None].to(state.v.dtype) @ state.v)[:, 0, 0]
    if unit.global_:
        mixed = mixed + state.far(lin_q, unit.combine)[:, 0]
    state.advance()
    return x + unit.out_proj(u * mixed), state


@step.register
def _(unit: TransformerBlock, x, state):
    q, k, v = unit.read_heads(x[:, None])  # (B, H, 1, d)
    if unit.rope:
        cos, sin = (t[:, None, None] for t in cos_sin_at(state.lengths, k.shape[-1], x))
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
    state.append(k[:, :, 0], v[:, :, 0])
    keys, values = (t[:, : state.used].transpose(1, 2) for t in (state.k, state.v))
    mixed = F.scaled_dot_product_attention(q.to(keys.dtype), keys, values, attn_mask=state.visible()[:, None, None])
    state.lengths = state.lengths + 1
    return unit.feed_forward(unit.join(x[:, None], mixed))[:, 0], state


@step.register
def _(unit: MCTransformerBlock, x, state):
    q, k, v = unit.read_heads(x[:, None])
    cos, sin = (t[:, None, None] for t in cos_sin_at(state.lengths, k.shape[-1], x))
    q, k, lin_q, lin_k = unit.rotate_heads(q, k, cos, sin)
    state.append(k[:, :, 0], lin_k[:, :, 0], v[:, :, 0])
    near = F.scaled_dot_product_attention(
        q.to(state.v.dtype), state.quad_k, state.v, attn_mask=state.visible()[:, None, None]
    )
    mixed = near + state.far(lin_q[:, :, 0], "mean")[:, :, None]
    state.advance()
    return unit.feed_forward(unit.join(x[:, None], mixed))[:, 0], state


# ---------------------------------------------------------------- from logits to a token: temperature, top-k, top-p


def draw(logits, *, temperature=1.0, top_k=None, top_p=None, generator=None):
    """One token for each row of ``logits (B, N)``: ``(B,)``. Temperature 0 takes the most likely one."""
    check_sampling(logits.shape[-1], temperature, top_k, top_p)
    if temperature < 1e-6:  # logits divided by less would overflow
        return logits.argmax(-1)
    logits = logits.float() / temperature
    if top_k is not None:
        kept = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, logits.topk(top_k, -1).indices, True)
        logits = logits.masked_fill(~kept, float("-inf"))
    if top_p is not None:
        logits = _keep_top_p(logits, top_p)
    return torch.multinomial(logits.softmax(-1), 1, generator=generator)[:, 0]


def _keep_top_p(logits, top_p):
    """Keep the fewest most likely tokens whose probabilities add up to at least ``top_p``."""
    values, order = logits.sort(-1, descending=True)
    probabilities = values.softmax(-1)
    before = probabilities.cumsum(-1) - probabilities  # what the more likely ones hold already
    drop = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, order, before >= top_p)
    return logits.masked_fill(drop, float("-inf"))


def check_sampling(vocab, temperature, top_k, top_p):
    """Refuse what cannot be drawn from N tokens."""
    if not isinstance(temperature, int | float) or not temperature >= 0:
        raise ValueError(f"temperature={temperature!r}: expected 0 (most likely token) or more")
    if top_k is not None and not (isinstance(top_k, int) and 1 <= top_k <= vocab):
        raise ValueError(f"top_k={top_k}: expected 1 to {vocab}, or None for all tokens")
    if top_p is not None and not (isinstance(top_p, int | float) and 0 < top_p <= 1):
        raise ValueError(f"top_p={top_p}: expected more than 0 and at most 1, or None for all tokens")
