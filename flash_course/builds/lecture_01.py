"""What lecture 01 lets its reader build: softmax, attention, heads, and two kinds of positions."""

import math

import numpy as np
import torch

from flash_tutorial import layers, reference

from . import Build, Case, call


# ---------------------------------------------------------------- softmax
def softmax(score):
    largest = score.max(axis=-1, keepdims=True)
    exp = np.exp(score - largest)
    return exp / exp.sum(axis=-1, keepdims=True)


def exps_alone(score):
    return np.exp(score - score.max(axis=-1, keepdims=True))


@np.errstate(invalid="ignore")
def of_columns(score):
    exp = np.exp(score - score.max(axis=0, keepdims=True))
    return exp / exp.sum(axis=0, keepdims=True)


def over_all(score):
    exp = np.exp(score - score.max(axis=-1, keepdims=True))
    return exp / exp.sum()


@np.errstate(over="ignore", invalid="ignore")
def without_subtraction(score):
    return np.exp(score) / np.exp(score).sum(axis=-1, keepdims=True)


@np.errstate(invalid="ignore")
def largest_of_all(score):
    exp = np.exp(score - score.max())
    return exp / exp.sum(axis=-1, keepdims=True)


FEW = np.log([[1.0, 1], [1, 3]])
LARGE = np.array([[1000.0, 1000], [-1000, -1000]])

SOFTMAX = Build(
    softmax,
    cases=(
        call("two rows: exps of 1, 1 and of 1, 3", FEW),
        call("scores of 1000 and -1000", LARGE),
        call("a hidden score", np.array([[0.0, -np.inf, 0]])),
        call("one token", np.array([[5.0]])),
        call("heads first", np.arange(12.0).reshape(2, 2, 3)),
    ),
    likely=(
        ("The exps are there; they are not divided by the sum of their row.", exps_alone),
        ("Each column adds up to 1. Rows should: `axis=-1`, one token's attention.", of_columns),
        ("All weights together add up to 1. Each row should: `axis=-1, keepdims=True`.", over_all),
        (
            "exp(1000) is no float. Subtract the largest score of each row first.",
            without_subtraction,
        ),
        (
            "You subtract the largest score of all rows, so that all exps of a low row are 0.",
            largest_of_all,
        ),
    ),
    why="Every row of attention is one of these, in every Transformer, and it never overflows.",
)


# ---------------------------------------------------------------- who sees whom
def reads(layer, x_TD):
    other_TD = np.random.default_rng(1).normal(size=x_TD.shape)
    T = len(x_TD)
    before_TE = layer(x_TD)
    sees_TT = np.zeros((T, T), bool)
    for j in range(T):
        changed_TD = x_TD.copy()
        changed_TD[j] = other_TD[j]
        sees_TT[:, j] = (layer(changed_TD) != before_TE).any(axis=1)
    return sees_TT


def never_restored(layer, x_TD):
    before_TE = layer(x_TD)
    changed_TD = x_TD.copy()
    other_TD = np.random.default_rng(1).normal(size=x_TD.shape)
    columns = []
    for j in range(len(x_TD)):
        changed_TD[j] = other_TD[j]
        columns.append((layer(changed_TD) != before_TE).any(axis=1))
    return np.stack(columns, axis=1)


def rows_changed(layer, x_TD):
    return reads(layer, x_TD).T


def first_channel(layer, x_TD):
    return reads(lambda x_TD: layer(x_TD)[:, :1], x_TD)


def inputs_compared(layer, x_TD):
    return np.eye(len(x_TD), dtype=bool)


def sums_so_far(x_TD):
    return x_TD.cumsum(axis=0)


def last_channel_shifted(x_TD):
    """Channel 1 is 0; the others are those of the token before."""
    shifted_TD = np.concatenate([np.zeros_like(x_TD[:1]), x_TD[:-1]])
    shifted_TD[:, 0] = 0
    return shifted_TD


