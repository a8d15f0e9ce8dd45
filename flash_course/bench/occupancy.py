"""How many programs of a kernel a streaming multiprocessor holds at once, from what the compiler made of it.

Sizes are those of NVIDIA's data sheets and of the programming guide's table of compute capabilities.
"""

from typing import NamedTuple

from flash_course.bench.stored import load_stored

KIB = 1024
REGISTERS = 65_536  # of a multiprocessor
THREADS = 32  # of a warp


class Card(NamedTuple):
    """A multiprocessor of a card: its compute capability, KiB of shared memory, warps and programs that it can hold."""

    capability: str
    shared: int
    warps: int
    programs: int
    reserved: int  # KiB of shared memory that each program loses


CARDS = {
    "T4": Card("7.5", 64, 32, 16, 0),
    "A100": Card("8.0", 164, 64, 32, 1),
    "L4": Card("8.9", 100, 48, 24, 1),
    "H100": Card("9.0", 228, 64, 32, 1),
}


def compiled_kernel(kernel, name):
    """What the compiler made of a kernel for a card, in float16, as `compiled_kernels.py` stored it."""
    rows = load_stored("compiled")["rows"]
    wanted = {"kernel": kernel, "capability": CARDS[name].capability, "half": "fp16"}
    return next(row for row in rows if wanted.items() <= row.items())


def programs_at_once(name, shared_bytes, registers, warps=4):
    """How many a multiprocessor has room for, and what the next one would lack."""
    card = CARDS[name]
    room = {
        "shared memory": card.shared * KIB // (shared_bytes + card.reserved * KIB),
        "registers": REGISTERS // (registers * warps * THREADS),
        "warps": card.warps // warps,
        "programs": card.programs,
    }
    lacks = min(room, key=room.get)
    return room[lacks], lacks
