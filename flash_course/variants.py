"""The units and models of the ablations: one part of GAU, FLASH or a Transformer exchanged or left out, the rest equal.

Lecture 10 shows one of the four classes, `experiments/ablations.py` trains all fifteen models, and
`flash_course/bench/results/ablations.json` holds what came out.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from flash_tutorial import GAU, ModelConfig, TransformerBlock
from flash_tutorial.config import gated_width
from flash_tutorial.fast import relu2_attention
from flash_tutorial.gau import GatedUnit
from flash_tutorial.layers import ToeplitzBias, cos_sin, rope

T, C, HEADS = 256, 32, 4

# ---------------------------------------------------------------- units that the package does not have


class ManyHeadGAU(GatedUnit):
    """GAU with H heads: base and values are cut into H parts, and each part has its own attention weights."""

    heads = 2  # q, k

    def __init__(
        self, dim, *, n_heads, length_scale, expansion=2, qk_dim=32, causal=False, norm="layer"
    ):
        super().__init__(dim, expansion=expansion, qk_dim=qk_dim, causal=causal, norm=norm)
        self.n_heads, self.length_scale = n_heads, length_scale
        self.bias = ToeplitzBias(length_scale)  # one table for all heads
        self.reset_parameters()

    def read_heads(self, z, cos, sin):
        # (2, B, H, T, S / H)
        parts = self.scale_offset(z).unflatten(-1, (self.n_heads, -1)).transpose(2, 3)
        return rope(parts, *cos_sin(z.shape[1], parts.shape[-1], z)).to(z.dtype)

    def mix(self, heads, v, mask, segment_ids):
        q, k = (part.flatten(0, 1) for part in heads)  # (B H, T, S / H)
        v = v.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)  # (B, H, T, E / H)
        out = relu2_attention(
            q,
            k,
            v.flatten(0, 1),
            scale=1 / self.length_scale,
            causal=self.causal,
            bias=self.bias(v.shape[2]),
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
        return x + self.attn_out(
            F.silu(self.gate(self.norm1(x))) * mixed.transpose(1, 2).flatten(2)
        )


# token by token: read the row again at each step, and not with the softmax of the class above
Relu2Block.prefill = Relu2Block.step = None

# ---------------------------------------------------------------- the variants


def gau(**changed):
    """Four GAUs."""
    sizes = dict(dim=64, depth=4, qk_dim=32, max_length=T, norm="layer", start="paper")
    return ModelConfig("flash_quad", **sizes | changed)


def flash(**changed):
    """Four FLASH units."""
    sizes = dict(
        dim=64, depth=4, qk_dim=32, chunk_size=C, max_length=T, norm="layer", start="paper"
    )
    return ModelConfig("flash", **sizes | changed)


def blocks(architecture="transformer+", **changed):
    """Two Transformer blocks, with the paper's hidden width: 4 D, and 8 D / 3 with a gate."""
    ff_dim = gated_width(64) if architecture.endswith("++") else 4 * 64
    sizes = dict(
        dim=64, depth=2, heads=HEADS, ff_dim=ff_dim, max_length=T, norm="layer", start="paper"
    )
    return ModelConfig(architecture, **sizes | changed)


def own(unit, depth, **options):
    """A model of a unit that the package does not have."""
    return ModelConfig(
        unit, dim=64, depth=depth, max_length=T, norm="layer", unit_options=options, start="paper"
    )


# name -> (what it is compared with, its configuration); the first of a family is compared with nothing
VARIANTS = {
    "GAU": (None, gau()),
    "GAU, softmax": ("GAU", gau(attention="softmax")),
    "GAU, 4 heads": ("GAU", own(ManyHeadGAU, 4, n_heads=HEADS, length_scale=T)),
    "GAU, no gate": (
        "GAU",
        own(GAUWithoutGate, 4, qk_dim=32, bias_length=T, length_scale=T, norm="layer"),
    ),
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
