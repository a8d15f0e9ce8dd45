"""Texts of others on a page of Markdown: what is shown is what was written, and nothing of it is markup."""

import re

MEANS_SOMETHING = re.compile(
    r"""[\\`*<>\[\]|~&$^#@{}]   # the backslash among them: in one pass none is escaped twice
    | (?<![^\W_])_|_(?![^\W_])  # an underscore that is not within a word, as in no_such_name
    | =(?==)|(?<==)=           # ==marked==
    | \+(?=\+)|(?<=\+)\+       # ++inserted++
    | (?<=:)/(?=/)             # what GitHub makes a link of
    | (?<=\bwww)\.
    | ^[-+=.:!%]               # at the start: a list, a rule, a title, a directive
    | ^\d+[.)](?!\S)
    """,
    re.VERBOSE | re.IGNORECASE,
)
NUMBERED = {  # not by a backslash
    "\\": "&#92;",  # Jupyter takes two backslashes and a bracket for the start of a formula
    "&": "&amp;",  # mistune, which nbconvert has, takes a backslash, & and lt; for <
}
CODE = re.compile(r"`([^`]+)`")


def text(said):
    """A text of anybody's, in one line, as a heading or a list item shows it."""
    return MEANS_SOMETHING.sub(escaped, " ".join(str(said).split()))


def escaped(found):
    before = found[0][:-1]
    sign = found[0][-1]
    return before + NUMBERED.get(sign, f"\\{sign}")


def course_text(said):
    """A sentence of the course's own: what stands between backticks is code, the rest is text."""
    pieces = CODE.split(" ".join(said.split()))
    shown = list(map(text_within, pieces))
    shown[1::2] = [f"`{code}`" for code in pieces[1::2]]
    return "".join(shown)


def text_within(piece):
    """A piece of a line, with its blanks."""
    start = piece[: len(piece) - len(piece.lstrip())]
    end = piece[len(piece.rstrip()) :] if piece.strip() else ""
    return f"{start}{text(piece)}{end}"
