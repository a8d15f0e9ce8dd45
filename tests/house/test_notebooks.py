"""The notebooks of the project are in order, and the tool that builds and checks them does what it says."""

import functools
import json
import posixpath
import re
import shutil
import sys
from pathlib import Path

import nbformat
import pytest
from house.scripts import ROOT, importable, script

from flash_course import addresses

notebooks = script("notebooks.py")
with importable(ROOT / "tools"):
    from building import blanks, execution, links, minutes, problems, sources

# ---------------------------------------------------------------- this project's notebooks


@pytest.mark.fork
def test_all_notebooks_are_in_order():
    assert [path for path in sources.sources() if path.parent.name == "notebooks"]
    assert problems.check() == []


@functools.cache
def links_of(page):
    """The files that a page of the project links to."""
    text = sources.markdown_of(sources.read_source(ROOT / page))
    folder = posixpath.dirname(page)
    targets = (target.partition("#")[0] for target in links.relative_links(text))
    return {posixpath.normpath(f"{folder}/{target}") for target in targets}


def test_links_lead_from_the_tour_through_the_course():
    lectures = [path.stem for path in sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.py"))]
    tour = links_of(f"notebooks/{lectures[0]}.py")
    assert {f"notebooks/{name}.ipynb" for name in lectures[1:]} <= tour
    for name, after in zip(lectures, [*lectures[1:-1], None, None]):
        problem_set = f"exercises/{sources.named(Path(name), 'set')}"
        wanted = {"docs/glossary.md"} | ({f"notebooks/{after}.ipynb"} if after else set())
        if (ROOT / problem_set).exists():
            wanted.add(problem_set)
            assert problem_set in tour
            if (ROOT / "solutions").is_dir():  # a course's fork has none
                assert f"notebooks/{name}.ipynb" in links_of(f"solutions/{name}.py")
        assert wanted <= links_of(f"notebooks/{name}.py"), name


def test_what_jupyterlab_writes_at_opening_is_there_already():
    from ipykernel.ipkernel import IPythonKernel
    from ipykernel.kernelspec import get_kernel_dict

    written = sources.METADATA["language_info"]
    assert written | {"version": ""} == IPythonKernel.language_info | {"version": ""}
    spec = get_kernel_dict()
    assert sources.METADATA["kernelspec"]["display_name"] == spec["display_name"]
    assert sources.METADATA["kernelspec"]["language"] == spec["language"]


def test_no_lecture_takes_its_preset_from_the_description_of_the_device():
    # it has the card's name, such as "Tesla T4", and no "cuda"
    for source in sources.sources(ROOT):
        assert "in describe_device()" not in source.read_text(encoding="utf-8"), source.name


# ---------------------------------------------------------------- a small project to try the tool on

FIRST_CELL = "ready = True"
SOURCE = f"""\
# %% [markdown]
# # A small lecture
#
# [With results](01_small.ipynb) · [without](work/01_work_small.ipynb) · [words](../docs/words.md#words)
#
# **Time** 1 minutes to read.

# %%
{FIRST_CELL}

# %% tags=["nbval-check-output"]
import os, sys, warnings

print("out", flush=True)
print("err", file=sys.stderr, flush=True)
print(os.listdir(), os.environ.get("MPLBACKEND") == "Agg", flush=True)

# %% [markdown]
# ## A picture
#
# ![a line that rises](line.png)

# %%
from flash_course import drawing

figure, axes = drawing.new_axes()
axes.plot([1, 2, 3])
drawing.show(figure, "A line that rises from 1 to 3 & no more.")

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
    own += f"\n\nREPOSITORY = {addresses.PLACEHOLDER!r}\n"
    files = {
        "flash_course/addresses.py": f"{own}\n\ndef first_cell():\n    return {FIRST_CELL!r}\n",
        "notebooks/01_small.py": SOURCE,
        "notebooks/line.png": "",
        "docs/words.md": "# Words\n\nThey are in [the lecture](../notebooks/01_small.ipynb).\n",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return root / "notebooks" / "01_small.py"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The small project, built where a kernelspec named python3 starts another program, and a script's plot back end is
    set."""
    root = tmp_path_factory.mktemp("built")
    jupyter = tmp_path_factory.mktemp("jupyter")
    spec = {"argv": ["no-such-python"], "display_name": "other", "language": "python"}
    (jupyter / "kernels" / "python3").mkdir(parents=True)
    (jupyter / "kernels" / "python3" / "kernel.json").write_text(json.dumps(spec))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MPLBACKEND", "Agg")
        patch.setenv("JUPYTER_PATH", str(jupyter))
        notebooks.build(small_project(root))
    return root


@pytest.fixture
def root(built, tmp_path):
    """A copy of the built project, to spoil."""
    return Path(shutil.copytree(built, tmp_path / "project"))


# ---------------------------------------------------------------- build


def test_words_are_written_without_a_run_and_a_number_without_its_mark(root, capsys):
    source = root / "notebooks" / "01_small.py"
    before = outputs_of(source.with_suffix(".ipynb"))
    new = "A picture of <!-- number: a.b, c -->+0.3 ± 0.1<!-- /number --> bits"
    source.write_text(
        source.read_text(encoding="utf-8").replace("A picture", new), encoding="utf-8"
    )
    assert notebooks.main(["text"], root) == 0
    for path in (source.with_suffix(".ipynb"), sources.work_copy(source)):
        assert "## A picture of +0.3 ± 0.1 bits" in path.read_text(encoding="utf-8")
    assert outputs_of(source.with_suffix(".ipynb")) == before
    source.write_text(
        source.read_text(encoding="utf-8").replace("6 * 7", "7 * 7"), encoding="utf-8"
    )
    assert notebooks.main(["text"], root) == 1
    assert "its code has changed" in capsys.readouterr().err
    assert outputs_of(source.with_suffix(".ipynb")) == before


def outputs_of(path):
    cells = sources.code_cells(nbformat.read(path, as_version=4))
    return [(cell.execution_count, cell.outputs) for cell in cells]


def test_what_is_stored(built):
    text = (built / "notebooks" / "01_small.ipynb").read_text(encoding="utf-8")
    notebook = nbformat.reads(text, as_version=4)
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)
    assert notebook.metadata.language_info == sources.METADATA["language_info"]
    assert (notebook.metadata.accelerator, notebook.metadata.colab.gpuType) == ("GPU", "T4")
    setup, printed, drawn, *_ = sources.code_cells(notebook)
    assert setup.metadata == sources.FOLDED, "the cell that installs is folded"
    assert all({*cell.metadata} <= {"tags"} for cell in notebook.cells if cell is not setup)
    streams = [(output.name, output.text) for output in printed.outputs]
    assert streams == [("stdout", "out\n[] False\n"), ("stderr", "err\n")]
    assert "image/png" in drawn.outputs[0].data
    assert not re.search(r"ipykernel_\d|over TCP", text)
    assert str(ROOT) not in text and sys.prefix not in text
    assert notebooks.main(["check"], built) == 0


