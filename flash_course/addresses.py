"""Where this project lies: one constant, and all that is made from it.

Until the constant names a repository no page holds an address of it: pages link to each other by relative paths.
``python tools/stamp.py OWNER/REPO TAG`` writes it here and into the first cells, and the addresses behind the links of
README and notebooks; nobody edits this file by hand.
"""

import posixpath
import re

REPOSITORY, TAG = "OWNER/REPO", "main"

PLACEHOLDER = "OWNER/REPO"  # until the project is stamped nothing can be installed from its address

# The first code cell of every notebook, which tools/notebooks.py folds. It must run before the package is there, hence
# its own copy of the constant.
_FIRST_CELL = """\
# @title Setup: finds the course's package, or installs it on Colab. There is nothing to read here.
import importlib.metadata
import importlib.util
import subprocess
import sys
import zipfile
from pathlib import Path

CONSTANT  # written by tools/stamp.py


def find_package():  # a folder or a zip of the project: around this notebook, uploaded to Colab, or on Drive
    places = [Path.cwd(), *Path.cwd().parents, Path("/content"), Path("/content/drive/MyDrive")]
    for folder in [*places, *(inner for place in places[-2:] for inner in sorted(place.glob("*/")))]:
        if (folder / "flash_tutorial" / "__init__.py").is_file():
            return str(folder)
    for archive in filter(zipfile.is_zipfile, (file for place in places for file in sorted(place.glob("*.zip")))):
        if any(name.endswith("flash_tutorial/__init__.py") for name in zipfile.ZipFile(archive).namelist()):
            return str(archive)
    if REPOSITORY.startswith("OWNER/"):
        raise RuntimeError("no flash_tutorial here: upload the project's zip to Colab's files, or set REPOSITORY above")
    return f"git+https://github.com/{REPOSITORY}@{TAG}"


if "google.colab" in sys.modules:
    there = importlib.util.find_spec("flash_tutorial") is not None
    if not there or (TAG[:1] == "v" and importlib.metadata.version("flash-tutorial") != TAG[1:]):
        print("installing", source := find_package())
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", source], check=True)
        importlib.invalidate_caches()

from flash_tutorial.training.devices import describe_device

print(describe_device())"""


def is_stamped() -> bool:
    """Whether the constant names a real repository."""
    return REPOSITORY != PLACEHOLDER


def read_address(path) -> str:
    """The page on GitHub that shows ``path``, a file of the repository with forward slashes."""
    return f"https://github.com/{REPOSITORY}/blob/{TAG}/{path}"


def work_address(path) -> str:
    """The address that opens the notebook ``path`` in Colab."""
    return f"https://colab.research.google.com/github/{REPOSITORY}/blob/{TAG}/{path}"


def install_address() -> str:
    """What pip takes to install the package."""
    return f"git+https://github.com/{REPOSITORY}@{TAG}"


# A relative link to a notebook, or the line that installs a copy; then the address that an earlier stamp wrote there.
_NOTEBOOK = re.compile(
    r"(?P<link>\[[^\]\n]*\]\((?!\w+:)(?P<target>[^)\s#]+\.ipynb)\))(?: \(\[(?:in Colab|on GitHub)\]\([^)\s]*\)\))?"
)
_INSTALL = re.compile(r"`pip install \.`(?: \(without a copy: `[^`]*`\))?")


def with_addresses(text, folder) -> str:
    """A page's Markdown with the repository's addresses where they help, and with none as long as it has no name.

    Links between pages are relative: they work in a copy, in JupyterLab and on GitHub. Behind those that lead to a work
    copy or a problem set comes its address in Colab. A page that is read in Colab, where no relative link works, shows
    behind a finished page its address on GitHub. ``folder`` is the page's own: "" for README.md, or "notebooks".
    """
    install = f" (without a copy: `pip install {install_address()}`)" if is_stamped() else ""
    text = _INSTALL.sub(lambda _: f"`pip install .`{install}", text)
    return _NOTEBOOK.sub(lambda match: match["link"] + _address_of(match["target"], folder), text)


def _address_of(target, folder):
    path = posixpath.normpath(posixpath.join(folder, target))
    if is_stamped() and path.startswith(("notebooks/work/", "exercises/")):
        return f" ([in Colab]({work_address(path)}))"
    if is_stamped() and path.startswith("notebooks/") and folder:
        return f" ([on GitHub]({read_address(path)}))"
    return ""


def first_cell() -> str:
    """The first code cell of every notebook.

    On Colab it installs the package without its dependencies, so that Colab's torch and NumPy stay as they are: from a
    copy that lies there, as a folder or a zip, else from the repository's address. What is installed already stays,
    unless it is of another version than the tag's.
    """
    return _FIRST_CELL.replace("CONSTANT", f'REPOSITORY, TAG = "{REPOSITORY}", "{TAG}"')
