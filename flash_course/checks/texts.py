"""Every sentence that a check can say, read from the ``.toml`` files beside the sets.

``general.toml`` holds what belongs to no exercise, ``set_05.toml`` the facts, hints, wrong answers and sentences of
set 05. A class in another language copies these files to a folder, translates what stands in quotes behind a key or
first in a row, and names the folder in the variable FLASH_COURSE_TEXTS. What is missing there is said in English.
"""

import os
import tomllib
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "sets"


@cache
def read(name, folder=FOLDER):
    """The tables of ``general.toml`` or ``set_05.toml``; none where a translation has no such file."""
    path = Path(folder) / f"{name}.toml"
    if folder != FOLDER and not path.is_file():
        if not path.parent.is_dir():
            raise ValueError(f"FLASH_COURSE_TEXTS: there is no folder {folder}")
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path} cannot be read: {error}") from None


def tables(exercise):
    """The tables of an exercise in the class's language, then in English."""
    folder = os.environ.get("FLASH_COURSE_TEXTS")
    name = "general" if exercise == "all" else f"set_{exercise[:2]}"
    found = [read(name)]
    if folder:
        found.insert(0, read(name, folder))
    if exercise == "all":
        return found
    return [of_set.get(exercise, {}) for of_set in found]


def fact(exercise, key, default=None):
    """What stands under a key of an exercise, such as "title" or "hints"."""
    return next((table[key] for table in tables(exercise) if key in table), default)


def word(exercise, text):
    """A name of a case or a part as it is shown: a translation has it in the table ``words``."""
    return fact(exercise, "words", {}).get(text, text)


def say(exercise, key, /, **fields):
    """The sentence of an exercise, or where it has none of that key, the general one; words in braces filled in."""
    places = tables("all")
    if exercise != "all":
        places = [*sentence_tables(exercise), *places]
    rows = [place[key] for place in places if key in place]
    texts = (row if isinstance(row, str) else row[0] for row in rows)
    text = next(filter(None, texts))  # an empty one: the general
    if fields:
        text = text.format(**fields)
    return text


def sentence_tables(exercise):
    """The tables of an exercise that hold sentences, in the order in which they are looked at."""
    found = []
    for table in tables(exercise):
        found += [table.get("wrong", {}), table.get("says", {})]
    return found


def sentences_of(exercise):
    """The keys that an exercise has a sentence for."""
    return set().union(*sentence_tables(exercise))
