"""Counts against what is really multiplied and kept, the benchmark's form at tiny sizes. No test looks at seconds."""

import argparse
import json
import platform

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from flash_course import figures
from flash_course.bench import against_length as bench
from flash_course.bench.clock import machine, peak_bytes, summary, time_in_turn
from flash_course.bench.counts import attention_pairs, chunk_pairs, count_multiply_adds, count_state_numbers
from flash_tutorial import (
    FLASH,
    GAU,
    LanguageModel,
    MCTransformerBlock,
    ModelConfig,
    Stack,
    TransformerBlock,
    fast,
)
from flash_tutorial.config import ARCHITECTURES, options_of

pytestmark = pytest.mark.quick

D, S, C, H = 12, 8, 4, 3
E, FF = 2 * D, 20
UNITS = {  # with a Toeplitz bias: the product that makes a rotary one is shared by the batch and not counted
    "gau": lambda causal: GAU(D, qk_dim=S, causal=causal, length_scale=9, bias_length=64),
    "gau, expansion 3": lambda causal: GAU(D, qk_dim=S, causal=causal, expansion=3, length_scale=9, bias_length=64),
    "flash": lambda causal: FLASH(D, qk_dim=S, chunk_size=C, causal=causal),
    "flash, local only": lambda causal: FLASH(D, qk_dim=S, chunk_size=C, causal=causal, global_=False),
    "flash, global only": lambda causal: FLASH(D, qk_dim=S, chunk_size=C, causal=causal, local=False),
    "transformer": lambda causal: TransformerBlock(D, heads=H, ff_dim=FF, causal=causal),
    "transformer++": lambda causal: TransformerBlock(D, heads=H, ff_dim=FF, glu=True, rope=True, causal=causal),
    "mc_transformer++": lambda causal: MCTransformerBlock(D, heads=H, ff_dim=FF, chunk_size=C, causal=causal),
}
GATED = [name for name in UNITS if "transformer" not in name]


def executed(model, *inputs):
    """Multiply-adds that torch really made, by its own counter, which does not know the CPU's fused attention."""
    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        model(*inputs)
    return counter.get_total_flops() // 2


def config(architecture, **more):
    small = {k: v for k, v in dict(qk_dim=S, chunk_size=C, heads=H).items() if k in options_of(architecture)}
    return ModelConfig(architecture, vocab_size=11, dim=D, depth=2, max_length=64, **small, **more)


# ---------------------------------------------------------------- multiply-adds


