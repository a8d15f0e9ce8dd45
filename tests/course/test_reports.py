"""What is written about a class."""

import pytest
from submissions import SOON

from flash_course.checks import texts
from flash_course.grading import reports
from flash_course.grading.child import Limits


@pytest.mark.quick
def test_what_was_stopped_by_the_clock_is_listed():
    row = {"points": 0, "of": 5, "status": "raises", "seconds": 3.01}
    result = {"name": "ada", "set": "05", "notes": [], "exercises": {"05.1": row}}
    assert "ada 05.1" in reports.summary([result], SOON)[0] and reports.summary([result], Limits(seconds=9)) == []


@pytest.mark.quick
def test_a_page_is_in_the_language_of_the_messages(monkeypatch):
    monkeypatch.setitem(texts.read("general"), "right", "richtig")
    monkeypatch.setitem(texts.read("general"), "points", "{got} von {of}")
    assert reports.state({"status": "right", "points": 2.5, "of": 5}) == "richtig, 2.5 von 5"
