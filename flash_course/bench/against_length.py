"""``flash-tutorial bench``: time and memory of a training step and of decoding, against length, counts and floors.

Compared are two FLASH units, two GAU units (FLASH-Quad) and one Transformer++ block, which have about the same
parameters, without embedding and head; and the public FLASH-pytorch 0.1.9 where it is installed. The floor of a model
is the time of its matrix products alone: no program that computes them by the same routines can be faster.

Letters: B batch, T length, D model width, E expanded width, S shared width, C chunk length, G chunks, H heads.
"""

import copy
import json
import math
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from itertools import pairwise
from pathlib import Path

import torch

from flash_course.bench.counts import count_multiply_adds, count_state_numbers
from flash_tutorial import states
from flash_tutorial.check import draw_order_one
from flash_tutorial.config import ModelConfig, gated_width
from flash_tutorial.errors import is_out_of_memory
from flash_tutorial.files import whole_file, write_text
from flash_tutorial.model import LanguageModel, make_unit
from flash_tutorial.training.devices import DTYPES, keep_freed_memory, pick_device, pick_dtype

from .clock import machine, peak_bytes, time_in_turn
from .floors import decoding_floor, noise, training_floor
from .lines import (
    DECODING_HEAD,
    TRAINING_HEAD,
    UNIT_HEAD,
    conclusion_lines,
    decoding_line,
    training_line,
    unit_line,
)
from .ratios import every_round, ratio_in_turn, ratio_of_medians

FORMAT = 2  # of the JSON; in 1 each ratio was one of medians
GUEST, GUEST_VERSION = "FLASH-pytorch", "0.1.9"
METHOD = [
    "Everything of one length is timed in turn in one process, after a warm-up; median, lowest, highest and each round "
    "are kept. FLASH stands between the public implementation and its own floor.",
    "A ratio of two things that were timed in turn is the median of the rounds' ratios: both met the same machine.",
    "Parameters are drawn of order one, as in trained models: at the paper's start most numbers would be denormal, "
    "which is slow on a CPU and not what training sees.",
    "multiply_adds: matrix products of the forward pass; of causal attention the pairs that may be read, whatever the "
    "code executes; FLOPs are twice that.",
    "floor: FLASH's six products (in, out, q k^T, A v, K^T V, Q state; full chunks) or Transformer++'s dense products "
    "and scaled_dot_product_attention, forward and backward, on tensors of the same shapes.",
    f"{GUEST} has no rotary positions here, as its FLASH class has none unless handed in: it has less to do.",
]

# ---------------------------------------------------------------- what is measured


