"""What an answer costs: multiplications, calls of NumPy, megabytes. Instruments for the cases of a set."""

import tracemalloc

import numpy as np


class Factor:
    """A number that counts the multiplications it takes part in, in ``count``, a list of one number."""

    def __init__(self, value, count):
        self.value, self.count = value, count

    def __mul__(self, other):
        self.count[0] += 1
        return Factor(self.value * getattr(other, "value", other), self.count)

    def __add__(self, other):
        return Factor(self.value + getattr(other, "value", other), self.count)

    def __float__(self):
        return float(self.value)

    __rmul__, __radd__ = __mul__, __add__


def multiplications(function, *arrays):
    """How many multiplications a function needs, or None where it cannot be counted: its way of writing is free."""
    count = [0]
    factors = [np.array([[Factor(x, count) for x in row] for row in array], dtype=object) for array in arrays]
    try:
        function(*factors)
    except Exception:
        return None
    return count[0]


class Counted(np.ndarray):
    """An array that counts how often NumPy is called with it, or with what came of it, in ``count``."""

    count = None

    def __array_finalize__(self, parent):
        self.count = getattr(parent, "count", None)

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **more):
        self.count[0] += 1
        plain = [x.view(np.ndarray) if isinstance(x, Counted) else x for x in inputs]
        if out is not None:
            more["out"] = tuple(x.view(np.ndarray) if isinstance(x, Counted) else x for x in out)
        result = getattr(ufunc, method)(*plain, **more)
        if out is not None:
            return out[0]
        return counted(result, self.count) if isinstance(result, np.ndarray) else result

    def __array_function__(self, function, types, args, kwargs):
        self.count[0] += 1
        return super().__array_function__(function, types, args, kwargs)


def counted(array, count):
    array = array.view(Counted)
    array.count = count
    return array


def numpy_calls(function, arrays, *more):
    """How often NumPy is called, or None where it cannot be counted."""
    count = [0]
    try:
        function(*(counted(array.copy(), count) for array in arrays), *more)
    except Exception:
        return None
    return count[0]


def megabytes(function, *args):
    """(what a function returns, the most that NumPy and Python took at one time meanwhile)."""
    running = tracemalloc.is_tracing()
    if not running:
        tracemalloc.start()
    try:
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        value = function(*args)
        return value, (tracemalloc.get_traced_memory()[1] - before) / 1e6
    finally:
        if not running:
            tracemalloc.stop()
