"""What a model costs: counted multiply-adds and numbers kept, measured seconds and bytes, and on which machine.

Letters: B batch, T length, D model width, E expanded width, S shared width, C chunk length, G chunks, H heads,
F hidden width of a feed-forward layer, N vocabulary.
"""

import contextlib
import datetime
import gc
import json
import os
import platform
import statistics
import subprocess
import tempfile
import time
from functools import singledispatch
from pathlib import Path

import numpy
import torch

from .model import LanguageModel, ModelConfig, Stack, make_unit
from .units import FLASH, GAU, MCTransformerBlock, TransformerBlock

# ---------------------------------------------------------------- pairs of tokens


def causal_pairs(T):
    """Pairs (query, key) with the key not later than the query: T (T + 1) / 2."""
    return T * (T + 1) // 2


def attention_pairs(T, causal):
    """Pairs of softmax or relu^2 attention over the whole sequence, whatever the code multiplies besides."""
    return causal_pairs(T) if causal else T * T


def chunk_pairs(T, C, causal):
    """Pairs inside chunks: ``attention_pairs(C)`` for each full chunk, and those of the tail of T mod C tokens."""
    return T // C * attention_pairs(C, causal) + attention_pairs(T % C, causal)


# ---------------------------------------------------------------- multiply-adds of a forward pass, one sequence


def gated_dense(T, D, E, S):
    """The two dense layers of GAU and FLASH: in, D -> 2E + S, and out, E -> D."""
    return T * D * (2 * E + S) + T * E * D


def gau_multiply_adds(T, D, E, S, causal):
    """GAU (Code 6): dense layers, q k^T and A v."""
    return gated_dense(T, D, E, S) + attention_pairs(T, causal) * (S + E)


def flash_multiply_adds(T, D, E, S, C, causal, local=True, global_=True):
    """FLASH (Code 8): dense layers, q k^T and A v inside chunks, K^T V and its reading (T S E each, counted whole)."""
    near = chunk_pairs(T, C, causal) * (S + E) if local else 0
    far = 2 * T * S * E if global_ else 0
    return gated_dense(T, D, E, S) + near + far


def transformer_dense(T, D, F, glu):
    """The dense layers of a Transformer block: q, k, v, out, and a feed-forward layer with or without a gate."""
    return T * 4 * D * D + T * (3 if glu else 2) * D * F


def transformer_multiply_adds(T, D, F, causal, glu):
    """A Transformer block: dense layers, q k^T and A v over all heads, D each for a pair."""
    return transformer_dense(T, D, F, glu) + attention_pairs(T, causal) * 2 * D


