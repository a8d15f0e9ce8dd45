"""What an earlier mention of a name is worth to a model: `benchmarks/text_losses.py`."""

import numpy as np
import pytest
import torch

from flash_tutorial.corpora import Split

pytestmark = pytest.mark.quick
FILL = b"this is some text of small words and so on and on with no name in it at all "
TEXT = FILL[:30] + b" then Marlow went" + FILL + b"and Marlow came." + FILL[:20]
OTHER = b"and so they went to Aldous. " + FILL
DISTANCES = (0, 50, 128)


@pytest.fixture
def losses(benchmark_script):
    return benchmark_script("text_losses")


def copier(ids):
    """Expects what followed the last place with the same two bytes, else nothing: logits (B, T, 256)."""
    logits = torch.zeros(*ids.shape, 256)
    for b, row in enumerate(ids.tolist()):
        for t in range(1, len(row)):
            found = [i for i in range(1, t) if row[i - 1 : i + 1] == row[t - 1 : t + 1]]
            if found:
                logits[b, t, row[found[-1] + 1]] = 20.0
    return logits


def blind(ids):
    return torch.zeros(*ids.shape, 256)


def test_names_are_found_by_the_distance_of_their_last_mention_with_all_earlier_ones(losses):
    text = TEXT.replace(b"small words", b"Marlow told")
    found = losses.mentioned_names([text], (0, 50, 80, 128), "austen")
    at = [i for i in range(len(text)) if text.startswith(b"Marlow", i)]
    assert [len(names) for names in found.values()] == [1, 1, 0]
    (row, start, end, before), *_ = found["50 to 80"]
    assert (row, text[start:end]) == (0, b"Marlow") and before == tuple(i for i in at if i < start) and len(before) == 2


def test_a_mention_is_worth_the_letters_that_it_gives_to_a_copier_and_nothing_to_a_blind_model(losses):
    split = Split.from_documents([TEXT, OTHER])
    worth = lambda model: losses.worth_of_mentions(model, split, len(TEXT), DISTANCES, "austen")["50 to 128"]  # noqa: E731
    bits, _, names = worth(copier)
    assert names == 1 and 8 * 4 - 1 < bits < 8 * 6  # the first letters also follow other places with the same two bytes
    assert worth(blind)[:2] == [0.0, 0.0]


def test_every_earlier_mention_goes_and_the_name_itself_stays(losses):
    ids, seen = np.array([0, *TEXT[:-1]]), []
    start = TEXT.rindex(b"Marlow")
    losses.bits_saved(
        lambda ids: seen.append(ids) or blind(ids), ids, b"Marlow", start, [TEXT.index(b"Marlow")], b"Aldous"
    )
    whole, without = (bytes(row.tolist()) for row in seen[0])
    assert whole == bytes([0]) + TEXT[:-1] and without == whole.replace(b"Marlow", b"Aldous", 1)
