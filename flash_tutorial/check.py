"""What every unit must do, as numbers: it reads nothing later, cares for no padding and no other row, and can decode.

Each function measures one property of ``unit(x, mask=None, segment_ids=None)`` at one place. A name in ``_leak`` gives
the largest absolute change or gradient that should be exactly zero; a name in ``_error`` a relative error
``||y - y_ref|| / ||y_ref - x||`` over the branch ``y - x``, the largest over the rows. ``check_unit`` runs all of them
but ``document_leak``, since a unit need not take documents. Order-one parameters are part of the method: at the paper's
start a unit is almost the identity, and hides its faults. Letters: B batch, T length, D model width, C chunk length.
"""

import copy
from dataclasses import dataclass

import torch
from torch import nn

from . import states
from .errors import MASK_BY_NAME, check_call
from .layers import LayerNorm, RotaryBias, ScaleNorm

EXACT = 0.0
ROUNDING = 1e-12  # float64: the same sums in another order
DECODING = 1e-10  # float64: sums in another order, and a running state
LOUD = 30.0  # what is put in for the rest is this much larger, so that a leak through rounding shows (without a norm)
BRANCH_STD = (0.1, 10.0)

# ---------------------------------------------------------------- parameters of order one

_KERNELS = (nn.Linear, nn.modules.conv._ConvNd)
_NORMS = (
    ScaleNorm,
    LayerNorm,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.RMSNorm,
)


def draw_order_one(module, generator):
    """Draw all parameters anew, in place, so that every part of the unit shows in its output. Returns the module.

    Kernels (the weight of a Linear or a convolution) N(0, 1/fan_in); gains of norms 1 + N(0, 0.5²); the vectors of
    a rotary bias so that the bias is N(0, 1); all others, such as gamma, beta, biases and offsets, N(0, 1).
    """
    with torch.no_grad():
        for part in module.modules():
            for name, p in part.named_parameters(recurse=False):
                noise = torch.randn(p.shape, generator=generator, dtype=torch.float64)
                if isinstance(part, _KERNELS) and name == "weight":
                    noise = noise * (p.shape[0] / p.numel()) ** 0.5
                elif isinstance(part, _NORMS) and name in ("gain", "weight"):
                    noise = 1 + noise / 2
                elif isinstance(part, RotaryBias):
                    noise = noise * part.dim**-0.25  # bias = a . b, a sum of S products
                p.copy_(noise)
    return module


@torch.no_grad()
def settle_branch(unit, x):
    """Scale each Linear that writes D channels to an output of standard deviation one on ``x (B, T, D)``, in place.

    Sums over many tokens of products of order one are large; the branch should be near the size of x. Returns the unit.
    """
    for writer in [
        m for m in unit.modules() if isinstance(m, nn.Linear) and m.out_features == x.shape[-1]
    ]:
        stds = []
        hook = writer.register_forward_hook(
            lambda module, args, y, stds=stds: stds.append(float(y.std()))
        )
        unit(x)
        hook.remove()
        if stds and 0 < stds[-1] < float("inf"):
            for p in writer.parameters():
                p.div_(stds[-1])
    return unit


def branch_std(unit, x):
    """Standard deviation of what the unit adds to ``x (B, T, D)``."""
    with torch.no_grad():
        return float((unit(x) - x).std())


# ---------------------------------------------------------------- the two kinds of number
def branch_error(y, y_ref, x, valid=None):
    """Largest over the rows: ``||y - y_ref|| / ||y_ref - x||``, at the ``valid (B, T)`` positions if given."""
    difference, branch = (t.detach().double() for t in (y - y_ref, y_ref - x))
    if valid is not None:
        difference, branch = (t * valid[..., None] for t in (difference, branch))
    return float((difference.flatten(1).norm(dim=1) / branch.flatten(1).norm(dim=1)).max())


def largest(t):
    """Largest absolute number; not a number counts as infinitely large, nothing at all as zero."""
    t = t.detach().double().abs().nan_to_num(nan=float("inf"), posinf=float("inf"))
    return float(t.max()) if t.numel() else 0.0


def _noise_like(x):
    # a seed of its own: it must not be the caller's noise again
    generator = torch.Generator().manual_seed(2202_10447)
    return torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x)


def _first(x, lengths):
    """``(B, T)`` bool: the first ``lengths``, a number or one for each row, of the tokens of ``x``."""
    return (
        torch.arange(x.shape[1], device=x.device)
        < torch.as_tensor(lengths, device=x.device).expand(len(x))[:, None]
    )


@torch.no_grad()
def _change(unit, x, kept, **kw):
    """Change of the outputs at ``kept (B, T)`` when all other inputs become other and ``LOUD`` times larger."""
    changed = torch.where(kept[..., None], x, LOUD * _noise_like(x))
    return largest((unit(changed, **kw) - unit(x, **kw))[kept])


# ---------------------------------------------------------------- no output reads a later input
def value_leak(unit, x, cut, **kw):
    """Change of the outputs before ``cut`` when the inputs from ``cut`` on become other."""
    return _change(unit, x, _first(x, cut), **kw)


