"""The pages of the laboratory in a real browser: each control changes what it should, by mouse and by keyboard.

Opened as files, and once in JupyterLab. Needs what test_browser.py needs, and is left out where that is missing.
"""

import base64
import itertools
import json
import re
from contextlib import contextmanager
from functools import partial

import nbformat
import numpy as np
import pytest
import torch
from house.test_browser import jupyterlab, run_all, tab_at

from flash_course import lab
from flash_course.bench.counts import (
    causal_pairs,
    chunk_pairs,
    flash_multiply_adds,
    gated_dense,
    gau_multiply_adds,
)
from flash_course.lab import (
    by_hand,
    costs,
    int8,
    leaking,
    mixing,
    moving,
    shipped,
    token_by_token,
)
from flash_course.lab.page import ASSETS
from flash_tutorial import LanguageModel

pytestmark = [pytest.mark.browser, pytest.mark.nightly, pytest.mark.timeout(420)]

PAGES = {make.__name__: make for make in lab.PAGES}
KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
BESIDE = """(place) => [...document.querySelectorAll('[data-flash-lab]')].map(
    host => host.shadowRoot.getElementById(place).textContent)"""


# ---------------------------------------------------------------- in JupyterLab


STARTED = "document.querySelectorAll('[data-flash-lab][data-started]').length === 3"
STILL = "[...document.querySelectorAll('.jp-OutputArea-output img')]"
CALLS = (
    "lab.show(lab.cost(T=16, C=4))",
    "lab.show(lab.leaks())",
    "lab.show(lab.cost(T=16, C=4))",
)


@contextmanager
def in_jupyterlab(chromium, folder, cells):
    """A notebook of these cells in a tab."""
    notebook = nbformat.v4.new_notebook(metadata=KERNEL, cells=cells)
    (folder / "course").mkdir()
    nbformat.write(notebook, folder / "course" / "page.ipynb")
    with (
        jupyterlab(folder, folder / "course") as address,
        tab_at(chromium, f"{address}/lab/tree/page.ipynb?reset") as tab,
    ):
        yield tab


def test_pages_stand_in_an_executed_notebook(chromium, tmp_path):
    """Two pages and a second copy of one: still pictures hidden, keys are the page's own, no request leaves."""
    code = [f"from flash_course import lab\n{call}" for call in CALLS]
    asked = []
    complaints = []
    with in_jupyterlab(chromium, tmp_path, [*map(nbformat.v4.new_code_cell, code)]) as tab:
        tab.on("request", lambda request: asked.append(request.url))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        run_all(tab)
        tab.wait_for_function(STARTED, timeout=90_000)
        tab.wait_for_function(f"{STILL}.filter(i => i.offsetParent).length === 0")
        tab.screenshot(path=tmp_path / "lab.png")
        assert tab.evaluate(f"{STILL}.length") == 3
        tab.get_by_label("T, tokens").first.focus()
        for key in ("ArrowRight", "ArrowDown", "ArrowUp"):
            tab.keyboard.press(key)
        first, second, third = tab.evaluate(BESIDE, "say")
        assert first.startswith("T = 24, C = 4") and third.startswith("T = 16, C = 4")
        assert "No fault" in second
        assert tab.locator(".jp-Cell").count() == len(CALLS), "a key was taken by JupyterLab"
        tab.locator("select[name=sum]").select_option("roll")
        assert "np.roll" in tab.evaluate(BESIDE, "say")[1]
    assert not [url for url in asked if not re.match(r"(http|ws)://127\.0\.0\.1|data:|blob:", url)]
    assert not complaints
    print("a screenshot is", tmp_path / "lab.png")


def test_a_notebook_that_is_not_trusted_shows_the_still_picture(chromium, tmp_path):
    """As GitHub does too: the script is not run, and not shown as text."""
    page = lab.leaks()
    shown = {"image/png": base64.b64encode(page.png).decode()}, {"text/html": page.html}
    outputs = [nbformat.v4.new_output("display_data", data) for data in shown]
    cell = nbformat.v4.new_code_cell("lab.show(lab.leaks())", execution_count=1, outputs=outputs)
    with in_jupyterlab(chromium, tmp_path, [cell]) as tab:
        tab.locator(".jp-OutputArea-output img").wait_for(timeout=60_000)
        tab.get_by_text("The picture in words").wait_for()
        text = " ".join(tab.locator(".jp-OutputArea-output").all_inner_texts())
        assert tab.locator("[data-started]").count() == 0
        assert "mount(" not in text and "{" not in text


