"""What is written about a class: results as JSON and CSV, a page for each student, texts for a marker, a gradebook."""

import csv
import hashlib
import io
import json
from pathlib import Path

from ..exercises.messages import say
from ..exercises.model import load_set
from ..files import write_text


def write_reports(results, out, pool, seed):
    """All files of a graded class; each is written whole or not at all."""
    out = Path(out)
    facts = {"seed": seed, "held_out_faults": bool(pool), "note": say("all", "with pool" if pool else "without pool")}
    rows = [{k: v for k, v in result.items() if k not in ("key", "digest")} for result in results]
    write_text(out / "results.json", json.dumps(facts | {"students": rows}, indent=1) + "\n")
    write_text(out / "results.csv", table(results))
    write_text(out / "texts.csv", texts(results))
    (out / "feedback").mkdir(exist_ok=True)
    for result in results:
        write_text(out / "feedback" / f"{result['name']}.md", page(result))


def exercises_of(results):
    return list(dict.fromkeys(name for result in results for name in result["exercises"]))


def table(results):
    """One line for each student."""
    text, names = io.StringIO(), exercises_of(results)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["name", "set", "points", "of", *names])
    for result in results:
        points = [f"{result['exercises'][name]['points']:g}" if name in result["exercises"] else "" for name in names]
        writer.writerow([result["name"], result["set"], f"{result['points']:g}", result["of"], *points])
    return text.getvalue()


def page(result):
    """A student's page, in Markdown."""
    lines = [f"# {result['name']}: set {result['set']}, {result['points']:g} of {result['of']} points", ""]
    lines += [f"- {note}" for note in result["notes"]] + [""] * bool(result["notes"])
    facts = load_set(result["set"]) if result["set"] else {}
    for name, row in result["exercises"].items():
        recorded = row.get("by_person") and row["status"] == "right" and "marked" not in row
        points = say("all", "recorded") if recorded else f"{row['points']:g} of {row['of']} points"
        lines += [f"## {name} {facts[name].title}: {row['status']}, {points}", ""]
        lines += [f"- {said}" for said in [*row["said"], *row["notes"]]] + [""] * bool(row["said"] or row["notes"])
    return "\n".join(lines).rstrip() + "\n"


# ---------------------------------------------------------------- texts, marked by a person


def code_of(result, name):
    """A text's code: it does not tell the name to a marker."""
    return hashlib.sha256(f"{result['name']} {name} {result['digest']}".encode()).hexdigest()[:10]


def texts(results):
    """The answers to explain exercises, without names, sorted by their codes: a column for the points is empty."""
    rows = []
    for result in results:
        for name, row in result["exercises"].items():
            if row.get("text") and row["status"] == "right":
                rows.append([code_of(result, name), name, row["of"], "", row["text"]])
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["code", "exercise", "of", "points", "text"])
    writer.writerows(sorted(rows))
    return text.getvalue()


def merge_marks(results, path):
    """Put the points of a filled ``texts.csv`` into the results; returns how many there were."""
    with open(path, newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    if not rows or not {"code", "points"} <= set(rows[0]):
        raise ValueError(f"{path} has no columns code and points: fill in the texts.csv of an earlier run")
    marks = {row["code"]: row["points"].strip() for row in rows if row["points"].strip()}
    merged = 0
    for result in results:
        for name, row in result["exercises"].items():
            if row.get("by_person") and (mark := marks.get(code_of(result, name))) is not None:
                row["points"] = within(mark, row["of"], name, path)
                row["marked"] = True
                merged += 1
        result["points"] = sum(row["points"] for row in result["exercises"].values())
    return merged


def within(mark, most, name, path):
    try:
        points = float(mark)
    except ValueError:
        points = -1.0
    if not 0 <= points <= most:
        raise ValueError(f"{path}: {mark!r} points for {name}, expected a number from 0 to {most}")
    return points


# ---------------------------------------------------------------- Canvas


def fill_gradebook(results, path, column=None):
    """The text of an instructor's own Canvas export with one column filled in, and the names that were not found.

    A student is found by ID, SIS User ID, SIS Login ID or name: one of them must be the submission's name.
    """
    with open(path, newline="", encoding="utf-8-sig") as file:
        rows = list(csv.reader(file))
    numbers = {result["set"] for result in results}
    head = rows[0] if rows else []
    found = [h for h in head if (column in h if column else any(f"{n}" in h.split("(")[0] for n in numbers if n))]
    if len(found) != 1:
        raise ValueError(
            f"{path}: {len(found)} columns fit {column or 'the number of the set'!r}: name one by --column, "
            f"of {', '.join(head)}"
        )
    target = head.index(found[0])
    keys = [i for i, name in enumerate(head) if name in ("Student", "ID", "SIS User ID", "SIS Login ID")]
    points, used = {result["name"].lower(): result["points"] for result in results}, set()
    for row in rows[1:]:
        ids = {row[i].strip().lower() for i in keys if i < len(row) and row[i].strip()}
        for name in ids & points.keys():
            row[target] = f"{points[name]:g}"
            used.add(name)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue(), sorted(points.keys() - used)
