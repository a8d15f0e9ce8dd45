"""Every figure: something is drawn, the alt text says what, nothing is below 9 points, no colour stands alone."""

import inspect
import io
import itertools

import numpy as np
import pytest
from PIL import Image

from flash_course import drawing
from flash_course.drawing import style

LOG = [{"step": i + 1, "bits_per_byte": 8 / (1 + 0.05 * i)} for i in range(60)]
MAP = np.tril(np.ones((8, 8), int))
SECONDS = {"flash": (0.2, 0.2, 0.2), "transformer++": (0.1, 0.2, 0.4)}
BENCH = {
    "settings": {"tokens": 4096},
    "training": [
        {"model": model, "T": 512 << i, "seconds": {"median": SECONDS[model][i]}}
        for model, i in itertools.product(SECONDS, range(3))
    ],
    "conclusions": {"crossover": {"measured": 1024}, "speedups": [{"T": 2048, "measured": 2.0}]},
}
DECODED = [
    {"model": "flash", "position": position, "state_numbers": 1e6, "seconds": {"median": ms / 1e3}}
    for position, ms in ((512, 2.5), (1024, 3.5))
]
RECALLERS = ("FLASH", "linear attention", "RetNet", "GLA", "gated DeltaNet", "window", "3:1 hybrid")


def of(number, *args, **more):
    """A call of a figure, and a number or more that its alt text must hold."""
    return number, args, more


