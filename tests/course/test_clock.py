"""The clock of the benchmarks. No test looks at seconds."""

import pytest
import torch

from flash_course.bench.clock import peak_bytes, summary, time_in_turn, time_to_reach


def test_functions_take_turns_and_every_second_round_goes_backwards():
    calls = []
    seconds = time_in_turn(
        {"a": lambda x: calls.append(x), "b": lambda x: calls.append(x)},
        3,
        warmup=1,
        prepare=str.upper,
    )
    assert "".join(calls) == "BA" + "AB" + "BA" + "AB"
    # the warm-up is not kept
    assert {name: len(s) for name, s in seconds.items()} == {"a": 3, "b": 3}
    with pytest.raises(ValueError, match="rounds=0"):
        time_in_turn({}, 0)


@pytest.mark.parametrize("call", [1, 3])  # in the warm-up, and in the second of three rounds
def test_a_function_that_fails_is_left_out_and_the_others_go_on(call):
    calls = []
    told = []

    def fail():
        calls.append(1)
        if len(calls) == call:
            raise MemoryError("full")

    functions = {"fails": fail, "fine": lambda: None}
    seconds = time_in_turn(
        functions, 3, leave_out=lambda name, error: told.append((name, str(error)))
    )
    assert told == [("fails", "full")] and len(calls) == call
    assert {name: len(s) for name, s in seconds.items()} == {"fine": 3}
    calls.clear()
    with pytest.raises(MemoryError, match="full"):
        time_in_turn(functions, 3)


def test_time_to_reach_is_on_straight_lines():
    seconds = (10, 20, 40)
    scores = (4.0, 3.0, 2.0)
    found = [time_to_reach(goal, seconds, scores) for goal in (4.5, 4.0, 3.25, 2.5, 2.0, 1.9)]
    assert found == [10, 10, 17.5, 30, 40, None]
    assert time_to_reach(2.5, seconds, (4.0, 2.0, 3.0)) == 17.5  # the first time counts


def test_summary_is_median_and_range():
    assert summary([3.0, 1.0, 2.0, 10.0]) == {"median": 2.5, "low": 1.0, "high": 10.0, "rounds": 4}


def test_peak_is_the_most_held_at_once_and_not_the_sum():
    def work():
        a = torch.zeros(100_000)
        b = torch.zeros(50_000)
        del a
        c = torch.zeros(20_000)
        return b, c

    assert peak_bytes(work) == 4 * 150_000
    # a high-water mark of the process would not know the second
    assert peak_bytes(work) == 4 * 150_000
