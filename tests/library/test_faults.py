"""The tests can fail: each fault that people make is planted in the running package, and the checks must notice it.

A fault is one piece of one function's text replaced by another. A text that is no longer there means that the code was
rewritten: then write the fault anew for the new code. The function's code object is swapped, so that every name that
refers to the function is the faulty one while the test runs.
"""

import pytest
import test_decoding
import test_layers
import test_model
import torch
from small_model import MyUnit
from unit_cases import BOTH_WAYS, B, C, T, documents, features, how_to_read, make, run_reference

from flash_course.planting import planted
from flash_tutorial import (
    FLASH,
    GAU,
    MCTransformerBlock,
    ModelConfig,
    TransformerBlock,
    chunks,
    fast,
    gau,
    layers,
    mixing,
    model,
    sampling,
    states,
)
from flash_tutorial.check import (
    branch_error,
    document_leak,
    gradient_leak,
    padding_error,
    padding_leak,
    prefix_error,
    row_error,
    row_leak,
    step_error,
    value_leak,
)

pytestmark = pytest.mark.quick


# ---------------------------------------------------------------- the checks, each true when something is wrong


def value(unit, x):
    """The numbers of the reference, with nothing, with a mask, with documents, with both; a short sequence too."""
    for length in (T, 3):
        for which in ("all", "mask", "documents", "both"):
            kw = how_to_read(which, length)
            y = unit(x[:, :length], **kw)
            if (
                not branch_error(
                    y, run_reference(unit, x[:, :length], **kw), x[:, :length], kw.get("mask")
                )
                <= 1e-10
            ):
                return True
    return False


def slope_is_wrong(function, x):
    """The gradient along one random direction against a central difference."""
    x, direction = (
        x.detach(),
        torch.randn(x.shape, generator=torch.Generator().manual_seed(2), dtype=x.dtype),
    )
    weights = torch.randn(
        function(x).shape, generator=torch.Generator().manual_seed(3), dtype=x.dtype
    )
    sums = [float((function(x + e * direction) * weights).sum()) for e in (1e-5, -1e-5)]
    x.requires_grad_()
    (gradient,) = torch.autograd.grad((function(x) * weights).sum(), x)
    slope, expected = float((gradient * direction).sum()), (sums[0] - sums[1]) / 2e-5
    return not abs(slope - expected) <= 1e-5 * max(1.0, abs(expected))