def mc_transformer_multiply_adds(T, D, F, H, C, causal):
    """MC-Transformer++: softmax attention inside chunks, and H linear heads of a (D / H) x (D / H) state."""
    return transformer_dense(T, D, F, glu=True) + chunk_pairs(T, C, causal) * 2 * D + 2 * T * D * (D // H)


@singledispatch
def count_multiply_adds(model, T):
    """Multiply-adds of the forward pass over one sequence of T tokens; FLOPs are twice that.

    ``model`` is a ModelConfig, LanguageModel, Stack or unit. Matrix products are counted, and of a causal map only the
    pairs that may be read, whatever the code multiplies and then masks: T (T + 1) / 2, or C (C + 1) / 2 a chunk. Left
    out: norms, activations, positions, the position bias (one for the whole batch) and the embedding, a look-up.

    A unit of your own says it itself, by a method ``multiply_adds(T)``; without one it is a ValueError.
    """
    if not hasattr(model, "multiply_adds"):
        raise ValueError(
            f"the multiply-adds of {type(model).__name__} are not known: give it a method multiply_adds(T), or hand in "
            "a ModelConfig, a LanguageModel, a Stack or a unit of this package"
        )
    return model.multiply_adds(_length(T))


@count_multiply_adds.register
def _(model: GAU, T):
    return gau_multiply_adds(_length(T), model.dim, model.expanded, model.qk_dim, model.causal)


@count_multiply_adds.register
def _(model: FLASH, T):
    u = model
    return flash_multiply_adds(_length(T), u.dim, u.expanded, u.qk_dim, u.chunk_size, u.causal, u.local, u.global_)


@count_multiply_adds.register
def _(model: TransformerBlock, T):
    return transformer_multiply_adds(_length(T), model.dim, model.ff_dim, model.causal, model.glu)


@count_multiply_adds.register
def _(model: MCTransformerBlock, T):
    u = model
    return mc_transformer_multiply_adds(_length(T), u.dim, u.ff_dim, u.heads, u.chunk_size, u.causal)


@count_multiply_adds.register
def _(model: Stack, T):
    return sum(count_multiply_adds(unit, T) for unit in model.units)


@count_multiply_adds.register
def _(model: LanguageModel, T):
    return count_multiply_adds(model.stack, T) + _length(T) * model.config.dim * model.config.vocab_size


@count_multiply_adds.register
def _(model: ModelConfig, T):
    head = _length(T) * model.dim * model.vocab_size
    return model.depth * count_multiply_adds(unit_without_weights(model), T) + head


def unit_without_weights(config):
    """One unit of a model, with shapes and no memory."""
    with torch.device("meta"):
        return make_unit(config)


def _length(T):
    if not isinstance(T, int) or isinstance(T, bool) or T < 1:
        raise ValueError(f"T={T!r}: expected a number of tokens, an integer of at least 1")
    return T


# ---------------------------------------------------------------- numbers that decoding keeps


@singledispatch
def count_state_numbers(model, T):
    """Numbers that a row's state holds after T tokens; times the bytes of one number, its size in memory.

    FLASH: the sum of K^T V (S E) and one chunk of two keys and a value (C (2S + E)), whatever T. GAU: T keys and
    values, T (S + E). A Transformer block: 2 T D. ``model`` as in ``count_multiply_adds``; a unit of your own answers
    by a method ``state_numbers(T)``, and is otherwise taken to keep all its inputs (T D), as decoding then does.
    """
    return model.state_numbers(_length(T)) if hasattr(model, "state_numbers") else _length(T) * model.dim


@count_state_numbers.register
def _(model: GAU, T):
    return _length(T) * (model.qk_dim + model.expanded)


@count_state_numbers.register
def _(model: FLASH, T):
    return model.qk_dim * model.expanded + model.chunk_size * (2 * model.qk_dim + model.expanded)


@count_state_numbers.register
def _(model: TransformerBlock, T):
    return 2 * _length(T) * model.dim


@count_state_numbers.register
def _(model: MCTransformerBlock, T):
    return model.dim * (model.dim // model.heads) + 3 * model.chunk_size * model.dim


@count_state_numbers.register
def _(model: Stack, T):
    return sum(count_state_numbers(unit, T) for unit in model.units)


@count_state_numbers.register
def _(model: LanguageModel, T):
    return count_state_numbers(model.stack, T)


@count_state_numbers.register
def _(model: ModelConfig, T):
    return model.depth * count_state_numbers(unit_without_weights(model), T)


# ---------------------------------------------------------------- seconds


def synchronize(device):
    """Wait until ``device`` has done all that it was given; a GPU only queues work."""
    kind = torch.device(device).type
    if kind == "cuda":
        torch.cuda.synchronize(device)
    elif kind == "mps":
        torch.mps.synchronize()


def time_in_turn(functions, rounds, *, warmup=1, prepare=None, device="cpu"):
    """Seconds of each call: a dict of ``rounds`` floats for each name of ``functions``.

    The functions take turns within one process, so that whatever slows the machine for a while slows all of them, and
    every second round goes backwards, so that none always follows the same neighbour. ``prepare(name)``, which is not
    timed, is called before each call and its result handed to the function.
    """
    if not isinstance(rounds, int) or rounds < 1:
        raise ValueError(f"rounds={rounds!r}: expected an integer of at least 1")
    seconds = {name: [] for name in functions}
    for turn in range(-warmup, rounds):
        for name in list(functions)[:: -1 if turn % 2 else 1]:
            arguments = () if prepare is None else (prepare(name),)
            synchronize(device)
            start = time.perf_counter()
            functions[name](*arguments)
            synchronize(device)
            if turn >= 0:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def summary(seconds):
    """Median and spread: ``{"median", "low", "high", "rounds"}``, low and high being the smallest and largest."""
    return {
        "median": statistics.median(seconds), "low": min(seconds), "high": max(seconds), "rounds": len(seconds),
    }  # fmt: skip


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
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else the profiler may write lines of its own to the terminal
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profiler:
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
    from . import __version__

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
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
        if platform.system() == "Darwin":
            asked = subprocess.run(
                ["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True, check=True, timeout=5
            )
            return asked.stdout.strip()
    return platform.processor() or platform.machine()
