"""The units of ``successors.py`` in chunks are their published equations token by token, and read nothing later."""

import pytest
import torch

from flash_course import successors
from flash_course.loops import in_chunks_and_by_token
from flash_course.successors import (
    GatedDeltaRule,
    GatedLinearAttention,
    KimiDelta,
    LinearAttention,
    Retention,
    ScalarGate,
    ThreeToOne,
    WindowAttention,
)
from flash_tutorial import LanguageModel, ModelConfig
from flash_tutorial.check import branch_error, check_unit, draw_order_one, largest, settle_branch

D, S, C, B = 6, 12, 4, 2
T = 3 * C + 3  # three full chunks and a tail


# ---------------------------------------------------------------- the equations, one token at a time
# Each takes the rows of one sequence, q, k (T, S), v (T, E), h (T, D): o (T, E), and how many numbers it carried along.
def carried(q, v, step):
    """A state S × E from token to token, which each reads: ``step(t, state)`` is the next one."""
    state = torch.zeros(S, v.shape[1]).to(v)
    out = []
    for t in range(len(v)):
        state = step(t, state)
        out.append(q[t] @ state)
    return torch.stack(out), state.numel()


def linear_attention(unit, q, k, v, h):
    phi_q, phi_k = (torch.where(t > 0, t + 1, t.exp()) for t in (q, k))  # elu + 1
    sums, numbers = carried(phi_q, v, lambda t, state: state + torch.outer(phi_k[t], v[t]))
    z = phi_k.cumsum(0)
    return sums / ((phi_q * z).sum(1, keepdim=True) + 1e-5), numbers + z.shape[1]


def decayed(q, k, v, alpha, beta):
    """``alpha``: for each token one number, or one for each entry of a key."""

    def step(t, state):
        return alpha[t].expand(S)[:, None] * state + beta[t] * torch.outer(k[t], v[t])

    return carried(q, v, step)


