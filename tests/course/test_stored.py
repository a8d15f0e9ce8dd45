"""Results that come with the package, and the runs of the scoreboard that lectures are held to."""

from types import SimpleNamespace

import numpy as np
import pytest

from flash_course.bench import stored

BY_NAME = {"scoreboard": {"runs": {"05 FLASH": {"losses": [4.0, 3.0, 2.0]}}}}


def compared(lecture, *losses):
    run = SimpleNamespace(log=[{"loss": loss} for loss in losses])
    stored.compare_with_stored(lecture, {"FLASH": run}, 3)


def test_a_result_is_read_by_its_name():
    assert stored.load_stored("ngrams")["rows"]
    with pytest.raises(ValueError, match=r"no result 'nothing' is stored: there are .*scoreboard"):
        stored.load_stored("nothing")


@pytest.mark.parametrize(
    "lecture, last, said",
    [
        ("05", 2.01, "1 run begins as its stored run does"),
        ("05", 2.03, "the first 3 losses differ from those of the stored run by up to 1.5%"),
        ("06", 2.00, "FLASH: no run of this name is stored"),
    ],
)
def test_a_run_is_held_to_one_per_cent(lecture, last, said, monkeypatch, capsys):
    monkeypatch.setattr(stored, "load_stored", BY_NAME.get)
    compared(lecture, 4.03, 2.98, last)
    assert said in capsys.readouterr().out
    with pytest.raises(ValueError, match="2 live and 3 stored losses: 3 of each are needed"):
        compared("05", 4.0, 3.0)


def test_longer_windows_are_the_stored_runs_by_model_length_and_seed():
    runs = [run for run in stored.load_stored("longer")["runs"] if run["model"] == "FLASH, sum"]
    for stage in ("trained_at_1024", "tuned_at_4096"):
        bits, places = stored.longer_windows(stage)["FLASH, sum"][4096]
        assert [(b, [*row]) for b, row in zip(bits, places)] == [
            (run[stage]["4096"][0], run[stage]["4096"][1]) for run in runs
        ]


def test_a_layers_recall_is_that_of_the_rate_with_all_seeds_that_recalls_most():
    rates = stored.recalls(16)["FLASH"]
    best = stored.recalls_at_best_rate(16)["FLASH"]
    whole = [seeds for seeds in rates[2176].values() if len(seeds) == 3]
    assert len(whole) == 2 and best[2176] == max(whole, key=np.mean)


def test_a_start_is_scored_at_its_best_rate_by_the_runs_that_chose_it(monkeypatch):
    table = ((600, 100, "small", 1.9), (600, 100, "small", 1.8), (600, 100, "paper", 2.0))
    table += ((1700, 100, "small", 1.5), (600, 0, "small", 1.6))
    runs = [
        dict(model="flash", steps=steps, seed=seed, start=start, bits_on_choosing_text=bits)
        for steps, seed, start, bits in table
    ]
    runs.append(dict(model="flash", steps=0, start="small", branches=[0.1]))
    monkeypatch.setattr(stored, "load_stored", lambda name: {"runs": runs})
    assert stored.best_by_start() == {"flash": {"small": 1.8, "paper": 2.0}}


@pytest.mark.parametrize("updates", (600, 1700))
def test_the_runs_of_a_start_are_listed_by_seed(updates):
    by_model = stored.runs_by_start(updates)
    assert {start: len(bits) for start, bits in by_model["flash"].items()} == {
        "paper": 3,
        "width": 3,
        "fan-in": 3,
        "small": 3,
    }


def test_beside_look_up_stands_the_transformer_of_the_race_at_the_rate_that_it_wants():
    found = stored.runs_of_look_up()
    assert {model for model in found if len(found[model]) == 3} > {"FLASH", "FLASH, own maps"}
    assert sorted(run["seed"] for run in found["Transformer++ of the race"]) == [0, 1, 2, 3, 4]


# ---------------------------------------------------------------- rows as lectures read them
ROW = dict(arm="FLASH", settings={"T": 8}, rate=0.1, seed=0, steps=3, code="x", machine={})


def test_a_row_is_flat_and_a_timing_is_of_no_model():
    flat = stored.flat(ROW | {"measures": {"bits_per_byte": 2.0}}, "variant")
    wanted = dict(variant="FLASH", learning_rate=0.1, seed=0, steps=3, T=8, machine={})
    assert flat == wanted | {"bits_per_byte": 2.0}
    timed = dict(arm=None, settings={"what": "seconds"}, rate=None, seed=None, steps=0)
    timed |= dict(measures={"seconds": {}})
    assert stored.flat(ROW | timed, "model") == {"what": "seconds", "seconds": {}, "machine": {}}


def test_the_best_rate_is_that_of_seed_0_and_other_seeds_stand_beside():
    table = ((1, 0, 3), (2, 0, 2), (3, 1, 1))
    runs = [dict(variant="GAU", learning_rate=r, seed=s, bits_per_byte=b) for r, s, b in table]
    assert stored.with_best_rates(runs)["best_rates"] == {"GAU": 2}
    runs = [dict(model="FLASH", seed=s, bits_per_byte=b) for s, b in ((1, 3.0), (0, 2.0))]
    assert [*stored.by_name(runs)["runs"]] == ["FLASH seed 1", "FLASH"]
    assert stored.by_mixer(runs) == {"runs": {"FLASH": runs[1]}, "seeds": {"FLASH": [2.0, 3.0]}}
