"""The reader's own file: what is kept, what later lectures run, and what is said where something is wrong."""

import linecache

import numpy as np
import pytest

from flash_course import builds, mine
from flash_course.builds import Build, Case, call
from flash_course.learner import export_progress, my_flash_path, restore_progress


def double(x):
    return 2 * x


def plus_double(x, y):
    return x + 2 * y


BUILDS = {
    "double": (
        "01",
        Build(
            double,
            cases=(call("three numbers", np.array([1, 2, 3])), call("one", np.array([5]))),
            likely=(("Once is not twice.", lambda x: x),),
            why="All that grows begins so.",
        ),
    ),
    "plus_double": (
        "02",
        Build(plus_double, cases=(call("numbers", np.array([1.0]), np.array([4.0])),)),
    ),
}


@pytest.fixture(autouse=True)
def two_builds(monkeypatch, tmp_path):
    monkeypatch.setenv("FLASH_TUTORIAL_PROGRESS", str(tmp_path / "progress.json"))
    monkeypatch.setattr(builds, "all_builds", lambda: BUILDS)
    monkeypatch.setattr(mine, "all_builds", lambda: BUILDS)


def in_a_notebook(source, name, **around):
    """A function as a notebook's cell defines it."""
    file = f"cell of {hash(source)}"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    namespace = {"np": np, **around}
    exec(compile(source, file, "exec"), namespace)
    return namespace[name]


RIGHT = "def double(x):\n    # BUILD\n    return x + x\n    # END\n"
WRONG = "def double(x):\n    return x\n"
BLANK = f"def double(x):\n    {mine.TODO}: 1 line\n"


def test_what_is_right_is_kept_and_run_later(capsys):
    answer = in_a_notebook(RIGHT, "double")
    assert mine.check(answer, keep=True) is answer
    assert "def double(x):\n    return x + x\n" in mine.text()
    assert mine.use("double")(np.array([4]))[0] == 8
    assert "yours: double" in capsys.readouterr().out


def test_without_keep_nothing_is_written():
    mine.check(in_a_notebook(RIGHT, "double"))
    assert not my_flash_path().exists()


@pytest.mark.parametrize("source", [WRONG, BLANK])
def test_the_page_runs_on_with_the_courses_own(source):
    assert mine.check(in_a_notebook(source, "double"), keep=True) is double
    assert not my_flash_path().exists()


def test_a_wrong_answer_is_shown_beside_what_was_expected(capsys):
    mine.check(in_a_notebook(WRONG, "double"))
    said = capsys.readouterr().out
    assert "[2 4 6]" in said and "[1 2 3]" in said and "Once is not twice." in said


def test_what_reads_the_notebook_is_not_kept(capsys):
    source = "def double(x):\n    return x * factor\n"
    mine.check(in_a_notebook(source, "double", factor=2), keep=True)
    assert not my_flash_path().exists()
    assert "reads `factor`" in capsys.readouterr().out


def test_what_is_not_built_is_borrowed_until_it_is():
    source = "def plus_double(x, y):\n    return x + double(y)\n"
    mine.check(in_a_notebook(source, "plus_double", double=double), keep=True)
    assert "double = find('double')[1].right" in mine.text()
    mine.check(in_a_notebook(RIGHT, "double"), keep=True)
    assert "find(" not in mine.text()
    assert mine.text().index("def double") < mine.text().index("def plus_double")
    assert mine.use("plus_double")(1, 2) == 5


def test_a_file_that_was_spoilt_is_noticed(capsys):
    mine.check(in_a_notebook(RIGHT, "double"), keep=True)
    mine.store(mine.text().replace("x + x", "x + 1"))
    assert mine.use("double") is double
    assert "yours is wrong by now" in capsys.readouterr().out
    mine.store("def (")
    assert mine.use("double") is double
    assert "cannot be run" in capsys.readouterr().out


def test_an_edited_head_and_other_sections_stay():
    mine.check(in_a_notebook(RIGHT, "double"), keep=True)
    mine.store(mine.text().replace("import math\n", "import math\nimport statistics\n"))
    answer = "def plus_double(x, y):\n    return x + 2 * y\n"
    mine.check(in_a_notebook(answer, "plus_double"), keep=True)
    assert "import statistics" in mine.text() and mine.built() == ["double", "plus_double"]


class Counter:
    def one(self):
        return 1

    def two(self):
        return 2


def test_a_class_is_judged_method_by_method_while_some_are_blank(monkeypatch):
    cases = (Case("one", lambda answer: answer().one()), Case("two", lambda answer: answer().two()))
    monkeypatch.setitem(BUILDS, "Counter", ("03", Build(Counter, cases)))
    blank = f"        {mine.TODO}: 1 line\n"
    text = "class Counter:\n    def one(self):\n{}    def two(self):\n{}"
    half = in_a_notebook(text.format("        return 1\n", blank), "Counter")
    card = mine.judge(BUILDS["Counter"][1], half)
    assert card.status == "wrong" and card.criteria == [("one", True), ("two", False)]
    assert "still to be written: 1" in card.said[-1]
    empty = in_a_notebook(text.format(blank, blank), "Counter")
    assert mine.judge(BUILDS["Counter"][1], empty).status == "not attempted"


@pytest.mark.parametrize("first", ["def first(self):", "@staticmethod\n    def first():"])
def test_a_class_of_a_notebook_has_a_text(first):
    source = f"class Pair:\n    {first}\n        return 1\n"
    assert mine.text_of(in_a_notebook(source, "Pair", __name__="__main__")) == source


def test_an_unknown_name_is_refused():
    with pytest.raises(ValueError, match="there is no build 'triple'"):
        mine.use("triple")


def test_the_file_travels_with_the_progress():
    mine.check(in_a_notebook(RIGHT, "double"), keep=True)
    carried = export_progress()
    before = mine.text()
    my_flash_path().unlink()
    restore_progress(carried)
    assert mine.text() == before


def test_an_earlier_attempt_above_is_not_taken_for_the_answer():
    both = WRONG + "\n\n" + RIGHT
    mine.check(in_a_notebook(both, "double"), keep=True)
    assert "return x + x" in mine.text()


def test_what_cannot_be_run_by_itself_is_not_kept(capsys):
    source = "def double(x, by=factor):\n    return x * by\n"
    mine.check(in_a_notebook(source, "double", factor=2), keep=True)
    assert not my_flash_path().exists()
    assert "It is not kept" in capsys.readouterr().out
