"""A course's fork: no solutions, no held-out faults, the course's addresses, and its own tests pass."""

import os
import re
import subprocess
import sys

import pytest
from house.scripts import ROOT, script

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
NAME = "05_mixed_chunk_attention.ipynb"
WORK = "05_work_mixed_chunk_attention.ipynb"
SET = "05_set_mixed_chunk_attention.ipynb"


def text_of(path):
    return path.read_text(encoding="utf-8")


@pytest.fixture
def tool():
    return script("course_fork")


@pytest.fixture(scope="module")
def fork(tmp_path_factory):
    out = tmp_path_factory.mktemp("fork") / "course"
    script("course_fork").make_fork(out, "ada/flash-2027", "fall")
    return out


def test_it_has_no_answer(fork):
    for name in ("rubrics.md", "lesson_plans.md"):
        assert (ROOT / "docs" / name).is_file() and not (fork / "docs" / name).exists(), name
    assert not (fork / "solutions").exists() and not [*fork.rglob("right_*.py")]
    assert (fork / "exercises" / SET).is_file() and (fork / "notebooks" / NAME).is_file()
    assert "write, complete, translate or mend code" in text_of(fork / "AGENTS.md")


def test_its_readme_speaks_to_students_and_links_lead_nowhere_that_is_left_out(fork):
    readme = text_of(fork / "README.md")
    assert "flash-tutorial check exercises/05" in readme
    assert not re.search(r"solutions|kill_table|exercises\.py kill|instructors\.md", readme)
    page = text_of(fork / "docs" / "instructors.md")
    assert "(questions.md)" in page and "(lesson_plans.md)" not in page


def test_addresses_and_install_line_are_the_courses(fork):
    notebooks = [*fork.glob("exercises/*.ipynb"), *fork.glob("notebooks/**/*.ipynb")]
    for path in [fork / "README.md", *notebooks]:
        text = text_of(path)
        assert "ada/flash-2027" in text and "OWNER/REPO" not in text, path.name
    own = "ada/flash-2027/blob/fall/notebooks"
    pages = {
        f"notebooks/{NAME}": f"{own}/work/{WORK}",
        f"notebooks/work/{WORK}": f"{own}/{NAME}",
        f"exercises/{SET}": f"{own}/{NAME}",
    }
    for page, to in pages.items():
        assert f"{to})" in text_of(fork / page), page
    constant = 'REPOSITORY, TAG = "ada/flash-2027", "fall"'
    assert constant in text_of(fork / "flash_course" / "addresses.py")


@pytest.mark.parametrize(
    "arguments, said",
    [
        ([], "exists already"),
        (["new", "--repository", "course"], "expected the repository's name"),
        (["new", "--repository", "ada/course"], "nbformat is missing: activate the environment"),
    ],
)
def test_what_cannot_be_is_said_and_leaves_nothing_behind(
    tool, tmp_path, capsys, monkeypatch, arguments, said
):
    monkeypatch.setitem(sys.modules, "nbformat", None)
    with pytest.raises(SystemExit):
        tool.main([os.path.join(tmp_path, *arguments[:1]), *arguments[1:]])
    assert said in capsys.readouterr().err and not [*tmp_path.iterdir()]


def test_a_readme_that_says_something_else_is_refused(tool, tmp_path, monkeypatch):
    monkeypatch.setitem(tool.FOR_STUDENTS, "a sentence that was changed", "")
    with pytest.raises(ValueError, match="no longer says 'a sentence that was changed'"):
        tool.make_fork(tmp_path / "course")
    assert not [*tmp_path.iterdir()]


def test_a_folder_without_git_is_refused_and_what_git_does_not_know_is_named(tool, tmp_path):
    with pytest.raises(ValueError, match="is no git checkout"):
        tool.make_fork(tmp_path / "course", root=tmp_path)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    (tmp_path / "set_12.py").touch()
    (tmp_path / "solutions").mkdir()
    (tmp_path / "solutions" / "right_12.py").touch()
    assert tool.unknown(tmp_path) == ["set_12.py"]


@pytest.mark.nightly
def test_its_own_tests_pass_or_are_skipped_with_a_sentence(fork):
    """Those that look at what a fork changes, told by their mark; the others would do the same as here."""
    files = [path for path in fork.glob("tests/**/test_*.py") if "mark.fork" in text_of(path)]
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "-n", "0", "-p", "no:cacheprovider"]
    environment = os.environ | {"PYTHONPATH": str(fork), "PYTHONDONTWRITEBYTECODE": "1"}
    how = dict(cwd=fork, env=environment, capture_output=True, text=True)
    run = subprocess.run([*command, "-m", "fork", *sorted(files)], **how)
    assert run.returncode == 0 and " passed" in run.stdout, run.stdout[-3000:]
    reasons = re.findall(r"^SKIPPED .*?: (?:\d+: )?(.*)$", run.stdout, flags=re.M)
    assert reasons
    for reason in reasons:
        assert "fork" in reason or "not a git checkout" in reason, reason
