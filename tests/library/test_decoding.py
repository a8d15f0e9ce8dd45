"""Generation: what comes token by token is what the parallel form gives, and draws follow the probabilities."""

import copy
from unittest import mock

import numpy as np
import pytest
import torch
from host_reads import HostReads
from refusals import assert_one_line
from small_model import ALL, NAMES, N, ids, model
from unit_cases import on_devices

from flash_tutorial import LanguageModel, ModelConfig
from flash_tutorial.check import draw_order_one
from flash_tutorial.gau import GatedUnit
from flash_tutorial.generate import RecordedStep
from flash_tutorial.sampling import draw


@pytest.mark.parametrize("architecture", ALL, ids=NAMES)
def test_greedy_generation_is_the_argmax_of_the_parallel_form(architecture):
    """The fallback of a class of one's own, which replays everything, included."""
    m, prompt = model(architecture), ids(2, 5)
    with torch.no_grad():
        expected = prompt
        for _ in range(9):  # over two chunk borders
            expected = torch.cat([expected, m(expected)[:, -1].argmax(-1, keepdim=True)], 1)
    assert torch.equal(m.generate(prompt, 9, temperature=0), expected[:, 5:])
    assert torch.equal(m.generate(prompt, 9, top_k=1), expected[:, 5:])
    assert torch.equal(m.generate(prompt, 9, top_p=1e-9), expected[:, 5:])


@pytest.mark.parametrize("architecture", ALL, ids=NAMES)
def test_ragged_prompts_are_as_if_alone(architecture):
    m, prompt, lengths = model(architecture), ids(3, 9), [9, 4, 1]
    mask = torch.arange(9)[None] < torch.tensor(lengths)[:, None]
    together = m.generate(prompt, 7, mask=mask, temperature=0)
    logits, state = m.prefill(prompt, mask)
    for b, n in enumerate(lengths):
        alone = prompt[b : b + 1, :n]
        assert torch.equal(together[b : b + 1], m.generate(alone, 7, temperature=0))
        assert (logits[b] - m(alone)[0, -1]).abs().max() < 1e-9
    logits, state = m.step(together[:, 0], state)
    for b, n in enumerate(lengths):
        longer = torch.cat([prompt[b : b + 1, :n], together[b : b + 1, :1]], 1)
        assert (logits[b] - m(longer)[0, -1]).abs().max() < 1e-9
    assert state.rows.lengths.tolist() == [n + 1 for n in lengths]


def test_generation_is_repeatable_with_a_generator():
    m, prompt = model(), ids(2, 5)
    runs = [
        m.generate(prompt, 20, generator=torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)
    ]
    assert torch.equal(runs[0], runs[1]) and not torch.equal(runs[0], runs[2])
    seen = []
    m.generate(prompt, 4, on_token=lambda token: seen.append(token.clone()))
    assert [t.shape for t in seen] == [(2,)] * 4
    assert m.generate(prompt, 0).shape == (2, 0)


def test_draws_follow_the_probabilities():
    probabilities = torch.tensor([0.5, 0.25, 0.15, 0.1])
    logits = probabilities.log().expand(20_000, -1)

    def frequencies(**how):
        drawn = draw(logits, generator=torch.Generator().manual_seed(0), **how)
        return drawn.bincount(minlength=4) / len(drawn)

    def close(frequency, expected):
        torch.testing.assert_close(frequency, torch.tensor(expected), atol=0.015, rtol=0)

    close(frequencies(), probabilities.tolist())
    close(frequencies(temperature=0.5), (probabilities**2 / (probabilities**2).sum()).tolist())
    close(frequencies(top_k=2), [2 / 3, 1 / 3, 0.0, 0.0])
    close(frequencies(top_p=0.75), [2 / 3, 1 / 3, 0, 0])
    close(frequencies(top_p=0.76), [5 / 9, 2.5 / 9, 1.5 / 9, 0])
    close(frequencies(top_p=0.3), [1.0, 0.0, 0.0, 0.0])
    close(frequencies(top_k=4), probabilities.tolist())
    close(frequencies(temperature=1e-40), [1.0, 0.0, 0.0, 0.0])
    assert draw(torch.zeros(100, 4), top_k=1).unique().numel() == 1, (
        "one of several equals is kept, not all"
    )