def gradient_leak(unit, x, cut, **kw):
    """Largest gradient of the outputs before ``cut`` with respect to the inputs from ``cut`` on."""
    x = x.detach().requires_grad_()
    y = unit(x, **kw)[:, :cut]
    (gradient,) = torch.autograd.grad((y * _noise_like(y)).sum(), x)
    return largest(gradient[:, cut:])


@torch.no_grad()
def prefix_error(unit, x, cut):
    """The unit on the first ``cut`` tokens alone, against those outputs of the whole."""
    return branch_error(unit(x[:, :cut]), unit(x)[:, :cut], x[:, :cut])


# ---------------------------------------------------------------- padding, rows, documents
def padding_leak(unit, x, lengths, **kw):
    """Change of the valid outputs when the content of the padding, behind ``lengths (B,)``, becomes other."""
    return _change(unit, x, _first(x, lengths), mask=_first(x, lengths), **kw)


@torch.no_grad()
def padding_error(unit, x, length):
    """The first ``length`` tokens with padding behind them, against the same tokens alone."""
    return branch_error(
        unit(x, mask=_first(x, length))[:, :length], unit(x[:, :length]), x[:, :length]
    )


def row_leak(unit, x, **kw):
    """Change of the first row's output when all other rows become other."""
    return _change(unit, x, _first(x, [x.shape[1]] + [0] * (len(x) - 1)), **kw)


@torch.no_grad()
def row_error(unit, x, lengths):
    """Rows of different ``lengths (B,)`` in one padded batch, against each row alone without padding."""
    y = unit(x, mask=_first(x, lengths))
    alone = [x[b : b + 1, :n] for b, n in enumerate(lengths.tolist())]
    return max(branch_error(y[b : b + 1, : a.shape[1]], unit(a), a) for b, a in enumerate(alone))


def document_leak(unit, x, segment_ids, document, **kw):
    """Change of one document's outputs when the content of all other documents becomes other."""
    return _change(unit, x, segment_ids == document, segment_ids=segment_ids, **kw)


# ---------------------------------------------------------------- token by token
@torch.no_grad()
def step_error(unit, x, prompts):
    """Prompts of ``prompts (B,)`` tokens read at once, the rest of ``x`` token by token, against all at once.

    A row with a longer prompt comes to its end first, and then reads up to ``max(prompts) - min(prompts)`` tokens more.
    """
    T = x.shape[1]
    longest = int(prompts.max())
    mask = None
    if bool((prompts < longest).any()):
        mask = _first(x, prompts)[:, :longest]
    y, state = states.prefill(unit, x[:, :longest], mask)
    outputs = [[y[b, t] for t in range(n)] for b, n in enumerate(prompts.tolist())]
    # a row that has come to its end reads its last token again
    for t in range(T - int(prompts.min())):
        places = (prompts + t).clamp(max=T - 1)
        y, state = states.step(unit, x[torch.arange(len(x), device=x.device), places], state)
        for b, row in enumerate(outputs):
            if len(row) < T:
                row.append(y[b])
    return branch_error(torch.stack([torch.stack(row) for row in outputs]), unit(x), x)


# ---------------------------------------------------------------- the check of a unit of your own
@dataclass
class Report:
    """What ``check_unit`` measured: rows of (property, largest value, limit, note). It prints as a table."""

    unit: str
    rows: list

    def __str__(self):
        left = [name for name, value, *_ in self.rows if value is None]
        held = "all properties hold"
        if left:
            held = f"NOT tested are {', '.join(left)}; the others hold"
        lines = [f"{self.unit}: {held}", f"{'property':<18} {'measured':>9}  {'limit':>7}  note"]
        for name, value, limit, note in self.rows:
            numbers = f"{'-':>9}  {'-':>7}"
            if value is not None:
                numbers = f"{value:>9.1e}  {limit:>7.0e}"
            lines.append(f"{name:<18} {numbers}  {note}".rstrip())
        return "\n".join(lines)

    __repr__ = __str__


def check_unit(unit, *, dim=None, seed=0):
    """Leak, prefix, padding, batch and step tests of a unit, a student's own or one of the package.

    It works on a copy in float64, in ``eval`` mode, whose parameters are drawn anew, of order one (``draw_order_one``,
    then ``settle_branch``). ``unit`` is called as ``unit(x, mask=mask)`` on ``x (B, T, D)``; ``dim`` is D, taken from
    ``unit.dim`` or the first Linear. Without a true ``unit.causal`` the leak, prefix and step tests are left out.

    Returns a ``Report``. Raises ValueError with the property that fails, its place and its size.
    """
    if not isinstance(unit, nn.Module):
        raise ValueError(
            f"the unit is {unit!r:.80}: expected an object of an nn.Module, as MyUnit(16)"
        )
    said = f"{type(unit).__name__} cannot be called as unit(x, mask=None)"
    check_call(unit.forward, said, MASK_BY_NAME, None, mask=None)
    dim = _width(unit) if dim is None else dim
    generator = torch.Generator().manual_seed(seed)
    device = next((p.device for p in unit.parameters()), torch.device("cpu"))
    copied = draw_order_one(copy.deepcopy(unit).double().eval(), generator)
    C, T = _sizes(copied)
    x = torch.randn(3, T, dim, generator=generator, dtype=torch.float64).to(device)
    name, causal = type(unit).__name__, getattr(unit, "causal", False)
    rows = [_branch_row(name, copied, x)]
    if not causal:
        reason = "reads both sides" if hasattr(unit, "causal") else "has no attribute causal"
        rows += [
            (left, None, None, f"left out: the unit {reason}")
            for left in ("leak", "prefix", "step")
        ]
    for said, limit, advice, measured in _properties(copied, x, C, causal):
        worst = 0.0
        for (
            place,
            value,
        ) in measured:  # each is measured only now: the first above the limit is the last
            if not value <= limit:
                found = f"{name} fails {said} at {place}: {value:.2e}"
                raise ValueError(f"{found}, expected at most {limit:g}; {advice}")
            worst = max(worst, value)
        rows.append((said, worst, limit, ""))
    return Report(name, rows)


