"""One exercise of one submission in a child process with limits of time and memory; what it does stays there.

The child sends one message through a pipe. No message means that it was killed, and why is said in plain words.
"""

import faulthandler
import json
import os
import shutil
import signal
import struct
import sys
import tempfile
import time
from dataclasses import dataclass

import numpy as np
import torch

from ..checks import closed_book, compare, exercise, texts, verdict
from ..checks.texts import say
from .submission import run_definitions

try:
    import resource
except ImportError:  # Windows; `grade` says so before it gets here
    resource = None

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
HIDDEN = (os.path.join(PACKAGE, "checks"), os.path.join(os.path.dirname(PACKAGE), "solutions"))
FILE_BYTES = 50_000_000


@dataclass(frozen=True)
class Limits:
    seconds: float = 10.0
    bytes: int = 2_000_000_000


@dataclass
class Child:
    """A running exercise."""

    pid: int
    pipe: int
    started: float
    folder: str
    data: bytes = b""


def start(submission, exercise, seed, more_cases, limits, hidden=()):
    """Fork a child that judges one exercise."""
    read, write = os.pipe()
    folder = tempfile.mkdtemp(prefix="grading-")
    for name in ("all", exercise.id):
        texts.tables(name)  # read here: the child may open no file of the checks, not even for a sentence
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(read)
            settle(folder, limits)
            send(write, judged(submission, exercise, seed, more_cases, hidden))
        except BaseException as error:
            send(write, failed(exercise, say("all", "error", kind=type(error).__name__, said=str(error)[:300])))
        finally:
            os._exit(0)
    os.close(write)
    os.set_blocking(read, False)
    return Child(pid, read, time.monotonic(), folder)


def settle(folder, limits):
    """In the child: a session, a folder and limits of its own; nobody at the keyboard; what is printed is lost."""
    faulthandler.disable()  # a crash is said by the parent
    os.setsid()
    os.chdir(folder)
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    sys.stdin, sys.stdout = os.fdopen(0), os.fdopen(1, "w")
    sys.stderr = sys.stdout
    used = addresses_used()
    if used and not torch.cuda.is_initialized():  # CUDA reserves far more addresses than it uses
        resource.setrlimit(resource.RLIMIT_AS, (used + limits.bytes, used + limits.bytes))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES, FILE_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # then writing too much is an OSError in the answer
    np.random.seed(0)
    torch.manual_seed(0)


def addresses_used():
    """Bytes of address space of this process; 0 where the system does not tell."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[0]) * resource.getpagesize()
    except OSError:
        return 0


def judged(submission, exercise, seed, more_cases, hidden=()):
    """In the child: run the definitions, judge, and see to it that the checker is still the checker."""
    judge_answer, before, fingerprint_of = verdict.judge, fingerprint(), fingerprint
    watch = watch_files((*HIDDEN, *hidden))
    watch(True)
    names, notes = run_definitions(submission, exercise.names)
    answer = answer_of(exercise, names)
    found = judge_answer(exercise, answer, seed=seed, student=str(names.get("STUDENT", "me")), more_cases=more_cases)
    watch(False)
    if fingerprint_of() != before:
        return failed(exercise, say("all", "tampered"))
    if found.status == verdict.NOT_ATTEMPTED:
        notes += [say("all", "missing", name=name) for name in exercise.names if name not in names]
    text = answer if exercise.kind == "explain" and isinstance(answer, str) else None
    return row(found.status, found.points, exercise, [*found.lines, *found.likely], notes, text)


def row(status, points, exercise, lines, notes=(), text=None):
    person = {"by_person": True, "text": text} if exercise.kind == "explain" else {}
    points = 0 if person else points
    return {
        "status": status,
        "points": points,
        "of": exercise.points,
        "said": list(lines),
        "notes": list(notes),
    } | person


def failed(exercise, said, status=verdict.WRONG):
    return row(status, 0, exercise, [said])


def answer_of(exercise, names):
    if len(exercise.names) == 1:
        return names.get(exercise.names[0])
    found = {name: names.get(name) for name in exercise.names}
    given = exercise.given or {}
    return {name: given.get(name) if value is None else value for name, value in found.items()}


def watch_files(hidden):
    """Within a child: opening a file that holds answers is an error while the watch is on."""
    state = {"on": False}

    def look(event, arguments):
        if event == "open" and state["on"] and isinstance(arguments[0], str):
            path = os.path.abspath(arguments[0])
            if path.startswith(hidden) and not path.endswith(".pyc") and not called_by_import_or_traceback():
                raise PermissionError(say("all", "hidden file"))

    sys.addaudithook(look)
    return lambda on: state.update(on=on)


def called_by_import_or_traceback():
    frame = sys._getframe(2)
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith("<frozen importlib") or os.path.basename(name) in (
            "linecache.py",
            "traceback.py",
            "inspect.py",
        ):
            return os.path.basename(name) != "inspect.py"
        frame = frame.f_back
    return False


def fingerprint():
    """What the checker consists of: objects and code, by name."""
    modules = (verdict, compare, texts, exercise, closed_book)
    parts = []
    for module in modules:
        same = sys.modules.get(module.__name__) is module
        parts.append((module.__name__, same))
        for name, thing in vars(module).items():
            code = getattr(thing, "__code__", None)
            parts.append((module.__name__, name, id(thing), code and code.co_code))
    return hash(tuple(sorted(map(repr, parts))))


def send(pipe, message):
    data = json.dumps(message, default=str).encode()
    os.write(pipe, struct.pack("<I", len(data)))
    while data:
        data = data[os.write(pipe, data) :]


def receive(child):
    """The message if it is whole, None if it is not yet, an empty dictionary if the pipe ended without one."""
    while True:
        try:
            data = os.read(child.pipe, 1 << 16)
        except BlockingIOError:
            break
        if not data:
            return whole(child) or {}
        child.data += data
    return whole(child)


def whole(child):
    if len(child.data) >= 4 and len(child.data) >= 4 + (size := struct.unpack("<I", child.data[:4])[0]):
        return json.loads(child.data[4 : 4 + size])
    return None


def finish(child, exercise, message, limits):
    """End a child and all that it started; what is stored of its exercise."""
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        os.kill(child.pid, signal.SIGKILL)
    _, status = os.waitpid(child.pid, 0)
    os.close(child.pipe)
    shutil.rmtree(child.folder, ignore_errors=True)
    seconds = time.monotonic() - child.started
    if not message:
        message = failed(exercise, ended(status, seconds, limits), verdict.RAISES)
    return message | {"seconds": round(seconds, 2)}


def ended(status, seconds, limits):
    """Why a child sent nothing, in plain words."""
    if seconds >= limits.seconds:
        return say("all", "too slow", seconds=f"{limits.seconds:g}")
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) != signal.SIGKILL:
        return say("all", "crashed", signal=signal.Signals(os.WTERMSIG(status)).name)
    return say("all", "ended itself")
