"""Run a notebook's cells, and keep of their outputs what is the same each time."""

import os
import re
import sys
import tempfile
from pathlib import Path

from .sources import ROOT, code_cells

CELL_SECONDS = 600


class BuildError(Exception):
    """A notebook that could not be built."""


def execute(notebook, python=sys.executable, progress=None):
    """Run all cells, in place, with the interpreter that runs this script or another one, in an empty folder.

    ``progress``: the reader's progress file, with my_flash.py beside it; nobody's without one.
    """
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    class ThisInterpreter(AsyncKernelManager):
        # a kernelspec installed on the machine may start another Python
        argv = (str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}")
        kernel_spec = KernelSpec(argv=list(argv), display_name="Python 3", language="python")

    # A folder of its own, and neither the author's start-up files nor a plot back end set for scripts.
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile("w+") as log:
        environment = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}
        environment["IPYTHONDIR"] = os.path.join(folder, "ipython")
        nobodys = os.path.join(folder, "progress.json")
        environment["FLASH_TUTORIAL_PROGRESS"] = str(progress or nobodys)
        cells = os.path.join(folder, "cells")
        os.mkdir(cells)
        running = []
        client = NotebookClient(
            notebook,
            kernel_manager_class=ThisInterpreter,
            record_timing=False,
            timeout=CELL_SECONDS,
            on_cell_execute=lambda cell, cell_index: running.append(cell.source),
        )
        try:
            client.execute(cwd=cells, env=environment, stderr=log)
        except (CellExecutionError, CellTimeoutError) as error:
            raise BuildError(without_colours(str(error)).strip()) from error
        except DeadKernelError as error:
            log.seek(0)
            said = "".join(line for line in log if "Kernel is running over TCP" not in line)
            raise BuildError(
                f"the kernel died in this cell:\n{running[-1]}\n{said}".strip()
            ) from error
        for cell in code_cells(notebook):
            cell.outputs = settled(cell.outputs, folder)


def without_colours(text):
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def settled(outputs, folder):
    """Outputs without what changes from run to run: how printed text was cut, and where files lie."""
    result = []
    for output in outputs:
        if output.output_type == "error":
            output.traceback = [shortened(line, folder) for line in output.traceback]
        if output.output_type != "stream":
            result.append(output)
            continue
        if output.name == "stderr":
            output.text = shortened(output.text, folder)
        same = next((o for o in trailing_streams(result) if o.name == output.name), None)
        if same is not None:
            same.text += output.text
        elif output.name == "stdout" and (streams := trailing_streams(result)):
            # which of the two came first is chance
            result.insert(len(result) - len(streams), output)
        else:
            result.append(output)
    return result


def trailing_streams(outputs):
    """The streams since the last picture or value: at most one of each name."""
    last = next(
        (i for i in reversed(range(len(outputs))) if outputs[i].output_type != "stream"), -1
    )
    return outputs[last + 1 :]


def shortened(text, folder):
    """Paths in warnings and tracebacks, without the part that only this machine has."""
    text = re.sub(r"\S*ipykernel_\d+[/\\]\d+\.py", "cell", text)
    for place in sorted(
        {folder, str(ROOT), sys.prefix, sys.base_prefix, str(Path.home())}, key=len, reverse=True
    ):
        text = text.replace(place + os.sep, "")
    return text
