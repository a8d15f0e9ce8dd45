"""The last build of lecture 03, a blank page: the GAU as a module, asked method by method."""

import torch
import torch.nn.functional as F
from torch import nn

from flash_tutorial.layers import ToeplitzBias

from . import Build, Case
from .drawn import integers
from .lecture_01 import rope


class GAU(nn.Module):
    """A gated attention unit, its norm and residual included: (B, T, D) -> (B, T, D)."""

    def __init__(self, dim, *, causal=True, qk_dim=32, length=64, n=None):
        super().__init__()
        self.dim, self.expanded, self.causal, self.n = dim, 2 * dim, causal, n
        self.norm = nn.LayerNorm(dim)
        self.in_proj = nn.Linear(dim, 2 * self.expanded + qk_dim)  # u, v and z in one product
        self.gamma = nn.Parameter(torch.empty(2, qk_dim))  # row 0 makes the queries, row 1 the keys
        self.beta = nn.Parameter(torch.empty(2, qk_dim))
        self.bias = ToeplitzBias(length)
        self.out_proj = nn.Linear(self.expanded, dim)
        self.reset_parameters()

    def reset_parameters(self):
        """Matrices, gamma and the bias table from N(0, 0.02²); beta and the offsets of both Linears 0."""
        for drawn in (self.in_proj.weight, self.out_proj.weight, self.gamma, self.bias.weights):
            nn.init.normal_(drawn, std=0.02)
        for zero in (self.in_proj.bias, self.out_proj.bias, self.beta):
            nn.init.zeros_(zero)

    def project(self, x, mask=None):
        """silu(norm(x) W): gate u and value v (B, T, E), base z (B, T, S). All are 0 where mask (B, T) is False."""
        h = F.silu(self.in_proj(self.norm(x)))
        if mask is not None:
            h = h.masked_fill(~mask[..., None], 0)
        return h.split([self.expanded, self.expanded, self.gamma.shape[1]], dim=-1)

    def copies(self, z):
        """Queries and keys (B, T, S): z times gamma plus beta, then RoPE."""
        q = z * self.gamma[0] + self.beta[0]
        k = z * self.gamma[1] + self.beta[1]
        return rope(q), rope(k)

    def attention_matrix(self, q, k):
        """relu²(q kᵀ / n + bias), (B, T, T); n = None stands for T. A causal unit has zeros above the diagonal."""
        T = q.shape[1]
        A = F.relu(q @ k.mT / (self.n or T) + self.bias(T)).square()
        return A.tril() if self.causal else A

    def read(self, u, v, A):
        """What each token reads, gated: (B, T, E)."""
        return u * (A @ v)

    def forward(self, x, mask=None, segment_ids=None):  # segment_ids are for lecture 06
        """x plus what was read, projected back to D channels."""
        u, v, z = self.project(x, mask)
        q, k = self.copies(z)
        return x + self.out_proj(self.read(u, v, self.attention_matrix(q, k)))


PARAMETERS = (
    "in_proj.weight",
    "in_proj.bias",
    "out_proj.weight",
    "out_proj.bias",
    "gamma",
    "beta",
    "bias.weights",
)


def unit_of(answer, **options):
    """A unit of two channels, S = 2, for up to four tokens, with whole numbers as parameters."""
    unit = answer(2, qk_dim=2, length=4, **options).double()
    for seed, name in enumerate(PARAMETERS[:4]):
        set_parameter(unit, name, integers(*unit.get_parameter(name).shape, seed=seed))
    set_parameter(unit, "gamma", torch.tensor([(1.0, 2), (2, -1)]))
    set_parameter(unit, "beta", torch.tensor([(1.0, 0), (0, 1)]))
    set_parameter(unit, "bias.weights", torch.tensor([1.0, -1, 2, 1, 2, 1, -1]))
    return unit


def set_parameter(unit, name, values):
    with torch.no_grad():
        unit.get_parameter(name).copy_(values)


