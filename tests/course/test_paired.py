"""Paired differences: the rate is chosen by trials alone, and an interval is the one by hand."""

import pytest

from flash_course.bench.paired import best_rate, difference, scores


def run(model, rate, seed, bits):
    return dict(model=model, learning_rate=rate, seed=seed, bits_per_byte=bits)


RUNS = [
    *(run("a", *row) for row in ((1, 100, 5.0), (1, 101, 3.0), (2, 100, 4.0), (2, 101, 3.0))),
    run("b", 1, 100, 1.0),
    # better, and at a rate that the trials did not choose
    *(run("a", 1, seed, 0.0) for seed in range(3)),
    *(run("a", 2, seed, bits) for seed, bits in enumerate((14, 16, 15))),
    *(run("b", 1, seed, 10) for seed in (2, 1, 0)),
]


def test_trials_choose_the_rate_and_are_not_scored():
    assert best_rate(RUNS, "a") == 2
    assert scores(RUNS, "a") == {0: 14, 1: 16, 2: 15}


def test_an_interval_is_the_one_by_hand():
    mean, half, gaps = difference(RUNS, "a", "b")
    assert (mean, gaps) == (5, [4, 6, 5]) and half == pytest.approx(4.303 / 3**0.5, rel=1e-4)
