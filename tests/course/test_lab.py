"""The laboratory without a browser: pages that load nothing, are small and the same each time, and right numbers."""

import itertools
import json
import re
from html import escape
from io import BytesIO
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image

from flash_course import lab
from flash_course.bench.counts import count_state_numbers
from flash_course.lab import by_hand, leaking, mixing, moving, token_by_token
from flash_tutorial import FLASH, GAU, reference

PAGES = {make.__name__: make for make in lab.PAGES}
# Bytes of a page in a notebook, its still picture in base64 included. The two others stand on the site alone.
LARGEST = dict.fromkeys(("cost", "leaks", "decoding", "six_tokens"), 40_000)
LARGEST |= {"mechanism": 60_000, "writer": 5_000_000}

ROOT = Path(__file__).resolve().parents[2]

pages = pytest.mark.parametrize("make", PAGES.values(), ids=PAGES)


def data_of(page):
    """What the script of the page is handed, read from the page's HTML."""
    text = re.search(r"^mount\(\"[\w-]+\", (.*), start\);$", page.html, flags=re.M)[1]
    return json.loads(text)


@pages
def test_a_page_loads_nothing(make, tmp_path):
    make().save(tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    text = text.replace("http://www.w3.org/2000/svg", "")
    loads = r"https?:|//[\w-]+\.\w|\bimport\b\s*[({\"']|\bfetch\(|XMLHttpRequest|@import|url\((?!#)"
    assert not re.findall(loads, text)
    for source in re.findall(r"(?:src|href)=\"([^\"]*)\"", text):
        assert source.startswith("data:")


@pages
def test_a_page_has_the_same_bytes_each_time_is_small_and_says_its_words(make, monkeypatch):
    shown = []
    page = make()
    again = make()
    assert (page.html, page.png) == (again.html, again.png)
    assert len(page.html.encode()) + 4 * len(page.png) / 3 <= LARGEST[page.name]
    monkeypatch.setattr("IPython.display.display", shown.append)
    lab.show(page)
    picture, html = shown
    assert picture.metadata["alt"] == page.alt and len(page.alt) > 60
    assert html.data.startswith("<details data-flash-lab-still>")
    assert f"<p>{escape(page.alt)}</p>" in html.data
    assert data_of(page)["still"] == list(Image.open(BytesIO(picture.data)).size)


@pages
def test_a_page_says_what_it_is_in_one_sentence(make, tmp_path):
    page = make()
    assert (
        40 < len(page.sentence) < 160
        and page.sentence.count(". ") == 0
        and page.sentence[-1] == "."
    )
    page.save(tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert f'<meta name="description" content="{escape(page.sentence)}">' in text
    assert page.preview() == page.preview()


def test_pages_of_different_settings_have_different_places():
    names = [re.search(r"data-flash-lab=\"([\w-]+)\"", lab.cost(T=T).html)[1] for T in (16, 32)]
    assert names[0] != names[1] and all(name.startswith("cost-") for name in names)


def test_wrong_arguments_are_refused_in_a_line():
    for make in (
        lambda: lab.cost(T=0),
        lambda: lab.cost(widths="none"),
        lambda: lab.decoding("one"),
        lambda: lab.leaks("a = b"),
        lambda: lab.leaks("earlier"),
        lambda: lab.leaks(C=0),
        lambda: lab.leaks(lambda heads, v: v[1:]),
    ):
        with pytest.raises(ValueError, match="expected"):
            make()


# ---------------------------------------------------------------- numbers


def test_the_six_tokens_are_those_of_the_package():
    found = data_of(lab.six_tokens())["data"]["arrays"]
    heads = by_hand.Z * by_hand.GAMMA[:, None] + by_hand.BETA[:, None]
    everybody = np.ones(6, bool), np.zeros(6, int)
    how = dict(chunk_size=2, causal=True, combine="mean")
    heads_and_v = (heads, by_hand.V.astype(float), *everybody, by_hand.BIAS)
    for name, far in (("out", True), ("near", False)):
        right = reference.mixed_chunk_attention(*heads_and_v, local=True, global_=far, **how)
        np.testing.assert_allclose(found[name], right)
    assert found["near"][5] == [-16, 4] and found["far"][5] == [-3, 6]  # as lecture 05 finds them
    assert [found[name] for name in ("quad_q", "quad_k", "lin_q", "lin_k")] == heads.tolist()


def test_the_sums_are_those_of_decoding():
    page = data_of(lab.decoding())["data"]
    sums = np.array(page["sums"])
    T = len(page["words"])
    C = page["C"]
    # it changes at borders alone
    assert all((sums[t] == sums[t - 1]).all() for t in range(1, T + 1) if t % C)
    rng = np.random.default_rng(0)
    lin_k = rng.integers(-2, 3, (T, page["S"]))
    v = rng.integers(-2, 3, (T, page["E"]))
    for t in range(0, T + 1, C):
        assert (sums[t] == lin_k[:t].T @ v[:t]).all()


def test_the_state_is_counted_as_the_package_counts_it():
    base = token_by_token.BASE
    with torch.device("meta"):
        flash = FLASH(base["E"] // 2, qk_dim=base["S"], chunk_size=base["C"], causal=True)
        gau = GAU(base["E"] // 2, qk_dim=base["S"], causal=True)
    paper = data_of(lab.decoding())["data"]["paper"]
    assert paper["room"] == count_state_numbers(flash, 8192)
    assert paper["cache"] == count_state_numbers(gau, 8192)
    before, after = (count_state_numbers(gau, paper["from"] + i) for i in (-1, 0))
    assert before <= paper["room"] < after


# ---------------------------------------------------------------- leaks


def test_the_lines_compute_mixed_chunk_attention():
    rng = np.random.default_rng(1)
    heads = rng.normal(size=(4, 14, 4))
    v = rng.normal(size=(14, 6))
    bias = rng.normal(size=(4, 4))
    everybody = np.ones(14, bool), np.zeros(14, int)
    for combine in ("mean", "sum"):
        how = dict(chunk_size=4, causal=True, combine=combine)
        right = reference.mixed_chunk_attention(reference.rope(heads), v, *everybody, bias, **how)
        found = mixing.run(mixing.chosen({"combine": combine}), heads, v, 4, bias)
        np.testing.assert_allclose(found, right)


@pytest.mark.parametrize("T, C", [(14, 4), (12, 3)])
def test_each_choice_is_measured_and_gets_its_name(T, C):
    """The mean and the positions change numbers and no pair, so that no fault is measured of them."""
    for choices in itertools.product(mixing.CHOICES["sum"], mixing.CHOICES["mask"]):
        of = dict(zip(("sum", "mask"), choices))
        names = [mixing.CHOICES[question][choice][2] for question, choice in of.items()]
        found = leaking.by_choice(of, T, C).faults
        faults = [fault for fault in found if not fault.startswith("In all")]
        assert faults == [name for name in names if name], choices
    assert leaking.by_choice({"combine": "sum"}, T, C).faults == []


def test_a_function_of_the_readers_is_measured():
    def right(heads, v):
        how = dict(chunk_size=4, causal=True)
        return reference.mixed_chunk_attention(
            heads, v, np.ones(14, bool), np.zeros(14, int), np.zeros((4, 4)), **how
        )

    found = lab.leaks(right)
    assert found.faults == []
    assert [(found.kinds == kind).sum() for kind in ("one", "sum")] == [33, 72]
    later = lab.leaks(lambda heads, v: right(heads, v) + v[::-1])  # token 1 reads token 14
    assert later.kinds[0, 13] == "leak" and "In all: 7 pairs" in " ".join(later.faults)


def test_a_line_of_the_readers_is_measured_and_shown(monkeypatch, capsys):
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    lab.show(lab.leaks("earlier = np.roll(np.cumsum(kv, axis=0), 1, axis=0)"))
    assert "np.roll" in capsys.readouterr().out and "leak" in shown[0].metadata["alt"]
    lab.show(lab.leaks("near = weights @ v  # the same again"))
    assert "no fault" in capsys.readouterr().out


def test_each_hidden_fault_is_exposed_by_some_tokens_and_not_by_all():
    """A sound layer moves a token's own output and all later ones, and none before."""
    T, C = 14, 4
    sound = np.tri(T, dtype=bool)
    for fault in leaking.PUZZLES:
        kinds = leaking.by_choice(fault, T, C).kinds
        moves = (kinds != "") & (kinds != "missing")
        exposing = (moves != sound).any(0)
        assert exposing.any() and not exposing.all(), fault


# ---------------------------------------------------------------- the mechanism


def test_the_picture_that_moves_is_stored_as_its_command_makes_it():
    stored = (ROOT / "docs" / "figures" / "mechanism.svg").read_text(encoding="utf-8")
    assert stored == moving.picture(), "python tools/readme_figures.py"


def test_a_chunk_fills_folds_and_is_read():
    order, end = moving.steps()
    names = [step[:2] for step in order]
    assert len(names) == moving.T + moving.T // moving.C
    for chunk in range(1, moving.T // moving.C + 1):
        at = names.index(("fold", chunk))
        assert names[at - 1] == ("token", chunk * moving.C)
    seconds = [second for _, _, second in order]
    assert seconds == sorted(seconds) and seconds[-1] < end
    assert moving.said("token", 3) == "Token 3 reads 1 to 3 one by one."
    assert (
        moving.said("token", 10)
        == "Token 10 reads 9 and 10 one by one, and 1 to 8 through the sum."
    )


def test_the_picture_stands_still_where_no_motion_is_wanted():
    """What is seen without its animations is the picture at ``STILL``: the rings and words of no other token."""
    root = ElementTree.fromstring(moving.picture())
    style = root.find("{*}style").text
    assert re.search(r"prefers-reduced-motion: reduce\) \{[^}]*animation: none", style)
    seen = [group for group in root.findall("{*}g") if group.get("opacity") == "1"]
    texts = [text.text for group in seen for text in group.findall("{*}text")]
    assert [text for text in texts if text.startswith("Token")] == [
        moving.said("token", moving.STILL)
    ]
    assert "the sum of chunks 1 and 2" in texts
    assert sum(each.get("class") == "ring" for group in seen for each in group) == 1
