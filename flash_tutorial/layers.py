"""The small parts that every unit is made of: norms, positions, the position bias, scale and offset, and the door.

Letters: B batch, T length, D model width, E expanded width, S shared query/key width, H heads, n a number of positions.
Sources are the paper's appendix listings (Codes 2 to 8 of Hua et al., 2022, arXiv 2202.10447).
"""

from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from .config import TOEPLITZ_BELOW, check_options
from .errors import described
from .formats import is_cast, is_followed, is_integers, is_rewritten

EPS = 1e-5  # Code 5, both norms


# ---------------------------------------------------------------- one learnt number
class OneNumber(nn.Module):
    """A part that learns one number, of shape (1,): FSDP shards no parameter of shape (), which older weights have."""

    def _load_from_state_dict(self, state_dict, prefix, *rest):
        for name in self._parameters:
            stored = state_dict.get(prefix + name)
            if stored is not None:
                state_dict[prefix + name] = at_least_one_axis(stored)
        super()._load_from_state_dict(state_dict, prefix, *rest)


def at_least_one_axis(stored):
    """A number of shape (), as older versions stored it, with the shape (1,) of today; any other tensor as it is."""
    return stored[None] if stored.dim() == 0 else stored


# ---------------------------------------------------------------- norms (Code 5)
class ScaleNorm(OneNumber):
    """x / rms(x) * gain with one gain for all channels: ``(..., D) -> (..., D)`` (Code 5)."""

    def __init__(self, dim: int):
        super().__init__()
        self.dim = dim
        self.gain = nn.Parameter(torch.ones(1))

    def reset_parameters(self):
        """The gain one."""
        nn.init.ones_(self.gain)

    def forward(self, x):
        return F.rms_norm(x, (self.dim,), self.gain.expand(self.dim), eps=EPS)


class LayerNorm(nn.Module):
    """(x - mean) / std * gain + offset, gain and offset for each channel: ``(..., D) -> (..., D)`` (Code 5)."""

    def __init__(self, dim: int):
        super().__init__()
        self.dim = dim
        self.gain = nn.Parameter(torch.ones(dim))
        self.offset = nn.Parameter(torch.zeros(dim))

    def reset_parameters(self):
        """Gains one, offsets zero."""
        nn.init.ones_(self.gain)
        nn.init.zeros_(self.offset)

    def forward(self, x):
        return F.layer_norm(x, (self.dim,), self.gain, self.offset, eps=EPS)


NORMS = {"scale": ScaleNorm, "layer": LayerNorm}


def make_norm(kind: str, dim: int) -> nn.Module:
    """The norm called ``"scale"`` or ``"layer"``."""
    check_options(norm=kind)
    return NORMS[kind](dim)


def reset_norms(*norms):
    """Start norms anew; one of a class of the user's keeps its start if it has no method for that."""
    for norm in norms:
        if hasattr(norm, "reset_parameters"):
            norm.reset_parameters()


# ---------------------------------------------------------------- positions (Codes 2 and 3)
def _tables(positions, dim: int, device, dtype):
    """cos and sin of the angle of each (position, frequency): ``(..., dim // 2)``, frequency 10000^(-k / (dim // 2)).

    Angles are made on the CPU where the device has no float64 (Apple's GPUs).
    """
    positions = positions.cpu() if device.type == "mps" else positions
    half = dim // 2
    frequency = 10000.0 ** (
        -torch.arange(half, dtype=torch.float64, device=positions.device) / half
    )
    angles = positions.to(torch.float64)[..., None] * frequency
    return tuple(table.to(dtype).to(device) for table in (angles.cos(), angles.sin()))


@lru_cache(maxsize=32)
def _cached_tables(length: int, dim: int, device: torch.device, dtype: torch.dtype):
    # A table made under inference_mode could not be saved for a later backward pass.
    with torch.inference_mode(False), torch.no_grad():
        return _tables(torch.arange(length, device=device), dim, device, dtype)


def cos_sin(length: int, dim: int, like: torch.Tensor):
    """cos and sin of the angles of positions 0..length-1 (Code 3): two ``(length, dim // 2)``.

    Computed in float64, then cast: in float32 the angle of position 8192 is off by 5e-4 already. Tables are kept,
    at lengths rounded up to a power of two, so that all layers and steps share one.
    """
    return tuple(table[:length] for table in _tables_for(length, dim, like))


