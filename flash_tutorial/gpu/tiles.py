"""How large the pieces are in which the kernels work: what fits on a card, and what was measured to be fast there.

Letters: M tokens of a tile, E its numbers of the value, S query/key width.
"""

import json
import math
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch

# written by gpu/tuning.py and by tools/gpu_evidence; not there before a card ran one of them
MEASURED = Path(__file__).with_name("tiles.json")
KIB = 1024

# KiB of shared memory that one program may have, by compute capability.
SHARED = {(7, 5): 64, (8, 0): 163, (8, 6): 99, (8, 9): 99, (9, 0): 227}


class Tile(NamedTuple):
    """M tokens by E numbers, both powers of two of at least 16; warps of a program; stages of its pipelined loop."""

    M: int
    E: int
    warps: int = 4
    stages: int = 3

    def __str__(self):
        return f"{self.M} x {self.E}, {self.warps} warps, {self.stages} stages"


WIDEST = 128  # the largest M: kernels.is_kept counts on it
SMALL = Tile(32, 64)  # where products have no matrix units to feed
# Of each kernel the best first. Two programs or more fit on a multiprocessor of compute capability 8.0, 8.9 and 9.0.
NARROW = (Tile(64, 64, stages=2), Tile(32, 64, stages=2), Tile(32, 32, stages=1))
LARGE = {
    "weights": (Tile(64, 64, warps=8), *NARROW),  # it has no columns, and no loop
    "mix": (Tile(64, 128, stages=2), *NARROW),
    "maps": (Tile(64, 64, warps=8), *NARROW),
    "values": (Tile(64, 128, stages=2), *NARROW),
}


def shared_bytes(kernel, tile, S, itemsize, capability):
    """The shared memory that a program takes at most, counted.

    Before its loop a kernel multiplies two tiles of width S. A stage of the loop is two more tiles: weights and values
    in ``mix`` and ``values``, in ``maps`` gradients and values. A card of 9.0 keeps each stage in shared memory;
    before, the newest one waits in registers.
    """
    M, E, _, stages = tile
    if kernel in ("mix", "values"):
        before = S * (M + E)
        stage = M * (M + E)
    else:
        before = 2 * S * M
        stage = 2 * M * E if kernel == "maps" else 0
    if capability < (9, 0):
        return itemsize * max(before, max(1, stages - 1) * stage)
    if kernel in ("mix", "values"):  # a product of 9.0 reads while the first stages are loaded
        return itemsize * (before + stages * stage)
    return itemsize * max(before, stages * stage)


def shared_memory(device):
    """The bytes of shared memory that the card gives a program, by torch, by Triton, or by its data sheet."""
    properties = torch.cuda.get_device_properties(device)
    if found := getattr(properties, "shared_memory_per_block_optin", None):  # since torch 2.6
        return found
    try:
        from triton.runtime import driver

        index = torch.device(device).index
        if index is None:
            index = torch.cuda.current_device()
        return driver.active.utils.get_device_properties(index)["max_shared_mem"]
    except (ImportError, AttributeError, KeyError, RuntimeError):
        return KIB * SHARED.get((properties.major, properties.minor), min(SHARED.values()))


def multiprocessors(device):
    """How many the card has; an H100's number where there is none."""
    if device.type != "cuda":
        return 132
    return torch.cuda.get_device_properties(device).multi_processor_count


def parts_of(G, programs, multiprocessors):
    """Into how many parts ``scan`` cuts a row of G chunks: three programs for each multiprocessor, if rows give fewer.

    So many loads are on their way then as keep the memory of an H100 busy. A part has 16 chunks or more, and not fewer
    than there are parts, for it reads a share of each.
    """
    return max(1, min(3 * multiprocessors // programs, G // 16, math.isqrt(G)))


def does_not_fit(kernel, tile, S, itemsize, capability, has):
    """Why a tile cannot be tried where a program ``has`` so many bytes of shared memory; None if it can."""
    takes = shared_bytes(kernel, tile, S, itemsize, capability)
    if takes > has:
        return f"it takes {takes / KIB:.0f} KiB of shared memory, and there are {has / KIB:.0f}"
    return None


def tile_for(kernel, device, dtype, C, S, E):
    """A kernel's tile for tensors of that type and those sizes: what was measured to be fastest on this card, else the
    largest that fits."""
    device = torch.device(device)
    if device.type != "cuda" or dtype == torch.float32:
        return SMALL
    capability = torch.cuda.get_device_capability(device)
    if capability < (8, 0):
        return SMALL
    if measured := measured_tile(kernel, torch.cuda.get_device_name(device), dtype, C, S, E):
        return measured
    return largest(kernel, S, dtype.itemsize, capability, shared_memory(device))


def largest(kernel, S, itemsize, capability, has):
    """The first tile of ``LARGE`` that fits."""
    for tile in LARGE[kernel]:
        if not does_not_fit(kernel, tile, S, itemsize, capability, has):
            return tile
    return LARGE[kernel][-1]


# ---------------------------------------------------------------- what was measured
KEY = ("card", "triton", "kernel", "format", "C", "S", "E")  # of a row of the file


def measured_tile(kernel, card, dtype, C, S, E):
    """The tile that ``tiles.json`` has for a kernel, a card, this Triton, a type and sizes, or None."""
    from triton import __version__

    return _measured().get((card, __version__, kernel, str(dtype).removeprefix("torch."), C, S, E))


def stored_rows():
    """The rows of the file; none before a card was measured."""
    if not MEASURED.exists():
        return []
    return json.loads(MEASURED.read_text(encoding="utf-8"))["runs"]


def key_of_row(row):
    return tuple(row[name] for name in KEY)


@cache
def _measured():
    return {key_of_row(row): Tile(*row["tile"]) for row in stored_rows()}


def forget():
    """Read the file anew: it was written."""
    _measured.cache_clear()
