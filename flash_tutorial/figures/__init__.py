"""Every figure of the course. Each function returns the figure and its alt text, and draws nothing on a screen."""

from .costs import benchmark_results, cost_of_a_block, operations_and_time, step_time
from .curves import bits_ladder, loss_by_position, loss_curves, training_curve
from .maps import (
    DIRECT,
    SUMMED,
    UNREAD,
    attention_by_hand,
    attention_maps,
    numbers_in_squares,
    who_reads_whom,
    who_sees_whom,
)
from .positions import bias_tables, map_readings, scores_when_moved, turned_pairs
from .style import new_axes, show, text_table
from .units import gated_units