@pytest.mark.parametrize("T", [1, 3, 4, 14])
@pytest.mark.parametrize("causal", [True, False])
def test_pairs_are_those_that_a_loop_finds(T, causal):
    pairs = [(i, j) for i in range(T) for j in range(T) if not (causal and j > i)]
    assert attention_pairs(T, causal) == len(pairs)
    assert chunk_pairs(T, C, causal) == sum(i // C == j // C for i, j in pairs)


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_that_reads_both_sides_counts_what_torch_executes(name):
    T = 3 * C  # full chunks: nothing is filled up
    unit = UNITS[name](False)
    assert count_multiply_adds(unit, T) == executed(unit, torch.randn(1, T, D))


@pytest.mark.parametrize("name", GATED)
def test_a_causal_unit_counts_what_torch_executes_where_no_masked_pair_is_multiplied(name, monkeypatch):
    monkeypatch.setattr(fast, "ROWS", 1)  # row by row the code multiplies the causal pairs alone
    T = 3 * C
    unit = UNITS[name](True)
    assert count_multiply_adds(unit, T) == executed(unit, torch.randn(1, T, D))


@pytest.mark.parametrize("name", ["transformer", "transformer++", "mc_transformer++"])
@pytest.mark.parametrize("T", [2, 12, 14])
def test_a_causal_transformer_saves_the_later_pairs_and_nothing_else(name, T):
    # each pair costs D for q k^T and D for A v, over all heads
    both, causal = (count_multiply_adds(UNITS[name](c), T) for c in (False, True))
    later = [(i, j) for i in range(T) for j in range(i + 1, T)]
    if name == "mc_transformer++":
        later = [(i, j) for i, j in later if i // C == j // C]
    assert both - causal == len(later) * 2 * D


@pytest.mark.parametrize("causal", [True, False])
def test_a_tail_counts_its_own_pairs_and_not_a_full_chunk(causal):
    tail = 2
    unit = UNITS["flash"](causal)
    grown = count_multiply_adds(unit, 3 * C + tail) - count_multiply_adds(unit, 3 * C)
    pairs = tail * (tail + 1) // 2 if causal else tail * tail
    dense = D * (2 * E + S) + E * D
    assert grown == tail * dense + pairs * (S + E) + 2 * tail * S * E


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("causal", [True, False])
def test_config_and_model_count_the_same_and_the_head_once(architecture, causal):
    c, T = config(architecture, causal=causal), 10
    model = LanguageModel(c)
    counted = count_multiply_adds(c, T)
    assert counted == count_multiply_adds(model, T) == count_multiply_adds(Stack(c), T) + T * D * 11
    assert count_multiply_adds(Stack(c), T) == 2 * count_multiply_adds(model.stack.units[0], T)


def test_a_whole_model_counts_what_torch_executes():
    c, T = config("flash", causal=False), 3 * C
    assert count_multiply_adds(c, T) == executed(LanguageModel(c), torch.zeros(1, T, dtype=torch.long))


@pytest.mark.parametrize("name", [*GATED, "transformer++", "mc_transformer++"])
def test_only_quadratic_units_grow_faster_than_the_length(name):
    unit, T = UNITS[name](True), 16 * C
    grown = count_multiply_adds(unit, 2 * T) - 2 * count_multiply_adds(unit, T)
    assert (grown == 0) == (name.startswith("flash") or name == "mc_transformer++")


def test_the_papers_sizes_are_counted_without_their_weights():
    flash, plus = (ModelConfig.paper("pg19", name) for name in ("flash", "transformer++"))
    T = 8192
    dense_flash = T * 1024 * (2 * 2048 + 128) + T * 2048 * 1024
    near = 16 * (512 * 513 // 2) * (128 + 2048)
    assert count_multiply_adds(flash, T) == 72 * (dense_flash + near + 2 * T * 128 * 2048) + T * 1024 * 32_000
    dense_plus = 4 * T * 1024**2 + 3 * T * 1024 * 2736
    assert count_multiply_adds(plus, T) == 36 * (dense_plus + T * (T + 1) // 2 * 2048) + T * 1024 * 32_000


class OwnUnit(torch.nn.Module):
    """A unit of a user's: it says what it multiplies."""

    def __init__(self, dim, causal=True):
        super().__init__()
        self.dim, self.causal = dim, causal

    def forward(self, x, mask=None, segment_ids=None):
        return x

    def multiply_adds(self, T):
        return 7 * T


def test_a_unit_of_your_own_is_asked():
    assert count_multiply_adds(OwnUnit(D), 5) == 35
    c = ModelConfig(OwnUnit, vocab_size=11, dim=D, depth=2)
    assert count_multiply_adds(c, 5) == 2 * 35 + 5 * D * 11


@pytest.mark.parametrize(
    "model, T, words",
    [(torch.nn.Linear(2, 2), 5, "multiply_adds"), (UNITS["gau"](True), 0, "T=0"), (UNITS["gau"](True), 2.5, "T=2.5")],
)
def test_what_cannot_be_counted_is_refused_in_one_line(model, T, words):
    with pytest.raises(ValueError, match=words) as error:
        count_multiply_adds(model, T)
    assert "\n" not in str(error.value)


# ---------------------------------------------------------------- sizes of states


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("T", [3, 4, 14])
def test_state_sizes_are_those_of_the_real_states(architecture, T):
    c = config(architecture)
    model = LanguageModel(c)
    with torch.no_grad():
        _, state = model.prefill(torch.zeros(1, T, dtype=torch.long))
        assert count_state_numbers(c, T) == count_state_numbers(model, T) == state.numel()
        _, state = model.step(torch.zeros(1, dtype=torch.long), state)
    assert count_state_numbers(c, T + 1) == state.numel()


def test_a_unit_of_your_own_keeps_its_inputs():
    model = LanguageModel(ModelConfig(OwnUnit, vocab_size=11, dim=D, depth=2))
    _, state = model.prefill(torch.zeros(1, 6, dtype=torch.long))
    assert count_state_numbers(model, 6) == state.numel()


@pytest.mark.parametrize("architecture, constant", [("flash", True), ("mc_transformer++", True), ("flash_quad", False)])
def test_which_states_keep_their_size(architecture, constant):
    c = config(architecture)
    assert (count_state_numbers(c, 8) == count_state_numbers(c, 16_000)) == constant


# ---------------------------------------------------------------- clock, memory, machine


def test_functions_take_turns_and_every_second_round_goes_backwards():
    calls = []
    seconds = time_in_turn(
        {"a": lambda x: calls.append(x), "b": lambda x: calls.append(x)}, 3, warmup=1, prepare=str.upper
    )
    assert "".join(calls) == "BA" + "AB" + "BA" + "AB"
    assert {name: len(s) for name, s in seconds.items()} == {"a": 3, "b": 3}  # the warm-up is not kept
    with pytest.raises(ValueError, match="rounds=0"):
        time_in_turn({}, 0)


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
    assert peak_bytes(work) == 4 * 150_000  # a high-water mark of the process would not know the second


def test_a_training_step_of_twice_the_tokens_holds_about_twice_the_bytes():
    settings = tiny()
    model = bench.make_units("flash", settings)
    bytes_at = [peak_bytes(bench.training_step(model, settings, batch, 32)) for batch in (8, 16)]
    weights = 4 * sum(p.numel() for p in model.parameters())  # their gradients are held at either size
    assert 1.8 < (bytes_at[1] - weights) / (bytes_at[0] - weights) < 2.2


def test_machine_says_all_that_a_result_needs_and_names_nobody():
    facts = machine()
    assert set(facts) == {
        "cpu", "cores", "threads", "os", "device", "python", "torch", "numpy", "flash_tutorial", "date",
    }  # fmt: skip
    assert not any(platform.node() == str(value) or "/" in str(value) for value in facts.values())
    assert facts["cores"] >= 1 and len(facts["date"]) == 10


# ---------------------------------------------------------------- the benchmark, tiny


def tiny(**more):
    return bench.Settings(
        **dict(
            dim=16, qk_dim=8, chunk_size=8, tokens=64, lengths=(16, 32, 64), unit_length=32, positions=(16, 40),
            decoding_blocks=1, rounds=1,
        )
        | more
    )  # fmt: skip


@pytest.fixture(scope="module")
def result():
    return bench.benchmark(tiny(), "flash-tutorial bench", say=lambda line: None)


def test_smoke_benchmark_has_all_rows_of_one_form(result):
    result = json.loads(json.dumps(result))
    assert set(result) == {
        "format", "command", "machine", "settings", "steady", "method", "training", "unit", "decoding", "conclusions",
    }  # fmt: skip
    models = ("flash", "flash_quad", "transformer++", "flash_pytorch")
    assert [(r["T"], r["model"]) for r in result["training"]] == [(T, m) for T in (16, 32, 64) for m in models]
    for row in result["training"]:
        assert set(row) == {
            "model", "T", "batch", "seconds", "floor", "peak_bytes", "reason", "multiply_adds", "tokens_per_second",
        }  # fmt: skip
        assert row["batch"] * row["T"] == 64
        assert (row["seconds"] is None) == (row["reason"] is not None)  # a missing number has a reason
        if row["seconds"]:
            assert set(row["seconds"]) == {"median", "low", "high", "rounds"} and row["peak_bytes"] > 0
            assert (row["floor"] is not None) == (row["model"] in ("flash", "transformer++"))
    assert [(r["T"], r["batch"]) for r in result["unit"]] == [(32, 1), (32, 2)]
    assert set(result["conclusions"]) == {
        "speedups", "crossover", "unit_over_floor", "constant_tokens", "decoding",
    }  # fmt: skip


def test_smoke_benchmark_decodes_from_states_of_the_counted_size(result):
    rows = result["decoding"]
    assert [(r["model"], r["position"]) for r in rows] == [
        (m, p) for m in ("flash", "flash_quad", "transformer++") for p in (16, 40)
    ]
    for row in rows:
        assert row["state_numbers"] == row["counted_state_numbers"]
    flash = [row["state_numbers"] for row in rows if row["model"] == "flash"]
    assert flash[0] == flash[1]


def test_smoke_saved_files_are_json_and_a_picture(result, tmp_path):
    picture = bench.save(result, tmp_path / "out.json", figures.benchmark_results)
    assert json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))["format"] == 1
    assert picture.read_bytes()[:4] == b"\x89PNG"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.json", "out.png"]


def test_figure_has_labelled_axes_and_readable_type(result):
    figure, alt = figures.benchmark_results(result)
    assert len(figure.axes) == 4 and "Decoding" in alt
    for axes in figure.axes:
        assert axes.get_xlabel() and axes.get_ylabel() and axes.get_title()
        sizes = [t.get_fontsize() for t in axes.get_xticklabels() + axes.get_legend().get_texts()]
        assert min(sizes) >= 9
        markers = [line.get_marker() for line in axes.lines if line.get_marker() != "None"]
        assert len(set(markers)) == len(markers)  # told apart without colour


def test_model_and_floor_multiply_the_same_shapes():
    # full chunks, so that the floor's local part is whole: what the unit that reads both sides counts
    settings, T = tiny(), 32
    c = bench.config_of("flash", settings)
    floor = sum(b * rows * inner * columns for b, rows, inner, columns in bench.flash_products(c, 2, T))
    unit = FLASH(c.dim, qk_dim=c.qk_dim, chunk_size=c.chunk_size, causal=False)
    assert floor == 2 * count_multiply_adds(unit, T)
    plus = bench.config_of("transformer++", settings)
    dense = sum(b * rows * inner * columns for b, rows, inner, columns in bench.transformer_products(plus, T))
    attention = attention_pairs(T, True) * 2 * c.dim
    assert dense + attention == bench.counted_units(plus, T)


def test_the_floor_runs_three_products_for_each_of_the_forward_pass():
    settings = tiny()
    c = bench.config_of("flash", settings)
    floor = bench.training_floor(c, settings, 2, 32)
    forward = sum(b * rows * inner * columns for b, rows, inner, columns in bench.flash_products(c, 2, 32))
    assert executed(floor) == 3 * c.depth * forward


def test_compared_models_have_about_the_same_parameters_at_the_benchmarks_size():
    flash, quad, plus = (
        sum(p.numel() for p in bench.make_units(name, bench.Settings()).parameters())
        for name in ("flash", "flash_quad", "transformer++")
    )
    assert abs(flash / quad - 1) < 0.01 and abs(flash / plus - 1) < 0.1


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


def test_the_crossover_is_where_the_speed_up_passes_one():
    rows = [dict(T=T, measured=m) for T, m in ((512, 0.5), (1024, 0.5), (2048, 2.0), (4096, 3.0))]
    assert bench.measured_crossover(rows) == 1448  # half way between, in logarithms
    assert bench.measured_crossover(rows[:2]) is None
    counted, settings = bench.counted_crossover(bench.Settings()), bench.Settings()
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
    assert (settings.rounds, settings.tokens, settings.device, settings.dtype) == (2, 4096, "cpu", "float32")
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
        bench.run(parser.parse_args(["--device", "cpu", *words]), figures.benchmark_results)
    assert "\n" not in str(error.value)
