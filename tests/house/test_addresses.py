"""Where the project lies: the first cell of a notebook finds or installs it, and `tools/stamp.py` writes its name."""

import re
import shutil
import subprocess
import sys
import types
from pathlib import Path

import pytest
from house.scripts import ROOT, script

from flash_course import addresses

pytestmark = pytest.mark.fork

stamp = script("stamp.py")

# ---------------------------------------------------------------- this project's addresses

ADDRESS = re.compile(
    r"(?:github\.com|research\.google\.com/github)"
    r"/([\w.-]+/[\w.-]+)/(?:blob|tree|raw)/([^/\s]+)/([^\s)\"#]+)"
)
OURS = ("notebooks/", "exercises/", "solutions/")


def test_addresses_of_the_repository_are_those_of_the_constant():
    """And lie in files that stamp rewrites."""
    stamped = {*stamp.stamped_files(ROOT)}
    own = re.compile(rf"github(\.com)?/{re.escape(addresses.REPOSITORY)}")
    for path in ROOT.glob("**/*.*"):
        is_hidden = any(part.startswith(".") for part in path.relative_to(ROOT).parts)
        if is_hidden or path.suffix not in (".md", ".py", ".toml", ".txt"):
            continue
        text = path.read_text(encoding="utf-8")
        assert path in stamped or not own.search(text), path
        for repository, tag, file in ADDRESS.findall(text) if path.suffix == ".md" else ():
            if repository == addresses.REPOSITORY or file.startswith(OURS):
                assert (repository, tag) == (addresses.REPOSITORY, addresses.TAG), path
                assert (ROOT / file).exists(), f"{path}: {file}"
        if path in stamped and path.suffix == ".md" and not addresses.is_stamped():
            assert "research.google.com" not in text, path


# ---------------------------------------------------------------- the first cell


@pytest.fixture
def first_cell(monkeypatch, tmp_path):
    """Run a first cell as Colab would, in an empty folder; gives what pip was asked to install."""
    (tmp_path / "content" / "notebook").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "content" / "notebook")

    def run(colab, installed, repository="ada/flash", tag="v1"):  # installed: a version, or None
        commands = []
        places = tmp_path / "site-packages"
        places.mkdir()
        if installed:
            (places / f"flash_tutorial-{installed}.dist-info").mkdir()
        monkeypatch.setattr(sys, "path", [str(places)])
        monkeypatch.setattr(subprocess, "run", lambda *args, **how: commands.append((*args, how)))
        if colab:
            monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
        monkeypatch.setattr(addresses, "REPOSITORY", repository)
        monkeypatch.setattr(addresses, "TAG", tag)
        # Colab's own folders, as far as a test can have them
        cell = addresses.first_cell().replace("/content/", f"{tmp_path}/content/")
        exec(compile(cell, "first cell", "exec"), {})
        return commands

    return run


def test_the_first_cell_fills_no_screen():
    lines = [line for line in addresses.first_cell().splitlines() if line]
    assert len(lines) <= 8 and max(map(len, lines)) <= 120


def test_on_colab_the_first_cell_installs_the_package_alone(first_cell):
    [(command, options)] = first_cell(colab=True, installed=None)
    assert command[:4] == [sys.executable, "-m", "pip", "install"] and "--no-deps" in command
    assert command[-1] == "git+https://github.com/ada/flash@v1"
    assert options == {"check": True}  # a failed install stops here, and no shell reads the address


def clone_in(folder, name="flash-main"):
    (folder / name / "flash_tutorial").mkdir(parents=True)
    (folder / name / "flash_tutorial" / "__init__.py").touch()
    (folder / name / "notebooks" / "work").mkdir(parents=True)
    return folder / name


def zip_in(folder, name="flash-main"):
    """As GitHub makes it, all in one folder inside."""
    clone = clone_in(folder / "elsewhere" / "packed", name)
    return Path(shutil.make_archive(folder / "some name", "zip", clone.parent, name))


# where the copy is made, and which folder is open
FORMS = {
    "a notebook of a clone is open": (clone_in, "other", "other/flash-main/notebooks"),
    "one of its work copies is": (clone_in, "other", "other/flash-main/notebooks/work"),
    "a clone among Colab's files": (clone_in, "content", "content"),
    "a zip among Colab's files": (zip_in, "content", "content"),
    "a folder on Drive": (clone_in, "content/drive/MyDrive", "content"),
    "a zip on Drive": (zip_in, "content/drive/MyDrive", "content"),
}


