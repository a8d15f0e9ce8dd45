"""Processes that end with the one that started them, and take along what they have started themselves.

Linux tells who descends from whom (``/proc``), kills a process whose parent has died, and lets a process adopt the
orphans below it. Elsewhere a process group and the limits of ``child`` are all there is.
"""

import contextlib
import ctypes
import errno
import os
import platform
import re
import secrets
import signal
import struct
import sys
import tempfile
import time
from pathlib import Path

# PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_CHILD_SUBREAPER
DIE_WITH_PARENT, READABLE, ADOPT_ORPHANS = (
    1,
    4,
    36,
)
FILTER_CALLS, NO_NEW_PRIVILEGES = 22, 38
# whose calls, number of prlimit64
SET_LIMITS = {
    "x86_64": (0xC000003E, 302),
    "aarch64": (0xC00000B7, 261),
}
NEW_RULES, APPLY_RULES = 444, 446  # system calls of Landlock, the same on all machines
# what a rule can be about
BLOCK_DEVICES = 1 << 11
SIGNALS = 1 << 1
LINUX = sys.platform == "linux"


def control(option, value):
    """``prctl``: a property of this process; nothing happens where there is no such call."""
    if LINUX:
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def die_with(parent, by=None):
    """This process ends when ``parent`` does, also if that has happened already."""
    control(DIE_WITH_PARENT, by or signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def confine():
    """From now on this process and all that it starts can look into nothing but themselves (Landlock, Linux 5.13).

    So they can read and write neither the memory nor the open files of the process that judges, of the grader, or of
    any other, also as root. From Linux 6.12 on they can send signals to none of these. Older systems do not know it.
    """
    if not LINUX:
        return
    call = ctypes.CDLL(None).syscall
    version = call(NEW_RULES, None, ctypes.c_size_t(0), 1)
    if version < 1:
        return
    # it must forbid some files, too
    signals = SIGNALS if version >= 6 else 0
    facts = (ctypes.c_uint64 * 3)(BLOCK_DEVICES, 0, signals)
    rules = call(NEW_RULES, facts, ctypes.c_size_t(ctypes.sizeof(facts)), 0)
    control(NO_NEW_PRIVILEGES, 1)
    call(APPLY_RULES, rules, 0)
    os.close(rules)


class Filter(ctypes.Structure):
    """A program of the kernel's for system calls, as seccomp takes it."""

    _fields_ = (("steps", ctypes.c_ushort), ("text", ctypes.c_char_p))


def keep_off_limits():
    """From now on this process and all that it starts can set limits for nothing but themselves (seccomp).

    Without it ``prlimit`` would end whoever judges, the grader, or who is judged beside: Landlock leaves it alone.
    """
    kind, number = SET_LIMITS.get(platform.machine(), (0, 0))
    if not LINUX or not number:
        return
    load, equal, at_least, answer = 0x20, 0x15, 0x35, 0x06
    steps = (
        (load, 0, 0, 4),  # which system's calls these are
        (equal, 0, 5, kind),
        (load, 0, 0, 0),  # which call
        (at_least, 3, 0, 1 << 30),  # the same calls under other numbers
        (equal, 0, 3, number),
        (load, 0, 0, 16),  # for which process; 0 is one's own
        (equal, 1, 0, 0),
        (answer, 0, 0, 0x50000 + errno.EPERM),
        (answer, 0, 0, 0x7FFF0000),  # go on
    )
    text = b"".join(struct.pack("HBBI", *step) for step in steps)
    control(NO_NEW_PRIVILEGES, 1)
    given = Filter(len(steps), text)
    ctypes.CDLL(None).prctl(FILTER_CALLS, 2, ctypes.byref(given), 0, 0)


def table():
    """{process: (its parent, seconds that it and its ended children have computed)}; empty where nobody tells."""
    found = {}
    tick = os.sysconf("SC_CLK_TCK")
    entries = os.listdir("/proc") if LINUX else ()
    for name in filter(str.isdigit, entries):
        with contextlib.suppress(OSError, ValueError, IndexError):  # it has just ended
            with open(f"/proc/{name}/stat") as file:
                facts = file.read().rpartition(")")[2].split()
            if facts[0] != "Z":
                found[int(name)] = (int(facts[1]), sum(map(int, facts[11:15])) / tick)
    return found


def below(pid, known=None, besides=()):
    """The processes that descend from ``pid``, but not those in ``besides`` and what descends from them."""
    known = table() if known is None else known
    found = [pid]
    for one in found:
        found += [
            child for child, (parent, _) in known.items() if parent == one and child not in besides
        ]
    return found[1:]


def computed(pids, known):
    """Seconds that these processes have computed."""
    return sum(known[pid][1] for pid in pids if pid in known)


def kill(*pids):
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def kill_below(pid, besides=()):
    """End all ``below`` a process, also what is being started meanwhile; what this process adopts is reaped."""
    for _ in range(1000):
        found = below(pid, None, besides)
        if not found:
            return
        kill(*found)
        if pid == os.getpid():
            reap(found)
        time.sleep(0.001)


def reap(pids):
    for pid in pids:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


# ---------------------------------------------------------------- temporary folders

FOLDER = re.compile(r"flash-grading-(\d+)-[a-z0-9_]{8}")


def new_folder(owner):
    """A temporary folder that goes away with the process ``owner``, or when the next grader starts."""
    return tempfile.mkdtemp(prefix=f"flash-grading-{owner}-")


def remove_folders(owner=None):
    """Remove the folders of ``owner``, and those of graders that were killed: by their own names only."""
    for path in Path(tempfile.gettempdir()).glob("flash-grading-*"):
        name = FOLDER.fullmatch(path.name)
        if (
            name
            and (int(name[1]) == owner or not alive(int(name[1])))
            and path.lstat().st_uid == os.getuid()
        ):
            remove_folder(path)


def remove_folder(top):
    """Remove a folder, however deep. What lies in it is moved up first: a path and Python's recursion have an end."""
    found = [str(top)]
    for folder in found:
        for entry in entries_of(folder):
            with contextlib.suppress(OSError):
                if not entry.is_dir(follow_symlinks=False):
                    os.unlink(entry.path)
                    continue
                os.chmod(entry.path, 0o700)
                place = os.path.join(top, secrets.token_hex(8))
                os.rename(entry.path, place)
                found.append(place)
    for folder in reversed(found):
        with contextlib.suppress(OSError):
            os.rmdir(folder)


def entries_of(folder):
    try:
        with os.scandir(folder) as entries:
            return [*entries]
    except OSError:
        return []


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


# ---------------------------------------------------------------- this process


class TimeIsUp(BaseException):
    """Not an Exception, so that it ends more than the statement at hand."""


@contextlib.contextmanager
def at_most(seconds):
    """Leave the block after some seconds of computing, or three times as many on the clock; None: when it ends."""
    if seconds is None:
        yield
        return

    def stop(*_):
        raise TimeIsUp

    timers = [
        (signal.ITIMER_PROF, signal.SIGPROF, seconds),
        (signal.ITIMER_REAL, signal.SIGALRM, 3 * seconds),
    ]
    before = [signal.signal(number, stop) for _, number, _ in timers]
    try:
        for timer, _, after in timers:
            signal.setitimer(timer, after)
        yield
    except TimeIsUp:
        pass
    finally:
        for (timer, number, _), handler in zip(timers, before):
            signal.setitimer(timer, 0)
            signal.signal(number, handler)
