"""What is written about a class."""

import pytest
from submissions import SOON

from flash_course.checks import texts
from flash_course.grading import reports


@pytest.mark.quick
def test_what_was_stopped_by_the_clock_is_listed():
    row = {"points": 0, "of": 5, "status": "wrong", "seconds": 3.01, "stopped": True}
    result = {"name": "ada", "set": "05", "notes": [], "exercises": {"05.1": row, "05.2": row | {"stopped": False}}}
    assert reports.summary([result], SOON) == ["stopped after 5 seconds of computing or 30 on the clock: ada 05.1"]


@pytest.mark.quick
def test_a_page_is_in_the_language_of_the_messages(monkeypatch):
    monkeypatch.setitem(texts.read("general"), "right", "richtig")
    monkeypatch.setitem(texts.read("general"), "points", "{got} von {of}")
    assert reports.state({"status": "right", "points": 2.5, "of": 5}) == "richtig, 2.5 von 5"
