"""One function in a child process with limits: a message comes back, or the reason why none did.

The time that counts is computing time, of the child and of all it starts; a generous time on the clock stands behind.
"""

import faulthandler
import json
import math
import os
import secrets
import select
import signal
import sys
import tempfile
import time
from dataclasses import dataclass

import numpy as np
import torch

from ..checks.texts import say
from . import processes

try:
    import resource
except ImportError:  # Windows; `grade` says so before it gets here
    resource = None

MESSAGE_BYTES = 1_000_000
FILE_BYTES = 50_000_000
LOOK = 0.1  # seconds between two looks at a child
MANY = 50  # processes: with more than these a child is stopped


@dataclass(frozen=True)
class Limits:
    """Of one exercise: seconds of computing, bytes of memory, seconds on the clock (None: six times the first)."""

    seconds: float = 10.0
    bytes: int = 2_000_000_000
    clock: float | None = None

    @property
    def on_the_clock(self):
        return 6 * self.seconds if self.clock is None else self.clock


@dataclass
class Ended:
    """How a child ended: a message (whatever JSON it is), or ``why`` there is none, in plain words."""

    message: object = None
    why: str | None = None
    seconds: float = 0.0
    stopped: bool = False  # by a limit of time
    used: float = 0.0  # seconds of computing, of the child alone


def in_child(function, limits, folder=None, given=None):
    """``function()`` in a child, in a folder of its own; what it returns must be JSON.

    From a pipe ``given`` the child, and nobody else, reads a line first, which is JSON and the function's argument.
    A message begins with a key that was drawn for it: what else is written into the pipe is none.
    """
    key = secrets.token_hex(8).encode()
    read, write = os.pipe()
    sys.stdout.flush()
    parent = os.getpid()
    begun = time.monotonic()
    pid = os.fork()
    if pid == 0:
        be_the_child(function, limits, folder, given, key, write, parent)
    os.close(write)
    try:
        line, why, stopped = supervise(pid, read, limits, begun)
    finally:
        processes.kill(pid, *everything_of(pid, processes.table()))
        _, status, used = os.wait4(pid, 0)
        if own_guard():
            processes.kill_below(os.getpid())
        os.close(read)
    seconds = time.monotonic() - begun
    used = used.ru_utime + used.ru_stime
    if line is None and why is None:
        why, stopped = ending(status, used, limits)
    return Ended(message_in(line, key), why, seconds, stopped, used)


def own_guard():
    """Whether all that this process has started belongs to the child: so it is in the process that judges."""
    return GUARD == os.getpid()


GUARD = None


def guard():
    """This process is there for its child alone: it adopts what the child leaves behind."""
    global GUARD
    GUARD = os.getpid()
    processes.control(processes.ADOPT_ORPHANS, 1)


def everything_of(pid, known):
    top = os.getpid() if own_guard() else pid
    return processes.below(top, known)


# ---------------------------------------------------------------- the child


def be_the_child(function, limits, folder, given, key, pipe, parent):
    """In the child: never returns."""
    me = os.getpid()
    try:
        arguments = []
        if given is not None:
            arguments.append(json.loads(line_of(given)))
        os.closerange(3, pipe)
        os.closerange(pipe + 1, os.sysconf("SC_OPEN_MAX"))
        processes.die_with(parent)
        settle(folder, limits)
        message = function(*arguments)
    except BaseException as error:
        message = {"failed": say("all", "error", kind=type(error).__name__, said=str(error)[:300])}
    try:
        if os.getpid() == me:  # a copy that an answer has made of itself has nothing to say
            send(pipe, key, message)
    finally:
        os._exit(0)


