"""One token at a time: what a unit remembers of what it has read.

FLASH and MC-Transformer++ keep a state of constant size; GAU and the other blocks a cache that grows with the position.
``unit.prefill(x, mask)`` reads a prompt ``(B, T, D)`` in parallel, and gives its output and the state after it;
``unit.step(x, state)`` reads one more token ``(B, D)``, and gives its output and the state, which is changed in place.
``unit.prefill(x, mask, state=state)`` goes on from a state in parallel, and leaves it as it was.
A unit of your own has the same two methods, or none; then each step runs it over all tokens again (``replay``), as it
does where a subclass of ours reads in another way and says nothing of what it remembers. Where its ``prefill`` takes no
``state``, it goes on from one token by token.
Twins in NumPy: ``reference.gau_step``, ``flash_step``, ``transformer_step``.
Letters: B batch, T length, D model width, E expanded width, S shared width, C chunk length, H heads, G chunks.
"""

import inspect
import math
from dataclasses import dataclass, field

import torch

from .calls import through_call
from .chunks import chunk_means, to_chunks
from .layers import cos_sin_at


# ---------------------------------------------------------------- what is remembered
@dataclass
class Rows:
    """How far the rows of a batch were read. They go on together, so that what a row is behind stays as it was.

    Where no row is behind, as without padding, places are plain integers, and a token is written into a slice.
    """

    batch: int
    used: int  # tokens of the longest row
    behind: torch.Tensor | None  # (B,) how many fewer each row has; None: all are as long
    # the same numbers, which the device is asked for once
    behind_here: list | None = field(default=None, init=False, repr=False, compare=False)

    @classmethod
    def after(cls, x, mask, before=None):
        """Behind a prompt ``x (B, T, ...)`` whose valid tokens ``mask (B, T)`` says, read at once or after the rows
        ``before``. No number is looked at, unless these were behind."""
        B, T = x.shape[:2]
        behind = None if mask is None else T - mask.sum(1)
        if before is None:
            return cls(B, T, behind)
        if before.batch != B:
            raise ValueError(
                f"the state has {before.batch} rows, the tokens {B}: expected as many; choose by state.select"
            )
        used = before.used + T
        if before.behind is None:
            return cls(B, used, behind)
        behind = before.behind if mask is None else before.behind + behind
        return cls(B, used, behind).trimmed()

    def trimmed(self):
        """Plain rows of which the longest is behind by nothing."""
        if self.behind is None:
            return Rows(self.batch, self.used, None)
        least, most = (int(n) for n in self.behind.aminmax())
        behind = None if least == most else self.behind - least
        return Rows(self.batch, self.used - least, behind)

    def select(self, index):
        """Those at ``index``, each as often as it is named."""
        behind = None if self.behind is None else self.behind[index]
        return Rows(len(index), self.used, behind).trimmed()

    def with_each(self, change):
        """With its tensors changed."""
        behind = None if self.behind is None else change(self.behind)
        return Rows(self.batch, self.used, behind)

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

    def lengths_on(self, device):
        """The same on a device, which is not waited for."""
        if self.behind is None:
            return torch.full((self.batch,), self.used, device=device)
        return self.lengths.to(device)

    def next_places(self, T, device):
        """Where T further tokens of each row go: ``(T,)``, or ``(B, T)``."""
        tokens = torch.arange(T, device=device)
        if self.behind is None:
            return self.used + tokens
        return self.place[:, None] + tokens

    def at(self, place):
        """The index of a token at ``place`` of each row."""
        if self.behind is None:
            return slice(None), place
        return torch.arange(self.batch, device=place.device), place

    def put(self, tensor, place, new):
        """Write one token of each row, ``new (B, ..., width)``, at ``place`` of a tensor ``(B, ..., room, width)``."""
        new = new.to(tensor.dtype)
        if self.behind is None:
            # select: a place in brackets a compiler would take for a constant
            tensor.select(-2, place).copy_(new)
        else:
            row, column = self.at(place)
            tensor[row, ..., column, :] = new

    def ahead(self, C):
        """Tokens in the fullest of the rows' chunks of C."""
        if self.behind is None:
            return self.used % C
        if self.behind_here is None:
            self.behind_here = self.behind.tolist()
        return max((self.used - behind) % C for behind in self.behind_here)

    def advance(self):
        """One more token in every row."""
        self.used += 1


class FixedRows(Rows):
    """Rows whose lengths are kept on the device alone: ``used`` is a room that nothing exceeds, ``behind`` shrinks.

    A step then is the same program each time, which can be recorded (``generate.RecordedStep``).
    """

    @classmethod
    def of(cls, rows, room, device):
        return cls(rows.batch, room, room - rows.lengths.to(device))

    def ahead(self, C):
        # no chunk of a recorded step fills up by itself: ``generate.RecordedStep`` counts
        return -math.inf

    def advance(self):
        self.behind.sub_(1)

    def with_each(self, change):
        # what is made of a recorded step's rows is no part of the recording
        return super().with_each(change).trimmed()


