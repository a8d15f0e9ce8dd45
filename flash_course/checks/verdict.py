"""From an answer to a verdict: ask all cases, count the points of each part, say what is wrong and what is likely."""

import itertools
from dataclasses import dataclass, field

import numpy as np

from . import expected
from .closed_book import refusal
from .compare import as_array, as_word, difference, is_plain, repr_of
from .exercise import Case
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
    criteria: list = field(default_factory=list)  # (part, whether it is right; None: not counted)
    part_lines: list = field(default_factory=list)  # those of ``lines`` that say the same

    def __str__(self):
        recorded = self.by_person and self.status == RIGHT
        status = say("all", "recorded" if recorded else self.status)
        points = ""
        if not self.by_person:
            points = f", {say('all', 'points', got=f'{self.points:g}', of=self.of)}"
        likely = [say("all", "likely", said=said) for said in self.likely]
        return "\n".join(
            [
                f"{self.exercise}: {status}{points}",
                *(f"  {line}" for line in [*self.lines, *likely]),
            ]
        )


@dataclass
class Found:
    """What one case gave, and what is wrong with that, in words, or None."""

    case: Case
    outcome: Outcome
    problem: str | None


class NotJudged(Exception):
    """Nothing can be said of an answer; why not, in a sentence."""


def judge(exercise, answer, *, seed=0, student="me", more_cases=(), kept=False, known=None):
    """The verdict on an answer: the object of an exercise with one name, else {name: object}.

    ``more_cases`` are held out: nothing of them is shown. ``kept``: the answer is one of the course's own, and may lie
    in the package. This is all that ``check`` and ``grade`` ask of an answer. ``known``: a dictionary of what the
    right answer and the kept wrong ones give, where several are judged with one seed, student and list of cases.
    """
    more_cases = exercise.list_held_out(more_cases)
    if is_blank(exercise, answer):
        return without_points(exercise, NOT_ATTEMPTED)
    if not kept and (said := refusal(exercise, answer)):
        return without_points(exercise, WRONG, said)
    if exercise.stored:
        if exercise.kind in expected.BY_INSTRUCTOR:
            return by_instructor(exercise, answer)
        known = stored_outcomes(exercise, seed)
    numbers = exercise.numbers(student)
    if known is None:
        known = {}
    cases = [*exercise.list_cases(numbers, seed), *more_cases]
    try:
        found = ask_all(exercise, cases, exercise.assemble(answer, numbers), numbers, seed, known)
    except NotJudged as error:
        return without_points(exercise, NOT_ATTEMPTED, str(error))
    result = count_points(exercise, found)
    if not result.by_person:
        result.criteria = criteria_of(exercise, found)
    if result.status != RIGHT:
        result.part_lines = lines_on_parts(exercise, found)
        result.lines += result.part_lines
        look = look_at_test if exercise.kind == "prove" else look_at_values
        look(result, exercise, found, KeptAnswers(exercise, found, numbers, known))
    return result


def without_points(exercise, status, *lines):
    """Not attempted, or refused."""
    how = {"by_part": dict.fromkeys(exercise.parts, 0), "by_person": exercise.kind == "explain"}
    return Verdict(exercise.id, status, 0, exercise.points, [*lines], **how)


# ---------------------------------------------------------------- in a copy without answers
def by_instructor(exercise, answer):
    """In a copy without answers: nothing is said of an answer but what is not written yet."""
    open_keys = []
    if isinstance(answer, dict):
        open_keys = [key for key, value in answer.items() if value is None]
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


# ---------------------------------------------------------------- asking
def ask_all(exercise, cases, given, numbers, seed, known):
    """What each case finds. ``known`` is filled with what the right answer gives in case i."""
    right = exercise.assemble(exercise.right, numbers)
    outcomes = [None] * len(cases)
    problems = [None] * len(cases)
    for i in order_of(cases, seed):
        case = cases[i]
        outcomes[i] = agreed(outcomes[i], outcome_of(case, given, exercise.shut, exercise.answers))
        if outcomes[i].unable:
            raise NotJudged(outcomes[i].said)
        if i not in known and case.truth is None:
            known[i] = outcome_of(case, right)
        # that is the check's own fault, and never the answer's
        if i in known and known[i].error is not None:
            raise NotJudged(
                say(
                    "all",
                    "oracle",
                    name=word(exercise.id, case.name),
                    said=in_words(known[i].error),
                )
            )
        # now: the next call may change the value
        problems[i] = problem(exercise, case, outcomes[i], known.get(i), numbers)
    return [*map(Found, cases, outcomes, problems)]


