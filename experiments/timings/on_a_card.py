"""What a CUDA card does with a training step, with the mixing alone, with decoding and with training; a row each.

    python experiments/timings/on_a_card.py steps  # the base size in half precision, T = 512 to 65,536
    python experiments/timings/on_a_card.py decoding  # tokens a second, one row and 64, by position
    python experiments/timings/on_a_card.py kernels  # each alone, with each tile that fits, beside its prediction
    python experiments/timings/on_a_card.py mixing  # one unit: torch, attention, the kernels
    python experiments/timings/on_a_card.py training
        # 200 updates, beside the losses of a CPU (which --device cpu stores)
    python experiments/timings/on_a_card.py formats  # steps in the other formats, and with the tile that was measured

Rows go to card_WHAT.json in flash_course/bench/results (or --out FOLDER), with the card's name and a digest of the code
that ran. What stands in one row was timed in turn. A row is stored after the first call of each of its ways and after
each round, so that what was measured stays where the run is stopped. After the last round it is complete, and is not
measured again. A way that needs more memory than there is, or fails, is stored as such. A kernel is timed
once what it makes is what torch makes. Its fastest tile goes to card_tiles.json, whose rows
``flash_tutorial/gpu/tiles.py`` reads. ``--small`` is a try in small sizes, also without a card. ``tools/gpu_evidence``
runs all of it.
"""

import argparse
import copy
import gc
import hashlib
import re
import time
from contextlib import suppress
from dataclasses import replace
from functools import cache, partial
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
from flash_course.bench.clock import peak_bytes, rounds_in_turn, summary, synchronize
from flash_course.bench.stored import load_stored
from flash_tutorial import FLASH, LanguageModel, ModelConfig
from flash_tutorial.check import draw_order_one
from flash_tutorial.corpora import load_corpus
from flash_tutorial.generate import RecordedStep
from flash_tutorial.gpu import tiles, tuning
from flash_tutorial.training import TrainConfig, train
from flash_tutorial.training.devices import DTYPES

ROOT = Path(__file__).resolve().parents[2]
LONGEST_OF_QUAD, LONGEST_OF_GUEST = 8192, 8192
LENGTHS = tuple(2**n for n in range(9, 17))  # 512 to 65,536
# what is measured
CODE = (
    "flash_tutorial",
    "flash_course/bench",
    "experiments/timings/on_a_card.py",
)


@cache
def code_digest():
    """Of the text of all that is measured: rows of other code are not taken for this code's."""
    paths = []
    for part in CODE:
        paths += [ROOT / part, *(ROOT / part).rglob("*.py")]
    texts = (path.read_text(encoding="utf-8").encode() for path in sorted(paths) if path.is_file())
    return hashlib.sha256(b"".join(texts)).hexdigest()[:12]


def sizes_of(args):
    """The benchmark's sizes: the paper's base size, a T4's share of it, or those of a try."""
    if args.small:
        short = dict(tokens=64, lengths=(64,), unit_length=64, positions=(32,))
        return replace(PRESETS["tiny"], rounds=2, **short)
    if args.t4:
        return replace(PRESETS["t4"], rounds=10)
    return replace(PRESETS["paper-base"], rounds=10, tokens=max(LENGTHS), lengths=LENGTHS)


class LeftOut(Exception):
    """A way that cannot be tried, and why."""


