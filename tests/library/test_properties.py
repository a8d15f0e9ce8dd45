"""What every unit must do, whatever its numbers: no leaks, no padding, no other rows or documents, and decoding."""

import math

import pytest
import torch
from torch import nn
from unit_cases import (
    BOTH_WAYS,
    CASES,
    CURRENT,
    DEVICES,
    GPU,
    IDS,
    STEADY,
    B,
    C,
    D,
    S,
    T,
    documents,
    features,
    how_to_read,
    make,
    mask_of,
    ragged_mask,
)

from flash_tutorial import (
    FLASH,
    GAU,
    LanguageModel,
    ModelConfig,
    TransformerBlock,
    check_unit,
    chunks,
    fast,
    mixing,
    states,
)
from flash_tutorial.check import (
    LOUD,
    branch_error,
    document_leak,
    draw_order_one,
    gradient_leak,
    largest,
    padding_error,
    padding_leak,
    prefix_error,
    row_error,
    row_leak,
    settle_branch,
    step_error,
    value_leak,
)
from flash_tutorial.config import options_of

pytestmark = pytest.mark.quick

CAUSAL = list(CASES)
DTYPES = [torch.float64, torch.float32, torch.bfloat16]
CUTS = range(1, T)

on_devices = pytest.mark.parametrize("device", DEVICES)
in_dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=str)


@pytest.mark.gpu
@pytest.mark.skipif(
    not GPU,
    reason="no CUDA device here; where there is one, the tests that take a device run on it",
)
def test_the_gpu_is_among_the_devices():
    assert len(DEVICES) == 2


def to(device, kw):
    return {k: v.to(device) for k, v in kw.items()}


# ---------------------------------------------------------------- no output depends on a later input


@on_devices
@in_dtypes
@pytest.mark.parametrize("name", CAUSAL)
def test_no_output_changes_with_a_later_input(name, dtype, device):
    """Exactly: a later input 30 times larger would show a leak that is only rounding."""
    unit, x = make(name, True, dtype=dtype, device=device), features(dtype=dtype, device=device)
    for cut in CUTS:
        assert value_leak(unit, x, cut) == 0, cut
    for cut in (C - 1, C, C + 1, 2 * C + 1):
        for which in ("mask", "documents", "both"):
            valid = ragged_mask().to(device)[:, :cut, None]
            kw = to(device, how_to_read(which))
            changed = torch.cat([x[:, :cut], LOUD * x[:, cut:].flip(0)], 1)
            assert largest((unit(changed, **kw) - unit(x, **kw))[:, :cut] * valid) == 0, (
                which,
                cut,
            )


@on_devices
@pytest.mark.parametrize("name", CAUSAL)
def test_no_gradient_reaches_a_later_input(name, device):
    unit, x = make(name, True, device=device), features(device=device)
    for cut in CUTS:
        assert gradient_leak(unit, x, cut) == 0, cut
    for which in ("documents", "both"):
        assert gradient_leak(unit, x, 2 * C, **to(device, how_to_read(which))) == 0, which


@pytest.mark.parametrize("name", CAUSAL)
def test_a_unit_that_reads_both_sides_does_read_later_inputs(name):
    """The measures see what is there: without causal=True each of them is large."""
    unit, x = make(name, False), features()
    assert value_leak(unit, x, 2 * C - 1) > 1e-2
    assert gradient_leak(unit, x, 2 * C - 1) > 1e-2
    assert document_leak(lambda x, segment_ids: unit(x), x, documents(), 1) > 1e-2
    assert padding_leak(lambda x, mask: unit(x), x, torch.tensor([2 * C - 2] * B)) > 1e-2


