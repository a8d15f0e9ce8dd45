"""Which tile the kernels get on which card, by the shared memory that it takes."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from flash_tutorial.gpu import tiles
from flash_tutorial.gpu.tiles import KIB, LARGE, SHARED, SMALL, Tile, shared_bytes, tile_for

HALVES = (torch.float16, torch.bfloat16)


@pytest.fixture
def on_card(monkeypatch):
    """A function that pretends a card of some compute capability; without shared memory if it is an older torch's."""

    def pretend(capability, shared=None):
        properties = SimpleNamespace(major=capability[0], minor=capability[1])
        if shared:
            properties.shared_memory_per_block_optin = shared
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "A card")
        monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)

    return pretend


@pytest.mark.parametrize(
    "asked", [True, False], ids=["the card says how much it has", "the data sheet does"]
)
@pytest.mark.parametrize("dtype", [*HALVES, torch.float32], ids=str)
@pytest.mark.parametrize("S", [64, 128])
@pytest.mark.parametrize("capability", SHARED)
@pytest.mark.parametrize("kernel", LARGE)
def test_the_tile_fits_the_card(kernel, capability, S, dtype, asked, on_card):
    on_card(capability, KIB * SHARED[capability] if asked else None)
    tile = tile_for(kernel, "cuda", dtype, 256, S, 1536)
    takes = shared_bytes(kernel, tile, S, 2, capability)
    assert takes <= KIB * SHARED[capability] or tile == SMALL
    large = capability >= (8, 0) and dtype != torch.float32
    assert tile == (LARGE[kernel][0] if large else SMALL)


def test_a_card_with_little_shared_memory_gets_a_smaller_tile(on_card):
    found = []
    for has in (100, 70, 50, 20):
        on_card((9, 0), KIB * has)
        found.append(tile_for("mix", "cuda:0", torch.float16, 256, 128, 1536))
    assert found == list(LARGE["mix"])


def test_on_a_cpu_it_is_the_small_one():
    assert tile_for("mix", "cpu", torch.float16, 256, 128, 1536) == SMALL


COMPILE = """
import json, sys
sys.path.insert(0, sys.argv[2])
from compiled_kernels import compile_for
for capability, kernel, tile in json.loads(sys.argv[1]):
    print(compile_for(capability, kernel, tile=tile)["shared_bytes"])
"""


@pytest.mark.nightly
@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
@pytest.mark.parametrize("capability", [c for c in SHARED if c >= (8, 0)], ids=str)
def test_the_count_is_never_below_what_the_compiler_takes(capability):
    sizes = [
        (64, 64, 4, 3),
        (64, 64, 8, 2),
        (32, 64, 4, 2),
        (64, 128, 4, 2),
        (128, 64, 4, 3),
        (64, 64, 4, 1),
    ]
    tried = [(kernel, size) for kernel in LARGE for size in sizes]
    asked = [("{}.{}".format(*capability), *each) for each in tried]
    folder = Path(tiles.__file__).parents[2] / "experiments" / "timings"
    done = subprocess.run(
        [sys.executable, "-c", COMPILE, json.dumps(asked), str(folder)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    counted = [shared_bytes(kernel, Tile(*size), 128, 2, capability) for kernel, size in tried]
    compiled = [int(line) for line in done.stdout.split()]
    pairs = [*zip(tried, compiled, counted, strict=True)]
    assert all(a <= b for _, a, b in pairs), pairs
    # and not far above it for the tile that is taken
    assert max(a / b for _, a, b in pairs) == 1
