"""A case of small whole numbers, shown when an answer is wrong: input, expected and yours. It earns no points.

A set's ``example_3`` yields those of its third exercise; the first that tells is shown.
"""

from dataclasses import dataclass

from .compare import difference
from .exercise import call
from .expected import by_right
from .in_rows import numbers_of, rows_beside
from .outcome import outcome_of


@dataclass(frozen=True)
class Example:
    """Arguments by their names, and what the right answer gives for them."""

    arguments: dict
    expected: object
    of: str | None = None  # of several functions, the one that is asked


def example(exercise, function, /, of=None, **arguments):
    """An example: ``example("05.1", "to_chunks", x_TD=x, C=2)``, by the name of the right function in its set."""
    key = f"example {function} {numbers_of([*arguments.values()])}"
    expected = by_right(exercise, key, function, *arguments.values())
    return Example(arguments, expected, of)


def rows_of(exercise, answer):
    """(label, text) of input, expected and yours; none where there is no example, or the answer is right in it."""
    if exercise.example is None:
        return []
    for one in exercise.example():
        case = call("example", next(iter(exercise.parts)), *one.arguments.values(), of=one.of)
        outcome = outcome_of(case, exercise.assemble(answer, None), exercise.shut, exercise.answers)
        if rows := rows_of_outcome(one, outcome, exercise.tolerance):
            return rows
    return []


def rows_of_outcome(one, outcome, tolerance):
    if outcome.unable or outcome.said is not None:
        return []
    if outcome.error is not None:
        yours = type(outcome.error).__name__
    elif difference(one.expected, outcome.value, tolerance) is None:
        return []
    else:
        yours = numbers_of(outcome.value)
    expected = numbers_of(one.expected)
    if yours == expected:  # what differs is not seen
        return []
    return rows_beside(one.arguments, expected, yours)
