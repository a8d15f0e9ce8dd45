"""The benchmark against length: its form at tiny sizes, and its floor. No test looks at seconds."""

import argparse
import itertools
import json

import pytest
import torch
from test_counts import executed

from flash_course import drawing
from flash_course.bench import against_length as bench
from flash_course.bench import floors, lines
from flash_course.bench.counts import attention_pairs, count_multiply_adds
from flash_tutorial import FLASH

TINY = dict(dim=16, qk_dim=8, chunk_size=8, tokens=64, lengths=(16, 32, 64), unit_length=32)
TINY |= dict(positions=(16, 40), decoding_blocks=1, rounds=1)


def tiny(**more):
    return bench.Settings(**TINY | more)


@pytest.fixture(scope="module")
def result():
    return bench.benchmark(tiny(), "flash-tutorial bench", say=lambda line: None)


def test_each_row_of_training_has_a_number_or_the_reason_why_not(result):
    models = ("flash_pytorch", "flash", "flash_quad", "transformer++")
    rows = result["training"]
    assert [(r["T"], r["model"]) for r in rows] == [*itertools.product((16, 32, 64), models)]
    for row in rows:
        assert row["batch"] * row["T"] == 64
        assert (row["seconds"] is None) == (row["reason"] is not None)
        if row["seconds"]:
            assert row["peak_bytes"] > 0
            assert (row["floor"] is not None) == (row["model"] in ("flash", "transformer++"))
    assert [(r["T"], r["batch"]) for r in result["unit"]] == [(32, 1), (32, 2)]
    for row in result["decoding"]:
        assert row["state_numbers"] == row["counted_state_numbers"]


def test_what_is_saved_is_json_and_a_picture(result, tmp_path):
    picture = bench.save(result, tmp_path / "out.json", drawing.benchmark_results)
    assert json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))["format"] == 2
    assert picture.read_bytes()[:4] == b"\x89PNG"


def test_a_ratio_of_things_timed_in_turn_is_that_of_their_rounds():
    """The second of two rounds is ten times as slow for one of the two."""
    flash = bench.every_round([1.0, 10.0, 10.0])
    plus = bench.every_round([2.0, 2.0, 20.0])
    floor = bench.every_round([1.0, 1.0, 10.0])
    training = []
    decoding = []
    for T in (16, 32, 64):
        row = dict(T=T, floor=floor, multiply_adds=1)
        training.append(row | dict(model="flash", seconds=flash))
        training.append(row | dict(model="transformer++", seconds=plus))
        training.append(row | dict(model="flash_pytorch", seconds=None))
    for name in ("flash", "flash_quad", "transformer++"):
        decoding.append(dict(model=name, position=16, seconds=floor))
        slower = bench.every_round([2.0, 20.0, 20.0])
        decoding.append(dict(model=name, position=40, seconds=slower))
    end = bench.conclude(training, [], decoding, tiny())
    first = end["speedups"][0]
    over_floor = (first["flash_over_floor"], first["transformer_over_floor"])
    assert (first["measured"], *over_floor) == (2.0, 1.0, 2.0)
    assert first["flash_over_public"] is None
    assert end["decoding"]["flash"]["ratio"] == 2.0 and end["constant_tokens"]["ratio"] == 1.0


def test_what_slows_the_machine_for_some_rounds_does_not_change_a_ratio():
    slower = [1.0, 1.0, 1.0, 3.0, 3.0]  # from the fourth round on
    a = bench.every_round([1.1 * s for s in slower])
    b = bench.every_round([1.0, 1.0, 3.0, 3.0, 3.0])  # its third round was slow already
    for other in (bench.every_round(slower), b):
        assert bench.ratio_in_turn(a, other) == pytest.approx(1.1)
    assert bench.ratio_in_turn(a, None) is None


def multiply_adds(products):
    return sum(batch * rows * inner * columns for batch, rows, inner, columns in products)


def test_model_and_floor_multiply_the_same_shapes():
    """Full chunks, so that the floor's local part is whole: what the unit that reads both sides counts,
    but for one chunk's sum, which nobody reads, and one chunk that reads no sum."""
    settings = tiny()
    T = 32
    c = bench.config_of("flash", settings)
    unit = FLASH(c.dim, qk_dim=c.qk_dim, chunk_size=c.chunk_size, causal=False)
    unread = 2 * c.chunk_size * c.qk_dim * unit.expanded
    forward = multiply_adds(floors.flash_products(c, 2, T))
    assert forward == 2 * (count_multiply_adds(unit, T) - unread)
    # it runs three products for each of the forward pass
    assert executed(bench.training_floor(c, settings, 2, T)) == 3 * c.depth * forward
    plus = bench.config_of("transformer++", settings)
    attention = attention_pairs(T, True) * 2 * c.dim
    dense = multiply_adds(floors.transformer_products(plus, T))
    assert dense + attention == bench.counted_units(plus, T)


