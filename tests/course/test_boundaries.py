"""What a boundary costs within a run: a contrast of early places of a chunk and late ones."""

import numpy as np
import pytest

from flash_course.bench import boundaries


def bits(extra, groups=8):
    """Two bits at each place of a chunk, and ``extra`` at the first."""
    row = np.full(groups, 2.0)
    row[0] += extra
    return row


@pytest.mark.parametrize("groups, C", [(8, 128), (9, 256)])
def test_bits_at_the_first_place_are_spread_over_the_chunk(groups, C):
    assert boundaries.cost_of_boundary(bits(3.0, groups)) == pytest.approx(3 / C)


def test_the_level_of_a_run_drops_out():
    runs = np.stack([bits(3.0), bits(3.0) + 0.5])
    assert np.ptp(boundaries.cost_of_boundary(runs)) == pytest.approx(0)


def test_the_places_between_are_neither_early_nor_late():
    row = bits(0.0)
    row[boundaries.EARLY] += 7  # places 9 to 16
    assert boundaries.cost_of_boundary(row) == pytest.approx(0)
