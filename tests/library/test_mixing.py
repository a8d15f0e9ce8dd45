"""The ways of mixing: each against its twin in NumPy, and what the equations say of each other."""

from itertools import product

import numpy as np
import pytest
import torch
from unit_cases import READINGS, B, C, D, S, T, how_to_read, in_dtypes, on_devices, unit_and_x

from flash_tutorial import chunks, fast, mixing, reference
from flash_tutorial.check import LOUD

pytestmark = pytest.mark.quick
TOLERANCE = dict(rtol=1e-12, atol=1e-12)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def row(t):
    """The first row of a batch, for the reference."""
    return t[0].numpy()


@pytest.mark.parametrize("causal", [True, False])
def test_attention_is_its_twin(causal):
    """With a bias and a rule who may be read; a query that may read nobody gets zeros."""
    q, k, v, bias = draw(B, T, S), draw(B, T, S, seed=1), draw(B, T, D, seed=2), draw(T, T, seed=3)
    visible = torch.rand(B, T, T, generator=torch.Generator().manual_seed(4)) < 0.5
    visible[:, 5] = False
    sees = row(visible) & (np.tri(T, dtype=bool) if causal else True)
    squared = mixing.relu2_attention(
        q, k, v, scale=1 / 7, causal=causal, bias=bias, visible=visible
    )
    expected = reference.relu2_attention(row(q), row(k), row(v), 7, sees, bias.numpy())
    np.testing.assert_allclose(row(squared), expected, **TOLERANCE)
    heads = [t[:, None] for t in (q, k, v)]
    softmax = mixing.softmax_attention(*heads, causal=causal, bias=bias, visible=visible[:, None])[
        :, 0
    ]
    expected = reference.softmax_attention(row(q), row(k), row(v), sees, bias.numpy())
    np.testing.assert_allclose(row(softmax), expected, **TOLERANCE)
    assert not softmax[:, 5].any() and not squared[:, 5].any() and softmax.any() and squared.any()


def test_a_bias_that_is_none_is_a_bias_of_zeros():
    q, k, v = draw(B, T, S), draw(B, T, S, seed=1), draw(B, T, D, seed=2)
    for causal in (True, False):
        for attend in (mixing.relu2_attention, mixing.softmax_attention):
            without, zeros = (
                attend(q, k, v, scale=0.3, causal=causal, bias=b) for b in (None, torch.zeros(T, T))
            )
            torch.testing.assert_close(without, zeros, **TOLERANCE)


@pytest.mark.parametrize("causal", [True, False])
def test_linear_attention_is_its_twin(causal):
    q, k, v = draw(B, T, S), draw(B, T, S, seed=1), draw(B, T, D, seed=2)
    expected = reference.linear_attention(row(q), row(k), row(v), causal=causal)
    np.testing.assert_allclose(
        row(mixing.linear_attention(q, k, v, causal=causal)), expected, **TOLERANCE
    )


@pytest.mark.parametrize("combine", ["mean", "sum"])
@pytest.mark.parametrize("causal", [True, False])
def test_mixed_chunks_are_their_twin(causal, combine):
    heads, v = [draw(B, T, S, seed=i) for i in range(4)], draw(B, T, D, seed=4)
    mask = torch.arange(T)[None] < torch.tensor([[T - 3], [T], [C]])
    documents = torch.tensor([0] * (C + 1) + [3] * C + [4] * (T - 2 * C - 1)).expand(B, T)
    bias = draw(C, C, seed=5)
    got = mixing.mixed_chunk_attention(
        *heads,
        v * mask[..., None],
        chunk_size=C,
        causal=causal,
        bias=lambda n: bias[:n, :n],
        combine=combine,
        mask=mask,
        segment_ids=documents,
    )
    for b in range(B):
        expected = reference.mixed_chunk_attention(
            [h[b].numpy() for h in heads],
            (v * mask[..., None])[b].numpy(),
            mask[b].numpy(),
            documents[b].numpy(),
            bias.numpy(),
            causal=causal,
            chunk_size=C,
            combine=combine,
        )
        np.testing.assert_allclose(got[b][mask[b]].numpy(), expected[mask[b].numpy()], **TOLERANCE)


