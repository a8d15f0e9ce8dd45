"""The Triton kernel against torch and torch.compile, forward, on a CUDA card; run by hand where there is one.

    python benchmarks/kernels.py

Sizes of a unit of the paper's base model, float16. Each way is first held against float32 mixing, then all take turns.
The result goes to flash_course/bench/results/kernels_gpu.json; lecture 11 draws it.
"""

import json
import sys
from pathlib import Path

import torch

from flash_course.bench.clock import machine, summary, time_in_turn
from flash_tutorial.files import write_text
from flash_tutorial.mixing import mixed_chunk_attention

RESULT = Path(__file__).parent.parent / "flash_course" / "bench" / "results" / "kernels_gpu.json"
TOKENS, S, E, C = 32_768, 128, 1536, 256
LENGTHS = (512, 1024, 2048, 4096, 8192, 16_384, 32_768)
TILES = ((32, 64), (64, 64), (64, 128), (128, 128))
ROUNDS = 20


def by_torch(quad_q, quad_k, lin_q, lin_k, v, u, table):
    mixed = mixed_chunk_attention(
        quad_q, quad_k, lin_q, lin_k, v, chunk_size=C, causal=True, bias=lambda n: table[:n, :n]
    )
    return u * mixed


def inputs(T, dtype):
    """Heads, value, gate and bias of order one, the same numbers for each type."""
    random = torch.Generator().manual_seed(0)
    shapes = [(TOKENS // T, T, S)] * 4 + [(TOKENS // T, T, E)] * 2 + [(C, C)]
    return [torch.randn(shape, generator=random).to("cuda", dtype) for shape in shapes]


def fused(kernels, tile):
    def call(*tensors):
        *heads, v, u, table = tensors
        return kernels.fused_mixed_chunk(*heads, v, chunk_size=C, bias=lambda n: table[:n, :n], gate=u, tile=tile)

    return call


def relative_error(got, wanted):
    return float((got.float() - wanted).norm() / wanted.norm())


def best_tile(kernels, say=print):
    """The fastest tile at T = 4096, and the time of each; None for one that does not fit the card."""
    tensors, fits, seconds = inputs(4096, torch.float16), {}, {}
    for tile in TILES:
        try:
            fused(kernels, tile)(*tensors)
            fits[tile] = lambda tile=tile: fused(kernels, tile)(*tensors)
        except Exception as error:  # Triton's own, for too much fast memory or too many registers
            say(f"tile {tile}: {str(error).splitlines()[0]}")
    for tile, times in time_in_turn(fits, ROUNDS, warmup=3, device="cuda").items():
        seconds[tile] = summary(times)["median"]
    return min(seconds, key=seconds.get), {f"{M} x {n}": seconds.get((M, n)) for M, n in TILES}


def main():
    if not torch.cuda.is_available():
        sys.exit("this benchmark needs a CUDA card, and torch sees none; the lecture runs without its result")
    import triton

    from flash_tutorial import kernels

    torch.set_grad_enabled(False)
    tile, tiles = best_tile(kernels)
    ways = {"torch": by_torch, "torch.compile": torch.compile(by_torch, dynamic=False), "Triton": fused(kernels, tile)}
    rows = []
    for T in LENGTHS:
        tensors = inputs(T, torch.float16)
        wanted = by_torch(*(t.float() for t in tensors))
        errors = {name: relative_error(way(*tensors), wanted) for name, way in ways.items()}
        if max(errors.values()) > 5e-3:
            sys.exit(f"T={T}: relative errors {errors}, expected less than 5e-3; nothing is stored")
        timed = {name: lambda way=way, tensors=tensors: way(*tensors) for name, way in ways.items()}
        seconds = {name: summary(s) for name, s in time_in_turn(timed, ROUNDS, warmup=3, device="cuda").items()}
        rows.append(dict(T=T, batch=TOKENS // T, errors=errors, seconds=seconds))
        print(T, {name: f"{1e3 * s['median']:.3f} ms" for name, s in seconds.items()}, flush=True)
    major, minor = torch.cuda.get_device_capability()
    result = {
        "command": "python benchmarks/kernels.py",
        "machine": machine("cuda") | {"capability": f"{major}.{minor}", "triton": triton.__version__},
        "settings": dict(tokens=TOKENS, S=S, E=E, C=C, dtype="float16", rounds=ROUNDS, tile=tile),
        "methods": list(ways),
        "tiles": tiles,
        "rows": rows,
    }
    write_text(RESULT, json.dumps(result, indent=1) + "\n")
    print(f"stored in {RESULT.name}")


if __name__ == "__main__":
    main()
