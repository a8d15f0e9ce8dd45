"""Training steps of several models at several lengths, in turn: what lecture 08 times and draws."""

from dataclasses import dataclass

from flash_tutorial.errors import is_out_of_memory

from .against_length import measured_crossover, steady_processor, training_step
from .clock import peak_bytes, summary, time_in_turn


@dataclass(frozen=True)
class Steps:
    """``seconds`` of each round by (model, T), and by model and T the ``peaks`` in bytes, None where a step does not
    fit."""

    seconds: dict
    peaks: dict
    tokens: int

    def milliseconds(self, model):
        """[(T, median of a step, or None)]"""
        found = []
        for T in self.peaks[model]:
            timed = self.seconds.get((model, T))
            found.append((T, timed and 1000 * summary(timed)["median"]))
        return found

    def a_token(self, model):
        """[(T, microseconds a token, or None)]"""
        return [(T, ms and 1000 * ms / self.tokens) for T, ms in self.milliseconds(model)]

    def ratios(self, model, other):
        """[(T, time of a model over that of another)] where both fit."""
        below = dict(self.milliseconds(other))
        return [(T, ms / below[T]) for T, ms in self.milliseconds(model) if ms and below[T]]

    def crossover(self, model, other):
        """The T from which ``other`` takes less time than ``model``, or None."""
        return measured_crossover([dict(T=T, measured=r) for T, r in self.ratios(model, other)])

    def rounds_differ_by(self):
        """How much slower the slowest round of a step was than its fastest, of the step where that is most."""
        every = [summary(timed) for timed in self.seconds.values()]
        return max(each["high"] / each["low"] - 1 for each in every)

    def table(self):
        """Rows of text: milliseconds a step by T."""
        lengths = next(iter(self.peaks.values()))
        rows = [("milliseconds a step, T =", *(f"{T:,}" for T in lengths))]
        for model in self.peaks:
            times = [f"{ms:.1f}" if ms else "-" for _, ms in self.milliseconds(model)]
            rows.append((model, *times))
        return rows


def time_steps(models, settings, limit):
    """``Steps`` of models with the same tokens in each step; one that would hold more than ``limit`` bytes is left out.

    The peak of a step is predicted from the shorter ones: when T doubles, what grows like T² grows by at most four
    times its last growth.
    """
    steps = {}
    peaks = {name: {} for name in models}
    with steady_processor():  # numbers near zero and freed memory cost no extra time
        for T in settings.lengths:
            for name, model in models.items():
                step = training_step(model, settings, settings.tokens // T, T)
                peaks[name][T] = _peak_of_first(step, peaks[name].values(), settings.device, limit)
                if peaks[name][T] is not None:
                    steps[name, T] = step
        seconds = time_in_turn(steps, settings.rounds, warmup=0, device=settings.device)
    return Steps(seconds, peaks, settings.tokens)


def _peak_of_first(step, shorter, device, limit):
    """The peak in bytes of a step's first run, which is not timed; None if it would not fit, or does not."""
    known = list(shorter)
    if None in known:
        return None
    if len(known) > 1 and known[-1] + 4 * (known[-1] - known[-2]) > limit:
        return None
    try:
        return peak_bytes(step, device)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return None
