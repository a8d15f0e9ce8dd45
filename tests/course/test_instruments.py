"""What an answer costs: steps that a loop takes in whatever form it is written, memory of NumPy and of torch."""

import functools
import itertools
import subprocess
import sys

import numpy as np
import pytest
import torch

from flash_course.checks.instruments import Held, loops, megabytes


def append_rows(x):
    rows = []
    for row in x:
        rows.append(row * 2)
    return rows


LOOPS = {
    "for": append_rows,
    "a list": lambda x: [row * 2 for row in x],
    "a generator": lambda x: sum(row * 2 for row in x),
    "map": lambda x: list(map(lambda row: row * 2, x)),
    "map of an operator": lambda x: (
        list(map(float, x[:, 0])) if isinstance(x, torch.Tensor) else sum(x)
    ),
    "sum": sum,
    "accumulate": lambda x: list(itertools.accumulate(x)),
    "reduce": lambda x: functools.reduce(np.add if isinstance(x, np.ndarray) else torch.add, x),
    "recursion": lambda x: x[:1] if len(x) < 2 else x[0] + LOOPS["recursion"](x[1:]),
}
PLAIN = {
    "product": lambda x: x @ x[:3].T,
    "running sum": lambda x: x.cumsum(0) / (1 + len(x)),
    "einsum": lambda x: (np if isinstance(x, np.ndarray) else torch).einsum("ij,kj->ik", x, x),
    "index": lambda x: x[list(range(len(x)))[::-1]],
    "a tail": lambda x: (x * 2 if len(x) % 5 else x + 1) + 1,
}


def texts(n):
    return np.ones((n, 3)), torch.ones(n, 3)


@pytest.mark.parametrize("kind", [0, 1], ids=["numpy", "torch"])
@pytest.mark.parametrize("name", [*LOOPS, *PLAIN])
def test_a_loop_is_a_loop_however_it_is_written(name, kind):
    function = (LOOPS | PLAIN)[name]
    assert loops(function, [texts(8)[kind]], [texts(60)[kind]]) == (name in LOOPS)


def test_instruments_do_not_wait_for_torchs_compiler():
    source = (
        "import sys, torch; from flash_course.checks.instruments import *; x = torch.ones(8, 3); "
        + (
            "loops(torch.sum, [x], [x]); megabytes(torch.sum, x)\nwith Operations(): x @ x.T\n"
            "assert 'torch._dynamo' not in sys.modules"
        )
    )
    assert subprocess.run([sys.executable, "-c", source], capture_output=True).returncode == 0


def test_a_list_of_all_entries_is_a_loop_and_one_of_all_rows_is_none():
    def table(x):
        rows = map(list, map(range, range(len(x)), range(len(x), 2 * len(x))))
        return x[torch.tensor(list(rows)) % len(x)]

    few, many = [torch.ones(8)], [torch.ones(400)]
    assert loops(table, few, many)
    assert not loops(lambda x: x[list(range(len(x)))], few, many)


def test_who_does_not_bear_to_be_watched_is_seen_by_lines():
    def picky(x):
        assert type(x) is np.ndarray
        return x * 2

    assert not loops(picky, [np.ones(8)], [np.ones(80)])
    assert loops(lambda x: [picky(row) for row in x], [np.ones((8, 2))], [np.ones((80, 2))])


@pytest.mark.parametrize("make", [np.ones, torch.ones])
def test_memory_of_numpy_and_of_torch_is_metered(make):
    """Two arrays of a million numbers for a moment."""

    def twice():
        one = make((1000, 1000))
        return np.asarray(one * 2)

    value, taken = megabytes(twice)
    assert value.nbytes * 2e-6 <= taken < value.nbytes * 2e-6 + 0.5


def test_what_is_given_up_and_what_is_looked_at_twice_is_not_counted_twice():
    x = torch.ones(100_000)
    with Held() as held:
        for _ in range(5):
            y = (x + 1).view(10, -1)[:5].T  # a view keeps the whole memory
        assert (held.now, held.most) == (400_000, 800_000)
        z = x.view(10, -1)
        del y
        assert held.now == 0 and z.shape == (10, 10_000)
