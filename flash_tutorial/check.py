"""What every unit must do, as numbers: it reads nothing later, cares for no padding and no other row, and can decode.

Each function measures one property of ``unit(x, mask=None, segment_ids=None)`` at one place. A name in ``_leak`` gives
the largest absolute change or gradient that should be exactly zero; a name in ``_error`` a relative error
``||y - y_ref|| / ||y_ref - x||`` over the branch ``y - x``, the largest over the rows. ``check_unit`` runs all of them
but ``document_leak``, since a unit need not take documents. Order-one parameters are part of the method: at the paper's
start a unit is almost the identity, and hides its faults. Letters: B batch, T length, D model width, C chunk length.
"""

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from . import states
from .errors import MASK_BY_NAME, check_call
from .layers import LayerNorm, RotaryBias, ScaleNorm
from .names import ours
from .probing import NO_DRAW, SECONDS, Sweep, Trial
from .settings import check_counts
from .stack import Stack

EXACT = 0.0
ROUNDING = 1e-12  # float64: the same sums in another order
DECODING = 1e-10  # float64: sums in another order, and a running state
LOUD = 30.0  # what is put in for the rest is this much larger, so that a leak through rounding shows (without a norm)
BRANCH_STD = (0.1, 10.0)

LEAKING = "outputs before it change with later inputs; look at the mask, and at sums that hold their own chunk"

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


@torch.no_grad()
def one_document_error(unit, x, segment_ids):
    """A row that is one document, against the row without ``segment_ids``."""
    return branch_error(unit(x, segment_ids=segment_ids), unit(x), x)


# ---------------------------------------------------------------- many cuts at once
@torch.no_grad()
def value_leaks(unit, x, cuts):
    """``value_leak`` of the first row of ``x`` at each of ``cuts``: a list, from one batch of a row for each."""
    rows = x[:1].expand(len(cuts), -1, -1).contiguous()
    kept = _first(rows, cuts)
    changed = torch.where(kept[..., None], rows, LOUD * _noise_like(rows))
    return _largest_each((unit(changed) - unit(rows)) * kept[..., None])


def gradient_leaks(unit, x, cuts):
    """``gradient_leak`` of the first row of ``x`` at each of ``cuts``: a list."""
    rows = x[:1].detach().expand(len(cuts), -1, -1).contiguous().requires_grad_()
    kept = _first(rows, cuts)[..., None]
    y = unit(rows)
    (gradient,) = torch.autograd.grad((y * _noise_like(y) * kept).sum(), rows)
    return _largest_each(gradient * ~kept)


def _largest_each(t):
    """``largest`` of each row."""
    return [largest(row) for row in t]


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


@ours
def check_unit(
    unit: nn.Module,
    *,
    dim: int | None = None,
    seed: int = 0,
    lengths: int | Iterable[int] | None = None,
    documents: bool = False,
) -> Report:
    """Leak, prefix, padding, batch and step tests of a unit, a student's own or one of the package.

    It works on a copy in float64, in ``eval`` mode, and for leaks of values in ``train`` mode as well; its parameters
    are drawn anew, of order one (``draw_order_one``, then ``settle_branch``). ``unit`` is called as ``unit(x,
    mask=mask)`` on ``x (B, T, D)``; ``dim`` is D, taken from ``unit.dim`` or the first Linear. Without a true
    ``unit.causal`` the leak, prefix and step tests are left out.

    T is that of three chunks and a half, ``unit.chunk_size`` or 4 long. From there on longer rows are probed, cut at
    more and more places, until they are three times as long as the last output reads back, or for a second or two; the
    table says up to which T. ``lengths`` names the T, one or several, in place of all these. ``documents=True`` also
    tests that ``segment_ids`` keep documents apart.

    Returns a ``Report``. Raises ValueError with the property that fails, its place and its size; a unit that is random
    in ``eval`` mode is said to be so.

    >>> import torch
    >>> from flash_tutorial import FLASH, check_unit
    >>> report = check_unit(FLASH(8, qk_dim=4, chunk_size=4, causal=True), lengths=20, documents=True)
    >>> print(str(report).splitlines()[0])
    FLASH: all properties hold
    """
    _refuse_no_unit(unit, documents)
    trial, T = _trial_of(unit, dim, seed, documents)
    asked = [T] if lengths is None else _asked(lengths)
    x = trial.draw(asked[0])
    rows = [_branch_row(trial.name, trial.unit, x)]
    for T in asked:
        if T != asked[0]:
            x = trial.draw(T)
        for case in trial.cases(x):
            trial.measure(case)
        if lengths is not None:
            trial.sweep_all(x, 10 * SECONDS)
    note = trial.probe(asked[0]) if lengths is None else ""
    return Report(trial.name, rows + _left_out(unit) + trial.rows(note))


def _refuse_no_unit(unit, documents):
    """Refuse what is no module, a whole model, or what cannot be called as a unit."""
    if not isinstance(unit, nn.Module):
        raise ValueError(
            f"the unit is {unit!r:.80}: expected an object of an nn.Module, as MyUnit(16)"
        )
    if isinstance(getattr(unit, "stack", None), Stack):
        raise ValueError(
            f"{type(unit).__name__} is a whole model: give one of its units, as model.stack.units[0]"
        )
    said = f"{type(unit).__name__} cannot be called as unit(x, mask=None)"
    check_call(unit.forward, said, MASK_BY_NAME, None, mask=None)
    said = f"{type(unit).__name__} cannot be called as unit(x)"
    check_call(
        unit.forward, said, "without padding there is no mask: give it the default None", None
    )
    if documents:
        said = f"{type(unit).__name__} cannot be called as unit(x, mask=None, segment_ids=None)"
        check_call(unit.forward, said, "documents=True", None, mask=None, segment_ids=None)


