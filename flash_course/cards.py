"""A card: what a check says of an answer, as HTML where a notebook shows it, and as the same in plain text.

The HTML needs no style sheet: letters have the colour of the page around them, tints are transparent, and so it can be
read on light pages and on dark ones. Where styles are taken out, as on GitHub, a list and a table remain. No colour
says anything that a mark and a word do not say too.
"""

from dataclasses import dataclass, field
from html import escape

from flash_tutorial.shown import clean

from .checks.texts import read, say

BLUE, VERMILION, GREY = "#0072B2", "#D55E00", "#808080"
COLOURS = {"right": BLUE, "wrong": VERMILION, "raises": VERMILION}
MARKS = {"right": "✓", "wrong": "✗", "raises": "!", "not attempted": "○"}
OTHER = "•"  # of a status that is none of these
STATES = {True: "right", False: "wrong"}
WIDTH = 100  # columns; what is wider stands below each other
MOST = 20_000  # letters of a text

CARD = "border-left:4px solid {colour};background:{colour}14;padding:.5em .9em;margin:.4em 0;max-width:60em"
PLAIN = "margin:.3em 0;padding:0;color:inherit"
LIST = f"{PLAIN};list-style:none"
TABLE = "border-collapse:collapse;margin:.4em 0;color:inherit;background:transparent"
CELL = (
    "text-align:left;vertical-align:top;padding:.1em 1.4em .1em 0;border:0;color:inherit;"
    "background:transparent"
)
ROW = "background:transparent"  # JupyterLab's own tables have stripes
DIGITS = (
    "margin:0;padding:0;border:0;color:inherit;background:transparent;font-size:inherit;"
    "font-family:ui-monospace,monospace"
)
FRAME = "display:inline-block;width:{width}em;max-width:100%;height:.7em;border:1px solid {colour}"
FILL = "display:block;width:{share:.4g}%;height:100%;background:{colour}"


@dataclass
class Bar:
    """A line with a bar: "your guess", its length from 0 to 1, and what stands behind it."""

    label: str
    share: float
    said: str
    status: str = ""  # or none, then without a mark
    colour: str = ""  # where it is not that of the status


@dataclass
class Card:
    """What is said of one answer. Only the title is needed."""

    title: str  # "05.3 mixed_chunk"
    status: str = ""  # "right", "wrong", "raises", "not attempted"; or none
    criteria: list = field(default_factory=list)  # (label, True, False or None)
    rows: list = field(default_factory=list)  # (label, text), beside each other
    said: list = field(default_factory=list)
    likely: list = field(default_factory=list)
    why: str = ""  # it matters, one line; shown where the answer is right
    points: tuple | None = None  # (got, of)
    following: str | None = None  # the next exercise
    more: list = field(default_factory=list)  # sentences below all else
    bars: list = field(default_factory=list)
    headline: str = ""  # in place of the status and the points behind the title
    text: str | None = None  # in place of the text that is made of all this

    def head(self):
        """What stands behind the title."""
        if self.headline:
            return self.headline
        status = in_words(self.status) if self.status else ""
        return ", ".join(filter(None, [status, self.points_in_words()]))

    def points_in_words(self):
        if self.points is None:
            return ""
        got, of = self.points
        return say("all", "points", got=f"{got:g}", of=of)

    def last_lines(self):
        """What stands below all else and opens with a word in bold: "Likely: ..."."""
        lines = [say("all", "likely", said=said) for said in self.likely]
        if self.why and self.status == "right":
            lines.append(say("all", "why", said=self.why))
        if self.following:
            lines.append(say("all", "following", name=self.following))
        return lines

    def as_text(self):
        """The card as lines of text."""
        if self.text is not None:
            return clean(self.text, MOST, keep="\n")
        first, *rest = [self.head(), *self.said] if self.head() else [*self.said, ""]
        lines = [f"{self.title}: {first}"]
        lines += [f"  {label}{told(state)}" for label, state in self.criteria]
        lines += [f"  {line}" for line in rest if line]
        lines += [f"  {line}".rstrip() for line in beside(self.rows)]
        wide = max((len(bar.label) for bar in self.bars), default=0)
        lines += [f"  {bar.label:{wide}}  {bar.said}" for bar in self.bars]
        lines += [f"  {line}" for line in [*self.last_lines(), *self.more]]
        return clean("\n".join(lines), MOST, keep="\n")

    def as_html(self):
        """The card as HTML that needs nothing else."""
        colour = COLOURS.get(self.status, GREY)
        mark = ""
        if self.status:
            mark = mark_html(self.status)
        head = f"{mark}<strong>{shown(self.title)}</strong>"
        if self.head():
            head += f": {shown(self.head())}"
        if self.points:
            got, of = self.points
            head += f"<br>{bar_html(got / max(of, 1), colour, self.points_in_words())}"
        parts = [paragraph(head)]
        if self.criteria:
            lines = [f"{mark_of(state)}{shown(label)}" for label, state in self.criteria]
            parts.append(list_html(lines))
        parts += [paragraph(shown(line)) for line in self.said]
        parts += [table_html(self.rows), bars_html(self.bars)]
        parts += [paragraph(opened(shown(line))) for line in self.last_lines()]
        parts += [paragraph(shown(line)) for line in self.more]
        return f'<div style="{CARD.format(colour=colour)}">\n{"".join(filter(None, parts))}</div>'


