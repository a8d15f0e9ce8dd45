"""What raises on a CUDA card alone, found on one that computes with the processor: tests/pretended_card."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.nightly


def run(environment, *arguments):
    return subprocess.run(
        [sys.executable, *arguments],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=3000,
    )


WRONG = {
    "a generator of the CPU": "torch.randn(3, generator=torch.Generator(), device='cuda')",
    "a generator of the card": "torch.randn(3, generator=torch.Generator('cuda'))",
    "a tensor of the CPU": "torch.ones(3, device='cuda') + torch.ones(3)",
    "a comparison": "torch.equal(torch.ones(3, device='cuda'), torch.ones(3))",
    "an array": "torch.ones(3, device='cuda').numpy()",
    "a copy while a graph is recorded": "recorded(lambda: torch.ones(3).to('cuda'))",
    "a number asked for while a graph is recorded": "recorded(lambda: float(torch.ones(1, device='cuda')))",
}


def test_the_pretended_card_refuses_what_a_card_does(with_card):
    code = f"""
import torch
def recorded(call):
    with torch.cuda.graph(torch.cuda.CUDAGraph()):
        call()
for name, wrong in {WRONG}.items():
    try:
        eval(wrong)
    except (RuntimeError, TypeError):
        print(name)
a, b = torch.randn(2, 5, 5).to('cuda')
print(torch.allclose((a @ b).cpu(), a.cpu() @ b.cpu()))
"""
    done = run(with_card, "-c", code)
    assert done.stdout.splitlines() == [*WRONG, "True"], done.stderr[-2000:]


def test_the_gpu_tests_pass_on_the_pretended_card(with_card):
    """In float32 and float16, whose kernels Triton interprets."""
    done = run(
        with_card,
        "-m",
        "pytest",
        "-o",
        "addopts=",
        "-p",
        "no:cacheprovider",
        "-q",
        "-m",
        "gpu",
        "tests/library",
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout
