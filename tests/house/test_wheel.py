"""The wheel holds the three packages with their data, and works where it is installed alone, as on Colab."""

import os
import re
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("flash_tutorial", "flash_course")
pytestmark = pytest.mark.skipif(
    not (ROOT / ".git").exists(), reason="not a git checkout: what belongs to it is not known"
)


def run(*command, **options):
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=300, **options
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from what git knows of this checkout, as it lies here: with .gitignore, by which hatchling leaves out."""
    pytest.importorskip("hatchling", reason="hatchling is not installed, so no wheel can be built")
    folder = tmp_path_factory.mktemp("wheel")
    for name in run("git", "ls-files", "-z", cwd=ROOT).split("\0"):
        if (
            name.startswith((*PACKAGES, "pyproject", "README", "LICENSE", ".gitignore"))
            and (ROOT / name).is_file()
        ):
            (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "source" / name).write_bytes((ROOT / name).read_bytes())
    run(
        sys.executable,
        "-m",
        "hatchling",
        "build",
        "-t",
        "wheel",
        "-d",
        folder,
        cwd=folder / "source",
    )
    (path,) = folder.glob("*.whl")
    return path


def test_the_wheel_holds_every_file_of_the_packages_and_the_licences(wheel):
    held = set(zipfile.ZipFile(wheel).namelist())
    known = run("git", "ls-files", "-z", *PACKAGES, cwd=ROOT).split("\0")
    wanted = {name for name in known if name and (ROOT / name).is_file()}
    assert wanted <= held, sorted(wanted - held)[:5]
    kinds = {(Path(name).parts[0], Path(name).suffix) for name in wanted}
    assert {("flash_course", ".toml"), ("flash_course", ".json")} <= kinds
    assert {("flash_tutorial", ".safetensors"), ("flash_tutorial", ".bz2")} <= kinds
    assert (
        "flash_course/template/README.md" in held and "flash_course/template/analysis.ipynb" in held
    )
    assert len([name for name in held if "/licenses/" in name]) == 3
    assert {name.split("/")[0] for name in held if ".dist-info" not in name} == {*PACKAGES}


TRY = """
import flash_course, flash_tutorial
from flash_course.bench.stored import load_stored
from flash_course.checks.exercise import load_set, there
from flash_course.new_project import create_project
from flash_tutorial import LanguageModel, load_corpus

print(flash_tutorial.__file__, flash_tutorial.__file__, flash_course.__file__, sep="\\n")
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
    run(
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        wheel,
    )
    place = Path(
        run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    )
    libraries = {
        str(Path(__import__(name).__file__).parent.parent)
        for name in ("numpy", "torch", "matplotlib")
    }
    (place / "libraries.pth").write_text("\n".join(libraries) + "\n")
    said = run(python, "-I", "-c", TRY, cwd=tmp_path).splitlines()
    assert all(line.startswith(str(place)) for line in said[:3]), said[:3]
    assert said[3] == "70 exercises" and said[4].startswith("flash ")
    assert "flash-tutorial" in run(scripts / "flash-tutorial", "--help", cwd=tmp_path)
    assert re.search(r"torch +\d", run(scripts / "flash-tutorial", "doctor", cwd=tmp_path))
