"""Answers in prose: out without names, back with points."""

import csv
import io

from marks import needs_solutions
from submissions import forks, run, source

pytestmark = forks


@needs_solutions
def test_texts_go_out_without_names_and_come_back_with_points(classroom, tmp_path, capsys):
    out = tmp_path / "graded"
    run("grade", classroom, "--out", out)
    text = (out / "texts.csv").read_text()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == 1 and "ada" not in text and rows[0]["exercise"] == "05.7" and rows[0]["points"] == ""
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
    (out / "texts.csv").write_text(f"code;exercise;of;points;text\n{code};05.7;5;3,5;mine\n")  # as Excel may save it
    for _ in range(2):
        assert run("grade", classroom, "--out", out) == 0
        said = capsys.readouterr().out
        assert "ada: 98.5 of 100" in said and "wait for" not in said
    assert "recorded: marked by a person, 3.5 of 5 points" in (out / "feedback" / "ada.md").read_text()
    (classroom / "ada.py").write_text(source() + "\nmore = 1\n", encoding="utf-8")  # the text is the same
    run("grade", classroom / "bob.py", "--out", out)
    run("grade", classroom, "--out", out)
    assert "ada: 98.5 of 100" in capsys.readouterr().out
