"""What several tests of grading start from."""

import pytest
from submissions import source


@pytest.fixture
def classroom(tmp_path):
    """Three students: a solution, half of one, and nothing."""
    folder = tmp_path / "class"
    folder.mkdir()
    half = source().partition("# ## 05.3")[0]
    for name, text in {"ada": source(), "bob": half, "cleo": source(solved=False)}.items():
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    return folder
