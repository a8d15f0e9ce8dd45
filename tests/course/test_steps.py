"""Training steps of several models in turn, as lecture 08 times them. No test looks at measured seconds."""

import pytest
import torch

from flash_course.bench.against_length import Settings
from flash_course.bench.steps import Steps, time_steps

LENGTHS = (16, 32, 64)


class Pairs(torch.nn.Module):
    """Makes a matrix of all pairs, and keeps it for the backward pass."""

    def forward(self, x):
        return (x @ x.mT).exp() @ x


@pytest.fixture(scope="module")
def models():
    return {"pairs": Pairs(), "tokens": torch.nn.Linear(16, 16)}


def settings():
    return Settings(
        dim=16, qk_dim=8, chunk_size=8, tokens=64, unit_length=32, lengths=LENGTHS, rounds=2
    )


def test_every_step_that_fits_is_timed_in_each_round(models):
    timed = time_steps(models, settings(), limit=1e9)
    assert {*timed.seconds} == {(name, T) for name in models for T in LENGTHS}
    assert {len(rounds) for rounds in timed.seconds.values()} == {2}


@pytest.mark.nightly
def test_a_step_that_would_not_fit_is_left_out_and_so_are_longer_ones(models):
    whole = time_steps(models, settings(), limit=1e9).peaks["pairs"]
    timed = time_steps(models, settings(), limit=whole[64] - 1)
    assert timed.peaks["pairs"] == {16: whole[16], 32: whole[32], 64: None}
    assert timed.milliseconds("pairs")[2] == (64, None)
    assert ("tokens", 64) in timed.seconds


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_a_step_for_which_memory_lacks_is_left_out(error):
    class TooLarge(torch.nn.Module):
        weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, x):
            raise error

    timed = time_steps({"large": TooLarge()}, settings(), limit=1e9)
    assert timed.peaks["large"] == dict.fromkeys(LENGTHS)


def test_ratios_and_crossover_are_of_medians():
    seconds = {("plain", 1): [2, 2, 9], ("flash", 1): [4, 4, 4], ("plain", 4): [8, 8, 8]}
    seconds[("flash", 4)] = [4, 4, 1]
    peaks = {name: {1: 10, 4: 20} for name in ("plain", "flash")}
    timed = Steps(seconds, peaks, tokens=1000)
    assert timed.ratios("plain", "flash") == [(1, 0.5), (4, 2.0)]
    assert timed.crossover("plain", "flash") == 2
    assert timed.a_token("flash") == [(1, 4000.0), (4, 4000.0)]
    assert timed.rounds_differ_by() == pytest.approx(3.5)
    assert timed.table()[1] == ("plain", "2000.0", "8000.0")
