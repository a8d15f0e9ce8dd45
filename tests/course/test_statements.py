"""What of a submission is run for an exercise."""

import time
from pathlib import Path

import numpy as np
import pytest
from marks import needs_solutions
from submissions import forks, graded, judged, points, source

import flash_course
from flash_course.grading.child import Limits, in_child
from flash_course.grading.statements import Statements, needed_text

pytestmark = forks


@needs_solutions
@pytest.mark.parametrize(
    "more",
    [
        "import time\ntime.sleep(100)\nmodel = time.sleep(100)\n%matplotlib inline\n!rm -rf x",
        # an answer that the student's own function computes is run for its exercise
        "import time\ndef same(x):\n    return x\ndef slow():\n    time.sleep(100)\n"
        "model = slow()\nkept, to_chunks = to_chunks, None\nto_chunks = same(kept)",
    ],
)
def test_code_that_the_answer_does_not_need_is_not_run_again(more, tmp_path):
    assert judged(tmp_path, f"{source()}\n\n# %%\n{more}\n")["status"] == "right"


@pytest.mark.nightly
@needs_solutions
def test_a_cell_that_cannot_be_read_costs_what_is_in_it(tmp_path):
    text = source().replace("    missing = -len(x_TD) % C\n", "    missing = = 3\n")
    result = graded(tmp_path, text)
    assert points(result)["05.1"] == 0 and points(result)["05.2"] == 15
    assert "is left out: invalid syntax" in result["notes"][0]


@needs_solutions
def test_an_import_that_fails_and_a_name_that_is_missing_are_said(tmp_path):
    found = judged(tmp_path, source() + "\n\n# %%\nimport no_such_package\n")
    assert found["status"] == "right"
    assert "ModuleNotFoundError: No module named 'no_such_package'" in found["notes"][0]
    text = source().replace("def earlier_chunks(", "def somewhere_else(")
    found = judged(tmp_path, text, "05.2")
    assert found["status"] == "not attempted"
    assert found["notes"] == ["earlier_chunks is not defined."]


CUT = "np.concatenate([x, np.zeros((-len(x) % C, x.shape[1]))]).reshape(-1, C, x.shape[1])"


def cut(axis="1", numpy="np", indent=""):
    """A right answer that finds a 1 under some name."""
    code = CUT.replace("[1]", f"[{axis}]").replace("np.", f"{numpy}.")
    return f"{indent}def to_chunks(x, C):\n{indent}    return {code}\n"


