"""The NumPy reference: loops equal vectorised, and the properties that the paper's equations promise."""

import ast
import math

import numpy as np
import pytest

from flash_tutorial import reference as ref

pytestmark = pytest.mark.quick

D, E, S, HEADS = 6, 10, 4, 3
# borders inside chunks, at chunk borders, and a document over several chunks
DOCUMENTS = [3] * 6 + [5] * 3 + [9] * 12


def dense(rng, rows, columns):
    return rng.normal(size=(rows, columns)) / math.sqrt(rows)


def norm_params(rng, kind, name):
    if kind == "scale":
        return {f"{name}_gain": np.array({"norm": 1.3, "norm1": 1.2, "norm2": 0.8}[name])}
    return {f"{name}_gain": rng.normal(size=D), f"{name}_offset": rng.normal(size=D)}


def unit_params(heads, bias="toeplitz", n=21, norm="scale", seed=11):
    """Order-one parameters of GAU (2 heads) or FLASH (4 heads)."""
    rng = np.random.default_rng(seed)
    params = norm_params(rng, norm, "norm") | {
        "in_weight": dense(rng, D, 2 * E + S),
        "in_bias": rng.normal(size=2 * E + S),
        "gamma": rng.normal(size=(heads, S)),
        "beta": rng.normal(size=(heads, S)),
        "out_weight": dense(rng, E, D),
        "out_bias": rng.normal(size=D),
    }
    if bias == "toeplitz":
        params["bias_weights"] = rng.normal(size=2 * n - 1)
    elif bias == "rotary":
        params |= {"bias_a": rng.normal(size=S), "bias_b": rng.normal(size=S)}
    return params


def block_params(glu, norm="scale", seed=0, width=12):
    """Order-one parameters of the Transformer blocks, gamma and beta of MC-Transformer++ included."""
    rng = np.random.default_rng(seed)
    return (
        norm_params(rng, norm, "norm1")
        | norm_params(rng, norm, "norm2")
        | {
            "qkv_weight": dense(rng, D, 3 * D),
            "qkv_bias": rng.normal(size=3 * D),
            "attn_out_weight": dense(rng, D, D),
            "attn_out_bias": rng.normal(size=D),
            "ff_in_weight": dense(rng, D, width * (1 + glu)),
            "ff_in_bias": rng.normal(size=width * (1 + glu)),
            "ff_out_weight": dense(rng, width, D),
            "ff_out_bias": rng.normal(size=D),
            "gamma": rng.normal(size=(2, D)),
            "beta": rng.normal(size=(2, D)),
        }
    )


def sequence(T, seed=1):
    return np.random.default_rng(seed).normal(size=(T, D))


def right_padded(T, padding):
    return np.arange(T) < T - padding


def relative(a, b, x):
    """||a - b|| / ||b - x||: the difference over the branch."""
    assert 0.1 < np.std(b - x) < 10
    return np.linalg.norm(a - b) / np.linalg.norm(b - x)


def close(a, b, bound=1e-12):
    np.testing.assert_allclose(a, b, rtol=bound, atol=bound * max(np.abs(b).max(), 1e-30))


UNITS = {
    "gau": lambda x, **k: ref.gau(x, unit_params(2), causal=False, **k),
    "gau softmax": lambda x, **k: ref.gau(
        x, unit_params(2), causal=False, attention="softmax", **k
    ),
    "flash": lambda x, **k: ref.flash(x, unit_params(4), causal=False, chunk_size=4, **k),
    "transformer": lambda x, **k: ref.transformer_block(
        x, block_params(True), causal=False, heads=HEADS, glu=True, rope=True, **k
    ),
    "mc_transformer++": lambda x, **k: ref.mc_transformer_block(
        x, block_params(True), causal=False, heads=HEADS, chunk_size=4, **k
    ),
}
every_unit = pytest.mark.parametrize("unit", UNITS)
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
        ref.gau(sequence(6), unit_params(2, n=5), causal=True)


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

CONTEXTS = [{}, {"padding": 4}, {"documents": True}, {"padding": 4, "documents": True}]


def context(T, padding=0, documents=False):
    """Keyword arguments: `padding` tokens on the right (at least one stays valid), the ids of DOCUMENTS."""
    options = {"mask": right_padded(T, min(padding, T - 1))} if padding else {}
    return options | ({"segment_ids": DOCUMENTS[:T]} if documents else {})


