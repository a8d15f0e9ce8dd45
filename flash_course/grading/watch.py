"""What an answer may not do by accident: read a file of the checker or of the grader, end processes of others.

This is an audit hook of Python, and no wall: code below Python passes it by. The sandbox is the wall.
"""

import linecache
import os
import sys
import tokenize
import traceback
import warnings
from pathlib import Path

from ..checks.texts import say

PATHS = {"open": 1, "os.listdir": 1, "os.scandir": 1, "os.remove": 1, "os.rename": 2, "os.link": 2, "os.symlink": 2,
         "os.truncate": 1, "os.chmod": 1, "os.mkdir": 1, "os.rmdir": 1}  # event: how many of its arguments  # fmt: skip
OUTWARD = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "ctypes.")
READERS = (linecache.__file__, tokenize.__file__)  # they open a file for whoever calls them
ALLOWED = (traceback.__file__, warnings.__file__, "<frozen importlib._bootstrap_external>")


def watch(hidden, mark=None):
    """In a child, from now on: what lies at or below ``hidden`` is shut, and signals reach its own group only.

    What could act on other processes leaves the empty file ``mark``. Returns the switch of the watch.
    """
    state, hidden = {"on": True}, [os.path.realpath(path) for path in hidden]

    def look(event, arguments):
        if not state["on"]:
            return
        if event in PATHS:
            paths = [path for path in arguments[: PATHS[event]] if isinstance(path, str | bytes)]
            if any(lies_in(path, hidden) for path in paths) and not for_import_or_traceback():
                raise PermissionError(say("all", "hidden file"))
        elif event in ("os.kill", "os.killpg") and not own(event, arguments[0]):
            raise PermissionError(say("all", "others"))
        elif mark and event.startswith(OUTWARD):
            state["on"] = False
            Path(mark).touch()
            state["on"] = True

    sys.addaudithook(look)
    return lambda on: state.update(on=on)


def lies_in(path, folders):
    path = os.path.realpath(os.fsdecode(path))
    return any(path == folder or path.startswith(folder + os.sep) for folder in folders)


def for_import_or_traceback():
    frame = sys._getframe(2)
    while frame.f_back is not None and frame.f_code.co_filename in READERS:
        frame = frame.f_back
    return frame.f_code.co_filename in ALLOWED


def own(event, target):
    """Whether a signal stays in this child's process group; a process that is not there harms nobody."""
    try:
        return (os.getpgid(target) if event == "os.kill" and target >= 0 else abs(target)) in (0, os.getpgid(0))
    except OSError:
        return True
