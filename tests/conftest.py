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
    path.write_text("\0".join(" ".join(rng.choice(words, n)) for n in (300, 2, 2, 60, 60)), encoding="utf-8")
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
