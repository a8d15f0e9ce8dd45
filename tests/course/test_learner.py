"""Guesses, scoreboard and verdicts survive; a damaged file is refused and left as it is."""

import pytest

from flash_course import learner

pytestmark = pytest.mark.quick


@pytest.fixture(autouse=True)
def own_file(tmp_path, monkeypatch):
    path = tmp_path / "new folder" / "progress.json"
    monkeypatch.setenv("FLASH_TUTORIAL_PROGRESS", str(path))
    return path


def test_a_guess_is_kept_and_compared(capsys):
    learner.reveal("05.a", 2.0)
    learner.predict("05.a", 8)
    learner.reveal("05.a", 2.0, "times")
    learner.predict("05.b")
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "05.a: you made no guess; it is 2."
    assert out[2] == "05.a: you guessed 8; it is 2 times." and "no guess" in out[3]
    assert learner.load_progress()["guesses"] == {"05.a": 8.0}


def test_the_report_shows_what_was_stored():
    learner.score("01", "softmax", bits_per_byte=2.504, step_ms=12.4, state_numbers=8192)
    learner.score("01", "softmax", bits_per_byte=2.404)
    learner.verdict("quality", "not shown")
    text = learner.report()
    assert text.count("softmax") == 1 and "2.40" in text and "quality: not shown" in text


def test_export_and_restore(own_file):
    learner.predict("01.a", 1)
    text = learner.export_progress()
    own_file.unlink()
    assert learner.load_progress()["guesses"] == {}
    learner.restore_progress(text)
    assert learner.load_progress()["guesses"] == {"01.a": 1.0}


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"format": 2}', '{"format": 1, "guesses": []}'])
def test_a_damaged_file_is_refused_and_kept(own_file, content):
    own_file.parent.mkdir()
    own_file.write_text(content)
    with pytest.raises(ValueError, match="move it away") as caught:
        learner.predict("01.a", 1)
    assert "\n" not in str(caught.value) and own_file.read_text() == content
    with pytest.raises(ValueError, match="not a progress file"):
        learner.restore_progress(content)
