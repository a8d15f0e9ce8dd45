"""``flash-tutorial new``: a folder to start a class project from."""

import datetime
import os
import re
import shutil
from importlib import resources
from pathlib import Path

from flash_tutorial.files import refused, write_text

from .addresses import install_address, is_stamped

TEXT = {".md", ".cff", ".txt", ".ipynb"}  # files with {{blanks}}


def create_project(folder) -> Path:
    """Copy the template to ``folder``, which must not exist or be empty, and fill in name, date and install line.

    It appears whole or not at all. ValueError: the folder holds something, its name is not one for a project, or it
    cannot be written.
    """
    folder = Path(folder)
    name = folder.resolve().name
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", name):
        raise ValueError(
            f"{name!r} is no name for a project: expected letters, digits, '-', '_' and '.', as my-project"
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} exists and is not an empty folder: choose another name")
    blanks = {"name": name, "date": datetime.date.today().isoformat(), "install": install_line()}
    part = folder.with_name(f".{name}.{os.getpid()}.part")
    try:
        shutil.copytree(template(), part, ignore=shutil.ignore_patterns("__pycache__"))
        for path in part.iterdir():
            if path.suffix in TEXT:
                text = path.read_text(encoding="utf-8")
                for blank, value in blanks.items():
                    text = text.replace("{{" + blank + "}}", value)
                write_text(path, text)
        # in the package it would hide files of this repository
        (part / "gitignore").rename(part / ".gitignore")
        if folder.exists():
            folder.rmdir()
        os.replace(part, folder)
    except shutil.Error as error:  # copytree's list of all that it could not copy: (from, to, why)
        why = re.sub(r"\[Errno \d+\] |: '.*", "", str(error.args[0][0][-1]))
        raise ValueError(
            f"{folder} could not be made ({why}): free some space or choose another folder"
        ) from error
    except (OSError, ValueError) as error:
        raise refused(f"{folder} could not be made", error) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def template() -> Path:
    """The folder of the template; the package is always installed as plain files."""
    return Path(str(resources.files("flash_course"))) / "template"


def install_line():
    """What requirements.txt says of this package."""
    if is_stamped():
        return f"flash-tutorial @ {install_address()}"
    return "# flash-tutorial: on no package index; install it from your course's repository, before this file"
