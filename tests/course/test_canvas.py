"""A gradebook of Canvas, filled in."""

import csv
import io

import pytest
from marks import needs_solutions
from submissions import run

from flash_course.grading.canvas import fill_gradebook


@pytest.mark.nightly
@needs_solutions
def test_a_canvas_export_is_filled_in(classroom, tmp_path, capsys):
    book = tmp_path / "book.csv"
    book.write_text(
        "Student,ID,SIS Login ID,Section,Set 05 (123),Set 06 (124)\n    Points Possible,,,,100,100\n"
        '"Lovelace, Ada",1,ada,A,,7\n"Other, Bob",2,BOB,A,,\n'
    )
    out = tmp_path / "graded"
    assert run("grade", classroom, "--out", out, "--canvas", book) == 0
    assert "not in the gradebook: cleo" in capsys.readouterr().out
    rows = list(csv.reader(io.StringIO((out / "canvas.csv").read_text())))
    assert rows[1][4] == "100" and rows[2][4:] == ["95", "7"] and rows[3][4:] == ["25", ""]
    with pytest.raises(ValueError, match="0 columns fit 'Set 09'"):
        fill_gradebook([{"name": "ada", "set": "05", "points": 1}], book, "Set 09")


HEAD = "Student,ID,SIS User ID,SIS Login ID,Section,Set 02 (8),Set 05 (9)\n    Points Possible,,,,,100,10\n"


def booked(tmp_path, rows, column=None, **names):
    """{ID: what a gradebook has for set 05}, and what is said; ``names``: {submission: set or None}."""
    book = tmp_path / "book.csv"
    book.write_text(HEAD + rows, encoding="utf-8-sig")
    result = dict(points=7, of=100)
    results = [
        result | {"name": name, "set": number, "exercises": {"05.1": {}} if number else {}}
        for name, number in names.items()
    ]
    text, said = fill_gradebook(results, book, column)
    return {row[1]: row[6] for row in list(csv.reader(io.StringIO(text)))[2:]}, said


def test_a_file_as_canvas_names_it_and_other_spellings_are_found(tmp_path):
    rows = '"Lovelace, Ada",101,S1,al\n"Wei, Li",102,S2,lw,,,\n"Ö, Dörte",103,S3,do,,,\n"Test",104,S4,te,,,50\n'
    names = {
        "lovelaceada_LATE_101_5501_05_mixed": "05",
        "Li Wei": "05",
        "do\u0308rte o\u0308": "05",
    }
    found, said = booked(tmp_path, rows, **names)
    assert found == {"101": "7", "102": "7", "103": "7", "104": "50"}
    assert said[:2] == ["3 of 3 submissions filled in", "not in the gradebook: nobody"]
    assert said[2] == "the gradebook has 10 points for it, here are 100: nothing was scaled"


def test_a_stray_file_of_another_set_does_not_make_the_column_doubtful(tmp_path):
    rows = "A,1,S1,ada,,,\nB,2,S2,bob,,,\nC,3,S3,cleo,,,\n"
    found, said = booked(tmp_path, rows, ada="05", bob="05", cleo="02")
    assert found == {"1": "7", "2": "7", "3": ""} and "of another set: cleo" in said
    with pytest.raises(ValueError, match="2 columns fit 'the number of the set'"):
        booked(tmp_path, rows, ada="05", cleo="02")


def test_a_doubtful_grade_is_not_filled_in(tmp_path):
    rows = '"Wei, Li",1,S1,w1,,,\n"Wei, Li",2,S2,w2,,,\n"Ray, Fay",3,S3,fay,,,60\n'
    rows += '"B, Ida",4,S4,ida,,,\n"C, Al",5,S5,al,,,\n'
    names = {"Wei, Li": "05", "fay": None, "ida": "02", "al": "05", "S5": "05"}
    found, said = booked(tmp_path, rows, "Set 05", **names)
    assert found == {"1": "", "2": "", "3": "60", "4": "", "5": ""}
    for line in (
        "not read: fay",
        "of another set: ida",
        "fits two students: Wei, Li",
        "two files of one student: al, S5",
    ):
        assert line in said


def test_the_column_is_the_sets_own(tmp_path):
    global_head = HEAD.replace("Set 02 (8)", "Essay 105 (8)")
    book = tmp_path / "book.csv"
    book.write_text(global_head.replace("Set 05 (9)", "Set 5 (9)"))
    result = {"name": "ada", "set": "05", "points": 7, "of": 100, "exercises": {"05.1": {}}}
    with pytest.raises(ValueError, match="0 columns fit"):
        fill_gradebook([result], book)
    book.write_text(global_head + "ada,1\n")
    assert fill_gradebook([result], book, "Set 05 (9)")[0].endswith("ada,1,,,,,7\n")
    book.write_text(HEAD.replace("Set 05 (9)", "Second homework"))
    with pytest.raises(ValueError, match="is 'Second homework' for set 02 or 05"):
        fill_gradebook([result, result | {"set": "02"}], book, "Second")
