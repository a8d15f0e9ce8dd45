"""From an answer to a verdict: run the cases, compare, and look which kept wrong answer gives the same."""

import dis
import functools
import itertools
import os
import traceback
from dataclasses import dataclass, field

from .closed_book import CHECKS, PackageShut, package_shut
from .compare import difference, repr_of
from .exercise import Said
from .texts import say, word

LIBRARY = os.path.dirname(os.__file__)  # Python's own modules

NOT_ATTEMPTED, RAISES, WRONG, RIGHT = "not attempted", "raises", "wrong", "right"


@dataclass
class Verdict:
    """What came out: status, points, and the text that is shown."""

    exercise: str
    status: str
    points: float
    of: int
    lines: list = field(default_factory=list)
    likely: list = field(default_factory=list)  # sentences of wrong answers that give the same
    by_part: dict = field(default_factory=dict)
    by_person: bool = False

    def __str__(self):
        status = say("all", "recorded" if self.by_person and self.status == RIGHT else self.status)
        points = "" if self.by_person else f", {say('all', 'points', got=f'{self.points:g}', of=self.of)}"
        likely = [say("all", "likely", said=said) for said in self.likely]
        return "\n".join([f"{self.exercise}: {status}{points}", *(f"  {line}" for line in [*self.lines, *likely])])


@dataclass
class Outcome:
    """What one case gave: a value, or an error, or a sentence that rejects."""

    value: object = None
    error: BaseException | None = None
    said: str | None = None
    not_attempted: bool = False

    @property
    def is_value(self):
        return self.error is None and self.said is None and not self.not_attempted


def judge(exercise, answer, *, seed=0, student="me", more_cases=()):
    """The verdict on an answer: the object of an exercise with one name, else {name: object}."""
    if is_blank(exercise, answer):
        return blank(exercise)
    numbers = exercise.numbers(student)
    given, right = exercise.assemble(answer, numbers), exercise.assemble(exercise.right, numbers)
    cases = [*exercise.list_cases(numbers, seed), *more_cases]
    outcomes = []
    for case in cases:
        outcome = outcome_of(case, given, exercise.shut)
        if outcome.not_attempted:
            return blank(exercise, outcome.error)
        outcomes.append(outcome)
    expected = [outcome_of(case, right, False) for case in cases]
    look = problem_of_guess if exercise.kind == "predict" else problem
    problems = [look(*each, exercise.tolerance) for each in zip(expected, outcomes)]
    return verdict(exercise, cases, outcomes, problems, numbers)


def is_blank(exercise, answer):
    """A name that is missing, a table of predictions that is empty, a text of no words."""
    answers = {exercise.names[0]: answer} if len(exercise.names) == 1 else answer
    given = exercise.given if len(exercise.names) > 1 else {exercise.names[0]: exercise.given}
    return all(is_blank_object(answers.get(name), (given or {}).get(name)) for name in exercise.names)


def is_blank_object(one, given):
    if isinstance(one, dict):
        return all(value is None for value in one.values())
    if isinstance(one, str):
        return not one.strip()
    return one is None or one is ... or (given is not None and same_code(one, given))


def same_code(a, b):
    """Whether two functions or classes were compiled from the same text, wherever it stood."""
    if isinstance(a, type) and isinstance(b, type):
        methods = [{n: f for n, f in vars(c).items() if hasattr(f, "__code__")} for c in (a, b)]
        return methods[0].keys() == methods[1].keys() and all(
            same_code(f, methods[1][n]) for n, f in methods[0].items()
        )
    a, b = getattr(a, "__code__", a), getattr(b, "__code__", b)
    if not (hasattr(a, "co_code") and hasattr(b, "co_code")):
        return type(a) is type(b) and a == b
    return instructions(a) == instructions(b) and all(map(same_code, inner(a), inner(b)))


def instructions(code):
    """What a function does, step by step. How an attribute is called depends on where the text was compiled."""
    steps = []
    for step in dis.get_instructions(code):
        name = step.opname.replace("LOAD_METHOD", "LOAD_ATTR")
        if name not in ("PRECALL", "PUSH_NULL", "CACHE", "RESUME", "NOP"):
            plain = hasattr(step.argval, "co_code") or step.opcode in (*dis.hasjrel, *dis.hasjabs)
            said = "" if plain else step.argrepr.replace("NULL + ", "").partition(" + NULL")[0]
            steps.append((name, said))
    return steps


def inner(code):
    return [constant for constant in code.co_consts if hasattr(constant, "co_code")]


