"""What a grader keeps: results that nobody else has changed, and what it was at when it ended."""

import os

import pytest

from flash_course.grading.kept import DEATHS, Journal, Results, key_path
from flash_course.grading.submission import Submission

ADA = Submission("ada", "05", digest="d")
RESULT = {
    "name": "ada",
    "points": 3,
    "key": "k",
    "digest": "d",
    "exercises": {"05.1": {"points": 3}},
}


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setenv("FLASH_TUTORIAL_PROGRESS", str(tmp_path / "home" / "progress.json"))
    return Results(tmp_path / "out")


def test_a_result_comes_back_for_the_same_file_and_checker_only(results):
    results.store(RESULT)
    assert results.load(ADA, "k") == RESULT | {"seal": results.seal(RESULT)}
    assert results.load(ADA, "another") is None
    assert results.load(Submission("ada", "05", digest="e"), "k") is None
    assert results.changed == []


@pytest.mark.parametrize(
    "text",
    [
        '{"points": 100',
        "[]",
        "7",
        '{"key": "k", "digest": "d"}',
        '{"key": "k", "digest": "d", "seal": 3}',
    ],
)
def test_what_is_no_result_is_not_taken(text, results):
    results.path("ada").write_text(text)
    assert results.load(ADA, "k") is None


def test_a_result_that_was_changed_is_not_taken_and_is_named(results, tmp_path):
    results.store(RESULT)
    path = results.path("ada")
    path.write_text(path.read_text().replace('"points": 3', '"points": 100'))
    assert results.load(ADA, "k") is None and results.changed == ["ada"]


def test_the_key_is_made_once_and_is_nobody_elses_to_read(results, tmp_path):
    assert Results(tmp_path / "another").key == results.key and len(results.key) == 64
    assert key_path() == tmp_path / "home" / "grading.key"
    assert os.name == "nt" or key_path().stat().st_mode & 0o077 == 0


def end(out, exercise, digest="d"):
    """A grader ends while an exercise is being judged."""
    Journal(out, "ada", digest).begin(exercise)


def test_an_exercise_at_which_graders_end_is_set_aside(tmp_path):
    for times in range(DEATHS):
        assert Journal(tmp_path, "ada", "d").set_aside() == {}, times
        end(tmp_path, "05.3")
    journal = Journal(tmp_path, "ada", "d")
    assert journal.set_aside() == {"05.3": DEATHS}
    assert Journal(tmp_path, "ada", "another").set_aside() == {}
    journal.finish()
    assert Journal(tmp_path, "ada", "d").set_aside() == {} and not list(tmp_path.iterdir())


def test_who_kills_a_grader_twice_or_at_several_exercises_sets_no_honest_one_aside(tmp_path):
    for exercise in ("05.1", "05.2", "05.1", "05.3"):
        end(tmp_path, exercise)
        assert Journal(tmp_path, "ada", "d").set_aside() == {}


@pytest.mark.parametrize(
    "text", ["", "[]", '{"at": 3}', '{"digest": "d", "at": "05.1", "ended": 7}']
)
def test_a_journal_that_cannot_be_read_says_nothing(text, tmp_path):
    end(tmp_path, "05.1")
    (tmp_path / "unfinished" / "ada" / "at.json").write_text(text)
    assert Journal(tmp_path, "ada", "d").ended == {}
