"""A sequence in chunks: cutting, filling up, counting, and sums of documents that start and end anywhere."""

import pytest
import torch

from flash_tutorial import chunks, mixing

pytestmark = pytest.mark.quick
B, S, E, C = 2, 3, 5, 4


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("T", [1, C - 1, C, C + 1, 3 * C + 2])
def test_cut_and_joined_a_sequence_is_itself(T):
    x = draw(B, T, E)
    cut = chunks.to_chunks(x, C)
    assert cut.shape == (B, -(-T // C), C, E)
    assert torch.equal(chunks.from_chunks(cut, T), x)
    assert not cut.flatten(1, 2)[:, T:].any()  # the last chunk is filled up with zeros


@pytest.mark.parametrize("T", [1, C, 3 * C + 2])
def test_counts_are_the_valid_tokens_of_each_chunk(T):
    mask = torch.arange(T)[None] < torch.tensor([[T], [max(1, T - C - 1)]])
    counted = chunks.chunk_counts(T, C, mask, "cpu")
    assert counted.tolist() == [[int(row[g : g + C].sum()) for g in range(0, T, C)] for row in mask]
    assert chunks.chunk_counts(T, C, None, "cpu").tolist() == counted[:1].tolist()


def test_the_last_document_fills_the_last_chunk_up():
    ids = torch.tensor([[0, 0, 2, 2, 2, 7]])
    assert chunks.chunk_documents(ids, C).tolist() == [[[0, 0, 2, 2], [2, 7, 7, 7]]]


def test_sums_of_half_precision_are_kept_in_float32():
    """C products of 200 x 200 overflow float16 unless they are divided first."""
    k = torch.full((1, 1, C, S), 200.0, dtype=torch.float16)
    means = chunks.chunk_means(k, k[..., :2])
    assert (
        means.dtype == torch.float32
        and torch.isfinite(means).all()
        and means[0, 0, 0, 0] == 200.0**2
    )


def by_pairs(q, k, v, documents, causal, combine):
    """The global part of documents, token by token: who reads whom, and what it is divided by."""
    G = documents.shape[1]
    out = torch.zeros_like(v)
    for b, g, i in ((b, g, i) for b in range(B) for g in range(G) for i in range(C)):
        mine = documents[b, g, i]
        others = [h for h in range(g if causal else G) if (documents[b, h] == mine).any()]
        for h in others:
            for j in range(C):
                if documents[b, h, j] == mine:
                    out[b, g, i] += (q[b, g, i] @ k[b, h, j]) * v[b, h, j]
        if combine == "mean":
            out[b, g, i] /= max(1, C * len(others))
    return out


@pytest.mark.parametrize("combine", ["mean", "sum"])
@pytest.mark.parametrize("causal", [True, False])
def test_documents_read_their_own_chunks_only(causal, combine):
    """Borders inside chunks, a document of many chunks, and several in one chunk."""
    borders = [[3, 15, 16, 17], [C, 2 * C + 1, 2 * C + 2, 4 * C]]
    T = 5 * C
    ids = torch.tensor([[sum(t >= border for border in row) for t in range(T)] for row in borders])
    documents = ids.unflatten(1, (-1, C))
    q, k, v = (draw(B, 5, C, n, seed=i) for i, n in enumerate((S, S, E)))
    got = mixing.global_part(q, k, v, causal=causal, combine=combine, documents=documents)
    torch.testing.assert_close(
        got, by_pairs(q, k, v, documents, causal, combine), rtol=1e-12, atol=1e-12
    )
