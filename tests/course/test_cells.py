"""A cell's Python: what is Jupyter's own in it costs nothing, and what stands in a text stays there."""

import ast
import json
import sys

import pytest
from marks import needs_solutions
from submissions import forks, judged, source

from flash_course.grading.cells import python_of, tree_of
from flash_course.grading.statements import Statements
from flash_course.grading.submission import read_file

pytestmark = [forks, pytest.mark.quick]

# lines of a notebook that count as nothing; the last ones are taken without a % where they stand alone
NOTHING = r"""
!pip list
!{sys.executable} -m pip install tqdm
!ls -l | grep 'a' > b.txt; echo "done"
!!ls
%matplotlib inline
%pip install -q tqdm
%config InlineBackend.figure_format = 'retina'
%env A=1
%timeit f()
%timeit -n 3 f();
%prun f()
?np.pad
??np.pad
np.pad?
np.pad??
np.*pad*?
pip install -q tqdm
pip install 'tqdm>=4' numpy==1.26
pip3 install tqdm
conda install -c conda-forge tqdm
ls data
cd ..
cd 'my folder'
cat a.txt
mkdir -p a
git clone https://example.org/a.git
matplotlib inline
load_ext autoreload
"""
LINES = dict.fromkeys(NOTHING.strip().splitlines(), "pass") | {
    "f(1);": "f(1)",
    "x = !pwd": "x = None",
    "x = y = f(1)": "x = y = f(1)",
    "x: list = !pwd": "x: list = None",
    "a, b = !ls": "a, b = (None, None)",
    "a, *b = !ls": "a, *b = (None,)",
    "[a, b] = !ls": "[a, b] = (None, None)",
    "own.x = !pwd": "own.x = None",
    "own['x'] = !pwd": "own['x'] = None",
    "x = %timeit -o f()": "x = None",
    "x = %pwd": "x = None",
    "%time x = f(1)": "x = f(1)",
    "%time f(1)": "f(1)",
    "x = %time f(1)": "x = f(1)",
    "get_ipython().system('ls')": "pass",
    "get_ipython().run_line_magic('matplotlib', 'inline')": "pass",
    "get_ipython().run_line_magic('time', 'x = f(1)')": "x = f(1)",
    "x = get_ipython().getoutput('pwd')": "x = None",
    "shell = get_ipython()": "shell = None",
    "time x = f(1)": "x = f(1)",
}


def meant(cell):
    return ast.unparse(tree_of(python_of(cell)))


PLACES = {
    "alone": "{}",
    "between": "import sys\n{}\ny = 1",
    "under if": "if 'google.colab' in sys.modules:\n    {}\ny = 1",
    "under if and else": "if y:\n    y = 1\nelse:\n    {}",
    "under for and with": "for k in range(3):\n    with y:\n        {}\n    y = 1",
    "under try": "try:\n    import none\nexcept ImportError:\n    {}\n    y = 1",
    "in a function": 'def g():\n    """Text.\n    !pip\n    """\n    {}\n    return 1',
    "in a class": "class G:\n    {}\n    y = 1",
    "with tabs": "if y:\n\t{}\n\ty = 1",
    "beside a remark": "# pip install it\n{}\n# %%time\ny = 1",
}


@pytest.mark.parametrize("place", PLACES)
def test_a_line_of_jupyters_own_costs_nothing_wherever_it_stands(place):
    around = PLACES[place]
    for line, counts_as in LINES.items():
        cell = around.format(line)
        assert meant(cell) == meant(around.format(counts_as)), line
        assert meant(cell.replace("\n", "\r\n")) == meant(around.format(counts_as)), line
        assert python_of(cell).rstrip("\n").count("\n") == cell.count("\n"), line


