"""The scripts of tools/ and the modules of docs/site, imported where they lie."""

import importlib.machinery
import importlib.util
import sys
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def script(name):
    """A script of tools/ by its file's name; it may import its neighbours."""
    path = ROOT / "tools" / name
    loader = importlib.machinery.SourceFileLoader(f"tools_{path.stem}", str(path))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    with importable(path.parent):
        sys.modules[loader.name] = module  # a dataclass asks for its module
        loader.exec_module(module)
    return module


def site_module(name):
    with importable(ROOT / "docs" / "site"):
        return importlib.import_module(name)


@contextmanager
def importable(folder):
    """A folder on Python's path, and no bytecode in it: a script without .py would get its own beside it."""
    before = sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        sys.dont_write_bytecode = before