@on_devices
@in_dtypes
@pytest.mark.parametrize("which", ["all", "documents"])
def test_no_rounding_leaks_from_loud_chunks(which, dtype, device):
    """Inside a unit the norm takes loudness away, so the mixing itself is asked: later chunks 30 times larger change
    nothing. The running sum minus the own chunk would fail here (5% of the output in bfloat16)."""
    heads = [
        torch.randn(B, T, n, generator=torch.Generator().manual_seed(n)).to(device, dtype)
        for n in (6, 7, 8, 9)
    ]
    heads = [t[..., :6] for t in heads]
    kw = dict(
        chunk_size=C,
        causal=True,
        segment_ids=documents().to(device) if which == "documents" else None,
    )
    v = torch.randn(B, T, D, generator=torch.Generator().manual_seed(0)).to(device, dtype)
    y = mixing.mixed_chunk_attention(*heads, v, **kw)
    for cut in CUTS:
        loud = torch.where(torch.arange(T, device=device)[:, None] < cut, 1, LOUD).to(dtype)
        assert (
            largest(
                (mixing.mixed_chunk_attention(*(t * loud for t in heads), v * loud, **kw) - y)[
                    :, :cut
                ]
            )
            == 0
        )


@on_devices
@pytest.mark.parametrize("name", STEADY)
def test_prefix_consistent(name, device):
    unit, x = make(name, True, device=device), features(device=device)
    for cut in CUTS:
        assert prefix_error(unit, x, cut) <= 1e-12, cut


