"""Every unit with every option: the numbers of the NumPy reference, and what holds whatever the numbers are."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from refusals import assert_one_line
from unit_cases import (
    BUILDERS,
    CURRENT,
    READINGS,
    B,
    C,
    D,
    S,
    T,
    causal_units,
    documents,
    every_unit,
    features,
    how_to_read,
    in_dtypes,
    make,
    on_devices,
    run_reference,
    steady_units,
    unit_and_x,
)

from flash_tutorial import FLASH, GAU, MCTransformerBlock, TransformerBlock, gau
from flash_tutorial.check import (
    branch_error,
    branch_std,
    document_leak,
    draw_order_one,
    gradient_leak,
    padding_leak,
    prefix_error,
    row_error,
    row_leak,
    settle_branch,
    value_leak,
)

pytestmark = pytest.mark.quick

# three chunks and a tail in every reading; chunks that are full, shorter than a chunk, one token
CASES = [*((T, which) for which in READINGS), (3 * C, "both"), (C - 1, "both"), (1, "all")]
CUTS = list(range(1, T))
ROUNDING = 1e-12


def for_each(places, **rows):
    """All rows once for each place, so that a property is measured at all of them in one batch."""
    return {name: t.repeat(len(places), *[1] * (t.dim() - 1)) for name, t in rows.items()}


# ---------------------------------------------------------------- numbers


@every_unit
def test_float64_is_the_reference(name, causal):
    unit = make(name, causal)
    for length, which in CASES:
        x, how = features(length), how_to_read(which, length)
        expected = run_reference(unit, x, **how)
        assert branch_error(unit(x, **how), expected, x, how.get("mask")) <= 1e-10, (length, which)


@on_devices
@every_unit
def test_float32_is_float64(name, causal, device):
    unit, x = unit_and_x(name, causal, torch.float32, device)
    exact = make(name, causal)
    for which in READINGS:
        y = unit(x, **how_to_read(which, device=device)).cpu().double()
        how = how_to_read(which)
        x64 = x.cpu().double()
        assert branch_error(y, exact(x64, **how), x64, how.get("mask")) <= 1e-5, which


@on_devices
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@every_unit
def test_autocast_stays_finite_and_near(name, causal, dtype, device):
    """Two per cent of the branch for bfloat16's eight bits; forward, backward, masks and documents."""
    unit, x = unit_and_x(name, causal, torch.float32, device)
    for which in ("all", "both"):
        how = how_to_read(which, device=device)
        exact = unit(x, **how)
        with torch.autocast(device, dtype):
            y = unit(x, **how)
            loss = y.float().square().mean()
        # global only has no bias
        gradients = torch.autograd.grad(loss, list(unit.parameters()), allow_unused=True)
        assert all(g.isfinite().all() for g in gradients if g is not None)
        assert (y - exact).norm() <= 0.02 * (exact - x).norm()


@causal_units
def test_every_tensor_is_made_on_the_device_of_the_features(name):
    """On ``meta`` one that is made elsewhere is an error, as it would be on a card."""
    unit, x = make(name, True).to("meta"), features(device="meta").requires_grad_()
    for which in ("all", "both"):
        unit(x, **how_to_read(which, device="meta")).sum().backward()
    assert x.grad.device.type == "meta"


@every_unit
def test_the_branch_is_of_order_one(name, causal):
    """Otherwise the comparisons above would see little of it."""
    assert 0.1 <= branch_std(*unit_and_x(name, causal)) <= 10


@pytest.mark.parametrize("name", ["flash", "flash, sum"])
@pytest.mark.parametrize("causal", [True, False])
def test_both_parts_of_flash_carry_weight(causal, name):
    """In the cases of these tests each part is at least a tenth of what is mixed; a fault in one cannot hide."""
    unit, x = unit_and_x(name, causal)
    whole = unit(x)
    rest = slice(C, None)  # a causal model has no global part in its first chunk
    for switch in ("local", "global_"):
        setattr(unit, switch, False)
        without = unit(x)
        setattr(unit, switch, True)
        assert (whole - without)[:, rest].norm() >= 0.1 * (whole - x)[:, rest].norm(), switch


