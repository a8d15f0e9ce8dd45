"""Answers in prose: out without names, back with points."""

import csv
import io
from unicodedata import normalize

import pytest
from marks import needs_solutions
from refusals import assert_one_line
from submissions import forks, run, source

from flash_course.grading.marks import merge_changes, read_changes, read_marks

pytestmark = forks


@needs_solutions
def test_texts_go_out_without_names_and_come_back_with_points(classroom, tmp_path, capsys):
    out = tmp_path / "graded"
    run("grade", classroom, "--out", out)
    text = (out / "texts.csv").read_text()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert (
        len(rows) == 1
        and "ada" not in text
        and rows[0]["exercise"] == "05.7"
        and rows[0]["points"] == ""
    )
    filled = tmp_path / "filled.csv"
    filled.write_text(text.replace(f"{rows[0]['code']},05.7,5,,", f"{rows[0]['code']},05.7,5,4,"))
    capsys.readouterr()
    assert run("grade", classroom, "--out", out, "--marks", filled) == 0
    said = capsys.readouterr().out
    assert "1 texts were marked by a person" in said and "ada: 99 of 100" in said
    filled.write_text(text.replace(f"{rows[0]['code']},05.7,5,,", f"{rows[0]['code']},05.7,5,6,"))
    assert run("grade", classroom, "--out", out, "--marks", filled) == 2
    assert "'6' points for 05.7, expected a number from 0 to 5" in capsys.readouterr().err


@needs_solutions
def test_marks_count_and_stay_in_every_later_run(classroom, tmp_path, capsys):
    out = tmp_path / "graded"
    run("grade", classroom, "--out", out)
    assert "1 texts wait for a person's points" in capsys.readouterr().out
    code = next(csv.DictReader(io.StringIO((out / "texts.csv").read_text())))["code"]
    assert code.startswith("t")  # 1234567890 and 12345e6789 are numbers to a spreadsheet
    # as Excel may save it
    (out / "texts.csv").write_text(f"code;exercise;of;points;text\n{code};05.7;5;3,5;mine\n")
    for _ in range(2):
        assert run("grade", classroom, "--out", out) == 0
        said = capsys.readouterr().out
        assert "ada: 98.5 of 100" in said and "wait for" not in said
    assert (
        "recorded: marked by a person, 3.5 of 5 points" in (out / "feedback" / "ada.md").read_text()
    )
    # the text is the same
    (classroom / "ada.py").write_text(source() + "\nmore = 1\n", encoding="utf-8")
    run("grade", classroom / "bob.py", "--out", out)
    run("grade", classroom, "--out", out)
    assert "ada: 98.5 of 100" in capsys.readouterr().out


@needs_solutions
def test_points_after_an_appeal_take_the_place_of_the_graders_in_every_later_run(
    classroom, tmp_path, capsys
):
    out = tmp_path / "graded"
    out.mkdir()
    (out / "changes.csv").write_text(
        "name,exercise,points,reason\nbob,05.3,12.5,Half of it was there.\nada,05.7,5,\ntim,05.1,3,\n"
    )
    for _ in range(2):
        assert run("grade", classroom, "--out", out) == 0
        said = capsys.readouterr().out
        assert "points changed by a person: bob 05.3 from 0 to 12.5, ada 05.7 from 0 to 5\n" in said
        assert "changes.csv names what is not here: tim 05.1\n" in said
        assert "ada: 100 of 100" in said and "bob: 37.5 of 100" in said and "wait for" not in said
    page = (out / "feedback" / "bob.md").read_text()
    assert (
        "## 05.3 mixed_chunk: recorded: marked by a person, 12.5 of 25 points\n\n- Half of it was there.\n"
        in page
    )
    (out / "changes.csv").unlink()
    run("grade", classroom, "--out", out)
    assert "bob: 25 of 100" in capsys.readouterr().out  # the grader's own points were kept


def test_changes_are_read_as_a_spreadsheet_saves_them_and_refused_where_they_are_none(tmp_path):
    path, row = tmp_path / "changes.csv", {"points": 0, "of": 10, "said": [], "status": "wrong"}
    assert read_changes(path) == []
    path.write_text("\ufeffname;exercise;points;reason\nada;05.1;3,5;why\n;;;\n", encoding="utf-8")
    result = {"name": "ada", "points": 0, "exercises": {"05.1": row, "05.2": {"points": 2}}}
    merge_changes([result], read_changes(path), path)
    assert result["points"] == 5.5 and row["said"] == ["why"]
    path.write_text("name,exercise,points\nada,05.1,11\n")
    with pytest.raises(ValueError, match=r"'11' points for 05\.1, expected a number from 0 to 10"):
        merge_changes([result], read_changes(path), path)
    path.write_text("student,points\nada,3\n")
    with pytest.raises(
        ValueError,
        match="expected the columns name, exercise, points and reason, got student, points",
    ):
        read_changes(path)


@pytest.mark.parametrize(
    "row, said",
    [
        ("ada", "no exercise and no points"),
        ("ada,05.3", "no points"),
        ("ada,,3,", "no exercise"),
        (",05.3,3,", "no name"),
        ("ada,05.3, ,why", "no points"),
        ("ada,05.3,3,5,why", "has 5 cells and the first row 4"),
    ],
)
def test_a_row_of_changes_that_cannot_count_is_named_before_anything_is_graded(
    tmp_path, capsys, row, said
):
    path = tmp_path / "graded" / "changes.csv"
    path.parent.mkdir()
    path.write_text(f"name,exercise,points,reason\nbob,05.1,3,\n\n{row}\n")
    (tmp_path / "ada.py").write_text("")
    assert run("grade", tmp_path / "ada.py", "--out", path.parent) == 2
    error = capsys.readouterr().err
    assert (
        error.count("\n") == 1
        and f"changes.csv, row 4 ({','.join(row.split(',')[:3])}) has" in error
    )
    assert said in error and [each.name for each in path.parent.iterdir()] == ["changes.csv"]


def test_a_row_of_marks_that_cannot_count_is_named(tmp_path):
    path = tmp_path / "texts.csv"
    path.write_text("points,code\n,t1\n,\n3,t2\n\n4\n")
    assert_one_line(lambda: read_marks(path), "texts.csv, row 6 (4) has no code: fill it in")
    path.write_text("code,points,text\nt1,3,5,mine\n")
    assert_one_line(
        lambda: read_marks(path),
        "row 2 (t1,3,5) has 4 cells and the first row 3: name each column there",
    )
    path.write_text("points,code\n,t1\n3,t2,,\n,\n")  # a spreadsheet may end a row with empty cells
    assert read_marks(path) == {"t2": {"points": "3", "code": "t2"}}


@pytest.mark.parametrize("form, other", [("NFC", "NFD"), ("NFD", "NFC")])
def test_an_appeal_finds_a_name_whose_letters_a_mac_wrote_in_parts(tmp_path, form, other):
    path = tmp_path / "changes.csv"
    path.write_text(f"name,exercise,points\n{normalize(form, 'Zoë')},05.1,7\n", encoding="utf-8")

    def of(name):
        return {
            "name": name,
            "points": 0,
            "exercises": {"05.1": {"points": 0, "of": 10, "said": []}},
        }

    alone, both = (
        of(normalize(other, "Zoë")),
        [of(normalize(form, "Zoë")), of(normalize(other, "Zoë"))],
    )
    said = merge_changes([alone], read_changes(path), path)
    assert (
        alone["points"] == 7
        and len(said) == 1
        and said[0].startswith("points changed by a person: ")
    )
    merge_changes(both, read_changes(path), path)
    assert [result["points"] for result in both] == [7, 0]