def test_a_quadratic_model_stops_with_a_reason():
    before = dict(T=16, seconds={"median": 1.0}, peak_bytes=100, multiply_adds=10, reason=None)
    row = dict(model="flash_quad", T=32, multiply_adds=20)
    assert bench.unreasonable(before, row, tiny(step_limit=3.0)) is None
    assert "about 2 s" in bench.unreasonable(before, row, tiny(step_limit=1.5))
    assert "GB" in bench.unreasonable(before, row, tiny(memory_limit=399))
    assert bench.unreasonable(before, row, tiny(memory_limit=401)) is None
    after = dict(T=32, seconds=None, reason="too long")
    assert "too long" in bench.unreasonable(after, row, tiny())
    assert bench.unreasonable(before, row | {"model": "flash"}, tiny(step_limit=0.1)) is None


# for its memory, in the warm-up, and in the round that is timed
@pytest.mark.parametrize("call", [1, 2, 3])
def test_too_little_memory_at_any_call_is_a_row_and_the_others_go_on(call, monkeypatch):
    make = bench.training_step

    def with_little_memory(model, *sizes):
        step = make(model, *sizes)
        calls = []

        def limited():
            calls.append(1)
            if len(calls) == call and model is models["flash_quad"]:
                raise torch.OutOfMemoryError("CUDA out of memory")
            step()

        return limited

    monkeypatch.setattr(bench, "training_step", with_little_memory)
    settings = tiny()
    names = ("flash", "flash_quad", "transformer++")
    models = {name: bench.make_units(name, settings) for name in names}
    rows = {row["model"]: row for row in bench._training_rows(models, 16, settings, {}, None)}
    for name, row in rows.items():
        fits = name != "flash_quad"
        assert (row["reason"], row["seconds"] is not None) == (
            None if fits else "out of memory",
            fits,
        )
    assert "out of memory" in bench.training_line(rows["flash_quad"])


def test_the_crossover_is_where_the_speed_up_passes_one():
    rows = [dict(T=T, measured=m) for T, m in ((512, 0.5), (1024, 0.5), (2048, 2.0), (4096, 3.0))]
    assert bench.measured_crossover(rows) == 1448  # half way between, in logarithms
    assert bench.measured_crossover(rows[:2]) is None
    counted = bench.counted_crossover(bench.Settings())
    settings = bench.Settings()
    flash, plus = (bench.config_of(name, settings) for name in ("flash", "transformer++"))
    assert bench.counted_units(flash, counted) < bench.counted_units(plus, counted)
    assert bench.counted_units(flash, counted - 256) >= bench.counted_units(plus, counted - 256)


def test_the_benchmark_leaves_denormals_as_it_found_them(result):
    assert torch.tensor([1e-40]).mul(0.5).item() != 0


def test_options_become_settings_and_the_command_hides_the_place_of_files(tmp_path):
    parser = argparse.ArgumentParser()
    bench.add_arguments(parser)
    words = ["--quick", "--device", "cpu", "--rounds", "2", "--out", str(tmp_path / "x.json")]
    args = parser.parse_args(words)
    settings = bench.settings_from(args)
    found = (settings.rounds, settings.tokens, settings.device, settings.dtype)
    assert found == (2, 4096, "cpu", "float32")
    command = bench.command_of(args)
    assert "--quick" in command and str(tmp_path) not in command
    again = parser.parse_args(command.split()[2:])
    assert bench.settings_from(again) == settings


@pytest.mark.parametrize(
    "words, part",
    [
        (["--tokens", "100"], "tokens=100"),
        (["--rounds", "0"], "rounds=0"),
        (["--device", "abacus"], "abacus"),
        (["--out", "no_such_folder/x.json"], "no_such_folder"),
    ],
)
def test_options_that_cannot_be_are_refused_in_one_line(words, part, monkeypatch):
    monkeypatch.setattr(bench, "benchmark", lambda *a, **k: pytest.fail("it was run"))
    parser = argparse.ArgumentParser()
    bench.add_arguments(parser)
    with pytest.raises(ValueError, match=part) as error:
        bench.run(parser.parse_args(["--device", "cpu", *words]), drawing.benchmark_results)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "measured, crossing, said",
    [
        ([1.2, 3.0], None, "faster than Transformer++ at every length"),
        ([0.5, 0.9], None, "slower than Transformer++ at every length"),
        ([0.5, 2.0], 700, "faster than Transformer++ from about T=700 on"),
        ([2.0, 0.5], None, "and no longer at the last"),
        ([None, None], None, "No length has a time of both"),
    ],
)
def test_who_is_faster_is_said_also_where_nothing_crosses(measured, crossing, said):
    assert said in lines.overtaking([{"measured": each} for each in measured], crossing)