@pytest.mark.parametrize("make, place, here", FORMS.values(), ids=FORMS)
def test_on_colab_the_first_cell_takes_a_copy_that_lies_there(
    first_cell, make, place, here, tmp_path, monkeypatch
):
    """Files that are no archive, and archives of others, are passed over."""
    (tmp_path / "content" / "a.zip").write_text("no archive", encoding="utf-8")
    shutil.make_archive(tmp_path / "content" / "b", "zip", tmp_path / "content" / "notebook")
    (tmp_path / place).mkdir(parents=True, exist_ok=True)
    copy = make(tmp_path / place)
    monkeypatch.chdir(tmp_path / here)
    for repository in (addresses.PLACEHOLDER, "ada/flash"):
        [(command, _)] = first_cell(True, None, repository=repository, tag="main")
        shutil.rmtree(tmp_path / "site-packages")
        assert Path(command[-1]).resolve() == copy
        assert "/" in command[-1] or command[-1] in (
            ".",
            "..",
        )  # else pip would look for it in an index


@pytest.mark.parametrize(
    "colab, installed, tag, installs",
    [
        (True, "0.9", "v1", 1),
        (True, "0.9", "main", 0),
        (True, "1", "v1", 0),
        (False, None, "v1", 0),
    ],
)
def test_the_first_cell_installs_nothing_elsewhere_nor_twice(
    first_cell, colab, installed, tag, installs
):
    """Only a package of another version than the tag's is replaced."""
    assert len(first_cell(colab, installed, tag=tag)) == installs


def test_before_stamping_pip_says_what_to_do(first_cell):
    [(command, _)] = first_cell(True, None, repository=addresses.PLACEHOLDER, tag="main")
    assert "upload the project's zip to Colab's files" in command[-1]
    said = subprocess.Popen([*command[:-1], "--no-index", command[-1]], stderr=subprocess.PIPE)
    assert f'Invalid requirement: "{command[-1]}"'.encode() in said.communicate()[1]


# ---------------------------------------------------------------- README, read elsewhere

PAGE = """\
![A curve](docs/curve.svg) and [`gau.py`](pkg/gau.py#L1), [the paper](https://arxiv.org/abs/2202.10447), [below](#use)
`table[0](x)`
```python
layers[0](x)
```
"""
WITH_ADDRESSES = "![A curve](https://github.com/ada/flash/raw/v1/docs/curve.svg) and [`gau.py`](https://github.com/ada/flash/blob/v1/pkg/gau.py#L1)"


@pytest.mark.parametrize(
    "repository, first",
    [("ada/flash", WITH_ADDRESSES), (addresses.PLACEHOLDER, "A curve and `gau.py`")],
)
def test_read_elsewhere_a_page_has_no_relative_link(repository, first, monkeypatch):
    monkeypatch.setattr(addresses, "REPOSITORY", repository)
    monkeypatch.setattr(addresses, "TAG", "v1")
    start = PAGE.index(", [the paper]")
    assert addresses.read_elsewhere(PAGE) == first + PAGE[start:]


# ---------------------------------------------------------------- stamp

WORK = "[without, to work in](work/01_work_one.ipynb)"
SET = "[problem set 01](../exercises/01_set_one.ipynb)"
LECTURE = f"[With results](01_one.ipynb) · {WORK} · {SET} · [words](../docs/glossary.md)"
README = f"""\
| [one](notebooks/01_one.ipynb) | [set 01](exercises/01_set_one.ipynb) |
`pip install .`
git clone https://github.com/{addresses.REPOSITORY}.git
pip install "git+https://github.com/{addresses.REPOSITORY}@{addresses.TAG}"
See https://github.com/{addresses.REPOSITORY}/issues and https://github.com/{addresses.REPOSITORY}.
Others: https://github.com/{addresses.REPOSITORY}-other/blob/{addresses.TAG}/x
"""