@both_ways
@pytest.mark.parametrize("kind", CONTEXTS)
@pytest.mark.parametrize("options", [{}, {"length_scale": 7}, {"attention": "softmax"}])
@pytest.mark.parametrize("bias,norm", [("toeplitz", "scale"), ("rotary", "layer"), (None, "scale")])
def test_gau_equals_its_loops(causal, kind, options, bias, norm):
    for T in (1, 9):
        x, params, options_T = (
            sequence(T),
            unit_params(2, bias, norm=norm),
            options | context(T, **kind),
        )
        y = ref.gau(x, params, causal=causal, **options_T)
        assert relative(ref.gau_loops(x, params, causal=causal, **options_T), y, x) < 1e-12


@both_ways
@pytest.mark.parametrize("kind", CONTEXTS)
@pytest.mark.parametrize("options", [{}, {"combine": "sum"}, {"local": False}, {"global_": False}])
@pytest.mark.parametrize("T,C", [(3, 5), (13, 4), (15, 5), (6, 1)])
def test_flash_equals_its_loops(causal, kind, options, T, C):
    x, options = sequence(T), options | context(T, **kind)
    for bias, norm in (("toeplitz", "layer"), ("rotary", "scale")):
        params = unit_params(4, bias, C, norm)
        y = ref.flash(x, params, causal=causal, chunk_size=C, **options)
        assert (
            relative(ref.flash_loops(x, params, causal=causal, chunk_size=C, **options), y, x)
            < 1e-12
        )


@both_ways
@pytest.mark.parametrize("kind", CONTEXTS)
@pytest.mark.parametrize("norm", ["scale", "layer"])
def test_transformer_blocks_equal_their_loops(causal, kind, norm):
    for glu, rope in ((False, False), (False, True), (True, True)):
        x, params = sequence(13), block_params(glu, norm)
        options = dict(causal=causal, heads=HEADS, glu=glu, rope=rope, **context(13, **kind))
        y = ref.transformer_block(x, params, **options)
        assert relative(ref.transformer_block_loops(x, params, **options), y, x) < 1e-12
    for T, C in ((13, 4), (3, 5), (5, 1)):
        x, params = sequence(T), block_params(True, norm)
        options = dict(causal=causal, heads=HEADS, chunk_size=C, **context(T, **kind))
        y = ref.mc_transformer_block(x, params, **options)
        assert relative(ref.mc_transformer_block_loops(x, params, **options), y, x) < 1e-12


# ---- values by hand: loops and vectorised share norm, activation, the dense layers and the order of columns ----


def test_gau_and_flash_of_one_token_by_hand():
    x, C = sequence(1), 4
    for heads in (2, 4):
        p = unit_params(heads, n=C)
        normed = x[0] / math.sqrt(np.mean(x[0] ** 2) + 1e-5) * 1.3
        pre = normed @ p["in_weight"] + p["in_bias"]
        u, v, z = (lambda h: (h[:E], h[E : 2 * E], h[2 * E :]))(pre / (1 + np.exp(-pre)))
        head = [z * p["gamma"][i] + p["beta"][i] for i in range(heads)]  # position 0 does not turn
        weight = max(head[0] @ head[1] / C + p["bias_weights"][C - 1], 0) ** 2
        own = {2: 0, 4: head[-2] @ head[-1]}[heads]
        if heads == 2:
            y = ref.gau(x, p, causal=False, length_scale=C)
        else:
            y = ref.flash(x, p, causal=False, chunk_size=C)
        close(y[0], x[0] + (u * (weight + own) * v) @ p["out_weight"] + p["out_bias"])
    alone = ref.flash(x, p, causal=True, chunk_size=C, local=False)
    close(alone, x + p["out_bias"])  # strictly earlier chunks: none


