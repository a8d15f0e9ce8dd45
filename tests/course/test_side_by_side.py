"""The reader's file beside the package's own code."""

import pytest

from flash_course import mine, side_by_side
from flash_tutorial.training import learning_rate_at


@pytest.fixture(autouse=True)
def nobodys_file(monkeypatch, tmp_path):
    monkeypatch.setenv("FLASH_TUTORIAL_PROGRESS", str(tmp_path / "progress.json"))


def rate_of_my_own(lines):
    mine.store(mine.with_section("", "rate_at", "07", "def rate_at(step):\n" + lines))


def test_without_a_file_the_courses_own_stands_beside_the_packages():
    own, theirs = side_by_side.pair("rate_at", (learning_rate_at,))
    assert own[0] == "rate_at, the course's own" and own[1].startswith("def rate_at(")
    assert theirs[0] == "the package's learning_rate_at" and "config.warmup" in theirs[1]
    assert ">>>" in learning_rate_at.__doc__ and ">>>" not in theirs[1]
    assert "is empty" in side_by_side.tally()


def test_what_the_reader_built_is_shown_as_it_stands():
    rate_of_my_own("    return step < 2\n")
    own, _ = side_by_side.pair("rate_at", (learning_rate_at,))
    assert own == ("rate_at, yours", "def rate_at(step):\n    return step < 2")
    assert side_by_side.tally() == "my_flash.py: 1 of your own, 2 lines"


def test_code_is_no_markup_in_a_page():
    rate_of_my_own("    return step < 2\n")
    html = side_by_side.as_html([side_by_side.pair("rate_at", (learning_rate_at,))])
    assert "step &lt; 2" in html and "step < 2" not in html


def test_a_method_is_shown_from_its_left_edge():
    class Unit:
        def mix(self):
            return 1

    assert side_by_side.package_text(Unit.mix) == "def mix(self):\n    return 1"
