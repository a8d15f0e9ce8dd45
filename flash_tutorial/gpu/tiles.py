"""How large the pieces are in which the kernels work: what fits on a card, and what was measured to be fast there.

Letters: M tokens of a tile, E its numbers of the value, S query/key width.
"""

import json
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch

# written by tools/gpu_evidence; not there before a card ran it
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


SMALL = Tile(32, 64)  # where products have no matrix units to feed
# the best first
LARGE = (
    Tile(64, 64),
    Tile(64, 64, stages=2),
    Tile(32, 64, stages=2),
    Tile(32, 32, stages=1),
)


def shared_bytes(tile, S, itemsize, capability):
    """The shared memory that a program of ``mix`` takes at most, counted; the other kernels take less.

    A stage of the loop holds the keys, the values and the bias of a tile. From 9.0 on queries and state, too, are read
    from shared memory, and no stage waits in registers. Before, the weights pass through it on their way from one
    product to the next, unless both have the same layout.
    """
    M, E, warps, stages = tile
    one_stage = itemsize * M * (S + E) + 4 * M * M
    if capability >= (9, 0):
        return stages * one_stage + itemsize * S * (M + E)
    weights = itemsize * M * M
    if M == E and warps == 4:
        weights = 0
    return max(1, stages - 1) * one_stage + itemsize * M * S + weights


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


def does_not_fit(tile, S, itemsize, capability, has):
    """Why a tile cannot be tried where a program ``has`` so many bytes of shared memory; None if it can."""
    takes = shared_bytes(tile, S, itemsize, capability)
    if takes > has:
        return f"it takes {takes / KIB:.0f} KiB of shared memory, and there are {has / KIB:.0f}"
    return None


def tile_for(device, dtype, S):
    """The tile for tensors of that type: what was measured to be fastest on this card, else the largest that fits."""
    device = torch.device(device)
    if device.type != "cuda" or dtype == torch.float32:
        return SMALL
    capability = torch.cuda.get_device_capability(device)
    if capability < (8, 0):
        return SMALL
    if measured := measured_tile(torch.cuda.get_device_name(device), dtype, S):
        return measured
    has = shared_memory(device)
    fitting = (tile for tile in LARGE if not does_not_fit(tile, S, dtype.itemsize, capability, has))
    return next(fitting, LARGE[-1])


def measured_tile(card, dtype, S):
    """The tile that ``tiles.json`` has for a card, a type and a width, or None."""
    key = (card, str(dtype).removeprefix("torch."), S)
    return _measured().get(key)


@cache
def _measured():
    if not MEASURED.exists():
        return {}
    rows = json.loads(MEASURED.read_text(encoding="utf-8"))["runs"]
    return {(row["card"], row["format"], row["S"]): Tile(*row["tile"]) for row in rows}