class Kept:
    """What can be done to a unit's state as a whole, if ``changed`` says which tensors it has.

    A change is a function of a tensor; it is told the type that this one keeps at ``least``, where there is one.
    """

    def select(self, index):
        """The rows at ``index (n,)``, each as often as it is named."""
        return self.changed(lambda t, least=None: t[index], self.rows.select(index), shared=_same)

    def with_each(self, change):
        """With each of its tensors changed."""
        return self.changed(change, self.rows.with_each(change), shared=change)


def _same(t):
    return t


def cloned(t, least=None):
    return t.clone()


def detached(t, least=None):
    return t.detach()


def joined(old, new, length, n):
    """The first ``length`` tokens of ``old (B, ..., m, width)``, behind them those of ``new``: ``(B, ..., n, width)``.

    ``length``: an integer, with which n is the length and all of ``new``, or ``(B,)``.
    """
    old = old.to(new.dtype)
    if not isinstance(length, torch.Tensor):
        return torch.cat([old[..., :length, :], new], -2)
    m = old.shape[-2]
    places = torch.arange(n, device=new.device)
    behind = m + places - length[:, None]  # (B, n)
    index = torch.where(places < length[:, None], places, behind)
    index = index.clamp(max=m + new.shape[-2] - 1)
    return _at_tokens(torch.cat([old, new], -2), index)


def newest(y, length, T):
    """The T tokens of ``y (B, ..., n, width)`` behind the first ``length``, an integer or ``(B,)``."""
    if not isinstance(length, torch.Tensor):
        return y[..., length : length + T, :]
    return _at_tokens(y, length[:, None] + torch.arange(T, device=y.device))


def _at_tokens(t, index):
    """Of ``t (B, ..., m, width)`` the tokens at ``index (B, n)`` of each row."""
    index = index.view(len(index), *(1,) * (t.dim() - 3), -1, 1)
    return torch.take_along_dim(t, index, -2)


