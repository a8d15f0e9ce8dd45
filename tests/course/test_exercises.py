"""Every problem set: right answers pass, every kept wrong answer is rejected with its own sentence.

What needs ``solutions/`` is skipped in a course's fork, which has none.
"""

import contextlib
import importlib.util
import io
import linecache
from functools import cache
from pathlib import Path

import nbformat
import numpy as np
import pytest
from marks import needs_solutions

from flash_course.checks import exercise as model
from flash_course.checks import interpreter
from flash_course.checks.texts import say
from flash_course.checks.verdict import judge

ROOT = Path(__file__).resolve().parents[2]
SETS = model.there()
EXERCISES = {}
for number in SETS:
    EXERCISES |= model.load_set(number)
CODE = {
    name: exercise
    for name, exercise in EXERCISES.items()
    if exercise.kind not in ("predict", "explain")
}
SEEDS = (0, 1, 2)
# their answers take seconds
SLOW = {
    *("01.6", "03.2", "03.5", "04.3", "04.7", "06.3", "06.4", "06.5"),
    *("07.1", "07.2", "07.3", "07.6", "07.7", "09.2", "09.4", "11.3", "11.4", "11.6"),
}


def by_exercise(names):
    """For parametrize: what is asked of the slow exercises is asked nightly."""
    for name in names:
        yield pytest.param(name, marks=[pytest.mark.nightly] if name in SLOW else [])


def skip_without_triton(*names):
    """Where a kernel cannot be interpreted, its answers are "not attempted", whatever they are."""
    if {"11.3", "11.6"} & {*names} and interpreter.missing():
        pytest.skip("Triton's interpreter does not run on this machine")


def load(path, name):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


tool = load(ROOT / "tools" / "exercises.py", "exercises_tool")


@cache
def right_answers(number):
    return load(ROOT / "solutions" / f"right_{number}.py", f"right_{number}")


def master(number):
    (path,) = (ROOT / "solutions").glob(f"{number}_*.py")
    return path


def run_cells(cells):
    """The names that a notebook's code cells define, and what they printed."""
    names = {"__name__": "__main__"}
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        for number, cell in enumerate(cells, 1):
            if cell.cell_type == "code":
                name = f"cell {number} of {id(names)}"
                lines = cell.source.splitlines(True)
                linecache.cache[name] = (len(cell.source), None, lines, name)  # as IPython does
                exec(compile(cell.source, name, "exec"), names)
    return names, printed.getvalue()


@cache
def solved(number):
    from building.sources import read_source  # beside the tool

    return run_cells(read_source(master(number)).cells)


def answer_of(exercise, names):
    if len(exercise.names) == 1:
        return names[exercise.names[0]]
    return {name: names[name] for name in exercise.names}


@pytest.fixture(autouse=True)
def own_progress(tmp_path, monkeypatch):
    monkeypatch.setenv("FLASH_TUTORIAL_PROGRESS", str(tmp_path / "progress.json"))


# ---------------------------------------------------------------- every exercise


@pytest.mark.nightly
@pytest.mark.parametrize("name", EXERCISES)
def test_the_oracle_gets_all_points_with_other_sizes(name):
    exercise = EXERCISES[name]
    for seed in SEEDS[1:]:
        how = dict(seed=seed, student=f"student {seed}", kept=True)
        numbers = exercise.numbers(how["student"])
        right = exercise.right(numbers) if exercise.kind == "predict" else exercise.right
        verdict = judge(exercise, right, **how)
        assert (verdict.status, verdict.points) == ("right", exercise.points), verdict


@pytest.mark.parametrize("number", SETS)
def test_a_set_has_its_form(number):
    listed = [exercise for name, exercise in EXERCISES.items() if name.startswith(f"{number}.")]
    assert sum(exercise.points for exercise in listed) == 100
    assert 60 <= sum(exercise.points for exercise in listed if exercise.core) <= 70
    for exercise in listed:
        for number in (exercise.difficulty, exercise.importance):
            assert 1 <= number <= 5 and exercise.minutes > 0
        assert exercise.kind == "explain" or exercise.wrong, exercise.id
        assert exercise.id not in CODE or len({wrong.key for wrong in exercise.wrong}) >= 5
        assert all(say(exercise.id, wrong.key) for wrong in exercise.wrong), exercise.id
        assert all(len(hint) > 20 for hint in exercise.hints), exercise.id


# ---------------------------------------------------------------- masters and student files


@needs_solutions
@pytest.mark.parametrize("name", [n for n, e in CODE.items() if e.kind in ("prove", "mend")])
def test_prove_and_mend_have_a_held_out_pool(name):
    held_out = getattr(right_answers(name[:2]), f"held_out_{name[3:]}")
    assert len(held_out(np.random.default_rng(0))) >= 2


@needs_solutions
@pytest.mark.parametrize("number", SETS)
def test_the_masters_text_has_the_facts_of_the_exercise(number):
    text = master(number).read_text(encoding="utf-8")
    for exercise in model.load_set(number).values():
        core = " · core" if exercise.core else ""
        facts = (
            f"**{exercise.points} points** · difficulty {exercise.difficulty}/5 · importance {exercise.importance}/5 · "
            f"{exercise.minutes} minutes{core}\n"
        )
        part = text.partition(f"## {exercise.id} {exercise.kind}: ")[2].partition("\n# ## ")[0]
        assert facts in part, f"{exercise.id}: expected the line {facts}"
        assert part.count("<details>") >= 1 and f'check("{exercise.id}", ' in part, exercise.id
    assert "File > Save a copy in Drive" in text


@needs_solutions
def test_student_files_are_in_step_and_show_no_answer():
    assert tool.check() == []
    assert [path.name[:2] for path in tool.masters()] == SETS


@pytest.mark.fork
@pytest.mark.parametrize("number", SETS)
def test_an_untouched_student_file_runs_and_gets_no_points(number):
    (path,) = (ROOT / "exercises").glob(f"{number}_*.ipynb")
    _, printed = run_cells(nbformat.read(path, as_version=4).cells)
    for name, exercise in model.load_set(number).items():
        points = "" if exercise.kind == "explain" else f", 0 of {exercise.points} points"
        assert f"{name} {exercise.title}: not attempted{points}\n" in printed, printed