X = torch.tensor([[(1.0, 2), (3, 1), (0, 1)]], dtype=torch.float64)
Z = torch.tensor([[(1.0, 1), (2, 0), (0, 1)]], dtype=torch.float64)
Q = torch.tensor([[(1.0, 0), (1, 1), (0, 2)]], dtype=torch.float64)
K = torch.tensor([[(2.0, 1), (0, 1), (1, 1)]], dtype=torch.float64)
A = torch.tensor([[(1.0, 0, 0), (4, 1, 0), (0, 9, 1)]], dtype=torch.float64)
U, V = integers(1, 3, 4, low=1, seed=5), integers(1, 3, 4, seed=6)
MASK = torch.tensor([[True, True, False]])


def start(answer):
    """Standard deviations of what is drawn, in hundredths, and the largest of what is zero."""
    with torch.random.fork_rng(), torch.no_grad():
        unit = answer(64, qk_dim=64, length=64)
    drawn = (unit.in_proj.weight, unit.out_proj.weight, unit.gamma, unit.bias.weights)
    zero = (unit.in_proj.bias, unit.out_proj.bias, unit.beta)
    return [round(100 * p.detach().std().item()) for p in drawn], [
        p.abs().max().item() for p in zero
    ]


def several(found):
    """What a method gave, be it a tuple or a list; nothing, where it is not written yet."""
    return None if found is None else tuple(found)


def project(answer):
    return several(unit_of(answer).project(X))


def project_padding(answer):
    return several(unit_of(answer).project(X, MASK))


def copies(answer):
    return several(unit_of(answer).copies(Z))


def matrix(**options):
    return lambda answer: unit_of(answer, **options).attention_matrix(Q, K)


def read(answer):
    return unit_of(answer).read(U, V, A)


def whole(answer):
    return unit_of(answer, n=2)(X)


def gradients(answer):
    """What training has of the whole unit: the gradient of each parameter, by its name."""
    unit = unit_of(answer, n=2)
    unit(X).square().sum().backward()
    return [(name, unit.get_parameter(name).grad) for name in PARAMETERS]


def whole_with_padding(answer):
    return unit_of(answer, n=2, causal=False)(X, MASK)[:, :2]


def with_method(name, method):
    """GAU with one method replaced."""
    return type("GAU", (GAU,), {name: method})


def as_linear_draws(unit):
    for zero in (unit.beta, unit.in_proj.bias, unit.out_proj.bias):
        nn.init.zeros_(zero)
    for drawn in (unit.gamma, unit.bias.weights):
        nn.init.normal_(drawn, std=0.02)


def padding_before_silu(unit, x, mask=None):
    h = unit.norm(x)
    if mask is not None:
        h = h.masked_fill(~mask[..., None], 0)
    sizes = [unit.expanded, unit.expanded, unit.gamma.shape[1]]
    return F.silu(unit.in_proj(h)).split(sizes, dim=-1)


def without_silu(unit, x, mask=None):
    sizes = [unit.expanded, unit.expanded, unit.gamma.shape[1]]
    return unit.in_proj(unit.norm(x)).split(sizes, dim=-1)


def base_without_silu(unit, x, mask=None):
    sizes = [unit.expanded, unit.expanded, unit.gamma.shape[1]]
    h = unit.in_proj(unit.norm(x))
    z = h.split(sizes, dim=-1)[2]
    return *GAU.project(unit, x)[:2], z


def without_norm(unit, x, mask=None):
    sizes = [unit.expanded, unit.expanded, unit.gamma.shape[1]]
    return F.silu(unit.in_proj(x)).split(sizes, dim=-1)


def z_first(unit, x, mask=None):
    h = F.silu(unit.in_proj(unit.norm(x)))
    z, u, v = h.split([unit.gamma.shape[1], unit.expanded, unit.expanded], dim=-1)
    return u, v, z


def swapped(unit, z):
    q, k = GAU.copies(unit, z)
    return k, q


def without_beta(unit, z):
    return tuple(rope(z * gamma) for gamma in unit.gamma)


def beta_after_rope(unit, z):
    return tuple(rope(z * gamma) + beta for gamma, beta in zip(unit.gamma, unit.beta))


def without_rope(unit, z):
    return tuple(z * gamma + beta for gamma, beta in zip(unit.gamma, unit.beta))


def biased(unit, scores):
    matrix = F.relu(scores + unit.bias(scores.shape[1])).square()
    return matrix.tril() if unit.causal else matrix


def undivided(unit, q, k):
    return biased(unit, q @ k.mT)


def divided_by_T(unit, q, k):
    return biased(unit, q @ k.mT / q.shape[1])


