"""A state as an object: rows read on from one, chosen, moved, copied and kept in a file."""

import copy
import errno
import os

import pytest
import torch
from refusals import assert_one_line
from small_model import ALL, NAMES, MyUnit, config, ids, model
from torch import nn
from unit_cases import C, D, features, make, mask_of, steady_units

from flash_tutorial import FLASH, LanguageModel, ModelConfig, Stack, State, states
from flash_tutorial.check import branch_error
from flash_tutorial.config import ARCHITECTURES
from flash_tutorial.corpora import Corpus, Split
from flash_tutorial.corpora.vocabulary import Vocabulary
from flash_tutorial.gau import GatedUnit
from flash_tutorial.generate import RecordedStep
from flash_tutorial.training import TrainConfig, train

pytestmark = pytest.mark.quick

every_architecture = pytest.mark.parametrize("architecture", ALL, ids=NAMES)
of_ours = pytest.mark.parametrize("architecture", ARCHITECTURES)

# tokens of each turn: borders of chunks are met, passed, and left open at every place
TURNS = {
    "a token, a chunk, many": [1, C, 3 * C + 1],
    "inside one chunk": [1, 1, 1, 2],
    "whole chunks": [2 * C, C, 2 * C],
    "over borders": [C + 1, 2 * C + 1, C - 1, 5],
}
# tokens of each row in each turn, padded on the right
RAGGED = {
    "of other lengths": [[5, 1, 3], [2, 9, 4], [6, 6, 1]],
    "that meet": [[5, 1, 3], [1, 5, 3], [4, 9, 2]],
    "none of which is full": [[2, 2, 2], [3, 1, 1], [1, 1, 7]],
}


def read_in_turns(m, turns):
    """Tokens of each row so far, and logits, features of the turn, and state after each turn."""
    texts, state = [[], [], []], None
    for i, lengths in enumerate(turns):
        width = max(lengths) + (i == 1)  # one column is padding in every row
        tokens = ids(3, width, seed=i)
        mask = None if lengths == [width] * 3 else mask_of(lengths, width)
        logits, _ = m.prefill(tokens, mask, state=state)
        features, state = m.features(tokens, mask, state=state, return_state=True)
        for text, row, n in zip(texts, tokens.tolist(), lengths):
            text += row[:n]
        yield texts, lengths, logits, features, state


def assert_close(one, other, limit=1e-9):
    torch.testing.assert_close(one, other, rtol=limit, atol=limit)


ALL_TURNS = {name: [[n] * 3 for n in turns] for name, turns in TURNS.items()} | RAGGED


@pytest.mark.parametrize("turns", ALL_TURNS)
@every_architecture
def test_turns_are_as_if_read_at_once(architecture, turns):
    m = model(architecture)
    for texts, lengths, logits, read, state in read_in_turns(m, ALL_TURNS[turns]):  # noqa: B007
        for b, text in enumerate(texts):
            whole = m.features(torch.tensor([text]))[0]
            assert_close(read[b, : lengths[b]], whole[-lengths[b] :])
            assert_close(logits[b], m.head(whole[-1]))
    assert state.rows.lengths.tolist() == [len(text) for text in texts]
    token = ids(3, 1, seed=9)[:, 0]
    logits, _ = m.step(token, state.detach())
    for b, text in enumerate(texts):
        assert_close(logits[b], m(torch.tensor([[*text, int(token[b])]]))[0, -1])


@steady_units
def test_every_unit_goes_on_in_parallel(name):
    """All options; and what follows a state is not read token by token: no step is taken."""
    unit, x = make(name, True), features(3 * C + 2)
    unit.step = None
    for cut in (1, C, C + 1, 2 * C):
        _, state = states.prefill(unit, x[:, :cut])
        y, _ = states.prefill(unit, x[:, cut:], state=state)
        assert branch_error(y, unit(x)[:, cut:], x[:, cut:]) <= 1e-10


@every_architecture
def test_reading_on_leaves_the_state_as_it_was(architecture):
    m = model(architecture)
    for mask in (None, mask_of([6, 3, 1], 6)):
        _, state = m.prefill(ids(3, 6), mask)
        before = m.prefill(ids(3, 7, seed=2), state=state)
        after = before[1]
        for token in ids(9, 3, seed=3):
            m.step(token, after)
        again, _ = m.prefill(ids(3, 7, seed=2), state=state)
        assert torch.equal(before[0], again)
        assert state.rows.used == 6


