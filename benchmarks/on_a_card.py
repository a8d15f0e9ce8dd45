"""What a CUDA card does with a training step, with the mixing alone and with decoding; each measurement is a row.

    python benchmarks/on_a_card.py mixing      # one unit: torch, the kernels with each tile and 4 or 8 warps; attention
    python benchmarks/on_a_card.py steps       # the base size in three formats, T = 512 to 8192
    python benchmarks/on_a_card.py decoding    # tokens a second, one row and 64, by position

Rows go to card_mixing.json, card_steps.json and card_decoding.json in flash_course/bench/results (or --out FOLDER),
with the card's name. What stands in one row was timed in turn. A row is stored after the first call of each of its ways
and after each round, so that what was measured stays where the run is stopped. After the last round it is complete, and
is not measured again. A way that needs more memory than there is, or fails, is stored as such. ``--small --device cpu``
is a try of this script in small sizes. ``tools/gpu_evidence`` runs all of it.
"""

import argparse
import copy
import gc
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path

import torch
from stored_runs import RESULTS, StoredRuns

from flash_course.bench.against_length import (
    PRESETS,
    config_of,
    decode_chunk,
    make_guest,
    make_units,
    state_at,
    training_step,
)
from flash_course.bench.clock import peak_bytes, rounds_in_turn, summary
from flash_tutorial import FLASH, LanguageModel
from flash_tutorial.check import draw_order_one
from flash_tutorial.generate import RecordedStep
from flash_tutorial.training.devices import DTYPES

TILES = ((32, 64), (64, 64), (64, 128), (128, 64))
WARPS = (4, 8)


class Card:
    """The device, the sizes of the benchmark on it, and where its rows go."""

    def __init__(self, args):
        self.device = torch.device(args.device)
        self.is_real = self.device.type == "cuda"  # else a try: without kernels, and without a compiler's minutes
        self.name = (torch.cuda.get_device_name() if self.is_real else "no card") + (" as a T4" if args.t4 else "")
        base = PRESETS["tiny" if args.small else "t4" if args.t4 else "paper-base"]
        self.settings = replace(base, device=str(self.device), rounds=2 if args.small else 10)
        self.out = args.out
        halves = ("bfloat16", "float16") if self.is_real else ("bfloat16",)
        self.halves = tuple(name for name in halves if not (args.t4 and name == "bfloat16"))  # a T4 has no units for it

    def row(self, what, key, ways):
        """Measure ``ways()`` and store what is known of them as it grows, unless the row is there and complete."""
        runs = StoredRuns(f"card_{what}", __doc__, self.out)
        key = {"card": self.name} | key
        if any(run["complete"] for run in runs.where(**key)):
            return
        for found in self.time(ways()):
            runs.put(key, key | {"complete": False, "ways": found})
        runs.put(key, key | {"complete": True, "ways": found})
        print(key | {"ways": found}, flush=True)

    def time(self, ways):
        """Yield what is known of each way, as it grows: its bytes and seconds, or what it failed with.

        ``ways``: name -> a function that makes a step, and what a copy of is handed to the step each time, or None. All
        that run take turns.
        """
        found, steps, given = {}, {}, {}
        for name, make in ways.items():
            try:
                steps[name], given[name] = make()
                found[name] = {"peak_bytes": self.first_call(steps[name], given[name])}
            except Exception as error:  # of Triton, of the compiler or of the driver: the others go on
                found[name] = reason(error)
                steps.pop(name, None)
            if name not in steps:  # the next one may need what it held
                gc.collect()
                torch.cuda.empty_cache()
            yield found

        def leave_out(name, error):
            found[name] = reason(error)  # in place of the seconds before it
            del steps[name]

        how = dict(prepare=lambda name: copy.deepcopy(given[name])) if any(given.values()) else {}
        how |= dict(warmup=2, device=self.device, leave_out=leave_out)
        for seconds in rounds_in_turn(steps, self.settings.rounds, **how):
            for name in seconds:
                found[name]["seconds"] = summary(seconds[name])
            yield found

    def first_call(self, step, given):
        """The most bytes that it holds; a compiler does its work in it."""
        return peak_bytes(partial(step, *copy.deepcopy([given] if given else [])), self.device)


