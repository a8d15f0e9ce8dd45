"""How the suite is spread over workers, and where what it stores as a learner's progress lies."""

import os
import tempfile

import pytest


@pytest.hookimpl(optionalhook=True)  # a machine with a card may have no xdist
def pytest_xdist_auto_num_workers(config):
    """``-n auto``, the default: one worker a core; none for one file or test, or where prints are to be seen."""
    named = [
        part
        for part in config.invocation_params.args
        if part.partition("::")[0].endswith((".py", ".ipynb"))
    ]
    if config.option.capture == "no" or len(named) == 1 or any("::" in part for part in named):
        return 0
    return None  # as xdist counts


def pytest_configure(config):
    folder = tempfile.mkdtemp(prefix="flash-tutorial-progress-")  # apart from the real learner's
    os.environ["FLASH_TUTORIAL_PROGRESS"] = os.path.join(folder, "progress.json")
    if config.getoption(
        "numprocesses", None
    ):  # workers, and the kernels that they start, share the cores
        os.environ.setdefault("OMP_NUM_THREADS", "1")
