"""What a training step moves and keeps in a GPU's memory, counted by operation on any machine, and a time from that.

    python -m flash_course.bench.traffic                  # the paper's base size, 65,536 tokens a step
    python -m flash_course.bench.traffic --out flash_course/bench/results/traffic.json

A unit runs forward and backward on fake tensors, which have shapes and no numbers. Every operation reads its inputs
once and writes its outputs once; what a cache saves, and what a kernel reads twice, is not counted.
Letters: B batch, T length, G chunks, C chunk length, S query/key width, E value width, M tokens of a kernel's tile.
"""

import argparse
import itertools
import json
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import numpy as np
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from flash_course.bench.clock import machine
from flash_tutorial import ModelConfig, chunks, fast, layers
from flash_tutorial.files import write_text
from flash_tutorial.gpu.tiles import LARGE, WIDEST
from flash_tutorial.model import make_unit

TOKENS = 65_536
TILE = LARGE["mix"][0].M  # tokens of a tile on a card
LENGTHS = (512, 1024, 2048, 4096, 8192, 16_384, 32_768, 65_536)

# FLOPs and bytes a second that large products and long copies are assumed to reach. The data sheets have, for half
# precision, T4 65e12 and 320e9, L4 121e12 and 300e9, A100 (40 GB) 312e12 and 1555e9, H100 (SXM) 989e12 and 3350e9.
CARDS = {
    "T4": (28e12, 250e9),
    "L4": (72e12, 250e9),
    "A100": (190e12, 1.3e12),
    "H100": (600e12, 2.8e12),
}


ELEMENTWISE = {  # what torch.compile merges with its neighbours; a norm is one kernel with those around it
    "_to_copy",
    "add",
    "addcmul",
    "arange",
    "cat",
    "clamp",
    "clone",
    "copy",
    "cos",
    "div",
    "gelu",
    "gelu_backward",
    "index",
    "masked_fill",
    "mul",
    "neg",
    "ones",
    "pow",
    "promote_types",
    "reciprocal",
    "relu",
    "rms_norm",
    "rms_norm_backward",
    "silu",
    "silu_backward",
    "sin",
    "stack",
    "sub",
}


@dataclass
class Traffic:
    """Of one unit, forward and backward: bytes and FLOPs by operation, in order, and bytes kept in between."""

    operations: list = field(default_factory=list)  # (name, bytes, FLOPs)
    # of each operation: ({piece read: bytes}, {piece written: bytes})
    tensors: list = field(default_factory=list)
    kept: int = 0
    plain: "Traffic | None" = (
        None  # the same if nothing is computed again to save memory, where that differs
    )

    @property
    def moved(self):
        return sum(n for _, n, _ in self.operations)

    def by_purpose(self, config):
        """Bytes by what they are for, the keys being ``PURPOSES``."""
        found = Counter(dict.fromkeys(PURPOSES, 0))
        for (name, n, _), pieces in zip(self.operations, self.tensors, strict=True):
            shapes = [shape for _, _, shape in itertools.chain.from_iterable(pieces)]
            found[purpose_of(name, shapes, config)] += n
        return dict(found)

    def seconds(self, card, slow=1):
        """A roofline: every operation takes as long as its products or its bytes, whichever is longer.

        Products inside attention, ours or torch's, take ``slow`` times as long.
        """
        flops_a_second, bytes_a_second = CARDS[card]
        rates = {True: flops_a_second / slow, False: flops_a_second}
        inside = ("weights", "mix", "maps", "values", "_scaled_dot_product")
        return sum(
            max(n / bytes_a_second, f / rates[name.startswith(inside)])
            for name, n, f in self.operations
        )

    def merged(self):
        """The same with each run of element-wise operations as one kernel, as ``torch.compile`` makes them.

        It reads what it needs of others once, and writes what an operation behind it still reads, or nobody.
        """
        if self.plain:  # a compiler decides by itself what it keeps
            return self.plain.merged()
        last_read = {}
        for i, (read, _) in enumerate(self.tensors):
            last_read |= {storage: i for storage, *_ in read}
        found = Traffic(kept=self.kept)
        end = 0
        for is_run, group in itertools.groupby(
            enumerate(self.operations), lambda one: one[1][0] in ELEMENTWISE
        ):
            group = list(group)
            start = end
            end = end + len(group)
            if not is_run:
                found.operations += [operation for _, operation in group]
                continue
            read, written = {}, {}
            for of_one_read, of_one_written in self.tensors[start:end]:
                read |= of_one_read
                written |= of_one_written
            inside = {storage for storage, *_ in written}
            moved = sum(n for (storage, *_), n in read.items() if storage not in inside)
            moved += sum(
                n for (storage, *_), n in written.items() if last_read.get(storage, end) >= end
            )
            found.operations.append(("element-wise", moved, 0))
        return found


PURPOSES = ("dense layers", "relu²", "products", "near + far", "heads", "gate", "norm and residual")


