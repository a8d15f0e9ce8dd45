"""One token at a time: what a unit remembers of what it has read.

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
from dataclasses import dataclass, field

import torch

from .calls import through_call
from .chunks import chunk_means, to_chunks


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
        behind = None if mask is None else x.shape[1] - mask.sum(1)
        return cls(*x.shape[:2], behind)

    @property
    def place(self):
        """Where the next token of each row goes: an integer, or ``(B,)``."""
        return self.used if self.behind is None else self.used - self.behind

    @property
    def lengths(self):
        """``(B,)`` tokens of each row."""
        if self.behind is None:
            return torch.full((self.batch,), self.used)
        return self.used - self.behind

    def at(self, place):
        """The index of a token at ``place`` of each row."""
        if self.behind is None:
            return slice(None), place
        return torch.arange(self.batch, device=place.device), place

    def ahead(self, C):
        """Tokens in the fullest of the rows' chunks of C."""
        if self.behind is None:
            return self.used % C
        return int((self.place % C).max())

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
        # no chunk of a recorded step fills up by itself: ``decoding.RecordedStep`` counts
        return -math.inf

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
        if behind is None:
            return None
        return torch.arange(self.rows.used, device=behind.device) < self.rows.place[:, None]

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
    # what changes only where a chunk ends, set by ``count_chunks``
    # the divisor of the mean: finished chunks, or (B, 1, 1), at least 1
    chunks: int | torch.Tensor = field(init=False)
    left: float = field(init=False)  # steps until some row's chunk is full

    def __post_init__(self):
        self.count_chunks()

    @classmethod
    def after(cls, quad_k, lin_k, v, C, rows, bias=None):
        """The state after a prompt: keys ``(B, H, T, S)``, values ``(B, H, T, E)``; ``bias (C, C)``."""
        lengths = rows.lengths.to(v.device)  # (B,)
        finished = lengths // C  # (B,) whole chunks
        sums = sum_of_chunks(lin_k, v, C, finished)
        # the tokens of each row's open chunk; empty places are zero
        places = finished[:, None] * C + torch.arange(C, device=v.device)  # (B, C)
        is_token = (places < lengths[:, None])[:, None, :, None]
        places = places.clamp(max=v.shape[2] - 1)[:, None, :, None]

        def open_chunk(t):
            return t.gather(2, places.expand(-1, t.shape[1], -1, t.shape[3])) * is_token

        if bias is None:
            bias = torch.zeros(C, C, device=v.device)
        future = torch.ones(C, C, dtype=torch.bool, device=v.device).triu(1)
        bias = bias.to(v.dtype).masked_fill(future, float("-inf"))
        return cls(sums, open_chunk(quad_k), open_chunk(lin_k), open_chunk(v), rows, bias)

    def count_chunks(self):
        """Count the finished chunks anew."""
        C = self.v.shape[2]
        finished = self.rows.place // C
        if self.rows.behind is None:
            self.chunks = max(finished, 1)
        else:
            self.chunks = finished.clamp(min=1).to(self.sums.dtype)[:, None, None]
        self.left = C - self.rows.ahead(C)

    def append(self, quad_k, lin_k, v):
        """Write one token ``(B, H, ...)`` at each row's place in its chunk; gives the places."""
        place = self.rows.place % self.v.shape[2]
        row, column = self.rows.at(place)
        for cache, new in ((self.quad_k, quad_k), (self.lin_k, lin_k), (self.v, v)):
            cache[row, :, column] = new.to(cache.dtype)
        return place

    def add_far(self, near, q, combine):
        """``near (B, H, E)`` plus what ``q (B, H, S)`` reads in the sums of the finished chunks, by one product."""
        q = q.to(self.sums.dtype)
        sums = self.sums.flatten(0, 1)
        if combine == "mean":
            q = q / self.chunks
        else:
            q = q * self.v.shape[2]
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
        if self.rows.behind is not None:
            full = full[:, None, None, None]
        self.sums = self.sums + chunk_means(self.lin_k, self.v) * full
        self.count_chunks()

    def numel(self):
        """Numbers kept, the room for a whole chunk included."""
        return sum(t.numel() for t in (self.sums, self.quad_k, self.lin_k, self.v))


def sum_of_chunks(lin_k, v, C, finished):
    """Sum over each row's finished chunks of K^T V / C: ``(B, H, S, E)``; ``finished (B,)``."""
    means = chunk_means(to_chunks(lin_k, C).flatten(0, 1), to_chunks(v, C).flatten(0, 1))
    means = means.unflatten(0, v.shape[:2])  # (B, H, G, S, E)
    is_finished = torch.arange(means.shape[2], device=v.device) < finished[:, None]  # (B, G)
    return (means * is_finished[:, None, :, None, None]).sum(2)


# ---------------------------------------------------------------- the two methods, whatever the unit
def prefill(unit, x, mask=None, **door):
    """A unit over a prompt ``x (B, T, D)``: output ``(B, T, D)`` and the state after it."""
    refuse_non_causal(unit)
    if not remembers(unit):
        return unit(x, mask=mask), Cache((x,), Rows.after(x, mask))
    return through_call(unit.prefill, x, mask, **door)


def step(unit, x, state):
    """One more token ``x (B, D)`` through a unit: output ``(B, D)`` and the state."""
    if not remembers(unit):
        return replay(unit, x, state), state
    return through_call(unit.step, x, state)


def remembers(unit):
    """Whether a unit says what it remembers. A mixing of your own in a GatedUnit has its methods, and no memory."""
    methods = (getattr(unit, "prefill", None), getattr(unit, "step", None))
    return None not in methods and getattr(unit, "remember", True) is not None


def replay(unit, x, state):
    """One more token through a unit that says nothing about decoding: it is run again over all inputs so far."""
    place = state.append(x)
    (inputs,) = state.held()
    return unit(inputs, mask=state.visible())[state.rows.at(place)]


def refuse_non_causal(unit):
    if not getattr(unit, "causal", False):
        advice = "build it with causal=True (a unit of your own says so by self.causal)"
        raise ValueError(
            f"this {type(unit).__name__} is not causal, so it cannot go token by token: {advice}"
        )