def block_by_hand(x, p, glu, linear=False):
    """One token: softmax over itself gives v; with `linear` each head adds (lin_q . lin_k) v."""
    rms_norm = lambda y, gain: y / math.sqrt(np.mean(y**2) + 1e-5) * gain  # noqa: E731
    q, k, v = np.split(rms_norm(x, 1.2) @ p["qkv_weight"] + p["qkv_bias"], 3)
    match = (q * p["gamma"][0] + p["beta"][0]) * (k * p["gamma"][1] + p["beta"][1]) * linear
    mixed = v + np.repeat(match.reshape(HEADS, -1).sum(1), D // HEADS) * v
    y = x + mixed @ p["attn_out_weight"] + p["attn_out_bias"]
    h = rms_norm(y, 0.8) @ p["ff_in_weight"] + p["ff_in_bias"]
    h = ref.gelu(h[:12]) * h[12:] if glu else ref.gelu(h)
    return y + h @ p["ff_out_weight"] + p["ff_out_bias"]


def test_transformer_blocks_of_one_token_by_hand():
    x = sequence(1)
    for glu in (False, True):
        p = block_params(glu)
        y = ref.transformer_block(x, p, causal=True, heads=HEADS, glu=glu, rope=True)
        close(y[0], block_by_hand(x[0], p, glu))
    close(ref.mc_transformer_block(x, p, causal=True, heads=HEADS, chunk_size=4), y)
    both_parts = ref.mc_transformer_block(x, p, causal=False, heads=HEADS, chunk_size=4)
    close(both_parts[0], block_by_hand(x[0], p, True, linear=True))


def test_relu2_divides_by_valid_tokens_and_softmax_ignores_the_length_scale():
    x, params, mask = sequence(9), unit_params(2), right_padded(9, 4)
    close(ref.gau(x, params, causal=False), ref.gau(x, params, causal=False, length_scale=9))
    close(
        ref.gau(x, params, causal=False, mask=mask),
        ref.gau(x, params, causal=False, mask=mask, length_scale=5),
    )
    softmax = [
        ref.gau(x, params, causal=False, attention="softmax", length_scale=n) for n in (None, 3)
    ]
    assert np.array_equal(*softmax)


def ones_global(T, C, causal, combine, mask=None, segment_ids=None):
    """The global part where q = k = v = 1: the number of tokens read, over the divisor."""
    one = np.ones((T, 1))
    return ref.global_part(
        one, one, one, *ref.tokens_and_documents(T, mask, segment_ids), causal, C, combine
    )[:, 0]


def test_global_part_counts():
    close(ones_global(10, 4, True, "sum"), [0] * 4 + [4] * 4 + [8] * 2)
    close(ones_global(10, 4, True, "mean"), [0] * 4 + [1] * 6)
    close(ones_global(10, 4, False, "sum"), [10] * 10)
    close(ones_global(10, 4, False, "mean"), [1] * 10)  # the short tail counts its own length
    # padding is not in the divisor
    close(ones_global(10, 4, False, "mean", right_padded(10, 3))[:7], [1] * 7)
    ids = [0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 2, 2]
    close(ones_global(12, 4, True, "sum", segment_ids=ids), [0] * 4 + [1] * 4 + [5, 5, 0, 0])
    close(
        ones_global(12, 4, True, "mean", segment_ids=ids),
        [0] * 4 + [1 / 4] * 4 + [5 / 8, 5 / 8, 0, 0],
    )
    close(
        ones_global(12, 4, False, "mean", segment_ids=ids), [3 / 4] * 3 + [7 / 12] * 7 + [2 / 4] * 2
    )
    padded = ones_global(12, 4, False, "mean", right_padded(12, 1), ids)
    close(padded[:11], [3 / 4] * 3 + [7 / 11] * 7 + [1 / 3])


# ---- padding: other properties are those of the torch units, which are held to these numbers ----


@every_unit
def test_ids_of_padding_are_never_looked_at(unit):
    x, mask = sequence(15), right_padded(15, 4)
    ids = np.array(DOCUMENTS[:15])
    other = np.where(mask, ids, [-7, 5, 3, 8, 1] * 3)
    y = UNITS[unit](x, mask=mask, segment_ids=ids)
    assert np.array_equal(UNITS[unit](x, mask=mask, segment_ids=other), y)


@every_unit
def test_a_row_of_padding_only_is_finite(unit):
    assert np.isfinite(UNITS[unit](sequence(5), mask=np.zeros(5, bool))).all()


# ---- FLASH against its relatives ----


def test_segment_mask_by_overlap():
    ids = np.array([[0, 0, 0], [0, 0, 1], [1, 1, 2], [3, 3, 3]])
    mask = ref.segment_mask_by_overlap(ids, False)
    close(
        mask,
        np.array(
            [[1 / 2, 1 / 2, 0, 0], [1 / 3, 1 / 3, 1 / 3, 0], [0, 1 / 2, 1 / 2, 0], [0, 0, 0, 1]]
        ),
    )
    close(
        ref.segment_mask_by_overlap(ids, True),
        [[0, 0, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]],
    )
    rng = np.random.default_rng(0)
    ids = np.sort(rng.integers(0, 5, size=21)).reshape(7, 3)
    for causal in (True, False):
        close(
            ref.segment_mask_by_overlap(ids, causal), ref.segment_mask_by_overlap_loops(ids, causal)
        )


@both_ways
def test_code_8_is_flash_where_documents_end_with_chunks_and_links_them_elsewhere(causal):
    x, how = sequence(20), dict(params=unit_params(4, n=5), causal=causal, chunk_size=5)
    for ids in (np.zeros(20, int), np.repeat([0, 1], 10)):
        strict = ref.flash(x, segment_ids=ids, **how)
        assert relative(ref.flash_code8(x, segment_ids=ids, **how), strict, x) < 1e-12
    ids = np.array([0] * 7 + [1] * 13)
    code8 = ref.flash_code8(x, segment_ids=ids, **how)
    other = np.where(ids[:, None] == 0, x + sequence(20, seed=5), x)
    linked = ref.flash_code8(other, segment_ids=ids, **how)
    assert relative(linked[10:], code8[10:], x[10:]) > 1e-3  # document 1 has read document 0
    with pytest.raises(ValueError, match="20 is not a multiple of chunk_size 6"):
        ref.flash_code8(x, segment_ids=ids, **how | {"chunk_size": 6})


# ---- one token at a time ----


@pytest.mark.parametrize("C", [1, 4, 20])
@pytest.mark.parametrize("options", [{}, {"combine": "sum"}, {"local": False}, {"global_": False}])
def test_flash_steps_equal_the_parallel_form(C, options):
    x = sequence(15)
    for bias in ("toeplitz", "rotary"):
        params, largest = unit_params(4, bias, n=C), 0
        state, steps = ref.flash_state(params), []
        for x_D in x:
            steps.append(ref.flash_step(x_D, params, state, chunk_size=C, **options))
            largest = max(largest, *(len(state[name]) for name in ("quad_k", "lin_k", "v")))
        assert largest < C or C == 1
        assert state["chunks"] == 15 // C and state["kv_SE"].shape == (S, E)
        assert (
            relative(np.array(steps), ref.flash(x, params, causal=True, chunk_size=C, **options), x)
            < 1e-12
        )


def test_gau_steps_equal_the_parallel_form_at_a_fixed_length_scale():
    x = sequence(15)
    for bias, options in (("toeplitz", {"length_scale": 9}), ("rotary", {"attention": "softmax"})):
        params, state = unit_params(2, bias), {"k": [], "v": []}
        steps = np.array([ref.gau_step(x_D, params, state, **options) for x_D in x])
        assert relative(steps, ref.gau(x, params, causal=True, **options), x) < 1e-12
    with pytest.raises(ValueError, match="length_scale None"):
        ref.gau_step(x[0], params, {"k": [], "v": []})


def test_transformer_steps_equal_the_parallel_form():
    x = sequence(15)
    for glu, rope in ((False, False), (True, True)):
        params, state, how = (
            block_params(glu),
            {"k": [], "v": []},
            dict(heads=HEADS, glu=glu, rope=rope),
        )
        steps = np.array([ref.transformer_step(x_D, params, state, **how) for x_D in x])
        assert relative(steps, ref.transformer_block(x, params, causal=True, **how), x) < 1e-12


# ---- what is wrong is said ----


@every_unit
def test_bad_masks_and_ids_are_refused(unit):
    x, run = sequence(6), UNITS[unit]
    bad = {
        "after padding": {"mask": [False, True, True, True, True, True]},
        "token at 5 after padding": {"mask": [True, True, False, True, True, True]},
        r"shape \(5,\)": {"mask": [True] * 5},
        "falls from 2": {"segment_ids": [0, 0, 2, 1, 1, 1]},
        r"shape \(1, 6\)": {"segment_ids": [[0] * 6]},
    }
    for message, options in bad.items():
        with pytest.raises(ValueError, match=message):
            run(x, **options)
    with pytest.raises(ValueError, match="empty"):
        run(x[:0])
    with pytest.raises(ValueError, match=r"shape \(1, 6, 6\), expected \(T, D\)"):
        run(x[None])


def test_unknown_options_are_refused():
    x = sequence(6)
    with pytest.raises(ValueError, match="combine 'average' is unknown: give one of mean, sum"):
        ref.flash(x, unit_params(4), causal=True, chunk_size=4, combine="average")
    with pytest.raises(ValueError, match="attention 'relu' is unknown"):
        ref.gau(x, unit_params(2), causal=True, attention="relu")
    with pytest.raises(ValueError, match="chunk_size 0"):
        ref.flash(x, unit_params(4, None), causal=True, chunk_size=0)
    with pytest.raises(ValueError, match="width 6 does not split into 4 heads"):
        ref.transformer_block(x, block_params(False), causal=True, heads=4, glu=False, rope=False)
