"""Every kept wrong answer is rejected with its own sentence, and with other sizes too."""

import functools

import pytest
from test_exercises import EXERCISES, SEEDS, SLOW, skip_without_triton, tool

from flash_course.checks import exercise as model
from flash_course.checks.outcome import outcome_of
from flash_course.checks.proving import agreed, order_of
from flash_course.checks.verdict import problem

WITH_WRONG = [name for name, exercise in EXERCISES.items() if exercise.wrong]
FIRST = {name[:2]: name for name in reversed(WITH_WRONG) if name not in SLOW}.values()


def first_of_each_set():
    """For parametrize: the first that is quick in each set; the others are asked nightly."""
    for name in WITH_WRONG:
        yield pytest.param(name, marks=[] if name in FIRST else [pytest.mark.nightly])


@pytest.mark.parametrize("name", first_of_each_set())
def test_every_wrong_answer_is_rejected_with_its_sentence(name):
    skip_without_triton(name)
    _, survived = tool.kill_section(EXERCISES[name])
    assert not survived, "\n".join(survived)


@pytest.mark.nightly
@pytest.mark.parametrize("name", WITH_WRONG)
def test_every_wrong_answer_is_rejected_with_other_sizes_and_values(name):
    """As ``grade`` draws them. Which sentence it gets is not asked: that takes most of the time."""
    skip_without_triton(name)
    exercise = EXERCISES[name]
    seed = SEEDS[2]
    student = "student 2"
    numbers = exercise.numbers(student)
    right = exercise.assemble(exercise.right, numbers)
    cases = exercise.list_cases(numbers, seed)
    expected = functools.cache(
        lambda i: None if cases[i].truth is not None else outcome_of(cases[i], right)
    )
    for wrong in exercise.wrong:
        given = exercise.assemble(exercise.handed_in(wrong, student), numbers)
        assert is_rejected(exercise, given, expected, cases, seed, numbers), (
            f"{wrong.key}, seed {seed}"
        )


def is_rejected(exercise, given, expected, cases, seed, numbers):
    """Whether some case tells an answer from the right one. No more cases are run than that takes."""
    outcomes = {}
    for i in order_of(cases, seed):
        outcomes[i] = agreed(outcomes.get(i), outcome_of(cases[i], given, exercise.shut))
        if problem(exercise, cases[i], outcomes[i], expected(i), numbers) is not None:
            return not outcomes[i].unable
    return False


def test_the_kill_table_shows_what_a_wrong_answer_is():
    diff = tool.edits_as_diff(("    a = 1\n    b = 2", "    a = 2", "c", ""))
    assert diff == "- a = 1\n- b = 2\n+ a = 2\n- c\n+"
    assert tool.written(functools.partial(max, 1, key=len)) == "max(1, key=len)"
    assert tool.source_of(is_rejected).startswith("def is_rejected(exercise, given")
    assert "+" in tool.shown(EXERCISES["05.1"], model.Wrong("two", None, edits=("1", "2")))
