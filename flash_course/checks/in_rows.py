"""Input, expected and yours, as a card shows them beside each other: values in few letters."""

import numpy as np

from .compare import as_array, is_torch
from .texts import say

MOST = 60  # numbers of a value; of a larger one nobody sees where it differs
IN_ONE_LINE = 8  # numbers of an array whose last axis is 1
LETTERS = 60  # of what is no number


def rows_beside(arguments, expected, yours):
    """The three rows of a card, from arguments by their names and two texts."""
    given = "\n".join(
        f"{name} = {numbers_of(value, len(name) + 3)}" for name, value in arguments.items()
    )
    return [
        (say("all", "card input"), given),
        (say("all", "card expected"), expected),
        (say("all", "card yours"), yours),
    ]


def numbers_of(value, margin=0):
    """A value in few letters, an array in rows: whole numbers as such, others with three digits."""
    if isinstance(value, tuple | list) and not all(map(is_number, value)):
        return f"\n{' ' * margin}".join(numbers_of(each, margin) for each in value)
    try:
        array = as_array(value)
    except Exception:  # of an object of the student's own
        return type(value).__name__
    if array.dtype.kind not in "biuf":
        return short(value)
    if array.size > MOST:
        return f"{array.size} numbers in the shape {array.shape}"
    if not array.ndim:
        return in_digits(array)
    if array.dtype.kind == "b":
        array = array.astype(int)
    in_one_line = array.ndim > 1 and array.shape[-1] == 1 and array.size <= IN_ONE_LINE
    width = 0 if in_one_line else max(map(len, map(in_digits, array.flat)), default=0)
    text = np.array2string(
        array,
        formatter={"all": lambda number: in_digits(number).rjust(width)},
        prefix=" " * margin,
        threshold=MOST,
    )
    lines = [line for line in text.split("\n") if line.strip()]
    return " ".join(map(str.strip, lines)) if in_one_line else "\n".join(lines)


def in_digits(number):
    """A whole number with its digits, another with three, or with those before its point."""
    if number.dtype.kind == "f" and abs(number) < 100 and number != np.rint(number):
        return f"{number:.3g}"
    if number.dtype.kind == "f":
        return f"{number + 0:.6g}"  # no -0
    return str(number)


def is_number(value):
    return isinstance(value, int | float | np.number) or (is_torch(value) and not value.ndim)


def short(value):
    try:
        text = repr(value)
    except Exception:
        return type(value).__name__
    return text if len(text) <= LETTERS else type(value).__name__
