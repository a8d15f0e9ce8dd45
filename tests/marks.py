"""What several test files say about their tests."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def needs_solutions(test):
    """Skipped in a course's fork, which has no solutions; that it is skipped there is shown by a run inside a fork."""
    here = (ROOT / "solutions").is_dir()
    skip = pytest.mark.skipif(
        not here, reason="there is no solutions/ here: a course's fork has none"
    )
    return pytest.mark.fork(skip(test))
