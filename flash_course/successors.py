"""What came after FLASH, and what it came from: units whose memory of the past has a size that is chosen.

All share one skeleton, in which only the mixing differs. FLASH's own unit is ``flash_tutorial.FLASH``.

    u, v, q, k = project(norm(x));   y = x + (silu(u) * rms_norm(mix(q, k, v))) W_out

Of the published layers every class keeps what it says under its equation. Simplified in all of them: one head, no
rotation of q and k, and no short convolution. Chunks are only for speed here: each form is exact, whatever
``chunk_size``, and tests/course/test_successors.py compares it with a loop over tokens.
Letters: B batch, T length, G chunks, C chunk length, D model width, E expanded width, S query/key width, w window.
"""

import torch
import torch.nn.functional as F
from torch import nn

from flash_tutorial.chunks import from_chunks, to_chunks
from flash_tutorial.layers import EPS, LayerNorm, check_input
from flash_tutorial.settings import check_counts


# ---------------------------------------------------------------- the skeleton
class Successor(nn.Module):
    """Norm, one projection to gate, value, query and key, an output gate, the residual: ``(B, T, D) -> (B, T, D)``.

    Args:
        dim: D. qk_dim: S. expansion: E / D. chunk_size: C, for speed alone. causal: these units know no other way.
    """

    def __init__(self, dim, *, qk_dim=64, expansion=2, chunk_size=16, causal=True):
        super().__init__()
        check_counts(dim=dim, qk_dim=qk_dim, expansion=expansion, chunk_size=chunk_size)
        if not causal:
            raise ValueError(
                f"causal={causal!r}: {type(self).__name__} reads from left to right only, leave it out"
            )
        self.dim = dim
        self.qk_dim = qk_dim
        self.expanded = expansion * dim
        self.chunk_size = chunk_size
        self.causal = True
        self.norm = LayerNorm(dim)
        self.in_proj = nn.Linear(dim, 2 * self.expanded + 2 * qk_dim)
        self.out_proj = nn.Linear(self.expanded, dim)

    def forward(self, x, mask=None, segment_ids=None):
        """``mask (B, T)``, valid tokens first: what is behind them is read by none. Documents are refused."""
        mask, segment_ids = check_input(x, self.dim, mask, segment_ids)[:2]
        if segment_ids is not None:
            raise ValueError(
                f"segment_ids: {type(self).__name__} keeps one state for the whole row, leave them out"
            )
        h = self.norm(x)
        if mask is not None:  # a weight of zero times a NaN would still be a NaN
            h = h.masked_fill(~mask[..., None], 0)
        u, v, q, k = self.in_proj(h).split(
            [self.expanded, self.expanded, self.qk_dim, self.qk_dim], -1
        )
        mixed = F.rms_norm(self.mix(q, k, v, h), (self.expanded,), eps=EPS)
        return x + self.out_proj(F.silu(u) * mixed)

    def mix(self, q, k, v, h):
        """What each token reads of the others: ``q, k (B, T, S)``, ``v (B, T, E)``, features ``h (B, T, D)``."""
        raise NotImplementedError

    def state_numbers(self, length):
        """Numbers that decoding keeps of a row of ``length`` tokens."""
        return self.qk_dim * self.expanded


def states_before(keep, add):
    """The state before each chunk, of S_g = keep_g S_{g-1} + add_g with ``add (B, G, S, E)``: G steps in a row."""
    state = torch.zeros_like(add[:, 0])
    before = []
    for g in range(add.shape[1]):
        before.append(state)
        state = keep[:, g] * state + add[:, g]
    return torch.stack(before, 1)


def decayed_attention(q, k, v, log_decay, C):
    """o_t = q_t S_t with S_t = diag(exp(log_decay_t)) S_{t-1} + k_t^T v_t, in chunks: ``log_decay (B, T, S)``.

    Inside a chunk k is divided by the decay since the chunk's beginning: in float32 that holds down to
    exp(-80) a chunk.
    """
    T = v.shape[1]
    q, k, v, log_decay = (to_chunks(t, C) for t in (q, k, v, log_decay))  # (B, G, C, S or E)
    since = log_decay.cumsum(2)  # the chunk's beginning
    whole = since[:, :, -1:]
    q = q * since.exp()
    own = (q @ (k * (-since).exp()).mT).tril() @ v
    before = states_before(whole.exp().mT, (k * (whole - since).exp()).mT @ v)
    return from_chunks(own + q @ before, T)


# ---------------------------------------------------------------- the units
class LinearAttention(Successor):
    """o_t = phi(q_t) S_t / (phi(q_t) z_t), S_t = S_{t-1} + phi(k_t)^T v_t, z_t = z_{t-1} + phi(k_t)^T.

    Katharopoulos et al. (2020, arXiv 2006.16236), equations 16 to 20, phi(x) = elu(x) + 1. As published: feature map
    and normaliser. The own chunk is read token by token, not left out as in FLASH: hence "exact".
    """

    def mix(self, q, k, v, h):
        q = F.elu(q) + 1
        k = F.elu(k) + 1
        ones = torch.ones_like(v[..., :1])  # a column of ones makes z of S
        sums = decayed_attention(
            q, k, torch.cat([v, ones], -1), torch.zeros_like(k), self.chunk_size
        )
        return sums[..., :-1] / (sums[..., -1:] + EPS)

    def state_numbers(self, length):
        return self.qk_dim * (self.expanded + 1)


