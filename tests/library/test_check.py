"""`check_unit` names what is wrong with a unit of one's own, and its measures see what is there."""

import math

import pytest
import torch
from torch import nn
from unit_cases import CASES, CURRENT, B, C, D, S, documents, unit_and_x

from flash_tutorial import FLASH, check_unit, states
from flash_tutorial.check import (
    document_leak,
    draw_order_one,
    gradient_leak,
    padding_leak,
    value_leak,
)


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
        count = torch.arange(1, x.shape[1] + 1).to(x)[:, None]
        if self.fault == "prefix":
            count = count * x.shape[1]
        y = self.write(self.total(v, mask) / count)
        if self.fault == "vanishes":
            y = y * 1e-6
        return y[:, :-1] if self.fault == "shape" else x + y

    def total(self, v, mask):
        """The running sum, to which some faults add what it should not hold."""
        next_one = nn.functional.pad(v, (0, 0, -1, 1))
        wrong = {
            "leak": v.sum(1, keepdim=True) - v.cumsum(1),
            "leak at the border": next_one * 1e-9,
            "leak of gradients": (v - v.detach()).mean(1, keepdim=True),
            "padding count": 0 if mask is None else 1 / v.shape[1],
            "rows": v.mean(0),
        }
        return v.cumsum(1) + wrong.get(self.fault, 0)

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
    assert "Averager: all properties hold" in str(report)
    assert all(f"\n{name} " in str(report) for name, *_ in report.rows)
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


def test_check_unit_passes_units_of_the_package_and_names_what_one_is_not():
    """Others are held to the same measures in test_units."""
    for name in ("gau, rotary", "flash", "transformer", "mc_transformer++"):
        check_unit(CASES[name](True))
    with pytest.raises(ValueError, match=r"GAU fails prefix at length 1: .*fixed length"):
        check_unit(CASES[CURRENT](True))


def test_the_measures_see_a_unit_that_reads_all():
    unit, x = unit_and_x("flash", False)
    assert value_leak(unit, x, 2 * C - 1) > 1e-2
    assert gradient_leak(unit, x, 2 * C - 1) > 1e-2
    assert document_leak(lambda x, segment_ids: unit(x), x, documents(), 1) > 1e-2
    assert padding_leak(lambda x, mask: unit(x), x, torch.tensor([2 * C - 2] * B)) > 1e-2


class Bare(nn.Module):
    """Its width cannot be seen."""

    causal = True

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(6))

    def forward(self, x, mask=None, segment_ids=None):
        return x + x * self.scale


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
        (Bare(), "dim="),
    ],
)
def test_check_unit_says_what_is_no_unit(unit, said):
    with pytest.raises(ValueError, match=said):
        check_unit(unit)


def test_a_width_may_be_handed_in():
    assert check_unit(Bare(), dim=6).rows[-1][0] == "step"


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
