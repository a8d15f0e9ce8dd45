"""Which device and which number format a model is trained with, and why; and several processes that train together.

    flash-tutorial train --processes 2          or, with a longer report where one of them fails,
    torchrun --standalone --nproc_per_node 2 -m flash_course.cli train

Every process (rank) holds the whole model and computes its own rows of each batch. One process alone is a group of one.
"""

import ctypes
import os
import platform
import time
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache

import torch
import torch.distributed as dist
from torch import nn

from .. import __version__
from ..errors import described

# names and numbers of glibc's malloc.h
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4

# bfloat16 pays for smaller models as well, but their runs take seconds, and in float32 those of the lectures give the
# same numbers on every CPU. Where products are not PAYS times as fast, the rest of a step may eat up the gain.
LARGE, PAYS = 300_000, 1.5

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def pick_device(name="auto") -> torch.device:
    """ "auto" takes a CUDA card, then Apple's MPS, then the CPU; any other name must be there."""
    has_mps = torch.backends.mps.is_available()
    if name in (None, "auto"):
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if has_mps else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(
            f"device={name!r} is unknown: expected 'auto', 'cpu', 'cuda', 'cuda:0' or 'mps'"
        ) from None
    cards = torch.cuda.device_count()
    if not {"cpu": True, "cuda": (device.index or 0) < cards, "mps": has_mps}.get(device.type):
        mps = "an MPS device" if has_mps else "no MPS device"
        seen = f"torch {torch.__version__} sees {cards} CUDA cards and {mps}"
        raise ValueError(f"device={name!r} is not there: {seen}; choose 'auto' or 'cpu'")
    return device


def pick_dtype(device, name="auto", parameters=0) -> tuple[torch.dtype, str]:
    """The format of autocast on ``device`` for a model of so many parameters, and the reason in words.

    By compute capability, not by ``torch.cuda.is_bf16_supported()``: that is true as well where bfloat16 is only
    emulated, and slow. On a CPU by a measurement, where the model is large enough to gain anything.
    """
    device = torch.device(device)
    if name not in (None, "auto"):
        if name not in DTYPES:
            raise ValueError(
                f"dtype={name!r} is unknown: expected 'auto', {', '.join(map(repr, DTYPES))}"
            )
        if name == "float16" and device.type != "cuda":
            raise ValueError(
                f"dtype='float16' on {device.type}: its loss scaling needs a CUDA card; choose 'auto'"
            )
        return DTYPES[name], "asked for"
    if device.type == "cpu" and parameters >= LARGE:
        if bfloat16_gain(torch.get_num_threads()) >= PAYS:
            return torch.bfloat16, "bfloat16 pays on this CPU"
        return torch.float32, "bfloat16 does not pay on this CPU"
    if device.type == "cpu":
        return torch.float32, f"bfloat16 is tried from {LARGE:,} parameters on"
    if device.type != "cuda":
        return torch.float32, f"half precision is not faster on every {device.type.upper()}"
    major, minor = torch.cuda.get_device_capability(device)
    if major >= 8:
        return torch.bfloat16, f"compute capability {major}.{minor} has bfloat16 units"
    if major >= 7:
        return (
            torch.float16,
            f"compute capability {major}.{minor} has float16 but no bfloat16 units; loss is scaled",
        )
    return torch.float32, f"compute capability {major}.{minor} has no half-precision matrix units"


@lru_cache
def bfloat16_gain(threads) -> float:
    """How many times as fast products of matrices are in bfloat16 as in float32, here and with so many threads.

    Measured in a tenth of a second of the processor's time, in turn, by the shortest times, so that a busy machine
    comes to the same answer.
    """
    a = torch.randn(2048, 128)
    b = torch.randn(128, 576)
    pairs = {torch.float32: (a, b), torch.bfloat16: (a.bfloat16(), b.bfloat16())}
    shortest = dict.fromkeys(pairs, float("inf"))
    end = time.process_time() + 0.1
    while time.process_time() < end or max(shortest.values()) == float("inf"):
        for dtype, (left, right) in pairs.items():
            began = time.process_time()
            left @ right
            shortest[dtype] = min(shortest[dtype], time.process_time() - began)
    return shortest[torch.float32] / shortest[torch.bfloat16]


