"""What experiments measure of a model: what an earlier mention of a name is worth to it, and which
units are dead.
"""

import numpy as np
import pytest
import torch

from flash_tutorial import LanguageModel, ModelConfig
from flash_tutorial.check import draw_order_one
from flash_tutorial.corpora import Split
from flash_tutorial.training import measures

FILL = b"this is some text of small words and so on and on with no name in it at all "
TEXT = FILL[:30] + b" then Marlow went" + FILL + b"and Marlow came." + FILL[:20]
OTHER = b"and so they went to Aldous. " + FILL
DISTANCES = (0, 50, 128)


def copier(ids):
    """Expects what followed the last place with the same two bytes, else nothing: logits (B, T,
    256).
    """
    logits = torch.zeros(*ids.shape, 256)
    for b, row in enumerate(ids.tolist()):
        for t in range(1, len(row)):
            found = [i for i in range(1, t) if row[i - 1 : i + 1] == row[t - 1 : t + 1]]
            if found:
                logits[b, t, row[found[-1] + 1]] = 20.0
    return logits


def blind(ids):
    return torch.zeros(*ids.shape, 256)


def test_names_are_found_by_the_distance_of_their_last_mention_with_all_earlier_ones():
    text = TEXT.replace(b"small words", b"Marlow told")
    found = measures.mentioned_names([text], (0, 50, 80, 128), "austen")
    at = [i for i in range(len(text)) if text.startswith(b"Marlow", i)]
    assert [len(names) for names in found.values()] == [1, 1, 0]
    (row, start, end, before), *_ = found["50 to 80"]
    assert (
        (row, text[start:end]) == (0, b"Marlow")
        and before == tuple(i for i in at if i < start)
        and len(before) == 2
    )


def test_a_mention_is_worth_the_letters_that_it_gives_to_a_copier_and_nothing_to_a_blind_model():
    split = Split.from_documents([TEXT, OTHER])

    def worth(model):
        found = measures.worth_of_mentions(model, split, len(TEXT), DISTANCES, "austen")
        return found["50 to 128"]

    bits, _, names = worth(copier)
    # the first letters also follow other places with the same two bytes
    assert names == 1 and 8 * 4 - 1 < bits < 8 * 6
    assert worth(blind)[:2] == [0.0, 0.0]


def test_every_earlier_mention_goes_and_the_name_itself_stays():
    ids, seen = np.array([0, *TEXT[:-1]]), []
    start = TEXT.rindex(b"Marlow")
    measures.bits_saved(
        lambda ids: seen.append(ids) or blind(ids),
        ids,
        b"Marlow",
        start,
        [TEXT.index(b"Marlow")],
        b"Aldous",
    )
    whole, without = (bytes(row.tolist()) for row in seen[0])
    assert whole == bytes([0]) + TEXT[:-1] and without == whole.replace(b"Marlow", b"Aldous", 1)


# ---------------------------------------------------------------- units
@pytest.fixture
def gau():
    """Four GAU units of order one, and a batch of ids."""
    model = LanguageModel(
        ModelConfig("flash_quad", dim=16, depth=4, qk_dim=8, max_length=24)
    ).eval()
    generator = torch.Generator().manual_seed(1)
    for unit in model.stack.units:
        draw_order_one(unit, generator)
    return model, torch.randint(256, (2, 24), generator=generator)


@pytest.mark.parametrize("closed", [(), (1,), (0, 3)])
def test_a_unit_is_dead_where_no_weight_is_above_zero(gau, closed):
    model, ids = gau
    with torch.no_grad():
        for i in closed:
            model.stack.units[i].bias.weights.fill_(-1e6)
    assert measures.dead_units(model, ids) == len(closed)
    assert [i for i, share in enumerate(measures.open_shares(model, ids)) if share == 0] == list(
        closed
    )


def test_a_branch_is_as_large_as_what_it_adds(gau):
    model, ids = gau
    before = measures.branch_sizes(model, ids)
    with torch.no_grad():
        model.stack.units[3].out_proj.weight.mul_(2)
        model.stack.units[3].out_proj.bias.mul_(2)
    after = measures.branch_sizes(model, ids)
    assert after[:3] == before[:3] and after[3] == pytest.approx(2 * before[3], rel=0.01)


def test_gradients_are_taken_by_kind_of_parameter_and_left_behind_by_none(gau):
    model, ids = gau
    norms = measures.gradient_norms(model, ids, ids)
    assert {"in_proj.weight", "embedding.weight"} <= norms.keys() and all(
        norm > 0 for norm in norms.values()
    )
    assert all(parameter.grad is None for parameter in model.parameters())


def test_bits_are_by_the_place_in_a_chunk():
    bits = np.tile(
        np.arange(1.0, 9), (2, 3)
    )  # three chunks of 8, of which the first does not count
    bits[:, :8] = 99
    assert measures.by_place(bits, np.ones_like(bits, bool), 8) == [1, 2, 3.5, 6.5]


def test_names_are_by_the_distance_of_their_last_mention():
    said = b"a Marlow went, Marlow came and went on to where Marlow was"
    text = np.frombuffer(said, np.uint8)[None].astype(int)
    bits = np.ones(text.shape)
    found = measures.by_mention(bits, np.ones(text.shape, bool), text, (0, 20, 40, 80))
    assert found == {"first": [6.0, 1], "0 to 20": [6.0, 1], "20 to 40": [6.0, 1]}
