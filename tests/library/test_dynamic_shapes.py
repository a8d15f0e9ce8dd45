"""Compiled and exported once for all lengths: few graphs, and the numbers of the model as it is."""

import pytest
import torch
from small_model import ALL, NAMES, ids, model
from torch._dynamo.testing import CompileCounter, CompileCounterWithBackend
from torch.export import Dim

LENGTHS = (33, 64, 1000, 40)
QUICK = ["flash", "flash_quad"]
SLOW = [pytest.param(name, marks=pytest.mark.nightly) for name in NAMES if name not in QUICK]
architectures = pytest.mark.parametrize("name", QUICK + SLOW)
both_ways = pytest.mark.parametrize(
    "causal", [True, pytest.param(False, marks=pytest.mark.nightly)]
)
nightly = pytest.mark.nightly


@pytest.fixture(autouse=True)
def anew():
    """Compiled functions are kept by their code, and those of another test would count."""
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def build(name, **options):
    options = dict(depth=1, max_length=1000) | options
    return model(ALL[NAMES.index(name)], **options)


def reading(length, documents):
    """Nothing, or padding and documents, whose borders lie inside of chunks."""
    if not documents:
        return {}
    mask = torch.arange(length) < torch.tensor([[length], [length // 2]])
    return dict(mask=mask, segment_ids=(torch.arange(length) // 7).expand(2, -1))


def close(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


def count_graphs(built, counter, documents=False, backward=False):
    """How many graphs a compiled model takes for all lengths; its numbers are those of the model."""
    compiled = torch.compile(built, fullgraph=True, dynamic=True, backend=counter)
    for length in LENGTHS:
        given, how = ids(2, length, seed=length), reading(length, documents)
        ours, theirs = compiled(given, **how), built(given, **how)
        close(ours, theirs)
        if backward:
            parameters = list(built.parameters())
            grads = [torch.autograd.grad(y.square().mean(), parameters) for y in (ours, theirs)]
            close(*grads)
    return counter.frame_count


@architectures
@both_ways
def test_all_lengths_are_one_graph(name, causal):
    assert count_graphs(build(name, causal=causal), CompileCounter()) <= 2


@nightly
def test_rows_shorter_than_a_chunk_are_one_graph_more():
    assert count_graphs(build("flash", chunk_size=64), CompileCounter()) == 2


@nightly
@pytest.mark.parametrize("name", ["flash", *SLOW])
@both_ways
def test_with_padding_and_documents_too(name, causal):
    assert count_graphs(build(name, causal=causal), CompileCounter(), documents=True) <= 2


@nightly
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("causal", [True, False])
def test_forward_and_backward_by_inductor(name, causal):
    counter = CompileCounterWithBackend("inductor")
    assert count_graphs(build(name, causal=causal), counter, backward=True) <= 2


@architectures
@both_ways
def test_an_exported_model_takes_other_lengths_and_batches(name, causal):
    built = build(name, causal=causal)
    exported = torch.export.export(
        built, (ids(3, 50),), dynamic_shapes=({0: Dim.AUTO, 1: Dim.AUTO},)
    ).module()
    for batch, length in ((2, 33), (5, 64), (2, 1000), (4, 5)):
        given = ids(batch, length)
        close(exported(given), built(given))


# ---------------------------------------------------------------- token by token


@pytest.mark.parametrize("ragged", [pytest.param(False, marks=nightly), True])
@pytest.mark.parametrize("tokens", [30, pytest.param(600, marks=nightly)])
@architectures
def test_a_compiled_step_is_three_graphs(name, tokens, ragged):
    """The first token, one as any other, one that ends a chunk or fills a cache; in a hybrid these two differ."""
    built, counter = build(name, depth=2), CompileCounter()
    step = torch.compile(built.step, backend=counter)
    prompt = ids(2, 5)
    mask = torch.arange(5) < torch.tensor([[5], [3]]) if ragged else None
    _, ours = built.prefill(prompt, mask)
    _, theirs = built.prefill(prompt, mask)
    for t in range(tokens):
        token = ids(2, 1, seed=t)[:, 0]
        logits, ours = step(token, ours)
        expected, theirs = built.step(token, theirs)
        close(logits, expected)
    assert counter.frame_count <= (4 if name == "hybrid" else 3)
