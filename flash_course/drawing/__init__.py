"""Every figure of the course. Each function returns the figure and its alt text, and draws nothing on a screen."""

from .ablations import losses_with_chance, paired_differences, recall_by_distance, recall_by_state
from .chunks import exclusive_sum, flash_unit, mixed_pairs, other_chunks
from .costs import benchmark_results, operations_and_time, step_time
from .curves import bits_ladder, loss_by_position, loss_curves, training_curve
from .generation import chunk_state_by_token, decoding_by_position, temperatures
from .kernels import (
    bytes_of_a_step,
    rooflines,
    shares_of_a_step,
    squares_in_tiles,
    tiles_of_a_chunk,
    tiles_of_the_kernels,
)
from .laboratory import faults_of_mixing, numbers_beside_a_cache
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
from .models import documents_read, four_units
from .numerics import sizes_along, squares_in_formats
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
from .positions import scores_by_places, turned_pairs
from .quality import (
    bits_along_window,
    bits_in_chunk,
    loss_in_chunks,
    open_shares,
    quality_by_time,
    scores_by_rate,
    training_of_seeds,
)
from .scaling import chunk_costs, cost_against_length, flattering_choices, speedups
from .shared import curves_of_models
from .states import chunk_schedule, chunk_sizes, forms_by_length, state_by_token
from .style import (
    BLACK,
    BLUE,
    FONT,
    GREEN,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    WHITE,
    YELLOW,
    frame_pairs,
    legend_below,
    looks,
    new_axes,
    new_panels,
    show,
    text_table,
)
from .successors import numbers_kept, shares_of_newest, state_updates
from .units import gated_units
