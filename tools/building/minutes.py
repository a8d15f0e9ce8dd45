"""How long a lecture takes to read and to build, as its first cell says."""

import re
from itertools import chain

from .blanks import is_build, written_lines
from .sources import code_cells, markdown_of, read_source

MAX_MINUTES = 45  # to read a lecture

# what tools/stamp.py writes behind a link
ADDRESS = re.compile(r" \(\[(in Colab|on GitHub)\]\([^)\s]*\)\)")
# in the first cell of a lecture
HEADER = re.compile(
    r"(?<=\*\*Time\*\* )(?P<minutes>\S+) minutes to read(?:, about (?P<building>\S+) more to build)?"
)


def reading_minutes(notebook):
    """180 words a minute, 3 seconds for a line of code and 20 for a figure; without the first code cell, which all
    lectures share and which only installs."""
    text = ADDRESS.sub("", markdown_of(notebook))
    words = len(re.findall(r"\w[\w'-]*", text))
    lines = chain.from_iterable(cell.source.splitlines() for cell in code_cells(notebook)[1:])
    code = [line for line in lines if line.strip()]
    figures = sum("drawing.show(" in line or "lab.show(" in line for line in code)
    return round(words / 180 + 3 * len(code) / 60 + 20 * figures / 60)


def building_minutes(notebook):
    """A minute and a half for a line that the reader writes, to the next five minutes: what readers needed."""
    lines = sum(len(written_lines(cell.source)) for cell in notebook.cells if is_build(cell))
    return 5 * round(1.5 * lines / 5)


def minutes_said(notebook):
    """The time in a lecture's header."""
    said, building = f"{reading_minutes(notebook)} minutes to read", building_minutes(notebook)
    return f"{said}, about {building} more to build" if building else said


def write_minutes(source):
    """Put the times to read and to build into the source's header."""
    from flash_tutorial.files import write_text

    text, said = source.read_text(encoding="utf-8"), minutes_said(read_source(source))
    new = HEADER.sub(said, text, count=1)
    if new != text:
        write_text(source, new)


def minutes_problems(wanted):
    minutes, expected = reading_minutes(wanted), minutes_said(wanted)
    first = wanted.cells[0].source if wanted.cells else ""
    said = HEADER.search(first)
    if said is None:
        return ["the first cell has no line with **Time** NN minutes to read"]
    if said[0] != expected:
        return [f"the header says {said[0]}, and it is {expected}: build again"]
    if minutes > MAX_MINUTES:
        return [f"{minutes} minutes to read: {MAX_MINUTES} at most"]
    return []
