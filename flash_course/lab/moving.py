"""The mechanism as a picture that moves: chunks fill, fold into one sum, and the next chunk reads it.

``picture()`` is one SVG whose CSS moves it. README shows it as a file, the landing page inside its HTML, and the page
``mechanism`` steps through it. Where motion is not wanted it stands still at ``STILL``.
"""

from html import escape

import numpy as np

from flash_course import drawing
from flash_course.drawing import colours

from .page import Page, asset

T, C = 12, 4
SECONDS = {"token": 1.1, "fold": 1.6, "end": 2.4}  # of a step; the end is held
STILL = 10  # the token at which the still picture stands: two chunks are folded, the third is open
WIDTH, HEIGHT = 640, 324
SQUARE, GAP, BORDER = 40, 7, 22  # of a token, between two, and between two chunks
TOKENS_AT, SUM_AT = 50, 180  # from the top
CELL, CELLS = 20, (3, 6)  # of the sum: rows and columns

FADE = 0.15  # seconds in which something comes or goes


def steps():
    """What happens in order: ("token", t) or ("fold", chunk), each with the second at which it begins, and the end."""
    found = []
    second = 0.0
    for t in range(1, T + 1):
        found.append(("token", t, round(second, 2)))
        second += SECONDS["token"]
        if t % C == 0:
            found.append(("fold", t // C, round(second, 2)))
            second += SECONDS["fold"]
    return found, round(second + SECONDS["end"], 2)


def said(kind, number):
    """A step in words."""
    if kind == "fold":
        return f"Chunk {number} is full: it folds into the sum, which keeps its size."
    first = (number - 1) // C * C + 1
    near = "itself" if number == first else f"{span(first, number)} one by one"
    if first == 1:
        return f"Token {number} reads {near}."
    return f"Token {number} reads {near}, and {span(1, first - 1)} through the sum."


def span(first, last):
    """ "5 and 6", "5 to 8"."""
    if first == last:
        return f"{first}"
    return f"{first} {'and' if last == first + 1 else 'to'} {last}"


class Film:
    """Elements of the SVG, each with the stretch of time in which it is seen."""

    def __init__(self):
        self.steps, self.end = steps()
        self.begins = {(kind, number): second for kind, number, second in self.steps}
        self.still = self.begins["token", STILL] + SECONDS["token"] / 2
        self.elements = []
        self.rules = {}  # what moves, as keyframes, and its name: alike for all that is seen at the same time

    def add(self, element, begin=None, end=None):
        """An element, always seen or from ``begin`` to ``end`` (seconds; to the end of the film, if None)."""
        if begin is None:
            self.elements.append(element)
            return
        last = (
            self.end if end is None else end - FADE
        )  # so that two words never stand on each other
        seen = self.frame(begin + FADE if begin else 0, last, "opacity:1")
        unseen = self.frame(0, begin, "opacity:0") if begin else ""
        gone = "" if end is None else self.frame(end, self.end, "opacity:0")
        now = int(begin <= self.still < (end or self.end))
        self.elements.append(self.moving(element, unseen + seen + gone, now))

    def move(self, element, begin, end, across, down):
        """An element that moves from where it stands, and is seen on its way alone."""
        there = f"transform:translate({across:.0f}px,{down:.0f}px)"
        frames = (
            self.frame(0, begin, "opacity:0;transform:none")
            + self.frame(begin + FADE, begin + FADE, "opacity:1;transform:none")
            + self.frame(end - FADE, end - FADE, f"opacity:1;{there}")
            + self.frame(end, self.end, f"opacity:0;{there}")
        )
        self.elements.append(self.moving(element, frames, 0))

    def frame(self, begin, end, how):
        first, last = (f"{100 * second / self.end:.1f}%" for second in (begin, end))
        return f"{first}{{{how}}}" if first == last else f"{first},{last}{{{how}}}"

    def moving(self, element, frames, opacity):
        """The element in a group that follows the frames; ``opacity`` is that of the still picture."""
        name = self.rules.setdefault(frames, f"mechanism-{len(self.rules)}")
        clock = f"animation:{name} {self.end}s linear infinite"
        return f'<g opacity="{opacity}" style="{clock}">{element}</g>'


def token_x(t):
    """The left edge of token t, counted from 1."""
    width = T * SQUARE + (T - 1) * GAP + (T // C - 1) * (BORDER - GAP)
    return (WIDTH - width) / 2 + (t - 1) * (SQUARE + GAP) + (t - 1) // C * (BORDER - GAP)


def picture(words=True, alone=True):
    """The SVG, as text; without ``words`` what happens is said beside it, and unless it is ``alone`` its colours are
    those of the page that it stands in."""
    film = Film()
    height = HEIGHT if words else HEIGHT - 34
    film.add(f'<rect class="paper" width="{WIDTH}" height="{height}" rx="8"/>')
    for g in range(1, T // C + 1):
        middle = (token_x(g * C - C + 1) + token_x(g * C) + SQUARE) / 2
        film.add(f'<text x="{middle:.0f}" y="{TOKENS_AT - 16}">chunk {g}</text>')
    draw_sum(film)
    for t in range(1, T + 1):
        draw_token(film, t)
        draw_reading(film, t)
    if words:
        draw_words(film)
    rules = [f"@keyframes {name}{{{frames}}}" for frames, name in film.rules.items()]
    style = "\n".join([*(own_colours() if alone else []), asset("moving.css"), *rules]) + "\n"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="mechanism" role="img" '
        f'width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
        f'aria-label="{escape(alt())}"><style>{style}</style>\n'
        + "\n".join(film.elements)
        + "\n</svg>\n"
    )


def own_colours():
    """The rules that hold the colours of light and of dark pages, as the system has it."""
    light, dark = colours.style_sheet(".mechanism", ".mechanism").splitlines()
    return [light, f"@media (prefers-color-scheme: dark) {{ {dark} }}"]


def alt():
    """The still picture in words."""
    return (
        f"{T} tokens in chunks of {C}. A token reads the tokens of its own chunk one by one, up to itself. A chunk "
        "that is full folds into one sum, which keeps its size, and the tokens of later chunks read that sum. Here: "
        f"{said('token', STILL)}"
    )


def draw_sum(film):
    """The box of the sum, the chunks that are in it, and where folding begins."""
    rows, columns = CELLS
    left = (WIDTH - columns * CELL) / 2
    for row in range(rows):
        for column in range(columns):
            where = f'x="{left + column * CELL:.0f}" y="{SUM_AT + row * CELL}" width="{CELL}" height="{CELL}"'
            film.add(f'<rect class="cell" {where}/>')
    box = f'x="{left:.0f}" y="{SUM_AT}" width="{columns * CELL}" height="{rows * CELL}"'
    for g in range(1, T // C + 1):
        begin = film.begins["fold", g] + SECONDS["fold"] - 0.3
        film.add(f'<rect class="full" fill-opacity="0.3" {box}/>', begin)
        end = None if g * C == T else film.begins["fold", g + 1] + SECONDS["fold"] - 0.3
        chunks = f"chunk{'s' if g > 1 else ''} {span(1, g)}"
        film.add(sum_label(f"the sum of {chunks}"), begin, end)
    film.add(sum_label("the sum, still empty"), 0, film.begins["fold", 1] + SECONDS["fold"] - 0.3)


def sum_label(words):
    return f'<text x="{WIDTH / 2:.0f}" y="{SUM_AT + CELLS[0] * CELL + 24}">{words}</text>'


def draw_token(film, t):
    """A token that is to come, in the open chunk, on its way into the sum, and folded."""
    x = token_x(t)
    square = f'x="{x:.0f}" y="{TOKENS_AT}" width="{SQUARE}" height="{SQUARE}" rx="4"'
    fold = film.begins["fold", (t - 1) // C + 1]
    film.add(f'<rect class="empty" {square}/>')
    label = f'x="{x + SQUARE / 2:.0f}" y="{TOKENS_AT + SQUARE / 2 + 6:.0f}">{t}</text>'
    film.add(
        f'<rect class="open" {square}/><text class="number" {label}', film.begins["token", t], fold
    )
    film.add(f'<rect class="folded" {square}/><text {label}', fold)
    across = WIDTH / 2 - x - SQUARE / 2
    down = SUM_AT + CELL - TOKENS_AT
    film.move(f'<rect class="moves" {square}/>', fold, fold + SECONDS["fold"] - 0.2, across, down)


def draw_reading(film, t):
    """While token t reads: a ring around it, an arc to each token of its chunk, an arrow from the sum."""
    first = (t - 1) // C * C + 1
    x = token_x(t) + SQUARE / 2
    below = TOKENS_AT + SQUARE
    parts = [
        f'<rect class="ring" x="{x - SQUARE / 2 - 4:.0f}" y="{TOKENS_AT - 4}" width="{SQUARE + 8}" '
        f'height="{SQUARE + 8}" rx="6"/>'
    ]
    for j in range(first, t):
        there = token_x(j) + SQUARE / 2
        deep = below + 16 + 9 * (t - j)
        parts.append(
            f'<path class="near" d="M{x:.0f} {below + 5}Q{(x + there) / 2:.0f} {deep} {there:.0f} {below + 3}"/>'
        )
    if first > 1:
        middle = WIDTH // 2
        top = SUM_AT - 4
        tip = below + 8
        parts.append(
            f'<path class="far" d="M{middle} {top}C{middle} {top - 40} {x:.0f} {tip + 44} {x:.0f} {tip + 8}"/>'
            f'<path class="tip" d="M{x - 7:.0f} {tip + 10}L{x:.0f} {tip - 3}L{x + 7:.0f} {tip + 10}Z"/>'
        )
    begin = film.begins["token", t]
    film.add("".join(parts), begin, begin + SECONDS["token"])


def draw_words(film):
    """The step in words, below."""
    seconds = [second for _, _, second in film.steps]
    for (kind, number, begin), end in zip(film.steps, [*seconds[1:], None], strict=True):
        film.add(
            f'<text x="{WIDTH / 2:.0f}" y="{HEIGHT - 14}">{said(kind, number)}</text>',
            begin,
            end,
        )


def mechanism():
    """The page: the picture, step by step or by itself."""
    order, _ = steps()
    i, j = np.indices((T, T))
    who = np.select([j > i, i // C == j // C], [drawing.UNREAD, drawing.DIRECT], drawing.SUMMED)
    title = "Its own chunk one by one, earlier chunks through the sum"
    figure, words = drawing.who_reads_whom({"": who}, C, title=title)
    data = {
        "svg": picture(words=False, alone=False),
        "steps": [
            {
                "begins": second,
                "at": round(second + SECONDS[kind] * 0.6, 2),
                "said": said(kind, number),
            }
            for kind, number, second in order
        ],
        "first": [step[:2] for step in order].index(("token", STILL)),
    }
    return Page(
        "mechanism",
        "Twelve tokens through mixed chunk attention",
        "A chunk fills, folds into one sum of constant size, and the next chunk reads it: FLASH in twelve tokens.",
        words,
        figure,
        data,
    )
