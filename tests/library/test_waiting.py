"""Threads spin for a bounded time where nobody has said otherwise and torch is still to come."""

import os
import subprocess
import sys

import pytest

SAYS = "import flash_tutorial, os; print(os.environ.get('GOMP_SPINCOUNT'))"
VARIABLES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")


@pytest.mark.parametrize(
    "before, set_by_user, expected",
    [
        ("", {}, "10000"),
        ("", {"GOMP_SPINCOUNT": "7"}, "7"),
        ("", {"OMP_WAIT_POLICY": "active"}, "None"),
        ("import torch; ", {}, "None"),
    ],
)
def test_the_spin_is_bounded_before_torch_and_never_over_the_users(before, set_by_user, expected):
    environment = {
        name: value for name, value in os.environ.items() if name not in VARIABLES
    } | set_by_user
    line = [sys.executable, "-c", before + SAYS]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == expected