def ask(layer, T):
    x_TD = np.arange(3.0 * T).reshape(T, 3)
    return lambda reads: reads(layer, x_TD.copy())


READS = Build(
    reads,
    cases=(
        Case("a layer that sums all tokens so far", ask(sums_so_far, 4), "4 tokens, x.cumsum(0)"),
        Case(
            "a layer of the token before",
            ask(last_channel_shifted, 5),
            "5 tokens, each sees the one before",
        ),
        Case("one token", ask(sums_so_far, 1), "1 token, x.cumsum(0)"),
    ),
    likely=(
        ("Column j is for the token that was changed, row i for the output.", rows_changed),
        ("Compare the outputs of the layer, not its inputs.", inputs_compared),
        ("Start each time from a fresh copy: your tokens stay changed.", never_restored),
        ("An output has changed if any of its channels has, not the first alone.", first_channel),
    ),
    why="A leak shows in no shape, and in the loss only as good news. This table shows it.",
)


# ---------------------------------------------------------------- attention
def attention(q_TS, k_TS, v_TE, causal=True):
    T = len(q_TS)
    sees_TT = np.ones((T, T), bool)
    if causal:
        sees_TT = np.tri(T, dtype=bool)
    return reference.softmax_attention(q_TS, k_TS, v_TE, sees_TT)


def scores(q_TS, k_TS):
    return q_TS @ k_TS.T / math.sqrt(q_TS.shape[1])


def hidden(score_TT, value):
    return np.where(np.tri(len(score_TT), dtype=bool), score_TT, value)


def masked_after(q_TS, k_TS, v_TE, causal=True):
    weight_TT = softmax(scores(q_TS, k_TS))
    return (np.tril(weight_TT) if causal else weight_TT) @ v_TE


def hidden_by_zero(q_TS, k_TS, v_TE, causal=True):
    score_TT = scores(q_TS, k_TS)
    return softmax(hidden(score_TT, 0.0) if causal else score_TT) @ v_TE


def undivided(q_TS, k_TS, v_TE, causal=True):
    score_TT = q_TS @ k_TS.T
    return softmax(hidden(score_TT, -np.inf) if causal else score_TT) @ v_TE


def never_masked(q_TS, k_TS, v_TE, causal=True):
    return attention(q_TS, k_TS, v_TE, causal=False)


def always_masked(q_TS, k_TS, v_TE, causal=True):
    return attention(q_TS, k_TS, v_TE)


def reads_ahead(q_TS, k_TS, v_TE, causal=True):
    if not causal:
        return attention(q_TS, k_TS, v_TE, causal=False)
    sees_TT = np.tri(len(q_TS), dtype=bool).T
    return reference.softmax_attention(q_TS, k_TS, v_TE, sees_TT)


@np.errstate(invalid="ignore")
def mask_inverted(q_TS, k_TS, v_TE, causal=True):
    score_TT = scores(q_TS, k_TS)
    sees_TT = np.tri(len(q_TS), dtype=bool)
    return softmax(np.where(sees_TT, -np.inf, score_TT) if causal else score_TT) @ v_TE


def keys_ask(q_TS, k_TS, v_TE, causal=True):
    return attention(k_TS, q_TS, v_TE, causal)


Q_32 = np.array([[0.0, 1], [1, 2], [2, -1]])
K_32 = np.array([[1.0, 0], [1, 1], [0, 2]])
V_32 = np.array([[1.0, 0], [0, 10], [20, 0]])
ONE = (np.array([[1.0, 2]]), np.array([[3.0, 4]]), np.array([[5.0, 6, 7]]))

