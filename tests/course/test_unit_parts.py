"""The five parts of lecture 11 are the unit, and what a card has room for is arithmetic on stored numbers."""

import pytest
import torch

from flash_course.bench import occupancy, unit_parts
from flash_tutorial import FLASH
from flash_tutorial.check import draw_order_one
from flash_tutorial.gpu.tiles import LARGE, shared_bytes


def test_the_parts_together_are_the_unit():
    draw = torch.Generator().manual_seed(0)
    unit = draw_order_one(FLASH(24, qk_dim=16, chunk_size=8, causal=True), draw)
    x = torch.randn(2, 30, 24, generator=draw)
    parts = unit_parts.parts_of(unit, x)
    out, given = parts["out"]
    assert torch.allclose(out(*given), unit(x), atol=1e-5)
    milliseconds = unit_parts.time_parts(unit, parts, rounds=2)
    assert list(milliseconds) == list(parts) and min(milliseconds.values()) > 0
    assert sum(unit_parts.percent(milliseconds).values()) == pytest.approx(100)


def test_a_chunk_of_two_blocks_multiplies_three_quarters_of_its_square():
    assert unit_parts.pairs_made(128, "cpu") == 128 * 128 * 3 // 4


@pytest.mark.parametrize("kernel", ["weights", "mix", "maps", "values"])
@pytest.mark.parametrize("card", ["A100", "L4", "H100"])
def test_there_is_room_for_two_programs_of_each_kernel(card, kernel):
    row = occupancy.compiled_kernel(kernel, card)
    found = occupancy.programs_at_once(card, row["shared_bytes"], row["registers"], row["warps"])
    assert found[0] >= 2


def test_fewer_stages_leave_room_for_more_programs():
    """The counted bytes are those that the compiler asked for."""
    row = occupancy.compiled_kernel("mix", "H100")
    tiles = {n: LARGE["mix"][0]._replace(stages=n) for n in (1, 2, 3)}
    asked = {n: shared_bytes("mix", tile, 128, 2, (9, 0)) for n, tile in tiles.items()}
    assert asked[row["stages"]] == row["shared_bytes"]
    room = [occupancy.programs_at_once("H100", n, row["registers"]) for n in asked.values()]
    assert room == [(3, "shared memory"), (2, "shared memory"), (1, "shared memory")]
