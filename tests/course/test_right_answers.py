"""Right answers, the masters' and a hundred written in unusual ways, get all points in `check` and in `grade`."""

import ast
import inspect
import re

import numpy as np
import pytest
from marks import needs_solutions
from submissions import ROOT, forks
from test_exercises import (
    EXERCISES,
    SEEDS,
    SETS,
    answer_of,
    by_exercise,
    right_answers,
    skip_without_triton,
    solved,
)

from flash_course.checks.edits import edited, replace_once
from flash_course.checks.sets import set_01, set_03, set_04, set_11
from flash_course.checks.verdict import judge
from flash_course.grading.child import Limits
from flash_course.grading.grade import default_pool, grade

pytestmark = forks


VALUES = "import numpy as np\nfrom numpy import array\nfrom decimal import Decimal\nfrom fractions import Fraction"


def submission(number, place):
    """A file with the answers at a place of each exercise's list, as far as it reaches; the helpers stand in it too."""
    path = ROOT / "solutions" / f"right_{number}.py"
    body = ast.parse(path.read_text(encoding="utf-8")).body
    text = ["# %%", *(ast.unparse(statement) for statement in body)]
    for name, answers in right_answers(number).RIGHT.items():
        if place >= len(answers):
            continue
        chosen = f"RIGHT[{name!r}][{place}]"
        names = EXERCISES[name].names
        if EXERCISES[name].kind in ("predict", "explain"):
            text += ["# %%", VALUES, f"{names[0]} = {answers[place]!r}"]
        elif name in right_answers(number).__dict__.get("KERNELS", {}):
            text += ["# %%", kernels(name, right_answers(number).KERNELS[name][place])]
        elif len(names) == 1:
            text += ["# %%", f"{names[0]} = {chosen}"]
        else:
            text += ["# %%", *(f"{one} = {chosen}[{one!r}]" for one in names)]
    return "\n".join(text)


def kernels(name, edits):
    """The kernel of set 11 and its launches as a student would have them, edited; 11.6 has names of its own."""
    source = inspect.getsource(set_11)
    text = source[source.index("def tile_for(") : source.index("GAP = 40")]
    head = (
        "import torch\nfrom flash_course.checks.interpreter import jit, tl\nlocal_part = None\n\n\n"
    )
    text = head + replace_once(text, *edits, where="set_11")
    return text if name == "11.3" else re.sub(r"\b(kernel|load_tile|launch_local)\b", r"\1_6", text)


@needs_solutions
@pytest.mark.nightly
@pytest.mark.parametrize("number", SETS)
def test_grade_gives_all_points(number, tmp_path):
    skip_without_triton(*(name for name in EXERCISES if name.startswith(number)))
    given = right_answers(number).RIGHT
    files = []
    for place in range(max(map(len, given.values()))):
        files.append(tmp_path / f"answers_{place}.py")
        files[-1].write_text(submission(number, place), encoding="utf-8")
    how = dict(number=number, seed=3, pool=default_pool(), limits=Limits(seconds=60))
    for result in grade(files, tmp_path / "out", quiet=True, mode="none", **how):
        place = int(result["name"].removeprefix("answers_"))
        for name in (name for name, answers in given.items() if place < len(answers)):
            row = result["exercises"][name]
            points = 0 if row.get("by_person") else EXERCISES[name].points
            said = f"{result['name']} {name}: {row}"
            assert (row["status"], row["points"]) == ("right", points), said


HALVES = {
    "01.5": (
        {
            "rope": edited(
                set_01.rope,
                "cos(angle_TS, dtype=np.float64)",
                "cos(angle_TS).astype(np.float32)",
                name="a",
            ),
            "shown_01_5": set_01.SHOWN,
        },
        {"pairing": 7, "properties": 1, "precision": 0},
    ),
    "03.2": (  # what goes beyond the reach is a matter of numbers, and the parameters are as they should be
        edited(set_03.SmallGAU, "distance.clamp(-self.reach, self.reach)", "distance", name="c"),
        {"parameters": 5, "numbers": 0, "start": 4, "device": 3},
    ),
    "04.6": (
        {
            # it fills the zeros that the other one starts from
            "answer_one": set_04.given_6["answer_one"],
            "answer_batch": edited(
                set_04.answer_batch,
                "np.zeros((len(q_BTS), 4, 3))",
                "[ZEROS.copy() for _ in q_BTS]",
                name="b",
            ),
        },
        {"answer_one": 0, "answer_batch": 5},
    ),
}


@pytest.mark.parametrize("name", HALVES)
def test_a_right_half_keeps_its_points(name):
    answer, points = HALVES[name]
    assert judge(EXERCISES[name], answer, kept=True).by_part == points


def test_a_length_needs_no_rounding_whoever_asks():
    for student in map(str, range(100)):
        n = EXERCISES["04.4"].numbers(student)
        answer = set_04.right_4(n) | {"e": 2 * n["S"] * n["E"] / (n["S"] + n["E"])}
        assert judge(EXERCISES["04.4"], answer, student=student).status == "right", n


@needs_solutions
@pytest.mark.parametrize("name", by_exercise(EXERCISES))
def test_the_solution_and_other_right_answers_get_all_points(name):
    """And the course's own answer, which others are compared with: by itself, without held-out cases."""
    skip_without_triton(name)
    exercise = EXERCISES[name]
    module = right_answers(name[:2])
    names, _ = solved(name[:2])
    student = names.get("STUDENT", "me")
    own = exercise.right
    if exercise.kind == "predict":
        own = own(exercise.numbers(student))
    held_out = getattr(module, f"held_out_{name[3:]}", lambda rng: ())
    seed = SEEDS[0]  # `grade`, above, takes another one
    for answer in (own, answer_of(exercise, names), *module.RIGHT[name]):
        more = () if answer is own else held_out(np.random.default_rng(seed))
        how = dict(seed=seed, student=student, more_cases=more, kept=True)
        verdict = judge(exercise, answer, **how)
        said = f"{answer}: {verdict}"
        assert (verdict.status, verdict.points) == ("right", exercise.points), said
