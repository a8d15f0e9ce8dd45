"""What a judging process says is read strictly: points are counted here, and a message of another form is none."""

import json

import pytest
from small_exercise import exercise

from flash_course.grading.child import message_in
from flash_course.grading.messages import row_of
from flash_tutorial.shown import clean

pytestmark = pytest.mark.quick
EXERCISE = exercise([])
PARTS = {"small": True, "large": False}
GOOD = dict(status="wrong", parts=PARTS, text=None, student="me", said=["no"], notes=[])


def test_points_are_those_of_the_parts_that_passed():
    assert row_of(EXERCISE, GOOD)["points"] == 4
    right = GOOD | {"status": "right", "parts": {"small": True, "large": True}}
    row = row_of(EXERCISE, right)
    assert (row["status"], row["points"], row["of"]) == ("right", 10, 10)


BAD = {
    "a number": 7,
    "a list": [1],
    "nothing": None,
    "a word": "right",
    "another key": {"a": 1},
    "no status": GOOD | {"status": "best"},
    "points": GOOD | {"points": 1000},
    "a part too many": GOOD | {"parts": PARTS | {"huge": True}},
    "a part too few": GOOD | {"parts": {"small": True}},
    "no truth value": GOOD | {"parts": {"small": 1, "large": 0}},
    "right with a part that failed": GOOD | {"status": "right"},
    "wrong with all parts": GOOD | {"parts": PARTS | {"large": True}},
    "points without an attempt": GOOD | {"status": "not attempted"},
    "lines that are none": GOOD | {"said": "abc"},
    "a line that is none": GOOD | {"notes": [1]},
    "a text that is none": GOOD | {"text": ["a"]},
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_verdict_costs_the_exercise(name):
    row = row_of(EXERCISE, BAD[name])
    assert row["points"] == 0 and "is no verdict" in row["said"][0]


GARBAGE = [b"", b"{", b'{"a": NaN}', b"[Infinity]", b"[" * 100_000, b"\xff\xfe", b"9" * 5000]


def test_a_message_without_its_key_or_that_is_no_json_is_none():
    said = json.dumps(GOOD).encode()
    assert message_in(b"key" + said, b"key") == GOOD
    for data in (said, b"yek" + said, *(b"key" + raw for raw in GARBAGE)):
        assert message_in(data, b"key") is None


def test_texts_can_be_written_shown_and_do_not_turn_into_something_else():
    odd = "a\ud800b\x1b[2Jc\r\n# Heading\x00\u202e"
    shown = clean(odd)
    assert shown == "a\ufffdb\ufffd[2Jc  # Heading\ufffd\ufffd" and shown.encode()
    assert clean("x" * 2000) == "x" * 1000 + " ..." and clean("a\nb", keep="\n") == "a\nb"
    assert (
        clean("a\u200bda \ufeff\u2066x\u2069 \U000e0041\xad")
        == "a\ufffdda \ufffd\ufffdx\ufffd \ufffd\ufffd"
    )
    assert clean("Ä é 漢 👩\u200d🔬 नमस्\u200dते") == "Ä é 漢 👩\u200d🔬 नमस्\u200dते"
    assert json.dumps(row_of(EXERCISE, GOOD | {"said": [odd]})).encode()


@pytest.mark.parametrize(
    "lines", [["y" * 10**5], ["y" * 100] * 500, ["y"] * 5000, [*"abc", "y" * 10**5]]
)
def test_what_comes_back_is_no_more_than_a_few_lines(lines):
    """Else a class reads the held-out cases in its notes."""
    row = row_of(EXERCISE, GOOD | {"said": lines, "notes": lines})
    assert all(
        0 < len("".join(row[name])) < 710 and len(row[name]) <= 30 for name in ("said", "notes")
    )
    assert row["said"][0].startswith(lines[0][:700])


def test_a_text_is_for_a_person_and_has_no_points_of_its_own():
    text = exercise([], kind="explain", parts={"text": 10})
    message = GOOD | {"status": "right", "parts": {"text": True}, "text": "Because.\nAnd \ud800"}
    row = row_of(text, message)
    assert row["points"] == 0 and row["by_person"] and row["text"] == "Because.\nAnd \ufffd"
