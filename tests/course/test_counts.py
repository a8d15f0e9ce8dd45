"""Counts against what torch really multiplies, and against the states that are really kept."""

import itertools
from functools import partial

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from flash_course.bench.counts import (
    attention_pairs,
    chunk_pairs,
    count_multiply_adds,
    count_state_numbers,
    kept_bytes,
)
from flash_tutorial import (
    FLASH,
    GAU,
    LanguageModel,
    MCTransformerBlock,
    ModelConfig,
    Stack,
    TransformerBlock,
    fast,
)
from flash_tutorial.config import ARCHITECTURES, options_of

D, S, C, H = 12, 8, 4, 3
E = 2 * D
FF = 20
# with a Toeplitz bias: the product that makes a rotary one is shared by the batch and not counted
GAU_OF = dict(qk_dim=S, length_scale=9, bias_length=64)
FLASH_OF = dict(qk_dim=S, chunk_size=C)
BLOCK_OF = dict(heads=H, ff_dim=FF)
UNITS = {
    "gau": partial(GAU, D, **GAU_OF),
    "gau, expansion 3": partial(GAU, D, expansion=3, **GAU_OF),
    "flash": partial(FLASH, D, **FLASH_OF),
    "flash, local only": partial(FLASH, D, global_=False, **FLASH_OF),
    "flash, global only": partial(FLASH, D, local=False, **FLASH_OF),
    "transformer": partial(TransformerBlock, D, **BLOCK_OF),
    "transformer++": partial(TransformerBlock, D, glu=True, rope=True, **BLOCK_OF),
    "mc_transformer++": partial(MCTransformerBlock, D, chunk_size=C, **BLOCK_OF),
}
GATED = [name for name in UNITS if "transformer" not in name]


def executed(model, *inputs):
    """Multiply-adds that torch really made, by its own counter, which does not know the CPU's fused attention."""
    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        model(*inputs)
    return counter.get_total_flops() // 2


def config(architecture, **more):
    own = dict(qk_dim=S, chunk_size=C, heads=H)
    small = {name: own[name] for name in own if name in options_of(architecture)}
    return ModelConfig(architecture, vocab_size=11, dim=D, depth=2, max_length=64, **small, **more)


# ---------------------------------------------------------------- multiply-adds