def gradient(unit, x):
    """Of the unit, and of attention over more rows than one block has."""
    n = 2 * fast.ROWS + 3
    long = torch.randn(1, n, 3, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    return any(
        [
            slope_is_wrong(unit, x),
            slope_is_wrong(lambda x: unit(x, **how_to_read("documents")), x),
            slope_is_wrong(
                lambda q: fast.relu2_attention(q, q.flip(1), q, scale=0.1, causal=True), long
            ),
        ]
    )


CHECKS = {
    "value": value,
    "gradient": gradient,
    "leak": lambda unit, x: (
        unit.causal and max(value_leak(unit, x, cut) for cut in range(1, T)) > 0
    ),
    "leak of gradients": lambda unit, x: (
        unit.causal and max(gradient_leak(unit, x, cut) for cut in range(1, T)) > 0
    ),
    "prefix": lambda unit, x: (
        unit.causal and max(prefix_error(unit, x, cut) for cut in range(1, T)) > 1e-12
    ),
    "padding content": lambda unit, x: padding_leak(unit, x, torch.tensor([C, C + 1, 1])) > 0,
    "padding": lambda unit, x: max(padding_error(unit, x, n) for n in (1, C, C + 1, T - 1)) > 1e-12,
    "rows": lambda unit, x: (
        row_leak(unit, x) > 0 or row_error(unit, x, torch.tensor([T, C + 1, 1])) > 1e-12
    ),
    "documents": lambda unit, x: any(
        document_leak(unit, x, ids, i) > 0 for ids in (documents(),) for i in ids.unique().tolist()
    ),
    "step": lambda unit, x: (
        unit.causal
        and getattr(unit, "length_scale", 1) is not None
        and max(
            step_error(unit, x, torch.tensor(p))
            for p in ([1] * B, [C] * B, [C + 1] * B, [C + 1, C - 1, 2 * C])
        )
        > 1e-10
    ),
}


def noticed_by(unit):
    x, noticed = features(), set()
    for name, check in CHECKS.items():
        try:
            wrong = check(unit, x)
        except (RuntimeError, IndexError):  # a fault that crashes is noticed too
            wrong = True
        if wrong:
            noticed.add(name)
    return noticed


# ---------------------------------------------------------------- the faults


RELU2, RELU2_BACK = fast._Relu2Attention.forward, fast._Relu2Attention.backward
EARLIER, EARLIER_BACK = fast._ReadEarlierChunks.forward, fast._ReadEarlierChunks.backward

FAULTS = {
    # the sum over chunks
    "inclusive sum": (
        "flash",
        EARLIER,
        "by_C[:, g - 1].mT @ v[:, g - 1]",
        "by_C[:, g].mT @ v[:, g]",
        {"value", "gradient", "leak", "prefix", "step"},
    ),
    "running sum minus the own chunk": (
        "flash, sum",
        EARLIER,
        "(sums * factor[:, g])",
        "((sums + by_C[:, g].mT @ v[:, g] - by_C[:, g].mT @ v[:, g]) * factor[:, g])",
        {"leak"},
    ),
    "gradient of the next chunk alone": (
        "flash",
        EARLIER_BACK,
        "sums = sums + (by_C[:, g].mT",
        "sums = (by_C[:, g].mT",
        {"gradient"},
    ),
    "gradient that counts the own chunk": (
        "flash",
        EARLIER_BACK,
        "by_C[:, g].mT @ grad[:, g]",
        "by_C[:, g - 1].mT @ grad[:, g - 1]",
        {"gradient", "leak of gradients"},
    ),
    "gradient of a sum in place of a mean": (
        "flash",
        EARLIER_BACK,
        "to(factor.dtype) * factor[:, g]",
        "to(factor.dtype) / k.shape[2]",
        {"gradient"},
    ),
    "no own chunk in the sum of both sides": (
        "flash, both sides",
        mixing.global_part,
        "chunk_means(k.reshape(B, 1, G * C, -1), v.reshape(B, 1, G * C, -1)) * G",
        "chunk_means(k, v).sum(1, keepdim=True) - chunk_means(k, v)",
        {"value"},
    ),
    "mean over chunks counts the own chunk": (
        "flash",
        mixing.global_part,
        "counts.cumsum(1) - counts",
        "counts.cumsum(1)",
        {"value", "step"},
    ),
    "mean over chunks counts all chunks": (
        "flash",
        mixing.global_part,
        "counts.cumsum(1) - counts",
        "counts.sum(1, keepdim=True).expand(-1, G)",
        {"value", "prefix", "step"},
    ),
    "mean counts padding": (
        "flash, both sides",
        chunks.chunk_counts,
        "mask.long()",
        "torch.ones_like(mask).long()",
        {"value", "padding", "rows"},
    ),
    "mean taken as a sum": (
        "flash",
        chunks.factor_of,
        'combine == "mean"',
        "False",
        {"value", "step"},
    ),
    "chunk sums divided twice": (
        "flash, sum",
        chunks.chunk_means,
        "(k / k.shape[2])",
        "(k / k.shape[2] ** 2)",
        {"value"},
    ),
    "swapped lin_q and lin_k": (
        "flash",
        mixing.mixed_chunk_attention,
        "global_part(lin_q, lin_k,",
        "global_part(lin_k, lin_q,",
        {"value", "step"},
    ),
    "swapped lin and quad heads": (
        "flash",
        mixing.mixed_chunk_attention,
        "for t in (quad_q, quad_k, lin_q, lin_k, v)",
        "for t in (lin_q, lin_k, quad_q, quad_k, v)",
        {"value", "step"},
    ),
    # the quadratic part
    "missing 1/C": (
        "flash",
        mixing.local_part,
        "scale=1 / chunk_size",
        "scale=1.0",
        {"value", "step"},
    ),
    "1/T where a sequence is short": (
        "flash",
        mixing.local_part,
        "scale=1 / chunk_size",
        "scale=1 / q.shape[1]",
        {"value", "prefix"},
    ),
    "bias divided by n": (
        "gau",
        RELU2,
        "torch.baddbmm(table[a:b, :m], ",
        "torch.baddbmm(table[a:b, :m] * scale, ",
        {"value", "step"},
    ),
    "bias transposed": (
        "gau",
        layers.ToeplitzBias.forward,
        "rows[None, :] - rows[:, None]",
        "rows[:, None] - rows[None, :]",
        {"value", "step"},
    ),
    "rotary bias transposed": (
        "gau, rotary",
        layers.RotaryBias.forward,
        "self._rotated(self.a, cos, sin) @ self._rotated(self.b, cos, sin).T",
        "self._rotated(self.b, cos, sin) @ self._rotated(self.a, cos, sin).T",
        {"value", "step"},
    ),
    "bias off by one for a short sequence": (
        "gau",
        layers.ToeplitzBias.forward,
        "+ self.length - 1",
        "+ n - 1",
        {"value", "prefix"},
    ),
    "mask before bias": (
        "gau",
        fast.relu2_attention,
        'bias = bias.masked_fill(future, float("-inf"))',
        "bias = bias + 0 * future",
        {"leak", "leak of gradients", "value"},
    ),
    "causal mask without the diagonal": (
        "flash",
        fast.relu2_attention,
        "triu(1)",
        "triu(0)",
        {"value", "step"},
    ),
    "causal mask that lets the next token in": (
        "flash",
        fast.relu2_attention,
        "triu(1)",
        "triu(2)",
        {"value", "leak", "leak of gradients"},
    ),
    "relu without the square": ("gau", RELU2, "(r * r) @", "r @", {"value", "gradient", "step"}),
    "gradient of q without its 2": (
        "gau",
        RELU2_BACK,
        "* (2 * ctx.scale)",
        "* ctx.scale",
        {"gradient"},
    ),
    "gradient of k that forgets rows": (
        "flash",
        RELU2_BACK,
        "dk[:, :m].baddbmm_(",
        "dk[:, :m].mul_(0).baddbmm_(",
        {"gradient"},
    ),
    "padded rows keep the length of the batch": (
        "gau, current length, both sides",
        GAU.mix,
        "self.length_scale is None and mask is not None",
        "False",
        {"value", "padding", "rows"},
    ),
    # projections and positions
    "padded projections not zeroed": (
        "flash, both sides",
        gau.GatedUnit.project,
        "h = h.masked_fill(~mask[..., None], 0)",
        "pass",
        {"value", "padding content", "padding", "rows"},
    ),
    "padding zeroed before the projection": (
        "gau, both sides",
        gau.GatedUnit.project,
        "h = h.masked_fill(~mask[..., None], 0)",
        "h = F.silu(self.in_proj(self.norm(x) * mask[..., None]))",
        {"value", "padding", "rows"},
    ),
    "local RoPE positions": (
        "flash",
        gau.GatedUnit.forward,
        "*cos_sin(x.shape[1], self.qk_dim, x)",
        "*(t[[i % 4 for i in range(x.shape[1])]] for t in cos_sin(x.shape[1], self.qk_dim, x))",
        {"value", "step"},
    ),
    "rotated before scale and offset": (
        "gau",
        gau.GatedUnit.read_heads,
        "rope(self.scale_offset(z), cos, sin)",
        "self.scale_offset(rope(z, cos, sin))",
        {"value"},
    ),
    "RoPE turns the other way": (
        "gau",
        layers._rotated,
        "addcmul_(x2, sin, value=-1)",
        "addcmul_(x2, sin)",
        {"value"},
    ),
    "gradient of RoPE not turned back": (
        "gau",
        layers._Rotate.backward,
        "cos, -sin)",
        "cos, sin)",
        {"gradient"},
    ),
    "swapped u and v": (
        "flash",
        gau.GatedUnit.forward,
        "u, v, z = self.project",
        "v, u, z = self.project",
        {"value", "step"},
    ),
    "no residual": (
        "gau",
        gau.GatedUnit.forward,
        "return x + self",
        "return self",
        {"value", "step"},
    ),
    "no offset": (
        "gau",
        layers.ScaleOffset.forward,
        "self.beta.view(shape)",
        "0 * self.beta.view(shape)",
        {"value"},
    ),
    # documents
    "document from the left let in everywhere": (
        "flash",
        chunks.document_global_part,
        "mine = (documents == documents[:, :, :1])",
        "mine = (documents == documents)",
        {"value", "documents"},
    ),
    "document never ends": (
        "flash",
        chunks._sums_from_the_left,
        "torch.where(joins[:, g], sums, 0)",
        "sums",
        {"value", "documents"},
    ),
    "documents mixed inside a chunk": (
        "flash",
        mixing.local_part,
        "if documents is not None:",
        "if False:",
        {"value", "documents"},
    ),
    "documents of both sides mixed in the own chunk": (
        "flash, both sides",
        chunks.document_global_part,
        "own = documents[..., :, None] == documents[..., None, :]",
        "own = documents[..., :, None] == documents[..., :, None]",
        {"value", "documents"},
    ),
    "documents ignored in GAU": (
        "gau",
        GAU.mix,
        "visible_pairs(None, segment_ids)",
        "None",
        {"value", "documents"},
    ),
    "mean counts the document's tokens only": (
        "flash",
        chunks._sums_from_the_left,
        "before.gather(1, places - earlier)",
        "before.gather(1, places - earlier) - (documents[:, :, :1] != documents).sum(-1)",
        {"value"},
    ),
    "documents ignored in the Transformer": (
        "transformer++",
        mixing.visible_pairs,
        "if segment_ids is not None",
        "if False",
        {"value", "documents"},
    ),
    "padding read by the Transformer": (
        "transformer++, both sides",
        mixing.visible_pairs,
        "if mask is not None",
        "if False",
        {"value", "padding", "rows"},
    ),
    # the Transformer blocks
    "attention without its scale": (
        "transformer",
        TransformerBlock.mix,
        "causal=self.causal,",
        "causal=self.causal, scale=1.0,",
        {"value", "step"},
    ),
    "gate and value swapped": (
        "transformer++",
        TransformerBlock.feed_forward,
        "gate, value = h.chunk(2, -1)",
        "value, gate = h.chunk(2, -1)",
        {"value"},
    ),
    "heads interleaved": (
        "transformer",
        TransformerBlock.read_heads,
        "unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)",
        "unflatten(-1, (self.heads, 3, -1)).permute(3, 0, 2, 1, 4)",
        {"value"},
    ),
    "linear heads from rotated ones": (
        "mc_transformer++",
        MCTransformerBlock.rotate_heads,
        "*self.linear_heads(q, k))",
        "*self.linear_heads(rope(q, cos, sin), rope(k, cos, sin)))",
        {"value"},
    ),
    "MC without the padding of the last chunk": (
        "mc_transformer++, both sides",
        MCTransformerBlock.mix,
        "if mask is None and not self.causal and T % C",
        "if False",
        {"value", "padding"},
    ),
    # decoding
    "divide by i + 1 in decode": (
        "flash",
        FLASH.mix_newest,
        "alpha=1 / self.chunk_size",
        "alpha=1 / (int(torch.as_tensor(place).max()) + 1)",
        {"step"},
    ),
    "first row of the bias in decode": (
        "flash",
        FLASH.mix_newest,
        "state.bias[place]",
        "self.bias(self.chunk_size)[place * 0].masked_fill(state.bias[place].isinf(), float('-inf'))",
        {"step"},
    ),
    "bias by absolute position in decode": (
        "flash",
        FLASH.mix_newest,
        "state.bias[place]",
        "self.bias(self.chunk_size)[state.rows.lengths.clamp(max=self.chunk_size - 1)]"
        ".masked_fill(state.bias[place].isinf(), float('-inf'))",
        {"step"},
    ),
    "full chunk not folded": (
        "flash",
        states.ChunkState.advance,
        "self.left == 0",
        "self.left == 1",
        {"step"},
    ),
    "folded for all rows at once": (
        "flash",
        states.ChunkState.fold,
        "full[:, None, None, None]",
        "full.any()",
        {"step"},
    ),
    "own chunk read from the state": (
        "flash",
        FLASH.mix_newest,
        "state.add_far(mixed, lin_q,",
        "(state.advance() or state).add_far(mixed, lin_q,",
        {"step"},
    ),
    "old keys of the last chunk seen": (
        "flash",
        states.ChunkState.after.__func__,
        ".triu(1)",
        ".triu(99)",
        {"step"},
    ),
    "mean in decode counts one chunk more": (
        "flash",
        states.ChunkState.count_chunks,
        "max(finished, 1)",
        "finished + 1",
        {"step"},
    ),
    "mean in decode of padded rows counts one chunk more": (
        "flash",
        states.ChunkState.count_chunks,
        "finished.clamp(min=1)",
        "(finished + 1)",
        {"step"},
    ),
    "rows of a chunk looked at once only": (
        "flash",
        states.ChunkState.count_chunks,
        "C - self.rows.ahead(C)",
        "C",
        {"step"},
    ),
    "sum in decode forgets C": (
        "flash, sum",
        states.ChunkState.add_far,
        "q * self.v.shape[2]",
        "q",
        {"step"},
    ),
    "prefill keeps the open chunk in the sums": (
        "flash",
        states.sum_of_chunks,
        "< finished[:, None]",
        "<= finished[:, None]",
        {"step"},
    ),
    "prefill takes the longest row's chunk": (
        "flash",
        states.ChunkState.after.__func__,
        "finished = lengths // C",
        "finished = lengths // C * 0 + lengths.max() // C",
        {"step"},
    ),
    "decode at the batch's position": (
        "gau",
        GAU.step,
        "cos_sin_at(state.rows.place,",
        "cos_sin_at(state.rows.used,",
        {"step"},
    ),
    "cache written at the longest row's end": (
        "gau",
        states.Cache.append,
        "cache[row, ..., column, :]",
        "cache[..., rows.used, :]",
        {"step"},
    ),
    "cache one token behind": (
        "transformer++",
        states.Cache.visible,
        "self.rows.place[:, None]",
        "(self.rows.place[:, None] - 1)",
        {"step"},
    ),
    "keys of the cache not rotated": (
        "transformer++",
        TransformerBlock.remember,
        "if self.rope",
        "if False",
        {"step"},
    ),
    "length scale left out in decode": (
        "gau, no bias",
        GAU.mix_newest,
        "scores / self.length_scale",
        "scores",
        {"step"},
    ),
    "query of decode not rotated": (
        "transformer++",
        TransformerBlock.mix_newest,
        "q, k = rope(q, cos, sin), rope(k, cos, sin)",
        "k = rope(k, cos, sin)",
        {"step"},
    ),
    "MC decodes the bare sum": (
        "mc_transformer++",
        MCTransformerBlock.mix_newest,
        '"mean"',
        '"sum"',
        {"step"},
    ),
    # the norm
    "ScaleNorm without its gain": (
        "gau",
        layers.ScaleNorm.forward,
        "self.gain.expand(self.dim)",
        "None",
        {"value"},
    ),
    "rows mixed by the norm": (
        "gau",
        layers.ScaleNorm.forward,
        "F.rms_norm(x, (self.dim,), self.gain.expand(self.dim), eps=EPS)",
        "x / x.std()",
        {"value", "leak", "prefix", "rows", "padding content"},
    ),
}


def case_of(text):
    """Name and causal: `flash` is causal, `flash, both sides` is not."""
    name = text.removesuffix(", both sides")
    return name, name == text


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_noticed(name):
    case, function, old, new, expected = FAULTS[name]
    unit = make(*case_of(case))
    with planted(function, old, new):
        noticed = noticed_by(unit)
    print(f"{name}: noticed by {', '.join(sorted(noticed)) or 'nobody'}")
    assert expected <= noticed


# ---------------------------------------------------------------- faults of whole models


MODEL_FAULTS = {
    "angles in float32": (
        layers._tables,
        "positions.to(torch.float64)[..., None] * frequency",
        "positions.to(torch.float32)[..., None] * frequency.float()",
        lambda: test_layers.test_tables_are_computed_in_float64(8000),
    ),
    "logits of the last column": (
        model.LanguageModel.prefill,
        "state.rows.place - 1",
        "0 * state.rows.place - 1",
        lambda: test_decoding.test_ragged_prompts_are_as_if_alone("flash"),
    ),
    "padding kept in the heads of the Transformer": (
        TransformerBlock.read_heads,
        "h = h.masked_fill(~mask[..., None], 0)",
        "pass",
        lambda: test_model.test_nan_in_the_padding_reaches_no_valid_token("transformer"),
    ),
    "positions of decode one too late": (
        model.Stack.step,
        "at(state.rows.place, x, state.rows.used)",
        "at(state.rows.place + 1, x, state.rows.used + 1)",
        lambda: test_decoding.test_greedy_generation_is_the_argmax_of_the_parallel_form("flash"),
    ),
    "positions start at the longest prompt": (
        model.Stack.step,
        "at(state.rows.place, x, state.rows.used)",
        "at(state.rows.used, x, state.rows.used)",
        lambda: test_decoding.test_ragged_prompts_are_as_if_alone("transformer"),
    ),
    "replay reads the last column": (
        states.replay,
        "[state.rows.at(place)]",
        "[:, -1]",
        lambda: test_decoding.test_ragged_prompts_are_as_if_alone(MyUnit),
    ),
    "documents kept from the units": (
        model.Stack.forward,
        '"segment_ids": segment_ids',
        '"segment_ids": None',
        lambda: test_model.test_mask_and_documents_reach_the_whole_model("flash", True),
    ),
    "mask kept from the units": (
        model.Stack.forward,
        '{"mask": mask',
        '{"mask": None',
        lambda: test_model.test_mask_and_documents_reach_the_whole_model("flash", False),
    ),
    "top_p without its last token": (
        sampling._keep_top_p,
        "before >= top_p",
        "before + probabilities > top_p",
        lambda: test_decoding.test_draws_follow_the_probabilities(),
    ),
    "top_k keeps one more": (
        sampling.draw,
        "logits.topk(top_k, -1)",
        "logits.topk(top_k + 1, -1)",
        lambda: test_decoding.test_draws_follow_the_probabilities(),
    ),
    "temperature multiplied": (
        sampling.draw,
        "/ temperature",
        "* temperature",
        lambda: test_decoding.test_draws_follow_the_probabilities(),
    ),
    "kernels of the default start": (
        gau.GatedUnit.reset_parameters,
        "nn.init.normal_(linear.weight, std=std)",
        "pass",
        lambda: test_model.test_the_start_of_the_gated_units("flash", 256),
    ),
    "gamma starts at one": (
        gau.GatedUnit.reset_parameters,
        "nn.init.normal_(self.scale_offset.gamma, std=std)",
        "nn.init.ones_(self.scale_offset.gamma)",
        lambda: test_model.test_at_the_start_a_unit_is_almost_the_identity(GAU),
    ),
    "gated layer of 4 D": (
        ModelConfig.paper.__func__,
        "-(-8 * dim // 24) * 8 if gate",
        "4 * dim if gate",
        lambda: test_model.test_parameter_counts_of_the_paper("wiki40b", "transformer++", 110),
    ),
}


@pytest.mark.parametrize("name", MODEL_FAULTS)
def test_a_fault_planted_in_the_model_is_noticed(name):
    function, old, new, test = MODEL_FAULTS[name]
    test()
    function = getattr(function, "dispatch", lambda _: function)(object)
    with planted(function, old, new), pytest.raises((AssertionError, RuntimeError)):
        test()


@pytest.mark.parametrize("name, causal", BOTH_WAYS)
def test_without_a_fault_nothing_is_noticed(name, causal):
    expected = {"prefix"} if (name, causal) == ("gau, current length", True) else set()
    assert noticed_by(make(name, causal)) == expected
