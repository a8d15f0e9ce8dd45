"""Texts of others as files, pages and terminals can show them: no control characters, nothing that hides or turns."""

import unicodedata

LINE = 1000  # characters
BLANK = {*"\n\r\t\v\f\x1c\x1d\x1e\x85\u2028\u2029"}
TURNS = {*"\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"}  # of the direction of writing
# joiners of letters stay
INVISIBLE = {*"\u00ad\u180e\u200b\u2060\u2061\u2062\u2063\u2064\ufeff\ufff9\ufffa\ufffb"}
# a second alphabet that nobody sees
INVISIBLE |= {chr(number) for number in range(0xE0000, 0xE0080)}


def clean(text, most=LINE, keep=""):
    """A text in one line, without control characters, halves of a letter and signs that nobody sees."""
    shown = "".join(c if c in keep else shown_as(c) for c in text[:most])
    if len(text) > most:
        shown += " ..."
    return shown


def shown_as(c):
    """The character itself, or what stands in its place."""
    if c in BLANK:
        return " "
    return "\ufffd" if hidden(c) else c


def hidden(c):
    return c in TURNS or c in INVISIBLE or unicodedata.category(c) in ("Cc", "Cs")