# ---------------------------------------------------------------- as files


@pytest.fixture
def opened(chromium, tmp_path):
    """``opened(page, **settings of the browser)`` gives the page, and fails at its end if it asked or complained."""
    requests, complaints, contexts = [], [], []

    def go(page, **settings):
        page.save(tmp_path / "page.html")
        contexts.append(context := chromium.new_context(**settings))
        tab = context.new_page()
        tab.on("request", lambda request: requests.append(request.url))
        tab.on("console", lambda message: complaints.append(message.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.goto(f"file://{tmp_path}/page.html")
        return tab

    yield go
    for context in contexts:
        context.close()
    asked = [url for url in requests if not url.startswith(("file:", "data:"))]
    assert not asked and not complaints, (asked, complaints)


def evaluate(chromium, name, expression):
    """What an expression of an asset's JavaScript gives."""
    script = (ASSETS / name).read_text(encoding="utf-8")
    tab = chromium.new_page()
    found = tab.evaluate(f"() => {{ {script}\nreturn {expression}; }}")
    tab.close()
    return found


def said(tab, place="say"):
    return tab.locator(f"#{place}").inner_text()


# ---------------------------------------------------------------- the same in every page


NAME = "e => e.getAttribute('aria-label') || e.labels?.[0]?.innerText || e.innerText"


@pytest.mark.parametrize("name", PAGES)
def test_a_page_fits_a_narrow_window_and_speaks_to_those_who_cannot_see_it(opened, name):
    tab = opened(PAGES[name](), viewport={"width": 380, "height": 700})
    assert tab.evaluate("document.documentElement.scrollWidth") <= 380
    still = tab.locator("[data-flash-lab-still]").all()
    assert len(still) == 2 and not any(each.is_visible() for each in still)
    assert tab.get_by_role("heading", level=3).is_visible()
    for role in ("slider", "radio", "button", "combobox"):
        for control in tab.get_by_role(role).all():
            assert control.evaluate(NAME).strip()
    assert tab.locator("[aria-live=polite]").count() >= 1
    for picture in tab.locator("svg[role=img]").all():
        assert len(picture.get_attribute("aria-label")) > 30


@pytest.mark.parametrize("name", PAGES)
def test_without_scripts_the_still_picture_stands_there(opened, name):
    tab = opened(PAGES[name](), java_script_enabled=False)
    assert tab.locator("img[data-flash-lab-still]").is_visible()
    assert tab.locator("summary").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_follows_the_system_and_what_it_stands_on(opened, scheme):
    tab = opened(lab.cost(), color_scheme=scheme)
    host = tab.locator("[data-flash-lab]")
    assert host.get_attribute("data-theme") == scheme
    # the text of a site's other theme
    other = {"light": "rgb(250, 250, 250)", "dark": "rgb(20, 20, 20)"}[scheme]
    tab.evaluate(f"document.body.style.color = '{other}'")
    tab.wait_for_function(
        f"document.querySelector('[data-flash-lab]').dataset.theme !== '{scheme}'"
    )


# ---------------------------------------------------------------- costs


def test_the_scripts_counts_are_the_packages(chromium):
    lengths = (1, 7, 16, 100, 1023, 8192)
    sizes = (1, 4, 48, 256, 9000)
    widths = [(S, E) for S, E, _ in costs.WIDTHS]
    cases = [(T, C, *width) for T, C, width in itertools.product(lengths, sizes, widths)]
    asked = f"{json.dumps(cases)}.map(each => costs(...each))"
    for (T, C, S, E), cost in zip(cases, evaluate(chromium, "cost.js", asked)):
        flash = partial(flash_multiply_adds, T, E // 2, E, S, C, causal=True)
        full = gau_multiply_adds(T, E // 2, E, S, causal=True)
        near = chunk_pairs(T, C, causal=True)
        far = causal_pairs(T) - near
        dense = gated_dense(T, E // 2, E, S)
        assert cost == cost | {
            "flash": flash() - dense,
            "full": full - dense,
            "local": flash(global_=False) - dense,
            "pairs": {"local": near, "global": far, "full": near + far},
        }
        if T % C == 0:  # the formula of lecture 05
            assert cost["flash"] == T * (C + 1) * (S + E) / 2 + 2 * T * S * E


def test_the_script_finds_where_flash_becomes_cheaper(chromium):
    for C, (S, E, _) in itertools.product((1, 16, 256), costs.WIDTHS):
        found = evaluate(chromium, "cost.js", f"cheaperFrom({C}, {S}, {E})")
        cheaper = [
            flash_multiply_adds(T, 1, E, S, C, causal=True)
            < gau_multiply_adds(T, 1, E, S, causal=True)
            for T in range(1, 3000)
        ]
        assert cheaper.index(True) + 1 == found and all(cheaper[found:])


def test_the_sliders_redraw_the_picture_and_the_costs(opened):
    tab = opened(lab.cost(T=16, C=4))
    squares, circles = tab.locator("#mixed rect.one"), tab.locator("#mixed circle.sum")
    assert (squares.count(), circles.count()) == (40, 96)
    tab.get_by_label("C, tokens in a chunk").focus()
    tab.keyboard.press("ArrowRight")
    assert (squares.count(), circles.count()) == (72, 64) and "C = 8: 72 pairs" in said(tab)
    tab.get_by_label("T, tokens").focus()
    for _ in range(3):
        tab.keyboard.press("ArrowRight")
    # too many for single marks
    assert "T = 48" in said(tab) and tab.locator("#mixed pattern").count() == 1
    assert tab.get_by_label("T, tokens").get_attribute("aria-valuetext") == "48 tokens"
    before = said(tab)
    tab.get_by_label("widths").select_option(index=0)
    assert said(tab) != before and "FLASH is cheaper from T = 11 on" in said(tab)


# ---------------------------------------------------------------- leaks


def test_the_pictures_of_all_choices_are_what_numpy_measures(chromium):
    T = 14
    C = 4
    combinations = [
        dict(zip(mixing.CHOICES, each)) for each in itertools.product(*mixing.CHOICES.values())
    ]
    call = f"{json.dumps(combinations)}.map(choices => kindsOf(choices, {T}, {C}))"
    measured = evaluate(chromium, "leaks.js", call)
    for choices, kinds in zip(combinations, measured, strict=True):
        assert (np.array(kinds) == leaking.by_choice(choices, T, C).kinds).all(), choices


def test_each_choice_names_its_fault_and_edits_its_line(opened):
    tab = opened(lab.leaks())
    assert "No fault" in said(tab)
    for question, choices in mixing.CHOICES.items():
        for key, (_, edits, fault) in choices.items():
            select = tab.locator(f"select[name={question}]")
            select.select_option(key)
            assert (fault or "No fault") in said(tab)
            for name, line in edits.items():
                assert f"{name} = {line}" in said(tab, "code")
                assert f"{name} = {line}" in said(tab, "choices")  # beside the choice
        select.select_option(index=0)


def test_a_leak_is_marked_and_told_by_keyboard(opened):
    tab = opened(lab.leaks())
    tab.locator("select[name=sum]").focus()
    tab.keyboard.press("ArrowDown")
    assert tab.locator("#picture .leak").count() == 19
    assert (
        said(tab, "row")
        == "Token 9 reads 1 to 8 through the sum; 9 twice, in both ways; 10 to 12 though later (leak)."
    )
    tab.get_by_label("the token that reads").focus()
    tab.keyboard.press("Home")
    assert said(tab, "row").startswith("Token 1 reads 1 twice")
    tab.locator("select[name=sum]").select_option("late")
    assert tab.locator("#picture .missing").count() == 4 * 4 + 4 * 4 + 2 * 4


def test_the_puzzle_shows_what_moved_and_reveals_the_line(opened):
    tab = opened(lab.leaks())
    reveal = tab.get_by_role("button", name="Reveal the fault")
    assert reveal.is_disabled()
    for fault in leaking.PUZZLES:
        kinds = leaking.by_choice(fault).kinds
        moves = (kinds != "") & (kinds != "missing")
        sound = np.tri(len(kinds), dtype=bool)
        exposes = (moves != sound).any(0)
        for j in (
            int(np.argmin(exposes)),
            int(np.argmax(exposes)),
        ):  # one that shows nothing, one that does
            tab.get_by_role("button", name=f"Change token {j + 1}", exact=True).click()
            assert ("Exposed" in said(tab, "found")) == exposes[j]
            assert tab.locator("#probed .changed").get_attribute("x") == str(j)
        marks = [tab.locator(f"#probed .{name}").count() for name in ("leak", "missing")]
        tried = moves[:, [int(np.argmin(exposes)), int(np.argmax(exposes))]]
        right = sound[:, [int(np.argmin(exposes)), int(np.argmax(exposes))]]
        assert marks == [(tried & ~right).sum(), (~tried & right).sum()]
        reveal.click()
        ((question, key),) = fault.items()
        _, edits, name = mixing.CHOICES[question][key]
        assert name in said(tab, "found") and name in said(tab)
        assert all(line in said(tab, "found") for line in edits.values())
        tab.get_by_role("button", name="Another fault").click()
    assert f"Fault 1 of {len(leaking.PUZZLES)}" in said(tab, "found")


# ---------------------------------------------------------------- the mechanism


SEEN_WORDS = """() => [...document.querySelector('[data-flash-lab]').shadowRoot.querySelectorAll('svg g text')]
    .filter(text => getComputedStyle(text.parentNode).opacity > 0.9).map(text => text.textContent)"""


def test_the_mechanism_goes_step_by_step_and_by_itself(opened):
    tab = opened(lab.mechanism(), reduced_motion="reduce")
    assert said(tab) == moving.said("token", moving.STILL)
    tab.locator("#step").focus()
    tab.keyboard.press("Home")
    assert said(tab) == "Token 1 reads itself." and "the sum, still empty" in tab.evaluate(
        SEEN_WORDS
    )
    for kind, number, _ in moving.steps()[0][1:]:
        tab.get_by_role("button", name="Next").click()
        assert said(tab) == moving.said(kind, number)
    assert "the sum of chunks 1 to 3" not in tab.evaluate(SEEN_WORDS)  # it is still on its way
    tab.keyboard.press("Tab")
    tab.get_by_role("button", name="Back").click()
    assert "the sum of chunks 1 and 2" in tab.evaluate(SEEN_WORDS)
    tab.get_by_role("button", name="Play").click()
    tab.wait_for_function(
        "() => document.querySelector('[data-flash-lab]').shadowRoot.getElementById('step').value === '14'"
    )
    tab.get_by_role("button", name="Pause").click()
    assert "folds" in said(tab)


# ---------------------------------------------------------------- the writer


WRITTEN = """() => document.querySelector('[data-flash-lab]').shadowRoot
    .getElementById('write').textContent === 'Write on'"""


def test_the_model_writes_what_torch_writes_and_keeps_its_state(opened):
    """At temperature 0, from the beginning that stands there: the letters of the rounded model in torch."""
    model = int8.rounded(LanguageModel.from_pretrained(shipped.MODEL)).double()
    prompt = shipped.PROMPT
    ids = torch.tensor([list(prompt.encode())])
    right = bytes(model.generate(ids, shipped.LETTERS, temperature=0)[0].tolist()).decode()
    tab = opened(lab.writer())
    before = said(tab, "flash-is")
    tab.locator("#heat").select_option("0")
    tab.get_by_role("button", name="Write").click()
    tab.wait_for_function(WRITTEN, timeout=120_000)
    assert tab.locator("#text").inner_text() == prompt + right
    state, each = shipped.numbers_kept()
    read = len(prompt) + shipped.LETTERS
    assert before == said(tab, "flash-is") == f"{state:,}"
    assert said(tab, "cache-is") == f"{each * read:,}"
    tab.locator("#text span.chunk").nth(1).locator("span").nth(40).click()
    C = model.config.chunk_size
    assert f"Letter {C + 41}," in said(tab) and f"letters 1 to {C} through the sum" in said(tab)
    assert 1 <= tab.locator("#text .near").count() <= 41 and tab.locator("#text .far").count() == 1
    tab.locator("#letter").focus()
    tab.keyboard.press("Home")
    assert "Letter 1," in said(tab) and "Nothing is far yet" in said(tab)
    tab.locator("#prompt").fill("Emma")
    assert tab.locator("#text").inner_text() == "" and said(tab, "cache-is") == "0"


# ---------------------------------------------------------------- decoding


def test_the_buttons_step_through_the_prompt(opened):
    tab = opened(lab.decoding())
    tab.get_by_role("button", name="Next token").focus()
    for key in ("Enter", "Space"):  # tokens 7 and 8
        tab.keyboard.press(key)
    assert (
        "Token 8" in said(tab)
        and "folded" in said(tab)
        and "2 finished chunks" in said(tab, "chunks")
    )
    assert (
        tab.locator("#open li:not(.empty)").count() == 0 and tab.locator("#cache li").count() == 8
    )
    tab.get_by_role("button", name="Back").click()
    assert "Token 7" in said(tab) and tab.locator("#open li:not(.empty)").count() == 3
    tab.locator("#t").focus()
    tab.keyboard.press("End")
    assert tab.get_by_role("button", name="Next token").is_disabled()
    tab.keyboard.press("Home")
    assert tab.get_by_role("button", name="Back").is_disabled() and "sum is zero" in said(tab)


def test_what_the_page_counts_and_shows_is_numpys(opened):
    tab, page = opened(lab.decoding()), lab.decoding()
    for t in range(len(page.data["words"]) + 1):
        tab.locator("#t").fill(str(t))
        numbers = [[int(x) for x in row.split("\t")] for row in said(tab, "sum").split("\n")]
        assert numbers == page.data["sums"][t]
        assert said(tab, "flash-is").startswith(
            f"{token_by_token.state_numbers(t, 4, 2, 3)} (room for 34)"
        )
        assert said(tab, "cache-is") == str(5 * t)


def test_play_goes_on_by_itself_and_stops(opened):
    page = lab.decoding()
    page.data["pause"] = 60
    tab = opened(page, reduced_motion="reduce")
    tab.get_by_role("button", name="Play").click()
    tab.wait_for_function(
        "() => document.querySelector('[data-flash-lab]').shadowRoot.getElementById('t').value === '14'"
    )
    tab.get_by_role("button", name="Play").wait_for()
    assert tab.locator("#flash-bar").evaluate("e => getComputedStyle(e).transitionDuration") == "0s"


# ---------------------------------------------------------------- six tokens


def test_every_calculation_gives_its_number(opened):
    """The words of each number, read as arithmetic: nothing is left untraced."""
    tab, arrays, traced = opened(lab.six_tokens()), by_hand.numbers(), 0
    for button in tab.get_by_role("button").all():
        button.focus()
        label, calculation, _ = re.split(r"\n+", said(tab), maxsplit=2)
        assert label == button.get_attribute("aria-label").rsplit(":", 1)[0]
        plain = calculation.replace("−", "-").replace("×", "*").replace("²", "**2")
        *left, right = plain.split(" = ")
        if left:
            assert eval(left[0]) == float(right), label
            assert float(right) == float(button.inner_text().replace("−", "-"))
            traced += 1
    given = ("z", "v", "gamma", "beta", "bias")
    masked = 2 * 3  # a score and a weight in each chunk that nobody looks at
    made = arrays.keys() - given
    assert traced == sum(arrays[name].size for name in made) - masked


def test_a_number_lights_what_it_is_made_of(opened):
    tab = opened(lab.six_tokens())
    near = tab.get_by_role("button", name="near of token 6, number 1")
    lit = lambda: [b.get_attribute("aria-label") for b in tab.locator("button.part").all()]  # noqa: E731
    near.focus()
    assert lit() == [
        "value: token 5, number 1: 0",
        "value: token 6, number 1: −4",
        "weight of token 6 for token 5: 1",
        "weight of token 6 for token 6: 4",
    ]
    assert "1 × 0 + 4 × (−4) = −16" in said(tab) and "tokens 5 and 6 one by one" in said(tab)
    tab.get_by_role("button", name="far of token 6, number 2").hover()
    assert "lin_q times the mean" in said(tab) and len(lit()) == 4
    tab.mouse.move(0, 0)
    assert "near of token 6, number 1" in said(tab)  # what has the focus stays


IN_A_BOX = """(host => { const box = document.createElement('div'); box.style.overflow = 'auto';
    host.replaceWith(box); box.append(host); })(document.querySelector('[data-flash-lab]'))"""


@pytest.mark.parametrize("window", [(1000, 800), (400, 800)])
def test_the_calculation_is_in_view_wherever_the_page_stands(opened, window):
    """An output of a notebook scrolls by itself, and what sticks to a window's edge does not stick in it."""
    tab = opened(lab.six_tokens(), viewport=dict(zip(("width", "height"), window)))
    tab.evaluate(IN_A_BOX)
    for button in tab.get_by_role("button").all()[::7]:
        button.focus()
        box = tab.locator("#say").bounding_box()
        assert box["y"] >= 0 and box["y"] + box["height"] <= window[1], button.get_attribute(
            "aria-label"
        )
        number = button.bounding_box()
        assert box["y"] >= number["y"] + number["height"]


def test_arrow_keys_move_inside_a_table_and_tab_leaves_it(opened):
    tab = opened(lab.six_tokens())
    tab.get_by_role("button", name="base: token 1, number 1").focus()
    for key, label in (
        ("ArrowDown", "base: token 2, number 1"),
        ("ArrowRight", "base: token 2, number 2"),
        ("End", "base: token 6, number 2"),
        ("Tab", "value: token 1, number 1"),
        ("Shift+Tab", "base: token 6, number 2"),
        ("Home", "base: token 1, number 1"),
    ):
        tab.keyboard.press(key)
        assert label in said(tab), key
