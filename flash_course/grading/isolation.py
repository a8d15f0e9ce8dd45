"""Outside: the process that judges one submission, in the sandbox or forked, as the grader sees it.

Its lines are not trusted: what is no verdict on the exercise at hand costs that exercise, and a process that ends
before its work is done costs the exercise that it was at; the others go on in a new one.
"""

import contextlib
import json
import os
import secrets
import signal
import tempfile
import time

from ..checks.texts import say
from . import processes, sandbox
from .child import MESSAGE_BYTES, message_in, take
from .judging import READY, TRIES, serve
from .messages import failed, row_of

START = 120  # seconds on the clock until Python and torch are there, on a machine that has much to do
STARTS = 3
GRACE = 3  # seconds to clear away
LAG = 15  # seconds more, of a machine that has much to do


class Judge:
    """A process that judges the exercises of a job; ``rows`` is what came back."""

    def __init__(self, job, exercises, limits, in_sandbox):
        self.job, self.exercises, self.limits, self.in_sandbox = job, exercises, limits, in_sandbox
        self.todo, self.rows = [*job["exercises"]], {}
        self.failed_starts = 0
        self.begin()

    def begin(self):
        """Start a process for what is still to do."""
        self.pipe, write = os.pipe()
        self.key, self.data, self.ready = secrets.token_hex(8).encode(), bytearray(), False
        self.since = time.monotonic()
        job = self.job | {"exercises": self.todo, "grader": os.getpid()}
        self.pid = (exec_in_sandbox if self.in_sandbox else fork)(job, write, self.key)
        os.close(write)

    def look(self):
        """Take what has come; how many exercises are done by it."""
        going, before = take(self.pipe, self.data, 0), len(self.todo)
        while self.todo and b"\n" in self.data:
            line, _, rest = self.data.partition(b"\n")
            self.data = rest
            if not self.accept(bytes(line)):
                self.give_up("malformed")
                return before - len(self.todo)
        if not self.todo:
            self.end()
        elif not going:
            self.give_up("ended the judge")
        elif len(self.data) > 2 * MESSAGE_BYTES:
            self.give_up("too much")
        elif time.monotonic() - self.since > self.patience:
            self.give_up("no answer")
        return before - len(self.todo)

    @property
    def patience(self):
        """Seconds without a line after which nothing is expected any more."""
        return TRIES * (self.limits.on_the_clock + GRACE) + LAG if self.ready else START

    def accept(self, line):
        """Take one line; False if it is not the one that is waited for."""
        message = message_in(line, self.key)
        if not self.ready:
            self.ready, self.since = message == READY, time.monotonic()
            return self.ready
        if not isinstance(message, dict) or message.keys() != {"exercise", "message", "seconds", "stopped"}:
            return False
        if message["exercise"] != self.todo[0] or type(message["seconds"]) not in (int, float):
            return False
        row = row_of(self.exercises[self.todo[0]], message["message"])
        self.keep(row, max(message["seconds"], 0), message["stopped"] is True)
        return True

    def keep(self, row, seconds, stopped=False):
        self.rows[self.todo.pop(0)] = row | {"seconds": round(seconds, 2)} | ({"stopped": True} if stopped else {})
        self.since = time.monotonic()

    def give_up(self, why):
        """The exercise at hand costs its points, and the rest goes on in a new process."""
        self.end()
        if self.ready:
            self.keep(failed(self.exercises[self.todo[0]], say("all", why)), time.monotonic() - self.since)
        else:
            self.failed_starts += 1
        if self.failed_starts == STARTS:
            raise ValueError("the process that judges ends before it has begun: is there enough memory?")
        if self.todo:
            self.begin()

    def end(self):
        """End the process and all that it has started: asked first, so that it clears away what is its own."""
        if self.pid is None:
            return
        if self.todo:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)
        asked = time.monotonic()
        while not os.waitpid(self.pid, os.WNOHANG)[0]:
            time.sleep(0.01)
            if time.monotonic() - asked > GRACE:
                processes.kill(self.pid)
        os.close(self.pipe)
        self.pid = None


def fork(job, pipe, key):
    """A copy of this process, with nothing open but its pipe."""
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            signal.signal(signal.SIGHUP, signal.SIG_DFL)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            processes.die_with(parent, signal.SIGTERM)
            os.closerange(3, pipe)
            os.closerange(pipe + 1, os.sysconf("SC_OPEN_MAX"))
            serve(job, pipe, key)
        finally:
            os._exit(0)
    return pid


def exec_in_sandbox(job, pipe, key):
    """Python anew, in the sandbox; the job is its standard input."""
    with tempfile.TemporaryFile() as given:
        given.write(json.dumps({"job": job, "key": key.decode()}).encode())
        given.seek(0)
        pid = os.fork()
        if pid == 0:
            try:
                os.dup2(given.fileno(), 0)
                os.dup2(pipe, 1)
                os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
                line = sandbox.command("-m", "flash_course.grading.judging")
                os.execvp(line[0], line)
            finally:
                os._exit(1)
    return pid
