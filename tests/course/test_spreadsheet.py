"""Tables: no cell is a formula, and what is no table in UTF-8 is said in one line."""

import csv
import io

import pytest
from refusals import assert_refused

from flash_course.grading.spreadsheet import read_rows, written_rows


@pytest.mark.quick
@pytest.mark.parametrize("text", ["=1+1", "+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "  =1", "=cmd|'/c calc'!A0"])
def test_a_cell_is_no_formula(text):
    (row,) = csv.reader(io.StringIO(written_rows([[text, 3, -2.5, "plain"]]), newline=""))
    assert row == ["'" + text.replace("\r", " "), "3", "-2.5", "plain"]


@pytest.mark.quick
def test_only_the_columns_that_students_write_are_changed():
    assert written_rows([["=a", "-3", "+49", "@b"]], [0]) == "'=a,-3,+49,@b\n"


@pytest.mark.quick
@pytest.mark.parametrize(
    "raw, said",
    [
        ("Student,ID\n".encode("utf-16"), "looks like UTF-16"),
        ("Student,ID\n".encode("utf-16-le"), "looks like UTF-16"),
        ("Stüdent,ID\n".encode("latin-1"), "is no table in UTF-8"),
        (b"a," + b"x" * 200_000, "is no table"),
    ],
)
def test_what_is_no_table_is_said(raw, said, tmp_path):
    path = tmp_path / "book.csv"
    path.write_bytes(raw)
    assert "CSV UTF-8" in assert_refused(said, read_rows, path)


@pytest.mark.quick
def test_a_table_as_excel_saves_it_is_read(tmp_path):
    path = tmp_path / "book.csv"
    path.write_bytes('a;b\r\n"1;2";ü\r\n'.encode("utf-8-sig"))
    assert read_rows(path) == [["a", "b"], ["1;2", "ü"]]
