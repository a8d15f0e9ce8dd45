"""What lecture 03 lets its reader build: GAU in torch, part by part, and the backward pass of its attention."""

import torch
import torch.nn.functional as F
from torch import nn

from flash_course.bench.counts import kept_bytes
from flash_tutorial.layers import RotaryBias, ToeplitzBias

from . import Build, Case, call
from .lecture_01 import rope


# ---------------------------------------------------------------- the position bias
class Transposed(ToeplitzBias):
    def forward(self, T):
        return super().forward(T).mT


class FirstWeights(ToeplitzBias):
    def forward(self, T):
        position = torch.arange(T)
        return self.weights[position[None, :] - position[:, None] + T - 1]


class BothWays(ToeplitzBias):
    def forward(self, T):
        position = torch.arange(T)
        return self.weights[(position[None, :] - position[:, None]).abs() + len(self.weights) // 2]


class OneSided(nn.Module):
    def __init__(self, length):
        super().__init__()
        self.weights = nn.Parameter(torch.empty(length))

    def forward(self, T):
        position = torch.arange(T)
        return self.weights[(position[None, :] - position[:, None]).clamp(-len(self.weights), -1)]


def bias_case(length, T, shown):
    """The bias among T tokens of a table with the weights 1, 2, 3, ..."""

    def run(answer):
        module = answer(length)
        numbers = torch.arange(1.0, len(module.weights) + 1)
        module.load_state_dict({"weights": numbers})
        return module(T)

    return Case(shown, run, f"length = {length}, weights = 1, 2, 3, ..., T = {T}")


def shape_of_the_table(answer):
    return [(name, tuple(p.shape)) for name, p in answer(4).named_parameters()]


TOEPLITZ = Build(
    ToeplitzBias,
    cases=(
        Case("one parameter, a weight for each distance", shape_of_the_table, "length = 4"),
        bias_case(3, 3, "as many tokens as the table serves"),
        bias_case(4, 2, "fewer tokens than that"),
        bias_case(4, 1, "one token"),
    ),
    likely=(
        ("This table is transposed: the distance is j - i, key minus query.", Transposed),
        (
            "A short sequence takes the first weights; it needs those of the same distances.",
            FirstWeights,
        ),
        ("Keys before and behind the query share their weights: keep the sign of j - i.", BothWays),
        ("Distances run from -(length - 1) to length - 1: 2 · length - 1 weights.", OneSided),
    ),
    why="One weight serves a whole diagonal, so a model learns how much the last letter counts, wherever it is.",
)


class NotRotated(RotaryBias):
    def forward(self, T):
        return (self.a @ self.b).expand(T, T)


class RowsFromB(RotaryBias):
    def forward(self, T):
        return super().forward(T).mT


class OfOneVector(RotaryBias):
    def forward(self, T):
        return rope(self.a.expand(T, -1)) @ rope(self.a.expand(T, -1)).mT


class OnlyA(RotaryBias):
    def forward(self, T):
        return rope(self.a.expand(T, -1)) @ self.b.expand(T, -1).mT


def rotary_case(label, T, a, b):
    """The bias among T tokens of these two vectors."""

    def run(answer):
        module = answer(len(a)).double()
        module.load_state_dict({"a": torch.tensor(a), "b": torch.tensor(b)})
        return module(T)

    return Case(label, run, f"a = {a}, b = {b}, T = {T}")


ROTARY = Build(
    RotaryBias,
    cases=(
        rotary_case("three tokens, two channels", 3, [1.0, 2], [3.0, 1]),
        rotary_case("four channels", 3, [1.0, 0, 2, 1], [2.0, 1, 0, 3]),
        rotary_case("one token", 1, [1.0, 2], [3.0, 1]),
    ),
    likely=(
        ("Nothing is rotated: all pairs of tokens have the same bias.", NotRotated),
        ("Rows are for queries, and theirs is a: here b is rotated along the rows.", RowsFromB),
        ("Both sides are a. The columns are b.", OfOneVector),
        ("b is rotated as well, to position j.", OnlyA),
    ),
    why="256 weights for any length, where a table for a million tokens has two million.",
)


# ---------------------------------------------------------------- the backward pass
def relu2_backward(q, k, v, r, d_o, n):
    """Gradients of o = r² v, where r = relu(q kᵀ / n + b), possibly masked.

    q, k (B, T, S); v, d_o (B, T, E); r (B, T, T). Gives d_q, d_k (B, T, S), d_v (B, T, E) and d_b (T, T).
    """
    d_A = d_o @ v.mT
    d_s = 2 * r * d_A
    d_q = d_s @ k / n
    d_k = d_s.mT @ q / n
    d_v = r.square().mT @ d_o
    d_b = d_s.sum(0)
    return d_q, d_k, d_v, d_b


def without_2(q, k, v, r, d_o, n):
    d_q, d_k, d_v, d_b = relu2_backward(q, k, v, r, d_o, n)
    return d_q / 2, d_k / 2, d_v, d_b / 2


def without_slope(q, k, v, r, d_o, n):
    d_A = d_o @ v.mT
    return d_A @ k / n, d_A.mT @ q / n, r.square().mT @ d_o, d_A.sum(0)


def slope_of_a_step(q, k, v, r, d_o, n):
    d_s = 2 * (r > 0) * (d_o @ v.mT)
    return d_s @ k / n, d_s.mT @ q / n, r.square().mT @ d_o, d_s.sum(0)


def not_transposed(q, k, v, r, d_o, n):
    d_q, _, _, d_b = relu2_backward(q, k, v, r, d_o, n)
    d_s = 2 * r * (d_o @ v.mT)
    return d_q, d_s @ q / n, r.square() @ d_o, d_b


def without_n(q, k, v, r, d_o, n):
    d_q, d_k, d_v, d_b = relu2_backward(q, k, v, r, d_o, n)
    return d_q * n, d_k * n, d_v, d_b


def r_not_squared(q, k, v, r, d_o, n):
    d_q, d_k, _, d_b = relu2_backward(q, k, v, r, d_o, n)
    return d_q, d_k, r.mT @ d_o, d_b


def bias_by_sequence(q, k, v, r, d_o, n):
    d_q, d_k, d_v, _ = relu2_backward(q, k, v, r, d_o, n)
    return d_q, d_k, d_v, 2 * r * (d_o @ v.mT)


def bias_by_mean(q, k, v, r, d_o, n):
    d_q, d_k, d_v, d_b = relu2_backward(q, k, v, r, d_o, n)
    return d_q, d_k, d_v, d_b / len(q)


def integers(*shape, low=-2, high=3, seed=0):
    """Small whole numbers, the same each time, as float64."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(low, high, shape, generator=generator).double()


def backward_case(label, B, T, S, E, n, causal=False):
    q, k = integers(B, T, S, seed=1), integers(B, T, S, seed=2)
    v, d_o = integers(B, T, E, seed=3), integers(B, T, E, seed=4)
    r = F.relu(q @ k.mT / n + 1)
    return call(label, q, k, v, r.tril() if causal else r, d_o, n)


def one_token():
    q, k, v, r, d_o = (torch.tensor([[[number]]]) for number in (2.0, 3.0, 5.0, 4.0, 1.0))
    return call("one token of one channel", q, k, v, r, d_o, 2)


BACKWARD = Build(
    relu2_backward,
    cases=(
        one_token(),
        backward_case("three tokens", 1, 3, 2, 2, 1),
        backward_case("four causal tokens, n = 3", 1, 4, 2, 3, 3, causal=True),
        backward_case("two sequences, which share the bias", 2, 3, 2, 3, 2),
    ),
    likely=(
        ("The slope of r² is 2 r: the 2 is missing.", without_2),
        ("A is r², so d_s is d_A times the slope 2 r.", without_slope),
        ("The slope of the square is 2 r, not 2 where r is positive.", slope_of_a_step),
        (
            "d_k and d_v gather over the queries: there the matrix stands transposed.",
            not_transposed,
        ),
        ("q and k met as q kᵀ / n, so their gradients are divided by n as well.", without_n),
        ("v was weighted by A = r², not by r.", r_not_squared),
        ("All sequences share one bias: their gradients are added, (T, T).", bias_by_sequence),
        ("The gradients of the sequences are added, not averaged.", bias_by_mean),
    ),
    why="Whoever writes the backward pass decides what is kept for it: this one keeps one matrix, not two.",
)


def of_one_sequence(backward):
    """A backward pass of a batch, for one sequence."""

    def of_one(q, k, v, r, d_o, n):
        d_q, d_k, d_v, d_b = backward(*(x[None] for x in (q, k, v, r, d_o)), n)
        return d_q[0], d_k[0], d_v[0], d_b

    return of_one


def overwritten(q, k, v, r, d_o, n):
    """The last pair alone counts, of each row and of each column."""
    d_s = 2 * r * (d_o @ v.mT)
    d_q = d_s[:, -1:] @ k[-1:] / n
    d_k = d_s[-1:].mT @ q[-1:] / n
    return d_q, d_k, r[-1:].square().mT @ d_o[-1:], d_s


def pairs_case(label, T, S, E, n, causal=False):
    q, k = integers(T, S, seed=1), integers(T, S, seed=2)
    v, d_o = integers(T, E, seed=3), integers(T, E, seed=4)
    r = F.relu(q @ k.mT / n + 1)
    return call(label, q, k, v, r.tril() if causal else r, d_o, n)


LOOPS = Build(
    of_one_sequence(relu2_backward),
    name="relu2_backward_loops",
    cases=(
        call(
            "one token of one channel", *(torch.tensor([[x]]) for x in (2.0, 3.0, 5.0, 4.0, 1.0)), 2
        ),
        pairs_case("three tokens", 3, 2, 2, 2),
        pairs_case("four causal tokens, n = 3", 4, 2, 3, 3, causal=True),
    ),
    likely=(
        ("The slope of r² is 2 r: the 2 is missing.", of_one_sequence(without_2)),
        ("A is r², so d_s is d_A times the slope 2 r.", of_one_sequence(without_slope)),
        (
            "The slope of the square is 2 r, not 2 where r is positive.",
            of_one_sequence(slope_of_a_step),
        ),
        (
            "q and k met as q kᵀ / n, so their gradients are divided by n as well.",
            of_one_sequence(without_n),
        ),
        ("v was weighted by A = r², not by r.", of_one_sequence(r_not_squared)),
        ("Each pair adds its share: `+=`, not `=`.", overwritten),
    ),
    why="Six lines of calculus, one pair at a time: the fast form must give the same to the last digit.",
)


# ---------------------------------------------------------------- both passes, with what is kept between them
class Relu2Attention(torch.autograd.Function):
    """relu²(q kᵀ / n + b) v without the future, with the backward pass above."""

    @staticmethod
    def forward(ctx, q, k, v, b, n):
        ctx.n = n
        r = F.relu(q @ k.mT / n + b).tril()
        ctx.save_for_backward(q, k, v, r)
        return r.square() @ v

    @staticmethod
    def backward(ctx, d_o):
        return *relu2_backward(*ctx.saved_tensors, d_o, ctx.n), None


class Unmasked(Relu2Attention):
    @staticmethod
    def forward(ctx, q, k, v, b, n):
        ctx.n = n
        r = F.relu(q @ k.mT / n + b)
        ctx.save_for_backward(q, k, v, r)
        return r.square() @ v


class MaskedFirst(Relu2Attention):
    @staticmethod
    def forward(ctx, q, k, v, b, n):
        ctx.n = n
        r = F.relu((q @ k.mT / n).tril() + b)
        ctx.save_for_backward(q, k, v, r)
        return r.square() @ v


class NotSquared(Relu2Attention):
    @staticmethod
    def forward(ctx, q, k, v, b, n):
        ctx.n = n
        r = F.relu(q @ k.mT / n + b).tril()
        ctx.save_for_backward(q, k, v, r)
        return r @ v


class KeepsA(Relu2Attention):
    @staticmethod
    def forward(ctx, q, k, v, b, n):
        ctx.n = n
        r = F.relu(q @ k.mT / n + b).tril()
        A = r.square()
        ctx.save_for_backward(q, k, v, r, A)
        return A @ v

    @staticmethod
    def backward(ctx, d_o):
        return *relu2_backward(*ctx.saved_tensors[:4], d_o, ctx.n), None


class MaskForgottenOnTheWayBack(Relu2Attention):
    @staticmethod
    def forward(ctx, q, k, v, b, n):
        ctx.n = n
        r = F.relu(q @ k.mT / n + b)
        ctx.save_for_backward(q, k, v, r)
        return r.square().tril() @ v


def function_inputs(B, T, S, E):
    shapes = (B, T, S), (B, T, S), (B, T, E), (T, T)
    drawn = [integers(*shape, seed=seed) for seed, shape in enumerate(shapes, 1)]
    return [x.requires_grad_() for x in drawn]


def forward_of(*sizes, n):
    return lambda answer: answer.apply(*function_inputs(*sizes), n).detach()


def gradients_of(*sizes, n):
    def run(answer):
        inputs = function_inputs(*sizes)
        read = answer.apply(*inputs, n)
        return torch.autograd.grad(read, inputs, integers(*read.shape, seed=5))

    return run


def entries_kept(answer):
    """Entries between the passes, beside those of q, k and v."""
    return kept_bytes(answer.apply, *function_inputs(1, 6, 2, 3), 2) // 8


FUNCTION = Build(
    Relu2Attention,
    cases=(
        Case(
            "forward: three tokens, n = 2",
            forward_of(1, 3, 2, 2, n=2),
            "q, k, v (1, 3, 2), b (3, 3)",
        ),
        Case("forward: one token", forward_of(1, 1, 2, 3, n=2), "q, k (1, 1, 2), v (1, 1, 3)"),
        Case(
            "backward: two sequences", gradients_of(2, 4, 2, 3, n=3), "q, k (2, 4, 2), v (2, 4, 3)"
        ),
        Case("what is kept beside q, k and v", entries_kept, "six tokens: r has 36 entries"),
    ),
    likely=(
        ("A mask before the bias hides nothing: the bias fills the future again.", MaskedFirst),
        ("The square is missing.", NotSquared),
        (
            "r is kept without its mask, so gradients flow to later tokens.",
            MaskForgottenOnTheWayBack,
        ),
        ("The future is read: r lacks its mask.", Unmasked),
        ("Two matrices are kept. One will do: A is r × r.", KeepsA),
    ),
    why="Half the memory of plain torch between the passes, so twice the batch on the same card.",
)


# ---------------------------------------------------------------- the unit
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


def unit_of(answer, **options):
    """A unit of two channels, S = 2, for up to four tokens, with whole numbers as parameters."""
    unit = answer(2, qk_dim=2, length=4, **options).double()
    for seed, name in enumerate(
        ("in_proj.weight", "in_proj.bias", "out_proj.weight", "out_proj.bias")
    ):
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
            "The gate is that of the token that reads, not of the one that is read.",
            with_method("read", gate_of_the_token_read),
        ),
        ("x itself is missing: the unit adds to it.", with_method("forward", without_residual)),
        ("The unit adds x itself, not norm(x).", with_method("forward", residual_of_the_norm)),
        ("The mask does not reach project.", with_method("forward", mask_forgotten)),
    ),
    why="This module, four times over, is a language model: section 8 trains it.",
)

BUILDS = (TOEPLITZ, ROTARY, LOOPS, BACKWARD, FUNCTION, UNIT)
