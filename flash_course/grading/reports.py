"""What is written about a class: results as JSON and CSV, a page for each student, texts for a marker."""

import json
from collections import Counter
from itertools import chain
from pathlib import Path

from flash_tutorial.files import write_text
from flash_tutorial.shown import clean

from ..checks.exercise import load_set
from ..checks.texts import say
from ..checks.verdict import BY_INSTRUCTOR
from . import markdown
from .marks import texts
from .spreadsheet import written_rows


def write_reports(results, out, pool, seed, marks=None):
    """All files of a graded class; each is written whole or not at all. ``marks``: what a person has given so far."""
    out = Path(out)
    facts = {
        "seed": seed,
        "held_out_faults": bool(pool),
        "note": say("all", "with pool" if pool else "without pool"),
    }
    facts["isolation"] = isolation(results)
    hidden = ("key", "digest", "seal")
    rows = [{k: v for k, v in result.items() if k not in hidden} for result in results]
    write_text(out / "results.json", json.dumps(facts | {"students": rows}, indent=1) + "\n")
    write_text(out / "results.csv", table(results))
    write_text(out / "texts.csv", texts(results, marks or {}))
    (out / "feedback").mkdir(exist_ok=True)
    for result in results:
        write_text(out / "feedback" / f"{result['name']}.md", page(result))


def isolation(results, why=None):
    """One line: what kept the submissions apart, and what it does not hold."""
    outside = [r["name"] for r in results if r["exercises"] and not r["sandbox"]]
    if not outside:
        return say("all", "in the sandbox")
    reason = f" ({why})" if why else ""
    return say("all", "without the sandbox", count=len(outside), of=len(results), why=reason)


def exercises_of(results):
    return list(dict.fromkeys(chain.from_iterable(result["exercises"] for result in results)))


def table(results):
    """One line for each student; a text that waits for its points is blank."""
    names = exercises_of(results)
    rows = [["name", "set", "points", "of", *names, "STUDENT"]]
    for r in results:
        points = [cell(r["exercises"].get(name)) for name in names]
        rows.append(
            [
                r["name"],
                r["set"],
                number(r["points"]),
                r["of"],
                *points,
                clean(r.get("student") or "", 100),
            ]
        )
    return written_rows(rows)


def cell(row):
    if row is None or waits(row):
        return ""
    return number(row["points"])


def number(points):
    return float(f"{points:g}") if points % 1 else int(points)


def page(result):
    """A student's page, in Markdown."""
    shared = shared_notes(result)
    lines = [f"# {markdown.text(heading(result))}", "", *listed([*result["notes"], *shared])]
    facts = load_set(result["set"]) if result["set"] else {}
    for name, row in result["exercises"].items():
        help_lines = help_with(facts[name], row, student_in(row, result))
        lines += [f"## {name} {markdown.course_text(facts[name].title)}: {state(row)}", ""]
        lines += listed(
            [*row["said"], *own_notes(row, shared)], map(markdown.course_text, help_lines)
        )
    return "\n".join(lines).rstrip() + "\n"


def shared_notes(result):
    """What each exercise has met, such as an import that fails: it is said once, on top."""
    first, *others = [row["notes"] for row in result["exercises"].values()] or [[]]
    return [note for note in first if others and all(note in notes for notes in others)]


def own_notes(row, shared):
    return [note for note in row["notes"] if note not in shared]


def listed(lines, more=()):
    """A list of lines, which may be anybody's text, and of more that are Markdown already."""
    items = [f"- {line}" for line in (*map(markdown.text, lines), *more)]
    return [*items, ""] if items else []


def student_in(row, result):
    """The STUDENT that an exercise was judged with."""
    of_file = "me" if result["student"] is None else result["student"]
    return row.get("student", of_file)


