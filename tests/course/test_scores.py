"""A run's line of the scoreboard."""

from types import SimpleNamespace

from flash_course import learner
from flash_course.bench.scores import write_score


def test_a_run_is_scored_by_its_bits_its_median_update_and_its_state():
    run = SimpleNamespace(
        log=[{"seconds": end} for end in (0.5, 0.6, 0.8, 2.0)],
        evaluation=SimpleNamespace(bits_per_byte=2.5),
        model=SimpleNamespace(state_numbers=lambda T: 3 * T),
    )
    write_score("03", "mine", run, 64)
    row = learner.load_progress()["scoreboard"]["03 mine"]
    assert row["bits_per_byte"] == 2.5 and row["state_numbers"] == 192
    assert round(row["step_ms"], 6) == 200