def show(card):
    """Show a card: in IPython as HTML with the text beside it for who has no HTML, elsewhere as text."""
    if in_ipython():
        from IPython.display import display

        display({"text/plain": card.as_text(), "text/html": card.as_html()}, raw=True)
    else:
        print(card.as_text())


def in_ipython():
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    return get_ipython() is not None


# ---------------------------------------------------------------- text


def in_words(status):
    """A status in the class's language."""
    return say("all", status) if status in read("general") else status


def told(state):
    """What stands behind a criterion that was looked at."""
    return "" if state is None else f": {in_words(STATES[bool(state)])}"


def beside(rows):
    """Texts of one line or several beside each other under their labels; below each other where that is too wide."""
    if not rows:
        return []
    blocks = [[label, *clean(str(text), MOST, keep="\n").split("\n")] for label, text in rows]
    if not fit_beside(blocks):
        return [line for block in blocks for line in indented(block)]
    widths = [max(map(len, block)) for block in blocks]
    lines = []
    for i in range(max(map(len, blocks))):
        cells = [block[i] if i < len(block) else "" for block in blocks]
        lines.append("   ".join(map(str.ljust, cells, widths)).rstrip())
    return lines


def fit_beside(blocks):
    """Whether blocks of lines fit beside each other."""
    return sum(max(map(len, block)) + 3 for block in blocks) <= WIDTH


def indented(block):
    label, *lines = block
    return [f"{label}:", *(f"  {line}" for line in lines)]


# ---------------------------------------------------------------- HTML


def shown(text):
    """A text of anybody's as HTML shows it."""
    return escape(clean(str(text), MOST))


def mark_html(status):
    """A mark for the eye, its word for who hears the page."""
    mark = MARKS.get(status, OTHER)
    word = shown(in_words(status))
    style = "display:inline-block;width:1.1em;font-weight:bold"
    return f'<span role="img" aria-label="{word}" title="{word}" style="{style}">{mark}</span> '


def mark_of(state):
    """The mark of a criterion; none was looked at where the state is None."""
    return mark_html("not attempted" if state is None else STATES[bool(state)])


def paragraph(html):
    return f'<p style="{PLAIN}">{html}</p>\n'


def opened(html):
    """A line whose first word, up to a colon, is bold: "Likely: ..."."""
    word, colon, rest = html.partition(":")
    return f"<strong>{word}:</strong>{rest}" if colon else html


def list_html(lines):
    items = "".join(f'<li style="margin:0">{line}</li>\n' for line in lines)
    return f'<ul style="{LIST}">\n{items}</ul>\n'


def table_html(rows):
    """Texts in letters of one width: in columns, or below each other where that is too wide for a page."""
    if not rows:
        return ""
    texts = [(label, clean(str(text), MOST, keep="\n")) for label, text in rows]
    if not fit_beside([[label, *text.split("\n")] for label, text in texts]):
        return in_table("".join(row_html(label, text) for label, text in texts))
    heads = "".join(
        f'<th scope="col" style="{CELL};font-weight:bold">{shown(label)}</th>' for label, _ in texts
    )
    cells = "".join(f'<td style="{CELL}">{digits_html(text)}</td>' for _, text in texts)
    return in_table(f'<tr style="{ROW}">{heads}</tr>\n<tr style="{ROW}">{cells}</tr>\n')


def row_html(label, text):
    """A label, and behind it a text that may need several lines."""
    head = f'<th scope="row" style="{CELL};font-weight:bold">{shown(label)}</th>'
    return f'<tr style="{ROW}">{head}<td style="{CELL}">{digits_html(text, "pre-wrap")}</td></tr>\n'


def digits_html(text, space="pre"):
    return f'<pre style="{DIGITS};white-space:{space}">{escape(text)}</pre>'


def bars_html(bars):
    """Lines with a bar each, the labels in one column."""
    if not bars:
        return ""
    rows = []
    for bar in bars:
        colour = bar.colour or COLOURS.get(bar.status, GREY)
        mark = mark_html(bar.status) if bar.status else ""
        rows.append(
            f'<tr style="{ROW}"><th scope="row" style="{CELL};font-weight:normal">{mark}{shown(bar.label)}</th>'
            f'<td style="{CELL}">{bar_html(bar.share, colour, bar.said)}</td>'
            f'<td style="{CELL}">{shown(bar.said)}</td></tr>\n'
        )
    return in_table("".join(rows))


def in_table(rows):
    """Rows in a table that scrolls where the page is narrow."""
    table = f'<table style="{TABLE}"><tbody>\n{rows}</tbody></table>'
    return f'<div style="overflow-x:auto" tabindex="0">{table}</div>\n'


def bar_html(share, colour, said, width=16):
    """A bar, whose length is told in words to who does not see it."""
    share = 100 * max(0, min(share, 1))  # in this order, of NaN it is 0
    frame = FRAME.format(width=width, colour=colour)
    fill = FILL.format(share=share, colour=colour)
    return (
        f'<span role="img" aria-label="{shown(said)}" style="{frame}">'
        f'<span style="{fill}"></span></span>'
    )
