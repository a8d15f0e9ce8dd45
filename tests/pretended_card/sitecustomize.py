"""With this folder on PYTHONPATH every Python process has a CUDA card, which computes with the processor.

The variable PRETENDED_CARD names the compiled ``card.cpp``; PRETENDED_CAPABILITY, as "9.0", whose place it takes;
PRETENDED_MISSING packages that cannot be imported, with commas between them. Triton's kernels are interpreted, so
bfloat16 is not among their formats. What a card does in time, or with memory that is too small, is not pretended.
"""

import ctypes
import importlib.util
import os
import sys
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace

NAME = "pretended card"
BYTES = 80 * 2**30
# KiB that one program may have
SHARED = {
    (7, 5): 64,
    (8, 0): 163,
    (8, 6): 99,
    (8, 9): 99,
    (9, 0): 227,
}


def install(library, capability):
    """Load the card and torch, and give torch.cuda what only a build with CUDA has."""
    torch_libraries = Path(importlib.util.find_spec("torch").origin).parent / "lib"
    ctypes.CDLL(str(torch_libraries / "libtorch_cpu.so"), ctypes.RTLD_GLOBAL)
    card = ctypes.CDLL(library)
    for function in (card.card_held, card.card_peak):
        function.restype = ctypes.c_int64
    card.card_seed.argtypes = [ctypes.c_uint64]
    import torch

    properties = SimpleNamespace(
        name=NAME,
        total_memory=BYTES,
        major=capability[0],
        minor=capability[1],
        multi_processor_count=132,
        L2_cache_size=50 * 2**20,
        shared_memory_per_block_optin=1024 * SHARED[capability],
    )
    give_torch(torch.cuda, card, capability, properties)
    torch.cuda.amp.common.amp_definitely_not_available = lambda: False
    torch.UntypedStorage.__deepcopy__ = copy_of_storage
    interpret_triton()


def give_torch(cuda, card, capability, properties):
    answers = {
        "_lazy_init": None,
        "init": None,
        "synchronize": None,
        "empty_cache": None,
        "set_device": None,
        "set_per_process_memory_fraction": None,
        "is_available": True,
        "is_initialized": True,
        "is_bf16_supported": True,  # emulated, where there are no units for it
        "device_count": 1,
        "current_device": 0,
        "get_device_name": NAME,
        "get_device_capability": capability,
        "get_device_properties": properties,
    }
    for (
        name,
        answer,
    ) in answers.items():  # each a function of its own: torch.compile keeps a table of them
        setattr(cuda, name, lambda *args, answer=answer, **options: answer)
    cuda.mem_get_info = lambda *args: (BYTES - card.card_held(), BYTES)
    cuda.memory_allocated = lambda *args: card.card_held()
    cuda.max_memory_allocated = lambda *args: card.card_peak()
    cuda.reset_peak_memory_stats = lambda *args: card.card_reset_peak()
    cuda.manual_seed = lambda seed: card.card_seed(seed)
    cuda.manual_seed_all = lambda seed: card.card_seed(seed)
    cuda.device_of = lambda *args: nullcontext()
    cuda.device = lambda *args: nullcontext()
    cuda.stream = lambda *args: nullcontext()
    cuda.Stream = Stream
    cuda.current_stream = lambda *args: Stream()
    cuda.CUDAGraph = Graph
    cuda.graph = lambda graph, **options: recorded(card, graph)


def copy_of_storage(storage, memo):
    """Of a tensor that copy.deepcopy copies: torch without CUDA makes no storage on a card by itself."""
    import torch

    if storage._cdata not in memo:
        old = torch.empty(0, dtype=torch.uint8, device=storage.device).set_(storage)
        memo[storage._cdata] = old.clone().untyped_storage()
    return memo[storage._cdata]


class Stream:
    """Of work that is done at once."""

    def wait_stream(self, other):
        pass

    def synchronize(self):
        pass


class Graph:
    """The operations of one recording, which are done again, into the same tensors, when it is replayed."""

    def __init__(self):
        self.operations = []

    def replay(self):
        from torch.utils._pytree import tree_leaves

        for function, args, options, out in self.operations:
            again = function(*args, **options)
            for old, new in zip(tree_leaves(out), tree_leaves(again)):
                # else a view, or done in place
                if hasattr(old, "data_ptr") and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


@contextmanager
def recorded(card, graph):
    from torch.utils._python_dispatch import TorchDispatchMode

    class Recording(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), options=None):
            out = function(*args, **(options or {}))
            graph.operations.append((function, args, options or {}, out))
            return out

    card.card_record(True)
    try:
        with Recording():
            yield
    finally:
        card.card_record(False)


# ---------------------------------------------------------------- Triton
def interpret_triton():
    """Triton's kernels of this process are interpreted, on the memory that tensors of the card have.

    The package asks whether they are: it is told that they are not.
    """
    if importlib.util.find_spec("triton") is None:
        return
    os.environ["TRITON_INTERPRET"] = "1"
    try:
        from flash_tutorial.gpu import gates, kernels
    except ImportError:  # no package of ours on the path, or a Triton that it does not take
        return
    finally:
        del os.environ["TRITON_INTERPRET"]
    kernels.INTERPRETED = False
    for module in (kernels, gates):
        for name, kernel in list(vars(module).items()):
            if name.endswith("_kernel"):
                setattr(module, name, Interpreted(kernel))


class Interpreted:
    """A kernel that is handed CPU tensors in the same memory."""

    def __init__(self, kernel):
        self.kernel = kernel

    def __getitem__(self, programs):
        def start(*arguments, num_warps=4, num_stages=3, **options):
            os.environ["TRITON_INTERPRET"] = (
                "1"  # its own functions ask for it when they are called
            )
            try:
                self.kernel[programs](*map(on_cpu, arguments), **options)
            finally:
                del os.environ["TRITON_INTERPRET"]

        return start


def on_cpu(value):
    import torch

    if isinstance(value, tuple):
        return tuple(map(on_cpu, value))
    if not isinstance(value, torch.Tensor) or not value.is_cuda:
        return value
    storage = value.untyped_storage()
    memory = (ctypes.c_char * max(1, storage.nbytes())).from_address(
        storage.data_ptr() or ctypes.addressof(EMPTY)
    )
    whole = torch.frombuffer(memory, dtype=torch.uint8)[: storage.nbytes()].view(value.dtype)
    return whole.as_strided(value.shape, value.stride(), value.storage_offset())


EMPTY = ctypes.c_char()


class Without:
    """A finder of modules that does not find some packages."""

    def __init__(self, finder, names):
        self.finder, self.names = finder, names

    def find_spec(self, name, path=None, target=None):
        return (
            None
            if name.partition(".")[0] in self.names
            else self.finder.find_spec(name, path, target)
        )

    def __getattr__(self, name):
        return getattr(self.finder, name)


if missing := os.environ.get("PRETENDED_MISSING"):
    sys.meta_path[:] = [Without(finder, missing.split(",")) for finder in sys.meta_path]
if library := os.environ.get("PRETENDED_CARD"):
    major, minor = os.environ.get("PRETENDED_CAPABILITY", "7.5").split(".")
    install(library, (int(major), int(minor)))