def problem(exercise, case, got, expected, numbers):
    """None, or what is wrong with an outcome, in words. ``expected``: the right one's; of a test there is none."""
    if case.truth is not None:
        return problem_of_test(exercise, case, got)
    if got.said is not None:
        return got.said
    if got.error is not None:
        return in_words(got.error)
    if exercise.kind == "predict":
        words = ()
        if isinstance(expected.value, str) and exercise.id != "11.1":
            words = words_of(exercise, case.name, numbers)
        return guess(expected.value, got.value, exercise.tolerance, words)
    return difference(expected.value, got.value, exercise.tolerance, exercise.returns)


def words_of(exercise, key, numbers):
    """The words that a question of a prediction asks for: the right one and those of kept wrong answers."""
    found = set()
    for answer in (exercise.right, *(wrong.answer for wrong in exercise.wrong)):
        table = exercise.assemble(answer, numbers)
        if isinstance(table, dict) and isinstance(table.get(key), str):
            found.add(as_word(table[key]))
    return found


def guess(expected, got, tolerance, words=()):
    """The difference of a prediction without the right answer: who guessed wrong thinks again."""
    if difference(as_word(expected), as_word(got), tolerance) is None:
        return None
    key = "guess"
    if isinstance(expected, str):
        if not isinstance(as_word(got), str) or (words and as_word(got) not in words):
            key = "guess a word"
    elif isinstance(expected, bool):
        if not is_plain(got, True) and not is_plain(got, False):
            key = "guess a flag"
    elif isinstance(got, str | list | tuple | set | dict) or getattr(got, "ndim", 0):
        key = "guess a number"  # one in a list or an array may be right, and is not what was asked
    return say("all", key, got=repr_of(got))


# ---------------------------------------------------------------- points
def count_points(exercise, found):
    """The verdict without its text: a part's points are earned where all its cases are right."""
    failed = [one for one in found if one.problem is not None]
    lost = wrong_parts(found)
    lost |= {part for part, other in exercise.beside if other in lost}
    if exercise.kind == "prove" and not proves(found):
        lost = {*exercise.parts}
    by_part = {part: 0 if part in lost else points for part, points in exercise.parts.items()}
    result = Verdict(exercise.id, RIGHT, sum(by_part.values()), exercise.points, by_part=by_part)
    result.by_person = exercise.kind == "explain"
    if failed:
        result.status = WRONG if failed[0].outcome.error is None else RAISES
    return result


def wrong_parts(found):
    return {one.case.part for one in found if one.problem is not None}


# ---------------------------------------------------------------- what is said
def lines_on_parts(exercise, found):
    """A line for each part, where there are several."""
    if len(exercise.parts) == 1:
        return []
    return [*map(line_on_part, criteria_of(exercise, found))]


def criteria_of(exercise, found):
    """Each part and whether it is right; None and why, where it does not count without the part it stands beside."""
    wrong = wrong_parts(found)
    beside = dict(exercise.beside)
    criteria = []
    for part in exercise.parts:
        shown = word(exercise.id, part)
        if part not in wrong and beside.get(part) in wrong:
            why = say("all", "beside", other=word(exercise.id, beside[part]))
            criteria.append((say("all", "part", part=shown, state=why), None))
        else:
            criteria.append((shown, part not in wrong))
    return criteria


def line_on_part(criterion):
    shown, is_right = criterion
    if is_right is None:
        return shown
    return say("all", "part", part=shown, state=say("all", RIGHT if is_right else WRONG))


def failed_cases(found):
    """The places of cases that an answer fails and that may be shown."""
    return [i for i, one in enumerate(found) if one.problem is not None and not one.case.held_out]


def held_out_line(exercise, found, key):
    """What is said where only held-out cases fail: the part of the first, and nothing else."""
    first = next(one for one in found if one.problem is not None)
    return say("all", key, part=word(exercise.id, first.case.part))


def look_at_test(result, exercise, found, kept):
    """What a test says wrongly of the first version of each part, and the kept test that says the same of all."""
    failed = failed_cases(found)
    if not failed:
        result.lines += [*remarks(found), held_out_line(exercise, found, "held out versions")]
        return
    first = {}
    for i in failed:
        first.setdefault(found[i].case.part, found[i].problem)
    result.lines += dict.fromkeys([*first.values(), *remarks(found)])
    for said in alike_in_all(exercise, found, failed, kept):
        if said not in result.lines:
            result.lines.append(say("all", "same as", said=said))


