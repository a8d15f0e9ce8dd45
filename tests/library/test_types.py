"""What an editor and a type checker know: every public name and its signature, through the lazy import too."""

import ast
import inspect
import re
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from public_names import PACKAGES, PUBLIC

ROOT = Path(__file__).resolve().parents[2]
TYPED = ROOT / "tests" / "typed"
CHECKERS = {
    "mypy": ["mypy", "--no-error-summary", "--python-executable", sys.executable],
    "pyright": ["pyright", "--pythonpath", sys.executable],
}


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_what_is_read_by_a_checker_is_what_is_imported(package):
    tree = ast.parse(Path(package.__file__).read_text(encoding="utf-8"))
    (block,) = (
        node.body
        for node in tree.body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    )
    read = {alias.asname: node.module for node in block for alias in node.names}
    assert read == package._HOMES
    for name, home in read.items():
        assert getattr(import_module(f".{home}", package.__name__), name) is getattr(package, name)


def test_the_packages_say_that_they_have_types():
    assert all(Path(package.__file__).with_name("py.typed").exists() for package in PACKAGES)


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_has_a_signature_with_types(name):
    if issubclass(type(PUBLIC[name]), type) and issubclass(PUBLIC[name], Exception):
        return
    signature = inspect.signature(PUBLIC[name])
    bare = [each for each, of in signature.parameters.items() if of.annotation is of.empty]
    assert bare == []
    assert inspect.isclass(PUBLIC[name]) or signature.return_annotation is not signature.empty


def test_the_right_script_uses_every_public_name():
    words = {*re.findall(r"\w+", (TYPED / "right.py").read_text(encoding="utf-8"))}
    assert {*PUBLIC} <= words


@pytest.mark.nightly
@pytest.mark.parametrize("checker", CHECKERS)
def test_a_checker_refuses_what_is_wrong_and_nothing_else(checker, tmp_path):
    if not shutil.which(checker):
        pytest.skip(f"{checker} is not installed: pip install {checker}")
    for name in ("right.py", "wrong.py"):
        shutil.copy(TYPED / name, tmp_path)
    command = [*CHECKERS[checker], "right.py", "wrong.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=280)
    found = re.findall(r"(\w+\.py):(\d+):.*error", done.stdout)
    wrong = (TYPED / "wrong.py").read_text(encoding="utf-8").splitlines()
    marked = [
        n for n, line in enumerate(wrong, 1) if line.partition("  # ")[2].startswith("refused")
    ]
    assert {*found} == {("wrong.py", str(n)) for n in marked}, done.stdout + done.stderr
