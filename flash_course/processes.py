"""The processes of one command: how several are started, which of them talks to the user, and what ends them."""

import logging
import os
import signal
import sys
import threading
import time

PROGRAM = "flash-tutorial"


def run_processes(n, argv):
    """Run the command in ``n`` processes, as torchrun does, but without its report of some forty lines where one of
    them ends with an error: that is said in one line already."""
    if n < 1:
        raise ValueError(f"--processes {n}: expected at least 1")
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.disable(logging.CRITICAL)  # of this process, which only waits
    for name, value in {"OMP_NUM_THREADS": "1", "TORCH_CPP_LOG_LEVEL": "ERROR"}.items():
        os.environ.setdefault(name, value)
    here = dict(rdzv_backend="c10d", rdzv_endpoint="localhost:0", run_id=str(os.getpid()))
    try:
        elastic_launch(LaunchConfig(1, 1, n, max_restarts=0, **here), sys.executable)(
            "-m", "flash_course.cli", *argv
        )
    except ChildFailedError as error:
        code = error.get_first_failure()[1].exitcode
        return code if code >= 0 else 128 - code
    except SignalException as error:
        return 128 + error.sigval
    return 0


def load_torch(command):
    """Load torch, where the command needs it. Ctrl-C meanwhile ends the process: nothing is at stake yet, and an
    exception in the middle of an import comes out as anything."""
    if (
        command in ("train", "evaluate", "generate")
        and threading.current_thread() is threading.main_thread()
    ):

        def leave(number, frame):
            if speaks():
                os.write(2, f"\n{PROGRAM}: stopped before anything was done\n".encode())
            os._exit(128 + number)

        numbers = [
            number
            for number in (signal.SIGINT, signal.SIGTERM)
            if signal.getsignal(number) != signal.SIG_IGN
        ]
        before = {number: signal.signal(number, leave) for number in numbers}
        try:
            import torch  # noqa: F401
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


# ---------------------------------------------------------------- what is said


def speaks():
    """Whether this process is the one of torchrun's that talks to the user."""
    return int(os.environ.get("RANK", 0)) == 0


def one_line_warning(said):
    """What shows a warning: in a line, and each only once."""

    def show(message, *where, **more):
        if str(message) not in said and speaks():
            said.add(str(message))
            print(f"{PROGRAM}: {' '.join(str(message).split())}", file=sys.stderr)

    return show


def fail(message):
    """One line on standard error, and the exit code."""
    wait_to_be_stopped()
    print(f"{PROGRAM}: error: {message}", file=sys.stderr)
    return 2


def wait_to_be_stopped():
    """Under torchrun, leave the word to the process that speaks: most errors are its own too, and when it has said so
    and ended, torchrun stops the others. One that ended before it would have it stopped unheard."""
    if not speaks():
        time.sleep(30)
