"""The notebooks of the project are in order, and the tools that build, check and stamp them do what they say."""

import importlib.metadata
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import types
from pathlib import Path

import nbformat
import pytest

from flash_course import addresses as project

pytestmark = pytest.mark.quick

ROOT = Path(__file__).resolve().parents[2]


def tool(name):
    """A script of tools/ as a module."""
    spec = importlib.util.spec_from_file_location(f"tools_{name}", ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


notebooks, stamp = tool("notebooks"), tool("stamp")

# ---------------------------------------------------------------- this project's notebooks


@pytest.mark.fork
def test_all_notebooks_are_in_order():
    assert [path for path in notebooks.sources() if path.parent.name == "notebooks"], (
        "notebooks/ holds no NN_topic.py"
    )
    assert notebooks.check() == []


@pytest.mark.fork
@pytest.mark.parametrize(
    "path", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda path: path.name
)
def test_addresses_of_the_repository_come_from_the_constant(path):
    for host, repository, tag, file in re.findall(
        r"(github\.com|research\.google\.com/github)/([\w.-]+/[\w.-]+)/(?:blob|tree|raw)/([^/\s]+)/([^\s)\"#]+)",
        path.read_text(encoding="utf-8"),
    ):
        if (
            file.startswith(("notebooks/", "exercises/", "solutions/"))
            or repository == project.REPOSITORY
        ):
            assert (repository, tag) == (project.REPOSITORY, project.TAG), (
                f"{host}: run tools/stamp.py"
            )
            assert (ROOT / file).exists(), f"{file} is linked and not there"


# ---------------------------------------------------------------- a small project to try the tools on

FIRST_CELL = "ready = True"
LINKS = "[With results](01_small.ipynb) · [without](work/01_small.ipynb) · [words](../docs/words.md#map)"
SOURCE = f"""\
# %% [markdown]
# # A small lecture
#
# {LINKS}
#
# **Time** 1 minutes to read.

# %%
{FIRST_CELL}

# %% tags=["nbval-check-output"]
import os, sys, warnings

print("out", flush=True)
print("err", file=sys.stderr, flush=True)
print("out again", flush=True)

# %% [markdown]
# ## A picture
#
# ![a line that rises](line.png)

# %%
from flash_course import figures

figure, axes = figures.new_axes()
axes.plot([1, 2, 3])
figures.show(figure, "A line that rises from 1 to 3 & no more.")

# %% tags=["raises-exception"]
1 / 0

# %%
warnings.warn("paths of this machine stay out")

# %% tags=["nbval-check-output"]
print(6 * 7)

# %% tags=["nbval-check-output"]
print(6 * 7)
"""


def small_project(root):
    """A project with one lecture, whose first cell needs no package, and the two files that it shows or links to."""
    own = (ROOT / "flash_course" / "addresses.py").read_text(encoding="utf-8")
    without_name = (
        f"REPOSITORY = {project.PLACEHOLDER!r}\n\n\ndef first_cell():\n    return {FIRST_CELL!r}\n"
    )
    files = {
        "flash_course/addresses.py": f"{own}\n\n{without_name}",
        "notebooks/01_small.py": SOURCE,
        "notebooks/line.png": "",
        "docs/words.md": "# Words\n\nThe map is in [the lecture](../notebooks/01_small.ipynb).\n",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return root / "notebooks" / "01_small.py"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The small project, built once."""
    root = tmp_path_factory.mktemp("built")
    source = small_project(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MPLBACKEND", "Agg")
        patch.setenv("JUPYTER_PATH", str(broken_kernelspec(tmp_path_factory.mktemp("jupyter"))))
        notebooks.build(source)
    return root


def broken_kernelspec(folder):
    """A kernelspec named python3 that starts another program, as a machine with several Pythons may have."""
    (folder / "kernels" / "python3").mkdir(parents=True)
    spec = {
        "argv": ["no-such-python", "{connection_file}"],
        "display_name": "other",
        "language": "python",
    }
    (folder / "kernels" / "python3" / "kernel.json").write_text(json.dumps(spec))
    return folder


@pytest.fixture
def root(built, tmp_path):
    """A copy of the built project, to spoil."""
    return Path(shutil.copytree(built, tmp_path / "project"))


def edit(path, change):
    """Apply ``change`` to the notebook at ``path``."""
    notebook = nbformat.read(path, as_version=4)
    change(notebook)
    path.write_text(nbformat.writes(notebook), encoding="utf-8")


# ---------------------------------------------------------------- build


def test_what_was_built_is_in_order(built):
    assert notebooks.check(built) == []
    assert notebooks.main(["check"], built) == 0


def test_two_builds_give_the_same_bytes(built, tmp_path):
    source = small_project(tmp_path / "again")
    notebooks.build(source)
    for name in ("01_small.ipynb", "work/01_small.ipynb"):
        assert (source.parent / name).read_bytes() == (built / "notebooks" / name).read_bytes()


def test_what_is_stored(built):
    text = (built / "notebooks" / "01_small.ipynb").read_text(encoding="utf-8")
    notebook = nbformat.reads(text, as_version=4)
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)
    assert notebook.metadata.language_info == {"name": "python"}
    assert (notebook.metadata.accelerator, notebook.metadata.colab.gpuType) == ("GPU", "T4")
    setup = notebooks.code_cells(notebook)[0]
    assert setup.metadata == notebooks.FOLDED, "the cell that installs is folded"
    assert all(set(cell.metadata) <= {"tags"} for cell in notebook.cells if cell is not setup)
    printed = next(cell for cell in notebook.cells if "out again" in cell.source)
    assert [(o.name, o.text) for o in printed.outputs] == [
        ("stdout", "out\nout again\n"),
        ("stderr", "err\n"),
    ]
    assert (
        "image/png"
        in next(cell for cell in notebook.cells if "figures.show" in cell.source).outputs[0].data
    )
    assert (
        not re.search(r"ipykernel_\d|over TCP", text)
        and str(ROOT) not in text
        and sys.prefix not in text
    )


def test_streams_are_merged_between_pictures():
    def stream(name, text):
        return nbformat.v4.new_output("stream", name=name, text=text)

    picture = nbformat.v4.new_output("display_data", data={"image/png": ""})
    outputs = [
        stream("stderr", "a"),
        stream("stdout", "b"),
        stream("stdout", "c"),
        picture,
        stream("stdout", "d"),
    ]
    settled = notebooks.settled(outputs, "nowhere")
    assert [o.get("text") for o in settled] == ["bc", "a", None, "d"]


def test_paths_of_this_machine_are_cut_from_warnings_and_tracebacks(tmp_path):
    def error(*lines):
        return nbformat.v4.new_output("error", ename="E", evalue="", traceback=list(lines))

    places = [
        ROOT / "flash_tutorial" / "units.py",
        Path(sys.prefix, "lib", "torch.py"),
        tmp_path / "cells" / "a.txt",
    ]
    warning = nbformat.v4.new_output("stream", name="stderr", text=f"{places[0]}:7: odd\n")
    outputs = notebooks.settled(
        [warning, error(*(f"File {place}:3" for place in places))], str(tmp_path)
    )
    assert outputs[0].text.replace("\\", "/") == "flash_tutorial/units.py:7: odd\n"
    lines = [line.replace("\\", "/") for line in outputs[1].traceback]
    assert lines == ["File flash_tutorial/units.py:3", "File lib/torch.py:3", "File cells/a.txt:3"]


def test_cells_run_in_this_interpreter_and_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("MPLBACKEND", "Agg")  # with it pyplot would draw nothing in a notebook
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [
        nbformat.v4.new_code_cell("import os, sys\nprint(sys.executable)\nprint(os.listdir())"),
        nbformat.v4.new_code_cell(
            "print(os.environ['OMP_NUM_THREADS'], os.environ.get('MPLBACKEND') == 'Agg')"
        ),
    ]
    notebooks.execute(notebook)
    assert [cell.outputs[0].text for cell in notebook.cells] == [
        f"{sys.executable}\n[]\n",
        "1 False\n",
    ]


@pytest.mark.parametrize("fault", ["raise KeyError('lost')", "import os; os._exit(3)"])
def test_a_failing_cell_is_shown_and_the_old_notebook_stays(root, capsys, fault):
    source = root / "notebooks" / "01_small.py"
    before = {path: path.read_bytes() for path in root.rglob("*.ipynb")}
    source.write_text(SOURCE.replace("axes.plot([1, 2, 3])", fault), encoding="utf-8")
    assert notebooks.main(["build", "01"], root) == 1
    said = capsys.readouterr().err
    assert fault in said and "01_small.py failed" in said
    assert ("KeyError" in said) == ("KeyError" in fault)
    assert {path: path.read_bytes() for path in root.rglob("*.ipynb")} == before


def test_solutions_have_no_work_copy(tmp_path):
    small_project(tmp_path)
    (tmp_path / "solutions").mkdir()
    solution = tmp_path / "solutions" / "01_set.py"
    solution.write_text(f"# %% [markdown]\n# # Set 01\n\n# %%\n{FIRST_CELL}\n", encoding="utf-8")
    assert notebooks.main(["build", "01_set"], tmp_path) == 0
    assert [path.name for path in tmp_path.rglob("*.ipynb")] == ["01_set.ipynb"]


def test_an_unknown_name_is_an_error(built, capsys):
    with pytest.raises(SystemExit) as stop:
        notebooks.main(["check", "77"], built)
    assert (
        stop.value.code == 2
        and "no notebook starts with '77': there are 01_small" in capsys.readouterr().err
    )


# ---------------------------------------------------------------- check: each fault is found


def in_source(old, new):
    def spoil(root):
        path = root / "notebooks" / "01_small.py"
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new), encoding="utf-8")

    return spoil


def in_source_and_notebooks(old, new):
    """A fault that the pair shares, as after a build."""

    def spoil(root):
        in_source(f"# {old}", f"# {new}")(root)
        for path in root.rglob("*.ipynb"):
            edit(
                path,
                lambda nb: [cell.update(source=cell.source.replace(old, new)) for cell in nb.cells],
            )

    return spoil


def in_notebook(change, name="01_small.ipynb"):
    return lambda root: edit(root / "notebooks" / name, change)


def untag(tag):
    """Take one tag off the first cell that has it, in all three files."""

    def change(notebook):
        cell = next(cell for cell in notebook.cells if tag in cell.metadata.get("tags", []))
        del cell.metadata["tags"]

    def spoil(root):
        path = root / "notebooks" / "01_small.py"
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace(f' tags=["{tag}"]', "", 1), encoding="utf-8")
        for path in root.rglob("*.ipynb"):
            edit(path, change)

    return spoil


def retag(old, new):
    def spoil(root):
        for path in [*root.rglob("*.ipynb"), root / "notebooks" / "01_small.py"]:
            path.write_text(
                path.read_text(encoding="utf-8").replace(f'"{old}"', f'"{new}"', 1),
                encoding="utf-8",
            )

    return spoil


def never_run(notebook):
    cell = notebook.cells[-1]
    cell.execution_count, cell.outputs = None, []


def silent(notebook):
    notebook.cells[-1].outputs = []


def no_error(notebook):
    next(
        cell for cell in notebook.cells if cell.metadata.get("tags") == ["raises-exception"]
    ).outputs = []


def picture(notebook):
    """The outputs of the cell that shows a picture: the picture, and the fold with its words."""
    return next(cell for cell in notebook.cells if "figures.show" in cell.source).outputs


FAULTS = {
    "stale output": (in_source("6 * 7", "6 * 8"), "outputs are older than the code"),
    "code drift": (in_source("6 * 7", "6 * 8"), "source and notebook differ from cell 8 on"),
    "prose drift": (
        in_source("# ## A picture", "# ## A drawing"),
        "source and notebook differ from cell 4 on",
    ),
    "tag drift": (
        in_source('tags=["raises-exception"]', ""),
        "source and notebook differ from cell 6 on",
    ),
    "cell added": (
        in_source("# %% [markdown]\n# ##", "# %%\n2\n\n# %% [markdown]\n# ##"),
        "differ from cell 4 on",
    ),
    "never built": (lambda root: (root / "notebooks/01_small.ipynb").unlink(), "never built"),
    "never executed": (in_notebook(never_run), "cell 9 was never executed"),
    "unexpected error": (untag("raises-exception"), "cell 6 holds an error that is not expected"),
    "expected error missing": (
        in_notebook(no_error),
        "cell 6 is tagged raises-exception and raised nothing",
    ),
    "no alt text": (
        in_source_and_notebooks("![a line that rises]", "![ ]"),
        "cell 4 has a picture without alt text",
    ),
    "no alt in HTML": (
        in_source_and_notebooks("![a line that rises](line.png)", "<img src='a.png'>"),
        "without alt text",
    ),
    "no alt of an output": (
        in_notebook(lambda nb: picture(nb)[0].metadata.clear()),
        "alt text has 0 letters",
    ),
    "alt that says nothing": (
        in_notebook(lambda nb: picture(nb)[0].metadata["image/png"].update(alt="a plot")),
        "cell 5 shows a picture whose alt text has 6 letters",
    ),
    "no words below": (
        in_notebook(lambda nb: picture(nb).pop()),
        "cell 5 shows a picture without its words below it",
    ),
    "other words below": (
        in_notebook(lambda nb: picture(nb)[1].data.update({"text/html": "<p>A line.</p>"})),
        "cell 5 shows a picture without its words below it",
    ),
    "underlined heading": (
        in_source_and_notebooks("## A picture", "A picture\n# ---------"),
        "not written with #",
    ),
    "heading in HTML": (
        in_source_and_notebooks("## A picture", "<h2>A picture</h2>"),
        "not written with #",
    ),
    "too few compared": (untag("nbval-check-output"), "2 compared cells: at least 3"),
    "compares nothing": (in_notebook(silent), "prints nothing, so nothing is compared"),
    "compares a time": (
        retag("nbval-check-output", 'timing", "nbval-check-output'),
        "cannot be compared",
    ),
    "misspelt tag": (
        retag("nbval-check-output", "nbval-chek-output"),
        "unknown tags nbval-chek-output",
    ),
    "two titles": (in_source_and_notebooks("## A picture", "# A picture"), "2 headings of level 1"),
    "no title": (
        in_source_and_notebooks("# A small lecture", "## A small lecture"),
        "0 headings of level 1",
    ),
    "skipped level": (
        in_source_and_notebooks("## A picture", "### A picture"),
        "a heading skips a level",
    ),
    "other first cell": (in_source(FIRST_CELL, "ready = 1"), "the first code cell is not"),
    "no way to the work copy": (
        in_source("work/01_small", "../notebooks/work/01_small"),
        "the first cell does not link to work/01_small.ipynb",
    ),
    "another reading time": (
        in_source_and_notebooks("**Time** 1 minutes", "**Time** 9 minutes"),
        "the header says 9 minutes to read, and it is 1: build again",
    ),
    "no reading time": (
        in_source_and_notebooks("**Time** 1 minutes", "**Time** some minutes off"),
        "no line with **Time** NN minutes",
    ),
    "too long": (
        in_source_and_notebooks(
            "**Time** 1 minutes to read.", "**Time** 91 minutes to read." + 16_200 * " word"
        ),
        "91 minutes to read: 45 at most",
    ),
    "addresses without a name": (
        in_source(
            "(01_small.ipynb)",
            "(01_small.ipynb) ([on GitHub](https://github.com/a/b/blob/c/d.ipynb))",
        ),
        "the addresses behind its links are not those of the repository",
    ),
    "dead link": (
        in_source("../docs/words.md", "docs/words.md"),
        "notebooks/01_small.py: dead link docs/words.md#map",
    ),
    "dead picture": (lambda root: (root / "notebooks/line.png").unlink(), "dead link ../line.png"),
    "dead link of the work copy": (
        in_notebook(
            lambda nb: nb.cells[0].update(source="# One\n[a](../02.ipynb)"), "work/01_small.ipynb"
        ),
        "notebooks/work/01_small.ipynb: dead link ../02.ipynb",
    ),
    "dead link of a page": (
        lambda root: (root / "docs/words.md").write_text(
            "[a](../notebooks/02.ipynb)", encoding="utf-8"
        ),
        "docs/words.md: dead link ../notebooks/02.ipynb",
    ),
    "link out of the project": (
        lambda root: (root / "docs/words.md").write_text("[a](../..)", encoding="utf-8"),
        "docs/words.md: dead link ../..",
    ),
    "too large": (
        in_notebook(lambda nb: nb.cells[2].outputs[0].update(text="x" * 500_000)),
        "500 at most",
    ),
    "work copy missing": (
        lambda root: (root / "notebooks/work/01_small.ipynb").unlink(),
        "work/01_small.ipynb is missing",
    ),
    "work copy drift": (
        in_notebook(lambda nb: nb.cells[7].update(source="print(43)"), "work/01_small.ipynb"),
        "work copy and source differ from cell 8 on",
    ),
    "work copy ids": (
        in_notebook(lambda nb: nb.cells[7].update(id="other"), "work/01_small.ipynb"),
        "other cell ids",
    ),
    "work copy with outputs": (
        lambda root: shutil.copy(
            root / "notebooks/01_small.ipynb", root / "notebooks/work/01_small.ipynb"
        ),
        "the work copy holds outputs",
    ),
    "no source": (
        lambda root: shutil.copy(
            root / "notebooks/01_small.ipynb", root / "notebooks/02_old.ipynb"
        ),
        "notebooks/02_old.ipynb: no source .py",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_check_finds(name, root, capsys):
    spoil, expected = FAULTS[name]
    spoil(root)
    found = notebooks.check(root)
    assert any(expected in line for line in found), found
    assert notebooks.main(["check"], root) == 1 and expected in capsys.readouterr().err


def test_no_lecture_takes_its_preset_from_the_description_of_the_device():
    # it has the card's name, such as "Tesla T4", and no "cuda"
    for source in notebooks.sources(ROOT):
        assert "in describe_device()" not in source.read_text(encoding="utf-8"), source.name


def test_a_notebook_without_headings_is_found():
    for cells in ([], [nbformat.v4.new_markdown_cell("No heading here.")]):
        assert notebooks.text_problems(nbformat.v4.new_notebook(cells=cells)) == [
            "0 headings of level 1: exactly one is needed, before all others"
        ]


def test_code_in_a_fence_is_neither_heading_nor_picture():
    table = "| a | b |\n| - | - |\n| 1 | 2 |\n\n---\n\n- item\n- other\n\nText.\n\n---"
    cell = nbformat.v4.new_markdown_cell(
        f"# Title\n\n```\n# comment\n![](x)\n```\n`![](y)`\n\n{table}"
    )
    assert notebooks.text_problems(nbformat.v4.new_notebook(cells=[cell])) == []


def test_links_of_the_work_copy_lead_where_those_of_the_lecture_lead(built):
    text = notebooks.markdown_of(
        nbformat.read(built / "notebooks" / "work" / "01_small.ipynb", as_version=4)
    )
    assert (
        "[With results](../01_small.ipynb) · [without](01_small.ipynb) · [words](../../docs/words.md#map)"
        in text
    )
    assert "![a line that rises](../line.png)" in text


def test_what_is_no_relative_link_stays_as_it_is():
    text = "[a](https://x.y/z) ![b](attachment:c.png) [d](#e)\n```\n[f](g)\n```\n`h[i](j)` <a href='mailto:k'>"
    cells = [nbformat.v4.new_markdown_cell(text), nbformat.v4.new_code_cell("kernel[grid](x)")]
    copied = notebooks.moved(nbformat.v4.new_notebook(cells=cells), "notebooks", "notebooks/work")
    assert [cell.source for cell in copied.cells] == [
        text,
        "kernel[grid](x)",
    ] and not notebooks.relative_links(text)
    assert notebooks.relative_links("<img src='a.png'> [b `c`](d.md)") == ["a.png", "d.md"]


def chain(page, *targets):
    """Whether each page of a walk links to the next one, from ``page`` on."""
    for target in targets:
        text = notebooks.markdown_of(notebooks.read_source(ROOT / page))
        links = [
            notebooks.posixpath.normpath(f"{page.rpartition('/')[0]}/{link}")
            for link in notebooks.relative_links(text)
        ]
        assert target in links, f"{page} does not link to {target}"
        page = re.sub(r"^exercises/(.*)\.ipynb$", r"solutions/\1.py", target).replace(
            ".ipynb", ".py"
        )
        if page.endswith(".md"):
            break


def test_links_lead_from_the_tour_through_the_course():
    lectures = [
        source.stem for source in notebooks.sources(ROOT) if source.parent.name == "notebooks"
    ]
    sets = {path.stem for path in (ROOT / "exercises").glob("*.ipynb")}
    for name, after in zip(lectures, [*lectures[1:-1], None, None]):
        chain(
            "notebooks/00_start_here.py",
            *([] if name == lectures[0] else [f"notebooks/{name}.ipynb"]),
        )
        chain(f"notebooks/{name}.py", "docs/glossary.md")
        if after:
            chain(f"notebooks/{name}.py", f"notebooks/{after}.ipynb")
        if name in sets:
            chain("notebooks/00_start_here.py", f"exercises/{name}.ipynb")
            chain(f"notebooks/{name}.py", f"exercises/{name}.ipynb")
        if name in sets and (ROOT / "solutions").is_dir():
            chain(f"solutions/{name}.py", f"notebooks/{name}.ipynb")


# ---------------------------------------------------------------- the first cell


@pytest.fixture
def first_cell(monkeypatch, tmp_path):
    """Run a first cell as Colab would, in an empty folder; gives the commands that were started."""
    monkeypatch.chdir(tmp_path)

    def run(colab, installed, repository="ada/flash", tag="v1"):  # installed: a version, or None
        commands = []
        devices = types.SimpleNamespace(
            describe_device=lambda: "flash_tutorial 0, Python 3, torch 2, cpu, float32"
        )
        monkeypatch.setitem(sys.modules, "flash_tutorial.training.devices", devices)
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda name: object() if installed else None
        )
        monkeypatch.setattr(importlib.metadata, "version", lambda name: installed)
        monkeypatch.setattr(
            subprocess, "run", lambda *args, **kwargs: commands.append((args[0], kwargs))
        )
        if colab:
            monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
        monkeypatch.setattr(project, "REPOSITORY", repository)
        monkeypatch.setattr(project, "TAG", tag)
        exec(compile(project.first_cell(), "first cell", "exec"), {})
        return commands

    return run


@pytest.mark.fork
def test_on_colab_the_first_cell_installs_the_package_alone(first_cell, capsys):
    [(command, options)] = first_cell(colab=True, installed=None)
    assert command[:4] == [sys.executable, "-m", "pip", "install"] and "--no-deps" in command
    assert command[-1] == "git+https://github.com/ada/flash@v1"
    assert options == {"check": True}  # a failed install stops here, and no shell reads the address
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"installing {command[-1]}" and second.startswith("flash_tutorial 0")


@pytest.mark.fork
@pytest.mark.parametrize("form", ["folder", "folder above", "folder inside", "zip"])
def test_on_colab_the_first_cell_takes_a_copy_that_lies_there(
    first_cell, form, tmp_path, monkeypatch, capsys
):
    """A clone whose notebook is open, one beside it, or a zip as GitHub makes it; a broken zip is passed over."""
    inside = tmp_path / "flash-main" / "flash_tutorial"
    inside.mkdir(parents=True)
    (inside / "__init__.py").touch()
    (inside.parent / "notebooks").mkdir()
    here = {"folder": inside.parent, "folder above": inside.parent / "notebooks"}.get(
        form, tmp_path
    )
    expected = inside.parent
    if form == "zip":
        here = tmp_path / "content"
        here.mkdir()
        (here / "a.zip").write_text("no archive", encoding="utf-8")
        expected = Path(
            shutil.make_archive(str(here / "flash-main"), "zip", tmp_path, "flash-main")
        )
    monkeypatch.chdir(here)
    if form == "folder inside":  # Colab's own folders are looked into
        cell = project._FIRST_CELL.replace("/content/drive/MyDrive", str(tmp_path))
        monkeypatch.setattr(project, "_FIRST_CELL", cell)
        monkeypatch.chdir(tmp_path.parent)
    [(command, _)] = first_cell(
        colab=True, installed=None, repository=project.PLACEHOLDER, tag="main"
    )
    assert command[-1] == str(expected)
    assert f"installing {expected}" in capsys.readouterr().out


@pytest.mark.fork
def test_a_package_of_another_version_than_the_tag_is_replaced(first_cell):
    assert len(first_cell(colab=True, installed="0.9", tag="v1")) == 1
    assert first_cell(colab=True, installed="0.9", tag="main") == []


@pytest.mark.fork
@pytest.mark.parametrize("colab, installed", [(True, "1"), (False, None), (False, "0.9")])
def test_the_first_cell_installs_nothing_elsewhere_nor_twice(first_cell, colab, installed, capsys):
    assert first_cell(colab, installed) == []
    assert capsys.readouterr().out.startswith("flash_tutorial 0")


@pytest.mark.fork
def test_before_stamping_the_first_cell_says_what_to_set(first_cell):
    with pytest.raises(
        RuntimeError, match="upload the project's zip to Colab's files, or set REPOSITORY above"
    ):
        first_cell(colab=True, installed=None, repository=project.PLACEHOLDER, tag="main")
    assert first_cell(colab=True, installed="1", repository=project.PLACEHOLDER, tag="main") == []


def test_the_first_cell_is_the_same_in_a_script():
    compile(project.first_cell(), "first cell", "exec")
    assert not re.search(r"^\s*[%!]", project.first_cell(), flags=re.M)


# ---------------------------------------------------------------- stamp

WORK = "[without, to work in](work/01_one.ipynb)"
SET = "[problem set 01](../exercises/01_one.ipynb)"
LECTURE = f"[With results](01_one.ipynb) · {WORK} · {SET} · [words](../docs/glossary.md)"
README = "| [one](notebooks/01_one.ipynb) | [set 01](exercises/01_one.ipynb) |\n`pip install .`\n"


def stamped_copy(folder):
    """The parts of this project that stamp may write to, with addresses of every form."""
    own = f"{project.REPOSITORY}"
    (folder / "flash_course").mkdir()
    shutil.copy(ROOT / "flash_course" / "addresses.py", folder / "flash_course")
    readme = (
        f"{README}"
        f"git clone https://github.com/{own}.git\n"
        f'pip install "git+https://github.com/{own}@{project.TAG}"\n'
        f"See https://github.com/{own}/issues and https://github.com/{own}.\n"
        f"Another: https://github.com/{own}-other/blob/{project.TAG}/x and https://github.com/lucidrains/FLASH-pytorch\n"
    )
    (folder / "README.md").write_text(project.with_addresses(readme, ""), encoding="utf-8")
    citation = stamp.cited("cff-version: 1.2.0\nlicense:\n  - MIT\n", vars(project))
    (folder / "CITATION.cff").write_text(citation, encoding="utf-8")
    for place in ("notebooks", "solutions"):
        (folder / place).mkdir()
        links = project.with_addresses(LECTURE, place)
        text = f"# %% [markdown]\n# # One\n# {links}\n\n# %%\n{project.first_cell()}\n"
        (folder / place / "01_one.py").write_text(text, encoding="utf-8")
    return folder


@pytest.mark.fork
def test_stamp_writes_constant_addresses_and_install_line(tmp_path):
    root = stamped_copy(tmp_path)
    assert len(stamp.stamp("ada/flash-fork", "v1.2", root)) == 5
    new = types.SimpleNamespace(**notebooks.load_project(root))
    assert (new.REPOSITORY, new.TAG) == ("ada/flash-fork", "v1.2") and new.is_stamped()
    colab = "https://colab.research.google.com/github/ada/flash-fork/blob/v1.2"
    github = "https://github.com/ada/flash-fork/blob/v1.2"
    readme = (root / "README.md").read_text(encoding="utf-8").splitlines()
    set_in_colab = f"([in Colab]({colab}/exercises/01_one.ipynb))"
    assert readme[:2] == [
        f"| [one](notebooks/01_one.ipynb) | [set 01](exercises/01_one.ipynb) {set_in_colab} |",
        "`pip install .` (without a copy: `pip install git+https://github.com/ada/flash-fork@v1.2`)",
    ]
    assert readme[2] == "git clone https://github.com/ada/flash-fork.git"
    assert readme[3] == f'pip install "{new.install_address()}"'
    assert (
        readme[4]
        == "See https://github.com/ada/flash-fork/issues and https://github.com/ada/flash-fork."
    )
    assert (
        f"{project.REPOSITORY}-other/blob/{project.TAG}/x" in readme[5]
        and "lucidrains/FLASH-pytorch" in readme[5]
    )
    assert (
        'repository-code: "https://github.com/ada/flash-fork"\nlicense'
        in (root / "CITATION.cff").read_text()
    )
    text = (root / "notebooks" / "01_one.py").read_text(encoding="utf-8")
    assert new.first_cell() in text and "[words](../docs/glossary.md)\n" in text
    assert f"[With results](01_one.ipynb) ([on GitHub]({github}/notebooks/01_one.ipynb)) ·" in text
    assert f"{WORK} ([in Colab]({colab}/notebooks/work/01_one.ipynb)) ·" in text
    assert f"{SET} {set_in_colab} ·" in text
    assert new.first_cell() in (root / "solutions" / "01_one.py").read_text(encoding="utf-8")


def test_before_stamping_no_page_holds_an_address_of_the_repository():
    if project.is_stamped():
        pytest.skip("this repository has a name")
    for path, text in notebooks.pages(ROOT):
        assert "OWNER/REPO/" not in text and "research.google.com" not in text, path.name


@pytest.mark.fork
def test_stamp_can_be_undone_and_repeated(tmp_path):
    root = stamped_copy(tmp_path)
    before = {path: path.read_bytes() for path in root.rglob("*.*")}
    assert stamp.stamp(project.REPOSITORY, project.TAG, root) == []
    stamp.stamp("ada/lamp", "v1", root)
    once = {path: path.read_bytes() for path in root.rglob("*.*")}
    assert stamp.stamp("ada/lamp", "v1", root) == []
    stamp.stamp("bea/f", "main", root)
    assert notebooks.load_project(root)["REPOSITORY"] == "bea/f"
    assert not any(b"ada/lamp" in path.read_bytes() for path in root.rglob("*.*"))
    stamp.stamp("ada/lamp", "v1", root)
    assert {path: path.read_bytes() for path in root.rglob("*.*")} == once
    stamp.stamp(project.REPOSITORY, project.TAG, root)
    assert {path: path.read_bytes() for path in root.rglob("*.*")} == before


def test_a_stamp_that_was_cut_short_is_repeated(tmp_path):
    root = stamped_copy(tmp_path)
    before = (root / "flash_course" / "addresses.py").read_bytes()
    stamp.stamp("ada/flash", "v1", root)
    once = {path: path.read_bytes() for path in root.rglob("*.*")}
    (root / "flash_course" / "addresses.py").write_bytes(before)  # the last file was not reached
    stamp.stamp("ada/flash", "v1", root)
    assert {path: path.read_bytes() for path in root.rglob("*.*")} == once


@pytest.mark.fork
def test_stamp_says_to_rebuild(tmp_path, capsys):
    assert stamp.main(["ada/flash", "v1"], stamped_copy(tmp_path)) == 0
    assert (
        "5 files rewritten; now run: python tools/exercises.py build, python tools/notebooks.py build"
        in capsys.readouterr().out
    )


@pytest.mark.parametrize(
    "repository, tag",
    [("flash", "main"), ("a/b/c", "main"), ('a/b"', "main"), ("a/b", "-x"), ("a/b", "")],
)
def test_stamp_refuses_what_is_no_name(repository, tag, tmp_path):
    root = stamped_copy(tmp_path)
    with pytest.raises(ValueError, match="expected"):
        stamp.stamp(repository, tag, root)
    assert notebooks.load_project(root)["REPOSITORY"] == project.REPOSITORY


@pytest.mark.fork
def test_every_file_with_an_address_is_one_that_stamp_rewrites():
    pattern = re.compile(rf"github(\.com)?/{re.escape(project.REPOSITORY)}")
    written = set(stamp.stamped_files(ROOT))
    texts = [path for ending in ("md", "py", "toml", "txt") for path in ROOT.glob(f"**/*.{ending}")]
    texts = [
        path
        for path in texts
        if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
    ]
    assert (
        texts
        and [
            path
            for path in texts
            if pattern.search(path.read_text(encoding="utf-8")) and path not in written
        ]
        == []
    )