def blank(exercise, error=None):
    """Not attempted: a stub, or an answer that this machine cannot run; then the error has the sentence."""
    lines = [say(error.exercise, error.key, **error.fields)] if isinstance(error, Said) else []
    return Verdict(
        exercise.id, NOT_ATTEMPTED, 0, exercise.points, lines, by_part=dict.fromkeys(exercise.parts, 0),
        by_person=exercise.kind == "explain",
    )  # fmt: skip


def outcome_of(case, answer, shut):
    try:
        with package_shut(shut):
            return Outcome(value=case.run(answer))
    except NotImplementedError as error:
        return Outcome(error=error, not_attempted=True)
    except Said as said:
        return Outcome(said=say(said.exercise, said.key, **said.fields))
    except PackageShut as error:
        return Outcome(said=say("all", "shut", function=error.function))
    except EOFError:
        return Outcome(said=say("all", "asks"))
    except Exception as error:
        return Outcome(error=error)


def problem(expected, got, tolerance):
    """None, or what is wrong with an outcome, in words."""
    if expected.error is not None:  # the oracle itself must not fail
        raise expected.error
    if got.said is not None:
        return got.said
    if got.error is not None:
        return in_words(got.error)
    return difference(expected.value, got.value, tolerance)


def problem_of_guess(expected, got, tolerance):
    """The same for a prediction, without the right answer: who guessed wrong thinks again."""
    said = problem(expected, got, tolerance)
    if said is None or not got.is_value or is_text(expected.value) != is_text(got.value):
        return said
    return say("all", "guess", got=repr_of(got.value))


def is_text(value):
    return isinstance(value, str)


def in_words(error):
    """An exception in one line, and the student's own line that raised it."""
    text = say("all", "error", kind=type(error).__name__, said=str(error).partition("\n")[0] or "no message")
    not_own = (CHECKS, LIBRARY, "site-packages", "dist-packages")
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if f.line and not any(folder in f.filename for folder in not_own)]
    return f"{text} ({say('all', 'at line', line=own[-1].line.strip())})" if own else text


def verdict(exercise, cases, outcomes, problems, numbers):
    by_part = {
        part: points * all(p is None for c, p in zip(cases, problems) if c.part == part)
        for part, points in exercise.parts.items()
    }
    held_out = [p for c, p in zip(cases, problems) if c.part not in exercise.parts and p is not None]
    total = sum(by_part.values())
    if held_out:  # the points of the last part are for what only the held-out pool shows
        total -= by_part.get([*exercise.parts][-1], 0)
        by_part[[*exercise.parts][-1]] = 0
    failed = [i for i, p in enumerate(problems) if p is not None]
    result = Verdict(exercise.id, RIGHT, total, exercise.points, by_part=by_part, by_person=exercise.kind == "explain")
    if not failed:
        return result
    first = failed[0]
    result.status = RAISES if outcomes[first].error is not None else WRONG
    if len(exercise.parts) > 1:
        result.lines = [
            say("all", "part", part=word(exercise.id, part), state=say("all", "right" if by_part[part] else "wrong"))
            for part in exercise.parts
        ]
    case = cases[first]
    kind = "in case" if case.sizes else "in case plain"
    result.lines.append(say("all", kind, name=word(exercise.id, case.name), sizes=case.sizes, said=problems[first]))
    found = likely_mistakes(exercise, cases, outcomes, failed, numbers)
    result.likely = [said for said in found if said not in result.lines[-1]]
    return result


def likely_mistakes(exercise, cases, outcomes, failed, numbers):
    """The sentence of the kept wrong answer that gives in every case what the student's gives.

    Where there is none: for each part that failed, that of the first one that gives the same in its first failed case.
    """
    kept = [(wrong.key, exercise.assemble(wrong.answer, numbers, wrong.of)) for wrong in exercise.wrong]

    @functools.cache  # a case may take long: each is run once, and only if it is needed
    def same(k, i):
        return same_outcome(outcome_of(cases[i], kept[k][1], False), outcomes[i])

    for k, (key, _) in enumerate(kept):
        if all(same(k, i) for i in (failed[0], *range(len(cases)))):
            return [say(exercise.id, key)]
    sentences = []
    for part in exercise.parts:
        first = next((i for i in failed if cases[i].part == part), None)
        if first is None:
            continue
        by_case = [cases[first].say] if cases[first].say and outcomes[first].said is None else []
        alike = (key for k, (key, _) in enumerate(kept) if same(k, first)) if exercise.kind != "prove" else ()
        sentences += [say(exercise.id, key) for key in [*itertools.islice(alike, 1), *by_case][:1]]
    return list(dict.fromkeys(sentences))


def same_outcome(a, b):
    if a.error is not None or b.error is not None:
        return type(a.error) is type(b.error)
    if a.said is not None or b.said is not None:
        return a.said == b.said
    return a.is_value and b.is_value and difference(a.value, b.value, 1e-9) is None
