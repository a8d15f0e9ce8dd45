"""The tests can fail: each fault that people make is planted in the running package, and the checks must notice it.

The faults stand in the tables units and models of ``faults/``.
"""

import importlib
from functools import partial

import pytest
import torch
from small_model import MyUnit
from unit_cases import BOTH_WAYS, B, C, T, documents, features, how_to_read, make, run_reference

from faults.planter import faults_of, planted
from flash_tutorial import GAU, fast
from flash_tutorial.check import (
    branch_error,
    document_leak,
    gradient_leak,
    padding_error,
    padding_leak,
    prefix_error,
    row_error,
    row_leak,
    step_error,
    value_leak,
)

pytestmark = pytest.mark.quick


# ---------------------------------------------------------------- the checks, each true when something is wrong


def value(unit, x):
    """The numbers of the reference, with nothing, with a mask, with documents, with both; a short sequence too."""
    for length in (T, 3):
        for which in ("all", "mask", "documents", "both"):
            kw = how_to_read(which, length)
            y = unit(x[:, :length], **kw)
            if (
                not branch_error(
                    y, run_reference(unit, x[:, :length], **kw), x[:, :length], kw.get("mask")
                )
                <= 1e-10
            ):
                return True
    return False


def slope_is_wrong(function, x):
    """The gradient along one random direction against a central difference."""
    x, direction = (
        x.detach(),
        torch.randn(x.shape, generator=torch.Generator().manual_seed(2), dtype=x.dtype),
    )
    weights = torch.randn(
        function(x).shape, generator=torch.Generator().manual_seed(3), dtype=x.dtype
    )
    sums = [float((function(x + e * direction) * weights).sum()) for e in (1e-5, -1e-5)]
    x.requires_grad_()
    (gradient,) = torch.autograd.grad((function(x) * weights).sum(), x)
    slope, expected = float((gradient * direction).sum()), (sums[0] - sums[1]) / 2e-5
    return not abs(slope - expected) <= 1e-5 * max(1.0, abs(expected))


def gradient(unit, x):
    """Of the unit, and of attention over more rows than one block has."""
    n = 2 * fast.ROWS + 3
    long = torch.randn(1, n, 3, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    return any(
        [
            slope_is_wrong(unit, x),
            slope_is_wrong(lambda x: unit(x, **how_to_read("documents")), x),
            slope_is_wrong(
                lambda q: fast.relu2_attention(q, q.flip(1), q, scale=0.1, causal=True), long
            ),
        ]
    )


CHECKS = {
    "value": value,
    "gradient": gradient,
    "leak": lambda unit, x: (
        unit.causal and max(value_leak(unit, x, cut) for cut in range(1, T)) > 0
    ),
    "leak of gradients": lambda unit, x: (
        unit.causal and max(gradient_leak(unit, x, cut) for cut in range(1, T)) > 0
    ),
    "prefix": lambda unit, x: (
        unit.causal and max(prefix_error(unit, x, cut) for cut in range(1, T)) > 1e-12
    ),
    "padding content": lambda unit, x: padding_leak(unit, x, torch.tensor([C, C + 1, 1])) > 0,
    "padding": lambda unit, x: max(padding_error(unit, x, n) for n in (1, C, C + 1, T - 1)) > 1e-12,
    "rows": lambda unit, x: (
        row_leak(unit, x) > 0 or row_error(unit, x, torch.tensor([T, C + 1, 1])) > 1e-12
    ),
    "documents": lambda unit, x: any(
        document_leak(unit, x, ids, i) > 0 for ids in (documents(),) for i in ids.unique().tolist()
    ),
    "step": lambda unit, x: (
        unit.causal
        and getattr(unit, "length_scale", 1) is not None
        and max(
            step_error(unit, x, torch.tensor(p))
            for p in ([1] * B, [C] * B, [C + 1] * B, [C + 1, C - 1, 2 * C])
        )
        > 1e-10
    ),
}


def noticed_by(unit):
    x, noticed = features(), set()
    for name, check in CHECKS.items():
        try:
            wrong = check(unit, x)
        except (RuntimeError, IndexError):  # a fault that crashes is noticed too
            wrong = True
        if wrong:
            noticed.add(name)
    return noticed


# ---------------------------------------------------------------- the faults


FAULTS = faults_of("units")
SEEN_BY_CHECKS = [name for name, fault in FAULTS.items() if "unit" in fault.noticed_by]


def case_of(text):
    """Name and causal: `flash` is causal, `flash, both sides` is not."""
    name = text.removesuffix(", both sides")
    return name, name == text


@pytest.mark.nightly
@pytest.mark.parametrize("name", SEEN_BY_CHECKS)
def test_a_planted_fault_is_noticed(name):
    fault = FAULTS[name]
    unit = make(*case_of(fault.noticed_by["unit"]))
    with planted(fault):
        noticed = noticed_by(unit)
    print(f"{name}: noticed by {', '.join(sorted(noticed)) or 'nobody'}")
    assert set(fault.noticed_by["checks"]) <= noticed


@pytest.mark.parametrize("name, causal", BOTH_WAYS)
def test_without_a_fault_nothing_is_noticed(name, causal):
    expected = {"prefix"} if (name, causal) == ("gau, current length", True) else set()
    assert noticed_by(make(name, causal)) == expected


# ---------------------------------------------------------------- faults of whole models


MODEL_FAULTS = faults_of("models")
SEEN_BY_TESTS = [name for name, fault in MODEL_FAULTS.items() if "test" in fault.noticed_by]
CLASSES = {"GAU": GAU, "MyUnit": MyUnit}


def noticing(fault):
    """The test that must notice, with its arguments; a class stands there by its name."""
    module, name = fault.noticed_by["test"].split(".")
    arguments = [CLASSES.get(each, each) for each in fault.noticed_by.get("arguments", [])]
    return partial(getattr(importlib.import_module(module), name), *arguments)


@pytest.mark.parametrize("name", SEEN_BY_TESTS)
def test_a_fault_planted_in_the_model_is_noticed(name):
    fault = MODEL_FAULTS[name]
    test = noticing(fault)
    test()
    with planted(fault), pytest.raises((AssertionError, RuntimeError)):
        test()
