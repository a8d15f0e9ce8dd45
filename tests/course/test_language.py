"""The course in another language: what is translated is said, and a slip in it is said to who made it."""

import shutil

import pytest
from submissions import forks, graded, run, source

from flash_course.checks import texts
from flash_course.checks.exercise import load_set
from flash_course.grading import grade
from flash_course.grading.grade import state_of
from flash_course.grading.language import language

pytestmark = forks
GENERAL = 'right = "juste"\npoints = "{got} points sur {of}"\n"not attempted" = "pas commencé"\n'
SET = '["05.1"]\ntitle = "découper"\n["05.1".words]\nvalues = "valeurs"\n["05.1".wrong]\nfront = ["Rempli devant."]\n'


@pytest.fixture
def french(tmp_path, monkeypatch):
    """A folder with a part of the texts, as the class's language."""
    folder = tmp_path / "french"
    folder.mkdir()
    (folder / "general.toml").write_text(GENERAL, encoding="utf-8")
    (folder / "set_05.toml").write_text(SET, encoding="utf-8")
    monkeypatch.setenv("FLASH_COURSE_TEXTS", str(folder))
    texts.read.cache_clear()
    load_set.cache_clear()
    yield folder
    texts.read.cache_clear()
    load_set.cache_clear()


@pytest.mark.fork
def test_what_is_translated_is_said_and_the_rest_in_english(french, tmp_path, capsys):
    path = tmp_path / "ada.py"
    path.write_text(source(solved=False), encoding="utf-8")
    assert run("grade", path, "--out", tmp_path / "out") == 0
    page = (tmp_path / "out" / "feedback" / "ada.md").read_text(encoding="utf-8")
    assert "## 05.1 découper: pas commencé, 0 points sur 10\n" in page
    assert "## 05.2 earlier_chunks: pas commencé" in page
    assert texts.say("05.1", "front") == "Rempli devant."
    assert texts.say("05.1", "strided").startswith("Chunk 0 holds")


def test_another_language_is_another_result(french, monkeypatch):
    """A result holds sentences: one in French is none for a class in English."""
    keys = [state_of("05", 1, None, None)]
    (french / "set_05.toml").write_text(SET.replace("Rempli", "Complété"), encoding="utf-8")
    keys.append(state_of("05", 1, None, None))
    monkeypatch.delenv("FLASH_COURSE_TEXTS")
    keys.append(state_of("05", 1, None, None))
    assert len({*keys}) == 3


def test_a_general_sentence_that_was_changed_is_another_result(tmp_path, monkeypatch):
    for part in ("checks", "grading"):
        shutil.copytree(grade.COURSE / part, tmp_path / part)
    monkeypatch.setattr(grade, "COURSE", tmp_path)
    before = grade.state_of("05", 1, None, None)
    general = tmp_path / "checks" / "sets" / "general.toml"
    said = general.read_text(encoding="utf-8")
    general.write_text(said.replace("write `assert`", "use `assert`"), encoding="utf-8")
    assert grade.state_of("05", 1, None, None) != before


@pytest.mark.parametrize(
    "name, text, said",
    [
        ("general.toml", 'points = "{obtenus}"', "'points' has {obtenus}, expected no words in"),
        ("general.toml", 'correct = "juste"', "'correct' is nothing that the course says"),
        ("general.toml", 'right = juste"', r"general.toml cannot be read: Invalid value"),
        ("set_05.toml", '["05.1".wrong]\nfrnt = ["Rempli"]', "'05.1 wrong frnt' is nothing that"),
        ("set_05.toml", '["05.9"]\ntitle = "x"', "'05.9' is nothing that the course says"),
        ("set_12.toml", "", "the course has no set_12.toml. Expected general.toml"),
    ],
)
def test_a_slip_in_a_translation_is_one_line(french, name, text, said, tmp_path):
    assert language()
    (french / name).write_text(text, encoding="utf-8")
    texts.read.cache_clear()
    with pytest.raises(ValueError, match=said):
        graded(tmp_path, source(solved=False))


def test_a_folder_that_is_not_there_is_said_in_check_and_in_grade(french, tmp_path, monkeypatch):
    monkeypatch.setenv("FLASH_COURSE_TEXTS", str(tmp_path / "freench"))
    with pytest.raises(ValueError, match=r"there is no folder .*freench"):
        texts.say("05.1", "front")
    with pytest.raises(ValueError, match=r"freench has no general\.toml"):
        language()