def masked_first(unit, q, k):
    scores = q @ k.mT / (unit.n or q.shape[1])
    if unit.causal:
        scores = scores.tril()
    return F.relu(scores + unit.bias(q.shape[1])).square()


def always_causal(unit, q, k):
    return F.relu(q @ k.mT / (unit.n or q.shape[1]) + unit.bias(q.shape[1])).square().tril()


def not_squared(unit, q, k):
    matrix = F.relu(q @ k.mT / (unit.n or q.shape[1]) + unit.bias(q.shape[1]))
    return matrix.tril() if unit.causal else matrix


def matrix_cut_off(unit, q, k):
    return GAU.attention_matrix(unit, q, k).detach()


def gate_of_the_token_read(unit, u, v, A):
    return A @ (u * v)


def without_residual(unit, x, mask=None, segment_ids=None):
    return GAU.forward(unit, x, mask) - x


def residual_of_the_norm(unit, x, mask=None, segment_ids=None):
    return GAU.forward(unit, x, mask) - x + unit.norm(x)


def mask_forgotten(unit, x, mask=None, segment_ids=None):
    return GAU.forward(unit, x)


UNIT = Build(
    GAU,
    cases=(
        Case("reset_parameters: the paper's start", start, "dim = 64, qk_dim = 64, length = 64"),
        Case("project: three tokens", project, "x (1, 3, 2), E = 4, S = 2"),
        Case("project: the last token is padding", project_padding, "x (1, 3, 2), mask 1 1 0"),
        Case("copies: queries and keys", copies, "z = (1, 1), (2, 0), (0, 1)"),
        Case("attention_matrix: causal, n = 2", matrix(n=2), "q and k of three tokens"),
        Case("attention_matrix: not causal, n = 2", matrix(n=2, causal=False), "the same"),
        Case("attention_matrix: n = None", matrix(), "the same, n is T"),
        Case("read: three tokens", read, "u, v (1, 3, 4), A = 1 0 0, 4 1 0, 0 9 1"),
        Case("forward: the whole unit", whole, "x (1, 3, 2)"),
        Case("forward: nobody reads padding", whole_with_padding, "x (1, 3, 2), mask 1 1 0"),
        Case("every parameter is trained", gradients, "x (1, 3, 2)"),
    ),
    likely=(
        (
            "The matrices are still as nn.Linear draws them: the paper's have 0.02.",
            with_method("reset_parameters", as_linear_draws),
        ),
        ("The activation is missing: silu of the product.", with_method("project", without_silu)),
        ("z goes through silu as well.", with_method("project", base_without_silu)),
        ("x goes into the product without its norm.", with_method("project", without_norm)),
        ("The order in the product is u, v, z.", with_method("project", z_first)),
        (
            "Padding must be zero after the silu: the offset of in_proj brings it back to life.",
            with_method("project", padding_before_silu),
        ),
        ("Queries and keys are swapped: row 0 makes the queries.", with_method("copies", swapped)),
        ("beta is missing.", with_method("copies", without_beta)),
        ("beta comes before RoPE: it is rotated as well.", with_method("copies", beta_after_rope)),
        ("RoPE is missing.", with_method("copies", without_rope)),
        ("The scores are not divided by n.", with_method("attention_matrix", undivided)),
        ("n is given, and T is taken.", with_method("attention_matrix", divided_by_T)),
        (
            "A mask before the bias hides nothing: the bias fills the future again.",
            with_method("attention_matrix", masked_first),
        ),
        ("The square is missing.", with_method("attention_matrix", not_squared)),
        (
            "A unit that is not causal reads the future too.",
            with_method("attention_matrix", always_causal),
        ),
        (
            "No gradient passes through the matrix, so what it is made of is not trained.",
            with_method("attention_matrix", matrix_cut_off),
        ),
        (
            "The gate is that of the token that reads, not of the one that is read.",
            with_method("read", gate_of_the_token_read),
        ),
        ("x itself is missing: the unit adds to it.", with_method("forward", without_residual)),
        ("The unit adds x itself, not norm(x).", with_method("forward", residual_of_the_norm)),
        ("The mask does not reach project.", with_method("forward", mask_forgotten)),
    ),
    why="This module, four times over, is a language model: section 8 trains it.",
)
