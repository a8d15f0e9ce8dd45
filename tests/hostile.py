"""What may be handed in: answers that do harm, files that are none, and a class with one of each kind."""

import os
import stat

from submissions import FULL, source, to_chunks, with_body

FAULTS = {
    "endless loop": ("while True:\n    pass", "stopped after 3 seconds"),
    "endless loop under except": (
        "while True:\n    try:\n        pass\n    except Exception:\n        pass",
        "stopped after 3 seconds",
    ),
    "endless in C": ("import re\nre.match('(a+)+$', 'a' * 60 + 'b')", "stopped after 3 seconds"),
    "os._exit": ("import os\nos._exit(0)", "ended before the check was done"),
    "sys.exit": ("import sys\nsys.exit(0)", "SystemExit"),
    "segmentation fault": ("import ctypes\nctypes.string_at(0)", "crashed (SIGSEGV)"),
    "all memory": ("return np.ones((400_000_000_000,))", "MemoryError"),
    "memory bit by bit": (
        "rows = []\nwhile True:\n    rows.append(bytearray(10_000_000))",
        "MemoryError",
    ),
    "100 MB of output": (
        "for _ in range(100):\n    print('x' * 1_000_000)\nreturn np.zeros((-(-len(x_TD) // C), C, x_TD.shape[1]))",
        "Every value is zero",
    ),
    "a fork": (
        "import os, time\nif os.fork() == 0:\n    time.sleep(60)\ntime.sleep(60)",
        "on the clock",
    ),
    "files": (
        "open('mine.txt', 'w').write('x')\nreturn np.zeros((-(-len(x_TD) // C), C, x_TD.shape[1]))",
        "Every value is zero",
    ),
    "a huge file": ("open('mine.txt', 'w').write('x' * 60_000_000)\nreturn x_TD", "OSError"),
    "the clock": (
        "import time\ntime.time = time.monotonic = time.perf_counter = lambda: 0.0\nwhile True:\n    pass",
        "stopped after 3 seconds",
    ),
    "the checker": (
        "from flash_course.checks import verdict\nverdict.difference = lambda *a: None\nreturn x_TD",
        "takes a wrong answer for a right one",
    ),
    "the oracle": (
        "from flash_course.checks.sets import set_05\nreturn set_05.to_chunks(x_TD, C)",
        "calls `flash_course.checks.sets.set_05.to_chunks`",
    ),
    "input": ("return input('chunks? ')", "asks for input"),
    "a call of the package": (
        "from flash_tutorial import reference\nreturn reference.to_chunks(x_TD, C)",
        "calls `flash_tutorial.reference.to_chunks`",
    ),
}


# where the system lets no answer signal to others (Linux 6.12, and in the sandbox), and where it does
ENDED = ("ended the process that judges", "ended before the check was done")

HOSTILE = {
    "folders in folders": (
        "import os\nfor k in range(3000):\n    os.mkdir('d')\n    os.chdir('d')\nreturn x_TD",
        "expected the shape",
    ),
    "a forged message": (
        'import os\nfor fd in range(3, 60):\n    try:\n        os.write(fd, b\'{"status": "right"}\\n\')\n'
        "    except OSError:\n        pass\nreturn x_TD",
        "is no verdict",
    ),
    "a number in the pipe": (
        'import os\nfor fd in range(3, 60):\n    try:\n        os.write(fd, b"[1]\\n{")\n'
        "    except OSError:\n        pass\nreturn x_TD",
        "is no verdict",
    ),
    "a flood": (
        'import os\nwhile True:\n    for fd in range(3, 60):\n        try:\n            os.write(fd, b"x" * 65536)\n'
        "        except OSError:\n            pass",
        "more than a verdict",
    ),
    "drop by drop": (
        'import os, time\nwhile True:\n    for fd in range(3, 60):\n        try:\n            os.write(fd, b"x")\n'
        "        except OSError:\n            pass\n    time.sleep(0.01)",
        "on the clock",
    ),
    "a closed pipe": (
        "import os, time\nos.closerange(3, 60)\ntime.sleep(60)",
        "ended before the check was done",
    ),
    "an end of its parent": (
        "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)\nos._exit(0)",
        (*ENDED, "Operation not permitted"),
    ),
    "an end of its parent, below Python": (
        "import ctypes, os\nctypes.CDLL(None).kill(os.getppid(), 9)\nos._exit(0)",
        ENDED,
    ),
    "an end of its parent, by a program": (
        "import os, subprocess\nsubprocess.run(['kill', '-9', str(os.getppid())])\nos._exit(0)",
        ENDED,
    ),
    "a polite end of its parent": (
        "import ctypes, os, time\nctypes.CDLL(None).kill(os.getppid(), 15)\ntime.sleep(1)\nos._exit(0)",
        ENDED,
    ),
    "an end from a thread": (
        "import os, threading, time\nthreading.Thread(target=os._exit, args=(0,)).start()\ntime.sleep(60)",
        "ended before the check was done",
    ),
    "limits for its parent": (
        "import os, resource, time\nresource.prlimit(os.getppid(), resource.RLIMIT_CPU, (0, 0))\n"
        "time.sleep(2)\nos._exit(0)",
        (*ENDED, "Operation not permitted"),
    ),
    "no descriptors for its parent": (
        "import os, resource\nresource.prlimit(os.getppid(), resource.RLIMIT_NOFILE, (0, 0))\nos._exit(0)",
        (*ENDED, "Operation not permitted"),
    ),
    "a copy in a session of its own that writes": (
        "import os, time\nif os.fork() == 0:\n    os.setsid()\n    while True:\n        for fd in range(3, 60):\n"
        "            try:\n                os.write(fd, b'[1]\\n')\n            except OSError:\n                pass\n"
        "time.sleep(0.5)\nreturn x_TD",
        "is no verdict",
    ),
    "many processes": (
        "import subprocess, time\nfor k in range(200):\n    subprocess.Popen(['sleep', '60.125'])\ntime.sleep(60)",
        "more than 50 processes",
    ),
    "a stop of its parent": (
        "import ctypes, os, time\nctypes.CDLL(None).kill(os.getppid(), 19)\ntime.sleep(60)  # the clock",
        ("did not answer", "on the clock"),
    ),
    "processes that double": (
        "import os, time\nfor k in range(8):\n    os.fork()\ntime.sleep(60)",
        "more than 50 processes",
    ),
    "a caught signal of the clock": (
        "import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True:\n    pass",
        "stopped after 3 seconds",
    ),
    "others that compute": (
        "import os, time\nfor k in range(2):\n    if os.fork() == 0:\n        while True:\n            pass\n"
        "time.sleep(60)",
        "stopped after 3 seconds of computing",
    ),
    "an error of a megabyte": ('raise ValueError("x" * 10**7)', "ValueError: xxx"),
    "an error that forges a page": (
        'raise ValueError("\\r# Points: 100\\x1b[2J \\ud800 <b>")',
        "ValueError",
    ),
}


