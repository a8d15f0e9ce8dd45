"""One token at a time: what each unit remembers, and its two methods for that, ``prefill`` and ``step``.

FLASH and MC-Transformer++ keep a state of constant size; GAU and the other blocks a cache that grows with the position.
``unit.prefill(x, mask)`` reads a prompt ``(B, T, D)`` in parallel, and gives its output and the state after it;
``unit.step(x, state)`` reads one more token ``(B, D)``, and gives its output and the state, which is changed in place.
A unit of your own has the same two methods, or none (in a subclass of ours: None); then each step runs it over all
tokens again (``replay``).
Twins in NumPy: ``reference.gau_step``, ``flash_step``, ``transformer_step``.
Letters: B batch, T length, D model width, E expanded width, S shared width, C chunk length, H heads, G chunks.

``copy.deepcopy(state)`` keeps a state to come back to (made under ``torch.no_grad()``; torch copies no tensor that
hangs on a graph).
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from .chunks import chunk_means, to_chunks
from .layers import check_input, cos_sin, cos_sin_at, rope


# ---------------------------------------------------------------- what is remembered
@dataclass
class Rows:
    """How far the rows of a batch were read. They go on together, so that what a row is behind stays as it was.

    Where no row is behind, as without padding, places are plain integers, and a token is written into a slice.
    """

    batch: int
    used: int  # tokens of the longest row
    behind: torch.Tensor | None  # (B,) how many fewer each row has; None: all are as long

    @classmethod
    def after(cls, x, mask):
        """Behind a prompt ``x (B, T, ...)`` whose valid tokens ``mask (B, T)`` says; no number is looked at."""
        return cls(*x.shape[:2], None if mask is None else x.shape[1] - mask.sum(1))

    @property
    def place(self):
        """Where the next token of each row goes: an integer, or ``(B,)``."""
        return self.used if self.behind is None else self.used - self.behind

    @property
    def lengths(self):
        """``(B,)`` tokens of each row."""
        return torch.full((self.batch,), self.used) if self.behind is None else self.used - self.behind

    def at(self, place):
        """The index of a token at ``place`` of each row."""
        return (slice(None) if self.behind is None else torch.arange(self.batch, device=place.device)), place

    def ahead(self, C):
        """Tokens in the fullest of the rows' chunks of C."""
        return self.used % C if self.behind is None else int((self.place % C).max())

    def advance(self):
        """One more token in every row."""
        self.used += 1


class FixedRows(Rows):
    """Rows whose lengths are kept on the device alone: ``used`` is a room that nothing exceeds, ``behind`` shrinks.

    A step then is the same program each time, which can be recorded (``decoding.RecordedStep``).
    """

    @classmethod
    def of(cls, rows, room, device):
        return cls(rows.batch, room, room - rows.lengths.to(device))

    def ahead(self, C):
        return -math.inf  # no chunk of a recorded step fills up by itself: ``decoding.RecordedStep`` counts

    def advance(self):
        self.behind.sub_(1)


@dataclass
class Cache:
    """All that was read so far: the room grows by doubling, so copies cost a step a constant time on average."""

    tensors: tuple  # each (B, room, width) or (B, H, room, width): rotated keys and values; or a replayed unit's inputs
    rows: Rows

    def append(self, *tokens):
        """Write one token of each tensor, ``(B, ..., width)``, behind each row's last; gives the places."""
        rows, place = self.rows, self.rows.place
        if rows.used == self.tensors[0].shape[-2]:
            self.tensors = tuple(torch.cat([t, torch.zeros_like(t)], -2) for t in self.tensors)
        row, column = rows.at(place)
        for cache, new in zip(self.tensors, tokens):
            cache[row, ..., column, :] = new.to(cache.dtype)
        rows.advance()
        return place

    def held(self):
        """The tensors as far as they are written: each ``(B, ..., used, width)``."""
        return [t[..., : self.rows.used, :] for t in self.tensors]

    def visible(self):
        """``(B, used)`` bool: a row's own tokens, the newest included; None if that is all."""
        behind = self.rows.behind
        return None if behind is None else torch.arange(self.rows.used, device=behind.device) < self.rows.place[:, None]

    def numel(self):
        """Numbers in use."""
        return sum(t.numel() for t in self.held())


