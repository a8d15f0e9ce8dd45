#!/usr/bin/env python3
"""Build and check the notebooks.

    python tools/notebooks.py build          every notebook
    python tools/notebooks.py build 00 03    those whose names start so
    python tools/notebooks.py text           the words alone, where no code has changed
    python tools/notebooks.py check          nothing is executed; a second or so

The source of a notebook is ``notebooks/NN_topic.py`` or ``solutions/NN_topic.py`` (jupytext, py:percent). ``build``
executes it and writes ``NN_topic.ipynb`` beside it, and for a lecture ``notebooks/work/NN_work_topic.ipynb``: the
same cells without outputs, its relative links turned so that they are right from there. Two builds with the same
versions give the same bytes, except in cells tagged ``timing``. ``text`` executes nothing and leaves the outputs as
they are. ``check`` finds what a reader must never meet: a pair out of step, outputs older than their code, a cell
that never ran, a link to a file that is not there.
"""

import argparse
import copy
import hashlib
import os
import posixpath
import re
import runpy
import sys
import tempfile
from html import escape
from itertools import chain, pairwise
from pathlib import Path

import jupytext
import nbformat

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("notebooks", "solutions")
MAX_BYTES = 500_000
MIN_COMPARED = 3
MAX_MINUTES, MAX_COURSE_MINUTES = 45, 480  # to read a lecture, and lectures 00 to 12
MIN_ALT = 20  # letters; less can only say that there is a picture
CELL_SECONDS = 600
# A misspelt tag would switch a comparison off without a word.
# The cell that finds the package is folded: in JupyterLab, in Colab, and on the site by its tag.
FOLDED = {"jupyter": {"source_hidden": True}, "cellView": "form", "tags": ["hide-input"]}
TAGS = {"hide-input", "nbval-check-output", "nbval-skip", "raises-exception", "timing"}

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


class BuildError(Exception):
    """A notebook that could not be built."""


# ---------------------------------------------------------------- files


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


# ---------------------------------------------------------------- cells


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


# ---------------------------------------------------------------- reading time

# what tools/stamp.py writes behind a link
ADDRESS = re.compile(r" \(\[(in Colab|on GitHub)\]\([^)\s]*\)\)")
# in the first cell of a lecture
HEADER = re.compile(
    r"(?<=\*\*Time\*\* )(?P<minutes>\S+) minutes to read(?:, about (?P<building>\S+) more to build)?"
)


def reading_minutes(notebook):
    """180 words a minute, 3 seconds for a line of code and 20 for a figure; without the first code cell, which all
    lectures share and which only installs."""
    text = ADDRESS.sub("", markdown_of(notebook))
    words = len(re.findall(r"\w[\w'-]*", text))
    lines = chain.from_iterable(cell.source.splitlines() for cell in code_cells(notebook)[1:])
    code = [line for line in lines if line.strip()]
    figures = sum("drawing.show(" in line or "lab.show(" in line for line in code)
    return round(words / 180 + 3 * len(code) / 60 + 20 * figures / 60)


def building_minutes(notebook):
    """A minute and a half for a line that the reader writes, to the next five minutes: what readers needed."""
    lines = sum(len(written_lines(cell.source)) for cell in notebook.cells if is_build(cell))
    return 5 * round(1.5 * lines / 5)


def minutes_said(notebook):
    """The time in a lecture's header."""
    said, building = f"{reading_minutes(notebook)} minutes to read", building_minutes(notebook)
    return f"{said}, about {building} more to build" if building else said


def write_minutes(source):
    """Put the times to read and to build into the source's header."""
    from flash_tutorial.files import write_text

    text, said = source.read_text(encoding="utf-8"), minutes_said(read_source(source))
    new = HEADER.sub(said, text, count=1)
    if new != text:
        write_text(source, new)


# ---------------------------------------------------------------- links

# Code in Markdown, which holds no links; or a link or picture by its target.
LINK = re.compile(
    r"^(?P<fence>```|~~~).*?^(?P=fence)|`[^`\n]*`|(?P<before>\]\(|\b(?:href|src)=[\"'])(?P<target>[^)\s\"']+)",
    flags=re.M | re.S,
)
ELSEWHERE = re.compile(r"\w+:|//|#")  # an address, an attachment, a place on the same page


def relative_links(text):
    """The targets of a page's links to other files of the project."""
    found = [match["target"] for match in LINK.finditer(text)]
    return [target for target in found if target and not ELSEWHERE.match(target)]