@pytest.mark.nightly
def test_two_builds_give_the_same_bytes(built, tmp_path):
    source = small_project(tmp_path / "again")
    notebooks.build(source)
    for name in ("01_small.ipynb", "work/01_work_small.ipynb"):
        assert (source.parent / name).read_bytes() == (built / "notebooks" / name).read_bytes()


@pytest.mark.parametrize(
    "fault", ["raise KeyError('lost')", pytest.param("os._exit(3)", marks=pytest.mark.nightly)]
)
def test_a_failing_cell_is_shown_and_the_old_notebook_stays(root, capsys, fault):
    source = root / "notebooks" / "01_small.py"
    before = {path: path.read_bytes() for path in root.rglob("*.ipynb")}
    source.write_text(SOURCE.replace("from flash_course import drawing", fault), encoding="utf-8")
    assert notebooks.main(["build", "01"], root) == 1
    said = capsys.readouterr().err
    assert fault in said and "01_small.py failed" in said
    assert {path: path.read_bytes() for path in root.rglob("*.ipynb")} == before


def test_streams_are_merged_between_pictures():
    def stream(name, text):
        return nbformat.v4.new_output("stream", name=name, text=text)

    picture = nbformat.v4.new_output("display_data", data={"image/png": ""})
    printed = [stream("stderr", "a"), stream("stdout", "b"), stream("stdout", "c")]
    settled = execution.settled([*printed, picture, stream("stdout", "d")], "nowhere")
    assert [output.get("text") for output in settled] == ["bc", "a", None, "d"]


