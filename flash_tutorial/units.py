"""The units of the paper. One sentence holds for the first two: gate what was mixed.

    u, v, z = project(x)          # gate, value, shared low-width base
    y       = x + (u * mix(z, v)) @ W_out

A unit maps ``x (B, T, D)`` to ``(B, T, D)``, its norm and residual included, for any T >= 1. ``mask (B, T)`` bool and
sorted ``segment_ids (B, T)`` keep padding and other documents out. Twins in NumPy: ``reference.gau``, ``flash``,
``transformer_block``, ``mc_transformer_block``, from ``unit.to_numpy()``; token by token: ``states.py``.
Letters: B batch, T length, D model width, E expanded width, S shared width, C chunk length, H heads, F hidden width.
"""

import importlib.util

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from .chunks import chunk_counts, chunk_documents, from_chunks, to_chunks
from .config import check_heads, check_options
from .fast import read_earlier_chunks, relu2_attention
from .formats import is_rewritten, product_dtype
from .layers import ScaleOffset, arrays_of, check_input, cos_sin, gates_again, make_bias, make_norm, rope
from .mixing import global_part, mixed_chunk_attention, softmax_attention, visible_pairs
from .settings import check_counts
from .states import BlockSteps, FLASHSteps, GAUSteps, MCBlockSteps


# ---------------------------------------------------------------- GAU and FLASH
class GatedUnit(nn.Module):
    """What GAU and FLASH share: everything but the mixing (Code 6, Code 8)."""

    heads: int  # how many query/key heads are made of the base z

    def __init__(self, dim, *, expansion, qk_dim, causal, norm):
        super().__init__()
        check_options(dim=dim, expansion=expansion, qk_dim=qk_dim)
        self.dim, self.expanded, self.qk_dim, self.causal = dim, expansion * dim, qk_dim, causal
        self.norm = make_norm(norm, dim)
        self.in_proj = nn.Linear(dim, 2 * self.expanded + qk_dim)  # one product for gate, value and base
        self.scale_offset = ScaleOffset(self.heads, qk_dim)
        self.out_proj = nn.Linear(self.expanded, dim)
        self.bias: nn.Module | None = None

    def reset_parameters(self, std=0.02):
        """The paper's start: kernels, gamma and the position bias from N(0, std²), beta and biases zero (Codes 4-8)."""
        for linear in (self.in_proj, self.out_proj):
            nn.init.normal_(linear.weight, std=std)
            nn.init.zeros_(linear.bias)
        nn.init.normal_(self.scale_offset.gamma, std=std)
        nn.init.zeros_(self.scale_offset.beta)
        for weights in () if self.bias is None else self.bias.parameters():
            nn.init.normal_(weights, std=std)

    def forward(self, x, mask=None, segment_ids=None, *, checked=False):
        """x + (u * mixed) W_out (equation 3): ``(B, T, D) -> (B, T, D)``; ``checked``: the model has validated it."""
        segment_ids = check_input(x, self.dim, mask, segment_ids, checked=checked)
        u, v, z = self.project(x, mask)
        heads = self.read_heads(z, *cos_sin(x.shape[1], self.qk_dim, x))
        return x + self.project_back(u, self.mix(heads, v, mask, segment_ids))

    def project(self, x, mask=None):
        """Gate ``u (B, T, E)``, value ``v (B, T, E)``, base ``z (B, T, S)`` (equation 4)."""
        h = F.silu(self.in_proj(self.norm(x)))  # (B, T, 2E + S)
        if mask is not None:  # after the activation: SiLU of a bias is not zero
            h = h.masked_fill(~mask[..., None], 0)
        return h.split([self.expanded, self.expanded, self.qk_dim], dim=-1)

    def read_heads(self, z, cos, sin):
        """Query and key heads ``(H, B, T, S)``: scale and offset, then RoPE (in float32 or better)."""
        return rope(self.scale_offset(z), cos, sin).to(z.dtype)

    def mix(self, heads, v, mask, segment_ids):
        """What each token reads of the others: ``(B, T, E)``."""
        raise NotImplementedError

    def project_back(self, u, mixed):
        """(u * mixed) W_out: ``(B, T, E) -> (B, T, D)``."""

        def back(u, mixed):
            return self.out_proj(u * mixed)

        return checkpoint(back, u, mixed, use_reentrant=False) if gates_again(u) else back(u, mixed)

    def to_numpy(self):
        """The float64 arrays that ``flash_tutorial.reference`` takes.

        ``norm_gain`` (() or (D,)), ``norm_offset`` (D,) for LayerNorm, ``in_weight`` (D, 2E+S) with columns u, v, z,
        ``in_bias``, ``gamma`` and ``beta`` (H, S), ``bias_weights`` (2n-1) or ``bias_a`` and ``bias_b`` (S) or
        neither, ``out_weight`` (E, D), ``out_bias``.
        """
        bias = {} if self.bias is None else {f"bias_{name}": p for name, p in self.bias.named_parameters()}
        heads = {"gamma": self.scale_offset.gamma, "beta": self.scale_offset.beta}
        return arrays_of(norms={"norm": self.norm}, linears={"in": self.in_proj, "out": self.out_proj}, **heads, **bias)


class GAU(GAUSteps, GatedUnit):
    """Gated Attention Unit, the layer of FLASH-Quad: relu^2(q k^T / n + bias), gated (equation 3, Code 6).

    Args:
        dim: model width D. expansion: E / D. qk_dim: S, even. causal: read no later token.
        norm: "scale" (ScaleNorm) or "layer" (LayerNorm).
        bias: "toeplitz", "rotary", None, or "auto": the paper's rule, Toeplitz for bias_length below 512.
        bias_length: reach of a Toeplitz bias; a longer T is a ValueError, a shorter one takes the same distances.
        length_scale: n. None divides by the length at hand (a row's valid tokens), as Code 6 does: then outputs
            depend on how long the sequence is. An integer fixes it, which decoding needs.
        attention: "relu2", or "softmax" over q k^T / sqrt(S) + bias (the ablation of Table 1).
    """

    heads = 2  # q, k

    def __init__(
        self, dim, *, expansion=2, qk_dim=128, causal=False, norm="scale", bias="auto", bias_length=512,
        length_scale=None, attention="relu2",
    ):  # fmt: skip
        super().__init__(dim, expansion=expansion, qk_dim=qk_dim, causal=causal, norm=norm)
        check_options(attention=attention)
        check_counts(bias_length=bias_length, length_scale=1 if length_scale is None else length_scale)
        self.length_scale, self.attention = length_scale, attention
        self.bias = make_bias(bias, bias_length, qk_dim)
        self.reset_parameters()

    def mix(self, heads, v, mask, segment_ids):
        """Quadratic attention over all tokens (equation 5), or the softmax in its place."""
        q, k = heads  # (B, T, S)
        T = v.shape[1]
        bias = None if self.bias is None else self.bias(T)  # (T, T)
        if self.attention == "softmax":
            visible = visible_pairs(mask, segment_ids)
            visible = None if visible is None else visible[:, None]
            q, k, v = q[:, None], k[:, None], v[:, None]  # one head: (B, 1, T, S or E)
            return softmax_attention(q, k, v, causal=self.causal, bias=bias, visible=visible)[:, 0]
        scale = 1 / (self.length_scale or T)
        if self.length_scale is None and mask is not None:  # each row has its own number of valid tokens
            root = mask.sum(1).clamp(min=1).to(q.dtype).rsqrt()[:, None, None]
            q, k, scale = q * root, k * root, 1.0
        visible = visible_pairs(None, segment_ids)
        return relu2_attention(q, k, v, scale=scale, causal=self.causal, bias=bias, visible=visible)