def _tables_for(length, dim, like):
    if is_followed(
        like
    ):  # nothing is kept, and the length may be a symbol, whose bits nobody knows
        return cos_sin_at(torch.arange(length, device=like.device), dim, like)
    if torch.jit.is_tracing():  # it would keep the length, and be wrong at any other
        raise ValueError(
            "torch.jit.trace keeps one length and its positions: take torch.compile, or torch.export"
        )
    rounded = 1 << max(length - 1, 1).bit_length()
    return _cached_tables(rounded, dim, like.device, torch.promote_types(like.dtype, torch.float32))


def cos_sin_at(positions, dim: int, like: torch.Tensor, most: int | None = None):
    """The same for one position, an integer: two ``(dim // 2,)``; for ``positions (...)``: ``(..., dim // 2)``.

    ``most``: a number that no position is above, known without asking the device; then rows of the kept tables are
    taken.
    """
    if torch.compiler.is_compiling() and not isinstance(positions, torch.Tensor):
        positions = torch.full((), positions, device=like.device)  # a symbol, in one graph for all
    if most is None or torch.compiler.is_compiling():
        return _tables(positions, dim, like.device, torch.promote_types(like.dtype, torch.float32))
    return tuple(table[positions] for table in _tables_for(most + 1, dim, like))


def _rotated(x, cos, sin):
    x1, x2 = x.chunk(2, -1)
    out = torch.empty_like(x, dtype=torch.promote_types(x.dtype, cos.dtype))
    y1, y2 = out.chunk(2, -1)
    torch.mul(x1, cos, out=y1).addcmul_(x2, sin, value=-1)
    torch.mul(x2, cos, out=y2).addcmul_(x1, sin)
    return out


class _Rotate(torch.autograd.Function):
    """Rotation of the two halves of the last axis. Its gradient is the rotation back, so nothing of x is kept."""

    @staticmethod
    def forward(ctx, x, cos, sin):
        ctx.save_for_backward(cos, sin)
        return _rotated(x, cos, sin)

    @staticmethod
    def backward(ctx, grad):
        cos, sin = ctx.saved_tensors
        return _Rotate.apply(grad, cos, -sin), None, None


def rope(x, cos, sin):
    """RoPE: rotate the pairs (x_k, x_{k + S/2}) by their angle. ``x (..., n, S)``, tables ``(n, S // 2)`` (Code 3)."""
    if is_rewritten():  # a compiler fuses the plain form by itself, and cannot write into halves
        x1, x2 = x.chunk(2, -1)
        return torch.cat([x1 * cos - x2 * sin, x2 * cos + x1 * sin], -1)
    # token by token, what autograd asks of a function costs as much as the function
    if not torch.is_grad_enabled():
        return _rotated(x.contiguous(), cos, sin)
    return _Rotate.apply(x.contiguous(), cos, sin)


class ScaledSin(OneNumber):
    """Absolute positions: a sine table times one learnt number (Code 2). Returns what is added, ``(T, D)``."""

    def __init__(self, dim: int):
        super().__init__()
        self.dim = dim
        self.scale = nn.Parameter(torch.full((1,), dim**-0.5))

    def reset_parameters(self):
        """The paper's scale, 1 / sqrt(D)."""
        nn.init.constant_(self.scale, self.dim**-0.5)

    def forward(self, x):
        cos, sin = cos_sin(x.shape[1], self.dim, x)
        return (torch.cat([sin, cos], -1) * self.scale).to(x.dtype)

    def at(self, positions, like, most=None):
        """Rows of the table at ``positions (...)``: ``(..., D)``; arguments as in ``cos_sin_at``."""
        cos, sin = cos_sin_at(positions, self.dim, like, most)
        return (torch.cat([sin, cos], -1) * self.scale).to(like.dtype)


class LearntPositions(nn.Module):
    """A learnt row for each position, as the plain Transformer has: ``(T, D)``. It ends at ``max_length``."""

    def __init__(self, dim: int, max_length: int):
        super().__init__()
        self.max_length = max_length
        self.table = nn.Parameter(torch.empty(max_length, dim))

    def forward(self, x):
        return self._reaching(x.shape[1])[: x.shape[1]]

    def at(self, positions, like, most=None):
        """Rows of the table at ``positions (...)``: ``(..., D)``; arguments as in ``cos_sin_at``."""
        if most is None:
            most = 0 if is_followed(positions) else int(positions.max())
        return self._reaching(most + 1)[positions]

    def _reaching(self, n):
        if n > self.max_length:
            advice = "shorten it, or take architecture='transformer+', whose positions have no end"
            raise too_long(n, f"the {self.max_length} learnt positions: {advice}")
        return self.table


def too_long(n, reach):
    return ValueError(f"a sequence of length {n} is longer than {reach}")