def _branch_row(name, unit, x):
    """The first row of a report; the branch is settled, if it can be."""
    given = x.clone()
    y = unit(given, mask=None)
    if not torch.equal(given, x):
        raise ValueError(
            f"{name} fails input: it changes x in place; write x = x + branch, and not x += branch"
        )
    if not isinstance(y, torch.Tensor) or y.shape != x.shape:
        found = f"it maps {tuple(x.shape)} to {tuple(getattr(y, 'shape', ()))}"
        raise ValueError(
            f"{name} fails shape: {found}, expected the same shape; return x plus the branch"
        )
    settle_branch(unit, x)
    std = branch_std(unit, x)
    low, high = BRANCH_STD
    if not low <= std <= high:
        found = f"y - x has a standard deviation of {std:.2e}, expected {low} to {high} with order-one parameters"
        raise ValueError(
            f"{name} fails branch size: {found}; make kernels nn.Linear and divide sums by their length"
        )
    return "branch std", std, high, f"at least {low}; x {tuple(x.shape)}, float64"


def _properties(unit, x, C, causal):
    """(property, limit, advice, (place, value) ...) of each, the values measured as they are asked for."""
    B, T, _ = x.shape
    # in the middle of chunks and around their borders
    places = {
        1,
        2,
        C - 1,
        C,
        C + 1,
        2 * C,
        2 * C + 1,
        3 * C,
        T - 1,
    }
    cuts = sorted(t for t in places if 0 < t < T)

    def at_each(measure, what="length"):
        return ((f"{what} {t}", measure(unit, x, t)) for t in cuts)

    if causal:
        advice = "outputs before it change with later inputs; look at the mask, and at sums that hold their own chunk"
        yield "leak of values", EXACT, advice, at_each(value_leak, "position")
        yield "leak of gradients", EXACT, advice, at_each(gradient_leak, "position")
        advice = "earlier outputs depend on the length; divide by a fixed length, not by T"
        yield "prefix", ROUNDING, advice, at_each(prefix_error)
    advice = "what stands in the padding reaches valid outputs; set it to zero after the activation"
    yield "padding content", EXACT, advice, at_each(padding_leak)
    advice = (
        "padding counts as tokens; divide by the valid tokens, and let no query read a masked key"
    )
    yield "padding", ROUNDING, advice, at_each(padding_error)
    advice = "the rows of a batch are mixed; sum over tokens, never over the first axis"
    yield "batch rows", EXACT, advice, [("row 0", row_leak(unit, x))]
    ragged = torch.tensor([T - 1, max(1, T // 2), 1], device=x.device)
    yield (
        "ragged rows",
        ROUNDING,
        advice,
        [(f"lengths {ragged.tolist()}", row_error(unit, x, ragged))],
    )
    if causal:
        runs = [(torch.full((B,), t), min(T, t + C + 2)) for t in cuts]  # each goes over a border
        runs.append((torch.tensor([1, max(1, T // 4), max(1, T // 2)]), T - max(1, T // 2) + 1))
        advice = "token by token is not the parallel form; look at what prefill keeps and when a chunk is folded"
        errors = (
            (f"prompts {p.tolist()}", step_error(unit, x[:, :n], p.to(x.device))) for p, n in runs
        )
        yield "step", DECODING, advice, errors


def _width(unit):
    if isinstance(getattr(unit, "dim", None), int):
        return unit.dim
    for part in unit.modules():
        if isinstance(part, nn.Linear):
            return part.in_features
    raise ValueError(
        f"{type(unit).__name__} has neither an integer dim nor a Linear: hand its width in, dim=..."
    )


def _sizes(unit):
    """Chunk length, and a length of at least three full chunks with a tail."""
    C = getattr(unit, "chunk_size", 4)
    T = max(3, -(-12 // C)) * C + C // 2
    reach = getattr(getattr(unit, "bias", None), "length", None)  # of a GAU's Toeplitz bias
    if reach is not None and not hasattr(unit, "chunk_size"):
        T = min(T, reach)
    return C, T
