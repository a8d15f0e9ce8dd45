"""Each schematic draws something and says what; nothing is below 9 points, no colour stands alone; parts of plots."""

import inspect
import io
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flash_course import drawing
from flash_course.drawing import colours, style
from flash_tutorial.experiments import welch

LOG = [{"step": i + 1, "bits_per_byte": 8 / (1 + 0.05 * i)} for i in range(60)]
MAP = np.tril(np.ones((8, 8), int))


def of(number, *args, **more):
    """What the alt text must hold, and what the function is called with."""
    return number, args, more


DRAWN = {
    "training_curve": of("2.125", LOG, 2.125),
    "loss_curves": of("b from 2.25 at 20", {"a": np.full(40, 3.5), "b": np.full(40, 2.25)}),
    "cost_against_length": of(
        "does not fit from T = 128 on; equal: T = 96; never: none here",
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
    "wins_by_length": of(
        "plain from 0.50 at T = 64 to 2.00 at 128", {"plain": [(64, 0.5), (128, 2.0)]}, xlabel="T"
    ),
    "moved_answers": of(
        "one: from 1.50 to 3.00", {"one": (1.5, 3.0)}, ("honest", "reported"), xlabel="times"
    ),
    "slopes": of(
        "FLASH from -0.14 to +0.03",
        {"FLASH": (-0.14, 0.03), "softmax": (0.38, -0.06)},
        ("short", "long"),
        ylabel="bits",
    ),
    "intervals": of(
        "Zero is outside the interval of: no gate.",
        {"no gate": welch([3, 3.1, 3.2], [1, 1.1, 1.2]), "heads": welch([1, 2, 3], [1, 2, 3.5])},
        paper={"heads": -1},
        xlabel="bits",
    ),
    "who_reads_whom": of(
        "full: 36 read one by one; local: 36 read through a sum", {"full": MAP, "local": MAP * 2}, 4
    ),
    "who_reads_whom, documents": of(
        "loose: 21 read one by one, 15 read across documents",
        {"strict": MAP * np.eye(8), "loose": MAP},
        4,
        documents=[0] * 5 + [1] * 3,
    ),
    "weights_of_letters": of("one: 50%, other: 0%", {"one": np.eye(3), "other": np.tri(3)}, "abc"),
    "who_sees_whom": of(
        "causal: 15 sees itself or an earlier token.",
        {"all": np.ones((5, 5), bool), "causal": np.tri(5, dtype=bool)},
    ),
    "faults_of_mixing": of(
        "right: 36 read one by one; wrong: 36 read twice, 28 leak",
        {"right": np.where(MAP, "one", ""), "wrong": np.where(MAP, "twice", "leak")},
        4,
    ),
    "near_and_far": of(
        "one: 100% of the near weights lie at distance 2",
        {"one": (np.eye(8, k=-2), MAP * -0.5), "other": (MAP, 0 * MAP)},
        4,
    ),
    "bound_and_fetched": of(
        "1 reads A, B reads 1, 2 reads B; far, B reads 2, A reads 1.",
        np.eye(4, k=-1),
        np.array([[0, 1, 0, 2], [0, 2, 0, -3]]),
        ["A", "1", "B", "2"],
        ["B", "A"],
    ),
    "numbers_in_squares": of(
        "3.5, 3.5, hidden", {"a": np.where(MAP, 3.5, np.nan), "b": MAP}, row=2
    ),
    "squares_in_tiles": of("tiles of 3 by 3", {"a": MAP, "b": MAP * 2}, 3, row=2),
    "state_by_token": of(
        "after token 1 (3, 0,",
        MAP[:3, :2],
        MAP[:3, :2],
        MAP[:3, :2],
        MAP[:6].reshape(3, 2, 8) * 3,
        MAP[:3],
    ),
    "chunk_state_by_token": of(
        "token 3 reads near (4, 5), far (6, 7), then sum [[8, 9], [10, 11]], waiting 3",
        np.arange(12).reshape(3, 2, 2),
        [[1], [], [3]],
        2,
        [((0, 1), (0, 0)), ((2, 3), (0, 0)), ((4, 5), (6, 7))],
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
    "exclusive_sum": of(
        "prefix sum [[12, 15], [18, 21]], reads [[4, 6], [8, 10]], mean [[1, 1.5]",
        np.arange(12).reshape(3, 2, 2),
        [2, 2, 2],
    ),
    "turned_pairs": of("score -0.42", np.array([1.0, 0]), np.array([1.0, 0]), [(2, 0), (3, 1)]),
    "gated_units": of("There are 2, 3 and 4 matrices"),
    "four_units": of("FLASH has the same 4 matrices"),
    "flash_unit": of("one array lin_kᵀ v of S × E entries"),
    "roofline": of(
        "rises up to 250", {"gate": 0.2, "narrow": 60, "wide": 180}, 1e15, 4e12, ("narrow", "wide")
    ),
    "bytes_of_a_step": of(
        "FLASH: heads: 30, gate: 70; compiled 80",
        {"FLASH": {"heads": 30, "gate": 70}, "other": {"heads": 10, "gate": 5}},
        {"FLASH": 80, "other": 9},
    ),
    "chunk_schedule": of("26 pairs inside chunks", 11, 4),
    "tiles_of_a_chunk": of("6 tiles on and left", 40, 16),
    "tiles_of_the_kernels": of("reads 3 of 16 tiles of A"),
}


@pytest.mark.parametrize("name", DRAWN)
def test_a_drawing(name):
    number, args, more = DRAWN[name]
    function = getattr(drawing, name.partition(",")[0])
    if "title" in inspect.signature(function).parameters:
        more = {"title": "a title"} | more
    figure, alt = function(*args, **more)
    assert number in alt and alt.endswith(".") and len(alt) > 40
    for axes in figure.axes:
        boxes = [text for text in axes.texts if text.get_bbox_patch()]
        assert axes.lines or axes.patches or axes.collections or axes.images or boxes
        labels = [axes.title, axes.xaxis.label, axes.yaxis.label]
        texts = [*labels, *axes.texts, *axes.get_xticklabels()]
        assert min(text.get_fontsize() for text in texts if text.get_text()) >= 9
        shown = [line for line in axes.lines if line.get_label()[0] != "_"]
        styles = {(str(x._dash_pattern), x.get_linestyle(), x.get_marker()) for x in shown}
        assert len(styles) == len(shown), "lines that differ by colour alone"


def test_lines_of_seeds_are_their_mean_in_a_band_and_say_so():
    _, axes = drawing.new_axes()
    curves = {"a": ([1, 2, 4], [[1, 2, 3], [3, 4, 5]]), "b": ([1, 2, 4], [9, 8, 7])}
    drawing.lines(axes, curves)
    drawing.level(axes, 0.5, "chance")
    assert axes.lines[0].get_ydata().tolist() == [2, 3, 4]
    heights = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == (1, 5)
    words = drawing.in_words(axes, form="{:.1f}")
    assert (
        words == "a from 2.0 at 1 to 4.0 at 4; b from 9.0 at 1 to 7.0 at 4; a line at chance, 0.50"
    )


def test_names_of_lines_that_end_together_stand_apart():
    figure, axes = drawing.new_axes()
    drawing.lines(axes, {name: ([1, 2], [1, 2 + step]) for step, name in enumerate("abc")})
    axes.set_ylim(0, 100)
    drawing.name_lines(axes)
    figure.canvas.draw()
    assert [text.get_text() for text in axes.texts] == ["a", "b", "c"]
    boxes = [text.get_window_extent() for text in axes.texts]
    assert all(below.y1 <= above.y0 for below, above in pairwise(boxes))


def test_what_does_not_fit_is_a_cross_above_all_lines():
    _, axes = drawing.new_axes()
    drawing.lines(axes, {"a": ([1, 2, 4], [1, 2, None]), "b": ([1, 2, 4], [1, 5, 6])})
    drawing.mark_missing(axes)
    crosses = [line.get_xydata() for line in axes.lines if line.get_marker() == "x"]
    assert np.concatenate(crosses).tolist() == [[4, pytest.approx(7.8)]]
    assert "a from 1.00 at 1 to 2.00 at 2, does not fit from 4 on; b" in drawing.in_words(axes)


def test_a_bar_has_its_number_and_its_name():
    _, axes = drawing.new_axes()
    drawing.bars(axes, {"nothing": 8.0, "model": 1.75}, form="{:.2f}")
    assert [bar.get_width() for bar in axes.patches] == [8.0, 1.75]
    assert [text.get_text() for text in axes.texts] == [" 8.00", " 1.75"]
    bottom, top = axes.get_ylim()
    assert bottom > top  # the first one is the uppermost
    assert [label.get_text() for label in axes.get_yticklabels()] == ["nothing", "model"]
    assert drawing.listed({"nothing": 8.0, "model": 12345.6}) == "nothing: 8.00, model: 12,346"


def test_a_stored_picture_is_small_and_carries_its_alt_text():
    figure, alt = drawing.loss_curves({"a": np.full(40, 3.5)}, title="one")
    alt += " \N{GREEK SMALL LETTER GAMMA}"
    small = style.small_png(figure, alt)
    assert small == style.small_png(figure, alt)
    picture = Image.open(io.BytesIO(small))
    assert picture.mode == "P" and picture.text["Description"] == alt
    full = io.BytesIO()
    figure.savefig(full, format="png", facecolor="white", dpi=2 * figure.dpi)
    assert len(small) < len(full.getvalue()) / 2
    pixels = (np.asarray(each.convert("RGB"), int) for each in (picture, Image.open(full)))
    assert np.abs(np.subtract(*pixels)).mean() < 1  # of 255


def test_a_figure_is_stored_with_twice_the_pixels_that_a_page_shows(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    figure, _ = drawing.new_axes(7.0, 4.0)
    drawing.show(figure, "An empty pair of axes.")
    picture, fold = shown
    stored = Image.open(io.BytesIO(picture.data)).width
    assert stored == 2 * picture.metadata["width"] == 2 * 7.0 * figure.dpi
    assert "<p>An empty pair of axes.</p>" in fold.data and f".{style.FOLD}" in fold.data


def test_figures_laboratory_and_site_take_their_colours_from_one_table():
    assert set(colours.MODELS) == set(style.SHAPES)
    sheet = colours.style_sheet("light", "dark")
    light, dark = sheet.splitlines()
    for model in ("flash", "softmax", "gau"):
        name = re.search(rf"--{model}:var\(--(\w+)\)", light)[1]
        assert f"--{name}:{drawing.looks([model])[model][0]};" in light
        assert f"--{model}:var(--{name});" in dark
    root = Path(drawing.__file__).parents[2]
    for path in (*root.glob("flash_course/lab/assets/*"), *root.glob("docs/site/static/*.css")):
        text = path.read_text(encoding="utf-8").lower()
        own = [colour for colour in colours.MODELS.values() if colour.lower() in text]
        assert not own or own == [colours.BLACK] * len(own), f"{path.name} has {own} of its own"


def test_a_picture_without_words_is_refused():
    with pytest.raises(ValueError, match="alt text"):
        drawing.show(drawing.new_axes()[0], " ")


def test_rows_as_lines_of_text():
    table = drawing.text_table([("name", "ms"), ("a", 12), ("long", 3)])
    assert table == "name  ms\na     12\nlong   3"


def test_loss_curves_of_short_runs_and_of_too_many():
    _, alt = drawing.loss_curves({"a": [4.0, 2.0, 2.0, 2.0]}, title="short")
    assert "from 3.00 at 2 to 2.00 at 4" in alt  # the mean of two
    for curves in ({}, {"a": []}, {name: [1.0] for name in "abcde"}):
        with pytest.raises(ValueError, match="one to four"):
            drawing.loss_curves(curves, title="none")
