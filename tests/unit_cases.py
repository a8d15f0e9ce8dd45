"""The units that the tests run through: every option once, small, with parameters of order one."""

from functools import partial

import numpy as np
import pytest
import torch

from flash_tutorial import FLASH, GAU, MCTransformerBlock, TransformerBlock, reference
from flash_tutorial.check import draw_order_one, settle_branch

D, S, C, B = 12, 8, 4, 3
T = 3 * C + 2  # three full chunks and a tail

GPU = torch.cuda.is_available()  # where there is one, every test that takes a device runs on it too
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)] if GPU else ["cpu"]


def _gau(**options):
    return lambda causal: GAU(
        D, qk_dim=S, causal=causal, **{"length_scale": T, "bias_length": 2 * T} | options
    )


def _flash(**options):
    return lambda causal: FLASH(D, qk_dim=S, causal=causal, **{"chunk_size": C} | options)


def _block(**options):
    return lambda causal: TransformerBlock(D, causal=causal, **{"heads": 3} | options)


BUILDERS = {"gau": _gau, "flash": _flash, "block": _block}

# At their defaults the small sizes give the Toeplitz bias, ScaleNorm and relu^2.
CASES = {
    "gau": _gau(),
    "gau, current length": _gau(length_scale=None),
    "gau, rotary": _gau(bias="rotary", length_scale=4),
    "gau, no bias": _gau(bias=None, length_scale=4),
    "gau, layer norm": _gau(norm="layer"),
    "gau, softmax": _gau(attention="softmax"),
    "gau, softmax, no bias": _gau(attention="softmax", bias=None),
    "gau, expansion 3": _gau(expansion=3),
    "flash": _flash(),
    "flash, rotary": _flash(bias="rotary"),
    "flash, no bias": _flash(bias=None),
    "flash, layer norm": _flash(norm="layer"),
    "flash, sum": _flash(combine="sum"),
    "flash, local only": _flash(global_=False),
    "flash, global only": _flash(local=False),
    "flash, global only, sum": _flash(local=False, combine="sum"),
    "flash, expansion 3": _flash(expansion=3),
    "flash, chunks of 1": _flash(chunk_size=1),
    "flash, chunks of 5": _flash(chunk_size=5, bias="rotary"),
    "transformer": _block(),
    "transformer+": _block(rope=True),
    "transformer++": _block(rope=True, glu=True),
    "transformer++, scale norm": _block(rope=True, glu=True, norm="scale"),
    "mc_transformer++": lambda causal: MCTransformerBlock(D, heads=3, chunk_size=C, causal=causal),
}
CURRENT = "gau, current length"  # divides by T: neither prefix-consistent nor fit for decoding
STEADY = [name for name in CASES if name != CURRENT]
BOTH_WAYS = [(name, causal) for name in CASES for causal in (True, False)]
IDS = [f"{name}, {'causal' if causal else 'both sides'}" for name, causal in BOTH_WAYS]
READINGS = ("all", "mask", "documents", "both")

every_unit = pytest.mark.parametrize("name, causal", BOTH_WAYS, ids=IDS)
causal_units = pytest.mark.parametrize("name", CASES)
steady_units = pytest.mark.parametrize("name", STEADY)
on_devices = pytest.mark.parametrize("device", DEVICES)
in_dtypes = pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)


def make(name, causal, *, seed=0, dtype=torch.float64, device="cpu"):
    """A unit with parameters of order one, and a branch of order one."""
    generator = torch.Generator().manual_seed(seed)
    unit = draw_order_one(CASES[name](causal).double(), generator)
    return settle_branch(unit, features()).to(device, dtype)


def unit_and_x(name, causal, dtype=torch.float64, device="cpu"):
    """A unit, and features that it reads."""
    return make(name, causal, dtype=dtype, device=device), features(dtype=dtype, device=device)


def features(length=T, *, batch=B, seed=1, dtype=torch.float64, device="cpu"):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, length, D, generator=generator, dtype=torch.float64).to(device, dtype)


def mask_of(lengths, length=T):
    return torch.arange(length)[None] < torch.tensor(lengths)[:, None]


def ragged_mask(length=T):
    """Rows of full length, of two chunks and a bit, of one token."""
    return mask_of([length, max(1, length * 2 // 3), 1], length)


def documents(length=T):
    """Borders inside chunks and on them, a document of one token, one over several chunks; ids may skip numbers."""
    rows = [[0] * 3 + [1] * 7 + [4] * 4, [2] * 8 + [3] * 1 + [5] * 5, [0] * 1 + [7] * 13]
    return torch.tensor(rows)[:, :length]


def how_to_read(which, length=T, device="cpu"):
    """Keyword arguments: nothing, a mask, documents, or both (then padding holds ids that would fall)."""
    kw = {}
    if which in ("mask", "both"):
        kw["mask"] = ragged_mask(length)
    if which in ("documents", "both"):
        kw["segment_ids"] = documents(length)
    if which == "both":
        kw["segment_ids"] = kw["segment_ids"].masked_fill(~kw["mask"], 0)
    return {name: value.to(device) for name, value in kw.items()}


def _options_of_reference(unit):
    """The function of the reference that is this unit's twin, and its options."""
    if isinstance(unit, GAU):
        return reference.gau, ("length_scale", "attention")
    if isinstance(unit, FLASH):
        return reference.flash, ("chunk_size", "combine", "local", "global_")
    if isinstance(unit, MCTransformerBlock):
        return reference.mc_transformer_block, ("heads", "chunk_size")
    return reference.transformer_block, ("heads", "glu", "rope")


def reference_of(unit, loops=False):
    """The NumPy form of the unit, vectorised or in loops, as a function of one row and of how it is read."""
    run, names = _options_of_reference(unit)
    options = {name: getattr(unit, name) for name in ("causal", *names)}
    run = getattr(reference, f"{run.__name__}_loops") if loops else run
    return partial(run, params=unit.to_numpy(), **options)


def run_reference(unit, x, mask=None, segment_ids=None, loops=False):
    """The same on a batch, row by row."""
    run, rows = reference_of(unit, loops), []
    reading = {"mask": mask, "segment_ids": segment_ids}
    for b in range(len(x)):
        own = {k: v[b].cpu().numpy() for k, v in reading.items() if v is not None}
        rows.append(run(x[b].cpu().double().numpy(), **own))
    return torch.from_numpy(np.stack(rows))
