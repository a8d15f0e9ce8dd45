"""Results that come with the package, and the runs of the scoreboard that lectures are held to."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from flash_course.bench import stored
from flash_course.bench.paired import interval
from flash_tutorial import LanguageModel, ModelConfig, count_parameters

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


def test_losses_are_averaged_over_a_hundred_updates():
    updates, bits = stored.means_of_hundred({"every": 25, "losses": [np.log(2) * loss for loss in (4, 3, 2, 3, 0)]})
    assert updates.tolist() == [76, 101] and np.allclose(bits, [3, 2])


def test_lines_of_a_length_are_those_of_its_timed_runs():
    lines = stored.timed_lines(2048)
    seconds, rows = lines["FLASH"]
    assert [*lines] == ["FLASH", "FLASH-Quad", "Transformer++"] and seconds[-1] == 600 and len(rows) == 3
    assert [row[-1] for row in rows] == [run["bits_per_byte"] for run in stored.timed_runs(2048)["flash"]]


# ---------------------------------------------------------------- what lecture 07 concludes from runs


def full_runs(of):
    """{model: a field of its runs of 1,000 updates, by seed} of benchmarks/places.py."""
    found = {}
    for run in stored.load_stored("places")["runs"]:
        if run.get("steps") == 1000:
            found.setdefault(run["model"], {})[run["seed"]] = run[of]
    return {model: np.array([by_seed[seed] for seed in range(3)]) for model, by_seed in found.items()}


def test_after_a_boundary_flash_is_an_n_gram_model_with_sums_or_without():
    place, part = full_runs("by_place_of_128"), "validation, first 100000 bytes"
    grams = {row["order"]: row[part] for row in stored.load_stored("ngrams")["rows"] if "order" in row}
    saved = (place["local only"] - place["FLASH"]).mean(0)
    for group, order in enumerate((1, 2, 3)):
        assert 0 < place["FLASH"][:, group].mean() - grams[order] < 0.3 and 0 < saved[group] < 0.1
    flash, local, other = (full_runs("bits_per_byte")[name] for name in ("FLASH", "local only", "Transformer++"))
    assert (flash < other).all() and {*(flash < local)} == {True, False}
    mark, quad = grams[5], full_runs("bits_per_byte")["FLASH-Quad"]
    assert (other > mark).all() and (quad > mark).sum() == 2 and (flash < mark).all(), "the mark of section 2"


def test_the_flash_quad_of_section_1_is_rotary_at_half_the_rate_and_no_seed_is_unlucky():
    rotary = count_parameters(LanguageModel(ModelConfig("flash_quad", bias="rotary")))
    assert {*full_runs("parameters")["FLASH-Quad"]} == {rotary}
    assert {*full_runs("learning_rate")["FLASH-Quad"]} == {0.005}
    assert max(full_runs("bits_per_byte")["FLASH-Quad"]) < 2.1


def test_each_model_took_its_best_rate_and_flash_had_a_second_look():
    files = {"flash": 0.01, "flash_quad": 0.01, "transformerpp": 0.005}
    grids = {
        name: {r["learning_rate"]: r["bits_per_byte"] for r in stored.load_stored(f"quality_{name}")["runs"]
               if r["steps"] == 300} for name in files
    }  # fmt: skip
    best = {name: min(grid, key=grid.get) for name, grid in grids.items()}
    assert best == files | {"flash": 0.02}
    flash, other = grids["flash"], grids["transformerpp"]
    assert other[0.003] < flash[0.003] and flash[0.01] < other[0.01], "whoever picks the rate picks the winner"


def test_in_the_same_time_three_seeds_resolve_no_difference():
    scores = {}
    for name, steps, rate in (("flash", 1000, 0.01), ("transformerpp", 1142, 0.005)):
        every = stored.load_stored(f"quality_{name}")["runs"]
        runs = [run for run in every if (run["steps"], run["learning_rate"]) == (steps, rate)]
        scores[name] = np.array([run["bits_per_byte"] for run in sorted(runs, key=lambda run: run["seed"])])
    apart = scores["flash"] - scores["transformerpp"]
    half = 4.30 * apart.std(ddof=1) / 3**0.5
    assert max(apart) < 0 < apart.mean() + half, "better with each, and the interval holds 0"
    rows = {row.get("order"): row["validation, first 100000 bytes"] for row in stored.load_stored("ngrams")["rows"]}
    assert max(scores["flash"]) < rows[5] and 0 < rows[5] - scores["transformerpp"].mean() < 0.02


def test_dead_units_explain_one_score_and_not_the_rotary_form():
    runs = {}
    for run in stored.load_stored("open_units")["runs"]:
        if run["steps"] == 1000:
            dead = sum(share == 0 for share in run["open_after"])
            runs.setdefault((run["bias"], run["start"]), []).append((dead, run["bits_per_byte"]))
    assert not any(dead for (bias, _), three in runs.items() if bias == "toeplitz" for dead, _ in three)
    opened, drawn = runs["rotary", "open"], runs["rotary", "paper"]
    assert [dead for dead, _ in opened] == [1, 0, 0] and [dead for dead, _ in drawn] == [0, 2, 1]
    assert all(2.14 < bits < 2.16 for _, bits in opened) and drawn[0][1] < opened[0][1] < drawn[1][1]
    for bias in ("rotary", "toeplitz"):
        warm, first = (sum(bits for _, bits in runs[bias, start]) for start in ("long warm-up", "paper"))
        assert warm < first


def test_no_remedy_gains_with_every_seed_by_curing_the_boundary():
    place, bits = full_runs("by_place_of_128"), full_runs("bits_per_byte")
    gains = {name: bits[name] - bits["FLASH"] for name in ("C = 256", "borders moved", "chunk before", "subwords")}
    assert all(min(gains[name]) < 0 < max(gains[name]) for name in ("C = 256", "borders moved"))
    before, flash = place["chunk before"].mean(0), place["FLASH"].mean(0)
    assert abs(before[0] - before[-1]) < 0.1 and (gains["chunk before"] > 0).sum() == 2
    assert (before[4:] > flash[4:]).all(), "past position 8"
    subwords = place["subwords"].mean(0)
    assert max(gains["subwords"]) < -0.2 and subwords[0] > subwords[-1] + 1, "a gain, but not there"


def test_in_the_same_time_no_remedy_but_subwords_gains_with_every_seed_and_the_chunk_before_loses():
    runs = stored.load_stored("places")["runs"]
    seconds = next(run["seconds"] for run in runs if "seconds" in run)
    flash, gains = full_runs("bits_per_byte")["FLASH"], {}
    for run in (run for run in runs if run.get("steps", 400) not in (400, 1000)):
        fits = 1000 * seconds["FLASH"] / seconds[run["model"].removesuffix(", half the scale")]
        assert abs(run["steps"] - fits) <= 0.5, "updates that fit into the time of FLASH's 1,000"
        gains.setdefault(run["model"], {})[run["seed"]] = run["bits_per_byte"] - flash[run["seed"]]
    assert all({*by_seed} == {0, 1, 2} for by_seed in gains.values()) and len(gains) == 7
    gains = {model: [*by_seed.values()] for model, by_seed in gains.items()}
    assert all(min(gains[name]) < 0 < max(gains[name]) for name in ("C = 256", "borders moved"))
    assert max(gains["subwords"]) < -0.2 and min(gains["chunk before"]) > 0
    fair = np.array(gains["chunk before, half the scale"])
    assert (fair < 0).sum() == 1 and round(fair.mean(), 3) == 0.022
    equal = full_runs("bits_per_byte")["chunk before, half the scale"]
    fair = np.array([equal[seed] - flash[seed] for seed in range(3)])
    assert (fair < 0).sum() == 1 and abs(fair.mean()) < 0.001, "level at equal updates"
    halves = [interval(list(of))[1] for of in (fair, np.array(gains["chunk before, half the scale"]))]
    assert {round(half, 2) for half in halves} == {0.09}
    assert min(gains["FLASH-Quad"]) > 0 and min(gains["Transformer++"]) > 0.08


# ---------------------------------------------------------------- what lecture 08 says of runs that it does not print


def ends(T, model, budget, **wanted):
    """The final bits per byte of runs of ``budget`` seconds of benchmarks/time_to_quality.py."""
    wanted |= {"T": T, "model": model, "budget": budget}
    return [
        run["bits_per_byte"] for run in stored.load_stored("time_to_quality")["runs"] if wanted.items() <= run.items()
    ]


@pytest.mark.parametrize("T, budget, best", [(512, 600, 0.0025), (2048, 300, 0.0025), (8192, 600, 0.00125)])
def test_the_rate_of_transformer_is_the_best_of_three_neighbours_for_seed_0(T, budget, best):
    tried = (0.00125, 0.0025, 0.005)
    score = {rate: ends(T, "transformer++", budget, seed=0, learning_rate=rate)[0] for rate in tried}
    assert min(score, key=score.get) == best
    assert {run["learning_rate"] for run in stored.timed_runs(T, budget)["transformer++"]} == {best}


def test_ten_minutes_leave_less_of_the_lead_at_2048_and_too_little_training_at_8192():
    short, long = (stored.times_sooner(2048, budget) for budget in (300, 600))
    assert 1.5 < min(long) and max(long) < 2 < min(short)
    assert 1.1 < min(stored.times_sooner(512)) and max(stored.times_sooner(512)) < 1.3
    pairs = next(row for row in stored.load_stored("ngrams")["rows"] if row.get("order") == 1)
    pairs = pairs["validation, first 100000 bytes"]
    assert min(ends(8192, "transformer++", 300)) > pairs > 3.53
    one, *others = sorted(ends(8192, "transformer++", 600, learning_rate=0.0025), reverse=True)
    assert (round(one, 2), round(pairs, 2)) == (3.50, 3.54) and one < pairs and max(others) < 3.05
    assert round(min(ends(8192, "transformer++", 600)), 2) == 2.82
    assert round(float(np.mean([run["bits_per_byte"] for run in stored.timed_runs(2048)["transformer++"]])), 2) == 2.04


def test_the_lead_of_ten_minutes_at_2048_is_smaller_after_equal_updates():
    runs, leads = stored.timed_runs(2048), stored.leads_at_equal_updates()
    flash, other = ([run["bits_per_byte"] for run in runs[model]] for model in ("flash", "transformer++"))
    assert all(lead < sum(other) / 3 - sum(flash) / 3 for lead in leads.values())
    assert [round(lead, 3) for lead in leads.values()] == [0.049, -0.003]
    runs = {}
    for run in stored.load_stored("parts")["runs"]:
        if (run["corpus"], run["steps"]) == ("austen", 2000):
            runs.setdefault((run["model"], run["learning_rate"]), {})[run["seed"]] = run["bits_per_byte"]
    other = runs.pop(("Transformer++", 0.005))
    taken, chosen = ([other[seed] - runs["FLASH", rate][seed] for seed in range(3)] for rate in (0.005, 0.02))
    assert round(interval(taken)[1], 2) == 0.07
    assert round(interval(chosen)[0], 3) == 0.022 and sum(gap < 0 for gap in chosen) == 1
    assert "Transformer++" not in {model for model, _ in runs}, "it has one rate"


def test_flash_quad_is_behind_at_2048_after_as_many_updates_of_transformer_as_it_has_in_all():
    seconds, runs = stored.load_stored("time_to_quality")["runs"][0]["seconds"], stored.timed_runs(2048)
    quad = [run["bits_per_byte"] for run in runs["flash_quad"]]
    assert 2.18 < min(quad) and max(quad) < 2.205 and int(600 / seconds["flash_quad 2048"]) in (597, 598)
    on_the_way = [next(row for row in run["on_the_way"] if row[0] > 450) for run in runs["transformer++"]]
    assert {round(at / seconds["transformer++ 2048"]) for at, _ in on_the_way} <= {584, 585}
    assert all(2.12 < score < 2.135 for _, score in on_the_way)


def test_flash_passes_at_8192_between_its_second_score_and_its_third():
    runs = stored.timed_runs(8192)
    for flash, other in zip(runs["flash"], runs["transformer++"], strict=True):
        (_, _), (second, before), (third, after) = flash["on_the_way"][:3]
        assert 55 < second < 65 and 85 < third < 95 and after < other["bits_per_byte"] < before


def test_the_local_part_alone_is_worse_only_with_its_runs_that_have_a_dead_unit():
    rows = stored.load_stored("ablations_long")["runs"]
    whole, local = (
        {row["seed"]: row for row in rows if (row["model"], row["learning_rate"]) == key and row["seed"] < 100}
        for key in (("FLASH", 0.01), ("FLASH, local only", 0.02))
    )
    assert [sum(row["dead_units"] > 0 for row in of.values()) for of in (whole, local)] == [0, 2]
    gaps = [local[seed]["bits_per_byte"] - whole[seed]["bits_per_byte"] for seed in range(10)]
    alive = np.array([gap for seed, gap in enumerate(gaps) if not local[seed]["dead_units"]])
    half = 2.365 * alive.std(ddof=1) / 8**0.5  # Student's t, 7 degrees of freedom
    assert len(alive) == 8 and round(alive.mean(), 3) == 0.012 and round(half, 3) == 0.022


def test_flash_is_the_slower_one_in_all_rounds_at_1024_and_the_faster_one_in_all_at_2048():
    rows = {(row["model"], row["T"]): row["seconds"] for row in stored.load_stored("bench_cpu")["training"]}
    assert rows["transformer++", 1024]["high"] < rows["flash", 1024]["low"]
    assert rows["flash", 2048]["high"] < rows["transformer++", 2048]["low"]


def test_chunks_of_32_are_too_short_and_no_other_length_is_better_than_128_with_every_seed():
    by_chunk = {}
    for run in stored.load_stored("chunk_length")["runs"]:
        by_chunk.setdefault(run["chunk_size"], []).append(run["bits_per_byte"])
    by_chunk = {C: np.array(three) for C, three in by_chunk.items()}
    assert all((by_chunk[32] > by_chunk[C]).all() for C in (128, 256, 512))
    intervals = (interval(list(by_chunk[C] - by_chunk[32])) for C in by_chunk if C != 32)
    assert all(abs(mean) < half for mean, half in intervals), "not one interval excludes zero"
    assert all({*(by_chunk[C] > by_chunk[128])} == {True, False} for C in (64, 256, 512, 1024))


def test_flash_in_torch_is_predicted_a_little_slower_than_fused_attention_on_a_gpu_at_8192():
    times = {(row["model"], row["T"]): row["milliseconds"]["H100"] for row in stored.load_stored("traffic")["rows"]}
    assert [round(times[model, 8192]) for model in ("FLASH, torch", "Transformer++")] == [211, 200]


# ---------------------------------------------------------------- what lecture 09 says of longer windows


def test_longer_windows_are_the_stored_runs_by_model_length_and_seed():
    runs = [run for run in stored.load_stored("longer")["runs"] if run["model"] == "FLASH, sum"]
    for stage in ("trained_at_1024", "tuned_at_4096"):
        bits, places = stored.longer_windows(stage)["FLASH, sum"][4096]
        assert [run["seed"] for run in runs] == [0, 1, 2] and bits.tolist() == [run[stage]["4096"][0] for run in runs]
        assert places.shape == (3, 16) and places.tolist() == [run[stage]["4096"][1] for run in runs]
        assert np.allclose(places.mean(1), bits, atol=0.02)  # the last window is not full


def test_in_longer_windows_the_mean_reads_on_the_sum_breaks_late_and_transformer_at_once():
    mean, total, plus = (of[16_384][1] for of in stored.longer_windows("trained_at_1024").values())
    assert np.abs(mean[:, -1] - mean[:, 0]).max() < 0.02
    beside = total - mean  # the same bytes, so what is hard in them falls out
    assert np.abs(beside[:, 1:3] - beside[:, :1]).max() < 0.08 and (beside[:, 3] - beside[:, 0]).min() > 0.1
    assert total[:, -1].round(2).tolist() == [2.57, 3.76, 3.95] and round(total[1].max(), 2) == 4.45
    assert (plus[:, 1] - plus[:, 0]).min() > 0.25 and round(plus.mean(), 1) == 4.0
    counts = {row.get("order"): row for row in stored.load_stored("ngrams")["rows"]}[0]
    assert all(plus[:, -1].min() > counts[part] > plus.mean() for part in counts if part.startswith("validation"))


def test_a_little_training_at_4096_moves_the_break_and_does_not_remove_it():
    mean, total, plus = (of[16_384][1] for of in stored.longer_windows("tuned_at_4096").values())
    for other in (total, plus):
        beside = other - mean
        assert (beside[:, 1:5] - beside[:, :1]).max() < 0.03  # no worse than at the beginning, up to 5,120 bytes
    assert sorted(plus[:, -1].round(2)) == [2.35, 2.67, 2.86]
    lost = (total - mean)[:, -1] - (total - mean)[:, 0]
    assert lost[0] < 0.05 < 0.09 < lost[1:].min()


def test_the_sum_was_behind_at_its_own_length_and_the_rate_of_transformer_makes_no_difference_there():
    mean, total, plus = (of[1024][0] for of in stored.longer_windows("trained_at_1024").values())
    assert (total - mean).min() > 0.07 and round((total - mean).mean(), 2) == 0.14
    other = full_runs("bits_per_byte")["Transformer++"]
    assert {*full_runs("learning_rate")["Transformer++"]} == {0.005} and {*(plus < other)} == {True, False}


# ---------------------------------------------------------------- what lecture 13 says of recall


def test_more_pairs_tell_a_run_that_guesses_from_one_that_sinks():
    of = {pairs: stored.recalls_at_best_rate(pairs) for pairs in (1, 2, 4, 8, 16)}
    assert [round(np.mean(curves["FLASH"][5632]), 2) for curves in of.values()] == [1.0, 1.0, 1.0, 1.0, 1.0]
    retnet = [of[pairs]["RetNet"][512] for pairs in (8, 16)]
    assert min(retnet[0]) > 0.99 and 0.95 < min(retnet[1]) and max(retnet[1]) < 0.97
    for curves in of.values():  # windows that are too short do not even learn which values were shown
        assert max(max(curves["window"][n]) for n in (576, 1152, 2304)) < 0.1
    assert max(of[4]["window"][4608]) < min(of[16]["window"][4608])
    delta = [of[pairs]["gated DeltaNet"][512][1] for pairs in (2, 16)]
    assert [round(share, 2) for share in delta] == [0.85, 0.2]


def test_the_rate_of_flash_was_chosen_among_seeds_that_differ_as_much_as_rates():
    rates = stored.recalls(16)["FLASH"][2176]
    first = {0.0015: 0.0649, 0.003: 0.1169, 0.006: 0.3595, 0.012: 0.0615}
    assert {rate: shares[0] for rate, shares in rates.items()} == first
    assert [round(share, 2) for share in rates[0.006][1:]] == [0.07, 0.28]
    assert max(rates[0.003][1:]) > 0.95, "what the first search did not see"
    linear = stored.recalls(16)["linear attention"][1032]
    by_seed = [[round(share, 2) for share in linear[rate]] for rate in (3e-3, 6e-3)]
    assert by_seed == [[0.91, 0.85, 0.97], [0.94, 0.17, 0.06]]
