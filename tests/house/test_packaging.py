"""What a fresh machine and Colab meet: bounds, licences, imports, the README's commands, and a tidy tree."""

import re
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

import pytest
from IPython import display
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import flash_tutorial
from flash_course import drawing
from flash_tutorial.gpu.floor import FLOOR

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
COLAB = (ROOT / "tests" / "data" / "colab_gpu_2026-08-19.txt").read_text(encoding="utf-8")


def requirements():
    """The lines of requirements.txt without its comments."""
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def by_name(lines):
    """{name: Requirement}"""
    found = [Requirement(line) for line in lines if not line.startswith("-")]
    return {canonicalize_name(requirement.name): requirement for requirement in found}


REQUIRED = by_name(PROJECT["dependencies"])
EXTRAS = {extra: by_name(lines) for extra, lines in PROJECT["optional-dependencies"].items()}
# the makers' tools, with exact versions
EXTRAS.pop("site")
DEVELOPER = by_name(requirements())
OF_EXTRAS = dict(chain.from_iterable(extra.items() for extra in EXTRAS.values()))
BOUNDS = [*REQUIRED.values(), *OF_EXTRAS.values(), *DEVELOPER.values()]

# ---------------------------------------------------------------- bounds


def colab_versions():
    """{name: version} of the packages on Colab."""
    pairs = (line.split("==") for line in COLAB.splitlines() if re.match(r"[^#]+==", line))
    return {canonicalize_name(name): version for name, version in pairs}


def test_bounds_are_lower_bounds_that_colab_satisfies():
    versions = colab_versions()
    assert REQUIRED.keys() <= versions.keys(), "a package would have to be installed on Colab"
    for requirement in BOUNDS:
        bounds = [bound.operator for bound in requirement.specifier]
        assert bounds == [">="] and requirement.url is None, requirement
        version = versions.get(canonicalize_name(requirement.name))
        if version is not None:
            assert requirement.specifier.contains(version, prereleases=True), requirement


def test_colab_has_a_python_that_is_allowed():
    version = re.search(r"Python (\d+\.\d+\.\d+)", COLAB)[1]
    allowed = PROJECT["requires-python"]
    assert SpecifierSet(allowed).contains(version) and allowed.startswith(">=")


@pytest.mark.fork
def test_requirements_and_pyproject_agree():
    lists = REQUIRED | OF_EXTRAS
    assert requirements()[-1] == "-e ."  # which brings what the package itself needs
    assert {"numpy", "torch", "jupyterlab", "matplotlib", "jupytext", "nbval"} <= DEVELOPER.keys()
    assert OF_EXTRAS.keys() <= DEVELOPER.keys()
    for name in lists.keys() & DEVELOPER.keys() - {"triton"}:
        assert lists[name].specifier == DEVELOPER[name].specifier, name


def test_the_floor_of_triton_is_the_one_that_is_asked_for():
    """A card needs less than a learner, who needs the interpreter too."""
    floor = f"{FLOOR[0]}.{FLOOR[1]}"
    assert str(EXTRAS["gpu"]["triton"].specifier) == f">={floor}"
    (learners,) = DEVELOPER["triton"].specifier
    assert EXTRAS["gpu"]["triton"].specifier.contains(learners.version)


# ---------------------------------------------------------------- licences


