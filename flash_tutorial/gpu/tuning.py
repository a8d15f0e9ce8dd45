"""Each kernel alone, with every tile that fits, on this card: compared with torch, timed, and the fastest tile kept.

    python -m flash_tutorial.gpu.tuning --chunk-size 256 --qk-dim 128 --expanded 1536 --dtype bfloat16

Times are those of ``triton.testing.do_bench``, which empties the L2 cache before each start. Triton's own autotuner
would do the same at the first start of a kernel, again for each length below C, also while a CUDA graph is recorded,
and keeps its choice by the card's architecture; here it is kept in ``tiles.json`` by card, sizes and Triton's version.
Letters: B batch, T length, G chunks, C chunk length, S query/key width, E value width.
"""

import argparse
import json
import math
from itertools import product
from typing import NamedTuple

import torch

from ..files import write_text
from . import tiles
from .tiles import LARGE, SMALL, Tile

OFF = {torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}  # from float32, relative
TOKENS = 65_536


class Sizes(NamedTuple):
    C: int
    S: int
    E: int
    dtype: torch.dtype
    B: int
    T: int


def candidates(kernel, sizes, device):
    """The kernel's usual tiles and others that fit, the usual ones first; each takes seconds to compile."""
    every = product((64, 128), (64, 128), (4, 8), (2, 3, 4))
    if kernel == "weights":  # it has no columns, and no loop
        every = product((32, 64, 128), (64,), (4, 8), (3,))
    tried = dict.fromkeys([*LARGE[kernel], SMALL, *(Tile(*each) for each in every)])
    capability = torch.cuda.get_device_capability(device)
    has = tiles.shared_memory(device)
    how = (sizes.S, sizes.dtype.itemsize, capability, has)
    return [tile for tile in tried if not tiles.does_not_fit(kernel, tile, *how)]


# ---------------------------------------------------------------- what is started
def inputs(sizes, device):
    """Tensors of a step, of order one: two heads, v, dy, the gate, a state, the bias and weights."""
    C, S, E, dtype, B, T = sizes
    draw = torch.Generator(device).manual_seed(0)

    def normal(*shape, size=1.0):
        return (size * torch.randn(shape, generator=draw, device=device)).to(dtype)

    chunks = T // C
    return {
        "q": normal(B, T, S, size=C / S**0.5),
        "k": normal(B, T, S),
        "v": normal(B, T, E),
        "dy": normal(B, T, E),
        "u": normal(B, T, E),
        "state": normal(B, chunks, S, E, size=1 / S**0.5),
        "bias": torch.randn(C, C, generator=draw, device=device),
        "a": normal(B, chunks, C, C).square().tril(),
    }


def starts(sizes, given):
    """{kernel: a function of its tile that starts it and gives what it writes}."""
    from . import kernels  # not every machine has Triton

    C, scale = sizes.C, 1 / sizes.C
    q, k, v, dy, u, state, bias, a = given.values()
    maps = [torch.zeros_like(a), torch.zeros_like(a)]
    rows = torch.empty_like(v)

    def weights(tile):
        kernels.run_weights(q, k, bias, None, maps[0], C, scale, tile)
        return maps[:1]

    def mix(tile):
        kernels.run_mix(k, v, state, a, u, None, rows, C, tile)
        return [rows]

    def both_maps(tile):
        kernels.run_maps(q, k, dy, v, bias, None, *maps, C, scale, tile)
        return maps

    def values(tile):
        kernels.run_values(k, state, a, dy, None, rows, C, tile)
        return [rows]

    return {"weights": weights, "mix": mix, "maps": both_maps, "values": values}


