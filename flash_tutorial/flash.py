"""FLASH: mixed chunk attention, gated, as one unit of the model; its kernels are in ``gpu``.

Twins in NumPy: ``reference.flash`` and ``flash_step``, from ``unit.to_numpy()``.
Letters: B batch, T length, D model width, E expanded width, S shared width, C chunk length, H heads.
"""

import torch
from torch import Tensor

from .config import check_options
from .fast import read_earlier_chunks, relu2_attention
from .formats import is_transformed, product_dtype
from .gau import GatedUnit
from .gpu import floor
from .layers import check_input, cos_sin, make_bias
from .mixing import mixed_chunk_attention
from .names import ours
from .states import ChunkState, lengths_behind, newest


@ours
class FLASH(GatedUnit):
    """Mixed chunk attention, gated: relu^2 attention inside chunks, linear attention across them (Code 8).

    Args (those of GAU besides):
        chunk_size: C. It is architecture, not only speed: a model trained with one C is another function at another.
        bias: the bias inside a chunk; "auto" decides by chunk_size.
        combine: "mean" over the visible chunks of K^T V / C (Code 8) or "sum", the bare sum (equation 7, equation 8).
        local, global_: switch one part off (the paper's GlobalOnly and LocalOnly).
        backend: "torch"; "triton", the kernels of gpu/; or "auto", these where they are faster. The same numbers.

    >>> import torch
    >>> from flash_tutorial import FLASH
    >>> unit = FLASH(64, chunk_size=32, qk_dim=16, causal=True)
    >>> x = torch.randn(2, 100, 64)                         # any length, also one that C does not divide
    >>> mask = torch.arange(100) < torch.tensor([[100], [70]])  # the second row has 70 tokens
    >>> unit(x, mask=mask).shape
    torch.Size([2, 100, 64])
    """

    heads = 4  # quad_q, quad_k, lin_q, lin_k

    def __init__(
        self,
        dim: int,
        *,
        chunk_size: int = 256,
        expansion: int = 2,
        qk_dim: int = 128,
        causal: bool = False,
        norm: str = "scale",
        bias: str | None = "auto",
        combine: str = "mean",
        local: bool = True,
        global_: bool = True,
        backend: str = "auto",
    ) -> None:
        super().__init__(dim, expansion=expansion, qk_dim=qk_dim, causal=causal, norm=norm)
        check_options(
            chunk_size=chunk_size, combine=combine, local=local, global_=global_, backend=backend
        )
        self.chunk_size = chunk_size
        self.combine = combine
        self.local = local
        self.global_ = global_
        self.backend = backend
        self.bias = make_bias(bias, chunk_size, qk_dim)
        self.reset_parameters()

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        segment_ids: Tensor | None = None,
        *,
        checked: bool = False,
    ) -> Tensor:
        """As of every gated unit, by Triton's kernels or by torch (``backend``)."""
        fused, why = False, "x is no tensor"
        if isinstance(x, torch.Tensor):
            fused, why = self.fused_on(x)
        if not fused:
            if self.backend == "triton":
                raise ValueError(
                    f"backend='triton' cannot compute this unit: {why}; take backend='auto'"
                )
            return super().forward(x, mask, segment_ids, checked=checked)
        from .gpu.fused import fused_unit  # not every machine has Triton

        mask, segment_ids = check_input(x, self.dim, mask, segment_ids, checked=checked, of=self)[
            :2
        ]
        h = self.in_proj(self.norm(x))
        if mask is not None:  # before the activation here: SiLU of zero is zero
            h = h.masked_fill(~mask[..., None], 0)
        return x + fused_unit(self, h, cos_sin(x.shape[1], self.qk_dim, x), mask, segment_ids)

    def fused_on(self, x):
        """Whether Triton's kernels compute the unit on ``x``, and why or why not, in words."""
        why = self.gains_nothing(x) or self.cannot_be_fused(x) or floor.lacking()
        return why is None, why or "the card, the sizes and the type are what they are made for"

    def gains_nothing(self, x):
        """Why torch is taken although the kernels could compute it, or None."""
        if self.backend == "torch":
            return "backend='torch'"
        if self.backend == "triton":
            return None
        if x.device.type != "cuda":
            return "it is not on a CUDA card"
        if is_transformed():
            return "torch.func wants plain operations"
        if torch.cuda.get_device_capability(x.device) < (8, 0):
            return "cards before 8.0 gain nothing"
        if product_dtype(x) == torch.float32:
            return "float32 gains nothing"
        return None

    def cannot_be_fused(self, x):
        """Why the kernels cannot compute the unit on ``x``, or None."""
        state_share = self.qk_dim * self.expanded / self.chunk_size  # a token's share of the states
        width = max(self.in_proj.out_features, state_share)
        cannot = {
            "they are for causal units": not self.causal,
            "they compute both parts, local and global": not (self.local and self.global_),
            f"S={self.qk_dim}, and they hold at most 128": self.qk_dim > 128,
            f"C={self.chunk_size} is no multiple of 16": self.chunk_size % 16,
            # without its number: read, it would be a graph more for each length
            "a row of so many tokens outgrows their 32-bit addresses": x.shape[1] * width >= 2**31,
            "float64 is torch's": product_dtype(x) == torch.float64,
        }
        return next((said for said, so in cannot.items() if so), None)

    def mix(self, heads, v, mask, segment_ids):
        return self.mixed(heads, v, mask=mask, segment_ids=segment_ids)

    def mixed(self, heads, v, *, finished=None, **options):
        """Mixed chunk attention of this unit, by the kernels or by torch.

        With ``finished (B,)``, how many chunks of each row are whole, the sum over these too; torch leaves it to
        ``ChunkState.after``, and gives None.
        """
        options |= dict(chunk_size=self.chunk_size, bias=self.bias, combine=self.combine)
        if self.fused_on(v)[0]:
            from .gpu.fused import fused_mixed_chunk

            return fused_mixed_chunk(*heads, v, finished=finished, **options)
        parts = dict(causal=self.causal, local=self.local, global_=self.global_)
        how = dict(attend=relu2_attention, read=read_earlier_chunks)
        mixed = mixed_chunk_attention(*heads, v, **options, **parts, **how)
        return mixed if finished is None else (mixed, None)

    # ------------------------------------------------------------ token by token
    def mix_first(self, heads, v, mask, rows):
        if type(self).mix is not FLASH.mix:  # a mixing of one's own
            return super().mix_first(heads, v, mask, rows)
        finished = lengths_behind(None, rows, v.device) // self.chunk_size
        mixed, sums = self.mixed(heads, v, mask=mask, finished=finished)
        return mixed, self.remember(heads, v, rows, sums)

    def remember(self, heads, v, rows, sums=None):
        _, quad_k, _, lin_k = (t[:, None] for t in heads)
        how = dict(bias=self.kept_bias(), sums=of_one_head(sums))
        return ChunkState.after(quad_k, lin_k, v[:, None], self.chunk_size, rows, **how)

    def kept_bias(self):
        return None if self.bias is None else self.bias(self.chunk_size).detach()

    def mix_further(self, heads, v, state, rows):
        """What tokens behind a state read: ``(B, T, E)``, and the state then, at ``rows``.

        In their own chunk that begins with the open chunk of the state, in earlier ones besides the sums.
        """
        C = self.chunk_size
        tensors, length = state.open_chunk_before(*heads[:, :, None], v[:, None])
        *both, values = (t[:, 0] for t in tensors)
        finished = lengths_behind(state, rows, v.device) // C
        mixed, sums = self.mixed(both, values, before=state.before_open_chunk(), finished=finished)
        _, quad_k, _, lin_k, values = tensors
        how = dict(bias=self.kept_bias(), before=state, sums=of_one_head(sums))
        state = ChunkState.after(quad_k, lin_k, values, C, rows, **how)
        return newest(mixed, length, v.shape[1]), state

    def mix_newest(self, heads, v, state):
        """What the newest token reads of its chunk, and of the finished ones through their sum: ``(B, E)``."""
        quad_q, quad_k, lin_q, lin_k = heads[:, :, None]  # (B, 1, S)
        v = v[:, None]
        place = state.append(quad_k, lin_k, v)
        mixed = torch.zeros_like(v)
        if self.local:
            keys, values = state.quad_k[:, 0], state.v[:, 0]  # (B, C, S or E)
            row = state.bias[place][..., None, :]  # (B, 1, C), or (1, C) for all rows
            scores = torch.baddbmm(row, quad_q.to(keys.dtype), keys.mT, alpha=1 / self.chunk_size)
            mixed = torch.bmm(scores.relu().square(), values)
        if self.global_:
            mixed = state.add_far(mixed, lin_q, self.combine)
        state.advance()
        return mixed[:, 0]


def of_one_head(sums):
    """Sums ``(B, S, E)`` as a state has them, ``(B, 1, S, E)``; None if there are none."""
    return None if sums is None else sums[:, None]