def make_positions(kind: str, dim: int, max_length: int) -> nn.Module | None:
    """The positions called ``"scaled_sin"``, ``"learnt"`` or ``"none"``."""
    if kind == "none":
        return None
    return LearntPositions(dim, max_length) if kind == "learnt" else ScaledSin(dim)


# ---------------------------------------------------------------- the bias of the quadratic part (Code 4)
class ToeplitzBias(nn.Module):
    """bias[i, j] = weights[(j - i) + n - 1]: one weight for each distance, 2n - 1 in all (Code 4)."""

    def __init__(self, length: int):
        super().__init__()
        self.length = length
        self.weights = nn.Parameter(torch.empty(2 * length - 1))

    def forward(self, n: int):
        """The bias among n positions, ``(n, n)``; n smaller than ``length`` takes the weights of the same distances."""
        self._check_reach(n)
        rows = torch.arange(n, device=self.weights.device)
        return self.weights[rows[None, :] - rows[:, None] + self.length - 1]

    def row(self, i, n: int):
        """Row i of the bias among n positions, ``(n,)``; rows ``i (...)``: ``(..., n)``."""
        self._check_reach(n)
        if not isinstance(i, int):
            i = i[..., None]
        distance = torch.arange(n, device=self.weights.device) - i
        return self.weights[(distance + self.length - 1).clamp(0, 2 * self.length - 2)]

    def _check_reach(self, n):
        if n > self.length:
            advice = (
                "raise bias_length (max_length of a model), or take bias='rotary', which has no end"
            )
            raise too_long(
                n, f"bias_length={self.length}, the reach of the Toeplitz bias: {advice}"
            )


class RotaryBias(nn.Module):
    """bias[i, j] = rope(a, i) . rope(b, j): a function of j - i with 2S weights and no end (Code 4)."""

    def __init__(self, dim: int):
        super().__init__()
        self.dim = dim
        self.a = nn.Parameter(torch.empty(dim))
        self.b = nn.Parameter(torch.empty(dim))

    def _rotated(self, vector, cos, sin):
        return rope(vector.expand(*cos.shape[:-1], self.dim), cos, sin)

    def forward(self, n: int):
        """The bias among n positions, ``(n, n)``."""
        cos, sin = cos_sin(n, self.dim, self.a)
        return self._rotated(self.a, cos, sin) @ self._rotated(self.b, cos, sin).T

    def row(self, i, n: int):
        """Row i of the bias among n positions, ``(n,)``; rows ``i (...)``: ``(..., n)``."""
        a = self._rotated(self.a, *cos_sin_at(i, self.dim, self.a, n))
        return a @ self._rotated(self.b, *cos_sin(n, self.dim, self.b)).T


def make_bias(kind: str | None, length: int, dim: int) -> nn.Module | None:
    """The bias called ``"toeplitz"``, ``"rotary"``, ``None``, or ``"auto"``: the paper's rule by length (Code 4)."""
    check_options(bias=kind)
    if kind == "auto":
        kind = "toeplitz" if length < TOEPLITZ_BELOW else "rotary"
    if kind == "toeplitz":
        return ToeplitzBias(length)
    if kind == "rotary":
        return RotaryBias(dim)
    return None


# ---------------------------------------------------------------- heads that cost almost nothing
class ScaleOffset(nn.Module):
    """H heads from one shared base: ``z (B, T, S) -> (H, B, T, S)``, head h is ``z * gamma[h] + beta[h]`` (equation 4).

    The head axis stands first, so that each head is one contiguous block of memory.
    """

    def __init__(self, heads: int, dim: int):
        super().__init__()
        self.gamma = nn.Parameter(torch.empty(heads, dim))
        self.beta = nn.Parameter(torch.zeros(heads, dim))

    def forward(self, z):
        shape = (-1,) + (1,) * (z.dim() - 1) + (z.shape[-1],)
        return torch.addcmul(self.beta.view(shape), z, self.gamma.view(shape))


# ---------------------------------------------------------------- the gate
def gates_again(u):
    """Whether what was gated is computed again for the gradient of W_out, and not kept: on a card, where it is a tenth
    of what a unit keeps. A CPU would lose time, a compiler decides by itself."""
    return u.requires_grad and u.device.type != "cpu" and not is_rewritten()


# ---------------------------------------------------------------- the door: what no unit can take
class Reading(NamedTuple):
    """How the rows of a batch are read, looked at and in one form; each ``(B, T)``, or None where nothing was said."""

    mask: torch.Tensor | None  # bool
    segment_ids: torch.Tensor | None  # int64; padding has the id of the valid token before it
    position_ids: torch.Tensor | None = None  # int64; padding has 0
    order: torch.Tensor | None = None  # of padding="left": which token comes where, padding behind


