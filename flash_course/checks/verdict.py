"""From an answer to a verdict: run the cases, compare, and look which kept wrong answer gives the same."""

import functools
from dataclasses import dataclass, field, replace

import numpy as np

from . import expected
from .closed_book import refusal
from .compare import as_array, as_word, difference, is_plain, repr_of
from .outcome import Outcome, in_words, outcome_of, same_outcome
from .proving import agreed, order_of, problem_of_test, proves, remarks
from .stub import is_blank
from .texts import say, word

NOT_ATTEMPTED, RAISES, WRONG, RIGHT = "not attempted", "raises", "wrong", "right"
BY_INSTRUCTOR = "recorded by the copy"


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


def judge(exercise, answer, *, seed=0, student="me", more_cases=(), kept=False, known=None):
    """The verdict on an answer: the object of an exercise with one name, else {name: object}.

    ``more_cases`` are held out: nothing of them is shown. ``kept``: the answer is one of the course's own, and may lie
    in the package. This is all that ``check`` and ``grade`` ask of an answer. ``known``: a dictionary of what the
    right answer and the kept wrong ones give, where several are judged with one seed, student and list of cases.
    """
    if is_blank(exercise, answer):
        return without_points(exercise, NOT_ATTEMPTED)
    if not kept and (said := refusal(exercise, answer)):
        return without_points(exercise, WRONG, said)
    if exercise.stored:
        if exercise.kind in expected.BY_INSTRUCTOR:
            return by_instructor(exercise, answer)
        known = stored_outcomes(exercise, seed)
    numbers = exercise.numbers(student)
    given, right = exercise.assemble(answer, numbers), exercise.assemble(exercise.right, numbers)
    cases = [*exercise.list_cases(numbers, seed), *(replace(case, held_out=True) for case in more_cases)]
    outcomes, problems, known = [None] * len(cases), [None] * len(cases), {} if known is None else known
    for i in order_of(cases, seed):
        outcomes[i] = agreed(outcomes[i], outcome_of(cases[i], given, exercise.shut, exercise.answers))
        if outcomes[i].unable:
            return without_points(exercise, NOT_ATTEMPTED, outcomes[i].said)
        if i not in known and cases[i].truth is None:
            known[i] = outcome_of(cases[i], right)
        if i in known and known[i].error is not None:  # that is the check's own fault, and never the answer's
            said = say("all", "oracle", name=word(exercise.id, cases[i].name), said=in_words(known[i].error))
            return without_points(exercise, NOT_ATTEMPTED, said)
        problems[i] = problem(exercise, cases[i], outcomes[i], known.get(i))  # now: the next call may change the value
    kept = functools.partial(kept_outcomes, exercise, cases, outcomes, numbers, known)
    return verdict(exercise, cases, outcomes, problems, kept)


def without_points(exercise, status, *lines):
    """Not attempted, or refused."""
    how = {"by_part": dict.fromkeys(exercise.parts, 0), "by_person": exercise.kind == "explain"}
    return Verdict(exercise.id, status, 0, exercise.points, [*lines], **how)


def by_instructor(exercise, answer):
    """In a copy without answers: nothing is said of an answer but what is not written yet."""
    open_keys = [key for key, value in answer.items() if value is None] if isinstance(answer, dict) else []
    result = without_points(exercise, BY_INSTRUCTOR, say("all", f"why {exercise.kind}"))
    result.lines += [say("all", "unanswered", key=key) for key in open_keys]
    result.by_person = True
    return result


def stored_outcomes(exercise, seed):
    """``known`` of `judge`, in a copy without answers; of wrong answers their marks."""
    if seed != expected.SEED:
        raise ValueError(say("all", "no answers here"))
    right = enumerate(exercise.stored.right())
    return {i: Outcome(value=value) for i, value in right} | exercise.stored.wrong()


# ---------------------------------------------------------------- one case
def problem(exercise, case, got, expected):
    """None, or what is wrong with an outcome, in words. ``expected``: the right one's; of a test there is none."""
    if case.truth is not None:
        return problem_of_test(exercise, case, got)
    if got.said is not None:
        return got.said
    if got.error is not None:
        return in_words(got.error)
    look = guess if exercise.kind == "predict" else difference
    return look(expected.value, got.value, exercise.tolerance)


def guess(expected, got, tolerance):
    """The difference of a prediction without the right answer: who guessed wrong thinks again."""
    if difference(as_word(expected), as_word(got), tolerance) is None:
        return None
    if isinstance(expected, str):
        key = "guess" if isinstance(as_word(got), str) else "guess a word"
    elif isinstance(expected, bool):
        key = "guess" if any(is_plain(got, flag) for flag in (True, False)) else "guess a flag"
    else:
        key = "guess a number" if isinstance(got, str) else "guess"
    return say("all", key, got=repr_of(got))