@pytest.mark.parametrize("T", [1, 3, 4, 14])
@pytest.mark.parametrize("causal", [True, False])
def test_pairs_are_those_that_a_loop_finds(T, causal):
    pairs = itertools.product(range(T), repeat=2)
    pairs = [(i, j) for i, j in pairs if not (causal and j > i)]
    assert attention_pairs(T, causal) == len(pairs)
    assert chunk_pairs(T, C, causal) == sum(i // C == j // C for i, j in pairs)


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_that_reads_both_sides_counts_what_torch_executes(name):
    T = 3 * C  # full chunks: nothing is filled up
    unit = UNITS[name](causal=False)
    assert count_multiply_adds(unit, T) == executed(unit, torch.randn(1, T, D))


@pytest.mark.parametrize("name", GATED)
def test_a_causal_unit_counts_what_torch_executes_where_no_masked_pair_is_multiplied(
    name, monkeypatch
):
    monkeypatch.setattr(fast, "ROWS", 1)  # row by row the code multiplies the causal pairs alone
    T = 3 * C
    unit = UNITS[name](causal=True)
    # the first chunk's reading of nothing, and the last chunk's sum, which nobody reads, are counted and never made
    idle = 2 * C * S * E if getattr(unit, "global_", False) else 0
    assert count_multiply_adds(unit, T) - idle == executed(unit, torch.randn(1, T, D))


@pytest.mark.parametrize("name", ["transformer", "transformer++", "mc_transformer++"])
def test_a_causal_transformer_saves_the_later_pairs_and_nothing_else(name):
    T = 14
    both, causal = (count_multiply_adds(UNITS[name](causal=c), T) for c in (False, True))
    later = [*itertools.combinations(range(T), 2)]
    if name == "mc_transformer++":
        later = [(i, j) for i, j in later if i // C == j // C]
    assert both - causal == len(later) * 2 * D  # each pair costs D for q k^T and D for A v


@pytest.mark.parametrize("causal", [True, False])
def test_a_tail_counts_its_own_pairs_and_not_a_full_chunk(causal):
    tail = 2
    unit = UNITS["flash"](causal=causal)
    grown = count_multiply_adds(unit, 3 * C + tail) - count_multiply_adds(unit, 3 * C)
    pairs = tail * (tail + 1) // 2 if causal else tail * tail
    dense = D * (2 * E + S) + E * D
    assert grown == tail * dense + pairs * (S + E) + 2 * tail * S * E


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("causal", [True, False])
def test_config_and_model_count_the_same_and_the_head_once(architecture, causal):
    c = config(architecture, causal=causal)
    T = 10
    model = LanguageModel(c)
    stack = 2 * count_multiply_adds(model.stack.units[0], T)
    assert count_multiply_adds(Stack(c), T) == stack
    assert count_multiply_adds(c, T) == count_multiply_adds(model, T) == stack + T * D * 11


@pytest.mark.parametrize("name", [*GATED, "transformer++", "mc_transformer++"])
def test_only_quadratic_units_grow_faster_than_the_length(name):
    unit = UNITS[name](causal=True)
    T = 16 * C
    grown = count_multiply_adds(unit, 2 * T) - 2 * count_multiply_adds(unit, T)
    assert (grown == 0) == (name.startswith("flash") or name == "mc_transformer++")


class OwnUnit(torch.nn.Module):
    """A unit of a user's: it says what it multiplies."""

    def __init__(self, dim, causal=True):
        super().__init__()
        self.dim = dim
        self.causal = causal

    def forward(self, x, mask=None, segment_ids=None):
        return x

    def multiply_adds(self, T):
        return 7 * T


def test_a_unit_of_your_own_is_asked():
    assert count_multiply_adds(OwnUnit(D), 5) == 35
    c = ModelConfig(OwnUnit, vocab_size=11, dim=D, depth=2)
    assert count_multiply_adds(c, 5) == 2 * 35 + 5 * D * 11


@pytest.mark.parametrize(
    "model, T, words",
    [
        (torch.nn.Linear(2, 2), 5, "multiply_adds"),
        (UNITS["gau"](causal=True), 0, "T=0"),
        (UNITS["gau"](causal=True), 2.5, "T=2.5"),
    ],
)
def test_what_cannot_be_counted_is_refused_in_one_line(model, T, words):
    with pytest.raises(ValueError, match=words) as error:
        count_multiply_adds(model, T)
    assert "\n" not in str(error.value)


# ---------------------------------------------------------------- sizes of states


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("T", [3, 4, 14])
def test_state_sizes_are_those_of_the_real_states(architecture, T):
    c = config(architecture)
    model = LanguageModel(c)
    with torch.no_grad():
        _, state = model.prefill(torch.zeros(1, T, dtype=torch.long))
        assert count_state_numbers(c, T) == count_state_numbers(model, T) == state.numel()
        _, state = model.step(torch.zeros(1, dtype=torch.long), state)
    assert count_state_numbers(c, T + 1) == state.numel()


def test_a_unit_of_your_own_keeps_its_inputs():
    model = LanguageModel(ModelConfig(OwnUnit, vocab_size=11, dim=D, depth=2))
    _, state = model.prefill(torch.zeros(1, 6, dtype=torch.long))
    assert count_state_numbers(model, 6) == state.numel()


def test_kept_are_the_arrays_that_the_backward_pass_needs_and_not_the_inputs():
    x, y = (torch.randn(3, 5, requires_grad=True) for _ in range(2))
    assert kept_bytes(torch.mul, x, y) == 0
    assert kept_bytes(lambda x: x.relu().square().exp(), x) == 2 * x.nbytes  # r, and what exp gave
    assert kept_bytes(lambda x: x[:2] * x[1:], x) == 0  # pieces of an input are the input
