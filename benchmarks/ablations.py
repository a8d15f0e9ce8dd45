"""The paper's ablations in miniature: one part exchanged or left out, the rest equal, three seeds, paired.

    python benchmarks/ablations.py rates        # the rates of every variant, seed 0
    python benchmarks/ablations.py seeds        # seeds 1 and 2 at each variant's best rate
    python benchmarks/ablations.py table        # prints what is stored, with paired intervals

Every finished run is stored at once in flash_course/bench/results/ablations.json; a run that is there is not made
again, so a stopped command goes on where it was. About a quarter of an hour on one core in all.

The rate of each variant is chosen in the same way: the best of a small grid at seed 0. Where the best one ends the
grid, the next rate beyond that end is tried, until the best one lies inside.
"""

import argparse
import json
import math
import statistics
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from flash_course.bench.clock import machine
from flash_tutorial import GAU, ModelConfig, TransformerBlock, count_parameters
from flash_tutorial.data import load_corpus
from flash_tutorial.fast import relu2_attention
from flash_tutorial.files import write_text
from flash_tutorial.layers import ToeplitzBias, cos_sin, rope
from flash_tutorial.training import TrainConfig, train
from flash_tutorial.units import GatedUnit, gated_width

RESULTS = Path(__file__).parent.parent / "flash_course" / "bench" / "results" / "ablations.json"
RATES = [4e-3, 1e-2, 2.5e-2]
BEYOND = {4e-3: 1.6e-3, 1.6e-3: 6.4e-4, 2.5e-2: 6e-2, 6e-2: 1.5e-1}  # an end of the grid: the rate tried beyond it
SEEDS = [0, 1, 2]
SETTINGS = dict(steps=200, batch=4, length=256, warmup=20, eval_bytes=50_000)
T, C, HEADS = 256, 32, 4

# ---------------------------------------------------------------- units that the package does not have; lecture 10
# shows them, and tests/course/test_ablations.py holds that both texts are the same


class ManyHeadGAU(GatedUnit):
    """GAU with H heads: base and values are cut into H parts, and each part has its own attention weights."""

    heads = 2  # q, k

    def __init__(self, dim, *, n_heads, length_scale, expansion=2, qk_dim=32, causal=False, norm="layer"):
        super().__init__(dim, expansion=expansion, qk_dim=qk_dim, causal=causal, norm=norm)
        self.n_heads, self.length_scale = n_heads, length_scale
        self.bias = ToeplitzBias(length_scale)  # one table for all heads
        self.reset_parameters()

    def read_heads(self, z, cos, sin):
        parts = self.scale_offset(z).unflatten(-1, (self.n_heads, -1)).transpose(2, 3)  # (2, B, H, T, S / H)
        return rope(parts, *cos_sin(z.shape[1], parts.shape[-1], z)).to(z.dtype)

    def mix(self, heads, v, mask, segment_ids):
        q, k = (part.flatten(0, 1) for part in heads)  # (B H, T, S / H)
        v = v.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)  # (B, H, T, E / H)
        out = relu2_attention(
            q, k, v.flatten(0, 1), scale=1 / self.length_scale, causal=self.causal, bias=self.bias(v.shape[2])
        )
        return out.view_as(v).transpose(1, 2).flatten(2)


class GAUWithoutGate(GAU):
    """x + mix(z, v) @ W_out. What the gate's matrix held goes into wider values: 3 D in place of 2 D."""

    def __init__(self, dim, **options):
        super().__init__(dim, expansion=3, **options)
        self.in_proj = nn.Linear(dim, self.expanded + self.qk_dim)
        self.reset_parameters()

    def project(self, x, mask=None):
        h = F.silu(self.in_proj(self.norm(x)))
        if mask is not None:
            h = h.masked_fill(~mask[..., None], 0)
        v, z = h.split([self.expanded, self.qk_dim], dim=-1)
        return torch.ones_like(v), v, z


class Relu2Block(TransformerBlock):
    """A Transformer block whose attention weights are relu^2(q k^T / sqrt(d)) / T."""

    def __init__(self, dim, *, length_scale, **options):
        super().__init__(dim, rope=True, **options)
        self.length_scale = length_scale

    def mix(self, q, k, v, mask, segment_ids):
        q, k = (rope(t, *cos_sin(t.shape[-2], t.shape[-1], v)).to(v.dtype) for t in (q, k))
        q, k, v = (t.flatten(0, 1) for t in (q, k, v))  # (B H, T, d)
        out = relu2_attention(q, k, v, scale=1 / math.sqrt(q.shape[-1]), causal=self.causal)
        return out.unflatten(0, (-1, self.heads)) / self.length_scale