# ---------------------------------------------------------------- all of them
def verdict(exercise, cases, outcomes, problems, kept):
    parts = [case.part if case.part in exercise.parts else [*exercise.parts][-1] for case in cases]
    wrong = {part for part, said in zip(parts, problems) if said is not None}
    lost = {*exercise.parts} if exercise.kind == "prove" and not proves(cases, problems) else wrong
    by_part = {part: points * (part not in lost) for part, points in exercise.parts.items()}
    failed = [i for i, said in enumerate(problems) if said is not None]
    result = Verdict(exercise.id, RIGHT, sum(by_part.values()), exercise.points, by_part=by_part)
    result.by_person = exercise.kind == "explain"
    if not failed:
        return result
    first = failed[0]
    result.status = RAISES if outcomes[first].error is not None else WRONG
    if len(exercise.parts) > 1:
        result.lines = [
            say("all", "part", part=word(exercise.id, part), state=say("all", "wrong" if part in wrong else "right"))
            for part in exercise.parts
        ]
    shown = [i for i in failed if not cases[i].held_out]
    if not shown:
        key = "held out" if cases[first].truth is None else "held out versions"
        result.lines.append(say("all", key, part=word(exercise.id, parts[first])))
        return result
    look = look_at_test if exercise.kind == "prove" else look_at_values
    look(result, exercise, cases, outcomes, problems, shown, kept)
    return result


def look_at_test(result, exercise, cases, outcomes, problems, failed, kept):
    """What a test says wrongly of the first version of each part, and the kept test that says the same of all."""
    result.lines += dict.fromkeys(problems[next(i for i in failed if cases[i].part == part)] for part in
                                  dict.fromkeys(cases[i].part for i in failed))  # fmt: skip
    result.lines += remarks(cases, outcomes, problems)
    keys, same = kept()
    for said in alike_in_all(exercise, cases, failed, keys, same):
        if said not in result.lines:
            result.lines.append(say("all", "same as", said=said))


def look_at_values(result, exercise, cases, outcomes, problems, failed, kept):
    """The first difference; and where a kept wrong answer gives the same, its sentence."""
    case, said = cases[failed[0]], problems[failed[0]]
    kind = "in case" if case.sizes else "in case plain"
    line = say("all", kind, name=word(exercise.id, case.name), sizes=case.sizes, said=said)
    result.lines.append(said if said.startswith(f"{case.name}: ") else line)  # it names its question itself
    keys, same = kept()
    found = dict.fromkeys(alike_in_all(exercise, cases, failed, keys, same), case.part)
    if not found:
        telling = [i for i in failed if tells(exercise, outcomes[i])]
        found = alike_in_a_part(exercise, cases, telling, keys, same)
    told = [*exercise.parts] if exercise.kind == "predict" else [case.part]  # sentences of a prediction name their part
    result.likely = [
        said if part in told else say("all", "part", part=word(exercise.id, part), state=said)
        for said, part in found.items() if said not in result.lines[-1]
    ]  # fmt: skip
    if not found and case.say and outcomes[failed[0]].is_value:
        result.lines.append(say("all", "about", said=say(exercise.id, case.say)))


# ---------------------------------------------------------------- kept wrong answers that give the same
def kept_outcomes(exercise, cases, outcomes, numbers, known):
    """(keys, same): whether kept answer k gives what was given in case i. A case may take long: each is run once."""
    kept = [(wrong.key, exercise.assemble(wrong.answer, numbers, wrong.of)) for wrong in exercise.wrong]

    @functools.cache
    def same(k, i):
        if (k, i) not in known:
            known[k, i] = outcome_of(cases[i], kept[k][1])
        if exercise.stored:
            return expected.same_mark(known[k, i], expected.mark_of(outcomes[i]))
        return same_outcome(known[k, i], outcomes[i], lambda a, b: difference(a, b, 1e-9) is None)

    return [key for key, _ in kept], same


def alike_in_all(exercise, cases, failed, keys, same):
    """The sentence of the kept wrong answer that gives the same in every case that is not held out."""
    shown = [i for i, case in enumerate(cases) if not case.held_out]
    found = (say(exercise.id, key) for k, key in enumerate(keys) if all(same(k, i) for i in (failed[0], *shown)))
    return [*filter(None, [next(found, None)])]


def alike_in_a_part(exercise, cases, telling, keys, same):
    """{sentence: part} for each that failed: of the first kept wrong answer that gives the same in all its cases."""
    sentences = {}  # two that give the same flag or error may differ in all else, so a case in ``telling`` must agree
    for part in exercise.parts:
        first = [i for i in telling if cases[i].part == part][:1]
        places = first + [i for i, case in enumerate(cases) if case.part == part and not case.held_out]
        alike = (say(exercise.id, key) for k, key in enumerate(keys) if first and all(same(k, i) for i in places))
        if said := next(alike, None):
            sentences.setdefault(said, part)
    return sentences


def tells(exercise, outcome):
    """Whether an outcome can show which mistake was made: what was predicted, or numbers that are not all the same."""
    if exercise.kind == "predict":
        return outcome.is_value
    return outcome.is_value and any(map(has_numbers, flat(outcome.value)))


def flat(value):
    if isinstance(value, dict):
        value = [*value.values()]
    return [each for inside in value for each in flat(inside)] if isinstance(value, tuple | list) else [value]


def has_numbers(value):
    try:
        array = as_array(value)
    except Exception:  # of an object of the student's own
        return False
    return array.dtype.kind in "iufc" and len(np.unique(array)) > (array.size > 1)
