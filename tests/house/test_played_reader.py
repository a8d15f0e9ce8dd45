"""A reader who writes every build of the course, from lecture 01 to 14, on one my_flash.py."""

import re

import pytest
from house.scripts import script

from flash_course import builds, mine

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(1800)]


@pytest.fixture
def progress(monkeypatch, tmp_path):
    path = tmp_path / "progress.json"
    monkeypatch.setenv("FLASH_TUTORIAL_PROGRESS", str(path))
    return path


def test_right_answers_make_the_whole_file_and_later_lectures_run_it(progress):
    said = script("play_reader.py").play([], progress)
    assert list(mine.built()) == list(builds.all_builds())
    uses = re.findall(r"^(yours|the course's own): (.*)$", "\n".join(said.values()), flags=re.M)
    assert uses and {whose for whose, _ in uses} == {"yours"}


def test_of_likely_mistakes_none_is_kept_and_each_lecture_runs_to_its_end(progress):
    said = script("play_reader.py").play([], progress, wrong=True)
    assert list(said) == [f"{number:02}" for number in range(1, 15)]
    assert not mine.built()


def test_a_mistake_that_is_in_the_file_is_noticed_in_the_next_lecture(progress):
    said = script("play_reader.py").play(["05", "06"], progress, spoil="mixed_chunk")
    assert "yours is wrong by now" in said["06"] and "mixed_chunk" in said["06"]
