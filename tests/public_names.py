"""What readers import by name, from both packages: what is asked of each public name, tests ask of these."""

import ast
from pathlib import Path

import flash_course
import flash_tutorial
from flash_tutorial import corpora, experiments, training

PACKAGES = (flash_tutorial, flash_course)


def public():
    """(name, value) of all that a reader imports by name, without the constants."""
    found = {}
    for package in (*PACKAGES, corpora, training, experiments):
        names = getattr(package, "__all__", None) or [
            alias.asname
            for node in ast.parse(Path(package.__file__).read_text(encoding="utf-8")).body
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        ]
        found |= {name: getattr(package, name) for name in names}
    return {name: value for name, value in found.items() if callable(value)}


PUBLIC = public()
