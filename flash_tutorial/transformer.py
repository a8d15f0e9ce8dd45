"""The Transformer blocks that the paper compares with: Transformer, Transformer+, Transformer++, MC-Transformer++.

Twins in NumPy: ``reference.transformer_block``, ``transformer_step`` and ``mc_transformer_block``, from
``unit.to_numpy()``.
Letters: B batch, T length, D model width, C chunk length, G chunks, H heads, d = D / H, F hidden width.
"""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .calls import by_call
from .chunks import chunk_counts, chunk_documents, from_chunks, to_chunks
from .config import check_options, default_heads, gated_width
from .fast import read_earlier_chunks
from .layers import arrays_of, check_input, cos_sin, cos_sin_at, make_norm, reset_norms, rope
from .mixing import global_part, softmax_attention, visible_pairs
from .names import ours
from .states import (
    Cache,
    ChunkState,
    Rows,
    further_tables,
    newest,
    of_each_head,
    refuse_non_causal,
    seen_at,
)


@ours
class TransformerBlock(nn.Module):
    """Multi-head softmax attention and a feed-forward layer, both pre-norm with a residual.

    ``rope=True`` makes it Transformer+, ``glu=True`` besides Transformer++ (Section 4 of the paper).

    Args:
        dim: D. heads: H, default D / 64. ff_dim: F, default 4 D, with a gate 8 D / 3 rounded up to a multiple of 8
        (what the paper's parameter counts ask for). glu: GELU(gate) * value instead of GELU. rope: rotate q and k.

    >>> import torch
    >>> from flash_tutorial import TransformerBlock
    >>> block = TransformerBlock(64, heads=4, rope=True, glu=True, causal=True)  # Transformer++
    >>> block(torch.randn(2, 100, 64)).shape, block.ff_dim
    (torch.Size([2, 100, 64]), 176)
    """

    def __init__(
        self,
        dim: int,
        *,
        heads: int | None = None,
        ff_dim: int | None = None,
        glu: bool = False,
        rope: bool = False,
        causal: bool = False,
        norm: str = "layer",
    ) -> None:
        super().__init__()
        check_options(dim=dim, heads=heads, ff_dim=ff_dim)
        if heads is None:
            heads = default_heads(dim)
        if ff_dim is None:
            ff_dim = gated_width(dim) if glu else 4 * dim
        self.dim = dim
        self.heads = heads
        self.ff_dim = ff_dim
        self.causal = causal
        self.glu = glu
        self.rope = rope
        self.norm1 = make_norm(norm, dim)
        self.norm2 = make_norm(norm, dim)
        self.qkv_proj = nn.Linear(dim, 3 * dim)
        self.attn_out = nn.Linear(dim, dim)
        inner = 2 * ff_dim if glu else ff_dim  # gate and value, or the hidden channels alone
        self.ff_in = nn.Linear(dim, inner)
        self.ff_out = nn.Linear(ff_dim, dim)
        # a subclass starts what it adds when it has added it
        TransformerBlock.reset_parameters(self)

    def reset_parameters(self, std: float = 0.02) -> None:
        """Kernels from N(0, std²), biases zero, gains one."""
        reset_norms(self.norm1, self.norm2)
        for linear in (self.qkv_proj, self.attn_out, self.ff_in, self.ff_out):
            nn.init.normal_(linear.weight, std=std)
            nn.init.zeros_(linear.bias)

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        segment_ids: Tensor | None = None,
        *,
        checked: bool = False,
    ) -> Tensor:
        """``x (B, T, D) -> (B, T, D)``; ``checked``: the model has validated it."""
        mask, segment_ids = check_input(x, self.dim, mask, segment_ids, checked=checked, of=self)[
            :2
        ]
        return self.feed_forward(
            self.join(x, self.mix(*self.read_heads(x, mask), mask, segment_ids))
        )

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
        # padding on the right comes later than whatever counts: no T x T mask for that
        if self.causal:
            mask = None
        visible = visible_pairs(mask, segment_ids)
        if visible is not None:
            visible = visible[:, None]  # for all heads
        return softmax_attention(q, k, v, causal=self.causal, visible=visible)

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

    # ------------------------------------------------------------ token by token
    @by_call
    def prefill(
        self, x: Tensor, mask: Tensor | None = None, *, state: Any = None, checked: bool = False
    ) -> tuple[Tensor, Any]:
        """Output ``(B, T, D)`` of a prompt, the first or after a ``state``, and the state then; ``checked``: the model
        has validated it."""
        refuse_non_causal(self)
        mask = check_input(x, self.dim, mask, every_row=True, checked=checked, of=self).mask
        q, k, v = self.read_heads(x, mask)  # (B, H, T, d)
        if state is None:
            mixed = self.mix(q, k, v, mask, None)
            state = self.remember(q, k, v, Rows.after(x, mask))
        else:
            mixed, state = self.mix_further(q, k, v, state, Rows.after(x, mask, state.rows))
        return self.feed_forward(self.join(x, mixed)), state

    def mix_further(self, q, k, v, state, rows):
        """What tokens behind a state read: ``(B, H, T, d)``, and the state then, at ``rows``."""
        if self.rope:
            tables = map(of_each_head, further_tables(v, v.shape[-1], state.rows, rows))
            cos, sin = tables
            q, k = (rope(t, cos, sin).to(v.dtype) for t in (q, k))
        seen = seen_at(state.rows.next_places(v.shape[2], v.device), rows.used)
        state = state.further((k, v), rows)
        mixed = softmax_attention(q, *state.held(), causal=False, visible=of_each_head(seen))
        return mixed, state

    def remember(self, q, k, v, rows):
        if self.rope:
            k = rope(k, *cos_sin(k.shape[2], k.shape[3], k)).to(v.dtype)
        # a head's tokens side by side in memory: read in half the time where they are many
        return Cache((k, v), rows)

    @by_call
    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Output ``(B, D)`` of one more token ``x (B, D)``, and the state."""
        q, k, v = self.read_heads(x[:, None])  # (B, H, 1, d)
        mixed = self.mix_newest(q, k, v, state).to(v.dtype)  # a state may be kept in another format
        return self.feed_forward(self.join(x[:, None], mixed))[:, 0], state

    def mix_newest(self, q, k, v, state):
        """What the newest token reads of all: ``(B, H, 1, d)``."""
        if self.rope:
            cos, sin = _tables_at(state, k)
            q, k = rope(q, cos, sin), rope(k, cos, sin)
        state.append(k[:, :, 0], v[:, :, 0])
        keys, values = state.held()
        visible = state.visible()
        if visible is not None:
            visible = visible[:, None, None]
        return F.scaled_dot_product_attention(q.to(keys.dtype), keys, values, attn_mask=visible)

    def to_numpy(self) -> dict[str, np.ndarray]:
        """The float64 arrays that ``reference.transformer_block`` takes.

        ``norm1_gain``, ``norm2_gain`` (() or (D,)), ``norm1_offset``, ``norm2_offset`` (D,) for LayerNorm,
        ``qkv_weight`` (D, 3D) with columns q, k, v, each of H heads in a row, ``qkv_bias``, ``attn_out_weight``
        (D, D), ``attn_out_bias``, ``ff_in_weight`` (D, F), with a gate (D, 2F) with columns gate, value,
        ``ff_in_bias``, ``ff_out_weight`` (F, D), ``ff_out_bias``.
        """
        linears = {
            "qkv": self.qkv_proj,
            "attn_out": self.attn_out,
            "ff_in": self.ff_in,
            "ff_out": self.ff_out,
        }
        return arrays_of(norms={"norm1": self.norm1, "norm2": self.norm2}, linears=linears)


@ours
class MCTransformerBlock(TransformerBlock):
    """MC-Transformer++: Transformer++ whose attention is softmax inside a chunk plus multi-head linear attention
    across chunks (Section 4.3; the paper gives words only).

    Chosen here: the linear heads are a scale and offset of the same projections, and are combined as in Code 8
    (mean over visible chunks, no feature map, no normaliser); both parts are added.

    >>> import torch
    >>> from flash_tutorial import MCTransformerBlock
    >>> block = MCTransformerBlock(64, chunk_size=32, heads=2, causal=True)
    >>> block(torch.randn(2, 100, 64)).shape
    torch.Size([2, 100, 64])
    """

    def __init__(
        self,
        dim: int,
        *,
        chunk_size: int = 256,
        heads: int | None = None,
        ff_dim: int | None = None,
        causal: bool = False,
        norm: str = "layer",
    ) -> None:
        check_options(chunk_size=chunk_size)
        super().__init__(
            dim, heads=heads, ff_dim=ff_dim, glu=True, rope=True, causal=causal, norm=norm
        )
        self.chunk_size = chunk_size
        self.gamma = nn.Parameter(torch.empty(2, dim))
        self.beta = nn.Parameter(torch.empty(2, dim))
        self.reset_linear_heads()

    def reset_parameters(self, std: float = 0.02) -> None:
        """As TransformerBlock, and the linear heads: gamma from N(0, std²), beta zero."""
        super().reset_parameters(std)
        self.reset_linear_heads(std)

    def reset_linear_heads(self, std=0.02):
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
        C = self.chunk_size if T > self.chunk_size else T
        heads = self.rotate_heads(q, k, *cos_sin(T, d, v))
        # the last chunk is filled up with empty keys; no branch on that for a compiler, which leaves T open
        filled = torch.compiler.is_compiling() or T % C
        if mask is None and not self.causal and filled:
            mask = torch.ones(B, T, dtype=torch.bool, device=v.device)
        documents = None  # or (B, G, C)
        if segment_ids is not None:
            documents = chunk_documents(segment_ids, C, None if self.causal else mask)
        valid = None if mask is None else to_chunks(mask[..., None], C)[..., 0]  # (B, G, C)
        # (B, H, G, C, d)
        q, k, lin_q, lin_k, v = (to_chunks(t.to(v.dtype), C) for t in (*heads, v))
        near = self.local_part(q, k, v, valid, documents)
        # the global part knows no heads: each is a row of the batch
        counts = chunk_counts(T, C, mask, v.device)
        if counts.shape[0] > 1:
            counts = counts.repeat_interleave(H, 0)
        if documents is not None:
            documents = documents.repeat_interleave(H, 0)
        far = global_part(
            *(t.flatten(0, 1) for t in (lin_q, lin_k, v)),
            causal=self.causal,
            read=read_earlier_chunks,
            counts=counts,
            documents=documents,
        )
        return from_chunks(near + far.unflatten(0, (B, H)), T)

    def local_part(self, q, k, v, valid, documents):
        """Softmax attention inside each chunk: ``(B, H, G, C, d)``; ``valid`` and ``documents (B, G, C)``."""
        B, _, G = q.shape[:3]
        q, k, v = (t.transpose(1, 2).flatten(0, 1) for t in (q, k, v))  # (B G, H, C, d)
        if self.causal:
            valid = None  # padding comes later
        if valid is not None:
            valid = valid.flatten(0, 1)
        if documents is not None:
            documents = documents.flatten(0, 1)
        visible = visible_pairs(valid, documents)
        if visible is not None:
            visible = visible[:, None]  # for all heads
        return (
            softmax_attention(q, k, v, causal=self.causal, visible=visible)
            .unflatten(0, (B, G))
            .transpose(1, 2)
        )

    # ------------------------------------------------------------ token by token
    def remember(self, q, k, v, rows):
        _, quad_k, _, lin_k = self.rotate_heads(q, k, *cos_sin(k.shape[2], k.shape[3], k))
        return ChunkState.after(quad_k, lin_k, v, self.chunk_size, rows)

    def mix_further(self, q, k, v, state, rows):
        """What tokens behind a state read: ``(B, H, T, d)``, and the state then, at ``rows``.

        In their own chunk that begins with the open chunk of the state, in earlier ones besides the sums.
        """
        C = self.chunk_size
        tables = map(of_each_head, further_tables(v, v.shape[-1], state.rows, rows))
        tensors, length = state.open_chunk_before(*self.rotate_heads(q, k, *tables), v)
        chunks = [to_chunks(t, C) for t in tensors]  # (B, H, G, C, d)
        near = self.local_part(*(chunks[i] for i in (0, 1, 4)), None, None)
        # the global part knows no heads: each is a row of the batch
        sums, tokens = state.before_open_chunk()
        if isinstance(tokens, torch.Tensor):
            tokens = tokens.repeat_interleave(self.heads, 0)
        far = global_part(
            *(t.flatten(0, 1) for t in chunks[2:]),
            causal=True,
            read=read_earlier_chunks,
            before=(sums, tokens),
        )
        mixed = from_chunks(near + far.unflatten(0, near.shape[:2]), tensors[0].shape[2])
        _, quad_k, _, lin_k, values = tensors
        state = ChunkState.after(quad_k, lin_k, values, C, rows, before=state)
        return newest(mixed, length, v.shape[2]), state

    def mix_newest(self, q, k, v, state):
        """What the newest token reads of its chunk, and of the finished ones through their sum: ``(B, H, 1, d)``."""
        q, k, lin_q, lin_k = self.rotate_heads(q, k, *_tables_at(state, k))
        place = state.append(k[:, :, 0], lin_k[:, :, 0], v[:, :, 0])
        row = _of_each_row(state.bias[place])  # nothing but which keys there are
        near = F.scaled_dot_product_attention(
            q.to(state.v.dtype), state.quad_k, state.v, attn_mask=row
        )
        mixed = state.add_far(near[:, :, 0], lin_q[:, :, 0], "mean")[:, :, None]
        state.advance()
        return mixed

    def to_numpy(self) -> dict[str, np.ndarray]:
        """As TransformerBlock, with ``gamma`` and ``beta`` (2, D) of the linear heads q, k."""
        return super().to_numpy() | arrays_of(gamma=self.gamma, beta=self.beta)


def _tables_at(state, k):
    """cos and sin for one token at each row's own place, to go with heads ``(B, H, 1, d)``."""
    return map(_of_each_row, cos_sin_at(state.rows.place, k.shape[-1], k, state.rows.used))


def _of_each_row(t):
    """``(B, n)`` as ``(B, 1, 1, n)``, to go with heads; what all rows share, ``(n,)``, as ``(1, n)``."""
    return t[None] if t.dim() == 1 else t[:, None, None]
