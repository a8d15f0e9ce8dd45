"""Whether a value is the expected one, and if not, where it first differs: types, then shapes, then numbers.

What is equal is right, whatever holds it: a number may be Python's or NumPy's, a Fraction, an array or a tensor of no
axes; a sequence may be a tuple, a list or an array. A tensor is asked for where the right answer is one.
"""

import inspect
import numbers
import re
from decimal import Decimal

import numpy as np

from .texts import say

SINGLE = 1e-5  # relative error below which right values have passed through float32
FORMATS = {
    "bf16": "bfloat16",
    "fp16": "float16",
    "half": "float16",
    "fp32": "float32",
    "fp64": "float64",
}


def difference(expected, got, tolerance, names=()):
    """None if ``got`` is ``expected``, else a sentence, also where ``got`` bears no comparison.

    ``names``: what the values of a sequence are called, one each, or one word by which they are counted.
    """
    try:
        return compared(expected, got, tolerance, names)
    except Exception as error:  # of an object of the student's own
        return say(
            "all",
            "type",
            expected=type_of(expected),
            got=f"{type(got).__name__} ({type(error).__name__})",
        )


def compared(expected, got, tolerance, names=()):
    if got is None and expected is not None:
        return say("all", "none")
    if inspect.isgenerator(got) or inspect.iscoroutine(got) or inspect.isasyncgen(got):
        return say("all", "never ran", what=type(got).__name__.replace("_", " "))
    if isinstance(expected, dict):
        return of_dictionaries(expected, got, tolerance)
    if isinstance(expected, tuple | list):
        return of_sequences(expected, got, tolerance, names)
    if isinstance(expected, str | bool | np.bool_ | type(None)):
        if is_plain(got, expected):
            return None
        return say("all", "value", expected=repr(expected), got=repr_of(got))
    return of_numbers(expected, got, tolerance)


def is_plain(got, expected):
    """Whether a text, a flag or None is the same one. 1 is no True; NumPy's and torch's own are."""
    if isinstance(expected, str):
        return isinstance(got, str) and str(got) == expected
    if expected is None:
        return got is None
    if isinstance(got, np.generic | np.ndarray) or is_torch(got):
        flag = as_array(got)
    else:
        flag = np.array(got, dtype=object)
    return flag.ndim == 0 and isinstance(flag.item(), bool) and flag.item() == bool(expected)


def as_word(value):
    """A word of a prediction as it is compared: in any case and spacing, terms of a sum in any order, ² as 2, without
    a `by` in front; a number format under any of its names."""
    if isinstance(value, type) and issubclass(value, np.generic):
        value = value.__name__
    if isinstance(value, np.dtype) or type(value).__name__ == "dtype":
        value = str(value)
    if not isinstance(value, str):
        return value
    word = " ".join(value.casefold().replace("_", " ").replace("²", "2").split()).rstrip(".")
    for front in ("torch.", "np.", "numpy.", "by "):
        word = word.removeprefix(front)
    return FORMATS.get(word, " + ".join(sorted(re.split(r" ?(?<!\+)\+(?!\+) ?", word))))


def repr_of(value):
    try:
        # 40.0, and not np.float64(40.0)
        text = repr(value.item() if isinstance(value, np.generic) else value)
    except Exception:
        text = ""
    return text if 0 < len(text) < 80 else type(value).__name__


def of_dictionaries(expected, got, tolerance):
    if not isinstance(got, dict) or set(got) != set(expected):
        keys = repr_of(got)
        if isinstance(got, dict):
            keys = ", ".join(map(str, got))
        return say("all", "keys", expected=", ".join(map(str, expected)), got=keys)
    for key, value in expected.items():
        if said := inside(value, got[key], tolerance):
            return f"{key}: {said}"
    return None


def inside(expected, got, tolerance):
    """The difference of one value of several: one that is None is not there, and no `return` is missing."""
    if got is None and expected is not None:
        return say("all", "type", expected=type_of(expected), got=None)
    return difference(expected, got, tolerance)


def is_sequence(value):
    """A tuple, a list, or an array or tensor with a first axis."""
    return isinstance(value, tuple | list) or (
        (isinstance(value, np.ndarray) or is_torch(value)) and value.ndim > 0
    )


def held(value):
    """How many values a message says there are: an array of two axes or more is one."""
    if is_sequence(value) and getattr(value, "ndim", 1) == 1:
        return len(value)
    return 1


