"""What is written about a class: results as JSON and CSV, a page for each student, texts for a marker, a gradebook."""

import csv
import hashlib
import io
import json
import re
import unicodedata
from collections import Counter
from pathlib import Path

from flash_tutorial.files import write_text

from ..checks.exercise import load_set
from ..checks.texts import say


def write_reports(results, out, pool, seed, marks=None):
    """All files of a graded class; each is written whole or not at all. ``marks``: what a person has given so far."""
    out = Path(out)
    facts = {"seed": seed, "held_out_faults": bool(pool), "note": say("all", "with pool" if pool else "without pool")}
    rows = [{k: v for k, v in result.items() if k not in ("key", "digest")} for result in results]
    write_text(out / "results.json", json.dumps(facts | {"students": rows}, indent=1) + "\n")
    write_text(out / "results.csv", table(results))
    write_text(out / "texts.csv", texts(results, marks or {}))
    (out / "feedback").mkdir(exist_ok=True)
    for result in results:
        write_text(out / "feedback" / f"{result['name']}.md", page(result))


def exercises_of(results):
    return list(dict.fromkeys(name for result in results for name in result["exercises"]))


def table(results):
    """One line for each student."""
    text, names = io.StringIO(), exercises_of(results)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["name", "set", "points", "of", *names, "STUDENT"])
    for result in results:
        points = [f"{result['exercises'][name]['points']:g}" if name in result["exercises"] else "" for name in names]
        writer.writerow(
            [result["name"], result["set"], f"{result['points']:g}", result["of"], *points, result.get("student")]
        )
    return text.getvalue()


def page(result):
    """A student's page, in Markdown."""
    lines = [f"# {heading(result)}", ""]
    lines += [f"- {note}" for note in result["notes"]] + [""] * bool(result["notes"])
    facts = load_set(result["set"]) if result["set"] else {}
    for name, row in result["exercises"].items():
        lines += [f"## {name} {facts[name].title}: {state(row)}", ""]
        lines += [f"- {said}" for said in [*row["said"], *row["notes"]]] + [""] * bool(row["said"] or row["notes"])
    return "\n".join(lines).rstrip() + "\n"


def heading(result):
    """Whose, which set, how many points."""
    if not result["exercises"]:
        return f"{result['name']}: not read"
    return f"{result['name']}: set {result['set']}, {result['points']:g} of {result['of']} points"


def state(row):
    """Status and points of an exercise, in words."""
    if waits(row):
        return say("all", "recorded")
    status = say("all", "recorded" if row.get("marked") else row["status"])
    return f"{status}, {say('all', 'points', got=format(row['points'], 'g'), of=row['of'])}"


def waits(row):
    """Whether a person has still to mark a text."""
    return bool(row.get("by_person") and row["status"] == "right" and "marked" not in row)


def summary(results, limits):
    """What an instructor should look at before the points count, a line each."""
    found = [f"{r['name']}: not read: {' '.join(r['notes'])}" for r in results if not r["exercises"]]
    sets = Counter(r["set"] for r in results if r["exercises"]).most_common()
    for number, _ in sets[1:]:
        names = ", ".join(r["name"] for r in results if r["set"] == number)
        found.append(f"most submissions are of set {sets[0][0]}, but of set {number}: {names}")
    slow = [
        f"{r['name']} {e}" for r in results for e, row in r["exercises"].items() if row["seconds"] >= limits.seconds
    ]
    if slow:
        found.append(
            f"stopped after {limits.seconds:g} seconds (if this machine was busy, give --seconds): {', '.join(slow)}"
        )
    by_student = {}
    for r in results:
        if r.get("student"):
            by_student.setdefault((r["set"], r["student"]), []).append(r["name"])
    for (number, student), names in by_student.items():
        if len(names) > 1:
            found.append(f"the same STUDENT = {student!r}, and so the same numbers in set {number}: {', '.join(names)}")
    if count := sum(waits(row) for r in results for row in r["exercises"].values()):
        found.append(f"{count} texts wait for a person's points, in texts.csv")
    return found


# ---------------------------------------------------------------- texts, marked by a person


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
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(rows[code] for code in sorted(rows))
    return text.getvalue()


def read_marks(path):
    """{code: row} of the filled rows of a ``texts.csv``, as a spreadsheet may have saved it."""
    text = Path(path).read_text(encoding="utf-8-sig", errors="replace")
    first = text.partition("\n")[0]
    reader = csv.DictReader(
        io.StringIO(text, newline=""), delimiter=";" if first.count(";") > first.count(",") else ","
    )
    if not {"code", "points"} <= set(reader.fieldnames or ()):
        raise ValueError(f"{path} has no columns code and points: fill in the texts.csv of an earlier run")
    return {row["code"]: row for row in reader if (row["points"] or "").strip()}


