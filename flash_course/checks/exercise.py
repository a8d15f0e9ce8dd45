"""What an exercise is: the names that a student writes, the cases they must pass, wrong answers with their messages.

A set is a table, ``set_NN.toml``, and the functions of the module ``set_NN``. The right answers of a set's notebook are
not here; what is here is the oracle that answers are compared with. Who looks for it will find it.
"""

import copy
import functools
import hashlib
import importlib
import importlib.util
import itertools
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np

from ..wrong_call import WrongCall
from . import expected, worthless
from .compare import held, is_sequence
from .edits import edited, pairs_of, sources_of
from .texts import fact, read

KINDS = ("build", "prove", "mend", "predict", "extend", "explain")
SETS = ("01", "02", "03", "04", "05", "06", "07", "08", "09", "10", "11")


class Said(Exception):
    """Raised by a case that rejects an answer with a sentence of its own: ``Said("05.1", "tail dropped", n=2)``."""

    def __init__(self, exercise, key, /, **fields):
        super().__init__(exercise, key)
        self.exercise, self.key, self.fields = exercise, key, fields


def reject_if(is_so, exercise, key, /, **fields):
    """Reject an answer with a sentence, if something is so."""
    if is_so:
        raise Said(exercise, key, **fields)


def reject(exercise, found):
    """Reject an answer with the sentence of the first of (key, whether it is so) that is so."""
    for key, is_so in found:
        reject_if(is_so, exercise, key)


class Unable(Said):
    """Nothing is known of an answer, since this machine cannot run it: that is "not attempted", and never "wrong"."""


@dataclass(frozen=True)
class Case:
    """One question to an answer: ``run(answer)`` gives the value that is compared with that of the right answer."""

    name: str  # what is special about it: "a tail", "one chunk"
    part: str  # the part of the points that it belongs to
    run: Callable
    sizes: str = ""  # "T = 14, C = 4"
    say: str | None = (
        None  # what the case is about: said if the answer fails here and no kept wrong answer fits
    )
    truth: bool | None = (
        None  # of a version that a student's test is asked about: whether it is right
    )
    held_out: bool = False  # only `grade` has it; nothing of it is shown but its part


@dataclass(frozen=True)
class Wrong:
    """A wrong answer that is kept, under the key of its message."""

    key: str
    answer: object
    of: str | None = None  # the one function that it replaces
    edits: tuple = ()  # old, new, ... where it is the right answer with pieces of its text replaced


