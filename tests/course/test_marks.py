"""Answers in prose: out without names, back with points."""

import csv
import io
from unicodedata import normalize

import pytest
from refusals import assert_one_line
from submissions import forks, run

from flash_course.checks.exercise import load_exercise
from flash_course.grading.marks import merge_changes, read_changes, read_marks

pytestmark = forks


@pytest.fixture
def texts(tmp_path):
    """A class of one, who has written a text; the folder of submissions, and that of what grading writes."""
    folder = tmp_path / "class"
    out = tmp_path / "graded"
    folder.mkdir()
    text = f"text_05_7 = {load_exercise('05.7').model_answer!r}\ncheck('05.7', text_05_7)\n"
    (folder / "ada.py").write_text(text, encoding="utf-8")
    return folder, out


@pytest.mark.nightly
def test_texts_go_out_without_names_and_come_back_with_points(texts, tmp_path, capsys):
    folder, out = texts
    run("grade", folder, "--out", out)
    assert "1 texts wait for a person's points" in capsys.readouterr().out
    text = (out / "texts.csv").read_text()
    (row,) = csv.DictReader(io.StringIO(text))
    assert "ada" not in text and row["exercise"] == "05.7" and row["points"] == ""
    assert row["code"].startswith("t")  # 1234567890 and 12345e6789 are numbers to a spreadsheet
    filled = tmp_path / "filled.csv"
    blank = f"{row['code']},05.7,5,,"
    filled.write_text(text.replace(blank, f"{blank[:-1]}4,"))
    assert run("grade", folder, "--out", out, "--marks", filled) == 0
    said = capsys.readouterr().out
    assert "1 texts were marked by a person" in said and "ada: 4 of 100" in said
    filled.write_text(text.replace(blank, f"{blank[:-1]}6,"))
    assert run("grade", folder, "--out", out, "--marks", filled) == 2
    assert "'6' points for 05.7, expected a number from 0 to 5" in capsys.readouterr().err


def test_marks_count_and_stay_in_every_later_run(texts, capsys):
    folder, out = texts
    run("grade", folder, "--out", out)
    (row,) = csv.DictReader(io.StringIO((out / "texts.csv").read_text()))
    # as Excel may save it
    table = f"code;exercise;of;points;text\n{row['code']};05.7;5;3,5;mine\n"
    (out / "texts.csv").write_text(table)
    capsys.readouterr()
    for more in ("", "\nmore = 1\n"):  # the text is the same
        path = folder / "ada.py"
        path.write_text(path.read_text(encoding="utf-8") + more, encoding="utf-8")
        assert run("grade", folder, "--out", out) == 0
        said = capsys.readouterr().out
        assert "ada: 3.5 of 100" in said and "wait for" not in said
    page = (out / "feedback" / "ada.md").read_text()
    assert "recorded: marked by a person, 3.5 of 5 points" in page


@pytest.mark.nightly
def test_points_after_an_appeal_take_the_place_of_the_graders_in_every_later_run(texts, capsys):
    folder, out = texts
    out.mkdir()
    (out / "changes.csv").write_text(
        "name,exercise,points,reason\nada,05.3,12.5,Half of it was there.\nada,05.7,5,\ntim,05.1,3,\n"
    )
    for _ in range(2):
        assert run("grade", folder, "--out", out) == 0
        said = capsys.readouterr().out
        assert "points changed by a person: ada 05.3 from 0 to 12.5, ada 05.7 from 0 to 5\n" in said
        assert "changes.csv names what is not here: tim 05.1\n" in said
        assert "ada: 17.5 of 100" in said and "wait for" not in said
    page = (out / "feedback" / "ada.md").read_text()
    assert "marked by a person, 12.5 of 25 points\n\n- Half of it was there.\n" in page
    (out / "changes.csv").unlink()
    run("grade", folder, "--out", out)
    assert "ada: 0 of 100" in capsys.readouterr().out  # the grader's own points were kept


def test_changes_are_read_as_a_spreadsheet_saves_them_and_refused_where_they_are_none(tmp_path):
    path = tmp_path / "changes.csv"
    row = {"points": 0, "of": 10, "said": [], "status": "wrong"}
    assert read_changes(path) == []
    path.write_text("\ufeffname;exercise;points;reason\nada;05.1;3,5;why\n;;;\n", encoding="utf-8")
    result = {"name": "ada", "points": 0, "exercises": {"05.1": row, "05.2": {"points": 2}}}
    merge_changes([result], read_changes(path), path)
    assert result["points"] == 5.5 and row["said"] == ["why"]
    path.write_text("name,exercise,points\nada,05.1,11\n")
    with pytest.raises(ValueError, match=r"'11' points for 05\.1, expected a number from 0 to 10"):
        merge_changes([result], read_changes(path), path)
    path.write_text("student,points\nada,3\n")
    with pytest.raises(ValueError, match="expected the columns name, exercise, points and reason"):
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
    assert error.count("\n") == 1
    assert f"changes.csv, row 4 ({','.join(row.split(',')[:3])}) has" in error
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

    def changed(*forms):
        rows = [{"05.1": {"points": 0, "of": 10, "said": []}} for _ in forms]
        results = [
            {"name": normalize(each, "Zoë"), "points": 0, "exercises": row}
            for each, row in zip(forms, rows)
        ]
        merge_changes(results, read_changes(path), path)
        return [result["points"] for result in results]

    assert changed(other) == [7]
    assert changed(form, other) == [7, 0]