def reason(error):
    """Why a way has no time, as its row says it."""
    if isinstance(error, torch.OutOfMemoryError):
        return {"out_of_memory": True}
    return {"failed": " ".join(f"{type(error).__name__}: {error}".split())[:300]}


def with_backend(units, backend):
    """The units with the kernels or with torch, whatever ``auto`` would take."""
    for unit in units.modules():
        if isinstance(unit, FLASH):
            unit.backend = backend
    return units


# ---------------------------------------------------------------- training steps
def steps(card):
    for T in card.settings.lengths:
        for name in (*card.halves, "float32"):
            settings = replace(card.settings, dtype=name)
            card.row("steps", {"format": name, "T": T, "tokens": settings.tokens, "dim": settings.dim},
                     partial(ways_of_a_step, card, settings, T))  # fmt: skip


def ways_of_a_step(card, settings, T):
    """FLASH by torch and by the kernels, what it is held against, and the public port.

    Names say whether everything was compiled. Around the kernels nothing is: in a compiled model ``auto`` takes torch.
    """
    batch = settings.tokens // T

    def step(architecture, backend="torch", compile=False):
        def make():
            units = with_backend(make_units(architecture, settings), backend)
            return training_step(torch.compile(units, dynamic=False) if compile else units, settings, batch, T), None

        return make

    def guest():
        model, why = make_guest(settings)
        if model is None:
            raise ValueError(why)
        return training_step(model, settings, batch, T), None

    ways = {"FLASH, torch, not compiled": step("flash")}
    if card.is_real:
        ways |= {
            "FLASH, torch, compiled": step("flash", compile=True),
            "FLASH, kernels, not compiled": step("flash", "triton"),
            "Transformer++, compiled": step("transformer++", compile=True),
        }
    return ways | {
        "Transformer++, not compiled": step("transformer++"),
        "FLASH-Quad, not compiled": step("flash_quad"),
        "FLASH-pytorch, not compiled": guest,
    }


# ---------------------------------------------------------------- the mixing of one unit
def mixing(card):
    """Forward and backward, against torch and against fused attention of a block of the same width."""
    for name in card.halves or ["float32"]:  # a try as a T4 has no half precision
        for T in card.settings.lengths:
            settings = replace(card.settings, dtype=name)
            card.row("mixing", {"format": name, "T": T, "tokens": settings.tokens, "dim": settings.dim},
                     partial(ways_of_mixing, card, settings, T))  # fmt: skip


