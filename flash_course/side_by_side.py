"""What the reader built beside the package's own: its code, and the trained parameters that it takes over."""

import inspect
import re
from html import escape

import torch

from . import mine
from .builds import find

CELL = "vertical-align:top; text-align:left; padding:0 1em 0 0; border:0"
EXAMPLES = re.compile(r"\n\s*\n\s*>>>.*?(?=\n\s*\"\"\")", flags=re.S)  # to the end of a docstring
TEXT = "font-size:85%; white-space:pre; margin:0"


@torch.no_grad()
def take_over(module, package):
    """Give the reader's FLASH or Model the package's parameters, which have longer names."""
    own = dict(module.named_parameters())
    for name, parameter in package.named_parameters():
        short = name.replace("stack.", "").replace("scale_offset.", "").replace("positions.", "")
        own[short.replace("norm.gain", "gain")].copy_(parameter)
    return module


def own_text(name):
    """The text of a build, and whose it is: the reader's where their file has it, else the course's own."""
    sections = mine.split(mine.text())[1]
    if name in sections:
        return "yours", sections[name].partition("\n")[2].strip()
    return "the course's own", inspect.getsource(find(name)[1].right).strip()


def package_text(*parts):
    """The package's own code of the same thing, which may be several functions, without the examples in it."""
    texts = [inspect.cleandoc("\n" + inspect.getsource(part)) for part in parts]
    return "\n\n".join(EXAMPLES.sub("", text) for text in texts)


def pair(name, parts):
    """Both texts of a name, each under a heading."""
    whose, own = own_text(name)
    theirs = ", ".join(part.__qualname__ for part in parts)
    return (f"{name}, {whose}", own), (f"the package's {theirs}", package_text(*parts))


def as_html(pairs):
    """A table of two columns, which scrolls where the page is narrow."""
    rows = []
    for both in pairs:
        cells = "".join(
            f'<td style="{CELL}"><b>{escape(head)}</b><pre style="{TEXT}">{escape(text)}</pre></td>'
            for head, text in both
        )
        rows.append(f"<tr>{cells}</tr>")
    return f'<div style="overflow-x:auto"><table>{"".join(rows)}</table></div>'


def as_text(pairs):
    """The same one below the other."""
    return "\n\n".join(f"# {head}\n{text}" for both in pairs for head, text in both)


def show(parts):
    """Display, for each name of a build, its text beside that of functions of the package.

    ``show({"fit": (train_step,)})``. A notebook shows a table, anything else the same as text.
    """
    from IPython import display

    pairs = [pair(name, of) for name, of in parts.items()]
    both = {"text/html": as_html(pairs), "text/plain": as_text(pairs)}
    display.display(both, raw=True)


def tally():
    """One line: how much of the course's file is the reader's own."""
    sections = mine.split(mine.text())[1]
    if not sections:
        return "my_flash.py is empty: it fills as you build, in the copies to work in"
    lines = sum(len(text.strip().splitlines()) - 1 for text in sections.values())
    return f"my_flash.py: {len(sections)} of your own, {lines} lines"