@every_unit
def test_gradients(name, causal):
    """Of x and of every parameter at once: the slope along random directions, against a central difference."""
    unit, x = unit_and_x(name, causal)
    leaves = [x.requires_grad_(), *unit.parameters()]
    generator = torch.Generator().manual_seed(2)
    weights, *directions = (
        torch.randn(t.shape, generator=generator, dtype=t.dtype) for t in (x, *leaves)
    )

    @torch.no_grad()
    def moved(step, value):
        """The value with all leaves a step away."""
        for leaf, direction in zip(leaves, directions):
            leaf.add_(step * direction)
        found = float(value())
        for leaf, direction in zip(leaves, directions):
            leaf.sub_(step * direction)
        return found

    for which in ("all", "mask", "both"):
        how = how_to_read(which)
        valid = how.get("mask", torch.ones(B, T, dtype=torch.bool))

        def value(how=how, valid=valid):
            return (unit(x, **how) * weights)[valid].sum()

        gradients = torch.autograd.grad(value(), leaves, materialize_grads=True, allow_unused=True)
        slope = sum(float((g * d).sum()) for g, d in zip(gradients, directions))
        expected = (moved(1e-6, value) - moved(-1e-6, value)) / 2e-6
        assert slope == pytest.approx(expected, rel=1e-6, abs=1e-5), which


@causal_units
def test_to_numpy_is_a_copy_in_float64(name):
    unit, x = unit_and_x(name, True, torch.float32)
    arrays = unit.to_numpy()
    assert all(a.dtype == "float64" for a in arrays.values())
    assert sum(a.size for a in arrays.values()) == sum(p.numel() for p in unit.parameters())
    before = unit(x)
    for a in arrays.values():
        a += 1.0
    assert torch.equal(unit(x), before)


# ---------------------------------------------------------------- no output reads a later input


@on_devices
@in_dtypes
@causal_units
def test_no_output_changes_with_a_later_input(name, dtype, device):
    """Exactly: a later input 30 times larger would show a leak that is only rounding. Every cut has rows of its own."""
    unit, x = unit_and_x(name, True, dtype, device)
    cuts = torch.tensor(CUTS, device=device).repeat_interleave(B)
    for which in READINGS:
        how = for_each(CUTS, **how_to_read(which, device=device))
        assert value_leak(unit, **for_each(CUTS, x=x), cut=cuts, **how) == 0, which


@on_devices
@causal_units
def test_no_gradient_reaches_a_later_input(name, device):
    unit, x = unit_and_x(name, True, device=device)
    for cut in (1, C - 1, C, C + 1, 2 * C, T - 1):
        assert gradient_leak(unit, x, cut) == 0, cut
    for which in ("documents", "both"):
        assert gradient_leak(unit, x, 2 * C, **how_to_read(which, device=device)) == 0, which


@on_devices
@steady_units
def test_prefix_consistent(name, device):
    unit, x = unit_and_x(name, True, device=device)
    for cut in CUTS:
        assert prefix_error(unit, x, cut) <= ROUNDING, cut