@every_architecture
def test_turns_padded_on_the_left(architecture):
    m, mask = model(architecture), mask_of([6, 3, 1], 6).flip(1)
    _, state = m.prefill(ids(3, 6), mask, padding="left")
    tokens, mask = ids(3, 5, seed=1), mask_of([2, 5, 1], 5).flip(1)
    logits, _ = m.prefill(tokens, mask, state=state, padding="left")
    features, _ = m.features(tokens, mask, state=state, padding="left")
    for b, (n, more) in enumerate(zip([6, 3, 1], [2, 5, 1])):
        text = torch.cat([ids(3, 6)[b, 6 - n :], tokens[b, 5 - more :]])
        whole = m.features(text[None])[0]
        assert_close(features[b, 5 - more :], whole[-more:])
        assert_close(logits[b], m.head(whole[-1]))


# ---------------------------------------------------------------- backpropagation over pieces


def gradients_of(loss, m):
    parameters = [p for p in m.parameters()]
    return torch.autograd.grad(loss, parameters)


def loss_in_pieces(m, tokens, pieces, end=lambda state: state):
    """The mean loss of a text that is read in pieces, and at each border what ``end`` makes of the state."""
    total, state = 0, None
    for ids_, targets in zip(tokens[:, :-1].split(pieces, 1), tokens[:, 1:].split(pieces, 1)):
        features, state = m.features(ids_, state=state, return_state=True)
        logits = m.head(features).flatten(0, 1)
        total = total + nn.functional.cross_entropy(logits, targets.flatten(), reduction="sum")
        state = end(state)
    return total / tokens[:, 1:].numel()


@pytest.mark.parametrize("again", [False, True], ids=["kept", "computed again"])
@every_architecture
def test_gradients_through_states_are_those_of_the_whole(architecture, again):
    m, tokens = model(architecture, checkpoint=again), ids(2, 3 * C + 3)
    whole = gradients_of(m.loss(tokens[:, :-1], tokens[:, 1:]), m)
    for pieces in (C, C + 1, 3):
        for found, expected in zip(gradients_of(loss_in_pieces(m, tokens, pieces), m), whole):
            torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-10)


@every_architecture
def test_a_detached_state_ends_the_gradient(architecture):
    """The same loss; the gradient is the sum of what each piece gives by itself, and not that of the whole."""
    m, tokens = model(architecture), ids(2, 3 * C + 3)
    whole = m.loss(tokens[:, :-1], tokens[:, 1:])
    cut_off = loss_in_pieces(m, tokens, C, end=lambda state: state.detach())
    torch.testing.assert_close(cut_off, whole)
    pairs = list(zip(gradients_of(cut_off, m), gradients_of(whole, m)))
    assert any((a - b).abs().max() > 1e-3 * b.abs().max() for a, b in pairs)
    _, state = m.features(tokens, return_state=True)
    for unit in state.detach().units:
        states.with_each(unit, lambda t, least=None: not_hanging(t))


def not_hanging(t):
    assert not t.requires_grad
    return t


def test_dropout_acts_on_pieces_in_training_as_on_the_whole():
    m = LanguageModel(config(dropout=0.5))
    tokens = ids(2, 9)
    with torch.no_grad():
        at_rest = m.eval().features(tokens, return_state=True)[0]
        torch.testing.assert_close(m.train().features(tokens, return_state=True)[0], at_rest)
    torch.manual_seed(0)
    dropped = m.features(tokens, return_state=True)[0]
    torch.manual_seed(0)
    torch.testing.assert_close(dropped, m.features(tokens))
    assert not torch.allclose(dropped, at_rest)


def test_a_row_may_have_no_token_in_a_piece():
    """Books end at different places; prefill, which gives logits of a last token, asks for one."""
    m, tokens = model(), ids(2, 6)
    _, state = m.prefill(tokens)
    silent = mask_of([3, 0], 3)
    features, after = m.features(ids(2, 3, seed=1), silent, state=state)
    assert features.shape == (2, 3, 12) and after.rows.lengths.tolist() == [9, 6]
    logits, _ = m.step(tokens[:, 0], after.detach())
    assert_close(logits[1], m(torch.cat([tokens[1:], tokens[1:, :1]], 1))[0, -1])
    assert_one_line(lambda: m.prefill(ids(2, 3), silent, state=state), "row without a valid token")


