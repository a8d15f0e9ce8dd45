"""What a model costs, measured: seconds and bytes, and on which machine."""

import contextlib
import datetime
import gc
import itertools
import json
import os
import platform
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import numpy
import torch

# ---------------------------------------------------------------- seconds


def synchronize(device):
    """Wait until ``device`` has done all that it was given; a GPU only queues work."""
    kind = torch.device(device).type
    if kind == "cuda":
        torch.cuda.synchronize(device)
    elif kind == "mps":
        torch.mps.synchronize()


def _raise(name, error):
    raise error


def rounds_in_turn(functions, rounds, *, warmup=1, prepare=None, device="cpu", leave_out=_raise):
    """Yields the seconds of all calls so far, after each round: a dict of a list for each name of ``functions``.

    The functions take turns within one process, so that whatever slows the machine for a while slows all of them, and
    every second round goes backwards, so that none always follows the same neighbour. ``prepare(name)``, which is not
    timed, is called before each call and its result handed to the function. A function that raises ends it all; with
    ``leave_out(name, error)``, which is told of it and may raise as well, the others go on without it.
    """
    if not isinstance(rounds, int) or rounds < 1:
        raise ValueError(f"rounds={rounds!r}: expected an integer of at least 1")
    seconds = {name: [] for name in functions}
    for turn in range(-warmup, rounds):
        names = list(seconds)
        if turn % 2:
            names.reverse()
        for name in names:
            try:
                given = () if prepare is None else (prepare(name),)
                taken = _seconds(functions[name], given, device)
            except Exception as error:
                leave_out(name, error)
                del seconds[name]
                continue
            if turn >= 0:
                seconds[name].append(taken)
        if turn >= 0:
            yield seconds


def _seconds(function, arguments, device):
    synchronize(device)
    start = time.perf_counter()
    function(*arguments)
    synchronize(device)
    return time.perf_counter() - start


def time_in_turn(functions, rounds, **how):
    """Seconds of each call: a dict of ``rounds`` floats for each name of ``functions``. Options: ``rounds_in_turn``."""
    *_, seconds = rounds_in_turn(functions, rounds, **how)
    return seconds


def summary(seconds):
    """Median and spread: ``{"median", "low", "high", "rounds"}``, low and high being the smallest and largest."""
    return {
        "median": statistics.median(seconds),
        "low": min(seconds),
        "high": max(seconds),
        "rounds": len(seconds),
    }


def time_to_reach(goal, seconds, scores):
    """When falling ``scores`` first are as good as ``goal``, on straight lines between them; None if they never are.

    Where the first of them is better already, that is the time of the first: what was before it is not known.
    """
    if scores[0] <= goal:
        return seconds[0]
    for (start, a), (end, b) in itertools.pairwise(zip(seconds, scores)):
        if b <= goal:
            return start + (end - start) * (a - goal) / (a - b)
    return None


# ---------------------------------------------------------------- bytes


def peak_bytes(function, device="cpu"):
    """The most bytes of tensors that ``function()`` held at once above what was there before; None on MPS.

    On CUDA torch counts them itself. On a CPU the profiler reports every block that torch takes and gives back: their
    running sum is exact and knows nothing of the process's other memory, unlike its resident size, which never falls.
    """
    gc.collect()  # so that no leftover of earlier work is given back meanwhile
    kind = torch.device(device).type
    if kind == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        function()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    if kind != "cpu":
        return None
    held = peak = 0
    for change in _cpu_allocations(function):
        held += change
        peak = max(peak, held)
    return peak


def _cpu_allocations(function):
    """Bytes taken (positive) and given back (negative) on the CPU while ``function()`` ran, in order."""
    # else the profiler may write lines of its own to the terminal
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profiler:
        function()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(path))
        events = json.loads(path.read_text(encoding="utf-8", errors="replace"))["traceEvents"]
    events = [e for e in events if e.get("name") == "[memory]" and e["args"]["Device Type"] == 0]
    return [e["args"]["Bytes"] for e in sorted(events, key=lambda e: e["ts"])]


# ---------------------------------------------------------------- the machine


def machine(device="cpu"):
    """What a result was measured on, for JSON: processor, cores, threads, system, versions, card, date. No names of
    hosts, users or folders."""
    from flash_tutorial import __version__

    device = torch.device(device)
    facts = {
        "cpu": _cpu_model(),
        "cores": _usable_cores(),
        "threads": torch.get_num_threads(),
        "os": f"{platform.system()} {platform.machine()}",
        "device": device.type,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "flash_tutorial": __version__,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }
    if device.type == "cuda":
        facts["card"] = torch.cuda.get_device_name(device)
        facts["card_bytes"] = torch.cuda.get_device_properties(device).total_memory
        facts["cuda"] = torch.version.cuda
    return facts


def _usable_cores():
    """Cores that this process may use, which can be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def _cpu_model():
    """The processor's name; each system keeps it somewhere else."""
    with contextlib.suppress(OSError, subprocess.SubprocessError, StopIteration):
        if platform.system() == "Linux":
            lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
            return next(
                line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")
            )
        if platform.system() == "Darwin":
            asked = subprocess.run(
                ["sysctl", "-n", "machdep.cpu.brand_string"],
                capture_output=True,
                text=True,
                check=True,
                timeout=5,
            )
            return asked.stdout.strip()
    return platform.processor() or platform.machine()
