"""Types and devices of a CUDA card, without one: fake tensors, which have shapes and no numbers."""

import importlib.util
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def run(library, edit=lambda text: text, tmp_path=None):
    path = HERE / "on_fake_cuda.py"
    if tmp_path:
        path = tmp_path / "edited.py"
        path.write_text(
            edit((HERE / "on_fake_cuda.py").read_text(encoding="utf-8")), encoding="utf-8"
        )
    command = [sys.executable, "-W", "ignore", str(path), str(library)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def test_every_unit_and_model_runs_on_fake_cuda_tensors(card_library):
    """In float32, float16 and bfloat16, with and without mask and documents, forward and backward; and decoding."""
    done = run(card_library)
    units = 9 if importlib.util.find_spec("triton") else 8
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split() == [str(units * 12), "units", "and", "18", "models"]


def test_a_tensor_on_the_wrong_device_is_noticed(card_library, tmp_path):
    """A table that a unit forgets on the CPU."""

    def edit(text):
        return text.replace(
            "with pretending():\n",
            "layers.ToeplitzBias.forward = lambda self, n: torch.zeros(n, n)\nwith pretending():\n",
        )

    done = run(card_library, edit, tmp_path)
    assert done.returncode == 1 and "device" in done.stderr