def anchors(path):
    """The places of a page of Markdown that a link may lead to, as GitHub names its headings."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def moved(notebook, folder, to):
    """A copy whose relative links lead from the folder ``to`` where they led from ``folder``."""

    def link(match):
        if not match["target"] or ELSEWHERE.match(match["target"]):
            return match[0]
        path = posixpath.relpath(posixpath.join(folder, match["target"]), to)
        return match["before"] + path

    copied = copy.deepcopy(notebook)
    for cell in copied.cells:
        if cell.cell_type == "markdown":
            cell.source = LINK.sub(link, cell.source)
    return copied


def blank_copy(notebook):
    """The work copy of a lecture that is not executed yet: what the reader builds is blank, its answer in a fold."""
    copied = moved(notebook, "notebooks", "notebooks/work")
    cells = []
    for cell in copied.cells:
        cells.append(cell)
        if is_build(cell):
            fold = nbformat.v4.new_markdown_cell(fold_of(cell.source), id=f"fold-{cell.id}")
            cells.append(fold)
            cell.source = blanked(cell.source)
    copied.cells = cells
    return copied


# ---------------------------------------------------------------- what the reader builds

BUILD = re.compile(r"^(?P<indent> *)# BUILD\n(?P<answer>.*?)^ *# END$\n?", flags=re.M | re.S)
CHECK = re.compile(r"\bmine\.check\((?P<name>\w+)\)")
FOLD = """<details><summary>One way to write it</summary>

```python
{answer}
```

</details>"""


def is_build(cell):
    """Whether a cell has something to write and a check of it."""
    if cell.cell_type != "code":
        return False
    return bool(BUILD.search(cell.source) and CHECK.search(cell.source))


def written_lines(source):
    """The lines of a cell that the reader writes."""
    answers = "\n".join(match["answer"] for match in BUILD.finditer(source))
    return [line for line in answers.splitlines() if line.strip()]


def blanked(source):
    """A cell as the reader gets it: dots in place of each answer, and a check that keeps what is right."""

    def dots(match):
        lines = written_lines(match[0])
        count = "1 line" if len(lines) == 1 else f"{len(lines)} lines"
        return f"{match['indent']}...  # your code: {count}\n"

    return CHECK.sub(r"mine.check(\g<name>, keep=True)", BUILD.sub(dots, source)).rstrip("\n")


def fold_of(source):
    """The answer of a cell: what stands above its check, as the lecture has it, without marks."""
    above = source[: source.rfind("\n", 0, CHECK.search(source).start())]
    lines = [line for line in above.splitlines() if line.strip() not in ("# BUILD", "# END")]
    return FOLD.format(answer="\n".join(lines).strip())


def build_problems(notebook):
    """Marks that do not come in pairs, and a build that nothing checks."""
    found = []
    for number, cell in enumerate(notebook.cells, 1):
        marks = re.findall(r"^ *# (BUILD|END)$", cell.source, flags=re.M)
        if marks != ["BUILD", "END"] * (len(marks) // 2):
            found.append(f"cell {number}: # BUILD and # END do not come in pairs")
        elif marks and not CHECK.search(cell.source):
            found.append(f"cell {number} has a build and no mine.check")
    return found


def pages(root=ROOT, prefixes=()):
    """(file, its Markdown) of each page with links: notebooks as built, problem sets, README and docs."""
    for source in sources(root, prefixes):
        yield source, markdown_of(read_source(source))
    for folder in ("notebooks/work", "exercises"):
        for path in sorted((Path(root) / folder).glob("*.ipynb")):
            if not prefixes or path.name.startswith(tuple(prefixes)):
                yield path, markdown_of(nbformat.read(path, as_version=4))
    if not prefixes:
        for path in [*sorted(Path(root).glob("*.md")), *sorted((Path(root) / "docs").glob("*.md"))]:
            yield path, path.read_text(encoding="utf-8")


def markdown_of(notebook):
    return "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def dead_links(root=ROOT, prefixes=()):
    """Links to files or headings that are not there, or that lie outside of the project, a line each."""
    found = []
    for path, text in pages(root, prefixes):
        name = path.relative_to(root).as_posix()
        for target in relative_links(text):
            to, _, place = target.partition("#")
            file = Path(os.path.normpath(path.parent / to))
            if not (file.exists() and file.is_relative_to(root)):
                found.append(f"{name}: dead link {target}")
            elif place and file.suffix == ".md" and place not in anchors(file):
                found.append(f"{name}: no such heading {target}")
        if path.suffix == ".md":
            here = re.findall(r"\]\(#([^)\s]+)\)", text)
            found += [f"{name}: no such heading #{to}" for to in here if to not in anchors(path)]
    return found


# ---------------------------------------------------------------- build


def execute(notebook, python=sys.executable, progress=None):
    """Run all cells, in place, with the interpreter that runs this script or another one, in an empty folder.

    ``progress``: the reader's progress file, with my_flash.py beside it; nobody's without one.
    """
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    class ThisInterpreter(AsyncKernelManager):
        # a kernelspec installed on the machine may start another Python
        argv = (str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}")
        kernel_spec = KernelSpec(argv=list(argv), display_name="Python 3", language="python")

    # A folder of its own, and neither the author's start-up files nor a plot back end set for scripts.
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile("w+") as log:
        environment = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}
        environment["IPYTHONDIR"] = os.path.join(folder, "ipython")
        nobodys = os.path.join(folder, "progress.json")
        environment["FLASH_TUTORIAL_PROGRESS"] = str(progress or nobodys)
        cells = os.path.join(folder, "cells")
        os.mkdir(cells)
        running = []
        client = NotebookClient(
            notebook,
            kernel_manager_class=ThisInterpreter,
            record_timing=False,
            timeout=CELL_SECONDS,
            on_cell_execute=lambda cell, cell_index: running.append(cell.source),
        )
        try:
            client.execute(cwd=cells, env=environment, stderr=log)
        except (CellExecutionError, CellTimeoutError) as error:
            raise BuildError(without_colours(str(error)).strip()) from error
        except DeadKernelError as error:
            log.seek(0)
            said = "".join(line for line in log if "Kernel is running over TCP" not in line)
            raise BuildError(
                f"the kernel died in this cell:\n{running[-1]}\n{said}".strip()
            ) from error
        for cell in code_cells(notebook):
            cell.outputs = settled(cell.outputs, folder)


def without_colours(text):
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def settled(outputs, folder):
    """Outputs without what changes from run to run: how printed text was cut, and where files lie."""
    result = []
    for output in outputs:
        if output.output_type == "error":
            output.traceback = [shortened(line, folder) for line in output.traceback]
        if output.output_type != "stream":
            result.append(output)
            continue
        if output.name == "stderr":
            output.text = shortened(output.text, folder)
        same = next((o for o in trailing_streams(result) if o.name == output.name), None)
        if same is not None:
            same.text += output.text
        elif output.name == "stdout" and (streams := trailing_streams(result)):
            # which of the two came first is chance
            result.insert(len(result) - len(streams), output)
        else:
            result.append(output)
    return result


def trailing_streams(outputs):
    """The streams since the last picture or value: at most one of each name."""
    last = next(
        (i for i in reversed(range(len(outputs))) if outputs[i].output_type != "stream"), -1
    )
    return outputs[last + 1 :]


def shortened(text, folder):
    """Paths in warnings and tracebacks, without the part that only this machine has."""
    text = re.sub(r"\S*ipykernel_\d+[/\\]\d+\.py", "cell", text)
    for place in sorted(
        {folder, str(ROOT), sys.prefix, sys.base_prefix, str(Path.home())}, key=len, reverse=True
    ):
        text = text.replace(place + os.sep, "")
    return text


def build(source, fill=execute):
    """Execute one source, then write its notebook and work copy. A failure leaves the old files as they were.

    ``fill(notebook)`` gives the cells their outputs.
    """
    from flash_tutorial.files import write_text

    if source.parent.name == "notebooks":
        write_minutes(source)
    notebook = read_source(source)
    blank = blank_copy(notebook)
    fill(notebook)
    notebook.metadata = nbformat.from_dict(
        METADATA | {"flash_tutorial": {"executed_code": code_hash(notebook)}}
    )
    for result, path in ((notebook, source.with_suffix(".ipynb")), (blank, work_copy(source))):
        if path is not None:
            nbformat.validate(result)
            path.parent.mkdir(exist_ok=True)
            write_text(path, nbformat.writes(result).rstrip("\n") + "\n")


def build_text(source):
    """Write a source's words into its notebook and work copy; outputs stay. BuildError if its code has changed."""

    def fill(notebook):
        path = source.with_suffix(".ipynb")
        stored = nbformat.read(path, as_version=4) if path.is_file() else None
        if stored is None or code_hash(stored) != code_hash(notebook):
            raise BuildError("its code has changed, or was never executed: build it")
        for cell, before in zip(code_cells(notebook), code_cells(stored), strict=True):
            cell.outputs = before.outputs
            cell.execution_count = before.execution_count

    build(source, fill)


