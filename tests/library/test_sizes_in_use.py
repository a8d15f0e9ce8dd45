"""The kernels at the sizes that models have, with the tiles that a card gets, from a unit's first dense layer on."""

import copy
from itertools import product
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

# it asks for the interpreter where it must
from test_fused import errors as mixing_errors
from test_kernels import GPU, error, kernels

from flash_tutorial import FLASH
from flash_tutorial.check import draw_order_one
from flash_tutorial.fast import read_earlier_chunks, relu2_attention
from flash_tutorial.gpu import fused, tiles
from flash_tutorial.layers import cos_sin
from flash_tutorial.mixing import mixed_chunk_attention

DEVICE = pytest.param("cuda", marks=pytest.mark.gpu) if GPU else "cpu"
SIZES = [*product((128, 256, 512), (64, 128), (256, 1536))]  # C, S, E
ALWAYS = [(128, 64, 256), (128, 128, 256)]
# Half precision of the unit may be off by what torch's is off by, and a fifth: its heads are rounded, and gradients of
# parameters are sums in which much cancels. Where the heads are given, it is off by no more than this.
HALF, SINGLE = 4e-4, 1e-5


@pytest.fixture(autouse=True)
def interpreter(monkeypatch):
    """With sums by NumPy: a reduction by a function of ours is a loop over all numbers there."""
    if not GPU:
        from triton.runtime.interpreter import ReduceOps

        monkeypatch.setenv("TRITON_INTERPRET", "1")
        monkeypatch.setattr(ReduceOps, "generic_reduce", lambda ops, x: [ops.sum(x[0])])


@pytest.fixture
def tiles_of_a_card(monkeypatch):
    """Where there is no card, the kernels get the tiles of one; the list grows with each that they get."""
    given = []

    def tile_of_a_card(kernel, device, *sizes):
        given.append((kernel, tiles.tile_for(kernel, "cuda", *sizes)))
        return given[-1][1]

    if not GPU:
        card = SimpleNamespace(shared_memory_per_block_optin=tiles.KIB * tiles.SHARED[9, 0])
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "A card")
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: card)
    monkeypatch.setattr(kernels, "tile_for", tile_of_a_card)
    return given


def drawn_unit(C, S, E, device):
    """A unit whose numbers are of order one, as are its scores and what it reads from afar."""
    unit = FLASH(E // 2, chunk_size=C, qk_dim=S, causal=True, bias="toeplitz", backend="triton")
    draw_order_one(unit, torch.Generator().manual_seed(1))
    with torch.no_grad():
        unit.scale_offset.gamma[0] *= C / S**0.5
        unit.scale_offset.gamma[2] *= 8
        unit.out_proj.weight /= E**0.5
    return unit.to(device)


def by_kernels(unit, h):
    return fused.fused_unit(unit, h, cos_sin(h.shape[1], unit.qk_dim, h))


def by_torch(unit, h):
    unit.backend = "torch"
    half = h.dtype == torch.float16
    with torch.autocast(h.device.type, torch.float16, enabled=half):
        u, v, z = F.silu(h).split([unit.expanded, unit.expanded, unit.qk_dim], dim=-1)
        heads = unit.read_heads(z, *cos_sin(h.shape[1], unit.qk_dim, h))
        return unit.project_back(u, unit.mix(heads, v, None, None))


def errors(C, S, E, dtype, device):
    """Of what a unit adds and of each gradient, on three chunks and a tail, against torch in float64: by the kernels,
    and by torch in the same format."""
    T = 3 * C + 37
    first = torch.Generator().manual_seed(2)
    unit = drawn_unit(C, S, E, device)
    h = torch.randn(1, T, 2 * E + S, generator=first).to(device, dtype)
    grad = torch.randn(1, T, E // 2, generator=first).to(device, dtype)
    ways = (by_kernels, dtype), (by_torch, dtype), (by_torch, torch.float64)
    *found, wanted = (outcomes(way, unit, h.to(kind), grad.to(kind)) for way, kind in ways)
    return [{name: error(got[name], wanted[name]) for name in wanted} for got in found]


def outcomes(way, unit, h, grad):
    """What comes out, and the gradients. The parameters are float32 where h is half, as in training."""
    unit = copy.deepcopy(unit).to(torch.promote_types(h.dtype, torch.float32))
    leaf = h.clone().requires_grad_()
    out = way(unit, leaf)
    out.backward(grad)
    names = ("scale_offset.gamma", "scale_offset.beta", "bias.weights", "out_proj.weight")
    grads = {name: unit.get_parameter(name).grad for name in names}
    return {"out": out.detach(), "h": leaf.grad} | grads


def is_right(dtype, by_kernels, by_torch):
    """A NaN is not below."""
    if dtype == torch.float32:
        return all(e < SINGLE for e in by_kernels.values())
    off = all(e < max(HALF, 1.2 * by_torch[name]) for name, e in by_kernels.items())
    return off and by_kernels["out"] < HALF


@pytest.mark.parametrize("device", [DEVICE])
@pytest.mark.parametrize("sizes", ALWAYS, ids=str)
def test_half_precision_with_the_tiles_of_a_card(sizes, device, tiles_of_a_card):
    found = errors(*sizes, torch.float16, device)
    assert is_right(torch.float16, *found), found
    of_the_best = {(kernel, rows[0]) for kernel, rows in tiles.LARGE.items()}
    assert GPU or set(tiles_of_a_card) == of_the_best


class InTorch:
    """The mixing by torch, under the kernels' name."""

    @staticmethod
    def fused_mixed_chunk(*five, gate, tile, **options):
        how = dict(causal=True, attend=relu2_attention, read=read_earlier_chunks)
        return gate * mixed_chunk_attention(*five, **options, **how)


@pytest.mark.parametrize("device", [DEVICE])
def test_half_precision_of_the_mixing_alone(device, tiles_of_a_card):
    """lin_k's gradient is rounded three times on its way, here as in torch, and off by 4.1e-4 in both."""
    C, S, E = 128, 64, 256
    sizes = (3 * C + 37, C, S, E, ())
    found, in_torch = (mixing_errors(way, sizes, torch.float16, device) for way in (fused, InTorch))
    assert is_right(torch.float16, found, in_torch), (found, in_torch)
    assert all(e < HALF for name, e in found.items() if name != "lin_k"), found
    assert GPU or ("mix", tiles.LARGE["mix"][0]) in tiles_of_a_card


HEAVY = [(sizes, torch.float16) for sizes in SIZES]
HEAVY += [(sizes, torch.float32) for sizes in SIZES if sizes[2] == 256]  # others take minutes


@pytest.mark.nightly
@pytest.mark.parametrize("device", [DEVICE])
@pytest.mark.parametrize("sizes, dtype", HEAVY, ids=str)
def test_all_sizes(sizes, dtype, device, tiles_of_a_card):
    found = errors(*sizes, dtype, device)
    assert is_right(dtype, *found), found
