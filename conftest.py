"""How the suite is spread over workers, and where what it stores as a learner's progress lies."""

import os
import tempfile

import pytest


@pytest.hookimpl(optionalhook=True)  # a machine with a card may have no xdist
def pytest_xdist_auto_num_workers(config):
    """``-n auto``, the default: one worker a core; none for one file or test, or where prints are to be seen."""
    named = [part for part in config.invocation_params.args if part.partition("::")[0].endswith((".py", ".ipynb"))]
    if config.option.capture == "no" or len(named) == 1 or any("::" in part for part in named):
        return 0
    return None  # as xdist counts


def pytest_configure(config):
    folder = tempfile.mkdtemp(prefix="flash-tutorial-progress-")  # apart from the real learner's
    os.environ["FLASH_TUTORIAL_PROGRESS"] = os.path.join(folder, "progress.json")
    if config.getoption("numprocesses", None):  # workers, and the kernels that they start, share the cores
        os.environ.setdefault("OMP_NUM_THREADS", "1")


SMALLER = {  # {lecture: texts of its cells, what stands for each}: fewer rounds of what is timed, and never compared
    "08_scaling": {
        "lengths=(256, 512, 1024, 2048, 4096), rounds=3": "lengths=(1024, 2048), rounds=1",
        "time_in_turn(steps, 3, device": "time_in_turn(steps, 1, device",
    },
    "11_gpu_kernels": {"Preset(1, 1024, 256, 64, 128, 5)": "Preset(1, 1024, 256, 64, 128, 1)"},
}


def pytest_collection_modifyitems(config, items):
    for item in items:
        for old, new in SMALLER.get(item.path.stem, {}).items() if item.path.suffix == ".ipynb" else ():
            item.cell.source = item.cell.source.replace(old, new)