@pytest.mark.parametrize(
    "how, parts",
    [
        (dict(temperature=-1.0), ("temperature=-1.0", "0 (most likely")),
        (dict(temperature=float("inf")), ("temperature=inf", "0 (most likely")),
        (dict(temperature=True), ("temperature=True", "0 (most likely")),
        (dict(top_p=True), ("top_p=True", "more than 0")),
        (dict(temperature=float("nan")), ("temperature=nan", "expected")),
        (dict(top_k=0), ("top_k=0", f"1 to {N}")),
        (dict(top_k=N + 1), (f"top_k={N + 1}", f"1 to {N}")),
        (dict(top_p=0.0), ("top_p=0.0", "at most 1")),
        (dict(top_p=1.5), ("top_p=1.5", "at most 1")),
        (dict(max_new_tokens=-1), ("max_new_tokens=-1", "at least 0")),
        (dict(max_new_tokens=2.0), ("max_new_tokens=2.0", "integer")),
        (dict(on_token=3), ("on_token=3", "a function of ids (B,), or None")),
        *[
            (dict(stop_id=wrong), (f"stop_id={wrong!r}", f"0 to {N - 1}"))
            for wrong in (-1, N, 2.0, True)
        ],
        (dict(mask=torch.tensor([[True] * 14, [False] * 14])), ("row without a valid token",)),
    ],
)
def test_generation_refuses(how, parts):
    assert_one_line(lambda: model().generate(ids(), **{"max_new_tokens": 1} | how), *parts)


@pytest.mark.parametrize("prompt", ["Anne ", [[1, 2]], torch.zeros(2, 3)])
def test_generation_refuses_what_is_no_tensor_of_ids(prompt):
    assert_one_line(lambda: model().generate(prompt, 5), "expected (B, T) integer token ids")


def test_rows_that_drew_the_stop_id_are_filled_with_it_and_the_last_ends_the_loop():
    m, prompt = model(), ids(3, 5)
    free = m.generate(prompt, 12, temperature=0)
    stop = int(free[0, 2])
    first = [row.index(stop) if stop in row else 12 for row in free.tolist()]
    assert first[0] <= 2 and max(first) > min(first), "all rows stop at once, so nothing is shown"
    stopped = m.generate(prompt, 12, temperature=0, stop_id=stop)
    assert stopped.shape == (3, min(12, max(first) + 1))
    for row, alone, n in zip(stopped.tolist(), free.tolist(), first):
        assert row[: n + 1] == alone[: n + 1][: len(row)] and set(row[n:]) <= {stop}
    one = m.generate(prompt[:1], 12, temperature=0, stop_id=stop)
    assert one.tolist() == [free[0, : first[0] + 1].tolist()]


@torch.no_grad()
def test_a_state_can_be_kept_and_come_back_to():
    m = model()
    _, state = m.prefill(ids(1, 5))
    kept = copy.deepcopy(state)
    first = [m.step(torch.tensor([t]), state)[0] for t in (1, 2, 3)]
    again = [m.step(torch.tensor([t]), kept)[0] for t in (1, 2, 3)]
    assert all(torch.equal(a, b) for a, b in zip(first, again))


# ---------------------------------------------------------------- a step that is recorded


@on_devices
@pytest.mark.parametrize(
    "architecture, lengths",
    [("flash", [5, 5, 5]), ("flash", [9, 4, 1]), ("mc_transformer++", [9, 4, 1])],
)
def test_a_recorded_step_is_the_step(architecture, lengths, device):
    """Over three chunk borders. And what a graph needs: tensors stay where they are, and the host asks for nothing."""
    m, prompt = model(architecture).to(device), ids(3, max(lengths)).to(device)
    mask = torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]
    mask = None if mask.all() else mask.to(device)
    _, plain = m.prefill(prompt, mask)
    _, state = m.prefill(prompt, mask)
    recorded, tokens = RecordedStep(m, state, room=64), ids(15, 3, seed=4).to(device)

    def where():
        kept = [(u.sums, u.chunks, u.quad_k, u.lin_k, u.v) for u in state.units]
        return [t.data_ptr() for of_unit in kept for t in of_unit]

    at_first = where()
    for token in tokens:
        expected, plain = m.step(token, plain)
        with HostReads() as host:
            logits = recorded(token)
        assert host.count == 0
        torch.testing.assert_close(logits, expected, rtol=1e-10, atol=1e-10)
    assert where() == at_first


@pytest.mark.parametrize("room", [15, 20])
@pytest.mark.parametrize("lengths", [[14, 14], [14, 9]], ids=["one length", "ragged"])
def test_a_recording_leaves_no_trace(room, lengths):
    """Nor do its trials fail where there is room for one token alone and RoPE's table ends behind it, at 16. Without a
    card all steps run, and no graph is kept."""
    m, prompt = model("flash"), ids(2, 14)
    mask = None if lengths == [14, 14] else torch.arange(14)[None] < torch.tensor(lengths)[:, None]
    _, plain = m.prefill(prompt, mask)
    _, state = m.prefill(prompt, mask)
    pretended = {
        name: mock.MagicMock()
        for name in ("Stream", "current_stream", "stream", "CUDAGraph", "graph")
    }
    with mock.patch.multiple("torch.cuda", **pretended):
        recorded = RecordedStep(m, state, room)
        if recorded.rest:
            recorded._record()
    for token in ids(room - 14, 2, seed=4):
        expected, plain = m.step(token, plain)
        torch.testing.assert_close(recorded(token), expected, rtol=1e-10, atol=1e-10)