class GatedBlock(TransformerBlock):
    """A Transformer block with a gate behind its attention; the feed-forward layer gives up D / 2 for it."""

    def __init__(self, dim, **options):
        super().__init__(dim, rope=True, ff_dim=4 * dim - dim // 2, **options)
        self.gate = nn.Linear(dim, dim)
        nn.init.normal_(self.gate.weight, std=0.02)
        nn.init.zeros_(self.gate.bias)

    def join(self, x, mixed):
        return x + self.attn_out(F.silu(self.gate(self.norm1(x))) * mixed.transpose(1, 2).flatten(2))


# token by token: read the row again at each step, and not with the softmax of the class above
Relu2Block.prefill = Relu2Block.step = None

# ---------------------------------------------------------------- the variants


def gau(**changed):
    """Four GAUs."""
    return ModelConfig("flash_quad", dim=64, depth=4, qk_dim=32, max_length=T, norm="layer", **changed)


def flash(**changed):
    """Four FLASH units."""
    sizes = dict(dim=64, depth=4, qk_dim=32, chunk_size=C, max_length=T, norm="layer")
    return ModelConfig("flash", **sizes | changed)


def blocks(architecture="transformer+", **changed):
    """Two Transformer blocks, with the paper's hidden width: 4 D, and 8 D / 3 with a gate."""
    ff_dim = gated_width(64) if architecture.endswith("++") else 4 * 64
    sizes = dict(dim=64, depth=2, heads=HEADS, ff_dim=ff_dim, max_length=T, norm="layer")
    return ModelConfig(architecture, **sizes | changed)


def own(unit, depth, **options):
    """A model of a unit that the package does not have."""
    return ModelConfig(unit, dim=64, depth=depth, max_length=T, norm="layer", unit_options=options)


# name -> (what it is compared with, its configuration); the first of a family is compared with nothing
VARIANTS = {
    "GAU": (None, gau()),
    "GAU, softmax": ("GAU", gau(attention="softmax")),
    "GAU, 4 heads": ("GAU", own(ManyHeadGAU, 4, n_heads=HEADS, length_scale=T)),
    "GAU, no gate": ("GAU", own(GAUWithoutGate, 4, qk_dim=32, bias_length=T, length_scale=T, norm="layer")),
    "MHSA+MLP": (None, blocks()),
    "MHSA+MLP, relu^2": ("MHSA+MLP", own(Relu2Block, 2, heads=HEADS, length_scale=T)),
    "MHSA+MLP, 1 head": ("MHSA+MLP", blocks(heads=1)),
    "MHSA+MLP, gate": ("MHSA+MLP", own(GatedBlock, 2, heads=HEADS)),
    "FLASH": ("GAU", flash()),
    "FLASH, local only": ("FLASH", flash(global_=False)),
    "FLASH, global only": ("FLASH", flash(local=False, chunk_size=C // 4)),
    "FLASH, C = 16": ("FLASH", flash(chunk_size=16)),
    "FLASH, C = 128": ("FLASH", flash(chunk_size=128)),
    "Transformer++": (None, blocks("transformer++")),
    "MC-Transformer++": ("Transformer++", blocks("mc_transformer++", chunk_size=C)),
}

# ---------------------------------------------------------------- runs


def load():
    return json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {"runs": []}


def one_run(name, rate, seed):
    """Train once, unless the run is stored already."""
    for run in load()["runs"]:
        if (run["variant"], run["learning_rate"], run["seed"]) == (name, rate, seed):
            return run
    done = train(
        VARIANTS[name][1], TrainConfig(learning_rate=rate, seed=seed, **SETTINGS), corpus=CORPUS, progress=False
    )
    run = dict(
        variant=name,
        learning_rate=rate,
        seed=seed,
        bits_per_byte=round(done.evaluation.bits_per_byte, 4),
        parameters=count_parameters(done.model),
        seconds=round(done.log[-1]["seconds"], 1),
        cpu=machine()["cpu"],
        first_losses=[round(row["loss"], 4) for row in done.log[:40]],
    )
    stored = load()
    runs = [*stored["runs"], run]
    facts = {"command": "python benchmarks/ablations.py rates; python benchmarks/ablations.py seeds",
             "settings": SETTINGS, "chunk_size": C, "rates": RATES,
             "beyond": sorted(BEYOND.values()), "seeds": SEEDS, "machine": machine()}  # fmt: skip
    write(facts | {"best_rates": stored.get("best_rates", {}), "runs": runs})
    print({k: v for k, v in run.items() if k != "first_losses"}, flush=True)
    return run


def write(values):
    """JSON with a line for each run."""
    runs = ",\n  ".join(json.dumps(run) for run in values["runs"])
    rest = json.dumps({k: v for k, v in values.items() if k != "runs"}, indent=1)
    write_text(RESULTS, rest[:-2] + f',\n "runs": [\n  {runs}\n ]\n}}\n')


def tune(name):
    """The best rate at seed 0: of the grid, and of rates beyond its ends as long as the best one ends it."""
    bits = {rate: one_run(name, rate, 0)["bits_per_byte"] for rate in RATES}
    while (further := BEYOND.get(best := min(bits, key=bits.get))) and further not in bits:
        bits[further] = one_run(name, further, 0)["bits_per_byte"]
    stored = load()
    write(stored | {"best_rates": stored["best_rates"] | {name: best}})
    return best


def interval(differences):
    """Mean of three paired differences and half of its 95% interval (Student's t with two degrees of freedom)."""
    half = 4.303 * statistics.stdev(differences) / math.sqrt(len(differences))
    return statistics.mean(differences), half


def table():
    stored = load()
    for name, (other, _) in VARIANTS.items():
        rate = stored["best_rates"].get(name)
        bits = scores(stored, name)
        text = f"{name:20s} rate {rate:<7g}" + " ".join(f"{b:.3f}" for b in bits)
        if other and len(bits) == len(SEEDS):
            mean, half = interval([a - b for a, b in zip(bits, scores(stored, other), strict=True)])
            text += f"   against {other}: {mean:+.3f} +- {half:.3f}"
        print(text)


def scores(stored, name):
    """Bits per byte of the seeds, in order, at the variant's rate."""
    rate = stored["best_rates"].get(name)
    runs = {r["seed"]: r for r in stored["runs"] if (r["variant"], r["learning_rate"]) == (name, rate)}
    return [runs[seed]["bits_per_byte"] for seed in SEEDS if seed in runs]


def main():
    global CORPUS
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["rates", "seeds", "table"])
    parser.add_argument("--only", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    args = parser.parse_args()
    if args.what == "table":
        return table()
    torch.set_num_threads(1)
    CORPUS = load_corpus("austen")
    for name in args.only:
        best = tune(name)
        for seed in SEEDS[1:] if args.what == "seeds" else ():
            one_run(name, best, seed)


if __name__ == "__main__":
    main()