@dataclass(frozen=True)
class Exercise:
    """All that is known about one exercise."""

    id: str
    title: str
    kind: str
    points: int
    difficulty: int
    importance: int
    minutes: int
    names: tuple  # what the student's notebook defines: a case gets that object, or a namespace of several
    parts: dict  # part -> points
    cases: Callable  # ``cases(rng, numbers)`` lists them
    right: object  # an object, or {name: object} where there are more names
    wrong: tuple
    hints: tuple  # a nudge, the shapes, pseudocode
    core: bool = False
    draw: Callable | None = None  # ``draw(rng)``: the student's personal numbers
    shut: bool = True  # calls into the package's own forms end the case
    tolerance: float = 1e-9
    returns: (
        tuple | str
    ) = ()  # names of the values that an answer returns, or a word by which they are counted
    rubric: tuple = ()  # of an explain exercise: three lines, marked by a person
    model_answer: str = ""
    why: str = ""  # it matters: one line for who has it right
    example: Callable | None = (
        None  # ``example()``: a case of small numbers for a card, which earns no points
    )
    given: object = None  # of a mend exercise: what the notebook gives, "not attempted"; {name: object} for more
    beside: tuple = ()  # (part, other): "no loop" shows nothing of an answer whose "values" are wrong
    stored: object = (
        None  # in a copy without answers, in place of `right` and the answers of `wrong`
    )

    def __post_init__(self):
        if (
            self.kind not in KINDS
            or sum(self.parts.values()) != self.points
            or len(self.hints) != 3
        ):
            raise ValueError(
                f"{self.id}: kind {self.kind!r}, parts {self.parts}, {len(self.hints)} hints"
            )
        for part in itertools.chain.from_iterable(self.beside):
            self.must_have(part, "beside")

    def assemble(self, answer, numbers, of=None):
        """An answer as cases take it: an object, a namespace, a table of predictions. ``of``: all that it replaces."""
        # a kept one is a function of the personal numbers
        if self.kind == "predict" and callable(answer):
            given = answer(numbers)
            return given if of is None else {**self.right(numbers), of: given}
        if len(self.names) == 1:
            return answer
        if of is not None:
            answer = {**self.right, of: answer}
        return SimpleNamespace(**answer)

    def handed_in(self, wrong, student="me"):
        """A kept wrong answer as a student would hand it in."""
        if self.kind != "predict":
            return wrong.answer if wrong.of is None else {**self.right, wrong.of: wrong.answer}
        numbers = self.numbers(student)
        value = wrong.answer(numbers)
        return value if wrong.of is None else {**self.right(numbers), wrong.of: value}

    def numbers(self, student="me"):
        """The personal numbers of a student, or None."""
        if self.draw is None:
            return None
        digest = hashlib.sha256(f"{self.id} {student}".encode()).digest()
        return self.draw(np.random.default_rng(list(digest[:8])))

    @property
    def answers(self):
        """The course's own right answers."""
        return self.right.values() if isinstance(self.right, dict) else [self.right]

    def list_cases(self, numbers, seed=0):
        """The practice cases: each belongs to a part, and each part has one."""
        cases = [*self.cases(np.random.default_rng([seed, *self.id.encode()]), numbers)]
        for case in cases:
            self.must_have(case.part, f"the case {case.name!r}")
        if empty := {*self.parts} - {case.part for case in cases}:
            raise ValueError(
                f"{self.id}: no case belongs to the parts {', '.join(sorted(empty))}: anything earns them"
            )
        return cases

    def list_held_out(self, cases):
        """Cases of a pool, marked as held out: each belongs to a part."""
        for case in cases:
            self.must_have(case.part, f"the held-out case {case.name!r} ({case.sizes})")
        return [replace(case, held_out=True) for case in cases]

    def must_have(self, part, where):
        if part not in self.parts:
            parts = ", ".join(map(repr, self.parts))
            raise ValueError(
                f"{self.id}, {where}: there is no part {part!r}: expected one of {parts}"
            )


# ---------------------------------------------------------------- an exercise from its table and its code
@functools.cache
def load_set(number):
    """{id: exercise} of a set: facts, texts and edits from ``set_NN.toml``, functions from the module ``set_NN.py``.

    Of exercise 05.3 the module has ``cases_3``; the right answer under its own name, or as ``right_3``; ``draw_3`` of a
    prediction; ``given_3`` of a mend; ``wrong_3``, the wrong answers that are no edit of the right one; ``example_3``.
    """
    if number not in there():
        raise WrongCall(f"there is no problem set {number!r}: expected one of {', '.join(there())}")
    module = vars(importlib.import_module(f".sets.set_{number}", __package__))
    tables = read(f"set_{number}").items()
    return {name: exercise_of(name, table, **named(name, table, module)) for name, table in tables}


def named(name, table, module):
    parts = {
        key: f"{key}_{name.partition('.')[2]}"
        for key in ("cases", "right", "wrong", "draw", "given", "example")
    }
    found = {key: module[place] for key, place in parts.items() if place in module}
    names = table.get("names", [])
    if "right" in found or expected.is_copy() or not names:
        return found
    right = {each: module[each] for each in names}
    return {"right": right if len(right) > 1 else right[names[0]]} | found


def exercise_of(name, table, *, cases=None, right=None, wrong=(), **more):
    """What a table leaves out: the ``names`` of a prediction or a text follow from the id, a ``title`` is the names."""
    facts = table["facts"] | {"parts": table["parts"]}
    facts["beside"] = tuple(table.get("beside", {}).items())
    kind = facts["kind"]
    number = name.replace(".", "_")
    what = "text" if kind == "explain" else "answer"
    names = table.get("names", [f"{what}_{number}"])
    shown = {
        "title": fact(name, "title", ", ".join(names)),
        "model_answer": fact(name, "model_answer", ""),
        "why": fact(name, "why", ""),
        "returns": fact(name, "returns", ()),
    }
    shown |= {key: tuple(fact(name, key, ())) for key in ("hints", "rubric")}
    if kind == "explain":
        cases = functools.partial(cases_of_text, name)
        right = shown["model_answer"]
    if kind == "prove":
        wrong = (*wrong, *(Wrong(key, test) for key, test in worthless.TESTS.items()))
    if stored := expected.of_set(name[:2]).get(name):
        right = {} if len(names) > 1 else None
        answers = tuple(Wrong(key, right) for key in stored.keys)
    else:
        answers = wrong_answers(name, right, table.get("wrong", {}), wrong)
    return Exercise(
        id=name,
        points=round(sum(facts["parts"].values())),
        names=tuple(names),
        right=right,
        wrong=answers,
        cases=cases or (lambda rng, numbers: [*map(predicted, facts["parts"])]),
        stored=stored,
        **facts,
        **shown,
        **more,
    )


def wrong_answers(name, right, rows, functions):
    """All wrong answers, row by row, edits before functions; last are functions with a general sentence and no row."""
    answers = []
    for key, row in rows.items():
        answers += [wrong_by_edits(name, key, right, edits) for edits in edits_in(row)]
        answers += [wrong for wrong in functions if wrong.key == key]
        if not any(answer.key == key for answer in answers):
            raise ValueError(
                f"{name} {key!r} has a sentence and no wrong answer: give edits in its row, or a function"
            )
    rest = [wrong for wrong in functions if wrong.key not in rows]
    if unknown := {wrong.key for wrong in rest} - {*read("general")}:
        raise ValueError(f"{name} has no row for the wrong answers {', '.join(sorted(unknown))}")
    return *answers, *rest


def edits_in(row):
    """The lists of edits in the row of a wrong answer: behind its sentence stand none, one or several."""
    if isinstance(row, str):
        return []
    return row[1:] if isinstance(row[1], list) else [row[1:]]


def wrong_by_edits(name, key, right, edits):
    """``old, new, ...``; or ``function, old, new, ...`` where the texts do not tell which of several is edited."""
    of = None
    if len(edits) % 2:
        of, *edits = edits
    if not isinstance(right, dict):
        return Wrong(key, edited(right, *edits, name=f"{name} {key}"), None, tuple(edits))
    parts, place = {}, of
    for pair in pairs_of(edits):
        place = of or holder_of(f"{name} {key!r}", right, pair[0], place)
        parts.setdefault(place, []).extend(pair)
    made = {part: edited(right[part], *own, name=f"{name} {key}") for part, own in parts.items()}
    if len(made) == 1:
        return Wrong(key, made[place], place, tuple(edits))
    return Wrong(key, {**right, **made}, None, tuple(edits))


def holder_of(row, right, text, before):
    """The name of the function that a text is edited in: the one that holds it, or that of the edit ``before``."""
    # not a table of words
    functions = {name: function for name, function in right.items() if callable(function)}
    holders = [
        name
        for name, function in functions.items()
        if any(text in part for _, part in sources_of(function))
    ]
    if len(holders) == 1:
        return holders[0]
    if before is None or (holders and before not in holders):
        raise ValueError(f"{row}: {text!r} stands in {holders}: put the function's name first")
    return before


def there():
    """The numbers of the sets that this version has."""
    return [
        number for number in SETS if importlib.util.find_spec(f"{__package__}.sets.set_{number}")
    ]


def load_exercise(name):
    """The exercise with an id such as ``"05.2"``; ValueError with the ids that are there."""
    number, _, rest = str(name).partition(".")
    found = load_set(number) if rest else {}
    if name not in found:
        ids = ", ".join(found) or ", ".join(f"{number}.1, ..." for number in there())
        raise WrongCall(f"there is no exercise {name!r}: expected one of {ids}")
    return found[name]


def personal(name: str, student: str = "me") -> dict[str, Any]:
    """The numbers of a predict exercise that are drawn from a student's id: a dictionary.

    >>> from flash_course import personal
    >>> sorted(personal("01.4", "s1234567"))
    ['B', 'D', 'H', 'T']
    """
    numbers = load_exercise(name).numbers(student)
    if numbers is None:
        raise WrongCall(f"exercise {name} has no personal numbers")
    return numbers


