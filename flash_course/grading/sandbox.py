"""The sandbox: bubblewrap, a program of the Linux distributions (``apt-get install bubblewrap``).

What is in it sees Python, the three packages and an empty, bounded /tmp, all else read-only; no network, no other
process, no file of anybody. It dies with the process that started it, and takes along what runs in it.
"""

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import flash_tutorial

PACKAGES = (Path(flash_tutorial.__file__).resolve().parent, Path(__file__).resolve().parent.parent)
TMP_BYTES = 100_000_000
WORKS = """
import numpy, flash_tutorial, importlib.util
importlib.util.find_spec("flash_course.grading").origin
"""


def python(in_sandbox, *arguments):
    """(command line, its environment) of Python with some arguments, in the sandbox or outside."""
    if in_sandbox:
        return command(*arguments), {"PATH": os.environ.get("PATH", os.defpath)}
    paths = [imports()["PYTHONPATH"], *filter(None, [os.environ.get("PYTHONPATH")])]
    return [sys.executable, *arguments], os.environ | imports() | {
        "PYTHONPATH": os.pathsep.join(paths)
    }


def command(*arguments):
    """The command line that runs Python with some arguments in the sandbox."""
    system = [
        path
        for path in ("/usr", "/lib", "/lib64", "/lib32", "/bin", "/sbin")
        if os.path.lexists(path)
    ]
    line = [
        "bwrap",
        "--unshare-all",
        "--unshare-user",
        "--die-with-parent",
        "--as-pid-1",  # else its first process is bubblewrap's own, whose descriptors what runs in it could open
        "--new-session",
        "--cap-drop",
        "ALL",
        "--clearenv",
    ]
    for path in system:
        if os.path.islink(path):
            line += ["--symlink", os.readlink(path), path]
        else:
            line += ["--ro-bind", path, path]
    for path in ("/etc/ld.so.cache", "/etc/alternatives"):  # where the system's libraries are
        line += ["--ro-bind-try", path, path]
    line += ["--proc", "/proc", "--dev", "/dev"]
    for path in ("/tmp", "/dev/shm"):
        line += ["--size", str(TMP_BYTES), "--tmpfs", path]
    # last, since they may lie in /tmp
    for path in (
        *python_folders(),
        *map(str, PACKAGES),
        *texts(),
    ):
        line += ["--ro-bind", path, path]
    for name, value in environment().items():
        line += ["--setenv", name, value]
    return [
        *line,
        "--remount-ro",
        "/dev",
        "--remount-ro",
        "/",
        "--chdir",
        "/tmp",
        "--",
        sys.executable,
        *arguments,
    ]


def python_folders():
    """Where Python and its libraries lie, outer folders only."""
    libraries = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    found = {os.path.realpath(p) for p in (sys.prefix, sys.base_prefix, *libraries)} | {
        sys.prefix,
        sys.base_prefix,
    }
    found = sorted(path for path in found if os.path.isdir(path) and not path.startswith("/usr/"))
    return [
        path
        for path in found
        if path != "/usr" and not any(Path(other) in Path(path).parents for other in found)
    ]


def texts():
    """The folder of a translation, if there is one."""
    folder = os.environ.get("FLASH_COURSE_TEXTS")
    if folder and os.path.isdir(folder):
        return [os.path.abspath(folder)]
    return []


def environment():
    """All variables that there are within."""
    found = {"PATH": "/usr/bin:/bin", "HOME": "/tmp", "LANG": "C.UTF-8", **imports()}
    if texts():
        found["FLASH_COURSE_TEXTS"] = texts()[0]
    return found


def imports():
    """The variables by which Python finds the packages, and stays in one thread."""
    folders = dict.fromkeys(str(path.parent) for path in PACKAGES)
    found = {"PYTHONPATH": os.pathsep.join(folders), "PYTHONDONTWRITEBYTECODE": "1"}
    return found | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@functools.cache
def trouble():
    """None where the sandbox works, else why it does not."""
    if shutil.which("bwrap") is None:
        return "bubblewrap is not installed"
    try:
        done = subprocess.run(command("-c", WORKS), capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"bubblewrap does not run: {error}"
    if done.returncode == 0:
        return None
    why = done.stderr.strip() or "no reason given"
    return f"bubblewrap is refused: {why.splitlines()[-1][:200]}"


def chosen(mode):
    """Whether to use the sandbox, for ``auto``, ``bwrap`` or ``none``."""
    if mode == "bwrap" and trouble():
        raise ValueError(f"--sandbox bwrap: {trouble()}; --sandbox none grades without it")
    return mode != "none" and trouble() is None