def check_input(x, dim, mask=None, segment_ids=None, *, checked=False, of=None, **how):
    """Refuse features, mask and document ids that no unit can take, with one line that says what to do.

    ``mask (B, T)`` bool, or integers 0 and 1: valid tokens first, in each document where there are documents;
    ``segment_ids (B, T)`` integers that never fall along a row. What depends on their numbers is asked at once, so that
    a GPU is waited for once, and not without either; not under torch.compile. ``checked``: the model has validated it.
    ``of``: the module that reads x. More in ``check_reading``. Returns the ``Reading``.
    """
    if checked:
        return Reading(mask, segment_ids)
    if not isinstance(x, torch.Tensor):
        raise ValueError(f"x is a {type(x).__name__}: expected a torch tensor (B, T, {dim})")
    if x.dim() != 3 or x.shape[-1] != dim:
        raise ValueError(
            f"x has shape {tuple(x.shape)}: expected (B, T, {dim}), with the unit's dim={dim} last"
        )
    if x.shape[0] == 0 or x.shape[1] == 0:
        raise ValueError(
            f"x has shape {tuple(x.shape)}: the sequence is empty, expected B >= 1 and T >= 1"
        )
    if not x.is_floating_point():
        raise ValueError(
            f"x has dtype {x.dtype}: expected floating point features; embed token ids first"
        )
    if of is not None:
        refuse_other_type(x, of)
    return check_reading(mask, segment_ids, x.shape[:2], **how)


def refuse_other_type(x, module):
    """Refuse features of a type that none of the module's weights has, and that nothing casts."""
    if is_followed(x):
        return
    first = next(module.parameters(), x).dtype
    if first == x.dtype or is_cast(x):
        return
    if any(p.dtype == x.dtype for p in module.parameters()):
        return
    name = type(module).__name__
    to = f"give x.to({first}), or turn the model to that type by model.to({x.dtype})"
    raise ValueError(f"x has dtype {x.dtype}, and the weights of {name} have {first}: {to}")


def check_reading(
    mask, segment_ids, shape, *, position_ids=None, every_row=False, padding="right"
) -> Reading:
    """The part of ``check_input`` that is about mask, documents and positions.

    ``every_row``: each row needs a valid token. ``padding="left"``: valid tokens come last, and all of the reading is
    brought into the order that has them first.
    """
    if padding not in ("right", "left"):
        raise ValueError(f"padding={padding!r}: expected 'right' or 'left'")
    segment_ids = as_ids("segment_ids", segment_ids, shape, "one document id for each token")
    position_ids = as_ids("position_ids", position_ids, shape, "one position for each token")
    wrong = {}  # what is said -> where it is so
    order = None
    if mask is not None:
        mask = as_mask(mask, shape, wrong)
        if padding == "left":
            order = left_order(mask)
            mask, segment_ids, position_ids = (
                reordered(t, order) for t in (mask, segment_ids, position_ids)
            )
    if segment_ids is not None:
        given = segment_ids
        segment_ids = _highest_so_far(given, mask)
        falls = given < segment_ids
        said = "segment_ids fall along a row: expected sorted ids (0, 0, 1, 1, ...); number documents in order"
        wrong[said] = falls if mask is None else falls & mask
    if mask is not None:
        wrong[_not_first(padding, segment_ids)] = _after_padding(mask, segment_ids)
        if every_row:
            said = "mask has a row without a valid token: every row of a prompt needs at least one"
            wrong[said] = ~mask[:, :1]
    if position_ids is not None:
        if mask is not None:
            position_ids = position_ids.masked_fill(~mask, 0)
        wrong |= _wrong_positions(position_ids, mask, segment_ids)
    _refuse(wrong)
    return Reading(mask, segment_ids, position_ids, order)


def _refuse(wrong):
    """Raise the first of what is wrong anywhere; all is asked at once."""
    if not wrong or is_followed(next(iter(wrong.values()))):
        return
    if bool(torch.stack([w.any() for w in wrong.values()]).any()):
        raise ValueError(next(said for said, w in wrong.items() if w.any()))


def as_ids(name, ids, shape, what):
    """Integers ``(B, T)`` as int64, for torch compares no uint16."""
    if ids is None:
        return None
    if not is_integers(ids) or ids.shape != shape:
        raise ValueError(f"{name} is {described(ids)}: expected {tuple(shape)} integers, {what}")
    return ids.long()