AS_IN_A_NOTEBOOK = {
    "a lambda": f"to_chunks = lambda x, C: {CUT}",
    "a table filled by a loop": f"AXES = {{}}\nfor k in range(3):\n    AXES[k] = k\n{cut('AXES[1]')}",
    "a function under if": f"if True:\n{cut(indent='    ')}",
    "a lambda under else": f"if None:\n    pass\nelse:\n    to_chunks = lambda x, C: {CUT}",
    "an import that is tried": f"try:\n    import none as m\nexcept ImportError:\n    m = np\n{cut(numpy='m')}",
    "a text that is split": f"FIRST, LAST = '0 1'.split()\n{cut('int(LAST)')}",
    "a walrus": f"(ROW := 1)\n{cut('ROW')}",
    "with": f"import contextlib\nwith contextlib.suppress(ValueError):\n{cut(indent='    ')}",
    "while": f"AXIS = 0\nwhile AXIS < 1:\n    AXIS += 1\n{cut('AXIS')}",
    "a decorator of its own": f"def twice(f):\n    return lambda *a: f(*a)\n@twice\n{cut()}",
    "a function that registers": "AXES = {}\ndef register(f):\n    AXES[0] = f\ndef one():\n    return 1\n"
    f"register(one)\n{cut('AXES[0]()')}",
    "a function that sets a global name": f"def begin():\n    global AXIS\n    AXIS = 1\nbegin()\n{cut('AXIS')}",
    "a function within one that counts": "def one():\n    n = 0\n    def count():\n        nonlocal n\n        n += 1\n"
    f"    count()\n    return n\n{cut('one()')}",
    "annotations of later names": f"from __future__ import annotations\nclass Cut:\n    def of(self, x: Last) -> Cut:\n"
    f"        return self\n{cut()}",
    "a list that a function fills": f"AXES = []\ndef fill(a):\n    a.append(1)\nfill(AXES)\n{cut('AXES[0]')}",
    "a list that grows": f"AXES = []\nAXES.append(1)\n{cut('AXES[0]')}",
    "a value that a function computed": f"def one():\n    return 1\nAXIS = one()\n{cut('AXIS')}",
    "a name that is removed": f"AXIS = 1\nold = AXIS\ndel old\n{cut('AXIS')}",
    "an object that is called": f"class Cut:\n    def __call__(self, x, C):\n        return {CUT}\nto_chunks = Cut()",
    "a partial": f"import functools\ndef at(axis, x, C):\n    return {CUT}\nto_chunks = functools.partial(at, 1)",
    "a main guard": f"if __name__ == '__main__':\n    to_chunks = lambda x, C: {CUT}",
    "a line that is timed": f"%time AXIS = 1\n{cut('AXIS')}",
    "a cell that is timed": f"%%time\n{cut()}",
    "a list that a comprehension fills": f"AXES = []\n[AXES.append(1) for k in range(2)]\n{cut('AXES[0]')}",
    "a list that a comprehension fills, kept": f"AXES = []\n_ = [AXES.append(1) for k in range(2)]\n{cut('AXES[0]')}",
    "a list of which the last is taken": f"AXES = [1, 2]\nlast = AXES.pop()\n{cut('AXES[-1]')}",
    "a table that a function fills and counts": "AXES = []\ndef fill(a):\n    a.append(1)\n    return len(a)\n"
    f"count: int = fill(AXES)\n{cut('AXES[0]')}",
    "text that is run": f"exec({cut()!r})",
    "text that is run, beside a function": f"exec('AXIS = 1')\n{cut('AXIS')}",
    "globals": f"globals()['to_chunks'] = lambda x, C: {CUT}",
    "globals in a loop": f"for name in ['a', 'to_chunks']:\n    globals()[name] = lambda x, C: {CUT}",
    "globals that are updated": f"globals().update(AXIS=1)\n{cut('AXIS')}",
    "locals": f"locals()['AXIS'] = 1\n{cut('AXIS')}",
    "vars": f"vars()['AXIS'] = 1\n{cut('AXIS')}",
    "an attribute of the module": f"import sys\nsetattr(sys.modules[__name__], 'to_chunks', lambda x, C: {CUT})",
    "an attribute of main": f"import __main__\n__main__.AXIS = 1\n{cut('AXIS')}",
    "a function that is made by a function": f"def make():\n    exec('global AXIS; AXIS = 1')\nmake()\n{cut('AXIS')}",
    "a decorator that registers": "FOUND = {}\ndef keep(f):\n    FOUND[f.__name__] = f\n    return None\n@keep\n"
    f"{cut().replace('to_chunks', 'own')}to_chunks = FOUND['own']",
    "a decorator that names": "def named(name):\n    def keep(f):\n        globals()[name] = f\n        return f\n"
    f"    return keep\n@named('to_chunks')\n{cut().replace('to_chunks', 'own')}",
    "a star": f"first, *AXES = 0, 1\n{cut('AXES[0]')}",
    "a walrus in an if": f"if (AXIS := max(1, 0)) > 0:\n    pass\n{cut('AXIS')}",
    "a walrus in a comprehension": f"[AXIS := k for k in (0, 1)]\n{cut('AXIS')}",
    "a match": f"match ['axis', 1]:\n    case ['axis', AXIS]:\n        pass\n{cut('AXIS')}",
    "a match of a table": f"match {{'a': 1, 'b': 2}}:\n    case {{'a': AXIS, **REST}}:\n        pass\n{cut('AXIS')}",
    "del and again": f"AXIS = 0\ndel AXIS\nAXIS = int('1')\n{cut('AXIS')}",
    "a deleted key": f"AXES = [0, 1]\ndel AXES[0]\n{cut('AXES[0]')}",
    "an attribute of a class": f"class Own:\n    first = 1\n    AXIS = first\n{cut('Own.AXIS')}",
    "an attribute that is set later": f"class Own:\n    pass\nOwn.AXIS = 1\n{cut('Own.AXIS')}",
    "a class that is made": f"Own = type('Own', (), {{'AXIS': 1}})\n{cut('Own.AXIS')}",
    "an import of all": f"from numpy import *\n{cut().replace('np.', '')}",
    "an await": "import asyncio\nasync def one():\n    await asyncio.sleep(0)\n    return 1\n"
    f"AXIS = await one()\n{cut('AXIS')}",
    "an async for": "async def count():\n    yield 1\nasync for AXIS in count():\n    pass\n"
    + cut("AXIS"),
    "an async comprehension": "async def count():\n    yield 1\nAXES = [k async for k in count()]\n"
    + cut("AXES[0]"),
    "a later __future__": f"AXIS = 1\nfrom __future__ import annotations\n{cut('AXIS')}",
    "a long sum": f"TEXT = {' + '.join(['1'] * 400)}\n{cut('TEXT // 400')}",
    "display": cut().replace("    return", "    display(x)\n    return"),
    "with a magic in it": f"import contextlib\nwith contextlib.suppress(ValueError):\n    %pwd\n{cut(indent='    ')}",
}