class Card:
    """The device, the sizes of the benchmark on it, and where its rows go."""

    def __init__(self, args):
        self.device = torch.device(args.device)
        # else a try: without kernels, and without a compiler's minutes
        self.is_real = self.device.type == "cuda"
        self.small = args.small
        self.name = torch.cuda.get_device_name() if self.is_real else "no card"
        if args.t4:
            self.name += " as a T4"
        self.settings = replace(sizes_of(args), device=str(self.device))
        self.out = args.out
        no_units = args.t4 or (
            self.is_real and torch.cuda.get_device_capability(self.device) < (8, 0)
        )
        halves = ("bfloat16", "float16") if self.is_real else ("bfloat16",)
        self.halves = tuple(name for name in halves if not (no_units and name == "bfloat16"))
        self.formats = (*self.halves, "float32")

    def tiles(self, name):
        """The tiles that the package takes in that format, by kernel."""
        sizes = self.sizes_of_kernels(name)
        found = {}
        for kernel in tiles.LARGE:
            how = (sizes.C, sizes.S, 0 if kernel == "weights" else sizes.E)
            found[kernel] = list(tiles.tile_for(kernel, self.device, sizes.dtype, *how))
        return found

    def sizes_of_kernels(self, name):
        """Those of a unit at the benchmark's sizes, in that format."""
        s = self.settings
        T = next((T for T in s.lengths if T == 8192), s.lengths[-1])
        C = min(s.chunk_size, T)
        return tuning.Sizes(C, s.qk_dim, 2 * s.dim, DTYPES[name], max(1, s.tokens // T), T // C * C)

    def row(self, what, key, ways):
        """Measure ``ways()`` and store what is known of them as it grows, unless the row is there and complete."""
        runs = StoredRuns(f"card_{what}", __doc__, self.out)
        key = {"card": self.name, "code": code_digest()} | key
        (before,) = runs.where(**key) or ({"complete": False, "ways": {}},)
        if before["complete"]:
            return
        for found in self.time(ways(), before["ways"]):
            runs.put(key, key | {"complete": False, "ways": found})
        runs.put(key, key | {"complete": True, "ways": found})
        print(key | {"ways": found}, flush=True)

    def time(self, ways, before=()):
        """Yield what is known of each way, as it grows: its bytes and seconds, or what it failed with.

        ``ways``: name -> a function that makes a step, and what a copy of is handed to the step each time, or None. All
        that run take turns. ``before``: what runs that were stopped had found. A way in which two of them ended, as
        where it hangs, is left out.
        """
        found, steps, given = {}, {}, {}
        for name, make in ways.items():
            begun = dict(before).get(name, {}).get("begun", 0)
            found[name] = {"begun": begun + 1}
            yield found
            try:
                if begun >= 2:
                    raise LeftOut(f"{begun} runs ended in it")
                steps[name], given[name] = make()
                found[name] = {"peak_bytes": self.first_call(steps[name], given[name])}
            except LeftOut as why:
                found[name] = {"left_out": str(why)}
            except (
                Exception
            ) as error:  # of Triton, of the compiler or of the driver: the others go on
                found[name] = reason(error)
                steps.pop(name, None)
                self.check_alive(found[name] | {"begun": begun + 1})
            if name not in steps:  # the next one may need what it held
                gc.collect()
                torch.cuda.empty_cache()
            yield found

        def leave_out(name, error):
            found[name] = reason(error)  # in place of the seconds before it
            del steps[name]
            self.check_alive(found[name])

        warmup = 0 if self.small else 2
        how = dict(warmup=warmup, device=self.device, leave_out=leave_out)
        if any(given.values()):
            how["prepare"] = lambda name: copy.deepcopy(given[name])
        for seconds in rounds_in_turn(steps, self.settings.rounds, **how):
            for name in seconds:
                found[name]["seconds"] = summary(seconds[name])
            yield found

    def check_alive(self, failed):
        """After some errors, as an illegal address, the card does nothing more for this process: it has to end."""
        try:
            synchronize(self.device)
        except RuntimeError:
            raise SystemExit(f"the card does nothing more for this process: {failed}") from None

    def first_call(self, step, given):
        """The most bytes that it holds; a compiler does its work in it."""
        arguments = [copy.deepcopy(given)] if given else []
        return peak_bytes(partial(step, *arguments), self.device)


def reason(error):
    """Why a way has no time, as its row says it."""
    if isinstance(error, torch.OutOfMemoryError):
        return {"out_of_memory": True}
    said = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    if type(error).__name__ == "OutOfResources":  # of Triton: the program takes more than an SM has
        return {"out_of_resources": said}
    return {"failed": said}


def with_backend(units, backend):
    """The units with the kernels or with torch, whatever ``auto`` would take."""
    for unit in units.modules():
        if isinstance(unit, FLASH):
            unit.backend = backend
    return units


# ---------------------------------------------------------------- training steps
def steps(card):
    """In the format that the card trains in, at all lengths."""
    for T in card.settings.lengths:
        row_of_steps(card, card.formats[0], T)


def formats(card):
    """In the other formats, and once more in the first one if another tile was measured to be faster."""
    lengths = [T for T in card.settings.lengths if T in (2048, 8192)] or card.settings.lengths[-1:]
    for name, T in product(card.formats, lengths):
        row_of_steps(card, name, T)


def row_of_steps(card, name, T):
    settings = replace(card.settings, dtype=name)
    key = {
        "format": name,
        "T": T,
        "tokens": settings.tokens,
        "dim": settings.dim,
        "tiles": card.tiles(name),
    }
    card.row("steps", key, partial(ways_of_a_step, card, settings, T))


def ways_of_a_step(card, settings, T):
    """FLASH by torch and by the kernels, what it is held against, and the public port.

    Names say whether everything was compiled, unit by unit; the kernels are an operator that a compiler leaves alone.
    """
    batch = settings.tokens // T

    def step(architecture, backend="torch", compile=False):
        def make():
            units = with_backend(make_units(architecture, settings), backend)
            if compile:  # all units share what is compiled for the first one
                for unit in units:
                    unit.compile(dynamic=False)
            return training_step(units, settings, batch, T), None

        return make

    def guest():
        if T > LONGEST_OF_GUEST:
            raise LeftOut(f"timed up to T = {LONGEST_OF_GUEST} only")
        model, why = make_guest(settings)
        if model is None:
            raise LeftOut(why)
        return training_step(model, settings, batch, T), None

    def quadratic():
        if T > LONGEST_OF_QUAD:
            raise LeftOut(
                f"timed up to T = {LONGEST_OF_QUAD} only: its matrices have T x T numbers"
            )
        return step("flash_quad")()

    ways = {}
    if card.is_real:
        ways |= {
            "FLASH, kernels, not compiled": step("flash", "triton"),
            "FLASH, kernels, compiled": step("flash", "triton", compile=True),
            "Transformer++, compiled": step("transformer++", compile=True),
            "FLASH, torch, compiled": step("flash", compile=True),
        }
    return ways | {
        "FLASH, torch, not compiled": step("flash"),
        "Transformer++, not compiled": step("transformer++"),
        "FLASH-Quad, not compiled": quadratic,
        "FLASH-pytorch, not compiled": guest,
    }


# ---------------------------------------------------------------- each kernel alone
def kernels(card):
    """Those without a tile first, which take seconds; then with each tile that fits. The fastest is what the package
    takes from then on."""
    if not card.is_real:
        return
    for name in card.halves:
        sizes = card.sizes_of_kernels(name)
        for kernel, start in tuning.without_tiles(sizes, card.device).items():
            row_of_a_kernel(card, kernel, sizes, partial(time_of_a_kernel, card, start))
    for name, kernel in product(card.halves, tiles.LARGE):
        sizes = card.sizes_of_kernels(name)
        make = partial(tiles_of_a_kernel, card, kernel, sizes)
        rows = row_of_a_kernel(card, kernel, sizes, make)["tiles"]
        if best := tuning.fastest(rows):
            choice = tuning.key_of(kernel, sizes, card.name)
            StoredRuns("card_tiles", __doc__, card.out).put(choice, choice | best)
        card.check_alive(rows)


def row_of_a_kernel(card, kernel, sizes, make):
    """What ``make()`` measures, beside what the model of time said of the package's own tile."""
    key = {"card": card.name, "code": code_digest(), "tokens": sizes.B * sizes.T}
    key |= tuning.key_of(kernel, sizes, card.name)
    return StoredRuns("card_kernels", __doc__, card.out).find_or_make(
        key, lambda: make() | {"predicted_microseconds": predicted(kernel, sizes, card.name)}
    )


def tiles_of_a_kernel(card, kernel, sizes):
    """What each tile takes."""
    how = {"bench": clocked, "some": tiles.LARGE[kernel]} if card.small else {}
    return {"tiles": tuning.tried(kernel, sizes, card.device, **how)}


def time_of_a_kernel(card, start):
    """The same of one that has no tile."""
    bench = clocked if card.small else tuning.by_do_bench
    return {"microseconds": bench(start)}


def predicted(kernel, sizes, card):
    """What the model of time says of a kernel; None for other sizes than its own, and for other cards."""
    stored = load_stored("kernel_times")
    at = {"T": sizes.T, "tokens": sizes.B * sizes.T, "C": sizes.C, "S": sizes.S, "E": sizes.E}
    if at != stored["about"]["sizes"]:
        return None
    for row in stored["rows"]:
        if row["kernel"] == kernel and row["card"] in re.split(r"[ -]", card):
            return row["microseconds"]
    return None


def clocked(function):
    """In a try: one start by the clock."""
    start = time.perf_counter()
    function()
    return [round(1e6 * (time.perf_counter() - start), 2)] * 3


# ---------------------------------------------------------------- the mixing of one unit
def mixing(card):
    """Forward and backward, against torch and against fused attention of a block of the same width."""
    T = next((T for T in card.settings.lengths if T == 8192), card.settings.lengths[-1])
    for name in card.halves or ["float32"]:  # a try as a T4 has no half precision
        settings = replace(card.settings, dtype=name)
        key = {
            "format": name,
            "T": T,
            "tokens": settings.tokens,
            "dim": settings.dim,
            "S": settings.qk_dim,
        }
        card.row("mixing", key, partial(ways_of_mixing, card, settings, T))


def forward_and_back(function, inputs):
    """What is timed of a function: forward and backward; nothing is prepared for it."""

    def step():
        out = function(*inputs)
        torch.autograd.grad(out, inputs, torch.ones_like(out))

    return step, None


def ways_of_mixing(card, settings, T):
    s, dtype, device = settings, DTYPES[settings.dtype], settings.device
    batch, E = s.tokens // T, 2 * s.dim

    def tensors(*shapes):
        return [
            torch.randn(shape, dtype=dtype, device=device, requires_grad=True) for shape in shapes
        ]

    def by_torch(compile=False):
        from flash_tutorial.fast import relu2_attention
        from flash_tutorial.mixing import mixed_chunk_attention

        def mix(quad_q, quad_k, lin_q, lin_k, v, u, table):
            how = dict(
                chunk_size=s.chunk_size,
                causal=True,
                bias=lambda n: table[:n, :n],
                attend=relu2_attention,
            )
            return u * mixed_chunk_attention(quad_q, quad_k, lin_q, lin_k, v, **how)

        def make():
            function = torch.compile(mix, dynamic=False) if compile else mix
            return forward_and_back(function, inputs())

        return make

    @cache
    def inputs():  # one set for all ways
        C = min(s.chunk_size, T)
        return tensors(*[(batch, T, s.qk_dim)] * 4, *[(batch, T, E)] * 2, (C, C))

    def by_kernels():
        from flash_tutorial.gpu.fused import fused_mixed_chunk

        def mix(*all_inputs):
            *five, u, table = all_inputs
            how = dict(chunk_size=s.chunk_size, bias=lambda n: table[:n, :n], gate=u)
            return fused_mixed_chunk(*five, **how)

        return forward_and_back(mix, inputs())

    def attention():
        heads = tensors(*[(batch, max(1, s.dim // 64), T, min(64, s.dim))] * 3)
        attend = partial(torch.nn.functional.scaled_dot_product_attention, is_causal=True)
        return forward_and_back(attend, heads)

    ways = {"torch, not compiled": by_torch(), "fused attention of a block": attention}
    if card.is_real:
        ways["torch, compiled"] = by_torch(compile=True)
        ways["kernels"] = by_kernels
    return ways


# ---------------------------------------------------------------- decoding
@torch.no_grad()
def decoding(card):
    """Seconds of C steps in a row."""
    formats = ("float16",) if card.device.type == "cuda" else ("float32",)
    for name in formats:
        for batch in (1, 64):
            for position in card.settings.positions:
                settings = replace(card.settings, dtype=name)
                key = {
                    "format": name,
                    "batch": batch,
                    "position": position,
                    "tokens": settings.chunk_size,
                }
                card.row(
                    "decoding",
                    key | {"dim": settings.dim},
                    partial(ways_of_decoding, settings, batch, position),
                )


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
        step = RecordedStep(
            model, state_at(model, position, batch), room=position + (settings.rounds + 4) * C
        )
        ids = torch.zeros(batch, dtype=torch.long, device=settings.device)

        def go_on(
            _=None,
        ):
            # from where it was: a graph has one state, and the time does not depend on the position
            for _ in range(C):
                step(ids)

        return go_on, None

    return {
        "FLASH": steps("flash"),
        "FLASH, recorded": recorded,
        "Transformer++": steps("transformer++"),
    }


# ---------------------------------------------------------------- a training run
UPDATES = TrainConfig(
    steps=200, batch=8, length=256, learning_rate=3e-3, warmup=20, eval_bytes=20_000
)
MODEL = dict(dim=128, depth=4, qk_dim=64, chunk_size=64)
SMALL_UPDATES = replace(UPDATES, steps=3, batch=1, length=32, warmup=1, eval_bytes=500)
SMALL_MODEL = dict(dim=16, depth=1, qk_dim=16, chunk_size=16)


def training(card):
    """The losses of updates by torch and by the kernels, and how far they are from the CPU's."""
    if not card.is_real:
        for name in ("float32", "bfloat16"):
            row_of_training(card, name, "torch")
        return
    for name, backend in product(("float32", *card.halves), ("triton", "torch")):
        row_of_training(card, name, backend)


def row_of_training(card, name, backend):
    key = {
        "card": card.name,
        "code": code_digest(),
        "format": name,
        "backend": backend,
        "small": card.small,
    }
    StoredRuns("card_training", __doc__, card.out).find_or_make(
        key, partial(train_and_compare, card, name, backend)
    )


def train_and_compare(card, name, backend):
    """What came out of a run; ``off`` is the largest relative difference from the CPU's losses, in float32."""
    updates, sizes = (SMALL_UPDATES, SMALL_MODEL) if card.small else (UPDATES, MODEL)
    config = replace(updates, dtype=name)
    model = ModelConfig("flash", backend=backend, **sizes)
    try:
        done = train(
            model, config, corpus=load_corpus("austen"), device=card.device, progress=False
        )
    except Exception as error:  # of the kernels, or a loss that is not finite: the other runs go on
        return reason(error)
    losses = [row["loss"] for row in done.log]
    found = {"losses": losses, "bits_per_byte": done.evaluation.bits_per_byte}
    for folder in (card.out, RESULTS):
        on_cpu = StoredRuns("card_training", __doc__, folder).where(
            card="no card", format="float32", small=card.small
        )
        if on_cpu:
            off = [abs(a / b - 1) for a, b in zip(losses, on_cpu[0]["losses"], strict=True)]
            return found | {"off": max(off), "off_in_the_first_50": max(off[:50])}
    return found


def main():
    jobs = {
        "kernels": kernels,
        "mixing": mixing,
        "steps": steps,
        "decoding": decoding,
        "training": training,
        "formats": formats,
    }
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=jobs)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="sizes for a try")
    parser.add_argument(
        "--t4",
        action="store_true",
        help="sizes and formats of a T4; rows have it in the card's name",
    )
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        if not args.small:
            parser.exit(
                2,
                "this benchmark needs a CUDA card, and torch sees none; --small tries the script\n",
            )
        args.device = "cpu"
    with suppress(AttributeError):
        torch._dynamo.config.recompile_limit = 64  # each length compiles anew
    jobs[args.what](Card(args))


if __name__ == "__main__":
    main()