def test_paths_of_this_machine_are_cut_from_warnings_and_tracebacks(tmp_path):
    places = [ROOT / "flash_tutorial" / "gau.py", Path(sys.prefix, "lib", "torch.py")]
    lines = [f"File {place}:3" for place in [*places, tmp_path / "cells" / "a.txt"]]
    warning = nbformat.v4.new_output("stream", name="stderr", text=f"{places[0]}:7: odd\n")
    error = nbformat.v4.new_output("error", ename="E", evalue="", traceback=lines)
    execution.settled([warning, error], str(tmp_path))
    assert warning.text.replace("\\", "/") == "flash_tutorial/gau.py:7: odd\n"
    left = [line.replace("\\", "/") for line in error.traceback]
    assert left == ["File flash_tutorial/gau.py:3", "File lib/torch.py:3", "File cells/a.txt:3"]


def test_an_unknown_name_is_an_error(built, capsys):
    with pytest.raises(SystemExit):
        notebooks.main(["check", "77"], built)
    assert "no notebook starts with '77': there are 01_small" in capsys.readouterr().err


# ---------------------------------------------------------------- check: each fault is found


def in_source(old, new):
    def spoil(root):
        path = root / "notebooks" / "01_small.py"
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), encoding="utf-8")

    return spoil


def in_notebook(change, name="01_small.ipynb"):
    def spoil(root):
        path = root / "notebooks" / name
        notebook = nbformat.read(path, as_version=4)
        change(notebook.cells)
        path.write_text(nbformat.writes(notebook), encoding="utf-8")

    return spoil


def in_all(old, new):
    """A fault that source and notebooks share, as after a build."""

    def spoil(root):
        in_source(f"# {old}", f"# {new}")(root)
        for name in ("01_small.ipynb", "work/01_work_small.ipynb"):
            in_notebook(change, name)(root)

    def change(cells):
        for cell in cells:
            cell.source = cell.source.replace(old, new)

    return spoil


def in_tags(tag, *new):
    """Other tags in place of one of the first cell that has it, in all three files."""

    def spoil(root):
        in_source(f'["{tag}"]', json.dumps(new))(root)
        for name in ("01_small.ipynb", "work/01_work_small.ipynb"):
            in_notebook(change, name)(root)

    def change(cells):
        cell = next(cell for cell in cells if tag in cell.metadata.get("tags", []))
        cell.metadata = nbformat.from_dict({"tags": [*new]} if new else {})

    return spoil


def without(name):
    return lambda root: (root / name).unlink()


def written(name, text):
    return lambda root: (root / name).write_text(text, encoding="utf-8")


def copied(name, to):
    return lambda root: shutil.copy(root / "notebooks" / name, root / "notebooks" / to)


def cleared(number, **what):
    return in_notebook(lambda cells: cells[number].update(**({"outputs": []} | what)))


def in_picture(change):
    """In the outputs of the cell that draws: the picture, and the fold with its words."""
    return in_notebook(lambda cells: change(cells[4].outputs))


