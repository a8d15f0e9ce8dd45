"""Glossary, symptoms and questions: the names in them exist, and the tables are whole."""

import re
from pathlib import Path

import pytest

from flash_course import addresses as project
from flash_tutorial import properties

pytestmark = [pytest.mark.quick, pytest.mark.fork]  # they read the README and the docs, which a fork rewrites

DOCS = Path(__file__).resolve().parents[2] / "docs"


def rows(name):
    """The cells of a page's table, without its head."""
    lines = (DOCS / name).read_text(encoding="utf-8").splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")][2:]


def lectures(text):
    return {path.name[:2] for path in (DOCS.parent / "notebooks").glob("[0-9][0-9]_*.py")} >= set(text.split(", "))


def test_the_glossary_is_sorted_and_has_about_forty_terms():
    terms = [row[0] for row in rows("glossary.md")]
    plain = [re.sub(r"[^a-z0-9 ]", "", term.lower()) for term in terms]
    assert 40 <= len(terms) <= 55 and plain == sorted(plain) and len(set(terms)) == len(terms)
    for term, meaning, where in rows("glossary.md"):
        assert len(meaning) > 20 and lectures(where), term


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


def test_the_readme_lists_every_lecture_with_its_badges_and_its_set():
    table = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    for path in sorted((DOCS.parent / "notebooks").glob("[0-9][0-9]_*.py")):
        row = next(line for line in table.splitlines() if line.startswith(f"| {path.name[:2]} | "))
        assert f"(notebooks/{path.stem}.ipynb)" in row and project.badges(path.stem) in row
        assert "not yet measured" in row and re.search(r"\| \d+ s \|", row), "minutes on a CPU and on a GPU"
        exercises = f"(exercises/{path.stem}.ipynb)"
        assert (exercises in row) == (DOCS.parent / "exercises" / f"{path.stem}.ipynb").exists()


def test_the_readme_counts_what_the_kill_table_counts():
    page = DOCS / "kill_table.md"
    if not page.exists():
        pytest.skip("there is no kill table here: a course's fork has none")
    (count,) = re.findall(r"^(\d+) of \1 kept wrong answers", page.read_text(encoding="utf-8"), flags=re.M)
    assert f"proved on {count} wrong answers" in (DOCS.parent / "README.md").read_text(encoding="utf-8")