def purpose_of(name, shapes, config):
    """What an operation is for: by its name if it multiplies matrices, else by the widest of what it touches.

    "products" are those of the mixing, "relu²" all else that is done to attention matrices, "heads" what makes queries
    and keys, forward and backward, "gate" the activations of a dense layer and the products behind it.
    """
    is_flash = config.architecture == "flash"
    S = config.qk_dim if is_flash else config.dim // config.heads_in_use
    width = max((shape[-1] for shape in shapes if shape), default=0)
    if name in ("mm", "addmm"):
        return "dense layers"
    ours = ("scan", "weights", "mix", "maps", "values")
    if name.startswith(("bmm", "baddbmm", "_scaled_dot_product", *ours)):
        return "products"
    if is_flash and width == config.chunk_size:
        return "relu²"
    if width <= S:
        return "heads"
    if name == "sum" or max(map(len, shapes)) == 2:
        return "dense layers"  # gradients of biases, and weights in half precision
    if width == config.dim or name.startswith("rms_norm"):
        return "norm and residual"
    # backward, the gradients of v through both parts are added
    return "near + far" if name == "add" else "gate"


# ---------------------------------------------------------------- a norm that is one kernel, as it is on a card
@torch.library.custom_op("flash_course::rms_norm", mutates_args=())
def _rms_norm(x: torch.Tensor, gain: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    raise NotImplementedError("it is counted, and never computed")


@torch.library.custom_op("flash_course::rms_norm_backward", mutates_args=())
def _rms_norm_backward(
    grad: torch.Tensor, x: torch.Tensor, gain: torch.Tensor, rms: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    raise NotImplementedError("it is counted, and never computed")


@_rms_norm.register_fake
def _(x, gain):
    return torch.empty_like(x), x.new_empty(x.shape[:-1])


@_rms_norm_backward.register_fake
def _(grad, x, gain, rms):
    return torch.empty_like(x), torch.empty_like(gain)


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, gain):
        y, rms = _rms_norm(x, gain)
        ctx.save_for_backward(x, gain, rms)
        return y

    @staticmethod
    def backward(ctx, grad):
        return _rms_norm_backward(grad, *ctx.saved_tensors)


# ---------------------------------------------------------------- counting
def size_of(tensor):
    """Its bytes; of one that was expanded, those that lie in memory."""
    numbers = min(tensor.numel(), tensor.untyped_storage().nbytes() // tensor.element_size())
    return numbers * tensor.element_size()


def own_flops(name, args):
    """FLOPs of attention kernels, ours and torch's; of causal maps the half that is computed."""
    if name.startswith("_scaled_dot_product"):
        # q (B, H, T, d); the backward pass makes five products where the forward pass makes two
        q, products = args[0], 2
        if name.endswith("backward"):
            q, products = args[1], 5
        return products * q.numel() * q.shape[2]
    if name == "weights":
        quad_q, C = args[0], args[4]
        return quad_q.numel() * C
    if name == "mix":
        lin_q, v, C = args[0], args[1], args[7]
        return v.numel() * (C + 2 * lin_q.shape[2])
    if name == "maps":
        quad_q, v, C = args[0], args[3], args[6]
        return v.shape[0] * v.shape[1] * C * (quad_q.shape[2] + v.shape[2])
    if name == "values":
        lin_k, dy, C = args[0], args[3], args[6]
        return dy.numel() * (C + 2 * lin_k.shape[2])
    return 0


def left_alone(name, args, out):
    """Bytes of attention weights that a kernel of ours does not touch, for later keys lie there."""
    if name in ("weights", "maps"):
        a, M = out if name == "weights" else out[0], WIDEST
    elif name in ("mix", "values"):
        a, M = args[3 if name == "mix" else 2], TILE
    else:
        return 0
    return round(size_of(a) * (1 - share_of_tiles(a.shape[-1], M)))


def share_of_tiles(C, M):
    """How much of a C x C matrix lies in tiles of M x M on the diagonal and below it."""
    tiles = -(-C // M)
    return (tiles + 1) / (2 * tiles)


def operators_made_of_others():
    """{name: function} of the kernels' operators; none where there is no Triton."""
    try:
        from flash_tutorial.gpu.fused import BODIES
    except ImportError:
        return {}
    return BODIES


class _Counting(TorchDispatchMode):
    """Notes every operation that touches memory; views and empty tensors do not."""

    def __init__(self, found):
        super().__init__()
        self.found, self.storages, self.bodies = found, {}, operators_made_of_others()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function._schema.name in self.bodies:
            with self:  # it is counted by the operators that it is made of
                return self.bodies[function._schema.name](*args, **kwargs)
        name = function._schema.name.split("::")[1]
        if name in ("linear", "matmul"):
            with self:
                return function.decompose(*args, **kwargs)
        out = function(*args, **kwargs)
        is_view = any(
            r.alias_info is not None and not r.alias_info.is_write for r in function._schema.returns
        )
        if is_view or "empty" in name or name in ("detach", "_unsafe_view", "device"):
            return out
        read = args[1:] if kwargs.get("beta") == 0 else args  # beta = 0: the first is not read
        others = {key: value for key, value in kwargs.items() if key != "out"}  # it is written
        read, written = (
            [t for t in tree_leaves(these) if isinstance(t, torch.Tensor)]
            for these in ((read, others), out)
        )
        name = name.rstrip("_")  # what is done in place costs as much
        counter = flop_registry.get(getattr(torch.ops.aten, name, None))
        if counter:
            flops = counter(*args, **kwargs, out_val=out)
        else:
            flops = own_flops(name, args)
        moved = sum(map(size_of, read + written)) - left_alone(name, args, out)
        self.found.operations.append((name, moved, flops))
        self.found.tensors.append(
            tuple({self.piece(t): size_of(t) for t in tensors} for tensors in (read, written))
        )
        return out

    def piece(self, tensor):
        """Which memory a tensor is: (storage, first entry, shape)."""
        storage = tensor.untyped_storage()
        self.storages[storage._cdata] = storage  # held, so that no other gets its place
        return storage._cdata, tensor.storage_offset(), tuple(tensor.shape)


def count_traffic(config, T, tokens=TOKENS):
    """The ``Traffic`` of one unit of a model, in bfloat16 by autocast, as a card would run it."""
    found, plain = (_count(config, T, tokens, again) for again in (True, False))
    found.plain = plain if plain.operations != found.operations else None
    return found


def _count(config, T, tokens, again):
    found = Traffic()
    kept = {}
    with ExitStack() as stack:
        enter = stack.enter_context
        enter(FakeTensorMode(allow_non_fake_inputs=True))
        enter(mock.patch.object(chunks, "goes_chunk_by_chunk", lambda x: False))
        enter(mock.patch("flash_tutorial.gau.gates_again", lambda u: again))
        enter(mock.patch.object(fast, "ROWS", fast.ROWS_ON_A_GPU))
        # no fake table is kept
        enter(mock.patch.object(layers, "_cached_tables", layers._cached_tables.__wrapped__))
        enter(mock.patch.object(F, "rms_norm", lambda x, shape, gain, eps: _RMSNorm.apply(x, gain)))
        unit = make_unit(config)
        x = torch.empty(tokens // T, T, config.dim, requires_grad=True)
        own = {p.untyped_storage()._cdata for p in unit.parameters()}

        def keep(tensor):
            storage = tensor.untyped_storage()
            if storage._cdata not in own:
                kept[storage._cdata] = storage.nbytes()
            return tensor

        counting = _Counting(found)
        saved = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
        with counting, torch.autocast("cpu", torch.bfloat16), saved:
            y = unit(x)
        with counting:
            y.backward(torch.empty_like(y))
    found.kept = sum(kept.values())
    return found


def base(architecture, T, backend=None):
    """The paper's base size with ScaleNorm, causal, and how many units it has."""
    config = ModelConfig.paper("wiki40b", architecture, context=512)
    config.norm = "scale"
    config.max_length = T
    if backend:
        config.backend = backend
    return config, config.depth


ROWS = {
    "FLASH, torch": ("flash", "torch"),
    "FLASH, Triton": ("flash", "triton"),
    "Transformer++": ("transformer++", None),
}


def times_the_products(C, S, E, M):
    """How many times the local part's needed products the kernels make with tiles of M tokens.

    Needed are C (C + 1) / 2 pairs of S + E multiply-adds. Made are whole tiles on and below the diagonal; for scores,
    all that are written.
    """
    pairs = C * C * (share_of_tiles(C, max(M, WIDEST)) * S + share_of_tiles(C, M) * E)
    return pairs / (C * (C + 1) // 2 * (S + E))


def level(lengths, flat, climbing):
    """The length at which a climbing row of milliseconds reaches another, by straight lines between ``lengths``."""
    return float(np.interp(0, np.subtract(climbing, flat), lengths))


def milliseconds(units, found):
    return {card: round(1e3 * units * found.seconds(card), 1) for card in CARDS}


def predictions(lengths=LENGTHS, names=ROWS):
    """For each model and length: gigabytes moved and kept by all units in a step, and milliseconds by card."""
    rows = []
    for name in names:
        for T in lengths:
            config, units = base(ROWS[name][0], T, ROWS[name][1])
            found = count_traffic(config, T)
            rows.append(
                {
                    "model": name,
                    "T": T,
                    "gigabytes_moved": round(units * found.moved / 1e9, 1),
                    "gigabytes_kept": round(units * found.kept / 1e9, 1),
                    "milliseconds": milliseconds(units, found),
                    "milliseconds_compiled": milliseconds(units, found.merged()),
                }
            )
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    rows = predictions()
    for row in rows:
        print(json.dumps(row))
    if args.out:
        about = {
            "command": f"python -m flash_course.bench.traffic --out {args.out.as_posix()}",
            "tokens": TOKENS,
            "what": "predictions from counted bytes and FLOPs; nothing was measured",
            "cards": CARDS,
            "machine": machine(),
        }
        lines = ",\n  ".join(map(json.dumps, rows))
        write_text(args.out, f'{{\n "about": {json.dumps(about)},\n "rows": [\n  {lines}\n ]\n}}\n')


if __name__ == "__main__":
    main()