def settle(folder, limits):
    """A session, a folder and limits of its own; nobody at the keyboard; what is printed is lost."""
    faulthandler.disable()  # a crash is said by the parent
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.setsid()
    processes.confine()
    if folder:
        os.chdir(folder)
        tempfile.tempdir = os.environ["TMPDIR"] = folder
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    sys.stdin, sys.stdout = os.fdopen(0), os.fdopen(1, "w")
    sys.stderr = sys.stdout
    used = addresses_used()
    if used and not torch.cuda.is_initialized():  # CUDA reserves far more addresses than it uses
        resource.setrlimit(resource.RLIMIT_AS, (used + limits.bytes, used + limits.bytes))
    seconds = math.ceil(limits.seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds + 1, seconds + 2))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES, FILE_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    processes.keep_off_limits()
    # then writing too much is an OSError in the answer
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    np.random.seed(0)
    torch.manual_seed(0)


def line_of(pipe):
    """A line that somebody writes into a pipe, and nothing behind it."""
    data = bytearray()
    while not data.endswith(b"\n"):
        if not take(pipe, data, None):
            raise EOFError
    return data


def own_limits():
    """The limits of this process, which a child can change."""
    return [
        resource.getrlimit(one)
        for name, one in vars(resource).items()
        if name.startswith("RLIMIT_")
    ]


def addresses_used():
    """Bytes of address space of this process; 0 where the system does not tell."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[0]) * resource.getpagesize()
    except OSError:
        return 0


def send(pipe, key, message):
    data = key + json.dumps(message, default=str).encode() + b"\n"
    while data:
        data = data[os.write(pipe, data) :]


# ---------------------------------------------------------------- its parent


def supervise(pid, pipe, limits, begun):
    """(line, why there is none, whether a limit of time was met); both are None where the child just ended."""
    data = bytearray()
    looked = time.monotonic()
    while True:
        going = take(pipe, data, LOOK)
        if b"\n" in data or len(data) > MESSAGE_BYTES or not going:
            return *outcome_of(data), False
        if time.monotonic() - looked < LOOK:
            continue
        why, stopped = limit_met(pid, limits, begun)
        if why or stopped:
            while (
                len(data) <= MESSAGE_BYTES
                and take(pipe, data, 0)
                and select.select([pipe], [], [], 0)[0]
            ):
                pass  # a message may have come in the last moment
            line, too_much = outcome_of(data)
            if line or too_much:
                return line, too_much, False
            return None, why, stopped
        looked = time.monotonic()


def take(pipe, data, seconds):
    """Read what has come within some seconds; False when nothing can come any more."""
    if not select.select([pipe], [], [], seconds)[0]:
        return True
    more = os.read(pipe, 1 << 16)
    data += more
    return bool(more)


def outcome_of(data):
    """(the first line, None), or why it is none."""
    line, newline, _ = data.partition(b"\n")
    if len(line) > MESSAGE_BYTES:
        return None, say("all", "too much")
    if not newline:
        return None, None
    return bytes(line), None


def limit_met(pid, limits, begun):
    """(why a child is stopped, whether by a limit of time); (None, True) where it is no more."""
    known = processes.table()
    if known and pid not in known:
        return None, True
    everything = everything_of(pid, known)
    if len(everything) > MANY:
        return say("all", "too many", most=MANY), False
    used = processes.computed({pid, *everything}, known)
    passed = time.monotonic() - begun
    if used >= limits.seconds:
        return say("all", "too slow", seconds=f"{limits.seconds:g}"), True
    if passed >= limits.on_the_clock:
        return say("all", "waited", seconds=f"{limits.on_the_clock:g}", used=f"{used:.1f}"), True
    return None, False


def ending(status, used, limits):
    """Why a child ended without a message, and whether that is a limit of time."""
    if used >= limits.seconds:
        return say("all", "too slow", seconds=f"{limits.seconds:g}"), True
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) != signal.SIGKILL:
        return say("all", "crashed", signal=signal.Signals(os.WTERMSIG(status)).name), False
    return say("all", "ended itself"), False


def message_in(line, key):
    """What a line says; None for a line without the key, and for what is no JSON."""
    if line is None or not line.startswith(key):
        return None
    return strict_json(line[len(key) :])


def strict_json(data):
    """JSON without NaN and infinity, or None."""
    try:
        return json.loads(data, parse_constant=refuse)
    except (ValueError, RecursionError):
        return None


def refuse(name):
    raise ValueError(f"{name} is no number")