# ---------------------------------------------------------------- rows chosen


@pytest.mark.parametrize("lengths", [[6, 6, 6], [6, 3, 1]], ids=["one length", "ragged"])
@every_architecture
def test_selected_rows_go_on_as_they_would_have(architecture, lengths):
    """In a new order, repeated, a single shorter one, by numbers and by bools; and each by itself."""
    m, token = model(architecture), ids(3, 1, seed=2)[:, 0]
    _, state = m.prefill(ids(3, 6), None if min(lengths) == 6 else mask_of(lengths, 6))
    logits, _ = m.step(token, state.clone())
    kept = [False, True, True]
    for rows, numbers in (
        ([2, 0, 2], [2, 0, 2]),
        (torch.tensor([1]), [1]),
        (torch.tensor([1, 1], dtype=torch.uint8), [1, 1]),
        (kept, [1, 2]),
        (torch.tensor(kept), [1, 2]),
    ):
        chosen = state.select(rows)
        assert chosen.rows.lengths.tolist() == [lengths[n] for n in numbers]
        assert_close(m.step(token[numbers], chosen)[0], logits[numbers])
    twice = state.select([0, 0])
    different, _ = m.step(torch.tensor([1, 2]), twice)
    assert not torch.equal(*different)
    assert_close(m.step(token, state)[0], logits)


def test_a_short_row_that_is_selected_has_all_its_places_before_it():
    """Learnt positions and a Toeplitz bias end at max_length: the longer rows that left took none of its places."""
    for architecture in ("transformer", "flash_quad"):
        m = model(architecture, max_length=8)
        _, state = m.prefill(ids(2, 7), mask_of([7, 2], 7))
        state = state.select([1])
        assert state.rows.used == 2
        for token in ids(6, 1, seed=3):
            logits, state = m.step(token, state)
        text = torch.cat([ids(2, 7)[1, :2], ids(6, 1, seed=3)[:, 0]])
        assert_close(logits[0], m(text[None])[0, -1])


@pytest.mark.parametrize(
    "rows, parts",
    [
        ([0, 3], ("[0, 3]", "0 to 2")),
        ([-1], ("0 to 2",)),
        ([], ("names no row",)),
        ([False] * 3, ("names no row",)),
        ([True, False], ("3 bools",)),
        ([0.0], ("numbers of rows",)),
        ([[0]], ("numbers of rows",)),
        (1, ("numbers of rows",)),
        (["a"], ("numbers of rows",)),
    ],
)
def test_rows_that_are_not_there_are_named(rows, parts):
    _, state = model().prefill(ids(3, 5))
    assert_one_line(lambda: state.select(rows), *parts)


# ---------------------------------------------------------------- moved and copied


@every_architecture
def test_a_clone_shares_nothing_and_hangs_on_the_graph_no_less(architecture):
    m, token = model(architecture), ids(3, 1, seed=2)[:, 0]
    _, state = m.features(ids(3, 6), mask_of([6, 3, 1], 6), return_state=True)
    kept = state.detach().clone()
    first = [m.step(token, state.detach().clone())[0]]
    for _ in range(C + 1):
        m.step(token, state.detach().clone())
    assert torch.equal(m.step(token, kept)[0], first[0])
    (leaf,) = torch.autograd.grad(
        sum(m.features(ids(3, 4), state=state.clone())[0].flatten()), [m.embedding.weight]
    )
    assert leaf.any()


