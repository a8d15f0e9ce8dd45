"""Input, expected and yours, as a card shows them beside each other: values in few letters."""

import numpy as np

from .compare import as_array, is_torch
from .texts import say

MOST = 60  # numbers of a value; of a larger one nobody sees where it differs
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
        return "\n".join(numbers_of(each) for each in value)
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
    width = max(map(len, map(in_digits, array.flat)), default=0)
    text = np.array2string(
        array,
        formatter={"all": lambda number: in_digits(number).rjust(width)},
        prefix=" " * margin,
        threshold=MOST,
    )
    return "\n".join(line for line in text.split("\n") if line.strip())


def in_digits(number):
    """A whole number with all its digits, another with three."""
    if number.dtype.kind == "f" and abs(number) < 1e6 and number != np.rint(number):
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