@dataclass
class ChunkState:
    """Sum of K^T V over the finished chunks, and the tokens of the chunk at hand. Its size does not depend on T."""

    sums: torch.Tensor  # (B, H, S, E) sum over finished chunks of K^T V / C, float32 or better
    quad_k: torch.Tensor  # (B, H, C, S) already rotated
    lin_k: torch.Tensor  # (B, H, C, S) already rotated
    v: torch.Tensor  # (B, H, C, E)
    rows: Rows
    bias: torch.Tensor  # (C, C) of the unit, -inf where a key comes after the query: kept, for it is the same each step

    @classmethod
    def after(cls, quad_k, lin_k, v, C, rows, bias=None):
        """The state after a prompt: keys ``(B, H, T, S)``, values ``(B, H, T, E)``; ``bias (C, C)``."""
        lengths = rows.lengths.to(v.device)
        finished = lengths // C
        kv = chunk_means(*(to_chunks(t, C).flatten(0, 1) for t in (lin_k, v))).unflatten(0, v.shape[:2])
        keep = torch.arange(kv.shape[2], device=v.device)[None] < finished[:, None]  # (B, G)
        sums = (kv * keep[:, None, :, None, None]).sum(2)  # kv (B, H, G, S, E)
        places = finished[:, None] * C + torch.arange(C, device=v.device)  # of the chunk at hand, row by row
        index, inside = (t[:, None, :, None] for t in (places.clamp(max=v.shape[2] - 1), places < lengths[:, None]))
        rest = (t.gather(2, index.expand(-1, t.shape[1], -1, t.shape[3])) * inside for t in (quad_k, lin_k, v))
        future = torch.ones(C, C, dtype=torch.bool, device=v.device).triu(1)
        bias = torch.zeros(C, C, dtype=v.dtype, device=v.device) if bias is None else bias.to(v.dtype)
        state = cls(sums, *rest, rows, bias.masked_fill(future, float("-inf")))
        state.count_chunks()
        return state

    def count_chunks(self):
        """What changes only where a chunk ends: the divisor of the mean, and how soon the next chunk may be full."""
        C = self.v.shape[2]
        finished = self.rows.place // C
        if self.rows.behind is None:
            self.chunks = max(finished, 1)
        else:
            self.chunks = finished.clamp(min=1).to(self.sums.dtype)[:, None, None]  # (B, 1, 1)
        self.left = C - self.rows.ahead(C)  # steps until some row's chunk is full

    def append(self, quad_k, lin_k, v):
        """Write one token ``(B, H, ...)`` at each row's place in its chunk; gives the places."""
        place = self.rows.place % self.v.shape[2]
        row, column = self.rows.at(place)
        for cache, new in ((self.quad_k, quad_k), (self.lin_k, lin_k), (self.v, v)):
            cache[row, :, column] = new.to(cache.dtype)
        return place

    def add_far(self, near, q, combine):
        """``near (B, H, E)`` plus what ``q (B, H, S)`` reads in the sums of the finished chunks, by one product."""
        q, sums = q.to(self.sums.dtype), self.sums.flatten(0, 1)
        q = q / self.chunks if combine == "mean" else q * self.v.shape[2]
        rows = (t.to(sums.dtype).reshape(len(sums), 1, -1) for t in (near, q))
        return torch.baddbmm(*rows, sums).view(near.shape).to(near.dtype)

    def advance(self):
        """Count the token; where it was a chunk's last, fold that chunk into the sums."""
        self.rows.advance()
        self.left -= 1
        if self.left == 0:  # only now are the rows looked at
            self.fold()

    def fold(self):
        """Add the chunks that are full to the sums."""
        full = self.rows.place % self.v.shape[2] == 0
        full = full if self.rows.behind is None else full[:, None, None, None]
        self.sums = self.sums + chunk_means(self.lin_k, self.v) * full
        self.count_chunks()

    def numel(self):
        """Numbers kept, the room for a whole chunk included."""
        return sum(t.numel() for t in (self.sums, self.quad_k, self.lin_k, self.v))


