"""Results that come with the package, and the runs of the scoreboard that lectures are held to."""

import json
from types import SimpleNamespace

import pytest

from flash_course.bench import stored

pytestmark = pytest.mark.quick

RUNS = {"runs": {"05 FLASH": {"losses": [4.0, 3.0, 2.0]}}}


def run(*losses):
    return {"FLASH": SimpleNamespace(log=[{"loss": loss} for loss in losses])}


def test_a_result_is_read_by_its_name():
    assert stored.load_stored("ngrams")["rows"]
    with pytest.raises(ValueError, match=r"no result 'nothing' is stored: there are .*bench_cpu.*scoreboard"):
        stored.load_stored("nothing")


@pytest.mark.parametrize(
    "losses, said",
    [
        ((4.0, 3.0, 2.0), "1 run begins as its stored run does"),
        ((4.03, 2.98, 2.01), "1 run begins as its stored run does"),
        ((4.0, 3.0, 2.03), "FLASH: the first 3 losses differ from those of the stored run by up to 1.5%"),
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


def test_every_run_of_the_scoreboard_is_stored_whole():
    rows = stored.load_stored("scoreboard")["runs"]
    assert {name[:2] for name in rows} == {"00", "01", "02", "03", "04", "05", "06", "12"}
    for name, row in rows.items():
        assert len(row["losses"]) == 300 and row["losses"][0] > 4 > row["losses"][-1], name
        low, high = (4.3, 4.43) if name.endswith("no bias") else (2, 4)  # relu^2 alone hardly learns: 4.43 is counting
        assert row["machine"]["torch"] and low < row["bits_per_byte"] < high, name
    assert len({json.dumps(row["losses"]) for row in rows.values()}) >= 10, "different mixers have different losses"


def test_the_seeds_of_a_run_are_three_and_begin_with_the_stored_one():
    result = stored.load_stored("scoreboard")
    assert {"00 transformer++", "04 linear attention", "05 FLASH, C = 16", "05 FLASH, local only"} <= set(
        result["seeds"]
    )
    for name, bits in result["seeds"].items():
        assert bits[0] == result["runs"][name]["bits_per_byte"], name
        assert len(bits) == len(set(bits)) == 3, f"{name}: another seed gives another score"


# ---------------------------------------------------------------- what lecture 08 says of runs that it does not print


def ends(T, model, **wanted):
    """The final bits per byte of full runs of benchmarks/time_to_quality.py."""
    wanted |= {"T": T, "model": model, "share": 1.0}
    return [
        run["bits_per_byte"] for run in stored.load_stored("time_to_quality")["runs"] if wanted.items() <= run.items()
    ]


def test_half_and_twice_the_rate_of_transformer_end_worse_at_2048():
    rates = {rate: ends(2048, "transformer++", seed=0, learning_rate=rate) for rate in (0.00125, 0.0025, 0.005)}
    taken = {run["learning_rate"] for run in stored.timed_runs(2048)["transformer++"]}
    assert taken == {0.0025} and rates[0.0025] < min(rates[0.00125], rates[0.005])


def test_transformer_ends_no_better_than_counts_of_pairs_at_8192():
    pairs = next(row for row in stored.load_stored("ngrams")["rows"] if row.get("order") == 1)
    assert min(ends(8192, "transformer++")) > pairs["validation, first 100000 bytes"] > 3.53


def test_the_lead_of_five_minutes_is_smaller_in_longer_runs():
    leads = stored.longer_leads()
    for what, lead in leads.items():
        runs = stored.timed_runs(512 if "512" in what else 2048)
        flash, other = ([run["bits_per_byte"] for run in runs[model]] for model in ("flash", "transformer++"))
        assert lead < sum(other) / 3 - sum(flash) / 3, what
    assert [round(lead, 3) for lead in leads.values()] == [0.027, 0.022, -0.01]
