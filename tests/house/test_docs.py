"""Glossary, symptoms and questions: the names in them exist, and the tables are whole."""

import re
import runpy
from pathlib import Path

import nbformat
import pytest

from flash_tutorial import check as properties

# they read the README and the docs, which a fork rewrites
pytestmark = [
    pytest.mark.quick,
    pytest.mark.fork,
]

DOCS = Path(__file__).resolve().parents[2] / "docs"


def rows(name):
    """The cells of a page's table, without its head."""
    lines = (DOCS / name).read_text(encoding="utf-8").splitlines()
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in lines
        if line.startswith("| ")
    ][2:]


def lectures(text):
    return {path.name[:2] for path in (DOCS.parent / "notebooks").glob("[0-9][0-9]_*.py")} >= set(
        text.split(", ")
    )


def test_the_glossary_is_sorted():
    terms = [row[0] for row in rows("glossary.md")]
    plain = [re.sub(r"[^a-z0-9 ]", "", term.lower()) for term in terms]
    assert plain == sorted(plain) and len(set(terms)) == len(terms)
    for term, meaning, where in rows("glossary.md"):
        assert len(meaning) > 20 and lectures(where), term


def cells_of_sections(lecture):
    """The cells of the opening, 0, and of each section; the cell that installs is in none."""
    cells = {0: []}
    (path,) = (DOCS.parent / "notebooks").glob(f"{lecture}_*.ipynb")
    first, *others = nbformat.read(path, as_version=4).cells
    setup = next(cell for cell in others if cell.cell_type == "code")
    for cell in (first, *(cell for cell in others if cell is not setup)):
        for part in (
            re.split(r"(?m)^(?=## \d+\.)", cell.source)
            if cell.cell_type == "markdown"
            else [cell.source]
        ):
            if heading := re.match(r"## (\d+)\.", part):
                cells[int(heading[1])] = []
            new = (
                nbformat.v4.new_markdown_cell
                if cell.cell_type == "markdown"
                else nbformat.v4.new_code_cell
            )
            cells[max(cells)].append(new(part))
    return cells


def test_three_hours_are_those_of_its_sections():
    """By the course's own rule, within 4 minutes: of two sections a row takes a part, and they count whole here."""
    if not (DOCS.parent / "tools" / "notebooks.py").is_file():
        pytest.skip("there are no tools here: a course's fork has none")
    tools, table = runpy.run_path(DOCS.parent / "tools" / "notebooks.py"), rows("three_hours.md")
    # where the cell that installs would be, which is not counted
    nothing = nbformat.v4.new_code_cell("")
    for _, read, _, stated in table:
        lecture, text = re.match(r"\[(\d\d) .*?\]\(.*?\)(.*)", read).groups()
        ranges = re.findall(r"(\d+)(?: to (\d+))?", text)
        sections = {n for first, last in ranges for n in range(int(first), int(last or first) + 1)}
        wanted = sections | ({0} if "opening" in text else set())
        cells = [
            cell for n, own in cells_of_sections(lecture).items() if n in wanted for cell in own
        ]
        counted = tools["reading_minutes"](nbformat.v4.new_notebook(cells=[nothing, *cells]))
        assert abs(counted - int(stated)) <= 4, (read, counted)
    assert 150 <= sum(int(stated) for *_, stated in table) <= 180


def test_each_symptom_has_a_cause_a_test_that_exists_and_a_lecture():
    table = rows("symptoms.md")
    assert len(table) >= 13
    for see, cause, test, where in table:
        assert see and cause and test and lectures(where), see
        for name in re.findall(r"properties\.(\w+)", test):
            assert hasattr(properties, name), name


def test_ten_questions_have_ten_answers():
    text = (DOCS / "questions.md").read_text(encoding="utf-8")
    asked, answered = text.split("<details>")
    for part in (asked, answered):
        assert re.findall(r"^(\d+)\. ", part, flags=re.M) == [str(n) for n in range(1, 11)]


README = (DOCS.parent / "README.md").read_text(encoding="utf-8")


def test_the_readme_lists_every_lecture_with_its_work_copy_and_its_set():
    for path in sorted((DOCS.parent / "notebooks").glob("[0-9][0-9]_*.py")):
        row = next(line for line in README.splitlines() if line.startswith(f"| {path.name[:2]} | "))
        assert (
            f"(notebooks/{path.stem}.ipynb)" in row and f"(notebooks/work/{path.stem}.ipynb)" in row
        )
        exercises = f"(exercises/{path.stem}.ipynb)"
        assert (exercises in row) == (DOCS.parent / "exercises" / f"{path.stem}.ipynb").exists()


def anchors(path):
    """Where a link with # may lead on a page, as GitHub names its headings."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(
    "path", [*DOCS.parent.glob("*.md"), *DOCS.glob("*.md")], ids=lambda path: path.name
)
def test_links_into_a_page_lead_to_a_heading(path):
    for target, anchor in re.findall(
        r"\]\(([\w./-]*)#([^)\s]+)\)", path.read_text(encoding="utf-8")
    ):
        assert anchor in anchors((path.parent / target) if target else path), f"{target}#{anchor}"