# ---------------------------------------------------------------- answers that want what is another exercise's

TOOLS = """
import ctypes, functools, gc, json, os, re, sys, types

def objects():
    # all that Python knows of, two steps deep; nobody watches meanwhile
    hook = sys.getprofile()
    sys.setprofile(None)
    found, frame = gc.get_objects(), sys._getframe()
    while frame is not None:
        found.append(frame.f_locals)
        frame = frame.f_back
    found += [one.f_locals for one in found if isinstance(one, types.FrameType)]
    for one in [*found]:
        if type(one) is dict:
            found += one.values()
        if type(one) in (list, tuple):
            found += one
    sys.setprofile(hook)
    return found

def texts_of(found):
    return {one if isinstance(one, str) else one.decode("latin1") for one in found if type(one) in (str, bytes)}

def locals_of(name):
    frame = sys._getframe()
    while frame is not None and frame.f_code.co_name != name:
        frame = frame.f_back
    return frame.f_locals if frame else {}

@functools.cache
def verdicts():
    # a line for each exercise, with the key of the process that judges if it has one
    from flash_course.checks.exercise import load_set
    key, lines = locals_of("serve").get("key"), b""
    for name, e in load_set("05").items():
        said = {"status": "right", "parts": dict.fromkeys(e.parts, True), "said": [], "notes": [], "text": None}
        line = {"exercise": name} if key else {"why": None, "used": 0}
        line |= {"message": said, "seconds": 0, "stopped": False}
        lines += (key or b"") + json.dumps(line).encode() + bytes([10])
    return lines

def write_to(fd):
    try:
        os.write(fd, verdicts())
    except OSError:
        pass

def parent_of(pid):
    with open(f"/proc/{pid}/stat") as file:
        return int(file.read().rpartition(")")[2].split()[1])

PARENT = os.getppid()
OTHERS = [PARENT, *filter(None, [parent_of(PARENT)])]  # who judges, and the grader or what the sandbox begins with

def pipes():
    # (process, descriptor) of all that these two have open to talk
    for pid in OTHERS:
        for fd in range(40):
            try:
                if os.readlink(f"/proc/{pid}/fd/{fd}").startswith("pipe:"):
                    yield pid, fd
            except OSError:
                pass

system = ctypes.CDLL(None)
"""
FORGERIES = {
    "into all that is open": "for fd in range(3, 256):\n    write_to(fd)",
    "into what others have open": (
        "for pid, fd in pipes():\n    try:\n"
        "        write_to(os.open(f'/proc/{pid}/fd/{fd}', os.O_WRONLY | os.O_NONBLOCK))\n"
        "    except OSError:\n        pass"
    ),
    "into copies of what others have open": (  # pidfd_open, pidfd_getfd
        "for pid in OTHERS:\n    handle = system.syscall(434, pid, 0)\n    for fd in range(40):\n"
        "        copy = system.syscall(438, handle, fd, 0)\n        if copy > 2:\n"
        "            os.set_blocking(copy, False)\n            write_to(copy)"
    ),
}
LOOKS = {
    "ptrace": "attached(PARENT)",
    "ptrace of the grader": "attached(OTHERS[-1])",
    "memory, as a file": "open(f'/proc/{PARENT}/mem', 'rb')",
    "memory of the grader, as a file": "open(f'/proc/{OTHERS[-1]}/mem', 'rb')",
    "memory, by a call": "copied(PARENT)",
    "memory of the grader, by a call": "copied(OTHERS[-1])",
    "what others have open": "[*pipes()]",
    "another submission": "' '.join(['of', 'another', 'student']) in TEXTS",
    "another exercise's held-out cases": "'_'.join(['held', 'out', '4']) in TEXTS",
    "the grader": "[kind for kind in KINDS if kind.__name__ in ('Results', 'Desk', 'Judge', 'Journal')]",
}
LOOK_AT_ALL = f"""
class Part(ctypes.Structure):
    _fields_ = [("at", ctypes.c_void_p), ("size", ctypes.c_size_t)]

def copied(pid):
    there, here = Part(id(None), 8), Part(ctypes.addressof(ctypes.create_string_buffer(8)), 8)
    return system.process_vm_readv(pid, ctypes.byref(here), 1, ctypes.byref(there), 1, 0) > 0

def attached(pid):
    if system.ptrace(16, pid, None, None) != 0:
        return False
    os.waitpid(pid, 0x40000000)
    return system.ptrace(17, pid, None, None) == 0

@functools.cache
def seen():
    found, names = objects(), []
    given = {{"system": system, "PARENT": PARENT, "OTHERS": OTHERS, "pipes": pipes}}
    given |= {{"attached": attached, "copied": copied}}
    given |= {{"TEXTS": "".join(texts_of(found)), "KINDS": set(map(type, found))}}
    for name, look in {LOOKS!r}.items():
        try:
            if eval(look, given):
                names.append(name)
        except OSError:
            pass
    return names
"""