ATTENTION = Build(
    attention,
    cases=(
        call("three tokens", Q_32, K_32, V_32),
        call("three tokens, not causal", Q_32, K_32, V_32, causal=False),
        call("one token", *ONE),
        call("large scores", 50 * Q_32, 50 * K_32, V_32),
    ),
    likely=(
        (
            "The mask comes after the softmax, whose sum has read the later scores: rows do not add up to 1.",
            masked_after,
        ),
        (
            "A hidden score is 0, and exp(0) is 1. Its exp must be 0: hide it by -np.inf.",
            hidden_by_zero,
        ),
        ("The scores are not divided by √S.", undivided),
        ("Nothing is hidden: token 1 reads token 3.", never_masked),
        ("The mask is upside down: each token reads itself and the later ones.", reads_ahead),
        (
            "The mask is inverted: where `np.tri` is True a token may be read, and keeps its score.",
            mask_inverted,
        ),
        ("Rows are for queries: q kᵀ, not k qᵀ.", keys_ask),
        ("With causal=False all tokens may be read.", always_masked),
    ),
    why="This is the layer that FLASH replaces, and what it must be as good as.",
)


# ---------------------------------------------------------------- heads
def multi_head(q_TD, k_TD, v_TD, H, causal=True):
    d = q_TD.shape[1] // H
    outputs = []
    for h in range(H):
        own = slice(h * d, (h + 1) * d)
        outputs.append(attention(q_TD[:, own], k_TD[:, own], v_TD[:, own], causal))
    return np.concatenate(outputs, axis=1)


def reshaped(q_TD, k_TD, v_TD, H, causal=True):
    q, k, v = (x_TD.reshape(H, len(x_TD), -1) for x_TD in (q_TD, k_TD, v_TD))
    return np.stack([attention(q[h], k[h], v[h], causal) for h in range(H)]).reshape(v_TD.shape)


def every_other(q_TD, k_TD, v_TD, H, causal=True):
    outputs = []
    for h in range(H):
        outputs.append(attention(q_TD[:, h::H], k_TD[:, h::H], v_TD[:, h::H], causal))
    return np.concatenate(outputs, axis=1)


def one_matrix(q_TD, k_TD, v_TD, H, causal=True):
    return attention(q_TD, k_TD, v_TD, causal)


