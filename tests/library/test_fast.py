"""Attention by blocks of rows and the sum over earlier chunks, with their gradients by hand, against ``mixing``."""

from contextlib import nullcontext
from unittest import mock

import pytest
import torch

from flash_tutorial import fast, mixing
from flash_tutorial.chunks import factor_of


@pytest.mark.parametrize("n", [1, fast.ROWS, 3 * fast.ROWS + 5])
@pytest.mark.parametrize("causal", [True, False])
def test_it_is_the_plain_formula_with_its_gradients(causal, n):
    """Scores, bias and values of order one; some pairs are not visible."""
    generator = torch.Generator().manual_seed(0)
    shapes = (2, n, 3), (2, n, 3), (2, n, 5), (n, n)
    inputs = [
        torch.randn(*shape, generator=generator, dtype=torch.float64, requires_grad=True)
        for shape in shapes
    ]
    visible = torch.rand(2, n, n, generator=generator) < 0.7
    weight = torch.randn(2, n, 5, generator=generator, dtype=torch.float64)
    found = []
    for attend in (mixing.relu2_attention, fast.relu2_attention):
        q, k, v, bias = inputs
        y = attend(q, k, v, scale=0.5, causal=causal, bias=bias, visible=visible)
        found.append([y, *torch.autograd.grad((y * weight).sum(), inputs)])
    for plain, by_hand in zip(*found):
        torch.testing.assert_close(by_hand, plain, rtol=1e-12, atol=1e-10)


# ---------------------------------------------------------------- the sum over earlier chunks


def chunks_of_order_one(G, dtype, combine="mean"):
    """q, k, v of two rows, the factor of each chunk read, other in each row, and a gradient."""
    generator = torch.Generator().manual_seed(0)
    q, k, v, grad = (
        torch.randn(2, G, 4, n, generator=generator, dtype=torch.float64) for n in (3, 3, 5, 5)
    )
    counts = torch.tensor([[1] + [4] * (G - 1), [4] * G])
    factor = factor_of(counts.cumsum(1) - counts, 4, combine, q.to(dtype))
    return [t.to(dtype).requires_grad_() for t in (q, k, v)], factor, grad.to(dtype)


@pytest.mark.parametrize("G", [1, 2, 7])
@pytest.mark.parametrize("combine", ["mean", "sum"])
@pytest.mark.parametrize(
    "dtype, tolerance",
    [
        (torch.float64, 1e-12),
        (torch.float32, 1e-5),
        (torch.bfloat16, 5e-2),
        (torch.float16, 5e-3),
    ],
)
def test_earlier_chunks_are_the_plain_formula_with_its_gradients(dtype, tolerance, combine, G):
    """Against the formula in float64; half precision up to its own rounding."""
    exact, factor, grad = chunks_of_order_one(G, torch.float64, combine)
    expected = mixing.read_earlier_chunks(*exact, factor)
    inputs, factor, _ = chunks_of_order_one(G, dtype, combine)
    y = fast.read_earlier_chunks(*inputs, factor)
    found = [y, *torch.autograd.grad((y * grad.to(dtype)).sum(), inputs)]
    for got, plain in zip(
        found,
        [expected, *torch.autograd.grad((expected * grad).sum(), exact, materialize_grads=True)],
    ):
        assert got.dtype == dtype
        assert (got.double() - plain).abs().max() <= tolerance * plain.abs().max()


