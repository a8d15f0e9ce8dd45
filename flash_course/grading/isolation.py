"""Outside: the process that judges one submission, as the grader sees it.

It gets a task for an exercise when the line for the one before has come. Its lines are not trusted: what is no verdict
on the exercise at hand costs that exercise, and a process that ends or is stopped before its work is done costs the
exercise that it was at; the others go on in a new one.
"""

import contextlib
import json
import os
import signal
import subprocess
import time
from dataclasses import asdict

from ..checks.texts import say
from . import sandbox
from .child import MESSAGE_BYTES, Ended, strict_json, take
from .judging import BELL, READY
from .messages import failed, row_of

START = (
    120  # seconds on the clock until Python and torch are there, on a machine that has much to do
)
STARTS = 3
GRACE = 3  # seconds to clear away
LAG = 15  # seconds more, of a machine that has much to do
TRIES = 2  # on a machine that is too busy to tell


class Judge:
    """A process that judges some exercises, given as {name: task}; ``rows`` is what came back."""

    def __init__(self, number, tasks, exercises, limits, in_sandbox, at=lambda name: None):
        self.number, self.tasks, self.exercises = number, tasks, exercises
        self.limits, self.in_sandbox = limits, in_sandbox
        self.at = at  # is called with the name of an exercise before it begins
        self.todo = [*tasks]
        self.rows = {}
        self.failed_starts = self.tries = 0
        self.gave_up = False  # in the last look: then something may be left that it had started
        self.begin()

    def begin(self):
        """Start a process for what is still to do."""
        arguments = [self.number, json.dumps(asdict(self.limits)), str(os.getpid())]
        line, environment = sandbox.python(
            self.in_sandbox, "-P", "-m", "flash_course.grading.judging", *arguments
        )
        self.process = subprocess.Popen(
            line,
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )
        os.set_blocking(self.process.stdin.fileno(), False)
        self.data, self.unsent, self.ready = bytearray(), b"", False
        self.since = time.monotonic()

    def look(self):
        """Give and take what there is; how many exercises are done by it."""
        before, self.gave_up = len(self.todo), False
        self.give()
        going = take(self.process.stdout.fileno(), self.data, 0)
        if b"\n" in self.data:
            line, _, rest = self.data.partition(b"\n")
            self.data = rest
            if not self.accept(bytes(line)):
                self.give_up("malformed")
        elif not going:
            self.give_up("ended the judge")
        elif len(self.data) > 2 * MESSAGE_BYTES:
            self.give_up("too much")
        elif self.stopped() or time.monotonic() - self.since > self.patience:
            self.give_up("no answer")
        if not self.todo:
            self.end()
        return before - len(self.todo)

    @property
    def patience(self):
        """Seconds without a line after which nothing is expected any more."""
        if not self.ready:
            return START
        return self.limits.on_the_clock + GRACE + LAG

    def stopped(self):
        """Whether the process was stopped, as by SIGSTOP; asked once, it is said once."""
        with contextlib.suppress(ChildProcessError):
            return os.WIFSTOPPED(os.waitpid(self.process.pid, os.WNOHANG | os.WUNTRACED)[1])

    def send(self):
        """Begin with the exercise at hand."""
        self.at(self.todo[0])
        self.unsent, self.since = (
            BELL + json.dumps(self.tasks[self.todo[0]]).encode() + b"\n",
            time.monotonic(),
        )
        self.give()

    def give(self):
        """Write what the pipe takes; a process that does not read, or is no more, shows elsewhere."""
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            while self.unsent:
                self.unsent = self.unsent[os.write(self.process.stdin.fileno(), self.unsent) :]

    def accept(self, line):
        """Take one line; False if it is not the one that is waited for."""
        message = strict_json(line)
        if not self.ready:
            self.ready = message == READY
            if self.ready:
                self.send()
            return self.ready
        ended = ended_in(message)
        if ended is None:
            return False
        self.tries += 1
        # it did not sleep
        if ended.stopped and self.tries < TRIES and busy() and ended.used > 0.01 * ended.seconds:
            self.send()
            return True
        said = {"failed": ended.why} if ended.why else ended.message
        self.keep(row_of(self.exercises[self.todo[0]], said), ended.seconds, ended.stopped)
        if self.todo:
            self.send()
        return True

    def keep(self, row, seconds, stopped=False):
        row = row | {"seconds": round(seconds, 2)}
        if stopped:
            row["stopped"] = True
        self.rows[self.todo.pop(0)] = row
        self.tries = 0

    def give_up(self, why):
        """The exercise at hand costs its points, and the rest goes on in a new process."""
        self.gave_up = True
        self.end()
        if self.ready:
            self.keep(
                failed(self.exercises[self.todo[0]], say("all", why)), time.monotonic() - self.since
            )
        else:
            self.failed_starts += 1
        if self.failed_starts == STARTS:
            raise ValueError(
                "the process that judges ends before it has begun: is there enough memory?"
            )
        if self.todo:
            self.begin()

    def end(self):
        """End the process and all that it has started: asked first, so that it clears away what is its own."""
        self.process.stdin.close()
        if self.todo:
            self.process.terminate()
            self.process.send_signal(signal.SIGCONT)  # a stopped process does not hear
        try:
            self.process.wait(GRACE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


def ended_in(message):
    """How a child ended, as a line says it; None if it says something else."""
    try:
        ended = Ended(**message)
        numbers = ended.seconds >= 0 and ended.used >= 0
    except TypeError:
        return None
    if numbers and isinstance(ended.why, str | None):
        return ended
    return None


def busy():
    """Whether more processes want to compute than there are cores, with some to spare."""
    return os.getloadavg()[0] > 1.5 * (os.cpu_count() or 1)