class FLASH(FLASHSteps, GatedUnit):
    """Mixed chunk attention, gated: relu^2 attention inside chunks, linear attention across them (Code 8).

    Args (those of GAU besides):
        chunk_size: C. It is architecture, not only speed: a model trained with one C is another function at another.
        bias: the bias inside a chunk; "auto" decides by chunk_size.
        combine: "mean" over the visible chunks of K^T V / C (Code 8) or "sum", the bare sum (equation 7, equation 8).
        local, global_: switch one part off (the paper's GlobalOnly and LocalOnly).
        backend: "torch"; "triton", the kernels of gpu/; or "auto", these where they are faster. The same numbers.
    """

    heads = 4  # quad_q, quad_k, lin_q, lin_k

    def __init__(
        self, dim, *, chunk_size=256, expansion=2, qk_dim=128, causal=False, norm="scale", bias="auto",
        combine="mean", local=True, global_=True, backend="auto",
    ):  # fmt: skip
        super().__init__(dim, expansion=expansion, qk_dim=qk_dim, causal=causal, norm=norm)
        check_options(chunk_size=chunk_size, combine=combine, local=local, global_=global_, backend=backend)
        self.chunk_size, self.combine, self.local, self.global_ = chunk_size, combine, local, global_
        self.backend = backend
        self.bias = make_bias(bias, chunk_size, qk_dim)
        self.reset_parameters()

    def forward(self, x, mask=None, segment_ids=None, *, checked=False):
        """As of every gated unit, by Triton's kernels or by torch (``backend``)."""
        fused, why = self.fused_on(x) if isinstance(x, torch.Tensor) else (False, "x is no tensor")
        if not fused:
            if self.backend == "triton":
                raise ValueError(f"backend='triton' cannot compute this unit: {why}; take backend='auto'")
            return super().forward(x, mask, segment_ids, checked=checked)
        from .gpu.fused import fused_unit  # not every machine has Triton

        segment_ids = check_input(x, self.dim, mask, segment_ids, checked=checked)
        h = self.in_proj(self.norm(x))
        if mask is not None:  # before the activation here: SiLU of zero is zero
            h = h.masked_fill(~mask[..., None], 0)
        return x + fused_unit(self, h, cos_sin(x.shape[1], self.qk_dim, x), segment_ids)

    def fused_on(self, x):
        """Whether Triton's kernels compute the unit on ``x``, and why or why not, in words."""
        if self.backend == "torch":
            return False, "backend='torch'"
        if self.backend == "auto" and x.device.type != "cuda":
            return False, "it is not on a CUDA card"
        dtype, width = product_dtype(x), self.in_proj.out_features
        width = max(width, self.qk_dim * self.out_proj.in_features / self.chunk_size)  # a token's share of the states
        cannot = {
            "they are for causal units": not self.causal,
            "they compute both parts, local and global": not (self.local and self.global_),
            f"S={self.qk_dim}, and they hold at most 128": self.qk_dim > 128,
            f"C={self.chunk_size} is no multiple of 16": self.chunk_size % 16,
            f"a row of {x.shape[1]} tokens outgrows their 32-bit addresses": x.shape[1] * width >= 2**31,
            "float64 is torch's": dtype == torch.float64,
            "Triton is not installed": importlib.util.find_spec("triton") is None,
        }
        if self.backend == "auto":
            slower = torch.cuda.get_device_capability(x.device) < (8, 0)
            cannot = {"cards before 8.0 gain nothing": slower,
                      "float32 gains nothing": dtype == torch.float32,
                      "torch.compile and torch.func want plain operations": is_rewritten()} | cannot  # fmt: skip
        why = next((said for said, so in cannot.items() if so), None)
        return why is None, why or "the card, the sizes and the type are what they are made for"

    def mix(self, heads, v, mask, segment_ids):
        return mixed_chunk_attention(
            *heads, v, chunk_size=self.chunk_size, causal=self.causal, bias=self.bias, combine=self.combine,
            local=self.local, global_=self.global_, mask=mask, segment_ids=segment_ids,
            attend=relu2_attention, read=read_earlier_chunks,
        )  # fmt: skip


