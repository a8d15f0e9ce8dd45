"""Documents packed into rows: each is what it is alone."""

import pytest
import torch
from refusals import assert_one_line
from small_model import ids, model
from unit_cases import C

from flash_tutorial import pack
from flash_tutorial.config import ARCHITECTURES

pytestmark = pytest.mark.quick

of_ours = pytest.mark.parametrize("architecture", ARCHITECTURES)
both_ways = pytest.mark.parametrize("causal", [True, False], ids=["causal", "both sides"])


def alone_and_packed(m, lengths, seed=3, **how):
    documents = [ids(1, n, seed=seed + n)[0] for n in lengths]
    packed = pack(documents, **{"align": C} | how)
    together = m(packed.ids, packed.mask, packed.segment_ids, position_ids=packed.position_ids)
    return packed, list(zip(packed.unpack(together), (m(d[None])[0] for d in documents)))


@pytest.mark.parametrize("length", [None, 5 * C])
@both_ways
@of_ours
def test_a_packed_document_is_as_if_alone(architecture, causal, length):
    """In rows of several, at all lengths; a model that divides by the current length is another at each."""
    options = dict(length_scale=9) if architecture == "flash_quad" else {}
    m = model(architecture, causal=causal, max_length=64, **options)
    lengths = [3 * C + 2, 1, C, 2 * C - 1, C + 1]
    _, pairs = alone_and_packed(m, lengths, length=length)
    for together, alone in pairs:
        torch.testing.assert_close(together, alone, rtol=1e-9, atol=1e-9)


@of_ours
def test_a_causal_model_needs_no_mask_of_what_fills_up(architecture):
    m = model(architecture, max_length=64)
    documents = [ids(1, n, seed=n)[0] for n in (C + 2, 3, 2 * C)]
    ids_, segment_ids, position_ids = pack(documents, align=C)
    logits = m(ids_, segment_ids=segment_ids, position_ids=position_ids)
    for i, document in enumerate(documents):
        together = logits[segment_ids == i][: len(document)]
        torch.testing.assert_close(together, m(document[None])[0], rtol=1e-9, atol=1e-9)


def test_without_positions_or_borders_it_is_not_alone():
    """What both are for: without either the second document's logits are others."""
    m = model("flash")
    for how in (dict(align=1), dict(align=C)):
        packed, pairs = alone_and_packed(m, [C + 2, 2 * C], **how)
        if how["align"] == 1:
            assert (pairs[1][0] - pairs[1][1]).abs().max() > 1e-3
        logits = m(packed.ids, packed.mask, packed.segment_ids)
        assert (packed.unpack(logits)[1] - pairs[1][1]).abs().max() > 1e-3


def test_packed_documents_are_trained_on_as_alone():
    m = model("flash")
    documents = [ids(1, n, seed=n)[0] for n in (C + 2, 3, 2 * C)]
    packed = pack(documents, align=C, length=3 * C)
    loss = m.loss(
        packed.ids,
        packed.targets,
        packed.mask,
        packed.segment_ids,
        position_ids=packed.position_ids,
    )
    nats = [m.loss(d[None, :-1], d[None, 1:]) * (len(d) - 1) for d in documents]
    torch.testing.assert_close(loss, sum(nats) / sum(len(d) - 1 for d in documents))


def test_what_pack_makes():
    packed = pack([[1, 2, 3, 4, 5], torch.tensor([6]), [7, 8]], align=4, length=12, fill_id=9)
    ids_, segment_ids, position_ids = packed
    assert ids_.tolist() == [[1, 2, 3, 4, 5, 9, 9, 9, 6, 9, 9, 9], [7, 8] + [9] * 10]
    assert segment_ids.tolist() == [[0] * 8 + [1] * 4, [2] * 12]
    assert position_ids.tolist() == [[*range(8), *range(4)], [*range(12)]]
    assert packed.mask.int().tolist() == [[1] * 5 + [0] * 3 + [1] + [0] * 3, [1, 1] + [0] * 10]
    none = -100
    first = [2, 3, 4, 5] + [none] * 8
    assert packed.targets.tolist() == [first, [8] + [none] * 11]
    assert [t.tolist() for t in packed.unpack(ids_)] == [[1, 2, 3, 4, 5], [6], [7, 8]]
    elsewhere = packed.to("meta")
    assert {each.device.type for each in (*elsewhere, elsewhere.mask)} == {"meta"}
    end_to_end = pack([[1, 2, 3], [4]])
    assert end_to_end.ids.tolist() == [[1, 2, 3, 4]]
    assert end_to_end.targets.tolist() == [[2, 3, none, none]]


@pytest.mark.parametrize(
    "given, how, parts",
    [
        ([], {}, ("no document to pack",)),
        ([[1], []], {}, ("document 1", "at least one integer")),
        ([[0.5]], {}, ("document 0", "integer")),
        ([torch.zeros(2, 2).long()], {}, ("document 0", "1-D")),
        ([["a"]], {}, ("document 0", "integer")),
        ([[1]], dict(align=0), ("align=0", "at least 1")),
        ([[1]], dict(fill_id=1.5), ("fill_id=1.5", "integer")),
        ([[1]], dict(fill_id=-1), ("fill_id=-1", "at least 0")),
        ([[1]], dict(align=4, length=6), ("length=6", "multiple of align=4")),
        ([[1], [1] * 9], dict(align=4, length=8), ("document 1 has 9 tokens", "length=8")),
    ],
)
def test_what_cannot_be_packed_is_named(given, how, parts):
    assert_one_line(lambda: pack(given, **how), *parts)