def without_tiles(sizes, device):
    """{kernel: a function that starts it and gives what it writes}, of those that have no tile.

    h is what a first dense layer makes.

    Each alone, as those with tiles: an operator would allocate in the time.
    """
    from . import gates, kernels

    C, S, E, dtype, B, T = sizes
    h, dh = torch.randn(2, B, T, 2 * E + S, device=device).to(dtype)
    y, dout, out, dy = torch.randn(4, B, T, E, device=device).to(dtype)
    gamma, beta = torch.randn(2, 4, S, device=device)
    cos, sin = torch.randn(2, T, S // 2, device=device)
    heads = torch.randn(4, B, T, S, device=device).to(dtype)
    sums = torch.empty(gates.shares_of(B * T, torch.device(device)), 2, 4, S, device=device)
    x = torch.randn(B, T // C, S, E, device=device).to(dtype)
    states = torch.empty_like(x)
    factor = torch.ones(1, T // C, device=device)
    gate, dgate = h[..., :E], dh[..., :E]
    base, dbase = h[..., 2 * E :], dh[..., 2 * E :]

    def make_heads():
        gates.run_heads(base, gamma, beta, cos, sin, heads)
        return [heads]

    def scan():
        kernels.run_scan(x, states, factor, None, None, False)
        return [states]

    def ungate():
        gates.run_ungate(gate, y, dout, out, dy, dgate)
        return [out, dy, dgate]

    def unheads():
        gates.run_unheads(base, gamma, cos, sin, heads, dbase, sums)
        return [dbase, sums]

    return {"heads": make_heads, "scan": scan, "ungate": ungate, "unheads": unheads}


def wanted(kernel, sizes, given):
    """The same by torch in float32, of the first row."""
    q, k, v, dy, u = (
        given[name][0].float().unflatten(0, (-1, sizes.C)) for name in ("q", "k", "v", "dy", "u")
    )
    state, a = given["state"][0].float(), given["a"][0].float()
    r = (q @ k.mT / sizes.C + given["bias"]).relu().tril()
    results = {
        "weights": lambda: [r.square()],
        "mix": lambda: [(u * (k @ state + a @ v)).flatten(0, 1)],
        "maps": lambda: [r.square(), 2 * r * (dy @ v.mT)],
        "values": lambda: [(a.mT @ dy + k @ state).flatten(0, 1)],
    }
    return results[kernel]()


def off_by(got, expected):
    """The largest relative error, of what lies on and below the diagonal of weights; infinite if one is not finite."""
    found = []
    for ours, theirs in zip(got, expected, strict=True):
        first = ours[0].float()
        first = first.tril() if first.dim() == 3 else first
        off = float((first - theirs).norm() / theirs.norm())
        found.append(off if math.isfinite(off) else math.inf)  # max would pass over a NaN
    return max(found)


def spoil(written):
    """So that no tile passes with what another one wrote before it."""
    for each in written:
        each.fill_(math.nan)


# ---------------------------------------------------------------- time
def by_do_bench(function):
    """Median and quartiles in microseconds, with an empty L2 cache at each start."""
    from triton.testing import do_bench

    quantiles = do_bench(function, quantiles=(0.5, 0.25, 0.75))
    return [round(1e3 * milliseconds, 2) for milliseconds in quantiles]


def tried(kernel, sizes, device, bench=by_do_bench, some=None):
    """A row for each tile: its three times, or why it has none. A tile that is wrong is not timed."""
    given = inputs(sizes, device)
    start = starts(sizes, given)[kernel]
    expected = wanted(kernel, sizes, given)
    rows = []
    for tile in some or candidates(kernel, sizes, device):
        row = {"tile": list(tile)}
        try:
            written = start(tile)
            off = off_by(written, expected)
            spoil(written)
            if off < OFF[sizes.dtype]:
                row["microseconds"] = bench(lambda tile=tile: start(tile))
            else:
                row["off"] = off if math.isfinite(off) else "not finite"
        except Exception as error:  # of Triton, of the compiler or of the driver: the others go on
            row["failed"] = f"{type(error).__name__}: {error}"[:200]
        rows.append(row)
    return rows


def fastest(rows):
    """The row with the smallest median, or None."""
    timed = [row for row in rows if "microseconds" in row]
    return min(timed, key=lambda row: row["microseconds"][0], default=None)


# ---------------------------------------------------------------- kept
def key_of(kernel, sizes, card):
    """By what a choice is told apart."""
    from triton import __version__

    return {
        "card": card,
        "triton": __version__,
        "kernel": kernel,
        "format": str(sizes.dtype).removeprefix("torch."),
        "C": sizes.C,
        "S": sizes.S,
        "E": 0 if kernel == "weights" else sizes.E,
    }


def keep(rows):
    """Put choices into ``tiles.json``, in place of those of the same key."""
    stored = {tiles.key_of_row(row): row for row in [*tiles.stored_rows(), *rows]}
    lines = ",\n  ".join(json.dumps(row) for row in stored.values())
    write_text(tiles.MEASURED, f'{{\n "runs": [\n  {lines}\n ]\n}}\n')
    tiles.forget()


def tune(sizes, device, bench=by_do_bench, some=None):
    """Choose a tile for each kernel, and keep the choices; gives their rows."""
    chosen = []
    for kernel in LARGE:
        if best := fastest(tried(kernel, sizes, device, bench, some)):
            chosen.append(key_of(kernel, sizes, torch.cuda.get_device_name(device)) | best)
            print(json.dumps(chosen[-1]), flush=True)
    keep(chosen)
    return chosen


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chunk-size", type=int, default=256)
    parser.add_argument("--qk-dim", type=int, default=128)
    parser.add_argument("--expanded", type=int, default=1536, help="E: expansion times the width")
    parser.add_argument("--dtype", choices=("float16", "bfloat16"), default="bfloat16")
    parser.add_argument("--length", type=int, default=8192)
    args = parser.parse_args()
    if args.length < args.chunk_size:
        parser.error(f"--length {args.length}: expected at least a chunk, {args.chunk_size} tokens")
    if not torch.cuda.is_available():
        parser.exit(2, "tiles are timed on a CUDA card, and torch sees none\n")
    C, B = args.chunk_size, max(1, TOKENS // args.length)
    dtype = getattr(torch, args.dtype)
    tune(Sizes(C, args.qk_dim, args.expanded, dtype, B, args.length // C * C), "cuda")


if __name__ == "__main__":
    main()