LECTURE = "01_small.ipynb"
WORK = "work/01_work_small.ipynb"
RAISES = "raises-exception"
CHECKED = "nbval-check-output"
TIME = "**Time** 1 minutes"
PICTURE = "![a line that rises](line.png)"
WORDS = "docs/words.md"
# (a fault, what check says of it), cells counted from 0 in the one and from 1 in the other
FAULTS = [
    (in_source("6 * 7", "6 * 8"), "outputs are older than the code"),
    (in_source("6 * 7", "6 * 8"), "source and notebook differ from cell 8 on"),
    (in_source(f' tags=["{RAISES}"]', ""), "source and notebook differ from cell 6 on"),
    (in_source("# %%\nwarn", "# %%\n2\n\n# %%\nwarn"), "source and notebook differ from cell 7 on"),
    (without(f"notebooks/{LECTURE}"), "never built"),
    (cleared(8, execution_count=None), "cell 9 was never executed"),
    (in_tags(RAISES), "cell 6 holds an error that is not expected"),
    (cleared(5), "cell 6 is tagged raises-exception and raised nothing"),
    (in_all(PICTURE, "![ ](line.png)"), "cell 4 has a picture without alt text"),
    (in_all(PICTURE, "<img src='line.png'>"), "cell 4 has a picture without alt text"),
    (in_picture(lambda out: out[0].metadata.clear()), "picture whose alt text has 0 letters"),
    (in_picture(lambda out: out.pop()), "picture without its words below it"),
    (in_picture(lambda out: out[1].data.clear()), "picture without its words below it"),
    (in_all("## A picture", "A picture\n# ---------"), "a heading that is not written with #"),
    (in_all("## A picture", "<h2>A picture</h2>"), "a heading that is not written with #"),
    (in_all("## A picture", "# A picture"), "2 headings of level 1"),
    (in_all("# A small lecture", "## A small lecture"), "0 headings of level 1"),
    (in_all("## A picture", "### A picture"), "a heading skips a level"),
    (in_tags(CHECKED), "2 compared cells: at least 3"),
    (cleared(8), "prints nothing, so nothing is compared"),
    (in_tags(CHECKED, "timing", CHECKED), "its output cannot be compared"),
    (in_tags(CHECKED, "nbval-chek-output"), "unknown tags nbval-chek-output"),
    (in_source(FIRST_CELL, "ready = 1"), "the first code cell is not"),
    (in_source("(work/", "(../notebooks/work/"), f"first cell does not link to {WORK}"),
    (in_all(TIME, "**Time** 9 minutes"), "the header says 9 minutes to read, and it is 1 minutes"),
    (in_all(TIME, "**Time** a minute"), "no line with **Time** NN minutes"),
    (in_all(TIME, "**Time** 91 minutes to read" + 16_200 * " word"), "to read: 45 at most"),
    (in_source("small.ipynb)", "small.ipynb) ([on GitHub](https://a.b))"), "are not those of the"),
    (in_source("../docs/words.md", "docs/words.md"), "01_small.py: dead link docs/words.md#words"),
    (without("notebooks/line.png"), "dead link ../line.png"),
    (written(WORDS, "# Other"), "no such heading ../docs/words.md#words"),
    (written(WORDS, "# Words\n[b](#b)"), f"{WORDS}: no such heading #b"),
    (written(WORDS, "[a](x.md)"), f"{WORDS}: dead link x.md"),
    (written(WORDS, "[a](../..)"), f"{WORDS}: dead link ../.."),
    (
        in_notebook(lambda cells: cells[0].update(source="[a](b.md)"), WORK),
        f"{WORK}: dead link b.md",
    ),
    (in_notebook(lambda cells: cells[2].outputs[0].update(text="x" * 500_000)), "500 at most"),
    (without(f"notebooks/{WORK}"), f"{WORK} is missing"),
    (in_notebook(lambda cells: cells[7].update(source="3"), WORK), "work copy and source differ"),
    (in_notebook(lambda cells: cells[7].update(id="other"), WORK), "other cell ids"),
    (copied(LECTURE, WORK), "the work copy holds outputs"),
    (copied(LECTURE, "02_old.ipynb"), "notebooks/02_old.ipynb: no source .py"),
]


@pytest.mark.parametrize("spoil, expected", FAULTS, ids=[expected for _, expected in FAULTS])
def test_check_finds(spoil, expected, root):
    spoil(root)
    found = problems.check(root)
    assert any(expected in line for line in found), found


def test_a_fault_is_printed_and_makes_the_exit_status_one(root, capsys):
    without("notebooks/line.png")(root)
    assert notebooks.main(["check"], root) == 1 and "dead link" in capsys.readouterr().err


