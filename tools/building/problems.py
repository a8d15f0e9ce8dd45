"""What a reader must never meet: pairs out of step, cells that never ran, pictures without words, and the rest."""

import re
from html import escape
from itertools import pairwise
from pathlib import Path

import nbformat

from .blanks import blank_copy, build_problems
from .links import dead_links, relative_links
from .minutes import minutes_problems, reading_minutes
from .sources import (
    FOLDERS,
    ROOT,
    code_cells,
    code_hash,
    load_project,
    markdown_of,
    outline,
    read_source,
    sources,
    tags_of,
    work_copy,
)

MAX_BYTES = 500_000
MIN_COMPARED = 3
MAX_COURSE_MINUTES = 480  # to read lectures 00 to 12
MIN_ALT = 20  # letters; less can only say that there is a picture
# A misspelt tag would switch a comparison off without a word.
TAGS = {"hide-input", "nbval-check-output", "nbval-skip", "raises-exception", "timing"}


def problems(source, project):
    """All that is wrong with one notebook, a line each; nothing is executed.

    ``project`` is what ``load_project`` gives.
    """
    path = source.with_suffix(".ipynb")
    if not path.is_file():
        return [f"{path.name} was never built"]
    wanted, stored = read_source(source), nbformat.read(path, as_version=4)
    found = [*pair_problems(wanted, stored), *output_problems(stored), *text_problems(wanted)]
    if (size := path.stat().st_size) > MAX_BYTES:
        found.append(
            f"{size // 1000} KB: {MAX_BYTES // 1000} at most, so draw fewer or smaller figures"
        )
    if project["with_addresses"](text := markdown_of(wanted), source.parent.name) != text:
        found.append(
            "the addresses behind its links are not those of the repository: run tools/stamp.py"
        )
    code = code_cells(wanted)
    if not code or code[0].source != project["first_cell"]():
        found.append(
            "the first code cell is not flash_course.addresses.first_cell(): copy that, or run tools/stamp.py"
        )
    if source.parent.name == "notebooks":
        found += lecture_problems(source, wanted, stored, project)
    return found


def pair_problems(wanted, stored):
    found = []
    if outline(wanted) != outline(stored):
        found.append(
            f"source and notebook differ from cell {first_difference(wanted, stored)} on: build again"
        )
    if stored.metadata.get("flash_tutorial", {}).get("executed_code") != code_hash(wanted):
        found.append("outputs are older than the code: build again")
    return found


def first_difference(a, b):
    """Number of the first cell, from 1, in which two notebooks differ."""
    a, b = outline(a), outline(b)
    return next((i for i, (x, y) in enumerate(zip(a, b), 1) if x != y), min(len(a), len(b)) + 1)


def output_problems(stored):
    found = []
    for number, cell in enumerate(stored.cells, 1):
        if cell.cell_type != "code" or not cell.source.strip():
            continue
        errors = any(output.output_type == "error" for output in cell.outputs)
        expected = "raises-exception" in tags_of(cell)
        if cell.execution_count is None:  # nbval compares nothing with a cell that never ran
            found.append(f"cell {number} was never executed")
        elif errors and not expected:
            found.append(
                f"cell {number} holds an error that is not expected (tag raises-exception)"
            )
        elif expected and not errors:
            found.append(f"cell {number} is tagged raises-exception and raised nothing")
        found += [f"cell {number} {problem}" for problem in picture_problems(cell.outputs)]
    return found


def picture_problems(outputs):
    """Pictures that somebody who cannot see them would miss.

    The alt text stands in the picture's metadata, and once more in words below it: JupyterLab 4.6 drops the first.
    """
    found = []
    for output, below in zip(outputs, [*outputs[1:], {}]):
        for kind in output.get("data", {}):
            if not kind.startswith("image/"):
                continue
            alt = output.metadata.get(kind, {}).get("alt", "")
            if len(alt.strip()) < MIN_ALT:
                found.append(
                    f"shows a picture whose alt text has {len(alt.strip())} letters: use drawing.show"
                )
            elif escape(alt) not in "".join(below.get("data", {}).get("text/html", "")):
                found.append("shows a picture without its words below it: use drawing.show")
    return found