def measured_gain(device, dtype, parameters) -> str:
    """What ``pick_dtype`` measured for it, in words; empty where it measured nothing."""
    if dtype != "auto" or device.type != "cpu" or parameters < LARGE:
        return ""
    gain = bfloat16_gain(torch.get_num_threads())
    return f"products of matrices are {gain:.1f} times as fast in bfloat16 as in float32, {PAYS} are needed"


def describe_device(device="auto", dtype="auto", parameters=0) -> str:
    """One line: versions, device, number format (for a model of so many parameters) and why."""
    device = pick_device(device)
    dtype, why = pick_dtype(device, dtype, parameters)
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    threads = f", {torch.get_num_threads()} threads" if device.type == "cpu" else ""
    versions = f"flash-tutorial {__version__}, Python {platform.python_version()}, torch {torch.__version__}"
    return f"{versions}, {where}{threads}, {str(dtype).removeprefix('torch.')} ({why})"


def to_device(ids, targets, valid, device):
    """Tensors for a model, from arrays; the mask is None where nothing is masked, which is the fast way."""
    ids, targets = torch.from_numpy(ids).to(device), torch.from_numpy(targets).to(device)
    mask = None if valid.all() else torch.from_numpy(valid).to(device)
    return ids, targets, mask


# ---------------------------------------------------------------- memory
def keep_freed_memory() -> bool:
    """Let this process reuse the memory of freed tensors instead of handing it back; True if that was switched on.

    On Linux, glibc asks the kernel for every block above 32 MB (and, early on, far smaller ones) anew, and the kernel
    fills it page by page on first touch. For tensors that are read and written once that costs more than the
    arithmetic: SiLU forward and backward on 19 MB took 18 ms, and 3 ms with this (one core, torch 2.13). The price:
    the process keeps its peak of memory until it ends. Other systems and C libraries are left alone.
    """
    if platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    # both are needed: no block of its own for a large tensor, and no trimming of the heap that it then lies in
    return bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, 2**31 - 1))


