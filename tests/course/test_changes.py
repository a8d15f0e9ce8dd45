"""The changes of lecture 10: their runs are the right ones."""

from flash_course.bench.changes import CHANGES, LONG, scores
from flash_course.bench.stored import load_stored


def test_scores_are_of_the_reported_seeds_at_one_rate():
    stored = load_stored("ablations")
    for model, rate in stored["best_rates"].items():
        runs = [run for run in stored["runs"] if run["variant"] == model]
        by_seed = {
            run["seed"]: run["bits_per_byte"] for run in runs if run["learning_rate"] == rate
        }
        assert scores(model, "short") == [by_seed[seed] for seed in (0, 1, 2)], model
    assert len(scores("FLASH, global only", "short", 0.025)) == 3
    assert {len(scores(name, "long")) for change in LONG for name in CHANGES[change][:2]} == {10}
