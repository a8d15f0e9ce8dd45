"""What a process that has run a student's code says of an exercise is read like a stranger's letter.

It is bounded and has a strict form. Points are not in it: they are counted here, from the parts that passed.
"""

from flash_tutorial.shown import LINE, clean

from ..checks.expected import is_copy
from ..checks.texts import say
from ..checks.verdict import BY_INSTRUCTOR, NOT_ATTEMPTED, RAISES, RIGHT, WRONG

STATES = (NOT_ATTEMPTED, RAISES, WRONG, RIGHT)
if is_copy():
    STATES += (BY_INSTRUCTOR,)
LINES, LETTERS = 30, 700  # lines, characters of all lines of an exercise
TEXT = 20_000  # characters of an answer in prose
LISTS = ("said", "notes")  # on the answer, on the file


def row_of(exercise, message):
    """What is stored of an exercise; a message of another form costs all its points."""
    if (
        isinstance(message, dict)
        and message.keys() == {"failed"}
        and isinstance(message["failed"], str)
    ):
        return failed(exercise, message["failed"])
    if not well_formed(exercise, message):
        return failed(exercise, say("all", "malformed"))
    got = sum(exercise.parts[part] for part, passed in message["parts"].items() if passed)
    row = {
        "status": message["status"],
        "points": 0 if exercise.kind == "explain" else got,
        "of": exercise.points,
    }
    row |= {name: bounded(message[name]) for name in LISTS}
    # its numbers are drawn from it again
    row["student"] = message["student"][:LINE].encode(errors="replace").decode()
    return row | by_person(exercise, message["text"])


def bounded(lines):
    """Lines that are ``LETTERS`` long together: not much can be carried out in them, such as held-out cases."""
    shown, left = [], LETTERS
    for line in lines[:LINES]:
        if left > 0:
            shown.append(clean(line, left))
            left -= len(line)
    return shown


def failed(exercise, said, status=WRONG):
    """No points, and a sentence that says why."""
    row = {"status": status, "points": 0, "of": exercise.points, "said": [clean(said)], "notes": []}
    return row | by_person(exercise, None)


def student_of(exercises, rows):
    """The STUDENT that the personal numbers were drawn from; else what another exercise found, or None."""
    found = [name for name in rows if "student" in rows[name]]
    drawn = [name for name in found if exercises[name].draw]
    return next((rows[name]["student"] for name in [*drawn, *found]), None)


def by_person(exercise, text):
    if exercise.kind != "explain":
        return {}
    if text is not None:
        text = clean(text, TEXT, keep="\n\t")
    return {"by_person": True, "text": text}


def well_formed(exercise, message):
    """Whether a message has the fields of a verdict, with values that fit each other."""
    if not isinstance(message, dict) or message.keys() != {
        "status",
        "parts",
        "text",
        "student",
        *LISTS,
    }:
        return False
    parts = message["parts"]
    lists = [message[name] for name in LISTS]
    text = message["text"]
    if not isinstance(parts, dict) or parts.keys() != exercise.parts.keys():
        return False
    passed = [*parts.values()]
    return (
        message["status"] in STATES
        and all(type(one) is bool for one in passed)
        and all(
            isinstance(lines, list) and all(isinstance(line, str) for line in lines)
            for lines in lists
        )
        and (text is None or isinstance(text, str))
        and isinstance(message["student"], str)
        and (message["status"] == RIGHT) == all(passed)
        and (message["status"] not in (NOT_ATTEMPTED, BY_INSTRUCTOR) or not any(passed))
    )