def test_dividing_by_the_current_length_is_not_prefix_consistent():
    """The paper's Code 6 divides by T: each new token changes all earlier outputs."""
    unit, x = make(CURRENT, True), features()
    errors = {cut: prefix_error(unit, x, cut) for cut in (2, T // 2, T - 1)}
    print("GAU(length_scale=None), outputs of a prefix against those of all", T, "tokens:", errors)
    assert errors[T - 1] > 0.01  # one token more
    assert errors[T // 2] > 0.1  # twice the length
    unit.length_scale = T
    assert prefix_error(unit, x, T // 2) <= 1e-12


# ---------------------------------------------------------------- padding, rows, documents


@on_devices
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name, causal", BOTH_WAYS, ids=IDS)
def test_padding_changes_nothing(name, causal, dtype, device):
    unit, x = make(name, causal, dtype=dtype, device=device), features(dtype=dtype, device=device)
    for lengths in ([1, C, C + 1], [T - 1, 2 * C, 2 * C - 1]):
        lengths = torch.tensor(lengths, device=device)
        assert padding_leak(unit, x, lengths) == 0
        assert padding_leak(unit, x, lengths, segment_ids=documents().to(device)) == 0
    if dtype == torch.float64:
        for length in CUTS:
            assert padding_error(unit, x, length) <= 1e-12, length
        everything = torch.ones(B, T, dtype=torch.bool, device=device)
        assert branch_error(unit(x, mask=everything), unit(x), x) <= 1e-12


@on_devices
@pytest.mark.parametrize("name, causal", BOTH_WAYS, ids=IDS)
def test_rows_are_independent(name, causal, device):
    unit, x = make(name, causal, device=device), features(device=device)
    assert row_leak(unit, x) == 0
    for which in ("mask", "documents", "both"):
        assert row_leak(unit, x, **to(device, how_to_read(which))) == 0
    for lengths in ([T, C + 1, 1], [2, 2 * C, T - 1]):
        assert row_error(unit, x, torch.tensor(lengths, device=device)) <= 1e-12


@on_devices
@in_dtypes
@pytest.mark.parametrize("name, causal", BOTH_WAYS, ids=IDS)
def test_documents_do_not_read_each_other(name, causal, dtype, device):
    unit, x, ids = (
        make(name, causal, dtype=dtype, device=device),
        features(dtype=dtype, device=device),
        documents(),
    )
    for document in ids.unique().tolist():
        assert document_leak(unit, x, ids.to(device), document) == 0, document


@pytest.mark.parametrize("name, causal", BOTH_WAYS, ids=IDS)
def test_numbers_of_documents_do_not_matter(name, causal):
    """Only where the borders lie: other sorted numbers give the same, and one document is no document."""
    unit, x, ids = make(name, causal), features(), documents()
    assert torch.equal(unit(x, segment_ids=ids), unit(x, segment_ids=ids * 3 - 50))
    assert torch.equal(unit(x, segment_ids=ids), unit(x, segment_ids=ids.int()))
    assert branch_error(unit(x, segment_ids=torch.zeros_like(ids)), unit(x), x) <= 1e-12


@pytest.mark.parametrize("name", STEADY)
@pytest.mark.parametrize("causal", [True, False])
def test_a_document_is_as_if_it_stood_alone(name, causal):
    """At any border in GAU and the Transformers, whose positions enter as distances; in mixed chunks at chunk borders,
    where the mean counts the chunks of the document and no others."""
    unit, x = make(name, causal), features(5 * C)
    size = getattr(unit, "chunk_size", 3)
    ids = torch.tensor([0] * size + [1] * 2 * size + [2] * (5 * C - 3 * size)).expand(B, -1)
    y = unit(x, segment_ids=ids)
    for first, last in ((0, size), (size, 3 * size), (3 * size, 5 * C)):
        alone = x[:, first:last]
        assert branch_error(y[:, first:last], unit(alone), alone) <= 1e-12, (first, last)


def test_the_mean_counts_whole_chunks_that_hold_the_document():
    """A document that starts inside a chunk divides by all valid tokens of that chunk, those of others too."""
    v, ones = (
        torch.ones(1, 3, C, 1, dtype=torch.float64),
        torch.ones(1, 3, C, 1, dtype=torch.float64),
    )
    ids = torch.tensor([[[0] * (C - 1) + [1], [1] * C, [1] * C]])
    y = mixing.global_part(ones, ones, v, causal=True, documents=ids)[0, :, 0, 0]
    assert y.tolist() == [0, 1 / C, (1 + C) / (2 * C)]


# ---------------------------------------------------------------- options


OPTIONS = [
    ("gau", dict(causal=True), dict(causal=False)),
    ("gau", dict(length_scale=None), dict(length_scale=2 * T)),
    ("gau", dict(attention="relu2"), dict(attention="softmax")),
    ("gau", dict(norm="scale"), dict(norm="layer")),
    ("gau", dict(bias="toeplitz"), dict(bias=None)),
    ("gau", dict(bias="rotary"), dict(bias=None)),
    ("flash", dict(causal=True), dict(causal=False)),
    ("flash", dict(chunk_size=4), dict(chunk_size=5)),
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


def build(kind, options):
    options = {"causal": True} | options
    if kind == "gau":
        return GAU(D, qk_dim=S, **{"bias": None, "bias_length": T, "length_scale": T} | options)
    if kind == "flash":
        return FLASH(D, qk_dim=S, **{"bias": None, "chunk_size": C} | options)
    return TransformerBlock(D, **{"heads": 3} | options)


@pytest.mark.parametrize("kind, one, other", OPTIONS, ids=[f"{k} {a} {b}" for k, a, b in OPTIONS])
def test_each_option_changes_something_at_equal_parameters(kind, one, other):
    a, b, x = build(kind, one).double(), build(kind, other).double(), features()
    draw_order_one(a, torch.Generator().manual_seed(0))
    settle_branch(a, x)
    draw_order_one(b, torch.Generator().manual_seed(1))
    shared = {
        n: p
        for n, p in a.state_dict().items()
        if n in b.state_dict() and p.shape == b.state_dict()[n].shape
    }
    b.load_state_dict(shared, strict=False)
    with torch.no_grad():
        if "norm" in one:  # equal parameters mean equal gains here
            b.get_parameter("norm.gain" if kind != "block" else "norm1.gain").fill_(1)
            a.get_parameter("norm.gain" if kind != "block" else "norm1.gain").fill_(1)
    assert len(shared) >= len(a.state_dict()) - 2
    assert branch_error(b(x), a(x), x) > 1e-3


@pytest.mark.parametrize("option, value", [("expansion", 3), ("qk_dim", 6)])
@pytest.mark.parametrize("unit", [GAU, FLASH])
def test_each_size_changes_the_parameters(unit, option, value):
    numbers = {
        sum(p.numel() for p in unit(D, **options).parameters()) for options in ({}, {option: value})
    }
    assert len(numbers) == 2


@pytest.mark.parametrize(
    "unit, lengths", [(GAU, ("bias_length", 511, 512)), (FLASH, ("chunk_size", 511, 512))]
)
def test_auto_bias_is_the_rule_of_the_paper(unit, lengths):
    """Code 4: a table by distance below 512, the rotary form from 512 on."""
    option, short, long = lengths
    assert unit(D, **{option: short}).bias.weights.shape == (2 * short - 1,)
    assert unit(D, **{option: long}).bias.a.shape == (128,)


# ---------------------------------------------------------------- relations between the units


def same_heads(flash, length_scale):
    """A GAU with the parameters of a FLASH and its quadratic heads."""
    gau = GAU(
        D, qk_dim=S, causal=flash.causal, bias_length=flash.chunk_size, length_scale=length_scale
    ).double()
    state = flash.state_dict()
    gau.load_state_dict(
        state | {f"scale_offset.{n}": state[f"scale_offset.{n}"][:2] for n in ("gamma", "beta")}
    )
    return gau


@pytest.mark.parametrize("length", [T, T - 5])
def test_causal_flash_with_one_chunk_is_gau(length):
    unit = draw_order_one(
        FLASH(D, qk_dim=S, chunk_size=T, causal=True).double(), torch.Generator().manual_seed(0)
    )
    x = features(length)
    settle_branch(unit, x)
    assert branch_error(unit(x), same_heads(unit, T)(x), x) <= 1e-12


def test_flash_with_one_chunk_that_reads_both_sides_is_not_gau():
    """Its own chunk is in the linear sum too."""
    unit = draw_order_one(
        FLASH(D, qk_dim=S, chunk_size=T).double(), torch.Generator().manual_seed(0)
    )
    x = features()
    settle_branch(unit, x)
    assert branch_error(unit(x), same_heads(unit, T)(x), x) > 0.1
    unit.global_ = False
    assert branch_error(unit(x), same_heads(unit, T)(x), x) <= 1e-12


# ---------------------------------------------------------------- half precision


HALF = [torch.bfloat16, torch.float16]


@on_devices
@pytest.mark.parametrize("dtype", HALF, ids=str)
@pytest.mark.parametrize("name, causal", BOTH_WAYS, ids=IDS)
def test_autocast_stays_finite_and_near(name, causal, dtype, device):
    """Two per cent of the branch for bfloat16's eight bits; forward, backward, masks and documents."""
    unit = make(name, causal, dtype=torch.float32, device=device)
    x = features(dtype=torch.float32, device=device)
    for which in ("all", "both"):
        kw = to(device, how_to_read(which))
        exact = unit(x, **kw)
        with torch.autocast(device, dtype):
            y = unit(x, **kw)
            loss = y.float().square().mean()
        # global only has no bias
        gradients = torch.autograd.grad(loss, list(unit.parameters()), allow_unused=True)
        assert y.isfinite().all()
        assert all(g.isfinite().all() for g in gradients if g is not None)
        error = float((y - exact).norm() / (exact - x).norm())
        assert error <= 0.02, error


@on_devices
@pytest.mark.parametrize("dtype", HALF, ids=str)
@pytest.mark.parametrize("name", STEADY)
def test_parameters_in_half_precision(name, dtype, device):
    """A model loaded in half precision runs as such, in parallel and token by token."""
    unit, x = make(name, True, dtype=dtype, device=device), features(dtype=dtype, device=device)
    y = unit(x)
    assert y.dtype == dtype and y.isfinite().all()
    prompts = torch.tensor([1, C, 2 * C + 1], device=device)
    assert step_error(unit, x, prompts) <= 0.1


@on_devices
@pytest.mark.parametrize("dtype", HALF, ids=str)
@pytest.mark.parametrize("chunk_by_chunk", [True, False], ids=["in a loop", "in one product"])
def test_long_sums_in_half_precision(chunk_by_chunk, dtype, device, monkeypatch):
    """4096 tokens of the same sign: in fp16 a bare sum of k^T v would pass 65504; with documents and without."""
    monkeypatch.setattr(chunks, "goes_chunk_by_chunk", lambda x: chunk_by_chunk)
    k, v = (torch.full((1, 16, 256, n), 16.0, device=device) for n in (16, 16))
    q = torch.full((1, 16, 256, 16), 1 / 16, device=device)
    one_document = torch.zeros(1, 16, 256, dtype=torch.long, device=device)
    for causal in (True, False):
        for ids in (None, one_document):
            for read in (mixing.read_earlier_chunks, fast.read_earlier_chunks):
                with torch.autocast(device, dtype):
                    y = mixing.global_part(q, k, v, causal=causal, documents=ids, read=read)
                y = y[:, int(causal) :].float()  # a causal first chunk reads nothing
                torch.testing.assert_close(y, torch.full_like(y, 256.0), rtol=0.02, atol=0)


@on_devices
@pytest.mark.parametrize(
    "architecture", ["flash", "flash_quad", "transformer", "transformer++", "mc_transformer++"]
)
def test_a_whole_model_in_half_precision(architecture, device):
    """Finite; how far it is from float32 is printed, not bounded."""
    torch.manual_seed(0)
    small = {
        k: v
        for k, v in dict(qk_dim=16, chunk_size=8, heads=2).items()
        if k in options_of(architecture)
    }
    config = ModelConfig(
        architecture, vocab_size=31, dim=32, depth=4, max_length=64, embedding_std=1.0, **small
    )
    model, ids = LanguageModel(config).to(device), torch.randint(31, (2, 30), device=device)
    exact = model(ids)
    for dtype in HALF:
        with torch.autocast(device, dtype):
            loss = model.loss(ids, ids)
            logits = model(ids)
        loss.backward()
        assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
        assert logits.isfinite().all()
        print(
            f"{architecture}, {dtype}: {float((logits - exact).norm() / exact.norm()):.1e} of the logits"
        )
        whole = LanguageModel(config).to(device, dtype)
        whole.load_state_dict(model.state_dict())
        assert whole(ids).isfinite().all() and whole(ids).dtype == dtype
        assert whole.generate(ids, 3, temperature=0).shape == (2, 3)


# ---------------------------------------------------------------- check_unit


class Averager(nn.Module):
    """A student's unit: the running mean of the values, with whatever fault is switched on."""

    def __init__(self, dim, causal=True, fault=None):
        super().__init__()
        self.causal, self.fault = causal, fault
        self.value, self.write = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.kappa = nn.Parameter(torch.zeros(dim))

    def forward(self, x, mask=None, segment_ids=None):
        v = torch.tanh(self.value(x) * self.kappa)
        if mask is not None:
            v = v.masked_fill(~mask[..., None], 0)
        total = v.cumsum(1)
        if self.fault == "leak":
            total = v.flip(1).cumsum(1).flip(1)
        if self.fault == "leak at the border":
            total = total + nn.functional.pad(v, (0, 0, -1, 1)) * 1e-9
        if self.fault == "leak of gradients":
            total = (
                total
                + nn.functional.pad(v, (0, 0, -1, 1)) * 0
                + (v - v.detach()).mean(1, keepdim=True)
            )
        count = torch.arange(1, x.shape[1] + 1).to(x)[:, None]
        if self.fault == "prefix":
            count = count * x.shape[1]
        if self.fault == "padding count":
            total = total + v.sum(1, keepdim=True) * 0 + (0 if mask is None else 1 / x.shape[1])
        if self.fault == "rows":
            total = total + v.mean(0)
        y = self.write(total / count)
        if self.fault == "vanishes":
            y = y * 1e-6
        if self.fault == "shape":
            return y[:, :-1]
        return x + y

    def prefill(self, x, mask=None):
        return self(x, mask=mask), states.Cache((x,), states.Rows.after(x, mask))

    def step(self, x, state):
        if self.fault == "step":
            return self(x[:, None])[:, 0], state
        return states.replay(self, x, state), state


def test_check_unit_passes_a_right_unit_and_leaves_it_alone():
    unit = Averager(10)
    before = {n: p.clone() for n, p in unit.state_dict().items()}
    report = check_unit(unit)
    assert [row[0] for row in report.rows] == [
        "branch std",
        "leak of values",
        "leak of gradients",
        "prefix",
        "padding content",
        "padding",
        "batch rows",
        "ragged rows",
        "step",
    ]
    assert "Averager: all properties hold" in str(report) and len(str(report).splitlines()) == 11
    assert all(torch.equal(p, before[n]) for n, p in unit.state_dict().items())
    assert unit.training and next(unit.parameters()).dtype == torch.float32


@pytest.mark.parametrize(
    "fault, said",
    [
        ("leak", "fails leak of values at position 1: "),
        ("leak at the border", "fails leak of values at position"),
        ("leak of gradients", "fails leak of gradients at position 1: "),
        ("prefix", "fails prefix at length 1: "),
        ("padding count", "fails padding at length 1: "),
        ("rows", "fails batch rows at row 0: "),
        ("step", "fails step at prompts [1, 1, 1]: "),
        ("vanishes", "fails branch size: "),
        ("shape", "fails shape: "),
    ],
)
def test_check_unit_names_what_fails(fault, said):
    with pytest.raises(ValueError) as error:
        check_unit(Averager(10, fault=fault))
    message = str(error.value)
    assert said in message and message.startswith("Averager") and "\n" not in message
    assert ";" in message or "return" in message  # what to do


class Blurrer(nn.Module):
    """Reads both sides, and its padding if it is told so; says nothing about being causal."""

    def __init__(self, dim, masks=True):
        super().__init__()
        self.masks, self.write = masks, nn.Linear(dim, dim)

    def forward(self, x, mask=None, segment_ids=None):
        if mask is None or not self.masks:
            return x + self.write(x.mean(1, keepdim=True).expand_as(x))
        mean = (x * mask[..., None]).sum(1, keepdim=True) / mask.sum(1)[:, None, None]
        return x + self.write(mean.expand_as(x))


def test_check_unit_leaves_out_what_cannot_be_asked_and_says_so():
    report = check_unit(Blurrer(10))
    left_out = {row[0] for row in report.rows if row[1] is None}
    assert left_out == {"leak", "prefix", "step"} and "has no attribute causal" in str(report)
    assert str(report).startswith("Blurrer: NOT tested are leak, prefix, step; the others hold\n")
    assert "reads both sides" in str(check_unit(FLASH(D, qk_dim=S, chunk_size=C)))
    with pytest.raises(ValueError, match="fails padding content at length 1: "):
        check_unit(Blurrer(10, masks=False))


@pytest.mark.parametrize("name, causal", BOTH_WAYS, ids=IDS)
def test_check_unit_passes_the_units_of_the_package(name, causal):
    if (name, causal) == (CURRENT, True):
        with pytest.raises(ValueError, match=r"GAU fails prefix at length 1: .*fixed length"):
            check_unit(CASES[name](causal))
    else:
        check_unit(CASES[name](causal))


def test_check_unit_asks_for_a_width_it_cannot_see():
    class Bare(nn.Module):
        causal = True

        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(6))

        def forward(self, x, mask=None, segment_ids=None):
            return x + x * self.scale

    with pytest.raises(ValueError, match="dim="):
        check_unit(Bare())
    assert check_unit(Bare(), dim=6).rows[-1][0] == "step"


class InPlace(nn.Linear):
    def forward(self, x, mask=None):
        x += super().forward(x)
        return x


@pytest.mark.parametrize(
    "unit, said",
    [
        (FLASH, "expected an object of an nn.Module"),
        (nn.Linear(8, 8), r"Linear cannot be called as unit\(x, mask=None\)"),
        (InPlace(8, 8), "changes x in place"),
    ],
)
def test_check_unit_says_what_is_no_unit(unit, said):
    with pytest.raises(ValueError, match=said):
        check_unit(unit)


def test_order_one_parameters_have_the_stated_spread():
    unit = FLASH(256, qk_dim=64, chunk_size=256, norm="layer")
    draw_order_one(unit, torch.Generator().manual_seed(0))
    for p, std in [
        (unit.in_proj.weight, 256**-0.5),
        (unit.out_proj.weight, 512**-0.5),
        (unit.in_proj.bias, 1),
        (unit.scale_offset.gamma, 1),
        (unit.scale_offset.beta, 1),
        (unit.norm.offset, 1),
        (unit.norm.gain - 1, 0.5),
        (unit.bias.weights, 1),
    ]:
        assert abs(float(p.std()) / std - 1) < 4 / math.sqrt(2 * p.numel())


def test_mask_of_is_what_it_says():
    assert mask_of([2, 0], 3).tolist() == [[True, True, False], [False, False, False]]
