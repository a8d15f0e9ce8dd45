"""The changes of lecture 10: their runs are the right ones, and the lecture's sentences hold of them."""

import numpy as np

from flash_course.bench.changes import CHANGES, LONG, found, scores
from flash_course.bench.stored import best_by_start, load_stored


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


def test_all_four_signs_turn_round():
    for change in LONG:
        assert found(change, "short").mean * found(change, "long").mean < 0, change


def test_what_the_intervals_leave_open():
    short = [change for change in CHANGES if found(change, "short").is_settled]
    assert short == ["GAU: softmax", "GAU: no gate", "MHSA+MLP: relu²", "MHSA+MLP: gate"]
    together = [c for c in CHANGES if found(c, "short", 1 - 0.05 / 12).is_settled]
    assert together == ["GAU: no gate", "MHSA+MLP: relu²"]
    for share in (0.95, 1 - 0.05 / 4):
        assert [c for c in LONG if found(c, "long", share).is_settled] == ["GAU: softmax"]


def test_from_the_wider_start_two_signs_are_settled_and_no_run_is_lost():
    for share in (0.95, 1 - 0.05 / 4):
        settled = [c for c in LONG if found(c, "wide", share).is_settled]
        assert settled == ["GAU: softmax", "GAU to FLASH"]
    behind, *others = sorted(scores("GAU, 4 heads", "long"), reverse=True)
    assert behind > max(others) + 0.3
    assert max(scores("GAU, 4 heads", "wide")) < min(scores("GAU, 4 heads", "wide")) + 0.1


def test_the_gate_of_a_block_lives_on_its_rate():
    best = load_stored("ablations")["best_rates"]
    assert (best["MHSA+MLP, gate"], best["MHSA+MLP"]) == (0.01, 0.004)
    at_one_rate = first("MHSA+MLP, gate", 0.004) - first("MHSA+MLP", 0.004)
    own_rates = first("MHSA+MLP, gate", 0.01) - first("MHSA+MLP", 0.004)
    assert own_rates < 3 * at_one_rate < 0


def first(model, rate):
    return scores(model, "short", rate)[0]


def test_seeds_of_two_models_do_not_go_in_step():
    pairs = [(scores(v, "short"), scores(o, "short")) for v, o, *_ in CHANGES.values()]
    in_step = sorted(np.corrcoef(a, b)[0, 1] for a, b in pairs)
    assert in_step[0] < -0.7 and in_step[-1] > 0.9


def test_the_lead_over_the_twin_depends_on_the_start():
    best = best_by_start()
    leads = {start: best["flash"][start] - best["flash_quad"][start] for start in best["flash"]}
    assert leads["paper"] < -0.07 and abs(leads["small"]) < 0.005 and leads["fan-in"] > 0


def test_flash_leads_transformer_by_more_from_each_other_start():
    best = best_by_start()
    leads = {start: best["flash"][start] - best["transformer++"][start] for start in best["flash"]}
    assert max(leads, key=leads.get) == "paper" and leads["paper"] < 0


def test_flash_remembers_names_and_the_transformer_of_the_package_shows_no_sign():
    """Bits saved by a mention: (mean, standard error, names) by distance."""
    saved = {run["model"]: run["saved_by_mention"] for run in load_stored("mentions")["runs"]}
    assert all(mean > 4 * error for mean, error, _ in saved["austen-flash"].values())
    assert all(abs(mean) < 2 * error for mean, error, _ in saved["austen-transformer++"].values())
