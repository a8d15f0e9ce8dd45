"""The torch units hold the numbers of the NumPy reference, and their gradients those of finite differences."""

import numpy as np
import pytest
import torch
from refusals import assert_one_line
from unit_cases import (
    BOTH_WAYS,
    CASES,
    DEVICES,
    IDS,
    B,
    T,
    features,
    how_to_read,
    make,
    run_reference,
)

from flash_tutorial import (
    FLASH,
    GAU,
    MCTransformerBlock,
    TransformerBlock,
    gau,
)
from flash_tutorial.check import branch_error, branch_std, draw_order_one

pytestmark = pytest.mark.quick

READINGS = ("all", "mask", "documents", "both")
# three chunks and a tail, chunks that are full, shorter than a chunk, one token
LENGTHS = (
    T,
    12,
    3,
    1,
)


def error_against_numpy(unit, length, which, dtype, device):
    x, kw = features(length, dtype=dtype, device=device), how_to_read(which, length)
    with torch.no_grad():
        y = unit(x, **{k: v.to(device) for k, v in kw.items()}).cpu()
    return branch_error(y.double(), run_reference(unit, x, **kw), x.cpu().double(), kw.get("mask"))


@pytest.mark.parametrize("name, causal", BOTH_WAYS, ids=IDS)
def test_float64_is_the_reference(name, causal):
    unit = make(name, causal)
    for length in LENGTHS:
        for which in READINGS:
            error = error_against_numpy(unit, length, which, torch.float64, "cpu")
            assert error <= 1e-10, (length, which)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name, causal", BOTH_WAYS, ids=IDS)
def test_float32_is_the_reference(name, causal, device):
    unit = make(name, causal, dtype=torch.float32, device=device)
    for length in LENGTHS:
        for which in READINGS:
            error = error_against_numpy(unit, length, which, torch.float32, device)
            assert error <= 1e-5, (length, which)


@pytest.mark.parametrize("name, causal", BOTH_WAYS, ids=IDS)
def test_the_branch_is_of_order_one(name, causal):
    """Otherwise the comparisons above would see little of it."""
    assert 0.1 <= branch_std(make(name, causal), features()) <= 10


def test_cases_cover_every_option_with_two_values():
    """Norms, bias forms and none, length scales, attentions, ways to combine, each part switched off."""
    units = [make(name, True) for name in CASES]
    of_gau = [u for u in units if isinstance(u, GAU)]
    of_flash = [u for u in units if isinstance(u, FLASH)]
    for group in (of_gau, of_flash):
        assert len({type(u.norm) for u in group}) == 2
        assert len({type(u.bias) for u in group}) == 3
    assert {u.attention for u in of_gau} == {"relu2", "softmax"}
    assert None in {u.length_scale for u in of_gau}
    assert {(u.local, u.global_) for u in of_flash} == {(True, True), (True, False), (False, True)}
    assert {u.combine for u in of_flash} == {"mean", "sum"}
    assert {(u.glu, u.rope) for u in units if type(u) is TransformerBlock} == {
        (False, False),
        (False, True),
        (True, True),
    }


@pytest.mark.parametrize("combine", ["mean", "sum"])
@pytest.mark.parametrize("causal", [True, False])
def test_both_parts_of_flash_carry_weight(causal, combine):
    """In the cases of these tests each part is at least a tenth of what is mixed; a fault in one cannot hide."""
    unit, x = make("flash" if combine == "mean" else "flash, sum", causal), features()
    whole = unit(x)
    for switch in ("local", "global_"):
        setattr(unit, switch, False)
        without = unit(x)
        setattr(unit, switch, True)
        rest = slice(unit.chunk_size, None)  # a causal model has no global part in its first chunk
        share = (whole - without)[:, rest].norm() / (whole - x)[:, rest].norm()
        assert share >= 0.1, switch


@pytest.mark.parametrize("which", READINGS)
@pytest.mark.parametrize("name, causal", BOTH_WAYS, ids=IDS)
def test_gradients(name, causal, which):
    """Of x and of every parameter, by finite differences along random directions."""
    unit, x, kw = make(name, causal), features(), how_to_read(which)
    valid = kw.get("mask", torch.ones(B, T, dtype=torch.bool))
    names, params = zip(
        *[(n, p.detach().clone().requires_grad_()) for n, p in unit.named_parameters()]
    )

    def run(x, *params):
        return torch.func.functional_call(unit, dict(zip(names, params)), (x,), kw)[valid]

    torch.manual_seed(0)
    assert torch.autograd.gradcheck(run, (x.requires_grad_(), *params), fast_mode=True, atol=1e-6)