DRAWN = {
    "training_curve": of("2.125", LOG, 2.125),
    "who_reads_whom": of("36 pairs", {"full": MAP, "local": MAP * 2}, 4),
    "loss_curves": of("from 3.50", {"a": np.full(40, 3.5), "b": np.full(40, 2.25)}),
    "operations_and_time": of("8 million", {"a": (8000000.0, 2.0), "b": (1000000.0, 4.0)}),
    "bits_ladder": of("1.75", {"nothing": 8.0, "model": 1.75}),
    "loss_by_position": of("4.00 at 1", np.linspace(4, 1, 64)),
    "attention_by_hand": of("weights: 0.75, 0.25", "ab", np.array([[1, 1], [3, 1]])),
    "who_sees_whom": of(
        "causal: 15 pairs on or below the diagonal, 0 above",
        {"all": np.ones((5, 5), bool), "causal": np.tri(5, dtype=bool)},
    ),
    "turned_pairs": of("score -0.42", np.array([1.0, 0.0]), np.array([1.0, 0.0]), [(2, 0), (3, 1)]),
    "scores_by_places": of(
        "table from 24.00 to 60.00; RoPE from 1.50 to 1.50",
        {"table": np.arange(64.0).reshape(8, 8), "RoPE": np.full((8, 8), 1.5)},
    ),
    "gated_units": of("There are 2, 3 and 4 matrices"),
    "numbers_in_squares": of(
        "3.5, 3.5, hidden", {"a": np.where(MAP, 3.5, np.nan), "b": MAP}, row=2
    ),
    "attention_maps": of("78% of the", {"a": MAP * np.eye(8), "b": MAP}, "so it is"),
    "four_units": of("FLASH has the same 4 matrices"),
    "documents_read": of(
        "loose: 36 pairs, 15 of them across",
        {"strict": MAP * np.eye(8), "loose": MAP},
        [0] * 5 + [1] * 3,
        4,
    ),
    "training_of_seeds": of(
        "b trains down to 2.00 and scores 2.125, 2.125",
        {
            "a": [([0, 60, 120], [3.5, 2.5, 2.25], 2.375)],
            "b": [([0, 60, 120], [3.5, 2.5, 2.0], 2.125)] * 2,
        },
        xlabel="time in s",
    ),
    "scores_by_rate": of(
        "a is best at 0.02 with 2.25, and 0.01 is taken",
        {"a": {0.01: 2.5, 0.02: 2.25}, "b": {0.01: 2.0}},
        taken={"a": 0.01},
    ),
    "quality_by_time": of(
        "a ends at 2.50, and is where b ends after 15 s, b ends at 3.00",
        {"T": {"a": ([10, 20], [[4, 3], [4, 2]], 15), "b": ([10, 20], [[4, 3]], None)}},
        baseline="b",
    ),
    "loss_in_chunks": of(
        "a has 2.50 in first halves and 2.25 in second halves",
        {"a": (64, [3, 2, 2.5, 2.25, 2.5, 2.25, 2.5, 2.25])},
        16,
    ),
    "bits_in_chunk": of(
        "a from 4.00 at position 1 to 1.75 at 3-8",
        {"a": [[5, 2, 1.75], [3, 2, 1.75]], "b": [2, 2, 1.5]},
        [0, 1, 2, 8],
    ),
    "open_shares": of(
        "seed 0 at the end one 0.00%, two 25.00%",
        {"seed 0": ((0, 50), {"one": (0.5, 0.0), "two": (0.5, 0.25)})},
    ),
    "flash_unit": of("one array lin_kᵀ v of S × E entries"),
    "mixed_pairs": of("8 pairs one by one", MAP * np.eye(8, dtype=int), MAP, 4),
    "other_chunks": of("3.25 at C = 8", {"FLASH": {16: 3.0, 8: 3.25}}, trained=16, level=3.125),
    "exclusive_sum": of(
        "prefix sum [[12, 15], [18, 21]], reads [[4, 6], [8, 10]], mean [[1, 1.5]",
        np.arange(12).reshape(3, 2, 2),
        [2, 2, 2],
    ),
    "chunk_state_by_token": of(
        "token 3 reads near (4, 5), far (6, 7), then sum [[8, 9], [10, 11]], waiting 3",
        np.arange(12).reshape(3, 2, 2),
        [[1], [], [3]],
        2,
        [((0, 1), (0, 0)), ((2, 3), (0, 0)), ((4, 5), (6, 7))],
    ),
    "faults_of_mixing": of(
        "right: 36 read one by one; wrong: 36 read twice, 28 leak",
        {"right": np.where(MAP, "one", ""), "wrong": np.where(MAP, "twice", "leak")},
        4,
    ),
    "numbers_beside_a_cache": of("from 3 to 3, at most 6", [3, 6, 3], [2, 4, 6]),
    "decoding_by_position": of("2.5 at 512 to 3.5 at 1024", DECODED),
    "bits_along_window": of(
        "one, first and last stretch by seed: FLASH from 2.00, 2.25 to 2.50, 3.00. two",
        {
            "one": (8, {"FLASH": [[2.0, 2.5], [2.25, 3.0]]}),
            "two": (16, {"FLASH": [[2.0, 2.0], [2.0, 2.75]]}),
        },
        64,
        level=("counts", 4.5),
    ),
    "temperatures": of("b: 0.250, 0.750", {"a": [0.5, 0.5], "b": [0.25, 0.75]}, ("x", "y")),
    "shares_of_a_step": of("75%, 50%", {"a": (0.75, 0.5), "b": (0.25, 0.5)}),
    "rooflines": of(
        "2.5 FLOPs per byte, 1 GFLOP/s",
        {
            "card": (8000000000000.0, 100000000000.0, {"a": (2.5, None), "b": (90.0, None)}),
            "cpu": (8000000000.0, 1000000000.0, {"a": (2.5, 1000000000.0)}),
        },
    ),
    "squares_in_tiles": of("tiles of 3 by 3", {"a": MAP, "b": MAP * 2}, 3, row=2),
    "tiles_of_the_kernels": of("reads 3 of 16 tiles of A"),
    "tiles_of_a_chunk": of("6 tiles on and left", 40, 16),
    "bytes_of_a_step": of(
        "gate 8, heads 2; together 49, compiled 30",
        {"one": {"dense layers": 40.0, "gate": 7.5, "heads": 1.5}, "two": {"gate": 1.0}},
        {"one": 30.0, "two": 1.0},
    ),
    "cost_against_length": of(
        "does not fit at 128; equal: T = 96; never: none here",
        {
            "one": (
                {
                    "FLASH": [(64, 2.0), (128, 2.5)],
                    "Transformer++, plain": [(64, 1.0), (128, None)],
                },
                {"equal": 96.0, "never": None},
            )
        },
        ylabel="ms",
    ),
    "speedups": of(
        "b from 1.00 at T = 64 to 1.25 at 128",
        {"a": [(64, 0.5), (128, 2.0)], "b": [(64, 1.0), (128, 1.25)]},
    ),
    "chunk_costs": of(
        "measured is least at C = 16, largest 3 times",
        [8, 16, 32],
        {"counted": [1, 2, 4]},
        [3.0, 1.0, 2.0],
    ),
    "flattering_choices": of(
        "b: 1.25 for 2.00 (stored)", {"a": (1.5, 2.5, "counted"), "b": (2.0, 1.25, "stored")}
    ),
    "recall_by_distance": of(
        "b from 0.50 at 8 to 0.12 at 64",
        {"a": {8: 1.0, 64: 0.75}, "b": {8: 0.5, 64: 0.125}},
        0.0625,
    ),
    "recall_by_state": of(
        "8 pairs: FLASH 0.38 at 1,024, 0.75 at 4,096",
        {
            4: {name: {512: [1.0]} for name in RECALLERS},
            8: {name: {512: [1.0]} for name in RECALLERS}
            | {"FLASH": {4096: [0.5, 1.0], 1024: [0.25, 0.5]}},
        },
    ),
    "losses_with_chance": of(
        "a line at 2.08", {"a": np.full(40, 2.5), "b": np.full(40, 1.25)}, 2.08
    ),
    "paired_differences": of(
        "b -0.100 ± 0.000",
        {"a": ([0.01, 0.03, 0.02], 0.02, 0.025, 1), "b": ([-0.1, -0.1, -0.1], -0.1, 0.0, -1)},
    ),
    "state_updates": of(
        "sum, S + kv: (8, 4) becomes (10, 4), and k reads 11; erase",
        {
            "sum": ("S + kv", [8, 4], [1, 1], [10, 4], 11.0),
            "erase": ("S - kkS", [8, 4], [0.5, 1], [5, 4], 3),
        },
        (0.5, 0.75),
        3,
    ),
    "shares_of_newest": of(
        "mean from 1.00 at 1 to 0.25 at 64",
        [1, 4, 64],
        {"mean": [1, 0.5, 0.25], "decay": [1, 0.75, 0.75]},
    ),
    "numbers_kept": of(
        "softmax from 1,000 at 128 to 4,000 at 512",
        [128, 256, 512],
        {"softmax": [1000.0, 2000.0, 4000.0], "FLASH": [3000.0] * 3, "GLA": [2000.0] * 3},
    ),
    "step_time": of("T = 1024", BENCH),
    "sizes_along": of(
        "branch 1e-05",
        {"fresh": {"u": 0.1, "branch": 1e-05}, "order one": {"u": 1.0, "branch": 2.0}},
    ),
    "squares_in_formats": of(
        "short: 1e-03 in the middle",
        np.array([0.1, 1.0, 10.0]),
        {"short": [1.0, 0.001, np.nan], "long": [1e-07, 2e-07, 1e-07]},
    ),
    "state_by_token": of(
        "after token 1 (3, 0,",
        MAP[:3, :2],
        MAP[:3, :2],
        MAP[:3, :2],
        MAP[:6].reshape(3, 2, 8) * 3,
        MAP[:3],
    ),
    "chunk_schedule": of("26 pairs inside chunks", 11, 4),
    "forms_by_length": of(
        "from 2 to 4,000",
        (64, 128),
        {"attention matrix": [1.0, 4.0], "chunks of 8": [2.0, 4000.0], "one state": [1.5, None]},
        ylabel="ms",
    ),
    "chunk_sizes": of("least time is at C = 2", [1, 2, 4], [9.0, 3.0, 6.0], [1, 5, 7]),
}


