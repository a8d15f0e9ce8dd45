"""The NumPy reference: loops equal vectorised, and the properties that the paper's equations promise."""

import ast
import math

import numpy as np
import pytest
from unit_cases import (
    READINGS,
    STEADY,
    C,
    T,
    causal_units,
    documents,
    every_unit,
    features,
    how_to_read,
    make,
    reference_of,
    run_reference,
)

from flash_tutorial import reference as ref
from flash_tutorial.check import branch_error

pytestmark = pytest.mark.quick

D, E, S = 6, 10, 4  # of the parts
STEPS = {
    ref.gau: ref.gau_step,
    ref.flash: ref.flash_step,
    ref.transformer_block: ref.transformer_step,
}


def sequence(length, seed=1):
    return features(length, batch=1, seed=seed)[0].numpy()


def right_padded(T, padding):
    return np.arange(T) < T - padding


def relative(a, b, x):
    """||a - b|| / ||b - x||: the difference over the branch."""
    assert 0.1 < np.std(b - x) < 10
    return np.linalg.norm(a - b) / np.linalg.norm(b - x)


def close(a, b, bound=1e-12):
    np.testing.assert_allclose(a, b, rtol=bound, atol=bound * max(np.abs(b).max(), 1e-30))


both_ways = pytest.mark.parametrize("causal", [True, False])


# ---- the parts ----


def test_reference_imports_only_numpy_and_math():
    with open(ref.__file__) as file:
        tree = ast.parse(file.read())
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert all(isinstance(node, ast.Import) for node in nodes)
    assert {alias.name for node in nodes for alias in node.names} == {"math", "numpy"}


def test_activations_equal_their_formulas():
    for value in (-3.0, -0.5, 0.0, 0.7, 2.0):
        close(ref.silu(np.array(value)), value / (1 + math.exp(-value)))
        close(ref.gelu(np.array(value)), value * 0.5 * math.erfc(-value / math.sqrt(2)))
        close(ref.relu2(np.array(value)), value**2 if value > 0 else 0.0)
    close(ref.gelu(np.array([1.0])), [0.8413447460685429])  # the tanh form gives 0.84119


def test_norms_equal_their_loops_and_keep_eps_under_the_root():
    rng = np.random.default_rng(0)
    x, gain, offset = rng.normal(size=(5, D)), rng.normal(size=D), rng.normal(size=D)
    close(ref.scale_norm(x, 1.7), ref.scale_norm_loops(x, 1.7))
    close(ref.layer_norm(x, gain, offset), ref.layer_norm_loops(x, gain, offset))
    small = np.array([0.003, -0.001])  # mean square 5e-6, half of eps
    close(ref.scale_norm(small, 2.0), 2 * small / math.sqrt(1.5e-5))
    close(
        ref.layer_norm(small, np.ones(2), np.zeros(2)),
        np.array([0.002, -0.002]) / math.sqrt(1.4e-5),
    )


def test_scaled_sin_holds_sines_then_cosines():
    table = ref.scaled_sin(7, D)
    close(table, ref.scaled_sin_loops(7, D))
    assert table.shape == (7, D)
    close(table[3, 1], math.sin(3 * 10000 ** (-1 / 3)))
    close(table[3, 4], math.cos(3 * 10000 ** (-1 / 3)))


def test_rope_pairs_halves_and_keeps_only_distances():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(9, S))
    close(ref.rope(x), ref.rope_loops(x))
    close(ref.rope(x, first=5), ref.rope_loops(x, first=5))
    close(ref.rope(np.stack([x, 2 * x]))[1], 2 * ref.rope(x))
    angle = 8 * 10000 ** (-1 / 2)  # position 8, second of two frequencies
    close(ref.rope(x)[8, 1], x[8, 1] * math.cos(angle) - x[8, 3] * math.sin(angle))
    close(ref.rope(x)[8, 3], x[8, 3] * math.cos(angle) + x[8, 1] * math.sin(angle))
    q, k = rng.normal(size=(2, 1, S))
    close(ref.rope(q, 11) @ ref.rope(k, 4).T, ref.rope(q, 907) @ ref.rope(k, 900).T)
    with pytest.raises(ValueError, match="width 5 is odd"):
        ref.rope(rng.normal(size=(3, 5)))


@pytest.mark.parametrize("n", [2, 3, 8, 9])
def test_toeplitz_bias_equals_the_papers_pad_tile_slice(n):
    weights = np.random.default_rng(n).normal(size=2 * n - 1)
    bent = np.tile(np.pad(weights, (0, n)), n)[:-n].reshape(n, 3 * n - 2)
    # Code 4 with r = (2n-1)//2 = n-1
    close(ref.toeplitz_bias(weights, n), bent[:, n - 1 : -(n - 1)])
    close(ref.toeplitz_bias(weights, n), ref.toeplitz_bias_loops(weights, n))