def test_a_plain_step_asks_the_device_for_nothing():
    m = model("flash")
    _, state = m.prefill(ids(2, 5))
    with HostReads() as host:
        for token in ids(3, 2):
            _, state = m.step(token, state)
    assert host.count == 0


def test_a_step_that_cannot_be_recorded_says_so():
    _, state = model("transformer++").prefill(ids(1, 5))
    assert_one_line(
        lambda: RecordedStep(model("transformer++"), state, room=9), "keeps a Cache, which grows"
    )
    m = model("flash")
    _, state = m.prefill(ids(1, 5))
    assert_one_line(lambda: RecordedStep(m, state, room=4), "room=4", "at least the 5 tokens")
    step = RecordedStep(m, state, room=6)
    step(ids(1, 1)[0])
    assert_one_line(lambda: step(ids(1, 1)[0]), "room of 6 tokens is full")


def test_new_tokens_are_whole_whatever_type_the_prompt_has():
    """An id of 256 or more does not fit into the bytes of a text."""
    m = LanguageModel(ModelConfig(vocab_size=300, dim=12, depth=1, qk_dim=8, chunk_size=4))
    prompt, draws = (
        torch.zeros(1, 1, dtype=torch.long),
        [torch.Generator().manual_seed(0) for _ in range(2)],
    )
    new = m.generate(prompt, 40, generator=draws[0])
    assert new.max() > 255 and torch.equal(
        m.generate(prompt.to(torch.uint8), 40, generator=draws[1]), new
    )


class OwnMixing(GatedUnit):
    """A unit that says how tokens are mixed, and nothing of what it remembers."""

    heads = 1

    def __init__(self, dim, causal=True):
        super().__init__(dim, expansion=2, qk_dim=4, causal=causal, norm="scale")
        self.reset_parameters()

    def mix(self, heads, v, mask, segment_ids):
        return v.cumsum(1)


def test_a_mixing_of_ones_own_is_read_again_at_each_step():
    model = LanguageModel(ModelConfig(OwnMixing, dim=8, depth=2, vocab_size=N))
    draw_order_one(model, torch.Generator().manual_seed(0))
    ids = torch.arange(7)[None] % N
    logits, state = model.prefill(ids[:, :4])
    for t in range(4, 7):
        logits, state = model.step(ids[:, t], state)
    assert torch.allclose(logits, model(ids)[:, -1], atol=1e-5)


def test_top_p_is_of_what_top_k_leaves():
    logits = torch.tensor([0.5, 0.25, 0.15, 0.1]).log().expand(20_000, -1)
    drawn = draw(logits, top_k=3, top_p=0.75, generator=torch.Generator().manual_seed(0))
    found = drawn.bincount(minlength=4) / len(drawn)
    torch.testing.assert_close(found, torch.tensor([2 / 3, 1 / 3, 0, 0]), atol=0.015, rtol=0)


def test_on_token_gets_what_generate_gives():
    m, prompt, seen = model(), ids(3, 5), []
    stop = int(m.generate(prompt, 12, temperature=0)[0, 2])
    how = dict(temperature=0, stop_id=stop, on_token=lambda token: seen.append(token.clone()))
    assert torch.equal(m.generate(prompt, 12, **how), torch.stack(seen, 1))


def test_numbers_of_numpy_are_numbers():
    logits = torch.tensor([[0.0, 3.0, 1.0]])
    assert draw(logits, temperature=np.float32(1), top_k=np.int64(1), top_p=np.float64(1)) == 1


def test_logits_that_are_no_numbers_are_named():
    logits = torch.tensor([[0.0, float("nan"), 1.0]])
    assert_one_line(lambda: draw(logits), "the logits hold NaN", "diverged")


def test_a_text_beyond_the_models_last_position_is_refused_before_any_of_it_is_drawn():
    m, prompt = model("flash_quad", max_length=16), ids(2, 10)
    assert m.generate(prompt, 7).shape == (2, 7)  # the last one is not read
    assert_one_line(lambda: m.generate(prompt, 8), "reads 16", "max_new_tokens is at most 7")
    assert model("flash", max_length=16).generate(prompt, 8).shape == (2, 8)
    learnt = model("transformer", max_length=12)
    assert_one_line(lambda: learnt.generate(prompt, 4), "reads 12", "at most 3")