@dataclass
class Cache(Kept):
    """All that was read so far: the room grows by doubling, so copies cost a step a constant time on average."""

    tensors: tuple  # each (B, room, width) or (B, H, room, width): rotated keys and values; or a replayed unit's inputs
    rows: Rows

    def append(self, *tokens):
        """Write one token of each tensor, ``(B, ..., width)``, behind each row's last; gives the places."""
        rows, place = self.rows, self.rows.place
        if rows.used == self.tensors[0].shape[-2]:
            self.tensors = tuple(torch.cat([t, torch.zeros_like(t)], -2) for t in self.tensors)
        for cache, new in zip(self.tensors, tokens):
            rows.put(cache, place, new)
        rows.advance()
        return place

    def further(self, tokens, rows):
        """A cache with ``tokens`` of each tensor, ``(B, ..., T, width)``, besides, which comes to ``rows``."""
        olds_and_news = zip(self.tensors, tokens)
        place = self.rows.place
        return Cache(tuple(joined(old, new, place, rows.used) for old, new in olds_and_news), rows)

    def changed(self, change, rows, *, shared):
        return Cache(tuple(change(t) for t in self.tensors), rows)

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
class ChunkState(Kept):
    """Sum of K^T V over the finished chunks, and the tokens of the chunk at hand. Its size does not depend on T."""

    sums: torch.Tensor  # (B, H, S, E) sum over finished chunks of K^T V / C, float32 or better
    quad_k: torch.Tensor  # (B, H, C, S) already rotated
    lin_k: torch.Tensor  # (B, H, C, S) already rotated
    v: torch.Tensor  # (B, H, C, E)
    rows: Rows
    bias: torch.Tensor  # (C, C) of the unit, -inf where a key comes after the query: kept, for it is the same each step
    # what changes only where a chunk ends, set by ``count_chunks``
    chunks: int | torch.Tensor = field(init=False)  # as ``chunks_read`` gives it
    left: float = field(init=False)  # steps until some row's chunk is full

    def __post_init__(self):
        self.count_chunks()

    @classmethod
    def after(cls, quad_k, lin_k, v, C, rows, bias=None, before=None, sums=None):
        """The state after a prompt: keys ``(B, H, T, S)``, values ``(B, H, T, E)``; ``bias (C, C)``.

        Of a prompt that was read after the state ``before`` they begin with the tokens of its open chunk. ``sums``
        are those over all finished chunks, if they are known already.
        """
        lengths = lengths_behind(before, rows, v.device)
        finished = lengths // C  # (B,) whole chunks
        if sums is None:
            sums = sum_of_chunks(lin_k, v, C, finished)
            if before is not None:
                sums = before.sums + sums
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

    def before_open_chunk(self):
        """What ``mixing.global_part`` has to know of the chunks before: sums ``(B H, S, E)`` and how many tokens are
        in them, a number or ``(B, 1)``."""
        tokens = self.finished_tokens()
        if isinstance(tokens, torch.Tensor):
            tokens = tokens[:, None]
        return self.sums.flatten(0, 1), tokens

    def finished_tokens(self):
        """How many tokens of each row are in the sums: an integer, or ``(B,)``."""
        C = self.v.shape[2]
        return self.rows.place // C * C

    def open_chunk_before(self, quad_q, quad_k, lin_q, lin_k, v):
        """Heads and values of further tokens ``(B, H, T, ...)``, each behind the open chunk: queries behind nothing.

        The tensors, and how long the open chunk is: an integer, or ``(B,)``.
        """
        length = self.rows.place % self.v.shape[2]
        longest = int(length.max()) if isinstance(length, torch.Tensor) else length
        n = longest + v.shape[2]
        nothing = torch.zeros_like(self.quad_k)
        olds = (nothing, self.quad_k, nothing, self.lin_k, self.v)
        news = (quad_q, quad_k, lin_q, lin_k, v)
        return [joined(old, new, length, n) for old, new in zip(olds, news)], length

    def changed(self, change, rows, *, shared):
        sums = change(self.sums, least=torch.float32)
        tokens = [change(t) for t in (self.quad_k, self.lin_k, self.v)]
        return ChunkState(sums, *tokens, rows, shared(self.bias))

    def count_chunks(self):
        """Count the finished chunks anew."""
        C = self.v.shape[2]
        self.chunks = self.chunks_read()
        self.left = C - self.rows.ahead(C)

    def chunks_read(self):
        """The divisor of the mean: finished chunks, or (B, 1, 1), at least 1."""
        finished = self.rows.place // self.v.shape[2]
        if self.rows.behind is None:
            return max(finished, 1)
        return finished.clamp(min=1).to(self.sums.dtype)[:, None, None]

    def append(self, quad_k, lin_k, v):
        """Write one token ``(B, H, ...)`` at each row's place in its chunk; gives the places."""
        place = self.rows.place % self.v.shape[2]
        for cache, new in ((self.quad_k, quad_k), (self.lin_k, lin_k), (self.v, v)):
            self.rows.put(cache, place, new)
        return place

    def add_far(self, near, q, combine):
        """``near (B, H, E)`` plus what ``q (B, H, S)`` reads in the sums of the finished chunks, by one product."""
        q = q.to(self.sums.dtype)
        sums = self.sums.flatten(0, 1)
        if combine == "mean":
            # to a compiler what is kept is a constant until it changes, and then a graph more
            q = q / (self.chunks_read() if torch.compiler.is_compiling() else self.chunks)
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


def lengths_behind(before, rows, device):
    """Tokens of each row ``(B,)``, counted from where the open chunk of the state ``before`` began, if there is one."""
    lengths = rows.lengths_on(device)
    return lengths if before is None else lengths - before.finished_tokens()


def sum_of_chunks(lin_k, v, C, finished):
    """Sum over each row's finished chunks of K^T V / C: ``(B, H, S, E)``; ``finished (B,)``."""
    means = chunk_means(to_chunks(lin_k, C).flatten(0, 1), to_chunks(v, C).flatten(0, 1))
    means = means.unflatten(0, v.shape[:2])  # (B, H, G, S, E)
    is_finished = torch.arange(means.shape[2], device=v.device) < finished[:, None]  # (B, G)
    return (means * is_finished[:, None, :, None, None]).sum(2)


# ---------------------------------------------------------------- further tokens, all at once
def further_tables(x, dim, before, rows):
    """cos and sin for tokens ``x (B, ..., T, width)`` that go on from rows ``before`` and come to ``rows``:
    ``(T, dim // 2)`` or ``(B, T, dim // 2)``."""
    most = rows.used - 1
    places = before.next_places(x.shape[-2], x.device).clamp(max=most)  # padding may come later
    return cos_sin_at(places, dim, x, most)


def seen_at(places, n):
    """Which of n tokens are seen at ``places (..., T)``: those up to each, ``(..., T, n)`` bool."""
    return torch.arange(n, device=places.device) <= places[..., None]


def of_each_head(t):
    """``(B, T, n)`` as ``(B, 1, T, n)``, to go with heads; what all rows share, ``(T, n)``, as it is."""
    return t if t.dim() == 2 else t[:, None]


