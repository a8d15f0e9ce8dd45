"""What may be handed in: answers that do harm, files that are none, and a class with one of each kind."""

import os
import stat

from submissions import FULL, source, with_body

FAULTS = {
    "endless loop": ("while True:\n    pass", "stopped after 3 seconds"),
    "endless loop under except": (
        "while True:\n    try:\n        pass\n    except Exception:\n        pass", "stopped after 3 seconds",
    ),
    "endless in C": ("import re\nre.match('(a+)+$', 'a' * 60 + 'b')", "stopped after 3 seconds"),
    "os._exit": ("import os\nos._exit(0)", "ended before the check was done"),
    "sys.exit": ("import sys\nsys.exit(0)", "SystemExit"),
    "segmentation fault": ("import ctypes\nctypes.string_at(0)", "crashed (SIGSEGV)"),
    "all memory": ("return np.ones((400_000_000_000,))", "MemoryError"),
    "memory bit by bit": ("rows = []\nwhile True:\n    rows.append(bytearray(10_000_000))", "MemoryError"),
    "100 MB of output": (
        "for _ in range(100):\n    print('x' * 1_000_000)\nreturn np.zeros((3, C, x_TD.shape[1]))",
        "Every value is zero",
    ),
    "a fork": ("import os, time\nif os.fork() == 0:\n    time.sleep(60)\ntime.sleep(60)", "on the clock"),
    "files": (
        "open('mine.txt', 'w').write('x')\nreturn np.zeros((3, C, x_TD.shape[1]))", "Every value is zero",
    ),
    "a huge file": ("open('mine.txt', 'w').write('x' * 60_000_000)\nreturn x_TD", "OSError"),
    "the checker": (
        "from flash_course.checks import verdict\nverdict.difference = lambda *a: None\nreturn x_TD",
        "changes the checker",
    ),
    "sys.modules": (
        "import sys, types\nsys.modules['flash_course.checks.compare'] = types.ModuleType('compare')\nreturn x_TD",
        "changes the checker",
    ),
    "the clock": (
        "import time\ntime.time = time.monotonic = time.perf_counter = lambda: 0.0\nwhile True:\n    pass",
        "stopped after 3 seconds",
    ),
    "the oracle": (
        "from flash_course.checks.sets import set_05\nreturn set_05.to_chunks(x_TD, C)",
        "calls `flash_course.checks.sets.set_05.to_chunks`",
    ),
    "the answer's file": (
        "from flash_course.checks.sets import set_05\nn = {}\n"
        "exec(open(set_05.__file__).read().split('# ------')[0], n)\nreturn n",
        "may not be read by an answer",
    ),
    "input": ("return input('chunks? ')", "asks for input"),
    "a call of the package": (
        "from flash_tutorial import reference\nreturn reference.to_chunks(x_TD, C)",
        "calls `flash_tutorial.reference.to_chunks`",
    ),
}  # fmt: skip


HOSTILE = {
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
    "a closed pipe": ("import os, time\nos.closerange(3, 60)\ntime.sleep(60)", "ended before the check was done"),
    "an end of its parent": (
        "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)\nreturn x_TD", "may not end other processes",
    ),
    "an end of its parent, below Python": (
        "import ctypes, os, time\nctypes.CDLL(None).kill(os.getppid(), 9)\ntime.sleep(60)",
        "ended the process that judges",
    ),
    "an end of its parent, by a program": (
        "import os, subprocess, time\nsubprocess.run(['kill', '-9', str(os.getppid())])\ntime.sleep(60)",
        "ended the process that judges",
    ),
    "many processes": (
        "import subprocess, time\nfor k in range(200):\n    subprocess.Popen(['sleep', '60.125'])\ntime.sleep(60)",
        "more than 50 processes",
    ),
    "a stop of its parent": (
        "import ctypes, os, time\nctypes.CDLL(None).kill(os.getppid(), 19)\ntime.sleep(60)  # the clock",
        "did not answer",
    ),
    "processes that double": (
        "import os, time\nfor k in range(8):\n    os.fork()\ntime.sleep(60)", "more than 50 processes",
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
    "an error that forges a page": ('raise ValueError("\\r# Points: 100\\x1b[2J \\ud800 <b>")', "ValueError"),
    "a link to the pool": (
        "import os\nfrom flash_course.checks.sets import set_05\nos.symlink(set_05.__file__, 'mine')",
        "may not be read by an answer",
    ),
    "a link to a folder above the pool": (
        "import os\nimport flash_course\nos.symlink(os.path.dirname(flash_course.__file__), 'all')\n"
        "open('all/checks/sets/set_05.py').read()",
        "may not be read by an answer",
    ),
    "the pool through linecache": (
        "import linecache, os\nfrom flash_course.checks import exercise\nlinecache.clearcache()\n"
        "path = os.path.join(os.path.dirname(exercise.__file__), 'sets', 'set_06.py')\n"
        "raise LookupError('it can be read' if linecache.getlines(path) else 'nothing comes of it')",
        "nothing comes of it",
    ),
}  # fmt: skip


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
        "pipe": "this is a pipe, not a file", "folder": "this is a folder", "s": "this is a socket",
        "link": "this is a link", "broken": "this is a link", "device": "this is a link", ".dot": "begins with a dot",
        "sparse": "has 100000 MB", "large": "kB of code", "deep": "is left out: too many nested parentheses",
        "binary": "it is no notebook", "no unicode": "it is no text in UTF-8",
    }  # fmt: skip


# of an answer that does harm; with the odd files and seven honest submissions they are a class of thirty
KINDS = (
    "endless loop", "os._exit", "segmentation fault", "all memory", "a fork", "the checker", "a forged message",
    "a flood", "an end of its parent, below Python", "many processes", "others that compute",
    "an error that forges a page",
)  # fmt: skip


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