def call(name, part, *args, of=None, sizes=None, say=None, then=lambda value: value, **kwargs):
    """A case that calls the answer with these arguments."""
    shown = ", ".join(
        [*map(brief, args), *(f"{name}={brief(value)}" for name, value in kwargs.items())]
    )

    if sizes is not None:
        shown = sizes

    def run(answer):
        function = answer if of is None else getattr(answer, of)
        return then(asked(function, *args, **kwargs))

    return Case(name, part, run, shown, say)


def asked(function, *args, **kwargs):
    """What an answer gives for copies of the arguments, which must stay as they are."""
    given, named = copy.deepcopy((args, kwargs))
    value = function(*given, **named)
    code = getattr(function, "__code__", None)  # a module has none: its arguments are counted
    names = code.co_varnames[: code.co_argcount] if code else ()
    places = *names, *range(len(names) + 1, len(args) + 1)
    for key, before, after in (
        *zip(places, args, given),
        *((k, kwargs[k], named[k]) for k in kwargs),
    ):
        reject_if(not unchanged(before, after), "all", "changed", argument=key)
    return value


def several(values, expected):
    """The values that an answer returned, if there are as many as expected: a tuple, a list, or an array of them."""
    reject_if(values is None, "all", "none")
    reject_if(
        not is_sequence(values) or len(values) != expected,
        "all",
        "several",
        expected=expected,
        got=held(values),
    )
    return values


def given_back(value):
    """A value, where an answer gave one back."""
    reject_if(value is None, "all", "none")
    return value


def values_at(places, count):
    """A look at some of the ``count`` values that an answer returned."""
    return lambda values: several(values, count)[places]


def named_values(names, *chosen):
    """A look at those of the values that an answer returned which are called so, under their names."""

    def look(values):
        found = dict(zip(names, several(values, len(names))))
        return {name: found[name] for name in chosen}

    return look


def lent(function):
    """A set's own function as cases hand it to an answer: the answer may call it while the package is shut."""

    @functools.wraps(function)
    def call_it(*args, **kwargs):
        return function(*args, **kwargs)

    return call_it


def written(table, key):
    """What was written under a key of a table."""
    reject_if(not isinstance(table, dict), "all", "no table", got=type(table).__name__, key=key)
    return table.get(key)


def predicted(key, part=None, name=None, then=lambda value: value):
    """A case of a predict exercise: ``then`` of what was written under a key."""

    def run(answer):
        value = written(answer, key)
        reject_if(value is None, "all", "unanswered", key=key)
        return then(value)

    return Case(name or key, part or key, run)


def rounded(value):
    """The whole number nearest to one, where an answer may be left unrounded; anything else as it is."""
    with suppress(TypeError, ValueError, OverflowError):
        return value if isinstance(value, str | bool) else round(float(value))
    return value


def cases_of_text(name, rng, numbers):
    """The cases of an explain exercise: how many words there are, and whether each pattern of ``needs`` is found."""
    least, most = fact(name, "length")

    def length(text):
        words = len(str(text).split())
        reject_if(words < least, "all", "too short", least=least, words=words)
        reject_if(words > most, "all", "too long", most=most, words=words)

    def content(text):
        text = re.sub(r"(?<=\d),(?=\d{3})", "", str(text))  # 8,192 is 8192
        for pattern, what in fact(name, "needs"):
            reject_if(
                not re.search(pattern, text, re.IGNORECASE | re.DOTALL), "all", "needs", what=what
            )

    return [Case("length", "text", length), Case("content", "text", content)]


def unchanged(before, after):
    if isinstance(before, np.ndarray):
        return np.array_equal(before, after, equal_nan=True)
    if type(before).__module__.startswith("torch") and hasattr(before, "isnan"):
        return before.shape == after.shape and bool(((before == after) | (before != before)).all())
    if isinstance(before, list | tuple):
        return len(before) == len(after) and all(map(unchanged, before, after))
    if isinstance(before, dict):
        return before.keys() == after.keys() and all(unchanged(before[k], after[k]) for k in before)
    if isinstance(before, int | float | str | None):
        return before == after or before != before  # NaN
    return True


def brief(value):
    """The shape, the name or the number of an argument, for a message."""
    if hasattr(value, "shape"):
        return f"array{tuple(value.shape)}"
    text = getattr(value, "__name__", None) or repr(value)
    if len(text) <= 40:
        return text
    return f"{type(value).__name__} of {len(value)}" if hasattr(value, "__len__") else "..."
