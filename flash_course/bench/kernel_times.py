"""What each kernel of FLASH multiplies and moves, counted from its tiles, and a time that a card can refute.

    python -m flash_course.bench.kernel_times            # the paper's base size, 65,536 tokens a step
    python -m flash_course.bench.kernel_times --out flash_course/bench/results/kernel_times.json

A kernel takes as long as the slowest of three things: its bytes from main memory, each tensor once; its bytes from the
L2 cache, each tile as often as a program loads it; its products, at a rate that falls where fewer warps are at work
than keep the tensor cores busy. ``scan`` also waits for memory, step after step. The numbers are those of one unit.

Three designs of the local part are counted side by side: "anew" makes the scores in every tile of columns, as the
kernels did before; "held" makes a row of tiles once and keeps it in one program, which then walks over all columns;
"stored" is what ``gpu/kernels.py`` does.
Letters: T length, G chunks, C chunk length, S query/key width, E value width, M tokens of a tile.
"""

import argparse
import json
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from flash_course.bench.clock import machine
from flash_course.bench.occupancy import CARDS, compiled_kernel, programs_at_once
from flash_course.bench.stored import load_stored
from flash_course.bench.traffic import CARDS as RATES
from flash_course.bench.traffic import TOKENS, base, count_traffic, share_of_tiles
from flash_tutorial.files import write_text
from flash_tutorial.gpu.tiles import LARGE, WIDEST, Tile, parts_of

HALF, SINGLE = 2, 4  # bytes of a number
# Bytes a second from L2: assumed, for data sheets do not say. Whatever waits for L2 is off by as much as they are.
L2 = {"H100": 5.5e12, "A100": 4.4e12, "L4": 1.5e12}
BUSY = 8  # warps on a multiprocessor that keep its tensor cores busy: two for each of the four
WAIT = 0.8e-6  # seconds from a load to its number, of main memory under load
# Loads of ``scan`` that are on their way at a time: before, and now, its stages less the one that is added.
SCAN_AHEAD = {"one load": 1, "pipelined": 7}
WIDTH = 512  # numbers of a program of ``scan``
MULTIPROCESSORS = 132  # of an H100


class Sizes(NamedTuple):
    """Those of one unit's step."""

    T: int = 8192
    tokens: int = TOKENS
    C: int = 256
    S: int = 128
    E: int = 1536

    @property
    def chunks(self):
        return self.tokens // self.C


NARROW = Sizes(T=TOKENS, C=128, S=64, E=256)


@dataclass(frozen=True)
class Work:
    """What one start of a kernel does: FLOPs, those of them that make scores, bytes from memory and from L2."""

    flops: float
    scores: float
    memory: float
    cache: float
    steps: int = 0  # that wait for each other


