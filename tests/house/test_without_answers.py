"""A copy without answers has none in any file or object, and its check says what the checkout's says."""

import functools
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from itertools import chain
from pathlib import Path

import pytest
from house.scripts import ROOT, script
from house.test_fork import pytestmark  # noqa: F401 - it needs what a fork needs

from flash_course.checks.edits import sources_of
from flash_course.checks.exercise import load_exercise, load_set, there
from flash_course.checks.stub import inner, instructions

# of the tests that are not nightly
SETS = ["05"]
QUICK = ["05.1", "05.2", "05.7"]
LEAST = 25  # characters of a line that tells something
DULL = ("#", "import ", "from ", "with ", "for ", "def ", "class ", '"""')
ENDINGS = (".py", ".toml", ".md", ".ipynb", ".json", ".yml", "")


@pytest.fixture(
    scope="module",
    params=[SETS, pytest.param(there(), marks=pytest.mark.nightly)],
    ids=["one set", "all sets"],
)
def numbers(request):
    return request.param


def every_set(test):
    """Nightly, on a copy of all sets."""
    of_all = pytest.mark.parametrize("numbers", [there()], ids=["all sets"], indirect=True)
    return pytest.mark.nightly(of_all(test))


@pytest.fixture(scope="module")
def copy(tmp_path_factory, numbers):
    """A copy of these sets; the others are left out."""
    out = tmp_path_factory.mktemp("fork") / "course"
    tool = script("course_fork")
    load = tool.load

    def load_for_these(name):
        module = load(name)
        if name == "without_answers":
            module.strip = functools.partial(module.strip, numbers=numbers)
        return module

    tool.load = load_for_these
    tool.make_fork(out, "ada/flash-2027", "fall", without_answers=True)
    for number in {*there()} - {*numbers}:
        for path in out.glob(f"flash_course/checks/sets/set_{number}.*"):
            path.unlink()
    return out