WHOLE = {
    "a command that goes on": ("!pip install \\\n    tqdm \\\n    numpy\nx = 1", "pass\nx = 1"),
    "a command that goes on under if": (
        "if 1:\n    !pip install \\\n        tqdm\n    x = 1",
        "if 1:\n    pass\n    x = 1",
    ),
    "a command that goes on, without a %": ("pip install tqdm \\\n    numpy\nx = 1", "pass\nx = 1"),
    "a cell that is timed": ("\n%%time\nx = 1\n!ls\n", "x = 1\npass"),
    "a cell that is captured and timed": ("%%capture out\n%%time\nx = 1", "x = 1"),
    "a cell as nbconvert writes it": (
        "get_ipython().run_cell_magic('time', '', 'x = 1\\n%pwd\\n')",
        "x = 1\npass",
    ),
    "a cell of another program, as nbconvert writes it": (
        "get_ipython().run_cell_magic('bash', '', 'x')",
        "pass",
    ),
    "a prompt": (">>> x = 1\n>>> y = 2", "x = 1\ny = 2"),
    "an indented cell": ("    x = 1\n    y = 2", "x = 1\ny = 2"),
    "a byte order mark": ("\ufeffx = 1", "x = 1"),
    "a form feed": ("x = 1\n\x0c\n!ls\ny = 2", "x = 1\npass\ny = 2"),
    "old line ends": ("x = 1\r!ls\ry = 2", "x = 1\npass\ny = 2"),
    "many": (
        "%load_ext autoreload\n%autoreload 2\n!ls\n\n?x\nx = 1",
        "pass\npass\npass\npass\nx = 1",
    ),
    "more than IPython takes at once": ("!ls\n" * 600, "\n".join(["pass"] * 600)),
    "nothing but a magic": ("%%", ""),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_cell_as_a_notebook_has_it(name):
    cell, counts_as = WHOLE[name]
    assert meant(cell) == counts_as


TEXT = '"""\n!ls\n%time x\n%%bash\nwhat?\npip install x\n    cd ..\nx = !pwd\n"""'
AROUND = ("answer = {}", "{}", "answer = f({})", "answer = f{}", "!ls\nanswer = {}\n?x\npip list")


@pytest.mark.parametrize("around", AROUND)
def test_what_looks_like_jupyters_own_stays_in_a_text(around):
    tree = tree_of(python_of(around.format(TEXT)))
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    assert ast.literal_eval(TEXT) in texts


@pytest.mark.parametrize(
    "python",
    ["x = (a\n%b)", "x = a \\\n% b", "x = [1,\n    -b]", "pip = ls - l", "time = 3\nx = time"],
)
def test_what_looks_like_jupyters_own_stays_where_it_is_python(python):
    assert python_of(python) == python


@pytest.mark.parametrize(
    "cell", ["x = = 3", "time = = 3", "retrun x", "x = (1,\n!ls", "pip = install tqdm"]
)
def test_what_is_no_line_of_jupyters_either_is_said(cell):
    (note,) = Statements([cell, "y = 1"], "a").notes
    assert note.startswith("code cell 1 is left out: ")


COMPILED = {
    "an argument twice": "def f(a, a):\n    return a",
    "return outside a function": "return 3",
    "global too late": "def f():\n    x = 1\n    global x",
    "nonlocal at the top": "nonlocal x",
    "a break": "break",
    "a zero byte": "x = '\0'",
    "half a letter": "x = '\ud800'",
}


@pytest.mark.parametrize("name", COMPILED)
def test_a_cell_that_python_refuses_later_costs_only_itself(name):
    found = Statements(["x = 1", COMPILED[name], "y = 2"], "a")
    assert [ast.unparse(one.tree) for one in found.all] == ["x = 1", "y = 2"]
    assert len(found.notes) == 1


def test_a_note_names_the_line_that_it_is_in():
    cells = ["\n\n!pip install \\\n  tqdm\n%time x = 1 / 0\n", "%%time\n\ny = 1 / 0"]
    _, notes = Statements(cells, "a").run(["x", "y"])
    lines = [note.partition(":")[0] for note in notes]
    assert lines == ["line 5 of code cell 1", "line 3 of code cell 2"]


def test_where_ipython_is_missing_a_notebooks_line_is_what_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "IPython.core.inputtransformer2", None)
    found = Statements(["!ls\nx = 1", "y = 2"], "a")
    assert len(found.all) == 1 and "pip install ipython" in found.notes[0]


def test_what_is_judged_is_python_already(tmp_path, monkeypatch):
    """So the process that judges needs no IPython, which takes time to import."""
    path = tmp_path / "ada.ipynb"
    cells = ["!ls\nx = 1", "x = = 3", "check('05.1', x)"]
    path.write_text(
        json.dumps({"cells": [{"cell_type": "code", "source": cell} for cell in cells]})
    )
    found = read_file(path, "ada")
    monkeypatch.setitem(sys.modules, "IPython.core.inputtransformer2", None)
    again = Statements(found.cells, "ada")
    assert found.number == "05" and len(found.notes) == 1 and again.notes == []
    assert [ast.unparse(one.tree) for one in again.all] == ["pass", "x = 1", "check('05.1', x)"]


@needs_solutions
def test_a_solved_notebook_keeps_its_points_with_every_line_that_jupyter_knows(tmp_path):
    head, imports, rest = source().partition("import numpy as np")
    lines = "\n".join(f"    {line}" for line in LINES if "f(" not in line and "own" not in line)
    lines += "\n    !pip install \\\n        -q tqdm"
    text = f"{head}import sys\nif 'google.colab' in sys.modules:\n{lines}\n{imports}{rest}"
    found = judged(tmp_path, text)
    assert found["status"] == "right" and found["notes"] == []