def of_sequences(expected, got, tolerance, names=()):
    if not is_sequence(got) or len(got) != len(expected):
        return say("all", "several", expected=len(expected), got=held(got))
    for number, (a, b) in enumerate(zip(expected, got), 1):
        if said := inside(a, b, tolerance):
            return f"{called(number, len(expected), names)}: {said}"
    return None


def called(number, count, names):
    """What a message calls one of ``count`` values: its own name, a word with its number, or a value."""
    if isinstance(names, str):
        return f"{names} {number}"
    if len(names) == count:
        return names[number - 1]
    return say("all", "place", number=number)


def as_array(value):
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        if value.is_floating_point():
            value = value.double()
        return value.numpy()
    array = np.asarray(value)
    if array.dtype.kind == "O" and all(
        isinstance(each, numbers.Real | Decimal) for each in array.flat
    ):
        array = array.astype(float)  # Fraction, Decimal, and whole numbers beyond 64 bits
    return array


def is_torch(value):
    return type(value).__module__.partition(".")[0] == "torch" and hasattr(value, "detach")


def type_of(value):
    """A type as a message names it; for an array of objects, what these are."""
    if isinstance(value, np.ndarray) and value.dtype.kind == "O" and value.size:
        return f"array of {type(value.flat[0]).__name__}"
    if isinstance(value, np.ndarray) and value.dtype.kind in "USM":
        return f"array of {value.dtype}"
    return type(value).__name__


def of_numbers(expected, got, tolerance):
    wrong_type = say("all", "type", expected=type_of(expected), got=type_of(got))
    try:
        want = as_array(expected)
        have = as_array(got)
    except (TypeError, ValueError, RuntimeError):
        return wrong_type
    if have.dtype.kind not in "biufc" or (
        is_torch(expected) != is_torch(got) and want.ndim + have.ndim > 0
    ):
        return wrong_type
    if want.shape != have.shape:
        return say("all", "shape", expected=want.shape, got=have.shape)
    if (want.dtype.kind == "b") != (have.dtype.kind == "b"):
        return say("all", "dtype", expected=want.dtype, got=have.dtype)
    if want.dtype.kind == "b":
        if (want == have).all():
            return None
        return first_difference(want, have, want != have)
    if have.dtype.kind == "c" and want.dtype.kind != "c":
        if have.imag.any():
            return say("all", "dtype", expected=want.dtype, got=have.dtype)
        have = have.real
    given = have.dtype
    kind = complex if want.dtype.kind == "c" else float
    want = want.astype(kind)
    have = have.astype(kind)
    bad = ~near(want, have, tolerance)
    if not bad.any():
        return None
    text = kind_of_difference(want, have, bad)
    if given.kind in "iu" and have.ndim and (want % 1 != 0).any():
        text += " " + say("all", "whole numbers", dtype=given)
    return text


def near(want, have, tolerance):
    with np.errstate(invalid="ignore"):
        scale = np.maximum(np.abs(want), np.max(np.abs(want[np.isfinite(want)]), initial=0) * 1e-3)
        close = np.isfinite(want) & (np.abs(want - have) <= tolerance * np.maximum(scale, 1))
    return close | (want == have) | (np.isnan(want) & np.isnan(have))


def kind_of_difference(want, have, bad):
    text = first_difference(want, have, bad)
    if np.isfinite(have).all() and near(want, have, SINGLE).all():
        key = "single" if are_single(have[bad]) else "close"
        return f"{text} {say('all', key)}"
    if have.size > 1 and not have.any():
        return f"{text} {say('all', 'zeros')}"
    return text


def are_single(values):
    """Whether these are numbers of float32, as few of float64 are. 0.5 or 3, which float16 has too, tell nothing."""
    if values.dtype.kind == "c":
        return are_single(values.real) and are_single(values.imag)
    return fit(values, np.float32) and not fit(values, np.float16)


def fit(values, kind):
    with np.errstate(over="ignore"):
        return np.array_equal(values, values.astype(kind))


def first_difference(want, have, bad):
    where, place = (), ""
    if bad.ndim:
        where = tuple(int(i) for i in np.argwhere(bad)[0])
        place = f" [{', '.join(map(str, where))}]"
    expected, got = want[where], have[where]
    digits = 6 if f"{expected:.6g}" != f"{got:.6g}" else 12
    return say(
        "all",
        "first",
        place=place,
        expected=in_digits(expected, digits),
        got=in_digits(got, digits),
        bad=int(bad.sum()),
        of=bad.size,
    )


def in_digits(value, digits):
    """A number with so many digits; an integer or a flag has all of them."""
    return f"{value:.{digits}g}" if value.dtype.kind in "fc" else str(value)
