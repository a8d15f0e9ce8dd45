"""docs/projects.md: its Python runs from top to bottom, and the names that it translates to are there."""

import re
from pathlib import Path

import pytest

from flash_tutorial.config import ModelConfig, TrainConfig
from flash_tutorial.settings import rules

pytestmark = pytest.mark.fork  # a fork rewrites the docs

PAGE = Path(__file__).resolve().parents[2] / "docs" / "projects.md"


def test_it_runs_from_top_to_bottom(tmp_path, monkeypatch, capsys):
    pytest.importorskip("tokenizers", reason="the page shows a tokenizer")
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in re.findall(
        r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S
    ):
        exec(compile(block, "projects.md", "exec"), names)
    said = capsys.readouterr().out
    assert (
        "bits per token are" in said
        and names["run"].best["step"] == 20
        and names["new"].shape[0] == 2
    )


def test_the_names_here_are_there():
    rows = [
        line
        for line in PAGE.read_text(encoding="utf-8").splitlines()
        if line.startswith(("| FLASH-py", "| nanoGPT"))
    ]
    for row, fields in (
        (rows[0], rules(ModelConfig)),
        (rows[3], rules(TrainConfig) | rules(ModelConfig)),
    ):
        names = re.findall(r"`(\w+)`", row.split("|")[2])
        assert len(names) >= 3 and set(names) <= set(fields), row
