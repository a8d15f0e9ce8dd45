"""Texts that tests read, and the run of training that nothing stops."""

import numpy as np
import pytest
import torch
from small_run import run

from flash_support.corpora import load_file
from flash_tutorial.data import load_corpus


@pytest.fixture
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def austen():
    return load_corpus("austen")


@pytest.fixture(scope="session")
def text(tmp_path_factory):
    """Three documents, the middle ones shorter than a window."""
    rng = np.random.default_rng(0)
    words = ["Anne", "had", "been", "forced", "into", "prudence", "in", "her", "youth"]
    path = tmp_path_factory.mktemp("corpus") / "text.txt"
    path.write_text("\0".join(" ".join(rng.choice(words, n)) for n in (300, 2, 2, 60, 60)), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def corpus(text):
    return load_file(text)


@pytest.fixture(scope="session")
def whole(corpus):
    """The run that nothing stops."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    result = run(corpus)
    torch.set_num_threads(threads)
    return result
