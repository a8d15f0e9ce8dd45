"""What a CUDA card does with a training step, with the mixing alone and with decoding; each measurement is a row.

    python benchmarks/on_a_card.py mixing       one unit: torch, compiled, the kernels with each tile; fused attention
    python benchmarks/on_a_card.py steps        the base size in three formats, T = 512 to 8192
    python benchmarks/on_a_card.py decoding     tokens a second, one row and 64, by position

Rows go to card_mixing.json, card_steps.json and card_decoding.json in flash_course/bench/results (or --out FOLDER), as
soon as they are measured, with the card's name; one that is there is not measured again. What stands in one row was
timed in turn. A way that needs more memory than there is, or fails, is stored as such. ``--small --device cpu`` is a
try of this script in small sizes. ``tools/gpu_evidence`` runs all of it.
"""

import argparse
import copy
import gc
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from stored_runs import RESULTS, StoredRuns

from flash_course.bench.against_length import (
    PRESETS,
    Settings,
    config_of,
    decode_chunk,
    make_guest,
    make_units,
    state_at,
    training_step,
)
from flash_course.bench.clock import peak_bytes, summary, time_in_turn
from flash_support.devices import DTYPES
from flash_tutorial import FLASH, LanguageModel
from flash_tutorial.decoding import RecordedStep
from flash_tutorial.properties import draw_order_one

SMALL = Settings(dim=32, qk_dim=16, chunk_size=16, blocks=1, tokens=128, lengths=(64, 128), unit_length=128,
                 positions=(32, 64), rounds=2)  # fmt: skip
TILES = ((32, 64), (64, 64), (64, 128), (128, 64))


class Card:
    """The device, the sizes of the benchmark on it, and where its rows go."""

    def __init__(self, args):
        self.device = torch.device(args.device)
        self.name = torch.cuda.get_device_name() if self.device.type == "cuda" else "no card"
        base = SMALL if args.small else PRESETS["t4" if args.t4 else "paper-base"]
        self.settings = replace(base, device=str(self.device), rounds=2 if args.small else 10)
        self.out = args.out
        self.is_real = self.device.type == "cuda"  # else a try: without kernels, and without a compiler's minutes
        self.formats = ("bfloat16", "float16", "float32") if self.is_real else ("bfloat16", "float32")

    def row(self, what, key, make):
        """Measure a row, unless it is stored already."""
        runs = StoredRuns(f"card_{what}", f"python benchmarks/on_a_card.py {what}", self.out)
        return runs.find_or_make({"card": self.name} | key, make)

    def time(self, ways):
        """For each way its seconds, or what it failed with; all that run take turns.

        ``ways``: name -> a function that makes a step, and what a copy of is handed to the step each time, or None.
        """
        rows, steps, given = {}, {}, {}
        for name, make in ways.items():
            try:
                steps[name], given[name] = make()
                first = partial(steps[name], *copy.deepcopy([given[name]] if given[name] else []))
                rows[name] = {"peak_bytes": peak_bytes(first, self.device)}  # a first call, which compiles
            except torch.OutOfMemoryError:
                rows[name] = {"out_of_memory": True}
            except Exception as error:  # of Triton, of the compiler or of the driver: the others go on
                rows[name] = {"failed": " ".join(f"{type(error).__name__}: {error}".split())[:300]}
            if "peak_bytes" not in rows[name]:
                steps.pop(name, None)
                gc.collect()
                torch.cuda.empty_cache()
        how = dict(prepare=lambda name: copy.deepcopy(given[name])) if any(given.values()) else {}
        for name, seconds in time_in_turn(steps, self.settings.rounds, warmup=2, device=self.device, **how).items():
            rows[name]["seconds"] = summary(seconds)
        return {"ways": rows}


def with_backend(units, backend):
    """The units with the kernels or with torch, whatever ``auto`` would take."""
    for unit in units.modules():
        if isinstance(unit, FLASH):
            unit.backend = backend
    return units


# ---------------------------------------------------------------- training steps
def steps(card):
    for T in card.settings.lengths:
        for name in card.formats:
            settings = replace(card.settings, dtype=name)
            card.row("steps", {"format": name, "T": T, "tokens": settings.tokens, "dim": settings.dim},
                     lambda s=settings, T=T: card.time(ways_of_a_step(card, s, T)))  # fmt: skip


def ways_of_a_step(card, settings, T):
    """Each model eager and compiled, FLASH by the kernels, and the public port."""
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

    ways = {"FLASH, torch": step("flash")}
    if card.is_real:
        ways |= {"FLASH, compiled": step("flash", compile=True), "FLASH, kernels": step("flash", "triton"),
                 "Transformer++, compiled": step("transformer++", compile=True)}  # fmt: skip
    return ways | {"FLASH-Quad": step("flash_quad"), "Transformer++": step("transformer++"), "FLASH-pytorch": guest}


# ---------------------------------------------------------------- the mixing of one unit
def mixing(card):
    """Forward and backward, against torch and against fused attention of a block of the same width."""
    for name in card.formats[:-1]:
        for T in card.settings.lengths:
            settings = replace(card.settings, dtype=name)
            card.row("mixing", {"format": name, "T": T, "tokens": settings.tokens, "dim": settings.dim},
                     lambda s=settings, T=T: card.time(ways_of_mixing(card, s, T)))  # fmt: skip


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

    def by_kernels(tile):
        def make():
            from flash_tutorial.gpu.fused import fused_mixed_chunk

            def mix(*all_inputs):
                *five, u, table = all_inputs
                how = dict(chunk_size=s.chunk_size, bias=lambda n: table[:n, :n], gate=u, tile=tile)
                return fused_mixed_chunk(*five, **how)

            return back(mix, inputs())

        return make

    def attention():
        heads = tensors(*[(batch, max(1, s.dim // 64), T, min(64, s.dim))] * 3)
        return back(lambda *qkv: torch.nn.functional.scaled_dot_product_attention(*qkv, is_causal=True), heads)

    ways = {"torch": by_torch(), "fused attention of a block": attention}
    if card.is_real:
        ways |= {"compiled": by_torch(compile=True)} | {f"kernels, {M} x {n}": by_kernels((M, n)) for M, n in TILES}
    return ways


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
                         lambda s=settings, b=batch, p=position: card.time(ways_of_decoding(s, b, p)))  # fmt: skip


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
    parser.add_argument("--t4", action="store_true", help="sizes that fit 15 GB")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.exit(2, "this benchmark needs a CUDA card, and torch sees none; --small --device cpu tries the script\n")
    with suppress(AttributeError):
        torch._dynamo.config.recompile_limit = 64  # each length compiles anew
    {"mixing": mixing, "steps": steps, "decoding": decoding}[args.what](Card(args))


if __name__ == "__main__":
    main()