# ---------------------------------------------------------------- what a unit remembers, whatever it is
def with_each(state, change):
    """A unit's state with each of its tensors changed."""
    return with_parts(state, change, lambda part: part.with_each(change))


def selected(state, index):
    """A unit's state of the rows at ``index (n,)``."""
    return with_parts(state, lambda t: t[index] if t.dim() else t, lambda part: part.select(index))


def with_parts(state, of_tensor, of_kept):
    """A unit's state, changed: its tensors by ``of_tensor``, what is a state of the package's kind by ``of_kept``."""
    if isinstance(state, torch.Tensor):
        return of_tensor(state)
    if hasattr(state, "with_each"):
        return of_kept(state)
    if isinstance(state, dict):
        return {name: with_parts(part, of_tensor, of_kept) for name, part in state.items()}
    if isinstance(state, (list, tuple)):
        parts = [with_parts(part, of_tensor, of_kept) for part in state]
        return type(state)(*parts) if hasattr(state, "_fields") else type(state)(parts)
    if state is None or isinstance(state, (bool, int, float, str)):
        return state
    raise ValueError(
        f"a unit keeps a {type(state).__name__}, whose tensors are not known: keep tensors in tuples, lists "
        f"or dictionaries, or give the class the methods select(index) and with_each(change)"
    )


# ---------------------------------------------------------------- the two methods, whatever the unit
def prefill(unit, x, mask=None, state=None, **door):
    """A unit over a prompt ``x (B, T, D)``, the first or after a ``state``: output ``(B, T, D)`` and the state then."""
    refuse_non_causal(unit)
    if not remembers(unit):
        return _read_again(unit, x, mask, state)
    if state is None:
        return through_call(unit.prefill, x, mask, **door)
    takes_state = "state" in inspect.signature(unit.prefill).parameters
    if takes_state and getattr(unit, "mix_further", True) is not None:
        return through_call(unit.prefill, x, mask, state=state, **door)
    return _one_by_one(unit, x, mask, state)


def _read_again(unit, x, mask, state):
    """A prompt through a unit that says nothing about decoding: the inputs before it are read again."""
    if state is None:
        return unit(x, mask=mask), Cache((x,), Rows.after(x, mask))
    cache = state.further((x,), Rows.after(x, mask, state.rows))
    (inputs,) = cache.held()
    return newest(unit(inputs, mask=cache.visible()), state.rows.place, x.shape[1]), cache


def _one_by_one(unit, x, mask, state):
    """A prompt through a unit of one's own whose prefill takes no state."""
    if mask is not None and not bool(mask.all()):
        raise ValueError(
            f"{type(unit).__name__}.prefill takes no state, so rows that go on from one must be of one length: "
            f"give it prefill(x, mask=None, *, state=None)"
        )
    state = with_each(state, cloned)
    outputs = []
    for token in x.unbind(1):
        y, state = through_call(unit.step, token, state)
        outputs.append(y)
    return torch.stack(outputs, 1), state


def step(unit, x, state):
    """One more token ``x (B, D)`` through a unit: output ``(B, D)`` and the state."""
    if not remembers(unit):
        return replay(unit, x, state), state
    return through_call(unit.step, x, state)


READS = ("forward", "mix")
REMEMBERS = ("prefill", "step", "remember", "mix_first", "mix_newest")


def remembers(unit):
    """Whether a unit says what it remembers. A mixing of your own in a GatedUnit has its methods, and no memory."""
    methods = (getattr(unit, "prefill", None), getattr(unit, "step", None))
    if None in methods or getattr(unit, "remember", True) is None:
        return False
    return not reads_anew(unit)


def reads_anew(unit):
    """Whether a subclass says anew how it reads and not how it remembers: that memory is another unit's."""
    for written in (unit, *type(unit).__mro__):
        if any(name in vars(written) for name in REMEMBERS):
            return False
        if any(name in vars(written) for name in READS):
            return True
    return False


def replay(unit, x, state):
    """One more token through a unit that says nothing about decoding: it is run again over all inputs so far."""
    place = state.append(x)
    (inputs,) = state.held()
    if torch.compiler.is_compiling():  # a view of a full room would be a graph more
        inputs = inputs.clone(memory_format=torch.contiguous_format)
    y = unit(inputs, mask=state.visible())
    if state.rows.behind is None:
        return y.select(1, place)
    return y[state.rows.at(place)]


def refuse_non_causal(unit):
    if not getattr(unit, "causal", False):
        advice = "build it with causal=True (a unit of your own says so by self.causal)"
        raise ValueError(
            f"this {type(unit).__name__} is not causal, so it cannot go token by token: {advice}"
        )
