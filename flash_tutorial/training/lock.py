"""One writer for a folder. The system holds the lock and takes it back when its process dies, however it dies.

Two names, both of them hidden, and gone when the block ends: the lock, which is an empty file, and who holds it. A file
system without locks, as some that lie on other machines are, gets filelock's file of the same purpose, which knows a
dead owner on the same machine by its process id.
"""

import json
import os
import socket
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime

from filelock import SoftFileLock, Timeout, lock_descriptor

from ..files import make_folder, refused, write_text

LOCK, SOFT_LOCK, OWNER = ".flash-tutorial.lock", ".flash-tutorial.softlock", ".flash-tutorial.owner"


@contextmanager
def locked(folder, say=print):
    """Hold ``folder``, which is made if need be; a ValueError names the process that holds it already."""
    make_folder(folder)
    with ExitStack() as stack:  # lets go of all at the end of the block
        try:
            held = _take(folder / LOCK, stack, say)
        except OSError as error:
            raise refused(f"{folder} cannot be locked", error) from error
        owner = _owner(folder)
        if not held:
            raise ValueError(
                f"{folder} is in use by {_named(owner)}: wait for it, stop it, or choose another folder"
            )
        if owner and owner.get("host") != socket.gethostname():
            say(
                f"{_named(owner)} did not end in order: if it still runs there, stop it: two would write into {folder}"
            )
        us = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": f"{datetime.now():%Y-%m-%d %H:%M:%S}",
        }
        write_text(folder / OWNER, json.dumps(us) + "\n")
        stack.callback(_remove, folder / OWNER)
        yield


def _take(path, stack, say):
    """Whether this process got the lock; the system takes it back at the latest when the process ends."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            held = lock_descriptor(handle, blocking=False)
        except OSError:
            os.close(handle)
            path.unlink(missing_ok=True)
            return _take_soft(path.with_name(SOFT_LOCK), stack, say)
        # without a link: its last owner removed it in this very moment
        if not held or os.fstat(handle).st_nlink:
            stack.callback(os.close, handle)
            if held:
                stack.callback(_remove, path)
            return held
        os.close(handle)


def _take_soft(path, stack, say):
    """The same where the file system has no locks."""
    try:
        stack.enter_context(SoftFileLock(path, timeout=0))
    except Timeout:
        say(
            f"this file system has no locks: if that process is gone, remove {path} and start again"
        )
        return False
    return True


def _remove(path):
    """Windows removes no file that is open: then it stays, and does no harm."""
    with suppress(OSError):
        path.unlink()


def _owner(folder):
    """Who holds the folder, or held it and died; None if nobody says so."""
    with suppress(OSError, ValueError):
        owner = json.loads((folder / OWNER).read_text(encoding="utf-8"))
        if isinstance(owner, dict):
            return owner
    return None


def _named(owner):
    if not owner:
        return "another process"
    return f"process {owner.get('pid')} on {owner.get('host')}, which began at {owner.get('since')}"
