"""Bytes that a step moves and keeps on a card, counted on fake tensors: `flash_course/bench/traffic.py`."""

import importlib.util
from functools import cache

import pytest

from flash_course.bench.traffic import (
    PURPOSES,
    Traffic,
    base,
    count_traffic,
    level,
    times_the_products,
)
from flash_tutorial import ModelConfig

GB = 1e9
HAS_TRITON = importlib.util.find_spec("triton") is not None


@cache
def counted(architecture, T, backend=None):
    config, units = base(architecture, T, backend)
    return count_traffic(config, T), units


def test_torch_keeps_what_derivatives_ask_for_and_little_more():
    """37.0 GB a step; below, what asks for each of them. What was gated is not among them: it is multiplied again."""
    D, E, S, C = 768, 1536, 128, 256
    half, single = 2, 4
    bytes_a_token = [
        single * D,  # x: the norm
        half * D,  # the normed x: the weight of the product behind it
        half * (2 * E + S),  # that product: SiLU
        half * (2 * E + S),  # u, v, z: the gate's product, both parts, scale and offset
        half * 4 * S,  # the four rotated heads: the products of both parts
        half * C,  # relu of the scores: relu^2, and the product with v
        half * S * E // C,  # the sum of K^T V that a chunk reads: its product with the query
        half * E,  # what was mixed: the gate's product
    ]
    found, units = counted("flash", 8192, "torch")
    assert units * found.moved < 520 * GB
    asked = units * 65_536 * sum(bytes_a_token)
    assert asked == pytest.approx(37.0 * GB, rel=2e-3)
    assert asked < units * found.kept < 1.02 * asked < 40 * GB
    gated = 65_536 * half * E  # the input of the last weight, which a compiler finds kept
    last_weight = half * E * D  # in half precision: made anew as well
    assert found.plain.kept - found.kept == gated + last_weight
    assert found.moved - found.plain.moved == pytest.approx(3 * gated, rel=0.02)


@pytest.mark.skipif(not HAS_TRITON, reason="Triton has no wheel for this system")
def test_a_step_of_the_base_model_by_the_kernels():
    found, units = counted("flash", 8192, "triton")
    assert units * found.moved < 300 * GB
    assert units * found.kept < 26 * GB


def test_a_dense_layer_is_counted_as_on_paper():
    """FLOPs of the products of one unit: three times those of the forward pass."""
    found, _ = counted("flash", 8192, "torch")
    D, E, S, C, tokens = 768, 1536, 128, 256, 65_536
    dense = 2 * tokens * (D * (2 * E + S) + E * D)
    near = 2 * tokens * C * (S + E)  # torch multiplies whole maps of a chunk
    far = 2 * tokens * 2 * S * E
    state = 2 * tokens // C * (8192 // C) * S * E  # the triangular product that sums over chunks
    flops = sum(n for _, _, n in found.operations)
    assert flops == pytest.approx(3 * (dense + near + far + state), rel=1e-2)


def test_flash_costs_the_same_at_every_length_and_attention_does_not():
    for name, least, most in (("transformer++", 1.3, 10), ("flash", 0.9, 1.01)):
        short, long = (counted(name, T)[0].seconds("H100") for T in (512, 8192))
        assert least * short < long < most * short


def test_bytes_by_purpose_are_those_of_the_operations_in_the_unit():
    """Elementwise, in half precision unless it says otherwise: how often each array goes to memory or comes from it."""
    D, E, S, C, tokens = 768, 1536, 128, 256, 65_536
    found, _ = counted("flash", 8192, "torch")
    purposes = found.by_purpose(base("flash", 8192, "torch")[0])
    assert sum(purposes.values()) == found.moved and [*purposes] == [*PURPOSES]
    rows = {name: n / (2 * tokens) for name, n in purposes.items()}  # numbers a token, of two bytes
    # near + far, and the gradients of v through both
    assert rows["near + far"] == pytest.approx(6 * E)
    silu = 2 * (2 * E + S)
    back = 3 * (2 * E + S)
    assert rows["gate"] == pytest.approx(silu + back + silu + 4 * 3 * E, rel=1e-3)
    # relu, square, its slope, 1 / C, bias
    assert rows["relu²"] == pytest.approx((2 + 3 + 3 + 3 + 1) * C, rel=0.03)
    # heads, by the four of them in float32: from z; RoPE, forward and backward, a product and a second one added to it;
    # to half precision and back; gradients put together; scale and offset backward; five times one head in halves
    heads = 1.125 + 4 * (1 + 1.5) + 2 * 1.5 + 1 + (2 + 2.125 + 1 + 1.25 + 0.375 + 1) + 5 * 0.25
    assert rows["heads"] == pytest.approx(heads * 4 * S * 2, rel=0.02)  # and tables of RoPE
    # x and its gradient are float32; from and to half precision: copies, norm, residual
    assert rows["norm and residual"] == pytest.approx((3 * 3 + 10 + 11) * D, rel=2e-3)
    of_attention = counted("transformer++", 8192)[0].by_purpose(base("transformer++", 8192)[0])
    assert of_attention["relu²"] == of_attention["near + far"] == 0 < of_attention["products"]


