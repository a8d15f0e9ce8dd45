"""What the course's own answers give: stored, in a copy of the course that has no answers.

``tools/course_fork --without-answers`` makes such a copy, with a file ``expected/set_NN.npz`` for each set. Of a right
answer the file holds what it gives in each case of ``check``; of a kept wrong one a mark of that, enough to tell
whether another answer gives the same. Where there is no such folder, the answers are there and are run.
"""

import functools
import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import torch

from .compare import as_array, is_torch
from .texts import say

FOLDER = Path(__file__).resolve().parent / "expected"
# kinds of exercises that the copy records, and the instructor's checkout grades
BY_INSTRUCTOR = (
    "prove",
    "predict",
)
SEED = 0  # of `check`: for its cases values are stored
SAME = 1e-9  # difference of two marks up to which they are those of the same values
heard = None  # a dictionary while a copy is made: {exercise: {key: what `by_right` gave}}


def is_copy():
    """Whether this is a copy of the course without its answers."""
    return FOLDER.is_dir()


def by_right(exercise, key, function, *args):
    """What a function of the exercise's set gives, which needs a right answer; stored under the key in a copy.

    The function is given by its name: what a case names as an object is copied with the case.
    """
    if is_copy():
        return of_set(exercise[:2])[exercise].by_right(key)
    value = vars(sys.modules[f"{__package__}.sets.set_{exercise[:2]}"])[function](*args)
    if heard is not None:
        heard.setdefault(exercise, {})[key] = value
    return value


# ---------------------------------------------------------------- the file of a set
class Stored:
    """What is stored of one exercise."""

    def __init__(self, row, arrays):
        self.row, self.arrays = row, arrays
        self.keys = [key for key, _ in row["wrong"]]

    def by_right(self, key):
        return unpacked(self.row["by right"][key], self.arrays)

    def right(self):
        """What the right answer gives, case by case."""
        return [unpacked(value, self.arrays) for value in self.row["right"]]

    def wrong(self):
        """{(number of a wrong answer, number of a case): mark of what it gives there}"""
        marks = {}
        for k, (_, of_cases) in enumerate(self.row["wrong"]):
            marks |= {(k, i): mark for i, mark in enumerate(of_cases)}
        return marks


@functools.cache
def of_set(number):
    """{exercise: what is stored of it}, and nothing where the answers themselves are there."""
    path = FOLDER / f"set_{number}.npz"
    if not path.is_file():
        return {}
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    table = json.loads(str(arrays.pop("table")))
    if table["drawn"] != drawn():
        raise ValueError(say("all", "other draws", numpy=table["numpy"], torch=table["torch"]))
    return {exercise: Stored(row, arrays) for exercise, row in table["exercises"].items()}


def write_set(path, exercises):
    """Write the file of a set: {exercise: {"right": values, "wrong": [(key, marks)], "by right": {key: value}}}."""
    arrays, rows = {}, {}
    for name, row in exercises.items():
        asked = {key: packed(value, arrays) for key, value in row["by right"].items()}
        right = [packed(value, arrays) for value in row["right"]]
        rows[name] = {"right": right, "wrong": row["wrong"], "by right": asked}
    table = {
        "numpy": np.__version__,
        "torch": torch.__version__,
        "drawn": drawn(),
        "exercises": rows,
    }
    np.savez_compressed(path, table=json.dumps(table), **arrays)


def drawn():
    """Some draws: where they are others, so are the inputs of the cases, and nothing stored is comparable."""
    rng, torchs = np.random.default_rng(5), torch.Generator().manual_seed(5)
    numbers = [
        *rng.normal(size=3),
        *rng.uniform(size=3),
        *torch.randn(3, generator=torchs).tolist(),
    ]
    whole = [
        *rng.integers(1000, size=3),
        *rng.permutation(9),
        *rng.choice(50, size=3, replace=False),
    ]
    return [round(float(x), 5) for x in [*numbers, *whole]]


