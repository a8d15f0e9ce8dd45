"""What a person says about points: of answers in prose, which go out without names, and after an appeal."""

import hashlib
import unicodedata
from pathlib import Path

from .spreadsheet import read_rows, written_rows

CHANGES = "changes.csv"  # in the folder of the results: name, exercise, points, reason; a person writes it


def code_of(result, name):
    """A text's code does not tell the name to a marker. With its letter no spreadsheet takes it for a number."""
    text = result["exercises"][name].get("text")
    return "t" + hashlib.sha256(f"{result['name']} {name} {text}".encode()).hexdigest()[:10]


COLUMNS = ["code", "exercise", "of", "points", "text"]


def texts(results, marks):
    """The answers to explain exercises, without names, sorted by their codes, with the points given so far.

    Marks of other texts stay in the file: what a person has written is not lost.
    """
    rows = {code: [row.get(column) or "" for column in COLUMNS] for code, row in marks.items()}
    for result in results:
        for name, row in result["exercises"].items():
            if row.get("text") and row["status"] == "right":
                points = f"{row['points']:g}" if row.get("marked") else ""
                code = code_of(result, name)
                rows[code] = [code, name, row["of"], points, row["text"]]
    return written_rows([COLUMNS, *(rows[code] for code in sorted(rows))])


def read_marks(path):
    """{code: row} of the filled rows of a ``texts.csv``, as a spreadsheet may have saved it."""
    head, *rows = read_rows(path) or [[]]
    if not {"code", "points"} <= set(head):
        raise ValueError(
            f"{path} has no columns code and points: fill in the texts.csv of an earlier run"
        )
    found = [
        whole_row(row, ("code",), where)
        for where, row in filled(head, rows, path)
        if row.get("points", "").strip()
    ]
    return {row["code"]: row for row in found}


def filled(head, rows, path):
    """(where it stands, {column: cell}) of each row that is not empty; numbered as a spreadsheet does, head and all.

    With a cell too many the others are not in their own columns, as after 3,5 points without quotes.
    """
    for number, row in enumerate(rows, 2):
        where = f"{path}, row {number} ({','.join(row[:3])})"
        if any(cell.strip() for cell in row[len(head) :]):
            advice = "name each column there, and put a cell that holds a comma or a semicolon into quotes"
            raise ValueError(
                f"{where} has {len(row)} cells and the first row {len(head)}: {advice}"
            )
        if any(cell.strip() for cell in row):
            yield where, dict(zip(head, row))


def whole_row(row, needed, where):
    """The row, if it has all cells without which it cannot count."""
    lacking = [column for column in needed if not row.get(column, "").strip()]
    if lacking:
        raise ValueError(
            f"{where} has no {' and no '.join(lacking)}: fill it in, or delete the row"
        )
    return row


def merge_marks(results, marks, path):
    """Put the points of ``read_marks`` into the results; returns how many there were."""
    merged = 0
    for result in results:
        for name, row in result["exercises"].items():
            if row.get("by_person") and (mark := marks.get(code_of(result, name))) is not None:
                row["points"] = within(mark["points"].strip(), row["of"], name, path)
                row["marked"] = True
                merged += 1
        add_up(result)
    return merged


def add_up(result):
    result["points"] = sum(row["points"] for row in result["exercises"].values())


def within(mark, most, name, path):
    try:
        points = float(mark.replace(",", "."))
    except ValueError:
        points = -1.0
    if not 0 <= points <= most:
        raise ValueError(f"{path}: {mark!r} points for {name}, expected a number from 0 to {most}")
    return points


# ---------------------------------------------------------------- points that a person changes, as after an appeal


def read_changes(path):
    """The rows of a ``changes.csv``, as a spreadsheet may have saved it; none where there is no such file."""
    if not Path(path).is_file():
        return []
    head, *rows = read_rows(path) or [[]]
    if not {"name", "exercise", "points"} <= set(head):
        raise ValueError(
            f"{path}: expected the columns name, exercise, points and reason, got {', '.join(head)}"
        )
    needed = ("name", "exercise", "points")
    return [whole_row(row, needed, where) for where, row in filled(head, rows, path)]


def composed(name):
    """A name as most systems write it: macOS writes the letters of a file's name in parts, a spreadsheet does not."""
    return unicodedata.normalize("NFC", name)


def merge_changes(results, changes, path):
    """Put the points of ``read_changes`` in place of the grader's; returns what to say about it, a line each."""
    # first as it is written
    by_name = {composed(r["name"]): r for r in results} | {r["name"]: r for r in results}
    done, left = [], []
    for change in changes:
        name = change["name"].strip()
        exercise = change["exercise"].strip()
        result = by_name.get(name) or by_name.get(composed(name))
        row = result and result["exercises"].get(exercise)
        if row is None:
            left.append(f"{name} {exercise}")
            continue
        done.append(f"{name} {exercise} from {row['points']:g} to {change['points'].strip()}")
        row["points"], row["changed"] = (
            within(change["points"].strip(), row["of"], exercise, path),
            True,
        )
        row["said"] = [*row["said"], *filter(None, [change.get("reason", "").strip()])]
        add_up(result)
    said = []
    if done:
        said.append(f"points changed by a person: {', '.join(done)}")
    if left:
        said.append(f"{path} names what is not here: {', '.join(left)}")
    return said
