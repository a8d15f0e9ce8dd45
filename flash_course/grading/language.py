"""The class's language, looked through before anything is graded: a slip in a translation is said to who made it."""

import os
import re
from pathlib import Path

from ..checks.texts import FOLDER, read


def language():
    """The text of all files in the folder FLASH_COURSE_TEXTS, or "". A ValueError names what cannot be said."""
    folder = os.environ.get("FLASH_COURSE_TEXTS")
    if not folder:
        return ""
    paths = sorted(Path(folder).glob("*.toml"))
    known = {path.name for path in FOLDER.glob("*.toml")}
    if unknown := [path.name for path in paths if path.name not in known]:
        raise ValueError(
            f"{folder}: the course has no {unknown[0]}. Expected general.toml, or files such as set_05.toml"
        )
    if not paths:
        raise ValueError(
            f"FLASH_COURSE_TEXTS: {folder} has no general.toml and no set_05.toml or such"
        )
    for path in paths:
        compare(path, dict(sentences(read(path.stem, folder))), dict(sentences(read(path.stem))))
    return "\0".join(path.read_text(encoding="utf-8") for path in paths)


def compare(path, translated, english):
    """Each sentence is one of the course's, and has no words in braces that are not filled in."""
    for place, text in translated.items():
        if place not in english:
            raise ValueError(
                f"{path}: {' '.join(place)!r} is nothing that the course says: keep the keys as they are"
            )
        if more := in_braces(text) - in_braces(english[place]):
            raise ValueError(
                f"{path}: {' '.join(place)!r} has {', '.join(sorted(more))}, expected no words in braces but "
                f"{', '.join(sorted(in_braces(english[place]))) or 'none'}"
            )


def sentences(tables):
    """(where it stands, text) of each sentence in the tables of a file."""
    for name, table in tables.items():
        if isinstance(table, str):
            yield (name,), table
            continue
        yield (name,), ""
        for part in ("wrong", "says"):
            for key, row in table.get(part, {}).items():
                text = row if isinstance(row, str) else "".join(row[:1])
                yield (name, part, key), text


def in_braces(text):
    return {*re.findall(r"{\w*}", text)}
