"""Reading a submission: its cells, which problem set it is, what cannot be read. Nothing of it is run here.

A file is read in a child of its own: whatever it holds, it costs that one submission.
"""

import hashlib
import json
import os
import re
import stat
from dataclasses import asdict, dataclass, field
from pathlib import Path

from flash_tutorial.shown import clean

from ..checks.exercise import SETS
from .cells import body_of
from .child import Limits, in_child
from .statements import Statements

FILE_BYTES = 20_000_000
CODE_BYTES = 500_000
# where a cell of a .py file begins: as Jupytext and editors mark it, and as Jupyter exports it
CELL = re.compile(r"^#[ \t]*(?:%%|In ?\[[\d ]*\]:).*$", re.MULTILINE)
READING = Limits(seconds=20, bytes=1_000_000_000, clock=120)
KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFLNK: "a link",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@dataclass
class Submission:
    """One file of one student."""

    name: str
    number: str | None = None  # of its problem set; None: it is not graded
    cells: list = field(default_factory=list)  # the code of each
    notes: list = field(default_factory=list)  # what could not be read
    digest: str = ""


def read_submission(path, name, number=None):
    """A submission, or one without cells whose note says why it was not read."""
    ended = in_child(lambda: asdict(read_file(Path(path), name, number)), READING)
    try:
        found = Submission(**ended.message)
    except TypeError:
        said = (ended.message or {}).get("failed") or ended.why
        found = Submission(name, notes=[f"the file cannot be read: {said}"])
    found.notes = [clean(note) for note in found.notes]
    return found


def read_file(path, name, number=None):
    """The same in this process."""
    try:
        raw = bytes_of(path)
    except OSError as error:
        return Submission(name, notes=[f"the file cannot be read: {error.strerror or error}"])
    except ValueError as error:
        return Submission(name, notes=[str(error)])
    result = Submission(name, digest=hashlib.sha256(raw).hexdigest())
    try:
        result.cells = read_cells(path, raw)
    except ValueError as error:
        result.notes.append(f"the file cannot be read: {error}")
        return result
    seen = number_of("\n".join(map(body_of, result.cells)))
    result.number = number or seen
    if not any(cell.strip() for cell in result.cells):
        result.notes.append("there is no code in it")
    elif result.number is None:
        result.notes.append('no call such as check("05.1", ...) shows which problem set it is')
    elif seen not in (None, result.number):
        result.notes.append(
            f"this looks like problem set {seen}; it was graded as set {result.number}"
        )
    found = Statements(result.cells, name)
    result.notes += found.notes[:20]
    result.cells = found.cells  # Python from here on: what judges it needs no IPython
    return result


def bytes_of(path):
    """What a file holds, after a look at what it is: a pipe would never end, a sparse file fills the memory."""
    if kind := KINDS.get(stat.S_IFMT(os.stat(path).st_mode)):
        raise ValueError(f"this is {kind}, not a file: hand in a notebook or a .py file")
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        facts = os.fstat(file.fileno())
        if facts.st_size > FILE_BYTES:
            raise ValueError(
                f"the file has {facts.st_size / 1e6:.0f} MB: clear its outputs (at most {FILE_BYTES / 1e6:.0f} MB)"
            )
        return file.read(FILE_BYTES + 1)


def read_cells(path, raw):
    """The code of each cell; what is wrong with a file is said to the student who handed it in."""
    if not raw.strip():
        raise ValueError("it is empty. Hand it in again")
    notebook = path.suffix.lower() == ".ipynb"
    try:
        cells = cells_in(raw.decode("utf-8-sig"), notebook)
    except (ValueError, KeyError, TypeError, RecursionError):
        saved = "text in UTF-8. Save it as that"
        if notebook:
            saved = "notebook. Open it in Jupyter, save it as .ipynb"
        raise ValueError(f"it is no {saved}, and hand it in again") from None
    if (size := len(json.dumps(cells))) > CODE_BYTES:
        raise ValueError(
            f"it has {size / 1000:.0f} kB of code. Keep what the exercises need (at most {CODE_BYTES // 1000} kB)"
        )
    return cells


def cells_in(text, notebook):
    if not notebook:
        return CELL.split(text)
    return [
        "".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"
    ]


def number_of(text):
    """The set whose exercises are checked most often."""
    found = re.findall(r"""check\(\s*["'](\d\d)\.\d""", text)
    known = [number for number in found if number in SETS]
    if not known:
        return None
    return max(set(known), key=known.count)
