"""The synthetic tasks: their answers are right, unique, and lie where the docstrings say."""

import numpy as np
import pytest

from flash_course.bench.tasks import IGNORE, induction, mqar

MQAR = dict(chunk_size=32, pairs=12, keys=40, values=30)
TASKS = [(mqar, 96, MQAR), (induction, 50, {})]


@pytest.mark.parametrize("task, length, options", TASKS)
def test_shapes_and_repeatability(task, length, options):
    drawn = [task(30, length, np.random.default_rng(seed), **options) for seed in (1, 1, 2)]
    for first, again, other in zip(*drawn):
        assert first.shape == (30, length) and first.dtype == np.int64
        assert np.array_equal(first, again) and not np.array_equal(first, other)
    with pytest.raises(ValueError, match="batch=0: expected an integer"):
        task(0, length, np.random.default_rng(0), **options)


def test_mqar_answers_are_bound_in_the_first_chunk_and_asked_in_later_ones():
    ids, targets = mqar(300, 96, np.random.default_rng(0), **MQAR)
    for row, answers in zip(ids, targets):
        key = row[:24:2]
        value = row[1:24:2]
        assert len(set(key)) == len(set(value)) == 12
        assert 1 <= key.min() <= key.max() <= 40 < value.min() <= value.max() <= 70
        bound = dict(zip(key, value))
        asked = np.flatnonzero(answers != IGNORE)
        assert asked.min() >= 32, "asked inside the first chunk"
        assert sorted(row[asked]) == sorted(key), "each key is asked for once"
        assert all(answers[p] == bound[row[p]] for p in asked)
        # nothing else stands behind the pairs: no value, no key that is not asked for
        rest = np.setdiff1d(np.arange(24, 96), asked)
        assert (row[rest] == 0).all()


def test_mqar_uses_all_keys_values_and_places():
    ids, targets = mqar(500, 96, np.random.default_rng(0), **MQAR)
    assert set(ids[:, :24:2].ravel()) == set(range(1, 41))
    assert set(ids[:, 1:24:2].ravel()) == set(range(41, 71))
    asked = (targets != IGNORE).mean(axis=0)[32:]
    assert abs(asked - 12 / 64).max() < 0.08, "places are not uniform"
    # rows bind anew: the same key has different values
    values = ids[:, 1:24:2][ids[:, :24:2] == 1]
    assert len({*values}) > 10


def test_mqar_may_ask_at_every_later_place():
    ids, targets = mqar(
        300, 40, np.random.default_rng(0), **MQAR | dict(chunk_size=24, questions=16)
    )
    assert (targets[:, :24] == IGNORE).all() and (targets[:, 24:] != IGNORE).all()
    for row, answers in zip(ids, targets):
        bound = dict(zip(row[:24:2], row[1:24:2]))
        assert set(row[24:]) == set(bound), "each key is asked for, and nothing else"
        assert all(answers[p] == bound[row[p]] for p in range(24, 40))
    some = mqar(50, 96, np.random.default_rng(0), **MQAR | dict(questions=13))[1]
    assert ((some != IGNORE).sum(1) == 13).all()


def test_induction_asks_for_what_followed_the_trigger():
    ids, targets = induction(2000, 12, np.random.default_rng(0), vocab_size=7)
    assert (targets[:, :-1] == IGNORE).all() and (ids[:, -1] == 6).all()
    assert ((ids == 6).sum(axis=1) == 2).all()
    place = (ids == 6).argmax(axis=1)
    assert set(place) == set(range(10))
    answer = ids[np.arange(2000), place + 1]
    assert np.array_equal(targets[:, -1], answer) and set(answer) == set(range(6))


@pytest.mark.parametrize(
    "task, length, options, match",
    [
        (mqar, 96, dict(pairs=17), "17 pairs take 34 positions, more than the first chunk's 32"),
        (mqar, 96, dict(keys=11), "as many different keys and values, got keys=11"),
        (mqar, 96, dict(values=11), "got keys=40, values=11"),
        (mqar, 43, {}, "leaves 11 positions .* at least 44"),
        (mqar, 96, dict(questions=11), "questions=11: expected 12 .* to 64"),
        (mqar, 96, dict(questions=65), "questions=65: expected 12 .* to 64"),
        (mqar, 96, dict(pairs=0), "pairs=0: expected an integer of at least 1"),
        (induction, 2, {}, "length >= 3"),
        (induction, 20, dict(vocab_size=2), "vocab_size=2"),
    ],
)
def test_bad_parameters_are_named(task, length, options, match):
    own = MQAR if task is mqar else {}
    with pytest.raises(ValueError, match=match) as caught:
        task(2, length, np.random.default_rng(0), **own | options)
    assert "\n" not in str(caught.value)