@pytest.fixture
def copy(tmp_path):
    """The parts of this project that stamp may write to, with addresses of every form."""
    cell = addresses.first_cell()
    sources = {
        folder: f"# %% [markdown]\n# # One\n# {addresses.with_addresses(LECTURE, folder)}\n\n# %%\n{cell}\n"
        for folder in ("notebooks", "solutions")
    }
    files = {
        "README.md": addresses.with_addresses(README, ""),
        "CITATION.cff": stamp.cited("cff-version: 1.2.0\nlicense:\n  - MIT\n", vars(addresses)),
        "flash_course/addresses.py": Path(addresses.__file__).read_text(encoding="utf-8"),
        **{f"{folder}/01_one.py": text for folder, text in sources.items()},
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def bytes_of(folder):
    return {path: path.read_bytes() for path in folder.rglob("*.*")}


def test_stamp_writes_constant_addresses_and_install_line(copy):
    assert len(stamp.stamp("ada/flash-fork", "v1.2", copy)) == 5
    new = stamp.project_of((copy / "flash_course" / "addresses.py").read_text(encoding="utf-8"))
    assert (new["REPOSITORY"], new["TAG"]) == ("ada/flash-fork", "v1.2")
    colab = "https://colab.research.google.com/github/ada/flash-fork/blob/v1.2"
    github = "https://github.com/ada/flash-fork"
    set_in_colab = f"([in Colab]({colab}/exercises/01_set_one.ipynb))"
    assert (copy / "README.md").read_text(encoding="utf-8").splitlines() == [
        f"| [one](notebooks/01_one.ipynb) | [set 01](exercises/01_set_one.ipynb) {set_in_colab} |",
        f"`pip install .` (without a copy: `pip install git+{github}@v1.2`)",
        f"git clone {github}.git",
        f'pip install "git+{github}@v1.2"',
        f"See {github}/issues and {github}.",
        README.splitlines()[-1],
    ]
    cited = (copy / "CITATION.cff").read_text(encoding="utf-8")
    assert f'repository-code: "{github}"\nlicense' in cited
    text = (copy / "notebooks" / "01_one.py").read_text(encoding="utf-8")
    assert new["first_cell"]() in text
    parts = [
        f"[With results](01_one.ipynb) ([on GitHub]({github}/blob/v1.2/notebooks/01_one.ipynb))",
        f"{WORK} ([in Colab]({colab}/notebooks/work/01_work_one.ipynb))",
        f"{SET} {set_in_colab}",
        "[words](../docs/glossary.md)\n",
    ]
    assert " · ".join(parts) in text
    assert new["first_cell"]() in (copy / "solutions" / "01_one.py").read_text(encoding="utf-8")


def test_stamp_can_be_undone_and_repeated(copy):
    before = bytes_of(copy)
    assert stamp.stamp(addresses.REPOSITORY, addresses.TAG, copy) == []
    stamp.stamp("ada/lamp", "v1", copy)
    assert stamp.stamp("ada/lamp", "v1", copy) == []
    stamp.stamp("bea/f", "main", copy)
    assert not any(b"ada/lamp" in text for text in bytes_of(copy).values())
    stamp.stamp(addresses.REPOSITORY, addresses.TAG, copy)
    assert bytes_of(copy) == before


@pytest.mark.parametrize("written", range(5))
def test_a_stamp_that_was_cut_short_is_taken_up_again(copy, tmp_path_factory, written, monkeypatch):
    whole = Path(shutil.copytree(copy, tmp_path_factory.mktemp("whole") / "copy"))
    stamp.stamp("ada/lamp", "v1", whole)
    left = [KeyboardInterrupt, *[None] * written]

    def write(path, *args, real=Path.write_text, **how):
        if stop := left.pop():
            raise stop
        return real(path, *args, **how)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "write_text", write)
        stamp.stamp("ada/lamp", "v1", copy)
    stamp.stamp("ada/lamp", "v1", copy)
    for path in (path for path in whole.rglob("*") if path.is_file()):
        assert (copy / path.relative_to(whole)).read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    "repository, tag",
    [("flash", "main"), ("a/b/c", "main"), ('a/b"', "main"), ("a/b", "-x"), ("a/b", "")],
)
def test_stamp_refuses_what_is_no_name(repository, tag, copy):
    before = bytes_of(copy)
    with pytest.raises(ValueError, match="expected"):
        stamp.stamp(repository, tag, copy)
    assert bytes_of(copy) == before
