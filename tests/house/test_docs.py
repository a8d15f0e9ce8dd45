"""Pages for readers: what they name is there, what they count is right, and their Python runs."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from flash_tutorial import check as properties
from flash_tutorial.config import ModelConfig, TrainConfig
from flash_tutorial.settings import rules

pytestmark = pytest.mark.fork  # a fork rewrites the README and the docs

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
LECTURES = {path.name[:2]: path for path in (ROOT / "notebooks").glob("[0-9][0-9]_*.py")}


def rows(name):
    """The cells of a page's tables, without the head of the first."""
    lines = (DOCS / name).read_text(encoding="utf-8").splitlines()
    tables = [line for line in lines if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in tables][2:]


def test_the_readme_lists_every_lecture_with_its_work_copy_and_its_set():
    readme = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    for number, path in LECTURES.items():
        row = next(line for line in readme if line.startswith(f"| {number} | "))
        topic = path.stem[3:]
        assert f"(notebooks/{path.stem}.ipynb)" in row
        assert f"(notebooks/work/{number}_work_{topic}.ipynb)" in row
        problem_set = f"exercises/{number}_set_{topic}.ipynb"
        assert (f"({problem_set})" in row) == (ROOT / problem_set).exists()


@pytest.mark.parametrize("page", [ROOT / "README.md", DOCS / "site" / "index.md"])
def test_the_first_command_leads_to_an_address_that_can_be_copied(page):
    """Jupyter puts "?token=..." behind it, and a second question mark would hide the token."""
    commands = re.findall(r"^jupyter lab (.*)$", page.read_text(encoding="utf-8"), flags=re.M)
    assert commands and not any("?" in command for command in commands)


def test_the_glossary_is_sorted_and_names_lectures():
    terms = [re.sub(r"[^a-z0-9 ]", "", term.lower()) for term, _, _ in rows("glossary.md")]
    assert terms and terms == sorted(set(terms))
    assert {*", ".join(where for _, _, where in rows("glossary.md")).split(", ")} <= {*LECTURES}


def test_each_symptom_has_a_test_that_exists_and_a_lecture():
    for see, _, test, where in rows("symptoms.md"):
        assert {*where.split(", ")} <= {*LECTURES}, see
        for name in re.findall(r"properties\.(\w+)", test):
            assert hasattr(properties, name), name


def test_three_hours_name_sections_that_are_there():
    for _, read, *_ in rows("three_hours.md"):
        lecture, text = re.match(r"\[(\d\d) .*?\]\(.*?\)(.*)", read).groups()
        source = LECTURES[lecture].read_text(encoding="utf-8")
        there = {int(number) for number in re.findall(r"(?m)^# ## (\d+)\. ", source)}
        for first, last in re.findall(r"(\d+)(?: to (\d+))?", text):
            assert {*range(int(first), int(last or first) + 1)} <= there, read


# ---------------------------------------------------------------- projects.md


def test_the_page_for_projects_runs_from_top_to_bottom(tmp_path, monkeypatch, capsys):
    pytest.importorskip("tokenizers", reason="the page shows a tokenizer")
    monkeypatch.chdir(tmp_path)
    names = {}
    text = (DOCS / "projects.md").read_text(encoding="utf-8")
    for block in re.findall(r"^```python\n(.*?)^```", text, re.M | re.S):
        if "flash_tutorial.hf" in block and not find_spec("transformers"):
            continue  # an extra, which its own tests say they miss
        exec(compile(block, "projects.md", "exec"), names)
    printed = capsys.readouterr().out
    assert "bits per token are" in printed
    stated = re.findall(r"# (.*on average)$", text, re.M)
    assert stated and stated == re.findall(r": +(.*on average)$", printed, re.M)
    counted = re.findall(r"^\| \d+ \|.* M \|$", text, re.M)
    assert counted and counted == re.findall(r"^\| \d+ \|.* M \|$", printed, re.M)
    assert names["run"].best["step"] == 20 and names["new"].shape[0] == 2


def test_the_page_for_projects_translates_to_names_that_are_there():
    text = (DOCS / "projects.md").read_text(encoding="utf-8")
    of_flash = re.search(r"^\| FLASH-py.*", text, flags=re.M)[0]
    of_nanogpt = re.search(r"^\| nanoGPT.*", text, flags=re.M)[0]
    known = {**rules(ModelConfig)}, {**rules(TrainConfig), **rules(ModelConfig)}
    for row, fields in zip((of_flash, of_nanogpt), known):
        names = re.findall(r"`(\w+)`", row.split("|")[2])
        assert names and {*names} <= {*fields}, row