def test_dividing_by_the_current_length_is_not_prefix_consistent():
    """The paper's Code 6 divides by T: each new token changes all earlier outputs."""
    unit, x = unit_and_x(CURRENT, True)
    assert prefix_error(unit, x, T - 1) > 0.01  # one token more
    assert prefix_error(unit, x, T // 2) > 0.1  # twice the length
    unit.length_scale = T
    assert prefix_error(unit, x, T // 2) <= ROUNDING


# ---------------------------------------------------------------- padding, rows, documents


@on_devices
@in_dtypes
@every_unit
def test_padding_changes_nothing(name, causal, dtype, device):
    unit, x = unit_and_x(name, causal, dtype, device)
    lengths = torch.tensor(CUTS, device=device).repeat_interleave(B)
    for which in ("all", "documents"):
        how = for_each(CUTS, **how_to_read(which, device=device))
        assert padding_leak(unit, **for_each(CUTS, x=x), lengths=lengths, **how) == 0, which


@on_devices
@every_unit
def test_rows_are_independent(name, causal, device):
    """Also of every length in a padded batch, each is as if it stood alone."""
    unit, x = unit_and_x(name, causal, device=device)
    for which in READINGS:
        assert row_leak(unit, x, **how_to_read(which, device=device)) == 0
    for first in range(1, T + 1, B):
        lengths = torch.arange(first, first + B, device=device).clamp(max=T)
        assert row_error(unit, x, lengths) <= ROUNDING, lengths


@on_devices
@in_dtypes
@every_unit
def test_documents_do_not_read_each_other(name, causal, dtype, device):
    unit, x = unit_and_x(name, causal, dtype, device)
    ids = documents().to(device)
    each = ids.unique()
    rows = for_each(each, x=x, segment_ids=ids)
    assert document_leak(unit, **rows, document=each.repeat_interleave(B)[:, None]) == 0


@every_unit
def test_numbers_of_documents_do_not_matter(name, causal):
    """Only where the borders lie: other sorted numbers give the same, and one document is no document."""
    unit, x = unit_and_x(name, causal)
    ids = documents()
    for same in (ids * 3 - 50, ids.int()):
        assert torch.equal(unit(x, segment_ids=ids), unit(x, segment_ids=same))
    assert branch_error(unit(x, segment_ids=torch.zeros_like(ids)), unit(x), x) <= ROUNDING


@steady_units
@pytest.mark.parametrize("causal", [True, False])
def test_a_document_is_as_if_it_stood_alone(name, causal):
    """At any border in GAU and the Transformers, whose positions enter as distances; in mixed chunks at chunk borders,
    where the mean counts the chunks of the document and no others."""
    unit, x = make(name, causal), features(5 * C)
    size = getattr(unit, "chunk_size", 3)
    borders = [0, size, 3 * size, 5 * C]
    lengths = torch.tensor([last - first for first, last in pairwise(borders)])
    ids = torch.arange(3).repeat_interleave(lengths).expand(B, -1)
    y = unit(x, segment_ids=ids)
    for first, last in pairwise(borders):
        alone = x[:, first:last]
        assert branch_error(y[:, first:last], unit(alone), alone) <= ROUNDING, (first, last)


# ---------------------------------------------------------------- options


OPTIONS = [
    ("gau", dict(causal=True), dict(causal=False)),
    ("gau", dict(length_scale=None), dict(length_scale=2 * T)),
    ("gau", dict(attention="relu2"), dict(attention="softmax")),
    ("gau", dict(norm="scale"), dict(norm="layer")),
    ("gau", dict(bias="toeplitz"), dict(bias=None)),
    ("gau", dict(bias="rotary"), dict(bias=None)),
    ("flash", dict(causal=True), dict(causal=False)),
    ("flash", dict(chunk_size=4, bias=None), dict(chunk_size=5, bias=None)),
    ("flash", dict(combine="mean"), dict(combine="sum")),
    ("flash", dict(local=True), dict(local=False)),
    ("flash", dict(global_=True), dict(global_=False)),
    ("flash", dict(norm="scale"), dict(norm="layer")),
    ("flash", dict(bias="toeplitz"), dict(bias=None)),
    ("flash", dict(bias="rotary"), dict(bias=None)),
    ("block", dict(causal=True), dict(causal=False)),
    ("block", dict(rope=True), dict(rope=False)),
    ("block", dict(norm="scale"), dict(norm="layer")),
    ("block", dict(heads=2), dict(heads=3)),
]


def build(kind, causal=True, **options):
    """A unit with parameters of order one; gains are one, so that both norms have the same."""
    unit = BUILDERS[kind](**options)(causal).double()
    draw_order_one(unit, torch.Generator().manual_seed(0))
    with torch.no_grad():
        for name, p in unit.named_parameters():
            if name.endswith("gain"):
                p.fill_(1)
    return unit


@pytest.mark.parametrize("kind, one, other", OPTIONS, ids=[f"{k} {a} {b}" for k, a, b in OPTIONS])
def test_each_option_changes_something_at_equal_parameters(kind, one, other):
    a, b, x = build(kind, **one), build(kind, **other), features()
    settle_branch(a, x)
    there = b.state_dict()
    shared = {n: p for n, p in a.state_dict().items() if n in there and p.shape == there[n].shape}
    b.load_state_dict(shared, strict=False)
    assert len(shared) >= len(a.state_dict()) - 2
    assert branch_error(b(x), a(x), x) > 1e-3


@pytest.mark.parametrize("option, value", [("expansion", 3), ("qk_dim", 6)])
@pytest.mark.parametrize("unit", [GAU, FLASH])
def test_each_size_changes_the_parameters(unit, option, value):
    usual, other = unit(D), unit(D, **{option: value})
    assert usual.in_proj.weight.shape != other.in_proj.weight.shape


@pytest.mark.parametrize("unit, reach", [(GAU, "bias_length"), (FLASH, "chunk_size")])
def test_auto_bias_is_the_rule_of_the_paper(unit, reach):
    """Code 4: a table by distance below 512, the rotary form from 512 on."""
    assert unit(D, **{reach: 511}).bias.weights.shape == (2 * 511 - 1,)
    assert unit(D, **{reach: 512}).bias.a.shape == (128,)


# ---------------------------------------------------------------- relations between the units


def one_chunk(causal):
    """A FLASH whose chunk is the whole sequence, and a GAU with its parameters and quadratic heads."""
    flash = draw_order_one(
        FLASH(D, qk_dim=S, chunk_size=T, causal=causal).double(), torch.Generator().manual_seed(0)
    )
    settle_branch(flash, features())
    gau = GAU(D, qk_dim=S, causal=causal, bias_length=T, length_scale=T).double()
    state = flash.state_dict()
    quadratic = {f"scale_offset.{n}": state[f"scale_offset.{n}"][:2] for n in ("gamma", "beta")}
    gau.load_state_dict(state | quadratic)
    return flash, gau


def test_causal_flash_with_one_chunk_is_gau():
    flash, gau = one_chunk(causal=True)
    for x in (features(T), features(T - 5)):
        assert branch_error(flash(x), gau(x), x) <= ROUNDING


def test_flash_with_one_chunk_that_reads_both_sides_is_not_gau():
    """Its own chunk is in the linear sum too."""
    (flash, gau), x = one_chunk(causal=False), features()
    assert branch_error(flash(x), gau(x), x) > 0.1
    flash.global_ = False
    assert branch_error(flash(x), gau(x), x) <= ROUNDING


# ---------------------------------------------------------------- what is kept and computed


@pytest.mark.parametrize(
    "make_block",
    [
        lambda: TransformerBlock(8, heads=2, glu=True, rope=True, causal=True),
        lambda: MCTransformerBlock(8, heads=2, chunk_size=4, causal=True),
    ],
    ids=["transformer++", "mc_transformer++"],
)
def test_a_causal_block_needs_no_mask_for_padding_on_the_right(make_block, monkeypatch):
    """torch's fused attention then runs without a T x T mask; what is padding comes later than all that counts."""
    given, attention = [], torch.nn.functional.scaled_dot_product_attention

    def attend(*args, attn_mask=None, **options):
        given.append(attn_mask)
        return attention(*args, attn_mask=attn_mask, **options)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", attend)
    make_block().double()(features(11)[..., :8], mask=torch.arange(11) < torch.full((B, 1), 6))
    assert given and all(mask is None for mask in given)


@pytest.mark.parametrize(
    "name, causal", [("gau", False), ("flash", True), ("flash, layer norm", False)]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_what_was_gated_may_be_computed_again(name, causal, dtype, monkeypatch):
    """As on a card: the same outputs and gradients, bit for bit, and one array of the width E less is kept."""
    unit, x = unit_and_x(name, causal, dtype)
    x.requires_grad_()
    found, kept, own = [], [], {p.data_ptr() for p in unit.parameters()}
    for again in (False, True):
        monkeypatch.setattr(gau, "gates_again", lambda u, again=again: again)
        arrays = {}

        def keep(t, arrays=arrays):
            arrays[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
            return t

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
            y = unit(x, **how_to_read("both"))
        kept.append(sum(n for place, n in arrays.items() if place not in own))
        found.append([y, *torch.autograd.grad((y * y).sum(), (x, *unit.parameters()))])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
    assert kept[0] - kept[1] == B * T * unit.expanded * x.element_size()


def test_it_is_computed_again_on_a_card_alone():
    u, asked = torch.ones(2, requires_grad=True), []
    on_a_card = type("Tensor", (), dict(requires_grad=True, device=torch.device("cuda")))
    assert gau.gates_again(on_a_card) and not gau.gates_again(u)
    torch.func.grad(lambda x: (asked.append(gau.gates_again(on_a_card)), x.sum())[1])(u)
    assert asked == [False]
    on_a_card.requires_grad = False
    assert not gau.gates_again(on_a_card)


# ---------------------------------------------------------------- what is refused


X = features(6, batch=2, dtype=torch.float32)
MASK = torch.ones(2, 6, dtype=torch.bool)
LEFT = torch.tensor([[False, True, True, True, True, True]] * 2)
SEGMENTS = torch.zeros(2, 6, dtype=torch.long)
FALLING = torch.tensor([[0, 0, 1, 1, 0, 0]] * 2)

BAD = {
    "an array": (dict(x=np.zeros((2, 5, 12))), ("expected a torch tensor (B, T, 12)",)),
    "a list": (dict(x=[[1.0]]), ("expected a torch tensor (B, T, 12)",)),
    "nothing": (dict(x=None), ("expected a torch tensor (B, T, 12)",)),
    "width": (dict(x=X[..., :10]), ("(2, 6, 10)", "(B, T, 12)", "dim=12")),
    "axes": (dict(x=X[0]), ("(6, 12)", "(B, T, 12)")),
    "empty": (dict(x=X[:, :0]), ("(2, 0, 12)", "empty", "T >= 1")),
    "integers": (dict(x=X.long()), ("torch.int64", "floating point", "embed")),
    "mask of floats": (dict(mask=MASK.float()), ("torch.float32", "mask > 0.5", "mask == 0")),
    "mask of other integers": (dict(mask=2 * MASK.int()), ("other integers than 0 and 1",)),
    "mask of a wrong shape": (dict(mask=MASK[:, :5]), ("(2, 5)", "the shape (2, 6)")),
    "padding on the left": (dict(mask=LEFT), ("valid tokens come first", "pad on the right")),
    "a hole": (dict(mask=~FALLING.bool()), ("valid tokens come first", "pad on the right")),
    "a hole in a document": (
        dict(mask=~FALLING.bool(), segment_ids=SEGMENTS),
        ("valid tokens come first in each document",),
    ),
    "padding before a document": (
        dict(mask=LEFT, segment_ids=torch.tensor([[0, 1, 1, 1, 1, 1]] * 2)),
        ("valid tokens come first in each document",),
    ),
    "unsorted around padding": (
        dict(mask=~FALLING.bool(), segment_ids=torch.tensor([[2, 2, 2, 2, 1, 1]] * 2)),
        ("sorted ids",),
    ),
    "documents as floats": (dict(segment_ids=SEGMENTS.float()), ("torch.float32", "integers")),
    "documents as bools": (dict(segment_ids=SEGMENTS.bool()), ("torch.bool", "integers")),
    "documents of a wrong shape": (dict(segment_ids=SEGMENTS[:1]), ("(1, 6)", "(2, 6)")),
    "unsorted": (dict(segment_ids=FALLING), ("sorted ids", "number documents in order")),
}


@pytest.mark.parametrize("bad", BAD)
def test_every_unit_refuses(bad):
    given, parts = BAD[bad]
    for unit in (
        GAU(12, qk_dim=8),
        FLASH(12, qk_dim=8, chunk_size=4),
        TransformerBlock(12, heads=3),
        MCTransformerBlock(12, heads=3, chunk_size=4),
    ):
        assert_one_line(lambda: unit(**{"x": X} | given), *parts)  # noqa: B023


@pytest.mark.parametrize(
    "build, parts",
    [
        (lambda: GAU(0), ("dim=0", "at least 1")),
        (lambda: GAU(12, qk_dim=7), ("qk_dim=7", "even")),
        (lambda: GAU(12, expansion=0), ("expansion=0", "at least 1")),
        (lambda: GAU(12, norm="batch"), ("'batch'", "scale")),
        (lambda: GAU(12, bias="t5"), ("'t5'", "'rotary'")),
        (lambda: GAU(12, bias_length=0), ("bias_length=0", "at least 1")),
        (lambda: GAU(12, length_scale=0), ("length_scale=0", "at least 1")),
        (lambda: GAU(12, attention="laplace"), ("'laplace'", "'softmax'")),
        (lambda: FLASH(12, chunk_size=0), ("chunk_size=0", "at least 1")),
        (lambda: FLASH(12, combine="max"), ("'max'", "'sum'")),
        (lambda: FLASH(12, local=False, global_=False), ("local=False", "switch one of them on")),
        (lambda: TransformerBlock(12, heads=5), ("dim=12", "heads=5", "divide")),
        (lambda: TransformerBlock(12, heads=4), ("dim=12", "heads=4", "even")),
        (lambda: MCTransformerBlock(12, heads=3, chunk_size=0), ("chunk_size=0", "at least 1")),
    ],
)
def test_options_that_cannot_be_are_refused(build, parts):
    assert_one_line(build, *parts)
