"""Cards: the same said as text and as HTML, of texts of anybody's."""

import re
from html.parser import HTMLParser

import pytest

from flash_course import cards
from flash_course.cards import Bar, Card

pytestmark = pytest.mark.quick

FULL = Card(
    "05.3 mixed_chunk",
    "wrong",
    criteria=[("causal", False), ("both sides", True), ("no loop: not counted", None)],
    said=['in the case "a tail": expected 2, got 3.'],
    rows=[("input", "[[1 2]\n [3 4]]"), ("expected", "[0 1]"), ("yours", "[1 2]")],
    likely=["Chunk g reads itself."],
    why="Every layer is this.",
    points=(6, 25),
    following="05.4 assert_causal_and_complete",
)


class Page(HTMLParser):
    """The words of a page, what its marks are called, and whether each element is closed."""

    def __init__(self, html):
        super().__init__()
        self.words, self.labels, self.tags, self.open = "", [], set(), []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        if tag != "br":
            self.open.append(tag)
        self.labels += [value for name, value in attributes if name == "aria-label"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words += data


def test_the_text_has_all_in_its_order():
    assert FULL.as_text().splitlines() == [
        "05.3 mixed_chunk: wrong, 6 of 25 points",
        "  causal: wrong",
        "  both sides: right",
        "  no loop: not counted",
        '  in the case "a tail": expected 2, got 3.',
        "  input     expected   yours",
        "  [[1 2]    [0 1]      [1 2]",
        "   [3 4]]",
        "  Likely: Chunk g reads itself.",
        "  Next: 05.4 assert_causal_and_complete",
    ]


def test_the_html_says_what_the_text_says():
    page = Page(FULL.as_html())
    assert not page.open
    for word in re.findall(r"\S+", FULL.as_text()):
        assert word.rstrip(":") in page.words + " ".join(page.labels)
    assert "6 of 25 points" in page.labels and {"right", "wrong"} <= {*page.labels}


def test_why_it_matters_is_for_who_has_it_right():
    right = Card("05.1 to_chunks", "right", why="Every layer is this.")
    for card, told in ((right, True), (FULL, False)):
        assert ("Every layer is this." in card.as_text()) == told
        assert ("Every layer is this." in card.as_html()) == told


def test_rows_that_are_too_wide_stand_below_each_other():
    wide = Card("a", rows=[("input", "1 " * 40), ("yours", "2 " * 40)])
    assert wide.as_text().splitlines()[1:] == [
        "  input:",
        "    " + "1 " * 39 + "1",
        "  yours:",
        "    " + "2 " * 39 + "2",
    ]
    assert wide.as_html().count("<tr") == 2
    assert Card("a", rows=[("input", "1"), ("yours", "2")]).as_html().count("<td") == 2


HOSTILE = '<script>alert(1)</script> & "\x1b[31m'


@pytest.mark.parametrize(
    "card",
    [
        Card(HOSTILE, HOSTILE),
        Card("a", "right", why=HOSTILE, headline=HOSTILE, following=HOSTILE),
        Card("a", criteria=[(HOSTILE, None)], said=[HOSTILE], likely=[HOSTILE]),
        Card("a", rows=[(HOSTILE, HOSTILE)], bars=[Bar(HOSTILE, 0.5, HOSTILE)]),
    ],
)
def test_what_anybody_wrote_is_text_and_nothing_else(card):
    page = Page(card.as_html())
    assert "script" not in page.tags and "<script>alert(1)</script>" in page.words
    assert "\x1b" not in card.as_html() + card.as_text()


@pytest.mark.parametrize("share, width", [(-1, "0"), (0.25, "25"), (7, "100"), (float("nan"), "0")])
def test_a_bar_stays_in_its_frame(share, width):
    assert f"width:{width}%" in Card("a", bars=[Bar("b", share, "c")]).as_html()


def test_a_notebook_gets_html_and_text_and_a_script_prints(monkeypatch, capsys):
    cards.show(FULL)
    assert capsys.readouterr().out == FULL.as_text() + "\n"
    shown = []
    monkeypatch.setattr(cards, "in_ipython", lambda: True)
    monkeypatch.setattr("IPython.display.display", lambda data, raw: shown.append((data, raw)))
    cards.show(FULL)
    data, raw = shown[0]
    assert raw and data == {"text/plain": FULL.as_text(), "text/html": FULL.as_html()}
