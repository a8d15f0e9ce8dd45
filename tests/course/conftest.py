"""What several tests of grading, and of projects, start from."""

import contextlib
import importlib
import io
import shutil

import pytest
from small_project import fill_in, forget, read, shrink, write
from submissions import run, source

from flash_course import new_project


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


@pytest.fixture
def project(tmp_path):
    return new_project.create_project(tmp_path / "my-project")


@pytest.fixture
def grid_of(project, monkeypatch, capsys):
    """The grid of the project as it stands now, imported anew: ``grid_of("SEEDS = [0]")`` adds lines first."""
    monkeypatch.syspath_prepend(str(project))
    monkeypatch.chdir(project)
    fill_in(project)
    shrink(project)

    def load(settings=""):
        forget()
        write(project, "settings.py", f"{read(project, 'settings.py')}\n{settings}\n")
        shutil.rmtree(project / "__pycache__", ignore_errors=True)  # an edit within the same second
        return importlib.import_module("grid")

    yield load
    forget()
