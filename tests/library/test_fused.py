"""FLASH by Triton's kernels, forward and backward, against ``mixing`` and the unit in float64."""

import copy
import os
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from typing import NamedTuple
from unittest import mock

import pytest
import torch
from functorch.compile import make_boxed_func

# it asks for the interpreter where it must
from test_kernels import (
    DEVICE,
    FORMATS,
    GPU,
    error,
    guarded,
    kernels,
)
from torch._dynamo.backends.common import aot_autograd
from torch._dynamo.testing import CompileCounterWithBackend
from torch.utils.checkpoint import checkpoint

from faults.planter import faults_of, faulty_copy
from flash_tutorial import FLASH, LanguageModel, ModelConfig, states
from flash_tutorial.check import draw_order_one
from flash_tutorial.corpora import load_corpus
from flash_tutorial.gpu import floor, fused
from flash_tutorial.mixing import mixed_chunk_attention
from flash_tutorial.training import TrainConfig, train

assert fused.kernels is kernels
quick = pytest.mark.quick


@pytest.fixture(autouse=True)
def interpreter(monkeypatch):
    if not GPU:
        monkeypatch.setenv("TRITON_INTERPRET", "1")


NAMES = ("quad_q", "quad_k", "lin_q", "lin_k", "v", "gate", "table", "sums")
SIZES = {  # T, C, S, E, tile
    "three chunks and a tail": (150, 40, 24, 40, (16, 32)),
    "chunks of whole tiles": (101, 32, 16, 16, (16, 16)),
    "one tile holds a chunk": (80, 24, 8, 20, (32, 32)),
    "shorter than a chunk": (21, 32, 16, 16, (16, 16)),
    "one token": (1, 16, 16, 16, (16, 16)),
}
USUAL = SIZES["one tile holds a chunk"]


def inputs(sizes, dtype, device, combine="mean", transposed=False):
    """The tensors of NAMES, of order one, in memory that is NaN around them, and an order-one gradient."""
    T, C, S, E, _ = sizes
    kinds = dict(dtype=dtype, device=device, transposed=transposed)
    heads = [guarded(2, T, S, seed=seed, **kinds) for seed in range(4)]
    heads[0].mul_(C / S**0.5)  # so that scores / C are of order one
    # a mean over many tokens is small, and a sum is not
    heads[2].mul_(8 if combine == "mean" else 0.2)
    v, gate = (guarded(2, T, E, seed=seed, **kinds) for seed in (4, 5))
    table = guarded(min(C, T), min(C, T), seed=11, **kinds | {"dtype": torch.float32})
    sums = guarded(2, S, E, seed=12, **kinds | {"dtype": torch.float32})
    grad = torch.randn(2, T, E, generator=torch.Generator().manual_seed(6)).to(device, dtype)
    return [*heads, v, gate, table, sums], grad


