"""The work of a kernel, counted from its tiles: `flash_course/bench/kernel_times.py`."""

import pytest

from flash_course.bench import kernel_times
from flash_course.bench.kernel_times import BUSY, Sizes, Work, seconds_of
from flash_course.bench.stored import load_stored
from flash_tutorial.gpu.tiles import Tile

pytest.importorskip("triton", reason="Triton has no wheel for this system")
SIZES = Sizes(T=1024, tokens=2048, C=256, S=32, E=128)
TILE = Tile(64, 32)


def test_mix_loads_and_multiplies_what_its_loops_do():
    """Program by program, as `mix_kernel` is written."""
    _, tokens, C, S, E = SIZES
    M, wide = TILE[:2]
    flops = cache = 0
    for _ in range(tokens // C * (E // wide)):  # chunks and tiles of columns
        for m in range(C // M):
            cache += (
                M * S + S * wide + 3 * M * wide
            )  # queries, state; gate, what is read, both written
            flops += 2 * M * S * wide
            for _ in range(m + 1):
                cache += M * M + M * wide
                flops += 2 * M * M * wide
    work = kernel_times.mix_work(SIZES, TILE)
    assert (work.flops, work.cache) == (flops, 2 * cache)


def test_scores_are_made_once_where_they_were_made_in_every_tile_of_columns():
    before = kernel_times.anew_work(SIZES, TILE)
    once = kernel_times.weights_work(SIZES, TILE)
    # two of twelve tiles that are written lie above the diagonal
    assert before.scores == pytest.approx(SIZES.E / TILE.E * once.scores * 10 / 12)
    assert before.flops - before.scores == kernel_times.mix_work(SIZES, TILE).flops


def test_each_tensor_is_counted_once_as_in_the_traffic_of_a_step():
    sizes = Sizes(tokens=8192)
    counted = kernel_times.counted_unit(sizes)
    moved = {name: n for name, n, _ in counted.operations}
    for name, work, _ in kernel_times.kernels_of(sizes, counted):
        assert work.memory == pytest.approx(moved[name], rel=1e-3), name


def test_the_slowest_sets_the_time_and_few_warps_slow_the_products_down():
    row = {"shared_bytes": 200 * 1024, "registers": 64, "warps": BUSY // 2}  # room for one program
    waits = seconds_of(Work(600e12, 0, 2.8e12, 11e12, steps=70), row, "H100")
    expected = {"products": 2, "memory": 1, "L2": 2, "latency": 8e-6}
    assert waits == pytest.approx(expected)


def test_a_long_row_waited_for_each_load_of_the_scan_and_waits_for_bytes_now():
    times = {
        (row["scan"], row["T"]): row["microseconds"]
        for row in kernel_times.scans()
        if row["E"] == 1536
    }
    before, now = times["one load", 65_536], times["pipelined", 65_536]
    assert before["latency"] > 2 * before["memory"] and now["latency"] < now["memory"]
    assert before["latency"] == pytest.approx(256 * 0.8)


def test_a_narrow_row_waited_for_its_loads_and_in_parts_waits_for_less_than_a_third():
    rows = [row for row in kernel_times.scans() if row["E"] == 256]
    whole, parts = (max(row["microseconds"].values()) for row in rows[1:])
    assert parts < whole / 3


def test_what_is_stored_is_what_is_counted():
    stored = load_stored("kernel_times")
    again = stored["about"]["command"]
    assert stored["rows"] == kernel_times.predictions(Sizes()), again
    assert stored["designs"] == kernel_times.designs(Sizes()), again
    assert stored["scans"] == kernel_times.scans(), again
