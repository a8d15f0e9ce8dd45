"""Every figure: something is drawn, the alt text says what, nothing is below 9 points, no colour stands alone."""

import importlib
import io
import pkgutil

import numpy as np
import pytest
from PIL import Image

from flash_course import figures
from flash_course.figures import style

rng = np.random.default_rng(0)
LOG = [{"step": i + 1, "bits_per_byte": 8 / (1 + 0.05 * i)} for i in range(60)]
MAP = np.tril(np.ones((8, 8), int))
BENCH = {
    "settings": {"tokens": 4096},
    "training": [
        {"model": model, "T": T, "seconds": {"median": seconds}}
        for model, times in {"flash": (0.2, 0.2, 0.2), "transformer++": (0.1, 0.2, 0.4)}.items()
        for T, seconds in zip((512, 1024, 2048), times)
    ],
    "conclusions": {"crossover": {"measured": 1024}, "speedups": [{"T": 2048, "measured": 2.0}]},
}
DECODED = [
    {"model": "flash", "position": position, "state_numbers": 1e6, "seconds": {"median": ms / 1e3}}
    for position, ms in ((512, 2.5), (1024, 3.5))
]
RECALLERS = ("FLASH", "linear attention", "RetNet", "GLA", "gated DeltaNet", "window", "3:1 hybrid")
DRAWN = {  # the figure, and a number that its alt text must hold
    "training_curve": (lambda: figures.training_curve(LOG, 2.125), "2.125"),
    "who_reads_whom": (
        lambda: figures.who_reads_whom({"full": MAP, "local": MAP * 2}, 4),
        "36 pairs",
    ),
    "loss_curves": (
        lambda: figures.loss_curves({"a": np.full(40, 3.5), "b": np.full(40, 2.25)}, title="two"),
        "from 3.50",
    ),
    "operations_and_time": (
        lambda: figures.operations_and_time({"a": (8e6, 2.0), "b": (1e6, 4.0)}),
        "8 million",
    ),
    "bits_ladder": (
        lambda: figures.bits_ladder({"nothing": 8.0, "model": 1.75}, title="ladder"),
        "1.75",
    ),
    "loss_by_position": (
        lambda: figures.loss_by_position(np.linspace(4, 1, 64), title="by place"),
        "4.00 at 1",
    ),
    "attention_by_hand": (
        lambda: figures.attention_by_hand("ab", np.array([[1, 1], [3, 1]])),
        "weights: 0.75, 0.25",
    ),
    "who_sees_whom": (
        lambda: figures.who_sees_whom(
            {"all": np.ones((5, 5), bool), "causal": np.tri(5, dtype=bool)}, "two"
        ),
        "causal: 15 pairs on or below the diagonal, 0 above",
    ),
    "turned_pairs": (
        lambda: figures.turned_pairs(np.array([1.0, 0.0]), np.array([1.0, 0.0]), [(2, 0), (3, 1)]),
        "score -0.42",
    ),
    "scores_by_places": (
        lambda: figures.scores_by_places(
            {"table": np.arange(64.0).reshape(8, 8), "RoPE": np.full((8, 8), 1.5)}
        ),
        "table from 24.00 to 60.00; RoPE from 1.50 to 1.50",
    ),
    # 02
    "gated_units": (figures.gated_units, "There are 2, 3 and 4 matrices"),
    "numbers_in_squares": (
        lambda: figures.numbers_in_squares(
            {"a": np.where(MAP, 3.5, np.nan), "b": MAP}, row=2, title="squares"
        ),
        "3.5, 3.5, hidden",
    ),
    "attention_maps": (
        lambda: figures.attention_maps({"a": MAP * np.eye(8), "b": MAP}, "so it is", title="maps"),
        "78% of the",
    ),
    # 06
    "four_units": (figures.four_units, "FLASH has the same 4 matrices"),
    "documents_read": (
        lambda: figures.documents_read(
            {"strict": MAP * np.eye(8), "loose": MAP}, [0] * 5 + [1] * 3, 4, title="rows"
        ),
        "loose: 36 pairs, 15 of them across",
    ),
    # 07
    "training_of_seeds": (
        lambda: figures.training_of_seeds(
            {
                "a": [([0, 60, 120], [3.5, 2.5, 2.25], 2.375)],
                "b": [([0, 60, 120], [3.5, 2.5, 2.0], 2.125)] * 2,
            },
            xlabel="time in s",
            title="two",
        ),
        "b trains down to 2.00 and scores 2.125, 2.125",
    ),
    "scores_by_rate": (
        lambda: figures.scores_by_rate(
            {"a": {0.01: 2.5, 0.02: 2.25}, "b": {0.01: 2.0}}, title="r", taken={"a": 0.01}
        ),
        "a is best at 0.02 with 2.25, and 0.01 is taken",
    ),
    "quality_by_time": (
        lambda: figures.quality_by_time(
            {"T": {"a": ([10, 20], [[4, 3], [4, 2]], 15), "b": ([10, 20], [[4, 3]], None)}},
            baseline="b",
            title="two",
        ),
        "a ends at 2.50, and is where b ends after 15 s, b ends at 3.00",
    ),
    "loss_in_chunks": (
        lambda: figures.loss_in_chunks(
            {"a": (64, [3, 2, 2.5, 2.25, 2.5, 2.25, 2.5, 2.25])}, 16, title="saw"
        ),
        "a has 2.50 in first halves and 2.25 in second halves",
    ),
    "bits_in_chunk": (
        lambda: figures.bits_in_chunk(
            {"a": [[5, 2, 1.75], [3, 2, 1.75]], "b": [2, 2, 1.5]}, [0, 1, 2, 8], title="p"
        ),
        "a from 4.00 at position 1 to 1.75 at 3-8",
    ),
    "open_shares": (
        lambda: figures.open_shares(
            {"seed 0": ((0, 50), {"one": (0.5, 0.0), "two": (0.5, 0.25)})}, title="open"
        ),
        "seed 0 at the end one 0.00%, two 25.00%",
    ),
    # 05
    "flash_unit": (figures.flash_unit, "one array lin_kᵀ v of S × E entries"),
    "mixed_pairs": (
        lambda: figures.mixed_pairs(MAP * np.eye(8, dtype=int), MAP, 4),
        "8 pairs one by one",
    ),
    "other_chunks": (
        lambda: figures.other_chunks(
            {"FLASH": {16: 3.0, 8: 3.25}}, trained=16, level=3.125, title="C"
        ),
        "3.25 at C = 8",
    ),
    "exclusive_sum": (
        lambda: figures.exclusive_sum(np.arange(12).reshape(3, 2, 2), [2, 2, 2], title="sum"),
        "prefix sum [[12, 15], [18, 21]], reads [[4, 6], [8, 10]], mean [[1, 1.5]",
    ),
    # 09
    "chunk_state_by_token": (
        lambda: figures.chunk_state_by_token(
            np.arange(12).reshape(3, 2, 2),
            [[1], [], [3]],
            2,
            [((0, 1), (0, 0)), ((2, 3), (0, 0)), ((4, 5), (6, 7))],
        ),
        "token 3 reads near (4, 5), far (6, 7), then sum [[8, 9], [10, 11]], waiting 3",
    ),
    # the laboratory
    "faults_of_mixing": (
        lambda: figures.faults_of_mixing(
            {"right": np.where(MAP, "one", ""), "wrong": np.where(MAP, "twice", "leak")}, 4
        ),
        "right: 36 read one by one; wrong: 36 read twice, 28 leak",
    ),
    "numbers_beside_a_cache": (
        lambda: figures.numbers_beside_a_cache([3, 6, 3], [2, 4, 6], title="kept"),
        "from 3 to 3, at most 6",
    ),
    "decoding_by_position": (
        lambda: figures.decoding_by_position(DECODED, title="by position"),
        "2.5 at 512 to 3.5 at 1024",
    ),
    "bits_along_window": (
        lambda: figures.bits_along_window(
            {
                "one": (8, {"FLASH": [[2.0, 2.5], [2.25, 3.0]]}),
                "two": (16, {"FLASH": [[2.0, 2.0], [2.0, 2.75]]}),
            },
            64,
            level=("counts", 4.5),
            title="along",
        ),
        "one, first and last stretch by seed: FLASH from 2.00, 2.25 to 2.50, 3.00. two",
    ),
    "temperatures": (
        lambda: figures.temperatures({"a": [0.5, 0.5], "b": [0.25, 0.75]}, ("x", "y"), title="t"),
        "b: 0.250, 0.750",
    ),
    # 11
    "shares_of_a_step": (
        lambda: figures.shares_of_a_step({"a": (0.75, 0.5), "b": (0.25, 0.5)}, title="shares"),
        "75%, 50%",
    ),
    "rooflines": (
        lambda: figures.rooflines(
            {
                "card": (8e12, 1e11, {"a": (2.5, None), "b": (90.0, None)}),
                "cpu": (8e9, 1e9, {"a": (2.5, 1e9)}),
            },
            title="roofs",
        ),
        "2.5 FLOPs per byte, 1 GFLOP/s",
    ),
    "squares_in_tiles": (
        lambda: figures.squares_in_tiles({"a": MAP, "b": MAP * 2}, 3, row=2, title="tiles"),
        "tiles of 3 by 3",
    ),
    "tiles_of_the_kernels": (figures.tiles_of_the_kernels, "reads 3 of 16 tiles of A"),
    "tiles_of_a_chunk": (lambda: figures.tiles_of_a_chunk(40, 16), "6 tiles on and left"),
    "bytes_of_a_step": (
        lambda: figures.bytes_of_a_step(
            {"one": {"dense layers": 40.0, "gate": 7.5, "heads": 1.5}, "two": {"gate": 1.0}},
            {"one": 30.0, "two": 1.0},
            title="bytes",
        ),
        "gate 8, heads 2; together 49, compiled 30",
    ),
    # 08
    "cost_against_length": (
        lambda: figures.cost_against_length(
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
            title="t",
        ),
        "does not fit at 128; equal: T = 96; never: none here",
    ),
    "speedups": (
        lambda: figures.speedups(
            {"a": [(64, 0.5), (128, 2.0)], "b": [(64, 1.0), (128, 1.25)]}, title="t"
        ),
        "b from 1.00 at T = 64 to 1.25 at 128",
    ),
    "chunk_costs": (
        lambda: figures.chunk_costs(
            [8, 16, 32], {"counted": [1, 2, 4]}, [3.0, 1.0, 2.0], title="t"
        ),
        "measured is least at C = 16, largest 3 times",
    ),
    "flattering_choices": (
        lambda: figures.flattering_choices(
            {"a": (1.5, 2.5, "counted"), "b": (2.0, 1.25, "stored")}, title="t"
        ),
        "b: 1.25 for 2.00 (stored)",
    ),
    # 10
    "recall_by_distance": (
        lambda: figures.recall_by_distance(
            {"a": {8: 1.0, 64: 0.75}, "b": {8: 0.5, 64: 0.125}}, 0.0625, title="recall"
        ),
        "b from 0.50 at 8 to 0.12 at 64",
    ),
    "recall_by_state": (
        lambda: figures.recall_by_state(
            {
                4: {name: {512: [1.0]} for name in RECALLERS},
                8: {name: {512: [1.0]} for name in RECALLERS}
                | {"FLASH": {4096: [0.5, 1.0], 1024: [0.25, 0.5]}},
            },
            title="state",
        ),
        "8 pairs: FLASH 0.38 at 1,024, 0.75 at 4,096",
    ),
    "losses_with_chance": (
        lambda: figures.losses_with_chance(
            {"a": np.full(40, 2.5), "b": np.full(40, 1.25)}, 2.08, title="losses"
        ),
        "a line at 2.08",
    ),
    "paired_differences": (
        lambda: figures.paired_differences(
            {"a": ([0.01, 0.03, 0.02], 0.02, 0.025, 1), "b": ([-0.1, -0.1, -0.1], -0.1, 0.0, -1)},
            title="differences",
        ),
        "b -0.100 ± 0.000",
    ),
    # 13
    "state_updates": (
        lambda: figures.state_updates(
            {
                "sum": ("S + kv", [8, 4], [1, 1], [10, 4], 11.0),
                "erase": ("S - kkS", [8, 4], [0.5, 1], [5, 4], 3),
            },
            (0.5, 0.75),
            3,
            title="one token",
        ),
        "sum, S + kv: (8, 4) becomes (10, 4), and k reads 11; erase",
    ),
    "shares_of_newest": (
        lambda: figures.shares_of_newest(
            [1, 4, 64], {"mean": [1, 0.5, 0.25], "decay": [1, 0.75, 0.75]}, title="new"
        ),
        "mean from 1.00 at 1 to 0.25 at 64",
    ),
    "numbers_kept": (
        lambda: figures.numbers_kept(
            [128, 256, 512],
            {"softmax": [1e3, 2e3, 4e3], "FLASH": [3e3] * 3, "GLA": [2e3] * 3},
            title="kept",
        ),
        "softmax from 1,000 at 128 to 4,000 at 512",
    ),
    # 12
    "step_time": (lambda: figures.step_time(BENCH), "T = 1024"),
    # 03
    "sizes_along": (
        lambda: figures.sizes_along(
            {"fresh": {"u": 0.1, "branch": 1e-5}, "order one": {"u": 1.0, "branch": 2.0}}
        ),
        "branch 1e-05",
    ),
    "squares_in_formats": (
        lambda: figures.squares_in_formats(
            np.array([0.1, 1.0, 10.0]), {"short": [1.0, 1e-3, np.nan], "long": [1e-7, 2e-7, 1e-7]}
        ),
        "short: 1e-03 in the middle",
    ),
    # 04
    "state_by_token": (
        lambda: figures.state_by_token(
            MAP[:3, :2], MAP[:3, :2], MAP[:3, :2], MAP[:6].reshape(3, 2, 8) * 3, MAP[:3]
        ),
        "after token 1 (3, 0,",
    ),
    "chunk_schedule": (lambda: figures.chunk_schedule(11, 4), "26 pairs inside chunks"),
    "forms_by_length": (
        lambda: figures.forms_by_length(
            (64, 128),
            {
                "attention matrix": [1.0, 4.0],
                "chunks of 8": [2.0, 4000.0],
                "one state": [1.5, None],
            },
            ylabel="ms",
            title="t",
        ),
        "from 2 to 4,000",
    ),
    "chunk_sizes": (
        lambda: figures.chunk_sizes([1, 2, 4], [9.0, 3.0, 6.0], [1, 5, 7]),
        "least time is at C = 2",
    ),
}