def ways_of_mixing(card, settings, T):
    s, dtype, device = settings, DTYPES[settings.dtype], settings.device
    batch, E = s.tokens // T, 2 * s.dim

    def tensors(*shapes):
        return [torch.randn(shape, dtype=dtype, device=device, requires_grad=True) for shape in shapes]

    def back(function, inputs):
        def step():
            out = function(*inputs)
            torch.autograd.grad(out, inputs, torch.ones_like(out))

        return step, None

    def by_torch(compile=False):
        from flash_tutorial.fast import relu2_attention
        from flash_tutorial.mixing import mixed_chunk_attention

        def mix(quad_q, quad_k, lin_q, lin_k, v, u, table):
            how = dict(chunk_size=s.chunk_size, causal=True, bias=lambda n: table[:n, :n], attend=relu2_attention)
            return u * mixed_chunk_attention(quad_q, quad_k, lin_q, lin_k, v, **how)

        return lambda: back(torch.compile(mix, dynamic=False) if compile else mix, inputs())

    def inputs():
        C = min(s.chunk_size, T)
        return tensors(*[(batch, T, s.qk_dim)] * 4, *[(batch, T, E)] * 2, (C, C))

    def by_kernels(tile, warps):
        def make():
            from flash_tutorial.gpu import kernels
            from flash_tutorial.gpu.fused import fused_mixed_chunk

            def mix(*all_inputs):
                *five, u, table = all_inputs
                how = dict(chunk_size=s.chunk_size, bias=lambda n: table[:n, :n], gate=u, tile=tile)
                return fused_mixed_chunk(*five, **how)

            step, _ = back(mix, inputs())
            return started_with(warps, step, kernels), None

        return make

    def attention():
        heads = tensors(*[(batch, max(1, s.dim // 64), T, min(64, s.dim))] * 3)
        return back(lambda *qkv: torch.nn.functional.scaled_dot_product_attention(*qkv, is_causal=True), heads)

    ways = {"torch, not compiled": by_torch(), "fused attention of a block": attention}
    if card.is_real:
        ways["torch, compiled"] = by_torch(compile=True)
        for (M, numbers), warps in product(TILES, WARPS):
            ways[f"kernels, {M} x {numbers}, {warps} warps"] = by_kernels((M, numbers), warps)
    return ways


class WithWarps:
    """A kernel whose programs have so many warps (of 32 threads each); the package leaves their number to Triton."""

    def __init__(self, kernel, warps):
        self.kernel, self.warps = kernel, warps

    def __getitem__(self, programs):
        return partial(self.kernel[programs], num_warps=self.warps)


def started_with(warps, step, kernels):
    """The step with so many warps in each program of the kernels that work in tiles; ``kernels``: their module."""
    names = ("mix_kernel", "maps_kernel", "values_kernel")

    def call():
        before = {name: getattr(kernels, name) for name in names}
        try:
            for name in names:
                setattr(kernels, name, WithWarps(before[name], warps))
            step()
        finally:
            for name in names:
                setattr(kernels, name, before[name])

    return call


# ---------------------------------------------------------------- decoding
@torch.no_grad()
def decoding(card):
    """Seconds of C steps in a row."""
    for name in ("float16",) if card.device.type == "cuda" else ("float32",):
        for batch in (1, 64):
            for position in card.settings.positions:
                settings = replace(card.settings, dtype=name)
                key = {"format": name, "batch": batch, "position": position, "tokens": settings.chunk_size}
                card.row("decoding", key | {"dim": settings.dim},
                         partial(ways_of_decoding, settings, batch, position))  # fmt: skip


def ways_of_decoding(settings, batch, position):
    def model_of(architecture):
        config = config_of(architecture, settings, blocks=settings.decoding_blocks)
        model = draw_order_one(LanguageModel(config), torch.Generator().manual_seed(0)).eval()
        return model.to(settings.device, DTYPES[settings.dtype])

    def steps(architecture):
        def make():
            model = model_of(architecture)
            return decode_chunk(model, settings, batch), state_at(model, position, batch)

        return make

    def recorded():
        model, C = model_of("flash"), settings.chunk_size
        step = RecordedStep(model, state_at(model, position, batch), room=position + (settings.rounds + 4) * C)
        ids = torch.zeros(batch, dtype=torch.long, device=settings.device)

        def go_on(_=None):  # from where it was: a graph has one state, and the time does not depend on the position
            for _ in range(C):
                step(ids)

        return go_on, None

    return {"FLASH": steps("flash"), "FLASH, recorded": recorded, "Transformer++": steps("transformer++")}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["mixing", "steps", "decoding"])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="sizes for a try")
    parser.add_argument("--t4", action="store_true", help="sizes and formats of a T4; rows have it in the card's name")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.exit(2, "this benchmark needs a CUDA card, and torch sees none; --small --device cpu tries the script\n")
    with suppress(AttributeError):
        torch._dynamo.config.recompile_limit = 64  # each length compiles anew
    {"mixing": mixing, "steps": steps, "decoding": decoding}[args.what](Card(args))


if __name__ == "__main__":
    main()
