"""Right answers that are written in unusual ways: as many as a class would write, with all points in ``grade`` as well.

That ``check`` gives them all points, test_exercises holds.
"""

import ast
import inspect
import re

import pytest
from marks import needs_solutions
from submissions import ROOT, forks
from test_exercises import EXERCISES, SETS, right_answers, skip_without_triton

from flash_course.checks.edits import replace_once
from flash_course.checks.sets import set_11
from flash_course.grading.child import Limits
from flash_course.grading.grade import default_pool, grade

pytestmark = forks


@needs_solutions
def test_there_are_a_hundred_and_more_and_each_exercise_has_one():
    answers = {name: found for number in SETS for name, found in right_answers(number).RIGHT.items()}
    assert answers.keys() == EXERCISES.keys()
    assert sum(map(len, answers.values())) >= 190


VALUES = "import numpy as np\nfrom numpy import array\nfrom decimal import Decimal\nfrom fractions import Fraction"


def submission(number, place):
    """A file with the answers at a place of each exercise's list, or the last one; the helpers stand in it too."""
    path = ROOT / "solutions" / f"right_{number}.py"
    body = ast.parse(path.read_text(encoding="utf-8")).body
    text = ["# %%", *(ast.unparse(statement) for statement in body)]
    for name, answers in right_answers(number).RIGHT.items():
        at = min(place, len(answers) - 1)
        chosen = f"RIGHT[{name!r}][{at}]"
        names = EXERCISES[name].names
        if EXERCISES[name].kind in ("predict", "explain"):
            text += ["# %%", VALUES, f"{names[0]} = {answers[at]!r}"]
        elif name in right_answers(number).__dict__.get("KERNELS", {}):
            text += ["# %%", kernels(name, right_answers(number).KERNELS[name][at])]
        elif len(names) == 1:
            text += ["# %%", f"{names[0]} = {chosen}"]
        else:
            text += ["# %%", *(f"{one} = {chosen}[{one!r}]" for one in names)]
    return "\n".join(text)


def kernels(name, edits):
    """The kernel of set 11 and its launches as a student would have them, edited; 11.6 has names of its own."""
    source = inspect.getsource(set_11)
    text = source[source.index("def tile_for(") : source.index("GAP = 40")]
    head = "import torch\nfrom flash_course.checks.interpreter import jit, tl\nlocal_part = None\n\n\n"
    text = head + replace_once(text, *edits, where="set_11")
    return text if name == "11.3" else re.sub(r"\b(kernel|load_tile|launch_local)\b", r"\1_6", text)


@needs_solutions
@pytest.mark.parametrize("number", SETS)
def test_grade_gives_all_points(number, tmp_path):
    skip_without_triton(*(name for name in EXERCISES if name.startswith(number)))
    count = max(map(len, right_answers(number).RIGHT.values()))
    for place in range(count):
        (tmp_path / f"answers_{place}.py").write_text(submission(number, place), encoding="utf-8")
    files = sorted(tmp_path.glob("answers_*.py"))
    how = dict(number=number, seed=3, pool=default_pool(), limits=Limits(seconds=60), quiet=True, mode="none")
    for result in grade(files, tmp_path / "out", **how):
        for name, row in result["exercises"].items():
            points = 0 if row.get("by_person") else EXERCISES[name].points
            assert (row["status"], row["points"]) == ("right", points), f"{result['name']} {name}: {row}"
