"""Masks, documents and positions as others make them: integers, padding on the left, at the end of documents."""

import pytest
import torch
from refusals import assert_one_line
from small_model import ALL, NAMES, config, ids, model
from unit_cases import BOTH_WAYS, IDS, B, C, D, T, features, make, mask_of, run_reference

from flash_tutorial import LanguageModel, Stack, pool
from flash_tutorial.check import ROUNDING, branch_error
from flash_tutorial.config import ARCHITECTURES

pytestmark = pytest.mark.quick

every_architecture = pytest.mark.parametrize("architecture", ALL, ids=NAMES)
of_ours = pytest.mark.parametrize("architecture", ARCHITECTURES)
both_ways = pytest.mark.parametrize("causal", [True, False], ids=["causal", "both sides"])
INTEGERS = [torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8]
LENGTHS = [T, 2 * C + 1, 3]
RIGHT = mask_of(LENGTHS)
LEFT = RIGHT.flip(1)


def turned(t):
    """What is padded on the left, padded on the right."""
    return torch.stack([row.roll(n, 0) for row, n in zip(t, LENGTHS)])


# ---------------------------------------------------------------- masks of integers


@both_ways
@of_ours
def test_a_mask_of_zeros_and_ones_is_the_mask(architecture, causal):
    m, batch = model(architecture, causal=causal), ids(3, T)
    unit, x = m.stack.units[0], features()
    targets = batch.masked_fill(~RIGHT, -100)
    for dtype in INTEGERS:
        mask = RIGHT.to(dtype)
        assert torch.equal(m(batch, mask), m(batch, RIGHT))
        assert torch.equal(m.loss(batch, targets, mask), m.loss(batch, targets, RIGHT))
        assert torch.equal(unit(x, mask=mask), unit(x, mask=RIGHT))
        assert torch.equal(pool(x, mask), pool(x, RIGHT))
        if causal:
            assert torch.equal(m.prefill(batch, mask)[0], m.prefill(batch, RIGHT)[0])
            assert torch.equal(unit.prefill(x, mask)[0], unit.prefill(x, RIGHT)[0])
            new = [m.generate(batch, 2, mask=each, temperature=0) for each in (mask, RIGHT)]
            assert torch.equal(*new)


# ---------------------------------------------------------------- padding on the left


@both_ways
@every_architecture
def test_rows_padded_on_the_left_are_as_if_alone(architecture, causal):
    """Values where the tokens stand, and gradients of all parameters."""
    m, batch = model(architecture, causal=causal), ids(3, T)
    logits = m(batch, LEFT.long(), padding="left")
    for b, n in enumerate(LENGTHS):
        torch.testing.assert_close(
            logits[b, T - n :], m(batch[b : b + 1, T - n :])[0], rtol=1e-9, atol=1e-9
        )
    targets = batch.masked_fill(~LEFT, -100)
    found = []
    for each in (
        m.loss(batch, targets, LEFT, padding="left"),
        m.loss(turned(batch), turned(targets), RIGHT),
    ):
        found.append(torch.autograd.grad(each, list(m.parameters()), allow_unused=True))
    for left, right in zip(*found):
        if left is not None:
            torch.testing.assert_close(left, right, rtol=1e-9, atol=1e-12)


@every_architecture
def test_prompts_padded_on_the_left_go_on_as_if_alone(architecture):
    m, batch = model(architecture), ids(3, T)
    new = m.generate(batch, 6, mask=LEFT, padding="left", temperature=0)
    logits, state = m.prefill(batch, LEFT, padding="left")
    assert state.rows.lengths.tolist() == LENGTHS
    for b, n in enumerate(LENGTHS):
        alone = batch[b : b + 1, T - n :]
        assert torch.equal(new[b : b + 1], m.generate(alone, 6, temperature=0))
        torch.testing.assert_close(logits[b], m(alone)[0, -1], rtol=1e-9, atol=1e-9)


def test_documents_and_positions_are_turned_with_their_rows():
    m, batch = model(), ids(3, T)
    documents = (torch.arange(T) >= T - 2).long().expand(3, -1)  # the last two tokens
    places = torch.where(documents == 1, torch.arange(T) - (T - 2), torch.arange(T))
    places = torch.where(documents == 0, places - (T - torch.tensor(LENGTHS)[:, None]), places)
    places = places.masked_fill(~LEFT, -7)  # nobody looks at what stands in the padding
    logits = m(batch, LEFT, documents, position_ids=places, padding="left")
    for b, n in enumerate(LENGTHS):
        row = slice(T - n, T)
        given = (t[b : b + 1, row] for t in (batch, documents, places))
        ids_, documents_, places_ = given
        alone = m(ids_, None, documents_, position_ids=places_)
        torch.testing.assert_close(logits[b, row], alone[0], rtol=1e-9, atol=1e-9)


def test_features_of_a_stack_come_back_where_they_were():
    stack, x = Stack(config()).double(), features()
    y = stack(x, LEFT, padding="left")
    torch.testing.assert_close(turned(y), stack(turned(x), RIGHT))
    torch.testing.assert_close(stack(x, padding="left"), stack(x))


# ---------------------------------------------------------------- positions of documents


PLACES = torch.arange(6).expand(2, -1)


@pytest.mark.parametrize(
    "places, parts",
    [
        (PLACES.float(), ("torch.float32", "one position for each token")),
        (PLACES[:1], ("(1, 6)", "(2, 6)")),
        (PLACES - 1, ("negative",)),
        (PLACES % 3, ("do not rise by one", "segment_ids")),
        (2 * PLACES, ("do not rise by one", "segment_ids")),
    ],
)
def test_positions_that_no_unit_can_follow_are_named(places, parts):
    """RoPE and the bias know distances: a jump inside a document would reach the embedding alone."""
    m = LanguageModel(config())
    zeros = torch.zeros(2, 6, dtype=torch.long)
    assert_one_line(lambda: m(zeros, position_ids=places), *parts)
    m(zeros, segment_ids=PLACES // 3, position_ids=PLACES % 3)


def test_positions_beyond_the_learnt_ones_are_refused():
    m = LanguageModel(config("transformer", max_length=8))
    zeros = torch.zeros(1, 4, dtype=torch.long)
    places = torch.arange(5, 9)[None]
    assert_one_line(lambda: m(zeros, position_ids=places), "length 9", "8 learnt positions")
    m(zeros, mask_of([3], 4), position_ids=places)  # what stands in the padding is no position


# ---------------------------------------------------------------- padding at the end of each document


@pytest.mark.parametrize("name, causal", BOTH_WAYS, ids=IDS)
def test_padding_at_the_end_of_documents_is_the_reference(name, causal):
    """In the middle of chunks too, and whatever stands there; the mean counts valid tokens."""
    unit, x = make(name, causal), features()
    documents = torch.tensor([[0] * 5 + [1] * 9, [2] * 8 + [5] * 6, [0] * 1 + [7] * 13])
    mask = torch.ones(B, T, dtype=torch.bool)
    mask[0, 3:5] = mask[0, 12:] = mask[1, 6:8] = mask[2, 4:] = False
    y = unit(x, mask=mask, segment_ids=documents)
    expected = run_reference(unit, x, mask, documents)
    loops = run_reference(unit, x, mask, documents, loops=True)
    for reference in (expected, loops):
        assert branch_error(y, reference, x, mask) <= ROUNDING
    other = torch.where(mask[..., None], x, 30 * torch.ones(D).double())
    changed = unit(other, mask=mask, segment_ids=documents.masked_fill(~mask, 3))
    assert torch.equal(changed[mask], y[mask])
