"""Tables: no cell is a formula, and what is no table in UTF-8 is said in one line."""

import csv
import io
import re

import pytest
from refusals import assert_refused

from flash_course.grading.spreadsheet import read_rows, written_rows


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "  =1", "=cmd|'/c calc'!A0"]
)
def test_a_cell_is_no_formula(text):
    (row,) = csv.reader(io.StringIO(written_rows([[text, 3, -2.5, "plain"]]), newline=""))
    assert row == ["'" + text.replace("\r", " "), "3", "-2.5", "plain"]


WITHIN = [
    "a;=1+1",
    "a ; +1",
    'a;"=1+1"',
    "a;\t=1",
    "a\n=1+1",
    "a\n\n-1",
    "a;@x;=y",
    "a\t=1",
    'say "=1"',
    "a,=1",
    "＝1",
]


@pytest.mark.parametrize("text", WITHIN)
def test_a_cell_stays_whole_where_semicolons_and_tabs_part_cells_too(text):
    """As LibreOffice proposes it: all of them part cells, outside of quotes."""
    rows = [["05.7", text, "last"], [text, "05.7", "last"]]
    for separators in (",", ",;\t|"):
        same = re.compile(
            f'(?:^|(?<=[{separators}]))("(?:[^"]|"")*"|[^{separators}\n"]*)(?=[{separators}\n])',
            re.MULTILINE,
        )
        cells = [
            cell.strip('"').replace('""', '"').replace("'", "")
            for cell in same.findall(written_rows(rows))
        ]
        assert cells == [cell.strip('"') for cell in (*rows[0], *rows[1])]


@pytest.mark.parametrize("text", WITHIN)
def test_no_formula_begins_where_only_semicolons_part_cells(text):
    """As Excel opens a file in Germany or France: quotes behind a comma are not seen, a line's end ends the row."""
    for line in written_rows([["05.7", text, "last"], [text, "05.7", "last"]]).splitlines():
        for piece in line.split(";"):
            assert not piece.strip(' "\t').startswith(("=", "+", "-", "@", "＝")), piece


@pytest.mark.parametrize("text", ["a;b", "a\tb", "a|b", 'a"b', "a\nb", "a,b"])
def test_what_could_end_a_cell_stands_between_quotes(text):
    doubled = text.replace('"', '""')
    assert written_rows([[text, 1, None]]) == f'"{doubled}",1,\n'


def test_a_table_that_was_written_once_stays_as_it_is(tmp_path):
    path = tmp_path / "texts.csv"
    rows = [[text, "plain", "3.5"] for text in WITHIN]
    path.write_text(written_rows(rows), encoding="utf-8", newline="")
    once = read_rows(path)
    path.write_text(written_rows(once), encoding="utf-8", newline="")
    assert read_rows(path) == once


def test_only_the_columns_that_students_write_are_changed():
    assert written_rows([["=a", "-3", "+49", "@b"]], [0]) == "'=a,-3,+49,@b\n"


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


def test_a_table_as_excel_saves_it_is_read(tmp_path):
    path = tmp_path / "book.csv"
    path.write_bytes('a;b\r\n"1;2";ü\r\n'.encode("utf-8-sig"))
    assert read_rows(path) == [["a", "b"], ["1;2", "ü"]]