@dataclass(frozen=True)
class Settings:
    """Sizes of a benchmark. ``blocks`` Transformer++ blocks stand against twice as many FLASH or GAU units."""

    device: str = "cpu"
    dtype: str = "float32"
    dim: int = 256
    qk_dim: int = 128
    chunk_size: int = 256
    blocks: int = 1
    tokens: int = 32_768  # B T of a training step
    lengths: tuple = (512, 1024, 2048, 4096, 8192, 16_384, 32_768)
    unit_length: int = 4096
    positions: tuple = (512, 1024, 2048, 4096, 8192, 16_384)
    decoding_blocks: int = 2
    rounds: int = 5
    step_limit: float = 30.0  # seconds; a quadratic model is not run beyond
    memory_limit: float = 12e9  # bytes; the same

    def __post_init__(self):
        pick_dtype(pick_device(self.device), self.dtype)
        for name in (
            "dim",
            "qk_dim",
            "chunk_size",
            "blocks",
            "tokens",
            "unit_length",
            "decoding_blocks",
            "rounds",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: expected at least 1")
        if self.tokens < max(*self.lengths, self.unit_length):
            raise ValueError(
                f"tokens={self.tokens}: a step holds whole sequences, and the longest has "
                f"{max(*self.lengths, self.unit_length)} tokens; expected at least that many"
            )
        if min(self.positions) < 2:
            raise ValueError(f"positions={self.positions}: expected each to be at least 2")


PRESETS = {
    "tiny": Settings(
        dim=32,
        qk_dim=16,
        chunk_size=16,
        tokens=128,
        lengths=(64, 128),
        unit_length=128,
        positions=(32, 64),
        decoding_blocks=1,
        rounds=2,
    ),
    "small": Settings(),
    "paper-base": Settings(
        dim=768, blocks=12, lengths=(512, 1024, 2048, 4096, 8192), memory_limit=60e9
    ),
    "t4": Settings(
        dim=768, blocks=4, tokens=8192, lengths=(512, 1024, 2048, 4096, 8192), memory_limit=12e9
    ),
}


def quick(settings):
    """The same in about a minute: few tokens, short sequences."""
    return replace(
        settings,
        tokens=4096,
        lengths=(512, 1024, 2048, 4096),
        positions=(512, 2048),
        blocks=1,
        rounds=3,
        memory_limit=2e9,
    )


def config_of(architecture, settings, **more):
    """A causal model of this benchmark, of so many blocks."""
    s = settings
    blocks = more.pop("blocks", s.blocks)
    options = {
        "flash": dict(depth=2 * blocks, qk_dim=s.qk_dim, chunk_size=s.chunk_size),
        "flash_quad": dict(depth=2 * blocks, qk_dim=s.qk_dim),
        "transformer++": dict(depth=blocks, ff_dim=gated_width(s.dim)),
    }
    longest = max(*s.lengths, *s.positions) + 2 * s.chunk_size
    return ModelConfig(architecture, dim=s.dim, max_length=longest, **options[architecture], **more)


def make_units(architecture, settings):
    """The units of a model, one after the other, with parameters of order one."""
    config = config_of(architecture, settings)
    units = torch.nn.Sequential(*(make_unit(config) for _ in range(config.depth)))
    return draw_order_one(units, torch.Generator().manual_seed(0)).to(settings.device)


def make_guest(settings):
    """The public implementation at the same sizes, or None and the reason."""
    try:
        version = metadata.version(GUEST)
        from flash_pytorch import FLASH as PublicFLASH
    except ImportError as error:  # PackageNotFoundError is one
        return None, f"{GUEST} cannot be imported ({error})"
    if version != GUEST_VERSION:
        return None, f"{GUEST} is {version} here: expected {GUEST_VERSION}"
    s = settings
    units = torch.nn.Sequential(
        *(
            PublicFLASH(
                dim=s.dim,
                group_size=s.chunk_size,
                query_key_dim=s.qk_dim,
                expansion_factor=2.0,
                causal=True,
                dropout=0.0,
                shift_tokens=False,
            )
            for _ in range(2 * s.blocks)
        )
    )
    return draw_order_one(units, torch.Generator().manual_seed(0)).to(s.device), None


# ---------------------------------------------------------------- a training step


def training_step(model, settings, batch, T):
    """A function: forward and backward of ``model`` on one ``(B, T, D)``."""
    x = noise(settings, batch, T, settings.dim, dtype=torch.float32).requires_grad_()
    grad = torch.randn_like(x)
    half = settings.dtype != "float32"

    def step():
        x.grad = None
        model.zero_grad(set_to_none=True)
        with torch.autocast(x.device.type, DTYPES[settings.dtype], enabled=half):
            y = model(x)
        y.backward(grad.to(y.dtype))

    return step


# ---------------------------------------------------------------- part 1: training steps against T


def measure_training(settings, say=print):
    """Rows (model, T) of the time of a step, its floor, tokens/s, peak memory and counted multiply-adds."""
    guest, no_guest = make_guest(settings)
    models = {"flash_pytorch": guest}
    models |= {
        name: make_units(name, settings) for name in ("flash", "flash_quad", "transformer++")
    }
    say(f"\nTraining step, forward and backward, {settings.tokens} tokens\n{TRAINING_HEAD}")
    rows, before = [], {}
    if no_guest:
        say(f"({GUEST} is left out: {no_guest})")
    for T in settings.lengths:
        say(f"T={T}: the models take turns, for {settings.rounds} rounds ...")
        new = _training_rows(models, T, settings, before, no_guest)
        before = {row["model"]: row for row in new}
        rows += new
        for row in new:
            if not row["reason"] or row["reason"] != no_guest:  # said above
                say(training_line(row))
    return rows


def _training_rows(models, T, settings, before, no_guest):
    batch = settings.tokens // T
    rows, timed = {}, {}

    def leave_out(key, error):
        """What finds too little memory has no time; a step's row then says why."""
        if not is_out_of_memory(error):
            raise error
        if key in rows:  # not a floor
            rows[key]["reason"] = "out of memory"

    for name, model in models.items():
        row = dict(
            model=name, T=T, batch=batch, seconds=None, floor=None, peak_bytes=None, reason=None
        )
        rows[name] = row
        is_guest = name == "flash_pytorch"
        config = config_of("flash" if is_guest else name, settings)  # the guest computes the same
        row["multiply_adds"] = batch * counted_units(config, T)
        if model is None:
            row["reason"] = no_guest
        else:
            row["reason"] = unreasonable(before.get(name), row, settings)
        if row["reason"]:
            continue
        try:
            step = training_step(model, settings, batch, T)
            row["peak_bytes"] = peak_bytes(step, settings.device)
        except (RuntimeError, MemoryError) as error:
            leave_out(name, error)
            continue
        timed[name] = step
        floor = None if is_guest else training_floor(config, settings, batch, T)
        if floor:
            timed[name, "floor"] = floor
    found = time_in_turn(timed, settings.rounds, device=settings.device, leave_out=leave_out)
    for name, row in rows.items():
        row["tokens_per_second"] = None
        if name in found:
            row["seconds"] = every_round(found[name])
            row["tokens_per_second"] = batch * T / row["seconds"]["median"]
        if (name, "floor") in found:
            row["floor"] = every_round(found[name, "floor"])
    return list(rows.values())


def counted_units(config, T):
    """Multiply-adds of the units alone: without the head, which is no part of the comparison."""
    return count_multiply_adds(config, T) - T * config.dim * config.vocab_size


def unreasonable(before, row, settings):
    """Why a model that is quadratic in time and memory is not run at this length, seen from the length before."""
    if row["model"] != "flash_quad" or before is None:
        return None
    if before["seconds"] is None:
        return f"not run, as at T={before['T']}: {before['reason']}"
    seconds = before["seconds"]["median"] * row["multiply_adds"] / before["multiply_adds"]
    if seconds > settings.step_limit:
        return f"a step would take about {seconds:.0f} s, the limit is {settings.step_limit:.0f} s"
    if before["peak_bytes"] is None:
        return None
    held = before["peak_bytes"] * (row["T"] / before["T"]) ** 2  # at most: its T x T tensors
    if held > settings.memory_limit:
        return f"a step could hold {held / 1e9:.0f} GB, the limit is {settings.memory_limit / 1e9:.0f} GB"
    return None


# ---------------------------------------------------------------- part 2: one unit against its floor


def measure_unit(settings, say=print):
    """One FLASH unit against the time of its six products, with one sequence and with a full batch."""
    config = replace(config_of("flash", settings), depth=1)
    unit = draw_order_one(make_unit(config), torch.Generator().manual_seed(0)).to(settings.device)
    T = settings.unit_length
    say(f"\nOne FLASH unit against its floor, T={T}\n{UNIT_HEAD}")
    rows = []
    for batch in sorted({1, settings.tokens // T}):
        functions = {
            "seconds": training_step(unit, settings, batch, T),
            "floor": training_floor(config, settings, batch, T),
        }
        timed = time_in_turn(functions, 3 * settings.rounds, device=settings.device)
        row = dict(
            T=T, batch=batch, **{name: every_round(seconds) for name, seconds in timed.items()}
        )
        rows.append(row | {"over_floor": ratio_in_turn(row["seconds"], row["floor"])})
        say(unit_line(rows[-1]))
    return rows


# ---------------------------------------------------------------- part 3: decoding against position


def measure_decoding(settings, say=print):
    """Rows (model, position) of the time of a step, a mean over C steps in a row, and of the state's size; batch 1.

    All models and positions take turns. FLASH-Quad divides by a fixed length, without which it cannot decode.
    """
    say(f"\nDecoding, time a token, mean over {settings.chunk_size} steps\n{DECODING_HEAD}")
    rows, states, timed = [], {}, {}
    with torch.no_grad():
        for name in ("flash", "flash_quad", "transformer++"):
            config = config_of(name, settings, blocks=settings.decoding_blocks)
            model = draw_order_one(LanguageModel(config), torch.Generator().manual_seed(0)).eval()
            model = model.to(settings.device, DTYPES[settings.dtype])
            for position in settings.positions:
                key = name, position
                states[key] = state_at(model, position)
                timed[key, "seconds"] = decode_chunk(model, settings)
                timed[key, "floor"] = decoding_floor(config, settings, position)
                rows.append(decoding_row(config, position, states[key], settings.chunk_size))
        seconds = time_in_turn(
            timed,
            settings.rounds,
            prepare=lambda key: copy.deepcopy(states[key[0]]),
            device=settings.device,
        )
    for row in rows:
        for field in ("seconds", "floor"):
            per_token = seconds[(row["model"], row["position"]), field]
            row[field] = every_round([s / settings.chunk_size for s in per_token])
        say(decoding_line(row))
    return rows


def decoding_row(config, position, state, C):
    """What a step costs at a position, counted: the mean over C steps, which are one chunk of FLASH."""
    after = count_multiply_adds(config, position + C) - count_multiply_adds(config, position)
    return dict(
        model=config.architecture,
        position=position,
        state_numbers=state.numel(),
        counted_state_numbers=count_state_numbers(config, position),
        multiply_adds=after / C,
    )


def state_at(model, position, batch=1):
    """The state after ``position`` tokens of each row. FLASH reads random ones; a cache is filled with noise, since its
    size costs time and its content does not."""
    device = model.embedding.weight.device
    ids = torch.randint(model.config.vocab_size, (batch, position - 1), device=device)
    if model.config.architecture == "flash":
        _, state = model.prefill(ids)
    else:
        _, state = model.prefill(ids[:, :1])
        for unit in state.units:
            fill(unit, position - 1)
    state.rows.used = position - 1
    # a cache that is full doubles its room now, and not while it is timed
    return model.step(ids[:, 0], state)[1]


def fill(cache: states.Cache, length):
    """Make the rows of a cache ``length`` tokens long."""
    shapes = [(*t.shape[:-2], length, t.shape[-1]) for t in cache.tensors]
    cache.tensors = tuple(
        torch.randn(s, dtype=t.dtype, device=t.device) for s, t in zip(shapes, cache.tensors)
    )
    cache.rows.used = length


def decode_chunk(model, settings, batch=1):
    """A function of a state: C steps."""
    ids = torch.zeros(batch, dtype=torch.long, device=settings.device)

    def steps(state):
        for _ in range(settings.chunk_size):
            _, state = model.step(ids, state)

    return steps


# ---------------------------------------------------------------- part 4: what follows from the numbers


def conclude(training, unit, decoding_rows, settings):
    """The ratios that the project is held against, and where FLASH overtakes Transformer++."""
    at = {(row["model"], row["T"]): row for row in training}

    def time_of(model, T):
        row = at.get((model, T))
        return row["seconds"] if row else None

    speedups = []
    for T in settings.lengths:
        measured = ratio_in_turn(time_of("transformer++", T), time_of("flash", T))
        counted = at["transformer++", T]["multiply_adds"] / at["flash", T]["multiply_adds"]
        fraction = measured / counted if measured else None
        speedups.append(
            dict(
                T=T,
                measured=measured,
                counted=counted,
                fraction=fraction,
                flash_over_floor=ratio_in_turn(time_of("flash", T), at["flash", T]["floor"]),
                transformer_over_floor=ratio_in_turn(
                    time_of("transformer++", T), at["transformer++", T]["floor"]
                ),
                flash_over_public=ratio_in_turn(time_of("flash", T), time_of("flash_pytorch", T)),
            )
        )
    short = 1024 if 1024 in settings.lengths else settings.lengths[0]
    long = settings.lengths[-1]
    steps = {(row["model"], row["position"]): row["seconds"] for row in decoding_rows}
    first, last = settings.positions[0], settings.positions[-1]
    return dict(
        speedups=speedups,
        crossover=dict(measured=measured_crossover(speedups), counted=counted_crossover(settings)),
        unit_over_floor={str(row["batch"]): row["over_floor"] for row in unit},
        constant_tokens=dict(
            short=short,
            long=long,
            ratio=ratio_of_medians(time_of("flash", long), time_of("flash", short)),
        ),
        decoding={
            name: dict(
                short=first, long=last, ratio=ratio_in_turn(steps[name, last], steps[name, first])
            )
            for name in ("flash", "flash_quad", "transformer++")
        },
    )


def measured_crossover(speedups):
    """The T from which FLASH is faster, by a straight line in log T and log speed-up; None if it does not cross."""
    known = [s for s in speedups if s["measured"]]
    for a, b in pairwise(known):
        if a["measured"] < 1 <= b["measured"]:
            low = math.log(a["measured"])
            high = math.log(b["measured"])
            return round(a["T"] * (b["T"] / a["T"]) ** (-low / (high - low)))
    return None


def counted_crossover(settings):
    """The least multiple of C from which FLASH needs fewer multiply-adds than Transformer++; None below 2^20."""
    flash, transformer = (config_of(name, settings) for name in ("flash", "transformer++"))
    C = settings.chunk_size
    for T in range(C, 2**20, C):
        if counted_units(flash, T) < counted_units(transformer, T):
            return T
    return None


# ---------------------------------------------------------------- all of it


@contextmanager
def steady_processor():
    """The two settings without which a CPU times its memory and its denormals; yields what was switched on."""
    kept, flushed = keep_freed_memory(), torch.set_flush_denormal(True)
    try:
        yield {
            "freed_memory_kept": kept,
            "denormals_flushed": flushed,
            "parameters": "of order one",
        }
    finally:
        torch.set_flush_denormal(False)


def benchmark(settings, command="", say=print):
    """All parts, as one dict of plain values for JSON."""
    with steady_processor() as steady:
        torch.manual_seed(0)
        training = measure_training(settings, say)
        unit = measure_unit(settings, say)
        decoding_rows = measure_decoding(settings, say)
    end = conclude(training, unit, decoding_rows, settings)
    for line in conclusion_lines(end):
        say(line)
    sizes = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(settings).items()}
    return dict(
        format=FORMAT,
        command=command,
        machine=machine(settings.device),
        settings=sizes,
        steady=steady,
        method=METHOD,
        training=training,
        unit=unit,
        decoding=decoding_rows,
        conclusions=end,
    )


def save(result, path, draw):
    """The JSON, and beside it the plot that ``draw`` makes of it, each whole or not at all."""
    path = Path(path)
    write_text(path, json.dumps(result, indent=1) + "\n")
    figure, _ = draw(result)
    picture = path.with_suffix(".png")
    with whole_file(picture) as temporary:
        figure.savefig(temporary, format="png")
    return picture


def add_arguments(parser):
    """The options of ``flash-tutorial bench``."""
    parser.description = __doc__.split("\n\n")[1].replace("\n", " ")
    parser.add_argument(
        "--preset",
        choices=sorted(PRESETS),
        default="small",
        help="small: D=256, one block, T to 32768. For a GPU: paper-base, D=768, 12 blocks, T to 8192; t4: 4 blocks, "
        "for 15 GB; tiny: seconds, to try the command (default: small)",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="short sequences only, about a minute; numbers are rough",
    )
    parser.add_argument(
        "--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps (default: auto)"
    )
    parser.add_argument(
        "--dtype", default="auto", help="auto, float32, bfloat16 or float16 (default: auto)"
    )
    parser.add_argument("--rounds", type=int, help="how often each is timed (default: 5; quick: 3)")
    parser.add_argument(
        "--tokens", type=int, help="tokens of a training step (default: 32768; quick: 4096)"
    )
    parser.add_argument(
        "--out", help="JSON file; the plot lies beside it (default: bench_cpu.json, by the device)"
    )


def settings_from(args):
    """The Settings that the options ask for."""
    settings = PRESETS[args.preset]
    if args.quick:
        settings = quick(settings)
    device = pick_device(args.device)
    dtype, _ = pick_dtype(device, args.dtype)
    asked = {
        name: getattr(args, name)
        for name in ("rounds", "tokens")
        if getattr(args, name) is not None
    }
    return replace(settings, device=str(device), dtype=str(dtype).removeprefix("torch."), **asked)


def command_of(args):
    """The command that repeats this, without the place of the files."""
    words = ["flash-tutorial bench", f"--preset {args.preset}"]
    if args.quick:
        words.append("--quick")
    for name in ("device", "dtype", "rounds", "tokens"):
        if value := getattr(args, name):
            words.append(f"--{name} {value}")
    return " ".join(words)


def run(args, draw):
    """``flash-tutorial bench``."""
    settings = settings_from(args)
    path = Path(args.out or f"bench_{torch.device(settings.device).type}.json")
    if path.suffix != ".json":
        raise ValueError(
            f"--out {path}: expected a name that ends in .json; the picture lies beside it as .png"
        )
    if not path.parent.is_dir():
        raise ValueError(
            f"--out {path}: the folder {path.parent} is not there; make it first, or choose another"
        )
    result = benchmark(settings, command_of(args), say=lambda line: print(line, flush=True))
    picture = save(result, path, draw)
    print(f"\n{path} and {picture} are written.")