def _trial_of(unit, dim, seed, documents):
    """The trial of a copy in float64 whose parameters are of order one, and its first T."""
    dim = _width(unit) if dim is None else dim
    generator = torch.Generator().manual_seed(seed)
    copied = draw_order_one(copy.deepcopy(unit).double().eval(), generator)
    C, T = _sizes(copied)
    causal = bool(getattr(unit, "causal", False))
    properties = partial(properties_of, C=C, causal=causal, documents=documents)
    trial = Trial(type(unit).__name__, copied, C, dim, generator, properties)
    if causal:
        trial.leaks = (
            Sweep("leak of values", EXACT, LEAKING, value_leaks),
            Sweep("leak of gradients", EXACT, LEAKING, gradient_leaks),
        )
    return trial, T


def _left_out(unit):
    """The rows of what is not asked of a unit that reads both sides."""
    if getattr(unit, "causal", False):
        return []
    reason = "reads both sides" if hasattr(unit, "causal") else "has no attribute causal"
    said = f"left out: the unit {reason}"
    return [(left, None, None, said) for left in ("leak", "prefix", "step")]


def _asked(lengths):
    """The T that ``check_unit`` is asked for, from the shortest on."""
    given = [lengths] if isinstance(lengths, int) else list(lengths)
    if not given:
        raise ValueError("lengths is empty: expected one T or several, or None")
    for length in given:
        check_counts(least=2, lengths=length)
    return sorted(set(given))


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
    off = largest(unit(x, mask=None) - y)
    if off > 1e-9 * largest(y):  # on a card sums may come out in another order
        raise ValueError(
            f"{name} fails eval mode: it is random, two calls with one x differ by {off:.2e}; {NO_DRAW}"
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


def properties_of(unit, x, cuts, *, C, causal, documents):
    """(property, limit, advice, (place, function that measures) ...) of each."""
    B, T, _ = x.shape

    def at_each(measure, what="length"):
        return [(f"{what} {t}", partial(measure, unit, x, t)) for t in cuts]

    if causal:
        training = in_training(unit)
        leaks = at_each(value_leak, "position")
        leaks += [
            (f"position {t}, in train mode", partial(value_leak, training, x, t)) for t in cuts
        ]
        yield "leak of values", EXACT, LEAKING, leaks
        yield "leak of gradients", EXACT, LEAKING, at_each(gradient_leak, "position")
        advice = "earlier outputs depend on the length; divide by a fixed length, not by T"
        yield "prefix", ROUNDING, advice, at_each(prefix_error)
    advice = "what stands in the padding reaches valid outputs; set it to zero after the activation"
    yield "padding content", EXACT, advice, at_each(padding_leak)
    advice = (
        "padding counts as tokens; divide by the valid tokens, and let no query read a masked key"
    )
    yield "padding", ROUNDING, advice, at_each(padding_error)
    advice = "the rows of a batch are mixed; sum over tokens, never over the first axis"
    yield "batch rows", EXACT, advice, [("row 0", partial(row_leak, unit, x))]
    ragged = torch.tensor([T - 1, max(1, T // 2), 1], device=x.device)
    place = f"lengths {ragged.tolist()}"
    yield "ragged rows", ROUNDING, advice, [(place, partial(row_error, unit, x, ragged))]
    if documents:
        yield from document_properties(unit, x, cuts)
    if causal:
        runs = [(torch.full((B,), t), min(T, t + C + 2)) for t in cuts]  # each goes over a border
        runs.append((torch.tensor([1, max(1, T // 4), max(1, T // 2)]), T - max(1, T // 2) + 1))
        advice = "token by token is not the parallel form; look at what prefill keeps and when a chunk is folded"
        errors = [
            (f"prompts {p.tolist()}", partial(step_error, unit, x[:, :n], p.to(x.device)))
            for p, n in runs
        ]
        yield "step", DECODING, advice, errors


def in_training(unit):
    """A copy as it computes in training, with the same random numbers at each call: a norm over the batch, or over the
    row, may read ahead there alone."""
    twin = copy.deepcopy(unit).train()

    def call(x, **how):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return twin(x, **how)

    return call


def document_properties(unit, x, cuts):
    """Those that ``segment_ids`` are for: no document reads another, with padding behind them too."""
    T = x.shape[1]
    place = torch.arange(T, device=x.device)
    advice = (
        "a document reads another one; compare the segment_ids of query and key, in the sums too"
    )
    borders = [(t,) for t in cuts] + [(T // 3, T // 2, max(1, T - 2))]
    cases = []
    for border in borders:
        ids = sum((place >= t).long() for t in border).expand(len(x), -1)
        for document in ids[0].unique().tolist():
            said = f"document {document} of those that begin at {', '.join(map(str, (0, *border)))}"
            cases.append((said, partial(document_leak, unit, x, ids, document)))
        padded = partial(document_leak, unit, x, ids, 0, mask=_first(x, T - 1))
        cases.append((f"document 0 of the same, padded from {T - 1}", padded))
    yield "documents", EXACT, advice, cases
    one = torch.full(x.shape[:2], 5, device=x.device)
    advice = (
        "segment_ids that are all the same change the output; only which of them are equal counts"
    )
    yield (
        "one document",
        ROUNDING,
        advice,
        [(f"length {T}", partial(one_document_error, unit, x, one))],
    )


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