def of_d_heads(q_TD, k_TD, v_TD, H, causal=True):
    return multi_head(q_TD, k_TD, v_TD, q_TD.shape[1] // H, causal)


def first_head_everywhere(q_TD, k_TD, v_TD, H, causal=True):
    d = q_TD.shape[1] // H
    return np.concatenate([attention(q_TD[:, :d], k_TD[:, :d], v_TD[:, :d], causal)] * H, axis=1)


def causal_forgotten(q_TD, k_TD, v_TD, H, causal=True):
    return multi_head(q_TD, k_TD, v_TD, H)


Q_36 = np.array([[1.0, 0, 2, 0, 1, 1], [0, 1, 1, 1, 0, 2], [2, 1, 0, 1, 1, 0]])
K_36 = np.array([[0.0, 1, 1, 2, 1, 0], [1, 1, 0, 0, 2, 1], [1, 0, 2, 1, 0, 1]])
V_36 = np.array([[11.0, 12, 13, 14, 15, 16], [21, 22, 23, 24, 25, 26], [31, 32, 33, 34, 35, 36]])

MULTI_HEAD = Build(
    multi_head,
    cases=(
        call("three heads of two channels", Q_36, K_36, V_36, 3),
        call("two heads of three", Q_36, K_36, V_36, 2),
        call("one head", Q_36, K_36, V_36, 1),
        call("one token", Q_36[:1], K_36[:1], V_36[:1], 2),
        call("not causal", Q_36, K_36, V_36, 3, causal=False),
    ),
    likely=(
        (
            "A reshape to (H, T, d) keeps the order in memory: your heads hold pieces of tokens.",
            reshaped,
        ),
        (
            "Head h has d channels that are neighbours: h d to (h + 1) d - 1, not each H-th.",
            every_other,
        ),
        (
            "All channels share one attention matrix. Each head has its own, of its own d channels.",
            one_matrix,
        ),
        (
            "You made D / H heads of H channels: d = D / H is the width of a head, not their number.",
            of_d_heads,
        ),
        (
            "Each head has the channels of the first: the slice must move with h.",
            first_head_everywhere,
        ),
        ("`causal` must be handed on to `attention`.", causal_forgotten),
    ),
    why="Its H attention matrices of T x T are what a GAU, with one, does without.",
)


# ---------------------------------------------------------------- positions
def one_based(T, D):
    return reference.scaled_sin(T + 1, D)[1:]


def interleaved(T, D):
    table_TD = reference.scaled_sin(T, D)
    half = D // 2
    return np.stack([table_TD[:, :half], table_TD[:, half:]], axis=-1).reshape(T, D)


def cosines_first(T, D):
    return np.roll(reference.scaled_sin(T, D), D // 2, axis=1)


def over_the_whole_width(T, D):
    angle = np.arange(T)[:, None] * 10000.0 ** (-np.arange(D // 2) / D)
    return np.concatenate([np.sin(angle), np.cos(angle)], axis=1)


def counted_from_one(T, D):
    half = D // 2
    angle = np.arange(T)[:, None] * 10000.0 ** (-np.arange(1, half + 1) / half)
    return np.concatenate([np.sin(angle), np.cos(angle)], axis=1)


def down_to_the_end(T, D):
    angle = np.arange(T)[:, None] * 10000.0 ** -np.linspace(0, 1, D // 2)
    return np.concatenate([np.sin(angle), np.cos(angle)], axis=1)


def rising(T, D):
    half = D // 2
    angle = np.arange(T)[:, None] * 10000.0 ** (np.arange(half) / half)
    return np.concatenate([np.sin(angle), np.cos(angle)], axis=1)


SCALED_SIN = Build(
    reference.scaled_sin,
    cases=(
        call("three positions, D = 4", 3, 4),
        call("position 0 alone", 1, 6),
        call("D = 2: one frequency", 4, 2),
        call("many positions", 500, 8),
    ),
    likely=(
        ("Positions are counted from 0: row 0 is sin(0) and cos(0).", one_based),
        ("Sines and cosines alternate. Here all sines come first, then all cosines.", interleaved),
        ("The cosines come first. Here the sines do.", cosines_first),
        (
            "The exponent is -m / (D/2), not -m / D: the frequencies fall too slowly.",
            over_the_whole_width,
        ),
        ("m counts from 0, so the first frequency is 1.", counted_from_one),
        (
            "The exponent is -m / (D/2), not -m / (D/2 - 1): 1/10,000 is never reached.",
            down_to_the_end,
        ),
        ("The exponent is negative: the frequencies fall from 1 towards 1/10,000.", rising),
    ),
    why="A position that a formula gives has no end, while a learned table ends at its last row.",
)


def rope(x, first=0):
    if not torch.is_tensor(x):
        return reference.rope(x, first)
    position = first + torch.arange(x.shape[-2], device=x.device)
    return layers.rope(x, *layers.cos_sin_at(position, x.shape[-1], x)).to(x.dtype)


def rotated(x, first=0, sign=1, exponent=2, start=0):
    """RoPE with another direction, frequencies 10000^(-exponent c / S), or rows counted from another number."""
    T, S = x.shape[-2:]
    frequency = 10000.0 ** (-exponent * np.arange(S // 2) / S)
    angle = sign * (first + start + np.arange(T))[:, None] * frequency
    x1, x2 = np.split(x, 2, axis=-1)
    y = [x1 * np.cos(angle) - x2 * np.sin(angle), x2 * np.cos(angle) + x1 * np.sin(angle)]
    return np.concatenate(y, axis=-1)


def backwards(x, first=0):
    return rotated(x, first, sign=-1)


def slow(x, first=0):
    return rotated(x, first, exponent=1)


def from_one(x, first=0):
    return rotated(x, first, start=1)


def always_from_zero(x, first=0):
    return rotated(x)


def of_neighbours(x, first=0):
    apart = np.concatenate([x[..., 0::2], x[..., 1::2]], axis=-1)
    y1, y2 = np.split(rotated(apart, first), 2, axis=-1)
    return np.stack([y1, y2], axis=-1).reshape(x.shape)


def neighbours_in_halves(x, first=0):
    return rotated(np.concatenate([x[..., 0::2], x[..., 1::2]], axis=-1), first)


def mirrored(x, first=0):
    T, S = x.shape[-2:]
    angle = (first + np.arange(T))[:, None] * reference.frequencies(S)
    x1, x2 = np.split(x, 2, axis=-1)
    y = [x1 * np.cos(angle) - x2 * np.sin(angle), x2 * np.cos(angle) - x1 * np.sin(angle)]
    return np.concatenate(y, axis=-1)


def of_two_axes(x, first=0):
    _T, _S = x.shape
    return rotated(x, first)


def of_a_tensor(rope):
    x = torch.arange(24.0).reshape(2, 3, 4).requires_grad_()
    y = rope(x)
    (gradient,) = torch.autograd.grad(y[..., 0].sum(), x)
    return torch.stack([y.detach(), gradient])


def far_out(rope):
    """Whether cosines and sines are right for rows from 1,000 on, where angles in bfloat16 are not."""
    y = rope(torch.ones(3, 8, dtype=torch.bfloat16), first=1000)
    error = y.double().numpy() - reference.rope(np.ones((3, 8)), 1000)
    return bool((np.abs(error) < 0.05).all())


def angles_like_x(x, first=0):
    """The angle itself has x's type."""
    if not torch.is_tensor(x):
        return rotated(x, first)
    T, S = x.shape[-2:]
    angle = x.new_tensor((first + np.arange(T))[:, None] * reference.frequencies(S))
    x1, x2 = x.chunk(2, -1)
    y = [x1 * angle.cos() - x2 * angle.sin(), x2 * angle.cos() + x1 * angle.sin()]
    return torch.cat(y, -1)


SAME_34 = np.tile([1.0, 2, 3, 4], (3, 1))

ROPE = Build(
    rope,
    cases=(
        call("three times (1, 2)", np.array([[1.0, 2], [1, 2], [1, 2]])),
        call("three times (1, 2, 3, 4)", SAME_34),
        call("rows 10, 11, 12", SAME_34, first=10),
        call("two heads", np.arange(24.0).reshape(2, 3, 4)),
        Case("a tensor, and its gradient", of_a_tensor, "torch.arange(24.0).reshape(2, 3, 4)"),
        Case("in bfloat16, far out: right?", far_out, "torch.ones(3, 8), first = 1000"),
    ),
    likely=(
        ("The rotation goes backwards: both signs of the sine are turned.", backwards),
        ("The second coordinate is x2 cos + x1 sin: with a minus it is no rotation.", mirrored),
        ("Rows are counted from 0: the first one is not rotated at all.", from_one),
        ("The exponent is -c / (S/2), not -c / S: the frequencies fall too slowly.", slow),
        ("Channel c is paired with channel c + S/2, not with its neighbour.", of_neighbours),
        (
            "x1 is the first half of the channels and x2 the second, not every other one.",
            neighbours_in_halves,
        ),
        (
            "x may have axes in front, of a batch or of heads: T and S are the last two of its shape.",
            of_two_axes,
        ),
        (
            "Far from the start an angle needs all its digits: only cosines and sines become like x.",
            angles_like_x,
        ),
        ("`first` is the position of row 0, and your rows always begin at 0.", always_from_zero),
    ),
    why="Every unit of your FLASH will call it, and a score then knows how far apart two tokens are.",
    tolerance=1e-5,
)

BUILDS = (SOFTMAX, READS, ATTENTION, MULTI_HEAD, SCALED_SIN, ROPE)