@pytest.mark.parametrize(
    "make_unit",
    [
        lambda causal: GAU(4, expansion=1, qk_dim=2, causal=causal, bias_length=8, length_scale=5),
        lambda causal: GAU(
            4, expansion=1, qk_dim=2, causal=causal, bias="rotary", attention="softmax"
        ),
        lambda causal: FLASH(4, expansion=1, qk_dim=2, causal=causal, chunk_size=2),
        lambda causal: FLASH(
            4, expansion=1, qk_dim=2, causal=causal, chunk_size=2, combine="sum", bias="rotary"
        ),
        lambda causal: TransformerBlock(4, heads=1, ff_dim=4, causal=causal, rope=True, glu=True),
        lambda causal: MCTransformerBlock(4, heads=1, ff_dim=4, causal=causal, chunk_size=2),
    ],
)
@pytest.mark.parametrize("causal", [True, False])
def test_gradients_entry_by_entry(make_unit, causal):
    """The whole Jacobian, at a size where that is quick; padding and documents at once."""
    unit = draw_order_one(make_unit(causal).double(), torch.Generator().manual_seed(0))
    x = torch.randn(
        2, 5, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64, requires_grad=True
    )
    mask = torch.arange(5)[None] < torch.tensor([[5], [4]])
    segments = torch.tensor([[0, 0, 0, 1, 1], [0, 1, 1, 1, 2]])
    names, params = zip(
        *[(n, p.detach().clone().requires_grad_()) for n, p in unit.named_parameters()]
    )

    def run(x, *params):
        return torch.func.functional_call(unit, dict(zip(names, params)), (x, mask, segments))[mask]

    assert torch.autograd.gradcheck(run, (x, *params), atol=1e-6)


@pytest.mark.parametrize("name, causal", BOTH_WAYS, ids=IDS)
def test_to_numpy_is_a_copy_in_float64(name, causal):
    unit = make(name, causal, dtype=torch.float32)
    arrays = unit.to_numpy()
    assert all(a.dtype == "float64" for a in arrays.values())
    assert sum(a.size for a in arrays.values()) == sum(p.numel() for p in unit.parameters())
    x = features(dtype=torch.float32)
    before = unit(x)
    for a in arrays.values():
        a += 1.0
    assert torch.equal(unit(x), before)


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
    block, x, mask = (
        make_block().double(),
        torch.randn(2, 11, 8, dtype=torch.float64),
        torch.ones(2, 11).bool(),
    )
    mask[1, 6:] = False
    given, attention = [], torch.nn.functional.scaled_dot_product_attention

    def attend(*args, attn_mask=None, **options):
        given.append(attn_mask)
        return attention(*args, attn_mask=attn_mask, **options)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", attend)
    y, alone = block(x, mask=mask), block(x[1:, :6])
    torch.testing.assert_close(y[1:, :6], alone)
    assert given == [None] * len(given) and given


@pytest.mark.parametrize(
    "name, causal", [("gau", False), ("flash", True), ("flash, layer norm", False)]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_was_gated_may_be_computed_again(name, causal, dtype, monkeypatch):
    """As on a card: the same outputs and gradients, bit for bit, and one array of the width E less is kept."""
    unit, (x, reading) = (
        make(name, causal, dtype=dtype),
        (features(T, dtype=dtype), how_to_read("both", T)),
    )
    found, kept, own = [], [], {p.data_ptr() for p in unit.parameters()}
    for again in (False, True):
        monkeypatch.setattr(gau, "gates_again", lambda u, again=again: again)
        arrays, here = {}, x.clone().requires_grad_()

        def keep(t, arrays=arrays):
            arrays[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
            return t

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
            y = unit(here, **reading)
        kept.append(sum(n for place, n in arrays.items() if place not in own))
        found.append([y, *torch.autograd.grad((y * y).sum(), (here, *unit.parameters()))])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
    assert kept[0] - kept[1] == B * T * unit.expanded * x.element_size()


def test_it_is_computed_again_on_a_card_alone():
    u, asked = torch.ones(2, requires_grad=True), []
    on_a_card = type("Tensor", (), dict(requires_grad=True, device=torch.device("cuda")))
    assert gau.gates_again(on_a_card) and not gau.gates_again(u)
    on_a_card.requires_grad = False
    assert not gau.gates_again(on_a_card)
    on_a_card.requires_grad = True
    torch.func.grad(lambda x: (asked.append(gau.gates_again(on_a_card)), x.sum())[1])(u)
    assert asked == [False]


@pytest.mark.parametrize(
    "given", [np.zeros((2, 5, 8)), [[1.0]], None], ids=["array", "list", "nothing"]
)
def test_what_is_no_tensor_is_one_line(given):
    for unit in (
        FLASH(8, qk_dim=4, chunk_size=4),
        GAU(8, qk_dim=4),
        TransformerBlock(8, heads=2),
        MCTransformerBlock(8, heads=2, chunk_size=4),
    ):
        assert_one_line(lambda: unit(given), "expected a torch tensor (B, T, 8)")  # noqa: B023
