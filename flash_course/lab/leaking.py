"""The leak laboratory: edits of the mixing, and which tokens then leak, are missing or are read twice."""

from dataclasses import dataclass, field

import numpy as np

from flash_course import drawing

from . import mixing
from .page import Page

PUZZLES = (  # the faults that are hidden, in order; not every token exposes each of them
    {"sum": "roll"},
    {"sum": "previous"},
    {"sum": "inclusive"},
    {"sum": "late"},
    {"mask": "before"},
    {"sum": "subtract"},
)
LOUD = 1e6  # how far a key is moved: far enough for its rounding to be seen beside the local part


@dataclass
class Measured:
    """What ``leaks`` measured of a mixing: ``one``, ``sum``, ``keyless`` are (T, T) bool, [i, j]: output i reads token
    j one by one, through the sum, or its value by a weight that does not depend on a key."""

    one: np.ndarray = field(repr=False)
    sum: np.ndarray = field(repr=False)
    keyless: np.ndarray = field(repr=False)
    C: int

    @property
    def kinds(self):
        """(T, T) of "", "one", "sum", "twice", "missing", "leak": what the picture shows."""
        allowed = np.tri(len(self.one), dtype=bool)
        one = self.one | self.keyless
        far = self.sum
        return np.select(
            [~allowed & (one | far), ~allowed, one & far, one, far],
            ["leak", "", "twice", "one", "sum"],
            "missing",
        )

    @property
    def faults(self):
        """The names of the faults, the far part first, and how many pairs they touch; empty if there is none."""
        names = [name for name in (self._fault_of_sum(), self._fault_of_near()) if name]
        kinds = self.kinds
        words = {
            "leak": "pairs read a later token",
            "missing": "earlier tokens are never read",
            "twice": "are read twice",
        }
        counts = ", ".join(
            f"{(kinds == kind).sum()} {said}"
            for kind, said in words.items()
            if (kinds == kind).any()
        )
        if counts:
            names = [*names, f"In all: {counts}."]
        return names

    @property
    def figure(self):
        return drawing.faults_of_mixing({"measured": self.kinds}, self.C)[0]

    @property
    def alt(self):
        return drawing.faults_of_mixing({"measured": self.kinds}, self.C)[1]

    def _fault_of_sum(self):
        """The choice whose sum reads the same pairs."""
        G = -(-len(self.sum) // self.C)
        for choice in mixing.CHOICES["sum"]:
            if np.array_equal(self.sum, _spread(chunks_read(choice, G), self.C, len(self.sum))):
                return mixing.CHOICES["sum"][choice][2]
        return "Through the sum, other chunks are read than all earlier ones."

    def _fault_of_near(self):
        T = len(self.one)
        own = _spread(np.eye(-(-T // self.C), dtype=bool), self.C, T)
        later = own & ~np.tri(T, dtype=bool)
        seen = self.one | self.keyless
        if not seen.any():
            return mixing.CHOICES["mask"]["off"][2]
        if np.array_equal(seen, own & ~later):
            return ""
        if np.array_equal(seen, own):
            choice = "before" if np.array_equal(self.keyless, later) else "none"
            return mixing.CHOICES["mask"][choice][2]
        return "One by one, other tokens are read than those of the chunk up to the token itself."


def chunks_read(choice, G):
    """(G, G) bool, [g, h]: chunk g reads chunk h through the sum."""
    g, h = np.indices((G, G))
    return {
        "shift": h < g,
        "inclusive": h <= g,
        "subtract": (h <= g) & (g > 0),
        "roll": (h < g) | (g == 0),
        "late": h < g - 1,
        "previous": h == g - 1,
        "all": h >= 0,
        "none": h < 0,
    }[choice]


def _spread(by_chunk, C, T):
    """(G, G) to (T, T): each chunk for its tokens."""
    return np.repeat(np.repeat(by_chunk, C, 0), C, 1)[:T, :T]


def measure(mix, T=14, C=4, seed=0):
    """Ask ``mix(heads, v)`` who reads whom: move one key or one value, and see which outputs move at all.

    heads is (4, T, S), in the order quad_q, quad_k, lin_q, lin_k, v is (T, E). The quad heads are drawn so that no
    score is negative: a weight of exactly 0 is allowed and yet not read.
    """
    rng = np.random.default_rng(seed)
    S, E = 4, 16
    heads, v = rng.normal(size=(4, T, S)), rng.normal(size=(T, E))
    heads[:2] = 0
    heads[:2, :, 1] = rng.uniform(4, 5, size=(2, T))  # a pair that RoPE turns slowly
    before = mix(heads.copy(), v.copy())
    if np.shape(before) != (T, E):
        raise ValueError(f"mix(heads, v) gave an array {np.shape(before)}: expected {(T, E)}, as v")

    def moves(change):  # of the heads and the output as they are when it is called
        moved = np.zeros((T, T), bool)
        for j in range(T):
            h = heads.copy()
            w = v.copy()
            change(h, w, j)
            moved[:, j] = (mix(h, w) != before).any(1)
        return moved

    def quad_key(h, w, j):
        h[1, j, 1] += 1

    def lin_key(h, w, j):
        h[3, j] += LOUD * rng.normal(size=S)

    def value(h, w, j):
        w[j] += 1

    one = moves(quad_key)
    far = moves(lin_key)
    heads[2] = (
        0  # nothing is read through the sum now, so that a value which moves an output is read one by one
    )
    before = mix(heads.copy(), v.copy())
    return Measured(one, far, moves(value) & ~one, C)


def leaks(mix=None, T=14, C=4):
    """The leak laboratory: without an argument its page, with a mixing what was measured of it.

    ``mix`` is a function ``mix(heads, v)`` of heads (4, T, S), in the order quad_q, quad_k, lin_q, lin_k, and v (T, E),
    or a line like ``"earlier = np.cumsum(kv, axis=0)"`` that takes the place of one of ``mixing.LINES``.
    """
    if T < 1 or C < 1:
        raise ValueError(f"T={T}, C={C}: expected at least one token, and one in a chunk")
    if mix is None:
        return _page(T, C)
    if isinstance(mix, str):
        lines = mixing.edited(mix)
        return measure(lambda heads, v: mixing.run(lines, heads, v, C, bias(C)), T, C)
    return measure(mix, T, C)


def bias(C):
    """(C, C): a weight above 0 for each distance, so that what the mask forgets is seen."""
    i, j = np.indices((C, C))
    return 1 + (j - i) / (4 * C)


def by_choice(choices, T=14, C=4):
    """What is measured of the lines that belong to ``{question: choice}``."""
    lines = mixing.chosen(choices)
    return measure(lambda heads, v: mixing.run(lines, heads, v, C, bias(C)), T, C)


def _page(T, C):
    panels = {
        name: by_choice(choices, T, C).kinds
        for name, choices in {
            "exclusive sum": {},
            "inclusive sum": {"sum": "inclusive"},
        }.items()
    }
    title = "A running sum that is not shifted by a chunk leaks"
    figure, alt = drawing.faults_of_mixing(panels, C, title=title)
    data = {
        "T": T,
        "C": C,
        "lines": mixing.LINES,
        "choices": mixing.CHOICES,
        "questions": mixing.QUESTIONS,
        "puzzles": PUZZLES,
    }
    return Page(
        "leaks",
        "The leak laboratory: find the fault that is hidden",
        "A layer that reads the future trains beautifully and is worthless: change one token, and expose the fault.",
        alt,
        figure,
        data,
    )
