"""What a student calls in a problem set: check, hint, progress."""

import re

import numpy as np
import pytest

import flash_course
from flash_course import asking, learner
from flash_course.checks import exercise as model
from flash_course.checks.texts import say


@pytest.fixture(autouse=True)
def own_progress(tmp_path, monkeypatch):
    monkeypatch.setenv("FLASH_TUTORIAL_PROGRESS", str(tmp_path / "progress.json"))


def right(x, C):
    return np.pad(x, ((0, -len(x) % C), (0, 0))).reshape(-1, C, x.shape[1])


def test_check_hint_and_progress_speak_to_a_student(capsys):
    flash_course.check("05.1", lambda x_TD, C: x_TD)
    said = capsys.readouterr().out
    assert (
        said.startswith("05.1 to_chunks: wrong, 0 of 10 points")
        and 'hint("05.1") gives a hint' in said
    )
    flash_course.check("05.1", right)
    flash_course.check("05.1", lambda x_TD, C: x_TD)
    for number in (1, 2, 3, 3):
        flash_course.hint("05.1")
        assert f"05.1, hint {number} of 3: " in capsys.readouterr().out
    flash_course.progress("05")
    table = capsys.readouterr().out
    assert "set 05: 10 of 100 points" in table  # the best is kept
    assert re.search(r"05.1 to_chunks +10 / 10 +right; the last try: wrong core", table)
    stored = learner.load_progress()["exercises"]["05.1"]
    assert stored == dict(points=10, of=10, last="wrong", checks=3, hints=3)


def nowhere(tmp_path):
    """A file whose folder cannot be made, since a file is in its place."""
    (tmp_path / "file").write_text("x")
    return tmp_path / "file" / "folder" / "progress.json"


def damaged(tmp_path):
    """A file of bytes that are no text."""
    path = tmp_path / "progress.json"
    path.write_bytes(b"\xff\xfe\0 no progress")
    return path


@pytest.mark.parametrize(
    "made, why",
    [(nowhere, "could not be made"), (damaged, "is not a progress file of this course")],
)
def test_the_verdict_stands_also_where_nothing_can_be_stored(
    made, why, tmp_path, monkeypatch, capsys
):
    path = made(tmp_path)
    before = path.read_bytes() if path.exists() else None
    monkeypatch.setenv("FLASH_TUTORIAL_PROGRESS", str(path))
    flash_course.check("05.1", lambda x_TD, C: x_TD)
    said = capsys.readouterr().out
    assert (
        said.startswith("05.1 to_chunks: wrong, 0 of 10 points")
        and 'hint("05.1") gives a hint' in said
    )
    assert "your points are not stored: " in said and str(tmp_path) in said and why in said
    assert (path.read_bytes() if path.exists() else None) == before


def test_a_hint_stands_also_where_nothing_can_be_stored(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FLASH_TUTORIAL_PROGRESS", str(nowhere(tmp_path)))
    flash_course.hint("05.1")
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("05.1, hint 1 of 3: ")
    assert second.startswith("which hint you have seen is not stored: ")


@pytest.mark.parametrize("clock, told", [([0, 7], True), ([0, 1], False)])
def test_a_right_answer_that_grading_may_stop_is_told_so(clock, told, capsys, monkeypatch):
    monkeypatch.setattr(asking.time, "process_time", iter(clock).__next__)
    flash_course.check("05.1", right)
    kept = say("all", "slow", seconds=7).partition("7")[2]
    assert (kept in capsys.readouterr().out) == told


def test_a_text_counts_no_points_before_a_person_has_read_it(capsys):
    text = model.load_exercise("05.7").right
    flash_course.check("05.7", text)
    assert capsys.readouterr().out.startswith("05.7 sum or mean?: recorded: marked by a person")
    flash_course.progress("05")
    table = capsys.readouterr().out
    assert "set 05: 0 of 100 points" in table
    assert re.search(r"05.7 .* +0 / 5 +recorded: marked by a person", table)


@pytest.mark.parametrize(
    "call, said",
    [
        (
            lambda: flash_course.check("05.9", 1),
            "there is no exercise '05.9': expected one of 05.1, 05.2",
        ),
        (lambda: flash_course.check("99.1", 1), "there is no problem set '99': expected one of"),
        (
            lambda: flash_course.check("05.5", 1),
            "answers given: 1; expected: check.'05.5', suspect_one, .*, found",
        ),
        (lambda: flash_course.personal("05.1"), "has no personal numbers"),
    ],
)
def test_wrong_calls_say_what_is_expected(call, said):
    with pytest.raises(ValueError, match=said):
        call()


def test_a_wrong_call_is_one_line_in_a_notebook():
    from IPython.core.interactiveshell import InteractiveShell

    shown = []
    shell = InteractiveShell()
    shell._showtraceback = lambda kind, value, lines: shown.extend(lines)
    shell.run_cell("import flash_course\nflash_course.hint('05.9')")
    assert len(shown) == 1 and shown[0].startswith("there is no exercise '05.9': expected one of")


def checked(name, capsys, **guesses):
    """What is said of the right predictions with other ones in their place."""
    exercise = model.load_exercise(name)
    flash_course.check(name, exercise.right(exercise.numbers("me")) | guesses)
    return capsys.readouterr().out


def test_a_wrong_guess_is_not_told_the_right_one(capsys):
    said = checked("05.6", capsys, a=12345)
    assert 'in the case "a": not 12345.' in said and "expected" not in said


OTHER_TYPES = [("f", 0, "word"), ("e", "?", "flag"), ("d", 1, "flag"), ("a", "1/40", "number")]


@pytest.mark.parametrize("key, got, kind", OTHER_TYPES)
def test_a_guess_of_another_type_is_not_told_the_right_one_either(key, got, kind, capsys):
    said = say("all", f"guess a {kind}", got=repr(got))
    assert f'in the case "{key}": {said}' in checked("05.6", capsys, **{key: got})


def test_the_letter_of_a_question_stands_once(capsys):
    exercise = model.load_exercise("04.4")
    almost = exercise.right(exercise.numbers("me"))["a"] - 1
    said = checked("04.4", capsys, a=almost)
    assert "\n  a: every token makes an update" in said and said.count("every token") == 1


def test_a_table_that_is_none_and_a_guess_that_is_missing_are_named(capsys):
    flash_course.check("05.6", (1, 2, 3))
    said = capsys.readouterr().out
    assert 'in the case "a": expected a dictionary, such as dict(a=...), got a tuple.' in said
    assert 'in the case "b": nothing is written under b.' in checked("05.6", capsys, b=None)


def test_personal_numbers_are_drawn_from_the_id():
    drawn = [flash_course.personal("05.6", name) for name in ("ada", "ada", "me", "grace")]
    assert drawn[0] == drawn[1] and len({str(each) for each in drawn}) == 3
