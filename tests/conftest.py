"""Texts that tests read, and the run of training that nothing stops.

Every process of pytest reads this file, so what a fixture needs is imported in it.
"""

from contextlib import contextmanager

import pytest


@contextmanager
def threads(n):
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(n)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def one_thread():
    with threads(1):
        yield


@pytest.fixture(scope="session")
def card_library(tmp_path_factory):
    """A CUDA card that computes with the processor, compiled; skipped where that cannot be, or where a real one is."""
    import shutil
    import subprocess
    import sys
    from pathlib import Path

    import torch

    compiler = shutil.which("g++")
    if compiler is None or sys.platform != "linux":
        pytest.skip("no g++ here: the pretended card cannot be compiled")
    if torch.version.cuda:
        pytest.skip("torch was built with CUDA: it has a card's parts of its own")
    out, of_torch = tmp_path_factory.mktemp("card") / "card.so", Path(torch.__file__).parent
    flags = [
        "-std=c++20",
        "-shared",
        "-fPIC",
        "-O0",
        f"-I{of_torch / 'include'}",
        f"-L{of_torch / 'lib'}",
    ]
    source = Path(__file__).parent / "pretended_card" / "card.cpp"
    call = [compiler, *flags, str(source), "-o", str(out), "-lc10", "-ltorch_cpu"]
    done = subprocess.run(call, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return out


@pytest.fixture(scope="session")
def with_card(card_library):
    """The environment of a process that has the pretended card."""
    import os
    from pathlib import Path

    here = Path(__file__).parent
    paths = [str(here / "pretended_card"), str(here.parent), os.environ.get("PYTHONPATH", "")]
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("TRITON")
    }
    return environment | {
        "PRETENDED_CARD": str(card_library),
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    }


@pytest.fixture(scope="session")
def austen():
    from flash_tutorial.corpora import load_corpus

    return load_corpus("austen")


@pytest.fixture(scope="session")
def text(tmp_path_factory):
    """Three documents, the middle ones shorter than a window."""
    import numpy as np

    rng = np.random.default_rng(0)
    words = ["Anne", "had", "been", "forced", "into", "prudence", "in", "her", "youth"]
    path = tmp_path_factory.mktemp("corpus") / "text.txt"
    path.write_text(
        "\0".join(" ".join(rng.choice(words, n)) for n in (300, 2, 2, 60, 60)), encoding="utf-8"
    )
    return path


@pytest.fixture(scope="session")
def corpus(text):
    from flash_tutorial.corpora import load_file

    return load_file(text)


@pytest.fixture(scope="session")
def whole(corpus):
    """The run that nothing stops."""
    from small_run import run

    with threads(1):
        return run(corpus)


@pytest.fixture(scope="session")
def whole_folder(corpus, tmp_path_factory):
    """The folder of that run, to be copied."""
    from small_run import run

    out = tmp_path_factory.mktemp("whole") / "run"
    with threads(1):
        run(corpus, out)
    return out


@pytest.fixture
def finished(whole_folder, tmp_path):
    """The folder of a run that has ended, to do with as one likes."""
    import shutil

    return shutil.copytree(whole_folder, tmp_path / "finished")


@pytest.fixture
def unfinished(finished):
    """All updates with their checkpoints, as if the process had died before it wrote the model."""
    for name in ("config.json", "model.safetensors", "result.json"):
        (finished / name).unlink()
    return finished
