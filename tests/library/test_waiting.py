"""Threads wait asleep where nobody has said otherwise and torch is still to come."""

import os
import subprocess
import sys

import pytest

SAYS = "import flash_tutorial, os; print(os.environ.get('OMP_WAIT_POLICY'))"


@pytest.mark.parametrize(
    "before, set_by_user, expected",
    [("", None, "passive"), ("", "active", "active"), ("import torch; ", None, "None")],
)
def test_the_policy_is_set_before_torch_and_never_over_the_users(before, set_by_user, expected):
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    if set_by_user:
        environment["OMP_WAIT_POLICY"] = set_by_user
    line = [sys.executable, "-c", before + SAYS]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == expected
