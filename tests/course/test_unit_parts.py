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


@pytest.mark.parametrize(
    "card, programs, lacks",
    [("T4", 2, "shared memory"), ("A100", 1, "shared memory"), ("H100", 1, "shared memory")],
)
def test_room_for_the_kernel(card, programs, lacks):
    row = occupancy.compiled_kernel("mix", card)
    found = occupancy.programs_at_once(card, row["shared_bytes"], row["registers"], row["warps"])
    assert found == (programs, lacks)


def test_fewer_stages_leave_room_for_more_programs():
    """The counted bytes are those that the compiler asked for."""
    registers = occupancy.compiled_kernel("mix", "H100")["registers"]
    asked = [shared_bytes(LARGE[0]._replace(stages=n), 128, 2, (9, 0)) for n in (1, 2, 3)]
    assert asked[-1] == occupancy.compiled_kernel("mix", "H100")["shared_bytes"]
    programs = [occupancy.programs_at_once("H100", n, registers)[0] for n in asked]
    assert programs == [3, 2, 1]