class Retention(Successor):
    """o_t = q_t S_t, S_t = gamma S_{t-1} + k_t^T v_t, with a fixed gamma.

    RetNet: Sun et al. (2023, arXiv 2307.08621), equation 6 and, for several scales, equation 8:
    gamma = 1 - 2^(-5-i). As published: norm and gate of the output, eight scales. Simplified: the scales belong to
    eighths of the channels of q and k, where the paper has eight heads.
    """

    def mix(self, q, k, v, h):
        # 0 to 7
        scale = torch.arange(self.qk_dim, dtype=torch.float64, device=v.device) * 8 // self.qk_dim
        log_gamma = torch.log1p(-(2 ** -(5 + scale))).to(v.dtype)
        return decayed_attention(q, k, v, log_gamma.expand_as(k), self.chunk_size)


class ScalarGate(Successor):
    """o_t = q_t S_t, S_t = alpha_t S_{t-1} + d_t k_t^T v_t: each token says how much of the whole state is forgotten.

    Mamba-2: Dao and Gu (2024, arXiv 2405.21060), whose letters C, B, X are our q, k, v. As published: the step size
    d_t = softplus(h w + b) both forgets, by alpha_t = exp(-exp(a) d_t), and writes; norm and gate of the output.
    """

    def __init__(self, dim, **options):
        super().__init__(dim, **options)
        self.step_width = nn.Linear(dim, 1)
        self.log_rate = nn.Parameter(torch.zeros(()))  # a
        nn.init.constant_(self.step_width.bias, -4.6)  # alpha begins at 0.99

    def mix(self, q, k, v, h):
        width = F.softplus(self.step_width(h))
        return decayed_attention(
            q, width * k, v, (-self.log_rate.exp() * width).expand_as(k), self.chunk_size
        )


class GatedLinearAttention(Successor):
    """o_t = q_t S_t, S_t = diag(alpha_t) S_{t-1} + k_t^T v_t, and each token says how much is forgotten.

    GLA: Yang et al. (2024, arXiv 2312.06635), equations 3 and 4. As published: alpha_t = sigmoid(h W1 W2 + b)^(1/16),
    a number for each channel of k, through a width of 16; norm and gate of the output.
    """

    def __init__(self, dim, **options):
        super().__init__(dim, **options)
        self.decay = nn.Sequential(nn.Linear(dim, 16, bias=False), nn.Linear(16, self.qk_dim))
        nn.init.constant_(self.decay[1].bias, 1.75)  # alpha begins at 0.99

    def mix(self, q, k, v, h):
        return decayed_attention(q, k, v, F.logsigmoid(self.decay(h)) / 16, self.chunk_size)


class GatedDeltaRule(Successor):
    """o_t = q_t S_t, S_t = alpha_t (I - beta_t k_t^T k_t) S_{t-1} + beta_t k_t^T v_t: first erase, then write.

    Gated DeltaNet: Yang et al. (2025, arXiv 2412.06464), equation 10; without alpha it is DeltaNet (2024, arXiv
    2406.06484). As published: SiLU and unit length of q and k, beta_t = sigmoid(h w), Mamba 2's
    alpha_t = exp(-exp(a) softplus(h w + b)), norm and gate of the output.

    In a chunk S_t is alpha_t S_{t-1} + k_t^T new_t with new_t = beta_t (v_t - alpha_t k_t S_{t-1}): a triangular
    system for the rows new_t, which is solved for all chunks at once (the WY form of the papers).
    """

    def __init__(self, dim, **options):
        super().__init__(dim, **options)
        self.strength = nn.Linear(dim, 1)
        self.decay = self.make_decay(dim)
        self.log_rate = nn.Parameter(torch.zeros(()))  # a

    def make_decay(self, dim):
        decay = nn.Linear(dim, 1)
        nn.init.constant_(decay.bias, -4.6)  # alpha begins at 0.99
        return decay

    def mix(self, q, k, v, h):
        q, k = (F.normalize(F.silu(t), dim=-1) for t in (q, k))
        beta = self.strength(h).sigmoid()
        log_alpha = -self.log_rate.exp() * F.softplus(self.decay(h))
        # (B, G, C, S, E or 1)
        in_chunks = [to_chunks(t, self.chunk_size) for t in (q, k, v, beta, log_alpha)]
        return from_chunks(self.mix_chunks(*in_chunks), v.shape[1])

    def mix_chunks(self, q, k, v, beta, log_alpha):
        """The same, ``(B, G, C, E)``: what each chunk adds, then a state from chunk to chunk."""
        since = log_alpha.cumsum(2)  # the chunk's beginning
        whole = since[:, :, -1:]
        erased, read = self.pairs(q, k, since)
        writing = beta * torch.cat([v, since.exp() * k], -1)
        solved = torch.linalg.solve_triangular(
            beta * erased.tril(-1), writing, upper=False, unitriangular=True
        )
        # new_t is the first minus erase_t S
        new, erase = solved.split([v.shape[-1], k.shape[-1]], -1)
        keep = whole.exp().mT
        q = since.exp() * q
        late = (whole - since).exp() * k
        state = torch.zeros_like(k[:, 0].mT @ v[:, 0])
        out = []
        for g in range(v.shape[1]):
            rows = new[:, g] - erase[:, g] @ state
            out.append(q[:, g] @ state + read[:, g] @ rows)
            state = keep[:, g] * state + late[:, g].mT @ rows
        return torch.stack(out, 1)

    def pairs(self, q, k, since):
        """k k^T and q k^T of a chunk, each with the decay between the two tokens: ``(B, G, C, C)``, later keys zero."""
        between = (since - since.mT).tril().exp().tril()
        return between * (k @ k.mT), between * (q @ k.mT)