def test_each_public_figure_is_drawn_here_or_with_the_benchmark():
    drawing = {
        name for name in vars(figures) if name[0].islower() and callable(getattr(figures, name))
    }
    helpers = {"frame_pairs", "looks", "new_axes", "show", "text_table"}
    # that one is drawn in test_measure.py
    assert drawing - helpers - {"benchmark_results"} == set(DRAWN)


def test_each_public_function_of_the_modules_can_be_reached():
    for module in pkgutil.iter_modules(figures.__path__):
        module = importlib.import_module(f"flash_course.figures.{module.name}")
        own = {
            name
            for name, it in vars(module).items()
            if getattr(it, "__module__", "") == module.__name__
        }
        public = {name for name in own if name[0].islower()} - {"small_png"}
        assert public <= set(vars(figures)), (
            f"{module.__name__}: import its figures in figures/__init__.py"
        )


def test_a_stored_picture_is_small_and_carries_its_alt_text():
    figure, alt = figures.loss_curves({"a": np.full(40, 3.5)}, title="one")
    small = style.small_png(figure, alt + " \N{GREEK SMALL LETTER GAMMA}")
    assert small == style.small_png(figure, alt + " \N{GREEK SMALL LETTER GAMMA}")
    picture = Image.open(io.BytesIO(small))
    assert (
        picture.mode == "P" and picture.text["Description"] == alt + " \N{GREEK SMALL LETTER GAMMA}"
    )
    full = io.BytesIO()
    figure.savefig(full, format="png", facecolor="white")
    assert len(small) < len(full.getvalue()) / 2
    difference = np.asarray(picture.convert("RGB"), int) - np.asarray(
        Image.open(full).convert("RGB"), int
    )
    assert np.abs(difference).mean() < 1  # of 255