def documents(T, device):
    """Sorted ids: three documents in the first row, one of them longer than two chunks, and a dozen in the second."""
    places = torch.arange(T, device=device)
    return torch.stack([(places > T // 7).long() + (places > T - T // 6), places // 11])


def gradients(mixed, tensors, grads):
    """What comes out, the output and perhaps the sum at the end, and the gradients of all tensors."""
    leaves = [
        t.detach().clone(memory_format=torch.preserve_format).requires_grad_() for t in tensors
    ]
    results = mixed(*leaves)
    grads = [grad.to(result) for result, grad in zip(results, grads)]
    found = torch.autograd.grad(results, leaves, grads, allow_unused=True)
    return [result.detach() for result in results], dict(zip(NAMES, found))


def errors(
    module,
    sizes,
    dtype,
    device,
    *,
    bias=True,
    gate=True,
    combine="mean",
    ids=None,
    transposed=False,
    before=False,
):
    """The relative error of what comes out and of each gradient, against ``mixing`` in float64.

    Behind earlier tokens it is also the sum at the end: over all whole chunks of the first row, two of the second.
    """
    tensors, grad = inputs(sizes, dtype, device, combine, transposed)
    tokens = torch.tensor([[3], [1]], device=device) * sizes[1]  # of each row, in the sums
    finished = torch.tensor([sizes[0] // sizes[1], 2], device=device)
    grads = [grad, torch.randn(tensors[-1].shape, generator=torch.Generator().manual_seed(5))]

    def by_kernels(*leaves):
        *five, u, table, sums = leaves
        how = dict(chunk_size=sizes[1], combine=combine, segment_ids=ids, tile=sizes[4])
        how |= dict(bias=(lambda n: table) if bias else None, gate=u if gate else None)
        if not before:
            return [module.fused_mixed_chunk(*five, **how)]
        return module.fused_mixed_chunk(*five, before=(sums, tokens), finished=finished, **how)

    def by_mixing(*leaves):
        *five, u, table, sums = leaves
        how = dict(chunk_size=sizes[1], combine=combine, segment_ids=ids, causal=True)
        how |= dict(before=(sums, tokens) if before else None)
        if before:  # what is not finished is read by nobody
            chunk = torch.arange(sizes[0], device=device)[:, None] // sizes[1]
            five[3] = five[3] * (chunk < finished[:, None, None])
        out = mixed_chunk_attention(*five, bias=(lambda n: table) if bias else None, **how)
        results = [u * out if gate else out]
        if before:
            lin_k, v = five[3][:, None], five[4][:, None]
            results.append(sums + states.sum_of_chunks(lin_k, v, sizes[1], finished)[:, 0])
        return results

    got, found = gradients(by_kernels, tensors, grads)
    wanted, expected = gradients(by_mixing, [t.double() for t in tensors], grads)
    result = {name: error(*both) for name, *both in zip(("out", "end"), got, wanted)}
    for name in NAMES:
        # no gradient, as of the far heads in a single chunk
        if expected[name] is None or not expected[name].any():
            assert found[name] is None or not found[name].any(), name
        else:
            result[name] = error(found[name], expected[name])
    return result


def all_below(found, limit):
    return all(e < limit for e in found.values())  # a NaN is not below; max would pass over it


@pytest.mark.parametrize("device", [DEVICE])
@pytest.mark.parametrize("dtype, limit", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("name", SIZES)
def test_values_and_gradients_are_those_of_mixing(name, dtype, limit, device):
    found = errors(fused, SIZES[name], dtype, device)
    assert all_below(found, limit), found


OPTIONS = {
    "no bias": {"bias": False},
    "no gate": {"gate": False},
    "sum": {"combine": "sum"},
    "any strides": {"transposed": True},
    "behind earlier tokens": {"before": True},
    "sum, behind earlier tokens": {"before": True, "combine": "sum"},
}


@quick
@pytest.mark.parametrize("device", [DEVICE])
@pytest.mark.parametrize("dtype, limit", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("name", OPTIONS)
def test_options(name, dtype, limit, device):
    found = errors(fused, USUAL, dtype, device, **OPTIONS[name])
    assert all_below(found, limit), found


@pytest.mark.parametrize("device", [DEVICE])
@pytest.mark.parametrize("dtype, limit", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("combine", ["mean", "sum"])
def test_documents(combine, dtype, limit, device):
    found = errors(fused, USUAL, dtype, device, combine=combine, ids=documents(USUAL[0], device))
    assert all_below(found, limit), found


@quick
@pytest.mark.parametrize("device", [DEVICE])
def test_padding_on_the_right_needs_no_mask(device):
    """It is never read: as in mixing, whose mean leaves it out, and whatever stands there."""
    heads = [torch.randn(3, 70, 16, device=device) for _ in range(4)]
    v = torch.randn(3, 70, 32, device=device)
    mask = torch.arange(70, device=device) < torch.tensor([[70], [53], [9]], device=device)
    wanted = mixed_chunk_attention(
        *heads, v * mask[..., None], chunk_size=20, causal=True, mask=mask
    )
    got = fused.fused_mixed_chunk(*heads, v.masked_fill(~mask[..., None], 100.0), chunk_size=20)
    assert error(got[mask], wanted[mask].double()) < 1e-5


@pytest.mark.parametrize("device", [DEVICE])
def test_the_slope_along_a_line_is_the_gradient(device):
    """Of a sum of squares, between two points a little before and a little behind, for all inputs at once."""
    tensors, _ = inputs(USUAL, torch.float32, device)
    lines = [
        torch.randn(t.shape, generator=torch.Generator().manual_seed(7)).to(device) for t in tensors
    ]

    def value(tensors):
        *five, u, table, _ = tensors
        return fused.fused_mixed_chunk(
            *five, chunk_size=USUAL[1], bias=lambda n: table, gate=u, tile=(32, 32)
        ).square()

    leaves = [t.clone().requires_grad_() for t in tensors]
    value(leaves).sum().backward()
    pairs = [(leaf, line) for leaf, line in zip(leaves, lines) if leaf.grad is not None]
    slope = sum(float((leaf.grad.double() * line).sum()) for leaf, line in pairs)
    with torch.no_grad():
        after, before = (
            value([t + step * line for t, line in zip(tensors, lines)]).double().sum()
            for step in (1e-3, -1e-3)
        )
    assert abs(float(after - before) / 2e-3 - slope) < 2e-3 * abs(slope)


@quick
@pytest.mark.parametrize("device", [DEVICE])
def test_a_gradient_whose_bare_sums_overflow_half_precision(device):
    """q^T dy, summed over the 64 tokens of a chunk, is 131,072 before it is divided by C."""

    def gradients(mixed, dtype):
        numbers = (0.0, 0.0, 32.0, 1 / 16, 1 / 64)  # quad_q, quad_k, lin_q, lin_k, v
        inputs = [
            torch.full((1, 192, 16), x, dtype=dtype, device=device, requires_grad=True)
            for x in numbers
        ]
        y = mixed(*inputs, chunk_size=64)
        return torch.autograd.grad(y, inputs[2:], torch.full_like(y, 64.0))

    found = gradients(partial(fused.fused_mixed_chunk, tile=(64, 16)), torch.float16)
    for got, wanted in zip(
        found, gradients(partial(mixed_chunk_attention, causal=True), torch.float64)
    ):
        assert error(got, wanted) < 2e-3


# ---------------------------------------------------------------- without a backward pass
@contextmanager
def kept_for_backward():
    """A list that grows with each tensor that is saved for a backward pass, and each y that ``mix`` writes for one."""
    kept, run_mix = [], kernels.run_mix

    def noted(*args, **options):
        kept.extend(["y"] if args[5] is not None else [])
        run_mix(*args, **options)

    def save(ctx, *tensors):
        kept.extend(tensors)

    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(kernels, "run_mix", noted))
        stack.enter_context(
            mock.patch.object(torch.autograd.function.FunctionCtx, "save_for_backward", save)
        )
        yield kept


@quick
@pytest.mark.parametrize("device", [DEVICE])
@pytest.mark.parametrize("way", ["no_grad", "inference_mode", "no gradient asked for"])
def test_without_a_backward_pass_nothing_is_kept_or_written_for_it(way, device):
    unit, _ = pair(device)
    tensors, _ = inputs(SIZES["one token"], torch.float32, device)
    five, asks = tensors[:5], way != "no gradient asked for"
    for t in (*five, *unit.parameters()):
        t.requires_grad_(asks)
    with kept_for_backward() as kept:
        with getattr(torch, way)() if asks else nullcontext():
            unit(drawn(device))
            fused.fused_mixed_chunk(*five, chunk_size=16)
        assert kept == []
        unit.requires_grad_()(drawn(device))
        assert "y" in kept and len(kept) > 5


# ---------------------------------------------------------------- planted faults
FAULTS = faults_of("fused")


@pytest.mark.nightly
@pytest.mark.skipif(GPU, reason="a faulty kernel may stop a card: the interpreter runs them")
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_noticed(name):
    # operators of one name may not be there twice
    namespace = f"flash_tutorial_faulty_{list(FAULTS).index(name)}"
    module = faulty_copy(FAULTS[name], ('"flash_tutorial::', f'"{namespace}::'))
    how = {"before": True}
    if "before" not in FAULTS[name].noticed_by:
        how = {"ids": documents(USUAL[0], "cpu")}
    found = errors(module, USUAL, torch.float32, "cpu", **how)
    assert not all_below(found, 1e-3), found


# ---------------------------------------------------------------- the unit
def pair(device, dtype=torch.float32, **options):
    """A unit of order one with the kernels, and the same in float64 by torch."""
    unit = FLASH(24, chunk_size=16, qk_dim=8, causal=True, backend="triton", **options).to(device)
    draw_order_one(unit, torch.Generator().manual_seed(1))
    unit = unit.to(dtype)
    other = copy.deepcopy(unit).double()
    other.backend = "torch"
    return unit, other


def drawn(device):
    """The same input each time, since some have a gradient near zero, of which float32 keeps fewer digits: 23 draws of
    200 are off by more than 1e-5 somewhere in torch's own float32. With this one the kernels stay below 1e-6."""
    return torch.randn(2, 70, 24, generator=torch.Generator().manual_seed(2)).to(device)


def unit_errors(unit, other, x, mask=None, ids=None):
    """Of the branch y - x, of the gradient of x and of each parameter's."""
    grad = torch.randn(x.shape, generator=torch.Generator().manual_seed(2)).to(x)
    if mask is not None:
        grad = grad * mask[..., None]
    branches, leaves = [], []
    for module, value in ((unit, x), (other, x.double())):
        leaf = value.clone().requires_grad_()
        branch = module(leaf, mask, ids) - leaf
        branch.backward(grad.to(branch))
        branches.append(branch.detach() if mask is None else branch.detach()[mask])
        leaves.append(leaf.grad)
    found = {"branch": error(*branches), "x": error(*leaves)}
    for (name, p), q in zip(unit.named_parameters(), other.parameters()):
        found[name] = error(p.grad, q.grad)
    return found


UNITS = {
    "Toeplitz, mean": {},
    "rotary, sum": {"bias": "rotary", "combine": "sum"},
    "no bias, LayerNorm": {"bias": None, "norm": "layer"},
}


@quick
@pytest.mark.parametrize("device", [DEVICE])
@pytest.mark.parametrize("name", UNITS)
def test_a_unit_is_that_of_torch(name, device):
    found = unit_errors(*pair(device, **UNITS[name]), drawn(device))
    assert all_below(found, 1e-5), found


@pytest.mark.parametrize("device", [DEVICE])
@pytest.mark.parametrize("padded, in_documents", [(True, False), (False, True), (True, True)])
def test_a_unit_with_padding_and_documents(padded, in_documents, device):
    x = drawn(device)
    mask = (
        torch.arange(70, device=device) < torch.tensor([[70], [43]], device=device)
        if padded
        else None
    )
    if padded:
        x[~mask] = float("nan")  # whatever stands there
    ids = documents(70, device) if in_documents else None
    unit, other = pair(device)
    expected = x.nan_to_num()
    assert not padded or torch.equal(unit(x, mask, ids)[mask], unit(expected, mask, ids)[mask])
    found = unit_errors(unit, other, expected, mask, ids)
    assert all_below(found, 1e-5), found


@pytest.mark.parametrize("device", [DEVICE])
def test_a_unit_with_padding_at_the_end_of_documents(device):
    """Inside chunks, so that the mean of the chunks behind counts fewer tokens."""
    unit, other = pair(device)
    x, ids = drawn(device), documents(70, device)
    last = torch.nn.functional.pad(ids[:, 1:] != ids[:, :-1], (0, 1), value=True)
    found = unit_errors(unit, other, x, ~last, ids)
    assert all_below(found, 1e-5), found


# ---------------------------------------------------------------- a row in pieces
PIECES = {"from the end of a chunk": (32, 38), "inside chunks": (21, 8, 41)}


def in_pieces(unit, x, lengths, detach=False):
    """The branch of a row that is read piece after piece, and the last state."""
    state = None
    branches = []
    for piece in x.split(lengths, 1):
        y, state = unit.prefill(piece, state=state)
        branches.append(y - piece)
        if detach:
            state = state.with_each(lambda t, least=None: t.detach())
    return torch.cat(branches, 1), state


def backward_from(*results):
    """Gradients of order one for all results, the same for those of the same shapes."""
    draw = torch.Generator().manual_seed(4)
    grads = [torch.randn(t.shape, generator=draw).to(t) for t in results]
    torch.autograd.backward(results, grads)


@pytest.mark.parametrize("device", [DEVICE])
@pytest.mark.parametrize("detach", [False, True], ids=["whole", "truncated"])
@pytest.mark.parametrize("name", PIECES)
def test_a_row_in_pieces_is_read_by_the_kernels_with_its_gradients(name, detach, device):
    """A prompt that is longer than the memory, and backpropagation through time, whole or truncated."""
    unit, other = pair(device)
    leaves = [drawn(device).requires_grad_(), drawn(device).double().requires_grad_()]
    runs = mock.Mock(side_effect=kernels.run_mix)
    by_torch = mock.Mock(side_effect=states.sum_of_chunks)
    with (
        mock.patch.object(kernels, "run_mix", runs),
        mock.patch.object(states, "sum_of_chunks", by_torch),
    ):
        got, state = in_pieces(unit, leaves[0], PIECES[name], detach)
    assert not by_torch.called  # the state behind a piece is the kernels' too
    wanted, other_state = in_pieces(other, leaves[1], PIECES[name], detach)
    assert runs.call_count == len(PIECES[name])
    backward_from(got, *([] if detach else [state.sums]))
    backward_from(wanted, *([] if detach else [other_state.sums]))
    found = {"branch": error(got, wanted), "sums": error(state.sums, other_state.sums)}
    found["x"] = error(leaves[0].grad, leaves[1].grad)
    for (parameter, p), q in zip(unit.named_parameters(), other.parameters()):
        found[parameter] = error(p.grad, q.grad)
    assert all_below(found, 1e-5), found
    assert not detach or leaves[0].grad[:, : PIECES[name][0]].any()


@pytest.mark.parametrize("device", [DEVICE])
def test_each_row_of_a_prompt_ends_in_its_own_state(device):
    """The second row ends inside its third chunk, the first inside its fifth; both go on."""
    unit, other = pair(device)
    mask = torch.arange(70, device=device) < torch.tensor([[70], [37]], device=device)
    found = {}
    states_then = []
    for module, x in ((unit, drawn(device)), (other, drawn(device).double())):
        leaf = x.clone().requires_grad_()
        y, state = module.prefill(leaf, mask)
        further, state = module.prefill(x[:, :30], state=state)
        branch = torch.cat([(y - leaf)[mask], (further - x[:, :30]).flatten(0, 1)])
        backward_from(branch, state.sums)
        states_then.append((branch, state.sums, state.v, leaf.grad))
    for name, got, wanted in zip(("branch", "sums", "open chunk", "x"), *states_then):
        found[name] = error(got, wanted)
    assert all_below(found, 1e-5), found


# ---------------------------------------------------------------- what torch sees of a unit
def operators_of(module):
    return [str(node.target) for node in module.graph.nodes if node.op == "call_function"]


not_on_a_pretended_card = pytest.mark.skipif(
    GPU and torch.version.cuda is None, reason="torch compiles nothing for a pretended card"
)


def with_the_card_check_lifted(device, monkeypatch):
    """A unit that takes the kernels by itself, wherever its tensors lie."""
    monkeypatch.setattr(FLASH, "gains_nothing", lambda unit, x: None)
    unit, _ = pair(device)
    unit.backend = "auto"
    return unit


@not_on_a_pretended_card
@pytest.mark.parametrize("device", [DEVICE])
def test_compiled_without_a_graph_break_the_kernels_stay(device, monkeypatch):
    unit, seen = with_the_card_check_lifted(device, monkeypatch), {}

    def noting(name):
        def compiler(module, example_inputs):
            seen[name] = operators_of(module)
            return make_boxed_func(module.forward)

        return compiler

    backend = aot_autograd(fw_compiler=noting("forward"), bw_compiler=noting("backward"))
    compiled = torch.compile(unit, fullgraph=True, backend=backend)
    grads = []
    for function in (unit, compiled):
        x = drawn(device).requires_grad_()
        y = function(x)
        y.sum().backward()
        grads.append((y.detach(), x.grad))
    assert "flash_tutorial.unit.default" in seen["forward"]
    assert "flash_tutorial.unit_backward.default" in seen["backward"]
    for eager, after in zip(*grads):
        assert torch.equal(eager, after)


@not_on_a_pretended_card
@pytest.mark.nightly
@pytest.mark.parametrize("device", [DEVICE])
@pytest.mark.parametrize("in_documents, lengths", [(False, (70, 33, 64, 48)), (True, (70, 33, 50))])
def test_compiled_once_for_any_length(in_documents, lengths, device):
    """With documents a length that C divides is one graph more."""
    unit, _ = pair(device)
    counted = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(unit, fullgraph=True, backend=counted, dynamic=True)
    graphs = []
    for T in lengths:
        x = drawn(device)[:, :T].clone().requires_grad_()
        ids = documents(70, device)[:, :T].clone() if in_documents else None
        out = compiled(x, None, ids)
        assert torch.equal(out, unit(x, None, ids))
        out.sum().backward()
        graphs.append(counted.frame_count)
    assert graphs[0] == graphs[-1], graphs


@not_on_a_pretended_card
@pytest.mark.nightly
@pytest.mark.parametrize("device", [DEVICE])
def test_inductor_finds_the_documents_of_each_chunk(device):
    unit, _ = pair(device)
    x = drawn(device)
    ids = documents(70, device)
    found = torch.compile(unit, fullgraph=True)(x, None, ids).detach()
    assert error(found, unit(x, None, ids).detach()) < 1e-5


@quick
def test_exported_a_unit_has_its_operator(monkeypatch):
    unit = with_the_card_check_lifted("cpu", monkeypatch)
    program = torch.export.export(unit, (drawn("cpu"),))
    assert "flash_tutorial.unit.default" in operators_of(program.graph_module)


@pytest.mark.parametrize("device", [DEVICE])
def test_with_autocast_a_unit_is_in_half_precision_and_its_gradients_are_not(device):
    unit, other = pair(device)
    x = drawn(device)
    with torch.autocast(x.device.type, torch.float16):
        branch = unit(x) - x
    branch.square().sum().backward()
    wanted = other(x.double()) - x
    wanted.square().sum().backward()
    assert error(branch.detach(), wanted.detach()) < 4e-3
    for (name, p), q in zip(unit.named_parameters(), other.parameters()):
        assert p.grad.dtype == torch.float32 and error(p.grad, q.grad) < 1e-2, name


@quick
@pytest.mark.parametrize("device", [DEVICE])
def test_with_autocast_the_mixing_takes_float32_and_gives_it_gradients(device):
    """Its backward pass comes when autocast is off: what the forward pass kept has to be of one type."""
    tensors, grad = inputs(USUAL, torch.float32, device)

    def by_kernels(*leaves):
        *five, gate, table, _ = leaves
        how = dict(chunk_size=USUAL[1], bias=lambda n: table, gate=gate)
        dtype = five[0].dtype
        with torch.autocast(device, torch.float16, enabled=dtype == torch.float32):
            return [fused.fused_mixed_chunk(*five, **how).to(dtype)]

    halves = [t.half() if t.dim() == 3 else t for t in tensors[:-1]]
    (got,), found = gradients(by_kernels, tensors, [grad])
    (wanted,), expected = gradients(by_kernels, [*halves, tensors[-1]], [grad])
    assert error(got, wanted.double()) == 0
    for name in NAMES[:-1]:
        assert found[name].dtype == torch.float32
        assert error(found[name], expected[name].double()) == 0, name


@pytest.mark.parametrize("device", [DEVICE])
def test_a_backward_pass_alone_in_autocast_keeps_the_type_of_the_forward_pass(device):
    tensors, grad = inputs(USUAL, torch.float32, device)
    found = []
    for on in (False, True):
        leaves = [t.detach().clone().requires_grad_() for t in tensors[:5]]
        out = fused.fused_mixed_chunk(*leaves, chunk_size=USUAL[1])
        with torch.autocast(device, torch.float16, enabled=on):
            out.backward(grad)
        found.append([leaf.grad for leaf in leaves])
    for outside, inside in zip(*found):
        assert torch.equal(outside, inside)


@pytest.mark.parametrize("device", [DEVICE])
def test_computed_again_in_the_backward_pass_a_unit_has_the_same_gradients(device):
    unit, _ = pair(device)
    grads = []
    for again in (False, True):
        x = drawn(device).requires_grad_()
        y = checkpoint(unit, x, use_reentrant=False) if again else unit(x)
        (grad,) = torch.autograd.grad(y.square().sum(), x)
        grads.append(grad)
    assert torch.equal(*grads)


@pytest.mark.skipif(GPU, reason="one process on a CPU")
def test_among_several_processes_gradients_reach_every_parameter(tmp_path):
    """One process is enough: DistributedDataParallel waits for the gradients of its hooks."""
    unit, _ = pair("cpu")
    alone = copy.deepcopy(unit)
    store = dict(init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    torch.distributed.init_process_group("gloo", **store)
    try:
        torch.nn.parallel.DistributedDataParallel(unit)(drawn("cpu")).square().sum().backward()
    finally:
        torch.distributed.destroy_process_group()
    alone(drawn("cpu")).square().sum().backward()
    for p, q in zip(unit.parameters(), alone.parameters()):
        assert torch.equal(p.grad, q.grad)


TINY = dict(dim=16, depth=1, qk_dim=8, chunk_size=16)
FIFTY = TrainConfig(steps=50, batch=1, length=40, learning_rate=1e-2, eval_bytes=0, dtype="float32")
LOSSES = 1e-4  # how far losses may be apart: about ten times what gradients within the bound of 1e-5 change


def losses_of(backend, device):
    """The losses of fifty updates on Austen."""
    model = ModelConfig("flash", backend=backend, **TINY)
    done = train(model, FIFTY, corpus=load_corpus("austen"), device=device, progress=False)
    return torch.tensor([row["loss"] for row in done.log])


@pytest.mark.nightly
@pytest.mark.parametrize("device", [DEVICE])
def test_a_model_trains_as_with_torch(device):
    """Fifty updates: the same losses."""
    by_torch, by_kernels = losses_of("torch", device), losses_of("triton", device)
    assert by_torch[0] - by_torch[-1] > 0.5
    assert (by_torch - by_kernels).abs().max() < LOSSES


@quick
@pytest.mark.parametrize("size, allowed", [(1e-5, True), (1e-2, False)])
def test_losses_are_bounded_as_gradients_are(size, allowed, monkeypatch):
    """Noise of that relative size in each gradient: what another library may do keeps the bound, a fault does not.

    Noise of 1e-5 moved the losses by up to 9e-6 in six draws, of 1e-4 by up to 8e-5, float64 or two threads by 5e-7.
    """
    generator, make = torch.Generator().manual_seed(0), LanguageModel.__init__

    def noisy(gradient):
        noise = torch.randn(gradient.shape, generator=generator)
        return gradient + size * gradient.norm() / gradient.numel() ** 0.5 * noise

    exact = losses_of("torch", "cpu")

    def make_noisy(model, *args, **options):
        make(model, *args, **options)
        for p in model.parameters():
            p.register_hook(noisy)

    monkeypatch.setattr(LanguageModel, "__init__", make_noisy)
    off = (losses_of("torch", "cpu") - exact).abs().max()
    assert off < LOSSES / 5 if allowed else off > LOSSES


@quick
def test_shapes_without_numbers():
    with torch.device("meta"):
        unit = FLASH(32, chunk_size=16, qk_dim=8, causal=True, backend="triton")
        x = torch.empty(2, 70, 32, requires_grad=True)
        out = unit(x)
        out.sum().backward()
    assert out.shape == x.grad.shape == (2, 70, 32) and unit.bias.weights.grad.shape == (31,)


# ---------------------------------------------------------------- which of the two, and what is refused
@quick
@pytest.mark.parametrize(
    "options, words",
    [
        ({"causal": False}, "for causal units"),
        ({"global_": False}, "both parts"),
        ({"qk_dim": 130}, "S=130, and they hold at most 128"),
        ({"chunk_size": 24}, "C=24 is no multiple of 16"),
    ],
    ids=str,
)
def test_a_unit_that_the_kernels_cannot_compute(options, words):
    options = {"chunk_size": 16, "qk_dim": 8, "causal": True} | options
    with pytest.raises(ValueError, match=f"backend='triton' cannot compute this unit: .*{words}"):
        FLASH(16, backend="triton", **options)(torch.zeros(1, 5, 16))
    assert FLASH(16, **options)(torch.zeros(1, 5, 16)).shape == (1, 5, 16)


@quick
def test_auto_takes_torch_on_a_cpu_and_says_why():
    unit = FLASH(16, chunk_size=16, qk_dim=8, causal=True)
    assert unit.fused_on(torch.zeros(1, 5, 16)) == (False, "it is not on a CUDA card")
    with pytest.raises(ValueError, match="backend='cuda': expected 'auto', 'torch' or 'triton'"):
        FLASH(16, backend="cuda")


class OnACard(NamedTuple):
    """What a unit asks of its input, without a card."""

    dtype: torch.dtype = torch.float16
    device: torch.device = torch.device("cuda")
    shape: tuple = (1, 5, 16)


@quick
@pytest.mark.parametrize(
    "capability, dtype, words",
    [
        ((8, 0), torch.float16, None),
        ((8, 0), torch.bfloat16, None),
        ((9, 0), torch.float16, None),
        ((7, 5), torch.float16, "cards before 8.0"),
        ((8, 0), torch.float32, "float32"),
        ((8, 0), torch.float64, "float64"),
    ],
    ids=str,
)
def test_auto_takes_the_kernels_on_a_card_where_they_gain(capability, dtype, words, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    taken, why = FLASH(16, chunk_size=16, qk_dim=8, causal=True).fused_on(OnACard(dtype))
    assert (not taken and words in why) if words else taken, why


@quick
@pytest.mark.parametrize(
    "version, taken",
    [("3.1.0", False), ("3.2.0", False), ("3.3.0", True), ("3.10.1+git5", True), ("4.0", True)],
)
def test_auto_takes_torch_where_triton_is_too_old_and_says_so(version, taken, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(kernels.triton, "__version__", version)
    monkeypatch.setattr(floor, "found_out", floor.found_out.__wrapped__)  # without its memory
    unit = FLASH(16, chunk_size=16, qk_dim=8, causal=True)
    found, why = unit.fused_on(OnACard())
    assert found == taken and (taken or f"Triton is {version} here, and they need 3.3" in why), why
    if not taken:
        unit.backend = "triton"
        with pytest.raises(ValueError, match=f"cannot compute this unit: Triton is {version} here"):
            unit(torch.zeros(1, 5, 16))


@quick
def test_a_card_before_8_needs_a_later_triton(monkeypatch):
    why = floor.too_old("3.3.1", (7, 5))
    assert floor.too_old("3.3.1") is floor.too_old("3.4.0", (7, 5)) is None
    monkeypatch.setattr(kernels, "INTERPRETED", False)
    monkeypatch.setattr(kernels, "TOO_OLD_BEFORE_8", why)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    with pytest.raises(ValueError, match=r"Triton is 3\.3\.1 here, and they need 3\.4"):
        kernels.check_device(torch.device("cuda"), torch.float16)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    kernels.check_device(torch.device("cuda"), torch.float16)


@quick
# of one token
@pytest.mark.parametrize("qk_dim, numbers", [(8, 72), (128, 256)], ids=["first layer", "state"])
def test_a_row_that_outgrows_32_bits_is_not_for_the_kernels(qk_dim, numbers):
    unit = FLASH(16, chunk_size=16, qk_dim=qk_dim, causal=True, backend="triton")
    longest = (2**31 - 1) // numbers
    assert unit.fused_on(torch.zeros(1, longest, 16, device="meta"))[0]
    assert "32-bit" in unit.fused_on(torch.zeros(1, longest + 1, 16, device="meta"))[1]


@quick
@pytest.mark.parametrize(
    "change, words",
    [
        (dict(tile=(24, 64)), r"tile=\(24, 64\): expected powers of two"),
        (dict(tile=(8, 64)), "at least 16"),
        (dict(gate=torch.ones(1, 20, 4)), r"gate has shape \(1, 20, 4\)"),
        (dict(gate=torch.ones(1, 20, 16, dtype=torch.float64)), "dtypes"),
        (dict(v=torch.ones(1, 19, 16)), "heads have shapes"),
        (dict(bias=lambda n: torch.ones(n, 1)), r"bias\(8\) has shape \(8, 1\): expected \(8, 8\)"),
        (dict(combine="median"), "combine='median': expected 'mean'"),
        (dict(tile=(256, 64)), r"tile=\(256, 64\): expected at most 128 tokens"),
        (dict(before=(torch.ones(1, 16, 15), 8)), r"expected \(B, S, E\) = \(1, 16, 16\)"),
        (
            dict(before=(torch.ones(1, 16, 16), 8), segment_ids=torch.zeros(1, 20).long()),
            "before and segment_ids: expected one of them",
        ),
        (
            dict(finished=torch.ones(2)),
            r"finished has shape \(2,\): expected a number for each row",
        ),
    ],
    ids=[*range(11)],
)
def test_refused(change, words):
    *heads, v = torch.ones(5, 1, 20, 16, device=DEVICE)
    with pytest.raises(ValueError, match=words):
        fused.fused_mixed_chunk(*heads, **{"v": v, "chunk_size": 8} | change)


@quick
def test_there_is_no_second_derivative():
    heads = [torch.randn(1, 20, 16, device=DEVICE, requires_grad=True) for _ in range(4)]
    out = fused.fused_mixed_chunk(*heads, torch.randn(1, 20, 16, device=DEVICE), chunk_size=16)
    (slope,) = torch.autograd.grad(out.square().sum(), heads[0], create_graph=True)
    with pytest.raises(RuntimeError, match=r"mixed_chunk_backward.* no autograd formula"):
        slope.sum().backward()


@quick
@pytest.mark.skipif(GPU, reason="on a card the kernels take bfloat16")
def test_bfloat16_is_refused_by_the_interpreter_which_gets_it_wrong():
    with pytest.raises(ValueError, match="TRITON_INTERPRET was set"):
        tensors = [torch.ones(1, 20, 16, dtype=torch.bfloat16) for _ in range(5)]
        fused.fused_mixed_chunk(*tensors, chunk_size=8)


assert os.environ.get("TRITON_INTERPRET") is None  # other tests share the process
