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
    with ExitStack() as stack:
        try:
            held = stack.enter_context(_system_lock(folder / LOCK, say))
        except OSError as error:
            raise refused(f"{folder} cannot be locked", error) from error
        owner = _owner(folder)
        if not held:
            raise ValueError(f"{folder} is in use by {_named(owner)}: wait for it, stop it, or choose another folder")
        if owner and owner.get("host") != socket.gethostname():
            say(f"{_named(owner)} did not end in order: if it still runs there, stop it: two would write into {folder}")
        us = {"pid": os.getpid(), "host": socket.gethostname(), "since": f"{datetime.now():%Y-%m-%d %H:%M:%S}"}
        write_text(folder / OWNER, json.dumps(us) + "\n")
        try:
            yield
        finally:
            with suppress(OSError):
                (folder / OWNER).unlink()


@contextmanager
def _system_lock(path, say):
    """Whether this process got the lock; it lets go at the end of the block, or of the process."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            held = lock_descriptor(handle, blocking=False)
        except OSError:
            os.close(handle)
            path.unlink(missing_ok=True)
            break
        if not held or os.fstat(handle).st_nlink:  # without a link: its last owner removed it in this very moment
            try:
                yield held
            finally:
                if held:
                    with suppress(OSError):  # Windows removes no file that is open: then it stays, and does no harm
                        path.unlink()
                os.close(handle)
            return
        os.close(handle)
    with ExitStack() as stack:
        soft = SoftFileLock(path.with_name(SOFT_LOCK), timeout=0)
        try:
            stack.enter_context(soft)
        except Timeout:
            say(f"this file system has no locks: if that process is gone, remove {soft.lock_file} and start again")
            yield False
        else:
            yield True


def _owner(folder):
    """Who holds the folder, or held it and died; None if nobody says so."""
    with suppress(OSError, ValueError):
        owner = json.loads((folder / OWNER).read_text(encoding="utf-8"))
        return owner if isinstance(owner, dict) else None


def _named(owner):
    if not owner:
        return "another process"
    return f"process {owner.get('pid')} on {owner.get('host')}, which began at {owner.get('since')}"
