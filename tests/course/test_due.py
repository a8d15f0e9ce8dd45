"""What counts for a class: all of a set, its core, or what is named."""

import zipfile

import pytest
from marks import needs_solutions
from submissions import forks, run

from flash_course.grading.due import due, read_due

pytestmark = forks


def result_of(number, *exercises):
    rows = {f"{number}.{i}": {"points": 3, "of": 10} for i in exercises}
    sums = dict(points=3 * len(rows), of=10 * len(rows))
    return {"name": "ada", "set": number, "exercises": rows} | sums


def test_points_are_those_of_what_counts():
    results = [
        result_of("05", 1, 2, 6, 7),
        result_of("04", 1),
        result_of("05") | {"name": "unread"},
    ]
    core, other, unread = due(results, read_due("core"))
    assert [*core["exercises"]] == ["05.1", "05.2"] and (core["points"], core["of"]) == (6, 20)
    assert (unread["points"], unread["of"], unread["exercises"]) == (0, 0, {})
    named, other, _ = due(results, read_due("05.2, 05.7"))
    # of set 04 nothing is named
    assert [*named["exercises"]] == ["05.2", "05.7"] and other == results[1]
    assert due(results, read_due(None)) == results
    assert (results[0]["points"], results[0]["of"]) == (12, 40)  # what is stored stays whole


@pytest.mark.parametrize(
    "text, number, named", [("5.1", None, "5.1"), ("05.1,", None, ""), ("04.1", "05", "04.1")]
)
def test_an_exercise_that_is_none_is_refused(text, number, named):
    said = f"--only {text}: there is no exercise '{named}' here. Expected core"
    with pytest.raises(ValueError, match=said):
        read_due(text, number)


@needs_solutions
def test_the_core_alone_is_reported_and_nothing_is_lost(classroom, tmp_path, capsys):
    out = tmp_path / "graded"
    assert run("grade", classroom, "--out", out, "--only", "core") == 0
    assert "ada: 70 of 70\nbob: 25 of 70\n" in capsys.readouterr().out
    head = (out / "results.csv").read_text().splitlines()[0]
    assert head == "name,set,points,of,05.1,05.2,05.3,05.4,STUDENT"
    assert (out / "feedback" / "ada.md").read_text().startswith("# ada: set 05, 70 of 70 points\n")
    assert run("grade", classroom, "--out", out) == 0
    assert "ada: 95 of 100" in capsys.readouterr().out


@pytest.mark.fork
def test_gradescope_gets_it_too(tmp_path):
    path = tmp_path / "a.zip"
    assert run("export", "gradescope", "05", "--out", path, "--only", "05.1, 05.2") == 0
    with zipfile.ZipFile(path) as archive:
        assert archive.read("run_autograder").decode().endswith('"$HERE/results" 1 05.1,05.2\n')
    assert run("export", "gradescope", "05", "--out", path, "--only", "04.1") == 2