def test_mean_and_sum_differ_by_the_tokens_read():
    """Code 8 against equations 7 and 8: the factor is the number of valid tokens in the visible chunks."""
    q, k, v = (torch.randn(B, 4, C, n, dtype=torch.float64) for n in (S, S, D))
    for causal, tokens in ((True, [0, C, 2 * C, 3 * C]), (False, [4 * C] * 4)):
        mean, bare = (
            mixing.global_part(q, k, v, causal=causal, combine=c) for c in ("mean", "sum")
        )
        factor = torch.tensor(tokens, dtype=torch.float64)[:, None, None]
        torch.testing.assert_close(mean * factor, bare, rtol=1e-12, atol=1e-12)


def test_chunks_of_one_token_are_linear_attention():
    """Section 3.2's other end, up to the own token, which the exclusive sum leaves out."""
    q, k, v = (torch.randn(B, T, n, dtype=torch.float64) for n in (S, S, D))
    whole = mixing.linear_attention(q, k, v, causal=True)
    chunks = mixing.global_part(*(t[:, :, None] for t in (q, k, v)), causal=True, combine="sum")[
        :, :, 0
    ]
    torch.testing.assert_close(
        chunks + (q * k).sum(-1, keepdim=True) * v, whole, rtol=1e-12, atol=1e-12
    )
    state, rows = torch.zeros(B, S, D, dtype=torch.float64), []
    for t in range(T):
        y, state = mixing.linear_attention_step(state, q[:, t], k[:, t], v[:, t])
        rows.append(y)
    torch.testing.assert_close(torch.stack(rows, 1), whole, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["flash", "flash, sum"])
@pytest.mark.parametrize("causal", [True, False])
def test_what_a_gpu_computes_is_the_same(causal, name, monkeypatch):
    """Sums over chunks as one triangular product, and a map in one block: values and gradients."""
    unit, x = unit_and_x(name, causal)
    leaves = [x.requires_grad_(), *unit.parameters()]

    def values_and_gradients(reading):
        branch = unit(x, **how_to_read(reading)) - x
        return [branch, *torch.autograd.grad(branch.square().sum(), leaves)]

    expected = [values_and_gradients(reading) for reading in READINGS]
    monkeypatch.setattr(chunks, "goes_chunk_by_chunk", lambda x: False)
    monkeypatch.setattr(fast, "ROWS", fast.ROWS_ON_A_GPU)
    for reading, wanted in zip(READINGS, expected):
        torch.testing.assert_close(values_and_gradients(reading), wanted, rtol=1e-10, atol=1e-10)


@on_devices
@in_dtypes
@pytest.mark.parametrize("which", ["all", "documents"])
def test_no_rounding_leaks_from_loud_chunks(which, dtype, device):
    """Inside a unit the norm takes loudness away, so the mixing itself is asked: later chunks 30 times larger change
    nothing. The running sum minus the own chunk would fail here (5% of the output in bfloat16)."""
    given = [draw(B, T, n, seed=i).to(device, dtype) for i, n in enumerate((S, S, S, S, D))]
    how = how_to_read(which, device=device)

    def mix(parts):
        return mixing.mixed_chunk_attention(*parts, chunk_size=C, causal=True, **how)

    y = mix(given)
    for cut in range(1, T):
        loud = torch.where(torch.arange(T, device=device)[:, None] < cut, 1, LOUD).to(dtype)
        assert torch.equal(mix([t * loud for t in given])[:, :cut], y[:, :cut])


@on_devices
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("chunk_by_chunk", [True, False], ids=["in a loop", "in one product"])
def test_long_sums_in_half_precision(chunk_by_chunk, dtype, device, monkeypatch):
    """4096 tokens of the same sign: in fp16 a bare sum of k^T v would pass 65504; with documents and without."""
    monkeypatch.setattr(chunks, "goes_chunk_by_chunk", lambda x: chunk_by_chunk)
    k = v = torch.full((1, 16, 256, 16), 16.0, device=device)
    q = torch.full((1, 16, 256, 16), 1 / 16, device=device)
    one_document = torch.zeros(1, 16, 256, dtype=torch.long, device=device)
    reads = (mixing.read_earlier_chunks, fast.read_earlier_chunks)
    for causal, ids, read in product((True, False), (None, one_document), reads):
        with torch.autocast(device, dtype):
            y = mixing.global_part(q, k, v, causal=causal, documents=ids, read=read)
        y = y[:, int(causal) :].float()  # a causal first chunk reads nothing
        torch.testing.assert_close(y, torch.full_like(y, 256.0), rtol=0.02, atol=0)