# ---------------------------------------------------------------- the two methods, whatever the unit
def prefill(unit, x, mask=None, **door):
    """A unit over a prompt ``x (B, T, D)``: output ``(B, T, D)`` and the state after it."""
    refuse_non_causal(unit)
    if getattr(unit, "prefill", None) is None:
        return unit(x, mask=mask), Cache((x,), Rows.after(x, mask))
    return unit.prefill(x, mask, **door)


def step(unit, x, state):
    """One more token ``x (B, D)`` through a unit: output ``(B, D)`` and the state."""
    if getattr(unit, "step", None) is None:
        return replay(unit, x, state), state
    return unit.step(x, state)


def replay(unit, x, state):
    """One more token through a unit that says nothing about decoding: it is run again over all inputs so far."""
    place = state.append(x)
    (inputs,) = state.held()
    return unit(inputs, mask=state.visible())[state.rows.at(place)]


def refuse_non_causal(unit):
    if not getattr(unit, "causal", False):
        advice = "build it with causal=True (a unit of your own says so by self.causal)"
        raise ValueError(f"this {type(unit).__name__} is not causal, so it cannot go token by token: {advice}")


# ---------------------------------------------------------------- GAU and FLASH
class GatedSteps:
    """What decoding GAU and FLASH shares. They say what they remember of a prompt, and what the newest token reads."""

    def prefill(self, x, mask=None, *, checked=False):
        """Output ``(B, T, D)`` of a prompt and the state after it; ``checked``: the model has validated it."""
        refuse_non_causal(self)
        check_input(x, self.dim, mask, every_row=True, checked=checked)
        u, v, z = self.project(x, mask)
        heads = self.read_heads(z, *cos_sin(x.shape[1], self.qk_dim, x))  # (H, B, T, S)
        y = x + self.out_proj(u * self.mix(heads, v, mask, None))
        return y, self.remember(heads, v, Rows.after(x, mask))

    def step(self, x, state):
        """Output ``(B, D)`` of one more token ``x (B, D)``, and the state."""
        u, v, z = self.project(x)
        heads = self.read_heads(z, *cos_sin_at(state.rows.place, self.qk_dim, x, state.rows.used))  # (H, B, S)
        return x + self.out_proj(u * self.mix_newest(heads, v, state)), state


class GAUSteps(GatedSteps):
    def remember(self, heads, v, rows):
        if self.attention == "relu2" and self.length_scale is None:
            why = "earlier outputs change with each new token and cannot be kept: fix it, for example length_scale=512"
            raise ValueError(f"this GAU divides by the current length (length_scale=None), so {why}")
        return Cache((heads[1], v), rows)

    def mix_newest(self, heads, v, state):
        """What the newest token reads of all: ``(B, E)``."""
        q, k = heads  # (B, S)
        place = state.append(k, v)
        keys, values = state.held()
        visible, n = state.visible(), state.rows.used
        scores = (keys @ q.to(keys.dtype)[:, :, None])[..., 0]  # (B, n)
        scores = scores * self.qk_dim**-0.5 if self.attention == "softmax" else scores / self.length_scale
        if self.bias is not None:
            scores = scores + self.bias.row(place, n)
        if visible is not None:  # relu makes of -inf an exact zero, as softmax does
            scores = scores.masked_fill(~visible, float("-inf"))
        weights = scores.softmax(-1) if self.attention == "softmax" else scores.relu().square()
        return (weights.to(values.dtype)[:, None] @ values)[:, 0]


