"""Guesses, scoreboard and verdicts survive; a damaged file is refused and left as it is."""

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
    out = capsys.readouterr().out.splitlines()
    assert out == [
        "05.a: it is 2.",
        "05.a: your guess is stored.",
        "05.a: you guessed 8; it is 2 times.",
    ]
    assert learner.load_progress()["guesses"] == {"05.a": 8.0}


def test_a_finished_page_does_not_scold(capsys):
    learner.predict("05.a")
    learner.predict("05.b", ...)
    assert capsys.readouterr().out == "" and learner.load_progress()["guesses"] == {}


@pytest.mark.parametrize("guess", ["one", [1, 2], object()])
def test_a_guess_that_is_no_number_is_refused_in_one_line(guess, capsys):
    learner.predict("05.a", guess)
    out = capsys.readouterr().out
    assert (
        "is no number" in out and out.count("\n") == 1 and learner.load_progress()["guesses"] == {}
    )


@pytest.mark.parametrize(
    "line, said",
    [
        (lambda i, C: i // C * C, "right in 3 cases, off by at most 0"),
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
    assert out.startswith("05.b: ") and said in out and out.count("\n") == 1


def test_your_line_says_where_an_array_differs(capsys):
    right = np.arange(6.0).reshape(2, 3)
    learner.your_line("05.c", lambda x: x + 0.5 * (x == 4), ((right,), right))
    learner.your_line("05.c", lambda x: torch.tensor(x, requires_grad=True), ((right,), right))
    out = capsys.readouterr().out.splitlines()
    assert "4.5 at [1, 1] where 4 is expected" in out[0] and "right in 1 case," in out[1]


def test_the_report_shows_what_was_stored():
    learner.score("01", "softmax", bits_per_byte=2.504, step_ms=12.4, state_numbers=8192)
    learner.score("01", "softmax", bits_per_byte=2.404)
    learner.verdict("quality", "not shown")
    text = learner.report()
    assert text.count("softmax") == 1 and "2.40" in text and "quality: not shown" in text


def test_a_guess_that_cannot_be_stored_is_one_line(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv(
        "FLASH_TUTORIAL_PROGRESS", str(tmp_path / "file" / "folder" / "progress.json")
    )
    learner.predict("05.a", 8)
    learner.score("01", "softmax", bits_per_byte=2.5)
    learner.verdict("quality", "not shown")
    lines = capsys.readouterr().out.splitlines()
    starts = (
        "05.a: your guess is",
        "01 softmax: this line of the scoreboard is",
        "quality: your verdict is",
    )
    assert len(lines) == 3 and all(
        map(str.startswith, lines, [f"{start} not stored: " for start in starts])
    )
    assert all("could not be made" in line and "FLASH_TUTORIAL_PROGRESS" in line for line in lines)
    with pytest.raises(ValueError, match="could not be made"):
        learner.store_progress(learner.load_progress())


def test_a_user_without_a_home_is_told_where_to_keep_it(monkeypatch, capsys):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("FLASH_TUTORIAL_PROGRESS")
    monkeypatch.setattr(learner.Path, "home", homeless)
    with pytest.raises(ValueError, match="no home folder for the progress file: name another file"):
        learner.load_progress()


def test_a_result_is_shown_beside_a_damaged_file(own_file, capsys):
    own_file.parent.mkdir()
    own_file.write_bytes(b"\xff")
    learner.reveal("05.a", 2.0)
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("05.a: your guess cannot be read: ") and second == "05.a: it is 2."


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        "{}",
        '{"format": 2}',
        '{"format": 1, "guesses": []}',
        pytest.param("[" * 100_000, id="deep"),
        b"\xff\xfe",
        b"\0\x80 no text",
        '{"format": 1, "guesses": {}, "scoreboard": {}, "verdicts": {}, "exercises": []}',
    ],
)
def test_a_damaged_file_is_refused_and_kept(own_file, content):
    own_file.parent.mkdir()
    own_file.write_bytes(raw := content.encode() if isinstance(content, str) else content)
    with pytest.raises(ValueError, match="move it away") as caught:
        learner.predict("01.a", 1)
    assert "\n" not in str(caught.value) and own_file.read_bytes() == raw