@of_ours
def test_a_state_in_another_number_format(architecture):
    """Lengths stay integers, and sums float32 or better."""
    m = model(architecture, dtype=torch.float32)
    _, state = m.prefill(ids(3, 6), mask_of([6, 3, 1], 6))
    for changed in (state.to(torch.bfloat16), state.to("cpu", dtype=torch.bfloat16)):
        assert changed.rows.behind.dtype == torch.int64
        for unit in changed.units:
            if isinstance(unit, states.ChunkState):
                assert unit.sums.dtype == torch.float32 and unit.v.dtype == torch.bfloat16
            else:
                assert {t.dtype for t in unit.tensors} == {torch.bfloat16}
        half = copy.deepcopy(m).to(torch.bfloat16)
        for reader in (m, half):
            logits, _ = reader.step(ids(3, 1)[:, 0], changed.clone())
            assert logits.dtype == reader.embedding.weight.dtype and logits.isfinite().all()
    assert_one_line(lambda: state.to(torch.int64), "torch.int64", "floating point")


@of_ours
def test_every_tensor_of_a_state_moves(architecture):
    _, state = model(architecture).prefill(ids(3, 6))
    places = set()
    for unit in state.to("meta").units:
        states.with_each(unit, lambda t, least=None: places.add(t.device.type) or t)
    rows = states.Rows(1, 2, torch.zeros(1)).with_each(lambda t: t.to("meta"))
    assert places | {rows.behind.device.type} == {"meta"}


@pytest.mark.parametrize("lengths", [[9, 9, 9], [9, 4, 1]], ids=["one length", "ragged"])
def test_what_is_made_of_a_recorded_state_is_a_plain_one(lengths, tmp_path):
    m = model("flash")
    mask = None if min(lengths) == 9 else mask_of(lengths, 9)
    _, plain = m.prefill(ids(3, 9), mask)
    recorded = RecordedStep(m, plain.clone(), room=64)
    for token in ids(5, 3, seed=4):
        recorded(token)
        m.step(token, plain)
    recorded.state.save(tmp_path / "state.safetensors")
    logits, _ = m.step(ids(3, 1)[:, 0], plain.clone())
    for made in (
        recorded.state.clone(),
        recorded.state.select([0, 1, 2]),
        State.load(tmp_path / "state.safetensors", m),
    ):
        assert type(made.rows) is states.Rows and made.rows.used == plain.rows.used
        assert_close(m.step(ids(3, 1)[:, 0], made)[0], logits)
    further = [m.prefill(ids(3, 6), state=each)[0] for each in (recorded.state, plain)]
    assert_close(*further)


# ---------------------------------------------------------------- a unit of one's own


class Total(MyUnit):
    """Remembers a running sum, in a form that each test chooses."""

    def forward(self, x, mask=None, segment_ids=None):
        return self.prefill(x, mask)[0]

    def prefill(self, x, mask=None):
        sums = torch.tanh(self.value(x)).cumsum(1)
        return x + self.write(sums), self.keep(sums[:, -1])

    def step(self, x, state):
        total = self.held(state) + torch.tanh(self.value(x))
        return x + self.write(total), self.keep(total)

    def keep(self, total):
        return {"total": (total, [1, None])}

    def held(self, state):
        return state["total"][0]


class OwnMemory(GatedUnit):
    """A mixing of one's own that remembers a running sum, and not how tokens go on from one."""

    heads = 1

    def __init__(self, dim, causal=True):
        super().__init__(dim, expansion=2, qk_dim=4, causal=causal, norm="scale")
        self.reset_parameters()

    def mix(self, heads, v, mask, segment_ids):
        return v.cumsum(1)

    def remember(self, heads, v, rows):
        return states.Cache((v.sum(1, keepdim=True),), rows)

    def mix_newest(self, heads, v, state):
        (total,) = state.tensors
        state.tensors = (total + v[:, None],)
        state.rows.advance()
        return state.tensors[0][:, 0]


class Remembered:
    """A class of a user's."""

    def __init__(self, total):
        self.total = total


class TotalInAnObject(Total):
    def keep(self, total):
        return Remembered(total)

    def held(self, state):
        return state.total


def test_a_unit_whose_prefill_takes_no_state_goes_on_token_by_token(tmp_path):
    m, tokens = model(Total), ids(2, 9)
    _, state = m.prefill(tokens[:, :4])
    logits, after = m.prefill(tokens[:, 4:], state=state)
    assert_close(logits, m(tokens)[:, -1])
    assert_close(m.prefill(tokens[:, 4:], state=state)[0], logits)
    assert_close(
        m.step(tokens[:1, 0], after.select([1]))[0], m.step(tokens[[0, 0], 0], after)[0][1:]
    )
    state.save(tmp_path / "s")
    loaded = State.load(tmp_path / "s", m)
    assert_close(m.prefill(tokens[:, 4:], state=loaded)[0], logits)
    ragged = mask_of([3, 2], 3)
    parts = ("Total.prefill takes no state", "of one length", "state=None")
    assert_one_line(lambda: m.prefill(tokens[:, :3], ragged, state=state), *parts)


