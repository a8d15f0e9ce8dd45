"""ListOps (Nangia and Bowman, 2018): nested operations on digits, whose value is asked for.

    [MAX 2 [MIN 8 4 ] 7 [SM 9 5 ] ]     is 7

A tree is drawn as for the Long Range Arena (Tay et al., 2021), with its four operators: minimum, maximum, median
(rounded down) and the sum modulo 10. Here each value is the answer equally often, so that a constant guess is right in
one of ten; without that, 0 and 9 are the answers of a third.
"""

import random

from ..settings import check_counts
from .labelled import LabelledTask, padded


def median(values):
    """Rounded down, where two are in the middle."""
    ordered = sorted(values)
    half = len(ordered) // 2
    return (ordered[half] + ordered[-half - 1]) // 2


def sum_modulo_10(values):
    return sum(values) % 10


OPERATORS = {"[MIN": min, "[MAX": max, "[MED": median, "[SM": sum_modulo_10}
NAMES = tuple(OPERATORS)
TOKENS = (*map(str, range(10)), *OPERATORS, "]", "")  # the last one fills up
CLOSE = TOKENS.index("]")
PADDING = TOKENS.index("")
DEEPEST = 10
MOST_ARGUMENTS = 10
SHARE_OF_OPERATORS = 0.25
CLASSES = 10
TRIES = 10_000  # without one tree of the asked length and value


def load_listops(
    seed: int = 0,
    *,
    shortest: int = 50,
    longest: int = 200,
    train: int = 10_000,
    held_out: int = 1_000,
) -> LabelledTask:
    """Trees of ``shortest`` to ``longest`` tokens; ``held_out`` of them for validation, and as many for the test.

    ``labels`` are the values of whole trees, ``token_labels`` those of each inner list at its closing bracket. No tree
    is there twice. The Long Range Arena's lengths are 501 to 1,999. Raises ValueError for sizes that cannot be.

    >>> from flash_tutorial.corpora import load_listops
    >>> from flash_tutorial.corpora.listops import spelled
    >>> task = load_listops(shortest=8, longest=12, train=100, held_out=10)
    >>> task
    LabelledTask('listops': 10 classes, train 100, validation 10, test 10)
    >>> spelled(task.train.ids[3]), task.classes[task.train.labels[3]]
    ('[SM 5 4 3 3 3 2 0 1 2 ]', '3')
    """
    check_counts(least=4, shortest=shortest)
    check_counts(least=shortest, longest=longest)
    check_counts(least=CLASSES, train=train, held_out=held_out)
    trees = Trees(random.Random(seed), shortest, longest)
    splits = {}
    for name, n in (("test", held_out), ("validation", held_out), ("train", train)):
        texts, labels, of_tokens = trees.draw(n)
        splits[name] = padded(texts, labels, longest, PADDING, of_tokens)
    return LabelledTask("listops", TOKENS[:CLASSES], len(TOKENS), **splits)


class TooLong(Exception):
    """The tree has more tokens than was asked for."""


class Trees:
    """Draws trees, none of them twice."""

    def __init__(self, rng, shortest, longest):
        self.rng = rng
        self.shortest = shortest
        self.longest = longest
        self.seen = set()
        self.waiting = {value: [] for value in range(CLASSES)}

    def draw(self, n):
        """n trees, whose values are 0 to 9 in turn: tokens, values, and the value at each closing bracket."""
        return zip(*(self.with_value(i % CLASSES) for i in range(n)))

    def with_value(self, value):
        """A tree of this value; those of others that come before it wait for their turn."""
        for _ in range(TRIES):
            if self.waiting[value]:
                return self.waiting[value].pop()
            tree = self.new()
            if tree:
                self.waiting[tree[1]].append(tree)
        lengths = f"{self.shortest} to {self.longest} tokens"
        raise ValueError(
            f"no further tree of {lengths} with the value {value} was found: widen the lengths, or ask for fewer"
        )

    def new(self):
        """A tree of the asked length that was not there before, or None."""
        tokens = []
        values = {}
        try:
            value = self.grow(tokens, values, 1)
        except TooLong:
            return None
        text = bytes(tokens)
        if not self.shortest <= len(tokens) <= self.longest or text in self.seen:
            return None
        self.seen.add(text)
        return text, value, values

    def grow(self, tokens, values, depth):
        """Append a digit, or a list, and say its value."""
        if len(tokens) >= self.longest:
            raise TooLong
        is_list = depth == 1 or (depth < DEEPEST and self.rng.random() < SHARE_OF_OPERATORS)
        if not is_list:
            tokens.append(self.below(10))
            return tokens[-1]
        name = NAMES[self.below(len(NAMES))]
        tokens.append(TOKENS.index(name))
        n = 2 + self.below(MOST_ARGUMENTS - 1)
        value = OPERATORS[name]([self.grow(tokens, values, depth + 1) for _ in range(n)])
        values[len(tokens)] = value
        tokens.append(CLOSE)
        return value

    def below(self, n):
        """An integer from 0 to n - 1, the same in every version of Python."""
        return int(self.rng.random() * n)


def spelled(ids) -> str:
    """The tokens of a row as text, without what fills it up."""
    return " ".join(TOKENS[i] for i in ids if i != PADDING)