def test_code_in_a_fence_is_neither_heading_nor_picture_nor_link():
    text = "# Title\n\n```\n# comment\n![](x)\n[f](g)\n```\n`![](y)`\n\n"
    table = "| a | b |\n| - | - |\n| 1 | 2 |\n\n---\n\n- item\n- other\n\nText.\n\n---"
    cell = nbformat.v4.new_markdown_cell(text + table)
    assert problems.text_problems(nbformat.v4.new_notebook(cells=[cell])) == []
    assert links.relative_links(text) == []


def test_links_of_the_work_copy_lead_where_those_of_the_lecture_lead(built):
    copy = nbformat.read(built / "notebooks" / WORK, as_version=4)
    targets = links.relative_links(sources.markdown_of(copy))
    words = "../../docs/words.md#words"
    assert targets == ["../01_small.ipynb", "01_work_small.ipynb", words, "../line.png"]


def test_what_is_no_relative_link_stays_as_it_is():
    text = "[a](https://x.y/z) ![b](attachment:c.png) [d](#e) `h[i](j)` <a href='mailto:k'>"
    cells = [nbformat.v4.new_markdown_cell(text), nbformat.v4.new_code_cell("kernel[grid](x)")]
    moved = links.moved(nbformat.v4.new_notebook(cells=cells), "notebooks", "notebooks/work")
    assert [cell.source for cell in moved.cells] == [text, "kernel[grid](x)"]
    assert links.relative_links("<img src='a.png'> [b `c`](d.md)") == ["a.png", "d.md"]


# ---------------------------------------------------------------- what the reader builds
BUILT = """class Adds:
    def one(self, x):
        \"\"\"One more.\"\"\"
        # BUILD
        more = x + 1

        return more
        # END

    def two(self, x):
        # BUILD
        return x + 2
        # END


Adds = mine.check(Adds)
print(Adds().one(1))"""
BLANK = """class Adds:
    def one(self, x):
        \"\"\"One more.\"\"\"
        ...  # your code: 2 lines

    def two(self, x):
        ...  # your code: 1 line


Adds = mine.check(Adds, keep=True)
print(Adds().one(1))"""


def a_lecture(*sources):
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    return nbformat.v4.new_notebook(cells=cells)


def test_the_work_copy_is_blank_where_the_reader_builds_and_folds_the_answer_below():
    built, fold, after = blanks.blank_copy(a_lecture(BUILT, "1 + 1")).cells
    assert built.source == BLANK and after.source == "1 + 1"
    assert "return more" in fold.source and "return x + 2" in fold.source
    assert "BUILD" not in fold.source and "mine.check" not in fold.source


def test_the_header_says_how_long_the_building_takes():
    assert minutes.building_minutes(a_lecture(BUILT)) == 5  # three lines
    assert "to read, about 5 more to build" in minutes.minutes_said(a_lecture(BUILT))
    assert "build" not in minutes.minutes_said(a_lecture("1 + 1"))


def test_no_line_of_an_answer_stays_in_the_cell_itself():
    blank = blanks.blanked(BUILT)
    answers = [match["answer"] for match in blanks.BUILD.finditer(BUILT)]
    assert not [line for answer in answers for line in answer.split("\n") if line and line in blank]


@pytest.mark.parametrize(
    "source, expected",
    [
        (BUILT.replace("        # END\n\n", "", 1), "do not come in pairs"),
        (BUILT.replace("mine.check(Adds)", "Adds"), "has a build and no mine.check"),
    ],
)
def test_a_build_without_its_marks_or_its_check_is_found(source, expected):
    (found,) = blanks.build_problems(a_lecture(source))
    assert expected in found


def test_a_played_reader_writes_the_answer_of_the_fold():
    player = script("play_reader.py")
    played, *_ = player.filled(blanks.blank_copy(a_lecture(BUILT))).cells
    marks = ("# BUILD", "# END")
    whole = [line for line in BUILT.split("\n") if line.strip() not in marks]
    assert played.source == "\n".join(whole).replace(
        "mine.check(Adds)", "mine.check(Adds, keep=True)"
    )
