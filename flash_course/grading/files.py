"""Which files are graded, and under which names. Each file that is not says why, in a line of its own."""

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from flash_tutorial.shown import clean

ENDINGS = (".ipynb", ".py")
# of systems, beside students' files
JUNK = (
    "._",
    ".DS_Store",
    "__MACOSX",
    "__pycache__",
    ".ipynb_checkpoints",
    ".git",
)
NAME_BYTES = (
    150  # of a name in the results: a file system takes 255, and some of them are for endings
)


@dataclass(frozen=True)
class Found:
    """A file to read, or why it is not read."""

    path: Path
    name: str
    refused: str | None = None


@dataclass
class Handed:
    """What lies at some paths."""

    files: list  # of Found
    others: list  # paths that are neither a notebook nor a .py file, and places that cannot be looked into


def find_submissions(paths):
    """The files to grade: each path itself, or what lies in a folder; their names are all different."""
    files, others = [], []
    for top in map(Path, paths):
        if not os.path.lexists(top):
            raise ValueError(
                f"{top} does not exist: give a notebook, a .py file, or a folder of them"
            )
        if not top.is_dir():
            files.append(Found(top, name_of(top.stem)))
            continue
        for path, refused in below(top, others):
            inside = path.relative_to(top)
            files.append(Found(path, name_of("_".join([*inside.parts[:-1], inside.stem])), refused))
    if not files:
        raise ValueError(f"no .ipynb and no .py in {', '.join(map(str, paths))}")
    return Handed(with_own_names(files), others)


def below(top, others):
    """(path, why it is refused or None) of all with the right ending; what else lies there is added to ``others``."""
    for folder, folders, names in os.walk(top, onerror=lambda error: others.append(error.filename)):
        folders[:] = sorted(name for name in folders if not name.startswith(JUNK))
        for name in sorted([*folders, *names]):
            path = Path(folder, name)
            if name.startswith(JUNK):
                continue
            if path.suffix.lower() in ENDINGS:
                yield path, reason(path)
            elif name in names or path.is_symlink():
                others.append(path)


def reason(path):
    """Why a file in a folder is not even opened, or None."""
    try:
        mode = path.lstat().st_mode
    except OSError as error:
        return f"the file cannot be read: {error.strerror or error}"
    if stat.S_ISLNK(mode):
        return "this is a link to another file: hand in the file itself"
    if stat.S_ISDIR(mode):
        return "this is a folder, not a file: hand in a notebook or a .py file"
    if path.name.startswith("."):
        return "its name begins with a dot: hand it in under another name"
    return None


def name_of(text):
    """A name that a file system, a table and a terminal can take; a long or odd one ends in a digest of what it was."""
    shown = clean(text, 1000).replace("/", "_").strip() or "no name"
    a_folder = shown in (os.curdir, os.pardir)  # a folder of that name would be another one
    if shown == text and not a_folder and len(shown.encode()) <= NAME_BYTES:
        return shown
    digest = hashlib.sha256(os.fsencode(text)).hexdigest()[:8]
    return f"{shown.encode()[: NAME_BYTES - 9].decode(errors='ignore')}~{digest}"


def with_own_names(files):
    """Files that share a name get another one each, and are not read: which of them counts is for a person to say."""
    by_name, found = {}, []
    for file in files:
        by_name.setdefault(file.name.casefold(), []).append(file)
    for file in files:
        same = by_name[file.name.casefold()]
        if len(same) > 1:
            others = " and ".join(clean(str(other.path)) for other in same if other is not file)
            name = name_of(f"{file.name}, file {same.index(file) + 1}")
            file = Found(file.path, name, f"{others} has the same name: hand in one file")
        found.append(file)
    return found