# ---------------------------------------------------------------- counted from the tiles
def tiles_of(C, M):
    """Tiles of M x M on the diagonal and below it, and those whose weights are written."""
    all_tiles = (C // M) ** 2
    return all_tiles * share_of_tiles(C, M), all_tiles * share_of_tiles(C, max(M, WIDEST))


def weights_work(sizes, tile):
    _, _, C, S, _ = sizes
    _, written = tiles_of(C, tile.M)
    scores = sizes.chunks * written * 2 * tile.M**2 * S
    out = sizes.chunks * written * HALF * tile.M**2
    read = sizes.chunks * written * tile.M * (2 * S * HALF + tile.M * SINGLE)
    return Work(scores, scores, 2 * HALF * sizes.tokens * S + SINGLE * C * C + out, read + out)


def mix_work(sizes, tile):
    """``mix``, and ``values`` without its gate: the weights of a row, or a column, of tiles times values."""
    _, tokens, C, S, E = sizes
    lower, _ = tiles_of(C, tile.M)
    weights = sizes.chunks * lower * tile.M**2
    flops = 2 * weights * E + 2 * tokens * S * E
    state = sizes.chunks * S * E
    memory = HALF * (tokens * (S + 4 * E) + state + weights)
    # of all tiles of columns
    again = (
        sizes.chunks
        * E
        // tile.E
        * (C // tile.M * (tile.M + tile.E) * S + lower * tile.M * (tile.M + tile.E))
    )
    return Work(flops, 0, memory, HALF * (again + 3 * tokens * E))


def anew_work(sizes, tile):
    """Both in one kernel, with the scores made in each tile of columns."""
    _, tokens, C, S, E = sizes
    lower, _ = tiles_of(C, tile.M)
    column_tiles = E // tile.E
    pairs = sizes.chunks * lower * tile.M**2
    scores = column_tiles * 2 * pairs * S
    flops = scores + 2 * pairs * E + 2 * tokens * S * E
    memory = HALF * (tokens * (3 * S + 4 * E) + sizes.chunks * S * E) + SINGLE * C * C
    before = C // tile.M * (2 * tile.M + tile.E) * S * HALF
    loop = lower * tile.M * ((S + tile.E) * HALF + tile.M * SINGLE)
    cache = sizes.chunks * column_tiles * (before + loop) + 3 * HALF * tokens * E
    return Work(flops, scores, memory, cache)


def held_work(sizes, tile):
    """One program a row of tiles, which holds its weights ``(M, C)`` as one piece: hidden ones are multiplied too."""
    _, tokens, C, S, E = sizes
    scores = 2 * tokens * C * S
    flops = scores + 2 * tokens * C * E + 2 * tokens * S * E
    memory = HALF * (tokens * (3 * S + 4 * E) + sizes.chunks * S * E) + SINGLE * C * C
    rows = sizes.chunks * C // tile.M
    cache = rows * (HALF * (2 * tile.M * S + C * S + S * E + C * E) + SINGLE * tile.M * C)
    return Work(flops, scores, memory, cache + 3 * HALF * tokens * E)


def maps_work(sizes, tile):
    _, tokens, C, S, E = sizes
    lower, written = tiles_of(C, tile.M)
    pairs = sizes.chunks * lower * tile.M**2
    scores = 2 * pairs * S
    out = HALF * sizes.chunks * (written * tile.M**2 + C * C)
    read = sizes.chunks * lower * tile.M * (2 * (S + E) * HALF + tile.M * SINGLE)
    memory = HALF * 2 * tokens * (S + E) + SINGLE * C * C + out
    return Work(scores + 2 * pairs * E, scores, memory, read + out)


def scan_work(sizes):
    moved = 2 * HALF * sizes.chunks * sizes.S * sizes.E
    return Work(0, 0, moved, moved, steps=sizes.T // sizes.C)


def elementwise_work(counted, name):
    """Of kernels without a product: what ``traffic`` counts."""
    moved = max(n for operation, n, _ in counted.operations if operation == name)
    return Work(0, 0, moved, moved)


def kernels_of(sizes, counted):
    """(kernel, what it does, how often a step of a unit starts it)."""
    mix, values = (mix_work(sizes, LARGE[name][0]) for name in ("mix", "values"))
    return [
        ("heads", elementwise_work(counted, "heads"), 2),
        ("scan", scan_work(sizes), 2),
        ("weights", weights_work(sizes, LARGE["weights"][0]), 1),
        ("mix", mix, 1),
        ("ungate", elementwise_work(counted, "ungate"), 1),
        ("maps", maps_work(sizes, LARGE["maps"][0]), 1),
        # h is read for its slope, and no gate and no y are written
        ("values", replace(values, memory=values.memory - HALF * sizes.tokens * sizes.E), 1),
        ("unheads", elementwise_work(counted, "unheads"), 1),
    ]


# ---------------------------------------------------------------- a time from it
def warps_at_once(row, card):
    """Programs that a multiprocessor has room for, and their warps, of a kernel as it was compiled."""
    programs, _ = programs_at_once(card, row["shared_bytes"], row["registers"], row["warps"])
    return programs, programs * row["warps"]


def seconds_of(work, row, card):
    """{what it may wait for: seconds}; the largest is the model's time."""
    flops_a_second, bytes_a_second = RATES[card]
    _, warps = warps_at_once(row, card)
    waits = {
        "products": work.flops / (flops_a_second * min(1, warps / BUSY)),
        "memory": work.memory / bytes_a_second,
        "L2": work.cache / L2[card],
    }
    if work.steps:
        waits["latency"] = work.steps * WAIT / SCAN_AHEAD["pipelined"]
    return waits


WRONG_IF = {
    "products": "measured 1.3 times as long, or half the warps take as long: then products are not what it waits for",
    "memory": "its bytes a second, as a profiler counts them, are below 70% of what a long copy reaches",
    "L2": "a tile of twice as many columns, which loads less, takes as long",
    "latency": "twice as many loads on their way take as long",
}


def predictions(sizes):
    """A row for each kernel and card."""
    counted = counted_unit(sizes)
    rows = []
    for card in L2:
        for name, work, starts in kernels_of(sizes, counted):
            compiled = compiled_kernel(name, card)
            waits = seconds_of(work, compiled, card)
            limit = max(waits, key=waits.get)
            programs, warps = warps_at_once(compiled, card)
            rows.append(
                {
                    "kernel": name,
                    "card": card,
                    "starts": starts,
                    "gigaflops": round(work.flops / 1e9, 2),
                    "megabytes_memory": round(work.memory / 1e6, 1),
                    "megabytes_l2": round(work.cache / 1e6, 1),
                    "programs": programs,
                    "warps": warps,
                    "waits_for": limit,
                    "microseconds": round(1e6 * waits[limit], 1),
                    "wrong_if": WRONG_IF[limit],
                }
            )
    return rows


def counted_unit(sizes):
    config, _ = base("flash", sizes.T, "triton")
    return count_traffic(config, sizes.T, sizes.tokens)


def step_milliseconds(sizes, card, design):
    """Of all units: the kernels by this model, and everything else as ``traffic`` has it."""
    _, units = base("flash", sizes.T, "triton")
    counted = counted_unit(sizes)
    ours = {name for name, _, _ in kernels_of(sizes, counted)}
    flops_a_second, bytes_a_second = RATES[card]
    total = sum(
        max(moved / bytes_a_second, flops / flops_a_second)
        for name, moved, flops in counted.operations
        if name not in ours
    )
    for name, work, starts in kernels_of(sizes, counted):
        row = compiled_kernel(name, card)
        if design == "anew" and name in ("weights", "mix"):
            if name == "weights":
                continue
            row = compiled_before(card)
            work = anew_work(sizes, Tile(*row["tile"]))
        total += starts * max(seconds_of(work, row, card).values())
    return 1e3 * units * total


# ---------------------------------------------------------------- the designs side by side
def compiled_before(card):
    """What the compiler made of ``mix`` when it made the scores anew."""
    rows = load_stored("compiled_before")["rows"]
    return next(row for row in rows if row["capability"] == CARDS[card].capability)


def designs(sizes):
    """A row for each design and card: scores, all products, bytes, and what the compiler made of its kernels."""
    tile = LARGE["mix"][0]
    work = {
        "anew": anew_work(sizes, Tile(64, 64)),
        "held": held_work(sizes, tile),
        "stored": both(weights_work(sizes, LARGE["weights"][0]), mix_work(sizes, tile)),
    }
    rows = []
    for card in L2:
        compiled = {
            "anew": [compiled_before(card)],
            "held": [],  # it was counted, and never written
            "stored": [compiled_kernel(name, card) for name in ("weights", "mix")],
        }
        for design, found in work.items():
            row = {
                "design": design,
                "card": card,
                "gigaflops": round(found.flops / 1e9, 1),
                "scores_percent": round(100 * found.scores / found.flops, 1),
                "megabytes_memory": round(found.memory / 1e6),
                "megabytes_l2": round(found.cache / 1e6),
            }
            for kernel in compiled[design]:
                row[kernel["kernel"]] = {
                    "shared_kib": round(kernel["shared_bytes"] / 1024, 1),
                    "registers": kernel["registers"],
                    "spilled": kernel["spill_store_bytes"],
                    "programs": warps_at_once(kernel, card)[0],
                }
            if design != "held":
                row["step_milliseconds"] = round(step_milliseconds(sizes, card, design), 1)
            rows.append(row)
    return rows


def scans():
    """A row for each design of ``scan`` and size on an H100, one long row among them: what it waits for.

    In microseconds. Of a narrow unit's single row there are few programs, so it is cut into parts and read twice.
    """
    rows = []
    for sizes in (Sizes(), Sizes(T=TOKENS), NARROW):
        work = scan_work(sizes)
        programs = sizes.tokens // sizes.T * -(-sizes.S * sizes.E // WIDTH)
        cut = parts_of(sizes.T // sizes.C, programs, MULTIPROCESSORS)
        for design, ahead in SCAN_AHEAD.items():
            rows.append(scan_row(sizes, design, work.memory, work.steps / ahead))
        if cut > 1:
            steps = 2 * -(-work.steps // cut) + cut  # and the shares of the parts before
            rows.append(
                scan_row(sizes, f"{cut} parts", 1.5 * work.memory, steps / SCAN_AHEAD["pipelined"])
            )
    return rows


def scan_row(sizes, design, moved, waits):
    found = {"memory": moved / RATES["H100"][1], "latency": waits * WAIT}
    found = {name: round(1e6 * seconds, 1) for name, seconds in found.items()}
    key = {"scan": design, "card": "H100", "T": sizes.T, "S": sizes.S, "E": sizes.E}
    return key | {"microseconds": found}


def both(a, b):
    return Work(a.flops + b.flops, a.scores + b.scores, a.memory + b.memory, a.cache + b.cache)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    sizes = Sizes()
    found = {"designs": designs(sizes), "scans": scans(), "rows": predictions(sizes)}
    for row in chain.from_iterable(found.values()):
        print(json.dumps(row))
    if args.out:
        about = {
            "command": f"python -m flash_course.bench.kernel_times --out {args.out.as_posix()}",
            "sizes": sizes._asdict(),
            "what": "predictions from counted work; nothing was measured",
            "bytes_a_second_l2": L2,
            "machine": machine(),
        }
        parts = [f'"about": {json.dumps(about)}']
        for name, rows in found.items():
            lines = ",\n  ".join(map(json.dumps, rows))
            parts.append(f'"{name}": [\n  {lines}\n ]')
        write_text(args.out, "{\n " + ",\n ".join(parts) + "\n}\n")


if __name__ == "__main__":
    main()