@pytest.mark.parametrize("name", DRAWN)
def test_a_figure(name):
    draw, number = DRAWN[name]
    figure, alt = draw()
    assert number in alt and alt.endswith(".") and len(alt) > 40
    for axes in figure.axes:
        boxes = [text for text in axes.texts if text.get_bbox_patch()]
        assert axes.lines or axes.patches or axes.collections or boxes
        texts = [
            axes.title,
            axes.xaxis.label,
            axes.yaxis.label,
            *axes.texts,
            *axes.get_xticklabels(),
        ]
        assert min(text.get_fontsize() for text in texts if text.get_text()) >= 9
        shown = [line for line in axes.lines if line.get_label()[0] != "_"]
        styles = [
            (str(line._dash_pattern), line.get_linestyle(), line.get_marker()) for line in shown
        ]
        assert len(set(styles)) == len(styles), "lines that differ by colour alone"
        drawn = [
            x
            for line in axes.lines
            if line.get_transform() == axes.transData
            for x in line.get_xdata()
            if x > 0
        ]
        if axes.get_xscale() == "log" and drawn:
            assert axes.get_xlim()[0] > min(drawn) / 100, (
                "points at the right edge of an empty axis"
            )
    pages = []
    for _ in range(2):
        page = io.BytesIO()
        draw()[0].savefig(page, format="png", metadata={"Software": None})
        pages.append(page.getvalue())
    assert pages[0] == pages[1] and len(pages[0]) > 5000


def test_a_figure_in_words_and_numbers():
    assert (
        figures.text_table([("name", "ms"), ("a", 12), ("long", 3)])
        == "name  ms\na     12\nlong   3"
    )


def test_loss_curves_of_short_runs_and_of_too_many():
    _, alt = figures.loss_curves({"a": [4.0, 2.0, 2.0, 2.0]}, title="short")
    assert "from 3.00 to 2.00" in alt  # the mean of two
    for curves in ({}, {"a": []}, {name: [1.0] for name in "abcde"}):
        with pytest.raises(ValueError, match="one to four"):
            figures.loss_curves(curves, title="none")