# ---------------------------------------------------------------- check


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


def minutes_problems(wanted):
    minutes, expected = reading_minutes(wanted), minutes_said(wanted)
    first = wanted.cells[0].source if wanted.cells else ""
    said = HEADER.search(first)
    if said is None:
        return ["the first cell has no line with **Time** NN minutes to read"]
    if said[0] != expected:
        return [f"the header says {said[0]}, and it is {expected}: build again"]
    if minutes > MAX_MINUTES:
        return [f"{minutes} minutes to read: {MAX_MINUTES} at most"]
    return []


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


# ---------------------------------------------------------------- command line


def main(arguments=None, root=ROOT):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=("build", "text", "check"))
    parser.add_argument(
        "names", nargs="*", metavar="NN", help="the start of a notebook's name; all without one"
    )
    args = parser.parse_args(arguments)
    failed = []
    try:
        chosen = sources(root, args.names)
    except ValueError as error:
        parser.error(str(error))
    make = {"build": build, "text": build_text}.get(args.command)
    for source in chosen if make else []:
        name = source.relative_to(root).as_posix()
        print(f"{name} ...", flush=True)
        try:
            make(source)
        except BuildError as error:
            failed.append(name)
            print(f"{name} failed; what was built before is untouched\n{error}", file=sys.stderr)
    found = [line for line in check(root, args.names) if line.split(":")[0] not in failed]
    for line in found:
        print(line, file=sys.stderr)
    if failed or found:
        return 1
    print(f"{len(chosen)} notebooks in order")
    return 0


if __name__ == "__main__":
    sys.exit(main())
