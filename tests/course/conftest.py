"""What several tests of grading start from."""

import contextlib
import io
import shutil

import pytest
from submissions import run, source


@pytest.fixture(scope="session")
def graded_once(tmp_path_factory):
    """Three students, with a solution, half of one, and nothing: a folder with class/ and graded/; what was said."""
    top = tmp_path_factory.mktemp("course")
    (top / "class").mkdir()
    half = source().partition("# ## 05.3")[0]
    for name, text in {"ada": source(), "bob": half, "cleo": source(solved=False)}.items():
        (top / "class" / f"{name}.py").write_text(text, encoding="utf-8")
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        assert run("grade", top / "class", "--out", top / "graded") == 0
    return top, said.getvalue().splitlines()


@pytest.fixture
def classroom(graded_once, tmp_path):
    """The folder of the class; beside it lies graded/, so that a run takes what is there."""
    shutil.copytree(graded_once[0], tmp_path, dirs_exist_ok=True)
    return tmp_path / "class"
