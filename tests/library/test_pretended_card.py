"""What raises on a CUDA card alone, found on one that computes with the processor: tests/pretended_card."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.nightly
def test_the_gpu_tests_pass_on_the_pretended_card(with_card):
    """In float32 and float16, whose kernels Triton interprets."""
    options = ["-o", "addopts=", "-p", "no:cacheprovider", "-q", "-m", "gpu", "tests/library"]
    options.append(
        "--ignore=tests/library/test_sizes_in_use.py"
    )  # ten minutes, which are the same without a card
    command = [sys.executable, "-m", "pytest", *options]
    done = subprocess.run(
        command, env=with_card, cwd=ROOT, capture_output=True, text=True, timeout=3000
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout
