"""Tables that a spreadsheet opens: read as it may have saved them, written so that no cell is a formula."""

import csv
import io
import re
from pathlib import Path

QUOTE = '"'
ENDS = re.compile(r'[,;|"\t\r\n\v\f]')
BEGINS_A_FORMULA = re.compile(r"""(?:^|(?<=[;\n]))(?=["\s]*(?:[=+\-@＝＋－＠]|\t))""")


def read_rows(path):
    """The rows of a table in UTF-8, with commas or semicolons between its cells."""
    raw = Path(path).read_bytes()
    advice = 'save it as "CSV UTF-8"'
    if b"\0" in raw:
        raise ValueError(f"{path} is no table in UTF-8, it looks like UTF-16: {advice}")
    try:
        text = raw.decode("utf-8-sig")
        first = text.partition("\n")[0]
        delimiter = ";" if first.count(";") > first.count(",") else ","
        return list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is no table in UTF-8 (byte {error.start} is none of its letters): {advice}"
        ) from None
    except csv.Error as error:
        raise ValueError(f"{path} is no table ({error}): {advice}") from None


def written_rows(rows, students_own=None):
    """The text of a table. What students wrote, in all columns or in those numbered, is no formula."""
    lines = []
    for row in rows:
        cells = []
        for place, cell in enumerate(row):
            if students_own is None or place in students_own:
                cell = shown(cell)
            cells.append(quoted(cell))
        lines.append(",".join(cells) + "\n")
    return "".join(lines)


def shown(cell):
    """A cell that a spreadsheet takes for a text or a number.

    Where semicolons part the cells, it sees no quotes behind a comma, and what follows a semicolon or a line's end
    begins a cell there too.
    """
    if not isinstance(cell, str):
        return cell
    return BEGINS_A_FORMULA.sub("'", cell.replace("\r", " "))  # it would end the row


def quoted(cell):
    """A cell between quotes, if a spreadsheet of any country could take something in it for the end of the cell."""
    text = "" if cell is None else str(cell)
    if not ENDS.search(text):
        return text
    return f'"{text.replace(QUOTE, 2 * QUOTE)}"'