def text_problems(notebook):
    found, levels = [], []
    for number, cell in enumerate(notebook.cells, 1):
        if cell.cell_type != "markdown":
            continue
        text = re.sub(r"^(```|~~~).*?^\1", "", cell.source, flags=re.M | re.S)
        text = re.sub(r"`[^`\n]*`", "", text)
        pictures = re.findall(r"!\[([^\]]*)\]", text)
        pictures += [
            (re.search(r"""\balt\s*=\s*(["'])(.*?)\1""", tag) or ["", "", ""])[2]
            for tag in re.findall(r"<img\b[^>]*>", text)
        ]
        if not all(alt.strip() for alt in pictures):
            found.append(f"cell {number} has a picture without alt text")
        if re.search(r"<h[1-6]\b|^(?![ \t]*[|#>*-]).*\S.*\n {0,3}(=+|-+)[ \t]*$", text, flags=re.M):
            found.append(
                f"cell {number} has a heading that is not written with #, so its level is not checked"
            )
        levels += [len(marks) for marks in re.findall(r"^ {0,3}(#{1,6})\s", text, flags=re.M)]
    if levels.count(1) != 1 or levels[0] != 1:
        found.append(
            f"{levels.count(1)} headings of level 1: exactly one is needed, before all others"
        )
    if any(after > before + 1 for before, after in pairwise(levels)):
        found.append("a heading skips a level")
    return found


def lecture_problems(source, wanted, stored, project):
    """What holds for a lecture and not for a solution."""
    found = []
    compared = [cell for cell in code_cells(stored) if "nbval-check-output" in tags_of(cell)]
    if any(not has_text(cell) for cell in compared):
        found.append("a cell tagged nbval-check-output prints nothing, so nothing is compared")
    if (number := sum(map(has_text, compared))) < MIN_COMPARED:
        found.append(
            f"{number} compared cells: at least {MIN_COMPARED} need the tag nbval-check-output"
        )
    if any({"timing", "nbval-skip"} & {*tags_of(cell)} for cell in compared):
        found.append(
            "a compared cell is tagged timing or nbval-skip: its output cannot be compared"
        )
    if unknown := set().union(*map(tags_of, wanted.cells)) - TAGS:
        found.append(
            f"unknown tags {', '.join(sorted(unknown))}: expected {', '.join(sorted(TAGS))}"
        )
    first = wanted.cells[0].source if wanted.cells else ""
    head = relative_links(first)
    if missing := {source.with_suffix(".ipynb").name, f"work/{work_copy(source).name}"} - {*head}:
        found.append(f"the first cell does not link to {', '.join(sorted(missing))}")
    found += minutes_problems(wanted)
    found += build_problems(wanted)
    ids = [cell.id for cell in blank_copy(stored).cells]  # kept where addresses were stamped since
    return found + work_problems(work_copy(source), blank_copy(wanted), ids)


def has_text(cell):
    """Whether nbval has something to compare: of a picture it sees only that there is one."""
    for output in cell.outputs:
        data = output.get("data", {})
        if output.get("name") == "stdout" or ("text/plain" in data and "image/png" not in data):
            return True
    return False


def work_problems(path, wanted, ids):
    if not path.is_file():
        return [f"work/{path.name} is missing: build again"]
    blank, found = nbformat.read(path, as_version=4), []
    if outline(blank) != outline(wanted):
        found.append(
            f"work copy and source differ from cell {first_difference(blank, wanted)} on: build again"
        )
    if [cell.id for cell in blank.cells] != ids:
        found.append("work copy and notebook have other cell ids: build again")
    if any(
        cell.outputs or cell.execution_count is not None
        for cell in blank.cells
        if cell.cell_type == "code"
    ):
        found.append("the work copy holds outputs: build again")
    return found


def orphans(root=ROOT):
    """Built notebooks without a source."""
    have = set()
    for source in sources(root):
        have |= {source.with_suffix(".ipynb"), work_copy(source)}
    built = []
    for folder in (*FOLDERS, "notebooks/work"):
        built += (Path(root) / folder).glob("*.ipynb")
    return [
        f"{path.relative_to(root).as_posix()}: no source .py"
        for path in sorted(built)
        if path not in have
    ]


def check(root=ROOT, prefixes=()):
    """The problems of all notebooks, or of those asked for, each with its file's name."""
    project = load_project(root)
    found = []
    for source in sources(root, prefixes):
        name = source.relative_to(root).as_posix()
        found += [f"{name}: {problem}" for problem in problems(source, project)]
    if not prefixes:
        lectures = [
            path for path in sources(root) if path.parent.name == "notebooks" and path.name < "13"
        ]
        minutes = sum(reading_minutes(read_source(path)) for path in lectures)
        if minutes > MAX_COURSE_MINUTES:
            found.append(
                f"lectures 00 to 12 take {minutes} minutes to read: {MAX_COURSE_MINUTES} at most"
            )
    found += dead_links(root, prefixes)
    if not prefixes:
        found += orphans(root)
    return found