class FLASHSteps(GatedSteps):
    def remember(self, heads, v, rows):
        _, quad_k, _, lin_k = (t[:, None] for t in heads)
        bias = None if self.bias is None else self.bias(self.chunk_size).detach()
        return ChunkState.after(quad_k, lin_k, v[:, None], self.chunk_size, rows, bias)

    def mix_newest(self, heads, v, state):
        """What the newest token reads of its chunk, and of the finished ones through their sum: ``(B, E)``."""
        quad_q, quad_k, lin_q, lin_k = heads[:, :, None]  # (B, 1, S)
        v = v[:, None]
        place, mixed = state.append(quad_k, lin_k, v), torch.zeros_like(v)
        if self.local:
            keys, values = state.quad_k[:, 0], state.v[:, 0]  # (B, C, S or E)
            row = state.bias[place][..., None, :]  # (B, 1, C), or (1, C) for all rows
            scores = torch.baddbmm(row, quad_q.to(keys.dtype), keys.mT, alpha=1 / self.chunk_size)
            mixed = torch.bmm(scores.relu().square(), values)
        if self.global_:
            mixed = state.add_far(mixed, lin_q, self.combine)
        state.advance()
        return mixed[:, 0]


# ---------------------------------------------------------------- the Transformer blocks
class BlockSteps:
    def prefill(self, x, mask=None, *, checked=False):
        """Output ``(B, T, D)`` of a prompt and the state after it; ``checked``: the model has validated it."""
        refuse_non_causal(self)
        check_input(x, self.dim, mask, every_row=True, checked=checked)
        q, k, v = self.read_heads(x, mask)  # (B, H, T, d)
        y = self.feed_forward(self.join(x, self.mix(q, k, v, mask, None)))
        return y, self.remember(q, k, v, Rows.after(x, mask))

    def remember(self, q, k, v, rows):
        if self.rope:
            k = rope(k, *cos_sin(k.shape[2], k.shape[3], k)).to(v.dtype)
        return Cache((k, v), rows)  # a head's tokens side by side in memory: read in half the time where they are many

    def step(self, x, state):
        """Output ``(B, D)`` of one more token ``x (B, D)``, and the state."""
        q, k, v = self.read_heads(x[:, None])  # (B, H, 1, d)
        mixed = self.mix_newest(q, k, v, state)
        return self.feed_forward(self.join(x[:, None], mixed))[:, 0], state

    def mix_newest(self, q, k, v, state):
        """What the newest token reads of all: ``(B, H, 1, d)``."""
        if self.rope:
            cos, sin = _tables_at(state, k)
            q, k = rope(q, cos, sin), rope(k, cos, sin)
        state.append(k[:, :, 0], v[:, :, 0])
        keys, values = state.held()
        visible = state.visible()
        visible = None if visible is None else visible[:, None, None]
        return F.scaled_dot_product_attention(q.to(keys.dtype), keys, values, attn_mask=visible)


class MCBlockSteps(BlockSteps):
    def remember(self, q, k, v, rows):
        _, quad_k, _, lin_k = self.rotate_heads(q, k, *cos_sin(k.shape[2], k.shape[3], k))
        return ChunkState.after(quad_k, lin_k, v, self.chunk_size, rows)

    def mix_newest(self, q, k, v, state):
        """What the newest token reads of its chunk, and of the finished ones through their sum: ``(B, H, 1, d)``."""
        q, k, lin_q, lin_k = self.rotate_heads(q, k, *_tables_at(state, k))
        place = state.append(k[:, :, 0], lin_k[:, :, 0], v[:, :, 0])
        row = _of_each_row(state.bias[place])  # nothing but which keys there are
        near = F.scaled_dot_product_attention(q.to(state.v.dtype), state.quad_k, state.v, attn_mask=row)
        mixed = state.add_far(near[:, :, 0], lin_q[:, :, 0], "mean")[:, :, None]
        state.advance()
        return mixed


def _tables_at(state, k):
    """cos and sin for one token at each row's own place, to go with heads ``(B, H, 1, d)``."""
    return map(_of_each_row, cos_sin_at(state.rows.place, k.shape[-1], k, state.rows.used))


def _of_each_row(t):
    """``(B, n)`` as ``(B, 1, 1, n)``, to go with heads; what all rows share, ``(n,)``, as ``(1, n)``."""
    return t[None] if t.dim() == 1 else t[:, None, None]