def test_toeplitz_bias_keeps_distances_at_a_shorter_length_and_refuses_a_longer():
    weights = np.arange(9.0)  # n = 5
    assert ref.toeplitz_bias(weights, 5)[1, 3] == weights[(3 - 1) + 4]
    close(ref.toeplitz_bias(weights, 3), ref.toeplitz_bias(weights, 5)[:3, :3])
    assert ref.toeplitz_bias(np.array([2.5]), 1) == [[2.5]]
    for call in (ref.toeplitz_bias, ref.toeplitz_bias_loops):
        with pytest.raises(ValueError, match=r"length 6 .* 5 positions.*rotary"):
            call(weights, 6)
    with pytest.raises(ValueError, match="rotary"):
        reference_of(make("gau", True))(sequence(2 * T + 1))


def test_rotary_bias_depends_on_the_distance_only():
    a, b = np.random.default_rng(0).normal(size=(2, S))
    bias = ref.rotary_bias(a, b, 9)
    close(bias, ref.rotary_bias_loops(a, b, 9))
    for distance in range(-8, 9):
        close(np.diag(bias, distance), np.full(9 - abs(distance), np.diag(bias, distance)[0]))
    assert abs(bias[0, 3] - bias[3, 0]) > 0.01  # before and after are not the same
    # a_k, b_k as complex numbers: each frequency is a wave |a_k| |b_k| cos(distance theta_k + phase).
    pairs_a, pairs_b = (
        a[:2] + 1j * a[2:],
        b[:2] + 1j * b[2:],
    )
    waves = pairs_a.conj() * pairs_b * np.exp(1j * 3 * 10000 ** (-np.arange(2) / 2))
    close(bias[2, 5], waves.real.sum())


@both_ways
def test_attention_functions_equal_their_loops(causal):
    rng = np.random.default_rng(0)
    q, k, v, bias = (
        rng.normal(size=(7, S)),
        rng.normal(size=(7, S)),
        rng.normal(size=(7, E)),
        rng.normal(size=(7, 7)),
    )
    who = ref.tokens_and_documents(7, right_padded(7, 2), [0, 0, 1, 1, 1, 7, 7])
    sees = ref.visible_pairs(*who, causal)
    assert np.array_equal(sees, ref.visible_pairs_loops(*who, causal))
    assert not sees[5:].any()  # padding has no document
    close(
        ref.softmax_attention(q, k, v, sees, bias), ref.softmax_attention_loops(q, k, v, sees, bias)
    )
    close(
        ref.relu2_attention(q, k, v, 3, sees, bias),
        ref.relu2_attention_loops(q, k, v, 3, sees, bias),
    )
    assert not ref.softmax_attention(q, k, v, sees)[5:].any()  # no key: zero, not NaN
    close(ref.softmax_attention(q, k, np.ones((7, 1)), sees, 100 * bias)[:5], np.ones((5, 1)))


def test_linear_attention_parallel_equals_loops_and_rnn():
    rng = np.random.default_rng(0)
    q, k, v = rng.normal(size=(9, S)), rng.normal(size=(9, S)), rng.normal(size=(9, E))
    for causal in (True, False):
        close(
            ref.linear_attention(q, k, v, causal=causal),
            ref.linear_attention_loops(q, k, v, causal=causal),
        )
    state, steps = np.zeros((S, E)), []
    for t in range(9):
        out, state = ref.linear_attention_step(state, q[t], k[t], v[t])
        steps.append(out)
    close(np.array(steps), ref.linear_attention(q, k, v, causal=True))
    close(state, k.T @ v)


# ---- loops = vectorised, over every option ----


@every_unit
def test_every_unit_equals_its_loops(name, causal):
    unit = make(name, causal)
    for length, which in (*((T, which) for which in READINGS), (C - 1, "both"), (1, "all")):
        x, how = features(length), how_to_read(which, length)
        y, loops = run_reference(unit, x, **how), run_reference(unit, x, **how, loops=True)
        assert branch_error(loops, y, x) <= 1e-12, (length, which)


# ---- values by hand: loops and vectorised share norm, activation, the dense layers and the order of columns ----


def normed(y, p, name):
    """ScaleNorm, or LayerNorm where there is an offset."""
    y = y - y.mean() if f"{name}_offset" in p else y
    return y / math.sqrt(np.mean(y**2) + 1e-5) * p[f"{name}_gain"] + p.get(f"{name}_offset", 0)