class TwoMemories(MyUnit):
    """Keeps two states of the package's kinds in a tuple."""

    def __init__(self, dim, causal=True):
        super().__init__(dim)
        self.parts = torch.nn.ModuleList(
            FLASH(dim, qk_dim=4, chunk_size=C, causal=causal) for _ in range(2)
        )

    def forward(self, x, mask=None, segment_ids=None):
        for part in self.parts:
            x = part(x, mask)
        return x

    def prefill(self, x, mask=None):
        kept = []
        for part in self.parts:
            x, state = part.prefill(x, mask)
            kept.append(state)
        return x, tuple(kept)

    def step(self, x, state):
        for part, own in zip(self.parts, state):
            x, _ = part.step(x, own)
        return x, state


def test_rows_of_states_inside_a_tuple_are_selected_too():
    m, tokens = model(TwoMemories), ids(3, 2 * C + 1)
    _, state = m.prefill(tokens)
    assert state.numel() == sum(part.numel() for unit in state.units for part in unit)
    turned = m.step(tokens[[2, 0], 0], state.select([2, 0]))[0]
    assert_close(turned, m.step(tokens[:, 0], state)[0][[2, 0]])


def test_a_mixing_of_ones_own_with_a_memory_goes_on_too():
    m, tokens = model(OwnMemory), ids(2, 9)
    _, state = m.prefill(tokens[:, :4])
    assert_close(m.prefill(tokens[:, 4:], state=state)[0], m(tokens)[:, -1])
    assert_close(m.prefill(tokens[:, 4:], state=state)[0], m(tokens)[:, -1])


def test_what_a_unit_keeps_and_nobody_knows_is_named(tmp_path):
    m, tokens = model(TotalInAnObject), ids(2, 9)
    _, state = m.prefill(tokens)
    parts = ("keeps a Remembered", "with_each(change)")
    assert_one_line(lambda: state.select([0]), *parts)
    assert_one_line(lambda: state.save(tmp_path / "s"), "keeps a Remembered", "no file")
    assert not list(tmp_path.iterdir())
    Remembered.select = lambda self, index: Remembered(self.total[index])
    Remembered.with_each = lambda self, change: Remembered(change(self.total))
    logits, _ = m.step(tokens[:1, 0], state.clone().select([1]))
    assert_close(logits, m.step(tokens[[0, 0], 0], state)[0][1:])


# ---------------------------------------------------------------- what no state can go on with


def test_what_does_not_go_together_is_named():
    m, tokens = model(), ids(3, 5)
    _, state = m.prefill(tokens)
    zeros = torch.zeros_like(tokens)
    assert_one_line(lambda: m.prefill(tokens[:2], state=state), "state has 3 rows, the tokens 2")
    other = model(depth=1)
    assert_one_line(lambda: other.prefill(tokens, state=state), "of another model", "prefill")
    for how in (dict(segment_ids=zeros), dict(position_ids=zeros)):
        assert_one_line(lambda: m.features(tokens, state=state, **how), "one document")  # noqa: B023
    both = LanguageModel(config(causal=False))
    assert_one_line(lambda: both.features(tokens, return_state=True), "causal=True")
    short = model("transformer", max_length=8)
    _, state = short.prefill(tokens)
    assert_one_line(lambda: short.prefill(tokens, state=state), "length 10", "8 learnt positions")


# ---------------------------------------------------------------- a file


