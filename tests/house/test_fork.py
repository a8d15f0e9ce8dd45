"""A course's fork: no solutions, no held-out faults, the course's addresses, and its own tests pass."""

import importlib.machinery
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [
    pytest.mark.fork,
    pytest.mark.skipif(
        not (ROOT / "solutions").is_dir(),
        reason="this is a fork: it has no solutions/ to leave out",
    ),
    pytest.mark.skipif(
        not (ROOT / ".git").exists(), reason="not a git checkout: what belongs to it is not known"
    ),
]


def tool():
    loader = importlib.machinery.SourceFileLoader(
        "course_fork", str(ROOT / "tools" / "course_fork")
    )
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("course_fork", loader))
    # it has no .py: bytecode would lie beside it
    before, sys.dont_write_bytecode = (
        sys.dont_write_bytecode,
        True,
    )
    try:
        loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = before
    return module


@pytest.fixture(scope="module")
def fork(tmp_path_factory):
    out = tmp_path_factory.mktemp("fork") / "course"
    tool().make_fork(out, "ada/flash-2027", "fall")
    return out


def test_it_has_no_answer(fork):
    for name in ("rubrics.md", "lesson_plans.md"):
        assert (ROOT / "docs" / name).is_file() and not (fork / "docs" / name).exists(), name
    assert not (fork / "solutions").exists() and not list(fork.rglob("right_*.py"))
    assert (fork / "exercises").is_dir() and (fork / "notebooks").is_dir()
    code = [path for path in fork.rglob("*.py") if path.relative_to(fork).parts[0] != "tests"]
    text = "".join(path.read_text(encoding="utf-8") for path in code)
    assert not re.search(r"^def held_out_\d|^WEAK = ", text, re.MULTILINE)


def test_addresses_and_install_line_are_the_courses(fork):
    own = "ada/flash-2027/blob/fall"
    for path in [
        fork / "README.md",
        *fork.glob("exercises/*.ipynb"),
        *fork.glob("notebooks/**/*.ipynb"),
    ]:
        text = path.read_text(encoding="utf-8")
        assert "ada/flash-2027" in text and "OWNER/REPO" not in text, path.name
    name = "05_mixed_chunk_attention.ipynb"
    for folder, address in (
        ("notebooks", f"{own}/notebooks/work"),
        ("notebooks/work", f"{own}/notebooks"),
        ("exercises", f"{own}/notebooks"),
    ):
        assert f"{address}/{name})" in (fork / folder / name).read_text(encoding="utf-8"), folder
    assert (
        'REPOSITORY, TAG = "ada/flash-2027", "fall"'
        in (fork / "flash_course" / "addresses.py").read_text()
    )


def test_assistants_are_told_what_they_may_do(fork):
    text = (fork / "AGENTS.md").read_text(encoding="utf-8")
    assert (
        "You may:" in text
        and "You may not:" in text
        and "write, complete, translate or mend code" in text
    )


def test_a_link_to_a_page_that_is_left_out_is_plain_text(fork):
    text = (fork / "docs" / "instructors.md").read_text(encoding="utf-8")
    assert "Lesson plans and" in text and "(lesson_plans.md)" not in text
    assert "(questions.md)" in text


def test_a_folder_that_is_there_is_refused(fork, capsys):
    with pytest.raises(SystemExit):
        tool().main([str(fork)])
    assert "exists already" in capsys.readouterr().err


def test_its_readme_speaks_to_students(fork):
    text = (fork / "README.md").read_text(encoding="utf-8")
    assert "flash-tutorial check exercises/05" in text
    assert not [
        word
        for word in ("solutions", "kill_table", "exercises.py kill", "instructors.md")
        if word in text
    ]


def test_a_readme_that_says_something_else_is_refused(tmp_path, monkeypatch):
    fork_tool = tool()
    monkeypatch.setitem(fork_tool.FOR_STUDENTS, "a sentence that was changed", "")
    with pytest.raises(ValueError, match="no longer says 'a sentence that was changed'"):
        fork_tool.make_fork(tmp_path / "course")
    assert not list(tmp_path.iterdir())


def test_a_wrong_name_leaves_nothing_behind(tmp_path, capsys):
    with pytest.raises(SystemExit):
        tool().main([str(tmp_path / "course"), "--repository", "course"])
    assert "expected the repository's name" in capsys.readouterr().err and not list(
        tmp_path.iterdir()
    )


def test_a_python_without_the_courses_packages_is_said(tmp_path, capsys, monkeypatch):
    fork_tool = tool()
    monkeypatch.setitem(sys.modules, "nbformat", None)
    with pytest.raises(SystemExit):
        fork_tool.main([str(tmp_path / "course"), "--repository", "ada/course"])
    assert "nbformat is missing: activate the environment" in capsys.readouterr().err and not list(
        tmp_path.iterdir()
    )


def test_a_folder_without_git_is_refused_and_what_git_does_not_know_is_named(tmp_path):
    with pytest.raises(ValueError, match="is no git checkout"):
        tool().make_fork(tmp_path / "course", root=tmp_path)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    (tmp_path / "set_12.py").write_text("")
    (tmp_path / "solutions").mkdir()
    (tmp_path / "solutions" / "right_12.py").write_text("")
    assert tool().unknown(tmp_path) == ["set_12.py"]


@pytest.mark.nightly
def test_its_own_tests_pass_or_are_skipped_with_a_sentence(fork):
    """Those that look at what a fork changes, told by their mark; the others would do the same as here."""
    files = [
        path
        for path in sorted((fork / "tests").rglob("test_*.py"))
        if "mark.fork" in path.read_text("utf-8")
    ]
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-rs",
        "-n",
        "0",
        "-p",
        "no:cacheprovider",
        "-m",
        "fork",
        *files,
    ]
    environment = os.environ | {"PYTHONPATH": str(fork), "PYTHONDONTWRITEBYTECODE": "1"}
    run = subprocess.run(command, cwd=fork, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-3000:]
    passed, skipped = (
        int(re.search(rf"(\d+) {word}", run.stdout)[1]) for word in ("passed", "skipped")
    )
    assert passed >= 30 and skipped >= 10, run.stdout[-3000:]
    for reason in re.findall(r"^SKIPPED .*?: (?:\d+: )?(.*)$", run.stdout, flags=re.M):
        assert "fork" in reason or "not a git checkout" in reason, reason
