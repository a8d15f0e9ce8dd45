"""Signals that ask a run to stop: Ctrl-C, and what a cluster or a closed terminal sends.

The first one lets the update at hand end and a checkpoint be written; the second stops at once.
"""

import signal
import threading
from contextlib import contextmanager

SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]
# a caller's own handler, or nohup's, stays
PYTHONS_OWN = (
    signal.SIG_DFL,
    signal.default_int_handler,
)


class Stopped(KeyboardInterrupt):
    """Raised where a run ends on a signal, with that signal and what is to be said."""


class Stop:
    """What the signals ask for: ``asked`` is 0, or the number of the first that came while ``can_wait`` was set."""

    def __init__(self):
        self.asked, self.can_wait, self.patient = 0, False, False

    def __call__(self, number, frame):
        """The handler. A ``patient`` run takes no second signal: torchrun sends one more of its own."""
        if not self.can_wait or (self.asked and not self.patient):
            raise Stopped(number, "")
        self.asked = self.asked or number


@contextmanager
def stoppable(say):
    """A ``Stop``, asked by signals while the block runs; in a thread that is not the main one nothing can ask it.

    The block ends in KeyboardInterrupt after Ctrl-C, and otherwise in SystemExit with the code that a shell expects,
    128 and the signal's number.
    """
    stop = Stop()
    before = {}
    try:
        if threading.current_thread() is threading.main_thread():
            mine = [number for number in SIGNALS if signal.getsignal(number) in PYTHONS_OWN]
            before = {number: signal.signal(number, stop) for number in mine}
        yield stop
    except Stopped as end:
        number, line = end.args
        if number == signal.SIGINT:
            raise KeyboardInterrupt(line) from None
        say(
            f"{signal.Signals(number).name}: {line or 'stopped at once, --resume goes on from the last checkpoint'}"
        )
        raise SystemExit(128 + number) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