def retention(unit, q, k, v, h):
    gamma = torch.tensor([1 - 2.0 ** -(5 + channel * 8 // S) for channel in range(S)]).to(v)
    return decayed(q, k, v, gamma.expand(len(v), S), torch.ones(len(v)))


def scalar_gate(unit, q, k, v, h):
    width = torch.log1p(torch.exp(h @ unit.step_width.weight[0] + unit.step_width.bias))  # softplus
    return decayed(q, k, v, torch.exp(-unit.log_rate.exp() * width), width)


def gated_linear_attention(unit, q, k, v, h):
    first, second = unit.decay
    alpha = torch.sigmoid(h @ first.weight.T @ second.weight.T + second.bias) ** (1 / 16)
    return decayed(q, k, v, alpha, torch.ones(len(v)))


def delta(unit, q, k, v, h, of_decay):
    """Decay, erase, write."""
    q, k = (t * torch.sigmoid(t) for t in (q, k))  # SiLU
    q, k = (t / t.norm(dim=1, keepdim=True) for t in (q, k))
    beta = torch.sigmoid(h @ unit.strength.weight[0] + unit.strength.bias)
    alpha = torch.exp(-unit.log_rate.exp() * torch.log1p(torch.exp(of_decay)))

    def step(t, state):
        erase = torch.eye(S).to(v) - beta[t] * torch.outer(k[t], k[t])
        return erase @ (alpha[t].expand(S)[:, None] * state) + beta[t] * torch.outer(k[t], v[t])

    return carried(q, v, step)


def gated_delta_rule(unit, q, k, v, h):
    return delta(unit, q, k, v, h, h @ unit.decay.weight[0] + unit.decay.bias)


def kimi_delta(unit, q, k, v, h):
    first, second = unit.decay
    return delta(unit, q, k, v, h, h @ first.weight.T @ second.weight.T + second.bias)


def window_attention(unit, q, k, v, h, window=None):
    keys = []
    values = []
    out = []
    for t in range(len(v)):
        keys, values = (
            [*kept, new[t]][-(window or unit.window) :] for kept, new in ((keys, k), (values, v))
        )
        weights = torch.exp(torch.stack(keys) @ q[t] / S**0.5)
        out.append(weights / weights.sum() @ torch.stack(values))
    return torch.stack(out), sum(kept.numel() for kept in (*keys, *values))


def three_to_one(unit, q, k, v, h):
    border = 3 * v.shape[1] // 4
    kept, kept_numbers = gated_delta_rule(unit, q, k, v[:, :border], h)
    exact, exact_numbers = window_attention(unit, q, k, v[:, border:], h, window=len(v))
    return torch.cat([kept, exact], 1), kept_numbers + exact_numbers


UNITS = {  # the unit, and its equation
    "linear attention": (LinearAttention, {}, linear_attention),
    "retention": (Retention, {}, retention),
    "scalar gate": (ScalarGate, {}, scalar_gate),
    "gated linear attention": (GatedLinearAttention, {}, gated_linear_attention),
    "gated delta rule": (GatedDeltaRule, {}, gated_delta_rule),
    "Kimi delta": (KimiDelta, {}, kimi_delta),
    "window of 5": (WindowAttention, {"window": 5}, window_attention),
    "window of 1": (WindowAttention, {"window": 1}, window_attention),
    "window of 100": (WindowAttention, {"window": 100}, window_attention),
    "three to one": (ThreeToOne, {}, three_to_one),
}


def features(length=T, dtype=torch.float64):
    return torch.randn(
        B, length, D, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    ).to(dtype)


def make(name, dtype=torch.float64, chunk_size=C):
    """A unit with parameters of order one, and a branch of order one."""
    kind, options, _ = UNITS[name]
    generator = torch.Generator().manual_seed(0)
    unit = draw_order_one(kind(D, qk_dim=S, chunk_size=chunk_size, **options).double(), generator)
    return settle_branch(unit, features()).to(dtype)


def by_token(name, unit, x):
    """The skeleton written out, with the mixing by its equation: the output, and the numbers carried along a row."""
    outputs = []
    numbers = set()
    for row in x:
        centred = row - row.mean(1, keepdim=True)
        scale = (centred.square().mean(1, keepdim=True) + 1e-5).sqrt()
        h = centred / scale * unit.norm.gain + unit.norm.offset
        projected = h @ unit.in_proj.weight.T + unit.in_proj.bias
        u, v, q, k = projected.split([2 * D, 2 * D, S, S], 1)
        mixed, count = UNITS[name][2](unit, q, k, v, h)
        mixed = mixed / (mixed.square().mean(1, keepdim=True) + 1e-5).sqrt()
        gated = u * torch.sigmoid(u) * mixed
        outputs.append(row + gated @ unit.out_proj.weight.T + unit.out_proj.bias)
        numbers.add(count)
    (count,) = numbers
    return torch.stack(outputs), count


# ---------------------------------------------------------------- values, gradients, lengths
@pytest.mark.parametrize("name", UNITS)
def test_chunks_are_the_equation_token_by_token(name):
    unit = make(name)
    for length in (T, 3 * C, C + 1, C - 1, 1):
        x = features(length)
        with torch.no_grad():
            y, numbers = by_token(name, unit, x)
            assert branch_error(unit(x), y, x) < 1e-12
        assert unit.state_numbers(length) == numbers, "what decoding keeps"


def decay_and_write(state, k, v, alpha, beta):
    return alpha[:, None] * state + beta * torch.outer(k, v)


def decay_erase_and_write(state, k, v, alpha, beta):
    state = alpha[:, None] * state
    return state + beta * torch.outer(k, v - k @ state)


LOOPS = {name: decay_and_write for name in ("retention", "scalar gate", "gated linear attention")}
LOOPS |= {name: decay_erase_and_write for name in ("gated delta rule", "Kimi delta")}


@pytest.mark.parametrize("name", LOOPS)
@torch.no_grad()
def test_the_loop_of_lecture_13_is_the_equation(name):
    unit = make(name)
    x = features()[:1]
    chunks, loop = in_chunks_and_by_token(unit, x, LOOPS[name])
    h = unit.norm(x)
    _, v, q, k = unit.in_proj(h)[0].split([2 * D, 2 * D, S, S], -1)
    equation, _ = UNITS[name][2](unit, q, k, v, h[0])
    assert largest(equation) > 1e-3, "something is mixed"
    for mixed in (chunks, loop):
        assert largest(mixed - equation) < 1e-12 * max(1, largest(equation))


@pytest.mark.parametrize("name", UNITS)
def test_neither_chunk_length_nor_float32_changes_what_is_computed(name):
    x = features()
    with torch.no_grad():
        y = make(name)(x)
        for chunk_size in (1, 5, 16):
            assert branch_error(make(name, chunk_size=chunk_size)(x), y, x) < 1e-12
        unit = make(name, torch.float32)  # its own rounded weights
        wanted = by_token(name, make(name, torch.float32).double(), x)[0]
        assert branch_error(unit(x.float()), wanted, x) < 1e-4


@pytest.mark.parametrize("name", UNITS)
def test_gradients_are_those_of_the_equation(name):
    unit = make(name)
    x = features().requires_grad_()
    weights = torch.randn(x.shape, generator=torch.Generator().manual_seed(2), dtype=x.dtype)
    wanted = {"x": x, **dict(unit.named_parameters())}
    ours, theirs = (
        torch.autograd.grad((y * weights).sum(), list(wanted.values()), allow_unused=True)
        for y in (unit(x), by_token(name, unit, x)[0])
    )
    for part, a, b in zip(wanted, ours, theirs):
        assert a is not None and largest(b) > 1e-8, f"{part} has no part in the output"
        assert largest(a - b) < 1e-9 * max(1, largest(b)), part


@pytest.mark.parametrize("name", UNITS)
def test_nothing_later_and_no_padding_is_read(name):
    kind, options, _ = UNITS[name]
    check_unit(kind(D, qk_dim=S, chunk_size=C, **options))
    unit = make(name)
    x = features()
    mask = (torch.arange(T) < torch.tensor([[T], [6]]))[..., None]
    broken = torch.where(mask, x, float("nan"))
    with torch.no_grad():
        assert torch.equal(unit(broken, mask[..., 0])[1, :6], unit(x, mask[..., 0])[1, :6])


def test_a_window_reads_its_last_tokens_and_no_other():
    unit = make("window of 5")
    x = features().requires_grad_()
    for t in range(T):
        (gradient,) = torch.autograd.grad(unit(x)[0, t].sum(), x)
        assert gradient[0].abs().sum(1).nonzero()[:, 0].tolist() == list(
            range(max(0, t - 4), t + 1)
        )


def test_float32_holds_where_decay_is_strong():
    """Division by the decay since a chunk's beginning must not overflow at the strongest decay that an init reaches."""
    q, k, v = (
        torch.randn(1, 64, n, generator=torch.Generator().manual_seed(n)) for n in (S, S + 1, 12)
    )
    k = k[..., :S]
    log_decay = torch.full((1, 64, S), -4.0)
    exact = successors.decayed_attention(q.double(), k.double(), v.double(), log_decay.double(), 1)
    assert largest(
        successors.decayed_attention(q, k, v, log_decay, 16).double() - exact
    ) < 1e-4 * largest(exact)


@pytest.mark.parametrize("name", UNITS)
def test_each_is_an_architecture_of_a_language_model(name):
    kind, options, _ = UNITS[name]
    config = ModelConfig(kind, vocab_size=9, dim=D, depth=2, unit_options={"qk_dim": S, **options})
    ids = torch.arange(2 * T).remainder(9).reshape(2, T)
    loss = LanguageModel(config).loss(ids, ids)
    loss.backward()
    assert 1 < loss < 4


@pytest.mark.parametrize(
    "build, match",
    [
        (
            lambda: GatedDeltaRule(D, causal=False),
            "causal=False: GatedDeltaRule reads from left to right only",
        ),
        (lambda: Retention(D, qk_dim=0), "qk_dim=0: expected an integer of at least 1"),
        (lambda: WindowAttention(D, window=0), "window=0: expected an integer of at least 1"),
        (lambda: LinearAttention(D)(torch.zeros(1, 3, D + 1)), "with the unit's dim=6 last"),
        (
            lambda: LinearAttention(D)(torch.zeros(1, 2, D), segment_ids=torch.tensor([[0, 1]])),
            "segment_ids: LinearAttention keeps one state for the whole row, leave them out",
        ),
    ],
)
def test_what_they_cannot_do_is_said(build, match):
    with pytest.raises(ValueError, match=match) as caught:
        build()
    assert "\n" not in str(caught.value)