# ---------------------------------------------------------------- the Transformer blocks
class TransformerBlock(BlockSteps, nn.Module):
    """Multi-head softmax attention and a feed-forward layer, both pre-norm with a residual.

    ``rope=True`` makes it Transformer+, ``glu=True`` besides Transformer++ (Section 4 of the paper).

    Args:
        dim: D. heads: H, default D / 64. ff_dim: F, default 4 D, with a gate 8 D / 3 rounded up to a multiple of 8
        (what the paper's parameter counts ask for). glu: GELU(gate) * value instead of GELU. rope: rotate q and k.
    """

    def __init__(self, dim, *, heads=None, ff_dim=None, glu=False, rope=False, causal=False, norm="layer"):
        super().__init__()
        check_options(dim=dim, heads=heads, ff_dim=ff_dim)
        heads = max(1, dim // 64) if heads is None else heads
        ff_dim = ff_dim if ff_dim is not None else gated_width(dim) if glu else 4 * dim
        check_heads(dim, heads)
        self.dim, self.heads, self.ff_dim, self.causal, self.glu, self.rope = dim, heads, ff_dim, causal, glu, rope
        self.norm1, self.norm2 = make_norm(norm, dim), make_norm(norm, dim)
        self.qkv_proj = nn.Linear(dim, 3 * dim)
        self.attn_out = nn.Linear(dim, dim)
        self.ff_in = nn.Linear(dim, 2 * ff_dim if glu else ff_dim)
        self.ff_out = nn.Linear(ff_dim, dim)
        self.reset_parameters()

    def reset_parameters(self, std=0.02):
        """Kernels from N(0, std²), biases zero."""
        for linear in (self.qkv_proj, self.attn_out, self.ff_in, self.ff_out):
            nn.init.normal_(linear.weight, std=std)
            nn.init.zeros_(linear.bias)

    def forward(self, x, mask=None, segment_ids=None, *, checked=False):
        """``x (B, T, D) -> (B, T, D)``; ``checked``: the model has validated it."""
        segment_ids = check_input(x, self.dim, mask, segment_ids, checked=checked)
        return self.feed_forward(self.join(x, self.mix(*self.read_heads(x, mask), mask, segment_ids)))

    def read_heads(self, x, mask=None):
        """q, k, v, each ``(B, H, T, D / H)``, not yet rotated."""
        h = self.qkv_proj(self.norm1(x))
        if mask is not None:  # a weight of zero times a NaN would still be a NaN
            h = h.masked_fill(~mask[..., None], 0)
        return h.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)

    def mix(self, q, k, v, mask, segment_ids):
        """What each token reads of the others: ``(B, H, T, D / H)``."""
        if self.rope:
            q, k = (rope(t, *cos_sin(t.shape[-2], t.shape[-1], v)).to(v.dtype) for t in (q, k))
        if self.causal:  # padding on the right comes later than whatever counts: no T x T mask for that
            mask = None
        visible = visible_pairs(mask, segment_ids)
        return softmax_attention(q, k, v, causal=self.causal, visible=None if visible is None else visible[:, None])

    def join(self, x, mixed):
        """The heads ``(B, H, T, D / H)`` back into one width, projected, with the residual."""
        return x + self.attn_out(mixed.transpose(1, 2).flatten(2))

    def feed_forward(self, x):
        """An MLP, or with a gate the gated linear unit (equation 1, equation 2), phi = GELU, with the residual."""
        h = self.ff_in(self.norm2(x))  # (B, T, F or 2F)
        if self.glu:
            gate, value = h.chunk(2, -1)
            return x + self.ff_out(F.gelu(gate) * value)
        return x + self.ff_out(F.gelu(h))

    def to_numpy(self):
        """The float64 arrays that ``reference.transformer_block`` takes.

        ``norm1_gain``, ``norm2_gain`` (() or (D,)), ``norm1_offset``, ``norm2_offset`` (D,) for LayerNorm,
        ``qkv_weight`` (D, 3D) with columns q, k, v, each of H heads in a row, ``qkv_bias``, ``attn_out_weight``
        (D, D), ``attn_out_bias``, ``ff_in_weight`` (D, F), with a gate (D, 2F) with columns gate, value,
        ``ff_in_bias``, ``ff_out_weight`` (F, D), ``ff_out_bias``.
        """
        linears = {"qkv": self.qkv_proj, "attn_out": self.attn_out, "ff_in": self.ff_in, "ff_out": self.ff_out}
        return arrays_of(norms={"norm1": self.norm1, "norm2": self.norm2}, linears=linears)