@pytest.mark.parametrize("name", ["gau", "flash"])
def test_gau_and_flash_of_one_token_by_hand(name):
    x, unit = sequence(1), make(name, False)
    p = unit.to_numpy()
    pre = normed(x[0], p, "norm") @ p["in_weight"] + p["in_bias"]
    u, v, z = np.split(pre / (1 + np.exp(-pre)), [unit.expanded, 2 * unit.expanded])
    heads = z * p["gamma"] + p["beta"]  # position 0 does not turn
    n = C if name == "flash" else T
    bias = p["bias_weights"][len(p["bias_weights"]) // 2]
    weight = max(heads[0] @ heads[1] / n + bias, 0) ** 2
    own = heads[2] @ heads[3] if name == "flash" else 0
    expected = x[0] + (u * (weight + own) * v) @ p["out_weight"] + p["out_bias"]
    close(reference_of(unit)(x)[0], expected)


def test_the_first_chunk_reads_no_earlier_one():
    unit, x = make("flash, global only", True), sequence(1)
    close(reference_of(unit)(x), x + unit.to_numpy()["out_bias"])


@pytest.mark.parametrize(
    "name, causal", [("transformer", True), ("transformer++", True), ("mc_transformer++", False)]
)
def test_transformer_blocks_of_one_token_by_hand(name, causal):
    """Softmax over itself gives v; the linear part of each head adds (lin_q . lin_k) v."""
    unit, x = make(name, causal), sequence(1)[0]
    p = unit.to_numpy()
    q, k, v = np.split(normed(x, p, "norm1") @ p["qkv_weight"] + p["qkv_bias"], 3)
    mixed = v
    if "mc" in name:
        match = (q * p["gamma"][0] + p["beta"][0]) * (k * p["gamma"][1] + p["beta"][1])
        own = match.reshape(unit.heads, -1).sum(1)
        mixed = v + np.repeat(own, len(v) // unit.heads) * v
    y = x + mixed @ p["attn_out_weight"] + p["attn_out_bias"]
    h = normed(y, p, "norm2") @ p["ff_in_weight"] + p["ff_in_bias"]
    gate, value = (h, 1) if name == "transformer" else np.split(h, 2)
    expected = y + (ref.gelu(gate) * value) @ p["ff_out_weight"] + p["ff_out_bias"]
    close(reference_of(unit)(x[None])[0], expected)


def test_relu2_divides_by_valid_tokens_and_softmax_ignores_the_length_scale():
    x, p, mask = sequence(9), make("gau", False).to_numpy(), right_padded(9, 4)
    for how, n in (({}, 9), ({"mask": mask}, 5)):
        close(
            ref.gau(x, p, causal=False, **how), ref.gau(x, p, causal=False, length_scale=n, **how)
        )
    softmax = dict(causal=False, attention="softmax")
    assert np.array_equal(ref.gau(x, p, **softmax), ref.gau(x, p, length_scale=3, **softmax))


def test_global_part_counts():
    """Where q = k = v = 1 it is the number of tokens read, over the divisor."""

    def close_to(expected, *how, mask=None, ids=None):
        one = np.ones((len(expected), 1))
        where = ref.tokens_and_documents(len(one), mask, ids)
        got = ref.global_part(one, one, one, *where, *how)[:, 0]
        valid = slice(None) if mask is None else mask
        close(got[valid], np.array(expected)[valid])

    close_to([0] * 4 + [4] * 4 + [8] * 2, True, 4, "sum")
    close_to([0] * 4 + [1] * 6, True, 4, "mean")
    close_to([10] * 10, False, 4, "sum")
    close_to([1] * 10, False, 4, "mean")  # the short tail counts its own length
    close_to([1] * 10, False, 4, "mean", mask=right_padded(10, 3))  # padding is not in the divisor
    ids = [0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 2, 2]
    close_to([0] * 4 + [1] * 4 + [5, 5, 0, 0], True, 4, "sum", ids=ids)
    close_to([0] * 4 + [1 / 4] * 4 + [5 / 8, 5 / 8, 0, 0], True, 4, "mean", ids=ids)
    close_to([3 / 4] * 3 + [7 / 12] * 7 + [2 / 4] * 2, False, 4, "mean", ids=ids)
    padded = [3 / 4] * 3 + [7 / 11] * 7 + [1 / 3] * 2
    close_to(padded, False, 4, "mean", mask=right_padded(12, 1), ids=ids)


# ---- padding: other properties are those of the torch units, which are held to these numbers ----


@causal_units
def test_ids_of_padding_are_never_looked_at_and_padding_alone_is_finite(name):
    run, x, mask = reference_of(make(name, False)), sequence(T), right_padded(T, 4)
    ids = documents()[0].numpy()
    other = np.where(mask, ids, np.resize([-7, 5, 3, 8, 1], T))
    y = run(x, mask=mask, segment_ids=ids)
    assert np.array_equal(run(x, mask=mask, segment_ids=other), y)
    assert np.isfinite(run(x, mask=np.zeros(T, bool))).all()


# ---- FLASH against its relatives ----


def test_segment_mask_by_overlap():
    ids = np.array([[0, 0, 0], [0, 0, 1], [1, 1, 2], [3, 3, 3]])
    both = [[1 / 2, 1 / 2, 0, 0], [1 / 3, 1 / 3, 1 / 3, 0], [0, 1 / 2, 1 / 2, 0], [0, 0, 0, 1]]
    close(ref.segment_mask_by_overlap(ids, False), np.array(both))
    earlier = [[0, 0, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]]
    close(ref.segment_mask_by_overlap(ids, True), earlier)
    rng = np.random.default_rng(0)
    ids = np.sort(rng.integers(0, 5, size=21)).reshape(7, 3)
    for causal in (True, False):
        loops = ref.segment_mask_by_overlap_loops(ids, causal)
        close(ref.segment_mask_by_overlap(ids, causal), loops)


@both_ways
def test_code_8_is_flash_where_documents_end_with_chunks_and_links_them_elsewhere(causal):
    p = make("flash", causal).to_numpy()
    x, how = sequence(5 * C), dict(params=p, causal=causal, chunk_size=C)
    for ids in (np.zeros(5 * C, int), np.repeat([0, 1], [2 * C, 3 * C])):
        strict = ref.flash(x, segment_ids=ids, **how)
        assert relative(ref.flash_code8(x, segment_ids=ids, **how), strict, x) < 1e-12
    ids = np.repeat([0, 1], [2 * C - 1, 3 * C + 1])
    code8 = ref.flash_code8(x, segment_ids=ids, **how)
    other = np.where(ids[:, None] == 0, x + sequence(5 * C, seed=5), x)
    linked = ref.flash_code8(other, segment_ids=ids, **how)
    rest = slice(2 * C, None)
    assert relative(linked[rest], code8[rest], x[rest]) > 1e-3  # document 1 has read document 0
    with pytest.raises(ValueError, match="20 is not a multiple of chunk_size 6"):
        ref.flash_code8(x, segment_ids=ids, **how | {"chunk_size": 6})


# ---- one token at a time ----


@pytest.mark.parametrize("name", [name for name in STEADY if "mc" not in name])
def test_steps_equal_the_parallel_form(name):
    unit, x = make(name, True), sequence(T)
    parallel = reference_of(unit)
    options = {k: v for k, v in parallel.keywords.items() if k != "causal"}
    state = {"k": [], "v": []}
    if parallel.func is ref.flash:
        state = ref.flash_state(options["params"])
    steps = []
    for x_D in x:
        steps.append(STEPS[parallel.func](x_D, state=state, **options))
        if parallel.func is ref.flash:
            assert max(len(state[name]) for name in ("quad_k", "lin_k", "v")) < unit.chunk_size
    assert relative(np.array(steps), parallel(x), x) < 1e-12


def test_a_step_needs_a_fixed_length_scale():
    with pytest.raises(ValueError, match="length_scale None"):
        ref.gau_step(sequence(1)[0], make("gau", True).to_numpy(), {"k": [], "v": []})


# ---- what is wrong is said ----


@pytest.mark.parametrize("name", ["gau", "flash", "transformer", "mc_transformer++"])
def test_bad_masks_and_ids_are_refused(name):
    x, run = sequence(6), reference_of(make(name, False))
    bad = {
        "after padding": {"mask": [False, True, True, True, True, True]},
        "token at 5 after padding": {"mask": [True, True, False, True, True, True]},
        "of its own document": {
            "mask": [True, True, False, True, True, True],
            "segment_ids": [0, 1, 1, 1, 2, 2],
        },
        "other numbers than 0 and 1": {"mask": [1, 1, 2, 1, 0, 0]},
        r"shape \(5,\)": {"mask": [True] * 5},
        "falls from 2": {"segment_ids": [0, 0, 2, 1, 1, 1]},
        r"shape \(1, 6\)": {"segment_ids": [[0] * 6]},
    }
    for message, options in bad.items():
        with pytest.raises(ValueError, match=message):
            run(x, **options)
    with pytest.raises(ValueError, match="empty"):
        run(x[:0])
    with pytest.raises(ValueError, match=r"shape \(1, 6, 12\), expected \(T, D\)"):
        run(x[None])


@pytest.mark.parametrize(
    "name, options, said",
    [
        ("flash", dict(combine="average"), "combine 'average' is unknown: give one of mean, sum"),
        ("gau", dict(attention="relu"), "attention 'relu' is unknown"),
        ("flash, no bias", dict(chunk_size=0), "chunk_size 0"),
        ("transformer", dict(heads=5), "width 12 does not split into 5 heads"),
    ],
)
def test_unknown_options_are_refused(name, options, said):
    with pytest.raises(ValueError, match=said):
        reference_of(make(name, True))(sequence(6), **options)
