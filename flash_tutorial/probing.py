"""How ``check_unit`` goes about it: one measurement after the other, and longer and longer rows as time allows.

Letters: B batch, T length, D model width, C chunk length.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from .errors import one_line

SECONDS = 0.2  # for all cuts at one length, and again for the other properties
FAR = 300  # the T up to which rows are probed in any case
LONGEST = 1500
BATCH = 2**16  # numbers in the input of one call
AGAIN = 4  # times that a failure is measured again: what is drawn may come out alike once
NO_DRAW = (
    "in eval mode nothing may be drawn: take nn.Dropout, or F.dropout(y, p, training=self.training)"
)


def cuts_of(T, C):
    """Where a row of T is cut: in the middle of chunks and around their borders; in a long one at powers of two too."""
    places = {1, 2, C - 1, C, C + 1, 2 * C, 2 * C + 1, 3 * C, T - 1}
    if T > 4 * C:
        places |= {2**k for k in range(T.bit_length())} | {T // 2 + 1}
    return sorted(t for t in places if 0 < t < T)


def is_far(unit, x):
    """Whether the rows of ``x`` are three times as long as their last output reads back."""
    x = x[:1].detach().requires_grad_()
    y = unit(x)[:, -1]
    weights = torch.linspace(1, 2, y.numel()).to(y).view_as(y)
    (gradient,) = torch.autograd.grad((y * weights).sum(), x)
    read = gradient[0].abs().amax(-1).nonzero()
    back = x.shape[1] - 1 - int(read.min()) if len(read) else 0
    return x.shape[1] > 3 * back


@dataclass
class Case:
    """One measurement: of which property, where, at most how much, what to do, and the function that takes it."""

    said: str
    limit: float
    advice: str
    place: str
    T: int
    take: Callable[[], float]


@dataclass
class Sweep:
    """A leak that is measured at many places at once: ``at(unit, x, cuts)`` gives a value for each cut."""

    said: str
    limit: float
    advice: str
    at: Callable[..., list[float]]


class Trial:
    """A unit under test, and the largest value of each property so far."""

    def __init__(self, name, unit, C, dim, generator, properties):
        """``properties(unit, x, cuts)`` gives (property, limit, advice, [(place, function that measures), ...])."""
        self.name = name
        self.unit = unit
        self.C = C
        self.dim = dim
        self.generator = generator
        self.properties = properties
        self.leaks = ()  # what is looked for at all places: a Sweep of each
        self.worst = {}  # property -> (value, limit, longest T)

    def draw(self, T, rows=3):
        """Inputs ``(B, T, D)``."""
        noise = torch.randn(rows, T, self.dim, generator=self.generator, dtype=torch.float64)
        device = next((p.device for p in self.unit.parameters()), torch.device("cpu"))
        return noise.to(device)

    def cases(self, x, cuts=None):
        """All measurements on ``x``, each taken only when it is asked for: the first that fails is the last."""
        T = x.shape[1]
        cuts = cuts or cuts_of(T, self.C)
        for said, limit, advice, places in self.properties(self.unit, x, cuts):
            for place, take in places:
                yield Case(said, limit, advice, place, T, take)

    def measure(self, case):
        """Take a measurement; a value above the limit is a ValueError, and another one if a later call has another."""
        value = case.take()
        if not value <= case.limit:
            for _ in range(AGAIN):
                _refuse_random(self.name, value, case.take())
            found = f"{self.name} fails {case.said} at {case.place}: {value:.2e}"
            raise ValueError(f"{found}, expected at most {case.limit:g}; {case.advice}")
        before, _, longest = self.worst.get(case.said, (0.0, 0.0, 0))
        self.worst[case.said] = (max(value, before), case.limit, max(case.T, longest))

    def rows(self, note):
        """The rows of a report; ``note`` stands behind the first."""
        rows = []
        for said, (value, limit, longest) in self.worst.items():
            rows.append((said, value, limit, f"T up to {longest}{note}"))
            note = ""
        return rows

    # ------------------------------------------------------------ longer rows
    def probe(self, shortest):
        """Test longer and longer rows. Gives what stood in the way of a longer one, in words."""
        began = time.perf_counter()
        tried = []
        said = ""
        T = shortest
        while T <= max(LONGEST, shortest):
            if found := self.refusal(T):
                said = f", no further: T = {T} raises {found:.60}"
                T = self.longest_between(tried[-1].shape[1], T)
            x = self.draw(T)
            tried.append(x)
            self.cut_at_few(x)
            slow = time.perf_counter() - began > 4 * SECONDS
            if said or (T >= FAR and (slow or is_far(self.unit, x))):
                break
            T *= 3
        for x in tried:
            if time.perf_counter() - began < 8 * SECONDS:
                self.look_closer(x, x.shape[1] > shortest)
        return said

    def refusal(self, T):
        """What the unit says to a row of T tokens: it may be made for so many. Empty if it takes it."""
        try:
            self.unit(self.draw(T, rows=1), mask=None)
        except Exception as error:  # of any kind
            return one_line(error)
        return ""

    def longest_between(self, taken, refused):
        """The longest T that the unit takes."""
        while refused - taken > 1:
            middle = (taken + refused) // 2
            if self.refusal(middle):
                refused = middle
            else:
                taken = middle
        return taken

    def cut_at_few(self, x):
        """The leaks at a few telling places."""
        for leak in self.leaks:
            self.measure(self.sweep(leak, x, self.batches(x.shape[1])[0]))

    def look_closer(self, x, longer):
        """All cuts, and in a ``longer`` row the other properties at three places, as time allows."""
        T = x.shape[1]
        self.sweep_all(x, SECONDS)
        if longer:
            self.while_time_lasts(SECONDS, self.cases(x, cuts=[3, T // 2 + 1, T - 1]))

    def sweep_all(self, x, seconds):
        """The first leak at all places, those first that tell most, as time allows."""
        for leak in self.leaks[:1]:
            batches = self.batches(x.shape[1])
            self.while_time_lasts(seconds, (self.sweep(leak, x, cuts) for cuts in batches))

    def while_time_lasts(self, seconds, cases):
        """Measure one after the other."""
        deadline = time.perf_counter() + seconds
        for case in cases:
            self.measure(case)
            if time.perf_counter() > deadline:
                return

    def sweep(self, leak, x, cuts):
        """A leak at many cuts at once as one measurement: of the first place that leaks."""
        values = leak.at(self.unit, x, cuts)
        place = min((t for t, value in zip(cuts, values) if value > leak.limit), default=cuts[0])
        known = [values[cuts.index(place)]]  # what was measured already is not measured again

        def take():
            return known.pop() if known else leak.at(self.unit, x, cuts)[cuts.index(place)]

        T = x.shape[1]
        return Case(leak.said, leak.limit, leak.advice, f"position {place} of {T}", T, take)

    def batches(self, T):
        """All places for a cut in a row of T tokens, in batches of a size that fits: the telling ones first."""
        halves = [T - 1, T // 2, T // 4, 3 * T // 4]
        powers = [2**k + more for k in range(T.bit_length()) for more in (0, 1)]
        rest = (1 + torch.randperm(T - 1, generator=self.generator)).tolist()
        cuts = [t for t in dict.fromkeys([*halves, *powers[::-1], *rest]) if 0 < t < T]
        size = max(4, BATCH // (T * self.dim))
        return [cuts[first : first + size] for first in range(0, len(cuts), size)]


def _refuse_random(name, value, again):
    """A unit that gives another number for the same call is random, and what it leaks cannot be said."""
    both_undefined = value != value and again != again
    if not both_undefined and not math.isclose(value, again, rel_tol=1e-3):
        twice = f"measured twice it gives {value:.2e} and {again:.2e}"
        raise ValueError(f"{name} fails eval mode: it is random, {twice}; {NO_DRAW}")
