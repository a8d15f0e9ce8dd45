"""A gradebook of Canvas, filled in."""

import re
import unicodedata
from collections import Counter
from itertools import chain

from .spreadsheet import read_rows, written_rows

# lovelaceada_LATE_1001_20345_05.ipynb: the student's ID, then the file's
CANVAS_FILE = re.compile(r"_(\d+)_\d+_")


def fill_gradebook(results, path, column=None):
    """The text of an instructor's own Canvas export with one column filled in, and what to say about it, a line each.

    A student is found by ID, SIS User ID, SIS Login ID or name: one of them must be the submission's name, or the file
    has the name that Canvas gives it. What fits two students, or was not read, or is of another set, is left as it is.
    """
    rows = read_rows(path)
    head = rows[0] if rows else []
    target, number = target_of(head, results, column, path)
    by_key, by_id = students_of(head, rows[1:])
    places = {}
    left = {
        "not in the gradebook": [],
        "not read": [],
        "of another set": [],
        "fits two students": [],
    }
    for result in results:
        name = result["name"]
        file = CANVAS_FILE.search(name)
        found = by_key.get(plain(name))
        if not found and file:
            found = by_id.get(file[1])
        if not result["exercises"]:
            left["not read"].append(name)
        elif result["set"] != number:
            left["of another set"].append(name)
        elif not found:
            left["not in the gradebook"].append(name)
        elif len(found) > 1:
            left["fits two students"].append(name)
        else:
            places.setdefault(*found, []).append(result)
    filled = {place: same[0] for place, same in places.items() if len(same) == 1}
    several = chain.from_iterable(same for same in places.values() if len(same) > 1)
    left["two files of one student"] = [result["name"] for result in several]
    for place, result in filled.items():
        rows[place][target] = f"{result['points']:g}"
    said = [
        f"{kind}: {', '.join(names) or 'nobody'}"
        for kind, names in left.items()
        if names or "gradebook" in kind
    ]
    for row in rows[1:]:
        if not filled or not row or row[0].strip() != "Points Possible":
            continue
        most = row[target].strip()
        of = f"{next(iter(filled.values()))['of']:g}"
        if most not in ("", of):
            said.append(
                f"the gradebook has {most} points for it, here are {of}: nothing was scaled"
            )
    students_own = (head.index("Student"),) if "Student" in head else ()
    count = f"{len(filled)} of {len(results)} submissions filled in"
    return written_rows(rows, students_own), [count, *said]


def target_of(head, results, column, path):
    """Which column of a gradebook to fill in, and for which problem set."""
    sets = Counter(r["set"] for r in results if r["set"])
    numbered = {
        n: [i for i, h in enumerate(head) if re.search(rf"(?<!\d){n}(?!\d)", h.split("(")[0])]
        for n in sets
    }
    found = [i for i, h in enumerate(head) if h == column] or [
        i for i, h in enumerate(head) if column and column in h
    ]
    # the set that most submissions are of; a stray one does not make the column doubtful
    if not column:
        most = [n for n, count in sets.items() if count == max(sets.values())]
        found = sorted(set().union(*(numbered[n] for n in most)))
    if len(found) != 1:
        raise ValueError(
            f"{path}: {len(found)} columns fit {column or 'the number of the set'!r}: name one by --column, "
            f"of {', '.join(head)}"
        )
    of_sets = [n for n, columns in numbered.items() if found[0] in columns] or list(sets)
    if len(of_sets) > 1:
        raise ValueError(
            f"{path}: is {head[found[0]]!r} for set {' or '.join(sorted(of_sets))}? Say it by --set"
        )
    number = of_sets[0] if of_sets else None
    return found[0], number


def students_of(head, rows):
    """{ID, login or name: places of rows} and {ID: places of rows}; rows are filled up to the length of the head."""
    by_key, by_id = {}, {}
    keys = [
        i for i, name in enumerate(head) if name in ("Student", "ID", "SIS User ID", "SIS Login ID")
    ]
    for place, row in enumerate(rows, 1):
        row += [""] * (len(head) - len(row))
        if row[:1] and row[0].strip() == "Points Possible":
            continue
        for i in keys:
            by_key.setdefault(plain(row[i]), set()).add(place)
            if head[i] == "Student":  # "Lovelace, Ada"
                by_key.setdefault(plain(" ".join(row[i].split(", ")[::-1])), set()).add(place)
            if head[i] == "ID":
                by_id.setdefault(row[i].strip(), set()).add(place)
    return by_key, by_id


def plain(name):
    """A name as it is compared: macOS writes the letters of a file's name in parts."""
    return unicodedata.normalize("NFC", name).strip().casefold()
