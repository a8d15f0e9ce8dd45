"""Results that come with the package, and the runs of the scoreboard that lectures are held to."""

from types import SimpleNamespace

import numpy as np
import pytest

from flash_course.bench import stored

RUNS = {"runs": {"05 FLASH": {"losses": [4.0, 3.0, 2.0]}}}


def run(*losses):
    return {"FLASH": SimpleNamespace(log=[{"loss": loss} for loss in losses])}


def test_a_result_is_read_by_its_name():
    assert stored.load_stored("ngrams")["rows"]
    with pytest.raises(
        ValueError, match=r"no result 'nothing' is stored: there are .*bench_cpu.*scoreboard"
    ):
        stored.load_stored("nothing")


@pytest.mark.parametrize(
    "losses, said",
    [
        ((4.0, 3.0, 2.0), "1 run begins as its stored run does"),
        ((4.03, 2.98, 2.01), "1 run begins as its stored run does"),
        (
            (4.0, 3.0, 2.03),
            "FLASH: the first 3 losses differ from those of the stored run by up to 1.5%",
        ),
    ],
)
def test_a_run_is_held_to_one_per_cent(losses, said, monkeypatch, capsys):
    monkeypatch.setattr(stored, "load_stored", {"scoreboard": RUNS}.get)
    stored.compare_with_stored("05", run(*losses), 3)
    assert capsys.readouterr().out == f"{said}\n"


def test_fewer_losses_than_compared_are_an_error(monkeypatch):
    monkeypatch.setattr(stored, "load_stored", {"scoreboard": RUNS}.get)
    with pytest.raises(ValueError, match="2 live and 3 stored losses: 3 of each are needed"):
        stored.compare_with_stored("05", run(4.0, 3.0), 3)


def test_a_run_that_is_not_stored_is_said(monkeypatch, capsys):
    monkeypatch.setattr(stored, "load_stored", {"scoreboard": RUNS}.get)
    stored.compare_with_stored("06", run(4.0), 1)
    assert capsys.readouterr().out == "FLASH: no run of this name is stored\n"


def test_losses_are_averaged_over_a_hundred_updates():
    updates, bits = stored.means_of_hundred(
        {"every": 25, "losses": [np.log(2) * loss for loss in (4, 3, 2, 3, 0)]}
    )
    assert updates.tolist() == [76, 101] and np.allclose(bits, [3, 2])


def test_lines_of_a_length_are_those_of_its_timed_runs():
    lines = stored.timed_lines(2048)
    seconds, rows = lines["FLASH"]
    assert (
        [*lines] == ["FLASH", "FLASH-Quad", "Transformer++"]
        and seconds[-1] == 600
        and len(rows) == 3
    )
    assert [row[-1] for row in rows] == [
        run["bits_per_byte"] for run in stored.timed_runs(2048)["flash"]
    ]


def test_longer_windows_are_the_stored_runs_by_model_length_and_seed():
    runs = [run for run in stored.load_stored("longer")["runs"] if run["model"] == "FLASH, sum"]
    for stage in ("trained_at_1024", "tuned_at_4096"):
        bits, places = stored.longer_windows(stage)["FLASH, sum"][4096]
        assert [run["seed"] for run in runs] == [0, 1, 2] and bits.tolist() == [
            run[stage]["4096"][0] for run in runs
        ]
        assert places.shape == (3, 16) and places.tolist() == [
            run[stage]["4096"][1] for run in runs
        ]
        assert np.allclose(places.mean(1), bits, atol=0.02)  # the last window is not full


def test_a_layers_recall_is_that_of_the_rate_with_all_seeds_that_recalls_most():
    rates, best = stored.recalls(16)["FLASH"], stored.recalls_at_best_rate(16)["FLASH"]
    whole = {rate: seeds for rate, seeds in rates[2176].items() if len(seeds) == 3}
    assert {*whole} == {0.003, 0.006} and best[2176] == whole[0.003]


# ---------------------------------------------------------------- rows as lectures read them
ROW = dict(
    arm="FLASH",
    settings={"T": 8},
    rate=0.1,
    seed=0,
    steps=3,
    measures={"bits_per_byte": 2.0},
    machine={},
    code="x",
)


def test_a_row_is_flat_and_a_timing_is_of_no_model():
    assert stored.flat(ROW, "variant") == {
        "variant": "FLASH",
        "learning_rate": 0.1,
        "seed": 0,
        "steps": 3,
        "T": 8,
        "bits_per_byte": 2.0,
        "machine": {},
    }
    timed = ROW | dict(
        arm=None,
        settings={"what": "seconds"},
        rate=None,
        seed=None,
        steps=0,
        measures={"seconds": {}},
    )
    assert stored.flat(timed, "model") == {"what": "seconds", "seconds": {}, "machine": {}}


def test_the_best_rate_of_a_variant_is_that_of_seed_0():
    runs = [
        dict(variant="GAU", learning_rate=r, seed=s, bits_per_byte=b)
        for r, s, b in ((1, 0, 3), (2, 0, 2), (3, 1, 1))
    ]
    assert stored.with_best_rates(runs)["best_rates"] == {"GAU": 2}


def test_other_seeds_have_names_of_their_own_or_stand_in_a_row():
    runs = [
        dict(model="FLASH", seed=seed, bits_per_byte=bits) for seed, bits in ((1, 3.0), (0, 2.0))
    ]
    assert [*stored.by_name(runs)["runs"]] == ["FLASH seed 1", "FLASH"]
    assert stored.by_mixer(runs) == {"runs": {"FLASH": runs[1]}, "seeds": {"FLASH": [2.0, 3.0]}}