@pytest.mark.parametrize("lengths", [[6, 6, 6], [6, 3, 1]], ids=["one length", "ragged"])
@every_architecture
def test_a_state_comes_back_bit_for_bit(architecture, lengths, tmp_path):
    m, token = model(architecture, dtype=torch.float32), ids(3, 1)[:, 0]
    _, state = m.prefill(ids(3, 6), None if min(lengths) == 6 else mask_of(lengths, 6))
    for _ in range(3):
        m.step(token, state)
    path = tmp_path / "new" / "state.safetensors"
    state.save(path)
    for owner in (m, m.stack, m.config):
        loaded = State.load(path, owner)
        expected = state.clone()
        for _ in range(C + 1):
            assert torch.equal(m.step(token, loaded)[0], m.step(token, expected)[0])
    assert [p.name for p in path.parent.iterdir()] == ["state.safetensors"]


@pytest.fixture
def saved(tmp_path):
    m = model(dtype=torch.float32)
    _, state = m.prefill(ids(3, 6), mask_of([6, 3, 1], 6))
    state.save(tmp_path / "state.safetensors")
    return m, tmp_path / "state.safetensors"


@pytest.mark.parametrize(
    "other, said",
    [
        (dict(chunk_size=8), "chunk_size=4 there, 8 here"),
        (dict(depth=3), "depth=2 there, 3 here"),
        (dict(architecture="transformer++"), "architecture='flash' there"),
        (dict(architecture=MyUnit), "there, 'small_model.MyUnit' here"),
    ],
)
def test_the_state_of_another_model_is_named(saved, other, said):
    _, path = saved
    for owner in (model(**other), config(**other)):
        assert_one_line(lambda: State.load(path, owner), "of another model", said)  # noqa: B023


@pytest.mark.parametrize("free", [dict(dropout=0.5), dict(checkpoint=True), dict(max_length=999)])
def test_what_changes_no_number_of_a_state_may_differ(saved, free):
    _, path = saved
    assert State.load(path, model(**free)).rows.used == 6


def test_the_state_of_a_model_that_was_trained_on_tokens_is_its_own(tmp_path):
    split = Split.from_documents([b"\1\2\3\4" * 20], vocabulary=Vocabulary(65))
    trained = LanguageModel(ModelConfig(vocab_size=66, dim=8, depth=1, qk_dim=4, chunk_size=4))
    settings = TrainConfig(steps=1, batch=1, length=8, warmup=0, eval_bytes=0)
    train(trained, settings, corpus=Corpus("own", split, split, split), progress=False)
    trained.prefill(ids(1, 5))[1].save(tmp_path / "s")
    assert State.load(tmp_path / "s", trained).rows.used == 5


def test_any_altered_byte_of_a_state_is_noticed(saved):
    m, path = saved
    raw = path.read_bytes()
    begins = 8 + int.from_bytes(raw[:8], "little")
    for place in (0, 3, 8, 40, begins // 2, begins - 20, begins, begins + 99, len(raw) - 1):
        altered = bytearray(raw)
        altered[place] ^= 1
        path.write_bytes(altered)
        assert_one_line(lambda: State.load(path, m), "state.safetensors", "read the prompt again")
    for length in (0, 7, 100, begins, len(raw) - 1):
        path.write_bytes(raw[:length])
        assert_one_line(lambda: State.load(path, m), "cut off or altered")


def test_what_is_no_state_is_named(saved, tmp_path):
    m, path = saved
    m.save_pretrained(tmp_path / "model")
    weights = tmp_path / "model" / "model.safetensors"
    assert_one_line(lambda: State.load(weights, m), "holds no state", "State.save")
    assert_one_line(lambda: State.load(tmp_path / "none", m), "is missing")
    assert_one_line(lambda: State.load(tmp_path, m), "cannot be read")
    assert_one_line(lambda: State.load(path, "austen-flash"), "'austen-flash'", "ModelConfig")


def test_a_full_disk_loses_no_state(saved, monkeypatch):
    m, path = saved
    before = path.read_bytes()

    def no_space(*args, **kw):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    _, state = m.prefill(ids(1, 3))
    for name in ("replace", "fsync"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, no_space)
            assert_one_line(lambda: state.save(path), "could not be written", "untouched")
    assert path.read_bytes() == before and len(list(path.parent.iterdir())) == 1


def test_features_of_a_stack_go_on_too():
    stack, x = Stack(config()).double(), torch.randn(2, 9, D, dtype=torch.float64)
    first, state = stack(x[:, :5], return_state=True)
    second, _ = stack(x[:, 5:], state=state)
    assert_close(torch.cat([first, second], 1), stack(x))
