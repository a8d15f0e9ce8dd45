"""What the reader builds: a cell with `# BUILD`, its blank in the work copy, and the answer in a fold below."""

import re

import nbformat

from .links import moved

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
