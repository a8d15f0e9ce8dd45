"""Guesses, scoreboard and verdicts survive; a damaged file is refused and left as it is."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

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
    said = capsys.readouterr().out
    assert "05.a: it is 2." in said and "05.a: you guessed 8; it is 2 times." in said
    assert learner.load_progress()["guesses"] == {"05.a": 8.0}


@pytest.mark.parametrize("guess, lines", [(None, 0), (..., 0), ("one", 1), ([1, 2], 1)])
def test_a_guess_that_is_none_is_not_stored_and_an_empty_one_does_not_scold(guess, lines, capsys):
    learner.predict("05.a", guess)
    said = capsys.readouterr().out
    assert said.count("\n") == said.count("is no number") == lines
    assert learner.load_progress()["guesses"] == {}


@pytest.mark.parametrize(
    "line, said",
    [
        (lambda i, C: i // C * C, "05.b: right in 3 cases.\n"),
        (lambda i, C: i // C, "not yet: 1 where 4 is expected"),
        (lambda i, C: ..., "write your line"),
        (lambda i, C: i - ..., "write your line"),
        (lambda i, C: None, "write your line"),
        (lambda i, C: i // 0, "ZeroDivisionError"),
        (lambda i, C: [i], "the shape is (1,), and () is expected"),
        (lambda i, C: "four", "a number or an array was expected, str came"),
        (lambda i, C: float("nan"), "not yet: nan where 0 is expected"),
    ],
)
def test_your_line_says_how_far_off_it_is(line, said, capsys):
    learner.your_line("05.b", line, ((1, 4), 0), ((5, 4), 4), ((13, 4), 12))
    out = capsys.readouterr().out
    assert out.startswith("05.b: ") and said in out
    beside = "expected" in said  # else there is nothing to set beside each other
    assert ("i = " in out and "C = 4" in out) == beside and out.count("\n") == (4 if beside else 1)


def test_your_line_says_where_an_array_differs(capsys):
    right = np.arange(6.0).reshape(2, 3)
    learner.your_line("05.c", lambda x: x + 0.5 * (x == 4), ((right,), right))
    learner.your_line("05.c", lambda x: torch.tensor(x, requires_grad=True), ((right,), right))
    out = capsys.readouterr().out.splitlines()
    assert "4.5 at [1, 1] where 4 is expected" in out[0] and out[-1] == "05.c: right in 1 case."
    assert out[1:4] == [
        "  input           expected    yours",
        "  x = [[0 1 2]    [[0 1 2]    [[  0   1   2]",
        "       [3 4 5]]    [3 4 5]]    [  3 4.5   5]]",
    ]


def test_guesses_are_judged_together(capsys):
    assert learner.calibration() == ""
    for name, guess, value in (("a", 8, 4), ("b", 1, 3), ("c", -2, 3), ("d", 0, 0), ("e", 5, 5)):
        learner.predict(name, guess)
        learner.reveal(name, value)
    learner.reveal("f", 7)  # without a guess
    said = "Your 3 guesses: half are off by a factor of 2 or less; 1 too high, 1 too low."
    assert learner.calibration() == said and said in learner.report()


def test_the_report_shows_what_was_stored():
    learner.score("01", "softmax", bits_per_byte=2.504, step_ms=12.4, state_numbers=8192)
    learner.score("01", "softmax", bits_per_byte=2.404)
    learner.verdict("quality", "not shown")
    text = learner.report()
    assert text.count("softmax") == 1 and "2.40" in text and "quality: not shown" in text


def test_a_run_is_scored_by_its_bits_and_its_median_update():
    log = [{"seconds": end} for end in (0.5, 0.6, 0.8, 2.0)]
    run = SimpleNamespace(log=log, evaluation=SimpleNamespace(bits_per_byte=2.5))
    learner.score_run("03", "mine", run, 192)
    row = learner.load_progress()["scoreboard"]["03 mine"]
    assert (row["bits_per_byte"], row["state_numbers"]) == (2.5, 192)
    assert row["step_ms"] == pytest.approx(200)


def test_export_and_restore(own_file):
    learner.predict("01.a", 1)
    text = learner.export_progress()
    own_file.unlink()
    assert learner.load_progress()["guesses"] == {}
    learner.restore_progress(text)
    assert learner.load_progress()["guesses"] == {"01.a": 1.0}


def test_a_guess_that_cannot_be_stored_is_one_line(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("x")
    nowhere = tmp_path / "file" / "folder" / "progress.json"
    monkeypatch.setenv("FLASH_TUTORIAL_PROGRESS", str(nowhere))
    learner.predict("05.a", 8)
    learner.score("01", "softmax", bits_per_byte=2.5)
    learner.verdict("quality", "not shown")
    lines = capsys.readouterr().out.splitlines()
    for line, of in zip(lines, ("05.a: ", "01 softmax: ", "quality: ")):
        assert line.startswith(of) and "not stored: " in line and "could not be made" in line
    assert len(lines) == 3
    with pytest.raises(ValueError, match="could not be made"):
        learner.restore_progress(learner.export_progress())


def test_a_user_without_a_home_is_told_where_to_keep_it(monkeypatch):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("FLASH_TUTORIAL_PROGRESS")
    monkeypatch.setattr(learner.Path, "home", homeless)
    with pytest.raises(ValueError, match="no home folder for the progress file: name another file"):
        learner.load_progress()


DAMAGED = {
    "half": "{",
    "a list": "[]",
    "empty": "{}",
    "another format": '{"format": 2}',
    "a list of guesses": '{"format": 1, "guesses": []}',
    "deep": "[" * 100_000,
    "no text": b"\xff\xfe",
    "no exercises": '{"format": 1, "guesses": {}, "scoreboard": {}, "verdicts": {}, "exercises": []}',
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_file_is_refused_and_kept(own_file, content, capsys):
    own_file.parent.mkdir()
    own_file.write_bytes(raw := content.encode() if isinstance(content, str) else content)
    with pytest.raises(ValueError, match="move it away") as caught:
        learner.predict("01.a", 1)
    assert "\n" not in str(caught.value) and own_file.read_bytes() == raw
    with pytest.raises(ValueError, match="not a progress file"):
        learner.restore_progress(content)
    learner.reveal("05.a", 2.0)  # a result is shown beside it
    assert "05.a: it is 2." in capsys.readouterr().out