def help_with(exercise, row, student):
    """What a page has besides the verdict: the numbers that were drawn, and for what went wrong a hint."""
    said = []
    numbers = exercise.numbers(student)
    if numbers:
        said.append(
            say(
                "all",
                "drawn",
                numbers=", ".join(f"{name} = {value}" for name, value in numbers.items()),
            )
        )
    if row["status"] in ("wrong", "raises") and not row.get("changed"):
        said += [
            f"{say('all', 'first hint')} {exercise.hints[0]}",
            say("all", "lecture", number=exercise.id[:2]),
        ]
    return said


def heading(result):
    """Whose, which set, how many points, and how many a person has still to give."""
    if not result["exercises"]:
        return f"{result['name']}: not read"
    waiting = sum(row["of"] for row in result["exercises"].values() if waits(row))
    line = f"{result['name']}: set {result['set']}, {result['points']:g} of {result['of']} points"
    if waiting:
        line += f"; {say('all', 'waiting', points=waiting)}"
    return line


def state(row):
    """Status and points of an exercise, in words."""
    if waits(row):
        return say("all", "recorded")
    if row["status"] == BY_INSTRUCTOR:  # of `check`, in a copy without answers
        return say("all", BY_INSTRUCTOR)
    by_person = row.get("marked") or row.get("changed")
    status = say("all", "recorded" if by_person else row["status"])
    return f"{status}, {say('all', 'points', got=format(row['points'], 'g'), of=row['of'])}"


def waits(row):
    """Whether a person has still to mark a text."""
    return bool(
        row.get("by_person") and row["status"] == "right" and not {"marked", "changed"} & {*row}
    )


def lacks_a_name(exercise, row):
    """Whether an answer, or something that it calls, is not defined in the file."""
    if row["status"] == "raises":
        return any("NameError: " in line for line in row["said"])
    missing = {say("all", "missing", name=name) for name in load_set(exercise[:2])[exercise].names}
    return row["status"] == "not attempted" and bool(missing & {*row["notes"]})


def summary(results, limits):
    """What an instructor should look at before the points count, a line each."""
    found = [
        f"{r['name']}: not read: {' '.join(r['notes'])}" for r in results if not r["exercises"]
    ]
    sets = Counter(r["set"] for r in results if r["exercises"]).most_common()
    for number, _ in sets[1:]:
        names = ", ".join(r["name"] for r in results if r["set"] == number)
        found.append(f"most submissions are of set {sets[0][0]}, but of set {number}: {names}")
    rows = []
    for r in results:
        rows += [(f"{r['name']} {name}", row) for name, row in r["exercises"].items()]
        if r["exercises"]:
            found += [f"{r['name']}: {note}" for note in r["notes"]]
    lacking = [
        " ".join([r["name"], *names])
        for r in results
        if (names := [name for name, row in r["exercises"].items() if lacks_a_name(name, row)])
    ]
    if lacking:
        found.append(
            f"a name is missing, so a cell may be gone, renamed or unreadable: {', '.join(lacking)}"
        )
    if refused := [
        name
        for name, row in rows
        if row.get("text") and row["status"] == "wrong" and not row.get("changed")
    ]:
        found.append(f"texts that the check turned down, with 0 points: {', '.join(refused)}")
    if slow := [name for name, row in rows if row.get("stopped")]:
        found.append(
            f"stopped after {limits.seconds:g} seconds of computing or {limits.on_the_clock:g} on the clock: "
            f"{', '.join(slow)}"
        )
    if aside := [name for name, row in rows if row.get("set_aside")]:
        found.append(f"set aside, since the grader has ended there before: {', '.join(aside)}")
    by_student = {}
    for r in results:
        if r.get("student") is not None:
            by_student.setdefault((r["set"], r["student"]), []).append(r["name"])
    for (number, student), names in by_student.items():
        if len(names) > 1:
            same = f"the same STUDENT = {clean(student, 100)!r}, and so the same numbers"
            found.append(f"{same} in set {number}: {', '.join(names)}")
    if count := sum(waits(row) for _, row in rows):
        found.append(f"{count} texts wait for a person's points, in texts.csv")
    return found
