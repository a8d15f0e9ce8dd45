"""The sources of notebooks, `NN_topic.py` in py:percent, and the cells that they hold."""

import copy
import hashlib
import re
import runpy
from pathlib import Path

import jupytext
import nbformat

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("notebooks", "solutions")
# The cell that finds the package is folded: in JupyterLab, in Colab, and on the site by its tag.
FOLDED = {"jupyter": {"source_hidden": True}, "cellView": "form", "tags": ["hide-input"]}

# What JupyterLab writes when a notebook is opened: with the same Python it is not marked as changed before it is.
METADATA = {
    "accelerator": "GPU",
    "colab": {"gpuType": "T4", "provenance": []},
    "kernelspec": {
        "display_name": "Python 3 (ipykernel)",
        "language": "python",
        "name": "python3",
    },
    "language_info": {
        "codemirror_mode": {"name": "ipython", "version": 3},
        "file_extension": ".py",
        "mimetype": "text/x-python",
        "name": "python",
        "nbconvert_exporter": "python",
        "pygments_lexer": "ipython3",
        "version": "3.11.7",  # the one that the course was tried with
    },
}


# what experiments/page.py writes around a number that is stored; the reader gets the number alone
NUMBER_MARK = re.compile(r"<!-- (?:number: .+?|/number) -->")


def sources(root=ROOT, prefixes=()):
    """The notebooks' sources, or those whose names start with one of ``prefixes``."""
    found = []
    for folder in FOLDERS:
        found += sorted((Path(root) / folder).glob("[0-9][0-9]_*.py"))
    for prefix in prefixes:
        if not any(path.name.startswith(prefix) for path in found):
            names = ", ".join(sorted({path.stem for path in found})) or "none"
            raise ValueError(f"no notebook starts with {prefix!r}: there are {names}")
    return [path for path in found if not prefixes or path.name.startswith(tuple(prefixes))]


def work_copy(source):
    """Where a lecture's copy without outputs lies; None for a solution."""
    if source.parent.name != "notebooks":
        return None
    return source.parent / "work" / named(source, "work")


def named(source, kind):
    """The name of a notebook made from ``05_topic.py``: "05_work_topic.ipynb", so that tabs can be told apart."""
    number, _, topic = source.stem.partition("_")
    return f"{number}_{kind}_{topic}.ipynb"


def load_project(root=ROOT):
    """``flash_course/addresses.py`` by its path: importing the package would import torch as well."""
    return runpy.run_path(str(Path(root) / "flash_course" / "addresses.py"))


def read_source(path):
    """The cells of a source as a notebook without outputs, everything but text and tags left behind."""
    read = jupytext.read(path, fmt="py:percent")
    notebook = nbformat.v4.new_notebook(metadata=copy.deepcopy(METADATA))
    seen = {}
    for cell in read.cells:
        words = NUMBER_MARK.sub("", cell.source) if cell.cell_type == "markdown" else cell.source
        new = getattr(nbformat.v4, f"new_{cell.cell_type}_cell")(words)
        new.metadata = nbformat.from_dict({})
        if tags := cell.metadata.get("tags"):
            new.metadata["tags"] = tags
        text = f"{cell.cell_type}\n{words}"
        seen[text] = seen.get(text, 0) + 1  # equal cells still need ids of their own
        new.id = hashlib.sha256(f"{text}\n{seen[text]}".encode()).hexdigest()[:12]
        notebook.cells.append(new)
    for cell in code_cells(notebook)[:1]:
        cell.metadata.update(copy.deepcopy(FOLDED))
    return notebook


def code_cells(notebook):
    """The code cells that hold something."""
    return [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]


def tags_of(cell):
    return cell.metadata.get("tags", [])


def code_hash(notebook):
    """A hash of all that is executed, in order."""
    return hashlib.sha256(
        "\0".join(cell.source for cell in code_cells(notebook)).encode()
    ).hexdigest()


def outline(notebook):
    """What source, notebook and work copy must share."""
    return [(cell.cell_type, cell.source, tags_of(cell)) for cell in notebook.cells]


def markdown_of(notebook):
    return "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