# ---------------------------------------------------------------- values as JSON and arrays
def packed(value, arrays):
    """A value as JSON; its arrays go into the dictionary ``arrays``."""
    if isinstance(value, str | bool | int | float | None) and not isinstance(value, np.generic):
        return {"plain": value}
    if isinstance(value, dict):
        return {"dict": [[key, packed(each, arrays)] for key, each in value.items()]}
    if isinstance(value, tuple | list):
        return {type(value).__name__: [packed(each, arrays) for each in value]}
    kind = "array"
    if is_torch(value):
        kind = "tensor"
    elif isinstance(value, np.generic):
        kind = "number"
    row = {kind: f"array {len(arrays)}"}
    if kind == "tensor":
        row["format"] = str(value.dtype).removeprefix("torch.")
        value = value.detach()
        value = value.double().numpy() if value.is_floating_point() else value.numpy()
    value = np.asarray(value)
    if value.dtype.kind not in "biufc":
        raise TypeError(f"{type(value).__name__} of {value.dtype} cannot be stored")
    arrays[row[kind]] = value
    return row


def unpacked(row, arrays):
    (kind, value), *_ = row.items()
    if kind == "plain":
        return value
    if kind == "dict":
        return {key: unpacked(each, arrays) for key, each in value}
    if kind in ("tuple", "list"):
        values = [unpacked(each, arrays) for each in value]
        return tuple(values) if kind == "tuple" else values
    if kind == "tensor":
        return torch.from_numpy(arrays[value].copy()).to(getattr(torch, row["format"]))
    return arrays[value][()] if kind == "number" else arrays[value].copy()


# ---------------------------------------------------------------- marks of outcomes
def mark_of(outcome):
    """What is kept of a wrong answer's outcome: its form and one number; None for what is like nothing else."""
    if outcome.unable:
        return None
    if outcome.error is not None:
        return ["error", short(f"{type(outcome.error).__name__}: {outcome.error}")]
    if outcome.said is not None:
        return ["said", short(outcome.why or outcome.said)]
    found = []
    try:
        form = form_of(outcome.value, found)
    except Exception:  # of an object of the student's own
        return None
    numbers = np.concatenate([np.zeros(0), *map(on_one_scale, found)])
    weights = np.cos(0.3 + 11.3262379 * np.arange(len(numbers)))  # no two alike
    return [short(repr(form)), float(numbers @ weights)]


def same_mark(a, b):
    """Whether two marks are those of the same outcome, up to rounding."""
    if a is None or b is None or a[0] != b[0]:
        return False
    if isinstance(a[1], str) or isinstance(b[1], str):
        return a[1] == b[1]
    return abs(a[1] - b[1]) <= SAME


def short(text):
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def form_of(value, found):
    """All of a value but its numbers, which go to the list ``found``. What ``compare`` takes for equal has one form."""
    if isinstance(value, dict):
        return {str(key): form_of(value[key], found) for key in sorted(value, key=str)}
    if isinstance(value, str | None):
        return [value]
    if isinstance(value, tuple | list):
        inside = []
        forms = [form_of(each, inside) for each in value]
        alike = all(isinstance(form, tuple) and form == forms[0] for form in forms)
        if not forms or not alike:
            found += inside
            return forms
        found.append(np.stack(inside))
        return len(forms), *forms[0]
    array = as_array(value)
    if array.dtype.kind not in "biufc":
        raise TypeError(f"{type(value).__name__} has no numbers")
    if array.dtype.kind == "b" and not array.ndim:
        return [bool(array)]
    found.append(array)
    kind = "flags" if array.dtype.kind == "b" else "numbers"
    return *array.shape, kind, is_torch(value) and array.ndim > 0


def on_one_scale(array):
    """The numbers of an array as differences count: relative ones of large numbers, plain ones of small numbers."""
    if array.dtype.kind == "c":
        parts = [array.real]
        if array.imag.any():
            parts.append(array.imag)
        return np.concatenate([on_one_scale(part) for part in parts])
    numbers = array.astype(float).ravel()
    finite = np.isfinite(numbers)
    scale = max(1.0, np.max(np.abs(numbers[finite]), initial=0) * 1e-3)
    spread = np.where(finite, np.arcsinh(np.where(finite, numbers, 0) / scale), 0)
    spread += np.where(np.isnan(numbers), 900, 0) + 800 * (
        np.isposinf(numbers) * 1.0 - np.isneginf(numbers)
    )
    return np.append(spread, np.log(scale))