def test_slow_products_are_those_inside_attention():
    products = [("mm", 0, 600e12), ("mix", 0, 600e12)]
    found = Traffic([*products, ("_scaled_dot_product_x", 2.8e12, 600e12)])
    assert found.seconds("H100") == pytest.approx(3)
    assert found.seconds("H100", slow=2) == pytest.approx(5)
    # bytes hide it
    assert Traffic([("mix", 2 * 2.8e12, 600e12)]).seconds("H100", slow=2) == pytest.approx(2)


def test_products_of_a_kernel_are_counted_tile_by_tile():
    C, S, E, M = 512, 8, 48, 64
    values = (
        sum(top + M for top in range(0, C, M)) * M
    )  # pairs of tiles on the diagonal and left of it
    scores = sum(top + 128 for top in range(0, C, 128)) * 128  # of what is written
    made = scores * S + values * E
    needed = sum((S + E) * (i + 1) for i in range(C))
    assert times_the_products(C, S, E, M) == pytest.approx(made / needed)


def test_rows_are_level_where_they_meet():
    assert level([1, 2, 4], [5, 5, 5], [3, 4, 8]) == pytest.approx(2.5)
    assert level([1, 2], [5, 6], [4, 8]) == pytest.approx(1 + 1 / 3)


def chain(*operations):
    """Traffic of (name, pieces read, pieces written); each piece has ten bytes."""
    found = Traffic()
    for name, read, written in operations:
        found.operations.append((name, 10 * len(read + written), 0))
        found.tensors.append(
            tuple({(piece, 0, (5,)): 10 for piece in pieces} for pieces in (read, written))
        )
    return found


def test_merged_a_run_of_elementwise_operations_reads_once_and_writes_what_is_read_behind_it():
    merged = chain(
        ("mul", "ab", "c"),
        ("silu", "c", "d"),
        ("add", "ad", "e"),  # reads a, b; writes d, for the last, and e
        ("mm", "ew", "f"),
        ("mul", "fd", "g"),  # nobody reads g: it is what comes out
    ).merged()
    assert merged.operations == [("element-wise", 40, 0), ("mm", 30, 0), ("element-wise", 30, 0)]


@pytest.mark.parametrize("architecture", ["flash", "transformer++"])
def test_merged_the_products_stay_and_bytes_go(architecture):
    found, _ = counted(architecture, 2048, "torch" if architecture == "flash" else None)
    merged = found.merged()
    assert 0.5 * found.moved < merged.moved < 0.8 * found.moved
    assert merged.kept == (found.plain or found).kept
    assert [o for o in found.operations if o[2]] == [o for o in merged.operations if o[2]]


def test_bytes_are_those_of_the_shapes():
    """A unit without a global part moves fewer, and half as many tokens move half as many."""
    config = ModelConfig("flash", dim=256, qk_dim=64, chunk_size=128, norm="scale", backend="torch")
    whole, half = (count_traffic(config, 1024, tokens).moved for tokens in (16_384, 8192))
    config.global_ = False
    assert count_traffic(config, 1024, 16_384).moved < whole
    weights = 5 * 4 * (256 * (4 * 256 + 64) + 512 * 256)  # read and cast; their gradients
    assert whole == pytest.approx(2 * half, abs=4 * weights)


@pytest.mark.nightly
@pytest.mark.skipif(not HAS_TRITON, reason="Triton has no wheel for this system")
def test_what_the_crossover_of_lecture_11_rests_on():
    """The kernels against a compiled baseline on an H100, if only one side's own products are slow."""
    lengths = (2048, 8192, 16_384)
    repeated = 2 * times_the_products(C=256, S=128, E=1536, M=64)

    def milliseconds(slow, *model):
        return [1e3 * units * found.seconds("H100", slow) for found, units in model]

    kernels = [counted("flash", T, "triton") for T in lengths]
    baseline = [(counted("transformer++", T)[0].merged(), 12) for T in lengths]
    assert counted("transformer++", 2048)[1] == 12
    for ours, theirs, crossover in ((1, 1, 7200), (1, 2, 3600), (repeated, 1, 7200)):
        found = level(lengths, milliseconds(ours, *kernels), milliseconds(theirs, *baseline))
        assert found == pytest.approx(crossover, rel=0.02)
