"""What lecture 03 lets its reader build: GAU in torch, part by part, and the backward pass of its attention."""

import torch
import torch.nn.functional as F
from torch import nn

from flash_tutorial.layers import RotaryBias, ToeplitzBias

from ..bench.counts import kept_bytes
from . import Build, Case, call
from .drawn import integers
from .gau_unit import UNIT
from .lecture_01 import rope


# ---------------------------------------------------------------- the position bias
class CutOff(ToeplitzBias):
    def forward(self, T):
        return super().forward(T).detach()


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
        with torch.no_grad():
            module.weights.copy_(numbers)
        return module(T)

    return Case(shown, run, f"length = {length}, weights = 1, 2, 3, ..., T = {T}")


def gradient_of_the_table(answer):
    """How often each weight was used, by the gradient of the sum of all entries."""
    module = answer(3)
    with torch.no_grad():
        module.weights.fill_(1.0)
    return torch.autograd.grad(module(2).sum(), module.weights)


def shape_of_the_table(answer):
    return [(name, tuple(p.shape)) for name, p in answer(4).named_parameters()]


TOEPLITZ = Build(
    ToeplitzBias,
    cases=(
        Case("one parameter, a weight for each distance", shape_of_the_table, "length = 4"),
        bias_case(3, 3, "as many tokens as the table serves"),
        bias_case(4, 2, "fewer tokens than that"),
        bias_case(4, 1, "one token"),
        Case("its weights are trained", gradient_of_the_table, "length = 3, T = 2"),
    ),
    likely=(
        (
            "No gradient reaches the weights: index `self.weights` itself, and not a copy of its numbers.",
            CutOff,
        ),
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


class RotatedCopies(RotaryBias):
    def forward(self, T):
        return super().forward(T).detach()


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
        return rotary_of(answer, a, b)(T)

    return Case(label, run, f"a = {a}, b = {b}, T = {T}")


def rotary_of(answer, a, b):
    """The module with these vectors."""
    module = answer(len(a)).double()
    module.load_state_dict({"a": torch.tensor(a), "b": torch.tensor(b)})
    return module


def gradients_of_the_vectors(answer):
    module = rotary_of(answer, [1.0, 2], [3.0, 1])
    return torch.autograd.grad(module(3).sum(), (module.a, module.b))


ROTARY = Build(
    RotaryBias,
    cases=(
        rotary_case("three tokens, two channels", 3, [1.0, 2], [3.0, 1]),
        rotary_case("four channels", 3, [1.0, 0, 2, 1], [2.0, 1, 0, 3]),
        rotary_case("one token", 1, [1.0, 2], [3.0, 1]),
        Case("both vectors are trained", gradients_of_the_vectors, "a = [1, 2], b = [3, 1], T = 3"),
    ),
    likely=(
        ("No gradient reaches a and b: rotate the parameters themselves.", RotatedCopies),
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


class KeepsRAside(Relu2Attention):
    """What hangs on ctx is kept just so, but nobody can free, count or offload it."""

    @staticmethod
    def forward(ctx, q, k, v, b, n):
        ctx.n = n
        ctx.r = F.relu(q @ k.mT / n + b).tril()
        ctx.save_for_backward(q, k, v)
        return ctx.r.square() @ v

    @staticmethod
    def backward(ctx, d_o):
        return *relu2_backward(*ctx.saved_tensors, ctx.r, d_o, ctx.n), None


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
        (
            "r is not among what `ctx.save_for_backward` keeps: give it r beside q, k and v.",
            KeepsRAside,
        ),
    ),
    why="Half of what attention keeps of T × T in plain torch: at long T nearly half of what a unit keeps.",
)

BUILDS = (TOEPLITZ, ROTARY, LOOPS, BACKWARD, FUNCTION, UNIT)
