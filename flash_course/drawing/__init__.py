"""Every drawing of the course: schematics and plots that several pages share, as functions that return the figure and
its alt text; and what a lecture's own plots are made of."""

from .colours import BLACK, BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILION, YELLOW
from .comparisons import intervals, moved_answers, slopes, wins_by_length
from .flows import chunk_schedule, exclusive_sum, flash_unit, four_units, gated_units
from .gpu import bytes_of_a_step, roofline
from .letters import weights_of_letters
from .pairs import DIRECT, SUMMED, UNREAD, faults_of_mixing, who_reads_whom, who_sees_whom
from .plots import (
    bars,
    in_words,
    level,
    lines,
    listed,
    logarithmic,
    mark_missing,
    name_lines,
    numbers_at,
    plain,
    powers_of_two,
    smoothed,
)
from .positions import turned_pairs
from .shared import (
    benchmark_results,
    cost_against_length,
    curves_of_models,
    loss_curves,
    training_curve,
)
from .squares import (
    chunk_state_by_token,
    numbers_in_squares,
    squares_in_tiles,
    state_by_token,
    state_updates,
)
from .strips import strips, upright
from .style import (
    FONT,
    WHITE,
    legend_below,
    looks,
    new_axes,
    new_panels,
    show,
    text_table,
)
from .tiles import tiles_of_a_chunk, tiles_of_the_kernels
from .weights import bound_and_fetched, near_and_far
