"""Tables that a spreadsheet opens: read as it may have saved them, written so that no cell is a formula."""

import csv
import io
from pathlib import Path

FORMULA = ("=", "+", "-", "@", "\t")


def read_rows(path):
    """The rows of a table in UTF-8, with commas or semicolons between its cells."""
    raw = Path(path).read_bytes()
    advice = 'save it as "CSV UTF-8"'
    if b"\0" in raw:
        raise ValueError(f"{path} is no table in UTF-8, it looks like UTF-16: {advice}")
    try:
        text = raw.decode("utf-8-sig")
        first = text.partition("\n")[0]
        semicolons = first.count(";") > first.count(",")
        return list(csv.reader(io.StringIO(text, newline=""), delimiter=";" if semicolons else ","))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no table in UTF-8 (byte {error.start} is none of its letters): {advice}") from None
    except csv.Error as error:
        raise ValueError(f"{path} is no table ({error}): {advice}") from None


def written_rows(rows, students_own=None):
    """The text of a table. What students wrote, in all columns or in those numbered, is no formula."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for row in rows:
        writer.writerow(
            [shown(cell) if students_own is None or i in students_own else cell for i, cell in enumerate(row)]
        )
    return text.getvalue()


def shown(cell):
    """A cell that a spreadsheet takes for a text or a number."""
    if not isinstance(cell, str):
        return cell
    cell = cell.replace("\r", " ")  # it would end the row
    return f"'{cell}" if cell.lstrip(" ").startswith(FORMULA) else cell