# ---------------------------------------------------------------- several processes
@dataclass(frozen=True)
class Group:
    """The processes that train together. ``rank`` 0 speaks and writes for all ``size`` of them."""

    rank: int = 0
    size: int = 1

    @property
    def speaks(self):
        return self.rank == 0

    def check_shares(self, batch, accumulate):
        """Each rank has the same number of rows in each part of a batch."""
        parts = accumulate * self.size
        if batch % parts:
            where = f"on {self.size} processes in accumulate={accumulate} parts"
            raise ValueError(f"batch={batch} {where}: expected a multiple of {parts}")

    def share(self, value):
        """Rank 0's value, everywhere."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def of_first(self, call):
        """What ``call`` gives in rank 0, everywhere; and so is its refusal, a ValueError."""
        outcome = None
        if self.speaks:
            try:
                outcome = call()
            except ValueError as error:
                outcome = error
        outcome = self.share(outcome)
        if isinstance(outcome, ValueError):
            raise outcome
        return outcome

    def largest(self, number):
        """The largest of the ranks' integers, everywhere."""
        if self.size == 1:
            return number
        device = "cuda" if dist.get_backend() == "nccl" else "cpu"
        tensor = torch.tensor(number, device=device)
        dist.all_reduce(tensor, dist.ReduceOp.MAX)
        return int(tensor)

    def total(self, tensor):
        """The sum over all ranks of a tensor that each of them has."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor


class Engine:
    """How a loss and its gradient are computed: number format, loss scaling, compiler, and the processes of a group."""

    def __init__(self, model, dtype="auto", group=Group(), compile=False):
        self.group, self.device = group, next(model.parameters()).device
        dtype, _ = pick_dtype(self.device, dtype, sum(p.numel() for p in model.parameters()))
        self.half = nullcontext()
        if dtype != torch.float32:
            self.half = torch.autocast(self.device.type, dtype)
        # float16 gradients underflow
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=dtype == torch.float16)
        self.model_loss = model.loss
        # a unit of a learner's own may have parameters that a mixing does not use
        if group.size > 1:
            self.model_loss = nn.parallel.DistributedDataParallel(
                _Loss(model), find_unused_parameters=True
            )
        self.call = self.model_loss
        if compile:
            self.call = compiled(self.model_loss, compiler_options(self.device, dtype))

    def each(self, parts):
        """The parts of a batch; processes exchange gradients in the last one only."""
        parts = list(parts)
        for i, part in enumerate(parts, 1):
            exchange = nullcontext()
            if i < len(parts) and self.group.size > 1:
                exchange = self.model_loss.no_sync()
            with exchange:
                yield part

    def loss(self, ids, targets, mask):
        """The mean loss of the targets at hand."""
        with self.half:
            loss = self.call(ids, targets, mask=mask)
        if not isinstance(loss, torch.Tensor) or loss.dim():
            expected = "expected one number, the mean in nats, as a tensor"
            raise ValueError(f"the model's loss is {described(loss)}: {expected}")
        if torch.is_grad_enabled() and not loss.requires_grad:
            why = "was it detached, or computed under no_grad or from no parameter that is trained?"
            raise ValueError(f"the model's loss has no gradient: expected one to train by; {why}")
        return loss

    def backward(self, part):
        """Add the gradient of a loss. It comes as the mean over the ranks, and parts of a batch ask for their sum."""
        self.scaler.scale(part * self.group.size).backward()

    def step(self, optimizer):
        """The optimizer's step; with loss scaling, an infinite gradient is skipped."""
        self.scaler.step(optimizer)
        self.scaler.update()


def compiler_options(device, dtype):
    """Narrower code for bfloat16 on a CPU with AVX-512.

    There g++ 12 makes wrong code of FLASH's backward pass where it tunes for no processor by name, as it does in
    a virtual machine (``-march=native`` with ``-mtune=generic``): gradients are NaN, with 256 bits they are right.
    """
    wide = device.type == "cpu" and torch.backends.cpu.get_cpu_capability() == "AVX512"
    return {"cpp.simdlen": 256} if wide and dtype == torch.bfloat16 else None


def compiled(function, options=None):
    """``torch.compile``, with one line where this machine has no compiler for it."""
    fast = torch.compile(function, options=options)

    def call(*args, **kwargs):
        try:
            return fast(*args, **kwargs)
        except torch._dynamo.exc.TorchDynamoException as error:
            reason = str(error).strip().splitlines()[0]
            raise ValueError(
                f"torch.compile does not work here ({reason}): leave compile off"
            ) from error

    return call


class _Loss(nn.Module):
    """DistributedDataParallel only follows a module's call."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, *args, **kwargs):
        return self.model.loss(*args, **kwargs)


@contextmanager
def training_group(device="auto"):
    """The group that this process trains in, and its own device: ``with training_group() as (group, device)``.

    Under torchrun it is set up and taken down here: NCCL on CUDA cards, one for each rank, and gloo elsewhere.
    """
    size = int(os.environ.get("WORLD_SIZE", 1))
    device = pick_device(device)
    if size == 1:
        yield Group(), device
        return
    if device.type == "cuda":
        device = pick_device(f"cuda:{os.environ['LOCAL_RANK']}")
        torch.cuda.set_device(device)
    own = not dist.is_initialized()  # a caller may have set one up already
    if own:
        backend = "nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend)
    try:
        yield Group(dist.get_rank(), dist.get_world_size()), device
        if own and device.type != "cuda":
            # A process that ends while a thread of gloo still lets go of its last tensors aborts, and torchrun then
            # stops the others too, rank 0 in the middle of its score. So all wait for the last one.
            dist.monitored_barrier(timeout=timedelta(days=1))
    finally:
        if own:
            dist.destroy_process_group()