def test_earlier_chunks_under_autocast_give_its_type():
    inputs, factor, _ = chunks_of_order_one(3, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        y = fast.read_earlier_chunks(*inputs, factor)
        plain = mixing.read_earlier_chunks(*inputs, factor)
    assert y.dtype == plain.dtype == torch.bfloat16
    torch.testing.assert_close(y, plain, rtol=3e-2, atol=3e-2)
    assert all(g.dtype == torch.float32 for g in torch.autograd.grad(y.sum(), inputs))


@pytest.mark.parametrize("dtype, tolerance", [(torch.bfloat16, 1e-2), (torch.float16, 2e-3)])
def test_sums_over_many_chunks_are_not_kept_in_half_precision(dtype, tolerance):
    """512 chunks, all numbers of one sign: a sum in half precision would stop growing; values and gradients."""
    generator = torch.Generator().manual_seed(0)
    drawn = (
        torch.rand(1, 512, 4, n, generator=generator) * size
        for n, size in ((3, 0.1), (3, 1), (5, 1), (5, 1))
    )
    q, k, v, grad = (t.to(dtype) for t in drawn)
    counts, found = torch.arange(512)[None] * 4, []
    for read, kind in (
        (mixing.read_earlier_chunks, torch.float64),
        (fast.read_earlier_chunks, dtype),
    ):
        inputs = [t.to(kind).requires_grad_() for t in (q, k, v)]
        y = read(*inputs, factor_of(counts, 4, "mean", inputs[0]))
        found.append([y, *torch.autograd.grad(y, inputs, grad.to(kind))])
    for plain, by_hand in zip(*found):
        assert (by_hand.double() - plain).norm() <= tolerance * plain.norm()


def test_autocast_leaves_float64_alone():
    inputs, factor, _ = chunks_of_order_one(3, torch.float64)
    with torch.autocast("cpu", torch.bfloat16):
        y = fast.read_earlier_chunks(*inputs, factor)
        near = fast.relu2_attention(*(t[0] for t in inputs), scale=1.0, causal=True)
    assert y.dtype == near.dtype == torch.float64


def test_one_row_for_all_is_read_by_all():
    (q, k, v), factor, _ = chunks_of_order_one(3, torch.float64)
    torch.testing.assert_close(
        fast.read_earlier_chunks(q, k, v[:1], factor[:1]),
        mixing.read_earlier_chunks(q, k, v[:1], factor[:1]),
    )


def test_nothing_of_a_later_chunk_is_looked_at():
    """Values that are no numbers, and gradients of later outputs that are none."""
    inputs, factor, grad = chunks_of_order_one(4, torch.float64)
    spoiled = [t.detach().clone() for t in inputs]
    for t in spoiled:
        t[:, 2:] = float("nan")
    y = fast.read_earlier_chunks(*inputs, factor)
    assert torch.equal(fast.read_earlier_chunks(*spoiled, factor)[:, :2], y[:, :2])
    grad[:, :2] = float("nan")  # of outputs that no key or value of chunk 2 was read for
    for gradient in torch.autograd.grad(y, inputs, grad)[1:]:
        assert gradient[:, 2].isfinite().all() and gradient[:, 2].any() and not gradient[:, 3].any()


def attention(module, q, k, v):
    """The gradient of queries, ds k summed over 256 keys, is 131,072 before it is divided by C."""
    y = module.relu2_attention(q, k, v, scale=1 / 256, causal=False)
    return torch.autograd.grad(y, q, torch.full_like(y, 8.0))


def earlier_chunks(module, q, k, v):
    """q^T grad, summed over 256 tokens, is 131,072 before it is divided by C."""
    factor = torch.tensor([[0, 1, 0.5]], dtype=torch.promote_types(q.dtype, torch.float32))
    y = module.read_earlier_chunks(*(t.expand(3, -1, -1)[None] for t in (q, k, v)), factor)
    return torch.autograd.grad(y, (q, k, v), torch.full_like(y, 32.0))


@pytest.mark.parametrize(
    "gradients, numbers", [(attention, (4.0, 4.0, 1.0)), (earlier_chunks, (16.0, 1 / 16, 1 / 64))]
)
def test_gradients_whose_bare_sums_overflow_half_precision(gradients, numbers):
    halves = [torch.full((1, 256, 16), x, dtype=torch.float16, requires_grad=True) for x in numbers]
    doubles = [t.detach().double().requires_grad_() for t in halves]
    for got, wanted in zip(gradients(fast, *halves), gradients(mixing, *doubles)):
        assert (got.double() - wanted).norm() <= 1e-3 * wanted.norm()


@pytest.mark.parametrize("way", [torch.no_grad, torch.inference_mode, nullcontext])
def test_without_a_backward_pass_nothing_is_kept_for_it(way):
    """Neither under no_grad, whose inputs do require a gradient, nor where none of them does."""
    (q, k, v), factor, _ = chunks_of_order_one(3, torch.float64)
    kept = []
    note = lambda ctx, *tensors: kept.append(len(tensors))  # noqa: E731
    with mock.patch.object(torch.autograd.function.FunctionCtx, "save_for_backward", note):
        with way():
            if way is nullcontext:
                q, k, v = (t.detach() for t in (q, k, v))
            fast.relu2_attention(q[0], k[0], v[0], scale=1.0, causal=True)
            fast.read_earlier_chunks(q, k, v, factor)
        assert kept == [3, 4]  # q, k and v, and the factor: no map and no state
        fast.relu2_attention(q[0], k[0].detach().requires_grad_(), v[0], scale=1.0, causal=True)
    assert kept[2] > 3


@pytest.mark.parametrize("function", ["relu2_attention", "read_earlier_chunks"])
def test_a_second_derivative_is_refused_by_name(function):
    (q, k, v), factor, _ = chunks_of_order_one(3, torch.float64)
    y = {
        "relu2_attention": fast.relu2_attention(q[0], k[0], v[0], scale=1.0, causal=True),
        "read_earlier_chunks": fast.read_earlier_chunks(q, k, v, factor),
    }[function]
    with pytest.raises(RuntimeError, match=f"{function} has no second derivative"):
        torch.autograd.grad(y.square().sum(), q, create_graph=True)
