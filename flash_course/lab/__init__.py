"""The laboratory: pages that react, each in one output of a notebook or in one file.

    from flash_course import lab
    lab.show(lab.cost(T=16, C=4))        # in a notebook
    lab.cost().save("cost.html")         # a file for a browser

A page holds its HTML, CSS and JavaScript and loads nothing. It lives in a shadow root, so that its styles and those of
the notebook leave each other alone and several pages can stand in one notebook. Where scripts do not run (GitHub, a
notebook that is not trusted), a still picture and its words stand there; the page hides both when it starts.
"""

from .by_hand import six_tokens
from .costs import cost
from .leaking import leaks
from .moving import mechanism
from .page import Page, show
from .shipped import writer
from .token_by_token import decoding

PAGES = (writer, mechanism, leaks, cost, decoding, six_tokens)  # in the order of the site

__all__ = [
    "PAGES",
    "Page",
    "cost",
    "decoding",
    "leaks",
    "mechanism",
    "show",
    "six_tokens",
    "writer",
]