def as_mask(mask, shape, wrong=None):
    """A mask ``(B, T)`` of bools, from bools or from integers 0 and 1, as tokenizers give them.

    Whether other integers are in it goes into ``wrong``, or is asked at once. Floats are refused: elsewhere a mask of
    floats is added to the scores, where 0 means valid.
    """
    is_kind = is_integers(mask) or (isinstance(mask, torch.Tensor) and mask.dtype == torch.bool)
    if not is_kind:
        kinds = "a tensor of bools, or of integers 1 for valid tokens and 0 for padding"
        floats = "of floats with 1 for valid tokens take mask > 0.5, of floats added to scores (0 and -inf) mask == 0"
        raise ValueError(f"mask is {described(mask)}: expected {kinds}; {floats}")
    if mask.shape != shape:
        raise ValueError(f"mask is {described(mask)}: expected the shape {tuple(shape)}")
    if mask.dtype == torch.bool:
        return mask
    others = mask.long() >> 1 != 0
    said = (
        "mask holds other integers than 0 and 1: expected 1 for valid tokens and 0 for padding; targets go by name, as "
        "model(ids, targets=targets)"
    )
    if wrong is not None:
        wrong[said] = others
    elif not is_followed(mask) and bool(others.any()):
        raise ValueError(said)
    return mask.bool()


def _highest_so_far(segment_ids, mask):
    """Of valid tokens: so padding belongs to the document before it, and ids are sorted whatever stood there."""
    if mask is not None:
        segment_ids = segment_ids.masked_fill(~mask, torch.iinfo(torch.int64).min)
    return segment_ids.cummax(1).values


def _after_padding(mask, segment_ids):
    """Where a valid token comes after padding of its own row, or of its own document where there are documents."""
    after = mask[:, 1:] & ~mask[:, :-1]
    if segment_ids is None:
        return after
    same = segment_ids[:, 1:] == segment_ids[:, :-1]
    return after & (same | ~mask[:, :1])


def _not_first(padding, segment_ids):
    """What is said of such a mask."""
    if padding == "left":
        return "mask has padding after a valid token: with padding='left' valid tokens come last in each row"
    where = "row" if segment_ids is None else "document"
    why = "padding on the left would move the chunk borders; pad on the right, or say padding='left' to a model"
    return f"mask has a valid token after a masked one: valid tokens come first in each {where}, since {why}"


def _wrong_positions(position_ids, mask, segment_ids):
    """What may be wrong with positions. A unit knows distances only, so within a document they have to rise by one."""
    goes_on = torch.ones_like(position_ids[:, 1:], dtype=torch.bool)
    if mask is not None:
        goes_on = mask[:, 1:]
    if segment_ids is not None:
        goes_on = goes_on & (segment_ids[:, 1:] == segment_ids[:, :-1])
    advice = "give segment_ids, which change where positions start anew"
    jumps = f"position_ids do not rise by one from token to token of a document: {advice}"
    return {
        "position_ids hold a negative number: expected 0, 1, 2, ... in each document": position_ids
        < 0,
        jumps: goes_on & (position_ids[:, 1:] != position_ids[:, :-1] + 1),
    }


# ---------------------------------------------------------------- padding on the left
def left_order(mask):
    """``(B, T)``: which token comes where so that padding on the left goes behind; the rows are turned around."""
    places = torch.arange(mask.shape[1], device=mask.device)
    return (places + (~mask).sum(1, keepdim=True)) % mask.shape[1]


def reordered(t, order):
    """A tensor ``(B, T, ...)``, or None, in another order of its tokens."""
    if t is None or order is None:
        return t
    return torch.take_along_dim(t, order.view(*order.shape, *(1,) * (t.dim() - 2)), 1)


def restored(t, order):
    """What was ``reordered``, in the order of before."""
    return t if order is None else reordered(t, order.argsort(1))


# ---------------------------------------------------------------- to NumPy
def arrays_of(norms=None, linears=None, **parameters):
    """Float64 arrays of parts, by name: ``NAME_gain`` (and ``NAME_offset``) of norms, ``NAME_weight`` (in, out) and
    ``NAME_bias`` of linears, and parameters as they are."""
    for name, norm in (norms or {}).items():
        for key, p in norm.named_parameters():
            parameters[f"{name}_{key}"] = p[0] if isinstance(norm, ScaleNorm) else p
    for name, linear in (linears or {}).items():
        parameters |= {f"{name}_weight": linear.weight.T, f"{name}_bias": linear.bias}
    return {name: p.detach().to("cpu", torch.float64).numpy() for name, p in parameters.items()}