def to_chunks_of(code):
    """What the answer of a notebook gives, and what is noted."""
    cells = ["import numpy as np", code, "check('05.1', to_chunks)\nprint(to_chunks)"]
    names, notes = Statements(cells, "a").run(["to_chunks"])
    if "to_chunks" not in names:
        return None, notes
    return names["to_chunks"](np.arange(10.0).reshape(5, 2), 3).tolist(), notes


@pytest.mark.parametrize("name", AS_IN_A_NOTEBOOK)
def test_what_an_answer_depends_on_runs_as_it_did_for_check(name):
    ended = in_child(lambda: to_chunks_of(AS_IN_A_NOTEBOOK[name]), Limits())
    assert ended.message == [[[[0, 1], [2, 3], [4, 5]], [[6, 7], [8, 9], [0, 0]]], []], ended


@pytest.mark.parametrize(
    "first",
    ["%%script bash", "%%writefile mine.py", "%%bash", "%%html", "%%javascript", "%%timeit"],
)
def test_a_cell_for_another_program_is_no_code(first):
    assert Statements([f"{first}\nto_chunks = 3"], "a").all == []


def test_plots_training_and_checks_do_not_run():
    code = (
        "def f(x):\n    return x\ndef train(steps):\n    raise SystemExit\ncheck('05.1', f)\nplt.plot(f(1))\n"
        "print(f(1))\nlosses = train(3)\nfor x in train(4):\n    losses.append(x)\nassert train(5)\ntrain(6)\n"
    )
    needed = Statements([code], "a").needed(["f"])
    assert [one.tree.name for one in needed] == ["f", "train"]


def test_what_failed_on_the_way_to_a_missing_name_is_said():
    found = in_child(lambda: to_chunks_of("exec('to_chunks = 1 / 0')"), Limits())
    assert found.message == [None, ["line 1 of code cell 2: ZeroDivisionError: division by zero"]]


def test_what_ends_a_cell_ends_no_notebook():
    code = (
        f"import sys\nexec('AXIS = 1')\nif AXIS:\n    sys.exit()\nraise SystemExit\n{cut('AXIS')}"
    )
    value, notes = in_child(lambda: to_chunks_of(code), Limits()).message
    lines = [note.partition(":")[0] for note in notes]
    assert value is not None and lines == ["line 3 of code cell 2", "line 5 of code cell 2"]


def test_what_lasts_too_long_is_left_where_a_name_is_missing():
    code = "import time\nexec('to_chunks = lambda x, C: np.ones(1)')\ntime.sleep(60)\nwhile True:\n    pass"
    statements = Statements(["import numpy as np", code], "a")
    begun = time.monotonic()
    names, _ = statements.run(["to_chunks"], seconds=0.1)
    assert "to_chunks" in names and time.monotonic() - begun < 5


def counted(code):
    """How often the statements of a notebook counted, each in the file that it is given."""
    names, _ = Statements([f"LOG = {str(Path('log').resolve())!r}", code], "a").run(["to_chunks"])
    return [Path("log").read_text(), "to_chunks" in names]


def test_where_a_name_is_missing_all_statements_run_once_in_new_names(tmp_path):
    code = (
        "def count(what):\n    with open(LOG, 'a') as file:\n        file.write(what)\nSEEN = []\n"
        "first = count('a')\nSEEN.append(1)\nfor k in range(2):\n    count('b')\n"
        "if len(SEEN) == 1:\n    globals()['to_chunks'] = count\n"
    )
    assert in_child(lambda: counted(code), Limits(), str(tmp_path)).message == ["abb", True]


def test_nothing_is_checked_stored_or_shown_where_all_statements_run(tmp_path, monkeypatch):
    monkeypatch.setenv("FLASH_TUTORIAL_PROGRESS", str(tmp_path / "progress.json"))
    code = (
        "from flash_course import check, hint, predict, progress\nimport flash_course\nexec('to_chunks = print')\n"
        "if True:\n    check('05.1', to_chunks)\n    flash_course.check('05.1', to_chunks)\n    hint('05.1')\n"
        "    predict('a', 3)\n    progress()\n    display(to_chunks)\n"
    )
    names, notes = Statements([code], "a").run(["to_chunks"])
    assert names["to_chunks"] is print and notes == [] and not (tmp_path / "progress.json").exists()
    assert flash_course.check.__name__ == "check"


def test_a_pool_without_what_its_cases_do_not_need():
    text = "import numpy as np\ndef right(x):\n    return x\nRIGHT = {'a': right}\ndef size(rng):\n    return 3\n"
    text += "def held_out(rng):\n    return {'05.1': [size(rng)]}\n"
    kept = needed_text(text, ["held_out"])
    assert "held_out" in kept and "size" in kept and "right" not in kept and "RIGHT" not in kept