def look_at_values(result, exercise, found, kept):
    """The first difference; and where a kept wrong answer gives the same, its sentence."""
    failed = failed_cases(found)
    if not failed:
        result.lines.append(held_out_line(exercise, found, "held out"))
        return
    first = found[failed[0]]
    case, said = first.case, first.problem
    kind = "in case" if case.sizes else "in case plain"
    line = say("all", kind, name=word(exercise.id, case.name), sizes=case.sizes, said=said)
    if said.startswith(f"{case.name}: "):  # it names its question itself
        line = said
    result.lines.append(line)
    likely = dict.fromkeys(alike_in_all(exercise, found, failed, kept), case.part)
    if not likely:
        likely = alike_in_a_part(exercise, found, failed, kept)
    # sentences of a prediction name their part
    told = [*exercise.parts] if exercise.kind == "predict" else [case.part]
    for sentence, part in likely.items():
        if part not in told and not sentence.startswith(part):
            sentence = say("all", "part", part=word(exercise.id, part), state=sentence)
        if sentence not in result.lines[-1]:
            result.likely.append(sentence)
    if not likely and case.say and first.outcome.is_value:
        result.lines.append(say("all", "about", said=say(exercise.id, case.say)))


# ---------------------------------------------------------------- kept wrong answers that give the same
class KeptAnswers:
    """The kept wrong answers of an exercise beside the one that is judged. A case may take long: each is run once."""

    def __init__(self, exercise, found, numbers, known):
        self.found, self.known, self.stored = found, known, exercise.stored
        self.tolerance = max(1e-9, exercise.tolerance)
        if exercise.kind == "predict":
            self.tolerance = 1e-9
        self.keys = [wrong.key for wrong in exercise.wrong]
        self.sentences = [say(exercise.id, key) for key in self.keys]
        self.answers = [
            exercise.assemble(wrong.answer, numbers, wrong.of) for wrong in exercise.wrong
        ]

    def same(self, k, i):
        """Whether kept answer k gives what was given in case i."""
        if (k, i) not in self.known:
            self.known[k, i] = outcome_of(self.found[i].case, self.answers[k])
        if self.stored:
            return expected.same_mark(self.known[k, i], expected.mark_of(self.found[i].outcome))
        return same_outcome(self.known[k, i], self.found[i].outcome, self.same_value)

    def same_value(self, a, b):
        """Two that round differently give the same, as far as the exercise allows it; what is guessed is a number."""
        return difference(a, b, self.tolerance) is None

    def alike(self, places):
        """The keys of those that give the same in all these cases, one after the other: first those whose sentence
        the first case says itself, for it may say it of an answer with another mistake, too."""
        said = self.found[places[0]].problem
        order = sorted(range(len(self.keys)), key=lambda k: self.sentences[k] != said)
        return (self.keys[k] for k in order if all(self.same(k, i) for i in places))


def alike_in_all(exercise, found, failed, kept):
    """The sentence of the kept wrong answer that gives the same in every case that is not held out."""
    shown = [i for i, one in enumerate(found) if not one.case.held_out]
    sentences = (say(exercise.id, key) for key in kept.alike([failed[0], *shown]))
    return [*filter(None, [next(sentences, None)])]


def alike_in_a_part(exercise, found, failed, kept):
    """{sentence: part} for each that failed: of the first kept wrong answer that gives the same in all its cases."""
    telling = [i for i in failed if tells(exercise, found[i].outcome)]
    sentences = {}  # two that give the same flag or error may differ in all else, so a case in ``telling`` must agree
    for part in exercise.parts:
        first = [i for i in telling if found[i].case.part == part][:1]
        places = [
            i for i, one in enumerate(found) if one.case.part == part and not one.case.held_out
        ]
        key = None
        if first:
            key = next(kept.alike([*first, *places]), None)
        if key is not None and (said := say(exercise.id, key)):
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
    if not isinstance(value, tuple | list):
        return [value]
    return [*itertools.chain.from_iterable(map(flat, value))]


def has_numbers(value):
    try:
        array = as_array(value)
    except Exception:  # of an object of the student's own
        return False
    return array.dtype.kind in "iufc" and len(np.unique(array)) > (array.size > 1)