@pytest.mark.fork
def test_licences_are_there():
    for name in PROJECT["license-files"]:
        assert len((ROOT / name).read_text(encoding="utf-8")) > 200, name
    assert "MIT License" in (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Attribution 4.0 International" in (ROOT / "LICENSE-PROSE").read_text(encoding="utf-8")
    assert PROJECT["license"] == "MIT AND CC-BY-4.0"


def test_the_citation_names_this_version_and_these_licences():
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {flash_tutorial.__version__}\n" in text
    assert re.findall(r"^  - ([\w.-]+)$", text, flags=re.M) == PROJECT["license"].split(" AND ")
    (author,) = PROJECT["authors"]
    assert "arXiv:2202.10447" in text and f'name: "{author["name"]}"' in text
    changes = re.findall(
        r"^## \[([\d.]+)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.M
    )
    assert changes[0] == flash_tutorial.__version__


# ---------------------------------------------------------------- import


def run_python(code):
    how = dict(capture_output=True, text=True, check=True, timeout=120)
    return subprocess.run([sys.executable, "-c", code], **how).stdout


PUBLIC = "import flash_tutorial; [getattr(flash_tutorial, name) for name in flash_tutorial.__all__]"
LATER = ("flash_course", "matplotlib", "tqdm", "pyarrow", "IPython", "jupytext", "triton")


@pytest.mark.timing
@pytest.mark.nightly
def test_import_takes_little_more_than_torch():
    # Seconds of the processor in one process, so that what else the machine does falls out of the difference.
    code = f"import time, torch; t = time.process_time(); {PUBLIC}; print(time.process_time() - t)"
    extra = []
    while len(extra) < 5 and min(extra, default=1) > 0.2:
        extra.append(float(run_python(code)))
    assert min(extra) <= 0.2, f"import flash_tutorial after torch took {extra} s"


def loaded_by(code, before="import sys"):
    """The modules that ``code`` loads, without those that ``before`` loads."""
    code = f"{before}\nthere = {{*sys.modules}}\n{code}\nprint(*({{*sys.modules}} - there))"
    return set(run_python(code).split())


def test_public_names_are_there_and_load_nothing_that_is_needed_later_only():
    # torch itself loads tqdm: it is taken out again, so that it is seen who asks for it
    before = "import sys, torch\nfor name in [*sys.modules]:\n"
    before += "    if name.startswith('tqdm'): del sys.modules[name]"
    loaded = loaded_by(PUBLIC, before)
    assert "flash_tutorial.model" in loaded and "torch._dynamo" not in loaded
    assert "flash_tutorial.hf" not in loaded
    assert {*LATER, "transformers", "peft"} & {name.split(".")[0] for name in loaded} == set()


@pytest.mark.parametrize("code", ["import flash_tutorial", "import flash_course.cli"])
def test_a_first_import_waits_for_no_torch(code):
    assert "torch" not in loaded_by(code)


def test_pictures_are_shown_by_what_colabs_ipython_has(monkeypatch):
    class Image(display.Image):  # as in IPython 7.34, which knows no words for a picture
        def __init__(self, data=None, url=None, filename=None, format=None, metadata=None):
            super().__init__(data, url, filename, format, metadata=metadata)

    shown = []
    monkeypatch.setattr(display, "Image", Image)
    monkeypatch.setattr(display, "display", lambda *args, **how: shown.append(args))
    drawing.show(drawing.new_axes()[0], "An empty pair of axes.")
    assert len(shown) == 2 and "An empty pair of axes." in shown[1][0].data


# ---------------------------------------------------------------- the README's commands and .ci/run


@pytest.mark.fork
def test_readme_says_how_to_test():
    """`.ci/run` reads the one block after the mark."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    mark = r"^<!-- test command -->\n+```\w*\n(.*?)^```"
    (command,) = re.findall(mark, readme, flags=re.M | re.S)
    assert "-m venv .venv" in command and "pip install -r requirements.txt" in command
    assert re.search(r"\bpytest$", command.strip()), "plain pytest comes last"


# ---------------------------------------------------------------- the tree

# Put together here, so that this file does not hold what it looks for.
REGISTRIES = [
    "pypi" + ".org",
    "python" + "hosted",
    "registry." + "npmjs",
    "deb." + "debian",
    "conda." + "anaconda",
]
FOLDERS = "|".join(("work", "root", "home", "Users", "opt", "tmp", "private"))
ABSOLUTE = re.compile(rf"(?<![\w.~$)}}\]/])/(?:{FOLDERS})/\w|\b[A-Z]:\\+Users")
TEXTS = {".py", ".md", ".toml", ".txt", ".ipynb", ".json", ".csv", ".yml", ".yaml", ".cfg", ""}
MAX_FILE = 6_500_000


@pytest.mark.fork
def test_no_file_is_large_or_names_a_registry_or_a_folder_of_one_machine():
    """Of all that git does not ignore."""
    command = ["git", "ls-files", "-co", "--exclude-standard", "-z"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout: there is no list of the project's files")
    names = listed.stdout.split("\0")
    for path in (ROOT / name for name in names if name and (ROOT / name).is_file()):
        assert path.stat().st_size <= MAX_FILE, path
        if path.suffix in TEXTS:
            text = path.read_text(encoding="utf-8", errors="replace")
            assert [word for word in REGISTRIES if word in text] + ABSOLUTE.findall(text) == [], (
                path
            )