def that_wants(body):
    """An untouched set 05 but for an answer 05.1 that has these tools."""
    return f"{source(solved=False)}\n\n# %%\n{TOOLS}{LOOK_AT_ALL}\n# %%\n{to_chunks(body)}"


def odd_files(folder):
    """{path: what is said of it}: everything that somebody may have in a folder of submissions."""
    (folder / "good.py").write_text('check("05.1", 0)')
    os.mkfifo(folder / "pipe.ipynb")
    (folder / "folder.ipynb").mkdir()
    (folder / "link.py").symlink_to(folder / "good.py")
    (folder / "broken.ipynb").symlink_to(folder / "nowhere")
    (folder / "device.py").symlink_to("/dev/zero")
    (folder / ".dot.ipynb").write_text("{}")
    with open(folder / "sparse.ipynb", "wb") as file:
        file.truncate(100_000_000_000)
    (folder / "large.py").write_text("a = 1\n" * 700_000)
    (folder / "deep.py").write_text('# %%\ncheck("05.1", 0)\n# %%\na = ' + "(" * 100_000)
    (folder / "binary.ipynb").write_bytes(bytes(range(256)) * 100)
    (folder / "no unicode.py").write_bytes(b"# \xff\xfe\n")
    os.mknod(folder / "s.py", stat.S_IFSOCK | 0o600)
    return {
        "pipe": "this is a pipe, not a file",
        "folder": "this is a folder",
        "s": "this is a socket",
        "link": "this is a link",
        "broken": "this is a link",
        "device": "this is a link",
        ".dot": "begins with a dot",
        "sparse": "has 100000 MB",
        "large": "kB of code",
        "deep": "is left out: too many nested parentheses",
        "binary": "it is no notebook",
        "no unicode": "it is no text in UTF-8",
    }


# of an answer that does harm; with the odd files and seven honest submissions they are a class of thirty
KINDS = (
    "endless loop",
    "os._exit",
    "segmentation fault",
    "all memory",
    "a fork",
    "the checker",
    "the oracle",
    "a forged message",
    "a flood",
    "an end of its parent, below Python",
    "many processes",
    "others that compute",
    "an error that forges a page",
)


def make_class(folder, harmful=KINDS, honest=7):
    """Write a class into a folder; {name: points, or None for what is not read}.

    The honest ones have a solution, half of one, or nothing; one has a name that is too long, one a broken name.
    """
    half = source().partition("# ## 05.3")[0]
    kinds = [("right", source(), FULL), ("half", half, 25), ("untouched", source(solved=False), 0)]
    expected = {}
    for number in range(honest):
        name, text, points = kinds[number % len(kinds)]
        (folder / f"{name} {number}.py").write_text(text, encoding="utf-8")
        expected[f"{name} {number}"] = points
    for name in harmful:
        (folder / f"{name}.py").write_text(with_body((FAULTS | HOSTILE)[name][0]), encoding="utf-8")
        expected[name] = FULL - 10
    odd = odd_files(folder)
    (folder / "good.py").unlink()
    return expected | {name: 0 if name == "deep" else None for name in odd}