class KimiDelta(GatedDeltaRule):
    """o_t = q_t S_t, S_t = (I - beta_t k_t^T k_t) diag(alpha_t) S_{t-1} + beta_t k_t^T v_t.

    Kimi Delta Attention, of Kimi Linear: Kimi Team (2025, arXiv 2510.26692). The gated delta rule with GLA's gate: a
    number for each channel of k. As published: SiLU and unit length of q and k, beta_t = sigmoid(h w), alpha_t =
    exp(-exp(a) softplus(h W1 W2 + b)) through a small width, norm and gate of the output.

    In a chunk as in ``GatedDeltaRule``, but decay now goes into k itself, as in ``decayed_attention``.
    """

    def make_decay(self, dim):
        decay = nn.Sequential(nn.Linear(dim, 16, bias=False), nn.Linear(16, self.qk_dim))
        nn.init.constant_(decay[1].bias, -4.6)  # alpha begins at 0.99
        return decay

    def pairs(self, q, k, since):
        behind = ((-since).exp() * k).mT
        return (since.exp() * k) @ behind, ((since.exp() * q) @ behind).tril()


class WindowAttention(Successor):
    """o_t = sum of softmax(q_t k_j^T / sqrt(S)) v_j over the last w tokens j, the own one included.

    Softmax attention is Vaswani et al. (2017); with a sliding window it is Beltagy et al. (2020, arXiv 2004.05150) and
    beside linear attention Arora et al. (2024, Based, arXiv 2402.18668). A chunk of w tokens reads itself and the one
    before. A window as long as the row is full attention, and what is kept then grows with the row.
    """

    def __init__(self, dim, *, window=64, **options):
        super().__init__(dim, **options)
        check_counts(window=window)
        self.window = window

    def mix(self, q, k, v, h):
        T = v.shape[1]
        w = min(self.window, T)
        q, k, v = (to_chunks(t, w) for t in (q, k, v))  # (B, G, w, S or E)
        # with the chunk before
        k, v = (torch.cat([F.pad(t, (0, 0, 0, 0, 1, 0))[:, :-1], t], 2) for t in (k, v))
        distance = torch.arange(w, 2 * w, device=v.device)[:, None] - torch.arange(
            2 * w, device=v.device
        )
        seen = ((distance >= 0) & (distance < w)).expand(q.shape[1], w, 2 * w).clone()
        seen[0, :, :w] = False  # before the first chunk there is none
        return from_chunks(F.scaled_dot_product_attention(q, k, v, attn_mask=seen), T)

    def state_numbers(self, length):
        return min(self.window, length) * (self.qk_dim + self.expanded)


class ThreeToOne(GatedDeltaRule):
    """Three quarters of the values are kept by the gated delta rule, one quarter by full softmax attention.

    Hybrids of today take three layers of the first kind to one of the second: Qwen3-Next (2025) and Kimi Linear (2025,
    arXiv 2510.26692). Simplified: the parts stand side by side in one unit, as in Hymba (Dong et al., 2024, arXiv
    2411.13676), since a stack of two has no room for four layers; q and k are shared, as FLASH shares its base. The
    quarter is full attention, as in those models, and not a window, which in recall sees no further than the state.
    """

    def mix(self, q, k, v, h):
        kept, looked_up = v.split([self.expanded - self.expanded // 4, self.expanded // 4], -1)
        exact = F.scaled_dot_product_attention(q, k, looked_up, is_causal=True)
        return torch.cat([super().mix(q, k, kept, h), exact], -1)

    def state_numbers(self, length):
        quarter = self.expanded // 4
        return self.qk_dim * (self.expanded - quarter) + length * (self.qk_dim + quarter)
