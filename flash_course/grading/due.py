"""Which exercises count for a class: all of a set, its core, or those that are named."""

from ..checks.exercise import SETS, load_set

CORE = "core"


def read_due(text, number=None):
    """What ``--only`` says, of one set or any: None for all, ``"core"``, or the list of names in ``"05.1,05.3"``."""
    if text is None or text == CORE:
        return text
    names = [name.strip() for name in text.split(",")]
    sets = SETS if number is None else (number,)
    if unknown := [
        name for name in names if name[:2] not in sets or name not in load_set(name[:2])
    ]:
        raise ValueError(
            f"--only {text}: there is no exercise {unknown[0]!r} here. Expected {CORE}, or exercises such as 05.1,05.3"
        )
    return names


def is_due(name, only):
    if only is None:
        return True
    if only == CORE:
        return load_set(name[:2])[name].core
    return name in only


def due(results, only):
    """The results with the exercises that count, and the points of these. A set of which none is named stays whole."""
    return [
        counted(r, {name: row for name, row in r["exercises"].items() if is_due(name, only)})
        for r in results
    ]


def counted(result, rows):
    rows = rows or result["exercises"]
    points, most = (sum(row[what] for row in rows.values()) for what in ("points", "of"))
    return result | {"exercises": rows, "points": points, "of": most}