def gated_width(dim):
    """8 D / 3 rounded up to a multiple of 8: a gated layer with the parameters of an MLP of 4 D."""
    return -(-8 * dim // 24) * 8


class MCTransformerBlock(MCBlockSteps, TransformerBlock):
    """MC-Transformer++: Transformer++ whose attention is softmax inside a chunk plus multi-head linear attention
    across chunks (Section 4.3; the paper gives words only).

    Chosen here: the linear heads are a scale and offset of the same projections, and are combined as in Code 8
    (mean over visible chunks, no feature map, no normaliser); both parts are added.
    """

    def __init__(self, dim, *, chunk_size=256, heads=None, ff_dim=None, causal=False, norm="layer"):
        check_options(chunk_size=chunk_size)
        super().__init__(dim, heads=heads, ff_dim=ff_dim, glu=True, rope=True, causal=causal, norm=norm)
        self.chunk_size = chunk_size
        self.gamma = nn.Parameter(torch.empty(2, dim))
        self.beta = nn.Parameter(torch.zeros(2, dim))
        nn.init.normal_(self.gamma, std=0.02)

    def reset_parameters(self, std=0.02):
        super().reset_parameters(std)
        if hasattr(self, "gamma"):
            nn.init.normal_(self.gamma, std=std)
            nn.init.zeros_(self.beta)

    def linear_heads(self, q, k):
        """lin_q, lin_k ``(B, H, T, D / H)``, not yet rotated."""
        gamma, beta = (p.view(2, 1, self.heads, 1, -1) for p in (self.gamma, self.beta))
        return q * gamma[0] + beta[0], k * gamma[1] + beta[1]

    def rotate_heads(self, q, k, cos, sin):
        """quad_q, quad_k, lin_q, lin_k, all rotated."""
        return [rope(t, cos, sin).to(q.dtype) for t in (q, k, *self.linear_heads(q, k))]

    def mix(self, q, k, v, mask, segment_ids):
        B, H, T, d = q.shape
        C = min(self.chunk_size, T)
        heads = self.rotate_heads(q, k, *cos_sin(T, d, v))
        if mask is None and not self.causal and T % C:
            mask = torch.ones(B, T, dtype=torch.bool, device=v.device)  # the last chunk is filled up with empty keys
        documents = None if segment_ids is None else chunk_documents(segment_ids, C)  # (B, G, C)
        valid = None if mask is None else to_chunks(mask[..., None], C)[..., 0]  # (B, G, C)
        q, k, lin_q, lin_k, v = (to_chunks(t.to(v.dtype), C) for t in (*heads, v))  # (B, H, G, C, d)
        near = self.local_part(q, k, v, valid, documents)
        counts = chunk_counts(T, C, mask, v.device)
        far = global_part(
            *(t.flatten(0, 1) for t in (lin_q, lin_k, v)), causal=self.causal, read=read_earlier_chunks,
            counts=counts.repeat_interleave(H, 0) if counts.shape[0] > 1 else counts,
            documents=None if documents is None else documents.repeat_interleave(H, 0),
        )  # fmt: skip
        return from_chunks(near + far.unflatten(0, (B, H)), T)

    def local_part(self, q, k, v, valid, documents):
        """Softmax attention inside each chunk: ``(B, H, G, C, d)``; ``valid`` and ``documents (B, G, C)``."""
        B, _, G = q.shape[:3]
        valid = None if self.causal else valid
        q, k, v = (t.transpose(1, 2).flatten(0, 1) for t in (q, k, v))  # (B G, H, C, d)
        visible = visible_pairs(*(None if t is None else t.flatten(0, 1) for t in (valid, documents)))
        visible = None if visible is None else visible[:, None]
        return softmax_attention(q, k, v, causal=self.causal, visible=visible).unflatten(0, (B, G)).transpose(1, 2)

    def to_numpy(self):
        """As TransformerBlock, with ``gamma`` and ``beta`` (2, D) of the linear heads q, k."""
        return super().to_numpy() | arrays_of(gamma=self.gamma, beta=self.beta)
