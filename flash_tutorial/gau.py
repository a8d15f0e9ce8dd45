"""The Gated Attention Unit, and what it shares with FLASH. One sentence holds for both: gate what was mixed.

    u, v, z = project(x)          # gate, value, shared low-width base
    y       = x + (u * mix(z, v)) @ W_out

A unit maps ``x (B, T, D)`` to ``(B, T, D)``, its norm and residual included, for any T >= 1. ``mask (B, T)`` bool and
sorted ``segment_ids (B, T)`` keep padding and other documents out. Twins in NumPy: ``reference.gau`` and
``gau_step``, from ``unit.to_numpy()``.
Letters: B batch, T length, D model width, E expanded width, S shared width, H heads.
"""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .calls import by_call
from .config import check_options
from .fast import relu2_attention
from .layers import (
    ScaleOffset,
    arrays_of,
    check_input,
    cos_sin,
    cos_sin_at,
    gates_again,
    make_bias,
    make_norm,
    reset_norms,
    rope,
)
from .mixing import relu2_attention as plain_relu2_attention
from .mixing import softmax_attention, visible_pairs
from .names import ours
from .settings import check_counts
from .states import Cache, Rows, further_tables, of_each_head, refuse_non_causal, seen_at


class GatedUnit(nn.Module):
    """What GAU and FLASH share: everything but the mixing (Code 6, Code 8)."""

    heads: int  # how many query/key heads are made of the base z
    remember = None  # (heads, v, rows) -> the state after a prompt: where a unit has none, each step reads again
    mix_further = None  # (heads, v, state, rows) -> what is mixed after a state, and the state then; none: step by step

    def __init__(self, dim: int, *, expansion: int, qk_dim: int, causal: bool, norm: str) -> None:
        super().__init__()
        check_options(dim=dim, expansion=expansion, qk_dim=qk_dim)
        self.dim = dim
        self.expanded = expansion * dim
        self.qk_dim = qk_dim
        self.causal = causal
        self.norm = make_norm(norm, dim)
        # one product for gate, value and base
        self.in_proj = nn.Linear(dim, 2 * self.expanded + qk_dim)
        self.scale_offset = ScaleOffset(self.heads, qk_dim)
        self.out_proj = nn.Linear(self.expanded, dim)
        self.bias: nn.Module | None = None

    def reset_parameters(self, std: float = 0.02) -> None:
        """The paper's start: kernels, gamma and the position bias from N(0, std²), beta and biases zero, gains one
        (Codes 4-8)."""
        reset_norms(self.norm)
        for linear in (self.in_proj, self.out_proj):
            nn.init.normal_(linear.weight, std=std)
            nn.init.zeros_(linear.bias)
        nn.init.normal_(self.scale_offset.gamma, std=std)
        nn.init.zeros_(self.scale_offset.beta)
        if self.bias is not None:
            for weights in self.bias.parameters():
                nn.init.normal_(weights, std=std)

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        segment_ids: Tensor | None = None,
        *,
        checked: bool = False,
    ) -> Tensor:
        """x + (u * mixed) W_out (equation 3): ``(B, T, D) -> (B, T, D)``; ``checked``: the model has validated it."""
        mask, segment_ids = check_input(x, self.dim, mask, segment_ids, checked=checked, of=self)[
            :2
        ]
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
            gated = u * mixed
            return self.out_proj(gated.to(u.dtype))  # a state may be kept in another format

        if gates_again(u):
            return checkpoint(back, u, mixed, use_reentrant=False)
        return back(u, mixed)

    # ------------------------------------------------------------ token by token
    @by_call
    def prefill(
        self, x: Tensor, mask: Tensor | None = None, *, state: Any = None, checked: bool = False
    ) -> tuple[Tensor, Any]:
        """Output ``(B, T, D)`` of a prompt, the first or after a ``state``, and the state then; ``checked``: the model
        has validated it."""
        refuse_non_causal(self)
        mask = check_input(x, self.dim, mask, every_row=True, checked=checked, of=self).mask
        u, v, z = self.project(x, mask)
        if state is None:
            rows = Rows.after(x, mask)
            heads = self.read_heads(z, *cos_sin(x.shape[1], self.qk_dim, x))  # (H, B, T, S)
            mixed, state = self.mix_first(heads, v, mask, rows)
        else:
            rows = Rows.after(x, mask, state.rows)
            heads = self.read_heads(z, *further_tables(x, self.qk_dim, state.rows, rows))
            mixed, state = self.mix_further(heads, v, state, rows)
        return x + self.project_back(u, mixed), state

    def mix_first(self, heads, v, mask, rows):
        """What the tokens of a prompt read, ``(B, T, E)``, and the state behind it, at ``rows``."""
        return self.mix(heads, v, mask, None), self.remember(heads, v, rows)

    @by_call
    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Output ``(B, D)`` of one more token ``x (B, D)``, and the state."""
        u, v, z = self.project(x)
        # (H, B, S)
        heads = self.read_heads(z, *cos_sin_at(state.rows.place, self.qk_dim, x, state.rows.used))
        return x + self.project_back(u, self.mix_newest(heads, v, state)), state

    def to_numpy(self) -> dict[str, np.ndarray]:
        """The float64 arrays that ``flash_tutorial.reference`` takes.

        ``norm_gain`` (() or (D,)), ``norm_offset`` (D,) for LayerNorm, ``in_weight`` (D, 2E+S) with columns u, v, z,
        ``in_bias``, ``gamma`` and ``beta`` (H, S), ``bias_weights`` (2n-1) or ``bias_a`` and ``bias_b`` (S) or
        neither, ``out_weight`` (E, D), ``out_bias``.
        """
        bias = {}
        if self.bias is not None:
            bias = {f"bias_{name}": p for name, p in self.bias.named_parameters()}
        heads = {"gamma": self.scale_offset.gamma, "beta": self.scale_offset.beta}
        return arrays_of(
            norms={"norm": self.norm},
            linears={"in": self.in_proj, "out": self.out_proj},
            **heads,
            **bias,
        )


@ours
class GAU(GatedUnit):
    """Gated Attention Unit, the layer of FLASH-Quad: relu^2(q k^T / n + bias), gated (equation 3, Code 6).

    Args:
        dim: model width D. expansion: E / D. qk_dim: S, even. causal: read no later token.
        norm: "scale" (ScaleNorm) or "layer" (LayerNorm).
        bias: "toeplitz", "rotary", None, or "auto": the paper's rule, Toeplitz for bias_length below 512.
        bias_length: reach of a Toeplitz bias; a longer T is a ValueError, a shorter one takes the same distances.
        length_scale: n. None divides by the length at hand (a row's valid tokens), as Code 6 does: then outputs
            depend on how long the sequence is. An integer fixes it, which decoding needs.
        attention: "relu2", or "softmax" over q k^T / sqrt(S) + bias (the ablation of Table 1).

    >>> import torch
    >>> from flash_tutorial import GAU
    >>> unit = GAU(64, qk_dim=16, causal=True, length_scale=512)
    >>> unit(torch.randn(2, 100, 64)).shape
    torch.Size([2, 100, 64])
    """

    heads = 2  # q, k

    def __init__(
        self,
        dim: int,
        *,
        expansion: int = 2,
        qk_dim: int = 128,
        causal: bool = False,
        norm: str = "scale",
        bias: str | None = "auto",
        bias_length: int = 512,
        length_scale: int | None = None,
        attention: str = "relu2",
    ) -> None:
        super().__init__(dim, expansion=expansion, qk_dim=qk_dim, causal=causal, norm=norm)
        check_options(attention=attention)
        check_counts(bias_length=bias_length)
        if length_scale is not None:
            check_counts(length_scale=length_scale)
        self.length_scale = length_scale
        self.attention = attention
        self.bias = make_bias(bias, bias_length, qk_dim)
        self.reset_parameters()

    def mix(self, heads, v, mask, segment_ids):
        """Quadratic attention over all tokens (equation 5), or the softmax in its place."""
        q, k = heads  # (B, T, S)
        T = v.shape[1]
        bias = None if self.bias is None else self.bias(T)  # (T, T)
        if self.attention == "softmax":
            how = dict(causal=self.causal, bias=bias, visible=visible_pairs(mask, segment_ids))
            return one_head_of_softmax(q, k, v, **how)
        scale = 1 / (self.length_scale or T)
        # each row has its own number of valid tokens
        if self.length_scale is None and mask is not None:
            root = mask.sum(1).clamp(min=1).to(q.dtype).rsqrt()[:, None, None]
            q = q * root
            k = k * root
            scale = 1.0
        visible = visible_pairs(None, segment_ids)
        return relu2_attention(q, k, v, scale=scale, causal=self.causal, bias=bias, visible=visible)

    # ------------------------------------------------------------ token by token
    def remember(self, heads, v, rows):
        if self.attention == "relu2" and self.length_scale is None:
            why = "earlier outputs change with each new token and cannot be kept: fix it, for example length_scale=512"
            raise ValueError(
                f"this GAU divides by the current length (length_scale=None), so {why}"
            )
        return Cache((heads[1], v), rows)

    def mix_further(self, heads, v, state, rows):
        """What tokens behind a state read of it and of each other: ``(B, T, E)``, and the state then, at ``rows``."""
        q, k = heads  # (B, T, S)
        places = state.rows.next_places(q.shape[1], q.device)
        state = state.further((k, v), rows)
        keys, values = state.held()  # (B, n, S or E)
        seen = seen_at(places, rows.used)
        bias = None
        if self.bias is not None:
            bias = self.bias.row(places.clamp(max=rows.used - 1), rows.used)
        how = dict(causal=False, bias=bias, visible=seen)
        if self.attention == "softmax":
            return one_head_of_softmax(q, keys, values, **how), state
        return plain_relu2_attention(q, keys, values, scale=1 / self.length_scale, **how), state

    def mix_newest(self, heads, v, state):
        """What the newest token reads of all: ``(B, E)``."""
        q, k = heads  # (B, S)
        place = state.append(k, v)
        keys, values = state.held()
        visible = state.visible()
        n = state.rows.used
        # bmm: in matmul a full room is a graph more to a compiler
        scores = torch.bmm(keys, q.to(keys.dtype)[:, :, None])[..., 0]  # (B, n)
        if self.attention == "softmax":
            scores = scores * self.qk_dim**-0.5
        else:
            scores = scores / self.length_scale
        if self.bias is not None:
            scores = scores + self.bias.row(place, n)
        if visible is not None:  # relu makes of -inf an exact zero, as softmax does
            scores = scores.masked_fill(~visible, float("-inf"))
        weights = scores.softmax(-1) if self.attention == "softmax" else scores.relu().square()
        return torch.bmm(weights.to(values.dtype)[:, None], values)[:, 0]


def one_head_of_softmax(q, k, v, *, causal, bias, visible):
    """``softmax_attention`` with one head: ``q, k (B, T, S)``, ``v (B, T, E)`` -> ``(B, T, E)``."""
    q, k, v = (t[:, None] for t in (q, k, v))
    bias, visible = (None if t is None else of_each_head(t) for t in (bias, visible))
    return softmax_attention(q, k, v, causal=causal, bias=bias, visible=visible)[:, 0]