def merge_marks(results, marks, path):
    """Put the points of ``read_marks`` into the results; returns how many there were."""
    merged = 0
    for result in results:
        for name, row in result["exercises"].items():
            if row.get("by_person") and (mark := marks.get(code_of(result, name))) is not None:
                row["points"] = within(mark["points"].strip(), row["of"], name, path)
                row["marked"] = True
                merged += 1
        result["points"] = sum(row["points"] for row in result["exercises"].values())
    return merged


def within(mark, most, name, path):
    try:
        points = float(mark.replace(",", "."))
    except ValueError:
        points = -1.0
    if not 0 <= points <= most:
        raise ValueError(f"{path}: {mark!r} points for {name}, expected a number from 0 to {most}")
    return points


# ---------------------------------------------------------------- Canvas


CANVAS_FILE = re.compile(r"_(\d+)_\d+_")  # lovelaceada_LATE_1001_20345_05.ipynb: the student's ID, then the file's


def fill_gradebook(results, path, column=None):
    """The text of an instructor's own Canvas export with one column filled in, and what to say about it, a line each.

    A student is found by ID, SIS User ID, SIS Login ID or name: one of them must be the submission's name, or the file
    has the name that Canvas gives it. What fits two students, or was not read, or is of another set, is left as it is.
    """
    with open(path, newline="", encoding="utf-8-sig") as file:
        rows = list(csv.reader(file))
    head = rows[0] if rows else []
    target, number = target_of(head, results, column, path)
    by_key, by_id = students_of(head, rows[1:])
    places, left = {}, {"not in the gradebook": [], "not read": [], "of another set": [], "fits two students": []}
    for result in results:
        name = result["name"]
        file = CANVAS_FILE.search(name)
        found = by_key.get(plain(name)) or (by_id.get(file[1]) if file else None) or set()
        if not result["exercises"]:
            left["not read"].append(name)
        elif result["set"] != number:
            left["of another set"].append(name)
        elif len(found) == 1:
            places.setdefault(*found, []).append(result)
        else:
            left["fits two students" if found else "not in the gradebook"].append(name)
    filled = {place: same[0] for place, same in places.items() if len(same) == 1}
    left["two files of one student"] = [r["name"] for same in places.values() if len(same) > 1 for r in same]
    for place, result in filled.items():
        rows[place][target] = f"{result['points']:g}"
    said = [f"{kind}: {', '.join(names) or 'nobody'}" for kind, names in left.items() if names or "gradebook" in kind]
    for row in rows[1:]:
        most = row[target] if row[:1] and row[0].strip() == "Points Possible" else ""
        if filled and most.strip() and most.strip() != f"{next(iter(filled.values()))['of']:g}":
            said.append(f"the gradebook has {most.strip()} points for it, the set has 100: nothing was scaled")
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue(), [f"{len(filled)} of {len(results)} submissions filled in", *said]


def target_of(head, results, column, path):
    """Which column of a gradebook to fill in, and for which problem set."""
    sets = Counter(r["set"] for r in results if r["set"])
    numbered = {n: [i for i, h in enumerate(head) if re.search(rf"(?<!\d){n}(?!\d)", h.split("(")[0])] for n in sets}
    found = [i for i, h in enumerate(head) if h == column] or [i for i, h in enumerate(head) if column and column in h]
    if not column:
        found = sorted({i for columns in numbered.values() for i in columns})
    if len(found) != 1:
        raise ValueError(
            f"{path}: {len(found)} columns fit {column or 'the number of the set'!r}: name one by --column, "
            f"of {', '.join(head)}"
        )
    of_sets = [n for n, columns in numbered.items() if found[0] in columns] or list(sets)
    if len(of_sets) > 1:
        raise ValueError(f"{path}: is {head[found[0]]!r} for set {' or '.join(sorted(of_sets))}? Say it by --set")
    return found[0], of_sets[0] if of_sets else None


def students_of(head, rows):
    """{ID, login or name: places of rows} and {ID: places of rows}; rows are filled up to the length of the head."""
    by_key, by_id = {}, {}
    keys = [i for i, name in enumerate(head) if name in ("Student", "ID", "SIS User ID", "SIS Login ID")]
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
