"""Types and devices of a CUDA card, without one: fake tensors, which have shapes and no numbers."""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

HERE, TORCH = Path(__file__).parent, Path(torch.__file__).parent


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """A CUDA device that computes nothing, compiled; skipped where no compiler is, or where torch has a real one."""
    compiler = shutil.which("g++")
    if compiler is None or sys.platform != "linux":
        pytest.skip("no g++ here: the guard that fake CUDA tensors need cannot be compiled")
    if torch.version.cuda:
        pytest.skip("torch was built with CUDA: it has a guard of its own")
    out = tmp_path_factory.mktemp("guard") / "guard.so"
    flags = ["-std=c++20", "-shared", "-fPIC", "-O0", f"-I{TORCH / 'include'}", f"-L{TORCH / 'lib'}"]
    call = [compiler, *flags, str(HERE / "fake_cuda.cpp"), "-o", str(out), "-lc10", "-ltorch_cpu"]
    done = subprocess.run(call, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return out


def run(library, edit=lambda text: text, tmp_path=None):
    path = HERE / "on_fake_cuda.py"
    if tmp_path:
        path = tmp_path / "edited.py"
        path.write_text(edit((HERE / "on_fake_cuda.py").read_text(encoding="utf-8")), encoding="utf-8")
    command = [sys.executable, "-W", "ignore", str(path), str(library)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def test_every_unit_and_model_runs_on_fake_cuda_tensors(library):
    """In float32, float16 and bfloat16, with and without mask and documents, forward and backward; and decoding."""
    done = run(library)
    units = 9 if importlib.util.find_spec("triton") else 8
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split() == [str(units * 12), "units", "and", "18", "models"]


def test_a_tensor_on_the_wrong_device_is_noticed(library, tmp_path):
    """A table that a unit forgets on the CPU."""

    def edit(text):
        return text.replace("with pretending():\n", "layers.ToeplitzBias.forward = lambda self, n: torch.zeros(n, n)\n"
                            "with pretending():\n")  # fmt: skip

    done = run(library, edit, tmp_path)
    assert done.returncode == 1 and "device" in done.stderr
