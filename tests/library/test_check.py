"""`check_unit` names what is wrong with a unit of one's own, and its measures see what is there."""

import math

import pytest
import torch
from torch import nn
from unit_cases import CASES, CURRENT, B, C, D, S, documents, unit_and_x

from flash_tutorial import FLASH, LanguageModel, ModelConfig, check_unit, states
from flash_tutorial.check import (
    document_leak,
    draw_order_one,
    gradient_leak,
    largest,
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


class NormOfTheBatch(Averager):
    def __init__(self, dim):
        super().__init__(dim)
        self.norm = nn.BatchNorm1d(dim)

    def forward(self, x, mask=None, segment_ids=None):
        return x + super().forward(self.norm(x.mT).mT, mask)


class LooksAheadInTraining(Averager):
    def total(self, v, mask):
        ahead = v.mean(1, keepdim=True) if self.training else 0
        return super().total(v, mask) + ahead


@pytest.mark.parametrize("kind", [NormOfTheBatch, LooksAheadInTraining])
def test_check_unit_finds_what_leaks_in_training_alone(kind):
    with pytest.raises(ValueError, match=r"fails leak of values.*in train mode"):
        check_unit(kind(8))


def test_check_unit_takes_no_dropout_for_a_leak():
    unit = Averager(8)
    unit.write = nn.Sequential(unit.write, nn.Dropout(0.5))
    assert check_unit(unit)


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
    for name in ("gau, rotary", "transformer", "mc_transformer++"):
        check_unit(CASES[name](True), lengths=14)
    check_unit(CASES["flash"](True))
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


class AsksForAMask(nn.Linear):
    def forward(self, x, mask):
        return x + super().forward(x)


@pytest.mark.parametrize(
    "unit, said",
    [
        (FLASH, "expected an object of an nn.Module"),
        (
            LanguageModel(ModelConfig(dim=8, depth=1, qk_dim=4)),
            "a whole model: give one of its units",
        ),
        (nn.Linear(8, 8), r"Linear cannot be called as unit\(x, mask=None\)"),
        (InPlace(8, 8), "changes x in place"),
        (AsksForAMask(8, 8), r"AsksForAMask cannot be called as unit\(x\) .* the default None"),
        (Bare(), "dim="),
    ],
)
def test_check_unit_says_what_is_no_unit(unit, said):
    with pytest.raises(ValueError, match=said):
        check_unit(unit)


def test_a_part_of_a_unit_may_be_called_stack():
    class Stacked(Averager):
        def __init__(self):
            super().__init__(8)
            self.stack = nn.Identity()

    assert check_unit(Stacked()).rows


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


# ---------------------------------------------------------------- far away
class Hidden(Averager):
    """An Averager that says nothing of chunks, and does something from a ``place`` on."""

    def __init__(self, kind, place, most=10_000):
        super().__init__(8)
        self.kind, self.place, self.most = kind, place, most

    def forward(self, x, mask=None, segment_ids=None):
        T = x.shape[1]
        if T > self.most:
            raise IndexError(f"the positions end at {self.most}")
        y = super().forward(x, mask, segment_ids)
        if T <= self.place:
            return y
        return torch.cat([y[:, : self.place], self.later(y[:, self.place :], x)], 1)

    def later(self, late, x):
        """What becomes of the outputs from the place on."""
        if self.kind == "all":
            return late + x[:, self.place :].mean(1, keepdim=True)
        if self.kind == "ahead":  # as far as there are inputs
            ahead = x[:, self.place :] * 0.5
            return late + ahead[:, -1:]
        if self.kind == "next":  # one output reads one input
            first = late[:, :1] + x[:, self.place + 1 :][:, :1].sum(1, keepdim=True)
            return torch.cat([first, late[:, 1:]], 1)
        if self.kind == "random":
            return nn.functional.dropout(late, 0.1)
        return nn.functional.dropout(late, 0.1, self.training)


@pytest.mark.parametrize(
    "kind, place",
    [("all", 32), ("all", 100), ("all", 370), ("next", 41), ("next", 100), ("ahead", 5)],
)
def test_check_unit_finds_a_leak_that_begins_anywhere(kind, place):
    with pytest.raises(ValueError, match="Hidden fails leak of values at position"):
        check_unit(Hidden(kind, place))


def test_check_unit_probes_up_to_what_a_unit_takes_and_says_how_far():
    with pytest.raises(ValueError, match="fails leak of values at position 50 of 64"):
        check_unit(Hidden("next", 49, most=64))
    report = str(check_unit(Hidden("none", 0, most=64)))
    assert "T up to 64, no further: T = 126 raises the positions end at 64" in report


def test_check_unit_takes_the_lengths_that_it_is_given():
    assert "T up to 40" in str(check_unit(Hidden("all", 40), lengths=40))
    with pytest.raises(ValueError, match="fails leak of values at position 48 of 60"):
        check_unit(Hidden("next", 47), lengths=[9, 60])
    for wrong in (1, [], [20, "3"]):
        with pytest.raises(ValueError, match="lengths"):
            check_unit(Hidden("none", 0), lengths=wrong)


@pytest.mark.parametrize("place", [0, 60])
def test_check_unit_tells_what_is_random_from_a_leak(place):
    with pytest.raises(
        ValueError, match=r"fails eval mode: it is random, .*training=self\.training"
    ):
        check_unit(Hidden("random", place))
    check_unit(Hidden("dropout", place), lengths=[14, 80])


# ---------------------------------------------------------------- documents
class Documents(Averager):
    """An Averager that begins anew in each document, or says that it does."""

    def __init__(self, fault=None):
        super().__init__(8)
        self.fault = fault

    def forward(self, x, mask=None, segment_ids=None):
        if segment_ids is None or self.fault == "ignores them":
            return super().forward(x, mask)
        same = segment_ids[:, :, None] == segment_ids[:, None, :]
        if self.fault == "neighbours":
            same = (segment_ids[:, :, None] - segment_ids[:, None, :]).abs() <= 1
        if self.fault == "all but the first":
            same = same | (segment_ids == segment_ids.amin(1, keepdim=True))[:, None, :]
        v = torch.tanh(self.value(x) * self.kappa)
        if mask is not None:
            v = v.masked_fill(~mask[..., None], 0)
        read = same.tril().to(v)
        count = torch.arange(1, x.shape[1] + 1).to(x)[:, None]
        if self.fault == "counts":
            count = count + 1
        return x + self.write(read @ v / count)


def test_check_unit_tests_documents_where_it_is_asked_to():
    assert {"documents", "one document"} <= {
        row[0] for row in check_unit(Documents(), documents=True).rows
    }
    for name in ("gau, rotary", "flash", "transformer", "mc_transformer++"):
        for causal in (True, False):
            check_unit(CASES[name](causal), lengths=11, documents=True)


@pytest.mark.parametrize(
    "fault, said",
    [
        ("ignores them", "fails documents at document 1 of those that begin at 0, 1: "),
        ("neighbours", "fails documents at document"),
        ("all but the first", "fails documents at document 1"),
        ("counts", "fails one document at length 14: "),
    ],
)
def test_check_unit_names_what_documents_read(fault, said):
    check_unit(Documents(fault), lengths=14)  # unasked nothing is said
    with pytest.raises(ValueError, match=said):
        check_unit(Documents(fault), documents=True)


def test_a_unit_that_takes_no_documents_is_told_so():
    with pytest.raises(
        ValueError, match=r"cannot be called as unit\(x, mask=None, segment_ids=None\)"
    ):
        check_unit(InPlace(8, 8), documents=True)


def test_what_is_no_number_is_as_large_as_can_be():
    assert largest(torch.tensor([0.0, math.nan])) == largest(torch.tensor([-math.inf])) == math.inf
    assert largest(torch.zeros(0)) == 0