def test_each_public_figure_is_drawn_here_or_with_the_benchmark():
    public = {
        name for name, it in vars(drawing).items() if name[0].islower() and inspect.isfunction(it)
    }
    helpers = {"frame_pairs", "looks", "new_axes", "show", "text_table"}
    assert public - helpers - {"benchmark_results"} == set(DRAWN)


def draw(name):
    number, args, more = DRAWN[name]
    function = getattr(drawing, name)
    if "title" in inspect.signature(function).parameters:
        more = {"title": "a title"} | more
    return number, *function(*args, **more)


def png_of(figure):
    page = io.BytesIO()
    figure.savefig(page, format="png", dpi=40, metadata={"Software": None})
    return page.getvalue()


@pytest.mark.parametrize("name", DRAWN)
def test_a_figure(name):
    number, figure, alt = draw(name)
    assert number in alt and alt.endswith(".") and len(alt) > 40
    for axes in figure.axes:
        boxes = [text for text in axes.texts if text.get_bbox_patch()]
        assert axes.lines or axes.patches or axes.collections or boxes
        labels = [axes.title, axes.xaxis.label, axes.yaxis.label]
        texts = [*labels, *axes.texts, *axes.get_xticklabels()]
        assert min(text.get_fontsize() for text in texts if text.get_text()) >= 9
        shown = [line for line in axes.lines if line.get_label()[0] != "_"]
        styles = {(str(x._dash_pattern), x.get_linestyle(), x.get_marker()) for x in shown}
        assert len(styles) == len(shown), "lines that differ by colour alone"
        if axes.get_xscale() == "log":
            assert axes.get_xlim()[0] > least_x(axes) / 100, "points at the right edge alone"
    assert png_of(figure) == png_of(draw(name)[1])


def least_x(axes):
    """The least place above 0 of all lines that are drawn in data; 0 without one."""
    lines = [line for line in axes.lines if line.get_transform() == axes.transData]
    places = np.concatenate([np.zeros(0), *(np.ravel(line.get_xdata()) for line in lines)])
    return min(places[places > 0], default=0)


def test_a_stored_picture_is_small_and_carries_its_alt_text():
    figure, alt = drawing.loss_curves({"a": np.full(40, 3.5)}, title="one")
    alt += " \N{GREEK SMALL LETTER GAMMA}"
    small = style.small_png(figure, alt)
    assert small == style.small_png(figure, alt)
    picture = Image.open(io.BytesIO(small))
    assert picture.mode == "P" and picture.text["Description"] == alt
    full = io.BytesIO()
    figure.savefig(full, format="png", facecolor="white")
    assert len(small) < len(full.getvalue()) / 2
    pixels = (np.asarray(each.convert("RGB"), int) for each in (picture, Image.open(full)))
    assert np.abs(np.subtract(*pixels)).mean() < 1  # of 255


def test_a_figure_in_words_and_numbers():
    table = drawing.text_table([("name", "ms"), ("a", 12), ("long", 3)])
    assert table == "name  ms\na     12\nlong   3"


def test_loss_curves_of_short_runs_and_of_too_many():
    _, alt = drawing.loss_curves({"a": [4.0, 2.0, 2.0, 2.0]}, title="short")
    assert "from 3.00 to 2.00" in alt  # the mean of two
    for curves in ({}, {"a": []}, {name: [1.0] for name in "abcde"}):
        with pytest.raises(ValueError, match="one to four"):
            drawing.loss_curves(curves, title="none")
