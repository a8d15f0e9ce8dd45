"""The sdist and the wheel hold what belongs to them, and work where they are installed alone, as on Colab."""

import re
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser

import pytest
from house.scripts import ROOT, script

release, stamp = script("release.py"), script("stamp.py")
PACKAGES = ("flash_tutorial", "flash_course")
pytestmark = pytest.mark.skipif(
    not (ROOT / ".git").exists(), reason="not a git checkout: what belongs to it is not known"
)
# what a working checkout has beside what git knows
JUNK = (
    ".ci-venv/lib/library.py",
    "dist/flash_tutorial-0.1.0.tar.gz",
    "flash_course/__pycache__/cli.pyc",
    "flash_tutorial/runs/model.safetensors",
    "notebooks/work/05_mine.ipynb",
    "texts.bin",
)


def need(*names):
    """Skip where one of the tools is not installed."""
    try:
        for name in names:
            release.installed(name)
    except release.ReleaseError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """(sdist, wheel), by this environment's hatchling."""
    need("build", "hatchling")
    folder = tmp_path_factory.mktemp("release")
    release.copy_known_files(folder / "source")
    for name in JUNK:
        (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "source" / name).write_text("junk", encoding="utf-8")
    return release.build(folder / "source", folder / "built", isolated=False)


# ---------------------------------------------------------------- what they hold


def packaged_files():
    return {name for name in release.known_files() if name.split("/")[0] in PACKAGES}


def test_the_wheel_holds_every_file_of_the_packages_and_the_licences(built):
    held = set(zipfile.ZipFile(built[1]).namelist())
    assert {name for name in held if ".dist-info/" not in name} == packaged_files()
    assert "flash_course/template/analysis.ipynb" in held
    assert len([name for name in held if "/licenses/" in name]) == 3


def test_the_sdist_holds_what_the_wheel_is_made_of_and_no_more(built):
    with tarfile.open(built[0]) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    for_building = {"PKG-INFO", "pyproject.toml", "hatch_build.py", ".gitignore"}
    texts = {"README.md", "CHANGELOG.md", "CITATION.cff", "LICENSE", "LICENSE-PROSE"}
    assert held == packaged_files() | for_building | texts


# ---------------------------------------------------------------- what they say of themselves

RELATIVE = re.compile(r"\]\((?!https://|#)[^)]*\)")


def metadata_of(source, folder):
    """The metadata of a wheel that would be built from ``source``."""
    code = f"import hatchling.build; print(hatchling.build.prepare_metadata_for_build_wheel({str(folder)!r}))"
    name = release.run(sys.executable, "-c", code, cwd=source).split()[-1]
    return Parser().parsestr((folder / name / "METADATA").read_text(encoding="utf-8"))


def test_stamp_gives_the_metadata_an_address_and_takes_it_out_again(tmp_path):
    need("hatchling")
    source = tmp_path / "source"
    release.copy_known_files(source)
    stamp.stamp("ada/flash", "v1", source)
    stamped = metadata_of(source, tmp_path)
    home = "https://github.com/ada/flash"
    assert f"Source, {home}" in stamped.get_all("Project-URL", [])
    assert f"]({home}/raw/v1/docs/figures/mechanism.svg)" in stamped.get_payload()
    assert f"]({home}/blob/v1/docs/results.md#speed)" in stamped.get_payload()
    stamp.stamp("OWNER/REPO", "main", source)
    bare = metadata_of(source, tmp_path)
    assert bare["Project-URL"] is None and "OWNER/REPO" not in bare.as_string()
    for said in (stamped, bare):
        assert RELATIVE.findall(said.get_payload()) == []


def test_a_tag_of_another_version_is_refused():
    """With it the first cell would install that version over this one."""
    text = (ROOT / "flash_course" / "addresses.py").read_text(encoding="utf-8")
    addresses = stamp.project_of(
        stamp.CONSTANT.sub('REPOSITORY, TAG = "ada/flash", "v0.2.0"', text)
    )
    release.check_address(addresses, "0.2.0")
    with pytest.raises(release.ReleaseError, match=r"python tools/stamp\.py ada/flash v0\.3\.0"):
        release.check_address(addresses, "0.3.0")


# ---------------------------------------------------------------- alone


@pytest.mark.nightly
def test_the_wheel_works_alone(built, tmp_path):
    need("pip")
    said = release.try_alone(built[1], tmp_path)
    assert "packaged models load by name" in said


@pytest.mark.nightly
def test_a_release_passes(tmp_path):
    """Both files, built in an environment that has only what pyproject.toml asks for."""
    need("build", "twine", "pip")
    fetch = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", tmp_path, "hatchling"]
    if subprocess.run(fetch, capture_output=True).returncode:
        pytest.skip("pip reaches no index, from which an isolated build takes hatchling")
    assert release.main([str(tmp_path / "dist")]) == 0
    kinds = sorted(path.suffix for path in (tmp_path / "dist").iterdir())
    assert kinds == [".gz", ".whl"]
