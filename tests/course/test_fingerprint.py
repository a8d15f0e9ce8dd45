"""What counts as a changed checker: what the checker reads. Honest answers may do the oddest things on their way."""

import numpy as np
import pytest
from submissions import forks, judged

from flash_course.checks import verdict
from flash_course.checks.exercise import load_exercise
from flash_course.grading.child import Limits, in_child
from flash_course.grading.fingerprint import Fingerprint

pytestmark = forks
RIGHT = """
import numpy as np
import torch
{before}

def to_chunks(x_TD, C):
    {inside}
    missing = -len(x_TD) % C
    return np.concatenate([x_TD, np.zeros((missing, x_TD.shape[1]))]).reshape(-1, C, x_TD.shape[1])
"""
INSIDE = {
    "complex numbers": "x_TD = (x_TD * (1 + 0j)).real",
    "a file left open": "kept = open('odd.txt', 'w'); kept.write('x')",
    "a socket": "import socket; lost = socket.socket()",
    "a warning": "import warnings; warnings.warn('odd')",
    "all warnings shown": "import warnings; warnings.simplefilter('always'); np.log(np.zeros(1))",
    "warnings that are errors": "import warnings; warnings.simplefilter('error')",
    "a thread that stays": "import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()",
    "a pool of threads": "from concurrent.futures import ThreadPoolExecutor as P; assert [*P(2).map(abs, [-1])] == [1]",
    "a process": "import subprocess; subprocess.run(['true'])",
    "a default format of double numbers": "torch.set_default_dtype(torch.float64)",
    "the same again, in torch": "torch.use_deterministic_algorithms(True)",
    "errors of NumPy that raise": "np.seterr(all='raise')",
    "a plot": "import matplotlib; matplotlib.use('Agg'); import matplotlib.pyplot as plt; plt.plot([1]); plt.close()",
    "another print": "import builtins; builtins.print = lambda *a, **k: None",
    "dice": "import random; random.seed(3); np.random.seed(1); torch.manual_seed(2)",
    "something for the end": "import atexit; atexit.register(print)",
    "no collection of garbage": "import gc; gc.collect(); gc.disable()",
    "a signal": "import signal; signal.signal(signal.SIGINT, signal.SIG_DFL)",
    "a patch that ends": "from unittest import mock; patch = mock.patch('os.getcwd'); patch.start(); patch.stop()",
    "imports of much": "import sqlite3, unittest.mock, json, http.client",
    "a name added to NumPy": "np.mine = 3",
    "old names of NumPy": "np.bool, np.int, np.float, np.object = bool, int, float, object",
    "no warnings": "import warnings; warnings.warn = lambda *a, **k: None",
    "an array that is another class": "x_TD = x_TD.view(type('Mine', (np.ndarray,), {}))",
}
BEFORE = {
    "a default format, before": "torch.set_default_dtype(torch.float64)",
    "a print of its own": "def print(*a): pass",
    "a class of data": "import dataclasses\n@dataclasses.dataclass\nclass Pair:\n    a: 'int' = 1\nPAIR = Pair()",
    "a generator": "rows = (row for row in [1, 2])\nnext(rows)",
}
ODD = {name: RIGHT.format(before="", inside=code) for name, code in INSIDE.items()}
ODD |= {name: RIGHT.format(before=code, inside="pass") for name, code in BEFORE.items()}


@pytest.mark.parametrize("name", ODD)
def test_an_honest_answer_that_does_something_odd_is_right(name, tmp_path):
    """In grade; check asks the same judge, and looks for no change."""
    assert judged(tmp_path, ODD[name])["status"] == "right"


CHANGED = {
    "a function of the checks": "from flash_course.checks import compare; compare.difference = lambda *a: None",
    "its code": "from flash_course.checks import compare; compare.difference.__code__ = (lambda *a: None).__code__",
    "its defaults": "from flash_course.checks import verdict; verdict.judge.__kwdefaults__ = {'seed': 1}",
    "a method": "from flash_course.checks import exercise; exercise.Exercise.numbers = lambda *a: None",
    "a name that hides Python's": "from flash_course.checks import verdict; verdict.all = lambda *a: True",
    "Python's own": "import builtins; builtins.all = lambda *a: True",
    "NumPy": "np.abs = lambda *a: np.zeros(1)",
    "NumPy, deeper": "np.random.default_rng = lambda *a: None",
    "torch": "torch.einsum = lambda *a: None",
    "a tensor's method": "torch.Tensor.detach = lambda self: self",
    "the tolerance": "from flash_course.checks.exercise import load_exercise\n"
    "    object.__setattr__(load_exercise('05.1'), 'tolerance', 1e9)",
    "the points": "from flash_course.checks.exercise import load_exercise\n"
    "    load_exercise('05.1').parts['values'] = 100",
    "the right answer": "from flash_course.checks.sets import set_05; set_05.to_chunks = lambda *a: None",
    "a module": "import sys; sys.modules['flash_course.checks.compare'] = None",
}


@pytest.mark.parametrize("name", CHANGED)
def test_a_changed_checker_is_seen(name):
    def seen():
        names = {"np": np}
        before = Fingerprint(load_exercise("05.1"))
        exec(f"import torch\ndef change():\n    {CHANGED[name]}\n", names)
        names["change"]()
        return before.changed()

    assert in_child(seen, Limits(seconds=20)).message


def test_nothing_is_seen_where_nothing_changed():
    before = Fingerprint(load_exercise("05.1"))
    verdict.judge(load_exercise("05.1"), lambda x_TD, C: x_TD)
    assert before.changed() is None