def run_in(copy, *command, **more):
    environment = os.environ | {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    how = dict(cwd=copy, env=environment, capture_output=True, text=True)
    return subprocess.run([sys.executable, *command], **how | more)


def exercises_of(numbers):
    for number in numbers:
        yield from load_set(number).values()


# ---------------------------------------------------------------- lines


def squeezed(text):
    return re.sub(r"\s+", "", text)


def code_of(path):
    """The text of a file, of a notebook that of its cells."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".ipynb":
        return text
    return "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"])


def answers_of(numbers):
    """The texts of all right and wrong answers of some sets."""
    for exercise in exercises_of(numbers):
        for answer in [*exercise.answers, *(wrong.answer for wrong in exercise.wrong)]:
            function = inspect.unwrap(answer) if callable(answer) else None
            if isinstance(answer, str):
                yield answer
            elif getattr(function, "__module__", "").endswith(f".set_{exercise.id[:2]}"):
                yield inspect.getsource(function)
    for number in numbers:
        yield code_of(ROOT / "solutions" / f"right_{number}.py")
        (master,) = ROOT.glob(f"solutions/{number}_*.py")
        block = r"^# BEGIN SOLUTION$(.*?)^# END SOLUTION$"
        yield from re.findall(block, code_of(master), re.S | re.M)


def telling_lines(text):
    """Its lines that say something: no comments, imports, heads of blocks or lines of a docstring."""
    lines = (line.strip() for line in text.splitlines())
    kept = {squeezed(line) for line in lines if not line.startswith(DULL)}
    return {line for line in kept if len(line) >= LEAST}


def open_text():
    """What students may read in any case: the package, lectures, problem sets, hints, what is to be mended."""
    places = ("flash_tutorial/**/*.py", "notebooks/*.ipynb", "exercises/*.ipynb")
    places += ("experiments/**/*.py", "tests/library/*.py", "flash_course/**/*.py")
    paths = chain.from_iterable(map(ROOT.glob, places))
    texts = [code_of(path) for path in paths if "checks" not in path.parts]
    for exercise in exercises_of(there()):
        texts += exercise.hints
        given = exercise.given.values() if isinstance(exercise.given, dict) else [exercise.given]
        for function in filter(callable, given):
            texts += [text for _, text in sources_of(function)]
    return squeezed("\n".join(texts))


def test_no_line_of_an_answer_is_found(copy, numbers):
    public = open_text()
    secret = set().union(*map(telling_lines, answers_of(numbers)))
    secret = [line for line in secret if line not in public]
    assert len(secret) > 100 * len(numbers)
    for path in copy.rglob("*"):
        if path.is_file() and path.suffix in ENDINGS:
            text = squeezed(code_of(path))
            assert [line for line in secret if line in text] == [], path.relative_to(copy)


def test_no_authors_page_is_there_and_links_lead_somewhere(copy):
    names = {path.name for path in copy.rglob("*")}
    assert not names & {"solutions", "instructors.md", "CONTRIBUTING.md", "exercises.py"}
    for page in [copy / "README.md", copy / "AGENTS.md", *copy.glob("docs/*.md")]:
        for link in re.findall(r"\]\(([^)#:\s]+)[^):\s]*\)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


# ---------------------------------------------------------------- objects

FUNCTIONS = """
import gc, sys, types
from flash_course.checks.exercise import load_set
from flash_course.checks.stub import inner, instructions
exercises = [e for n in sys.argv[1:] for e in load_set(n).values()]
for e in exercises:
    assert not any(e.answers) and not any(w.answer for w in e.wrong), e.id
    if e.kind not in ("prove", "predict"):
        e.list_cases(None)
given = [f for e in exercises for f in (e.given.values() if isinstance(e.given, dict) else [e.given])]
given = {f.__code__ for f in given if hasattr(f, "__code__")}
codes = {thing.__code__ for thing in gc.get_objects() if isinstance(thing, types.FunctionType)} - given
for code in codes:
    if "flash_course" in code.co_filename:
        print(repr((instructions(code), [instructions(each) for each in inner(code)])))
"""


@every_set
def test_no_object_of_the_package_is_a_right_answer(copy, numbers):
    run = run_in(copy, "-c", FUNCTIONS, *numbers)
    assert not run.returncode, run.stderr
    there_are = {*run.stdout.splitlines()}
    assert len(there_are) > 100
    for exercise in exercises_of(numbers):
        for code in (each.__code__ for each in exercise.answers if hasattr(each, "__code__")):
            same = repr((instructions(code), [instructions(each) for each in inner(code)]))
            assert same not in there_are, f"{exercise.id} {code.co_name}"


# ---------------------------------------------------------------- verdicts


def test_verdicts_are_those_of_the_checkout(copy, numbers):
    names = QUICK if numbers == SETS else numbers
    compare = Path(__file__).parent / "same_verdicts.py"
    run = run_in(copy, compare, ROOT, copy, *names, cwd=copy.parent)
    assert not run.returncode, run.stderr
    *others, last = run.stdout.splitlines()
    assert not others and int(last.split()[0]) > 20 * len(numbers), run.stdout


def checked(copy, path):
    run = run_in(copy, "-m", "flash_course.cli", "check", path)
    assert not run.returncode, run.stderr
    return dict(re.findall(r"^(\d\d\.\d): (.*)$", run.stdout, re.M))


@every_set
def test_a_problem_set_is_checked(copy, numbers):
    """The untouched file is not attempted; the solution is right, or recorded."""
    for number in numbers:
        (blank,) = copy.glob(f"exercises/{number}_*")
        assert all(said.startswith("not attempted") for said in checked(copy, blank).values())
        (solved,) = ROOT.glob(f"solutions/{number}_*.ipynb")
        for name, said in checked(copy, solved).items():
            by_others = load_exercise(name).kind in ("prove", "predict", "explain")
            assert said.startswith("recorded: " if by_others else "right, "), f"{name}: {said}"


ASK = "from flash_course import check, hint; check('05.6', {'a': 3, 'b': None}); hint('05.6')"


@every_set
def test_predictions_are_recorded_and_grading_asks_for_the_instructors_copy(copy):
    said = run_in(copy, "-c", ASK).stdout
    assert (
        said.startswith("05.6 what the chunk decides: recorded: ")
        and "nothing is written under b." in said
    )
    assert "05.6, hint 1 of 3" in said
    command = ("-m", "flash_course.cli", "grade", "exercises", "--out", copy.parent / "graded")
    run = run_in(copy, *command)
    assert run.returncode == 2 and "grading needs the instructor's copy" in run.stderr


# ---------------------------------------------------------------- what could go wrong


def test_a_case_that_names_a_right_answer_is_refused():
    source = (ROOT / "flash_course" / "checks" / "sets" / "set_05.py").read_text(encoding="utf-8")
    case = '    yield no_loop("no loop", "chunks"'
    assert case in source
    source = source.replace(case, f"    earlier_chunks(own)\n{case}")
    tool = script("without_answers.py")
    with pytest.raises(ValueError, match=r"cases_2 needs the right answer earlier_chunks"):
        tool.without_answers("05", source, load_set("05"))


@every_set
def test_other_draws_are_said(copy, tmp_path):
    other = tmp_path / "course"
    shutil.copytree(copy / "flash_course", other / "flash_course")
    path = other / "flash_course" / "checks" / "expected.py"
    text = path.read_text("utf-8").replace("default_rng(5)", "default_rng(6)")
    path.write_text(text, encoding="utf-8")
    ask = "from flash_course.checks.exercise import load_set; load_set('05')"
    environment = os.environ | {"PYTHONPATH": f"{other}:{copy}"}
    run = run_in(copy, "-c", ask, env=environment, cwd=tmp_path)
    assert "Install these versions" in run.stderr
