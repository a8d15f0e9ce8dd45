"""The wheel holds both packages with their data, and works where it is installed alone, as on Colab."""

import os
import re
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from flash_course.checks.exercise import load_set, there

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("flash_tutorial", "flash_course")
pytestmark = pytest.mark.skipif(
    not (ROOT / ".git").exists(), reason="not a git checkout: what belongs to it is not known"
)


def run(*command, **options):
    how = dict(capture_output=True, text=True, timeout=300) | options
    done = subprocess.run([*map(str, command)], **how)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def known_files():
    """What git knows of this checkout, as it lies here."""
    names = run("git", "ls-files", "-z", cwd=ROOT).split("\0")
    return [name for name in names if name and (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy of what belongs to it: with .gitignore, by which hatchling leaves out."""
    pytest.importorskip("hatchling", reason="hatchling is not installed, so no wheel can be built")
    folder = tmp_path_factory.mktemp("wheel")
    for name in known_files():
        if name.startswith((*PACKAGES, "pyproject", "README", "LICENSE", ".gitignore")):
            (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "source" / name).write_bytes((ROOT / name).read_bytes())
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder]
    run(*build, cwd=folder / "source")
    (path,) = folder.glob("*.whl")
    return path


def test_the_wheel_holds_every_file_of_the_packages_and_the_licences(wheel):
    held = set(zipfile.ZipFile(wheel).namelist())
    wanted = {name for name in known_files() if name.split("/")[0] in PACKAGES}
    assert wanted - held == set() and "flash_course/template/analysis.ipynb" in wanted
    assert len([name for name in held if "/licenses/" in name]) == 3
    assert {name.split("/")[0] for name in held if ".dist-info" not in name} == {*PACKAGES}


TRY = """
import flash_course, flash_tutorial
from flash_course.bench.stored import load_stored
from flash_course.checks.exercise import load_set, there
from flash_course.new_project import create_project
from flash_tutorial import LanguageModel, load_corpus

print(flash_tutorial.__file__, flash_course.__file__, sep="\\n")
print(sum(len(load_set(number)) for number in there()), "exercises")
print(LanguageModel.from_pretrained("austen-flash").config.architecture, len(load_corpus("austen").validation.tokens))
print(len(load_stored("recall")), sorted(path.name for path in create_project("mine").iterdir())[0])
"""


@pytest.mark.nightly
def test_it_works_alone_beside_torch(wheel, tmp_path):
    """Installed with --no-deps into an empty environment that sees the libraries of this one."""
    pytest.importorskip("pip")
    venv.create(tmp_path / "env", with_pip=False)
    scripts = tmp_path / "env" / ("Scripts" if os.name == "nt" else "bin")
    python = scripts / ("python.exe" if os.name == "nt" else "python")
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--quiet")
    run(*pip, "--no-deps", "--no-index", wheel)
    place = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    modules = map(__import__, ("numpy", "torch", "matplotlib"))
    libraries = {str(Path(module.__file__).parent.parent) for module in modules}
    Path(place, "libraries.pth").write_text("\n".join(libraries) + "\n")
    said = run(python, "-I", "-c", TRY, cwd=tmp_path).splitlines()
    assert all(line.startswith(place) for line in said[:2]), said[:2]
    count = sum(len(load_set(number)) for number in there())
    assert said[2] == f"{count} exercises" and said[3].startswith("flash ")
    assert "flash-tutorial" in run(scripts / "flash-tutorial", "--help", cwd=tmp_path)
    assert re.search(r"torch +\d", run(scripts / "flash-tutorial", "doctor", cwd=tmp_path))
